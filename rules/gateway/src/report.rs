//! What happens by itself: reports of the media engine and timers, as Notify commands.

use std::time::Instant;

use carnet_h248::{
    Command, ContextId, ObservedEvent, ObservedEvents, RequestId, TerminationId, TimeStamp, Value,
};

use crate::Event;
use crate::context::Termination;
use crate::core::{Core, Output};
use crate::events::{general_cause, latched, wanted, wants_type};
use crate::media;

impl Core {
    /// Something happened on a pinhole that nobody asked for just now.
    pub(crate) fn report(&mut self, now: Instant, event: media::Event) {
        let Some(&(context, number, stream)) = self.pinholes.get(&event.pinhole()) else { return };
        let Some(termination) = self.contexts.get(&context).and_then(|c| c.numbered(number)) else {
            return;
        };
        let at = self.timestamp(now);
        let id = termination.id.clone();
        let context = ContextId::Id(context);
        let observed = observe(termination, stream, &event);
        let told = match event {
            media::Event::Established { peer, .. } => {
                Some(Event::Connected { context, termination: id.clone(), peer })
            }
            media::Event::Closed { cause, .. } => {
                Some(Event::Disconnected { context, termination: id.clone(), cause })
            }
            media::Event::Blocked { source, .. } => {
                Some(Event::Blocked { context, termination: id.clone(), source })
            }
            _ => None,
        };
        self.events.extend(told);
        self.notify(context, id, at, observed);
    }

    /// The next heartbeat or sign of a silent controller that is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let heartbeat = self.heartbeats.first().map(|(at, _, _)| *at);
        [heartbeat, self.silent_at()].into_iter().flatten().min()
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        let at = self.timestamp(now);
        while let Some(&(due, context, number)) = self.heartbeats.first() {
            if due > now {
                break;
            }
            self.heartbeats.pop_first();
            let Some(held) = self.contexts.get_mut(&context) else { continue };
            let found = held.terminations.iter_mut().find(|t| t.number == number);
            let Some(termination) = found else { continue };
            if let Some(heartbeat) = &mut termination.heartbeat {
                heartbeat.next = now + heartbeat.every;
                self.heartbeats.insert((heartbeat.next, context, number));
            }
            let (request, id) = (termination.events.request_id, termination.id.clone());
            // The controller cannot know it before it has the reply.
            if self.is_in_the_making(context) {
                continue;
            }
            let beat = ObservedEvent::new("hangterm/thb");
            let observed = request.map(|request| (request, vec![beat]));
            self.notify(ContextId::Id(context), id, at, observed);
        }
        if self.silent_at().is_some_and(|due| due <= now) {
            self.root.heard = Some(now);
            let request = self.root.events.request_id;
            let observed = request.map(|request| (request, vec![ObservedEvent::new("it/ito")]));
            self.notify(ContextId::Null, TerminationId::ROOT, at, observed);
        }
    }

    fn silent_at(&self) -> Option<Instant> {
        Some(self.root.heard? + self.root.silence?)
    }

    fn notify(
        &mut self,
        context: ContextId,
        id: TerminationId,
        at: TimeStamp,
        observed: Option<(RequestId, Vec<ObservedEvent>)>,
    ) {
        let Some((request_id, events)) = observed.filter(|(_, events)| !events.is_empty()) else {
            return;
        };
        let events = events.into_iter().map(|event| event.at(at)).collect();
        let command = Command::notify(id, ObservedEvents { request_id, events });
        self.output.push_back(Output::Notify { context, command });
    }
}

/// The events that the controller asked to hear of.
fn observe(
    termination: &Termination,
    stream: u16,
    event: &media::Event,
) -> Option<(RequestId, Vec<ObservedEvent>)> {
    let request = termination.events.request_id?;
    let asked = |name: &str| wanted(&termination.events, name, stream);
    let mut observed = Vec::new();
    match event {
        media::Event::Established { peer, .. } => {
            if asked("tcpbcc/BNCChange").is_some_and(|request| wants_type(request, "EST")) {
                let change = ObservedEvent::new("tcpbcc/BNCChange");
                observed.push(change.parameter("Type", "EST"));
            }
            if termination.latch && asked("adr/rsac").is_some() {
                observed.push(latched(*peer));
            }
        }
        media::Event::Closed { cause, .. } => {
            let (general, words) = general_cause(*cause);
            let with_cause = |event: ObservedEvent| {
                let event = event.parameter("Generalcause", general);
                event.parameter("Failurecause", Value::Quoted(words.into()))
            };
            if asked("tcpbcc/BNCChange").is_some_and(|request| wants_type(request, "REL")) {
                let change = ObservedEvent::new("tcpbcc/BNCChange");
                observed.push(with_cause(change.parameter("Type", "REL")));
            }
            if asked("g/cause").is_some() {
                observed.push(with_cause(ObservedEvent::new("g/cause")));
            }
        }
        media::Event::Inactive { .. } if asked("adid/ipstop").is_some() => {
            observed.push(ObservedEvent::new("adid/ipstop"));
        }
        _ => {}
    }
    let observed = observed.into_iter().map(|event| event.stream(stream)).collect();
    Some((request, observed))
}
