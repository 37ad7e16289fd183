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
//! Connections are also measured through HAProxy with as many listening ports as Carnet has pinholes
//! for them. Memory is that of idle sessions, and what sessions pin whose reader stopped.
//!
//! Options: `--rounds N` (5), `--seconds S` (2), `--sessions N` (4000, for idle memory), `--stalled N`
//! (30), `--threads N` (1; with more, nothing is bound to a processor), `--only KIND,KIND` (of `up`,
//! `down`, `up1`, `down1`, `messages`, `messages4k`, `connections`, `idle`, `stalled`), `--loopback`.

mod engine;
mod load;
mod place;
mod table;

use std::error::Error;
use std::time::Duration;

use carnet_load::process::Process;
use place::{Host, Place};
use table::{Kind, Sample, Table};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pinhole pairs of the engine; as many connections can stand at once.
const PAIRS: u16 = 6_000;
const BULK_STREAMS: usize = 16;
const TALKERS: usize = 500;
const CALLERS: usize = 32;
/// Listening ports of the HAProxy that has many: as many as connections are made at a time.
const BINDS: u16 = 2_000;

/// What the command line asks for.
#[derive(Debug, Clone)]
struct Options {
    rounds: usize,
    seconds: f64,
    sessions: usize,
    stalled: usize,
    threads: usize,
    only: Vec<String>,
    loopback: bool,
}

impl Options {
    fn wants(&self, load: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == load)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["engine", rest @ ..] => engine::run(rest),
        ["server", address, ports] => load::serve(address, ports),
        ["client", rest @ ..] => load::client(rest),
        rest => compare(parse(rest)?),
    }
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options {
        rounds: 5,
        seconds: 2.0,
        sessions: 4_000,
        stalled: 30,
        threads: 1,
        only: Vec::new(),
        loopback: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match *word {
            "--rounds" => options.rounds = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--sessions" => options.sessions = value()?.parse()?,
            "--stalled" => options.stalled = value()?.parse()?,
            "--threads" => options.threads = value()?.parse()?,
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
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

const MANY: &str = "HAProxy, 2,000 ports";

fn compare(options: Options) -> Result<()> {
    let place = Place::make(options.loopback, options.threads)?;
    let server = place.server.start(&["server", &format!("{}:{SERVER}", place.server_address), "5"])?;
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| options.wants(kind.name())).collect();
    let mut table = Table::default();
    let mut names = Vec::new();
    if !kinds.is_empty() {
        let mut relays = start_relays(&place, options.threads)?;
        names.extend(relays.iter().map(|relay| relay.name));
        for round in 0..options.rounds {
            for &kind in &kinds {
                for relay in &mut relays {
                    if relay.name == MANY && kind != Kind::Connections {
                        continue;
                    }
                    let sample = measure(&place, relay, &server, kind, options.seconds)?;
                    eprintln!("round {} {:12} {:20} {sample}", round + 1, kind.name(), relay.name);
                    table.add(kind, relay.name, sample);
                }
            }
        }
    }
    let idle = if options.wants("idle") { idle_memory(&place, &options)? } else { Vec::new() };
    let stalled = if options.wants("stalled") { stalled_memory(&place, &options)? } else { Vec::new() };
    let where_ = if options.loopback { "loopback" } else { "three namespaces joined by veth" };
    println!(
        "{where_}, {} thread(s), {} rounds of {} s each, medians; ratio to HAProxy in brackets\n",
        options.threads, options.rounds, options.seconds
    );
    table.print(&kinds, &names);
    if !idle.is_empty() {
        println!("Memory of an idle session, user space, octets ({} sessions)\n", options.sessions);
        println!("| relay | octets |\n| --- | --- |");
        for (name, octets) in idle {
            println!("| {name} | {octets:.0} |");
        }
    }
    if !stalled.is_empty() {
        println!("\nWhat a session pins whose reader stopped, KiB ({} sessions)\n", options.stalled);
        println!("| relay | its sockets | pipes and buffers | together |\n| --- | --- | --- | --- |");
        for (name, sockets, between) in stalled {
            println!("| {name} | {sockets:.0} | {between:.0} | {:.0} |", sockets + between);
        }
    }
    Ok(())
}

fn start_relays(place: &Place, threads: usize) -> Result<Vec<Relay>> {
    let caller_side = place.relay_address.clone();
    let mut relays =
        vec![Relay { name: "direct", process: None, doors: (place.server_address.clone(), SERVER, 1) }];
    for (name, port, ports, splice, server) in [
        ("HAProxy", 6001, 1, false, SERVER + 1),
        ("HAProxy splice", 6002, 1, true, SERVER + 2),
        (MANY, 20_000, BINDS, false, SERVER + 3),
    ] {
        let target = format!("{}:{server}", place.server_address);
        let process = place.relay.haproxy(&caller_side, (port, ports), &target, splice, threads)?;
        relays.push(Relay { name, process: Some(process), doors: (caller_side.clone(), port, ports) });
    }
    let process = place.relay.start(&engine_arguments(place, PAIRS, threads).each_ref().map(|s| &**s))?;
    relays.push(Relay { name: CARNET, process: Some(process), doors: (caller_side, FIRST, PAIRS) });
    Ok(relays)
}

const CARNET: &str = "Carnet";
/// The server's first port; each relay has its own.
const SERVER: u16 = 7_000;
/// First port of Carnet's pinholes.
const FIRST: u16 = 8_000;

fn engine_arguments(place: &Place, pairs: u16, threads: usize) -> [String; 7] {
    [
        "engine".into(),
        place.relay_address.clone(),
        place.far_address.clone(),
        FIRST.to_string(),
        pairs.to_string(),
        format!("{}:{}", place.server_address, SERVER + 4),
        threads.to_string(),
    ]
}

fn measure(place: &Place, relay: &Relay, server: &Process, kind: Kind, seconds: f64) -> Result<Sample> {
    let (address, port, ports) = &relay.doors;
    let streams = match kind {
        Kind::Up | Kind::Down => BULK_STREAMS,
        Kind::OneUp | Kind::OneDown => 1,
        Kind::Messages | Kind::Large => TALKERS,
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
fn idle_memory(place: &Place, options: &Options) -> Result<Vec<(&'static str, f64)>> {
    // A pinhole exists before its connection, so an engine is compared with one that has none.
    let small = engine_arguments(place, 1, options.threads);
    let empty = place.relay.start(&small.each_ref().map(|s| &**s))?.private_memory()?;
    let mut found = Vec::new();
    for relay in start_relays(place, options.threads)? {
        let Some(process) = relay.process.as_ref().filter(|_| relay.name != MANY) else { continue };
        let pinholes = relay.name == CARNET;
        let before = if pinholes { empty } else { process.private_memory()? };
        let mut client = hold(place, &relay, "idle", options.sessions)?;
        let after = process.private_memory()?;
        client.stop();
        let count = if pinholes { f64::from(PAIRS) } else { options.sessions as f64 };
        found.push((relay.name, (after as f64 - before as f64) / count));
    }
    Ok(found)
}

/// KiB that each session pins whose reader stopped: in the relay's sockets, and of payload elsewhere in
/// the relay.
fn stalled_memory(place: &Place, options: &Options) -> Result<Vec<(&'static str, f64, f64)>> {
    let mut found = Vec::new();
    for relay in start_relays(place, options.threads)? {
        if relay.name == MANY || relay.process.is_none() {
            continue;
        }
        let hosts = [&place.client, &place.relay, &place.server];
        let before = hosts.map(Host::sockets);
        let mut client = hold(place, &relay, "stalled", options.stalled)?;
        let after = hosts.map(Host::sockets);
        let written: f64 = client.1.parse()?;
        client.stop();
        let (mut memory, mut payload) = (0.0, 0.0);
        for (index, (before, after)) in before.into_iter().zip(after).enumerate() {
            let (before, after) = (before?, after?);
            payload += after.1 as f64 - before.1 as f64;
            if index == 1 {
                memory = after.0 as f64 - before.0 as f64;
            }
        }
        let each = 1024.0 * options.stalled as f64;
        found.push((relay.name, memory / each, (written - payload) / each));
        // The next one begins with nothing left.
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(found)
}

/// Starts a client that holds its sessions until it is stopped.
fn hold(place: &Place, relay: &Relay, kind: &str, sessions: usize) -> Result<Process> {
    let (address, port, ports) = &relay.doors;
    place.client.start(&[
        "client",
        kind,
        address,
        &port.to_string(),
        &ports.to_string(),
        &sessions.to_string(),
        "0",
    ])
}
