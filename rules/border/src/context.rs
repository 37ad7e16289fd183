//! One H.248 context of a call: a media line, two terminations, one stream.
//!
//! RFC 3525 §7.1 and §7.2, TS 23.334 §6.2.1 and §6.2.10A. This module builds the commands and
//! reads the replies; when they are sent is decided by the call. Every command states the whole
//! LocalControl, because a new one replaces the old (RFC 3525 §7.1.7).

use crate::config::{Family, Network, Timers};
use crate::plan::Transport;
use carnet_h248::controller::GatewayName;
use carnet_h248::{
    ActionReply, ActionRequest, Audit, AuditToken, Command, CommandReply, ContextId, Events, Media,
    RequestedEvent, Signal, Signals, Stream, StreamMode, TerminationId, Verb,
};
use carnet_sdp::{Document, Setup};
use std::net::{IpAddr, SocketAddr};

/// A side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that sent the first INVITE.
    Caller,
    /// The other.
    Callee,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// A value for each side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Both<T> {
    /// Of the caller.
    pub caller: T,
    /// Of the callee.
    pub callee: T,
}

impl<T> Both<T> {
    /// The value of that side.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    /// The value of that side, to change.
    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }
}

/// The highest priority of a context (RFC 3525 §6.1.1).
const HIGHEST: u16 = 15;

/// The only stream of our contexts.
const STREAM: u16 = 1;

/// Settings of a termination that do not change while it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) realm: String,
    pub(crate) family: Family,
    pub(crate) rate: Option<(u64, u64)>,
    pub(crate) dscp: Option<u8>,
    pub(crate) heartbeat: u64,
    pub(crate) inactivity: Option<u64>,
}

impl Fixed {
    pub(crate) fn new(network: &Network, timers: &Timers) -> Self {
        Self {
            realm: network.realm.clone(),
            family: network.family,
            rate: network.rate,
            dscp: network.dscp,
            heartbeat: timers.heartbeat.as_secs(),
            inactivity: timers.inactivity.map(|t| t.as_secs()),
        }
    }
}

/// What is known of the peer of a termination; changes with offers and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Peer {
    /// Address and port in its SDP.
    pub(crate) remote: Option<SocketAddr>,
    /// The gateway's own role towards it; `ActPass` while that is open.
    pub(crate) role: Option<Setup>,
    /// The only source that may connect.
    pub(crate) filter: Option<IpAddr>,
    /// The peer's address is only known when it connects.
    pub(crate) latch: bool,
}

/// What this gateway can be asked to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch {
    /// `g/cause`.
    pub(crate) cause: bool,
    /// `hangterm/thb`.
    pub(crate) heartbeat: bool,
    /// `adid/ipstop`.
    pub(crate) inactivity: bool,
}

/// How much a call matters to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Urgency {
    #[default]
    Normal,
    /// It has a Resource-Priority that we trust (RFC 4412).
    Priority,
    /// `urn:service:sos` (RFC 5031).
    Emergency,
}

/// The media line that a context is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// What the plan says of its transport.
    pub(crate) planned: Transport,
    /// Its TLS passes through.
    pub(crate) sealed: bool,
    pub(crate) urgency: Urgency,
}

/// One side of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    fixed: Fixed,
    id: Option<TerminationId>,
    /// The gateway's address there.
    local: Option<SocketAddr>,
    /// As the gateway was last told.
    peer: Peer,
}

impl End {
    fn new(fixed: Fixed) -> Self {
        Self { fixed, id: None, local: None, peer: Peer::default() }
    }
}

/// A context on a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) gateway: GatewayName,
    id: Option<u32>,
    pub(crate) line: Line,
    /// What the gateway is told.
    transport: &'static str,
    ends: Both<End>,
    mode: StreamMode,
    watch: Watch,
}

/// A reply that does not hold what was asked for. The gateway is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway's reply lacks {0}")]
pub(crate) struct Incomplete(pub(crate) &'static str);

/// Octets counted by a termination when it was subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Octets {
    /// Received from the peer.
    pub received: u64,
    /// Sent to the peer.
    pub sent: u64,
}

impl Context {
    /// `named` is the transport that the gateway is told.
    pub(crate) fn new(
        (gateway, watch): (GatewayName, Watch),
        named: Transport,
        line: Line,
        (caller, callee): (Fixed, Fixed),
    ) -> Self {
        let ends = Both { caller: End::new(caller), callee: End::new(callee) };
        let mode = StreamMode::Inactive;
        Self { gateway, id: None, line, transport: named.as_str(), ends, mode, watch }
    }

    /// The same on another gateway, not added yet.
    pub(crate) fn on(&self, on: (GatewayName, Watch), named: Transport) -> Self {
        let fixed = (self.ends.caller.fixed.clone(), self.ends.callee.fixed.clone());
        Self::new(on, named, self.line, fixed)
    }

    /// The realms of caller and callee.
    pub(crate) fn realms(&self) -> [&str; 2] {
        [&self.ends.caller.fixed.realm, &self.ends.callee.fixed.realm]
    }

    /// The terminations it has, with their realms.
    pub(crate) fn terminations(&self) -> impl Iterator<Item = (&str, &TerminationId)> {
        let ends = [&self.ends.caller, &self.ends.callee].into_iter();
        ends.filter_map(|end| Some((end.fixed.realm.as_str(), end.id.as_ref()?)))
    }

    /// Its number, once the gateway has given it one.
    pub(crate) fn id(&self) -> Option<u32> {
        self.id
    }

    /// Whether it was made for a line of that transport.
    pub(crate) fn carries(&self, planned: Transport) -> bool {
        self.line.planned == planned
    }

    /// The gateway's address towards that side.
    pub(crate) fn local(&self, side: Side) -> Option<SocketAddr> {
        self.ends.of(side).local
    }

    /// Whether the gateway already has these peers and this gate.
    pub(crate) fn is_set_to(&self, peers: &Both<Peer>, mode: StreamMode) -> bool {
        self.mode == mode && self.ends.caller.peer == peers.caller && self.ends.callee.peer == peers.callee
    }

    /// The peers and the gate as the gateway was last told.
    pub(crate) fn setting(&self) -> (Both<Peer>, StreamMode) {
        (Both { caller: self.ends.caller.peer, callee: self.ends.callee.peer }, self.mode)
    }

    /// Adds both terminations in one transaction; the side named `first` is the offerer's.
    pub(crate) fn add(&mut self, first: Side, peers: Both<Peer>, events: u32) -> Vec<ActionRequest> {
        self.ends.caller.peer = peers.caller;
        self.ends.callee.peer = peers.callee;
        let command = |side: Side, number: u32| {
            let end = self.ends.of(side);
            let mut command = Command::add(TerminationId::CHOOSE).with(Media::with_stream(self.stream(end)));
            command = command.with(self.events(&end.fixed, number));
            if end.peer.latch {
                let latch = Signal::new("ipnapt/latch").parameter("napt", "LATCH");
                command = command.with(Signals::with(latch));
            }
            command
        };
        let commands = vec![command(first, events), command(first.other(), events.wrapping_add(1))];
        let mut action = ActionRequest::new(ContextId::Choose, commands);
        // RFC 3525 §6.1.1; TS 23.334 §8.2: Emergency Call Indicator, Priority information.
        match self.line.urgency {
            Urgency::Normal => {}
            Urgency::Priority => action.properties.priority = Some(HIGHEST),
            Urgency::Emergency => action.properties.emergency = Some(true),
        }
        vec![action]
    }

    /// Takes over what the gateway chose. `first` as in [`Self::add`].
    pub(crate) fn added(&mut self, first: Side, reply: &[ActionReply]) -> Result<(), Incomplete> {
        let action = reply.first().ok_or(Incomplete("an action"))?;
        self.id = action.context.id();
        let mut results = action.commands.iter().filter(|c| c.verb == Verb::Add);
        for side in [first, first.other()] {
            let result = results.next().ok_or(Incomplete("a termination"))?;
            let end = self.ends.of_mut(side);
            end.id = Some(result.termination().clone()).filter(TerminationId::is_specific);
            end.local = Some(local_address(result).ok_or(Incomplete("a local address"))?);
        }
        let named = self.id.is_some() && self.ends.caller.id.is_some() && self.ends.callee.id.is_some();
        if named { Ok(()) } else { Err(Incomplete("the names of context and terminations")) }
    }

    /// Gives both terminations their peers and opens the gates both ways.
    pub(crate) fn modify(&mut self, peers: Both<Peer>, mode: StreamMode) -> Vec<ActionRequest> {
        let Some(id) = self.id else { return Vec::new() };
        self.ends.caller.peer = peers.caller;
        self.ends.callee.peer = peers.callee;
        self.mode = mode;
        let commands = [&self.ends.callee, &self.ends.caller].into_iter().filter_map(|end| {
            let stream = Media::with_stream(self.stream(end));
            Some(Command::modify(end.id.clone()?).with(stream))
        });
        vec![ActionRequest::new(ContextId::Id(id), commands.collect())]
    }

    /// Ends the context and asks for the counters. Empty if the gateway never named it.
    pub(crate) fn subtract(&self) -> Vec<ActionRequest> {
        let Some(id) = self.id else { return Vec::new() };
        let ids = [&self.ends.caller.id, &self.ends.callee.id];
        let mut commands: Vec<_> = ids
            .into_iter()
            .flatten()
            .map(|t| Command::subtract(t.clone()).with(Audit::of(&[AuditToken::Statistics])))
            .collect();
        if commands.len() < 2 {
            commands = vec![Command::subtract(TerminationId::ALL).wildcard_response().with(Audit::default())];
        }
        vec![ActionRequest::new(ContextId::Id(id), commands)]
    }

    /// The counters in the reply to [`Self::subtract`].
    pub(crate) fn counted(&self, reply: &[ActionReply]) -> Both<Octets> {
        let mut octets = Both::default();
        for result in reply.iter().flat_map(|a| &a.commands) {
            for side in [Side::Caller, Side::Callee] {
                if self.ends.of(side).id.as_ref() == Some(result.termination()) {
                    *octets.of_mut(side) = counters(result);
                }
            }
        }
        octets
    }

    fn stream(&self, end: &End) -> Stream {
        let fixed = &end.fixed;
        let mut stream = Stream::new(STREAM).mode(self.mode).property("ipdc/realm", fixed.realm.clone());
        if let Some(ip) = end.peer.filter {
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            stream = stream.property("gm/saf", true).property("gm/sam", format!("{ip}/{bits}"));
        }
        if let Some((rate, burst)) = fixed.rate {
            stream = stream.property("tman/pol", true).property("tman/sdr", rate).property("tman/mbs", burst);
        }
        if let Some(dscp) = fixed.dscp {
            stream = stream.property("ds/dscp", format!("{dscp:02X}"));
        }
        stream = stream.local(self.local_sdp(end));
        match end.peer.remote {
            Some(remote) => stream.remote(self.sdp(
                family_of(remote.ip()),
                &remote.ip().to_string(),
                &remote.port().to_string(),
                end.peer.role.map(Setup::mirror),
            )),
            None => stream,
        }
    }

    fn local_sdp(&self, end: &End) -> String {
        match end.local {
            Some(local) => self.sdp(
                family_of(local.ip()),
                &local.ip().to_string(),
                &local.port().to_string(),
                end.peer.role,
            ),
            None => self.sdp(end.fixed.family, "$", "$", end.peer.role),
        }
    }

    /// What the gateway shall tell about.
    fn events(&self, fixed: &Fixed, number: u32) -> Events {
        let mut events = Events::new(number);
        if self.watch.cause {
            events = events.event(RequestedEvent::new("g/cause"));
        }
        if fixed.heartbeat > 0 && self.watch.heartbeat {
            events = events.event(RequestedEvent::new("hangterm/thb").parameter("timerx", fixed.heartbeat));
        }
        if let Some(seconds) = fixed.inactivity.filter(|_| self.watch.inactivity) {
            let stop = RequestedEvent::new("adid/ipstop").parameter("dt", seconds).parameter("dir", "BOTH");
            events = events.event(stop);
        }
        events
    }

    fn sdp(&self, family: Family, address: &str, port: &str, setup: Option<Setup>) -> String {
        let version = match family {
            Family::V4 => "IP4",
            Family::V6 => "IP6",
        };
        let setup = setup.map(|s| format!("a=setup:{s}\r\n")).unwrap_or_default();
        let transport = self.transport;
        format!("v=0\r\nc=IN {version} {address}\r\nm=- {port} {transport} -\r\n{setup}")
    }
}

/// Ends a context that nobody here knows.
pub(crate) fn subtract_all(context: ContextId) -> Vec<ActionRequest> {
    let all = Command::subtract(TerminationId::ALL).wildcard_response().with(Audit::default());
    vec![ActionRequest::new(context, vec![all])]
}

fn family_of(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

fn local_address(reply: &CommandReply) -> Option<SocketAddr> {
    let sdp = reply.media()?.stream(STREAM)?.local.as_ref()?.to_bytes();
    let document = Document::parse_fragment(sdp, &carnet_sdp::Limits::default()).ok()?;
    document.media_at(0)?.address().filter(|a| a.port() != 0)
}

fn counters(reply: &CommandReply) -> Octets {
    let value = |name: &str| {
        let statistic = reply.statistics()?.iter().find(|s| s.name == *name)?;
        statistic.values.first()?.as_u64()
    };
    Octets { received: value("nt/or").unwrap_or(0), sent: value("nt/os").unwrap_or(0) }
}
