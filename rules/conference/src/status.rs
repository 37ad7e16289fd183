//! What an administrator asks, and how he is answered.

use std::net::IpAddr;

use carnet_h248::controller;
use carnet_h248::controller::GatewayName;

/// How the place a message came from fits to what was known of its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// There is no other: the gateway has been here, or nowhere.
    Usual,
    /// Another one.
    Other,
    /// The gateway is in this process, and the message comes from outside.
    Outside,
}

/// Where a message of a gateway came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The address; `None` inside the process.
    pub address: Option<IpAddr>,
    /// How it fits.
    pub place: Place,
}

/// What contradicts itself in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A URI that cannot be a conference's.
    #[error("`{0}` cannot be the URI of a conference")]
    Uri(String),
    /// Two rooms or factories have the same URI.
    #[error("{0} is there twice")]
    Twice(String),
    /// A name in the account with the key server cannot be an identity.
    #[error("the account with the key server: {0}")]
    Keys(String),
    /// It was made with this, and goes on with it.
    #[error("{0} cannot change while it runs")]
    Fixed(&'static str),
    /// A room is moderated by a floor that it has not.
    #[error("{0} is moderated by floor {1}, which it has not")]
    NoFloor(String, u16),
}

/// Why an administrator's wish was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no such room.
    #[error("there is no such room")]
    NoRoom,
    /// There is no such member in the room.
    #[error("there is no such member in the room")]
    NoMember,
    /// As many dialogs are up as may be.
    #[error("no more calls can be made")]
    Full,
    /// There is no such floor in the room.
    #[error("there is no such floor in the room")]
    NoFloor,
    /// The user does not wait for the floor.
    #[error("the user does not wait for that floor")]
    NotWaiting,
    /// The user does not have the floor.
    #[error("the user does not have that floor")]
    NotHolding,
    /// The room has no media server at the moment, or one that takes no decisions.
    #[error("the media server of the room cannot be told")]
    NoMedia,
}

/// What an administrator decides about a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Who waits for it gets it now; where no more may have it, who has had it longest loses it.
    Grant,
    /// Who waits for it does not get it.
    Deny,
    /// Who has it loses it.
    Revoke,
}

impl Decision {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Deny => "deny",
            Self::Revoke => "revoke",
        }
    }
}

/// A room at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomStatus {
    /// Its canonical URI.
    pub uri: String,
    /// What it is about.
    pub subject: Option<String>,
    /// It is there although nobody is in it.
    pub fixed: bool,
    /// Its media server and context there.
    pub placed: Option<(GatewayName, u32)>,
    /// Whether every media line of every member is sealed; true of an empty room that takes no others.
    pub sealed: bool,
    /// Who is in it.
    pub members: Vec<MemberStatus>,
    /// Its floors.
    pub floors: Vec<FloorStatus>,
}

/// A member at this moment: one dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its canonical URI.
    pub uri: String,
    /// Its number in the room, and its BFCP user id.
    pub user: u16,
    /// Its name in the room.
    pub nickname: Option<String>,
    /// `joining`, `in`, `called-back`, `leaving`.
    pub state: &'static str,
    /// Whether it owns the room.
    pub owner: bool,
    /// Whether every media line is sealed.
    pub sealed: bool,
    /// Its media lines with the TLS version and suite, once the connection is there.
    pub media: Vec<(&'static str, Option<String>)>,
    /// It does not take what is sent at the moment.
    pub stalled: bool,
    /// The administrator lets nothing of it through.
    pub muted: bool,
}

/// A floor at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FloorStatus {
    /// Its number.
    pub id: u16,
    /// Who holds it, by number.
    pub holders: Vec<u16>,
    /// Who waits for it, by number, the next first.
    pub waiting: Vec<u16>,
}

/// One gateway at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayStatus {
    /// Its control association.
    pub control: controller::GatewayStatus,
    /// The realm its media addresses come from.
    pub realm: String,
    /// Its share of rooms beside others.
    pub weight: u32,
    /// There is a way to it, as far as the driver knows.
    pub connected: bool,
    /// Rooms on it.
    pub rooms: usize,
}

/// How much a focus holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Rooms.
    pub rooms: usize,
    /// Dialogs with members.
    pub legs: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Requests to gateways without an answer.
    pub gateway_requests: usize,
    /// SIP requests sent without a final response.
    pub requests: usize,
    /// Questions to the key server without an answer.
    pub fetches: usize,
}
