//! Reads payloads and chains of payloads.

use super::{Dh, Kemac, KeyValidity, Payload, Pke, SecurityPolicy, Sign, Ticket, TicketPolicy, Verification};
use crate::error::Feature;
use crate::registry::{mac_alg, payload_type, ts_type};
use crate::{Error, Identity, Limits, Timestamp};
use carnet_wire::{Cursor, Span};

/// What is left of the limits while a message is read.
pub(crate) struct Budget {
    payloads: usize,
    nested: bool,
}

impl Budget {
    pub fn new(limits: &Limits) -> Self {
        Self { payloads: limits.payloads, nested: false }
    }

    /// Reads something inside a payload. In there, tickets are not allowed.
    pub fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        self.nested = true;
        let out = read(self);
        self.nested = false;
        out
    }
}

/// Reads payloads until one says that none follows; nothing may come after it. The type of the
/// first stands at octet `named_at`.
pub(crate) fn parse_chain(
    c: &mut Cursor<'_>,
    first: u8,
    mut named_at: usize,
    budget: &mut Budget,
) -> Result<Vec<(Payload, Span)>, Error> {
    let mut payloads = Vec::new();
    let mut this = first;
    while this != payload_type::LAST {
        if budget.payloads == 0 {
            return Err(Error::Limit { what: "payloads", at: c.position() });
        }
        budget.payloads -= 1;
        let start = c.position();
        let unknown = Error::Unsupported { feature: Feature::Payload(this), at: named_at };
        named_at = start;
        let (payload, next) = if this == payload_type::SIGN {
            // RFC 3830 §6.5: the only payload without a Next payload octet.
            (parse_sign(c)?, payload_type::LAST)
        } else {
            let next = c.u8("a payload type")?;
            let Some(payload) = parse_payload(this, c, budget)? else { return Err(unknown) };
            (payload, next)
        };
        payloads.push((payload, Span::new(start, c.position())));
        this = next;
    }
    if c.is_empty() { Ok(payloads) } else { Err(c.error("nothing after the last payload").into()) }
}

/// Reads the payload of type `this` after its Next payload octet; `None` if the type is unknown.
fn parse_payload(this: u8, c: &mut Cursor<'_>, budget: &mut Budget) -> Result<Option<Payload>, Error> {
    Ok(Some(match this {
        payload_type::KEMAC => {
            let encr_alg = c.u8("an encryption algorithm")?;
            let encr_data = len16(c, "encrypted key data")?;
            let (mac_alg, mac) = parse_mac(c)?;
            Payload::Kemac(Kemac { encr_alg, encr_data, mac_alg, mac })
        }
        payload_type::PKE => {
            let head = c.u16("cache flags and a length")?;
            let data = c.take(usize::from(head & 0x3FFF), "an encrypted envelope key")?.to_vec();
            Payload::Pke(Pke { cache: (head >> 14) as u8, data })
        }
        payload_type::DH => parse_dh(c)?,
        payload_type::T => Payload::T(parse_timestamp(c)?),
        payload_type::ID => Payload::Id(parse_identity(c)?),
        payload_type::CERT => {
            let cert_type = c.u8("a certificate type")?;
            Payload::Cert { cert_type, data: len16(c, "a certificate")? }
        }
        payload_type::CHASH => {
            let at = c.position();
            let hash = c.u8("a hash function")?;
            let len = match hash {
                0 => 20,
                1 => 16,
                2 => 32,
                n => return Err(Error::Unsupported { feature: Feature::Hash(n), at }),
            };
            Payload::CertHash { hash, value: c.take(len, "a certificate hash")?.to_vec() }
        }
        payload_type::V => {
            let (auth_alg, mac) = parse_mac(c)?;
            Payload::V(Verification { auth_alg, mac })
        }
        payload_type::SP => {
            let number = c.u8("a policy number")?;
            let protocol = c.u8("a security protocol type")?;
            Payload::Sp(SecurityPolicy { number, protocol, parameters: len16(c, "policy parameters")? })
        }
        payload_type::RAND => Payload::Rand(len8(c, "random octets")?),
        payload_type::ERR => {
            Payload::Err { number: c.u8("an error number")?, reserved: c.u16("two reserved octets")? }
        }
        payload_type::TR => Payload::Tr { role: c.u8("a timestamp role")?, time: parse_timestamp(c)? },
        payload_type::IDR => Payload::Idr { role: c.u8("an identity role")?, id: parse_identity(c)? },
        payload_type::RANDR => {
            Payload::Randr { role: c.u8("a random number role")?, rand: len8(c, "random octets")? }
        }
        // A ticket inside a ticket policy would have no end.
        payload_type::TP | payload_type::TICKET if budget.nested => {
            return Err(Error::Limit { what: "levels of nesting", at: c.position() });
        }
        payload_type::TP => Payload::Tp(TicketPolicy::parse(c, budget)?),
        payload_type::TICKET => Payload::Ticket(Ticket::parse(c, budget)?),
        payload_type::GENERAL_EXT => {
            Payload::GeneralExt { ext_type: c.u8("an extension type")?, data: len16(c, "extension data")? }
        }
        _ => return Ok(None),
    }))
}

fn len8(c: &mut Cursor<'_>, what: &'static str) -> Result<Vec<u8>, Error> {
    let len = c.u8("a length")?;
    Ok(c.take(usize::from(len), what)?.to_vec())
}

fn len16(c: &mut Cursor<'_>, what: &'static str) -> Result<Vec<u8>, Error> {
    let len = c.u16("a length of two octets")?;
    Ok(c.take(usize::from(len), what)?.to_vec())
}

fn parse_mac(c: &mut Cursor<'_>) -> Result<(u8, Vec<u8>), Error> {
    let at = c.position();
    let alg = c.u8("a MAC algorithm")?;
    let Some(len) = mac_alg::len(alg) else {
        return Err(Error::Unsupported { feature: Feature::Mac(alg), at });
    };
    Ok((alg, c.take(len, "a MAC as long as its algorithm says")?.to_vec()))
}

fn parse_timestamp(c: &mut Cursor<'_>) -> Result<Timestamp, Error> {
    let at = c.position();
    Ok(match c.u8("a timestamp type")? {
        ts_type::NTP_UTC => Timestamp::NtpUtc(c.u64("a timestamp of eight octets")?),
        ts_type::NTP => Timestamp::Ntp(c.u64("a timestamp of eight octets")?),
        ts_type::COUNTER => Timestamp::Counter(c.u32("a counter of four octets")?),
        ts_type::NTP_UTC_32 => Timestamp::NtpUtc32(c.u32("a timestamp of four octets")?),
        n => return Err(Error::Unsupported { feature: Feature::Timestamp(n), at }),
    })
}

fn parse_identity(c: &mut Cursor<'_>) -> Result<Identity, Error> {
    let id_type = c.u8("an identity type")?;
    Ok(Identity { id_type, data: len16(c, "an identity")? })
}

fn parse_sign(c: &mut Cursor<'_>) -> Result<Payload, Error> {
    let head = c.u16("a signature type and length")?;
    let signature = c.take(usize::from(head & 0xFFF), "a signature")?.to_vec();
    Ok(Payload::Sign(Sign { sign_type: (head >> 12) as u8, signature }))
}

fn parse_dh(c: &mut Cursor<'_>) -> Result<Payload, Error> {
    let at = c.position();
    let group = c.u8("a Diffie-Hellman group")?;
    let len = match group {
        0 => 192,
        1 => 96,
        2 => 128,
        n => return Err(Error::Unsupported { feature: Feature::Group(n), at }),
    };
    let value = c.take(len, "a Diffie-Hellman value")?.to_vec();
    let at = c.position();
    let kv = c.u8("a key validity type")?;
    let validity = KeyValidity::parse(kv & 0xF, at, c)?;
    Ok(Payload::Dh(Dh { group, value, reserved: kv >> 4, validity }))
}
