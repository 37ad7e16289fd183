//! Who gets in: TLS with a pre-shared key against `openssl s_client` and `s_server`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use carnet_gateway::media::{Cause, Command, Event, Gate, Role, TlsFailure};

use crate::patient::Patient as _;

use super::super::{ConferenceConfig, ConferenceTimers};
use super::rig::{Peer, Rig, client, config, server};

#[test]
fn both_versions_of_tls_and_another_name_for_the_key() {
    let mut rig = Rig::with_room();
    let cases: [(&[&str], &str, &str); 4] = [
        (&["-tls1_3"], "TLSv1.3", "TLS_AES_128_GCM_SHA256"),
        (&["-tls1_2"], "TLSv1.2", "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"),
        (
            &["-tls1_2", "-cipher", "DHE-PSK-AES128-GCM-SHA256"],
            "TLSv1.2",
            "TLS_DHE_PSK_WITH_AES_128_GCM_SHA256",
        ),
        // The last identity given counts.
        (&["-tls1_3", "-psk_identity", "somebody"], "TLSv1.3", "TLS_AES_128_GCM_SHA256"),
    ];
    for (user, (arguments, version, suite)) in (1..).zip(cases) {
        let leg = rig.bfcp(user, server());
        let _peer = Peer::sealed(leg.local, arguments);
        rig.established(&leg);
        assert_eq!(rig.sealed(&leg), (version.to_owned(), suite.to_owned()));
    }
}

#[test]
fn our_end_may_be_the_client_though_the_peer_connects() {
    let mut rig = Rig::with_room();
    let leg = rig.bfcp(1, client());
    // s_server only listens: we stand between it and the engine, and only carry octets.
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = door.local_addr().unwrap().port();
    drop(door);
    let mut serving = std::process::Command::new("openssl")
        .args(["s_server", "-nocert", "-quiet", "-accept", &port.to_string(), "-psk", &"5a".repeat(32)])
        .args(["-psk_identity", super::rig::IDENTITY])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + super::rig::PATIENCE;
    let far = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(far) => break far,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let near = TcpStream::connect(leg.local).unwrap();
    for (mut from, mut to) in [
        (near.try_clone().unwrap(), far.try_clone().unwrap()),
        (far.try_clone().unwrap(), near.try_clone().unwrap()),
    ] {
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
    rig.established(&leg);
    assert_eq!(rig.sealed(&leg).0, "TLSv1.3");
    let _ = serving.kill();
    let _ = serving.wait();
}

#[test]
fn an_active_leg_calls_and_seals() {
    let mut rig = Rig::with_room();
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut leg = rig.bfcp(1, client());
    leg.settings.role = Role::Active;
    leg.settings.remote = Some(door.local_addr().unwrap());
    rig.configure(&leg);
    let (mut caller, from) = door.accept().unwrap();
    assert_eq!(from, leg.local, "it calls from the port that the peer was told");
    let mut hello = [0; 6];
    caller.read_exact(&mut hello).unwrap();
    assert_eq!((hello[0], hello[5]), (0x16, 1), "a ClientHello");
    // One who answers with something else is no member.
    caller.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    assert_eq!(rig.closed(&leg), Cause::Tls(TlsFailure::Protocol));
}

#[test]
fn nobody_to_call_is_told() {
    let timers = ConferenceTimers { attempts: 2, ..ConferenceTimers::default() };
    let mut rig = Rig::start(ConferenceConfig { timers, ..config(4) });
    rig.conference(super::rig::conference());
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut leg = rig.bfcp(1, client());
    leg.settings.role = Role::Active;
    leg.settings.remote = Some(door.local_addr().unwrap());
    drop(door);
    rig.configure(&leg);
    assert_eq!(rig.closed(&leg), Cause::ConnectFailed);
}

#[test]
fn another_key_is_told_at_once_and_does_not_keep_the_member_out() {
    let mut rig = Rig::with_room();
    for (user, version) in [(1, "-tls1_3"), (2, "-tls1_2")] {
        let mut leg = rig.bfcp(user, server());
        leg.settings.remote = Some("127.0.0.1:9".parse().unwrap());
        rig.configure(&leg);
        let wrong = Peer::connect(leg.local, &["-psk", &"a5".repeat(32), "-psk_identity", "x", version]);
        assert_eq!(rig.closed(&leg), Cause::Tls(TlsFailure::Key), "{version}");
        wrong.errors.wait("alert");
        let _right = Peer::sealed(leg.local, &[version]);
        rig.established(&leg);
        rig.sealed(&leg);
    }
}

#[test]
fn a_strict_engine_takes_no_other_name_for_the_key() {
    let mut settings = config(4);
    settings.tls.any_identity = false;
    let mut rig = Rig::start(settings);
    rig.conference(super::rig::conference());
    let mut leg = rig.bfcp(1, server());
    leg.settings.remote = Some("127.0.0.1:9".parse().unwrap());
    rig.configure(&leg);
    let _wrong = Peer::sealed(leg.local, &["-psk_identity", "somebody", "-tls1_3"]);
    assert_eq!(rig.closed(&leg), Cause::Tls(TlsFailure::Identity));
    let _right = Peer::sealed(leg.local, &["-tls1_3"]);
    rig.sealed(&leg);
}

#[test]
fn strangers_take_only_their_own_time() {
    let timers = ConferenceTimers { incoming: Duration::from_secs(3600), ..ConferenceTimers::default() };
    let mut rig = Rig::start(ConferenceConfig { timers, ..config(4) });
    rig.conference(super::rig::conference());
    let leg = rig.bfcp(1, server());
    // Some say nothing, one speaks in the open, one has a certificate in mind.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(leg.local).unwrap()).collect();
    let mut open = TcpStream::connect(leg.local).unwrap();
    open.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest);
    let scanner = Peer::connect(leg.local, &[]);
    scanner.errors.wait("alert");
    let _member = Peer::sealed(leg.local, &[]);
    rig.established(&leg);
    rig.sealed(&leg);
    assert!(!rig.has(|event| matches!(event, Event::Closed { .. })));
    drop(silent);
}

#[test]
fn who_came_instead_is_told_when_nobody_else_comes() {
    let timers = ConferenceTimers { incoming: Duration::from_secs(2), ..ConferenceTimers::default() };
    let mut rig = Rig::start(ConferenceConfig { timers, ..config(8) });
    rig.conference(super::rig::conference());
    let nobody = rig.bfcp(1, server());
    let other = rig.bfcp(2, server());
    let mut open = TcpStream::connect(other.local).unwrap();
    open.write_all(b"MSRP a SEND\r\n").unwrap();
    assert_eq!(rig.closed(&nobody), Cause::NobodyCame);
    assert_eq!(rig.closed(&other), Cause::Tls(TlsFailure::Protocol));
    // Nobody is let in after that, until the next word of the controller.
    assert!(TcpStream::connect(nobody.local).is_err());
    rig.configure(&nobody);
    let _late = Peer::sealed(nobody.local, &[]);
    rig.sealed(&nobody);
}

#[test]
fn a_handshake_has_its_time() {
    let timers = ConferenceTimers {
        handshake: Duration::from_millis(300),
        incoming: Duration::from_secs(2),
        ..ConferenceTimers::default()
    };
    let mut rig = Rig::start(ConferenceConfig { timers, ..config(4) });
    rig.conference(super::rig::conference());
    let leg = rig.bfcp(1, server());
    let mut slow = TcpStream::connect(leg.local).unwrap();
    // The beginning of a ClientHello.
    slow.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    assert!(matches!(slow.read_on(&mut [0]), Ok(0) | Err(_)), "it is sent away");
    assert_eq!(rig.closed(&leg), Cause::Tls(TlsFailure::Timeout));
}

#[test]
fn nothing_is_taken_before_the_gate_is_open_or_from_elsewhere() {
    let mut rig = Rig::with_room();
    let mut leg = rig.bfcp(1, server());
    leg.settings.gate = Gate::Inactive;
    rig.configure(&leg);
    assert!(TcpStream::connect(leg.local).is_err());
    leg.settings.gate = Gate::SendReceive;
    leg.settings.filter.network = Some(("192.0.2.7".parse().unwrap(), 32));
    rig.configure(&leg);
    let _ = TcpStream::connect(leg.local).map(|mut stranger| stranger.read_on(&mut [0]));
    rig.wait(|event| matches!(event, Event::Blocked { .. }).then_some(()));
    leg.settings.filter.network = Some(("127.0.0.0".parse().unwrap(), 8));
    rig.configure(&leg);
    let _member = Peer::sealed(leg.local, &[]);
    rig.sealed(&leg);
}

#[test]
fn a_caller_is_held_unread_until_the_key_is_known() {
    let mut rig = Rig::with_room();
    let mut leg = rig.bfcp(1, server());
    let endpoint = leg.settings.endpoint.take();
    rig.configure(&leg);
    let _member = Peer::sealed(leg.local, &[]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!rig.has(|event| matches!(event, Event::Established { .. } | Event::Closed { .. })));
    leg.settings.endpoint = endpoint;
    rig.configure(&leg);
    rig.sealed(&leg);
}

#[test]
fn a_release_amid_the_handshake_leaves_nothing_behind() {
    let mut rig = Rig::with_room();
    for _ in 0..100 {
        let leg = rig.bfcp(1, server());
        let mut half = TcpStream::connect(leg.local).unwrap();
        half.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
        rig.released(&leg);
        let _ = half.read_on(&mut [0]);
        assert!(TcpStream::connect(leg.local).is_err());
    }
    let pinhole = carnet_gateway::media::Pinhole { group: super::rig::GROUP, number: 99_999 };
    rig.send(Command::Release { pinhole });
    rig.wait(|event| matches!(event, Event::Released { pinhole: p, .. } if *p == pinhole).then_some(()));
}
