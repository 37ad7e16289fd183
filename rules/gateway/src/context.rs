//! Contexts, terminations and streams (RFC 3525 §6.1, §6.2): what the gateway holds between commands.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carnet_h248::{
    ContextId, ContextProperties, Events, LocalControl, Name, Signals, TerminationId, TerminationState,
};

use crate::Function;
use crate::attributes::Attributes;
use crate::control::Control;
use crate::description::Description;
use crate::media::{self, Direction, Gate, Pinhole, Role, Settings, TlsRole};
use crate::member;
use crate::regulation::Told;
use crate::relay;
use crate::signals::{Bearer, Call};
use crate::topology::Topology;

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
    /// The realm its address was taken from. A later LocalControl need not repeat it.
    pub(crate) realm: Option<String>,
    /// Statistics that are kept for the stream itself (version 3).
    pub(crate) statistics: Option<Vec<Name>>,
    /// What the media engine was told last.
    pub(crate) settings: Option<Settings>,
    /// `tlsbsc/EstBNC`: TLS that ends here is for the gateway to begin, on this address.
    pub(crate) begins_tls: bool,
    /// TLS that ends here stands, with this part of ours.
    pub(crate) sealed: Option<TlsRole>,
    /// What moves its octets, and why, as the engine said last.
    pub(crate) engine: Option<(media::Engine, media::Reason)>,
    /// A connection with the peer is up.
    pub(crate) connected: bool,
}

/// Where a stream is in the media engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pinhole: Pinhole,
    pub(crate) local: SocketAddr,
    /// Of the certificate that the peer is shown, if TLS ends here.
    pub(crate) fingerprint: Option<String>,
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
    /// Statistics that are kept, if the controller chose (version 3). Else all.
    pub(crate) statistics: Option<Vec<Name>>,
    /// Counters of streams that are gone.
    pub(crate) past: media::Statistics,
    /// `ipnapt/latch`: the address in Remote is not the peer's real one.
    pub(crate) latch: bool,
    pub(crate) heartbeat: Option<Heartbeat>,
    /// Regulated events that happened.
    pub(crate) told: Told,
    /// Nothing passes (RFC 3525 §7.2.8).
    pub(crate) out_of_service: bool,
    /// When this process made it or took it up, and how long it had been there then.
    pub(crate) begun: Option<(Instant, Duration)>,
}

/// `hangterm/thb`: asks the controller now and then whether it still knows the termination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    pub(crate) every: Duration,
    pub(crate) next: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Context {
    /// Priority, emergency and the like. The topology is in a field of its own.
    pub(crate) properties: ContextProperties,
    pub(crate) topology: Topology,
    pub(crate) terminations: Vec<Termination>,
    /// Of the pinholes in it.
    pub(crate) group: u32,
    pub(crate) function: Function,
    pub(crate) attributes: Attributes,
}

impl Stream {
    pub(crate) fn new(id: u16) -> Self {
        Self {
            id,
            control_text: LocalControl::default(),
            control: Control::default(),
            local: None,
            remote: None,
            place: None,
            realm: None,
            statistics: None,
            settings: None,
            begins_tls: false,
            sealed: None,
            engine: None,
            connected: false,
        }
    }
}

impl Stream {
    /// The member of a conference whose stream it is.
    pub(crate) fn user(&self) -> Option<u16> {
        self.control.member.user(self.local.as_ref()?)
    }
}

impl Termination {
    pub(crate) fn new(id: TerminationId, number: u64) -> Self {
        Self {
            id,
            number,
            state: TerminationState::default(),
            streams: Vec::new(),
            events: Events::default(),
            signals: Signals::default(),
            statistics: None,
            past: media::Statistics::default(),
            latch: false,
            heartbeat: None,
            told: Told::default(),
            out_of_service: false,
            begun: None,
        }
    }

    pub(crate) fn stream(&self, id: u16) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.id == id)
    }

    /// The stream of that number, made if there is none.
    pub(crate) fn stream_or_new(&mut self, id: u16) -> Option<&mut Stream> {
        if self.stream(id).is_none() {
            self.streams.push(Stream::new(id));
        }
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    /// Which end begins TLS, as a new Signals descriptor says it: it replaces the one before.
    pub(crate) fn take_role(&mut self, calls: &[Call]) {
        for stream in &mut self.streams {
            let before = std::mem::take(&mut stream.begins_tls);
            for call in calls.iter().filter(|call| call.stream.is_none_or(|id| id == stream.id)) {
                stream.begins_tls = match call.bearer {
                    Bearer::BeginTls => true,
                    Bearer::KeepTls => before,
                    Bearer::EndTls => false,
                    Bearer::Connect | Bearer::Disconnect => continue,
                };
            }
        }
    }

    /// Keeps whether TLS stands on a stream.
    pub(crate) fn note_tls(&mut self, stream: u16, event: &media::Event) {
        let Some(stream) = self.streams.iter_mut().find(|held| held.id == stream) else { return };
        let told = stream.settings.as_ref().and_then(|settings| settings.edge.as_ref());
        stream.sealed = match event {
            media::Event::Sealed { .. } => told.map(|edge| edge.role),
            media::Event::Established { .. } | media::Event::Closed { .. } => None,
            _ => return,
        };
    }

    pub(crate) fn pinholes(&self) -> impl Iterator<Item = Pinhole> {
        self.streams.iter().filter_map(|stream| Some(stream.place.as_ref()?.pinhole))
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

    pub(crate) fn numbered_mut(&mut self, number: u64) -> Option<&mut Termination> {
        self.terminations.iter_mut().find(|termination| termination.number == number)
    }

    /// Takes a termination out; what was said about it in the topology goes with it.
    pub(crate) fn take(&mut self, number: u64) -> Option<Termination> {
        let index = self.terminations.iter().position(|t| t.number == number)?;
        self.topology.forget(number);
        Some(self.terminations.remove(index))
    }

    /// The termination that a stream of termination `number` is relayed to, and the pinhole there.
    /// RFC 3525 §7.1.6: streams with the same number are connected; those of a conference end here.
    pub(crate) fn far(&self, number: u64, stream: u16) -> Option<(u64, Pinhole)> {
        if self.function == Function::Conference {
            return None;
        }
        let others = self.terminations.iter().filter(|termination| termination.number != number);
        others.filter_map(|other| Some((other.number, other.stream(stream)?.place.as_ref()?.pinhole))).next()
    }

    /// Tells the engine what has changed for a termination's streams.
    pub(crate) fn configure(&mut self, number: u64, commands: &mut VecDeque<media::Command>) {
        let Some(termination) = self.numbered(number) else { return };
        let mut changed = Vec::new();
        for (index, stream) in termination.streams.iter().enumerate() {
            let (Some(place), Some(local)) = (&stream.place, &stream.local) else { continue };
            let inactivity = termination.inactivity(stream.id);
            let remote = stream.remote.as_ref();
            let mut settings = stream.control.settings(local, remote, termination.latch, inactivity);
            if let Some((far, _)) = self.far(number, stream.id) {
                let (into, out) = self.topology.flows(number, far, stream.id);
                settings.gate = narrowed(settings.gate, into, out);
            }
            match self.function {
                Function::Relay => {
                    settings.edge = relay::edge(local, remote, stream.begins_tls).map(Arc::new);
                    settings.leg = relay::leg(local, remote).map(Arc::new);
                }
                Function::Conference => {
                    if settings.role == Role::Undecided {
                        settings.role = member::role(local, remote, Role::Undecided);
                    }
                    settings.endpoint = stream.control.member.endpoint(local, remote).map(Arc::new);
                }
            }
            if termination.out_of_service {
                settings.gate = Gate::Inactive;
            }
            if stream.settings.as_ref() != Some(&settings) {
                changed.push((index, place.pinhole, settings));
            }
        }
        let Some(termination) = self.numbered_mut(number) else { return };
        for (index, pinhole, settings) in changed {
            if let Some(stream) = termination.streams.get_mut(index) {
                stream.settings = Some(settings.clone());
                commands.push_back(media::Command::Configure { pinhole, settings });
            }
        }
    }

    /// The same for every termination that a change of this one may touch: those of a conference are
    /// by themselves.
    pub(crate) fn configure_around(&mut self, number: u64, commands: &mut VecDeque<media::Command>) {
        match self.function {
            Function::Relay => self.configure_all(commands),
            Function::Conference => self.configure(number, commands),
        }
    }

    /// The same for all terminations.
    pub(crate) fn configure_all(&mut self, commands: &mut VecDeque<media::Command>) {
        let numbers: Vec<u64> = self.terminations.iter().map(|termination| termination.number).collect();
        for number in numbers {
            self.configure(number, commands);
        }
    }
}

/// A gate that lets pass only what the topology lets pass too.
fn narrowed(gate: Gate, into: bool, out: bool) -> Gate {
    let into = into && matches!(gate, Gate::ReceiveOnly | Gate::SendReceive);
    let out = out && matches!(gate, Gate::SendOnly | Gate::SendReceive);
    match (into, out) {
        (true, true) => Gate::SendReceive,
        (true, false) => Gate::ReceiveOnly,
        (false, true) => Gate::SendOnly,
        (false, false) => Gate::Inactive,
    }
}

/// Where a command goes: one termination, or ROOT, in one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) context: ContextId,
    pub(crate) termination: TerminationId,
}
