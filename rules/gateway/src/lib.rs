//! IMS-AGW, TrGW and MRFP: contexts, terminations and streams, as commands to a media engine.
//!
//! H.248 requests come in as `carnet_h248` values; [`media::Command`]s go out to an engine, its
//! [`media::Event`]s complete replies and become Notify requests. Sans-IO.
//!
//! * [`media`]: the contract with a media engine.
//! * [`conference`]: what an MRFP adds to it.
//! * [`edge`]: TLS that ends at the gateway, and MSRP whose paths it rewrites.
//! * [`witness`]: an observer of TLS record headers, for operators.
//!
//! Not here: sockets, the message encoding, certificates; in a relay TLS with pre-shared keys, in a
//! conference TLS with certificates (error 501).

mod action;
mod apply;
mod attributes;
mod audit;
mod choice;
pub mod conference;
mod context;
mod control;
mod core;
mod description;
pub mod edge;
pub mod engine;
mod error;
mod events;
mod fingerprint;
mod gateway;
pub mod media;
mod member;
mod notices;
mod overload;
mod package;
mod plan;
mod properties;
mod record;
mod regulation;
mod relay;
mod relocate;
mod report;
mod root;
mod run;
mod service;
mod signals;
mod step;
mod survival;
mod told;
mod topology;
mod union;
pub mod witness;

use std::net::SocketAddr;

use carnet_h248::{ContextId, ErrorDescriptor, MId, TerminationId};

pub use error::Fault;
pub use gateway::{Config, Gateway};
pub use record::Unreadable;
pub use survival::Numbers;

/// What a gateway is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Function {
    /// An IMS-AGW or TrGW: octets pass between two terminations of a context.
    #[default]
    Relay,
    /// An MRFP: a context is a conference, and every stream ends here.
    Conference,
}

/// How much a gateway holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Contexts; one more is refused with error 412.
    pub contexts: usize,
    /// Terminations in one context; one more is refused with error 434. A relay has two.
    pub terminations: usize,
    /// Streams of one termination; one more is refused with error 510.
    pub streams: usize,
    /// Terminations in one answer; more are refused with error 533.
    pub audited: usize,
    /// Contexts or terminations in one audit of their names only; more are refused with error 533.
    pub listed: usize,
    /// What waits to be told to a controller; of more, the oldest is dropped.
    pub notices: usize,
    /// Transactions that are being carried out or wait for the media engine; one more is refused
    /// with error 511.
    pub transactions: usize,
    /// Percent of the contexts and transactions kept for emergency and priority calls, 0 to 100.
    /// Others are refused with error 510 or 511 when nothing else is left.
    pub reserve: u8,
    /// A context with at least this priority may take from the reserve, 0 to 15.
    pub urgent: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            contexts: 65_536,
            terminations: 2,
            streams: 8,
            audited: 100,
            listed: 1_000,
            notices: 4_096,
            transactions: 4_096,
            reserve: 5,
            urgent: 8,
        }
    }
}

impl Limits {
    /// How many of `most` are kept back.
    fn reserved(&self, most: usize) -> usize {
        most / 100 * usize::from(self.reserve) + most % 100 * usize::from(self.reserve) / 100
    }
}

/// How much a gateway is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Contexts that there are.
    pub contexts: usize,
    /// Contexts that there may be.
    pub most_contexts: usize,
    /// Transactions that are being carried out or wait.
    pub transactions: usize,
    /// How many of them there may be.
    pub most_transactions: usize,
    /// Answers that the media engine owes.
    pub engine: usize,
}

impl Load {
    /// The scarcest thing, as a part of what there may be: 0 to 100.
    pub fn percent(&self) -> u8 {
        let part = |now: usize, most: usize| {
            let percent = now.saturating_mul(100).checked_div(most).unwrap_or(100).min(100);
            u8::try_from(percent).unwrap_or(100)
        };
        part(self.contexts, self.most_contexts).max(part(self.transactions, self.most_transactions))
    }
}

carnet_event::declare! {
    /// What happened, for logs, counters and the administrator.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Event {
        /// A controller took us.
        [info "registered"]
        Registered {
            /// Which.
            controller: MId,
            /// The negotiated protocol version.
            version: u8,
            /// It keeps our contexts; else it knows of none.
            kept: bool,
        },
        /// A controller did not take us; the next one is tried.
        [warn "refused" by error]
        Refused {
            /// Which.
            controller: MId,
            /// Why, in its words.
            error: ErrorDescriptor,
        },
        /// A controller did not answer; the next one is tried.
        [warn "unreachable"]
        Unreachable {
            /// Which.
            controller: MId,
        },
        /// The controller is gone. Contexts stay, and we look for one to take us.
        [warn "control-lost"]
        ControlLost {
            /// Which.
            controller: MId,
        },
        /// We have left the controller as asked.
        [info "unregistered"]
        Unregistered,
        /// The controller could not read a message of ours.
        [warn "message-error" by error]
        MessageError {
            /// What it says.
            error: ErrorDescriptor,
        },
        /// What [`Gateway::audit`] asked.
        [untold "audited"]
        Audited {
            /// As asked.
            number: u64,
            /// The answer.
            body: carnet_h248::ReplyBody,
        },
        /// A stream has a local address.
        [info "added"]
        Added {
            /// Where.
            context: ContextId,
            /// Which.
            termination: TerminationId,
            /// The address.
            local: SocketAddr,
        },
        /// A termination was subtracted.
        [info "removed"]
        Removed {
            /// Where.
            context: ContextId,
            /// Which.
            termination: TerminationId,
            /// Counters of all its streams together.
            statistics: media::Statistics,
        },
        /// A peer's TCP connection is up.
        [info "connected"]
        Connected {
            /// Where.
            context: ContextId,
            /// Which.
            termination: TerminationId,
            /// The peer.
            peer: SocketAddr,
        },
        /// A peer's TCP connection ended or could not be made.
        [info "disconnected" by cause]
        Disconnected {
            /// Where.
            context: ContextId,
            /// Which.
            termination: TerminationId,
            /// How.
            cause: media::Cause,
        },
        /// The controller refused to hear of something. Error 430, 411 or 435: it does not know the
        /// termination, and should subtract it (H.248.36).
        [warn "notice-refused" by error]
        NoticeRefused {
            /// Where.
            context: ContextId,
            /// What it was about; may have wildcards.
            termination: TerminationId,
            /// Why, in the controller's words.
            error: ErrorDescriptor,
        },
        /// Too much waited to be told to a controller, and the oldest was dropped.
        [warn "notices-dropped"]
        NoticesDropped {
            /// How many Notify and ServiceChange commands.
            count: usize,
        },
        /// The TLS association stands, of a member's stream or of one whose TLS ends at the edge.
        [info "sealed" by version, suite]
        Sealed {
            /// Where.
            context: ContextId,
            /// Which.
            termination: TerminationId,
            /// Protocol version.
            version: String,
            /// Cipher suite.
            suite: String,
        },
        /// Something happened among the members of a conference.
        [info "conference" by event]
        Conference {
            /// Where.
            context: ContextId,
            /// What.
            event: media::ConferenceEvent,
        },
        /// What moves the octets of a stream, now that it is known or after it has changed.
        [info "engine" by engine, reason]
        Engine {
            /// Where.
            context: ContextId,
            /// Which.
            termination: TerminationId,
            /// What.
            engine: engine::Engine,
            /// Why.
            reason: engine::Reason,
        },
        /// A context of the process before is there again.
        [debug "resumed"]
        Resumed {
            /// Which.
            context: ContextId,
        },
        /// A context of the process before could not be taken up. A controller that asks finds it gone.
        [warn "not-resumed"]
        NotResumed {
            /// Which.
            context: ContextId,
            /// Why.
            why: String,
        },
        /// Somebody whom the source filter does not allow tried to connect.
        [info "blocked"]
        Blocked {
            /// Where.
            context: ContextId,
            /// Which.
            termination: TerminationId,
            /// Who.
            source: SocketAddr,
        },
    }
    level(_event, declared) declared
}
