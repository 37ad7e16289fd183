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
    sender: mpsc::Sender<Message>,
    receiver: mpsc::Receiver<Message>,
}

impl LocalEnd {
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
    (LocalEnd { sender: to_b, receiver: from_b }, LocalEnd { sender: to_a, receiver: from_a })
}

pub(super) fn attach(shared: &Arc<Shared>, end: LocalEnd) -> ControlPeer {
    let LocalEnd { sender, mut receiver } = end;
    let (id, mut held) = shared.enter(Way::Local(sender));
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
