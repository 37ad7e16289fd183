//! Ticket policy and ticket as payloads (RFC 6043 §6.10).
//!
//! What is inside Ticket Data depends on the ticket type and is read by [`crate::ticket`];
//! here it stays octets.

use super::{Budget, Payload, parse_chain, print_first_and_chain};
use crate::Error;
use crate::registry::{role, time_role};
use crate::writer::Writer;
use crate::{Identity, Timestamp};
use carnet_wire::Cursor;

/// The flags D to O, with the reserved bits as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u32);

impl Flags {
    /// The KMS made the ticket; if not, the initiator did.
    pub const D: Self = Self(1 << 16);
    /// The responder must ask the KMS.
    pub const E: Self = Self(1 << 15);
    /// The responder answers with TRANSFER_RESP.
    pub const F: Self = Self(1 << 14);
    /// The responder makes a RANDRr.
    pub const G: Self = Self(1 << 13);
    /// RANDRi goes into traffic keys.
    pub const H: Self = Self(1 << 12);
    /// Keys are forked per responder.
    pub const I: Self = Self(1 << 11);
    /// The ticket may be used again.
    pub const J: Self = Self(1 << 10);
    /// The KMS changed what was asked for.
    pub const K: Self = Self(1 << 9);
    /// The initiator may supply session keys.
    pub const L: Self = Self(1 << 8);
    /// The responder may supply session keys.
    pub const M: Self = Self(1 << 7);
    /// An initiator without knowledge of the ticket type can use it.
    pub const N: Self = Self(1 << 6);
    /// A responder without knowledge of the ticket type can use it.
    pub const O: Self = Self(1 << 5);

    /// Whether all of `flags` are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// The letters of the flags that are set.
    pub fn letters(self) -> String {
        "DEFGHIJKLMNO"
            .chars()
            .enumerate()
            .filter(|(i, _)| self.0 >> (16 - i) & 1 == 1)
            .map(|(_, c)| c)
            .collect()
    }

    /// Checks that they do not contradict each other. `tgk`: a TGK is in the ticket, as far as is
    /// known.
    pub fn check(self, tgk: bool) -> Result<(), Error> {
        // RFC 6043 §6.10: the flags are not independent.
        let rules = [
            (!self.has(Self::D), Self::L, "an initiator's own ticket needs flag L"),
            (self.has(Self::G), Self::F, "flag G needs F"),
            (!self.has(Self::G), Self::H, "one of G and H must be set"),
            (self.has(Self::I), Self::E, "flag I needs E"),
            (self.has(Self::K), Self::D, "flag K needs D"),
            (self.has(Self::M), Self::F, "flag M needs F"),
            (self.has(Self::I) && tgk, Self::F, "key forking of a TGK needs flag F"),
        ];
        match rules.iter().find(|(when, needs, _)| *when && !self.has(*needs)) {
            Some((_, _, why)) => Err(Error::Policy(why)),
            None => Ok(()),
        }
    }
}

/// A ticket policy: the TP payload, and the first part of TICKET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketPolicy {
    /// See [`ticket_type`](crate::registry::ticket_type).
    pub ticket_type: u16,
    /// 1 for the base ticket.
    pub subtype: u8,
    /// 1 for the base ticket.
    pub version: u8,
    /// PRF for key forking, 0 to 127.
    pub prf: u8,
    /// Flags.
    pub flags: Flags,
    /// TP Data: payloads without tickets in them.
    pub data: Vec<Payload>,
}

impl TicketPolicy {
    pub(crate) fn parse(c: &mut Cursor<'_>, budget: &mut Budget) -> Result<Self, Error> {
        let ticket_type = c.u16("a ticket type")?;
        let subtype = c.u8("a ticket subtype")?;
        let version = c.u8("a ticket version")?;
        // PRF in the upper seven bits, flag D in the lowest one.
        let prf_d = c.u8("a PRF number and flag D")?;
        let rest = c.u16("flags E to O")?;
        let flags = Flags(u32::from(prf_d & 1) << 16 | u32::from(rest));
        let len = usize::from(c.u16("a TP Data length")?);
        let start = c.position();
        let octets = c.take(len, "TP Data")?;
        let data = budget
            .nested(|budget| {
                let inner = &mut Cursor::new(octets);
                let first = inner.u8("the first payload type of TP Data")?;
                parse_chain(inner, first, 0, budget)
            })
            .map_err(|e| e.shifted(start))?;
        let data = data.into_iter().map(|(p, _)| p).collect();
        Ok(Self { ticket_type, subtype, version, prf: prf_d >> 1, flags, data })
    }

    pub(crate) fn print(&self, w: &mut Writer) {
        w.u16(self.ticket_type);
        w.u8(self.subtype);
        w.u8(self.version);
        w.u8(self.prf << 1 | (self.flags.0 >> 16) as u8 & 1);
        w.u16(self.flags.0 as u16);
        w.len16(&print_first_and_chain(&self.data));
    }

    /// Identities of `role`, in order.
    pub fn identities(&self, role: u8) -> impl Iterator<Item = &Identity> {
        self.data.iter().filter_map(move |p| match p {
            Payload::Idr { role: r, id } if *r == role => Some(id),
            _ => None,
        })
    }

    /// Who asked for the ticket.
    pub fn initiator(&self) -> Option<&Identity> {
        self.identities(role::INITIATOR).next()
    }

    /// A KMS that can resolve the ticket.
    pub fn kms(&self) -> Option<&Identity> {
        self.identities(role::KMS).next()
    }

    /// Who may resolve the ticket: persons or groups.
    pub fn responders(&self) -> impl Iterator<Item = &Identity> {
        self.identities(role::RESPONDER)
    }

    fn time(&self, wanted: u8) -> Option<Timestamp> {
        self.data.iter().find_map(|p| match p {
            Payload::Tr { role, time } if *role == wanted => Some(*time),
            _ => None,
        })
    }

    /// Start of the validity period; `None` means it has none.
    pub fn valid_from(&self) -> Option<Timestamp> {
        self.time(time_role::START)
    }

    /// End of the validity period; `None` means it has none.
    pub fn valid_to(&self) -> Option<Timestamp> {
        self.time(time_role::END)
    }

    /// Longest time between two rekeyings.
    pub fn rekey(&self) -> Option<Timestamp> {
        self.time(time_role::REKEY)
    }
}

/// A ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The granted policy.
    pub policy: TicketPolicy,
    /// For whoever can resolve the ticket.
    pub ticket_data: Vec<u8>,
    /// Proves who sent the ticket when keys are forked; empty otherwise.
    pub initiator_data: Vec<u8>,
}

impl Ticket {
    pub(crate) fn parse(c: &mut Cursor<'_>, budget: &mut Budget) -> Result<Self, Error> {
        let policy = TicketPolicy::parse(c, budget)?;
        let len = c.u16("a Ticket Data length")?;
        let ticket_data = c.take(usize::from(len), "Ticket Data")?.to_vec();
        let len = c.u16("an Initiator Data length")?;
        let initiator_data = c.take(usize::from(len), "Initiator Data")?.to_vec();
        Ok(Self { policy, ticket_data, initiator_data })
    }

    pub(crate) fn print(&self, w: &mut Writer) {
        self.print_sealed_part(w);
        w.len16(&self.initiator_data);
    }

    /// The part that the ticket's own MAC covers: without Next payload and Initiator Data, so
    /// that the ticket can move from message to message (RFC 6043 §A.1).
    pub(crate) fn print_sealed_part(&self, w: &mut Writer) {
        self.policy.print(w);
        w.len16(&self.ticket_data);
    }
}
