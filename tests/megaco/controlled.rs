//! The other stack as the controller of our gateway: a whole life of a gateway, with real octets.

use crate::lab::Lab;
use crate::peer::{PATIENCE, Peer, Wire, each, lab, one, well_formed};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

const GATEWAY: &str = r#"
[gateway.agw]
role = "ims-agw"
controllers = [@CONTROLLERS@]
control-encoding = "@ENCODING@"

[gateway.agw.realm.access]
v4 = "198.51.100.2"
ports = "30000-30999"

[gateway.agw.realm.core]
v4 = "10.1.0.2"
ports = "31000-31999"
"#;

/// Where alice and bob are.
pub const ALICE: &str = "198.51.100.9";
pub const BOB: &str = "10.1.0.9";

/// A gateway between two networks, with controllers on a third.
pub struct Scene {
    pub lab: Lab,
    pub wire: Wire,
    pub capture: PathBuf,
    gateway: usize,
}

impl Scene {
    /// The hosts, and a gateway that knows those controllers but does not run yet.
    pub fn new(wire: Wire, controllers: &[&str]) -> Option<Self> {
        let mut lab = lab()?;
        for network in ["control", "access", "core"] {
            lab.network(network);
        }
        for (network, address) in
            [("control", "192.0.2.2/24"), ("access", "198.51.100.2/24"), ("core", "10.1.0.2/24")]
        {
            lab.join("agw", network, address);
        }
        lab.join("alice", "access", &format!("{ALICE}/24"));
        lab.join("bob", "core", &format!("{BOB}/24"));
        let mut named = Vec::new();
        for (index, controller) in controllers.iter().enumerate() {
            let address = controller_address(index);
            lab.join(controller, "control", &format!("{address}/24"));
            named.push(format!("\"{controller}@{}:{address}:{}\"", wire.transport, wire.port()));
        }
        let file = GATEWAY.replace("@CONTROLLERS@", &named.join(", ")).replace("@ENCODING@", wire.setting());
        lab.file("agw.toml", &file);
        let capture = lab.capture("agw", "control");
        Some(Self { lab, wire, capture, gateway: usize::MAX })
    }

    /// The controller of that index in the gateway's list.
    pub fn controller(&mut self, index: usize, mid: &str) -> Peer {
        Peer::start(&mut self.lab, mid, "controller", mid, &controller_address(index), self.wire)
    }

    pub fn start_gateway(&mut self) {
        let mut command = self.lab.command("agw", env!("CARGO_BIN_EXE_carnet"));
        command.args(["run", "-c", "agw.toml"]);
        self.gateway = self.lab.start("agw", command);
    }

    pub fn signal_gateway(&mut self, name: &str) {
        self.lab.process(self.gateway).signal(name);
    }

    /// Lets the gateway end by itself.
    pub fn end_gateway(&mut self) {
        self.signal_gateway("TERM");
        let ended = self.lab.process(self.gateway).wait(PATIENCE);
        assert_eq!(ended, Some(0), "{}", self.lab.output("agw", "err"));
    }

    /// Ends the capture, and everything in it was well-formed.
    pub fn look(&mut self, least: usize) {
        self.lab.end_captures();
        let messages = well_formed(&self.capture, self.wire);
        assert!(messages >= least, "{:?}: only {messages} messages", self.wire);
    }
}

pub fn controller_address(index: usize) -> String {
    format!("192.0.2.{}", 10 + index)
}

/// A context with one termination on each side: who waits for alice, and who calls bob.
pub struct Pair {
    pub context: String,
    pub access: String,
    pub core: String,
    /// Where the gateway waits for alice.
    pub to_alice: SocketAddr,
}

/// Adds both with everything left to the gateway; gates open, all events wanted.
pub fn add_pair(lab: &mut Lab, controller: &mut Peer, heartbeat: u32) -> Pair {
    let events =
        |request: u32| format!("E={request}{{tcpbcc/BNCChange,g/cause,hangterm/thb{{timerx={heartbeat}}}}}");
    let termination = |realm: &str, setup: &str, request: u32| {
        format!(
            "A=ip/1/{realm}/${{M{{O{{MO=SR,ipdc/realm={realm}}},L{{\nv=0\nc=IN IP4 $\nm=- $ TCP -\n\
             a=setup:{setup}\n}}}},{}}}",
            events(request)
        )
    };
    let both = [termination("access", "passive", 11), termination("core", "active", 12)];
    let answer = controller.ask(lab, &format!("C=${{{}}}", both.join(",")));
    let ids = each(&answer, "A=");
    let locals: Vec<SocketAddr> = each(&answer, "c=IN IP4 ")
        .iter()
        .zip(each(&answer, "m=- "))
        .map(|(address, port)| format!("{address}:{port}").parse().unwrap())
        .collect();
    assert_eq!((ids.len(), locals.len()), (2, 2), "{answer}");
    assert!(locals[0].ip().to_string() == "198.51.100.2" && locals[1].ip().to_string() == "10.1.0.2");
    Pair {
        context: one(&answer, "C=").to_owned(),
        access: ids[0].to_owned(),
        core: ids[1].to_owned(),
        to_alice: locals[0],
    }
}

/// Says where bob is; the gates stay open. A new LocalControl replaces the old one, so it is whole.
pub fn call_bob(lab: &mut Lab, controller: &mut Peer, pair: &Pair, bob: SocketAddr) {
    let remote = format!("v=0\nc=IN IP4 {}\nm=- {} TCP -\na=setup:passive\n", bob.ip(), bob.port());
    let answer = controller.ask(
        lab,
        &format!("C={}{{MF={}{{M{{O{{MO=SR,ipdc/realm=core}},R{{\n{remote}}}}}}}}}", pair.context, pair.core),
    );
    assert_eq!(answer, format!("C={}{{MF={}}}", pair.context, pair.core));
}

/// Bob listens, alice calls, both talk at once and close; what each heard.
pub fn talk(
    lab: &Lab,
    to_alice: SocketAddr,
    listener: TcpListener,
    there: &[u8],
    back: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    fn both(mut stream: TcpStream, say: &[u8]) -> Vec<u8> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut writer = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                writer.write_all(say).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).expect("the far end closes");
            heard
        })
    }
    std::thread::scope(|scope| {
        let bob = scope.spawn(move || both(listener.accept().expect("alice comes").0, back));
        let alice = lab.inside("alice", || {
            let stream = TcpStream::connect_timeout(&to_alice, PATIENCE).expect("the gateway listens");
            both(stream, there)
        });
        (bob.join().unwrap(), alice)
    })
}

/// A listener on bob's host.
pub fn bob_listens(lab: &Lab) -> TcpListener {
    lab.inside("bob", || TcpListener::bind((BOB, 0)).unwrap())
}

fn noise(octets: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..octets).map(|_| next()).collect()
}

/// The life of a gateway: registers, carries a call, reports, is audited, ends.
fn a_life(wire: Wire) {
    let Some(mut scene) = Scene::new(wire, &["mgc1"]) else { return };
    let mut mgc = scene.controller(0, "mgc1");
    scene.start_gateway();
    let registered = mgc.hears(&scene.lab, "asked", "SC=root");
    assert!(
        registered.contains("MT=RS") && registered.contains("901") && registered.contains("V=3"),
        "{registered}"
    );
    let lab = &mut scene.lab;

    // A context, its octets, and what is told of it.
    let pair = add_pair(lab, &mut mgc, 3600);
    let listener = bob_listens(lab);
    call_bob(lab, &mut mgc, &pair, listener.local_addr().unwrap());
    let (there, back) = (noise(300_000, 1), noise(200_001, 2));
    let (bob, alice) = talk(lab, pair.to_alice, listener, &there, &back);
    assert!(bob == there && alice == back, "octets pass in order and unchanged");
    for id in [&pair.access, &pair.core] {
        mgc.told(lab, id, &["tcpbcc/BNCChange", "Type=EST"]);
        mgc.told(lab, id, &["g/cause", "Generalcause=NR"]);
    }

    // Audits: a whole termination, its counters, and everything there is.
    let all = mgc.ask(lab, &format!("C={}{{AV={}{{AT{{M,E,SG,SA}}}}}}", pair.context, pair.access));
    for part in ["MO=SR", "realm=access", "a=setup:passive", "E=11{", "nt/or=300000", "nt/os=200001"] {
        assert!(all.contains(part), "no {part} in {all}");
    }
    let everything = mgc.ask(lab, "C=*{AV=*{AT{}}}");
    assert_eq!(each(&everything, "AV="), [&pair.access, &pair.core], "{everything}");
    assert_eq!(one(&everything, "C="), pair.context);

    // The end of the context: counters that agree with the octets.
    let ended = mgc
        .ask(lab, &format!("C={}{{S={}{{AT{{SA}}}},S={}{{AT{{}}}}}}", pair.context, pair.access, pair.core));
    assert!(ended.contains("nt/or=300000") && ended.contains("nt/os=200001"), "{ended}");
    assert_eq!(ended.matches("SA{").count(), 1, "{ended}");
    let gone = mgc.ask(lab, &format!("C={}{{S=*}}", pair.context));
    assert!(gone.contains("ER=411"), "{gone}");

    // The whole of a context by one wildcard, with one answer.
    let pair = add_pair(lab, &mut mgc, 3600);
    let ended = mgc.ask(lab, &format!("C={}{{W-S=*{{AT{{}}}}}}", pair.context));
    assert!(!ended.contains("ER="), "{ended}");

    // The gateway ends in order.
    scene.end_gateway();
    let left = mgc.hears(&scene.lab, "asked", "MT=FO");
    assert!(left.contains("SC=root") && left.contains("905"), "{left}");
    let wrong = |line: &&str| {
        line.starts_with("syntax") || line.starts_with("unexpected") || line.starts_with("refused")
    };
    let output = mgc.output(&scene.lab);
    assert_eq!(output.lines().find(wrong), None, "{output}");
    scene.look(20);
}

#[test]
fn over_udp_in_long_text() {
    for version in 1..=3 {
        a_life(Wire::new("udp", "pretty", version));
    }
}

#[test]
fn over_udp_in_short_text() {
    for version in 1..=3 {
        a_life(Wire::new("udp", "compact", version));
    }
}

#[test]
fn over_udp_in_ber() {
    for version in 1..=3 {
        a_life(Wire::new("udp", "ber", version));
    }
}

#[test]
fn over_tcp_in_long_text() {
    for version in 1..=3 {
        a_life(Wire::new("tcp", "pretty", version));
    }
}

#[test]
fn over_tcp_in_short_text() {
    for version in 1..=3 {
        a_life(Wire::new("tcp", "compact", version));
    }
}

#[test]
fn over_tcp_in_ber() {
    for version in 1..=3 {
        a_life(Wire::new("tcp", "ber", version));
    }
}
