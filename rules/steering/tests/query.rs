//! What is told of calls: query, list, statistics, and the answer to a delete.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_gateway::media::Event as Media;
use carnet_ng::{Command, Request, Value};
use common::*;
use std::time::Duration;

const OFFER: fn() -> String = || msrp("192.0.2.1", 2855, "actpass");
const ANSWER: fn() -> String = || msrp("198.51.100.9", 2000, "passive");

fn query(call: &str, from: &str, to: Option<&str>) -> Request {
    Request { to_tag: to.map(str::to_owned), ..Request::new(Command::Query, call, from) }
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| match (value, key.parse::<usize>()) {
        (Value::List(list), Ok(index)) => list.get(index),
        _ => value.get(key),
    })
}

fn number(value: &Value, path: &[&str]) -> i64 {
    match at(value, path) {
        Some(Value::Integer(n)) => *n,
        other => panic!("{path:?}: {other:?} in {value:?}"),
    }
}

#[test]
fn a_call_is_told_of() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()).with("label", Value::text("left")));
    let told = rig.ask(query("c1", "", None));
    assert_eq!(at(&told, &["tags", "a", "in dialogue with"]), None);
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    let (access, core) = (rig.hole("access").local, rig.hole("core").local);
    let pinhole = *rig.holes.iter().find(|(_, h)| h.realm == "core").unwrap().0;
    rig.gateway
        .handle_media(rig.now, Media::Established { pinhole, peer: "198.51.100.9:2000".parse().unwrap() });
    rig.passed = 1000;
    rig.pass(Duration::from_secs(20));
    let context = rig.gateway.context_ids(0).next().unwrap();
    let told = rig.ask(query("c1", "", None));
    assert_eq!(told.text_of("result"), Some("ok"));
    // The clock of the tests begins at 1970; the gateway took 5 seconds to register.
    assert_eq!((number(&told, &["created"]), number(&told, &["last signal"])), (5, 5));
    for (tag, far, local) in [("a", "b", access), ("b", "a", core)] {
        assert_eq!(at(&told, &["tags", tag, "in dialogue with"]), Some(&Value::text(far)));
        let medium = at(&told, &["tags", tag, "medias", "0"]).unwrap();
        assert_eq!(number(medium, &["index"]), 1);
        assert_eq!((medium.text_of("type"), medium.text_of("protocol")), (Some("message"), Some("TCP/MSRP")));
        assert_eq!(
            at(medium, &["streams", "0", "local address"]),
            Some(&Value::text(&local.ip().to_string()))
        );
        assert_eq!(number(medium, &["streams", "0", "local port"]), i64::from(local.port()));
        assert_eq!(number(medium, &["streams", "0", "stats", "bytes"]), 1000);
        assert_eq!(number(medium, &["carnet", "context"]), i64::from(context));
        assert_eq!(at(medium, &["carnet", "decision"]), Some(&Value::text("plain")));
    }
    assert_eq!(number(&told, &["tags", "b", "medias", "0", "streams", "0", "endpoint", "port"]), 2000);
    assert_eq!(number(&told, &["tags", "b", "medias", "0", "carnet", "connected"]), 1);
    assert_eq!(at(&told, &["tags", "a", "label"]), Some(&Value::text("left")));
    assert_eq!(number(&told, &["totals", "RTP", "bytes"]), 2000);
    // Nobody of that name is in it; nobody has that call.
    let told = rig.ask(query("c1", "x", None));
    assert_eq!(at(&told, &["tags"]), Some(&Value::Dictionary(Vec::new())));
    assert_eq!(rig.error(query("c2", "", None)), "Unknown call-id");
    // The last counters come with the end.
    rig.passed = 5000;
    let told = rig.ask(delete("c1", "a"));
    assert_eq!(number(&told, &["tags", "a", "medias", "0", "streams", "0", "stats", "bytes"]), 5005);
    assert_eq!(number(&told, &["tags", "a", "medias", "0", "streams", "0", "stats_out", "bytes"]), 5007);
    assert_eq!(
        number(&told, &["tags", "a", "medias", "0", "streams", "0", "local port"]),
        i64::from(access.port())
    );
    assert_eq!(number(&told, &["totals", "RTP", "bytes"]), 10_010);
    rig.assert_empty();
}

#[test]
fn what_a_line_had_before_counts_too() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    rig.passed = 100;
    rig.ask(query("c1", "a", Some("b")));
    // Another kind: another context.
    rig.sdp(reoffer("c1", "a", "b", &tls(&OFFER())));
    rig.sdp(answer("c1", "a", "b", &tls(&ANSWER())));
    rig.passed = 7;
    let told = rig.ask(query("c1", "a", Some("b")));
    assert_eq!(number(&told, &["totals", "RTP", "bytes"]), 2 * (100 + 5 + 7));
}

#[test]
fn branches_of_one_caller_are_under_one_tag() {
    let mut rig = Rig::new();
    for branch in ["z1", "z2"] {
        rig.sdp(offer("c1", "a", &OFFER()).with("via-branch", Value::text(branch)));
    }
    rig.sdp(answer("c1", "a", "b", &ANSWER()).with("via-branch", Value::text("z1")));
    let told = rig.ask(query("c1", "", None));
    let Some(Value::List(medias)) = at(&told, &["tags", "a", "medias"]) else { panic!("{told:?}") };
    assert_eq!(medias.len(), 2);
    assert_eq!(at(&told, &["tags", "b", "via-branch"]), Some(&Value::text("z1")));
    let told = rig.ask(query("c1", "a", Some("b")));
    let Some(Value::List(medias)) = at(&told, &["tags", "a", "medias"]) else { panic!("{told:?}") };
    assert_eq!(medias.len(), 1);
}

#[test]
fn a_gateway_that_does_not_answer_is_not_waited_for() {
    let mut rig = Rig::new();
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    rig.slow = true;
    let id = rig.send(query("c1", "a", None));
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.replies[&id].text_of("result"), Some("ok"), "with what was known");
}

#[test]
fn everything_is_counted() {
    let mut rig = Rig::with(|config| config.limits.calls = 2);
    rig.sdp(offer("c1", "a", &OFFER()));
    rig.sdp(answer("c1", "a", "b", &ANSWER()));
    rig.sdp(offer("c2", "a", &OFFER()));
    rig.overload(offer("c3", "a", &OFFER()));
    rig.error(answer("c9", "a", "b", &ANSWER()));
    rig.pass(Duration::from_secs(30));
    rig.ask(delete("c1", "a"));
    rig.pass(Duration::from_secs(600));
    let told = rig.ask(Request::new(Command::Statistics, "", ""));
    let (now, ever, asked) = ("currentstatistics", "totalstatistics", "controlstatistics");
    for (path, n) in [
        ([now, "sessionstotal"], 0),
        ([now, "dialogs"], 0),
        ([now, "contexts"], 0),
        ([ever, "managedsessions"], 2),
        ([ever, "rejectedsessions"], 1),
        ([ever, "regularterminatedsessions"], 1),
        ([ever, "offertimeoutsessions"], 1),
        ([ever, "relayedbytes"], 20),
        ([asked, "totaloffercount"], 3),
        ([asked, "totalanswercount"], 2),
        ([asked, "totaldeletecount"], 1),
        ([asked, "totalerrorcount"], 1),
    ] {
        assert_eq!(number(&told, &["statistics", path[0], path[1]]), n, "{path:?}");
    }
    let lasted = at(&told, &["statistics", ever, "totalcallsduration"]).unwrap().as_text().unwrap();
    assert_eq!(lasted, "630.000000");
    let uptime = at(&told, &["statistics", ever, "uptime"]).unwrap();
    assert_eq!(uptime.as_text(), Some("635"));
}
