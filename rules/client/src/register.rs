//! The registration: made, refreshed, taken back.
//!
//! RFC 3261 §10.2, RFC 3327 (Path is announced), RFC 3608 (Service-Route is kept and used). One
//! contact, one registrar; a failure is tried again with growing pauses, except when the password
//! is wrong. The connection of the registration is the way back to a client behind a border: when it
//! ends, the registration is made again (after RFC 5626 §4.5, without its several flows); so it is when
//! the [way](crate::flow) that is no connection is lost.

use std::time::{Duration, Instant};

use std::net::SocketAddr;

use carnet_sip::stun::TransactionId;
use carnet_sip::{ClientKey, Hop, Message, Method, Silence, Uri, registration};

use crate::core::{Core, Ids, Owner, set};
use crate::event::Event;
use crate::flow::{Flow, Lost};
use crate::refusal::Refusal;

/// How often a challenge or a wish for another lifetime is followed in a row.
const ATTEMPTS: u8 = 3;
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// A registration that stood so long was sound.
const SOUND: Duration = Duration::from_secs(60);
/// Longest wait a registrar can impose, seconds.
const LONGEST_WAIT: u64 = 3600;
/// TS 24.229 §5.1.1.4: long registrations are refreshed this long before they end.
const AHEAD: Duration = Duration::from_secs(600);

pub(crate) struct Registration {
    ids: Ids,
    expires: Duration,
    state: State,
    pause: Duration,
    /// When the registrar took it, until it is found to be lost.
    since: Option<Instant>,
    /// The way by which it was taken.
    flow: Option<Flow>,
}

enum State {
    Idle,
    Asking { key: ClientKey, request: Message, attempts: u8 },
    Done { refresh: Instant },
    Failed { again: Instant },
    Ending { key: ClientKey, request: Message, attempts: u8 },
}

impl Registration {
    pub(crate) fn new(core: &mut Core) -> Self {
        Self {
            // RFC 3261 §10.2: one Call-ID for all registrations of a client.
            ids: Ids { call_id: core.token(16), tag: core.token(8), cseq: 0 },
            expires: core.config.expires,
            state: State::Idle,
            pause: PAUSE.0,
            since: None,
            flow: None,
        }
    }

    pub(crate) fn begin(&mut self, core: &mut Core, now: Instant) {
        if matches!(self.state, State::Asking { .. }) {
            return;
        }
        self.forgive(now);
        match self.request(core, self.expires).and_then(|request| self.send(core, now, request)) {
            Ok((key, request)) => self.state = State::Asking { key, request, attempts: 0 },
            Err(refusal) => self.failed(core, now, refusal),
        }
    }

    pub(crate) fn end(&mut self, core: &mut Core, now: Instant) {
        self.flow = None;
        let was_known = matches!(self.state, State::Done { .. } | State::Asking { .. });
        self.state = State::Idle;
        if was_known
            && let Ok((key, request)) =
                self.request(core, Duration::ZERO).and_then(|request| self.send(core, now, request))
        {
            self.state = State::Ending { key, request, attempts: 0 };
            return;
        }
        core.events.push_back(Event::Unregistered);
    }

    fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Done { refresh } => Some(*refresh),
            State::Failed { again } => Some(*again),
            _ => None,
        }
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        let keep = self.flow.as_ref().and_then(Flow::timeout);
        [self.due(), keep].into_iter().flatten().min()
    }

    pub(crate) fn tick(&mut self, core: &mut Core, now: Instant) {
        if self.due().is_some_and(|at| now >= at) {
            self.begin(core, now);
        }
        if let Some(Err(Lost)) = self.flow.as_mut().map(|flow| flow.tick(core, now)) {
            self.lost(core, now);
        }
    }

    /// An answer by STUN has come: from where the network sees us.
    pub(crate) fn seen(
        &mut self,
        core: &mut Core,
        now: Instant,
        hop: &Hop,
        answer: (TransactionId, SocketAddr),
    ) {
        if let Some(Err(Lost)) = self.flow.as_mut().map(|flow| flow.answered(core, now, hop, answer)) {
            self.lost(core, now);
        }
    }

    pub(crate) fn answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        answered: ClientKey,
        response: &Message,
        hop: &Hop,
    ) {
        let status = response.status().unwrap_or(500);
        // An answer to a request that another has replaced is no matter.
        let current =
            matches!(&self.state, State::Asking { key, .. } | State::Ending { key, .. } if *key == answered);
        if status < 200 || !current {
            return;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Asking { mut request, attempts, .. } => {
                let again = attempts < ATTEMPTS
                    && match status {
                        401 | 407 => core.challenged(response),
                        // RFC 3261 §10.2.8
                        423 => response
                            .header("Min-Expires")
                            .and_then(|least| least.trim().parse::<u32>().ok())
                            .is_some_and(|least| {
                                self.expires = Duration::from_secs(least.into());
                                set(&mut request, "Expires", &least.to_string(), false).is_ok()
                            }),
                        _ => false,
                    };
                if again && let Ok((key, request)) = self.send(core, now, request) {
                    self.state = State::Asking { key, request, attempts: attempts + 1 };
                    return;
                }
                match status {
                    200..=299 => {
                        let seen_at = core.endpoint.translated();
                        core.is_translated = seen_at.is_some();
                        let flow = Flow::new(core, now, hop, seen_at).like(self.flow.as_ref());
                        self.flow = Some(flow);
                        self.succeeded(core, now, response, seen_at);
                    }
                    401 | 403 | 407 => {
                        // The same password again would lock the account.
                        core.events.push_back(Event::RegistrationFailed { reason: Refusal::Unauthorised });
                    }
                    _ => {
                        let text = response.reason().into_owned();
                        // RFC 3261 §20.33: not before the time that was named.
                        let named = response.retry_after().map_or(0, u64::from).min(LONGEST_WAIT);
                        self.failed(core, now, Refusal::Rejected { status, text });
                        if let State::Failed { again } = &mut self.state {
                            *again = (*again).max(now + Duration::from_secs(named));
                        }
                    }
                }
            }
            State::Ending { request, attempts, .. } => {
                if matches!(status, 401 | 407)
                    && attempts < ATTEMPTS
                    && core.challenged(response)
                    && let Ok((key, request)) = self.send(core, now, request)
                {
                    self.state = State::Ending { key, request, attempts: attempts + 1 };
                    return;
                }
                core.events.push_back(Event::Unregistered);
            }
            other => self.state = other,
        }
    }

    pub(crate) fn unanswered(&mut self, core: &mut Core, now: Instant, reason: Silence) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Asking { .. } => self.failed(core, now, reason.into()),
            State::Ending { .. } => core.events.push_back(Event::Unregistered),
            other => self.state = other,
        }
    }

    fn succeeded(&mut self, core: &mut Core, now: Instant, response: &Message, seen_at: Option<SocketAddr>) {
        // RFC 3608 §5: the routes of the latest registration hold, also if there are none.
        core.routes = match registration::service_route(response) {
            Ok(routes) if !routes.is_empty() => routes,
            _ => core.config.routes.clone(),
        };
        let granted = registration::granted(response, &core.config.contact).ok().flatten();
        let expires = granted.map_or(self.expires, |seconds| Duration::from_secs(seconds.into()));
        self.since = Some(now);
        let wait = if expires > AHEAD * 2 { expires - AHEAD } else { expires / 2 };
        self.state = State::Done { refresh: now + wait.max(Duration::from_secs(1)) };
        core.events.push_back(Event::Registered { expires, seen_at });
    }

    /// A connection is gone. If it is ours, so may be what the network knows of us.
    pub(crate) fn flow_failed(&mut self, core: &mut Core, now: Instant, hop: &Hop) {
        let ours = self.flow.as_ref().and_then(|flow| flow.hop.flow);
        if hop.flow.is_some() && ours == hop.flow && matches!(self.state, State::Done { .. }) {
            self.lost(core, now);
        }
    }

    /// The way by which calls reach us is gone.
    fn lost(&mut self, core: &mut Core, now: Instant) {
        self.flow = None;
        // A registration that is under way makes another in any case.
        if matches!(self.state, State::Done { .. }) {
            self.forgive(now);
            self.wait(core, now);
            core.events.push_back(Event::FlowLost);
        }
    }

    fn failed(&mut self, core: &mut Core, now: Instant, reason: Refusal) {
        self.wait(core, now);
        core.events.push_back(Event::RegistrationFailed { reason });
    }

    /// After RFC 5626 §4.5: a time that doubles with each failure in a row, and at random up to half of
    /// it more, so that the clients of a border that returns do not all come at once.
    fn wait(&mut self, core: &mut Core, now: Instant) {
        let share = f64::from(core.rng.u32()) / f64::from(u32::MAX);
        self.state = State::Failed { again: now + self.pause + (self.pause / 2).mul_f64(share) };
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    /// What fails from now on is no repetition of what failed before the registration stood.
    fn forgive(&mut self, now: Instant) {
        if self.since.take().is_some_and(|since| now.duration_since(since) >= SOUND) {
            self.pause = PAUSE.0;
        }
    }

    fn request(&self, core: &Core, expires: Duration) -> Result<Message, Refusal> {
        let domain = Uri::sip(None, core.config.identity.host(), core.config.identity.port())?;
        let identity = core.config.identity.clone();
        let mut request = core.request(Method::Register, domain, &identity, &self.ids)?;
        // A registration goes where we were told, not where the last one led us.
        request.remove_all("Route");
        for route in &core.config.routes {
            set(&mut request, "Route", &route.to_string(), true)?;
        }
        core.introduce(&mut request)?;
        set(&mut request, "Expires", &expires.as_secs().to_string(), false)?;
        Ok(request)
    }

    fn send(
        &mut self,
        core: &mut Core,
        now: Instant,
        mut request: Message,
    ) -> Result<(ClientKey, Message), Refusal> {
        self.ids.cseq += 1;
        set(&mut request, "CSeq", &format!("{} REGISTER", self.ids.cseq), false)?;
        let key = core.send(now, request.clone(), Owner::Registration)?;
        Ok((key, request))
    }
}
