//! Carnet's key management service beside HAProxy, which answers with as many fixed octets over
//! the same kind of connection, in one run.
//!
//! `cargo run --release -p carnet-bench-keys -- target/release/carnet [--rounds N] [--requests N]
//! [--connections N]`
//!
//! The service is a process with its database on disk: every ticket has a MAC checked, is sealed,
//! and is in the audit trail before the answer leaves. Requests are made before the clock starts.
//! The servers take turns, every one once a round. What counts is the time the server's threads
//! were on a processor for each answer, which other work on the machine changes little; only
//! answers that hold a ticket count.

#![allow(clippy::print_stdout)]

mod load;
mod server;

use carnet_tls::{CertificateContext, CertificateSettings, Credential, SubjectName, Trust};
use load::{Kind, Load};
use server::Server;
use std::error::Error;
use std::path::PathBuf;

/// What anything here returns.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Args {
    carnet: PathBuf,
    rounds: usize,
    requests: usize,
    connections: usize,
}

fn args() -> Result<Args> {
    let mut out =
        Args { carnet: "target/release/carnet".into(), rounds: 5, requests: 30_000, connections: 64 };
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        let mut number = || given.next().ok_or(format!("{arg} needs a number")).map(|n| n.parse::<usize>());
        match arg.as_str() {
            "--rounds" => out.rounds = number()??,
            "--requests" => out.requests = number()??,
            "--connections" => out.connections = number()??,
            _ if arg.starts_with('-') => return Err(format!("{arg} is not known").into()),
            _ => out.carnet = PathBuf::from(&arg),
        }
    }
    out.carnet = out.carnet.canonicalize().map_err(|e| format!("{}: {e}", out.carnet.display()))?;
    Ok(out)
}

/// What one server did in one round.
struct Row {
    name: String,
    /// Microseconds of processor time an answer.
    cpu: Vec<f64>,
    /// Answers a second on the clock.
    rate: Vec<f64>,
    /// CPU in relation to HAProxy's in the same round.
    ratio: Vec<f64>,
}

fn main() -> Result<()> {
    let args = args()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let directory =
        std::env::current_dir()?.join("target").join(format!("bench-keys-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let done = runtime.block_on(run(&args, &directory));
    std::fs::remove_dir_all(&directory)?;
    done
}

async fn run(args: &Args, directory: &std::path::Path) -> Result<()> {
    let credential = Credential::self_signed(&[SubjectName::Dns("localhost".into())], 2)?;
    let trust = Trust::Pem(credential.certificate_pem()?);
    let client = CertificateContext::new(&CertificateSettings { trust, ..Default::default() })?;
    let mut servers = Vec::new();
    for tls in [false, true] {
        let secure = tls.then_some(&credential);
        servers.push((
            tls,
            Server::haproxy(directory, secure)?,
            Server::carnet(directory, &args.carnet, secure)?,
        ));
    }
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..args.rounds {
        for (tls, haproxy, carnet) in &servers {
            let context = tls.then_some(&client);
            let load = Load { connections: args.connections, context };
            let mut peer = 0.0;
            let kinds = [
                ("HAProxy, fixed answer", haproxy, Kind::Request),
                ("Carnet, tickets issued", carnet, Kind::Request),
                ("Carnet, tickets resolved", carnet, Kind::Resolve),
            ];
            for (name, server, kind) in kinds {
                let messages = load.messages(kind, args.requests, carnet.address).await?;
                let (before, start) = (server.on_processor()?, std::time::Instant::now());
                load.run(server.address, kind, &messages, name.starts_with("Carnet")).await?;
                let seconds = start.elapsed().as_secs_f64();
                let cpu = (server.on_processor()? - before) / messages.len() as f64 * 1e6;
                if name.starts_with("HAProxy") {
                    peer = cpu;
                }
                let name = format!("{name}, {}", if *tls { "HTTPS" } else { "HTTP" });
                let row = match rows.iter_mut().find(|r| r.name == name) {
                    Some(row) => row,
                    None => {
                        rows.push(Row { name, cpu: Vec::new(), rate: Vec::new(), ratio: Vec::new() });
                        rows.last_mut().ok_or("a row")?
                    }
                };
                row.cpu.push(cpu);
                row.rate.push(messages.len() as f64 / seconds);
                row.ratio.push(cpu / peer);
            }
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    println!(
        "| server | CPU us an answer | answers a second and core | ratio of CPU | answers a second, clock |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for row in &mut rows {
        let cpu = median(&mut row.cpu);
        println!(
            "| {} | {cpu:.1} | {:.0} | {:.2} | {:.0} |",
            row.name,
            1e6 / cpu,
            median(&mut row.ratio),
            median(&mut row.rate)
        );
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
