//! Ends that the border itself brings about: it gives up an INVITE, turns down an answer nobody
//! waits for, or hangs up both ways.
//!
//! RFC 3261 §9.1, §13.2.2.4, §15.1.1; RFC 3326 (Reason).

use crate::call::{Call, Phase};
use crate::core::Core;
use crate::event::Cause;
use crate::forward::{Remote, contact_of, route_set};
use crate::session::Fault;
use carnet_plan::Side;
use carnet_sip::{ClientKey, Message, Method, Uri};
use std::time::Instant;

impl Call {
    /// The final response to the first INVITE, from here.
    pub(crate) fn answer_first(&mut self, core: &mut Core, now: Instant, fault: &Fault) {
        self.said = Some(fault.text.clone());
        core.refuse_branch(now, (self.first.server, self.first.branch), &self.first.message, fault);
        core.served.remove(&self.first.server);
    }

    /// Gives the first INVITE up before it is answered.
    pub(crate) fn give_up(&mut self, core: &mut Core, now: Instant, fault: &Fault, cause: Cause) {
        if self.phase != Phase::Setup {
            return self.hang_up(core, now, cause);
        }
        self.answer_first(core, now, fault);
        if let Some(client) = self.first.client {
            // An answer that crosses the CANCEL is turned down when it comes.
            let _ = core.endpoint.cancel(now, client);
        }
        self.over(core, now, cause);
    }

    /// Acknowledges the 2xx of a re-INVITE on behalf of who asked.
    pub(crate) fn acknowledge(
        &mut self,
        core: &mut Core,
        now: Instant,
        client: ClientKey,
        to: Side,
        answer: &Message,
    ) {
        let (Some(at), Ok(cseq)) = (self.dialog_of_response(to, answer), answer.cseq()) else { return };
        let Some((_, destination)) = self.way(core, at, to) else { return };
        let ack = End::of(self, at, to).and_then(|end| end.request(self, Method::Ack, cseq.number, None));
        if let Some(ack) = ack {
            // A transaction that is over has had its ACK.
            let _ = core.endpoint.ack(now, client, ack, destination);
        }
    }

    /// Acknowledges a 2xx to the first INVITE and ends its dialog at once.
    pub(crate) fn turn_down(&mut self, core: &mut Core, now: Instant, client: ClientKey, answer: &Message) {
        let Some(dialog) = End::of_answer(self, answer) else { return };
        let Ok(destination) = self.destination(core, Side::Callee, &dialog.remote, None) else { return };
        let Ok(cseq) = answer.cseq() else { return };
        if let Some(ack) = dialog.request(self, Method::Ack, cseq.number, None) {
            let _ = core.endpoint.ack(now, client, ack, destination.clone());
        }
        // PRACK and UPDATE may have used numbers behind the INVITE's.
        let tag = answer.to_tag();
        let used = self.dialogs.iter().find(|d| Some(&d.callee_tag) == tag.as_ref());
        let next = used.map_or(0, |d| d.remotes.caller.cseq).max(cseq.number) + 1;
        if let Some(bye) = dialog.request(self, Method::Bye, next, Some("not wanted any more")) {
            let _ = core.endpoint.request(now, bye, destination);
        }
        for known in self.dialogs.iter_mut().filter(|d| Some(&d.callee_tag) == tag.as_ref()) {
            known.ended = true;
        }
    }

    /// A gateway of the call, or its context there, is gone, and the media with it. Ends that make their
    /// connection again offer it anew, and get another context; the others hang up.
    pub(crate) fn lose_media(
        &mut self,
        core: &mut Core,
        now: Instant,
        (gateway, context): (&str, Option<u32>),
        cause: Cause,
    ) {
        let until = self.media_return(core, now);
        match until.filter(|_| self.session.lose(gateway, context)) {
            Some(until) => self.media_lost = Some((until, cause)),
            None => self.hang_up(core, now, cause),
        }
    }

    /// One end believes in media that the other does not have. While a gateway is away, as when it starts together with its
    /// border, that ends no call: what is offered next is agreed on anew.
    pub(crate) fn disagree(&mut self, core: &mut Core, now: Instant) {
        let away = self.session.away(core);
        let until = self.media_return(core, now);
        match until.filter(|_| away.is_some_and(|gateway| self.session.give_back_to(core, &gateway))) {
            Some(until) => self.media_lost = Some((until, Cause::Gateway)),
            None => self.hang_up(core, now, Cause::Gateway),
        }
    }

    /// Until when a call waits for its ends to offer media anew, if it does.
    fn media_return(&self, core: &Core, now: Instant) -> Option<Instant> {
        let patience = core.config.timers.media_return;
        (!patience.is_zero() && self.phase == Phase::Up).then(|| now + patience)
    }

    /// Ends the call towards both ends.
    pub(crate) fn hang_up(&mut self, core: &mut Core, now: Instant, cause: Cause) {
        match self.phase {
            Phase::Over => return,
            Phase::Setup => {
                let fault = match cause {
                    Cause::GatewayLost
                    | Cause::ContextLost
                    | Cause::Interface
                    | Cause::Gateway
                    | Cause::Stopping
                    | Cause::Restarted => Fault::new(503, cause.to_string()),
                    _ => Fault::new(480, cause.to_string()),
                };
                return self.give_up(core, now, &fault, cause);
            }
            Phase::Up => {}
        }
        let text = cause.to_string();
        for at in 0..self.dialogs.len() {
            let Some(dialog) = self.dialogs.get(at).filter(|d| d.confirmed && !d.ended) else { continue };
            let cseqs = (dialog.remotes.caller.cseq, dialog.remotes.callee.cseq);
            let byes = [(Side::Callee, cseqs.0 + 1), (Side::Caller, cseqs.1 + 1)];
            for (to, cseq) in byes {
                let Some((_, destination)) = self.way(core, at, to) else { continue };
                let bye = End::of(self, at, to).and_then(|e| e.request(self, Method::Bye, cseq, Some(&text)));
                if let Some(bye) = bye {
                    // Full tables leave the end to its own session timer.
                    let _ = core.endpoint.request(now, bye, destination);
                }
            }
            if let Some(dialog) = self.dialogs.get_mut(at) {
                dialog.ended = true;
            }
        }
        self.over(core, now, cause);
    }

    /// A BYE has gone through.
    pub(crate) fn bye_passed(&mut self, core: &mut Core, now: Instant, at: usize, cause: Cause) {
        if let Some(dialog) = self.dialogs.get_mut(at) {
            dialog.ended = true;
        }
        // A BYE in one early dialog leaves the other forks alone.
        let goes_on = self.phase == Phase::Setup || self.dialogs.iter().any(|d| d.confirmed && !d.ended);
        if !goes_on {
            self.over(core, now, cause);
        }
    }
}

/// What a request of our own to one end is made from.
struct End {
    remote: Remote,
    from: String,
    to: String,
}

impl End {
    /// One end of a dialog.
    fn of(call: &Call, at: usize, to: Side) -> Option<Self> {
        let dialog = call.dialogs.get(at)?;
        Some(Self {
            remote: dialog.remotes.of(to).clone(),
            from: dialog.names.of(to.other()).clone(),
            to: dialog.names.of(to).clone(),
        })
    }

    /// The callee, as its 2xx to the first INVITE shows it.
    fn of_answer(call: &Call, answer: &Message) -> Option<Self> {
        let target: Uri = contact_of(answer)?;
        Some(Self {
            remote: Remote { target: Some(target), routes: route_set(answer, true), cseq: 0 },
            from: call.first.message.header("From")?.into_owned(),
            to: answer.header("To")?.into_owned(),
        })
    }

    fn request(&self, call: &Call, method: Method, cseq: u32, reason: Option<&str>) -> Option<Message> {
        let mut request = Message::request(method.clone(), self.remote.target.clone()?);
        self.remote.address(&mut request).ok()?;
        let cseq = format!("{cseq} {method}");
        let headers = [
            ("Max-Forwards", "70"),
            ("From", &self.from),
            ("To", &self.to),
            ("Call-ID", &call.call_id),
            ("CSeq", &cseq),
        ];
        for (name, value) in headers {
            request.push_back(name, value).ok()?;
        }
        if let Some(text) = reason {
            // RFC 3326 §2.
            request.push_back("Reason", &format!("SIP;cause=503;text=\"{text}\"")).ok()?;
        }
        Some(request)
    }
}
