//! What one connection of a call leaves to the next one, when it broke and is made again.
//!
//! RFC 4975 §5.4: what was said and not acknowledged goes again under the Message-ID that it had, and what
//! comes again under a Message-ID that was acknowledged is acknowledged and not shown. So nothing is lost or
//! doubled, whoever failed on the way. Files are not in it: their receiver says where they go on.

use std::collections::VecDeque;

use bytes::Bytes;
use carnet_net::OsRandom;
use carnet_wire::Random as _;
use tokio::sync::oneshot;

use super::UeError;

/// Message-IDs of the peer that are remembered: more than can be unacknowledged at once.
const SEEN: usize = 1024;

/// A text of ours that the peer has not acknowledged.
pub(super) struct Unsaid {
    /// Its Message-ID.
    pub(super) id: String,
    pub(super) text: Bytes,
    pub(super) reply: oneshot::Sender<Result<(), UeError>>,
}

impl Unsaid {
    pub(super) fn new(text: String, reply: oneshot::Sender<Result<(), UeError>>) -> Self {
        let id = carnet_wire::hex::encode(&OsRandom.array::<12>());
        Self { id, text: text.into(), reply }
    }
}

/// See the module's page.
#[derive(Default)]
pub(super) struct Kept {
    /// In the order in which it was said.
    pub(super) unsaid: VecDeque<Unsaid>,
    seen: VecDeque<String>,
}

impl Kept {
    /// A message of the peer is here and acknowledged.
    pub(super) fn saw(&mut self, id: String) {
        if self.seen.len() >= SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(id);
    }

    /// Whether it is here already.
    pub(super) fn has_seen(&self, id: &str) -> bool {
        self.seen.iter().rev().any(|seen| seen == id)
    }

    /// There is no next connection.
    pub(super) fn give_up(&mut self, why: &str) {
        for Unsaid { reply, .. } in self.unsaid.drain(..) {
            let _ = reply.send(Err(UeError::Undelivered(why.to_owned())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut kept = Kept::default();
        for n in 0..SEEN + 10 {
            kept.saw(n.to_string());
        }
        assert!(!kept.has_seen("9") && kept.has_seen("10") && kept.has_seen(&(SEEN + 9).to_string()));
        assert_eq!(kept.seen.len(), SEEN);
    }

    #[tokio::test]
    async fn what_cannot_be_said_any_more_is_told() {
        let mut kept = Kept::default();
        let (reply, answer) = oneshot::channel();
        kept.unsaid.push_back(Unsaid::new("hello".into(), reply));
        kept.give_up("the connection broke");
        let told = answer.await.unwrap();
        assert!(matches!(told, Err(UeError::Undelivered(why)) if why == "the connection broke"));
    }
}
