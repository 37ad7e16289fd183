//! What is told of a call: the answers to `query` and `delete`.
//!
//! In rtpengine's shape, because scripts read it: `created`, `last signal`, `tags` with `medias` with
//! `streams` with `stats`, and `totals`. `bytes` are the octets that the gateway has received from that end
//! over TCP. TCP has no packets: where a script might read them they are 0, as errors are. SSRC and what
//! comes with it are left out. What only a gateway for TCP has to say is under `carnet`: the place of the
//! line from 0, what was decided, the gateway's context, whether the end is connected, and TLS that ends at
//! the gateway. The far end of a dialog that has not answered has no tag and is left out.

use crate::call::{Call, Step, Waiting, Work};
use crate::core::{Core, Op, Purpose};
use crate::dialog::{Dialog, DialogKey, Stream};
use crate::fault::{Fault, Reply};
use bytes::Bytes;
use carnet_h248::controller::RequestNumber;
use carnet_ng::Value;
use carnet_plan::{Context, Side};
use std::net::SocketAddr;
use std::time::{Duration, Instant, UNIX_EPOCH};

fn number(n: u64) -> Value {
    Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

impl Call {
    /// A `query`. It is answered when the gateway has told its counters.
    pub(crate) fn query(&mut self, core: &mut Core, waiting: Waiting) -> Result<(), Fault> {
        let Waiting { id, request, options } = waiting;
        if self.dialogs.is_empty() {
            return Err(Fault::new(481, "Unknown call-id"));
        }
        let to = request.to_tag.as_deref().filter(|tag| !tag.is_empty());
        let tags: Vec<_> = [Some(request.from_tag.as_str()).filter(|tag| !tag.is_empty()), to]
            .into_iter()
            .flatten()
            .collect();
        let wanted = |dialog: &&Dialog| tags.iter().all(|tag| dialog.side_of(tag).is_some());
        let keys: Vec<_> = self.dialogs.iter().filter(wanted).map(|dialog| dialog.key).collect();
        let outstanding = Vec::from_iter(self.count(core, &keys));
        let deadline = core.now + core.config.timers.gateway;
        let step = Step::Query(keys);
        self.work =
            Some(Work { id, options, deadline, outstanding, failed: None, warnings: Vec::new(), step });
        Ok(())
    }

    /// Asks the gateway for the counters of these dialogs, all of it in one transaction. None if there is
    /// nothing to ask for.
    pub(crate) fn count(&self, core: &mut Core, keys: &[DialogKey]) -> Option<RequestNumber> {
        let dialogs = self.dialogs.iter().filter(|dialog| keys.contains(&dialog.key));
        let agreed = dialogs.flat_map(|dialog| &dialog.streams).filter_map(|stream| stream.agreed.as_ref());
        let actions: Vec<_> = agreed.flat_map(|context| context.measure()).collect();
        let op = Op::Measure { call: self.id.clone(), purpose: Purpose::Query };
        (!actions.is_empty()).then(|| core.ask(actions, op))
    }

    /// What is known of these dialogs of it.
    pub(crate) fn told_of(&self, core: &Core, dialogs: &[&Dialog]) -> Reply {
        let unix = |at: Instant| {
            let wall = core.start.1 + at.saturating_duration_since(core.start.0);
            wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
        };
        let created = unix(self.created);
        let signalled = dialogs.iter().map(|dialog| dialog.signalled).max().unwrap_or(self.created);
        let mut reply = Reply::ok();
        reply.put("created", number(created.as_secs()));
        reply.put("created_us", number(u64::from(created.subsec_micros())));
        reply.put("last signal", number(unix(signalled).as_secs()));
        let mut tags = Vec::new();
        let mut received = 0u64;
        for dialog in dialogs {
            for side in [Side::Caller, Side::Callee] {
                let octets = dialog.streams.iter().map(|stream| stream.total().of(side).received);
                received = octets.fold(received, u64::saturating_add);
                let Some(tag) = &dialog.ends.of(side).tag else { continue };
                let entry = end(dialog, side, unix(dialog.created));
                tags.push((Bytes::copy_from_slice(tag.as_bytes()), entry));
            }
        }
        // A tag that is in several dialogs is told once for each; what answers is the first.
        let mut known: Vec<(Bytes, Value)> = Vec::new();
        for (tag, entry) in tags {
            match known.iter_mut().find(|(other, _)| *other == tag) {
                Some((_, first)) => merge(first, entry),
                None => known.push((tag, entry)),
            }
        }
        reply.put("tags", Value::Dictionary(known));
        let mut totals = Reply::default();
        totals.put("RTP", stats(received));
        totals.put("RTCP", stats(0));
        reply.put("totals", totals.into());
        reply
    }
}

/// Lines of the same end in another dialog.
fn merge(first: &mut Value, entry: Value) {
    let (Value::Dictionary(first), Value::Dictionary(entry)) = (first, entry) else { return };
    for (key, value) in entry {
        let (b"medias", Value::List(more)) = (&*key, value) else { continue };
        if let Some((_, Value::List(list))) = first.iter_mut().find(|(other, _)| *other == key) {
            list.extend(more);
        }
    }
}

fn stats(octets: u64) -> Value {
    let mut stats = Reply::default();
    stats.put("packets", Value::Integer(0));
    stats.put("bytes", number(octets));
    stats.put("errors", Value::Integer(0));
    stats.into()
}

/// One end of a dialog.
fn end(dialog: &Dialog, side: Side, created: Duration) -> Value {
    let (end, far) = (dialog.ends.of(side), dialog.ends.of(side.other()));
    let mut entry = Reply::default();
    entry.put("tag", Value::text(end.tag.as_deref().unwrap_or_default()));
    if let Some(branch) = dialog.via_branch.as_ref().filter(|_| side == Side::Callee) {
        entry.put("via-branch", Value::text(branch));
    }
    if let Some(label) = &end.label {
        entry.put("label", Value::text(label));
    }
    entry.put("created", number(created.as_secs()));
    if let Some(tag) = &far.tag {
        entry.put("in dialogue with", Value::text(tag));
    }
    let lines = dialog.streams.iter().enumerate();
    let lines = lines.filter_map(|(index, stream)| {
        let context = stream.carrying().or(stream.last.as_deref())?;
        Some(media(index, stream, context, side))
    });
    entry.put("medias", Value::List(lines.collect()));
    entry.into()
}

fn media(index: usize, stream: &Stream, context: &Context, side: Side) -> Value {
    let mut entry = Reply::default();
    let (kind, transport) = stream.name.split_once(' ').unwrap_or((&stream.name, ""));
    let place = u64::try_from(index).unwrap_or(u64::MAX);
    entry.put("index", number(place.saturating_add(1)));
    entry.put("type", Value::text(kind));
    entry.put("protocol", Value::text(transport));
    let mut way = Reply::default();
    if let Some(local) = context.local(side) {
        way.put("local port", number(u64::from(local.port())));
        way.put("local address", Value::text(&local.ip().to_string()));
        way.put("family", Value::text(family(local)));
    }
    if let Some(remote) = context.setting().0.of(side).remote {
        way.put("endpoint", address(remote));
        way.put("advertised endpoint", address(remote));
    }
    let octets = stream.total();
    way.put("stats", stats(octets.of(side).received));
    way.put("stats_out", stats(octets.of(side).sent));
    entry.put("streams", Value::List(vec![way.into()]));
    entry.put("flags", Value::List(Vec::new()));
    let mut carnet = Reply::default();
    carnet.put("line", number(place));
    carnet.put("decision", Value::text(stream.decision));
    if let Some(id) = context.id() {
        carnet.put("context", number(u64::from(id)));
    }
    if let Some(link) = context.id().and_then(|id| stream.links.get(&id)).map(|links| links.of(side)) {
        carnet.put("connected", Value::Integer(i64::from(link.up)));
        if let Some(cause) = &link.cause {
            carnet.put("cause", Value::text(cause));
        }
        if let Some(tls) = link.tls {
            carnet.put("tls", Value::Integer(i64::from(tls)));
        }
    }
    entry.put("carnet", carnet.into());
    entry.into()
}

fn family(address: SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn address(address: SocketAddr) -> Value {
    let mut entry = Reply::default();
    entry.put("family", Value::text(family(address)));
    entry.put("address", Value::text(&address.ip().to_string()));
    entry.put("port", number(u64::from(address.port())));
    entry.into()
}
