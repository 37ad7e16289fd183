//! The way by which the network reaches us: where it comes out, and that it stays open.
//!
//! RFC 3581 §4 tells where a request of ours came from. If that is not where we say we are, somebody
//! translates addresses, and forgets us when nothing passes: where there is no connection we ask by STUN,
//! on the port of SIP, where we come from (RFC 5626 §4.4.2). No answer, or another place than before, and
//! the way is lost; the registration makes another.
//!
//! Left out: the keep-alive of connections (RFC 5626 §4.4.1), which is the driver's; several ways at once,
//! and `reg-id` with them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use carnet_sip::stun::{Stun, TransactionId};
use carnet_sip::{Hop, Transmit, Transport};

use crate::core::Core;

/// First pause before a question is repeated; each is twice as long (RFC 8489 §6.2.1).
const FIRST: Duration = Duration::from_millis(500);
/// How often a question is put. The last answer is awaited for 16 seconds.
const ASKED: u32 = 6;

/// The way by which a registration was taken.
pub(crate) struct Flow {
    pub(crate) hop: Hop,
    /// Where it comes out, as far as we know.
    outer: Option<SocketAddr>,
    /// Whether STUN was ever answered on it. A server that does not know STUN says nothing by its silence.
    answers: bool,
    keep: Option<Keep>,
}

/// What keeps it open.
struct Keep {
    at: Instant,
    asked: Option<(TransactionId, u32)>,
}

/// The way is lost.
pub(crate) struct Lost;

impl Flow {
    /// The way of a registration that was just taken.
    pub(crate) fn new(core: &mut Core, now: Instant, hop: &Hop, outer: Option<SocketAddr>) -> Self {
        let translated = outer.is_some() || core.config.behind_nat;
        let keep = (hop.transport == Transport::Udp && translated)
            .then(|| Keep { at: now + pause(core), asked: None });
        Self { hop: hop.clone(), outer, answers: false, keep }
    }

    /// What is known of the way before, if this is the same way.
    pub(crate) fn like(mut self, before: Option<&Self>) -> Self {
        self.answers = before.is_some_and(|before| before.hop.remote == self.hop.remote && before.answers);
        self
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.keep.as_ref().map(|keep| keep.at)
    }

    /// Asks, or asks again.
    pub(crate) fn tick(&mut self, core: &mut Core, now: Instant) -> Result<(), Lost> {
        let Some(keep) = self.keep.as_mut().filter(|keep| now >= keep.at) else { return Ok(()) };
        let (id, times) = match keep.asked.take() {
            Some((_, times)) if times >= ASKED && self.answers => return Err(Lost),
            Some((_, times)) if times >= ASKED => {
                keep.at = now + pause(core);
                return Ok(());
            }
            Some(asked) => asked,
            None => {
                let mut id = TransactionId::default();
                core.rng.fill(&mut id);
                (id, 0)
            }
        };
        keep.at = now + FIRST * 2_u32.pow(times);
        keep.asked = Some((id, times + 1));
        core.transmits.push_back(Transmit { hop: self.hop.clone(), data: Stun::request(&id) });
        Ok(())
    }

    /// An answer to a question of ours, or something that looks like one.
    pub(crate) fn answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        hop: &Hop,
        (id, seen): (TransactionId, SocketAddr),
    ) -> Result<(), Lost> {
        let Some(keep) = &mut self.keep else { return Ok(()) };
        // Who is not on the way does not know the id.
        if hop.remote != self.hop.remote || keep.asked.is_none_or(|(asked, _)| asked != id) {
            return Ok(());
        }
        self.answers = true;
        *keep = Keep { at: now + pause(core), asked: None };
        if self.outer.replace(seen).is_some_and(|before| before != seen) { Err(Lost) } else { Ok(()) }
    }
}

/// RFC 5626 §4.4: at random from four fifths of the longest pause to all of it.
fn pause(core: &mut Core) -> Duration {
    let share = f64::from(core.rng.u32()) / f64::from(u32::MAX);
    core.config.keep_alive.mul_f64(0.8 + 0.2 * share)
}
