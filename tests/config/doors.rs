//! Sockets of every kind that move around a call that is up: TLS with its certificate, IPv6 with its realm, and those that
//! gateways come to.

use crate::call::Telephone;
use crate::live::{File, Place, network, realm, route};
use crate::process::{PATIENCE, Process, certificate, ports, shown};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// A network with sockets of any kind.
fn listening(name: &str, listen: &[String]) -> String {
    format!("network.{name} = {{ listen = {listen:?} }}\n")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_tls_socket_moves_with_its_certificate_and_the_call_goes_on() {
    let callee = Telephone::new();
    let [first, second, b] = ports();
    let place = Place::new();
    certificate(place.path(), "own", "first.example");
    let file = |tls: u16| File {
        border: String::from("tls = { certificate = \"own.pem\", key = \"own.key\" }\n")
            + &listening("a", &[format!("tls:127.0.0.1:{tls}")])
            + &network("b", &[b])
            + &route("b", callee.port()),
        gateway: realm("a", "30000-30049") + &realm("b", "30050-30099"),
        more: String::new(),
    };
    place.write(&file(first));
    let process = Process::start(place.path());
    process.logs("gateway-up");
    assert!(shown(first).contains("first.example"), "{}", shown(first));
    let caller = Telephone::secure(first);
    let one = caller.calls(first, "one", &callee);
    let mut media = caller.talks(&one, &callee);
    media.flows("before");

    // Both at once: another place, and what is shown there.
    certificate(place.path(), "own", "second.example");
    place.write(&file(second));
    process.reload();
    process.logs(&format!("[\"tls:127.0.0.1:{first}\"] → [\"tls:127.0.0.1:{second}\"] (applied)"));
    process.logs("border.net.tls.certificate: the file's content has changed (applied)");
    for port in [first, second] {
        assert!(shown(port).contains("second.example"), "{port}: {}", shown(port));
    }
    media.flows("the call that was there");
    let newcomer = Telephone::secure(second);
    let two = newcomer.calls(second, "two", &callee);
    let mut more = newcomer.talks(&two, &callee);
    more.flows("the call that is new");
    // The connection of before is for what was there before.
    caller.is_refused(first, "three", 503);
    media.flows("still");
    caller.hangs_up(first, &one, &callee);
    process.logs(&format!("transport=TLS address=127.0.0.1:{first}"));
    until("the socket of before is closed", || TcpStream::connect(("127.0.0.1", first)).is_err());
    more.flows("and on");
    newcomer.hangs_up(second, &two, &callee);
    place.holds(0);
}

#[test]
fn ipv6_sockets_and_realms_come_and_go_around_calls() {
    let ip = Ipv6Addr::LOCALHOST;
    let (caller, first, six) = (Telephone::new(), Telephone::new(), Telephone::on(ip.into()));
    let [a, b, s, other] = ports();
    let place = Place::new();
    let before = File {
        border: network("a", &[a]) + &network("b", &[b]) + &route("b", first.port()),
        gateway: realm("a", "30100-30149") + &realm("b", "30150-30199"),
        more: String::new(),
    };
    let with = |port: u16| File {
        border: network("a", &[a])
            + &network("b", &[b])
            + &listening("six", &[format!("udp:[{ip}]:{port}")])
            + &route("six", six.port()).replace("127.0.0.1", &format!("[{ip}]")),
        gateway: before.gateway.clone()
            + &format!("realm.six = {{ v6 = \"{ip}\", ports = \"30200-30249\" }}\n"),
        ..before.clone()
    };
    place.write(&before);
    let process = Process::start(place.path());
    process.logs("gateway-up");
    let one = caller.calls(a, "one", &first);
    let mut media = caller.talks(&one, &first);
    media.flows("before");

    // A network of IPv6 with its realm, where there was none.
    place.write(&with(s));
    process.reload();
    process.logs("border.net.network.six.listen: new");
    assert!(!process.log().contains("(needs a restart)"), "{}", process.log());
    let two = caller.calls(a, "two", &six);
    let mut across = caller.talks(&two, &six);
    across.flows("from one kind to the other");
    // Its socket is another.
    place.write(&with(other));
    process.reload();
    process.logs(&format!("[\"udp:[{ip}]:{s}\"] → [\"udp:[{ip}]:{other}\"] (applied)"));
    across.flows("around it");
    let three = caller.calls(a, "three", &six);
    let mut more = caller.talks(&three, &six);
    more.flows("by the new one");
    // And it goes, realm and all: the calls stay.
    place.write(&before);
    process.reload();
    process.logs("border.net.network.six.listen: gone");
    across.flows("still");
    more.flows("still");
    media.flows("all the time");
    caller.hangs_up(a, &two, &six);
    caller.hangs_up(a, &three, &six);
    place.holds(1);
    for port in [s, other] {
        process.logs(&format!("transport=UDP address=[{ip}]:{port}"));
        until("it is free", || UdpSocket::bind((ip, port)).is_ok());
    }
    caller.hangs_up(a, &one, &first);
    place.holds(0);
}

/// A border and its gateway, each a process.
struct Apart {
    directory: tempfile::TempDir,
    sip: [u16; 2],
    proto: &'static str,
    next: u16,
    /// Where media is.
    media: u16,
}

impl Apart {
    fn path(&self, name: &str) -> std::path::PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// The border's file, with these places for gateways.
    fn border(&self, control: &[u16]) {
        let ([a, b], proto) = (self.sip, self.proto);
        let listen: Vec<_> = control.iter().map(|port| format!("{proto}:127.0.0.1:{port}")).collect();
        let text = format!(
            "[border.net]\nrole = \"ibcf\"\ndomain = \"net.example\"\n\
             control = {{ listen = {listen:?}, gateways = [\"trgw\"] }}\n{}{}{}",
            network("a", &[a]),
            network("b", &[b]),
            route("b", self.next),
        );
        std::fs::write(self.path("net").join("carnet.toml"), text).unwrap();
    }

    /// The gateway's file, with the place of the border.
    fn gateway(&self, control: u16) {
        let (proto, media) = (self.proto, self.media);
        let text = format!(
            "[gateway.trgw]\nrole = \"trgw\"\ncontrollers = [\"net@{proto}:127.0.0.1:{control}\"]\n\
             engine = \"relay\"\nrestart-wait = 0\n{}{}",
            realm("a", &format!("{media}-{}", media + 49)),
            realm("b", &format!("{}-{}", media + 50, media + 99)),
        );
        std::fs::write(self.path("trgw").join("carnet.toml"), text).unwrap();
    }
}

fn is_open(proto: &str, port: u16) -> bool {
    match proto {
        "udp" => UdpSocket::bind(("127.0.0.1", port)).is_err(),
        _ => TcpStream::connect(("127.0.0.1", port)).is_ok(),
    }
}

fn gateways_come_to_another_place(proto: &'static str, media: u16) {
    let (caller, callee) = (Telephone::new(), Telephone::new());
    let [a, b, old, new] = ports();
    let place =
        Apart { directory: tempfile::tempdir().unwrap(), sip: [a, b], proto, next: callee.port(), media };
    place.border(&[old]);
    place.gateway(old);
    let border = Process::start(&place.path("net"));
    let gateway = Process::start(&place.path("trgw"));
    border.logs("gateway-up");
    let one = caller.calls(a, "one", &callee);
    let mut media = caller.talks(&one, &callee);
    media.flows("before");

    // A place that somebody else has: it stays where it is, and says so.
    let stranger = TcpListener::bind(("127.0.0.1", new)).unwrap();
    let datagrams = UdpSocket::bind(("127.0.0.1", new)).unwrap();
    place.border(&[new]);
    border.reload();
    border.logs(&format!("[\"{proto}:127.0.0.1:{new}\"] (not applied: "));
    media.flows("where it is");
    let two = caller.calls(a, "two", &callee);
    caller.hangs_up(a, &two, &callee);
    drop((stranger, datagrams));

    // Now it can be had. The gateway that is there stays, by the way that it has.
    border.reload();
    border.logs(&format!("[\"{proto}:127.0.0.1:{new}\"] (applied)"));
    assert!(is_open(proto, new));
    if proto == "tcp" {
        border.logs(&format!("control socket closed role=net transport=Tcp address=127.0.0.1:{old}"));
        until("nobody is taken in at the old place", || !is_open(proto, old));
    }
    media.flows("the call that was there");
    let three = caller.calls(a, "three", &callee);
    caller.talks(&three, &callee).flows("a new call");
    caller.hangs_up(a, &three, &callee);
    // It is told where its border is now: it goes there when it has to.
    place.gateway(new);
    gateway.reload();
    gateway.logs("gateway.trgw.controllers");
    media.flows("told");
    let four = caller.calls(a, "four", &callee);
    caller.hangs_up(a, &four, &callee);
    assert_eq!(is_open(proto, old), proto == "udp", "the gateway is heard there");
    assert!(!border.log().contains("gateway-lost"), "{}", border.log());
    caller.hangs_up(a, &one, &callee);

    // Another process of it comes to the new place, and the old one is needed no more.
    let before = border.log().matches("gateway-up").count();
    drop(gateway);
    let again = Process::start(&place.path("trgw"));
    until("it comes to the new place", || border.log().matches("gateway-up").count() > before);
    border.logs(&format!("address=127.0.0.1:{old}"));
    until("the old one is closed", || !is_open(proto, old));
    let five = caller.calls(a, "five", &callee);
    caller.talks(&five, &callee).flows("at the new place");
    caller.hangs_up(a, &five, &callee);
    for process in [&border, &again] {
        assert!(!process.log().contains("panicked"), "{}", process.log());
    }
}

#[test]
fn gateways_that_came_by_connections_stay_when_their_border_listens_elsewhere() {
    gateways_come_to_another_place("tcp", 30_300);
}

#[test]
fn gateways_that_are_heard_by_datagrams_stay_when_their_border_listens_elsewhere() {
    gateways_come_to_another_place("udp", 30_400);
}

/// What cannot be while it runs is said, and changes nothing.
#[test]
fn a_border_does_not_go_from_datagrams_to_connections() {
    let callee = Telephone::new();
    let [a, b, old, new] = ports();
    let mut place = Apart {
        directory: tempfile::tempdir().unwrap(),
        sip: [a, b],
        proto: "udp",
        next: callee.port(),
        media: 30_500,
    };
    place.border(&[old]);
    let border = Process::start(&place.path("net"));
    place.proto = "tcp";
    place.border(&[new]);
    border.reload();
    border.logs(&format!("[\"tcp:127.0.0.1:{new}\"] (needs a restart)"));
    assert!(is_open("udp", old) && !is_open("tcp", new));
}
