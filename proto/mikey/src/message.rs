//! A whole MIKEY message: common header and payloads (RFC 3830 §5, §6.1).

use crate::payload::{
    Budget, Kemac, Payload, Pke, Sign, Ticket, TicketPolicy, Verification, parse_chain, print_chain,
};
use crate::registry::payload_type;
use crate::writer::Writer;
use crate::{Error, Header, Identity, Limits, Timestamp};
use carnet_wire::{Cursor, Span};

/// Where the common header names the first payload (RFC 3830 §6.1).
const FIRST_NAMED_AT: usize = 2;

/// A MIKEY message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Common header.
    pub header: Header,
    /// Payloads in order.
    pub payloads: Vec<Payload>,
}

impl Message {
    /// Reads a message. Printing it again yields `octets`.
    pub fn parse(octets: &[u8], limits: &Limits) -> Result<Self, Error> {
        Self::parse_spanned(octets, limits).map(|(message, _)| message)
    }

    /// Reads a message and says where each payload lies in `octets`.
    pub fn parse_spanned(octets: &[u8], limits: &Limits) -> Result<(Self, Vec<Span>), Error> {
        if octets.len() > limits.message {
            return Err(Error::Limit { what: "octets", at: limits.message });
        }
        let c = &mut Cursor::new(octets);
        let (header, first) = Header::parse(c, limits)?;
        let chain = parse_chain(c, first, FIRST_NAMED_AT, &mut Budget::new(limits))?;
        let (payloads, spans) = chain.into_iter().unzip();
        Ok((Self { header, payloads }, spans))
    }

    /// The message as octets.
    pub fn print(&self) -> Vec<u8> {
        self.print_spanned().0
    }

    /// The message as octets, with the place of each payload.
    pub fn print_spanned(&self) -> (Vec<u8>, Vec<Span>) {
        let mut w = Writer::message();
        let first = self.payloads.first().map_or(payload_type::LAST, Payload::type_number);
        self.header.print(first, &mut w);
        let spans = print_chain(&self.payloads, &mut w);
        (w.0, spans)
    }

    /// The first timestamp.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.payloads.iter().find_map(|p| match p {
            Payload::T(t) => Some(*t),
            _ => None,
        })
    }

    /// The first identity with `role`.
    pub fn identity(&self, role: u8) -> Option<&Identity> {
        self.payloads.iter().find_map(|p| match p {
            Payload::Idr { role: r, id } if *r == role => Some(id),
            _ => None,
        })
    }

    /// The first random number with `role`.
    pub fn rand(&self, role: u8) -> Option<&[u8]> {
        self.payloads.iter().find_map(|p| match p {
            Payload::Randr { role: r, rand } if *r == role => Some(rand.as_slice()),
            _ => None,
        })
    }

    /// The first ticket policy.
    pub fn policy(&self) -> Option<&TicketPolicy> {
        self.payloads.iter().find_map(|p| match p {
            Payload::Tp(policy) => Some(policy),
            _ => None,
        })
    }

    /// The first ticket.
    pub fn ticket(&self) -> Option<&Ticket> {
        self.payloads.iter().find_map(|p| match p {
            Payload::Ticket(ticket) => Some(ticket),
            _ => None,
        })
    }

    /// The first KEMAC.
    pub fn kemac(&self) -> Option<&Kemac> {
        self.payloads.iter().find_map(|p| match p {
            Payload::Kemac(kemac) => Some(kemac),
            _ => None,
        })
    }

    /// The Verification payload, if it is where it must be: last.
    pub fn verification(&self) -> Option<&Verification> {
        match self.payloads.last() {
            Some(Payload::V(v)) => Some(v),
            _ => None,
        }
    }

    /// The signature, if it is where it must be: last.
    pub fn signature(&self) -> Option<&Sign> {
        match self.payloads.last() {
            Some(Payload::Sign(sign)) => Some(sign),
            _ => None,
        }
    }

    /// The first envelope.
    pub fn envelope(&self) -> Option<&Pke> {
        self.payloads.iter().find_map(|p| match p {
            Payload::Pke(pke) => Some(pke),
            _ => None,
        })
    }

    /// The first error number.
    pub fn error(&self) -> Option<u8> {
        self.payloads.iter().find_map(|p| match p {
            Payload::Err { number, .. } => Some(*number),
            _ => None,
        })
    }
}
