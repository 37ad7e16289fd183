//! Replies in segments (H.248.1 version 3 §8.2.2 and package `seg`): taking one apart at its commands,
//! putting one together.
//!
//! The Recommendation could not be read; this follows its ASN.1, the `seg` package as vendors document
//! it, and what Erlang/OTP's megaco does: segments are numbered from 1, the last says so, each is
//! acknowledged by a SegmentReply, and after the last the others may be missing for a time.

use super::size::{Item, Scale};
use crate::model::{
    ActionReply, CommandReply, ContextId, ReplyBody, SegmentNumber, Transaction, TransactionId,
    TransactionReply,
};
use std::collections::{BTreeMap, VecDeque};

/// Segments sent before the first is acknowledged.
pub(super) const WINDOW: usize = 8;
/// Lengths in the binary encoding grow on each of six levels around a command.
const LEVELS: usize = 16;

/// Takes a reply apart. None if a single command is too big, or if `most` segments are not enough.
pub(super) fn split(
    scale: &Scale,
    id: TransactionId,
    immediate_ack: bool,
    actions: Vec<ActionReply>,
    most: u16,
) -> Option<VecDeque<Item>> {
    let weigh = |number: u16, last: bool, actions: Vec<ActionReply>| {
        let reply = TransactionReply {
            id,
            segment: Some(SegmentNumber { number, last }),
            // The peer has the whole answer only after all of them.
            immediate_ack: immediate_ack && last,
            body: ReplyBody::Actions(actions),
        };
        scale.weigh(Transaction::Reply(reply)).ok()
    };
    let pieces = pieces(scale.room().saturating_sub(LEVELS), actions, &|action| {
        Some(weigh(u16::MAX, true, vec![action])?.octets)
    })?;
    let last = u16::try_from(pieces.len()).ok().filter(|n| *n <= most)?;
    (1..=last)
        .zip(pieces)
        .map(|(n, piece)| weigh(n, n == last, piece))
        .collect::<Option<_>>()
        .filter(|items: &VecDeque<Item>| items.iter().all(|item| item.octets <= scale.room()))
}

/// The actions of each segment.
fn pieces(
    room: usize,
    actions: Vec<ActionReply>,
    weigh: &dyn Fn(ActionReply) -> Option<usize>,
) -> Option<Vec<Vec<ActionReply>>> {
    let mut out = Pieces { room, done: Vec::new(), piece: Vec::new(), octets: 0 };
    for action in actions {
        let ActionReply { context, properties, commands, error } = action;
        let bare = weigh(ActionReply::new(context, Vec::new()))?;
        let opening = ActionReply { context, properties, commands: Vec::new(), error: None };
        let octets = weigh(opening.clone())?;
        out.open(opening, octets);
        for command in commands {
            let alone = ActionReply::new(context, vec![command]);
            let octets = weigh(alone.clone())?.saturating_sub(bare) + LEVELS;
            out.make_room(context, bare, octets)?;
            out.add(octets, alone.commands, None);
        }
        if error.is_some() {
            let alone = ActionReply { error, ..ActionReply::new(context, Vec::new()) };
            let octets = weigh(alone.clone())?.saturating_sub(bare) + LEVELS;
            out.make_room(context, bare, octets)?;
            out.add(octets, Vec::new(), alone.error);
        }
    }
    out.close();
    Some(out.done)
}

/// Segments being filled.
struct Pieces {
    room: usize,
    done: Vec<Vec<ActionReply>>,
    piece: Vec<ActionReply>,
    octets: usize,
}

impl Pieces {
    /// Begins an action.
    fn open(&mut self, action: ActionReply, octets: usize) {
        if self.octets + octets > self.room {
            self.close();
        }
        self.piece.push(action);
        self.octets += octets;
    }

    /// Makes sure that `octets` more fit, if need be in a segment of their own.
    fn make_room(&mut self, context: ContextId, bare: usize, octets: usize) -> Option<()> {
        if self.octets + octets > self.room {
            // An action of which nothing is said here has no place here.
            self.piece.pop_if(|a| a.commands.is_empty() && a.error.is_none() && a.properties.is_empty());
            self.close();
            self.open(ActionReply::new(context, Vec::new()), bare);
        }
        (self.octets + octets <= self.room).then_some(())
    }

    fn add(&mut self, octets: usize, commands: Vec<CommandReply>, error: Option<crate::ErrorDescriptor>) {
        if let Some(action) = self.piece.last_mut() {
            action.commands.extend(commands);
            action.error = error;
            self.octets += octets;
        }
    }

    fn close(&mut self) {
        if !self.piece.is_empty() {
            self.done.push(std::mem::take(&mut self.piece));
        }
        self.octets = 0;
    }
}

/// Segments of a reply that is not complete.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    parts: BTreeMap<u16, ReplyBody>,
    last: Option<u16>,
    pub(super) immediate_ack: bool,
}

/// What became of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    New,
    Again,
    /// It contradicts others, or is beyond the limit.
    Refused,
}

impl Assembly {
    /// Takes a segment. `full`: only if it is the one that was still missing.
    pub(super) fn add(&mut self, segment: SegmentNumber, body: ReplyBody, most: u16, full: bool) -> Added {
        let SegmentNumber { number, last } = segment;
        let highest = self.parts.last_key_value().map_or(0, |(n, _)| *n);
        let beyond = self.last.is_some_and(|end| number > end || last && number != end);
        if number == 0 || number > most || beyond || last && number < highest {
            return Added::Refused;
        }
        if self.parts.contains_key(&number) {
            return Added::Again;
        }
        let end = self.last.or(last.then_some(number));
        if full && end.map(usize::from) != Some(self.parts.len() + 1) {
            return Added::Refused;
        }
        self.last = end;
        self.parts.insert(number, body);
        Added::New
    }

    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether the last segment has come.
    pub(super) fn has_last(&self) -> bool {
        self.last.is_some()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.last.is_some_and(|last| usize::from(last) == self.parts.len())
    }

    /// Numbers that have not come. Where the last has not come either, those before the highest.
    pub(super) fn missing(&self) -> Vec<u16> {
        let end = self.last.or_else(|| self.parts.last_key_value().map(|(n, _)| *n)).unwrap_or(0);
        (1..=end).filter(|n| !self.parts.contains_key(n)).collect()
    }

    /// The whole. An action that goes on in the next segment becomes one again.
    pub(super) fn join(self) -> ReplyBody {
        let mut whole: Vec<ActionReply> = Vec::new();
        for part in self.parts.into_values() {
            let mut actions = match part {
                ReplyBody::Actions(actions) => actions.into_iter(),
                error @ ReplyBody::Error(_) => return error,
            };
            if let Some(first) = actions.next() {
                match whole.last_mut() {
                    Some(action)
                        if action.context == first.context
                            && action.error.is_none()
                            && first.properties.is_empty() =>
                    {
                        action.commands.extend(first.commands);
                        action.error = first.error;
                    }
                    _ => whole.push(first),
                }
            }
            whole.extend(actions);
        }
        ReplyBody::Actions(whole)
    }
}
