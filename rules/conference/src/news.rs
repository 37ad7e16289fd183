//! What is told of a room: its roster to those who watch, and what became of a REFER.
//!
//! RFC 4575, RFC 4579 §5.5, §5.11 and §5.12, RFC 3515. Who asks is whom the network vouches for, or the
//! member in whose dialog the request came, or whose dialog it names (Target-Dialog, RFC 4538 §7): only
//! who is in a dialog knows its names. Where the network vouches for nobody, who comes without either is
//! nobody in particular, and may do what everybody may.

use carnet_roster::{Joining, MediaStatus, Roster, Status};
use carnet_sdp::Direction;
use carnet_sip::{DialogId, Message, Method, ServerKey};

use crate::config::Policy;
use crate::core::{Core, Owner};
use crate::event::{Event, Left};
use crate::fault::Fault;
use crate::focus::Focus;
use crate::leg::{Leg, LegId, State};
use crate::line::Line;
use crate::refer::Referral;
use crate::room::{Room, canonical};
use crate::roster::{Arrival, Asker, Departure, Present};
use crate::subscribe::{Action, Referred, Settings, SubscriptionKey, Subscriptions, Watcher};

/// Who had somebody called, kept for so many of a room.
const MOST_INVITATIONS: usize = 10_000;

/// The subscriptions of a focus that takes so many.
pub(crate) fn subscriptions(most: usize) -> Subscriptions {
    Subscriptions::new(Settings { most, ..Settings::default() })
}

impl Core {
    /// A call is over: who watched in its dialog is told so by way of it.
    pub(crate) fn dialog_over(&mut self, dialog: carnet_sip::Dialog, put_out: bool) {
        let (now, id) = (self.now, dialog.id());
        self.subscriptions.call_ended(now, &id, Some(dialog), put_out);
    }
}

impl Left {
    /// As others see it.
    pub(crate) fn departure<'a>(&'a self, text: &'a str) -> Departure<'a> {
        use carnet_roster::Disconnection as How;
        let (method, by) = match self {
            Self::Gone | Self::Replaced => (How::Departed, None),
            Self::Kicked(by) => (How::Booted, by.as_deref()),
            Self::Closed | Self::Released(_) | Self::Stopping => (How::Booted, None),
            Self::Connection(_) | Self::Silent | Self::NotReached(_) | Self::Media(_) => (How::Failed, None),
        };
        let reason = (!matches!(self, Self::Gone)).then_some(text);
        Departure { method, reason, by }
    }
}

impl Leg {
    /// What tells it from other devices of the same user: its number, which is its BFCP user id too and
    /// stays when it is called back. It gives no address of the member away.
    pub(crate) fn endpoint(&self) -> String {
        self.user.to_string()
    }

    /// Others see that it has gone.
    pub(crate) fn seen_off(&self, core: &Core, room: &mut Room, departure: &Departure<'_>) {
        room.attendance.leave(core.now, core.wall, (&self.member, &self.endpoint()), departure);
    }
}

impl Focus {
    /// A SUBSCRIBE or REFER, in the dialog of a call or not.
    pub(crate) fn asked(&mut self, key: ServerKey, request: &Message, within: Option<LegId>) {
        if let Err(fault) = self.heard(key, request, within) {
            self.core.refuse(key, request, &fault, None);
        }
    }

    fn heard(&mut self, key: ServerKey, request: &Message, within: Option<LegId>) -> Result<(), Fault> {
        let vouched = within.or_else(|| self.target_dialog(request));
        let leg = vouched.and_then(|id| self.legs.get(&id)).filter(|leg| leg.joined);
        let dialog = match leg.map(|leg| &leg.state) {
            Some(State::Up(up)) if within.is_some() => Some(up.dialog.id()),
            _ => None,
        };
        let none = || Fault::new(404, "No such conference");
        let room = match leg {
            Some(leg) => leg.room.clone(),
            None => request.request_uri().and_then(|uri| self.room_of(uri)).ok_or_else(none)?,
        };
        let room = self.rooms.get(&room).ok_or_else(none)?;
        let member = leg.map_or_else(|| self.sender(request), |leg| leg.member.clone());
        // A member that came in clear is there, and may be anybody.
        let proven = leg.is_some_and(|leg| leg.called || leg.lines.iter().any(|line| line.sealed));
        let asker = match leg {
            _ if proven || self.core.config.trust_asserted => self.asker(room, &member),
            leg => Asker { present: leg.is_some(), ..Asker::stranger("") },
        };
        let (name, contact) = (room.key.clone(), format!("<{}>;isfocus", room.contact));
        let watcher = Watcher { room: &name, member: &member, contact: &contact, within: dialog.as_ref() };
        let now = self.core.now;
        if *request.method() == Method::Subscribe {
            let allowed = room.policy.watch(&asker);
            let Core { subscriptions, rng, .. } = &mut self.core;
            subscriptions.subscribe(now, key, request, &watcher, allowed, rng);
            return Ok(());
        }
        let referral = Referral::read(request).map_err(|e| Fault::new(e.status(), e.to_string()))?;
        let target = canonical(referral.target().as_str());
        match &referral {
            Referral::Invite(_) => room.policy.invite(&asker, self.occupancy(room))?,
            Referral::Kick(_) => room.policy.kick(&asker, &self.asker(room, &target))?,
        }
        let Core { subscriptions, rng, .. } = &mut self.core;
        let follow = match subscriptions.refer(now, key, request, &watcher, rng) {
            Referred::Refused => return Ok(()),
            Referred::Quietly => None,
            Referred::Followed(follow) => Some(follow),
        };
        self.do_referral(&name, &member, &referral, &target, follow);
        Ok(())
    }

    /// The member whose dialog a request names (RFC 4538).
    fn target_dialog(&self, request: &Message) -> Option<LegId> {
        let value = request.header("Target-Dialog")?;
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next()?.to_owned();
        let (mut local_tag, mut remote_tag) = (None, None);
        for (name, tag) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                // RFC 4538 §7: as the recipient sees them.
                "local-tag" => local_tag = Some(tag.trim().to_owned()),
                "remote-tag" => remote_tag = Some(tag.trim().to_owned()),
                _ => {}
            }
        }
        let id = DialogId { call_id, local_tag: local_tag?, remote_tag: remote_tag? };
        let leg = self.tags.get(&id.local_tag).and_then(|leg| self.legs.get(leg))?;
        matches!(&leg.state, State::Up(up) if up.dialog.id() == id).then_some(leg.id)
    }

    fn do_referral(
        &mut self,
        room: &str,
        by: &str,
        referral: &Referral,
        target: &str,
        follow: Option<SubscriptionKey>,
    ) {
        let (status, reason) = match referral {
            Referral::Kick(_) => match self.put_out(room, target, Some(by)) {
                Ok(()) => (200, String::new()),
                Err(error) => (404, error.to_string()),
            },
            Referral::Invite(_) => match self.have_called(room, target, by) {
                // It is there already.
                Ok(None) => (200, String::new()),
                Ok(Some(leg)) => {
                    self.core.followed.extend(follow.map(|follow| (leg, follow)));
                    return;
                }
                Err(fault) => (fault.status, fault.reason().to_owned()),
            },
        };
        if let Some(follow) = follow {
            self.core.subscriptions.progress(self.core.now, follow, status, &reason);
        }
    }

    /// Has somebody called in the name of `by`.
    fn have_called(&mut self, room: &str, target: &str, by: &str) -> Result<Option<LegId>, Fault> {
        let leg = self.invite_member(room, target)?;
        let known = self.rooms.get_mut(room).map(|room| &mut room.invited_by);
        if let Some(known) = known.filter(|known| leg.is_some() && known.len() < MOST_INVITATIONS) {
            known.insert(target.to_owned(), by.to_owned());
        }
        Ok(leg)
    }

    /// One who has entered brought a list of others (RFC 5366 §5): they are called as if it had asked for
    /// each. Whether they come is seen in the roster.
    pub(crate) fn call_list(&mut self, leg: LegId) {
        let Some(list) = self.core.lists.remove(&leg) else { return };
        let Some(leg) = self.legs.get(&leg) else { return };
        let (key, by) = (leg.room.clone(), leg.member.clone());
        for uri in list {
            let target = canonical(uri.as_str());
            let Some(room) = self.rooms.get(&key) else { return };
            let may = room.policy.invite(&self.asker(room, &by), self.occupancy(room)).map_err(Fault::from);
            if let Err(fault) = may.and_then(|()| self.have_called(&key, &target, &by)) {
                self.core.events.push_back(Event::NotCalled {
                    room: key.clone(),
                    member: target,
                    status: Some(fault.status),
                    reason: fault.reason().to_owned(),
                    call_id: None,
                });
            }
        }
    }

    /// How far a call out is, for who wanted it. A final status is the last.
    pub(crate) fn progressed(&mut self, leg: LegId, status: u16) {
        let follow = match status {
            100..=199 => self.core.followed.get(&leg).copied(),
            _ => self.core.followed.remove(&leg),
        };
        if let Some(follow) = follow {
            self.core.subscriptions.progress(self.core.now, follow, status, "");
        }
    }

    /// A leg is over: who wanted it called is told, if nobody has yet, and a member that is not there any
    /// more sees only what everybody may see.
    pub(crate) fn parted(&mut self, leg: LegId, room: &str, member: &str) {
        self.progressed(leg, 480);
        self.core.lists.remove(&leg);
        let Some(known) = self.rooms.get(room) else { return };
        let asker = self.asker(known, member);
        let (gone, refused) = (!asker.present, known.policy.watch(&asker).is_err());
        if let Some(known) = self.rooms.get_mut(room).filter(|_| gone) {
            known.invited_by.remove(member);
        }
        if refused {
            self.core.subscriptions.revoke(self.core.now, room, member);
        }
    }

    /// Tells of rooms that are not what they were, and does what the subscriptions want done.
    pub(crate) fn tell(&mut self) {
        for room in self.core.touched.clone() {
            self.core.subscriptions.changed(self.core.now, &room);
        }
        while let Some(action) = self.core.subscriptions.poll_action() {
            match action {
                Action::Publish(room) => {
                    if let Some(roster) = self.roster(&room) {
                        self.core.subscriptions.publish(self.core.now, &room, roster);
                    }
                }
                Action::Respond(key, response) => {
                    // A transaction that is gone needs no answer.
                    let _ = self.core.endpoint.respond(self.core.now, key, *response);
                }
                Action::Request(notify, message, destination) => {
                    if self.core.send(*message, destination, Owner::Notify(notify)).is_err() {
                        self.core.subscriptions.unanswered(notify);
                    }
                }
                Action::RequestWithin(notify, id, notice) => {
                    if self.notify_within(&id, &notice, notify).is_none() {
                        self.core.subscriptions.unanswered(notify);
                    }
                }
            }
        }
    }

    fn notify_within(
        &mut self,
        id: &DialogId,
        notice: &crate::subscribe::Notice,
        notify: crate::subscribe::NotifyKey,
    ) -> Option<()> {
        let leg = self.tags.get(&id.local_tag).and_then(|leg| self.legs.get_mut(leg))?;
        let State::Up(up) = &mut leg.state else { return None };
        let mut message = up.dialog.request(Method::Notify).ok()?;
        notice.fill(&mut message).ok()?;
        let destination = up.dialog.destination();
        self.core.send(message, destination, Owner::Notify(notify)).ok().map(drop)
    }

    /// A room as it is shown.
    pub(crate) fn roster(&mut self, key: &str) -> Option<Roster> {
        let Self { rooms, legs, core, .. } = self;
        let room = rooms.get_mut(key)?;
        let Room { attendance, invited_by, policy, floors, muted, .. } = room;
        let legs: Vec<(&Leg, String)> = room
            .legs
            .iter()
            .filter_map(|id| legs.get(id))
            // Who is called back is shown as it was.
            .filter(|leg| leg.user != 0 && !leg.lost && (leg.joined || (leg.called && !leg.back)))
            .map(|leg| (leg, leg.endpoint()))
            .collect();
        let lost: Vec<String> = room.lost.iter().map(|lost| lost.user.to_string()).collect();
        let mut present: Vec<Present<'_>> = Vec::with_capacity(legs.len() + lost.len());
        for (leg, endpoint) in &legs {
            let out = leg.called && !leg.back;
            let holders = floors.get(&policy.moderated).map(|floor| floor.holders.as_slice());
            let arrival = Arrival {
                member: &leg.member,
                endpoint,
                name: leg.display.as_deref(),
                method: if out { Joining::DialedOut } else { Joining::DialedIn },
                by: invited_by.get(&leg.member).map(String::as_str).filter(|_| out),
                status: match status(policy, holders.unwrap_or_default(), leg) {
                    Status::Connected if muted.contains(&leg.member) => Status::Muted,
                    status => status,
                },
            };
            let lines = leg.lines.iter().map(shown).collect();
            present.push(Present { arrival, nickname: leg.nickname.as_deref(), lines });
        }
        for (lost, endpoint) in room.lost.iter().zip(&lost) {
            let arrival = Arrival {
                member: &lost.member,
                endpoint,
                name: None,
                method: Joining::DialedIn,
                by: None,
                status: Status::OnHold,
            };
            present.push(Present { arrival, nickname: lost.nickname.as_deref(), lines: Vec::new() });
        }
        if let Some(by) = &room.by {
            attendance.own(by);
        }
        attendance.sync(core.now, core.wall, &present);
        Some(attendance.roster())
    }

    /// Takes those off the rosters who went long enough ago.
    pub(crate) fn fade(&mut self) {
        let now = self.core.now;
        for room in self.rooms.values_mut() {
            if room.attendance.poll_timeout().is_some_and(|at| at <= now) && room.attendance.settle(now) {
                self.core.subscriptions.changed(now, &room.key);
            }
        }
    }
}

/// How a leg is, where these hold the floor that moderates the room.
fn status(policy: &Policy, holders: &[u16], leg: &Leg) -> Status {
    match &leg.state {
        State::Inviting(inviting) if inviting.alerting => Status::Alerting,
        _ if !leg.joined => Status::DialingOut,
        _ if policy.speak(holders.contains(&leg.user)) => Status::Connected,
        // It hears and is not heard.
        _ => Status::Muted,
    }
}

/// A line as others see it.
fn shown(line: &Line) -> crate::roster::Line {
    let direction = line.peer.as_ref().map_or(Direction::SendRecv, |peer| peer.direction);
    crate::roster::Line {
        id: line.index.to_string(),
        kind: line.kind.media().to_owned(),
        label: (line.kind == crate::line::Kind::Messages).then(|| crate::line::LABEL.to_owned()),
        status: match direction {
            Direction::SendRecv => MediaStatus::SendRecv,
            Direction::SendOnly => MediaStatus::SendOnly,
            Direction::RecvOnly => MediaStatus::RecvOnly,
            Direction::Inactive => MediaStatus::Inactive,
        },
        sealed: line.sealed,
    }
}
