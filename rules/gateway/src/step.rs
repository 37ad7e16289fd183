//! One command on one termination.

use std::collections::BTreeSet;
use std::time::Instant;

use carnet_h248::{AuditToken, Command, TerminationId, Verb};

use crate::Function;
use crate::context::{Context, Place, Stream, Target};
use crate::core::{Core, Step};
use crate::error::Fault;
use crate::media::{self, Pinhole, Refusal};
use crate::plan::{Here, Plan};
use crate::relay;
use crate::run::{Asker, Origin, Work};

impl Core {
    pub(crate) fn step(
        &mut self,
        now: Instant,
        target: &Target,
        command: &Command,
        origin: Origin,
    ) -> Result<Step, Fault> {
        // An administrator who looks does not show that a controller knows the termination.
        if matches!(origin.asker, Asker::Controller(_)) {
            self.touch(now, target);
        }
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
            Verb::Move if self.function == Function::Conference => {
                Err(Fault::unsupported(443, "Unsupported command: nobody is moved out of a conference"))
            }
            Verb::Move => self.start_move(target, command, origin),
            Verb::ServiceChange => self.service_change(now, target, command).map(Step::Done),
            Verb::Notify => Err(Fault::request(443, "A gateway takes no Notify")),
        }
    }

    /// The engine has answered everything that was asked of it.
    pub(crate) fn complete(&mut self, now: Instant, work: Work, command: &Command) -> Result<Step, Fault> {
        match work {
            Work::Place { target, number, plan, holes, refused, total, .. } => {
                if let Some(reason) = refused.or_else(|| uncertified(&plan, &holes)) {
                    for (_, pinhole, _) in holes.iter().filter(|hole| hole.2.is_some()) {
                        self.commands.push_back(media::Command::Release { pinhole: *pinhole });
                    }
                    return Err(Fault::refused(reason));
                }
                let sourced = holes.iter().filter_map(|(id, _, place)| Some((*id, place.as_ref()?.local)));
                if let Err(fault) = plan.check_sources(sourced) {
                    for (_, pinhole, _) in &holes {
                        self.commands.push_back(media::Command::Release { pinhole: *pinhole });
                    }
                    return Err(fault);
                }
                let places = holes.into_iter().filter_map(|(id, _, place)| Some((id, place?))).collect();
                if command.verb == Verb::Move {
                    return self.relocate(now, target, number, plan, places, total, command);
                }
                self.apply_or_release(now, &target, number, *plan, places, &total, command)
            }
            Work::Regroup { target, number, plan, places, total, pinholes, .. } => {
                let arrived = self.arrive(now, &target, number, *plan, places, &total, command);
                for pinhole in pinholes {
                    // Its termination has been let go of while it was on its way.
                    if self.regrouping.remove(&pinhole) {
                        self.commands.push_back(media::Command::Release { pinhole });
                    }
                }
                arrived
            }
            Work::Remove { target, mut farewell, .. } => {
                farewell.termination.since_before(now, &mut farewell.total);
                Ok(Step::Done(self.removed(&target, *farewell)))
            }
            Work::Measure { target, mut total, .. } => {
                let context = target.context.id().and_then(|id| self.contexts.get(&id));
                if let Some(termination) = context.and_then(|context| context.find(&target.termination)) {
                    crate::run::add(&mut total, &termination.past);
                    termination.since_before(now, &mut total);
                }
                self.audited(&target, command, Some(&total)).map(Step::Done)
            }
        }
    }

    /// Any message about a termination shows that its controller knows it (`hangterm`).
    fn touch(&mut self, now: Instant, target: &Target) {
        let home = target.context.id().filter(|_| self.holds(target.context, &target.termination));
        let Some(context) = home.or_else(|| self.home_of(&target.termination)) else { return };
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
        let unknown = || Fault::request(430, format!("Unknown TerminationID: {wanted}"));
        if !wanted.has_choose() {
            // No termination waits in the null context, so this one is in use or it is not.
            return Err(match self.home_of(wanted) {
                Some(_) => Fault::request(433, "TerminationID is already in a context"),
                None => unknown(),
            });
        }
        let context = target.context.id().ok_or_else(|| Fault::request(421, "Add needs one context"))?;
        self.check_room(context)?;
        let plan = Plan::new(command, None, &self.here(origin))?;
        if let Some(conference) = self.conference(context) {
            conference.check_members(u64::MAX, &plan)?;
        }
        self.check_fit(context, &plan, &[])?;
        // Only the form is looked at: the interface is known when the realm has given an address.
        choose_id(wanted, u64::MAX, usize::from(u16::MAX)).ok_or_else(unknown)?;
        let number = self.new_number();
        // The name is made when the address is there.
        Ok(self.reserve(target.clone(), context, number, plan))
    }

    /// Refuses a termination that comes into a context where MSRP is rewritten towards one side only.
    /// `held`: its streams, where it has some. One that is there already may be changed before the other,
    /// and the engine holds what comes until they agree.
    pub(crate) fn check_fit(&self, context: u32, plan: &Plan, held: &[Stream]) -> Result<(), Fault> {
        if self.function == Function::Conference {
            return Ok(());
        }
        let planned = |id: u16| plan.streams.iter().any(|stream| stream.id == id);
        let left = held.iter().filter(|stream| !planned(stream.id));
        let left = left.map(|stream| (stream.id, stream.local.as_ref()));
        let coming = plan.streams.iter().map(|stream| (stream.id, stream.local.as_ref())).chain(left);
        for (id, local) in coming {
            let there = self.contexts.get(&context).into_iter().flat_map(|context| &context.terminations);
            let mut far = there.filter_map(|termination| termination.stream(id));
            far.try_for_each(|far| local.map_or(Ok(()), |local| relay::fits(local, far)))?;
        }
        Ok(())
    }

    /// The context, if it is a conference.
    fn conference(&self, id: u32) -> Option<&Context> {
        self.contexts.get(&id).filter(|context| context.function == Function::Conference)
    }

    /// What a plan depends on here.
    pub(crate) fn here(&self, origin: Origin) -> Here<'_> {
        Here {
            function: self.function,
            protected: origin.protected,
            most_streams: self.limits.streams,
            realms: &self.root.realms,
        }
    }

    /// One more termination than a context may hold is refused.
    pub(crate) fn check_room(&self, context: u32) -> Result<(), Fault> {
        let held = self.contexts.get(&context).map_or(0, |context| context.terminations.len());
        if held >= self.limits.terminations {
            return Err(Fault::exhausted(434, "Maximum number of terminations in context exceeded"));
        }
        Ok(())
    }

    fn start_modify(&mut self, target: &Target, command: &Command, origin: Origin) -> Result<Step, Fault> {
        let gone = || Fault::request(430, "Unknown TerminationID");
        let context = target.context.id().ok_or_else(gone)?;
        let termination =
            self.contexts.get(&context).and_then(|c| c.find(&target.termination)).ok_or_else(gone)?;
        let plan = Plan::new(command, Some(termination), &self.here(origin))?;
        let number = termination.number;
        if let Some(conference) = self.conference(context) {
            conference.check_members(number, &plan)?;
        }
        Ok(self.reserve(target.clone(), context, number, plan))
    }

    /// Asks the engine for the local addresses and the counters that a plan needs; there may be none.
    pub(crate) fn reserve(&mut self, target: Target, context: u32, number: u64, plan: Plan) -> Step {
        let group = self.contexts.get(&context).map_or(context, |context| context.group);
        let mut holes = Vec::new();
        for stream in &plan.streams {
            if let Some(family) = stream.reserve {
                let pinhole = self.new_pinhole(group);
                let realm = stream.control.realm.clone();
                let tls = stream.local.as_ref().is_some_and(relay::ends_tls);
                self.commands.push_back(media::Command::Reserve { pinhole, realm, family, tls });
                holes.push((stream.id, pinhole, None));
            }
        }
        let mut left: BTreeSet<_> = holes.iter().map(|hole| hole.1).collect();
        let mut total = media::Statistics::default();
        // RFC 3525 §7.2.4: of a Move those just before it.
        if plan.audit.as_ref().is_some_and(|audit| audit.asks(AuditToken::Statistics)) {
            let home = self.homes.get(&number).and_then(|home| self.contexts.get(home));
            if let Some(termination) = home.and_then(|context| context.numbered(number)) {
                total = termination.past.clone();
                for pinhole in termination.pinholes() {
                    self.commands.push_back(media::Command::Measure { pinhole });
                    left.insert(pinhole);
                }
            }
        }
        Step::Wait(Work::Place { target, number, plan: Box::new(plan), holes, refused: None, total, left })
    }
}

/// TLS was asked for, and the engine has not said with which certificate.
fn uncertified(plan: &Plan, holes: &[(u16, Pinhole, Option<Place>)]) -> Option<Refusal> {
    let asked = |id: u16| {
        let stream = plan.streams.iter().find(|stream| stream.id == id);
        stream.and_then(|stream| stream.local.as_ref()).is_some_and(relay::ends_tls)
    };
    let shown = |place: &Option<Place>| place.as_ref().is_some_and(|place| place.fingerprint.is_some());
    holes.iter().any(|(id, _, place)| asked(*id) && !shown(place)).then_some(Refusal::NoCertificate)
}

/// `ip/<group>/<interface>/<number>`, with the components that the controller left open.
pub(crate) fn choose_id(wanted: &TerminationId, number: u64, interface: usize) -> Option<TerminationId> {
    if wanted.as_str() == "$" {
        return Some(format!("ip/1/{interface}/{number}").into());
    }
    let parts: Vec<&str> = wanted.as_str().split('/').collect();
    let [kind, group, asked, "$"] = parts.as_slice() else { return None };
    if !kind.eq_ignore_ascii_case("ip") || wanted.has_all() {
        return None;
    }
    let interface = interface.to_string();
    let part = |part: &str, open: &str| if part == "$" { open.to_owned() } else { part.to_owned() };
    let id = format!("ip/{}/{}/{number}", part(group, "1"), part(asked, &interface));
    // RFC 3525 Annex B.2: a termination identifier has at most 64 characters.
    (id.len() <= 64 && !id.contains('$')).then(|| id.into())
}
