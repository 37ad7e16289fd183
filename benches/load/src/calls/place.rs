//! Where calls are: three hosts of network namespaces, callers, what is between, callees; or addresses of loopback, where
//! there is no right to make them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Result;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// One of the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// Where callers are.
    Near,
    /// What is between.
    Middle,
    /// Where callees are.
    Far,
}

/// The hosts; they go away with it.
#[derive(Debug)]
pub struct Place {
    /// The beginning of the namespaces' names; none on loopback.
    tag: Option<String>,
}

impl Place {
    /// Namespaces, if this is root and `loopback` is not wanted.
    ///
    /// # Errors
    ///
    /// If they cannot be made though they should.
    pub fn make(loopback: bool) -> Result<Self> {
        if loopback {
            return Ok(Self { tag: None });
        }
        let tag = format!("load{:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = Self { tag: Some(tag) };
        place.lay_out()?;
        Ok(place)
    }

    /// Whether it has hosts of its own.
    #[must_use]
    pub fn has_hosts(&self) -> bool {
        self.tag.is_some()
    }

    /// An address: networks are 83 near, 84 far, 85 within.
    #[must_use]
    pub fn address(&self, network: u8, host: u8) -> String {
        format!("{}.{network}.0.{host}", if self.tag.is_some() { 10 } else { 127 })
    }

    /// A program on a host.
    #[must_use]
    pub fn command(&self, host: Host, program: &Path) -> Command {
        let Some(name) = self.name(host) else { return Command::new(program) };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name]).arg(program);
        command
    }

    fn name(&self, host: Host) -> Option<String> {
        let letter = match host {
            Host::Near => "c",
            Host::Middle => "g",
            Host::Far => "s",
        };
        self.tag.as_ref().map(|tag| format!("{tag}{letter}"))
    }

    fn lay_out(&self) -> Result<()> {
        let middle = self.name(Host::Middle).unwrap_or_default();
        for host in [Host::Near, Host::Middle, Host::Far] {
            let name = self.name(host).unwrap_or_default();
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
            set(&name, "net.ipv4.ip_local_port_range=40000 65000")?;
        }
        for (host, network, device, last) in [(Host::Near, 83, "near", 9), (Host::Far, 84, "far", 9)] {
            let side = self.name(host).unwrap_or_default();
            ip(&format!("-n {middle} link add {device} type veth peer name eth0 netns {side}"))?;
            ip(&format!("-n {middle} link set {device} up"))?;
            ip(&format!("-n {side} link set eth0 up"))?;
            ip(&format!("-n {side} addr add {}/24 dev eth0", self.address(network, last)))?;
            for number in 1..=2 {
                ip(&format!("-n {middle} addr add {}/24 dev {device}", self.address(network, number)))?;
            }
            ip(&format!("-n {side} route add default via {}", self.address(network, 1)))?;
        }
        for number in 1..=4 {
            ip(&format!("-n {middle} addr add {}/32 dev lo", self.address(85, number)))?;
        }
        set(&middle, "net.ipv4.ip_forward=1")?;
        // A kernel without connection tracking has no such setting; the engine says so itself.
        let _ = set(&middle, "net.netfilter.nf_conntrack_acct=1");
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for host in [Host::Near, Host::Middle, Host::Far] {
            if let Some(name) = self.name(host) {
                let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
            }
        }
    }
}

fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

fn set(namespace: &str, setting: &str) -> Result<()> {
    run(Command::new("ip").args(["netns", "exec", namespace, "sysctl", "-qw", setting]))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed (are you root?): {}", String::from_utf8_lossy(&output.stderr)).into())
}
