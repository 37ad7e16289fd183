//! The user equipment: registration, sealed offers and answers, key exchange, sans-IO.
//!
//! ```text
//!  driver ── SIP octets, DNS answers ──▶ Client ── Event::Media ──▶ who connects where, with
//!         ── key server's answers ────▶        ◀─ call, accept ──   which key
//! ```
//!
//! [`Client`] speaks SIP through `carnet_sip::Endpoint`, asks a key server for tickets and keys
//! through questions that the driver posts ([`Client::poll_fetch`]), and tells the driver what to
//! do with sockets ([`Media`]). A call is sealed end to end: the offer carries a ticket
//! (MIKEY-TICKET, RFC 6043, in `a=key-mgmt`, RFC 4567), the answer proves that the called side
//! opened it, and both ends derive the pre-shared key of one TLS association.
//!
//! A conference is a call too ([`Client::join`]): one line for messages, one for floor control, each with
//! a key of its own from one ticket; who is in it comes by subscription ([`Client::watch`]), and the focus
//! is asked to call others in or put them out ([`Client::refer`]). When a conference is lost, the client
//! waits for its focus to call back.
//!
//! A message connection that breaks is made again in the same call, under the same key, when the driver
//! wants it ([`Client::renew_media`]) or the peer does ([`Event::MediaRenewal`]).
//!
//! Nothing ever goes in clear unless [`Config::allow_clear`] says so. What is refused, is refused
//! with a [`Refusal`]: one reason, one sentence, one SIP answer.
//!
//! Drive it as every machine here: after each call drain [`Client::poll_transmit`],
//! [`Client::poll_query`], [`Client::poll_fetch`] and [`Client::poll_event`], then wait for input
//! or [`Client::poll_timeout`].
//!
//! Left out: offers in the 2xx of a call we get, new keys during a call, more than one line of a kind a
//! call, lines that are added to a call, and all other media.

mod call;
mod callee;
mod caller;
mod client;
mod conference;
mod config;
mod core;
mod description;
mod early;
mod event;
mod file;
mod flow;
mod media;
mod peer;
mod referral;
mod refusal;
mod register;
mod renewal;
mod room;
mod terms;
mod up;
mod watch;

pub use carnet_seal::{
    Fetch, FetchError, FetchId, FetchPurpose, Half, KeyAccount, Refusal as KeyRefusal, Seal,
};
pub use client::Client;
pub use conference::{Conference, ControlledFloor, FloorMedia, Invitation, Places};
pub use config::{Config, Limits};
pub use event::{CallId, Ending, Event, ReferralId};
pub use file::FileOffer;
pub use media::{Media, Purpose, Remote, TcpRole, TlsRole};
pub use referral::Ask;
pub use refusal::Refusal;
