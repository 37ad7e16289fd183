//! Packets made by hand, and files of them.

#![allow(dead_code)] // Each test takes what it needs.

use carnet_capture::{Event, Happening, Limits, Network, Packet, Reader};

pub const A: ([u8; 4], u16) = ([192, 0, 2, 1], 40000);
pub const B: ([u8; 4], u16) = ([192, 0, 2, 2], 8000);

fn sum(octets: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv4 packet.
pub fn v4(from: [u8; 4], to: [u8; 4], id: u16, fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x45, 0];
    out.extend((20 + payload.len() as u16).to_be_bytes());
    out.extend(id.to_be_bytes());
    out.extend(fragment.to_be_bytes());
    out.extend([64, protocol, 0, 0]);
    out.extend(from);
    out.extend(to);
    let checksum = sum(&out, 0);
    out[10..12].copy_from_slice(&checksum.to_be_bytes());
    out.extend(payload);
    out
}

/// An IPv6 packet with whatever follows its header.
pub fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x60, 0, 0, 0];
    out.extend((payload.len() as u16).to_be_bytes());
    out.extend([next, 64]);
    for last in [1u8, 2] {
        out.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    out.extend(payload);
    out
}

/// A datagram of UDP without a checksum.
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(from.to_be_bytes());
    out.extend(to.to_be_bytes());
    out.extend((8 + payload.len() as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    out
}

pub const SYN: u8 = 2;
pub const ACK: u8 = 16;
pub const FIN: u8 = 1;
pub const RST: u8 = 4;

/// A segment of TCP in IPv4.
pub fn tcp(
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(from.1.to_be_bytes());
    out.extend(to.1.to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(acknowledged.to_be_bytes());
    out.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(payload);
    let mut pseudo = 6 + out.len() as u32;
    for pair in from.0.chunks(2).chain(to.0.chunks(2)) {
        pseudo += u32::from(pair[0]) << 8 | u32::from(pair[1]);
    }
    let checksum = sum(&out, pseudo);
    out[16..18].copy_from_slice(&checksum.to_be_bytes());
    v4(from.0, to.0, sequence as u16, 0x4000, 6, &out)
}

/// Behind Ethernet.
pub fn ethernet(tags: &[u16], ip: &[u8]) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        out.extend([0x81, 0]);
        out.extend(tag.to_be_bytes());
    }
    out.extend(if ip[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    out.extend(ip);
    out
}

/// A file of pcap: packets a millisecond apart.
pub fn pcap(big: bool, link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let number = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let short = |n: u16| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut out = Vec::new();
    out.extend(number(0xa1b2_c3d4));
    out.extend([short(2), short(4)].concat());
    out.extend([number(0), number(0), number(262_144), number(link)].concat());
    for (at, packet) in packets.iter().enumerate() {
        out.extend(
            [number(1_795_770_000 + at as u32 / 1000), number(at as u32 % 1000 * 1000 + 123)].concat(),
        );
        out.extend([number(packet.len() as u32), number(packet.len() as u32)].concat());
        out.extend(packet);
    }
    out
}

/// All packets of a file that is pushed in parts of this size.
pub fn packets(file: &[u8], part: usize) -> Result<Vec<Packet>, carnet_capture::Error> {
    let (mut reader, mut out) = (Reader::new(), Vec::new());
    for part in file.chunks(part) {
        reader.push(part);
        while let Some(packet) = reader.next()? {
            out.push(packet);
        }
    }
    reader.finish()?;
    Ok(out)
}

/// What happens in these packets.
pub fn events(packets: &[Packet], limits: Limits) -> (Vec<Event>, Network) {
    let (mut network, mut out) = (Network::new(limits), Vec::new());
    for packet in packets {
        network.handle_packet(packet);
        while let Some(event) = network.poll_event() {
            out.push(event);
        }
    }
    network.finish();
    while let Some(event) = network.poll_event() {
        out.push(event);
    }
    (out, network)
}

/// What happens in these packets of Ethernet.
pub fn watched(list: &[Vec<u8>]) -> Vec<Event> {
    events(&packets(&pcap(false, 1, list), 4096).unwrap(), Limits::default()).0
}

/// The octets that one side of the only connection sent, with `#` a lost octet.
pub fn stream(events: &[Event], from: u16) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        let Event::Segment(segment) = event else { continue };
        if segment.from.port() != from {
            continue;
        }
        match &segment.what {
            Happening::Data(octets) => out.extend_from_slice(octets),
            Happening::Lost(count) => out.extend(std::iter::repeat_n(b'#', *count as usize)),
            _ => {}
        }
    }
    out
}
