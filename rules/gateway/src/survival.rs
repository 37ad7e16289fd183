//! Contexts that outlive the process: those whose octets the kernel carries alone. Each is written down when it
//! changes (`record`), and another process takes it up again, before it registers as after a warm boot
//! (RFC 3525 §7.2.8, reason 902; §11.5).
//!
//! What is taken up has its name, its terminations with their names and addresses, everything that the controller
//! said, and what was counted of streams that are gone. A context whose address cannot be had again is not there any
//! more; the audit of the controller shows it that. One whose connection is found to have broken with the process
//! is told to be lost (reason 915), and a connection that ended meanwhile is told to have ended.
//!
//! Leaves out: relayed contexts, which end with the process; signals that were going on, none of which an end of the
//! process outlasts; notifications that waited for a controller.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

use carnet_h248::ContextId;

use crate::context::{Context, Place, Stream, Target, Termination};
use crate::core::Core;
use crate::engine::{Engine, Reason};
use crate::media::{self, Pinhole, Statistics};
use crate::plan::{Here, Plan};
use crate::record::{self, Kept, Record, Unreadable};
use crate::topology::Triples;
use crate::{Event, Function};

/// How long a connection that was up is waited for after its context was taken up: then it has ended meanwhile.
const FOUND_WITHIN: Duration = Duration::from_secs(10);

/// State loss (H.248.8).
const STATE_LOSS: u16 = 915;

/// What contexts and terminations are numbered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// The last context that was made.
    pub context: u32,
    /// The last termination that was made.
    pub termination: u64,
}

/// What is known of survival.
#[derive(Debug, Default)]
pub(crate) struct Survival {
    /// Contexts are written down.
    pub(crate) on: bool,
    /// Those that are written down.
    kept: BTreeSet<u32>,
    /// Those that may have to be written anew, or not to be any more; some of `kept` or of the contexts.
    changed: BTreeSet<u32>,
    /// Contexts that are being taken up.
    pending: HashMap<u32, Pending>,
    adopting: HashMap<Pinhole, u32>,
    /// Connections that were up, and until when they have to be found.
    expected: HashMap<Of, Instant>,
    /// The same by time.
    deadlines: BTreeSet<(Instant, Of)>,
}

/// Context, termination and stream.
type Of = (u32, u64, u16);

impl Survival {
    fn expect(&mut self, of: Of, until: Instant) {
        self.expected.insert(of, until);
        self.deadlines.insert((until, of));
    }

    /// Whether it was expected; it is not any more.
    fn found(&mut self, of: Of) -> bool {
        let until = self.expected.remove(&of);
        until.is_some_and(|until| self.deadlines.remove(&(until, of)))
    }
}

#[derive(Debug)]
struct Pending {
    record: Record,
    left: BTreeSet<Pinhole>,
}

impl Core {
    /// What contexts and terminations are numbered by.
    pub(crate) fn numbers(&self) -> Numbers {
        Numbers { context: self.next_context, termination: self.next_number }
    }

    /// Goes on from there.
    pub(crate) fn number_from(&mut self, numbers: Numbers) {
        (self.next_context, self.next_number) = (numbers.context, numbers.termination);
    }

    /// Whether nothing would be lost with the process: the kernel carries all streams.
    pub(crate) fn survives(&self, id: u32) -> bool {
        let Some(context) = self.contexts.get(&id) else { return false };
        let relays = context.function == Function::Relay && context.terminations.len() > 1;
        let mut streams = context.terminations.iter().flat_map(|t| &t.streams).peekable();
        let plain = |stream: &Stream| {
            let settings = stream.settings.as_ref();
            let placed = stream.place.is_some() && stream.local.is_some();
            placed
                && matches!(stream.engine, Some((Engine::Kernel, _)))
                && settings.is_some_and(|s| s.edge.is_none() && s.leg.is_none() && s.endpoint.is_none())
        };
        relays && streams.peek().is_some() && streams.all(plain)
    }

    /// A context is not as it was.
    pub(crate) fn changed(&mut self, id: u32) {
        let survival = &self.survival;
        let concerns = survival.on && !survival.pending.contains_key(&id);
        if concerns && (survival.kept.contains(&id) || self.survives(id)) {
            self.survival.changed.insert(id);
        }
    }

    /// The next context that changed, and how it is to be written down if it is to be at all.
    pub(crate) fn poll_changed(&mut self, now: Instant) -> Option<(u32, Option<String>)> {
        loop {
            let id = self.survival.changed.pop_first()?;
            match self.contexts.get(&id).filter(|_| self.survives(id)) {
                Some(context) => {
                    let text = record::written(id, context, |termination| self.made(now, termination));
                    self.survival.kept.insert(id);
                    return Some((id, Some(text)));
                }
                None if self.survival.kept.remove(&id) => return Some((id, None)),
                None => {}
            }
        }
    }

    fn made(&self, now: Instant, termination: &Termination) -> SystemTime {
        let wall = self.wall(now);
        wall.checked_sub(termination.age(now)).unwrap_or(wall)
    }

    /// Whether contexts are being taken up.
    pub(crate) fn is_restoring(&self) -> bool {
        !self.survival.pending.is_empty()
    }

    /// Takes a context up that was written down.
    pub(crate) fn restore(&mut self, now: Instant, text: &str) -> Result<u32, Unreadable> {
        let record = record::read(text)?;
        let id = record.context;
        if self.contexts.contains_key(&id) {
            return Err(Unreadable::Taken(format!("context {id}")));
        }
        if self.contexts.len() >= self.limits.contexts {
            return Err(Unreadable::Full);
        }
        let mut taken = record.terminations.iter().filter(|kept| self.homes.contains_key(&kept.number));
        if let Some(kept) = taken.next() {
            return Err(Unreadable::Taken(kept.id.to_string()));
        }
        let mut context = Context { group: id, function: self.function, ..Context::default() };
        let (mut left, mut commands) = (BTreeSet::new(), Vec::new());
        for kept in &record.terminations {
            let termination = self.termination(now, kept)?;
            if context.numbered(termination.number).is_some() {
                return Err(Unreadable::Taken(kept.id.to_string()));
            }
            context.terminations.push(termination);
        }
        for termination in &mut context.terminations {
            for stream in &mut termination.streams {
                let Some(place) = &mut stream.place else { continue };
                self.next_pinhole += 1;
                place.pinhole = Pinhole { group: id, number: self.next_pinhole };
                let (pinhole, local, realm) = (place.pinhole, place.local, stream.realm.clone());
                commands.push(media::Command::Adopt { pinhole, realm, local });
                self.pinholes.insert(pinhole, (id, termination.number, stream.id));
                left.insert(pinhole);
            }
            self.homes.insert(termination.number, id);
        }
        if left.is_empty() {
            for termination in &context.terminations {
                self.homes.remove(&termination.number);
            }
            return Err(Unreadable::Syntax("no stream has an address".to_owned()));
        }
        self.survival.adopting.extend(left.iter().map(|pinhole| (*pinhole, id)));
        self.commands.extend(commands);
        self.contexts.insert(id, context);
        self.survival.kept.insert(id);
        self.survival.pending.insert(id, Pending { record, left });
        Ok(id)
    }

    /// A termination as far as it is there before its addresses are.
    fn termination(&self, now: Instant, kept: &Kept) -> Result<Termination, Unreadable> {
        let mut termination = Termination::new(kept.id.clone(), kept.number);
        let before = self.wall(now).duration_since(kept.made).unwrap_or_default();
        termination.begun = Some((now, before));
        termination.latch = kept.latch;
        let (octets_received, octets_sent) = kept.past;
        termination.past = Statistics { octets_received, octets_sent, ..Statistics::default() };
        for stream in &kept.streams {
            let local = record::address(&kept.command, stream.id)
                .ok_or_else(|| Unreadable::Syntax(format!("no address of stream {}", stream.id)))?;
            let mut held = Stream::new(stream.id);
            // It gets its name when everything is known to be readable.
            let pinhole = Pinhole { group: 0, number: 0 };
            held.place = Some(Place { pinhole, local, fingerprint: None });
            held.realm.clone_from(&stream.realm);
            held.connected = stream.connected;
            termination.streams.push(held);
        }
        Ok(termination)
    }

    /// An answer to an `Adopt`; whether it was one.
    pub(crate) fn adopted(&mut self, now: Instant, event: &media::Event) -> bool {
        let Some(pinhole) = event.pinhole() else { return false };
        let there = match event {
            media::Event::Bound { .. } => true,
            media::Event::Refused { .. } => false,
            _ => return false,
        };
        let Some(id) = self.survival.adopting.remove(&pinhole) else { return false };
        let Some(pending) = self.survival.pending.get_mut(&id) else {
            // Its context was given up because of another one.
            if there {
                self.commands.push_back(media::Command::Release { pinhole });
            }
            return true;
        };
        if !there {
            // The others that are not answered yet are released when they are.
            let late = std::mem::take(&mut pending.left);
            self.survival.pending.remove(&id);
            self.give_up(id, &late, "an address of it cannot be had again");
            return true;
        }
        pending.left.remove(&pinhole);
        if pending.left.is_empty()
            && let Some(Pending { record, .. }) = self.survival.pending.remove(&id)
        {
            match self.resume(now, record) {
                Ok(()) => {
                    self.events.push_back(Event::Resumed { context: ContextId::Id(id) });
                    self.changed(id);
                }
                Err(why) => self.give_up(id, &BTreeSet::new(), &why),
            }
        }
        true
    }

    /// A context is not taken up after all. Its `late` pinholes are not there.
    fn give_up(&mut self, id: u32, late: &BTreeSet<Pinhole>, why: &str) {
        if let Some(context) = self.contexts.get_mut(&id) {
            for stream in context.terminations.iter_mut().flat_map(|t| &mut t.streams) {
                let late = |place: &mut Place| late.contains(&place.pinhole);
                if let Some(place) = stream.place.take_if(late) {
                    self.pinholes.remove(&place.pinhole);
                }
            }
        }
        self.undo(id);
        self.events.push_back(Event::NotResumed { context: ContextId::Id(id), why: why.to_owned() });
    }

    /// Every address is there: the context becomes what it was.
    fn resume(&mut self, now: Instant, record: Record) -> Result<(), String> {
        let id = record.context;
        for Kept { id: name, number, command, latch, .. } in &record.terminations {
            let held = self.contexts.get(&id).and_then(|context| context.numbered(*number));
            let here = Here {
                function: self.function,
                protected: false,
                most_streams: self.limits.streams,
                realms: &self.root.realms,
            };
            let mut plan = Plan::new(command, held, &here).map_err(|fault| fault.to_string())?;
            if plan.streams.iter().any(|stream| stream.reserve.is_some()) {
                return Err("a stream has no address".to_owned());
            }
            // They were given once.
            plan.signalled.calls.clear();
            plan.signalled.completed.clear();
            plan.signalled.latch = Some(*latch);
            let target = Target { context: ContextId::Id(id), termination: name.clone() };
            let total = Statistics::default();
            self.apply(now, &target, *number, plan, &[], &total, command)
                .map_err(|fault| fault.to_string())?;
        }
        let Some(context) = self.contexts.get_mut(&id) else { return Err("it is gone".to_owned()) };
        let triples = Triples::check(&record.properties.topology, context, false);
        triples.map_err(|fault| fault.to_string())?.apply(context, None);
        context.properties = record.properties;
        context.properties.topology.clear();
        let mut joins = Vec::new();
        for termination in &context.terminations {
            for stream in &termination.streams {
                let Some(place) = &stream.place else { continue };
                if let Some((far, other)) = context.far(termination.number, stream.id)
                    && termination.number < far
                {
                    joins.push(media::Command::Join { a: place.pinhole, b: other });
                }
            }
        }
        self.commands.extend(joins);
        context.configure_all(&mut self.commands);
        for termination in &mut context.terminations {
            let number = termination.number;
            for stream in &mut termination.streams {
                stream.engine = Some((Engine::Kernel, Reason::Passes));
                if std::mem::take(&mut stream.connected) {
                    self.survival.expect((id, number, stream.id), now + FOUND_WITHIN);
                }
            }
        }
        Ok(())
    }

    /// Keeps what a report of the engine means for survival; whether it is news to a controller.
    pub(crate) fn note_survival(&mut self, place: Of, event: &media::Event) -> bool {
        let (id, number, stream) = place;
        let held = self.contexts.get_mut(&id).and_then(|context| context.numbered_mut(number));
        let held = held.and_then(|termination| termination.streams.iter_mut().find(|s| s.id == stream));
        let Some(held) = held else { return true };
        match event {
            media::Event::Established { .. } => held.connected = true,
            media::Event::Closed { .. } => held.connected = false,
            media::Event::Engine { engine, reason, .. } => held.engine = Some((*engine, *reason)),
            _ => return true,
        }
        self.changed(id);
        match event {
            // It was told when it came up, by the process before.
            media::Event::Established { .. } => !self.survival.found(place),
            // The connection was the kernel's, and no relay can go on with it.
            media::Event::Engine { engine: Engine::Relay, .. } if self.survival.found(place) => {
                self.forget_expected(id);
                self.context_failed(id, STATE_LOSS);
                true
            }
            media::Event::Closed { .. } => {
                self.survival.found(place);
                true
            }
            _ => true,
        }
    }

    /// Nothing of a context is waited for any more.
    fn forget_expected(&mut self, id: u32) {
        let streams = |termination: &Termination| {
            let number = termination.number;
            termination.streams.iter().map(move |stream| (id, number, stream.id)).collect::<Vec<_>>()
        };
        let terminations = self.contexts.get(&id).into_iter().flat_map(|context| &context.terminations);
        for of in terminations.flat_map(streams).collect::<Vec<_>>() {
            self.survival.found(of);
        }
    }

    /// When a connection that was up has to be found.
    pub(crate) fn expected_timeout(&self) -> Option<Instant> {
        self.survival.deadlines.first().map(|(at, _)| *at)
    }

    /// Connections that were up and are not found have ended.
    pub(crate) fn missed(&mut self, now: Instant) {
        while let Some(&(at, of)) = self.survival.deadlines.first() {
            if at > now {
                return;
            }
            self.survival.found(of);
            let (id, number, stream) = of;
            let held = self.contexts.get(&id).and_then(|context| context.numbered(number));
            let place = held.and_then(|held| held.stream(stream)).and_then(|stream| stream.place.as_ref());
            if let Some(Place { pinhole, .. }) = place {
                let (pinhole, cause) = (*pinhole, media::Cause::Normal);
                self.report(now, media::Event::Closed { pinhole, cause });
            }
        }
    }
}

impl Termination {
    /// How long it has been there, in whatever process.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        self.begun.map_or(Duration::ZERO, |(at, before)| before + now.saturating_duration_since(at))
    }

    /// Corrects the time that an engine counted if it does not know the beginning.
    pub(crate) fn since_before(&self, now: Instant, total: &mut Statistics) {
        if self.begun.is_some_and(|(_, before)| !before.is_zero()) {
            total.duration = total.duration.max(self.age(now));
        }
    }
}
