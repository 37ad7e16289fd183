//! What is in some contexts, as a gateway tells it.
//!
//! A transaction ends with the first command that fails (RFC 3525 §8.2.2). Contexts go while the question is on its way;
//! the gateway then says of the first of them that it is gone, and nothing of those behind it. They are asked for again.

use super::question::{audit_of, context, in_words};
use carnet_h248::{ActionReply, ActionRequest, ErrorDescriptor, ReplyBody};
use serde_json::{Value, json};

/// H.248.8: there is no such context, or nothing is in it any more.
const GONE: [u16; 4] = [411, 430, 431, 435];

/// A page of an audit on its way.
#[derive(Debug)]
pub struct Look {
    /// Of what nothing was said yet.
    left: Vec<u32>,
    told: Vec<Value>,
    /// The context at which the next page begins.
    next: Option<u32>,
}

impl Look {
    /// Looks at these contexts; the next page begins with `next`.
    pub fn new(contexts: Vec<u32>, next: Option<u32>) -> Self {
        Self { left: contexts, told: Vec::new(), next }
    }

    /// What the gateway is to be asked now; nothing if all is said.
    pub fn question(&self) -> Option<Vec<ActionRequest>> {
        (!self.left.is_empty()).then(|| audit_of(&self.left))
    }

    /// Takes an answer. Each leaves less to ask.
    ///
    /// # Errors
    ///
    /// Why the gateway does not answer at all, in words.
    pub fn answered(&mut self, body: &ReplyBody) -> Result<(), String> {
        match body {
            ReplyBody::Actions(actions) if !actions.is_empty() => self.take(actions),
            ReplyBody::Actions(_) => self.left.clear(),
            // Some say it of the whole transaction: it was the first.
            ReplyBody::Error(error) if is_gone(error) => self.without_first(),
            ReplyBody::Error(error) => return Err(in_words(error)),
        }
        Ok(())
    }

    fn take(&mut self, actions: &[ActionReply]) {
        for action in actions {
            match (context(action), action.context.id(), failure(action)) {
                (Some(told), _, _) => self.told.push(told),
                (None, Some(id), Some(error)) if !is_gone(error) => {
                    self.told.push(json!({ "context": id, "terminations": [], "error": in_words(error) }));
                }
                _ => {}
            }
        }
        let last = actions.iter().rev().find_map(|action| action.context.id());
        let reached = last.and_then(|last| self.left.iter().position(|id| *id == last));
        match (actions.last().and_then(failure), reached) {
            (Some(_), Some(reached)) => drop(self.left.drain(..=reached)),
            (Some(error), None) if is_gone(error) => self.without_first(),
            // It has said all that it has to say.
            _ => self.left.clear(),
        }
    }

    fn without_first(&mut self) {
        self.left.drain(..1.min(self.left.len()));
    }

    /// `{"contexts": […], "next": number or null}`. Contexts that went meanwhile are left out.
    pub fn told(&mut self) -> Value {
        json!({ "contexts": std::mem::take(&mut self.told), "next": self.next })
    }
}

fn is_gone(error: &ErrorDescriptor) -> bool {
    GONE.contains(&error.code)
}

/// Why nothing more was done for a context.
fn failure(action: &ActionReply) -> Option<&ErrorDescriptor> {
    action.error.as_ref().or_else(|| action.commands.iter().find_map(|reply| reply.error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_gateway::media::{Command, Event, Statistics};
    use carnet_gateway::{Config, Gateway};
    use carnet_h248::association::{self, Transport};
    use carnet_h248::text::{Limits, parse};
    use carnet_h248::{MId, Transaction, registration};
    use carnet_wire::SeededRandom;
    use std::time::{Duration, Instant, SystemTime};

    fn body(text: &str) -> ReplyBody {
        let text = format!("MEGACO/3 <g> Reply = 1 {{ {text} }}");
        let message = parse(text.as_bytes(), &Limits::default()).unwrap();
        let Some(Transaction::Reply(reply)) = message.transactions().first() else { panic!("{text}") };
        reply.body.clone()
    }

    fn asked(look: &Look) -> Vec<u32> {
        let actions = look.question().unwrap_or_default();
        actions.iter().filter_map(|action| action.context.id()).collect()
    }

    fn contexts(look: &mut Look) -> Vec<u64> {
        let told = look.told();
        let list = told["contexts"].as_array().unwrap();
        list.iter().filter_map(|context| context["context"].as_u64()).collect()
    }

    fn there(id: u32) -> String {
        format!(
            "Context = {id} {{ AuditValue = ip/{id} {{ Statistics {{ nt/os = 1, nt/or = 2, nt/dur = 3 }} }} }}"
        )
    }

    /// A gateway at a controller that takes it; its engine lets go of a pinhole only when it is told to.
    struct Rig {
        gateway: Gateway,
        now: Instant,
        leaving: Vec<Event>,
    }

    impl Rig {
        fn new() -> Self {
            let association = association::Config::new(Transport::Reliable);
            let controller = MId::domain("alg.example");
            let mut registration =
                registration::Config::new(MId::domain("agw.example"), vec![controller], association);
            registration.longest_wait = Duration::ZERO;
            let (now, config) = (Instant::now(), Config::new(registration));
            let gateway = Gateway::new(config, &mut SeededRandom::new(1), now, SystemTime::UNIX_EPOCH);
            let mut rig = Self { gateway, now, leaving: Vec::new() };
            rig.gateway.start(now, 901);
            rig.gateway.handle_timeout(now);
            let (_, message) = rig.gateway.poll_transmit().unwrap();
            let [Transaction::Request(request)] = message.transactions() else { panic!("{message:?}") };
            rig.say(&format!("Reply = {} {{ Context = - {{ ServiceChange = ROOT }} }}", request.id));
            assert!(rig.gateway.registration().is_registered());
            rig
        }

        fn say(&mut self, text: &str) {
            let text = format!("MEGACO/3 <alg.example> {text}");
            let message = parse(text.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(self.gateway.handle_message(self.now, message), None, "{text}");
            self.settle();
        }

        fn settle(&mut self) {
            while self.gateway.poll_transmit().is_some() {}
            while let Some(command) = self.gateway.poll_command() {
                let (local, statistics) = (([192, 0, 2, 1], 30_000).into(), Statistics::default());
                match command {
                    Command::Reserve { pinhole, .. } => {
                        let event = Event::Bound { pinhole, local, fingerprint: None };
                        self.gateway.handle_media(self.now, event);
                    }
                    Command::Measure { pinhole } => {
                        self.gateway.handle_media(self.now, Event::Measured { pinhole, statistics });
                    }
                    Command::Release { pinhole } => {
                        self.leaving.push(Event::Released { pinhole, statistics });
                    }
                    _ => {}
                }
            }
        }

        /// The answer to an audit, if it is there.
        fn audited(&mut self) -> Option<ReplyBody> {
            std::iter::from_fn(|| self.gateway.poll_event()).find_map(|event| match event {
                carnet_gateway::Event::Audited { body, .. } => Some(body),
                _ => None,
            })
        }
    }

    /// Three contexts, of which the first is on its way out when it is asked for all three.
    #[test]
    fn a_call_that_ends_hides_no_other() {
        let mut rig = Rig::new();
        for number in 1..=3 {
            rig.say(&format!(
                "Transaction = {number} {{ Context = $ {{ Add = ip/1/access/$ {{ Media {{ Stream = 1 {{ \
                 LocalControl {{ Mode = SendReceive }}, Local {{\nv=0\nc=IN IP4 $\nm=- $ TCP -\n}} }} }} }} }} }}"
            ));
        }
        let held: Vec<u32> = rig.gateway.context_ids(0).collect();
        assert_eq!(held.len(), 3);
        rig.say(&format!("Transaction = 4 {{ Context = {} {{ Subtract = * }} }}", held[0]));
        let all: Vec<u32> = rig.gateway.context_ids(0).collect();
        assert_eq!((&all, rig.leaving.len()), (&held, 1), "it is still there");

        let mut look = Look::new(all, None);
        rig.gateway.audit(rig.now, 1, look.question().unwrap()).unwrap();
        rig.settle();
        assert!(rig.audited().is_none(), "it waits for what ends");
        for event in std::mem::take(&mut rig.leaving) {
            rig.gateway.handle_media(rig.now, event);
        }
        rig.settle();
        look.answered(&rig.audited().unwrap()).unwrap();
        while let Some(actions) = look.question() {
            rig.gateway.audit(rig.now, 1, actions).unwrap();
            rig.settle();
            look.answered(&rig.audited().unwrap()).unwrap();
        }
        let held: Vec<u64> = held.into_iter().skip(1).map(u64::from).collect();
        assert_eq!(contexts(&mut look), held);
    }

    #[test]
    fn behind_a_context_that_is_gone_is_looked_again() {
        for gone in [
            "Context = 2 { Error = 411 { } }",
            "Context = 2 { AuditValue = * { Error = 431 { } } }",
            "Context = 2 { AuditValue = * { Error = 430 { } } }",
        ] {
            let mut look = Look::new(vec![1, 2, 3, 4], Some(5));
            look.answered(&body(&format!("{}, {gone}", there(1)))).unwrap();
            assert_eq!(asked(&look), [3, 4], "{gone}");
            look.answered(&body(&format!("{}, {}", there(3), there(4)))).unwrap();
            assert!(look.question().is_none(), "{look:?}");
            assert_eq!(contexts(&mut look), [1, 3, 4], "{gone}");
        }
        // The last, and all of them.
        let mut look = Look::new(vec![7], None);
        look.answered(&body("Context = 7 { Error = 411 { } }")).unwrap();
        assert!(look.question().is_none() && contexts(&mut look).is_empty());
        // Of the whole transaction.
        let mut look = Look::new(vec![7, 8], None);
        look.answered(&body("Error = 411 { }")).unwrap();
        assert_eq!(asked(&look), [8]);
    }

    #[test]
    fn what_is_refused_is_told_and_ends_nothing() {
        let mut look = Look::new(vec![1, 2], None);
        look.answered(&body("Context = 1 { AuditValue = * { Error = 533 { \"too big\" } } }")).unwrap();
        assert_eq!(asked(&look), [2]);
        look.answered(&body(&there(2))).unwrap();
        let told = look.told();
        assert_eq!(told["contexts"][0]["error"], "H.248 error 533: too big", "{told}");
        assert_eq!(told["contexts"][1]["context"], 2, "{told}");
        // All at once.
        let mut look = Look::new(vec![1, 2], None);
        assert_eq!(look.answered(&body("Error = 511 { \"busy\" }")).unwrap_err(), "H.248 error 511: busy");
    }

    #[test]
    fn a_gateway_that_answers_oddly_is_not_asked_for_ever() {
        for odd in [
            "Context = 9 { AuditValue = ip/9 }",
            "Context = 9 { Error = 411 { } }",
            "Context = 9 { Error = 500 { } }",
            "Context = - { Error = 411 { } }",
            "Context = 2 { AuditValue = ip/2 }, Context = 1 { Error = 411 { } }",
        ] {
            let mut look = Look::new(vec![1, 2, 3], None);
            for left in (0..3).rev() {
                look.answered(&body(odd)).unwrap();
                assert!(asked(&look).len() <= left, "{odd}: {look:?}");
            }
        }
    }
}
