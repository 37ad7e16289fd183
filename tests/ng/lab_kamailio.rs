//! One host with Debian's Kamailio, run from docs/examples/kamailio.cfg, its rtpengine and Carnet's gateway,
//! and SIP agents in front of it, behind translators of addresses or not.

use crate::lab::{Lab, tshark};
use crate::nat_lab::{Nat, on, translate};
use crate::network::PATIENCE;
use bytes::Bytes;
use carnet_ng::{Limits, Message, Value as Ng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Addresses of the host: SIP, media of Carnet and of rtpengine, media of a second Carnet.
pub const SIP: &str = "192.0.2.1";
pub const GATEWAY: &str = "192.0.2.2";
pub const RTPENGINE: &str = "192.0.2.3";
pub const SECOND: &str = "192.0.2.4";
/// Towards the operator's own servers.
pub const INSIDE: &str = "10.1.0.2";
/// The same by IPv6.
pub const INSIDE_6: &str = "2001:db8::2";

/// The configuration in the documentation. Its addresses are those of the lab.
pub const KAMAILIO: &str = include_str!("../../docs/examples/kamailio.cfg");

const CARNET: &str = r#"
[log]
level = "info,carnet=debug"

[admin]
socket = "agw.sock"

[gateway.agw]
role = "ims-agw"

[gateway.agw.realm.public]
v4 = "192.0.2.2"
ports = "30000-30127"

[gateway.agw.ng]
listen = ["udp:127.0.0.1:2224"]
# What a script forgets to end stays.
connect-timeout = 0

[gateway.agw.ng.interface.public]
"#;

/// A SIP agent: its host, its user, and what it is behind.
#[derive(Debug, Clone, Copy)]
pub struct Agent {
    pub host: &'static str,
    pub user: &'static str,
    pub number: u8,
    pub nat: bool,
}

pub const ALICE: Agent = Agent { host: "alice", user: "alice", number: 10, nat: false };
pub const BOB: Agent = Agent { host: "bob", user: "bob", number: 11, nat: false };
/// Another device of bob.
pub const BOB_TOO: Agent = Agent { host: "bobtoo", user: "bob", number: 12, nat: false };
/// Another device of alice.
pub const ALICE_TOO: Agent = Agent { host: "alicetoo", number: 13, ..ALICE };
pub const ALICE_AT_HOME: Agent = Agent { nat: true, ..ALICE };
pub const BOB_AT_HOME: Agent = Agent { nat: true, ..BOB };

impl Agent {
    /// The address that it has.
    pub fn address(&self) -> String {
        if self.nat { format!("10.77.{}.2", self.number) } else { self.outer() }
    }

    /// The address that others see.
    pub fn outer(&self) -> String {
        format!("192.0.2.{}", self.number)
    }
}

/// What runs on the host.
#[derive(Default)]
pub struct Shape {
    /// An rtpengine for RTP.
    pub rtpengine: bool,
    /// A second Carnet in the same set.
    pub second: bool,
    /// Kamailio's file, if not that of the documentation.
    pub script: Option<&'static str>,
    /// Text replaced in Kamailio's file.
    pub kamailio: &'static [(&'static str, &'static str)],
    /// Text replaced in Carnet's file.
    pub carnet: &'static [(&'static str, &'static str)],
}

pub struct Stage {
    pub lab: Lab,
    shape: Shape,
    read: BTreeMap<(String, String), usize>,
}

fn have(program: &str, argument: &str) -> bool {
    let here = Command::new(program).arg(argument).output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "{program} is required here");
        eprintln!("skipped: {program} is not installed");
    }
    here
}

impl Stage {
    /// Everything runs, every agent is registered. `None` where that cannot be.
    pub fn new(shape: Shape, agents: &[Agent]) -> Option<Self> {
        let mut stage = Self::bare(shape, agents)?;
        for agent in agents {
            stage.enter(agent);
        }
        Some(stage)
    }

    /// The servers run; the hosts of the agents are there, and nothing runs on them.
    pub fn bare(shape: Shape, agents: &[Agent]) -> Option<Self> {
        if !have("kamailio", "-v") || (shape.rtpengine && !have("rtpengine", "--version")) {
            return None;
        }
        let mut stage = Self { lab: Lab::new()?, shape, read: BTreeMap::new() };
        stage.build(agents);
        stage.servers();
        Some(stage)
    }

    fn build(&mut self, agents: &[Agent]) {
        let lab = &mut self.lab;
        lab.network("public");
        lab.network("inside");
        for address in [SIP, GATEWAY, RTPENGINE, SECOND] {
            lab.join("sip", "public", &format!("{address}/24"));
        }
        lab.join("sip", "inside", &format!("{INSIDE}/24"));
        lab.join("sip", "inside", &format!("{INSIDE_6}/64"));
        lab.file("terminal.py", include_str!("../access/terminal.py"));
        for agent in agents {
            let (outer, inner) = (format!("{}/24", agent.outer()), format!("{}/24", agent.address()));
            if !agent.nat {
                lab.join(agent.host, "public", &outer);
                continue;
            }
            let (network, translator) = (format!("in-{}", agent.number), format!("nat-{}", agent.host));
            let door = format!("10.77.{}.1", agent.number);
            lab.network(&network);
            lab.join(agent.host, &network, &inner);
            lab.join(&translator, "public", &outer);
            lab.join(&translator, &network, &format!("{door}/24"));
            on(lab, agent.host, &["ip", "route", "add", "default", "via", &door]);
            translate(lab, &translator, "e-public", Nat::Restricted, &agent.address());
        }
    }

    fn servers(&mut self) {
        if self.shape.rtpengine {
            self.rtpengine();
        }
        self.lab.file("agw.toml", CARNET);
        for (from, to) in self.shape.carnet {
            self.lab.edit("agw.toml", from, to);
        }
        self.carnet("agw");
        if self.shape.second {
            let text = std::fs::read_to_string(self.lab.directory().join("agw.toml")).unwrap();
            let text = text.replace(GATEWAY, SECOND).replace(".agw", ".second").replace(":2224", ":2225");
            let text = text.replace("agw.sock", "second.sock");
            self.lab.file("second.toml", &text.replace("30000-30127", "31000-31127"));
            self.carnet("second");
        }
        match self.shape.script {
            Some(script) => drop(self.lab.file("kamailio.cfg", script)),
            None => self.documented(),
        }
        for (from, to) in self.shape.kamailio {
            self.lab.edit("kamailio.cfg", from, to);
        }
        self.kamailio();
    }

    /// The file of the documentation, for what runs here.
    fn documented(&self) {
        self.lab.file("kamailio.cfg", KAMAILIO);
        if !self.shape.rtpengine {
            self.lab.edit("kamailio.cfg", "#!define WITH_RTPENGINE\n", "");
        }
        if self.shape.second {
            let one = "\"1 == udp:127.0.0.1:2224\"";
            self.lab.edit("kamailio.cfg", one, "\"1 == udp:127.0.0.1:2224 udp:127.0.0.1:2225\"");
        }
    }

    /// Starts an rtpengine without its kernel module.
    pub fn rtpengine(&mut self) {
        let mut command = self.lab.command("sip", "rtpengine");
        command.args(["--foreground", "--table=-1", "--log-stderr", "--log-level=6"]);
        command.arg(format!("--interface={RTPENGINE}")).args([
            "--port-min=40000",
            "--port-max=40999",
            "--delete-delay=0",
        ]);
        command.arg("--listen-ng=127.0.0.1:2223");
        self.lab.start("rtpengine", command);
        self.lab.until(PATIENCE, "rtpengine answers", |lab| ping(lab, 2223));
    }

    /// Starts a gateway from NAME.toml.
    pub fn carnet(&mut self, name: &str) {
        let mut command = self.lab.command("sip", env!("CARGO_BIN_EXE_carnet"));
        command.args(["run", "-c", &format!("{name}.toml")]);
        self.lab.start(name, command);
        let port = if name == "agw" { 2224 } else { 2225 };
        self.lab.until(PATIENCE, "the gateway answers", |lab| ping(lab, port));
    }

    /// Starts Kamailio; its log is `kamailio.err`.
    pub fn kamailio(&mut self) {
        let directory = self.lab.directory().to_owned();
        let mut command = self.lab.command("sip", "kamailio");
        command.args(["-DD", "-E", "-m", "32", "-M", "4", "-f", "kamailio.cfg"]);
        command.arg("-w").arg(&directory).arg("-Y").arg(&directory);
        command.arg("-P").arg(directory.join("kamailio.pid"));
        self.lab.start("kamailio", command);
        let options = format!(
            "OPTIONS sip:{SIP} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5999;rport;branch=z9hG4bKping\r\n\
             From: <sip:lab@{SIP}>;tag=1\r\nTo: <sip:{SIP}>\r\nCall-ID: ping\r\nCSeq: 1 OPTIONS\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        self.lab.until(PATIENCE, "Kamailio answers", |lab| {
            exchange(lab, (SIP, 5060), options.as_bytes()).is_some_and(|answer| answer.contains("200 OK"))
        });
    }

    /// Starts an agent's program and registers it.
    fn enter(&mut self, agent: &Agent) {
        let mut command = self.lab.command(agent.host, "python3");
        let password = format!("{}-password", agent.user);
        command.args(["terminal.py", agent.user, "example.com", &password, &agent.address(), SIP]);
        self.lab.start(agent.host, command);
        self.lab.wait_for(agent.host, "out", "ready", PATIENCE);
        self.register(agent.host);
    }

    /// Registers an agent with its password.
    pub fn register(&mut self, host: &str) {
        self.tell(host, &json!({"do": "register"}));
        if self.shape.script.is_none() {
            assert_eq!(self.next(host, "register")["status"], 401, "a password is asked for");
        }
        assert_eq!(self.next(host, "register")["status"], 200);
    }

    /// Has an agent do something.
    pub fn tell(&mut self, host: &str, order: &Value) {
        let index = self.lab.named(host);
        self.lab.process(index).say(&order.to_string());
    }

    /// The next event of that kind that an agent tells.
    #[track_caller]
    pub fn next(&mut self, host: &str, event: &str) -> Value {
        self.next_that(host, event, |_| true)
    }

    /// The next that is like this.
    #[track_caller]
    pub fn next_that(&mut self, host: &str, event: &str, like: impl Fn(&Value) -> bool) -> Value {
        let of = (host.to_owned(), event.to_owned());
        let from = self.read.get(&of).copied().unwrap_or(0);
        let found = |lab: &Lab| {
            let out = lab.output(host, "out");
            let whole = out.matches('\n').count();
            out.lines().enumerate().take(whole).skip(from).find_map(|(number, line)| {
                let value: Value = serde_json::from_str(line).unwrap_or(Value::Null);
                (value["event"] == event && like(&value)).then_some((number, value))
            })
        };
        self.lab.until(PATIENCE, &format!("{host} tells of {event}"), |lab| found(lab).is_some());
        let (number, value) = found(&self.lab).unwrap();
        self.read.insert(of, number + 1);
        value
    }

    /// Whether an agent has told of that.
    pub fn told(&self, host: &str, event: &str) -> bool {
        self.lab.output(host, "out").contains(&format!("\"event\": \"{event}\""))
    }

    /// Calls a user; what one of his agents gets.
    #[track_caller]
    pub fn offer(&mut self, from: &str, user: &str, at: &str, sdp: &str) -> Sdp {
        self.tell(from, &json!({"do": "call", "uri": format!("sip:{user}@example.com"), "sdp": sdp}));
        self.offered(at)
    }

    /// What an agent is offered.
    #[track_caller]
    pub fn offered(&mut self, at: &str) -> Sdp {
        Sdp(self.next(at, "offered")["sdp"].as_str().unwrap().to_owned())
    }

    /// The answer goes back; what the one who offered gets.
    #[track_caller]
    pub fn answer(&mut self, from: &str, to: &str, sdp: &str) -> Sdp {
        self.tell(from, &json!({"do": "answer", "sdp": sdp}));
        let answer = Sdp(self.next(to, "answered")["sdp"].as_str().unwrap().to_owned());
        self.next(from, "confirmed");
        answer
    }

    /// Offers again in the dialog; what the other one gets.
    #[track_caller]
    pub fn reoffer(&mut self, from: &str, at: &str, sdp: &str) -> Sdp {
        self.tell(from, &json!({"do": "reoffer", "sdp": sdp}));
        self.offered(at)
    }

    /// A call that fails: SIP status.
    #[track_caller]
    pub fn refused(&mut self, from: &str, user: &str, sdp: &str) -> u64 {
        self.tell(from, &json!({"do": "call", "uri": format!("sip:{user}@example.com"), "sdp": sdp}));
        self.next(from, "refused")["status"].as_u64().unwrap()
    }

    /// Hangs up, and nothing is left.
    #[track_caller]
    pub fn hang_up(&mut self, host: &str) {
        self.tell(host, &json!({"do": "bye"}));
        assert_eq!(self.next(host, "bye")["status"], 200);
        self.idle();
    }

    /// Contexts that a gateway holds, by what it tells its operator.
    pub fn contexts(lab: &Lab, name: &str) -> Option<u64> {
        let mut command = lab.command("sip", env!("CARGO_BIN_EXE_carnet"));
        let output =
            command.args(["gateway", "list", "--json", "-c", &format!("{name}.toml")]).output().ok()?;
        let seen: Value = serde_json::from_slice(&output.stdout).ok()?;
        seen["gateways"][0]["contexts"].as_u64()
    }

    /// Waits until gateways and rtpengine hold nothing; none has fallen over.
    #[track_caller]
    pub fn idle(&self) {
        let names: &[&str] = if self.shape.second { &["agw", "second"] } else { &["agw"] };
        for name in names {
            self.lab.until(PATIENCE, "the gateway holds nothing", |lab| Self::contexts(lab, name) == Some(0));
            let log = self.lab.output(name, "err");
            assert!(!log.contains("panicked"), "{log}");
        }
        let mut ports = vec![2224];
        ports.extend(self.shape.second.then_some(2225));
        ports.extend(self.shape.rtpengine.then_some(2223));
        for port in ports {
            self.lab.until(PATIENCE, "no call is left", |lab| calls(lab, port).is_some_and(|n| n == 0));
        }
    }

    /// Has an agent wait for a connection on its port 7000, with a certificate of its own or without.
    pub fn listen(&mut self, host: &str, cert: Option<&str>) {
        match cert {
            Some(cert) => {
                self.tell(host, &json!({"do": "tls-listen", "port": 7000, "cert": cert}));
                self.next_that(host, "openssl", |seen| seen["line"] == "ACCEPT");
            }
            None => {
                self.tell(host, &json!({"do": "listen", "port": 7000}));
                self.next(host, "listening");
            }
        }
    }

    /// Has an agent connect.
    pub fn connect(&mut self, host: &str, to: &str, cert: Option<&str>) {
        match cert {
            Some(cert) => self.tell(host, &json!({"do": "tls-connect", "to": to, "cert": cert})),
            None => self.tell(host, &json!({"do": "connect", "to": to})),
        }
    }

    /// Says something on the connection.
    pub fn say(&mut self, host: &str, text: &str) {
        self.tell(host, &json!({"do": "send", "text": format!("{text}\n")}));
    }

    /// Waits for what the other one says, in clear.
    #[track_caller]
    pub fn hear(&mut self, host: &str, text: &str) {
        self.next_that(host, "data", |seen| seen["text"].as_str().is_some_and(|got| got.contains(text)));
    }

    /// The same, out of OpenSSL.
    #[track_caller]
    pub fn hear_sealed(&mut self, host: &str, text: &str) {
        self.next_that(host, "openssl", |seen| seen["line"].as_str().is_some_and(|line| line.contains(text)));
    }

    /// A self-signed certificate with its key in NAME.pem and NAME.key; its fingerprint.
    pub fn certificate(&self, name: &str) -> String {
        crate::network::certificate(&self.lab, name, "DNS:terminal");
        let mut command = Command::new("openssl");
        command.current_dir(self.lab.directory());
        let said = command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &format!("{name}.pem")]);
        let said = String::from_utf8(said.output().unwrap().stdout).unwrap();
        format!("SHA-256 {}", said.trim().split_once('=').unwrap().1)
    }
}

/// A datagram from the host, and what comes back within a second.
fn exchange(lab: &Lab, to: (&str, u16), octets: &[u8]) -> Option<String> {
    lab.inside("sip", || {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        socket.connect(to).ok()?;
        socket.send(octets).ok()?;
        let mut buffer = vec![0; 65_535];
        let n = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
    })
}

/// Asks a media server something.
pub fn ask(lab: &Lab, port: u16, body: Vec<(&'static str, Ng)>) -> Option<Ng> {
    let body = body.into_iter().map(|(key, value)| (Bytes::from_static(key.as_bytes()), value)).collect();
    let cookie = Bytes::from(format!("lab{:?}", std::time::Instant::now()).replace(' ', ""));
    let message = Message::new(cookie, Ng::Dictionary(body));
    let answer = Bytes::from(exchange(lab, ("127.0.0.1", port), &message.to_bytes())?);
    Some(Message::parse(&answer, &Limits::default()).ok()?.body)
}

fn ping(lab: &Lab, port: u16) -> bool {
    ask(lab, port, vec![("command", Ng::text("ping"))])
        .is_some_and(|answer| answer.text_of("result") == Some("pong"))
}

/// Calls that a media server has.
pub fn calls(lab: &Lab, port: u16) -> Option<usize> {
    let answer = ask(lab, port, vec![("command", Ng::text("list")), ("limit", Ng::text("100"))])?;
    match answer.get("calls") {
        Some(Ng::List(calls)) => Some(calls.len()),
        _ => None,
    }
}

/// Octets of TCP payload in a capture, in order of the packets.
pub fn payloads(capture: &Path) -> Vec<u8> {
    let packets = tshark(capture, "tcp.len > 0", &["tcp.payload"], &[]);
    let digits: String = packets.into_iter().flatten().collect();
    carnet_wire::hex::decode(digits.as_bytes()).unwrap()
}

/// Whether `text` passed in clear.
pub fn holds(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A session description that arrived.
#[derive(Debug, Clone)]
pub struct Sdp(pub String);

impl Sdp {
    /// The lines of a media section, the first one its `m=`.
    pub fn section(&self, number: usize) -> Vec<&str> {
        let mut sections = Vec::<Vec<&str>>::new();
        for line in self.0.lines() {
            if line.starts_with("m=") {
                sections.push(Vec::new());
            }
            if let Some(section) = sections.last_mut() {
                section.push(line);
            }
        }
        sections.get(number).cloned().unwrap_or_else(|| panic!("no section {number} in\n{}", self.0))
    }

    /// What follows `start` in a section.
    pub fn value(&self, number: usize, start: &str) -> Option<&str> {
        self.section(number).into_iter().find_map(|line| line.strip_prefix(start))
    }

    /// Where media of a section goes, `address:port`.
    pub fn socket(&self, number: usize) -> String {
        let session = self.0.lines().find_map(|line| line.strip_prefix("c=IN IP4 "));
        let address = self.value(number, "c=IN IP4 ").or(session).unwrap_or_default();
        let port = self.section(number)[0].split(' ').nth(1).unwrap_or_default();
        format!("{address}:{port}")
    }

    /// Asserts that media of a section goes to this address.
    #[track_caller]
    pub fn at(&self, number: usize, address: &str) -> &Self {
        let socket = self.socket(number);
        assert!(socket.starts_with(&format!("{address}:")), "section {number} at {socket} in\n{}", self.0);
        self
    }
}
