//! How large a transaction is on the wire, and how much of a message it may fill (RFC 3525 §D.1).

use super::{Config, Transport};
use crate::binary::Unsayable;
use crate::encoding::Encoding;
use crate::model::{ActionRequest, Body, MId, Message, Transaction, TransactionId, TransactionRequest};
use crate::text::{self, Form};
use crate::tpkt;
use std::hash::Hasher as _;
use zeroize::Zeroizing;

/// A transaction and what it adds to a message.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) transaction: Transaction,
    pub(super) octets: usize,
}

/// More than any authentication header takes: `Authentication = 0x` and 8 digits, `:0x` and 8, `:0x` and 64.
const AUTHENTICATION: usize = 112;
/// Lengths in the binary encoding take up to two octets more on each level when transactions share a message.
pub(super) const SHARED: usize = 16;

/// Measures transactions as they will be written.
pub(super) struct Scale {
    pub(super) local: MId,
    pub(super) version: u8,
    /// None inside a process, where nothing is written.
    encoding: Option<Encoding>,
    header: usize,
    room: usize,
}

impl Scale {
    pub(super) fn new(config: &Config, local: MId, version: u8) -> Self {
        let most = match config.transport {
            Transport::Channel => usize::MAX,
            Transport::Datagram => config.limits.datagram.clamp(500, 65_507),
            Transport::Reliable => tpkt::LONGEST,
        };
        let encoding = Some(config.encoding).filter(|_| config.transport != Transport::Channel);
        let empty = Message::new(version, local.clone(), Vec::new());
        // A name of ours that cannot be said is found with the first transaction.
        let header = encoding.and_then(|e| e.print(&empty).ok()).map_or(0, |octets| octets.len());
        let added = if config.authenticated { AUTHENTICATION } else { 0 };
        Self { local, version, encoding, header, room: most.saturating_sub(header + added) }
    }

    /// Octets that the transactions of one message may take.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    pub(super) fn weigh(&self, transaction: Transaction) -> Result<Item, Unsayable> {
        let Some(encoding) = self.encoding else { return Ok(Item { transaction, octets: 0 }) };
        let mut message = Message::new(self.version, self.local.clone(), vec![transaction]);
        let octets = encoding.print(&message)?.len().saturating_sub(self.header);
        let transaction = match &mut message.body {
            Body::Transactions(list) => list.pop(),
            Body::Error(_) => None,
        };
        // What went in comes out.
        Ok(Item { transaction: transaction.unwrap_or(Transaction::Ack(Vec::new())), octets })
    }
}

/// What a request says, as one number: its repeats say the same.
pub(super) fn digest(id: TransactionId, actions: Vec<ActionRequest>) -> (Vec<ActionRequest>, u64) {
    let request = Transaction::Request(TransactionRequest { id, actions });
    let mut message = Message::new(3, MId::domain(""), vec![request]);
    let mut hasher = std::hash::DefaultHasher::new();
    // There may be keys in it.
    hasher.write(&Zeroizing::new(text::print(&message, Form::Short)));
    let actions = match &mut message.body {
        Body::Transactions(list) => list.pop(),
        Body::Error(_) => None,
    };
    let Some(Transaction::Request(request)) = actions else { return (Vec::new(), 0) };
    (request.actions, hasher.finish())
}
