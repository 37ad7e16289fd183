//! Audit descriptors, selections of single items, and audits of contexts, in binary.

use super::ber::{self, Element, Elements, SEQUENCE, Writer, cons, prim};
use super::media::{MODES, STATES, position};
use super::names::{self, Space};
use super::value::write_property;
use super::{Reader, Result, Unsayable, sdp, unsayable};
use crate::Error;
use crate::model::{
    Audit, AuditItem, AuditToken, ParameterValue, Property, RequestId, Selector, ServiceState, StreamMode,
    Value,
};

/// The bits of auditToken in their order.
const TOKENS: [AuditToken; 10] = [
    AuditToken::Mux,
    AuditToken::Modem,
    AuditToken::Media,
    AuditToken::Events,
    AuditToken::Signals,
    AuditToken::DigitMap,
    AuditToken::Statistics,
    AuditToken::ObservedEvents,
    AuditToken::Packages,
    AuditToken::EventBuffer,
];

/// The selectors of a context that are fields of their own when they carry no value.
const CONTEXT: [(&str, u8); 4] = [("Topology", 0), ("Emergency", 1), ("Priority", 2), ("IEPSCall", 3)];
/// How selections combine (version 3).
const LOGIC: [&str; 2] = ["ANDLgc", "ORLgc"];

/// The selector of that name that asks for an item.
fn asked<'s>(list: &'s [Selector], name: &str) -> Option<&'s Selector> {
    list.iter().find(|s| s.name == *name && s.value.is_none())
}

/// The selector of that name that selects by a value.
fn valued<'s>(list: &'s [Selector], name: &str) -> Option<&'s Selector> {
    list.iter().find(|s| s.name == *name && s.value.is_some())
}

fn beyond(selector: &Selector) -> Unsayable {
    unsayable(format!("the selection {}: it has no binary form", selector.name))
}

/// AuditDescriptor.
pub(super) fn write(w: &mut Writer, tag: u8, audit: &Audit) -> Result<()> {
    w.nest(tag, |w| {
        let bit = |item: &AuditItem| match item {
            AuditItem::Descriptor(token) => Some(position(&TOKENS, token) as u8),
            AuditItem::Individual(_) => None,
        };
        if audit.0.iter().any(|item| bit(item).is_some()) {
            w.bits(prim(0), audit.0.iter().filter_map(bit));
        }
        if audit.0.iter().all(|item| bit(item).is_some()) {
            return Ok(());
        }
        w.nest(cons(1), |w| {
            audit.0.iter().try_for_each(|item| match item {
                AuditItem::Descriptor(_) => Ok(()),
                AuditItem::Individual(selector) => write_selection(w, selector),
            })
        })
    })
}

/// IndAuditParameter: one for each item that is selected, Media apart.
fn write_selection(w: &mut Writer, selector: &Selector) -> Result<()> {
    let inside = selector.inside.as_deref().unwrap_or_default();
    let each = |w: &mut Writer, one: &dyn Fn(&mut Writer, &Selector) -> Result<()>| match inside {
        [] => Err(beyond(selector)),
        list => list.iter().try_for_each(|item| one(w, item)),
    };
    match selector.name.as_str() {
        "Media" => write_media(w, selector),
        "Events" => each(w, &|w, item| {
            w.nest(cons(1), |w| {
                if let Some(id) = plain(selector).and_then(Value::as_u64) {
                    w.integer(prim(0), id.into());
                }
                w.element(prim(1), &names::number_of(Space::Event, &item.name)?.0);
                write_stream_number(w, 2, item)
            })
        }),
        "EventBuffer" => each(w, &|w, item| {
            w.nest(cons(2), |w| {
                w.element(prim(0), &names::number_of(Space::Event, &item.name)?.0);
                write_stream_number(w, 1, item)
            })
        }),
        "Signals" => each(w, &|w, item| {
            w.nest(cons(3), |w| {
                if item.name != *"SignalList" {
                    return write_signal(w, cons(0), item);
                }
                let id = plain(item).and_then(Value::as_u64).ok_or_else(|| beyond(item))?;
                w.nest(cons(1), |w| {
                    w.integer(prim(0), id.into());
                    match item.inside.as_deref() {
                        None | Some([]) => Ok(()),
                        Some([signal]) => write_signal(w, cons(1), signal),
                        Some(_) => Err(beyond(item)),
                    }
                })
            })
        }),
        "DigitMap" => w.nest(cons(4), |w| match plain(selector) {
            Some(name) => {
                w.element(prim(0), &names::two_octets(&name.as_str().to_owned().into())?);
                Ok(())
            }
            None => Err(beyond(selector)),
        }),
        "Statistics" => each(w, &|w, item| {
            w.nest(cons(5), |w| {
                w.element(prim(0), &names::number_of(Space::Statistic, &item.name)?.0);
                Ok(())
            })
        }),
        "Packages" => each(w, &|w, item| {
            let parts = item.name.as_str().rsplit_once('-');
            let parts =
                parts.and_then(|(name, v)| Some((names::package_number(name)?, v.parse::<u8>().ok()?)));
            let (number, version) = parts.ok_or_else(|| beyond(item))?;
            w.nest(cons(6), |w| {
                w.element(prim(0), &number.to_be_bytes());
                w.integer(prim(1), version.into());
                Ok(())
            })
        }),
        _ => Err(beyond(selector)),
    }
}

fn write_signal(w: &mut Writer, tag: u8, item: &Selector) -> Result<()> {
    w.nest(tag, |w| {
        w.element(prim(0), &names::number_of(Space::Signal, &item.name)?.0);
        let inside = item.inside.as_deref().unwrap_or_default();
        for (n, name) in [(1, "Stream"), (2, "SPARequestID")] {
            let Some(number) = valued(inside, name) else { continue };
            // `*` is a request number too.
            let all = n == 2 && plain(number).is_some_and(|v| v.as_str() == "*");
            let id = plain(number).and_then(Value::as_u64).or(all.then_some(u64::from(u32::MAX)));
            w.integer(prim(n), id.ok_or_else(|| beyond(number))?.into());
        }
        let known = |s: &&Selector| (s.name == *"Stream" || s.name == *"SPARequestID") && s.value.is_some();
        match inside.iter().find(|s| !known(s)) {
            Some(other) => Err(beyond(other)),
            None if item.value.is_some() => Err(beyond(item)),
            None => Ok(()),
        }
    })
}

/// A single value that is asked to be equal.
fn plain(selector: &Selector) -> Option<&Value> {
    selector.value.as_ref().and_then(ParameterValue::single)
}

/// `{ Stream = n }` in an item.
fn write_stream_number(w: &mut Writer, n: u8, item: &Selector) -> Result<()> {
    match item.inside.as_deref() {
        None | Some([]) if item.value.is_none() => Ok(()),
        Some([stream]) if stream.name == *"Stream" && item.value.is_none() => {
            let id = plain(stream).and_then(Value::as_u64).ok_or_else(|| beyond(stream))?;
            w.integer(prim(n), id.into());
            Ok(())
        }
        _ => Err(beyond(item)),
    }
}

/// IndAudMediaDescriptor.
fn write_media(w: &mut Writer, media: &Selector) -> Result<()> {
    let inside = media.inside.as_deref().unwrap_or_default();
    let state = inside.iter().find(|s| s.name == *"TerminationState");
    let streams: Vec<_> = inside.iter().filter(|s| s.name == *"Stream").collect();
    let rest: Vec<_> =
        inside.iter().filter(|s| s.name != *"TerminationState" && s.name != *"Stream").collect();
    w.nest(cons(0), |w| {
        if let Some(state) = state {
            w.nest(cons(0), |w| write_state(w, state))?;
        }
        match (streams.as_slice(), rest.as_slice()) {
            ([], []) => Ok(()),
            ([], rest) => w.nest(cons(1), |w| w.nest(cons(0), |w| write_stream(w, rest))),
            (streams, []) => w.nest(cons(1), |w| {
                w.nest(cons(1), |w| {
                    streams.iter().try_for_each(|stream| {
                        let id = plain(stream).and_then(Value::as_u64).ok_or_else(|| beyond(stream))?;
                        let inside: Vec<_> = stream.inside.iter().flatten().collect();
                        w.nest(SEQUENCE, |w| {
                            w.integer(prim(0), id.into());
                            w.nest(cons(1), |w| write_stream(w, &inside))
                        })
                    })
                })
            }),
            _ => Err(beyond(media)),
        }
    })
}

/// IndAudStreamParms.
fn write_stream(w: &mut Writer, parameters: &[&Selector]) -> Result<()> {
    let find = |name: &str| parameters.iter().find(|s| s.name == *name);
    if let Some(control) = find("LocalControl") {
        w.nest(cons(0), |w| write_control(w, control))?;
    }
    for (n, name) in [(1, "Local"), (2, "Remote")] {
        let Some(descriptor) = find(name) else { continue };
        let lines = descriptor.inside.as_deref().unwrap_or_default();
        w.nest(cons(n), |w| {
            w.nest(cons(1), |w| lines.iter().try_for_each(|line| sdp::write_selected(w, line)))
        })?;
    }
    if let Some(statistics) = find("Statistics") {
        let [item] = statistics.inside.as_deref().unwrap_or_default() else { return Err(beyond(statistics)) };
        w.nest(cons(3), |w| {
            w.element(prim(0), &names::number_of(Space::Statistic, &item.name)?.0);
            Ok(())
        })?;
    }
    let known =
        |s: &&Selector| ["LocalControl", "Local", "Remote", "Statistics"].iter().any(|k| s.name == **k);
    parameters.iter().copied().find(|s| !known(s)).map_or(Ok(()), |other| Err(beyond(other)))
}

/// IndAudLocalControlDescriptor.
fn write_control(w: &mut Writer, control: &Selector) -> Result<()> {
    let inside = control.inside.as_deref().unwrap_or_default();
    let own = ["Mode", "ReservedValue", "ReservedGroup"];
    for (n, name) in own.iter().enumerate() {
        if asked(inside, name).is_some() {
            w.null(prim(n as u8));
        }
    }
    let items: Vec<_> = inside.iter().filter(|s| !own.iter().any(|k| s.name == **k)).collect();
    if !items.is_empty() {
        w.nest(cons(3), |w| items.iter().try_for_each(|item| write_item(w, item)))?;
    }
    if let Some(mode) = valued(inside, "Mode") {
        let value = plain(mode).ok_or_else(|| beyond(mode))?;
        w.integer(prim(4), index(&MODES, value.as_str()).ok_or_else(|| beyond(mode))?);
    }
    Ok(())
}

/// Where a word stands among the names of values. The selection has them as words.
fn index<T: std::fmt::Debug>(list: &[T], word: &str) -> Option<i128> {
    list.iter().position(|v| format!("{v:?}").eq_ignore_ascii_case(word)).map(|n| n as i128)
}

/// IndAudPropertyParm.
fn write_item(w: &mut Writer, item: &Selector) -> Result<()> {
    let (number, _) = names::number_of(Space::Property, &item.name)?;
    w.nest(SEQUENCE, |w| {
        w.element(prim(0), &number);
        match &item.value {
            Some(value) => {
                write_property(w, cons(1), &Property { name: item.name.clone(), value: value.clone() })
            }
            None => Ok(()),
        }
    })
}

/// IndAudTerminationStateDescriptor.
fn write_state(w: &mut Writer, state: &Selector) -> Result<()> {
    let inside = state.inside.as_deref().unwrap_or_default();
    let mut items = inside.iter().filter(|s| s.name != *"Buffer" && s.name != *"ServiceStates");
    w.nest(cons(0), |w| items.try_for_each(|item| write_item(w, item)))?;
    for (n, name) in [(1, "Buffer"), (2, "ServiceStates")] {
        if asked(inside, name).is_some() {
            w.null(prim(n));
        }
    }
    if let Some(service) = valued(inside, "ServiceStates") {
        let value = plain(service).ok_or_else(|| beyond(service))?;
        w.integer(prim(3), index(&STATES, value.as_str()).ok_or_else(|| beyond(service))?);
    }
    Ok(())
}

/// ContextAttrAuditRequest.
pub(super) fn write_context_audit(w: &mut Writer, tag: u8, selectors: &[Selector]) -> Result<()> {
    // What text puts into ContextAttr stands beside the rest here.
    let inside = |s: &Selector| if s.name == *"ContextAttr" { s.inside.clone() } else { None };
    let flat: Vec<Selector> =
        selectors.iter().flat_map(|s| inside(s).unwrap_or_else(|| vec![s.clone()])).collect();
    let selectors = flat.as_slice();
    w.nest(tag, |w| {
        for (name, field) in CONTEXT {
            if asked(selectors, name).is_some() {
                w.null(prim(field));
            }
        }
        let items: Vec<_> = selectors.iter().filter(|s| s.name.as_str().contains('/')).collect();
        if !items.is_empty() {
            w.nest(cons(4), |w| items.iter().try_for_each(|item| write_item(w, item)))?;
        }
        if let Some(priority) = valued(selectors, "Priority") {
            let n = plain(priority).and_then(Value::as_u64).ok_or_else(|| beyond(priority))?;
            w.integer(prim(5), n.into());
        }
        if let Some(value) = valued(selectors, "EmergencyValue").and_then(plain) {
            w.boolean(prim(6), value.as_str().eq_ignore_ascii_case("Emergency"));
        }
        if let Some(call) = valued(selectors, "IEPSCall") {
            let on = plain(call).and_then(Value::as_bool).ok_or_else(|| beyond(call))?;
            w.boolean(prim(7), on);
        }
        if let Some(n) = LOGIC.iter().position(|logic| asked(selectors, logic).is_some()) {
            w.nest::<Unsayable>(cons(8), |w| {
                w.null(prim(n as u8));
                Ok(())
            })?;
        }
        let known = |s: &Selector| {
            s.name.as_str().contains('/')
                || s.name == *"EmergencyValue"
                || LOGIC.iter().any(|l| s.name == **l)
                || CONTEXT.iter().any(|(name, _)| s.name == **name)
        };
        selectors.iter().find(|s| !known(s)).map_or(Ok(()), |other| Err(beyond(other)))
    })
}

fn named(name: &'static str) -> Selector {
    Selector::new(name)
}

fn equal(name: &'static str, value: impl Into<Value>) -> Selector {
    Selector { value: Some(ParameterValue::Equal(value.into())), ..Selector::new(name) }
}

fn with(name: &'static str, inside: Vec<Selector>) -> Selector {
    Selector { inside: Some(inside), ..Selector::new(name) }
}

impl<'a> Reader<'a> {
    /// AuditDescriptor after its tag.
    pub(super) fn audit(&mut self, mut fields: Elements<'a>) -> Result<Audit, Error> {
        let mut out = Vec::new();
        let at = fields.at;
        if let Some(octets) = self.string(&mut fields, 0)? {
            let Some(set) = ber::bits(&octets) else { return self.expected(at, "a bit string") };
            out.extend(set.filter_map(|n| TOKENS.get(usize::from(n))).map(|t| AuditItem::Descriptor(*t)));
        }
        if let Some(mut list) = self.take(&mut fields, cons(1))? {
            while let Some(element) = self.next(&mut list)? {
                self.count(out.len(), element.at)?;
                out.push(AuditItem::Individual(self.selection(&element)?));
            }
        }
        Ok(Audit(out))
    }

    /// IndAuditParameter.
    fn selection(&mut self, element: &Element<'a>) -> Result<Selector, Error> {
        let mut fields = Elements::of(element);
        Ok(match element.tag {
            0xa0 => with("Media", self.media_selection(fields)?),
            0xa1 => {
                let id = self.unsigned(&mut fields, 0, u32::MAX, "a request number")?;
                let item = self.item(&mut fields, 1, Space::Event)?;
                let item = self.of_stream(&mut fields, 2, item)?;
                let value = id.map(|id| ParameterValue::Equal(Value::from(id)));
                Selector { value, ..with("Events", vec![item]) }
            }
            0xa2 => {
                let item = self.item(&mut fields, 0, Space::Event)?;
                with("EventBuffer", vec![self.of_stream(&mut fields, 1, item)?])
            }
            0xa3 => {
                let choice = self.choice(fields, "a signal or a list of signals")?;
                let mut fields = Elements::of(&choice);
                let item = if choice.tag == cons(0) {
                    self.signal_selection(&mut fields)?
                } else {
                    let Some(id) = self.unsigned16(&mut fields, 0, "a list number")? else {
                        return self.expected(choice.at, "a list number");
                    };
                    let inside = match self.take(&mut fields, cons(1))? {
                        Some(mut signal) => Some(vec![self.signal_selection(&mut signal)?]),
                        None => None,
                    };
                    Selector { inside, ..equal("SignalList", id) }
                };
                with("Signals", vec![item])
            }
            0xa4 => match self.string(&mut fields, 0)?.as_deref() {
                Some([a, b]) => equal("DigitMap", names::from_two_octets([*a, *b]).as_str().to_owned()),
                _ => return self.expected(element.inside, "a name of two octets"),
            },
            0xa5 => with("Statistics", vec![self.item(&mut fields, 0, Space::Statistic)?]),
            0xa6 => {
                let number = self.number2(&mut fields, prim(0), "the name of a package")?;
                let version = self.unsigned(&mut fields, 1, 99, "a version")?.unwrap_or(0);
                let name = format!("{}-{version}", names::package_name(u16::from_be_bytes(number)));
                with("Packages", vec![Selector { name: name.into(), value: None, inside: None }])
            }
            _ => return self.expected(element.at, "something to audit"),
        })
    }

    fn item(&mut self, fields: &mut Elements<'a>, n: u8, space: Space) -> Result<Selector, Error> {
        let number = self.number4(fields, prim(n), "the name of an item")?;
        Ok(Selector { name: names::name_of(space, number).0, value: None, inside: None })
    }

    fn of_stream(&mut self, fields: &mut Elements<'a>, n: u8, item: Selector) -> Result<Selector, Error> {
        let stream = self.unsigned16(fields, n, "a stream number")?;
        Ok(Selector { inside: stream.map(|id| vec![equal("Stream", id)]), ..item })
    }

    fn signal_selection(&mut self, fields: &mut Elements<'a>) -> Result<Selector, Error> {
        let item = self.item(fields, 0, Space::Signal)?;
        let item = self.of_stream(fields, 1, item)?;
        let Some(id) = self.unsigned(fields, 2, u32::MAX, "a request number")? else { return Ok(item) };
        let number = equal("SPARequestID", RequestId(id).to_string());
        let inside = item.inside.into_iter().flatten().chain([number]).collect();
        Ok(Selector { inside: Some(inside), ..item })
    }

    fn media_selection(&mut self, mut fields: Elements<'a>) -> Result<Vec<Selector>, Error> {
        let mut out = Vec::new();
        if let Some(mut state) = self.take(&mut fields, cons(0))? {
            let list = self.required(&mut state, cons(0), "properties")?;
            let mut inside = self.items_selected(list)?;
            if self.null(&mut state, 1)? {
                inside.push(named("Buffer"));
            }
            if self.null(&mut state, 2)? {
                inside.push(named("ServiceStates"));
            }
            if let Some(wanted) = self.one_of(&mut state, 3, &STATES, "a service state")? {
                inside.push(equal("ServiceStates", service_word(wanted)));
            }
            out.push(with("TerminationState", inside));
        }
        let Some(streams) = self.take(&mut fields, cons(1))? else { return Ok(out) };
        let choice = self.choice(streams, "a stream or streams")?;
        let mut list = Elements::of(&choice);
        if choice.tag == cons(0) {
            out.extend(self.stream_selection(list)?);
            return Ok(out);
        }
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let mut fields = Elements::of(&element);
            let Some(id) = self.unsigned16(&mut fields, 0, "a stream number")? else {
                return self.expected(element.at, "a stream number");
            };
            let parameters = self.required(&mut fields, cons(1), "stream parameters")?;
            let inside = Some(self.stream_selection(parameters)?);
            out.push(Selector { inside, ..equal("Stream", id) });
        }
        Ok(out)
    }

    fn stream_selection(&mut self, mut fields: Elements<'a>) -> Result<Vec<Selector>, Error> {
        let mut out = Vec::new();
        if let Some(mut control) = self.take(&mut fields, cons(0))? {
            let mut inside = Vec::new();
            for (n, name) in [(0, "Mode"), (1, "ReservedValue"), (2, "ReservedGroup")] {
                if self.null(&mut control, n)? {
                    inside.push(named(name));
                }
            }
            if let Some(list) = self.take(&mut control, cons(3))? {
                inside.extend(self.items_selected(list)?);
            }
            if let Some(wanted) = self.one_of(&mut control, 4, &MODES, "a mode")? {
                inside.push(equal("Mode", mode_word(wanted)));
            }
            out.push(with("LocalControl", inside));
        }
        for (n, name) in [(1, "Local"), (2, "Remote")] {
            // The number of the property group that may come first has no text form.
            if let Some(mut descriptor) = self.take(&mut fields, cons(n))? {
                self.unsigned16(&mut descriptor, 0, "the number of a group")?;
                let list = self.required(&mut descriptor, cons(1), "properties")?;
                let lines = self.sdp_selected(list)?;
                out.push(if lines.is_empty() { named(name) } else { with(name, lines) });
            }
        }
        if let Some(mut statistics) = self.take(&mut fields, cons(3))? {
            out.push(with("Statistics", vec![self.item(&mut statistics, 0, Space::Statistic)?]));
        }
        Ok(out)
    }

    fn items_selected(&mut self, mut list: Elements<'a>) -> Result<Vec<Selector>, Error> {
        let mut out = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let mut fields = Elements::of(&element);
            let item = self.item(&mut fields, 0, Space::Property)?;
            let value = match self.take(&mut fields, cons(1))? {
                Some(property) => {
                    let property = self.property(property)?;
                    if property.name != item.name {
                        return self.expected(element.at, "a value of the same property");
                    }
                    Some(property.value)
                }
                None => None,
            };
            out.push(Selector { value, ..item });
        }
        Ok(out)
    }

    /// ContextAttrAuditRequest after its tag.
    pub(super) fn context_audit(&mut self, mut fields: Elements<'a>) -> Result<Vec<Selector>, Error> {
        let mut out = Vec::new();
        for (name, field) in CONTEXT {
            if self.null(&mut fields, field)? {
                out.push(named(name));
            }
        }
        if let Some(list) = self.take(&mut fields, cons(4))? {
            out.extend(self.items_selected(list)?);
        }
        if let Some(priority) = self.unsigned(&mut fields, 5, 15, "a priority")? {
            out.push(equal("Priority", priority));
        }
        if let Some(on) = self.boolean(&mut fields, 6)? {
            out.push(equal("EmergencyValue", if on { "Emergency" } else { "EmergencyOff" }));
        }
        if let Some(on) = self.boolean(&mut fields, 7)? {
            out.push(equal("IEPSCall", on));
        }
        if let Some(logic) = self.take(&mut fields, cons(8))? {
            let choice = self.choice(logic, "how selections combine")?;
            match LOGIC.get(usize::from(choice.tag & 0x1f)) {
                Some(name) => out.push(named(name)),
                None => return self.expected(choice.at, "how selections combine"),
            }
        }
        if out.is_empty() {
            return self.expected(fields.at, "something to audit");
        }
        Ok(out)
    }
}

fn mode_word(mode: StreamMode) -> &'static str {
    match mode {
        StreamMode::SendOnly => "SendOnly",
        StreamMode::ReceiveOnly => "ReceiveOnly",
        StreamMode::SendReceive => "SendReceive",
        StreamMode::Inactive => "Inactive",
        StreamMode::Loopback => "Loopback",
    }
}

fn service_word(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Test => "Test",
        ServiceState::OutOfService => "OutOfService",
        ServiceState::InService => "InService",
    }
}
