//! What goes wrong in this crate, whose fault it is and what to answer.

use carnet_wire::ParseError;

/// Everything this crate refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The octets are not SIP at all: there is nobody to answer.
    #[error("not a SIP message: {0}")]
    NotSip(ParseError),
    /// The sender broke the grammar. `what` names the header or part.
    #[error("malformed {what}: {at}")]
    Malformed {
        /// The header or part of the message.
        what: &'static str,
        /// Where in the message, and what was expected.
        at: ParseError,
    },
    /// A header that every message has is not there.
    #[error("the {0} header is missing")]
    Missing(&'static str),
    /// A header that may stand once stands more than once.
    #[error("the {0} header stands more than once")]
    Repeated(&'static str),
    /// The message exceeds a bound of `Limits`.
    #[error("the message has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of: `octets`, `header lines` ...
        what: &'static str,
        /// The bound.
        limit: usize,
        /// Where in the message it became too much.
        at: usize,
    },
    /// The message says it is of another SIP version.
    #[error("SIP version not supported")]
    Version,
    /// The request is for a URI scheme this element does not serve.
    #[error("URI scheme {0} not supported")]
    Scheme(String),
    /// The request's method is not served here.
    #[error("method {0} not allowed")]
    Method(String),
    /// The request requires option tags that are not supported, as a list.
    #[error("extension {0} not supported")]
    Extension(String),
    /// Max-Forwards has come to 0.
    #[error("too many hops")]
    Hops,
    /// The password was not accepted.
    #[error("the password was not accepted")]
    Denied,
    /// A value given by the caller cannot stand in a header line (CR, LF, NUL or not a token).
    #[error("{0} cannot be written in a message")]
    Unprintable(&'static str),
    /// The transaction is not there any more, or never was.
    #[error("no such transaction")]
    Gone,
    /// The call does not fit the state: a response after the final one, for instance.
    #[error("{0}")]
    State(&'static str),
    /// A table that is bounded is full.
    #[error("the transaction table is full")]
    Full,
    /// A request or an offer is in the way of another (RFC 3261 §14, RFC 3311 §5).
    #[error("{} request is under way", if *ours { "our own" } else { "an earlier" })]
    Glare {
        /// Whether ours is: 491. Else one of the peer is: 500, with a Retry-After of 0 to 10
        /// seconds.
        ours: bool,
    },
    /// The peer broke a rule of dialogs.
    #[error("{reason}")]
    Dialog {
        /// The status to answer the request with.
        status: u16,
        /// For people.
        reason: &'static str,
    },
}

impl Error {
    /// The status code to answer a request with; `None` if there is nothing to answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NotSip(_) | Self::Gone => None,
            Self::Malformed { .. } | Self::Missing(_) | Self::Repeated(_) => Some(400),
            Self::TooLarge { .. } => Some(513),
            Self::Version => Some(505),
            Self::Scheme(_) => Some(416),
            Self::Method(_) => Some(405),
            Self::Extension(_) => Some(420),
            Self::Hops => Some(483),
            Self::Denied => Some(403),
            Self::Unprintable(_) | Self::State(_) => Some(500),
            Self::Full => Some(503),
            Self::Glare { ours: true } => Some(491),
            Self::Glare { ours: false } => Some(500),
            Self::Dialog { status, .. } => Some(*status),
        }
    }

    /// Offset in the message where parsing stopped, where that is known.
    pub fn offset(&self) -> Option<usize> {
        match self {
            Self::NotSip(at) | Self::Malformed { at, .. } => Some(at.at),
            Self::TooLarge { at, .. } => Some(*at),
            _ => None,
        }
    }
}

/// The usual reason phrase of a status code (RFC 3261 §21 and the registry).
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        430 => "Flow Failed",
        439 => "First Hop Lacks Outbound Support",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        s if s < 200 => "Progress",
        s if s < 300 => "Success",
        s if s < 400 => "Redirection",
        s if s < 500 => "Request Failure",
        s if s < 600 => "Server Failure",
        _ => "Global Failure",
    }
}
