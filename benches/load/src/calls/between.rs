//! What calls go through: nothing, Carnet, or other people's proxies.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::place::{Host, Place};
use crate::Result;
use crate::process::Process;

/// Whom callers are, and their password.
pub const CALLER: &str = "sip:caller@a.example";
/// The password.
pub const PASSWORD: &str = "loads-of-calls";
/// Where callees take connections from a proxy that has one port for all.
pub const DOOR: u16 = 20_001;
/// That port.
const PROXY: u16 = 20_002;

/// What is between callers and callees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// Routes, or nothing.
    Direct,
    /// An IMS-ALG and its IMS-AGW in one process; `true`: with the kernel engine.
    Access(bool),
    /// The same, and an IBCF with its TrGW behind it, in the same process.
    Borders,
    /// Kamailio that writes HAProxy's address into answers, and HAProxy.
    Proxies,
}

/// The processes that are between. They end with it, and so do those that they have started.
pub struct Running(Vec<Process>, bool);

impl Drop for Running {
    fn drop(&mut self) {
        // Kamailio's processes outlive their parent if that is killed.
        if self.1 {
            self.0.iter_mut().for_each(Process::dismiss);
        }
    }
}

impl Running {
    /// CPU seconds so far.
    ///
    /// # Errors
    ///
    /// If one has ended.
    pub fn cpu(&self) -> Result<f64> {
        self.0.iter().map(Process::cpu_of_all).sum()
    }
}

impl Between {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Direct, Self::Access(false), Self::Access(true), Self::Borders, Self::Proxies];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Access(false) => "relay",
            Self::Access(true) => "kernel",
            Self::Borders => "borders",
            Self::Proxies => "proxies",
        }
    }

    /// Gateways that can be asked what they counted.
    #[must_use]
    pub fn gateways(self) -> &'static [&'static str] {
        match self {
            Self::Direct | Self::Proxies => &[],
            Self::Access(_) => &["agw"],
            Self::Borders => &["agw", "trgw"],
        }
    }

    /// Starts it. Nothing runs where nothing has to.
    ///
    /// # Errors
    ///
    /// If something does not start.
    pub fn start(self, place: &Place, carnet: &Path, folder: &Path) -> Result<Running> {
        match self {
            Self::Direct => Ok(Running(Vec::new(), false)),
            Self::Access(_) | Self::Borders => Ok(Running(vec![self.carnet(place, carnet, folder)?], false)),
            Self::Proxies => proxies(place, folder),
        }
    }

    fn carnet(self, place: &Place, program: &Path, folder: &Path) -> Result<Process> {
        let engine = if self == Self::Access(true) { "kernel" } else { "relay" };
        let at = |network, host| place.address(network, host);
        // With a second border the first one's core is within this host.
        let (core, next) = match self {
            Self::Borders => (85, format!("{}:5060", at(85, 3))),
            _ => (84, format!("{}:5060", at(84, 9))),
        };
        let mut text = format!(
            "[log]\nlevel = \"error\"\n[admin]\nsocket = \"{}\"\n\
             [border.alg]\nrole = \"ims-alg\"\ndomain = \"a.example\"\n\
             registrar = {{ mode = \"built-in\", users = \"users.toml\" }}\n\
             control = {{ gateways = [\"agw\"] }}\npolicy = {{ max-calls = 20000 }}\n\
             [border.alg.network.access]\nlisten = [\"udp:{}:5060\"]\nsubscribers = true\n\
             [border.alg.network.core]\nlisten = [\"udp:{}:5060\"]\n\
             [[border.alg.route]]\ndomain = \"*\"\nnetwork = \"core\"\nnext-hop = \"sip:{next}\"\n\
             [gateway.agw]\nrole = \"ims-agw\"\ncontrollers = [\"local:alg\"]\nmax-contexts = 20000\n\
             engine = \"{engine}\"\n\
             [gateway.agw.realm.access]\nv4 = \"{}\"\nports = \"10000-39999\"\nquarantine = 0\n\
             [gateway.agw.realm.core]\nv4 = \"{}\"\nports = \"10000-39999\"\nquarantine = 0\n",
            folder.join("admin").display(),
            at(83, 1),
            at(core, 1),
            at(83, 2),
            at(core, 2),
        );
        if self == Self::Borders {
            let _ = write!(
                text,
                "[border.ibcf]\nrole = \"ibcf\"\ndomain = \"a.example\"\ncontrol = {{ gateways = [\"trgw\"] }}\n\
                 policy = {{ max-calls = 20000 }}\n\
                 [border.ibcf.network.core]\nlisten = [\"udp:{}:5060\"]\n\
                 [border.ibcf.network.peers]\nlisten = [\"udp:{}:5060\"]\n\
                 [[border.ibcf.route]]\ndomain = \"*\"\nnetwork = \"peers\"\nnext-hop = \"sip:{}:5060\"\n\
                 [gateway.trgw]\nrole = \"trgw\"\ncontrollers = [\"local:ibcf\"]\nmax-contexts = 20000\n\
                 engine = \"relay\"\n\
                 [gateway.trgw.realm.core]\nv4 = \"{}\"\nports = \"10000-39999\"\nquarantine = 0\n\
                 [gateway.trgw.realm.peers]\nv4 = \"{}\"\nports = \"10000-39999\"\nquarantine = 0\n",
                at(85, 3),
                at(84, 1),
                at(84, 9),
                at(85, 4),
                at(84, 2),
            );
        }
        let user = CALLER.trim_start_matches("sip:").split('@').next().unwrap_or_default();
        std::fs::write(folder.join("users.toml"), format!("{user} = \"{PASSWORD}\"\n"))?;
        std::fs::write(folder.join("carnet.toml"), text)?;
        let log = std::fs::File::create(folder.join("carnet.log"))?;
        let mut command = place.command(Host::Middle, program);
        command.args(["run", "-c"]).arg(folder.join("carnet.toml")).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Process::start(&mut command).map_err(|error| {
            let log = std::fs::read_to_string(folder.join("carnet.log")).unwrap_or_default();
            format!("{error}: {}", log.trim()).into()
        })
    }
}

fn proxies(place: &Place, folder: &Path) -> Result<Running> {
    let at = |network, host| place.address(network, host);
    let kamailio = format!(
        "#!KAMAILIO\nchildren=1\ndebug=-1\nlog_stderror=no\ndisable_tcp=yes\n\
         listen=udp:{near}:5060\nlisten=udp:{far}:5060\n\
         mpath=\"/usr/lib/x86_64-linux-gnu/kamailio/modules/\"\n\
         loadmodule \"sl.so\"\nloadmodule \"tm.so\"\nloadmodule \"rr.so\"\nloadmodule \"pv.so\"\n\
         loadmodule \"textops.so\"\nloadmodule \"siputils.so\"\n\
         request_route {{\n if (has_totag()) {{ loose_route(); t_relay(); exit; }}\n\
         if (is_method(\"REGISTER\")) {{ sl_send_reply(\"200\", \"OK\"); exit; }}\n\
         if (is_method(\"INVITE\")) record_route();\n t_on_reply(\"ANSWER\");\n\
         $du = \"sip:{callee}:5060\";\n $fs = \"udp:{far}:5060\";\n t_relay();\n}}\n\
         onreply_route[ANSWER] {{\n if (has_body(\"application/sdp\")) {{\n\
         subst_body('/c=IN IP4 [0-9.]+/c=IN IP4 {media}/');\n\
         subst_body('/m=message [0-9]+ /m=message {PROXY} /');\n }}\n}}\n",
        near = at(83, 1),
        far = at(84, 1),
        callee = at(84, 9),
        media = at(83, 2),
    );
    let haproxy = format!(
        "global\n maxconn 9000\n nbthread 1\ndefaults\n mode tcp\n timeout connect 10s\n timeout client 300s\n \
         timeout server 300s\nlisten media\n bind {}:{PROXY}\n server callee {}:{DOOR}\n",
        at(83, 2),
        at(84, 9),
    );
    std::fs::write(folder.join("kamailio.cfg"), kamailio)?;
    std::fs::write(folder.join("haproxy.cfg"), haproxy)?;
    let quiet = |command: &mut Command| {
        Process::listening(
            command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()),
        )
    };
    let mut first = place.command(Host::Middle, Path::new("kamailio"));
    let run = folder.join("kamailio").display().to_string();
    std::fs::create_dir_all(folder.join("kamailio"))?;
    first.args(["-DD", "-E", "-f"]).arg(folder.join("kamailio.cfg")).args(["-Y", &run, "-w", &run]);
    let mut second = place.command(Host::Middle, Path::new("haproxy"));
    second.args(["-db", "-f"]).arg(folder.join("haproxy.cfg"));
    let mut running = Running(vec![quiet(&mut first)?], true);
    running.0.push(quiet(&mut second)?);
    Ok(running)
}
