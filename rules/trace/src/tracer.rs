//! From what a capture holds to entries, and which belong together.

use crate::gather;
use crate::groups::Groups;
use crate::listen::Listening;
use crate::model::{Entry, Fact, Ladder, Opened, Tcp, Tls, Way};
use crate::read::{self, Show, Stream, Tie, Told};
use crate::telling::Node;
use carnet_capture::{Datagram, Event, Happening, Segment, Unreachable};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How much is kept.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Entries. What comes after is counted.
    pub entries: usize,
    /// Octets of text of all entries. Entries after that have none.
    pub text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 500_000, text: 256 << 20 }
    }
}

/// Takes what happened, in order, and makes a ladder of it.
#[derive(Debug)]
pub struct Tracer {
    pub(crate) show: Show,
    limits: Limits,
    pub(crate) entries: Vec<Stored>,
    pub(crate) groups: Groups,
    ties: HashMap<Scoped, usize>,
    pub(crate) claims: Vec<Claim<SocketAddr>>,
    pub(crate) origins: Vec<Claim<String>>,
    pub(crate) tickets: Vec<Claim<u64>>,
    pub(crate) connections: HashMap<u64, Connection>,
    /// The last connection from one to another.
    by_ends: HashMap<(SocketAddr, SocketAddr), u64>,
    /// The last entry of datagrams between two.
    datagrams: HashMap<(SocketAddr, SocketAddr), usize>,
    established: HashSet<usize>,
    pub(crate) left_out: u64,
    pub(crate) without_text: u64,
    text: usize,
    pub(crate) listening: Listening,
}

/// An entry and whose it is.
#[derive(Debug)]
pub(crate) struct Stored {
    pub entry: Entry,
    pub group: usize,
    again: Option<u64>,
    /// On which connection.
    pub connection: Option<u64>,
}

/// Somebody says that something is his.
#[derive(Debug)]
pub(crate) struct Claim<T> {
    pub what: T,
    pub at: Duration,
    pub group: usize,
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// Who sent the SYN first, or whoever was seen first.
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub started: Duration,
    pub group: usize,
    opened: Option<usize>,
    /// The last entries on it, to fold what comes again.
    recent: Vec<usize>,
    pub shared: bool,
}

/// A tie with the place where it means something.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Scoped {
    Everywhere(Tie),
    Between(SocketAddr, SocketAddr, Tie),
    /// A context of the gateway of that name.
    Held(String, u32),
}

/// Entries that are looked back at to find one that comes again.
const RECENT: usize = 64;
/// What SIP waits at most before it repeats, and some more (RFC 3261 §17.1.1.2: 64*T1).
const REPEAT: Duration = Duration::from_secs(64);

impl Tracer {
    /// With nothing seen. `secrets`: whether key material is shown.
    pub fn new(limits: Limits, secrets: bool) -> Self {
        Self {
            show: Show { secrets },
            limits,
            entries: Vec::new(),
            groups: Groups::default(),
            ties: HashMap::new(),
            claims: Vec::new(),
            origins: Vec::new(),
            tickets: Vec::new(),
            connections: HashMap::new(),
            by_ends: HashMap::new(),
            datagrams: HashMap::new(),
            established: HashSet::new(),
            left_out: 0,
            without_text: 0,
            text: 0,
            listening: Listening::default(),
        }
    }

    /// Takes what happened next.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Datagram(datagram) => self.datagram(&datagram),
            Event::Segment(segment) => self.segment(&segment),
            Event::Unreachable(unreachable) => self.unreachable(&unreachable),
        }
    }

    /// Everything that was seen, by session, with what went wrong.
    pub fn finish(self) -> Ladder {
        gather::ladder(self)
    }

    fn datagram(&mut self, datagram: &Datagram) {
        let told = read::datagram(&datagram.octets, self.show);
        for told in told {
            let what = Where {
                at: datagram.at,
                number: datagram.number,
                from: datagram.from,
                to: datagram.to,
                nodes: [None, None],
                way: Way::Udp,
                connection: None,
            };
            self.put(&what, told, None);
        }
    }

    fn segment(&mut self, segment: &Segment) {
        let id = segment.connection;
        if self.is_full() && !self.connections.contains_key(&id) {
            self.left_out += 1;
            return;
        }
        if !self.connections.contains_key(&id) {
            let group = self.groups.fresh();
            let connection = Connection {
                stream: Stream::default(),
                client: segment.from,
                server: segment.to,
                started: segment.at,
                group,
                opened: None,
                recent: Vec::new(),
                shared: false,
            };
            self.connections.insert(id, connection);
            self.by_ends.insert((segment.from, segment.to), id);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let side = usize::from(segment.from != connection.client);
        let what = Where {
            at: segment.at,
            number: segment.number,
            from: segment.from,
            to: segment.to,
            nodes: [None, None],
            way: Way::Tcp,
            connection: Some(id),
        };
        let opened = connection.opened;
        match &segment.what {
            Happening::Open => {
                let told = Told::new("TCP SYN", "", Fact::Tcp(Tcp::Open(Opened::Silent)));
                let at = self.put(&what, told, None);
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.opened = at;
                }
            }
            Happening::OpenAgain => {
                if let Some(entry) =
                    opened.and_then(|at| self.entries.get_mut(at)).map(|stored| &mut stored.entry)
                {
                    entry.times += 1;
                    entry.last = segment.at;
                }
            }
            Happening::Accepted => match opened {
                Some(at) => self.opened(at, Opened::Accepted),
                None => {
                    // Only the answer was captured: it came from the server.
                    connection.client = segment.to;
                    connection.server = segment.from;
                }
            },
            Happening::Midway => {
                let told = Told::new("TCP, begun before", "", Fact::Tcp(Tcp::Midway));
                self.put(&what, told, None);
            }
            Happening::Data(octets) => {
                let told = connection.stream.data(side, octets, self.show);
                connection.shared |= connection.stream.is_shared();
                for told in told {
                    self.put(&what, told, Some(id));
                }
            }
            Happening::Lost(octets) => {
                connection.stream.lost(side, *octets);
                let label = format!("{} not captured", crate::words::octets(*octets));
                let told = Told {
                    again: Some(u64::from_be_bytes(*b"____lost")),
                    ..Told::new(label, "", Fact::Tcp(Tcp::Lost(*octets)))
                };
                self.put(&what, told, Some(id));
            }
            Happening::Finished => {
                connection.stream.close(side);
                self.put(&what, Told::new("TCP FIN", "", Fact::Tcp(Tcp::Finished)), None);
            }
            Happening::Reset => {
                connection.stream.close(side);
                connection.stream.close(1 - side);
                let by_server = segment.from == connection.server;
                let silent = opened.filter(|at| by_server && self.entry_is_silent(*at));
                if let Some(at) = silent {
                    self.opened(at, Opened::Refused);
                    return;
                }
                let told = Told { bad: true, ..Told::new("TCP RST", "", Fact::Tcp(Tcp::Reset)) };
                self.put(&what, told, None);
            }
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.limits.entries
    }

    fn entry_is_silent(&self, at: usize) -> bool {
        let fact = self.entries.get(at).map(|stored| &stored.entry.fact);
        matches!(fact, Some(Fact::Tcp(Tcp::Open(Opened::Silent))))
    }

    fn opened(&mut self, at: usize, how: Opened) {
        if let Some(stored) = self.entries.get_mut(at) {
            stored.entry.fact = Fact::Tcp(Tcp::Open(how));
        }
    }

    fn unreachable(&mut self, said: &Unreachable) {
        let group = match said.protocol {
            17 => self.datagrams.get(&(said.from, said.to)).copied(),
            _ => {
                let id = self.by_ends.get(&(said.from, said.to));
                id.and_then(|id| self.connections.get(id)).map(|connection| connection.group)
            }
        };
        // Of what nobody looks at nothing is said either.
        let Some(group) = group else { return };
        let what = Where {
            at: said.at,
            number: said.number,
            from: SocketAddr::new(said.by, said.to.port()),
            to: said.from,
            nodes: [None, None],
            way: Way::Icmp,
            connection: None,
        };
        let fact = Fact::Unreachable { about: said.to, why: said.why.to_owned() };
        let text = format!("{} says of a packet from {} to {}: {}\n", said.by, said.from, said.to, said.why);
        let again = Some(read::digest(text.as_bytes()));
        let told = Told { bad: true, again, ..Told::new(format!("ICMP: {}", said.why), text, fact) };
        self.store(&what, told, group);
    }

    /// Puts an entry where it belongs. `stream`: it was read on this connection.
    pub(crate) fn put(&mut self, what: &Where, told: Told, stream: Option<u64>) -> Option<usize> {
        if self.is_full() {
            self.left_out += 1;
            return None;
        }
        let own = what.connection.and_then(|id| self.connections.get(&id)).map(|c| c.group);
        let group = match own {
            // What is said on a connection that is one session's own.
            Some(group) if !matches!(told.fact, Fact::Sip(_) | Fact::Control(_) | Fact::Ng(_)) => {
                self.tie(what, &told, Some(group))
            }
            _ => self.tie(what, &told, None),
        };
        self.note(what, &told, group);
        if let Some(at) = self.fold(what, &told, group, stream) {
            return Some(at);
        }
        self.store(what, told, group)
    }

    /// The group that an entry's ties lead to.
    pub(crate) fn tie(&mut self, what: &Where, told: &Told, own: Option<usize>) -> usize {
        let mut group = own;
        let mut bind = Vec::new();
        for (held, is_new) in held(what, told) {
            let known = self.ties.get(&held).copied();
            // A context of that number that is over is another's; what is told after its end still is of it.
            let known = known.filter(|known| !is_new || self.groups.ended(*known).is_none());
            if let Some(known) = known {
                group = Some(group.map_or(known, |group| self.groups.join(group, known)));
            }
            bind.push(held);
        }
        // A node that tells has a place of its own beside its addresses, of which it may not know each.
        let mut all = |end: SocketAddr, node: &Option<Arc<Node>>| {
            let place = node.as_ref().map(|node| self.listening.place(node));
            std::iter::once(end).chain(place.filter(|place| *place != end)).collect::<Vec<_>>()
        };
        let (from, to) = (all(what.from, &what.nodes[0]), all(what.to, &what.nodes[1]));
        let ends: Vec<(SocketAddr, SocketAddr)> =
            from.iter().flat_map(|from| to.iter().map(|to| (*from, *to))).collect();
        for tie in &told.ties {
            // A context that was just made is not the one that had its number before, and a transaction that
            // is asked for is a new one.
            let fresh = match tie {
                Tie::FreshContext(_) => true,
                Tie::Context(id) => told.ties.contains(&Tie::FreshContext(*id)),
                _ => false,
            };
            for key in scoped(tie, &ends) {
                if !fresh && let Some(known) = self.ties.get(&key).copied() {
                    group = Some(group.map_or(known, |group| self.groups.join(group, known)));
                }
                bind.push(key);
            }
        }
        let group = group.unwrap_or_else(|| self.groups.fresh());
        for key in bind {
            self.ties.insert(key, group);
        }
        group
    }

    /// What an entry says of its group.
    fn note(&mut self, what: &Where, told: &Told, group: usize) {
        let at = what.at;
        self.claims.extend(told.claims.iter().map(|address| Claim { what: *address, at, group }));
        let root = self.groups.root(group);
        if let Fact::Sip(sip) = &told.fact {
            if sip.is_request("INVITE") && !sip.in_dialog {
                self.groups.end(root, None);
            }
            if sip.is_final("INVITE") && sip.status.is_some_and(|status| status < 300) {
                self.established.insert(root);
            }
        }
        for tie in &told.ties {
            match tie {
                Tie::Origin(origin) => self.origins.push(Claim { what: origin.clone(), at, group }),
                Tie::Ticket(ticket) => self.tickets.push(Claim { what: *ticket, at, group }),
                Tie::Gone(_) => self.groups.end(root, Some(at)),
                // A refused change does not end a session that stands.
                Tie::End if !matches!(&told.fact, Fact::Sip(sip) if sip.method == "INVITE" && self.established.contains(&root)) =>
                {
                    self.groups.end(root, Some(at));
                }
                _ => {}
            }
        }
    }

    /// Folds an entry into one that said the same, if there is one.
    fn fold(&mut self, what: &Where, told: &Told, group: usize, stream: Option<u64>) -> Option<usize> {
        let again = told.again?;
        let sums =
            matches!(&told.fact, Fact::Msrp(_) | Fact::Tcp(Tcp::Unknown(_) | Tcp::Lost(_)) | Fact::Tls(_));
        let candidates: Vec<usize> = match stream.and_then(|id| self.connections.get(&id)).filter(|_| sums) {
            Some(connection) => connection.recent.iter().rev().take(4).copied().collect(),
            None => (self.entries.len().saturating_sub(RECENT)..self.entries.len()).rev().collect(),
        };
        let root = self.groups.root(group);
        for at in candidates {
            let Some(stored) = self.entries.get(at) else { continue };
            let entry = &stored.entry;
            let same = stored.again == Some(again)
                && (entry.from, entry.to, entry.way) == (what.from, what.to, what.way)
                && what.at.saturating_sub(entry.last) < REPEAT;
            let other = stored.group;
            if !same || self.groups.root(other) != root {
                continue;
            }
            let stored = self.entries.get_mut(at)?;
            let entry = &mut stored.entry;
            entry.times = entry.times.saturating_add(1);
            entry.last = what.at;
            add(&mut entry.fact, &told.fact);
            return Some(at);
        }
        None
    }

    fn store(&mut self, what: &Where, told: Told, group: usize) -> Option<usize> {
        if self.is_full() {
            self.left_out += 1;
            return None;
        }
        let mut text = told.text;
        if self.text + text.len() > self.limits.text {
            self.without_text += 1;
            text = String::new();
        }
        self.text += text.len();
        let at = self.entries.len();
        if what.way == Way::Udp {
            self.datagrams.insert((what.from, what.to), group);
        }
        if let Some(connection) = what.connection.and_then(|id| self.connections.get_mut(&id)) {
            if connection.recent.len() == 8 {
                connection.recent.remove(0);
            }
            connection.recent.push(at);
        }
        self.entries.push(Stored {
            entry: Entry {
                at: what.at,
                last: what.at,
                times: 1,
                number: what.number,
                from: what.from,
                to: what.to,
                from_node: what.nodes[0].clone(),
                to_node: what.nodes[1].clone(),
                from_host: 0,
                to_host: 0,
                way: what.way,
                label: told.label,
                text,
                fact: told.fact,
                bad: told.bad,
            },
            group,
            again: told.again,
            connection: what.connection,
        });
        Some(at)
    }
}

/// Where a tie means something: once for each pair of ends.
fn scoped(tie: &Tie, ends: &[(SocketAddr, SocketAddr)]) -> Vec<Scoped> {
    let sorted = |tie: Tie| {
        let between = |(a, b): &(SocketAddr, SocketAddr)| Scoped::Between(*a.min(b), *a.max(b), tie.clone());
        ends.iter().map(between).collect()
    };
    match tie {
        Tie::Call(_) | Tie::Keys(_) | Tie::Random(_) => vec![Scoped::Everywhere(tie.clone())],
        Tie::Context(_) | Tie::Association | Tie::Cookie(_) => sorted(tie.clone()),
        Tie::FreshContext(id) => sorted(Tie::Context(*id)),
        // A number is the asker's.
        Tie::Asked(_) => ends.iter().map(|(from, to)| Scoped::Between(*from, *to, tie.clone())).collect(),
        Tie::Answered(id) => {
            ends.iter().map(|(from, to)| Scoped::Between(*to, *from, Tie::Asked(*id))).collect()
        }
        Tie::Origin(_) | Tie::Ticket(_) | Tie::Gone(_) | Tie::Held(..) | Tie::FreshHeld(..) | Tie::End => {
            Vec::new()
        }
    }
}

/// The contexts of gateways that are known by their names, and whether they are new.
fn held(what: &Where, told: &Told) -> Vec<(Scoped, bool)> {
    let gateway = what.nodes.iter().flatten().find(|node| node.is_gateway());
    let of_node = |id: u32| gateway.map(|node| Scoped::Held(node.name.clone(), id));
    let each = told.ties.iter().filter_map(|tie| match tie {
        Tie::Context(id) => Some((of_node(*id)?, false)),
        Tie::FreshContext(id) => Some((of_node(*id)?, true)),
        Tie::Held(gateway, id) => Some((Scoped::Held(gateway.clone(), *id), false)),
        Tie::FreshHeld(gateway, id) => Some((Scoped::Held(gateway.clone(), *id), true)),
        _ => None,
    });
    let mut out: Vec<(Scoped, bool)> = each.collect();
    // That one is new is said beside its number.
    out.sort_by_key(|(_, is_new)| !is_new);
    let mut seen: Vec<(Scoped, bool)> = Vec::new();
    for (held, is_new) in out {
        if !seen.iter().any(|(known, _)| *known == held) {
            seen.push((held, is_new));
        }
    }
    seen
}

/// When and where something was seen.
pub(crate) struct Where {
    pub at: Duration,
    pub number: u64,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Sender and receiver, where they are nodes that tell.
    pub nodes: [Option<Arc<Node>>; 2],
    pub way: Way,
    pub connection: Option<u64>,
}

/// Adds up what can be.
fn add(fact: &mut Fact, more: &Fact) {
    match (fact, more) {
        (Fact::Msrp(fact), Fact::Msrp(more)) => fact.octets += more.octets,
        (Fact::Tcp(Tcp::Unknown(fact)), Fact::Tcp(Tcp::Unknown(more)))
        | (Fact::Tcp(Tcp::Lost(fact)), Fact::Tcp(Tcp::Lost(more))) => *fact = fact.saturating_add(*more),
        (Fact::Tls(fact), Fact::Tls(more)) => {
            if let (Tls::Sealed { records, octets }, Tls::Sealed { records: r, octets: o }) =
                (&mut **fact, &**more)
            {
                *records += r;
                *octets += o;
            }
        }
        _ => {}
    }
}
