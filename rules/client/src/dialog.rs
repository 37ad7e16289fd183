//! One dialog (RFC 3261 §12): who the two ends are to each other, and the requests between them.

use carnet_sip::{CSeq, Destination, Message, Method, NameAddr, Uri};

use crate::core::set;
use crate::refusal::Refusal;

/// A dialog, early or confirmed.
#[derive(Debug, Clone)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    pub(crate) local: NameAddr,
    pub(crate) remote: NameAddr,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    target: Uri,
    routes: Vec<NameAddr>,
}

impl Dialog {
    /// Our request was answered (RFC 3261 §12.1.2).
    pub(crate) fn caller(request: &Message, response: &Message) -> Result<Self, Refusal> {
        let bad = |error: carnet_sip::Error| Refusal::Malformed(error.to_string());
        let mut routes = response.record_routes().map_err(bad)?;
        routes.reverse();
        let remote = response.to().map_err(bad)?;
        let target = match response.contacts().map_err(bad)?.first() {
            Some(contact) => contact.uri().clone(),
            None => request.request_uri().cloned().unwrap_or_else(|| remote.uri().clone()),
        };
        Ok(Self {
            call_id: request.call_id().map_err(bad)?.to_owned(),
            local: request.from().map_err(bad)?,
            remote,
            local_cseq: request.cseq().map_err(bad)?.number,
            remote_cseq: None,
            target,
            routes,
        })
    }

    /// We answer a request (RFC 3261 §12.1.1).
    pub(crate) fn called(request: &Message, tag: &str) -> Result<Self, Refusal> {
        let bad = |error: carnet_sip::Error| Refusal::Malformed(error.to_string());
        let contacts = request.contacts().map_err(bad)?;
        let target = contacts.first().ok_or_else(|| Refusal::Malformed("a call without Contact".into()))?;
        Ok(Self {
            call_id: request.call_id().map_err(bad)?.to_owned(),
            local: request.to().and_then(|to| to.with_tag(tag)).map_err(bad)?,
            remote: request.from().map_err(bad)?,
            local_cseq: 0,
            remote_cseq: Some(request.cseq().map_err(bad)?.number),
            target: target.uri().clone(),
            routes: request.record_routes().map_err(bad)?,
        })
    }

    /// Whether a request belongs here.
    pub(crate) fn owns(&self, request: &Message) -> bool {
        request.call_id().is_ok_and(|id| id == self.call_id)
            && request.to_tag().as_deref() == self.local.tag()
            && request.from_tag().as_deref() == self.remote.tag()
    }

    /// RFC 3261 §12.2.2: a request that is older than the last one is out of order.
    pub(crate) fn in_order(&mut self, request: &Message) -> bool {
        let Ok(cseq) = request.cseq() else { return false };
        let fresh = self.remote_cseq.is_none_or(|last| cseq.number > last);
        if fresh {
            self.remote_cseq = Some(cseq.number);
        }
        fresh
    }

    /// RFC 3261 §12.2.1.2, §12.2.2: re-INVITE and UPDATE move the target.
    pub(crate) fn refresh_target(&mut self, message: &Message) {
        if let Some(contact) = message.contacts().ok().as_deref().and_then(<[_]>::first) {
            self.target = contact.uri().clone();
        }
    }

    /// A new request (RFC 3261 §12.2.1.1).
    pub(crate) fn request(&mut self, method: Method) -> Result<Message, Refusal> {
        self.local_cseq = self.local_cseq.wrapping_add(1);
        let number = self.local_cseq;
        self.build(method, number)
    }

    /// The ACK to the 2xx of the INVITE with sequence number `cseq` (RFC 3261 §13.2.2.4).
    pub(crate) fn ack(&self, cseq: u32) -> Result<Message, Refusal> {
        self.build(Method::Ack, cseq)
    }

    fn build(&self, method: Method, number: u32) -> Result<Message, Refusal> {
        let mut target = self.target.clone();
        let mut routes = self.routes.clone();
        // RFC 3261 §12.2.1.1: a strict router wants to be in the Request-URI.
        if let Some(first) = routes.first().map(|route| route.uri().clone())
            && !first.is_loose()
        {
            routes.remove(0);
            routes.push(NameAddr::new(target));
            target = first.without_headers();
        }
        let mut request = Message::request(method.clone(), target);
        for route in &routes {
            set(&mut request, "Route", &route.to_string(), true)?;
        }
        set(&mut request, "Max-Forwards", "70", false)?;
        set(&mut request, "From", &self.local.to_string(), false)?;
        set(&mut request, "To", &self.remote.to_string(), false)?;
        set(&mut request, "Call-ID", &self.call_id, false)?;
        set(&mut request, "CSeq", &CSeq { number, method }.to_string(), false)?;
        Ok(request)
    }

    /// Where requests go.
    pub(crate) fn destination(&self) -> Destination {
        let first = self.routes.first().map_or(&self.target, NameAddr::uri);
        Destination::Uri(first.clone())
    }
}
