//! A call we make, until it is up: ticket, offer, branches, the answer that decides.
//!
//! RFC 3261 §13.2, RFC 3262 (PRACK), RFC 6043 §5.1.1 (one key for each answer of a forked call; one transfer
//! of the ticket for each line), RFC 6714 §4.2 (a second offer to who does not know CEMA).
//! An answer with bad keys in a provisional response is held against its branch only: it decides
//! nothing until that branch sends the 2xx.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use carnet_sdp::{Reuse, Setup};
use carnet_seal::{Asking, FetchPurpose, Half, Keys, Offering, Question, Refusal as KeyRefusal};
use carnet_sip::{ClientKey, Dialog, DialogId, Message, Method, SessionTimers, Uri};

use crate::call::{Call, State};
use crate::conference::Places;
use crate::core::{Core, Ids, Owner, sdp, set, set_sdp};
use crate::description::{Content, Messages, Own, OwnLine};
use crate::event::{CallId, Ending, Event};
use crate::file::Side;
use crate::media::Purpose;
use crate::refusal::Refusal;
use crate::room::{Room, is_focus};
use crate::terms::Terms;
use crate::up::Up;

/// How often an INVITE is tried again because of a challenge or a session interval.
const ATTEMPTS: u8 = 3;

/// Waiting for a ticket.
pub(crate) type Wanting = Question<Asking>;

/// The INVITE is out.
pub(crate) struct Inviting {
    pub(crate) key: ClientKey,
    pub(crate) invite: Message,
    /// What the answer of each line is opened with; none, if the call is not sealed.
    pub(crate) offerings: Vec<Offering>,
    pub(crate) branches: Vec<Branch>,
    cancelled: bool,
    attempts: u8,
    timers: SessionTimers,
}

/// One answering end of a forked call, known by its To tag.
pub(crate) struct Branch {
    pub(crate) dialog: Dialog,
    pub(crate) answer: Option<Answered>,
}

pub(crate) struct Answered {
    octets: Bytes,
    /// Whether it came in a reliable response, and so is the answer also without a second one.
    reliable: bool,
    terms: Result<Terms, Refusal>,
}

impl Call {
    /// Begins a call: asks for a ticket if it is to be sealed, else sends the offer.
    pub(crate) fn begin(
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        call: NewCall,
    ) -> Result<Self, Refusal> {
        let sealed = !call.clear;
        let is_conference = matches!(call.purpose, Purpose::Conference(_));
        // RFC 6135 §4.2: who cannot be reached says so. What the other end can do about it, and whether
        // both have to connect, is for the border between them to find.
        let cannot_accept = core.config.behind_nat || core.is_translated;
        let setup = if cannot_accept { Setup::Active } else { Setup::ActPass };
        let mut lines = Vec::new();
        if let Some(local) = call.places.messages {
            let content = Content::Messages(Messages {
                path: core.path(sealed, local)?,
                cema: true,
                by_mikey: core.config.tls_role_by_mikey,
                accept_types: core.config.accept_types.clone(),
                max_size: core.config.max_message,
                file: match &call.purpose {
                    Purpose::SendFile(file) => Some((file.clone(), Side::Sender)),
                    _ => None,
                },
                room: is_conference,
            });
            lines.push((local, content));
        }
        if let Some(local) = call.places.floors {
            lines.push((local, Content::Floors(Reuse::New)));
        }
        if lines.is_empty() {
            return Err(Refusal::NoMedia);
        }
        let line =
            |(index, (local, content))| OwnLine { index, local, setup, key_mgmt: None, live: true, content };
        let own = Own {
            session_id: core.rng.u64() >> 2,
            version: 1,
            sealed,
            lines: lines.into_iter().enumerate().map(line).collect(),
        };
        let ids = Ids { call_id: core.token(16), tag: core.token(8), cseq: 1 };
        let room = is_conference.then(Room::default);
        let mut new = Self { id: call.id, to: call.to, ids, own, room, state: State::Over };
        if sealed {
            new.want(core, now, wall, false)?;
        } else {
            new.invite(core, now, Vec::new())?;
        }
        Ok(new)
    }

    /// Asks for a ticket; `again` if it was asked for before.
    pub(crate) fn want(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        again: bool,
    ) -> Result<(), Refusal> {
        let (keys, rng) = core.sealing().ok_or(KeyRefusal::Unsealed(Half::Offer))?;
        let (pending, octets) = keys.ask(wall, rng, self.to.as_str())?;
        let fetch = core.fetch(now, self.id, FetchPurpose::Ticket, octets);
        self.state = State::Wanting(Box::new(Question::Out { fetch, pending, again }));
        Ok(())
    }

    /// The key server has answered the question for a ticket.
    pub(crate) fn ticket(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        (asking, again): (Asking, bool),
        octets: &[u8],
    ) -> Result<(), Refusal> {
        let (keys, rng) = core.sealing().ok_or(KeyRefusal::Unsealed(Half::Offer))?;
        match Keys::granted(wall, asking, octets) {
            Ok(ticket) => {
                let mut offerings = Vec::with_capacity(self.own.lines.len());
                for line in &mut self.own.lines {
                    let (offering, value) = keys.transfer(wall, rng, &ticket);
                    line.key_mgmt = Some(value);
                    offerings.push(offering);
                }
                self.invite(core, now, offerings)
            }
            Err(refusal) => {
                let pause = Question::pause(now, &refusal, again).ok_or(refusal)?;
                self.state = State::Wanting(Box::new(pause));
                Ok(())
            }
        }
    }

    fn invite(&mut self, core: &mut Core, now: Instant, offerings: Vec<Offering>) -> Result<(), Refusal> {
        let mut invite = core.request(Method::Invite, self.to.clone(), &self.to, &self.ids)?;
        core.introduce(&mut invite)?;
        let timers = core.config.session_timers;
        timers.ask(&mut invite, None)?;
        set_sdp(&mut invite, self.own.offer()?)?;
        let key = core.send(now, invite.clone(), Owner::Call(self.id))?;
        self.state = State::Inviting(Box::new(Inviting {
            key,
            invite,
            offerings,
            branches: Vec::new(),
            cancelled: false,
            attempts: 0,
            timers,
        }));
        Ok(())
    }

    /// A response to the INVITE.
    pub(crate) fn invite_answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        mut inviting: Inviting,
        response: &Message,
    ) {
        let status = response.status().unwrap_or(500);
        match status {
            100..=199 => {
                self.progress(core, now, wall, &mut inviting, response);
                self.state = State::Inviting(Box::new(inviting));
            }
            200..=299 => self.established(core, now, wall, inviting, response),
            _ => self.refused(core, now, inviting, response),
        }
    }

    fn progress(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        inviting: &mut Inviting,
        response: &Message,
    ) {
        if response.status() == Some(180) && !inviting.cancelled {
            core.events.push_back(Event::Ringing { call: self.id });
        }
        let Some(at) = inviting.branch(core.config.limits.branches, response) else { return };
        let Some(branch) = inviting.branches.get_mut(at) else { return };
        let prack = branch.dialog.prack(response).ok().flatten();
        if let Some(octets) = sdp(response)
            && branch.answer.as_ref().is_none_or(|answer| answer.octets != *octets)
        {
            branch.answer = Some(self.examine(core, wall, &inviting.offerings, octets, prack.is_some()));
        }
        // RFC 3262 §4
        if let Some(prack) = prack {
            let _ = core.send_in(now, &branch.dialog, prack, Owner::Nobody);
        }
    }

    fn established(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        mut inviting: Inviting,
        response: &Message,
    ) {
        let Some(at) = inviting.branch(usize::MAX, response) else {
            // A 2xx without a tag or a Contact leaves nobody to talk to.
            self.over(core, Ending::Refused(Refusal::Malformed("a 2xx without a dialog".into())));
            return;
        };
        let mut branch = inviting.branches.swap_remove(at);
        // What cannot be followed in it leaves the early target.
        let _ = branch.dialog.response(response);
        acknowledge(core, now, inviting.key, &inviting.invite, &branch.dialog);
        core.answered.insert(inviting.key, inviting.invite);
        if inviting.cancelled {
            // RFC 3261 §9.1: the 2xx was faster than the CANCEL.
            goodbye(core, now, &mut branch.dialog, None);
            self.over(core, Ending::Local);
            return;
        }
        let answered = match (sdp(response), branch.answer.take()) {
            (Some(octets), Some(early)) if early.octets == *octets => Some(early),
            (Some(octets), _) => Some(self.examine(core, wall, &inviting.offerings, octets, true)),
            // RFC 3262 §5: the answer was in a reliable provisional response.
            (None, early) => early.filter(|early| early.reliable),
        };
        let terms = match answered {
            Some(answered) => answered.terms,
            None => Err(Refusal::NoMedia),
        };
        let settled = terms.and_then(|terms| {
            if self.room.is_some() && !is_focus(response) && !terms.is_chat_room() {
                return Err(Refusal::NoConference);
            }
            let (values, roles, contact) = (terms.values(), terms.roles(), contact(response));
            let path = terms.path();
            let agreed = self.agree(terms)?;
            self.own.established();
            for (line, value) in self.own.lines.iter_mut().zip(&roles) {
                line.live = value.is_some();
            }
            Ok((values, roles, path, contact, agreed))
        });
        match settled {
            Ok((values, roles, path, contact, agreed)) => {
                let timers = inviting.timers;
                let mut up = Box::new(Up::calling(now, branch.dialog, values, roles, timers, response));
                up.path = path;
                self.joined(core, &agreed, contact);
                let done = match agreed.connect(core, self.id) {
                    true => Ok(()),
                    false => self.offer_again(core, now, &mut up, inviting.offerings),
                };
                self.state = State::Up(up);
                if let Err(refusal) = done {
                    self.hang_up(core, now, Ending::Refused(refusal));
                }
            }
            Err(refusal) => self.give_up(core, now, branch.dialog, refusal),
        }
    }

    /// The peer thinks the call is up, but what it answered cannot be accepted.
    fn give_up(&mut self, core: &mut Core, now: Instant, mut dialog: Dialog, refusal: Refusal) {
        goodbye(core, now, &mut dialog, Some(&refusal));
        self.over(core, Ending::Refused(refusal));
    }

    fn refused(&mut self, core: &mut Core, now: Instant, mut inviting: Inviting, response: &Message) {
        let status = response.status().unwrap_or(500);
        if inviting.cancelled {
            self.over(core, Ending::Local);
            return;
        }
        let again = match status {
            401 | 407 => core.challenged(response),
            422 => inviting.timers.raise(response) && inviting.timers.ask(&mut inviting.invite, None).is_ok(),
            _ => false,
        };
        if again && inviting.attempts < ATTEMPTS {
            inviting.attempts += 1;
            self.ids.cseq += 1;
            let cseq = format!("{} INVITE", self.ids.cseq);
            if set(&mut inviting.invite, "CSeq", &cseq, false).is_ok()
                && let Ok(key) = core.send(now, inviting.invite.clone(), Owner::Call(self.id))
            {
                inviting.key = key;
                inviting.branches.clear();
                self.state = State::Inviting(Box::new(inviting));
                return;
            }
        }
        let refusal = match status {
            401 | 407 => Refusal::Unauthorised,
            _ => Refusal::Rejected { status, text: words(response) },
        };
        self.over(core, Ending::Refused(refusal));
    }

    /// Gives up a call that is not up yet.
    pub(crate) fn cancel(&mut self, core: &mut Core, now: Instant, mut inviting: Inviting) {
        if !inviting.cancelled {
            inviting.cancelled = true;
            let _ = core.endpoint.cancel(now, inviting.key);
        }
        self.state = State::Inviting(Box::new(inviting));
    }

    fn examine(
        &self,
        core: &Core,
        wall: SystemTime,
        offerings: &[Offering],
        octets: &Bytes,
        reliable: bool,
    ) -> Answered {
        let terms = self.terms(core, wall, offerings, octets);
        Answered { octets: octets.clone(), reliable, terms }
    }
}

/// What a new call needs.
pub(crate) struct NewCall {
    pub(crate) id: CallId,
    pub(crate) to: Uri,
    pub(crate) purpose: Purpose,
    pub(crate) places: Places,
    pub(crate) clear: bool,
}

impl Answered {
    /// What it settles, if it holds and is in a reliable response.
    pub(crate) fn settled(&self) -> Option<&Terms> {
        self.terms.as_ref().ok().filter(|_| self.reliable)
    }
}

impl Inviting {
    /// The branch in whose dialog a request came.
    pub(crate) fn branch_of(&self, request: &Message) -> Option<usize> {
        let id = DialogId::of_request(request).ok()?;
        self.branches.iter().position(|branch| branch.dialog.id() == id)
    }

    /// The branch a response comes from; a new one if there is room.
    fn branch(&mut self, limit: usize, response: &Message) -> Option<usize> {
        let tag = response.to_tag()?;
        let known =
            self.branches.iter().position(|branch| branch.dialog.remote().tag() == Some(tag.as_str()));
        if known.is_some() {
            return known;
        }
        if self.branches.len() >= limit {
            return None;
        }
        let dialog = Dialog::caller(&self.invite, response).ok()?;
        self.branches.push(Branch { dialog, answer: None });
        self.branches.len().checked_sub(1)
    }
}

/// Sends the ACK of a 2xx.
pub(crate) fn acknowledge(core: &mut Core, now: Instant, key: ClientKey, invite: &Message, dialog: &Dialog) {
    let Ok(cseq) = invite.cseq() else { return };
    if let Ok(ack) = dialog.ack(cseq.number) {
        let _ = core.endpoint.ack(now, key, ack, dialog.destination());
    }
}

/// Another branch of our INVITE has answered, after the one that decided.
pub(crate) fn late_branch(core: &mut Core, now: Instant, key: ClientKey, response: &Message) {
    let Some(invite) = core.answered.get(&key).cloned() else { return };
    if let Ok(mut dialog) = Dialog::caller(&invite, response) {
        acknowledge(core, now, key, &invite, &dialog);
        goodbye(core, now, &mut dialog, None);
    }
}

/// Sends a BYE, with a reason if it is not the usual one.
pub(crate) fn goodbye(core: &mut Core, now: Instant, dialog: &mut Dialog, refusal: Option<&Refusal>) {
    let Ok(mut bye) = dialog.request(Method::Bye) else { return };
    if let Some(refusal) = refusal {
        let (status, _, text) = refusal.sip();
        // RFC 3326
        let _ = set(&mut bye, "Reason", &format!("SIP;cause={status};text=\"{text}\""), false);
    }
    core.part(now, dialog, bye);
}

/// The peer's own words in a refusal: the text of a Warning, else the reason phrase.
pub(crate) fn words(response: &Message) -> String {
    let warning = response.header("Warning").and_then(|value| {
        let (_, quoted) = value.split_once('"')?;
        Some(quoted.rsplit_once('"')?.0.to_owned())
    });
    warning.unwrap_or_else(|| response.reason().into_owned())
}

/// The URI of Contact.
pub(crate) fn contact(message: &Message) -> Option<Uri> {
    Some(message.contacts().ok()?.first()?.uri().clone())
}
