//! One call: where it stands, who it is with, and what a message means where it stands.

use std::time::{Instant, SystemTime};

use carnet_sip::{ClientKey, DialogId, Message, Method, ServerKey, Silence, Uri};

use crate::callee::{Alerting, Resolving};
use crate::caller::{Answered, Branch, Inviting, Wanting, goodbye};
use crate::core::{Core, Ids};
use crate::description::Own;
use crate::event::{CallId, Ending, Event};
use crate::refusal::Refusal;
use crate::room::{Away, Room};
use crate::up::Up;

/// A call.
pub(crate) struct Call {
    pub(crate) id: CallId,
    /// The other side, as SIP names it.
    pub(crate) to: Uri,
    pub(crate) ids: Ids,
    pub(crate) own: Own,
    /// What belongs to a conference, if it is one.
    pub(crate) room: Option<Room>,
    pub(crate) state: State,
}

/// ```text
/// caller: Wanting ── ticket ──▶ Inviting ── 2xx ──▶ Up ── BYE ──▶ Over
/// called: Resolving ── keys ──▶ Alerting ── accept ──▶ Up
/// a conference: Up ── the dialog is lost ──▶ Away ── the focus calls back ──▶ Over
/// ```
pub(crate) enum State {
    Wanting(Box<Wanting>),
    Inviting(Box<Inviting>),
    Resolving(Box<Resolving>),
    Alerting(Box<Alerting>),
    Up(Box<Up>),
    Away(Box<Away>),
    Over,
}

impl Call {
    /// Takes the state out; whoever does puts one back.
    pub(crate) fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }

    pub(crate) fn over(&mut self, core: &mut Core, ending: Ending) {
        self.state = State::Over;
        core.rooms.retain(|_, (call, _)| *call != self.id);
        core.events.push_back(Event::Ended { call: self.id, ending });
    }
}

impl Call {
    /// Whether a request belongs to this call's dialog.
    pub(crate) fn owns(&self, request: &Message) -> bool {
        match &self.state {
            State::Up(up) => DialogId::of_request(request).is_ok_and(|id| id == up.dialog.id()),
            State::Alerting(alerting) => alerting.offered.owns(request),
            State::Inviting(inviting) => inviting.branch_of(request).is_some(),
            _ => false,
        }
    }

    pub(crate) fn is_offered(&self, key: ServerKey) -> bool {
        match &self.state {
            State::Alerting(alerting) => alerting.offered.key == key,
            State::Resolving(resolving) => resolving.offered.key == key,
            State::Up(up) => up.waiting.as_ref().is_some_and(|waiting| waiting.key == key),
            _ => false,
        }
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Wanting(wanting) => wanting.timeout(),
            State::Resolving(resolving) => resolving.timeout(),
            State::Alerting(alerting) => Some(alerting.timeout()),
            State::Up(up) => {
                [up.timeout(), self.room.as_ref().and_then(Room::timeout)].into_iter().flatten().min()
            }
            State::Away(away) => Some(away.until),
            _ => None,
        }
    }

    pub(crate) fn tick(&mut self, core: &mut Core, now: Instant, wall: SystemTime) {
        match self.take() {
            State::Wanting(wanting) if wanting.is_due(now) => {
                if let Err(refusal) = self.want(core, now, wall, true) {
                    self.over(core, Ending::Refused(refusal));
                }
            }
            State::Resolving(resolving) if resolving.is_due(now) => {
                self.resolve_again(core, now, wall, resolving);
            }
            State::Alerting(mut alerting) => match alerting.tick(core, now) {
                Ok(()) => self.state = State::Alerting(alerting),
                Err(Refusal::Unanswered) => {
                    self.decline(core, now, &alerting.offered, &Refusal::Unanswered);
                }
                Err(refusal) => self.withdraw(core, now, &alerting.offered, refusal),
            },
            State::Up(mut up) => {
                let done = self.up_tick(core, now, &mut up).and_then(|()| self.room_tick(core, now));
                self.state = State::Up(up);
                if let Err(refusal) = done {
                    self.hang_up(core, now, Ending::Refused(refusal));
                }
            }
            State::Away(away) if now >= away.until => self.over(core, away.ending),
            other => self.state = other,
        }
    }

    pub(crate) fn requested_in(&mut self, core: &mut Core, now: Instant, key: ServerKey, request: &Message) {
        match self.take() {
            State::Up(up) => self.requested(core, now, up, key, request),
            State::Alerting(mut alerting) => match request.method() {
                Method::Prack => {
                    alerting.prack(core, now, key, request);
                    self.state = State::Alerting(alerting);
                }
                // RFC 3261 §15: a caller may end an early dialog so.
                Method::Bye => {
                    core.reply(now, key, request, 200, None);
                    self.cancelled(core, now, &alerting.offered);
                }
                _ => {
                    self.requested_early(core, now, &mut alerting.offered.dialog, None, key, request);
                    self.state = State::Alerting(alerting);
                }
            },
            State::Inviting(mut inviting) => {
                match inviting.branch_of(request).and_then(|at| inviting.branches.get_mut(at)) {
                    Some(Branch { dialog, answer }) => {
                        let settled = answer.as_ref().and_then(Answered::settled);
                        self.requested_early(core, now, dialog, settled, key, request);
                    }
                    None => core.reply(now, key, request, 481, None),
                }
                self.state = State::Inviting(inviting);
            }
            other => {
                core.reply(now, key, request, 481, None);
                self.state = other;
            }
        }
    }

    pub(crate) fn answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        key: ClientKey,
        response: &Message,
    ) {
        match self.take() {
            State::Inviting(inviting) if inviting.key == key => {
                self.invite_answered(core, now, wall, *inviting, response);
            }
            State::Up(mut up) => {
                if up.is_refreshing(key) {
                    let done = self.refreshed(core, now, wall, &mut up, response);
                    self.state = State::Up(up);
                    match done {
                        Ok(()) => {}
                        // The focus does not know the dialog any more: it was made anew, and calls back.
                        Err(refusal @ Refusal::Rejected { status: 481, .. }) if self.room.is_some() => {
                            self.dialog_lost(core, now, Ending::Refused(refusal));
                        }
                        Err(refusal) => self.hang_up(core, now, Ending::Refused(refusal)),
                    }
                    return;
                }
                self.state = State::Up(up);
            }
            other => self.state = other,
        }
    }

    pub(crate) fn unanswered(&mut self, core: &mut Core, now: Instant, key: ClientKey, reason: Silence) {
        match self.take() {
            State::Inviting(inviting) if inviting.key == key => {
                let ending = match reason {
                    Silence::Cancelled => Ending::Local,
                    _ => Ending::Refused(reason.into()),
                };
                self.over(core, ending);
            }
            State::Up(up) => {
                let ours = up.is_refreshing(key);
                self.state = State::Up(up);
                if ours && self.room.is_some() {
                    self.dialog_lost(core, now, Ending::Refused(Refusal::Unanswered));
                } else if ours {
                    // RFC 3261 §12.2.1.2: no answer inside a dialog means that the peer is gone.
                    self.hang_up(core, now, Ending::Refused(Refusal::Unanswered));
                }
            }
            other => self.state = other,
        }
    }

    pub(crate) fn hang_up(&mut self, core: &mut Core, now: Instant, ending: Ending) {
        match self.take() {
            State::Inviting(inviting) => self.cancel(core, now, *inviting),
            State::Resolving(resolving) => self.decline(core, now, &resolving.offered, &Refusal::Unwanted),
            State::Alerting(alerting) => self.decline(core, now, &alerting.offered, &Refusal::Unwanted),
            State::Up(mut up) => {
                up.let_go(core, now);
                if let Some(watch) = self.room.as_mut().and_then(|room| room.watch.take()) {
                    watch.end(core, now);
                }
                goodbye(core, now, &mut up.dialog, ending.refusal());
                self.over(core, ending);
            }
            State::Wanting(_) | State::Away(_) | State::Over => self.over(core, ending),
        }
    }
}
