//! An offer comes: plan it, add what is new, hand it back with the changes that the plan names.
//!
//! RFC 3264 §5 and §8; TS 23.334 §6.2.1: both terminations of a context are added at once. Until the answer
//! comes a line keeps the context it had, if the new offer needs one of another kind; what an offer brought
//! in that another offer takes the place of is given back. The same offer again gets the same addresses.

use crate::call::{Call, Offered, Step, Waiting, Work};
use crate::core::{Core, Op, Place};
use crate::dialog::{Dialog, Exchange};
use crate::event::Event;
use crate::fault::{Fault, Reply};
use crate::rewrite;
use crate::tags::{Found, Names};
use crate::wishes;
use carnet_ng::{Options, Value};
use carnet_plan::{Both, Carried, Context, Decision, Fixed, Kind, Line, Plan, Settled, Side, Urgency};

/// Which context a line of a new offer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// What the last answer settled.
    Agreed,
    /// What the offer before brought in.
    Offered,
    /// A new one.
    New,
}

impl Call {
    pub(crate) fn offer(&mut self, core: &mut Core, waiting: Waiting) -> Result<(), Fault> {
        let Waiting { id, request, options } = waiting;
        let document = wishes::read(&request, &core.config)?;
        let to = request.to_tag.as_deref().filter(|tag| !tag.is_empty());
        let names = Names { from: &request.from_tag, to, branch: options.via_branch.as_deref() };
        if request.from_tag.is_empty() {
            return Err(Fault::new(400, "an offer needs a from-tag"));
        }
        let found = self.find_offer(names);
        let known = found.and_then(|found| Some((found, self.dialog(found.dialog)?)));
        let offerer = known.map_or(Side::Caller, |(found, _)| found.from);
        let mut warnings = Vec::new();
        let before = known.map(|(_, dialog)| &dialog.ends);
        let ends = wishes::of_offer(core, (before, offerer), names, &options, &document, &mut warnings)?;
        let facts = wishes::facts(core, &ends, offerer, known.map(|(_, dialog)| dialog));
        let plan = carnet_plan::plan(&document, &core.config.policy, &facts);
        core.events.push_back(Event::OfferPlanned {
            call_id: self.id.as_ref().to_owned(),
            from_tag: request.from_tag.clone(),
            plan: plan.clone(),
        });
        if let Some(refusal) = plan.refusal() {
            return Err(refusal.into());
        }
        let anchored = plan.lines.iter().filter(|line| line.decision.is_anchored()).count();
        if anchored > core.config.limits.streams {
            return Err(Fault::new(488, "more TCP media lines than one call may have"));
        }
        let takes = document.media().map(|m| m.bandwidth().map(|bits| bits / 8)).collect();
        let first = to.is_none() || known.is_none_or(|(_, dialog)| dialog.answered.is_none());
        let exchange = Exchange { offerer, plan, facts, takes, answered: false, first };
        // Of media that are none of ours nothing is kept.
        if known.is_none() && anchored == 0 {
            let mut document = document;
            rewrite::none(&exchange.plan, &mut document)?;
            let mut reply = Reply::ok();
            reply.put("sdp", Value::String(document.to_bytes()));
            reply.put("carnet", lines(&exchange.plan, &[]));
            wishes::tell(&mut reply, &options, warnings);
            core.reply(id, reply);
            return Ok(());
        }
        if known.is_none() {
            self.admit(core)?;
        }
        let (dialog, new) = match known {
            Some((found, _)) => (found.dialog, None),
            None => {
                let key = self.next_dialog();
                let branch = options.via_branch.clone();
                (key, Some(Dialog::new(key, branch, ends.clone(), core.now)))
            }
        };
        let outstanding = self.add(core, found, &exchange, &ends)?;
        let offered = Offered { dialog, new, ends, exchange, document, added: Vec::new() };
        let deadline = core.now + core.config.timers.gateway;
        let step = Step::Offer(Box::new(offered));
        self.work = Some(Work { id, options, deadline, outstanding, failed: None, warnings, step });
        Ok(())
    }

    /// Whether there may be one dialog more.
    fn admit(&self, core: &Core) -> Result<(), Fault> {
        let limits = &core.config.limits;
        if core.retired {
            return Err(Fault::overload("this node is being drained"));
        }
        if self.dialogs.is_empty() && core.calls > limits.calls {
            return Err(Fault::overload("as many calls as may be"));
        }
        if self.dialogs.len() >= limits.dialogs {
            // Another node would have no more room for it.
            return Err(Fault::new(500, "as many dialogs in this call as may be"));
        }
        Ok(())
    }

    /// Asks the gateway for what the lines need and have not.
    fn add(
        &self,
        core: &mut Core,
        found: Option<Found>,
        exchange: &Exchange,
        ends: &Both<crate::dialog::End>,
    ) -> Result<Vec<carnet_h248::controller::RequestNumber>, Fault> {
        let dialog = found.and_then(|found| self.dialog(found.dialog));
        let fixed = fixed(core, ends)?;
        let mut new = Vec::new();
        for line in anchored(&exchange.plan) {
            let Some(carried) = carried(exchange.offerer, line) else { continue };
            if hold(dialog, line.index, &carried, &fixed) == Hold::New {
                new.push((line, carried));
            }
        }
        if new.is_empty() {
            return Ok(Vec::new());
        }
        if !core.gateway.is_up() {
            return Err(Fault::overload("the gateway is not there"));
        }
        if !core.gateway.takes_new() {
            return Err(Fault::overload("the gateway is being drained"));
        }
        let mut outstanding = Vec::new();
        for (line, carried) in new {
            let Some(legs) = &line.legs else { continue };
            let takes = exchange.takes.get(line.index).copied().flatten();
            let said = (line.said.address.filter(|_| !line.said.rejected), takes);
            let (offerer, answerer) = (exchange.offerer, exchange.offerer.other());
            let peers = Both::by_offer(
                offerer,
                wishes::peer(core, ends.of(offerer), &legs.offerer, said),
                wishes::peer(core, ends.of(answerer), &legs.answerer, (None, None)),
            );
            let on = (core.gateway.name(), core.gateway.watch());
            let fixed = (fixed.caller.clone(), fixed.callee.clone());
            let mut context = Context::new(on, None, carried, fixed);
            let events = core.next_events();
            let actions = context.add(offerer, peers, events);
            let context = Box::new(context);
            let op = Op::Add { call: self.id.clone(), line: line.index, context, first: offerer };
            outstanding.push(core.ask(actions, op));
        }
        Ok(outstanding)
    }

    /// The gateway gave what it was asked for, or did not.
    pub(crate) fn offered(
        &mut self,
        core: &mut Core,
        offered: Offered,
        options: &Options,
        failed: Option<Fault>,
        warnings: &mut Vec<String>,
    ) -> Result<Reply, Fault> {
        let Offered { dialog: key, new, ends, exchange, mut document, added } = offered;
        let call = self.id.clone();
        let give_back = |core: &mut Core, added: Vec<(usize, Box<Context>)>| {
            for (line, context) in added {
                core.release(Place { call: call.clone(), dialog: key, line }, context);
            }
        };
        let fixed = fixed(core, &ends);
        let made = failed.map_or(Ok(()), Err).and(fixed);
        let is_new = new.is_some();
        let fixed = match made {
            Ok(fixed) => fixed,
            Err(fault) => {
                give_back(core, added);
                return Err(fault);
            }
        };
        self.dialogs.extend(new);
        let Some(dialog) = self.dialogs.iter_mut().find(|d| d.key == key) else {
            give_back(core, added);
            return Err(Fault::overload("the gateway lost what it had"));
        };
        dialog.delete_at = None;
        dialog.sweep_at = None;
        dialog.signalled = core.now;
        dialog.ends = ends;
        let mut unused = Vec::new();
        let mut added = added;
        for line in &exchange.plan.lines {
            let held =
                carried(exchange.offerer, line).map(|kind| hold(Some(dialog), line.index, &kind, &fixed));
            let stream = dialog.stream_mut(line.index);
            stream.name.clone_from(&line.offered);
            stream.decision = line.decision.name();
            match held {
                Some(Hold::Offered) => {}
                Some(Hold::New) => {
                    unused.extend(stream.offered.take().map(|context| (line.index, context)));
                    let mine = added.iter().position(|(index, _)| *index == line.index);
                    stream.offered = mine.map(|at| added.swap_remove(at).1);
                }
                // The answer decides what becomes of what was agreed.
                Some(Hold::Agreed) | None => {
                    unused.extend(stream.offered.take().map(|context| (line.index, context)));
                }
            }
        }
        let to = exchange.offerer.other();
        let held = |index: usize| dialog.streams.get(index).is_some_and(|s| s.context().is_some());
        let whole = anchored(&exchange.plan).all(|line| held(line.index));
        let done = if whole {
            let edits: Vec<_> = exchange.plan.all_edits().cloned().collect();
            rewrite::apply(dialog, &edits, &mut document, to, options, warnings)
        } else {
            Err(Fault::overload("the gateway lost what it had"))
        };
        let started = dialog.streams.iter().enumerate().filter_map(|(n, s)| Some((n, s.context()?.id()?)));
        core.statistics.started += u64::from(is_new);
        core.events.extend(is_new.then(|| Event::DialogStarted {
            call_id: call.as_ref().to_owned(),
            from_tag: dialog.ends.caller.tag.clone().unwrap_or_default(),
            via_branch: dialog.via_branch.clone(),
            lines: started.collect(),
        }));
        let said = lines(&exchange.plan, &[]);
        dialog.exchange = Some(exchange);
        give_back(core, unused);
        give_back(core, added);
        if let Err(fault) = done {
            if is_new {
                self.end(core, key, crate::event::Ended::Unused);
            }
            return Err(fault);
        }
        let mut reply = Reply::ok();
        reply.put("sdp", Value::String(document.to_bytes()));
        reply.put("carnet", said);
        Ok(reply)
    }
}

/// The lines that the gateway has.
fn anchored(plan: &Plan) -> impl Iterator<Item = &Line> {
    plan.lines.iter().filter(|line| line.decision.is_anchored())
}

/// What a context is for that carries that line; none for a line that the gateway has not.
fn carried(offerer: Side, line: &Line) -> Option<Carried> {
    let legs = line.legs.as_ref().filter(|_| line.decision.is_anchored())?;
    Some(Carried {
        planned: Both::by_offer(offerer, Kind::of(&legs.offerer), Kind::of(&legs.answerer)),
        sealed: line.decision == Decision::EndToEnd,
        urgency: Urgency::Normal,
    })
}

fn fixed(core: &Core, ends: &Both<crate::dialog::End>) -> Result<Both<Fixed>, Fault> {
    let fixed = |side: Side| ends.of(side).fixed(&core.config);
    let both = fixed(Side::Caller).zip(fixed(Side::Callee));
    let (caller, callee) = both.ok_or_else(|| Fault::new(500, "there is no such interface"))?;
    Ok(Both { caller, callee })
}

/// The context that the line keeps, if it keeps one.
fn hold(dialog: Option<&Dialog>, index: usize, carried: &Carried, fixed: &Both<Fixed>) -> Hold {
    let fits = |context: &Context| {
        let same = |side: Side| context.fixed(side) == fixed.of(side);
        context.carries(&carried.planned, carried.sealed) && same(Side::Caller) && same(Side::Callee)
    };
    let Some(stream) = dialog.and_then(|dialog| dialog.streams.get(index)) else { return Hold::New };
    match (&stream.agreed, &stream.offered) {
        (Some(context), _) if fits(context) => Hold::Agreed,
        (_, Some(context)) if fits(context) => Hold::Offered,
        _ => Hold::New,
    }
}

/// What was decided, for the script; of a line that an answer has settled, who connects.
pub(crate) fn lines(plan: &Plan, settled: &[Option<Settled>]) -> Value {
    let line = |line: &Line| {
        let settled = settled.get(line.index).and_then(Option::as_ref);
        let mut entry = Reply::default();
        entry.put("line", Value::Integer(i64::try_from(line.index).unwrap_or(i64::MAX)));
        entry.put("media", Value::text(&line.offered));
        entry.put("decision", Value::text(line.decision.name()));
        entry.put("reason", Value::text(settled.map_or(line.reason, |settled| settled.reason)));
        entry.into()
    };
    Value::List(plan.lines.iter().map(line).collect())
}
