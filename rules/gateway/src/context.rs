//! Contexts, terminations and streams (RFC 3525 §6.1, §6.2): what the gateway holds between commands.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carnet_h248::{
    ContextId, ContextProperties, Events, LocalControl, Signals, TerminationId, TerminationState,
};

use crate::control::Control;
use crate::description::Description;
use crate::media::{Direction, Pinhole, Settings};
use crate::regulation::Told;

/// One media stream of a termination.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u16,
    /// As the controller said it, for audits.
    pub(crate) control_text: LocalControl,
    pub(crate) control: Control,
    pub(crate) local: Option<Description>,
    pub(crate) remote: Option<Description>,
    pub(crate) place: Option<Place>,
    /// What the media engine was told last.
    pub(crate) settings: Option<Settings>,
}

/// Where a stream is in the media engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pinhole: Pinhole,
    pub(crate) local: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct Termination {
    pub(crate) id: TerminationId,
    pub(crate) number: u64,
    pub(crate) state: TerminationState,
    /// Few: one a media component.
    pub(crate) streams: Vec<Stream>,
    pub(crate) events: Events,
    pub(crate) signals: Signals,
    /// `ipnapt/latch`: the address in Remote is not the peer's real one.
    pub(crate) latch: bool,
    pub(crate) heartbeat: Option<Heartbeat>,
    /// Regulated events that happened.
    pub(crate) told: Told,
    /// Nothing passes (RFC 3525 §7.2.8).
    pub(crate) out_of_service: bool,
}

/// `hangterm/thb`: asks the controller now and then whether it still knows the termination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    pub(crate) every: Duration,
    pub(crate) next: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) properties: ContextProperties,
    pub(crate) terminations: Vec<Termination>,
}

impl Termination {
    pub(crate) fn stream(&self, id: u16) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.id == id)
    }

    pub(crate) fn pinholes(&self) -> impl Iterator<Item = Pinhole> {
        self.streams.iter().filter_map(|stream| Some(stream.place?.pinhole))
    }

    /// `adid/ipstop` for a stream: how long a silence, in which direction.
    pub(crate) fn inactivity(&self, stream: u16) -> Option<(Duration, Direction)> {
        let event = self
            .events
            .events
            .iter()
            .find(|event| event.name == "adid/ipstop" && event.stream.is_none_or(|id| id == stream))?;
        crate::events::inactivity(event)
    }
}

impl Context {
    pub(crate) fn find(&self, id: &TerminationId) -> Option<&Termination> {
        self.terminations.iter().find(|termination| termination.id == *id)
    }

    pub(crate) fn find_mut(&mut self, id: &TerminationId) -> Option<&mut Termination> {
        self.terminations.iter_mut().find(|termination| termination.id == *id)
    }

    pub(crate) fn numbered(&self, number: u64) -> Option<&Termination> {
        self.terminations.iter().find(|termination| termination.number == number)
    }

    /// The pinhole that one of termination `number` is relayed to.
    pub(crate) fn far(&self, number: u64, stream: u16) -> Option<Pinhole> {
        let others = self.terminations.iter().filter(|termination| termination.number != number);
        others.filter_map(|other| Some(other.stream(stream)?.place?.pinhole)).next()
    }
}

/// Where a command goes: one termination, or ROOT, in one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) context: ContextId,
    pub(crate) termination: TerminationId,
}
