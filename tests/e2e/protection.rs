//! Gateway control that nobody on the network reads or writes: over TLS with certificates and with keys,
//! and by UDP and TCP with the authentication header; certificates of others; forged and replayed datagrams.

use crate::control::{THERE, chat};
use crate::lab::{Lab, tshark};
use crate::network::{self, BORDERS, PATIENCE, carnet, certificate};
use crate::sealed::let_go;
use std::path::Path;
use std::time::Duration;

const AGAIN: &str = "and it has caught a fish by now";

/// Border and gateway, side by side.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let gateways = ["agw-a", "trgw-a", "trgw-b", "agw-b"];
    BORDERS.iter().map(|(border, ..)| *border).zip(gateways)
}

fn hang_up(lab: &mut Lab, alice: usize) {
    lab.process(alice).signal("INT");
    assert_eq!(lab.process(alice).wait(PATIENCE), Some(0), "{}", lab.output("alice", "err"));
    lab.wait_for("bob", "out", "\"ended\"", PATIENCE);
    let_go(lab, PATIENCE);
}

/// Makes every control association one by TLS: with certificates, and where operator B's networks meet
/// with keys.
fn over_tls(lab: &Lab) {
    let mut all = String::new();
    for (border, gateway) in pairs() {
        for name in [border, gateway] {
            certificate(lab, &format!("{name}-control"), &format!("DNS:{name}"));
            let pem = lab.directory().join(format!("{name}-control.pem"));
            all += &std::fs::read_to_string(pem).expect("a certificate");
        }
    }
    lab.file("control-ca.pem", &all);
    lab.file("trgw-b.psk", &format!("trgw-b = \"{}\"\n", "5a".repeat(32)));
    for (border, gateway) in pairs() {
        let proto = if border.starts_with("border") { "udp" } else { "tcp" };
        let tls = |name: &str| match gateway {
            "trgw-b" => "{ psk = \"trgw-b.psk\" }".to_owned(),
            _ => format!(
                "{{ certificate = \"{name}-control.pem\", key = \"{name}-control.key\", ca = \"control-ca.pem\" }}"
            ),
        };
        let (at_border, at_gateway) = (tls(border), tls(gateway));
        lab.edit(
            &format!("{border}.toml"),
            &format!("control = {{ listen = [\"{proto}:"),
            &format!("control = {{ tls = {at_border}, listen = [\"tls:"),
        );
        lab.edit(&format!("{gateway}.toml"), &format!("@{proto}:"), "@tls:");
        lab.edit(
            &format!("{gateway}.toml"),
            "witness = ",
            &format!("control-tls = {at_gateway}\nwitness = "),
        );
    }
}

#[test]
fn a_sealed_call_with_control_over_tls() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    over_tls(&lab);
    let watched = [("border-a", "core-a"), ("interconnect-a", "core-a"), ("interconnect-b", "core-b")];
    let captures = watched.map(|(host, network)| lab.capture(host, network));
    network::start(&mut lab);
    let alice = chat(&mut lab);
    hang_up(&mut lab, alice);
    lab.end_captures();

    for (capture, (host, _)) in captures.iter().zip(watched) {
        let octets = std::fs::read(capture).expect("a capture");
        for readable in ["MEGACO/", "!/3 <", "ipdc/realm", "carnet_i", "hangterm", THERE] {
            let found = octets.windows(readable.len()).any(|part| part == readable.as_bytes());
            assert!(!found, "{host}: `{readable}` can be read");
        }
        let options = ["-d", "tcp.port==2944,tls"];
        let of = |filter: &str| tshark(capture, filter, &["frame.number"], &options).len();
        assert!(of("tcp.port == 2944 && tls.app_data") > 8, "{host} speaks with its gateway");
        assert_eq!(of("tcp.port == 2944 && tcp.len > 0 && !tls && !tcp.analysis.flags"), 0, "{host}");
        assert_eq!(of("udp.port == 2944 || megaco || h248"), 0, "{host}");
    }
    let versions = tshark(
        &captures[0],
        "tls.handshake.type == 2",
        &["tls.handshake.extensions.supported_version"],
        &["-d", "tcp.port==2944,tls"],
    );
    assert!(versions.iter().flatten().any(|version| version.contains("0x0304")), "TLS 1.3: {versions:?}");
}

/// A border and a gateway by TLS; what both say when the gateway shows this certificate.
fn refused(subject: &str, vouched: bool) -> Option<(String, String)> {
    let mut lab = Lab::new()?;
    network::build(&mut lab);
    over_tls(&lab);
    certificate(&lab, "agw-a-control", &format!("DNS:{subject}"));
    if vouched {
        let read = |name: &str| std::fs::read_to_string(lab.directory().join(name)).expect("certificates");
        lab.file("control-ca.pem", &(read("control-ca.pem") + &read("agw-a-control.pem")));
    }
    for host in ["border-a", "agw-a"] {
        let command = carnet(&lab, host, &["run", "-c", &format!("{host}.toml")]);
        lab.start(host, command);
    }
    lab.wait_for("border-a", "err", "control connection refused", PATIENCE);
    let told = if vouched { "this connection is refused" } else { "control connection ended" };
    lab.wait_for("agw-a", "err", told, PATIENCE);
    std::thread::sleep(Duration::from_secs(3));
    let (border, gateway) = (lab.output("border-a", "err"), lab.output("agw-a", "err"));
    assert!(!border.contains("gateway-up"), "{border}");
    // It tries again all the time; the log says so once in ten seconds.
    assert_eq!(border.matches("control connection refused").count(), 1, "{border}");
    Some((border, gateway))
}

#[test]
fn a_certificate_of_another_gateway_is_refused() {
    let Some((border, gateway)) = refused("agw-z", true) else { return };
    assert!(border.contains("its certificate is for agw-z, no peer of ours"), "{border}");
    assert!(gateway.contains("this connection is refused: its certificate is for agw-z"), "{gateway}");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let Some((border, gateway)) = refused("agw-a", false) else { return };
    assert!(border.contains("the peer's certificate is not accepted"), "{border}");
    assert!(gateway.contains("the peer did not accept our certificate"), "{gateway}");
}

/// Sends datagrams from `from`, which is somebody else's address and port.
fn forge(lab: &Lab, from: &str, to: &str, payloads: &[String]) {
    const SCRIPT: &str = "
import socket, struct, sys
def end(text):
    host, port = text.split(':')
    return socket.inet_aton(host), int(port)
(source, sport), (to, port) = end(sys.argv[1]), end(sys.argv[2])
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for line in sys.argv[3:]:
    data = bytes.fromhex(line)
    udp = struct.pack('>HHHH', sport, port, 8 + len(data), 0) + data
    ip = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, source, to)
    out.sendto(ip + udp, (socket.inet_ntoa(to), 0))
";
    let mut command = lab.command("stranger", "python3");
    let output = command.args(["-c", SCRIPT, from, to]).args(payloads).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn hexadecimal(text: &str) -> String {
    text.bytes().map(|octet| format!("{octet:02x}")).collect()
}

/// The datagrams of a capture from one host: port, port of the other, payload.
fn datagrams(capture: &Path, from: &str) -> Vec<(String, String, String)> {
    let filter = format!("ip.src == {from} && udp.port == 2944");
    tshark(capture, &filter, &["udp.srcport", "udp.dstport", "udp.payload"], &[])
        .into_iter()
        .filter_map(|fields| match fields.as_slice() {
            [a, b, payload] => Some((a.clone(), b.clone(), payload.replace(':', ""))),
            _ => None,
        })
        .collect()
}

/// Every association has the header, in every algorithm, by UDP and by TCP; what is forged in the
/// gateway's and in the border's name, with their addresses, and what is sent again, changes nothing.
#[test]
fn a_sealed_call_with_authenticated_control() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    lab.join("stranger", "core-a", "10.1.0.66/24");
    lab.file("control.key", &format!("{}\n", "c5".repeat(20)));
    for ((border, gateway), algorithm) in
        pairs().zip(["hmac-sha256-128", "hmac-md5-96", "hmac-sha1-96", "hmac-sha1-96"])
    {
        let keys = |peer: &str| {
            format!(
                "{{ keys = {{ 0x11 = {{ algorithm = \"{algorithm}\", file = \"control.key\", peer = \"{peer}\" }} }} }}"
            )
        };
        let (at_border, at_gateway) = (keys(gateway), keys(border));
        lab.edit(
            &format!("{border}.toml"),
            "control = { ",
            &format!("control = {{ authentication = {at_border}, "),
        );
        let file = format!("{gateway}.toml");
        lab.edit(&file, "witness = ", &format!("control-authentication = {at_gateway}\nwitness = "));
    }
    let capture = lab.capture("border-a", "core-a");
    network::start(&mut lab);
    let alice = chat(&mut lab);
    lab.end_captures();

    let from_gateway = datagrams(&capture, "10.1.0.2");
    let from_border = datagrams(&capture, "10.1.0.1");
    assert!(from_gateway.len() > 2 && from_border.len() > 2, "{from_gateway:?}");
    let signed = tshark(&capture, "megaco && udp.port == 2944 && !_ws.malformed", &["frame.number"], &[]);
    assert_eq!(signed.len(), from_gateway.len() + from_border.len(), "Wireshark reads every one");
    let header = hexadecimal("AU=0x00000011:0x");
    for (.., payload) in from_gateway.iter().chain(&from_border) {
        assert!(payload.starts_with(&header), "{payload}");
    }

    // Out of service, in the gateway's name and from its address and port.
    let (port, ..) = &from_gateway[0];
    let (gateway, border) = (format!("10.1.0.2:{port}"), "10.1.0.1:2944");
    let gone = "MEGACO/3 <agw-a>\nTransaction = 9 { Context = - { ServiceChange = ROOT { Services { \
                Method = Forced, Reason = \"905 Termination taken out of service\" } } } }\n";
    let mine = format!("Authentication = 0x00000011:0xFFFFFFF0:0x{}\n{gone}", "AB".repeat(16));
    let everything =
        "MEGACO/3 <border-a>\nTransaction = 9 { Context = * { W-Subtract = * { Audit { } } } }\n";
    for _ in 0..3 {
        forge(&lab, &gateway, border, &[hexadecimal(gone), hexadecimal(&mine)]);
        forge(&lab, border, &gateway, &[hexadecimal(everything)]);
        // And all that was said, again.
        let again = |list: &[(String, String, String)]| {
            list.iter().map(|(.., payload)| payload.clone()).collect::<Vec<_>>()
        };
        forge(&lab, &gateway, border, &again(&from_gateway));
        forge(&lab, border, &gateway, &again(&from_border));
    }
    // For longer than the gateway may be silent.
    std::thread::sleep(Duration::from_secs(8));
    lab.process(alice).say(AGAIN);
    lab.wait_for("bob", "out", AGAIN, PATIENCE);
    let log = lab.output("border-a", "err");
    assert!(!log.contains("gateway-lost"), "{log}");
    assert_eq!(log.matches("gateway-up").count(), 1, "{log}");
    for host in ["border-a", "agw-a"] {
        let log = lab.output(host, "err");
        let told = log.matches("control message refused").count();
        assert!((1..=3).contains(&told), "{host}: {log}");
        assert!(!log.contains("c5c5"), "{host} shows a key");
    }
    hang_up(&mut lab, alice);
}

/// A gateway without the header where it is required does not get in, and the border says why.
#[test]
fn control_without_the_required_header_is_dropped() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    lab.file("control.key", &"c5".repeat(20));
    let keys = "authentication = { keys = { 1 = { file = \"control.key\" } } }";
    lab.edit("border-a.toml", "control = { ", &format!("control = {{ {keys}, "));
    let capture = lab.capture("border-a", "core-a");
    for host in ["border-a", "agw-a"] {
        let command = carnet(&lab, host, &["run", "-c", &format!("{host}.toml")]);
        lab.start(host, command);
    }
    lab.wait_for("border-a", "err", "it has no authentication header", PATIENCE);
    std::thread::sleep(Duration::from_secs(4));
    let log = lab.output("border-a", "err");
    assert!(!log.contains("gateway-up"), "{log}");
    assert_eq!(log.matches("control message refused").count(), 1, "{log}");
    lab.end_captures();
    assert!(!datagrams(&capture, "10.1.0.2").is_empty());
    assert_eq!(datagrams(&capture, "10.1.0.1"), [], "nothing is answered");
}

/// In a controller's name, from another address: the gateway does what its controller says, and nobody else.
#[test]
fn a_stranger_controls_no_gateway() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    lab.join("stranger", "core-a", "10.1.0.66/24");
    lab.edit("agw-a.toml", "witness = ", "control-from = \"10.1.0.2:2944\"\nwitness = ");
    network::start(&mut lab);
    let alice = chat(&mut lab);
    let everything =
        "MEGACO/3 <border-a>\nTransaction = 9 { Context = * { W-Subtract = * { Audit { } } } }\n";
    let away = "MEGACO/3 <border-a>\nTransaction = 10 { Context = - { ServiceChange = ROOT { Services { \
                Method = HandOff, Reason = \"903 MGC Directed Change\", MgcIdToTry = [10.1.0.66]:2944 } } } }\n";
    let wrong = "MEGACO/3 <border-a>\nTransaction = 11 { ";
    let error = "MEGACO/3 <border-a>\nError = 400 { \"Syntax error\" }\n";
    let answers = lab.inside("stranger", || {
        let socket = std::net::UdpSocket::bind("10.1.0.66:2944").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let mut answers = 0;
        for _ in 0..100 {
            for message in [everything, away, wrong, error] {
                socket.send_to(message.as_bytes(), "10.1.0.2:2944").expect("it is sent");
            }
            answers += usize::from(socket.recv(&mut [0; 2048]).is_ok());
        }
        answers
    });
    assert_eq!(answers, 0, "somebody else's name is answered");
    lab.process(alice).say(AGAIN);
    lab.wait_for("bob", "out", AGAIN, PATIENCE);
    let log = lab.output("agw-a", "err");
    assert!((1..=2).contains(&log.matches("a controller that is not ours").count()), "{log}");
    let log = lab.output("border-a", "err");
    assert!(!log.contains("gateway-lost") && log.matches("gateway-up").count() == 1, "{log}");
    hang_up(&mut lab, alice);
}

/// A stranger sends as fast as he can to the border and to the gateway, in their names and as nobody,
/// while a call is set up and goes on.
#[test]
fn a_flood_of_strangers_stops_no_call() {
    let Some(mut lab) = Lab::new() else { return };
    network::build(&mut lab);
    lab.join("stranger", "core-a", "10.1.0.66/24");
    lab.edit("agw-a.toml", "witness = ", "control-from = \"10.1.0.2:2944\"\nwitness = ");
    network::start(&mut lab);
    let flood = "
import socket, time, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setblocking(False)
def sc(name): return f'MEGACO/3 <{name}> Transaction=9{{Context=-{{ServiceChange=ROOT{{Services{{Method=Forced,Reason=\"905\"}}}}}}}}'
audit = 'MEGACO/3 <border-a> Transaction=9{Context=*{W-Subtract=*{Audit{}}}}'
messages = [sc('agw-a'), sc('agw-z'), audit, 'MEGACO/3 <agw-a> Error=413{}', 'nonsense', 'MEGACO/3 <x> Transaction=1{']
print('flooding', flush=True)
start, sent, back, size = time.time(), 0, 0, 0
while time.time() < start + 10:
    for message in messages:
        for to in ('10.1.0.1', '10.1.0.2'):
            try:
                out.sendto(message.encode(), (to, 2944)); sent += 1; size += len(message)
            except BlockingIOError: pass
    try:
        while True: back += len(out.recv(4096))
    except BlockingIOError: pass
print('sent', sent, 'octets', size, 'back', back, flush=True)
";
    let mut command = lab.command("stranger", "python3");
    command.args(["-c", flood]);
    lab.start("flood", command);
    lab.wait_for("flood", "out", "flooding", PATIENCE);
    let alice = chat(&mut lab);
    lab.wait_for("flood", "out", "sent", PATIENCE);
    lab.process(alice).say(AGAIN);
    lab.wait_for("bob", "out", AGAIN, PATIENCE);
    let report = lab.output("flood", "out");
    let number = |name: &str| -> u64 {
        let rest = report.split(&format!("{name} ")).nth(1).and_then(|rest| rest.split_whitespace().next());
        rest.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name} in {report}"))
    };
    let (sent, back) = (number("sent"), number("back"));
    eprintln!("{}", report.trim());
    assert!(sent > 10_000, "{report}");
    // Ten answers a second at each end, whatever comes.
    assert!(back < 2 * 11 * 12 * 200 && back * 10 < number("octets"), "{report}");
    for host in ["border-a", "agw-a"] {
        let log = lab.output(host, "err");
        let strangers = |line: &&str| {
            ["foreign-control", "that is not ours", "refused"].iter().any(|what| line.contains(what))
        };
        let told = log.lines().filter(strangers).count();
        assert!((1..=6).contains(&told), "{host}: {told} lines");
        assert!(!log.contains("gateway-lost") && !log.contains("control-lost"), "{host}: {log}");
    }
    hang_up(&mut lab, alice);
}
