//! What happened, declared once for logs, counters and tests.

use carnet_h248::controller::LostReason;
use carnet_plan::{Both, Octets, Plan};
use std::net::SocketAddr;
use std::time::Duration;

/// How much attention an event deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Normal course.
    Info,
    /// Someone was refused or failed, or was forgotten.
    Warn,
    /// The gateway cannot be used.
    Error,
}

/// Why a dialog is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// A `delete`.
    Deleted,
    /// The gateway was lost, and with it all it had.
    GatewayLost,
    /// The gateway had its contexts no more.
    ContextsLost,
    /// No line of it is in use any more.
    Unused,
    /// Nobody answered its offer in time.
    Unanswered,
    /// It was answered, and for too long no line had a connection on both sides.
    NoConnection,
    /// Nothing passed on any of its lines for too long.
    Silent,
    /// The steering ends.
    Closing,
}

impl Ended {
    /// A stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::GatewayLost => "gateway-lost",
            Self::ContextsLost => "contexts-lost",
            Self::Unused => "unused",
            Self::Unanswered => "unanswered",
            Self::NoConnection => "no-connection",
            Self::Silent => "silent",
            Self::Closing => "closing",
        }
    }
}

/// What happened. Call-IDs are those of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The gateway can be used.
    GatewayUp,
    /// The gateway is gone, and all calls with it.
    GatewayLost(LostReason),
    /// The gateway takes nothing new and ends when it is empty or the time is over.
    GatewayDraining(Option<Duration>),
    /// The gateway lacks something that an interface needs, or was turned away.
    GatewayUnsuited {
        /// H.248.8 error code.
        code: u16,
        /// Why.
        text: String,
    },
    /// The gateway would not do something.
    GatewayRefused {
        /// `Add`, `Modify`, `Subtract`
        command: &'static str,
        /// H.248.8 error code; 0 if it did not answer.
        code: u16,
        /// Its words.
        text: String,
    },
    /// What the gateway had and what was known here were compared, and differed.
    Resynchronised {
        /// Terminations it had and nobody here knew; they are being subtracted.
        strays: usize,
        /// Contexts it did not have any more.
        lost: usize,
    },
    /// An offer was looked at.
    OfferPlanned {
        /// The call.
        call_id: String,
        /// Tag of the one that made it.
        from_tag: String,
        /// What is done with each line.
        plan: Plan,
    },
    /// A dialog has contexts on the gateway.
    DialogStarted {
        /// The call.
        call_id: String,
        /// Tag of the one that made the first offer.
        from_tag: String,
        /// The branch, if the offer named one.
        via_branch: Option<String>,
    },
    /// A line has a context on the gateway: its first, or one of another kind that a later offer needs.
    MediaReserved {
        /// The call.
        call_id: String,
        /// Place of the media line.
        line: usize,
        /// The context.
        context: u32,
        /// The gateway's addresses towards caller and callee.
        addresses: Both<SocketAddr>,
    },
    /// Both sides have spoken.
    DialogAnswered {
        /// The call.
        call_id: String,
        /// Tag of the one that offered.
        from_tag: String,
        /// Tag of the one that answered.
        to_tag: String,
    },
    /// A dialog is over; what it had on the gateway is being given back.
    DialogEnded {
        /// The call.
        call_id: String,
        /// Tags of caller and callee, as far as they are known.
        tags: [Option<String>; 2],
        /// Why.
        why: Ended,
        /// Since the first offer.
        lasted: Duration,
    },
    /// An end and the gateway are connected.
    Connected {
        /// The call.
        call_id: String,
        /// Place of the media line.
        line: usize,
        /// The end, by its tag, if it has one yet.
        tag: Option<String>,
    },
    /// They are not any more, or could not be.
    Disconnected {
        /// The call.
        call_id: String,
        /// Place of the media line.
        line: usize,
        /// The end, by its tag, if it has one yet.
        tag: Option<String>,
        /// A word of the gateway's: `closed`, `connect_failed` ...
        cause: String,
    },
    /// TLS that ends at the gateway did not come about, or was broken.
    TlsFailed {
        /// The call.
        call_id: String,
        /// Place of the media line.
        line: usize,
        /// The end, by its tag, if it has one yet.
        tag: Option<String>,
        /// A word of the gateway's: `fingerprint_mismatch` ...
        cause: String,
    },
    /// A context was given back.
    MediaReleased {
        /// The call.
        call_id: String,
        /// The context.
        context: u32,
        /// Octets from and to caller and callee.
        octets: Both<Octets>,
    },
    /// A request was not done.
    RequestRefused {
        /// `offer`, `answer`, `delete`
        command: &'static str,
        /// The call.
        call_id: String,
        /// Nothing is wrong with it: there is no capacity.
        overload: bool,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// A stable name for logs and counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GatewayUp => "gateway-up",
            Self::GatewayLost(_) => "gateway-lost",
            Self::GatewayDraining(_) => "gateway-draining",
            Self::GatewayUnsuited { .. } => "gateway-unsuited",
            Self::GatewayRefused { .. } => "gateway-refused",
            Self::Resynchronised { .. } => "resynchronised",
            Self::OfferPlanned { .. } => "offer-planned",
            Self::DialogStarted { .. } => "dialog-started",
            Self::MediaReserved { .. } => "media-reserved",
            Self::DialogAnswered { .. } => "dialog-answered",
            Self::DialogEnded { .. } => "dialog-ended",
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::TlsFailed { .. } => "tls-failed",
            Self::MediaReleased { .. } => "media-released",
            Self::RequestRefused { .. } => "request-refused",
        }
    }
    /// How much attention it deserves.
    pub fn level(&self) -> Level {
        match self {
            Self::GatewayUnsuited { .. } => Level::Error,
            Self::GatewayLost(_)
            | Self::GatewayRefused { .. }
            | Self::Resynchronised { .. }
            | Self::TlsFailed { .. }
            | Self::RequestRefused { .. } => Level::Warn,
            Self::DialogEnded { why, .. } => match why {
                Ended::Deleted | Ended::Unused | Ended::Closing => Level::Info,
                _ => Level::Warn,
            },
            _ => Level::Info,
        }
    }

    /// The call that it is about.
    pub fn call_id(&self) -> Option<&str> {
        match self {
            Self::GatewayUp
            | Self::GatewayLost(_)
            | Self::GatewayDraining(_)
            | Self::GatewayUnsuited { .. }
            | Self::GatewayRefused { .. }
            | Self::Resynchronised { .. } => None,
            Self::OfferPlanned { call_id, .. }
            | Self::DialogStarted { call_id, .. }
            | Self::MediaReserved { call_id, .. }
            | Self::DialogAnswered { call_id, .. }
            | Self::DialogEnded { call_id, .. }
            | Self::Connected { call_id, .. }
            | Self::Disconnected { call_id, .. }
            | Self::TlsFailed { call_id, .. }
            | Self::MediaReleased { call_id, .. }
            | Self::RequestRefused { call_id, .. } => Some(call_id),
        }
    }
}
