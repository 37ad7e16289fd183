//! What can go wrong, whose fault it is and what to answer.

use crate::Status;
use carnet_wire::ParseError;

/// The crate's one error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The octets are not MSRP. On a stream this is final: the frame boundary is lost.
    #[error("malformed: {0}")]
    Malformed(#[from] ParseError),
    /// The peer sent more of something than we take.
    #[error("over the limit: {what}, at octet {at}")]
    TooLarge {
        /// What there was too much of.
        what: &'static str,
        /// Where, in octets from the start of the input.
        at: usize,
    },
    /// A well-formed frame names somebody else in To-Path.
    #[error("To-Path of the frame at octet {at} is not for us")]
    NotForUs {
        /// Where the frame began, in octets from the start of the stream.
        at: u64,
    },
    /// A well-formed request breaks a rule of the protocol.
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// A well-formed request asks for something we answer with this status.
    #[error("refused with {0}")]
    Refused(Status),
    /// The peer answered that the session is none of its, or somebody on the way reported that octets did
    /// not get through to it: nothing more can be sent in it.
    #[error("the session is lost: the other side said {0}")]
    Lost(Status),
    /// We were asked to send something that cannot be sent.
    #[error("cannot send: {0}")]
    CannotSend(&'static str),
    /// The peer has said that it does not take this media type (415), or its SDP did.
    #[error("the peer does not take {0}")]
    TypeNotAccepted(String),
    /// The message is larger than the peer's `a=max-size`.
    #[error("the peer takes at most {max} octets a message")]
    TooLargeForPeer {
        /// The peer's limit in octets.
        max: u64,
    },
    /// Too many messages wait already; poll, then try again.
    #[error("too many messages wait to be sent")]
    Full,
    /// The key names no message that is still in the session.
    #[error("no such message")]
    NoSuchMessage,
    /// The session is closed.
    #[error("the session is closed")]
    Closed,
}

impl Error {
    /// The status to answer a request with, when the error came from the peer's request.
    ///
    /// `None` for errors of our own side, which are not the peer's to know.
    pub fn answer(&self) -> Option<Status> {
        match self {
            Self::Malformed(_) | Self::BadRequest(_) => Some(Status::BAD_REQUEST),
            Self::TooLarge { .. } => Some(Status::STOP),
            Self::NotForUs { .. } => Some(Status::NO_SESSION),
            Self::Refused(status) => Some(*status),
            _ => None,
        }
    }
}
