//! Signs of life: whether every role of the process still does its work. systemd is to hear of it (`carnet run`), and starts
//! a process again that nothing comes from any more.
//!
//! Each role is asked by the way administrators ask it, which ends in the loop that does its work; a gateway or relay
//! knocks at its threads too. So a role that waits for something that never comes, or a thread that is lost in a loop, gives none.

use super::answering::{Answering, NoAnswer, ask};
use super::question::{Ask, Questions};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// The roles, as one who wants to know whether they live.
#[derive(Clone)]
pub struct Life(pub(super) Arc<Answering>);

/// Roles that gave no sign, and why it is said of them.
#[derive(Debug)]
pub struct Stuck(Vec<(String, String)>);

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (role, why)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{role}: {why}")?;
        }
        Ok(())
    }
}

impl Life {
    /// Asks all at once; each has so much time.
    ///
    /// # Errors
    /// Those that did not answer. A role that has ended is not among them: that has its own consequence.
    pub async fn signs(&self, within: Duration) -> Result<(), Stuck> {
        let until = Instant::now() + within;
        let asked: Vec<_> = self.0.everybody().map(|(role, to)| (role, ask(to, Ask::Alive))).collect();
        let mut stuck = Vec::new();
        for (role, answer) in asked {
            match answer.until(until).await {
                Ok(Ok(_)) | Err(NoAnswer::Stopped) => {}
                Ok(Err(why)) => stuck.push((role, why)),
                Err(other) => stuck.push((role, other.to_string())),
            }
        }
        if stuck.is_empty() { Ok(()) } else { Err(Stuck(stuck)) }
    }
}

/// Answers for the key management service, as long as it is there.
pub(super) async fn of_kms(service: Weak<crate::kms::Service>, mut questions: Questions) {
    while let Some(question) = questions.recv().await {
        let Some(service) = service.upgrade() else { return };
        // It has rules and their lock in common with all who ask it for tickets.
        let looked = tokio::task::spawn_blocking(move || service.has_a_key()).await;
        let answer = match looked {
            Ok(true) => Ok(serde_json::Value::Null),
            _ => Err("it has no key for tickets".to_owned()),
        };
        // One who has stopped waiting needs no answer.
        let _ = question.answer.send(answer);
    }
}
