//! Calls by the thousand: a caller and a callee that speak just enough SIP, on both sides of a border. Every call has a media line of
//! its own, so the border plans it and its gateway holds a context for it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::network::Network;

/// Calls that are being set up at once.
const WINDOW: usize = 24;
/// Until a request is sent again.
const AGAIN: Duration = Duration::from_secs(2);

/// What CSeq grows by when a call is begun again.
const ATTEMPT: usize = 100_000;

const PRINT: &str =
    "AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA";

/// The file of a network border between networks `left` and `right`, whose gateways are in the files of [`gateway`].
pub fn border(network: &Network, calls: usize, gateways: &[&str], more: &str) -> String {
    let names: Vec<_> = gateways.iter().map(|name| format!("\"{name}\"")).collect();
    format!(
        "[border.gate]\nrole = \"ibcf\"\ndomain = \"gate.example\"\npolicy = {{ max-calls = {calls} }}\n\
         control = {{ gateways = [{}], listen = [\"udp:{}:2945\"] }}\n\
         [border.gate.network.left]\nlisten = [\"udp:{}:5060\"]\n[border.gate.network.right]\nlisten = [\"udp:{}:5060\"]\n\
         [[border.gate.route]]\ndomain = \"*\"\nnetwork = \"right\"\nnext-hop = \"sip:{}:5060;transport=udp\"\n\
         [admin]\nlisten = \"{}:9460\"\n{more}",
        names.join(", "),
        network.at(22, 1),
        network.at(20, 1),
        network.at(21, 1),
        network.at(21, 9),
        network.at(9, 9),
    )
}

/// The file of one of its gateways, a process of its own: what it may open is bounded.
pub fn gateway(network: &Network, name: &str, host: u8, calls: usize) -> String {
    format!(
        "[gateway.{name}]\nrole = \"trgw\"\ncontrollers = [\"gate@udp:{}:2945\"]\nmax-contexts = {calls}\n\
         [gateway.{name}.realm.left]\nv4 = \"{}\"\nports = \"10000-29999\"\n[gateway.{name}.realm.right]\nv4 = \"{}\"\nports = \"10000-29999\"\n",
        network.at(22, 1),
        network.at(20, host),
        network.at(21, host),
    )
}

/// The border and its gateways, started.
pub fn started(network: &mut Network, calls: usize, gateways: &[&str], more: &str) {
    let text = border(network, calls, gateways, more);
    network.file("node.toml", &text);
    network.start("node", &["run", "-c", "node.toml"]);
    network.wait_for("node", "out", "ready");
    for (host, name) in (2..).zip(gateways) {
        let (file, text) = (format!("{name}.toml"), gateway(network, name, host, calls));
        network.file(&file, &text);
        network.start(name, &["run", "-c", &file]);
        network.wait_for("node", "err", &format!("gateway-up border=gate gateway={name}"));
    }
}

/// Both ends.
pub struct Ends {
    caller: UdpSocket,
    border: SocketAddr,
    own: Ipv4Addr,
    over: Arc<AtomicBool>,
    turns: AtomicUsize,
    callee: Option<std::thread::JoinHandle<()>>,
}

impl Ends {
    pub fn new(network: &Network) -> Self {
        let socket = |ip| {
            let socket = UdpSocket::bind((ip, 5060)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            socket
        };
        let (own, there) = (network.at(20, 9), network.at(21, 9));
        let over = Arc::new(AtomicBool::new(false));
        let (callee, end) = (socket(there), over.clone());
        let callee = std::thread::spawn(move || answer(&callee, there, &end));
        Self {
            caller: socket(own),
            border: (network.at(20, 1), 5060).into(),
            own,
            over,
            turns: AtomicUsize::new(0),
            callee: Some(callee),
        }
    }

    /// Sets up calls, as many as there are names: `(From URI, Call-ID)`. A border that is behind says so, and is asked again.
    pub fn call(&self, names: &[(String, String)]) {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        // When it was sent last, how often it was begun, and the answer it has got to that.
        let mut waiting: HashMap<usize, (Instant, usize, bool)> = HashMap::new();
        let (mut begun, mut up, start) = (0, 0, Instant::now());
        while up < names.len() {
            assert!(start.elapsed() < Duration::from_secs(600), "{up} of {} calls are up", names.len());
            while waiting.len() < WINDOW && begun < names.len() {
                self.send(&self.invite(turn, begun, 0, names));
                waiting.insert(begun, (Instant::now(), 0, false));
                begun += 1;
            }
            let answer = receive(&self.caller);
            let cseq = answer
                .as_deref()
                .and_then(|answer| field(answer, "CSeq")?.strip_suffix(" INVITE")?.parse::<usize>().ok());
            if let (Some(answer), Some(cseq)) = (answer, cseq) {
                let (number, attempt) = ((cseq - 1) % ATTEMPT, (cseq - 1) / ATTEMPT);
                if answer.starts_with("SIP/2.0 200") {
                    self.send(&self.acknowledge(&answer));
                    up += usize::from(waiting.remove(&number).is_some());
                } else if answer.starts_with("SIP/2.0 503") {
                    // RFC 3261 §17.1.1.3: as the INVITE.
                    let invite = self.invite(turn, number, attempt, names);
                    let (head, _) = invite.split_once("Content-Type").unwrap();
                    let head = head.replacen("INVITE", "ACK", 1).replace(" INVITE\r\n", " ACK\r\n");
                    self.send(&format!("{head}Content-Length: 0\r\n\r\n"));
                    if let Some(call) = waiting.get_mut(&number).filter(|call| call.1 == attempt) {
                        (call.0, call.2) = (Instant::now(), true);
                    }
                } else if !answer.starts_with("SIP/2.0 1") {
                    panic!("call {number}: {answer}");
                }
            }
            for (number, (sent, attempt, refused)) in &mut waiting {
                if sent.elapsed() > AGAIN {
                    *attempt += usize::from(std::mem::take(refused));
                    self.send(&self.invite(turn, *number, *attempt, names));
                    *sent = Instant::now();
                }
            }
        }
    }

    fn send(&self, message: &str) {
        self.caller.send_to(message.as_bytes(), self.border).unwrap();
    }

    fn invite(&self, turn: usize, number: usize, attempt: usize, names: &[(String, String)]) -> String {
        let ((from, call_id), own, cseq) = (&names[number], self.own, attempt * ATTEMPT + number + 1);
        let body = described(own, "actpass");
        format!(
            "INVITE sip:callee-{number}@right.example SIP/2.0\r\nVia: SIP/2.0/UDP {own}:5060;branch=z9hG4bK-{turn}-{cseq}\r\nMax-Forwards: 70\r\n\
             From: \"Caller <img src=x onerror=stolen()>\" <{from}>;tag=a{number}\r\nTo: <sip:callee-{number}@right.example>\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} INVITE\r\nContact: <sip:caller@{own}:5060>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn acknowledge(&self, answer: &str) -> String {
        let header = |name| field(answer, name).unwrap_or_default();
        let target = header("Contact").split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let cseq = header("CSeq").replace("INVITE", "ACK");
        let routes: Vec<_> =
            fields(answer, "Record-Route").map(|route| format!("Route: {route}\r\n")).collect();
        format!(
            "ACK {target} SIP/2.0\r\nVia: SIP/2.0/UDP {}:5060;branch=z9hG4bK-ack-{}\r\nMax-Forwards: 70\r\n{}From: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
             CSeq: {cseq}\r\nContent-Length: 0\r\n\r\n",
            self.own,
            cseq.split(' ').next().unwrap_or_default(),
            routes.concat(),
            header("From"),
            header("To"),
            header("Call-ID"),
        )
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.callee.take().map(std::thread::JoinHandle::join);
    }
}

/// Takes every call.
fn answer(socket: &UdpSocket, own: Ipv4Addr, over: &AtomicBool) {
    // Nobody is to connect yet: no media is sent here, and a gateway that waits in vain tells of each call.
    let body = described(own, "holdconn");
    let mut octets = vec![0; 65_535];
    while !over.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut octets) else { continue };
        let request = String::from_utf8_lossy(&octets[..length]).into_owned();
        if !request.starts_with("INVITE ") {
            continue;
        }
        let copied = ["Via", "Record-Route"].into_iter().flat_map(|name| {
            fields(&request, name).map(move |value| format!("{name}: {value}\r\n")).collect::<Vec<_>>()
        });
        let header = |name| field(&request, name).unwrap_or_default();
        let response = format!(
            "SIP/2.0 200 OK\r\n{}From: {}\r\nTo: {};tag=b\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:callee@{own}:5060>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            copied.collect::<Vec<_>>().concat(),
            header("From"),
            header("To"),
            header("Call-ID"),
            header("CSeq"),
            body.len()
        );
        let _ = socket.send_to(response.as_bytes(), from);
    }
}

fn described(own: Ipv4Addr, setup: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {own}\r\ns=-\r\nc=IN IP4 {own}\r\nt=0 0\r\nm=message 2855 TCP/TLS/MSRP *\r\na=accept-types:text/plain\r\n\
         a=path:msrps://{own}:2855/s;tcp\r\na=msrp-cema\r\na=setup:{setup}\r\na=fingerprint:SHA-256 {PRINT}\r\n"
    )
}

fn receive(socket: &UdpSocket) -> Option<String> {
    let mut octets = vec![0; 65_535];
    let length = socket.recv(&mut octets).ok()?;
    Some(String::from_utf8_lossy(&octets[..length]).into_owned())
}

fn fields<'a>(message: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().filter_map(move |line| {
        let (known, value) = line.split_once(':')?;
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn field<'a>(message: &'a str, name: &'a str) -> Option<&'a str> {
    fields(message, name).next()
}
