//! Carnet's media engine beside HAProxy in TCP mode, measured in one run.
//!
//! `cargo run --release -p carnet-bench-relay` as root makes three network namespaces (client, relay, server)
//! joined by veth pairs, starts the relays, and takes turns: every relay once a round. What counts
//! is CPU time for what the receiving side confirmed, because wall-clock throughput on a small host
//! is bounded by the load itself. `added` is the CPU of relay and load together less that of the same
//! load without a relay. Each ratio is the median of the rounds' ratios.
//!
//! The H.248 signalling that makes pinholes is not in the figures: they are made before.
//!
//! Options: `--rounds N` (5), `--seconds S` (2), `--sessions N` (4000, for memory), `--loopback`.

mod engine;
mod load;
mod place;
mod process;
mod table;

use std::error::Error;
use std::time::Duration;

use place::Place;
use process::Process;
use table::{Kind, Sample, Table};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pinhole pairs of the engine; as many connections can stand at once.
const PAIRS: u16 = 6_000;
const BULK_STREAMS: usize = 16;
const TALKERS: usize = 500;
const CALLERS: usize = 32;

/// What the command line asks for.
#[derive(Debug, Clone, Copy)]
struct Options {
    rounds: usize,
    seconds: f64,
    sessions: usize,
    loopback: bool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["engine", rest @ ..] => engine::run(rest),
        ["server", address] => load::serve(address),
        ["client", rest @ ..] => load::client(rest),
        rest => compare(parse(rest)?),
    }
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options { rounds: 5, seconds: 2.0, sessions: 4_000, loopback: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match *word {
            "--rounds" => options.rounds = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--sessions" => options.sessions = value()?.parse()?,
            "--loopback" => options.loopback = true,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(options)
}

/// A relay under test and where callers find it.
struct Relay {
    name: &'static str,
    /// None: the callers go to the server themselves.
    process: Option<Process>,
    /// Address, first port, ports.
    doors: (String, u16, u16),
}

fn compare(options: Options) -> Result<()> {
    let place = Place::make(options.loopback)?;
    let server = place.server.start(&["server", &format!("{}:7000", place.server_address)])?;
    let mut relays = start_relays(&place)?;
    let mut table = Table::default();
    for round in 0..options.rounds {
        for kind in [Kind::Up, Kind::Down, Kind::Messages, Kind::Connections] {
            for relay in &mut relays {
                let sample = measure(&place, relay, &server, kind, options.seconds)?;
                eprintln!("round {} {:12} {:16} {sample}", round + 1, kind.name(), relay.name);
                table.add(kind, relay.name, sample);
            }
        }
    }
    drop(relays);
    let memory = idle_memory(&place, options.sessions)?;
    table.print(options.loopback, options.rounds, options.seconds);
    println!("\nMemory of an idle session, user space, octets ({} sessions)\n", options.sessions);
    println!("| relay | octets |\n| --- | --- |");
    for (name, octets) in memory {
        println!("| {name} | {octets:.0} |");
    }
    Ok(())
}

fn start_relays(place: &Place) -> Result<Vec<Relay>> {
    let target = format!("{}:7000", place.server_address);
    let caller_side = place.relay_address.clone();
    let mut relays =
        vec![Relay { name: "direct", process: None, doors: (place.server_address.clone(), 7000, 1) }];
    for (name, port, splice) in [("HAProxy", 6001, false), ("HAProxy splice", 6002, true)] {
        let process = place.relay.haproxy(&caller_side, port, &target, splice)?;
        relays.push(Relay { name, process: Some(process), doors: (caller_side.clone(), port, 1) });
    }
    let first = 10_000;
    let arguments =
        ["engine", &caller_side, &place.far_address, &first.to_string(), &PAIRS.to_string(), &target];
    let process = place.relay.start(&arguments)?;
    relays.push(Relay { name: "Carnet", process: Some(process), doors: (caller_side, first, PAIRS) });
    Ok(relays)
}

fn measure(place: &Place, relay: &Relay, server: &Process, kind: Kind, seconds: f64) -> Result<Sample> {
    let (address, port, ports) = &relay.doors;
    let streams = match kind {
        Kind::Up | Kind::Down => BULK_STREAMS,
        Kind::Messages => TALKERS,
        Kind::Connections => CALLERS,
    };
    let cpu = || -> Result<(f64, f64)> {
        Ok((server.cpu()?, relay.process.as_ref().map_or(Ok(0.0), Process::cpu)?))
    };
    let (server_before, relay_before) = cpu()?;
    let arguments = [
        "client",
        kind.name(),
        address,
        &port.to_string(),
        &ports.to_string(),
        &streams.to_string(),
        &seconds.to_string(),
    ];
    let told = place.client.finish(&arguments)?;
    // Let the relay close what is left before its time is taken.
    std::thread::sleep(Duration::from_millis(200));
    let (server_after, relay_after) = cpu()?;
    let mut fields = told.split_whitespace().map(str::parse::<f64>);
    let mut field = || -> Result<f64> { Ok(fields.next().ok_or("the client said too little")??) };
    let (units, wall, client_cpu) = (field()?, field()?, field()?);
    let relay_cpu = relay_after - relay_before;
    Ok(Sample { units, wall, relay_cpu, all_cpu: relay_cpu + client_cpu + server_after - server_before })
}

/// Octets of user memory for each idle session, each relay freshly started.
fn idle_memory(place: &Place, sessions: usize) -> Result<Vec<(&'static str, f64)>> {
    // A pinhole exists before its connection, so an engine is compared with one that has none.
    let target = format!("{}:7000", place.server_address);
    let small = ["engine", &place.relay_address, &place.far_address, "10000", "1", &target];
    let empty = place.relay.start(&small)?.private_memory()?;
    let mut found = Vec::new();
    for relay in start_relays(place)? {
        let Some(process) = &relay.process else { continue };
        let (address, port, ports) = &relay.doors;
        let pinholes = *ports > 1;
        let before = if pinholes { empty } else { process.private_memory()? };
        let arguments =
            ["client", "idle", address, &port.to_string(), &ports.to_string(), &sessions.to_string(), "0"];
        let mut client = place.client.start(&arguments)?;
        let after = process.private_memory()?;
        client.stop();
        let count = if pinholes { f64::from(*ports) } else { sessions as f64 };
        found.push((relay.name, (after as f64 - before as f64) / count));
    }
    Ok(found)
}
