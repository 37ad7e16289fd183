//! Ending in order: stop taking new work, finish what runs, give up at a deadline.
//!
//! ```text
//!  signal ─▶ Drain::start(deadline) ─▶ every Token::started() ─▶ tokens drop ─▶ Drain::finished()
//! ```

use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// The end that starts draining and waits for it.
#[derive(Debug)]
pub struct Drain {
    deadline: watch::Sender<Option<Instant>>,
    held: mpsc::Receiver<()>,
}

/// Held by everything that must be allowed to finish. Dropping it says "finished".
#[derive(Debug, Clone)]
pub struct Token {
    deadline: watch::Receiver<Option<Instant>>,
    _held: mpsc::Sender<()>,
}

/// A new pair. Clone the token for each task; drop the first one when all have theirs.
pub fn drain() -> (Drain, Token) {
    let (deadline, watched) = watch::channel(None);
    let (hold, held) = mpsc::channel(1);
    (Drain { deadline, held }, Token { deadline: watched, _held: hold })
}

impl Drain {
    /// Asks everybody to finish within `grace`. A second call moves the deadline.
    pub fn start(&self, grace: Duration) {
        self.deadline.send_replace(Some(Instant::now() + grace));
    }

    /// Waits until all tokens are dropped or the deadline has passed; whether it was the former.
    /// Without [`start`](Self::start) it waits for the tokens alone.
    pub async fn finished(mut self) -> bool {
        let deadline = *self.deadline.borrow();
        let all = async { while self.held.recv().await.is_some() {} };
        match deadline {
            None => {
                all.await;
                true
            }
            Some(deadline) => tokio::time::timeout_at(deadline, all).await.is_ok(),
        }
    }
}

impl Token {
    /// Waits for draining to start; the time at which it is over. If the [`Drain`] is gone, that
    /// time is now.
    pub async fn started(&mut self) -> Instant {
        match self.deadline.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_else(Instant::now),
            Err(_) => Instant::now(),
        }
    }

    /// Whether draining has started: take no new work.
    pub fn is_draining(&self) -> bool {
        self.deadline.borrow().is_some() || self.deadline.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_last_token() {
        let (drain, token) = drain();
        let mut worker = token.clone();
        drop(token);
        assert!(!worker.is_draining());
        let task = tokio::spawn(async move {
            let deadline = worker.started().await;
            assert!(worker.is_draining() && deadline > Instant::now());
        });
        drain.start(Duration::from_secs(60));
        assert!(drain.finished().await);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn gives_up_at_the_deadline() {
        let (drain, token) = drain();
        drain.start(Duration::from_millis(20));
        assert!(!drain.finished().await);
        drop(token);
    }

    #[tokio::test]
    async fn a_lost_drain_is_a_drain() {
        let (drain, mut token) = drain();
        drop(drain);
        token.started().await;
        assert!(token.is_draining());
    }
}
