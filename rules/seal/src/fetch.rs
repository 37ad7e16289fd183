//! Questions to the key server, as the driver sees them: HTTP POSTs that it makes.

use crate::refusal::Refusal;

/// Which exchange with the key server a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FetchPurpose {
    /// The caller asks for a ticket (REQUEST_INIT, RFC 6043 §4.2.1).
    Ticket,
    /// The called side asks for the keys in a ticket (RESOLVE_INIT, RFC 6043 §4.2.3).
    Resolve,
}

/// Names a question to the key server. Never reused in the life of who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FetchId(pub u64);

/// A question to the key server: an HTTP POST that the driver makes.
#[derive(Debug)]
pub struct Fetch {
    /// Names the question; goes back with the answer.
    pub id: FetchId,
    /// Which of the two questions it is.
    pub purpose: FetchPurpose,
    /// The body, `application/mikey`.
    pub octets: Vec<u8>,
}

/// Why the driver brings no answer from the key server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchError {
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// An HTTP status other than 200, without a MIKEY message.
    Status(u16),
}

impl FetchError {
    /// What it means for who asked.
    pub fn refusal(self, purpose: FetchPurpose) -> Refusal {
        match self {
            Self::Unreachable => Refusal::KmsUnreachable(purpose),
            Self::TimedOut => Refusal::KmsTimeout(purpose),
            // The key server sheds load with these.
            Self::Status(429 | 500..) => Refusal::KmsUnreachable(purpose),
            Self::Status(_) => Refusal::KmsRefused(purpose, None),
        }
    }
}
