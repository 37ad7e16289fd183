//! What members send: who may say what to whom (RFC 7701 §6), and the octets of it in their order.

use crate::address;
use crate::leg::{Leg, media_type};
use crate::message::Beginning;
use crate::room::Room;
use crate::seen::{digest, identity};
use crate::types::{Event, MemberId, canonical_nickname};
use bytes::Bytes;
use carnet_msrp::{AbortReason, ArrivalKey, Event as SessionEvent, Status, composing, cpim, imdn};
use std::collections::BTreeMap;
use std::time::Instant;

/// A message that a member sends and that is not complete.
pub(crate) struct Arrival {
    /// Its name in the session; `None` when the connection it came over is gone.
    key: Option<ArrivalKey>,
    message_id: String,
    content_type: String,
    size: Option<u64>,
    headers: Vec<(String, String)>,
    stage: Stage,
    /// Octets that came before those ahead of them.
    early: BTreeMap<u64, Bytes>,
    early_octets: usize,
    /// Octets without a gap.
    next: u64,
    touched: Instant,
    /// Whether the sender waits for its recipients to have room.
    pub(crate) paused: bool,
}

enum Stage {
    /// The message/cpim head is not complete.
    Head(Vec<u8>),
    /// The message with this number.
    Flowing(u64),
    /// A message with this identifier was delivered before. What it has of octets, as long as it may be kept,
    /// tells whether it is the same message.
    Repeated(String, Vec<u8>),
}

/// For whom a message is.
struct Route {
    recipients: Vec<MemberId>,
    wrapped: String,
    private: bool,
    /// Whether it is a message, and not only a sign of life.
    lasting: bool,
}

/// What a message is called and what it begins with.
struct Title {
    message_id: String,
    content_type: String,
    headers: Vec<(String, String)>,
}

/// A refusal and the reason in words.
type Refusal = (Status, &'static str);

impl Arrival {
    /// The connection is gone. Whether the message may be continued over another one.
    pub(crate) fn rest(&mut self) -> bool {
        self.key = None;
        self.paused = false;
        matches!(self.stage, Stage::Flowing(_))
    }

    /// The number of the message that it is in the room.
    pub(crate) fn number(&self) -> Option<u64> {
        match self.stage {
            Stage::Flowing(number) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn key(&self) -> Option<ArrivalKey> {
        self.key
    }

    pub(crate) fn touched(&self) -> Instant {
        self.touched
    }

    /// Puts octets into their order and returns those that have all before them,
    /// each with the position behind it.
    fn order(&mut self, offset: u64, data: Bytes, most: usize) -> Result<Vec<(u64, Bytes)>, Refusal> {
        if offset > self.next {
            self.early_octets += data.len();
            if self.early_octets > most {
                return Err((Status::STOP, "too many octets before those ahead of them"));
            }
            let known = self.early.get(&offset).map_or(0, Bytes::len);
            if known < data.len() {
                self.early.insert(offset, data);
            }
            return Ok(Vec::new());
        }
        let mut pieces = Vec::with_capacity(1);
        let mut next = Some((offset, data));
        while let Some((at, data)) = next {
            let known = usize::try_from(self.next - at).unwrap_or(usize::MAX);
            if known < data.len() {
                let fresh = data.slice(known..);
                self.next += fresh.len() as u64;
                pieces.push((self.next, fresh));
            }
            next = match self.early.first_key_value() {
                Some((at, _)) if *at <= self.next => self.early.pop_first(),
                _ => None,
            };
            if let Some((_, data)) = &next {
                self.early_octets = self.early_octets.saturating_sub(data.len());
            }
        }
        Ok(pieces)
    }
}

impl Room {
    /// What a member's session has to say of what the member sends.
    pub(crate) fn incoming(&mut self, now: Instant, id: MemberId, event: SessionEvent) {
        match event {
            SessionEvent::Begun { arrival, message_id, content_type, size, headers, .. } => {
                let Some(leg) = self.legs.get_mut(&id) else { return };
                let unwrapped = is_unwrapped(&content_type);
                leg.arrivals.push(Arrival {
                    key: Some(arrival),
                    message_id,
                    content_type,
                    size,
                    headers,
                    stage: Stage::Head(Vec::new()),
                    early: BTreeMap::new(),
                    early_octets: 0,
                    next: 0,
                    touched: now,
                    paused: false,
                });
                if unwrapped {
                    let refusal = (Status::UNSUPPORTED_TYPE, "only message/cpim in this room");
                    return self.refuse(id, arrival, refusal);
                }
                if size.is_some_and(|size| self.settings.max_message.is_some_and(|max| size > max)) {
                    return self.refuse(id, arrival, (Status::STOP, "the message is too long for this room"));
                }
                self.hold_back(id, arrival);
            }
            SessionEvent::Body { arrival, offset, data } => {
                self.store.counters.octets_in += data.len() as u64;
                if let Err(refusal) = self.body(now, id, arrival, offset, data) {
                    return self.refuse(id, arrival, refusal);
                }
                self.hold_back(id, arrival);
            }
            SessionEvent::Complete { arrival, size } => self.complete(now, id, arrival, size),
            SessionEvent::Aborted { arrival, reason } if reason != AbortReason::ConnectionLost => {
                self.drop_arrival(now, id, |a| a.key == Some(arrival));
            }
            SessionEvent::NicknameAsked { request, nickname } => {
                let answer = self.nickname_asked(now, id, &nickname);
                let status = answer.err().unwrap_or(Status::OK);
                if let Some(session) = self.legs.get_mut(&id).and_then(|leg| leg.session.as_mut()) {
                    session.answer_nickname(request, status);
                }
                if answer.is_ok() {
                    self.renamed(now, id);
                }
            }
            _ => {}
        }
    }

    /// Octets of a message.
    fn body(
        &mut self,
        now: Instant,
        id: MemberId,
        key: ArrivalKey,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Refusal> {
        let (most, max, keep) = (self.limits.disorder, self.settings.max_message, self.limits.keep);
        let Some(arrival) = self.arrival(id, key) else { return Ok(()) };
        arrival.touched = now;
        let pieces = arrival.order(offset, data, most)?;
        if max.is_some_and(|max| arrival.next > max) {
            return Err((Status::STOP, "the message is too long for this room"));
        }
        for (end, piece) in pieces {
            let Some(arrival) = self.arrival(id, key) else { return Ok(()) };
            match &mut arrival.stage {
                Stage::Repeated(_, octets) if octets.len() + piece.len() <= keep => {
                    octets.extend_from_slice(&piece);
                }
                Stage::Repeated(_, octets) => octets.clear(),
                Stage::Flowing(number) => {
                    let number = *number;
                    self.check_private(number)?;
                    // A message that goes on over another connection begins again: what is known is skipped.
                    self.flow(now, number, end, piece);
                }
                Stage::Head(head) => {
                    let line_end = memchr::memchr(b'\n', &piece).is_some();
                    head.extend_from_slice(&piece);
                    let octets = std::mem::take(head);
                    let limits = carnet_msrp::Limits::default();
                    if !line_end && octets.len() < limits.head {
                        arrival.stage = Stage::Head(octets);
                        continue;
                    }
                    match cpim::Head::parse(&octets, &limits) {
                        Ok(None) => arrival.stage = Stage::Head(octets),
                        Ok(Some((head, length))) => self.begin(now, id, key, &head, length, octets)?,
                        Err(_) => return Err((Status::BAD_REQUEST, "not a message/cpim head")),
                    }
                }
            }
        }
        Ok(())
    }

    /// The head of a message is complete: decides for whom it is, and sends what is there on its way.
    fn begin(
        &mut self,
        now: Instant,
        id: MemberId,
        key: ArrivalKey,
        head: &cpim::Head,
        length: usize,
        octets: Vec<u8>,
    ) -> Result<(), Refusal> {
        let Some(leg) = self.legs.get(&id) else { return Ok(()) };
        let Some(arrival) = leg.arrivals.iter().find(|a| a.key == Some(key)) else { return Ok(()) };
        // The same message gets the same identifier whenever and wherever it is sent again.
        let parts =
            [leg.user.as_bytes(), arrival.message_id.as_bytes(), octets.get(..length).unwrap_or_default()];
        let message_id = identity(&parts);
        self.check_sender(leg, head)?;
        if self.seen.get(&message_id).is_some() {
            if let Some(arrival) = self.arrival(id, key) {
                arrival.stage = Stage::Repeated(message_id, octets);
            }
            return Ok(());
        }
        let resting = |a: &Arrival| {
            a.key.is_none() && a.number().and_then(|n| self.store.get(n)).is_some_and(|m| m.id == message_id)
        };
        let octets = Bytes::from(octets);
        if let Some(at) = leg.arrivals.iter().position(resting) {
            let number = leg.arrivals.get(at).and_then(Arrival::number);
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.arrivals.remove(at);
            }
            if let (Some(number), Some(arrival)) = (number, self.arrival(id, key)) {
                arrival.stage = Stage::Flowing(number);
                self.flow(now, number, octets.len() as u64, octets);
            }
        } else {
            let route = self.route(id, leg, head, arrival.size)?;
            let title = Title {
                message_id,
                content_type: arrival.content_type.clone(),
                headers: arrival.headers.clone(),
            };
            let size = arrival.size;
            let number = self.start(now, id, title, size, route, octets);
            if let Some(arrival) = self.arrival(id, key) {
                arrival.stage = Stage::Flowing(number);
            }
        }
        Ok(())
    }

    /// A message begins: what is there of it goes to its recipients.
    fn start(
        &mut self,
        now: Instant,
        id: MemberId,
        what: Title,
        size: Option<u64>,
        route: Route,
        octets: Bytes,
    ) -> u64 {
        let number = self.store.begin(Beginning {
            id: what.message_id,
            sender: Some(id),
            content_type: what.content_type,
            headers: what.headers,
            wrapped: route.wrapped,
            private: route.private,
            total: size,
            recipients: route.recipients.clone(),
            in_history: route.lasting && !route.private && self.settings.history.count > 0,
        });
        self.store.append(number, &octets);
        for recipient in route.recipients {
            self.give(now, recipient, number);
        }
        self.watch_history(number);
        number
    }

    /// Whoever sends has to say who it is (RFC 7701 §6.1).
    fn check_sender(&self, leg: &Leg, head: &cpim::Head) -> Result<(), Refusal> {
        let mut from = head.headers.iter().filter(|h| h.name() == "From");
        let (first, more) = (from.next(), from.next());
        let address = first.and_then(|h| cpim::Address::parse(h.value()).ok());
        match address {
            Some(address) if more.is_none() && address::key(&address.uri) == leg.user => Ok(()),
            _ => Err((Status::FORBIDDEN, "From is not your own URI")),
        }
    }

    /// For whom a message is (RFC 7701 §6.1, §6.2).
    fn route(&self, id: MemberId, leg: &Leg, head: &cpim::Head, size: Option<u64>) -> Result<Route, Refusal> {
        let mut to = head.headers.iter().filter(|h| h.name() == "To");
        let (first, more) = (to.next(), to.next());
        if more.is_some() {
            return Err((Status::FORBIDDEN, "more than one To"));
        }
        let to = first.and_then(|h| cpim::Address::parse(h.value()).ok());
        let to = to.ok_or((Status::BAD_REQUEST, "no To that can be read"))?;
        let wrapped = head.content_type().to_owned();
        let is = |name: &str| media_type(&wrapped).eq_ignore_ascii_case(name);
        let lasting = !is(composing::MEDIA_TYPE);
        let notification = is(imdn::MEDIA_TYPE);
        let target = address::key(&to.uri);
        if target == self.address {
            if !leg.member.may_speak {
                return Err((Status::FORBIDDEN, "you may not speak in this room"));
            }
            if self.settings.moderated && !leg.holds_floor {
                return Err((Status::FORBIDDEN, "only the holder of the floor may speak"));
            }
            let others = self.legs.iter().filter(|(other, _)| **other != id);
            let mut objection = None;
            let mut recipients = Vec::with_capacity(self.legs.len());
            let mut others_are = false;
            for (other, leg) in others {
                others_are = true;
                match leg.objection(&wrapped, size) {
                    Some(status) => objection = Some(status),
                    // What is of no use later does not wait for those who are behind.
                    None if !lasting && (leg.stalled || leg.session.is_none()) => {}
                    None => recipients.push(*other),
                }
            }
            if recipients.is_empty()
                && others_are
                && let Some(status) = objection
            {
                return Err((status, "nobody in the room takes it"));
            }
            return Ok(Route { recipients, wrapped, private: false, lasting });
        }
        let name = canonical_nickname(&address::unescape(&to.uri));
        let named = |leg: &Leg| {
            leg.user == target || leg.nickname.as_ref().is_some_and(|(nick, _)| Some(nick) == name.as_ref())
        };
        let targets: Vec<_> = self.legs.iter().filter(|(other, leg)| **other != id && named(leg)).collect();
        if targets.is_empty() {
            return Err((Status::NOT_FOUND, "nobody in the room is called that"));
        }
        // A notification about a message that was delivered goes back wherever the message came from.
        if !self.settings.private && !notification {
            return Err((Status::FORBIDDEN, "no private messages in this room"));
        }
        let mut refusal = None;
        let mut recipients = Vec::with_capacity(1);
        for (other, leg) in targets {
            if !leg.member.private && !notification {
                refusal = Some((Status::NO_PRIVATE_MESSAGES, "the recipient takes no private messages"));
            } else if let Some(status) = leg.objection(&wrapped, size) {
                refusal = Some((status, "the recipient does not take it"));
            } else if leg.stalled && leg.waiting > self.limits.window {
                refusal = Some((Status::STOP, "the recipient does not keep up"));
            } else if lasting || (!leg.stalled && leg.session.is_some()) {
                recipients.push(*other);
            }
        }
        match refusal {
            Some(refusal) if recipients.is_empty() => Err(refusal),
            _ => Ok(Route { recipients, wrapped, private: true, lasting }),
        }
    }

    /// A private message goes on only while somebody takes it: its sender shall neither wait for a recipient
    /// that does not keep up nor believe that one has it who is gone.
    fn check_private(&self, number: u64) -> Result<(), Refusal> {
        let Some(message) = self.store.get(number).filter(|m| m.private) else { return Ok(()) };
        let mut gone = true;
        for leg in message.recipients.iter().filter_map(|id| self.legs.get(id)) {
            if !(leg.stalled && leg.waiting > self.limits.window) {
                return Ok(());
            }
            gone = false;
        }
        Err(match gone {
            true => (Status::NOT_FOUND, "the recipient is gone"),
            false => (Status::STOP, "the recipient does not keep up"),
        })
    }

    /// Octets of a message that is under way; `end` is where they end in it.
    fn flow(&mut self, now: Instant, number: u64, end: u64, data: Bytes) {
        let Some(message) = self.store.get(number) else { return };
        let at = end - data.len() as u64;
        let Ok(known) = usize::try_from(message.length().saturating_sub(at)) else { return };
        if known >= data.len() {
            return;
        }
        self.append(now, number, &data.slice(known..));
    }

    /// Every octet of a message has arrived.
    fn complete(&mut self, now: Instant, id: MemberId, key: ArrivalKey, size: u64) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(at) = leg.arrivals.iter().position(|a| a.key == Some(key)) else { return };
        let arrival = leg.arrivals.remove(at);
        let status = match arrival.stage {
            Stage::Repeated(message_id, octets) => {
                let digest = digest(&octets);
                // Too long to compare: the identifier and the head are the same, which has to do.
                let same = octets.is_empty() || self.seen.get(&message_id) == Some(&digest);
                if same {
                    Status::OK
                } else {
                    // The member uses identifiers twice.
                    let message_id = identity(&[message_id.as_bytes(), &digest]);
                    let title =
                        Title { message_id, content_type: arrival.content_type, headers: arrival.headers };
                    self.anew(now, id, title, octets).err().map_or(Status::OK, |(status, _)| status)
                }
            }
            Stage::Head(_) => Status::BAD_REQUEST,
            Stage::Flowing(number) => {
                let message = self.store.get(number);
                let announced = message.and_then(|m| m.total);
                let here = message.is_some_and(|m| m.length() == size);
                if !here || announced.is_some_and(|total| total != size) {
                    self.withdraw(now, number);
                    Status::BAD_REQUEST
                } else if let Err((status, _)) = self.check_private(number) {
                    self.withdraw(now, number);
                    status
                } else {
                    self.accept(now, id, number);
                    Status::OK
                }
            }
        };
        if !status.is_ok() {
            self.store.counters.refused += 1;
            self.push_event(Event::Refused { from: id, status, why: "not a whole message/cpim" });
        }
        if let Some(session) = self.legs.get_mut(&id).and_then(|leg| leg.session.as_mut()) {
            session.conclude(key, status);
        }
    }

    /// A whole message under the identifier of another.
    fn anew(&mut self, now: Instant, id: MemberId, title: Title, octets: Vec<u8>) -> Result<(), Refusal> {
        let unreadable = (Status::BAD_REQUEST, "not a message/cpim head");
        let (head, _) =
            cpim::Head::parse(&octets, &carnet_msrp::Limits::default()).ok().flatten().ok_or(unreadable)?;
        let leg = self.legs.get(&id).ok_or(unreadable)?;
        let size = Some(octets.len() as u64);
        let route = self.route(id, leg, &head, size)?;
        if self.seen.get(&title.message_id).is_some() {
            return Ok(());
        }
        let number = self.start(now, id, title, size, route, octets.into());
        self.accept(now, id, number);
        Ok(())
    }

    fn accept(&mut self, now: Instant, id: MemberId, number: u64) {
        let announced = self.store.get(number).is_some_and(|m| m.total.is_some());
        self.store.complete(number);
        let Some(message) = self.store.get(number) else { return };
        let (private, octets) = (message.private, message.length());
        let recipients = message.recipients.clone();
        let (message_id, in_history, digest) = (message.id.clone(), message.in_history, message.digest());
        self.seen.add(message_id, digest, self.limits.seen);
        if in_history {
            self.history.add(now, number, octets);
            self.history.expire(now, &self.settings.history, &mut self.store);
        }
        if !announced {
            // Only now the sessions can know which octet is the last.
            for recipient in &recipients {
                self.pump(now, *recipient);
            }
        }
        self.store.counters.messages += 1;
        self.push_event(Event::Accepted { from: id, private, octets, recipients: recipients.len() });
        self.store.release(number);
    }

    /// Forgets messages of a member that will not be completed, and tells their recipients.
    pub(crate) fn drop_arrival(&mut self, now: Instant, id: MemberId, which: impl Fn(&Arrival) -> bool) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (gone, kept) = std::mem::take(&mut leg.arrivals).into_iter().partition(which);
        leg.arrivals = kept;
        let gone: Vec<Arrival> = gone;
        for number in gone.iter().filter_map(Arrival::number) {
            self.withdraw(now, number);
        }
    }

    /// Answers a message with a status that is not 200.
    pub(crate) fn refuse(&mut self, id: MemberId, key: ArrivalKey, (status, why): Refusal) {
        self.store.counters.refused += 1;
        self.push_event(Event::Refused { from: id, status, why });
        if let Some(session) = self.legs.get_mut(&id).and_then(|leg| leg.session.as_mut()) {
            // The session says that the message is over; that is when it is dropped here.
            session.refuse_because(key, status, why);
        }
        self.mark_writable(id);
    }

    fn arrival(&mut self, id: MemberId, key: ArrivalKey) -> Option<&mut Arrival> {
        self.legs.get_mut(&id)?.arrivals.iter_mut().find(|a| a.key == Some(key))
    }

    /// Lets a sender wait when its recipients have no room.
    fn hold_back(&mut self, id: MemberId, key: ArrivalKey) {
        let Some(leg) = self.legs.get(&id) else { return };
        let Some(arrival) = leg.arrivals.iter().find(|a| a.key == Some(key)) else { return };
        if arrival.paused || !self.must_wait(id, arrival) {
            return;
        }
        if let Some(arrival) = self.arrival(id, key) {
            arrival.paused = true;
        }
        if let Some(session) = self.legs.get_mut(&id).and_then(|leg| leg.session.as_mut()) {
            session.pause(key);
        }
        if !self.waiting.contains(&id) {
            self.waiting.push(id);
        }
    }

    /// Whether the greater part of those who keep up at all has no room for more of this message.
    pub(crate) fn must_wait(&self, id: MemberId, arrival: &Arrival) -> bool {
        let message = arrival.number().and_then(|number| self.store.get(number));
        let (mut with_room, mut counted) = (0_usize, 0_usize);
        let mut count = |leg: &Leg| {
            if let Some(room) = leg.has_room(&self.limits) {
                counted += 1;
                with_room += usize::from(room);
            }
        };
        match message.filter(|m| m.private) {
            Some(message) => message.recipients.iter().filter_map(|r| self.legs.get(r)).for_each(&mut count),
            None => self.legs.iter().filter(|(other, _)| **other != id).for_each(|(_, leg)| count(leg)),
        }
        with_room * 2 < counted
    }
}

/// RFC 7701 §6.3: a message without the wrapper is refused.
fn is_unwrapped(content_type: &str) -> bool {
    !media_type(content_type).eq_ignore_ascii_case(cpim::MEDIA_TYPE)
}
