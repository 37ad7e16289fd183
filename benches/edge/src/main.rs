//! TLS that ends at a pinhole beside HAProxy, nginx and hitch, and MSRP whose paths are rewritten beside
//! Kamailio's msrp module, each in one run.
//!
//! `cargo run --release -p carnet-bench-edge` starts the relays on loopback, one thread or worker each, and
//! takes turns: every relay once a round. What counts is the CPU time of the relay's process for what the
//! receiving side confirmed; each ratio is the median of the rounds' ratios. The H.248 signalling that makes
//! pinholes is not in the figures: they are made before, one for each session at a time. A peer that is not
//! installed is said to be absent.
//!
//! * `tls13`, `tls12`: a terminal with a certificate connects, sends an octet, gets it back from the core and
//!   ends in order. X25519, AES-128-GCM, certificates with P-256 on both sides, no resumption.
//! * `up1`, `down1`, `up16`, `down16`: bulk over one or sixteen such connections, from the terminal to the
//!   core and back.
//! * `idle`: anonymous memory for each session in TLS that does nothing.
//! * `frames`: MSRP requests with bodies of 400 octets on 32 sessions.
//! * `rewriting`: what the rewriting adds to a relay that passes octets on: copied into one piece, and told as parts
//!   that leave in one call.
//! * `stalled`: the same number of frames to one reader that reads nothing for 3 s; how many were lost.
//!
//! Options: `--rounds N` (5), `--seconds S` (2), `--sessions N` (2000, for idle memory), `--only KIND,KIND`,
//! `--json` (a line of JSON for each result of TLS).

mod engine;
mod load;
mod msrp;
mod plain;
mod rewriting;
mod tls;

use std::error::Error;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use carnet_load::outcome::{Line, median};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pinhole pairs of the engine; as many sessions can stand at once.
const PAIRS: u16 = 2_200;
const FIRST_PORT: u16 = 12_000;

struct Options {
    rounds: usize,
    seconds: f64,
    sessions: usize,
    only: Vec<String>,
    json: bool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"engine", rest)) => return engine::run(rest),
        Some((&"plain", rest)) => return plain::run(rest),
        _ => {}
    }
    let mut options = Options { rounds: 5, seconds: 2.0, sessions: 2_000, only: Vec::new(), json: false };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--json" {
            options.json = true;
            continue;
        }
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
    if tls::KINDS.into_iter().any(|kind| options.wants(kind)) {
        tls::measure(&options, folder.path())?;
    }
    if ["frames", "stalled"].into_iter().any(|kind| options.wants(kind)) {
        msrp::measure(&options, folder.path())?;
    }
    if options.wants("rewriting") {
        rewriting::measure(&options)?;
    }
    Ok(())
}

impl Options {
    fn wants(&self, kind: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == kind)
    }

    /// Says a result: as JSON, or for people.
    fn say(&self, line: &Line) {
        match line {
            _ if self.json => println!("{line}"),
            Line::Absent(absent) => println!("{:<44} not measured: {}", absent.what, absent.absent),
            Line::Outcome(it) => println!(
                "{:<44} {:>8.2} {:<4} {:<8} {:>8.2}  ratio {:.2} ({:.2}-{:.2})",
                it.what, it.carnet_value, it.unit, it.peer, it.peer_value, it.ratio, it.least, it.most
            ),
        }
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
