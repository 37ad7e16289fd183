//! Messages that should not be there: repeats of what has arrived already, and what strangers say in
//! the name of others. They change nothing.

use crate::borders::gateway_address;
use crate::mutation::Mutation;
use crate::network::{Direction, ends};
use crate::setup::{BORDERS, GATEWAYS};
use crate::trace::Node;
use crate::world::{World, border_name, gateway_name};
use carnet_border::{Load, Origin, Place};
use carnet_h248::association::Transport;
use carnet_h248::encoding;
use carnet_h248::text::{Form, Limits, print};
use carnet_h248::{
    ActionRequest, Command, ContextId, MId, Message, Method, ServiceChange, TerminationId, Transaction,
    TransactionId, TransactionRequest,
};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Shorter than LONG-TIMER by what a message may be late: older ones nobody remembers.
const REMEMBERED: Duration = Duration::from_secs(20);

/// A datagram that arrived.
#[derive(Debug, Clone)]
struct Arrived {
    at: Instant,
    border: usize,
    gateway: usize,
    direction: Direction,
    lives: (u32, u32),
    /// The border controlled the gateway.
    controlled: bool,
    octets: Vec<u8>,
}

/// What has arrived lately.
#[derive(Debug, Default)]
pub struct Lately(VecDeque<Arrived>);

/// What must not change.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    loads: Vec<Option<Load>>,
    contexts: Vec<Option<BTreeSet<u32>>>,
    controllers: Vec<Option<MId>>,
    idle: Vec<Option<bool>>,
}

impl World {
    /// Remembers what arrived.
    pub fn remember(&mut self, border: usize, gateway: usize, direction: Direction, octets: &[u8]) {
        let lives = (self.borders[border].lives, self.gateways[gateway].lives);
        if self.lately.0.len() >= 30 {
            self.lately.0.pop_front();
        }
        let controlled = self.controls(border, gateway);
        let octets = octets.to_vec();
        self.lately.0.push_back(Arrived {
            at: self.now,
            border,
            gateway,
            direction,
            lives,
            controlled,
            octets,
        });
    }

    fn controls(&self, border: usize, gateway: usize) -> bool {
        let life = self.gateways[gateway].life.as_ref();
        life.and_then(|l| l.gateway.registration().controller()) == Some(&MId::domain(border_name(border)))
    }

    fn picture(&self) -> Picture {
        let gateways = || self.gateways.iter().map(|g| g.life.as_ref());
        Picture {
            loads: self.borders.iter().map(|b| b.life.as_ref().map(|m| m.load())).collect(),
            contexts: gateways().map(|l| l.map(|l| l.engine.live())).collect(),
            controllers: gateways().map(|l| l?.gateway.registration().controller().cloned()).collect(),
            idle: gateways().map(|l| l.map(|l| l.gateway.is_idle())).collect(),
        }
    }

    /// What has arrived lately arrives once more.
    pub fn replay(&mut self) {
        for mut old in self.lately.0.clone() {
            let lives = (self.borders[old.border].lives, self.gateways[old.gateway].lives);
            let (from, to) = ends(old.border, old.gateway, old.direction);
            // A request of before the gateway was controlled was never executed: late, it is new. And a
            // repeat is a sign of life, so the dead and those cut off have none.
            let cut = self.links[old.border][old.gateway].cut_at.is_some();
            let fresh = old.lives == lives && self.now <= old.at + REMEMBERED;
            if !fresh || !old.controlled || cut || !self.is_up(to) || !self.is_up(from) {
                continue;
            }
            if self.setup.mutation == Some(Mutation::BelieveEverybody) {
                old.octets = renumbered(&old.octets);
            }
            let before = self.picture();
            self.trace.control(self.elapsed(), from, to, "replayed", &old.octets);
            match old.direction {
                Direction::Down => self.gateway_receives(old.gateway, old.border, old.octets),
                Direction::Up => self.border_receives(old.border, old.gateway, None, old.octets),
            }
            let after = self.picture();
            if before != after {
                let text = format!("a replay from {from} to {to} changed {before:?} to {after:?}");
                self.violation(text, Vec::new());
            }
        }
    }

    /// A stranger speaks in the name of nobody, and in the name of those who are here.
    pub fn forge(&mut self) {
        let gateway = self.dice.below(GATEWAYS);
        let border = self.dice.below(BORDERS);
        let before = self.picture();
        self.forge_for_gateway(gateway, border);
        self.forge_for_border(border, gateway);
        let after = self.picture();
        if before != after {
            self.violation(format!("a forgery changed {before:?} to {after:?}"), Vec::new());
        }
    }

    /// Subtracts everything, as a controller that nobody knows and as one that does not control it.
    fn forge_for_gateway(&mut self, gateway: usize, border: usize) {
        let Some(life) = &self.gateways[gateway].life else { return };
        let all = Command::subtract(TerminationId::ALL).wildcard_response();
        let mut names = vec![MId::domain("nobody.example.com")];
        let other = MId::domain(border_name(border));
        if life.gateway.registration().is_registered()
            && life.gateway.registration().controller() != Some(&other)
        {
            names.push(other);
        }
        for mid in names {
            let message = request(mid, 0x7777, ContextId::All, all.clone());
            let Some(life) = &mut self.gateways[gateway].life else { return };
            // The refusal goes to the stranger.
            let _ = life.gateway.handle_message(self.now, message);
            self.note(format!("{} to gateway{gateway}: subtracts all", Node::Stranger));
            self.flush_gateway(gateway);
        }
    }

    /// Says from elsewhere that a live gateway goes out of service.
    fn forge_for_border(&mut self, border: usize, gateway: usize) {
        let now = self.now;
        let name = gateway_name(gateway);
        let forced = Command::service_change(TerminationId::ROOT, ServiceChange::new(Method::Forced, 905));
        let message = request(MId::domain(name.clone()), 0x7777, ContextId::Null, forced);
        if !self.controls(border, gateway) {
            return;
        }
        let node = &mut self.borders[border];
        let (Some(machine), Some(_)) = (&mut node.life, node.ways[gateway]) else { return };
        let origin = Origin { address: Some(gateway_address(99)), place: Place::Other };
        let listed = machine.gateway_of(&MId::domain("nobody.example.com")).is_some();
        let admitted = machine.admit_gateway(now, &name, origin, &message);
        if self.setup.mutation == Some(Mutation::BelieveEverybody) {
            machine.handle_gateway(now, &name, message);
        }
        if listed || (admitted && self.setup.peers_named) {
            self.violation(format!("border{border} admits a stranger as gateway{gateway}"), Vec::new());
        }
        self.flush_border(border);
    }

    /// Whether messages to and from that gateway are datagrams, which anybody can send again.
    pub fn is_datagram(&self, gateway: usize) -> bool {
        self.setup.transports[gateway] == Transport::Datagram
    }
}

fn request(mid: MId, id: u32, context: ContextId, command: Command) -> Message {
    let actions = vec![ActionRequest::new(context, vec![command])];
    let request = TransactionRequest { id: TransactionId(id), actions };
    Message::new(3, mid, vec![Transaction::Request(request)])
}

/// The same message with other transaction numbers.
fn renumbered(octets: &[u8]) -> Vec<u8> {
    let Ok(mut message) = encoding::parse(octets, &Limits::default()) else { return octets.to_vec() };
    if let carnet_h248::Body::Transactions(list) = &mut message.body {
        for transaction in list {
            if let Transaction::Request(request) = transaction {
                request.id = TransactionId(request.id.0 ^ 0x2000_0000);
            }
        }
    }
    print(&message, Form::Short)
}
