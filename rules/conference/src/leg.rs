//! A leg: one dialog with one member, from the first message to the last.
//!
//! ```text
//! member calls:  Opening ── keys ──▶ Adding ── addresses ──▶ Up ── BYE ──▶ Over
//! we call:       Wanting ── ticket ─▶ Adding ── addresses ──▶ Inviting ── 2xx ──▶ Up
//! ```

use std::time::Instant;

use carnet_h248::controller::{GatewayName, RequestNumber};
use carnet_sdp::Document;
use carnet_seal::{Opening as OpeningKeys, Question, Seal, Sealed, Ticket};
use carnet_sip::{ClientKey, Dialog, DialogId, Message, ServerKey, Uri};

use crate::call::Inviting;
use crate::core::{Core, Ids};
use crate::event::{Event, Left};
use crate::fault::Fault;
use crate::line::{House, Line};
use crate::room::{Place, Room};
use crate::up::Up;

/// Names a leg inside one focus. Never used again in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LegId(pub(crate) u64);

pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) room: String,
    /// The member's canonical URI: as the key server vouches for it where the leg is sealed.
    pub(crate) member: String,
    pub(crate) display: Option<String>,
    pub(crate) user: u16,
    pub(crate) nickname: Option<String>,
    /// We called.
    pub(crate) called: bool,
    /// It takes the place of one that lost its media.
    pub(crate) back: bool,
    pub(crate) lines: Vec<Line>,
    /// Session id and version of our description (RFC 8866 §5.2).
    pub(crate) session: (u64, u64),
    pub(crate) ids: Ids,
    /// Where it is called, if that is not its own URI.
    pub(crate) target: Option<Uri>,
    pub(crate) joined: bool,
    /// It was in the room until it ended, and nobody takes its place.
    pub(crate) was_in: bool,
    /// Its media is gone: it is being called back.
    pub(crate) lost: bool,
    pub(crate) stalled: bool,
    /// The deadline that is set for it.
    pub(crate) armed: Option<Instant>,
    pub(crate) state: State,
}

pub(crate) enum State {
    Opening(Box<Opening>),
    Wanting(Box<Question<carnet_seal::Asking>>),
    Adding(Box<Adding>),
    Inviting(Box<Inviting>),
    Up(Box<Up>),
    Over,
}

/// An INVITE that is not answered yet.
pub(crate) struct Offered {
    pub(crate) key: ServerKey,
    pub(crate) invite: Message,
    pub(crate) offer: Document,
    pub(crate) dialog: Dialog,
}

/// The key server is asked for what is in the tickets.
pub(crate) struct Opening {
    pub(crate) offered: Offered,
    /// In the order of the lines.
    pub(crate) keys: Vec<LineKey>,
}

/// The key of a line.
pub(crate) enum LineKey {
    /// It has none.
    Clear,
    Asking(Box<(Sealed, Question<OpeningKeys>)>),
    Here(Box<Seal>),
}

/// The media server is asked for terminations.
pub(crate) struct Adding {
    /// Who called; we did if nobody.
    pub(crate) offered: Option<Offered>,
    /// In the order of the lines; erased as soon as the media server has them.
    pub(crate) seals: Vec<Option<Seal>>,
    pub(crate) ticket: Option<Ticket>,
    /// The request; without one it waits for the room's context.
    pub(crate) request: Option<RequestNumber>,
    /// Media servers that would not.
    pub(crate) tried: Vec<GatewayName>,
    /// How often the room's context was gone when it came to it.
    pub(crate) again: usize,
}

impl Leg {
    /// Takes the state out; whoever does puts one back.
    pub(crate) fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether every line is sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.sealed)
    }

    /// Whether a request belongs to this leg's dialog.
    pub(crate) fn owns(&self, request: &Message) -> bool {
        match &self.state {
            State::Up(up) => DialogId::of_request(request).is_ok_and(|id| id == up.dialog.id()),
            State::Opening(opening) => opening.offered.owns(request),
            State::Adding(adding) => adding.offered.as_ref().is_some_and(|offered| offered.owns(request)),
            _ => false,
        }
    }

    /// Whether this is the INVITE that waits for its answer.
    pub(crate) fn is_offered(&self, key: ServerKey) -> bool {
        match &self.state {
            State::Opening(opening) => opening.offered.key == key,
            State::Adding(adding) => adding.offered.as_ref().is_some_and(|offered| offered.key == key),
            _ => false,
        }
    }

    /// Whether it is between the first INVITE and its answer, and costs the key server a question.
    pub(crate) fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening(_))
    }

    /// Whether we are calling.
    pub(crate) fn is_calling(&self) -> bool {
        self.called && matches!(self.state, State::Wanting(_) | State::Adding(_) | State::Inviting(_))
    }

    pub(crate) fn house<'a>(&self, room: &'a Room) -> House<'a> {
        House { policy: &room.policy, confid: room.confid, user: self.user }
    }

    /// What its state is called.
    pub(crate) fn state_name(&self) -> &'static str {
        match &self.state {
            State::Up(_) if self.lost => "called-back",
            State::Up(_) => "in",
            State::Over => "leaving",
            _ => "joining",
        }
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Wanting(question) => question.timeout(),
            State::Opening(opening) => opening
                .keys
                .iter()
                .filter_map(|key| match key {
                    LineKey::Asking(asking) => asking.1.timeout(),
                    _ => None,
                })
                .min(),
            State::Inviting(inviting) => Some(inviting.until),
            State::Up(up) => up.timeout(),
            _ => None,
        }
    }

    pub(crate) fn tick(&mut self, core: &mut Core, room: &mut Room) {
        let now = core.now;
        match self.take() {
            State::Wanting(question) if question.is_due(now) => {
                if let Err(fault) = self.want(core, room, true) {
                    self.not_called(core, room, None, fault.reason());
                }
            }
            State::Opening(opening) => self.ask_again(core, room, *opening),
            State::Inviting(inviting) if now >= inviting.until => {
                self.state = State::Inviting(inviting);
                self.cancel(core, room);
            }
            State::Up(mut up) => {
                let done = self.up_tick(core, room, &mut up);
                self.state = State::Up(up);
                if done.is_err() {
                    self.hang_up(core, room, Left::Silent);
                }
            }
            other => self.state = other,
        }
    }

    /// Gives its terminations back.
    pub(crate) fn release(&mut self, core: &mut Core, room: &mut Room) {
        let all: Vec<_> = self.lines.iter_mut().filter_map(|line| line.termination.take()).collect();
        if let Place::On(gateway, context) = &room.place {
            core.subtract(gateway, *context, all);
        }
        core.todo.push_back(crate::core::Todo::Settle(self.room.clone()));
    }

    /// The end, whoever wanted it: gives back what it has and tells.
    pub(crate) fn over(&mut self, core: &mut Core, room: &mut Room, reason: Left) {
        self.release(core, room);
        self.state = State::Over;
        // Whether one who is being called back has left, or gives way to the call, shows in the call.
        if self.lost && self.joined && reason == Left::Gone {
            self.joined = false;
            core.todo.push_back(crate::core::Todo::OldGone(self.id, self.room.clone()));
        }
        if self.joined {
            self.seen_off(core, room, &reason.departure(&reason.to_string()));
        }
        self.was_in = self.joined;
        if std::mem::take(&mut self.joined) {
            let (room, member) = (self.room.clone(), self.member.clone());
            let call_id = Some(self.ids.call_id.clone());
            core.events.push_back(Event::Left { room, member, reason, call_id });
        }
        core.touched.insert(self.room.clone());
    }

    /// Ends it in whatever state it is.
    pub(crate) fn hang_up(&mut self, core: &mut Core, room: &mut Room, reason: Left) {
        match self.take() {
            State::Opening(opening) => self.refuse(core, room, &opening.offered, &fault_of(&reason)),
            State::Adding(adding) => match &adding.offered {
                Some(offered) => self.refuse(core, room, offered, &fault_of(&reason)),
                None => self.over(core, room, reason),
            },
            State::Inviting(inviting) => {
                self.state = State::Inviting(inviting);
                self.cancel(core, room);
            }
            // RFC 3261 §15: no BYE before the ACK.
            State::Up(mut up) if up.waits_for_ack() && reason != Left::Silent => {
                up.leaving.get_or_insert(reason);
                self.state = State::Up(up);
            }
            State::Up(mut up) => {
                if let Some(more) = up.more.take() {
                    Self::not_more(core, &mut up, &more, &fault_of(&reason));
                }
                let (status, text) = match &reason {
                    Left::Gone | Left::Stopping => (None, String::new()),
                    Left::Kicked(_) => (Some(403), "Put out of the conference".to_owned()),
                    Left::Closed => (Some(410), "The conference has ended".to_owned()),
                    Left::Replaced => (Some(200), "Joined from elsewhere".to_owned()),
                    Left::Silent => (Some(408), "No sign of life".to_owned()),
                    Left::Released(why) => (Some(480), format!("Released: {why}")),
                    Left::Connection(why) => (Some(480), format!("Connection lost: {why}")),
                    Left::NotReached(_) | Left::Media(_) => (Some(503), "Media lost".to_owned()),
                };
                core.goodbye(&mut up.dialog, status.map(|status| (status, text.as_str())));
                core.dialog_over(up.dialog, matches!(reason, Left::Kicked(_)));
                self.over(core, room, reason);
            }
            State::Wanting(_) | State::Over => self.over(core, room, reason),
        }
    }

    /// Whether a response with this key is for the INVITE with which we call.
    pub(crate) fn is_inviting(&self, key: ClientKey) -> bool {
        matches!(&self.state, State::Inviting(inviting) if inviting.key == key)
    }

    /// It is in the room.
    pub(crate) fn joined(&mut self, core: &mut Core) {
        self.joined = true;
        core.events.push_back(Event::Joined {
            room: self.room.clone(),
            member: self.member.clone(),
            user: self.user,
            sealed: self.is_sealed(),
            called: self.called,
            call_id: self.ids.call_id.clone(),
        });
        core.touched.insert(self.room.clone());
        core.todo.push_back(crate::core::Todo::Joined(self.id));
    }
}

impl Offered {
    pub(crate) fn owns(&self, request: &Message) -> bool {
        DialogId::of_request(request).is_ok_and(|id| id == self.dialog.id())
    }
}

fn fault_of(reason: &Left) -> Fault {
    match reason {
        Left::Kicked(_) => Fault::new(403, "Not wanted in the conference"),
        Left::Stopping => Fault::new(503, "Going out of service"),
        _ => Fault::new(480, "The conference has ended"),
    }
}
