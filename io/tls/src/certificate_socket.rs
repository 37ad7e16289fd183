//! TLS between certificates that are known by fingerprint only, on a connection that does not block
//! (RFC 8122 §5 and §6).
//!
//! Both ends show a certificate, and no chain or name is looked at. Which certificate is the right one may
//! be learnt later than the connection comes: SDP and media go different ways. Until then an end says what
//! it has to say first (the ClientHello, or a server's whole first flight) and hears nothing more. So the
//! peer's certificate is always judged when it is read, and a wrong one is always answered with the alert
//! `bad_certificate` (§6.2), in TLS 1.2 and in TLS 1.3 alike.

use crate::certificate::{Announced, judge};
use crate::socket::Records;
use crate::{CertificateContext, Error, Fingerprint, Report, Side};
use openssl::ssl::{Ssl, SslVerifyMode};
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// One end of an association. Drive [`handshake`](Self::handshake) to its end, then read and write.
pub struct CertificateSocket<S> {
    records: Records<Patient<S>>,
    /// What the peer's certificate is measured by. Set once.
    announced: Announced,
}

impl CertificateContext {
    /// One end on a connection that does not block. It waits for [`CertificateSocket::announce`] before it
    /// looks at the peer's certificate.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the context has no credential: fingerprints work both ways.
    pub fn socket<S: Read + Write>(&self, stream: S, side: Side) -> Result<CertificateSocket<S>, Error> {
        let announced = Announced::default();
        let held = self.held(side)?;
        let mut ssl = Ssl::new(&held).map_err(Error::library("preparing a TLS connection"))?;
        ssl.set_verify_callback(
            SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
            judge(Arc::clone(&announced)),
        );
        let patient = Patient { stream, spoke: false, deaf: true };
        Ok(CertificateSocket { records: Records::new(ssl, patient, side)?, announced })
    }
}

impl<S: Read + Write> CertificateSocket<S> {
    /// Says which certificates the peer may show. The first word counts; an empty list fits none.
    pub fn announce(&mut self, fingerprints: &[Fingerprint]) {
        let _ = self.announced.set(fingerprints.into());
        self.records.get_mut().deaf = false;
    }

    /// Nothing more is heard until the peer's certificate is [announced](Self::announce).
    pub fn is_waiting(&self) -> bool {
        let patient = self.records.get_ref();
        patient.deaf && patient.spoke
    }

    /// Which end of the handshake this is.
    pub fn side(&self) -> Side {
        self.records.side()
    }

    /// Whether the certificate that the peer has shown has one of these fingerprints.
    pub fn is_shown(&self, fingerprints: &[Fingerprint]) -> bool {
        let shown = self.records.ssl().peer_certificate();
        shown.is_some_and(|shown| Fingerprint::any_match(fingerprints, &shown))
    }

    /// Goes on with the handshake as far as the connection lets it; `None`: again when it is ready, or
    /// when the peer's certificate is announced. What it agreed on, when it is done.
    ///
    /// # Errors
    /// As the handshake goes; [`Error::Fingerprint`] for another certificate than was announced,
    /// [`Error::NoCertificate`] for none. The alert that says so has been written.
    pub fn handshake(&mut self) -> Result<Option<Report>, Error> {
        let done = self.records.shake().map_err(|error| match error {
            Error::Certificate(_) => Error::Fingerprint,
            other => other,
        })?;
        if !done {
            return Ok(None);
        }
        let ssl = self.records.ssl();
        // The callback has refused a wrong certificate already. This holds even if it was not called.
        let announced = self.announced.get().map_or(&[][..], |list| list);
        match ssl.peer_certificate() {
            None => return Err(Error::NoCertificate),
            Some(shown) if Fingerprint::any_match(announced, &shown) => {}
            Some(_) => return Err(Error::Fingerprint),
        }
        Report::of(ssl, self.records.side()).ok_or(Error::NoCommonVersion).map(Some)
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

    /// Says `close_notify`, if the connection takes it. Reading may go on.
    pub fn close(&mut self) {
        self.records.close();
    }

    /// The connection below.
    pub fn get_ref(&self) -> &S {
        &self.records.get_ref().stream
    }

    /// The connection below. What it reads and writes belongs to TLS.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.records.get_mut().stream
    }
}

impl<S> fmt::Debug for CertificateSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateSocket").field("side", &self.records.side()).finish_non_exhaustive()
    }
}

/// The connection below, which falls deaf once it has spoken, for as long as nobody knows whom to expect.
struct Patient<S> {
    stream: S,
    spoke: bool,
    deaf: bool,
}

impl<S: Read> Read for Patient<S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.deaf && self.spoke {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.stream.read(out)
    }
}

impl<S: Write> Write for Patient<S> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(octets)?;
        self.spoke |= written > 0;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
