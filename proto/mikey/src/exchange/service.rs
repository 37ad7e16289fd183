//! The KMS's side of Ticket Request and Ticket Resolve (RFC 6043 §4.2.1.4 to 5, §4.2.3.4 to 5).
//!
//! Protocol only: who may have which ticket is decided elsewhere. Types follow the order of
//! work, so that nothing is granted before a MAC was checked.

use super::common::{error_message, idr, kms_header, protect, protected_error, unsigned, verify};
use super::resolve::keys_for_responder;
use super::strength;
use crate::payload::{Flags, KeyData, Payload, Ticket, TicketPolicy, parse_keys};
use crate::prf::Purpose;
use crate::registry::{data_type, key_type, role};
use crate::replay::{MessageDigest, digest};
use crate::ticket::{self, Opened, SPI_MPKI, SPI_MPKR};
use crate::{
    Error, Feature, Header, Identity, Limits, Message, MessageKeys, Profile, Psk, ReplayCache, Suite,
    Timestamp, Tpk,
};
use carnet_wire::Random;
use std::time::SystemTime;

/// What both kinds of requests to a KMS have in common.
struct Asked {
    suite: Suite,
    limits: Limits,
    octets: Vec<u8>,
    message: Message,
    rand: Vec<u8>,
}

impl Asked {
    fn parse(
        profile: &Profile,
        wall: SystemTime,
        octets: &[u8],
        wanted: u8,
        rand_role: u8,
    ) -> Result<Self, Error> {
        let message = Message::parse(octets, &profile.limits)?;
        let header = &message.header;
        if header.data_type != wanted {
            return Err(Error::Unsupported { feature: Feature::DataType(header.data_type), at: 1 });
        }
        let suite = profile.accept_suite(header.prf)?;
        if header.map.sessions() != 0 {
            return Err(Error::Rule("requests to a KMS have no crypto sessions"));
        }
        message.timestamp().ok_or(Error::Missing("T"))?.check_skew(wall, profile.skew)?;
        let rand = message.rand(rand_role).ok_or(Error::Missing("RANDR"))?.to_vec();
        message.verification().ok_or(Error::Missing("V"))?;
        Ok(Self { suite, limits: profile.limits, octets: octets.to_vec(), message, rand })
    }

    /// Verifies the MAC and gives the keys of the request and of the answer.
    fn verify(
        &self,
        psk: &Psk,
        requester: &Identity,
        kms: &Identity,
        randr: bool,
    ) -> Result<(MessageKeys, MessageKeys), Error> {
        let csb_id = self.message.header.csb_id;
        let (rand_i, rand_r): (&[u8], &[u8]) = if randr { (&[], &self.rand) } else { (&self.rand, &[]) };
        let keys = |response| {
            let purpose = Purpose::Message { csb_id, response, rand_i, rand_r };
            MessageKeys::derive(self.suite, psk.expose(), purpose)
        };
        // RFC 6043 §12.1.
        strength::randoms(rand_i, rand_r, psk.expose().len())?;
        let suffix = [requester.data.as_slice(), kms.data.as_slice()];
        let init_keys = keys(false);
        verify(&self.message, &self.octets, &init_keys, &suffix, "the request has a wrong MAC")?;
        Ok((init_keys, keys(true)))
    }

    fn refuse(&self, error: &Error, wall: SystemTime, keys: &MessageKeys) -> Option<Vec<u8>> {
        Some(protected_error(&self.message.header, error.mikey_error()?, wall, self.suite, keys))
    }

    fn response_header(&self, data_type: u8) -> Header {
        kms_header(data_type, self.suite, self.message.header.csb_id, false)
    }
}

macro_rules! asked {
    ($name:ident, $party:ident, $role:expr) => {
        impl $name {
            /// Names the pre-shared key.
            pub fn psk_id(&self) -> Option<&Identity> {
                self.0.message.identity(role::PSK)
            }

            /// Who says to be asking.
            pub fn $party(&self) -> Option<&Identity> {
                self.0.message.identity($role)
            }

            /// Which KMS is asked.
            pub fn kms(&self) -> Option<&Identity> {
                self.0.message.identity(role::KMS)
            }

            /// What identifies the message in a [`ReplayCache`].
            pub fn digest(&self) -> MessageDigest {
                digest(&self.0.octets)
            }

            /// Checks that the message is new, before its MAC is.
            pub fn check_replay(&self, cache: &mut ReplayCache, wall: SystemTime) -> Result<(), Error> {
                cache.check(&self.digest(), &self.0.message, wall)
            }

            /// The Error message that refuses the request because of `error`; `None` if none must
            /// be sent.
            pub fn refuse(&self, error: &Error, wall: SystemTime) -> Option<Vec<u8>> {
                Some(error_message(&self.0.message.header, error.mikey_error()?, wall))
            }
        }
    };
}

/// A REQUEST_INIT_PSK, parsed, not yet proven.
pub struct TicketRequest(Asked);

asked!(TicketRequest, initiator, role::INITIATOR);

impl TicketRequest {
    /// Reads the message and checks its time and form.
    pub fn parse(profile: &Profile, wall: SystemTime, octets: &[u8]) -> Result<Self, Error> {
        let asked = Asked::parse(profile, wall, octets, data_type::REQUEST_INIT_PSK, role::INITIATOR)?;
        asked.message.policy().ok_or(Error::Missing("TP"))?;
        Ok(Self(asked))
    }

    /// The policy that is asked for.
    pub fn policy(&self) -> Option<&TicketPolicy> {
        self.0.message.policy()
    }

    /// Checks that the owner of `psk`, `initiator`, sent it to us, `kms`.
    pub fn verify(self, psk: &Psk, initiator: &Identity, kms: &Identity) -> Result<VerifiedRequest, Error> {
        let (init_keys, keys) = self.0.verify(psk, initiator, kms, false)?;
        Ok(VerifiedRequest { asked: self.0, init_keys, keys, kms: kms.clone() })
    }
}

/// A proven ticket request.
pub struct VerifiedRequest {
    asked: Asked,
    init_keys: MessageKeys,
    keys: MessageKeys,
    kms: Identity,
}

/// A ticket that was issued.
pub struct Issued {
    /// REQUEST_RESP.
    pub octets: Vec<u8>,
    /// SHA-256 of the ticket without what its owner adds later: the same whenever it comes back.
    pub ticket_id: MessageDigest,
}

impl VerifiedRequest {
    /// The Error message that refuses the request because of `error`, with a MAC; `None` if none
    /// must be sent.
    pub fn refuse(&self, error: &Error, wall: SystemTime) -> Option<Vec<u8>> {
        self.asked.refuse(error, wall, &self.init_keys)
    }

    /// The policy that is asked for.
    pub fn policy(&self) -> Option<&TicketPolicy> {
        self.asked.message.policy()
    }

    /// Set of algorithms in use.
    pub fn suite(&self) -> Suite {
        self.asked.suite
    }

    /// SPI of the wanted key, and whether exactly one TGK of the usual length is wanted, which is
    /// what we give. A policy that wants nothing gets that too.
    fn wanted_key(&self) -> Result<(Option<Vec<u8>>, bool), Error> {
        let kemac = self.policy().and_then(|p| {
            p.data.iter().find_map(|p| match p {
                Payload::Kemac(k) => Some(k),
                _ => None,
            })
        });
        let Some(kemac) = kemac else { return Ok((None, true)) };
        let keys = parse_keys(&kemac.encr_data, &self.asked.limits)?;
        let [key] = keys.as_slice() else { return Ok((None, false)) };
        let as_usual = key.key_type == key_type::TGK && key.key.len() == self.asked.suite.key_len();
        let spi = Some(key.spi()).filter(|s| !s.is_empty()).map(<[u8]>::to_vec);
        Ok((spi, as_usual))
    }

    /// Issues a ticket with `policy`. Flag K is set here, if what is granted is not what was asked
    /// for.
    pub fn grant(
        &self,
        mut policy: TicketPolicy,
        tpk: &Tpk,
        tpk_id: &[u8],
        wall: SystemTime,
        rng: &mut dyn Random,
    ) -> Result<Issued, Error> {
        let suite = self.asked.suite;
        let (spi, as_usual) = self.wanted_key()?;
        policy.prf = suite.prf().number();
        policy.flags = policy.flags.without(Flags::K);
        let same = as_usual && self.policy().is_some_and(|wanted| same_policy(wanted, &policy));
        if !same {
            policy.flags = policy.flags.with(Flags::K);
        }
        let spi = spi.unwrap_or_else(|| rng.u32().to_be_bytes().to_vec());
        let (ticket, opened) = ticket::seal(suite, policy, tpk, tpk_id, &spi, wall, rng);
        let mut keys = vec![KeyData::with_spi(key_type::MPK, opened.mpki.expose(), &SPI_MPKI)];
        if ticket.policy.flags.has(Flags::I) {
            keys.push(KeyData::with_spi(key_type::MPK, opened.mpkr.expose(), &SPI_MPKR));
        }
        keys.extend(opened.keys);
        let time = Timestamp::from_wall(wall);
        let ticket_id = ticket_id(&ticket);
        let message = Message {
            header: self.asked.response_header(data_type::REQUEST_RESP),
            payloads: vec![
                Payload::T(time),
                idr(role::KMS, &self.kms),
                Payload::Ticket(ticket),
                Payload::Kemac(self.keys.seal(time, &keys)),
                unsigned(suite),
            ],
        };
        Ok(Issued { octets: protect(&message, &self.keys, &[&self.asked.octets]), ticket_id })
    }
}

/// Whether a granted policy is the wanted one, but for the wanted keys, which a grant never has.
fn same_policy(wanted: &TicketPolicy, granted: &TicketPolicy) -> bool {
    let told = |p: &TicketPolicy| {
        p.data.iter().filter(|p| !matches!(p, Payload::Kemac(_))).cloned().collect::<Vec<_>>()
    };
    wanted.ticket_type == granted.ticket_type
        && wanted.subtype == granted.subtype
        && wanted.version == granted.version
        && wanted.prf == granted.prf
        && wanted.flags.without(Flags::K) == granted.flags.without(Flags::K)
        && told(wanted) == told(granted)
}

/// What identifies a ticket wherever it travels.
fn ticket_id(ticket: &Ticket) -> MessageDigest {
    let mut sealed = crate::writer::Writer::default();
    ticket.print_sealed_part(&mut sealed);
    digest(&sealed.0)
}

/// A RESOLVE_INIT_PSK, parsed, not yet proven.
pub struct ResolveRequest(Asked);

asked!(ResolveRequest, responder, role::RESPONDER);

impl ResolveRequest {
    /// Reads the message and checks its time and form.
    pub fn parse(profile: &Profile, wall: SystemTime, octets: &[u8]) -> Result<Self, Error> {
        let asked = Asked::parse(profile, wall, octets, data_type::RESOLVE_INIT_PSK, role::RESPONDER)?;
        asked.message.ticket().ok_or(Error::Missing("TICKET"))?;
        Ok(Self(asked))
    }

    /// Checks that the owner of `psk`, `responder`, sent it to us, `kms`.
    pub fn verify(self, psk: &Psk, responder: &Identity, kms: &Identity) -> Result<VerifiedResolve, Error> {
        let (init_keys, keys) = self.0.verify(psk, responder, kms, true)?;
        let ticket = self.0.message.ticket().ok_or(Error::Missing("TICKET"))?.clone();
        Ok(VerifiedResolve { asked: self.0, init_keys, keys, kms: kms.clone(), ticket })
    }
}

/// A proven resolve request. The ticket in it is not.
pub struct VerifiedResolve {
    asked: Asked,
    init_keys: MessageKeys,
    keys: MessageKeys,
    kms: Identity,
    ticket: Ticket,
}

/// A ticket that was resolved.
pub struct Resolved {
    /// RESOLVE_RESP.
    pub octets: Vec<u8>,
}

impl VerifiedResolve {
    /// The Error message that refuses the request because of `error`, with a MAC; `None` if none
    /// must be sent.
    pub fn refuse(&self, error: &Error, wall: SystemTime) -> Option<Vec<u8>> {
        self.asked.refuse(error, wall, &self.init_keys)
    }

    /// The ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// What identifies the ticket, the same as when it was [issued](Issued).
    pub fn ticket_id(&self) -> MessageDigest {
        ticket_id(&self.ticket)
    }

    /// Names the key that the ticket is sealed with.
    pub fn tpk_id(&self) -> Result<Option<Identity>, Error> {
        Ok(ticket::Outside::parse(&self.ticket, &self.asked.limits)?.tpk_id().cloned())
    }

    /// Verifies and opens the ticket, and checks its policy and that it is valid at `wall`.
    pub fn open(&self, profile: &Profile, tpk: &Tpk, wall: SystemTime) -> Result<Opened, Error> {
        let policy = &self.ticket.policy;
        profile.check_policy(policy, self.asked.message.header.prf)?;
        let opened = ticket::open(&self.ticket, tpk, &self.asked.limits)?;
        policy.check_validity(wall)?;
        Ok(opened)
    }

    /// Answers with the keys for `responder`. When keys are forked, the ticket must have been sent
    /// by its owner.
    pub fn answer(
        &self,
        opened: &Opened,
        responder: &Identity,
        wall: SystemTime,
        rng: &mut dyn Random,
    ) -> Result<Resolved, Error> {
        let suite = self.asked.suite;
        let forking = self.ticket.policy.flags.has(Flags::I);
        let longest = opened.keys.iter().map(|k| k.key.len()).chain([opened.mpkr.expose().len()]).max();
        let rand_kms = super::common::fresh_rand(rng, longest.unwrap_or_default().min(255));
        let keys = keys_for_responder(suite, &self.ticket, opened, responder, &rand_kms)?;
        let time = Timestamp::from_wall(wall);
        let mut payloads = vec![
            Payload::T(time),
            idr(role::KMS, &self.kms),
            Payload::Kemac(self.keys.seal(time, &keys)),
            idr(role::RESPONDER, responder),
        ];
        if forking {
            payloads.push(Payload::Randr { role: role::KMS, rand: rand_kms });
        }
        payloads.push(unsigned(suite));
        let message = Message { header: self.asked.response_header(data_type::RESOLVE_RESP), payloads };
        Ok(Resolved { octets: protect(&message, &self.keys, &[&self.asked.octets]) })
    }
}
