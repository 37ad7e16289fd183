//! Two operators on loopback addresses, a process each border, gateway and key server; and the collector.

use super::CARNET;
use crate::common::{PATIENCE, Running, free};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

const COLLECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/otel/collector.py");

/// A collector, and what it has been sent.
pub struct Collector {
    process: Running,
    scheme: &'static str,
    port: String,
    spans: Vec<Value>,
    /// Requests that it did not take.
    pub refused: usize,
}

/// A Python that knows OpenTelemetry's definitions.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("CARNET_OTEL_PYTHON").map(PathBuf::from);
    let usual = ["/opt/opentelemetry/bin/python3", "python3"].map(PathBuf::from);
    let knows = |python: &PathBuf| {
        let import = "import opentelemetry.proto.collector.trace.v1.trace_service_pb2";
        Command::new(python).args(["-c", import]).output().is_ok_and(|output| output.status.success())
    };
    named.into_iter().chain(usual).find(knows)
}

/// Starts one that refuses so often first, and wants that header; none if there is nothing to read traces with.
pub fn collector(refusals: usize, header: Option<&str>) -> Option<Collector> {
    start(&[&refusals.to_string(), header.unwrap_or_default()], "http")
}

/// The same over HTTPS, with that certificate and key.
pub fn sealed_collector(certificate: &str, key: &str) -> Option<Collector> {
    start(&["0", "", certificate, key], "https")
}

fn start(arguments: &[&str], scheme: &'static str) -> Option<Collector> {
    let Some(python) = python() else {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "opentelemetry-proto is required here");
        eprintln!("skipped: there is no Python with opentelemetry-proto");
        return None;
    };
    let mut command = Command::new(python);
    command.arg(COLLECTOR).args(arguments);
    let process = Running::start(&mut command);
    let port = process.lines.recv_timeout(PATIENCE).expect("a port");
    assert!(port.parse::<u16>().is_ok(), "{port}");
    Some(Collector { process, scheme, port, spans: Vec::new(), refused: 0 })
}

impl Collector {
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// All spans, when there are those that are waited for.
    pub fn until(&mut self, complete: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        while !complete(&self.spans) {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.process.lines.recv_timeout(left);
            let Ok(line) = line else { panic!("more was to come: {:#?}", self.spans) };
            let told: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            match told.get("refused") {
                Some(_) => self.refused += 1,
                None => self.spans.push(told),
            }
        }
        self.spans.clone()
    }
}

/// The processes and their files.
pub struct Network {
    directory: tempfile::TempDir,
    running: BTreeMap<&'static str, Running>,
    admin: SocketAddr,
}

const HOSTS: [&str; 5] = ["kms", "border-a", "border-b", "agw-a", "agw-b"];

impl Network {
    /// Files that send traces to `endpoint`, with a header if it has a value.
    pub fn new(endpoint: &str, key: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let headers = if key.is_empty() { "" } else { "headers-file = \"headers\"\n" };
        write("headers", &format!("# for the collector\nx-api-key: {key}\n"));
        let otel = format!(
            "[otel]\nendpoint = \"{endpoint}\"\n{headers}resource = {{ \"deployment.environment.name\" = \"test\" }}\n"
        );
        let (kms, admin) = (free(), free());
        write(
            "kms.toml",
            &format!("[kms]\nname = \"kms.example\"\nlisten = \"{kms}\"\ndata = \"data\"\n{otel}"),
        );
        let core = [free(), free()];
        for (at, side) in ["a", "b"].into_iter().enumerate() {
            let (access, control) = (free(), free());
            let (ours, theirs) = (core[at], core[1 - at]);
            let admin = if at == 0 { format!("[admin]\nlisten = \"{admin}\"\n") } else { String::new() };
            let ports = 21_000 + 40 * at;
            write(
                &format!("border-{side}.toml"),
                &format!(
                    "[border.border-{side}]\nrole = \"ims-alg\"\ndomain = \"{side}.example\"\n\
                     registrar = {{ mode = \"built-in\", users = \"users-{side}.toml\" }}\n\
                     control = {{ listen = [\"udp:{control}\"], gateways = [\"agw-{side}\"] }}\n\
                     [border.border-{side}.network.access]\nlisten = [\"tcp:{access}\"]\nsubscribers = true\n\
                     [border.border-{side}.network.core]\nlisten = [\"tcp:{ours}\"]\n\
                     [[border.border-{side}.route]]\ndomain = \"*\"\nnetwork = \"core\"\n\
                     next-hop = \"sip:{theirs};transport=tcp\"\n{otel}{admin}"
                ),
            );
            write(
                &format!("agw-{side}.toml"),
                &format!(
                    "[gateway.agw-{side}]\nrole = \"ims-agw\"\ncontrollers = [\"border-{side}@udp:{control}\"]\n\
                     restart-wait = 0\nmax-contexts = 100\n\
                     [gateway.agw-{side}.realm.access]\nv4 = \"127.0.0.1\"\nports = \"{ports}-{}\"\n\
                     [gateway.agw-{side}.realm.core]\nv4 = \"127.0.0.1\"\nports = \"{}-{}\"\n{otel}",
                    ports + 19,
                    ports + 20,
                    ports + 39,
                ),
            );
            let user = if at == 0 { "alice" } else { "bob" };
            write(&format!("users-{side}.toml"), &format!("{user} = \"a password\"\n"));
            write(&format!("{user}.password"), "a password\n");
            write(
                &format!("{user}.toml"),
                &format!(
                    "[ue]\nidentity = \"sip:{user}@{side}.example\"\npassword-file = \"{user}.password\"\n\
                     proxy = \"sip:{access};transport=tcp\"\nkms = \"http://{kms}\"\n\
                     kms-identity = \"sip:kms.example\"\nkms-key-file = \"{user}.psk\"\n"
                ),
            );
        }
        let this = Self { directory, running: BTreeMap::new(), admin };
        for (user, domain) in [("alice", "a"), ("bob", "b")] {
            let added = Command::new(CARNET)
                .args(["kms", "user", "add", &format!("sip:{user}@{domain}.example"), "-c"])
                .arg(this.path("kms.toml"))
                .arg("--out")
                .arg(this.path(&format!("{user}.psk")))
                .output()
                .unwrap();
            assert!(added.status.success(), "{added:?}");
        }
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Changes a file before the start.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(self.path(name), text.replace(from, to)).unwrap();
    }

    /// Starts every process, and waits until the borders have their gateways.
    pub fn start(&mut self) {
        for host in HOSTS {
            let file = self.path(&format!("{host}.toml"));
            let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(&file));
            if !host.starts_with("border") {
                process.line("ready");
            }
            self.running.insert(host, process);
        }
        for border in ["border-a", "border-b"] {
            self.running[border].line("gateway-up");
        }
    }

    /// Ends a process in order; what it wrote since it was last looked at.
    pub fn end(&mut self, host: &str) -> String {
        let mut process = self.running.remove(host).unwrap();
        interrupt(&process);
        process.rest()
    }

    /// Starts a client.
    pub fn ue(&self, user: &str, action: &[&str]) -> Running {
        let file = self.path(&format!("{user}.toml"));
        Running::start(Command::new(CARNET).args(["ue", "--json", "-c"]).arg(&file).args(action))
    }

    /// `/metrics` of the first border.
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// As somebody does who presses Ctrl-C.
pub fn interrupt(process: &Running) {
    let sent = Command::new("kill").args(["-INT", &process.child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
}

/// Posts something to a key server; whatever it answers.
pub fn ask(address: SocketAddr, body: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /keymanagement?requesttype=ticketrequest HTTP/1.1\r\nHost: kms\r\nConnection: close\r\n\
         Content-Type: application/mikey\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}
