//! The gateway's side (MG) of its control association: registering, being turned away, losing the
//! controller and coming back (RFC 3525 §9.2, §11), sans-IO.
//!
//! Wraps an [`Association`] with the current controller. Requests of the controller come out as
//! [`Event::Request`] once registered; before that they get error 505. A HandOff that is a transaction of
//! its own is carried out here. Contexts are not its business: they outlive a lost controller.
//!
//! Not here: what a request does (`rules/gateway`), audits, sockets, a second gateway that takes over
//! (reasons 919 and 920).

mod attempts;
#[cfg(test)]
mod tests;

use crate::association::{self, Association, Failure};
use crate::controller::same_peer;
use crate::model::{
    ActionRequest, ErrorDescriptor, MId, Message, Method, Profile, ReplyBody, ServiceChange,
    ServiceChangeAddress, TransactionId,
};
use attempts::on_root;
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
    /// Other profiles that we can keep to: tried in order with a controller that refuses ours with
    /// error 461, and accepted when a controller answers one of them (RFC 3525 §7.2.8).
    pub profiles: Vec<Profile>,
    /// The highest protocol version we offer, 1 to 3.
    pub version: u8,
    /// The lowest protocol version we go down to (RFC 3525 §11.3). A controller that answers a lower
    /// one is not used, and what it asks is refused with error 406.
    pub lowest_version: u8,
    /// Where requests shall go, if not where our messages come from.
    pub address: Option<ServiceChangeAddress>,
    /// Longest random wait before a round of attempts (MWD), against avalanches (RFC 3525 §9.2).
    pub longest_wait: Duration,
    /// Least wait after a round in which no controller took us.
    pub retry: Duration,
    /// How long one controller is tried.
    pub attempt: Duration,
    /// How long the controller whose connection broke, or that has started again, is tried before others are.
    pub again: Duration,
    /// A controller that sends heartbeats (empty audits of ROOT) and is silent for so long is lost.
    /// None leaves it to unanswered requests.
    pub silence: Option<Duration>,
    /// A controller that was never heard to send one may just have nothing to say: it is asked, by
    /// registering again (Disconnected), which is all that a gateway can ask; first after `silence`, then
    /// after twice that and so on, and at the latest after so long. None never asks.
    pub idle: Option<Duration>,
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
            profiles: Vec::new(),
            version: 3,
            lowest_version: 1,
            address: None,
            longest_wait: Duration::from_secs(2),
            retry: Duration::from_secs(1),
            attempt: Duration::from_secs(5),
            again: Duration::from_secs(5),
            silence: Some(Duration::from_secs(10)),
            idle: Some(Duration::from_secs(300)),
            association,
        }
    }
}

/// What a controller sets for our control association on ROOT (RFC 3525 §E.2, H.248.1 version 3 §E.14).
/// What it leaves out is as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demands {
    /// We announce an execution that takes longer (MGProvisionalResponseTimerValue).
    pub execution: Option<Duration>,
    /// What the controller may take to answer, without the network (normalMGCExecutionTime).
    pub answer: Option<Duration>,
    /// Pendings that we may send for one request (MGOriginatedPendingLimit).
    pub pendings: Option<u32>,
    /// Pendings that the controller may send for one request (MGCOriginatedPendingLimit).
    pub pendings_taken: Option<u32>,
    /// How long segments of its replies may be missing (MGCSegmentationTimerValue). A controller that sets
    /// it takes segments from us too.
    pub segments: Option<Duration>,
    /// Octets of a message that it takes over datagrams (MGCMaxPDUSize); below 500 is 500.
    pub datagram: Option<usize>,
}

/// Names a request of a controller until it is answered. Numbers of two controllers may be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestKey {
    association: u64,
    /// The controller's number.
    pub id: TransactionId,
}

/// Warm boot (H.248.8): contexts are still there.
const WARM_BOOT: u16 = 902;

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
    /// We start: nothing exists, but after a warm boot.
    Restart(u16),
    /// The controller was lost, or sent us away.
    Lost,
}

/// A controller to be tried.
#[derive(Debug, Clone)]
struct Candidate {
    controller: MId,
    /// The controller before it sent us there with a HandOff.
    handed_off: bool,
    /// How many of our profiles it has refused.
    refused_profiles: usize,
    /// It was the controller until now, and others are tried only if it does not come back.
    again: bool,
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
        candidate: Candidate,
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
    /// It has sent a heartbeat.
    beats: bool,
}

/// A controller that controls us no more. Repeats of what it asked are still answered, anything new is
/// refused.
struct Former {
    link: Link,
    refusal: ErrorDescriptor,
    /// It is remembered at least so long.
    until: Instant,
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
    candidates: VecDeque<Candidate>,
    /// Times we were sent on in this round.
    redirects: u32,
    current: Option<Link>,
    former: Vec<Former>,
    /// Controllers that were lost or did not take us. To them we are silent; what they asked is
    /// remembered.
    resting: Vec<Link>,
    /// What the controller that took us answered: the profile, and where it wants our requests.
    agreed: (Option<Profile>, Option<ServiceChangeAddress>),
    demands: Demands,
    /// The controller was told that service will end.
    retiring: bool,
    /// How often in a row a silent controller without heartbeats was asked.
    asked_again: u32,
    next_number: u64,
    events: VecDeque<Event>,
}

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
            former: Vec::new(),
            resting: Vec::new(),
            agreed: (None, None),
            demands: Demands::default(),
            retiring: false,
            asked_again: 0,
            next_number: 0,
            events: VecDeque::new(),
        }
    }

    /// Starts to register after a random wait. `reason` is 901 (cold boot: nothing exists), 902 (warm
    /// boot) or 900 (back after [`Registration::leave`]).
    pub fn start(&mut self, now: Instant, reason: u16) {
        self.cause = Cause::Restart(reason);
        self.lost = None;
        self.retiring = false;
        self.wait(now, Duration::ZERO);
    }

    /// Starts to register after a warm boot: our contexts are still there. `last` is the controller that they are
    /// of, if that is known: it is tried first (Restart 902), and another one inherits them (Failover 909).
    pub fn start_warm(&mut self, now: Instant, last: Option<MId>) {
        self.start(now, WARM_BOOT);
        self.lost = last;
    }

    /// Other controllers from now on, in order of preference. One that is not named any more is not tried any more; whether
    /// it is the one that has us, which it keeps until [`leave`](Self::leave). One that we were sent to was never named.
    pub fn set_controllers(&mut self, now: Instant, controllers: Vec<MId>) -> bool {
        let before = std::mem::replace(&mut self.config.controllers, controllers);
        let dropped = |mid: &MId| {
            let named = |list: &[MId]| list.iter().any(|listed| same_peer(listed, mid));
            named(&before) && !named(&self.config.controllers)
        };
        self.candidates.retain(|candidate| !dropped(&candidate.controller));
        if self.lost.as_ref().is_some_and(dropped) {
            self.lost = None;
        }
        match &self.state {
            State::Registered => self.current.as_ref().is_some_and(|link| dropped(&link.controller)),
            State::Trying { candidate, .. } if dropped(&candidate.controller) => {
                self.wait(now, Duration::ZERO);
                false
            }
            _ => false,
        }
    }

    /// Whether a controller is one of those named.
    pub fn names(&self, controller: &MId) -> bool {
        self.config.controllers.iter().any(|listed| same_peer(listed, controller))
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

    /// Whether the controller was told that service will end ([`retire`](Self::retire)).
    pub fn is_retiring(&self) -> bool {
        self.retiring
    }

    /// The profile in use: the one the controller answered, else the one we offered.
    pub fn profile(&self) -> Option<&Profile> {
        self.agreed.0.as_ref()
    }

    /// Where the controller wants our requests, if not where it answers from. Replies go to where the
    /// request came from all the same (RFC 3525 §7.2.8).
    pub fn service_change_address(&self) -> Option<&ServiceChangeAddress> {
        self.agreed.1.as_ref()
    }

    /// Keeps to what the controller demands, from here on and with a controller that takes over from it.
    pub fn set_demands(&mut self, demands: Demands) {
        self.demands = demands;
        self.meet_demands();
    }

    /// Asks the controller (Notify, ServiceChange of terminations). None when no controller has us.
    pub fn request(&mut self, now: Instant, actions: Vec<ActionRequest>) -> Option<TransactionId> {
        if !self.is_registered() {
            return None;
        }
        let link = self.current.as_mut()?;
        let id = link.association.request(now, actions);
        // What cannot be sent has failed by now; nothing else may come for a long time.
        self.drain(now);
        Some(id)
    }

    /// Answers a request of a controller.
    pub fn reply(&mut self, now: Instant, key: RequestKey, body: ReplyBody) {
        if let Some(link) = self.links().find(|l| l.number == key.association) {
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
            self.retiring = true;
        }
    }

    /// Takes back what [`retire`](Self::retire) announced (ServiceChange Restart with reason 918).
    pub fn resume(&mut self, now: Instant) {
        let link = self.current.as_mut().filter(|_| matches!(self.state, State::Registered));
        if let Some(link) = link.filter(|_| self.retiring) {
            link.association.request(now, on_root(ServiceChange::new(Method::Restart, 918)));
        }
        self.retiring = false;
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
        let known = self.links().find(sender).map(|link| link.number);
        let Some(number) = known else {
            // A message error is never answered, lest two sides refuse each other for ever.
            return matches!(message.body, crate::Body::Transactions(_)).then(|| {
                let text = format!("{} does not control this gateway", message.mid);
                Message::error(version, self.config.mid.clone(), ErrorDescriptor::new(504, text))
            });
        };
        if let Some(link) = self.links().find(|link| link.number == number) {
            link.association.handle_message(now, message);
        }
        self.drain(now);
        None
    }

    /// Takes what the current controller sent and could not be decoded.
    pub fn handle_undecodable(&mut self, error: &crate::Error) {
        if let Some(link) = &mut self.current {
            link.association.handle_undecodable(error);
        }
    }

    /// The reliable transport to the controller was lost and is back.
    pub fn reconnected(&mut self) {
        if let Some(link) = &mut self.current {
            link.association.reconnected();
        }
    }

    /// The same, and the controller may have started again: it does not know who connects before it hears of us. What
    /// we have asked says so; if that is nothing we register (Disconnected, RFC 3525 §11.5) and do not wait until its
    /// silence tells.
    pub fn connection_is_back(&mut self, now: Instant) {
        let idle = self.current.as_ref().is_some_and(|link| link.association.outstanding() == 0);
        if idle && matches!(self.state, State::Registered) {
            self.introduce(now);
        } else {
            self.reconnected();
        }
    }

    /// The next message to send, and to which controller.
    pub fn poll_transmit(&mut self) -> Option<(MId, Message)> {
        self.links().find_map(|l| Some((l.controller.clone(), l.association.poll_transmit()?)))
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
        let current = self.current.iter().filter_map(|l| l.association.poll_timeout());
        let former = self.former.iter().map(Former::wakes);
        current.chain(former).chain(own).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for link in self.links() {
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
            State::Registered if self.silent_at().is_some_and(|at| at <= now) => self.silent(now),
            _ => {}
        }
        // Nobody repeats after LONG-TIMER, so the former controller is done with.
        self.former.retain(|f| f.until > now || f.link.association.poll_timeout().is_some());
    }

    fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        self.current.iter_mut().chain(self.former.iter_mut().map(|f| &mut f.link))
    }
}
