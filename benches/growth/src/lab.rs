//! Three hosts of network namespaces: callers, gateway, servers, joined by veth pairs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Child, Result};

/// The networks of callers and of servers: `10.N.0.0/16` and `fdN::/64`, N in decimal digits.
pub const NEAR: u8 = 81;
/// That of servers.
pub const FAR: u8 = 82;
/// Where the callers are.
pub const CALLER: u8 = NEAR;
/// Where the servers are.
pub const SERVER: u8 = FAR;
/// Addresses that the gateway has on each side.
pub const ADDRESSES: u8 = 40;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The address of the only host on a network that is not the gateway.
pub fn address(network: u8, v6: bool) -> Result<IpAddr> {
    if v6 {
        return Ok(format!("fd{network}::2").parse::<Ipv6Addr>()?.into());
    }
    Ok(Ipv4Addr::new(10, network, 0, 2).into())
}

/// One of the gateway's addresses on a network, from 1.
pub fn gateway_address(network: u8, number: u8, v6: bool) -> Result<IpAddr> {
    if v6 {
        return Ok(format!("fd{network}::1:{number}").parse::<Ipv6Addr>()?.into());
    }
    Ok(Ipv4Addr::new(10, network, 1, number).into())
}

/// One of the three.
#[derive(Debug)]
pub struct Host {
    /// Its namespace.
    pub namespace: String,
    program: PathBuf,
}

/// All of them. They go away with it.
#[derive(Debug)]
pub struct Lab {
    /// Where calls come from.
    pub callers: Host,
    /// Where they go through.
    pub gateway: Host,
    /// Where they go to.
    pub servers: Host,
}

impl Lab {
    /// Makes them; `program` is this crate's program. `None` without the right to, unless `CARNET_REQUIRE_ROOT` is set.
    pub fn make(program: &Path) -> Result<Option<Self>> {
        let tag = format!("growth{:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let host = |letter| Host { namespace: format!("{tag}{letter}"), program: program.to_owned() };
        let lab = Self { callers: host("c"), gateway: host("g"), servers: host("s") };
        if let Err(error) = ip(&format!("netns add {}", lab.gateway.namespace)) {
            if std::env::var_os("CARNET_REQUIRE_ROOT").is_some() {
                return Err(error);
            }
            return Ok(None);
        }
        lab.lay_out()?;
        Ok(Some(lab))
    }

    fn lay_out(&self) -> Result<()> {
        let gateway = &self.gateway.namespace;
        ip(&format!("netns add {}", self.callers.namespace))?;
        ip(&format!("netns add {}", self.servers.namespace))?;
        for host in [&self.callers, &self.gateway, &self.servers] {
            ip(&format!("-n {} link set lo up", host.namespace))?;
            host.set("net.ipv6.conf.default.accept_dad=0")?;
            host.set("net.ipv6.conf.all.forwarding=1")?;
            host.set("net.ipv4.ip_forward=1")?;
            host.set("net.ipv4.ip_local_port_range=1024 65535")?;
        }
        for (side, network, mine) in [(&self.callers, NEAR, "near"), (&self.servers, FAR, "far")] {
            let other = &side.namespace;
            ip(&format!("-n {gateway} link add {mine} type veth peer name eth0 netns {other}"))?;
            ip(&format!("-n {gateway} link set {mine} up"))?;
            ip(&format!("-n {other} link set eth0 up"))?;
            for (v6, length) in [(false, 16), (true, 64)] {
                let theirs = address(network, v6)?;
                let nodad = if v6 { " nodad" } else { "" };
                ip(&format!("-n {other} addr add {theirs}/{length} dev eth0{nodad}"))?;
                for number in 1..=ADDRESSES {
                    let ours = gateway_address(network, number, v6)?;
                    ip(&format!("-n {gateway} addr add {ours}/{length} dev {mine}{nodad}"))?;
                }
                let via = gateway_address(network, 1, v6)?;
                ip(&format!("-n {other} route add default via {via}"))?;
            }
        }
        // A kernel without connection tracking has no such setting; the engine says so itself.
        let _ = self.gateway.set("net.netfilter.nf_conntrack_acct=1");
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in [&self.callers, &self.gateway, &self.servers] {
            let mut command = Command::new("ip");
            let _ = command.args(["netns", "del", &host.namespace]).stderr(Stdio::null()).status();
        }
    }
}

fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed (are you root?): {}", String::from_utf8_lossy(&output.stderr)).into())
}

impl Host {
    /// A program on this host.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// Starts one of our roles.
    pub fn start(&self, arguments: &[&str]) -> Result<Child> {
        Child::start(self.command(&self.program.to_string_lossy()).args(arguments))
    }

    /// Runs a program to its end.
    pub fn does(&self, program: &str, arguments: &[&str]) -> Result<()> {
        run(self.command(program).args(arguments))
    }

    fn set(&self, setting: &str) -> Result<()> {
        self.does("sysctl", &["-qw", setting])
    }
}
