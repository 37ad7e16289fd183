//! Ordinary calls: the answerer opens the connection, right behind its answer.
//!
//! Its first packet is at every gateway before the answer is, or just then. Each of them has to keep it so long, and no
//! octet of any call may enter one.

use crate::lab::Lab;
use crate::network::{self, MEDIA_HOSTS, PATIENCE, Shape};
use crate::ways;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

const TERMINAL: &str = include_str!("terminal.py");

/// How long each message takes where signalling is slow.
const SLOW: Duration = Duration::from_millis(150);

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

/// All calls were carried by all gateways, and nobody was relayed; but for those who were kept for as long as may be, on
/// a machine that is too busy to answer in time.
fn all_carried(lab: &Lab, calls: u64) {
    for (host, ..) in MEDIA_HOSTS {
        lab.until(PATIENCE, "the gateway gives everything back", |lab| ways::contexts(lab, host).is_empty());
    }
    let overdue: u64 = MEDIA_HOSTS.iter().map(|(host, ..)| number(lab, host, "overdue")).sum();
    assert!(overdue <= calls / 2, "{overdue} of {calls} callers have waited in vain");
    for (host, ..) in MEDIA_HOSTS {
        let (carried, back) = (number(lab, host, "connections"), number(lab, host, "put_back"));
        eprintln!("{host}: {carried} of {calls} calls carried, {back} callers put back");
        let err = lab.output(host, "err");
        let relayed = err.contains("underway") || err.contains("elsewhere");
        assert!(
            carried >= calls - overdue && (overdue > 0 || !relayed),
            "{host}: {carried} of {calls}\n{err}"
        );
        assert_eq!((number(lab, host, "lost"), number(lab, host, "kept")), (0, 0), "{host}");
        lab.until(PATIENCE, "what was carried is counted", |lab| number(lab, host, "octets") > 0);
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

/// Passes on what it reads, each time after a while, until the end.
fn slowly(mut from: TcpStream, mut to: TcpStream) {
    let mut octets = [0; 65_536];
    while let Ok(length) = from.read(&mut octets) {
        std::thread::sleep(SLOW);
        if length == 0 || to.write_all(&octets[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// The answer is long on its way between the operators; the connection is not. So at the first two gateways that it
/// comes to on the other side it is very early.
#[test]
fn slow_signalling_is_waited_for() {
    other_makes(&Shape::default(), |lab| {
        // Between the borders of the two operators: to there in no hurry, and back.
        let there = "\"sip:192.0.2.3;transport=tcp\"";
        lab.edit("interconnect-a.toml", there, "\"sip:192.0.2.1:5099;transport=tcp\"");
        let enter = lab.door("interconnect-a");
        let (listens, is_there) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            enter();
            let listener = TcpListener::bind("192.0.2.1:5099").expect("a listener");
            listens.send(()).expect("a test");
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect("192.0.2.3:5060") else { continue };
                let (back, forth) = (far.try_clone().expect("a socket"), near.try_clone().expect("a socket"));
                std::thread::spawn(move || slowly(near, far));
                std::thread::spawn(move || slowly(back, forth));
            }
        });
        is_there.recv().expect("a listener");
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
