//! Hosts and networks made of namespaces, for tests that put each role on a host of its own.
//!
//! A network is a bridge in a namespace of its own, a host a namespace with one veth pair per
//! network it is on. Dropping the [`Lab`] kills every process and deletes every namespace. Needs
//! root: [`Lab::new`] returns `None` without it and says so, unless `CARNET_REQUIRE_ROOT` is set.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Some hosts on some networks.
pub struct Lab {
    tag: String,
    directory: tempfile::TempDir,
    networks: BTreeMap<String, String>,
    hosts: BTreeMap<String, String>,
    links: u32,
    processes: Vec<Process>,
}

impl Lab {
    /// An empty lab, or `None` with a word on standard error where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0");
        let tag = format!("cn{:x}{}", std::process::id() & 0xffff, COUNT.fetch_add(1, Ordering::Relaxed));
        let works = root && ip(&["netns", "add", &format!("{tag}x")]);
        if !works {
            assert!(
                std::env::var_os("CARNET_REQUIRE_ROOT").is_none(),
                "network namespaces are required here"
            );
            eprintln!("skipped: network namespaces need root and iproute2");
            return None;
        }
        ip(&["netns", "del", &format!("{tag}x")]);
        let directory = tempfile::tempdir().expect("a temporary directory");
        Some(Self {
            tag,
            directory,
            networks: BTreeMap::new(),
            hosts: BTreeMap::new(),
            links: 0,
            processes: Vec::new(),
        })
    }

    /// Where configuration files, logs and captures of this lab are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Adds a network.
    pub fn network(&mut self, name: &str) {
        let namespace = format!("{}n{}", self.tag, self.networks.len());
        must(&["netns", "add", &namespace]);
        must(&["-n", &namespace, "link", "add", "br0", "type", "bridge"]);
        must(&["-n", &namespace, "link", "set", "br0", "up"]);
        self.networks.insert(name.into(), namespace);
    }

    /// Makes a host that is on no network, if it is new.
    pub fn host(&mut self, host: &str) {
        if self.hosts.contains_key(host) {
            return;
        }
        let namespace = format!("{}h{}", self.tag, self.hosts.len());
        must(&["netns", "add", &namespace]);
        must(&["-n", &namespace, "link", "set", "lo", "up"]);
        // IPv6 addresses are usable at once, without waiting for duplicate detection.
        let off = "net.ipv6.conf.default.accept_dad=0";
        let _ = Command::new("ip").args(["netns", "exec", &namespace, "sysctl", "-qw", off]).status();
        self.hosts.insert(host.into(), namespace);
    }

    /// Puts a host on a network with an address such as `192.0.2.1/24`; makes the host if it is new.
    pub fn join(&mut self, host: &str, network: &str, address: &str) {
        self.host(host);
        let (bridge, host) = (&self.networks[network], &self.hosts[host]);
        let device = format!("e-{network}");
        let device = &device[..device.len().min(15)];
        if !Command::new("ip")
            .args(["-n", host, "link", "show", device])
            .output()
            .is_ok_and(|o| o.status.success())
        {
            self.links += 1;
            let port = format!("p{}", self.links);
            must(&[
                "-n", bridge, "link", "add", &port, "type", "veth", "peer", "name", device, "netns", host,
            ]);
            must(&["-n", bridge, "link", "set", &port, "master", "br0", "up"]);
            must(&["-n", host, "link", "set", device, "up"]);
        }
        let mut add = vec!["-n", host, "addr", "add", address, "dev", device];
        if address.contains(':') {
            add.push("nodad");
        }
        must(&add);
    }

    /// Writes a file into the lab's directory.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory().join(name);
        std::fs::write(&path, text).expect("a file in the lab");
        path
    }

    /// Replaces text in a file of the lab; a file that does not hold it fails the test.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.directory().join(name)).expect("a file of the lab");
        assert!(text.contains(from), "{name} has no {from}:\n{text}");
        self.file(name, &text.replace(from, to));
    }

    /// A command that will run on `host`, with the lab's directory as its own.
    pub fn command(&self, host: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hosts[host], program]).current_dir(self.directory());
        command
    }

    /// What a thread of the test does to be on `host`: the sockets it then makes are that host's.
    pub fn door(&self, host: &str) -> impl FnOnce() + Send + use<> {
        let path = Path::new("/run/netns").join(&self.hosts[host]);
        move || {
            let namespace = File::open(&path).expect("the host's namespace");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("leave to enter the namespace");
        }
    }

    /// Does something on `host`, as [`Lab::door`] says.
    pub fn inside<T: Send>(&self, host: &str, act: impl FnOnce() -> T + Send) -> T {
        let enter = self.door(host);
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                enter();
                act()
            });
            there.join().expect("it does not panic")
        })
    }

    /// Starts `command` with its output in `NAME.out` and `NAME.err`; killed with the lab.
    pub fn start(&mut self, name: &str, mut command: Command) -> usize {
        let open =
            |end: &str| File::create(self.directory().join(format!("{name}.{end}"))).expect("a log file");
        let child = command
            .stdin(Stdio::piped())
            .stdout(open("out"))
            .stderr(open("err"))
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        self.processes.push(Process { name: name.into(), child });
        self.processes.len() - 1
    }

    /// A started process.
    pub fn process(&mut self, index: usize) -> &mut Process {
        &mut self.processes[index]
    }

    /// The last process started under a name.
    pub fn named(&self, name: &str) -> usize {
        self.processes.iter().rposition(|p| p.name == name).unwrap_or_else(|| panic!("no process {name}"))
    }

    /// Waits until something holds; shows all outputs if it never does.
    pub fn until(&self, limit: Duration, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            if start.elapsed() > limit {
                self.show();
                panic!("waited in vain: {what}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a process has written to standard output (`out`) or standard error (`err`).
    pub fn output(&self, name: &str, end: &str) -> String {
        let octets = std::fs::read(self.directory().join(format!("{name}.{end}"))).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Waits until the output of a process contains `text`; shows all outputs if it never does.
    pub fn wait_for(&self, name: &str, end: &str, text: &str, limit: Duration) {
        let start = Instant::now();
        while !self.output(name, end).contains(text) {
            if start.elapsed() > limit {
                self.show();
                panic!("`{text}` never appeared in {name}.{end}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything every process has said, on standard error.
    pub fn show(&self) {
        for process in &self.processes {
            for end in ["out", "err"] {
                let text = self.output(&process.name, end);
                let tail: Vec<_> = text.lines().rev().take(40).collect();
                eprintln!("--- {}.{end}", process.name);
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }

    /// Starts a capture of everything `host` sends and receives on `network`.
    pub fn capture(&mut self, host: &str, network: &str) -> PathBuf {
        let path = self.directory().join(format!("{host}-{network}.pcap"));
        let device = format!("e-{network}");
        let mut command = self.command(host, "tcpdump");
        command
            .args([
                "-U",
                "--immediate-mode",
                "-s0",
                "-B",
                "16384",
                "-i",
                &device[..device.len().min(15)],
                "-w",
            ])
            .arg(&path);
        let name = format!("tcpdump-{host}-{network}");
        self.start(&name, command);
        self.wait_for(&name, "err", "listening on", Duration::from_secs(10));
        path
    }

    /// Ends all captures, so that their files are complete.
    pub fn end_captures(&mut self) {
        for process in self.processes.iter_mut().filter(|p| p.name.starts_with("tcpdump-")) {
            process.signal("INT");
            let _ = process.child.wait();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        // Programs of others have children of their own.
        for namespace in self.hosts.values() {
            let left = Command::new("ip").args(["netns", "pids", namespace]).output();
            let left = left.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            for process in left.unwrap_or_default().split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", process]).status();
            }
        }
        for namespace in self.hosts.values().chain(self.networks.values()) {
            ip(&["netns", "del", namespace]);
        }
    }
}

/// A process on a host.
pub struct Process {
    name: String,
    /// The process; its standard input is open.
    pub child: Child,
}

impl Process {
    /// Sends a signal by name (`INT`, `TERM`, `KILL`).
    pub fn signal(&self, name: &str) {
        // `ip netns exec` replaces itself by the program, so the child is the program.
        let _ = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, line: &str) {
        use std::io::Write as _;
        let stdin = self.child.stdin.as_mut().expect("an open standard input");
        writeln!(stdin, "{line}").expect("a reader");
        stdin.flush().expect("a reader");
    }

    /// Waits for the end; the exit code, or `None` when it took longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status.code().unwrap_or(-1));
            }
            if start.elapsed() > limit {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs tshark over a capture: the `fields` of every packet that passes `filter`.
pub fn tshark(capture: &Path, filter: &str, fields: &[&str], options: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", filter, "-T", "fields", "-E", "separator=/t"]).args(options);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark runs");
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn must(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("iproute2");
    assert!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
}
