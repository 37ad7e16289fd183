//! What a conference call has beside a call: the name of the conference, who watches it, what was asked of
//! its focus, and the wait to be called back after a loss.
//!
//! RFC 4579 §5 (isfocus, subscription, REFER). A conference outlives the loss of its media server and of its
//! focus: the focus calls its members back, and the driver goes on in the new call. Until then the old call
//! waits, up or, when its dialog is gone, [away](Away).

use std::time::Instant;

use carnet_mikey::Identity;
use carnet_sip::{ClientKey, Message, ServerKey, Uri};

use crate::call::{Call, State};
use crate::caller::goodbye;
use crate::conference::Conference;
use crate::core::Core;
use crate::event::{CallId, Ending, Event, ReferralId};
use crate::referral::{Progress, Referral};
use crate::refusal::Refusal;
use crate::terms::Agreed;
use crate::watch::Watch;

/// See the module's page.
#[derive(Default)]
pub(crate) struct Room {
    /// The conference, once we are in it.
    pub(crate) uri: Option<Uri>,
    pub(crate) watch: Option<Watch>,
    pub(crate) referrals: Vec<Referral>,
    /// The media broke: until when the focus may call back, and what to say if it does not.
    pub(crate) lost: Option<(Instant, Refusal)>,
}

/// A conference call whose dialog is gone.
pub(crate) struct Away {
    pub(crate) until: Instant,
    pub(crate) ending: Ending,
}

/// Whether a message comes from a focus (RFC 4579 §5.1, RFC 3840 §9: `isfocus` of Contact).
pub(crate) fn is_focus(message: &Message) -> bool {
    message.contacts().is_ok_and(|all| all.first().is_some_and(|contact| contact.params().has("isfocus")))
}

/// The name of a conference by which two calls are known to be of the same one.
pub(crate) fn name_of(uri: &str) -> Option<String> {
    Some(Identity::from_uri(uri).ok()?.text().into_owned())
}

impl Room {
    /// When something is to be done.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let watch = self.watch.as_ref().and_then(Watch::timeout);
        let referrals = self.referrals.iter().map(Referral::timeout).min();
        let lost = self.lost.as_ref().map(|(until, _)| *until);
        [watch, referrals, lost].into_iter().flatten().min()
    }
}

impl Call {
    /// Time has passed. `Err` ends the call.
    pub(crate) fn room_tick(&mut self, core: &mut Core, now: Instant) -> Result<(), Refusal> {
        let Some(room) = &mut self.room else { return Ok(()) };
        let id = self.id;
        room.referrals.retain(|referral| {
            let waits = now < referral.timeout();
            if !waits {
                referral.unanswered(core, id);
            }
            waits
        });
        if let Some(watch) = &mut room.watch
            && let Err(reason) = watch.tick(core, now)
        {
            self.no_roster(core, reason);
        }
        match self.room.as_mut().and_then(|room| room.lost.take_if(|(until, _)| now >= *until)) {
            Some((_, refusal)) => Err(refusal),
            None => Ok(()),
        }
    }

    /// The roster cannot be had.
    pub(crate) fn no_roster(&mut self, core: &mut Core, reason: Refusal) {
        if let Some(room) = &mut self.room
            && room.watch.take().is_some()
        {
            core.events.push_back(Event::NoRoster { call: self.id, reason });
        }
    }

    /// Subscribes to the roster of the conference.
    pub(crate) fn watch(&mut self, core: &mut Core, now: Instant) {
        let (id, proof) = (self.id, self.target_dialog());
        let Some(room) = &mut self.room else { return };
        let (None, Some(uri)) = (&room.watch, &room.uri) else { return };
        match Watch::begin(core, now, id, uri.clone(), proof) {
            Ok(watch) => room.watch = Some(watch),
            Err(reason) => core.events.push_back(Event::NoRoster { call: id, reason }),
        }
    }

    /// What proves to a focus that a request outside our dialog is ours (RFC 4538): the names of the
    /// dialog, as the focus sees them.
    pub(crate) fn target_dialog(&self) -> Option<String> {
        let State::Up(up) = &self.state else { return None };
        let id = up.dialog.id();
        Some(format!("{};local-tag={};remote-tag={}", id.call_id, id.remote_tag, id.local_tag))
    }

    /// The SUBSCRIBE of the roster was answered, or nothing came.
    pub(crate) fn watch_answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: ClientKey,
        answer: Result<&Message, Refusal>,
    ) {
        let Some(watch) = self.room.as_mut().and_then(|room| room.watch.as_mut()) else { return };
        if !watch.is_asking(key) {
            return;
        }
        let done = match answer {
            Ok(response) => watch.answered(core, now, response),
            Err(refusal) => watch.unanswered(core, now, refusal),
        };
        if let Err(reason) = done {
            self.no_roster(core, reason);
        }
    }

    /// Whether a NOTIFY is for a subscription of this call.
    pub(crate) fn hears(&self, notify: &Message) -> bool {
        self.room.as_ref().is_some_and(|room| {
            room.watch.as_ref().is_some_and(|watch| watch.owns(notify))
                || room.referrals.iter().any(|referral| referral.owns(notify))
        })
    }

    /// A NOTIFY for a subscription of this call.
    pub(crate) fn notified(&mut self, core: &mut Core, now: Instant, key: ServerKey, notify: &Message) {
        let id = self.id;
        let Some(room) = &mut self.room else { return };
        if let Some(watch) = room.watch.as_mut().filter(|watch| watch.owns(notify)) {
            if let Err(reason) = watch.notified(core, now, key, notify) {
                self.no_roster(core, reason);
            }
            return;
        }
        if let Some(at) = room.referrals.iter().position(|referral| referral.owns(notify))
            && let Some(referral) = room.referrals.get_mut(at)
            && referral.notified(core, now, id, key, notify) == Progress::Done
        {
            room.referrals.remove(at);
        }
    }

    /// The REFER was answered, or nothing came.
    pub(crate) fn referral_answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        (referral, key): (ReferralId, ClientKey),
        answer: Option<&Message>,
    ) {
        let id = self.id;
        let Some(room) = &mut self.room else { return };
        let Some(at) = room.referrals.iter().position(|known| known.id() == referral) else { return };
        let Some(known) = room.referrals.get_mut(at) else { return };
        let progress = match answer {
            Some(response) => known.answered(core, now, id, key, response),
            None => {
                known.unanswered(core, id);
                Progress::Done
            }
        };
        if progress == Progress::Done {
            room.referrals.remove(at);
        }
    }

    /// Both sides agree, and it is a conference: tells so before anything else.
    pub(crate) fn joined(&mut self, core: &mut Core, agreed: &Agreed, contact: Option<Uri>) {
        let Some(room) = &mut self.room else { return };
        // What the key server vouches for, else what the focus says, else who was called.
        let vouched = agreed.peer.as_deref().and_then(|peer| Uri::parse(peer).ok());
        let uri = vouched.or(contact).unwrap_or_else(|| self.to.clone());
        for name in [uri.as_str(), self.to.as_str()].into_iter().filter_map(name_of) {
            core.rooms.insert(name, (self.id, self.own.sealed));
        }
        let (nicknames, private_messages) = agreed.room.unwrap_or_default();
        let conference = Conference {
            uri: uri.to_string(),
            sealed: self.own.sealed,
            messages: agreed.messages.is_some(),
            floors: agreed.floors.is_some(),
            nicknames,
            private_messages,
            max_size: agreed.max_size,
        };
        room.uri = Some(uri);
        core.events.push_back(Event::Joined { call: self.id, conference });
    }

    /// The media of the call broke. A conference gets time to call back; anything else ends.
    pub(crate) fn media_lost(&mut self, core: &mut Core, now: Instant, refusal: Refusal) {
        let until = now + core.config.limits.call_back;
        match (&self.state, &mut self.room) {
            (State::Up(_), Some(room)) if room.uri.is_some() => {
                if room.lost.is_none() {
                    room.lost = Some((until, refusal));
                    core.events.push_back(Event::Waiting { call: self.id });
                }
            }
            (State::Away(_), _) => {}
            _ => self.hang_up(core, now, Ending::Refused(refusal)),
        }
    }

    /// The dialog is gone, though nobody wanted that: a conference gets time to call back.
    pub(crate) fn dialog_lost(&mut self, core: &mut Core, now: Instant, ending: Ending) {
        let until = now + core.config.limits.call_back;
        match &mut self.room {
            Some(room) if room.uri.is_some() => {
                let first = room.lost.is_none();
                let until = room.lost.take().map_or(until, |(earlier, _)| earlier.min(until));
                // The focus that knew of it is gone too.
                room.watch = None;
                if first {
                    core.events.push_back(Event::Waiting { call: self.id });
                }
                self.state = State::Away(Box::new(Away { until, ending }));
            }
            _ => self.over(core, ending),
        }
    }

    /// The focus has called back: `new` takes the place of this call.
    pub(crate) fn called_back(&mut self, core: &mut Core, now: Instant, new: CallId) {
        if let State::Up(mut up) = self.take() {
            // A focus that has forgotten it says 481, and that is well too.
            goodbye(core, now, &mut up.dialog, None);
        }
        self.over(core, Ending::CalledBack(new));
    }
}
