//! An answer comes: settle the lines, tell the gateway both peers, open the gates.
//!
//! RFC 3264 §6 and §8, RFC 4145 §4.1, RFC 8122 §6.2, TS 23.334 §6.2.10.3 and §6.2.11.

use crate::core::Core;
use crate::gateways::Request;
use crate::session::{ExchangeKey, Fault, Session, Slot, path_of, release};
use carnet_h248::StreamMode;
use carnet_plan::{Both, Peer, Settled, Side};
use carnet_sdp::Document;

impl Session {
    /// Looks at an answer. Returns the gateway requests that must be answered before it goes on.
    ///
    /// `decides` is false for an answer that arrives after another fork has been accepted: it is
    /// passed on, and the gateway stays as it is.
    pub(crate) fn begin_answer(
        &mut self,
        core: &mut Core,
        key: ExchangeKey,
        answer: &Document,
        decides: bool,
    ) -> Result<Vec<Request>, Fault> {
        let Some(exchange) = self.exchange(key) else { return Ok(Vec::new()) };
        let settlement = carnet_plan::settle(&exchange.plan, answer, &exchange.facts)
            .map_err(|refusal| Fault::warned(refusal.status, refusal.warning, refusal.reason))?;
        let is_out = |m: &carnet_sdp::Media<'_>| {
            m.is_rejected() || exchange.plan.lines.get(m.index()).is_none_or(|line| line.said.rejected)
        };
        let dropped = answer.media().filter(is_out).map(|m| m.index()).collect();
        let mut settled = Vec::new();
        for (line, m) in settlement.lines.iter().zip(answer.media()) {
            let (Some(line), Some(planned)) = (line, exchange.plan.lines.get(m.index())) else { continue };
            let offered = (planned.said.address, exchange.takes.get(m.index()).copied().flatten());
            let answered = (line.said.address, m.bandwidth().map(|bits| bits / 8));
            let peers = self.settled_peers(core, exchange.offerer, line, [offered, answered]);
            let mode = if line.open { StreamMode::SendReceive } else { StreamMode::Inactive };
            settled.push((m.index(), peers, mode, planned.said.anew));
        }
        let paths = answer.media().filter_map(|m| {
            let offered = exchange.plan.lines.get(m.index())?.said.path.as_deref();
            let both = Both::by_offer(exchange.offerer, path_of(offered), path_of(m.path()));
            Some((m.index(), both))
        });
        let paths = paths.collect();
        if let Some(exchange) = self.exchange_mut(key) {
            exchange.paths = paths;
            exchange.answered = true;
            exchange.dropped = dropped;
            exchange.edits = settlement.all_edits().cloned().collect();
        }
        if !decides {
            return Ok(Vec::new());
        }
        let mut requests = Vec::new();
        for (index, peers, mode, anew) in settled {
            let Slot::Ready(context) = &self.stream_mut(index).slot else { continue };
            // The first offer of a line says so too, and finds nothing set.
            let set = context.is_set_to(&peers, mode);
            if set && !anew {
                continue;
            }
            let lost = || Fault::new(503, "the media gateway is not available");
            requests.push(self.modify(core, index, peers, mode, set).ok_or_else(lost)?);
        }
        Ok(requests)
    }

    /// What the gateway is told of the two ends when both have spoken.
    pub(crate) fn settled_peers(
        &self,
        core: &Core,
        offerer: Side,
        line: &Settled,
        [offered, answered]: [(Option<std::net::SocketAddr>, Option<u64>); 2],
    ) -> Both<Peer> {
        Both::by_offer(
            offerer,
            self.peer(core, offerer, &line.legs.offerer, offered),
            self.peer(core, offerer.other(), &line.legs.answerer, answered),
        )
    }

    /// Makes the answer that the offerer sees.
    pub(crate) fn finish_answer(
        &self,
        core: &Core,
        key: ExchangeKey,
        document: &mut Document,
        to: Side,
    ) -> Result<(), Fault> {
        let exchange = self.exchange(key).ok_or_else(|| Fault::new(500, "the offer is gone"))?;
        self.edit(core, &exchange.edits, document, to)
    }

    /// The lines that the answer refused are given back before the exchange is settled: nobody else can
    /// answer the offer.
    pub(crate) fn give_back_refused(&mut self, core: &mut Core, key: ExchangeKey) {
        let refused = self.exchange(key).map(|exchange| exchange.dropped.clone()).unwrap_or_default();
        for index in refused {
            // What an earlier exchange has agreed on stays until this one is settled.
            if self.streams.get(index).is_some_and(|stream| stream.agreed.is_none()) {
                let slot = std::mem::replace(&mut self.stream_mut(index).slot, Slot::Empty);
                release(core, &self.call_id, slot);
            }
        }
    }

    /// The exchange is settled: what it dropped or replaced is given back.
    pub(crate) fn commit(&mut self, core: &mut Core, key: ExchangeKey) {
        let Some(at) = self.exchanges.iter().position(|e| e.key == key) else { return };
        let exchange = self.exchanges.swap_remove(at);
        let mut unused: Vec<_> = exchange.introduced.into_iter().map(|(_, before)| before).collect();
        for index in exchange.dropped {
            let stream = self.stream_mut(index);
            stream.agreed = None;
            unused.push(std::mem::replace(&mut stream.slot, Slot::Empty));
        }
        for slot in unused {
            release(core, &self.call_id, slot);
        }
        for (index, paths) in exchange.paths {
            self.stream_mut(index).paths = paths;
        }
        self.agreed = exchange.wanted;
        // What is settled was counted when it was offered.
        self.account(core).unwrap_or_default();
        for stream in &mut self.streams {
            stream.agreed = stream.context().map(carnet_plan::Context::setting);
        }
    }

    /// The offer was refused: everything is as it was before it (RFC 3264 §8).
    pub(crate) fn roll_back(&mut self, core: &mut Core, key: ExchangeKey) {
        let Some(at) = self.exchanges.iter().position(|e| e.key == key) else { return };
        let exchange = self.exchanges.swap_remove(at);
        self.account(core).unwrap_or_default();
        for (index, before) in exchange.introduced.into_iter().rev() {
            let brought = std::mem::replace(&mut self.stream_mut(index).slot, before);
            release(core, &self.call_id, brought);
        }
        for index in 0..self.streams.len() {
            let Some((peers, mode)) = self.stream_mut(index).agreed.clone() else { continue };
            let changed = self.stream_mut(index).context().is_some_and(|c| !c.is_set_to(&peers, mode));
            if changed {
                // Nobody waits for the reply; a failure shows in the events.
                let _ = self.modify(core, index, peers, mode, false);
            }
        }
    }
}
