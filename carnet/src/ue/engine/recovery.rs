//! A connection that broke under a call that stands: it is made again.
//!
//! ```text
//!  broke ── GRACE ──▶ offered ── the peer takes it ──▶ connecting ──▶ there again
//!    ▲                   │ refused                        │ nobody came
//!    └── a longer pause ─┴────────────────────────────────┘         PATIENCE ──▶ the call ends
//! ```
//!
//! The caller offers at once, as whose offer made the session; who was called leaves it to the caller for a
//! while, and takes what is offered meanwhile. A call that ends in [`GRACE`] was ended, and its connection
//! with it: a border that takes a call down takes its connection first, now and then. The user sees one line
//! when it is later than that.
//!
//! Left out: conferences, whose focus calls back.

use std::time::{Duration, Instant};

use carnet_client::{CallId, Ending, Media, Refusal};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Engine, Known};
use crate::ue::event::UeEvent;
use crate::ue::kept::Kept;
use crate::ue::media::{Left, Order};

/// How long a call may take to end after its connection: less than clients wait that do not make it again.
const GRACE: Duration = Duration::from_millis(500);
/// How much longer the called side waits for the offer of the caller.
const CALLER_FIRST: Duration = Duration::from_secs(5);
/// The first pause after an attempt that came to nothing; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(8);
/// How long all of it may take before the call is given up.
const PATIENCE: Duration = Duration::from_secs(45);

/// The way back of one call.
pub(super) struct Recovery {
    /// When the connection broke, of which this is the consequence.
    broke: Instant,
    /// When there was one last.
    lost: Instant,
    stage: Stage,
    /// Attempts so far.
    tries: u32,
    /// The user has been told.
    told: bool,
    /// Why it broke.
    reason: String,
    /// Why the last attempt came to nothing.
    last: Option<String>,
    /// What there is for the next connection, while there is none.
    left: Option<Left>,
}

/// Where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The next attempt is made then.
    Pausing(Instant),
    /// Ours is out.
    Offered,
    /// The peer's is to be answered as soon as the old connection is out of the way.
    Asked,
    /// Both sides have agreed.
    Connecting,
}

impl Recovery {
    fn new(reason: String) -> Self {
        Self {
            broke: Instant::now(),
            lost: Instant::now(),
            stage: Stage::Connecting,
            tries: 0,
            told: false,
            reason,
            last: None,
            left: None,
        }
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let tell = Some(self.lost + GRACE).filter(|_| !self.told);
        let stage = match self.stage {
            Stage::Pausing(at) => Some(at),
            _ => None,
        };
        tell.into_iter().chain(stage).min()
    }

    /// The pause before the next attempt.
    fn pause(&self, called: bool) -> Duration {
        let own = match self.tries {
            0 => GRACE,
            tries => PAUSE.saturating_mul(1 << (tries - 1).min(8)).min(LONGEST),
        };
        if called { own + CALLER_FIRST } else { own }
    }
}

impl Known {
    /// Whether nobody has a connection or makes one at the moment, and one is to come.
    pub(super) fn is_recovering(&self) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| recovery.left.is_some())
    }

    /// Whether the peer has offered another connection.
    pub(super) fn is_renewed(&self) -> bool {
        self.recovery.as_ref().is_some_and(|recovery| recovery.stage == Stage::Asked)
    }

    /// The call is over before its connection was there again.
    pub(super) fn not_recovered(&mut self, ending: &Ending) {
        let Some(mut recovery) = self.recovery.take() else { return };
        let restored = recovery.left.is_none() && self.fate.came_up_since(recovery.lost);
        if let Some(left) = &mut recovery.left {
            left.kept.give_up("the connection broke, and the call ended");
            self.orders = None;
        }
        let ended = matches!(ending, Ending::Peer(None)) && recovery.lost.elapsed() < GRACE;
        if !restored && !ended && !self.hanging_up && self.failure.is_none() {
            let how = match ending {
                Ending::Peer(None) => "the other side ended the call".to_owned(),
                ending => ending.to_string(),
            };
            self.failure = Some(format!("{}; {how}", recovery.reason));
        }
    }
}

impl Engine {
    /// The connection of a call broke.
    pub(super) async fn broke(&mut self, call: CallId, reason: String, left: Left) {
        let Some(known) = self.calls.get_mut(&call) else { return };
        let fresh = known.recovery.is_none() || (known.fate.was_stable() && !known.is_renewed());
        if fresh {
            known.recovery = Some(Box::new(Recovery::new(reason.clone())));
        }
        let Some(recovery) = &mut known.recovery else { return };
        // Of a connection that did not come up again, that is why.
        if !fresh && !reason.is_empty() {
            recovery.last = Some(reason);
        }
        if known.fate.came_up_since(recovery.lost) {
            (recovery.lost, recovery.told) = (Instant::now(), false);
        }
        recovery.left = Some(left);
        match recovery.stage {
            Stage::Asked => self.take_renewal(call).await,
            _ => self.again(call),
        }
    }

    /// Another attempt, or none.
    fn again(&mut self, call: CallId) {
        let Some(known) = self.calls.get_mut(&call) else { return };
        let called = known.called;
        let Some(recovery) = &mut known.recovery else { return };
        let at = Instant::now() + recovery.pause(called);
        if at < recovery.broke + PATIENCE {
            recovery.stage = Stage::Pausing(at);
            return;
        }
        let last = recovery.last.take().map(|last| format!(": {last}")).unwrap_or_default();
        let sentence = format!("{}, and could not be made again{last}", recovery.reason);
        if let Some(mut left) = recovery.left.take() {
            left.kept.give_up(&sentence);
        }
        known.recovery = None;
        known.orders = None;
        known.failure = Some(sentence.clone());
        self.machine.client.media_failed(Instant::now(), call, Refusal::Connection(sentence));
    }

    /// Does what is due.
    pub(super) async fn recover(&mut self, now: Instant) {
        let due = self.calls.iter().filter(|(_, known)| {
            known.recovery.as_ref().and_then(|recovery| recovery.due()).is_some_and(|at| now >= at)
        });
        let due: Vec<CallId> = due.map(|(call, _)| *call).collect();
        for call in due {
            let Some(recovery) = self.recovery(call) else { continue };
            let pausing = matches!(recovery.stage, Stage::Pausing(at) if now >= at);
            if now >= recovery.lost + GRACE {
                self.tell_broken(call).await;
            }
            if pausing {
                self.offer_renewal(call).await;
            }
        }
    }

    /// Tells the user, once.
    async fn tell_broken(&mut self, call: CallId) {
        let Some(recovery) = self.recovery(call).filter(|recovery| !recovery.told) else { return };
        recovery.told = true;
        let reason = recovery.reason.clone();
        self.tell(UeEvent::Broken { call, reason }).await;
    }

    fn recovery(&mut self, call: CallId) -> Option<&mut Recovery> {
        self.calls.get_mut(&call)?.recovery.as_deref_mut()
    }

    async fn offer_renewal(&mut self, call: CallId) {
        if let Some(recovery) = self.recovery(call) {
            recovery.tries += 1;
            recovery.stage = Stage::Offered;
        }
        match self.room_for(call).await {
            Ok((local, start)) => self.machine.client.renew_media(Instant::now(), call, local, start),
            Err(error) => self.not_renewed(call, format!("no address for media: {error}")),
        }
    }

    /// A place for the next connection, and how much of a file is here.
    async fn room_for(&mut self, call: CallId) -> std::io::Result<(std::net::SocketAddr, u64)> {
        let listener = TcpListener::bind((self.media_address, 0)).await?;
        let local = listener.local_addr()?;
        let known = self.calls.get_mut(&call);
        let offered = known.as_ref().and_then(|known| known.offered.clone());
        if let Some(known) = known {
            known.listener = Some(listener);
        }
        let start = match (offered, &self.inbox) {
            (Some(file), Some(inbox)) => inbox.have(&file).await,
            _ => 0,
        };
        Ok((local, start))
    }

    /// The peer offers another connection.
    pub(super) async fn renewal_offered(&mut self, call: CallId) {
        // It has not ended the call, whatever we thought of the end of its connection.
        self.dying.retain(|(_, dying)| *dying != call);
        let Some(known) = self.calls.get_mut(&call) else { return };
        let reason = "the other side makes the connection again".to_owned();
        let recovery = known.recovery.get_or_insert_with(|| Box::new(Recovery::new(reason)));
        recovery.stage = Stage::Asked;
        if recovery.left.is_some() {
            return self.take_renewal(call).await;
        }
        // The task that has the old one says when it is out of the way. One that is over already, in order
        // as it thought, has left nothing.
        let told = known.orders.as_ref().is_some_and(|orders| orders.try_send(Order::Renew).is_ok());
        if !told {
            let (send, orders) = mpsc::channel(super::ORDERS);
            known.orders = Some(send);
            recovery.left = Some(Left { kept: Kept::default(), orders });
            self.take_renewal(call).await;
        }
    }

    async fn take_renewal(&mut self, call: CallId) {
        match self.room_for(call).await {
            Ok((local, start)) => self.machine.client.take_media(Instant::now(), call, local, start),
            Err(error) => self.not_renewed(call, format!("no address for media: {error}")),
        }
    }

    /// What came of an offer, ours or the peer's.
    pub(super) async fn renewed(&mut self, call: CallId, media: Result<Box<Media>, Refusal>) {
        match media {
            Ok(media) => {
                let Some(recovery) = self.recovery(call) else { return };
                recovery.stage = Stage::Connecting;
                let left = recovery.left.take();
                // The peer may be faster than our own pause.
                self.tell_broken(call).await;
                if let Some(Left { kept, orders }) = left {
                    self.make(call, *media, orders, Some(kept));
                }
            }
            Err(Refusal::Rejected { status, text }) => self.not_renewed(call, format!("{status} {text}")),
            Err(refusal) => self.not_renewed(call, self.explain(&refusal)),
        }
    }

    fn not_renewed(&mut self, call: CallId, reason: String) {
        if let Some(recovery) = self.recovery(call) {
            recovery.last = Some(reason);
            self.again(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_the_caller_goes_first() {
        let mut recovery = Recovery::new(String::new());
        let pauses: Vec<_> = (0..8)
            .map(|tries| {
                recovery.tries = tries;
                (recovery.pause(false), recovery.pause(true))
            })
            .collect();
        assert!(pauses.windows(2).all(|two| two[0].0 <= two[1].0), "{pauses:?}");
        assert_eq!((pauses[0].0, pauses[7].0), (GRACE, LONGEST));
        assert!(pauses.iter().all(|(caller, called)| *caller + CALLER_FIRST == *called));
    }
}
