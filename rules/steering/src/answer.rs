//! An answer comes: settle the lines, tell the gateway both peers, open the gates, hand it back.
//!
//! RFC 3264 §6 and §8, RFC 4145 §4.1, RFC 8122 §6.2, TS 23.334 §6.2.10.3 and §6.2.11. Several ends may
//! answer the first offer (RFC 3261 §12.1); each answer has the gateway until the next one.

use crate::call::{Answered, Call, Step, Waiting, Work};
use crate::core::{Core, Op, Place};
use crate::delete::FORKS_ANSWER;
use crate::dialog::Dialog;
use crate::event::{Ended, Event};
use crate::fault::{Fault, Reply};
use crate::rewrite;
use crate::tags::Names;
use crate::wishes;
use carnet_h248::StreamMode;
use carnet_ng::options::AddressFamily;
use carnet_ng::{Options, Value};
use carnet_plan::{Both, Side};

impl Call {
    pub(crate) fn answer(&mut self, core: &mut Core, waiting: Waiting) -> Result<(), Fault> {
        let Waiting { id, request, options } = waiting;
        let document = wishes::read(&request, &core.config)?;
        let to = request.to_tag.as_deref().filter(|tag| !tag.is_empty());
        let names = Names { from: &request.from_tag, to, branch: options.via_branch.as_deref() };
        let Some(found) = self.find_answer(names) else {
            // Media that are none of ours have no call here.
            if carnet_plan::concerns(&document) {
                let known = !self.dialogs.is_empty();
                let text = if known { "no offer waits for this answer" } else { "Unknown call-id" };
                return Err(Fault::new(481, text));
            }
            let mut reply = Reply::ok();
            reply.put("sdp", Value::String(document.to_bytes()));
            wishes::tell(&mut reply, &options, Vec::new());
            core.reply(id, reply);
            return Ok(());
        };
        let to = to.ok_or_else(|| Fault::new(400, "an answer needs a to-tag"))?;
        let Some(at) = self.dialogs.iter().position(|d| d.key == found.dialog) else { return Ok(()) };
        let call = self.id.clone();
        let dialog = &mut self.dialogs[at];
        let Some(exchange) = dialog.exchange.as_ref() else { return Ok(()) };
        let (offerer, answerer) = (exchange.offerer, exchange.offerer.other());
        let mut warnings = Vec::new();
        let ends = wishes::of_answer(core, &dialog.ends, answerer, to, &options, &document)?;
        let plan = exchange.plan.clone();
        let settlement = carnet_plan::settle(&exchange.plan, &document, &exchange.facts)?;
        let (first, again) = (exchange.first, exchange.answered);
        let mut modified = Vec::new();
        for (line, m) in settlement.lines.iter().zip(document.media()) {
            let (Some(line), Some(planned)) = (line, exchange.plan.lines.get(m.index())) else { continue };
            let offered = (planned.said.address, exchange.takes.get(m.index()).copied().flatten());
            let answered = (line.said.address, m.bandwidth().map(|bits| bits / 8));
            let peers = Both::by_offer(
                offerer,
                wishes::peer(core, ends.of(offerer), &line.legs.offerer, offered),
                wishes::peer(core, ends.of(answerer), &line.legs.answerer, answered),
            );
            let mode = if line.open { StreamMode::SendReceive } else { StreamMode::Inactive };
            modified.push((m.index(), peers, mode, planned.said.anew));
        }
        warnings.extend(other_family(&options, dialog, offerer));
        let used: Vec<_> = modified.iter().map(|(index, ..)| *index).collect();
        // What was agreed before may be of another kind than what the offer had.
        let held = |index: &usize| {
            let line = plan.lines.get(*index).and_then(|line| crate::offer::carried(offerer, line));
            let context = dialog.streams.get(*index).and_then(|stream| stream.context());
            line.zip(context).is_some_and(|(line, context)| context.carries(&line.planned, line.sealed))
        };
        if !used.iter().all(held) {
            return Err(Fault::overload("the gateway lost what it had"));
        }
        let dropped: Vec<_> = (0..dialog.streams.len()).filter(|index| !used.contains(index)).collect();
        // Another fork had taken it, and another one may again.
        for index in dropped.iter().filter(|_| first) {
            if let Some(context) = dialog.streams.get(*index).and_then(|s| s.context()) {
                let (peers, _) = context.setting();
                modified.push((*index, peers, StreamMode::Inactive, false));
            }
        }
        if !modified.is_empty() && !core.gateway.is_up() {
            return Err(Fault::overload("the gateway is not there"));
        }
        let mut outstanding = Vec::new();
        for (index, peers, mode, anew) in modified {
            let Some(context) = dialog.stream_mut(index).context_mut() else { continue };
            // The first offer of a line asks for a new connection too, and finds nothing set. The same answer
            // again is no other connection.
            let set = context.is_set_to(&peers, mode);
            let actions = match (set, anew && !again) {
                (true, false) => continue,
                (true, true) => context.renew(peers, mode),
                (false, _) => context.modify(peers, mode),
            };
            outstanding.push(core.ask(actions, Op::Modify { call: call.clone() }));
        }
        let edits = settlement.all_edits().cloned().collect();
        let said = crate::offer::lines(&plan, &settlement.lines);
        let answered =
            Answered { dialog: found.dialog, ends, edits, said, document, to: offerer, used, dropped };
        let deadline = core.now + core.config.timers.gateway;
        let step = Step::Answer(Box::new(answered));
        self.work = Some(Work { id, options, deadline, outstanding, failed: None, warnings, step });
        Ok(())
    }

    /// The gateway knows both ends, or would not.
    pub(crate) fn answered(
        &mut self,
        core: &mut Core,
        answered: Answered,
        options: &Options,
        failed: Option<Fault>,
        warnings: &mut Vec<String>,
    ) -> Result<Reply, Fault> {
        let Answered { dialog: key, ends, edits, said, mut document, to, used, dropped } = answered;
        if let Some(fault) = failed {
            return Err(fault);
        }
        let call = self.id.clone();
        let gone = || Fault::overload("the gateway lost what it had");
        let dialog = self.dialogs.iter_mut().find(|d| d.key == key).ok_or_else(gone)?;
        let held = |index: &usize| dialog.streams.get(*index).is_some_and(|s| s.context().is_some());
        if !used.iter().all(held) {
            return Err(gone());
        }
        dialog.ends = ends;
        dialog.signalled = core.now;
        dialog.delete_at = None;
        rewrite::apply(dialog, &edits, &mut document, to, options, warnings)?;
        let new = dialog.answered.is_none();
        dialog.answered.get_or_insert(core.now);
        let mut unused = Vec::new();
        for index in used {
            let stream = dialog.stream_mut(index);
            stream.refused = false;
            if let Some(context) = stream.offered.take() {
                (stream.measured, stream.silent) = (Both::default(), None);
                unused.extend(stream.agreed.replace(context).map(|old| (index, old)));
            }
        }
        let first = dialog.exchange.as_ref().is_some_and(|exchange| exchange.first);
        for index in dropped {
            let stream = dialog.stream_mut(index);
            stream.refused = true;
            if !first {
                unused.extend(stream.take_contexts().map(|context| (index, context)));
            }
        }
        let waits = dialog.streams.iter().any(|s| s.refused && s.contexts().next().is_some());
        dialog.sweep_at = waits.then(|| dialog.sweep_at.unwrap_or(core.now + FORKS_ANSWER));
        dialog.look(core.now);
        if let Some(exchange) = &mut dialog.exchange {
            exchange.answered = true;
        }
        if new {
            let tag = |side: Side| dialog.ends.of(side).tag.clone().unwrap_or_default();
            let (call_id, from_tag, to_tag) = (call.as_ref().to_owned(), tag(to), tag(to.other()));
            core.events.push_back(Event::DialogAnswered { call_id, from_tag, to_tag });
        }
        for (line, context) in unused {
            core.release(Place { call: call.clone(), dialog: key, line }, context);
        }
        if dialog.is_empty() {
            self.end(core, key, Ended::Unused);
        }
        let mut reply = Reply::ok();
        reply.put("sdp", Value::String(document.to_bytes()));
        reply.put("carnet", said);
        Ok(reply)
    }
}

/// The offerer has an address of the gateway already, and hears of it in the answer.
fn other_family(options: &Options, dialog: &Dialog, offerer: Side) -> Option<String> {
    let wanted = options.family?;
    let mut given = dialog.streams.iter().filter_map(|stream| stream.context()?.local(offerer));
    given.any(|local| local.is_ipv6() != (wanted == AddressFamily::Ip6)).then(|| {
        "address family: the offerer's side of the gateway has an address of the other version".to_owned()
    })
}
