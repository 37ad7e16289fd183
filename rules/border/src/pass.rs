//! The head of a call's queue goes on, or is stopped.
//!
//! RFC 3261 §13 and §15, RFC 3264 §8.

use crate::call::{Call, Held, Kind, Phase};
use crate::core::{Core, Forwarded, Purpose, named};
use crate::event::{Cause, Event};
use crate::forward;
use crate::session::{ExchangeKey, Fault};
use carnet_plan::Side;
use carnet_sip::{ClientKey, Message, Method, ServerKey};
use std::time::{Duration, Instant};

impl Call {
    /// Sends a message on. What it waited for has been done.
    pub(crate) fn pass(&mut self, core: &mut Core, now: Instant, mut held: Held) {
        let to = held.from.other();
        if let Err(fault) = self.dress(core, &mut held) {
            return self.stop(core, now, held, &fault);
        }
        let Held { from, message, kind, sdp } = held;
        if let (Kind::Response { client, .. }, Some(sdp)) = (&kind, sdp.filter(|sdp| !sdp.is_offer)) {
            // A terminal on its own flow is alone there; behind anybody else another fork may take what this
            // one refused, until the final response.
            let alone = Some(*client) == self.first.client && self.legs.callee.hop.is_some();
            if alone && message.status().is_some_and(|status| status < 200) {
                self.session.give_back_refused(core, sdp.key);
            }
        }
        match kind {
            Kind::Request(key) => self.pass_request(core, now, from, key, message),
            Kind::Response { client, server, request } => {
                self.pass_response(core, now, to, (client, server), &request, message);
            }
            Kind::Ack(client) => self.pass_ack(core, now, from, client, &message),
        }
    }

    /// Puts the gateway's addresses into the message.
    fn dress(&mut self, core: &Core, held: &mut Held) -> Result<(), Fault> {
        let Some(sdp) = held.sdp.as_mut().filter(|_| self.phase != Phase::Over) else { return Ok(()) };
        let document = &mut sdp.description.document;
        self.session.take_rtp(sdp.key, document)?;
        if sdp.is_offer {
            self.session.finish_offer(core, sdp.key, document)?;
        } else {
            self.session.finish_answer(core, sdp.key, document, held.from.other())?;
        }
        sdp.description.put_into(&mut held.message)
    }

    fn pass_request(&mut self, core: &mut Core, now: Instant, from: Side, key: ServerKey, message: Message) {
        let to = from.other();
        let first = key == self.first.server;
        let bye = *message.method() == Method::Bye;
        let broken = bye && is_broken(&message);
        if bye && self.phase != Phase::Over {
            self.said = said(&message, "Reason");
        }
        let at = self.dialog_of(from, &message);
        // Crossing BYEs still pass, and what a REFER in the call came to (RFC 5057 §4.1);
        // anything else of a call that is over finds no dialog.
        if self.phase == Phase::Over && !bye && *message.method() != Method::Notify {
            if !first {
                core.refuse(now, key, &message, &Fault::new(481, "the call is over"));
            }
            return;
        }
        let leg = self.legs.of(to);
        let sent = (|| {
            let unreachable = || Fault::new(480, "the far end gave no address");
            let (remote, next) = match at {
                Some(at) if !first => (self.dialogs.get(at).map(|d| d.remotes.of(to)), None),
                _ => (Some(&self.first.remote), leg.next.as_ref()),
            };
            let remote = remote.ok_or_else(unreachable)?;
            let destination = self.destination(core, to, remote, next)?;
            let mut onward = forward::request(&message, remote, &leg.contact)?;
            forward::hide_identity(&mut onward, self.network(core, to));
            let towards = named(&destination);
            core.endpoint
                .request(now, onward, destination)
                .map(|client| (client, towards))
                .map_err(|e| Fault::new(e.status().unwrap_or(503), e.to_string()))
        })();
        let method = message.method().clone();
        match sent {
            Ok((client, towards)) => {
                if !core.forks.contains_key(&key) {
                    core.served.insert(key, (self.key, Some(client)));
                }
                let purpose = Purpose::Call(self.key, from);
                core.clients
                    .insert(client, Forwarded { purpose, server: key, request: message, to: towards });
                if first {
                    self.first.client = Some(client);
                    self.deadline = Some(now + core.config.timers.ringing);
                } else if method == Method::Invite {
                    self.later.push((client, now + core.config.timers.ringing));
                } else if method == Method::Prack {
                    self.settle_prack(core, client);
                }
            }
            Err(fault) if first => {
                self.answer_first(core, now, &fault);
                self.over(core, now, Cause::RefusedHere(fault.status));
            }
            Err(fault) => {
                self.roll_back(core, from, &message);
                core.refuse(now, key, &message, &fault);
            }
        }
        if let Some(at) = at.filter(|_| bye) {
            let cause = if broken { Cause::TakenDown(from) } else { Cause::Bye(from) };
            self.bye_passed(core, now, at, cause);
        }
    }

    /// A PRACK with the answer settles the offer of the response it acknowledges.
    fn settle_prack(&mut self, core: &mut Core, client: ClientKey) {
        let Some(Forwarded { request, purpose: Purpose::Call(_, from), .. }) = core.clients.get(&client)
        else {
            return;
        };
        let Ok(Some(rack)) = request.rack() else { return };
        let key = ExchangeKey { requester: *from, cseq: rack.cseq };
        let delayed = self.session.exchange(key).is_some_and(|e| e.answered && e.offerer == from.other());
        if delayed {
            self.session.commit(core, key);
        }
    }

    fn pass_response(
        &mut self,
        core: &mut Core,
        now: Instant,
        to: Side,
        (client, server): (ClientKey, ServerKey),
        request: &Message,
        message: Message,
    ) {
        let status = message.status().unwrap_or(0);
        let first = Some(client) == self.first.client;
        let success = (200..300).contains(&status);
        if first && success && self.phase == Phase::Over {
            // Answered after the call was given up here.
            return self.turn_down(core, now, client, &message);
        }
        let contact = &self.legs.of(to).contact;
        let onward = forward::response(&message, request, contact)
            .or_else(|_| Message::response(request, if status < 200 { 183 } else { 502 }, ""));
        let branch = if first { self.first.branch } else { 0 };
        let sent = onward.is_ok_and(|onward| core.reply(now, (server, branch), onward, false));
        if first && success && !sent {
            // An answer that comes too late for its request has nowhere to go.
            self.turn_down(core, now, client, &message);
            if self.phase == Phase::Setup {
                self.over(core, now, Cause::Elsewhere);
            }
            return;
        }
        if status < 200 {
            return;
        }
        let invite = *request.method() == Method::Invite;
        if !(invite && success) {
            core.served.remove(&server);
            core.clients.remove(&client);
        }
        if success {
            self.settled(core, to, request);
            if first && self.phase == Phase::Setup {
                self.phase = Phase::Up;
                self.answered = Some(now);
                core.events.push_back(Event::CallUp { call_id: self.call_id.clone() });
            }
            // Before the answer the deadline is that of the ringing.
            if self.phase == Phase::Up && matches!(request.method(), Method::Invite | Method::Update) {
                // RFC 4028 §9: no Session-Expires, no timer.
                self.deadline = session_interval(&message).map(|seconds| {
                    now + Duration::from_secs(seconds.into()) + core.config.timers.session_grace
                });
            }
        } else {
            self.roll_back(core, to, request);
            if first {
                // Where nobody answered, the cause says all that there is.
                if !matches!(self.first.given_up, Some(Cause::Unanswered(_))) {
                    self.said = said(&message, "Warning");
                }
                self.over(core, now, self.first.given_up.unwrap_or(Cause::Refused(status)));
            }
        }
    }

    /// What a 2xx settles of the offer of its request.
    fn settled(&mut self, core: &mut Core, requester: Side, request: &Message) {
        if let Ok(cseq) = request.cseq() {
            let key = ExchangeKey { requester, cseq: cseq.number };
            match self.session.exchange(key).map(|e| (e.answered, e.offerer)) {
                Some((true, _)) => self.session.commit(core, key),
                // Offered in the request and never answered.
                Some((false, offerer)) if offerer == requester => self.session.roll_back(core, key),
                // Offered in the response: the ACK answers.
                _ => {}
            }
        }
    }

    fn roll_back(&mut self, core: &mut Core, requester: Side, request: &Message) {
        if let Ok(cseq) = request.cseq() {
            self.session.roll_back(core, ExchangeKey { requester, cseq: cseq.number });
        }
    }

    fn pass_ack(&mut self, core: &mut Core, now: Instant, from: Side, client: ClientKey, message: &Message) {
        let to = from.other();
        self.acknowledged = true;
        let contact = self.legs.of(to).contact.clone();
        let Some(at) = self.dialog_of(from, message) else { return };
        let Some((remote, destination)) = self.way(core, at, to) else { return };
        let Ok(onward) = forward::request(message, remote, &contact) else { return };
        // The transaction may be over: the far end has had its ACK then.
        let _ = core.endpoint.ack(now, client, onward, destination);
        if let Ok(cseq) = message.cseq() {
            let key = ExchangeKey { requester: from, cseq: cseq.number };
            match self.session.exchange(key).map(|e| e.answered) {
                Some(true) => self.session.commit(core, key),
                // RFC 3261 §13.2.2.4: the ACK had to answer.
                Some(false) => self.session.roll_back(core, key),
                None => {}
            }
        }
    }

    /// A message cannot go on. Tells its sender, and ends what cannot go on without it.
    pub(crate) fn stop(&mut self, core: &mut Core, now: Instant, held: Held, fault: &Fault) {
        let Held { from, mut message, kind, sdp } = held;
        if let Some(sdp) = &sdp {
            self.session.roll_back(core, sdp.key);
        }
        match kind {
            Kind::Request(key) if key == self.first.server => {
                self.answer_first(core, now, fault);
                self.over(core, now, Cause::RefusedHere(fault.status));
            }
            Kind::Request(key) => core.refuse(now, key, &message, fault),
            Kind::Response { client, server, request } => {
                let status = message.status().unwrap_or(0);
                let first = Some(client) == self.first.client;
                if *request.method() == Method::Invite && (200..300).contains(&status) {
                    match first {
                        true => self.turn_down(core, now, client, &message),
                        false => self.acknowledge(core, now, client, from, &message),
                    }
                } else if status >= 200 {
                    core.clients.remove(&client);
                }
                if first {
                    return self.give_up(core, now, fault, Cause::RefusedHere(fault.status));
                }
                core.refuse(now, server, &request, fault);
                if status >= 200 {
                    core.served.remove(&server);
                    self.disagree(core, now);
                }
            }
            Kind::Ack(client) => {
                // The far end must have its ACK, but not with addresses of this side in it.
                let _ = message.set_body(bytes::Bytes::new(), None);
                self.pass_ack(core, now, from, client, &message);
                self.disagree(core, now);
            }
        }
    }
}

/// Whether a BYE says that something failed: a Reason with a status of SIP that is one (RFC 3326 §2).
fn is_broken(bye: &Message) -> bool {
    let values = bye.values("Reason").unwrap_or_default();
    values.iter().any(|value| {
        let mut parts = value.split(';').map(str::trim);
        parts.next().is_some_and(|protocol| protocol.eq_ignore_ascii_case("SIP"))
            && parts
                .find_map(|part| part.strip_prefix("cause="))
                .and_then(|cause| cause.trim().parse::<u16>().ok())
                .is_some_and(|cause| cause >= 300)
    })
}

/// A header's words, and not a page of them.
fn said(message: &Message, header: &str) -> Option<String> {
    const MOST: usize = 200;
    message.header(header).map(|words| words.chars().take(MOST).collect())
}

/// The interval of Session-Expires (RFC 4028 §4; `x` is its compact form).
fn session_interval(message: &Message) -> Option<u32> {
    let value = message.header("Session-Expires").or_else(|| message.header("x"))?;
    value.split(';').next()?.trim().parse().ok()
}
