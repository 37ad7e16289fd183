//! The gateway's side (MG) of its control association: registering, being turned away, losing the
//! controller and coming back (RFC 3525 §9.2, §11), sans-IO.
//!
//! Wraps an [`Association`] with the current controller. Requests of the controller come out as
//! [`Event::Request`] once registered; before that they get error 505. Contexts are not its business:
//! they outlive a lost controller.
//!
//! Not here: what a request does (`rules/gateway`), audits, sockets.

use crate::association::{self, Association, Failure};
use crate::controller::same_peer;
use crate::model::{
    ActionReply, ActionRequest, Command, CommandReply, ContextId, ErrorDescriptor, MId, Message, Method,
    Profile, ReplyBody, ServiceChange, ServiceChangeAddress, TerminationId, TimeStamp, TransactionId, Verb,
};
use carnet_wire::{Random, SeededRandom};
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

/// How a gateway registers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Who we are.
    pub mid: MId,
    /// Controllers in order of preference. Not empty.
    pub controllers: Vec<MId>,
    /// The profile we offer.
    pub profile: Option<Profile>,
    /// The highest protocol version we offer, 1 to 3.
    pub version: u8,
    /// Where requests shall go, if not where our messages come from.
    pub address: Option<ServiceChangeAddress>,
    /// Longest random wait before a round of attempts (MWD), against avalanches.
    pub longest_wait: Duration,
    /// Least wait after a round in which no controller took us.
    pub retry: Duration,
    /// How long one controller is tried.
    pub attempt: Duration,
    /// A controller silent for so long is lost. None leaves it to unanswered requests; for
    /// controllers that send no heartbeat.
    pub silence: Option<Duration>,
    /// How the transaction layer behaves.
    pub association: association::Config,
}

impl Config {
    /// Defaults for a gateway of that name.
    pub fn new(mid: MId, controllers: Vec<MId>, association: association::Config) -> Self {
        Self {
            mid,
            controllers,
            profile: None,
            version: 3,
            address: None,
            longest_wait: Duration::from_secs(2),
            retry: Duration::from_secs(1),
            attempt: Duration::from_secs(5),
            silence: Some(Duration::from_secs(10)),
            association,
        }
    }
}

/// Names a request of a controller until it is answered. Numbers of two controllers may be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestKey {
    association: u64,
    /// The controller's number.
    pub id: TransactionId,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A controller took us.
    Registered {
        /// Which.
        controller: MId,
        /// The negotiated protocol version.
        version: u8,
        /// The controller keeps our contexts; else it knows of none.
        kept: bool,
    },
    /// A controller did not take us; the next one is tried.
    Refused {
        /// Which.
        controller: MId,
        /// Why, in its words.
        error: ErrorDescriptor,
    },
    /// A controller did not answer; the next one is tried.
    Unreachable {
        /// Which.
        controller: MId,
    },
    /// The controller is gone. Contexts stay; we look for one to take us.
    ControlLost {
        /// Which.
        controller: MId,
    },
    /// We have left as asked; nothing happens until [`Registration::start`].
    Left,
    /// The controller asks. Answer with [`Registration::reply`].
    Request {
        /// To answer to.
        key: RequestKey,
        /// What to do.
        actions: Vec<ActionRequest>,
    },
    /// The controller answered.
    Reply {
        /// Of our request.
        id: TransactionId,
        /// The answer.
        body: ReplyBody,
    },
    /// There will be no answer.
    Failed {
        /// Of our request.
        id: TransactionId,
        /// Why.
        reason: Failure,
    },
    /// The controller could not read a message of ours.
    MessageError {
        /// What it says.
        error: ErrorDescriptor,
    },
}

/// Why we register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// We start: nothing exists.
    Restart(u16),
    /// The controller of this number in our list, or one we were sent to, was lost.
    Lost,
    /// The controller sent us to another.
    HandOff,
}

#[derive(Debug)]
enum State {
    Idle,
    /// Waits before the next round.
    Waiting {
        until: Instant,
    },
    /// A controller was asked.
    Trying {
        request: TransactionId,
        method: Method,
        until: Instant,
    },
    Registered,
    /// We said that we go.
    Leaving {
        request: TransactionId,
    },
}

/// One controller we speak or spoke to.
struct Link {
    number: u64,
    controller: MId,
    association: Association,
}

/// The gateway's control association.
pub struct Registration {
    config: Config,
    rng: SeededRandom,
    start: (Instant, SystemTime),
    state: State,
    cause: Cause,
    /// The controller that was lost: it gets Disconnected where others get Failover.
    lost: Option<MId>,
    /// Controllers still to be tried in this round.
    candidates: VecDeque<MId>,
    /// Times we were sent on in this round.
    redirects: u32,
    current: Option<Link>,
    /// The controller that handed us off: repeats of what it asked are still answered.
    former: Option<Link>,
    next_number: u64,
    events: VecDeque<Event>,
}

/// How often in a row controllers may send us on.
const MOST_REDIRECTS: u32 = 8;

impl Registration {
    /// A gateway that is not started yet. `now` and `wall` are the same moment on the two clocks.
    pub fn new(config: Config, rng: &mut dyn Random, now: Instant, wall: SystemTime) -> Self {
        Self {
            config,
            rng: SeededRandom::new(rng.u64()),
            start: (now, wall),
            state: State::Idle,
            cause: Cause::Restart(901),
            lost: None,
            candidates: VecDeque::new(),
            redirects: 0,
            current: None,
            former: None,
            next_number: 1,
            events: VecDeque::new(),
        }
    }

    /// Starts to register after a random wait. `reason` is 901 (cold boot: nothing exists), 902 (warm
    /// boot) or 900 (back after [`Registration::leave`]).
    pub fn start(&mut self, now: Instant, reason: u16) {
        self.cause = Cause::Restart(reason);
        self.lost = None;
        self.wait(now, Duration::ZERO);
    }

    /// The controller that took us.
    pub fn controller(&self) -> Option<&MId> {
        match self.state {
            State::Registered | State::Leaving { .. } => self.current.as_ref().map(|l| &l.controller),
            _ => None,
        }
    }

    /// Whether a controller took us.
    pub fn is_registered(&self) -> bool {
        matches!(self.state, State::Registered)
    }

    /// Whether the controller has yet to hear that we leave.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// Asks the controller (Notify, ServiceChange of terminations). None when no controller has us.
    pub fn request(&mut self, now: Instant, actions: Vec<ActionRequest>) -> Option<TransactionId> {
        if !self.is_registered() {
            return None;
        }
        let link = self.current.as_mut()?;
        Some(link.association.request(now, actions))
    }

    /// Answers a request of a controller.
    pub fn reply(&mut self, now: Instant, key: RequestKey, body: ReplyBody) {
        let links = [&mut self.current, &mut self.former];
        if let Some(link) = links.into_iter().flatten().find(|l| l.number == key.association) {
            link.association.reply(now, key.id, body);
        }
    }

    /// Announces that service ends after `delay` (ServiceChange Graceful on ROOT, RFC 3525 §7.2.8): the
    /// controller adds nothing more, what there is goes on. [`leave`](Self::leave) ends it.
    pub fn retire(&mut self, now: Instant, reason: u16, delay: Duration) {
        if let Some(link) = self.current.as_mut().filter(|_| matches!(self.state, State::Registered)) {
            let delay = u32::try_from(delay.as_secs()).ok();
            let parameters = ServiceChange { delay, ..ServiceChange::new(Method::Graceful, reason) };
            // Its answer changes nothing: a controller that refuses goes on until the forced end.
            link.association.request(now, on_root(parameters));
        }
    }

    /// Goes out of service at once (ServiceChange Forced on ROOT, RFC 3525 §7.2.8).
    /// [`Event::Left`] follows when the controller has heard of it, or when it does not answer.
    pub fn leave(&mut self, now: Instant, reason: u16) {
        match &mut self.current {
            Some(link) if matches!(self.state, State::Registered) => {
                let actions = on_root(ServiceChange::new(Method::Forced, reason));
                self.state = State::Leaving { request: link.association.request(now, actions) };
            }
            _ => {
                self.state = State::Idle;
                self.events.push_back(Event::Left);
            }
        }
    }

    /// Takes a message of a controller. Others than the one we speak to, or spoke to before a hand-off,
    /// are refused: the returned message goes back to where theirs came from.
    pub fn handle_message(&mut self, now: Instant, message: Message) -> Option<Message> {
        let version = message.version;
        let sender = |link: &&mut Link| same_peer(&link.controller, &message.mid);
        let link = self.current.as_mut().filter(sender).or_else(|| self.former.as_mut().filter(sender));
        if let Some(link) = link {
            link.association.handle_message(now, message);
            self.drain(now);
            return None;
        }
        // A message error is never answered, lest two sides refuse each other for ever.
        matches!(message.body, crate::Body::Transactions(_)).then(|| {
            let error = ErrorDescriptor::new(504, format!("{} does not control this gateway", message.mid));
            Message::error(version, self.config.mid.clone(), error)
        })
    }

    /// Takes what the current controller sent and could not be decoded.
    pub fn handle_undecodable(&mut self, now: Instant, error: &crate::Error) {
        if let Some(link) = &mut self.current {
            link.association.handle_undecodable(now, error);
        }
    }

    /// The reliable transport to the controller was lost and is back.
    pub fn reconnected(&mut self) {
        if let Some(link) = &mut self.current {
            link.association.reconnected();
        }
    }

    /// The next message to send, and to which controller.
    pub fn poll_transmit(&mut self) -> Option<(MId, Message)> {
        let links = [&mut self.current, &mut self.former];
        links.into_iter().flatten().find_map(|l| Some((l.controller.clone(), l.association.poll_transmit()?)))
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Registration::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.state {
            State::Waiting { until } | State::Trying { until, .. } => Some(until),
            State::Registered => self.silent_at(),
            State::Idle | State::Leaving { .. } => None,
        };
        let links = [&self.current, &self.former].into_iter().flatten();
        links.filter_map(|l| l.association.poll_timeout()).chain(own).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for link in [&mut self.current, &mut self.former].into_iter().flatten() {
            link.association.handle_timeout(now);
        }
        self.drain(now);
        match self.state {
            State::Waiting { until } if until <= now => {
                self.candidates = self.round();
                self.redirects = 0;
                self.next_candidate(now);
            }
            State::Trying { until, .. } if until <= now => self.unreachable(now),
            State::Registered if self.silent_at().is_some_and(|at| at <= now) => self.lose(now),
            _ => {}
        }
        // Nobody repeats after LONG-TIMER, so the former controller is done with.
        if self.former.as_ref().is_some_and(|l| l.association.poll_timeout().is_none()) {
            self.former = None;
        }
    }

    /// When the controller has been silent for too long.
    fn silent_at(&self) -> Option<Instant> {
        Some(self.current.as_ref()?.association.last_heard()? + self.config.silence?)
    }

    /// Waits at random before a round of attempts (RFC 3525 §9.2).
    fn wait(&mut self, now: Instant, least: Duration) {
        let share = f64::from(self.rng.u32()) / f64::from(u32::MAX);
        self.state = State::Waiting { until: now + least + self.config.longest_wait.mul_f64(share) };
        self.current = None;
    }

    /// The order of a round (RFC 3525 §11.5): the list from its beginning, but a lost controller last.
    fn round(&self) -> VecDeque<MId> {
        let is_lost = |c: &MId| self.lost.as_ref().is_some_and(|l| same_peer(l, c));
        let mut round: VecDeque<MId> =
            self.config.controllers.iter().filter(|c| !is_lost(c)).cloned().collect();
        round.extend(self.lost.clone());
        round
    }

    fn next_candidate(&mut self, now: Instant) {
        match self.candidates.pop_front() {
            Some(controller) => self.try_controller(now, controller),
            None => self.wait(now, self.config.retry),
        }
    }

    fn try_controller(&mut self, now: Instant, controller: MId) {
        let back = self.lost.as_ref().is_some_and(|l| same_peer(l, &controller));
        let (method, reason) = match self.cause {
            Cause::Restart(reason) => (Method::Restart, reason),
            Cause::Lost if back => (Method::Disconnected, 900),
            Cause::Lost => (Method::Failover, 909),
            Cause::HandOff => (Method::HandOff, 903),
        };
        let (start, wall) = self.start;
        let parameters = ServiceChange {
            address: self.config.address.clone(),
            profile: self.config.profile.clone(),
            version: Some(self.config.version),
            timestamp: Some(TimeStamp::from_system_time(wall + now.saturating_duration_since(start))),
            ..ServiceChange::new(method.clone(), reason)
        };
        let mut association =
            Association::new(self.config.association.clone(), self.config.mid.clone(), &mut self.rng);
        association.set_version(self.config.version);
        let request = association.request(now, on_root(parameters));
        self.current = Some(Link { number: self.next_number, controller, association });
        self.next_number += 1;
        self.state = State::Trying { request, method, until: now + self.config.attempt };
    }

    fn unreachable(&mut self, now: Instant) {
        if let Some(link) = self.current.take() {
            self.events.push_back(Event::Unreachable { controller: link.controller });
        }
        self.next_candidate(now);
    }

    /// The controller is lost: look for another, or for itself.
    fn lose(&mut self, now: Instant) {
        let Some(mut link) = self.current.take() else { return };
        link.association.fail_requests();
        self.fail_rest(&mut link.association);
        self.lost = Some(link.controller.clone());
        self.cause = Cause::Lost;
        self.events.push_back(Event::ControlLost { controller: link.controller });
        self.candidates = self.round();
        self.redirects = 0;
        self.next_candidate(now);
    }

    /// Passes on the failures of a link that ends.
    fn fail_rest(&mut self, association: &mut Association) {
        while let Some(event) = association.poll_event() {
            if let association::Event::Failed { id, reason } = event {
                self.events.push_back(Event::Failed { id, reason });
            }
        }
    }

    fn drain(&mut self, now: Instant) {
        if let Some(former) = &mut self.former {
            while let Some(event) = former.association.poll_event() {
                // Repeats are answered without us; anything new comes from one who controls us no more.
                if let association::Event::Request { id, .. } = event {
                    let error = ErrorDescriptor::new(504, "this gateway was handed off");
                    former.association.reply(now, id, ReplyBody::Error(error));
                }
            }
        }
        while let Some(event) = self.current.as_mut().and_then(|l| l.association.poll_event()) {
            match event {
                association::Event::Request { id, actions } => self.asked(now, id, actions),
                association::Event::Reply { id, body } => self.answered(now, id, body),
                association::Event::Failed { id, reason } => self.failed(now, id, reason),
                association::Event::PeerLost if matches!(self.state, State::Registered) => self.lose(now),
                association::Event::PeerLost => {}
                association::Event::MessageError { error } => {
                    self.events.push_back(Event::MessageError { error });
                }
                // The user learns by having nobody to reply to: its reply is dropped.
                association::Event::Abandoned { .. } => {}
            }
        }
    }

    fn asked(&mut self, now: Instant, id: TransactionId, actions: Vec<ActionRequest>) {
        let Some(link) = &mut self.current else { return };
        if !matches!(self.state, State::Registered | State::Leaving { .. }) {
            // H.248.8: request received before the ServiceChange reply.
            let error =
                ErrorDescriptor::new(505, "Transaction Request Received before a ServiceChange Reply");
            link.association.reply(now, id, ReplyBody::Error(error));
            return;
        }
        if let Some(to) = hand_off(&actions) {
            let done = CommandReply::new(Verb::ServiceChange, TerminationId::ROOT);
            let reply = ActionReply::new(ContextId::Null, vec![done]);
            link.association.reply(now, id, ReplyBody::Actions(vec![reply]));
            // What was asked of the old controller stays with it; it may still answer.
            self.former = self.current.take();
            self.cause = Cause::HandOff;
            self.lost = None;
            self.candidates = std::iter::once(to).chain(self.round()).collect();
            self.redirects = 0;
            self.next_candidate(now);
            return;
        }
        let key = RequestKey { association: link.number, id };
        self.events.push_back(Event::Request { key, actions });
    }

    fn answered(&mut self, now: Instant, id: TransactionId, body: ReplyBody) {
        match &self.state {
            State::Trying { request, .. } if *request == id => self.registered(now, &body),
            State::Leaving { request } if *request == id => self.left(),
            _ => self.events.push_back(Event::Reply { id, body }),
        }
    }

    fn failed(&mut self, now: Instant, id: TransactionId, reason: Failure) {
        match &self.state {
            State::Trying { request, .. } if *request == id => self.unreachable(now),
            State::Leaving { request } if *request == id => self.left(),
            _ => self.events.push_back(Event::Failed { id, reason }),
        }
    }

    fn left(&mut self) {
        if let Some(mut link) = self.current.take() {
            link.association.fail_requests();
            self.fail_rest(&mut link.association);
            self.former = Some(link);
        }
        self.state = State::Idle;
        self.events.push_back(Event::Left);
    }

    /// The answer to our ServiceChange.
    fn registered(&mut self, now: Instant, body: &ReplyBody) {
        let State::Trying { method, .. } = &self.state else { return };
        let kept = *method != Method::Restart;
        let Some(link) = &mut self.current else { return };
        if let Some(error) = body.first_error() {
            self.events
                .push_back(Event::Refused { controller: link.controller.clone(), error: error.clone() });
            self.next_candidate(now);
            return;
        }
        let answer = match body {
            ReplyBody::Actions(actions) => {
                actions.iter().flat_map(|a| &a.commands).find_map(CommandReply::services)
            }
            ReplyBody::Error(_) => None,
        };
        // RFC 3525 §11.2: the controller may name another, which is tried before our list.
        if let Some(to) = answer.and_then(|a| a.mgc_id_to_try.clone()) {
            let error = ErrorDescriptor::new(500, format!("sent on to {to}"));
            self.events.push_back(Event::Refused { controller: link.controller.clone(), error });
            self.redirects += 1;
            if self.redirects <= MOST_REDIRECTS {
                self.candidates.push_front(to);
            }
            self.next_candidate(now);
            return;
        }
        let offered = self.config.version;
        let version = answer.and_then(|a| a.version).unwrap_or(offered);
        if version == 0 || version > offered {
            // RFC 3525 §11.3: the lower version is used; we cannot go up.
            let error = ErrorDescriptor::new(406, format!("version {version} is above what was offered"));
            self.events.push_back(Event::Refused { controller: link.controller.clone(), error });
            self.next_candidate(now);
            return;
        }
        link.association.set_version(version);
        let controller = link.controller.clone();
        self.state = State::Registered;
        self.lost = None;
        self.candidates.clear();
        self.events.push_back(Event::Registered { controller, version, kept });
    }
}

fn on_root(parameters: ServiceChange) -> Vec<ActionRequest> {
    let command = Command::service_change(TerminationId::ROOT, parameters);
    vec![ActionRequest::new(ContextId::Null, vec![command])]
}

/// Where a HandOff on ROOT sends us.
fn hand_off(actions: &[ActionRequest]) -> Option<MId> {
    let command = actions.first()?.commands.first()?;
    if command.verb != Verb::ServiceChange || !command.termination().is_root() {
        return None;
    }
    let parameters = command.services()?;
    parameters.mgc_id_to_try.clone().filter(|_| parameters.method == Some(Method::HandOff))
}
