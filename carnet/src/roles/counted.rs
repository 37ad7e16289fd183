//! What one end of control associations says and hears, counted: requests by command, answers, how long they took, what had to
//! be said again. The same for who controls and for who is controlled.
//!
//! A role has its own and tells what it counts as it happens; nothing is shared between threads here.

use super::{Observer, Seen};
use carnet_h248::{MId, Message, ReplyBody, Transaction, Verb};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Requests without an answer that are remembered, at most.
const MOST: usize = 8_192;
/// Requests of others that are known when they come again.
const LAST_HEARD: usize = 1_024;
/// A request that has no answer by then gets none.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something about a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A command was asked for, `sent` by us.
    Asked {
        /// We asked.
        sent: bool,
        /// As H.248 names it.
        command: &'static str,
    },
    /// A request was said again.
    Again {
        /// It was ours: nothing came. Else our answer has not arrived.
        sent: bool,
    },
    /// A request was answered.
    Answered {
        /// We answered.
        sent: bool,
        /// H.248 error code, the first if there are several; 0 if all was done.
        code: u16,
        /// From the first time it was asked, where we asked.
        took: Option<Duration>,
    },
}

/// A transaction: who is at the other end, and the number on the wire.
type Key = (String, u32);

/// One end.
pub struct Counted {
    role: &'static str,
    node: String,
    observer: Observer,
    /// Requests of ours without an answer: when they went out first.
    waiting: HashMap<Key, Instant>,
    /// Requests of others: those heard last, the oldest first.
    heard: (HashSet<Key>, VecDeque<Key>),
}

impl Counted {
    /// Of a role's node.
    pub fn new(role: &'static str, node: &str, observer: Observer) -> Self {
        Self { role, node: node.to_owned(), observer, waiting: HashMap::new(), heard: Default::default() }
    }

    /// A message goes to `peer`.
    pub fn sent(&mut self, now: Instant, peer: &str, message: &Message) {
        for transaction in message.transactions() {
            match transaction {
                Transaction::Request(request) => {
                    let key = (peer.to_owned(), request.id.0);
                    if self.waiting.contains_key(&key) {
                        self.say(peer, Said::Again { sent: true });
                        continue;
                    }
                    if self.waiting.len() >= MOST {
                        self.waiting.retain(|_, since| now.saturating_duration_since(*since) < PATIENCE);
                    }
                    if self.waiting.len() < MOST {
                        self.waiting.insert(key, now);
                    }
                    self.asked(peer, true, transaction);
                }
                Transaction::Reply(reply) => {
                    self.say(peer, Said::Answered { sent: true, code: code(&reply.body), took: None });
                }
                _ => {}
            }
        }
    }

    /// A message came from `peer`.
    pub fn heard(&mut self, now: Instant, peer: &str, message: &Message) {
        for transaction in message.transactions() {
            match transaction {
                Transaction::Request(request) => {
                    if self.is_known((peer.to_owned(), request.id.0)) {
                        self.say(peer, Said::Again { sent: false });
                    } else {
                        self.asked(peer, false, transaction);
                    }
                }
                Transaction::Reply(reply) => {
                    // An answer that comes again is none.
                    let Some(since) = self.waiting.remove(&(peer.to_owned(), reply.id.0)) else { continue };
                    let took = Some(now.saturating_duration_since(since));
                    self.say(peer, Said::Answered { sent: false, code: code(&reply.body), took });
                }
                _ => {}
            }
        }
    }

    /// Whether a request was heard before; it has been from now on.
    fn is_known(&mut self, key: Key) -> bool {
        let (known, order) = &mut self.heard;
        if !known.insert(key.clone()) {
            return true;
        }
        order.push_back(key);
        if order.len() > LAST_HEARD
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        false
    }

    fn asked(&self, peer: &str, sent: bool, transaction: &Transaction) {
        let Transaction::Request(request) = transaction else { return };
        for command in request.actions.iter().flat_map(|action| &action.commands) {
            self.say(peer, Said::Asked { sent, command: name(command.verb) });
        }
    }

    fn say(&self, peer: &str, said: Said) {
        (self.observer)(Seen::Counted { role: self.role, node: &self.node, peer, said });
    }
}

/// A controller's name as the file has it: `border-a`, and not `<border-a>`.
pub fn plain(mid: &MId) -> String {
    mid.to_string().trim_matches(['<', '>']).to_owned()
}

fn code(body: &ReplyBody) -> u16 {
    body.first_error().map_or(0, |error| error.code)
}

fn name(verb: Verb) -> &'static str {
    match verb {
        Verb::Add => "Add",
        Verb::Move => "Move",
        Verb::Modify => "Modify",
        Verb::Subtract => "Subtract",
        Verb::AuditCapability => "AuditCapability",
        Verb::AuditValue => "AuditValue",
        Verb::Notify => "Notify",
        Verb::ServiceChange => "ServiceChange",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::text::{self, Limits};
    use std::sync::{Arc, Mutex};

    #[test]
    fn what_is_asked_and_answered_is_counted() {
        let told: Arc<Mutex<Vec<(String, Said)>>> = Arc::default();
        let seen = told.clone();
        let observer: Observer = Arc::new(move |event| {
            if let Seen::Counted { peer, said, .. } = event {
                seen.lock().unwrap().push((peer.to_owned(), said));
            }
        });
        let mut counted = Counted::new("border", "b", observer);
        let read = |octets: &[u8]| text::parse(octets, &Limits::default()).unwrap();
        let now = Instant::now();
        let request = read(b"MEGACO/3 <b> Transaction=7{Context=${Add=$,Add=$}}");
        counted.sent(now, "g", &request);
        counted.sent(now + Duration::from_millis(20), "g", &request);
        let reply = read(b"MEGACO/3 <g> Reply=7{Context=1{Add=ip/1,Error=510{\"no\"}}}");
        let later = now + Duration::from_millis(50);
        counted.heard(later, "g", &reply);
        // Once is enough, and somebody else's is not ours.
        counted.heard(later, "g", &reply);
        counted.heard(later, "h", &reply);
        for _ in 0..2 {
            counted.heard(later, "g", &read(b"MEGACO/3 <g> Transaction=9{Context=1{Subtract=ip/1}}"));
        }
        let add = Said::Asked { sent: true, command: "Add" };
        let answer = Said::Answered { sent: false, code: 510, took: Some(Duration::from_millis(50)) };
        let subtract = Said::Asked { sent: false, command: "Subtract" };
        let wanted = [add, add, Said::Again { sent: true }, answer, subtract, Said::Again { sent: false }];
        let told = told.lock().unwrap();
        assert_eq!(told.iter().map(|(_, said)| *said).collect::<Vec<_>>(), wanted);
        assert!(told.iter().all(|(peer, _)| peer == "g"));
    }

    #[test]
    fn controllers_are_called_what_the_file_calls_them() {
        assert_eq!(plain(&MId::domain("border-a")), "border-a");
    }

    #[test]
    fn what_is_never_answered_does_not_fill_the_memory() {
        let mut counted = Counted::new("border", "b", Arc::new(|_| {}));
        let now = Instant::now();
        for id in 1..=2 * MOST {
            let text = format!("MEGACO/3 <b> Transaction={id}{{Context=-{{AuditValue=ROOT{{Audit{{}}}}}}}}");
            counted.sent(now, "g", &text::parse(text.as_bytes(), &Limits::default()).unwrap());
        }
        assert_eq!(counted.waiting.len(), MOST);
        for id in 1..=2 * u32::try_from(LAST_HEARD).unwrap() {
            assert!(!counted.is_known(("g".to_owned(), id)));
        }
        assert_eq!((counted.heard.0.len(), counted.heard.1.len()), (LAST_HEARD, LAST_HEARD));
        let text = b"MEGACO/3 <b> Transaction=99999{Context=-{AuditValue=ROOT{Audit{}}}}";
        counted.sent(now + PATIENCE, "g", &text::parse(text, &Limits::default()).unwrap());
        assert_eq!(counted.waiting.len(), 1);
    }
}
