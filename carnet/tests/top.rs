//! `carnet top` against processes that run: printed once for scripts, and on a terminal that `script` makes.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_tls::{Credential, SubjectName};
use common::{PATIENCE, Running, free};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");
const TOKEN: &str = "a-word-that-only-friends-know";

struct Scene {
    directory: tempfile::TempDir,
    process: Option<Running>,
    admin: SocketAddr,
}

impl Scene {
    /// A gateway that looks for its controller; `admin` is added to its administration.
    fn start(admin: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, octets: &[u8]| std::fs::write(directory.path().join(name), octets).unwrap();
        write("token", TOKEN.as_bytes());
        for name in ["server", "client"] {
            let names = [SubjectName::Dns(format!("{name}.example")), SubjectName::Ip([127, 0, 0, 1].into())];
            let credential = Credential::self_signed(&names, 2).unwrap();
            write(&format!("{name}.pem"), &credential.certificate_pem().unwrap());
            write(&format!("{name}.key"), &credential.private_key_pem().unwrap());
        }
        let address = free();
        let text = format!(
            "[admin]\nlisten = \"{address}\"\n{admin}\n[gateway.agw]\nrole = \"ims-agw\"\n\
             controllers = [\"mgc@udp:{}\"]\n\
             [gateway.agw.realm.access]\nv4 = \"127.0.0.1\"\nports = \"20000-20009\"\n",
            free()
        );
        write("carnet.toml", text.as_bytes());
        let file = directory.path().join("carnet.toml");
        let process = Running::start(Command::new(CARNET).args(["run", "--grace", "0", "-c"]).arg(&file));
        process.line("ready");
        Self { directory, process: Some(process), admin: address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn top(arguments: &[&str]) -> Output {
    Command::new(CARNET).arg("top").args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn scripts_are_told_once() {
    let mut scene = Scene::start("");
    let url = format!("http://{}", scene.admin);
    // Standard output is no terminal: so nobody has to say --once.
    let output = top(&["--node", &url]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let line = "gateway agw (ims-agw): looking for a controller, 0 of 10000 contexts";
    assert!(said.contains(": 0 sessions, 0.0 setups/s") && said.contains(line), "{said}");

    let output = top(&["--json", "--node", &url, "--node", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1), "one of them is not there");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = json["nodes"].as_array().unwrap();
    assert_eq!((&nodes[0]["up"], &nodes[0]["gateways"][0]["gateway"]), (&true.into(), &"agw".into()));
    assert!(nodes[0]["sessions"].as_array().unwrap().is_empty() && nodes[0]["version"].is_string());
    assert!(nodes[1]["up"] == false && nodes[1]["error"].as_str().unwrap().contains("cannot be reached"));

    scene.process = None;
    assert_eq!(top(&["--node", &url]).status.code(), Some(1));
    for (bad, why) in [
        (&["--node", "ftp://x"][..], "write https://HOST:PORT"),
        (&[], "name the process"),
        (&["-c", "/no/such/file"], "/no/such/file"),
    ] {
        let output = top(bad);
        assert!(output.status.code() == Some(1) && text(&output).contains(why), "{bad:?}: {output:?}");
    }
}

#[test]
fn who_has_the_file_needs_nothing_else() {
    let scene =
        Scene::start("token-file = \"token\"\ntls = { certificate = \"server.pem\", key = \"server.key\" }");
    let file = scene.path("carnet.toml");
    let output = top(&["-c", file.to_str().unwrap()]);
    assert!(output.status.success() && text(&output).contains("gateway agw"), "{}", text(&output));

    // From elsewhere: the token, and who vouches for the process.
    let url = format!("https://{}", scene.admin);
    let (token, ca) = (scene.path("token"), scene.path("server.pem"));
    let (token, ca) = (token.to_str().unwrap(), ca.to_str().unwrap());
    let output = top(&["--node", &url, "--token-file", token, "--ca", ca]);
    assert!(output.status.success(), "{}", text(&output));
    let output = top(&["--node", &url, "--ca", ca]);
    assert!(output.status.code() == Some(1) && text(&output).contains("answers 401"), "{}", text(&output));
    let output = top(&["--node", &url, "--token-file", token]);
    let said = text(&output);
    assert!(output.status.code() == Some(1) && said.contains("an authority that is not in `ca`"), "{said}");
    assert!(!said.contains(TOKEN));
}

#[test]
fn a_certificate_is_shown_where_one_is_asked_for() {
    let tls = "tls = { certificate = \"server.pem\", key = \"server.key\", ca = \"client.pem\" }";
    let scene = Scene::start(tls);
    let file = scene.path("carnet.toml");
    let (certificate, key) = (scene.path("client.pem"), scene.path("client.key"));
    let shown = ["--certificate", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let output = top(&[&["-c", file.to_str().unwrap()], &shown[..]].concat());
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(top(&["-c", file.to_str().unwrap()]).status.code(), Some(1), "nobody is let in without");
}

/// The program on a terminal, in a shell that says afterwards how the terminal is.
struct Terminal {
    script: Child,
    seen: String,
}

struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Terminal {
    /// `None` where there is no `script`.
    fn open(url: &str) -> Option<Self> {
        let command = format!(
            "stty rows 24 cols 80; echo shell=$$; {CARNET} top --node {url}; echo status=$?; stty -a"
        );
        let child = Command::new("script")
            .args(["-q", "-e", "-c", &command, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        match child {
            Ok(child) => Some(Self { script: Child(child), seen: String::new() }),
            Err(error) => {
                assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "script: {error}");
                eprintln!("skipped: script: {error}");
                None
            }
        }
    }

    fn until(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(what) {
            let mut more = [0; 4096];
            let length = match self.script.0.stdout.as_mut().unwrap().read(&mut more) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.unwrap(),
            };
            assert!(length > 0 && Instant::now() < deadline, "`{what}` did not come: {:?}", self.seen);
            self.seen += &String::from_utf8_lossy(&more[..length]);
        }
    }

    fn is_given_back(&mut self) {
        self.until("status=");
        self.until(" icanon");
        self.until(" echo ");
        assert!(self.seen.contains("\u{1b}[?1049l"), "the other screen is left: {:?}", self.seen);
        assert!(!self.seen.contains("-icanon"), "{}", self.seen);
    }
}

#[test]
fn the_terminal_is_given_back() {
    let scene = Scene::start("");
    let url = format!("http://{}", scene.admin);
    let Some(mut terminal) = Terminal::open(&url) else { return };
    terminal.until("\u{1b}[?1049h");
    // What changes on the screen comes in pieces: this is one.
    terminal.until("0.1.0");
    assert!(terminal.seen.contains("\u{1b}[38;5;2"), "there is no colour: {:?}", terminal.seen);
    terminal.script.0.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    terminal.is_given_back();
    assert!(terminal.seen.contains("status=0"), "{:?}", terminal.seen);

    // A signal from elsewhere.
    let Some(mut terminal) = Terminal::open(&url) else { return };
    terminal.until("0.1.0");
    let shell = terminal.seen.split("shell=").nth(1).unwrap().lines().next().unwrap().trim().to_owned();
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
    let stopped = Command::new("kill").args(["-TERM", children.trim()]).status().unwrap();
    assert!(stopped.success());
    terminal.is_given_back();
}
