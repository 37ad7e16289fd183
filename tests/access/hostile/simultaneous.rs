//! Two ends that call each other at the same moment (RFC 9293 §3.5, figure 8): the gateway is active towards a
//! peer that is active too, and there is one connection.

use crate::lab::Lab;
use crate::network::PATIENCE;
use carnet_gateway::media::{Command, Event, Family, Gate, Pinhole, Role, Settings};
use carnet_net::media::{EngineConfig, EngineHandle, Events, MediaEngine, Realm};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 19_000);
/// Nobody's.
const NOWHERE: &str = "02:00:00:00:00:99";

fn neighbour(lab: &Lab, host: &str, arguments: &[&str]) {
    let mut command = lab.command(host, "ip");
    assert!(command.arg("neigh").args(arguments).status().expect("ip").success());
}

/// What `host` sends to `to` is lost, or no longer is.
fn lose(lab: &Lab, host: &str, to: &str, lost: bool) {
    match lost {
        true => {
            neighbour(lab, host, &["replace", to, "lladdr", NOWHERE, "dev", "e-net", "nud", "permanent"]);
        }
        false => neighbour(lab, host, &["del", to, "dev", "e-net"]),
    }
}

fn in_state(lab: &Lab, host: &str, state: &str) -> bool {
    let output = lab.command(host, "ss").args(["-Htn", "state", state]).output().expect("ss");
    String::from_utf8_lossy(&output.stdout).contains(":19000")
}

fn reserve(engine: &EngineHandle, events: &mut Events, number: u64) -> (Pinhole, SocketAddr) {
    let pinhole = Pinhole { group: 0, number };
    let family = Some(Family::V4);
    engine.blocking_send(Command::Reserve { pinhole, realm: None, family, tls: false }).unwrap();
    loop {
        match events.blocking_recv() {
            Some(Event::Bound { local, .. }) => return (pinhole, local),
            Some(_) => {}
            None => panic!("the engine has ended"),
        }
    }
}

#[test]
fn both_call_at_once() {
    let Some(mut lab) = Lab::new() else { return };
    lab.network("net");
    lab.join("gateway", "net", "192.0.2.1/24");
    lab.join("peer", "net", "192.0.2.2/24");
    // What both say at first is lost, so that neither has heard of the other when it calls.
    lose(&lab, "gateway", "192.0.2.2", true);
    lose(&lab, "peer", "192.0.2.1", true);

    let (doors, door) = mpsc::channel();
    let (calls, call) = mpsc::channel::<()>();
    let (enter, enter_peer) = (lab.door("gateway"), lab.door("peer"));
    let gateway = std::thread::spawn(move || {
        enter();
        let realm = Realm { name: "a".into(), v4: Some(GATEWAY), ports: 12_000..=12_009, ..Realm::default() };
        let config = EngineConfig { realms: vec![realm], ..EngineConfig::default() };
        let (engine, mut events) = MediaEngine::start(config).unwrap();
        let (a, near) = reserve(&engine, &mut events, 1);
        let (b, far) = reserve(&engine, &mut events, 2);
        engine.blocking_send(Command::Join { a, b }).unwrap();
        let gate = Gate::SendReceive;
        let settings = Settings { role: Role::Passive, gate, ..Settings::default() };
        engine.blocking_send(Command::Configure { pinhole: a, settings }).unwrap();
        let settings = Settings { role: Role::Active, gate, remote: Some(PEER), ..Settings::default() };
        engine.blocking_send(Command::Configure { pinhole: b, settings }).unwrap();
        doors.send(far).unwrap();
        // The peer is calling: now somebody comes at the other side, and the gateway calls as well.
        call.recv().unwrap();
        let mut caller = TcpStream::connect(near).unwrap();
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        caller.write_all(b"ping").unwrap();
        let mut octets = [0; 4];
        caller.read_exact(&mut octets).unwrap();
        assert_eq!(&octets, b"pong");
    });
    let far = door.recv().unwrap();
    let peer = std::thread::spawn(move || {
        enter_peer();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(PEER).unwrap();
            socket.connect(far).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        let mut stream = stream;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut octets = [0; 4];
        stream.read_exact(&mut octets).unwrap();
        assert_eq!(&octets, b"ping");
        stream.write_all(b"pong").unwrap();
    });
    lab.until(PATIENCE, "the peer calls", |lab| in_state(lab, "peer", "syn-sent"));
    calls.send(()).unwrap();
    lab.until(PATIENCE, "the gateway calls", |lab| in_state(lab, "gateway", "syn-sent"));
    // The peer's call arrives at one who is calling.
    lose(&lab, "peer", "192.0.2.1", false);
    lab.until(PATIENCE, "the calls cross", |lab| in_state(lab, "gateway", "syn-recv"));
    lose(&lab, "gateway", "192.0.2.2", false);
    peer.join().unwrap();
    gateway.join().unwrap();
}
