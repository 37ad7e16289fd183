//! Audits of single items inside a descriptor (version 2), and of those that fulfil a condition
//! (version 3).
//!
//! A selection is a tree of names; a name with a value is a condition as well. What is selected and not
//! there is error 532.

use carnet_h248::{
    Audit, AuditItem, AuditToken, Descriptor, EventBufferControl, Events, LocalControl, Media,
    ParameterValue, Property, Selector, ServiceState, SessionDescription, Signals, Stream, StreamMode,
    TerminationState, Value,
};

use super::{View, empty};
use crate::error::Fault;
use crate::package::{Kind, Possible, check};

/// Why a selection cannot be answered.
enum Miss {
    Absent(Fault),
    /// A condition does not hold.
    Unmet(Fault),
}

impl From<Miss> for Fault {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::Absent(fault) | Miss::Unmet(fault) => fault,
        }
    }
}

fn absent(what: impl std::fmt::Display) -> Miss {
    Miss::Absent(Fault::request(532, format!("Audited item does not exist: {what}")))
}

/// The descriptors that selections ask for, one of each kind.
pub(super) fn selected<'a>(
    view: &View,
    selectors: impl Iterator<Item = &'a Selector>,
) -> Result<Vec<Descriptor>, Fault> {
    grouped(selectors).iter().map(|s| select(view, s).map_err(Fault::from)).collect()
}

/// Whether every condition in an audit holds.
pub(super) fn meets(view: &View, audit: &Audit) -> bool {
    audit.0.iter().all(|item| match item {
        AuditItem::Descriptor(_) => true,
        AuditItem::Individual(selector) => !matches!(select(view, selector), Err(Miss::Unmet(_))),
    })
}

/// Whether a name appears anywhere in a selection.
pub(super) fn names(selector: &Selector, name: &str) -> bool {
    selector.name == *name || selector.inside.iter().flatten().any(|s| names(s, name))
}

/// Selections of one descriptor together: the binary encoding has one for each item.
fn grouped<'a>(selectors: impl Iterator<Item = &'a Selector>) -> Vec<Selector> {
    let mut all: Vec<Selector> = Vec::new();
    for selector in selectors {
        match all.iter_mut().find(|s| s.name == selector.name && s.value == selector.value) {
            Some(known) => {
                known.inside.get_or_insert_default().extend(selector.inside.iter().flatten().cloned());
            }
            None => all.push(selector.clone()),
        }
    }
    all
}

fn select(view: &View, selector: &Selector) -> Result<Descriptor, Miss> {
    let inside = selector.inside.as_deref().unwrap_or_default();
    match selector.name.as_str().to_ascii_lowercase().as_str() {
        "media" => media(view, inside),
        "events" => {
            let request = selector.value.as_ref().and_then(ParameterValue::single).and_then(Value::as_u64);
            let held = view.events.request_id.map(|id| u64::from(id.0));
            if request.is_some() && request != held {
                return Err(absent(format!("Events {}", request.unwrap_or_default())));
            }
            if inside.is_empty() {
                return Ok(view.events.clone().into());
            }
            let find = |s: &Selector| {
                let stream = on_stream(s);
                let found = view.events.events.iter();
                let mut found = found.filter(|e| stream.is_none_or(|id| e.stream == Some(id)));
                found.find(|e| e.name == s.name).cloned().ok_or_else(|| absent(&s.name))
            };
            let events = inside.iter().map(find).collect::<Result<_, _>>()?;
            Ok(Events { request_id: view.events.request_id, events }.into())
        }
        "signals" => {
            let held = view.signals.as_ref().ok_or_else(|| absent("Signals"))?;
            let find = |s: &Selector| signal(held, s);
            Ok(Signals(inside.iter().map(find).collect::<Result<_, _>>()?).into())
        }
        "statistics" => {
            let find = |s: &Selector| {
                view.statistics
                    .iter()
                    .find(|held| held.name == s.name)
                    .cloned()
                    .ok_or_else(|| absent(&s.name))
            };
            Ok(inside.iter().map(find).collect::<Result<Vec<_>, _>>()?.into())
        }
        "packages" => {
            let held = view.packages();
            let find = |s: &Selector| {
                let name = s.name.as_str();
                let (package, version) = name.rsplit_once('-').unwrap_or((name, ""));
                let fits = |p: &&carnet_h248::PackageVersion| {
                    p.name == *package && (version.is_empty() || version == p.version.to_string())
                };
                held.iter().find(fits).cloned().ok_or_else(|| absent(&s.name))
            };
            Ok(inside.iter().map(find).collect::<Result<Vec<_>, _>>()?.into())
        }
        // There is never one: digit maps, buffered events, modems and multiplexes.
        _ => Err(absent(&selector.name)),
    }
}

/// `Stream = n` inside an event or signal.
fn on_stream(selector: &Selector) -> Option<u16> {
    let stream = selector.inside.iter().flatten().find(|s| s.name == *"Stream")?;
    stream.value.as_ref()?.single()?.as_u64()?.try_into().ok()
}

fn signal(held: &Signals, selector: &Selector) -> Result<carnet_h248::SignalItem, Miss> {
    if selector.name == *"SignalList" {
        let id = selector.value.as_ref().and_then(ParameterValue::single).and_then(Value::as_u64);
        let list = held
            .0
            .iter()
            .find(|item| matches!(item, carnet_h248::SignalItem::List(l) if Some(u64::from(l.id)) == id));
        return list.cloned().ok_or_else(|| absent("SignalList"));
    }
    let stream = on_stream(selector);
    let mut all = held.iter().filter(|s| stream.is_none_or(|id| s.stream == Some(id)));
    let found = all.find(|s| s.name == selector.name).cloned();
    found.map(carnet_h248::SignalItem::Signal).ok_or_else(|| absent(&selector.name))
}

fn media(view: &View, inside: &[Selector]) -> Result<Descriptor, Miss> {
    let mut out = Media::default();
    let mut alone = Stream::new(1);
    for selector in inside {
        match selector.name.as_str().to_ascii_lowercase().as_str() {
            "terminationstate" => out.termination_state = Some(state(view, selector)?),
            "stream" => {
                let id = selector.value.as_ref().and_then(ParameterValue::single).and_then(Value::as_u64);
                let held = view.media.streams.iter().find(|s| Some(u64::from(s.id)) == id);
                let held = held.ok_or_else(|| absent("Stream"))?;
                let mut told = Stream::new(held.id);
                for part in selector.inside.iter().flatten() {
                    stream_part(view, held, part, &mut told)?;
                }
                out.streams.push(told);
            }
            // Without a number it is the single stream.
            _ => {
                let held = view.media.streams.first().ok_or_else(|| absent(&selector.name))?;
                alone.id = held.id;
                stream_part(view, held, selector, &mut alone)?;
            }
        }
    }
    if alone != Stream::new(alone.id) {
        out.implied_stream = out.streams.is_empty() && alone.id == 1;
        out.streams.push(alone);
    }
    if out == Media::default() { Ok(empty(AuditToken::Media)) } else { Ok(out.into()) }
}

fn state(view: &View, selector: &Selector) -> Result<TerminationState, Miss> {
    let held = view.media.termination_state.clone().unwrap_or_default();
    let Some(inside) = &selector.inside else { return Ok(held) };
    let mut told = TerminationState::default();
    for item in inside {
        match item.name.as_str().to_ascii_lowercase().as_str() {
            "servicestates" => {
                let state = held.service_state.unwrap_or(ServiceState::InService);
                condition(item, &word(&format!("{state:?}")))?;
                told.service_state = Some(state);
            }
            "buffer" => {
                let buffer = held.event_buffer.unwrap_or(EventBufferControl::Off);
                condition(item, &word(&format!("{buffer:?}")))?;
                told.event_buffer = Some(buffer);
            }
            _ => told.properties.push(property(view, &held.properties, item, Kind::RootProperty)?),
        }
    }
    Ok(told)
}

fn stream_part(view: &View, held: &Stream, selector: &Selector, told: &mut Stream) -> Result<(), Miss> {
    match selector.name.as_str().to_ascii_lowercase().as_str() {
        "localcontrol" => {
            let control = held.local_control.clone().unwrap_or_default();
            told.local_control = Some(local_control(view, &control, selector)?);
        }
        "local" => told.local = Some(whole(held.local.as_ref(), selector)?),
        "remote" => told.remote = Some(whole(held.remote.as_ref(), selector)?),
        // Counters are kept for a termination; they are its stream's if it has one.
        "statistics" if view.media.streams.len() == 1 => {
            let inside = selector.inside.as_deref().unwrap_or_default();
            let find = |s: &Selector| {
                view.statistics
                    .iter()
                    .find(|held| held.name == s.name)
                    .cloned()
                    .ok_or_else(|| absent(&s.name))
            };
            told.statistics = Some(match inside {
                [] => view.statistics.clone(),
                list => list.iter().map(find).collect::<Result<_, _>>()?,
            });
        }
        _ => return Err(absent(&selector.name)),
    }
    Ok(())
}

fn local_control(view: &View, held: &LocalControl, selector: &Selector) -> Result<LocalControl, Miss> {
    let Some(inside) = &selector.inside else { return Ok(held.clone()) };
    let mut told = LocalControl::default();
    for item in inside {
        match item.name.as_str().to_ascii_lowercase().as_str() {
            "mode" => {
                let mode = held.mode.unwrap_or(StreamMode::Inactive);
                condition(item, &word(&format!("{mode:?}")))?;
                told.mode = Some(mode);
            }
            "reservedgroup" => told.reserve_group = Some(held.reserve_group.unwrap_or(false)),
            "reservedvalue" => told.reserve_value = Some(held.reserve_value.unwrap_or(false)),
            _ => told.properties.push(property(view, &held.properties, item, Kind::Property)?),
        }
    }
    Ok(told)
}

/// A property as it was set, or as it is when nobody sets it.
fn property(view: &View, held: &[Property], item: &Selector, kind: Kind) -> Result<Property, Miss> {
    if let Some(found) = held.iter().find(|p| p.name == item.name) {
        condition(item, &found.value)?;
        return Ok(found.clone());
    }
    let known = check(view.function, kind, &item.name).map_err(|_| absent(&item.name))?;
    let flag = matches!(known.possible, Possible::Flag | Possible::Words(["OFF"]));
    let value = if flag { ParameterValue::from(false) } else { return Err(unset(item)) };
    condition(item, &value)?;
    Ok(Property::new(item.name.clone(), value))
}

/// Not there; a condition on it does not hold.
fn unset(item: &Selector) -> Miss {
    match absent(&item.name) {
        Miss::Absent(fault) if item.value.is_some() => Miss::Unmet(fault),
        other => other,
    }
}

/// A whole session description: the grammars select no parts of it.
fn whole(held: Option<&SessionDescription>, selector: &Selector) -> Result<SessionDescription, Miss> {
    if selector.inside.as_ref().is_some_and(|inside| !inside.is_empty()) {
        let what = format!("Not implemented: audit of parts of {}", selector.name);
        return Err(Miss::Absent(Fault::unsupported(501, what)));
    }
    held.cloned().ok_or_else(|| absent(&selector.name))
}

fn word(text: &str) -> ParameterValue {
    ParameterValue::Equal(Value::from(text.to_owned()))
}

/// Whether what is fulfils a condition; without one it does.
fn condition(item: &Selector, is: &ParameterValue) -> Result<(), Miss> {
    let Some(wanted) = &item.value else { return Ok(()) };
    let all: &[Value] = match is {
        ParameterValue::Equal(value) => std::slice::from_ref(value),
        ParameterValue::AnyOf(list) | ParameterValue::AllOf(list) => list,
        _ => &[],
    };
    let same = |a: &Value, b: &Value| a.as_str().eq_ignore_ascii_case(b.as_str());
    let has = |value: &Value| all.iter().any(|held| same(held, value));
    let number = all.first().and_then(Value::as_u64);
    let holds = match wanted {
        ParameterValue::Equal(value) => has(value),
        ParameterValue::NotEqual(value) => !has(value),
        ParameterValue::Less(value) => number.zip(value.as_u64()).is_some_and(|(n, v)| n < v),
        ParameterValue::Greater(value) => number.zip(value.as_u64()).is_some_and(|(n, v)| n > v),
        ParameterValue::AnyOf(values) => values.iter().any(has),
        ParameterValue::AllOf(values) => values.iter().all(has),
        ParameterValue::Range(low, high) => {
            let range = low.as_u64().zip(high.as_u64());
            number.zip(range).is_some_and(|(n, (low, high))| (low..=high).contains(&n))
        }
    };
    if holds {
        return Ok(());
    }
    Err(Miss::Unmet(Fault::request(
        532,
        format!("Audited item does not exist: {} with that value", item.name),
    )))
}
