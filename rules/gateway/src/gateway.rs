//! The gateway as a whole: its control association around what it does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use carnet_h248::registration::{self, Registration};
use carnet_h248::{ActionRequest, MId, Message, TerminationId, Verb};
use carnet_wire::Random;

use crate::core::{Core, Output};
use crate::notices::Outcome;
use crate::record::Unreadable;
use crate::run::{Asker, Origin};
use crate::survival::Numbers;
use crate::{Event, Function, Limits, Load, media};

/// Service restored.
const RESTORED: u16 = 900;
/// Taken out of service.
const OUT_OF_SERVICE: u16 = 905;

/// How a gateway behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What it is for.
    pub function: Function,
    /// Who we are, who controls us, and how we speak to them.
    pub registration: registration::Config,
    /// Sizes.
    pub limits: Limits,
    /// The control association cannot be read by others, so that keys may travel on it. Without
    /// it they are refused with error 504.
    pub protected: bool,
    /// The IP realms there are, the default one first: for [`Gateway::interface_down`] and `ipra`. Where
    /// a controller leaves the interface in a termination's name open, it is the place of the realm in
    /// this list, from 1 (TS 23.334 §5.1, Interface ID). Realms that are not listed get the next numbers
    /// as they are first used.
    pub realms: Vec<String>,
    /// Contexts that the kernel carries outlive the process: they are told by [`Gateway::poll_changed`], to be
    /// written down.
    pub survives: bool,
}

impl Config {
    /// Defaults for a registration.
    pub fn new(registration: registration::Config) -> Self {
        Self {
            function: Function::Relay,
            registration,
            limits: Limits::default(),
            protected: false,
            realms: Vec::new(),
            survives: false,
        }
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
    /// Registers when the contexts of the process before are there: the controller that it had.
    starting: Option<Option<MId>>,
    /// The controller that has us is one that shall not: it is left when nothing is held any more.
    moving: bool,
    events: std::collections::VecDeque<Event>,
}

impl Gateway {
    /// A gateway that has not registered yet. `now` and `wall` are the same moment on the two clocks.
    pub fn new(config: Config, rng: &mut dyn Random, now: Instant, wall: SystemTime) -> Self {
        let mut core = Core::new(config.function, config.limits, (now, wall), rng);
        core.set_interfaces(config.realms.clone());
        core.survival.on = config.survives;
        core.root.realms = config.realms.into_iter().map(|realm| (realm, true)).collect();
        Self {
            registration: Registration::new(config.registration, rng, now, wall),
            core,
            protected: config.protected,
            starting: None,
            moving: false,
            events: std::collections::VecDeque::new(),
        }
    }

    /// Begins to register (RFC 3525 §11.2). `reason` is 901 (cold boot), 902 (warm boot) or 900
    /// (service restored).
    pub fn start(&mut self, now: Instant, reason: u16) {
        self.registration.start(now, reason);
        self.settle(now);
    }

    /// The same after a warm boot (902), when all contexts that were [restored](Self::restore) are there or
    /// are known not to be. `last`: who controlled the process before; it is tried first, and another one is
    /// told that it inherits them (Failover, 909).
    pub fn start_again(&mut self, now: Instant, last: Option<MId>) {
        self.starting = Some(last);
        self.settle(now);
    }

    /// Takes a context up that [`poll_changed`](Self::poll_changed) told to the process before. Whether its
    /// addresses can be had again shows later: [`Event::Resumed`] or [`Event::NotResumed`].
    ///
    /// # Errors
    /// What is wrong with the text; nothing has changed then.
    pub fn restore(&mut self, now: Instant, text: &str) -> Result<u32, Unreadable> {
        let restored = self.core.restore(now, text);
        self.settle(now);
        restored
    }

    /// A context that is to be written down, or is not to be kept any more (`None`). Empty without
    /// [`Config::survives`].
    pub fn poll_changed(&mut self, now: Instant) -> Option<(u32, Option<String>)> {
        self.core.poll_changed(now)
    }

    /// Whether every context would survive the process, and nothing is going on.
    pub fn is_survivable(&self) -> bool {
        self.core.load().transactions == 0 && self.core.contexts.keys().all(|id| self.core.survives(*id))
    }

    /// Lets go of every context, as of one whose controller knows it no more.
    pub fn let_go(&mut self, now: Instant) {
        self.core.clear();
        self.settle(now);
    }

    /// How far contexts and terminations are numbered.
    pub fn numbers(&self) -> Numbers {
        self.core.numbers()
    }

    /// Numbers from there on, so that no name of the process before is used for something else. Before the first
    /// context is made.
    pub fn number_from(&mut self, numbers: Numbers) {
        self.core.number_from(numbers);
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

    /// Takes back what [`Gateway::retire`] announced (reason 918).
    pub fn resume(&mut self, now: Instant) {
        self.registration.resume(now);
        self.settle(now);
    }

    /// An IP realm cannot be used any more, as when its address is gone from the host. Its terminations go
    /// out of service and the controller hears of it (ServiceChange Forced, RFC 3525 §7.2.8; `ipra`).
    /// `reason` is 904 (malfunction), 905 (taken out) or 906 (lower layer lost). A realm that
    /// [`Config::realms`] does not have is ignored.
    pub fn interface_down(&mut self, now: Instant, realm: &str, reason: u16) {
        self.core.set_realm(now, realm, false, reason);
        self.settle(now);
    }

    /// An IP realm can be used again (ServiceChange Restart with reason 900).
    pub fn interface_up(&mut self, now: Instant, realm: &str) {
        self.core.set_realm(now, realm, true, 900);
        self.settle(now);
    }

    /// Other IP realms from now on, as of [`Config::realms`]. Terminations in one that is gone stay until they are
    /// subtracted; the controller is told to add none there (ServiceChange Graceful with reason 905), and when such a realm
    /// comes back, that it may (Restart 900).
    pub fn set_realms(&mut self, now: Instant, realms: &[String]) {
        self.core.set_realms(now, realms);
        self.settle(now);
    }

    /// Other controllers from now on, in order of preference. One that has us keeps us while it is among them, wherever it
    /// stands. If it is not, it keeps what it has and is told that nothing more may come (Graceful 905): when all is
    /// subtracted the gateway leaves it and registers at the next. Whether it is about to.
    pub fn set_controllers(&mut self, now: Instant, controllers: Vec<MId>) -> bool {
        let dropped = self.registration.set_controllers(now, controllers);
        let named = self.registration.controller().is_some_and(|mid| self.registration.names(mid));
        self.moving = match (dropped || self.moving && !named, self.moving) {
            (true, false) => {
                self.registration.retire(now, OUT_OF_SERVICE, Duration::MAX);
                true
            }
            (false, true) => {
                // It has us again, or did before it was told to let us go.
                self.registration.resume(now);
                false
            }
            (moves, _) => moves,
        };
        self.settle(now);
        self.moving
    }

    /// Everything in a context was lost (ServiceChange Forced). `reason` is 915 (state loss) or 910
    /// (media capability failure). The context stays until the controller subtracts what is in it.
    pub fn context_failed(&mut self, now: Instant, context: u32, reason: u16) {
        self.core.context_failed(context, reason);
        self.settle(now);
    }

    /// Contexts at once from now on. Those that there are stay; a controller hears of it when the gateway registers.
    pub fn set_most_contexts(&mut self, most: usize) {
        self.core.limits.contexts = most;
    }

    /// How loaded the gateway is by what it cannot see itself (processor, queues of the engine), in percent
    /// of what there is; above 100 work piles up. To be called now and then. What is scarcest counts, of
    /// this and of [`Gateway::load`]: from 90 on the controller hears of it, if it asked to, until the load is below 75.
    pub fn set_load(&mut self, now: Instant, percent: u32) {
        self.core.set_load(now, percent);
        self.settle(now);
    }

    /// The control association.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Looks at what is held, in the words of a controller: only audits are carried out. The answer is
    /// an [`Event::Audited`] with the same number; a controller hears nothing of it.
    ///
    /// # Errors
    /// The verb that is no audit.
    pub fn audit(&mut self, now: Instant, number: u64, actions: Vec<ActionRequest>) -> Result<(), Verb> {
        let mut verbs = actions.iter().flat_map(|action| &action.commands).map(|command| command.verb);
        if let Some(verb) = verbs.find(|verb| !matches!(verb, Verb::AuditValue | Verb::AuditCapability)) {
            return Err(verb);
        }
        let origin = Origin { asker: Asker::Administrator(number), protected: false };
        self.core.request(now, origin, actions);
        self.settle(now);
        Ok(())
    }

    /// The numbers of the contexts from `from` on, in order.
    pub fn context_ids(&self, from: u32) -> impl Iterator<Item = u32> {
        self.core.contexts.range(from..).map(|(id, _)| *id)
    }

    /// How many contexts there are.
    pub fn contexts(&self) -> usize {
        self.core.contexts.len()
    }

    /// What moves the octets of a stream, and why. `None`: there is no such stream, or it is not yet known.
    pub fn engine(
        &self,
        context: u32,
        termination: &TerminationId,
        stream: u16,
    ) -> Option<(media::Engine, media::Reason)> {
        let terminations = &self.core.contexts.get(&context)?.terminations;
        terminations.iter().find(|held| held.id == *termination)?.stream(stream)?.engine
    }

    /// How many streams each engine has, by the reason for which it has them. The two ends of a stream in a context are
    /// one; those of which it is not yet known are left out.
    pub fn engines(&self) -> BTreeMap<(media::Engine, media::Reason), usize> {
        let mut counts = BTreeMap::new();
        for context in self.core.contexts.values() {
            let streams = context.terminations.iter().flat_map(|held| &held.streams);
            let known: BTreeMap<u16, _> = streams.filter_map(|s| Some((s.id, s.engine?))).collect();
            known.into_values().for_each(|engine| *counts.entry(engine).or_default() += 1);
        }
        counts
    }

    /// How much is going on.
    pub fn load(&self) -> Load {
        self.core.load()
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
        self.registration.handle_undecodable(error);
        self.settle(now);
    }

    /// The reliable transport to the controller was lost and is back.
    pub fn reconnected(&mut self) {
        self.registration.reconnected();
    }

    /// The same after the connection had broken: the controller may have started again, and is told who we are.
    pub fn connection_is_back(&mut self, now: Instant) {
        self.registration.connection_is_back(now);
        self.settle(now);
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
        if self.starting.is_some()
            && !self.core.is_restoring()
            && let Some(last) = self.starting.take()
        {
            self.registration.start_warm(now, last);
        }
        loop {
            if let Some(demands) = self.core.root.demands() {
                self.registration.set_demands(demands);
            }
            if let Some(event) = self.registration.poll_event() {
                self.control(now, event);
            } else if let Some(output) = self.core.output.pop_front() {
                self.answer(now, output);
                self.core.measure_load(now);
            } else if self.tell(now) {
                continue;
            } else if self.moving && self.core.is_empty() && self.registration.is_registered() {
                self.registration.leave(now, OUT_OF_SERVICE);
            } else {
                return;
            }
        }
    }

    /// Sends the next thing that waits to be told; whether there was one.
    fn tell(&mut self, now: Instant) -> bool {
        if !self.registration.is_registered() {
            self.core.root.notices.keep_lasting();
            return false;
        }
        let Some((number, notice)) = self.core.next_notice() else { return false };
        let command = notice.command.clone();
        if !self.core.holds(notice.context, command.termination()) {
            return true;
        }
        let actions = vec![ActionRequest::new(notice.context, vec![command])];
        match self.registration.request(now, actions) {
            Some(id) => self.core.root.notices.sent(id, number, notice),
            None => self.core.root.notices.back(number, notice, self.core.limits.notices),
        }
        true
    }

    fn control(&mut self, now: Instant, event: registration::Event) {
        match event {
            registration::Event::Request { key, actions } => {
                let origin = Origin { asker: Asker::Controller(key), protected: self.protected };
                self.core.meet_overload(now, &actions);
                self.core.request(now, origin, actions);
            }
            registration::Event::Reply { id, body } => {
                // A controller that does not know a termination subtracts it by itself. One that has just asked for
                // that is right not to know it: the two have crossed, as they do at the end of most calls.
                if let Outcome::Refused(context, termination, error) =
                    self.core.root.notices.answered(id, &body, self.core.limits.notices)
                    && self.core.keeps(context, &termination)
                {
                    self.events.push_back(Event::NoticeRefused { context, termination, error });
                }
            }
            registration::Event::Failed { id, reason } => {
                self.core.root.notices.failed(id, reason, self.core.limits.notices);
                self.core.tell_dropped();
            }
            registration::Event::Registered { controller, version, kept } => {
                if !kept {
                    self.core.clear();
                }
                self.core.version = Some(version);
                // The one that was to be left is not there any more.
                self.moving &= !self.registration.names(&controller);
                self.events.push_back(Event::Registered { controller, version, kept });
            }
            registration::Event::Refused { controller, error } => {
                self.events.push_back(Event::Refused { controller, error });
            }
            registration::Event::Unreachable { controller } => {
                self.events.push_back(Event::Unreachable { controller });
            }
            registration::Event::ControlLost { controller } => {
                self.events.push_back(Event::ControlLost { controller });
            }
            registration::Event::Left => {
                self.events.push_back(Event::Unregistered);
                if std::mem::take(&mut self.moving) {
                    self.registration.start(now, RESTORED);
                }
            }
            registration::Event::MessageError { error } => {
                self.events.push_back(Event::MessageError { error });
            }
            _ => {}
        }
    }

    fn answer(&mut self, now: Instant, output: Output) {
        match output {
            Output::Reply { origin, body } => match origin.asker {
                Asker::Controller(key) => self.registration.reply(now, key, body),
                Asker::Administrator(number) => self.events.push_back(Event::Audited { number, body }),
            },
            Output::Notify { context, command, lasting } => self.core.take_notice(context, command, lasting),
            Output::Announce { context, command } => self.core.take_notice(context, command, true),
        }
    }
}
