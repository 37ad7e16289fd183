//! The gateway as a whole: its control association around what it does.

use std::time::{Duration, Instant, SystemTime};

use carnet_h248::registration::{self, Registration};
use carnet_h248::{ActionRequest, MId, Message};
use carnet_wire::Random;

use crate::core::{Core, Output};
use crate::run::Origin;
use crate::{Event, Limits, media};

/// How a gateway behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Who we are, who controls us, and how we speak to them.
    pub registration: registration::Config,
    /// Sizes.
    pub limits: Limits,
    /// The control association cannot be read by others, so that keys may travel on it. Without
    /// it they are refused with error 504.
    pub protected: bool,
}

impl Config {
    /// Defaults for a registration.
    pub fn new(registration: registration::Config) -> Self {
        Self { registration, limits: Limits::default(), protected: false }
    }
}

/// An IMS-AGW or TrGW without sockets.
///
/// Feed it messages of controllers and events of a media engine; then drain
/// [`Gateway::poll_transmit`], [`Gateway::poll_command`] and [`Gateway::poll_event`], and call
/// [`Gateway::handle_timeout`] when [`Gateway::poll_timeout`] says so.
pub struct Gateway {
    registration: Registration,
    core: Core,
    protected: bool,
    events: std::collections::VecDeque<Event>,
}

impl Gateway {
    /// A gateway that has not registered yet. `now` and `wall` are the same moment on the two clocks.
    pub fn new(config: Config, rng: &mut dyn Random, now: Instant, wall: SystemTime) -> Self {
        Self {
            registration: Registration::new(config.registration, rng, now, wall),
            core: Core::new(config.limits, (now, wall), rng),
            protected: config.protected,
            events: std::collections::VecDeque::new(),
        }
    }

    /// Begins to register (RFC 3525 §11.2). `reason` is 901 (cold boot), 902 (warm boot) or 900
    /// (service restored).
    pub fn start(&mut self, now: Instant, reason: u16) {
        self.registration.start(now, reason);
        self.settle(now);
    }

    /// Announces that service ends after `delay`. Contexts that there are go on.
    pub fn retire(&mut self, now: Instant, reason: u16, delay: Duration) {
        self.registration.retire(now, reason, delay);
        self.settle(now);
    }

    /// Goes out of service at once; [`registration::Event::Left`] follows. Contexts stay until the
    /// program ends or the gateway is started again.
    pub fn leave(&mut self, now: Instant, reason: u16) {
        self.registration.leave(now, reason);
        self.settle(now);
    }

    /// The control association.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// How many contexts there are.
    pub fn contexts(&self) -> usize {
        self.core.contexts.len()
    }

    /// Whether nothing is held and nothing is going on: no context, no pinhole, no transaction.
    pub fn is_idle(&self) -> bool {
        self.core.is_empty()
    }

    /// Takes a message. What is returned goes back to where the message came from: the refusal of
    /// a sender who does not control us.
    pub fn handle_message(&mut self, now: Instant, message: Message) -> Option<Message> {
        self.core.heard(now);
        let refusal = self.registration.handle_message(now, message);
        self.settle(now);
        refusal
    }

    /// [`handle_message`](Self::handle_message) for one that came by a way that nobody else can read: keys
    /// are taken from it whatever [`Config::protected`] says.
    pub fn handle_protected(&mut self, now: Instant, message: Message) -> Option<Message> {
        let all = std::mem::replace(&mut self.protected, true);
        let refusal = self.handle_message(now, message);
        self.protected = all;
        refusal
    }

    /// Takes what the controller sent and could not be decoded.
    pub fn handle_undecodable(&mut self, now: Instant, error: &carnet_h248::Error) {
        self.registration.handle_undecodable(now, error);
        self.settle(now);
    }

    /// The reliable transport to the controller was lost and is back.
    pub fn reconnected(&mut self) {
        self.registration.reconnected();
    }

    /// Takes an event of the media engine.
    pub fn handle_media(&mut self, now: Instant, event: media::Event) {
        self.core.media(now, event);
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.registration.handle_timeout(now);
        self.core.timeout(now);
        self.settle(now);
    }

    /// When [`Gateway::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.registration.poll_timeout(), self.core.next_timeout()].into_iter().flatten().min()
    }

    /// The next message, and the controller it is for.
    pub fn poll_transmit(&mut self) -> Option<(MId, Message)> {
        self.registration.poll_transmit()
    }

    /// The next command for the media engine. Commands are in order.
    pub fn poll_command(&mut self) -> Option<media::Command> {
        self.core.commands.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| self.core.events.pop_front())
    }

    /// Carries requests to the core and its answers back, until both are quiet.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some(event) = self.registration.poll_event() {
                self.control(now, event);
            } else if let Some(output) = self.core.output.pop_front() {
                self.answer(now, output);
            } else {
                return;
            }
        }
    }

    fn control(&mut self, now: Instant, event: registration::Event) {
        match event {
            registration::Event::Request { key, actions } => {
                let origin = Origin { key, protected: self.protected };
                self.core.request(now, origin, actions);
            }
            // Only Notify is asked of a controller; its answer says nothing that we act on. A
            // controller that does not know a termination subtracts it by itself.
            registration::Event::Reply { .. } => {}
            event => {
                if let registration::Event::Registered { kept: false, .. } = event {
                    self.core.clear();
                }
                self.events.push_back(Event::Control(event));
            }
        }
    }

    fn answer(&mut self, now: Instant, output: Output) {
        match output {
            Output::Reply { origin, body } => self.registration.reply(now, origin.key, body),
            Output::Notify { context, command } => {
                let actions = vec![ActionRequest::new(context, vec![command])];
                // Without a controller there is nobody to tell; the next one audits.
                let _ = self.registration.request(now, actions);
            }
        }
    }
}
