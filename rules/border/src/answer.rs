//! An answer comes: settle who connects, tell the gateway both peers and open the gates.
//!
//! RFC 3264 §6 and §8, RFC 4145 §4.1, TS 23.334 §6.2.11.

use crate::context::{Both, Peer, Side};
use crate::core::Core;
use crate::gateways::Request;
use crate::plan::{self, Settled};
use crate::session::{ExchangeKey, Fault, Session, Slot, release};
use carnet_h248::StreamMode;
use carnet_sdp::Document;
use std::net::SocketAddr;

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
        let facts = self.facts(core, exchange.offerer);
        let settlement = plan::settle(&exchange.plan, answer, &facts)
            .map_err(|r| Fault::warned(r.status, r.warning, r.reason))?;
        let mut dropped = Vec::new();
        let mut settled = Vec::new();
        for (line, m) in settlement.lines.iter().zip(answer.media()) {
            let offered = exchange.offered.get(m.index());
            if m.is_rejected() || offered.is_some_and(|o| o.rejected) {
                dropped.push(m.index());
            }
            let Some(line) = line else { continue };
            let offered_at = offered.and_then(|o| o.address);
            let peers = self.peers(core, exchange.offerer, (offered_at, line.said.address), line);
            let mode = if line.open { StreamMode::SendReceive } else { StreamMode::Inactive };
            settled.push((m.index(), peers, mode, offered.is_some_and(|o| o.anew)));
        }
        if let Some(exchange) = self.exchange_mut(key) {
            exchange.answered = true;
            exchange.dropped = dropped;
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

    fn peers(
        &self,
        core: &Core,
        offerer: Side,
        (offered, answered): (Option<SocketAddr>, Option<SocketAddr>),
        line: &Settled,
    ) -> Both<Peer> {
        let mut peers = Both::default();
        *peers.of_mut(offerer) = self.peer(core, offerer, offered, Some(line.legs.offerer.setup));
        *peers.of_mut(offerer.other()) =
            self.peer(core, offerer.other(), answered, Some(line.legs.answerer.setup));
        peers
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
        for stream in &mut self.streams {
            stream.agreed = stream.context().map(crate::context::Context::setting);
        }
    }

    /// The offer was refused: everything is as it was before it (RFC 3264 §8).
    pub(crate) fn roll_back(&mut self, core: &mut Core, key: ExchangeKey) {
        let Some(at) = self.exchanges.iter().position(|e| e.key == key) else { return };
        let exchange = self.exchanges.swap_remove(at);
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
