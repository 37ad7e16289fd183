//! The MSRP switch of a multi-party chat (RFC 7701), sans-IO.
//!
//! One [`Room`] is one conference. Each member has a leg: an MSRP session over a connection of its own.
//! What a member sends to the room goes to all others, what it sends to one member goes to that one, while
//! it arrives: nothing is collected that is not wanted whole (history, and what is kept until it is
//! acknowledged). Payloads are shared between the legs.
//!
//! * [`Room::handle_input`], [`Room::poll_transmit`]: octets of one member's connection.
//! * [`Room::poll_writable`], [`Room::poll_readable`]: whose connection has something to do.
//! * [`Room::poll_event`]: what happened.
//!
//! Each leg has a queue of its own. A member that does not keep up is slowed (its queue grows), then
//! stalled (it is told nothing that is not a message), then released, with the limits of [`Settings`].
//! A sender waits while the greater part of the others has no room.
//!
//! Left out: message/cpim in S/MIME is passed on and not looked into; nicknames are compared without
//! Unicode normalisation (see [`canonical_nickname`]); members behind MSRP relays of ours (RFC 4976).

mod address;
mod history;
mod leg;
mod message;
mod names;
mod notice;
mod room;
mod seen;
mod speak;
mod types;

pub use room::Room;
pub use types::{
    Counters, Event, History, Limits, Member, MemberId, Reason, RosterEntry, Settings, canonical_nickname,
};
