//! Calls whose end nobody told: an offer that nobody answers, an answer after which nobody connects, and
//! connections on which nothing passes.
//!
//! The gateway tells when a connection comes and goes (`tcpbcc/BNCChange`), what becomes of TLS that ends
//! there (`tlsbsc/BNCChange`), and when nothing passed for long (`adid/ipstop`). A connection that breaks is
//! no end of the call: a re-INVITE may bring another, and an offer or an answer starts the clock anew. While
//! a call is on hold nobody needs to be connected; such a call lasts as long as a silent one. What a later offer
//! brought in that nobody answered is given back after the same time as a first offer.

use crate::Timers;
use crate::call::Call;
use crate::core::{Core, Op, Purpose};
use crate::dialog::{Dialog, DialogKey, Stream};
use crate::event::{Ended, Event};
use crate::machine::Steering;
use carnet_h248::{ContextId, ObservedEvent, ObservedEvents, TerminationId};
use carnet_plan::Side;
use std::time::{Duration, Instant};

impl Dialog {
    /// When it ends if nothing happens, and for what.
    pub(crate) fn idle(&self, timers: &Timers) -> Option<(Instant, Ended)> {
        let after = |from: Instant, time: Duration, why| {
            from.checked_add(time).filter(|_| !time.is_zero()).map(|at| (at, why))
        };
        if self.answered.is_none() {
            return after(self.signalled, timers.offer, Ended::Unanswered);
        }
        if !self.streams.iter().any(|stream| stream.is_open()) {
            return after(self.signalled, timers.silence, Ended::Silent);
        }
        let apart = self.apart?.max(self.signalled);
        after(apart, timers.no_connection, Ended::NoConnection)
    }

    /// When an offer is given up that came later and that nobody answered. A proxy cannot tell that a
    /// re-INVITE was refused: the dialog goes on as it was (RFC 3261 §14.1).
    pub(crate) fn gives_up(&self, timers: &Timers) -> Option<Instant> {
        self.answered?;
        self.exchange.as_ref().filter(|exchange| !exchange.answered)?;
        self.signalled.checked_add(timers.offer).filter(|_| !timers.offer.is_zero())
    }

    /// Whether a line has both its connections.
    fn is_joined(&self) -> bool {
        self.streams.iter().filter(|stream| stream.is_open()).any(Stream::is_joined)
    }

    /// Connections or lines came or went.
    pub(crate) fn look(&mut self, now: Instant) {
        self.apart = if self.is_joined() { None } else { self.apart.or(Some(now)) };
    }
}

/// The word that the gateway has for what went wrong.
fn cause(event: &ObservedEvent) -> String {
    event.value("Failurecause").map(|word| word.as_str().to_owned()).unwrap_or_default()
}

impl Steering {
    /// The gateway noticed something.
    pub(crate) fn noticed(&mut self, context: ContextId, termination: &TerminationId, seen: &ObservedEvents) {
        let Some(context) = context.id() else { return };
        let Some((place, Some(side))) = self.place(context, termination) else { return };
        self.with_call(&place.call, |call, core| {
            for event in &seen.events {
                call.noticed(core, (place.dialog, place.line, side), context, event);
            }
        });
    }
}

impl Call {
    fn noticed(
        &mut self,
        core: &mut Core,
        (key, line, side): (DialogKey, usize, Side),
        context: u32,
        event: &ObservedEvent,
    ) {
        let call_id = self.id.as_ref().to_owned();
        let Some(dialog) = self.dialog_mut(key) else { return };
        let tag = dialog.ends.of(side).tag.clone();
        let up = event.value("Type").is_some_and(|kind| kind.as_str().eq_ignore_ascii_case("EST"));
        if event.name == "adid/ipstop" {
            self.measure(core, key, Purpose::Silence(key, line));
            return;
        }
        let stream = dialog.stream_mut(line);
        let there: Vec<_> = stream.contexts().filter_map(carnet_plan::Context::id).collect();
        stream.links.retain(|id, _| there.contains(id));
        stream.silent = None;
        let link = stream.links.entry(context).or_default().of_mut(side);
        if event.name == "tcpbcc/BNCChange" {
            link.up = up;
            link.cause = (!up).then(|| cause(event));
            if !up {
                link.tls = None;
            }
            core.events.push_back(match up {
                true => Event::Connected { call_id, line, tag },
                false => Event::Disconnected { call_id, line, tag, cause: cause(event) },
            });
        } else if event.name == "tlsbsc/BNCChange" {
            link.tls = Some(up);
            // With NR it has merely ended with its connection.
            let fault = event.value("Generalcause").is_none_or(|general| general.as_str() != "NR");
            if !up && fault {
                core.events.push_back(Event::TlsFailed { call_id, line, tag, cause: cause(event) });
            }
        }
        dialog.look(core.now);
    }

    /// Asks for what the open lines of a dialog have counted, in one transaction.
    fn measure(&mut self, core: &mut Core, key: DialogKey, purpose: Purpose) {
        let Some(dialog) = self.dialog(key) else { return };
        let contexts = dialog.streams.iter().filter_map(|stream| stream.agreed.as_ref());
        let actions: Vec<_> = contexts.flat_map(|context| context.measure()).collect();
        if !actions.is_empty() {
            core.ask(actions, Op::Measure { call: self.id.clone(), purpose });
        }
    }

    /// Nothing passed on a line for long. If nothing has on the others either since that was said of them,
    /// it is the end.
    pub(crate) fn silent(&mut self, core: &mut Core, key: DialogKey, line: usize) {
        let Some(dialog) = self.dialog_mut(key) else { return };
        let measured = |stream: &Stream| Some(stream.measured.clone());
        if let Some(stream) = dialog.streams.get_mut(line) {
            stream.silent = measured(stream);
        }
        for stream in &mut dialog.streams {
            if stream.silent.is_some() && stream.silent != measured(stream) {
                stream.silent = None;
            }
        }
        let mut open = dialog.streams.iter().filter(|stream| stream.is_open()).peekable();
        if open.peek().is_some() && open.all(|stream| stream.silent.is_some()) {
            self.end(core, key, Ended::Silent);
        }
    }
}
