//! A member offers another line in its dialog: floors besides messages, or messages besides floors.
//!
//! The same steps as for a new member (`enter`), with the dialog as it is: tickets, a termination, the
//! answer. Until then the offer is unanswered, and no other can be made (RFC 3264 §4). If anything fails the
//! offer is refused and everything is as it was (RFC 3261 §14.1).

use carnet_h248::controller::RequestNumber;
use carnet_h248::{ActionReply, ActionRequest, ContextId};
use carnet_sdp::Document;
use carnet_seal::{FetchError, FetchId, FetchPurpose, Half, Question, Refusal, Seal};
use carnet_sip::{Message, ServerKey};

use crate::context::{self, Site};
use crate::core::{Core, Op, sdp_of};
use crate::fault::Fault;
use crate::leg::{Leg, LineKey, State};
use crate::line::{Kind, Line, read_offer};
use crate::room::{Place, Room, canonical};
use crate::up::Up;

/// An offer with lines that were not there.
pub(crate) struct More {
    key: ServerKey,
    request: Message,
    lines: Vec<Line>,
    /// In the order of these lines.
    keys: Vec<LineKey>,
    pub(crate) add: Option<RequestNumber>,
}

impl Leg {
    /// Begins with the new lines of an offer; `None` if it has none that could be taken.
    pub(crate) fn more(
        &mut self,
        core: &mut Core,
        room: &mut Room,
        key: ServerKey,
        request: &Message,
    ) -> Result<Option<More>, Fault> {
        let Some(octets) = sdp_of(request)? else { return Ok(None) };
        let offer = Document::parse(octets.clone(), &core.config.limits.sdp)?;
        let is_new = |index: usize, kind: Kind| {
            self.lines.iter().all(|line| line.index != index && line.kind != kind)
                && offer.media_at(index).is_some_and(|media| !media.is_rejected())
        };
        // What is offered of the lines that are there is judged when the answer is made.
        let peers = match read_offer(&offer, &room.policy) {
            Ok(peers) => peers,
            Err(_)
                if offer.media().all(|media| self.lines.iter().any(|line| line.index == media.index())) =>
            {
                return Ok(None);
            }
            Err(fault) => return Err(fault),
        };
        let mut lines = Vec::new();
        for peer in peers.into_iter().filter(|peer| is_new(peer.index, peer.kind)) {
            lines.push(Line::answering(peer, core.token(16))?);
        }
        if lines.is_empty() {
            return Ok(None);
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
            let sealed = exchange.look_as(wall, &room.identity, data, &protocols)?;
            let (pending, octets) = exchange.open_as(wall, rng, &room.identity, &sealed);
            let fetch = core.fetch(self.id, at, FetchPurpose::Resolve, octets);
            keys.push(LineKey::Asking(Box::new((sealed, Question::Out { fetch, pending, again: true }))));
        }
        let mut more = More { key, request: request.clone(), lines, keys, add: None };
        self.put_more(core, room, &mut more)?;
        Ok(Some(more))
    }

    /// Has terminations made if all keys are here.
    fn put_more(&mut self, core: &mut Core, room: &mut Room, more: &mut More) -> Result<(), Fault> {
        if more.keys.iter().any(|key| matches!(key, LineKey::Asking(_))) {
            return Ok(());
        }
        let Place::On(gateway, number) = &room.place else { return Err(Fault::no_media()) };
        let (gateway, number) = (gateway.clone(), *number);
        let (realm, ipv6) = core.gateways.realm(&gateway);
        let chairs = room.chairs(&self.member);
        let owner = self.owner(room, &chairs);
        let watch = core.watch(&gateway);
        let mut commands = Vec::new();
        for (line, key) in more.lines.iter().zip(&more.keys) {
            let seal: Option<&Seal> = match key {
                LineKey::Here(seal) => Some(seal),
                _ => None,
            };
            let site = Site { realm: &realm, ipv6, watch, request: core.next_events() };
            commands.push(context::add(&site, &owner, line, seal));
        }
        let action = ActionRequest::new(ContextId::Id(number), commands);
        let request = core.gateways.request(core.now, &gateway, vec![action]);
        let op = Op::Add { room: room.key.clone(), leg: self.id, gateway, context: Some(number) };
        core.ops.insert(request, op);
        room.adding.insert(request);
        more.add = Some(request);
        Ok(())
    }

    /// The key server has answered for a new line.
    pub(crate) fn opened_more(
        &mut self,
        core: &mut Core,
        room: &mut Room,
        (fetch, at): (FetchId, usize),
        result: Result<Vec<u8>, FetchError>,
    ) {
        let State::Up(mut up) = self.take() else { return };
        if let Some(mut more) = up.more.take() {
            match self.open_more(core, room, &mut more, (fetch, at), result) {
                Ok(()) => up.more = Some(more),
                Err(fault) => Self::not_more(core, &mut up, &more, &fault),
            }
        }
        self.state = State::Up(up);
    }

    fn open_more(
        &mut self,
        core: &mut Core,
        room: &mut Room,
        more: &mut More,
        (fetch, at): (FetchId, usize),
        result: Result<Vec<u8>, FetchError>,
    ) -> Result<(), Fault> {
        let Some(slot) = more.keys.get_mut(at) else { return Ok(()) };
        let (sealed, pending) = match std::mem::replace(slot, LineKey::Clear) {
            LineKey::Asking(asking) if asking.1.is(fetch) => match *asking {
                (sealed, Question::Out { pending, .. }) => (sealed, pending),
                _ => return Ok(()),
            },
            other => {
                *slot = other;
                return Ok(());
            }
        };
        let octets = result.map_err(|error| error.refusal(FetchPurpose::Resolve))?;
        let wall = core.wall;
        let (keys, rng) = core.sealing()?;
        let (seal, value) = keys.opened(wall, rng, &sealed, pending, &octets)?;
        // The line is of who is in the dialog.
        if canonical(&seal.initiator) != self.member {
            return Err(Refusal::Altered(Half::Offer).into());
        }
        *slot = LineKey::Here(Box::new(seal));
        if let Some(line) = more.lines.get_mut(at) {
            line.key_mgmt = Some(value);
        }
        self.put_more(core, room, more)
    }

    /// The media server has answered; whether that was about this offer.
    pub(crate) fn placed_more(
        &mut self,
        core: &mut Core,
        room: &mut Room,
        actions: &[ActionReply],
        error: Option<Fault>,
    ) {
        let State::Up(mut up) = self.take() else { return };
        if let Some(mut more) = up.more.take() {
            more.keys.clear();
            let placed = match error {
                None => context::added(&mut more.lines, actions)
                    .map(drop)
                    .map_err(|e| Fault::new(500, e.to_string())),
                Some(fault) => Err(fault),
            };
            let done = placed.and_then(|()| {
                self.lines.append(&mut more.lines);
                self.lines.sort_by_key(|line| line.index);
                self.renewed(core, room, &mut up, &more.request)
            });
            match done {
                Ok(response) => {
                    if let Ok(cseq) = more.request.cseq() {
                        up.dialog.answered(cseq.number, &cseq.method, 200);
                    }
                    up.answered(more.key, &more.request);
                    let _ = core.endpoint.respond(core.now, more.key, response);
                    core.touched.insert(self.room.clone());
                }
                Err(fault) => Self::not_more(core, &mut up, &more, &fault),
            }
        }
        self.state = State::Up(up);
    }

    /// Refuses the offer.
    pub(crate) fn not_more(core: &mut Core, up: &mut Up, more: &More, fault: &Fault) {
        core.refuse(more.key, &more.request, fault, None);
        if let Ok(cseq) = more.request.cseq() {
            up.dialog.answered(cseq.number, &cseq.method, fault.status);
        }
    }
}
