//! TLS that ends at a pinhole, beside programs that end TLS before plain TCP.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use carnet_load::outcome::Line;
use carnet_load::process::Process;
use carnet_tls::{Credential, SubjectName, Versions};

use crate::load::Terminal;
use crate::{FIRST_PORT, Options, PAIRS, Result, free_port, ourselves};

/// Kinds of figures of this part.
pub const KINDS: [&str; 7] = ["tls13", "tls12", "up1", "down1", "up16", "down16", "idle"];

/// A program that ends TLS, and terminals that know it.
struct Relay {
    name: &'static str,
    process: Process,
    terminal: Terminal,
    /// Who speaks TLS 1.2 only.
    old: Terminal,
}

impl Relay {
    fn cpu(&self) -> Result<f64> {
        self.process.cpu_of_all()
    }
}

/// Certificates, and where peers find them.
struct Files<'a> {
    folder: &'a Path,
    terminal: Credential,
    server: Credential,
    plain: SocketAddr,
}

impl Files<'_> {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn relay(&self, name: &'static str, process: Process, port: u16) -> Result<Relay> {
        let shown = self.server.fingerprint()?.to_string();
        let door = || vec![SocketAddr::from(([127, 0, 0, 1], port))];
        let terminal = Terminal::new(&self.terminal, &shown, door(), Versions::Both)?;
        let old = Terminal::new(&self.terminal, &shown, door(), Versions::Tls12)?;
        Ok(Relay { name, process, terminal, old })
    }

    fn write(&self) -> Result<()> {
        let mut pem = self.server.certificate_pem()?;
        fs::write(self.path("server.crt"), &pem)?;
        pem.extend_from_slice(&self.server.private_key_pem()?);
        fs::write(self.path("server.pem"), pem)?;
        fs::write(self.path("client.pem"), self.terminal.certificate_pem()?)?;
        Ok(())
    }
}

/// Starts one peer.
type Start = fn(&Files<'_>) -> Result<Relay>;

/// Runs every kind that is wanted, and says each peer's ratio.
pub fn measure(options: &Options, folder: &Path) -> Result<()> {
    let plain_port = free_port()?;
    let plain = SocketAddr::from(([127, 0, 0, 1], plain_port));
    let _plain = Process::start(&mut ourselves(&["plain", &plain.to_string()])?)?;
    let files = Files {
        folder,
        terminal: Credential::self_signed(&[SubjectName::Dns("ue".into())], 1)?,
        server: Credential::self_signed(&[SubjectName::Dns("gw".into())], 1)?,
        plain,
    };
    files.write()?;
    let ours = carnet(&files)?;
    let mut peers = Vec::new();
    let known: [(&str, Start); 3] = [("haproxy", haproxy), ("nginx", nginx), ("hitch", hitch)];
    for (name, start) in known {
        match start(&files) {
            Ok(peer) => peers.push(peer),
            Err(error) => options.say(&Line::absent("C1", name, &error.to_string())),
        }
    }
    for kind in KINDS.into_iter().filter(|kind| options.wants(kind)) {
        if kind == "idle" { idle(options, &ours, &peers)? } else { compare(kind, options, &ours, &peers) }
    }
    Ok(())
}

fn compare(kind: &str, options: &Options, ours: &Relay, peers: &[Relay]) {
    let mut figures = vec![Vec::new(); peers.len() + 1];
    let mut failures = vec![None; peers.len() + 1];
    for _ in 0..options.rounds {
        for ((relay, figures), failure) in
            std::iter::once(ours).chain(peers).zip(&mut figures).zip(&mut failures)
        {
            // Who failed once is not asked again, but stays in step with the others.
            let figure = match failure {
                // It ends a session when one direction has: nothing that was sent to it is answered.
                None if relay.name == "hitch" && kind.starts_with("up") => {
                    Err("it ends a session when one direction has ended".into())
                }
                None => figure(kind, options, relay),
                Some(_) => Ok(f64::NAN),
            };
            figures.push(figure.unwrap_or_else(|error| {
                *failure = Some(error.to_string());
                f64::NAN
            }));
        }
    }
    let (goal, what, unit, wanted) = match kind {
        "tls13" => ("C1", "full TLS 1.3 handshake, relay CPU", "us", 0.65),
        "tls12" => ("C1", "full TLS 1.2 handshake, relay CPU", "us", 0.70),
        "up1" => ("C2", "TLS bulk up, 1 session, relay CPU", "s/GB", 0.85),
        "down1" => ("C2", "TLS bulk down, 1 session, relay CPU", "s/GB", 0.85),
        "up16" => ("C2", "TLS bulk up, 16 sessions, relay CPU", "s/GB", 0.85),
        _ => ("C2", "TLS bulk down, 16 sessions, relay CPU", "s/GB", 0.85),
    };
    let (Some((own, figures)), Some((failed, failures))) = (figures.split_first(), failures.split_first())
    else {
        return;
    };
    for ((peer, figures), failure) in peers.iter().zip(figures).zip(failures) {
        options.say(&match failed.as_ref().or(failure.as_ref()) {
            Some(why) => Line::absent(goal, &format!("{what}, beside {}", peer.name), why),
            None => Line::compare(goal, what, unit, (peer.name, figures), own, Some(wanted)),
        });
    }
}

/// CPU of the relay for one handshake in microseconds, or for one gigabyte in seconds.
fn figure(kind: &str, options: &Options, relay: &Relay) -> Result<f64> {
    let time = Duration::from_secs_f64(options.seconds);
    let before = relay.cpu()?;
    let done = match kind {
        "tls13" => relay.terminal.handshakes(time)? as f64 / 1e6,
        "tls12" => relay.old.handshakes(time)? as f64 / 1e6,
        bulk => {
            let streams = if bulk.ends_with("16") { 16 } else { 1 };
            relay.terminal.bulk(time, bulk.starts_with("up"), streams)? as f64 / 1e9
        }
    };
    Ok((relay.cpu()? - before) / done)
}

/// Memory that is taken once is kept by the allocators, so there is one round.
fn idle(options: &Options, ours: &Relay, peers: &[Relay]) -> Result<()> {
    let held = |relay: &Relay| -> Result<f64> {
        let before = relay.process.private_memory()?;
        let held = relay.terminal.hold(options.sessions)?;
        std::thread::sleep(Duration::from_secs(1));
        let more = relay.process.private_memory()?.saturating_sub(before);
        drop(held);
        Ok(more as f64 / options.sessions as f64 / 1024.0)
    };
    let own = held(ours)?;
    for peer in peers {
        // Each of its processes would have to be looked at.
        if peer.name == "hitch" {
            continue;
        }
        let (goal, what) = ("B3", "idle TLS session, user memory");
        options.say(&match held(peer) {
            Ok(theirs) => {
                Line::compare(goal, what, "KiB", (peer.name, &[theirs]), &[own], Some(0.7)).at_most(12.0)
            }
            Err(error) => Line::absent(goal, what, &error.to_string()),
        });
    }
    Ok(())
}

fn carnet(files: &Files<'_>) -> Result<Relay> {
    let fingerprint = files.terminal.fingerprint()?.to_string();
    let (first, pairs, plain) = (FIRST_PORT.to_string(), PAIRS.to_string(), files.plain.to_string());
    let process = Process::start(
        ourselves(&["engine", "tls", &first, &pairs, &plain, &fingerprint])?.stderr(Stdio::null()),
    )?;
    let doors = || -> Vec<SocketAddr> {
        (FIRST_PORT..FIRST_PORT + PAIRS).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    };
    let shown = process.1.clone();
    let terminal = Terminal::new(&files.terminal, &shown, doors(), Versions::Both)?;
    let old = Terminal::new(&files.terminal, &shown, doors(), Versions::Tls12)?;
    Ok(Relay { name: "carnet", process, terminal, old })
}

fn haproxy(files: &Files<'_>) -> Result<Relay> {
    let port = free_port()?;
    let settings = format!(
        "global\n maxconn 4000\n nbthread 1\n tune.ssl.cachesize 0\n tune.ssl.default-dh-param 2048\n \
         ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n ssl-default-bind-curves X25519:P-256\n\
         defaults\n mode tcp\n timeout connect 10s\n timeout client 300s\n timeout server 300s\n\
         listen e2ae\n bind 127.0.0.1:{port} ssl crt {} verify required ca-file {}\n server core {}\n",
        files.path("server.pem"),
        files.path("client.pem"),
        files.plain,
    );
    fs::write(files.path("haproxy.cfg"), settings)?;
    let process = Process::listening(
        Command::new("haproxy")
            .args(["-db", "-f", &files.path("haproxy.cfg")])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    files.relay("haproxy", process, port)
}

fn nginx(files: &Files<'_>) -> Result<Relay> {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let port = free_port()?;
    let module = if Path::new(MODULE).exists() { format!("load_module {MODULE};\n") } else { String::new() };
    let settings = format!(
        "{module}daemon off; master_process off; pid {}; error_log stderr crit;\n\
         events {{ worker_connections 9000; }}\n\
         stream {{ server {{\n listen 127.0.0.1:{port} ssl;\n ssl_certificate {};\n ssl_certificate_key {};\n \
         ssl_client_certificate {};\n ssl_verify_client on;\n ssl_protocols TLSv1.2 TLSv1.3;\n \
         ssl_ecdh_curve X25519:P-256;\n ssl_session_cache off;\n ssl_session_tickets off;\n \
         proxy_pass {};\n proxy_timeout 300s;\n proxy_half_close on;\n }} }}\n",
        files.path("nginx.pid"),
        files.path("server.crt"),
        files.path("server.pem"),
        files.path("client.pem"),
        files.plain,
    );
    fs::write(files.path("nginx.conf"), settings)?;
    let process = Process::listening(
        Command::new("nginx")
            .args(["-p", &files.path(""), "-c", &files.path("nginx.conf")])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    files.relay("nginx", process, port)
}

/// It ends a session when one direction has ended, so no bulk is measured to its end.
fn hitch(files: &Files<'_>) -> Result<Relay> {
    let port = free_port()?;
    let settings = format!(
        "frontend = \"[127.0.0.1]:{port}\"\nbackend = \"[127.0.0.1]:{}\"\npem-file = \"{}\"\nworkers = 1\n\
         tls-protos = TLSv1.2 TLSv1.3\nclient-verify = required\nclient-verify-ca = \"{}\"\n\
         quiet = on\ndaemon = off\nsyslog = off\n",
        files.plain.port(),
        files.path("server.pem"),
        files.path("client.pem"),
    );
    fs::write(files.path("hitch.conf"), settings)?;
    let process = Process::listening(
        Command::new("hitch")
            .args(["--config", &files.path("hitch.conf"), "--user", "root"])
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )?;
    files.relay("hitch", process, port)
}
