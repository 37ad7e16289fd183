//! Gateways: Carnet's own, each with a model of a media engine, driven as the program drives them.

use crate::engine::Engine;
use crate::mutation::Mutation;
use crate::network::Direction;
use crate::trace::Node;
use crate::world::{Happening, World, border_name, gateway_name};
use carnet_gateway::media;
use carnet_gateway::{Config, Gateway};
use carnet_h248::text::Limits;
use carnet_h248::{
    ActionReply, Command, CommandReply, Descriptor, MId, Message, ReplyBody, Transaction, TransactionId,
    TransactionReply, TransactionRequest, Verb, association, encoding, registration,
};
use carnet_wire::SeededRandom;
use std::collections::BTreeSet;
use std::time::Duration;

/// A place where gateways run, one after the other.
#[derive(Default)]
pub struct GatewayNode {
    /// The one that runs.
    pub life: Option<GatewayLife>,
    /// How many there have been.
    pub lives: u32,
}

/// One run of a gateway program.
pub struct GatewayLife {
    /// The rules.
    pub gateway: Gateway,
    /// The model of its engine.
    pub engine: Engine,
    /// Which run it is.
    pub number: u32,
    /// A broken connection is about to be made again.
    pub reconnecting: bool,
    /// Transactions that were to make contexts, by border and its life.
    pub adds: BTreeSet<(usize, u32, TransactionId)>,
    /// The defect of this gateway was done.
    pub mutated: bool,
}

impl World {
    /// A gateway program starts.
    pub fn start_gateway(&mut self, gateway: usize) {
        if self.gateways[gateway].life.is_some() {
            return;
        }
        let transport = self.setup.transports[gateway];
        let mut association = association::Config::new(transport);
        association.encoding = self.setup.encodings[gateway];
        // Each begins its list with another one.
        let borders = self.borders.len();
        let controllers = (0..borders).map(|b| MId::domain(border_name((gateway + b) % borders))).collect();
        let mid = MId::domain(gateway_name(gateway));
        let registration = registration::Config::new(mid, controllers, association);
        let mut random = SeededRandom::new(self.dice.seed());
        let wall = self.wall();
        let mut machine = Gateway::new(Config::new(registration), &mut random, self.now, wall);
        machine.start(self.now, 901);
        let node = &mut self.gateways[gateway];
        node.lives += 1;
        let mut engine = Engine::new(self.setup.ports);
        engine.restless = if self.calm { 0 } else { self.setup.restless };
        engine.leaks = self.setup.mutation == Some(Mutation::LeakPort) && gateway == 0;
        node.life = Some(GatewayLife {
            gateway: machine,
            engine,
            number: node.lives,
            reconnecting: false,
            adds: BTreeSet::new(),
            mutated: false,
        });
        self.note(format!("gateway{gateway} starts"));
        self.flush_gateway(gateway);
    }

    /// A gateway program is gone, and all it had. `loud`: the other ends of its connections hear it.
    pub fn end_gateway(&mut self, gateway: usize, loud: bool) {
        let Some(life) = self.gateways[gateway].life.take() else { return };
        self.note(format!("gateway{gateway} is gone with {} contexts", life.gateway.contexts()));
        for border in 0..self.borders.len() {
            self.break_stream(border, gateway, [false, loud]);
            self.gateway_is_away(border, gateway, false);
        }
    }

    /// Octets of a border, or of somebody who says so.
    pub fn gateway_receives(&mut self, gateway: usize, border: usize, octets: Vec<u8>) {
        let message = match encoding::parse(&octets, &Limits::default()) {
            Ok(message) => message,
            Err(error) => {
                if let Some(life) = &mut self.gateways[gateway].life {
                    life.gateway.handle_undecodable(self.now, &error);
                }
                return self.flush_gateway(gateway);
            }
        };
        let border_life = self.borders[border].lives;
        let Some(life) = &mut self.gateways[gateway].life else { return };
        for request in message.transactions().iter().filter_map(as_request) {
            let makes = |a: &carnet_h248::ActionRequest| a.context == carnet_h248::ContextId::Choose;
            if request.actions.iter().any(makes) {
                life.adds.insert((border, border_life, request.id));
            }
        }
        if self.setup.mutation.is_some() && self.mutate(gateway, border, &message) {
            return;
        }
        self.give_gateway(gateway, border, message);
    }

    fn give_gateway(&mut self, gateway: usize, border: usize, message: Message) {
        let Some(life) = &mut self.gateways[gateway].life else { return };
        if let Some(refusal) = life.gateway.handle_message(self.now, message) {
            self.send_control(border, gateway, Direction::Up, &refusal);
        }
        self.flush_gateway(gateway);
    }

    /// The engine says something.
    pub fn media(&mut self, gateway: usize, number: u32, event: media::Event) {
        let Some(life) = self.gateways[gateway].life.as_mut().filter(|l| l.number == number) else { return };
        let answers = matches!(
            event,
            media::Event::Bound { .. }
                | media::Event::Refused { .. }
                | media::Event::Released { .. }
                | media::Event::Measured { .. }
        );
        if !answers && !event.pinhole().is_some_and(|pinhole| life.engine.holds(pinhole)) {
            return;
        }
        life.gateway.handle_media(self.now, event);
        self.flush_gateway(gateway);
    }

    /// The program makes a broken connection again.
    pub fn reconnect(&mut self, gateway: usize, number: u32) {
        let Some(life) = self.gateways[gateway].life.as_mut().filter(|l| l.number == number) else { return };
        life.reconnecting = false;
        life.gateway.reconnected();
        self.flush_gateway(gateway);
    }

    /// Runs what is due on a gateway.
    pub fn gateway_timeout(&mut self, gateway: usize) {
        if let Some(life) = &mut self.gateways[gateway].life {
            life.gateway.handle_timeout(self.now);
        }
        self.flush_gateway(gateway);
    }

    /// Carries away what a gateway has to say.
    pub fn flush_gateway(&mut self, gateway: usize) {
        loop {
            let Some(life) = &mut self.gateways[gateway].life else { return };
            if let Some(command) = life.gateway.poll_command() {
                let number = life.number;
                let said = life.engine.take(self.now, command, &mut self.dice);
                let (made, asked) = (life.engine.contexts.len(), life.adds.len());
                if made > asked {
                    let text = format!("gateway{gateway} made {made} contexts of {asked} requests");
                    self.violation(text, vec![format!("gateway{gateway}")]);
                }
                match said {
                    Ok(said) => {
                        for (at, event) in said {
                            self.at(at, Happening::Media { gateway, life: number, event });
                        }
                    }
                    Err(error) => self.violation(format!("gateway{gateway}: {error}"), Vec::new()),
                }
            } else if let Some((controller, message)) = life.gateway.poll_transmit() {
                let Some(border) =
                    (0..self.borders.len()).find(|b| MId::domain(border_name(*b)) == controller)
                else {
                    self.violation(format!("gateway{gateway} speaks to unknown {controller}"), Vec::new());
                    continue;
                };
                self.check_replies(gateway, border, &message);
                self.send_control(border, gateway, Direction::Up, &message);
            } else if let Some(event) = life.gateway.poll_event() {
                self.note(format!("gateway{gateway} event {event:?}"));
            } else {
                return;
            }
        }
    }

    /// Does wrong on purpose. True if the message has been dealt with.
    fn mutate(&mut self, gateway: usize, border: usize, message: &Message) -> bool {
        let Some(life) = &mut self.gateways[gateway].life else { return false };
        let verb =
            |r: &TransactionRequest, verb| r.actions.iter().flat_map(|a| &a.commands).any(|c| c.verb == verb);
        let requests: Vec<_> = message.transactions().iter().filter_map(as_request).collect();
        match self.setup.mutation {
            Some(Mutation::SubtractNothing) if requests.iter().any(|r| verb(r, Verb::Subtract)) => {
                let replies = requests.into_iter().map(pretend_done).collect();
                let mid = MId::domain(gateway_name(gateway));
                self.send_control(
                    border,
                    gateway,
                    Direction::Up,
                    &Message::new(message.version, mid, replies),
                );
                true
            }
            Some(mutation @ (Mutation::AddTwice | Mutation::Ghost)) if !life.mutated => {
                let Some(add) = requests.into_iter().find(|r| verb(r, Verb::Add)) else { return false };
                life.mutated = true;
                let mut add = add.clone();
                add.id = TransactionId(add.id.0 ^ 0x4000_0000);
                if mutation == Mutation::Ghost {
                    for command in add.actions.iter_mut().flat_map(|a| &mut a.commands) {
                        command.descriptors.retain(|d| !matches!(d, Descriptor::Events(_)));
                    }
                    life.adds.insert((border, 0, add.id));
                }
                let copy =
                    Message::new(message.version, message.mid.clone(), vec![Transaction::Request(add)]);
                self.give_gateway(gateway, border, message.clone());
                self.give_gateway(gateway, border, copy);
                true
            }
            _ => false,
        }
    }

    /// A reply of a gateway that is not there.
    pub fn answer_for_the_dead(&mut self, border: usize, gateway: usize, octets: &[u8]) {
        let Ok(message) = encoding::parse(octets, &Limits::default()) else { return };
        let replies: Vec<_> =
            message.transactions().iter().filter_map(as_request).map(pretend_done).collect();
        if !replies.is_empty() {
            let message = Message::new(message.version, MId::domain(gateway_name(gateway)), replies);
            self.send_control(border, gateway, Direction::Up, &message);
        }
    }

    /// By the configured time the border will have told the calls on this gateway; if it was cut off,
    /// unless it came back before.
    pub fn gateway_is_away(&mut self, border: usize, gateway: usize, cut: bool) {
        if self.borders[border].life.is_none() {
            return;
        }
        let calls = self.borders[border].calls_on(gateway);
        let life = self.borders[border].lives;
        let at = self.now + self.patience();
        self.at(at, Happening::MustBeTold { border, life, gateway, calls, cut });
    }

    /// How long a border may take to see that a gateway is gone, and to say so: its setting, one
    /// heartbeat, what may still be under way, and a second.
    pub fn patience(&self) -> Duration {
        let timers = carnet_border::Timers::default();
        timers.gateway_lost + timers.gateway_heartbeat + self.setup.noise.late + Duration::from_secs(1)
    }
}

/// A transaction that asks.
pub fn as_request(transaction: &Transaction) -> Option<&TransactionRequest> {
    match transaction {
        Transaction::Request(request) => Some(request),
        _ => None,
    }
}

fn pretend_done(request: &TransactionRequest) -> Transaction {
    let done = |c: &Command| CommandReply::new(c.verb, c.termination().clone());
    let actions = request.actions.iter();
    let actions =
        actions.map(|a| ActionReply::new(a.context, a.commands.iter().map(done).collect())).collect();
    Transaction::Reply(TransactionReply::new(request.id, ReplyBody::Actions(actions)))
}

impl World {
    /// Whether somebody runs there.
    pub fn is_up(&self, node: Node) -> bool {
        match node {
            Node::Border(n) => self.borders[n].life.is_some(),
            Node::Gateway(n) => self.gateways[n].life.is_some(),
            Node::Callers(_) | Node::Callees(_) => true,
            Node::Stranger => false,
        }
    }
}
