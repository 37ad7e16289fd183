//! Which encoding a message is in, or shall be in.
//!
//! RFC 3525 §8: text and binary are two encodings of one protocol. A receiver takes both, the first
//! octet tells them apart; on sending an association keeps to one.

use crate::binary::{self, Unsayable};
use crate::text::{self, Form, Limits};
use crate::{Error, Message};

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Text, with long or short keywords.
    Text(Form),
    /// BER.
    Binary,
}

impl Encoding {
    /// Writes a message.
    ///
    /// # Errors
    /// [`Unsayable`] for what has no binary form, which text always has, and for what the version of the
    /// message does not have, by name.
    pub fn print(self, message: &Message) -> Result<Vec<u8>, Unsayable> {
        message.check_version().map_err(|newer| binary::unsayable(newer.to_string()))?;
        match self {
            Self::Text(form) => Ok(text::print(message, form)),
            Self::Binary => binary::print(message),
        }
    }
}

/// Reads a message in either encoding. A binary one begins with the tag of a SEQUENCE, `0`, with
/// which no text message can begin.
///
/// # Errors
/// Those of [`text::parse`] and [`binary::parse`].
pub fn parse(octets: &[u8], limits: &Limits) -> Result<Message, Error> {
    if is_binary(octets) { binary::parse(octets, limits) } else { text::parse(octets, limits) }
}

/// The octets of the transactions, one after the other, or of the message's Error descriptor.
///
/// # Errors
/// As [`parse`], for what stands before them.
pub(crate) fn body<'a>(octets: &'a [u8], limits: &'a Limits) -> Result<&'a [u8], Error> {
    if is_binary(octets) {
        return binary::body(octets, limits);
    }
    let at = text::body_at(octets, limits)?;
    Ok(octets.get(at..).unwrap_or_default())
}

/// Whether octets can only be a message in the binary encoding.
pub fn is_binary(octets: &[u8]) -> bool {
    octets.first() == Some(&0x30)
}
