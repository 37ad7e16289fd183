//! We call a member: ticket, terminations, offer, the answer that decides.
//!
//! RFC 4579 §5.5, RFC 3261 §13.2, RFC 6043 §4.2.2, TS 23.333 §6.2.19.2.2. The ticket is asked from the key
//! server, or made here (mode 3). A call may fork: the first 2xx decides, the others are ended.

use std::time::Instant;

use carnet_roster::Disconnection;
use carnet_sdp::Document;
use carnet_seal::{FetchError, FetchId, FetchPurpose, Half, Offering, Question, Refusal, Seal};
use carnet_sip::{ClientKey, Dialog, Message, Method, SessionTimers, Silence};

use crate::config::Unsealed;
use crate::context;
use crate::core::{Core, Op, Owner, SDP, Todo, is_secure, sdp_of};
use crate::event::{Event, Left};
use crate::fault::Fault;
use crate::leg::{Adding, Leg, State};
use crate::line::{Kind, Line, Peer, describe};
use crate::room::{Place, Room};
use crate::roster::Departure;
use crate::up::Up;

/// How often an INVITE is tried again because of a challenge or a session interval.
const ATTEMPTS: u8 = 3;

/// The INVITE is out.
pub(crate) struct Inviting {
    pub(crate) key: ClientKey,
    invite: Message,
    /// In the order of the lines.
    offerings: Vec<Option<Offering>>,
    cancelled: bool,
    attempts: u8,
    timers: SessionTimers,
    body: bytes::Bytes,
    pub(crate) until: Instant,
    /// It rings there.
    pub(crate) alerting: bool,
}

impl Leg {
    /// The lines that are offered, and the first step towards them.
    pub(crate) fn begin(&mut self, core: &mut Core, room: &mut Room, sealed: bool) -> Result<(), Fault> {
        self.lines = vec![Line::offering(Kind::Messages, 0, sealed, core.token(16))];
        if !room.policy.floors.is_empty() {
            self.lines.push(Line::offering(Kind::Floors, 1, sealed, core.token(16)));
        }
        if sealed {
            return self.want(core, room, false);
        }
        self.add(core, None);
        Ok(())
    }

    /// Asks for a ticket; `again` if it was asked for before.
    pub(crate) fn want(&mut self, core: &mut Core, room: &Room, again: bool) -> Result<(), Fault> {
        let (wall, own) = (core.wall, core.config.own_tickets);
        let (keys, rng) = core.sealing()?;
        if own {
            let ticket = keys.make(wall, rng, &room.identity, &self.member)?;
            self.add(core, Some(ticket));
            return Ok(());
        }
        let (pending, octets) = keys.ask_as(wall, rng, &room.identity, &self.member)?;
        let fetch = core.fetch(self.id, 0, FetchPurpose::Ticket, octets);
        self.state = State::Wanting(Box::new(Question::Out { fetch, pending, again }));
        Ok(())
    }

    /// The key server has answered the question for a ticket.
    pub(crate) fn granted(
        &mut self,
        core: &mut Core,
        room: &mut Room,
        fetch: FetchId,
        result: Result<Vec<u8>, FetchError>,
    ) {
        let question = match self.take() {
            State::Wanting(question) if question.is(fetch) => *question,
            other => {
                self.state = other;
                return;
            }
        };
        let Question::Out { pending, again, .. } = question else { return };
        let ticket = match result {
            Ok(octets) => carnet_seal::Keys::granted(core.wall, pending, &octets).map_err(|r| (r, again)),
            Err(error) => Err((error.refusal(FetchPurpose::Ticket), true)),
        };
        match ticket {
            Ok(ticket) => self.add(core, Some(ticket)),
            Err((refusal, again)) => match Question::pause(core.now, &refusal, again) {
                Some(question) => self.state = State::Wanting(Box::new(question)),
                None => self.not_called(core, room, None, &refusal.to_string()),
            },
        }
    }

    fn add(&mut self, core: &mut Core, ticket: Option<carnet_seal::Ticket>) {
        let seals = self.lines.iter().map(|_| None).collect();
        let adding = Adding { offered: None, seals, ticket, request: None, tried: Vec::new(), again: 0 };
        self.state = State::Adding(Box::new(adding));
        core.todo.push_back(Todo::Place(self.room.clone()));
    }

    /// The terminations are there: the offer goes out.
    pub(crate) fn invite(&mut self, core: &mut Core, room: &mut Room, adding: &Adding) {
        if let Err(fault) = self.offer(core, room, adding) {
            self.not_called(core, room, Some(fault.status), fault.reason());
        }
    }

    fn offer(&mut self, core: &mut Core, room: &Room, adding: &Adding) -> Result<(), Fault> {
        let mut offerings = Vec::new();
        let wall = core.wall;
        for line in &mut self.lines {
            let offering = match &adding.ticket {
                Some(ticket) if line.sealed => {
                    let (keys, rng) = core.sealing()?;
                    let (offering, value) = keys.transfer(wall, rng, ticket);
                    line.key_mgmt = Some(value);
                    Some(offering)
                }
                _ => None,
            };
            offerings.push(offering);
        }
        let body = describe(&self.lines, &self.house(room), self.session, None)?;
        let to = carnet_sip::Uri::parse(&self.member).map_err(|_| Fault::new(400, "Not a URI to call"))?;
        let target = self.target.clone().unwrap_or(to);
        let mut invite =
            core.request(Method::Invite, target.clone(), (&room.key, &self.member), &self.ids)?;
        let secure = is_secure(&invite);
        Core::introduce(&mut invite, &room.contact, secure)?;
        // Provisional responses have nothing for us that would have to arrive.
        invite.set_header("Supported", "timer")?;
        if let Some(subject) = &room.policy.subject {
            let _ = invite.set_header("Subject", subject);
        }
        // RFC 3892 §2.2: who is called sees who wanted it.
        if let Some(by) = room.invited_by.get(&self.member).filter(|_| !self.back) {
            let _ = invite.set_header("Referred-By", &format!("<{by}>"));
        }
        let timers = core.config.session_timers;
        timers.ask(&mut invite, None)?;
        invite.set_body(body.clone(), Some(SDP))?;
        let destination = core.destination(&target);
        let key = core.send(invite.clone(), destination, Owner::Leg(self.id))?;
        let until = core.now + core.config.timers.ringing;
        self.state = State::Inviting(Box::new(Inviting {
            key,
            invite,
            offerings,
            cancelled: false,
            attempts: 0,
            timers,
            body,
            until,
            alerting: false,
        }));
        Ok(())
    }

    /// Gives up a call that is not answered. Its terminations are free at once, whatever still comes.
    pub(crate) fn cancel(&mut self, core: &mut Core, room: &mut Room) {
        self.release(core, room);
        if let State::Inviting(inviting) = &mut self.state
            && !std::mem::replace(&mut inviting.cancelled, true)
        {
            let _ = core.endpoint.cancel(core.now, inviting.key);
            // Its final response comes by itself, or the endpoint says that none will.
            inviting.until = core.now + core.config.timers.ringing;
        }
    }

    /// A response to the INVITE.
    pub(crate) fn invite_answered(&mut self, core: &mut Core, room: &mut Room, response: &Message) {
        let State::Inviting(mut inviting) = self.take() else { return };
        match response.status().unwrap_or(500) {
            status @ 100..=199 => {
                if status == 180 && !std::mem::replace(&mut inviting.alerting, true) {
                    core.touched.insert(self.room.clone());
                    core.todo.push_back(Todo::Progress(self.id, status));
                }
                self.state = State::Inviting(inviting);
            }
            200..=299 => self.established(core, room, *inviting, response),
            status => self.declined(core, room, *inviting, status, response),
        }
    }

    fn established(&mut self, core: &mut Core, room: &mut Room, inviting: Inviting, response: &Message) {
        let Ok(mut dialog) = Dialog::caller(&inviting.invite, response) else {
            // A 2xx without a tag or a Contact leaves nobody to talk to.
            self.not_called(core, room, None, "a 2xx without a dialog");
            return;
        };
        core.acknowledge(inviting.key, self.ids.cseq, &dialog);
        core.answered.insert(inviting.key, inviting.invite.clone());
        if inviting.cancelled {
            // RFC 3261 §9.1: the 2xx was faster than the CANCEL.
            core.goodbye(&mut dialog, None);
            self.not_called(core, room, None, "given up");
            return;
        }
        match self.settle(core, room, &inviting.offerings, response) {
            Ok(()) => {
                let mut up = Up::calling(core.now, dialog, inviting.timers, response);
                up.description = inviting.body;
                up.settling = true;
                self.state = State::Up(Box::new(up));
            }
            Err(fault) => {
                core.goodbye(&mut dialog, Some((fault.status, &fault.text)));
                self.not_called(core, room, Some(fault.status), fault.reason());
            }
        }
    }

    /// What the answer says goes to the media server, with the keys.
    fn settle(
        &mut self,
        core: &mut Core,
        room: &Room,
        offerings: &[Option<Offering>],
        response: &Message,
    ) -> Result<(), Fault> {
        let octets = sdp_of(response)?.ok_or_else(|| Fault::new(488, "An answer is needed"))?;
        let document = Document::parse(octets, &core.config.limits.sdp)?;
        let Place::On(gateway, number) = &room.place else {
            return Err(Fault::no_media());
        };
        let mut seals: Vec<Option<Seal>> = Vec::new();
        let mut declined = Vec::new();
        for (at, line) in self.lines.iter_mut().enumerate() {
            let Some(peer) = Peer::of_answer(&document, line)? else {
                declined.push(at);
                seals.push(None);
                continue;
            };
            let seal = match offerings.get(at).and_then(Option::as_ref) {
                Some(offering) => {
                    let data = peer.mikey().ok_or_else(|| Fault::from(Refusal::Unsealed(Half::Answer)))?;
                    Some(offering.answered(data, core.wall)?)
                }
                None => None,
            };
            line.answered(peer)?;
            if line.peer.as_ref().is_some_and(|peer| !peer.is_reachable(line)) {
                return Err(Fault::new(488, "MSRP path does not match and no CEMA"));
            }
            seals.push(seal);
        }
        if declined.len() == self.lines.len() {
            return Err(Fault { warning: Some(304), ..Fault::new(488, "Media type not available") });
        }
        let (realm, _) = core.gateways.realm(gateway);
        let (gateway, number) = (gateway.clone(), *number);
        let commands: Vec<_> = self
            .lines
            .iter()
            .zip(&seals)
            .filter(|(line, _)| line.peer.is_some())
            .filter_map(|(line, seal)| context::modify(line, &realm, seal.as_ref()))
            .collect();
        let action = carnet_h248::ActionRequest::new(carnet_h248::ContextId::Id(number), commands);
        let request = core.gateways.request(core.now, &gateway, vec![action]);
        core.ops.insert(request, Op::Modify { leg: self.id });
        // What was declined is not needed; its place in the description stays (RFC 3264 §6).
        let gone = declined
            .iter()
            .filter_map(|at| self.lines.get_mut(*at).and_then(|line| line.termination.take()))
            .collect();
        core.subtract(&gateway, number, gone);
        self.lines.retain(|line| line.peer.is_some());
        Ok(())
    }

    /// The media server has what the answer said.
    pub(crate) fn settled(&mut self, core: &mut Core, room: &mut Room, error: Option<&str>) {
        let State::Up(up) = &mut self.state else { return };
        if let Some(error) = error {
            self.hang_up(core, room, Left::Media(error.to_owned()));
            return;
        }
        if std::mem::take(&mut up.settling) {
            self.joined(core);
        }
    }

    fn declined(
        &mut self,
        core: &mut Core,
        room: &mut Room,
        mut inviting: Inviting,
        status: u16,
        response: &Message,
    ) {
        if inviting.cancelled {
            self.not_called(core, room, Some(status), "given up");
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
            let destination = inviting.invite.request_uri().map(|target| core.destination(target));
            if inviting.invite.set_header("CSeq", &cseq).is_ok()
                && let Some(destination) = destination
                && let Ok(key) = core.send(inviting.invite.clone(), destination, Owner::Leg(self.id))
            {
                inviting.key = key;
                self.state = State::Inviting(Box::new(inviting));
                return;
            }
        }
        // One who cannot seal, in a room that takes such: asked again in clear.
        if status == 488 && self.is_sealed() && room.policy.unsealed == Unsealed::Admit {
            self.release(core, room);
            self.ids.call_id = core.token(16);
            self.ids.cseq = 1;
            if self.begin(core, room, false).is_ok() {
                return;
            }
        }
        self.not_called(core, room, Some(status), &words(response));
    }

    /// No final answer came.
    pub(crate) fn invite_unanswered(&mut self, core: &mut Core, room: &mut Room, reason: Silence) {
        if let State::Inviting(_) = self.take() {
            self.not_called(core, room, Some(reason.status()), &reason.to_string());
        }
    }

    /// The call came to nothing; the end of the leg.
    pub(crate) fn not_called(&mut self, core: &mut Core, room: &mut Room, status: Option<u16>, reason: &str) {
        core.events.push_back(Event::NotCalled {
            room: self.room.clone(),
            member: self.member.clone(),
            status,
            reason: reason.chars().filter(|c| !c.is_control()).take(200).collect(),
            call_id: Some(self.ids.call_id.clone()),
        });
        core.todo.push_back(Todo::NotCalled { leg: self.id, room: self.room.clone(), status });
        let method = match status {
            Some(486 | 600 | 603) => Disconnection::Busy,
            _ => Disconnection::Failed,
        };
        if !self.back {
            self.seen_off(core, room, &Departure { method, reason: None, by: None });
        }
        self.over(core, room, Left::Gone);
    }
}

/// Another branch of our INVITE has answered, after the one that decided.
pub(crate) fn late_branch(core: &mut Core, key: ClientKey, response: &Message) {
    let Some(invite) = core.answered.get(&key) else { return };
    let cseq = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
    if let Ok(mut dialog) = Dialog::caller(invite, response) {
        core.acknowledge(key, cseq, &dialog);
        core.goodbye(&mut dialog, None);
    }
}

/// The peer's own words in a refusal: the text of a Warning, else the reason phrase.
fn words(response: &Message) -> String {
    let warning = response.header("Warning").and_then(|value| {
        let (_, quoted) = value.split_once('"')?;
        Some(quoted.rsplit_once('"')?.0.to_owned())
    });
    warning.unwrap_or_else(|| response.reason().into_owned())
}
