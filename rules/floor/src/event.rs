//! What happened on the floors.

use carnet_bfcp::{Priority, Status};
use std::fmt;

/// A connection, numbered by the driver; a number is never used for a second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// An ongoing request, as it stands on one floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The server's number for the request.
    pub request: u16,
    /// Who has or gets the floor.
    pub user: u16,
    /// Who asked, if somebody else did.
    pub requested_by: Option<u16>,
    /// How urgent.
    pub priority: Priority,
    /// Granted, accepted or pending, of the request as a whole.
    pub status: Status,
}

/// A floor as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloorReport {
    /// Which.
    pub floor: u16,
    /// Who decides, if somebody does.
    pub chair: Option<u16>,
    /// Who has it, since longest first.
    pub holders: Vec<Claim>,
    /// Who gets it next.
    pub queue: Vec<Claim>,
    /// What a chair has to decide, in order of arrival.
    pub pending: Vec<Claim>,
}

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Whoever asked, or had the floor, gave it back.
    Asked,
    /// The chair decided.
    Chair,
    /// The chair gave the floor to another.
    Displaced,
    /// The time for one request was over.
    Time,
    /// The user said goodbye or closed its connection.
    Left,
    /// The user's connection was lost and did not come back in time.
    Lost,
    /// The user is no longer in the conference.
    Dismissed,
    /// The floor was taken out of the conference, or fewer may hold it.
    Configured,
    /// The conference's owner decided ([`revoke`](crate::FloorControl::revoke)).
    Owner,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "given back",
            Self::Chair => "the chair decided",
            Self::Displaced => "the chair gave the floor to another",
            Self::Time => "the time is over",
            Self::Left => "the user left floor control",
            Self::Lost => "the connection was lost",
            Self::Dismissed => "the user left the conference",
            Self::Configured => "the floor was changed",
            Self::Owner => "the owner of the conference decided",
        })
    }
}

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// What came cannot be read (RFC 8855 §6.1).
    Unreadable,
    /// It does not take what is sent: more waits than [`Limits::transmit`](crate::Limits::transmit).
    Slow,
    /// Messages over datagrams were not acknowledged (RFC 8855 §8.3.1).
    Silent,
    /// The user has a newer connection.
    Superseded,
    /// The user said goodbye.
    Goodbye,
    /// The user is no longer in the conference.
    Dismissed,
    /// There are too many.
    TooMany,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "what came cannot be read",
            Self::Slow => "it does not take what is sent",
            Self::Silent => "it does not answer",
            Self::Superseded => "the user has a newer connection",
            Self::Goodbye => "the user said goodbye",
            Self::Dismissed => "the user left the conference",
            Self::TooMany => "there are too many connections",
        })
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Who has, or waits for, a floor changed. Once a floor and call, after all that changed it.
    Floor(FloorReport),
    /// A request was made and waits; one that is granted at once has only [`Granted`](Self::Granted).
    Requested {
        /// The request.
        request: u16,
        /// For whom.
        user: u16,
        /// Which floors.
        floors: Vec<u16>,
    },
    /// A request was granted, for all its floors.
    Granted {
        /// The request.
        request: u16,
        /// Who has the floors now.
        user: u16,
        /// Which.
        floors: Vec<u16>,
    },
    /// A request is over.
    Ended {
        /// The request.
        request: u16,
        /// Whose it was.
        user: u16,
        /// Which floors.
        floors: Vec<u16>,
        /// Denied, cancelled, released or revoked: the last two if it had been granted.
        status: Status,
        /// Why.
        reason: Reason,
    },
    /// Another user is the chair of a floor, or nobody is.
    Chair {
        /// The floor.
        floor: u16,
        /// Who.
        user: Option<u16>,
    },
    /// The user of a connection that came without one is known now.
    Bound {
        /// The connection.
        connection: ConnectionId,
        /// Who.
        user: u16,
    },
    /// A connection is to be closed, once what [`poll_transmit`](crate::FloorControl::poll_transmit) still
    /// has for it is sent, or at once if that cannot be. It is forgotten:
    /// [`closed`](crate::FloorControl::closed) need not be called.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
}
