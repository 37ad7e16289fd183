//! A thousand calls by other people's SIP through a border and its gateway: none lost, none left
//! over.

use crate::lab::Lab;
use crate::network::{PATIENCE, carnet};
use crate::sealed::assert_no_media_sockets;
use std::process::Command;
use std::time::{Duration, Instant};

const CALLER: &str = include_str!("sipp/caller.xml");
const CALLEE: &str = include_str!("sipp/callee.xml");
const CALLS: usize = 1000;

/// On a busy machine messages are repeated, and a repeated ACK is nothing sipp's scenarios can
/// await: it is passed over. A call that misses a message never ends, and fails the test so.
pub const PATIENT: [&str; 2] = ["-default_behaviors", "all,-abortunexp"];

/// Room for the calls of the moment and not for a thousand: what is left over shows as a refusal.
const BORDER: &str = r#"
[border.ibcf]
role = "ibcf"
domain = "b.example"
control = { listen = ["udp:10.1.0.3:2944"], gateways = ["trgw"] }
policy = { max-calls = 60 }

[border.ibcf.network.core]
listen = ["udp:10.1.0.3:5060", "tcp:10.1.0.3:5060"]
peers = ["10.1.0.0/24"]

[border.ibcf.network.peers]
listen = ["udp:192.0.2.1:5060", "tcp:192.0.2.1:5060"]
peers = ["192.0.2.0/24"]

[[border.ibcf.route]]
domain = "*"
network = "core"
next-hop = "sip:10.1.0.9:5060;transport=@TRANSPORT@"
"#;

const GATEWAY: &str = r#"
[gateway.trgw]
role = "trgw"
controllers = ["ibcf@udp:10.1.0.3:2944"]
max-contexts = 60

[gateway.trgw.realm.core]
v4 = "10.1.0.4"
ports = "30000-30063"

[gateway.trgw.realm.peers]
v4 = "192.0.2.2"
ports = "30000-30063"
"#;

pub fn have_sipp() -> bool {
    let here = Command::new("sipp").arg("-v").output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "sipp is required here");
        eprintln!("skipped: sipp is not installed");
    }
    here
}

fn calls(transport: &str, mode: &str) {
    if !have_sipp() {
        return;
    }
    let Some(mut lab) = Lab::new() else { return };
    lab.network("peers");
    lab.network("core");
    for (host, on) in [
        ("ibcf", [("peers", "192.0.2.1/24"), ("core", "10.1.0.3/24")].as_slice()),
        ("trgw", &[("peers", "192.0.2.2/24"), ("core", "10.1.0.4/24")]),
        ("caller", &[("peers", "192.0.2.9/24")]),
        ("callee", &[("core", "10.1.0.9/24")]),
    ] {
        for (network, address) in on {
            lab.join(host, network, address);
        }
    }
    lab.file("ibcf.toml", &BORDER.replace("@TRANSPORT@", transport));
    lab.file("trgw.toml", GATEWAY);
    lab.file("caller.xml", &CALLER.replace("@GATEWAY@", "192.0.2.2"));
    lab.file("callee.xml", &CALLEE.replace("@GATEWAY@", "10.1.0.4"));
    for host in ["ibcf", "trgw"] {
        let command = carnet(&lab, host, &["run", "-c", &format!("{host}.toml")]);
        lab.start(host, command);
    }
    lab.wait_for("ibcf", "err", "gateway-up", PATIENCE);

    let many = CALLS.to_string();
    let mut callee = lab.command("callee", "sipp");
    callee.args([
        "-sf",
        "callee.xml",
        "-i",
        "10.1.0.9",
        "-p",
        "5060",
        "-t",
        mode,
        "-m",
        &many,
        "-nostdin",
        "-trace_err",
    ]);
    callee.args(PATIENT);
    let callee = lab.start("callee", callee);
    wait_until_bound(&lab, "callee", 5060);
    let mut caller = lab.command("caller", "sipp");
    // Forty at once: a call that is not cleared away is missed soon.
    caller.args([
        "-sf",
        "caller.xml",
        "-i",
        "192.0.2.9",
        "-p",
        "5060",
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
        "-nostdin",
        "-trace_err",
        "192.0.2.1:5060",
    ]);
    let caller = lab.start("caller", caller);
    let ended = lab.process(caller).wait(Duration::from_secs(180));
    if ended != Some(0) {
        lab.show();
        errors(&lab);
    }
    // sipp ends with 0 only if every call went as the scenario has it, checks of the SDP included.
    assert_eq!(ended, Some(0), "the caller's calls");
    assert_eq!(lab.process(callee).wait(PATIENCE), Some(0), "the callee's calls");
    assert_no_media_sockets(&lab, "trgw");
    for host in ["ibcf", "trgw"] {
        let log = lab.output(host, "err");
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Waits until something on `host` is bound to a port; sipp does not say when it is.
pub fn wait_until_bound(lab: &Lab, host: &str, port: u16) {
    let start = Instant::now();
    let bound = || {
        let output = lab.command(host, "ss").args(["-Hlntu"]).output().expect("ss");
        String::from_utf8_lossy(&output.stdout).contains(&format!(":{port} "))
    };
    while !bound() {
        assert!(start.elapsed() < PATIENCE, "nothing is bound to port {port} on {host}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What sipp wrote about calls that failed.
pub fn errors(lab: &Lab) {
    for entry in std::fs::read_dir(lab.directory()).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.to_string_lossy().contains("_errors.log") {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            eprintln!("--- {}\n{}", path.display(), text.chars().take(4000).collect::<String>());
        }
    }
}

#[test]
fn a_thousand_calls_over_udp() {
    calls("udp", "u1");
}

#[test]
fn a_thousand_calls_over_tcp() {
    calls("tcp", "t1");
}
