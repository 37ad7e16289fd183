//! Ticket Transfer, the called party's side, up to the question to its KMS (RFC 6043 §4.2.2.2).
//!
//! Until the ticket is resolved nothing in the message is proven. What can be refused without the
//! KMS is refused here; the caller of [`Received::parse`] limits how often it asks the KMS.

use super::common::{error_message, fresh_rand, idr, kms_header, protect, unsigned};
use super::resolve::PendingResolve;
use crate::payload::{Flags, Payload, Ticket};
use crate::prf::Purpose;
use crate::registry::{data_type, extension, role};
use crate::replay::{MessageDigest, digest};
use crate::{
    CryptoSession, CsIdMap, Error, Feature, Identity, Message, MessageKeys, Profile, Psk, ReplayCache,
    SdpIds, Suite, Timestamp,
};
use carnet_wire::{Random, Span};
use std::time::SystemTime;

/// Whether the list of offered protocols was inside the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdpIdsSeen {
    /// It was, and it is what SDP offers.
    Match,
    /// It was not there.
    Absent,
}

/// A TRANSFER_INIT, parsed and acceptable, not yet proven.
pub struct Received {
    pub(super) profile: Profile,
    pub(super) suite: Suite,
    pub(super) octets: Vec<u8>,
    pub(super) message: Message,
    pub(super) ticket_span: Span,
    pub(super) ticket: Ticket,
    pub(super) session: CryptoSession,
    pub(super) rand_i: Vec<u8>,
    sdp_ids: SdpIdsSeen,
}

impl Received {
    /// Reads a TRANSFER_INIT and checks everything that needs no key: time, ticket policy,
    /// validity, crypto session, offered protocols.
    pub fn parse(profile: &Profile, wall: SystemTime, octets: &[u8]) -> Result<Self, Error> {
        let (message, spans) = Message::parse_spanned(octets, &profile.limits)?;
        let header = &message.header;
        if header.data_type == data_type::ERROR {
            return Err(Error::Refused { number: message.error().unwrap_or(12), authenticated: false });
        }
        if header.data_type != data_type::TRANSFER_INIT {
            return Err(Error::Unsupported { feature: Feature::DataType(header.data_type), at: 1 });
        }
        let suite = profile.accept_suite(header.prf)?;
        message.timestamp().ok_or(Error::Missing("T"))?.check_skew(wall, profile.skew)?;
        let rand_i = message.rand(role::INITIATOR).ok_or(Error::Missing("RANDRi"))?.to_vec();
        let at = message.payloads.iter().position(|p| matches!(p, Payload::Ticket(_)));
        let ticket = message.ticket().ok_or(Error::Missing("TICKET"))?.clone();
        let ticket_span = at.and_then(|i| spans.get(i)).copied().unwrap_or_default();
        message.verification().ok_or(Error::Missing("V"))?;
        check_ticket(profile, &ticket, header.prf, wall)?;
        if let (Some(claimed), Some(owner)) = (message.identity(role::INITIATOR), ticket.policy.initiator())
            && claimed.data != owner.data
        {
            return Err(Error::Identity("the ticket belongs to somebody else than the caller"));
        }
        if message.kemac().is_some() && !ticket.policy.flags.has(Flags::L) {
            return Err(Error::Policy("the initiator may not supply keys with this ticket"));
        }
        let session = check_session(profile, &message)?.clone();
        let sdp_ids = check_sdp_ids(profile, &message)?;
        Ok(Self {
            profile: profile.clone(),
            suite,
            octets: octets.to_vec(),
            ticket_span,
            ticket,
            session,
            rand_i,
            sdp_ids,
            message,
        })
    }

    /// The message as it came.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Crypto session bundle.
    pub fn csb_id(&self) -> u32 {
        self.message.header.csb_id
    }

    /// Who says to be calling. The KMS proves it later.
    pub fn initiator(&self) -> Option<&Identity> {
        self.message.identity(role::INITIATOR).or_else(|| self.ticket.policy.initiator())
    }

    /// Whom the caller means, which may be a group.
    pub fn callee(&self) -> Option<&Identity> {
        self.message.identity(role::RESPONDER)
    }

    /// The KMS that can resolve the ticket.
    pub fn kms(&self) -> Option<&Identity> {
        self.ticket.policy.kms()
    }

    /// The ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Whether the list of offered protocols was inside.
    pub fn sdp_ids(&self) -> SdpIdsSeen {
        self.sdp_ids
    }

    /// What identifies the message in a [`ReplayCache`].
    pub fn digest(&self) -> MessageDigest {
        digest(&self.octets)
    }

    /// Checks that the message is new, before the KMS is asked. Once resolved, the caller lets
    /// the cache [remember](ReplayCache::remember) its digest.
    pub fn check_replay(&self, cache: &mut ReplayCache, wall: SystemTime) -> Result<(), Error> {
        cache.check(&self.digest(), &self.message, wall)
    }

    /// The Error message that refuses the transfer because of `error`; `None` if none must be sent.
    pub fn refuse(&self, error: &Error, wall: SystemTime) -> Option<Vec<u8>> {
        Some(error_message(&self.message.header, error.mikey_error()?, wall))
    }

    /// Asks `kms` what is in the ticket, as `me`, with the key `psk` that the KMS knows by `psk_id`.
    /// Gives what to keep and what to send: RESOLVE_INIT_PSK.
    pub fn resolve_init(
        &self,
        wall: SystemTime,
        rng: &mut dyn Random,
        me: &Identity,
        psk_id: &[u8],
        psk: &Psk,
        kms: &Identity,
    ) -> (PendingResolve, Vec<u8>) {
        let suite = self.suite;
        let header = kms_header(data_type::RESOLVE_INIT_PSK, suite, rng.u32(), true);
        let rand = fresh_rand(rng, psk.expose().len());
        let purpose =
            |response| Purpose::Message { csb_id: header.csb_id, response, rand_i: &[], rand_r: &rand };
        let init_keys = MessageKeys::derive(suite, psk.expose(), purpose(false));
        let keys = MessageKeys::derive(suite, psk.expose(), purpose(true));
        let message = Message {
            header: header.clone(),
            payloads: vec![
                Payload::T(Timestamp::from_wall(wall)),
                Payload::Randr { role: role::RESPONDER, rand: rand.clone() },
                idr(role::RESPONDER, me),
                idr(role::KMS, kms),
                // Octet for octet, Initiator Data included.
                Payload::Ticket(self.ticket.clone()),
                idr(role::PSK, &Identity::byte_string(psk_id)),
                unsigned(suite),
            ],
        };
        let octets = protect(&message, &init_keys, &[&me.data, &kms.data]);
        (
            PendingResolve {
                header,
                octets: octets.clone(),
                init_keys,
                keys,
                me: me.clone(),
                kms: kms.clone(),
            },
            octets,
        )
    }
}

/// What can be said about a ticket from its outside.
fn check_ticket(profile: &Profile, ticket: &Ticket, prf: u8, wall: SystemTime) -> Result<(), Error> {
    let policy = &ticket.policy;
    profile.check_policy(policy, prf)?;
    policy.check_validity(wall)?;
    // Without an answer the two ends could not confirm that they share a key.
    if !policy.flags.has(Flags::F) {
        return Err(Error::Policy("a transfer without an answer is not supported"));
    }
    if policy.flags.has(Flags::I) == ticket.initiator_data.is_empty() {
        return Err(Error::Rule("Initiator Data is there exactly when keys are forked"));
    }
    Ok(())
}

/// The one crypto session (TS 23.333 §6.2.19.2: a single crypto session for a media line).
fn check_session<'a>(profile: &Profile, message: &'a Message) -> Result<&'a CryptoSession, Error> {
    let CsIdMap::Generic(sessions) = &message.header.map else {
        // RFC 6043 §6.1: SRTP-ID is not for ticket transfers; an empty map has no session.
        return Err(Error::Unsupported {
            feature: Feature::MapType(message.header.map.type_number()),
            at: 9,
        });
    };
    let [session] = sessions.as_slice() else {
        return Err(Error::Rule("a media line has one crypto session"));
    };
    // RFC 6043 §4.2.2.2: every policy that is offered for the session, not only the first.
    let policies = message.payloads.iter().filter_map(|p| match p {
        Payload::Sp(sp) if session.policies.contains(&sp.number) => Some(sp.protocol),
        _ => None,
    });
    for number in std::iter::once(session.protocol).chain(policies) {
        if !profile.accepts_protocol(number) {
            return Err(Error::unsupported(Feature::Protocol(number)));
        }
    }
    Ok(session)
}

/// RFC 4567 §3.1, §7.3: the list of protocols in SDP must be the one that was sent.
fn check_sdp_ids(profile: &Profile, message: &Message) -> Result<SdpIdsSeen, Error> {
    let ids = message.payloads.iter().find_map(|p| match p {
        Payload::GeneralExt { ext_type: extension::SDP_IDS, data } => Some(data),
        _ => None,
    });
    match (ids, profile.check_sdp_ids) {
        (Some(ids), _) if *ids == profile.sdp_ids.as_bytes() => Ok(SdpIdsSeen::Match),
        (None, SdpIds::Optional) => Ok(SdpIdsSeen::Absent),
        _ => Err(Error::BiddingDown),
    }
}
