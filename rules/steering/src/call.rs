//! A call: the dialogs of one Call-ID, and its requests, which are worked one after the other.

use crate::Timers;
use crate::dialog::{Dialog, DialogKey, End, Exchange};
use crate::fault::Fault;
use crate::machine::RequestId;
use carnet_h248::controller::RequestNumber;
use carnet_ng::{Options, Request, Value};
use carnet_plan::{Both, Context, Edit, Side};
use carnet_sdp::Document;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A request that waits for the ones before it.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: RequestId,
    pub(crate) request: Request,
    pub(crate) options: Options,
}

/// The request that waits for the gateway.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) id: RequestId,
    pub(crate) options: Options,
    /// It is answered then, whatever the gateway does.
    pub(crate) deadline: Instant,
    /// What the gateway has not answered.
    pub(crate) outstanding: Vec<RequestNumber>,
    /// What the gateway would not do.
    pub(crate) failed: Option<Fault>,
    pub(crate) warnings: Vec<String>,
    pub(crate) step: Step,
}

/// What it is about.
#[derive(Debug)]
pub(crate) enum Step {
    Offer(Box<Offered>),
    Answer(Box<Answered>),
    /// The dialogs that are over, as they were: their counters come.
    Delete(Vec<Dialog>),
    /// The dialogs that somebody wants to know of: their counters come.
    Query(Vec<DialogKey>),
}

/// An offer whose contexts are being added. Nothing of the dialog is changed before.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) dialog: DialogKey,
    /// The dialog, if the offer makes it.
    pub(crate) new: Option<Dialog>,
    pub(crate) ends: Both<End>,
    pub(crate) exchange: Exchange,
    pub(crate) document: Document,
    /// Media lines with what the gateway gave for them.
    pub(crate) added: Vec<(usize, Box<Context>)>,
}

/// An answer whose contexts are being modified.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) dialog: DialogKey,
    pub(crate) ends: Both<End>,
    pub(crate) edits: Vec<Edit>,
    /// What is done with each line, for the script.
    pub(crate) said: Value,
    pub(crate) document: Document,
    /// The side that sees it.
    pub(crate) to: Side,
    /// Lines that are in use.
    pub(crate) used: Vec<usize>,
    /// Lines that the answer, or already the offer, does not take.
    pub(crate) dropped: Vec<usize>,
}

/// The dialogs of one Call-ID.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: Arc<str>,
    pub(crate) created: Instant,
    pub(crate) dialogs: Vec<Dialog>,
    pub(crate) queue: VecDeque<Waiting>,
    pub(crate) work: Option<Work>,
    /// When it is in the book of deadlines.
    pub(crate) booked: Option<Instant>,
    next_dialog: u32,
}

impl Call {
    pub(crate) fn new(id: Arc<str>, now: Instant) -> Self {
        Self {
            id,
            created: now,
            dialogs: Vec::new(),
            queue: VecDeque::new(),
            work: None,
            booked: None,
            next_dialog: 1,
        }
    }

    /// A fresh name for a dialog.
    pub(crate) fn next_dialog(&mut self) -> DialogKey {
        let key = DialogKey(self.next_dialog);
        self.next_dialog = self.next_dialog.wrapping_add(1);
        key
    }

    pub(crate) fn dialog(&self, key: DialogKey) -> Option<&Dialog> {
        self.dialogs.iter().find(|d| d.key == key)
    }

    pub(crate) fn dialog_mut(&mut self, key: DialogKey) -> Option<&mut Dialog> {
        self.dialogs.iter_mut().find(|d| d.key == key)
    }

    /// The places of the interfaces that its ends are at.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = usize> {
        let worked = self.work.iter().filter_map(|work| match &work.step {
            Step::Offer(offered) => Some(&offered.ends),
            Step::Answer(answered) => Some(&answered.ends),
            Step::Delete(_) | Step::Query(_) => None,
        });
        let ends = self.dialogs.iter().map(|dialog| &dialog.ends).chain(worked);
        ends.flat_map(|ends| [ends.caller.interface, ends.callee.interface])
    }

    /// There is nothing to it, and nobody waits.
    pub(crate) fn is_over(&self) -> bool {
        self.dialogs.is_empty() && self.queue.is_empty() && self.work.is_none()
    }

    /// When something is due. A request that is being worked comes before all else.
    pub(crate) fn due(&self, timers: &Timers) -> Option<Instant> {
        match &self.work {
            Some(work) => Some(work.deadline),
            None => self.dialogs.iter().filter_map(|dialog| dialog.due(timers)).min(),
        }
    }
}
