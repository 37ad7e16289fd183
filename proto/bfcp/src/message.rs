//! A message: the common header and attributes (RFC 8855 §5.1).

use crate::attribute::{self, Attribute};
use crate::error::{Error, Unsayable};
use crate::number::Primitive;
use crate::{Limits, Value};
use bytes::Bytes;
use carnet_wire::ParseError;

/// Octets of the common header without the fields of a fragment.
pub(crate) const HEADER: usize = 12;
/// Octets of the common header of a fragment.
pub(crate) const FRAGMENT_HEADER: usize = 16;
/// Version over reliable transports.
pub(crate) const RELIABLE: u8 = 1;
/// Version over datagrams.
pub(crate) const DATAGRAM: u8 = 2;

/// Which part of a message a datagram holds, in units of four octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Units in the parts before.
    pub offset: u16,
    /// Units in this part.
    pub length: u16,
}

/// The common header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// 1 over reliable transports, 2 over datagrams.
    pub version: u8,
    /// The R bit: over datagrams, an answer.
    pub responder: bool,
    /// The purpose.
    pub primitive: Primitive,
    /// Units of four octets behind the header; of the whole message in each fragment of it.
    pub payload: u16,
    /// The conference.
    pub conference: u32,
    /// Which request; 0 when the server speaks by itself over a reliable transport.
    pub transaction: u16,
    /// Who.
    pub user: u16,
    /// The F bit, and which part this is.
    pub fragment: Option<Fragment>,
}

impl Header {
    /// Reads a header; how many octets it takes. Over a reliable transport (version 1) the R and F bits say
    /// nothing (§5.1).
    ///
    /// # Errors
    /// [`Error::Length`] if the octets end before it does, [`Error::Version`].
    pub fn parse(octets: &[u8]) -> Result<(Self, usize), Error> {
        let short = || Error::Length(ParseError::new(octets.len(), "the rest of the header"));
        // What another version has behind its first octet is not known.
        let version = octets.first().ok_or_else(short)? >> 5;
        if !matches!(version, RELIABLE | DATAGRAM) {
            return Err(Error::Version { version });
        }
        let mut header = Self::of_any_version(octets).ok_or_else(short)?;
        let first = octets.first().copied().unwrap_or_default();
        if version == RELIABLE || first & 0x08 == 0 {
            return Ok((header, HEADER));
        }
        let part = octets.get(HEADER..FRAGMENT_HEADER).and_then(|p| <[u8; 4]>::try_from(p).ok());
        let [o1, o2, l1, l2] = part.ok_or_else(short)?;
        let fragment =
            Fragment { offset: u16::from_be_bytes([o1, o2]), length: u16::from_be_bytes([l1, l2]) };
        header.fragment = Some(fragment);
        Ok((header, FRAGMENT_HEADER))
    }

    /// What the twelve octets say that every version begins with, so that even one that is not spoken here
    /// can be refused in an answer; without the fields of a fragment.
    pub fn of_any_version(octets: &[u8]) -> Option<Self> {
        let &[first, primitive, p1, p2, c1, c2, c3, c4, t1, t2, u1, u2] = octets.first_chunk::<HEADER>()?;
        let version = first >> 5;
        Some(Self {
            version,
            responder: version == DATAGRAM && first & 0x10 != 0,
            primitive: Primitive(primitive),
            payload: u16::from_be_bytes([p1, p2]),
            conference: u32::from_be_bytes([c1, c2, c3, c4]),
            transaction: u16::from_be_bytes([t1, t2]),
            user: u16::from_be_bytes([u1, u2]),
            fragment: None,
        })
    }

    /// Writes the header. Reserved bits are zero, and over reliable transports R and F too.
    pub fn write(&self, out: &mut Vec<u8>) {
        let datagram = self.version == DATAGRAM;
        let fragment = self.fragment.filter(|_| datagram);
        let flags = u8::from(self.responder && datagram) << 4 | u8::from(fragment.is_some()) << 3;
        out.push((self.version & 7) << 5 | flags);
        out.push(self.primitive.0);
        out.extend_from_slice(&self.payload.to_be_bytes());
        out.extend_from_slice(&self.conference.to_be_bytes());
        out.extend_from_slice(&self.transaction.to_be_bytes());
        out.extend_from_slice(&self.user.to_be_bytes());
        if let Some(fragment) = fragment {
            out.extend_from_slice(&fragment.offset.to_be_bytes());
            out.extend_from_slice(&fragment.length.to_be_bytes());
        }
    }

    /// Octets of the whole message, with a header that has no fields of a fragment.
    pub fn message_octets(&self) -> usize {
        HEADER + usize::from(self.payload) * 4
    }
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// 1 over reliable transports, 2 over datagrams.
    pub version: u8,
    /// The R bit: over datagrams, an answer.
    pub responder: bool,
    /// The purpose.
    pub primitive: Primitive,
    /// The conference.
    pub conference: u32,
    /// Which request; 0 when the server speaks by itself over a reliable transport.
    pub transaction: u16,
    /// Who: the client's own number, also in answers to it.
    pub user: u16,
    /// In order.
    pub attributes: Vec<Attribute>,
}

impl Message {
    /// Reads a message that is not a fragment.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Version`], [`Error::Syntax`]. Whether the primitive is known and has
    /// what it needs is for [`Body::of`](crate::Body::of).
    pub fn parse(octets: &Bytes, limits: &Limits) -> Result<Self, Error> {
        let (header, at) = Header::parse(octets)?;
        let length = |at, what: &'static str| Error::Length(ParseError::new(at, what));
        if header.fragment.is_some() {
            return Err(length(0, "a whole message, no fragment"));
        }
        let end = header.message_octets();
        if end > limits.octets {
            return Err(length(2, "a shorter message"));
        }
        if octets.len() < end {
            return Err(length(octets.len(), "the rest of the message"));
        }
        if octets.len() > end {
            return Err(length(end, "the end of the message"));
        }
        Self::of_parts(&header, &octets.slice(at..), at, limits)
    }

    /// A message of a header and all that follows it, which begins `at` octets into the message.
    pub(crate) fn of_parts(
        header: &Header,
        payload: &Bytes,
        at: usize,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let mut left = limits.attributes;
        Ok(Self {
            version: header.version,
            responder: header.responder,
            primitive: header.primitive,
            conference: header.conference,
            transaction: header.transaction,
            user: header.user,
            attributes: attribute::read(payload, at, &mut left)?,
        })
    }

    /// The message as octets.
    ///
    /// # Errors
    /// [`Unsayable`] if an attribute has more than 255 octets or the message more than 262,152.
    pub fn print(&self) -> Result<Vec<u8>, Unsayable> {
        let mut out = Vec::with_capacity(256);
        self.header(0).write(&mut out);
        attribute::write(&self.attributes, &mut out)?;
        let units = (out.len() - HEADER) / 4;
        let units = u16::try_from(units).map_err(|_| Unsayable { what: "a message" })?;
        if let Some(payload) = out.get_mut(2..4) {
            payload.copy_from_slice(&units.to_be_bytes());
        }
        Ok(out)
    }

    pub(crate) fn header(&self, payload: u16) -> Header {
        Header {
            version: self.version,
            responder: self.responder,
            primitive: self.primitive,
            payload,
            conference: self.conference,
            transaction: self.transaction,
            user: self.user,
            fragment: None,
        }
    }

    /// Types of extensions that must be understood, wherever they stand; none is known here.
    pub fn unknown_mandatory(&self) -> Vec<u8> {
        fn collect(attributes: &[Attribute], found: &mut Vec<u8>) {
            for attribute in attributes {
                match &attribute.value {
                    Value::Extension { kind, .. } if attribute.mandatory && !found.contains(kind) => {
                        found.push(*kind);
                    }
                    value => collect(value.group().map_or(&[], |g| &g.attributes), found),
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.attributes, &mut found);
        found
    }
}
