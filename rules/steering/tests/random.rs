//! Whatever is asked in whatever order, and whatever happens to the gateway: each request is answered
//! once, and when all calls are deleted the gateway has nothing left.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_gateway::media::{Cause, Direction, Event as Media};
use carnet_ng::{Command, Request, Value};
use common::*;
use proptest::prelude::*;
use std::time::Duration;

/// One thing that happens. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Act {
    Offer { call: usize, tags: [usize; 2], branch: usize, sides: usize, sdp: usize },
    Answer { call: usize, tags: [usize; 2], branch: usize, sdp: usize },
    Delete { call: usize, tags: [usize; 2], branch: usize, delay: i64 },
    Slow(bool),
    Ports(Option<usize>),
    Wait(u64),
    Restart,
    Cut(bool),
    Fail(usize),
    Query(usize),
    Link { hole: usize, up: bool },
    Quiet(usize),
}

const TAGS: [&str; 4] = ["", "a", "b", "c"];
const SIDES: [[&str; 2]; 5] =
    [["access", "core"], ["core", "access"], ["access", "access2"], ["core", "core"], ["moon", "core"]];

fn sdp(kind: usize, answers: bool) -> String {
    let setup = if answers { "passive" } else { "actpass" };
    let one = msrp("192.0.2.1", 2855, setup);
    match kind {
        0 => one,
        1 => tls(&one),
        2 => format!("{}a=3ge2ae:requested\r\n", tls(&one)),
        3 => one.replace("a=msrp-cema\r\n", ""),
        4 => format!("{one}{}", msrp_line("192.0.2.1", 2857, setup)),
        5 => one.replace("m=message 2855", "m=message 0"),
        6 => with_audio(&one),
        7 => msrp("192.0.2.1", 2855, "holdconn"),
        8 => "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
            .to_owned(),
        9 => msrp("192.0.2.1", 2855, "active"),
        _ => "m=nonsense".to_owned(),
    }
}

fn act() -> impl Strategy<Value = Act> {
    let tags =
        || prop_oneof![6 => Just([1, 0]), 6 => Just([1, 2]), 3 => Just([2, 1]), 1 => [0usize..4, 0usize..4]];
    let branch = || prop_oneof![4 => Just(0usize), 1 => 1usize..3];
    let kind = || prop_oneof![4 => Just(0usize), 6 => 0usize..11];
    prop_oneof![
        8 => (0usize..3, tags(), branch(), 0usize..5, kind())
            .prop_map(|(call, tags, branch, sides, sdp)| Act::Offer { call, tags, branch, sides, sdp }),
        8 => (0usize..3, tags(), branch(), kind()).prop_map(|(call, tags, branch, sdp)| Act::Answer { call, tags, branch, sdp }),
        3 => (0usize..3, tags(), branch(), prop_oneof![3 => Just(0i64), 1 => Just(20)])
            .prop_map(|(call, tags, branch, delay)| Act::Delete { call, tags, branch, delay }),
        1 => any::<bool>().prop_map(Act::Slow),
        1 => proptest::option::of(0usize..6).prop_map(Act::Ports),
        2 => prop_oneof![Just(100u64), Just(2_500), Just(30_000), Just(200_000)].prop_map(Act::Wait),
        1 => Just(Act::Restart),
        1 => any::<bool>().prop_map(Act::Cut),
        1 => (0usize..4).prop_map(Act::Fail),
        1 => (0usize..3).prop_map(Act::Query),
        3 => (0usize..8, any::<bool>()).prop_map(|(hole, up)| Act::Link { hole, up }),
        1 => (0usize..8).prop_map(Act::Quiet),
    ]
}

fn request(mut request: Request, to: &str, branch: usize) -> Request {
    request.to_tag = Some(to.to_owned()).filter(|to| !to.is_empty());
    if branch > 0 { request.with("via-branch", Value::text(TAGS[branch])) } else { request }
}

fn run(rig: &mut Rig, act: Act) -> Option<u64> {
    let name = |call: usize| format!("c{call}");
    let sent = match act {
        Act::Offer { call, tags: [from, to], branch, sides, sdp: kind } => {
            let offer = Request { more: Vec::new(), ..offer(&name(call), TAGS[from], &sdp(kind, false)) };
            request(offer.with("direction", Value::texts(SIDES[sides])), TAGS[to], branch)
        }
        Act::Answer { call, tags: [from, to], branch, sdp: kind } => {
            request(answer(&name(call), TAGS[from], "", &sdp(kind, true)), TAGS[to], branch)
        }
        Act::Delete { call, tags: [from, to], branch, delay } => {
            let delete = delete(&name(call), TAGS[from]).with("delete-delay", Value::Integer(delay));
            request(delete, TAGS[to], branch)
        }
        Act::Query(call) => Request::new(Command::Query, &name(call), ""),
        Act::Link { hole, up } => {
            let at = rig.holes.keys().nth(hole).copied();
            if let Some(pinhole) = at {
                rig.gateway.handle_media(
                    rig.now,
                    match up {
                        true => Media::Established { pinhole, peer: "192.0.2.1:4000".parse().unwrap() },
                        false => Media::Closed { pinhole, cause: Cause::Reset },
                    },
                );
                rig.settle();
            }
            return None;
        }
        Act::Quiet(hole) => {
            if let Some(pinhole) = rig.holes.keys().nth(hole).copied() {
                rig.gateway.handle_media(rig.now, Media::Inactive { pinhole, direction: Direction::Both });
                rig.settle();
            }
            return None;
        }
        Act::Slow(slow) => {
            rig.slow = slow;
            rig.settle();
            return None;
        }
        Act::Ports(ports) => {
            rig.ports = ports;
            return None;
        }
        Act::Wait(millis) => {
            rig.pass(Duration::from_millis(millis));
            return None;
        }
        Act::Restart => {
            rig.restart_gateway();
            return None;
        }
        Act::Cut(cut) => {
            rig.cut = cut;
            return None;
        }
        Act::Fail(at) => {
            let failed = rig.gateway.context_ids(0).nth(at);
            if let Some(id) = failed {
                rig.gateway.context_failed(rig.now, id, 904);
                rig.settle();
            }
            return None;
        }
    };
    Some(rig.send(sent))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaks_and_everybody_is_answered(acts in proptest::collection::vec(act(), 1..60)) {
        let mut rig = Rig::with(|config| {
            config.limits.dialogs = 3;
            config.limits.requests = 6;
        });
        let mut asked: Vec<_> = acts.into_iter().filter_map(|act| run(&mut rig, act)).collect();
        // All is well again.
        (rig.slow, rig.cut, rig.ports) = (false, false, None);
        rig.settle();
        // What a gateway made that was given up long ago shows in the next comparison with it.
        rig.pass(Duration::from_secs(400));
        prop_assert_eq!(rig.steering.load().requests, 0);
        // What a context is of and what a call has is the same.
        let ids: Vec<_> = rig.gateway.context_ids(0).collect();
        let known = ids.iter().filter(|id| rig.steering.call_of(**id).is_some()).count();
        prop_assert_eq!(known, ids.len(), "contexts of nobody");
        for call in ["c0", "c1", "c2"] {
            asked.push(rig.send(delete(call, "").with("delete-delay", Value::Integer(0))));
        }
        rig.pass(Duration::from_secs(10));
        prop_assert_eq!(rig.gateway.contexts(), 0);
        prop_assert!(rig.holes.is_empty(), "{:?}", rig.holes);
        prop_assert_eq!(rig.steering.load(), carnet_steering::Load::default());
        for id in asked {
            let reply = rig.replies.remove(&id);
            prop_assert!(reply.is_some_and(|r| r.text_of("result").is_some()), "{}", id);
        }
        prop_assert!(rig.replies.is_empty());
        // It still works.
        rig.sdp(offer("after", "a", &sdp(0, false)));
        rig.sdp(answer("after", "a", "b", &sdp(0, true)));
        rig.ask(delete("after", "a"));
        prop_assert_eq!(rig.gateway.contexts(), 0);
    }
}
