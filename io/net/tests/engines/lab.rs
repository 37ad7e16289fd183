//! A caller's host, a gateway and a called host, each in a namespace of its own.
//!
//! The gateway forwards and counts; all three have IPv4 and IPv6. The caller's host has a second address,
//! for strangers. Needs root: [`Lab::new`] returns `None` without it, unless `CARNET_REQUIRE_ROOT` is set.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use carnet_gateway::media::Family;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    tag: String,
}

/// One of the hosts.
#[derive(Debug, Clone, Copy)]
pub enum Host {
    Caller,
    Gateway,
    Callee,
}

/// Addresses of one IP version.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub family: Family,
    pub caller: IpAddr,
    pub stranger: IpAddr,
    pub access: IpAddr,
    pub core: IpAddr,
    pub callee: IpAddr,
}

pub fn addresses(family: Family) -> Addresses {
    let at = |v4: &str, v6: &str| match family {
        Family::V4 => v4.parse().unwrap(),
        Family::V6 => v6.parse().unwrap(),
    };
    Addresses {
        family,
        caller: at("10.77.1.2", "fd77:1::2"),
        stranger: at("10.77.1.3", "fd77:1::3"),
        access: at("10.77.1.1", "fd77:1::1"),
        core: at("10.77.2.1", "fd77:2::1"),
        callee: at("10.77.2.2", "fd77:2::2"),
    }
}

impl Lab {
    pub fn new() -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        let tag = format!("krn{:x}{}", std::process::id() & 0xffff, COUNT.fetch_add(1, Ordering::Relaxed));
        if !root || !ip(&["netns", "add", &format!("{tag}g")]) {
            assert!(
                std::env::var_os("CARNET_REQUIRE_ROOT").is_none(),
                "network namespaces are required here"
            );
            eprintln!("skipped: network namespaces need root and iproute2");
            return None;
        }
        let lab = Self { tag };
        let gateway = lab.name(Host::Gateway);
        must(&["-n", &gateway, "link", "set", "lo", "up"]);
        for (host, network, device) in [(Host::Caller, 1, "access"), (Host::Callee, 2, "core")] {
            let name = lab.name(host);
            must(&["netns", "add", &name]);
            must(&["-n", &name, "link", "set", "lo", "up"]);
            let pair = ["type", "veth", "peer", "name", "eth", "netns", &name];
            must(&[&["-n", &gateway, "link", "add", device], &pair[..]].concat());
            let ends = [(&gateway, device, 1), (&name, "eth", 2), (&name, "eth", 3)];
            for (namespace, device, number) in ends {
                must(&["-n", namespace, "link", "set", device, "up"]);
                let (v4, v6) =
                    (format!("10.77.{network}.{number}/24"), format!("fd77:{network}::{number}/64"));
                must(&["-n", namespace, "addr", "add", &v4, "dev", device]);
                must(&["-n", namespace, "addr", "add", &v6, "dev", device, "nodad"]);
            }
            must(&["-n", &name, "route", "add", "default", "via", &format!("10.77.{network}.1")]);
            must(&["-n", &name, "route", "add", "default", "via", &format!("fd77:{network}::1")]);
        }
        for setting in
            ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.netfilter.nf_conntrack_acct=1"]
        {
            let set = lab.run(Host::Gateway, &["sysctl", "-qw", setting]);
            assert!(set.status.success(), "{setting}: {set:?}");
        }
        Some(lab)
    }

    fn name(&self, host: Host) -> String {
        let letter = match host {
            Host::Caller => 'c',
            Host::Gateway => 'g',
            Host::Callee => 's',
        };
        format!("{}{letter}", self.tag)
    }

    /// A command that will run on a host.
    pub fn command(&self, host: Host, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(host)]).args(words);
        command
    }

    pub fn run(&self, host: Host, words: &[&str]) -> Output {
        self.command(host, words).output().unwrap()
    }

    /// What it prints; it must succeed.
    pub fn says(&self, host: Host, words: &[&str]) -> String {
        let output = self.run(host, words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Does something on a host: sockets and threads that are made then are that host's.
    pub fn inside<T: Send>(&self, host: Host, act: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(self.name(host));
        thread::scope(|scope| {
            let on_host = scope.spawn(move || {
                let namespace = File::open(&path).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            match on_host.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A connection from this address of the caller's host.
    pub fn call(&self, from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.call_from(Host::Caller, SocketAddr::new(from, 0), to)
    }

    pub fn call_from(&self, host: Host, from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.inside(host, || {
            let socket = Socket::new(Domain::for_address(from), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&to.into(), super::SOON)?;
            let stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(super::SOON))?;
            stream.set_write_timeout(Some(super::SOON))?;
            Ok(stream)
        })
    }

    /// Listens on a host.
    pub fn listen(&self, host: Host, address: IpAddr) -> TcpListener {
        self.inside(host, || TcpListener::bind((address, 0)).unwrap())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in [Host::Caller, Host::Callee, Host::Gateway] {
            ip(&["netns", "del", &self.name(host)]);
        }
    }
}

fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).output().is_ok_and(|output| output.status.success())
}

fn must(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
}
