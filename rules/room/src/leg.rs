//! One member: its session, and what waits for it.
//!
//! A copy of a message first waits in the queue; then it is active, while the session writes it; then it is
//! unanswered until the member acknowledged it. When the connection is lost, what was not acknowledged and
//! is still held goes back into the queue.

use crate::message::Store;
use crate::speak::Arrival;
use crate::types::{Limits, Member, MemberId};
use carnet_msrp::{
    Config, Error, Event, FailureReason, Limits as SessionLimits, MessageKey, Outgoing, Session, Size, Status,
};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// What a copy costs besides its octets.
const OVERHEAD: usize = 256;
/// A message up to this size goes in one chunk, in the order in which it was given to the session.
const SHORT: u64 = 2048;
/// Complete copies that the session writes at one time. Those whose senders have not finished are not counted:
/// they go at once, since their senders wait for them and might never finish what others wait for.
const ACTIVE: usize = 24;
/// Of these, those that go in several chunks: a member has bounds on the messages it can have half of.
const LONG: usize = 12;
/// How far behind the first waiting copy another one is looked for, when the first has to wait for another
/// of its sender.
const LOOK: usize = 64;
/// Media types that a member refused and that are remembered.
const REFUSED: usize = 32;
/// How long a member whose input was not read may take to answer afterwards.
const PATIENCE: Duration = Duration::from_secs(10);

/// A copy of a message.
struct Delivery {
    number: u64,
    /// Octets given to the session.
    position: u64,
    key: Option<MessageKey>,
    /// Octets that the session asks for.
    wanted: usize,
    /// Whether it was given to the session whole and is short.
    whole: bool,
    /// Octets that count as unanswered.
    unanswered: usize,
}

impl Delivery {
    fn new(number: u64) -> Self {
        Self { number, position: 0, key: None, wanted: 0, whole: false, unanswered: 0 }
    }
}

/// What a leg has to say to the room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The member does not answer.
    Silent,
    /// The member does not speak MSRP, or not with us.
    Protocol,
}

/// One member.
pub(crate) struct Leg {
    pub(crate) member: Member,
    /// See [`crate::address::key`].
    pub(crate) user: String,
    /// In the form in which it is compared, and as the member wrote it.
    pub(crate) nickname: Option<(String, String)>,
    pub(crate) holds_floor: bool,
    pub(crate) session: Option<Box<Session>>,
    /// Whether it has ever had a connection.
    pub(crate) arrived: bool,
    /// When its connection was lost, or it joined.
    pub(crate) absent_since: Option<Instant>,
    pub(crate) arrivals: Vec<Arrival>,
    /// What the session has to say of messages of the member.
    pub(crate) incoming: VecDeque<Event>,
    pub(crate) fault: Option<Fault>,
    queue: VecDeque<Delivery>,
    active: Vec<Delivery>,
    unanswered: HashMap<MessageKey, Delivery>,
    /// Octets that wait and are not with the session.
    pub(crate) waiting: usize,
    /// Octets that are not acknowledged, as far as they are held.
    unanswered_octets: usize,
    /// Octets of messages that it did not get since last asked.
    pub(crate) missed: VecDeque<u64>,
    pub(crate) stalled: bool,
    /// Since when it has been seen to take nothing of what is there for it.
    pub(crate) idle_since: Option<Instant>,
    /// Until when answers may be late because the input was not read.
    patience: Option<Instant>,
    pub(crate) listed_writable: bool,
    pub(crate) listed_readable: bool,
    /// Whether its input was not consumed.
    pub(crate) starved: bool,
    refused_types: Vec<String>,
}

impl Leg {
    pub(crate) fn new(now: Instant, member: Member) -> Self {
        Self {
            user: crate::address::key(&member.uri),
            member,
            nickname: None,
            holds_floor: false,
            session: None,
            arrived: false,
            absent_since: Some(now),
            arrivals: Vec::new(),
            incoming: VecDeque::new(),
            fault: None,
            queue: VecDeque::new(),
            active: Vec::new(),
            unanswered: HashMap::new(),
            waiting: 0,
            unanswered_octets: 0,
            missed: VecDeque::new(),
            stalled: false,
            idle_since: None,
            patience: None,
            listed_writable: false,
            listed_readable: false,
            starved: false,
            refused_types: Vec::new(),
        }
    }

    /// How a person calls the member.
    pub(crate) fn name(&self) -> &str {
        self.nickname.as_ref().map_or(self.member.uri.as_str(), |(_, name)| name.as_str())
    }

    /// The connection is open.
    pub(crate) fn open(&mut self, limits: &Limits, random: Box<dyn carnet_wire::Random>) {
        let config = Config {
            accept_types: vec![carnet_msrp::cpim::MEDIA_TYPE.to_owned()],
            peer_max_size: self.member.max_size,
            conclude: true,
            nicknames: true,
            chunk_size: limits.chunk_size,
            transaction_timeout: limits.answer,
            limits: SessionLimits {
                arrivals: limits.arrivals,
                // One at a time, so that a chunk is answered after what it holds was judged.
                events: 1,
                // Whether the others have room is looked at after so many octets.
                event_octets: limits.chunk_size,
                messages: 1 << 16,
                transactions: 1 << 16,
                ..SessionLimits::default()
            },
            ..Config::new(self.member.local_path.clone(), self.member.remote_path.clone())
        };
        self.session = Some(Box::new(Session::new(config, random)));
        self.absent_since = None;
        self.idle_since = None;
    }

    /// The connection is gone: what was under way waits again, in its order. What is no longer held from
    /// its first octet is missed.
    pub(crate) fn close(&mut self, now: Instant, store: &mut Store) {
        self.session = None;
        self.absent_since = Some(now);
        self.incoming.clear();
        self.patience = None;
        let active = std::mem::take(&mut self.active).into_iter().map(|copy| (copy, true));
        let unanswered = std::mem::take(&mut self.unanswered).into_values().map(|copy| (copy, false));
        for (copy, waits) in active.chain(unanswered).collect::<Vec<_>>() {
            let Some(message) = store.get(copy.number) else { continue };
            if waits {
                let left = count(message.length().saturating_sub(copy.position));
                self.waiting = self.waiting.saturating_sub(left);
            }
            if message.held_from() == 0 {
                self.waiting += count(message.length());
                self.queue.push_back(Delivery::new(copy.number));
            } else {
                self.miss(store, copy.number);
            }
        }
        self.arrivals.retain_mut(Arrival::rest);
        self.unanswered_octets = 0;
        self.queue.make_contiguous().sort_unstable_by_key(|copy| copy.number);
    }

    /// The member is gone: nothing waits for it any more.
    pub(crate) fn clear(&mut self, store: &mut Store) {
        let copies = self.queue.drain(..).chain(self.active.drain(..));
        for copy in copies.chain(self.unanswered.drain().map(|(_, copy)| copy)) {
            store.release(copy.number);
        }
    }

    /// A copy for this member, behind all earlier ones. The store counts it already.
    pub(crate) fn enqueue(&mut self, store: &Store, number: u64) {
        let length = store.get(number).map_or(0, |m| m.length());
        self.waiting += count(length);
        let at = self.queue.partition_point(|c| c.number < number);
        self.queue.insert(at, Delivery::new(number));
    }

    /// More octets of a message have arrived. False when it is not one of this member.
    pub(crate) fn grow(&mut self, number: u64, octets: usize) -> bool {
        let mine = self.active.iter().any(|c| c.number == number)
            || self.queue.binary_search_by_key(&number, |c| c.number).is_ok();
        if mine {
            self.waiting += octets;
        }
        mine
    }

    /// How far this member's copy is, when it is not finished.
    pub(crate) fn position(&self, number: u64) -> Option<u64> {
        let active = self.active.iter().find(|c| c.number == number);
        active
            .or_else(|| self.queue.get(self.queue.binary_search_by_key(&number, |c| c.number).ok()?))
            .map(|c| c.position)
    }

    /// A message will not be completed: its sender gave it up.
    pub(crate) fn withdraw(&mut self, store: &mut Store, number: u64) {
        let length = store.get(number).map_or(0, |m| m.length());
        if let Ok(at) = self.queue.binary_search_by_key(&number, |c| c.number) {
            self.queue.remove(at);
            self.waiting = self.waiting.saturating_sub(count(length));
            store.release(number);
        } else if let Some(at) = self.active.iter().position(|c| c.number == number) {
            let copy = self.active.remove(at);
            self.waiting = self.waiting.saturating_sub(count(length - copy.position));
            if let (Some(session), Some(key)) = (&mut self.session, copy.key) {
                session.abort(key);
            }
            store.release(number);
        }
    }

    /// Gives the session what it can take, and takes from it what it has to say.
    /// Returns whether the session got anything.
    pub(crate) fn pump(&mut self, store: &mut Store, limits: &Limits) -> bool {
        let mut any = false;
        self.take_events(store, limits);
        while self.promote(store) || self.supply(store) {
            any = true;
            self.take_events(store, limits);
        }
        any
    }

    /// Hands the first copy that may go to the session.
    fn promote(&mut self, store: &mut Store) -> bool {
        let Some(session) = &mut self.session else { return false };
        if self.queue.is_empty() {
            return false;
        }
        let complete = |c: &&Delivery| c.whole || store.get(c.number).is_some_and(|m| m.completed.is_some());
        let full = self.active.len() >= ACTIVE && self.active.iter().filter(complete).count() >= ACTIVE;
        let mut held_back: Vec<Option<MemberId>> = Vec::new();
        for at in 0..self.queue.len().min(LOOK) {
            let Some(number) = self.queue.get(at).map(|c| c.number) else { return false };
            let Some(message) = store.get(number) else {
                self.queue.remove(at);
                return true;
            };
            // What a sender began after another message was complete arrives after it. Short messages
            // keep their order in the session.
            let before = |c: &Delivery| {
                !c.whole
                    && store.get(c.number).is_some_and(|earlier| {
                        earlier.sender == message.sender && earlier.completed.is_some_and(|at| at <= number)
                    })
            };
            let same_id = |c: &Delivery| store.get(c.number).is_some_and(|m| m.id == message.id);
            if held_back.contains(&message.sender) || self.active.iter().any(|c| before(c) || same_id(c)) {
                held_back.push(message.sender);
                continue;
            }
            let long = message.length() > SHORT;
            let longs = || self.active.iter().filter(|c| !c.whole).filter(complete).count();
            if message.completed.is_some() && (full || (long && self.active.len() >= LONG && longs() >= LONG))
            {
                held_back.push(message.sender);
                continue;
            }
            let whole = message.is_here() && message.length() <= SHORT && message.held_from() == 0;
            let outgoing = Outgoing {
                message_id: Some(message.id.clone()),
                headers: message.headers.clone(),
                ..Outgoing::new(
                    message.content_type.as_str(),
                    message.total.map_or(Size::Unknown, Size::Known),
                )
            };
            let length = message.length();
            let result =
                if whole { session.send_whole(outgoing, message.whole()) } else { session.send(outgoing) };
            match result {
                Ok(key) => {
                    let Some(mut copy) = self.queue.remove(at) else { return false };
                    copy.key = Some(key);
                    if whole {
                        copy.whole = true;
                        copy.position = length;
                        self.waiting = self.waiting.saturating_sub(count(length));
                    }
                    self.active.push(copy);
                }
                // An earlier copy with this identifier is not answered yet, or there is no room.
                Err(Error::Full | Error::CannotSend(_)) if !self.unanswered.is_empty() => {
                    held_back.push(message.sender);
                    continue;
                }
                Err(Error::Closed) => return false,
                Err(_) => {
                    self.queue.remove(at);
                    self.waiting = self.waiting.saturating_sub(count(length));
                    self.miss(store, number);
                }
            }
            return true;
        }
        false
    }

    /// Gives the session octets that it asks for and that are here.
    fn supply(&mut self, store: &Store) -> bool {
        let Some(session) = &mut self.session else { return false };
        let mut any = false;
        for copy in self.active.iter_mut().filter(|c| c.wanted > 0) {
            let (Some(message), Some(key)) = (store.get(copy.number), copy.key) else { continue };
            let data = message.slice(copy.position, copy.wanted).unwrap_or_default();
            let after = copy.position + data.len() as u64;
            let last = message.completed.is_some() && after == message.length();
            if data.is_empty() && !last {
                continue;
            }
            let octets = data.len();
            copy.wanted = 0;
            copy.position = after;
            self.waiting = self.waiting.saturating_sub(octets);
            // A failure is told by the session in an event.
            let _ = session.supply(key, data, last);
            any = true;
        }
        any
    }

    /// Works off the events of the session that are about messages to this member.
    fn take_events(&mut self, store: &mut Store, limits: &Limits) {
        while let Some(event) = self.session.as_mut().and_then(|s| s.poll_event()) {
            match event {
                Event::WantBody { key, max } => {
                    if let Some(copy) = self.active.iter_mut().find(|c| c.key == Some(key)) {
                        copy.wanted = max;
                    }
                }
                Event::Sent { key } => {
                    let Some(at) = self.active.iter().position(|c| c.key == Some(key)) else { continue };
                    let mut copy = self.active.remove(at);
                    copy.unanswered = OVERHEAD;
                    if store.keeps(copy.number, limits) {
                        copy.unanswered += count(copy.position);
                    }
                    self.unanswered_octets += copy.unanswered;
                    self.unanswered.insert(key, copy);
                }
                Event::Delivered { key } => {
                    store.counters.delivered += 1;
                    if let Some(number) = self.finish(store, key) {
                        store.release(number);
                    }
                }
                Event::Failed { key, reason } => self.failed(store, key, reason),
                Event::Report { .. } | Event::KeptAlive { .. } => {}
                Event::Closed { error } => {
                    if error.is_some() {
                        self.fault.get_or_insert(Fault::Protocol);
                    }
                }
                other => self.incoming.push_back(other),
            }
        }
    }

    fn failed(&mut self, store: &mut Store, key: MessageKey, reason: FailureReason) {
        match reason {
            FailureReason::TimedOut => {
                self.fault.get_or_insert(Fault::Silent);
            }
            // The copy waits for another connection.
            FailureReason::ConnectionLost => return,
            _ => {}
        }
        let Some(number) = self.finish(store, key) else { return };
        if let FailureReason::Response(Status::UNSUPPORTED_TYPE) = reason
            && let Some(message) = store.get(number)
            && self.refused_types.len() < REFUSED
            && !self.refused_types.contains(&message.wrapped)
        {
            self.refused_types.push(message.wrapped.clone());
        }
        self.miss(store, number);
    }

    /// Takes a copy from those under way.
    fn finish(&mut self, store: &Store, key: MessageKey) -> Option<u64> {
        if let Some(copy) = self.unanswered.remove(&key) {
            self.unanswered_octets = self.unanswered_octets.saturating_sub(copy.unanswered);
            return Some(copy.number);
        }
        let at = self.active.iter().position(|c| c.key == Some(key))?;
        let copy = self.active.remove(at);
        let left = store.get(copy.number).map_or(0, |m| m.length().saturating_sub(copy.position));
        self.waiting = self.waiting.saturating_sub(count(left));
        Some(copy.number)
    }

    fn miss(&mut self, store: &mut Store, number: u64) {
        store.counters.failed += 1;
        self.missed.push_back(store.get(number).map_or(0, |m| m.length()));
        store.release(number);
    }

    /// Octets that wait or are not acknowledged, with what keeping them costs.
    pub(crate) fn queued(&self) -> usize {
        self.waiting + self.unanswered_octets + OVERHEAD * (self.queue.len() + self.active.len())
    }

    /// Whether anything of this leg can run out of time.
    pub(crate) fn is_timed(&self) -> bool {
        self.has_transmit()
            || !self.unanswered.is_empty()
            || !self.arrivals.is_empty()
            || self.absent_since.is_some()
    }

    /// Whether there are octets for the connection.
    pub(crate) fn has_transmit(&self) -> bool {
        self.session.as_ref().is_some_and(|s| s.has_transmit())
    }

    /// Whether a sender counts on this member having room; `None` when it does not count.
    pub(crate) fn has_room(&self, limits: &Limits) -> Option<bool> {
        (self.session.is_some() && !self.stalled).then_some(self.waiting <= limits.window)
    }

    /// Whether a message of the member waits for others to have room.
    pub(crate) fn is_held(&self) -> bool {
        self.arrivals.iter().any(|a| a.paused)
    }

    /// Its input is read again.
    pub(crate) fn be_patient(&mut self, now: Instant) {
        self.patience = Some(now + PATIENCE);
    }

    /// Lets requests run out of time, unless their answers could not be read.
    pub(crate) fn expire(&mut self, now: Instant, store: &mut Store, limits: &Limits) {
        if self.is_held() {
            return self.be_patient(now);
        }
        if self.patience.is_some_and(|until| now < until) {
            return;
        }
        self.patience = None;
        if let Some(session) = &mut self.session {
            session.handle_timeout(now);
        }
        self.take_events(store, limits);
    }

    /// What is against sending the member a message, as the status that says so.
    pub(crate) fn objection(&self, wrapped: &str, size: Option<u64>) -> Option<Status> {
        if let (Some(size), Some(max)) = (size, self.member.max_size)
            && size > max
        {
            return Some(Status::STOP);
        }
        let wrapped = media_type(wrapped);
        let refused = self.refused_types.iter().any(|t| media_type(t).eq_ignore_ascii_case(wrapped));
        let types = &self.member.accept_types;
        let takes = |wanted: &str| types.iter().any(|entry| covers(media_type(entry), wanted));
        // A list that only has the wrapper says nothing of what is in it.
        let silent = types.iter().all(|t| covers(media_type(t), carnet_msrp::cpim::MEDIA_TYPE));
        let accepted =
            types.is_empty() || (takes(carnet_msrp::cpim::MEDIA_TYPE) && (silent || takes(wrapped)));
        (refused || !accepted).then_some(Status::UNSUPPORTED_TYPE)
    }
}

fn covers(entry: &str, wanted: &str) -> bool {
    match entry.strip_suffix("/*") {
        _ if entry == "*" => true,
        Some(group) => wanted.split_once('/').is_some_and(|(g, _)| g.eq_ignore_ascii_case(group)),
        None => entry.eq_ignore_ascii_case(wanted),
    }
}

/// A media type without its parameters.
pub(crate) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn count(octets: u64) -> usize {
    usize::try_from(octets).unwrap_or(usize::MAX)
}
