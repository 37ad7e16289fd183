//! TLS that ends at a pinhole beside HAProxy, and MSRP whose paths are rewritten beside Kamailio's msrp
//! module, each in one run.
//!
//! `cargo run --release -p carnet-bench-edge` starts the relays on loopback, one thread or worker each, and
//! takes turns: every relay once a round. What counts is the CPU time of the relay's process for what the
//! receiving side confirmed; each ratio is the median of the rounds' ratios. The H.248 signalling that makes
//! pinholes is not in the figures: they are made before, one for each session at a time.
//!
//! * `handshakes`: a terminal with a certificate connects, sends an octet, gets it back from the core and
//!   ends in order. TLS 1.3, X25519, AES-128-GCM, certificates with P-256 on both sides, no resumption.
//! * `up`, `down`: bulk over four such connections, from the terminal to the core and back.
//! * `idle`: anonymous memory for each session in TLS that does nothing.
//! * `frames`: MSRP requests with bodies of 400 octets on 32 sessions.
//! * `stalled`: the same number of frames to one reader that reads nothing for 3 s; how many were lost.
//!
//! Options: `--rounds N` (5), `--seconds S` (2), `--sessions N` (2000, for idle memory), `--only KIND,KIND`.

mod engine;
mod load;
mod msrp;
mod plain;

use std::error::Error;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use carnet_load::process::Process;
use carnet_tls::{Credential, SubjectName};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pinhole pairs of the engine; as many sessions can stand at once.
const PAIRS: u16 = 2_200;
const FIRST_PORT: u16 = 12_000;

struct Options {
    rounds: usize,
    seconds: f64,
    sessions: usize,
    only: Vec<String>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"engine", rest)) => return engine::run(rest),
        Some((&"plain", rest)) => return plain::run(rest),
        _ => {}
    }
    let mut options = Options { rounds: 5, seconds: 2.0, sessions: 2_000, only: Vec::new() };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} wants a value"))?;
        match word {
            "--rounds" => options.rounds = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--sessions" => options.sessions = value.parse()?,
            "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            other => return Err(format!("no such option: {other}").into()),
        }
    }
    let folder = tempfile::tempdir()?;
    if ["handshakes", "up", "down", "idle"].into_iter().any(|kind| options.wants(kind)) {
        tls(&options, folder.path())?;
    }
    if ["frames", "stalled"].into_iter().any(|kind| options.wants(kind)) {
        msrp::measure(&options, folder.path())?;
    }
    Ok(())
}

impl Options {
    fn wants(&self, kind: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == kind)
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// This program in another role.
fn ourselves(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdout(Stdio::piped());
    Ok(command)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints the medians, and the median of the ratios of each round.
fn report(kind: &str, unit: &str, ours: (&str, &[f64]), theirs: (&str, &[f64])) {
    let ratios = ours.1.iter().zip(theirs.1).map(|(ours, theirs)| ours / theirs).collect();
    println!(
        "{kind:<12} {:>12.1} {} {:>12.1} {} ratio {:>6.2}   {unit}",
        median(ours.1.to_vec()),
        ours.0,
        median(theirs.1.to_vec()),
        theirs.0,
        median(ratios)
    );
}

fn tls(options: &Options, folder: &Path) -> Result<()> {
    let terminal = Credential::self_signed(&[SubjectName::Dns("ue".into())], 1)?;
    let (plain_port, haproxy_port) = (free_port()?, free_port()?);
    let plain = format!("127.0.0.1:{plain_port}");
    let _plain = Process::start(&mut ourselves(&["plain", &plain])?)?;
    let fingerprint = terminal.fingerprint()?.to_string();
    let (first, pairs) = (FIRST_PORT.to_string(), PAIRS.to_string());
    let carnet = Process::start(
        ourselves(&["engine", "tls", &first, &pairs, &plain, &fingerprint])?.stderr(Stdio::null()),
    )?;
    let shown = carnet.1.clone();

    let server = Credential::self_signed(&[SubjectName::Dns("gw".into())], 1)?;
    let mut pem = server.certificate_pem()?;
    pem.extend_from_slice(&server.private_key_pem()?);
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(path("server.pem"), pem)?;
    fs::write(path("client.pem"), terminal.certificate_pem()?)?;
    let settings = format!(
        "global\n maxconn 4000\n nbthread 1\n tune.ssl.cachesize 0\n tune.ssl.default-dh-param 2048\n \
         ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets\n ssl-default-bind-curves X25519:P-256\n\
         defaults\n mode tcp\n timeout connect 10s\n timeout client 300s\n timeout server 300s\n\
         listen e2ae\n bind 127.0.0.1:{haproxy_port} ssl crt {} verify required ca-file {}\n server core {plain}\n",
        path("server.pem"),
        path("client.pem"),
    );
    fs::write(path("haproxy.cfg"), settings)?;
    let haproxy = Process::listening(
        Command::new("haproxy").args(["-db", "-f", &path("haproxy.cfg")]).stdout(Stdio::null()),
    )?;

    let doors: Vec<SocketAddr> =
        (FIRST_PORT..FIRST_PORT + PAIRS).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
    let ours = load::Terminal::new(&terminal, &shown, doors)?;
    let door = SocketAddr::from(([127, 0, 0, 1], haproxy_port));
    let theirs = load::Terminal::new(&terminal, &server.fingerprint()?.to_string(), vec![door])?;
    let time = Duration::from_secs_f64(options.seconds);

    for kind in ["handshakes", "up", "down"] {
        if !options.wants(kind) {
            continue;
        }
        let mut results = [Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            for ((terminal, process), results) in
                [(&ours, &carnet), (&theirs, &haproxy)].into_iter().zip(&mut results)
            {
                let before = process.cpu()?;
                let done = match kind {
                    "handshakes" => terminal.handshakes(time)? as f64,
                    // Gbit.
                    other => terminal.bulk(time, other == "up")? as f64 * 8.0 / 1e9,
                };
                results.push(done / (process.cpu()? - before));
            }
        }
        let unit = if kind == "handshakes" { "a CPU second" } else { "Gbit a CPU second" };
        let [ours, theirs] = &results;
        report(kind, unit, ("Carnet", ours), ("HAProxy", theirs));
    }
    if options.wants("idle") {
        let mut results = Vec::new();
        for (terminal, process) in [(&ours, &carnet), (&theirs, &haproxy)] {
            let before = process.private_memory()?;
            let held = terminal.hold(options.sessions)?;
            std::thread::sleep(Duration::from_secs(1));
            results.push((process.private_memory()? - before) as f64 / options.sessions as f64 / 1024.0);
            drop(held);
        }
        report("idle", "KiB a session", ("Carnet", &results[..1]), ("HAProxy", &results[1..]));
    }
    Ok(())
}
