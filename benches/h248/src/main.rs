//! Carnet's gateway beside one made of Erlang/OTP's megaco that answers the same transactions with fixed
//! replies, in one run.
//!
//! `cargo run --release -p carnet-bench-h248 -- target/release/carnet [--rounds N] [--contexts N]
//! [--in-flight N] [--gateway-core N] [--load-core N]`
//!
//! A controller of ours keeps a number of contexts in flight over UDP, each of three transactions: Add of
//! two terminations, Modify of both, Subtract of both. Every reply is read and checked: its number, its
//! commands, no error, addresses where some were asked for. Each gateway is a process on a core of its own
//! (`taskset`) and registers first. The gateways take turns, each once a round. What counts is the time the
//! gateway was on a processor for each context, which other work on the machine changes little; the rate on
//! the clock is shown beside it.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod controller;
mod gateway;

use controller::Controller;
use gateway::Gateway;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What anything here returns.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Args {
    carnet: PathBuf,
    rounds: usize,
    contexts: usize,
    in_flight: usize,
    gateway_core: usize,
    load_core: usize,
}

fn args() -> Result<Args> {
    let mut out = Args {
        carnet: "target/release/carnet".into(),
        rounds: 5,
        contexts: 20_000,
        in_flight: 32,
        gateway_core: 0,
        load_core: 1,
    };
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        let mut number = || given.next().ok_or(format!("{arg} needs a number")).map(|n| n.parse::<usize>());
        match arg.as_str() {
            "--rounds" => out.rounds = number()??,
            "--contexts" => out.contexts = number()??,
            "--in-flight" => out.in_flight = number()??,
            "--gateway-core" => out.gateway_core = number()??,
            "--load-core" => out.load_core = number()??,
            _ if arg.starts_with('-') => return Err(format!("{arg} is not known").into()),
            _ => out.carnet = PathBuf::from(&arg),
        }
    }
    out.carnet = out.carnet.canonicalize().map_err(|e| format!("{}: {e}", out.carnet.display()))?;
    Ok(out)
}

/// What one gateway did.
#[derive(Default)]
struct Row {
    /// Microseconds of processor time a context.
    cpu: Vec<f64>,
    /// Contexts a second on the clock.
    rate: Vec<f64>,
    /// Requests sent again because no reply came.
    repeated: usize,
}

fn main() -> Result<()> {
    let args = args()?;
    let here = [args.load_core.to_string(), std::process::id().to_string()];
    if !Command::new("taskset").arg("-cp").args(here).stdout(Stdio::null()).status()?.success() {
        return Err("taskset cannot put the load on its core".into());
    }
    let directory =
        std::env::current_dir()?.join("target").join(format!("bench-h248-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let done = run(&args, &directory);
    std::fs::remove_dir_all(&directory)?;
    done
}

fn run(args: &Args, directory: &std::path::Path) -> Result<()> {
    let mut rows = [("Carnet", Row::default()), ("megaco, fixed replies", Row::default())];
    for round in 0..args.rounds {
        for (which, (_, row)) in rows.iter_mut().enumerate() {
            let controller = Controller::bind()?;
            let gateway = match which {
                0 => Gateway::carnet(directory, &args.carnet, controller.port()?, args.gateway_core)?,
                _ => Gateway::megaco(directory, controller.port()?, args.gateway_core)?,
            };
            let mut controller = controller.registered()?;
            // Warm first: code is loaded, tables are made, ports have been given out.
            controller.run(args.contexts / 10, args.in_flight)?;
            let (before, start) = (gateway.on_processor()?, Instant::now());
            row.repeated += controller.run(args.contexts, args.in_flight)?;
            let seconds = start.elapsed().as_secs_f64();
            row.cpu.push((gateway.on_processor()? - before) / args.contexts as f64 * 1e6);
            row.rate.push(args.contexts as f64 / seconds);
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    let [(_, carnet), (_, megaco)] = &rows;
    let mut ratios: Vec<f64> = megaco.cpu.iter().zip(&carnet.cpu).map(|(them, us)| them / us).collect();
    println!(
        "| gateway | CPU us a context, median (least to most) | contexts a second and core | contexts a second, clock | sent again |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (name, row) in &mut rows {
        let (least, cpu, most) = spread(&mut row.cpu);
        let (_, rate, _) = spread(&mut row.rate);
        println!(
            "| {name} | {cpu:.1} ({least:.1} to {most:.1}) | {:.0} | {rate:.0} | {} |",
            1e6 / cpu,
            row.repeated
        );
    }
    let (least, ratio, most) = spread(&mut ratios);
    println!(
        "\nmegaco takes {ratio:.1} times the CPU ({least:.1} to {most:.1} in {} rounds of {} contexts, {} in flight)",
        args.rounds, args.contexts, args.in_flight
    );
    Ok(())
}

/// Least, median and most.
fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |n: usize| values.get(n).copied().unwrap_or_default();
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}
