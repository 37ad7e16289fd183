//! What happened in the conference server, declared once for logs, counters, the admin stream and tests.

use std::fmt;

use carnet_h248::controller::{GatewayName, LostReason};

/// How much attention an event deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Normal course.
    Info,
    /// Someone was refused or failed.
    Warn,
    /// The server could not do its work.
    Error,
}

/// Why a member is not in a room any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Left {
    /// It hung up.
    Gone,
    /// Somebody who may do so put it out, or the administrator.
    Kicked(Option<String>),
    /// The room ended.
    Closed,
    /// It did not take what was sent, or broke a rule of the media; the media side's word.
    Released(String),
    /// Its connection failed or ended.
    Connection(String),
    /// Its session was not refreshed (RFC 4028 §10), or a 2xx was never acknowledged.
    Silent,
    /// The same user came again.
    Replaced,
    /// It could not be called back after a loss.
    NotReached(String),
    /// The media side could not do what was asked.
    Media(String),
    /// The server goes out of service.
    Stopping,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("left"),
            Self::Kicked(None) => f.write_str("put out"),
            Self::Kicked(Some(by)) => write!(f, "put out by {by}"),
            Self::Closed => f.write_str("the room was closed"),
            Self::Released(why) => write!(f, "released: {why}"),
            Self::Connection(why) => write!(f, "the connection was lost: {why}"),
            Self::Silent => f.write_str("no sign of life"),
            Self::Replaced => f.write_str("came again from elsewhere"),
            Self::NotReached(why) => write!(f, "could not be called back: {why}"),
            Self::Media(why) => write!(f, "the media server failed: {why}"),
            Self::Stopping => f.write_str("the server goes out of service"),
        }
    }
}

/// What happened. Rooms and members are named by their canonical URIs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A record is to be kept: it replaces what is there under `key`.
    Keep {
        /// Names it.
        key: String,
        /// The record. It holds no keys.
        value: Vec<u8>,
    },
    /// A record is not needed any more.
    Forget {
        /// Names it.
        key: String,
    },
    /// A room is there.
    RoomOpened {
        /// Which.
        room: String,
        /// Who had it made, if somebody did.
        by: Option<String>,
    },
    /// A room ended.
    RoomClosed {
        /// Which.
        room: String,
    },
    /// A room has its context on a media server.
    RoomPlaced {
        /// Which.
        room: String,
        /// On which.
        gateway: GatewayName,
        /// The context.
        context: u32,
    },
    /// A room lost its media and is made anew.
    RoomLost {
        /// Which.
        room: String,
        /// Members that are called back.
        members: usize,
    },
    /// Somebody entered.
    Joined {
        /// The room.
        room: String,
        /// Who.
        member: String,
        /// Its number in the room.
        user: u16,
        /// Whether all its media lines are sealed.
        sealed: bool,
        /// The room called it, and not it the room.
        called: bool,
    },
    /// A media line of a member has its connection; from here on what it is sealed with is proven.
    Sealed {
        /// The room.
        room: String,
        /// Whose.
        member: String,
        /// `message` or `application`.
        media: &'static str,
        /// The TLS version and cipher suite, as the media side names them.
        with: String,
    },
    /// Somebody is not there any more.
    Left {
        /// The room.
        room: String,
        /// Who.
        member: String,
        /// Why.
        reason: Left,
    },
    /// Somebody did not get in.
    Refused {
        /// The room or factory that was called.
        room: String,
        /// Who wanted to, as the network or the ticket says.
        member: String,
        /// What it was answered.
        status: u16,
        /// Why.
        reason: String,
    },
    /// A call out came to nothing.
    NotCalled {
        /// The room.
        room: String,
        /// Who was called.
        member: String,
        /// SIP status, if there was an answer.
        status: Option<u16>,
        /// Why.
        reason: String,
    },
    /// A member has another name in the room.
    Nickname {
        /// The room.
        room: String,
        /// Whose.
        member: String,
        /// The name; empty is none.
        nickname: String,
    },
    /// A member does not take what is sent, or does again.
    Stalled {
        /// The room.
        room: String,
        /// Who.
        member: String,
        /// Whether it stalls now.
        on: bool,
    },
    /// A floor changed hands.
    Floor {
        /// The room.
        room: String,
        /// Which floor.
        floor: u16,
        /// Who holds it.
        holders: Vec<String>,
        /// How many wait.
        waiting: usize,
    },
    /// A gateway registered.
    GatewayUp {
        /// Its name.
        gateway: GatewayName,
    },
    /// A gateway does not answer any more or its connection broke.
    GatewayLost {
        /// Its name.
        gateway: GatewayName,
        /// Rooms on it.
        rooms: usize,
        /// Why it is taken for lost.
        reason: LostReason,
    },
    /// A gateway registered and lacks something that is needed here.
    GatewayUnsuited {
        /// Its name.
        gateway: GatewayName,
        /// H.248 error code.
        code: u16,
        /// What it lacks.
        text: String,
    },
    /// The focus and a gateway knew different things, and do no more.
    GatewayResynchronised {
        /// Its name.
        gateway: GatewayName,
        /// Terminations it had for no member; they are subtracted.
        strays: usize,
        /// Contexts of rooms that it did not have any more.
        lost: usize,
    },
    /// A gateway did not do what it was asked.
    GatewayRefused {
        /// Its name.
        gateway: GatewayName,
        /// H.248 error code.
        code: u16,
        /// What it said.
        text: String,
    },
    /// A message named a gateway as its sender and did not come from where that gateway is.
    ForeignControl {
        /// The gateway it named.
        gateway: GatewayName,
        /// Where it came from.
        from: Option<std::net::IpAddr>,
    },
}

impl Event {
    /// A stable name for logs and counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Keep { .. } => "keep",
            Self::Forget { .. } => "forget",
            Self::RoomOpened { .. } => "room-opened",
            Self::RoomClosed { .. } => "room-closed",
            Self::RoomPlaced { .. } => "room-placed",
            Self::RoomLost { .. } => "room-lost",
            Self::Joined { .. } => "joined",
            Self::Sealed { .. } => "sealed",
            Self::Left { .. } => "left",
            Self::Refused { .. } => "refused",
            Self::NotCalled { .. } => "not-called",
            Self::Nickname { .. } => "nickname",
            Self::Stalled { .. } => "stalled",
            Self::Floor { .. } => "floor",
            Self::GatewayUp { .. } => "gateway-up",
            Self::GatewayLost { .. } => "gateway-lost",
            Self::GatewayUnsuited { .. } => "gateway-unsuited",
            Self::GatewayResynchronised { .. } => "gateway-resynchronised",
            Self::GatewayRefused { .. } => "gateway-refused",
            Self::ForeignControl { .. } => "foreign-control",
        }
    }

    /// How much attention it deserves.
    pub fn level(&self) -> Level {
        match self {
            // It said that it goes, and nothing was on it.
            Self::GatewayLost { rooms: 0, reason: LostReason::Forced, .. } => Level::Info,
            Self::RoomLost { .. } | Self::GatewayLost { .. } | Self::GatewayUnsuited { .. } => Level::Error,
            Self::Refused { .. }
            | Self::NotCalled { .. }
            | Self::GatewayResynchronised { .. }
            | Self::GatewayRefused { .. }
            | Self::ForeignControl { .. } => Level::Warn,
            Self::Left { reason, .. } => match reason {
                Left::Gone | Left::Kicked(_) | Left::Closed | Left::Replaced | Left::Stopping => Level::Info,
                _ => Level::Warn,
            },
            _ => Level::Info,
        }
    }

    /// The room it is about.
    pub fn room(&self) -> Option<&str> {
        match self {
            Self::RoomOpened { room, .. }
            | Self::RoomClosed { room }
            | Self::RoomPlaced { room, .. }
            | Self::RoomLost { room, .. }
            | Self::Joined { room, .. }
            | Self::Sealed { room, .. }
            | Self::Left { room, .. }
            | Self::Refused { room, .. }
            | Self::NotCalled { room, .. }
            | Self::Nickname { room, .. }
            | Self::Stalled { room, .. }
            | Self::Floor { room, .. } => Some(room),
            _ => None,
        }
    }
}
