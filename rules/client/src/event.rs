//! What the client tells its driver.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use carnet_roster::{Change, Roster};

use crate::conference::{Conference, FloorMedia};
use crate::media::{Media, Purpose, Remote};
use crate::refusal::Refusal;

/// Names a call between client and driver. Never reused in the life of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Names what a focus was asked for. Never reused in the life of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReferralId(pub u64);

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The registrar has taken our registration.
    Registered {
        /// For how long.
        expires: Duration,
        /// From where the network sees us, if addresses are translated on the way.
        seen_at: Option<SocketAddr>,
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
    /// The peer offers another session in place of the one that there is: its connection broke. The driver
    /// ends the old one and says where it takes the new one: [`Client::take_media`](crate::Client::take_media).
    MediaRenewal {
        /// Which call.
        call: CallId,
    },
    /// What came of [`Client::renew_media`](crate::Client::renew_media) or
    /// [`Client::take_media`](crate::Client::take_media).
    MediaRenewed {
        /// Which call.
        call: CallId,
        /// Both sides agree, and the driver makes the connection: with the key that the line has, so there
        /// is no seal in it. Or the peer, or somebody on the way, cannot now; the call stands.
        media: Result<Box<Media>, Refusal>,
    },
    /// We are in a conference; its lines follow.
    Joined {
        /// Which call.
        call: CallId,
        /// Which conference.
        conference: Conference,
    },
    /// Both sides agree about floor control. The driver makes the connection.
    Floors {
        /// Which call.
        call: CallId,
        /// How.
        media: Box<FloorMedia>,
    },
    /// What the focus says to another floor control connection
    /// ([`Client::renew_floors`](crate::Client::renew_floors)).
    FloorsRenewed {
        /// Which call.
        call: CallId,
        /// It waits for it: there, or at our place as before. Or it does not want it now.
        place: Result<Option<Remote>, Refusal>,
    },
    /// The conference took floor control out of the call.
    FloorsEnded {
        /// Which call.
        call: CallId,
    },
    /// Who is in the conference has changed.
    Roster {
        /// Which call.
        call: CallId,
        /// All of it.
        roster: Box<Roster>,
        /// What is new in it.
        changes: Vec<Change>,
    },
    /// There is no roster of the conference, or none any more. The call goes on.
    NoRoster {
        /// Which call.
        call: CallId,
        /// Why.
        reason: Refusal,
    },
    /// What came of [`Client::refer`](crate::Client::refer) so far.
    Referral {
        /// Which call.
        call: CallId,
        /// What was asked.
        referral: ReferralId,
        /// SIP status: of the REFER if it was refused, else of what the focus did.
        status: u16,
        /// Its words.
        text: String,
        /// Whether nothing more will come.
        done: bool,
    },
    /// The conference was lost, and its focus has a while to call back. The call is over for media, not
    /// for good: [`Event::Incoming`] with [`Invitation::back`](crate::Invitation::back) or
    /// [`Event::Ended`] follows.
    Waiting {
        /// Which call.
        call: CallId,
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
    /// Somebody on the way, or the peer's program, could not go on: a BYE with the status of a failure as its
    /// reason (RFC 3326).
    Broken {
        /// The status.
        status: u16,
        /// The words to it, if there were some.
        text: Option<String>,
    },
    /// The caller gave up before we answered.
    Cancelled,
    /// It did not come about, or could not go on.
    Refused(Refusal),
    /// The focus called back: the conference goes on in another call.
    CalledBack(CallId),
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
            Self::Broken { status, text: None } => write!(f, "the call could not go on: {status}"),
            Self::Broken { text: Some(text), .. } => write!(f, "the call could not go on: {text}"),
            Self::Cancelled => f.write_str("the caller gave up"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::CalledBack(_) => f.write_str("the conference called back"),
        }
    }
}
