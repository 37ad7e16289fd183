//! Whatever either side forgets and whatever is lost on the way: when all is quiet again the gateway
//! has what the user of the controller has, and nothing else.

use super::super::*;
use super::model::{Pair, Wildcards};
use crate::model::{ActionRequest, ContextId, Method, TerminationId};
use carnet_wire::SeededRandom;
use std::collections::{BTreeMap, BTreeSet};

/// What a user of the controller believes.
#[derive(Default)]
struct User {
    adding: BTreeSet<RequestNumber>,
    has: BTreeSet<u32>,
    gives_up: BTreeMap<RequestNumber, u32>,
}

impl User {
    fn hears(&mut self, events: Vec<Event>) -> Vec<u32> {
        let mut unwanted = Vec::new();
        for event in events {
            match event {
                Event::Reply { request, result, .. } => {
                    self.gives_up.remove(&request);
                    if self.adding.remove(&request)
                        && let Ok(actions) = result
                    {
                        self.has.extend(actions[0].context.id());
                    }
                }
                Event::Lost { .. } => self.has.clear(),
                Event::ContextsLost { contexts, .. } => {
                    unwanted.extend(contexts.iter().copied().filter(|id| self.has.remove(id)));
                }
                _ => {}
            }
        }
        unwanted
    }
}

fn subtract(pair: &mut Pair, user: &mut User, context: u32) {
    let all = Command::subtract(TerminationId::ALL).wildcard_response();
    let actions = vec![ActionRequest::new(ContextId::Id(context), vec![all])];
    let request = pair.controller.request(pair.now, "access", actions);
    user.gives_up.insert(request, context);
}

fn go(seed: u64) {
    let mut rng = SeededRandom::new(seed);
    let mut roll = move |sides: u32| rng.u32() % sides;
    let mut pair = Pair::up();
    pair.model.most = [3, 7, usize::MAX][roll(3) as usize];
    if roll(6) == 0 {
        pair.model.wildcards = Wildcards::Unknown;
    }
    let mut user = User::default();
    for _ in 0..150 {
        match roll(20) {
            0..=6 => {
                user.adding.insert(pair.controller.request(pair.now, "access", super::add()));
            }
            7..=9 => {
                let chosen = roll(user.has.len().max(1) as u32) as usize;
                if let Some(id) = user.has.iter().nth(chosen).copied() {
                    user.has.remove(&id);
                    subtract(&mut pair, &mut user, id);
                }
            }
            10 => pair.hold = |_| true,
            11 => pair.let_go(),
            // Replies that never come.
            12 => pair.held.clear(),
            13 => pair.cut = true,
            14 => pair.cut = false,
            15 => {
                // It forgets something.
                let chosen = roll(pair.model.contexts.len().max(1) as u32) as usize;
                if let Some(id) = pair.model.contexts.keys().nth(chosen).copied() {
                    pair.model.contexts.remove(&id);
                }
            }
            16 if !pair.cut => {
                let way = roll(3);
                if way == 0 {
                    pair.model.contexts.clear();
                }
                let method = [Method::Restart, Method::Disconnected, Method::Failover][way as usize].clone();
                pair.change(method, 900);
            }
            17 => pair.model.refuses = [None, None, Some(505), Some(511)][roll(4) as usize],
            _ => pair.run([0, 1, 3, 12, 40][roll(5) as usize]),
        }
        for id in user.hears(pair.take()) {
            subtract(&mut pair, &mut user, id);
        }
    }
    pair.cut = false;
    pair.model.refuses = None;
    pair.let_go();
    // The gateway asks for its terminations, as H.248.36 has it: without that a gateway that knows no
    // wildcards keeps what nobody knows.
    for _ in 0..8 {
        pair.run(200);
        for id in user.hears(pair.take()) {
            subtract(&mut pair, &mut user, id);
        }
        let all: Vec<_> = pair.model.contexts.iter().map(|(id, t)| (*id, t.clone())).collect();
        for (id, names) in all {
            for name in names {
                pair.notify(id, &name, "hangterm/thb");
            }
        }
    }
    user.hears(pair.take());
    let there: BTreeSet<_> = pair.model.contexts.keys().copied().collect();
    assert_eq!(there, user.has, "seed {seed}: on the gateway, of the user");
    let g = &pair.controller.gateways["access"];
    assert!(pair.model.contexts.values().all(|held| held.len() == 2), "seed {seed}");
    assert_eq!((g.inventory.contexts(), g.requests.len()), (there.len(), 0), "seed {seed}");
    assert!(g.suspects.is_none() && g.resync.is_none() && g.strays.is_empty(), "seed {seed}");
    assert!(user.adding.is_empty() && user.gives_up.is_empty(), "seed {seed}: all is answered");
    assert_eq!(pair.condition(), Condition::InService, "seed {seed}");
}

#[test]
fn both_sides_know_the_same_in_the_end() {
    for seed in 0..300 {
        go(seed);
    }
}
