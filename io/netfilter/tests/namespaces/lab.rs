//! A caller, a gateway and a callee, each in a network namespace of its own. Dropping the [`Lab`] deletes them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use carnet_netfilter::{
    Change, EarlyLog, Flow, Key, Log, Opened, PutBack, Segment, Table, TableConfig, Translation,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Lab {
    tag: String,
}

/// Who is where.
pub const CALLER: &str = "c";
pub const GATEWAY: &str = "g";
pub const CALLEE: &str = "s";

impl Lab {
    /// `None`, with a word on standard error, where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        let tag = format!("nfl{:x}x{}", std::process::id() & 0xffff, COUNT.fetch_add(1, Ordering::Relaxed));
        let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.trim_ascii() == b"0");
        if !root || !ip(&["netns", "add", &format!("{tag}{GATEWAY}")]) {
            assert!(
                std::env::var_os("CARNET_REQUIRE_ROOT").is_none(),
                "network namespaces are required here"
            );
            eprintln!("skipped: network namespaces need root and iproute2");
            return None;
        }
        let lab = Self { tag };
        let gateway = lab.namespace(GATEWAY);
        must(&["-n", &gateway, "link", "set", "lo", "up"]);
        for (host, network) in [(CALLER, 1), (CALLEE, 2)] {
            let name = lab.namespace(host);
            must(&["netns", "add", &name]);
            must(&["-n", &name, "link", "set", "lo", "up"]);
            let port = format!("e{network}");
            must(&[
                "-n", &gateway, "link", "add", &port, "type", "veth", "peer", "name", "e0", "netns", &name,
            ]);
            for (namespace, device, last) in
                [(&gateway, port.as_str(), 1), (&name, "e0", 2), (&name, "e0", 3)]
            {
                must(&["-n", namespace, "addr", "add", &format!("10.{network}.0.{last}/24"), "dev", device]);
                let address = format!("fd0{network}::{last}/64");
                must(&["-n", namespace, "addr", "add", &address, "dev", device, "nodad"]);
                must(&["-n", namespace, "link", "set", device, "up"]);
            }
        }
        for line in
            ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.netfilter.nf_conntrack_acct=1"]
        {
            lab.run(GATEWAY, &["sysctl", "-qw", line]);
        }
        Some(lab)
    }

    pub fn namespace(&self, host: &str) -> String {
        format!("{}{host}", self.tag)
    }

    /// What a program prints on a host.
    pub fn run(&self, host: &str, command: &[&str]) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.namespace(host)])
            .args(command)
            .output()
            .expect("ip netns exec");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Does something in the namespace of a host: sockets stay there.
    pub fn on<T: Send>(&self, host: &str, what: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.namespace(host));
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let file = File::open(path).expect("a namespace");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
                what()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A table and its log, on the gateway.
    pub fn open(&self, log: &Log) -> Opened {
        self.on(GATEWAY, || Table::open(&config(log.group())).expect("a table"))
    }

    /// One that keeps who comes early, and where the copies come and go back.
    pub fn open_keeping(&self, log: &Log) -> (Table, EarlyLog, PutBack) {
        self.on(GATEWAY, || {
            let early = EarlyLog::open().expect("a log");
            let config = TableConfig { early_group: Some(early.group()), ..config(log.group()) };
            let table = Table::open(&config).expect("a table").table;
            (table, early, PutBack::open().expect("raw sockets"))
        })
    }

    pub fn log(&self) -> Log {
        self.on(GATEWAY, || Log::open().expect("a log"))
    }

    /// Connects from an address.
    pub fn connect(&self, host: &str, from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.connect_from(host, SocketAddr::new(from, 0), to, PATIENCE)
    }

    pub fn connect_from(
        &self,
        host: &str,
        from: SocketAddr,
        to: SocketAddr,
        within: Duration,
    ) -> std::io::Result<TcpStream> {
        self.on(host, || {
            let domain = socket2::Domain::for_address(to);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&to.into(), within)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket.into())
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in [CALLER, GATEWAY, CALLEE] {
            ip(&["netns", "del", &self.namespace(host)]);
        }
    }
}

pub fn config(log_group: u16) -> TableConfig {
    TableConfig { name: "media".to_owned(), size: 1000, log_group, early_group: None }
}

/// Addresses of one IP version.
#[derive(Debug, Clone, Copy)]
pub struct Net {
    pub v6: bool,
}

pub const BOTH: [Net; 2] = [Net { v6: false }, Net { v6: true }];

impl Net {
    fn of(self, network: u8, last: u8) -> IpAddr {
        let text = if self.v6 { format!("fd0{network}::{last}") } else { format!("10.{network}.0.{last}") };
        text.parse().expect("an address")
    }

    pub fn caller(self) -> IpAddr {
        self.of(1, 2)
    }

    /// Another one on the caller's host.
    pub fn stranger(self) -> IpAddr {
        self.of(1, 3)
    }

    pub fn local(self) -> SocketAddr {
        SocketAddr::new(self.of(1, 1), 4000)
    }

    pub fn from(self) -> SocketAddr {
        SocketAddr::new(self.of(2, 1), 5000)
    }

    pub fn to(self) -> SocketAddr {
        SocketAddr::new(self.of(2, 2), 2855)
    }

    pub fn key(self) -> Key {
        Key { source: self.caller(), local: self.local() }
    }

    pub fn translation(self) -> Translation {
        Translation { key: self.key(), from: self.from(), to: self.to() }
    }
}

/// A connection through the gateway.
pub struct Call {
    pub caller: TcpStream,
    pub callee: TcpStream,
    pub flow: Flow,
}

impl Lab {
    /// Makes the element, and a connection through it.
    pub fn call(&self, table: &mut Table, net: Net) -> Call {
        done(table, [Change::Translate(net.translation())]);
        self.call_again(net)
    }

    /// A connection through the element that is there.
    pub fn call_again(&self, net: Net) -> Call {
        let listener = self.on(CALLEE, || TcpListener::bind(net.to()).expect("a listener"));
        let caller = self.connect(CALLER, net.caller(), net.local()).expect("a connection");
        let (callee, peer) = listener.accept().expect("a caller");
        callee.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        assert_eq!(peer, net.from());
        assert_eq!(callee.local_addr().expect("an address"), net.to());
        assert_eq!(caller.peer_addr().expect("an address"), net.local());
        let flow = Flow { caller: caller.local_addr().expect("an address"), local: net.local() };
        Call { caller, callee, flow }
    }
}

impl Call {
    /// Octets pass, both ways.
    pub fn passes(&mut self) {
        passes(&mut self.caller, &mut self.callee);
        passes(&mut self.callee, &mut self.caller);
    }
}

pub fn passes(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"some octets").expect("writing");
    let mut octets = [0; 11];
    to.read_exact(&mut octets).expect("reading");
    assert_eq!(&octets, b"some octets");
}

/// Carries changes out; none may be refused.
pub fn done(table: &mut Table, changes: impl IntoIterator<Item = Change>) {
    for change in changes {
        table.push(change);
    }
    let refused = table.commit().expect("a commit");
    assert!(refused.is_empty(), "{refused:?}");
}

/// Reads the log until what is looked for has come.
pub fn until(log: &mut Log, mut found: impl FnMut(&[Segment]) -> bool) -> Vec<Segment> {
    let end = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    loop {
        assert!(!log.read(&mut |segment| all.push(segment)).expect("the log"), "some were lost");
        if found(&all) {
            return all;
        }
        assert!(Instant::now() < end, "not in the log: {all:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}

fn must(arguments: &[&str]) {
    assert!(ip(arguments), "ip {arguments:?}");
}
