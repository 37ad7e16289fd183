//! Events, signals and digit maps, in binary.

use super::ber::{self, Elements, SEQUENCE, Writer, cons, prim};
use super::media::position;
use super::names::{self, Space};
use super::value::write_parameters;
use super::{Reader, Result, unsayable};
use crate::Error;
use crate::model::{
    Completion, DigitMap, Direction, Embed, Events, NotifyBehaviour, ObservedEvent, ObservedEvents,
    RequestId, RequestedEvent, Signal, SignalItem, SignalList, SignalType, Signals, TimeStamp,
};

const KINDS: [SignalType; 3] = [SignalType::Brief, SignalType::OnOff, SignalType::TimeOut];
const COMPLETIONS: [Completion; 5] = [
    Completion::TimeOut,
    Completion::InterruptByEvent,
    Completion::InterruptBySignals,
    Completion::Other,
    Completion::Iteration,
];

/// EventsDescriptor.
pub(super) fn write(w: &mut Writer, tag: u8, events: &Events) -> Result<()> {
    write_events(w, tag, events, true)
}

/// EventsDescriptor, or SecondEventsDescriptor, in which nothing is embedded but signals.
fn write_events(w: &mut Writer, tag: u8, events: &Events, first: bool) -> Result<()> {
    w.nest(tag, |w| {
        // The first module of version 1 wants a number also where there is nothing to number.
        let id = events.request_id.or(w.first_version.then_some(RequestId(0)));
        if let Some(RequestId(id)) = id {
            w.integer(prim(0), id.into());
        }
        w.nest(cons(1), |w| events.events.iter().try_for_each(|e| write_requested(w, e, first)))
    })
}

fn write_requested(w: &mut Writer, event: &RequestedEvent, first: bool) -> Result<()> {
    let (number, item) = names::number_of(Space::Event, &event.name)?;
    w.nest(SEQUENCE, |w| {
        w.element(prim(0), &number);
        if let Some(stream) = event.stream {
            w.integer(prim(1), stream.into());
        }
        let acts = event.keep_active
            || event.digit_map.is_some()
            || event.embed.is_some()
            || event.notify.is_some()
            || event.reset_events;
        if acts {
            w.nest(cons(2), |w| write_actions(w, event, first))?;
        }
        write_parameters(w, cons(3), item, &event.parameters)
    })
}

/// RequestedActions or SecondRequestedActions.
fn write_actions(w: &mut Writer, event: &RequestedEvent, first: bool) -> Result<()> {
    if event.keep_active {
        w.boolean(prim(0), true);
    }
    if let Some(map) = &event.digit_map {
        w.nest(cons(1), |w| match (&map.name, &map.value) {
            (Some(name), None) => {
                w.element(prim(0), &names::two_octets(name)?);
                Ok(())
            }
            (None, Some(value)) => write_map_value(w, cons(1), value),
            _ => Err(unsayable("a digit map of an event with both a name and a value, or neither")),
        })?;
    }
    let mut n = 2;
    let embed = event.embed.as_ref();
    if first {
        if let Some(events) = embed.and_then(|e| e.events.as_ref()) {
            write_events(w, cons(n), events, false)?;
        }
        n += 1;
    } else if embed.is_some_and(|e| e.events.is_some()) {
        return Err(unsayable("events embedded in embedded events"));
    }
    if let Some(signals) = embed.and_then(|e| e.signals.as_ref()) {
        write_signals(w, cons(n), signals)?;
    }
    if let Some(behaviour) = &event.notify {
        w.nest(cons(n + 1), |w| match behaviour {
            NotifyBehaviour::Immediate => {
                w.null(prim(0));
                Ok(())
            }
            NotifyBehaviour::Regulated(embed) => w.nest(cons(1), |w| {
                let Some(embed) = embed else { return Ok(()) };
                if let Some(events) = &embed.events {
                    write_events(w, cons(0), events, false)?;
                }
                embed.signals.as_ref().map_or(Ok(()), |s| write_signals(w, cons(1), s))
            }),
            NotifyBehaviour::Never => {
                w.null(prim(2));
                Ok(())
            }
        })?;
    }
    if event.reset_events {
        w.null(prim(n + 2));
    }
    Ok(())
}

/// EventBufferDescriptor.
pub(super) fn write_buffer(w: &mut Writer, tag: u8, list: &[ObservedEvent]) -> Result<()> {
    w.nest(tag, |w| {
        list.iter().try_for_each(|event| {
            if event.timestamp.is_some() {
                return Err(unsayable("a buffered event with a time"));
            }
            write_event(w, event)
        })
    })
}

/// ObservedEventsDescriptor.
pub(super) fn write_observed(w: &mut Writer, tag: u8, observed: &ObservedEvents) -> Result<()> {
    w.nest(tag, |w| {
        w.integer(prim(0), observed.request_id.0.into());
        w.nest(cons(1), |w| observed.events.iter().try_for_each(|e| write_event(w, e)))
    })
}

/// ObservedEvent; EventSpec is the same without a time.
fn write_event(w: &mut Writer, event: &ObservedEvent) -> Result<()> {
    let (number, item) = names::number_of(Space::Event, &event.name)?;
    w.nest(SEQUENCE, |w| {
        w.element(prim(0), &number);
        if let Some(stream) = event.stream {
            w.integer(prim(1), stream.into());
        }
        write_parameters(w, cons(2), item, &event.parameters)?;
        if let Some(time) = event.timestamp {
            write_time(w, cons(3), time);
        }
        Ok(())
    })
}

/// TimeNotation.
pub(super) fn write_time(w: &mut Writer, tag: u8, time: TimeStamp) {
    let mut inner = Writer::default();
    inner.element(prim(0), format!("{:08}", time.date).as_bytes());
    inner.element(prim(1), format!("{:08}", time.time).as_bytes());
    w.element(tag, &inner.finish());
}

/// SignalsDescriptor.
pub(super) fn write_signals(w: &mut Writer, tag: u8, signals: &Signals) -> Result<()> {
    w.nest(tag, |w| {
        signals.0.iter().try_for_each(|item| match item {
            SignalItem::Signal(signal) => write_signal(w, cons(0), signal),
            SignalItem::List(list) => w.nest(cons(1), |w| {
                w.integer(prim(0), list.id.into());
                w.nest(cons(1), |w| list.signals.iter().try_for_each(|s| write_signal(w, SEQUENCE, s)))
            }),
        })
    })
}

fn write_signal(w: &mut Writer, tag: u8, signal: &Signal) -> Result<()> {
    let (number, item) = names::number_of(Space::Signal, &signal.name)?;
    w.nest(tag, |w| {
        w.element(prim(0), &number);
        if let Some(stream) = signal.stream {
            w.integer(prim(1), stream.into());
        }
        if let Some(kind) = signal.kind {
            w.integer(prim(2), position(&KINDS, &kind));
        }
        if let Some(duration) = signal.duration {
            w.integer(prim(3), duration.into());
        }
        if let Some(list) = &signal.notify_completion {
            w.bits(prim(4), list.iter().map(|c| position(&COMPLETIONS, c) as u8));
        }
        if signal.keep_active {
            w.boolean(prim(5), true);
        }
        write_parameters(w, cons(6), item, &signal.parameters)?;
        if let Some(direction) = signal.direction {
            let number = match direction {
                Direction::Internal => 0,
                Direction::External => 1,
                Direction::Both => 3,
            };
            w.integer(prim(7), number);
        }
        if let Some(RequestId(id)) = signal.request_id {
            w.integer(prim(8), id.into());
        }
        if let Some(delay) = signal.intersignal_delay {
            w.integer(prim(9), delay.into());
        }
        Ok(())
    })
}

/// DigitMapDescriptor.
pub(super) fn write_digit_map(w: &mut Writer, tag: u8, map: &DigitMap) -> Result<()> {
    w.nest(tag, |w| {
        if let Some(name) = &map.name {
            w.element(prim(0), &names::two_octets(name)?);
        }
        map.value.as_ref().map_or(Ok(()), |value| write_map_value(w, cons(1), value))
    })
}

/// The timers of a digit map in the order of the text encoding, and their fields.
const TIMERS: [(char, u8); 4] = [('T', 0), ('S', 1), ('L', 2), ('Z', 4)];

/// DigitMapValue: the timers before the body are fields of their own (RFC 3525 Annex B.2, digitMapValue).
fn write_map_value(w: &mut Writer, tag: u8, value: &str) -> Result<()> {
    let (mut rest, mut timers) = (value.trim(), Vec::new());
    for (letter, field) in TIMERS {
        let timer =
            rest.strip_prefix([letter, letter.to_ascii_lowercase()]).and_then(|r| r.strip_prefix(':'));
        let Some((digits, after)) = timer.and_then(|t| t.split_once(',')) else { continue };
        let seconds: u8 = digits
            .trim()
            .parse()
            .ok()
            .filter(|n| *n <= 99)
            .ok_or_else(|| unsayable("a digit map's timer that is no number up to 99"))?;
        timers.push((field, seconds));
        rest = after.trim_start();
    }
    w.nest(tag, |w| {
        for (field, seconds) in timers.iter().filter(|(field, _)| *field < 3) {
            w.integer(prim(*field), i128::from(*seconds));
        }
        w.element(prim(3), rest.as_bytes());
        for (field, seconds) in timers.iter().filter(|(field, _)| *field > 3) {
            w.integer(prim(*field), i128::from(*seconds));
        }
        Ok(())
    })
}

impl<'a> Reader<'a> {
    /// EventsDescriptor after its tag.
    pub(super) fn events(&mut self, fields: Elements<'a>) -> Result<Events, Error> {
        self.events_descriptor(fields, true)
    }

    fn events_descriptor(&mut self, mut fields: Elements<'a>, first: bool) -> Result<Events, Error> {
        let request_id = self.unsigned(&mut fields, 0, u32::MAX, "a request number")?.map(RequestId);
        let mut list = self.required(&mut fields, cons(1), "events")?;
        let at = list.at;
        let mut events = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(events.len(), element.at)?;
            events.push(self.requested(Elements::of(&element), first)?);
        }
        if request_id.is_none() && !events.is_empty() {
            return self.expected(at, "a request number before events");
        }
        // A number without events has nothing to refer to; the text encoding cannot say it.
        Ok(Events { request_id: request_id.filter(|_| !events.is_empty()), events })
    }

    fn requested(&mut self, mut fields: Elements<'a>, first: bool) -> Result<RequestedEvent, Error> {
        let number = self.number4(&mut fields, prim(0), "the name of an event")?;
        let (name, item) = names::name_of(Space::Event, number);
        let mut event = RequestedEvent::new(name);
        event.stream = self.unsigned16(&mut fields, 1, "a stream number")?;
        if let Some(actions) = self.take(&mut fields, cons(2))? {
            self.actions(actions, first, &mut event)?;
        }
        let parameters = self.required(&mut fields, cons(3), "parameters")?;
        event.parameters = self.parameters(parameters, item)?;
        Ok(event)
    }

    fn actions(
        &mut self,
        mut fields: Elements<'a>,
        first: bool,
        event: &mut RequestedEvent,
    ) -> Result<(), Error> {
        event.keep_active = self.boolean(&mut fields, 0)?.unwrap_or(false);
        if let Some(map) = self.take(&mut fields, cons(1))? {
            let choice = self.choice(map, "a digit map")?;
            event.digit_map = Some(match choice.tag & 0x1f {
                0 => match self.octets(&choice)?.as_ref() {
                    [a, b] => DigitMap { name: Some(names::from_two_octets([*a, *b])), value: None },
                    _ => return self.expected(choice.at, "a name of two octets"),
                },
                _ => DigitMap { name: None, value: Some(self.map_value(Elements::of(&choice))?.into()) },
            });
        }
        let mut embed = Embed::default();
        let mut n = 2;
        if first {
            if let Some(events) = self.take(&mut fields, cons(n))? {
                embed.events = Some(self.events_descriptor(events, false)?);
            }
            n += 1;
        }
        if let Some(signals) = self.take(&mut fields, cons(n))? {
            embed.signals = Some(self.signals(signals)?);
        }
        event.embed = Some(embed).filter(|e| *e != Embed::default());
        if let Some(behaviour) = self.take(&mut fields, cons(n + 1))? {
            let choice = self.choice(behaviour, "how to notify")?;
            event.notify = Some(match choice.tag & 0x1f {
                0 => NotifyBehaviour::Immediate,
                1 => {
                    let mut inside = Elements::of(&choice);
                    let mut embed = Embed::default();
                    if let Some(events) = self.take(&mut inside, cons(0))? {
                        embed.events = Some(self.events_descriptor(events, false)?);
                    }
                    if let Some(signals) = self.take(&mut inside, cons(1))? {
                        embed.signals = Some(self.signals(signals)?);
                    }
                    NotifyBehaviour::Regulated(Some(embed).filter(|e| *e != Embed::default()))
                }
                2 => NotifyBehaviour::Never,
                _ => return self.expected(choice.at, "how to notify"),
            });
        }
        event.reset_events = self.null(&mut fields, n + 2)?;
        Ok(())
    }

    /// EventBufferDescriptor after its tag.
    pub(super) fn event_buffer(&mut self, list: Elements<'a>) -> Result<Vec<ObservedEvent>, Error> {
        self.observed_list(list)
    }

    /// ObservedEvents, or the events of a buffer.
    pub(super) fn observed_list(&mut self, mut list: Elements<'a>) -> Result<Vec<ObservedEvent>, Error> {
        let mut out = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let mut fields = Elements::of(&element);
            let number = self.number4(&mut fields, prim(0), "the name of an event")?;
            let (name, item) = names::name_of(Space::Event, number);
            let mut event = ObservedEvent::new(name);
            event.stream = self.unsigned16(&mut fields, 1, "a stream number")?;
            let parameters = self.required(&mut fields, cons(2), "parameters")?;
            event.parameters = self.parameters(parameters, item)?;
            event.timestamp = self.time(&mut fields, 3)?;
            out.push(event);
        }
        Ok(out)
    }

    /// A TimeNotation field.
    pub(super) fn time(&mut self, fields: &mut Elements<'a>, n: u8) -> Result<Option<TimeStamp>, Error> {
        let at = fields.at;
        let Some(mut inside) = self.take(fields, cons(n))? else { return Ok(None) };
        let date = self.string(&mut inside, 0)?.unwrap_or_default();
        let time = self.string(&mut inside, 1)?.unwrap_or_default();
        let digits = |octets: &[u8]| -> Option<u32> {
            let eight = octets.len() == 8 && octets.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(octets).ok().filter(|_| eight)?.parse().ok()
        };
        match (digits(&date), digits(&time)) {
            (Some(date), Some(time)) => Ok(Some(TimeStamp { date, time })),
            _ => self.expected(at, "a date and a time of eight digits each"),
        }
    }

    /// SignalsDescriptor after its tag.
    pub(super) fn signals(&mut self, mut list: Elements<'a>) -> Result<Signals, Error> {
        let mut out = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let mut fields = Elements::of(&element);
            out.push(match element.tag {
                0xa0 => SignalItem::Signal(self.signal(fields)?),
                0xa1 => {
                    let Some(id) = self.unsigned16(&mut fields, 0, "a list number")? else {
                        return self.expected(element.at, "a list number");
                    };
                    let mut inside = self.required(&mut fields, cons(1), "signals")?;
                    let mut signals = Vec::new();
                    while let Some(element) = self.next(&mut inside)? {
                        self.count(signals.len(), element.at)?;
                        signals.push(self.signal(Elements::of(&element))?);
                    }
                    if signals.is_empty() {
                        return self.expected(inside.at, "a signal");
                    }
                    SignalItem::List(SignalList { id, signals })
                }
                _ => return self.expected(element.at, "a signal or a list of signals"),
            });
        }
        Ok(Signals(out))
    }

    fn signal(&mut self, mut fields: Elements<'a>) -> Result<Signal, Error> {
        let number = self.number4(&mut fields, prim(0), "the name of a signal")?;
        let (name, item) = names::name_of(Space::Signal, number);
        let mut signal = Signal::new(name);
        signal.stream = self.unsigned16(&mut fields, 1, "a stream number")?;
        signal.kind = self.one_of(&mut fields, 2, &KINDS, "a signal type")?;
        signal.duration = self.unsigned16(&mut fields, 3, "a duration")?;
        let at = fields.at;
        if let Some(octets) = self.string(&mut fields, 4)? {
            let Some(set) = ber::bits(&octets) else { return self.expected(at, "a bit string") };
            let list: Vec<_> = set.filter_map(|n| COMPLETIONS.get(usize::from(n)).copied()).collect();
            signal.notify_completion = Some(list).filter(|l| !l.is_empty());
        }
        signal.keep_active = self.boolean(&mut fields, 5)?.unwrap_or(false);
        let parameters = self.required(&mut fields, cons(6), "parameters")?;
        signal.parameters = self.parameters(parameters, item)?;
        let at = fields.at;
        signal.direction = match self.unsigned(&mut fields, 7, 0xff, "a direction")? {
            None => None,
            Some(0) => Some(Direction::Internal),
            Some(1) => Some(Direction::External),
            Some(3) => Some(Direction::Both),
            Some(_) => return self.expected(at, "a direction"),
        };
        signal.request_id = self.unsigned(&mut fields, 8, u32::MAX, "a request number")?.map(RequestId);
        signal.intersignal_delay = self.unsigned16(&mut fields, 9, "a delay")?;
        Ok(signal)
    }

    /// DigitMapDescriptor after its tag.
    pub(super) fn digit_map(&mut self, mut fields: Elements<'a>) -> Result<DigitMap, Error> {
        let at = fields.at;
        let name = match self.string(&mut fields, 0)?.as_deref() {
            None => None,
            Some([a, b]) => Some(names::from_two_octets([*a, *b])),
            Some(_) => return self.expected(at, "a name of two octets"),
        };
        let value = match self.take(&mut fields, cons(1))? {
            Some(value) => Some(self.map_value(value)?.into()),
            None => None,
        };
        if name.is_none() && value.is_none() {
            return self.expected(at, "a digit map's name or value");
        }
        Ok(DigitMap { name, value })
    }

    /// DigitMapValue as the text encoding writes it.
    fn map_value(&mut self, mut fields: Elements<'a>) -> Result<String, Error> {
        let mut timers = [None; 4];
        for (timer, (_, field)) in timers.iter_mut().zip(TIMERS).take(3) {
            *timer = self.unsigned(&mut fields, field, 99, "a timer up to 99")?;
        }
        let at = fields.at;
        let body = self.text(&mut fields, 3)?.map(|body| body.trim().to_owned());
        let printable = |c: char| matches!(c, ' '..='~') && !matches!(c, '{' | '}' | ';');
        let body = body.filter(|body| !body.is_empty() && body.chars().all(printable));
        let Some(body) = body else { return self.expected(at, "the body of a digit map") };
        timers[3] = self.unsigned(&mut fields, 4, 99, "a timer up to 99")?;
        let mut out = String::new();
        for (timer, (letter, _)) in timers.iter().zip(TIMERS) {
            if let Some(seconds) = timer {
                out.push_str(&format!("{letter}:{seconds},"));
            }
        }
        out.push_str(&body);
        Ok(out)
    }
}
