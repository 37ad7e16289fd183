//! The controller's side (MGC) of H.248 control associations: gateways register, are watched, are
//! asked, and report (RFC 3525 §7.2.7, §7.2.8, §9.2, §11), sans-IO.
//!
//! The controller answers what needs no decision of its user: registrations, heartbeats, Notify. A
//! Notify that a termination may hang (H.248.36) is answered from what was added and subtracted
//! through here; an unknown termination is refused and subtracted.
//!
//! Not here: which gateway a call uses, what is in its contexts (`rules/border`), sockets.

mod answer;
mod inventory;
#[cfg(test)]
mod tests;

use crate::association::{self, Association, Failure, Transport};
use crate::model::{
    ActionReply, ActionRequest, Audit, Command, ContextId, ErrorDescriptor, MId, Message, Method,
    ObservedEvents, Profile, Reason, ReplyBody, ServiceChange, ServiceChangeAddress, TerminationId,
    TimeStamp, TransactionId,
};
use carnet_wire::Random;
use inventory::Inventory;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A gateway's name in our configuration.
pub type GatewayName = Arc<str>;

/// How the controller behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Who we are.
    pub mid: MId,
    /// The gateways that may register. A message of any other sender is refused (error 504).
    pub gateways: Vec<GatewayConfig>,
    /// Profiles accepted; empty accepts any. A gateway that names none is accepted.
    pub profiles: Vec<Profile>,
    /// Lowest protocol version accepted, 1 to 3; a gateway below is refused (error 406).
    pub lowest_version: u8,
    /// An empty audit of ROOT goes out when a gateway was silent for so long.
    pub heartbeat: Duration,
    /// A gateway silent for so long is lost.
    pub lost_after: Duration,
    /// If set, registrations are turned away to this controller.
    pub redirect: Option<MId>,
}

impl Config {
    /// Defaults for a controller of that name and these gateways.
    pub fn new(mid: MId, gateways: Vec<GatewayConfig>) -> Self {
        Self {
            mid,
            gateways,
            profiles: Vec::new(),
            lowest_version: 1,
            heartbeat: Duration::from_secs(2),
            lost_after: Duration::from_secs(6),
            redirect: None,
        }
    }
}

/// One gateway that may register.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// What we call it.
    pub name: GatewayName,
    /// What it calls itself.
    pub mid: MId,
    /// How the transaction layer behaves.
    pub association: association::Config,
}

impl GatewayConfig {
    /// A gateway over a transport, with default times and limits.
    pub fn new(name: impl Into<GatewayName>, mid: MId, transport: Transport) -> Self {
        Self { name: name.into(), mid, association: association::Config::new(transport) }
    }
}

/// Numbers a request across all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestNumber(pub u64);

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The gateway said no, to all of it or to a part.
    #[error("the gateway refused: {error}")]
    Refused {
        /// The first error in the reply.
        error: ErrorDescriptor,
        /// What was answered, action by action; what succeeded before the error stands.
        actions: Vec<ActionReply>,
    },
    /// No answer; it may or may not have been done.
    #[error("{0}")]
    Failed(Failure),
    /// The gateway was lost meanwhile, and with it the context.
    #[error("the gateway was lost")]
    Lost,
    /// No gateway of that name is registered; nothing was sent.
    #[error("the gateway is not registered")]
    NotRegistered,
}

impl RequestError {
    /// Whether another gateway, or this one later, may well succeed: it is full, busy or away.
    pub fn is_capacity(&self) -> bool {
        match self {
            // H.248.8: no more contexts, terminations, resources, bandwidth; busy; not ready.
            Self::Refused { error, .. } => {
                matches!(error.code, 412 | 432 | 434 | 502 | 503 | 510 | 511 | 526 | 529 | 530)
            }
            Self::Failed(_) | Self::Lost | Self::NotRegistered => true,
        }
    }
}

/// Why a gateway is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// It answered nothing.
    Silent,
    /// It registered anew; what it had is gone.
    Restarted,
    /// It took itself out of service.
    Forced,
    /// It was handed to another controller.
    HandedOff,
    /// It says that we do not control it (message error 504): it has started again, or it took us for
    /// lost, and another controller has it.
    Elsewhere,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A gateway is at our service.
    Registered {
        /// Which.
        gateway: GatewayName,
        /// The profile it speaks.
        profile: Option<Profile>,
        /// The negotiated protocol version.
        version: u8,
        /// Its contexts are still there: it had only lost touch or changed controllers. A gateway that
        /// was given up as lost is cleared before this event, so then they are not.
        kept: bool,
    },
    /// A gateway was turned away; it got the same words.
    Refused {
        /// Which.
        gateway: GatewayName,
        /// Why.
        error: ErrorDescriptor,
    },
    /// A gateway and its contexts are gone. Requests without an answer fail.
    Lost {
        /// Which.
        gateway: GatewayName,
        /// Why.
        reason: LostReason,
    },
    /// A gateway takes no new contexts and ends when it is empty or the time is over.
    Draining {
        /// Which.
        gateway: GatewayName,
        /// Until when; none means until it is empty.
        delay: Option<Duration>,
    },
    /// The answer to a request.
    Reply {
        /// As returned by [`Controller::request`].
        request: RequestNumber,
        /// Who was asked.
        gateway: GatewayName,
        /// The answer.
        result: Result<Vec<ActionReply>, RequestError>,
    },
    /// Events happened on a termination; already answered.
    Notify {
        /// Where.
        gateway: GatewayName,
        /// In which context.
        context: ContextId,
        /// On which termination.
        termination: TerminationId,
        /// What.
        observed: ObservedEvents,
    },
    /// Terminations change service; already answered.
    ServiceChanged {
        /// Where.
        gateway: GatewayName,
        /// In which context.
        context: ContextId,
        /// Which, perhaps with wildcards.
        termination: TerminationId,
        /// How.
        method: Method,
        /// Why.
        reason: Option<Reason>,
    },
    /// A gateway could not read a message of ours.
    MessageError {
        /// Which.
        gateway: GatewayName,
        /// What it says.
        error: ErrorDescriptor,
    },
}

/// What one of our requests is for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    User(RequestNumber),
    Heartbeat,
    /// Subtracts what a returning gateway still has of before.
    Clearing,
    /// Our own cleaning up or hand-off: the answer matters to nobody.
    Own,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Away,
    /// Registered, but what it still has of before is not subtracted yet.
    Clearing,
    Registered,
    Draining,
}

impl State {
    /// Whether our user may ask it.
    fn serves(self) -> bool {
        matches!(self, Self::Registered | Self::Draining)
    }
}

struct Gateway {
    name: GatewayName,
    mid: MId,
    association: Association,
    state: State,
    profile: Option<Profile>,
    address: Option<ServiceChangeAddress>,
    purposes: HashMap<TransactionId, Purpose>,
    heartbeat_at: Option<Instant>,
    heartbeat_out: bool,
    inventory: Inventory,
    /// It was lost while it may have had contexts: when it comes back with them they are cleared.
    stale: bool,
}

/// The controller's side for any number of gateways.
pub struct Controller {
    config: Config,
    gateways: BTreeMap<GatewayName, Gateway>,
    events: VecDeque<Event>,
    refusals: VecDeque<(GatewayName, Message)>,
    next_request: u64,
    start: (Instant, SystemTime),
}

impl Controller {
    /// A controller to which nobody has registered yet. `now` and `wall` are the same moment on the
    /// two clocks.
    pub fn new(config: Config, rng: &mut dyn Random, now: Instant, wall: SystemTime) -> Self {
        let gateways = config.gateways.iter().map(|g| {
            let gateway = Gateway {
                name: g.name.clone(),
                mid: g.mid.clone(),
                association: Association::new(g.association.clone(), config.mid.clone(), rng),
                state: State::Away,
                profile: None,
                address: None,
                purposes: HashMap::new(),
                heartbeat_at: None,
                heartbeat_out: false,
                inventory: Inventory::default(),
                stale: false,
            };
            (g.name.clone(), gateway)
        });
        Self {
            gateways: gateways.collect(),
            config,
            events: VecDeque::new(),
            refusals: VecDeque::new(),
            next_request: 1,
            start: (now, wall),
        }
    }

    /// Our name for the gateway that calls itself so: for drivers that find the sender of a datagram
    /// by what it says.
    pub fn gateway_of(&self, mid: &MId) -> Option<&GatewayName> {
        self.gateways.values().find(|g| same_peer(&g.mid, mid)).map(|g| &g.name)
    }

    /// Gateways that take new contexts, in the order of their names.
    pub fn available(&self) -> impl Iterator<Item = &GatewayName> {
        self.gateways.values().filter(|g| g.state == State::Registered).map(|g| &g.name)
    }

    /// Whether the gateway can be asked.
    pub fn is_registered(&self, gateway: &str) -> bool {
        self.gateways.get(gateway).is_some_and(|g| g.state.serves())
    }

    /// Where the gateway wants requests sent, if not where its messages come from
    /// (RFC 3525 §7.2.8). Replies go to where the request came from all the same.
    pub fn service_change_address(&self, gateway: &str) -> Option<&ServiceChangeAddress> {
        self.gateways.get(gateway)?.address.as_ref()
    }

    /// Contexts that were made through here and not subtracted, by gateway.
    pub fn contexts(&self, gateway: &str) -> usize {
        self.gateways.get(gateway).map_or(0, |g| g.inventory.contexts())
    }

    /// Asks a gateway. The answer is an [`Event::Reply`] with the returned number.
    pub fn request(&mut self, now: Instant, gateway: &str, actions: Vec<ActionRequest>) -> RequestNumber {
        let number = RequestNumber(self.next_request);
        self.next_request += 1;
        match self.gateways.get_mut(gateway).filter(|g| g.state.serves()) {
            Some(g) => {
                let id = g.association.request(now, actions);
                g.purposes.insert(id, Purpose::User(number));
                self.drain(now, gateway);
            }
            None => self.events.push_back(Event::Reply {
                request: number,
                gateway: gateway.into(),
                result: Err(RequestError::NotRegistered),
            }),
        }
        number
    }

    /// Moves a gateway to another controller (RFC 3525 §11.4). Its contexts live on there.
    pub fn hand_off(&mut self, now: Instant, gateway: &str, to: MId) {
        let Some(g) = self.gateways.get_mut(gateway).filter(|g| g.state != State::Away) else { return };
        let parameters =
            ServiceChange { mgc_id_to_try: Some(to), ..ServiceChange::new(Method::HandOff, 903) };
        let command = Command::service_change(TerminationId::ROOT, parameters);
        let id = g.association.request(now, vec![ActionRequest::new(ContextId::Null, vec![command])]);
        g.purposes.insert(id, Purpose::Own);
        g.state = State::Away;
        g.heartbeat_at = None;
        g.inventory = Inventory::default();
        self.events.push_back(Event::Lost { gateway: g.name.clone(), reason: LostReason::HandedOff });
    }

    /// Takes a message of a gateway.
    pub fn handle_message(&mut self, now: Instant, gateway: &str, message: Message) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        if !same_peer(&g.mid, &message.mid) {
            // H.248.8: command received from an unauthorized entity.
            let error = ErrorDescriptor::new(504, format!("{} is not known here", message.mid));
            let refusal = Message::error(message.version, self.config.mid.clone(), error);
            if matches!(message.body, crate::Body::Transactions(_)) && self.refusals.len() < 64 {
                self.refusals.push_back((g.name.clone(), refusal));
            }
            return;
        }
        g.association.handle_message(now, message);
        self.drain(now, gateway);
    }

    /// Takes what could not be decoded.
    pub fn handle_undecodable(&mut self, now: Instant, gateway: &str, error: &crate::Error) {
        if let Some(g) = self.gateways.get_mut(gateway) {
            g.association.handle_undecodable(now, error);
        }
    }

    /// The reliable transport to a gateway was lost and is back.
    pub fn reconnected(&mut self, gateway: &str) {
        if let Some(g) = self.gateways.get_mut(gateway) {
            g.association.reconnected();
        }
    }

    /// The next message to send, and to which gateway.
    pub fn poll_transmit(&mut self) -> Option<(GatewayName, Message)> {
        self.refusals.pop_front().or_else(|| {
            self.gateways.values_mut().find_map(|g| {
                let message = g.association.poll_transmit()?;
                Some((g.name.clone(), message))
            })
        })
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Controller::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.gateways.values().flat_map(|g| [g.heartbeat_at, g.association.poll_timeout()]).flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let names: Vec<_> = self.gateways.keys().cloned().collect();
        for name in names {
            if let Some(g) = self.gateways.get_mut(&name) {
                g.association.handle_timeout(now);
                if g.heartbeat_at.is_some_and(|at| at <= now) {
                    self.beat(now, &name);
                }
            }
            self.drain(now, &name);
        }
    }

    /// Sends a heartbeat if the gateway was silent, gives it up if it was silent for too long.
    fn beat(&mut self, now: Instant, gateway: &str) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        let silent = g.association.last_heard().map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        // A gateway in this process that says nothing is slow: its end would be told.
        let can_be_lost = g.association.transport() != association::Transport::Channel;
        if can_be_lost && silent >= self.config.lost_after {
            self.lose(gateway, LostReason::Silent);
            return;
        }
        let mut next = self.config.heartbeat.saturating_sub(silent);
        if next.is_zero() {
            next = match self.config.lost_after.saturating_sub(silent) {
                Duration::ZERO => self.config.heartbeat,
                left => self.config.heartbeat.min(left),
            };
            if !g.heartbeat_out {
                g.heartbeat_out = true;
                let audit = Command::audit_value(TerminationId::ROOT, Audit::default());
                let id = g.association.request(now, vec![ActionRequest::new(ContextId::Null, vec![audit])]);
                g.purposes.insert(id, Purpose::Heartbeat);
            }
        }
        g.heartbeat_at = Some(now + next);
    }

    fn lose(&mut self, gateway: &str, reason: LostReason) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        if g.state == State::Away {
            return;
        }
        g.state = State::Away;
        g.heartbeat_at = None;
        g.heartbeat_out = false;
        g.stale = matches!(reason, LostReason::Silent | LostReason::Elsewhere);
        g.inventory = Inventory::default();
        // What the gateway asked must still be answered, so the association itself stays.
        g.association.fail_requests();
        self.events.push_back(Event::Lost { gateway: g.name.clone(), reason });
        let mut ids: Vec<_> = g.purposes.drain().collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        for (_, purpose) in ids {
            if let Purpose::User(request) = purpose {
                let result = Err(RequestError::Lost);
                self.events.push_back(Event::Reply { request, gateway: g.name.clone(), result });
            }
        }
    }

    /// Takes the association's events.
    fn drain(&mut self, now: Instant, gateway: &str) {
        while let Some(event) = self.gateways.get_mut(gateway).and_then(|g| g.association.poll_event()) {
            match event {
                association::Event::Request { id, actions } => self.answer(now, gateway, id, &actions),
                association::Event::Reply { id, body } => self.replied(gateway, id, Ok(body)),
                association::Event::Failed { id, reason } => self.replied(gateway, id, Err(reason)),
                association::Event::PeerLost => self.lose(gateway, LostReason::Silent),
                association::Event::MessageError { error } => {
                    if let Some(g) = self.gateways.get(gateway) {
                        let elsewhere = error.code == 504 && g.state != State::Away;
                        self.events.push_back(Event::MessageError { gateway: g.name.clone(), error });
                        if elsewhere {
                            self.lose(gateway, LostReason::Elsewhere);
                        }
                    }
                }
                // Our answers are immediate, so nothing is ever abandoned.
                association::Event::Abandoned { .. } => {}
            }
        }
    }

    fn replied(&mut self, gateway: &str, id: TransactionId, answer: Result<ReplyBody, Failure>) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        let Some(purpose) = g.purposes.remove(&id) else { return };
        if let Ok(body) = &answer {
            g.inventory.learn(body);
        }
        match purpose {
            Purpose::Heartbeat => g.heartbeat_out = false,
            Purpose::Own => {}
            // Also when it failed: there may be nothing to subtract, and a silent gateway is lost anyway.
            Purpose::Clearing if g.state == State::Clearing => {
                g.state = State::Registered;
                g.inventory = Inventory::default();
                self.events.push_back(Event::Registered {
                    gateway: g.name.clone(),
                    profile: g.profile.clone(),
                    version: g.association.version(),
                    kept: false,
                });
            }
            Purpose::Clearing => {}
            Purpose::User(request) => {
                let result = match answer {
                    Err(failure) => Err(RequestError::Failed(failure)),
                    Ok(body) => match (body.first_error().cloned(), body) {
                        (None, ReplyBody::Actions(actions)) => Ok(actions),
                        (Some(error), ReplyBody::Actions(actions)) => {
                            Err(RequestError::Refused { error, actions })
                        }
                        (_, ReplyBody::Error(error)) => {
                            Err(RequestError::Refused { error, actions: Vec::new() })
                        }
                    },
                };
                self.events.push_back(Event::Reply { request, gateway: g.name.clone(), result });
            }
        }
    }

    fn time_stamp(&self, now: Instant) -> TimeStamp {
        let (start, wall) = self.start;
        TimeStamp::from_system_time(wall + now.saturating_duration_since(start))
    }
}

/// The same sender: a port left out says nothing.
pub(crate) fn same_peer(a: &MId, b: &MId) -> bool {
    match (a, b) {
        (MId::Domain { name: x, port: p }, MId::Domain { name: y, port: q }) => {
            x == y && (p == q || p.is_none() || q.is_none())
        }
        (MId::Address { ip: x, port: p }, MId::Address { ip: y, port: q }) => {
            x == y && (p == q || p.is_none() || q.is_none())
        }
        _ => a == b,
    }
}
