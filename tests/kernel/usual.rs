//! Ordinary calls: the answerer opens the connection, right behind its answer.
//!
//! Its first packet is at every gateway before the answer is, or just then. Each of them has to keep it so long, and no
//! octet of any call may enter one.

use crate::lab::Lab;
use crate::network::{self, MEDIA_HOSTS, PATIENCE, Shape};
use crate::ways;
use serde_json::Value;

const TERMINAL: &str = include_str!("terminal.py");

/// Calls in a row; `CARNET_CALLS` for more.
fn calls() -> u64 {
    std::env::var("CARNET_CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(12)
}

/// Starts a terminal of another make.
fn terminal(
    lab: &mut Lab,
    role: &str,
    user: &str,
    domain: &str,
    own: &str,
    proxy: &str,
    more: &[&str],
) -> usize {
    lab.file("terminal.py", TERMINAL);
    let mut command = lab.command(user, "python3");
    command.args([
        "terminal.py",
        role,
        &format!("sip:{user}@{domain}"),
        &format!("{user}'s password"),
        own,
        proxy,
    ]);
    command.args(more);
    lab.start(user, command)
}

/// A number of the kernel engine of a gateway.
fn number(lab: &Lab, host: &str, what: &str) -> u64 {
    let list = ways::gateway(lab, host, &["list"]).expect("its list").remove(0);
    ways::find(&list, "kernel").and_then(|kernel| kernel.get(what)).and_then(Value::as_u64).expect("a number")
}

/// All calls were carried by all gateways, and nobody was relayed.
fn all_carried(lab: &Lab, calls: u64) {
    for (host, ..) in MEDIA_HOSTS {
        lab.until(PATIENCE, "the gateway gives everything back", |lab| ways::contexts(lab, host).is_empty());
        let err = lab.output(host, "err");
        assert!(!err.contains("underway") && !err.contains("elsewhere"), "{host} relayed a call:\n{err}");
        let (carried, back) = (number(lab, host, "connections"), number(lab, host, "put_back"));
        eprintln!("{host}: {carried} of {calls} calls carried, {back} callers put back");
        assert_eq!(carried, calls, "{host}");
        assert_eq!((number(lab, host, "lost"), number(lab, host, "kept")), (0, 0), "{host}");
    }
}

fn other_makes(shape: &Shape, prepare: impl FnOnce(&mut Lab)) {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, shape);
    prepare(&mut lab);
    ways::start(&mut lab);
    let at = |network: &str, v4: &str| shape.address(network, v4);
    let (bob, border_b) = (at("subs-b", "198.51.100.74"), at("subs-b", "198.51.100.65"));
    terminal(&mut lab, "callee", "bob", "b.example", &bob, &border_b, &[]);
    lab.wait_for("bob", "out", "registered", PATIENCE);
    let (alice, border_a) = (at("subs-a", "198.51.100.10"), at("subs-a", "198.51.100.1"));
    let calls = calls();
    let more = ["sip:bob@b.example", &calls.to_string()];
    let caller = terminal(&mut lab, "caller", "alice", "a.example", &alice, &border_a, &more);
    let limit = PATIENCE + PATIENCE * u32::try_from(calls / 10).unwrap();
    assert_eq!(lab.process(caller).wait(limit), Some(0), "{}", lab.output("alice", "err"));
    lab.until(PATIENCE, "the callee hears the last call", |lab| {
        lab.output("bob", "out").matches("welcome to").count() as u64 == calls
    });
    assert!(!lab.output("bob", "out").contains("failed"), "{}", lab.output("bob", "out"));
    all_carried(&lab, calls);
    let mut took: Vec<f64> = (lab.output("bob", "out").lines())
        .filter_map(|line| line.strip_prefix("connected ")?.split(' ').next()?.parse().ok())
        .collect();
    took.sort_by(f64::total_cmp);
    eprintln!("connected after {} to {} ms, mostly {}", took[0], took[took.len() - 1], took[took.len() / 2]);
}

#[test]
fn terminals_of_another_make_call_each_other() {
    other_makes(&Shape::default(), |_| {});
}

#[test]
fn terminals_of_another_make_call_each_other_over_ipv6() {
    let v6 = &["subs-a", "core-a", "peers", "core-b", "subs-b", "keys"];
    other_makes(&Shape { v6, ..Shape::default() }, |_| {});
}

/// The answer is long on its way between the operators; the connection is not.
#[test]
fn slow_signalling_is_waited_for() {
    other_makes(&Shape::default(), |lab| {
        for border in ["interconnect-a", "interconnect-b"] {
            let device =
                lab.command(border, "ip").args(["-br", "addr", "show", "to", "192.0.2.0/24"]).output();
            let device = String::from_utf8_lossy(&device.expect("ip").stdout).into_owned();
            let device = device.split(['@', ' ']).next().expect("a device").to_owned();
            let delay = ["qdisc", "add", "dev", &device, "root", "netem", "delay", "200ms"];
            assert!(lab.command(border, "tc").args(delay).status().expect("tc").success(), "{device}");
        }
    });
}

/// Carnet's own clients, sealed from end to end.
#[test]
fn clients_call_each_other() {
    let Some(mut lab) = Lab::new() else { return };
    ways::build(&mut lab, &Shape::default());
    ways::start(&mut lab);
    network::ue(&mut lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let calls = calls() / 3;
    for call in 0..calls {
        let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
        lab.wait_for("alice", "out", "\"sealed\"", PATIENCE);
        let word = format!("word {call}");
        lab.process(alice).say(&word);
        lab.wait_for("bob", "out", &word, PATIENCE);
        lab.process(alice).signal("INT");
        assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
        lab.until(PATIENCE, "the call ends", |lab| {
            lab.output("bob", "out").matches("\"ended\"").count() as u64 == call + 1
        });
    }
    all_carried(&lab, calls);
}
