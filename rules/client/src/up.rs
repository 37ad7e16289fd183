//! A call that is up: refreshes, changes, the end.
//!
//! RFC 3261 §14 (re-INVITE, glare), RFC 3311 (UPDATE), RFC 4028 (session timers). A new offer with
//! the key exchange that is running changes nothing about the key; the repeated octets are neither
//! a replay nor a new key. An offer without it, or with another one, is refused and the call goes
//! on as it was.
//!
//! RFC 6714 §4.2: a call whose first answer leads past a middlebox is up without media, until our second
//! offer, without CEMA, is answered. The called side of it (§4.3) follows the peer to its new place.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use carnet_sdp::Document;
use carnet_seal::{Half, Offering, Refusal as KeyRefusal};
use carnet_sip::{ClientKey, Dialog, Message, Method, Provisionals, ServerKey, SessionTimer, SessionTimers};

use crate::call::{Call, State};
use crate::callee::acknowledged;
use crate::caller::{acknowledge, words};
use crate::core::{Core, Owner, sdp, sdp_of_request, set_sdp};
use crate::description::Kind;
use crate::event::{Ending, Event};
use crate::media::{Remote, TcpRole};
use crate::peer::{PeerLine, Reach, read_again, read_answer};
use crate::refusal::Refusal;
use crate::renewal::Waiting;

/// How often a refresh that lost against one of the peer, or that was challenged, is tried again.
const GLARE_ATTEMPTS: u8 = 5;

/// A call that is up.
pub(crate) struct Up {
    pub(crate) dialog: Dialog,
    /// The `a=key-mgmt:mikey` data of the peer for each line, as it came.
    pub(crate) remote_values: Vec<Option<String>>,
    /// Who of the two opened the connection of each line; `None` where there is none.
    pub(crate) roles: Vec<Option<TcpRole>>,
    /// What we sent reliably before the 2xx. Its PRACK may still be under way (RFC 3262 §3).
    pub(crate) ringing: Option<Provisionals>,
    /// Our 2xx that waits for its ACK.
    pub(crate) unacknowledged: Option<ServerKey>,
    pub(crate) timers: SessionTimers,
    pub(crate) timer: Option<SessionTimer>,
    /// Whether the peer takes UPDATE.
    updates: bool,
    /// Our re-INVITE or UPDATE.
    refreshing: Option<Refreshing>,
    pub(crate) retry: Option<Instant>,
    pub(crate) attempts: u8,
    /// There is no media yet: our second offer is to be answered.
    pub(crate) second: Option<Second>,
    /// Another connection is to be offered: in a conference for floor control, else for messages.
    pub(crate) renewing: bool,
    /// The peer has offered another message session, and the driver makes room for it.
    pub(crate) waiting: Option<Waiting>,
    /// `a=path` of the peer, which names the session that there is.
    pub(crate) path: Option<String>,
    /// We were called.
    pub(crate) called: bool,
    /// Where we connect, if we do.
    pub(crate) remote: Option<Remote>,
}

/// An offer without CEMA, after one with it.
pub(crate) struct Second {
    /// What the answer of each line is opened with, if the call is sealed.
    offerings: Vec<Offering>,
}

struct Refreshing {
    key: ClientKey,
    request: Message,
    /// It offers another connection.
    renews: bool,
}

impl Up {
    /// After our INVITE was answered.
    pub(crate) fn calling(
        now: Instant,
        dialog: Dialog,
        remote_values: Vec<Option<String>>,
        roles: Vec<Option<TcpRole>>,
        timers: SessionTimers,
        response: &Message,
    ) -> Self {
        let timer = timers.accepted(now, response);
        let updates = response.lists("Allow", "UPDATE");
        Self { timer, updates, ..Self::new(dialog, remote_values, roles, timers) }
    }

    /// As we answer an INVITE: decides about the session timer and writes it into the 2xx.
    pub(crate) fn called(
        now: Instant,
        dialog: Dialog,
        (remote_values, roles): (Vec<Option<String>>, Vec<Option<TcpRole>>),
        (key, invite): (ServerKey, &Message),
        timers: SessionTimers,
        response: &mut Message,
    ) -> Result<Self, carnet_sip::Error> {
        let timer = timers.accept(now, invite, response, false)?;
        let updates = invite.lists("Allow", "UPDATE");
        Ok(Self {
            timer,
            updates,
            called: true,
            unacknowledged: Some(key),
            ..Self::new(dialog, remote_values, roles, timers)
        })
    }

    fn new(
        dialog: Dialog,
        remote_values: Vec<Option<String>>,
        roles: Vec<Option<TcpRole>>,
        timers: SessionTimers,
    ) -> Self {
        Self {
            dialog,
            remote_values,
            roles,
            ringing: None,
            unacknowledged: None,
            timers,
            timer: None,
            updates: false,
            refreshing: None,
            retry: None,
            attempts: 0,
            second: None,
            renewing: false,
            waiting: None,
            path: None,
            called: false,
            remote: None,
        }
    }

    /// The ACK to our 2xx is here.
    pub(crate) fn acknowledged(&mut self, ack: &Message) {
        // An ACK has nothing that could be out of order.
        let _ = self.dialog.receive(ack);
        self.unacknowledged = None;
    }

    pub(crate) fn is_unacknowledged(&self, key: ServerKey) -> bool {
        self.unacknowledged == Some(key)
    }

    /// Whether a response with this key is for a refresh of ours.
    pub(crate) fn is_refreshing(&self, key: ClientKey) -> bool {
        self.refreshing.as_ref().is_some_and(|refreshing| refreshing.key == key)
    }

    /// When something is to be done.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        [self.timer.as_ref().map(SessionTimer::poll_timeout), self.retry].into_iter().flatten().min()
    }
}

impl Call {
    /// Refreshes the session: UPDATE if the peer takes it, else an INVITE with the description as
    /// it stands.
    pub(crate) fn refresh(&mut self, core: &mut Core, now: Instant, up: &mut Up) -> Result<(), Refusal> {
        up.retry = None;
        let changes = up.second.is_some() || up.renewing;
        if up.refreshing.is_some() || up.unacknowledged.is_some() {
            if up.renewing {
                up.retry = Some(now + up.dialog.glare_delay(&mut *core.rng));
            }
            return Ok(());
        }
        // A description that has changed goes into an INVITE.
        let method = if up.updates && !changes { Method::Update } else { Method::Invite };
        let Ok(mut request) = up.dialog.request(method.clone()) else {
            // An INVITE of the peer is under way: it refreshes as well as ours.
            if changes {
                up.retry = Some(now + up.dialog.glare_delay(&mut *core.rng));
            }
            return Ok(());
        };
        core.introduce(&mut request)?;
        up.timers.ask(&mut request, up.timer.as_ref())?;
        if method == Method::Invite {
            set_sdp(&mut request, self.own.offer()?)?;
        }
        up.dialog.sending(&request)?;
        let key = core.send_in(now, &up.dialog, request.clone(), Owner::Call(self.id))?;
        if let Some(timer) = &mut up.timer {
            timer.refreshing();
        }
        up.refreshing = Some(Refreshing { key, request, renews: up.renewing });
        Ok(())
    }

    /// Offers another floor control connection (RFC 8856 §7.1).
    pub(crate) fn renew_floors(&mut self, core: &mut Core, now: Instant, up: &mut Up) {
        let lost = self.room.as_ref().is_none_or(|room| room.lost.is_some());
        if up.renewing || lost || !self.own.renew_floors() {
            return;
        }
        up.renewing = true;
        up.attempts = 0;
        if let Err(refusal) = self.refresh(core, now, up) {
            self.renewed(core, up, Err(refusal));
        }
    }

    /// That came to its end.
    fn renewed(&mut self, core: &mut Core, up: &mut Up, place: Result<Option<Remote>, Refusal>) {
        up.renewing = false;
        // What is offered from now on is the connection that is then there.
        self.own.established();
        self.own.version += 1;
        core.events.push_back(Event::FloorsRenewed { call: self.id, place });
    }

    /// Where the focus waits for the connection that we offered, if we open it.
    fn floors_at(&self, up: &Up, lines: &[Option<PeerLine>]) -> Result<Option<Remote>, Refusal> {
        let all = self.own.lines.iter().zip(lines).zip(&up.roles);
        let mut floors = all.filter(|((own, _), _)| own.kind() == Kind::Floors);
        let ((_, Some(peer)), Some(role)) = floors.next().ok_or(Refusal::NoMedia)? else {
            return Err(Refusal::NoMedia);
        };
        Ok(match peer.on_answer(*role, false) {
            Reach::Connect(remote) => Some(remote),
            Reach::Listen | Reach::OfferWithout => None,
        })
    }

    /// Offers again, without CEMA: the path of the peer leads past a middlebox that could not act for
    /// it as long as the offer said that it need not.
    pub(crate) fn offer_again(
        &mut self,
        core: &mut Core,
        now: Instant,
        up: &mut Up,
        offerings: Vec<Offering>,
    ) -> Result<(), Refusal> {
        if let Some(messages) = self.own.messages_mut() {
            messages.cema = false;
        }
        self.own.version += 1;
        up.second = Some(Second { offerings });
        self.refresh(core, now, up)
    }

    /// A response to our refresh, or to our second offer. `Err` ends the call.
    pub(crate) fn refreshed(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        up: &mut Up,
        response: &Message,
    ) -> Result<(), Refusal> {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            return Ok(());
        }
        let Some(refreshing) = up.refreshing.take() else { return Ok(()) };
        up.dialog.response(response)?;
        match status {
            200..=299 => {
                if *refreshing.request.method() == Method::Invite {
                    acknowledge(core, now, refreshing.key, &refreshing.request, &up.dialog);
                }
                up.attempts = 0;
                up.timer = up.timers.accepted(now, response);
                if let Some(second) = up.second.take() {
                    return self.settled(core, wall, up, &second, response);
                }
                let lines = match sdp(response) {
                    Some(octets) => self.same_terms(core, &up.remote_values, octets, Half::Answer)?.1,
                    None => Vec::new(),
                };
                if refreshing.renews && self.room.is_some() {
                    let place = self.floors_at(up, &lines);
                    self.renewed(core, up, place);
                } else if refreshing.renews {
                    let media = self.media_offered(up, lines);
                    self.media_renewed(core, up, media);
                }
                Ok(())
            }
            // RFC 3261 §14.1; §14.2: our last INVITE is not over there, its ACK was lost or is late.
            // A border that has no gateway at the moment says 500 too, and of that its driver hears.
            500 if refreshing.renews && self.room.is_none() => {
                let refusal = Refusal::Rejected { status, text: words(response) };
                self.media_renewed(core, up, Err(refusal));
                Ok(())
            }
            491 | 500 if up.attempts < GLARE_ATTEMPTS => {
                up.attempts += 1;
                up.retry = Some(now + up.dialog.glare_delay(&mut *core.rng));
                Ok(())
            }
            // RFC 3261 §22.2, §22.3: a nonce does not live as long as a call.
            401 | 407 if up.attempts < GLARE_ATTEMPTS && core.challenged(response) => {
                up.attempts += 1;
                up.retry = Some(now);
                Ok(())
            }
            // RFC 3261 §12.2.1.2: these end the dialog.
            408 | 481 => Err(Refusal::Rejected { status, text: response.reason().into_owned() }),
            422 if up.timers.raise(response) => {
                up.retry = Some(now);
                Ok(())
            }
            401 | 407 if up.attempts < GLARE_ATTEMPTS && core.challenged(response) => {
                up.attempts += 1;
                up.retry = Some(now);
                Ok(())
            }
            // Without media there is nothing to go on with.
            _ if up.second.is_some() => Err(Refusal::PathMismatch),
            // The rest of the session goes on.
            _ if refreshing.renews => {
                let refusal = Refusal::Rejected { status, text: words(response) };
                match self.room {
                    Some(_) => self.renewed(core, up, Err(refusal)),
                    None => self.media_renewed(core, up, Err(refusal)),
                }
                Ok(())
            }
            // The others do not: the session goes on until its time is over.
            _ => Ok(()),
        }
    }

    /// Our second offer was answered: now there is media, or no call.
    fn settled(
        &mut self,
        core: &mut Core,
        wall: SystemTime,
        up: &mut Up,
        second: &Second,
        response: &Message,
    ) -> Result<(), Refusal> {
        let octets = sdp(response).ok_or(Refusal::NoMedia)?;
        let terms = self.terms(core, wall, &second.offerings, octets)?;
        (up.remote_values, up.path) = (terms.values(), terms.path());
        // Floor control is up since the first answer.
        match self.agree(terms)?.messages {
            Some(Ok(media)) => core.events.push_back(Event::Media { call: self.id, media }),
            _ => return Err(Refusal::PathMismatch),
        }
        Ok(())
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
        if let Err(error) = up.dialog.receive(request) {
            core.refuse(now, key, request, &error.into(), None);
            self.state = State::Up(up);
            return;
        }
        match request.method() {
            Method::Bye => {
                core.reply(now, key, request, 200, None);
                up.let_go(core, now);
                let reason = request.header("Reason");
                let text = reason.as_deref().and_then(text_of);
                match (reason.as_deref().and_then(cause_of), &self.room) {
                    // A conference whose own parts failed calls back; one that puts us out does not.
                    (Some(500..600), Some(_)) => self.dialog_lost(core, now, Ending::Peer(text)),
                    (Some(status @ 400..), None) => self.over(core, Ending::Broken { status, text }),
                    _ => self.over(core, Ending::Peer(text)),
                }
                return;
            }
            Method::Invite if self.offered_anew(core, &mut up, key, request) => {}
            Method::Invite | Method::Update => {
                let status = self.changed(core, now, &mut up, key, request);
                if let Ok(cseq) = request.cseq() {
                    up.dialog.answered(cseq.number, &cseq.method, status);
                }
            }
            Method::Options => core.capable(now, key, request),
            Method::Prack => acknowledged(core, now, up.ringing.as_mut(), key, request),
            _ => core.reply(now, key, request, 405, None),
        }
        self.state = State::Up(up);
    }

    /// Answers a re-INVITE or UPDATE; with which status.
    fn changed(
        &mut self,
        core: &mut Core,
        now: Instant,
        up: &mut Up,
        key: ServerKey,
        request: &Message,
    ) -> u16 {
        match self.unchanged(core, now, up, request) {
            Ok(response) => {
                if *request.method() == Method::Invite {
                    up.unacknowledged = Some(key);
                }
                let _ = core.endpoint.respond(now, key, response);
                200
            }
            Err(refusal) => {
                core.refuse(now, key, request, &refusal, None);
                refusal.sip().0
            }
        }
    }

    /// The 2xx to a re-INVITE or UPDATE that leaves the terms as they are.
    fn unchanged(
        &mut self,
        core: &mut Core,
        now: Instant,
        up: &mut Up,
        request: &Message,
    ) -> Result<Message, Refusal> {
        let body = match sdp_of_request(request)? {
            Some(octets) => {
                let (offer, peer) = self.same_terms(core, &up.remote_values, octets, Half::Offer)?;
                self.follow(core, up, &peer)?;
                let answer = self.own.answer_again(&offer, &peer, &up.roles)?;
                self.without(core, &peer);
                answer
            }
            // RFC 3261 §14.2: asked for an offer, we make the one that holds.
            None if *request.method() == Method::Invite => self.own.offer()?,
            None => Bytes::new(),
        };
        let mut response = Message::response(request, 200, "OK")?;
        core.introduce(&mut response)?;
        up.timer = up.timers.accept(now, request, &mut response, false)?;
        if !body.is_empty() {
            set_sdp(&mut response, body)?;
        }
        Ok(response)
    }

    /// RFC 6714 §4.3: the peer offers without CEMA what it had offered with it. From now on its path
    /// counts, and if we have not reached it yet, that is where it is.
    fn follow(&mut self, core: &mut Core, up: &mut Up, peer: &[Option<PeerLine>]) -> Result<(), Refusal> {
        let line = peer.iter().flatten().find(|line| line.messages().is_some());
        let Some((line, peer)) = line.and_then(|line| Some((line, line.messages()?))) else { return Ok(()) };
        let Some(messages) = self.own.messages_mut() else { return Ok(()) };
        if peer.cema || !messages.cema {
            return Ok(());
        }
        let remote = line.on_offer()?;
        messages.cema = false;
        self.own.version += 1;
        if up.remote.as_ref().is_some_and(|before| *before != remote) {
            up.remote = Some(remote.clone());
            core.events.push_back(Event::Moved { call: self.id, remote });
        }
        Ok(())
    }

    /// The peer took floor control out of the call.
    fn without(&mut self, core: &mut Core, peer: &[Option<PeerLine>]) {
        for (own, peer) in self.own.lines.iter_mut().zip(peer) {
            if own.live && peer.is_none() {
                own.live = false;
                core.events.push_back(Event::FloorsEnded { call: self.id });
            }
        }
    }

    /// A description of the peer inside the call: the same seal, or a refusal.
    pub(crate) fn same_terms(
        &self,
        core: &Core,
        remote_values: &[Option<String>],
        octets: &Bytes,
        half: Half,
    ) -> Result<(Document, Vec<Option<PeerLine>>), Refusal> {
        let document = Document::parse(octets.clone(), &core.config.limits.sdp)?;
        let lines = match half {
            Half::Offer => read_again(&document, &self.own)?,
            Half::Answer => read_answer(&document, &self.own)?,
        };
        let same = |(line, value): (&Option<PeerLine>, &Option<String>)| {
            line.as_ref().is_none_or(|line| line.mikey() == value.as_deref())
        };
        if self.own.sealed && !lines.iter().zip(remote_values).all(same) {
            return Err(KeyRefusal::UnsupportedKeys("a change of keys during the call".into()).into());
        }
        // RFC 5547 §8.1: another identifier asks for another file, which needs a call of its own.
        let theirs = lines.iter().flatten().find_map(|line| line.messages()?.file.as_ref());
        if self.own.file().map(|file| &file.transfer_id) != theirs.map(|file| &file.transfer_id) {
            return Err(Refusal::NoMedia);
        }
        Ok((document, lines))
    }

    /// Time has passed. `Err` ends the call.
    pub(crate) fn up_tick(&mut self, core: &mut Core, now: Instant, up: &mut Up) -> Result<(), Refusal> {
        if up.retry.is_some_and(|at| now >= at) {
            return self.refresh(core, now, up);
        }
        match &up.timer {
            // RFC 4028 §10: nobody refreshed.
            Some(timer) if now >= timer.expires_at() => Err(Refusal::Unanswered),
            Some(timer) if timer.refresh_at().is_some_and(|at| now >= at) => self.refresh(core, now, up),
            _ => Ok(()),
        }
    }
}

/// The text of a Reason header (RFC 3326).
fn text_of(reason: &str) -> Option<String> {
    let (_, quoted) = reason.split_once("text=\"")?;
    Some(quoted.split_once('"')?.0.to_owned())
}

/// The SIP status that a Reason header gives as the cause (RFC 3326).
fn cause_of(reason: &str) -> Option<u16> {
    let rest = reason
        .trim()
        .get(3..)
        .filter(|_| reason.trim().get(..3).is_some_and(|p| p.eq_ignore_ascii_case("SIP")))?;
    let (_, rest) = rest.split_once("cause=")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}
