//! The connection of a call: TCP, in TLS with a pre-shared key or not, whose octets are counted below TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use carnet_tls::{Psk, PskContext, PskKey, PskSocket, Side};

use super::talk::Talk;
use crate::Result;
use crate::content::mix;

/// Reads and writes before others have their turn.
const TURN: usize = 16;

/// A stream whose octets are counted.
#[derive(Debug)]
pub struct Counted {
    tcp: TcpStream,
    /// Octets that came.
    pub read: u64,
    /// Octets that the kernel took.
    pub written: u64,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let octets = self.tcp.read(out)?;
        self.read += octets as u64;
        Ok(octets)
    }
}

impl Write for Counted {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let octets = self.tcp.write(octets)?;
        self.written += octets as u64;
        Ok(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One end of a connection.
pub enum Link {
    /// TCP.
    Plain(Counted),
    /// TLS; `true` when the handshake is done.
    Sealed(Box<PskSocket<Counted>>, bool),
}

/// The key of a call and its name follow from what the description says. Both ends know it: how keys are exchanged is not
/// what is measured.
fn psk(key: u64) -> Result<PskKey> {
    let mut octets = [0; 32];
    for (place, number) in octets.chunks_exact_mut(8).zip(0..) {
        place.copy_from_slice(&mix(key ^ mix(number)).to_be_bytes());
    }
    Ok(PskKey::new(format!("{key:016x}"), Psk::new(&octets)?)?)
}

impl Link {
    /// Over a connection that may still be made. `seal`: TLS with the key of this number, from this side.
    ///
    /// # Errors
    ///
    /// If TLS cannot begin.
    pub fn over(tcp: TcpStream, seal: Option<(&PskContext, Side, u64)>) -> Result<Self> {
        let counted = Counted { tcp, read: 0, written: 0 };
        Ok(match seal {
            None => Self::Plain(counted),
            Some((context, side, key)) => {
                Self::Sealed(Box::new(context.socket(counted, side, psk(key)?)?), false)
            }
        })
    }

    /// What was counted.
    #[must_use]
    pub fn counted(&self) -> &Counted {
        match self {
            Self::Plain(counted) => counted,
            Self::Sealed(socket, _) => socket.get_ref(),
        }
    }

    /// The connection below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        &self.counted().tcp
    }

    /// Goes on with the handshake; whether it is done.
    fn shake(&mut self) -> io::Result<bool> {
        let Self::Sealed(socket, done) = self else { return Ok(true) };
        if !*done {
            *done = socket
                .handshake()
                .map_err(|error| io::Error::other(format!("the handshake failed: {error}")))?
                .is_some();
        }
        Ok(*done)
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(counted) => counted.read(out),
            Self::Sealed(socket, _) => socket.read(out),
        }
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(counted) => counted.write(octets),
            Self::Sealed(socket, _) => socket.write(octets),
        }
    }
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It waits for the other side.
    Waits,
    /// There is more to do at once.
    More,
    /// The other side has ended it.
    Ended,
}

/// A connection and what is said over it.
pub struct Media {
    /// The connection.
    pub link: Link,
    /// What is said.
    pub talk: Talk,
    /// Something may be read, or written.
    pub ready: bool,
    pending: Vec<u8>,
    written: usize,
}

impl Media {
    /// Nothing has been said yet.
    #[must_use]
    pub fn new(link: Link, talk: Talk) -> Self {
        Self { link, talk, ready: true, pending: Vec::new(), written: 0 }
    }

    /// What somebody else has read before.
    ///
    /// # Errors
    ///
    /// If it is no MSRP.
    pub fn heard(&mut self, octets: &[u8]) -> io::Result<()> {
        if let Link::Plain(counted) = &mut self.link {
            counted.read += octets.len() as u64;
        }
        self.talk.take(octets, &mut self.pending)
    }

    /// Says something.
    ///
    /// # Errors
    ///
    /// As `what`.
    pub fn say(&mut self, what: impl FnOnce(&mut Talk, &mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        what(&mut self.talk, &mut self.pending)
    }

    /// Whether everything that was said is with the kernel.
    #[must_use]
    pub fn is_said(&self) -> bool {
        self.pending.is_empty()
    }

    /// Goes on as far as the connection lets it.
    ///
    /// # Errors
    ///
    /// If the connection or TLS fails, or what comes is no MSRP.
    pub fn drive(&mut self, buffer: &mut [u8]) -> io::Result<Step> {
        let waits = |error: &io::Error| {
            // The first words of TCP are those of `connect`.
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
        };
        if !self.link.shake()? {
            return Ok(Step::Waits);
        }
        for _ in 0..TURN {
            let mut moved = false;
            if let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
                match self.link.write(rest) {
                    Ok(octets) => {
                        moved = true;
                        self.written += octets;
                    }
                    Err(error) if waits(&error) => {}
                    Err(error) => return Err(error),
                }
                if self.written == self.pending.len() {
                    self.pending.clear();
                    self.written = 0;
                }
            }
            match self.link.read(buffer) {
                Ok(0) => return Ok(Step::Ended),
                Ok(octets) => {
                    moved = true;
                    self.talk.take(buffer.get(..octets).unwrap_or_default(), &mut self.pending)?;
                }
                Err(error) if waits(&error) => {}
                Err(error) => return Err(error),
            }
            if !moved {
                return Ok(Step::Waits);
            }
        }
        Ok(Step::More)
    }
}
