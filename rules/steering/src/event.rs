//! What happened, declared once for logs, counters and tests.

use carnet_event::{Field, Fields, Level};
use carnet_h248::controller::LostReason;
use carnet_plan::{Both, Octets, Plan};
use std::net::SocketAddr;
use std::time::Duration;

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

impl Field for Ended {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.name().tell(name, fields);
    }
}

carnet_event::declare! {
    /// What happened. Call-IDs are those of the requests.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Event {
        /// The gateway can be used.
        [info "gateway-up"]
        GatewayUp,
        /// The gateway is gone, and all calls with it.
        [warn "gateway-lost" by reason]
        GatewayLost {
            /// Why it is taken for lost.
            reason: LostReason,
        },
        /// The gateway takes nothing new and ends when it is empty or the time is over.
        [info "gateway-draining"]
        GatewayDraining {
            /// In so many seconds; none when it is empty.
            within: Option<Duration>,
        },
        /// The gateway lacks something that an interface needs, or was turned away.
        [error "gateway-unsuited"]
        GatewayUnsuited {
            /// H.248.8 error code.
            code: u16,
            /// Why.
            text: String,
        },
        /// The gateway would not do something.
        [warn "gateway-refused" by command, code]
        GatewayRefused {
            /// `Add`, `Modify`, `Subtract`
            command: &'static str,
            /// H.248.8 error code; 0 if it did not answer.
            code: u16,
            /// Its words.
            text: String,
        },
        /// What the gateway had and what was known here were compared, and differed.
        [warn "resynchronised"]
        Resynchronised {
            /// Terminations it had and nobody here knew; they are being subtracted.
            strays: usize,
            /// Contexts it did not have any more.
            lost: usize,
        },
        /// An offer was looked at.
        [info "offer-planned" by plan]
        OfferPlanned {
            /// The call.
            call_id: String,
            /// Tag of the one that made it.
            from_tag: String,
            /// What is done with each line.
            plan: Plan,
        },
        /// A dialog has contexts on the gateway.
        [info "dialog-started"]
        DialogStarted {
            /// The call.
            call_id: String,
            /// Tag of the one that made the first offer.
            from_tag: String,
            /// The branch, if the offer named one.
            via_branch: Option<String>,
        },
        /// A line has a context on the gateway: its first, or one of another kind that a later offer needs.
        [info "media-reserved"]
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
        [info "dialog-answered"]
        DialogAnswered {
            /// The call.
            call_id: String,
            /// Tag of the one that offered.
            from_tag: String,
            /// Tag of the one that answered.
            to_tag: String,
        },
        /// A dialog is over; what it had on the gateway is being given back.
        [info "dialog-ended" by why]
        DialogEnded {
            /// The call.
            call_id: String,
            /// Tags of caller and callee, as far as they are known.
            tags: Both<Option<String>>,
            /// Why.
            why: Ended,
            /// Since the first offer.
            lasted: Duration,
        },
        /// An end and the gateway are connected.
        [info "connected"]
        Connected {
            /// The call.
            call_id: String,
            /// Place of the media line.
            line: usize,
            /// The end, by its tag, if it has one yet.
            tag: Option<String>,
        },
        /// They are not any more, or could not be.
        [info "disconnected" by cause]
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
        [warn "tls-failed" by cause]
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
        [info "media-released"]
        MediaReleased {
            /// The call.
            call_id: String,
            /// The context.
            context: u32,
            /// Octets from and to caller and callee.
            octets: Both<Octets>,
        },
        /// A request was not done.
        [warn "request-refused" by command, overload]
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
    level(event, declared) match event {
        Event::DialogEnded { why: Ended::Deleted | Ended::Unused | Ended::Closing, .. } => Level::Info,
        Event::DialogEnded { .. } => Level::Warn,
        _ => declared,
    }
}

impl Event {
    /// The call that it is about.
    pub fn call_id(&self) -> Option<&str> {
        match self {
            Self::GatewayUp
            | Self::GatewayLost { .. }
            | Self::GatewayDraining { .. }
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
