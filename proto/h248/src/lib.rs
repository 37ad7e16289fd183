//! H.248 (Megaco): one model, its text encoding and the transaction layer, sans-IO.
//!
//! * [`model`]: messages, transactions, commands and descriptors of versions 1 to 3 as plain values.
//! * [`text`]: the text encoding (RFC 3525 Annex B, and what versions 2 and 3 added).
//! * [`package`]: what packages define, in one table.
//! * [`association`]: transactions between two peers, at most once, over datagrams or streams.
//! * [`controller`]: the controller's side: gateways register, are watched, asked and heard.
//! * [`registration`]: the gateway's side: finding a controller, losing it, coming back.
//! * [`tpkt`]: messages on a TCP stream.
//!
//! Not here: the binary encoding, sockets, clocks.

pub mod association;
pub mod controller;
pub mod error;
pub mod model;
pub mod package;
pub mod registration;
pub mod text;
pub mod tpkt;

pub use error::Error;
pub use model::*;
