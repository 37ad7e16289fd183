//! What an Add, Modify or Move asks for, checked as a whole before anything is done, so that a
//! command that is refused has changed nothing.

use std::net::SocketAddr;

use carnet_h248::{
    Audit, Command, Descriptor, EventBufferControl, Events, LocalControl, Media, Name, ServiceState, Signals,
    Statistic, TerminationState,
};

use crate::Function;
use crate::choice::chosen;
use crate::context::{Place, Stream, Termination};
use crate::control::Control;
use crate::description::{self, Choice, Description};
use crate::error::Fault;
use crate::events::check_events;
use crate::media::Family;
use crate::member;
use crate::package::{Kind, check};
use crate::relay;
use crate::signals::{Signalled, signalled};

/// A checked Add, Modify or Move.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) state: Option<TerminationState>,
    pub(crate) streams: Vec<StreamPlan>,
    /// The single stream stood in Media itself; so it does in the reply.
    pub(crate) implied_stream: bool,
    pub(crate) events: Option<Events>,
    pub(crate) signals: Option<Signals>,
    pub(crate) signalled: Signalled,
    /// Statistics to be kept (version 3).
    pub(crate) statistics: Option<Vec<Name>>,
    pub(crate) audit: Option<Audit>,
}

/// What a plan depends on besides the command.
#[derive(Debug)]
pub(crate) struct Here<'a> {
    pub(crate) function: Function,
    /// The association may carry keys.
    pub(crate) protected: bool,
    pub(crate) most_streams: usize,
    /// The IP realms and whether they can be used, the default one first.
    pub(crate) realms: &'a [(String, bool)],
}

/// One stream afterwards.
#[derive(Debug)]
pub(crate) struct StreamPlan {
    pub(crate) id: u16,
    pub(crate) control_text: LocalControl,
    pub(crate) control: Control,
    pub(crate) local: Option<Description>,
    pub(crate) remote: Option<Description>,
    /// A local address is needed first.
    pub(crate) reserve: Option<Option<Family>>,
    /// The address that there was is let go.
    pub(crate) give_back: bool,
    /// Nothing of the stream stays (RFC 3525 §7.1.6).
    pub(crate) deleted: bool,
    pub(crate) statistics: Option<Vec<Name>>,
    /// LocalControl is in the reply: the gateway had a value to choose.
    pub(crate) control_told: bool,
    pub(crate) local_told: Answer,
    pub(crate) remote_told: Answer,
}

/// Whether a descriptor is in the reply: only if the gateway had something to choose (RFC 3525
/// §7.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    No,
    Chosen,
    /// None of the alternatives can be done; they were to be reserved as far as possible.
    Empty,
}

impl Plan {
    /// `existing`: the termination, unless it is new.
    pub(crate) fn new(command: &Command, existing: Option<&Termination>, here: &Here) -> Result<Self, Fault> {
        let mut plan = Self::default();
        for (index, descriptor) in command.descriptors.iter().enumerate() {
            let kind = std::mem::discriminant(descriptor);
            let earlier = command.descriptors.iter().take(index);
            if earlier.map(std::mem::discriminant).any(|other| other == kind) {
                return Err(Fault::request(448, "Descriptor appears twice in a command"));
            }
            match descriptor {
                Descriptor::Media(media) => plan.media(media, existing, here)?,
                Descriptor::Events(events) => {
                    let check = |signals: &Signals| signalled(here.function, signals, None).map(drop);
                    check_events(here.function, events, false, &check)?;
                    plan.events = Some(events.clone());
                }
                Descriptor::Signals(signals) => plan.signals = Some(signals.clone()),
                Descriptor::Statistics(list) => plan.statistics = Some(names(here.function, list)?),
                Descriptor::Audit(audit) => plan.audit = Some(audit.clone()),
                Descriptor::Modem(_)
                | Descriptor::Mux(_)
                | Descriptor::DigitMap(_)
                | Descriptor::EventBuffer(_) => {
                    return Err(Fault::unsupported(444, "Unsupported descriptor"));
                }
                _ => return Err(Fault::request(447, "Descriptor is not legal in this command")),
            }
        }
        let old = existing.map(|t| t.streams.as_slice()).unwrap_or_default();
        let touched = |id: u16| plan.streams.iter().any(|stream| stream.id == id);
        let mut after: Vec<u16> = old.iter().map(|stream| stream.id).filter(|id| !touched(*id)).collect();
        after.extend(plan.streams.iter().filter(|stream| !stream.deleted).map(|stream| stream.id));
        if after.len() > here.most_streams {
            return Err(Fault::exhausted(510, "Too many streams on one termination"));
        }
        if let Some(signals) = &plan.signals {
            plan.signalled = signalled(here.function, signals, Some(&after))?;
            relay::check_signals(&plan, old)?;
        }
        Ok(plan)
    }

    /// Refuses connections from elsewhere than the addresses that were reserved, by stream.
    pub(crate) fn check_sources(
        &self,
        mut places: impl Iterator<Item = (u16, SocketAddr)>,
    ) -> Result<(), Fault> {
        places.try_for_each(|(id, local)| {
            let stream = self.streams.iter().find(|stream| stream.id == id);
            stream.map_or(Ok(()), |stream| stream.control.check_source(local))
        })
    }

    fn media(&mut self, media: &Media, existing: Option<&Termination>, here: &Here) -> Result<(), Fault> {
        if let Some(state) = &media.termination_state {
            check_state(here.function, state)?;
            self.state = Some(state.clone());
        }
        self.implied_stream = media.implied_stream;
        for (index, stream) in media.streams.iter().enumerate() {
            if media.streams.iter().take(index).any(|other| other.id == stream.id) {
                return Err(Fault::request(448, format!("Stream {} appears twice", stream.id)));
            }
            if stream.id == 0 {
                return Err(Fault::request(410, "Incorrect identifier: 0 is no stream's number"));
            }
            let old = existing.and_then(|termination| termination.stream(stream.id));
            self.streams.push(StreamPlan::new(stream, old, here)?);
        }
        Ok(())
    }
}

/// An ephemeral termination is in service as long as it is there, and its events are not buffered.
fn check_state(function: Function, state: &TerminationState) -> Result<(), Fault> {
    if state.service_state.is_some_and(|state| state != ServiceState::InService) {
        return Err(Fault::unsupported(501, "Not implemented: ServiceStates other than in service"));
    }
    if state.event_buffer == Some(EventBufferControl::LockStep) {
        return Err(Fault::unsupported(501, "Not implemented: buffering of events"));
    }
    match state.properties.first() {
        None => Ok(()),
        Some(property) => {
            check(function, Kind::Property, &property.name)?;
            Err(Fault::request(455, format!("Property is illegal there: {}", property.name)))
        }
    }
}

/// What is kept of a LocalControl for audits.
fn lasting(function: Function, control: &LocalControl, old: Option<&Stream>) -> LocalControl {
    match function {
        Function::Relay => control.clone(),
        Function::Conference => member::lasting(control, old.map(|old| &old.control_text)),
    }
}

/// The names in a Statistics descriptor that says what is to be kept.
fn names(function: Function, list: &[Statistic]) -> Result<Vec<Name>, Fault> {
    let name = |statistic: &Statistic| {
        check(function, Kind::Statistic, &statistic.name)?;
        Ok(statistic.name.clone())
    };
    list.iter().map(name).collect()
}

impl StreamPlan {
    fn new(stream: &carnet_h248::Stream, old: Option<&Stream>, here: &Here) -> Result<Self, Fault> {
        let chosen = stream.local_control.as_ref().map(|control| chosen(control, here)).transpose()?;
        let chosen = chosen.flatten();
        let control_told = chosen.is_some();
        let (control_text, control) = match (chosen.as_ref().or(stream.local_control.as_ref()), old) {
            (Some(control), _) => {
                let parsed = Control::parse(control, here, old.map(|old| &old.control))?;
                (lasting(here.function, control, old), parsed)
            }
            (None, Some(old)) => (old.control_text.clone(), old.control.clone()),
            (None, None) => (LocalControl::default(), Control::default()),
        };
        let parse = |text: &Option<_>| text.as_ref().map(description::Descriptor::parse).transpose();
        let (local, remote) = (parse(&stream.local)?, parse(&stream.remote)?);
        if matches!(remote, Some(description::Descriptor::Groups(_)))
            && local.is_none()
            && old.is_none_or(|old| old.local.is_none())
        {
            return Err(Fault::request(441, "Missing Local descriptor"));
        }
        let emptied = [&local, &remote].into_iter().flatten().any(|d| *d == description::Descriptor::Empty);
        let resolved = Resolved::new(local, remote, old, (&control_text, &control), here.function)?;
        let Resolved { local, remote, local_told, remote_told } = resolved;
        let families = (local.as_ref().and_then(|l| l.family), remote.as_ref().and_then(|r| r.family));
        if let (Some(own), Some(theirs)) = families
            && own != theirs
        {
            return Err(Fault::request(473, "Local and Remote have different IP versions"));
        }
        let place = old.and_then(|old| old.place.as_ref());
        let realm = old.and_then(|old| old.realm.as_deref());
        let (mut reserve, mut give_back) = (None, local.is_none() && place.is_some());
        if let Some(local) = &local {
            let stays = place.map(|place| stays(local, &control, place, realm)).transpose()?;
            if stays != Some(true) {
                if matches!(local.address, Some(Choice::Given(_))) || local.port != Choice::Choose {
                    return Err(Fault::request(449, "The gateway chooses its local address and port"));
                }
                if local.fingerprints.is_given() {
                    return Err(Fault::request(449, "The gateway chooses its certificate (a=fingerprint)"));
                }
                reserve = Some(local.family);
                give_back = place.is_some();
            } else if let Some(place) = place {
                control.check_source(place.local)?;
            }
        }
        let deleted = emptied && local.is_none() && remote.is_none();
        let statistics = match &stream.statistics {
            Some(list) => Some(names(here.function, list)?),
            None => old.and_then(|old| old.statistics.clone()),
        };
        Ok(Self {
            id: stream.id,
            control_text,
            control,
            local,
            remote,
            reserve,
            give_back,
            deleted,
            statistics,
            control_told,
            local_told,
            remote_told,
        })
    }
}

/// Local and Remote, one alternative each.
struct Resolved {
    local: Option<Description>,
    remote: Option<Description>,
    local_told: Answer,
    remote_told: Answer,
}

impl Resolved {
    /// RFC 3525 §7.1.8: the first alternative of Local for which there is one in Remote. A relay of
    /// one connection has no use for several, so that is also what is reserved where ReserveGroup or
    /// ReserveValue asks for as many as possible.
    fn new(
        local: Option<description::Descriptor>,
        remote: Option<description::Descriptor>,
        old: Option<&Stream>,
        control: (&LocalControl, &Control),
        function: Function,
    ) -> Result<Self, Fault> {
        let alternatives = |new: Option<description::Descriptor>, old: Option<&Description>| match new {
            Some(description::Descriptor::Groups(groups)) => {
                groups.into_iter().map(|g| g.map(Some)).collect()
            }
            Some(description::Descriptor::Empty) => vec![Ok(None)],
            None => vec![Ok(old.cloned())],
        };
        let locals = alternatives(local.clone(), old.and_then(|old| old.local.as_ref()));
        let remotes = alternatives(remote.clone(), old.and_then(|old| old.remote.as_ref()));
        let mut faults = Vec::new();
        for local_one in &locals {
            for remote_one in &remotes {
                match pair(local_one, remote_one, control, function) {
                    Ok((local_one, remote_one)) => {
                        let chosen = local.is_some()
                            && (locals.len() > 1 || local_one.is_some_and(Description::has_choice));
                        let told = |yes| if yes { Answer::Chosen } else { Answer::No };
                        return Ok(Self {
                            local: local_one.cloned(),
                            remote: remote_one.cloned(),
                            local_told: told(chosen),
                            remote_told: told(remotes.len() > 1),
                        });
                    }
                    Err(fault) => faults.push(fault),
                }
            }
        }
        let (control, _) = control;
        if control.reserve_group == Some(true) || control.reserve_value == Some(true) {
            let told = |given: bool| if given { Answer::Empty } else { Answer::No };
            return Ok(Self {
                local: None,
                remote: None,
                local_told: told(local.is_some()),
                remote_told: told(remote.is_some()),
            });
        }
        let several = faults.len() > 1;
        Err(match faults.into_iter().next() {
            Some(first) if !several => first,
            Some(first) => {
                Fault::exhausted(510, format!("None of the alternatives can be done; the first: {first}"))
            }
            None => Fault::exhausted(510, "Insufficient resources"),
        })
    }
}

/// Whether an alternative of Local goes with one of Remote.
fn pair<'a>(
    local: &'a Result<Option<Description>, Fault>,
    remote: &'a Result<Option<Description>, Fault>,
    (text, control): (&LocalControl, &Control),
    function: Function,
) -> Result<(Option<&'a Description>, Option<&'a Description>), Fault> {
    let local = local.as_ref().map_err(Clone::clone)?.as_ref();
    let remote = remote.as_ref().map_err(Clone::clone)?.as_ref();
    match function {
        Function::Relay => relay::check(text, local, remote)?,
        Function::Conference => control.member.check(control.gate, local, remote)?,
    }
    if remote.is_some_and(Description::has_choice) {
        return Err(Fault::request(449, "Nothing can be chosen in a Remote descriptor"));
    }
    let families = (local.and_then(|l| l.family), remote.and_then(|r| r.family));
    match families {
        (Some(own), Some(theirs)) if own != theirs => {
            Err(Fault::request(473, "Local and Remote have different IP versions"))
        }
        _ => Ok((local, remote)),
    }
}

/// Whether a stream keeps the address that it has. If not, the controller lets the gateway choose
/// another one, because realm or IP version are different now, or TLS is to end there or not any more.
fn stays(
    local: &Description,
    control: &Control,
    place: &Place,
    old_realm: Option<&str>,
) -> Result<bool, Fault> {
    let moved =
        |what| Err(Fault::request(449, format!("The local address in use cannot be changed: {what}")));
    let family = if place.local.is_ipv4() { Family::V4 } else { Family::V6 };
    if matches!(local.address, Some(Choice::Given(ip)) if ip != place.local.ip()) {
        return moved("other address");
    }
    if matches!(local.port, Choice::Given(port) if port != place.local.port()) {
        return moved("other port");
    }
    // A realm that is not repeated has done its work: the address is taken.
    let same_realm = match (control.realm.as_deref(), old_realm) {
        (Some(new), Some(old)) => new == old,
        (Some(_), None) | (None, _) => true,
    };
    let same_end = relay::ends_tls(local) == place.fingerprint.is_some();
    if same_realm && same_end && local.family.is_none_or(|wanted| wanted == family) {
        let own = place.fingerprint.as_deref().unwrap_or_default();
        return if local.fingerprints.repeats(own) { Ok(true) } else { moved("other certificate") };
    }
    let free = matches!(local.address, None | Some(Choice::Choose)) && local.port == Choice::Choose;
    match free {
        true => Ok(false),
        false if same_end => moved("other realm or IP version"),
        false => moved("TLS is chosen together with the address"),
    }
}
