//! RTP lines in a call of ours: an rtpengine relays them, told over its ng protocol.
//!
//! It is given a description that has the session section and its own lines only, and of what it returns
//! only those media sections are taken over. Lines that go through a gateway are not its business and do
//! not reach it. One call here is one call there, whatever else has the same Call-ID; caller and callee
//! are its two tags.

use crate::call::Call;
use crate::core::{CallKey, Core};
use crate::session::{ExchangeKey, Fault, Session};
use carnet_ng::{Client, Command, Outcome, Request, RequestId, Response, Value};
use carnet_plan::{Decision, Side};
use carnet_sdp::Document;
use carnet_wire::Random;
use std::collections::HashMap;
use std::time::Instant;

/// The rtpengine of a border.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rtpengine {
    /// How its client waits.
    pub timers: carnet_ng::Timers,
}

/// The client, and who waits for what.
#[derive(Debug)]
pub(crate) struct Rtp {
    pub(crate) client: Client,
    asked: HashMap<RequestId, CallKey>,
}

impl Rtp {
    pub(crate) fn new(settings: Rtpengine, random: &mut dyn Random) -> Self {
        Self { client: Client::new(settings.timers, random), asked: HashMap::new() }
    }

    /// The next request that ended and the call that waits for it. Nobody waits for a delete.
    pub(crate) fn poll(&mut self) -> Option<(CallKey, RequestId, Outcome)> {
        loop {
            let (id, outcome) = self.client.poll_outcome()?;
            if let Some(call) = self.asked.remove(&id) {
                return Some((call, id, outcome));
            }
        }
    }
}

fn tag(side: Side) -> &'static str {
    match side {
        Side::Caller => "caller",
        Side::Callee => "callee",
    }
}

impl Session {
    /// Has the rtpengine rewrite the RTP lines of a description, if it has any. What it is called there
    /// is kept until the call is over.
    pub(crate) fn begin_rtp(
        &mut self,
        core: &mut Core,
        key: ExchangeKey,
        is_offer: bool,
        document: &Document,
    ) -> Result<Option<RequestId>, Fault> {
        let Some(exchange) = self.exchange(key) else { return Ok(None) };
        let lines = exchange.rtp_lines();
        if lines.is_empty() {
            return Ok(None);
        }
        let offerer = exchange.offerer;
        let name = match &self.rtp {
            Some(name) => name.clone(),
            None => {
                let token = core.token();
                let name = format!("{}-{token}", core.config.name);
                self.rtp = Some(name.clone());
                name
            }
        };
        let command = if is_offer { Command::Offer } else { Command::Answer };
        let mut request = Request::new(command, &name, tag(offerer));
        // An offer in the dialog names both; so does every answer.
        if !is_offer || self.rtp_up {
            request.to_tag = Some(tag(offerer.other()).to_owned());
        }
        request.sdp = Some(document.only(&lines).to_bytes());
        request = self.options(core, request, if is_offer { offerer } else { offerer.other() });
        let missing = || Fault::new(503, "no rtpengine is at hand");
        let rtp = core.rtp.as_mut().ok_or_else(missing)?;
        let id = rtp.client.request(core.now, &request).map_err(|e| Fault::new(503, e.to_string()))?;
        rtp.asked.insert(id, self.call);
        Ok(Some(id))
    }

    /// What it is told besides: between which of its interfaces, and where a terminal behind a NAT is.
    fn options(&self, core: &Core, mut request: Request, from: Side) -> Request {
        let network = |side: Side| core.config.networks.get(self.ends.of(side).network);
        let (Some(here), Some(there)) = (network(from), network(from.other())) else { return request };
        if let (Some(a), Some(b)) = (&here.rtp_interface, &there.rtp_interface) {
            request = request.with("direction", Value::texts([a.as_str(), b]));
        }
        let family = match there.family {
            carnet_plan::Family::V4 => "IP4",
            carnet_plan::Family::V6 => "IP6",
        };
        request = request.with("address family", Value::text(family));
        let end = self.ends.of(from);
        if let Some(ip) = end.source.filter(|_| end.behind_nat) {
            let version = if ip.is_ipv4() { "IP4" } else { "IP6" };
            request = request.with("received from", Value::texts([version, &ip.to_string()]));
            request = request.with("flags", Value::texts(["SIP source address"]));
        }
        request
    }

    /// Keeps what the rtpengine returned, until the message goes on.
    fn rtp_done(&mut self, core: &Core, key: ExchangeKey, outcome: Outcome) -> Result<(), Fault> {
        let refused = |text: String| Fault::warned(488, 399, text);
        let sdp = match outcome {
            Outcome::Answered(Response::Done { sdp: Some(sdp), .. }) => sdp,
            Outcome::Answered(Response::Refused { reason }) => {
                return Err(refused(format!("the rtpengine refuses: {reason}")));
            }
            Outcome::Answered(Response::Overloaded { .. }) => {
                return Err(Fault::new(503, "the rtpengine has no capacity"));
            }
            Outcome::Silence => return Err(Fault::new(503, "the rtpengine does not answer")),
            Outcome::Answered(_) | Outcome::Unreadable(_) => {
                return Err(Fault::new(503, "the rtpengine's answer is not understood"));
            }
        };
        let returned = Document::parse(sdp, &core.config.limits.sdp)
            .map_err(|_| Fault::new(503, "the rtpengine's description cannot be read"))?;
        let Some(exchange) = self.exchange_mut(key) else { return Ok(()) };
        if returned.media().len() != exchange.rtp_lines().len() {
            return Err(Fault::new(503, "the rtpengine's description has other media lines"));
        }
        exchange.rtp = Some(returned);
        self.rtp_up = true;
        Ok(())
    }

    /// Puts what the rtpengine returned into the description.
    pub(crate) fn take_rtp(&mut self, key: ExchangeKey, document: &mut Document) -> Result<(), Fault> {
        let Some(exchange) = self.exchange_mut(key) else { return Ok(()) };
        let Some(returned) = exchange.rtp.take() else { return Ok(()) };
        for (at, index) in exchange.rtp_lines().into_iter().enumerate() {
            document.take_media(index, &returned, at).map_err(|e| Fault::new(500, e.to_string()))?;
        }
        // Without them in the media sections, the offerer's ICE would still be the session's.
        for name in ["ice-ufrag", "ice-pwd", "ice-options", "ice-lite"] {
            match returned.attribute(name).map(|a| a.value.map(<[u8]>::to_vec)) {
                Some(value) => document
                    .set_session_attribute(name, value.as_deref())
                    .map_err(|e| Fault::new(500, e.to_string()))?,
                None => {
                    document.remove_session_attribute(name);
                }
            }
        }
        Ok(())
    }

    /// The call is over: so it is there.
    pub(crate) fn release_rtp(&mut self, core: &mut Core) {
        let Some(name) = self.rtp.take() else { return };
        if let Some(rtp) = &mut core.rtp {
            rtp.asked.retain(|_, call| *call != self.call);
        }
        core.delete_rtp(&name);
    }
}

impl Core {
    /// A call is over, one of the process before perhaps.
    pub(crate) fn delete_rtp(&mut self, name: &str) {
        if let Some(rtp) = &mut self.rtp {
            let delete = Request::new(Command::Delete, name, tag(Side::Caller))
                .with("delete delay", Value::Integer(0));
            // It ends the call by itself when nothing comes any more.
            let _ = rtp.client.request(self.now, &delete);
        }
    }
}

impl crate::session::Exchange {
    /// The lines that the rtpengine has.
    fn rtp_lines(&self) -> Vec<usize> {
        let is = |l: &&carnet_plan::Line| l.decision == Decision::Rtpengine;
        self.plan.lines.iter().filter(is).map(|l| l.index).collect()
    }
}

impl Call {
    /// The rtpengine answered, or failed to.
    pub(crate) fn rtp_done(&mut self, core: &mut Core, now: Instant, id: RequestId, outcome: Outcome) {
        let Some(key) = self.waits_for_rtp(id) else { return };
        let fault = self.session.rtp_done(core, key, outcome).err();
        self.rtp_op_done(core, now, fault);
    }
}
