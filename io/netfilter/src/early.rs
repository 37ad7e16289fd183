//! Callers who come before it is decided where they lead ([`crate::Change::Keep`]).
//!
//! The kernel copies the beginning of such a connection to us, whole, and drops it: for TCP it was lost on the way, and
//! comes again after a second (RFC 9293 §3.8.1, RFC 6298 §2). As soon as it is decided we put it back instead, as if it had just
//! come: connection tracking begins with it, a translation leads it on; if there is none it comes to whoever listens here.
//!
//! Leaves out: what else may come before a connection stands. A caller who goes on without an answer sends the same again.

use std::io;
use std::net::SocketAddr;

use rustix::fd::{AsFd, BorrowedFd};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::log::tcp_of;
use crate::provoke::checksum;
use crate::{Error, Flow, Log, Segment};

/// Octets of the longest beginning of a connection that is kept: more than any Ethernet carries in one packet.
pub(crate) const LONGEST: u32 = 2048;
/// Copies that [`EarlyLog::read`] hands over at once.
const AT_ONCE: usize = 256;
/// `IPPROTO_RAW`: the IP header is ours, in both IP versions.
const WITH_HEADER: i32 = 255;

/// A socket that beginnings of connections are copied to.
#[derive(Debug)]
pub struct EarlyLog(Log);

impl EarlyLog {
    /// Takes a group that nobody has.
    ///
    /// # Errors
    ///
    /// As [`Log::open`].
    pub fn open() -> Result<Self, Error> {
        // Each is handed over at once: somebody waits for it.
        Log::open_for(LONGEST, 1).map(Self)
    }

    /// The group, for [`crate::TableConfig`].
    #[must_use]
    pub fn group(&self) -> u16 {
        self.0.group()
    }

    /// Hands over what has come, without waiting, and not all if it is very much. `true`: some were lost since the last time,
    /// because nobody read.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub fn read(&mut self, take: &mut dyn FnMut(Early)) -> Result<bool, Error> {
        self.0.packets(AT_ONCE, &mut |packet| {
            if let Some(early) = Early::read(packet) {
                take(early);
            }
        })
    }
}

impl AsFd for EarlyLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The beginning of a connection: a SYN (RFC 9293 §3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Early {
    /// Who calls whom.
    pub flow: Flow,
    packet: Box<[u8]>,
}

impl Early {
    /// That in an IP packet. `None`: it is something else, or not all of it is there.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let segment = Segment::read(packet)?;
        if !segment.syn || segment.acknowledgement.is_some() || segment.fin || segment.rst {
            return None;
        }
        let flow = Flow { caller: segment.source, local: segment.destination };
        let places = tcp_of(packet)?;
        let (at, end) = (places.tcp, places.tcp.checked_add(places.length)?);
        let mut packet: Box<[u8]> = packet.get(..end)?.into();
        one_less(&mut packet);
        // What was copied may have been on its way between hosts of one machine, where nobody writes checksums.
        if let Some(place) = packet.get_mut(at + 16..at + 18) {
            place.fill(0);
        }
        let places = tcp_of(&packet)?;
        let length = u16::try_from(places.length).ok()?.to_be_bytes();
        let pseudo = [places.source, places.destination, &[0, 6], &length].concat();
        let sum = checksum(&[pseudo.as_slice(), packet.get(at..)?].concat());
        packet.get_mut(at + 16..at + 18)?.copy_from_slice(&sum.to_be_bytes());
        Some(Self { flow, packet })
    }
}

/// Of the hops that it may still go (RFC 791 §3.1, RFC 8200 §3), as on any router: nothing goes round for ever.
fn one_less(packet: &mut [u8]) {
    let at = if packet.first().is_some_and(|first| first >> 4 == 4) { 8 } else { 7 };
    if let Some(hops) = packet.get_mut(at) {
        // Who is meant to hear it here hears it.
        *hops = hops.saturating_sub(1).max(1);
    }
}

/// Where packets are put back.
#[derive(Debug)]
pub struct PutBack {
    v4: Socket,
    /// Where the kernel has IPv6.
    v6: Option<Socket>,
}

impl PutBack {
    /// Two raw sockets, one for each IP version.
    ///
    /// # Errors
    ///
    /// The process may not (`CAP_NET_RAW`).
    pub fn open() -> Result<Self, Error> {
        let raw = |domain| {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(WITH_HEADER)))?;
            socket.set_nonblocking(true)?;
            io::Result::Ok(socket)
        };
        let v4 = raw(Domain::IPV4).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::NotPermitted("a raw socket: CAP_NET_RAW is missing"),
            _ => error.into(),
        })?;
        Ok(Self { v4, v6: raw(Domain::IPV6).ok() })
    }

    /// Puts one back. The IP header's checksum is the kernel's work.
    ///
    /// # Errors
    ///
    /// There is no way to our own address any more, or the queue is full: then the caller has to begin again.
    pub fn send(&self, early: &Early) -> Result<(), Error> {
        // A raw socket has no ports: IPv6 insists on that.
        let to = SockAddr::from(SocketAddr::new(early.flow.local.ip(), 0));
        let socket = if early.flow.local.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
        socket.ok_or(Error::Missing("IPv6"))?.send_to(&early.packet, &to)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN with two octets of payload over IPv4, and over IPv6 with options.
    fn packets() -> [Vec<u8>; 2] {
        let tcp = [
            &[0x1f, 0x90, 0x00, 0x50, 0, 0, 0, 7, 0, 0, 0, 0, 0x60, 0x02, 1, 0, 0xab, 0xcd, 0, 0][..],
            &[2, 4, 5, 0xb4, b'h', b'i'],
        ]
        .concat();
        let v4 = [&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], &tcp[..]].concat();
        let mut v6 = vec![0x60, 0, 0, 0, 0, 34, 0, 64];
        v6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        v6.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        v6.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        v6.extend(&tcp);
        [v4, v6]
    }

    #[test]
    fn a_beginning_is_kept_whole_with_a_right_checksum_and_a_hop_less() {
        for (packet, hops) in packets().into_iter().zip([8, 7]) {
            // An Ethernet frame is padded.
            let early = Early::read(&[&packet[..], &[0; 6]].concat()).unwrap();
            assert_eq!((early.flow.caller.port(), early.flow.local.port()), (8080, 80));
            assert_eq!(early.packet.len(), packet.len());
            assert_eq!(early.packet[hops], packet[hops] - 1);
            let places = tcp_of(&early.packet).unwrap();
            let length = u16::try_from(places.length).unwrap().to_be_bytes();
            let pseudo = [places.source, places.destination, &[0, 6], &length].concat();
            assert_eq!(checksum(&[pseudo.as_slice(), &early.packet[places.tcp..]].concat()), 0);
        }
    }

    #[test]
    fn the_last_hop_is_this_one() {
        let [mut packet, _] = packets();
        packet[8] = 1;
        assert_eq!(Early::read(&packet).unwrap().packet[8], 1);
    }

    #[test]
    fn what_begins_nothing_or_is_cut_is_not_kept() {
        for packet in packets() {
            for length in 0..packet.len() {
                assert_eq!(Early::read(&packet[..length]), None, "{length} octets");
            }
            let flags = packet.len() - 26 + 13;
            for other in [0x10, 0x12, 0x04, 0x06, 0x03, 0] {
                let mut packet = packet.clone();
                packet[flags] = other;
                assert_eq!(Early::read(&packet), None, "flags {other:#x}");
            }
        }
    }

    #[test]
    fn nothing_that_is_garbled_panics() {
        let mut seed = 1_u32;
        for _ in 0..100_000 {
            let mut packet = packets()[(seed >> 9) as usize % 2].clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % packet.len();
                packet[at] = (seed >> 24) as u8;
            }
            let _ = Early::read(&packet);
        }
    }
}
