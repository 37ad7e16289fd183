//! Tests of the transaction layer: what two associations and a bad network have in common.

mod handshake;
mod lossy;
mod overload;
mod repeats;
mod restart;
mod segmented;
mod sizes;

use super::*;
use crate::encoding;
use crate::model::{
    ActionReply, ActionRequest, Audit, Command, CommandReply, ContextId, ServiceChange, TerminationId,
    TransactionReply, TransactionRequest, Verb,
};
use crate::text::{Form, Limits as TextLimits};
use std::collections::{BTreeMap, HashMap};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A question that the answer can be compared with: `mark` is its context.
fn ask(mark: u32) -> Vec<ActionRequest> {
    let command = Command::audit_value(TerminationId::ROOT, Audit::default());
    vec![ActionRequest::new(context(mark), vec![command])]
}

fn context(mark: u32) -> ContextId {
    if mark == 0 { ContextId::Null } else { ContextId::Id(mark) }
}

/// Its answer, with `commands` results of `filler` octets each.
fn done(mark: u32, commands: usize, filler: usize) -> ReplyBody {
    let error = ErrorDescriptor::new(600, "x".repeat(filler));
    let result = |_| CommandReply::new(Verb::AuditValue, TerminationId::ROOT).with(error.clone());
    ReplyBody::Actions(vec![ActionReply::new(context(mark), (0..commands).map(result).collect())])
}

fn mark_of(actions: &[ActionRequest]) -> u32 {
    match actions.first().map(|a| a.context) {
        Some(ContextId::Id(mark)) => mark,
        _ => 0,
    }
}

fn request(id: u32, mark: u32) -> Transaction {
    Transaction::Request(TransactionRequest { id: TransactionId(id), actions: ask(mark) })
}

fn reply(id: u32, mark: u32) -> Transaction {
    Transaction::Reply(TransactionReply::new(TransactionId(id), done(mark, 1, 0)))
}

fn ack(first: u32, last: u32) -> Transaction {
    Transaction::Ack(vec![crate::AckRange { first: TransactionId(first), last: TransactionId(last) }])
}

/// A start: ServiceChange Restart on ROOT with that reason; `time` tells starts apart.
fn start(reason: u16, time: u32) -> Vec<ActionRequest> {
    let timestamp = Some(crate::TimeStamp { date: 20_260_301, time });
    let parameters = ServiceChange { timestamp, ..ServiceChange::new(crate::Method::Restart, reason) };
    vec![ActionRequest::new(ContextId::Null, vec![Command::service_change(TerminationId::ROOT, parameters)])]
}

/// A message of the other side.
fn message(transactions: Vec<Transaction>) -> Message {
    Message::new(3, MId::domain("y.example"), transactions)
}

fn association(transport: Transport, seed: u64) -> Association {
    of(Config::new(transport), seed)
}

fn of(config: Config, seed: u64) -> Association {
    Association::new(config, MId::domain("x.example"), &mut SeededRandom::new(seed))
}

/// Everything that is ready to be sent.
fn sent(end: &mut Association) -> Vec<Transaction> {
    std::iter::from_fn(|| end.poll_transmit()).flat_map(|m| m.transactions().to_vec()).collect()
}

fn events(end: &mut Association) -> Vec<Event> {
    std::iter::from_fn(|| end.poll_event()).collect()
}

/// Nothing is held any more.
fn assert_empty(end: &Association) {
    assert_eq!((end.outstanding(), end.outgoing.held()), (0, 0));
    assert_eq!((end.incoming.remembered(), end.incoming.executing()), (0, 0));
    assert_eq!((end.alarms.len(), end.poll_timeout()), (0, None));
    assert_eq!(end.transmit.len(), 0);
}

/// Two ends, the messages between them and a clock that jumps from one thing to the next. Messages
/// travel as octets, and none may be larger than the limit of its sender.
struct Network {
    ends: [Association; 2],
    flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    now: Instant,
    rng: SeededRandom,
    sent: u64,
    /// Messages of a hundred that are lost, and that come twice.
    loss: u32,
    doubled: u32,
    /// The least and the most that one takes.
    delay: (Duration, Duration),
}

impl Network {
    fn new(transport: Transport, seed: u64) -> Self {
        Self::of(Config::new(transport), seed)
    }

    fn of(config: Config, seed: u64) -> Self {
        Self {
            ends: [of(config.clone(), seed), of(config, seed + 1)],
            flying: BTreeMap::new(),
            now: Instant::now(),
            rng: SeededRandom::new(seed ^ 77),
            sent: 0,
            loss: 0,
            doubled: 0,
            delay: (20 * MS, 60 * MS),
        }
    }

    /// Up to `n` of a hundred.
    fn chance(&mut self, n: u32) -> bool {
        self.rng.u32() % 100 < n
    }

    fn pump(&mut self) {
        for from in 0..2 {
            while let Some(message) = self.ends[from].poll_transmit() {
                let config = &self.ends[from].config;
                let octets = config.encoding.print(&message).unwrap();
                let most = match config.transport {
                    Transport::Datagram => config.limits.datagram,
                    _ => usize::MAX,
                };
                assert!(octets.len() <= most, "a message of {} octets", octets.len());
                assert!(message.transactions().len() <= config.limits.bundle.max(1));
                for _ in 0..=usize::from(self.chance(self.doubled)) {
                    self.sent += 1;
                    if !self.chance(self.loss) {
                        let (least, most) = self.delay;
                        let late = least + (most - least).mul_f64(f64::from(self.rng.u32() % 1_000) / 1e3);
                        self.flying.insert((self.now + late, self.sent), (1 - from, octets.clone()));
                    }
                }
            }
        }
    }

    /// Goes to the next thing that happens, unless it is after `end`.
    fn step(&mut self, end: Instant) -> bool {
        self.pump();
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timer = self.ends.iter().filter_map(Association::poll_timeout).min();
        let Some(next) = arrival.into_iter().chain(timer).min().filter(|at| *at <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
            let (to, octets) = entry.remove();
            let message = encoding::parse(&octets, &TextLimits::default()).unwrap();
            self.ends[to].handle_message(self.now, message);
        }
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        true
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }
}
