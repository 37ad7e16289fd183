//! The subscriptions of a focus.

mod requests;
mod run;

use super::asked::{EventName, PackageName, accepts};
use super::watch::{Watch, Watched};
use super::{Action, NotifyKey, Referred, Settings, SubscriptionKey, Watcher};
use crate::refer;
use crate::roster::Refusal;
use carnet_roster::{CONTENT_TYPE, Roster};
use carnet_sip::{Dialog, DialogId, Message, ServerKey, reason_phrase};
use carnet_wire::Random;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The packages spoken here, for Allow-Events (RFC 6665 §8.2.2).
const ALLOW_EVENTS: &str = "conference, refer";

/// How long one that ends waits for its last NOTIFY to be possible.
const PATIENCE: Duration = Duration::from_secs(32);

/// What a NOTIFY about a REFER carries (RFC 3515 §2.4.5).
const SIPFRAG: &str = "message/sipfrag;version=2.0";

/// Why a subscription ends, in Subscription-State (RFC 6665 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It was not refreshed.
    TimedOut,
    /// The watcher ended it, or asked once: it is sent all of the roster with the last NOTIFY.
    Asked,
    /// The room is no more, or the REFER is done.
    NoResource,
    /// The watcher may not any more.
    Rejected,
}

impl Ending {
    fn reason(self) -> &'static str {
        match self {
            Self::TimedOut | Self::Asked => "timeout",
            Self::NoResource => "noresource",
            Self::Rejected => "rejected",
        }
    }
}

/// What became of a REFER so far.
#[derive(Debug)]
struct Follow {
    /// A status line.
    line: String,
    /// It was not told yet.
    news: bool,
}

#[derive(Debug)]
enum Package {
    Watch(Watch),
    Follow(Follow),
}

#[derive(Debug)]
struct Subscription {
    dialog: DialogId,
    room: String,
    member: String,
    contact: String,
    event: EventName,
    package: Package,
    expires: Instant,
    ending: Option<Ending>,
    under_way: Option<NotifyKey>,
    /// The NOTIFY under way is the last.
    last: bool,
    /// The one before was challenged.
    challenged: bool,
    /// The watcher asked to wait until then.
    wait: Option<Instant>,
    alarm: Option<Instant>,
}

/// See the [module](super).
#[derive(Debug)]
pub struct Subscriptions {
    settings: Settings,
    all: BTreeMap<u64, Subscription>,
    rooms: HashMap<String, Watched>,
    /// Dialogs that SUBSCRIBE and REFER made, or that calls left to us.
    dialogs: HashMap<DialogId, Dialog>,
    by_dialog: HashMap<DialogId, BTreeSet<u64>>,
    under_way: HashMap<NotifyKey, u64>,
    alarms: BTreeSet<(Instant, u64)>,
    actions: VecDeque<Action>,
    next: u64,
}

impl Subscriptions {
    /// None yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            all: BTreeMap::new(),
            rooms: HashMap::new(),
            dialogs: HashMap::new(),
            by_dialog: HashMap::new(),
            under_way: HashMap::new(),
            alarms: BTreeSet::new(),
            actions: VecDeque::new(),
            next: 0,
        }
    }

    /// As many at once from now on; those that there are stay.
    pub fn set_most(&mut self, most: usize) {
        self.settings.most = most;
    }

    /// The oldest one.
    pub fn first(&self) -> Option<u64> {
        self.all.keys().next().copied()
    }

    /// What the next one will be called.
    pub fn to_come(&self) -> u64 {
        self.next
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many watch a room.
    pub fn watchers(&self, room: &str) -> usize {
        self.rooms.get(room).map_or(0, |r| r.watchers.len())
    }

    /// Whether a request in this dialog is for us: it is not a call's.
    pub fn knows(&self, dialog: &DialogId) -> bool {
        self.dialogs.contains_key(dialog)
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, key));
            self.run(now, key);
        }
    }

    /// Answers a request with a refusal.
    pub fn refuse(&mut self, key: ServerKey, request: &Message, status: u16, reason: &str) {
        self.respond(key, request, status, reason, &[]);
    }

    /// Takes a SUBSCRIBE. `allowed` is what the room's policy says of who asks; it is not asked
    /// where the request is no subscription to a room.
    pub fn subscribe(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Message,
        watcher: &Watcher<'_>,
        allowed: Result<(), Refusal>,
        random: &mut dyn Random,
    ) {
        let Some(event) = EventName::of(request) else {
            return self.respond(key, request, 489, "", &[("Allow-Events", ALLOW_EVENTS)]);
        };
        let Some(dialog) = self.dialog_of(key, request, watcher) else { return };
        if event.package == PackageName::Conference && !accepts(request) {
            return self.respond(key, request, 406, "", &[("Accept", CONTENT_TYPE)]);
        }
        let asked = request.expires().unwrap_or(self.settings.longest);
        if (1..self.settings.shortest).contains(&asked) {
            let least = self.settings.shortest.to_string();
            return self.respond(key, request, 423, "", &[("Min-Expires", &least)]);
        }
        let seconds = asked.min(self.settings.longest);
        let known = dialog.as_ref().and_then(|id| self.find(id, &event));
        if event.package == PackageName::Conference
            && let Err(refusal) = allowed
        {
            self.respond(key, request, refusal.status(), &refusal.to_string(), &[]);
            if let Some(known) = known {
                self.end(now, known, Ending::Rejected);
            }
            return;
        }
        if let Some(known) = known {
            let contact = watcher.contact;
            let seconds_text = seconds.to_string();
            self.respond(key, request, 200, "", &[("Contact", contact), ("Expires", &seconds_text)]);
            if let Some(subscription) = self.all.get_mut(&known) {
                contact.clone_into(&mut subscription.contact);
            }
            return self.refresh(now, known, seconds);
        }
        if event.package == PackageName::Refer {
            // RFC 3515 §2.4.4: REFER alone makes such a one.
            let status = if dialog.is_some() { 481 } else { 403 };
            return self.respond(key, request, status, "", &[]);
        }
        if self.is_full(watcher) {
            return self.respond(key, request, 503, "", &[("Retry-After", "60")]);
        }
        let seconds_text = seconds.to_string();
        let headers = [("Contact", watcher.contact), ("Expires", seconds_text.as_str())];
        let Some(dialog) = self.accept(key, request, 200, &headers, dialog, random) else { return };
        let new = self.insert(now, dialog, watcher, event, Package::Watch(Watch::new()), seconds);
        if seconds == 0 {
            self.end(now, new, Ending::Asked);
        } else {
            self.run(now, new);
        }
    }

    /// Takes a REFER that is allowed and will be done, and answers it. The first NOTIFY says that it
    /// is being tried.
    pub fn refer(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Message,
        watcher: &Watcher<'_>,
        random: &mut dyn Random,
    ) -> Referred {
        let Some(dialog) = self.dialog_of(key, request, watcher) else { return Referred::Refused };
        if refer::wants_no_news(request) {
            // RFC 4488 §4: nothing is established, neither subscription nor dialog.
            let headers = [("Refer-Sub", "false"), ("Contact", watcher.contact)];
            self.respond(key, request, 202, "", &headers);
            return Referred::Quietly;
        }
        if self.is_full(watcher) {
            self.respond(key, request, 503, "", &[("Retry-After", "60")]);
            return Referred::Refused;
        }
        let Ok(cseq) = request.cseq() else {
            self.respond(key, request, 400, "", &[]);
            return Referred::Refused;
        };
        let headers = [("Contact", watcher.contact)];
        let Some(dialog) = self.accept(key, request, 202, &headers, dialog, random) else {
            return Referred::Refused;
        };
        // RFC 3515 §2.4.6: the CSeq of the REFER tells several apart.
        let event = EventName { package: PackageName::Refer, id: Some(cseq.number.to_string()) };
        let follow = Follow { line: "SIP/2.0 100 Trying".to_owned(), news: true };
        let seconds = self.settings.follow;
        let new = self.insert(now, dialog, watcher, event, Package::Follow(follow), seconds);
        self.run(now, new);
        Referred::Followed(SubscriptionKey(new))
    }

    /// What became of a REFER: a status of the call that it asked for. A final one is the last.
    pub fn progress(&mut self, now: Instant, key: SubscriptionKey, status: u16, reason: &str) {
        let Some(subscription) = self.all.get_mut(&key.0) else { return };
        let Package::Follow(follow) = &mut subscription.package else { return };
        if subscription.ending.is_some() {
            return;
        }
        let reason = if reason.is_empty() { reason_phrase(status) } else { reason };
        follow.line = format!("SIP/2.0 {status} {}", reason.replace(['\r', '\n', '\0'], " "));
        follow.news = true;
        if status >= 200 {
            subscription.ending = Some(Ending::NoResource);
            subscription.expires = subscription.expires.max(now + PATIENCE);
        }
        self.run(now, key.0);
    }

    /// A room is not as it was.
    pub fn changed(&mut self, now: Instant, room: &str) {
        let Some(watched) = self.rooms.get_mut(room) else { return };
        // Who waits for the time of its next news finds what changed since.
        if !std::mem::replace(&mut watched.stale, true) {
            self.run_room(now, room);
        }
    }

    /// How a room is now, see [`Action::Publish`].
    pub fn publish(&mut self, now: Instant, room: &str, roster: Roster) {
        let Some(watched) = self.rooms.get_mut(room) else { return };
        watched.publish(roster, now + self.settings.rest);
        self.run_room(now, room);
    }

    /// A room is no more: its watchers are told so (RFC 4575 §3.3).
    pub fn close(&mut self, now: Instant, room: &str) {
        self.end_some(now, room, Ending::NoResource, |_| true);
    }

    /// Somebody may not watch a room any more.
    pub fn revoke(&mut self, now: Instant, room: &str, member: &str) {
        self.end_some(now, room, Ending::Rejected, |subscription| subscription.member == member);
    }

    /// A call is over. Watching in its dialog ends with it, told by way of `dialog`, which is not
    /// the call's any more; without it silently. News of REFERs go on.
    pub fn call_ended(&mut self, now: Instant, id: &DialogId, dialog: Option<Dialog>, put_out: bool) {
        let Some(keys) = self.by_dialog.get(id).cloned() else { return };
        let Some(dialog) = dialog else {
            keys.into_iter().for_each(|key| self.remove(key));
            return;
        };
        self.dialogs.insert(id.clone(), dialog);
        let ending = if put_out { Ending::Rejected } else { Ending::NoResource };
        for key in keys {
            let watches = |s: &Subscription| matches!(s.package, Package::Watch(_));
            if self.all.get(&key).is_some_and(watches) {
                self.end(now, key, ending);
            }
        }
    }

    /// A NOTIFY was answered. Provisional responses are no matter.
    pub fn answered(&mut self, now: Instant, notify: NotifyKey, response: &Message) {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            return;
        }
        let Some(key) = self.under_way.remove(&notify) else { return };
        let Some(subscription) = self.all.get_mut(&key) else { return };
        subscription.under_way = None;
        if let Some(dialog) = self.dialogs.get_mut(&subscription.dialog) {
            // What is malformed in it changes nothing.
            dialog.response(response).unwrap_or_default();
        }
        let again = response.retry_after().filter(|_| matches!(status, 480 | 486 | 500 | 503));
        match (status, again) {
            _ if subscription.last => self.remove(key),
            (200..300, _) => {
                subscription.challenged = false;
                if let Package::Watch(watch) = &mut subscription.package {
                    watch.arrived();
                }
                self.run(now, key);
            }
            // RFC 6665 §4.2.2: one that says when keeps its subscription.
            (_, Some(seconds)) => {
                subscription.wait = Some(now + Duration::from_secs(seconds.min(3600).into()));
                match &mut subscription.package {
                    Package::Watch(watch) => watch.start_over(),
                    Package::Follow(follow) => follow.news = true,
                }
                self.run(now, key);
            }
            _ => self.remove(key),
        }
    }

    /// A NOTIFY was challenged, and the next one will have the answer (RFC 3261 §22.2): it is said again,
    /// once.
    pub fn challenged(&mut self, now: Instant, notify: NotifyKey) {
        let Some(key) = self.under_way.remove(&notify) else { return };
        let Some(subscription) = self.all.get_mut(&key) else { return };
        subscription.under_way = None;
        if std::mem::replace(&mut subscription.challenged, true) {
            return self.remove(key);
        }
        match &mut subscription.package {
            Package::Watch(watch) => watch.start_over(),
            Package::Follow(follow) => follow.news = true,
        }
        self.run(now, key);
    }

    /// A NOTIFY was not answered, or could not be sent.
    pub fn unanswered(&mut self, notify: NotifyKey) {
        if let Some(key) = self.under_way.remove(&notify) {
            self.remove(key);
        }
    }
}
