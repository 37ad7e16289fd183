//! Move (RFC 3525 §7.2.4) and Subtract (§7.2.3): terminations that leave their context.

use std::collections::BTreeSet;
use std::time::Instant;

use carnet_h248::{
    Audit, AuditItem, AuditToken, Command, CommandReply, Descriptor, Media, Stream as StreamText, Verb,
};

use crate::Event;
use crate::context::{Place, Stream, Target};
use crate::core::{Core, Step};
use crate::error::Fault;
use crate::media::{self, Pinhole, Statistics};
use crate::plan::Plan;
use crate::run::{Farewell, Origin, Work, kept};

fn gone() -> Fault {
    Fault::request(430, "Unknown TerminationID")
}

impl Core {
    pub(crate) fn start_move(
        &mut self,
        target: &Target,
        command: &Command,
        origin: Origin,
    ) -> Result<Step, Fault> {
        let to = target.context.id().ok_or_else(|| Fault::request(421, "Move needs one context"))?;
        let from = self.home_of(&target.termination).ok_or_else(gone)?;
        if from == to {
            return Err(Fault::request(433, "TerminationID is already in the context"));
        }
        self.check_room(to)?;
        let source = self.contexts.get(&from).ok_or_else(gone)?;
        let termination = source.find(&target.termination).ok_or_else(gone)?;
        // RFC 3525 §7.2.4.
        if termination.out_of_service {
            return Err(Fault::request(503, "A termination that is out of service is not moved"));
        }
        let plan = Plan::new(command, Some(termination), &self.here(origin))?;
        self.check_fit(to, &plan, &termination.streams)?;
        let (number, group) = (termination.number, source.group);
        // A context without pinholes may as well be where this termination is.
        if let Some(context) = self.contexts.get_mut(&to)
            && context.terminations.is_empty()
        {
            context.group = group;
        }
        Ok(self.reserve(target.clone(), to, number, plan))
    }

    /// Every address is there. If the engine has the termination elsewhere than the others of its new
    /// context, it has to bring them together first.
    #[allow(clippy::too_many_arguments)] // All of it comes from one Work.
    pub(crate) fn relocate(
        &mut self,
        now: Instant,
        target: Target,
        number: u64,
        plan: Box<Plan>,
        places: Vec<(u16, Place)>,
        total: Statistics,
        command: &Command,
    ) -> Result<Step, Fault> {
        let group = target.context.id().and_then(|id| self.contexts.get(&id)).map(|context| context.group);
        let source = self.homes.get(&number).and_then(|home| self.contexts.get(home));
        let pinholes: Vec<Pinhole> =
            source.and_then(|s| s.numbered(number)).into_iter().flat_map(|t| t.pinholes()).collect();
        let (mut left, mut renamed) = (BTreeSet::new(), Vec::new());
        if let Some(group) = group {
            for pinhole in pinholes.into_iter().filter(|pinhole| pinhole.group != group) {
                self.regrouping.insert(pinhole);
                self.commands.push_back(media::Command::Regroup { pinhole, group });
                left.insert(pinhole);
                renamed.push(Pinhole { group, ..pinhole });
            }
        }
        if left.is_empty() {
            return self.arrive(now, &target, number, *plan, places, &total, command);
        }
        Ok(Step::Wait(Work::Regroup { target, number, plan, places, total, pinholes: renamed, left }))
    }

    /// The termination changes its context, in one step.
    #[allow(clippy::too_many_arguments)] // As above.
    pub(crate) fn arrive(
        &mut self,
        now: Instant,
        target: &Target,
        number: u64,
        plan: Plan,
        places: Vec<(u16, Place)>,
        total: &Statistics,
        command: &Command,
    ) -> Result<Step, Fault> {
        if let Some((from, to)) = self.homes.get(&number).copied().zip(target.context.id())
            && self.contexts.contains_key(&to)
        {
            self.change_context(from, to, number);
        }
        self.apply_or_release(now, target, number, plan, places, total, command)
    }

    fn change_context(&mut self, from: u32, to: u32, number: u64) {
        let Some(group) = self.contexts.get(&to).map(|context| context.group) else { return };
        let Some(source) = self.contexts.get_mut(&from) else { return };
        let Some(mut termination) = source.take(number) else { return };
        source.configure_all(&mut self.commands);
        if let Some(heartbeat) = termination.heartbeat {
            self.heartbeats.remove(&(heartbeat.next, from, number));
            self.heartbeats.insert((heartbeat.next, to, number));
        }
        self.homes.insert(number, to);
        self.root.due =
            std::mem::take(&mut self.root.due).into_iter().map(|due| due.moved(from, to, number)).collect();
        let Some(context) = self.contexts.get_mut(&to) else { return };
        for stream in &mut termination.streams {
            let Some(place) = &mut stream.place else { continue };
            self.regrouping.remove(&place.pinhole);
            self.pinholes.remove(&place.pinhole);
            place.pinhole.group = group;
            self.pinholes.insert(place.pinhole, (to, number, stream.id));
            // RFC 3525 §7.1.6: as if it had been added with these streams.
            self.commands.push_back(match context.far(number, stream.id) {
                Some((_, far)) => media::Command::Join { a: far, b: place.pinhole },
                None => media::Command::Part { pinhole: place.pinhole },
            });
        }
        context.terminations.push(termination);
        context.configure_all(&mut self.commands);
    }

    pub(crate) fn start_subtract(&mut self, target: &Target, command: &Command) -> Result<Step, Fault> {
        let legal = |d: &Descriptor| matches!(d, Descriptor::Audit(_));
        if !command.descriptors.iter().all(legal) {
            return Err(Fault::request(447, "Descriptor is not legal in this command"));
        }
        let id = target.context.id().ok_or_else(gone)?;
        let context = self.contexts.get(&id).ok_or_else(gone)?;
        let number = context.find(&target.termination).ok_or_else(gone)?.number;
        // RFC 3525 §7.2.3: without an Audit descriptor statistics come back.
        let default = Audit::of(&[AuditToken::Statistics]);
        let audit = command.audit().unwrap_or(&default);
        let descriptors = self.audit_termination(target, audit, Some(&Statistics::default()))?;
        let kept_on_streams = audit.0.contains(&AuditItem::Descriptor(AuditToken::Statistics));
        let context = self.contexts.get_mut(&id).ok_or_else(gone)?;
        let mut termination = context.take(number).ok_or_else(gone)?;
        if !kept_on_streams {
            termination.streams.iter_mut().for_each(|stream| stream.statistics = None);
        }
        context.configure_around(number, &mut self.commands);
        self.homes.remove(&number);
        if let Some(heartbeat) = termination.heartbeat {
            self.heartbeats.remove(&(heartbeat.next, id, number));
        }
        let left: BTreeSet<_> = termination.pinholes().collect();
        for pinhole in &left {
            self.pinholes.remove(pinhole);
            self.commands.push_back(media::Command::Release { pinhole: *pinhole });
        }
        let total = termination.past.clone();
        let farewell = Box::new(Farewell { termination, descriptors, total, counters: Vec::new() });
        Ok(Step::Wait(Work::Remove { target: target.clone(), farewell, left }))
    }

    /// The engine has let go of everything: the last that is told of a termination.
    pub(crate) fn removed(&mut self, target: &Target, farewell: Farewell) -> CommandReply {
        let Farewell { termination, mut descriptors, total, counters } = farewell;
        self.events.push_back(Event::Removed {
            context: target.context,
            termination: target.termination.clone(),
            statistics: total.clone(),
        });
        let of_stream = |stream: &Stream| {
            let names = stream.statistics.as_deref()?;
            let pinhole = stream.place.as_ref()?.pinhole;
            let (_, counted) = counters.iter().find(|(counted, _)| *counted == pinhole)?;
            Some(kept(counted, Some(names)))
        };
        let mut told = false;
        for descriptor in &mut descriptors {
            match descriptor {
                Descriptor::Statistics(list) => *list = kept(&total, termination.statistics.as_deref()),
                Descriptor::Media(media) => {
                    told = true;
                    for text in &mut media.streams {
                        text.statistics = termination.stream(text.id).and_then(of_stream);
                    }
                }
                _ => {}
            }
        }
        let text = |stream: &Stream| {
            let statistics = Some(of_stream(stream)?);
            Some(StreamText { statistics, ..StreamText::new(stream.id) })
        };
        let streams: Vec<_> = termination.streams.iter().filter_map(text).collect();
        if !told && !streams.is_empty() {
            descriptors.insert(0, Media { streams, ..Media::default() }.into());
        }
        let mut reply = CommandReply::new(Verb::Subtract, &target.termination);
        reply.descriptors = descriptors;
        reply
    }
}
