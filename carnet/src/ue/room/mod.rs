//! A conference at the client: its messages, its floors, and what is told of both.
//!
//! ```text
//!  engine ── Media ──▶ talk:  MSRP session of the chat room (RFC 7701)   ──┐
//!         ── Floors ─▶ floor: BFCP client (RFC 8855)                      ──┴─▶ RoomEvent
//! ```
//!
//! One task a line. Both end with their connection; [`Memory`](memory::Memory) outlives them, so that a
//! conference that calls back goes on where it stopped.

pub(super) mod drive;
pub(super) mod errand;
pub mod event;
pub(super) mod floor;
pub(super) mod memory;
pub(super) mod model;
pub(super) mod talk;
pub(super) mod typed;
mod view;
#[cfg(test)]
mod view_tests;
mod words;

pub use model::clean;

use std::path::PathBuf;

use carnet_client::FileOffer;
use carnet_mikey::Identity;

use super::UeError;
use super::outbox::Source;

/// Where an answer to an order goes.
pub(super) type Reply = tokio::sync::oneshot::Sender<Result<(), UeError>>;

/// What can be asked of a conference that we are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Say something, to all or to one (a URI).
    Say {
        /// The one; `None` for all.
        to: Option<String>,
        /// What.
        text: String,
    },
    /// Send a file, to all or to one (a URI).
    File {
        /// The one; `None` for all.
        to: Option<String>,
        /// Which.
        path: PathBuf,
    },
    /// Go by another name; empty gives it back. The answer is an event.
    Nickname(String),
    /// We are typing, or stopped.
    Typing(bool),
    /// Ask for a floor. What comes of it is an event.
    Request {
        /// Which; `None` is the first.
        floor: Option<u16>,
        /// 0 (lowest) to 4 (highest).
        priority: Option<u8>,
        /// Why, for the chair.
        why: Option<String>,
    },
    /// Give a floor back, or withdraw the request.
    Release {
        /// Which; `None` is whichever we have or want.
        floor: Option<u16>,
    },
    /// As a chair: give somebody the floor who asked for it.
    Decide {
        /// Which floor; `None` is the one that is asked for.
        floor: Option<u16>,
        /// Who: a URI, a name, or the number of the user.
        who: String,
        /// What.
        decision: Decision,
    },
    /// Call somebody in (a URI). What comes of it is an event.
    Invite(String),
    /// Put somebody out (a URI). What comes of it is an event.
    Kick(String),
}

/// What a chair decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The floor is theirs.
    Grant,
    /// It is not.
    Deny,
    /// It is not any more.
    Revoke,
}

/// What the engine asks of the task that talks.
pub(super) enum TalkOrder {
    Say {
        to: Option<String>,
        text: String,
        reply: Reply,
    },
    File {
        to: Option<String>,
        offer: Box<FileOffer>,
        source: Source,
        reply: Reply,
    },
    Nickname(String),
    Typing(bool),
    /// End in order.
    Stop,
}

/// What the engine asks of the task that holds the floors.
pub(super) enum FloorOrder {
    Request {
        floor: Option<u16>,
        priority: Option<u8>,
        why: Option<String>,
        reply: Reply,
    },
    Release {
        floor: Option<u16>,
        reply: Reply,
    },
    Decide {
        floor: Option<u16>,
        who: String,
        decision: Decision,
        reply: Reply,
    },
    /// The focus has said whether it waits for another connection.
    Renewed(bool),
    /// End in order.
    Stop,
}

/// How the connection of a line ended.
pub(super) enum Over {
    /// It could not be made, or broke; one sentence.
    Failed(String),
    /// The peer ended it, or we were told to.
    Done,
    /// It broke, and another one is wanted in its place.
    Lost,
}

/// Whether two URIs name the same user.
pub(in crate::ue) fn same_user(a: &str, b: &str) -> bool {
    let name = |uri: &str| Identity::from_uri(uri).map(|identity| identity.text().into_owned());
    a == b || matches!((name(a), name(b)), (Ok(a), Ok(b)) if a == b)
}
