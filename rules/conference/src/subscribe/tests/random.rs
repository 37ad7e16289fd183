//! Whatever changes and whatever gets lost: a watcher that follows the rules ends up with the room
//! as it is.

use super::rig::{ROOM, Rig, Ua, enter, leave, ordered};
use crate::roster::Line;
use crate::subscribe::Settings;
use carnet_roster::{Applied, Document, Limits, MediaStatus, Status, View};
use carnet_sip::Message;
use proptest::prelude::*;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Step {
    Enter(u8),
    Leave(u8),
    Nickname(u8, u8),
    Lines(u8, u8),
    Mute(u8, bool),
    Subject(u8),
    Lock(bool),
    Wait(u16),
    /// The next NOTIFY is answered and not looked at.
    Miss,
    /// The next NOTIFY is answered 503 with Retry-After.
    Busy,
    /// The next NOTIFY is answered 481.
    Forgotten,
    Refresh,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..12_u8;
    let step = prop_oneof![
        4 => who.clone().prop_map(Step::Enter),
        3 => who.clone().prop_map(Step::Leave),
        2 => (who.clone(), 0..4_u8).prop_map(|(w, n)| Step::Nickname(w, n)),
        2 => (who.clone(), 0..8_u8).prop_map(|(w, n)| Step::Lines(w, n)),
        1 => (who, any::<bool>()).prop_map(|(w, on)| Step::Mute(w, on)),
        1 => (0..4_u8).prop_map(Step::Subject),
        1 => any::<bool>().prop_map(Step::Lock),
        4 => (0..40_000_u16).prop_map(Step::Wait),
        1 => Just(Step::Miss),
        1 => Just(Step::Busy),
        1 => Just(Step::Forgotten),
        1 => Just(Step::Refresh),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A watcher by the rules of RFC 4575 §4.6 and RFC 6665 §4.1.
struct Follower {
    ua: Ua,
    view: View,
    calls: u32,
    subscribed: bool,
    next: Option<Step>,
}

impl Follower {
    fn subscribe(&mut self, rig: &mut Rig) {
        if !self.subscribed {
            self.calls += 1;
            self.ua = Ua::new("alice", &format!("c{}", self.calls));
            self.view.resubscribed();
        }
        rig.give(self.ua.subscribe(100_000));
        self.subscribed = true;
    }

    fn take(&mut self, rig: &mut Rig) {
        while let Some(message) = rig.take() {
            if let Some(status) = message.status() {
                match status {
                    200 => self.ua.learn(&message),
                    481 => {
                        self.subscribed = false;
                        self.subscribe(rig);
                    }
                    other => panic!("{other}"),
                }
                continue;
            }
            match self.next.take() {
                Some(Step::Busy) => rig.answer(&message, 503, "Retry-After: 7\r\n"),
                Some(Step::Forgotten) => {
                    self.subscribed = false;
                    rig.answer(&message, 481, "");
                    self.subscribe(rig);
                }
                Some(Step::Miss) => rig.answer(&message, 200, ""),
                _ => {
                    // One that came in a dialog we gave up.
                    if message.call_id().unwrap() != format!("c{}", self.calls) {
                        rig.answer(&message, 481, "");
                        continue;
                    }
                    rig.answer(&message, 200, "");
                    self.look(rig, &message);
                }
            }
        }
    }

    fn look(&mut self, rig: &mut Rig, notify: &Message) {
        let document = Document::parse(notify.body(), &Limits::default()).unwrap();
        match self.view.apply(&document) {
            Ok(Applied::Gap) => self.subscribe(rig),
            Ok(Applied::Changed(_) | Applied::Old) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn apply(rig: &mut Rig, follower: &mut Follower, step: Step) {
    let member = |n: u8| format!("sip:{n}@example.com");
    match step {
        Step::Enter(who) => rig.change(|room, _| enter(room, &member(who))),
        Step::Leave(who) => rig.change(|room, now| leave(room, now, &member(who))),
        Step::Nickname(who, n) => {
            let names = [None, Some("Ann"), Some("<&>"), Some("\u{1F980}")];
            rig.change(|room, _| room.nickname(&member(who), names[usize::from(n)]));
        }
        Step::Lines(who, bits) => {
            let line = |id: u8| Line {
                id: id.to_string(),
                kind: "message".into(),
                label: (id == 1).then(|| "1".into()),
                status: MediaStatus::SendRecv,
                sealed: bits & 4 != 0,
            };
            let lines: Vec<Line> = (0..2).filter(|id| bits >> id & 1 == 1).map(line).collect();
            rig.change(|room, _| room.lines(&member(who), "e", &lines));
        }
        Step::Mute(who, on) => {
            let status = if on { Status::Muted } else { Status::Connected };
            rig.change(|room, _| room.status(&member(who), "e", status));
        }
        Step::Subject(n) => {
            rig.change(|room, _| room.subject([None, Some("a"), Some("b"), Some("")][usize::from(n)]));
        }
        Step::Lock(on) => rig.change(|room, _| room.lock(on)),
        Step::Wait(ms) => {
            // A watcher answers at once.
            for _ in 0..ms / 1000 {
                rig.wait(Duration::from_secs(1));
                follower.take(rig);
            }
            rig.wait(Duration::from_millis(u64::from(ms % 1000)));
            let now = rig.now;
            if rig.room.settle(now) {
                rig.change(|_, _| {});
            }
        }
        Step::Refresh => follower.subscribe(rig),
        other => follower.next = Some(other),
    }
    follower.take(rig);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_watcher_ends_up_with_the_room_as_it_is(steps in steps(), octets in prop_oneof![Just(300_usize), Just(40_000)], rest in prop_oneof![Just(0), Just(200_u64)]) {
        let rest = Duration::from_millis(rest);
        let mut rig = Rig::resting(Settings { octets, rest, ..Settings::default() });
        let mut follower =
            Follower { ua: Ua::new("alice", "c0"), view: View::default(), calls: 0, subscribed: false, next: None };
        follower.subscribe(&mut rig);
        follower.take(&mut rig);
        for step in steps {
            apply(&mut rig, &mut follower, step);
        }
        follower.next = None;
        // One more change shows a gap that the last loss left.
        rig.change(|room, _| enter(room, "sip:last@example.com"));
        for _ in 0..8 {
            follower.take(&mut rig);
            rig.wait(Duration::from_secs(10));
        }
        follower.take(&mut rig);
        prop_assert_eq!(ordered(follower.view.roster()), rig.roster());
        prop_assert_eq!(rig.subscriptions.watchers(ROOM), 1);
    }
}
