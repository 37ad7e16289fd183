//! One end of an association in rustls, whose records lie in a [`Wire`].
//!
//! Records are opened where they lie, and nothing is kept here between two turns but what a full reader
//! left of the last of them.

use super::wire::{Outgoing, Wire};
use crate::{Error, Fingerprint, Report, Side, Version};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, ProtocolVersion};

/// Room that is made for a record at first; the library says if it needs more.
const RECORD: usize = 512;
/// What a record adds to its octets at most, and how many octets one holds at most (RFC 8446 §5.2, RFC 5246
/// §6.2.3: header, explicit nonce, tag, type).
const AROUND: usize = 5 + 8 + 16 + 1;
const FRAGMENT: usize = 1 << 14;
/// Octets of the first handshake message up to the end of its random (RFC 8446 §4.1.2).
const HELLO: usize = 4 + 2 + 32;

/// The library must not be given anything more.
const FAILED: Error = Error::Misuse("the association has failed");

/// Either end. Both are large, and there is one in the heap for each association anyhow.
pub(super) enum Engine {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// One end of an association.
pub(crate) struct Records {
    engine: Engine,
    pub(crate) wire: Wire,
    /// Opened, but not read yet.
    opened: Vec<u8>,
    read: usize,
    /// `ClientHello.random`, as soon as it has passed.
    client_random: Option<[u8; 32]>,
    /// Something has been said.
    pub(super) spoke: bool,
    /// The peer has said `close_notify`.
    ended: bool,
    /// What went wrong behind what was opened.
    failed: Option<Error>,
    /// The library has failed.
    broken: bool,
}

/// What the library came to.
enum Turn {
    Again,
    /// The peer has to say something.
    Blocked,
    /// The association stands.
    Stands,
    Ended,
}

/// Where what is opened goes: to the reader while it fits, and behind that.
struct Place<'a> {
    out: &'a mut [u8],
    filled: usize,
    behind: &'a mut Vec<u8>,
}

impl Place<'_> {
    fn put(&mut self, octets: &[u8]) {
        let room = self.out.get_mut(self.filled..).unwrap_or_default();
        let fits = if self.behind.is_empty() { room.len().min(octets.len()) } else { 0 };
        let (now, later) = octets.split_at_checked(fits).unwrap_or_default();
        if let Some(room) = room.get_mut(..now.len()) {
            room.copy_from_slice(now);
        }
        self.filled += now.len();
        self.behind.extend_from_slice(later);
    }
}

impl Records {
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            wire: Wire::default(),
            opened: Vec::new(),
            read: 0,
            client_random: None,
            spoke: false,
            ended: false,
            failed: None,
            broken: false,
        }
    }

    pub(crate) fn side(&self) -> Side {
        match self.engine {
            Engine::Client(_) => Side::Client,
            Engine::Server(_) => Side::Server,
        }
    }

    fn common(&self) -> &CommonState {
        match &self.engine {
            Engine::Client(client) => client,
            Engine::Server(server) => server,
        }
    }

    /// The peer's certificate in DER form, once it was seen and judged good.
    pub(crate) fn shown(&self) -> Option<&[u8]> {
        self.common().peer_certificates()?.first().map(|shown| &**shown)
    }

    /// Goes on with the handshake as far as what has come lets it: whether it is done.
    pub(crate) fn shake(&mut self) -> Result<bool, Error> {
        loop {
            if self.client_random.is_none() && self.side() == Side::Server {
                self.client_random = hello_random(self.wire.incoming.octets());
            }
            match self.turn(&mut [], None).1? {
                Turn::Again => {}
                Turn::Blocked => return Ok(false),
                Turn::Stands => return Ok(true),
                Turn::Ended => return Err(Error::PeerClosed),
            }
            if self.client_random.is_none() && self.side() == Side::Client {
                self.client_random = hello_random(self.wire.unsent());
            }
        }
    }

    pub(crate) fn report(&self) -> Option<Report> {
        let common = self.common();
        let version = match common.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Version::Tls12,
            ProtocolVersion::TLSv1_3 => Version::Tls13,
            _ => return None,
        };
        let suite = common.negotiated_cipher_suite()?.suite();
        Some(Report {
            side: self.side(),
            version,
            // The library calls them TLS13_AES_128_GCM_SHA256 to tell them from those of TLS 1.2.
            cipher: suite.as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1),
            client_random: self.client_random.unwrap_or_default(),
            identity: None,
            bound_identity: None,
            peer_fingerprint: self.shown().map(Fingerprint::of_der),
        })
    }

    /// Opens whatever has come and says how many octets went to `out`; 0 with `true` at the end.
    pub(crate) fn open(&mut self, out: &mut [u8]) -> Result<(usize, bool), Error> {
        let mut filled = self.take_opened(out);
        while self.opened.is_empty() && self.failed.is_none() && filled < out.len() && self.wire.unused() > 0
        {
            let (octets, turn) = self.turn(out.get_mut(filled..).unwrap_or_default(), None);
            filled += octets;
            match turn {
                Ok(Turn::Again | Turn::Ended) => {}
                Ok(Turn::Blocked | Turn::Stands) => break,
                Err(error) => self.failed = Some(error),
            }
        }
        if filled > 0 {
            return Ok((filled, false));
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None if self.broken => Err(FAILED),
            None => Ok((0, self.ended)),
        }
    }

    fn take_opened(&mut self, out: &mut [u8]) -> usize {
        let here = self.opened.get(self.read..).unwrap_or_default();
        let octets = here.len().min(out.len());
        if let (Some(out), Some(here)) = (out.get_mut(..octets), here.get(..octets)) {
            out.copy_from_slice(here);
        }
        self.read += octets;
        if self.read == self.opened.len() {
            (self.opened, self.read) = (Vec::new(), 0);
        }
        octets
    }

    /// Seals all of it.
    pub(crate) fn seal(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.write(Words::Octets(octets))
    }

    /// Says `close_notify`, if there is an association to be closed.
    pub(crate) fn close(&mut self) {
        // It may have gone already, or there is nobody to say it to.
        let _ = self.write(Words::Close);
    }

    fn write(&mut self, words: Words<'_>) -> Result<(), Error> {
        loop {
            match self.turn(&mut [], Some(words)).1? {
                Turn::Stands => return Ok(()),
                Turn::Again | Turn::Ended => {}
                Turn::Blocked => return Err(Error::Misuse("the association does not stand")),
            }
        }
    }

    /// One step of the library: what it opened into `out`, and what it came to. `words` are said when it can.
    fn turn(&mut self, out: &mut [u8], words: Option<Words<'_>>) -> (usize, Result<Turn, Error>) {
        if self.broken {
            return (0, Err(FAILED));
        }
        let Self { engine, wire: Wire { incoming, outgoing }, opened, .. } = self;
        let mut place = Place { out, filled: 0, behind: opened };
        let here = incoming.octets_mut();
        let (discard, turn) = match engine {
            Engine::Client(client) => after(client.process_tls_records(here), outgoing, &mut place, words),
            Engine::Server(server) => after(server.process_tls_records(here), outgoing, &mut place, words),
        };
        let filled = place.filled;
        incoming.discard(discard);
        self.spoke |= !self.wire.unsent().is_empty();
        match turn {
            Ok(turn) => {
                self.ended |= matches!(turn, Turn::Ended);
                (filled, Ok(turn))
            }
            Err(error) => {
                self.broken = true;
                self.say_why();
                self.wire.outgoing.correct_alert(&error);
                (filled, Err(Error::of_rustls(error)))
            }
        }
    }

    /// The alerts about a failure.
    fn say_why(&mut self) {
        while self.common().wants_write() {
            // Nothing is read while something is to be said.
            let mut nowhere = Place { out: &mut [], filled: 0, behind: &mut Vec::new() };
            let outcome = match &mut self.engine {
                Engine::Client(client) => {
                    after(client.process_tls_records(&mut []), &mut self.wire.outgoing, &mut nowhere, None).1
                }
                Engine::Server(server) => {
                    after(server.process_tls_records(&mut []), &mut self.wire.outgoing, &mut nowhere, None).1
                }
            };
            if outcome.is_err() {
                return;
            }
        }
    }
}

/// What is to be said.
#[derive(Clone, Copy)]
enum Words<'a> {
    Octets(&'a [u8]),
    Close,
}

/// Does what the library asks for: how much of what has come is used, and what comes next.
fn after<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Outgoing,
    place: &mut Place<'_>,
    words: Option<Words<'_>>,
) -> (usize, Result<Turn, rustls::Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let turn = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Turn::Again),
                Some(Err(error)) => break Err(error),
                Some(Ok(record)) => {
                    discard += record.discard;
                    place.put(record.payload);
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut message)) => {
            let mut room = RECORD;
            loop {
                match message.encode(outgoing.room(room)) {
                    Ok(octets) => {
                        outgoing.note_made(octets);
                        break Ok(Turn::Again);
                    }
                    Err(EncodeError::InsufficientSize(size)) if size.required_size > room => {
                        room = size.required_size;
                    }
                    Err(_) => break Err(rustls::Error::EncryptError),
                }
            }
        }
        Ok(ConnectionState::TransmitTlsData(message)) => {
            message.done();
            Ok(Turn::Again)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let mut room = match words {
                None => 0,
                Some(Words::Close) => RECORD,
                Some(Words::Octets(octets)) => octets.len() + (octets.len() / FRAGMENT + 1) * AROUND,
            };
            loop {
                let said = match words {
                    None => Ok(0),
                    Some(Words::Octets(octets)) => traffic.encrypt(octets, outgoing.room(room)),
                    Some(Words::Close) => traffic.queue_close_notify(outgoing.room(room)),
                };
                match said {
                    Ok(octets) => {
                        outgoing.note_made(octets);
                        break Ok(Turn::Stands);
                    }
                    Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                        room = size.required_size;
                    }
                    Err(_) => break Err(rustls::Error::EncryptError),
                }
            }
        }
        Ok(ConnectionState::PeerClosed) => Ok(Turn::Ended),
        Ok(ConnectionState::Closed) => Ok(Turn::Stands),
        Ok(ConnectionState::BlockedHandshake) => Ok(Turn::Blocked),
        // Early data is not accepted.
        Ok(_) => Err(rustls::Error::HandshakeNotComplete),
    };
    (discard, turn)
}

/// `ClientHello.random` in the first octets that a client sends; `None` before it is there.
fn hello_random(mut records: &[u8]) -> Option<[u8; 32]> {
    let mut hello = Vec::with_capacity(HELLO);
    while hello.len() < HELLO {
        let (header, rest) = records.split_first_chunk::<5>()?;
        let [22, _, _, high, low] = *header else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let here = rest.get(..length.min(rest.len()))?;
        hello.extend_from_slice(here.get(..here.len().min(HELLO - hello.len()))?);
        records = rest.get(length..).unwrap_or_default();
    }
    hello.get(HELLO - 32..)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_random_is_found_however_it_was_cut() {
        let mut hello = vec![1, 0, 0, 200, 3, 3];
        hello.extend(1..=32);
        hello.extend([0; 166]);
        for cut in [1, 5, 37, 38, 39, 100] {
            let mut records = Vec::new();
            for piece in hello.chunks(cut) {
                records.extend([22, 3, 1, 0, u8::try_from(piece.len()).unwrap()]);
                records.extend(piece);
            }
            let random = hello_random(&records).unwrap();
            assert!(random.iter().copied().eq(1..=32), "{cut}");
            for length in 0..43 {
                assert_eq!(hello_random(&records[..length]), None);
            }
        }
        assert_eq!(hello_random(b"INVITE sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/TCP"), None);
    }
}
