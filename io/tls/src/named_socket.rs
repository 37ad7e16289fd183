//! TLS between a named server and a client that need not show a certificate, on a connection that does not
//! block: relays (RFC 4976 §9.2).
//!
//! Accepting is done by rustls, which takes about half of the time that OpenSSL takes for a small record and holds
//! no memory while nothing happens. Connecting, where authorities and names are checked, and keys that
//! rustls does not sign with are for OpenSSL.

use crate::edge::{Records as Light, Wire, accepting};
use crate::socket::Records as Full;
use crate::{CertificateContext, Error, Peer, Report, Side};
use std::io::{self, ErrorKind, Read, Write};

/// Octets that are sealed and written at once, at most: two records.
const AT_ONCE: usize = 32 * 1024;
/// What a read of the connection may bring: more than a record (RFC 8446 §5.2, RFC 5246 §6.2.3), of which some
/// may be left from the last one.
const ROOM: usize = 48 * 1024;

/// One end of an association. Drive [`handshake`](Self::handshake) to its end, then read and write.
pub struct NamedSocket<S> {
    ends: Ends<S>,
}

enum Ends<S> {
    Full(Full<S>),
    Light(Box<Light>, S),
}

/// Memory that a loop lends to the ends it drives, one after the other.
pub struct Lent {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Default for Lent {
    fn default() -> Self {
        Self { incoming: vec![0; ROOM], outgoing: vec![0; ROOM] }
    }
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
        let ends = match self.anyone().filter(|_| side == Side::Server && matches!(peer, Peer::Anyone)) {
            Some(config) => Ends::Light(Box::new(accepting(&config)?), stream),
            None => Ends::Full(Full::new(self.prepared(side, peer)?, stream, side)?),
        };
        Ok(NamedSocket { ends })
    }
}

impl<S: Read + Write> NamedSocket<S> {
    /// Goes on with the handshake as far as the connection lets it; `None`: again when it is ready. What it
    /// agreed on, when it is done.
    ///
    /// # Errors
    /// As the handshake goes; the alert that says so has been written.
    pub fn handshake(&mut self, lent: &mut Lent) -> Result<Option<Report>, Error> {
        match &mut self.ends {
            Ends::Full(records) => match records.shake()? {
                true => Report::of(records.ssl(), records.side()).ok_or(Error::NoCommonVersion).map(Some),
                false => Ok(None),
            },
            Ends::Light(records, stream) => loop {
                let done = records.shake();
                // Even a failure has something to say.
                let flushed = flush(records, stream).map_err(Error::of_stream);
                if done? {
                    return records.report().ok_or(Error::NoCommonVersion).map(Some);
                }
                if !flushed? {
                    return Ok(None);
                }
                match fill(records, stream, lent) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(Error::PeerClosed),
                    Err(error) => return Err(Error::of_stream(error)),
                }
            },
        }
    }

    /// Reads what the connection has, as far as it fits. 0 after the peer's `close_notify` only.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing; [`io::ErrorKind::UnexpectedEof`] when the
    /// connection was cut; otherwise what TLS or the connection says.
    pub fn read(&mut self, out: &mut [u8], lent: &mut Lent) -> io::Result<usize> {
        match &mut self.ends {
            Ends::Full(records) => records.read(out),
            Ends::Light(records, stream) => {
                let read = loop {
                    match records.open(out).map_err(io::Error::other) {
                        Ok((0, false)) => {}
                        Ok((octets, _)) => break Ok(octets),
                        Err(error) => break Err(error),
                    }
                    // What is left of a record stays where it lies until the rest of it is there.
                    if let Err(error) = more(records, stream, lent) {
                        break Err(error);
                    }
                };
                records.wire.keep(&mut lent.incoming);
                // An alert, or other keys, where the peer asks for them (RFC 8446 §4.6.3).
                if !records.wire.unsent().is_empty() {
                    flush(records, stream)?;
                }
                read
            }
        }
    }

    /// Writes some octets and says how many it took. They may still wait for the connection: see
    /// [`Self::flush`].
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the connection is full: what is written next must begin with the
    /// same octets and be no shorter.
    pub fn write(&mut self, octets: &[u8], lent: &mut Lent) -> io::Result<usize> {
        match &mut self.ends {
            Ends::Full(records) => records.write(octets),
            Ends::Light(records, stream) => {
                if !flush(records, stream)? {
                    return Err(ErrorKind::WouldBlock.into());
                }
                let now = octets.get(..octets.len().min(AT_ONCE)).unwrap_or_default();
                if now.is_empty() {
                    return Ok(0);
                }
                records.wire.lend(&mut lent.outgoing);
                let sealed = records.seal(now).map_err(io::Error::other);
                let flushed = flush(records, stream);
                records.wire.settle(&mut lent.outgoing);
                sealed?;
                flushed?;
                Ok(now.len())
            }
        }
    }

    /// Writes what waits for the connection. False: it is full, and some still waits.
    ///
    /// # Errors
    /// What the connection says.
    pub fn flush(&mut self) -> io::Result<bool> {
        match &mut self.ends {
            Ends::Full(_) => Ok(true),
            Ends::Light(records, stream) => {
                let all = flush(records, stream)?;
                records.wire.tidy();
                Ok(all)
            }
        }
    }

    /// Says `close_notify`, if the connection takes it.
    pub fn close(&mut self) {
        match &mut self.ends {
            Ends::Full(records) => records.close(),
            Ends::Light(records, stream) => {
                records.close();
                // It may have gone already, and nothing can be done about a full connection.
                let _ = flush(records, stream);
            }
        }
    }

    /// The connection below.
    pub fn get_ref(&self) -> &S {
        match &self.ends {
            Ends::Full(records) => records.get_ref(),
            Ends::Light(_, stream) => stream,
        }
    }

    /// The connection below. What it reads and writes belongs to TLS.
    pub fn get_mut(&mut self) -> &mut S {
        match &mut self.ends {
            Ends::Full(records) => records.get_mut(),
            Ends::Light(_, stream) => stream,
        }
    }
}

/// Reads once from the connection into the lent buffer, which stays lent.
fn more<S: Read>(records: &mut Light, stream: &mut S, lent: &mut Lent) -> io::Result<()> {
    match Wire::take(&mut records.wire, &mut lent.incoming, |room| stream.read(room))? {
        0 => Err(io::Error::new(
            ErrorKind::UnexpectedEof,
            "the peer ended the connection without close_notify",
        )),
        _ => Ok(()),
    }
}

/// The same, and what came is kept.
fn fill<S: Read>(records: &mut Light, stream: &mut S, lent: &mut Lent) -> io::Result<()> {
    let filled = more(records, stream, lent);
    records.wire.keep(&mut lent.incoming);
    filled
}

/// Writes what waits. Whether that is all.
fn flush<S: Write>(records: &mut Light, stream: &mut S) -> io::Result<bool> {
    while !records.wire.unsent().is_empty() {
        match stream.write(records.wire.unsent()) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => records.wire.note_sent(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
