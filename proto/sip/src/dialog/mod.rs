//! Dialogs of a user agent (RFC 3261 §12): what both ends must agree on from the first
//! response to BYE.
//!
//! A [`Dialog`] builds requests inside it and judges those that come; [`Provisionals`] is the
//! answering side of RFC 3262, [`SessionTimer`] the bookkeeping of RFC 4028. A border that passes
//! dialogs through does not need them.

mod reliable;
mod session_timer;

#[cfg(test)]
mod tests;

use crate::address::NameAddr;
use crate::endpoint::Destination;
use crate::error::Error;
use crate::message::Message;
use crate::method::Method;
use crate::typed::{CSeq, RAck};
use crate::uri::Uri;
use carnet_wire::{ParseError, Random, hex};
use std::time::Duration;

pub use reliable::{Provisionals, Repetition};
pub use session_timer::{Refresher, SessionTimer, SessionTimers};

/// A tag or other token of 64 random bits (RFC 3261 §19.3 asks for 32).
pub fn fresh_tag(random: &mut dyn Random) -> String {
    hex::encode(&random.u64().to_be_bytes())
}

/// A Call-ID of 128 random bits.
pub fn fresh_call_id(random: &mut dyn Random) -> String {
    let mut octets = [0; 16];
    random.fill(&mut octets);
    hex::encode(&octets)
}

/// What names a dialog at one end (RFC 3261 §12).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; empty for peers of RFC 2543.
    pub remote_tag: String,
}

impl DialogId {
    /// The dialog a received request is for: To is ours.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Malformed`] for Call-ID, From and To.
    pub fn of_request(request: &Message) -> Result<Self, Error> {
        Ok(Self {
            call_id: request.call_id()?.to_owned(),
            local_tag: request.to()?.tag().unwrap_or_default().to_owned(),
            remote_tag: request.from()?.tag().unwrap_or_default().to_owned(),
        })
    }

    /// The dialog a received response is for: From is ours.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Malformed`] for Call-ID, From and To.
    pub fn of_response(response: &Message) -> Result<Self, Error> {
        let Self { call_id, local_tag, remote_tag } = Self::of_request(response)?;
        Ok(Self { call_id, local_tag: remote_tag, remote_tag: local_tag })
    }
}

/// Whose request or offer is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
}

/// An INVITE that is not over: until its final response, and one of theirs that we accepted until
/// its ACK.
#[derive(Debug, Clone, Copy)]
struct Invite {
    side: Side,
    cseq: u32,
    /// Who waits for an answer to an offer made in it.
    offer: Option<Side>,
}

/// One end of a dialog.
#[derive(Debug)]
pub struct Dialog {
    call_id: String,
    local: NameAddr,
    remote: NameAddr,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    target: Uri,
    routes: Vec<NameAddr>,
    /// Whether we sent the first request: the owner of the Call-ID (RFC 3261 §14.1).
    caller: bool,
    confirmed: bool,
    /// The INVITE under way.
    invite: Option<Invite>,
    /// The offer of an UPDATE under way (RFC 3311 §5.1), by CSeq number.
    offer: Option<(Side, u32)>,
    /// RSeq of the last reliable provisional response we saw, and the CSeq it was for.
    rseq: Option<(u32, u32)>,
}

fn has_offer(message: &Message) -> bool {
    !message.body().is_empty()
}

/// A request or an offer of this side is in the way of another.
fn glare(side: Side) -> Error {
    Error::Glare { ours: side == Side::Ours }
}

impl Invite {
    /// One of ours. If it makes no offer the 2xx does, and then it is over at the same time.
    fn ours(cseq: u32) -> Self {
        Self { side: Side::Ours, cseq, offer: Some(Side::Ours) }
    }

    fn theirs(request: &Message, cseq: u32) -> Self {
        Self { side: Side::Theirs, cseq, offer: has_offer(request).then_some(Side::Theirs) }
    }

    fn is(&self, side: Side, cseq: u32) -> bool {
        (self.side, self.cseq) == (side, cseq)
    }

    /// One of theirs is accepted: the 2xx answers its offer, or makes the one that was asked for
    /// (RFC 3261 §13.2.1).
    fn accepted(&mut self) {
        self.offer = if self.offer.is_none() { Some(Side::Ours) } else { None };
    }
}

impl Dialog {
    /// The dialog of the caller, from its request and a response of 101 to 299 with a To tag
    /// (RFC 3261 §12.1.2).
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Malformed`] if the response makes no dialog.
    pub fn caller(request: &Message, response: &Message) -> Result<Self, Error> {
        let status = response.status().unwrap_or(0);
        if !(101..300).contains(&status) {
            return Err(Error::State("no response that makes a dialog"));
        }
        let cseq = request.cseq()?;
        let mut routes = response.record_routes()?;
        routes.reverse();
        // Some early responses carry no Contact: the request's target then stands in for it.
        let target = match response.contacts()?.first() {
            Some(contact) => contact.uri().clone(),
            None if status < 200 => request.request_uri().cloned().ok_or(Error::Missing("Contact"))?,
            None => return Err(Error::Missing("Contact")),
        };
        Ok(Self {
            call_id: response.call_id()?.to_owned(),
            local: response.from()?,
            remote: response.to()?,
            local_cseq: cseq.number,
            remote_cseq: None,
            target,
            routes,
            caller: true,
            confirmed: status >= 200,
            invite: (cseq.method == Method::Invite && status < 200).then(|| Invite::ours(cseq.number)),
            offer: None,
            rseq: None,
        })
    }

    /// The dialog of the called side, from the request and the response it gives (RFC 3261
    /// §12.1.1). The response must have its To tag already.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Malformed`] if they make no dialog.
    pub fn callee(request: &Message, response: &Message) -> Result<Self, Error> {
        let cseq = request.cseq()?;
        let contacts = request.contacts()?;
        let target = contacts.first().ok_or(Error::Missing("Contact"))?.uri().clone();
        let local = response.to()?;
        local.tag().ok_or(Error::Missing("To tag"))?;
        Ok(Self {
            call_id: request.call_id()?.to_owned(),
            local,
            remote: request.from()?,
            // RFC 3261 §12.1.1: empty until we send; any number below 2^31 will do.
            local_cseq: 0,
            remote_cseq: Some(cseq.number),
            target,
            routes: request.record_routes()?,
            caller: false,
            confirmed: response.status().is_some_and(|s| s >= 200),
            invite: (cseq.method == Method::Invite).then(|| {
                let mut invite = Invite::theirs(request, cseq.number);
                if response.status().is_some_and(|s| s >= 200) {
                    invite.accepted();
                }
                invite
            }),
            offer: None,
            rseq: None,
        })
    }

    /// What names the dialog at our end.
    pub fn id(&self) -> DialogId {
        DialogId {
            call_id: self.call_id.clone(),
            local_tag: self.local.tag().unwrap_or_default().to_owned(),
            remote_tag: self.remote.tag().unwrap_or_default().to_owned(),
        }
    }

    /// Our address, with our tag.
    pub fn local(&self) -> &NameAddr {
        &self.local
    }

    /// The peer's address, with its tag.
    pub fn remote(&self) -> &NameAddr {
        &self.remote
    }

    /// Where the peer is (its Contact).
    pub fn target(&self) -> &Uri {
        &self.target
    }

    /// The route set, the next hop first.
    pub fn routes(&self) -> &[NameAddr] {
        &self.routes
    }

    /// Whether the dialog has its 2xx; before, it is early.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// The highest CSeq number we have used.
    pub fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Where the next request of the dialog goes (RFC 3261 §8.1.2).
    pub fn destination(&self) -> Destination {
        Destination::Uri(self.routes.first().map_or(&self.target, |r| r.uri()).clone())
    }

    /// A request inside the dialog with the next CSeq (RFC 3261 §12.2.1.1). Contact, body and
    /// whatever else is the caller's.
    ///
    /// # Errors
    /// [`Error::Glare`] if an INVITE is asked for while another is under way;
    /// [`Error::State`] for ACK, see [`ack`](Self::ack).
    pub fn request(&mut self, method: Method) -> Result<Message, Error> {
        match method {
            Method::Ack => return Err(Error::State("an ACK has the CSeq of its INVITE")),
            Method::Invite if self.invite.is_some() => {
                return Err(Error::Glare {
                    ours: self.invite.is_some_and(|invite| invite.side == Side::Ours),
                });
            }
            _ => {}
        }
        self.local_cseq = self.local_cseq.saturating_add(1);
        if method == Method::Invite {
            self.invite = Some(Invite::ours(self.local_cseq));
        }
        self.build(method, self.local_cseq)
    }

    /// The ACK to a 2xx of the INVITE with this CSeq number (RFC 3261 §13.2.2.4).
    ///
    /// # Errors
    /// Those of the setters: none for a dialog made of parsed messages.
    pub fn ack(&self, invite: u32) -> Result<Message, Error> {
        self.build(Method::Ack, invite)
    }

    fn build(&self, method: Method, cseq: u32) -> Result<Message, Error> {
        // RFC 3261 §12.2.1.1: a strict router is put into the Request-URI, the target behind
        // the route set.
        let (uri, routes) = match self.routes.split_first() {
            Some((first, rest)) if !first.uri().is_loose() => {
                let last = NameAddr::new(self.target.clone());
                (first.uri().without_headers(), rest.iter().cloned().chain([last]).collect())
            }
            _ => (self.target.clone(), self.routes.clone()),
        };
        let mut message = Message::request(method.clone(), uri);
        message.push_back("Max-Forwards", "70")?;
        for route in routes {
            message.push_back("Route", &route.to_string())?;
        }
        message.push_back("From", &self.local.to_string())?;
        message.push_back("To", &self.remote.to_string())?;
        message.push_back("Call-ID", &self.call_id)?;
        message.push_back("CSeq", &CSeq { number: cseq, method }.to_string())?;
        Ok(message)
    }

    /// Notes a request with an offer that is about to be sent. Call it for UPDATE with SDP.
    ///
    /// # Errors
    /// [`Error::Glare`] if an offer is under way either way, in an UPDATE or in an INVITE
    /// (RFC 3311 §5.1).
    pub fn sending(&mut self, request: &Message) -> Result<(), Error> {
        if *request.method() == Method::Update && has_offer(request) {
            self.no_offer()?;
            self.offer = Some((Side::Ours, request.cseq()?.number));
        }
        Ok(())
    }

    /// RFC 3311 §5.1, §5.2: one offer at a time, whatever carries it.
    fn no_offer(&self) -> Result<(), Error> {
        let invite = self.invite.and_then(|invite| invite.offer);
        match self.offer.map(|(side, _)| side).or(invite) {
            Some(side) => Err(glare(side)),
            None => Ok(()),
        }
    }

    /// Judges a request that came inside the dialog, and follows the peer's Contact. The error
    /// says what to answer: 500 for an old CSeq (RFC 3261 §12.2.2), 491 or 500 for glare (§14.2,
    /// RFC 3311 §5.2).
    ///
    /// # Errors
    /// [`Error::Glare`], [`Error::Dialog`], or what is malformed in the request.
    pub fn receive(&mut self, request: &Message) -> Result<(), Error> {
        let cseq = request.cseq()?;
        if cseq.method == Method::Ack {
            self.invite.take_if(|invite| invite.is(Side::Theirs, cseq.number));
            return Ok(());
        }
        if self.remote_cseq.is_some_and(|last| cseq.number <= last) {
            return Err(Error::Dialog { status: 500, reason: "the CSeq is lower than the last" });
        }
        self.remote_cseq = Some(cseq.number);
        match cseq.method {
            Method::Invite => {
                if let Some(side) = self.invite.map(|invite| invite.side) {
                    return Err(glare(side));
                }
                self.no_offer()?;
                self.invite = Some(Invite::theirs(request, cseq.number));
            }
            Method::Update if has_offer(request) => {
                self.no_offer()?;
                self.offer = Some((Side::Theirs, cseq.number));
            }
            _ => {}
        }
        self.refresh_target(request)
    }

    /// Notes the final response we give to a request of the peer.
    pub fn answered(&mut self, cseq: u32, method: &Method, status: u16) {
        if status < 200 {
            return;
        }
        match method {
            // An accepted INVITE is over with its ACK, a refused one at once.
            Method::Invite if status >= 300 => {
                self.invite.take_if(|invite| invite.is(Side::Theirs, cseq));
            }
            Method::Invite => {
                self.confirmed = true;
                if let Some(invite) = &mut self.invite
                    && invite.is(Side::Theirs, cseq)
                {
                    invite.accepted();
                }
            }
            Method::Update => {
                self.offer.take_if(|offer| *offer == (Side::Theirs, cseq));
            }
            _ => {}
        }
    }

    /// The ACK to our 2xx never came: the INVITE counts as over (RFC 3261 §13.3.1.4).
    pub fn unacknowledged(&mut self) {
        self.invite.take_if(|invite| invite.side == Side::Theirs);
    }

    /// Takes a response to one of our requests in the dialog: confirms it, follows the peer's
    /// Contact, ends what was under way.
    ///
    /// # Errors
    /// What is malformed in the response.
    pub fn response(&mut self, response: &Message) -> Result<(), Error> {
        let (cseq, status) = (response.cseq()?, response.status().unwrap_or(0));
        if status >= 200 {
            self.unanswered(cseq.number);
        }
        if (200..300).contains(&status) && cseq.method == Method::Invite {
            if !self.confirmed {
                // RFC 3261 §13.2.2.4: the 2xx decides the route set of a dialog that was early.
                let mut routes = response.record_routes()?;
                routes.reverse();
                self.routes = routes;
            }
            self.confirmed = true;
        }
        if (101..300).contains(&status) && matches!(cseq.method, Method::Invite | Method::Update) {
            let contacts = response.contacts()?;
            if let Some(contact) = contacts.first() {
                self.target = contact.uri().clone();
            }
        }
        Ok(())
    }

    /// Our request with this CSeq number is over, answered or not.
    pub fn unanswered(&mut self, cseq: u32) {
        self.invite.take_if(|invite| invite.is(Side::Ours, cseq));
        self.offer.take_if(|o| *o == (Side::Ours, cseq));
    }

    fn refresh_target(&mut self, request: &Message) -> Result<(), Error> {
        if matches!(request.method(), Method::Invite | Method::Update | Method::Subscribe | Method::Notify)
            && let Some(contact) = request.contacts()?.first()
        {
            self.target = contact.uri().clone();
        }
        Ok(())
    }

    /// The PRACK to a reliable provisional response (RFC 3262 §4): `None` if the response is not
    /// reliable, or one seen before or out of order, which is to be ignored.
    ///
    /// # Errors
    /// [`Error::Malformed`] if RSeq is no number.
    pub fn prack(&mut self, response: &Message) -> Result<Option<Message>, Error> {
        let status = response.status().unwrap_or(0);
        if !(101..200).contains(&status) || !response.lists("Require", "100rel") {
            return Ok(None);
        }
        let cseq = response.cseq()?;
        let at = ParseError::new(0, "a number from 1");
        let rseq = response.rseq().filter(|r| *r > 0).ok_or(Error::Malformed { what: "RSeq", at })?;
        match self.rseq {
            Some((last, of)) if of == cseq.number && last.checked_add(1) != Some(rseq) => return Ok(None),
            _ => self.rseq = Some((rseq, cseq.number)),
        }
        if has_offer(response)
            && let Some(invite) = &mut self.invite
            && invite.is(Side::Ours, cseq.number)
        {
            // RFC 3262 §5: this is the answer, and another offer may follow.
            invite.offer = None;
        }
        let mut prack = self.request(Method::Prack)?;
        let rack = RAck { rseq, cseq: cseq.number, method: cseq.method };
        prack.push_back("RAck", &rack.to_string())?;
        Ok(Some(prack))
    }

    /// How long to wait before trying again after a 491 (RFC 3261 §14.1).
    pub fn glare_delay(&self, random: &mut dyn Random) -> Duration {
        let (from, steps) = if self.caller { (2100, 190) } else { (0, 200) };
        Duration::from_millis(from + 10 * u64::from(random.u32() % (steps + 1)))
    }
}
