//! Answers of Carnet beside those of Debian's rtpengine to the same requests, from a client in Python that
//! shares no code with either (`ng.py`). `shape.py` says what differs on purpose; `hostile.py` is for
//! people who mean harm.

#[path = "../../carnet/tests/common/mod.rs"]
mod common;

use crate::lab::Lab;
use common::{Running, free};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

const WAYS: [&str; 5] = ["udp", "tcp", "http", "tls", "https"];

/// Where it is, as the scripts take it: `127.0.0.1,udp:PORT,tcp:PORT`.
fn place(host: &str, ways: &[&str], ports: &[u16]) -> String {
    ways.iter().zip(ports).fold(host.to_owned(), |at, (way, port)| format!("{at},{way}:{port}"))
}

/// The file of a steered gateway that takes requests over everything, with a certificate beside it and the
/// word `open-sesame-and-more` in `ng.token`. `more` goes into `[gateway.media.ng]`.
fn write(directory: &Path, host: &str, ports: &[u16], media: u16, more: &str) -> PathBuf {
    let certificate = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=ng", "-days", "2", "-keyout", "ng.key", "-out", "ng.pem"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(certificate.status.success(), "{certificate:?}");
    std::fs::write(directory.join("ng.token"), "open-sesame-and-more\n").unwrap();
    let listen = WAYS.iter().zip(ports).map(|(way, port)| format!("\"{way}:{host}:{port}\""));
    let text = format!(
        "[gateway.media]\nrole = \"ims-agw\"\n\
         [gateway.media.realm.public]\nv4 = \"{host}\"\nports = \"{media}-{}\"\n\
         [gateway.media.ng]\nlisten = [{}]\n\
         tls = {{ certificate = \"ng.pem\", key = \"ng.key\" }}\n{more}\n",
        media + 499,
        listen.collect::<Vec<_>>().join(", "),
    );
    let file = directory.join("carnet.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// A steered gateway on this host.
struct Carnet {
    _directory: tempfile::TempDir,
    _running: Running,
    at: String,
}

impl Carnet {
    fn start(more: &str) -> Self {
        static PORTS: AtomicU16 = AtomicU16::new(0);
        let directory = tempfile::tempdir().unwrap();
        let ports = WAYS.map(|_| free().port());
        let media = 24_000 + 500 * (PORTS.fetch_add(1, Ordering::Relaxed) % 10);
        let file = write(directory.path(), "127.0.0.1", &ports, media, more);
        let running =
            Running::start(Command::new(env!("CARGO_BIN_EXE_carnet")).args(["run", "-c"]).arg(&file));
        running.line("ready");
        Self { _directory: directory, _running: running, at: place("127.0.0.1", &WAYS, &ports) }
    }
}

/// Debian's rtpengine; killed when it goes.
struct Engine {
    child: Child,
    at: String,
}

impl Engine {
    /// With `more` on its command line; `None` where it is not installed.
    fn start(more: &[&str]) -> Option<Self> {
        let [udp, tcp, http] = [free().port(), free().port(), free().port()];
        let child = Command::new("rtpengine")
            .args(["--config-file=none", "--foreground", "--table=-1", "--log-stderr", "--log-level=4"])
            .args(["--interface=127.0.0.1", "--port-min=29000", "--port-max=29999"])
            .args(more)
            .arg(format!("--listen-ng=127.0.0.1:{udp}"))
            .arg(format!("--listen-tcp-ng=127.0.0.1:{tcp}"))
            .arg(format!("--listen-http=127.0.0.1:{http}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "rtpengine is required here");
            eprintln!("skipped: rtpengine is not installed");
            return None;
        };
        Some(Self { child, at: place("127.0.0.1", &WAYS, &[udp, tcp, http]) })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script; what it says is the reason if it fails.
fn script(name: &str, arguments: &[&str]) {
    run(Command::new("python3"), name, arguments);
}

fn run(mut python: Command, name: &str, arguments: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/ng").join(name);
    let output = python.arg("-B").arg(path).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{name} {arguments:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

fn compared(section: &str) {
    let Some(engine) = Engine::start(&[]) else { return };
    let carnet = Carnet::start("");
    script("shape.py", &[section, &engine.at, &carnet.at]);
}

#[test]
fn a_call() {
    compared("calls");
}

#[test]
fn requests_that_cannot_be_done() {
    compared("errors");
}

#[test]
fn numbers_for_monitoring() {
    compared("statistics");
}

#[test]
fn the_same_request_again() {
    compared("repeats");
}

#[test]
fn what_is_no_message() {
    compared("malformed");
}

#[test]
fn every_transport_and_form() {
    compared("forms");
}

#[test]
fn http_for_nothing_there() {
    compared("http");
}

#[test]
fn all_flags_in_one_text() {
    compared("text");
}

#[test]
fn branches_and_tags() {
    compared("branches");
}

#[test]
fn keys_and_flags_of_sip_servers() {
    compared("flags");
}

#[test]
fn no_room() {
    let Some(engine) = Engine::start(&["--max-sessions=1"]) else { return };
    let carnet = Carnet::start("max-calls = 1");
    script("shape.py", &["limits", &engine.at, &carnet.at]);
}

/// Nobody but the peers gets an octet.
#[test]
fn strangers() {
    let carnet = Carnet::start("peers = [\"127.0.0.2/32\"]");
    script("hostile.py", &["strangers", &carnet.at]);
}

/// Who may ask and does so without end does not keep others out, and answers are bounded by what was sent.
/// That does not hold on loopback, where nobody can write another's address: these are on a network.
#[test]
fn floods() {
    let Some(mut lab) = Lab::new() else { return };
    lab.host("media");
    for number in 1..40 {
        let address = format!("192.0.2.{number}/32");
        let added = lab.command("media", "ip").args(["addr", "add", &address, "dev", "lo"]).status();
        assert!(added.unwrap().success());
    }
    let ports = [2224, 2225, 2226, 2227, 2228];
    let file = write(lab.directory(), "192.0.2.1", &ports, 24_000, "peers = [\"192.0.2.0/24\"]");
    let mut command = lab.command("media", env!("CARGO_BIN_EXE_carnet"));
    command.args(["run", "-c"]).arg(&file);
    lab.start("carnet", command);
    lab.wait_for("carnet", "out", "ready", common::PATIENCE);
    run(lab.command("media", "python3"), "hostile.py", &["floods", &place("192.0.2.1", &WAYS, &ports)]);
}

#[test]
fn a_wrong_word() {
    let carnet = Carnet::start("token-file = \"ng.token\"");
    script("hostile.py", &["token", &carnet.at]);
}

/// Half requests, silent connections, connections without number.
#[test]
fn slow_and_many() {
    let carnet = Carnet::start("");
    script("hostile.py", &["slow", &carnet.at]);
}
