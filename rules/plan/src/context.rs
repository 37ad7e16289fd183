//! One H.248 context of a call: a media line, two terminations, one stream.
//!
//! RFC 3525 §7.1 and §7.2, TS 23.334 §6.2.1, §6.2.10.3 and §6.2.10A. This module builds the commands
//! and reads the replies; when they are sent is decided by the call. Every command states the whole
//! LocalControl, because a new one replaces the old (RFC 3525 §7.1.7).
//!
//! The two terminations need not carry the same: TLS may end at one of them, and then the gateway
//! says which certificate it shows there.

use crate::{Leg, TlsRole};
use carnet_h248::controller::GatewayName;
use carnet_h248::{
    ActionReply, ActionRequest, Audit, AuditToken, Command, CommandReply, ContextId, ErrorDescriptor, Events,
    Media, RequestedEvent, Signal, SignalItem, Signals, Stream, StreamMode, TerminationId, Verb,
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

impl<T> Both<T> {
    /// Values of offerer and answerer as those of caller and callee.
    pub fn by_offer(offerer: Side, of_offerer: T, of_answerer: T) -> Self {
        match offerer {
            Side::Caller => Self { caller: of_offerer, callee: of_answerer },
            Side::Callee => Self { caller: of_answerer, callee: of_offerer },
        }
    }
}

/// The highest priority of a context (RFC 3525 §6.1.1).
const HIGHEST: u16 = 15;

/// The only stream of our contexts.
const STREAM: u16 = 1;

/// IP version of a network's media addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Family {
    /// `IN IP4`
    #[default]
    V4,
    /// `IN IP6`
    V6,
}

/// Settings of a termination that do not change while it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The gateway's IP realm.
    pub realm: String,
    /// IP version of its address.
    pub family: Family,
    /// Octets per second and burst that the peer may send.
    pub rate: Option<(u64, u64)>,
    /// DSCP of what is sent to the peer, 0 to 63.
    pub dscp: Option<u8>,
    /// Seconds between the gateway's questions whether it is still wanted; zero is none.
    pub heartbeat: u64,
    /// Seconds without octets after which the gateway says so.
    pub inactivity: Option<u64>,
}

/// What a termination carries. Another kind needs another context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Transport named to the gateway: `TCP/TLS`, `TCP/MSRP` ...
    pub transport: &'static str,
    /// TLS with the peer ends there.
    pub tls: bool,
}

/// What is known of the peer of a termination; changes with offers and answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Address and port in its SDP.
    pub remote: Option<SocketAddr>,
    /// The gateway's own role towards it; `ActPass` while that is open.
    pub role: Option<Setup>,
    /// The only source that may connect.
    pub filter: Option<IpAddr>,
    /// The peer's address is only known when it connects.
    pub latch: bool,
    /// Octets per second that its SDP lets it be sent, which is what the far side may send.
    pub takes: Option<u64>,
    /// Fingerprints in its SDP, where TLS with it ends at the gateway.
    pub fingerprints: Vec<String>,
    /// Its `a=path`, where the gateway rewrites MSRP.
    pub path: Option<String>,
    /// The gateway is the TLS client towards it.
    pub tls_client: bool,
}

/// What is known of an end besides its descriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// Its own addresses cannot be reached: it is behind a NAT.
    pub behind_nat: bool,
    /// Where its signalling comes from.
    pub source: Option<IpAddr>,
    /// Only it may connect.
    pub filtered: bool,
}

impl Peer {
    /// The peer as the gateway is to know it: its leg, what is known of it, and where its description says
    /// that it is and how many octets per second it takes.
    pub fn new(leg: &Leg, known: Known, (remote, takes): (Option<SocketAddr>, Option<u64>)) -> Self {
        let waits = !matches!(leg.setup, Setup::Active | Setup::HoldConn);
        let source = if known.behind_nat { known.source } else { remote.map(|r| r.ip()) };
        Self {
            remote,
            role: Some(leg.setup),
            filter: source.filter(|_| waits && known.filtered),
            latch: waits && known.behind_nat,
            takes,
            fingerprints: leg.tls.as_ref().map(|tls| tls.fingerprints.clone()).unwrap_or_default(),
            path: leg.path.clone(),
            tls_client: leg.tls.as_ref().is_some_and(|tls| tls.role == Some(TlsRole::Client)),
        }
    }
}

/// What this gateway can be asked to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// `g/cause`.
    pub cause: bool,
    /// `hangterm/thb`.
    pub heartbeat: bool,
    /// `adid/ipstop`.
    pub inactivity: bool,
    /// `tcpbcc/BNCChange`.
    pub tcp: bool,
    /// `tlsbsc/BNCChange`.
    pub tls: bool,
    /// Both of it on every termination, the coming of connections too: else only what goes wrong where
    /// TLS ends is told.
    pub connections: bool,
}

/// How much a call matters to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Urgency {
    /// As any other.
    #[default]
    Normal,
    /// It has a Resource-Priority that we trust (RFC 4412).
    Priority,
    /// `urn:service:sos` (RFC 5031).
    Emergency,
}

/// The media line that a context is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// What the plan says of each side.
    pub planned: Both<Kind>,
    /// Its TLS passes through.
    pub sealed: bool,
    /// How much it matters.
    pub urgency: Urgency,
}

impl Kind {
    /// Of a leg.
    pub fn of(leg: &Leg) -> Self {
        Self { transport: leg.transport.as_str(), tls: leg.tls.is_some() }
    }
}

impl Carried {
    /// Whether the gateway does more for it than pass octets on.
    pub fn is_demanding(&self) -> bool {
        let rewrites = |kind: &Kind| kind.transport.ends_with("/MSRP");
        self.ends_tls() || rewrites(&self.planned.caller) || rewrites(&self.planned.callee)
    }

    /// Whether TLS ends at the gateway on one of its sides.
    pub fn ends_tls(&self) -> bool {
        self.planned.caller.tls || self.planned.callee.tls
    }
}

/// One side of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub(crate) fixed: Fixed,
    pub(crate) id: Option<TerminationId>,
    /// The gateway's address there.
    pub(crate) local: Option<SocketAddr>,
    /// The fingerprint of the gateway's certificate there, `SHA-256 4A:AD:...`.
    pub(crate) fingerprint: Option<String>,
    /// What the gateway is told that it carries.
    pub(crate) kind: Kind,
    /// As the gateway was last told.
    pub(crate) peer: Peer,
}

impl End {
    fn new(fixed: Fixed, kind: Kind) -> Self {
        Self { fixed, id: None, local: None, fingerprint: None, kind, peer: Peer::default() }
    }
}

/// A context on a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The gateway it is on.
    pub gateway: GatewayName,
    pub(crate) id: Option<u32>,
    /// What it is for.
    pub line: Carried,
    pub(crate) ends: Both<End>,
    pub(crate) mode: StreamMode,
    pub(crate) watch: Watch,
}

/// A reply that does not hold what was asked for. The gateway is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway's reply lacks {0}")]
pub struct Incomplete(
    /// What it lacks.
    pub &'static str,
);

/// Octets counted by a termination when it was subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Octets {
    /// Received from the peer.
    pub received: u64,
    /// Sent to the peer.
    pub sent: u64,
}

impl Context {
    /// `named` is the transport that the gateway is told in place of the planned one.
    pub fn new(
        (gateway, watch): (GatewayName, Watch),
        named: Option<&'static str>,
        line: Carried,
        (caller, callee): (Fixed, Fixed),
    ) -> Self {
        let kind = |planned: &Kind| Kind { transport: named.unwrap_or(planned.transport), ..planned.clone() };
        let ends = Both {
            caller: End::new(caller, kind(&line.planned.caller)),
            callee: End::new(callee, kind(&line.planned.callee)),
        };
        Self { gateway, id: None, line, ends, mode: StreamMode::Inactive, watch }
    }

    /// The same on another gateway, not added yet.
    pub fn on(&self, on: (GatewayName, Watch), named: Option<&'static str>) -> Self {
        let fixed = (self.ends.caller.fixed.clone(), self.ends.callee.fixed.clone());
        Self::new(on, named, self.line.clone(), fixed)
    }

    /// The realms of caller and callee.
    pub fn realms(&self) -> [&str; 2] {
        [&self.ends.caller.fixed.realm, &self.ends.callee.fixed.realm]
    }

    /// The terminations it has, with their realms.
    pub fn terminations(&self) -> impl Iterator<Item = (&str, &TerminationId)> {
        let ends = [&self.ends.caller, &self.ends.callee].into_iter();
        ends.filter_map(|end| Some((end.fixed.realm.as_str(), end.id.as_ref()?)))
    }

    /// Its number, once the gateway has given it one.
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// Whether it was made for a line of that kind.
    pub fn carries(&self, planned: &Both<Kind>, sealed: bool) -> bool {
        self.line.planned == *planned && self.line.sealed == sealed
    }

    /// The settings of the termination towards that side.
    pub fn fixed(&self, side: Side) -> &Fixed {
        &self.ends.of(side).fixed
    }

    /// The gateway's address towards that side.
    pub fn local(&self, side: Side) -> Option<SocketAddr> {
        self.ends.of(side).local
    }

    /// The fingerprint of the gateway's certificate towards that side, where TLS ends there.
    pub fn fingerprint(&self, side: Side) -> Option<&str> {
        self.ends.of(side).fingerprint.as_deref()
    }

    /// Whether the gateway is the TLS client towards that side; `None` where no TLS ends there.
    pub fn tls_client(&self, side: Side) -> Option<bool> {
        let end = self.ends.of(side);
        end.kind.tls.then_some(end.peer.tls_client)
    }

    /// The fingerprints that the gateway holds that side to.
    pub fn held_to(&self, side: Side) -> &[String] {
        &self.ends.of(side).peer.fingerprints
    }

    /// The side of a termination.
    pub fn side_of(&self, termination: &TerminationId) -> Option<Side> {
        let is = |side: &Side| self.ends.of(*side).id.as_ref() == Some(termination);
        [Side::Caller, Side::Callee].into_iter().find(is)
    }

    /// Whether the gateway already has these peers and this gate.
    pub fn is_set_to(&self, peers: &Both<Peer>, mode: StreamMode) -> bool {
        self.mode == mode && self.ends.caller.peer == peers.caller && self.ends.callee.peer == peers.callee
    }

    /// The peers and the gate as the gateway was last told.
    pub fn setting(&self) -> (Both<Peer>, StreamMode) {
        (Both { caller: self.ends.caller.peer.clone(), callee: self.ends.callee.peer.clone() }, self.mode)
    }

    /// Adds both terminations in one transaction; the side named `first` is the offerer's.
    pub fn add(&mut self, first: Side, peers: Both<Peer>, events: u32) -> Vec<ActionRequest> {
        self.ends.caller.peer = peers.caller;
        self.ends.callee.peer = peers.callee;
        let command = |side: Side, number: u32| {
            let mut command = Command::add(TerminationId::CHOOSE).with(Media::with_stream(self.stream(side)));
            command = command.with(self.events(self.ends.of(side), number));
            let signals = signals(&self.ends.of(side).peer);
            if signals.0.is_empty() { command } else { command.with(signals) }
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
    pub fn added(&mut self, first: Side, reply: &[ActionReply]) -> Result<(), Incomplete> {
        let action = reply.first().ok_or(Incomplete("an action"))?;
        self.id = action.context.id();
        let mut results = action.commands.iter().filter(|c| c.verb == Verb::Add);
        for side in [first, first.other()] {
            let result = results.next().ok_or(Incomplete("a termination"))?;
            let end = self.ends.of_mut(side);
            end.id = Some(result.termination().clone()).filter(TerminationId::is_specific);
            let local = local_of(result).ok_or(Incomplete("a local address"))?;
            let line = local.media_at(0).ok_or(Incomplete("a local address"))?;
            let address = line.address().filter(|a| a.port() != 0);
            end.local = Some(address.ok_or(Incomplete("a local address"))?);
            if end.kind.tls {
                let shown = line.fingerprint().filter(|f| f.is_well_formed());
                let shown = shown.ok_or(Incomplete("the fingerprint of its certificate"))?;
                end.fingerprint = Some(format!("{} {}", shown.hash, shown.value));
            }
        }
        let named = self.id.is_some() && self.ends.caller.id.is_some() && self.ends.callee.id.is_some();
        if named { Ok(()) } else { Err(Incomplete("the names of context and terminations")) }
    }

    /// Gives both terminations their peers and opens the gates both ways.
    pub fn modify(&mut self, peers: Both<Peer>, mode: StreamMode) -> Vec<ActionRequest> {
        let Some(id) = self.id else { return Vec::new() };
        let before = Both { caller: self.ends.caller.peer.clone(), callee: self.ends.callee.peer.clone() };
        self.ends.caller.peer = peers.caller;
        self.ends.callee.peer = peers.callee;
        self.mode = mode;
        let commands = [Side::Callee, Side::Caller].into_iter().filter_map(|side| {
            let end = self.ends.of(side);
            let mut command = Command::modify(end.id.clone()?).with(Media::with_stream(self.stream(side)));
            // A Signals descriptor replaces the one before (RFC 3525 §7.1.11); none leaves it.
            if before.of(side).tls_client != end.peer.tls_client {
                command = command.with(signals(&end.peer));
            }
            Some(command)
        });
        vec![ActionRequest::new(ContextId::Id(id), commands.collect())]
    }

    /// The same where the connection is over and another one comes: a pinhole takes another one when it was
    /// shut in between.
    pub fn renew(&mut self, peers: Both<Peer>, mode: StreamMode) -> Vec<ActionRequest> {
        let mut actions = self.modify(peers.clone(), StreamMode::Inactive);
        actions.extend(self.modify(peers, mode));
        actions
    }

    /// Ends the context and asks for the counters. Empty if the gateway never named it.
    pub fn subtract(&self) -> Vec<ActionRequest> {
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

    /// Asks for the counters. Empty if the gateway never named it.
    pub fn measure(&self) -> Vec<ActionRequest> {
        let (Some(id), [Some(caller), Some(callee)]) =
            (self.id, [&self.ends.caller.id, &self.ends.callee.id])
        else {
            return Vec::new();
        };
        let audit =
            |id: &TerminationId| Command::audit_value(id.clone(), Audit::of(&[AuditToken::Statistics]));
        vec![ActionRequest::new(ContextId::Id(id), vec![audit(caller), audit(callee)])]
    }

    /// The counters in the reply to [`Self::subtract`] or [`Self::measure`].
    pub fn counted(&self, reply: &[ActionReply]) -> Both<Octets> {
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

    fn stream(&self, side: Side) -> Stream {
        let end = self.ends.of(side);
        let fixed = &end.fixed;
        let mut stream = Stream::new(STREAM).mode(self.mode).property("ipdc/realm", fixed.realm.clone());
        if let Some(ip) = end.peer.filter {
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            stream = stream.property("gm/saf", true).property("gm/sam", format!("{ip}/{bits}"));
        }
        if let Some((rate, burst)) = fixed.rate {
            let taken = self.ends.of(side.other()).peer.takes.filter(|taken| *taken > 0);
            let rate = taken.map_or(rate, |taken| taken.min(rate));
            stream = stream.property("tman/pol", true).property("tman/sdr", rate).property("tman/mbs", burst);
        }
        if let Some(dscp) = fixed.dscp {
            stream = stream.property("ds/dscp", format!("{dscp:02X}"));
        }
        stream = stream.local(local_sdp(end));
        match remote_sdp(end) {
            Some(remote) => stream.remote(remote),
            None => stream,
        }
    }

    /// What the gateway shall tell about.
    fn events(&self, end: &End, number: u32) -> Events {
        let fixed = &end.fixed;
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
        // TS 23.334 §6.2.10.3: Notify TCP connection establishment Failure Event, and the same for TLS.
        if self.watch.connections && self.watch.tcp {
            events = events.event(RequestedEvent::new("tcpbcc/BNCChange"));
        } else if self.line.ends_tls() && self.watch.tcp {
            events = events.event(RequestedEvent::new("tcpbcc/BNCChange").parameter("Type", "REL"));
        }
        if end.kind.tls && self.watch.tls {
            events = events.event(RequestedEvent::new("tlsbsc/BNCChange"));
        }
        events
    }
}

/// What the gateway shall do besides: take the peer's address from its connection (TS 23.334 §5, "latching
/// requirement"), and begin TLS (§8: Establish (D)TLS session).
fn signals(peer: &Peer) -> Signals {
    let latch = peer.latch.then(|| Signal::new("ipnapt/latch").parameter("napt", "LATCH"));
    let establish = peer.tls_client.then(|| Signal::new("tlsbsc/EstBNC"));
    Signals(latch.into_iter().chain(establish).map(SignalItem::Signal).collect())
}

fn local_sdp(end: &End) -> String {
    let mut sdp = match end.local {
        Some(local) => {
            sdp(family_of(local.ip()), &local.ip().to_string(), &local.port().to_string(), end, end.peer.role)
        }
        None => sdp(end.fixed.family, "$", "$", end, end.peer.role),
    };
    if end.kind.tls {
        let shown = end.fingerprint.as_deref().unwrap_or("SHA-256 $");
        sdp.push_str(&format!("a=fingerprint:{shown}\r\n"));
    }
    sdp
}

fn remote_sdp(end: &End) -> Option<String> {
    let peer = &end.peer;
    let told = !peer.fingerprints.is_empty() || peer.path.is_some();
    // A peer that connects need not say from where (RFC 4145 §4.1: port 9).
    let anywhere = || match end.fixed.family {
        Family::V4 => SocketAddr::from(([0, 0, 0, 0], 9)),
        Family::V6 => SocketAddr::from(([0u16; 8], 9)),
    };
    let remote = peer.remote.or_else(|| told.then(anywhere))?;
    let role = peer.role.map(Setup::mirror);
    let (ip, port) = (remote.ip().to_string(), remote.port().to_string());
    let mut sdp = sdp(family_of(remote.ip()), &ip, &port, end, role);
    for fingerprint in &peer.fingerprints {
        sdp.push_str(&format!("a=fingerprint:{fingerprint}\r\n"));
    }
    if let Some(path) = &peer.path {
        sdp.push_str(&format!("a=path:{path}\r\n"));
    }
    Some(sdp)
}

fn sdp(family: Family, address: &str, port: &str, end: &End, setup: Option<Setup>) -> String {
    let version = match family {
        Family::V4 => "IP4",
        Family::V6 => "IP6",
    };
    let setup = setup.map(|s| format!("a=setup:{s}\r\n")).unwrap_or_default();
    let transport = end.kind.transport;
    format!("v=0\r\nc=IN {version} {address}\r\nm=- {port} {transport} -\r\n{setup}")
}

/// Whether a gateway said that it has not what was asked for: a transport, a certificate, a package.
pub fn is_unable(error: &ErrorDescriptor) -> bool {
    matches!(error.code, 440..=447 | 451 | 452 | 454 | 455 | 501 | 509 | 515)
}

/// Ends a context that nobody here knows.
pub fn subtract_all(context: ContextId) -> Vec<ActionRequest> {
    let all = Command::subtract(TerminationId::ALL).wildcard_response().with(Audit::default());
    vec![ActionRequest::new(context, vec![all])]
}

fn family_of(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// What the gateway chose.
fn local_of(reply: &CommandReply) -> Option<Document> {
    let sdp = reply.media()?.stream(STREAM)?.local.as_ref()?.to_bytes();
    Document::parse_fragment(sdp, &carnet_sdp::Limits::default()).ok()
}

fn counters(reply: &CommandReply) -> Octets {
    let value = |name: &str| {
        let statistic = reply.statistics()?.iter().find(|s| s.name == *name)?;
        statistic.values.first()?.as_u64()
    };
    Octets { received: value("nt/or").unwrap_or(0), sent: value("nt/os").unwrap_or(0) }
}
