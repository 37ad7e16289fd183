//! One command on one termination.

use std::collections::BTreeSet;
use std::time::Instant;

use carnet_h248::{Command, CommandReply, Descriptor, Media, Stream as StreamText, TerminationId, Verb};

use crate::Event;
use crate::context::{Heartbeat, Place, Stream, Target, Termination};
use crate::control::Control;
use crate::core::{Core, Step};
use crate::description::Description;
use crate::error::Fault;
use crate::events::heartbeat;
use crate::media;
use crate::plan::Plan;
use crate::regulation::Told;
use crate::run::{Origin, Work, statistics};

impl Core {
    pub(crate) fn step(
        &mut self,
        now: Instant,
        target: &Target,
        command: &Command,
        origin: Origin,
    ) -> Result<Step, Fault> {
        self.touch(now, target);
        if target.termination.is_root() {
            return match command.verb {
                Verb::Modify => self.modify_root(now, target, command).map(Step::Done),
                Verb::AuditValue => self.audited(target, command, None).map(Step::Done),
                Verb::AuditCapability => self.audit_capability(target, command).map(Step::Done),
                _ => self.service_change(now, target, command).map(Step::Done),
            };
        }
        match command.verb {
            Verb::Add => self.start_add(target, command, origin),
            Verb::Modify => self.start_modify(target, command, origin),
            Verb::Subtract => self.start_subtract(target, command),
            Verb::AuditValue => self.audit(target, command),
            Verb::AuditCapability => self.audit_capability(target, command).map(Step::Done),
            Verb::Move => Err(Fault::unsupported(501, "Not implemented: Move")),
            Verb::ServiceChange => self.service_change(now, target, command).map(Step::Done),
            Verb::Notify => Err(Fault::request(443, "A gateway takes no Notify")),
        }
    }

    /// The engine has answered everything that was asked of it.
    pub(crate) fn complete(
        &mut self,
        now: Instant,
        work: Work,
        command: &Command,
    ) -> Result<CommandReply, Fault> {
        match work {
            Work::Place { target, number, plan, holes, refused, .. } => {
                if let Some(reason) = refused {
                    for (_, pinhole, _) in holes.iter().filter(|hole| hole.2.is_some()) {
                        self.commands.push_back(media::Command::Release { pinhole: *pinhole });
                    }
                    return Err(Fault::refused(reason));
                }
                let places: Vec<_> = holes
                    .into_iter()
                    .filter_map(|(id, pinhole, local)| Some((id, Place { pinhole, local: local? })))
                    .collect();
                let applied = self.apply(now, &target, number, *plan, &places, command);
                if applied.is_err() {
                    // The context is gone meanwhile (a restart of the association).
                    for (_, Place { pinhole, .. }) in places {
                        self.pinholes.remove(&pinhole);
                        self.commands.push_back(media::Command::Release { pinhole });
                    }
                }
                applied
            }
            Work::Remove { target, wanted, total, .. } => {
                self.events.push_back(Event::Removed {
                    context: target.context,
                    termination: target.termination.clone(),
                    statistics: total.clone(),
                });
                let reply = CommandReply::new(Verb::Subtract, &target.termination);
                Ok(if wanted { reply.with(statistics(&total)) } else { reply })
            }
            Work::Measure { target, total, .. } => self.audited(&target, command, Some(&total)),
        }
    }

    /// Any message about a termination shows that its controller knows it (`hangterm`).
    fn touch(&mut self, now: Instant, target: &Target) {
        let Some(context) = target.context.id() else { return };
        let Some(termination) = self.contexts.get_mut(&context).and_then(|c| c.find_mut(&target.termination))
        else {
            return;
        };
        if let Some(heartbeat) = &mut termination.heartbeat {
            self.heartbeats.remove(&(heartbeat.next, context, termination.number));
            heartbeat.next = now + heartbeat.every;
            self.heartbeats.insert((heartbeat.next, context, termination.number));
        }
    }

    fn start_add(&mut self, target: &Target, command: &Command, origin: Origin) -> Result<Step, Fault> {
        self.root.takes_new()?;
        let wanted = &target.termination;
        if !wanted.has_choose() {
            if self.contexts.values().any(|context| context.find(wanted).is_some()) {
                return Err(Fault::request(433, "TerminationID is already in a context"));
            }
            return Err(Fault::request(430, format!("Unknown TerminationID: {wanted}")));
        }
        let Some(context) = target.context.id() else {
            return Err(Fault::request(421, "Add needs one context"));
        };
        let held = self.contexts.get(&context).map_or(0, |context| context.terminations.len());
        if held >= self.limits.terminations {
            return Err(Fault::exhausted(434, "Maximum number of terminations in context exceeded"));
        }
        let plan = Plan::new(command, None, origin.protected, self.limits.streams)?;
        let number = self.new_number();
        let id = choose_id(wanted, number)?;
        let target = Target { context: target.context, termination: id };
        Ok(self.reserve(target, context, number, plan))
    }

    fn start_modify(&mut self, target: &Target, command: &Command, origin: Origin) -> Result<Step, Fault> {
        let gone = || Fault::request(430, "Unknown TerminationID");
        let context = target.context.id().ok_or_else(gone)?;
        let termination =
            self.contexts.get(&context).and_then(|c| c.find(&target.termination)).ok_or_else(gone)?;
        let plan = Plan::new(command, Some(termination), origin.protected, self.limits.streams)?;
        let number = termination.number;
        Ok(self.reserve(target.clone(), context, number, plan))
    }

    /// Asks the engine for the local addresses that a plan needs; there may be none.
    fn reserve(&mut self, target: Target, context: u32, number: u64, plan: Plan) -> Step {
        let mut holes = Vec::new();
        for stream in &plan.streams {
            if let Some(family) = stream.reserve {
                let pinhole = self.new_pinhole(context);
                let realm = stream.control.realm.clone();
                self.commands.push_back(media::Command::Reserve { pinhole, realm, family });
                holes.push((stream.id, pinhole, None));
            }
        }
        let left: BTreeSet<_> = holes.iter().map(|hole| hole.1).collect();
        Step::Wait(Work::Place { target, number, plan: Box::new(plan), holes, refused: None, left })
    }

    /// Everything is checked and every address is there: now it becomes so.
    fn apply(
        &mut self,
        now: Instant,
        target: &Target,
        number: u64,
        plan: Plan,
        places: &[(u16, Place)],
        command: &Command,
    ) -> Result<CommandReply, Fault> {
        let internal = || Fault::exhausted(500, "Internal software failure");
        let id = target.context.id().ok_or_else(internal)?;
        let context = self.contexts.get_mut(&id).ok_or_else(internal)?;
        if context.numbered(number).is_none() {
            context.terminations.push(Termination {
                id: target.termination.clone(),
                number,
                state: carnet_h248::TerminationState::default(),
                streams: Vec::new(),
                events: carnet_h248::Events::default(),
                signals: carnet_h248::Signals::default(),
                latch: false,
                heartbeat: None,
                told: Told::default(),
                out_of_service: false,
            });
        }
        let termination =
            context.terminations.iter_mut().find(|t| t.number == number).ok_or_else(internal)?;
        if let Some(state) = plan.state {
            termination.state = state;
        }
        if let Some(events) = plan.events {
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
        if let Some(signals) = plan.signals {
            termination.signals = signals;
        }
        termination.latch = plan.signalled.latch.unwrap_or(termination.latch);
        let mut answered = Vec::new();
        for stream in plan.streams {
            let held = match termination.streams.iter().position(|s| s.id == stream.id) {
                Some(index) => termination.streams.get_mut(index),
                None => {
                    termination.streams.push(Stream {
                        id: stream.id,
                        control_text: carnet_h248::LocalControl::default(),
                        control: Control::default(),
                        local: None,
                        remote: None,
                        place: None,
                        settings: None,
                    });
                    termination.streams.last_mut()
                }
            };
            let held = held.ok_or_else(internal)?;
            held.control_text = stream.control_text;
            held.control = stream.control;
            held.remote = stream.remote;
            // Told again even if nothing changed: a controller that repeats itself wants another
            // connection after one that ended.
            held.settings = None;
            if let Some((_, place)) = places.iter().find(|(id, _)| *id == stream.id) {
                held.place = Some(*place);
                self.pinholes.insert(place.pinhole, (id, number, stream.id));
            }
            held.local = match (stream.local, held.place) {
                (Some(local), Some(place)) if stream.chosen => {
                    Some(Description::parse(&local.filled(place.local))?)
                }
                (local, _) => local,
            };
            if stream.chosen
                && let Some(local) = &held.local
            {
                answered.push(StreamText::new(stream.id).local(local.text().clone()));
            }
        }
        for (stream, place) in places {
            let far = context.far(number, *stream);
            if let Some(far) = far {
                self.commands.push_back(media::Command::Join { a: far, b: place.pinhole });
            }
            self.events.push_back(Event::Added {
                context: target.context,
                termination: target.termination.clone(),
                local: place.local,
            });
        }
        let Some(termination) = context.terminations.iter_mut().find(|t| t.number == number) else {
            return Err(internal());
        };
        configure(termination, &mut self.commands);
        let chosen = |wanted: &Option<u16>, stream: &Stream| wanted.is_none_or(|id| id == stream.id);
        for stream in &termination.streams {
            let Some(Place { pinhole, .. }) = stream.place else { continue };
            if plan.signalled.disconnect.iter().any(|wanted| chosen(wanted, stream)) {
                self.commands.push_back(media::Command::Disconnect { pinhole });
            }
            if plan.signalled.connect.iter().any(|wanted| chosen(wanted, stream)) {
                self.commands.push_back(media::Command::Connect { pinhole });
            }
        }
        let mut reply = CommandReply::new(command.verb, &target.termination);
        if !answered.is_empty() {
            reply = reply.with(Media {
                streams: answered,
                implied_stream: plan.implied_stream,
                ..Media::default()
            });
        }
        if let Some(audit) = &plan.audit {
            let audited = self.audit_termination(target, audit, None)?;
            let known = |d: &Descriptor| {
                reply.descriptors.iter().any(|r| std::mem::discriminant(r) == std::mem::discriminant(d))
            };
            let more: Vec<_> = audited.into_iter().filter(|d| !known(d)).collect();
            reply.descriptors.extend(more);
        }
        Ok(reply)
    }

    fn start_subtract(&mut self, target: &Target, command: &Command) -> Result<Step, Fault> {
        let legal = |d: &Descriptor| matches!(d, Descriptor::Audit(_));
        if !command.descriptors.iter().all(legal) {
            return Err(Fault::request(447, "Descriptor is not legal in this command"));
        }
        // RFC 3525 §7.2.3: without an Audit descriptor statistics come back.
        let wanted = command.audit().is_none_or(|a| a.asks(carnet_h248::AuditToken::Statistics));
        let gone = || Fault::request(430, "Unknown TerminationID");
        let id = target.context.id().ok_or_else(gone)?;
        let context = self.contexts.get_mut(&id).ok_or_else(gone)?;
        let index = context
            .terminations
            .iter()
            .position(|termination| termination.id == target.termination)
            .ok_or_else(gone)?;
        let termination = context.terminations.remove(index);
        if let Some(heartbeat) = termination.heartbeat {
            self.heartbeats.remove(&(heartbeat.next, id, termination.number));
        }
        let left: BTreeSet<_> = termination.pinholes().collect();
        for pinhole in &left {
            self.pinholes.remove(pinhole);
            self.commands.push_back(media::Command::Release { pinhole: *pinhole });
        }
        let target = target.clone();
        Ok(Step::Wait(Work::Remove { target, wanted, total: media::Statistics::default(), left }))
    }
}

/// Tells the engine what has changed for a termination's streams.
pub(crate) fn configure(
    termination: &mut Termination,
    commands: &mut std::collections::VecDeque<media::Command>,
) {
    for index in 0..termination.streams.len() {
        let Some(stream) = termination.streams.get(index) else { continue };
        let (Some(place), Some(local)) = (stream.place, &stream.local) else { continue };
        let inactivity = termination.inactivity(stream.id);
        let remote = stream.remote.as_ref();
        let mut settings = stream.control.settings(local, remote, termination.latch, inactivity);
        if termination.out_of_service {
            settings.gate = media::Gate::Inactive;
        }
        let Some(stream) = termination.streams.get_mut(index) else { continue };
        if stream.settings.as_ref() != Some(&settings) {
            stream.settings = Some(settings.clone());
            commands.push_back(media::Command::Configure { pinhole: place.pinhole, settings });
        }
    }
}

/// `ip/<group>/<interface>/<number>`, with the components that the controller left open.
fn choose_id(wanted: &TerminationId, number: u64) -> Result<TerminationId, Fault> {
    let unknown = || Fault::request(430, format!("Unknown TerminationID: {wanted}"));
    if wanted.as_str() == "$" {
        return Ok(format!("ip/1/1/{number}").into());
    }
    let parts: Vec<&str> = wanted.as_str().split('/').collect();
    let [kind, group, interface, "$"] = parts.as_slice() else { return Err(unknown()) };
    if !kind.eq_ignore_ascii_case("ip") || wanted.has_all() {
        return Err(unknown());
    }
    let part = |part: &str| if part == "$" { "1".to_owned() } else { part.to_owned() };
    let id = format!("ip/{}/{}/{number}", part(group), part(interface));
    // RFC 3525 Annex B.2: a termination identifier has at most 64 characters.
    if id.len() > 64 || id.contains('$') { Err(unknown()) } else { Ok(id.into()) }
}
