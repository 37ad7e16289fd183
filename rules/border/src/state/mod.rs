//! What outlives the process: calls that are up, set-ups as far as they can still be ended in order, dialogs without a
//! call, and registrations, as records that somebody keeps ([`Border::poll_kept`], [`Border::poll_forgotten`]) and gives to
//! the border that starts next ([`Border::restore`]).
//!
//! A call is written down as its two ends have agreed on it. An offer under way dies with the process; what it
//! changed on a gateway is set back. Until the ACK has come, the 2xx is in the record and is repeated. Of a set-up
//! there is the refusal for its caller and the CANCEL for its callee.
//!
//! A record is kept before the message goes out by which others learn of what is in it, and forgotten after the one
//! by which they learn of its end.
//!
//! Left out: transactions, what comes in the dialogs of calls that are over (a NOTIFY after a REFER and a BYE), digest nonces, what gateways told of their
//! health. No password and no key is in a record: whoever reads one learns who calls whom, and the names by which
//! requests find their call.

mod call;
mod restore;
mod setup;
mod subscription;
mod users;
mod waiting;

pub use restore::Restored;

use crate::border::Border;
use crate::call::{Call, Phase};
use crate::core::{CallKey, Core};
use crate::event::{Cause, Event};
use carnet_sip::{Hop, Transport};
use carnet_wire::{Fields, LineFields, Unreadable};
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant, SystemTime};

pub(crate) use setup::Abandoned;
pub(crate) use waiting::{Late, Unanswered};

/// Octets of a record; a call with more is not kept.
const LONGEST: usize = 256 * 1024;

/// Where a record is, and what was in it.
#[derive(Debug, Clone, Copy)]
struct Place {
    number: u32,
    hash: u64,
}

/// Which records there are and which are not as they should be.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Somebody keeps records.
    pub(crate) on: bool,
    /// Of calls and of subscriptions, which share their names.
    calls: HashMap<CallKey, Place>,
    users: HashMap<String, Place>,
    changed: BTreeSet<CallKey>,
    gone: BTreeSet<u32>,
    /// Numbers below `next` that name nothing.
    free: Vec<u32>,
    next: u32,
}

impl State {
    /// A call or a subscription may not be as it was.
    pub(crate) fn changed(&mut self, call: CallKey) {
        if self.on {
            self.changed.insert(call);
        }
    }

    fn number(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            self.next
        })
    }

    /// Where this text is to go, if it is not there yet.
    fn place(&mut self, known: Option<Place>, text: &str) -> Option<Place> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        match known {
            Some(known) if known.hash == hash => None,
            Some(known) => Some(Place { hash, ..known }),
            None => Some(Place { number: self.number(), hash }),
        }
    }
}

impl Border {
    /// Records are kept from now on: [`poll_kept`](Self::poll_kept) and
    /// [`poll_forgotten`](Self::poll_forgotten) say which.
    pub fn keep_state(&mut self) {
        self.core.state.on = true;
        self.core.registrar.kept = true;
    }

    /// The clock by which the records were written that are [restored](Self::restore) next shows this now: the time of
    /// day may have been set since.
    pub fn records_are_by(&mut self, wall: SystemTime) {
        self.core.written_by = Some(wall);
    }

    /// What was kept is lost: everything is to be kept anew.
    pub fn keep_again(&mut self) {
        let state = &mut self.core.state;
        state.calls.values_mut().chain(state.users.values_mut()).for_each(|place| place.hash = 0);
        state.changed.extend(self.calls.keys().chain(self.subscriptions.keys()).copied());
        self.core.registrar.changed.extend(state.users.keys().cloned());
    }

    /// Tells that nothing can be kept, or that nothing of before was found.
    pub fn state_lost(&mut self, reason: String) {
        self.core.events.push_back(Event::StateLost { reason });
    }

    /// Another process takes the place of this one in a moment. New requests by datagrams are left to it; by
    /// connections they are refused, and may come again (503 with Retry-After).
    pub fn hand_over(&mut self) {
        self.retiring = true;
        self.core.opening = None;
        self.core.endpoint.refrain(true);
    }

    /// What is under way, and would end with the process: transactions, set-ups, answers without an ACK.
    pub fn in_motion(&self) -> usize {
        let load = self.core.endpoint.load();
        let moves = |call: &&Call| match call.phase {
            Phase::Setup => true,
            Phase::Up => !(call.acknowledged || call.restored) || !call.session.exchanges.is_empty(),
            Phase::Over => false,
        };
        load.open_clients
            + load.open_servers
            + self.calls.values().filter(moves).count()
            + self.core.ops.len()
    }

    /// Ends what is being set up, towards both ends.
    pub fn end_setups(&mut self, now: Instant) {
        self.core.now = now;
        let setups = self.calls.values().filter(|call| call.phase == Phase::Setup);
        let mut keys: Vec<_> = setups.map(|call| call.key).collect();
        keys.sort_unstable();
        for key in keys {
            self.with(key, |call, core| call.hang_up(core, now, Cause::Restarted));
        }
        self.drain(now);
    }

    /// The next record to be written, under its number; in place of what was there. To be asked before anything is
    /// sent.
    pub fn poll_kept(&mut self) -> Option<(u32, String)> {
        while let Some(key) = self.core.state.changed.pop_first() {
            let known = self.core.state.calls.get(&key).copied();
            let text = self.calls.get(&key).and_then(|call| match call.phase {
                Phase::Setup => setup::written(call, &self.core),
                Phase::Up => Some(call::written(call, &self.core)),
                Phase::Over => None,
            });
            let other = || Some(subscription::written(self.subscriptions.get(&key)?, &self.core));
            let text = text.or_else(other);
            let Some(text) = text.filter(|text| text.len() <= LONGEST) else {
                if let Some(known) = known {
                    self.core.state.calls.remove(&key);
                    self.core.state.gone.insert(known.number);
                }
                continue;
            };
            if let Some(place) = self.core.state.place(known, &text) {
                self.core.state.calls.insert(key, place);
                return Some((place.number, text));
            }
        }
        while let Some(key) = self.core.registrar.changed.pop() {
            let known = self.core.state.users.get(&key).copied();
            let Some(text) = users::written(&self.core, &key).filter(|text| text.len() <= LONGEST) else {
                if let Some(known) = known {
                    self.core.state.users.remove(&key);
                    self.core.state.gone.insert(known.number);
                }
                continue;
            };
            if let Some(place) = self.core.state.place(known, &text) {
                self.core.state.users.insert(key, place);
                return Some((place.number, text));
            }
        }
        None
    }

    /// The next record that is of no use any more. To be asked after everything was sent.
    pub fn poll_forgotten(&mut self) -> Option<u32> {
        let number = self.core.state.gone.pop_first()?;
        self.core.state.free.push(number);
        Some(number)
    }
}

impl Core {
    /// Milliseconds since 1970: what a moment is to another process.
    pub(crate) fn wall(&self, at: Instant) -> u64 {
        let (start, wall) = self.start;
        let wall = match at.checked_duration_since(start) {
            Some(since) => wall.checked_add(since),
            None => wall.checked_sub(start.saturating_duration_since(at)),
        };
        let since = wall.unwrap_or(SystemTime::UNIX_EPOCH).duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }

    /// A moment that has passed, as far as this clock goes back.
    fn moment_before(&self, wall: u64) -> Instant {
        let ago = Duration::from_millis(self.wall(self.now).saturating_sub(wall));
        self.now.checked_sub(ago).unwrap_or(self.now)
    }

    /// The moment again; one that has passed is now.
    fn moment(&self, wall: u64) -> Instant {
        /// A week: longer than anything lasts without a refresh.
        const FURTHEST: Duration = Duration::from_secs(7 * 24 * 3600);
        let ahead = Duration::from_millis(wall.saturating_sub(self.wall(self.now)));
        self.now + ahead.min(FURTHEST)
    }
}

fn write_hop<'a>(line: LineFields<'a>, hop: Option<&Hop>) -> LineFields<'a> {
    line.option(hop.map(|hop| hop.transport))
        .option(hop.map(|hop| hop.remote))
        .option(hop.and_then(|hop| hop.local))
        .option(hop.and_then(|hop| hop.server_name.as_ref()))
}

/// A way as it is to another process: connections have gone with the one that had them.
fn read_hop(line: &mut Fields<'_>) -> Result<Option<Hop>, Unreadable> {
    let transport: Option<String> = line.option()?;
    let (remote, local, server_name) = (line.option()?, line.option()?, line.option()?);
    let Some((transport, remote)) = transport.zip(remote) else { return Ok(None) };
    let transport = Transport::parse(&transport);
    let transport = transport.ok_or_else(|| Unreadable("a transport is not known".into()))?;
    // Where a connection is made from is for the system to say.
    let local = local.filter(|_| !transport.is_reliable());
    Ok(Some(Hop { local, server_name, ..Hop::new(transport, remote) }))
}
