//! What all ends of TLS on a connection that does not block have in common, for loops that poll many of them.
//!
//! The same contexts, checks and errors as the asynchronous side; nothing here waits. An end of the
//! connection without `close_notify` is an error (RFC 8446 §6.1), as in [`TlsStream`](crate::TlsStream).

use crate::{Error, Side};
use openssl::ssl::{ErrorCode, Ssl, SslRef, SslStream};
use std::io::{self, Read, Write};

/// TLS on a connection, before it is known who the peer is and after.
pub(crate) struct Records<S> {
    tls: SslStream<Whole<S>>,
    side: Side,
}

impl<S: Read + Write> Records<S> {
    pub(crate) fn new(ssl: Ssl, stream: S, side: Side) -> Result<Self, Error> {
        let tls =
            SslStream::new(ssl, Whole(stream)).map_err(Error::library("putting TLS on a connection"))?;
        Ok(Self { tls, side })
    }

    /// Goes on with the handshake as far as the connection lets it: whether it is done.
    pub(crate) fn shake(&mut self) -> Result<bool, Error> {
        let outcome = match self.side {
            Side::Client => self.tls.connect(),
            Side::Server => self.tls.accept(),
        };
        match outcome {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) => Ok(false),
            Err(error) => Err(Error::from_handshake(error)),
        }
    }

    /// Reads at most one record; 0 after `close_notify` only.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.tls.ssl_read(out) {
            Ok(octets) => Ok(octets),
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => Ok(0),
            Err(error) => Err(plain(error)),
        }
    }

    /// Writes at most one record.
    pub(crate) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if octets.is_empty() {
            return Ok(0);
        }
        self.tls.ssl_write(octets).map_err(plain)
    }

    /// Says `close_notify`, if the connection takes it.
    pub(crate) fn close(&mut self) {
        // It may have gone already, and nothing can be done about a full connection.
        let _ = self.tls.shutdown();
    }
}

impl<S> Records<S> {
    pub(crate) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn ssl(&self) -> &SslRef {
        self.tls.ssl()
    }

    /// The connection below.
    pub(crate) fn get_ref(&self) -> &S {
        &self.tls.get_ref().0
    }

    /// The connection below. What it reads and writes belongs to TLS.
    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.tls.get_mut().0
    }
}

fn plain(error: openssl::ssl::Error) -> io::Error {
    match error.code() {
        ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => io::ErrorKind::WouldBlock.into(),
        _ => error.into_io_error().unwrap_or_else(io::Error::other),
    }
}

/// The connection below TLS, which asks for octets only while it has not seen `close_notify`: an end
/// here always comes too early.
struct Whole<S>(S);

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
