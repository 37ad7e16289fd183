//! An answer comes: settle who connects, tell the gateway both peers and open the gates.
//!
//! RFC 3264 §6 and §8, RFC 4145 §4.1, TS 23.334 §6.2.11.

use crate::context::{Both, Peer, Side};
use crate::core::Core;
use crate::gateways::Request;
use crate::plan::{NO_E2AE, Opener, opener};
use crate::session::{ExchangeKey, Fault, Session, Slot, release};
use carnet_h248::StreamMode;
use carnet_sdp::{Document, E2ae, Media, Setup};

/// One line settled: its peers and its gate.
type Settled = (usize, Both<Peer>, StreamMode);

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
        // RFC 3264 §6: as many lines as were offered, in the same order.
        if answer.media().len() != exchange.offered.len() {
            return Err(Fault::warned(488, 399, "the answer has not as many media lines as the offer"));
        }
        let mut settled = Vec::new();
        let mut dropped = Vec::new();
        for m in answer.media() {
            let (Some(line), Some(offered)) =
                (exchange.plan.lines.get(m.index()), exchange.offered.get(m.index()))
            else {
                continue;
            };
            if m.is_rejected() || offered.rejected {
                dropped.push(m.index());
                continue;
            }
            // RFC 3264 §6.1: the transport is not negotiable. Answering another one, for
            // instance one without TLS, is refused whatever the line is.
            if !m.proto().eq_ignore_ascii_case(&offered.proto) {
                return Err(Fault::warned(488, 399, "the answer has another transport than the offer"));
            }
            // The same care as with offers: nothing is carried with less than was asked for.
            if m.e2ae().is_some_and(|e2ae| e2ae != E2ae::Applied) {
                return Err(Fault::warned(488, 304, NO_E2AE));
            }
            if line.decision.transport().is_some() {
                let offer = (line.decision.setup_sent(), offered.address);
                settled.push((self.settle(core, exchange.offerer, offer, &m)?, offered.anew));
            }
        }
        if let Some(exchange) = self.exchange_mut(key) {
            exchange.answered = true;
            exchange.dropped = dropped;
        }
        if !decides {
            return Ok(Vec::new());
        }
        let mut requests = Vec::new();
        for ((index, peers, mode), anew) in settled {
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

    fn settle(
        &self,
        core: &Core,
        offerer: Side,
        (setup, offered): (Option<Setup>, Option<std::net::SocketAddr>),
        answer: &Media<'_>,
    ) -> Result<Settled, Fault> {
        let conflict = || Fault::warned(488, 399, "offer and answer want the same end of the connection");
        let (to_offerer, to_answerer, mode) = match opener(setup, answer.setup()).ok_or_else(conflict)? {
            Opener::Offerer => (Setup::Passive, Setup::Active, StreamMode::SendReceive),
            Opener::Answerer => (Setup::Active, Setup::Passive, StreamMode::SendReceive),
            Opener::Nobody => (Setup::HoldConn, Setup::HoldConn, StreamMode::Inactive),
        };
        let sides = [(offerer, offered, to_offerer), (offerer.other(), answer.address(), to_answerer)];
        let mut peers = Both::default();
        for (side, address, role) in sides {
            if role == Setup::Active && address.is_none_or(|a| a.port() == 0 || a.ip().is_unspecified()) {
                return Err(Fault::warned(488, 399, "the passive end gives no address to connect to"));
            }
            *peers.of_mut(side) = self.peer(core, side, address, Some(role));
        }
        Ok((answer.index(), peers, mode))
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
