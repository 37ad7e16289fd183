//! What an administrator asks a role that runs, and how a role puts what it holds.
//!
//! The member names are for scripts: keep them.

use carnet_conference::Decision;
use carnet_h248::{
    ActionReply, ActionRequest, Audit, AuditToken, Command, CommandReply, ContextId, Descriptor,
    ErrorDescriptor, LocalControl, Property, Signals, Stream, TerminationId,
};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What is asked.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A sign of life ([`Life`](super::Life)); not for administrators.
    Alive,
    /// The gateways that the process is, and those that its borders own.
    List,
    /// What a gateway holds.
    Audit {
        /// Which.
        gateway: String,
        /// The border that is to ask it; the gateway itself, if it is in the process, when absent.
        border: Option<String>,
        /// The first context number wanted.
        from: u32,
    },
    /// The calls that contexts of a steered gateway are of, in their order; null where there is none.
    Calls {
        /// Which.
        gateway: String,
        /// Their numbers.
        contexts: Vec<u32>,
    },
    /// The rooms of the conference servers of the process.
    Rooms,
    /// Who is in a room, and who has its floors.
    Room {
        /// The conference's URI.
        room: String,
    },
    /// Puts a member out of a room.
    Kick {
        /// The conference's URI.
        room: String,
        /// The member's.
        member: String,
    },
    /// Has somebody called into a room.
    Invite {
        /// The conference's URI.
        room: String,
        /// Whom.
        member: String,
    },
    /// Decides about a floor in the place of its chair.
    Decide {
        /// The conference's URI.
        room: String,
        /// The floor's number.
        floor: u16,
        /// Whose it is about: the member's number in the room.
        user: u16,
        /// What is decided.
        decision: Decision,
    },
    /// Lets nothing of a member through to a room, or again what it says.
    Mute {
        /// The conference's URI.
        room: String,
        /// The member's.
        member: String,
        /// Whether nothing comes through.
        muted: bool,
    },
    /// Ends a room towards all its members.
    Close {
        /// The conference's URI.
        room: String,
    },
    /// Takes no new sessions, or some again.
    Retire {
        /// How long those that there are have; absent to take it back.
        left: Option<Duration>,
    },
    /// Gives a gateway no new calls, or some again.
    Avoid {
        /// The border that owns it.
        border: String,
        /// Which.
        gateway: String,
        /// Whether it is to be avoided.
        avoid: bool,
    },
    /// Ends a call towards both ends.
    EndCall {
        /// The border that it passes.
        border: String,
        /// Its Call-ID.
        call_id: String,
    },
}

/// A question to one role, and where the answer goes.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// The answer, or why there is none.
    pub answer: oneshot::Sender<Result<Value, String>>,
}

/// Questions that wait for a role; more are turned away.
pub const MOST_QUESTIONS: usize = 16;

/// Contexts in one answer. Two terminations each stay below what a gateway answers at once.
pub const PAGE: usize = 40;

/// The end at which a role is asked.
pub type Questions = mpsc::Receiver<Question>;

/// Asks what there is in these contexts.
pub fn audit_of(contexts: &[u32]) -> Vec<ActionRequest> {
    let wanted = [AuditToken::Media, AuditToken::Events, AuditToken::Signals, AuditToken::Statistics];
    let look = || Command::audit_value(TerminationId::ALL, Audit::of(&wanted));
    contexts.iter().map(|id| ActionRequest::new(ContextId::Id(*id), vec![look()])).collect()
}

pub fn in_words(error: &ErrorDescriptor) -> String {
    format!("H.248 error {}: {}", error.code, error.text.as_deref().unwrap_or("no text"))
}

/// What an answer tells of a context; nothing if it tells of no termination.
pub fn context(action: &ActionReply) -> Option<Value> {
    let id = action.context.id()?;
    let mut terminations: Vec<Value> = Vec::new();
    for reply in action.commands.iter().filter(|reply| reply.error().is_none()) {
        terminations.push(termination(reply));
    }
    (!terminations.is_empty()).then(|| json!({ "context": id, "terminations": terminations }))
}

fn termination(reply: &CommandReply) -> Value {
    let asked = reply.descriptors.iter().find_map(|descriptor| match descriptor {
        Descriptor::Signals(signals) => Some(signals),
        _ => None,
    });
    let streams = reply.media().into_iter().flat_map(|m| &m.streams);
    let streams: Vec<Value> = streams.map(|held| stream(held, asked)).collect();
    let events = reply.events().into_iter().flat_map(|e| &e.events).map(|e| e.name.as_str());
    let mut out = Map::new();
    out.insert("id".into(), reply.termination().as_str().into());
    out.insert("streams".into(), streams.into());
    out.insert("events".into(), events.collect::<Vec<_>>().into());
    for (name, member) in [("nt/dur", "milliseconds"), ("nt/or", "octets_received"), ("nt/os", "octets_sent")]
    {
        let statistic = reply.statistics().and_then(|list| list.iter().find(|s| s.name == *name));
        let value = statistic.and_then(|s| s.values.first()).and_then(|v| v.as_u64());
        out.insert(member.into(), value.into());
    }
    out.into()
}

fn stream(stream: &Stream, signals: Option<&Signals>) -> Value {
    let control = stream.local_control.as_ref();
    let local = stream.local.as_ref().map(|sdp| Described::of(sdp.lines()));
    let remote = stream.remote.as_ref().map(|sdp| Described::of(sdp.lines()));
    let setup = |d: &Option<Described>| d.as_ref().and_then(|d| d.setup.clone());
    json!({
        "id": stream.id,
        "realm": control.and_then(|c| c.property("ipdc/realm")).and_then(|p| p.single()).map(|v| v.as_str()),
        "mode": control.and_then(|c: &LocalControl| c.mode).map(|m| format!("{m:?}")),
        "transport": local.as_ref().and_then(|d| d.transport.clone()),
        "local": local.as_ref().and_then(Described::socket),
        "local_setup": setup(&local),
        "remote": remote.as_ref().and_then(Described::socket),
        "remote_setup": setup(&remote),
        "tls": local.as_ref().and_then(|local| ended(local, remote.as_ref(), begins_tls(signals, stream.id))),
        "msrp": local.as_ref().filter(|local| local.is_rewritten(control)).map(|_| {
            json!({ "path": remote.as_ref().and_then(|d| d.path.clone()) })
        }),
    })
}

/// TLS that ends at a gateway; nothing where it passes, or ends in a conference.
fn ended(local: &Described, remote: Option<&Described>, begins: bool) -> Option<Value> {
    let own = local.fingerprints.first()?;
    let peer = remote.map(|d| d.fingerprints.clone()).unwrap_or_default();
    Some(json!({ "role": if begins { "client" } else { "server" }, "fingerprint": own, "peer": peer }))
}

/// Whether the gateway was asked to begin TLS on a stream.
fn begins_tls(signals: Option<&Signals>, stream: u16) -> bool {
    let all = signals.into_iter().flat_map(Signals::iter);
    let mut here = all.filter(|signal| signal.stream.is_none_or(|id| id == 0 || id == stream));
    here.any(|signal| signal.name == "tlsbsc/EstBNC")
}

/// What a person wants to know of a Local or Remote descriptor.
#[derive(Debug, Default)]
struct Described {
    address: Option<String>,
    port: Option<String>,
    transport: Option<String>,
    setup: Option<String>,
    fingerprints: Vec<String>,
    path: Option<String>,
}

impl Described {
    fn of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut this = Self::default();
        for line in lines {
            let line = String::from_utf8_lossy(line);
            let mut fields = line.split_ascii_whitespace();
            match line.as_bytes().first() {
                Some(b'c') => this.address = fields.nth(2).map(str::to_owned),
                Some(b'm') => {
                    this.port = fields.nth(1).map(str::to_owned);
                    this.transport = fields.next().map(str::to_owned);
                }
                _ => match line.strip_prefix("a=").and_then(|attribute| attribute.split_once(':')) {
                    Some(("setup", how)) => this.setup = Some(how.to_owned()),
                    Some(("fingerprint", value)) => this.fingerprints.push(value.to_owned()),
                    Some(("path", uris)) => this.path = Some(uris.to_owned()),
                    _ => {}
                },
            }
        }
        this
    }

    /// A relay rewrites the paths of MSRP that it can read. In a conference MSRP ends.
    fn is_rewritten(&self, control: Option<&LocalControl>) -> bool {
        let of_room = |property: &Property| property.name.package().eq_ignore_ascii_case("crnroom");
        let is = |name: &str| self.transport.as_ref().is_some_and(|t| t.eq_ignore_ascii_case(name));
        let readable = is("TCP/MSRP") || is("TCP/TLS/MSRP") && !self.fingerprints.is_empty();
        readable && !control.is_some_and(|control| control.properties.iter().any(of_room))
    }

    fn socket(&self) -> Option<String> {
        let (address, port) = (self.address.as_deref()?, self.port.as_deref()?);
        Some(if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
    }
}

#[cfg(test)]
mod tests {
    use super::super::looking::Look;
    use super::*;
    use carnet_h248::{ReplyBody, Transaction};

    fn told(body: &ReplyBody, next: Option<u32>) -> Value {
        let mut look = Look::new(vec![7, 8], next);
        look.answered(body).unwrap();
        look.told()
    }

    #[test]
    fn an_audit_is_put_in_words_for_people_and_scripts() {
        let text = "MEGACO/3 <g> Reply = 1 { Context = 7 { AuditValue = ip/1/1/5 { \
            Media { Stream = 1 { LocalControl { Mode = SendReceive, ipdc/realm = \"access\" }, \
            Local { v=0\nc=IN IP6 2001:db8::1\nm=- 30000 TCP/TLS -\na=setup:passive\n }, \
            Remote { v=0\nc=IN IP4 192.0.2.9\nm=- 9 TCP/TLS -\na=setup:active\n } } }, \
            Events = 1 { g/cause }, Statistics { nt/dur = 1200, nt/os = 10, nt/or = 20 } } }, \
            Context = 8 { Error = 411 { \"gone\" } } }";
        let message = carnet_h248::text::parse(text.as_bytes(), &Default::default()).unwrap();
        let Some(Transaction::Reply(reply)) = message.transactions().first() else { panic!() };
        let answer = told(&reply.body, Some(9));
        let expected = json!({"contexts": [{"context": 7, "terminations": [{
            "id": "ip/1/1/5",
            "streams": [{
                "id": 1, "realm": "access", "mode": "SendReceive", "transport": "TCP/TLS",
                "local": "[2001:db8::1]:30000", "local_setup": "passive",
                "remote": "192.0.2.9:9", "remote_setup": "active", "tls": null, "msrp": null,
            }],
            "events": ["g/cause"],
            "milliseconds": 1200, "octets_received": 20, "octets_sent": 10,
        }]}], "next": 9});
        assert_eq!(answer, expected);
    }

    #[test]
    fn what_a_relay_does_besides_is_told() {
        let told = |local: &str, remote: &str, more: &str| {
            let text = format!(
                "MEGACO/3 <g> Reply = 1 {{ Context = 7 {{ AuditValue = ip/1/1/5 {{ Media {{ Stream = 1 {{ {more} \
                Local {{ v=0\nc=IN IP4 192.0.2.1\n{local}\n }}, Remote {{ v=0\n{remote}\n }} }} }}, \
                Signals {{ tlsbsc/EstBNC {{ Stream = 1 }} }} }} }} }}"
            );
            let message = carnet_h248::text::parse(text.as_bytes(), &Default::default()).unwrap();
            let Some(Transaction::Reply(reply)) = message.transactions().first() else { panic!() };
            let answer = told(&reply.body, None);
            let stream = &answer["contexts"][0]["terminations"][0]["streams"][0];
            (stream["tls"].clone(), stream["msrp"].clone())
        };
        let edge = "m=message 5 TCP/TLS/MSRP *\na=fingerprint:SHA-256 AA:BB";
        let peer = "m=message 9 TCP/TLS/MSRP *\na=fingerprint:SHA-256 CC:DD\na=path:msrps://a.example/s;tcp";
        let tls = |peer: Value| json!({ "role": "client", "fingerprint": "SHA-256 AA:BB", "peer": peer });
        let msrp = |path: Option<&str>| json!({ "path": path });
        let both = (tls(json!(["SHA-256 CC:DD"])), msrp(Some("msrps://a.example/s;tcp")));
        assert_eq!(told(edge, peer, ""), both);
        let waiting = (tls(json!([])), msrp(None));
        assert_eq!(told(edge, "m=message 9 TCP/TLS/MSRP *", ""), waiting);
        let passes = (Value::Null, Value::Null);
        assert_eq!(told("m=message 5 TCP/TLS/MSRP *", "m=message 9 TCP/TLS/MSRP *", ""), passes);
        assert_eq!(told("m=- 5 TCP/TLS -\na=fingerprint:SHA-256 AA:BB", peer, "").1, Value::Null);
        assert_eq!(told("m=message 5 TCP/MSRP *", "m=message 9 TCP/MSRP *", ""), (Value::Null, msrp(None)));
        // It ends in a conference.
        let member = "LocalControl { Mode = SendReceive, crnroom/user = 5 },";
        assert_eq!(told("m=message 5 TCP/MSRP *", "m=message 9 TCP/MSRP *", member), passes);
    }
}
