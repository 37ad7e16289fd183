//! A dialog that is up: refreshes, offers in it, its end.
//!
//! RFC 3261 §12.2, §14, RFC 3311, RFC 4028. An unchanged `a=key-mgmt` leaves the seal as it is (D-16); an
//! offer with other keys is refused. A line that is taken out of the description loses its termination; one
//! that was not there is for `more`.

use std::time::Instant;

use bytes::Bytes;
use carnet_sdp::Document;
use carnet_sip::{ClientKey, Dialog, Message, Method, ServerKey, SessionTimer, SessionTimers};

use crate::context;
use crate::core::{Core, Op, Owner, SDP, Todo, is_secure, sdp_of};
use crate::event::Left;
use crate::fault::Fault;
use crate::leg::{Leg, State};
use crate::line::{Peer, describe};
use crate::more::More;
use crate::room::{Place, Room};

/// How often a refresh that lost against one of the peer, or that was challenged, is tried again.
const ATTEMPTS: u8 = 5;

pub(crate) struct Up {
    pub(crate) dialog: Dialog,
    /// Our description as it was last sent.
    pub(crate) description: Bytes,
    /// The media server has not yet said that it took the answer.
    pub(crate) settling: bool,
    /// Our 2xx that waits for its ACK.
    unacknowledged: Option<ServerKey>,
    timers: SessionTimers,
    timer: Option<SessionTimer>,
    /// Whether the peer takes UPDATE.
    updates: bool,
    /// Our re-INVITE or UPDATE.
    refreshing: Option<(ClientKey, Message)>,
    retry: Option<Instant>,
    attempts: u8,
    /// An offer with lines that were not there.
    pub(crate) more: Option<Box<More>>,
    /// It is to end, once the ACK is here.
    pub(crate) leaving: Option<Left>,
}

impl Up {
    /// After our INVITE was answered.
    pub(crate) fn calling(now: Instant, dialog: Dialog, timers: SessionTimers, response: &Message) -> Self {
        let timer = timers.accepted(now, response);
        let updates = response.lists("Allow", "UPDATE");
        Self { timer, updates, ..Self::new(dialog, timers) }
    }

    /// As we answer an INVITE: decides about the session timer and writes it into the 2xx.
    pub(crate) fn called(
        now: Instant,
        dialog: Dialog,
        (key, invite): (ServerKey, &Message),
        timers: SessionTimers,
        response: &mut Message,
    ) -> Result<Self, Fault> {
        let timer = timers.accept(now, invite, response, false)?;
        let updates = invite.lists("Allow", "UPDATE");
        Ok(Self { timer, updates, unacknowledged: Some(key), ..Self::new(dialog, timers) })
    }

    fn new(dialog: Dialog, timers: SessionTimers) -> Self {
        Self {
            dialog,
            description: Bytes::new(),
            settling: false,
            unacknowledged: None,
            timers,
            timer: None,
            updates: false,
            refreshing: None,
            retry: None,
            attempts: 0,
            more: None,
            leaving: None,
        }
    }

    /// The ACK to our 2xx is here.
    pub(crate) fn acknowledged(&mut self, ack: &Message) {
        // An ACK has nothing that could be out of order.
        let _ = self.dialog.receive(ack);
        self.unacknowledged = None;
    }

    /// A 2xx goes out to this request: an INVITE waits for its ACK.
    pub(crate) fn answered(&mut self, key: ServerKey, request: &Message) {
        if *request.method() == Method::Invite {
            self.unacknowledged = Some(key);
        }
    }

    /// Whether a 2xx of ours waits for its ACK.
    pub(crate) fn waits_for_ack(&self) -> bool {
        self.unacknowledged.is_some()
    }

    /// The ACK will not come any more.
    pub(crate) fn give_up_ack(&mut self) {
        self.unacknowledged = None;
        self.dialog.unacknowledged();
    }

    pub(crate) fn is_unacknowledged(&self, key: ServerKey) -> bool {
        self.unacknowledged == Some(key)
    }

    /// Whether a response with this key is for a refresh of ours.
    pub(crate) fn is_refreshing(&self, key: ClientKey) -> bool {
        self.refreshing.as_ref().is_some_and(|(refreshing, _)| *refreshing == key)
    }

    /// When something is to be done.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        [self.timer.as_ref().map(SessionTimer::poll_timeout), self.retry].into_iter().flatten().min()
    }
}

impl Leg {
    /// Refreshes the session: UPDATE if the peer takes it, else an INVITE with the description as
    /// it stands.
    fn refresh(&mut self, core: &mut Core, room: &Room, up: &mut Up) -> Result<(), Fault> {
        up.retry = None;
        if up.refreshing.is_some() || up.unacknowledged.is_some() {
            return Ok(());
        }
        let method = if up.updates { Method::Update } else { Method::Invite };
        // An INVITE of the peer is under way: it refreshes as well as ours.
        let Ok(mut request) = up.dialog.request(method.clone()) else { return Ok(()) };
        let secure = is_secure(&request);
        Core::introduce(&mut request, &room.contact, secure)?;
        up.timers.ask(&mut request, up.timer.as_ref())?;
        if method == Method::Invite {
            request.set_body(up.description.clone(), Some(SDP))?;
        }
        up.dialog.sending(&request)?;
        let destination = up.dialog.destination();
        let key = core.send(request.clone(), destination, Owner::Leg(self.id))?;
        if let Some(timer) = &mut up.timer {
            timer.refreshing();
        }
        up.refreshing = Some((key, request));
        Ok(())
    }

    /// A response to our refresh.
    pub(crate) fn refreshed(&mut self, core: &mut Core, room: &mut Room, response: &Message) {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            return;
        }
        let State::Up(mut up) = self.take() else { return };
        let gone = self.refresh_answered(core, &mut up, status, response);
        self.state = State::Up(up);
        if gone {
            self.hang_up(core, room, Left::Silent);
        }
    }

    /// Whether the dialog is over.
    fn refresh_answered(&mut self, core: &mut Core, up: &mut Up, status: u16, response: &Message) -> bool {
        let Some((key, request)) = up.refreshing.take() else { return false };
        let _ = up.dialog.response(response);
        match status {
            200..=299 => {
                if *request.method() == Method::Invite {
                    let cseq = request.cseq().map(|cseq| cseq.number).unwrap_or_default();
                    core.acknowledge(key, cseq, &up.dialog);
                }
                up.attempts = 0;
                up.timer = up.timers.accepted(core.now, response);
                false
            }
            // RFC 3261 §14.1; §14.2: our last INVITE is not over there, its ACK was lost or is late.
            491 | 500 if up.attempts < ATTEMPTS => {
                up.attempts += 1;
                up.retry = Some(core.now + up.dialog.glare_delay(&mut core.rng));
                false
            }
            // RFC 3261 §22.2, §22.3: a nonce does not live as long as a dialog.
            401 | 407 if up.attempts < ATTEMPTS && core.challenged(response) => {
                up.attempts += 1;
                up.retry = Some(core.now);
                false
            }
            422 if up.timers.raise(response) => {
                up.retry = Some(core.now);
                false
            }
            // RFC 3261 §12.2.1.2: these end the dialog. The others do not: the session goes on until its
            // time is over.
            408 | 481 => true,
            _ => false,
        }
    }

    /// No answer came to our refresh.
    pub(crate) fn refresh_unanswered(&mut self, core: &mut Core, room: &mut Room) {
        // RFC 3261 §12.2.1.2: no answer inside a dialog means that the peer is gone.
        self.hang_up(core, room, Left::Silent);
    }

    /// A request of the peer inside the dialog.
    pub(crate) fn requested(&mut self, core: &mut Core, room: &mut Room, key: ServerKey, request: &Message) {
        let mut up = match self.take() {
            State::Up(up) => up,
            // Nobody knows a dialog that we have not told of.
            other => {
                core.reply(key, request, 481, None);
                self.state = other;
                return;
            }
        };
        if let Err(error) = up.dialog.receive(request) {
            core.refuse(key, request, &error.into(), None);
            self.state = State::Up(up);
            return;
        }
        match request.method() {
            Method::Bye => {
                core.reply(key, request, 200, None);
                if let Some(more) = up.more.take() {
                    Self::not_more(core, &mut up, &more, &Fault::new(487, "Request Terminated"));
                }
                core.dialog_over(up.dialog, false);
                self.over(core, room, Left::Gone);
                return;
            }
            Method::Invite | Method::Update => match self.more(core, room, key, request) {
                Ok(Some(more)) => up.more = Some(Box::new(more)),
                Ok(None) => {
                    let status = self.changed(core, room, &mut up, key, request);
                    if let Ok(cseq) = request.cseq() {
                        up.dialog.answered(cseq.number, &cseq.method, status);
                    }
                }
                Err(fault) => {
                    core.refuse(key, request, &fault, None);
                    if let Ok(cseq) = request.cseq() {
                        up.dialog.answered(cseq.number, &cseq.method, fault.status);
                    }
                }
            },
            Method::Options => core.capable(key, request, Some(&room.contact)),
            // RFC 3262 §3: we send nothing that would be acknowledged so.
            Method::Prack => core.reply(key, request, 481, None),
            Method::Subscribe | Method::Refer => {
                core.todo.push_back(Todo::Asked(self.id, key, Box::new(request.clone())));
            }
            _ => core.reply(key, request, 405, None),
        }
        self.state = State::Up(up);
    }

    /// Answers a re-INVITE or UPDATE; with which status.
    fn changed(
        &mut self,
        core: &mut Core,
        room: &Room,
        up: &mut Up,
        key: ServerKey,
        request: &Message,
    ) -> u16 {
        match self.renewed(core, room, up, request) {
            Ok(response) => {
                up.answered(key, request);
                let _ = core.endpoint.respond(core.now, key, response);
                200
            }
            Err(fault) => {
                core.refuse(key, request, &fault, None);
                fault.status
            }
        }
    }

    /// The 2xx to a re-INVITE or UPDATE.
    pub(crate) fn renewed(
        &mut self,
        core: &mut Core,
        room: &Room,
        up: &mut Up,
        request: &Message,
    ) -> Result<Message, Fault> {
        let body = match sdp_of(request)? {
            Some(octets) => {
                let offer = Document::parse(octets, &core.config.limits.sdp)?;
                self.follow(core, room, &offer)?;
                let body = describe(&self.lines, &self.house(room), self.session, Some(&offer))?;
                // RFC 3264 §8: the version grows when something has changed.
                if body == up.description {
                    Some(body)
                } else {
                    self.session.1 += 1;
                    let body = describe(&self.lines, &self.house(room), self.session, Some(&offer))?;
                    up.description = body.clone();
                    Some(body)
                }
            }
            // RFC 3261 §14.2: asked for an offer, we make the one that holds.
            None => (*request.method() == Method::Invite).then(|| up.description.clone()),
        };
        let mut response = core.response(request, 200, None).ok_or_else(|| Fault::new(400, "Bad Request"))?;
        Core::introduce(&mut response, &room.contact, is_secure(request))?;
        up.timer = up.timers.accept(core.now, request, &mut response, false)?;
        if let Some(body) = body {
            response.set_body(body, Some(SDP))?;
        }
        Ok(response)
    }

    /// Takes over what an offer changes: directions, places, lines that are taken out.
    fn follow(&mut self, core: &mut Core, room: &Room, offer: &Document) -> Result<(), Fault> {
        let mut next = Vec::new();
        for line in &self.lines {
            let Some(media) = offer.media_at(line.index).filter(|media| !media.is_rejected()) else {
                next.push(None);
                continue;
            };
            // RFC 3264 §8.3: what a line is for does not change; our keys are for this transport.
            if media.media() != line.kind.media() || !media.proto().eq_ignore_ascii_case(line.transport()) {
                return Err(Fault {
                    warning: Some(302),
                    ..Fault::new(488, "Incompatible transport protocol")
                });
            }
            let peer = Peer::read(&media, line.kind, line.sealed)?;
            let before = line.peer.as_ref().and_then(Peer::mikey);
            if line.sealed && peer.mikey() != before {
                return Err(Fault::new(488, "Keys do not change during a session"));
            }
            next.push(Some(peer));
        }
        if next.iter().all(Option::is_none) {
            return Err(Fault { warning: Some(304), ..Fault::new(488, "Media type not available") });
        }
        let Place::On(gateway, number) = &room.place else { return Err(Fault::no_media()) };
        let (realm, _) = core.gateways.realm(gateway);
        let (mut commands, mut gone) = (Vec::new(), Vec::new());
        for (line, peer) in self.lines.iter_mut().zip(next) {
            match peer {
                None => gone.extend(line.termination.take()),
                Some(mut peer) => {
                    let Some(before) = &line.peer else { continue };
                    let same = before.direction == peer.direction
                        && (&before.host, before.port, &before.path) == (&peer.host, peer.port, &peer.path);
                    // The roles were settled when the connection was.
                    peer.setup = before.setup;
                    line.peer = Some(peer);
                    if !same {
                        commands.extend(context::modify(line, &realm, None));
                    }
                }
            }
        }
        self.lines.retain(|line| line.termination.is_some());
        let (gateway, number) = (gateway.clone(), *number);
        if !commands.is_empty() {
            let action = carnet_h248::ActionRequest::new(carnet_h248::ContextId::Id(number), commands);
            let request = core.gateways.request(core.now, &gateway, vec![action]);
            core.ops.insert(request, Op::Modify { leg: self.id });
            // Others see who hears and speaks.
            core.touched.insert(self.room.clone());
        }
        if !gone.is_empty() {
            core.touched.insert(self.room.clone());
            core.subtract(&gateway, number, gone);
        }
        Ok(())
    }

    /// Time has passed. `Err` ends the leg.
    pub(crate) fn up_tick(&mut self, core: &mut Core, room: &Room, up: &mut Up) -> Result<(), ()> {
        let now = core.now;
        if up.retry.is_some_and(|at| now >= at) {
            return self.refresh(core, room, up).map_err(drop);
        }
        match &up.timer {
            // RFC 4028 §10: nobody refreshed.
            Some(timer) if now >= timer.expires_at() => Err(()),
            Some(timer) if timer.refresh_at().is_some_and(|at| now >= at) => {
                self.refresh(core, room, up).map_err(drop)
            }
            _ => Ok(()),
        }
    }
}
