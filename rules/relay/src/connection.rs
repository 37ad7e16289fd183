//! One connection: what is being read from it, what waits to leave.

use crate::line::Tid;
use crate::settings::Limits;
use crate::transactions::{Mode, Sent, Transactions};
use carnet_msrp::{Frames, Head, Status};
use std::net::IpAddr;
use std::ops::Range;
use std::time::Instant;

/// Names a connection. Never reused in the life of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(crate) slot: u32,
    pub(crate) serial: u32,
}

impl ConnectionId {
    /// A small number that no other living connection has.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// The name as a number.
    pub fn to_u64(self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.slot)
    }

    /// The name that [`Self::to_u64`] gave.
    pub fn from_u64(name: u64) -> Self {
        Self { slot: (name & u64::from(u32::MAX)) as u32, serial: (name >> 32) as u32 }
    }
}

/// Who opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Somebody, through this listener.
    In(usize),
    /// We did, for this client.
    Out(Target, ConnectionId),
    /// To another shard, for this connection.
    Link(u16, ConnectionId),
    /// From another shard, for one of its connections.
    Joined,
}

/// Where a next hop is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) secure: bool,
    /// In lower case, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A SEND that is passed on while it arrives.
#[derive(Debug)]
pub(crate) struct Passing {
    pub(crate) next: ConnectionId,
    pub(crate) mode: Mode,
    pub(crate) sent: Option<Sent>,
    pub(crate) body: bool,
    /// Whether a chunk of it is open at the next hop.
    pub(crate) open: bool,
    /// Position of the first octet of the chunk that is open, from 1, and octets in it so far.
    pub(crate) start: u64,
    pub(crate) passed: u64,
    /// Where its head stands in what waits for the next hop, in the turn in which it came.
    pub(crate) head: Range<usize>,
    /// The value of its Byte-Range, from the start of the head; or where one would stand.
    pub(crate) range: Range<usize>,
    /// The head for further chunks, once the turn is over.
    pub(crate) resume: Option<Box<Resume>>,
}

/// Where the last request went, and on what grounds.
#[derive(Debug)]
pub(crate) struct Course {
    /// What [`Grants::changes`](crate::grants::Grants::changes) said.
    pub(crate) changes: u64,
    /// When a URI of ours in it ends.
    pub(crate) expires: Instant,
    pub(crate) next: ConnectionId,
    /// As in [`Route`](crate::arrive::Route), where it stands in To-Path.
    pub(crate) name: Range<usize>,
    pub(crate) own: [Option<Range<usize>>; 2],
    pub(crate) rest: Range<usize>,
}

/// A head to write again.
#[derive(Debug)]
pub(crate) struct Resume {
    /// After the transaction identifier, up to the value of Byte-Range; and what follows it.
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
    /// The total in Byte-Range.
    pub(crate) total: Option<u64>,
    /// Whether the field itself has to be written.
    pub(crate) whole_field: bool,
}

/// The frame that is being read.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// None, or one that is for nobody.
    Drop,
    Passing(Passing),
    /// To be answered with this.
    Refused(Status, Mode),
    /// AUTH, for us.
    Ask(Box<Head>),
    /// To be passed on whole, to there.
    Collected(ConnectionId, Collected),
}

#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) octets: Vec<u8>,
    pub(crate) tid: Tid,
    pub(crate) number: Option<u64>,
    pub(crate) body: bool,
}

/// The chunk that is being written to a connection.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) from: ConnectionId,
    pub(crate) tid: Tid,
    pub(crate) number: Option<u64>,
    pub(crate) body: bool,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) serial: u32,
    pub(crate) way: Way,
    pub(crate) source: Option<IpAddr>,
    /// Whether it stands.
    pub(crate) up: bool,
    pub(crate) frames: Option<Box<Frames>>,
    pub(crate) incoming: Incoming,
    pub(crate) course: Option<Course>,
    /// The answer to the frame that is being read, as if it succeeded; where the status stands in it; and
    /// whether the frame was a SEND, whose answer goes to the previous hop only.
    pub(crate) answer: Vec<u8>,
    pub(crate) status_at: usize,
    pub(crate) answers_send: bool,
    /// What leaves, from `out_at` on.
    pub(crate) out: Vec<u8>,
    pub(crate) out_at: usize,
    /// Octets that have left.
    pub(crate) sent: u64,
    pub(crate) open: Option<Open>,
    pub(crate) transactions: Transactions,
    /// Octets of answers to its own requests that were written since nothing waited.
    pub(crate) answers: usize,
    /// Whom it waits for, and who wait for it.
    pub(crate) blocked: Option<ConnectionId>,
    pub(crate) waiting: Vec<ConnectionId>,
    /// Requests by URIs that are not good; AUTH requests without success in a row.
    pub(crate) failures: u32,
    pub(crate) asked: u32,
    /// A request has succeeded.
    pub(crate) proven: bool,
    /// Connections of ours that were made for it.
    pub(crate) made: usize,
    /// Its links to other shards.
    pub(crate) links: Vec<(u16, ConnectionId)>,
    /// All that came so far, until it is known whether it is for another shard.
    pub(crate) fresh: Option<Vec<u8>>,
    /// URIs granted on it.
    pub(crate) grants: usize,
    pub(crate) since: Instant,
    /// When something came.
    pub(crate) heard: Instant,
    /// When something left.
    pub(crate) moved: Instant,
    /// Since when what waits has not become less.
    pub(crate) stuck: Option<Instant>,
    /// An [`Action::Write`](crate::Action::Write) is on its way.
    pub(crate) announced: bool,
    /// The same behind everything that is more urgent.
    pub(crate) answered: bool,
}

impl Connection {
    pub(crate) fn new(serial: u32, way: Way, source: Option<IpAddr>, now: Instant, limits: &Limits) -> Self {
        Self {
            serial,
            up: matches!(way, Way::In(_) | Way::Joined),
            way,
            source,
            frames: Some(Box::new(Frames::new(&limits.frame))),
            incoming: Incoming::Drop,
            course: None,
            answer: Vec::new(),
            status_at: 0,
            answers_send: false,
            out: Vec::new(),
            out_at: 0,
            sent: 0,
            open: None,
            transactions: Transactions::default(),
            answers: 0,
            blocked: None,
            waiting: Vec::new(),
            failures: 0,
            asked: 0,
            proven: false,
            made: 0,
            links: Vec::new(),
            fresh: None,
            grants: 0,
            since: now,
            heard: now,
            moved: now,
            stuck: None,
            announced: false,
            answered: false,
        }
    }

    /// Whether its other end is another shard.
    pub(crate) fn is_inner(&self) -> bool {
        matches!(self.way, Way::Link(..) | Way::Joined)
    }

    /// Octets that wait to leave.
    pub(crate) fn queued(&self) -> usize {
        self.out.len() - self.out_at
    }

    /// Where the next octet will stand in all that leaves.
    pub(crate) fn end(&self) -> u64 {
        self.sent + self.queued() as u64
    }

    /// Whether those who send to it should wait.
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.queued() > limits.queue || self.transactions.waiting() > limits.transactions
    }

    /// Whether it may be told more about its own requests.
    pub(crate) fn may_ask(&self, limits: &Limits) -> bool {
        self.blocked.is_none() && self.answers <= limits.answers
    }
}
