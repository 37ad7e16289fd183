//! MIKEY and MIKEY-TICKET (RFC 3830, RFC 6043): payloads, key derivation, tickets and exchanges,
//! sans-IO.
//!
//! [`Message`] reads and writes every payload of RFC 3830 and RFC 6043. [`exchange`] holds the
//! three ticket exchanges from each side: [`exchange::request_init`] and what follows for the
//! caller, [`Received`] for the called party, [`exchange::TicketRequest`] and
//! [`exchange::ResolveRequest`] for the KMS. [`Profile`] holds everything that vendors may do
//! differently.
//!
//! The base exchanges of RFC 3830 are read but not run, and neither are CSB updates.

mod error;
pub mod exchange;
mod header;
mod identity;
mod key;
pub mod key_mgmt;
mod limits;
mod message;
pub mod payload;
pub mod prf;
mod profile;
mod protect;
pub mod registry;
mod replay;
pub mod ticket;
mod timestamp;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{Error, Fault, Feature};
pub use exchange::{
    GrantedTicket, Keyed, Offered, PendingRequest, PendingResolve, Received, request_init, ticket_id,
};
pub use header::{CryptoSession, CsIdMap, Header, SrtpSession};
pub use identity::Identity;
pub use key::{EnvelopeKey, Mpk, Psk, Tek, Tgk, Tpk};
pub use limits::Limits;
pub use message::Message;
pub use profile::{Profile, SdpIds, Suite};
pub use protect::{AuthKey, MessageKeys};
pub use replay::{Fresh, ReplayCache};
pub use timestamp::Timestamp;
