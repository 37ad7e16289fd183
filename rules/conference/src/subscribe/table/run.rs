//! How subscriptions go on: what each is told, and when.

use super::{Ending, PATIENCE, Package, SIPFRAG, Subscription, Subscriptions};
use crate::subscribe::watch::Watch;
use crate::subscribe::{Action, Notice, NotifyKey};
use carnet_roster::{CONTENT_TYPE, Printed, Roster};
use carnet_sip::Method;
use std::time::Instant;

impl Subscriptions {
    pub(super) fn run_room(&mut self, now: Instant, room: &str) {
        let Some(watched) = self.rooms.get(room) else { return };
        for key in watched.watchers.clone() {
            self.run(now, key);
        }
    }

    /// Sends what one is to be told now, and sets its alarm.
    pub(super) fn run(&mut self, now: Instant, key: u64) {
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
    pub(super) fn next_of(&self, now: Instant, subscription: &Subscription) -> Instant {
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
    pub(super) fn step(&mut self, now: Instant, key: u64, subscription: &mut Subscription) -> bool {
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
    pub(super) fn document(
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

    pub(super) fn notify(
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
