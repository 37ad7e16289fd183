//! H.248, in either encoding (RFC 3525).

use super::{Show, Tie, Told, digest, sdp};
use crate::mask::MASK;
use crate::model::{Control, Fact};
use bytes::Bytes;
use carnet_h248::text::{self, Form, Limits};
use carnet_h248::{
    ActionReply, ActionRequest, Body, Command, ContextId, Descriptor, Message, ReplyBody, Transaction, Verb,
    encoding,
};
use std::net::SocketAddr;

/// Whether octets begin like a message in text (RFC 3525 annex B.2).
fn begins_text(octets: &[u8]) -> bool {
    let octets = octets.trim_ascii_start();
    let starts = |word: &[u8]| octets.get(..word.len()).is_some_and(|o| o.eq_ignore_ascii_case(word));
    starts(b"MEGACO/") || starts(b"!/") || starts(b"Authentication") || starts(b"AU=")
}

/// Whether octets begin like a message. A SEQUENCE is much else too: it has to be one to its end.
pub(super) fn begins(octets: &[u8]) -> bool {
    begins_text(octets) || encoding::is_binary(octets) && encoding::parse(octets, &Limits::default()).is_ok()
}

/// Whether a stream begins with TPKT and a message (RFC 3525 §D.2); `None` while too little is there.
pub(super) fn begins_stream(octets: &[u8]) -> Option<bool> {
    match octets {
        [] => None,
        [3] | [3, 0] | [3, 0, _] | [3, 0, _, _] => None,
        [3, 0, high, low, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let text = rest.len() >= 3 && begins_text(rest) || rest.first() == Some(&0x30) && length > 8;
            if !text && rest.len() < 3 { None } else { Some(text) }
        }
        _ => Some(false),
    }
}

/// Reads a message: what it says a transaction, since they may belong to different sessions.
pub(super) fn read(octets: &Bytes, show: Show) -> Vec<Told> {
    match encoding::parse(octets, &Limits::default()) {
        Ok(message) => tell(&message, octets, show),
        Err(error) => vec![Told::unreadable("H.248", &error.to_string(), octets)],
    }
}

/// What is gathered of a transaction.
#[derive(Default)]
struct Gathered {
    fact: Control,
    words: Vec<String>,
    ties: Vec<Tie>,
    claims: Vec<SocketAddr>,
    bad: bool,
}

fn tell(message: &Message, octets: &[u8], show: Show) -> Vec<Told> {
    let list = match &message.body {
        Body::Error(error) => {
            let text = error.text.as_ref().map(ToString::to_string).unwrap_or_default();
            let fact = Control { error: Some((error.code, text)), ..Control::default() };
            let words = vec![format!("error {}", error.code)];
            let all =
                Gathered { fact, words, ties: vec![Tie::Association], bad: true, ..Gathered::default() };
            return vec![all.told(printed(message, show), digest(octets))];
        }
        Body::Transactions(list) => list,
    };
    let each = |(at, transaction): (usize, &Transaction)| {
        let mut all = Gathered::default();
        all.transaction(transaction);
        let alone = Message::new(message.version, message.mid.clone(), vec![transaction.clone()]);
        all.told(printed(&alone, show), digest(octets).wrapping_add(at as u64))
    };
    list.iter().enumerate().map(each).collect()
}

/// The message in long keywords, without its keys.
fn printed(message: &Message, show: Show) -> String {
    let mut text = String::from_utf8_lossy(&text::print(message, Form::Long)).into_owned();
    if show.secrets {
        return text;
    }
    for secret in message.secrets() {
        let exposed = secret.expose();
        if !exposed.is_empty() {
            text = text.replace(exposed, MASK);
        }
    }
    sdp::masked(&text, false)
}

impl Gathered {
    fn told(mut self, text: String, again: u64) -> Told {
        self.fact.contexts.sort_unstable();
        self.fact.contexts.dedup();
        self.fact.addresses.clone_from(&self.claims);
        let Self { fact, words, ties, claims, bad } = self;
        let fact = Fact::Control(Box::new(fact));
        Told { bad, ties, claims, again: Some(again), ..Told::new(words.join("; "), text, fact) }
    }

    fn transaction(&mut self, transaction: &Transaction) {
        match transaction {
            Transaction::Request(request) => {
                let id = request.id.0;
                self.ties.push(Tie::Asked(id));
                let outside = |a: &ActionRequest| matches!(a.context, ContextId::Null | ContextId::All);
                if request.actions.iter().all(outside) {
                    self.ties.push(Tie::Association);
                }
                let verbs: Vec<String> = request.actions.iter().map(|action| self.request(action)).collect();
                let said = verbs.join(", ");
                self.words.push(said.clone());
                self.fact.requests.push((id, said));
            }
            Transaction::Reply(reply) => {
                let id = reply.id.0;
                self.ties.push(Tie::Answered(id));
                let error = reply.body.first_error();
                let error =
                    error.map(|e| (e.code, e.text.as_ref().map(ToString::to_string).unwrap_or_default()));
                let mut said = match &error {
                    Some((code, _)) => format!("error {code}"),
                    None => "reply".to_owned(),
                };
                if let ReplyBody::Actions(actions) = &reply.body {
                    for action in actions {
                        said.push_str(&self.reply(action));
                    }
                }
                self.bad |= error.is_some();
                self.words.push(said);
                self.fact.replies.push((id, error));
            }
            Transaction::Pending(id) => {
                self.ties.push(Tie::Answered(id.0));
                self.words.push("pending".to_owned());
                self.fact.pending.push(id.0);
            }
            Transaction::Ack(_) => {
                self.ties.push(Tie::Association);
                self.words.push("acknowledgement".to_owned());
            }
            Transaction::Segment(segment) => {
                self.ties.push(Tie::Answered(segment.id.0));
                self.words.push("segment acknowledged".to_owned());
            }
        }
    }

    fn context(&mut self, context: ContextId) -> String {
        if let Some(id) = context.id() {
            self.ties.push(Tie::Context(id));
            self.fact.contexts.push(id);
        }
        match context {
            ContextId::Null => String::new(),
            other => format!(" C={other}"),
        }
    }

    fn request(&mut self, action: &ActionRequest) -> String {
        let context = self.context(action.context);
        let mut verbs: Vec<String> = Vec::new();
        for command in &action.commands {
            let verb = self.command(command);
            if verbs.last() != Some(&verb) {
                verbs.push(verb);
            }
            if command.verb == Verb::Subtract
                && let Some(id) = action.context.id()
            {
                self.ties.push(Tie::Gone(id));
            }
        }
        if verbs.is_empty() {
            verbs.push("context".to_owned());
        }
        format!("{}{context}", verbs.join("+"))
    }

    fn command(&mut self, command: &Command) -> String {
        self.descriptors(&command.descriptors);
        self.fact.adds |= command.verb == Verb::Add;
        let name = verb(command.verb);
        if let Some(change) = command.services() {
            let method = change.method.as_ref().map(|m| format!("{m:?}")).unwrap_or_default();
            let said = format!("{name} {method}");
            self.fact.service = Some(method);
            return said;
        }
        if let Some(observed) = command.observed_events() {
            let events: Vec<String> = observed.events.iter().map(|e| e.name.to_string()).collect();
            let said = format!("{name} {}", events.join(" "));
            self.fact.events.extend(events);
            return said;
        }
        name.to_owned()
    }

    fn reply(&mut self, action: &ActionReply) -> String {
        let adds = action.commands.iter().any(|c| c.verb == Verb::Add);
        if let Some(id) = action.context.id().filter(|_| adds) {
            self.ties.push(Tie::FreshContext(id));
        }
        let context = self.context(action.context);
        action.commands.iter().for_each(|command| self.descriptors(&command.descriptors));
        context
    }

    fn descriptors(&mut self, descriptors: &[Descriptor]) {
        for descriptor in descriptors {
            let Descriptor::Media(media) = descriptor else { continue };
            for description in media.streams.iter().flat_map(|s| [&s.local, &s.remote]).flatten() {
                let Some(sdp) = sdp::fragment(&description.to_bytes()) else { continue };
                self.claims.extend(sdp::ties(&sdp).1);
            }
        }
    }
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Add => "Add",
        Verb::Modify => "Modify",
        Verb::Move => "Move",
        Verb::Subtract => "Subtract",
        Verb::AuditValue => "AuditValue",
        Verb::AuditCapability => "AuditCapability",
        Verb::Notify => "Notify",
        Verb::ServiceChange => "ServiceChange",
    }
}
