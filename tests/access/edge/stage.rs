//! An access border with its gateway, terminals in front of it, and a server in the core behind it.

use crate::lab::{Lab, tshark};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Time for anything to happen on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The domain of the subscribers.
pub const DOMAIN: &str = "a.example";

const BORDER: &str = r#"
[log]
level = "info,carnet=debug"

[admin]
socket = "alg.sock"

[border.alg]
role = "ims-alg"
domain = "a.example"
registrar = { mode = "built-in", users = "users.toml" }
control = { listen = ["udp:10.1.0.1:2944"], gateways = ["agw"] }

[border.alg.network.access]
listen = ["udp:198.51.100.1:5060"]
subscribers = true

[border.alg.network.core]
listen = ["udp:10.1.0.1:5060"]
peers = ["10.1.0.0/24"]

[[border.alg.route]]
domain = "*"
network = "core"
next-hop = "sip:10.1.0.9:5060"
"#;

const GATEWAY: &str = r#"
[log]
level = "info,carnet=debug"

[admin]
socket = "agw.sock"

[gateway.agw]
role = "ims-agw"
controllers = ["alg@udp:10.1.0.1:2944"]

[gateway.agw.realm.access]
v4 = "198.51.100.2"
ports = "30000-30127"

[gateway.agw.realm.core]
v4 = "10.1.0.2"
ports = "30000-30127"
"#;

/// Host, user and address of everybody with a SIP agent.
const AGENTS: [(&str, &str, &str); 3] = [
    ("alice", "access", "198.51.100.10"),
    ("bob", "access", "198.51.100.11"),
    ("server", "core", "10.1.0.9"),
];

/// The address of an agent.
pub fn address(agent: &str) -> &'static str {
    AGENTS.iter().find(|(name, ..)| *name == agent).map(|(.., address)| *address).unwrap()
}

/// The hosts and what runs on them.
pub struct Stage {
    pub lab: Lab,
    /// How far an agent's events of a kind have been looked at.
    read: BTreeMap<(String, String), usize>,
}

impl Stage {
    /// Everybody is up; nobody has registered. `None` where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        Self::with(&[], &[])
    }

    /// The same with text of the border's and the gateway's file replaced.
    pub fn with(border: &[(&str, &str)], gateway: &[(&str, &str)]) -> Option<Self> {
        Self::prepared(border, gateway, |_| {})
    }

    /// The same, and something is done before the roles start.
    pub fn prepared(
        border: &[(&str, &str)],
        gateway: &[(&str, &str)],
        prepare: impl FnOnce(&Self),
    ) -> Option<Self> {
        let mut stage = Self { lab: Lab::new()?, read: BTreeMap::new() };
        let lab = &mut stage.lab;
        lab.network("access");
        lab.network("core");
        for (host, last) in [("alg", 1), ("agw", 2)] {
            lab.join(host, "access", &format!("198.51.100.{last}/24"));
            lab.join(host, "core", &format!("10.1.0.{last}/24"));
        }
        for (agent, network, address) in AGENTS {
            lab.join(agent, network, &format!("{address}/24"));
        }
        lab.file("users.toml", "alice = \"alices-password\"\nbob = \"bobs-password\"\n");
        lab.file("terminal.py", include_str!("../terminal.py"));
        for (name, text, changes) in [("alg", BORDER, border), ("agw", GATEWAY, gateway)] {
            lab.file(&format!("{name}.toml"), text);
            for (from, to) in changes {
                lab.edit(&format!("{name}.toml"), from, to);
            }
        }
        prepare(&stage);
        for host in ["alg", "agw"] {
            stage.run(host);
        }
        stage.lab.wait_for("alg", "err", "gateway-up", PATIENCE);
        for (agent, network, address) in AGENTS {
            let proxy = if network == "access" { "198.51.100.1" } else { "10.1.0.1" };
            let mut command = stage.lab.command(agent, "python3");
            let password = format!("{agent}s-password");
            command.args(["terminal.py", agent, DOMAIN, &password, address, proxy]);
            stage.lab.start(agent, command);
            stage.lab.wait_for(agent, "out", "ready", PATIENCE);
        }
        Some(stage)
    }

    /// Starts a role.
    pub fn run(&mut self, host: &str) {
        let mut command = self.lab.command(host, env!("CARGO_BIN_EXE_carnet"));
        command.args(["run", "-c", &format!("{host}.toml")]);
        self.lab.start(host, command);
    }

    /// Has an agent do something.
    pub fn tell(&mut self, agent: &str, order: &Value) {
        let index = self.lab.named(agent);
        self.lab.process(index).say(&order.to_string());
    }

    /// The next event of that kind that an agent tells.
    pub fn next(&mut self, agent: &str, event: &str) -> Value {
        self.next_that(agent, event, |_| true)
    }

    /// The next that is like this.
    pub fn next_that(&mut self, agent: &str, event: &str, like: impl Fn(&Value) -> bool) -> Value {
        let of = (agent.to_owned(), event.to_owned());
        let from = self.read.get(&of).copied().unwrap_or(0);
        let found = |lab: &Lab| {
            let out = lab.output(agent, "out");
            let whole = out.matches('\n').count();
            out.lines().enumerate().take(whole).skip(from).find_map(|(number, line)| {
                let value: Value = serde_json::from_str(line).unwrap_or(Value::Null);
                (value["event"] == event && like(&value)).then_some((number, value))
            })
        };
        self.lab.until(PATIENCE, &format!("{agent} tells of {event}"), |lab| found(lab).is_some());
        let (number, value) = found(&self.lab).unwrap();
        self.read.insert(of, number + 1);
        value
    }

    /// Whether an agent has told of that.
    pub fn told(&self, agent: &str, event: &str) -> bool {
        self.lab.output(agent, "out").contains(&format!("\"event\": \"{event}\""))
    }

    /// Registers; what the border offers to do for its media.
    pub fn register(&mut self, agent: &str, security: &[&str]) -> Vec<String> {
        self.tell(agent, &json!({"do": "register", "security": security}));
        let challenge = self.next(agent, "register");
        assert_eq!(challenge["status"], 401, "{challenge}");
        let done = self.next(agent, "register");
        assert_eq!(done["status"], 200, "{done}");
        assert_eq!(
            challenge["security_server"], done["security_server"],
            "in the challenge and in the answer"
        );
        let offered = done["security_server"].as_array().unwrap();
        offered.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// An offer goes out; what the other one gets.
    pub fn offer(&mut self, from: &str, to: &str, sdp: &str) -> Sdp {
        let uri = match to {
            "server" => "sip:server@core.example".to_owned(),
            user => format!("sip:{user}@{DOMAIN}"),
        };
        self.tell(from, &json!({"do": "call", "uri": uri, "sdp": sdp}));
        Sdp(self.next(to, "offered")["sdp"].as_str().unwrap().to_owned())
    }

    /// The answer goes back; what the one who offered gets.
    pub fn answer(&mut self, from: &str, to: &str, sdp: &str) -> Sdp {
        self.tell(from, &json!({"do": "answer", "sdp": sdp}));
        let answer = Sdp(self.next(to, "answered")["sdp"].as_str().unwrap().to_owned());
        self.next(from, "confirmed");
        answer
    }

    /// An offer that is refused; the Warning says why.
    pub fn refused(&mut self, from: &str, to: &str, sdp: &str) -> (u64, String) {
        let uri =
            if to == "server" { "sip:server@core.example".to_owned() } else { format!("sip:{to}@{DOMAIN}") };
        self.tell(from, &json!({"do": "call", "uri": uri, "sdp": sdp}));
        let refusal = self.next(from, "refused");
        (refusal["status"].as_u64().unwrap(), refusal["warning"].to_string())
    }

    /// Hangs up, and the gateway has nothing left.
    pub fn hang_up(&mut self, agent: &str) {
        self.tell(agent, &json!({"do": "bye"}));
        assert_eq!(self.next(agent, "bye")["status"], 200);
        self.idle();
    }

    /// Waits until the gateway holds nothing; no role has fallen over.
    pub fn idle(&self) {
        self.lab.until(PATIENCE, "the gateway holds nothing", |lab| {
            let mut command = lab.command("agw", env!("CARGO_BIN_EXE_carnet"));
            let output = command.args(["gateway", "list", "--json", "-c", "agw.toml"]).output().unwrap();
            let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
            seen["gateways"][0]["contexts"] == 0
        });
        for host in ["alg", "agw"] {
            let log = self.lab.output(host, "err");
            assert!(!log.contains("panicked"), "{log}");
        }
    }

    /// A self-signed certificate with its key in NAME.pem and NAME.key; its fingerprints by digest.
    pub fn certificate(&self, name: &str, digest: &str) -> String {
        let directory = self.lab.directory();
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let openssl = |args: &[&str]| {
            let output = Command::new("openssl").args(args).current_dir(directory).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        if !directory.join(&certificate).exists() {
            let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
            let mut args =
                vec!["req", "-x509", "-subj", "/CN=terminal", "-keyout", &key, "-out", &certificate];
            args.extend(curve);
            openssl(&args);
        }
        let dashed = format!("-{}", digest.replace('-', "").to_lowercase());
        let said = openssl(&["x509", "-in", &certificate, "-noout", "-fingerprint", &dashed]);
        let (_, value) = said.trim().split_once('=').unwrap();
        format!("{digest} {value}")
    }

    /// Everything a host sends and receives in a network.
    pub fn capture(&mut self, host: &str, network: &str) -> PathBuf {
        self.lab.capture(host, network)
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
    /// The value of the first line that begins so.
    pub fn value(&self, start: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(start))
    }

    /// The fields of the media line.
    pub fn media(&self) -> Vec<&str> {
        self.value("m=").unwrap_or_default().split(' ').collect()
    }

    /// Where media goes, `address:port`.
    pub fn socket(&self) -> String {
        let address = self.value("c=IN IP4 ").unwrap_or_default();
        format!("{address}:{}", self.media().get(1).unwrap_or(&""))
    }

    /// Asserts that these lines, or beginnings of lines, are there and those are not.
    #[track_caller]
    pub fn expect(&self, there: &[&str], absent: &[&str]) {
        for start in there {
            assert!(self.0.lines().any(|line| line.starts_with(start)), "no {start} in\n{}", self.0);
        }
        for part in absent {
            assert!(!self.0.contains(part), "{part} in\n{}", self.0);
        }
    }
}

/// A session description of one line. `more` are attributes.
pub fn sdp(agent: &str, media: &str, more: &[&str]) -> String {
    let ip = address(agent);
    let mut text = format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm={media}\r\n");
    for line in more {
        text += &format!("a={line}\r\n");
    }
    text
}
