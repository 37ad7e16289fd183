//! Memory between TLS and a socket.

use std::io::{self, Read, Write};
use std::mem;

/// What has come and was not used yet, and what has been made and was not sent yet.
///
/// Both can lie in buffers that a loop lends for a turn ([`take`](Self::take), [`lend`](Self::lend)) and gets
/// back with whatever is left moved to memory of its own ([`keep`](Self::keep), [`settle`](Self::settle)):
/// an association that does nothing holds none.
#[derive(Debug, Default)]
pub struct Wire {
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
}

/// What has come: the octets from `from` to `to`.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    lent: bool,
}

/// What is to leave: the octets from `sent` to `made`. The buffer is initialised to its end.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    buffer: Vec<u8>,
    sent: usize,
    made: usize,
    lent: bool,
}

impl Wire {
    /// Octets that have come and were not used yet.
    pub fn unused(&self) -> usize {
        self.incoming.octets().len()
    }

    /// Octets that wait for the socket.
    pub fn unsent(&self) -> &[u8] {
        self.outgoing.octets()
    }

    /// The socket took so many of [them](Self::unsent).
    pub fn note_sent(&mut self, octets: usize) {
        let out = &mut self.outgoing;
        out.sent = out.made.min(out.sent.saturating_add(octets));
        if out.sent == out.made {
            (out.sent, out.made) = (0, 0);
        }
    }

    /// Lends a buffer and has it filled behind what is unused: `fill` says how many octets it wrote. Room is
    /// as much as the buffer has beyond what is unused.
    ///
    /// # Errors
    /// What `fill` says.
    pub fn take<E>(
        &mut self,
        buffer: &mut Vec<u8>,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let Incoming { buffer: ours, from, to, lent } = &mut self.incoming;
        let left = to.saturating_sub(*from);
        if *lent {
            ours.copy_within(*from..*to, 0);
            (*from, *to) = (0, left);
        } else if let (Some(room), Some(here)) = (buffer.get_mut(..left), ours.get(*from..*to)) {
            room.copy_from_slice(here);
            *ours = mem::take(buffer);
            (*from, *to, *lent) = (0, left, true);
        }
        let octets = fill(ours.get_mut(*to..).unwrap_or_default())?;
        *to = ours.len().min(*to + octets);
        Ok(octets)
    }

    /// Gives a [lent](Self::take) buffer back; what is left in it moves to one of our own.
    pub fn keep(&mut self, buffer: &mut Vec<u8>) {
        let incoming = &mut self.incoming;
        if mem::take(&mut incoming.lent) {
            let rest = incoming.octets().to_vec();
            *buffer = mem::replace(&mut incoming.buffer, rest);
            (incoming.from, incoming.to) = (0, incoming.buffer.len());
        }
        self.tidy();
    }

    /// Lends a buffer for what is made, unless some waits already.
    pub fn lend(&mut self, buffer: &mut Vec<u8>) {
        if !self.outgoing.lent && self.outgoing.made == 0 {
            self.outgoing.buffer = mem::take(buffer);
            self.outgoing.lent = true;
        }
    }

    /// Gives a [lent](Self::lend) buffer back; what could not leave moves to one of our own.
    pub fn settle(&mut self, buffer: &mut Vec<u8>) {
        let out = &mut self.outgoing;
        if mem::take(&mut out.lent) {
            let rest = out.octets().to_vec();
            *buffer = mem::replace(&mut out.buffer, rest);
            (out.sent, out.made) = (0, out.buffer.len());
        }
        self.tidy();
    }

    /// Gives back memory of its own that nothing lies in.
    pub fn tidy(&mut self) {
        if !self.outgoing.lent && self.outgoing.made == 0 {
            self.outgoing.buffer = Vec::new();
        }
        if !self.incoming.lent && self.incoming.octets().is_empty() {
            self.incoming = Incoming::default();
        }
    }
}

impl Incoming {
    pub(super) fn octets(&self) -> &[u8] {
        self.buffer.get(self.from..self.to).unwrap_or_default()
    }

    /// To be worked on in their place.
    pub(super) fn octets_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.from..self.to).unwrap_or_default()
    }

    /// So many octets from the front were used.
    pub(super) fn discard(&mut self, octets: usize) {
        self.from = self.to.min(self.from.saturating_add(octets));
    }
}

impl Outgoing {
    pub(super) fn octets(&self) -> &[u8] {
        self.buffer.get(self.sent..self.made).unwrap_or_default()
    }

    /// Room for at least `octets` behind what was made; [`note_made`](Self::note_made) says what it got.
    pub(super) fn room(&mut self, octets: usize) -> &mut [u8] {
        let needed = self.made.saturating_add(octets);
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        self.buffer.get_mut(self.made..).unwrap_or_default()
    }

    /// The library answers two failures with alerts that the specifications do not name. Both come while
    /// alerts are sent in the open.
    pub(super) fn correct_alert(&mut self, error: &rustls::Error) {
        use rustls::{Error, PeerIncompatible};
        let right = match error {
            // RFC 5246 §7.4.6: handshake_failure; in TLS 1.3 the alert is sealed, and right.
            Error::NoCertificatesPresented => 40,
            // Who is older than TLS 1.2 does not speak of signatures: protocol_version.
            Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) => 70,
            _ => return,
        };
        let alert = self.buffer.get_mut(self.sent..self.made).and_then(<[u8]>::last_chunk_mut::<7>);
        if let Some([21, 3, _, 0, 2, 2, number]) = alert {
            *number = right;
        }
    }

    /// So many octets were written to the [room](Self::room).
    pub(super) fn note_made(&mut self, octets: usize) {
        self.made = self.buffer.len().min(self.made.saturating_add(octets));
    }
}

/// For the library that reads by itself.
impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let here = self.incoming.octets();
        if here.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let octets = here.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..octets), here.get(..octets)) {
            to.copy_from_slice(from);
        }
        self.incoming.discard(octets);
        Ok(octets)
    }
}

/// Memory takes everything.
impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if let Some(room) = self.outgoing.room(octets.len()).get_mut(..octets.len()) {
            room.copy_from_slice(octets);
        }
        self.outgoing.note_made(octets.len());
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn bring(wire: &mut Wire, buffer: &mut Vec<u8>, octets: &[u8]) {
        let filled: Result<usize, Infallible> = wire.take(buffer, |room| {
            room[..octets.len()].copy_from_slice(octets);
            Ok(octets.len())
        });
        assert_eq!(filled, Ok(octets.len()));
    }

    #[test]
    fn what_is_left_stays_in_order_and_the_buffer_goes_back_whole() {
        let (mut wire, mut buffer) = (Wire::default(), vec![0; 16]);
        bring(&mut wire, &mut buffer, b"abcdef");
        wire.incoming.discard(4);
        bring(&mut wire, &mut buffer, b"gh");
        assert_eq!(wire.incoming.octets(), b"efgh");
        wire.keep(&mut buffer);
        assert_eq!((buffer.len(), wire.incoming.buffer.capacity()), (16, 4));
        bring(&mut wire, &mut buffer, b"ij");
        assert_eq!(wire.incoming.octets(), b"efghij");
        wire.incoming.discard(6);
        wire.keep(&mut buffer);
        assert_eq!((buffer.len(), wire.incoming.buffer.capacity()), (16, 0));
    }

    #[test]
    fn what_could_not_leave_waits_in_memory_of_its_own() {
        let (mut wire, mut buffer) = (Wire::default(), vec![0; 16]);
        wire.lend(&mut buffer);
        wire.write_all(b"0123456789abcdefghij").unwrap();
        wire.note_sent(15);
        wire.settle(&mut buffer);
        assert_eq!((wire.unsent(), wire.outgoing.buffer.capacity()), (&b"fghij"[..], 5));
        assert!(buffer.len() >= 16);
        // What follows comes behind it.
        wire.lend(&mut buffer);
        wire.write_all(b"k").unwrap();
        wire.settle(&mut buffer);
        assert_eq!(wire.unsent(), b"fghijk");
        wire.note_sent(6);
        wire.settle(&mut buffer);
        assert_eq!((wire.unsent(), wire.outgoing.buffer.capacity()), (&b""[..], 0));
    }
}
