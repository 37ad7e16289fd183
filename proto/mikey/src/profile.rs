//! Everything that RFC 6043 leaves open, or that another vendor may do differently, in one place.
//!
//! 3GPP TS 33.328 profiles MIKEY-TICKET; where its text decides a value that is not public here
//! (security protocol number, ticket type, names of TLS keys), the value is a setting.

use crate::payload::{Flags, Kemac, KeyData, Payload, TicketPolicy, print_keys};
use crate::prf::Prf;
use crate::registry::{encr_alg, key_type, mac_alg, role, ticket_type, time_role};
use crate::{Error, Identity, Limits, Timestamp};
use carnet_wire::Random;
use std::time::{Duration, SystemTime};

/// A set of algorithms. The sets are never mixed (RFC 6043 §12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// PRF-HMAC-SHA-256, AES-CM-256, HMAC-SHA-256-256; keys of 32 octets.
    Bits256,
    /// MIKEY-1, AES-CM-128, HMAC-SHA-1-160; keys of 16 octets.
    Bits128,
}

impl Suite {
    /// The set that a PRF belongs to.
    pub fn from_prf(prf: Prf) -> Self {
        match prf {
            Prf::Mikey1 => Self::Bits128,
            Prf::HmacSha256 => Self::Bits256,
        }
    }

    /// Its PRF.
    pub fn prf(self) -> Prf {
        match self {
            Self::Bits256 => Prf::HmacSha256,
            Self::Bits128 => Prf::Mikey1,
        }
    }

    /// Its encryption algorithm, see [`encr_alg`].
    pub fn encr_alg(self) -> u8 {
        match self {
            Self::Bits256 => encr_alg::AES_CM_256,
            Self::Bits128 => encr_alg::AES_CM_128,
        }
    }

    /// Its MAC algorithm, see [`mac_alg`].
    pub fn mac_alg(self) -> u8 {
        match self {
            Self::Bits256 => mac_alg::HMAC_SHA_256_256,
            Self::Bits128 => mac_alg::HMAC_SHA_1_160,
        }
    }

    /// Octets of a MAC and of the key it takes.
    pub fn mac_len(self) -> usize {
        match self {
            Self::Bits256 => 32,
            Self::Bits128 => 20,
        }
    }

    /// Octets of encryption and session keys.
    pub fn key_len(self) -> usize {
        match self {
            Self::Bits256 => 32,
            Self::Bits128 => 16,
        }
    }
}

/// What to make of the list of offered protocols inside TRANSFER_INIT (RFC 4567 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdpIds {
    /// Refuse a message without it.
    Required,
    /// Accept a message without it, and say so. One that differs is always refused.
    Optional,
}

/// Settings of every exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Algorithms we propose.
    pub suite: Suite,
    /// Whether messages with the 128-bit set are accepted.
    pub accept_128: bool,
    /// Ticket type we ask for.
    pub ticket_type: u16,
    /// Whether 3GPP base tickets are accepted, read as the base ticket.
    pub accept_3gpp_ticket: bool,
    /// Whether keys are forked per responder.
    pub forking: bool,
    /// Whether tickets must be resolved by the KMS. Only without forking may a responder that has
    /// the key do it alone.
    pub must_resolve: bool,
    /// Security protocol number for TLS. None is registered; 241 is the first private one.
    pub protocol: u8,
    /// Whether another number is accepted from the peer. 0 and 1, which mean SRTP and TESLA, never are.
    pub accept_other_protocol: bool,
    /// Key management protocols offered in SDP, joined by `;`.
    pub sdp_ids: String,
    /// What to make of their absence.
    pub check_sdp_ids: SdpIds,
    /// Largest difference between a message's time and ours.
    pub skew: Duration,
    /// How long before its issue a ticket is valid, for clocks that are behind.
    pub backdate: Duration,
    /// How long a ticket is valid.
    pub lifetime: Duration,
    /// Octets of a derived TEK, 16 to 64.
    pub tek_len: usize,
    /// What a TLS pre-shared key identity begins with.
    pub psk_identity_prefix: String,
    /// Bounds of what is read.
    pub limits: Limits,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            suite: Suite::Bits256,
            accept_128: false,
            ticket_type: ticket_type::BASE,
            accept_3gpp_ticket: false,
            forking: true,
            must_resolve: true,
            protocol: 241,
            accept_other_protocol: true,
            sdp_ids: "mikey".into(),
            check_sdp_ids: SdpIds::Optional,
            skew: Duration::from_secs(300),
            backdate: Duration::from_secs(300),
            lifetime: Duration::from_secs(24 * 3600),
            tek_len: 32,
            psk_identity_prefix: "mikey-ticket:".into(),
            limits: Limits::default(),
        }
    }
}

impl Profile {
    /// The 128-bit set, for tests with implementations that have no other.
    pub fn interop_128() -> Self {
        Self { suite: Suite::Bits128, accept_128: true, tek_len: 16, ..Self::default() }
    }

    /// The set of a message with this PRF number, if we accept it.
    pub(crate) fn accept_suite(&self, prf: u8) -> Result<Suite, Error> {
        match Suite::from_prf(Prf::from_number(prf)?) {
            suite if suite == self.suite || suite == Suite::Bits256 || self.accept_128 => Ok(suite),
            _ => Err(Error::unsupported(crate::Feature::Prf(prf))),
        }
    }

    /// The flags we ask for and grant.
    pub fn flags(&self) -> Flags {
        use Flags as F;
        let flags = F::D.with(F::F).with(F::G).with(F::H).with(F::N).with(F::O);
        match (self.forking, self.must_resolve) {
            (true, _) => flags.with(F::I).with(F::E),
            (false, true) => flags.with(F::E),
            (false, false) => flags,
        }
    }

    /// The policy of a ticket from `initiator` to `responders`, resolved by `kms`, valid around
    /// `wall`.
    pub fn policy(
        &self,
        wall: SystemTime,
        kms: &Identity,
        initiator: &Identity,
        responders: &[&Identity],
    ) -> TicketPolicy {
        let start = wall.checked_sub(self.backdate).unwrap_or(wall);
        let end = wall.checked_add(self.lifetime).unwrap_or(wall);
        let mut data = vec![
            Payload::Idr { role: role::KMS, id: kms.clone() },
            Payload::Idr { role: role::INITIATOR, id: initiator.clone() },
            Payload::Tr { role: time_role::START, time: Timestamp::seconds_from_wall(start) },
            Payload::Tr { role: time_role::END, time: Timestamp::seconds_from_wall(end) },
        ];
        data.extend(responders.iter().map(|r| Payload::Idr { role: role::RESPONDER, id: (*r).clone() }));
        TicketPolicy {
            ticket_type: self.ticket_type,
            subtype: 1,
            version: 1,
            prf: self.suite.prf().number(),
            flags: self.flags(),
            data,
        }
    }

    /// The KEMAC of a requested policy: one TGK, all zero, nothing encrypted (RFC 6043 §6.10).
    pub(crate) fn wanted_keys(&self, rng: &mut dyn Random) -> Payload {
        let spi = rng.u32().to_be_bytes();
        let zero = vec![0; self.suite.key_len()];
        Payload::Kemac(Kemac {
            encr_alg: encr_alg::NULL,
            encr_data: print_keys(&[KeyData::with_spi(key_type::TGK, &zero, &spi)]).to_vec(),
            mac_alg: mac_alg::NULL,
            mac: Vec::new(),
        })
    }

    /// Checks what a ticket policy says about itself; `prf` is that of the message around it.
    pub(crate) fn check_policy(&self, policy: &TicketPolicy, prf: u8) -> Result<(), Error> {
        if !self.accepts_ticket(policy.ticket_type) || policy.subtype != 1 || policy.version != 1 {
            return Err(Error::unsupported(crate::Feature::Ticket(policy.ticket_type)));
        }
        policy.flags.check(true)?;
        // RFC 6043 has a PRF in the header and one in the policy and does not say whether they
        // may differ. They must not here.
        if policy.prf != prf {
            return Err(Error::Policy("the PRF of the ticket is not that of the message"));
        }
        if policy.responders().next().is_none() {
            return Err(Error::Policy("the ticket names no responder"));
        }
        Ok(())
    }

    /// Whether tickets of that type can be used.
    pub fn accepts_ticket(&self, number: u16) -> bool {
        number == ticket_type::BASE
            || number == self.ticket_type
            || number == ticket_type::BASE_3GPP && self.accept_3gpp_ticket
    }

    /// Whether a security protocol number can mean TLS.
    pub(crate) fn accepts_protocol(&self, number: u8) -> bool {
        number == self.protocol || self.accept_other_protocol && number > 1
    }
}

impl TicketPolicy {
    /// Checks that `wall` lies within the validity period.
    pub fn check_validity(&self, wall: SystemTime) -> Result<(), Error> {
        let at = |t: Option<Timestamp>| match t {
            None => Ok(None),
            Some(t) => t.to_wall().map(Some).ok_or(Error::Policy("a validity period needs NTP timestamps")),
        };
        if at(self.valid_from())?.is_some_and(|start| wall < start) {
            return Err(Error::Validity("yet"));
        }
        if at(self.valid_to())?.is_some_and(|end| wall > end) {
            return Err(Error::Validity("any more"));
        }
        Ok(())
    }
}
