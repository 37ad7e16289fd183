//! `carnet gateway`: what a running gateway holds, as its administrator sees it; the controller is
//! played by hand over UDP.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use common::Running;
use serde_json::Value;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");

/// A controller without a mind: it says what the test has it say.
struct Controller {
    socket: UdpSocket,
    gateway: SocketAddr,
    next: u32,
}

impl Controller {
    /// Lets the gateway register.
    fn accept(socket: UdpSocket) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut this = Self { gateway: socket.local_addr().unwrap(), socket, next: 1 };
        let (request, from) = this.receive();
        assert!(request.contains("SC=ROOT"), "{request}");
        this.gateway = from;
        let id = between(&request, "T=", "{");
        this.send(&format!("!/3 <mgc> P={id}{{C=-{{SC=ROOT{{SV{{V=3}}}}}}}}"));
        this
    }

    fn receive(&self) -> (String, SocketAddr) {
        let mut octets = [0; 65536];
        // A call with a time limit is not begun again by itself when the process was stopped meanwhile (signal(7)).
        let (length, from) = loop {
            match self.socket.recv_from(&mut octets) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                heard => break heard.unwrap(),
            }
        };
        (String::from_utf8_lossy(&octets[..length]).into_owned(), from)
    }

    fn send(&self, message: &str) {
        self.socket.send_to(message.as_bytes(), self.gateway).unwrap();
    }

    /// A transaction, and the reply to it.
    fn ask(&mut self, actions: &str) -> String {
        let id = self.next;
        self.next += 1;
        self.send(&format!("!/3 <mgc> T={id}{{{actions}}}"));
        loop {
            let (reply, _) = self.receive();
            if reply.contains(&format!("P={id}{{")) {
                return reply;
            }
        }
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} in {text}")).0
}

/// A gateway as a process, its administration socket and its controller.
struct Scene {
    directory: tempfile::TempDir,
    controller: Controller,
    _gateway: Running,
}

impl Scene {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let file = directory.path().join("gateway.toml");
        let text = format!(
            "[admin]\nsocket = \"admin.sock\"\n\
             [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"mgc@udp:{address}\"]\n\
             [gateway.agw.realm.access]\nv4 = \"127.0.0.1\"\nports = \"20000-29999\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let gateway = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(&file));
        gateway.line("ready");
        let controller = Controller::accept(socket);
        Self { directory, controller, _gateway: gateway }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn look(&self, arguments: &[&str]) -> Output {
        let file = self.path("gateway.toml");
        Command::new(CARNET).arg("gateway").args(arguments).arg("-c").arg(file).output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_a_gateway_holds_is_seen_and_the_controller_hears_nothing_of_it() {
    let mut scene = Scene::start();
    let mode = std::fs::metadata(scene.path("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner only");

    let listed = said(&scene.look(&["list"]));
    let first = "agw (ims-agw): registered at <mgc>, 0 of 10000 contexts, realms access\n";
    assert_eq!(listed.strip_prefix(first), Some("  ports of access: 10000 free, 0 in use, 0 resting\n"));
    assert_eq!(said(&scene.look(&["audit", "agw"])), "0 contexts\n");

    let add = |setup: &str| {
        format!(
            "A=${{M{{ST=1{{O{{MO=SR,ipdc/realm=\"access\"}},L{{v=0\nc=IN IP4 $\nm=- $ TCP/TLS -\na=setup:{setup}\n}},\
             R{{v=0\nc=IN IP4 192.0.2.77\nm=- 2855 TCP/TLS -\n}}}}}},E=5{{g/cause}}}}"
        )
    };
    // More than one answer holds, so that it takes pages.
    for _ in 0..50 {
        let reply = scene.controller.ask(&format!("C=${{{},{}}}", add("passive"), add("active")));
        assert!(!reply.contains("ER="), "{reply}");
    }

    let listed = scene.look(&["list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&listed["gateways"][0]["contexts"], &listed["borders"]), (&50.into(), &Value::Array(vec![])));

    let audited = scene.look(&["audit", "agw", "--json"]);
    assert!(audited.status.success());
    let contexts: Vec<Value> =
        said(&audited).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(contexts.len(), 50);
    let numbers: Vec<_> = contexts.iter().map(|c| c["context"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let ports: std::collections::BTreeSet<_> = contexts
        .iter()
        .flat_map(|c| c["terminations"].as_array().unwrap())
        .map(|t| {
            let stream = &t["streams"][0];
            assert_eq!((&stream["mode"], &stream["realm"]), (&"SendReceive".into(), &"access".into()));
            assert_eq!((&stream["remote"], &t["events"][0]), (&"192.0.2.77:2855".into(), &"g/cause".into()));
            assert_eq!(t["octets_sent"], 0);
            stream["local"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ports.len(), 100, "every termination has its own address");

    let some = scene.look(&["audit", "agw", "--most", "1", "--from", &numbers[41].to_string()]);
    let text = said(&some);
    assert!(text.starts_with(&format!("context {}\n", numbers[41])), "{text}");
    assert!(text.contains("TCP/TLS SendReceive  127.0.0.1:") && text.contains(" (passive)"), "{text}");
    assert!(text.ends_with("1 context\n"), "{text}");
    assert!(String::from_utf8_lossy(&some.stderr).contains("--most"));

    scene.controller.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut octets = [0; 4096];
    if let Ok(length) = scene.controller.socket.recv(&mut octets) {
        panic!("the controller heard {}", String::from_utf8_lossy(&octets[..length]));
    }
}

#[test]
fn what_cannot_be_answered_is_said_plainly() {
    let scene = Scene::start();
    let fails = |arguments: &[&str], words: &str| {
        let output = scene.look(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && complaint.contains(words), "{arguments:?}: {complaint}");
    };
    fails(&["audit", "agx"], "there is no gateway `agx`; there is agw");
    fails(&["audit", "agw", "--by", "border"], "there is no border `border`");

    // A second process does not take the socket of one that answers there.
    let file = scene.path("gateway.toml");
    let second = Command::new(CARNET).args(["run", "-c"]).arg(&file).output().unwrap();
    let complaint = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && complaint.contains("another process answers there"), "{complaint}");
    assert!(scene.look(&["list"]).status.success(), "the first one still answers");

    let bare = scene.path("bare.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("[admin]\nsocket = \"admin.sock\"\n", "");
    std::fs::write(&bare, text).unwrap();
    let output = Command::new(CARNET).args(["gateway", "list", "-c"]).arg(&bare).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no [admin] section"), "{output:?}");
}

#[test]
fn the_socket_goes_with_the_process_and_one_left_behind_is_replaced() {
    let mut scene = Scene::start();
    scene._gateway.child.kill().unwrap();
    scene._gateway.child.wait().unwrap();
    let output = scene.look(&["list"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody answers"), "{output:?}");
    assert!(scene.path("admin.sock").exists(), "SIGKILL leaves it");

    let file = scene.path("gateway.toml");
    let again = Running::start(Command::new(CARNET).args(["run", "--grace", "1", "-c"]).arg(&file));
    again.line("ready");
    assert!(said(&scene.look(&["list"])).starts_with("agw (ims-agw): looking for a controller"));
    let killed = Command::new("kill").arg(again.child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let mut again = again;
    again.rest();
    assert!(!scene.path("admin.sock").exists());
}

/// A network border with its gateway in the same process, between two networks on loopback.
fn border(control: &str, gateway: &str) -> (tempfile::TempDir, Running, [SocketAddr; 3]) {
    let directory = tempfile::tempdir().unwrap();
    let free = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let [near, far, next] = [free(), free(), free()];
    let text = format!(
        "[admin]\nsocket = \"admin.sock\"\n\
         [border.ibcf]\nrole = \"ibcf\"\ndomain = \"x.example\"\ncontrol = {{ {control} }}\n\
         [border.ibcf.network.near]\nlisten = [\"udp:{near}\"]\n\
         [border.ibcf.network.far]\nlisten = [\"udp:{far}\"]\n\
         [[border.ibcf.route]]\ndomain = \"*\"\nnetwork = \"far\"\nnext-hop = \"sip:{next}\"\n{gateway}"
    );
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    let running = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(&file));
    running.line("ready");
    (directory, running, [near, far, next])
}

fn ask(directory: &tempfile::TempDir, arguments: &[&str]) -> Output {
    let file = directory.path().join("gateway.toml");
    Command::new(CARNET).arg("gateway").args(arguments).arg("-c").arg(file).output().unwrap()
}

/// Waits until the border has its gateway: said before or after it is ready, as it comes.
fn in_service(directory: &tempfile::TempDir) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let listed = ask(directory, &["list", "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let state = &listed["borders"][0]["gateways"][0]["state"];
        if state == "in service" {
            return;
        }
        assert!(Instant::now() < until, "the gateway is not in service: {listed}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_border_says_which_call_a_context_belongs_to() {
    let gateway = "[gateway.trgw]\nrole = \"trgw\"\ncontrollers = [\"local:ibcf\"]\n\
        [gateway.trgw.realm.near]\nv4 = \"127.0.0.1\"\nports = \"20000-29999\"\n\
        [gateway.trgw.realm.far]\nv4 = \"127.0.0.1\"\nports = \"30000-39999\"\n";
    let (directory, _border, [near, _, next]) = border("gateways = [\"trgw\"]", gateway);
    in_service(&directory);
    let callee = UdpSocket::bind(next).unwrap();
    callee.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = caller.local_addr().unwrap();
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
        m=message 7654 TCP/TLS/MSRP *\r\na=path:msrps://127.0.0.1:7654/s1;tcp\r\na=accept-types:*\r\n\
        a=setup:actpass\r\na=msrp-cema\r\n";
    let invite = format!(
        "INVITE sip:bob@x.example SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@y.example>;tag=1\r\nTo: <sip:bob@x.example>\r\nCall-ID: seen-from-both-sides\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:alice@{own}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    caller.send_to(invite.as_bytes(), near).unwrap();
    let mut octets = [0; 65536];
    let length = callee.recv(&mut octets).unwrap();
    let offered = String::from_utf8_lossy(&octets[..length]).into_owned();

    let listed: Value = serde_json::from_slice(&ask(&directory, &["list", "--json"]).stdout).unwrap();
    let owned = &listed["borders"][0]["gateways"][0];
    assert_eq!((&owned["gateway"], &owned["state"]), (&"trgw".into(), &"in service".into()));
    assert_eq!((&owned["calls"], &owned["contexts"], &owned["version"]), (&1.into(), &1.into(), &3.into()));
    assert_eq!(listed["gateways"][0]["contexts"], 1);
    assert_eq!(owned["refusal"], Value::Null, "that there was nothing to sweep is no refusal");
    let text = said(&ask(&directory, &["list"]));
    assert!(
        text.contains(
            "ibcf owns\n  trgw: in service, carnet_ix/1, version 3, contexts 1, requests unanswered 0"
        ),
        "{text}"
    );

    let audited = ask(&directory, &["audit", "trgw", "--by", "ibcf", "--json"]);
    assert!(audited.status.success(), "{audited:?}");
    let context: Value = serde_json::from_slice(&audited.stdout).unwrap();
    assert_eq!(context["call"], "seen-from-both-sides");
    let far = context["terminations"].as_array().unwrap().iter().find(|t| t["streams"][0]["realm"] == "far");
    let address = far.unwrap()["streams"][0]["local"].as_str().unwrap();
    let port = address.rsplit(':').next().unwrap();
    assert!(offered.contains(&format!("m=message {port} TCP/TLS/MSRP")), "{offered}");
    let text = said(&ask(&directory, &["audit", "trgw", "--by", "ibcf"]));
    assert!(text.contains("  call seen-from-both-sides\n"), "{text}");
}

#[test]
fn a_context_that_no_call_knows_is_a_failure() {
    let control: SocketAddr = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = format!("listen = [\"udp:{control}\"], gateways = [\"other\"]");
    let (directory, border, _) = border(&settings, "");
    let gateway = UdpSocket::bind("127.0.0.1:0").unwrap();
    let restart = "!/3 <other> T=9{C=-{SC=ROOT{SV{MT=RS,RE=\"901 Cold Boot\",V=3}}}}";
    gateway.send_to(restart.as_bytes(), control).unwrap();
    std::thread::spawn(move || {
        // Answers what it is asked, for as long as the test runs.
        let mut octets = [0; 65536];
        while let Ok((length, from)) = gateway.recv_from(&mut octets) {
            let text = String::from_utf8_lossy(&octets[..length]).into_owned();
            let Some((_, rest)) = text.split_once("T=") else { continue };
            let id = rest.split('{').next().unwrap();
            let answer = if text.contains("C=*") {
                "C=99{AV=ROOT}"
            } else if text.contains("C=99") {
                "C=99{AV=t/7{M{ST=1{L{v=0\nc=IN IP4 192.0.2.1\nm=- 5 TCP/TLS -\n}}}}}"
            } else {
                "C=-{AV=ROOT}"
            };
            gateway.send_to(format!("!/3 <other> P={id}{{{answer}}}").as_bytes(), from).unwrap();
        }
    });
    border.line("gateway-up");
    let output = ask(&directory, &["audit", "other"]);
    let text = said(&output);
    assert!(
        text.starts_with("context 99  NO CALL\n  t/7\n    TCP/TLS -  192.0.2.1:5\n1 context\n"),
        "{text}"
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 of them belong to no call"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}
