//! A member calls: look at the offer, open the tickets, have terminations made, answer.
//!
//! RFC 3261 §13.3, RFC 4579 §5.2, RFC 6043 §4.2.3 (resolve), TS 23.333 §6.2.19.2.1. Nothing is reserved on
//! a media server before the tickets are opened: whoever cannot prove its ticket costs one question to the
//! key server.

use carnet_sdp::Document;
use carnet_seal::{FetchError, FetchId, FetchPurpose, Half, Question, Refusal, Seal};
use carnet_sip::{Dialog, Message, ServerKey};

use crate::core::{Core, Ids, SDP, Todo, is_secure, sdp_of};
use crate::event::{Event, Left};
use crate::fault::Fault;
use crate::leg::{Adding, Leg, LegId, LineKey, Offered, Opening, State};
use crate::line::{Line, describe, read_offer};
use crate::room::{Room, canonical};
use crate::up::Up;

/// What a new leg begins with.
pub(crate) struct Arrival {
    pub(crate) id: LegId,
    pub(crate) key: ServerKey,
    pub(crate) tag: String,
    /// As the network says.
    pub(crate) member: String,
    /// The URI that was called, whose tickets these have to be: the room's or the factory's (D-19).
    pub(crate) called: carnet_mikey::Identity,
}

impl Leg {
    /// An INVITE outside any dialog. An error has not been answered yet.
    pub(crate) fn arrived(
        core: &mut Core,
        room: &mut Room,
        arrival: &Arrival,
        invite: &Message,
    ) -> Result<Self, Fault> {
        core.config.session_timers.check(invite)?;
        let mut ringing = Message::response(invite, 180, "Ringing")?;
        let to = ringing.to()?.with_tag(&arrival.tag)?;
        ringing.set_header("To", &to.to_string())?;
        let dialog = Dialog::callee(invite, &ringing)?;
        // Without an offer we would have to make one and need a ticket for somebody who calls us, which
        // the key server gives to callers.
        let octets = sdp_of(invite)?.ok_or_else(|| Fault::new(488, "An offer is needed"))?;
        let offer = Document::parse(octets, &core.config.limits.sdp)?;
        let peers = read_offer(&offer, &room.policy)?;
        let mut lines = Vec::new();
        for peer in peers {
            lines.push(Line::answering(peer, core.token(16))?);
        }
        let mut keys = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let Some(peer) = line.peer.as_ref().filter(|_| line.sealed) else {
                keys.push(LineKey::Clear);
                continue;
            };
            let protocols = peer.protocols();
            let data =
                peer.mikey().ok_or_else(|| Fault::from(Refusal::UnsupportedKeys(protocols.clone())))?;
            let wall = core.wall;
            let (exchange, rng) = core.sealing()?;
            let sealed = exchange.look_as(wall, &arrival.called, data, &protocols)?;
            let (pending, octets) = exchange.open_as(wall, rng, &room.identity, &sealed);
            let fetch = core.fetch(arrival.id, at, FetchPurpose::Resolve, octets);
            keys.push(LineKey::Asking(Box::new((sealed, Question::Out { fetch, pending, again: false }))));
        }
        let from = invite.from()?;
        let session = (carnet_wire::Random::u64(&mut core.rng) >> 2, 1);
        let ids = Ids { call_id: invite.call_id()?.to_owned(), tag: arrival.tag.clone(), cseq: 0 };
        let offered = Offered { key: arrival.key, invite: invite.clone(), offer, dialog };
        let mut leg = Self {
            id: arrival.id,
            room: room.key.clone(),
            member: arrival.member.clone(),
            display: from.display().map(str::to_owned),
            user: 0,
            nickname: None,
            called: false,
            back: false,
            lines,
            session,
            ids,
            target: None,
            joined: false,
            was_in: false,
            lost: false,
            stalled: false,
            armed: None,
            state: State::Over,
        };
        leg.open(core, room, Opening { offered, keys });
        Ok(leg)
    }

    /// Goes on if all keys are here.
    fn open(&mut self, core: &mut Core, room: &mut Room, opening: Opening) {
        if opening.keys.iter().any(|key| matches!(key, LineKey::Asking(_))) {
            self.state = State::Opening(Box::new(opening));
            return;
        }
        let Opening { offered, keys } = opening;
        let seals: Vec<Option<Seal>> = keys
            .into_iter()
            .map(|key| match key {
                LineKey::Here(seal) => Some(*seal),
                _ => None,
            })
            .collect();
        if let Err(fault) = self.vouch(&seals) {
            self.refuse(core, room, &offered, &fault);
            return;
        }
        let adding = Adding {
            offered: Some(offered),
            seals,
            ticket: None,
            request: None,
            tried: Vec::new(),
            again: 0,
        };
        self.state = State::Adding(Box::new(adding));
        core.todo.push_back(Todo::Place(self.room.clone()));
    }

    /// Who it is, as the key server says: the same on all lines.
    fn vouch(&mut self, seals: &[Option<Seal>]) -> Result<(), Fault> {
        let mut vouched: Option<String> = None;
        for seal in seals.iter().flatten() {
            let initiator = canonical(&seal.initiator);
            if vouched.get_or_insert_with(|| initiator.clone()) != &initiator {
                return Err(Refusal::Altered(Half::Offer).into());
            }
        }
        if let Some(member) = vouched {
            self.member = member;
        }
        Ok(())
    }

    /// The key server has answered for one line.
    pub(crate) fn opened(
        &mut self,
        core: &mut Core,
        room: &mut Room,
        (fetch, at): (FetchId, usize),
        result: Result<Vec<u8>, FetchError>,
    ) {
        let mut opening = match self.take() {
            State::Opening(opening) => *opening,
            other => {
                self.state = other;
                return;
            }
        };
        let Some(slot) = opening.keys.get_mut(at) else {
            self.state = State::Opening(Box::new(opening));
            return;
        };
        let (sealed, question) = match std::mem::replace(slot, LineKey::Clear) {
            LineKey::Asking(asking) if asking.1.is(fetch) => *asking,
            other => {
                *slot = other;
                self.state = State::Opening(Box::new(opening));
                return;
            }
        };
        let Question::Out { pending, again, .. } = question else { return };
        let (now, wall) = (core.now, core.wall);
        let done = match (result, core.sealing()) {
            (Ok(octets), Ok((keys, rng))) => {
                keys.opened(wall, rng, &sealed, pending, &octets).map_err(|refusal| (refusal, again))
            }
            (Err(error), _) => Err((error.refusal(FetchPurpose::Resolve), true)),
            (Ok(_), Err(_)) => Err((Refusal::Unsealed(Half::Offer), true)),
        };
        match done {
            Ok((seal, value)) => {
                *slot = LineKey::Here(Box::new(seal));
                if let Some(line) = self.lines.get_mut(at) {
                    line.key_mgmt = Some(value);
                }
                self.open(core, room, opening);
            }
            Err((refusal, again)) => match Question::pause(now, &refusal, again) {
                Some(question) => {
                    *slot = LineKey::Asking(Box::new((sealed, question)));
                    self.state = State::Opening(Box::new(opening));
                }
                None => self.refuse(core, room, &opening.offered, &refusal.into()),
            },
        }
    }

    /// Asks the key server once more where that is due.
    pub(crate) fn ask_again(&mut self, core: &mut Core, room: &Room, mut opening: Opening) {
        let (now, wall) = (core.now, core.wall);
        for (at, key) in opening.keys.iter_mut().enumerate() {
            let LineKey::Asking(asking) = key else { continue };
            if !asking.1.is_due(now) {
                continue;
            }
            let Ok((keys, rng)) = core.sealing() else { continue };
            let (pending, octets) = keys.open_as(wall, rng, &room.identity, &asking.0);
            let fetch = core.fetch(self.id, at, FetchPurpose::Resolve, octets);
            asking.1 = Question::Out { fetch, pending, again: true };
        }
        self.state = State::Opening(Box::new(opening));
    }

    /// The terminations are there: the answer goes out.
    pub(crate) fn answer(&mut self, core: &mut Core, room: &mut Room, offered: Offered) {
        match self.accepted(core, room, &offered) {
            Ok(up) => {
                self.state = State::Up(Box::new(up));
                self.joined(core);
            }
            Err(fault) => self.refuse(core, room, &offered, &fault),
        }
    }

    fn accepted(&mut self, core: &mut Core, room: &Room, offered: &Offered) -> Result<Up, Fault> {
        let body = describe(&self.lines, &self.house(room), self.session, Some(&offered.offer))?;
        let mut response = core
            .response(&offered.invite, 200, Some(&self.ids.tag))
            .ok_or_else(|| Fault::new(400, "Bad Request"))?;
        // RFC 3261 §12.1.1
        response.copy_lines("Record-Route", &offered.invite);
        Core::introduce(&mut response, &room.contact, is_secure(&offered.invite))?;
        let dialog = Dialog::callee(&offered.invite, &response)?;
        let timers = core.config.session_timers;
        let mut up = Up::called(core.now, dialog, (offered.key, &offered.invite), timers, &mut response)?;
        response.set_body(body.clone(), Some(SDP))?;
        let _ = core.endpoint.respond(core.now, offered.key, response);
        up.description = body;
        Ok(up)
    }

    /// Refuses the INVITE; the end of the leg.
    pub(crate) fn refuse(&mut self, core: &mut Core, room: &mut Room, offered: &Offered, fault: &Fault) {
        core.refuse(offered.key, &offered.invite, fault, Some(&self.ids.tag));
        core.events.push_back(Event::Refused {
            room: self.room.clone(),
            member: self.member.clone(),
            status: fault.status,
            reason: fault.reason().to_owned(),
            call_id: self.ids.call_id.clone(),
        });
        self.over(core, room, Left::Gone);
    }

    /// The caller gave up.
    pub(crate) fn cancelled(&mut self, core: &mut Core, room: &mut Room) {
        let offered = match self.take() {
            State::Opening(opening) => opening.offered,
            State::Adding(adding) => match adding.offered {
                Some(offered) => offered,
                None => return,
            },
            other => {
                self.state = other;
                return;
            }
        };
        core.reply(offered.key, &offered.invite, 487, Some(&self.ids.tag));
        self.over(core, room, Left::Gone);
    }
}
