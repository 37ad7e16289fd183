//! The H.248 commands for a room: one context, one termination with one stream for each media line of each
//! member (TS 23.333 §6.2.19, §8.44 to §8.46).
//!
//! This module builds commands and reads replies; when they are sent is decided elsewhere. Keys leave here
//! as the write-only property `crntls/psk` and in no other way.

use std::net::SocketAddr;

use carnet_h248::{
    ActionReply, ActionRequest, Command, CommandReply, ContextId, Events, Media, ParameterValue, Property,
    RequestedEvent, Signal, Signals, Stream, StreamMode, TerminationId, Value, Verb,
};
use carnet_sdp::{Direction, Document, Setup};
use carnet_seal::Seal;
use carnet_wire::hex;

use crate::config::{Algorithm, Floor, Policy};
use crate::leg::Leg;
use crate::line::{Kind, LABEL, Line};
use crate::room::Room;
use crate::status::Decision;

/// The only stream of our terminations.
const STREAM: u16 = 1;

/// What a gateway can be asked to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch {
    /// `hangterm/thb`: so that neither side keeps what the other has forgotten.
    pub(crate) heartbeat: bool,
    pub(crate) connections: bool,
    pub(crate) tls: bool,
    pub(crate) floors: bool,
}

/// What is said of the member on each of its terminations.
pub(crate) struct Owner<'a> {
    pub(crate) user: u16,
    pub(crate) member: &'a str,
    pub(crate) nickname: Option<&'a str>,
    pub(crate) muted: bool,
    pub(crate) chairs: &'a [u16],
}

impl Leg {
    /// Whose terminations are made, with the floors that it chairs there.
    pub(crate) fn owner<'a>(&'a self, room: &Room, chairs: &'a [u16]) -> Owner<'a> {
        Owner {
            user: self.user,
            member: &self.member,
            nickname: self.nickname.as_deref(),
            muted: room.muted.contains(&self.member),
            chairs,
        }
    }
}

/// Where and how lines are put.
pub(crate) struct Site<'a> {
    pub(crate) realm: &'a str,
    /// Where the peer does not show which it has.
    pub(crate) ipv6: bool,
    pub(crate) watch: Watch,
    pub(crate) request: u32,
}

/// A reply that does not hold what was asked for. The gateway is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway's reply lacks {0}")]
pub(crate) struct Incomplete(pub(crate) &'static str);

/// What holds for a whole room (TS 23.333 §8.45 for the floors).
pub(crate) fn properties(uri: &str, policy: &Policy, confid: u32, state: Option<&str>) -> Vec<Property> {
    let list = |values: Vec<Value>| ParameterValue::AllOf(values);
    let mut all = vec![
        Property::new("crnroom/uri", quoted(uri)),
        Property::new("crnroom/nicknames", policy.nicknames),
        Property::new("crnroom/private", policy.private),
        Property::new("crnroom/moderated", policy.moderated),
        Property::new("crnroom/historycount", policy.history_count),
        Property::new("crnroom/historysecs", lasting(policy.history_seconds)),
        Property::new("crnroom/notices", policy.notices),
    ];
    // Of what is not set the media server knows what is usual there.
    let mut bound = |name: &'static str, most: u64| {
        if most != 0 {
            all.push(Property::new(name, most));
        }
    };
    bound("crnroom/maxmessage", policy.max_message);
    bound("crnroom/stallsecs", policy.stall_seconds.into());
    bound("crnroom/stalloctets", policy.stall_octets);
    if let Some(subject) = &policy.subject {
        all.push(Property::new("crnroom/subject", Value::escaped(subject)));
    }
    if !policy.reserved.is_empty() {
        let names = policy.reserved.iter().map(|(name, _)| Value::escaped(name)).collect();
        all.push(Property::new("crnroom/reserved", list(names)));
    }
    if !policy.floors.is_empty() {
        all.push(Property::new("fcp/confid", confid));
        let floors = policy.floors.iter().map(|floor| quoted(&described(floor))).collect();
        all.push(Property::new("fcp/floors", list(floors)));
        all.push(Property::new("fcp/maxrequests", policy.floor_requests.max(1)));
        if let Some(state) = state {
            all.push(Property::new("fcp/state", quoted(state)));
        }
    }
    all
}

/// Seconds for which something is kept, 0 for ever: there is a longest time in H.248, and none that says so.
fn lasting(seconds: u32) -> u32 {
    const LONGEST: u32 = i32::MAX as u32;
    if seconds == 0 { LONGEST } else { seconds.min(LONGEST) }
}

/// `ID:ALGORITHM:MAXHOLDERS:SECONDS[:STREAMLABEL]`
fn described(floor: &Floor) -> String {
    let algorithm = match floor.algorithm {
        Algorithm::FirstComeFirstServed => "fcfs",
        Algorithm::Chair => "chair",
        Algorithm::Rotation => "rotation",
    };
    let mut text = format!("{}:{algorithm}:{}:{}", floor.id, floor.holders.max(1), floor.seconds);
    if floor.messages {
        text.push(':');
        text.push_str(LABEL);
    }
    text
}

/// A value that has to stand in quotes; what cannot stand there is left out.
fn quoted(text: &str) -> Value {
    Value::new(text.chars().filter(|c| !c.is_control() && *c != '"').collect::<String>())
}

/// What is another in a room that is run by `now` and was run by `before`. What H.248 cannot take away is
/// set to nothing.
pub(crate) fn changed(uri: &str, (before, now): (&Policy, &Policy), confid: u32) -> Vec<Property> {
    let (old, mut new) = (properties(uri, before, confid, None), properties(uri, now, confid, None));
    new.retain(|property| !old.contains(property));
    let nothing = |name: &'static str| match name {
        "crnroom/subject" => Property::new(name, quoted("")),
        _ => Property::new(name, ParameterValue::AllOf(vec![quoted("")])),
    };
    let has = |all: &[Property], name: &str| all.iter().any(|property| property.name == *name);
    for name in ["crnroom/subject", "crnroom/reserved", "fcp/floors"] {
        if has(&old, name) && now_without(now, name) {
            new.push(nothing(name));
        }
    }
    new
}

fn now_without(policy: &Policy, name: &str) -> bool {
    match name {
        "crnroom/subject" => policy.subject.is_none(),
        "crnroom/reserved" => policy.reserved.is_empty(),
        _ => policy.floors.is_empty(),
    }
}

/// Which floors whoever is on a line of floor control decides about: none takes them away.
pub(crate) fn chairs(termination: TerminationId, floors: &[u16]) -> Command {
    // No floor has this number.
    let none = [0];
    let floors = if floors.is_empty() { &none } else { floors };
    let chairs = ParameterValue::AllOf(floors.iter().map(|floor| Value::from(*floor)).collect());
    Command::modify(termination).with(Media::with_stream(Stream::new(STREAM).property("fcp/chair", chairs)))
}

/// Adds a termination for `line`. With `seal` its key goes along.
pub(crate) fn add(site: &Site<'_>, owner: &Owner<'_>, line: &Line, seal: Option<&Seal>) -> Command {
    let stream = stream(line, seal, Some(site.ipv6))
        .property("ipdc/realm", site.realm.to_owned())
        .property("crnroom/user", owner.user)
        .property("crnroom/member", quoted(owner.member));
    let stream = match line.kind {
        Kind::Messages => {
            // One that is called back comes into a room that was made anew: what is told there was said
            // while it was away.
            let stream = stream.property("crnroom/history", true);
            let stream = if owner.muted { stream.property("crnroom/speak", false) } else { stream };
            match owner.nickname {
                Some(nickname) => stream.property("crnroom/nick", Value::escaped(nickname)),
                None => stream,
            }
        }
        Kind::Floors if owner.chairs.is_empty() => stream,
        Kind::Floors => {
            let chairs = owner.chairs.iter().map(|floor| Value::from(*floor)).collect();
            stream.property("fcp/chair", ParameterValue::AllOf(chairs))
        }
    };
    Command::add(TerminationId::CHOOSE).with(Media::with_stream(stream)).with(events(
        site.watch,
        site.request,
        line,
    ))
}

/// Tells the gateway what has become known of the peer. What is not said stays as it is.
pub(crate) fn modify(line: &Line, realm: &str, seal: Option<&Seal>) -> Option<Command> {
    let stream = stream(line, seal, None).property("ipdc/realm", realm.to_owned());
    Some(Command::modify(line.termination.clone()?).with(Media::with_stream(stream)))
}

/// Whether a member may send to the room. Of floors nothing changes.
pub(crate) fn speaking(line: &Line, realm: &str, may: bool) -> Option<Command> {
    let stream = stream(line, None, None).property("ipdc/realm", realm.to_owned());
    let stream = stream.property("crnroom/speak", may);
    let termination = line.termination.clone().filter(|_| line.kind == Kind::Messages)?;
    Some(Command::modify(termination).with(Media::with_stream(stream)))
}

/// Decides about a floor that the member of a termination asks for or has.
pub(crate) fn decide(termination: TerminationId, floor: u16, decision: Decision) -> Command {
    let word = if decision == Decision::Grant { "grant" } else { "refuse" };
    let signal = Signal::new("fcp/decide").parameter("floor", floor).parameter("decision", word);
    Command::modify(termination).with(Signals::with(signal))
}

/// `fresh`: its address is still to be chosen, of IPv6 if it says so.
fn stream(line: &Line, seal: Option<&Seal>, fresh: Option<bool>) -> Stream {
    let mut stream = Stream::new(STREAM).mode(mode(line.peer.as_ref().map(|peer| peer.direction)));
    if line.sealed {
        stream = stream.property("crnroom/tls", if line.tls_client { "client" } else { "server" });
    }
    if let Some(seal) = seal {
        stream = stream
            .property("crntls/pskid", base64url(seal.psk_identity.as_bytes()))
            .property("crntls/psk", Value::secret(hex::encode(seal.tek.expose())));
    }
    if let Some(peer) = &line.peer
        && line.kind == Kind::Messages
    {
        if let Some(size) = peer.max_size {
            stream = stream.property("crnroom/maxsize", size);
        }
        if !peer.accept_types.is_empty() {
            stream = stream.property("crnroom/types", quoted(&peer.accept_types));
        }
    }
    stream = stream.local(local(line, fresh));
    match &line.peer {
        Some(peer) => {
            let path = Some(peer.path.as_str()).filter(|path| !path.is_empty());
            let place = (peer.host.as_str(), peer.host.contains(':'));
            stream.remote(sdp(line, place, &peer.port.to_string(), mirrored(line.setup), path))
        }
        None => stream,
    }
}

fn local(line: &Line, fresh: Option<bool>) -> String {
    let scheme = if line.sealed { "msrps" } else { "msrp" };
    let asked = format!("{scheme}://$:$/{};tcp", line.session);
    let path = (line.kind == Kind::Messages).then(|| line.path.as_deref().unwrap_or(&asked));
    let local = line.local.filter(|_| fresh.is_none());
    let peer = line.peer.as_ref().map(|peer| peer.host.contains(':'));
    let ipv6 = local.map(|local| local.is_ipv6()).or(peer).or(fresh).unwrap_or_default();
    let (host, port) = match local {
        Some(local) => (local.ip().to_string(), local.port().to_string()),
        None => ("$".to_owned(), "$".to_owned()),
    };
    sdp(line, (&host, ipv6), &port, Some(line.setup), path)
}

/// The peer's role, from ours; unknown while ours is open.
fn mirrored(setup: Setup) -> Option<Setup> {
    match setup {
        Setup::Active => Some(Setup::Passive),
        Setup::Passive => Some(Setup::Active),
        _ => None,
    }
}

fn sdp(
    line: &Line,
    (host, ipv6): (&str, bool),
    port: &str,
    setup: Option<Setup>,
    path: Option<&str>,
) -> String {
    let version = if ipv6 { "IP6" } else { "IP4" };
    let media = line.kind.media();
    let transport = line.transport();
    let mut text = format!("v=0\r\nc=IN {version} {host}\r\nm={media} {port} {transport} *\r\n");
    if let Some(setup) = setup {
        text.push_str(&format!("a=setup:{setup}\r\n"));
    }
    if let Some(path) = path {
        text.push_str(&format!("a=path:{path}\r\n"));
    }
    text
}

/// The gate, as the peer's direction wants it.
fn mode(direction: Option<Direction>) -> StreamMode {
    match direction {
        None | Some(Direction::SendRecv) => StreamMode::SendReceive,
        Some(Direction::SendOnly) => StreamMode::ReceiveOnly,
        Some(Direction::RecvOnly) => StreamMode::SendOnly,
        Some(Direction::Inactive) => StreamMode::Inactive,
    }
}

/// What the gateway shall tell about.
fn events(watch: Watch, number: u32, line: &Line) -> Events {
    let mut events = Events::new(number);
    // That a connection has come is of no interest; that it has gone is told once.
    let gone = |name: &'static str| RequestedEvent::new(name).parameter("Type", "REL");
    events = events.event(match watch.connections {
        true => gone("tcpbcc/BNCChange"),
        false => RequestedEvent::new("g/cause"),
    });
    if watch.tls && line.sealed {
        events = events.event(gone("tlsbsc/BNCChange"));
    }
    let mut ask = |name: &'static str| events.events.push(RequestedEvent::new(name));
    if line.sealed {
        ask("crnroom/sealed");
    }
    ask("crnroom/released");
    if line.kind == Kind::Messages {
        ask("crnroom/nickname");
        ask("crnroom/stalled");
    }
    if watch.floors {
        ask("fcp/floor");
    }
    if watch.heartbeat {
        events = events.event(RequestedEvent::new("hangterm/thb").parameter("timerx", 120_u64));
    }
    events
}

/// Ends terminations.
pub(crate) fn subtract(context: u32, terminations: &[TerminationId]) -> Vec<ActionRequest> {
    let commands = terminations.iter().map(|id| Command::subtract(id.clone())).collect();
    vec![ActionRequest::new(ContextId::Id(context), commands)]
}

/// Ends a context with everything in it.
pub(crate) fn subtract_all(context: ContextId) -> Vec<ActionRequest> {
    let all = Command::subtract(TerminationId::ALL).wildcard_response();
    vec![ActionRequest::new(context, vec![all])]
}

/// Takes over what the gateway chose for `lines`, in the order in which they were added.
pub(crate) fn added(lines: &mut [Line], reply: &[ActionReply]) -> Result<u32, Incomplete> {
    let action = reply.first().ok_or(Incomplete("an action"))?;
    let context = action.context.id().ok_or(Incomplete("the name of the context"))?;
    let mut results = action.commands.iter().filter(|command| command.verb == Verb::Add);
    for line in lines.iter_mut().filter(|line| line.termination.is_none()) {
        let result = results.next().ok_or(Incomplete("a termination"))?;
        let id = Some(result.termination().clone()).filter(TerminationId::is_specific);
        line.termination = Some(id.ok_or(Incomplete("the name of a termination"))?);
        let (local, path) = local_of(result).ok_or(Incomplete("a local address"))?;
        line.local = Some(local);
        if line.kind == Kind::Messages {
            line.path = Some(path.ok_or(Incomplete("a path"))?);
        }
    }
    Ok(context)
}

fn local_of(reply: &CommandReply) -> Option<(SocketAddr, Option<String>)> {
    let sdp = reply.media()?.stream(STREAM)?.local.as_ref()?.to_bytes();
    let document = Document::parse_fragment(sdp, &carnet_sdp::Limits::default()).ok()?;
    let line = document.media_at(0)?;
    let address = line.address().filter(|address| address.port() != 0)?;
    Some((address, line.path().map(str::to_owned)))
}

/// RFC 4648 §5 without padding.
fn base64url(octets: &[u8]) -> Value {
    let text = carnet_wire::base64::encode(octets);
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    Value::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_described_in_one_word() {
        let floor = Floor {
            id: 3,
            algorithm: Algorithm::Chair,
            holders: 2,
            seconds: 60,
            messages: true,
            chair: None,
        };
        assert_eq!(described(&floor), "3:chair:2:60:messages");
        assert_eq!(described(&Floor { messages: false, holders: 0, ..floor }), "3:chair:1:60");
    }

    #[test]
    fn the_gate_follows_what_the_peer_does() {
        assert_eq!(mode(None), StreamMode::SendReceive);
        assert_eq!(mode(Some(Direction::SendOnly)), StreamMode::ReceiveOnly);
        assert_eq!(mode(Some(Direction::RecvOnly)), StreamMode::SendOnly);
        assert_eq!(mode(Some(Direction::Inactive)), StreamMode::Inactive);
    }
}
