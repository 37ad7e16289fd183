//! Connections of TCP as two streams (RFC 9293), as one who listens in sees them.
//!
//! A listener may have missed packets. What one end acknowledged and the capture does not have is lost; so is
//! what more octets wait for than are held.

use crate::fields::{u8_at, u16_at, u32_at};
use crate::ip::Payload;
use crate::{Event, Happening, Limits, Packet, Segment};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Segments that may wait for what stands before them, however small they are.
const SEGMENTS: usize = 8192;

#[derive(Debug)]
pub(crate) struct Connections {
    limits: Limits,
    table: HashMap<(SocketAddr, SocketAddr), Connection>,
    count: u64,
    held: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Connection {
    id: u64,
    /// The smaller address first, as in the key.
    halves: [Half; 2],
    last: Duration,
    number: u64,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Sequence number of the SYN, if it was seen.
    first: Option<u32>,
    /// The next octet that is to be handed out, counted from `base`.
    next: Option<u64>,
    base: u32,
    /// What came too early, by place.
    waiting: BTreeMap<u64, Bytes>,
    held: usize,
    fin: Option<u64>,
    closed: bool,
}

/// The header of a segment.
struct Header {
    from: u16,
    to: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    octets: Bytes,
    missing: usize,
}

impl Header {
    /// RFC 9293 §3.1.
    fn parse(payload: &Payload) -> Option<Self> {
        let octets = &payload.octets;
        let header = usize::from(u8_at(octets, 12)? >> 4) * 4;
        if header < 20 || header > octets.len() {
            return None;
        }
        Some(Self {
            from: u16_at(octets, 0)?,
            to: u16_at(octets, 2)?,
            sequence: u32_at(octets, 4)?,
            acknowledged: u32_at(octets, 8)?,
            flags: u8_at(octets, 13)?,
            octets: octets.slice(header..),
            missing: payload.missing,
        })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Half {
    /// Where a sequence number stands, near what is expected.
    fn place(&self, sequence: u32) -> u64 {
        let next = self.next.unwrap_or_default();
        let expected = self.base.wrapping_add(next as u32);
        let distance = sequence.wrapping_sub(expected).cast_signed();
        next.saturating_add_signed(distance.into())
    }

    fn start(&mut self, sequence: u32) {
        self.base = sequence;
        // Room before it: what comes again from before the start must not wrap around.
        self.next = Some(0);
    }

    /// Whether a place, told by [`place`](Self::place), lies before the stream's start.
    fn is_before_start(&self, sequence: u32) -> bool {
        let next = self.next.unwrap_or_default();
        let expected = self.base.wrapping_add(next as u32);
        let distance = i64::from(sequence.wrapping_sub(expected).cast_signed());
        next.checked_add_signed(distance).is_none()
    }

    /// Whether everything up to its end was handed out.
    fn is_done(&self) -> bool {
        self.closed
    }
}

/// Hands out what happens on one direction.
struct Outlet<'a> {
    at: Duration,
    number: u64,
    connection: u64,
    from: SocketAddr,
    to: SocketAddr,
    events: &'a mut VecDeque<Event>,
}

impl Outlet<'_> {
    fn put(&mut self, what: Happening) {
        self.events.push_back(Event::Segment(Segment {
            at: self.at,
            number: self.number,
            connection: self.connection,
            from: self.from,
            to: self.to,
            what,
        }));
    }
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, table: HashMap::new(), count: 0, held: 0, dropped: 0 }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a segment; false if it is none.
    pub(crate) fn handle(
        &mut self,
        packet: &Packet,
        payload: &Payload,
        events: &mut VecDeque<Event>,
    ) -> bool {
        let Some(header) = Header::parse(payload) else { return false };
        let from = SocketAddr::new(payload.from, header.from);
        let to = SocketAddr::new(payload.to, header.to);
        let (key, side) = if from <= to { ((from, to), 0) } else { ((to, from), 1) };
        let opens = header.has(SYN) && !header.has(ACK);
        if let Some(known) = self.table.get(&key)
            && opens
        {
            let half = if side == 0 { &known.halves[0] } else { &known.halves[1] };
            let again = half.first == Some(header.sequence);
            // Another number: the ports are used again (RFC 9293 §3.6.1).
            if !again {
                self.end(key, events);
            }
        }
        if !self.table.contains_key(&key) && self.table.len() >= self.limits.connections {
            self.make_room(events);
        }
        let mut count = self.count;
        let connection = self.table.entry(key).or_insert_with(|| {
            count += 1;
            Connection { id: count - 1, halves: Default::default(), last: packet.at, number: packet.number }
        });
        let is_new = count != self.count;
        self.count = count;
        connection.last = packet.at;
        connection.number = packet.number;
        let mut out =
            Outlet { at: packet.at, number: packet.number, connection: connection.id, from, to, events };
        let [first, second] = &mut connection.halves;
        let (half, other) = if side == 0 { (first, second) } else { (second, first) };
        let before = half.held + other.held;
        if header.has(SYN) {
            let again = half.first == Some(header.sequence);
            if !again {
                half.first = Some(header.sequence);
                half.start(header.sequence.wrapping_add(1));
            }
            match (header.has(ACK), again) {
                (false, false) => out.put(Happening::Open),
                (false, true) => out.put(Happening::OpenAgain),
                (true, false) => out.put(Happening::Accepted),
                (true, true) => {}
            }
        } else if is_new && !header.has(RST) {
            out.put(Happening::Midway);
        }
        // Data may come with a SYN; its first octet then stands behind it.
        let sequence = header.sequence.wrapping_add(header.has(SYN).into());
        half.handle(sequence, &header, &self.limits, &mut out);
        if header.has(ACK) && !header.has(RST) {
            let mut back = Outlet { from: to, to: from, ..out };
            other.acknowledged(header.acknowledged, &mut back);
            out = Outlet { from, to, ..back };
        }
        if header.has(RST) && !half.closed {
            half.flush(&mut out);
            half.closed = true;
            out.put(Happening::Reset);
        }
        self.held = self.held + half.held + other.held - before;
        if self.held > self.limits.waiting_in_all {
            self.held -= half.held;
            half.flush(&mut out);
        }
        true
    }

    /// Hands out what waits everywhere.
    pub(crate) fn finish(&mut self, events: &mut VecDeque<Event>) {
        let mut all: Vec<_> = self.table.iter().map(|(key, connection)| (connection.id, *key)).collect();
        all.sort_unstable();
        for (_, key) in all {
            self.end(key, events);
        }
    }

    fn end(&mut self, key: (SocketAddr, SocketAddr), events: &mut VecDeque<Event>) {
        let Some(mut connection) = self.table.remove(&key) else { return };
        let [first, second] = &mut connection.halves;
        for (half, from, to) in [(first, key.0, key.1), (second, key.1, key.0)] {
            self.held -= half.held;
            half.flush(&mut Outlet {
                at: connection.last,
                number: connection.number,
                connection: connection.id,
                from,
                to,
                events,
            });
        }
    }

    /// Puts connections aside that are over, or else those that were silent longest.
    fn make_room(&mut self, events: &mut VecDeque<Event>) {
        let over = |c: &Connection| c.halves.iter().all(Half::is_done);
        let mut all: Vec<_> = self.table.iter().map(|(key, c)| (!over(c), c.last, *key)).collect();
        let room = self.limits.connections.div_ceil(16);
        all.sort_unstable();
        for (open, _, key) in all.into_iter().take(room) {
            self.dropped += u64::from(open);
            self.end(key, events);
        }
    }
}

impl Half {
    fn handle(&mut self, sequence: u32, header: &Header, limits: &Limits, out: &mut Outlet<'_>) {
        if self.closed || header.has(RST) {
            return;
        }
        let length = header.octets.len() + header.missing;
        if self.next.is_none() {
            if length == 0 && !header.has(FIN) {
                // An acknowledgement, or the octet of a keep-alive: says where the stream stands.
                self.start(sequence);
                return;
            }
            self.start(sequence);
        }
        let at = self.place(sequence);
        let before = self.is_before_start(sequence);
        if header.has(FIN) && !before {
            self.fin = Some(at + length as u64);
        }
        if !header.octets.is_empty() {
            let mut octets = header.octets.clone();
            let mut at = at;
            if before {
                let skip = self.base.wrapping_sub(sequence) as usize;
                octets = octets.slice(skip.min(octets.len())..);
                at = 0;
            }
            self.keep(at, octets);
        }
        self.deliver(out);
        if self.held > limits.waiting || self.waiting.len() > SEGMENTS {
            self.flush(out);
        }
    }

    fn keep(&mut self, at: u64, octets: Bytes) {
        let end = at + octets.len() as u64;
        if octets.is_empty() || end <= self.next.unwrap_or_default() {
            return;
        }
        // Of two that begin at the same place the longer one counts.
        if self.waiting.get(&at).is_some_and(|known| known.len() >= octets.len()) {
            return;
        }
        self.held += octets.len();
        if let Some(shorter) = self.waiting.insert(at, octets) {
            self.held -= shorter.len();
        }
    }

    /// Hands out what is next.
    fn deliver(&mut self, out: &mut Outlet<'_>) {
        let Some(mut next) = self.next else { return };
        while let Some(first) = self.waiting.first_entry() {
            let at = *first.key();
            if at > next {
                break;
            }
            let octets = first.remove();
            self.held -= octets.len();
            let seen = usize::try_from(next - at).unwrap_or(usize::MAX);
            if seen < octets.len() {
                let fresh = octets.slice(seen..);
                next += fresh.len() as u64;
                out.put(Happening::Data(fresh));
            }
        }
        self.next = Some(next);
        if self.fin.is_some_and(|fin| fin <= next) && !self.closed {
            self.closed = true;
            out.put(Happening::Finished);
        }
    }

    /// The other end has everything up to here. A gap before octets that it has too is a gap of the capture.
    fn acknowledged(&mut self, sequence: u32, out: &mut Outlet<'_>) {
        if self.next.is_none() {
            self.start(sequence);
            return;
        }
        let up_to = self.place(sequence);
        loop {
            let next = self.next.unwrap_or_default();
            let Some((at, octets)) = self.waiting.first_key_value() else { return };
            if *at <= next || at + octets.len() as u64 > up_to {
                return;
            }
            let at = *at;
            out.put(Happening::Lost(at - next));
            self.next = Some(at);
            self.deliver(out);
        }
    }

    /// Hands out all that waits, with marks where octets are missing.
    fn flush(&mut self, out: &mut Outlet<'_>) {
        while let Some((at, _)) = self.waiting.first_key_value() {
            let (at, next) = (*at, self.next.unwrap_or_default());
            if at > next {
                out.put(Happening::Lost(at - next));
                self.next = Some(at);
            }
            self.deliver(out);
        }
        if let (Some(fin), Some(next)) = (self.fin, self.next)
            && fin > next
            && !self.closed
        {
            out.put(Happening::Lost(fin - next));
            self.next = Some(fin);
            self.deliver(out);
        }
    }
}
