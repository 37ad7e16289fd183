//! Packets into datagrams and streams.

use crate::fields::{u8_at, u16_at, u32_at};
use crate::ip::{self, Fragments, Payload, Read};
use crate::tcp::Connections;
use crate::{Packet, link};
use bytes::Bytes;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How much is held.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Fragments of IP.
    pub fragments: ip::Limits,
    /// Connections that are looked at; the one that was silent longest goes.
    pub connections: usize,
    /// Octets of one direction of a connection that came before what stands before them. When there are more,
    /// what is missing is taken for lost.
    pub waiting: usize,
    /// The same of all connections.
    pub waiting_in_all: usize,
    /// A packet that is captured again within this time, at another interface, is passed over.
    pub again: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fragments: ip::Limits::default(),
            connections: 65_536,
            waiting: 4 << 20,
            waiting_in_all: 64 << 20,
            again: Duration::from_millis(20),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A datagram of UDP.
    Datagram(Datagram),
    /// Something on a connection of TCP.
    Segment(Segment),
    /// Somebody said that a packet could not be delivered.
    Unreachable(Unreachable),
}

/// A datagram of UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// When.
    pub at: Duration,
    /// Number of the packet in the file; of the last fragment.
    pub number: u64,
    /// Who sent it.
    pub from: SocketAddr,
    /// Who was to get it.
    pub to: SocketAddr,
    /// What was kept of it.
    pub octets: Bytes,
    /// Octets that the capture did not keep.
    pub missing: usize,
}

/// Something on a connection of TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// When. Octets that came too early have the time at which those before them came.
    pub at: Duration,
    /// Number of the packet in the file.
    pub number: u64,
    /// Which connection, counted from 0 as they appear.
    pub connection: u64,
    /// Who sent it.
    pub from: SocketAddr,
    /// Who was to get it.
    pub to: SocketAddr,
    /// What.
    pub what: Happening,
}

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// It is asked for: a SYN.
    Open,
    /// The SYN came again.
    OpenAgain,
    /// It is there: a SYN with an acknowledgement.
    Accepted,
    /// Its beginning is not in the capture.
    Midway,
    /// Octets, in order.
    Data(Bytes),
    /// So many octets are not in the capture; what follows stands behind them.
    Lost(u64),
    /// This end has said all.
    Finished,
    /// This end wants no more of it.
    Reset,
}

/// What ICMP said (RFC 792, RFC 4443).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// When.
    pub at: Duration,
    /// Number of the packet in the file.
    pub number: u64,
    /// Who says so.
    pub by: IpAddr,
    /// Who had sent the packet.
    pub from: SocketAddr,
    /// Who did not get it.
    pub to: SocketAddr,
    /// 6 TCP, 17 UDP.
    pub protocol: u8,
    /// In words.
    pub why: &'static str,
}

/// What went by, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Packets.
    pub packets: u64,
    /// Of those, with a link type that is not read, or no IP.
    pub not_ip: u64,
    /// IP, and neither UDP nor TCP nor ICMP.
    pub other: u64,
    /// Cut or damaged before there was anything to read.
    pub damaged: u64,
    /// The same packet captured again.
    pub again: u64,
    /// Fragmented datagrams that never became whole.
    pub fragments_lost: u64,
    /// Connections put aside because there were too many.
    pub connections_dropped: u64,
}

/// Reads packets. Push one, then take events until there are none.
#[derive(Debug)]
pub struct Network {
    fragments: Fragments,
    connections: Connections,
    recent: VecDeque<(Duration, u64)>,
    again: Duration,
    seen: Seen,
    events: VecDeque<Event>,
}

/// Packets that are remembered to tell whether one was captured again.
const RECENT: usize = 4096;

impl Network {
    /// With nothing seen yet.
    pub fn new(limits: Limits) -> Self {
        let again = limits.again;
        Self {
            fragments: Fragments::new(limits.fragments.clone()),
            connections: Connections::new(limits),
            recent: VecDeque::new(),
            again,
            seen: Seen::default(),
            events: VecDeque::new(),
        }
    }

    /// Takes the next packet.
    pub fn handle_packet(&mut self, packet: &Packet) {
        self.seen.packets += 1;
        let Some(inner) = link::network(packet.link, &packet.octets) else {
            self.seen.not_ip += 1;
            return;
        };
        let length = packet.length - (packet.octets.len() - inner.len());
        if self.is_again(packet.at, &inner) {
            self.seen.again += 1;
            return;
        }
        match self.fragments.read(packet.at, &inner, length) {
            Read::Whole(payload) => self.handle_payload(packet, &payload),
            Read::Part => {}
            Read::Damaged => self.seen.damaged += 1,
        }
        self.seen.fragments_lost = self.fragments.lost;
    }

    /// The capture ends: what waits for octets that will not come is handed out.
    pub fn finish(&mut self) {
        self.connections.finish(&mut self.events);
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What went by.
    pub fn seen(&self) -> Seen {
        Seen { connections_dropped: self.connections.dropped(), ..self.seen }
    }

    /// Whether the same packet was captured a moment ago. What routers change does not count.
    fn is_again(&mut self, at: Duration, packet: &Bytes) -> bool {
        let mut hasher = DefaultHasher::new();
        let v4 = packet.first().is_some_and(|first| first >> 4 == 4);
        // Before and behind the time to live and the checksum, or the hop limit.
        let (head, tail) = if v4 { (8, 12) } else { (7, 8) };
        packet.get(..head).unwrap_or_default().hash(&mut hasher);
        if v4 {
            packet.get(9).hash(&mut hasher);
        }
        packet.get(tail..).unwrap_or_default().hash(&mut hasher);
        let hash = hasher.finish();
        let since = at.saturating_sub(self.again);
        while self.recent.front().is_some_and(|(when, _)| *when < since) || self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let again = self.recent.iter().any(|(when, known)| *known == hash && *when >= since);
        if !again {
            self.recent.push_back((at, hash));
        }
        again
    }

    fn handle_payload(&mut self, packet: &Packet, payload: &Payload) {
        match payload.protocol {
            17 => {
                let Some(datagram) = datagram(packet, payload) else {
                    self.seen.damaged += 1;
                    return;
                };
                self.events.push_back(Event::Datagram(datagram));
            }
            6 => {
                if !self.connections.handle(packet, payload, &mut self.events) {
                    self.seen.damaged += 1;
                }
            }
            1 | 58 => {
                if let Some(unreachable) = unreachable(packet, payload) {
                    self.events.push_back(Event::Unreachable(unreachable));
                }
            }
            _ => self.seen.other += 1,
        }
    }
}

/// RFC 768.
fn datagram(packet: &Packet, payload: &Payload) -> Option<Datagram> {
    let octets = &payload.octets;
    let (from, to) = (u16_at(octets, 0)?, u16_at(octets, 2)?);
    let length = usize::from(u16_at(octets, 4)?);
    let there = octets.len() + payload.missing;
    // A length of 0 is one that a card will fill in; one that is longer than IP's is wrong.
    let length = if (8..=there).contains(&length) { length } else { there };
    let end = length.min(octets.len());
    Some(Datagram {
        at: packet.at,
        number: packet.number,
        from: SocketAddr::new(payload.from, from),
        to: SocketAddr::new(payload.to, to),
        octets: (8 <= end).then(|| octets.slice(8..end))?,
        missing: length - end,
    })
}

fn unreachable(packet: &Packet, payload: &Payload) -> Option<Unreachable> {
    let octets = &payload.octets;
    let why = match (payload.protocol, u8_at(octets, 0)?, u8_at(octets, 1)?) {
        (1, 3, 0) | (58, 1, 0) => "no route to the network",
        (1, 3, 1) | (58, 1, 3) => "the host is not reachable",
        (1, 3, 2) => "the host does not speak this protocol",
        (1, 3, 3) | (58, 1, 4) => "nobody listens at the port",
        (1, 3, 4) | (58, 2, _) => "the packet is too large for the way",
        (1, 3, 9 | 10 | 13) | (58, 1, 1) => "a filter forbids it",
        (1, 3, _) | (58, 1, _) => "not reachable",
        (1, 11, 0) | (58, 3, 0) => "it went in circles",
        _ => return None,
    };
    // Behind eight octets stands the packet that was not delivered, at least with its ports.
    let quoted = octets.slice(8.min(octets.len())..);
    let (from, to, protocol, at) = match quoted.first()? >> 4 {
        4 => {
            let address = |at| u32_at(&quoted, at).map(|a| IpAddr::V4(a.into()));
            (address(12)?, address(16)?, u8_at(&quoted, 9)?, usize::from(quoted.first()? & 0x0f) * 4)
        }
        6 => {
            let address = |at: usize| -> Option<IpAddr> {
                Some(IpAddr::V6((*quoted.get(at..)?.first_chunk::<16>()?).into()))
            };
            (address(8)?, address(24)?, u8_at(&quoted, 6)?, 40)
        }
        _ => return None,
    };
    if !matches!(protocol, 6 | 17) {
        return None;
    }
    Some(Unreachable {
        at: packet.at,
        number: packet.number,
        by: payload.from,
        from: SocketAddr::new(from, u16_at(&quoted, at)?),
        to: SocketAddr::new(to, u16_at(&quoted, at + 2)?),
        protocol,
        why,
    })
}
