//! Whatever the cuts, the stalls and the broken connections: a member that stays gets every message once,
//! and those of one sender in their order.

use crate::harness::*;
use carnet_msrp::Status;
use carnet_room::{History, Limits, Settings};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// A member says something of this length.
    Say(u16, usize),
    /// A member's link takes so many octets a turn.
    Pace(u16, usize),
    /// A member stops reading, or reads again.
    Stall(u16, bool),
    /// A member's connection breaks and another is opened.
    Break(u16),
    /// So many turns.
    Turns(usize),
}

const MEMBERS: u16 = 4;

fn step(breaks: bool) -> impl Strategy<Value = Step> {
    let who = 1..=MEMBERS;
    prop_oneof![
        4 => (who.clone(), prop_oneof![0usize..100, 1900usize..2200, 0usize..30_000]).prop_map(|(m, n)| Step::Say(m, n)),
        2 => (who.clone(), 50usize..5000).prop_map(|(m, n)| Step::Pace(m, n)),
        1 => (who.clone(), any::<bool>()).prop_map(|(m, on)| Step::Stall(m, on)),
        if breaks { 1 } else { 0 } => who.prop_map(Step::Break),
        3 => (1usize..60).prop_map(Step::Turns),
    ]
}

/// Plays the steps. Returns what each sender said and was acknowledged, in its order.
fn play(steps: &[Step], limits: Limits) -> (World, Vec<Vec<String>>) {
    let settings = Settings { history: History { count: 0, ..History::default() }, ..quiet() };
    let mut w = World::new(settings, limits);
    (1..=MEMBERS).for_each(|id| w.enter(id));
    let mut said = vec![Vec::new(); usize::from(MEMBERS) + 1];
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Say(id, length) => {
                let text = format!("{id}.{n} {}", "x".repeat(*length));
                let key = w.say(*id, &text);
                // The next is said when this one is acknowledged, so that there is an order to keep.
                let mut turns = 0;
                while w.status(*id, key).is_none() {
                    let moved = w.turn();
                    turns += 1;
                    if !moved || turns > 20_000 {
                        (1..=MEMBERS).for_each(|m| w.client(m).stalled = false);
                    }
                    assert!(turns < 40_000, "no answer to {n}");
                }
                assert_eq!(w.status(*id, key), Some(Status::OK));
                said[usize::from(*id)].push(text);
            }
            Step::Pace(id, step) => w.client(*id).step = *step,
            Step::Stall(id, on) => w.client(*id).stalled = *on,
            Step::Break(id) => {
                w.cut(*id);
                w.connect(*id, &uri(*id));
            }
            Step::Turns(n) => {
                for _ in 0..*n {
                    w.turn();
                }
            }
        }
    }
    (1..=MEMBERS).for_each(|id| w.client(id).stalled = false);
    w.settle();
    (w, said)
}

/// What a member got of one sender, repetitions under the same identifier left out.
fn got_of(w: &World, member: u16, sender: u16) -> (Vec<String>, usize) {
    let mut seen = std::collections::HashSet::new();
    let inbox = w.clients[&member].inbox.iter().filter(|got| got.from == uri(sender));
    let all: Vec<_> = inbox.collect();
    let once: Vec<_> = all.iter().filter(|got| seen.insert(&got.id)).map(|got| got.text.clone()).collect();
    let repeated = all.len() - once.len();
    (once, repeated)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn once_and_in_order(steps in proptest::collection::vec(step(false), 1..40), window in 1usize..50_000) {
        let (w, said) = play(&steps, Limits { window, ..Limits::default() });
        for member in 1..=MEMBERS {
            for sender in (1..=MEMBERS).filter(|s| *s != member) {
                let (got, repeated) = got_of(&w, member, sender);
                prop_assert_eq!(&got, &said[usize::from(sender)]);
                prop_assert_eq!(repeated, 0);
            }
        }
        prop_assert_eq!(w.room.held_messages(), 0);
        prop_assert_eq!(w.room.counters().held, 0);
        prop_assert!(w.room.roster().iter().all(|m| m.queued == 0));
    }

    #[test]
    fn also_when_connections_break(steps in proptest::collection::vec(step(true), 1..40)) {
        let (w, said) = play(&steps, Limits::default());
        for member in 1..=MEMBERS {
            for sender in (1..=MEMBERS).filter(|s| *s != member) {
                prop_assert_eq!(&got_of(&w, member, sender).0, &said[usize::from(sender)]);
            }
        }
        prop_assert_eq!(w.room.held_messages(), 0);
        prop_assert_eq!(w.room.counters().held, 0);
        prop_assert!(w.room.roster().iter().all(|m| m.queued == 0 && m.connected));
    }
}
