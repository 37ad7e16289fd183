//! What happens by itself: reports of the media engine and timers, as Notify commands, and what an event
//! sets off (RFC 3525 §7.1.9, §7.2.7).

use std::time::Instant;

use carnet_h248::{
    Command, ContextId, Events, ObservedEvent, ObservedEvents, ParameterValue, RequestId, Signals,
    TerminationId, Value, Verb,
};

use crate::context::{Heartbeat, Termination};
use crate::core::{Core, Output};
use crate::events::{embedded, general_cause, heartbeat, latched, wanted};
use crate::media::{self, ConferenceEvent};
use crate::notices::Notice;
use crate::regulation::Told;
use crate::run::Run;
use crate::signals::signalled;
use crate::{Event, Function};

impl Core {
    /// Something happened on a pinhole that nobody asked for just now.
    pub(crate) fn report(&mut self, now: Instant, event: media::Event) {
        let event = match event {
            media::Event::Conference { group, event } => return self.report_conference(now, group, event),
            event => event,
        };
        let Some(pinhole) = event.pinhole() else { return };
        let Some(&(context, number, stream)) = self.pinholes.get(&pinhole) else { return };
        if !self.note_survival((context, number, stream), &event) {
            return;
        }
        let held = self.contexts.get_mut(&context).and_then(|context| context.numbered_mut(number));
        let Some(termination) = held else { return };
        let seen = observe(self.function, termination, stream, &event);
        termination.note_tls(stream, &event);
        let (termination, id) = (termination.id.clone(), ContextId::Id(context));
        self.events.extend(match event {
            media::Event::Established { peer, .. } => {
                Some(Event::Connected { context: id, termination, peer })
            }
            media::Event::Closed { cause, .. } => {
                Some(Event::Disconnected { context: id, termination, cause })
            }
            media::Event::Sealed { version, suite, .. } => {
                Some(Event::Sealed { context: id, termination, version, suite })
            }
            media::Event::Engine { engine, reason, .. } => {
                Some(Event::Engine { context: id, termination, engine, reason })
            }
            media::Event::Blocked { source, .. } => Some(Event::Blocked { context: id, termination, source }),
            _ => None,
        });
        self.recognize(now, (context, number), seen, true);
    }

    /// Something happened among the members of a conference. It is told on a termination of the member
    /// concerned, or on the first one, of those that are to tell it.
    fn report_conference(&mut self, now: Instant, id: u32, event: ConferenceEvent) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if let ConferenceEvent::Floor { floor, holders, queue, state } = &event
            && !context.attributes.keep_floor(*floor, (holders, queue), state)
        {
            return;
        }
        let (user, seen) = observe_conference(&event);
        let of_user = |termination: &Termination| {
            user.is_some() && termination.streams.iter().any(|stream| stream.user() == user)
        };
        let asks = |t: &&Termination| wanted(&t.events, &seen).is_some();
        let mut own = context.terminations.iter().filter(|t| of_user(t));
        let teller = own.find(asks).or_else(|| context.terminations.iter().find(asks)).map(|t| t.number);
        self.events.push_back(Event::Conference { context: ContextId::Id(id), event });
        if let Some(number) = teller {
            self.recognize(now, (id, number), vec![seen], true);
        }
    }

    /// Things that happened on a termination at once: those that the active Events descriptor names are
    /// recognized, told, and set off what is embedded in their request.
    pub(crate) fn recognize(
        &mut self,
        now: Instant,
        (context, number): (u32, u64),
        seen: Vec<ObservedEvent>,
        lasting: bool,
    ) {
        let regulation = self.root.regulation;
        let held = self.contexts.get_mut(&context);
        let found = held.and_then(|c| c.terminations.iter_mut().find(|t| t.number == number));
        let Some(termination) = found else { return };
        let Some(request_id) = termination.events.request_id else { return };
        let (mut told, mut effects, mut reset) = (Vec::new(), Vec::new(), false);
        for event in seen {
            let Some(request) = wanted(&termination.events, &event) else { continue };
            let tell = regulation.allows(&mut termination.told, request);
            effects.extend(embedded(request, tell).cloned());
            reset |= request.reset_events;
            told.extend(Some(event).filter(|_| tell));
        }
        let id = termination.id.clone();
        if !told.is_empty() {
            self.notify(now, ContextId::Id(context), id, request_id, told, lasting);
        }
        // RFC 3525 §7.1.9: they replace the descriptors that there are.
        if reset {
            self.set_events(now, (context, number), Events::default());
        }
        for effect in effects {
            if let Some(signals) = effect.signals {
                self.set_signals((context, number), signals);
            }
            if let Some(events) = effect.events {
                self.set_events(now, (context, number), events);
            }
        }
    }

    /// A new Events descriptor replaces the old one whole.
    pub(crate) fn set_events(&mut self, now: Instant, (context, number): (u32, u64), events: Events) {
        let Some(held) = self.contexts.get_mut(&context) else { return };
        let Some(termination) = held.numbered_mut(number) else { return };
        if let Some(old) = termination.heartbeat.take() {
            self.heartbeats.remove(&(old.next, context, number));
        }
        if let Some(every) = events.find("hangterm/thb").and_then(heartbeat) {
            let next = now + every;
            termination.heartbeat = Some(Heartbeat { every, next });
            self.heartbeats.insert((next, context, number));
        }
        termination.events = events;
        termination.told = Told::default();
        held.configure(number, &mut self.commands);
        self.changed(context);
    }

    /// A new Signals descriptor that came with an event; it was checked when it was set.
    fn set_signals(&mut self, (context, number): (u32, u64), signals: Signals) {
        let Some(held) = self.contexts.get_mut(&context) else { return };
        let Some(termination) = held.numbered_mut(number) else { return };
        let Ok(asked) = signalled(self.function, &signals, None) else { return };
        termination.latch = asked.latch.unwrap_or(termination.latch);
        termination.take_role(&asked.calls);
        termination.signals = signals;
        held.configure(number, &mut self.commands);
        self.changed(context);
        // That they are over is not told: it could set them off again.
        self.call((context, number), &asked.calls);
    }

    /// The next heartbeat, sign of a silent controller or delayed change of service that is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let heartbeat = self.heartbeats.first().map(|(at, _, _)| *at);
        [heartbeat, self.root_timeout(), self.expected_timeout()].into_iter().flatten().min()
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        while let Some(&(due, context, number)) = self.heartbeats.first() {
            if due > now {
                break;
            }
            self.heartbeats.pop_first();
            let Some(held) = self.contexts.get_mut(&context) else { continue };
            let found = held.terminations.iter_mut().find(|t| t.number == number);
            let Some(heartbeat) = found.and_then(|termination| termination.heartbeat.as_mut()) else {
                continue;
            };
            heartbeat.next = now + heartbeat.every;
            self.heartbeats.insert((heartbeat.next, context, number));
            // The controller cannot know it before it has the reply.
            if self.is_in_the_making(context) {
                continue;
            }
            // It comes again, so it does not wait for a controller.
            self.recognize(now, (context, number), vec![ObservedEvent::new("hangterm/thb")], false);
        }
        self.missed(now);
        self.root_due(now);
    }

    /// Tells what happened just now. `lasting`: also a controller that is there only later.
    pub(crate) fn notify(
        &mut self,
        now: Instant,
        context: ContextId,
        id: TerminationId,
        request_id: RequestId,
        events: Vec<ObservedEvent>,
        lasting: bool,
    ) {
        let at = self.timestamp(now);
        let events = events.into_iter().map(|event| event.at(at)).collect();
        let command = Command::notify(id, ObservedEvents { request_id, events });
        self.output.push_back(Output::Notify { context, command, lasting });
    }

    /// Takes a Notify or ServiceChange up to be told.
    pub(crate) fn take_notice(&mut self, context: ContextId, command: Command, lasting: bool) {
        let notice = Notice { context, command, lasting, disowned: false };
        self.root.notices.push(notice, self.limits.notices);
        self.tell_dropped();
    }

    /// The next notice to be sent. One of a context whose Add is not answered yet waits for the answer: the
    /// controller cannot know the context before.
    pub(crate) fn next_notice(&mut self) -> Option<(u64, Notice)> {
        let known = |notice: &Notice| notice.context.id().is_none_or(|id| !self.is_in_the_making(id));
        let number = self.root.notices.sendable().find(|(_, notice)| known(notice))?.0;
        self.root.notices.take(number)
    }

    pub(crate) fn tell_dropped(&mut self) {
        let dropped = self.root.notices.take_dropped();
        if dropped > 0 {
            self.events.push_back(Event::NoticesDropped { count: dropped });
        }
    }

    /// Whether what a notice is about is still there.
    pub(crate) fn holds(&self, context: ContextId, termination: &TerminationId) -> bool {
        match context.id() {
            None => true,
            Some(id) => {
                let held = self.contexts.get(&id);
                held.is_some_and(|c| c.terminations.iter().any(|t| termination.matches(&t.id)))
            }
        }
    }

    /// Whether it is held and stays: no transaction is about to subtract it.
    pub(crate) fn keeps(&self, context: ContextId, termination: &TerminationId) -> bool {
        let subtracts = |command: &Command| {
            let names = |named: &TerminationId| named.matches(termination) || termination.matches(named);
            command.verb == Verb::Subtract && command.terminations.iter().any(names)
        };
        let leaves = |run: &Run| {
            let coming = run.actions.iter().filter(|action| action.context == context);
            let now = run.action.iter().filter(|action| action.scope.home == context);
            let current = now.clone().filter_map(|action| action.current.as_ref()).map(|run| &run.command);
            let mut commands = coming.flat_map(|action| &action.commands).chain(current);
            commands.any(subtracts) || now.flat_map(|action| &action.commands).any(subtracts)
        };
        self.holds(context, termination) && !self.runs().any(leaves)
    }
}

/// Whom an event of a conference is about, and how it is told.
fn observe_conference(event: &ConferenceEvent) -> (Option<u16>, ObservedEvent) {
    match event {
        ConferenceEvent::Nickname { user, nick } => {
            let seen = ObservedEvent::new("crnroom/nickname").parameter("user", *user);
            let nick = Value::escaped(nick.as_deref().unwrap_or_default());
            (Some(*user), seen.parameter("nick", nick))
        }
        ConferenceEvent::Released { user, reason } => {
            let seen = ObservedEvent::new("crnroom/released").parameter("user", *user);
            (Some(*user), seen.parameter("reason", Value::escaped(reason)))
        }
        ConferenceEvent::Stalled { user, on } => {
            (Some(*user), ObservedEvent::new("crnroom/stalled").parameter("user", *user).parameter("on", *on))
        }
        ConferenceEvent::Floor { floor, holders, queue, state } => {
            let mut seen = ObservedEvent::new("fcp/floor").parameter("floor", *floor);
            for (name, users) in [("holders", holders), ("queue", queue)] {
                // The grammar has no empty list.
                if !users.is_empty() {
                    let users = users.iter().map(|user| Value::from(*user)).collect();
                    seen = seen.parameter(name, ParameterValue::AllOf(users));
                }
            }
            (None, seen.parameter("state", Value::Quoted(state.clone().into())))
        }
    }
}

/// What a report of the engine means in events of packages.
fn observe(
    function: Function,
    termination: &Termination,
    stream: u16,
    event: &media::Event,
) -> Vec<ObservedEvent> {
    let mut seen = Vec::new();
    // An MRFC takes the end of TLS for a failure.
    let stood =
        || function == Function::Relay && termination.stream(stream).is_some_and(|s| s.sealed.is_some());
    match event {
        media::Event::Established { peer, .. } => {
            seen.push(ObservedEvent::new("tcpbcc/BNCChange").parameter("Type", "EST"));
            if termination.latch {
                seen.push(latched(*peer));
            }
        }
        media::Event::Closed { cause, .. } => {
            let (general, words) = general_cause(*cause);
            let caused = |event: ObservedEvent, general: &'static str, words: &'static str| {
                let event = event.parameter("Generalcause", general);
                event.parameter("Failurecause", Value::Quoted(words.into()))
            };
            let with_cause = |event: ObservedEvent| caused(event, general, words);
            let change = || ObservedEvent::new("tlsbsc/BNCChange").parameter("Type", "REL");
            if matches!(cause, media::Cause::Tls(_)) {
                // The event says already that it is about TLS; the MRFP's words are older.
                let short = words.strip_prefix("tls_").filter(|_| function == Function::Relay);
                seen.push(caused(change(), general, short.unwrap_or(words)));
            } else if stood() {
                // It was no fault of TLS.
                let asked = *cause == media::Cause::Released;
                seen.push(caused(change(), "NR", if asked { words } else { "tcp_closed" }));
            }
            let change = ObservedEvent::new("tcpbcc/BNCChange").parameter("Type", "REL");
            seen.push(with_cause(change));
            seen.push(with_cause(ObservedEvent::new("g/cause")));
            // RFC 3525 §E.11.2: a failure, not an end in order.
            if general != "NR" {
                seen.push(ObservedEvent::new("nt/netfail").parameter("cs", Value::Quoted(words.into())));
            }
        }
        media::Event::Sealed { version, suite, .. } => {
            if function == Function::Conference {
                let quoted = |text: &String| Value::Quoted(text.clone().into());
                let sealed = ObservedEvent::new("crnroom/sealed").parameter("version", quoted(version));
                seen.push(sealed.parameter("suite", quoted(suite)));
            }
            seen.push(ObservedEvent::new("tlsbsc/BNCChange").parameter("Type", "EST"));
        }
        media::Event::Inactive { .. } => seen.push(ObservedEvent::new("adid/ipstop")),
        _ => {}
    }
    seen.into_iter().map(|event| event.stream(stream)).collect()
}
