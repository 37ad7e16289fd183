//! The part of a loop that makes and ends the TLS of its pinholes (TS 23.334 §6.2.10.3, RFC 8122).

use carnet_gateway::media::{Cause, Event, TlsFailure};
use carnet_tls::{Error, Report, Version};

use super::end::{Outcome, failure};
use super::hole::Link;
use super::worker::Worker;

/// Steps of handshakes in one turn of the loop: each may cost a signature, and those who relay wait for it.
pub(super) const HANDSHAKES: usize = 8;

impl Worker {
    /// Goes on with TLS at a pinhole where it ends and does not stand yet.
    pub(super) fn seal(&mut self, slot: u32) {
        let (now, unspliced) = (self.now, self.config.timers.unspliced);
        let Self { holes, tools, handshakes, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return;
        };
        if !hole.works() || hole.is_open() {
            return;
        }
        let Some((end, connection)) = hole.tls() else { return };
        if *handshakes == 0 {
            return self.queue(slot);
        }
        if end.give_up.is_none() {
            let within = if end.knows_the_peer() { end.handshake_time() } else { unspliced };
            end.give_up = Some(now.plus(within));
        }
        let outcome = end.handshake(connection, &mut tools.bench().buffers);
        if end.has_begun() {
            *handshakes -= 1;
        }
        match outcome {
            Outcome::Waiting => {}
            Outcome::Stands(report) => self.sealed(slot, report),
            Outcome::Failed(error) => self.unsealed(slot, &error),
        }
    }

    fn sealed(&mut self, slot: u32, report: Report) {
        let Some(hole) = self.hole(slot) else { return };
        let pinhole = hole.name;
        hole.rare().unsealed = None;
        let version = match report.version {
            Version::Tls12 => "TLSv1.2",
            Version::Tls13 => "TLSv1.3",
        };
        self.report(Event::Sealed { pinhole, version: version.to_owned(), suite: report.cipher });
        // What came with the last of the handshake is announced by nobody.
        self.queue(slot);
    }

    /// TLS could not be made, in time or at all.
    pub(super) fn unsealed(&mut self, slot: u32, error: &Error) {
        let again = self.now.plus(self.config.timers.incoming);
        let Some(hole) = self.hole(slot) else { return };
        let known = hole.tls().is_some_and(|(end, _)| end.knows_the_peer());
        let why = match failure(error) {
            TlsFailure::Timeout if !known => TlsFailure::NoFingerprint,
            why => why,
        };
        tracing::debug!(pinhole = ?hole.name, %error, "no TLS association");
        let expected = matches!(&hole.link, Link::Up(connection) if connection.is_expected());
        let definite = match why {
            TlsFailure::Ours | TlsFailure::NoFingerprint => true,
            TlsFailure::Fingerprint | TlsFailure::NoCertificate if expected => true,
            _ => hole.is_surely_the_peer(),
        };
        if definite {
            return self.end(slot, Cause::Tls(why), Cause::FarSide, true);
        }
        // Anybody can try. The peer may still come, and if nobody does, this was perhaps why.
        hole.rare().unsealed = Some(why);
        let _ = self.say_farewell(slot, Some(Cause::Tls(why)), true);
        self.end_one(slot, None, false, false);
        if let Some(hole) = self.hole(slot) {
            hole.waiting_until.get_or_insert(again);
        }
    }

    /// The last words of TLS at a pinhole whose connection is about to be closed. False: there are none to be
    /// said, and the connection may be reset.
    pub(super) fn say_farewell(&mut self, slot: u32, cause: Option<Cause>, failure: bool) -> bool {
        if failure && !matches!(cause, Some(Cause::Tls(_))) {
            return false;
        }
        let Self { holes, tools, .. } = self;
        let Some(Some(hole)) = holes.get_mut(slot as usize) else {
            return false;
        };
        if !hole.works() {
            return false;
        }
        let Some((end, connection)) = hole.tls() else { return false };
        end.part(connection, &mut tools.bench().buffers);
        true
    }
}
