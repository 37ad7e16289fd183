//! What must hold, and the counting it takes.
//!
//! * Sides agree: a context on a gateway belongs to a live call of the border that controls it, and a
//!   live call has its contexts.
//! * A transaction is executed at most once, and has one reply.
//! * No port, context, table entry or timer is left when all calls have ended.
//! * A call that a user started ends with an answer, on both sides.
//! * The loss of a gateway is told to its calls within the configured time.
//! * Messages have a bounded size and number.

use crate::phones::Phase;
use crate::setup::GATEWAYS;
use crate::trace::Node;
use crate::world::{Report, World};
use carnet_h248::{Message, ReplyBody, Transaction, TransactionId, TransactionRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Longest H.248 message, in octets: ten transactions with two terminations each, in long text.
const LONGEST: usize = 16_384;

/// How often one transaction may be sent: T-MAX of 25 s with waits that double up to 4 s, answered
/// Pending now and then.
const MOST_REPEATS: u32 = 40;

/// Messages of one node in a second that ask for something, repeats and heartbeats included. Answers are as
/// many as what they answer.
const MOST_PER_SECOND: usize = 400;

/// Transactions about one context, repeats not counted: Add, two Modifies for each of two answers, and
/// some Subtracts and audits while nodes fail.
const MOST_ABOUT_A_CONTEXT: usize = 60;

/// Users answer, refuse or give up within 20 s, and a lost datagram costs 32 s at most.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// LONG-TIMER.
const LONG: Duration = Duration::from_secs(30);

/// Something that must not be.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What.
    pub what: String,
    /// Words by which its history is found.
    pub needles: Vec<String>,
}

/// A transaction: gateway and its life, border and its life, number.
type Asked = (usize, u32, usize, u32, TransactionId);

/// Counts.
#[derive(Default)]
pub struct Books {
    /// Things that went wrong.
    pub faults: usize,
    messages: usize,
    violations: Vec<Violation>,
    story: String,
    sent: BTreeMap<(Node, Node, u32, TransactionId), u32>,
    replies: BTreeMap<Asked, (Instant, ReplyBody)>,
    about: BTreeMap<(Node, Node, u32), usize>,
    second: (u64, BTreeMap<Node, usize>),
}

impl World {
    /// Something must not be.
    pub fn violation(&mut self, what: String, needles: Vec<String>) {
        self.note(format!("VIOLATION {what}"));
        if self.books.violations.len() < 3 {
            let tail = self.trace.tail(&needles, 60);
            self.books.story.push_str(&format!("--- {what}\n{tail}\n"));
        }
        if self.books.violations.len() < 200 {
            self.books.violations.push(Violation { what, needles });
        }
    }

    /// Counts what is sent.
    pub fn count_sent(&mut self, from: Node, to: Node, message: &Message, octets: usize) {
        self.books.messages += 1;
        if octets > LONGEST {
            self.violation(format!("{from} sends {octets} octets"), Vec::new());
        }
        let life = match from {
            Node::Border(b) => self.borders[b].lives,
            Node::Gateway(g) => self.gateways[g].lives,
            _ => 0,
        };
        for transaction in message.transactions() {
            let Transaction::Request(request) = transaction else { continue };
            let key = (from, to, life, request.id);
            let count = self.books.sent.entry(key).or_default();
            *count += 1;
            if *count == 1 && matches!(from, Node::Border(_)) {
                self.count_about(from, to, request);
            }
            let count = self.books.sent[&key];
            if count == MOST_REPEATS + 1 {
                let text = format!("{from} sends transaction {} more than {MOST_REPEATS} times", request.id);
                self.violation(text, vec![format!("= {}", request.id)]);
            }
        }
        if !message.transactions().iter().any(|t| matches!(t, Transaction::Request(_))) {
            return;
        }
        let second = self.elapsed().as_secs();
        if self.books.second.0 != second {
            self.books.second = (second, BTreeMap::new());
        }
        let count = self.books.second.1.entry(from).or_default();
        *count += 1;
        if *count == MOST_PER_SECOND {
            self.violation(format!("{from} asks {MOST_PER_SECOND} times in a second"), Vec::new());
        }
    }

    /// A context is not talked about without end.
    fn count_about(&mut self, from: Node, to: Node, request: &TransactionRequest) {
        for id in request.actions.iter().filter_map(|a| a.context.id()) {
            let count = self.books.about.entry((from, to, id)).or_default();
            *count += 1;
            if *count == MOST_ABOUT_A_CONTEXT {
                let text = format!("{from} asks {to} {MOST_ABOUT_A_CONTEXT} times about context {id}");
                self.violation(text, vec![format!("Context = {id} ")]);
            }
        }
    }

    /// A transaction has one reply, however often it is asked for.
    pub fn check_replies(&mut self, gateway: usize, border: usize, message: &Message) {
        let lives = (self.gateways[gateway].lives, self.borders[border].lives);
        for transaction in message.transactions() {
            let Transaction::Reply(reply) = transaction else { continue };
            let key = (gateway, lives.0, border, lives.1, reply.id);
            match self.books.replies.get(&key) {
                Some((at, body)) if self.now < *at + LONG => {
                    // A gateway that left or lost its controller executes nothing.
                    let refused =
                        |body: &ReplyBody| matches!(body, ReplyBody::Error(e) if matches!(e.code, 503..=505));
                    if *body != reply.body && !refused(body) && !refused(&reply.body) {
                        let text = format!("gateway{gateway} answers transaction {} in two ways", reply.id);
                        self.violation(text, vec![format!("= {}", reply.id)]);
                    }
                }
                _ => {
                    self.books.replies.insert(key, (self.now, reply.body.clone()));
                }
            }
        }
    }

    /// Compares both sides while calls are up; how many were.
    pub fn compare(&mut self) -> usize {
        self.note("COMPARE".to_owned());
        let mut wanted = [const { BTreeSet::new() }; GATEWAYS];
        for border in 0..self.borders.len() {
            for (call, contexts) in self.borders[border].calls.clone() {
                for (gateway, context) in contexts {
                    if !self.context_exists(gateway, context) {
                        let text = format!("{call}: gateway{gateway} does not have its context {context}");
                        self.violation(text, vec![call.clone(), format!("Context = {context} ")]);
                    }
                    wanted[gateway].insert((context, border));
                }
            }
        }
        for (gateway, wanted) in wanted.iter().enumerate() {
            let Some(life) = &self.gateways[gateway].life else { continue };
            let controller = life.gateway.registration().controller().cloned();
            let held = life.engine.live();
            let count = life.gateway.contexts();
            if count != held.len() {
                let text = format!("gateway{gateway} has {count} contexts, its engine {}", held.len());
                self.violation(text, Vec::new());
            }
            let Some(controller) = controller else {
                self.violation(
                    format!("gateway{gateway} has no controller"),
                    vec![format!("gateway{gateway} ")],
                );
                continue;
            };
            let owner = (0..self.borders.len())
                .find(|b| carnet_h248::MId::domain(crate::world::border_name(*b)) == controller);
            for context in held {
                if !wanted.iter().any(|(c, border)| *c == context && Some(*border) == owner) {
                    let text = format!(
                        "context {context} on gateway{gateway} belongs to no live call of {controller}"
                    );
                    self.violation(
                        text,
                        vec![format!("Context = {context} "), format!("context: {context},")],
                    );
                }
            }
        }
        self.compare_users()
    }

    /// Calls that are up for both users have a border between them.
    fn compare_users(&mut self) -> usize {
        let mut up = 0;
        for number in 0..self.calls.len() {
            let call = &self.calls[number];
            let node = &self.borders[call.border];
            let same = node.lives == call.life && node.life.is_some();
            if same && call.caller.phase == Phase::Trying && self.now > call.began + ANSWERED_WITHIN {
                let id = call.id.clone();
                self.violation(format!("{id} has no answer"), vec![id]);
                continue;
            }
            if call.is_up() && self.borders[call.border].calls.contains_key(&call.id) {
                up += 1;
            }
        }
        for border in 0..self.borders.len() {
            for id in self.borders[border].calls.keys().cloned().collect::<Vec<_>>() {
                let known = self.calls.iter().find(|c| c.id == id);
                if known.is_some_and(|c| c.is_over()) {
                    self.violation(
                        format!("border{border} keeps {id}, which its users have ended"),
                        vec![id],
                    );
                }
            }
        }
        up
    }

    fn context_exists(&self, gateway: usize, context: u32) -> bool {
        self.gateways[gateway].life.as_ref().is_some_and(|l| l.engine.live().contains(&context))
    }

    /// All calls have ended: nothing is left.
    pub fn check_end(&mut self) {
        self.note("END".to_owned());
        for number in 0..self.calls.len() {
            let call = &self.calls[number];
            if !call.is_over() {
                let text = format!("{} hangs: {:?}, {:?}", call.id, call.caller.phase, call.callee.phase);
                self.violation(text, vec![call.id.clone()]);
            }
        }
        for gateway in 0..GATEWAYS {
            let Some(life) = &self.gateways[gateway].life else {
                self.violation(format!("gateway{gateway} is gone"), Vec::new());
                continue;
            };
            let (idle, full, out) = (life.gateway.is_idle(), life.engine.is_full(), life.engine.out());
            let (contexts, live) = (life.gateway.contexts(), life.engine.live());
            let needles: Vec<_> = live.iter().map(|c| format!("Context = {c} ")).collect();
            if !idle {
                self.violation(
                    format!("gateway{gateway} is not idle: {contexts} contexts {live:?}"),
                    needles,
                );
            }
            if !full {
                self.violation(
                    format!("gateway{gateway}: {out} ports are not back"),
                    vec![format!("gateway{gateway} ")],
                );
            }
        }
        for border in 0..self.borders.len() {
            let Some(machine) = &self.borders[border].life else {
                self.violation(format!("border{border} is gone"), Vec::new());
                continue;
            };
            let load = machine.load();
            let rest = [
                load.calls,
                load.live,
                load.subscriptions,
                load.forks,
                load.gateway_requests,
                load.requests,
                load.tokens,
                load.alarms,
            ];
            if rest.iter().any(|n| *n > 0) {
                let ids: Vec<_> = self.borders[border].calls.keys().cloned().collect();
                self.violation(format!("border{border} is not empty: {load:?} {ids:?}"), ids);
            }
        }
    }

    /// What the run came to.
    pub fn report(self, compared: usize) -> Report {
        let answered = self.calls.iter().filter(|c| c.was_answered()).count();
        let rewritten = self.calls.iter().filter(|c| c.was_answered() && !c.is_sealed()).count();
        Report {
            seed: self.setup.seed,
            calls: self.calls.len(),
            answered,
            rewritten,
            messages: self.books.messages,
            faults: self.books.faults,
            compared,
            fingerprint: self.trace.fingerprint(),
            violations: self.books.violations,
            story: self.books.story,
        }
    }
}
