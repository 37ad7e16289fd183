//! The subscriptions of a focus.

use super::asked::{EventName, PackageName, accepts};
use super::watch::{Watch, Watched};
use super::{Action, Notice, NotifyKey, Referred, Settings, SubscriptionKey, Watcher};
use crate::refer;
use crate::roster::Refusal;
use carnet_roster::{CONTENT_TYPE, Printed, Roster};
use carnet_sip::{Dialog, DialogId, Message, Method, ServerKey, fresh_tag, reason_phrase};
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

/// How requests are answered.
impl Subscriptions {
    fn respond(
        &mut self,
        key: ServerKey,
        request: &Message,
        status: u16,
        reason: &str,
        headers: &[(&str, &str)],
    ) {
        if let Some(response) = response(request, status, reason, headers) {
            self.actions.push_back(Action::Respond(key, Box::new(response)));
        }
    }

    /// The dialog a request came in, if it came in one; outer `None` if it has been refused.
    #[allow(clippy::option_option)]
    fn dialog_of(
        &mut self,
        key: ServerKey,
        request: &Message,
        watcher: &Watcher<'_>,
    ) -> Option<Option<DialogId>> {
        if let Some(within) = watcher.within {
            return Some(Some(within.clone()));
        }
        if request.to_tag().is_none() {
            return Some(None);
        }
        let id = DialogId::of_request(request).ok()?;
        let Some(dialog) = self.dialogs.get_mut(&id) else {
            self.respond(key, request, 481, "", &[]);
            return None;
        };
        if let Err(error) = dialog.receive(request) {
            let status = error.status().unwrap_or(400);
            self.respond(key, request, status, "", &[]);
            return None;
        }
        Some(Some(id))
    }

    /// Answers a request that makes a subscription, in the dialog it makes if it came in none.
    fn accept(
        &mut self,
        key: ServerKey,
        request: &Message,
        status: u16,
        headers: &[(&str, &str)],
        dialog: Option<DialogId>,
        random: &mut dyn Random,
    ) -> Option<DialogId> {
        let mut response = response(request, status, "", headers)?;
        let dialog = match dialog {
            Some(dialog) => Some(dialog),
            None => tagged(&mut response, &fresh_tag(random))
                .and_then(|()| Dialog::callee(request, &response))
                .ok()
                .map(|new| {
                    let id = new.id();
                    self.dialogs.insert(id.clone(), new);
                    id
                }),
        };
        if dialog.is_none() {
            // No Contact, or one that cannot be read.
            self.respond(key, request, 400, "", &[]);
            return None;
        }
        self.actions.push_back(Action::Respond(key, Box::new(response)));
        dialog
    }

    fn is_full(&self, watcher: &Watcher<'_>) -> bool {
        let of = |key: &&u64| self.all.get(key).is_some_and(|s| s.member == watcher.member);
        let own = self.rooms.get(watcher.room).map_or(0, |r| r.watchers.iter().filter(of).count());
        self.all.len() >= self.settings.most || own >= self.settings.of_one
    }

    fn find(&self, dialog: &DialogId, event: &EventName) -> Option<u64> {
        let is = |s: &Subscription| match event {
            // RFC 3515 §2.4.6: the first REFER of a dialog may go without an id.
            EventName { package: PackageName::Refer, id: None } => s.event.package == PackageName::Refer,
            named => s.event == *named,
        };
        let mut keys = self.by_dialog.get(dialog)?.iter().copied();
        keys.find(|key| self.all.get(key).is_some_and(|s| is(s) && s.ending.is_none()))
    }

    fn insert(
        &mut self,
        now: Instant,
        dialog: DialogId,
        watcher: &Watcher<'_>,
        event: EventName,
        package: Package,
        seconds: u32,
    ) -> u64 {
        let key = self.next;
        self.next += 1;
        self.by_dialog.entry(dialog.clone()).or_default().insert(key);
        // Those who follow a REFER are counted with those who watch; they are not told its news.
        self.rooms.entry(watcher.room.to_owned()).or_default().watchers.insert(key);
        let new = Subscription {
            dialog,
            room: watcher.room.to_owned(),
            member: watcher.member.to_owned(),
            contact: watcher.contact.to_owned(),
            event,
            package,
            expires: now + Duration::from_secs(seconds.into()),
            ending: None,
            under_way: None,
            last: false,
            challenged: false,
            wait: None,
            alarm: None,
        };
        self.all.insert(key, new);
        key
    }

    fn refresh(&mut self, now: Instant, key: u64, seconds: u32) {
        let Some(subscription) = self.all.get_mut(&key) else { return };
        subscription.expires = now + Duration::from_secs(seconds.into());
        match &mut subscription.package {
            // RFC 6665 §4.2.1.2: a refresh is answered with the whole state.
            Package::Watch(watch) => watch.start_over(),
            Package::Follow(follow) => follow.news = true,
        }
        subscription.wait = None;
        if seconds == 0 { self.end(now, key, Ending::Asked) } else { self.run(now, key) }
    }

    fn end(&mut self, now: Instant, key: u64, ending: Ending) {
        let Some(subscription) = self.all.get_mut(&key) else { return };
        let asked = subscription.ending == Some(Ending::Asked) && ending == Ending::NoResource;
        if subscription.ending.is_none() || asked {
            subscription.ending = Some(ending);
            subscription.expires = subscription.expires.max(now + PATIENCE);
            subscription.wait = None;
            if let Package::Watch(watch) = &mut subscription.package {
                watch.rest.clear();
                watch.whole = ending == Ending::Asked;
            }
            self.run(now, key);
        }
    }

    fn end_some(&mut self, now: Instant, room: &str, ending: Ending, which: impl Fn(&Subscription) -> bool) {
        let Some(watched) = self.rooms.get(room) else { return };
        for key in watched.watchers.clone() {
            let ends = |s: &Subscription| matches!(s.package, Package::Watch(_)) && which(s);
            if self.all.get(&key).is_some_and(ends) {
                self.end(now, key, ending);
            }
        }
    }

    fn remove(&mut self, key: u64) {
        if let Some(subscription) = self.all.remove(&key) {
            self.forget(key, &subscription);
        }
    }

    fn forget(&mut self, key: u64, subscription: &Subscription) {
        if let Some(at) = subscription.alarm {
            self.alarms.remove(&(at, key));
        }
        if let Some(notify) = subscription.under_way {
            self.under_way.remove(&notify);
        }
        if let Some(keys) = self.by_dialog.get_mut(&subscription.dialog) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_dialog.remove(&subscription.dialog);
                self.dialogs.remove(&subscription.dialog);
            }
        }
        if let Some(watched) = self.rooms.get_mut(&subscription.room) {
            watched.watchers.remove(&key);
            if watched.watchers.is_empty() {
                self.rooms.remove(&subscription.room);
            }
        }
    }
}

/// How they go on.
impl Subscriptions {
    fn run_room(&mut self, now: Instant, room: &str) {
        let Some(watched) = self.rooms.get(room) else { return };
        for key in watched.watchers.clone() {
            self.run(now, key);
        }
    }

    /// Sends what one is to be told now, and sets its alarm.
    fn run(&mut self, now: Instant, key: u64) {
        let Some(mut subscription) = self.all.remove(&key) else { return };
        if let Some(at) = subscription.alarm.take() {
            self.alarms.remove(&(at, key));
        }
        if !self.step(now, key, &mut subscription) {
            return self.forget(key, &subscription);
        }
        if subscription.under_way.is_none() {
            let at = self.next_of(now, &subscription);
            subscription.alarm = Some(at);
            self.alarms.insert((at, key));
        }
        self.all.insert(key, subscription);
    }

    /// When one that has nothing under way goes on without being told.
    fn next_of(&self, now: Instant, subscription: &Subscription) -> Instant {
        if let Some(wait) = subscription.wait {
            return wait.min(subscription.expires);
        }
        let Package::Watch(watch) = &subscription.package else { return subscription.expires };
        let Some(room) = self.rooms.get(&subscription.room) else { return subscription.expires };
        // A room that was asked for will be published, or it is no more.
        if !room.is_news(watch.knows.as_ref()) || room.asked {
            return subscription.expires;
        }
        let next = watch.pace.next(now, self.settings.pace, self.settings.burst);
        let rests = room.rests.filter(|_| room.stale).unwrap_or(next);
        next.max(rests).min(subscription.expires)
    }

    /// False if it is over.
    fn step(&mut self, now: Instant, key: u64, subscription: &mut Subscription) -> bool {
        if subscription.under_way.is_some() {
            return true;
        }
        if subscription.ending.is_none() && subscription.expires <= now {
            subscription.ending = Some(Ending::TimedOut);
            subscription.expires = now + PATIENCE;
            subscription.wait = None;
            if let Package::Watch(watch) = &mut subscription.package {
                watch.rest.clear();
                watch.whole = false;
            }
        }
        if subscription.expires <= now {
            // Its room was never published, or its watcher says to wait and wait.
            return false;
        }
        if subscription.wait.is_some_and(|at| at > now) {
            return true;
        }
        subscription.wait = None;
        let Subscription { package, ending, room, .. } = subscription;
        let body = match package {
            Package::Follow(follow) => {
                if !follow.news && ending.is_none() {
                    return true;
                }
                follow.news = false;
                subscription.last = ending.is_some();
                Some((SIPFRAG, format!("{}\r\n", follow.line)))
            }
            Package::Watch(watch) => {
                let Some(document) = self.document(now, room, watch, *ending) else { return true };
                subscription.last = ending.is_some() && watch.rest.is_empty();
                document.map(|document| {
                    watch.version = watch.version.saturating_add(1);
                    (CONTENT_TYPE, document.with_version(watch.version))
                })
            }
        };
        self.notify(now, key, subscription, body)
    }

    /// The document to send now. Outer `None` if nothing is to be sent; inner `None` for a NOTIFY
    /// without one.
    #[allow(clippy::option_option)]
    fn document(
        &mut self,
        now: Instant,
        room: &str,
        watch: &mut Watch,
        ending: Option<Ending>,
    ) -> Option<Option<Printed>> {
        match ending {
            Some(Ending::NoResource) => return Some(Some(Roster::deleted(room, 0).printed())),
            Some(Ending::TimedOut | Ending::Rejected) => return Some(None),
            Some(Ending::Asked) | None => {}
        }
        if let Some(next) = watch.rest.pop_front() {
            return Some(Some(next));
        }
        let watched = self.rooms.get_mut(room)?;
        if !watch.whole {
            let next = watch.pace.next(now, self.settings.pace, self.settings.burst);
            if ending.is_some() || !watched.is_news(watch.knows.as_ref()) || next > now {
                return None;
            }
        }
        let Some(current) = watched.fresh(now, watch.whole).cloned() else {
            let rests = watched.rests.is_some_and(|at| now < at);
            if !rests && !std::mem::replace(&mut watched.asked, true) {
                self.actions.push_back(Action::Publish(room.to_owned()));
            }
            return None;
        };
        let from = watch.knows.clone().filter(|_| !watch.whole);
        let documents = watched.documents(from.as_ref(), &current, self.settings.octets);
        watch.rest = documents.iter().cloned().collect();
        let Some(first) = watch.rest.pop_front() else {
            watch.knows = Some(current);
            return None;
        };
        if !std::mem::replace(&mut watch.whole, false) {
            watch.pace.spend(now, self.settings.pace);
        }
        watch.will_know = Some(current);
        Some(Some(first))
    }

    fn notify(
        &mut self,
        now: Instant,
        key: u64,
        subscription: &mut Subscription,
        body: Option<(&'static str, String)>,
    ) -> bool {
        let state = match subscription.ending.filter(|_| subscription.last) {
            Some(ending) => format!("terminated;reason={}", ending.reason()),
            None => {
                let left = subscription.expires.saturating_duration_since(now);
                format!("active;expires={}", left.as_secs_f64().ceil())
            }
        };
        let notice = Notice {
            headers: vec![
                ("Contact", subscription.contact.clone()),
                ("Event", subscription.event.value()),
                ("Subscription-State", state),
            ],
            body: body.map(|(kind, text)| (kind, text.into())),
        };
        let notify = NotifyKey(self.next);
        self.next += 1;
        let action = match self.dialogs.get_mut(&subscription.dialog) {
            None => Action::RequestWithin(notify, subscription.dialog.clone(), notice),
            Some(dialog) => {
                let made = dialog.request(Method::Notify).and_then(|mut message| {
                    notice.fill(&mut message)?;
                    Ok(message)
                });
                let Ok(message) = made else { return false };
                Action::Request(notify, Box::new(message), dialog.destination())
            }
        };
        self.actions.push_back(action);
        self.under_way.insert(notify, key);
        subscription.under_way = Some(notify);
        true
    }
}

/// A response with these headers. `None` if the request is none that can be answered.
fn response(request: &Message, status: u16, reason: &str, headers: &[(&str, &str)]) -> Option<Message> {
    let mut response = Message::response(request, status, reason).ok()?;
    for (name, value) in headers {
        response.set_header(name, value).ok()?;
    }
    Some(response)
}

/// Gives To its tag.
fn tagged(response: &mut Message, tag: &str) -> Result<(), carnet_sip::Error> {
    let to = response.to()?.with_tag(tag)?;
    response.set_header("To", &to.to_string())
}
