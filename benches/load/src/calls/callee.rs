//! The called end: takes every call, says as many messages as it hears.

use std::time::{Duration, Instant};

use carnet_sip::{Event, Message, Method, ServerKey};

use super::description::Description;
use super::end::{End, Stage};
use super::link::Step;
use super::talk::Talk;
use crate::Result;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// The called end.
pub struct Callee {
    end: End,
    /// What callers said of themselves, by place.
    others: Vec<Option<Description>>,
    /// Connects itself where the caller leaves it the choice.
    connects: bool,
}

impl Callee {
    /// `connects`: whether it is the one to connect where the caller leaves the choice.
    #[must_use]
    pub fn new(end: End, connects: bool) -> Self {
        Self { end, others: Vec::new(), connects }
    }

    /// Where its SIP is.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        self.end.plan.sip
    }

    /// Takes calls until it is told to stop and none is left, or patience ends.
    ///
    /// # Errors
    ///
    /// What the operating system says; what goes wrong in a call is in the books.
    pub fn run(mut self) -> Result<End> {
        let mut ready = Vec::new();
        let mut stopped: Option<Instant> = None;
        loop {
            let now = Instant::now();
            if self.end.is_told_to_stop() {
                let since = *stopped.get_or_insert(now);
                if self.end.open_calls() == 0 || now > since + self.end.plan.patience {
                    break;
                }
            }
            self.end.turn(now + LOOK, &mut ready)?;
            while let Some(event) = self.end.endpoint.poll_event() {
                self.hear(event);
            }
            let others = &self.others;
            self.end.claim(|index| others.get(index).cloned().flatten());
            for index in std::mem::take(&mut ready) {
                self.drive(index);
            }
            self.end.flush();
        }
        for index in 0..self.end.calls.len() {
            self.end.fail(index, "no BYE came");
            self.end.remove(index);
        }
        Ok(self.end)
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Request { key, message, .. } => self.asked(key, &message),
            Event::Ack { message, .. } => {
                let index = message.call_id().ok().and_then(|id| self.end.named.get(id).copied());
                if let Some(call) = index.and_then(|index| self.end.call(index))
                    && call.stage == Stage::Inviting
                {
                    call.reach(Stage::Talking, Instant::now());
                }
            }
            Event::Unacknowledged { .. } => {
                // Whose it is shows when no BYE comes either.
            }
            _ => {}
        }
    }

    fn asked(&mut self, key: ServerKey, message: &Message) {
        let now = Instant::now();
        let answer = match message.method() {
            Method::Invite if message.to_tag().is_none() => match self.called(message) {
                Ok(description) => {
                    if let Ok(ringing) = Message::response(message, 180, "") {
                        let _ = self.end.endpoint.respond(now, key, ringing);
                    }
                    Message::response(message, 200, "").and_then(|mut ok| {
                        ok.push_back("Contact", &format!("<sip:callee@{}>", self.end.plan.sip))?;
                        ok.set_body(description, Some("application/sdp"))?;
                        Ok(ok)
                    })
                }
                Err(why) => {
                    self.end.books.counts.begun += 1;
                    self.end.books.fail(&format!("an offer that cannot be used: {why}"));
                    Message::response(message, 488, "")
                }
            },
            Method::Bye => {
                let known = message.call_id().ok().and_then(|id| self.end.named.get(id).copied());
                if let Some(index) = known {
                    self.over(index);
                }
                Message::response(message, if known.is_some() { 200 } else { 481 }, "")
            }
            Method::Options | Method::Update | Method::Invite => Message::response(message, 200, ""),
            _ => Message::response(message, 501, ""),
        };
        if let Ok(answer) = answer {
            let _ = self.end.endpoint.respond(now, key, answer);
        }
    }

    /// A call comes: what is answered.
    fn called(&mut self, message: &Message) -> std::result::Result<String, String> {
        let other = Description::read(message.body())?;
        let id = message.call_id().map_err(|error| error.to_string())?.to_owned();
        if self.end.named.contains_key(&id) {
            return Err("a second call of the same name".into());
        }
        let connects = match other.setup.as_str() {
            "active" | "" => false,
            "passive" => true,
            _ => self.connects,
        };
        let number = self.end.number();
        let (door, address) = self.end.door(connects).map_err(|error| error.to_string())?;
        let own = Description {
            address,
            setup: if connects { "active" } else { "passive" }.into(),
            sealed: other.sealed,
            path: super::path(address, other.sealed, number),
            key: Some(number),
            seal: None,
        };
        let mut answer = own.clone();
        // The line that says that the key is agreed (RFC 4567 §3.1).
        answer.seal = other.seal;
        let index = self.end.add(id, own, door, Instant::now());
        if self.others.len() <= index {
            self.others.resize(index + 1, None);
        }
        if let Some(place) = self.others.get_mut(index) {
            *place = Some(other.clone());
        }
        if connects {
            let begun = self.end.connect(index, &other).map_err(|error| error.to_string());
            let said = begun.and_then(|()| {
                let media = self.end.call(index).and_then(|call| call.media_mut());
                media.map_or(Ok(()), |media| media.say(Talk::introduce).map_err(|error| error.to_string()))
            });
            if let Err(error) = said {
                self.end.fail(index, &format!("media: {error}"));
            }
        }
        Ok(answer.text())
    }

    fn drive(&mut self, index: usize) {
        let Some(other) = self.others.get(index).cloned().flatten() else { return };
        match self.end.drive(index, &other) {
            Err(error) => self.end.fail(index, &format!("media: {error}")),
            Ok(Step::Ended) => {
                // A border may end media before it passes BYE on.
                let quiet = self.end.call(index).and_then(|call| call.media()).is_some_and(is_quiet);
                if quiet {
                    // The last answer may have come with the end.
                    self.speak(index);
                    self.end.hang_up(index);
                    if let Some(call) = self.end.call(index) {
                        call.reach(Stage::Standing, Instant::now());
                    }
                } else {
                    self.end.fail(index, "media: it ended before everything was answered");
                }
            }
            Ok(Step::Waits | Step::More) => self.speak(index),
        }
    }

    /// As many messages as came.
    fn speak(&mut self, index: usize) {
        let Some(call) = self.end.call(index) else { return };
        let now = Instant::now();
        let Some(media) = call.media() else { return };
        if !media.talk.sending.is_answered() {
            return;
        }
        let more = media.talk.said < media.talk.receiving.messages;
        let took = call.said.take();
        call.answered += u64::from(took.is_some());
        if more {
            let _ = call.begin(now);
            self.end.again.push(index);
        }
        if let Some(since) = took {
            self.end.books.message.add(since.elapsed().as_nanos() as u64);
        }
    }

    /// BYE came.
    fn over(&mut self, index: usize) {
        self.drive(index);
        if let Some(call) = self.end.call(index)
            && !call.failed
        {
            match call.media() {
                _ if call.stage == Stage::Standing => {}
                Some(media) if is_quiet(media) => {}
                Some(_) => self.end.fail(index, "BYE before everything was answered"),
                None => self.end.fail(index, "BYE before there was a connection"),
            }
        }
        self.end.remove(index);
        if let Some(place) = self.others.get_mut(index) {
            *place = None;
        }
    }
}

/// Nothing that was said waits for an answer, and everything that came has one.
fn is_quiet(media: &super::link::Media) -> bool {
    let talk = &media.talk;
    talk.sending.is_answered() && talk.said == talk.receiving.messages && media.is_said()
}
