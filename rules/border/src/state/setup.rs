//! A set-up, as far as the next process can end it in order: the refusal for the caller, the CANCEL for the callee.
//!
//! A callee that answers before the CANCEL comes is turned down. It cannot go on: the gateway may not have answered yet, and who rings cannot be told from who does not.

use super::{read_hop, write_hop};
use crate::call::Call;
use crate::core::{Alarm, Core};
use crate::event::Cause;
use crate::flow;
use crate::forward::{Remote, contact_of, route_set};
use bytes::Bytes;
use carnet_sip::{Hop, Message, Method};
use carnet_wire::{LineReader, LineWriter, Unreadable, base64};
use std::collections::HashSet;
use std::time::Instant;

/// The first line.
pub(super) const FIRST: &str = "carnet setup 1";

/// What is sent of a set-up that died.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) call_id: String,
    pub(super) callee: Abandoned,
    pub(super) sent: Vec<(Hop, Bytes)>,
    /// What it is called at the rtpengine.
    pub(super) rtp: Option<String>,
}

/// Where the callee of such a set-up is, who may answer all the same.
#[derive(Debug, Default)]
pub(crate) struct Abandoned {
    network: usize,
    hop: Option<Hop>,
    /// Its record, which stays as long as it does: this process may end soon, too.
    number: u32,
    /// Tags of answers that were turned down.
    told: HashSet<String>,
}

impl Core {
    /// A callee may answer before the CANCEL reaches it.
    pub(super) fn abandon(&mut self, call_id: String, callee: Abandoned, number: u32) {
        let other = self.abandoned.insert(call_id, Abandoned { number, ..callee });
        self.state.gone.extend(other.map(|other| other.number));
        self.endpoint.watch_for_strays(true);
        self.alarm(self.now + self.linger(), Alarm::Abandoned);
    }

    pub(crate) fn forget_abandoned(&mut self) {
        let numbers = self.abandoned.drain().map(|(_, callee)| callee.number);
        self.state.gone.extend(numbers);
        self.endpoint.watch_for_strays(false);
    }

    /// An answer that nobody waits for is acknowledged, and its dialog ended (RFC 3261 §13.2.2.4).
    ///
    /// It came by `from`.
    pub(crate) fn turn_down_stray(&mut self, now: Instant, answer: &Message, from: &Hop) {
        let (Ok(call_id), Some(tag), Ok(cseq)) = (answer.call_id(), answer.to_tag(), answer.cseq()) else {
            return;
        };
        let Some(callee) = self.abandoned.get_mut(call_id) else { return };
        // More than a fork has are made up.
        let first = callee.told.len() < self.config.limits.forks && callee.told.insert(tag);
        let remote = Remote { target: contact_of(answer), routes: route_set(answer, true), cseq: 0 };
        let network = self.config.networks.get(callee.network);
        // A terminal whose connection went with the process before has made another one.
        let hop = callee.hop.as_ref().map(|hop| if flow::is_lost(hop) { from } else { hop });
        let Some(destination) = remote.destination(network, hop, None) else { return };
        if let Some(ack) = request(answer, &remote, Method::Ack, cseq.number) {
            let _ = self.endpoint.pass_ack(now, ack, destination.clone());
        }
        if let Some(bye) =
            request(answer, &remote, Method::Bye, cseq.number.saturating_add(1)).filter(|_| first)
        {
            // Full tables leave the end to its own session timer.
            let _ = self.endpoint.request(now, bye, destination);
        }
    }
}

fn request(answer: &Message, remote: &Remote, method: Method, cseq: u32) -> Option<Message> {
    let mut request = Message::request(method.clone(), remote.target.clone()?);
    remote.address(&mut request).ok()?;
    request.push_back("Max-Forwards", "70").ok()?;
    for name in ["From", "To", "Call-ID"] {
        request.copy_lines(name, answer);
    }
    request.push_back("CSeq", &format!("{cseq} {method}")).ok()?;
    if method == Method::Bye {
        let reason = format!("SIP;cause=503;text=\"{}\"", Cause::Restarted);
        request.push_back("Reason", &reason).ok()?;
    }
    Some(request)
}

/// Written before anything goes back: a caller who has heard a 100 repeats nothing.
pub(super) fn written(call: &Call, core: &Core) -> Option<String> {
    let reason = format!("SIP;cause=503;text=\"{}\"", Cause::Restarted);
    let cancel = call.first.client.and_then(|client| core.endpoint.prepare_cancel(client, &reason));
    let cancel = cancel.and_then(|(hop, octets)| Some((of_later(call, hop)?, octets)));
    let mut refusal = Message::response(&call.first.message, 503, "").ok()?;
    let seconds = core.config.timers.retry_after.as_secs().max(1).to_string();
    refusal.push_back("Retry-After", &seconds).ok()?;
    refusal.push_back("Warning", &format!("399 {} \"{}\"", core.config.name, Cause::Restarted)).ok()?;
    let refusal = core.endpoint.prepare_refusal(call.first.server, refusal);
    let mut out = LineWriter::new(FIRST);
    out.line("call").field(&call.call_id).end();
    let network = core.config.networks.get(call.session.ends.callee.network);
    let line = out.line("callee").option(network.map(|network| network.name.as_str()));
    write_hop(line, call.legs.callee.hop.as_ref()).end();
    if let Some(name) = &call.session.rtp {
        out.line("rtpengine").field(name).end();
    }
    for (hop, octets) in cancel.into_iter().chain(refusal) {
        write_hop(out.line("send"), Some(&hop)).field(base64::encode(&octets)).end();
    }
    Some(out.finish())
}

/// The way that the CANCEL takes in another process. A terminal by whose connection the INVITE went is where its Contact
/// says; behind a NAT it cannot be told.
fn of_later(call: &Call, hop: Hop) -> Option<Hop> {
    let pinned = call.legs.callee.hop.as_ref().is_some_and(|leg| leg.transport.is_reliable());
    if !pinned || hop.flow.is_none() {
        return Some(hop);
    }
    let target = call.first.remote.target.as_ref().filter(|_| !call.session.ends.callee.behind_nat);
    target.and_then(|target| flow::listening(&hop, target))
}

pub(super) fn read(core: &Core, text: &str) -> Result<Ends, Unreadable> {
    let mut from = LineReader::new(text, FIRST)?;
    let call_id = from.line("call")?.field()?;
    let mut line = from.line("callee")?;
    let name: String = line.field()?;
    let network = core.config.networks.iter().position(|network| network.name == name);
    let network = network.ok_or_else(|| Unreadable(format!("there is no network {name} any more")))?;
    let callee = Abandoned { network, hop: read_hop(&mut line)?, ..Abandoned::default() };
    let rtp = from.optional("rtpengine").map(|mut line| line.field()).transpose()?;
    let mut sent = Vec::new();
    while let Some(mut line) = from.optional("send") {
        let hop = read_hop(&mut line)?.ok_or_else(|| Unreadable("a message goes nowhere".into()))?;
        let octets = base64::decode(line.field::<String>()?.as_bytes());
        sent.push((hop, octets.map_err(|_| Unreadable("a message cannot be read".into()))?.into()));
    }
    match from.peek() {
        Some(_) => Err(Unreadable("there is something behind it".into())),
        None => Ok(Ends { call_id, callee, sent, rtp }),
    }
}
