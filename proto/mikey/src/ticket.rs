//! The MIKEY base ticket: sealed by the KMS, or by an initiator that shares a TPK with it, and
//! opened by whoever holds the TPK (RFC 6043 Appendix A).
//!
//! The 3GPP base ticket is read as the same layout where the profile allows it.

use crate::error::Feature;
use crate::payload::{Budget, KeyData, Payload, Ticket, TicketPolicy, Verification, parse_chain, parse_keys};
use crate::prf::{Constant, Prf, Purpose, label};
use crate::registry::{key_type, payload_type, role};
use crate::writer::Writer;
use crate::{Error, Identity, Limits, MessageKeys, Mpk, Suite, Timestamp, Tpk, key};
use carnet_wire::{Cursor, Random};
use std::time::SystemTime;

/// SPI of the MPK, of MPKi and of MPKr where we make them. Nothing refers to them.
pub(crate) const SPI_MPKI: [u8; 4] = [0, 0, 0, 1];
pub(crate) const SPI_MPKR: [u8; 4] = [0, 0, 0, 2];

/// What a ticket yields.
pub struct Opened {
    /// Protects TRANSFER_INIT.
    pub mpki: Mpk,
    /// Protects TRANSFER_RESP, once forked.
    pub mpkr: Mpk,
    /// Session keys.
    pub keys: Vec<KeyData>,
    /// When the ticket was made.
    pub issued: Timestamp,
}

/// Makes a ticket with one fresh TGK named `spi`. Gives the ticket and what is in it.
pub fn seal(
    suite: Suite,
    policy: TicketPolicy,
    tpk: &Tpk,
    tpk_id: &[u8],
    spi: &[u8],
    wall: SystemTime,
    rng: &mut dyn Random,
) -> (Ticket, Opened) {
    let mpk = key::random(rng, suite.key_len());
    let tgk = KeyData::with_spi(key_type::TGK, &key::random(rng, suite.key_len()), spi);
    // RFC 6043 §12.1: at least as long as the longest of TPK and MPK.
    let mut rand = vec![0; tpk.expose().len().max(suite.key_len())];
    rng.fill(&mut rand);
    let issued = Timestamp::from_wall(wall);
    let keys = MessageKeys::derive(suite, tpk.expose(), Purpose::Ticket { rand: &rand });
    let kemac = keys.seal(issued, &[KeyData::with_spi(key_type::MPK, &mpk, &SPI_MPKI), tgk.duplicate()]);
    let (mpki, mpkr) = protection_keys(suite.prf(), &mpk, &rand);
    let chain = [
        Payload::T(issued),
        Payload::Rand(rand),
        Payload::Kemac(kemac),
        Payload::Idr { role: role::PSK, id: Identity::byte_string(tpk_id) },
        Payload::V(Verification { auth_alg: suite.mac_alg(), mac: vec![0; suite.mac_len()] }),
    ];
    // RFC 6043 §A.3: THDR stands first without having been announced; ours is empty.
    let mut data = Writer::default();
    data.u8(payload_type::T);
    data.len16(&[]);
    crate::payload::print_chain(&chain, &mut data);
    let mut ticket = Ticket { policy, ticket_data: data.0, initiator_data: Vec::new() };
    let mut sealed = Writer::default();
    ticket.print_sealed_part(&mut sealed);
    let covered = sealed.0.len() - suite.mac_len();
    let mac = keys.mac(&[sealed.0.get(..covered).unwrap_or_default()]);
    ticket.ticket_data.truncate(ticket.ticket_data.len() - suite.mac_len());
    ticket.ticket_data.extend_from_slice(&mac);
    (ticket, Opened { mpki, mpkr, keys: vec![tgk], issued })
}

/// What a ticket shows to one who has no key.
pub struct Outside {
    payloads: Vec<Payload>,
}

impl Outside {
    /// Reads the payloads of Ticket Data.
    pub fn parse(ticket: &Ticket, limits: &Limits) -> Result<Self, Error> {
        let c = &mut Cursor::new(&ticket.ticket_data);
        let first = c.u8("the payload type in a ticket header")?;
        let len = c.u16("a ticket header length")?;
        // RFC 6043 §A.3: what we do not expect in the ticket header is ignored.
        c.take(usize::from(len), "ticket header data")?;
        let chain = Budget::new(limits).nested(|budget| parse_chain(c, first, 0, budget))?;
        Ok(Self { payloads: chain.into_iter().map(|(p, _)| p).collect() })
    }

    /// Names the key that the ticket is sealed with.
    pub fn tpk_id(&self) -> Option<&Identity> {
        self.payloads.iter().find_map(|p| match p {
            Payload::Idr { role: role::PSK, id } => Some(id),
            _ => None,
        })
    }

    /// When the ticket was made, if that is to be believed.
    pub fn issued(&self) -> Option<Timestamp> {
        self.payloads.iter().find_map(|p| match p {
            Payload::T(t) => Some(*t),
            _ => None,
        })
    }

    /// The payloads in order.
    pub fn payloads(&self) -> &[Payload] {
        &self.payloads
    }
}

/// Verifies and opens a ticket.
pub fn open(ticket: &Ticket, tpk: &Tpk, limits: &Limits) -> Result<Opened, Error> {
    let suite = Suite::from_prf(Prf::from_number(ticket.policy.prf)?);
    let outside = Outside::parse(ticket, limits)?;
    let Some(Payload::V(v)) = outside.payloads.last() else { return Err(Error::Missing("V in the ticket")) };
    let rand = outside
        .payloads
        .iter()
        .find_map(|p| match p {
            Payload::Rand(rand) => Some(rand.as_slice()),
            _ => None,
        })
        .ok_or(Error::Missing("RAND in the ticket"))?;
    let keys = MessageKeys::derive(suite, tpk.expose(), Purpose::Ticket { rand });
    let mut sealed = Writer::default();
    ticket.print_sealed_part(&mut sealed);
    let covered = sealed.0.len().saturating_sub(v.mac.len());
    keys.verify(
        v.auth_alg,
        &v.mac,
        &[sealed.0.get(..covered).unwrap_or_default()],
        "the ticket's MAC is wrong",
    )?;
    let issued = outside.issued().ok_or(Error::Missing("T in the ticket"))?;
    let kemac = outside
        .payloads
        .iter()
        .find_map(|p| match p {
            Payload::Kemac(k) => Some(k),
            _ => None,
        })
        .ok_or(Error::Missing("KEMAC in the ticket"))?;
    let mut inside = parse_keys(&keys.open(issued, kemac)?, limits)?.into_iter();
    let mpk = inside.next().filter(|k| k.key_type == key_type::MPK && k.key.len() >= key::SHORTEST);
    let mpk = mpk.ok_or(Error::Key("the first key of a ticket must be an MPK of at least 16 octets"))?;
    // RFC 6043 §12.1.
    if rand.len() < mpk.key.len().max(tpk.expose().len()) {
        return Err(Error::Key("RAND in the ticket is shorter than a key that goes with it"));
    }
    let inside: Vec<_> = inside.collect();
    if let Some(bad) = inside.iter().find(|k| k.key_type >= key_type::MPK) {
        return Err(Error::unsupported(Feature::KeyType(bad.key_type)));
    }
    let (mpki, mpkr) = protection_keys(suite.prf(), &mpk.key, rand);
    Ok(Opened { mpki, mpkr, keys: inside, issued })
}

/// RFC 6043 §A.2.2.
fn protection_keys(prf: Prf, mpk: &[u8], rand: &[u8]) -> (Mpk, Mpk) {
    let derive = |constant| {
        let octets = prf.derive(mpk, &label(constant, Purpose::ProtectionKeys { rand }), mpk.len());
        Mpk::from_zeroizing(octets)
    };
    (derive(Constant::Mpki), derive(Constant::Mpkr))
}
