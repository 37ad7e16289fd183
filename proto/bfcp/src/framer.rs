//! Messages on a stream (RFC 8855 §6.1): the header says where each ends.

use crate::error::Error;
use crate::message::{HEADER, Header, RELIABLE};
use crate::{Limits, Message};
use bytes::{Bytes, BytesMut};
use carnet_wire::ParseError;

/// Cuts a stream into messages. After an error the stream cannot be read any further: §6.1 has the
/// connection closed.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limits: Limits,
    consumed: usize,
}

impl Framer {
    /// A stream at its beginning.
    pub fn new(limits: Limits) -> Self {
        Self { buffer: BytesMut::new(), limits, consumed: 0 }
    }

    /// Takes octets of the stream.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// Octets of a message that is not whole yet.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Octets of the stream before what [`next_message`](Self::next_message) returns next.
    pub fn position(&self) -> usize {
        self.consumed
    }

    /// The header of what is next, if enough of it is there; also of a version that is not taken.
    pub fn peek_header(&self) -> Option<Header> {
        Header::of_any_version(&self.buffer)
    }

    /// The octets of the next whole message.
    ///
    /// # Errors
    /// [`Error::Version`], also for version 2, which belongs to datagrams; [`Error::Length`] if the
    /// message is longer than is taken.
    pub fn next_octets(&mut self) -> Result<Option<Bytes>, Error> {
        // What is wrong with the first octet need not wait for the rest.
        let Some(version) = self.buffer.first().map(|first| first >> 5) else { return Ok(None) };
        if version != RELIABLE {
            return Err(Error::Version { version });
        }
        if self.buffer.len() < HEADER {
            return Ok(None);
        }
        let (header, _) = Header::parse(&self.buffer)?;
        let end = header.message_octets();
        if end > self.limits.octets {
            return Err(Error::Length(ParseError::new(2, "a shorter message")));
        }
        if self.buffer.len() < end {
            return Ok(None);
        }
        self.consumed = self.consumed.saturating_add(end);
        Ok(Some(self.buffer.split_to(end).freeze()))
    }

    /// The next whole message.
    ///
    /// # Errors
    /// As [`next_octets`](Self::next_octets), and those of [`Message::parse`].
    pub fn next_message(&mut self) -> Result<Option<Message>, Error> {
        match self.next_octets()? {
            Some(octets) => Message::parse(&octets, &self.limits).map(Some),
            None => Ok(None),
        }
    }
}
