//! Other settings while calls are up.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_ng::{Request, Value};
use carnet_steering::{Config, Interface};
use common::*;
use std::time::Duration;

fn renewed(rig: &mut Rig, change: impl FnOnce(&mut Config)) {
    let mut config = config();
    change(&mut config);
    rig.steering.reconfigure(rig.now, config).unwrap();
    rig.settle();
}

/// An offer between interfaces.
fn between(call: &str, [near, far]: [&str; 2]) -> Request {
    unnamed(call).with("direction", Value::texts([near, far]))
}

/// An offer that names none.
fn unnamed(call: &str) -> Request {
    let mut request = Request::new(carnet_ng::Command::Offer, call, "a");
    request.sdp = Some(msrp("192.0.2.1", 2855, "actpass").into());
    request
}

#[test]
fn interfaces_come_and_go_around_a_call() {
    let mut rig = Rig::new();
    let there = rig.sdp(offer("c1", "a", &msrp("192.0.2.1", 2855, "actpass")));
    rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));

    // The one that the call has comes first and goes; one that is new leads to the same realm.
    renewed(&mut rig, |config| {
        config.interfaces.retain(|interface| interface.name != "access");
        config.interfaces.push(Interface { realm: "access".into(), ..interface("other") });
    });
    let why = rig.error(between("c2", ["access", "core"]));
    assert!(why.contains("only core, access2, other"), "{why}");
    // A further offer of the call is as if nothing had happened.
    assert_eq!(rig.sdp(reoffer("c1", "a", "b", &msrp("192.0.2.1", 2855, "actpass"))), there);
    rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    // Requests that name none mean the first of those that there are.
    rig.sdp(unnamed("c3"));
    assert_eq!(rig.holes.values().filter(|hole| hole.realm == "core").count(), 3, "one of before and two");
    rig.ask(delete("c3", "a"));
    rig.sdp(between("c4", ["other", "core"]));
    rig.ask(delete("c4", "a"));

    // Back again: it is there for new calls, and the one of before keeps what it has.
    renewed(&mut rig, |_| {});
    rig.sdp(between("c5", ["access", "core"]));
    assert!(rig.error(between("c6", ["other", "core"])).ends_with("only core, access2, access"));
    rig.ask(delete("c5", "a"));
    assert_eq!(rig.sdp(reoffer("c1", "a", "b", &msrp("192.0.2.1", 2855, "actpass"))), there);
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

/// The same name with another realm behind it is another interface: the call stays where it is.
#[test]
fn an_interface_that_leads_elsewhere_is_another_one() {
    let mut rig = Rig::new();
    let there = rig.sdp(offer("c1", "a", &msrp("192.0.2.1", 2855, "actpass")));
    rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
    for _ in 0..3 {
        renewed(&mut rig, |config| config.interfaces[0].realm = "access2".into());
        assert_eq!(rig.sdp(reoffer("c1", "a", "b", &msrp("192.0.2.1", 2855, "actpass"))), there);
        rig.sdp(answer("c1", "a", "b", &msrp("198.51.100.9", 2000, "passive")));
        rig.sdp(between("c2", ["access", "core"]));
        assert_eq!(rig.hole("access2").realm, "access2");
        rig.ask(delete("c2", "a"));
        renewed(&mut rig, |_| {});
        rig.sdp(between("c3", ["access", "core"]));
        assert_eq!(rig.holes.values().filter(|hole| hole.realm == "access").count(), 2);
        rig.ask(delete("c3", "a"));
    }
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn bounds_and_times_are_others() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &msrp("192.0.2.1", 2855, "actpass")));
    renewed(&mut rig, |config| {
        config.limits.calls = 1;
        config.policy.relay_plain = false;
    });
    assert!(
        rig.error(offer("c2", "a", &msrp("192.0.2.1", 2855, "actpass"))).len() > 3,
        "plain is refused now"
    );
    assert_eq!(
        rig.overload(offer("c3", "a", &tls(&msrp("192.0.2.1", 2855, "actpass")))),
        "as many calls as may be"
    );
    // The offer that was not answered ends by the time that holds now.
    renewed(&mut rig, |config| config.timers.offer = Duration::from_secs(5));
    rig.sdp(offer("c4", "a", &msrp("192.0.2.1", 2855, "actpass")));
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.ask(delete("c4", "a")).text_of("result"), Some("ok"));
    rig.ask(delete("c1", "a"));
    rig.assert_empty();
}

#[test]
fn what_it_is_does_not_change() {
    let mut rig = Rig::new();
    let mut wrong = |change: fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        rig.steering.reconfigure(rig.now, config).unwrap_err()
    };
    wrong(|config| config.name = "other".into());
    wrong(|config| config.interfaces.clear());
    rig.sdp(between("c1", ["access", "core"]));
}
