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

/// Border and gateway run.
fn build() -> Option<Lab> {
    let mut lab = hosts()?;
    start(&mut lab);
    Some(lab)
}

fn hosts() -> Option<Lab> {
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
    Some(lab)
}

fn start(lab: &mut Lab) {
    for host in ["trgw", "ibcf"] {
        let command = carnet(lab, host, &["run", "-c", &format!("{host}.toml")]);
        lab.start(host, command);
    }
    lab.wait_for("ibcf", "err", "gateway-up", PATIENCE);
}

/// A callee that rings for a while before it answers, and takes a CANCEL for what it is.
fn ringing() -> String {
    let rings = r#"<recv request="CANCEL" timeout="400" ontimeout="answer" next="cancelled"/>
  <label id="answer"/>"#;
    let cancelled = r#"<pause milliseconds="1000" next="end"/>
  <label id="cancelled"/>
  <send next="end">
    <![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]s[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]>
  </send>
  <label id="end"/>
  <nop/>
</scenario>"#;
    let text = CALLEE.replace("@GATEWAY@", "10.1.0.4");
    // Behind the 180, before the 200.
    let text = text.replacen("  <send retrans=\"500\">", &format!("  {rings}\n  <send retrans=\"500\">"), 1);
    let text = text.replacen("<timewait milliseconds=\"1000\"/>\n</scenario>", cancelled, 1);
    assert!(text.contains("ontimeout") && text.contains("cancelled\"/>\n  <send next"), "{text}");
    text
}

/// Starts sipp at both ends: so many calls, so many a second, each for so many milliseconds.
fn calls(lab: &mut Lab, many: usize, rate: usize, lasting: usize) -> (usize, usize) {
    let many = many.to_string();
    let mut callee = lab.command("callee", "sipp");
    callee.args(["-sf", "callee.xml", "-i", "10.1.0.9", "-p", "5060", "-m", &many, "-nostdin", "-trace_err"]);
    callee.args(["-trace_stat", "-stf", "callee.csv", "-fd", "1"]);
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
fn counted(lab: &Lab, end: &str) -> (usize, usize) {
    let text = std::fs::read_to_string(lab.directory().join(format!("{end}.csv"))).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(';').collect();
    let last: Vec<&str> = lines.last().unwrap().split(';').collect();
    let of = |name: &str| {
        let at = names.iter().position(|n| *n == name).unwrap();
        last[at].parse::<usize>().unwrap()
    };
    (of("SuccessfulCall(C)"), of("FailedCall(C)"))
}

/// What sipp says of calls that failed.
fn mistakes(lab: &Lab, end: &str) -> String {
    let all = std::fs::read_dir(lab.directory()).unwrap().flatten();
    let is = |name: &str| name.starts_with(&format!("{end}_")) && name.ends_with("_errors.log");
    let logs = all.filter(|entry| is(&entry.file_name().to_string_lossy()));
    logs.map(|entry| String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()).into_owned())
        .collect()
}

/// Calls that sipp has going on.
fn current(lab: &Lab, end: &str) -> usize {
    let text = std::fs::read_to_string(lab.directory().join(format!("{end}.csv"))).unwrap();
    let at = text.lines().next().unwrap().split(';').position(|name| name == "CurrentCall").unwrap();
    text.lines().last().unwrap().split(';').nth(at).unwrap().parse().unwrap()
}

/// A journal that nobody can read, and a disk that is full: the border says so, and serves.
#[test]
fn a_journal_that_is_of_no_use_stops_no_call() {
    if !have_sipp() {
        return;
    }
    for full in [false, true] {
        let Some(mut lab) = hosts() else { return };
        let state = lab.directory().join("state");
        std::fs::create_dir(&state).unwrap();
        if full {
            let mounted =
                Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k", "none"]).arg(&state).status();
            if !mounted.is_ok_and(|status| status.success()) {
                eprintln!("skipped: a small disk needs the right to mount");
                continue;
            }
        } else {
            std::fs::write(state.join("border-ibcf.1"), "carnet journal 9\nand then something else").unwrap();
        }
        start(&mut lab);
        let (caller, callee) = calls(&mut lab, 5, 10, 100);
        assert_eq!(lab.process(caller).wait(PATIENCE), Some(0), "{}", lab.output("ibcf", "err"));
        assert_eq!(lab.process(callee).wait(PATIENCE), Some(0));
        lab.wait_for("ibcf", "err", "state-lost", PATIENCE);
        assert_nothing_left(&lab);
        assert_eq!(state.join("border-ibcf.1.other-version").exists(), !full);
        // Nothing can be handed over that is not kept: the process ends well all the same.
        let process = lab.named("ibcf");
        lab.process(process).signal("TERM");
        assert_eq!(lab.process(process).wait(PATIENCE), Some(0));
        assert!(!lab.output("ibcf", "err").contains("panicked"));
        if full {
            let _ = Command::new("umount").arg(&state).status();
        }
    }
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
    let ended = lab.process(caller).wait(Duration::from_secs(120));
    let (good, bad) = counted(&lab, "caller");
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
    lab.file("callee.xml", &ringing());
    const CALLS: usize = 200;
    let (caller, callee) = calls(&mut lab, CALLS, 20, 4_000);
    let mut moment = seed;
    const KILLS: usize = 6;
    for count in 0..KILLS {
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(500 + (moment >> 33) % 1_500));
        start_again(&mut lab, "KILL", count);
    }
    let ended = lab.process(caller).wait(Duration::from_secs(120));
    assert!(ended.is_some(), "a caller waits for ever");
    let (good, bad) = counted(&lab, "caller");
    let logs: String = (1..=KILLS).map(|count| lab.output(&format!("ibcf-{count}"), "err")).collect();
    // Each once: a start soon after the first says it again.
    let told = logs.lines().filter(|line| line.contains("setup-abandoned"));
    let names = told.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("call_id=")));
    let abandoned = names.collect::<std::collections::BTreeSet<_>>().len();
    let restored = logs.matches("call-restored").count();
    eprintln!(
        "{good} of {CALLS} calls went well, {bad} did not; {abandoned} set-ups were given up, {restored} calls taken up"
    );
    assert!(restored > 0 && abandoned > 0, "{logs}");
    // A BYE that was under way is repeated, and then answered 481: that is an end, too, but not sipp's.
    assert!(
        bad <= abandoned + KILLS,
        "seed {seed}: {bad} calls failed, {abandoned} set-ups were given up\n{logs}"
    );
    assert!(!logs.contains("panicked"), "{logs}");
    // Whoever was called has heard a BYE or a CANCEL: nobody is left with half a call.
    let end = Instant::now() + PATIENCE;
    loop {
        let ((ended, failed), current) = (counted(&lab, "callee"), current(&lab, "callee"));
        if failed == 0 && ended >= good && current == 0 {
            break;
        }
        if Instant::now() > end {
            let told = mistakes(&lab, "callee");
            lab.show();
            panic!("callees: {ended} ended, {failed} failed, {current} wait for an end; seed {seed}\n{told}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    lab.process(callee).signal("KILL");
    assert_nothing_left(&lab);
}
