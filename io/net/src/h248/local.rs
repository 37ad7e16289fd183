//! Controller and gateway in one process: messages pass as values through bounded channels.

use super::shared::{Shared, Way};
use super::{ControlEvent, ControlPeer};
use carnet_h248::Message;
use std::sync::Arc;
use tokio::sync::mpsc;

/// One end of an association inside the process; give it to
/// [`ControlSockets::attach`](super::ControlSockets::attach), or use it as it is where there is no other way to
/// a controller or gateway.
#[derive(Debug)]
pub struct LocalEnd {
    /// Who is at the other end, for who watches.
    peer: Option<Arc<str>>,
    sender: mpsc::Sender<Message>,
    receiver: mpsc::Receiver<Message>,
}

impl LocalEnd {
    /// Says who is at the other end.
    #[must_use]
    pub fn towards(self, peer: &str) -> Self {
        Self { peer: Some(peer.into()), ..self }
    }

    /// Hands a message over; waits while there is no room. Whether the other end is still there.
    pub async fn send(&self, message: Message) -> bool {
        self.sender.send(message).await.is_ok()
    }

    /// The next message; none ever again when the other end is gone.
    pub async fn receive(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }

    /// The next message, if there is one already.
    pub fn try_receive(&mut self) -> Option<Message> {
        self.receiver.try_recv().ok()
    }
}

/// The two ends of an association, with room for `messages` each way.
pub fn local_pair(messages: usize) -> (LocalEnd, LocalEnd) {
    let (to_b, from_a) = mpsc::channel(messages);
    let (to_a, from_b) = mpsc::channel(messages);
    let end = |sender, receiver| LocalEnd { peer: None, sender, receiver };
    (end(to_b, from_b), end(to_a, from_a))
}

pub(super) fn attach(shared: &Arc<Shared>, end: LocalEnd) -> ControlPeer {
    let LocalEnd { peer, sender, mut receiver } = end;
    let (id, mut held) = shared.enter(Way::Local(sender, peer));
    let peer = ControlPeer::Local(id);
    let shared = shared.clone();
    tokio::spawn(async move {
        let carry = async {
            while let Some(message) = receiver.recv().await {
                if shared.events.send(ControlEvent::Message { peer, message }).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = carry => {}
            _ = held.changed() => {}
            () = shared.stopped() => {}
        }
        shared.retire(id);
        drop(receiver);
        let _ = shared.events.send(ControlEvent::Closed { peer }).await;
    });
    peer
}
