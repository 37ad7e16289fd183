//! The machine: takes what comes from the network, the key server, the user and the clock to the
//! call it belongs to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use carnet_seal::{Fetch, FetchError, FetchId, FetchPurpose, Half, Keys, Question, Refusal as KeyRefusal};
use carnet_sip::stun::Stun;
use carnet_sip::{
    Answer, Arrivals, ClientKey, Endpoint, Event as SipEvent, Hop, Input, Message, Method, Query, QueryId,
    ServerKey, Silence, Transmit, Transport, Uri,
};
use carnet_wire::Random;

use crate::call::{Call, State};
use crate::caller::{NewCall, late_branch};
use crate::conference::{Invitation, Places};
use crate::config::Config;
use crate::core::{ALLOW, Core, Owner, unsupported};
use crate::event::{CallId, Ending, Event, ReferralId};
use crate::media::Purpose;
use crate::referral::{Ask, Referral};
use crate::refusal::Refusal;
use crate::register::Registration;

/// See the [crate] page.
pub struct Client {
    core: Core,
    registration: Registration,
    calls: BTreeMap<CallId, Call>,
    arrivals: Arrivals,
    next_call: u64,
    next_referral: u64,
}

impl Client {
    /// A client with nothing under way.
    ///
    /// # Errors
    /// If a name in the account with the key server cannot be an identity.
    pub fn new(
        mut config: Config,
        endpoint: Endpoint,
        rng: Box<dyn Random>,
        wall: SystemTime,
    ) -> Result<Self, carnet_mikey::Error> {
        let keys = match config.keys.take() {
            Some(account) => Some(Keys::new(account, config.identity.as_str(), wall)?),
            None => None,
        };
        let mut core = Core::new(config, endpoint, rng, keys);
        let registration = Registration::new(&mut core);
        Ok(Self {
            core,
            registration,
            calls: BTreeMap::new(),
            arrivals: Arrivals::default(),
            next_call: 1,
            next_referral: 1,
        })
    }

    /// Takes a SIP message in.
    pub fn handle_sip(&mut self, now: Instant, wall: SystemTime, input: Input) {
        if input.hop.transport == Transport::Udp
            && let Some(Stun::Answer(id, seen)) = Stun::parse(&input.data)
        {
            self.registration.seen(&mut self.core, now, &input.hop, (id, seen));
            return;
        }
        self.core.endpoint.handle_input(now, input);
        self.drain(now, wall);
    }

    /// The driver could not deliver to `hop`, or the connection closed.
    pub fn transport_failed(&mut self, now: Instant, wall: SystemTime, hop: &Hop) {
        self.core.endpoint.transport_failed(now, hop);
        self.drain(now, wall);
        self.registration.flow_failed(&mut self.core, now, hop);
    }

    /// Takes DNS's answer.
    pub fn handle_answer(&mut self, now: Instant, wall: SystemTime, id: QueryId, answer: Answer) {
        self.core.endpoint.handle_answer(now, id, answer);
        self.drain(now, wall);
    }

    /// Takes the key server's answer: the body of its HTTP response, if that was a MIKEY message.
    pub fn handle_fetched(
        &mut self,
        now: Instant,
        wall: SystemTime,
        id: FetchId,
        result: Result<Vec<u8>, FetchError>,
    ) {
        // An answer that comes after we gave up is no matter.
        let Some((call, _)) = self.core.waiting.remove(&id) else { return };
        self.fetched(now, wall, call, id, result);
        self.drain(now, wall);
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant, wall: SystemTime) {
        self.core.endpoint.handle_timeout(now);
        let late: Vec<_> = self
            .core
            .waiting
            .iter()
            .filter(|(_, (_, at))| now >= *at)
            .map(|(id, (call, _))| (*id, *call))
            .collect();
        for (id, call) in late {
            self.core.waiting.remove(&id);
            self.fetched(now, wall, call, id, Err(FetchError::TimedOut));
        }
        self.registration.tick(&mut self.core, now);
        let due: Vec<_> = self
            .calls
            .values()
            .filter(|call| call.timeout().is_some_and(|at| now >= at))
            .map(|call| call.id)
            .collect();
        for id in due {
            self.with(id, |call, core| call.tick(core, now, wall));
        }
        self.drain(now, wall);
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let calls = self.calls.values().filter_map(Call::timeout).min();
        let fetches = self.core.waiting.values().map(|(_, at)| *at).min();
        [self.core.endpoint.poll_timeout(), self.registration.timeout(), calls, fetches]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next SIP octets to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.core.endpoint.poll_transmit().or_else(|| self.core.transmits.pop_front())
    }

    /// The next question for DNS.
    pub fn poll_query(&mut self) -> Option<Query> {
        self.core.endpoint.poll_query()
    }

    /// The next question for the key server.
    pub fn poll_fetch(&mut self) -> Option<Fetch> {
        self.core.fetches.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// Registers, and goes on refreshing.
    pub fn register(&mut self, now: Instant) {
        self.registration.begin(&mut self.core, now);
    }

    /// Takes the registration back. [`Event::Unregistered`] follows, whatever the registrar says.
    pub fn unregister(&mut self, now: Instant) {
        self.registration.end(&mut self.core, now);
    }

    /// Calls `to`. `local` is where the driver accepts media of this call; it listens there
    /// already, because the peer may be faster than its answer. A connection that comes before
    /// [`Event::Media`] is held unread (RFC 8122 §6.2).
    ///
    /// # Errors
    /// What stands in the way at once; nothing was sent.
    pub fn call(
        &mut self,
        now: Instant,
        wall: SystemTime,
        to: Uri,
        purpose: Purpose,
        local: SocketAddr,
    ) -> Result<CallId, Refusal> {
        self.begin(now, wall, to, purpose, Places { messages: Some(local), floors: None })
    }

    /// Calls `to` to join a conference, fixed or made by a factory. `places` is where the driver accepts
    /// the connections of the lines that are wanted; it listens there already. [`Event::Joined`] and then
    /// the media of each line follow, or [`Event::Ended`].
    ///
    /// # Errors
    /// What stands in the way at once; nothing was sent.
    pub fn join(
        &mut self,
        now: Instant,
        wall: SystemTime,
        to: Uri,
        places: Places,
    ) -> Result<CallId, Refusal> {
        let (messages, floors) = (places.messages.is_some(), places.floors.is_some());
        let purpose = Purpose::Conference(Invitation { messages, floors, back: None });
        self.begin(now, wall, to, purpose, places)
    }

    fn begin(
        &mut self,
        now: Instant,
        wall: SystemTime,
        to: Uri,
        purpose: Purpose,
        places: Places,
    ) -> Result<CallId, Refusal> {
        if self.calls.len() >= self.core.config.limits.calls {
            return Err(Refusal::Busy);
        }
        // Without an account there is only clear, and only if it is allowed.
        let clear = self.core.keys.is_none();
        if clear && !self.core.config.allow_clear {
            return Err(Refusal::Keys(KeyRefusal::Unsealed(Half::Offer)));
        }
        let id = self.name();
        let call = Call::begin(&mut self.core, now, wall, NewCall { id, to, purpose, places, clear })?;
        self.calls.insert(id, call);
        Ok(id)
    }

    /// Takes an incoming call. `local` is where the driver accepts media of this call. `start` is
    /// how many octets of an offered file are here already.
    pub fn accept(&mut self, now: Instant, call: CallId, local: SocketAddr, start: u64) {
        self.take(now, call, Places { messages: Some(local), floors: None }, start);
    }

    /// Takes the call of a conference. A line whose place is `None` is declined. If it is the focus that
    /// calls back ([`Invitation::back`]), the old call ends.
    pub fn accept_conference(&mut self, now: Instant, call: CallId, places: Places) {
        self.take(now, call, places, 0);
    }

    fn take(&mut self, now: Instant, id: CallId, places: Places, start: u64) {
        let mut back = None;
        self.with(id, |call, core| match call.take() {
            State::Alerting(alerting) => {
                let old = alerting.back;
                call.accept(core, now, *alerting, places, start);
                back = old.filter(|_| matches!(call.state, State::Up(_)));
            }
            other => call.state = other,
        });
        if let Some(old) = back {
            self.with(old, |call, core| call.called_back(core, now, id));
        }
    }

    /// Subscribes to who is in a conference that we are in. [`Event::Roster`] follows, each time that it
    /// changes, or [`Event::NoRoster`].
    pub fn watch(&mut self, now: Instant, call: CallId) {
        self.with(call, |call, core| call.watch(core, now));
    }

    /// Asks the focus of a conference that we are in to call `who` in, or to put `who` out.
    /// [`Event::Referral`] follows.
    ///
    /// # Errors
    /// [`Refusal::NoConference`] for a call that is none, [`Refusal::Busy`] if too much is asked already.
    pub fn refer(&mut self, now: Instant, call: CallId, who: &Uri, ask: Ask) -> Result<ReferralId, Refusal> {
        let Self { calls, core, next_referral, .. } = self;
        let call = calls.get_mut(&call).ok_or(Refusal::NoConference)?;
        let proof = call.target_dialog();
        let room = call.room.as_mut().ok_or(Refusal::NoConference)?;
        let focus = room.uri.clone().ok_or(Refusal::NoConference)?;
        if room.referrals.len() >= core.config.limits.referrals {
            return Err(Refusal::Busy);
        }
        let id = ReferralId(*next_referral);
        *next_referral += 1;
        room.referrals.push(Referral::begin(core, now, id, &focus, (who, ask), proof)?);
        Ok(id)
    }

    /// Refuses an incoming call that the user does not want.
    pub fn decline(&mut self, now: Instant, call: CallId) {
        self.refuse(now, call, &Refusal::Unwanted);
    }

    /// Refuses an incoming call for a reason that the caller is told.
    pub fn refuse(&mut self, now: Instant, call: CallId, reason: &Refusal) {
        self.with(call, |call, core| match call.take() {
            State::Alerting(alerting) => call.decline(core, now, &alerting.offered, reason),
            other => call.state = other,
        });
    }

    /// Ends a call in whatever state it is. [`Event::Ended`] follows.
    pub fn hang_up(&mut self, now: Instant, wall: SystemTime, call: CallId) {
        self.with(call, |call, core| call.hang_up(core, now, Ending::Local));
        self.drain(now, wall);
    }

    /// The media of a call cannot be had, or broke: ends it, and tells the peer. A conference gets time to
    /// call back first ([`Event::Waiting`]).
    pub fn media_failed(&mut self, now: Instant, call: CallId, refusal: Refusal) {
        self.with(call, |call, core| call.media_lost(core, now, refusal));
    }

    /// The floor control connection of a call broke: offers another in its place, with the same roles and
    /// under the same key (RFC 8856 §7.1, §8). [`Event::FloorsRenewed`] says what the focus thinks of it; it
    /// does not come where the call itself is lost or over.
    pub fn renew_floors(&mut self, now: Instant, call: CallId) {
        self.with(call, |call, core| match call.take() {
            State::Up(mut up) => {
                call.renew_floors(core, now, &mut up);
                call.state = State::Up(up);
            }
            other => call.state = other,
        });
    }

    /// The message connection of a call broke: offers another session in its place, under the same key (RFC
    /// 4975 §5.4). `local` is where the driver listens for it; `start` is how many octets are here of a file
    /// that we receive. [`Event::MediaRenewed`] follows, unless the peer has offered the same meanwhile
    /// ([`Event::MediaRenewal`]) or the call is over. Not for conferences: their focus calls back.
    pub fn renew_media(&mut self, now: Instant, call: CallId, local: SocketAddr, start: u64) {
        self.with(call, |call, core| match call.take() {
            State::Up(mut up) => {
                call.renew_media(core, now, &mut up, local, start);
                call.state = State::Up(up);
            }
            other => call.state = other,
        });
    }

    /// Takes the session that the peer offered ([`Event::MediaRenewal`]). `local` and `start` as in
    /// [`renew_media`](Self::renew_media). [`Event::MediaRenewed`] follows.
    pub fn take_media(&mut self, now: Instant, call: CallId, local: SocketAddr, start: u64) {
        self.with(call, |call, core| match call.take() {
            State::Up(mut up) => {
                call.take_media(core, now, &mut up, local, start);
                call.state = State::Up(up);
            }
            other => call.state = other,
        });
    }

    /// Refreshes a call that is up with an unchanged description.
    pub fn refresh(&mut self, now: Instant, call: CallId) {
        self.with(call, |call, core| match call.take() {
            State::Up(mut up) => {
                let _ = call.refresh(core, now, &mut up);
                call.state = State::Up(up);
            }
            other => call.state = other,
        });
    }

    /// Whether all that was said has been answered: no call, no request under way.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.core.owners.values().all(|owner| *owner == Owner::Answered)
    }

    /// Calls that are not over.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    fn name(&mut self) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        id
    }

    /// Runs `act` on a call, and forgets the call if it is over then.
    fn with(&mut self, id: CallId, act: impl FnOnce(&mut Call, &mut Core)) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        act(call, &mut self.core);
        if matches!(call.state, State::Over) {
            self.calls.remove(&id);
            self.core.waiting.retain(|_, (call, _)| *call != id);
        }
    }

    fn drain(&mut self, now: Instant, wall: SystemTime) {
        while let Some(event) = self.core.endpoint.poll_event() {
            match event {
                SipEvent::Request { key, message, .. } => self.requested(now, wall, key, message),
                SipEvent::Ack { message, .. } => self.acknowledged(&message),
                SipEvent::Cancelled { key, .. } => self.cancelled(now, key),
                SipEvent::Response { key, message, hop } => self.answered(now, wall, key, &message, &hop),
                SipEvent::Unanswered { key, reason } => self.unanswered(now, key, reason),
                SipEvent::Unacknowledged { key, status, .. } if status < 300 => self.unacknowledged(now, key),
                SipEvent::Ended { key } => {
                    self.core.answered.remove(&key);
                    self.core.owners.remove(&key);
                }
                _ => {}
            }
        }
    }

    fn requested(&mut self, now: Instant, wall: SystemTime, key: ServerKey, request: Message) {
        // RFC 3261 §8.2: the method comes first, then what the headers require.
        let known = ALLOW.split(", ").any(|method| method == request.method().as_str());
        let strange = unsupported(&request);
        if known && !strange.is_empty() {
            let error = carnet_sip::Error::Extension(strange.join(", "));
            self.core.refuse(now, key, &request, &error.into(), None);
            return;
        }
        let owner = self.calls.values().find(|call| call.owns(&request)).map(|call| call.id);
        if let Some(id) = owner {
            self.with(id, |call, core| call.requested_in(core, now, key, &request));
            return;
        }
        if *request.method() == Method::Notify
            && let Some(id) = self.calls.values().find(|call| call.hears(&request)).map(|call| call.id)
        {
            self.with(id, |call, core| call.notified(core, now, key, &request));
            return;
        }
        if request.to_tag().is_some() {
            self.core.reply(now, key, &request, 481, None);
            return;
        }
        if known && self.arrivals.is_merged(now, &request, self.core.longest_transaction()) {
            self.core.reply(now, key, &request, 482, None);
            return;
        }
        match request.method() {
            Method::Invite => self.invited(now, wall, key, request),
            Method::Options => self.core.capable(now, key, &request),
            // RFC 3262 §3, RFC 3311 §5.2, RFC 3261 §15.1.2: outside a dialog they mean nothing.
            _ if known => self.core.reply(now, key, &request, 481, None),
            _ => self.core.reply(now, key, &request, 405, None),
        }
    }

    fn invited(&mut self, now: Instant, wall: SystemTime, key: ServerKey, invite: Message) {
        let id = self.name();
        let from = invite.from().map(|from| from.uri().to_string()).unwrap_or_default();
        let opening = self.calls.values().filter(|call| matches!(call.state, State::Resolving(_))).count();
        let limits = &self.core.config.limits;
        let result = if self.calls.len() >= limits.calls || opening >= limits.opening {
            self.core.refuse(now, key, &invite, &Refusal::Busy, None);
            Err(Refusal::Busy)
        } else {
            Call::arrived(&mut self.core, now, wall, id, key, invite)
        };
        match result {
            Ok(call) => {
                self.calls.insert(id, call);
            }
            Err(reason) => self.core.events.push_back(Event::Refused { call: id, from, reason }),
        }
    }

    fn acknowledged(&mut self, ack: &Message) {
        if let Some(call) = self.calls.values_mut().find(|call| call.owns(ack))
            && let State::Up(up) = &mut call.state
        {
            up.acknowledged(ack);
        }
    }

    fn cancelled(&mut self, now: Instant, key: ServerKey) {
        let Some(id) = self.calls.values().find(|call| call.is_offered(key)).map(|call| call.id) else {
            return;
        };
        self.with(id, |call, core| match call.take() {
            State::Alerting(alerting) => call.cancelled(core, now, &alerting.offered),
            State::Resolving(resolving) => call.cancelled(core, now, &resolving.offered),
            State::Up(mut up) => {
                call.not_taken(core, now, &mut up);
                call.state = State::Up(up);
            }
            other => call.state = other,
        });
    }

    fn unacknowledged(&mut self, now: Instant, key: ServerKey) {
        let waits = |call: &Call| matches!(&call.state, State::Up(up) if up.is_unacknowledged(key));
        let Some(id) = self.calls.values().find(|call| waits(call)).map(|call| call.id) else { return };
        // RFC 3261 §13.3.1.4
        self.with(id, |call, core| call.hang_up(core, now, Ending::Refused(Refusal::Unanswered)));
    }

    fn answered(&mut self, now: Instant, wall: SystemTime, key: ClientKey, response: &Message, hop: &Hop) {
        let status = response.status().unwrap_or(500);
        let Some(owner) = self.core.owners.get(&key).copied() else { return };
        if status >= 200 && !matches!(status, 401 | 407) {
            self.core.unchallenged();
        }
        match (status, owner) {
            (100..=199, _) => {}
            // After a 2xx of INVITE other branches may answer: `Ended` comes when none will.
            (200..=299, Owner::Call(_) | Owner::Answered) if *response.method() == Method::Invite => {
                self.core.owners.insert(key, Owner::Answered);
            }
            _ => {
                self.core.owners.remove(&key);
            }
        }
        match owner {
            Owner::Nobody => self.core.parted(now, key, response),
            Owner::Registration => self.registration.answered(&mut self.core, now, key, response, hop),
            Owner::Answered => late_branch(&mut self.core, now, key, response),
            Owner::Call(id) => {
                self.with(id, |call, core| call.answered(core, now, wall, key, response));
            }
            Owner::Watch(id) => self.with(id, |call, core| call.watch_answered(core, now, key, Ok(response))),
            Owner::Referral(referral) => self.referral_answered(now, referral, key, Some(response)),
        }
    }

    fn unanswered(&mut self, now: Instant, key: ClientKey, reason: Silence) {
        match self.core.owners.remove(&key) {
            Some(Owner::Registration) => self.registration.unanswered(&mut self.core, now, reason),
            Some(Owner::Call(id)) => {
                self.with(id, |call, core| call.unanswered(core, now, key, reason));
            }
            Some(Owner::Watch(id)) => {
                self.with(id, |call, core| call.watch_answered(core, now, key, Err(reason.into())));
            }
            Some(Owner::Referral(referral)) => self.referral_answered(now, referral, key, None),
            _ => self.core.unparted(key),
        }
    }

    fn referral_answered(
        &mut self,
        now: Instant,
        referral: ReferralId,
        key: ClientKey,
        answer: Option<&Message>,
    ) {
        let asked = |call: &Call| {
            call.room.as_ref().is_some_and(|room| room.referrals.iter().any(|known| known.id() == referral))
        };
        let Some(id) = self.calls.values().find(|call| asked(call)).map(|call| call.id) else { return };
        self.with(id, |call, core| call.referral_answered(core, now, (referral, key), answer));
    }

    fn fetched(
        &mut self,
        now: Instant,
        wall: SystemTime,
        call: CallId,
        id: FetchId,
        result: Result<Vec<u8>, FetchError>,
    ) {
        self.with(call, |call, core| match call.take() {
            State::Wanting(wanting) => match *wanting {
                Question::Out { fetch, pending, again } if fetch == id => {
                    let done = match &result {
                        Ok(octets) => call.ticket(core, now, wall, (pending, again), octets),
                        Err(error) => Err(error.refusal(FetchPurpose::Ticket).into()),
                    };
                    if let Err(refusal) = done {
                        call.over(core, Ending::Refused(refusal));
                    }
                }
                other => call.state = State::Wanting(Box::new(other)),
            },
            State::Resolving(resolving) if resolving.is(id) => match &result {
                Ok(octets) => call.resolved(core, now, wall, resolving, (id, octets)),
                Err(error) => {
                    call.unresolved(core, now, &resolving, error.refusal(FetchPurpose::Resolve).into());
                }
            },
            other => call.state = other,
        });
    }
}
