//! Carnet's media engine beside HAProxy, nginx and hand-written address translation, measured in one run.
//!
//! `cargo run --release -p carnet-bench-relay` as root makes network namespaces (client, gateways, server) joined by
//! veth pairs, starts the relays, and takes turns: every relay once a round. What counts is CPU time for
//! what the receiving side confirmed, because wall-clock throughput on a small host is bounded by the load
//! itself; `carnet-load` compares every octet. `added` is the CPU of relay, load and the kernel's packet threads
//! less that of the same load without a relay, in the same round. Each ratio is the median of the rounds' ratios.
//!
//! The H.248 signalling that makes pinholes is not in the figures: they are made before.
//!
//! Options: `--rounds N` (5), `--seconds S` (2), `--sessions N` (4000, for idle memory), `--stalled N`
//! (30), `--threads N` (1; with more, nothing is bound to a processor), `--only KIND,KIND` (of `up`,
//! `down`, `up1`, `down1`, `messages`, `messages4k`, `connections`, `ping`, `idle`, `stalled`), `--relays
//! NAME,NAME` (of `haproxy`, `haproxy-splice`, `nginx`, `nginx-64k`, `nftables`, `carnet`, `carnet-steered`,
//! `carnet-kernel`), `--machine` (on an idle machine: all that its processors did, instead of the processes
//! that are known), `--json`.

mod engine;
mod memory;
mod peers;
mod place;
mod table;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use carnet_load::outcome::Line;
use carnet_load::process::{Process, machine_cpu, softirq_cpu};
use peers::{PAIRS, Relay, SERVER, Who, start};
use place::Place;
use table::{Kind, Sample, Table};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the command line asks for.
#[derive(Debug, Clone)]
struct Options {
    rounds: usize,
    seconds: f64,
    sessions: usize,
    stalled: usize,
    threads: usize,
    only: Vec<String>,
    relays: Vec<String>,
    machine: bool,
    json: bool,
}

impl Options {
    fn wants(&self, load: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == load)
    }

    fn wants_relay(&self, who: Who) -> bool {
        self.relays.is_empty() || who == Who::Direct || self.relays.iter().any(|name| name == who.name())
    }
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["engine", rest @ ..] => engine::run(rest)?,
        ["load", ..] => {
            let words = arguments.get(1..).unwrap_or_default();
            return Ok(carnet_load::program::run(words, &["load"]));
        }
        rest => return compare(&parse(rest)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options {
        rounds: 5,
        seconds: 2.0,
        sessions: 4_000,
        stalled: 30,
        threads: 1,
        only: Vec::new(),
        relays: Vec::new(),
        machine: false,
        json: false,
    };
    let list = |value: &str| value.split(',').map(str::to_owned).collect();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match *word {
            "--rounds" => options.rounds = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--sessions" => options.sessions = value()?.parse()?,
            "--stalled" => options.stalled = value()?.parse()?,
            "--threads" => options.threads = value()?.parse()?,
            "--only" => options.only = list(value()?),
            "--relays" => options.relays = list(value()?),
            "--machine" => options.machine = true,
            "--json" => options.json = true,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(options)
}

fn compare(options: &Options) -> Result<ExitCode> {
    let place = Place::make(options.threads)?;
    let server = serve(&place)?;
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| options.wants(kind.name())).collect();
    let (mut lines, mut failures) = (Vec::new(), 0);
    if !kinds.is_empty() {
        let (mut relays, mut absent) = (Vec::new(), Vec::new());
        for who in Who::ALL {
            if !options.wants_relay(who) {
                absent.push((who, "not asked for".to_owned()));
                continue;
            }
            match start(who, &place, options.threads, PAIRS) {
                Ok(relay) => relays.push(relay),
                Err(why) => {
                    eprintln!("{} is not available: {why}", who.name());
                    absent.push((who, why.to_string()));
                }
            }
        }
        let mut table = Table::default();
        for round in 0..options.rounds {
            for &kind in &kinds {
                for relay in &relays {
                    let sample = measure(&place, relay, &server, kind, options);
                    match &sample {
                        Ok(sample) => {
                            eprintln!(
                                "round {} {:12} {:16} {sample}",
                                round + 1,
                                kind.name(),
                                relay.who.name()
                            );
                        }
                        Err(why) => {
                            failures += 1;
                            eprintln!(
                                "round {} {:12} {:16} FAILED: {why}",
                                round + 1,
                                kind.name(),
                                relay.who.name()
                            );
                        }
                    }
                    table.add(round, kind, relay.who, sample.ok());
                }
            }
        }
        lines = table.lines(&kinds, options.rounds, options.threads, &absent);
        if !options.relays.is_empty() {
            lines.retain(
                |line| !matches!(line, Line::Absent(absent) if absent.absent.ends_with("not asked for")),
            );
        }
    }
    // What holds sessions has servers of its own, on the same ports.
    drop(server);
    if options.wants("idle") {
        lines.extend(memory::idle(&place, options)?);
    }
    if options.wants("stalled") {
        lines.extend(memory::stalled(&place, options)?);
    }
    for line in lines {
        if options.json { println!("{line}") } else { println!("{}", line.text()) }
    }
    if failures > 0 {
        eprintln!("{failures} measurements failed; their rounds are not in the figures");
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn serve(place: &Place) -> Result<Process> {
    let (address, ports) = (format!("0.0.0.0:{SERVER}"), Who::ALL.len().to_string());
    place.server.start(&words(&["load", "serve", &address, "--ports", &ports]))
}

fn measure(place: &Place, relay: &Relay, server: &Process, kind: Kind, options: &Options) -> Result<Sample> {
    let (address, port, ports) = &relay.doors;
    let (load, more) = kind.load();
    let target = format!("{address}:{port}");
    let ports = ports.to_string();
    // What is made of a number of connections ends with them.
    let seconds = if kind == Kind::Connections { 60.0 } else { options.seconds };
    let seconds = seconds.to_string();
    let mut arguments = words(&["load", load, &target, "--ports", &ports, "--seconds", &seconds, "--json"]);
    arguments.extend(words(more));
    if kind == Kind::Ping {
        // Without waking another processor, which costs more than any relay.
        relay.process.as_ref().map_or(Ok(()), |process| process.bind("0"))?;
    }
    let cpu = || -> Result<[f64; 3]> {
        let machine = if options.machine { machine_cpu()? } else { server.cpu()? + softirq_cpu()? };
        let relay = relay.process.as_ref().map_or(Ok(0.0), Process::cpu_of_all)?;
        Ok([machine, relay, 0.0])
    };
    let before = cpu()?;
    let (fine, told) = place.client.finish(&arguments)?;
    // Let the relay close what is left before its time is taken.
    std::thread::sleep(Duration::from_millis(200));
    let after = cpu()?;
    if kind == Kind::Ping && options.threads == 1 {
        relay.process.as_ref().map_or(Ok(()), |process| process.bind("1"))?;
    }
    let told: serde_json::Value = serde_json::from_str(told.trim())?;
    if !fine {
        return Err(format!(
            "{} of {} octets' sessions failed: {}",
            told["failed"], told["octets"], told["reasons"]
        )
        .into());
    }
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::NAN);
    let units = if matches!(load, "up" | "down") { number(&told["octets"]) } else { number(&told["units"]) };
    let relay_cpu = after[1] - before[1];
    let rest = after[0] - before[0];
    let all_cpu = if options.machine { rest } else { rest + relay_cpu + number(&told["cpu_seconds"]) };
    let p50 = number(&told["latency_us"]["p50"]);
    Ok(Sample { units, wall: number(&told["seconds"]), relay_cpu, all_cpu, p50 })
}
