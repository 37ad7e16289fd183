//! Messages told to a HEP server: to sockets of this test, which are there, are slow, or go, to Kamailio's `sipcapture`, which
//! reads the packets with other people's eyes, and to a server in TLS that has its own idea of HEP and H.248.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use common::{PATIENCE, Running, free};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");
const PROOF: &str = "6629fae49393a05397450978507c4ef1";

/// A border with a gateway in one process.
struct Node {
    _directory: tempfile::TempDir,
    _process: Running,
    sip: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    fn start(hep: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sip, core, admin) = (free(), free(), free());
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("users.toml", "alice = \"wonderland\"\n");
        write("word", "homer-word\n");
        write(
            "carnet.toml",
            &format!(
                "[admin]\nlisten = \"{admin}\"\n[hep]\n{hep}\n\
                 [border.alg]\nrole = \"ims-alg\"\ndomain = \"x.example\"\n\
                 registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\ncontrol = {{ gateways = [\"agw\"] }}\n\
                 [border.alg.network.access]\nlisten = [\"udp:{sip}\"]\nsubscribers = true\n\
                 [border.alg.network.core]\nlisten = [\"udp:{core}\"]\n\
                 [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"local:alg\"]\n\
                 [gateway.agw.realm.access]\nv4 = \"127.0.0.1\"\nports = \"21000-21009\"\n\
                 [gateway.agw.realm.core]\nv4 = \"127.0.0.1\"\nports = \"21010-21019\"\n"
            ),
        );
        let file = directory.path().join("carnet.toml");
        let process = Running::start(Command::new(CARNET).args(["run", "--grace", "1", "-c"]).arg(&file));
        process.line("ready");
        Self { _directory: directory, _process: process, sip, admin }
    }

    /// Registers with a proof that is wrong; the answer.
    fn register(&self, call_id: &str) -> (SocketAddr, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let from = socket.local_addr().unwrap();
        let request = format!(
            "REGISTER sip:x.example SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call_id}\r\nMax-Forwards: 70\r\n\
             From: <sip:alice@x.example>;tag=1\r\nTo: <sip:alice@x.example>\r\nCall-ID: {call_id}\r\nCSeq: 1 REGISTER\r\n\
             Contact: <sip:alice@{from}>\r\nAuthorization: Digest username=\"alice\", realm=\"x.example\", nonce=\"n\", \
             uri=\"sip:x.example\", response=\"{PROOF}\"\r\nContent-Length: 0\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), self.sip).unwrap();
        let mut answer = vec![0; 65_536];
        let (n, _) = socket.recv_from(&mut answer).unwrap();
        (from, String::from_utf8_lossy(&answer[..n]).into_owned())
    }

    fn counted(&self, result: &str) -> u64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = format!("carnet_hep_packets_total{{result=\"{result}\"}} ");
        text.lines()
            .find_map(|found| found.strip_prefix(&line))
            .unwrap_or_else(|| panic!("{line}{text}"))
            .parse()
            .unwrap()
    }
}

/// The generic chunks of a packet.
fn chunks(packet: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    assert_eq!(&packet[..4], b"HEP3");
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    assert_eq!(usize::from(word(4)), packet.len());
    let (mut at, mut out) = (6, BTreeMap::new());
    while at < packet.len() {
        let end = at + usize::from(word(at + 4));
        assert_eq!(word(at), 0);
        out.insert(word(at + 2), packet[at + 6..end].to_vec());
        at = end;
    }
    out
}

fn port(chunk: &[u8]) -> u16 {
    u16::from_be_bytes([chunk[0], chunk[1]])
}

/// The next packet with this Call-ID.
fn of_call(mut next: impl FnMut() -> Vec<u8>, call_id: &str) -> BTreeMap<u16, Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let found = chunks(&next());
        if found.get(&0x11).is_some_and(|id| id == call_id.as_bytes()) {
            return found;
        }
    }
    panic!("no packet of {call_id}");
}

#[test]
fn a_message_is_a_packet_with_what_there_is_to_know_and_without_proofs() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let node = Node::start(&format!(
        "server = \"udp:{}\"\nid = 77\nname = \"east\"\npassword-file = \"word\"",
        server.local_addr().unwrap()
    ));
    let (from, answer) = node.register("one");
    assert!(answer.starts_with("SIP/2.0 401"), "{answer}");
    let mut control = None;
    let mut next = || {
        let mut octets = vec![0; 65_536];
        let n = server.recv(&mut octets).unwrap();
        octets.truncate(n);
        let found = chunks(&octets);
        if found[&0x0b] == [7] {
            control = Some(found);
        }
        octets
    };
    let request = of_call(&mut next, "one");
    let reply = of_call(&mut next, "one");
    for (packet, source, destination) in [(&request, from, node.sip), (&reply, node.sip, from)] {
        assert_eq!((packet[&1].as_slice(), packet[&2].as_slice()), (&[2][..], &[17][..]));
        assert_eq!(
            (packet[&3].as_slice(), packet[&4].as_slice()),
            (&[127, 0, 0, 1][..], &[127, 0, 0, 1][..])
        );
        assert_eq!((port(&packet[&7]), port(&packet[&8])), (source.port(), destination.port()));
        assert_eq!((packet[&0x0b].as_slice(), packet[&0x0c].as_slice()), (&[1][..], &[0, 0, 0, 77][..]));
        assert_eq!((packet[&0x0e].as_slice(), packet[&0x13].as_slice()), (&b"homer-word"[..], &b"east"[..]));
    }
    let text = String::from_utf8(request[&0x0f].clone()).unwrap();
    assert!(text.starts_with("REGISTER sip:x.example SIP/2.0\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    assert!(text.contains("username=\"alice\"") && !text.contains(PROOF), "{text}");
    assert!(reply[&0x0f].starts_with(b"SIP/2.0 401"));
    // What the border and its gateway said at the start, though nothing of it was on a wire.
    let control = control.expect("H.248 came before");
    assert!(control[&0x0f].starts_with(b"MEGACO/"), "{}", String::from_utf8_lossy(&control[&0x0f]));
    assert!(node.counted("sent") >= 3 && node.counted("dropped") == 0);
}

/// One packet of a stream.
fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    let mut packet = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
    packet[..6].copy_from_slice(&head);
    stream.read_exact(&mut packet[6..]).unwrap();
    packet
}

#[test]
fn a_server_that_goes_or_is_slow_holds_nobody_up() {
    let at = free();
    let server = TcpListener::bind(at).unwrap();
    let node = Node::start(&format!("server = \"tcp:{at}\"\nqueue = 20"));
    let (mut stream, _) = server.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    node.register("first");
    assert_eq!(of_call(|| read(&mut stream), "first")[&2], [17], "as it went, not as it is told");
    // It goes, and there is nobody for a while.
    drop((stream, server));
    let until = Instant::now() + PATIENCE;
    let mut n = 0;
    while node.counted("dropped") == 0 {
        assert!(Instant::now() < until, "nothing is dropped");
        for _ in 0..20 {
            n += 1;
            assert!(node.register(&format!("lost-{n}")).1.starts_with("SIP/2.0 401"));
        }
    }
    // It is there again, and does not read: what the system does not take any more is dropped.
    let server = TcpListener::bind(at).unwrap();
    let (stream, _) = server.accept().unwrap();
    let before = node.counted("dropped");
    let long = "x".repeat(3_000);
    let until = Instant::now() + PATIENCE * 2;
    while node.counted("dropped") <= before {
        assert!(Instant::now() < until, "a server that does not read is waited for");
        for _ in 0..20 {
            n += 1;
            assert!(node.register(&format!("slow-{n}-{long}")).1.starts_with("SIP/2.0 "));
        }
    }
    // One that reads gets the next ones.
    drop(stream);
    let (stream, _) = server.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        n += 1;
        let id = format!("again-{n}");
        node.register(&id);
        let mut head = [0; 4];
        if stream.peek(&mut head).is_ok_and(|count| count == 4) {
            assert_eq!(&head, b"HEP3");
            break;
        }
        assert!(Instant::now() < until, "it is not told again");
    }
}

#[test]
fn kamailio_reads_every_chunk() {
    if Command::new("kamailio").arg("-v").output().is_err() {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "kamailio is required here");
        eprintln!("skipped: kamailio is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (at, database) = (free(), directory.path().join("db"));
    std::fs::create_dir(&database).unwrap();
    std::fs::write(database.join("version"), "table_name(str) table_version(int)\nsip_capture:4\n").unwrap();
    std::fs::write(database.join("sip_capture"), "id(int,auto) x(str)\n").unwrap();
    let modules = [
        "/usr/lib/x86_64-linux-gnu/kamailio/modules/",
        "/usr/lib/kamailio/modules/",
        "/usr/lib64/kamailio/modules/",
    ];
    let modules = modules.into_iter().find(|path| Path::new(path).exists()).unwrap_or(modules[0]);
    let text = include_str!("kamailio/capture.cfg")
        .replace("LISTEN", &at.to_string())
        .replace("MODULES", modules)
        .replace("DATABASE", database.to_str().unwrap());
    let file = directory.path().join("capture.cfg");
    std::fs::write(&file, text).unwrap();
    let kamailio = Running::start(Command::new("kamailio").args(["-E", "-DD", "-f"]).arg(&file));
    // It says nothing when it listens: who sends before that is refused by the system.
    let until = Instant::now() + PATIENCE;
    while UdpSocket::bind(at).is_ok() {
        assert!(Instant::now() < until, "kamailio does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    let node = Node::start(&format!("server = \"udp:{at}\"\nid = 9\npassword-file = \"word\""));
    let (from, _) = node.register("seen-by-kamailio");
    let (here, there) = (node.sip.port(), from.port());
    for (source, destination) in [(there, here), (here, there)] {
        kamailio.line(&format!(
            "PACKET 3|2|17|127.0.0.1|127.0.0.1|{source}|{destination}|1|9|homer-word|seen-by-kamailio|"
        ));
    }
    // The border looks after its gateway every other second.
    kamailio.line("|7|9|homer-word|");
}

/// A certificate for 127.0.0.1, and its key.
fn certificate(directory: &Path, name: &str) -> [String; 2] {
    let [pem, key] = ["pem", "key"].map(|end| directory.join(format!("{name}.{end}")).display().to_string());
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=homer \
                     -addext subjectAltName=IP:127.0.0.1";
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .args(["-keyout", &key, "-out", &pem])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    [pem, key]
}

struct Homer {
    process: Running,
    port: String,
    seen: Vec<serde_json::Value>,
}

impl Homer {
    fn start([pem, key]: &[String; 2], port: Option<&str>) -> Self {
        let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hep/server.py");
        let process = Running::start(Command::new("python3").arg(server).args([pem, key]).args(port));
        let port = process.lines.recv_timeout(PATIENCE).unwrap();
        assert!(port.parse::<u16>().is_ok(), "{port}");
        Self { process, port, seen: Vec::new() }
    }

    /// All packets, when there are those that are waited for.
    fn until(&mut self, what: &str, complete: impl Fn(&[serde_json::Value]) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !complete(&self.seen) {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.process.lines.recv_timeout(left) else { panic!("{what}: {:#?}", self.seen) };
            self.seen.push(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")));
        }
    }
}

/// A call between two clients, told in TLS: its H.248 has its Call-ID, from the request that makes the context to the last reply.
#[test]
fn control_is_told_in_tls_with_the_call_it_is_for() {
    let kms = common::Kms::start();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let shown = certificate(directory.path(), "homer");
    let mut homer = Homer::start(&shown, None);
    let (admin, access) = (free(), free());
    write("users.toml", "alice = \"a password\"\nbob = \"a password\"\n");
    std::fs::write(kms.path("password"), "a password\n").unwrap();
    let port = homer.port.clone();
    let text = |ca: &str| {
        format!(
            "[admin]\nlisten = \"{admin}\"\n\
             [hep]\nserver = \"tls:127.0.0.1:{port}\"\ntls = {{ ca = \"{ca}\" }}\n\
             [border.b]\nrole = \"ims-alg\"\ndomain = \"x.example\"\n\
             registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\ncontrol = {{ gateways = [\"g\"] }}\n\
             [border.b.network.access]\nlisten = [\"tcp:{access}\"]\nsubscribers = true\n\
             [gateway.g]\nrole = \"ims-agw\"\ncontrollers = [\"local:b\"]\n\
             [gateway.g.realm.access]\nv4 = \"127.0.0.1\"\nports = \"21400-21439\"\n"
        )
    };
    write("carnet.toml", &text(&shown[0]));
    let file = directory.path().join("carnet.toml");
    let start = || {
        let process = Running::start(Command::new(CARNET).args(["run", "--grace", "1", "-c"]).arg(&file));
        process.line("ready");
        process
    };
    let process = start();
    let settings = format!("proxy = \"sip:{access};transport=tcp\"\npassword-file = \"password\"\n");
    let client = |user: &str, action: &[&str]| kms.registered(user, &settings, action);
    let bob = client("bob", &["listen"]);
    bob.line("\"registered\"");
    let mut alice = client("alice", &["chat", "sip:bob@x.example"]);
    alice.line("\"sealed\"");
    let stop = Command::new("kill").args(["-INT", &alice.child.id().to_string()]).status();
    assert!(stop.is_ok_and(|s| s.success()) && alice.child.wait().unwrap().success());
    bob.line("\"ended\"");

    let does = |packet: &serde_json::Value, command: &str, reply: bool| {
        let commands = packet["commands"].as_array();
        packet["protocol"] == 7
            && packet["reply"] == reply
            // Not what is said of the gateway, or of all contexts at the start.
            && (packet["contexts"][0] != "-" || command == "ServiceChange")
            && packet["contexts"][0] != "*"
            && commands.is_some_and(|all| all.iter().any(|one| one == command))
    };
    let all = [("Add", false), ("Add", true), ("Modify", false), ("Subtract", false), ("Subtract", true)];
    homer.until("all that was said of the call", |seen| {
        all.iter().all(|(command, reply)| seen.iter().any(|packet| does(packet, command, *reply)))
    });
    let invite = homer.seen.iter().find(|packet| {
        packet["protocol"] == 1 && packet["payload"].as_str().is_some_and(|text| text.starts_with("INVITE "))
    });
    let invite = invite.unwrap_or_else(|| panic!("no INVITE: {:#?}", homer.seen));
    let call_id = invite["correlation"].as_str().unwrap().to_owned();
    for (command, reply) in all {
        let of: Vec<_> = homer.seen.iter().filter(|packet| does(packet, command, reply)).collect();
        assert!(!of.is_empty(), "no {command}: {:#?}", homer.seen);
        for packet in of {
            assert_eq!(packet["correlation"], *call_id, "{command} {reply}: {packet:#?}");
        }
    }
    // The first one had no context yet, and what is of no call has no Call-ID.
    assert!(homer.seen.iter().any(|packet| does(packet, "Add", false) && packet["contexts"][0] == "$"));
    let change = homer.seen.iter().find(|packet| does(packet, "ServiceChange", false)).unwrap();
    assert!(change["correlation"].is_null(), "{change:#?}");

    // It goes and comes again: the border finds its way back.
    drop(homer);
    let mut homer = Homer::start(&shown, Some(&port));
    homer.until("what is said afterwards", |seen| seen.iter().any(|packet| packet["protocol"] == 7));
    drop((process, bob));

    // One whose certificate nobody vouches for is told nothing.
    let [other, _] = certificate(directory.path(), "other");
    write("carnet.toml", &text(&other));
    let process = start();
    process.line("no way to the HEP server");
    homer.until("a handshake that failed", |seen| seen.iter().any(|packet| packet.get("failed").is_some()));
    let before = homer.seen.iter().filter(|packet| packet.get("protocol").is_some()).count();
    process.line("no way to the HEP server");
    while let Ok(line) = homer.process.lines.try_recv() {
        assert!(line.contains("failed"), "{before} before, and then {line}");
    }
}
