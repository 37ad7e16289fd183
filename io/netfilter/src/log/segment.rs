//! A TCP segment in an IP packet, of which only the beginning may be there (RFC 791 §3.1, RFC 8200 §3, RFC 9293 §3.1).

use std::net::SocketAddr;

use crate::address::ip;

/// A TCP segment, with the addresses that it leaves us with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number, if there is one.
    pub acknowledgement: Option<u32>,
    /// SYN.
    pub syn: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
    /// Octets of payload.
    pub payload: u32,
    /// It has the timestamps option (RFC 7323 §3): 12 octets in each packet.
    pub timestamps: bool,
}

const TCP: u8 = 6;
/// Headers between IPv6 and TCP that are looked past.
const EXTENSIONS: usize = 8;

/// Where things are in a packet.
pub(crate) struct Places<'a> {
    /// The addresses.
    pub(crate) source: &'a [u8],
    pub(crate) destination: &'a [u8],
    /// Where the TCP header begins.
    pub(crate) tcp: usize,
    /// How long header and payload of TCP are, by what IP says.
    pub(crate) length: usize,
}

/// `None`: it is something else than TCP, or too little of it is there.
pub(crate) fn tcp_of(packet: &[u8]) -> Option<Places<'_>> {
    match packet.first()? >> 4 {
        4 => {
            let tcp = usize::from(packet.first()? & 0xf) * 4;
            if tcp < 20 || *packet.get(9)? != TCP {
                return None;
            }
            let length = usize::from(word(packet, 2)?).checked_sub(tcp)?;
            Some(Places { source: packet.get(12..16)?, destination: packet.get(16..20)?, tcp, length })
        }
        6 => {
            let (mut next, mut at) = (*packet.get(6)?, 40);
            let length = usize::from(word(packet, 4)?);
            for _ in 0..EXTENSIONS {
                match next {
                    // Hop-by-hop options, routing, destination options.
                    0 | 43 | 60 => {
                        next = *packet.get(at)?;
                        at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
                    }
                    _ => break,
                }
            }
            if next != TCP {
                return None;
            }
            let length = length.checked_sub(at - 40)?;
            Some(Places { source: packet.get(8..24)?, destination: packet.get(24..40)?, tcp: at, length })
        }
        _ => None,
    }
}

impl Segment {
    /// `None`: it is something else, or too little of it is there.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let places = tcp_of(packet)?;
        let tcp = packet.get(places.tcp..)?;
        let header = usize::from(tcp.get(12)? >> 4) * 4;
        let flags = *tcp.get(13)?;
        let payload = u32::try_from(places.length.checked_sub(header)?).ok()?;
        let has = |flag| flags & flag != 0;
        Some(Self {
            source: SocketAddr::new(ip(places.source)?, word(tcp, 0)?),
            destination: SocketAddr::new(ip(places.destination)?, word(tcp, 2)?),
            sequence: long(tcp, 4)?,
            acknowledgement: long(tcp, 8).filter(|_| has(0x10)),
            syn: has(0x02),
            fin: has(0x01),
            rst: has(0x04),
            payload,
            timestamps: has_timestamps(tcp.get(20..header).unwrap_or_default()),
        })
    }
}

fn word(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}

fn long(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

fn has_timestamps(mut options: &[u8]) -> bool {
    while let Some((kind, rest)) = options.split_first() {
        match kind {
            0 => return false,
            1 => options = rest,
            8 => return true,
            _ => {
                let length = usize::from(rest.first().copied().unwrap_or(0));
                options = options.get(length.max(2)..).unwrap_or_default();
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    /// FIN and ACK with five octets and timestamps, over IPv4 with an option.
    fn packet() -> Vec<u8> {
        let mut packet =
            vec![0x46, 0, 0, 61, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1];
        packet.extend([0x1f, 0x90, 0x00, 0x50, 0, 0, 0, 7, 0, 0, 1, 0, 0x80, 0x11, 1, 0, 0, 0, 0, 0]);
        packet.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        packet.extend(b"hello");
        packet
    }

    #[test]
    fn a_segment_is_read_as_it_is() {
        let segment = Segment::read(&packet()).unwrap();
        let expected = Segment {
            source: "10.0.0.1:8080".parse().unwrap(),
            destination: "10.0.0.2:80".parse().unwrap(),
            sequence: 7,
            acknowledgement: Some(256),
            syn: false,
            fin: true,
            rst: false,
            payload: 5,
            timestamps: true,
        };
        assert_eq!(segment, expected);
        // Only its headers are copied.
        assert_eq!(Segment::read(&packet()[..56]), Some(expected));
    }

    #[test]
    fn over_ipv6_options_are_looked_past() {
        let mut packet6 = vec![0x60, 0, 0, 0, 0, 45, 0, 64];
        packet6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet6.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        packet6.extend(&packet()[24..]);
        let segment = Segment::read(&packet6).unwrap();
        assert_eq!(segment.source.ip(), "2001:db8::1".parse::<IpAddr>().unwrap());
        assert_eq!((segment.payload, segment.fin, segment.timestamps), (5, true, true));
    }

    #[test]
    fn nothing_that_is_cut_or_garbled_panics() {
        let whole = packet();
        for length in 0..whole.len() {
            let _ = Segment::read(&whole[..length]);
        }
        let mut seed = 1_u32;
        for _ in 0..200_000 {
            let mut garbled = whole.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % garbled.len();
                garbled[at] = (seed >> 24) as u8;
            }
            let _ = Segment::read(&garbled);
        }
    }
}
