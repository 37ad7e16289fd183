//! The calling end: INVITE, messages to and fro, BYE; one call after the other, or at a rate.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carnet_sip::{ClientKey, Destination, Dialog, Event, Message, Method, Transport, Uri};

use super::description::Description;
use super::end::{End, Stage};
use super::link::Step;
use super::talk::Talk;
use crate::Result;

/// How often it looks whether something has become due that no timer tells.
const LOOK: Duration = Duration::from_millis(20);

/// How calls come.
#[derive(Debug, Clone)]
pub struct Pace {
    /// So many a second, whatever becomes of them; `None`: each place calls again when its call has ended.
    pub rate: Option<f64>,
    /// Places, without a rate.
    pub at_once: usize,
    /// Calls in all.
    pub calls: Option<u64>,
    /// No call begins after so long.
    pub time: Duration,
    /// Messages that each side says.
    pub messages: u64,
    /// A call stands so long after its last message.
    pub hold: Duration,
    /// All calls stand until somebody says so.
    pub gather: bool,
}

/// Whom it calls.
#[derive(Debug, Clone)]
pub struct Whom {
    /// Where requests outside of dialogs go.
    pub hop: SocketAddr,
    /// Request-URI and To.
    pub to: String,
    /// From.
    pub from: String,
    /// Offers this: `active`, `passive`, `actpass`.
    pub setup: String,
    /// In TLS from end to end.
    pub sealed: bool,
}

/// The calling end.
pub struct Caller {
    end: End,
    pace: Pace,
    whom: Whom,
    /// What callees said of themselves, by place.
    others: Vec<Option<Description>>,
    asked: HashMap<ClientKey, usize>,
    begin: Instant,
    next: u64,
    gathered: bool,
    looked: Instant,
}

impl Caller {
    /// Whom it calls, and how often.
    #[must_use]
    pub fn new(end: End, pace: Pace, whom: Whom) -> Self {
        Self {
            end,
            pace,
            whom,
            others: Vec::new(),
            asked: HashMap::new(),
            begin: Instant::now(),
            next: 0,
            gathered: false,
            looked: Instant::now(),
        }
    }

    /// Calls until all is done; seconds that it took.
    ///
    /// # Errors
    ///
    /// What the operating system says; what goes wrong in a call is in the books.
    pub fn run(mut self) -> Result<(End, f64)> {
        let mut ready = Vec::new();
        self.begin = Instant::now();
        loop {
            let limit = self.begin_calls();
            if self.is_over() && (self.end.open_calls() == 0 || self.is_hopeless()) {
                break;
            }
            self.end.flush();
            self.end.turn(limit, &mut ready)?;
            while let Some(event) = self.end.endpoint.poll_event() {
                self.hear(event);
            }
            for index in std::mem::take(&mut ready) {
                self.drive(index);
            }
            self.look();
            self.end.flush();
        }
        let seconds = self.begin.elapsed().as_secs_f64();
        Ok((self.end, seconds))
    }

    /// No more calls begin.
    fn is_over(&self) -> bool {
        self.pace.calls.is_some_and(|calls| self.next >= calls) || self.begin.elapsed() >= self.pace.time
    }

    /// All that is left has failed, and nobody has answered what ends it: the books do not change any more.
    fn is_hopeless(&self) -> bool {
        let (now, patience) = (Instant::now(), self.end.plan.patience);
        self.end.calls.iter().flatten().all(|call| call.failed && now > call.until + patience)
    }

    /// Begins what is due; until when nothing is.
    fn begin_calls(&mut self) -> Instant {
        let now = Instant::now();
        loop {
            if self.is_over() {
                return now + LOOK;
            }
            let due = match self.pace.rate {
                Some(rate) => self.begin + Duration::from_secs_f64(self.next as f64 / rate),
                None if self.end.open_calls() < self.pace.at_once => now,
                None => return now + LOOK,
            };
            if due > now {
                return due.min(now + LOOK);
            }
            self.next += 1;
            if let Err(error) = self.invite(due) {
                self.end.books.counts.begun += 1;
                self.end.books.fail(&format!("it could not begin: {error}"));
                return now + LOOK;
            }
        }
    }

    fn invite(&mut self, due: Instant) -> Result<()> {
        let (number, seal) = (self.end.number(), self.end.number());
        let connects = self.whom.setup == "active";
        let (door, address) = self.end.door(connects)?;
        let own = Description {
            address,
            setup: self.whom.setup.clone(),
            sealed: self.whom.sealed,
            path: super::path(address, self.whom.sealed, number),
            key: Some(number),
            seal: self.whom.sealed.then_some(seal),
        };
        let id = format!("{number:016x}@load");
        let mut invite =
            Message::request(Method::Invite, self.whom.to.parse::<Uri>().map_err(carnet_sip::Error::NotSip)?);
        invite.push_back("From", &format!("<{}>;tag={:x}", self.whom.from, number as u32))?;
        invite.push_back("To", &format!("<{}>", self.whom.to))?;
        invite.push_back("Call-ID", &id)?;
        invite.push_back("CSeq", "1 INVITE")?;
        invite.push_back("Contact", &format!("<sip:caller@{}>", self.end.plan.sip))?;
        invite.push_back("Allow", "INVITE, ACK, CANCEL, BYE")?;
        invite.set_body(own.text(), Some("application/sdp"))?;
        let destination = Destination::from(self.end.hop(self.whom.hop));
        let key = self.end.endpoint.request(Instant::now(), invite.clone(), destination)?;
        let index = self.end.add(id, own, door, due);
        if let Some(call) = self.end.call(index) {
            call.invite = Some((key, invite));
        }
        self.asked.insert(key, index);
        if self.others.len() <= index {
            self.others.resize(index + 1, None);
        }
        if let Some(place) = self.others.get_mut(index) {
            *place = None;
        }
        Ok(())
    }

    fn hear(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Response { key, message, .. } => {
                let Some(index) = self.asked.get(&key).copied() else { return };
                let status = message.status().unwrap_or_default();
                if status < 200 {
                    return;
                }
                self.asked.remove(&key);
                if *message.method() == Method::Bye {
                    self.ended(index, status, now);
                } else if status < 300 {
                    self.answered(index, key, &message, now);
                } else {
                    self.end.fail(index, &format!("INVITE: {status} {}", message.reason()));
                    self.end.remove(index);
                }
            }
            Event::Unanswered { key, reason } => {
                let Some(index) = self.asked.remove(&key) else { return };
                let bye = self.end.call(index).is_some_and(|call| call.stage == Stage::Ending);
                self.end.fail(index, &format!("{}: {reason}", if bye { "BYE" } else { "INVITE" }));
                self.end.remove(index);
            }
            Event::Request { key, message, .. } => {
                // Whoever ends a call before us ends it too early.
                let index = message.call_id().ok().and_then(|id| self.end.named.get(id).copied());
                let bye = *message.method() == Method::Bye;
                let status = if index.is_none() { 481 } else { 200 };
                if let Ok(answer) = Message::response(&message, status, "") {
                    let _ = self.end.endpoint.respond(now, key, answer);
                }
                if let Some(index) = index.filter(|_| bye) {
                    let why = message.header("Reason").map_or_else(String::new, |why| format!(": {why}"));
                    self.end.fail(index, &format!("somebody else ended it{why}"));
                    if self.end.call(index).is_some_and(|call| call.stage != Stage::Ending) {
                        self.end.remove(index);
                    }
                }
            }
            _ => {}
        }
    }

    /// 200 to INVITE.
    fn answered(&mut self, index: usize, key: ClientKey, message: &Message, now: Instant) {
        let locals = [(Transport::Udp, self.end.plan.sip)];
        let Some(call) = self.end.call(index) else { return };
        let Some((_, invite)) = &call.invite else { return };
        let (since, failed) = (call.since, call.failed);
        let dialog = match Dialog::caller(invite, message) {
            Ok(dialog) => dialog,
            Err(error) => {
                self.end.fail(index, &format!("INVITE: a 200 that makes no dialog: {error}"));
                self.end.remove(index);
                return;
            }
        };
        let acknowledged = dialog
            .ack(1)
            .and_then(|ack| self.end.endpoint.ack(now, key, ack, dialog.destination().leaving(&locals)));
        if let Some(call) = self.end.call(index) {
            call.dialog = Some(dialog);
            call.reach(Stage::Talking, now);
        }
        if !failed {
            self.end.books.set_up.add(now.saturating_duration_since(since).as_nanos() as u64);
        }
        let other =
            acknowledged.map_err(|error| error.to_string()).and_then(|()| Description::read(message.body()));
        match other {
            _ if failed => self.bye(index, now),
            Ok(other) => {
                if let Some(place) = self.others.get_mut(index) {
                    *place = Some(other.clone());
                }
                self.talk(index, &other);
            }
            Err(why) => {
                self.end.fail(index, &format!("an answer that cannot be used: {why}"));
                self.bye(index, now);
            }
        }
    }

    /// The first message, where we connect; where the other side does, it comes when that has.
    fn talk(&mut self, index: usize, other: &Description) {
        let connects = match other.setup.as_str() {
            "passive" => true,
            "active" => false,
            _ => self.whom.setup == "active",
        };
        let begun = if connects { self.end.connect(index, other) } else { Ok(()) };
        match begun {
            Ok(()) if connects => self.say(index),
            Ok(()) => self.drive(index),
            Err(error) => {
                self.end.fail(index, &format!("media: {error}"));
                self.bye(index, Instant::now());
            }
        }
    }

    /// The next message, or the last request.
    fn say(&mut self, index: usize) {
        let (now, messages) = (Instant::now(), self.pace.messages);
        let Some(call) = self.end.call(index) else { return };
        let said = call.media().map_or(0, |media| media.talk.said);
        if said < messages {
            let _ = call.begin(now);
        } else {
            call.reach(Stage::Closing, now);
            if let Some(media) = call.media_mut() {
                let _ = media.say(Talk::introduce);
            }
        }
        self.end.again.push(index);
    }

    fn drive(&mut self, index: usize) {
        let Some(other) = self.others.get(index).cloned().flatten() else { return };
        let Some(call) = self.end.call(index) else { return };
        if matches!(call.stage, Stage::Ending) || call.failed {
            return;
        }
        let (stage, first) = (call.stage, call.media().is_none());
        match self.end.drive(index, &other) {
            Err(error) => self.give_up(index, &format!("media: {error}")),
            Ok(Step::Ended) => self.give_up(index, "media: it ended before the call"),
            Ok(Step::Waits | Step::More) => {
                let Some(call) = self.end.call(index) else { return };
                let Some(media) = call.media() else { return };
                if stage == Stage::Talking && first && media.talk.said == 0 {
                    return self.say(index);
                }
                self.heard(index, stage);
            }
        }
    }

    /// What came may be an answer.
    fn heard(&mut self, index: usize, stage: Stage) {
        let now = Instant::now();
        let Some(call) = self.end.call(index) else { return };
        let Some(media) = call.media() else { return };
        let talk = &media.talk;
        if !talk.sending.is_answered() {
            return;
        }
        let (said, came) = (talk.said, talk.receiving.messages);
        let first = call.answered == 0;
        let (reached, took) = (call.reached, call.said.take());
        call.answered += u64::from(took.is_some());
        if let Some(since) = took {
            self.end.books.message.add(now.saturating_duration_since(since).as_nanos() as u64);
            if first {
                self.end.books.media.add(now.saturating_duration_since(reached).as_nanos() as u64);
            }
        }
        match stage {
            Stage::Talking if came == said => self.say(index),
            Stage::Talking if came > said => {
                self.give_up(index, "media: more messages came than were to come");
            }
            Stage::Closing => {
                if let Some(call) = self.end.call(index) {
                    call.reach(Stage::Standing, now);
                }
            }
            _ => {}
        }
    }

    fn give_up(&mut self, index: usize, cause: &str) {
        self.end.fail(index, cause);
        self.bye(index, Instant::now());
    }

    fn bye(&mut self, index: usize, now: Instant) {
        let locals = [(Transport::Udp, self.end.plan.sip)];
        let Some(call) = self.end.call(index) else { return };
        let Some(dialog) = &mut call.dialog else { return };
        let destination = dialog.destination().leaving(&locals);
        let bye = dialog.request(Method::Bye);
        call.reach(Stage::Ending, now);
        match bye.and_then(|bye| self.end.endpoint.request(now, bye, destination)) {
            Ok(key) => {
                self.asked.insert(key, index);
            }
            Err(error) => {
                self.end.fail(index, &format!("BYE: {error}"));
                self.end.remove(index);
            }
        }
    }

    fn ended(&mut self, index: usize, status: u16, now: Instant) {
        let Some(call) = self.end.call(index) else { return };
        let reached = call.reached;
        if status < 300 {
            self.end.books.end.add(now.saturating_duration_since(reached).as_nanos() as u64);
        } else {
            self.end.fail(index, &format!("BYE: {status}"));
        }
        self.end.remove(index);
    }

    /// What no event tells: calls that have stood long enough, and such as take too long.
    fn look(&mut self) {
        let mut now = Instant::now();
        // Not each time that something comes: all calls are looked at.
        if now < self.looked + LOOK && self.end.open_calls() > 1 {
            return;
        }
        self.looked = now;
        let gathering = self.pace.gather && !self.gathered;
        if gathering && self.is_over() {
            let standing =
                self.end.calls.iter().flatten().filter(|call| call.stage == Stage::Standing).count();
            if standing == self.end.open_calls() {
                // A line for whoever counts now; the calls end when a line comes back.
                println!("standing {standing}");
                let mut line = String::new();
                let _ = std::io::stdin().read_line(&mut line);
                self.gathered = true;
                now = Instant::now();
            }
        }
        let wait = self.pace.gather && !self.gathered;
        for index in 0..self.end.calls.len() {
            let hold = self.pace.hold;
            let Some(call) = self.end.call(index) else { continue };
            if call.stage == Stage::Standing && !wait && now >= call.reached + hold {
                self.bye(index, now);
                continue;
            }
            if call.stage == Stage::Standing || now < call.until + hold || call.failed {
                continue;
            }
            let stage = call.stage;
            let key = call.invite.as_ref().map(|(key, _)| *key);
            match (stage, key) {
                (Stage::Inviting, Some(key)) => {
                    // A 200 that comes all the same is acknowledged and ended.
                    self.end.fail(index, "INVITE: no answer in time");
                    if self.end.endpoint.cancel(now, key).is_err() {
                        self.end.remove(index);
                    }
                }
                (Stage::Ending, _) => {}
                (Stage::Closing, _) => self.give_up(index, "media: the last answer did not come in time"),
                _ => {
                    let connected = self.end.call(index).is_some_and(|call| call.media().is_some());
                    let what = if connected {
                        "a message was not answered in time"
                    } else {
                        "nobody connected in time"
                    };
                    self.give_up(index, &format!("media: {what}"));
                }
            }
        }
    }
}
