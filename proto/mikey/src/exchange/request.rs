//! Ticket Request, the caller's side (RFC 6043 §4.2.1).

use super::common::{fresh_rand, idr, kms_header, parse_response, protect, unsigned, verify};
use super::keyset::KeySet;
use super::transfer::GrantedTicket;
use crate::payload::{Flags, Payload, TicketPolicy, parse_keys};
use crate::prf::Purpose;
use crate::registry::{data_type, role};
use crate::{AuthKey, Error, Header, Identity, Message, MessageKeys, Profile, Psk, Timestamp};
use carnet_wire::Random;
use std::time::SystemTime;

/// A REQUEST_INIT that waits for its answer.
pub struct PendingRequest {
    pub(super) profile: Profile,
    pub(super) header: Header,
    pub(super) octets: Vec<u8>,
    pub(super) init_key: AuthKey,
    pub(super) keys: MessageKeys,
    pub(super) me: Identity,
    pub(super) kms: Identity,
    pub(super) callee: Identity,
}

/// Asks `kms` for a ticket from `me` to `callee`, with the key `psk` that the KMS knows by
/// `psk_id`. Gives what to keep and what to send: REQUEST_INIT_PSK.
#[allow(clippy::too_many_arguments, reason = "the exchange has this many inputs")]
pub fn request_init(
    profile: &Profile,
    wall: SystemTime,
    rng: &mut dyn Random,
    me: &Identity,
    psk_id: &[u8],
    psk: &Psk,
    kms: &Identity,
    callee: &Identity,
) -> (PendingRequest, Vec<u8>) {
    let suite = profile.suite;
    let header = kms_header(data_type::REQUEST_INIT_PSK, suite, rng.u32(), true);
    let rand = fresh_rand(rng, psk.expose().len());
    let purpose = |response| Purpose::Message { csb_id: header.csb_id, response, rand_i: &rand, rand_r: &[] };
    let init_key = AuthKey::derive(suite, psk.expose(), purpose(false));
    let keys = MessageKeys::derive(suite, psk.expose(), purpose(true));
    let message = Message {
        header: header.clone(),
        payloads: vec![
            Payload::T(Timestamp::from_wall(wall)),
            Payload::Randr { role: role::INITIATOR, rand: rand.clone() },
            idr(role::INITIATOR, me),
            idr(role::KMS, kms),
            Payload::Tp(wanted_policy(profile, wall, rng, kms, me, callee)),
            idr(role::PSK, &Identity::byte_string(psk_id)),
            unsigned(suite),
        ],
    };
    let octets = protect(&message, &init_key, &[&me.data, &kms.data]);
    let pending = PendingRequest {
        profile: profile.clone(),
        header,
        octets: octets.clone(),
        init_key,
        keys,
        me: me.clone(),
        kms: kms.clone(),
        callee: callee.clone(),
    };
    (pending, octets)
}

/// The policy we ask for, with the wanted key before the responders as in RFC 6043 §6.10.
pub(super) fn wanted_policy(
    profile: &Profile,
    wall: SystemTime,
    rng: &mut dyn Random,
    kms: &Identity,
    me: &Identity,
    callee: &Identity,
) -> TicketPolicy {
    let mut policy = profile.policy(wall, kms, me, &[callee]);
    let before_responders = policy.data.len().saturating_sub(1);
    policy.data.insert(before_responders, profile.wanted_keys(rng));
    policy
}

impl PendingRequest {
    /// Takes the KMS's answer: REQUEST_RESP or an Error message.
    ///
    /// Fails with [`Error::Refused`] if the KMS refused, [`Error::Authentication`] if the answer is
    /// not from a KMS that knows our key, and [`Error::Policy`] or [`Error::Identity`] if the ticket
    /// is not one we asked for.
    pub fn response(self, octets: &[u8], wall: SystemTime) -> Result<GrantedTicket, Error> {
        let limits = &self.profile.limits;
        let message = parse_response(octets, limits, &self.header, data_type::REQUEST_RESP, &self.init_key)?;
        verify(&message, octets, self.keys.auth(), &[&self.octets], "the KMS's answer has a wrong MAC")?;
        let time = message.timestamp().ok_or(Error::Missing("T"))?;
        let ticket = message.ticket().ok_or(Error::Missing("TICKET"))?;
        let kemac = message.kemac().ok_or(Error::Missing("KEMAC"))?;
        self.check(&ticket.policy, message.identity(role::KMS), wall)?;
        if !ticket.initiator_data.is_empty() {
            return Err(Error::Rule("a ticket from the KMS has no Initiator Data yet"));
        }
        let forking = ticket.policy.flags.has(Flags::I);
        let keys = KeySet::new(parse_keys(&self.keys.open(time, kemac)?, limits)?, forking)?;
        GrantedTicket::new(&self.profile, ticket.clone(), keys, self.me, self.callee, self.kms)
    }

    /// RFC 6043 §4.2.1.6: the granted policy must be acceptable.
    fn check(&self, policy: &TicketPolicy, kms: Option<&Identity>, wall: SystemTime) -> Result<(), Error> {
        self.profile.check_policy(policy, self.header.prf)?;
        policy.check_validity(wall)?;
        let differ = |a: Flags| policy.flags.has(a) != self.profile.flags().has(a);
        if [Flags::D, Flags::E, Flags::F, Flags::I, Flags::L, Flags::M].into_iter().any(differ) {
            return Err(Error::Policy("the KMS granted other flags than we can use"));
        }
        if policy.data.iter().any(|p| matches!(p, Payload::Kemac(_))) {
            return Err(Error::Policy("a granted policy has no KEMAC"));
        }
        let same = |id: Option<&Identity>, wanted: &Identity| id.is_none_or(|id| id.data == wanted.data);
        if !same(policy.initiator(), &self.me) {
            return Err(Error::Identity("the ticket is not in our name"));
        }
        if !same(policy.kms(), &self.kms) || !same(kms, &self.kms) {
            return Err(Error::Identity("the ticket is from another KMS"));
        }
        if !policy.responders().any(|r| r.data == self.callee.data) {
            return Err(Error::Identity("the ticket is for somebody else than was asked for"));
        }
        Ok(())
    }
}
