//! Carnet's MSRP relay beside Kamailio's, and AG Projects' msrprelay, in one run.
//!
//!     carnet-bench-msrprelay [--rounds 5] [--seconds 3] [--pairs 100] [--sizes 200,4096] [--only tcp,tls,chunk]
//!                            [--chunk 104857600] [--threads 1] [--json]
//!
//! * `tcp`, `tls`: one client of each pair has a URI of the relay (AUTH, digest), the other sends to it through
//!   the relay, one SEND at a time; every body is compared. Relays are started anew for each measurement and take
//!   turns. Measured are the CPU time of the relay's process a SEND with its two responses, SENDs a second, and
//!   the time from a SEND to its arrival; said is Carnet's share of Kamailio's, paired by round. TLS is that of
//!   the same client on both, and what the server prefers of it.
//!   msrprelay, written in Python, takes part over TCP where `CARNET_MSRPRELAY` says how to run it
//!   (`python3 /somewhere/msrprelay`).
//! * `chunk`: one SEND of one chunk, every octet compared, and how much memory the relay took for it.
//!
//! `--json` says the results as lines of [`carnet_load::outcome`].

mod authenticate;
mod chunk;
mod clients;
mod pair;
mod relays;
mod wire;

use carnet_load::outcome::{Line, median};
use clients::Figures;
use relays::{Kind, Peer};
use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Options {
    rounds: usize,
    seconds: f64,
    pairs: usize,
    sizes: Vec<usize>,
    only: Vec<String>,
    chunk: u64,
    /// Of Carnet's relay.
    threads: usize,
    json: bool,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options {
        rounds: 5,
        seconds: 3.0,
        pairs: 100,
        sizes: vec![200, 4096],
        only: Vec::new(),
        chunk: 100 << 20,
        threads: 1,
        json: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "--rounds" => options.rounds = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--pairs" => options.pairs = value()?.parse()?,
            "--sizes" => {
                options.sizes = value()?.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
            }
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--chunk" => options.chunk = value()?.parse()?,
            "--threads" => options.threads = value()?.parse()?,
            "--json" => options.json = true,
            // This program again, as the relay that is measured.
            "--serve" => {
                return relays::serve(value()?.parse()?, value()?.parse()?, value()?.parse()?, &value()?);
            }
            other => return Err(format!("what is `{other}`?").into()),
        }
    }
    let wants = |kind: &str| options.only.is_empty() || options.only.iter().any(|only| only == kind);
    for (kind, secure) in [("tcp", false), ("tls", true)] {
        if wants(kind) {
            for size in &options.sizes {
                messages(&options, secure, *size)?;
            }
        }
    }
    if wants("chunk") {
        for secure in [false, true] {
            chunk::measure(options.chunk, secure, options.json)?;
        }
    }
    Ok(())
}

fn messages(options: &Options, secure: bool, size: usize) -> Result<()> {
    let wire = if secure { "TLS" } else { "TCP" };
    let (cpu_goal, cpu_wanted) = if secure { ("D2", 0.60) } else { ("D1", 0.65) };
    if !relays::has_kamailio(secure) {
        let what = format!("SEND of {size} octets over {wire}, relay CPU");
        println!("{}", Line::absent(cpu_goal, &what, "Kamailio's modules msrp and tls are not installed"));
        return Ok(());
    }
    let with_msrprelay = !secure && relays::has_msrprelay();
    let mut kinds = vec![Kind::Kamailio, Kind::Carnet];
    kinds.extend(with_msrprelay.then_some(Kind::Msrprelay));
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..options.rounds {
        for (kind, figures) in kinds.iter().zip(&mut all) {
            let peer = Peer::start(*kind, options.pairs, secure, options.threads)?;
            let one = clients::measure(&peer, options.pairs, size, options.seconds)?;
            if !options.json {
                println!("{size} B, {wire}, round {}: {:9} {one}", round + 1, kind.name());
            }
            figures.push(one);
        }
    }
    let [kamailio, carnet, msrprelay] = &all;
    let values = |list: &[Figures], of: fn(&Figures) -> f64| list.iter().map(of).collect::<Vec<_>>();
    if options.json {
        let line = |goal: &str, what: &str, unit: &str, of: fn(&Figures) -> f64, wanted: Option<f64>| {
            let what = format!("SEND of {size} octets over {wire}, {} pairs, {what}", options.pairs);
            let peers = ("Kamailio", &*values(kamailio, of));
            println!("{}", Line::compare(goal, &what, unit, peers, &values(carnet, of), wanted));
        };
        line(cpu_goal, "relay CPU", "us", |f| f.cpu, Some(cpu_wanted));
        if with_msrprelay {
            let what = format!("SEND of {size} octets over {wire}, {} pairs, relay CPU", options.pairs);
            let peers = ("msrprelay", &*values(msrprelay, |f| f.cpu));
            println!(
                "{}",
                Line::compare(cpu_goal, &what, "us", peers, &values(carnet, |f| f.cpu), Some(0.02))
            );
        }
        // The goal of the delay is one for TCP, at the size of messages that people write.
        let (goal, wanted) = if secure || size > 1_000 { ("", None) } else { ("D3", Some(0.5)) };
        line(goal, "median delay", "ms", |f| f.p50, wanted);
        line("", "99th percentile of the delay", "ms", |f| f.p99, None);
        line("", "time a SEND", "us", |f| 1e6 / f.rate, None);
        return Ok(());
    }
    let beside = |peer: &[Figures], of: fn(&Figures) -> f64| {
        median(carnet.iter().zip(peer).map(|(ours, theirs)| of(ours) / of(theirs)).collect())
    };
    let ratio = |of| beside(kamailio, of);
    if with_msrprelay {
        let cpu = beside(msrprelay, |f| f.cpu);
        println!(
            "{size} B, {wire}, {} pairs, Carnet / msrprelay: CPU a SEND {cpu:.3} (goal 0.02)",
            options.pairs
        );
    }
    println!(
        "{size} B, {wire}, {} pairs, Carnet / Kamailio: CPU a SEND {:.2} (goal {cpu_wanted:.2}), SENDs a second {:.2}, \
         p50 {:.2}, p99 {:.2}\n",
        options.pairs,
        ratio(|f| f.cpu),
        ratio(|f| f.rate),
        ratio(|f| f.p50),
        ratio(|f| f.p99),
    );
    Ok(())
}
