//! Strangers connect to the addresses of a call: to a pinhole of a gateway, to the client itself.
//! They get nothing, they cost little, and the call they wanted to spoil goes through.

use crate::lab::Lab;
use crate::meddler::Meddler;
use crate::network::{self, PATIENCE};
use crate::sealed::let_go;
use crate::tampering::meddled;
use std::io::{Error, ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// As many as try their luck.
const MANY: usize = 10_000;

/// Keeps the answers back until told otherwise.
fn hold_answers(meddler: &Meddler) -> Arc<AtomicBool> {
    let go = Arc::new(AtomicBool::new(false));
    let released = go.clone();
    meddler.now(move |message| {
        while message.starts_with("SIP/2.0 200") && !released.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        message
    });
    go
}

/// Sockets that listen on `host`, of those that begin with `address`.
fn listening(lab: &Lab, host: &str, address: &str) -> Option<SocketAddr> {
    let output = lab.command(host, "ss").args(["-Hltn"]).output().expect("ss");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let sockets = text.lines().filter_map(|line| line.split_whitespace().nth(3)?.parse::<SocketAddr>().ok());
    sockets.into_iter().find(|socket| socket.to_string().starts_with(address) && socket.port() > 9999)
}

/// A call from an alice who opens the connection herself, stopped after the gateway has opened its
/// gate for her and before she comes; her process, and the pinhole.
fn gate_open(lab: &mut Lab, filter: bool) -> (usize, SocketAddr) {
    let meddler = meddled(lab);
    lab.join("stranger", "subs-a", "198.51.100.50/26");
    let settings = std::fs::read_to_string(lab.directory().join("alice.toml")).expect("alice's settings");
    lab.file("alice.toml", &format!("{settings}behind-nat = true\n"));
    if filter {
        // The border reads it when it starts.
        lab.edit("border-a.toml", "subscribers = true", "subscribers = true\nsource-filter = true");
        let border = lab.named("border-a");
        lab.process(border).signal("KILL");
        lab.process(border).wait(PATIENCE);
        let command = network::carnet(lab, "border-a", &["run", "-c", "border-a.toml"]);
        lab.start("border-a", command);
        lab.wait_for("border-a", "err", "gateway-up", PATIENCE);
    }
    let go = hold_answers(&meddler);
    let alice = network::ue(lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.until(PATIENCE, "bob answers", |_| meddler.last("SIP/2.0 200").is_some());
    lab.process(alice).signal("STOP");
    go.store(true, Ordering::Relaxed);
    lab.until(PATIENCE, "the gate opens", |lab| listening(lab, "agw-a", "198.51.100.2:").is_some());
    let pinhole = listening(lab, "agw-a", "198.51.100.2:").expect("a pinhole");
    (alice, pinhole)
}

/// That many connect and say nothing. Those who are still connected, and how many were in all.
fn knock(at: SocketAddr, many: usize) -> (Vec<TcpStream>, usize) {
    let mut there = 0;
    let mut connect = |_| {
        let attempt = TcpStream::connect_timeout(&at, Duration::from_secs(5));
        // Some are sent away before they know that they were let in.
        let reset = |error: &Error| error.kind() == ErrorKind::ConnectionReset;
        there += usize::from(attempt.as_ref().map_or_else(reset, |_| true));
        attempt.ok()
    };
    let connected = (0..many).filter_map(&mut connect).collect();
    (connected, there)
}

/// Whether the other end has closed or reset.
fn is_over(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    match stream.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Descriptors of a process, and the most memory it has had, in kB.
fn holdings(lab: &mut Lab, name: &str) -> (usize, u64) {
    let index = lab.named(name);
    let process = format!("/proc/{}", lab.process(index).child.id());
    let descriptors = std::fs::read_dir(format!("{process}/fd")).expect("a process").count();
    let status = std::fs::read_to_string(format!("{process}/status")).expect("a process");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    (descriptors, memory.trim().trim_end_matches(" kB").parse().expect("kilobytes"))
}

/// Ten thousand knock at the pinhole, all but the last `late` of them before alice comes; she talks
/// to bob all the same.
fn ten_thousand(filter: bool, late: usize) {
    let Some(mut lab) = Lab::new() else { return };
    let (alice, pinhole) = gate_open(&mut lab, filter);
    let (open, before) = holdings(&mut lab, "agw-a");
    let (early, there) = lab.inside("stranger", || knock(pinhole, MANY - late));
    assert_eq!(there, MANY - late, "some never came to the door");
    let enter = lab.door("stranger");
    let strangers = std::thread::spawn(move || {
        enter();
        knock(pinhole, late)
    });
    lab.process(alice).signal("CONT");
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", "\"event\":\"sealed\"", PATIENCE);
    }
    lab.process(alice).say("never mind them");
    lab.wait_for("bob", "out", "never mind them", PATIENCE);
    let (late, _) = strangers.join().expect("the strangers");
    for stranger in early.iter().chain(&late) {
        lab.until(PATIENCE, "every stranger is sent away", |_| is_over(stranger));
    }
    let (_, after) = holdings(&mut lab, "agw-a");
    assert!(after < before + 8192, "memory grew from {before} to {after} kB");
    if filter {
        let log = lab.output("agw-a", "err");
        assert!(
            log.contains(" blocked gateway=") && log.contains("198.51.100.50:"),
            "the gateway says who it was"
        );
    }

    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "out"));
    let_go(&lab, PATIENCE);
    let (left, _) = holdings(&mut lab, "agw-a");
    assert!(left <= open, "{left} descriptors of {open}");
}

#[test]
fn ten_thousand_from_the_wrong_source() {
    ten_thousand(true, MANY / 4);
}

#[test]
fn ten_thousand_that_say_nothing() {
    ten_thousand(false, 0);
}

/// Connects two listeners with each other: one that connects, and yet waits for a ClientHello.
const BRIDGE: &str = "
import socket, sys, threading
ends = [socket.create_connection((host, int(port))) for host, port in (a.rsplit(':', 1) for a in sys.argv[1:3])]
def pass_on(one, other):
    try:
        while octets := one.recv(65536):
            other.sendall(octets)
    except OSError:
        pass
    other.shutdown(socket.SHUT_WR)
threads = [threading.Thread(target=pass_on, args=pair) for pair in (ends, ends[::-1])]
[thread.start() for thread in threads]
";

/// A stranger reaches alice's own listening side first, with a key that is not the call's. She made the
/// key exchange, so she is the TLS client whoever connects: he plays the server.
#[test]
fn a_wrong_key_at_the_client() {
    let Some(mut lab) = Lab::new() else { return };
    let meddler = meddled(&mut lab);
    lab.join("stranger", "subs-a", "198.51.100.50/26");
    let mut server = lab.command("stranger", "openssl");
    // In TLS 1.3 it would look for the identity, which it cannot guess, and not come to the key.
    server.args(["s_server", "-accept", "4433", "-nocert", "-naccept", "1", "-tls1_2"]);
    server.args(["-psk", "000102030405060708090a0b0c0d0e0f"]);
    let server = lab.start("s_server", server);
    lab.wait_for("s_server", "out", "ACCEPT", PATIENCE);
    let go = hold_answers(&meddler);
    let alice = network::ue(&mut lab, "alice", &["chat", "sip:bob@b.example"]);
    lab.until(PATIENCE, "bob answers", |_| meddler.last("SIP/2.0 200").is_some());
    let at = listening(&lab, "alice", "198.51.100.10:").expect("alice listens for bob").to_string();
    let mut bridge = lab.command("stranger", "python3");
    bridge.args(["-c", BRIDGE, &at, "198.51.100.50:4433"]);
    lab.start("bridge", bridge);
    lab.until(PATIENCE, "the stranger is connected", |lab| {
        let output = lab.command("stranger", "ss").args(["-Htn", "state", "established"]).output();
        String::from_utf8_lossy(&output.expect("ss").stdout).contains(&at)
    });
    go.store(true, Ordering::Relaxed);
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", "\"event\":\"sealed\"", PATIENCE);
    }
    lab.process(alice).say("only for you");
    lab.wait_for("bob", "out", "only for you", PATIENCE);
    assert!(lab.process(server).wait(PATIENCE).is_some(), "the server has had its one client");
    let said = lab.output("s_server", "out") + &lab.output("s_server", "err");
    // What alice sends last is sealed with another key; or bob has come first, and she has hung up before.
    assert!(said.contains("\nERROR\n") && said.contains(" 0 server accepts that finished"), "{said}");
    assert!(!said.contains("only for you"));
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "out"));
    let_go(&lab, PATIENCE);
}

/// Where no source filter keeps him out, a stranger who speaks TLS before alice comes has the
/// pinhole. He gets an alert; the call may be lost, and nothing else.
#[test]
fn a_stranger_who_speaks_first() {
    let Some(mut lab) = Lab::new() else { return };
    let (alice, pinhole) = gate_open(&mut lab, false);
    let mut client = lab.command("stranger", "openssl");
    client.args(["s_client", "-connect", &pinhole.to_string(), "-psk_identity", "mikey-ticket:00000000:01"]);
    client.args(["-psk", "000102030405060708090a0b0c0d0e0f"]);
    let client = lab.start("s_client", client);
    assert_eq!(lab.process(client).wait(PATIENCE), Some(1), "{}", lab.output("s_client", "out"));
    let said = lab.output("s_client", "out") + &lab.output("s_client", "err");
    assert!(said.contains("alert"), "{said}");

    lab.process(alice).signal("CONT");
    lab.until(PATIENCE, "alice knows", |lab| {
        let out = lab.output("alice", "out");
        out.contains("\"event\":\"sealed\"") || out.contains("\"event\":\"ended\"")
    });
    if lab.output("alice", "out").contains("\"event\":\"sealed\"") {
        lab.process(alice).signal("INT");
        assert_eq!(lab.process(alice).wait(PATIENCE), Some(0));
    } else {
        assert!(lab.process(alice).wait(PATIENCE).is_some(), "alice does not end");
    }
    let_go(&lab, PATIENCE);
}
