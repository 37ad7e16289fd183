//! How many octets passed on a connection that we only saw begin and end.
//!
//! The sequence numbers of a direction begin at that of its SYN and end at that of its FIN (RFC 9293 §3.4): the
//! octets between are what was sent, whatever was lost and repeated on the way. They count to 2^32
//! and begin anew; how often they did, connection tracking knows, which counts packets and their octets.
//!
//! While a connection is up there is only connection tracking: its octets less the headers. That is exact as long as
//! nothing is sent twice and no segment has options that come and go (selective acknowledgements: RFC 2018), and
//! too much by what is sent twice.

use carnet_netfilter::{Entry, Segment};

/// IP and TCP headers without options, in octets.
const HEADERS_V4: u64 = 20 + 20;
const HEADERS_V6: u64 = 40 + 20;
/// The timestamps option with its padding (RFC 7323 appendix A), in each segment.
const TIMESTAMPS: u64 = 12;
/// What a SYN has beside it: maximum segment size, window scale, selective acknowledgements, padding.
const SYN_WITH_TIMESTAMPS: u64 = 8;
const SYN_OPTIONS: u64 = 12;
/// Connection tracking less the headers may be short by this much, for options that we do not know of.
const DOUBT: u64 = 64 * 1024;

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stream {
    /// The number of its first octet.
    first: Option<u32>,
    /// The number after its last.
    end: Option<u32>,
    /// It ended with a FIN.
    fin: bool,
}

/// Both directions of a connection, from the caller and from the callee, in few octets: a gateway has tens of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streams {
    /// The first number and the end of each, where they are known.
    forth: [Number; 2],
    back: [Number; 2],
    /// Segments without timestamps, where the others have them, from the caller and from the callee: a host that has no such
    /// connection any more answers with bare resets (RFC 7323 §5.2).
    bare: (u8, u8),
    /// What is known, and of what kind they are.
    known: u8,
}

/// A sequence number, wherever it fits in.
type Number = [u8; 4];

/// Bits of what is known of the caller's direction; the callee's are [`BACK`] further up.
const FIRST: u8 = 1;
const END: u8 = 2;
const FIN: u8 = 4;
const BACK: u8 = 3;
const V4: u8 = 1 << 6;
const TIMESTAMPED: u8 = 1 << 7;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Caller,
    Callee,
}

impl From {
    fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

impl Streams {
    /// Of a connection that is there already: only connection tracking knows it.
    pub(super) fn unknown(v4: bool) -> Self {
        // Nearly every system has them.
        Self::of_kind(v4, true)
    }

    fn of_kind(v4: bool, timestamps: bool) -> Self {
        let known = if v4 { V4 } else { 0 } | if timestamps { TIMESTAMPED } else { 0 };
        Self { forth: Default::default(), back: Default::default(), bare: (0, 0), known }
    }

    /// Of a connection that begins with this answer of the callee.
    pub(super) fn begun(answer: &Segment) -> Self {
        let mut streams = Self::of_kind(answer.source.is_ipv4(), answer.timestamps);
        streams.put(From::Caller, Stream { first: answer.acknowledgement, ..Stream::default() });
        let first = Some(answer.sequence.wrapping_add(1));
        streams.put(From::Callee, Stream { first, ..Stream::default() });
        streams
    }

    fn stream(&self, from: From) -> Stream {
        let ([first, end], known) = match from {
            From::Caller => (self.forth, self.known),
            From::Callee => (self.back, self.known >> BACK),
        };
        let of = |bit, number| (known & bit != 0).then_some(u32::from_ne_bytes(number));
        Stream { first: of(FIRST, first), end: of(END, end), fin: known & FIN != 0 }
    }

    fn put(&mut self, from: From, Stream { first, end, fin }: Stream) {
        let bit = |bit, there| if there { bit } else { 0 };
        let known = bit(FIRST, first.is_some()) | bit(END, end.is_some()) | bit(FIN, fin);
        let (numbers, shift) = match from {
            From::Caller => (&mut self.forth, 0),
            From::Callee => (&mut self.back, BACK),
        };
        *numbers = [first, end].map(|number| number.unwrap_or_default().to_ne_bytes());
        self.known = self.known & !((FIRST | END | FIN) << shift) | known << shift;
    }

    /// It was seen how they began.
    pub(super) fn are_known(&self) -> bool {
        [From::Caller, From::Callee].iter().all(|from| self.stream(*from).first.is_some())
    }

    fn have_timestamps(&self) -> bool {
        self.known & TIMESTAMPED != 0
    }

    /// Notes one that ends the connection, or tries to.
    pub(super) fn seen(&mut self, from: From, segment: &Segment) {
        if self.have_timestamps() && !segment.timestamps {
            let bare = match from {
                From::Caller => &mut self.bare.0,
                From::Callee => &mut self.bare.1,
            };
            *bare = bare.saturating_add(1);
        }
    }

    /// Notes a FIN. True: both sides have sent one.
    pub(super) fn finished(&mut self, from: From, segment: &Segment) -> bool {
        let end = Some(segment.sequence.wrapping_add(segment.payload));
        self.put(from, Stream { end, fin: true, ..self.stream(from) });
        self.stream(from.other()).fin
    }

    /// Notes a RST. It has the number after the last octet of its sender, and perhaps that of what its sender
    /// has received.
    pub(super) fn reset(&mut self, from: From, segment: &Segment) {
        let (own, other) = (self.stream(from), self.stream(from.other()));
        if !own.fin {
            self.put(from, Stream { end: Some(segment.sequence), ..own });
        }
        if !other.fin {
            // After its FIN the number is one more, and the FIN was seen.
            self.put(from.other(), Stream { end: segment.acknowledgement, ..other });
        }
    }

    /// The octets, with what connection tracking has counted if that was asked. It may have forgotten since it was asked
    /// before: then there were `least`.
    pub(super) fn octets(&self, entry: Option<&Entry>, least: (u64, u64)) -> (u64, u64) {
        let of = |stream: Stream, counted: Option<(u64, u64)>, bare: u8, least: u64| {
            let about = counted.map_or(0, |counted| self.payload(counted, bare)).max(least);
            match (stream.first, stream.end) {
                (Some(first), Some(end)) => {
                    let exact = nearest(end.wrapping_sub(first), about);
                    // No more passes than was counted: the numbers of that RST were none of this connection.
                    let made_up = !stream.fin && counted.is_some() && exact > about.saturating_add(DOUBT);
                    if made_up { about } else { exact }
                }
                _ => about,
            }
        };
        (
            of(self.stream(From::Caller), entry.map(|e| e.forth), self.bare.0, least.0),
            of(self.stream(From::Callee), entry.map(|e| e.back), self.bare.1, least.1),
        )
    }

    /// Octets of payload in so many packets with so many octets, so many of which are without timestamps.
    fn payload(&self, (packets, octets): (u64, u64), without: u8) -> u64 {
        let bare = if self.known & V4 != 0 { HEADERS_V4 } else { HEADERS_V6 };
        let (each, syn) = if self.have_timestamps() {
            (bare + TIMESTAMPS, SYN_WITH_TIMESTAMPS)
        } else {
            (bare, SYN_OPTIONS)
        };
        let headers = packets.saturating_mul(each).saturating_sub(u64::from(without) * TIMESTAMPS);
        octets.saturating_sub(headers).saturating_sub(syn)
    }
}

/// The number that leaves this remainder of 2^32 and is nearest to `about`.
fn nearest(remainder: u32, about: u64) -> u64 {
    let remainder = u64::from(remainder);
    let rounds = about.saturating_sub(remainder).saturating_add(1 << 31) >> 32;
    remainder.saturating_add(rounds << 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_netfilter::{Flow, State};

    fn segment(sequence: u32, acknowledgement: Option<u32>, payload: u32) -> Segment {
        Segment {
            source: "192.0.2.1:1".parse().unwrap(),
            destination: "192.0.2.2:2".parse().unwrap(),
            sequence,
            acknowledgement,
            syn: false,
            fin: false,
            rst: false,
            payload,
            timestamps: true,
        }
    }

    fn entry(forth: (u64, u64), back: (u64, u64)) -> Entry {
        let address = "192.0.2.1:1".parse().unwrap();
        Entry {
            flow: Flow { caller: address, local: address },
            to: address,
            from: address,
            state: State::Established,
            forth,
            back,
        }
    }

    #[test]
    fn sequence_numbers_tell_the_octets_also_where_they_begin_anew() {
        let mut streams = Streams::begun(&segment(u32::MAX - 9, Some(1000), 0));
        assert!(!streams.finished(From::Caller, &segment(1400, Some(0), 100)));
        // The first octet has the number 2^32 - 9.
        assert!(streams.finished(From::Callee, &segment(41, Some(0), 0)));
        assert_eq!(streams.octets(None, (0, 0)), (500, 50));
        let long = entry((0, 0), (10_000_000, (3 << 32) + 10_000_000 * 52 + 4321));
        assert_eq!(streams.octets(Some(&long), (0, 0)).1, (3 << 32) + 50, "three times round");
    }

    #[test]
    fn a_reset_tells_both_directions_if_it_acknowledges() {
        let begun = Streams::begun(&segment(99, Some(1000), 0));
        let mut streams = begun;
        streams.reset(From::Callee, &segment(107, Some(1005), 0));
        assert_eq!(streams.octets(None, (0, 0)), (5, 7));
        let mut streams = begun;
        streams.reset(From::Callee, &segment(107, None, 0));
        let counted = entry((3, 3 * 52 + 8 + 77), (2, 2 * 52 + 8 + 7));
        assert_eq!(streams.octets(Some(&counted), (0, 0)), (77, 7), "the other one is as it was counted");
        let mut streams = begun;
        streams.finished(From::Caller, &segment(1003, Some(0), 0));
        streams.reset(From::Callee, &segment(107, Some(1004), 0));
        assert_eq!(streams.octets(None, (0, 0)), (3, 7), "the FIN is not an octet");
    }

    #[test]
    fn what_is_counted_with_headers_is_counted_without() {
        let streams = Streams::unknown(false);
        let octets = streams.octets(Some(&entry((4, 4 * 72 + 8 + 1000), (0, 0))), (0, 0));
        assert_eq!(octets, (1000, 0));
    }

    #[test]
    fn bare_resets_among_the_packets_take_nothing_from_the_octets() {
        let mut streams = Streams::unknown(true);
        let counted = entry((0, 0), (6, 8 + 4 * 52 + 2 * 40 + 1000));
        assert_eq!(streams.octets(Some(&counted), (0, 0)).1, 1000 - 24, "as if they had timestamps too");
        for _ in 0..2 {
            streams.seen(From::Callee, &Segment { rst: true, timestamps: false, ..segment(1, None, 0) });
        }
        assert_eq!(streams.octets(Some(&counted), (0, 0)).1, 1000);
        streams.seen(From::Callee, &segment(1, None, 0));
        assert_eq!(streams.octets(Some(&counted), (0, 0)).1, 1000);
    }

    #[test]
    fn the_nearest_round_counts() {
        assert_eq!(nearest(5, 0), 5);
        assert_eq!(nearest(5, 1 << 32), (1 << 32) + 5);
        assert_eq!(nearest(u32::MAX, 10), u64::from(u32::MAX));
        assert_eq!(nearest(0, u64::MAX), u64::MAX >> 32 << 32);
    }
}
