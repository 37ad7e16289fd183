//! TLS with a pre-shared key on a connection that does not block.

use crate::psk::{Exchange, client_error, server_error, used_key};
use crate::socket::Records;
use crate::{Error, Report, Side};
use openssl::ssl::Ssl;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// One end of an association. Drive [`handshake`](Self::handshake) to its end, then read and write.
///
/// The key is wiped when the handshake ends, in whichever way.
pub struct PskSocket<S> {
    records: Records<S>,
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
        Ok(Self { records: Records::new(ssl, stream, side)?, exchange, identity })
    }

    /// Goes on with the handshake as far as the connection lets it; `None`: again when it is ready. What it
    /// agreed on, when it is done.
    ///
    /// # Errors
    /// As the handshake goes; see [`Error::fault`]. The connection is good for nothing more.
    pub fn handshake(&mut self) -> Result<Option<Report>, Error> {
        let outcome = self.records.shake();
        if let Ok(false) = outcome {
            return Ok(None);
        }
        self.exchange.forget();
        let side = self.records.side();
        if let Err(error) = outcome {
            return Err(match side {
                Side::Client => client_error(error, &self.identity),
                Side::Server => server_error(error, &self.exchange.seen()),
            });
        }
        let ssl = self.records.ssl();
        let mut report = Report::of(ssl, side).ok_or(Error::NoCommonVersion)?;
        if !used_key(ssl, &report) {
            return Err(Error::NotPsk);
        }
        match side {
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
}
