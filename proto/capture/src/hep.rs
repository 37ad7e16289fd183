//! HEPv3, by which messages are told to a Homer ("HEP3 Network Protocol Specification", sipcapture.org): one message is a packet
//! of chunks. Written only; what is left out: compressed payloads, chunks of vendors.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The longest packet: its length has sixteen bits.
pub const LONGEST: usize = u16::MAX as usize;

/// Generic chunks (vendor 0).
mod chunk {
    pub const FAMILY: u16 = 0x0001;
    pub const TRANSPORT: u16 = 0x0002;
    pub const SOURCE_V4: u16 = 0x0003;
    pub const DESTINATION_V4: u16 = 0x0004;
    pub const SOURCE_V6: u16 = 0x0005;
    pub const DESTINATION_V6: u16 = 0x0006;
    pub const SOURCE_PORT: u16 = 0x0007;
    pub const DESTINATION_PORT: u16 = 0x0008;
    pub const SECONDS: u16 = 0x0009;
    pub const MICROSECONDS: u16 = 0x000a;
    pub const PROTOCOL: u16 = 0x000b;
    pub const AGENT: u16 = 0x000c;
    pub const KEY: u16 = 0x000e;
    pub const PAYLOAD: u16 = 0x000f;
    pub const CORRELATION: u16 = 0x0011;
    pub const NODE: u16 = 0x0013;
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payload {
    /// SIP.
    Sip,
    /// H.248, named MEGACO there.
    Control,
    /// The ng protocol; the number that rtpengine sends it under.
    Ng,
}

impl Payload {
    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Sip => 0x01,
            Self::Control => 0x07,
            Self::Ng => 0x3d,
        }
    }
}

/// What carried a message, by its number as IP has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// 6, with TLS or without.
    Tcp,
    /// 17
    Udp,
    /// 132
    Sctp,
}

/// A message, and what is told of it.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// When it went by, since 1970.
    pub at: Duration,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// What carried it.
    pub transport: Transport,
    /// What it is.
    pub payload: Payload,
    /// Tells the one who tells from others.
    pub agent: u32,
    /// The word that the server wants to see.
    pub key: Option<&'a [u8]>,
    /// What messages of the same session have in common: the Call-ID.
    pub correlation: Option<&'a str>,
    /// The node where it went by.
    pub node: Option<&'a str>,
    /// The message.
    pub octets: &'a [u8],
}

impl Packet<'_> {
    /// On the wire; `None` if that is longer than a packet may be.
    pub fn print(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(160 + self.octets.len());
        out.extend_from_slice(b"HEP3\0\0");
        // Linux's numbers of address families, as everybody writes them.
        let (from, to) = alike(self.from.ip(), self.to.ip());
        let (family, source, destination) = match from {
            IpAddr::V4(_) => (2u8, chunk::SOURCE_V4, chunk::DESTINATION_V4),
            IpAddr::V6(_) => (10, chunk::SOURCE_V6, chunk::DESTINATION_V6),
        };
        let transport: u8 = match self.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Sctp => 132,
        };
        let seconds = u32::try_from(self.at.as_secs()).unwrap_or(u32::MAX);
        put(&mut out, chunk::FAMILY, &[family])?;
        put(&mut out, chunk::TRANSPORT, &[transport])?;
        for (kind, ip) in [(source, from), (destination, to)] {
            match ip {
                IpAddr::V4(ip) => put(&mut out, kind, &ip.octets())?,
                IpAddr::V6(ip) => put(&mut out, kind, &ip.octets())?,
            }
        }
        put(&mut out, chunk::SOURCE_PORT, &self.from.port().to_be_bytes())?;
        put(&mut out, chunk::DESTINATION_PORT, &self.to.port().to_be_bytes())?;
        put(&mut out, chunk::SECONDS, &seconds.to_be_bytes())?;
        put(&mut out, chunk::MICROSECONDS, &self.at.subsec_micros().to_be_bytes())?;
        put(&mut out, chunk::PROTOCOL, &[self.payload.number()])?;
        put(&mut out, chunk::AGENT, &self.agent.to_be_bytes())?;
        if let Some(key) = self.key {
            put(&mut out, chunk::KEY, key)?;
        }
        if let Some(correlation) = self.correlation {
            put(&mut out, chunk::CORRELATION, correlation.as_bytes())?;
        }
        if let Some(node) = self.node {
            put(&mut out, chunk::NODE, node.as_bytes())?;
        }
        put(&mut out, chunk::PAYLOAD, self.octets)?;
        let length = u16::try_from(out.len()).ok()?.to_be_bytes();
        out.get_mut(4..6)?.copy_from_slice(&length);
        Some(out)
    }
}

/// One chunk; `None` if it is too long.
fn put(out: &mut Vec<u8>, kind: u16, octets: &[u8]) -> Option<()> {
    let length = u16::try_from(octets.len().checked_add(6)?).ok()?;
    out.extend_from_slice(&0u16.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(octets);
    Some(())
}

/// Two addresses of the same family: where one is of IPv6, so is the other (RFC 4291 §2.5.5.2).
fn alike(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    match (a.to_canonical(), b.to_canonical()) {
        (IpAddr::V4(a), b @ IpAddr::V6(_)) => (a.to_ipv6_mapped().into(), b),
        (a @ IpAddr::V6(_), IpAddr::V4(b)) => (a, b.to_ipv6_mapped().into()),
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(octets: &[u8]) -> Packet<'_> {
        Packet {
            at: Duration::new(1_795_770_943, 123_456_789),
            from: "192.0.2.1:5060".parse().unwrap(),
            to: "192.0.2.2:5062".parse().unwrap(),
            transport: Transport::Udp,
            payload: Payload::Sip,
            agent: 7,
            key: Some(b"word"),
            correlation: Some("x@y"),
            node: Some("border-a"),
            octets,
        }
    }

    /// Vendor, type and content of each chunk.
    fn chunks(packet: &[u8]) -> Vec<(u16, Vec<u8>)> {
        assert_eq!(&packet[..4], b"HEP3");
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        assert_eq!(usize::from(word(4)), packet.len());
        let (mut at, mut out) = (6, Vec::new());
        while at < packet.len() {
            assert_eq!(word(at), 0, "a chunk of a vendor");
            let end = at + usize::from(word(at + 4));
            out.push((word(at + 2), packet[at + 6..end].to_vec()));
            at = end;
        }
        assert_eq!(at, packet.len());
        out
    }

    #[test]
    fn chunks_are_as_the_specification_numbers_them() {
        let told = chunks(&packet(b"OPTIONS").print().unwrap());
        let of = |kind: u16| told.iter().find(|(k, _)| *k == kind).map(|(_, octets)| octets.as_slice());
        for (kind, octets) in [
            (1, &[2][..]),
            (2, &[17]),
            (3, &[192, 0, 2, 1]),
            (4, &[192, 0, 2, 2]),
            (7, &[0x13, 0xc4]),
            (8, &[0x13, 0xc6]),
            (9, &[0x6b, 0x09, 0x4a, 0x3f]),
            (10, &[0x00, 0x01, 0xe2, 0x40]),
            (11, &[1]),
            (12, &[0, 0, 0, 7]),
            (14, b"word"),
            (15, b"OPTIONS"),
            (17, b"x@y"),
            (19, b"border-a"),
        ] {
            assert_eq!(of(kind), Some(octets), "chunk {kind}");
        }
        assert_eq!(told.len(), 14);
    }

    #[test]
    fn families_are_not_mixed() {
        let mixed = Packet { to: "[2001:db8::1]:1".parse().unwrap(), ..packet(b"") };
        let told = chunks(&mixed.print().unwrap());
        assert_eq!(told[0], (1, vec![10]));
        assert!(
            told.iter().any(|(kind, octets)| *kind == 5 && octets.ends_with(&[0xff, 0xff, 192, 0, 2, 1]))
        );
        assert!(told.iter().all(|(kind, _)| ![3, 4].contains(kind)));
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let room = LONGEST - packet(b"").print().unwrap().len();
        assert_eq!(packet(&vec![0; room]).print().unwrap().len(), LONGEST);
        assert!(packet(&vec![0; room + 1]).print().is_none());
        assert!(packet(&vec![0; 1 << 20]).print().is_none());
    }
}
