//! A TCP connection, sealed or in the open, on a socket that does not block.

use std::io::{self, Read, Write};

use carnet_tls::{PskSocket, Report};
use socket2::Socket;

/// One of the two, and nothing in between: a line that was to be sealed is never used in the open.
pub(super) enum Line {
    Open(Socket),
    Sealed(Box<PskSocket<Socket>>),
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Octets(usize),
    Nothing,
    /// The peer is done, in order.
    End,
    /// The connection is broken, or was cut.
    Broken,
}

/// What a write achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Octets(usize),
    /// The socket is full. What is written next begins with the same octets and is no shorter.
    Full,
    Broken,
}

impl Line {
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Self::Open(socket) => socket,
            Self::Sealed(tls) => tls.get_ref(),
        }
    }

    pub(super) fn is_sealed(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    /// Goes on with the handshake; a line in the open has none.
    pub(super) fn handshake(&mut self) -> Result<Option<Report>, carnet_tls::Error> {
        match self {
            Self::Open(_) => Ok(None),
            Self::Sealed(tls) => tls.handshake(),
        }
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> Taken {
        loop {
            let outcome = match self {
                Self::Open(socket) => socket.read(out),
                Self::Sealed(tls) => tls.read(out),
            };
            return match outcome {
                Ok(0) => Taken::End,
                Ok(octets) => Taken::Octets(octets),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Taken::Nothing,
                Err(_) => Taken::Broken,
            };
        }
    }

    pub(super) fn write(&mut self, octets: &[u8]) -> Given {
        loop {
            let outcome = match self {
                Self::Open(socket) => socket.write(octets),
                Self::Sealed(tls) => tls.write(octets),
            };
            return match outcome {
                Ok(octets) => Given::Octets(octets),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Given::Full,
                Err(_) => Given::Broken,
            };
        }
    }

    /// An orderly end: `close_notify`, where there is TLS, and a FIN after what was written.
    pub(super) fn finish(&mut self) {
        if let Self::Sealed(tls) = self {
            tls.close();
        }
        let _ = self.socket().shutdown(std::net::Shutdown::Write);
    }
}
