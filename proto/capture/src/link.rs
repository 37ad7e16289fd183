//! What stands before IP in a packet, by the numbers of the registry of link types (draft-ietf-opsawg-pcaplinktype).

use crate::fields::{u8_at, u16_at, u32_at};
use bytes::Bytes;

/// The host's loopback, BSD's: four octets in the order of the host that captured.
pub const NULL: u16 = 0;
/// Ethernet.
pub const ETHERNET: u16 = 1;
/// IP and nothing before it.
pub const RAW: u16 = 101;
/// OpenBSD's loopback: four octets.
pub const LOOP: u16 = 108;
/// Linux, all interfaces: "cooked", sixteen octets.
pub const LINUX_SLL: u16 = 113;
/// IPv4 and nothing before it.
pub const IPV4: u16 = 228;
/// IPv6 and nothing before it.
pub const IPV6: u16 = 229;
/// Linux, all interfaces, with the interface's number: twenty octets.
pub const LINUX_SLL2: u16 = 276;

/// Tags and labels that may stand before IP. More is a loop or an attack.
const DEPTH: usize = 8;

/// The IP packet inside; `None` if there is another protocol, or a link type that is not read.
pub fn network(link: u16, octets: &Bytes) -> Option<Bytes> {
    let from = match link {
        // 12 and 14 are what some systems write for "raw".
        RAW | IPV4 | IPV6 | 12 | 14 => 0,
        NULL | LOOP => 4,
        ETHERNET => tagged(octets, 12)?,
        LINUX_SLL => tagged(octets, 14)?,
        LINUX_SLL2 => {
            if u16_at(octets, 0).is_some_and(is_tag) {
                // The tag's own type follows the header.
                tagged(octets, 22)?
            } else {
                ether(u16_at(octets, 0)?, octets, 20, 0)?
            }
        }
        _ => return None,
    };
    let packet = octets.slice(from.min(octets.len())..);
    matches!(packet.first()? >> 4, 4 | 6).then_some(packet)
}

/// Whether packets of this link type can be read.
pub fn is_read(link: u16) -> bool {
    matches!(link, NULL | LOOP | ETHERNET | RAW | 12 | 14 | IPV4 | IPV6 | LINUX_SLL | LINUX_SLL2)
}

/// Where IP begins behind the type at `at`.
fn tagged(octets: &[u8], at: usize) -> Option<usize> {
    ether(u16_at(octets, at)?, octets, at + 2, 0)
}

/// IEEE 802.1Q, 802.1ad and what came before it.
fn is_tag(kind: u16) -> bool {
    matches!(kind, 0x8100 | 0x88a8 | 0x9100)
}

fn ether(kind: u16, octets: &[u8], at: usize, depth: usize) -> Option<usize> {
    if depth == DEPTH {
        return None;
    }
    match kind {
        0x0800 | 0x86dd => Some(at),
        tag if is_tag(tag) => ether(u16_at(octets, at + 2)?, octets, at + 4, depth + 1),
        // MPLS (RFC 3032 §2.1): labels of four octets, the last one marked.
        0x8847 | 0x8848 => {
            let mut at = at;
            for _ in 0..DEPTH {
                let label = u32_at(octets, at)?;
                at += 4;
                if label & 0x100 != 0 {
                    return Some(at);
                }
            }
            None
        }
        // PPPoE (RFC 2516 §4): six octets, then the protocol of PPP, which may leave its first octet out.
        0x8864 => match (u8_at(octets, at + 6)?, u8_at(octets, at + 7)?) {
            (0x00, 0x21 | 0x57) => Some(at + 8),
            (0x21 | 0x57, _) => Some(at + 7),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(link: u16, head: &[u8]) -> Option<usize> {
        let packet = Bytes::from([head, &[0x45, 1, 2, 3]].concat());
        let inner = network(link, &packet)?;
        (inner.len() == 4).then_some(head.len())
    }

    #[test]
    fn ip_is_found_behind_tags() {
        let mac = [2u8; 12];
        for (link, head) in [
            (ETHERNET, [&mac[..], &[8, 0]].concat()),
            (ETHERNET, [&mac[..], &[0x81, 0, 0, 5, 8, 0]].concat()),
            (ETHERNET, [&mac[..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 7, 8, 0]].concat()),
            (ETHERNET, [&mac[..], &[0x88, 0x47, 0, 0, 0x10, 64, 0, 0, 0x21, 64]].concat()),
            (ETHERNET, [&mac[..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 6, 0, 0x21]].concat()),
            (LINUX_SLL, [&[0; 14][..], &[8, 0]].concat()),
            (LINUX_SLL, [&[0; 14][..], &[0x81, 0, 0, 9, 8, 0]].concat()),
            (LINUX_SLL2, [&[8, 0][..], &[0; 18]].concat()),
            (NULL, vec![2, 0, 0, 0]),
            (LOOP, vec![0, 0, 0, 2]),
            (RAW, vec![]),
            (IPV4, vec![]),
        ] {
            assert_eq!(begins(link, &head), Some(head.len()), "{link} {head:02x?}");
        }
    }

    #[test]
    fn what_is_not_ip_is_nothing() {
        assert_eq!(begins(ETHERNET, &[[2; 12].as_slice(), &[8, 6]].concat()), None);
        assert_eq!(begins(147, &[]), None);
        assert_eq!(network(ETHERNET, &Bytes::from_static(&[1, 2, 3])), None);
        let tags: Vec<u8> = [[2u8; 12].as_slice(), &[0x81, 0, 0, 1].repeat(20), &[8, 0]].concat();
        assert_eq!(begins(ETHERNET, &tags), None);
    }
}
