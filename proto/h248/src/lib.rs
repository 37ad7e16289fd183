//! H.248 (Megaco): one model, its text encoding and the transaction layer, sans-IO.
//!
//! * [`model`]: messages, transactions, commands and descriptors of versions 1 to 3 as plain values.
//! * [`text`]: the text encoding (RFC 3525 Annex B, and what versions 2 and 3 added).
//! * [`binary`]: the binary encoding, BER (RFC 3525 Annex A, likewise).
//! * [`encoding`]: which of the two a message is in.
//! * [`package`]: what packages define, in one table.
//! * [`association`]: transactions between two peers, at most once, over datagrams or streams.
//! * [`controller`]: the controller's side: gateways register, are watched, asked and heard.
//! * [`profile`]: what the two sides may count on, as values.
//! * [`registration`]: the gateway's side: finding a controller, losing it, coming back.
//! * [`tpkt`]: messages on a TCP stream.
//! * [`authentication`]: the interim authentication header.
//!
//! Not here: sockets, clocks.

pub mod association;
pub mod authentication;
pub mod binary;
pub mod controller;
pub mod encoding;
pub mod error;
pub mod model;
pub mod package;
pub mod profile;
pub mod registration;
pub mod text;
mod told;
pub mod tpkt;

pub use encoding::Encoding;
pub use error::Error;
pub use model::*;
