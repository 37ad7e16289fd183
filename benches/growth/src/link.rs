//! One end of a session: plain TCP, or TLS with a pre-shared key as between two subscribers.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use carnet_tls::{Psk, PskContext, PskKey, PskSettings, PskSocket, Side};

use crate::Result;

/// A connection of a caller or a server.
pub enum Link {
    /// Nothing but TCP.
    Plain(TcpStream),
    /// TLS, whose handshake may not be done yet.
    Sealed(Box<PskSocket<TcpStream>>),
}

/// What makes ends of TLS. All sessions have one key: what a key costs is not the subject here.
pub struct Seals(PskContext);

impl Seals {
    /// Prepares them.
    pub fn new() -> Result<Self> {
        Ok(Self(PskContext::new(PskSettings::default())?))
    }

    /// An end of TLS on a connection.
    pub fn link(&self, stream: TcpStream, side: Side) -> Result<Link> {
        let key = PskKey::new("growth", Psk::new(&[0x5c; 32])?)?;
        Ok(Link::Sealed(Box::new(self.0.socket(stream, side, key)?)))
    }
}

impl Link {
    /// Goes on with the handshake, if there is one: whether it is done.
    pub fn shake(&mut self) -> Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Sealed(socket) => Ok(socket.handshake()?.is_some()),
        }
    }

    /// The connection below.
    pub fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Sealed(socket) => socket.get_ref(),
        }
    }

    /// Says that nothing more comes.
    pub fn close(&mut self) {
        if let Self::Sealed(socket) = self {
            socket.close();
        }
        let _ = self.stream().shutdown(std::net::Shutdown::Write);
    }
}

impl Read for Link {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(out),
            Self::Sealed(socket) => socket.read(out),
        }
    }
}

impl Write for Link {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Sealed(socket) => socket.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
