//! The KMS's side of Ticket Request and Ticket Resolve (RFC 6043 §4.2.1.4 to 5, §4.2.3.4 to 5), with
//! pre-shared keys and with signatures.
//!
//! Protocol only: who may have which ticket is decided elsewhere. Types follow the order of
//! work, so that nothing is granted before a MAC or
//! a signature was checked.

use super::common::{error_message, idr, kms_header, protect, protected_error, unsigned, verify};
use super::public_key::{Opener, Verifier, signed_octets};
use super::resolve::keys_for_responder;
use super::strength;
use crate::payload::{Flags, KeyData, Payload, Ticket, TicketPolicy, parse_keys};
use crate::prf::Purpose;
use crate::registry::{data_type, key_type, role};
use crate::replay::{Fresh, MessageDigest, digest};
use crate::ticket::{self, Opened, SPI_MPKI, SPI_MPKR};
use crate::{
    AuthKey, Error, Feature, Header, Identity, Limits, Message, MessageKeys, Profile, Psk, ReplayCache,
    Suite, Timestamp, Tpk,
};
use carnet_wire::Random;
use std::time::SystemTime;

/// What a request to the KMS is about. A [`TicketPolicy`] is one for a ticket, REQUEST_INIT; a
/// [`Ticket`] one for the keys in it, RESOLVE_INIT.
pub trait Subject: Sized + private::Sealed {
    /// Data type of the message when a pre-shared key protects it, and when a signature does.
    const DATA_TYPES: [u8; 2];
    /// Role of the one who asks, in its identity and its random number.
    const PARTY: u8;
    /// The payload's name.
    const NAME: &'static str;
    /// Takes it out of its payload, or gives the payload back.
    fn from_payload(payload: Payload) -> Result<Self, Payload>;
}

mod private {
    pub trait Sealed {}
    impl Sealed for crate::payload::TicketPolicy {}
    impl Sealed for crate::payload::Ticket {}
}

impl Subject for TicketPolicy {
    const DATA_TYPES: [u8; 2] = [data_type::REQUEST_INIT_PSK, data_type::REQUEST_INIT_PK];
    const PARTY: u8 = role::INITIATOR;
    const NAME: &'static str = "TP";

    fn from_payload(payload: Payload) -> Result<Self, Payload> {
        if let Payload::Tp(policy) = payload { Ok(policy) } else { Err(payload) }
    }
}

impl Subject for Ticket {
    const DATA_TYPES: [u8; 2] = [data_type::RESOLVE_INIT_PSK, data_type::RESOLVE_INIT_PK];
    const PARTY: u8 = role::RESPONDER;
    const NAME: &'static str = "TICKET";

    fn from_payload(payload: Payload) -> Result<Self, Payload> {
        if let Payload::Ticket(ticket) = payload { Ok(ticket) } else { Err(payload) }
    }
}

/// A REQUEST_INIT, parsed, not yet proven.
pub type TicketRequest = Asked<TicketPolicy>;
/// A RESOLVE_INIT, parsed, not yet proven.
pub type ResolveRequest = Asked<Ticket>;
/// A proven ticket request.
pub type VerifiedRequest = Verified<TicketPolicy>;
/// A proven resolve request. The ticket in it is not.
pub type VerifiedResolve = Verified<Ticket>;

/// A request to the KMS, parsed, not yet proven.
pub struct Asked<S> {
    suite: Suite,
    limits: Limits,
    octets: Vec<u8>,
    digest: MessageDigest,
    /// All payloads but the first that is the subject.
    message: Message,
    subject: S,
    rand: Vec<u8>,
}

impl<S: Subject> Asked<S> {
    /// Reads the message and checks its time and form.
    pub fn parse(profile: &Profile, wall: SystemTime, octets: &[u8]) -> Result<Self, Error> {
        let mut message = Message::parse(octets, &profile.limits)?;
        let header = &message.header;
        if !S::DATA_TYPES.contains(&header.data_type) {
            return Err(Error::Unsupported { feature: Feature::DataType(header.data_type), at: 1 });
        }
        let suite = profile.accept_suite(header.prf)?;
        if header.map.sessions() != 0 {
            return Err(Error::Rule("requests to a KMS have no crypto sessions"));
        }
        message.timestamp().ok_or(Error::Missing("T"))?.check_skew(wall, profile.skew)?;
        let rand = message.rand(S::PARTY).ok_or(Error::Missing("RANDR"))?.to_vec();
        let mut subject = None;
        message.payloads = std::mem::take(&mut message.payloads)
            .into_iter()
            .filter_map(|payload| match subject {
                Some(_) => Some(payload),
                None => S::from_payload(payload).map(|s| subject = Some(s)).err(),
            })
            .collect();
        let subject = subject.ok_or(Error::Missing(S::NAME))?;
        let asked = Self {
            suite,
            limits: profile.limits,
            octets: octets.to_vec(),
            digest: digest(octets),
            message,
            subject,
            rand,
        };
        if asked.is_signed() {
            asked.message.signature().ok_or(Error::Missing("SIGN"))?;
            asked.message.envelope().ok_or(Error::Missing("PKE"))?;
        } else {
            asked.message.verification().ok_or(Error::Missing("V"))?;
        }
        Ok(asked)
    }

    /// Whether a signature proves who sent it, rather than a MAC with a pre-shared key.
    pub fn is_signed(&self) -> bool {
        let [_, signed] = S::DATA_TYPES;
        self.message.header.data_type == signed
    }

    /// Its data type, see [`data_type`].
    pub fn data_type(&self) -> u8 {
        self.message.header.data_type
    }

    /// What is asked about: the wanted policy, or the ticket.
    pub fn subject(&self) -> &S {
        &self.subject
    }

    /// Names the pre-shared key.
    pub fn psk_id(&self) -> Option<&Identity> {
        self.message.identity(role::PSK)
    }

    /// Who says to be asking: IDRi of a ticket request, IDRr of a resolve request.
    pub fn requester(&self) -> Option<&Identity> {
        self.message.identity(S::PARTY)
    }

    /// Which KMS is asked.
    pub fn kms(&self) -> Option<&Identity> {
        self.message.identity(role::KMS)
    }

    /// X.509 certificates of a signed request in DER: the sender's own first, each certified by
    /// the next.
    pub fn certificates(&self) -> Vec<&[u8]> {
        self.message.payloads.iter().filter_map(Payload::certificate).collect()
    }

    /// Checks that the message is new, before it is known who sent it.
    pub fn check_replay(&self, cache: &mut ReplayCache, wall: SystemTime) -> Result<Fresh, Error> {
        cache.check(&self.digest, &self.message, wall)
    }

    /// The Error message that refuses the request because of `error`; `None` if none must be sent.
    pub fn refuse(&self, error: &Error, wall: SystemTime) -> Option<Vec<u8>> {
        Some(error_message(&self.message.header, error.mikey_error()?, wall))
    }

    /// Checks that the owner of `psk`, `requester`, sent it to us, `kms`.
    pub fn verify(self, psk: &Psk, requester: &Identity, kms: &Identity) -> Result<Verified<S>, Error> {
        let suffix = [requester.data.as_slice(), kms.data.as_slice()];
        let (init_key, keys) = self.keys(psk.expose())?;
        verify(&self.message, &self.octets, &init_key, &suffix, "the request has a wrong MAC")?;
        Ok(Verified { asked: self, init_key, keys, kms: kms.clone() })
    }

    /// Checks that `requester`, whose key `verifier` checks signatures with, sent it to us, `kms`,
    /// and opens its envelope (RFC 6043 §4.2.1.3, §4.2.3.3).
    pub fn verify_signed(
        self,
        verifier: &dyn Verifier,
        opener: &dyn Opener,
        requester: &Identity,
        kms: &Identity,
    ) -> Result<Verified<S>, Error> {
        let sign = self.message.signature().ok_or(Error::Missing("SIGN"))?;
        let end = self.octets.len().saturating_sub(sign.signature.len());
        let signed = signed_octets(self.octets.get(..end).unwrap_or_default(), requester, kms);
        verifier.verify(sign.sign_type, &signed, &sign.signature)?;
        let env_key = opener.open(&self.message.envelope().ok_or(Error::Missing("PKE"))?.data)?;
        let (init_key, keys) = self.keys(env_key.expose())?;
        Ok(Verified { asked: self, init_key, keys, kms: kms.clone() })
    }

    /// The keys of the request and of the answer.
    fn keys(&self, inkey: &[u8]) -> Result<(AuthKey, MessageKeys), Error> {
        let csb_id = self.message.header.csb_id;
        let (rand_i, rand_r): (&[u8], &[u8]) =
            if S::PARTY == role::RESPONDER { (&[], &self.rand) } else { (&self.rand, &[]) };
        // RFC 6043 §12.1.
        strength::randoms(rand_i, rand_r, inkey.len())?;
        let purpose = |response| Purpose::Message { csb_id, response, rand_i, rand_r };
        let init_key = AuthKey::derive(self.suite, inkey, purpose(false));
        Ok((init_key, MessageKeys::derive(self.suite, inkey, purpose(true))))
    }

    fn response_header(&self, data_type: u8) -> Header {
        kms_header(data_type, self.suite, self.message.header.csb_id, false)
    }
}

/// A proven request.
pub struct Verified<S> {
    asked: Asked<S>,
    init_key: AuthKey,
    keys: MessageKeys,
    kms: Identity,
}

impl<S: Subject> Verified<S> {
    /// The Error message that refuses the request because of `error`, with a MAC; `None` if none
    /// must be sent.
    pub fn refuse(&self, error: &Error, wall: SystemTime) -> Option<Vec<u8>> {
        let asked = &self.asked;
        let number = error.mikey_error()?;
        Some(protected_error(&asked.message.header, number, wall, asked.suite, &self.init_key))
    }

    /// Set of algorithms in use.
    pub fn suite(&self) -> Suite {
        self.asked.suite
    }
}

/// A ticket that was issued.
pub struct Issued {
    /// REQUEST_RESP.
    pub octets: Vec<u8>,
    /// SHA-256 of the ticket without what its owner adds later: the same whenever it comes back.
    pub ticket_id: MessageDigest,
}

impl VerifiedRequest {
    /// The policy that is asked for.
    pub fn policy(&self) -> &TicketPolicy {
        &self.asked.subject
    }

    /// SPI of the wanted key, and whether exactly one TGK of the usual length is wanted, which is
    /// what we give. A policy that wants nothing gets that too.
    fn wanted_key(&self) -> Result<(Option<Vec<u8>>, bool), Error> {
        let kemac = self.policy().data.iter().find_map(|p| match p {
            Payload::Kemac(k) => Some(k),
            _ => None,
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
        let same = as_usual && same_policy(self.policy(), &policy);
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
        Ok(Issued { octets: protect(&message, self.keys.auth(), &[&self.asked.octets]), ticket_id })
    }
}

/// Whether a granted policy is the wanted one, but for the wanted keys, which a grant never has.
fn same_policy(wanted: &TicketPolicy, granted: &TicketPolicy) -> bool {
    wanted.ticket_type == granted.ticket_type
        && wanted.subtype == granted.subtype
        && wanted.version == granted.version
        && wanted.prf == granted.prf
        && wanted.flags.without(Flags::K) == granted.flags.without(Flags::K)
        && told(wanted).eq(told(granted))
}

/// The payloads of a policy that stay when it is granted.
fn told(policy: &TicketPolicy) -> impl Iterator<Item = &Payload> {
    policy.data.iter().filter(|p| !matches!(p, Payload::Kemac(_)))
}

/// What identifies a ticket wherever it travels, in what the service answers, in offers, in what it is asked to resolve: SHA-256 of
/// its sealed part.
pub fn ticket_id(ticket: &Ticket) -> MessageDigest {
    let mut sealed = crate::writer::Writer::message();
    ticket.print_sealed_part(&mut sealed);
    digest(&sealed.0)
}

/// A ticket that was resolved.
pub struct Resolved {
    /// RESOLVE_RESP.
    pub octets: Vec<u8>,
}

impl VerifiedResolve {
    /// The ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.asked.subject
    }

    /// What identifies the ticket, the same as when it was [issued](Issued).
    pub fn ticket_id(&self) -> MessageDigest {
        ticket_id(self.ticket())
    }

    /// Names the key that the ticket is sealed with.
    pub fn tpk_id(&self) -> Result<Option<Identity>, Error> {
        Ok(ticket::Outside::parse(self.ticket(), &self.asked.limits)?.tpk_id().cloned())
    }

    /// Verifies and opens the ticket, and checks its policy and that it is valid at `wall`.
    pub fn open(&self, profile: &Profile, tpk: &Tpk, wall: SystemTime) -> Result<Opened, Error> {
        let policy = &self.ticket().policy;
        profile.check_policy(policy, self.asked.message.header.prf)?;
        let opened = ticket::open(self.ticket(), tpk, &self.asked.limits)?;
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
        let forking = self.ticket().policy.flags.has(Flags::I);
        let longest = opened.keys.iter().map(|k| k.key.len()).chain([opened.mpkr.expose().len()]).max();
        let rand_kms = super::common::fresh_rand(rng, longest.unwrap_or_default().min(255));
        let keys = keys_for_responder(suite, self.ticket(), opened, responder, &rand_kms)?;
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
        Ok(Resolved { octets: protect(&message, self.keys.auth(), &[&self.asked.octets]) })
    }
}
