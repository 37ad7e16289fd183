//! A service as a process with a directory of its own, and what is asked of it.

use crate::http::Answer;
use carnet_mikey::{GrantedTicket, Identity, Message, PendingRequest, Profile, Psk, Received, request_init};
use carnet_net::OsRandom;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant, SystemTime};

/// Time for a process to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub const REQUEST: &str = "/keymanagement?requesttype=ticketrequest";
pub const RESOLVE: &str = "/keymanagement?requesttype=ticketresolve";

/// Callees need no account, so that each ticket can be told from the others by whom it is for.
pub const STRANGERS: &str = "issue-to-strangers = true";

/// A key management service.
pub struct Service {
    directory: PathBuf,
    pub address: SocketAddr,
    process: Option<Child>,
}

impl Service {
    /// One whose data is in `data`, with alice and bob; not running yet.
    pub fn new(directory: &Path, data: &Path, more: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = format!(
            "[kms]\nname = \"kms.example\"\nlisten = \"{port}\"\ndata = \"{}\"\nrate = 1000000\n\
             {more}\n",
            data.display()
        );
        std::fs::write(directory.join("kms.toml"), text).unwrap();
        let service = Self { directory: directory.to_owned(), address: port, process: None };
        std::fs::write(
            directory.join("users"),
            format!(
                "alice sip:alice@x.example {}\nbob sip:bob@x.example {}\n",
                "01".repeat(32),
                "02".repeat(32)
            ),
        )
        .unwrap();
        let added = service.admin(&["user", "import", "users"]);
        assert!(added.status.success(), "{added:?}");
        service
    }

    /// Starts it and waits until it is ready.
    pub fn start(&mut self) {
        let file = |name: &str| {
            let path = self.directory.join(name);
            std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap()
        };
        let child = Command::new(env!("CARGO_BIN_EXE_carnet"))
            .args(["run", "-c", "kms.toml"])
            .current_dir(&self.directory)
            .stdout(std::fs::File::create(self.directory.join("out")).unwrap())
            .stderr(file("log"))
            .spawn()
            .unwrap();
        self.process = Some(child);
        let began = Instant::now();
        // It listens before it is ready, and what was written before it was is a replay to it.
        while !std::fs::read_to_string(self.directory.join("out")).unwrap().contains("ready") {
            assert!(began.elapsed() < PATIENCE, "it never came up: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL, without waiting for the end.
    pub fn signal_kill(&self) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// What it has said since it was made.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// `carnet kms -c kms.toml ARGUMENTS`.
    pub fn admin(&self, arguments: &[&str]) -> Output {
        self.admin_command(arguments).output().unwrap()
    }

    pub fn admin_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carnet"));
        command.args(["kms", "-c", "kms.toml"]).args(arguments).current_dir(&self.directory);
        command
    }

    /// The audit trail.
    pub fn trail(&self) -> Vec<serde_json::Value> {
        let mut records: Vec<serde_json::Value> = Vec::new();
        loop {
            let from = (records.len() + 1).to_string();
            let output = self.admin(&["audit", "--json", "--from", &from, "--most", "50000"]);
            assert!(output.status.success(), "{output:?}");
            let page = json_lines(&output);
            if page.is_empty() {
                return records;
            }
            records.extend(page);
        }
    }

    /// Whom the trail says tickets were issued for.
    pub fn issued_for(&self) -> std::collections::BTreeSet<String> {
        let trail = self.trail();
        let issued = trail.iter().filter(|r| r["deed"] == "issued");
        issued.map(|r| r["responders"][0].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One value a line.
pub fn json_lines(output: &Output) -> Vec<serde_json::Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn id(text: &str) -> Identity {
    Identity::from_uri(text).unwrap()
}

/// Alice's request for a ticket to `callee`.
pub fn request(callee: &str) -> (PendingRequest, Vec<u8>) {
    let psk = Psk::new(&[1; 32]).unwrap();
    let (alice, kms) = (id("sip:alice@x.example"), id("sip:kms.example"));
    let profile = Profile::default();
    request_init(&profile, SystemTime::now(), &mut OsRandom, &alice, b"alice", &psk, &kms, &id(callee))
}

/// Bob's question for the keys of a ticket.
pub fn resolve(ticket: &GrantedTicket) -> Vec<u8> {
    let (profile, wall) = (Profile::default(), SystemTime::now());
    let (_, offer) = ticket.offer(&profile, wall, &mut OsRandom);
    let received = Received::parse(&profile, wall, &offer).unwrap();
    let psk = Psk::new(&[2; 32]).unwrap();
    let (bob, kms) = (id("sip:bob@x.example"), id("sip:kms.example"));
    received.resolve_init(wall, &mut OsRandom, &bob, b"bob", &psk, &kms).1
}

/// The number of the MIKEY error in an answer.
pub fn mikey_error(answer: &Answer) -> Option<u8> {
    Message::parse(&answer.body, &carnet_mikey::Limits::default()).ok()?.error()
}
