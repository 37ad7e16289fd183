//! TLS between a named server and a client that need not show a certificate, on a connection that does not
//! block: relays (RFC 4976 §9.2).

use crate::socket::{Whole, plain};
use crate::{CertificateContext, Error, Peer, Report, Side};
use openssl::ssl::{ErrorCode, SslStream};
use std::io::{self, Read, Write};

/// One end of an association. Drive [`handshake`](Self::handshake) to its end, then read and write.
pub struct NamedSocket<S> {
    tls: SslStream<Whole<S>>,
    side: Side,
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
        let ssl = self.prepared(side, peer)?;
        let tls =
            SslStream::new(ssl, Whole(stream)).map_err(Error::library("putting TLS on a connection"))?;
        Ok(NamedSocket { tls, side })
    }
}

impl<S: Read + Write> NamedSocket<S> {
    /// Goes on with the handshake as far as the connection lets it; `None`: again when it is ready. What it
    /// agreed on, when it is done.
    ///
    /// # Errors
    /// As the handshake goes; the alert that says so has been written.
    pub fn handshake(&mut self) -> Result<Option<Report>, Error> {
        let outcome = match self.side {
            Side::Client => self.tls.connect(),
            Side::Server => self.tls.accept(),
        };
        match outcome {
            Ok(()) => Report::of(self.tls.ssl(), self.side).ok_or(Error::NoCommonVersion).map(Some),
            Err(error) if matches!(error.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) => Ok(None),
            Err(error) => Err(Error::from_handshake(error)),
        }
    }

    /// Reads at most one record. 0 after the peer's `close_notify` only.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing; [`io::ErrorKind::UnexpectedEof`] when the
    /// connection was cut; otherwise what TLS or the connection says.
    pub fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.tls.ssl_read(out) {
            Ok(octets) => Ok(octets),
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => Ok(0),
            Err(error) => Err(plain(error)),
        }
    }

    /// Writes at most one record, of up to 16 KiB, and says how many octets it took.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the connection is full: what is written next must begin with the
    /// same octets and be no shorter.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if octets.is_empty() {
            return Ok(0);
        }
        self.tls.ssl_write(octets).map_err(plain)
    }

    /// Says `close_notify`, if the connection takes it.
    pub fn close(&mut self) {
        // It may have gone already, and nothing can be done about a full connection.
        let _ = self.tls.shutdown();
    }

    /// The connection below.
    pub fn get_ref(&self) -> &S {
        &self.tls.get_ref().0
    }
}
