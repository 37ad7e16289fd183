//! A gateway that is steered: `carnet run` with `[gateway.NAME.ng]`, asked by `carnet ng` as a SIP server
//! would ask it, and two ends that connect to what it answers.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use common::{PATIENCE, Running, free};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");

/// Where the gateway of a test has its ports; tests at the same time have different ones.
const TOKEN: &str = "a-word-that-is-not-guessed";

/// A steered gateway as a process.
struct Scene {
    directory: tempfile::TempDir,
    process: Running,
    udp: SocketAddr,
    http: SocketAddr,
}

impl Scene {
    /// `host` is the last part of its address, different in each test; `more` is added to its settings.
    fn start(host: u8, grace: u32, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (udp, http) = (free(), free());
        let text = format!(
            "[admin]\nsocket = \"admin.sock\"\n[gateway.media]\nrole = \"ims-agw\"\n\
             [gateway.media.realm.public]\nv4 = \"127.0.77.{host}\"\nports = \"20000-20999\"\n\
             [gateway.media.ng]\nlisten = [\"udp:{udp}\", \"http:{http}\"]\ntoken-file = \"token\"\n{more}\n"
        );
        std::fs::write(directory.path().join("token"), format!("{TOKEN}\n")).unwrap();
        std::fs::write(directory.path().join("media.toml"), text).unwrap();
        let process = Self::run(&directory.path().join("media.toml"), grace);
        Self { directory, process, udp, http }
    }

    fn run(file: &std::path::Path, grace: u32) -> Running {
        let mut command = Command::new(CARNET);
        command.args(["run", "--grace", &grace.to_string(), "-c"]).arg(file);
        let process = Running::start(&mut command);
        process.line("ready");
        process
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `carnet ng` with this on its standard input.
    fn ng(&self, arguments: &[&str], input: &str) -> Output {
        self.ng_at(&format!("udp:{}", self.udp), arguments, input)
    }

    fn ng_at(&self, server: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(CARNET)
            .args(["ng", "--server", server, "--timeout", "30"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn gateway(&self, arguments: &[&str]) -> Output {
        let file = self.path("media.toml");
        Command::new(CARNET).arg("gateway").args(arguments).arg("-c").arg(file).output().unwrap()
    }

    /// Contexts that the gateway holds.
    fn contexts(&self) -> u64 {
        let listed = self.gateway(&["list", "--json"]);
        let listed: Value =
            serde_json::from_slice(&listed.stdout).unwrap_or_else(|e| panic!("{e}: {listed:?}"));
        listed["gateways"][0]["contexts"].as_u64().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process.child)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until this holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// A sealed MSRP line beside audio; the end listens at `address`, or would.
fn description(address: SocketAddr, setup: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n\
         a=rtpmap:0 PCMU/8000\r\nm=message {port} TCP/TLS/MSRP *\r\na=path:msrps://{address}/s1;tcp\r\n\
         a=accept-types:*\r\na=setup:{setup}\r\na=msrp-cema\r\na=x-unknown: left alone\r\n"
    )
}

/// The address of the MSRP line.
fn media_of(sdp: &str) -> SocketAddr {
    let section = sdp.split("m=message ").nth(1).unwrap_or_else(|| panic!("no line of MSRP in {sdp}"));
    let port = section.split(' ').next().unwrap();
    let line = section.lines().chain(sdp.lines()).find_map(|line| line.strip_prefix("c=IN IP4 ")).unwrap();
    format!("{line}:{port}").parse().unwrap()
}

/// The two connections of a call, each seen from its end.
struct Ends {
    alice: TcpStream,
    bob: TcpStream,
}

impl Ends {
    /// Both ways.
    fn talk(&mut self) {
        for (from, to) in [(&self.alice, &self.bob), (&self.bob, &self.alice)] {
            let (mut from, mut to) = (from, to);
            let octets: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
            let sent = octets.clone();
            std::thread::scope(|scope| {
                scope.spawn(move || from.write_all(&sent).unwrap());
                let mut got = vec![0; octets.len()];
                to.read_exact(&mut got).unwrap();
                assert_eq!(got, octets);
            });
        }
    }

    /// Both are closed by the gateway.
    fn end(mut self) {
        for end in [&mut self.alice, &mut self.bob] {
            let mut rest = [0; 1];
            // A reset is an end too.
            assert!(matches!(end.read(&mut rest), Ok(0) | Err(_)), "an octet that nobody sent");
        }
    }
}

/// alice offers, bob answers that he connects: he does to the gateway, and the gateway to alice.
fn call(scene: &Scene, id: &str) -> Ends {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let offer = description(listener.local_addr().unwrap(), "actpass");
    let offered = scene.ng(&["offer", "--call-id", id, "--from-tag", "a"], &offer);
    assert!(offered.status.success(), "{offered:?}");
    let offered_sdp = said(&offered);
    let gateway = media_of(&offered_sdp);
    assert!(gateway.ip().to_string().starts_with("127.0.77."), "{offered_sdp}");
    assert!(offered_sdp.contains("m=audio 30000 RTP/AVP 0\r\n"), "{offered_sdp}");
    assert!(offered_sdp.contains("a=x-unknown: left alone\r\n"), "{offered_sdp}");

    let answer = description("127.0.0.1:9".parse().unwrap(), "active");
    let tags = ["answer", "--call-id", id, "--from-tag", "a", "--to-tag", "b"];
    let answered = scene.ng(&tags, &answer);
    assert!(answered.status.success(), "{answered:?}");
    let towards_alice = media_of(&said(&answered));
    assert!(towards_alice.ip() == gateway.ip() && towards_alice != gateway, "{answered:?}");

    let bob = TcpStream::connect(gateway).unwrap();
    let (alice, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), gateway.ip());
    for end in [&alice, &bob] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
        end.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    Ends { alice, bob }
}

#[test]
fn a_call_passes_and_is_seen_and_ends() {
    let scene = Scene::start(1, 10, "");
    assert_eq!(said(&scene.ng(&["ping"], "")), "pong\n");
    let mut ends = call(&scene, "call-1@example");
    ends.talk();

    let listed = said(&scene.ng(&["list"], ""));
    assert_eq!(listed, "call-1@example\n");
    let known = scene.ng(&["query", "call-1@example", "--json"], "");
    let known: Value = serde_json::from_slice(&known.stdout).unwrap();
    assert_eq!(known["result"], "ok", "{known}");
    let audited = said(&scene.gateway(&["audit", "media"]));
    assert!(audited.contains("call call-1@example\n") && audited.contains("1 context\n"), "{audited}");
    let listed = said(&scene.gateway(&["list"]));
    let words = format!("steered over ng at udp:{}, http:{}: 1 calls", scene.udp, scene.http);
    assert!(listed.contains(&words), "{listed}");

    // Over HTTP whoever knows the token may ask, and nobody else.
    let http = format!("http://{}", scene.http);
    let refused = scene.ng_at(&http, &["list"], "");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && words.contains("token"), "{refused:?}");
    assert!(refused.stdout.is_empty(), "{refused:?}");
    let token = scene.path("token");
    let token = ["--token-file", token.to_str().unwrap()];
    let listed = scene.ng_at(&http, &[&token[..], &["list"]].concat(), "");
    assert_eq!(said(&listed), "call-1@example\n", "{listed:?}");

    let deleted = scene.ng(&["delete", "call-1@example", "--from-tag", "a", "--to-tag", "b"], "");
    assert!(deleted.status.success(), "{deleted:?}");
    ends.end();
    until("the end of the context", || scene.contexts() == 0);
    let ended = scene.process.line("dialog-ended");
    assert!(ended.contains("call_id=call-1@example ") && ended.contains("INFO"), "{ended}");
    assert_eq!(said(&scene.ng(&["list"], "")), "");
}

#[test]
fn what_cannot_be_carried_is_refused_and_what_is_not_ours_is_left_alone() {
    let scene = Scene::start(2, 10, "allow-plain = false");
    let plain = description("127.0.0.1:9".parse().unwrap(), "actpass").replace("TCP/TLS/MSRP", "TCP/MSRP");
    let refused = scene.ng(&["offer", "--call-id", "c", "--from-tag", "a", "--json"], &plain);
    let answer: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((refused.status.code(), &answer["result"]), (Some(1), &"error".into()), "{answer}");
    let audio = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n";
    let passed = scene.ng(&["offer", "--call-id", "d", "--from-tag", "a"], audio);
    assert_eq!(said(&passed), audio, "{passed:?}");
    assert_eq!(scene.contexts(), 0);
}

#[test]
fn a_gateway_that_drains_lets_calls_go_on() {
    let mut scene = Scene::start(3, 120, "");
    let mut ends = call(&scene, "stays");
    kill_process(scene.pid(), Signal::TERM).unwrap();
    let offer = description("127.0.0.1:9".parse().unwrap(), "actpass");
    until("`load limit`", || {
        let refused = scene.ng(&["offer", "--call-id", "new", "--from-tag", "n", "--json"], &offer);
        let answer: Value = serde_json::from_slice(&refused.stdout).unwrap();
        if answer["result"] == "ok" {
            scene.ng(&["delete", "new"], "");
        }
        answer["result"] == "load limit" && answer["message"].is_string()
    });
    ends.talk();
    scene.ng(&["delete", "stays"], "");
    ends.end();
    scene.process.rest();
    assert!(scene.process.child.wait().unwrap().success());
}

#[test]
fn calls_that_do_not_end_in_time_are_ended() {
    let mut scene = Scene::start(4, 2, "");
    let mut ends = call(&scene, "stays");
    ends.talk();
    kill_process(scene.pid(), Signal::TERM).unwrap();
    ends.end();
    scene.process.rest();
    assert!(scene.process.child.wait().unwrap().success());
}

/// Realms, interfaces and bounds change while a call is up, and it goes on.
#[test]
fn realms_come_and_go_around_a_call() {
    let scene = Scene::start(6, 10, "");
    let mut ends = call(&scene, "stays");
    ends.talk();
    let file = scene.path("media.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let reload = |text: &str, said: &str| {
        std::fs::write(&file, text).unwrap();
        kill_process(scene.pid(), Signal::HUP).unwrap();
        scene.process.line("reading the configuration again");
        let line = scene.process.line(said);
        assert!(line.contains("(applied)"), "{line}");
    };
    let spare = "[gateway.media.realm.spare]\nv4 = \"127.0.78.6\"\nports = \"20000-20999\"\n";
    reload(&format!("{before}max-calls = 9\n{spare}"), "gateway.media.realm.spare.v4: new");
    ends.talk();
    // What SIP servers call the new one is known at once.
    let offer = description("127.0.0.1:9".parse().unwrap(), "actpass");
    let direction = |near: &str, far: &str, id: &str| {
        let both = format!("{near},{far}");
        scene.ng(&["offer", "--call-id", id, "--from-tag", "a", "--direction", &both], &offer)
    };
    let offered = direction("public", "spare", "new");
    assert_eq!(media_of(&said(&offered)).ip().to_string(), "127.0.78.6", "{offered:?}");
    assert!(scene.ng(&["delete", "new"], "").status.success());
    // All that it had goes, and the call stays.
    let only = before.replace("realm.public", "realm.spare").replace("127.0.77.", "127.0.78.");
    reload(&only, "gateway.media.realm.public.v4: gone");
    ends.talk();
    let refused = direction("public", "spare", "gone");
    assert!(!refused.status.success(), "{refused:?}");
    let offered = direction("spare", "spare", "only");
    assert_eq!(media_of(&said(&offered)).ip().to_string(), "127.0.78.6", "{offered:?}");
    assert!(scene.ng(&["delete", "only"], "").status.success());
    reload(&before, "gateway.media.realm.public.v4: new");
    call(&scene, "next").talk();
    ends.talk();
    for id in ["stays", "next"] {
        assert!(scene.ng(&["delete", id], "").status.success());
    }
    ends.end();
    until("the end of the contexts", || scene.contexts() == 0);
}

/// What a SIP server sends for a re-INVITE makes the call anew where it is not known any more.
#[test]
fn a_call_is_made_again_after_a_restart() {
    let mut scene = Scene::start(5, 10, "");
    let ends = call(&scene, "again");
    kill_process(scene.pid(), Signal::KILL).unwrap();
    ends.end();
    scene.process.child.wait().unwrap();
    scene.process = Scene::run(&scene.path("media.toml"), 10);
    assert_eq!(said(&scene.ng(&["list"], "")), "");
    call(&scene, "again").talk();
    assert_eq!(scene.contexts(), 1);
}

#[test]
fn nobody_there_is_said() {
    let nobody = free();
    let output =
        Command::new(CARNET).args(["ng", "--server", &format!("udp:{nobody}"), "ping"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("nobody listens there"), "{output:?}");
}
