//! Ticket Resolve, the called party's side, and the answer to the transfer (RFC 6043 §4.2.2.3,
//! §4.2.3.6).

use super::common::{fresh_rand, idr, parse_response, protect, transfer_parts, unsigned, verify};
use super::keyset::{KeySet, fork_mpkr, fork_session, select, traffic_key};
use super::received::Received;
use super::strength;
use super::transfer::{Keyed, initiator_macs, psk_identity, verify_initiator_data};
use crate::payload::{Flags, KeyData, Payload, SecurityPolicy, parse_keys};
use crate::prf::Purpose;
use crate::registry::{data_type, role};
use crate::{CryptoSession, CsIdMap, Error, Header, Identity, Message, MessageKeys, Timestamp, Tpk, ticket};
use carnet_wire::Random;
use std::time::SystemTime;
use subtle::ConstantTimeEq;

/// A RESOLVE_INIT that waits for its answer.
pub struct PendingResolve {
    pub(super) header: Header,
    pub(super) octets: Vec<u8>,
    pub(super) init_keys: MessageKeys,
    pub(super) keys: MessageKeys,
    pub(super) me: Identity,
    pub(super) kms: Identity,
}

/// Keys of a resolved ticket and the modifier they were forked with.
struct ResolvedKeys {
    set: KeySet,
    responder: Option<Identity>,
    rand_kms: Option<Vec<u8>>,
}

impl PendingResolve {
    /// Takes the KMS's answer: RESOLVE_RESP or an Error message. With the keys in it, `received` is
    /// verified. Gives the key of the call and the TRANSFER_RESP to answer with.
    pub fn response(
        self,
        received: &Received,
        octets: &[u8],
        wall: SystemTime,
        rng: &mut dyn Random,
    ) -> Result<(Keyed, Vec<u8>), Error> {
        let limits = &received.profile.limits;
        let message = parse_response(octets, limits, &self.header, data_type::RESOLVE_RESP, &self.init_keys)?;
        verify(&message, octets, &self.keys, &[&self.octets], "the KMS's answer has a wrong MAC")?;
        let time = message.timestamp().ok_or(Error::Missing("T"))?;
        let kemac = message.kemac().ok_or(Error::Missing("KEMAC"))?;
        let forking = received.ticket.policy.flags.has(Flags::I);
        let set = KeySet::new(parse_keys(&self.keys.open(time, kemac)?, limits)?, forking)?;
        let responder = message.identity(role::RESPONDER).cloned();
        let rand_kms = message.rand(role::KMS).map(<[u8]>::to_vec);
        if forking && (responder.is_none() || rand_kms.is_none()) {
            return Err(Error::Missing("IDRr or RANDRkms"));
        }
        let keys = ResolvedKeys { set, responder, rand_kms };
        received.accept(keys, &self.me, &self.kms, wall, rng)
    }
}

impl Received {
    /// Opens the ticket with a key of our own instead of asking the KMS (modes 2 and 4 of RFC 6043
    /// §4.1.1). Only where flag E is not set, which rules out key forking.
    pub fn resolve_locally(
        &self,
        tpk: &Tpk,
        me: &Identity,
        wall: SystemTime,
        rng: &mut dyn Random,
    ) -> Result<(Keyed, Vec<u8>), Error> {
        let policy = &self.ticket.policy;
        if policy.flags.has(Flags::E) {
            return Err(Error::Policy("this ticket must be resolved by the KMS"));
        }
        if !policy.responders().any(|r| r.data == me.data) {
            return Err(Error::Identity("the ticket is for somebody else"));
        }
        let opened = ticket::open(&self.ticket, tpk, &self.profile.limits)?;
        let set = KeySet { mpki: opened.mpki, mpkr: None, session: opened.keys };
        let kms = policy.kms().unwrap_or(me).clone();
        self.accept(ResolvedKeys { set, responder: None, rand_kms: None }, me, &kms, wall, rng)
    }

    /// Verifies the transfer, derives the key and answers.
    fn accept(
        &self,
        keys: ResolvedKeys,
        me: &Identity,
        kms: &Identity,
        wall: SystemTime,
        rng: &mut dyn Random,
    ) -> Result<(Keyed, Vec<u8>), Error> {
        let flags = self.ticket.policy.flags;
        let initiator = self.initiator().ok_or(Error::Missing("IDRi"))?;
        let init_keys = self.verify_transfer(&keys, initiator, me)?;

        let rand_r =
            if flags.has(Flags::G) { fresh_rand(rng, keys.set.mpki.expose().len()) } else { Vec::new() };
        let mpks = [keys.set.mpki.expose().len(), keys.set.mpkr.as_ref().map_or(0, |k| k.expose().len())];
        strength::transfer(&mpks, &keys.set.session, &self.rand_i, &rand_r, keys.rand_kms.as_deref())?;
        strength::session_keys(self.suite, &keys.set)?;
        let (key, session) = self.session_key(&keys, &init_keys)?;
        let message = self.answer(&keys, me, &session, &rand_r, wall);
        let mpk = keys.set.mpkr.as_ref().unwrap_or(&keys.set.mpki);
        let purpose =
            Purpose::Message { csb_id: self.csb_id(), response: true, rand_i: &self.rand_i, rand_r: &rand_r };
        let answer_keys = MessageKeys::derive(self.suite, mpk.expose(), purpose);
        let octets = protect(&message, &answer_keys, &[&self.octets]);

        let len = self.profile.tek_len;
        let tek = traffic_key(self.suite.prf(), &key, flags, session.cs_id, &self.rand_i, &rand_r, len)?;
        let keyed = Keyed {
            tek,
            psk_identity: psk_identity(&self.profile, self.csb_id(), session.cs_id),
            peer: initiator.clone(),
            initiator: initiator.clone(),
            kms: kms.clone(),
        };
        Ok((keyed, octets))
    }

    /// RFC 6043 §4.2.3.6: the MAC, and with key forking that it is the one the KMS vouched for.
    fn verify_transfer(
        &self,
        keys: &ResolvedKeys,
        initiator: &Identity,
        me: &Identity,
    ) -> Result<MessageKeys, Error> {
        let v = self.message.verification().ok_or(Error::Missing("V"))?;
        let callee = self.callee().unwrap_or(me);
        let purpose =
            Purpose::Message { csb_id: self.csb_id(), response: false, rand_i: &self.rand_i, rand_r: &[] };
        let init_keys = MessageKeys::derive(self.suite, keys.set.mpki.expose(), purpose);
        let [before, after] =
            transfer_parts(&self.octets, self.ticket_span, self.ticket.initiator_data.len(), v.mac.len());
        let parts = [before, after, &initiator.data, &callee.data];
        init_keys.verify(v.auth_alg, &v.mac, &parts, "the offer has a wrong MAC")?;
        if keys.set.mpkr.is_some() {
            let (vi, _) = initiator_macs(self.suite, &self.ticket)?;
            if !bool::from(vi.ct_eq(&v.mac)) {
                return Err(Error::Authentication("the offer is not the one its owner made"));
            }
        }
        Ok(init_keys)
    }

    /// The key of the crypto session and its entry in the answer's map.
    fn session_key(
        &self,
        keys: &ResolvedKeys,
        init_keys: &MessageKeys,
    ) -> Result<(KeyData, CryptoSession), Error> {
        let key = match self.message.kemac() {
            // RFC 6043 §4.2.2.1: under MPKi and never forked. Flag L was checked.
            Some(kemac) => {
                let time = self.message.timestamp().ok_or(Error::Missing("T"))?;
                let supplied = parse_keys(&init_keys.open(time, kemac)?, &self.profile.limits)?;
                select(&supplied, &self.session.spi)?.duplicate()
            }
            None => select(&keys.set.session, &self.session.spi)?.duplicate(),
        };
        if key.spi().is_empty() {
            return Err(Error::Rule("every key has an SPI"));
        }
        let session = CryptoSession {
            policies: vec![self.session.policies.first().copied().unwrap_or(1)],
            spi: key.spi().to_vec(),
            ..self.session.clone()
        };
        Ok((key, session))
    }

    /// TRANSFER_RESP, not yet protected (RFC 6043 §4.2.2.3).
    fn answer(
        &self,
        keys: &ResolvedKeys,
        me: &Identity,
        session: &CryptoSession,
        rand_r: &[u8],
        wall: SystemTime,
    ) -> Message {
        let mut payloads = vec![Payload::T(Timestamp::from_wall(wall))];
        if !rand_r.is_empty() {
            payloads.push(Payload::Randr { role: role::RESPONDER, rand: rand_r.to_vec() });
        }
        payloads.push(idr(role::RESPONDER, keys.responder.as_ref().unwrap_or(me)));
        if let Some(rand) = &keys.rand_kms {
            payloads.push(Payload::Randr { role: role::KMS, rand: rand.clone() });
        }
        // The initiator left the choice of a policy to us; otherwise its SP is not repeated.
        if self.session.policies.is_empty() {
            let protocol = session.protocol;
            payloads.push(Payload::Sp(SecurityPolicy { number: 1, protocol, parameters: Vec::new() }));
        }
        payloads.push(unsigned(self.suite));
        let header = Header {
            data_type: data_type::TRANSFER_RESP,
            v: false,
            map: CsIdMap::Generic(vec![session.clone()]),
            ..self.message.header.clone()
        };
        Message { header, payloads }
    }
}

/// Keys for a responder from an opened ticket, forked when the policy says so; and whether the
/// ticket's sender is its owner. The KMS's half of Ticket Resolve.
pub(super) fn keys_for_responder(
    suite: crate::Suite,
    ticket: &crate::payload::Ticket,
    opened: &ticket::Opened,
    responder: &Identity,
    rand_kms: &[u8],
) -> Result<Vec<KeyData>, Error> {
    use crate::registry::key_type;
    let mpk = |key: &crate::Mpk, spi: &[u8]| KeyData::with_spi(key_type::MPK, key.expose(), spi);
    let mut keys = vec![mpk(&opened.mpki, &ticket::SPI_MPKI)];
    if ticket.policy.flags.has(Flags::I) {
        verify_initiator_data(suite, &opened.mpkr, ticket)?;
        let forked = fork_mpkr(suite.prf(), &opened.mpkr, &responder.data, rand_kms);
        keys.push(mpk(&forked, &ticket::SPI_MPKR));
        keys.extend(opened.keys.iter().map(|k| fork_session(suite.prf(), k, &responder.data, rand_kms)));
    } else {
        keys.extend(opened.keys.iter().map(KeyData::duplicate));
    }
    Ok(keys)
}
