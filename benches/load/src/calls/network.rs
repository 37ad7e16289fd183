//! `carnet-load network`: starts borders and their gateway, or other people's proxies, has calls go through them in turns,
//! and compares what the gateway counted with what both ends did.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::between::{Between, CALLER, DOOR, PASSWORD};
use super::books::Counts;
use super::place::{Host, Place};
use crate::Result;
use crate::outcome::Line;
use crate::process::softirq_cpu;

const USAGE: &str = "\
carnet-load network CARNET [OPTIONS]

Starts what is to be loaded from the program CARNET and lets whole calls go through it: hosts of network namespaces as root,
addresses of loopback without. In turns, once a round:

  direct   nothing between
  relay    an IMS-ALG and its IMS-AGW, media relayed
  kernel   the same, media translated by the kernel (as root)
  borders  the same as relay, and an IBCF with its TrGW behind it
  proxies  Kamailio, which writes HAProxy's address into answers, and HAProxy, with one port for all calls

Figures are CPU a call: what is between, both ends and kernel threads, less the same without anything between. Then calls are
held while the gateways are asked what they counted, and that is compared with what both ends wrote and read.

  --only NAME,NAME   some of them
  --rounds N         (5)
  --seconds S        of a round (2)
  --rate R           calls a second (100)
  --messages N       each way in a call (10)
  --held N           calls that are held for the comparison, 0: none (50)
  --media plain|sealed   (plain; sealed leaves out proxies)
  --loopback         addresses of loopback, also as root
  --json             a line of JSON a result
";

/// What the command line says.
struct Options {
    carnet: PathBuf,
    only: Vec<String>,
    rounds: usize,
    seconds: f64,
    rate: f64,
    messages: u64,
    held: u64,
    sealed: bool,
    loopback: bool,
    json: bool,
}

impl Options {
    fn read(carnet: &str, words: &[String]) -> Result<Self> {
        let mut options = Self {
            carnet: std::path::absolute(carnet)?,
            only: Vec::new(),
            rounds: 5,
            seconds: 2.0,
            rate: 100.0,
            messages: 10,
            held: 50,
            sealed: false,
            loopback: false,
            json: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--rate" => options.rate = value()?.parse()?,
                "--messages" => options.messages = value()?.parse()?,
                "--held" => options.held = value()?.parse()?,
                "--media" => options.sealed = value()? == "sealed",
                "--loopback" => options.loopback = true,
                "--json" => options.json = true,
                other => return Err(format!("no such option: {other}\n\n{USAGE}").into()),
            }
        }
        Ok(options)
    }

    fn wants(&self, between: Between) -> bool {
        // Whatever is added is added to something.
        between == Between::Direct
            || self.only.is_empty()
            || self.only.iter().any(|only| only == between.name())
    }
}

/// Does what these words, after `network`, say.
///
/// # Errors
///
/// If they make no sense, or nothing can be started at all.
pub fn run(words: &[String]) -> Result<ExitCode> {
    let Some((carnet, rest)) = words.split_first().filter(|(carnet, _)| *carnet != "--help") else {
        print!("{USAGE}");
        return Ok(if words.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS });
    };
    let options = Options::read(carnet, rest)?;
    let root =
        std::process::Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    let place = Place::make(options.loopback || !root)?;
    let mut stages: Vec<Stage> =
        Between::ALL.into_iter().filter(|it| options.wants(*it)).map(Stage::new).collect();
    for stage in &mut stages {
        stage.absent = reason(&options, &place, stage.between);
    }
    let mut fine = true;
    for round in 0..options.rounds {
        for stage in &mut stages {
            let figure = match &stage.absent {
                Some(_) => Err(None),
                None => stage.figure(&options, &place).map_err(|error| Some(error.to_string())),
            };
            if let Err(Some(error)) = &figure {
                eprintln!("{} in round {}: {error}", stage.between.name(), round + 1);
                fine = false;
            }
            stage.figures.push(figure.unwrap_or(f64::NAN));
        }
    }
    for line in lines(&options, &stages) {
        if options.json { println!("{line}") } else { println!("{}", line.text()) }
    }
    let compared =
        |stage: &&Stage| options.held > 0 && stage.absent.is_none() && !stage.between.gateways().is_empty();
    for stage in stages.iter().filter(compared) {
        let counted = stage.counted(&options, &place);
        let counted = counted.unwrap_or_else(|error| Counted { text: error.to_string(), fine: false });
        eprintln!("{}: {}", stage.between.name(), counted.text);
        fine &= counted.fine;
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why something cannot be measured here.
fn reason(options: &Options, place: &Place, between: Between) -> Option<String> {
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    match between {
        Between::Access(true) if !place.has_hosts() => Some("needs root, for network namespaces".into()),
        Between::Proxies if options.sealed => Some("its one port is for plain media".into()),
        Between::Proxies => {
            let missing: Vec<&str> = ["kamailio", "haproxy"].into_iter().filter(|it| !on_path(it)).collect();
            (!missing.is_empty()).then(|| format!("{} not installed", missing.join(", ")))
        }
        _ => None,
    }
}

/// What is said of the rounds.
fn lines(options: &Options, stages: &[Stage]) -> Vec<Line> {
    let of = |between: Between| stages.iter().find(|stage| stage.between == between);
    let Some(direct) = of(Between::Direct) else { return Vec::new() };
    let added = |stage: &Stage| -> Vec<f64> {
        stage.figures.iter().zip(&direct.figures).map(|(with, without)| with - without).collect()
    };
    let peer = of(Between::Proxies);
    let mut lines = Vec::new();
    let media = if options.sealed { "sealed" } else { "plain" };
    let load = format!("whole call, {} messages each way, {media}, added CPU", options.messages);
    for (between, words) in [
        (Between::Access(false), ": carnet"),
        (Between::Access(true), ": carnet-kernel"),
        (Between::Borders, ", two borders: carnet"),
    ] {
        let Some(stage) = of(between) else { continue };
        let what = format!("{load}{words}");
        if let Some(why) = &stage.absent {
            lines.push(Line::absent("calls", &what, why));
            continue;
        }
        let ours = added(stage);
        for (name, peer) in [("no gateway, whole system", Some(direct)), ("Kamailio and HAProxy", peer)] {
            let Some(peer) = peer else { continue };
            lines.push(match &peer.absent {
                Some(why) => Line::absent("calls", &format!("{what}, beside {name}"), why),
                None => {
                    let theirs =
                        if peer.between == Between::Direct { peer.figures.clone() } else { added(peer) };
                    Line::compare("calls", &what, "us", (name, &theirs), &ours, None)
                }
            });
        }
    }
    lines
}

/// One of what calls go through, and what it cost.
struct Stage {
    between: Between,
    absent: Option<String>,
    figures: Vec<f64>,
}

/// What both ends said.
struct Said {
    caller: Counts,
    callee: Counts,
    /// CPU seconds of both.
    cpu: f64,
}

/// Whether gateways counted what both ends did.
struct Counted {
    text: String,
    fine: bool,
}

impl Stage {
    fn new(between: Between) -> Self {
        Self { between, absent: None, figures: Vec::new() }
    }

    /// CPU of everything, microseconds a call.
    fn figure(&self, options: &Options, place: &Place) -> Result<f64> {
        let folder = tempfile::tempdir()?;
        let running = self.between.start(place, &options.carnet, folder.path())?;
        self.warm(options, place)?;
        let before = running.cpu()? + softirq_cpu()?;
        let words = format!("--rate {} --seconds {}", options.rate, options.seconds);
        let ends = Ends::start(self.between, options, place, &words)?;
        let said = ends.finish()?;
        let used = running.cpu()? + softirq_cpu()? - before + said.cpu;
        Ok(used / said.caller.ended.max(1) as f64 * 1e6)
    }

    /// A few calls, until they go through: what was just started may not be ready for them.
    fn warm(&self, options: &Options, place: &Place) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let words = "--calls 10 --at-once 2 --patience 3";
            let outcome = Ends::start(self.between, options, place, words).and_then(Ends::finish);
            match outcome {
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Holds calls and asks.
    fn counted(&self, options: &Options, place: &Place) -> Result<Counted> {
        let folder = tempfile::tempdir()?;
        let _running = self.between.start(place, &options.carnet, folder.path())?;
        self.warm(options, place)?;
        let mut ends =
            Ends::start(self.between, options, place, &format!("--calls {} --gather", options.held))?;
        let standing = ends.line()?;
        if !standing.starts_with("standing ") {
            return Err(format!("calls do not stand: {standing}").into());
        }
        let mut told = Vec::new();
        for gateway in self.between.gateways() {
            told.push((*gateway, audit(options, folder.path(), gateway)?));
        }
        writeln!(ends.caller.0.stdin.as_mut().ok_or("no input")?)?;
        let Said { caller, callee, .. } = ends.finish()?;
        let (wrote, read) = (caller.written + callee.written, caller.read + callee.read);
        let mut counted = Counted {
            text: format!("{standing}: both ends wrote {wrote} octets and read {read}"),
            fine: true,
        };
        for (gateway, Audit { contexts, received, sent, kernel }) in told {
            let equal = (contexts, received, sent) == (options.held, wrote, read);
            // Less the usual headers: what is sent twice counts twice while the kernel moves it (docs/engines.md).
            let more = kernel > 0 && contexts == options.held && received >= wrote && sent >= read;
            counted.fine &= equal || more;
            let judged = match (equal, more) {
                (true, _) => "the same".to_owned(),
                (false, true) => format!("{} more than that", received - wrote),
                (false, false) => "NOT THE SAME".to_owned(),
            };
            counted.text.push_str(&format!(
                "; {gateway} counted {received} in and {sent} out in {contexts} contexts, {kernel} streams moved by the kernel: {judged}"
            ));
        }
        Ok(counted)
    }
}

/// What a gateway holds.
struct Audit {
    contexts: u64,
    received: u64,
    sent: u64,
    /// Streams that the kernel moves.
    kernel: u64,
}

fn audit(options: &Options, folder: &Path, gateway: &str) -> Result<Audit> {
    let mut command = std::process::Command::new(&options.carnet);
    command.args(["gateway", "audit", gateway, "--json", "--most", "100000", "--socket"]);
    let output = command.arg(folder.join("admin")).output()?;
    if !output.status.success() {
        return Err(format!("the audit: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let mut audit = Audit { contexts: 0, received: 0, sent: 0, kernel: 0 };
    for line in String::from_utf8(output.stdout)?.lines() {
        let context: Value = serde_json::from_str(line)?;
        audit.contexts += 1;
        for termination in context["terminations"].as_array().into_iter().flatten() {
            audit.received += termination["octets_received"].as_u64().unwrap_or_default();
            audit.sent += termination["octets_sent"].as_u64().unwrap_or_default();
            let streams = termination["streams"].as_array().into_iter().flatten();
            audit.kernel += streams.filter(|stream| stream["engine"] == "kernel").count() as u64;
        }
    }
    Ok(audit)
}

/// A caller or a callee of this program, killed when it is dropped.
struct End(Child, BufReader<ChildStdout>);

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both ends, each on its host.
struct Ends {
    caller: End,
    callee: End,
}

impl Ends {
    fn start(between: Between, options: &Options, place: &Place, words: &str) -> Result<Self> {
        let (near, far) =
            (format!("{}:5060", place.address(83, 9)), format!("{}:5060", place.address(84, 9)));
        let hop =
            if between == Between::Direct { far.clone() } else { format!("{}:5060", place.address(83, 1)) };
        let messages = options.messages.to_string();
        let media = if options.sealed { "sealed" } else { "plain" };
        let door = DOOR.to_string();
        let mut common = vec!["calls", &hop, "--caller", &near, "--callee", &far, "--json"];
        common.extend(["--messages", &messages, "--media", media, "--from", CALLER]);
        if between == Between::Proxies {
            common.extend(["--door", &door]);
        }
        if matches!(between, Between::Access(_) | Between::Borders) {
            common.extend(["--register", PASSWORD]);
        }
        let start = |which: &str, host: Host| -> Result<End> {
            let mut command = place.command(host, &std::env::current_exe()?);
            command.args(&common).args(["--only", which]).args(words.split_whitespace());
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let out = child.stdout.take().ok_or("no output")?;
            Ok(End(child, BufReader::new(out)))
        };
        let mut callee = start("callee", Host::Far)?;
        let mut line = String::new();
        callee.1.read_line(&mut line)?;
        if !line.starts_with("ready ") {
            return Err("the callee did not begin".into());
        }
        Ok(Self { caller: start("caller", Host::Near)?, callee })
    }

    /// The next line that the caller says.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.caller.1.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Waits for the end of all calls, and says what came of them.
    fn finish(mut self) -> Result<Said> {
        let caller = books(&self.line()?, "caller")?;
        // The callee ends with its input.
        drop(self.callee.0.stdin.take());
        let mut line = String::new();
        self.callee.1.read_line(&mut line)?;
        let callee = books(&line, "callee")?;
        let mut odd = caller.0.odd();
        odd.extend(callee.0.odd());
        odd.extend(caller.0.differences(&callee.0));
        odd.extend(caller.0.causes.iter().map(|(cause, count)| format!("{count} failed: {cause}")));
        odd.extend(
            callee.0.causes.iter().map(|(cause, count)| format!("{count} failed for callees: {cause}")),
        );
        if caller.0.ended == 0 || !odd.is_empty() {
            return Err(format!("{} calls ended in order; {}", caller.0.ended, odd.join("; ")).into());
        }
        Ok(Said { caller: caller.0, callee: callee.0, cpu: caller.1 + callee.1 })
    }
}

/// The counts in a line of JSON, and the CPU seconds.
fn books(line: &str, which: &str) -> Result<(Counts, f64)> {
    let value: Value = serde_json::from_str(line).map_err(|_| format!("the {which} said nothing: {line}"))?;
    let counts = value.get(which).cloned().unwrap_or_default();
    Ok((serde_json::from_value(counts)?, value["cpu_seconds"].as_f64().unwrap_or_default()))
}
