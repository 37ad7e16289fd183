//! An offer comes: plan it, reserve what is new, send it on with the changes that the plan names.
//!
//! RFC 3264 §5 and §8; TS 23.334 §6.2.1: both terminations of a context are added at once, §6.2.10.3: where
//! TLS ends at the gateway it is asked for the fingerprint of its certificate with its address.

use crate::core::{Core, Op};
use crate::event::Event;
use crate::gateways::Request;
use crate::session::{Exchange, ExchangeKey, Fault, Session, Slot, path_of};
use carnet_plan::{
    Abilities, Both, Carried, Context, Decision, Facts, Kind, Known, Leg, Line, Party, Peer, Plan, Side,
    TlsRole,
};
use carnet_sdp::Document;
use std::net::SocketAddr;

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
        let plan = carnet_plan::plan(offer, &core.config.policy, &facts);
        core.events.push_back(Event::PlanMade { call_id: self.call_id.clone(), offerer, plan: plan.clone() });
        if let Some(refusal) = plan.refusal() {
            return Err(Fault::warned(refusal.status, refusal.warning, refusal.reason));
        }
        let anchored = plan.lines.iter().filter(|l| l.decision.is_anchored()).count();
        if anchored > core.config.limits.streams {
            return Err(Fault::warned(488, 399, "more TCP media lines than one call may have"));
        }
        let takes: Vec<_> = offer.media().map(|m| m.bandwidth().map(|bits| bits / 8)).collect();
        let wanted = self.bandwidth(core, &plan, &takes);
        // A fork of an INVITE without offer makes its own: it takes the place of the other's.
        match self.exchange_mut(key) {
            Some(exchange) => {
                exchange.plan = plan.clone();
                exchange.facts = facts;
                exchange.takes = takes;
                exchange.wanted = wanted;
                exchange.rtp = None;
                exchange.edits.clear();
            }
            None => self.open(Exchange {
                key,
                offerer,
                plan: plan.clone(),
                facts,
                takes,
                wanted,
                rtp: None,
                edits: Vec::new(),
                introduced: Vec::new(),
                dropped: Vec::new(),
                paths: Vec::new(),
                answered: false,
            })?,
        }
        if let Err(fault) = self.account(core) {
            self.roll_back(core, key);
            return Err(fault);
        }
        self.reserve(core, key, offerer, &plan)
    }

    /// What is known of the two ends and of the gateways at hand.
    pub(crate) fn facts(&self, core: &Core, offerer: Side) -> Facts {
        let realm = |side: Side| {
            let network = core.config.networks.get(self.ends.of(side).network);
            network.map(|n| n.realm.as_str()).unwrap_or_default()
        };
        let tls = core.gateways.end_tls([realm(offerer), realm(offerer.other())]);
        Facts {
            offerer: self.party(core, offerer),
            answerer: self.party(core, offerer.other()),
            // Whether one can rewrite MSRP shows when it is asked to: no package says so.
            gateway: Abilities { tls, aware: true },
        }
    }

    fn party(&self, core: &Core, side: Side) -> Party {
        let end = self.ends.of(side);
        let Some(network) = core.config.networks.get(end.network) else { return Party::default() };
        let edge = self.streams.iter().enumerate().filter_map(|(index, stream)| {
            let client = stream.context()?.tls_client(side)?;
            Some((index, if client { TlsRole::Client } else { TlsRole::Server }))
        });
        Party {
            behind_nat: end.behind_nat,
            access: network.access,
            e2ae: network.access && network.e2ae,
            registered: end.registered,
            addressing: network.msrp,
            hide_origin: network.hide_origin,
            edge: edge.collect(),
        }
    }

    /// Octets per second that the lines of a plan take at each end: what they say of themselves, else the
    /// rate of the network.
    fn bandwidth(&self, core: &Core, plan: &Plan, takes: &[Option<u64>]) -> Both<u64> {
        let mut sum = Both::default();
        for side in [Side::Caller, Side::Callee] {
            let network = core.config.networks.get(self.ends.of(side).network);
            let rate = network.and_then(|n| n.rate).map(|(rate, _)| rate);
            let anchored = plan.lines.iter().filter(|l| l.decision.is_anchored());
            let each = anchored.map(|l| {
                let said = takes.get(l.index).copied().flatten();
                said.map(|said| rate.map_or(said, |rate| said.min(rate))).or(rate).unwrap_or(0)
            });
            *sum.of_mut(side) = each.fold(0, u64::saturating_add);
        }
        sum
    }

    /// Adds a context for each line that needs one and has none of its kind yet.
    fn reserve(
        &mut self,
        core: &mut Core,
        key: ExchangeKey,
        offerer: Side,
        plan: &Plan,
    ) -> Result<Vec<Request>, Fault> {
        let mut requests = Vec::new();
        for line in &plan.lines {
            let Some(legs) = line.legs.as_ref().filter(|_| line.decision.is_anchored()) else { continue };
            let sealed = line.decision == Decision::EndToEnd;
            let planned = Both::by_offer(offerer, Kind::of(&legs.offerer), Kind::of(&legs.answerer));
            let moves = self.stream_mut(line.index).moves(offerer, path_of(line.said.path.as_deref()));
            match &self.stream_mut(line.index).slot {
                // Another session has a context of its own: the gateway of this one may be why.
                Slot::Ready(context) if context.carries(&planned, sealed) && !moves => continue,
                Slot::Adding(request) => {
                    let same =
                        |op: &Op| matches!(op, Op::Add { context, .. } if context.carries(&planned, sealed));
                    if !core.ops.get(request).is_some_and(same) {
                        return Err(Fault::new(491, "another offer of this line is under way"));
                    }
                    requests.push(*request);
                    continue;
                }
                _ => {}
            }
            let no_gateway = || Fault::new(503, "no media gateway is available");
            let (caller, callee) = (self.fixed(core, Side::Caller), self.fixed(core, Side::Callee));
            let (Some(caller), Some(callee)) = (caller, callee) else { return Err(no_gateway()) };
            let kind = Carried { planned, sealed, urgency: self.urgency };
            let wanted = (self.urgency, kind.ends_tls());
            let on = core.pick([&caller.realm, &callee.realm], wanted, &[]).ok_or_else(no_gateway)?;
            let peers = self.opening_peers(core, key, offerer, line);
            let named = core.named(&on.0, sealed);
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
    pub(crate) fn opening_peers(
        &self,
        core: &Core,
        key: ExchangeKey,
        offerer: Side,
        line: &Line,
    ) -> Both<Peer> {
        let Some(legs) = &line.legs else { return Both::default() };
        let takes = self.exchange(key).and_then(|e| e.takes.get(line.index).copied().flatten());
        let address = line.said.address.filter(|_| !line.said.rejected);
        Both::by_offer(
            offerer,
            self.peer(core, offerer, &legs.offerer, (address, takes)),
            self.peer(core, offerer.other(), &legs.answerer, (None, None)),
        )
    }

    /// The peer as the gateway is to know it: its leg, and where its SDP says that it is and how much it
    /// takes.
    pub(crate) fn peer(
        &self,
        core: &Core,
        side: Side,
        leg: &Leg,
        (remote, takes): (Option<SocketAddr>, Option<u64>),
    ) -> Peer {
        let end = self.ends.of(side);
        let filtered = core.config.networks.get(end.network).is_some_and(|n| n.source_filter);
        let known = Known { behind_nat: end.behind_nat, source: end.source, filtered };
        Peer::new(leg, known, (remote, takes))
    }

    /// Makes the offer that the answerer sees.
    pub(crate) fn finish_offer(
        &self,
        core: &Core,
        key: ExchangeKey,
        document: &mut Document,
    ) -> Result<(), Fault> {
        // Without its plan it would go on with the addresses of the far end.
        let exchange = self.exchange(key).ok_or_else(|| Fault::new(500, "the offer is gone"))?;
        self.edit(core, exchange.plan.all_edits(), document, exchange.offerer.other())
    }
}
