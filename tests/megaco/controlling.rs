//! Our border as the controller of a gateway of the other make: calls of sipp and of our own client
//! through it, what it reports, and what becomes of calls when it hangs, dies, leaves or forgets.

use crate::lab::Lab;
use crate::loss::BadLine;
use crate::peer::{PATIENCE, Peer, Wire, each, lab, one, well_formed};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const CALLER: &str = include_str!("../e2e/sipp/caller.xml");
const CALLEE: &str = include_str!("../e2e/sipp/callee.xml");

const BORDER: &str = r#"
[border.ibcf]
role = "ibcf"
domain = "b.example"
control = { listen = ["@TRANSPORT@:10.1.0.3:@PORT@"], gateways = ["trgw"], encoding = "@ENCODING@" }
# sipp does not make its connections again.
policy = { media-return = 0 }

[border.ibcf.network.core]
listen = ["udp:10.1.0.3:5060", "tcp:10.1.0.3:5060"]
peers = ["10.1.0.0/24"]

[border.ibcf.network.peers]
listen = ["udp:192.0.2.1:5060", "tcp:192.0.2.1:5060"]
peers = ["192.0.2.0/24"]

[[border.ibcf.route]]
domain = "*"
network = "core"
next-hop = "sip:10.1.0.9:5060;transport=@SIP@"
"#;

/// A border between two networks, and the host of its gateway.
struct Scene {
    lab: Lab,
    wire: Wire,
    capture: PathBuf,
}

impl Scene {
    fn new(wire: Wire, sip: &str) -> Option<Self> {
        if !have_sipp() {
            return None;
        }
        let mut lab = lab()?;
        lab.network("peers");
        lab.network("core");
        for (host, network, address) in [
            ("ibcf", "peers", "192.0.2.1/24"),
            ("ibcf", "core", "10.1.0.3/24"),
            ("trgw", "peers", "192.0.2.2/24"),
            ("trgw", "core", "10.1.0.4/24"),
            ("caller", "peers", "192.0.2.9/24"),
            ("callee", "core", "10.1.0.9/24"),
        ] {
            lab.join(host, network, address);
        }
        let file = BORDER
            .replace("@TRANSPORT@", wire.transport)
            .replace("@PORT@", &wire.port().to_string())
            .replace("@ENCODING@", wire.setting())
            .replace("@SIP@", sip);
        lab.file("ibcf.toml", &file);
        lab.file("caller.xml", &CALLER.replace("@GATEWAY@", "192.0.2.2"));
        lab.file("callee.xml", &CALLEE.replace("@GATEWAY@", "10.1.0.4"));
        let capture = lab.capture("ibcf", "core");
        let mut command = lab.command("ibcf", env!("CARGO_BIN_EXE_carnet"));
        command.args(["run", "-c", "ibcf.toml"]);
        lab.start("ibcf", command);
        lab.wait_for("ibcf", "out", "ready", PATIENCE);
        Some(Self { lab, wire, capture })
    }

    /// The gateway's process, connected and registered by `method`.
    fn gateway(&mut self, method: &str) -> Peer {
        let realms = "realms=core:10.1.0.4,peers:192.0.2.2";
        let mut gateway =
            Peer::start_with(&mut self.lab, "trgw", "gateway", "trgw", "10.1.0.4", self.wire, &[realms]);
        gateway.say(&mut self.lab, &format!("connect 10.1.0.3 {} ibcf", self.wire.port()));
        gateway.hears(&self.lab, "connected", "");
        self.register(&mut gateway, method);
        gateway
    }

    /// The gateway registers; the border takes it.
    fn register(&mut self, gateway: &mut Peer, method: &str) {
        let reason = match method {
            "RS" => "901 Cold Boot",
            "DC" => "900 Service Restored",
            _ => "909 MGC Impending Failure",
        };
        let ups = self.count("gateway-up");
        let version = self.wire.version;
        let answer = gateway
            .ask(&mut self.lab, &format!("C=-{{SC=ROOT{{SV{{MT={method},RE=\"{reason}\",V={version}}}}}}}"));
        assert!(answer.contains(&format!("V={version}")) && !answer.contains("ER="), "{answer}");
        self.lab.until(PATIENCE, "the border uses its gateway", |lab| {
            lab.output("ibcf", "err").matches("gateway-up").count() > ups
        });
    }

    fn count(&self, what: &str) -> usize {
        self.lab.output("ibcf", "err").matches(what).count()
    }

    /// Calls of sipp, `at_once` at a time; whether all went as they should. A caller has no answer from a
    /// callee that misses anything in the offer, and goes on past repeats for calls of before.
    fn calls(&mut self, number: usize, at_once: usize, lasting: u32) -> bool {
        let callee = self.callee(1000);
        let caller = self.caller(number, at_once, lasting);
        let ended = self.lab.process(caller).wait(Duration::from_secs(90));
        if ended != Some(0) {
            self.lab.show();
            errors(&self.lab);
        }
        for process in [caller, callee] {
            if self.lab.process(process).wait(Duration::ZERO).is_none() {
                self.lab.process(process).signal("KILL");
                self.lab.process(process).wait(PATIENCE);
            }
        }
        ended == Some(0)
    }

    fn callee(&mut self, number: usize) -> usize {
        let mut command = self.lab.command("callee", "sipp");
        command.args(["-sf", "callee.xml", "-i", "10.1.0.9", "-p", "5060", "-t", "u1", "-nostdin"]);
        command.args(["-m", &number.to_string(), "-trace_err", "-default_behaviors", "all,-abortunexp"]);
        let callee = self.lab.start("callee", command);
        let bound = |lab: &Lab| {
            let output = lab.command("callee", "ss").arg("-Hlnu").output().expect("ss");
            String::from_utf8_lossy(&output.stdout).contains(":5060 ")
        };
        self.lab.until(PATIENCE, "sipp waits for calls", bound);
        callee
    }

    fn caller(&mut self, number: usize, at_once: usize, lasting: u32) -> usize {
        let mut command = self.lab.command("caller", "sipp");
        command.args(["-sf", "caller.xml", "-i", "192.0.2.9", "-p", "5060", "-t", "u1", "-nostdin"]);
        command.args(["-m", &number.to_string(), "-l", &at_once.to_string(), "-r", "20"]);
        command.args(["-d", &lasting.to_string(), "-trace_err", "-default_behaviors", "all,-abortunexp"]);
        command.arg("192.0.2.1:5060");
        self.lab.start("caller", command)
    }

    fn look(&mut self, least: usize) {
        self.lab.end_captures();
        let messages = well_formed(&self.capture, self.wire);
        assert!(messages >= least, "{:?}: only {messages} messages", self.wire);
        let log = self.lab.output("ibcf", "err");
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn have_sipp() -> bool {
    let here = Command::new("sipp").arg("-v").output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "sipp is required here");
        eprintln!("skipped: sipp is not installed");
    }
    here
}

fn errors(lab: &Lab) {
    for entry in std::fs::read_dir(lab.directory()).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.to_string_lossy().contains("_errors.log") {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            eprintln!("--- {}\n{}", path.display(), text.chars().take(4000).collect::<String>());
        }
    }
}

/// Contexts that the gateway still has.
fn left(scene: &mut Scene, gateway: &mut Peer) -> usize {
    gateway.say(&mut scene.lab, "contexts");
    let line = gateway.hears(&scene.lab, "contexts", "");
    line.trim_start_matches("contexts ").parse().expect("a number")
}

/// A call has ended for who made it before its media is released.
fn none_left(scene: &mut Scene, gateway: &mut Peer) {
    let start = Instant::now();
    while left(scene, gateway) != 0 {
        assert!(start.elapsed() < PATIENCE, "{:?}: contexts are left over", scene.wire);
    }
}

fn calls_through(wire: Wire) {
    let Some(mut scene) = Scene::new(wire, "udp") else { return };
    let mut gateway = scene.gateway("RS");
    assert!(scene.calls(12, 4, 200), "{wire:?}");
    let output = gateway.output(&scene.lab).to_ascii_lowercase();
    let wrong =
        |line: &&str| ["syntax", "undecoded", "refused", "unexpected"].iter().any(|w| line.starts_with(w));
    assert_eq!(output.lines().find(wrong), None, "{output}");
    // Two terminations each: added, and subtracted by itself or with its context.
    let added = output.lines().filter(|line| line.starts_with("asked")).flat_map(|line| each(line, "a=$"));
    let realms = output.matches("ipdc/realm").count();
    assert!(added.count() >= 24 || realms >= 24, "{output}");
    none_left(&mut scene, &mut gateway);
    // Nobody calls: the border asks whether its gateway is there.
    gateway.hears(&scene.lab, "asked", "C=-{AV=");
    scene.look(60);
}

#[test]
fn calls_through_a_foreign_gateway_in_text() {
    for (transport, encoding, version) in [
        ("udp", "pretty", 1),
        ("udp", "compact", 2),
        ("udp", "compact", 3),
        ("tcp", "pretty", 3),
        ("tcp", "compact", 1),
    ] {
        calls_through(Wire::new(transport, encoding, version));
    }
}

#[test]
fn calls_through_a_foreign_gateway_in_ber() {
    for (transport, version) in [("udp", 1), ("udp", 2), ("udp", 3), ("tcp", 3)] {
        calls_through(Wire::new(transport, "ber", version));
    }
}

/// What two of our clients say passes the foreign gateway's relay.
#[test]
fn a_conversation_through_a_foreign_gateway() {
    let Some(mut scene) = Scene::new(Wire::new("udp", "compact", 3), "tcp") else { return };
    let mut gateway = scene.gateway("RS");
    let lab = &mut scene.lab;
    let ue = |lab: &mut Lab, host: &str, arguments: &[&str]| {
        let mut command = lab.command(host, env!("CARGO_BIN_EXE_carnet"));
        command.args(["ue", "--json", "--no-register", "--allow-clear"]).args(arguments);
        lab.start(host, command)
    };
    ue(
        lab,
        "callee",
        &[
            "--user",
            "sip:bob@b.example",
            "--proxy",
            "sip:10.1.0.3;transport=tcp",
            "--listen",
            "10.1.0.9:5060",
            "listen",
        ],
    );
    lab.until(PATIENCE, "bob listens", |lab| {
        let output = lab.command("callee", "ss").arg("-Hlnt").output().expect("ss");
        String::from_utf8_lossy(&output.stdout).contains(":5060 ")
    });
    let alice = ue(
        lab,
        "caller",
        &[
            "--user",
            "sip:alice@a.example",
            "--proxy",
            "sip:192.0.2.1;transport=tcp",
            "chat",
            "sip:bob@b.example",
        ],
    );
    gateway.hears(lab, "asked", "MF=");
    lab.process(alice).say("through a gateway of another make");
    lab.wait_for("callee", "out", "through a gateway of another make", PATIENCE);
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("caller", "err"));
    lab.wait_for("callee", "out", "\"ended\"", PATIENCE);
    lab.wait_for("ibcf", "err", "media-released", PATIENCE);
    none_left(&mut scene, &mut gateway);
    scene.look(8);
}

/// One long call, whose two ends then say nothing more; its context and terminations on the gateway.
fn one_call(scene: &mut Scene, gateway: &mut Peer) -> (String, Vec<String>) {
    let ups = scene.count("call-up");
    let callee = scene.callee(1);
    let caller = scene.caller(1, 1, 60_000);
    scene
        .lab
        .until(PATIENCE, "the call is up", |lab| lab.output("ibcf", "err").matches("call-up").count() > ups);
    gateway.say(&mut scene.lab, "terminations");
    let line = gateway.hears(&scene.lab, "terminations", "");
    let mut words = line.split(' ').skip(1).map(str::to_owned);
    let context = words.next().expect("a context");
    for process in [caller, callee] {
        scene.lab.process(process).signal("KILL");
        scene.lab.process(process).wait(PATIENCE);
    }
    (context, words.collect())
}

/// A hanging termination is confirmed if there is a call, and taken away if there is none; the end of
/// a connection is noted, silence ends the call.
#[test]
fn reports_of_a_foreign_gateway() {
    for wire in [Wire::new("udp", "compact", 3), Wire::new("tcp", "ber", 2)] {
        let Some(mut scene) = Scene::new(wire, "udp") else { return };
        let mut gateway = scene.gateway("RS");
        let (context, terminations) = one_call(&mut scene, &mut gateway);
        let notify = |termination: &str, event: &str| {
            format!("C={context}{{N={termination}{{OE=1{{20260301T08000000:{event}}}}}}}")
        };
        let known = gateway.ask(&mut scene.lab, &notify(&terminations[0], "hangterm/thb"));
        assert!(!known.contains("ER="), "{known}");
        let octets = ["00000111"; 8].join("/");
        let stranger = if wire.encoding == "ber" { octets.as_str() } else { "tcp/999" };
        let unknown = gateway.ask(&mut scene.lab, &notify(stranger, "hangterm/thb"));
        assert!(unknown.contains("ER=430"), "{unknown}");
        gateway.hears(&scene.lab, "asked", &format!("S={stranger}"));
        let ended = gateway.ask(&mut scene.lab, &notify(&terminations[1], "g/cause{Generalcause=FT}"));
        assert!(!ended.contains("ER="), "{ended}");
        scene.lab.wait_for("ibcf", "err", "media-notice", PATIENCE);
        assert_eq!(scene.count("call-ended"), 0, "a connection may be made anew");
        let silent = gateway.ask(&mut scene.lab, &notify(&terminations[0], "adid/ipstop"));
        assert!(!silent.contains("ER="), "{silent}");
        scene.lab.wait_for("ibcf", "err", "call-ended", PATIENCE);
        scene.lab.until(PATIENCE, "its context is subtracted", |lab| {
            lab.output("ibcf", "err").contains("media-released")
        });
        none_left(&mut scene, &mut gateway);
        scene.look(10);
    }
}

/// A gateway that is full: the caller hears 503, and the next call goes through.
#[test]
fn a_foreign_gateway_without_room() {
    let Some(mut scene) = Scene::new(Wire::new("udp", "compact", 3), "udp") else { return };
    let mut gateway = scene.gateway("RS");
    gateway.say(&mut scene.lab, "refuse-add 510 Insufficient resources");
    let caller = scene.caller(1, 1, 100);
    scene.lab.wait_for("ibcf", "err", "gateway-refused", PATIENCE);
    scene.lab.wait_for("ibcf", "err", "cause=refused-here cause.status=503", PATIENCE);
    scene.lab.process(caller).signal("KILL");
    scene.lab.process(caller).wait(PATIENCE);
    // It is tried less for a while, and is not given up.
    let start = Instant::now();
    while !scene.calls(1, 1, 100) {
        assert!(start.elapsed() < PATIENCE, "it is given up");
    }
    none_left(&mut scene, &mut gateway);
}

/// A gateway that answers nothing any more is lost with its call; when it is back with the context,
/// the context is cleared before it gets calls again.
#[test]
fn a_foreign_gateway_that_hangs() {
    for wire in [Wire::new("udp", "compact", 2), Wire::new("udp", "ber", 3)] {
        let Some(mut scene) = Scene::new(wire, "udp") else { return };
        let mut gateway = scene.gateway("RS");
        one_call(&mut scene, &mut gateway);
        gateway.say(&mut scene.lab, "silent on");
        let silent = Instant::now();
        scene.lab.wait_for("ibcf", "err", "gateway-lost", PATIENCE);
        eprintln!("{wire:?}: a silent gateway was lost after {:?}", silent.elapsed());
        scene.lab.wait_for("ibcf", "err", "call-ended", PATIENCE);
        gateway.say(&mut scene.lab, "silent off");
        assert_eq!(left(&mut scene, &mut gateway), 1);
        scene.register(&mut gateway, "DC");
        none_left(&mut scene, &mut gateway);
        assert!(scene.calls(2, 1, 100), "{wire:?}");
        scene.look(20);
    }
}

/// A gateway that was killed comes back empty.
#[test]
fn a_foreign_gateway_that_dies() {
    for wire in [Wire::new("tcp", "pretty", 2), Wire::new("udp", "compact", 3)] {
        let Some(mut scene) = Scene::new(wire, "udp") else { return };
        let mut gateway = scene.gateway("RS");
        one_call(&mut scene, &mut gateway);
        scene.lab.process(gateway.process).signal("KILL");
        scene.lab.wait_for("ibcf", "err", "gateway-lost", PATIENCE);
        scene.lab.wait_for("ibcf", "err", "call-ended", PATIENCE);
        let mut gateway = scene.gateway("RS");
        assert!(scene.calls(2, 1, 100), "{wire:?}");
        none_left(&mut scene, &mut gateway);
        scene.look(20);
    }
}

/// A gateway that will go gets no new calls and keeps its call; one that goes loses it.
#[test]
fn a_foreign_gateway_that_leaves() {
    let Some(mut scene) = Scene::new(Wire::new("udp", "compact", 3), "udp") else { return };
    let mut gateway = scene.gateway("RS");
    one_call(&mut scene, &mut gateway);
    let leave = |method: &str| {
        format!("C=-{{SC=ROOT{{SV{{MT={method},RE=\"905 Termination Taken Out Of Service\"}}}}}}")
    };
    let graceful = gateway.ask(&mut scene.lab, &leave("GR"));
    assert!(!graceful.contains("ER="), "{graceful}");
    let mut command = scene.lab.command("caller", "sipp");
    command.args([
        "-sf",
        "caller.xml",
        "-i",
        "192.0.2.9",
        "-p",
        "5062",
        "-t",
        "u1",
        "-nostdin",
        "-m",
        "1",
        "192.0.2.1:5060",
    ]);
    let refused = scene.lab.start("refused", command);
    scene.lab.wait_for("ibcf", "err", "status=503", PATIENCE);
    scene.lab.process(refused).signal("KILL");
    assert_eq!(scene.count("gateway-lost"), 0, "{}", scene.lab.output("ibcf", "err"));
    let forced = gateway.ask(&mut scene.lab, &leave("FO"));
    assert!(!forced.contains("ER="), "{forced}");
    scene.lab.wait_for("ibcf", "err", "gateway-lost", PATIENCE);
    scene.lab.wait_for("ibcf", "err", "cause=gateway-lost", PATIENCE);
    scene.look(8);
}

/// Every call is set up and ended over a line that loses, doubles and reorders.
#[test]
fn calls_over_a_bad_line() {
    for (seed, wire) in [(5, Wire::new("udp", "compact", 3)), (6, Wire::new("udp", "ber", 1))] {
        let Some(mut scene) = Scene::new(wire, "udp") else { return };
        scene.lab.join("line", "core", "10.1.0.50/24");
        let port = wire.port();
        let at = |address: &str| SocketAddr::new(address.parse().unwrap(), port);
        // A border waits five seconds for its gateway: time for four repeats, so not too bad a line.
        let _line = BadLine::new(&scene.lab, "line", at("10.1.0.50"), at("10.1.0.3"), 10, seed);
        let realms = "realms=core:10.1.0.4,peers:192.0.2.2";
        let mut gateway =
            Peer::start_with(&mut scene.lab, "trgw", "gateway", "trgw", "10.1.0.4", wire, &[realms]);
        gateway.say(&mut scene.lab, &format!("connect 10.1.0.50 {port} ibcf"));
        gateway.hears(&scene.lab, "connected", "");
        scene.register(&mut gateway, "RS");
        assert!(scene.calls(12, 4, 200), "{wire:?}");
        none_left(&mut scene, &mut gateway);
        assert_eq!(scene.count("gateway-lost"), 0, "{wire:?}");
        scene.look(60);
    }
}

/// A version below what both speak, and a foreign name of a profile: the border says why not.
#[test]
fn a_foreign_gateway_that_asks_for_too_much() {
    let wire = Wire::new("udp", "compact", 3);
    let Some(mut scene) = Scene::new(wire, "udp") else { return };
    let mut gateway = Peer::start(&mut scene.lab, "trgw", "gateway", "trgw", "10.1.0.4", wire);
    gateway.say(&mut scene.lab, &format!("connect 10.1.0.3 {} ibcf", wire.port()));
    gateway.hears(&scene.lab, "connected", "");
    let answer = gateway.ask(&mut scene.lab, "C=-{SC=ROOT{SV{MT=RS,RE=\"901 Cold Boot\",V=3,PF=resgw/1}}}");
    assert_eq!(one(&answer, "ER="), "461", "{answer}");
    let answer = gateway.ask(&mut scene.lab, "C=-{N=ROOT{OE=1{20260301T08000000:it/ito}}}");
    assert_eq!(one(&answer, "ER="), "504", "{answer}");
}
