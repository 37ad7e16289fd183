//! A context written down, so that another process can take it up: the H.248 text of the commands that would
//! make it again, with the names and addresses that were chosen, behind lines of what H.248 does not say.
//!
//! ```text
//! carnet context 1
//! termination ip/1/1/17 1772352000000 0 0 0      when it was made (ms since 1970), latched, past octets in, out
//! stream ip/1/1/17 1 1 access                    a connection was up, IP realm of the address
//!
//! !/3 [carnet] T=1{C=4711{...}}
//! ```
//!
//! There are no keys in it: only what passes unread is written down (`survival`).

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use carnet_h248::text::{self, Form, Limits};
use carnet_h248::{
    ActionRequest, Command, ContextId, ContextProperties, MId, Media, Message, Statistic, TerminationId,
    Transaction, TransactionId, TransactionRequest, Verb,
};

use crate::context::{Context, Termination};
use crate::topology;

/// The first line. Another number is another form.
const FIRST: &str = "carnet context 1";

/// A text is no context that could be taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Another form, of another version of this program perhaps.
    #[error("it does not begin with `{FIRST}`")]
    Form,
    /// It breaks the rules of the form.
    #[error("{0}")]
    Syntax(String),
    /// There is a context, or a termination, of that name already.
    #[error("{0} is taken")]
    Taken(String),
    /// There are as many contexts as there may be.
    #[error("there may be no more contexts")]
    Full,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) context: u32,
    pub(crate) properties: ContextProperties,
    pub(crate) terminations: Vec<Kept>,
}

/// A termination of it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) id: TerminationId,
    pub(crate) number: u64,
    pub(crate) made: SystemTime,
    pub(crate) latch: bool,
    /// Received and sent on streams that are gone.
    pub(crate) past: (u64, u64),
    pub(crate) streams: Vec<KeptStream>,
    /// As a Modify, what is said of it.
    pub(crate) command: Command,
}

#[derive(Debug)]
pub(crate) struct KeptStream {
    pub(crate) id: u16,
    pub(crate) connected: bool,
    pub(crate) realm: Option<String>,
}

/// Writes a context down. `made`: when each of its terminations was.
pub(crate) fn written(id: u32, context: &Context, made: impl Fn(&Termination) -> SystemTime) -> String {
    let mut out = format!("{FIRST}\n");
    let mut commands = Vec::with_capacity(context.terminations.len());
    for termination in &context.terminations {
        let since = made(termination).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let (name, latch, past) = (&termination.id, u8::from(termination.latch), &termination.past);
        let (received, sent) = (past.octets_received, past.octets_sent);
        out.push_str(&format!("termination {name} {since} {latch} {received} {sent}\n"));
        for stream in termination.streams.iter().filter(|stream| stream.place.is_some()) {
            let (number, up) = (stream.id, u8::from(stream.connected));
            out.push_str(&format!("stream {name} {number} {up}"));
            if let Some(realm) = &stream.realm {
                out.push_str(&format!(" {realm}"));
            }
            out.push('\n');
        }
        commands.push(command(termination));
    }
    let mut action = ActionRequest::new(ContextId::Id(id), commands);
    action.properties = context.properties.clone();
    action.properties.topology = topology::told(context);
    let transaction = TransactionRequest { id: TransactionId(1), actions: vec![action] };
    let message = Message::new(3, MId::domain("carnet"), vec![Transaction::Request(transaction)]);
    out.push('\n');
    out.push_str(&String::from_utf8_lossy(&text::print(&message, Form::Short)));
    out
}

/// The Add that would make a termination again.
fn command(termination: &Termination) -> Command {
    let names = |list: &Vec<carnet_h248::Name>| -> Vec<Statistic> {
        list.iter().map(|name| Statistic { name: name.clone(), values: Vec::new() }).collect()
    };
    let streams = termination.streams.iter().map(|stream| carnet_h248::Stream {
        id: stream.id,
        local_control: Some(stream.control_text.clone()).filter(|control| *control != Default::default()),
        local: stream.local.as_ref().map(|local| local.text().clone()),
        remote: stream.remote.as_ref().map(|remote| remote.text().clone()),
        statistics: stream.statistics.as_ref().map(names),
    });
    let state = Some(termination.state.clone()).filter(|state| *state != Default::default());
    let media = Media { termination_state: state, streams: streams.collect(), implied_stream: false };
    let mut command = Command::add(termination.id.clone()).with(media);
    if termination.events.request_id.is_some() {
        command = command.with(termination.events.clone());
    }
    if !termination.signals.0.is_empty() {
        command = command.with(termination.signals.clone());
    }
    if let Some(list) = &termination.statistics {
        command = command.with(names(list));
    }
    command
}

/// Reads it again.
pub(crate) fn read(text: &str) -> Result<Record, Unreadable> {
    let syntax = |what: &str| Unreadable::Syntax(what.to_owned());
    let rest = text.strip_prefix(FIRST).and_then(|rest| rest.strip_prefix('\n')).ok_or(Unreadable::Form)?;
    let (lines, message) = rest.split_once("\n\n").ok_or_else(|| syntax("no commands"))?;
    let message = text::parse(message.as_bytes(), &Limits::default())
        .map_err(|error| Unreadable::Syntax(error.to_string()))?;
    let [Transaction::Request(transaction)] = message.transactions() else {
        return Err(syntax("not one transaction"));
    };
    let [action] = transaction.actions.as_slice() else { return Err(syntax("not one action")) };
    let context = action.context.id().ok_or_else(|| syntax("no number of a context"))?;
    let mut terminations = Vec::with_capacity(action.commands.len());
    for command in &action.commands {
        let id = command.termination().clone();
        let number = id.as_str().rsplit('/').next().and_then(|number| number.parse().ok());
        let number = number.filter(|_| id.is_specific() && command.verb == Verb::Add);
        let number = number.ok_or_else(|| syntax("not an Add of one termination"))?;
        let command = Command { verb: Verb::Modify, ..command.clone() };
        let (made, past) = (SystemTime::UNIX_EPOCH, (0, 0));
        terminations.push(Kept { id, number, made, latch: false, past, streams: Vec::new(), command });
    }
    for line in lines.lines() {
        let wrong = || Unreadable::Syntax(format!("`{line}`"));
        let (kind, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let (name, rest) = rest.split_once(' ').ok_or_else(wrong)?;
        let kept = terminations.iter_mut().find(|kept| kept.id.as_str() == name).ok_or_else(wrong)?;
        match kind {
            "termination" => {
                let numbers: Result<Vec<u64>, _> = rest.split(' ').map(str::parse).collect();
                let Ok([made, latch, received, sent]) = numbers.as_deref() else { return Err(wrong()) };
                let made = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(*made));
                kept.made = made.ok_or_else(wrong)?;
                kept.latch = *latch == 1;
                kept.past = (*received, *sent);
            }
            "stream" => {
                let mut fields = rest.splitn(3, ' ');
                let id = fields.next().and_then(|id| id.parse().ok()).ok_or_else(wrong)?;
                let connected = fields.next().ok_or_else(wrong)? == "1";
                kept.streams.push(KeptStream { id, connected, realm: fields.next().map(str::to_owned) });
            }
            _ => return Err(wrong()),
        }
    }
    Ok(Record { context, properties: action.properties.clone(), terminations })
}

/// The address in a Local descriptor that was told.
pub(crate) fn address(command: &Command, stream: u16) -> Option<SocketAddr> {
    let media = command.descriptors.iter().find_map(|descriptor| match descriptor {
        carnet_h248::Descriptor::Media(media) => Some(media),
        _ => None,
    })?;
    let local = media.streams.iter().find(|text| text.id == stream)?.local.as_ref()?;
    crate::description::Description::parse(local).ok()?.socket()
}
