//! What the controller tells its user.

use super::{GatewayName, RequestNumber};
use crate::association::Failure;
use crate::model::{
    ActionReply, ContextId, ErrorDescriptor, Method, ObservedEvents, Profile, Reason, TerminationId,
    TransactionId,
};
use std::fmt;
use std::time::{Duration, Instant};

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The gateway said no, to all of it or to a part.
    #[error("the gateway refused: {error}")]
    Refused {
        /// The first error in the reply.
        error: ErrorDescriptor,
        /// What was answered, action by action; what succeeded before the error stands.
        actions: Vec<ActionReply>,
    },
    /// No answer; it may or may not have been done.
    #[error("{0}")]
    Failed(Failure),
    /// The gateway was lost meanwhile, and with it the context.
    #[error("the gateway was lost")]
    Lost,
    /// No gateway of that name is registered; nothing was sent.
    #[error("the gateway is not registered")]
    NotRegistered,
}

impl RequestError {
    /// Whether another gateway, or this one later, may well succeed: it is full, busy or away.
    pub fn is_capacity(&self) -> bool {
        match self {
            // H.248.8: no more contexts, terminations, resources, bandwidth; busy; not ready.
            Self::Refused { error, .. } => {
                matches!(error.code, 412 | 432 | 434 | 502 | 503 | 510 | 511 | 526 | 529 | 530)
            }
            Self::Failed(_) | Self::Lost | Self::NotRegistered => true,
        }
    }
}

/// Why a gateway is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// It answered nothing.
    Silent,
    /// It registered anew; what it had is gone.
    Restarted,
    /// It took itself out of service.
    Forced,
    /// It was handed to another controller.
    HandedOff,
    /// It says that it is not ours, and did not register again.
    Estranged,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "it answers nothing",
            Self::Restarted => "it started again",
            Self::Forced => "it took itself out of service",
            Self::HandedOff => "it was handed to another controller",
            Self::Estranged => "it says that this controller does not control it",
        })
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A gateway is at our service.
    Registered {
        /// Which.
        gateway: GatewayName,
        /// The profile it speaks.
        profile: Option<Profile>,
        /// The negotiated protocol version.
        version: u8,
        /// Its contexts are still there: it had only lost touch or changed controllers. A gateway that
        /// was given up as lost is cleared before this event, so then they are not.
        kept: bool,
    },
    /// A gateway was turned away; it got the same words.
    Refused {
        /// Which.
        gateway: GatewayName,
        /// Why.
        error: ErrorDescriptor,
    },
    /// A gateway registered and lacks something that we need: it is not used for new contexts.
    Unsuited {
        /// Which.
        gateway: GatewayName,
        /// What it lacks.
        error: ErrorDescriptor,
    },
    /// Contexts that we had on a gateway are not there any more, or not as we made them.
    ContextsLost {
        /// Where.
        gateway: GatewayName,
        /// Which.
        contexts: Vec<u32>,
    },
    /// An audit showed that we and a gateway knew different things.
    Resynchronised {
        /// Which.
        gateway: GatewayName,
        /// Terminations it had and nobody here knew; they are being subtracted.
        strays: usize,
        /// Contexts it did not have any more.
        lost: usize,
        /// It could show everything it has.
        complete: bool,
    },
    /// A gateway and its contexts are gone. Requests without an answer fail.
    Lost {
        /// Which.
        gateway: GatewayName,
        /// Why.
        reason: LostReason,
    },
    /// A gateway takes no new contexts and ends when it is empty or the time is over.
    Draining {
        /// Which.
        gateway: GatewayName,
        /// Until when; none means until it is empty.
        delay: Option<Duration>,
    },
    /// The answer to a request.
    Reply {
        /// As returned by [`Controller::request`](super::Controller::request).
        request: RequestNumber,
        /// Who was asked.
        gateway: GatewayName,
        /// As which transaction it went out, and when; none if it did not.
        sent: Option<(TransactionId, Instant)>,
        /// The answer.
        result: Result<Vec<ActionReply>, RequestError>,
    },
    /// Events happened on a termination; already answered.
    Notify {
        /// Where.
        gateway: GatewayName,
        /// In which context.
        context: ContextId,
        /// On which termination.
        termination: TerminationId,
        /// What.
        observed: ObservedEvents,
    },
    /// Terminations change service; already answered.
    ServiceChanged {
        /// Where.
        gateway: GatewayName,
        /// In which context.
        context: ContextId,
        /// Which, perhaps with wildcards.
        termination: TerminationId,
        /// How.
        method: Method,
        /// Why.
        reason: Option<Reason>,
    },
    /// A gateway could not read a message of ours.
    MessageError {
        /// Which.
        gateway: GatewayName,
        /// What it says.
        error: ErrorDescriptor,
    },
}
