//! Add, Modify and Move once everything is checked and every address is there: now it becomes so.

use std::time::{Duration, Instant};

use carnet_h248::{
    Audit, Command, CommandReply, ContextId, Descriptor, Media, SessionDescription, Stream as StreamText,
    Verb,
};

use crate::Event;
use crate::context::{Heartbeat, Place, Stream, Target, Termination};
use crate::core::{Core, Step};
use crate::description::Description;
use crate::error::Fault;
use crate::events::heartbeat;
use crate::media;
use crate::plan::{Answer, Plan, StreamPlan};
use crate::regulation::Told;
use crate::relay;
use crate::run::kept;
use crate::signals::{Bearer, Call, Completed, Decided};
use crate::step::choose_id;

fn internal() -> Fault {
    Fault::exhausted(500, "Internal software failure")
}

impl Core {
    /// Carries a plan out, or gives back what was reserved for it: the context may be gone meanwhile (a
    /// restart of the association).
    #[allow(clippy::too_many_arguments)] // All of it comes from one Work.
    pub(crate) fn apply_or_release(
        &mut self,
        now: Instant,
        target: &Target,
        number: u64,
        plan: Plan,
        places: Vec<(u16, Place)>,
        total: &media::Statistics,
        command: &Command,
    ) -> Result<Step, Fault> {
        let applied = self.apply(now, target, number, plan, &places, total, command);
        if applied.is_err() {
            for (_, Place { pinhole, .. }) in places {
                self.pinholes.remove(&pinhole);
                self.commands.push_back(media::Command::Release { pinhole });
            }
        }
        applied.map(Step::Done)
    }

    #[allow(clippy::too_many_arguments)] // As above.
    pub(crate) fn apply(
        &mut self,
        now: Instant,
        target: &Target,
        number: u64,
        mut plan: Plan,
        places: &[(u16, Place)],
        total: &media::Statistics,
        command: &Command,
    ) -> Result<CommandReply, Fault> {
        let id = target.context.id().filter(|id| self.contexts.contains_key(id)).ok_or_else(internal)?;
        // What fails after this would be half done, so the texts come first.
        let old = self.contexts.get(&id).and_then(|context| context.numbered(number));
        let texts = filled(old, &plan, places)?;
        let target = self.named(target, id, number, &plan, command)?;
        let context = self.contexts.get_mut(&id).ok_or_else(internal)?;
        let termination = context.numbered_mut(number).ok_or_else(internal)?;
        termination.begun.get_or_insert((now, Duration::ZERO));
        if let Some(state) = plan.state.take() {
            termination.state = state;
        }
        if let Some(events) = plan.events.take() {
            if let Some(old) = termination.heartbeat.take() {
                self.heartbeats.remove(&(old.next, id, number));
            }
            let every = events.find("hangterm/thb").and_then(heartbeat);
            if let Some(every) = every {
                let next = now + every;
                termination.heartbeat = Some(Heartbeat { every, next });
                self.heartbeats.insert((next, id, number));
            }
            termination.events = events;
            termination.told = Told::default();
        }
        if let Some(statistics) = plan.statistics.take() {
            termination.statistics = Some(statistics);
        }
        termination.latch = plan.signalled.latch.unwrap_or(termination.latch);
        let mut answered = Vec::new();
        for (stream, local) in plan.streams.into_iter().zip(texts) {
            answered.extend(told(&stream, local.as_ref()));
            let place = places.iter().find(|(id, _)| *id == stream.id).map(|(_, place)| place);
            if stream.give_back
                && let Some(old) = termination.stream_or_new(stream.id).and_then(|held| held.place.take())
            {
                self.pinholes.remove(&old.pinhole);
                self.leaving.insert(old.pinhole, number);
                self.commands.push_back(media::Command::Release { pinhole: old.pinhole });
            }
            if stream.deleted {
                termination.streams.retain(|held| held.id != stream.id);
                continue;
            }
            let held = termination.stream_or_new(stream.id).ok_or_else(internal)?;
            if let Some(place) = place {
                (held.place, held.engine) = (Some(place.clone()), None);
                held.realm.clone_from(&stream.control.realm);
                (held.begins_tls, held.sealed) = (false, None);
                (held.engine, held.connected) = (None, false);
                self.pinholes.insert(place.pinhole, (id, number, stream.id));
            }
            held.control_text = stream.control_text;
            held.control = stream.control;
            held.remote = stream.remote;
            held.statistics = stream.statistics;
            held.local = local;
            // Told again even if nothing changed: a controller that repeats itself wants another
            // connection after one that ended.
            held.settings = None;
        }
        if let Some(signals) = plan.signals.take() {
            termination.signals = signals;
            termination.take_role(&plan.signalled.calls);
        }
        for (stream, place) in places {
            if let Some((_, far)) = context.far(number, *stream) {
                self.commands.push_back(media::Command::Join { a: far, b: place.pinhole });
            }
            self.events.push_back(Event::Added {
                context: target.context,
                termination: target.termination.clone(),
                local: place.local,
            });
        }
        context.configure_around(number, &mut self.commands);
        self.call((id, number), &plan.signalled.calls);
        self.decide((id, number), &plan.signalled.decisions);
        let completed: Vec<_> = plan.signalled.completed.into_iter().map(Completed::observed).collect();
        self.recognize(now, (id, number), completed, true);
        let mut reply = CommandReply::new(command.verb, &target.termination);
        if !answered.is_empty() {
            let implied_stream = plan.implied_stream;
            reply = reply.with(Media { streams: answered, implied_stream, ..Media::default() });
        }
        if let Some(audit) = &plan.audit {
            self.append_audit(&target, audit, total, &mut reply)?;
        }
        Ok(reply)
    }

    /// The termination that a plan is for. If it is new, it is made here and gets its name.
    fn named(
        &mut self,
        target: &Target,
        context: u32,
        number: u64,
        plan: &Plan,
        command: &Command,
    ) -> Result<Target, Fault> {
        if command.verb != Verb::Add {
            return Ok(target.clone());
        }
        let realm = plan.streams.iter().find(|stream| stream.reserve.is_some());
        let interface = self.interface(realm.and_then(|stream| stream.control.realm.as_deref()));
        let id = choose_id(&target.termination, number, interface).ok_or_else(internal)?;
        self.homes.insert(number, context);
        let held = self.contexts.get_mut(&context).ok_or_else(internal)?;
        held.terminations.push(Termination::new(id.clone(), number));
        Ok(Target { context: ContextId::Id(context), termination: id })
    }

    /// Gives the signals that connect and disconnect. Who begins TLS is settled before ([`Termination::take_role`]).
    pub(crate) fn call(&mut self, (id, number): (u32, u64), calls: &[Call]) {
        let termination = self.contexts.get(&id).and_then(|context| context.numbered(number));
        let streams = termination.map(|termination| termination.streams.as_slice()).unwrap_or_default();
        for call in calls {
            let meant = |stream: &&Stream| call.stream.is_none_or(|id| id == stream.id);
            for stream in streams.iter().filter(meant) {
                let Some(&Place { pinhole, .. }) = stream.place.as_ref() else { continue };
                let ends_tls = stream.local.as_ref().is_some_and(relay::ends_tls);
                self.commands.push_back(match call.bearer {
                    Bearer::Connect => media::Command::Connect { pinhole },
                    Bearer::Disconnect => media::Command::Disconnect { pinhole },
                    Bearer::EndTls if ends_tls => media::Command::Disconnect { pinhole },
                    // That is in its settings.
                    Bearer::BeginTls | Bearer::KeepTls | Bearer::EndTls => continue,
                });
            }
        }
    }

    /// Gives the decisions about floors to the floor control server of the conference.
    fn decide(&mut self, (id, number): (u32, u64), decisions: &[Decided]) {
        let termination = self.contexts.get(&id).and_then(|context| context.numbered(number));
        let user = termination.and_then(|termination| termination.streams.iter().find_map(Stream::user));
        let Some(user) = user else { return };
        for Decided { floor, grant } in decisions.iter().copied() {
            self.commands.push_back(media::Command::Decide { group: id, floor, user, grant });
        }
    }

    /// What an Audit descriptor in Add, Modify or Move asks for (RFC 3525 §7.1.12).
    fn append_audit(
        &mut self,
        target: &Target,
        audit: &Audit,
        total: &media::Statistics,
        reply: &mut CommandReply,
    ) -> Result<(), Fault> {
        let mut audited = self.audit_termination(target, audit, Some(total))?;
        let context = target.context.id().and_then(|id| self.contexts.get(&id));
        let names = context.and_then(|c| c.find(&target.termination)).and_then(|t| t.statistics.as_deref());
        for descriptor in &mut audited {
            if let Descriptor::Statistics(list) = descriptor {
                *list = kept(total, names);
            }
        }
        // The whole says more than what was chosen.
        let same = |d: &Descriptor, e: &Descriptor| std::mem::discriminant(d) == std::mem::discriminant(e);
        reply.descriptors.retain(|chosen| !audited.iter().any(|d| same(d, chosen)));
        reply.descriptors.extend(audited);
        Ok(())
    }
}

/// The Local descriptors of the streams of a plan, with what the gateway chose.
fn filled(
    termination: Option<&Termination>,
    plan: &Plan,
    places: &[(u16, Place)],
) -> Result<Vec<Option<Description>>, Fault> {
    let one = |stream: &StreamPlan| {
        let new = places.iter().find(|(id, _)| *id == stream.id).map(|(_, place)| place);
        let old = termination.and_then(|t| t.stream(stream.id)).and_then(|held| held.place.as_ref());
        match (&stream.local, new.or(old)) {
            (Some(local), Some(place)) if local.has_choice() => {
                let peer = stream.remote.as_ref().and_then(|remote| remote.setup);
                let own = place.fingerprint.as_deref();
                Description::parse(&local.filled(place.local, peer, own)).map(Some)
            }
            (local, _) => Ok(local.clone()),
        }
    };
    plan.streams.iter().map(one).collect()
}

/// What the reply says of a stream.
fn told(stream: &StreamPlan, local: Option<&Description>) -> Option<StreamText> {
    let mut text = StreamText::new(stream.id);
    let tell = |told: Answer, description: Option<&Description>| match told {
        Answer::No => None,
        Answer::Chosen => description.map(|d| d.text().clone()),
        Answer::Empty => Some(SessionDescription::default()),
    };
    text.local_control = stream.control_told.then(|| stream.control_text.clone());
    text.local = tell(stream.local_told, local);
    text.remote = tell(stream.remote_told, stream.remote.as_ref());
    (text != StreamText::new(stream.id)).then_some(text)
}
