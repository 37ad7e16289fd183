//! What every Carnet parser shares: a cursor over octets, spans, errors that can point at the
//! octet, hex and base64, records as lines, and the source of randomness that sans-IO machines are given.
//!
//! Nothing here knows a protocol, a clock or a socket.

pub mod base64;
mod cursor;
mod error;
pub mod hex;
mod lines;
mod random;

pub use cursor::{Cursor, Span};
pub use error::{ParseError, caret};
pub use lines::{Fields, LineFields, LineReader, LineWriter, Unreadable};
pub use random::{Random, SeededRandom};
