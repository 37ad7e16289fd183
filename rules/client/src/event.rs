//! What the client tells its driver.

use std::fmt;
use std::time::Duration;

use crate::media::{Media, Purpose, Remote};
use crate::refusal::Refusal;

/// Names a call between client and driver. Never reused in the life of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The registrar has taken our registration.
    Registered {
        /// For how long.
        expires: Duration,
    },
    /// The registrar has not taken our registration. It is tried again unless the reason is
    /// [`Refusal::Unauthorised`].
    RegistrationFailed {
        /// Why.
        reason: Refusal,
    },
    /// The connection over which the registration was made is gone, and calls for us may have no
    /// other way. The registration is made again.
    FlowLost,
    /// The registration has been taken back.
    Unregistered,
    /// The called side rings.
    Ringing {
        /// Which call.
        call: CallId,
    },
    /// Somebody calls. If the call is sealed its keys are checked and here: what is left is
    /// [`Client::accept`](crate::Client::accept) or [`Client::decline`](crate::Client::decline).
    Incoming {
        /// Which call.
        call: CallId,
        /// Who: of a sealed call as the key server vouches for it, else as the network says.
        from: String,
        /// What for.
        purpose: Purpose,
        /// Whether it is sealed.
        sealed: bool,
    },
    /// Both sides agree. The driver makes the connection.
    Media {
        /// Which call.
        call: CallId,
        /// How.
        media: Box<Media>,
    },
    /// The peer is to be reached elsewhere than [`Event::Media`] said. A connection that is up already
    /// stays.
    Moved {
        /// Which call.
        call: CallId,
        /// Where to connect to now.
        remote: Remote,
    },
    /// An incoming call was refused before anyone was asked.
    Refused {
        /// Which call.
        call: CallId,
        /// Who the network says it was.
        from: String,
        /// Why.
        reason: Refusal,
    },
    /// The call is over, and its media with it.
    Ended {
        /// Which call.
        call: CallId,
        /// How.
        ending: Ending,
    },
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// We hung up.
    Local,
    /// The peer hung up; its reason if it gave one.
    Peer(Option<String>),
    /// The caller gave up before we answered.
    Cancelled,
    /// It did not come about, or could not go on.
    Refused(Refusal),
}

impl Ending {
    /// The refusal, if that is how it ended.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("ended"),
            Self::Peer(None) => f.write_str("the other side hung up"),
            Self::Peer(Some(reason)) => write!(f, "the other side hung up: {reason}"),
            Self::Cancelled => f.write_str("the caller gave up"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}
