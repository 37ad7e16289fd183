//! One call across the border: what it knows, and the queue its messages pass through.
//!
//! The border is a back-to-back user agent that keeps the dialog's names (Call-ID, tags, CSeq),
//! so PRACK, UPDATE, re-INVITE, session timers and forks work from end to end. Messages with an
//! offer or an answer wait for the gateway; what comes behind them waits too, so nothing
//! overtakes. RFC 3261 §12 to §15, RFC 3262, RFC 3311, RFC 4028, RFC 6337.

use crate::body::Description;
use crate::config::Network;
use crate::core::{AlarmKey, CallKey, Core, Op};
use crate::event::{Cause, Event};
use crate::forward::{Remote, contact_of, route_set};
use crate::gateways::Request;
use crate::session::{End, ExchangeKey, Fault, Session};
use crate::state::Unanswered;
use carnet_plan::{Both, Side};
use carnet_sdp::Document;
use carnet_sip::{ClientKey, Destination, FlowId, Hop, Message, Method, ServerKey, Uri};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first INVITE has no final response.
    Setup,
    /// Answered.
    Up,
    /// Ended; remembered for what still comes.
    Over,
}

/// One side of the call as SIP sees it.
#[derive(Debug)]
pub(crate) struct Leg {
    /// The user part of our Contact there.
    pub(crate) token: String,
    /// Our Contact there.
    pub(crate) contact: Uri,
    /// Requests go this way and no other: a terminal's registered flow.
    pub(crate) hop: Option<Hop>,
    /// Next hop of the first INVITE.
    pub(crate) next: Option<Uri>,
}

/// One dialog of the call: one for each To tag.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) callee_tag: String,
    pub(crate) remotes: Both<Remote>,
    /// From and To of the caller's requests, as they are written.
    pub(crate) names: Both<String>,
    pub(crate) confirmed: bool,
    /// Its answer to the first INVITE before the final response, which need not repeat it (RFC 3262 §5).
    pub(crate) early: Option<Document>,
    /// BYE was seen or sent.
    pub(crate) ended: bool,
}

/// A message on its way through.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) from: Side,
    pub(crate) message: Message,
    pub(crate) kind: Kind,
    pub(crate) sdp: Option<Sdp>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Request(ServerKey),
    /// The transaction it answers, the server side of it, and the request as received there.
    Response {
        client: ClientKey,
        server: ServerKey,
        request: Box<Message>,
    },
    Ack(ClientKey),
}

/// An offer or an answer in a message.
#[derive(Debug)]
pub(crate) struct Sdp {
    pub(crate) description: Description,
    pub(crate) key: ExchangeKey,
    pub(crate) is_offer: bool,
}

/// The gateway has to answer before the first message of the queue goes on.
#[derive(Debug)]
struct Busy {
    waiting: Vec<Request>,
    /// The rtpengine has to answer too.
    rtp: Option<carnet_ng::RequestId>,
    fault: Option<Fault>,
    deadline: Instant,
}

/// The requests to gateways, and the one to the rtpengine, that a message waits for.
type Waits = (Vec<Request>, Option<carnet_ng::RequestId>);

pub(crate) struct Call {
    pub(crate) key: CallKey,
    pub(crate) call_id: String,
    pub(crate) caller_tag: String,
    pub(crate) legs: Both<Leg>,
    pub(crate) first: FirstInvite,
    pub(crate) dialogs: Vec<Dialog>,
    pub(crate) session: Session,
    held: VecDeque<Held>,
    busy: Option<Busy>,
    pub(crate) phase: Phase,
    /// Ringing (Timer C), session timer or forgetting, after the phase.
    pub(crate) deadline: Option<Instant>,
    /// INVITEs after the first that went on and have no final response, and Timer C of each (RFC 3261 §16.8).
    pub(crate) later: Vec<(ClientKey, Instant)>,
    /// What was said about why it ends.
    pub(crate) said: Option<String>,
    pub(crate) armed: Option<AlarmKey>,
    /// Server transactions that name this call.
    pub(crate) served: Vec<ServerKey>,
    pub(crate) began: Instant,
    pub(crate) answered: Option<Instant>,
    /// The ACK has come.
    pub(crate) acknowledged: bool,
    /// It began in the process before.
    pub(crate) restored: bool,
    /// Until when the invitation holds (RFC 3261 §13.3.1).
    pub(crate) expires: Option<Instant>,
    /// Some of its media has no gateway any more: until when it may be offered anew, and why not later.
    pub(crate) media_lost: Option<(Instant, Cause)>,
    /// A 2xx of then that waits for its ACK.
    pub(crate) waits: Option<Unanswered>,
    /// May be forgotten.
    pub(crate) done: bool,
}

/// The INVITE that made the call.
#[derive(Debug)]
pub(crate) struct FirstInvite {
    pub(crate) server: ServerKey,
    /// Which branch of the caller's request this call is; 0 if it was not forked.
    pub(crate) branch: usize,
    pub(crate) client: Option<ClientKey>,
    pub(crate) message: Message,
    /// Where it goes.
    pub(crate) remote: Remote,
    /// Why it was cancelled, if it was.
    pub(crate) given_up: Option<Cause>,
}

impl Call {
    pub(crate) fn new(
        key: CallKey,
        first: FirstInvite,
        legs: Both<Leg>,
        ends: Both<End>,
        began: Instant,
    ) -> Self {
        let call_id = first.message.call_id().unwrap_or_default().to_owned();
        let expires = first.message.header("Expires").and_then(|value| value.trim().parse().ok());
        Self {
            key,
            expires: expires.and_then(|seconds: u32| began.checked_add(Duration::from_secs(seconds.into()))),
            caller_tag: first.message.from_tag().unwrap_or_default(),
            session: Session::new(key, call_id.clone(), ends),
            call_id,
            legs,
            first,
            dialogs: Vec::new(),
            held: VecDeque::new(),
            busy: None,
            phase: Phase::Setup,
            deadline: None,
            later: Vec::new(),
            said: None,
            armed: None,
            served: Vec::new(),
            began,
            answered: None,
            acknowledged: false,
            restored: false,
            media_lost: None,
            waits: None,
            done: false,
        }
    }

    /// When the call wants to be woken.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let busy = self.busy.as_ref().map(|b| b.deadline);
        let waits = self.waits.as_ref().map(|w| w.next).filter(|_| self.phase == Phase::Up);
        let later = self.later.iter().map(|(_, at)| *at);
        let lost = self.media_lost.map(|(at, _)| at).filter(|_| self.phase == Phase::Up);
        let expires = self.expires.filter(|_| self.phase == Phase::Setup);
        self.deadline.into_iter().chain(expires).chain(busy).chain(waits).chain(later).chain(lost).min()
    }

    // -- what comes in ---------------------------------------------------------------------

    /// A request of this call, the first INVITE included.
    pub(crate) fn request(
        &mut self,
        core: &mut Core,
        now: Instant,
        from: Side,
        key: ServerKey,
        message: Message,
    ) {
        self.tidy(core);
        // A forked INVITE is the fork's.
        if !core.forks.contains_key(&key) {
            core.served.insert(key, (self.key, None));
            self.served.push(key);
        }
        if key != self.first.server {
            match self.dialog_of(from, &message) {
                Some(at) => self.refresh(at, from, &message),
                None => return core.refuse(now, key, &message, &Fault::new(481, "no such dialog")),
            }
        }
        if self.held.len() >= core.config.limits.held {
            return core.refuse(
                now,
                key,
                &message,
                &Fault::new(503, "too many messages wait for the gateway"),
            );
        }
        self.push(core, now, Held { from, message, kind: Kind::Request(key), sdp: None });
    }

    /// Forgets server transactions whose client side is over: a long call has many.
    fn tidy(&mut self, core: &mut Core) {
        self.served.retain(|key| match core.served.get(key) {
            Some((_, Some(client))) if !core.clients.contains_key(client) => {
                core.served.remove(key);
                false
            }
            known => known.is_some(),
        });
    }

    /// A response to a request that went on.
    pub(crate) fn response(
        &mut self,
        core: &mut Core,
        now: Instant,
        from: Side,
        kind: Kind,
        message: Message,
    ) {
        let Kind::Response { client, .. } = &kind else { return };
        let status = message.status().unwrap_or(0);
        self.heard_of(core, now, *client, status);
        if Some(*client) == self.first.client && (101..300).contains(&status) {
            let known = self.dialogs.len() < core.config.limits.forks
                || message.to_tag().is_some_and(|t| self.dialogs.iter().any(|d| d.callee_tag == t));
            if !known {
                // One fork too many. Its 2xx would be a session nobody can end: end it here.
                if status >= 200 {
                    self.turn_down(core, now, *client, &message);
                }
                return;
            }
            self.learn(&message);
        } else if (200..300).contains(&status)
            && matches!(message.method(), Method::Invite | Method::Update)
            && let Some(at) = self.dialog_of_response(from, &message)
        {
            // Target refresh by a response (RFC 3261 §12.2.1.2).
            self.retarget(at, from, &message);
        }
        // Final responses always find a place: there is one for each request let in.
        if status < 200 && self.held.len() >= core.config.limits.held {
            return;
        }
        self.push(core, now, Held { from, message, kind, sdp: None });
    }

    /// A response to an INVITE: Timer C begins anew, or is over (RFC 3261 §16.7 step 2).
    fn heard_of(&mut self, core: &Core, now: Instant, client: ClientKey, status: u16) {
        let until = now + core.config.timers.ringing;
        if status >= 200 {
            self.later.retain(|(later, _)| *later != client);
        } else if Some(client) == self.first.client && self.phase == Phase::Setup {
            self.deadline = Some(until);
        } else if let Some((_, at)) = self.later.iter_mut().find(|(later, _)| *later == client) {
            *at = until;
        }
    }

    /// The ACK to a 2xx.
    pub(crate) fn ack(
        &mut self,
        core: &mut Core,
        now: Instant,
        from: Side,
        client: ClientKey,
        message: Message,
    ) {
        self.push(core, now, Held { from, message, kind: Kind::Ack(client), sdp: None });
    }

    /// A CANCEL of an INVITE of this call.
    pub(crate) fn cancelled(&mut self, core: &mut Core, now: Instant, key: ServerKey) {
        if key == self.first.server {
            return self.lose(core, now, Cause::Cancelled);
        }
        if let Some((_, Some(client))) = core.served.get(&key) {
            // The far end's final response answers the INVITE: 487, or 2xx if it was faster.
            let _ = core.endpoint.cancel(now, *client);
        } else if let Some(held) = self.held.iter().find(|h| matches!(h.kind, Kind::Request(k) if k == key)) {
            core.refuse(now, key, &held.message, &Fault::new(487, "cancelled"));
        }
        self.advance(core, now);
    }

    /// The caller gave up, or another branch of its request did better.
    pub(crate) fn lose(&mut self, core: &mut Core, now: Instant, cause: Cause) {
        if self.phase != Phase::Setup {
            return;
        }
        if let Some(client) = self.first.client {
            // The far end's final response answers the INVITE: 487, or 2xx if it was faster.
            let _ = match cause {
                // RFC 3326 §2: the terminal shows no missed call.
                Cause::Elsewhere => core.endpoint.cancel_with_reason(
                    now,
                    client,
                    "SIP;cause=200;text=\"Call completed elsewhere\"",
                ),
                _ => core.endpoint.cancel(now, client),
            };
            self.first.given_up.get_or_insert(cause);
            return;
        }
        // The INVITE has not gone on.
        self.answer_first(core, now, &Fault::new(487, "cancelled"));
        self.over(core, now, cause);
        self.advance(core, now);
    }

    /// The gateway answered, or failed to.
    pub(crate) fn op_done(&mut self, core: &mut Core, now: Instant, request: Request, fault: Option<Fault>) {
        let Some(busy) = &mut self.busy else { return };
        if !busy.waiting.contains(&request) {
            return;
        }
        busy.waiting.retain(|r| *r != request);
        busy.fault = busy.fault.take().or(fault);
        if (busy.waiting.is_empty() && busy.rtp.is_none()) || busy.fault.is_some() {
            self.resume(core, now);
        }
    }

    /// The exchange for which that answer of the rtpengine is awaited.
    pub(crate) fn waits_for_rtp(&self, id: carnet_ng::RequestId) -> Option<ExchangeKey> {
        self.busy.as_ref().filter(|b| b.rtp == Some(id))?;
        self.held.front()?.sdp.as_ref().map(|sdp| sdp.key)
    }

    /// The rtpengine has answered.
    pub(crate) fn rtp_op_done(&mut self, core: &mut Core, now: Instant, fault: Option<Fault>) {
        let Some(busy) = &mut self.busy else { return };
        busy.rtp = None;
        busy.fault = busy.fault.take().or(fault);
        if busy.waiting.is_empty() || busy.fault.is_some() {
            self.resume(core, now);
        }
    }

    /// Whether the call waits for that answer.
    pub(crate) fn waits_for(&self, request: Request) -> bool {
        self.busy.as_ref().is_some_and(|b| b.waiting.contains(&request))
    }

    /// What the call waits for was asked of another gateway; that one has its own time.
    pub(crate) fn op_moved(&mut self, core: &Core, now: Instant, from: Request, to: Request) {
        let Some(busy) = &mut self.busy else { return };
        for request in busy.waiting.iter_mut().filter(|r| **r == from) {
            *request = to;
        }
        busy.deadline = now + core.config.timers.gateway;
    }

    /// A gateway has not answered in time. What it was to add is added on another one; the answer may
    /// still come, and then it is subtracted.
    fn move_late(&mut self, core: &mut Core, now: Instant) -> bool {
        let late = self.busy.as_ref().map(|b| b.waiting.clone()).unwrap_or_default();
        let mut moves = Vec::new();
        for request in late {
            let Some(Op::Add { context, first, tried, .. }) = core.ops.get(&request) else { return false };
            moves.push((request, context.clone(), *first, tried.clone()));
        }
        let mut moved = !moves.is_empty();
        for (request, context, first, tried) in moves {
            core.gateways.failed(now, &context.gateway);
            match self.session.elsewhere(core, request, (&context, first), tried) {
                Some(again) => self.op_moved(core, now, request, again),
                None => moved = false,
            }
        }
        moved
    }

    /// A deadline of this call passed.
    pub(crate) fn timeout(&mut self, core: &mut Core, now: Instant) {
        if self.busy.as_ref().is_some_and(|b| b.deadline <= now) && !self.move_late(core, now) {
            if let Some(busy) = &mut self.busy {
                busy.fault = Some(Fault::new(504, "the media gateway did not answer in time"));
            }
            self.resume(core, now);
        }
        if self.phase == Phase::Up {
            self.repeat_answer(core, now);
        }
        self.give_up_later(core, now, |at| at <= now);
        if self.phase == Phase::Setup && self.expires.is_some_and(|at| at <= now) {
            // Nobody else is asked either.
            if let Some(fork) = core.forks.get_mut(&self.first.server) {
                fork.stop();
            }
            let fault = Fault::new(487, "the invitation has expired");
            return self.give_up(core, now, &fault, Cause::RefusedHere(487));
        }
        if let Some((_, cause)) = self.media_lost.take_if(|(at, _)| *at <= now)
            && self.phase == Phase::Up
            && self.session.has_lost()
        {
            return self.hang_up(core, now, cause);
        }
        if self.deadline.is_none_or(|d| d > now) {
            return;
        }
        self.deadline = None;
        match self.phase {
            Phase::Setup => {
                self.give_up(core, now, &Fault::new(408, "nobody answered"), Cause::RefusedHere(408));
            }
            Phase::Up => self.hang_up(core, now, Cause::SessionTimer),
            Phase::Over => self.done = true,
        }
    }

    // -- the queue -------------------------------------------------------------------------

    fn push(&mut self, core: &mut Core, now: Instant, held: Held) {
        self.held.push_back(held);
        self.advance(core, now);
    }

    fn resume(&mut self, core: &mut Core, now: Instant) {
        let Some(busy) = self.busy.take() else { return };
        if let Some(held) = self.held.pop_front() {
            match busy.fault {
                None => self.pass(core, now, held),
                Some(fault) => self.stop(core, now, held, &fault),
            }
        }
        self.advance(core, now);
    }

    fn advance(&mut self, core: &mut Core, now: Instant) {
        while self.busy.is_none() {
            let Some(mut held) = self.held.pop_front() else {
                if self.phase == Phase::Over {
                    // Calls that are over are many and wait for nothing.
                    self.held = VecDeque::new();
                }
                return;
            };
            match self.begin(core, &mut held) {
                Ok((waiting, None)) if waiting.is_empty() => self.pass(core, now, held),
                Ok((waiting, rtp)) => {
                    self.held.push_front(held);
                    let deadline = now + core.config.timers.gateway;
                    self.busy = Some(Busy { waiting, rtp, fault: None, deadline });
                }
                Err(fault) => self.stop(core, now, held, &fault),
            }
        }
    }

    /// Looks at the session description of a message, if it has one that matters.
    fn begin(&mut self, core: &mut Core, held: &mut Held) -> Result<Waits, Fault> {
        let nothing = Ok((Vec::new(), None));
        if self.phase == Phase::Over {
            return nothing;
        }
        let Some((key, is_offer)) = self.classify(held) else { return nothing };
        let description = Description::of(&held.message, &core.config.limits.sdp)?;
        let first = self.first_answered_by(held);
        let Some(description) = description else {
            // Another fork may have answered behind this one.
            let early = first.and_then(|(at, confirmed)| {
                let early = self.dialogs.get_mut(at).filter(|_| confirmed)?.early.take()?;
                Some((early, self.decides(&held.message, held.from)))
            });
            return match early {
                Some((answer, decides)) => {
                    Ok((self.session.begin_answer(core, key, &answer, decides)?, None))
                }
                None => nothing,
            };
        };
        let decides = is_offer || self.decides(&held.message, held.from);
        let begun = if is_offer {
            self.session.begin_offer(core, key, held.from, &description.document)
        } else {
            self.session.begin_answer(core, key, &description.document, decides)
        };
        match first {
            Some((at, false)) if !is_offer && begun.is_ok() => {
                if let Some(dialog) = self.dialogs.get_mut(at) {
                    dialog.early = Some(description.document.clone());
                }
            }
            Some(_) => {}
            // What is changed before the final response is not what was answered first.
            None => self.dialogs.iter_mut().for_each(|dialog| dialog.early = None),
        }
        let waits = begun.and_then(|waiting| {
            let rtp = match decides {
                true => self.session.begin_rtp(core, key, is_offer, &description.document)?,
                false => None,
            };
            Ok((waiting, rtp))
        });
        held.sdp = Some(Sdp { description, key, is_offer });
        waits
    }

    /// The dialog of a response to the first INVITE that is no refusal, and whether it is the final one.
    fn first_answered_by(&self, held: &Held) -> Option<(usize, bool)> {
        let Kind::Response { client, .. } = &held.kind else { return None };
        let status = held.message.status().filter(|status| *status < 300)?;
        let mine = Some(*client) == self.first.client;
        let at = self.dialog_of_response(held.from, &held.message).filter(|_| mine)?;
        Some((at, status >= 200))
    }

    /// Which exchange a description belongs to, and whether it is the offer (RFC 6337 table 1).
    fn classify(&self, held: &Held) -> Option<(ExchangeKey, bool)> {
        let cseq = held.message.cseq().ok()?;
        let answers =
            |key: ExchangeKey, by: Side| self.session.exchange(key).is_some_and(|e| e.offerer == by.other());
        match &held.kind {
            Kind::Request(_) => {
                // PRACK answers the offer of the reliable response it acknowledges.
                if let Ok(Some(rack)) = held.message.rack() {
                    let key = ExchangeKey { requester: held.from, cseq: rack.cseq };
                    if answers(key, held.from) && self.session.exchange(key).is_some_and(|e| !e.answered) {
                        return Some((key, false));
                    }
                }
                Some((ExchangeKey { requester: held.from, cseq: cseq.number }, true))
            }
            // The description in a refusal says what would have done; it answers nothing.
            Kind::Response { .. } if held.message.status() >= Some(300) => None,
            Kind::Response { .. } => {
                let key = ExchangeKey { requester: held.from.other(), cseq: cseq.number };
                if answers(key, held.from) {
                    return Some((key, false));
                }
                // Only INVITE can be answered with an offer (RFC 3261 §13.2.1).
                (cseq.method == Method::Invite).then_some((key, true))
            }
            Kind::Ack(_) => {
                let key = ExchangeKey { requester: held.from, cseq: cseq.number };
                answers(key, held.from).then_some((key, false))
            }
        }
    }

    /// Whether an answer may change the gateway: not when another fork has been accepted.
    fn decides(&self, message: &Message, from: Side) -> bool {
        let tag = if from == Side::Callee && message.is_response() { message.to_tag() } else { None };
        let Some(tag) = tag else { return true };
        !self.dialogs.iter().any(|d| d.confirmed && d.callee_tag != tag)
    }

    // -- dialogs ---------------------------------------------------------------------------

    /// The dialog a request of `from` belongs to.
    pub(crate) fn dialog_of(&self, from: Side, message: &Message) -> Option<usize> {
        let (mine, theirs) = (message.from_tag(), message.to_tag());
        let (caller, callee) = match from {
            Side::Caller => (mine, theirs),
            Side::Callee => (theirs, mine),
        };
        if caller.as_deref() != Some(&self.caller_tag) || message.call_id().ok() != Some(&self.call_id) {
            return None;
        }
        // RFC 3261 §12.1.2: who has none, as in RFC 2543, has the null tag.
        let callee = callee.unwrap_or_default();
        self.dialogs.iter().position(|d| d.callee_tag == callee)
    }

    /// Whether one of its dialogs is with the callee of this tag.
    pub(crate) fn has_callee(&self, tag: &str) -> bool {
        self.dialogs.iter().any(|d| d.callee_tag == tag)
    }

    /// The dialog a response sent by `from` belongs to: From and To are those of the request.
    pub(crate) fn dialog_of_response(&self, from: Side, message: &Message) -> Option<usize> {
        self.dialog_of(from.other(), message)
    }

    fn refresh(&mut self, at: usize, from: Side, message: &Message) {
        if let (Some(dialog), Ok(cseq)) = (self.dialogs.get_mut(at), message.cseq()) {
            let remote = dialog.remotes.of_mut(from);
            remote.cseq = remote.cseq.max(cseq.number);
        }
        if matches!(message.method(), Method::Invite | Method::Update) {
            self.retarget(at, from, message);
        }
    }

    fn retarget(&mut self, at: usize, from: Side, message: &Message) {
        if let (Some(dialog), Some(contact)) = (self.dialogs.get_mut(at), contact_of(message)) {
            dialog.remotes.of_mut(from).target = Some(contact);
        }
    }

    /// A response of the callee to the first INVITE makes a dialog (RFC 3261 §12.1.2).
    fn learn(&mut self, message: &Message) {
        let confirmed = message.status().is_some_and(|s| s >= 200);
        let Some(tag) = message.to_tag().or_else(|| confirmed.then(String::new)) else { return };
        let at = match self.dialogs.iter().position(|d| d.callee_tag == tag) {
            Some(at) => at,
            None => {
                let header =
                    |m: &Message, name: &str| m.header(name).map(|v| v.into_owned()).unwrap_or_default();
                let invite = &self.first.message;
                // One is what most calls have, and it is kept for as long as the call.
                self.dialogs.reserve_exact(1);
                self.dialogs.push(Dialog {
                    callee_tag: tag,
                    remotes: Both {
                        caller: Remote {
                            target: contact_of(invite),
                            routes: route_set(invite, false),
                            cseq: invite.cseq().map(|c| c.number).unwrap_or(0),
                        },
                        callee: Remote { target: None, routes: route_set(message, true), cseq: 0 },
                    },
                    names: Both { caller: header(invite, "From"), callee: header(message, "To") },
                    confirmed: false,
                    early: None,
                    ended: false,
                });
                self.dialogs.len() - 1
            }
        };
        self.retarget(at, Side::Callee, message);
        if let Some(dialog) = self.dialogs.get_mut(at) {
            // RFC 3261 §13.2.2.4: the 2xx settles the route set.
            if confirmed && !dialog.confirmed {
                dialog.remotes.callee.routes = route_set(message, true);
            }
            dialog.confirmed |= confirmed;
        }
    }

    /// Where requests of a dialog to `to` go. `None` if they can go nowhere.
    pub(crate) fn way(&self, core: &Core, at: usize, to: Side) -> Option<(&Remote, Destination)> {
        let remote = self.dialogs.get(at)?.remotes.of(to);
        Some((remote, self.destination(core, to, remote, None).ok()?))
    }

    /// Where a request to a side goes that is `remote` in its dialog.
    pub(crate) fn destination(
        &self,
        core: &Core,
        to: Side,
        remote: &Remote,
        next: Option<&Uri>,
    ) -> Result<Destination, Fault> {
        let hop = self.legs.of(to).way(core, self.session.ends.of(to), remote).hop()?;
        let destination = remote.destination(self.network(core, to), hop.as_ref(), next);
        destination.ok_or_else(|| Fault::new(480, "the far end gave no address"))
    }

    /// A side speaks by this way.
    pub(crate) fn heard(&mut self, core: &Core, from: Side, hop: &Hop) {
        self.legs.of_mut(from).heard(core, self.session.ends.of_mut(from), hop);
    }

    /// A connection is gone.
    pub(crate) fn lose_flow(&mut self, flow: FlowId) {
        for side in [Side::Caller, Side::Callee] {
            self.legs.of_mut(side).lose(flow);
        }
    }

    /// The network a side of the call is in.
    pub(crate) fn network<'a>(&self, core: &'a Core, side: Side) -> Option<&'a Network> {
        core.config.networks.get(self.session.ends.of(side).network)
    }

    // -- the end ---------------------------------------------------------------------------

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The call is over: the gateway gets its resources back.
    pub(crate) fn over(&mut self, core: &mut Core, now: Instant, cause: Cause) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        self.deadline = Some(now + core.linger());
        self.give_up_later(core, now, |_| true);
        self.session.release_all(core);
        let said = self.said.take();
        core.events.push_back(Event::CallEnded { call_id: self.call_id.clone(), cause, said });
        // What waited for the gateway waits no more.
        if self.busy.take().is_some() {
            self.advance(core, now);
        }
    }

    /// INVITEs after the first that have no answer are given up: the call is over (RFC 3261 §15.1.2), or Timer C.
    fn give_up_later(&mut self, core: &mut Core, now: Instant, due: impl Fn(Instant) -> bool) {
        for (client, at) in &self.later {
            if due(*at) {
                // Its final response comes, or 64 * T1 later the endpoint's word that there is none.
                let _ = core.endpoint.cancel(now, *client);
            }
        }
        self.later.retain(|(_, at)| !due(*at));
    }
}
