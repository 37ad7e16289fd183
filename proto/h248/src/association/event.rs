//! What the transaction layer tells its user.

use crate::model::{ActionRequest, ErrorDescriptor, ReplyBody, TransactionId};

/// What the transaction layer tells its user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer asks. Answer with [`Association::reply`](super::Association::reply).
    Request {
        /// To answer to.
        id: TransactionId,
        /// What to do.
        actions: Vec<ActionRequest>,
    },
    /// The peer's request needs no reply any more: it was answered with error 506 on our behalf
    /// because it took too long, or the peer has started again and does not wait for it.
    Abandoned {
        /// Of the request.
        id: TransactionId,
    },
    /// The peer answered. An answer in segments comes as one.
    Reply {
        /// Of our request.
        id: TransactionId,
        /// The answer.
        body: ReplyBody,
    },
    /// There will be no answer; whether the peer did it is not known.
    Failed {
        /// Of our request.
        id: TransactionId,
        /// Why.
        reason: Failure,
    },
    /// Nothing was answered for T-MAX (RFC 3525 §D.1.5). Comes once, until something arrives again.
    PeerLost,
    /// The peer could not read a message of ours.
    MessageError {
        /// What it says.
        error: ErrorDescriptor,
    },
}

/// Why a request of ours has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Not answered within T-MAX.
    #[error("no answer in time")]
    TimedOut,
    /// More requests at once than the limit; it was not sent.
    #[error("too many requests without an answer")]
    TooMany,
    /// Larger than a message may be; it was not sent.
    #[error("the request is larger than a message may be")]
    TooBig,
    /// The encoding has no form for it; it was not sent.
    #[error("the request cannot be said in this encoding")]
    Unsayable,
    /// The peer said Pending more often than the limit.
    #[error("the peer was too often not ready")]
    PendingTooOften,
    /// The answer came in segments, and not all of them arrived.
    #[error("segments of the answer are missing")]
    Segments,
    /// The association was closed.
    #[error("the association was closed")]
    Closed,
}
