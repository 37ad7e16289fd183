//! Who relays.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use carnet_load::process::Process;

use crate::Result;
use crate::engine::Variant;
use crate::place::{Gateway, Place};

/// The server's first port; each relay has its own, so that none runs out of source ports because of others.
pub const SERVER: u16 = 7_000;
/// First port of many.
pub const FIRST: u16 = 8_000;
/// Pinhole pairs of the engine; as many connections can stand at once.
pub const PAIRS: u16 = 6_000;

/// A relay, or what else there may be between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The way that all are compared with: a route.
    Direct,
    /// HAProxy in TCP mode.
    Haproxy,
    /// With `splice-request` and `splice-response`.
    HaproxySplice,
    /// nginx' stream module with its buffers as they come.
    Nginx,
    /// With buffers of 64 KiB.
    NginxLarge,
    /// Address translation by nftables, written by hand: what the kernel can do at best.
    Translation,
    /// Carnet.
    Carnet(Variant),
}

impl Who {
    pub const ALL: [Self; 9] = [
        Self::Direct,
        Self::Haproxy,
        Self::HaproxySplice,
        Self::Nginx,
        Self::NginxLarge,
        Self::Translation,
        Self::Carnet(Variant::Sockets),
        Self::Carnet(Variant::Steered),
        Self::Carnet(Variant::Kernel),
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy-splice",
            Self::Nginx => "nginx",
            Self::NginxLarge => "nginx-64k",
            Self::Translation => "nftables",
            Self::Carnet(variant) => variant.name(),
        }
    }

    /// Where it is.
    pub fn gateway(self) -> Gateway {
        match self {
            Self::Translation => Gateway::Translator,
            Self::Carnet(Variant::Steered) => Gateway::Steered,
            Self::Carnet(Variant::Kernel) => Gateway::Kernel,
            _ => Gateway::Plain,
        }
    }

    /// The server's port for it.
    pub fn server_port(self) -> u16 {
        let index = Self::ALL.iter().position(|who| *who == self).unwrap_or(0);
        SERVER + u16::try_from(index).unwrap_or(0)
    }
}

/// One that runs.
pub struct Relay {
    pub who: Who,
    /// `None` where there is no process: the callers go to the server themselves, or the kernel translates.
    pub process: Option<Process>,
    /// Address, first port, ports.
    pub doors: (String, u16, u16),
}

/// Starts it; `Err` is why it is not there.
pub fn start(who: Who, place: &Place, threads: usize, pairs: u16) -> Result<Relay> {
    let (host, at) = (place.gateway(who.gateway()), who.gateway().addresses());
    let target = format!("{}:{}", at.server, who.server_port());
    let relay = |process, port, ports| Relay { who, process, doors: (at.near.clone(), port, ports) };
    match who {
        Who::Direct => Ok(Relay { who, process: None, doors: (at.server, who.server_port(), 1) }),
        Who::Haproxy | Who::HaproxySplice => {
            let splice = who == Who::HaproxySplice;
            let port = if splice { 6_002 } else { 6_001 };
            let options = if splice { "option splice-request\n option splice-response" } else { "" };
            let text = format!(
                "global\n nbthread {threads}\n maxconn 7000\n maxpipes 200\ndefaults\n mode tcp\n {options}\n \
                 timeout connect 10s\n timeout client 60s\n timeout server 60s\nlisten relay\n \
                 bind {}:{port} backlog 4096\n server far {target}\n",
                at.near
            );
            let path = file(&format!("haproxy-{port}.cfg"), &text)?;
            let mut command = host.command("haproxy");
            command.arg("-db").arg("-f").arg(&path);
            Ok(relay(Some(quiet(&mut command)?), port, 1))
        }
        Who::Nginx | Who::NginxLarge => {
            let (port, octets) = if who == Who::Nginx { (6_003, "16k") } else { (6_004, "64k") };
            // With several workers there is a master, whose children do the work.
            let workers = if threads > 1 {
                format!("worker_processes {threads};")
            } else {
                "master_process off;".into()
            };
            let text = format!(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\n{workers}\n\
                 error_log /dev/null;\npid {pid};\nworker_rlimit_nofile 20000;\n\
                 events {{ worker_connections 9000; multi_accept on; }}\n\
                 stream {{ server {{ listen {near}:{port} backlog=4096; proxy_pass {target};\n\
                 proxy_buffer_size {octets}; proxy_half_close on; proxy_timeout 60s; tcp_nodelay on; }} }}\n",
                pid = std::env::temp_dir().join(format!("carnet-bench-{port}.pid")).display(),
                near = at.near,
            );
            let path = file(&format!("nginx-{port}.conf"), &text)?;
            let mut command = host.command("nginx");
            command.arg("-c").arg(&path);
            Ok(relay(Some(quiet(&mut command)?), port, 1))
        }
        Who::Translation => {
            // An element for each session, as Carnet has.
            let elements: Vec<String> = (FIRST..FIRST + pairs)
                .map(|port| format!("{} . {port} : {} . {}", at.near, at.server, who.server_port()))
                .collect();
            host.rules(&format!(
                "table ip bench {{\n map to {{ type ipv4_addr . inet_service : ipv4_addr . inet_service\n elements = {{ {} }}; }}\n \
                 chain in {{ type nat hook prerouting priority dstnat\n dnat ip to ip daddr . tcp dport map @to; }}\n \
                 chain out {{ type nat hook postrouting priority srcnat\n oifname \"s\" snat ip to {}; }}\n}}\n",
                elements.join(", "),
                at.far
            ))?;
            Ok(relay(None, FIRST, pairs))
        }
        Who::Carnet(variant) => {
            let words = [
                "engine",
                &at.near,
                &at.far,
                &FIRST.to_string(),
                &pairs.to_string(),
                &target,
                &threads.to_string(),
            ];
            let mut words = words.map(str::to_owned).to_vec();
            words.extend([variant.name().to_owned(), at.client.clone()]);
            let process = host.start(&words)?;
            if let Some(why) = process.1.strip_prefix("absent ") {
                return Err(why.to_owned().into());
            }
            // It has one for each of its addresses.
            if variant == Variant::Steered && host.listeners()? > 2 {
                return Err("pinholes have sockets of their own".into());
            }
            Ok(relay(Some(process), FIRST, pairs))
        }
    }
}

fn quiet(command: &mut Command) -> Result<Process> {
    Process::listening(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

fn file(name: &str, text: &str) -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("carnet-bench-{}-{name}", std::process::id()));
    std::fs::write(&path, text)?;
    Ok(path)
}
