//! One call: where it stands, and who it is with.

use carnet_sip::Uri;

use crate::callee::{Alerting, Resolving};
use crate::caller::{Inviting, Wanting};
use crate::core::{Core, Ids};
use crate::description::Own;
use crate::event::{CallId, Ending, Event};
use crate::up::Up;

/// A call.
pub(crate) struct Call {
    pub(crate) id: CallId,
    /// The other side, as SIP names it.
    pub(crate) to: Uri,
    pub(crate) ids: Ids,
    pub(crate) own: Own,
    pub(crate) state: State,
}

/// ```text
/// caller: Wanting ── ticket ──▶ Inviting ── 2xx ──▶ Up ── BYE ──▶ Over
/// called: Resolving ── keys ──▶ Alerting ── accept ──▶ Up
/// ```
pub(crate) enum State {
    Wanting(Box<Wanting>),
    Inviting(Box<Inviting>),
    Resolving(Box<Resolving>),
    Alerting(Box<Alerting>),
    Up(Box<Up>),
    Over,
}

impl Call {
    /// Takes the state out; whoever does puts one back.
    pub(crate) fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }

    pub(crate) fn over(&mut self, core: &mut Core, ending: Ending) {
        self.state = State::Over;
        core.events.push_back(Event::Ended { call: self.id, ending });
    }
}
