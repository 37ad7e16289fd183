//! Requests of the peer in a dialog that has no 2xx yet (RFC 3261 §12, RFC 3311 §5.2): UPDATE is
//! answered, OPTIONS too, and nothing else changes what the INVITE will decide.

use std::time::Instant;

use bytes::Bytes;
use carnet_seal::{Half, Refusal as KeyRefusal};
use carnet_sip::{Dialog, Message, Method, ServerKey};

use crate::call::Call;
use crate::core::{Core, sdp_of_request, set_sdp};
use crate::refusal::Refusal;
use crate::terms::Terms;

impl Call {
    /// Answers a request in the early dialog `dialog`. `settled` is what the peer has answered to
    /// our offer, if it has: then another offer may come, with the same terms.
    pub(crate) fn requested_early(
        &self,
        core: &mut Core,
        now: Instant,
        dialog: &mut Dialog,
        settled: Option<&Terms>,
        key: ServerKey,
        request: &Message,
    ) {
        if let Err(error) = dialog.receive(request) {
            core.refuse(now, key, request, &error.into(), None);
            return;
        }
        match request.method() {
            Method::Update => {
                let status = match self.updated(core, settled, request) {
                    Ok(response) => {
                        let _ = core.endpoint.respond(now, key, response);
                        200
                    }
                    Err(refusal) => {
                        core.refuse(now, key, request, &refusal, None);
                        refusal.sip().0
                    }
                };
                if let Ok(cseq) = request.cseq() {
                    dialog.answered(cseq.number, &cseq.method, status);
                }
            }
            Method::Options => core.capable(now, key, request),
            // RFC 3261 §15: a called side does not end an early dialog so.
            Method::Prack | Method::Bye => core.reply(now, key, request, 481, None),
            _ => core.reply(now, key, request, 405, None),
        }
    }

    /// The 2xx to an UPDATE. It has no Session-Expires: the 2xx to the INVITE says how long the
    /// session lasts.
    fn updated(&self, core: &Core, settled: Option<&Terms>, request: &Message) -> Result<Message, Refusal> {
        core.config.session_timers.check(request)?;
        let body = match (sdp_of_request(request)?, settled) {
            (Some(octets), Some(before)) => {
                let (offer, peer) = self.same_terms(core, &before.values(), octets, Half::Offer)?;
                self.own.answer_again(&offer, &peer, &before.roles())?
            }
            (Some(_), None) => return Err(Refusal::Keys(KeyRefusal::Unsealed(Half::Offer))),
            (None, _) => Bytes::new(),
        };
        let mut response = Message::response(request, 200, "OK")?;
        core.introduce(&mut response)?;
        if !body.is_empty() {
            set_sdp(&mut response, body)?;
        }
        Ok(response)
    }
}
