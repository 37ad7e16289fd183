//! What passes between a border and its gateway: its encodings and settings over a whole call, and
//! strangers who speak in a gateway's name.

use crate::lab::{Lab, tshark};
use crate::network::{self, BORDERS, MEDIA_HOSTS, PATIENCE, carnet};
use crate::sealed::let_go;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

pub const THERE: &str = "the ferry leaves from the other pier";

/// The hosts whose control associations are looked at: one by UDP, one by TCP.
const WATCHED: [(&str, &str); 2] = [("border-a", "core-a"), ("interconnect-a", "core-a")];

/// Alice has said something to bob, sealed; her process.
pub fn chat(lab: &mut Lab) -> usize {
    network::ue(lab, "bob", &["listen"]);
    lab.wait_for("bob", "out", "\"registered\"", PATIENCE);
    let alice = network::ue(lab, "alice", &["chat", "sip:bob@b.example"]);
    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", "\"sealed\"", PATIENCE);
    }
    lab.process(alice).say(THERE);
    lab.wait_for("bob", "out", THERE, PATIENCE);
    alice
}

fn text_of(capture: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(capture).expect("a capture")).into_owned()
}

/// The gateway is told `TCP`, rates, heartbeats and inactivity; a call in which nothing more is said
/// ends with the reason at both ends.
#[test]
fn settings_of_a_border_reach_its_gateway() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    for (border, ..) in BORDERS {
        let role = if border.starts_with("border") { "role = \"ims-alg\"\n" } else { "role = \"ibcf\"\n" };
        let inactivity = if *border == "border-a" { 8 } else { 0 };
        let policy = format!(
            "policy = {{ pass-through-transport = \"TCP\", heartbeat = 2, inactivity = {inactivity} }}\n"
        );
        lab.edit(&format!("{border}.toml"), role, &format!("{role}{policy}"));
    }
    lab.edit("border-a.toml", "subscribers = true", "subscribers = true\nrate = 123456");
    let captures = WATCHED.map(|(host, network)| lab.capture(host, network));
    network::start(&mut lab);
    let alice = chat(&mut lab);
    let said = Instant::now();

    for user in ["alice", "bob"] {
        lab.wait_for(user, "out", "\"ended\"", PATIENCE);
        let output = lab.output(user, "out");
        let ended = output.lines().find(|line| line.contains("\"ended\"")).unwrap_or_default();
        assert!(ended.contains("the media stopped"), "{user}: {ended}");
    }
    assert!(said.elapsed() > Duration::from_secs(5), "nobody ends a call that has just been used");
    let log = lab.output("border-a", "err");
    assert!(log.contains("cause=inactive"), "{log}");
    lab.process(alice).wait(PATIENCE);
    let_go(&lab, PATIENCE);
    lab.end_captures();

    for (capture, (host, _)) in captures.iter().zip(WATCHED) {
        let text = text_of(capture);
        assert!(text.contains(" TCP -") && !text.contains(" TCP/TLS -"), "{host} names TCP");
        assert!(text.contains("hangterm/thb{timerx=2}"), "{host} wants heartbeats");
        assert_eq!(text.contains("adid/ipstop{dt=8"), host == "border-a", "{host}");
        assert_eq!(text.contains("tman/sdr=123456"), host == "border-a", "{host}");
        assert!(!text.contains(THERE), "{host}: what was said can be read");
        // And nothing of it is malformed to another implementation.
        let malformed = tshark(capture, "megaco && _ws.malformed", &["frame.number"], &[]);
        assert!(malformed.is_empty(), "{host}: {malformed:?}");
    }
    // The gateway asked after its terminations and told of the silence.
    let notified = tshark(&captures[0], "megaco && udp", &["udp.payload"], &[]);
    let notified: Vec<_> = notified.into_iter().flatten().map(|payload| plain(&payload)).collect();
    let from_gateway = |what: &str| notified.iter().filter(|m| m.contains("OE=") && m.contains(what)).count();
    assert!(from_gateway("hangterm/thb") > 1 && from_gateway("adid/ipstop") > 0, "{notified:#?}");
}

/// Hexadecimal octets as text.
fn plain(hex: &str) -> String {
    let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let octets =
        digits.chunks(2).filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8_lossy(&octets.collect::<Vec<_>>()).into_owned()
}

/// A whole sealed call with every control association in BER, on the port that is registered for it:
/// Wireshark reads every message.
#[test]
fn a_sealed_call_with_binary_control() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    for (border, ..) in BORDERS {
        let file = format!("{border}.toml");
        lab.edit(&file, ":2944", ":2945");
        lab.edit(&file, "control = { ", "control = { encoding = \"binary\", ");
    }
    for (gateway, ..) in MEDIA_HOSTS {
        let file = format!("{gateway}.toml");
        lab.edit(&file, ":2944", ":2945");
        lab.edit(&file, "witness = ", "control-encoding = \"binary\"\nwitness = ");
    }
    let captures = WATCHED.map(|(host, network)| lab.capture(host, network));
    network::start(&mut lab);
    let alice = chat(&mut lab);
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    let_go(&lab, PATIENCE);
    lab.end_captures();

    for (capture, (host, _)) in captures.iter().zip(WATCHED) {
        let of = |filter: &str| tshark(capture, filter, &["frame.number"], &[]).len();
        let port = "(udp.port == 2945 || (tcp.port == 2945 && tcp.len > 0))";
        let all = of(port);
        assert!(all > 8, "{host}: {all} messages");
        assert_eq!(of(&format!("{port} && h248")), all, "{host}: each is H.248");
        let wrong = "(_ws.malformed || _ws.expert.severity == error)";
        assert_eq!(of(&format!("{port} && {wrong}")), 0, "{host}: none is malformed");
        // The life of a context, as commands of H.248.1 in requests and in replies.
        for command in ["serviceChange", "add", "mod", "subtract"] {
            for half in ["Req", "Reply"] {
                assert!(of(&format!("h248.{command}{half}_element")) > 0, "{host}: {command}{half}");
            }
        }
        assert!(!text_of(capture).contains(THERE), "{host}: what was said can be read");
    }
}

/// A border with its gateway, and a stranger in the same network who speaks in a gateway's name
/// for longer than the gateway may be silent. How many answers he gets, and the border's log; `None`
/// where there can be no lab.
fn in_the_name_of(gateway: &str, peers: bool, method: &str) -> Option<(usize, String)> {
    let mut lab = Lab::new()?;
    network::build(&mut lab);
    lab.join("stranger", "core-a", "10.1.0.66/24");
    if peers {
        let gateways = "gateways = [\"agw-a\"]";
        lab.edit("border-a.toml", gateways, &format!("{gateways}, peers = {{ agw-a = [\"10.1.0.2\"] }}"));
    }
    for host in ["border-a", "agw-a"] {
        let command = carnet(&lab, host, &["run", "-c", &format!("{host}.toml")]);
        lab.start(host, command);
    }
    lab.wait_for("border-a", "err", "gateway-up", PATIENCE);
    let message = format!(
        "MEGACO/3 <{gateway}>\nTransaction = 9 {{ Context = - {{ ServiceChange = ROOT {{ Services {{ \
         Method = {method}, Reason = \"905 Termination taken out of service\" }} }} }} }}\n"
    );
    let answers = lab.inside("stranger", || {
        let socket = UdpSocket::bind("10.1.0.66:2944").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(250))).expect("a timeout");
        let start = Instant::now();
        let mut answers = 0;
        while start.elapsed() < Duration::from_secs(8) {
            socket.send_to(message.as_bytes(), "10.1.0.1:2944").expect("it is sent");
            answers += usize::from(socket.recv(&mut [0; 2048]).is_ok());
        }
        answers
    });
    let log = lab.output("border-a", "err");
    assert!(!log.contains("gateway-lost"), "{log}");
    assert_eq!(log.matches("gateway-up").count(), 1, "{log}");
    Some((answers, log))
}

/// The border keeps to its gateway and says so once.
fn in_vain(peers: bool, method: &str) {
    let Some((answers, log)) = in_the_name_of("agw-a", peers, method) else { return };
    assert_eq!(answers, 0, "{log}");
    let told: Vec<_> = log.lines().filter(|line| line.contains("foreign-control")).collect();
    assert!(told.len() == 1 && told[0].contains("WARN") && told[0].contains("10.1.0.66"), "{log}");
}

#[test]
fn a_stranger_takes_no_gateway_out_of_service() {
    in_vain(false, "Forced");
}

#[test]
fn a_stranger_registers_as_no_gateway() {
    in_vain(true, "Restart");
}

/// Perhaps somebody mistyped a name: he is told, and the operator once.
#[test]
fn a_gateway_that_nobody_knows_is_told_so() {
    let Some((answers, log)) = in_the_name_of("agw-z", false, "Restart") else { return };
    assert!(answers > 10, "{answers}: {log}");
    assert_eq!(log.matches("a gateway that is not ours").count(), 1, "{log}");
}

/// A border, and on its gateway's host sockets at these ports; nothing else runs.
fn border_alone(ports: [u16; 2]) -> Option<(Lab, [UdpSocket; 2])> {
    let mut lab = Lab::new()?;
    network::build(&mut lab);
    let command = carnet(&lab, "border-a", &["run", "-c", "border-a.toml"]);
    lab.start("border-a", command);
    lab.wait_for("border-a", "out", "ready", PATIENCE);
    let sockets = lab.inside("agw-a", || {
        ports.map(|port| {
            let socket = UdpSocket::bind(("10.1.0.2", port)).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            socket
        })
    });
    Some((lab, sockets))
}

/// A datagram. A call with a time limit is not begun again by itself when the process was stopped meanwhile (signal(7)), as
/// all are when a machine is.
fn next(socket: &UdpSocket, buffer: &mut [u8]) -> (usize, std::net::SocketAddr) {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            heard => return heard.expect("a message"),
        }
    }
}

/// The next message that does more than acknowledge.
fn heard(socket: &UdpSocket) -> String {
    let mut buffer = [0; 4096];
    loop {
        let (n, _) = next(socket, &mut buffer);
        let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
        if ["T=", "P=", "PN="].iter().any(|what| text.contains(what)) {
            return text;
        }
    }
}

/// Requests go to the ServiceChangeAddress of a gateway, and are answered from there; replies go to where
/// it asked from (RFC 3525 §7.2.8).
#[test]
fn requests_go_where_a_gateway_wants_them() {
    let Some((lab, [asking, asked])) = border_alone([3000, 3001]) else { return };
    let border = "10.1.0.1:2944";
    let register = "MEGACO/3 <agw-a>\nTransaction = 1 { Context = - { ServiceChange = ROOT { Services { \
                    Method = Restart, Reason = \"901 Cold Boot\", ServiceChangeAddress = 3001, \
                    Profile = carnet_iq/1, Version = 3 } } } }\n";
    asking.send_to(register.as_bytes(), border).expect("it is sent");
    let reply = heard(&asking);
    assert!(reply.contains("P=1{") && !reply.contains("ER="), "{reply}");
    // It is asked what it is and whether it is there, and answers, for longer than it may be silent.
    let start = Instant::now();
    let mut audits = 0;
    while start.elapsed() < Duration::from_secs(12) {
        let request = heard(&asked);
        let Some(id) = request.split("T=").nth(1).and_then(|rest| rest.split('{').next()) else { continue };
        let all = "g-2, root-2, ipnapt-1, gm-2, tman-2, ipdc-2, hangterm-1, ds-2, rtcph-1, adid-1, nt-1";
        let result = if request.contains("PG") {
            format!("Context = - {{ AuditValue = ROOT {{ Packages {{ {all} }} }} }}")
        } else if request.contains("MF=ROOT") {
            "Context = - { Modify = ROOT }".to_owned()
        } else if request.contains("AV=ROOT") {
            "Context = - { AuditValue = ROOT }".to_owned()
        } else {
            "Context = * { Error = 431 { \"No TerminationID matched\" } }".to_owned()
        };
        let answer = format!("MEGACO/3 <agw-a>\nReply = {id} {{ {result} }}\n");
        asked.send_to(answer.as_bytes(), border).expect("it is sent");
        audits += 1;
    }
    lab.wait_for("border-a", "err", "gateway-up", PATIENCE);
    assert!(audits > 2, "{audits} audits");
    let log = lab.output("border-a", "err");
    assert!(!log.contains("gateway-lost") && !log.contains("foreign-control"), "{log}");
    // What it asks later from the first address is answered there.
    let notify = "MEGACO/3 <agw-a>\nTransaction = 2 { Context = - { ServiceChange = ROOT { Services { \
                  Method = Graceful, Reason = \"905 Termination taken out of service\", Delay = 30 } } } }\n";
    asking.send_to(notify.as_bytes(), border).expect("it is sent");
    let reply = heard(&asking);
    assert!(reply.contains("P=2{"), "{reply}");
}

/// A gateway follows its controller's ServiceChangeAddress, and a name with several addresses to the one
/// where somebody is.
#[test]
fn a_gateway_finds_its_controller_by_name_and_asks_where_it_wants() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    // In every hosts file, with the address of the other IP version first.
    lab.edit("agw-a.toml", "border-a@udp:10.1.0.1:2944", "border-a@udp:localhost:2950");
    let [answering, asked] = lab.inside("agw-a", || {
        [2950, 2951].map(|port| {
            let socket = UdpSocket::bind(("127.0.0.1", port)).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
            socket
        })
    });
    let command = carnet(&lab, "agw-a", &["run", "-c", "agw-a.toml"]);
    let gateway = lab.start("agw-a", command);
    let mut buffer = [0; 4096];
    let (n, from) = next(&answering, &mut buffer);
    let request = String::from_utf8_lossy(&buffer[..n]).into_owned();
    let id = request.split("T=").nth(1).and_then(|rest| rest.split('{').next()).expect("its number");
    let reply = format!(
        "MEGACO/3 <border-a>\nReply = {id} {{ Context = - {{ ServiceChange = ROOT {{ Services {{ \
         ServiceChangeAddress = 2951, Version = 3 }} }} }} }}\n"
    );
    answering.send_to(reply.as_bytes(), from).expect("it is sent");
    lab.wait_for("agw-a", "err", "registered", PATIENCE);
    // What the controller asks is answered where it asked from; what the gateway asks goes to the other.
    let audit = "MEGACO/3 <border-a>\nTransaction = 5 { Context = - { AuditValue = ROOT { Audit { } } } }\n";
    answering.send_to(audit.as_bytes(), from).expect("it is sent");
    let reply = heard(&answering);
    assert!(reply.contains("P=5"), "{reply}");
    lab.process(gateway).signal("TERM");
    let gone = heard(&asked);
    assert!(gone.contains("MT=GR") || gone.contains("MT=FO"), "{gone}");
}
