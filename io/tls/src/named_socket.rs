//! TLS between a named server and a client that need not show a certificate, on a connection that does not
//! block: relays (RFC 4976 §9.2).

use crate::socket::Records;
use crate::{CertificateContext, Error, Peer, Report, Side};
use std::io::{self, Read, Write};

/// One end of an association. Drive [`handshake`](Self::handshake) to its end, then read and write.
pub struct NamedSocket<S> {
    records: Records<S>,
}

impl CertificateContext {
    /// One end on a connection that does not block, which demands this of its peer.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a server without a credential, and for [`Peer::Fingerprints`] or a client
    /// that reaches anyone.
    pub fn named_socket<S: Read + Write>(
        &self,
        stream: S,
        side: Side,
        peer: &Peer,
    ) -> Result<NamedSocket<S>, Error> {
        Ok(NamedSocket { records: Records::new(self.prepared(side, peer)?, stream, side)? })
    }
}

impl<S: Read + Write> NamedSocket<S> {
    /// Goes on with the handshake as far as the connection lets it; `None`: again when it is ready. What it
    /// agreed on, when it is done.
    ///
    /// # Errors
    /// As the handshake goes; the alert that says so has been written.
    pub fn handshake(&mut self) -> Result<Option<Report>, Error> {
        match self.records.shake()? {
            true => {
                Report::of(self.records.ssl(), self.records.side()).ok_or(Error::NoCommonVersion).map(Some)
            }
            false => Ok(None),
        }
    }

    /// Reads at most one record. 0 after the peer's `close_notify` only.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing; [`io::ErrorKind::UnexpectedEof`] when the
    /// connection was cut; otherwise what TLS or the connection says.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.records.read(out)
    }

    /// Writes at most one record, of up to 16 KiB, and says how many octets it took.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the connection is full: what is written next must begin with the
    /// same octets and be no shorter.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.records.write(octets)
    }

    /// Says `close_notify`, if the connection takes it.
    pub fn close(&mut self) {
        self.records.close();
    }

    /// The connection below.
    pub fn get_ref(&self) -> &S {
        self.records.get_ref()
    }

    /// The connection below. What it reads and writes belongs to TLS.
    pub fn get_mut(&mut self) -> &mut S {
        self.records.get_mut()
    }
}
