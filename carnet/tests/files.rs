//! Files from one `carnet ue` to another, as processes: what they need, what they say, how they end.
//!
//! In clear and without a network in between, so that nothing but the two programs is looked at.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time for the slow build of the tests on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client that is gone when the test is.
struct Ue {
    child: Child,
    said: PathBuf,
    complained: PathBuf,
}

impl Drop for Ue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ue {
    fn start(directory: &Path, name: &str, listen: SocketAddr, proxy: SocketAddr, action: &[&str]) -> Self {
        let file = |what: &str| directory.join(format!("{name}.{what}"));
        let (said, complained) = (file("out"), file("err"));
        let child = Command::new(env!("CARGO_BIN_EXE_carnet"))
            .args(["ue", "--user", &format!("sip:{name}@example.com"), "--no-register", "--allow-clear"])
            .args(["--listen", &listen.to_string(), "--proxy", &format!("sip:{proxy};transport=tcp")])
            .args(action)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&said).unwrap())
            .stderr(std::fs::File::create(&complained).unwrap())
            .spawn()
            .unwrap();
        Self { child, said, complained }
    }

    fn ends(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.words());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn words(&self) -> String {
        [&self.said, &self.complained].map(|path| std::fs::read_to_string(path).unwrap()).concat()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Most memory it ever had besides the program itself, in KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        field("VmHWM:").saturating_sub(field("RssFile:"))
    }
}

struct Stage {
    directory: tempfile::TempDir,
    alice: SocketAddr,
    bob: SocketAddr,
}

impl Stage {
    fn new() -> Self {
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { directory: tempfile::tempdir().unwrap(), alice: port(), bob: port() }
    }

    fn inbox(&self) -> PathBuf {
        self.directory.path().join("inbox")
    }

    /// A file of nothing but zeros, which takes no room on the disk.
    fn file(&self, size: u64) -> PathBuf {
        let path = self.directory.path().join("big.bin");
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    fn receive(&self) -> Ue {
        let inbox = self.inbox();
        let action = ["receive", "--dir", inbox.to_str().unwrap(), "--count", "1"];
        let bob = Ue::start(self.directory.path(), "bob", self.bob, self.alice, &action);
        let begun = Instant::now();
        while std::net::TcpStream::connect(self.bob).is_err() {
            assert!(begun.elapsed() < PATIENCE, "{}", bob.words());
            std::thread::sleep(Duration::from_millis(20));
        }
        bob
    }

    fn send(&self, file: &Path) -> Ue {
        let action = ["send", "sip:bob@example.com", file.to_str().unwrap()];
        Ue::start(self.directory.path(), "alice", self.alice, self.bob, &action)
    }

    /// Waits until so many octets are in the temporary file.
    fn wait_for_part(&self, octets: u64, ue: &Ue) {
        let begun = Instant::now();
        while self.part() < octets {
            assert!(begun.elapsed() < PATIENCE, "{} octets: {}", self.part(), ue.words());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn part(&self) -> u64 {
        let entries = std::fs::read_dir(self.inbox()).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
    }
}

/// `docs/performance.md` says 32 MiB for a file of any size, with the program itself. That is most of it, and
/// more in a build for tests: here it is not counted.
const MEMORY: u64 = 16 << 10;

#[test]
fn a_large_file_needs_little_memory_and_a_reader_that_stops_stops_the_writer() {
    let (stage, size) = (Stage::new(), 192 << 20);
    let file = stage.file(size);
    let (mut bob, mut alice) = (stage.receive(), stage.send(&file));
    stage.wait_for_part(1 << 20, &alice);
    bob.signal("STOP");
    // Everything that can hold octets on the way is full long before this is over.
    std::thread::sleep(Duration::from_secs(3));
    let part = stage.part();
    assert!(part < size, "the file was too small for this");
    assert!(alice.peak() < MEMORY, "{} KiB while nobody reads", alice.peak());
    assert!(alice.child.try_wait().unwrap().is_none());
    bob.signal("CONT");
    stage.wait_for_part(size - (8 << 20), &alice);
    let (sender, receiver) = (alice.peak(), bob.peak());
    assert!(sender < MEMORY && receiver < MEMORY, "{sender} and {receiver} KiB");
    assert_eq!((alice.ends(), bob.ends()), (Some(0), Some(0)), "{}{}", alice.words(), bob.words());
    assert_eq!(stage.inbox().join("big.bin").metadata().unwrap().len(), size);
}

#[test]
fn a_file_that_breaks_off_ends_with_a_reason_and_goes_on_when_it_is_sent_again() {
    let (stage, size) = (Stage::new(), 192 << 20);
    let file = stage.file(size);
    let (mut bob, mut alice) = (stage.receive(), stage.send(&file));
    stage.wait_for_part(4 << 20, &alice);
    alice.child.kill().unwrap();
    assert_eq!(bob.ends(), Some(1), "{}", bob.words());
    let words = bob.words();
    assert!(words.contains(&format!(" of {size} octets of the file; they are kept")), "{words}");
    let kept = stage.part();
    assert!(kept >= 4 << 20);
    let (mut bob, mut alice) = (stage.receive(), stage.send(&file));
    assert_eq!((alice.ends(), bob.ends()), (Some(0), Some(0)), "{}{}", alice.words(), bob.words());
    assert_eq!(stage.inbox().join("big.bin").metadata().unwrap().len(), size);
    assert_eq!(std::fs::read_dir(stage.inbox()).unwrap().count(), 1, "nothing temporary is left");
}

#[test]
fn what_cannot_be_sent_is_a_failure_with_a_sentence() {
    let stage = Stage::new();
    let directory = stage.directory.path().to_owned();
    for (path, said) in [(directory.join("none"), "No such file"), (directory, "directory")] {
        let mut alice = stage.send(&path);
        assert_eq!(alice.ends(), Some(2));
        assert!(alice.words().contains(said), "{}", alice.words());
    }
}
