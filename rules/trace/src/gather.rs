//! The end of a trace: what is one session is joined, hosts get columns, rules say what went wrong.

use crate::find;
use crate::groups::Groups;
use crate::hosts;
use crate::model::{Fact, Kind, Ladder, Opened, Session, Tcp, Tls};
use crate::tracer::{Claim, Stored, Tracer};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

/// Two that use the same address are one session if not more time lies between.
const TOGETHER: Duration = Duration::from_secs(120);
/// A call that goes on under another Call-ID is passed on within this time.
const PASSED_ON: Duration = Duration::from_secs(5);
/// A connection may come before the description that speaks of it was captured.
const BEFORE: Duration = Duration::from_secs(5);

/// The ladder.
pub(crate) fn ladder(mut tracer: Tracer) -> Ladder {
    tracer.name_ends();
    let Tracer {
        mut entries, mut groups, claims, origins, tickets, connections, left_out, without_text, ..
    } = tracer;
    let by_address = join_claims(&mut groups, claims);
    join_claims(&mut groups, origins);
    join_passed_on(&mut groups, &entries);
    join_tickets(&mut groups, tickets, &entries);
    for connection in connections.values().filter(|c| !c.shared) {
        let ends = [connection.server, connection.client];
        let owner = ends.iter().find_map(|end| owner(by_address.get(end)?, &mut groups, connection.started));
        if let Some(owner) = owner {
            groups.join(owner, connection.group);
        }
    }
    // That signalling has a connection is no event of anybody's session.
    let shared: HashSet<u64> = connections.iter().filter(|(_, c)| c.shared).map(|(id, _)| *id).collect();
    entries.retain(|stored| {
        let on_shared = stored.connection.is_some_and(|id| shared.contains(&id));
        !(on_shared
            && matches!(
                stored.entry.fact,
                Fact::Tcp(Tcp::Open(_) | Tcp::Finished | Tcp::Reset | Tcp::Midway)
            ))
    });
    let splits = hosts::Splits::of(entries.iter().map(|stored| &stored.entry));
    let users = hosts::users(entries.iter().map(|stored| &stored.entry));
    let mut sessions: BTreeMap<usize, Vec<Stored>> = BTreeMap::new();
    for stored in entries {
        let root = groups.root(stored.group);
        sessions.entry(root).or_default().push(stored);
    }
    let mut all: Vec<Session> = sessions.into_values().map(|list| session(list, &splits, &users)).collect();
    all.sort_by_key(|session| session.entries.first().map(|entry| (entry.at, entry.number)));
    for (at, session) in all.iter_mut().enumerate() {
        session.number = at + 1;
        session.findings = find::all(session);
    }
    let mut remarks = Vec::new();
    if left_out > 0 {
        remarks.push(format!("{left_out} messages came after the room for entries was full; take a part of the file, as with `editcap -A … -B …`"));
    }
    if without_text > 0 {
        remarks.push(format!("{without_text} entries have no text: there was no more room for it"));
    }
    Ladder { sessions: all, remarks }
}

/// Who used something, in order.
type Used<T> = HashMap<T, Vec<(Duration, usize)>>;

/// Joins those that use the same thing one after the other, unless one was over before.
fn join_claims<T: Hash + Eq>(groups: &mut Groups, mut claims: Vec<Claim<T>>) -> Used<T> {
    claims.sort_by_key(|claim| claim.at);
    let mut used: Used<T> = HashMap::new();
    for Claim { what, at, group } in claims {
        let list = used.entry(what).or_default();
        if let Some((before, other)) = list.last().copied()
            && groups.root(other) != groups.root(group)
        {
            let over = groups.ended(other).is_some_and(|end| end < at);
            if !over && at.saturating_sub(before) < TOGETHER {
                groups.join(other, group);
            }
        }
        list.push((at, group));
    }
    used
}

/// Whose an address was at a time.
fn owner(list: &[(Duration, usize)], groups: &mut Groups, at: Duration) -> Option<usize> {
    let before = list.iter().rev().find(|(when, _)| *when <= at).copied();
    if let Some((_, group)) = before
        && groups.ended(group).is_none_or(|end| end >= at)
    {
        return Some(group);
    }
    let after = list.iter().find(|(when, _)| *when > at && when.saturating_sub(at) < BEFORE);
    after.or(before.as_ref()).map(|(_, group)| *group)
}

/// A call that somebody passes on under another Call-ID: he that got it calls, a moment later, the same user for
/// the same user.
fn join_passed_on(groups: &mut Groups, entries: &[Stored]) {
    struct Leg<'a> {
        at: Duration,
        ip: std::net::IpAddr,
        users: (&'a str, &'a str),
        call: &'a str,
        group: usize,
    }
    let mut open: Vec<Leg<'_>> = Vec::new();
    let bare = |user: &'_ str| -> usize { user.find('@').unwrap_or(user.len()) };
    for stored in entries {
        let Fact::Sip(sip) = &stored.entry.fact else { continue };
        if !sip.is_request("INVITE") || sip.in_dialog {
            continue;
        }
        let at = stored.entry.at;
        open.retain(|leg| at.saturating_sub(leg.at) < PASSED_ON);
        let users = (
            sip.from_user.get(..bare(&sip.from_user)).unwrap_or_default(),
            sip.to_user.get(..bare(&sip.to_user)).unwrap_or_default(),
        );
        let before = open
            .iter()
            .find(|leg| leg.ip == stored.entry.from.ip() && leg.users == users && leg.call != sip.call_id)
            .map(|leg| leg.group);
        if let Some(group) = before {
            groups.join(group, stored.group);
        }
        if open.len() < 4096 {
            open.push(Leg { at, ip: stored.entry.to.ip(), users, call: &sip.call_id, group: stored.group });
        }
    }
}

/// The exchange that fetched a ticket belongs to the first call that it is used in.
fn join_tickets(groups: &mut Groups, mut tickets: Vec<Claim<u64>>, entries: &[Stored]) {
    // The exchange itself, or what the service says of it.
    let is_fetch = |stored: &&Stored| match &stored.entry.fact {
        Fact::Http(_) => true,
        Fact::Event(event) => event.text("ticket").is_some(),
        _ => false,
    };
    let fetched: HashSet<usize> =
        entries.iter().filter(is_fetch).map(|stored| groups.root(stored.group)).collect();
    tickets.sort_by_key(|claim| claim.at);
    /// Who fetched a ticket and has not used it, and the call that used it last.
    type Known = (Option<usize>, Option<usize>);
    let mut known: HashMap<u64, Known> = HashMap::new();
    for claim in tickets {
        let root = groups.root(claim.group);
        let (before, call) = known.entry(claim.what).or_default();
        if !fetched.contains(&root) {
            if let Some(before) = before.take() {
                groups.join(before, root);
            }
            *call = Some(root);
        } else if let Some(call) = *call {
            groups.join(call, root);
        } else {
            *before = Some(before.map_or(root, |before| groups.join(before, root)));
        }
    }
}

fn session(list: Vec<Stored>, splits: &hosts::Splits, users: &hosts::Users) -> Session {
    let mut entries: Vec<_> = list.into_iter().map(|stored| stored.entry).collect();
    entries.sort_by_key(|entry| (entry.at, entry.number));
    for entry in &mut entries {
        match &entry.fact {
            Fact::Tcp(Tcp::Open(how)) => {
                entry.label = match how {
                    Opened::Accepted => "TCP open",
                    Opened::Refused => "TCP refused",
                    Opened::Silent => "TCP SYN, no answer",
                }
                .to_owned();
                entry.bad = *how != Opened::Accepted;
            }
            Fact::Tcp(Tcp::Unknown(octets)) => {
                entry.label = format!("{} of something else", crate::words::octets(*octets));
            }
            Fact::Tcp(Tcp::Lost(octets)) => {
                entry.label = format!("{} not captured", crate::words::octets(*octets));
            }
            Fact::Tls(tls) => {
                if let Tls::Sealed { records, octets } = &**tls {
                    entry.label = format!("sealed {}", crate::words::octets(*octets));
                    entry.text = format!("{records} records, {octets} octets of ciphertext\n");
                    entry.times = 1;
                }
            }
            Fact::Msrp(msrp) if entry.times > 1 && msrp.octets > 0 => {
                let head = entry.label.split(' ').take(2).collect::<Vec<_>>().join(" ");
                entry.label = format!("{head} {}", crate::words::octets(msrp.octets));
            }
            _ => {}
        }
    }
    let mut call_ids: Vec<String> = Vec::new();
    for entry in &entries {
        let id = match &entry.fact {
            Fact::Sip(sip) => Some(&sip.call_id),
            Fact::Ng(ng) => ng.call_id.as_ref(),
            Fact::Event(event) => event.call_id.as_ref(),
            _ => None,
        };
        if let Some(id) = id.filter(|id| !id.is_empty() && !call_ids.contains(*id)) {
            call_ids.push(id.clone());
        }
    }
    let kind = kind(&entries);
    let hosts = hosts::columns(&mut entries, splits, users);
    let title = title(kind, &entries);
    Session { number: 0, kind, title, call_ids, hosts, entries, findings: Vec::new() }
}

fn kind(entries: &[crate::Entry]) -> Kind {
    let any = |is: &dyn Fn(&Fact) -> bool| entries.iter().any(|entry| is(&entry.fact));
    if any(&|fact| matches!(fact, Fact::Sip(sip) if sip.method == "INVITE")) {
        Kind::Call
    } else if any(&|fact| matches!(fact, Fact::Sip(sip) if sip.method == "REGISTER")) {
        Kind::Registration
    } else if any(&|fact| matches!(fact, Fact::Ng(ng) if ng.call_id.is_some())) {
        Kind::Call
    } else if any(&|fact| matches!(fact, Fact::Sip(_))) {
        Kind::Dialog
    } else if any(&|fact| matches!(fact, Fact::Event(event) if event.call_id.is_some())) {
        Kind::Call
    } else if any(
        &|fact| matches!(fact, Fact::Control(control) if !control.contexts.is_empty() || control.adds),
    ) {
        Kind::Context
    } else if any(&|fact| matches!(fact, Fact::Control(_) | Fact::Ng(_))) {
        Kind::Control
    } else if any(&|fact| matches!(fact, Fact::Http(http) if !http.keys.is_empty())) {
        Kind::Keys
    } else if let Some(entry) = entries.iter().find(|entry| matches!(entry.fact, Fact::Event(_))) {
        match &entry.to_node {
            Some(node) if node.is_gateway() => Kind::Context,
            _ => Kind::Keys,
        }
    } else {
        Kind::Connection
    }
}

fn title(kind: Kind, entries: &[crate::Entry]) -> String {
    let sip = entries.iter().find_map(|entry| match &entry.fact {
        Fact::Sip(sip) => Some(sip),
        _ => None,
    });
    if let Some(sip) = sip {
        return match kind {
            Kind::Registration => format!("{} registers", sip.to_user),
            Kind::Call => format!("{} calls {}", sip.from_user, sip.to_user),
            _ => format!("{} {} to {}", sip.method, sip.from_user, sip.to_user),
        };
    }
    let Some(first) = entries.first() else { return String::new() };
    if entries.iter().any(|entry| entry.to_node.is_some() || entry.from_node.is_some())
        && let Some(title) = told(kind, entries)
    {
        return title;
    }
    let context = entries.iter().find_map(|entry| match &entry.fact {
        Fact::Control(control) => control.contexts.first().copied(),
        _ => None,
    });
    match (kind, context) {
        (Kind::Context, Some(context)) => {
            format!("context {context} of {} and {}", first.from.ip(), first.to.ip())
        }
        (Kind::Control | Kind::Context, _) => format!("{} and {}", first.from, first.to),
        _ => format!("{} to {}", first.from, first.to),
    }
}

/// A title from what nodes said of themselves.
fn told(kind: Kind, entries: &[crate::Entry]) -> Option<String> {
    let mut events = entries.iter().filter_map(|entry| match &entry.fact {
        Fact::Event(event) => Some((entry, event)),
        _ => None,
    });
    let name = |node: &Option<std::sync::Arc<crate::Node>>| node.as_ref().map(|node| node.name.clone());
    if kind == Kind::Call
        && let Some((from, to)) =
            events.clone().find_map(|(_, event)| event.text("from").zip(event.text("to")))
    {
        return Some(format!("{from} calls {to}"));
    }
    let named = |entry: &crate::Entry| match &entry.fact {
        Fact::Ng(ng) => ng.call_id.clone(),
        Fact::Event(event) => event.call_id.clone(),
        _ => None,
    };
    if kind == Kind::Call
        && let Some(call_id) = entries.iter().find_map(named)
    {
        return Some(format!("call {call_id}"));
    }
    if kind == Kind::Keys
        && let Some((entry, event)) = events.next()
    {
        let who = event.text("user").or_else(|| event.text("source")).unwrap_or("somebody");
        return Some(format!("{who} asks {}", name(&entry.to_node).unwrap_or_default()));
    }
    let (a, b) = entries.iter().find_map(|entry| Some((name(&entry.from_node)?, name(&entry.to_node)?)))?;
    let context = entries.iter().find_map(|entry| match &entry.fact {
        Fact::Control(control) => control.contexts.first().copied().map(u64::from),
        Fact::Event(event) => event.number("context"),
        _ => None,
    });
    Some(match (kind, context) {
        (Kind::Context, Some(context)) if a == b => format!("context {context} of {a}"),
        (Kind::Context, Some(context)) => format!("context {context} of {a} and {b}"),
        _ => format!("{a} and {b}"),
    })
}
