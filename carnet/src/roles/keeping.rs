//! What of a border outlives its process: calls and registrations, in a journal in the directory of its section
//! `state`, and where its gateways are heard from by datagrams.
//!
//! A record is in the kernel's hands before the message leaves by which others learn of what is in it: the end of the
//! process loses nothing of that. Nobody waits for the disk, which is told a moment later: a loss of power loses that.

use super::clock::{self, Clock, Host};
use super::ways::Ways;
use carnet_border::{Border, GatewayName};
use carnet_net::h248::ControlPeer;
use carnet_ops::config::{ControlProto, ControlSection, StateSection};
use carnet_store::{Error, Found, Journal, Syncs};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Between two attempts on a disk that fails.
const AGAIN: Duration = Duration::from_secs(10);

/// The process was told to end, and not that its calls are to.
static SUCCESSOR: AtomicBool = AtomicBool::new(false);

/// The process ends and another one takes its place: borders that keep their calls hand them over, and do not
/// end them.
pub fn hand_over() {
    SUCCESSOR.store(true, Ordering::Relaxed);
}

/// The records of a border.
pub(super) struct Keeping {
    border: String,
    journal: Journal,
    /// When it failed.
    failed: Option<Instant>,
    /// The clock by which the border says when something ends.
    clock: Clock,
    /// Ways to gateways have changed since they were noted, or nothing was noted yet.
    ways: bool,
    /// It is noted by which clock records are.
    noted: bool,
    /// Calls may be left to another process: none of the gateways ends with this one.
    lasting: bool,
    hand_over: Duration,
}

impl Keeping {
    /// Opens the journal and has the border take up what is in it. What the gateways of `control` were heard by comes
    /// back as ways, of which the border is to be told.
    pub(super) fn open(
        name: &str,
        section: &StateSection,
        (control, lasting): (&ControlSection, bool),
        (border, start): (&mut Border, (Instant, SystemTime)),
    ) -> Result<(Self, Vec<(GatewayName, ControlPeer)>), Error> {
        let (journal, found) = Journal::open(
            section.directory.as_ref(),
            &format!("border-{name}"),
            Syncs::After(Duration::from_secs(section.sync().into())),
        )?;
        let mut this = Self {
            border: name.to_owned(),
            journal,
            failed: None,
            clock: Clock::new(start),
            ways: true,
            noted: false,
            lasting,
            hand_over: Duration::from_secs(section.hand_over().into()),
        };
        let ways = this.restore(control, border, &found);
        Ok((this, ways))
    }

    fn restore(
        &mut self,
        control: &ControlSection,
        border: &mut Border,
        found: &Found,
    ) -> Vec<(GatewayName, ControlPeer)> {
        border.keep_state();
        if let Some(damage) = &found.damage {
            tracing::error!(border = self.border, damage, "calls and registrations of before are lost");
            border.state_lost(damage.clone());
        }
        let note = String::from_utf8_lossy(found.note.as_deref().unwrap_or_default());
        if let Some(wall) = clock::read(&note, &Host::now(), SystemTime::now()) {
            border.records_are_by(wall);
        }
        let ways = read_ways(control, &note);
        if found.records.is_empty() && ways.is_empty() {
            return ways;
        }
        let texts =
            found.records.iter().filter_map(|(n, octets)| Some((*n, std::str::from_utf8(octets).ok()?)));
        let restored = border.restore(Instant::now(), texts, ways.iter().map(|(name, _)| name.clone()));
        for (number, why) in &restored.refused {
            tracing::warn!(border = self.border, number, why, "a record is not taken up");
        }
        // What is no text is nobody's.
        let garbled = found.records.iter().filter(|(_, octets)| std::str::from_utf8(octets).is_err());
        let garbled: Vec<u32> = garbled.map(|(number, _)| *number).collect();
        let refused = restored.refused.iter().map(|(number, _)| *number).chain(garbled.iter().copied());
        super::survival::put_by(&self.journal, &self.border, &found.records, refused);
        garbled.into_iter().for_each(|number| self.journal.remove(number));
        ways
    }

    /// Writes what others are about to learn of.
    pub(super) fn before(&mut self, border: &mut Border) {
        if self.failed.is_some_and(|at| at.elapsed() < AGAIN) {
            // It is all kept anew when the disk is asked again.
            while border.poll_kept().is_some() {}
            return;
        }
        if self.failed.is_some() {
            border.keep_again();
        }
        let mut kept = Ok(());
        let mut any = false;
        while let Some((number, text)) = border.poll_kept() {
            any = true;
            if kept.is_ok() {
                if self.failed.take().is_some() {
                    kept = self.journal.clear();
                    self.ways = true;
                }
                if !self.noted {
                    // What records are by comes before the first of them.
                    self.noted = true;
                    self.journal.note(self.clock.note(Instant::now(), SystemTime::now()).into_bytes());
                    self.ways = true;
                }
                kept = kept.and_then(|()| self.journal.put(number, text.as_bytes()));
            }
        }
        if any {
            let kept = kept.and_then(|()| self.journal.commit());
            self.outcome(border, kept);
        }
    }

    /// Forgets what others have learnt the end of, and notes where gateways are.
    pub(super) fn after(&mut self, border: &mut Border, ways: &Ways) {
        let mut any = false;
        while let Some(number) = border.poll_forgotten() {
            self.journal.remove(number);
            any = true;
        }
        if self.failed.is_some() {
            return;
        }
        if self.clock.was_set(Instant::now(), SystemTime::now()) {
            self.ways = true;
        }
        if std::mem::take(&mut self.ways) {
            let clock = self.clock.note(Instant::now(), SystemTime::now());
            self.journal.note((write_ways(ways) + &clock).into_bytes());
            any = true;
        }
        if any {
            let kept = self.journal.commit();
            self.outcome(border, kept);
        }
    }

    /// The way to a gateway is another one.
    pub(super) fn moved(&mut self) {
        self.ways = true;
    }

    /// How long what is under way gets, if calls are left to a process that follows.
    pub(super) fn hands_over(&self) -> Option<Duration> {
        (self.lasting && SUCCESSOR.load(Ordering::Relaxed) && self.failed.is_none()).then_some(self.hand_over)
    }

    fn outcome(&mut self, border: &mut Border, kept: Result<(), Error>) {
        if let Err(error) = kept {
            tracing::error!(border = self.border, %error, "calls will not outlive this process");
            border.state_lost(error.to_string());
            self.failed = Some(Instant::now());
        }
    }
}

/// Gateways that are heard by datagrams; others connect by themselves.
fn write_ways(ways: &Ways) -> String {
    let mut note = String::from("carnet ways 1\n");
    for (name, peer) in ways.all() {
        if let ControlPeer::Datagram { remote, local } = peer {
            note.push_str(&format!("{remote} {local} {name}\n"));
        }
    }
    note
}

/// Ways on sockets that there are, to gateways that are ours.
fn read_ways(control: &ControlSection, note: &str) -> Vec<(GatewayName, ControlPeer)> {
    let mut lines = note.lines();
    if lines.next() != Some("carnet ways 1") {
        return Vec::new();
    }
    let listens = |local: SocketAddr| {
        let mut binds = control.listen.iter().map(carnet_ops::config::Spanned::as_ref);
        binds.any(|bind| bind.proto == ControlProto::Udp && bind.address == local)
    };
    let read = |line: &str| {
        let mut fields = line.splitn(3, ' ');
        let (remote, local) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let name = fields.next().filter(|name| control.gateways.iter().any(|known| known == name))?;
        listens(local).then(|| (name.into(), ControlPeer::Datagram { remote, local }))
    };
    lines.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_come_back_if_they_still_lead_somewhere() {
        let text =
            "listen = [\"udp:192.0.2.1:2944\", \"tcp:192.0.2.1:2945\"]\ngateways = [\"agw-a\", \"agw b\"]";
        let control: ControlSection = toml::from_str(text).unwrap();
        let at = |remote: &str, local: &str| ControlPeer::Datagram {
            remote: remote.parse().unwrap(),
            local: local.parse().unwrap(),
        };
        let mut ways = Ways::default();
        ways.set("agw-a".into(), at("[2001:db8::1]:2944", "192.0.2.1:2944"));
        ways.set("agw b".into(), at("192.0.2.9:2944", "192.0.2.1:2944"));
        ways.set("tcp".into(), ControlPeer::Local(3));
        ways.set("gone".into(), at("192.0.2.8:2944", "192.0.2.1:2944"));
        let note = write_ways(&ways);
        let mut read = read_ways(&control, &note);
        read.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("agw b".into(), at("192.0.2.9:2944", "192.0.2.1:2944")),
            ("agw-a".into(), at("[2001:db8::1]:2944", "192.0.2.1:2944")),
        ];
        assert_eq!(read, expected);
        // Another socket, another form, and what is nothing at all.
        let moved: ControlSection =
            toml::from_str(&text.replace("192.0.2.1:2944", "192.0.2.2:2944")).unwrap();
        assert!(read_ways(&moved, &note).is_empty());
        for odd in ["carnet ways 2\n", "\u{fffd}", "carnet ways 1\nx y z\n\n1.2.3.4:5 agw-a\n"] {
            assert!(read_ways(&control, odd).is_empty());
        }
    }
}
