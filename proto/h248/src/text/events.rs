//! Events and signals, from text.

use super::descriptor::{digit_map, parameter_value, time_stamp};
use super::keyword::Keyword as K;
use super::scan::{Result, Scanner, decimal, name};
use crate::model::{
    Completion, Direction, Embed, Events, NotifyBehaviour, ObservedEvent, ObservedEvents, Property,
    RequestId, RequestedEvent, Signal, SignalItem, SignalList, SignalType, Signals,
};

fn request_id(s: &mut Scanner<'_>) -> Result<RequestId> {
    let word = s.word("a request number or `*`")?;
    if word == b"*" {
        return Ok(RequestId::ALL);
    }
    match decimal(word, u32::MAX) {
        Some(n) => Ok(RequestId(n)),
        None => s.error_at(s.at - word.len(), "a request number or `*`"),
    }
}

/// `= 7 { event, ... }` after the keyword.
pub(super) fn events(s: &mut Scanner<'_>) -> Result<Events> {
    s.equal()?;
    let mut out = Events { request_id: Some(request_id(s)?), events: Vec::new() };
    s.open()?;
    loop {
        s.count(out.events.len())?;
        out.events.push(requested(s)?);
        if !s.more()? {
            return Ok(out);
        }
    }
}

fn requested(s: &mut Scanner<'_>) -> Result<RequestedEvent> {
    let mut event = RequestedEvent::new(s.name("an event")?);
    if !s.eat(b'{') {
        return Ok(event);
    }
    loop {
        let word = s.word("an event parameter")?;
        let at = s.at - word.len();
        // Package parameters may be spelt like keywords. Of the keywords here only Stream and
        // DigitMap come with `=`.
        s.blank();
        let has_value = matches!(s.peek(), Some(b'=' | b'#' | b'<' | b'>'));
        let twice = match K::find(word) {
            Some(K::Stream) if has_value => {
                s.equal()?;
                event.stream.replace(s.number16("a stream number")?).is_some()
            }
            Some(K::DigitMap) if has_value || s.peek() == Some(b'{') => {
                event.digit_map.replace(digit_map(s)?).is_some()
            }
            Some(K::KeepActive) if !has_value => std::mem::replace(&mut event.keep_active, true),
            Some(K::ResetEventsDescriptor) if !has_value => std::mem::replace(&mut event.reset_events, true),
            Some(K::Embed) if !has_value => event.embed.replace(embed(s)?).is_some(),
            Some(K::ImmediateNotify) if !has_value => {
                event.notify.replace(NotifyBehaviour::Immediate).is_some()
            }
            Some(K::NeverNotify) if !has_value => event.notify.replace(NotifyBehaviour::Never).is_some(),
            Some(K::RegulatedNotify) if !has_value => {
                s.blank();
                let embedded = if s.peek() == Some(b'{') {
                    s.open()?;
                    let (at, keyword) = s.keyword("Embed")?;
                    if keyword != K::Embed {
                        return s.error_at(at, "Embed");
                    }
                    let embedded = embed(s)?;
                    s.expect(b'}', "`}`")?;
                    Some(embedded)
                } else {
                    None
                };
                event.notify.replace(NotifyBehaviour::Regulated(embedded)).is_some()
            }
            _ => other(s, word, &mut event.parameters)?,
        };
        if twice {
            return s.rule(at, 456, "an event parameter twice");
        }
        if !s.more()? {
            return Ok(event);
        }
    }
}

/// A package parameter; true if its name came before.
fn other(s: &mut Scanner<'_>, word: &[u8], into: &mut Vec<Property>) -> Result<bool> {
    s.count(into.len())?;
    let name = name(word);
    let value = parameter_value(s)?;
    let twice = into.iter().any(|p| p.name == name);
    into.push(Property::new(name, value));
    Ok(twice)
}

/// `{ Signals ..., Events ... }` after the keyword.
fn embed(s: &mut Scanner<'_>) -> Result<Embed> {
    s.enter()?;
    s.open()?;
    let mut out = Embed::default();
    loop {
        let (at, keyword) = s.keyword("Signals or Events")?;
        s.blank();
        let twice = match keyword {
            K::Signals if s.peek() == Some(b'{') => out.signals.replace(signals(s)?).is_some(),
            K::Signals => out.signals.replace(Signals::default()).is_some(),
            K::Events if s.peek() == Some(b'=') => out.events.replace(events(s)?).is_some(),
            K::Events => out.events.replace(Events::default()).is_some(),
            _ => return s.error_at(at, "Signals or Events"),
        };
        if twice {
            return s.rule(at, 448, format!("{} twice", keyword.long()));
        }
        if !s.more()? {
            s.leave();
            return Ok(out);
        }
    }
}

/// `= 7 { observed, ... }` after the keyword.
pub(super) fn observed(s: &mut Scanner<'_>) -> Result<ObservedEvents> {
    s.equal()?;
    Ok(ObservedEvents { request_id: request_id(s)?, events: observed_list(s)? })
}

/// `{ observed, ... }`
pub(super) fn observed_list(s: &mut Scanner<'_>) -> Result<Vec<ObservedEvent>> {
    s.open()?;
    let mut list = Vec::new();
    loop {
        s.count(list.len())?;
        let word = s.word("a time or an event")?;
        let timestamp = time_stamp(word).filter(|_| s.eat(b':'));
        let mut event = match timestamp {
            Some(timestamp) => ObservedEvent::new(s.name("an event")?).at(timestamp),
            None => ObservedEvent::new(name(word)),
        };
        if s.eat(b'{') {
            observed_parameters(s, &mut event)?;
        }
        list.push(event);
        if !s.more()? {
            return Ok(list);
        }
    }
}

fn observed_parameters(s: &mut Scanner<'_>, event: &mut ObservedEvent) -> Result<()> {
    loop {
        let word = s.word("an event parameter")?;
        let at = s.at - word.len();
        let twice = if K::find(word) == Some(K::Stream) {
            s.equal()?;
            event.stream.replace(s.number16("a stream number")?).is_some()
        } else {
            other(s, word, &mut event.parameters)?
        };
        if twice {
            return s.rule(at, 456, "an event parameter twice");
        }
        if !s.more()? {
            return Ok(());
        }
    }
}

/// `{ signal, SignalList = 1 { signal, ... } }` after the keyword.
pub(super) fn signals(s: &mut Scanner<'_>) -> Result<Signals> {
    s.open()?;
    let mut list = Vec::new();
    if s.eat(b'}') {
        return Ok(Signals(list));
    }
    loop {
        s.count(list.len())?;
        let word = s.word("a signal")?;
        if K::find(word) == Some(K::SignalList) && s.eat(b'=') {
            let id = s.number16("a signal list's number")?;
            s.open()?;
            let mut signals = Vec::new();
            loop {
                s.count(signals.len())?;
                let word = s.word("a signal")?;
                signals.push(signal(s, word)?);
                if !s.more()? {
                    break;
                }
            }
            list.push(SignalItem::List(SignalList { id, signals }));
        } else {
            list.push(SignalItem::Signal(signal(s, word)?));
        }
        if !s.more()? {
            return Ok(Signals(list));
        }
    }
}

/// A signal whose name has been read.
fn signal(s: &mut Scanner<'_>, word: &[u8]) -> Result<Signal> {
    let mut out = Signal::new(name(word));
    if !s.eat(b'{') {
        return Ok(out);
    }
    loop {
        let word = s.word("a signal parameter")?;
        let at = s.at - word.len();
        if signal_parameter(s, word, &mut out)? {
            return s.rule(at, 456, "a signal parameter twice");
        }
        if !s.more()? {
            return Ok(out);
        }
    }
}

/// One parameter; true if it came before.
fn signal_parameter(s: &mut Scanner<'_>, word: &[u8], out: &mut Signal) -> Result<bool> {
    Ok(match K::find(word) {
        Some(K::Stream) => {
            s.equal()?;
            out.stream.replace(s.number16("a stream number")?).is_some()
        }
        Some(K::SignalType) => {
            s.equal()?;
            let kind = match s.keyword("OnOff, TimeOut or Brief")? {
                (_, K::OnOff) => SignalType::OnOff,
                (_, K::TimeOut) => SignalType::TimeOut,
                (_, K::Brief) => SignalType::Brief,
                (at, _) => return s.error_at(at, "OnOff, TimeOut or Brief"),
            };
            out.kind.replace(kind).is_some()
        }
        Some(K::Duration) => {
            s.equal()?;
            out.duration.replace(s.number16("a duration")?).is_some()
        }
        Some(K::NotifyCompletion) => {
            s.equal()?;
            out.notify_completion.replace(completions(s)?).is_some()
        }
        Some(K::KeepActive) => std::mem::replace(&mut out.keep_active, true),
        Some(K::SpaDirection) => {
            s.equal()?;
            let direction = match s.keyword("External, Internal or Both")? {
                (_, K::External) => Direction::External,
                (_, K::Internal) => Direction::Internal,
                (_, K::Both) => Direction::Both,
                (at, _) => return s.error_at(at, "External, Internal or Both"),
            };
            out.direction.replace(direction).is_some()
        }
        Some(K::SpaRequestId) => {
            s.equal()?;
            out.request_id.replace(request_id(s)?).is_some()
        }
        Some(K::IntersignalDelay) => {
            s.equal()?;
            out.intersignal_delay.replace(s.number16("milliseconds")?).is_some()
        }
        _ => other(s, word, &mut out.parameters)?,
    })
}

fn completions(s: &mut Scanner<'_>) -> Result<Vec<Completion>> {
    s.open()?;
    let mut list = Vec::new();
    loop {
        s.count(list.len())?;
        list.push(match s.keyword("a way to end")? {
            (_, K::TimeOut) => Completion::TimeOut,
            (_, K::IntByEvent) => Completion::InterruptByEvent,
            (_, K::IntBySignals) => Completion::InterruptBySignals,
            (_, K::OtherReason) => Completion::Other,
            (_, K::Iteration) => Completion::Iteration,
            (at, _) => return s.error_at(at, "a way to end"),
        });
        if !s.more()? {
            return Ok(list);
        }
    }
}
