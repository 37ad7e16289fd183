//! A call that is up: refreshes, changes, the end.
//!
//! RFC 3261 §14 (re-INVITE, glare), RFC 3311 (UPDATE), RFC 4028 (session timers). A new offer with
//! the key exchange that is running changes nothing about the key; the repeated octets are neither
//! a replay nor a new key. An offer without it, or with another one, is refused and the call goes
//! on as it was.

use std::time::{Duration, Instant};

use carnet_sdp::Document;
use carnet_sip::{ClientKey, Message, Method, ServerKey};

use crate::call::{Call, State};
use crate::caller::{acknowledge, goodbye};
use crate::core::{Core, Owner, sdp, set, set_sdp};
use crate::description::{Peer, read_offer};
use crate::dialog::Dialog;
use crate::event::Ending;
use crate::refusal::{Half, Refusal};

/// RFC 4028 §5: the least session interval.
pub(crate) const MIN_SE: Duration = Duration::from_secs(90);
/// How often a refresh that lost against one of the peer is tried again.
const GLARE_ATTEMPTS: u8 = 5;

/// A call that is up.
pub(crate) struct Up {
    pub(crate) dialog: Dialog,
    /// The `a=key-mgmt:mikey` data of the peer, as it came.
    remote_value: Option<String>,
    /// Our INVITE, as long as branches of it may answer.
    pub(crate) invite: Option<(ClientKey, Message)>,
    /// Our 2xx that waits for its ACK.
    unacknowledged: Option<ServerKey>,
    interval: Option<Interval>,
    updates: bool,
    /// Our re-INVITE or UPDATE.
    refreshing: Option<Refreshing>,
    retry: Option<Instant>,
    attempts: u8,
}

struct Interval {
    length: Duration,
    ours: bool,
    /// When we refresh, or give up waiting for the peer to do it.
    at: Instant,
}

struct Refreshing {
    key: ClientKey,
    request: Message,
}

impl Up {
    pub(crate) fn new(
        dialog: Dialog,
        remote_value: Option<String>,
        invite: Option<(ClientKey, Message)>,
    ) -> Self {
        Self {
            dialog,
            remote_value,
            invite,
            unacknowledged: None,
            interval: None,
            updates: false,
            refreshing: None,
            retry: None,
            attempts: 0,
        }
    }

    pub(crate) fn await_ack(&mut self, key: ServerKey) {
        self.unacknowledged = Some(key);
    }

    pub(crate) fn acknowledged(&mut self) {
        self.unacknowledged = None;
    }

    pub(crate) fn is_unacknowledged(&self, key: ServerKey) -> bool {
        self.unacknowledged == Some(key)
    }

    /// Whether a response with this key is for a refresh of ours.
    pub(crate) fn is_refreshing(&self, key: ClientKey) -> bool {
        self.refreshing.as_ref().is_some_and(|refreshing| refreshing.key == key)
    }

    /// Notes whether the peer takes UPDATE.
    pub(crate) fn note_abilities(&mut self, message: &Message) {
        if message.has("Allow") {
            self.updates = message.lists("Allow", "UPDATE");
        }
    }

    /// Reads Session-Expires of a response to our request (`ours`) or of a request of the peer.
    pub(crate) fn agree_interval(&mut self, now: Instant, message: &Message, ours: bool) {
        self.interval = None;
        let Some(value) = message.header("Session-Expires") else { return };
        let mut parts = value.split(';');
        let Some(seconds) = parts.next().and_then(|seconds| seconds.trim().parse::<u32>().ok()) else {
            return;
        };
        let refresher = parts.find_map(|part| part.trim().strip_prefix("refresher=").map(str::to_owned));
        // RFC 4028 §7.2, §9: without a word it is the side that asked.
        let asked = refresher.as_deref() != Some("uas");
        let length = Duration::from_secs(u64::from(seconds)).max(MIN_SE);
        self.interval = Some(Interval { length, ours: asked == ours, at: now });
        self.rewind(now);
    }

    fn rewind(&mut self, now: Instant) {
        if let Some(interval) = &mut self.interval {
            // RFC 4028 §10: half way for the refresher; a little before the end for the other.
            let margin = Duration::from_secs(32).min(interval.length / 3);
            let wait = if interval.ours { interval.length / 2 } else { interval.length - margin };
            interval.at = now + wait;
        }
    }

    /// Writes Session-Expires into our 2xx to a request of the peer.
    pub(crate) fn write_interval(&self, response: &mut Message) -> Result<(), Refusal> {
        let Some(interval) = &self.interval else { return Ok(()) };
        let refresher = if interval.ours { "uas" } else { "uac" };
        set(
            response,
            "Session-Expires",
            &format!("{};refresher={refresher}", interval.length.as_secs()),
            false,
        )?;
        if interval.ours { Ok(()) } else { set(response, "Require", "timer", false) }
    }

    /// When something is to be done.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let refresh =
            self.interval.as_ref().filter(|_| self.refreshing.is_none()).map(|interval| interval.at);
        [refresh, self.retry].into_iter().flatten().min()
    }
}

impl Call {
    /// Sends the session description again, unchanged: refreshes the session and shows that the
    /// way still works.
    pub(crate) fn refresh(&mut self, core: &mut Core, now: Instant, up: &mut Up) -> Result<(), Refusal> {
        if up.refreshing.is_some() || up.unacknowledged.is_some() {
            return Ok(());
        }
        up.retry = None;
        let method = if up.updates { Method::Update } else { Method::Invite };
        let mut request = up.dialog.request(method.clone())?;
        core.introduce(&mut request)?;
        if let Some(interval) = &up.interval {
            // Whoever refreshes goes on doing so (RFC 4028 §7.4).
            let refresher = if interval.ours { "uac" } else { "uas" };
            let value = format!("{};refresher={refresher}", interval.length.as_secs());
            set(&mut request, "Session-Expires", &value, false)?;
        }
        if method == Method::Invite {
            set_sdp(&mut request, self.own.offer()?)?;
        }
        let key = core.send_in(now, &up.dialog, request.clone(), Owner::Call(self.id))?;
        up.refreshing = Some(Refreshing { key, request });
        Ok(())
    }

    /// A response to our refresh. `Err` ends the call.
    pub(crate) fn refreshed(
        &mut self,
        core: &mut Core,
        now: Instant,
        up: &mut Up,
        response: &Message,
    ) -> Result<(), Refusal> {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            return Ok(());
        }
        let Some(refreshing) = up.refreshing.take() else { return Ok(()) };
        match status {
            ..=299 => {
                up.dialog.refresh_target(response);
                if *refreshing.request.method() == Method::Invite {
                    acknowledge(core, now, refreshing.key, &refreshing.request, &up.dialog);
                }
                up.attempts = 0;
                if response.has("Session-Expires") {
                    up.agree_interval(now, response, true);
                } else {
                    up.rewind(now);
                }
                match sdp(response) {
                    Some(octets) => self.same_terms(core, up, octets, Half::Answer).map(drop),
                    None => Ok(()),
                }
            }
            // RFC 3261 §14.1: wait, the owner of the Call-ID longer.
            491 if up.attempts < GLARE_ATTEMPTS => {
                up.attempts += 1;
                let tens = u64::from(core.rng.u32()) % 191;
                let wait = if up.invite.is_some() { 2100 + tens * 10 } else { tens * 10 };
                up.retry = Some(now + Duration::from_millis(wait));
                Ok(())
            }
            // RFC 3261 §12.2.1.2: these end the dialog, the others do not.
            408 | 481 => Err(Refusal::Rejected { status, text: response.reason().into_owned() }),
            _ => {
                up.rewind(now);
                Ok(())
            }
        }
    }

    /// A request of the peer inside the dialog.
    pub(crate) fn requested(
        &mut self,
        core: &mut Core,
        now: Instant,
        mut up: Box<Up>,
        key: ServerKey,
        request: &Message,
    ) {
        if !up.dialog.in_order(request) {
            core.reply(now, key, request, 500, None);
            self.state = State::Up(up);
            return;
        }
        match request.method() {
            Method::Bye => {
                core.reply(now, key, request, 200, None);
                self.over(core, Ending::Peer(request.header("Reason").and_then(|reason| text_of(&reason))));
                return;
            }
            Method::Invite | Method::Update => self.changed(core, now, &mut up, key, request),
            Method::Options => core.reply(now, key, request, 200, None),
            Method::Prack => core.reply(now, key, request, 481, None),
            _ => core.reply(now, key, request, 405, None),
        }
        self.state = State::Up(up);
    }

    fn changed(&mut self, core: &mut Core, now: Instant, up: &mut Up, key: ServerKey, request: &Message) {
        // RFC 3261 §14.2, RFC 3311 §5.2
        if up.refreshing.is_some() {
            core.reply(now, key, request, 491, None);
            return;
        }
        if up.unacknowledged.is_some() && *request.method() == Method::Invite {
            core.reply(now, key, request, 500, None);
            return;
        }
        let body = match sdp(request) {
            Some(octets) => self
                .same_terms(core, up, octets, Half::Offer)
                .and_then(|(offer, peer)| self.own.answer(&offer, peer.index)),
            // RFC 3261 §14.2: asked for an offer, we make the one that holds.
            None if *request.method() == Method::Invite => self.own.offer(),
            None => Ok(bytes::Bytes::new()),
        };
        let body = match body {
            Ok(body) => body,
            Err(refusal) => {
                core.refuse(now, key, request, &refusal, None);
                return;
            }
        };
        up.dialog.refresh_target(request);
        if request.has("Session-Expires") {
            up.agree_interval(now, request, false);
        } else {
            up.rewind(now);
        }
        let Ok(mut response) = Message::response(request, 200, "OK") else { return };
        let written = core
            .introduce(&mut response)
            .and_then(|()| up.write_interval(&mut response))
            .and_then(|()| if body.is_empty() { Ok(()) } else { set_sdp(&mut response, body) });
        if written.is_ok() {
            if *request.method() == Method::Invite {
                up.await_ack(key);
            }
            let _ = core.endpoint.respond(now, key, response);
        }
    }

    /// A description of the peer inside the call: the same seal, or a refusal.
    fn same_terms(
        &self,
        core: &Core,
        up: &Up,
        octets: &bytes::Bytes,
        half: Half,
    ) -> Result<(Document, Peer), Refusal> {
        let document = Document::parse(octets.clone(), &core.config.limits.sdp)
            .map_err(|error| Refusal::Malformed(error.to_string()))?;
        let peer = match half {
            Half::Offer => read_offer(&document, !self.own.sealed)?,
            Half::Answer => crate::description::read_answer(&document, &self.own)?,
        };
        if self.own.sealed && peer.mikey() != up.remote_value.as_deref() {
            return Err(Refusal::UnsupportedKeys("a change of keys during the call".into()));
        }
        Ok((document, peer))
    }

    /// Time has passed. `Err` ends the call.
    pub(crate) fn up_tick(&mut self, core: &mut Core, now: Instant, up: &mut Up) -> Result<(), Refusal> {
        if up.retry.is_some_and(|at| now >= at) {
            return self.refresh(core, now, up);
        }
        match &up.interval {
            Some(interval) if now >= interval.at && up.refreshing.is_none() => {
                if interval.ours {
                    self.refresh(core, now, up)
                } else {
                    // RFC 4028 §10: nobody refreshed.
                    Err(Refusal::Unanswered)
                }
            }
            _ => Ok(()),
        }
    }

    /// Another branch of our INVITE has answered, after the one we talk to.
    pub(crate) fn late_branch(
        core: &mut Core,
        now: Instant,
        key: ClientKey,
        invite: &Message,
        response: &Message,
    ) {
        if let Ok(mut dialog) = Dialog::caller(invite, response) {
            acknowledge(core, now, key, invite, &dialog);
            goodbye(core, now, &mut dialog, None);
        }
    }
}

/// The text of a Reason header (RFC 3326).
fn text_of(reason: &str) -> Option<String> {
    let (_, quoted) = reason.split_once("text=\"")?;
    Some(quoted.split_once('"')?.0.to_owned())
}
