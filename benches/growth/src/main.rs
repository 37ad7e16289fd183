//! What a session costs while there are more and more of them.
//!
//! `cargo run --release -p carnet-growth -- run` as root makes three hosts of network namespaces, opens 10 to 100,000
//! sessions through each engine and through HAProxy, and writes what a session took of time and memory to a file of results. `plot` draws
//! the pictures from that file. `many` is one run with very many sessions, TLS from end to end, and looks whether
//! anything is left afterwards.
//!
//! * `run [--rounds 3] [--sessions 10,100,1000,10000,30000,100000] [--ways direct,haproxy,relay,steered,kernel] [--file FILE]`
//! * `plot [--file docs/growth/results.json] [--into docs/growth]`
//! * `many [--sessions 100000] [--ways kernel] [--plain]`
//!
//! A process here may have 20,000 descriptors: callers and servers are one process for 12,500 sessions, and
//! what relays one for 8,000. The kernel engine is one process whatever the number.

mod chart;
mod many;
mod plot;
mod results;
mod study;

use std::path::PathBuf;

use carnet_growth::{Lab, Result, Way};

use study::Study;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(done) = carnet_growth::role(&words) {
        return done;
    }
    let Some((task, rest)) = words.split_first() else { return Err("run, plot or many".into()) };
    let options = Options::parse(rest)?;
    let lab = || -> Result<Lab> {
        Lab::make(&std::env::current_exe()?)?
            .ok_or_else(|| "network namespaces need root and iproute2".into())
    };
    match *task {
        "run" => {
            let sessions = options.sessions.unwrap_or(vec![10, 100, 1_000, 10_000, 30_000, 100_000]);
            let ways = options.ways.unwrap_or(Way::ALL.to_vec());
            Study { rounds: options.rounds, sessions, ways }.run(&lab, &options.file)
        }
        "plot" => plot::all(&options.file, &options.into),
        "many" => {
            for way in options.ways.unwrap_or(vec![Way::Kernel]) {
                for &sessions in options.sessions.as_deref().unwrap_or(&[100_000]) {
                    many::run(&lab()?, way, sessions, !options.plain)?;
                }
            }
            Ok(())
        }
        other => Err(format!("{other}: run, plot or many").into()),
    }
}

struct Options {
    rounds: u32,
    sessions: Option<Vec<u32>>,
    ways: Option<Vec<Way>>,
    file: PathBuf,
    into: PathBuf,
    plain: bool,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self> {
        let (file, into) = (PathBuf::from("docs/growth/results.json"), PathBuf::from("docs/growth"));
        let mut options = Self { rounds: 3, sessions: None, ways: None, file, into, plain: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--plain" {
                options.plain = true;
                continue;
            }
            let value = *words.next().ok_or(format!("{word} needs a value"))?;
            match *word {
                "--rounds" => options.rounds = value.parse()?,
                "--sessions" => {
                    let all = value.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
                    options.sessions = Some(all);
                }
                "--ways" => {
                    let way = |name| Way::named(name).ok_or(format!("no way {name}"));
                    options.ways = Some(value.split(',').map(way).collect::<std::result::Result<_, _>>()?);
                }
                "--file" => options.file = value.into(),
                "--into" => options.into = value.into(),
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        Ok(options)
    }
}
