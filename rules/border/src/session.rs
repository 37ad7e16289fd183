//! The media of one call: its streams, and the offers that are under way.
//!
//! RFC 3264, with the combinations of RFC 6337 table 1. Streams belong to the call and not to a
//! fork: all forks of an INVITE answer the same offer with the same gateway address, the last
//! answer before the final response wins the gateway, and the final response decides.

use crate::core::{CallKey, Core, Op};
use crate::gateways::Request;
use crate::registrar::Binding;
use crate::usage::Claim;
use carnet_h248::controller::GatewayName;
use carnet_h248::{StreamMode, TerminationId};
use carnet_plan::{Both, Context, Edit, Facts, Fixed, Given, Peer, Plan, Registered, Side, Urgency};
use carnet_sdp::Document;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;

/// Why an offer, an answer or a request was refused, and how to say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: u16,
    /// Warning code (RFC 3261 §20.43).
    pub(crate) warning: Option<u16>,
    pub(crate) text: String,
    /// Say when to try again.
    pub(crate) retry_after: bool,
    /// A header that this status needs.
    pub(crate) header: Option<(&'static str, String)>,
}

impl Fault {
    pub(crate) fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, warning: None, text: text.into(), retry_after: status == 503, header: None }
    }

    pub(crate) fn warned(status: u16, warning: u16, text: impl Into<String>) -> Self {
        Self { warning: Some(warning), ..Self::new(status, text) }
    }
}

/// What the session must know of a side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct End {
    /// Index of its network.
    pub(crate) network: usize,
    pub(crate) behind_nat: bool,
    /// Where its messages come from.
    pub(crate) source: Option<IpAddr>,
    /// What it wants protected up to the gateway.
    pub(crate) registered: Registered,
    /// Its address of record, if it is registered here.
    pub(crate) user: Option<String>,
}

impl End {
    /// A registered terminal.
    pub(crate) fn of(binding: &Binding) -> Self {
        Self {
            network: binding.network,
            behind_nat: binding.behind_nat,
            source: Some(binding.hop.remote.ip()),
            registered: binding.registered,
            user: Some(crate::registrar::aor_key(&binding.aor)),
        }
    }
}

/// Names an exchange by the request that carried the offer, or that was answered with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ExchangeKey {
    pub(crate) requester: Side,
    pub(crate) cseq: u32,
}

/// A media line's hold on a gateway.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Empty,
    /// Add was sent; the context is with the outstanding operation.
    Adding(Request),
    Ready(Box<Context>),
    /// The gateway that had it is lost.
    Lost,
}

/// One media line over the life of the call.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) slot: Slot,
    /// What the last completed exchange settled.
    pub(crate) agreed: Option<(Both<Peer>, StreamMode)>,
    /// What names the MSRP session at each end ([`path_of`]), as the last completed exchange has it; 0 where
    /// that is not known.
    pub(crate) paths: Both<u64>,
}

impl Stream {
    pub(crate) fn new(slot: Slot, agreed: Option<(Both<Peer>, StreamMode)>) -> Self {
        Self { slot, agreed, paths: Both::default() }
    }

    /// Whether an offer with that path is of another session than there is (RFC 4975 §5.4): it has
    /// connections of its own.
    pub(crate) fn moves(&self, offerer: Side, path: u64) -> bool {
        let known = *self.paths.of(offerer);
        known != 0 && path != 0 && known != path
    }

    pub(crate) fn context(&self) -> Option<&Context> {
        if let Slot::Ready(context) = &self.slot { Some(context) } else { None }
    }
}

/// An offer that is not settled yet.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) key: ExchangeKey,
    pub(crate) offerer: Side,
    pub(crate) plan: Plan,
    /// What was known when it was planned.
    pub(crate) facts: Facts,
    /// Octets per second that each line says it takes.
    pub(crate) takes: Vec<Option<u64>>,
    /// Octets per second that it takes at each end.
    pub(crate) wanted: Both<u64>,
    /// What an rtpengine returned for the description at hand.
    pub(crate) rtp: Option<Document>,
    /// Changes of its last answer.
    pub(crate) edits: Vec<Edit>,
    /// Streams it brought in, with what was there before.
    pub(crate) introduced: Vec<(usize, Slot)>,
    /// Streams the last answer did not take.
    pub(crate) dropped: Vec<usize>,
    /// What names the MSRP session of each line, by its last answer.
    pub(crate) paths: Vec<(usize, Both<u64>)>,
    pub(crate) answered: bool,
}

/// The media of a call.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) call: CallKey,
    pub(crate) call_id: String,
    pub(crate) ends: Both<End>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) urgency: Urgency,
    /// What it counts for, until it is over.
    pub(crate) claim: Option<Claim>,
    /// Octets per second that its lines take at each end, by the last completed exchange.
    pub(crate) agreed: Both<u64>,
    /// What the call is to the rtpengine, if it has lines of it.
    pub(crate) rtp: Option<String>,
    /// The rtpengine knows it.
    pub(crate) rtp_up: bool,
    /// The same with what is offered: what the networks count.
    taken: Both<u64>,
}

/// Exchanges at once: an offer from each side (glare), and one more while an old one drains.
const EXCHANGES: usize = 4;

impl Session {
    pub(crate) fn new(call: CallKey, call_id: String, ends: Both<End>) -> Self {
        Self {
            call,
            call_id,
            ends,
            streams: Vec::new(),
            exchanges: Vec::new(),
            urgency: Urgency::default(),
            claim: None,
            agreed: Both::default(),
            rtp: None,
            rtp_up: false,
            taken: Both::default(),
        }
    }

    pub(crate) fn exchange(&self, key: ExchangeKey) -> Option<&Exchange> {
        self.exchanges.iter().find(|e| e.key == key)
    }

    pub(crate) fn exchange_mut(&mut self, key: ExchangeKey) -> Option<&mut Exchange> {
        self.exchanges.iter_mut().find(|e| e.key == key)
    }

    /// Keeps a new exchange; fails if an offerer does not wait for its answers.
    pub(crate) fn open(&mut self, exchange: Exchange) -> Result<(), Fault> {
        if self.exchanges.len() >= EXCHANGES {
            return Err(Fault::new(491, "too many offers are under way"));
        }
        self.exchanges.push(exchange);
        Ok(())
    }

    pub(crate) fn stream_mut(&mut self, index: usize) -> &mut Stream {
        while self.streams.len() <= index {
            self.streams.push(Stream::new(Slot::Empty, None));
        }
        // The loop above made the place.
        let last = self.streams.len() - 1;
        &mut self.streams[index.min(last)]
    }

    pub(crate) fn fixed(&self, core: &Core, side: Side) -> Option<Fixed> {
        let network = core.config.networks.get(self.ends.of(side).network)?;
        let timers = &core.config.timers;
        Some(Fixed {
            realm: network.realm.clone(),
            family: network.family,
            rate: network.rate,
            dscp: network.dscp,
            heartbeat: timers.heartbeat.as_secs(),
            inactivity: timers.inactivity.map(|t| t.as_secs()),
        })
    }

    /// The context of a line on which both ends have agreed, whatever is on offer, and what they have agreed.
    pub(crate) fn agreed_context(&self, index: usize) -> Option<(&Context, &(Both<Peer>, StreamMode))> {
        let stream = self.streams.get(index)?;
        let agreed = stream.agreed.as_ref()?;
        let mut replaced = self.exchanges.iter().flat_map(|exchange| &exchange.introduced);
        let before = replaced.find(|(of, _)| *of == index).map(|(_, slot)| slot);
        match before.unwrap_or(&stream.slot) {
            Slot::Ready(context) => Some((context, agreed)),
            _ => None,
        }
    }

    /// Sets a context to what was agreed: an offer that has died may have changed it.
    pub(crate) fn set_back(&mut self, core: &mut Core, index: usize) {
        if let Some((peers, mode)) = self.stream_mut(index).agreed.clone() {
            // Nobody waits for the reply; a failure shows in the events.
            let _ = self.modify(core, index, peers, mode, false);
        }
    }

    /// Counts what a call of before takes: it is there, whatever the caps are now.
    pub(crate) fn account_restored(&mut self, core: &mut Core) {
        let ends = Both { caller: self.ends.caller.network, callee: self.ends.callee.network };
        let _ = core.usage.take(&core.config.networks, ends, (&self.taken, &self.agreed), true);
        self.taken = self.agreed.clone();
    }

    /// The media line for which a context is being added.
    pub(crate) fn index_of(&self, request: Request) -> Option<usize> {
        self.streams.iter().position(|s| s.slot == Slot::Adding(request))
    }

    /// A gateway chose its addresses. Gives the context back if nobody waits for it any more.
    pub(crate) fn added(&mut self, request: Request, context: Box<Context>) -> Option<Box<Context>> {
        let wanted = Slot::Adding(request);
        match self.streams.iter_mut().find(|s| s.slot == wanted) {
            Some(stream) => {
                stream.slot = Slot::Ready(context);
                None
            }
            None => Some(context),
        }
    }

    /// An Add failed.
    pub(crate) fn not_added(&mut self, request: Request) {
        let failed = Slot::Adding(request);
        for stream in self.streams.iter_mut().filter(|s| s.slot == failed) {
            stream.slot = Slot::Empty;
        }
    }

    /// The media line whose context that is, and the side of the termination.
    pub(crate) fn place(
        &self,
        gateway: &str,
        id: u32,
        termination: &TerminationId,
    ) -> Option<(usize, Option<Side>)> {
        let contexts = self.streams.iter().enumerate().filter_map(|(n, s)| Some((n, s.context()?)));
        let mut here = contexts.filter(|(_, c)| &*c.gateway == gateway && c.id() == Some(id));
        here.next().map(|(index, context)| (index, context.side_of(termination)))
    }

    /// Whether a stream of the call is on one of these terminations.
    pub(crate) fn is_on(&self, gateway: &str, context: Option<u32>, pattern: &TerminationId) -> bool {
        let on = |c: &Context| {
            let here = &*c.gateway == gateway && (context.is_none() || c.id() == context);
            here && c.terminations().any(|(_, termination)| pattern.matches(termination))
        };
        self.streams.iter().filter_map(Stream::context).any(on)
    }

    /// Adds what one gateway refused on another one; the request that replaces the first.
    pub(crate) fn elsewhere(
        &mut self,
        core: &mut Core,
        request: Request,
        (refused, first): (&Context, Side),
        mut tried: Vec<GatewayName>,
    ) -> Option<Request> {
        tried.push(refused.gateway.clone());
        if tried.len() >= core.config.limits.attempts {
            return None;
        }
        let index = self.index_of(request)?;
        let on = core.pick(refused.realms(), (self.urgency, refused.line.ends_tls()), &tried)?;
        let named = core.named(&on.0, refused.line.sealed);
        let (peers, _) = refused.setting();
        let mut context = refused.on(on, named);
        let actions = context.add(first, peers, core.next_event_request());
        let again = core.gateways.request(core.now, &context.gateway, actions);
        core.ops.insert(again, Op::Add { call: self.call, context, first, tried });
        self.stream_mut(index).slot = Slot::Adding(again);
        Some(again)
    }

    /// A gateway, or one context of it, is gone: its lines wait for another one. `false` if that cannot be,
    /// because what is being agreed on is there.
    pub(crate) fn lose(&mut self, gateway: &str, context: Option<u32>) -> bool {
        self.take_lost(gateway, context).is_some()
    }

    /// A gateway is away, and what was agreed on meanwhile never reached it: as [`Session::lose`], and what it may still
    /// have is given back when it is there again.
    pub(crate) fn give_back_to(&mut self, core: &mut Core, gateway: &str) -> bool {
        let Some(lost) = self.take_lost(gateway, None) else { return false };
        for slot in lost {
            release(core, &self.call_id, slot);
        }
        true
    }

    /// A gateway of the call that is not there now.
    pub(crate) fn away(&self, core: &Core) -> Option<GatewayName> {
        let mut gateways = self.streams.iter().filter_map(Stream::context).map(|context| &context.gateway);
        gateways.find(|gateway| !core.gateways.is_up(gateway)).cloned()
    }

    fn take_lost(&mut self, gateway: &str, context: Option<u32>) -> Option<Vec<Slot>> {
        let on = |slot: &Slot| match slot {
            Slot::Ready(c) => &*c.gateway == gateway && (context.is_none() || c.id() == context),
            _ => false,
        };
        let new = |index: usize| self.streams.get(index).is_some_and(|stream| on(&stream.slot));
        if self.exchanges.iter().flat_map(|e| &e.introduced).any(|(index, _)| new(*index)) {
            return None;
        }
        let replaced = self.exchanges.iter_mut().flat_map(|e| &mut e.introduced).map(|(_, slot)| slot);
        let slots = self.streams.iter_mut().map(|stream| &mut stream.slot);
        let lost = slots.chain(replaced).filter(|slot| on(slot));
        Some(lost.map(|slot| std::mem::replace(slot, Slot::Lost)).collect())
    }

    /// Whether a line waits for another gateway.
    pub(crate) fn has_lost(&self) -> bool {
        let replaced = self.exchanges.iter().flat_map(|e| &e.introduced).map(|(_, slot)| slot);
        self.streams.iter().map(|stream| &stream.slot).chain(replaced).any(|slot| *slot == Slot::Lost)
    }

    /// Whether a stream of the call is on that gateway, or in that context of it.
    pub(crate) fn uses(&self, gateway: &str, context: Option<u32>) -> bool {
        let on = |c: &Context| &*c.gateway == gateway && (context.is_none() || c.id() == context);
        self.streams.iter().filter_map(Stream::context).any(on)
    }

    /// Modifies a context and says which request does it; `None` if the gateway is not there. `anew`: the
    /// connection through it is over, and another one comes.
    pub(crate) fn modify(
        &mut self,
        core: &mut Core,
        index: usize,
        peers: Both<Peer>,
        mode: StreamMode,
        anew: bool,
    ) -> Option<Request> {
        let call = self.call;
        let Slot::Ready(context) = &mut self.stream_mut(index).slot else { return None };
        let gateway = context.gateway.clone();
        let actions = if anew { context.renew(peers, mode) } else { context.modify(peers, mode) };
        if !core.gateways.is_up(&gateway) {
            return None;
        }
        let request = core.gateways.request(core.now, &gateway, actions);
        core.ops.insert(request, Op::Modify { call, gateway });
        Some(request)
    }

    /// Counts what the lines take by what is agreed and what is offered, the larger of them: an offer
    /// that is refused leaves what was.
    pub(crate) fn account(&mut self, core: &mut Core) -> Result<(), Fault> {
        let mut wanted = self.agreed.clone();
        for exchange in &self.exchanges {
            for side in [Side::Caller, Side::Callee] {
                let most = wanted.of_mut(side);
                *most = (*most).max(*exchange.wanted.of(side));
            }
        }
        let ends = Both { caller: self.ends.caller.network, callee: self.ends.callee.network };
        core.count_bandwidth(&self.call_id, ends, (&self.taken, &wanted), self.urgency)?;
        self.taken = wanted;
        Ok(())
    }

    /// Gives back everything.
    pub(crate) fn release_all(&mut self, core: &mut Core) {
        if let Some(claim) = self.claim.take() {
            core.usage.give_back(&claim);
        }
        self.release_rtp(core);
        let (exchanges, streams) = (std::mem::take(&mut self.exchanges), std::mem::take(&mut self.streams));
        self.agreed = Both::default();
        // Less always fits.
        self.account(core).unwrap_or_default();
        let introduced = exchanges.into_iter().flat_map(|e| e.introduced).map(|(_, slot)| slot);
        let slots: Vec<_> = introduced.chain(streams.into_iter().map(|s| s.slot)).collect();
        for slot in slots {
            release(core, &self.call_id, slot);
        }
    }

    /// Makes these changes in a description that is sent to `to`, and no others.
    pub(crate) fn edit<'a>(
        &self,
        core: &Core,
        edits: impl IntoIterator<Item = &'a Edit>,
        document: &mut Document,
        to: Side,
    ) -> Result<(), Fault> {
        let given = |index: usize| {
            let context = self.streams.get(index).and_then(Stream::context);
            Given {
                address: context.and_then(|c| c.local(to)),
                fingerprint: context.and_then(|c| c.fingerprint(to)).map(str::to_owned),
            }
        };
        let origin = core.config.networks.get(self.ends.of(to).network).and_then(|n| n.contact.ip());
        carnet_plan::apply(edits, document, given, origin).map_err(|e| Fault::new(500, e.to_string()))
    }
}

/// What names the MSRP session of a line: of its path no more is needed than whether it is another one.
pub(crate) fn path_of(path: Option<&str>) -> u64 {
    // The session-id of its last URI (RFC 4975 §6.1): an end that moves keeps its session.
    let id = path.and_then(|path| path.split_ascii_whitespace().next_back()?.rsplit_once('/'));
    let Some((_, id)) = id else { return 0 };
    let mut hash = DefaultHasher::new();
    id.hash(&mut hash);
    hash.finish()
}

/// Ends a slot's context. One that is being added is ended when the gateway's reply comes: the
/// outstanding operation finds no stream that waits for it.
pub(crate) fn release(core: &mut Core, call_id: &str, slot: Slot) {
    if let Slot::Ready(context) = slot {
        core.release(*context, call_id.to_owned());
    }
}
