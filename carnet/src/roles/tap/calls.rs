//! Which call a message of H.248 is of, for who is told of messages one by one. H.248 has no Call-ID: borders and steerings say
//! which of their calls a context or a transaction of a gateway is for, as a rule a moment after the message.
//!
//! What is remembered is bounded; the oldest makes room. Left out: conference servers, whose contexts are rooms'.

use crate::roles::Seen;
use carnet_border::Event as Border;
use carnet_h248::{ActionReply, Body, ContextId, MId, Message, ReplyBody, Transaction};
use carnet_net::h248::ControlPassed;
use carnet_steering::Event as Steering;
use carnet_trace::{Peer, Telling};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Contexts, transactions and peers that are remembered.
const CONTEXTS: usize = 65_536;
const TRANSACTIONS: usize = 8_192;
const PEERS: usize = 4_096;

/// By gateway and number.
type Key = (Arc<str>, u32);

/// What is known.
pub(super) struct Calls {
    known: Mutex<Known>,
}

struct Known {
    contexts: Recent<Key>,
    transactions: Recent<Key>,
    /// Gateways on other hosts, by where they speak from.
    gateways: Recent<SocketAddr>,
}

/// What ties a message to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ties {
    gateway: Option<Arc<str>>,
    transactions: Vec<u32>,
    contexts: Vec<u32>,
    /// It is about a context, be it one that has no number yet.
    pub of_a_call: bool,
}

impl Default for Calls {
    fn default() -> Self {
        let (contexts, transactions) = (Recent::new(CONTEXTS), Recent::new(TRANSACTIONS));
        let known = Mutex::new(Known { contexts, transactions, gateways: Recent::new(PEERS) });
        Self { known }
    }
}

impl Calls {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a role says of its calls.
    pub fn learn(&self, seen: &Seen<'_>) {
        match seen {
            Seen::Border { event: Border::MediaReserved { call_id, gateway, context, .. }, .. } => {
                self.known().contexts.put((Arc::from(&**gateway), *context), Arc::from(call_id.as_str()));
            }
            Seen::Border { event: Border::GatewayAnswered { call_id, gateway, transaction, .. }, .. }
                if !call_id.is_empty() =>
            {
                let key = (Arc::from(&**gateway), *transaction);
                self.known().transactions.put(key, Arc::from(call_id.as_str()));
            }
            Seen::Steering { gateway, event: Steering::MediaReserved { call_id, context, .. } } => {
                self.known().contexts.put((Arc::from(*gateway), *context), Arc::from(call_id.as_str()));
            }
            _ => {}
        }
    }

    /// Takes who speaks from an address.
    pub fn heard(&self, passed: &ControlPassed<'_>) {
        if let (false, Some(address), MId::Domain { name, .. }) =
            (passed.sent, passed.peer.address(), &passed.message.mid)
        {
            self.known().gateways.put(address, Arc::from(name.to_string()));
        }
    }

    /// What ties a message to a call.
    pub fn ties(&self, telling: &Telling, peer: &Peer, message: &Message) -> Ties {
        let gateway = match peer {
            _ if telling.node.is_gateway() => Some(Arc::from(telling.node.name.as_str())),
            Peer::Node(node) => Some(Arc::from(node.name.as_str())),
            Peer::Address(address) => self.known().gateways.get(address),
        };
        let mut ties = Ties { gateway, transactions: Vec::new(), contexts: Vec::new(), of_a_call: false };
        let Body::Transactions(transactions) = &message.body else { return ties };
        for transaction in transactions {
            match transaction {
                Transaction::Request(request) => {
                    ties.transactions.push(request.id.0);
                    request.actions.iter().for_each(|action| ties.context(action.context));
                }
                Transaction::Reply(reply) => {
                    ties.transactions.push(reply.id.0);
                    match &reply.body {
                        ReplyBody::Error(_) => ties.of_a_call = true,
                        ReplyBody::Actions(actions) => {
                            actions.iter().for_each(|ActionReply { context, .. }| ties.context(*context));
                        }
                    }
                }
                Transaction::Pending(id) => {
                    ties.transactions.push(id.0);
                    ties.of_a_call = true;
                }
                Transaction::Ack(_) | Transaction::Segment(_) => {}
            }
        }
        ties
    }

    /// The Call-ID, if it is known by now.
    pub fn call_of(&self, ties: &Ties) -> Option<Arc<str>> {
        let gateway = ties.gateway.as_ref()?;
        let mut known = self.known();
        let of = |table: &Recent<Key>, number: &u32| table.get(&(gateway.clone(), *number));
        let by_context = ties.contexts.iter().find_map(|context| of(&known.contexts, context));
        let call =
            by_context.or_else(|| ties.transactions.iter().find_map(|id| of(&known.transactions, id)))?;
        // What made a context is of the call too.
        if let [transaction] = ties.transactions.as_slice() {
            known.transactions.put((gateway.clone(), *transaction), call.clone());
        }
        Some(call)
    }
}

impl Ties {
    fn context(&mut self, context: ContextId) {
        match context {
            ContextId::Id(id) => {
                self.contexts.push(id);
                self.of_a_call = true;
            }
            ContextId::Choose => self.of_a_call = true,
            _ => {}
        }
    }
}

/// The last ones that were put in.
struct Recent<K> {
    most: usize,
    next: u64,
    values: HashMap<K, (u64, Arc<str>)>,
    order: VecDeque<(u64, K)>,
}

impl<K: Hash + Eq + Clone> Recent<K> {
    fn new(most: usize) -> Self {
        Self { most, next: 0, values: HashMap::new(), order: VecDeque::new() }
    }

    fn get(&self, key: &K) -> Option<Arc<str>> {
        self.values.get(key).map(|(_, value)| value.clone())
    }

    fn put(&mut self, key: K, value: Arc<str>) {
        if self.values.get(&key).is_some_and(|(_, known)| *known == value) {
            return;
        }
        self.next += 1;
        self.values.insert(key.clone(), (self.next, value));
        self.order.push_back((self.next, key));
        while self.order.len() > self.most {
            if let Some((number, key)) = self.order.pop_front()
                && self.values.get(&key).is_some_and(|(known, _)| *known == number)
            {
                self.values.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_what_came_again_is_not() {
        let mut recent = Recent::new(3);
        for (key, value) in [(1, "a"), (2, "b"), (1, "c"), (3, "d")] {
            recent.put(key, Arc::from(value));
        }
        assert_eq!(recent.get(&1).as_deref(), Some("c"));
        recent.put(4, Arc::from("e"));
        assert_eq!((recent.get(&2), recent.get(&1).as_deref()), (None, Some("c")));
        for n in 0..1_000 {
            recent.put(n % 7, Arc::from(n.to_string()));
        }
        assert!(recent.values.len() <= 3 && recent.order.len() <= 3);
    }
}
