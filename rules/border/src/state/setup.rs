//! A set-up, as far as the next process can end it in order: the refusal for the caller, the CANCEL for the callee.
//!
//! It cannot go on: the gateway may not have answered yet, and who rings cannot be told from who does not.

use super::{read_hop, write_hop};
use crate::call::Call;
use crate::core::Core;
use crate::event::Cause;
use bytes::Bytes;
use carnet_sip::{Hop, Message};
use carnet_wire::{LineReader, LineWriter, Unreadable, base64};

/// The first line.
pub(super) const FIRST: &str = "carnet setup 1";

/// What is sent of a set-up that died.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) call_id: String,
    pub(super) sent: Vec<(Hop, Bytes)>,
}

/// `None` as long as nobody was called.
pub(super) fn written(call: &Call, core: &Core) -> Option<String> {
    let client = call.first.client?;
    let reason = format!("SIP;cause=503;text=\"{}\"", Cause::Restarted);
    let cancel = core.endpoint.prepare_cancel(client, &reason);
    let mut refusal = Message::response(&call.first.message, 503, "").ok()?;
    let seconds = core.config.timers.retry_after.as_secs().max(1).to_string();
    refusal.push_back("Retry-After", &seconds).ok()?;
    refusal.push_back("Warning", &format!("399 {} \"{}\"", core.config.name, Cause::Restarted)).ok()?;
    let refusal = core.endpoint.prepare_refusal(call.first.server, refusal);
    let mut out = LineWriter::new(FIRST);
    out.line("call").field(&call.call_id).end();
    for (hop, octets) in cancel.into_iter().chain(refusal) {
        write_hop(out.line("send"), Some(&hop)).field(base64::encode(&octets)).end();
    }
    Some(out.finish())
}

pub(super) fn read(text: &str) -> Result<Ends, Unreadable> {
    let mut from = LineReader::new(text, FIRST)?;
    let call_id = from.line("call")?.field()?;
    let mut sent = Vec::new();
    while let Some(mut line) = from.optional("send") {
        let hop = read_hop(&mut line)?.ok_or_else(|| Unreadable("a message goes nowhere".into()))?;
        let octets = base64::decode(line.field::<String>()?.as_bytes());
        sent.push((hop, octets.map_err(|_| Unreadable("a message cannot be read".into()))?.into()));
    }
    match from.peek() {
        Some(_) => Err(Unreadable("there is something behind it".into())),
        None => Ok(Ends { call_id, sent }),
    }
}
