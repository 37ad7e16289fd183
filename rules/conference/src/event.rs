//! What happened in the conference server, declared once for logs, counters, the admin stream and tests.

use carnet_event::{Field, Fields, Level};
use std::fmt;

use carnet_h248::controller::{GatewayName, LostReason};

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

impl Left {
    /// A stable name for logs and counters.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Kicked(_) => "kicked",
            Self::Closed => "closed",
            Self::Released(_) => "released",
            Self::Connection(_) => "connection",
            Self::Silent => "silent",
            Self::Replaced => "replaced",
            Self::NotReached(_) => "not-reached",
            Self::Media(_) => "media",
            Self::Stopping => "stopping",
        }
    }
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

/// In parts: `NAME` in one word or two, and `NAME.text` for people.
impl Field for Left {
    fn tell(&self, name: &str, fields: &mut dyn Fields) {
        self.name().tell(name, fields);
        self.to_string().tell(&format!("{name}.text"), fields);
    }

    fn label(&self) -> String {
        self.name().to_owned()
    }
}

carnet_event::declare! {
    /// What happened. Rooms and members are named by their canonical URIs.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Event {
        /// A record is to be kept: it replaces what is there under `key`.
        [untold "keep"]
        Keep {
            /// Names it.
            key: String,
            /// The record. It holds no keys.
            value: Vec<u8>,
        },
        /// A record is not needed any more.
        [untold "forget"]
        Forget {
            /// Names it.
            key: String,
        },
        /// A room is there.
        [info "room-opened"]
        RoomOpened {
            /// Which.
            room: String,
            /// Who had it made, if somebody did.
            by: Option<String>,
        },
        /// A room ended.
        [info "room-closed"]
        RoomClosed {
            /// Which.
            room: String,
        },
        /// A room has its context on a media server.
        [info "room-placed" by gateway]
        RoomPlaced {
            /// Which.
            room: String,
            /// On which.
            gateway: GatewayName,
            /// The context.
            context: u32,
        },
        /// A room lost its media and is made anew.
        [error "room-lost"]
        RoomLost {
            /// Which.
            room: String,
            /// Members that are called back.
            members: usize,
        },
        /// Somebody entered.
        [info "joined" by sealed]
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
            /// The Call-ID of its dialog.
            call_id: String,
        },
        /// A media line of a member has its connection; from here on what it is sealed with is proven.
        [info "sealed" by media, with]
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
        [info "left" by reason]
        Left {
            /// The room.
            room: String,
            /// Who.
            member: String,
            /// Why.
            reason: Left,
            /// The Call-ID of its dialog, if it has one still.
            call_id: Option<String>,
        },
        /// Somebody did not get in.
        [warn "refused" by status]
        Refused {
            /// The room or factory that was called.
            room: String,
            /// Who wanted to, as the network or the ticket says.
            member: String,
            /// What it was answered.
            status: u16,
            /// Why.
            reason: String,
            /// The Call-ID of its INVITE.
            call_id: String,
        },
        /// A call out came to nothing.
        [warn "not-called"]
        NotCalled {
            /// The room.
            room: String,
            /// Who was called.
            member: String,
            /// SIP status, if there was an answer.
            status: Option<u16>,
            /// Why.
            reason: String,
            /// The Call-ID, if it was tried.
            call_id: Option<String>,
        },
        /// A member has another name in the room.
        [info "nickname"]
        Nickname {
            /// The room.
            room: String,
            /// Whose.
            member: String,
            /// The name; empty is none.
            nickname: String,
        },
        /// A member does not take what is sent, or does again.
        [info "stalled" by on]
        Stalled {
            /// The room.
            room: String,
            /// Who.
            member: String,
            /// Whether it stalls now.
            on: bool,
        },
        /// A floor changed hands.
        [info "floor"]
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
        [info "gateway-up" by gateway]
        GatewayUp {
            /// Its name.
            gateway: GatewayName,
        },
        /// A gateway does not answer any more or its connection broke.
        [error "gateway-lost" by gateway, reason]
        GatewayLost {
            /// Its name.
            gateway: GatewayName,
            /// Rooms on it.
            rooms: usize,
            /// Why it is taken for lost.
            reason: LostReason,
        },
        /// A gateway registered and lacks something that is needed here.
        [error "gateway-unsuited" by gateway]
        GatewayUnsuited {
            /// Its name.
            gateway: GatewayName,
            /// H.248 error code.
            code: u16,
            /// What it lacks.
            text: String,
        },
        /// The focus and a gateway knew different things, and do no more.
        [warn "gateway-resynchronised" by gateway]
        GatewayResynchronised {
            /// Its name.
            gateway: GatewayName,
            /// Terminations it had for no member; they are subtracted.
            strays: usize,
            /// Contexts of rooms that it did not have any more.
            lost: usize,
        },
        /// A gateway did not do what it was asked.
        [warn "gateway-refused" by gateway, code]
        GatewayRefused {
            /// Its name.
            gateway: GatewayName,
            /// H.248 error code.
            code: u16,
            /// What it said.
            text: String,
        },
        /// A message named a gateway as its sender and did not come from where that gateway is.
        [warn "foreign-control" by gateway]
        ForeignControl {
            /// The gateway it named.
            gateway: GatewayName,
            /// Where it came from.
            from: Option<std::net::IpAddr>,
        },
    }
    level(event, declared) match event {
        // It said that it goes, and nothing was on it.
        Event::GatewayLost { rooms: 0, reason: LostReason::Forced, .. } => Level::Info,
        Event::Left {
            reason: Left::Gone | Left::Kicked(_) | Left::Closed | Left::Replaced | Left::Stopping, ..
        } => Level::Info,
        Event::Left { .. } => Level::Warn,
        _ => declared,
    }
}

impl Event {
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
