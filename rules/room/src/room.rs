//! The room: its members and what is passed between them.

use crate::history::History;
use crate::leg::{Fault, Leg};
use crate::message::Store;
use crate::names::Kept;
use crate::notice::Date;
use crate::seen::Seen;
use crate::speak::Arrival;
use crate::types::{Counters, Event, Limits, Member, MemberId, Reason, RosterEntry, Settings};
use bytes::Bytes;
use carnet_wire::Random;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often deadlines are looked at while anything has one.
const TICK: Duration = Duration::from_secs(1);

/// One chat room.
pub struct Room {
    pub(crate) settings: Settings,
    /// The room's URI in the form in which it is compared.
    pub(crate) address: String,
    pub(crate) limits: Limits,
    /// [`Limits::keep`] as it was given.
    keep: usize,
    pub(crate) random: Source,
    pub(crate) legs: BTreeMap<MemberId, Leg>,
    pub(crate) store: Store,
    pub(crate) history: History,
    pub(crate) seen: Seen,
    /// Nicknames of members that left.
    pub(crate) kept: Vec<Kept>,
    /// Who has the floor.
    holders: Vec<MemberId>,
    /// Senders that wait for others to have room.
    pub(crate) waiting: Vec<MemberId>,
    /// Whether all legs were sealed when it was last said.
    pub(crate) sealed: Option<bool>,
    pub(crate) date: Option<Date>,
    /// Members that are to be released.
    doubtful: VecDeque<(MemberId, Reason)>,
    writable: VecDeque<MemberId>,
    readable: VecDeque<MemberId>,
    events: VecDeque<Event>,
    tick: Option<Instant>,
}

impl Room {
    /// An empty room.
    pub fn new(settings: Settings, limits: Limits, random: Box<dyn Random>) -> Self {
        let keep = limits.keep;
        let limits = Limits { keep: keep.min(settings.stall_octets / 8), ..limits };
        Self {
            keep,
            address: crate::address::key(&settings.uri),
            settings,
            limits,
            random: Source::new(random),
            legs: BTreeMap::new(),
            store: Store::default(),
            history: History::default(),
            seen: Seen::default(),
            kept: Vec::new(),
            holders: Vec::new(),
            waiting: Vec::new(),
            sealed: None,
            date: None,
            doubtful: VecDeque::new(),
            writable: VecDeque::new(),
            readable: VecDeque::new(),
            events: VecDeque::new(),
            tick: None,
        }
    }

    /// Tells the room what date it is at `now`, so that its notices have one.
    pub fn set_date(&mut self, now: Instant, date: SystemTime) {
        self.date = Some((now, date));
    }

    /// Changes the policy. The URI stays what it was.
    pub fn configure(&mut self, now: Instant, settings: Settings) {
        self.settings = Settings { uri: std::mem::take(&mut self.settings.uri), ..settings };
        self.limits.keep = self.keep.min(self.settings.stall_octets / 8);
        self.history.expire(now, &self.settings.history, &mut self.store);
    }

    /// The policy.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A member comes in. What is said from now on waits for it until it has a connection. A member that is
    /// in the room already under this number and URI goes on over other paths: what it did not acknowledge
    /// is sent again.
    ///
    /// Returns false when the room is full, or when the number belongs to somebody else.
    pub fn join(&mut self, now: Instant, id: MemberId, member: Member) -> bool {
        if let Some(leg) = self.legs.get_mut(&id) {
            if leg.user != crate::address::key(&member.uri) {
                return false;
            }
            leg.close(now, &mut self.store);
            leg.member = member;
            self.settle(now);
            return true;
        }
        if self.legs.len() >= self.limits.members {
            return false;
        }
        let mut leg = Leg::new(now, member);
        leg.holds_floor = self.holders.contains(&id);
        if leg.member.history {
            self.history.expire(now, &self.settings.history, &mut self.store);
            // What is being said goes with what was said, as long as its beginning is here.
            let others = self.legs.values().flat_map(|leg| &leg.arrivals).filter_map(Arrival::number);
            let begun = others.filter(|n| {
                self.store
                    .get(*n)
                    .is_some_and(|m| m.in_history && m.completed.is_none() && m.held_from() == 0)
            });
            let numbers: Vec<u64> = self.history.numbers().chain(begun).collect();
            for number in numbers {
                let message = self.store.get(number);
                if message.is_some_and(|m| leg.objection(&m.wrapped, m.total).is_none()) {
                    self.store.retain(number, id);
                    leg.enqueue(&self.store, number);
                }
            }
        }
        self.legs.insert(id, leg);
        self.give_nickname(now, id);
        self.settle(now);
        true
    }

    /// A member goes, and what waited for it. Its connection is the caller's to close.
    pub fn leave(&mut self, now: Instant, id: MemberId) {
        self.remove(now, id, "left");
        self.settle(now);
    }

    /// Whether a member may send to the room. A message that has begun may be finished.
    pub fn set_speaking(&mut self, id: MemberId, may: bool) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.member.may_speak = may;
        }
    }

    /// Whether a member's leg is protected, when that is known only later.
    pub fn set_sealed(&mut self, now: Instant, id: MemberId, sealed: bool) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.member.sealed = sealed;
        }
        self.state_seal(now, None);
        self.settle(now);
    }

    /// Who may speak in a moderated room, also of those who come later. A message that has begun may be finished.
    pub fn set_holders(&mut self, holders: &[MemberId]) {
        self.holders = holders.to_vec();
        for (id, leg) in &mut self.legs {
            leg.holds_floor = holders.contains(id);
        }
    }

    /// A member's connection is open (and TLS is up on it). With `announce` the room sends something at once,
    /// as the side that opened the connection has to (RFC 4975 §5.4).
    pub fn connected(&mut self, now: Instant, id: MemberId, announce: bool) {
        let random = Box::new(self.random.clone());
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.session.is_some() {
            leg.close(now, &mut self.store);
        }
        leg.open(&self.limits, random);
        if announce && let Some(session) = &mut leg.session {
            session.keep_alive(now);
        }
        let first = !std::mem::replace(&mut leg.arrived, true);
        self.pump(now, id);
        if first {
            self.welcome(now, id);
        }
        self.settle(now);
    }

    /// A member's connection is gone. Its queue is kept, within the limits, until it comes back or leaves.
    pub fn disconnected(&mut self, now: Instant, id: MemberId) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.close(now, &mut self.store);
        }
        self.look_after(id);
        self.settle(now);
    }

    /// Takes octets of a member's connection and returns how many were consumed. Fewer than given means
    /// that the member has to wait: stop reading, offer the rest again when [`Self::poll_readable`] names it.
    ///
    /// Of a member that is not in the room, or has no connection, everything is consumed.
    pub fn handle_input(&mut self, now: Instant, id: MemberId, input: &[u8]) -> usize {
        let mut used = 0;
        while let Some(leg) = self.legs.get_mut(&id) {
            let Some(session) = &mut leg.session else { break };
            let n = session.handle_input(now, input.get(used..).unwrap_or_default());
            used += n;
            leg.pump(&mut self.store, &self.limits);
            let mut any = n > 0;
            while let Some(event) = self.legs.get_mut(&id).and_then(|leg| leg.incoming.pop_front()) {
                any = true;
                self.incoming(now, id, event);
                if let Some(leg) = self.legs.get_mut(&id) {
                    leg.pump(&mut self.store, &self.limits);
                }
            }
            if !any {
                break;
            }
        }
        self.look_after(id);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.starved = leg.session.is_some() && used < input.len();
            if leg.session.is_none() {
                used = input.len();
            }
        } else {
            used = input.len();
        }
        self.settle(now);
        used
    }

    /// Appends at most `max` octets for a member's connection to `out`. Returns whether there were any.
    /// Call it when the connection can take them, and only then: what was taken counts as progress.
    pub fn poll_transmit(&mut self, now: Instant, id: MemberId, out: &mut Vec<u8>, max: usize) -> bool {
        let before = out.len();
        let limit = before.saturating_add(max);
        let Some(leg) = self.legs.get_mut(&id) else { return false };
        let had_room = leg.has_room(&self.limits);
        while out.len() < limit {
            let Some(session) = &mut leg.session else { break };
            let any = session.poll_transmit(now, out, limit - out.len());
            if !leg.pump(&mut self.store, &self.limits) && !any {
                break;
            }
        }
        let gave = out.len() - before;
        if gave > 0 {
            leg.idle_since = None;
            self.store.counters.octets_out += gave as u64;
            // Answers that could not be queued can be now.
            if leg.starved && !leg.is_held() && !leg.listed_readable {
                leg.listed_readable = true;
                self.readable.push_back(id);
            }
        }
        if leg.stalled && leg.waiting <= self.settings.stall_octets / 4 {
            leg.stalled = false;
            self.events.push_back(Event::Resumed { member: id });
        }
        if leg.has_room(&self.limits) != had_room {
            self.let_senders_on(now);
        }
        self.look_after(id);
        self.settle(now);
        gave > 0
    }

    /// Whether [`Self::poll_transmit`] would give octets for this member.
    pub fn wants_write(&self, id: MemberId) -> bool {
        self.legs.get(&id).is_some_and(Leg::has_transmit)
    }

    /// A member for which something is to be sent. Each is named once for what there was then; whoever does
    /// not call [`Self::poll_transmit`] until it gives nothing asks [`Self::wants_write`].
    pub fn poll_writable(&mut self) -> Option<MemberId> {
        loop {
            let id = self.writable.pop_front()?;
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.listed_writable = false;
                return Some(id);
            }
        }
    }

    /// A member whose input was not consumed and may be offered again.
    pub fn poll_readable(&mut self) -> Option<MemberId> {
        loop {
            let id = self.readable.pop_front()?;
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.listed_readable = false;
                return Some(id);
            }
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.tick.is_none_or(|tick| now < tick) {
            return;
        }
        self.tick = None;
        let ids: Vec<MemberId> = self.legs.keys().copied().collect();
        for id in ids {
            let (limits, stall) = (&self.limits, self.settings.stall);
            let Some(leg) = self.legs.get_mut(&id) else { continue };
            leg.expire(now, &mut self.store, limits);
            let since = leg.has_transmit().then(|| leg.idle_since.unwrap_or(now));
            leg.idle_since = since;
            let idle = |limit| since.is_some_and(|since| now.saturating_duration_since(since) >= limit);
            match leg.absent_since {
                Some(since) if now.saturating_duration_since(since) >= limits.absence => {
                    self.doubtful.push_back((id, Reason::Absent));
                }
                None if idle(stall) => {
                    self.doubtful.push_back((id, Reason::Slow));
                }
                None if idle(stall / 2) => self.stall(id),
                _ => {}
            }
            let chunk = self.limits.chunk;
            let old = |a: &Arrival| !a.paused && now.saturating_duration_since(a.touched()) >= chunk;
            let Some(leg) = self.legs.get_mut(&id) else { continue };
            let keys: Vec<_> = leg.arrivals.iter().filter(|a| old(a)).filter_map(|a| a.key()).collect();
            if let Some(session) = &mut leg.session {
                for key in keys {
                    session.refuse(key, carnet_msrp::Status::STOP);
                }
            }
            self.drop_arrival(now, id, |a| old(a));
            self.look_after(id);
        }
        self.history.expire(now, &self.settings.history, &mut self.store);
        self.let_senders_on(now);
        self.settle(now);
    }

    /// When [`Self::handle_timeout`] should be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.tick
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Who is in the room, by number.
    pub fn roster(&self) -> Vec<RosterEntry> {
        let entry = |(id, leg): (&MemberId, &Leg)| RosterEntry {
            id: *id,
            uri: leg.member.uri.clone(),
            nickname: leg.nickname.as_ref().map(|(_, name)| name.clone()),
            sealed: leg.member.sealed,
            connected: leg.session.is_some(),
            stalled: leg.stalled,
            speaks: leg.member.may_speak && (!self.settings.moderated || leg.holds_floor),
            queued: leg.queued(),
        };
        self.legs.iter().map(entry).collect()
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.store.counters
    }

    /// Messages that are held for anybody or for history.
    pub fn held_messages(&self) -> usize {
        self.store.len()
    }

    /// Tells everybody something in words, from the room.
    pub fn announce(&mut self, now: Instant, text: &str) {
        let to = self.legs.keys().copied().collect();
        self.say(now, text, to);
        self.settle(now);
    }

    pub(crate) fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Puts a copy of a message into a member's queue.
    pub(crate) fn give(&mut self, now: Instant, id: MemberId, number: u64) {
        let Some(leg) = self.legs.get_mut(&id) else { return self.store.release(number) };
        leg.enqueue(&self.store, number);
        self.pump(now, id);
    }

    /// More octets of a message, for all that get it.
    pub(crate) fn append(&mut self, now: Instant, number: u64, data: &Bytes) {
        self.store.append(number, data);
        let recipients = self.store.get(number).map(|m| m.recipients.clone()).unwrap_or_default();
        for id in &recipients {
            let Some(leg) = self.legs.get_mut(id) else { continue };
            if leg.grow(number, data.len()) {
                self.pump(now, *id);
            }
        }
        self.watch_history(number);
        if !self.store.keeps(number, &self.limits) {
            let length = self.store.get(number).map_or(0, |m| m.length());
            let positions = recipients.iter().filter_map(|id| self.legs.get(id)?.position(number));
            let position = positions.min().unwrap_or(length);
            self.store.trim(number, position);
        }
    }

    /// A message that has become too long is not for history.
    pub(crate) fn watch_history(&mut self, number: u64) {
        let most = self.settings.history.octets.min(self.limits.keep) as u64;
        let size = self.store.get(number).map_or(0, |m| m.total.unwrap_or(0).max(m.length()));
        if size > most {
            self.store.forget(number);
        }
    }

    /// A message will not be completed.
    pub(crate) fn withdraw(&mut self, now: Instant, number: u64) {
        let recipients = self.store.get(number).map(|m| m.recipients.clone()).unwrap_or_default();
        for id in recipients {
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.withdraw(&mut self.store, number);
                self.pump(now, id);
            }
        }
        self.store.forget(number);
        self.store.release(number);
    }

    /// Moves what can be moved between a member's queue and its session.
    pub(crate) fn pump(&mut self, _now: Instant, id: MemberId) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.pump(&mut self.store, &self.limits);
        }
        self.look_after(id);
    }

    /// Puts a member on the list of those that have something to send.
    pub(crate) fn mark_writable(&mut self, id: MemberId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if !leg.listed_writable && leg.has_transmit() {
            leg.listed_writable = true;
            self.writable.push_back(id);
        }
    }

    /// Notes what became of a member: something to send, too much that waits, a fault.
    fn look_after(&mut self, id: MemberId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        while let Some(octets) = leg.missed.pop_front() {
            self.events.push_back(Event::Missed { member: id, octets });
        }
        let reason = match leg.fault {
            Some(Fault::Silent) => Some(Reason::Silent),
            Some(Fault::Protocol) => Some(Reason::Protocol),
            None if leg.queued() > self.settings.stall_octets => Some(Reason::Slow),
            None => None,
        };
        if let Some(reason) = reason {
            self.doubtful.push_back((id, reason));
        } else if leg.waiting > self.settings.stall_octets / 2 {
            self.stall(id);
        }
        self.mark_writable(id);
    }

    fn stall(&mut self, id: MemberId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if !leg.stalled && leg.session.is_some() {
            leg.stalled = true;
            let queued = leg.queued();
            self.events.push_back(Event::Stalled { member: id, queued });
        }
    }

    /// Lets those go on that waited for others.
    fn let_senders_on(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.waiting);
        for id in waiting {
            let Some(leg) = self.legs.get(&id) else { continue };
            let ready = |a: &&Arrival| a.paused && !self.must_wait(id, a);
            let keys: Vec<_> = leg.arrivals.iter().filter(ready).filter_map(Arrival::key).collect();
            let Some(leg) = self.legs.get_mut(&id) else { continue };
            for arrival in leg.arrivals.iter_mut().filter(|a| a.key().is_some_and(|k| keys.contains(&k))) {
                arrival.paused = false;
            }
            if let Some(session) = &mut leg.session {
                keys.iter().for_each(|key| session.resume(*key));
            }
            if leg.is_held() {
                self.waiting.push(id);
            }
            if !keys.is_empty() {
                leg.be_patient(now);
                if !leg.listed_readable {
                    leg.listed_readable = true;
                    self.readable.push_back(id);
                }
            }
        }
    }

    /// Ends a call: releases whoever has to go, and sees to the time.
    fn settle(&mut self, now: Instant) {
        while let Some((id, reason)) = self.doubtful.pop_front() {
            if self.legs.contains_key(&id) {
                self.remove(now, id, &format!("was released ({})", reason.word()));
                self.events.push_back(Event::Released { member: id, reason });
            }
        }
        if self.tick.is_none() && self.legs.values().any(Leg::is_timed) {
            self.tick = Some(now + TICK);
        }
    }

    fn remove(&mut self, now: Instant, id: MemberId, how: &str) {
        // What it had not finished is not completed.
        self.drop_arrival(now, id, |_| true);
        let Some(mut leg) = self.legs.remove(&id) else { return };
        leg.clear(&mut self.store);
        let name = leg.name().to_owned();
        if let Some((nickname, _)) = leg.nickname.take() {
            self.keep_nickname(now, leg.user, nickname);
        }
        self.waiting.retain(|other| *other != id);
        if leg.arrived {
            self.notice(now, &format!("{name} {how}."), None);
        }
        self.state_seal(now, None);
        self.let_senders_on(now);
    }
}

/// The room's random octets, for all its sessions. They are drawn many at a time.
#[derive(Clone)]
pub(crate) struct Source(Arc<Mutex<Pool>>);

struct Pool {
    random: Box<dyn Random>,
    octets: [u8; 1024],
    used: usize,
}

impl Source {
    fn new(random: Box<dyn Random>) -> Self {
        Self(Arc::new(Mutex::new(Pool { random, octets: [0; 1024], used: 1024 })))
    }
}

impl Random for Source {
    fn fill(&mut self, buffer: &mut [u8]) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = &mut *pool;
        for octet in buffer {
            if pool.used >= pool.octets.len() {
                pool.random.fill(&mut pool.octets);
                pool.used = 0;
            }
            *octet = pool.octets.get(pool.used).copied().unwrap_or_default();
            pool.used += 1;
        }
    }
}
