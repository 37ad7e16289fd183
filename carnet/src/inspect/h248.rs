//! `carnet inspect h248`: messages in the text or the binary encoding, one after the other as in a
//! log, or the messages of a TCP stream (TPKT).
//!
//! The object follows the model of [`carnet_h248`]: transactions, actions, commands, descriptors.
//! Key material is left out.

use super::{Diagnosis, Emit};
use carnet_h248::binary;
use carnet_h248::encoding;
use carnet_h248::text::{self, Form, Limits};
use carnet_h248::{
    ActionReply, ActionRequest, AuditItem, Body, Command, CommandReply, ContextProperties, Descriptor,
    ErrorDescriptor, Events, LocalControl, Media, Message, ObservedEvent, ParameterValue, Property,
    ReplyBody, Selector, ServiceChange, ServiceChangeAddress, SessionDescription, Signal, SignalItem,
    Signals, Statistic, Stream, TerminationId, Transaction, package, tpkt,
};
use serde_json::{Map, Value, json};

/// A form to write messages again in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum To {
    /// Long keywords, indentation.
    Text,
    /// Short keywords.
    Compact,
    /// BER.
    Binary,
}

/// Reads the messages in `input` in order.
pub fn inspect(input: &[u8], emit: Emit<'_>) -> Result<(), Diagnosis> {
    each(input, |offset, length, message| emit(describe(offset, length, message)))
}

/// Writes the messages in `input` again in another form; those of a stream one after the other, each
/// in its frame.
pub fn convert(input: &[u8], to: To) -> Result<Vec<u8>, Diagnosis> {
    // As it came: also what its version does not have, which a peer would not be sent.
    let print = |message: &Message| match to {
        To::Text => Ok(text::print(message, Form::Long)),
        To::Compact => Ok(text::print(message, Form::Short)),
        To::Binary => binary::print(message),
    };
    let (mut out, mut failed) = (Vec::new(), None);
    let framed = input.first() == Some(&3);
    let fault = |offset, class, message: String| Some(Diagnosis { offset, class, message });
    each(input, |offset, _, message| {
        if failed.is_some() {
            return;
        }
        match print(message) {
            Err(unsayable) => failed = fault(offset, "unsupported", unsayable.to_string()),
            Ok(printed) if framed => match tpkt::frame(&printed) {
                Some(frame) => out.extend(frame),
                None => failed = fault(offset, "limit", "too long for a TPKT frame in this form".to_owned()),
            },
            Ok(printed) => out.extend(printed),
        }
    })?;
    failed.map_or(Ok(out), Err)
}

fn each(input: &[u8], take: impl FnMut(usize, usize, &Message)) -> Result<(), Diagnosis> {
    match input.first() {
        None => Err(Diagnosis { offset: 0, class: "truncated", message: "the input is empty".to_owned() }),
        Some(3) => stream(input, take),
        Some(_) => unframed(input, take),
    }
}

/// Messages without frames: where one cannot go on and another begins, it is over.
fn unframed(input: &[u8], mut take: impl FnMut(usize, usize, &Message)) -> Result<(), Diagnosis> {
    let parse = |octets: &[u8]| encoding::parse(octets, &Limits::default());
    let mut offset = 0;
    loop {
        let rest = input.get(offset..).unwrap_or_default();
        let (length, parsed) = match parse(rest) {
            Err(carnet_h248::Error::Syntax { at, .. })
                if at > 0 && begins(rest.get(at..), encoding::is_binary(rest)) =>
            {
                (at, parse(rest.get(..at).unwrap_or_default()))
            }
            whole => (rest.len(), whole),
        };
        take(offset, length, &parsed.map_err(|e| diagnose(&e, offset, input.len()))?);
        offset += length;
        if offset >= input.len() {
            return Ok(());
        }
    }
}

/// Whether a message begins here: the tag of a SEQUENCE, or RFC 3525 annex B.2: `MEGACO/` or `!/`, perhaps
/// after an authentication header.
fn begins(octets: Option<&[u8]>, binary: bool) -> bool {
    if binary {
        return octets.is_some_and(encoding::is_binary);
    }
    let starts = |word: &str| {
        octets.and_then(|o| o.get(..word.len())).is_some_and(|o| o.eq_ignore_ascii_case(word.as_bytes()))
    };
    ["MEGACO/", "!/", "Authentication", "AU="].into_iter().any(starts)
}

fn stream(input: &[u8], mut take: impl FnMut(usize, usize, &Message)) -> Result<(), Diagnosis> {
    const HEADER: usize = 4;
    let mut framer = tpkt::Framer::new(tpkt::LONGEST);
    framer.push(input);
    let mut offset = 0;
    while let Some(octets) = framer.next().map_err(|e| diagnose(&e, offset, usize::MAX))? {
        let length = octets.len() + HEADER;
        // What a frame cuts off does not come any more: that is not `truncated` but wrong.
        let message = encoding::parse(&octets, &Limits::default())
            .map_err(|e| diagnose(&e, offset + HEADER, usize::MAX))?;
        take(offset, length, &message);
        offset += length;
    }
    if offset < input.len() {
        let message = "the input ends inside a TPKT frame".to_owned();
        return Err(Diagnosis { offset: input.len(), class: "truncated", message });
    }
    Ok(())
}

/// A fault of a message that begins at `base`. Where it is at `end` nothing is wrong but that the
/// input stops.
fn diagnose(error: &carnet_h248::Error, base: usize, end: usize) -> Diagnosis {
    let text = error.to_string();
    let what = text.split_once(": ").map_or(text.as_str(), |(_, what)| what);
    let message = format!("{what} (H.248 error {})", error.code());
    let offset = base + error.offset();
    let syntax = matches!(error, carnet_h248::Error::Syntax { .. });
    let class = if syntax && offset >= end { "truncated" } else { error.class() };
    Diagnosis { offset, class, message }
}

fn describe(offset: usize, length: usize, message: &Message) -> Value {
    let mut out = Map::new();
    out.insert("offset".into(), offset.into());
    out.insert("length".into(), length.into());
    out.insert("version".into(), message.version.into());
    out.insert("mid".into(), message.mid.to_string().into());
    if let Some(auth) = &message.auth {
        let data = carnet_wire::hex::encode(&auth.data);
        out.insert(
            "authentication".into(),
            json!({"spi": auth.spi, "sequence": auth.sequence, "data": data}),
        );
    }
    match &message.body {
        Body::Error(e) => out.insert("error".into(), error(e)),
        Body::Transactions(list) => out.insert("transactions".into(), list.iter().map(transaction).collect()),
    };
    Value::Object(out)
}

/// An object without the members that are null.
fn object(members: Value) -> Value {
    match members {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).collect()),
        other => other,
    }
}

/// Null for nothing.
fn some<T>(value: Option<T>, describe: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Null, describe)
}

/// Null for an empty list.
fn list<T>(values: &[T], describe: impl FnMut(&T) -> Value) -> Value {
    if values.is_empty() { Value::Null } else { values.iter().map(describe).collect() }
}

/// The name of a variant of the model, which is the long keyword.
fn word(value: impl std::fmt::Debug) -> Value {
    format!("{value:?}").into()
}

fn error(e: &ErrorDescriptor) -> Value {
    object(json!({"code": e.code, "text": e.text.as_deref()}))
}

fn transaction(transaction: &Transaction) -> Value {
    match transaction {
        Transaction::Request(r) => {
            json!({"kind": "request", "id": r.id.0, "actions": r.actions.iter().map(action_request).collect::<Value>()})
        }
        Transaction::Reply(r) => {
            let (failure, actions) = match &r.body {
                ReplyBody::Error(e) => (error(e), Value::Null),
                ReplyBody::Actions(actions) => (Value::Null, actions.iter().map(action_reply).collect()),
            };
            object(json!({
                "kind": "reply",
                "id": r.id.0,
                "segment": r.segment.map(|s| json!({"number": s.number, "last": s.last})),
                "immediate_ack": r.immediate_ack,
                "error": failure,
                "actions": actions,
            }))
        }
        Transaction::Pending(id) => json!({"kind": "pending", "id": id.0}),
        Transaction::Ack(ranges) => {
            let ranges: Value = ranges.iter().map(|r| json!([r.first.0, r.last.0])).collect();
            json!({"kind": "ack", "ranges": ranges})
        }
        Transaction::Segment(s) => {
            json!({"kind": "segment", "id": s.id.0, "segment": {"number": s.segment.number, "last": s.segment.last}})
        }
    }
}

fn action_request(action: &ActionRequest) -> Value {
    object(json!({
        "context": action.context.to_string(),
        "properties": context_properties(&action.properties),
        "audit": some(action.audit.as_deref(), |a| a.iter().map(selector).collect()),
        "commands": action.commands.iter().map(command).collect::<Value>(),
    }))
}

fn action_reply(action: &ActionReply) -> Value {
    object(json!({
        "context": action.context.to_string(),
        "properties": context_properties(&action.properties),
        "commands": action.commands.iter().map(command_reply).collect::<Value>(),
        "error": some(action.error.as_ref(), error),
    }))
}

fn context_properties(p: &ContextProperties) -> Value {
    if p.is_empty() {
        return Value::Null;
    }
    object(json!({
        "topology": list(&p.topology, |t| object(json!({
            "from": t.from.as_str(), "to": t.to.as_str(), "direction": word(t.direction), "stream": t.stream,
        }))),
        "priority": p.priority,
        "emergency": p.emergency,
        "ieps_call": p.ieps_call,
        "attributes": list(&p.attributes, property),
        "context_list": list(&p.context_list, |c| c.to_string().into()),
    }))
}

fn command(c: &Command) -> Value {
    object(json!({
        "command": word(c.verb),
        "optional": c.optional.then_some(true),
        "wildcard_response": c.wildcard_response.then_some(true),
        "terminations": terminations(&c.terminations),
        "descriptors": list(&c.descriptors, descriptor),
    }))
}

fn command_reply(c: &CommandReply) -> Value {
    object(json!({
        "command": word(c.verb),
        "context_audit": c.context_audit.then_some(true),
        "terminations": terminations(&c.terminations),
        "descriptors": list(&c.descriptors, descriptor),
    }))
}

fn terminations(ids: &[TerminationId]) -> Value {
    ids.iter().map(|t| Value::from(t.as_str())).collect()
}

fn descriptor(descriptor: &Descriptor) -> Value {
    let (name, content) = match descriptor {
        Descriptor::Media(m) => ("Media", media(m)),
        Descriptor::Modem(m) => {
            let kinds: Value = m.kinds.iter().map(|k| Value::from(k.as_str())).collect();
            ("Modem", object(json!({"types": kinds, "properties": list(&m.properties, property)})))
        }
        Descriptor::Mux(m) => {
            ("Mux", json!({"type": m.kind.as_str(), "terminations": terminations(&m.terminations)}))
        }
        Descriptor::Events(e) => ("Events", events(e)),
        Descriptor::EventBuffer(l) => ("EventBuffer", l.iter().map(observed).collect()),
        Descriptor::Signals(s) => ("Signals", signals(s)),
        Descriptor::DigitMap(m) => (
            "DigitMap",
            object(json!({"name": m.name.as_ref().map(|n| n.as_str()), "value": m.value.as_deref()})),
        ),
        Descriptor::Audit(a) => ("Audit", a.0.iter().map(audit_item).collect()),
        Descriptor::Statistics(l) => ("Statistics", statistics(l)),
        Descriptor::ObservedEvents(o) => {
            let happened: Value = o.events.iter().map(observed).collect();
            ("ObservedEvents", json!({"request_id": o.request_id.to_string(), "events": happened}))
        }
        Descriptor::Packages(l) => {
            ("Packages", l.iter().map(|p| Value::from(format!("{}-{}", p.name, p.version))).collect())
        }
        Descriptor::ServiceChange(s) => ("Services", services(s)),
        Descriptor::Error(e) => ("Error", error(e)),
        Descriptor::Empty(token) => return json!({"descriptor": word(token)}),
    };
    json!({"descriptor": name, "content": content})
}

fn media(m: &Media) -> Value {
    object(json!({
        "termination_state": some(m.termination_state.as_ref(), |t| object(json!({
            "service_state": t.service_state.map(word),
            "event_buffer": t.event_buffer.map(word),
            "properties": list(&t.properties, property),
        }))),
        "streams": list(&m.streams, stream_descriptor),
    }))
}

fn stream_descriptor(s: &Stream) -> Value {
    object(json!({
        "id": s.id,
        "local_control": some(s.local_control.as_ref(), local_control),
        "local": some(s.local.as_ref(), session_description),
        "remote": some(s.remote.as_ref(), session_description),
        "statistics": some(s.statistics.as_deref(), statistics),
    }))
}

fn local_control(c: &LocalControl) -> Value {
    object(json!({
        "mode": c.mode.map(word),
        "reserve_value": c.reserve_value,
        "reserve_group": c.reserve_group,
        "properties": list(&c.properties, property),
    }))
}

fn session_description(sdp: &SessionDescription) -> Value {
    sdp.lines().map(|line| Value::from(String::from_utf8_lossy(line))).collect()
}

fn statistics(l: &[Statistic]) -> Value {
    let one =
        |s: &Statistic| json!([s.name.as_str(), s.values.iter().map(|v| v.as_str()).collect::<Vec<_>>()]);
    l.iter().map(one).collect()
}

/// `[name, relation, values]`
fn property(p: &Property) -> Value {
    if package::is_secret(&p.name) {
        return json!([p.name.as_str(), "hidden", []]);
    }
    let (relation, values) = relation(&p.value);
    json!([p.name.as_str(), relation, values])
}

fn relation(value: &ParameterValue) -> (&'static str, Vec<&str>) {
    match value {
        ParameterValue::Equal(v) => ("=", vec![v.as_str()]),
        ParameterValue::NotEqual(v) => ("#", vec![v.as_str()]),
        ParameterValue::Less(v) => ("<", vec![v.as_str()]),
        ParameterValue::Greater(v) => (">", vec![v.as_str()]),
        ParameterValue::AnyOf(l) => ("any", l.iter().map(|v| v.as_str()).collect()),
        ParameterValue::AllOf(l) => ("all", l.iter().map(|v| v.as_str()).collect()),
        ParameterValue::Range(a, b) => ("range", vec![a.as_str(), b.as_str()]),
    }
}

fn events(e: &Events) -> Value {
    let asked: Value = e.events.iter().map(|event| {
        let embedded = event.embed.as_ref().map(|embed| object(json!({
            "signals": some(embed.signals.as_ref(), signals),
            "events": some(embed.events.as_ref(), events),
        })));
        object(json!({
            "event": event.name.as_str(),
            "stream": event.stream,
            "keep_active": event.keep_active.then_some(true),
            "digit_map": event.digit_map.as_ref().and_then(|m| m.name.as_ref().map(|n| n.as_str()).or(m.value.as_deref())),
            "embed": embedded,
            "notify": event.notify.as_ref().map(notify),
            "reset_events": event.reset_events.then_some(true),
            "parameters": list(&event.parameters, property),
        }))
    }).collect();
    object(json!({"request_id": e.request_id.map(|id| id.to_string()), "events": asked}))
}

fn notify(behaviour: &carnet_h248::NotifyBehaviour) -> &'static str {
    match behaviour {
        carnet_h248::NotifyBehaviour::Immediate => "ImmediateNotify",
        carnet_h248::NotifyBehaviour::Never => "NeverNotify",
        carnet_h248::NotifyBehaviour::Regulated(_) => "RegulatedNotify",
    }
}

fn observed(e: &ObservedEvent) -> Value {
    object(json!({
        "time": e.timestamp.map(|t| t.to_string()),
        "event": e.name.as_str(),
        "stream": e.stream,
        "parameters": list(&e.parameters, property),
    }))
}

fn signals(s: &Signals) -> Value {
    s.0.iter()
        .map(|item| match item {
            SignalItem::Signal(s) => signal(s),
            SignalItem::List(l) => {
                json!({"list": l.id, "signals": l.signals.iter().map(signal).collect::<Value>()})
            }
        })
        .collect()
}

fn signal(s: &Signal) -> Value {
    object(json!({
        "signal": s.name.as_str(),
        "stream": s.stream,
        "type": s.kind.map(word),
        "duration": s.duration,
        "notify_completion": s.notify_completion.as_ref().map(|l| l.iter().map(word).collect::<Value>()),
        "keep_active": s.keep_active.then_some(true),
        "direction": s.direction.map(word),
        "request_id": s.request_id.map(|id| id.to_string()),
        "intersignal_delay": s.intersignal_delay,
        "parameters": list(&s.parameters, property),
    }))
}

fn audit_item(item: &AuditItem) -> Value {
    match item {
        AuditItem::Descriptor(token) => word(token),
        AuditItem::Individual(s) => selector(s),
    }
}

fn selector(s: &Selector) -> Value {
    object(json!({
        "name": s.name.as_str(),
        "value": some(s.value.as_ref(), |v| {
            let (sign, values) = relation(v);
            json!([sign, values])
        }),
        "inside": some(s.inside.as_deref(), |l| l.iter().map(selector).collect()),
    }))
}

fn services(s: &ServiceChange) -> Value {
    let method = |m: &carnet_h248::Method| match m {
        carnet_h248::Method::Other(name) => Value::from(name.as_str()),
        known => word(known),
    };
    let address = |a: &ServiceChangeAddress| match a {
        ServiceChangeAddress::Port(port) => Value::from(*port),
        ServiceChangeAddress::MId(mid) => mid.to_string().into(),
    };
    object(json!({
        "method": some(s.method.as_ref(), method),
        "reason": s.reason.as_ref().map(|r| r.0.as_str()),
        "address": some(s.address.as_ref(), address),
        "mgc_id_to_try": s.mgc_id_to_try.as_ref().map(ToString::to_string),
        "delay": s.delay,
        "profile": s.profile.as_ref().map(ToString::to_string),
        "version": s.version,
        "timestamp": s.timestamp.map(|t| t.to_string()),
        "incomplete": s.incomplete.then_some(true),
        "audit": list(&s.audit, audit_item),
        "extensions": list(&s.extensions, property),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &str = "MEGACO/3 <a.example> Transaction = 7 { Context = $ { Add = ip/1/$ { Media { Stream = 1 { \
        LocalControl { Mode = Inactive, ipdc/realm = \"x\", crntls/psk = 0011 }, Local {\nv=0\nm=- $ TCP -\n} } } } } }";

    fn all(input: &[u8]) -> (Vec<Value>, Result<(), Diagnosis>) {
        let mut out = Vec::new();
        let result = inspect(input, &mut |v| out.push(v));
        (out, result)
    }

    #[test]
    fn a_message_is_a_tree_without_its_keys() {
        let (out, result) = all(ADD.as_bytes());
        assert!(result.is_ok());
        let [message] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!((&message["version"], &message["mid"]), (&json!(3), &json!("<a.example>")));
        let stream = &message["transactions"][0]["actions"][0]["commands"][0]["descriptors"][0]["content"]["streams"]
            [0];
        assert_eq!(stream["local_control"]["properties"][0], json!(["ipdc/realm", "=", ["x"]]));
        assert_eq!(stream["local"], json!(["v=0", "m=- $ TCP -"]));
        assert!(!message.to_string().contains("0011"));
    }

    #[test]
    fn a_stream_of_frames_is_read_to_the_first_fault() {
        let mut input = tpkt::frame(ADD.as_bytes()).unwrap();
        let second = input.len();
        input.extend(tpkt::frame(b"MEGACO/9 <a>").unwrap());
        let (out, result) = all(&input);
        let fault = result.unwrap_err();
        assert_eq!((out.len(), fault.class, fault.offset), (1, "unsupported", second + 4 + 7));
        input.truncate(second + 2);
        assert_eq!(all(&input).1.unwrap_err().class, "truncated");
    }

    #[test]
    fn messages_of_a_log_follow_each_other() {
        let reply = "!/3 [192.0.2.1]:2944 P=7{C=1{A=ip/1/1}}";
        let input = format!("{ADD}\n\n{reply}\n{ADD}");
        let (out, result) = all(input.as_bytes());
        assert!(result.is_ok(), "{result:?}");
        let places: Vec<_> = out.iter().map(|m| m["offset"].as_u64().unwrap() as usize).collect();
        assert_eq!(places, [0, input.find("!/3").unwrap(), input.rfind("MEGACO").unwrap()]);
        assert_eq!(out[1]["transactions"][0]["kind"], "reply");
        // A fault in the second is pointed at where it stands in the input.
        let spoiled = input.replacen("P=7", "P=x", 1);
        let (out, result) = all(spoiled.as_bytes());
        assert_eq!((out.len(), result.unwrap_err().offset), (1, spoiled.find("x{C").unwrap()));
    }

    #[test]
    fn an_end_inside_a_message_is_no_fault_of_its_octets() {
        for cut in ["MEGACO/3 <a", "MEGACO/3 <a>", "MEGACO/3 <a> T=7{C=$", "MEGACO/3 <a> T=7{C=${A=ip/1/${"] {
            let fault = all(cut.as_bytes()).1.unwrap_err();
            assert_eq!((fault.class, fault.offset), ("truncated", cut.len()), "{cut}");
        }
        for cut in [ADD.len() - 1, ADD.len() - 4, ADD.find("MEGACO").unwrap() + 10] {
            assert_eq!(all(&ADD.as_bytes()[..cut]).1.unwrap_err().class, "truncated", "{cut}");
        }
        // Cut off by a frame nothing more comes.
        let framed = tpkt::frame(b"MEGACO/3 <a> T=7{C=$").unwrap();
        assert_eq!(all(&framed).1.unwrap_err().class, "syntax");
        assert_eq!(all(b"MEGACO/3 <a> T=7{C=$}}").1.unwrap_err().class, "syntax");
    }

    #[test]
    fn forms_are_converted_and_what_is_missing_is_said() {
        let compact = convert(ADD.as_bytes(), To::Compact).unwrap();
        assert!(compact.starts_with(b"!/3 <a.example>\nT=7{C=${A=ip/1/${M{ST=1{O{MO=IN,"));
        assert_eq!(convert(&compact, To::Text).unwrap(), convert(ADD.as_bytes(), To::Text).unwrap());
        let binary = convert(ADD.as_bytes(), To::Binary).unwrap();
        let text = convert(&binary, To::Compact).unwrap();
        assert!(text.starts_with(b"!/3 <a.example>\nT=7{C=${A=ip/1/${M{ST=1{O{MO=IN,"));
        assert_eq!(convert(&text, To::Binary).unwrap(), binary);
        // Two after each other, as in a log.
        assert_eq!(all(&binary.repeat(2)).0.len(), 2);
        let unsayable = b"MEGACO/3 <a> T=7{C=1{S=a-name-of-many-octets}}";
        assert_eq!(convert(unsayable, To::Binary).unwrap_err().class, "unsupported");
        assert_eq!(all(b"\x30\x03").1.unwrap_err().class, "syntax");
        assert_eq!(all(b"").1.unwrap_err().class, "truncated");
        assert_eq!(all(b"MEGACO/3 <a> Nope").1.unwrap_err().offset, 13);
    }
}
