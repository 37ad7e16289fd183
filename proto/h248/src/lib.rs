//! H.248 (Megaco): one model, its text encoding and the transaction layer, sans-IO.
//!
//! * [`model`]: messages, transactions, commands and descriptors of versions 1 to 3 as plain values.
//! * [`text`]: the text encoding (RFC 3525 Annex B, and what versions 2 and 3 added).
//! * [`package`]: names and kinds of the package items Carnet knows, in one table.
//!
//! Not here: the binary encoding, sockets, clocks.

pub mod association;
pub mod error;
pub mod model;
pub mod text;

pub use error::Error;
pub use model::*;
