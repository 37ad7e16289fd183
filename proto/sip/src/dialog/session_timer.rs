//! Session timers (RFC 4028): who refreshes, how often, and when the session counts as dead.

use crate::error::Error;
use crate::message::Message;
use crate::params::Params;
use crate::typed::delta_seconds;
use std::time::{Duration, Instant};

/// Who sends the refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// We do.
    Local,
    /// The peer does.
    Remote,
}

/// What we want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimers {
    /// The interval we ask for, in seconds. 0 asks for none.
    pub interval: u32,
    /// The shortest interval we accept, in seconds; never below 90 (RFC 4028 §4).
    pub least: u32,
}

impl Default for SessionTimers {
    fn default() -> Self {
        Self { interval: 1800, least: 90 }
    }
}

/// The timer of one dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimer {
    /// Seconds.
    pub interval: u32,
    /// Who refreshes.
    pub refresher: Refresher,
    refresh_at: Instant,
    expires_at: Instant,
}

/// The least interval of all (RFC 4028 §4).
const LEAST: u32 = 90;

fn session_expires(message: &Message) -> Option<(u32, Option<String>)> {
    let value = message.header("Session-Expires")?;
    let seconds = delta_seconds(&value)?;
    let tail = value.find(';').and_then(|i| value.get(i..)).unwrap_or_default();
    let refresher = Params::parse(tail).ok()?.get("refresher").map(str::to_ascii_lowercase);
    Some((seconds, refresher))
}

impl SessionTimers {
    /// The shortest interval we accept, in seconds: the Min-SE of a 422 (RFC 4028 §5, §9).
    pub fn shortest(&self) -> u32 {
        self.least.max(LEAST)
    }

    /// Adds what we ask for to an INVITE or UPDATE (RFC 4028 §7.1). `refresher` stays open on
    /// the first request; a refresh names who refreshes (§7.2).
    ///
    /// # Errors
    /// Those of the setters.
    pub fn ask(&self, request: &mut Message, current: Option<&SessionTimer>) -> Result<(), Error> {
        if !request.lists("Supported", "timer") {
            request.push_back("Supported", "timer")?;
        }
        let refresher = match current.map(|c| c.refresher) {
            None => "",
            Some(Refresher::Local) => ";refresher=uac",
            Some(Refresher::Remote) => ";refresher=uas",
        };
        let interval = current.map_or(self.interval, |c| c.interval);
        if interval > 0 {
            request.set_header("Session-Expires", &format!("{interval}{refresher}"))?;
            request.set_header("Min-SE", &self.shortest().to_string())?;
        }
        Ok(())
    }

    /// After a 422: asks again with the peer's minimum (RFC 4028 §7.3). False if it names none.
    pub fn raise(&mut self, refusal: &Message) -> bool {
        let least = refusal.header("Min-SE").and_then(|v| delta_seconds(&v));
        let Some(least) = least.filter(|l| *l > self.least) else { return false };
        self.least = least;
        self.interval = self.interval.max(least);
        true
    }

    /// Whether the interval a request asks for is long enough. One who does not know session
    /// timers cannot be told (RFC 4028 §9): the interval is raised for him.
    ///
    /// # Errors
    /// [`Error::Dialog`] with 422; put [`shortest`](Self::shortest) into the Min-SE of that answer.
    pub fn check(&self, request: &Message) -> Result<(), Error> {
        let short = session_expires(request).is_some_and(|(seconds, _)| seconds < self.shortest());
        if short && request.lists("Supported", "timer") {
            return Err(Error::Dialog { status: 422, reason: "the session interval is too small" });
        }
        Ok(())
    }

    /// The called side (RFC 4028 §9): decides the timer and writes it into the 2xx. `None` if
    /// neither side wants one. `uas_refreshes` is our wish where the caller leaves it open.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn accept(
        &self,
        now: Instant,
        request: &Message,
        response: &mut Message,
        uas_refreshes: bool,
    ) -> Result<Option<SessionTimer>, Error> {
        self.check(request)?;
        let supported = request.lists("Supported", "timer");
        let least = self.shortest();
        let asked = session_expires(request).map(|(seconds, refresher)| (seconds.max(least), refresher));
        let floor = request.header("Min-SE").and_then(|v| delta_seconds(&v)).unwrap_or(LEAST).max(least);
        let interval = match &asked {
            Some((seconds, _)) if self.interval > 0 => (*seconds).min(self.interval.max(floor)),
            Some((seconds, _)) => *seconds,
            None if self.interval > 0 => self.interval.max(floor),
            None => return Ok(None),
        };
        let refresher = match asked.and_then(|(_, r)| r).as_deref() {
            Some("uac") if supported => Refresher::Remote,
            Some("uas") => Refresher::Local,
            // Table 2: a caller without timers cannot refresh.
            _ if !supported || uas_refreshes => Refresher::Local,
            _ => Refresher::Remote,
        };
        let name = if refresher == Refresher::Local { "uas" } else { "uac" };
        response.set_header("Session-Expires", &format!("{interval};refresher={name}"))?;
        if supported && refresher == Refresher::Remote && !response.lists("Require", "timer") {
            response.push_back("Require", "timer")?;
        }
        Ok(Some(SessionTimer::new(now, interval, refresher)))
    }

    /// The calling side, with the 2xx to its request (RFC 4028 §7.2): if the called side knows
    /// nothing of timers we refresh on our own, if we want to at all.
    pub fn accepted(&self, now: Instant, response: &Message) -> Option<SessionTimer> {
        match session_expires(response) {
            Some((seconds, refresher)) => {
                let remote = refresher.as_deref() == Some("uas");
                let refresher = if remote { Refresher::Remote } else { Refresher::Local };
                Some(SessionTimer::new(now, seconds.max(LEAST), refresher))
            }
            None => (self.interval > 0).then(|| SessionTimer::new(now, self.interval, Refresher::Local)),
        }
    }
}

impl SessionTimer {
    fn new(now: Instant, interval: u32, refresher: Refresher) -> Self {
        let whole = Duration::from_secs(interval.into());
        // RFC 4028 §10: refresh at half; give up a third, at most 32 s, before the end.
        let margin = Duration::from_secs(32).min(whole / 3);
        Self { interval, refresher, refresh_at: now + whole / 2, expires_at: now + whole - margin }
    }

    /// When to send a refresh; `None` if the peer does.
    pub fn refresh_at(&self) -> Option<Instant> {
        (self.refresher == Refresher::Local).then_some(self.refresh_at)
    }

    /// When to end the session with BYE if no refresh has succeeded.
    pub fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Instant {
        self.refresh_at().map_or(self.expires_at, |r| r.min(self.expires_at))
    }

    /// A refresh was sent: no other is due before it is answered.
    pub fn refreshing(&mut self) {
        self.refresh_at = self.expires_at;
    }
}
