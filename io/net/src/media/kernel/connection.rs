//! One connection that the kernel carries: what is known of it, and whether it is over.
//!
//! Copies of packets tell how it began and how it ended. Connection tracking tells what there is of it now, and is not to be
//! believed in one thing: it does not look from which side a FIN came. One that comes twice, as it does when an
//! acknowledgement is late, is both sides' to it, and the connection waits as if it were over (TIME-WAIT) while the other side has
//! megabytes to say. So as long as all copies came, they alone say when both sides have ended it.

use std::time::Duration;

use carnet_netfilter::{Entry, Segment, State as Seen};

use super::super::clock::Moment;
use super::Octets;
use super::streams::{From, Streams};

/// Connections shorter than this have not sent 2^32 octets, and connection tracking need not be asked.
const SHORT: Duration = Duration::from_millis(250);
/// A copy that was read within this time after it could have come, came just then.
pub(super) const PROMPT: Duration = Duration::from_millis(100);
/// A connection of which the last copies may be missing, and which waits as if it were over, is so if nobody has said
/// anything for this long.
pub(super) const SILENT: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    /// When it was first seen; of one that has fallen silent, since when it is.
    since: Moment,
    /// What it had when connection tracking was last asked. That may forget it before we ask again.
    counted: Octets,
    streams: Streams,
    /// The caller's port. The session has all else.
    pub(super) port: u16,
    /// It was seen when it began, and that was at `since`.
    prompt: bool,
    /// Whatever began or ended it was copied to us, and will be.
    sure: bool,
    /// It waits and has said nothing.
    silent: bool,
}

/// What connection tracking says of a connection that we think is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    GoesOn,
    /// It is over, and copies that say how may be on their way to us.
    Doubtful,
    /// It is over, and no copies will say so.
    Over,
}

impl Connection {
    /// One that begins with this answer of the callee. `prompt`: that came just now.
    pub(super) fn begun(answer: &Segment, now: Moment, prompt: bool) -> Self {
        let (streams, port) = (Streams::begun(answer), answer.destination.port());
        Self { since: now, counted: (0, 0), streams, port, prompt, sure: true, silent: false }
    }

    /// One that is there already.
    pub(super) fn found(entry: &Entry, now: Moment) -> Self {
        let streams = Streams::unknown(entry.flow.local.is_ipv4());
        let port = entry.flow.caller.port();
        Self { since: now, counted: (0, 0), streams, port, prompt: false, sure: false, silent: false }
    }

    /// The callee's answer comes after the connection was found: its copy was still on its way to us. What follows it is too.
    pub(super) fn answered(&mut self, answer: &Segment) {
        if !self.streams.are_known() {
            self.streams = Streams::begun(answer);
            self.sure = true;
        }
    }

    /// Notes a segment that ends it, or tries to.
    pub(super) fn seen(&mut self, from: From, segment: &Segment) {
        self.streams.seen(from, segment);
    }

    /// Notes a FIN. True: both sides have sent one.
    pub(super) fn finished(&mut self, from: From, segment: &Segment) -> bool {
        self.streams.finished(from, segment)
    }

    /// Notes a RST.
    pub(super) fn reset(&mut self, from: From, segment: &Segment) {
        self.streams.reset(from, segment);
    }

    /// The copies alone tell its octets.
    pub(super) fn tells_all(&self, now: Moment) -> bool {
        self.prompt && now.since(self.since) < SHORT
    }

    /// It was there before.
    pub(super) fn is_older_than(&self, then: Moment) -> bool {
        self.since < then
    }

    /// Its octets, with what connection tracking has counted if that was asked and knows it.
    pub(super) fn octets(&mut self, entry: Option<&Entry>) -> Octets {
        let octets = self.streams.octets(entry, self.counted);
        self.counted = octets;
        octets
    }

    /// What it had when connection tracking was last asked, both ways.
    pub(super) fn counted(&self) -> u64 {
        self.counted.0.saturating_add(self.counted.1)
    }

    /// Compares with what there is; `lost`: copies were lost since the last time.
    pub(super) fn compare(&mut self, entry: Option<&Entry>, lost: bool, now: Moment) -> Finding {
        self.sure &= !lost;
        let Some(entry) = entry else { return Finding::Doubtful };
        let before = self.counted;
        self.octets(Some(entry));
        match entry.state {
            Seen::Closed => Finding::Doubtful,
            Seen::Waiting if !self.sure => {
                if !self.silent || self.counted != before {
                    (self.silent, self.since, self.prompt) = (true, now, false);
                }
                if now.since(self.since) < SILENT { Finding::GoesOn } else { Finding::Over }
            }
            _ => {
                self.silent = false;
                Finding::GoesOn
            }
        }
    }
}
