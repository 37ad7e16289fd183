//! The exchanges themselves, each from both of its ends.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, SystemTime};

use carnet_mikey::registry::error_no;
use carnet_mikey::{
    Error, GrantedTicket, Identity, Keyed, Offered, PendingRequest, PendingResolve, Profile, Psk, Received,
    ReplayCache, Tek, Tpk, key_mgmt, request_init,
};
use carnet_wire::Random;

use crate::fetch::FetchPurpose;
use crate::refusal::{Half, Refusal};

/// The account with the key server.
pub struct KeyAccount {
    /// What may differ between vendors of key servers and clients.
    pub profile: Profile,
    /// The name of the key server in tickets.
    pub kms: String,
    /// Further identities of this user, under which it may be called.
    pub also_me: Vec<String>,
    /// Names the shared key.
    pub psk_id: Vec<u8>,
    /// The shared key.
    pub psk: Psk,
    /// How many sealed offers are remembered against replay. When full, new ones are refused.
    pub replay_entries: usize,
}

/// The seal of a media line: the key and where it comes from.
pub struct Seal {
    /// The pre-shared key of the TLS association. One TLS association, one key.
    pub tek: Tek,
    /// The identity that goes with it in the ClientHello.
    pub psk_identity: String,
    /// Who is on the other end, as the key server vouches for it.
    pub peer: String,
    /// Who started the exchange.
    pub initiator: String,
    /// The key server that issued the ticket.
    pub kms: String,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal")
            .field("psk_identity", &self.psk_identity)
            .field("peer", &self.peer)
            .field("kms", &self.kms)
            .finish_non_exhaustive()
    }
}

/// The account with the key server, and what was seen before.
pub struct Keys {
    profile: Profile,
    me: Identity,
    also_me: Vec<Identity>,
    psk_id: Vec<u8>,
    psk: Psk,
    kms: Identity,
    seen: ReplayCache,
    made: Made,
}

/// The offers that we made, by their CSB IDs, as long as somebody could bring one back to us: one that
/// is older is refused by its time. When there are as many as may be remembered, the oldest is forgotten.
struct Made {
    offers: VecDeque<(SystemTime, u32)>,
    capacity: usize,
    lifetime: Duration,
}

impl Made {
    fn remember(&mut self, wall: SystemTime, csb_id: u32) {
        // A clock that was set back leaves what is younger than now; it is bounded all the same.
        let is_old =
            |(at, _): &(SystemTime, u32)| wall.duration_since(*at).is_ok_and(|age| age > self.lifetime);
        while self.offers.front().is_some_and(is_old) || self.offers.len() >= self.capacity.max(1) {
            self.offers.pop_front();
        }
        self.offers.push_back((wall, csb_id));
    }

    fn has(&self, csb_id: u32) -> bool {
        self.offers.iter().any(|(_, made)| *made == csb_id)
    }
}

/// Caller, before the ticket is here.
pub struct Asking(PendingRequest);

/// Caller, with a ticket for one call.
pub struct Ticket(GrantedTicket);

/// Caller, offer made. Each forked branch derives its own key from it.
pub struct Offering(Offered);

/// Called side, an offer whose ticket is to be opened.
pub struct Sealed(Received);

/// Called side, before the keys are here.
pub struct Opening(PendingResolve);

impl Keys {
    /// The account of `me`. `wall` is now: offers made before are refused as possible replays.
    ///
    /// # Errors
    /// If a name in the account cannot be an identity.
    pub fn new(account: KeyAccount, me: &str, wall: SystemTime) -> Result<Self, Error> {
        let also_me =
            account.also_me.iter().map(|name| Identity::from_uri(name)).collect::<Result<_, _>>()?;
        Ok(Self {
            me: Identity::from_uri(me)?,
            also_me,
            kms: Identity::from_uri(&account.kms)?,
            // What was seen before we were started is not known: older offers are refused.
            seen: ReplayCache::restarted(account.profile.skew, account.replay_entries, wall),
            // The clocks of both ends may be wrong.
            made: Made {
                offers: VecDeque::new(),
                capacity: account.replay_entries,
                lifetime: account.profile.skew * 2,
            },
            profile: account.profile,
            psk_id: account.psk_id,
            psk: account.psk,
        })
    }

    /// Another account from now on. What was seen and made before stays known.
    ///
    /// # Errors
    /// If a name in the account cannot be an identity; nothing has changed then.
    pub fn renew(&mut self, account: KeyAccount, me: &str) -> Result<(), Error> {
        let also_me =
            account.also_me.iter().map(|name| Identity::from_uri(name)).collect::<Result<_, _>>()?;
        let (me, kms) = (Identity::from_uri(me)?, Identity::from_uri(&account.kms)?);
        (self.me, self.also_me, self.kms) = (me, also_me, kms);
        (self.profile, self.psk_id, self.psk) = (account.profile, account.psk_id, account.psk);
        Ok(())
    }

    /// Who asks and answers when nobody else is named.
    pub fn me(&self) -> &Identity {
        &self.me
    }

    /// REQUEST_INIT: a ticket to call `callee`.
    ///
    /// # Errors
    /// A name that cannot be an identity.
    pub fn ask(
        &self,
        wall: SystemTime,
        rng: &mut dyn Random,
        callee: &str,
    ) -> Result<(Asking, Vec<u8>), Refusal> {
        self.ask_as(wall, rng, &self.me, callee)
    }

    /// The same in the name of `me`, for an account with many identities (a conference server calls as
    /// the conference).
    ///
    /// # Errors
    /// A name that cannot be an identity.
    pub fn ask_as(
        &self,
        wall: SystemTime,
        rng: &mut dyn Random,
        me: &Identity,
        callee: &str,
    ) -> Result<(Asking, Vec<u8>), Refusal> {
        let callee = identity(callee)?;
        let (pending, octets) =
            request_init(&self.profile, wall, rng, me, &self.psk_id, &self.psk, &self.kms, &callee);
        Ok((Asking(pending), octets))
    }

    /// A ticket that is made here and not asked for: mode 3 of RFC 6043 §4.1.1. The key shared with the
    /// key server is the ticket key. Not every key server opens such tickets.
    ///
    /// # Errors
    /// A name that cannot be an identity; a profile that such a ticket does not fit.
    pub fn make(
        &self,
        wall: SystemTime,
        rng: &mut dyn Random,
        me: &Identity,
        callee: &str,
    ) -> Result<Ticket, Refusal> {
        let callee = identity(callee)?;
        let unfit = |error: Error| Refusal::UnsupportedKeys(error.to_string());
        let tpk = Tpk::new(self.psk.expose()).map_err(unfit)?;
        GrantedTicket::make(&self.profile, wall, rng, me, &self.psk_id, &tpk, &self.kms, &callee)
            .map(Ticket)
            .map_err(unfit)
    }

    /// The ticket is here: TRANSFER_INIT, and the value of `a=key-mgmt` that carries it.
    ///
    /// # Errors
    /// What the key server said, or that it was not the key server.
    pub fn offer(
        &mut self,
        wall: SystemTime,
        rng: &mut dyn Random,
        asking: Asking,
        octets: &[u8],
    ) -> Result<(Offering, String), Refusal> {
        let ticket = Self::granted(wall, asking, octets)?;
        Ok(self.transfer(wall, rng, &ticket))
    }

    /// The ticket is here, for a call with several lines: each gets a [`transfer`](Self::transfer) of
    /// its own.
    ///
    /// # Errors
    /// What the key server said, or that it was not the key server.
    pub fn granted(wall: SystemTime, asking: Asking, octets: &[u8]) -> Result<Ticket, Refusal> {
        let ticket = asking.0.response(octets, wall);
        ticket.map(Ticket).map_err(|error| of_kms(FetchPurpose::Ticket, &error))
    }

    /// TRANSFER_INIT for one line, and the value of `a=key-mgmt` that carries it.
    pub fn transfer(
        &mut self,
        wall: SystemTime,
        rng: &mut dyn Random,
        ticket: &Ticket,
    ) -> (Offering, String) {
        let (offered, octets) = ticket.0.offer(&self.profile, wall, rng);
        self.made.remember(wall, offered.csb_id());
        (Offering(offered), key_mgmt::print(&octets))
    }

    /// An offer has come. `data` is what follows `mikey `, `protocols` the list in the SDP. It is
    /// refused by what can be seen without keys.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn look(&mut self, wall: SystemTime, data: &str, protocols: &str) -> Result<Sealed, Refusal> {
        self.look_if(wall, data, protocols, |keys, callee| keys.is_me(callee))
    }

    /// The same for who has many identities: the ticket must be for `called`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn look_as(
        &mut self,
        wall: SystemTime,
        called: &Identity,
        data: &str,
        protocols: &str,
    ) -> Result<Sealed, Refusal> {
        self.look_if(wall, data, protocols, |_, callee| callee.data == called.data)
    }

    fn look_if(
        &mut self,
        wall: SystemTime,
        data: &str,
        protocols: &str,
        is_called: impl FnOnce(&Self, &Identity) -> bool,
    ) -> Result<Sealed, Refusal> {
        // RFC 4567 §7.3: what the exchange authenticates is the list we would have offered, so a
        // list in the SDP that is longer or shorter has been changed on the way.
        if protocols != self.profile.sdp_ids {
            return Err(Refusal::ListAltered);
        }
        let octets = decode(data, Half::Offer)?;
        let received =
            Received::parse(&self.profile, wall, &octets).map_err(|error| of_peer(Half::Offer, &error))?;
        // Both ends have one key: who answers his own offer talks to himself (RFC 9257 §4.1, "Selfie").
        if self.made.has(received.csb_id()) {
            return Err(Refusal::Reflected);
        }
        match received.kms() {
            Some(kms) if *kms != self.kms => return Err(Refusal::ForeignKms(kms.text().into_owned())),
            _ => {}
        }
        if !received.callee().is_none_or(|callee| is_called(self, callee)) {
            return Err(Refusal::WrongCallee);
        }
        received.check_replay(&mut self.seen, wall).map_err(|error| of_peer(Half::Offer, &error))?;
        Ok(Sealed(received))
    }

    /// RESOLVE_INIT: the keys in the ticket of an offer.
    pub fn open(&self, wall: SystemTime, rng: &mut dyn Random, sealed: &Sealed) -> (Opening, Vec<u8>) {
        self.open_as(wall, rng, &self.me, sealed)
    }

    /// The same in the name of `me`, which is whom the caller will see as responder.
    pub fn open_as(
        &self,
        wall: SystemTime,
        rng: &mut dyn Random,
        me: &Identity,
        sealed: &Sealed,
    ) -> (Opening, Vec<u8>) {
        let (pending, octets) = sealed.0.resolve_init(wall, rng, me, &self.psk_id, &self.psk, &self.kms);
        (Opening(pending), octets)
    }

    /// The keys are here: the seal, and the value of `a=key-mgmt` for the answer.
    ///
    /// # Errors
    /// What the key server said, or what its keys show of the offer.
    pub fn opened(
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

impl Sealed {
    /// Who made the offer, as the offer says; true once it is opened.
    pub fn initiator(&self) -> Option<String> {
        self.0.initiator().map(|who| who.text().into_owned())
    }
}

impl Offering {
    /// An answer has come; `data` is what follows `mikey `.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn answered(&self, data: &str, wall: SystemTime) -> Result<Seal, Refusal> {
        let octets = decode(data, Half::Answer)?;
        self.0.answer(&octets, wall).map(seal).map_err(|error| of_peer(Half::Answer, &error))
    }
}

fn identity(uri: &str) -> Result<Identity, Refusal> {
    Identity::from_uri(uri).map_err(|error| Refusal::Malformed(error.to_string()))
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
