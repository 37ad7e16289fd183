//! `cargo xtask performance`: builds what is measured, has every benchmark measure, and writes what they found into
//! `docs/performance.md`.
//!
//! Each benchmark runs Carnet and its peers in turns and says a line of JSON for each goal; `carnet-load report` makes
//! tables of them. What cannot be measured here (no root, no peer) is said to be missing, never left out.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{cargo, is_root, on_path, openssl, run, target_directory};

/// What is to be measured, and for how long.
struct Options {
    rounds: String,
    seconds: String,
    /// Benchmarks by name; all if there is none.
    only: Vec<String>,
    quick: bool,
    tiny: bool,
    machine: bool,
    document: Option<String>,
}

/// A benchmark: its name here, its program, and with which words it is called.
struct Bench {
    name: &'static str,
    package: &'static str,
    /// Another package whose program it starts: the second word it is called with is its path.
    starts: Option<&'static str>,
    words: Vec<String>,
    /// Goals that are missing when it cannot run.
    goals: &'static [&'static str],
    /// Programs without which it cannot.
    needs: &'static [&'static str],
    root: bool,
}

const USAGE: &str = "performance [--rounds N] [--seconds S] [--only relay,idle,threads,edge,msrp,calls] [--quick | --tiny] [--machine] [--document FILE]";

fn read(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        rounds: "5".into(),
        seconds: "2".into(),
        only: Vec::new(),
        quick: false,
        tiny: false,
        machine: false,
        document: None,
    };
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--rounds" => options.rounds = value()?,
            "--seconds" => options.seconds = value()?,
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--quick" => (options.rounds, options.seconds, options.quick) = ("2".into(), "0.5".into(), true),
            // For a test that the command works: not optimised, as short as it can be, and nothing that takes long.
            "--tiny" => {
                (options.rounds, options.seconds, options.quick, options.tiny) =
                    ("1".into(), "0.2".into(), true, true);
            }
            "--machine" => options.machine = true,
            "--document" => options.document = Some(value()?),
            other => return Err(format!("no such option: {other}\n{USAGE}")),
        }
    }
    Ok(options)
}

fn benches(options: &Options) -> Vec<Bench> {
    let words = |more: &[&str]| -> Vec<String> {
        let common = ["--json", "--rounds", &options.rounds, "--seconds", &options.seconds];
        common.iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    let moving =
        if options.tiny { "up" } else { "up,down,up1,down1,messages,messages4k,connections,ping,stalled" };
    let mut relay = words(&["--only", moving]);
    // In hosts of its own: what an engine finds there of connections before would count as its own.
    let mut idle = words(&["--only", "idle"]);
    let all = if options.tiny { "messages" } else { "messages,messages4k,connections,up" };
    let mut threads = words(&["--threads", "2", "--only", all]);
    if options.machine {
        relay.push("--machine".into());
        threads.push("--machine".into());
    }
    if options.quick {
        idle.extend(["--sessions".into(), "1000".into()]);
        relay.extend(["--stalled".into(), "10".into()]);
    }
    let mut msrp = words(&[]);
    if options.tiny {
        let few = ["--relays", "haproxy,carnet,carnet-kernel"].map(str::to_owned);
        relay.extend(few.clone());
        idle.extend(few.clone());
        threads.extend(few);
        msrp.extend(["--pairs", "10", "--sizes", "200", "--chunk", "1048576"].map(str::to_owned));
    }
    let edge = match (options.tiny, options.quick) {
        (true, _) => words(&["--sessions", "50", "--only", "tls13,tls12,down1,idle"]),
        (_, true) => words(&["--sessions", "500"]),
        _ => words(&["--sessions", "2000"]),
    };
    let mut calls = words(&[]);
    calls.insert(0, "network".into());
    if options.tiny {
        calls.extend(["--rate", "20", "--held", "5"].map(str::to_owned));
    }
    let relay_needs = &["ip", "taskset", "ss", "nft", "haproxy", "nginx"][..];
    vec![
        Bench {
            name: "relay",
            package: "carnet-bench-relay",
            starts: None,
            words: relay,
            goals: &["A1", "A2", "A3", "A5", "A6", "A7", "B1"],
            needs: relay_needs,
            root: true,
        },
        Bench {
            name: "idle",
            package: "carnet-bench-relay",
            starts: None,
            words: idle,
            goals: &["B2"],
            needs: relay_needs,
            root: true,
        },
        Bench {
            name: "threads",
            package: "carnet-bench-relay",
            starts: None,
            words: threads,
            goals: &["A4"],
            needs: relay_needs,
            root: true,
        },
        Bench {
            name: "edge",
            package: "carnet-bench-edge",
            starts: None,
            words: edge,
            goals: &["B3", "C1", "C2"],
            needs: &["haproxy", "kamailio"],
            root: false,
        },
        Bench {
            name: "msrp",
            package: "carnet-bench-msrprelay",
            starts: None,
            words: msrp,
            goals: &["D1", "D2", "D3"],
            needs: &["kamailio"],
            root: false,
        },
        Bench {
            name: "calls",
            package: "carnet-load",
            starts: Some("carnet"),
            words: calls,
            goals: &["calls"],
            needs: &[],
            root: false,
        },
    ]
}

/// Builds, measures, writes.
pub(crate) fn performance(args: &[String]) -> Result<(), String> {
    let options = read(args)?;
    let benches: Vec<Bench> = benches(&options)
        .into_iter()
        .filter(|bench| options.only.is_empty() || options.only.iter().any(|only| only == bench.name))
        .collect();
    if benches.is_empty() {
        return Err(format!("there is no benchmark of that name\n{USAGE}"));
    }
    let mut build = cargo();
    build.arg("build");
    if options.tiny {
        // A test among them, so that dependencies have the features that `cargo test --workspace` gives them, and nothing
        // is built anew.
        build.args(["--workspace", "--bins", "--test", "performance"]);
    } else {
        build.args(["--release", "--package", "carnet-load"]);
        for package in benches.iter().flat_map(|bench| [Some(bench.package), bench.starts]).flatten() {
            build.args(["--package", package]);
        }
    }
    openssl::choose()?.apply(&mut build);
    run(&mut build, "the build")?;
    let programs = target_directory()?.join(if options.tiny { "debug" } else { "release" });

    let (mut lines, mut failed) = (String::new(), Vec::new());
    for bench in &benches {
        let missing: Vec<&str> = bench.needs.iter().copied().filter(|program| !on_path(program)).collect();
        let why = if bench.root && !is_root() {
            Some("needs root, for network namespaces".to_owned())
        } else if missing.is_empty() {
            None
        } else {
            Some(format!("{} not installed", missing.join(", ")))
        };
        if let Some(why) = why {
            eprintln!("xtask: {}: {why}", bench.name);
            lines.push_str(&absent(bench.goals, &why));
            continue;
        }
        eprintln!("xtask: {}", bench.name);
        let mut words = bench.words.clone();
        if let Some(other) = bench.starts {
            words.insert(1, programs.join(other).to_string_lossy().into_owned());
        }
        let (told, fine) = measure(&programs.join(bench.package), &words)?;
        for goal in bench.goals {
            if !told.contains(&format!("{{\"goal\":\"{goal}\"")) {
                let why = if options.tiny {
                    "left out of so short a run"
                } else {
                    "the benchmark said nothing of it"
                };
                lines.push_str(&absent(&[goal], why));
            }
        }
        lines.push_str(&told);
        if !fine {
            failed.push(bench.name);
        }
    }
    report(&programs.join("carnet-load"), &options, &lines)?;
    // What was measured is written down all the same: a round that failed is not in it.
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("some measurements failed in: {}", failed.join(", ")))
    }
}

fn absent(goals: &[&str], why: &str) -> String {
    let line = |goal: &&str| {
        let line = serde_json::json!({ "goal": goal, "what": "not measured", "absent": why });
        format!("{line}\n")
    };
    goals.iter().map(line).collect()
}

/// What a benchmark wrote, and whether it was content.
fn measure(program: &Path, words: &[String]) -> Result<(String, bool), String> {
    let mut command = Command::new(program);
    let output = command.args(words).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| format!("{} could not start: {e}", program.display()))?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success()))
}

fn report(program: &Path, options: &Options, lines: &str) -> Result<(), String> {
    let document = options.document.clone().unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md").to_string_lossy().into_owned()
    });
    let mut command = Command::new(program);
    command.args(["report", &document, &circumstances(options)]).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("carnet-load could not start: {e}"))?;
    let mut input = child.stdin.take().ok_or("no way to the report")?;
    input.write_all(lines.as_bytes()).map_err(|e| e.to_string())?;
    drop(input);
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("the report failed ({status})")) }
}

/// When and where, with which versions, and how busy the machine was.
fn circumstances(options: &Options) -> String {
    let said = |program: &str, args: &[&str], word: &str| -> Option<String> {
        let output = Command::new(program).args(args).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        // The first word with a digit that follows the one asked for.
        let rest = text.split_once(word)?.1;
        let version = rest
            .split(|c: char| c.is_whitespace() || c == ',')
            .find(|w| w.contains(|c: char| c.is_ascii_digit()))?;
        Some(version.split(['-', '(']).next()?.rsplit('/').next()?.to_owned())
    };
    let date = Command::new("date").arg("+%B %Y").output().ok();
    let date =
        date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let versions: Vec<String> = [
        ("Linux", said("uname", &["-sr"], "Linux")),
        ("HAProxy", said("haproxy", &["-v"], "version")),
        ("nginx", said("nginx", &["-v"], "nginx")),
        ("hitch", said("hitch", &["--version"], "hitch")),
        ("Kamailio", said("kamailio", &["-v"], "kamailio")),
    ]
    .into_iter()
    .filter_map(|(name, version)| Some(format!("{name} {}", version?)))
    .collect();
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').nth(2).unwrap_or("?").to_owned();
    let Options { rounds, seconds, .. } = options;
    let quick = match (options.tiny, options.quick) {
        (true, _) => {
            " This was as short as a run can be, of programs that are not optimised: its figures say nothing."
        }
        (_, true) => " This was a quick run, whose figures say little.",
        _ => "",
    };
    format!(
        "{date}: {rounds} rounds of {seconds} s; {}; {processors} processors, load average of the last quarter of an hour at the end {load}.{quick}",
        versions.join(", ")
    )
}
