//! Where it happens: three network namespaces, or loopback.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use carnet_load::process::Process;

use crate::Result;

const NAMES: [&str; 3] = ["carnet-bench-c", "carnet-bench-r", "carnet-bench-s"];

/// The host of one side.
pub struct Host {
    namespace: Option<&'static str>,
    /// The load shares one processor, the relay has the other; or all have both.
    processors: &'static str,
}

/// Client, relay and server, and the addresses they see.
pub struct Place {
    pub client: Host,
    pub relay: Host,
    pub server: Host,
    /// Where callers find the relay.
    pub relay_address: String,
    /// The relay's address towards the server.
    pub far_address: String,
    pub server_address: String,
    namespaces: bool,
}

impl Place {
    pub fn make(loopback: bool, threads: usize) -> Result<Self> {
        let pinned = threads == 1;
        let host = |index: usize, one| Host {
            namespace: NAMES.get(index).copied().filter(|_| !loopback),
            processors: if pinned { one } else { "0,1" },
        };
        let (relay_address, far_address, server_address) = if loopback {
            ("127.0.0.2", "127.0.0.3", "127.0.0.4")
        } else {
            remove();
            lay_out()?;
            ("10.77.1.1", "10.77.2.1", "10.77.2.2")
        };
        Ok(Self {
            client: host(0, "0"),
            relay: host(1, "1"),
            server: host(2, "0"),
            relay_address: relay_address.into(),
            far_address: far_address.into(),
            server_address: server_address.into(),
            namespaces: !loopback,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.namespaces {
            remove();
        }
    }
}

/// client 10.77.1.2 -- 10.77.1.1 relay 10.77.2.1 -- 10.77.2.2 server
fn lay_out() -> Result<()> {
    let [client, relay, server] = NAMES;
    for name in NAMES {
        ip(&format!("netns add {name}"))?;
        ip(&format!("-n {name} link set lo up"))?;
    }
    for (side, network, mine) in [(client, 1, "cbr-c"), (server, 2, "cbr-s")] {
        ip(&format!("-n {relay} link add {mine} type veth peer name eth0 netns {side}"))?;
        ip(&format!("-n {relay} addr add 10.77.{network}.1/24 dev {mine}"))?;
        ip(&format!("-n {side} addr add 10.77.{network}.2/24 dev eth0"))?;
        ip(&format!("-n {relay} link set {mine} up"))?;
        ip(&format!("-n {side} link set eth0 up"))?;
        ip(&format!("-n {side} route add default via 10.77.{network}.1"))?;
    }
    // The direct way is routed by the relay's host.
    run(Command::new("ip").args(["netns", "exec", relay, "sysctl", "-qw", "net.ipv4.ip_forward=1"]))?;
    for name in NAMES {
        let ports = "net.ipv4.ip_local_port_range=30000 65000";
        run(Command::new("ip").args(["netns", "exec", name, "sysctl", "-qw", ports]))?;
    }
    Ok(())
}

fn remove() {
    for name in NAMES {
        let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
    }
}

fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed (are you root?)").into()) }
}

impl Host {
    fn command(&self, program: &str) -> Command {
        let mut command = match self.namespace {
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, "taskset", "-c", self.processors, program]);
                command
            }
            None => {
                let mut command = Command::new("taskset");
                command.args(["-c", self.processors, program]);
                command
            }
        };
        command.stdin(Stdio::null());
        command
    }

    fn own(&self, arguments: &[&str]) -> Result<Command> {
        let program: PathBuf = std::env::current_exe()?;
        let mut command = self.command(&program.to_string_lossy());
        command.args(arguments);
        Ok(command)
    }

    /// Kernel memory of this part's TCP sockets, and the octets of payload in it.
    pub fn sockets(&self) -> Result<(i64, u64)> {
        let mut command = self.command("ss");
        let output = command.args(["-HtnmO", "state", "connected"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let (mut memory, mut payload) = (0, 0);
        for line in text.lines() {
            if let Some((_, fields)) = line.split_once("skmem:(") {
                // r: received, w: to be sent, f: set aside for either.
                for field in fields.split([',', ')']) {
                    for kind in ["r", "w", "f"] {
                        // `f` may be negative; it is told without a sign.
                        let octets = field.strip_prefix(kind).and_then(|n| n.parse::<u32>().ok());
                        memory += i64::from(octets.unwrap_or(0).cast_signed());
                    }
                }
            }
            let mut words = line.split_whitespace().skip(1).take(2).map(str::parse::<u64>);
            if let (Some(Ok(received)), Some(Ok(to_send))) = (words.next(), words.next()) {
                payload += received + to_send;
            }
        }
        Ok((memory, payload))
    }

    /// Starts this program in another part and waits until it says that it is ready.
    pub fn start(&self, arguments: &[&str]) -> Result<Process> {
        Process::start(self.own(arguments)?.stdout(Stdio::piped()))
    }

    /// Runs this program in another part; what it said.
    pub fn finish(&self, arguments: &[&str]) -> Result<String> {
        let output = self.own(arguments)?.stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("{arguments:?} failed").into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// HAProxy in TCP mode, listening at one port or at many.
    pub fn haproxy(
        &self,
        address: &str,
        (port, ports): (u16, u16),
        target: &str,
        splice: bool,
        threads: usize,
    ) -> Result<Process> {
        let path = std::env::temp_dir().join(format!("carnet-bench-haproxy-{port}.cfg"));
        let options = if splice { "option splice-request\n option splice-response" } else { "" };
        let last = port + ports - 1;
        let text = format!(
            "global\n nbthread {threads}\n maxconn 7000\n maxpipes 200\ndefaults\n mode tcp\n {options}\n timeout connect 10s\n \
             timeout client 60s\n timeout server 60s\nlisten relay\n bind {address}:{port}-{last} backlog 4096\n \
             server far {target}\n"
        );
        std::fs::write(&path, text)?;
        let mut command = self.command("haproxy");
        command.args(["-db", "-f", &path.to_string_lossy()]).stdout(Stdio::null()).stderr(Stdio::null());
        Process::listening(&mut command)
    }
}
