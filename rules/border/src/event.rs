//! What happened at the border, declared once for logs, counters, the admin stream and tests.

use crate::usage::Cap;
use carnet_event::{Field, Fields, Level};
use carnet_h248::controller::{GatewayName, LostReason};
use carnet_plan::{Both, Octets, Plan, Side};
use carnet_sip::Silence;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// One end hung up.
    Bye(Side),
    /// The caller gave up before an answer.
    Cancelled,
    /// The callee or the network behind it refused.
    Refused(u16),
    /// The border refused.
    RefusedHere(u16),
    /// One end took the call down for a reason (RFC 3326), such as media that did not come about.
    TakenDown(Side),
    /// Nobody was there to refuse: no final answer came from where the call went on to.
    Unanswered(Silence),
    /// The gateway that held the media went away.
    GatewayLost,
    /// The gateway is there and has lost the media.
    ContextLost,
    /// The interface of the gateway that the media passed went out of service.
    Interface,
    /// The session timer ran out (RFC 4028 §10).
    SessionTimer,
    /// The 2xx was never acknowledged.
    NoAck,
    /// The gateway could not do what the answer asked for.
    Gateway,
    /// No octet passed for the time configured.
    Inactive,
    /// The border goes out of service.
    Stopping,
    /// Another terminal of the callee answered.
    Elsewhere,
    /// Rang for long enough; another terminal of the callee is tried.
    NotAnswered,
    /// An administrator ended it.
    Administrator,
    /// TLS between this end and the gateway did not come about.
    Tls(Side),
    /// The border was started again before both ends knew that the call was up.
    Restarted,
}

impl Cause {
    /// A stable name for logs, counters and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bye(Side::Caller) => "caller-hung-up",
            Self::Bye(Side::Callee) => "callee-hung-up",
            Self::Cancelled => "cancelled",
            Self::Refused(_) => "refused",
            Self::RefusedHere(_) => "refused-here",
            Self::TakenDown(Side::Caller) => "caller-took-down",
            Self::TakenDown(Side::Callee) => "callee-took-down",
            Self::Unanswered(Silence::Unreachable | Silence::NoAddress) => "unreachable",
            Self::Unanswered(_) => "unanswered",
            Self::GatewayLost => "gateway-lost",
            Self::ContextLost => "context-lost",
            Self::Interface => "interface",
            Self::SessionTimer => "session-timer",
            Self::NoAck => "no-ack",
            Self::Gateway => "gateway",
            Self::Inactive => "inactive",
            Self::Stopping => "stopping",
            Self::Administrator => "administrator",
            Self::Elsewhere => "elsewhere",
            Self::NotAnswered => "not-answered",
            Self::Tls(Side::Caller) => "caller-tls",
            Self::Tls(Side::Callee) => "callee-tls",
            Self::Restarted => "restarted",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bye(Side::Caller) => f.write_str("the caller hung up"),
            Self::Bye(Side::Callee) => f.write_str("the callee hung up"),
            Self::Cancelled => f.write_str("the caller gave up"),
            Self::Refused(status) => write!(f, "refused by the far end: {status}"),
            Self::RefusedHere(status) => write!(f, "refused here: {status}"),
            Self::TakenDown(Side::Caller) => f.write_str("the caller took it down for a reason"),
            Self::TakenDown(Side::Callee) => f.write_str("the callee took it down for a reason"),
            Self::Unanswered(silence) => write!(f, "nobody answered where it went on to: {silence}"),
            Self::GatewayLost => f.write_str("the media gateway was lost"),
            Self::ContextLost => f.write_str("the media gateway has lost the call"),
            Self::Interface => f.write_str("an interface of the media gateway went out of service"),
            Self::SessionTimer => f.write_str("the session timer ran out"),
            Self::NoAck => f.write_str("the answer was never acknowledged"),
            Self::Gateway => f.write_str("the media gateway failed"),
            Self::Inactive => f.write_str("the media stopped"),
            Self::Stopping => f.write_str("the border goes out of service"),
            Self::Administrator => f.write_str("an administrator ended it"),
            Self::Elsewhere => f.write_str("answered elsewhere"),
            Self::NotAnswered => f.write_str("not answered here"),
            Self::Tls(Side::Caller) => f.write_str("the caller's TLS with the media gateway failed"),
            Self::Restarted => f.write_str("the border was started again"),
            Self::Tls(Side::Callee) => f.write_str("the callee's TLS with the media gateway failed"),
        }
    }
}

/// In parts: `NAME` in one word or a few, `NAME.status` where there is one, and `NAME.text` for people.
impl Field for Cause {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.name().tell(name, fields);
        if let Self::Refused(status) | Self::RefusedHere(status) = self {
            status.tell(&format!("{name}.status"), fields);
        }
        self.to_string().tell(&format!("{name}.text"), fields);
    }

    fn label(&self) -> String {
        self.name().to_owned()
    }
}

impl Field for Cap {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.to_string().tell(name, fields);
    }

    fn label(&self) -> String {
        self.name().to_owned()
    }
}

carnet_event::declare! {
    /// What happened. Call-IDs are those of the wire.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Event {
        /// A terminal registered or refreshed.
        [info "registered"]
        Registered {
            /// Address of record.
            aor: String,
            /// Its contact.
            contact: String,
            /// Seconds granted.
            expires: u32,
        },
        /// A binding ended.
        [info "unregistered"]
        Unregistered {
            /// Address of record.
            aor: String,
            /// Its contact.
            contact: String,
        },
        /// A REGISTER was refused.
        [warn "registration-refused" by status]
        RegistrationRefused {
            /// Address of record.
            aor: String,
            /// SIP status.
            status: u16,
        },
        /// An INVITE for a new call came.
        [info "call-started"]
        CallStarted {
            /// Call-ID.
            call_id: String,
            /// From URI.
            from: String,
            /// Request-URI.
            to: String,
            /// Networks of caller and callee.
            networks: Both<String>,
        },
        /// An offer was looked at.
        [info "plan-made" by plan]
        PlanMade {
            /// Call-ID.
            call_id: String,
            /// Who offered.
            offerer: Side,
            /// What happens with each line, and why.
            plan: Plan,
        },
        /// A gateway reserved both sides of a stream.
        [info "media-reserved" by gateway]
        MediaReserved {
            /// Call-ID.
            call_id: String,
            /// Media line.
            index: usize,
            /// The gateway.
            gateway: GatewayName,
            /// Its context.
            context: u32,
            /// The gateway's addresses towards caller and callee.
            addresses: Both<String>,
        },
        /// The callee answered.
        [info "call-up"]
        CallUp {
            /// Call-ID.
            call_id: String,
        },
        /// A gateway gave the media of a stream back.
        [info "media-released" by gateway]
        MediaReleased {
            /// Call-ID.
            call_id: String,
            /// The gateway.
            gateway: GatewayName,
            /// Its context.
            context: u32,
            /// Octets counted on the sides of caller and callee.
            octets: Both<Octets>,
        },
        /// A cap of a network was reached, and a call or an offer was refused for it.
        [warn "cap-reached" by network, cap]
        CapReached {
            /// Call-ID.
            call_id: String,
            /// The network.
            network: String,
            /// Which one.
            cap: Cap,
        },
        /// TLS with one end stands at the gateway.
        [info "tls-up" by side]
        TlsUp {
            /// Call-ID.
            call_id: String,
            /// Media line.
            index: usize,
            /// The end.
            side: Side,
        },
        /// TLS with one end did not come about at the gateway, or was cut off.
        [warn "tls-failed" by reason]
        TlsFailed {
            /// Call-ID.
            call_id: String,
            /// Media line.
            index: usize,
            /// The end.
            side: Side,
            /// What the gateway says of it: `fingerprint_mismatch`, `no_certificate`, `truncated` ...
            reason: String,
            /// The fingerprints it was held to. Which one it showed, the gateway knows.
            fingerprints: Vec<String>,
        },
        /// The gateway reports that a stream's connection ended, failed or never came.
        [info "media-notice" by what, reason]
        MediaNotice {
            /// Call-ID.
            call_id: String,
            /// Media line.
            index: usize,
            /// The end, where the gateway names it.
            side: Option<Side>,
            /// The H.248 event.
            what: String,
            /// What the gateway says of it: `closed`, `reset_by_peer`, `connect_failed`, `nobody_connected` ...
            reason: String,
        },
        /// A call of before this process goes on.
        [info "call-restored"]
        CallRestored {
            /// Call-ID.
            call_id: String,
            /// From URI.
            from: String,
            /// Request-URI.
            to: String,
            /// Networks of caller and callee.
            networks: Both<String>,
            /// When its INVITE came: milliseconds since 1970.
            began: u64,
            /// When it was answered.
            answered: u64,
        },
        /// A stream of such a call, as it is to be on its gateway.
        [info "media-restored" by gateway]
        MediaRestored {
            /// Call-ID.
            call_id: String,
            /// Media line.
            index: usize,
            /// The gateway.
            gateway: GatewayName,
            /// Its context.
            context: u32,
            /// The gateway's addresses towards caller and callee.
            addresses: Both<String>,
        },
        /// A call that was being set up when the process before ended: both ends were told that it is over.
        [warn "setup-abandoned"]
        SetupAbandoned {
            /// Call-ID.
            call_id: String,
        },
        /// What the process before has left was taken up.
        [info "state-restored"]
        StateRestored {
            /// Calls that go on.
            calls: usize,
            /// Set-ups that were ended.
            setups: usize,
            /// Dialogs without a call that go on.
            subscriptions: usize,
            /// Registrations.
            bindings: usize,
            /// Records that could not be taken up.
            refused: usize,
        },
        /// What the process before has left is of no use, or nothing can be kept for the next one.
        [error "state-lost"]
        StateLost {
            /// Why.
            reason: String,
        },
        /// The call is over.
        [info "call-ended" by cause]
        CallEnded {
            /// Call-ID.
            call_id: String,
            /// Why.
            cause: Cause,
            /// What was said about it: the Reason of a BYE (RFC 3326), the Warning of a refusal, or why it was refused here.
            said: Option<String>,
        },
        /// A request was refused here.
        [warn "request-refused" by status]
        RequestRefused {
            /// Call-ID.
            call_id: String,
            /// The method.
            method: String,
            /// SIP status.
            status: u16,
            /// Why.
            reason: String,
        },
        /// A request was sent on, and no final answer came: nobody is there, or not in time.
        [warn "unanswered" by reason]
        Unanswered {
            /// Call-ID.
            call_id: String,
            /// The method.
            method: String,
            /// Where it was sent: a next hop of a route, or a terminal.
            sent_to: String,
            /// Why.
            reason: String,
        },
        /// A gateway registered.
        [info "gateway-up" by gateway]
        GatewayUp {
            /// Its name.
            gateway: GatewayName,
        },
        /// A gateway does not answer any more or its connection broke.
        [error "gateway-lost" by gateway, reason]
        GatewayLost {
            /// Its name.
            gateway: GatewayName,
            /// Calls on it.
            calls: usize,
            /// It said that it goes (ServiceChange Forced).
            announced: bool,
            /// Why it is taken for lost.
            reason: LostReason,
        },
        /// A gateway registered and lacks something that is needed here: it gets no calls.
        [error "gateway-unsuited" by gateway]
        GatewayUnsuited {
            /// Its name.
            gateway: GatewayName,
            /// H.248 error code.
            code: u16,
            /// What it lacks.
            text: String,
        },
        /// A gateway will go: it gets no new calls, and those on it go on.
        [info "gateway-draining" by gateway]
        GatewayDraining {
            /// Its name.
            gateway: GatewayName,
            /// In so many seconds; none when the last call on it has ended.
            seconds: Option<u64>,
        },
        /// The border and a gateway knew different things, and do no more.
        [warn "gateway-resynchronised" by gateway]
        GatewayResynchronised {
            /// Its name.
            gateway: GatewayName,
            /// Terminations it had for no call; they are subtracted.
            strays: usize,
            /// Contexts of calls that it did not have any more.
            lost: usize,
            /// It could show everything it has.
            complete: bool,
        },
        /// Terminations of a gateway went out of service, or will.
        [warn "interface-down" by gateway]
        InterfaceDown {
            /// Its name.
            gateway: GatewayName,
            /// Which, as the gateway names them.
            termination: String,
            /// Calls that ended by it.
            calls: usize,
            /// They go on for now.
            graceful: bool,
        },
        /// Terminations of a gateway are in service again.
        [info "interface-up" by gateway]
        InterfaceUp {
            /// Its name.
            gateway: GatewayName,
            /// Which, as the gateway names them.
            termination: String,
        },
        /// A gateway did not do what it was asked.
        [warn "gateway-refused" by gateway, command, code]
        GatewayRefused {
            /// Its name.
            gateway: GatewayName,
            /// H.248 error code.
            code: u16,
            /// The command that failed.
            command: &'static str,
            /// What it said.
            text: String,
        },
        /// A message named a gateway as its sender and did not come from where that gateway is. It
        /// changed nothing and was not answered.
        [warn "foreign-control" by gateway]
        ForeignControl {
            /// The gateway it named.
            gateway: GatewayName,
            /// Where it came from.
            from: Option<IpAddr>,
            /// How many more there have been since the last such event.
            others: u64,
        },
        /// A gateway answered what it was asked for a call, or nothing came. For who follows a call through
        /// the network; it happens with each.
        [untold "gateway-answered"]
        GatewayAnswered {
            /// Call-ID; empty if the call is not known any more.
            call_id: String,
            /// Its name.
            gateway: GatewayName,
            /// The transaction, as on the wire.
            transaction: u32,
            /// `Add`, `Modify`, `Subtract`.
            command: &'static str,
            /// The context, if there was one before.
            context: Option<u32>,
            /// H.248 error code, if it did not do it.
            code: Option<u16>,
            /// From the first time it was asked.
            took: Duration,
        },
        /// What [`Border::audit`](crate::Border::audit) asked.
        [untold "audited"]
        Audited {
            /// As asked.
            number: u64,
            /// What the gateway answered, up to the error if there is one.
            actions: Vec<carnet_h248::ActionReply>,
            /// Why there is not all of it.
            error: Option<carnet_h248::ErrorDescriptor>,
        },
    }
    level(event, declared) match event {
        // One that leaves in order, with nothing on it, is no trouble.
        Event::GatewayLost { calls: 0, announced: true, .. }
        | Event::InterfaceDown { calls: 0, graceful: true, .. } => Level::Info,
        Event::CallEnded {
            cause: Cause::Bye(_) | Cause::Cancelled | Cause::Refused(_) | Cause::Elsewhere | Cause::NotAnswered,
            ..
        } => Level::Info,
        Event::CallEnded { .. } => Level::Warn,
        // A terminal that has gone is no trouble for what was to be said to it in passing.
        Event::Unanswered { method, .. } if !matches!(method.as_str(), "INVITE" | "REGISTER") => Level::Info,
        // The ends believe in media that cannot pass.
        Event::MediaNotice { reason, .. } if NO_MEDIA.contains(&reason.as_str()) => Level::Warn,
        _ => declared,
    }
}

/// Words of gateways for a connection that did not come about, or with which nothing can be done.
const NO_MEDIA: [&str; 4] = ["connect_failed", "nobody_connected", "not_tls", "not_msrp"];

impl Event {
    /// The Call-ID, for events of a call.
    pub fn call_id(&self) -> Option<&str> {
        match self {
            Self::CallStarted { call_id, .. }
            | Self::PlanMade { call_id, .. }
            | Self::MediaReserved { call_id, .. }
            | Self::CallUp { call_id }
            | Self::CallRestored { call_id, .. }
            | Self::MediaRestored { call_id, .. }
            | Self::SetupAbandoned { call_id }
            | Self::MediaReleased { call_id, .. }
            | Self::CapReached { call_id, .. }
            | Self::TlsUp { call_id, .. }
            | Self::TlsFailed { call_id, .. }
            | Self::MediaNotice { call_id, .. }
            | Self::CallEnded { call_id, .. }
            | Self::RequestRefused { call_id, .. }
            | Self::Unanswered { call_id, .. } => Some(call_id),
            _ => None,
        }
    }
}
