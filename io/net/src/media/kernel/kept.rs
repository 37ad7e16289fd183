//! Callers who came before it was decided where they lead: what is kept of them, and for how long.
//!
//! A terminal that answers and opens the connection does so right behind its answer, and is here before the controller
//! has told of it. If the loop took the call the kernel could not have it any more. So while a pair may yet become the
//! kernel's, the beginnings of calls are kept ([`carnet_netfilter::early`](carnet_netfilter::EarlyLog)), and put back when it
//! is decided: when the translation is there, or when it is the loop's. Who has waited for so long that he
//! would call again anyway comes to the loop.
//!
//! What is kept is bounded. Who finds no room is lost, as in any queue, and calls again after a second.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use carnet_gateway::media::Pinhole;
use carnet_netfilter::{Change, Early};

use super::super::callers::least_worthy;
use super::super::slim;
use super::Report;
use super::sessions::Outcome;

/// How long packets that were on their way past the translations when one came are still kept.
const PASSING: Duration = Duration::from_millis(50);
/// Callers of one pinhole. One is meant to come.
const CALLERS: usize = 8;
/// Callers of all pinholes.
const MOST: usize = 4096;

#[derive(Debug)]
struct Place {
    /// The number of its loop.
    owner: usize,
    pinhole: Pinhole,
    callers: Vec<Early>,
    /// When the first of them came.
    since: Option<Instant>,
}

/// Pinholes whose callers are kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// How long.
    patience: Duration,
    /// By our address there.
    places: HashMap<SocketAddr, Place>,
    /// Where somebody waits, and since when; also of places that are decided.
    waiting: VecDeque<(Instant, SocketAddr)>,
    callers: usize,
    /// To be put back as soon as the changes are made.
    ready: Vec<Early>,
    /// To be put back then.
    late: VecDeque<(Instant, Early)>,
    /// Where the kernel still keeps, beside a translation, and until when. The first is all that counts for an address.
    closing: HashMap<SocketAddr, Instant>,
    closings: VecDeque<(Instant, SocketAddr)>,
}

impl Kept {
    /// Each caller for so long.
    pub(super) fn new(patience: Duration) -> Self {
        let (places, waiting, ready, late) = Default::default();
        let (closing, closings) = Default::default();
        Self { patience, places, waiting, callers: 0, ready, late, closing, closings }
    }

    /// How many wait.
    pub(super) fn callers(&self) -> usize {
        self.callers
    }

    /// Callers of this address of ours are kept from now on.
    pub(super) fn keep(&mut self, owner: usize, pinhole: Pinhole, local: SocketAddr, out: &mut Outcome) {
        let place = Place { owner, pinhole, callers: Vec::new(), since: None };
        let place = self.places.entry(local).or_insert(place);
        (place.owner, place.pinhole) = (owner, pinhole);
        self.closing.remove(&local);
        out.changes.push(Change::Keep(local, true));
        out.reports.push((owner, Report::Kept { pinhole }));
    }

    /// It is decided where they lead.
    pub(super) fn let_go(&mut self, local: SocketAddr, out: &mut Outcome) {
        if let Some(place) = self.take(local, out) {
            self.ready.extend(place.callers);
        }
    }

    /// Who comes from this address is led on. If somebody has come from there, the others have to wait a little more: the loop
    /// would else see them before the connection is up, and might take one of them for the caller.
    ///
    /// The kernel goes on keeping for a moment: a packet that had passed the translations just before this one came would be the loop's.
    pub(super) fn lead_on(&mut self, local: SocketAddr, source: IpAddr, now: Instant) {
        let Some(place) = self.remove(local) else { return };
        self.closing.insert(local, now + PASSING);
        self.closings.push_back((now + PASSING, local));
        let (expected, others): (Vec<_>, Vec<_>) =
            place.callers.into_iter().partition(|early| early.flow.caller.ip() == source);
        if expected.is_empty() {
            return self.ready.extend(others);
        }
        self.ready.extend(expected);
        let room = MOST.saturating_sub(self.late.len());
        self.late.extend(others.into_iter().take(room).map(|early| (now + self.patience, early)));
    }

    /// The pinhole is no more.
    pub(super) fn forget(&mut self, local: SocketAddr, out: &mut Outcome) {
        self.take(local, out);
    }

    fn take(&mut self, local: SocketAddr, out: &mut Outcome) -> Option<Place> {
        let place = self.remove(local)?;
        out.changes.push(Change::Keep(local, false));
        Some(place)
    }

    fn remove(&mut self, local: SocketAddr) -> Option<Place> {
        let place = self.places.remove(&local)?;
        self.callers = self.callers.saturating_sub(place.callers.len());
        slim::map(&mut self.places);
        Some(place)
    }

    /// Somebody has come. How many found no room.
    pub(super) fn come(&mut self, early: Early, now: Instant) -> u64 {
        let Some(place) = self.places.get_mut(&early.flow.local) else {
            // It was decided a moment ago.
            self.ready.push(early);
            return u64::from(self.shed());
        };
        let again = place.callers.iter_mut().find(|there| there.flow == early.flow);
        if let Some(there) = again {
            *there = early;
            return 0;
        }
        if self.callers >= MOST {
            return 1;
        }
        if place.since.is_none() {
            place.since = Some(now);
            self.waiting.push_back((now, early.flow.local));
        }
        place.callers.push(early);
        if place.callers.len() > CALLERS {
            place.callers.remove(least_worthy(&place.callers, |early| early.flow.caller));
            return 1;
        }
        self.callers += 1;
        0
    }

    /// There are too many to be put back at once.
    fn shed(&mut self) -> bool {
        let too_many = self.ready.len() > MOST;
        if too_many {
            self.ready.pop();
        }
        too_many
    }

    /// Who has waited for long enough is the loop's. How many these are.
    pub(super) fn on_time(&mut self, now: Instant, out: &mut Outcome) -> u64 {
        while let Some((at, local)) = self.closings.front().copied().filter(|(at, _)| *at <= now) {
            self.closings.pop_front();
            if self.closing.get(&local) == Some(&at) {
                self.closing.remove(&local);
                out.changes.push(Change::Keep(local, false));
            }
        }
        slim::map(&mut self.closing);
        slim::queue(&mut self.closings);
        let mut overdue = 0;
        while self.late.front().is_some_and(|(at, _)| *at <= now) {
            self.ready.extend(self.late.pop_front().map(|(_, early)| early));
        }
        while let Some((since, local)) = self.waiting.front().copied() {
            let place = self.places.get(&local).filter(|place| place.since == Some(since));
            match place {
                None => {}
                Some(_) if since + self.patience > now => break,
                Some(Place { owner, pinhole, callers, .. }) => {
                    overdue += callers.len() as u64;
                    out.reports.push((*owner, Report::Overdue { pinhole: *pinhole }));
                    self.let_go(local, out);
                }
            }
            self.waiting.pop_front();
        }
        slim::queue(&mut self.waiting);
        slim::queue(&mut self.late);
        overdue
    }

    /// When the next of them has.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let waiting = self.waiting.front().map(|(since, _)| *since + self.patience);
        let (late, closing) = (self.late.front(), self.closings.front());
        [waiting, late.map(|(at, _)| *at), closing.map(|(at, _)| *at)].into_iter().flatten().min()
    }

    /// The kernel keeps nobody there.
    pub(super) fn refused(&mut self, local: SocketAddr) {
        self.let_go(local, &mut Outcome::default());
    }

    /// Whom to put back now.
    pub(super) fn take_ready(&mut self) -> Vec<Early> {
        std::mem::take(&mut self.ready)
    }
}

#[cfg(test)]
mod tests;
