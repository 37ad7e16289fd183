//! `carnet run` as a service manager sees it: sockets that it opened before, the watchdog, how long the end takes, and what others may
//! see of the process. The manager is played by hand here; `tests/packaging` has systemd itself.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use common::{PATIENCE, Running};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");

/// Opens sockets, says where, waits for a line, and becomes the program with them: what systemd does.
const ACTIVATE: &str = r#"
import os, socket, sys
kinds, program = sys.argv[1].split(","), sys.argv[2:]
opened, places = [], []
for kind in kinds:
    if kind == "unix":
        s = socket.socket(socket.AF_UNIX); s.bind(""); s.listen()
    elif kind == "dual":
        s = socket.socket(socket.AF_INET6); s.setsockopt(41, 26, 0); s.bind(("::", 0)); s.listen()
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        s.bind(("127.0.0.1", 0))
        if kind == "tcp": s.listen(16)
    opened.append(s)
    places.append("-" if kind == "unix" else str(s.getsockname()[1]))
print("opened", *places, flush=True)
sys.stdin.readline()
copies = [os.dup(s.fileno()) for s in opened]
copies = [os.dup2(os.dup(c), 100 + i) for i, c in enumerate(copies)]
for i in range(len(copies)): os.dup2(100 + i, 3 + i, inheritable=True)
os.closerange(3 + len(copies), 256)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(copies)))
os.execv(program[0], program)
"#;

/// A process that is about to become the program, with sockets at these ports.
fn activated(kinds: &str, config: &Path) -> (Running, Vec<u16>) {
    let mut python = Command::new("python3");
    python.args(["-c", ACTIVATE, kinds, CARNET, "run", "-c"]).arg(config);
    let process = Running::start(&mut python);
    let opened = process.line("opened");
    (process, opened.split(' ').skip(1).map(|port| port.parse().unwrap_or(0)).collect())
}

const BORDER: &str = r#"
[border.b]
role = "ims-alg"
domain = "a.example"
registrar = { mode = "built-in", users = "users.toml" }
control = { gateways = ["g"] }
[border.b.network.access]
listen = ["udp:127.0.0.1:UDP", "tcp:127.0.0.1:TCP"]
subscribers = true
[border.b.network.core]
listen = ["tcp:127.0.0.1:CORE"]
[gateway.g]
role = "ims-agw"
controllers = ["local:b"]
[gateway.g.realm.access]
v4 = "127.0.0.1"
ports = "46000-46049"
[gateway.g.realm.core]
v4 = "127.0.0.1"
ports = "46050-46099"
"#;

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("users.toml"), "alice = \"secret\"\n").unwrap();
    directory
}

/// A port of this host that nobody has.
fn free() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn border(udp: u16, tcp: u16, core: u16) -> String {
    let text = BORDER.replace("UDP", &udp.to_string()).replace("TCP", &tcp.to_string());
    text.replace("CORE", &core.to_string())
}

/// Who calls before the program runs is answered once it does: it took the sockets that were there.
#[test]
fn callers_wait_at_sockets_that_were_opened_before_the_start() {
    let directory = directory();
    let config = directory.path().join("node.toml");
    let (mut process, ports) = activated("tcp,udp,tcp,tcp", &config);
    let [admin, udp, tcp, kms] = ports[..] else { panic!("{ports:?}") };
    // Calls come before there is anybody.
    let mut health = TcpStream::connect(("127.0.0.1", admin)).unwrap();
    health.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let options = |transport: &str, port: u16, from: u16| {
        format!(
            "OPTIONS sip:a.example SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:{from};branch=z9hG4bK{port}\r\nMax-Forwards: 70\r\n\
             From: <sip:x@a.example>;tag=1\r\nTo: <sip:a.example>\r\nCall-ID: {port}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = datagrams.local_addr().unwrap().port();
    datagrams.send_to(options("UDP", udp, from).as_bytes(), ("127.0.0.1", udp)).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", tcp)).unwrap();
    let from = stream.local_addr().unwrap().port();
    stream.write_all(options("TCP", tcp, from).as_bytes()).unwrap();
    let mut ticket = TcpStream::connect(("127.0.0.1", kms)).unwrap();
    ticket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();

    let text = format!(
        "{}[kms]\nname = \"kms.example\"\nlisten = \"127.0.0.1:{kms}\"\ndata = \"kms\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n",
        border(udp, tcp, free())
    );
    std::fs::write(&config, text).unwrap();
    process.stdin.write_all(b"go\n").unwrap();
    process.line("ready");

    let mut answer = String::new();
    health.set_read_timeout(Some(PATIENCE)).unwrap();
    health.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("well\n"), "{answer}");
    let mut octets = [0; 2048];
    datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
    let n = datagrams.recv(&mut octets).unwrap();
    assert!(octets[..n].starts_with(b"SIP/2.0 "), "{}", String::from_utf8_lossy(&octets[..n]));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let n = stream.read(&mut octets).unwrap();
    assert!(octets[..n].starts_with(b"SIP/2.0 "), "{}", String::from_utf8_lossy(&octets[..n]));
    answer.clear();
    ticket.set_read_timeout(Some(PATIENCE)).unwrap();
    ticket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

/// A socket that nobody takes would let callers wait for ever: the program says which, and does not start.
#[test]
fn a_socket_that_no_section_names_is_a_mistake() {
    let directory = directory();
    let config = directory.path().join("node.toml");
    let (mut process, ports) = activated("tcp,udp", &config);
    let text = format!("{}[admin]\nlisten = \"127.0.0.1:{}\"\n", border(free(), free(), free()), ports[0]);
    std::fs::write(&config, text).unwrap();
    process.stdin.write_all(b"go\n").unwrap();
    let said = process.rest();
    let wanted = format!("`udp:127.0.0.1:{} (descriptor 4)` is named by no section", ports[1]);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(&wanted) || said.contains(&wanted.replace("` is", "`: is")), "{said}");
    assert_eq!(process.child.wait().unwrap().code(), Some(1));
}

/// What cannot serve as one of our sockets is refused with its number and the reason.
#[test]
fn sockets_that_cannot_be_used_are_named() {
    for (kinds, why) in [
        ("tcp,unix", "descriptor 4, which came with the start, is neither a TCP socket nor a UDP socket"),
        ("bound", "descriptor 3, which came with the start, does not listen at 127.0.0.1:"),
        ("dual", "descriptor 3, which came with the start, takes IPv4 at [::]:"),
    ] {
        let directory = directory();
        let config = directory.path().join("node.toml");
        std::fs::write(&config, border(free(), free(), free())).unwrap();
        let (mut process, _) = activated(kinds, &config);
        process.stdin.write_all(b"go\n").unwrap();
        let said = process.rest();
        assert!(said.contains(why), "{kinds}: {said}");
        assert_eq!(process.child.wait().unwrap().code(), Some(1));
    }
}

/// Variables that are meant for another process, or were left by one, are not for us.
#[test]
fn sockets_of_other_processes_are_left_alone() {
    let directory = directory();
    let config = directory.path().join("node.toml");
    std::fs::write(&config, border(free(), free(), free())).unwrap();
    for (name, pid) in [("LISTEN_PID", "1"), ("LISTEN_NOBODY", "")] {
        let mut command = Command::new(CARNET);
        command.args(["run", "-c"]).arg(&config).env("LISTEN_FDS", "1").env(name, pid);
        Running::start(&mut command).line("ready");
    }
}

/// The stand-in for systemd at the other end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram, tempfile::TempDir);

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self(socket, directory)
    }

    fn path(&self) -> std::path::PathBuf {
        self.1.path().join("notify")
    }

    /// The next thing that is told within that time.
    fn told(&self, within: Duration) -> Option<String> {
        let until = Instant::now() + within;
        let mut octets = [0; 512];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.0.set_read_timeout(Some(left)).unwrap();
            match self.0.recv(&mut octets) {
                Ok(n) => return Some(String::from_utf8_lossy(&octets[..n]).into_owned()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Waits for this.
    fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while let Some(told) = self.told(until.saturating_duration_since(Instant::now())) {
            if told.contains(text) {
                return told;
            }
        }
        panic!("{text} was not told");
    }
}

/// Stops one thread of a process, and lets it go when a line comes.
const HOLD: &str = r#"
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
tid = int(sys.argv[1])
if ptrace(16, tid, None, None) != 0: sys.exit("refused: " + os.strerror(ctypes.get_errno()))
os.waitpid(tid, 0x40000000)
print("held", flush=True)
sys.stdin.readline()
ptrace(17, tid, None, None)
"#;

/// The thread of a process that has this name.
fn thread(process: u32, name: &str) -> String {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut named = threads.map(|thread| thread.unwrap().path());
    let found = named.find(|path| std::fs::read_to_string(path.join("comm")).unwrap().trim() == name);
    found.unwrap_or_else(|| panic!("no thread {name}")).file_name().unwrap().to_string_lossy().into_owned()
}

/// Whichever thread is stuck, be it one that serves signalling, media or the relay: the watchdog is not fed until it goes on, and
/// `carnet health` says who it is.
#[test]
fn the_watchdog_is_fed_only_while_every_role_turns() {
    let (manager, directory) = (Manager::new(), directory());
    let config = directory.path().join("node.toml");
    let relay = format!(
        "[gateway.g.relay]\nlisten = [\"tcp:127.0.0.1:{}\"]\ndomain = \"a.example\"\nusers = \"users.toml\"\n\
         [kms]\nname = \"kms.example\"\nlisten = \"127.0.0.1:{}\"\ndata = \"kms\"\n\
         [admin]\nlisten = \"127.0.0.1:{}\"\n",
        free(),
        free(),
        free()
    );
    std::fs::write(&config, border(free(), free(), free()) + &relay).unwrap();
    let limit = Duration::from_secs(2);
    let mut command = Command::new(CARNET);
    // Without the right to dumps only root could hold a thread of it.
    command.args(["run", "--core-dumps", "-c"]).arg(&config).env("NOTIFY_SOCKET", manager.path());
    command.env("WATCHDOG_USEC", limit.as_micros().to_string());
    let process = Running::start(&mut command);
    manager.wait_for("READY=1");
    let health = || Command::new(CARNET).args(["health", "-c"]).arg(&config).output().unwrap();
    for (name, role) in [
        ("carnet-b", "border `b`: it does not answer, gateway `g`: it does not answer"),
        ("carnet-media-0", "gateway `g`: its media engine does not turn"),
        ("carnet-relay", "relay of `g`: a thread of it does not turn"),
    ] {
        (0..3).for_each(|_| drop(manager.wait_for("WATCHDOG=1")));
        let mut python = Command::new("python3");
        python.args(["-c", HOLD, &thread(process.child.id(), name)]);
        let mut held = Running::start(&mut python);
        held.line("held");
        process.line(&format!(
            "no sign of life; the service manager ends the process unless one comes stuck=\"{role}"
        ));
        while manager.told(Duration::from_millis(1)).is_some() {}
        assert_eq!(manager.told(limit * 2), None, "{name}");
        // Where there is no systemd the same is told over HTTP.
        let output = health();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("answers 503: {role}")), "{said}");
        held.stdin.write_all(b"go\n").unwrap();
        manager.wait_for("WATCHDOG=1");
        let until = Instant::now() + PATIENCE;
        while !health().status.success() {
            assert!(Instant::now() < until, "{name} is well again");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    assert!(health().stdout.ends_with(b": well\n"));
    drop(process);
    assert_eq!(health().status.code(), Some(1), "nobody answers");
}

/// The manager is told how long the end may take, or it would lose patience with calls that were promised that time.
#[test]
fn the_end_may_take_as_long_as_calls_get() {
    let (manager, directory) = (Manager::new(), directory());
    let config = directory.path().join("node.toml");
    std::fs::write(&config, border(free(), free(), free())).unwrap();
    let mut command = Command::new(CARNET);
    command.args(["run", "--grace", "7200", "-c"]).arg(&config).env("NOTIFY_SOCKET", manager.path());
    let mut process = Running::start(&mut command);
    manager.wait_for("READY=1");
    Command::new("kill").arg(process.child.id().to_string()).status().unwrap();
    let told = manager.wait_for("STOPPING=1");
    assert!(told.contains("EXTEND_TIMEOUT_USEC=7210000000"), "{told}");
    process.rest();
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
}

/// No core dump, and nothing in `/proc` for others of the same user, unless that is asked for.
#[test]
fn memory_with_keys_is_not_for_others() {
    let directory = directory();
    let config = directory.path().join("node.toml");
    std::fs::write(&config, border(free(), free(), free())).unwrap();
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(std::env::var_os("CARNET_REQUIRE_ROOT").is_none(), "root is required here");
        eprintln!(
            "skipped in part: who owns the process in /proc is seen when root starts it for somebody else"
        );
    }
    for dumps in [false, true] {
        // Somebody who is nobody can read neither the target directory nor ours.
        let program = directory.path().join("carnet");
        std::fs::copy(CARNET, &program).unwrap();
        let mut command = Command::new(if root { Path::new("setpriv") } else { &program });
        if root {
            Command::new("chmod").args(["-R", "a+rX"]).arg(directory.path()).status().unwrap();
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        }
        command.arg("run").args(dumps.then_some("--core-dumps")).arg("-c").arg(&config);
        let process = Running::start(&mut command);
        process.line("ready");
        let place = format!("/proc/{}", process.child.id());
        let limits = std::fs::read_to_string(format!("{place}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        if root {
            // The kernel makes a process that must not be dumped root's (proc(5)).
            let owner = std::fs::metadata(format!("{place}/stat")).unwrap().uid();
            assert_eq!(owner, if dumps { 65_534 } else { 0 });
        }
        if !dumps {
            assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        }
    }
}
