//! Large messages over datagrams (RFC 8855 §6.2.3).

use crate::error::{Error, Unsayable};
use crate::message::{DATAGRAM, FRAGMENT_HEADER, Fragment, HEADER, Header};
use crate::{Limits, Message};
use bytes::Bytes;
use carnet_wire::ParseError;

/// A message of version 2 as datagrams of fewer than `mtu` octets; one without fragment fields if it fits.
///
/// # Errors
/// [`Unsayable`] as for [`Message::print`], or if an `mtu` of no more than 20 octets leaves no room.
pub fn fragments(message: &Message, mtu: usize) -> Result<Vec<Vec<u8>>, Unsayable> {
    let whole = message.print()?;
    if whole.len() < mtu || message.version != DATAGRAM {
        return Ok(vec![whole]);
    }
    // Smaller than the MTU, in units of four octets.
    let room = mtu.saturating_sub(FRAGMENT_HEADER + 1) / 4 * 4;
    if room == 0 {
        return Err(Unsayable { what: "a fragment" });
    }
    let payload = whole.get(HEADER..).unwrap_or_default();
    let units = |octets: usize| u16::try_from(octets / 4).unwrap_or(u16::MAX);
    let mut out = Vec::with_capacity(payload.len().div_ceil(room));
    for (index, part) in payload.chunks(room).enumerate() {
        let fragment = Fragment { offset: units(index * room), length: units(part.len()) };
        let mut datagram = Vec::with_capacity(FRAGMENT_HEADER + part.len());
        Header { fragment: Some(fragment), ..message.header(units(payload.len())) }.write(&mut datagram);
        datagram.extend_from_slice(part);
        out.push(datagram);
    }
    Ok(out)
}

/// A message that comes in fragments. It is given up with the transaction's timer T2 (§8.3.2), by dropping
/// it.
#[derive(Debug)]
pub struct Assembly {
    header: Header,
    payload: Vec<u8>,
    /// Units that are there.
    have: Vec<bool>,
    missing: usize,
}

impl Assembly {
    /// Takes the first fragment that arrives, which need not be the first of the message.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Version`].
    pub fn begin(datagram: &[u8], limits: &Limits) -> Result<Self, Error> {
        let (header, _) = Header::parse(datagram)?;
        if header.message_octets() > limits.octets {
            return Err(Error::Length(ParseError::new(2, "a shorter message")));
        }
        let units = usize::from(header.payload);
        let mut this = Self { header, payload: vec![0; units * 4], have: vec![false; units], missing: units };
        this.add(datagram)?;
        Ok(this)
    }

    /// Whether a datagram is of the same message.
    pub fn is_of(&self, header: &Header) -> bool {
        let key = |h: &Header| {
            (h.version, h.responder, h.primitive, h.payload, h.conference, h.transaction, h.user)
        };
        header.fragment.is_some() && key(header) == key(&self.header)
    }

    /// Takes another fragment.
    ///
    /// # Errors
    /// [`Error::Length`] if it is of another message, reaches beyond the end of this one, is not as long as
    /// it says, or says something else about octets that are there.
    pub fn add(&mut self, datagram: &[u8]) -> Result<(), Error> {
        let (header, at) = Header::parse(datagram)?;
        let length = |at, what: &'static str| Error::Length(ParseError::new(at, what));
        let Some(fragment) = header.fragment.filter(|_| self.is_of(&header)) else {
            return Err(length(0, "a fragment of the same message"));
        };
        let part = datagram.get(at..).unwrap_or_default();
        if part.len() != usize::from(fragment.length) * 4 {
            return Err(length(14, "the length of the fragment"));
        }
        let first = usize::from(fragment.offset);
        let units = first..first + usize::from(fragment.length);
        let octets = first * 4..first * 4 + part.len();
        let (Some(have), Some(room)) = (self.have.get_mut(units), self.payload.get_mut(octets)) else {
            return Err(length(12, "a fragment inside the message"));
        };
        for ((have, room), part) in have.iter_mut().zip(room.chunks_exact_mut(4)).zip(part.chunks_exact(4)) {
            if *have && room != part {
                return Err(length(at, "fragments that agree"));
            }
            self.missing -= usize::from(!*have);
            *have = true;
            room.copy_from_slice(part);
        }
        Ok(())
    }

    /// The message, when all of it is there.
    pub fn finish(&self, limits: &Limits) -> Option<Result<Message, Error>> {
        if self.missing > 0 {
            return None;
        }
        let payload = Bytes::copy_from_slice(&self.payload);
        Some(Message::of_parts(&self.header, &payload, HEADER, limits))
    }
}
