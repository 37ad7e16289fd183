//! What a conference session leaves to the next one, when the focus has called back.
//!
//! What was said and not acknowledged goes again; what comes again is known by its identifier and dropped:
//! so nothing is lost or doubled, whoever failed on the way.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use carnet_client::FileOffer;
use tokio::sync::oneshot;

use super::super::UeError;
use super::super::outbox::Source;
use super::event::Said;

/// Identifiers of messages that are remembered. A focus keeps less history than that.
const SEEN: usize = 4096;
/// Messages on their way at once. Whoever has more waits, or is told.
pub(super) const WAITING: usize = 256;
/// How long after we came what is older than our coming counts as history; later it is a clock that is
/// wrong.
const CATCHING_UP: Duration = Duration::from_secs(30);

/// Shared by the sessions of one conference. A clone is the same one.
#[derive(Clone, Default)]
pub(in super::super) struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    seen: HashSet<String>,
    order: VecDeque<String>,
    /// What is on its way, in the order it was said.
    pub(super) waiting: VecDeque<Waiting>,
    /// The nickname that we have, or want.
    pub(super) nickname: Option<String>,
    joined: Option<SystemTime>,
    /// Why the last session broke, if it did.
    pub(super) failure: Option<String>,
}

/// A message of ours that the conference has not acknowledged.
pub(super) struct Waiting {
    /// Identifier in the message itself.
    pub(super) id: String,
    pub(super) content: Content,
    pub(super) reply: Option<oneshot::Sender<Result<(), UeError>>>,
}

/// What is said.
pub(super) enum Content {
    /// A text: what to show when it has arrived, and its octets.
    Text(Box<Said>, Bytes),
    /// A file: the head before it, and where it is.
    File(Bytes, Box<FileOffer>, Source),
}

impl Memory {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that we came in, the first time.
    pub(in super::super) fn joined(&self, now: SystemTime) {
        self.state().joined.get_or_insert(now);
    }

    /// The nickname to ask for in the next session.
    pub(in super::super) fn want_nickname(&self, nickname: Option<String>) {
        let mut state = self.state();
        if nickname.is_some() {
            state.nickname = nickname;
        }
    }

    /// Why the last session broke.
    pub(in super::super) fn failure(&self) -> Option<String> {
        self.state().failure.take()
    }

    /// Whether nothing of ours is on its way.
    pub(in super::super) fn is_idle(&self) -> bool {
        self.state().waiting.is_empty()
    }
}

impl State {
    /// Whether a message of `from` was here before; if not, it is remembered.
    pub(super) fn is_known(&mut self, from: &str, id: &str) -> bool {
        let key = format!("{from} {id}");
        if !self.seen.insert(key.clone()) {
            return true;
        }
        self.order.push_back(key);
        if self.order.len() > SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        false
    }

    /// Whether what was said at `time` was said before we came.
    pub(super) fn is_history(&self, time: Option<SystemTime>, now: SystemTime) -> bool {
        let (Some(joined), Some(time)) = (self.joined, time) else { return false };
        let catching_up = now.duration_since(joined).is_ok_and(|since| since < CATCHING_UP);
        catching_up && time < joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_known_and_memory_has_an_end() {
        let mut state = State::default();
        assert!(!state.is_known("sip:a@x", "1") && state.is_known("sip:a@x", "1"));
        assert!(!state.is_known("sip:b@x", "1"), "identifiers are the sender's own");
        for id in 0..2 * SEEN {
            assert!(!state.is_known("sip:c@x", &id.to_string()));
        }
        assert_eq!((state.seen.len(), state.order.len()), (SEEN, SEEN));
        assert!(!state.is_known("sip:a@x", "1"), "that was long ago");
    }

    #[test]
    fn history_is_what_was_said_before_we_came_and_not_what_a_slow_clock_says() {
        let came = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let (before, after) = (came - Duration::from_secs(9), came + Duration::from_secs(2));
        let memory = Memory::default();
        assert!(!memory.state().is_history(Some(before), after), "we are not in yet");
        memory.joined(came);
        memory.joined(after);
        let state = memory.state();
        assert!(state.is_history(Some(before), after));
        assert!(!state.is_history(Some(after), after) && !state.is_history(None, after));
        assert!(!state.is_history(Some(before), came + 2 * CATCHING_UP));
    }
}
