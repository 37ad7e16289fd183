//! The end of TLS at one pinhole: its state, its handshake, and the octets between TLS and the socket.
//!
//! RFC 8122 (both ends show a certificate, known by its fingerprint), RFC 8446 §6.1 (`close_notify`). TLS
//! reads from and writes to memory that the loop lends it for a turn (`Wire`), so an association that does
//! nothing has no buffers, and one system call serves many records.
//!
//! What is kept between two turns: what the socket did not take, at most what one turn of the other
//! direction made; and what has come and TLS could not use yet, at most one read.

use std::sync::Arc;
use std::time::Duration;

use carnet_gateway::media::{Edge, TlsFailure, TlsRole};
use carnet_tls::{EdgeSocket, Error, Fault, Fingerprint, Opened, Report, Side, Wire};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::certificates::Shown;
use super::clock::Moment;
use super::hole::Connection;

/// The most that is read from a socket at once.
pub(super) const READ: usize = 64 * 1024;
/// What answers of TLS itself may wait for the socket (to key updates, for example) before nothing more is
/// read from a peer who takes none.
const MOST_UNSENT: usize = 256 * 1024;

/// What may have come and be of no use yet: a message of the handshake that is cut over several records. What
/// is not done by then is no handshake. Beside it there is room for a whole record.
const MOST_UNUSED: usize = READ - 20 * 1024;

/// What the ends of TLS in one thread share.
#[derive(Debug)]
pub(super) struct Buffers {
    sealed: Vec<u8>,
    unsent: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { sealed: vec![0; READ], unsent: vec![0; READ + READ / 8] }
    }
}

#[derive(Debug)]
pub(super) struct End {
    /// `None`: the pinhole was not reserved for TLS, and has nothing to show.
    shown: Option<Arc<Shown>>,
    wanted: Option<Arc<Edge>>,
    /// `None` before the connection stands and the role is known.
    tls: Option<Box<EdgeSocket>>,
    /// When the association has to stand.
    pub(super) give_up: Option<Moment>,
    /// The registration in epoll of the connection that TLS is spoken on.
    pub(super) serial: u32,
    state: State,
    /// The far side has no more to say, and the peer has been told so.
    closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unsealed,
    Stands,
    /// The certificate that the peer showed is not the right one any more.
    Disowned,
    /// TCP ended before TLS did.
    Cut,
}

/// What a turn of the handshake brought.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It goes on when the socket is ready, or when the peer's fingerprint is known.
    Waiting,
    Stands(Report),
    Failed(Error),
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    Octets(usize),
    Nothing,
    End,
    Failed(TlsFailure),
    Broken,
}

impl End {
    /// Octets that it keeps between two turns.
    pub(super) fn kept(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.wire().kept())
    }

    /// That of the certificate to be shown.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.shown.as_ref().map(|shown| shown.fingerprint.clone())
    }

    pub(super) fn new(shown: Option<Arc<Shown>>) -> Self {
        let state = State::Unsealed;
        Self { shown, wanted: None, tls: None, give_up: None, serial: 0, state, closed: false }
    }

    /// What the controller says of it now.
    pub(super) fn set(&mut self, wanted: Option<Arc<Edge>>) {
        if self.fingerprints().is_empty() {
            // The time for the handshake begins when it can be done.
            self.give_up = None;
        }
        let changed = self.wanted != wanted;
        self.wanted = wanted;
        if changed && self.state == State::Stands && self.knows_the_peer() {
            let fits = self.tls.as_ref().is_some_and(|tls| tls.is_shown(&announced(self.fingerprints())));
            self.state = if fits { State::Stands } else { State::Disowned };
        }
    }

    fn fingerprints(&self) -> &[String] {
        self.wanted.as_ref().map_or(&[], |wanted| &wanted.fingerprints)
    }

    /// Whether it is known whom to expect.
    pub(super) fn knows_the_peer(&self) -> bool {
        !self.fingerprints().is_empty()
    }

    /// The association stands, or stood until it was cut: octets may pass.
    pub(super) fn is_made(&self) -> bool {
        matches!(self.state, State::Stands | State::Cut)
    }

    /// TCP ended before TLS did.
    pub(super) fn is_cut(&self) -> bool {
        self.state == State::Cut
    }

    /// Something has been done for the association already.
    pub(super) fn has_begun(&self) -> bool {
        self.tls.is_some()
    }

    /// How long a handshake may take.
    pub(super) fn handshake_time(&self) -> Duration {
        self.shown.as_ref().map_or(Duration::ZERO, |shown| shown.handshake)
    }

    /// There is a connection, another than before if the serial says so.
    pub(super) fn meet(&mut self, serial: u32) {
        if self.serial != serial {
            self.forget();
            self.serial = serial;
        }
    }

    /// The connection has another serial.
    pub(super) fn moved(&mut self, serial: u32) {
        if self.serial != 0 {
            self.serial = serial;
        }
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self) {
        (self.tls, self.give_up, self.serial) = (None, None, 0);
        (self.state, self.closed) = (State::Unsealed, false);
    }

    /// Goes on with the handshake as far as the socket lets it.
    pub(super) fn handshake(&mut self, connection: &mut Connection, buffers: &mut Buffers) -> Outcome {
        let Some(wanted) = self.wanted.clone() else { return Outcome::Waiting };
        let side = match wanted.role {
            TlsRole::Client => Side::Client,
            TlsRole::Server => Side::Server,
        };
        // The role may become ours while nobody has said anything.
        if !connection.touched && self.tls.as_ref().is_some_and(|tls| tls.side() != side) {
            self.tls = None;
        }
        if self.tls.is_none() {
            let Some(shown) = &self.shown else {
                return Outcome::Failed(Error::Misuse("the pinhole was not reserved for TLS"));
            };
            match shown.context.socket(side) {
                Ok(tls) => self.tls = Some(Box::new(tls)),
                Err(error) => return Outcome::Failed(error),
            }
            // Who speaks first has nothing to tell the right one from a silent one by.
            connection.touched |= side == Side::Client;
        }
        let Some(tls) = &mut self.tls else { return Outcome::Waiting };
        if self.state == State::Disowned {
            return Outcome::Failed(Error::Fingerprint);
        }
        if !wanted.fingerprints.is_empty() && !tls.is_announced() {
            tls.announce(&announced(&wanted.fingerprints));
        }
        let outcome = shake(tls, connection, buffers);
        tls.wire_mut().keep(&mut buffers.sealed);
        tls.wire_mut().settle(&mut buffers.unsent);
        if let Outcome::Stands(_) = &outcome {
            self.state = State::Stands;
        }
        outcome
    }

    /// Opens what has come from the peer, reading more if there is none.
    pub(super) fn open(&mut self, connection: &mut Connection, out: &mut [u8], buffers: &mut Buffers) -> Got {
        let Some(tls) = &mut self.tls else { return Got::Nothing };
        let got = loop {
            match tls.open(out) {
                Ok(Opened::Octets(octets)) => break Got::Octets(octets),
                Ok(Opened::End) => break Got::End,
                Ok(Opened::Nothing) => {}
                Err(error) => break Got::Failed(failure(&error)),
            }
            if tls.wire().unsent().len() > MOST_UNSENT {
                break Got::Nothing;
            }
            match receive(tls.wire_mut(), connection, buffers) {
                Got::Octets(_) => {}
                Got::End => {
                    self.state = State::Cut;
                    break Got::End;
                }
                other => break other,
            }
        };
        tls.wire_mut().keep(&mut buffers.sealed);
        // TLS may have answered something by itself.
        let sent = flush(tls.wire_mut(), connection);
        tls.wire_mut().settle(&mut buffers.unsent);
        if sent { got } else { Got::Broken }
    }

    /// Seals octets for the peer and sends what the socket takes. False: the connection is broken.
    pub(super) fn seal(&mut self, connection: &mut Connection, octets: &[u8], buffers: &mut Buffers) -> bool {
        let Some(tls) = &mut self.tls else { return false };
        tls.wire_mut().lend(&mut buffers.unsent);
        // Memory takes everything, so a failure is one of TLS itself.
        let sent = tls.seal(octets).is_ok() && flush(tls.wire_mut(), connection);
        tls.wire_mut().settle(&mut buffers.unsent);
        sent
    }

    /// Sends what waits for the socket. `Ok(true)`: nothing waits any more.
    pub(super) fn send(&mut self, connection: &mut Connection) -> Result<bool, Errno> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        let wire = tls.wire_mut();
        if !flush(wire, connection) {
            return Err(Errno::PIPE);
        }
        wire.tidy();
        Ok(wire.unsent().is_empty())
    }

    /// Says that nothing more will come: `close_notify` and, when it has left, a FIN. `Ok(true)`: done.
    pub(super) fn close(&mut self, connection: &mut Connection) -> Result<bool, Errno> {
        if let Some(tls) = &mut self.tls
            && !std::mem::replace(&mut self.closed, true)
        {
            tls.close();
        }
        if !self.send(connection)? {
            return Ok(false);
        }
        shutdown(&connection.socket, Shutdown::Write)?;
        Ok(true)
    }

    /// The last words, as far as the socket takes them: `close_notify`, or the alert that was made before.
    /// What has come is thrown away, because a socket closed over unread octets is reset, and the reset
    /// might overtake the words.
    pub(super) fn part(&mut self, connection: &mut Connection, buffers: &mut Buffers) {
        let _ = self.close(connection);
        if let Some(tls) = &mut self.tls {
            tls.wire_mut().keep(&mut buffers.sealed);
        }
        for _ in 0..4 {
            match recv(&connection.socket, &mut *buffers.sealed, RecvFlags::empty()) {
                Ok((octets, _)) if octets > 0 => {}
                _ => break,
            }
        }
        self.forget();
    }
}

/// One that cannot be read, or has a hash that is not good enough, fits no certificate.
fn announced(fingerprints: &[String]) -> Vec<Fingerprint> {
    fingerprints.iter().filter_map(|text| text.parse().ok()).collect()
}

fn shake(tls: &mut EdgeSocket, connection: &mut Connection, buffers: &mut Buffers) -> Outcome {
    loop {
        tls.wire_mut().lend(&mut buffers.unsent);
        let outcome = tls.handshake();
        let sent = flush(tls.wire_mut(), connection);
        match outcome {
            Ok(Some(report)) => return Outcome::Stands(report),
            Err(error) => return Outcome::Failed(error),
            Ok(None) if !sent => return Outcome::Failed(Error::PeerClosed),
            Ok(None) if tls.is_waiting() => return Outcome::Waiting,
            Ok(None) => {}
        }
        match receive(tls.wire_mut(), connection, buffers) {
            Got::Octets(_) => connection.touched = true,
            Got::Nothing => return Outcome::Waiting,
            Got::Failed(_) => return Outcome::Failed(Error::NotTls),
            _ => return Outcome::Failed(Error::PeerClosed),
        }
    }
}

/// Reads what has come into the memory that TLS reads from.
fn receive(wire: &mut Wire, connection: &mut Connection, buffers: &mut Buffers) -> Got {
    if !connection.readable {
        return Got::Nothing;
    }
    if wire.unused() > MOST_UNUSED {
        return Got::Failed(TlsFailure::Protocol);
    }
    loop {
        let mut room = 0;
        let read = wire.take(&mut buffers.sealed, |free| {
            room = free.len();
            recv(&connection.socket, free, RecvFlags::empty()).map(|(octets, _)| octets)
        });
        match read {
            Ok(0) => return Got::End,
            Ok(octets) => {
                // epoll(7): a read that came short has emptied the socket.
                if octets < room && !connection.hangup {
                    connection.readable = false;
                }
                return Got::Octets(octets);
            }
            Err(Errno::AGAIN) => {
                connection.readable = false;
                return Got::Nothing;
            }
            Err(Errno::INTR) => {}
            Err(_) => return Got::Broken,
        }
    }
}

/// Sends what TLS has to say. False: the connection is broken.
fn flush(wire: &mut Wire, connection: &mut Connection) -> bool {
    while !wire.unsent().is_empty() && connection.writable {
        match send(&connection.socket, wire.unsent(), SendFlags::NOSIGNAL) {
            Ok(octets) => wire.note_sent(octets),
            Err(Errno::AGAIN) => connection.writable = false,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// What a failed association means to the controller.
pub(super) fn failure(error: &Error) -> TlsFailure {
    match error {
        Error::Fingerprint | Error::Certificate(_) => TlsFailure::Fingerprint,
        Error::NoCertificate => TlsFailure::NoCertificate,
        Error::NoCommonSuite | Error::NoCommonVersion => TlsFailure::NothingInCommon,
        Error::Refused | Error::CertificateRefused(_) | Error::PeerClosed | Error::Io(_) => {
            TlsFailure::Refused
        }
        Error::Timeout(_) => TlsFailure::Timeout,
        other if other.fault() == Fault::Ours => TlsFailure::Ours,
        _ => TlsFailure::Protocol,
    }
}
