//! The program `carnet-load`.
//!
//! One side serves, the other connects to it, through whatever is to be measured. The content of each session follows
//! from a seed; the receiver of each direction compares every octet. What is wrong, missing, out of
//! place or too much is an error, and the exit status is 1.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::Result;
use crate::client::{Load, Plan, Report};
use crate::greeting::Kind;
use crate::hold::{Doors, idle, stalled};
use crate::outcome::Line;
use crate::peer::{Manner, RECEIVER, SENDER};
use crate::process::own_cpu;
use crate::report::{summary, write};
use crate::results::{Results, beside};
use crate::server::{Listeners, Serving};
use crate::wire::{Version, context};
use carnet_tls::{Credential, SubjectName};

const USAGE: &str = "\
carnet-load serve ADDRESS:PORT [OPTIONS]     the far end of all the others
carnet-load KIND ADDRESS:PORT [OPTIONS]
carnet-load calls HOP [OPTIONS]              whole calls, SIP and MSRP; `carnet-load calls --help` says more
carnet-load network CARNET [OPTIONS]         the same through borders and gateways that it starts, and through other proxies
carnet-load report DOCUMENT [WORDS]          put results, lines on standard input, into a document; words about the run

KIND
  up, down, duplex   bulk to the server, from it, both at once
  echo               messages that come back
  connect            a connection for each message, which comes back
  msrp               SEND in chunks, answered with 200, and success reports if they are asked for
  idle, stalled      sessions that are held until the process is killed

OPTIONS
  --ports N          so many ports from there on, in turn (1)
  --sessions N       at once (16)
  --seconds S        for so long (5)
  --patience S       sessions may take so long to end after that (30)
  --size N           octets of a message (200)
  --rate R           so many messages or connections a second, answered or not; without it each session goes on when it
                     was answered. Times count from when a message was due, or without a rate from when it was sent
  --limit N          so many connections, then the end
  --threads N        (1)
  --processes N      share the sessions among so many processes, where descriptors run out (1)
  --seed N           content follows from it (1)
  --tls 1.2|1.3      in TLS, without looking whose certificate it is: the content is looked at
  --certificate FILE, --key FILE   of our own, PEM; a server has one of its own making without
  --chunk N          octets of a chunk of MSRP (2048)
  --reports          ask for success reports
  --to-path P, --from-path P       paths of MSRP
  --json             one line of JSON
";

/// Does what these words say; 1 if the load was not answered as it should, 2 if the words make no sense or
/// something prevented it. `ourselves`: what precedes them when this program is started anew to take a share.
pub fn run(words: &[String], ourselves: &[&str]) -> ExitCode {
    match whole(words, ourselves) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("carnet-load: {error}");
            ExitCode::from(2)
        }
    }
}

/// What the command line says.
#[derive(Clone)]
struct Options {
    address: SocketAddr,
    ports: u16,
    sessions: usize,
    seconds: f64,
    patience: f64,
    rate: Option<f64>,
    limit: Option<u64>,
    threads: usize,
    processes: usize,
    seed: u64,
    tls: Option<Version>,
    certificate: Option<String>,
    key: Option<String>,
    manner: Manner,
    json: bool,
}

impl Options {
    fn read(address: &str, words: &[String]) -> Result<Self> {
        let address = address.parse().map_err(|_| format!("{address} is no ADDRESS:PORT"))?;
        let mut options = Self {
            address,
            ports: 1,
            sessions: 16,
            seconds: 5.0,
            patience: 30.0,
            rate: None,
            limit: None,
            threads: 1,
            processes: 1,
            seed: 1,
            tls: None,
            certificate: None,
            key: None,
            manner: Manner {
                size: 200,
                chunk: 2_048,
                reports: false,
                paths: (RECEIVER.into(), SENDER.into()),
            },
            json: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--ports" => options.ports = value()?.parse()?,
                "--sessions" => options.sessions = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--patience" => options.patience = value()?.parse()?,
                "--rate" => options.rate = Some(value()?.parse()?).filter(|rate: &f64| *rate > 0.0),
                "--limit" => options.limit = Some(value()?.parse()?),
                "--threads" => options.threads = value()?.parse()?,
                "--processes" => options.processes = value()?.parse()?,
                "--seed" => options.seed = value()?.parse()?,
                "--size" => options.manner.size = value()?.parse()?,
                "--chunk" => options.manner.chunk = value()?.parse()?,
                "--reports" => options.manner.reports = true,
                "--to-path" => options.manner.paths.0.clone_from(value()?),
                "--from-path" => options.manner.paths.1.clone_from(value()?),
                "--certificate" => options.certificate = Some(value()?.clone()),
                "--key" => options.key = Some(value()?.clone()),
                "--tls" => {
                    options.tls = Some(match value()?.as_str() {
                        "1.2" => Version::Tls12,
                        "1.3" => Version::Tls13,
                        other => return Err(format!("no such version of TLS: {other}").into()),
                    });
                }
                "--json" => options.json = true,
                other => return Err(format!("no such option: {other}").into()),
            }
        }
        let last = options.address.port().checked_add(options.ports.saturating_sub(1));
        last.ok_or("there are not so many ports")?;
        if options.manner.size == 0 || options.sessions == 0 {
            return Err("a message has at least one octet, and there is at least one session".into());
        }
        Ok(options)
    }

    fn context(&self, server: bool) -> Result<Option<openssl::ssl::SslContext>> {
        let Some(version) = self.tls else { return Ok(None) };
        let own = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((std::fs::read(certificate)?, std::fs::read(key)?)),
            (None, None) if server => {
                let own = Credential::self_signed(&[SubjectName::Dns("load.example".into())], 1)?;
                Some((own.certificate_pem()?, own.private_key_pem()?.to_vec()))
            }
            (None, None) => None,
            _ => return Err("--certificate and --key go together".into()),
        };
        Ok(Some(context(own.as_ref().map(|own| (own.0.as_slice(), own.1.as_slice())), version)?))
    }
}

fn whole(words: &[String], ourselves: &[&str]) -> Result<ExitCode> {
    if let Some(("calls", rest)) = words.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
        return crate::calls::program::run(rest);
    }
    if let Some(("network", rest)) = words.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
        return crate::calls::network::run(rest);
    }
    let [kind, address, rest @ ..] = words else {
        eprint!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    if kind == "report" {
        return report(address, &rest.join(" "));
    }
    let options = Options::read(address, rest)?;
    let doors = Doors { address: options.address.ip(), first: options.address.port(), ports: options.ports };
    let load = match kind.as_str() {
        "serve" => return serve(&options),
        "idle" => {
            let _held = idle(doors, options.sessions, options.seed)?;
            return wait("ready");
        }
        "stalled" => {
            let (octets, _held) = stalled(doors, options.sessions, options.seed)?;
            return wait(&format!("ready {octets}"));
        }
        "up" => Load::Stream(Kind::Up),
        "down" => Load::Stream(Kind::Down),
        "duplex" => Load::Stream(Kind::Duplex),
        "echo" => Load::Stream(Kind::Echo),
        "connect" => Load::Connect,
        "msrp" => Load::Msrp,
        other => return Err(format!("no such kind: {other}\n\n{USAGE}").into()),
    };
    if options.processes > 1 {
        let words = [ourselves, &[kind.as_str(), address.as_str()]].concat();
        return share(&words, rest, &options);
    }
    let plan = Plan {
        load,
        address: doors.address,
        first: doors.first,
        ports: doors.ports,
        sessions: options.sessions,
        time: Duration::try_from_secs_f64(options.seconds)?,
        patience: Duration::try_from_secs_f64(options.patience)?,
        rate: options.rate,
        limit: options.limit,
        manner: options.manner.clone(),
        seed: options.seed,
        tls: options.context(false)?,
    };
    let before = own_cpu()?;
    let report = crate::client::run(&plan, options.threads)?;
    let cpu = own_cpu()? - before;
    Ok(tell(kind, &options, &report, cpu))
}

fn serve(options: &Options) -> Result<ExitCode> {
    let serving = Serving { address: options.address, ports: options.ports };
    let tls = options.context(true)?;
    let first = Listeners::bind(&serving)?;
    let address = first.address()?;
    let mut all = vec![first];
    for _ in 1..options.threads {
        all.push(Listeners::bind(&Serving { address, ..serving })?);
    }
    println!("ready {address}");
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (all.into_iter())
            .map(|listeners| scope.spawn(|| listeners.serve(tls.clone()).map_err(|error| error.to_string())))
            .collect();
        running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    for outcome in outcomes {
        outcome.map_err(|_| "a thread panicked")??;
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts the lines of standard input into a document; what is no result is passed over.
fn report(document: &str, run: &str) -> Result<ExitCode> {
    let text = std::io::read_to_string(std::io::stdin())?;
    let lines: Vec<Line> = text.lines().filter_map(Line::parse).collect();
    if lines.is_empty() {
        return Err("there are no results".into());
    }
    let (document, kept) = (Path::new(document), beside(Path::new(document)));
    let mut results = Results::read(&kept)?;
    results.take(&lines, run);
    let all = results.lines();
    let summary = summary(&all);
    let old = std::fs::read_to_string(document)?;
    std::fs::write(document, write(&old, &all, &results.words(run))?)?;
    results.write(&kept)?;
    for line in &lines {
        println!("{}", line.text());
    }
    println!("\n{summary}");
    Ok(ExitCode::SUCCESS)
}

fn wait(word: &str) -> Result<ExitCode> {
    println!("{word}");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// The same in several processes, each with a share of the sessions, the rate and the connections, and a seed of its own.
/// Their lines follow each other.
fn share(words: &[&str], rest: &[String], options: &Options) -> Result<ExitCode> {
    let mut running = Vec::new();
    for index in 0..options.processes {
        let part = |whole: usize| ((whole + options.processes - 1 - index) / options.processes).to_string();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).args(rest).args(["--processes", "1", "--sessions", &part(options.sessions)]);
        command.args(["--seed", &(options.seed.wrapping_add(index as u64)).to_string()]);
        if let Some(rate) = options.rate {
            command.args(["--rate", &(rate / options.processes as f64).to_string()]);
        }
        if let Some(limit) = options.limit {
            command.args(["--limit", &part(limit as usize)]);
        }
        running.push(command.stdin(Stdio::null()).spawn()?);
    }
    let mut fine = true;
    for mut child in running {
        fine &= child.wait()?.success();
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(kind: &str, options: &Options, report: &Report, cpu: f64) -> ExitCode {
    let Report { octets, units, failed, corrupt, reasons, times, seconds } = report;
    let latency = times.latency(if options.rate.is_some() { "intended" } else { "sent" });
    if options.json {
        let line = serde_json::json!({
            "kind": kind, "sessions": options.sessions, "seconds": seconds, "cpu_seconds": cpu, "octets": octets,
            "units": units, "failed": failed, "corrupt": corrupt, "reasons": reasons, "latency_us": latency,
        });
        println!("{line}");
    } else {
        let rate = |amount: f64| amount / seconds;
        println!(
            "{octets} octets arrived in {seconds:.2} s ({:.2} Gbit/s), {cpu:.2} s of CPU",
            rate(*octets as f64) * 8e-9
        );
        if *units > 0 {
            println!("{units} answered or ended in order, {:.0} a second", rate(*units as f64));
        }
        if let Some(l) = latency {
            println!(
                "us from when it was {}: min {:.0}, p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}",
                l.from, l.min, l.p50, l.p90, l.p99, l.p999, l.max
            );
        }
        println!("{failed} failed, {corrupt} of them with other octets than were sent");
        for reason in reasons {
            println!("  {reason}");
        }
    }
    // Nothing at all is no success either.
    if *failed == 0 && (*octets > 0 || *units > 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
