//! IPv4 (RFC 791) and IPv6 (RFC 8200) with their fragments.

use crate::fields::{u8_at, u16_at, u32_at};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// What is held of datagrams that are not whole.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Datagrams; the oldest goes.
    pub datagrams: usize,
    /// Octets of one datagram's fragments, what came twice counted twice.
    pub octets: usize,
    /// How long the rest is waited for, in the time of the capture (RFC 8200 §4.5).
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { datagrams: 1024, octets: 1 << 17, time: Duration::from_secs(60) }
    }
}

/// What an IP packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: u8,
    pub octets: Bytes,
    /// Octets that the capture did not keep.
    pub missing: usize,
}

/// What a packet was.
pub(crate) enum Read {
    Whole(Payload),
    /// Part of a datagram that is not whole yet.
    Part,
    /// No IP, or cut in its header.
    Damaged,
}

#[derive(Debug, PartialEq, Eq, Hash, Clone)]
struct Key {
    from: IpAddr,
    to: IpAddr,
    id: u32,
    protocol: u8,
}

#[derive(Debug, Default)]
struct Parts {
    since: Duration,
    parts: BTreeMap<usize, Bytes>,
    octets: usize,
    end: Option<usize>,
    /// What the first fragment says is carried (IPv6).
    protocol: u8,
}

/// Puts fragments together.
#[derive(Debug)]
pub(crate) struct Fragments {
    limits: Limits,
    waiting: HashMap<Key, Parts>,
    order: VecDeque<Key>,
    /// Datagrams given up.
    pub lost: u64,
}

/// Where a fragment belongs.
struct Fragment {
    id: u32,
    offset: usize,
    more: bool,
}

impl Fragments {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, waiting: HashMap::new(), order: VecDeque::new(), lost: 0 }
    }

    /// Reads a packet. `length` is how long it was on the wire.
    pub(crate) fn read(&mut self, at: Duration, packet: &Bytes, length: usize) -> Read {
        let parsed = match packet.first().map(|first| first >> 4) {
            Some(4) => v4(packet, length),
            Some(6) => v6(packet, length),
            _ => None,
        };
        match parsed {
            None => Read::Damaged,
            Some((payload, None)) => Read::Whole(payload),
            Some((payload, Some(fragment))) => self.join(at, payload, &fragment),
        }
    }

    fn join(&mut self, at: Duration, payload: Payload, fragment: &Fragment) -> Read {
        let key = Key {
            from: payload.from,
            to: payload.to,
            id: fragment.id,
            // RFC 8200 §4.5: there the protocol is not part of the key; later fragments may say another.
            protocol: if payload.from.is_ipv4() { payload.protocol } else { 0 },
        };
        let overdue = |parts: &Parts| at.saturating_sub(parts.since) > self.limits.time;
        while let Some(first) = self.order.front() {
            let old = self.waiting.get(first).is_none_or(overdue);
            if !old && self.order.len() < self.limits.datagrams {
                break;
            }
            self.lost += u64::from(self.waiting.remove(first).is_some());
            self.order.pop_front();
        }
        if !self.waiting.contains_key(&key) {
            self.order.push_back(key.clone());
        }
        let parts =
            self.waiting.entry(key.clone()).or_insert_with(|| Parts { since: at, ..Parts::default() });
        if fragment.offset == 0 {
            parts.protocol = payload.protocol;
        }
        let end = fragment.offset + payload.octets.len();
        parts.octets += payload.octets.len();
        // A fragment of which something is missing can complete nothing.
        if parts.octets > self.limits.octets || end > 0xffff + 40 || payload.missing > 0 {
            self.waiting.remove(&key);
            self.lost += 1;
            return Read::Part;
        }
        if !fragment.more {
            parts.end = Some(end);
        }
        // What came first counts (RFC 5722 would have overlapping ones dropped; here they are looked at).
        parts.parts.entry(fragment.offset).or_insert_with(|| payload.octets.clone());
        let Some(octets) = parts.whole() else { return Read::Part };
        let protocol = parts.protocol;
        self.waiting.remove(&key);
        Read::Whole(Payload { protocol, octets, ..payload })
    }
}

impl Parts {
    fn whole(&self) -> Option<Bytes> {
        let end = self.end?;
        let mut out = BytesMut::with_capacity(end);
        for (offset, part) in &self.parts {
            let seen = out.len().checked_sub(*offset)?;
            out.extend_from_slice(part.get(seen..).unwrap_or_default());
        }
        (out.len() >= end).then(|| out.freeze().slice(..end))
    }
}

/// What is carried behind `header` octets, as far as it was kept.
fn carried(packet: &Bytes, header: usize, total: usize) -> Option<(Bytes, usize)> {
    let end = total.min(packet.len());
    (header <= end).then(|| (packet.slice(header..end), total - end))
}

/// RFC 791 §3.1.
fn v4(packet: &Bytes, length: usize) -> Option<(Payload, Option<Fragment>)> {
    let header = usize::from(u8_at(packet, 0)? & 0x0f) * 4;
    let total = match usize::from(u16_at(packet, 2)?) {
        // A sender that leaves cutting to its card may capture packets that are too long to be said.
        0 => length,
        total => total,
    };
    if header < 20 || total < header {
        return None;
    }
    let flags = u16_at(packet, 6)?;
    let address = |at| u32_at(packet, at).map(|a| IpAddr::V4(Ipv4Addr::from(a)));
    let (octets, missing) = carried(packet, header, total)?;
    let payload =
        Payload { from: address(12)?, to: address(16)?, protocol: u8_at(packet, 9)?, octets, missing };
    let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
    let fragment = (more || offset > 0)
        .then(|| u16_at(packet, 4).map(|id| Fragment { id: id.into(), offset, more }))
        .flatten();
    Some((payload, fragment))
}

/// RFC 8200 §3, §4.
fn v6(packet: &Bytes, length: usize) -> Option<(Payload, Option<Fragment>)> {
    let address = |at: usize| -> Option<IpAddr> {
        let octets = packet.get(at..)?.first_chunk::<16>()?;
        Some(Ipv6Addr::from(*octets).into())
    };
    let total = match usize::from(u16_at(packet, 4)?) {
        0 => length,
        payload => 40 + payload,
    };
    let (mut next, mut at) = (u8_at(packet, 6)?, 40usize);
    let mut fragment = None;
    // Extension headers, none of which may come often (§4.1).
    for _ in 0..8 {
        match next {
            0 | 43 | 60 | 135 | 139 | 140 => {
                let octets = (usize::from(u8_at(packet, at + 1)?) + 1) * 8;
                next = u8_at(packet, at)?;
                at += octets;
            }
            // Authentication header (RFC 4302 §2.2).
            51 => {
                let octets = (usize::from(u8_at(packet, at + 1)?) + 2) * 4;
                next = u8_at(packet, at)?;
                at += octets;
            }
            44 => {
                let field = u16_at(packet, at + 2)?;
                let (offset, more) = (usize::from(field & 0xfff8), field & 1 != 0);
                let id = u32_at(packet, at + 4)?;
                // An atomic fragment (RFC 6946) is a whole datagram.
                fragment = (more || offset > 0).then_some(Fragment { id, offset, more });
                next = u8_at(packet, at)?;
                at += 8;
                if offset > 0 {
                    break;
                }
            }
            _ => break,
        }
    }
    let (octets, missing) = carried(packet, at, total)?;
    Some((Payload { from: address(8)?, to: address(24)?, protocol: next, octets, missing }, fragment))
}
