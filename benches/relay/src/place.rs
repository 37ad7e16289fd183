//! Where it happens: a client and a server, and gateways between them, each a network namespace.
//!
//! A gateway that translates has connection tracking, which costs everything that passes it. So those that
//! relay in user space have one of their own, without.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use carnet_load::process::Process;

use crate::Result;

/// The beginning of all names here.
const NAME: &str = "carnet-bench";

/// Gateways, by what is in their kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// Nothing but routes.
    Plain,
    /// Translation by hand.
    Translator,
    /// Carnet's table, for pinholes without sockets.
    Steered,
    /// Carnet's table, for the kernel engine.
    Kernel,
}

impl Gateway {
    const ALL: [Self; 4] = [Self::Plain, Self::Translator, Self::Steered, Self::Kernel];

    /// Its address for callers, and its address towards the server; and where the other ends are.
    pub fn addresses(self) -> Addresses {
        let network = self as u8 + 1;
        Addresses {
            near: format!("10.77.{network}.1"),
            far: format!("10.77.{}.1", network + 10),
            client: format!("10.77.{network}.2"),
            server: format!("10.77.{}.2", network + 10),
        }
    }
}

/// Addresses at a gateway.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Of the gateway, towards the client.
    pub near: String,
    /// Of the gateway, towards the server.
    pub far: String,
    /// Of the client.
    pub client: String,
    /// Of the server.
    pub server: String,
}

/// One namespace.
#[derive(Debug, Clone)]
pub struct Host {
    namespace: String,
    /// The load shares one processor, relays have the other; or all have both.
    processors: &'static str,
}

/// All of them; gone when it is dropped.
pub struct Place {
    tag: String,
    /// Where the client is.
    pub client: Host,
    /// Where the server is.
    pub server: Host,
    pinned: bool,
}

impl Place {
    /// Makes them.
    ///
    /// # Errors
    ///
    /// If this is not root, or there is no `ip`.
    pub fn make(threads: usize) -> Result<Self> {
        // A name of its own for each run: two do not get into each other's way.
        let tag = format!("{NAME}-{}", std::process::id());
        let pinned = threads == 1;
        let load = if pinned { "0" } else { "0,1" };
        let host = |name: &str| Host { namespace: format!("{tag}-{name}"), processors: load };
        let place = Self { client: host("client"), server: host("server"), tag, pinned };
        place.lay_out()?;
        Ok(place)
    }

    /// Where relays of this kind are.
    pub fn gateway(&self, gateway: Gateway) -> Host {
        let processors = if self.pinned { "1" } else { "0,1" };
        Host { namespace: format!("{}-{}", self.tag, gateway as u8), processors }
    }

    fn lay_out(&self) -> Result<()> {
        for host in [&self.client, &self.server] {
            host.make()?;
        }
        for gateway in Gateway::ALL {
            let (host, at) = (self.gateway(gateway), gateway.addresses());
            host.make()?;
            let name = &host.namespace;
            let ends = [(&self.client, "c", &at.near, &at.client), (&self.server, "s", &at.far, &at.server)];
            for (side, device, mine, theirs) in ends {
                let (side, peer) = (&side.namespace, format!("eth{}", gateway as u8));
                ip(&format!("-n {name} link add {device} type veth peer name {peer} netns {side}"))?;
                ip(&format!("-n {name} addr add {mine}/24 dev {device}"))?;
                ip(&format!("-n {side} addr add {theirs}/24 dev {peer}"))?;
                ip(&format!("-n {name} link set {device} up"))?;
                ip(&format!("-n {side} link set {peer} up"))?;
            }
            host.set("net.ipv4.ip_forward=1")?;
        }
        // The way without a relay is routed by the first gateway.
        let at = Gateway::Plain.addresses();
        ip(&format!("-n {} route add default via {}", self.client.namespace, at.near))?;
        ip(&format!("-n {} route add default via {}", self.server.namespace, at.far))?;
        // Counters of sessions, as an operator has them who uses the kernel engine.
        for gateway in [Gateway::Translator, Gateway::Kernel, Gateway::Steered] {
            self.gateway(gateway).set("net.netfilter.nf_conntrack_acct=1")?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let gateways = Gateway::ALL.map(|gateway| self.gateway(gateway));
        for host in gateways.iter().chain([&self.client, &self.server]) {
            let _ = Command::new("ip").args(["netns", "del", &host.namespace]).stderr(Stdio::null()).status();
        }
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
    fn make(&self) -> Result<()> {
        ip(&format!("netns add {}", self.namespace))?;
        ip(&format!("-n {} link set lo up", self.namespace))?;
        self.set("net.ipv4.ip_local_port_range=30000 65000")
    }

    fn set(&self, setting: &str) -> Result<()> {
        run(Command::new("ip").args(["netns", "exec", &self.namespace, "sysctl", "-qw", setting]))
    }

    /// A program there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, "taskset", "-c", self.processors, program]);
        command.stdin(Stdio::null());
        command
    }

    fn own(&self, arguments: &[String]) -> Result<Command> {
        let program: PathBuf = std::env::current_exe()?;
        let mut command = self.command(&program.to_string_lossy());
        command.args(arguments);
        Ok(command)
    }

    /// Starts this program there and waits until it says that it is ready.
    pub fn start(&self, arguments: &[String]) -> Result<Process> {
        Process::start(self.own(arguments)?.stdout(Stdio::piped()))
    }

    /// Runs this program there: whether it was content, and what it said.
    pub fn finish(&self, arguments: &[String]) -> Result<(bool, String)> {
        let output = self.own(arguments)?.stderr(Stdio::inherit()).output()?;
        Ok((output.status.success(), String::from_utf8(output.stdout)?))
    }

    /// Has the kernel there take these rules.
    pub fn rules(&self, text: &str) -> Result<()> {
        let path = std::env::temp_dir().join(format!("{}.nft", self.namespace));
        std::fs::write(&path, text)?;
        let outcome = run(self.command("nft").arg("-f").arg(&path));
        let _ = std::fs::remove_file(&path);
        outcome
    }

    /// How many sockets listen there.
    pub fn listeners(&self) -> Result<usize> {
        let output = self.command("ss").args(["-Hltn"]).output()?;
        Ok(output.stdout.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()).count())
    }

    /// Kernel memory of this host's TCP sockets, and the octets of payload in it.
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
}
