//! The links between borders and gateways: octets with everything that can happen to them.
//!
//! Over datagrams messages are lost, doubled, delayed and overtaken. A stream keeps order; it stalls
//! while it is cut, and what was under way when it breaks is gone. Both ends hear of a break, late
//! if the network is cut.

use crate::setup::{BORDERS, GATEWAYS, Noise};
use crate::trace::Node;
use crate::world::{Happening, World};
use carnet_h248::Message;
use carnet_h248::association::Transport;
use std::time::{Duration, Instant};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the border to the gateway.
    Down,
    /// From the gateway to the border.
    Up,
}

/// One link.
#[derive(Debug)]
pub struct Link {
    /// How it behaves.
    pub noise: Noise,
    /// Nothing passes that way.
    pub cut: [bool; 2],
    /// Since when nothing passes either way.
    pub cut_at: Option<Instant>,
    /// The connection there is or was; meaningless over datagrams.
    pub epoch: u64,
    /// Whether there is one.
    pub open: bool,
    last: [Option<Instant>; 2],
    stalled: [Vec<Vec<u8>>; 2],
}

impl Link {
    fn new(noise: Noise) -> Self {
        Self {
            noise,
            cut: [false; 2],
            cut_at: None,
            epoch: 0,
            open: false,
            last: [None; 2],
            stalled: [Vec::new(), Vec::new()],
        }
    }

    /// Whether nothing passes either way.
    pub fn is_cut(&self) -> bool {
        self.cut == [true; 2]
    }
}

/// All links, by border and gateway.
pub type Links = [[Link; GATEWAYS]; BORDERS];

/// Links that behave so.
pub fn links(noise: Noise) -> Links {
    std::array::from_fn(|_| std::array::from_fn(|_| Link::new(noise)))
}

impl World {
    /// Encodes a message and gives it to the link.
    pub fn send_control(&mut self, border: usize, gateway: usize, direction: Direction, message: &Message) {
        let (from, to) = ends(border, gateway, direction);
        let octets = match self.setup.encodings[gateway].print(message) {
            Ok(octets) => octets,
            Err(error) => {
                return self.violation(format!("{from} says what cannot be written: {error}"), Vec::new());
            }
        };
        self.count_sent(from, to, message, octets.len());
        let copies = if self.setup.mutation == Some(crate::Mutation::Repeat) { 100 } else { 1 };
        for _ in 1..copies {
            self.count_sent(from, to, message, octets.len());
        }
        match self.setup.transports[gateway] {
            Transport::Datagram => self.send_datagram(border, gateway, direction, octets),
            _ => self.send_stream(border, gateway, direction, octets),
        }
    }

    fn send_datagram(&mut self, border: usize, gateway: usize, direction: Direction, octets: Vec<u8>) {
        let (from, to) = ends(border, gateway, direction);
        let link = &self.links[border][gateway];
        let noise = link.noise;
        if link.cut[direction as usize] || self.dice.chance(noise.lost) {
            return self.trace.control(self.elapsed(), from, to, "lost", &octets);
        }
        if self.dice.chance(noise.doubled) {
            let at = self.now + self.dice.between(Duration::ZERO, noise.late);
            self.at(
                at,
                Happening::Control { border, gateway, direction, epoch: None, octets: octets.clone() },
            );
        }
        let mut delay = self.dice.between(Duration::from_micros(300), Duration::from_millis(5));
        if self.dice.chance(noise.delayed) {
            delay += self.dice.between(Duration::ZERO, noise.late);
        }
        self.at(self.now + delay, Happening::Control { border, gateway, direction, epoch: None, octets });
    }

    fn send_stream(&mut self, border: usize, gateway: usize, direction: Direction, octets: Vec<u8>) {
        let (from, to) = ends(border, gateway, direction);
        let alive = self.is_up(to);
        let link = &mut self.links[border][gateway];
        if direction == Direction::Up && !link.open {
            // The gateway connects.
            if !alive && !link.is_cut() {
                self.trace.control(self.elapsed(), from, to, "refused", &octets);
                return self.reconnect_later(gateway);
            }
            link.open = true;
            link.epoch += 1;
            link.last = [None; 2];
            link.stalled = [Vec::new(), Vec::new()];
        }
        let epoch = link.epoch;
        if direction == Direction::Down && self.borders[border].ways[gateway] != Some(epoch) {
            return self.trace.control(self.elapsed(), from, to, "no way", &octets);
        }
        if !link.open {
            // Sent into a connection whose other end is gone: a reset comes back.
            self.closed_later(border, gateway, epoch, Direction::Up);
            return self.trace.control(self.elapsed(), from, to, "reset", &octets);
        }
        let delay = self.dice.between(Duration::from_micros(300), Duration::from_millis(5));
        let link = &mut self.links[border][gateway];
        let at = (self.now + delay).max(link.last[direction as usize].unwrap_or(self.now));
        link.last[direction as usize] = Some(at);
        self.at(at, Happening::Control { border, gateway, direction, epoch: Some(epoch), octets });
    }

    /// Octets arrive.
    pub fn arrive(
        &mut self,
        border: usize,
        gateway: usize,
        direction: Direction,
        epoch: Option<u64>,
        octets: Vec<u8>,
    ) {
        let (from, to) = ends(border, gateway, direction);
        let link = &mut self.links[border][gateway];
        if let Some(epoch) = epoch {
            if !link.open || link.epoch != epoch {
                return self.trace.control(self.elapsed(), from, to, "lost with its connection", &octets);
            }
            if link.cut[direction as usize] || !link.stalled[direction as usize].is_empty() {
                link.stalled[direction as usize].push(octets);
                return;
            }
        }
        if !self.is_up(to) {
            if self.setup.mutation == Some(crate::Mutation::AnswerForTheDead) {
                return self.answer_for_the_dead(border, gateway, &octets);
            }
            if let Some(epoch) = epoch {
                // Connected while the border was away.
                self.links[border][gateway].open = false;
                self.closed_later(border, gateway, epoch, Direction::Down);
            }
            return self.trace.control(self.elapsed(), from, to, "nobody there", &octets);
        }
        self.trace.control(self.elapsed(), from, to, "arrives", &octets);
        if self.is_datagram(gateway) {
            self.remember(border, gateway, direction, &octets);
        }
        match direction {
            Direction::Down => self.gateway_receives(gateway, border, octets),
            Direction::Up => self.border_receives(border, gateway, epoch, octets),
        }
    }

    /// Cuts or mends one way of a link.
    pub fn set_cut(&mut self, border: usize, gateway: usize, direction: Direction, cut: bool) {
        let link = &mut self.links[border][gateway];
        if link.cut[direction as usize] == cut {
            return;
        }
        link.cut[direction as usize] = cut;
        link.cut_at = link.is_cut().then_some(self.now);
        let epoch = link.epoch;
        let stalled = if cut { Vec::new() } else { std::mem::take(&mut link.stalled[direction as usize]) };
        for octets in stalled {
            self.at(self.now, Happening::Control { border, gateway, direction, epoch: Some(epoch), octets });
        }
        let word = if cut { "cut" } else { "mended" };
        self.note(format!("link border{border} gateway{gateway} {direction:?} {word}"));
    }

    /// Breaks the connection, if there is one; both ends hear of it unless told otherwise.
    pub fn break_stream(&mut self, border: usize, gateway: usize, tell: [bool; 2]) {
        let link = &mut self.links[border][gateway];
        if !link.open || self.setup.transports[gateway] == Transport::Datagram {
            return;
        }
        link.open = false;
        link.stalled = [Vec::new(), Vec::new()];
        let epoch = link.epoch;
        self.note(format!("connection border{border} gateway{gateway} breaks"));
        for direction in [Direction::Down, Direction::Up] {
            if tell[direction as usize] {
                self.closed_later(border, gateway, epoch, direction);
            }
        }
    }

    /// The end that `direction` leads to will hear that the connection is gone.
    fn closed_later(&mut self, border: usize, gateway: usize, epoch: u64, direction: Direction) {
        let at = self.now + self.dice.between(Duration::from_millis(1), Duration::from_millis(50));
        self.at(at, Happening::Closed { border, gateway, epoch, direction });
    }

    /// An end hears that a connection is gone.
    pub fn closed(&mut self, border: usize, gateway: usize, epoch: u64, direction: Direction) {
        if self.links[border][gateway].is_cut() {
            let at = self.now + Duration::from_secs(1);
            return self.at(at, Happening::Closed { border, gateway, epoch, direction });
        }
        match direction {
            Direction::Down => self.reconnect_later(gateway),
            Direction::Up => self.border_hears_close(border, gateway, epoch),
        }
    }

    fn reconnect_later(&mut self, gateway: usize) {
        let Some(life) = &mut self.gateways[gateway].life else { return };
        if life.reconnecting {
            return;
        }
        life.reconnecting = true;
        let number = life.number;
        // As the program does.
        self.at(self.now + Duration::from_millis(500), Happening::Reconnect { gateway, life: number });
    }
}

/// Who sends and who receives.
pub fn ends(border: usize, gateway: usize, direction: Direction) -> (Node, Node) {
    match direction {
        Direction::Down => (Node::Border(border), Node::Gateway(gateway)),
        Direction::Up => (Node::Gateway(gateway), Node::Border(border)),
    }
}
