//! What the endpoint tells the transaction user, and how transactions are named.

use crate::error::Error;
use crate::hop::{Hop, Transport};
use crate::message::Message;
use crate::uri::Uri;
use std::fmt;
use std::net::SocketAddr;

/// A client transaction: a request we sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(pub(super) u64);

/// A server transaction: a request we received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey(pub(super) u64);

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To the servers of this URI, found by RFC 3263.
    Uri(Uri),
    /// The same, leaving from one of these addresses of ours: the first whose transport and IP
    /// version fit. For elements that stand in several networks.
    From(Uri, Vec<(Transport, SocketAddr)>),
    /// To the first of these that can be reached.
    Hops(Vec<Hop>),
}

impl Destination {
    /// Lets what goes to a URI leave from `locals`; hops know where they leave from.
    #[must_use]
    pub fn leaving(self, locals: &[(Transport, SocketAddr)]) -> Self {
        match self {
            Self::Uri(uri) | Self::From(uri, _) => Self::From(uri, locals.to_vec()),
            Self::Hops(hops) => Self::Hops(hops),
        }
    }
}

impl From<Hop> for Destination {
    fn from(hop: Hop) -> Self {
        Self::Hops(vec![hop])
    }
}

impl From<Uri> for Destination {
    fn from(uri: Uri) -> Self {
        Self::Uri(uri)
    }
}

/// Why no final response came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Silence {
    /// Nothing came in time: treat as 408 (RFC 3261 §8.1.3.1).
    #[error("no answer in time")]
    Timeout,
    /// Every hop failed: treat as 503 (RFC 3261 §8.1.3.1).
    #[error("no hop could be reached")]
    Unreachable,
    /// The target could not be resolved to an address.
    #[error("the target has no address")]
    NoAddress,
    /// The INVITE was cancelled and its final response did not come in time.
    #[error("cancelled, and no final answer")]
    Cancelled,
}

impl Silence {
    /// The status that stands for it.
    pub fn status(self) -> u16 {
        match self {
            Self::Timeout => 408,
            Self::Unreachable | Self::NoAddress => 503,
            Self::Cancelled => 487,
        }
    }
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A new request (never ACK or CANCEL). Answer it with `respond`.
    Request {
        /// Its transaction.
        key: ServerKey,
        /// The request; its topmost Via has `received` and `rport` filled in.
        message: Message,
        /// The way it came.
        hop: Hop,
    },
    /// The ACK to a 2xx we sent. ACKs to other responses stay inside the endpoint, and so do
    /// repeated ones.
    Ack {
        /// The INVITE's transaction, if it is still known.
        key: Option<ServerKey>,
        /// The ACK.
        message: Message,
        /// The way it came.
        hop: Hop,
    },
    /// The sender of an INVITE gave it up; its CANCEL has been answered 200. The INVITE itself
    /// still wants its final response, 487 as a rule.
    Cancelled {
        /// The INVITE's transaction.
        key: ServerKey,
        /// The CANCEL.
        message: Message,
    },
    /// A response to a request of ours. 100 is not reported. Several final responses come when
    /// an INVITE forked: one for each To tag. Repeated ones stay inside the endpoint.
    Response {
        /// The transaction of the request.
        key: ClientKey,
        /// The response; our Via has been removed from it.
        message: Message,
        /// The way it came.
        hop: Hop,
    },
    /// A 2xx to an INVITE that no transaction waits for, where that is wanted.
    Stray {
        /// The response; our Via has been removed from it.
        message: Message,
        /// The way it came.
        hop: Hop,
    },
    /// No final response came, and the transaction is over.
    Unanswered {
        /// The transaction of the request.
        key: ClientKey,
        /// Why.
        reason: Silence,
    },
    /// The final response to an INVITE was not acknowledged for 64 * T1, or so many finished after
    /// it that the endpoint waits no longer. For a 2xx: end the dialog with BYE (RFC 3261
    /// §13.3.1.4).
    Unacknowledged {
        /// The INVITE's transaction.
        key: ServerKey,
        /// Status of the response.
        status: u16,
        /// To tag of the response.
        to_tag: String,
    },
    /// An INVITE that was answered 2xx is over: no further 2xx of a fork will come.
    Ended {
        /// The INVITE's transaction.
        key: ClientKey,
    },
    /// Something came in that could not be used.
    Refused {
        /// The way it came.
        hop: Hop,
        /// What it was answered; `None` if it was dropped.
        status: Option<u16>,
        /// What was wrong with it.
        error: Error,
    },
}
