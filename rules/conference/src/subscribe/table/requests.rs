//! How requests are answered, and how subscriptions come and go.

use super::{Ending, PATIENCE, Package, Subscription, Subscriptions};
use crate::subscribe::asked::{EventName, PackageName};
use crate::subscribe::{Action, Watcher};
use carnet_sip::{Dialog, DialogId, Message, ServerKey, fresh_tag};
use carnet_wire::Random;
use std::time::{Duration, Instant};

impl Subscriptions {
    pub(super) fn respond(
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
    pub(super) fn dialog_of(
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
    pub(super) fn accept(
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

    pub(super) fn is_full(&self, watcher: &Watcher<'_>) -> bool {
        let of = |key: &&u64| self.all.get(key).is_some_and(|s| s.member == watcher.member);
        let own = self.rooms.get(watcher.room).map_or(0, |r| r.watchers.iter().filter(of).count());
        self.all.len() >= self.settings.most || own >= self.settings.of_one
    }

    pub(super) fn find(&self, dialog: &DialogId, event: &EventName) -> Option<u64> {
        let is = |s: &Subscription| match event {
            // RFC 3515 §2.4.6: the first REFER of a dialog may go without an id.
            EventName { package: PackageName::Refer, id: None } => s.event.package == PackageName::Refer,
            named => s.event == *named,
        };
        let mut keys = self.by_dialog.get(dialog)?.iter().copied();
        keys.find(|key| self.all.get(key).is_some_and(|s| is(s) && s.ending.is_none()))
    }

    pub(super) fn insert(
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

    pub(super) fn refresh(&mut self, now: Instant, key: u64, seconds: u32) {
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

    pub(super) fn end(&mut self, now: Instant, key: u64, ending: Ending) {
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

    pub(super) fn end_some(
        &mut self,
        now: Instant,
        room: &str,
        ending: Ending,
        which: impl Fn(&Subscription) -> bool,
    ) {
        let Some(watched) = self.rooms.get(room) else { return };
        for key in watched.watchers.clone() {
            let ends = |s: &Subscription| matches!(s.package, Package::Watch(_)) && which(s);
            if self.all.get(&key).is_some_and(ends) {
                self.end(now, key, ending);
            }
        }
    }

    pub(super) fn remove(&mut self, key: u64) {
        if let Some(subscription) = self.all.remove(&key) {
            self.forget(key, &subscription);
        }
    }

    pub(super) fn forget(&mut self, key: u64, subscription: &Subscription) {
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
