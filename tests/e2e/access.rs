//! Subscribers by other people's SIP: they register with a password at an IMS-ALG and call each
//! other through it and its gateway.

use crate::lab::Lab;
use crate::load::{PATIENT, errors, have_sipp, wait_until_bound};
use crate::network::{PATIENCE, carnet};
use crate::sealed::assert_no_media_sockets;
use std::fmt::Write as _;
use std::time::Duration;

const SUBSCRIBER: &str = include_str!("sipp/subscriber.xml");
const REGISTER: &str = include_str!("sipp/register.xml");
const CALLEE: &str = include_str!("sipp/callee.xml");
const LOSER: &str = include_str!("sipp/loser.xml");

/// Room for the calls of the moment and not for all: what is left over shows as a refusal.
const BORDER: &str = r#"
[border.alg]
role = "ims-alg"
domain = "b.example"
registrar = { mode = "built-in", users = "users.toml", digest = ["MD5"] }
control = { listen = ["udp:10.1.0.1:2944"], gateways = ["agw"] }
policy = { max-calls = 60 }

[border.alg.network.access]
listen = ["udp:192.0.2.1:5060", "tcp:192.0.2.1:5060"]
subscribers = true

[border.alg.network.core]
listen = ["udp:10.1.0.1:5060"]
peers = ["10.1.0.0/24"]

[[border.alg.route]]
domain = "*"
network = "core"
next-hop = "sip:10.1.0.9:5060"
"#;

const GATEWAY: &str = r#"
[gateway.agw]
role = "ims-agw"
controllers = ["alg@udp:10.1.0.1:2944"]
max-contexts = 60

[gateway.agw.realm.access]
v4 = "192.0.2.2"
ports = "30000-30127"

[gateway.agw.realm.core]
v4 = "10.1.0.2"
ports = "30000-30127"
"#;

/// A border and its gateway, a host for the callers, and one for each terminal of bob.
fn access(callers: usize, bobs: &[(&str, &str)]) -> Option<Lab> {
    if !have_sipp() {
        return None;
    }
    let mut lab = Lab::new()?;
    lab.network("subs");
    lab.network("core");
    let mut hosts = vec![
        ("alg", vec![("subs", "192.0.2.1/24"), ("core", "10.1.0.1/24")]),
        ("agw", vec![("subs", "192.0.2.2/24"), ("core", "10.1.0.2/24")]),
        ("caller", vec![("subs", "192.0.2.9/24")]),
    ];
    let with_prefix: Vec<_> = bobs.iter().map(|(name, ip)| (*name, format!("{ip}/24"))).collect();
    hosts.extend(with_prefix.iter().map(|(name, address)| (*name, vec![("subs", address.as_str())])));
    for (host, on) in hosts {
        for (network, address) in on {
            lab.join(host, network, address);
        }
    }
    let mut users = String::from("bob = \"bobs-password\"\n");
    let mut csv = String::from("SEQUENTIAL\n");
    for n in 0..callers {
        let _ = writeln!(users, "a{n} = \"secret-{n}\"");
        let _ = writeln!(csv, "a{n};[authentication username=a{n} password=secret-{n}]");
    }
    lab.file("users.toml", &users);
    lab.file("callers.csv", &csv);
    lab.file("bob.csv", "SEQUENTIAL\nbob;[authentication username=bob password=bobs-password]\n");
    lab.file("alg.toml", BORDER);
    lab.file("agw.toml", GATEWAY);
    lab.file("register.xml", REGISTER);
    lab.file("subscriber.xml", &SUBSCRIBER.replace("@GATEWAY@", "192.0.2.2"));
    lab.file("callee.xml", &CALLEE.replace("@GATEWAY@", "192.0.2.2"));
    lab.file("loser.xml", LOSER);
    for host in ["alg", "agw"] {
        let command = carnet(&lab, host, &["run", "-c", &format!("{host}.toml")]);
        lab.start(host, command);
    }
    lab.wait_for("alg", "err", "gateway-up", PATIENCE);
    Some(lab)
}

/// Starts sipp on a host with a scenario.
fn sipp(lab: &mut Lab, host: &str, ip: &str, scenario: &str, more: &[&str]) -> usize {
    let mut command = lab.command(host, "sipp");
    let file = format!("{scenario}.xml");
    command.args(["-sf", &file, "-i", ip, "-p", "5060", "-nostdin", "-trace_err"]);
    // Unasked, sipp signs for the address it sends to and not for the Request-URI.
    command.args(["-auth_uri", "b.example"]).args(PATIENT).args(more);
    lab.start(&format!("{host}-{scenario}"), command)
}

/// Registers bob from a host; the port is free again when it is done.
fn register(lab: &mut Lab, host: &str, ip: &str) {
    let run = sipp(lab, host, ip, "register", &["-inf", "bob.csv", "-m", "1", "-t", "u1", "192.0.2.1:5060"]);
    let ended = lab.process(run).wait(PATIENCE);
    if ended != Some(0) {
        lab.show();
        errors(lab);
    }
    assert_eq!(ended, Some(0), "bob's registration from {host}");
}

fn ended(lab: &mut Lab, run: usize, what: &str) {
    let ended = lab.process(run).wait(Duration::from_secs(180));
    if ended != Some(0) {
        lab.show();
        errors(lab);
    }
    // sipp ends with 0 only if every call went as the scenario has it, checks of the SDP included.
    assert_eq!(ended, Some(0), "{what}");
}

fn assert_clean(lab: &Lab) {
    assert_no_media_sockets(lab, "agw");
    for host in ["alg", "agw"] {
        let log = lab.output(host, "err");
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn register_and_call(calls: usize, mode: &str) {
    let Some(mut lab) = access(calls, &[("bob", "192.0.2.10")]) else { return };
    register(&mut lab, "bob", "192.0.2.10");
    let many = calls.to_string();
    let callee = sipp(&mut lab, "bob", "192.0.2.10", "callee", &["-t", "u1", "-m", &many]);
    wait_until_bound(&lab, "bob", 5060);
    let load = [
        "-inf",
        "callers.csv",
        "-t",
        mode,
        "-m",
        &many,
        "-r",
        "100",
        "-l",
        "40",
        "-d",
        "100",
        "192.0.2.1:5060",
    ];
    let caller = sipp(&mut lab, "caller", "192.0.2.9", "subscriber", &load);
    ended(&mut lab, caller, "the callers");
    ended(&mut lab, callee, "bob");
    assert_clean(&lab);
}

#[test]
fn a_thousand_subscribers_register_and_call_over_udp() {
    register_and_call(1000, "u1");
}

#[test]
fn subscribers_register_and_call_over_tcp() {
    register_and_call(400, "t1");
}

/// Two terminals of bob ring for each call: one answers, the other is told.
#[test]
fn calls_to_two_terminals() {
    const CALLS: usize = 200;
    let bobs = [("bob", "192.0.2.10"), ("bobs-desk", "192.0.2.11")];
    let Some(mut lab) = access(CALLS, &bobs) else { return };
    for (host, ip) in bobs {
        register(&mut lab, host, ip);
    }
    // A terminal that is not told to ring before another has answered is not told at all.
    let slow = CALLEE.replacen("  <send retrans", "  <pause milliseconds=\"500\"/>\n  <send retrans", 1);
    lab.file("callee.xml", &slow.replace("@GATEWAY@", "192.0.2.2"));
    let many = CALLS.to_string();
    let answers = sipp(&mut lab, "bob", "192.0.2.10", "callee", &["-t", "u1", "-m", &many]);
    let rings = sipp(&mut lab, "bobs-desk", "192.0.2.11", "loser", &["-t", "u1", "-m", &many]);
    wait_until_bound(&lab, "bob", 5060);
    wait_until_bound(&lab, "bobs-desk", 5060);
    let load = [
        "-inf",
        "callers.csv",
        "-t",
        "u1",
        "-m",
        &many,
        "-r",
        "50",
        "-l",
        "25",
        "-d",
        "100",
        "192.0.2.1:5060",
    ];
    let caller = sipp(&mut lab, "caller", "192.0.2.9", "subscriber", &load);
    ended(&mut lab, caller, "the callers");
    ended(&mut lab, answers, "the terminal that answers");
    ended(&mut lab, rings, "the terminal that only rings");
    assert_clean(&lab);
}
