//! What an Add or Modify asks for, checked as a whole before anything is done, so that a command
//! that is refused has changed nothing.

use carnet_h248::{Audit, Command, Descriptor, Events, LocalControl, Media, Signals, TerminationState};

use crate::context::{Place, Stream, Termination};
use crate::control::{Control, check_transport};
use crate::description::{Choice, Description};
use crate::error::Fault;
use crate::events::check_events;
use crate::media::Family;
use crate::package::{Kind, check};

/// A checked Add or Modify.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) state: Option<TerminationState>,
    pub(crate) streams: Vec<StreamPlan>,
    /// The single stream stood in Media itself; so it does in the reply.
    pub(crate) implied_stream: bool,
    pub(crate) events: Option<Events>,
    pub(crate) signals: Option<Signals>,
    pub(crate) signalled: Signalled,
    pub(crate) audit: Option<Audit>,
}

/// What the signals ask for.
#[derive(Debug, Default)]
pub(crate) struct Signalled {
    /// `ipnapt/latch`.
    pub(crate) latch: Option<bool>,
    /// `tcpbcc/EstBNC` on a stream, or on all.
    pub(crate) connect: Vec<Option<u16>>,
    /// `tcpbcc/RelBNC`.
    pub(crate) disconnect: Vec<Option<u16>>,
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
    /// The gateway was to choose something: Local goes into the reply.
    pub(crate) chosen: bool,
}

impl Plan {
    /// `existing`: the termination of a Modify. `protected`: the association may carry keys.
    pub(crate) fn new(
        command: &Command,
        existing: Option<&Termination>,
        protected: bool,
        most_streams: usize,
    ) -> Result<Self, Fault> {
        let mut plan = Self::default();
        for (index, descriptor) in command.descriptors.iter().enumerate() {
            let kind = std::mem::discriminant(descriptor);
            let earlier = command.descriptors.iter().take(index);
            if earlier.map(std::mem::discriminant).any(|other| other == kind) {
                return Err(Fault::request(448, "Descriptor appears twice in a command"));
            }
            match descriptor {
                Descriptor::Media(media) => plan.media(media, existing, protected)?,
                Descriptor::Events(events) => {
                    check_events(events, false, &|signals| signalled(signals).map(drop))?;
                    plan.events = Some(events.clone());
                }
                Descriptor::Signals(signals) => {
                    plan.signalled = signalled(signals)?;
                    plan.signals = Some(signals.clone());
                }
                Descriptor::Audit(audit) => plan.audit = Some(audit.clone()),
                Descriptor::Modem(_) | Descriptor::Mux(_) | Descriptor::DigitMap(_) => {
                    return Err(Fault::unsupported(444, "Unsupported descriptor"));
                }
                _ => return Err(Fault::request(447, "Descriptor is not legal in this command")),
            }
        }
        let before = existing.map_or(0, |termination| termination.streams.len());
        let added = plan.streams.iter().filter(|s| existing.is_none_or(|t| t.stream(s.id).is_none()));
        if before + added.count() > most_streams {
            return Err(Fault::exhausted(510, "Too many streams on one termination"));
        }
        Ok(plan)
    }

    fn media(&mut self, media: &Media, existing: Option<&Termination>, protected: bool) -> Result<(), Fault> {
        if let Some(state) = &media.termination_state {
            if let Some(property) = state.properties.first() {
                check(Kind::Property, &property.name)?;
                return Err(Fault::request(455, format!("Property is illegal there: {}", property.name)));
            }
            self.state = Some(state.clone());
        }
        self.implied_stream = media.implied_stream;
        for (index, stream) in media.streams.iter().enumerate() {
            if media.streams.iter().take(index).any(|other| other.id == stream.id) {
                return Err(Fault::request(448, format!("Stream {} appears twice", stream.id)));
            }
            if stream.statistics.is_some() {
                return Err(Fault::unsupported(501, "Not implemented: statistics per stream"));
            }
            let old = existing.and_then(|termination| termination.stream(stream.id));
            self.streams.push(StreamPlan::new(stream, old, protected)?);
        }
        Ok(())
    }
}

impl StreamPlan {
    fn new(stream: &carnet_h248::Stream, old: Option<&Stream>, protected: bool) -> Result<Self, Fault> {
        let (control_text, control) = match (&stream.local_control, old) {
            (Some(control), _) => (control.clone(), Control::parse(control, protected)?),
            (None, Some(old)) => (old.control_text.clone(), old.control.clone()),
            (None, None) => (LocalControl::default(), Control::default()),
        };
        let parse = |text: &Option<_>| text.as_ref().map(Description::parse).transpose();
        let (new_local, new_remote) = (parse(&stream.local)?, parse(&stream.remote)?);
        let chosen = new_local.as_ref().is_some_and(Description::has_choice);
        let local = new_local.or_else(|| old.and_then(|old| old.local.clone()));
        let remote = new_remote.or_else(|| old.and_then(|old| old.remote.clone()));
        check_transport(&control_text, local.as_ref(), remote.as_ref())?;
        if remote.as_ref().is_some_and(Description::has_choice) {
            return Err(Fault::request(449, "Nothing can be chosen in a Remote descriptor"));
        }
        if remote.is_some() && local.is_none() {
            return Err(Fault::request(441, "Missing Local descriptor"));
        }
        let place = old.and_then(|old| old.place);
        let reserve = match (&local, place) {
            (Some(local), None) => {
                if matches!(local.address, Some(Choice::Given(_))) || local.port != Choice::Choose {
                    return Err(Fault::request(449, "The gateway chooses its local address and port"));
                }
                Some(local.family)
            }
            (Some(local), Some(place)) => {
                check_unmoved(local, &control, place, old)?;
                None
            }
            (None, _) => None,
        };
        let families = (local.as_ref().and_then(|l| l.family), remote.as_ref().and_then(|r| r.family));
        if let (Some(own), Some(theirs)) = families
            && own != theirs
        {
            return Err(Fault::request(473, "Local and Remote have different IP versions"));
        }
        Ok(Self { id: stream.id, control_text, control, local, remote, reserve, chosen })
    }
}

/// A stream that has its address keeps it.
fn check_unmoved(
    local: &Description,
    control: &Control,
    place: Place,
    old: Option<&Stream>,
) -> Result<(), Fault> {
    let moved = || Fault::unsupported(501, "Not implemented: change of a local address");
    let family = if place.local.is_ipv4() { Family::V4 } else { Family::V6 };
    if local.family.is_some_and(|wanted| wanted != family) {
        return Err(moved());
    }
    let other_address = matches!(local.address, Some(Choice::Given(ip)) if ip != place.local.ip());
    let other_port = matches!(local.port, Choice::Given(port) if port != place.local.port());
    if other_address || other_port {
        return Err(moved());
    }
    // A realm that is not repeated has done its work: the address is taken.
    let old_realm = old.and_then(|old| old.control.realm.as_deref());
    match (control.realm.as_deref(), old_realm) {
        (Some(new), Some(old)) if new != old => Err(moved()),
        _ => Ok(()),
    }
}

pub(crate) fn signalled(signals: &Signals) -> Result<Signalled, Fault> {
    let mut out = Signalled::default();
    for signal in signals.iter() {
        check(Kind::Signal, &signal.name)?;
        if signal.name == "ipnapt/latch" {
            let how = signal.value("napt").map_or("LATCH", |value| value.as_str());
            out.latch = Some(match how.to_ascii_uppercase().as_str() {
                "OFF" => false,
                // On TCP there is nothing to learn again within one connection.
                "LATCH" | "RELATCH" => true,
                other => return Err(Fault::request(454, format!("No such value of napt: {other}"))),
            });
        } else if signal.name == "tcpbcc/EstBNC" {
            out.connect.push(signal.stream);
        } else if signal.name == "tcpbcc/RelBNC" {
            out.disconnect.push(signal.stream);
        }
    }
    Ok(out)
}
