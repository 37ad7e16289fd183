//! The model as text, in long form with indentation or in short form without.
//!
//! Total: what the grammar cannot say is made sayable, so that no value can break out of its place.
//! In identifiers other octets become `_`; in quotes `"` becomes `'` and control characters blanks.

use super::keyword::Keyword as K;
use crate::model::value::is_safe;
use crate::model::{
    ActionReply, ActionRequest, Audit, AuditItem, Body, Command, CommandReply, Completion, ContextId,
    ContextProperties, Descriptor, DigitMap, Direction, Embed, ErrorDescriptor, EventBufferControl, Events,
    LocalControl, MId, Media, Message, Method, Modem, Mux, NotifyBehaviour, ObservedEvent, PackageVersion,
    ParameterValue, Property, ReplyBody, RequestedEvent, SegmentNumber, Selector, ServiceChange,
    ServiceChangeAddress, ServiceState, SessionDescription, Signal, SignalItem, SignalType, Signals,
    Statistic, Stream, StreamMode, TerminationId, TerminationState, Topology, TopologyDirection, Transaction,
    TransactionReply, TransactionRequest, Value, Verb,
};
use std::fmt::Display;
use std::io::Write as _;

/// How keywords and white space are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Long keywords, indentation: for people.
    #[default]
    Long,
    /// Short keywords, no white space that is not needed: for wires.
    Short,
}

/// Writes a message.
pub fn print(message: &Message, form: Form) -> Vec<u8> {
    let mut p = Printer {
        out: Vec::with_capacity(1_024),
        long: form == Form::Long,
        version: message.version,
        depth: 0,
        first: true,
    };
    p.message(message);
    p.out
}

struct Printer {
    out: Vec<u8>,
    long: bool,
    version: u8,
    depth: usize,
    /// Nothing stands in the current braces yet.
    first: bool,
}

/// `write!` to a vector cannot fail.
macro_rules! put {
    ($p:expr, $($arg:tt)*) => {
        let _ = write!($p.out, $($arg)*);
    };
}

impl Printer {
    fn str(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn word(&mut self, keyword: K) {
        self.str(if self.long { keyword.long() } else { keyword.short() });
    }

    fn equal(&mut self) {
        self.str(if self.long { " = " } else { "=" });
    }

    fn line(&mut self) {
        if self.long {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 2 * self.depth, b' ');
        }
    }

    fn open(&mut self) {
        self.str(if self.long { " {" } else { "{" });
        self.depth += 1;
        self.first = true;
    }

    /// Before each item in braces.
    fn item(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.line();
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.first {
            self.str(if self.long { " }" } else { "}" });
        } else {
            self.line();
            self.out.push(b'}');
        }
        self.first = false;
    }

    /// Keyword, `=`, something.
    fn pair(&mut self, keyword: K, value: impl Display) {
        self.item();
        self.word(keyword);
        self.equal();
        put!(self, "{value}");
    }

    /// Keyword, `=`, keyword.
    fn choice(&mut self, keyword: K, value: K) {
        self.item();
        self.word(keyword);
        self.equal();
        self.word(value);
    }

    /// A keyword alone.
    fn flag(&mut self, keyword: K, set: bool) {
        if set {
            self.item();
            self.word(keyword);
        }
    }

    /// An identifier.
    fn ident(&mut self, text: &str) {
        if text.is_empty() {
            self.out.push(b'_');
        } else if text.bytes().all(is_safe) {
            self.str(text);
        } else {
            self.out.extend(text.bytes().map(|b| if is_safe(b) { b } else { b'_' }));
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        self.out.extend(text.bytes().map(|b| match b {
            b'"' => b'\'',
            b'\t' => b,
            0..=0x1f | 0x7f => b' ',
            b => b,
        }));
        self.out.push(b'"');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Token(text) if !text.is_empty() && text.bytes().all(is_safe) => self.str(text),
            Value::Token(text) | Value::Quoted(text) => self.quoted(text),
        }
    }

    fn values(&mut self, open: u8, list: &[Value], close: u8) {
        self.out.push(open);
        for (i, value) in list.iter().enumerate() {
            if i > 0 {
                self.str(if self.long { ", " } else { "," });
            }
            self.value(value);
        }
        self.out.push(close);
    }

    fn parameter_value(&mut self, value: &ParameterValue) {
        let sign = match value {
            ParameterValue::NotEqual(_) => "#",
            ParameterValue::Less(_) => "<",
            ParameterValue::Greater(_) => ">",
            _ => "=",
        };
        if self.long {
            put!(self, " {sign} ");
        } else {
            self.str(sign);
        }
        match value {
            ParameterValue::Equal(v)
            | ParameterValue::NotEqual(v)
            | ParameterValue::Less(v)
            | ParameterValue::Greater(v) => self.value(v),
            ParameterValue::AnyOf(list) => self.values(b'{', list, b'}'),
            ParameterValue::AllOf(list) => self.values(b'[', list, b']'),
            ParameterValue::Range(from, to) => {
                self.out.push(b'[');
                self.value(from);
                self.out.push(b':');
                self.value(to);
                self.out.push(b']');
            }
        }
    }

    fn properties(&mut self, list: &[Property]) {
        for property in list {
            self.item();
            self.ident(property.name.as_str());
            self.parameter_value(&property.value);
        }
    }

    fn message(&mut self, message: &Message) {
        if let Some(auth) = &message.auth {
            self.word(K::Authentication);
            self.equal();
            let data = carnet_wire::hex::encode(&auth.data).to_uppercase();
            put!(self, "0x{:08X}:0x{:08X}:0x{data}\n", auth.spi, auth.sequence);
        }
        self.str(if self.long { "MEGACO/" } else { "!/" });
        put!(self, "{} ", message.version);
        self.mid(&message.mid);
        match &message.body {
            Body::Error(error) => {
                self.out.push(b'\n');
                self.error(error);
            }
            Body::Transactions(list) => {
                for transaction in list {
                    self.out.push(b'\n');
                    self.transaction(transaction);
                }
            }
        }
        if self.long {
            self.out.push(b'\n');
        }
    }

    fn mid(&mut self, mid: &MId) {
        match mid {
            MId::Domain { name, port } => {
                self.out.push(b'<');
                self.ident(name.as_str());
                self.out.push(b'>');
                if let Some(port) = port {
                    put!(self, ":{port}");
                }
            }
            MId::Address { .. } => {
                put!(self, "{mid}");
            }
            MId::Mtp(address) => {
                self.str("MTP{");
                self.ident(address.as_str());
                self.out.push(b'}');
            }
            MId::Device(name) => self.ident(name.as_str()),
        }
    }

    fn transaction(&mut self, transaction: &Transaction) {
        match transaction {
            Transaction::Request(request) => self.request(request),
            Transaction::Reply(reply) => self.reply(reply),
            Transaction::Pending(id) => {
                self.word(K::Pending);
                self.equal();
                put!(self, "{id}");
                self.open();
                self.close();
            }
            Transaction::Ack(ranges) => {
                self.word(K::TransactionResponseAck);
                self.open();
                for range in ranges {
                    self.item();
                    put!(self, "{}", range.first);
                    if range.last != range.first {
                        put!(self, "-{}", range.last);
                    }
                }
                self.close();
            }
            Transaction::Segment(reply) => {
                self.word(K::Segment);
                self.equal();
                put!(self, "{}", reply.id);
                self.segment(reply.segment);
            }
        }
    }

    fn segment(&mut self, segment: SegmentNumber) {
        put!(self, "/{}", segment.number);
        if segment.last {
            self.str(if self.long { "/END" } else { "/&" });
        }
    }

    fn request(&mut self, request: &TransactionRequest) {
        self.word(K::Transaction);
        self.equal();
        put!(self, "{}", request.id);
        self.open();
        for action in &request.actions {
            self.item();
            self.action_request(action);
        }
        self.close();
    }

    fn reply(&mut self, reply: &TransactionReply) {
        self.word(K::Reply);
        self.equal();
        put!(self, "{}", reply.id);
        if let Some(segment) = reply.segment {
            self.segment(segment);
        }
        self.open();
        self.flag(K::ImmAckRequired, reply.immediate_ack);
        match &reply.body {
            ReplyBody::Error(error) => {
                self.item();
                self.error(error);
            }
            ReplyBody::Actions(actions) => {
                for action in actions {
                    self.item();
                    self.action_reply(action);
                }
            }
        }
        self.close();
    }

    fn context(&mut self, context: ContextId) {
        self.word(K::Context);
        self.equal();
        put!(self, "{context}");
    }

    fn action_request(&mut self, action: &ActionRequest) {
        self.context(action.context);
        self.open();
        self.context_properties(&action.properties);
        if let Some(selectors) = &action.audit {
            self.item();
            self.word(K::ContextAudit);
            self.open();
            for selector in selectors {
                self.item();
                self.selector(selector, true);
            }
            self.close();
        }
        for command in &action.commands {
            self.item();
            self.command(command);
        }
        self.close();
    }

    fn action_reply(&mut self, action: &ActionReply) {
        self.context(action.context);
        if action.properties.is_empty() && action.commands.is_empty() && action.error.is_none() {
            return;
        }
        self.open();
        self.context_properties(&action.properties);
        for command in &action.commands {
            self.item();
            self.command_reply(command);
        }
        if let Some(error) = &action.error {
            self.item();
            self.error(error);
        }
        self.close();
    }

    fn context_properties(&mut self, p: &ContextProperties) {
        if !p.topology.is_empty() {
            self.item();
            self.word(K::Topology);
            self.open();
            for relation in &p.topology {
                self.topology(relation);
            }
            self.close();
        }
        if let Some(priority) = p.priority {
            self.pair(K::Priority, priority);
        }
        match p.emergency {
            Some(true) => self.flag(K::Emergency, true),
            Some(false) => self.flag(K::EmergencyOff, true),
            None => {}
        }
        if let Some(on) = p.ieps_call {
            self.choice(K::IepsCall, on_off(on));
        }
        if !p.attributes.is_empty() {
            self.item();
            self.word(K::ContextAttr);
            self.open();
            self.properties(&p.attributes);
            self.close();
        }
        if !p.context_list.is_empty() {
            self.item();
            self.word(K::ContextAttr);
            self.open();
            self.item();
            self.word(K::ContextList);
            self.equal();
            self.str("{");
            for (i, context) in p.context_list.iter().enumerate() {
                if i > 0 {
                    self.out.push(b',');
                }
                put!(self, "{context}");
            }
            self.str("}");
            self.close();
        }
    }

    fn topology(&mut self, relation: &Topology) {
        self.item();
        self.ident(relation.from.as_str());
        self.item();
        self.ident(relation.to.as_str());
        self.flag(
            match relation.direction {
                TopologyDirection::Bothway => K::Bothway,
                TopologyDirection::Isolate => K::Isolate,
                TopologyDirection::Oneway => K::Oneway,
                TopologyDirection::OnewayExternal => K::OnewayExternal,
                TopologyDirection::OnewayBoth => K::OnewayBoth,
            },
            true,
        );
        if let Some(stream) = relation.stream {
            self.pair(K::Stream, stream);
        }
    }

    fn terminations(&mut self, list: &[TerminationId]) {
        match list {
            [one] => self.ident(one.as_str()),
            _ => {
                self.out.push(b'[');
                self.termination_list(list);
                self.out.push(b']');
            }
        }
    }

    fn termination_list(&mut self, list: &[TerminationId]) {
        for (i, termination) in list.iter().enumerate() {
            if i > 0 {
                self.str(if self.long { ", " } else { "," });
            }
            self.ident(termination.as_str());
        }
    }

    fn command(&mut self, command: &Command) {
        if command.optional {
            self.str("O-");
        }
        if command.wildcard_response {
            self.str("W-");
        }
        self.word(verb(command.verb));
        self.equal();
        self.terminations(&command.terminations);
        self.descriptors(&command.descriptors);
    }

    fn command_reply(&mut self, reply: &CommandReply) {
        self.word(verb(reply.verb));
        self.equal();
        if reply.context_audit {
            self.word(K::Context);
            self.str(if self.long { " {" } else { "{" });
            match reply.error() {
                Some(error) => self.error(error),
                None => self.termination_list(&reply.terminations),
            }
            self.str("}");
            return;
        }
        self.terminations(&reply.terminations);
        self.descriptors(&reply.descriptors);
    }

    fn descriptors(&mut self, list: &[Descriptor]) {
        if list.is_empty() {
            return;
        }
        self.open();
        for descriptor in list {
            self.item();
            self.descriptor(descriptor);
        }
        self.close();
    }

    fn error(&mut self, error: &ErrorDescriptor) {
        self.word(K::Error);
        self.equal();
        put!(self, "{}", error.code);
        self.str(if self.long { " { " } else { "{" });
        if let Some(text) = &error.text {
            self.quoted(text);
        }
        self.str(if self.long { " }" } else { "}" });
        self.first = false;
    }

    fn descriptor(&mut self, descriptor: &Descriptor) {
        match descriptor {
            Descriptor::Media(media) => self.media(media),
            Descriptor::Modem(modem) => self.modem(modem),
            Descriptor::Mux(mux) => self.mux(mux),
            Descriptor::Events(events) => self.events(events),
            Descriptor::EventBuffer(list) => {
                self.word(K::EventBuffer);
                if !list.is_empty() {
                    self.observed_list(list);
                }
            }
            Descriptor::Signals(signals) => self.signals(signals),
            Descriptor::DigitMap(map) => self.digit_map(map),
            Descriptor::Audit(audit) => self.audit(audit),
            Descriptor::Statistics(list) => self.statistics(list),
            Descriptor::ObservedEvents(observed) => {
                self.word(K::ObservedEvents);
                self.equal();
                put!(self, "{}", observed.request_id);
                self.observed_list(&observed.events);
            }
            Descriptor::Packages(list) => self.packages(list),
            Descriptor::ServiceChange(parameters) => self.services(parameters),
            Descriptor::Error(error) => self.error(error),
            Descriptor::Empty(token) => self.word(token.keyword()),
        }
    }

    fn media(&mut self, media: &Media) {
        self.word(K::Media);
        self.open();
        if let Some(state) = &media.termination_state {
            self.termination_state(state);
        }
        for stream in &media.streams {
            if media.implied_stream {
                self.stream_parameters(stream);
                break;
            }
            self.pair(K::Stream, stream.id);
            self.open();
            self.stream_parameters(stream);
            self.close();
        }
        self.close();
    }

    fn termination_state(&mut self, state: &TerminationState) {
        self.item();
        self.word(K::TerminationState);
        self.open();
        self.properties(&state.properties);
        if let Some(service) = state.service_state {
            let value = match service {
                ServiceState::Test => K::Test,
                ServiceState::OutOfService => K::OutOfService,
                ServiceState::InService => K::InService,
            };
            self.choice(K::ServiceStates, value);
        }
        if let Some(control) = state.event_buffer {
            let value = match control {
                EventBufferControl::Off => K::Off,
                EventBufferControl::LockStep => K::LockStep,
            };
            self.choice(K::Buffer, value);
        }
        self.close();
    }

    fn stream_parameters(&mut self, stream: &Stream) {
        if let Some(control) = &stream.local_control {
            self.local_control(control);
        }
        if let Some(sdp) = &stream.local {
            self.session_description(K::Local, sdp);
        }
        if let Some(sdp) = &stream.remote {
            self.session_description(K::Remote, sdp);
        }
        if let Some(list) = &stream.statistics {
            self.item();
            self.statistics(list);
        }
    }

    fn local_control(&mut self, control: &LocalControl) {
        self.item();
        self.word(K::LocalControl);
        self.open();
        if let Some(mode) = control.mode {
            let value = match mode {
                StreamMode::SendOnly => K::SendOnly,
                StreamMode::ReceiveOnly => K::ReceiveOnly,
                StreamMode::SendReceive => K::SendReceive,
                StreamMode::Inactive => K::Inactive,
                StreamMode::Loopback => K::Loopback,
            };
            self.choice(K::Mode, value);
        }
        if let Some(on) = control.reserve_value {
            self.choice(K::ReservedValue, on_off(on));
        }
        if let Some(on) = control.reserve_group {
            self.choice(K::ReservedGroup, on_off(on));
        }
        self.properties(&control.properties);
        self.close();
    }

    fn session_description(&mut self, keyword: K, sdp: &SessionDescription) {
        self.item();
        self.word(keyword);
        self.str(if self.long { " {\n" } else { "{\n" });
        let mut rest = sdp.as_bytes();
        while let Some(brace) = memchr::memchr(b'}', rest) {
            let (before, after) = rest.split_at(brace);
            self.out.extend_from_slice(before);
            self.str("\\}");
            rest = after.get(1..).unwrap_or_default();
        }
        self.out.extend_from_slice(rest);
        self.str("}");
    }

    fn statistics(&mut self, list: &[Statistic]) {
        self.word(K::Statistics);
        if list.is_empty() {
            return;
        }
        self.open();
        for statistic in list {
            self.item();
            self.ident(statistic.name.as_str());
            match statistic.values.as_slice() {
                [] => {}
                [one] => {
                    self.equal();
                    self.value(one);
                }
                list => {
                    self.equal();
                    self.values(b'[', list, b']');
                }
            }
        }
        self.close();
    }

    fn modem(&mut self, modem: &Modem) {
        self.word(K::Modem);
        match modem.kinds.as_slice() {
            [one] => {
                self.equal();
                self.ident(one.as_str());
            }
            list => {
                self.out.push(b'[');
                for (i, kind) in list.iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.ident(kind.as_str());
                }
                self.out.push(b']');
            }
        }
        if !modem.properties.is_empty() {
            self.open();
            self.properties(&modem.properties);
            self.close();
        }
    }

    fn mux(&mut self, mux: &Mux) {
        self.word(K::Mux);
        self.equal();
        self.ident(mux.kind.as_str());
        self.str(if self.long { " {" } else { "{" });
        self.termination_list(&mux.terminations);
        self.str("}");
    }

    fn digit_map(&mut self, map: &DigitMap) {
        self.word(K::DigitMap);
        self.equal();
        if let Some(name) = &map.name {
            self.ident(name.as_str());
        }
        if map.value.is_some() || map.name.is_none() {
            self.out.push(b'{');
            let value = map.value.as_deref().unwrap_or_default();
            let fits = |b: u8| matches!(b, b' '..=b'|' | b'~' | b'\t' | b'\r' | b'\n');
            let clean = |b: u8| if fits(b) { b } else { b' ' };
            self.out.extend(value.bytes().map(clean));
            self.out.push(b'}');
        }
    }

    fn packages(&mut self, list: &[PackageVersion]) {
        self.word(K::Packages);
        if list.is_empty() {
            return;
        }
        self.open();
        for package in list {
            self.item();
            self.ident(package.name.as_str());
            put!(self, "-{}", package.version);
        }
        self.close();
    }

    fn events(&mut self, events: &Events) {
        self.word(K::Events);
        let Some(id) = events.request_id.filter(|_| !events.events.is_empty()) else { return };
        self.equal();
        put!(self, "{id}");
        self.open();
        for event in &events.events {
            self.item();
            self.requested_event(event);
        }
        self.close();
    }

    fn requested_event(&mut self, event: &RequestedEvent) {
        self.ident(event.name.as_str());
        let plain = RequestedEvent::new(event.name.clone());
        if *event == plain {
            return;
        }
        self.open();
        self.flag(K::KeepActive, event.keep_active);
        if let Some(stream) = event.stream {
            self.pair(K::Stream, stream);
        }
        if let Some(map) = &event.digit_map {
            self.item();
            self.digit_map(map);
        }
        self.properties(&event.parameters);
        if let Some(embed) = &event.embed {
            self.item();
            self.embed(embed);
        }
        match &event.notify {
            Some(NotifyBehaviour::Immediate) => self.flag(K::ImmediateNotify, true),
            Some(NotifyBehaviour::Never) => self.flag(K::NeverNotify, true),
            Some(NotifyBehaviour::Regulated(embed)) => {
                self.flag(K::RegulatedNotify, true);
                if let Some(embed) = embed {
                    self.open();
                    self.item();
                    self.embed(embed);
                    self.close();
                }
            }
            None => {}
        }
        self.flag(K::ResetEventsDescriptor, event.reset_events);
        self.close();
    }

    fn embed(&mut self, embed: &Embed) {
        self.word(K::Embed);
        self.open();
        if let Some(signals) = &embed.signals {
            self.item();
            self.signals(signals);
        }
        if let Some(events) = &embed.events {
            self.item();
            self.events(events);
        }
        self.close();
    }

    fn observed_list(&mut self, list: &[ObservedEvent]) {
        self.open();
        for event in list {
            self.item();
            if let Some(timestamp) = event.timestamp {
                put!(self, "{timestamp}:");
            }
            self.ident(event.name.as_str());
            if event.stream.is_some() || !event.parameters.is_empty() {
                self.open();
                if let Some(stream) = event.stream {
                    self.pair(K::Stream, stream);
                }
                self.properties(&event.parameters);
                self.close();
            }
        }
        self.close();
    }

    fn signals(&mut self, signals: &Signals) {
        self.word(K::Signals);
        // Version 1 has braces round nothing, later ones have nothing (corrected in the
        // implementors' guide).
        if signals.0.is_empty() && self.version > 1 {
            return;
        }
        self.open();
        for item in &signals.0 {
            self.item();
            match item {
                SignalItem::Signal(signal) => self.signal(signal),
                SignalItem::List(list) => {
                    self.word(K::SignalList);
                    self.equal();
                    put!(self, "{}", list.id);
                    self.open();
                    for signal in &list.signals {
                        self.item();
                        self.signal(signal);
                    }
                    self.close();
                }
            }
        }
        self.close();
    }

    fn signal(&mut self, signal: &Signal) {
        self.ident(signal.name.as_str());
        let plain = Signal::new(signal.name.clone());
        if *signal == plain {
            return;
        }
        self.open();
        if let Some(stream) = signal.stream {
            self.pair(K::Stream, stream);
        }
        if let Some(kind) = signal.kind {
            let value = match kind {
                SignalType::OnOff => K::OnOff,
                SignalType::TimeOut => K::TimeOut,
                SignalType::Brief => K::Brief,
            };
            self.choice(K::SignalType, value);
        }
        if let Some(duration) = signal.duration {
            self.pair(K::Duration, duration);
        }
        if let Some(list) = &signal.notify_completion {
            self.item();
            self.word(K::NotifyCompletion);
            self.equal();
            self.out.push(b'{');
            for (i, completion) in list.iter().enumerate() {
                if i > 0 {
                    self.out.push(b',');
                }
                self.word(match completion {
                    Completion::TimeOut => K::TimeOut,
                    Completion::InterruptByEvent => K::IntByEvent,
                    Completion::InterruptBySignals => K::IntBySignals,
                    Completion::Other => K::OtherReason,
                    Completion::Iteration => K::Iteration,
                });
            }
            self.out.push(b'}');
        }
        self.flag(K::KeepActive, signal.keep_active);
        if let Some(direction) = signal.direction {
            let value = match direction {
                Direction::External => K::External,
                Direction::Internal => K::Internal,
                Direction::Both => K::Both,
            };
            self.choice(K::SpaDirection, value);
        }
        if let Some(id) = signal.request_id {
            self.pair(K::SpaRequestId, id);
        }
        if let Some(delay) = signal.intersignal_delay {
            self.pair(K::IntersignalDelay, delay);
        }
        self.properties(&signal.parameters);
        self.close();
    }

    fn audit(&mut self, audit: &Audit) {
        self.word(K::Audit);
        self.open();
        self.audit_items(&audit.0);
        self.close();
    }

    fn audit_items(&mut self, list: &[AuditItem]) {
        for item in list {
            self.item();
            match item {
                AuditItem::Descriptor(token) => self.word(token.keyword()),
                AuditItem::Individual(selector) => self.selector(selector, true),
            }
        }
    }

    /// `keywords`: a name that is a keyword means the keyword. Inside a package item it is a parameter.
    fn selector(&mut self, selector: &Selector, keywords: bool) {
        let keyword = if keywords { K::find(selector.name.as_str().as_bytes()) } else { None };
        match keyword {
            Some(keyword) => self.word(keyword),
            None => self.ident(selector.name.as_str()),
        }
        if let Some(value) = &selector.value {
            self.parameter_value(value);
        }
        if let Some(inside) = &selector.inside {
            self.open();
            for inner in inside {
                self.item();
                self.selector(inner, keyword.is_some());
            }
            self.close();
        }
    }

    fn services(&mut self, p: &ServiceChange) {
        self.word(K::Services);
        self.open();
        if let Some(method) = &p.method {
            let keyword = match method {
                Method::Graceful => K::Graceful,
                Method::Forced => K::Forced,
                Method::Restart => K::Restart,
                Method::Disconnected => K::Disconnected,
                Method::HandOff => K::HandOff,
                Method::Failover => K::Failover,
                Method::Other(_) => K::Method,
            };
            self.item();
            self.word(K::Method);
            self.equal();
            match method {
                Method::Other(name) => self.ident(name.as_str()),
                _ => self.word(keyword),
            }
        }
        match &p.address {
            Some(ServiceChangeAddress::Port(port)) => self.pair(K::ServiceChangeAddress, port),
            Some(ServiceChangeAddress::MId(mid)) => {
                self.pair(K::ServiceChangeAddress, "");
                self.mid(mid);
            }
            None => {}
        }
        if let Some(mid) = &p.mgc_id_to_try {
            self.pair(K::MgcIdToTry, "");
            self.mid(mid);
        }
        if let Some(profile) = &p.profile {
            self.pair(K::Profile, "");
            self.ident(profile.name.as_str());
            put!(self, "/{}", profile.version);
        }
        if let Some(version) = p.version {
            self.pair(K::Version, version);
        }
        if let Some(reason) = &p.reason {
            self.pair(K::Reason, "");
            self.value(&reason.0);
        }
        if let Some(delay) = p.delay {
            self.pair(K::Delay, delay);
        }
        self.flag(K::ServiceChangeInc, p.incomplete);
        if let Some(timestamp) = p.timestamp {
            self.item();
            put!(self, "{timestamp}");
        }
        self.audit_items(&p.audit);
        self.properties(&p.extensions);
        self.close();
    }
}

fn on_off(on: bool) -> K {
    if on { K::On } else { K::Off }
}

fn verb(verb: Verb) -> K {
    match verb {
        Verb::Add => K::Add,
        Verb::Modify => K::Modify,
        Verb::Move => K::Move,
        Verb::Subtract => K::Subtract,
        Verb::AuditValue => K::AuditValue,
        Verb::AuditCapability => K::AuditCapability,
        Verb::Notify => K::Notify,
        Verb::ServiceChange => K::ServiceChange,
    }
}
