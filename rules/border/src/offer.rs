//! An offer comes: plan it, reserve what is new, send it on with the gateway's addresses.
//!
//! RFC 3264 §5 and §8; TS 23.334 §6.2.1: both terminations of a context are added at once.

use crate::context::{Both, Context, Line, Side};
use crate::core::{Core, Op};
use crate::event::Event;
use crate::gateways::Request;
use crate::plan::{Abilities, Decision, Edit, Facts, Given, Party, Plan, apply, plan};
use crate::session::{Exchange, ExchangeKey, Fault, Offered, Session, Slot, Stream};
use carnet_sdp::{Document, Reuse, Setup};

impl Session {
    /// Looks at an offer. Returns the gateway requests that must be answered before it goes on.
    pub(crate) fn begin_offer(
        &mut self,
        core: &mut Core,
        key: ExchangeKey,
        offerer: Side,
        offer: &Document,
    ) -> Result<Vec<Request>, Fault> {
        let facts = self.facts(core, offerer);
        let plan = plan(offer, &core.config.policy, &facts);
        core.events.push_back(Event::PlanMade { call_id: self.call_id.clone(), offerer, plan: plan.clone() });
        if let Some(refusal) = plan.refusal() {
            return Err(Fault::warned(refusal.status, refusal.warning, refusal.reason));
        }
        let anchored = plan.lines.iter().filter(|l| l.decision.is_anchored()).count();
        if anchored > core.config.limits.streams {
            return Err(Fault::warned(488, 399, "more TCP media lines than one call may have"));
        }
        let offered = offer.media().map(|m| Offered {
            address: m.address(),
            rejected: m.is_rejected(),
            anew: m.reuse_said() == Some(Reuse::New),
        });
        let offered: Vec<_> = offered.collect();
        // A fork of an INVITE without offer makes its own: it takes the place of the other's.
        match self.exchange_mut(key) {
            Some(exchange) => {
                exchange.plan = plan.clone();
                exchange.offered = offered;
            }
            None => self.open(Exchange {
                key,
                offerer,
                plan: plan.clone(),
                offered,
                introduced: Vec::new(),
                dropped: Vec::new(),
                answered: false,
            })?,
        }
        self.reserve(core, key, offerer, &plan)
    }

    /// Adds a context for each line that needs one and has none yet.
    fn reserve(
        &mut self,
        core: &mut Core,
        key: ExchangeKey,
        offerer: Side,
        plan: &Plan,
    ) -> Result<Vec<Request>, Fault> {
        let mut requests = Vec::new();
        for line in &plan.lines {
            let Some(transport) = line.legs.as_ref().map(|l| l.offerer.transport) else { continue };
            match &self.stream_mut(line.index).slot {
                Slot::Ready(context) if context.carries(transport) => continue,
                Slot::Adding(request) => {
                    requests.push(*request);
                    continue;
                }
                _ => {}
            }
            let no_gateway = || Fault::new(503, "no media gateway is available");
            let (caller, callee) = (self.fixed(core, Side::Caller), self.fixed(core, Side::Callee));
            let (Some(caller), Some(callee)) = (caller, callee) else { return Err(no_gateway()) };
            let on = core.pick([&caller.realm, &callee.realm], self.urgency, &[]).ok_or_else(no_gateway)?;
            let peers = self.opening_peers(core, key, offerer, line.index, line.setup_sent);
            let sealed = line.decision == Decision::EndToEnd;
            let named = core.named(&on.0, transport, sealed);
            let kind = Line { planned: transport, sealed, urgency: self.urgency };
            let mut context = Context::new(on, named, kind, (caller, callee));
            let actions = context.add(offerer, peers, core.next_event_request());
            let request = core.gateways.request(core.now, &context.gateway, actions);
            let op = Op::Add { call: self.call, context, first: offerer, tried: Vec::new() };
            core.ops.insert(request, op);
            let before = std::mem::replace(&mut self.stream_mut(line.index).slot, Slot::Adding(request));
            if let Some(exchange) = self.exchange_mut(key) {
                exchange.introduced.push((line.index, before));
            }
            requests.push(request);
        }
        Ok(requests)
    }

    /// What the gateway is told of the two ends before there is an answer.
    fn opening_peers(
        &self,
        core: &Core,
        key: ExchangeKey,
        offerer: Side,
        index: usize,
        setup: Option<Setup>,
    ) -> Both<crate::context::Peer> {
        let address = self
            .exchange(key)
            .and_then(|e| e.offered.get(index))
            .filter(|o| !o.rejected)
            .and_then(|o| o.address);
        // An offer without a=setup is an active one (RFC 4145 §4).
        let setup = setup.unwrap_or(Setup::Active);
        let mut peers = Both::default();
        *peers.of_mut(offerer) = self.peer(core, offerer, address, Some(setup.mirror()));
        *peers.of_mut(offerer.other()) = self.peer(core, offerer.other(), None, Some(setup));
        peers
    }

    /// Makes the offer that the answerer sees.
    pub(crate) fn finish_offer(
        &self,
        core: &Core,
        key: ExchangeKey,
        document: &mut Document,
    ) -> Result<(), Fault> {
        let Some(exchange) = self.exchange(key) else { return Ok(()) };
        self.change(core, document, exchange.plan.all_edits(), exchange.offerer.other())
    }

    /// Makes the changes of a plan in a description that is sent to `to`.
    pub(crate) fn change<'a>(
        &self,
        core: &Core,
        document: &mut Document,
        edits: impl IntoIterator<Item = &'a Edit>,
        to: Side,
    ) -> Result<(), Fault> {
        let given = |index| {
            let context = self.streams.get(index).and_then(Stream::context);
            Given { address: context.and_then(|c| c.local(to)), fingerprint: None }
        };
        let own = core.config.networks.get(self.ends.of(to).network).and_then(|n| n.contact.ip());
        apply(edits, document, given, own).map_err(|e| Fault::new(500, e.to_string()))
    }

    /// What is known of the two ends.
    pub(crate) fn facts(&self, core: &Core, offerer: Side) -> Facts {
        let party = |side| {
            let end = self.ends.of(side);
            let network = core.config.networks.get(end.network);
            Party {
                behind_nat: end.behind_nat,
                access: network.is_some_and(|n| n.access),
                e2ae: network.is_some_and(|n| n.access && n.e2ae),
                hide_origin: network.is_some_and(|n| n.hide_origin),
                addressing: network.map(|n| n.msrp).unwrap_or_default(),
                ..Party::default()
            }
        };
        let gateway = Abilities::default();
        Facts { offerer: party(offerer), answerer: party(offerer.other()), gateway }
    }
}
