//! Random histories of members, media servers and lost messages: at the end both sides hold the same, and
//! when all have left, nothing.

#![allow(clippy::unwrap_used)]

mod net;

use std::time::Duration;

use bytes::Bytes;
use carnet_conference::FetchError;
use carnet_gateway::media::{self, Cause, ConferenceEvent};
use carnet_wire::{Random, SeededRandom};
use net::{FACTORY, Net, TEAM, Wish, config, member};

const PEOPLE: [&str; 4] = ["olga", "alice", "bob", "carol"];

fn history(seed: u64, trace: bool) {
    let mut random = SeededRandom::new(seed);
    let mut net = Net::with(config(2));
    let lossy = seed.is_multiple_of(3);
    if lossy {
        let mut random = SeededRandom::new(seed + 1000);
        net.tap = Some(Box::new(move |_, _, data: &Bytes| match random.u32() % 20 {
            0 => Vec::new(),
            1 => vec![data.clone(), data.clone()],
            _ => vec![data.clone()],
        }));
    }
    for _ in 0..40 {
        let who = PEOPLE[random.u32() as usize % 4];
        let at = random.u32() as usize % 2;
        let now = net.now;
        let what = random.u32() % 20;
        if trace {
            println!("{what} {who} {at}");
        }
        match what {
            0..=4 => {
                let room = if random.u32().is_multiple_of(3) { FACTORY } else { TEAM };
                net.ue(who).answer = None;
                net.join(who, room, &Wish::default());
            }
            5..=7 => {
                if net.ue(who).sessions.iter().any(|session| session.ended.is_none()) {
                    net.bye(who);
                }
            }
            8 => {
                let _ = net.admin(|focus, now, wall| focus.kick(now, wall, TEAM, &member(who)));
            }
            9 => {
                let _ = net.admin(|focus, now, wall| focus.invite(now, wall, TEAM, &member(who)));
            }
            10 => net.kill(at),
            11 => net.revive(at),
            12 => net.mrfps[at].full = !net.mrfps[at].full,
            13 => net.mrfps[at].slow = !net.mrfps[at].slow,
            14 => {
                net.kms_fails = match net.kms_fails {
                    None => Some([FetchError::TimedOut, FetchError::Unreachable][at]),
                    Some(_) => None,
                };
            }
            15 => {
                let ue = net.ue(who);
                ue.refuses = if ue.refuses.is_none() { Some(480) } else { None };
            }
            16 => {
                let holes: Vec<_> = net.mrfps[at].holes.keys().copied().collect();
                if let Some(pinhole) = holes.get(random.u32() as usize % holes.len().max(1)) {
                    net.mrfps[at].tell(media::Event::Closed { pinhole: *pinhole, cause: Cause::Reset });
                }
            }
            17 => {
                if let Some(group) = net.mrfps[at].conferences.keys().next().copied() {
                    let event = ConferenceEvent::Released { user: 1, reason: "slow".into() };
                    net.mrfps[at].tell(media::Event::Conference { group, event });
                }
            }
            18 => {
                let records = net.records.clone();
                net.focus = None;
                net.start(config(2));
                // What came before it began could be a replay.
                net.pass(Duration::from_secs(2));
                net.admin(|focus, now, wall| focus.restore(now, wall, records));
            }
            _ => {
                if net.ue(who).is_asking() {
                    net.ue(who).cancel(now);
                }
            }
        }
        net.settle();
        net.pass(Duration::from_millis(u64::from(random.u32() % 20_000)));
    }
    // All is well again, and time passes.
    net.tap = None;
    net.kms_fails = None;
    for at in 0..2 {
        net.mrfps[at].full = false;
        net.mrfps[at].slow = false;
        if !net.mrfps[at].up {
            net.revive(at);
        }
    }
    for who in PEOPLE {
        net.ue(who).refuses = None;
    }
    net.pass(Duration::from_secs(200));
    // Both sides hold the same.
    let rooms = net.focus().rooms();
    let mut lines = 0;
    for room in &rooms {
        for member in &room.members {
            assert_eq!(member.state, "in", "{member:?} of {}", room.uri);
            lines += member.media.len();
        }
        assert_eq!(room.placed.is_some(), !room.members.is_empty(), "{room:?}");
    }
    let holes: usize = net.mrfps.iter().map(|mrfp| mrfp.holes.len()).sum();
    assert_eq!(holes, lines, "terminations are those of members: {rooms:#?}");
    let load = net.focus().load();
    assert_eq!((load.gateway_requests, load.fetches), (0, 0));
    let members: usize = rooms.iter().map(|room| room.members.len()).sum();
    if trace {
        println!("{members} in {} rooms", rooms.len());
    }
    assert_eq!(load.legs, members);
    // All leave.
    for room in rooms {
        let _ = net.admin(|focus, now, wall| focus.close(now, wall, &room.uri));
    }
    net.pass(Duration::from_secs(60));
    let load = net.focus().load();
    assert_eq!((load.legs, load.requests, load.rooms), (0, 0, 1), "{load:?}");
    assert!(net.mrfps.iter().all(|mrfp| mrfp.gateway.is_idle() && mrfp.conferences.is_empty()));
    assert!(net.records.is_empty(), "{:?}", net.records.keys());
}

#[test]
fn histories() {
    let one = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    if let Some(seed) = one {
        return history(seed, true);
    }
    let many = std::env::var("HISTORIES").ok().and_then(|many| many.parse().ok()).unwrap_or(40);
    for seed in 0..many {
        let done = std::panic::catch_unwind(|| history(seed, false));
        assert!(done.is_ok(), "history {seed}");
    }
}
