//! The controller's side (MGC) of H.248 control associations: gateways register, are watched, are
//! asked, and report (RFC 3525 §7.2.7, §7.2.8, §9.2, §11), sans-IO.
//!
//! The controller answers what needs no decision of its user: registrations, heartbeats, Notify. A
//! Notify that a termination may hang (H.248.36) is answered from what was added and subtracted
//! through here; an unknown termination is refused and subtracted.
//!
//! What a gateway has and what is known of it here are brought together whenever either side may have
//! lost something (`resync`), and after a start with what an earlier life of the controller had (`adopt`).
//!
//! Not here: which gateway a call uses, what is in its contexts (`rules/border`), sockets.

mod adopt;
mod answer;
mod event;
mod gateway;
mod inventory;
mod resync;
mod status;
#[cfg(test)]
mod tests;
mod watch;

pub use event::{Event, LostReason, RequestError};
pub use status::{Condition, GatewayStatus, Refusal};

use crate::association::{self, Failure, Transport};
use crate::model::{
    ActionRequest, Command, ContextId, ErrorDescriptor, MId, Message, Method, PackageVersion, Profile,
    ReplyBody, ServiceChange, ServiceChangeAddress, TerminationId, TimeStamp, TransactionId,
};
use carnet_wire::Random;
use gateway::{Gateway, Purpose, State};
use resync::Arrival;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    /// A gateway that keeps media going while it is away (package `crnkeep`) is lost only after so long, if that is
    /// longer; from `lost_after` on it gets no new contexts.
    pub away: Duration,
    /// The contexts of a gateway on the network are audited so often; none leaves it to doubts.
    pub audit: Option<Duration>,
    /// Contexts that a gateway brings from another controller are left alone for so long; zero
    /// subtracts them at once.
    pub grace: Duration,
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
            away: Duration::from_secs(60),
            audit: Some(Duration::from_secs(300)),
            grace: Duration::from_secs(60),
            redirect: None,
        }
    }
}

/// One gateway that may register.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// What we call it.
    pub name: GatewayName,
    /// What it calls itself.
    pub mid: MId,
    /// How the transaction layer behaves.
    pub association: association::Config,
    /// Profiles it may name, if not those of all gateways; empty is any.
    pub profiles: Option<Vec<Profile>>,
    /// Packages it must have, in these versions or higher, besides what its profile asks for. One that
    /// does not tell its packages is believed to have them.
    pub needs: Vec<PackageVersion>,
}

impl GatewayConfig {
    /// A gateway over a transport, with default times and limits.
    pub fn new(name: impl Into<GatewayName>, mid: MId, transport: Transport) -> Self {
        Self {
            name: name.into(),
            mid,
            association: association::Config::new(transport),
            profiles: None,
            needs: Vec::new(),
        }
    }
}

/// Numbers a request across all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestNumber(pub u64);

/// The controller's side for any number of gateways.
pub struct Controller {
    config: Config,
    gateways: BTreeMap<GatewayName, Gateway>,
    events: VecDeque<Event>,
    refusals: VecDeque<(GatewayName, Message)>,
    next_request: u64,
    /// One that is not registered has sent what only registered ones may.
    stranger: bool,
    start: (Instant, SystemTime),
}

impl Controller {
    /// A controller to which nobody has registered yet. `now` and `wall` are the same moment on the
    /// two clocks.
    pub fn new(config: Config, rng: &mut dyn Random, now: Instant, wall: SystemTime) -> Self {
        let mut gateway = |g: &GatewayConfig| (g.name.clone(), Gateway::new(g, &config.mid, rng, now));
        let gateways: BTreeMap<_, _> = config.gateways.iter().map(&mut gateway).collect();
        Self {
            gateways,
            config,
            events: VecDeque::new(),
            refusals: VecDeque::new(),
            next_request: 1,
            stranger: false,
            start: (now, wall),
        }
    }

    /// Another gateway may register; or one that is known is asked for other profiles and packages when it registers
    /// the next time. Its association stays.
    pub fn set_gateway(&mut self, config: GatewayConfig, rng: &mut dyn Random, now: Instant) {
        match self.gateways.get_mut(&config.name) {
            Some(known) => {
                known.config.profiles = config.profiles;
                known.config.needs = config.needs;
            }
            None => {
                let gateway = Gateway::new(&config, &self.config.mid, rng, now);
                self.gateways.insert(config.name, gateway);
            }
        }
    }

    /// Our name for the gateway that calls itself so: for drivers that find the sender of a datagram
    /// by what it says.
    pub fn gateway_of(&self, mid: &MId) -> Option<&GatewayName> {
        self.gateways.values().find(|g| same_peer(&g.config.mid, mid)).map(|g| &g.name)
    }

    /// Gateways that take new contexts, in the order of their names.
    pub fn available(&self) -> impl Iterator<Item = &GatewayName> {
        self.gateways.values().filter(|g| g.takes_new()).map(|g| &g.name)
    }

    /// Whether the gateway can be asked about contexts that it has.
    pub fn is_registered(&self, gateway: &str) -> bool {
        self.gateways.get(gateway).is_some_and(Gateway::serves)
    }

    /// Whether the gateway has a package; one that did not tell is believed to have it.
    pub fn supports(&self, gateway: &str, package: &str) -> bool {
        let Some(g) = self.gateways.get(gateway) else { return false };
        g.packages.is_empty() || g.packages.iter().any(|p| p.name == package)
    }

    /// What the gateway has in use: contexts, requests without an answer, and the most contexts it can
    /// have, if it told.
    pub fn usage(&self, gateway: &str) -> Option<(usize, usize, Option<u64>)> {
        let g = self.gateways.get(gateway)?;
        Some((g.inventory.contexts(), g.requests.len(), g.most_contexts))
    }

    /// Registrations are turned away to another controller from now on, or not any more
    /// (RFC 3525 §11.2).
    pub fn set_redirect(&mut self, to: Option<MId>) {
        self.config.redirect = to;
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
        let creates = actions.iter().any(|a| a.context == ContextId::Choose);
        // A gateway that is being settled must not meet what is added meanwhile.
        let asks = |g: &&mut Gateway| match g.state {
            State::Registered | State::Draining => true,
            State::Settling | State::Unsuited => !creates,
            State::Away => false,
        };
        match self.gateways.get_mut(gateway).filter(asks) {
            Some(g) => {
                g.ask(now, Purpose::User(number), actions);
                self.drain(now, gateway);
            }
            None => self.events.push_back(Event::Reply {
                request: number,
                gateway: gateway.into(),
                sent: None,
                result: Err(RequestError::NotRegistered),
            }),
        }
        number
    }

    /// Moves a gateway to another controller (RFC 3525 §11.4). Its contexts live on there.
    pub fn hand_off(&mut self, now: Instant, gateway: &str, to: MId) {
        let Some(g) = self.gateways.get_mut(gateway).filter(|g| g.serves()) else { return };
        let parameters =
            ServiceChange { mgc_id_to_try: Some(to), ..ServiceChange::new(Method::HandOff, 903) };
        let command = Command::service_change(TerminationId::ROOT, parameters);
        g.ask(now, Purpose::Own, vec![ActionRequest::new(ContextId::Null, vec![command])]);
        g.enter(now, State::Away);
        g.heartbeat_at = None;
        g.forget();
        self.events.push_back(Event::Lost { gateway: g.name.clone(), reason: LostReason::HandedOff });
    }

    /// Takes a message of a gateway.
    pub fn handle_message(&mut self, now: Instant, gateway: &str, message: Message) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        if !same_peer(&g.config.mid, &message.mid) {
            // H.248.8: command received from an unauthorized entity.
            let error = ErrorDescriptor::new(504, format!("{} is not known here", message.mid));
            let refusal = Message::error(message.version, self.config.mid.clone(), error);
            if matches!(message.body, crate::Body::Transactions(_)) && self.refusals.len() < 64 {
                self.refusals.push_back((g.name.clone(), refusal));
            }
            return;
        }
        g.heard_before = g.association.last_heard();
        g.association.handle_message(now, message);
        if std::mem::take(&mut g.missing) {
            // What it has to say of its contexts may have been lost.
            g.doubt(now);
        }
        self.drain(now, gateway);
    }

    /// Takes what could not be decoded.
    pub fn handle_undecodable(&mut self, gateway: &str, error: &crate::Error) {
        if let Some(g) = self.gateways.get_mut(gateway) {
            g.association.handle_undecodable(error);
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
        let each = |g: &Gateway| [g.heartbeat_at, g.audit_at, g.association.poll_timeout()];
        self.gateways.values().flat_map(each).flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let names: Vec<_> = self.gateways.keys().cloned().collect();
        for name in names {
            if let Some(g) = self.gateways.get_mut(&name) {
                g.association.handle_timeout(now);
            }
            self.drain(now, &name);
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if self.gateways.get(&name).is_some_and(|g| due(g.heartbeat_at)) {
                self.beat(now, &name);
            }
            if self.gateways.get(&name).is_some_and(|g| due(g.audit_at)) {
                self.audit_due(now, &name);
            }
            self.drain(now, &name);
        }
    }

    /// Tells the user of requests that will have no answer.
    fn fail_requests(&mut self, gateway: &str) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        let mut ids: Vec<_> = g.requests.drain().collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        for (id, lost) in ids {
            if let Purpose::User(request) = lost.purpose {
                let (sent, result) = (Some((id, lost.sent)), Err(RequestError::Lost));
                self.events.push_back(Event::Reply { request, gateway: g.name.clone(), sent, result });
            }
        }
    }

    /// Takes the association's events.
    fn drain(&mut self, now: Instant, gateway: &str) {
        while let Some(event) = self.gateways.get_mut(gateway).and_then(|g| g.association.poll_event()) {
            match event {
                association::Event::Request { id, actions } => self.answer(now, gateway, id, &actions),
                association::Event::Reply { id, body } => self.replied(now, gateway, id, Ok(body)),
                association::Event::Failed { id, reason } => self.replied(now, gateway, id, Err(reason)),
                association::Event::PeerLost => {
                    let patience = self.patience(gateway);
                    // One that is awaited has its own time.
                    let stays =
                        |g: &&mut Gateway| g.awaited.is_some() || (g.silence(now) < patience && g.keeps());
                    match self.gateways.get_mut(gateway).filter(stays) {
                        Some(g) => g.missing = g.state != State::Away,
                        None => self.lose(now, gateway, LostReason::Silent),
                    }
                }
                association::Event::MessageError { error } => {
                    self.estranged(now, gateway, &error);
                    if let Some(g) = self.gateways.get(gateway) {
                        self.events.push_back(Event::MessageError { gateway: g.name.clone(), error });
                    }
                }
                // Our answers are immediate, so nothing is ever abandoned.
                association::Event::Abandoned { .. } => {}
            }
        }
    }

    fn replied(
        &mut self,
        now: Instant,
        gateway: &str,
        id: TransactionId,
        answer: Result<ReplyBody, Failure>,
    ) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        let Some(request) = g.answered(now, id) else { return };
        let mut lost = BTreeSet::new();
        let mut foreign = None;
        match &answer {
            Ok(body) => {
                lost = g.inventory.learn(body);
                if let Some(error) = body.first_error() {
                    // That there is nothing to sweep is what is hoped for.
                    if !(matches!(request.purpose, Purpose::Sweep(_)) && error.code == 431) {
                        g.refused(now, error);
                    }
                    // What was asked before it registered says nothing of now: a probe, that waited for the
                    // connection on which it came.
                    let before = request.settling != g.settlings;
                    foreign = estrangement(request.purpose, body).filter(|_| !before).cloned();
                }
            }
            // It was never sent.
            Err(Failure::TooMany) => {}
            // Whether it was done is not known.
            Err(_) => {
                if request.creates || request.purpose == Purpose::Stray {
                    g.doubt(now);
                }
            }
        }
        if !lost.is_empty() {
            g.doubt(now);
        }
        g.came_to_an_end(now, id);
        self.lost_contexts(gateway, lost);
        match foreign {
            Some(error) => {
                self.estranged(now, gateway, &error);
                self.put_off(now, gateway, request.purpose);
            }
            None => self.told(now, gateway, request.purpose, answer.as_ref()),
        }
        let sent = Some((id, request.sent));
        if let Purpose::User(request) = request.purpose {
            let result = match answer {
                Err(failure) => Err(RequestError::Failed(failure)),
                Ok(body) => match (body.first_error().cloned(), body) {
                    (None, ReplyBody::Actions(actions)) => Ok(actions),
                    (Some(error), ReplyBody::Actions(actions)) => {
                        Err(RequestError::Refused { error, actions })
                    }
                    (_, ReplyBody::Error(error)) => Err(RequestError::Refused { error, actions: Vec::new() }),
                },
            };
            self.events.push_back(Event::Reply { request, gateway: gateway.into(), sent, result });
        }
    }

    /// The answer to a request of our own.
    fn told(&mut self, now: Instant, gateway: &str, purpose: Purpose, answer: Result<&ReplyBody, &Failure>) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        let (settlings, body) = (g.settlings, answer.ok());
        match purpose {
            Purpose::Heartbeat if body.is_some() && g.estranged.take().is_some() => {
                self.settle_again(now, gateway);
            }
            // It takes us for its controller, and what it has is nobody's.
            Purpose::Probe if body.is_some() && g.state == State::Away => {
                self.settle(now, gateway, Arrival::Back, true);
            }
            Purpose::Properties(of) if of == settlings => self.properties_told(now, gateway, body),
            Purpose::Sweep(of) if of == settlings => match answer {
                Ok(body) => self.swept(now, gateway, body),
                // What it still has is not known, so it cannot be used.
                Err(_) => self.lose(now, gateway, LostReason::Silent),
            },
            Purpose::Sweep(_) => self.settled(now, gateway),
            Purpose::Page(of) if of == settlings => {
                self.page_told(now, gateway, answer.map_err(|failure| *failure));
            }
            Purpose::Stray => g.subtract_strays(now),
            // It was to go to another controller and would not.
            Purpose::Own if body.is_some_and(|b| b.first_error().is_some()) => self.spoke(now, gateway),
            _ => {}
        }
    }

    /// A request of our own was refused because the gateway is not ours: it comes again later.
    fn put_off(&mut self, now: Instant, gateway: &str, purpose: Purpose) {
        let Some(g) = self.gateways.get_mut(gateway) else { return };
        if matches!(purpose, Purpose::Page(_)) {
            g.resync = None;
            if g.settling.is_none() {
                g.doubt(now);
            }
        }
    }

    fn time_stamp(&self, now: Instant) -> TimeStamp {
        let (start, wall) = self.start;
        TimeStamp::from_system_time(wall + now.saturating_duration_since(start))
    }
}

/// The error by which a gateway says that it is not ours: before its own ServiceChange is answered
/// (505), or because another controls it (504, which also has other meanings inside a command).
fn estrangement(purpose: Purpose, body: &ReplyBody) -> Option<&ErrorDescriptor> {
    let error = body.first_error()?;
    let whole = matches!(body, ReplyBody::Error(_));
    let ours = whole || !matches!(purpose, Purpose::User(_));
    (error.code == 505 || (error.code == 504 && ours)).then_some(error)
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
