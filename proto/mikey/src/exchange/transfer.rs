//! Ticket Transfer, the caller's side (RFC 6043 §4.2.2), and its outcome.

use super::common::{fresh_rand, idr, parse_response, transfer_parts, unsigned, verify};
use super::keyset::{KeySet, fork_mpkr, fork_session, select, traffic_key};
use super::strength;
use crate::payload::{Flags, KeyData, Payload, SecurityPolicy, Ticket, Verification, parse_keys};
use crate::prf::Purpose;
use crate::registry::{data_type, extension, payload_type, role};
use crate::writer::Writer;
use crate::{
    CryptoSession, CsIdMap, Error, Feature, Header, Identity, Message, MessageKeys, Mpk, Profile, Suite, Tek,
    Timestamp, Tpk,
};
use carnet_wire::Random;
use std::time::SystemTime;

/// The one crypto session of a media line.
pub(super) const CS_ID: u8 = 1;
/// The one policy that is offered for it.
const POLICY: u8 = 1;

/// A ticket and its keys, as the caller got them.
pub struct GrantedTicket {
    suite: Suite,
    ticket: Ticket,
    keys: KeySet,
    me: Identity,
    callee: Identity,
    kms: Identity,
}

impl GrantedTicket {
    pub(super) fn new(
        profile: &Profile,
        ticket: Ticket,
        keys: KeySet,
        me: Identity,
        callee: Identity,
        kms: Identity,
    ) -> Result<Self, Error> {
        let suite = profile.accept_suite(ticket.policy.prf)?;
        select(&keys.session, &[])?;
        Ok(Self { suite, ticket, keys, me, callee, kms })
    }

    /// Makes a ticket without asking the KMS, with a key `tpk` that the KMS knows by `tpk_id`
    /// (mode 3 of RFC 6043 §4.1.1; a conference focus that calls out does this).
    #[allow(clippy::too_many_arguments, reason = "the exchange has this many inputs")]
    pub fn make(
        profile: &Profile,
        wall: SystemTime,
        rng: &mut dyn Random,
        me: &Identity,
        tpk_id: &[u8],
        tpk: &Tpk,
        kms: &Identity,
        callee: &Identity,
    ) -> Result<Self, Error> {
        let mut policy = profile.policy(wall, kms, me, &[callee]);
        // RFC 6043 §6.10: not D implies L. No session key is supplied all the same.
        policy.flags = policy.flags.without(Flags::D).with(Flags::L);
        let spi = rng.u32().to_be_bytes();
        let (ticket, opened) = crate::ticket::seal(profile.suite, policy, tpk, tpk_id, &spi, wall, rng);
        let mpkr = profile.forking.then_some(opened.mpkr);
        let keys = KeySet { mpki: opened.mpki, mpkr, session: opened.keys };
        Self::new(profile, ticket, keys, me.clone(), callee.clone(), kms.clone())
    }

    /// The ticket, for people who look at it.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Whom the ticket is for.
    pub fn callee(&self) -> &Identity {
        &self.callee
    }

    /// Whether the ticket is valid at `wall`.
    pub fn check_validity(&self, wall: SystemTime) -> Result<(), Error> {
        self.ticket.policy.check_validity(wall)
    }

    /// Whether the ticket may be offered in more than one call.
    pub fn is_reusable(&self) -> bool {
        self.ticket.policy.flags.has(Flags::J)
    }

    /// Offers the ticket: gives what to keep and TRANSFER_INIT. Each call has a CSB ID and a
    /// RANDRi of its own. A ticket that is not [reusable](Self::is_reusable) serves one call.
    pub fn offer(&self, profile: &Profile, wall: SystemTime, rng: &mut dyn Random) -> (Offered, Vec<u8>) {
        let suite = self.suite;
        let flags = self.ticket.policy.flags;
        let csb_id = rng.u32();
        let rand_i = fresh_rand(rng, self.keys.mpki.expose().len());
        let session = self.keys.session.first();
        let spi = session.map_or(&[][..], KeyData::spi).to_vec();
        let map = CsIdMap::Generic(vec![CryptoSession {
            cs_id: CS_ID,
            protocol: profile.protocol,
            s: false,
            policies: vec![POLICY],
            session_data: Vec::new(),
            spi,
        }]);
        let header = Header {
            data_type: data_type::TRANSFER_INIT,
            v: flags.has(Flags::F),
            prf: suite.prf().number(),
            csb_id,
            map,
        };
        let mut message = Message {
            header,
            payloads: vec![
                Payload::T(Timestamp::from_wall(wall)),
                Payload::Randr { role: role::INITIATOR, rand: rand_i.clone() },
                idr(role::INITIATOR, &self.me),
                idr(role::RESPONDER, &self.callee),
                Payload::Sp(SecurityPolicy {
                    number: POLICY,
                    protocol: profile.protocol,
                    parameters: Vec::new(),
                }),
                // RFC 4567 §3.1: the list of offered protocols, against bidding down.
                Payload::GeneralExt {
                    ext_type: extension::SDP_IDS,
                    data: profile.sdp_ids.clone().into_bytes(),
                },
                Payload::Ticket(self.ticket.clone()),
                unsigned(suite),
            ],
        };
        let purpose = Purpose::Message { csb_id, response: false, rand_i: &rand_i, rand_r: &[] };
        let keys = MessageKeys::derive(suite, self.keys.mpki.expose(), purpose);
        self.protect(&mut message, &keys);
        let octets = message.print();
        let offered = Offered {
            profile: profile.clone(),
            suite,
            header: message.header,
            octets: octets.clone(),
            init_keys: keys,
            flags,
            rand_i,
            mpki: self.keys.mpki.duplicate(),
            mpkr: self.keys.mpkr.as_ref().map(Mpk::duplicate),
            session: self.keys.session.iter().map(KeyData::duplicate).collect(),
            me: self.me.clone(),
            callee: self.callee.clone(),
            kms: self.kms.clone(),
        };
        (offered, octets)
    }

    /// Fills in V and, when keys are forked, Initiator Data. V does not cover Initiator Data,
    /// which repeats V (RFC 6043 §5.5, §6.10).
    fn protect(&self, message: &mut Message, keys: &MessageKeys) {
        let (octets, spans) = message.print_spanned();
        let ticket_at = message.payloads.iter().position(|p| matches!(p, Payload::Ticket(_)));
        let span = ticket_at.and_then(|i| spans.get(i)).copied().unwrap_or(carnet_wire::Span::default());
        let [before, after] = transfer_parts(&octets, span, 0, self.suite.mac_len());
        let mac = keys.mac(&[before, after, &self.me.data, &self.callee.data]);
        let initiator_data = match &self.keys.mpkr {
            Some(mpkr) => initiator_data(self.suite, mpkr, &mac),
            None => Vec::new(),
        };
        for payload in &mut message.payloads {
            match payload {
                Payload::Ticket(ticket) => ticket.initiator_data.clone_from(&initiator_data),
                Payload::V(v) => v.mac.clone_from(&mac),
                _ => {}
            }
        }
    }
}

/// First Payload, Vi, Vr (RFC 6043 §6.10).
fn initiator_data(suite: Suite, mpkr: &Mpk, mac: &[u8]) -> Vec<u8> {
    let v = |mac: &[u8]| Payload::V(Verification { auth_alg: suite.mac_alg(), mac: mac.to_vec() });
    let mut data = Writer::default();
    data.u8(payload_type::V);
    crate::payload::print_chain(&[v(mac), v(&[])], &mut data);
    let keys = MessageKeys::derive(suite, mpkr.expose(), Purpose::InitiatorData);
    let vr = keys.mac(&[&data.0]);
    data.put(&vr);
    data.0
}

/// A TRANSFER_INIT that waits for answers. SIP may fork it, so there may be several.
pub struct Offered {
    profile: Profile,
    suite: Suite,
    header: Header,
    octets: Vec<u8>,
    init_keys: MessageKeys,
    flags: Flags,
    rand_i: Vec<u8>,
    mpki: Mpk,
    mpkr: Option<Mpk>,
    session: Vec<KeyData>,
    me: Identity,
    callee: Identity,
    kms: Identity,
}

/// What both ends have when a transfer succeeded.
pub struct Keyed {
    /// Key of the crypto session: the TLS pre-shared key.
    pub tek: Tek,
    /// Name of the TLS pre-shared key: prefix, CSB ID and CS ID in hex.
    pub psk_identity: String,
    /// Who the other end is, as the KMS has it.
    pub peer: Identity,
    /// Who offered the ticket.
    pub initiator: Identity,
    /// Whose ticket it is.
    pub kms: Identity,
}

impl Offered {
    /// Crypto session bundle of the offer.
    pub fn csb_id(&self) -> u32 {
        self.header.csb_id
    }

    /// The TRANSFER_INIT. A session refresh repeats these octets.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whom the ticket is for.
    pub fn callee(&self) -> &Identity {
        &self.callee
    }

    /// Takes an answer: TRANSFER_RESP or an Error message. Each branch of a forked call yields a
    /// key of its own.
    pub fn answer(&self, octets: &[u8], _wall: SystemTime) -> Result<Keyed, Error> {
        let limits = &self.profile.limits;
        let message =
            parse_response(octets, limits, &self.header, data_type::TRANSFER_RESP, &self.init_keys)?;
        let session = self.session_of(&message)?;
        let rand_r = match message.rand(role::RESPONDER) {
            Some(rand) if self.flags.has(Flags::G) => rand,
            None if !self.flags.has(Flags::G) => &[],
            Some(_) => return Err(Error::Rule("RANDRr is there although flag G is not set")),
            None => return Err(Error::Missing("RANDRr")),
        };
        let prf = self.suite.prf();
        let purpose =
            Purpose::Message { csb_id: self.header.csb_id, response: true, rand_i: &self.rand_i, rand_r };
        let fork = match &self.mpkr {
            None => None,
            Some(mpkr) => {
                // RFC 6043 §4.2.2.3: what the KMS gave the responder comes along unchanged.
                let id = message.identity(role::RESPONDER).ok_or(Error::Missing("IDRr"))?;
                let rand = message.rand(role::KMS).ok_or(Error::Missing("RANDRkms"))?;
                Some((id, rand, fork_mpkr(prf, mpkr, &id.data, rand)))
            }
        };
        let mpk = fork.as_ref().map_or(&self.mpki, |(_, _, mpkr)| mpkr);
        let keys = MessageKeys::derive(self.suite, mpk.expose(), purpose);
        verify(&message, octets, &keys, &[&self.octets], "the answer has a wrong MAC")?;

        let peer = message.identity(role::RESPONDER).unwrap_or(&self.callee);
        // Without forking nobody vouches for another responder than the one called. With it, the
        // KMS does: only it could have made MPKr' for that identity.
        if fork.is_none() && peer.data != self.callee.data {
            return Err(Error::Identity("somebody else than was called has answered"));
        }
        let mpks = [self.mpki.expose().len(), self.mpkr.as_ref().map_or(0, |k| k.expose().len())];
        let rand_kms = fork.as_ref().map(|(_, rand, _)| *rand);
        strength::transfer(&mpks, &self.session, &self.rand_i, rand_r, rand_kms)?;
        let key = match message.kemac() {
            Some(kemac) if self.flags.has(Flags::M) => {
                let time = message.timestamp().ok_or(Error::Missing("T"))?;
                let supplied = parse_keys(&keys.open(time, kemac)?, limits)?;
                select(&supplied, &session.spi)?.duplicate()
            }
            Some(_) => return Err(Error::Policy("the responder may not supply keys with this ticket")),
            None => {
                let key = select(&self.session, &session.spi)?;
                match &fork {
                    Some((id, rand, _)) => fork_session(prf, key, &id.data, rand),
                    None => key.duplicate(),
                }
            }
        };
        let len = self.profile.tek_len;
        let tek = traffic_key(prf, &key, self.flags, session.cs_id, &self.rand_i, rand_r, len)?;
        Ok(Keyed {
            tek,
            psk_identity: psk_identity(&self.profile, self.header.csb_id, session.cs_id),
            peer: peer.clone(),
            initiator: self.me.clone(),
            kms: self.kms.clone(),
        })
    }

    /// RFC 6043 §4.2.2.3: the answer gives each crypto session exactly one policy and an SPI.
    fn session_of<'a>(&self, message: &'a Message) -> Result<&'a CryptoSession, Error> {
        let CsIdMap::Generic(sessions) = &message.header.map else {
            return Err(Error::Unsupported {
                feature: Feature::MapType(message.header.map.type_number()),
                at: 9,
            });
        };
        let [session] = sessions.as_slice() else {
            return Err(Error::Rule("an answer for one crypto session has one entry"));
        };
        if session.cs_id != CS_ID || session.policies.len() != 1 || session.spi.is_empty() {
            return Err(Error::Rule("an answer names crypto session 1, one policy and an SPI"));
        }
        // RFC 6043 §4.2.2.4: a policy that the responder made is checked like one that was offered.
        let chosen = session.policies.first().copied();
        let made = message.payloads.iter().find_map(|p| match p {
            Payload::Sp(sp) if chosen == Some(sp.number) => Some(sp.protocol),
            _ => None,
        });
        if chosen != Some(POLICY) && made.is_none() {
            return Err(Error::Rule("the answer chooses a policy that neither end wrote down"));
        }
        for number in [Some(session.protocol), made].into_iter().flatten() {
            if !self.profile.accepts_protocol(number) {
                return Err(Error::unsupported(Feature::Protocol(number)));
            }
        }
        Ok(session)
    }
}

/// The name of the TLS pre-shared key of a crypto session.
pub(super) fn psk_identity(profile: &Profile, csb_id: u32, cs_id: u8) -> String {
    format!("{}{csb_id:08x}:{cs_id:02x}", profile.psk_identity_prefix)
}

/// Checks Initiator Data with MPKr and gives the MAC of Vi (RFC 6043 §4.2.3.4).
pub(crate) fn verify_initiator_data<'a>(
    suite: Suite,
    mpkr: &Mpk,
    ticket: &'a Ticket,
) -> Result<&'a [u8], Error> {
    let keys = MessageKeys::derive(suite, mpkr.expose(), Purpose::InitiatorData);
    let (vi, vr) = initiator_macs(suite, ticket)?;
    let covered = ticket.initiator_data.len().saturating_sub(vr.len());
    let covered = ticket.initiator_data.get(..covered).unwrap_or_default();
    keys.verify(suite.mac_alg(), vr, &[covered], "the ticket was not sent by its owner")?;
    Ok(vi)
}

/// The MACs of Vi and Vr. Payloads we do not expect before Vr are ignored.
pub(crate) fn initiator_macs(suite: Suite, ticket: &Ticket) -> Result<(&[u8], &[u8]), Error> {
    let data = &ticket.initiator_data;
    let len = suite.mac_len();
    // First Payload, Next payload of Vi, algorithm, MAC of Vi, ..., MAC of Vr.
    let head = data.get(..3).ok_or(Error::Missing("Initiator Data"))?;
    if head.first() != Some(&payload_type::V) || head.get(2) != Some(&suite.mac_alg()) {
        return Err(Error::Rule("Initiator Data begins with Vi"));
    }
    let vi = data.get(3..3 + len).ok_or(Error::Missing("Vi"))?;
    let vr_at = data.len().saturating_sub(len);
    let vr_head = vr_at.checked_sub(2).and_then(|at| data.get(at..vr_at)).unwrap_or_default();
    if vr_at < 3 + len + 2 || vr_head != [payload_type::LAST, suite.mac_alg()] {
        return Err(Error::Rule("Initiator Data ends with Vr"));
    }
    Ok((vi, data.get(vr_at..).unwrap_or_default()))
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
