//! The key exchange of a call: what goes to the key server, what goes into the SDP, and what each
//! failure means.
//!
//! RFC 6043 §4.2 (the exchanges), RFC 4567 §4 and §7 (offer and answer, bidding down). The
//! cryptography is `carnet_mikey`'s; this module turns its errors into [`Refusal`]s and adds the
//! checks that need to know the call: is the ticket from our key server, is it for us, was the list
//! of protocols changed on the way.

use std::time::SystemTime;

use carnet_mikey::registry::error_no;
use carnet_mikey::{
    Error, Identity, Keyed, Offered, PendingRequest, PendingResolve, Profile, Psk, Received, ReplayCache,
    key_mgmt, request_init,
};
use carnet_wire::Random;

use crate::config::KeyAccount;
use crate::media::Seal;
use crate::refusal::{FetchPurpose, Half, Refusal};

/// The account with the key server, and what was seen before.
pub(crate) struct Keys {
    profile: Profile,
    me: Identity,
    also_me: Vec<Identity>,
    psk_id: Vec<u8>,
    psk: Psk,
    kms: Identity,
    seen: ReplayCache,
}

/// Caller, before the ticket is here.
pub(crate) struct Asking(PendingRequest);

/// Caller, offer made. Each forked branch derives its own key from it.
pub(crate) struct Offering(Offered);

/// Called side, an offer whose ticket is to be opened.
pub(crate) struct Sealed(Received);

/// Called side, before the keys are here.
pub(crate) struct Opening(PendingResolve);

impl Keys {
    /// Fails if a name in the account cannot be an identity.
    pub(crate) fn new(account: KeyAccount, me: &str, wall: SystemTime) -> Result<Self, Error> {
        let also_me =
            account.also_me.iter().map(|name| Identity::from_uri(name)).collect::<Result<_, _>>()?;
        Ok(Self {
            me: Identity::from_uri(me)?,
            also_me,
            kms: Identity::from_uri(&account.kms)?,
            // What was seen before we were started is not known: older offers are refused.
            seen: ReplayCache::restarted(account.profile.skew, account.replay_entries, wall),
            profile: account.profile,
            psk_id: account.psk_id,
            psk: account.psk,
        })
    }

    /// REQUEST_INIT: a ticket to call `callee`.
    pub(crate) fn ask(
        &self,
        wall: SystemTime,
        rng: &mut dyn Random,
        callee: &str,
    ) -> Result<(Asking, Vec<u8>), Refusal> {
        let callee = Identity::from_uri(callee).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let (pending, octets) =
            request_init(&self.profile, wall, rng, &self.me, &self.psk_id, &self.psk, &self.kms, &callee);
        Ok((Asking(pending), octets))
    }

    /// The ticket is here: TRANSFER_INIT, and the value of `a=key-mgmt` that carries it.
    pub(crate) fn offer(
        &self,
        wall: SystemTime,
        rng: &mut dyn Random,
        asking: Asking,
        octets: &[u8],
    ) -> Result<(Offering, String), Refusal> {
        let ticket = asking.0.response(octets, wall).map_err(|error| of_kms(FetchPurpose::Ticket, &error))?;
        let (offered, octets) = ticket.offer(&self.profile, wall, rng);
        Ok((Offering(offered), key_mgmt::print(&octets)))
    }

    /// An offer has come. `data` is what follows `mikey `, `protocols` the list in the SDP. It is
    /// refused by what can be seen without keys.
    pub(crate) fn look(&mut self, wall: SystemTime, data: &str, protocols: &str) -> Result<Sealed, Refusal> {
        // RFC 4567 §7.3: what the exchange authenticates is the list we would have offered, so a
        // list in the SDP that is longer or shorter has been changed on the way.
        if protocols != self.profile.sdp_ids {
            return Err(Refusal::ListAltered);
        }
        let octets = decode(data, Half::Offer)?;
        let received =
            Received::parse(&self.profile, wall, &octets).map_err(|error| of_peer(Half::Offer, &error))?;
        match received.kms() {
            Some(kms) if *kms != self.kms => return Err(Refusal::ForeignKms(kms.text().into_owned())),
            _ => {}
        }
        if !received.callee().is_none_or(|callee| self.is_me(callee)) {
            return Err(Refusal::WrongCallee);
        }
        received.check_replay(&mut self.seen, wall).map_err(|error| of_peer(Half::Offer, &error))?;
        Ok(Sealed(received))
    }

    /// RESOLVE_INIT: the keys in the ticket of an offer.
    pub(crate) fn open(&self, wall: SystemTime, rng: &mut dyn Random, sealed: &Sealed) -> (Opening, Vec<u8>) {
        let (pending, octets) =
            sealed.0.resolve_init(wall, rng, &self.me, &self.psk_id, &self.psk, &self.kms);
        (Opening(pending), octets)
    }

    /// The keys are here: the seal, and the value of `a=key-mgmt` for the answer.
    pub(crate) fn opened(
        &mut self,
        wall: SystemTime,
        rng: &mut dyn Random,
        Sealed(received): &Sealed,
        opening: Opening,
        octets: &[u8],
    ) -> Result<(Seal, String), Refusal> {
        let (keyed, answer) = opening
            .0
            .response(received, octets, wall, rng)
            .map_err(|error| of_kms(FetchPurpose::Resolve, &error))?;
        // Twice the same offer at once: both were new when they were looked at first.
        let fresh = received.check_replay(&mut self.seen, wall);
        self.seen.remember(fresh.map_err(|error| of_peer(Half::Offer, &error))?);
        Ok((seal(keyed), key_mgmt::print(&answer)))
    }

    fn is_me(&self, identity: &Identity) -> bool {
        self.me.data == identity.data || self.also_me.iter().any(|me| me.data == identity.data)
    }
}

impl Offering {
    /// An answer has come; `data` is what follows `mikey `.
    pub(crate) fn answered(&self, data: &str, wall: SystemTime) -> Result<Seal, Refusal> {
        let octets = decode(data, Half::Answer)?;
        self.0.answer(&octets, wall).map(seal).map_err(|error| of_peer(Half::Answer, &error))
    }
}

fn seal(keyed: Keyed) -> Seal {
    Seal {
        tek: keyed.tek,
        psk_identity: keyed.psk_identity,
        peer: keyed.peer.text().into_owned(),
        initiator: keyed.initiator.text().into_owned(),
        kms: keyed.kms.text().into_owned(),
    }
}

fn decode(data: &str, half: Half) -> Result<Vec<u8>, Refusal> {
    carnet_wire::base64::decode(data.as_bytes()).map_err(|_| Refusal::Altered(half))
}

/// What an error in something the peer sent means.
fn of_peer(half: Half, error: &Error) -> Refusal {
    match error {
        Error::Unsupported { .. } | Error::Policy(_) => Refusal::UnsupportedKeys(error.to_string()),
        Error::Skew(_) => Refusal::Clock,
        Error::Replay => Refusal::Replayed,
        Error::Validity(_) => Refusal::Expired,
        Error::BiddingDown => Refusal::ListAltered,
        Error::Full(_) => Refusal::Busy,
        Error::Identity(who) if half == Half::Answer => Refusal::WrongResponder((*who).to_owned()),
        // RFC 4567 §4.1.2: an Error message in place of an answer.
        Error::Refused { .. } => Refusal::UnsupportedKeys(error.to_string()),
        _ => Refusal::Altered(half),
    }
}

/// What an error in the key server's answer means. With the keys of a ticket comes the proof of
/// the offer, so there the offer may be what is wrong.
fn of_kms(purpose: FetchPurpose, error: &Error) -> Refusal {
    match (error, purpose) {
        // It does not say with our key that it refuses: it does not have it, or another.
        (Error::Refused { number: error_no::AUTH_FAILURE, authenticated: false }, _) => {
            Refusal::KmsKey(purpose)
        }
        (Error::Refused { number: error_no::INVALID_TS, .. }, _) => Refusal::KmsClock(purpose),
        (Error::Refused { number, .. }, _) => Refusal::KmsRefused(purpose, Some(*number)),
        (Error::Skew(_), _) => Refusal::Clock,
        (Error::Authentication(_) | Error::Identity(_) | Error::Rule(_), FetchPurpose::Resolve) => {
            Refusal::Altered(Half::Offer)
        }
        _ => Refusal::KmsAltered(purpose),
    }
}
