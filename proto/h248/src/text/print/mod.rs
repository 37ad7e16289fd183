//! The model as text, in long form with indentation or in short form without.
//!
//! Total: what the grammar cannot say is made sayable, so that no value can break out of its place.
//! In identifiers other octets become `_`; in quotes `"` becomes `'` and control characters blanks.

mod descriptor;

use super::keyword::Keyword as K;
use crate::model::value::{is_safe, is_token};
use crate::model::{
    ActionReply, ActionRequest, Body, Command, CommandReply, ContextId, ContextProperties, Descriptor,
    ErrorDescriptor, MId, Message, ParameterValue, Property, ReplyBody, SegmentNumber, TerminationId, Text,
    Topology, TopologyDirection, Transaction, TransactionReply, TransactionRequest, Value, Verb,
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
        reply: false,
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
    /// In a command of a reply.
    reply: bool,
}

/// `write!` to a vector cannot fail.
macro_rules! put {
    ($p:expr, $($arg:tt)*) => {
        let _ = write!($p.out, $($arg)*);
    };
}
use put;

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

    /// Keyword, `=`, a number.
    fn number(&mut self, keyword: K, number: impl Into<u64>) {
        self.item();
        self.word(keyword);
        self.equal();
        self.decimal(number);
    }

    fn decimal(&mut self, number: impl Into<u64>) {
        self.out.extend_from_slice(Text::decimal(number.into(), false).as_bytes());
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
    fn ident(&mut self, text: &[u8]) {
        if text.is_empty() {
            self.out.push(b'_');
        } else if is_token(text) {
            self.out.extend_from_slice(text);
        } else {
            self.out.extend(text.iter().map(|b| if is_safe(*b) { *b } else { b'_' }));
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        self.out.push(b'"');
        self.out.extend(text.iter().map(|b| match b {
            b'"' => b'\'',
            b'\t' => *b,
            0..=0x1f | 0x7f => b' ',
            b => *b,
        }));
        self.out.push(b'"');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Quoted(text) => self.quoted(text.as_bytes()),
            value if is_token(value.as_bytes()) => self.out.extend_from_slice(value.as_bytes()),
            value => self.quoted(value.as_bytes()),
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

    fn sign(&mut self, sign: &str) {
        if self.long {
            self.out.push(b' ');
        }
        self.str(sign);
        if self.long {
            self.out.push(b' ');
        }
    }

    fn parameter_value(&mut self, value: &ParameterValue) {
        let sign = match value {
            ParameterValue::NotEqual(_) => "#",
            ParameterValue::Less(_) => "<",
            ParameterValue::Greater(_) => ">",
            _ => "=",
        };
        self.sign(sign);
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
            self.ident(property.name.as_bytes());
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
                self.ident(name.as_bytes());
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
                self.ident(address.as_bytes());
                self.out.push(b'}');
            }
            MId::Device(name) => self.ident(name.as_bytes()),
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
        self.decimal(request.id.0);
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
        self.decimal(reply.id.0);
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
        match context {
            ContextId::Null => self.out.push(b'-'),
            ContextId::Choose => self.out.push(b'$'),
            ContextId::All => self.out.push(b'*'),
            ContextId::Id(number) => self.decimal(number),
        }
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
            self.number(K::Priority, priority);
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
        self.ident(relation.from.as_bytes());
        self.item();
        self.ident(relation.to.as_bytes());
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
            self.number(K::Stream, stream);
        }
    }

    fn terminations(&mut self, list: &[TerminationId]) {
        match list {
            [one] => self.ident(one.as_bytes()),
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
            self.ident(termination.as_bytes());
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
        self.reply = true;
        self.descriptors(&reply.descriptors);
        self.reply = false;
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
            self.quoted(text.as_bytes());
        }
        self.str(if self.long { " }" } else { "}" });
        self.first = false;
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
