//! The focus of conferences (MRFC): dialogs, seals, roster, policy, sans-IO.
//!
//! ```text
//!  driver ── SIP, DNS answers ──────▶ Focus ── SIP ─────────────────────────────▶ members
//!         ── key server's answers ──▶       ── H.248 (Mp): one context a room ──▶ media servers (MRFP)
//!         ── H.248 ────────────────▶        ── questions for the key server, records for the store
//! ```
//!
//! [`Focus`] is the machine. Members call the conference's URI, or a factory that makes one, or are
//! called; each media line is sealed with its own ticket (RFC 6043) where the member can, and the key of
//! it goes to the media server and nowhere else (TS 23.333 §6.2.19).
//!
//! Drive it as every machine here: after each call drain [`Focus::poll_transmit`],
//! [`Focus::poll_query`], [`Focus::poll_fetch`] and [`Focus::poll_event`], then wait for input or
//! [`Focus::poll_timeout`].

mod admin;
mod call;
mod config;
mod context;
mod core;
mod enter;
mod event;
mod fault;
mod focus;
mod gateways;
mod leg;
mod line;
mod losses;
mod media;
mod more;
mod news;
mod notices;
mod reconfigure;
mod record;
pub mod refer;
mod room;
pub mod roster;
mod sip;
mod status;
pub mod subscribe;
mod up;

pub use carnet_h248::controller::GatewayName;
pub use carnet_seal::{Fetch, FetchError, FetchId, FetchPurpose, KeyAccount};
pub use config::{
    Algorithm, Config, Devices, Factory, Floor, Gateway, Limits, Member, Policy, Prefix, Room, Timers,
    Unsealed, Who,
};
pub use event::{Event, Left};
pub use focus::{Focus, Out};
pub use reconfigure::DialogsSoFar;
pub use status::{
    AdminError, ConfigError, Decision, FloorStatus, GatewayStatus, Load, MemberStatus, Origin, Place,
    RoomStatus,
};
