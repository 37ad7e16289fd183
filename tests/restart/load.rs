//! Calls by other people's SIP through a border that starts again and again: how many are lost, and that none is
//! left over.

use crate::lab::Lab;
use crate::network::{PATIENCE, carnet};
use crate::sealed::media_sockets;
use std::process::Command;
use std::time::{Duration, Instant};

const CALLER: &str = include_str!("../e2e/sipp/caller.xml");
const CALLEE: &str = include_str!("../e2e/sipp/callee.xml");

/// A repeated message is nothing that sipp's scenarios can await: it is passed over.
const PATIENT: [&str; 2] = ["-default_behaviors", "all,-abortunexp"];

const BORDER: &str = r#"
[border.ibcf]
role = "ibcf"
domain = "b.example"
control = { listen = ["udp:10.1.0.3:2944"], gateways = ["trgw"] }
state = { directory = "state" }

[border.ibcf.network.core]
listen = ["udp:10.1.0.3:5060"]
peers = ["10.1.0.0/24"]

[border.ibcf.network.peers]
listen = ["udp:192.0.2.1:5060"]
peers = ["192.0.2.0/24"]

[[border.ibcf.route]]
domain = "*"
network = "core"
next-hop = "sip:10.1.0.9:5060"

[admin]
socket = "ibcf.sock"
"#;

const GATEWAY: &str = r#"
[gateway.trgw]
role = "trgw"
controllers = ["ibcf@udp:10.1.0.3:2944"]

[gateway.trgw.realm.core]
v4 = "10.1.0.4"
ports = "30000-33999"

[gateway.trgw.realm.peers]
v4 = "192.0.2.2"
ports = "30000-33999"
"#;

fn have_sipp() -> bool {
    let here = Command::new("sipp").arg("-v").output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "sipp is required here");
        eprintln!("skipped: sipp is not installed");
    }
    here
}

fn build() -> Option<Lab> {
    let mut lab = Lab::new()?;
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
    lab.file("ibcf.toml", BORDER);
    lab.file("trgw.toml", GATEWAY);
    lab.file("caller.xml", &CALLER.replace("@GATEWAY@", "192.0.2.2"));
    lab.file("callee.xml", &CALLEE.replace("@GATEWAY@", "10.1.0.4"));
    for host in ["trgw", "ibcf"] {
        let command = carnet(&lab, host, &["run", "-c", &format!("{host}.toml")]);
        lab.start(host, command);
    }
    lab.wait_for("ibcf", "err", "gateway-up", PATIENCE);
    Some(lab)
}

/// Starts sipp at both ends: so many calls, so many a second, each for so many milliseconds.
fn calls(lab: &mut Lab, many: usize, rate: usize, lasting: usize) -> (usize, usize) {
    let many = many.to_string();
    let mut callee = lab.command("callee", "sipp");
    callee.args(["-sf", "callee.xml", "-i", "10.1.0.9", "-p", "5060", "-m", &many, "-nostdin", "-trace_err"]);
    callee.args(PATIENT);
    let callee = lab.start("callee", callee);
    lab.until(PATIENCE, "the callee is there", |lab| {
        let output = lab.command("callee", "ss").args(["-Hlnu"]).output().expect("ss");
        String::from_utf8_lossy(&output.stdout).contains(":5060 ")
    });
    let mut caller = lab.command("caller", "sipp");
    let (rate, lasting) = (rate.to_string(), lasting.to_string());
    caller.args([
        "-sf",
        "caller.xml",
        "-i",
        "192.0.2.9",
        "-p",
        "5060",
        "-m",
        &many,
        "-r",
        &rate,
        "-d",
        &lasting,
    ]);
    caller.args([
        "-l",
        "5000",
        "-nostdin",
        "-trace_err",
        "-trace_stat",
        "-stf",
        "caller.csv",
        "192.0.2.1:5060",
    ]);
    // No patience here: a refusal is to fail the call.
    let caller = lab.start("caller", caller);
    (caller, callee)
}

/// The process of the border ends as told, and another one starts at once; how long nobody listened.
fn start_again(lab: &mut Lab, signal: &str, count: usize) -> Duration {
    let name = |count| if count == 0 { "ibcf".to_owned() } else { format!("ibcf-{count}") };
    let process = lab.named(&name(count));
    lab.process(process).signal(signal);
    assert!(lab.process(process).wait(PATIENCE).is_some(), "{}", lab.output(&name(count), "err"));
    let ended = Instant::now();
    let again = name(count + 1);
    let command = carnet(lab, "ibcf", &["run", "-c", "ibcf.toml"]);
    lab.start(&again, command);
    lab.wait_for(&again, "out", "ready", PATIENCE);
    let gap = ended.elapsed();
    lab.wait_for(&again, "err", "gateway-up", PATIENCE);
    gap
}

/// What sipp counted last: calls that went as the scenario has it, and others.
fn counted(lab: &Lab) -> (usize, usize) {
    let text = std::fs::read_to_string(lab.directory().join("caller.csv")).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(';').collect();
    let last: Vec<&str> = lines.last().unwrap().split(';').collect();
    let of = |name: &str| {
        let at = names.iter().position(|n| *n == name).unwrap();
        last[at].parse::<usize>().unwrap()
    };
    (of("SuccessfulCall(C)"), of("FailedCall(C)"))
}

fn assert_nothing_left(lab: &Lab) {
    let audit = |lab: &Lab| {
        let arguments = ["gateway", "audit", "trgw", "--by", "ibcf", "-c", "ibcf.toml", "--json"];
        let output = carnet(lab, "ibcf", &arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    lab.until(PATIENCE, "the gateway has no context", |lab| audit(lab) == (true, String::new()));
    lab.until(PATIENCE, "the gateway has no socket", |lab| media_sockets(lab, "trgw").is_empty());
}

/// A planned start: no set-up fails, and every call that was up ends as it should.
#[test]
fn a_border_that_hands_over_loses_no_call() {
    if !have_sipp() {
        return;
    }
    let Some(mut lab) = build() else { return };
    const CALLS: usize = 200;
    let (caller, callee) = calls(&mut lab, CALLS, 10, 6_000);
    let mut gaps = Vec::new();
    for count in 0..3 {
        std::thread::sleep(Duration::from_secs(4));
        gaps.push(start_again(&mut lab, "TERM", count));
    }
    let ended = lab.process(caller).wait(Duration::from_secs(180));
    let (good, bad) = counted(&lab);
    eprintln!("nobody listened for {gaps:?}; {good} of {CALLS} calls went well, {bad} did not");
    if ended != Some(0) {
        lab.show();
    }
    assert_eq!((good, bad), (CALLS, 0));
    assert_eq!(lab.process(callee).wait(PATIENCE), Some(0), "the callee's calls");
    assert_nothing_left(&lab);
    let log = lab.output("ibcf-1", "err");
    assert!(log.contains("call-restored"), "{log}");
}

/// Killed at any moment: what was up ends as it should; what was being set up is refused in order, and no more is lost
/// than that.
#[test]
fn a_border_that_is_killed_loses_set_ups_only() {
    if !have_sipp() {
        return;
    }
    let seed = std::env::var("CARNET_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("CARNET_SEED={seed}");
    let Some(mut lab) = build() else { return };
    const CALLS: usize = 200;
    let (caller, _) = calls(&mut lab, CALLS, 20, 4_000);
    let mut moment = seed;
    const KILLS: usize = 6;
    for count in 0..KILLS {
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(500 + (moment >> 33) % 1_500));
        start_again(&mut lab, "KILL", count);
    }
    let ended = lab.process(caller).wait(Duration::from_secs(240));
    assert!(ended.is_some(), "a caller waits for ever");
    let (good, bad) = counted(&lab);
    let logs: String = (1..=KILLS).map(|count| lab.output(&format!("ibcf-{count}"), "err")).collect();
    let abandoned = logs.matches("setup-abandoned").count();
    let restored = logs.matches("call-restored").count();
    eprintln!(
        "{good} of {CALLS} calls went well, {bad} did not; {abandoned} set-ups were given up, {restored} calls taken up"
    );
    assert!(restored > 0, "{logs}");
    assert!(bad <= abandoned, "seed {seed}: {bad} calls failed, {abandoned} set-ups were given up\n{logs}");
    assert!(!logs.contains("panicked"), "{logs}");
    assert_nothing_left(&lab);
}
