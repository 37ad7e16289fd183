//! TLS with a pre-shared key on a socket that does not block, for loops that poll many sockets.
//!
//! The same contexts, checks and errors as the asynchronous side; nothing here waits. An end of the
//! connection without `close_notify` is an error (RFC 8446 §6.1), as in [`TlsStream`](crate::TlsStream).

use crate::psk::{Exchange, client_error, server_error, used_key};
use crate::{Error, Report, Side};
use openssl::ssl::{ErrorCode, Ssl, SslStream};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// One end of an association. Drive [`handshake`](Self::handshake) to its end, then read and write.
///
/// The key is wiped when the handshake ends, in whichever way.
pub struct PskSocket<S> {
    tls: SslStream<Whole<S>>,
    side: Side,
    exchange: Arc<Exchange>,
    identity: String,
}

impl<S: Read + Write> PskSocket<S> {
    pub(crate) fn new(
        ssl: Ssl,
        stream: S,
        side: Side,
        exchange: Arc<Exchange>,
        identity: String,
    ) -> Result<Self, Error> {
        let tls =
            SslStream::new(ssl, Whole(stream)).map_err(Error::library("putting TLS on a connection"))?;
        Ok(Self { tls, side, exchange, identity })
    }

    /// Goes on with the handshake as far as the socket lets it; `None`: again when the socket is
    /// ready. What it agreed on, when it is done.
    ///
    /// # Errors
    /// As the handshake goes; see [`Error::fault`]. The socket is good for nothing more.
    pub fn handshake(&mut self) -> Result<Option<Report>, Error> {
        let outcome = match self.side {
            Side::Client => self.tls.connect(),
            Side::Server => self.tls.accept(),
        };
        match outcome {
            Ok(()) => {}
            Err(error) if matches!(error.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) => {
                return Ok(None);
            }
            Err(error) => {
                self.exchange.forget();
                let error = Error::from_handshake(error);
                return Err(match self.side {
                    Side::Client => client_error(error, &self.identity),
                    Side::Server => server_error(error, &self.exchange.seen()),
                });
            }
        }
        self.exchange.forget();
        let ssl = self.tls.ssl();
        let mut report = Report::of(ssl, self.side).ok_or(Error::NoCommonVersion)?;
        if !used_key(ssl, &report) {
            return Err(Error::NotPsk);
        }
        match self.side {
            Side::Client => {
                report.identity = Some(self.identity.clone());
                report.bound_identity = Some(self.identity.clone());
            }
            Side::Server => {
                let seen = self.exchange.seen();
                report.bound_identity = Some(seen.bound.ok_or(Error::NotPsk)?);
                report.identity = seen.sent;
            }
        }
        Ok(Some(report))
    }

    /// Reads at most one record. 0 after the peer's `close_notify` only.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing; [`io::ErrorKind::UnexpectedEof`] when the
    /// connection was cut; otherwise what TLS or the socket says.
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
    /// [`io::ErrorKind::WouldBlock`] when the socket is full: what is written next must begin with the
    /// same octets and be no shorter.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if octets.is_empty() {
            return Ok(0);
        }
        self.tls.ssl_write(octets).map_err(plain)
    }

    /// Says `close_notify`, if the socket takes it.
    pub fn close(&mut self) {
        // It may have gone already, and nothing can be done about a full socket.
        let _ = self.tls.shutdown();
    }

    /// The connection below.
    pub fn get_ref(&self) -> &S {
        &self.tls.get_ref().0
    }
}

pub(crate) fn plain(error: openssl::ssl::Error) -> io::Error {
    match error.code() {
        ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => io::ErrorKind::WouldBlock.into(),
        _ => error.into_io_error().unwrap_or_else(io::Error::other),
    }
}

/// The connection below TLS, which asks for octets only while it has not seen `close_notify`: an end
/// here always comes too early.
pub(crate) struct Whole<S>(pub(crate) S);

impl<S: Read> Read for Whole<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out) {
            Ok(0) if !out.is_empty() => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer ended the connection without close_notify",
            )),
            other => other,
        }
    }
}

impl<S: Write> Write for Whole<S> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
