//! A key server as a process, clients as processes, and the other side of a call played by hand.

#![allow(dead_code, missing_docs)] // Each test takes what it needs.

use carnet_mikey::{Identity, Psk};
use carnet_wire::hex;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A process whose output lines can be waited for; killed when it goes.
pub struct Running {
    pub child: Child,
    pub stdin: ChildStdin,
    pub lines: Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (send, lines) = channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for reader in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
            let send = send.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    let _ = send.send(line);
                }
            });
        }
        Self { stdin: child.stdin.take().unwrap(), child, lines }
    }

    /// The next line that holds this.
    pub fn line(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return line;
            }
            seen.push(line);
        }
        panic!("`{text}` did not come after {seen:#?}");
    }

    /// All that is written until the end.
    pub fn rest(&mut self) -> String {
        let mut all = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            all += &(line + "\n");
        }
        self.child.wait().unwrap();
        all
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A key server that knows alice and bob at x.example.
pub struct Kms {
    directory: tempfile::TempDir,
    _process: Running,
    pub address: SocketAddr,
}

impl Kms {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kms.toml");
        let address = free();
        let text = format!("[kms]\nname = \"kms.example\"\nlisten = \"{address}\"\ndata = \"data\"\n");
        std::fs::write(&file, text).unwrap();
        for user in ["alice", "bob"] {
            let added = Command::new(CARNET)
                .args(["kms", "user", "add", &format!("sip:{user}@x.example"), "-c"])
                .arg(&file)
                .arg("--out")
                .arg(directory.path().join(format!("{user}.psk")))
                .output()
                .unwrap();
            assert!(added.status.success(), "{added:?}");
        }
        let process = Running::start(Command::new(CARNET).arg("run").arg("-c").arg(&file));
        process.line("ready");
        Self { directory, _process: process, address }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The key that a user shares with it.
    pub fn psk(&self, user: &str) -> Psk {
        let text = std::fs::read_to_string(self.path(&format!("{user}.psk"))).unwrap();
        Psk::new(&hex::decode(text.trim().as_bytes()).unwrap()).unwrap()
    }

    /// Starts `carnet ue` for a user who does not register; `more` are further settings.
    pub fn client(&self, user: &str, more: &str, action: &[&str]) -> Running {
        let settings = format!(
            "[ue]\nidentity = \"sip:{user}@x.example\"\nno-register = true\nkms = \"http://{}\"\n\
             kms-identity = \"sip:kms.example\"\nkms-key-file = \"{user}.psk\"\n{more}",
            self.address
        );
        let file = self.path(&format!("{user}.toml"));
        std::fs::write(&file, settings).unwrap();
        Running::start(Command::new(CARNET).args(["ue", "--json", "-c"]).arg(&file).args(action))
    }

    /// The same for a user who registers.
    pub fn registered(&self, user: &str, more: &str, action: &[&str]) -> Running {
        let settings = format!(
            "[ue]\nidentity = \"sip:{user}@x.example\"\nkms = \"http://{}\"\n\
             kms-identity = \"sip:kms.example\"\nkms-key-file = \"{user}.psk\"\n{more}",
            self.address
        );
        let file = self.path(&format!("{user}.toml"));
        std::fs::write(&file, settings).unwrap();
        Running::start(Command::new(CARNET).args(["ue", "--json", "-c"]).arg(&file).args(action))
    }

    /// Posts a message; the answer must come with status 200.
    pub fn ask(&self, request_type: &str, octets: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = format!(
            "POST /keymanagement?requesttype={request_type} HTTP/1.1\r\nHost: kms\r\nConnection: close\r\n\
             Content-Type: application/mikey\r\nContent-Length: {}\r\n\r\n",
            octets.len()
        );
        stream.write_all(&[head.as_bytes(), octets].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        answer.split_off(end)
    }
}

pub fn identity(uri: &str) -> Identity {
    Identity::from_uri(uri).unwrap()
}

/// A port that is free now and, most likely, in a moment.
pub fn free() -> SocketAddr {
    // None of those that the system gives to whoever asks: a connection might have it by the time it is used.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 8_000).unwrap();
    loop {
        let port = 12_000 + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// What follows this start of a line of a message.
pub fn line<'a>(message: &'a str, start: &str) -> &'a str {
    message
        .lines()
        .find_map(|line| line.strip_prefix(start))
        .unwrap_or_else(|| panic!("no {start}"))
        .trim_end()
}

/// The next SIP message of a connection, and no octet of the one behind it.
pub fn message(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    while !octets.ends_with(b"\r\n\r\n") {
        let mut one = [0];
        stream.read_exact(&mut one).unwrap_or_else(|e| {
            panic!("{e} after {}", String::from_utf8_lossy(&octets));
        });
        octets.push(one[0]);
    }
    let head = String::from_utf8(octets).unwrap();
    let mut body = vec![0; line(&head, "Content-Length: ").parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}
