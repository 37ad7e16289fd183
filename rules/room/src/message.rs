//! Messages on their way through the room: octets are held once, whatever the number of recipients.

use crate::seen::Digest256;
use crate::types::{Counters, Limits, MemberId};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};

/// Pieces shorter than this are joined to the piece before them.
const SMALL: usize = 1024;
/// Until that has this size.
const JOINED: usize = 4096;

/// One message.
pub(crate) struct Message {
    /// `Message-ID` of the copies. The same message sent again has the same.
    pub(crate) id: String,
    /// Who sent it; `None` is the room.
    pub(crate) sender: Option<MemberId>,
    pub(crate) content_type: String,
    /// Other header fields of the first chunk.
    pub(crate) headers: Vec<(String, String)>,
    /// Media type inside of the wrapper.
    pub(crate) wrapped: String,
    pub(crate) private: bool,
    /// Its size, when known.
    pub(crate) total: Option<u64>,
    /// The number that the next message had when this one was complete.
    pub(crate) completed: Option<u64>,
    /// Who gets or got a copy.
    pub(crate) recipients: Vec<MemberId>,
    /// Copies that are under way, and one for history.
    holders: usize,
    /// Whether history has it or may get it: its octets stay.
    pub(crate) in_history: bool,
    segments: VecDeque<(u64, Bytes)>,
    length: u64,
    /// Of all octets that have arrived, when somebody may send them again.
    hash: Sha256,
}

impl Message {
    /// Octets that have arrived.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether every octet is here.
    pub(crate) fn is_here(&self) -> bool {
        self.completed.is_some() || self.total == Some(self.length)
    }

    /// The first octet that is still held.
    pub(crate) fn held_from(&self) -> u64 {
        self.segments.front().map_or(self.length, |(at, _)| *at)
    }

    /// At most `max` octets from `at` on, as they lie together.
    pub(crate) fn slice(&self, at: u64, max: usize) -> Option<Bytes> {
        let index = self.segments.partition_point(|(start, _)| *start <= at).checked_sub(1)?;
        let (start, data) = self.segments.get(index)?;
        let from = usize::try_from(at - start).ok().filter(|from| *from < data.len())?;
        Some(data.slice(from..data.len().min(from.saturating_add(max))))
    }

    /// All octets in one piece.
    pub(crate) fn whole(&self) -> Bytes {
        match self.segments.len() {
            1 => self.segments.front().map(|(_, data)| data.clone()).unwrap_or_default(),
            _ => self.segments.iter().flat_map(|(_, data)| data.iter().copied()).collect::<Vec<_>>().into(),
        }
    }

    /// The digest of what has arrived.
    pub(crate) fn digest(&self) -> Digest256 {
        self.hash.clone().finalize().into()
    }

    fn held(&self) -> u64 {
        self.length - self.held_from()
    }
}

/// What a message begins with.
pub(crate) struct Beginning {
    pub(crate) id: String,
    pub(crate) sender: Option<MemberId>,
    pub(crate) content_type: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) wrapped: String,
    pub(crate) private: bool,
    pub(crate) total: Option<u64>,
    pub(crate) recipients: Vec<MemberId>,
    pub(crate) in_history: bool,
}

/// All messages that somebody still needs, by number. Later ones have higher numbers.
#[derive(Default)]
pub(crate) struct Store {
    messages: HashMap<u64, Message>,
    next: u64,
    pub(crate) counters: Counters,
}

impl Store {
    /// A new message. It stays until [`Self::release`] was called for each recipient, for history when it
    /// is in it, and once for its sender.
    pub(crate) fn begin(&mut self, b: Beginning) -> u64 {
        let number = self.next;
        self.next += 1;
        let holders = b.recipients.len() + usize::from(b.in_history) + 1;
        self.messages.insert(
            number,
            Message {
                id: b.id,
                sender: b.sender,
                content_type: b.content_type,
                headers: b.headers,
                wrapped: b.wrapped,
                private: b.private,
                total: b.total,
                completed: None,
                recipients: b.recipients,
                holders,
                in_history: b.in_history,
                segments: VecDeque::new(),
                length: 0,
                hash: Sha256::new(),
            },
        );
        number
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Message> {
        self.messages.get(&number)
    }

    /// The octets that follow those that are here.
    pub(crate) fn append(&mut self, number: u64, data: &Bytes) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        self.counters.held += data.len() as u64;
        match message.segments.back_mut() {
            Some((_, last)) if data.len() < SMALL && last.len() < JOINED => {
                let mut joined = Vec::with_capacity(last.len() + data.len());
                joined.extend_from_slice(last);
                joined.extend_from_slice(data);
                *last = joined.into();
            }
            _ => message.segments.push_back((message.length, data.clone())),
        }
        message.length += data.len() as u64;
        if message.sender.is_some() {
            message.hash.update(data);
        }
    }

    /// Nothing more comes.
    pub(crate) fn complete(&mut self, number: u64) {
        let next = self.next;
        if let Some(message) = self.messages.get_mut(&number) {
            message.completed = Some(next);
            message.total = Some(message.length);
        }
    }

    /// One more copy.
    pub(crate) fn retain(&mut self, number: u64, recipient: MemberId) {
        if let Some(message) = self.messages.get_mut(&number) {
            message.holders += 1;
            message.recipients.push(recipient);
        }
    }

    /// One copy less.
    pub(crate) fn release(&mut self, number: u64) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.holders = message.holders.saturating_sub(1);
        if message.holders == 0
            && let Some(message) = self.messages.remove(&number)
        {
            self.counters.held = self.counters.held.saturating_sub(message.held());
        }
    }

    /// The message is not one for history after all.
    pub(crate) fn forget(&mut self, number: u64) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        if std::mem::take(&mut message.in_history) {
            self.release(number);
        }
    }

    /// Whether the octets of a message stay although its recipients have them.
    pub(crate) fn keeps(&self, number: u64, limits: &Limits) -> bool {
        let Some(message) = self.messages.get(&number) else { return false };
        message.in_history
            || (message.length.max(message.total.unwrap_or(0)) <= limits.keep as u64
                && self.counters.held <= limits.held as u64)
    }

    /// Drops what lies before `position`.
    pub(crate) fn trim(&mut self, number: u64, position: u64) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        while let Some((at, data)) = message.segments.front() {
            if at + data.len() as u64 > position {
                break;
            }
            self.counters.held = self.counters.held.saturating_sub(data.len() as u64);
            message.segments.pop_front();
        }
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }
}
