//! `carnet border explain FILE`: an offer on standard input; the plan for it, every change of the
//! description with its reason, every command to the gateway. With `--answer` the same for the answer.
//!
//! Nothing is sent and no running process is asked: the configuration file decides, and what is supposed
//! of the terminals is said by arguments.

mod json;
mod words;

use crate::check;
use crate::roles::border::settings;
use carnet_border::{Abilities, Asked, Config, Explanation, Registered, explain};
use carnet_sdp::{Document, Limits};
use clap::{Args, Subcommand, ValueEnum};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

/// Arguments of `carnet border`.
#[derive(Args)]
pub struct BorderArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Read an offer from standard input and say what would be done with it, and why.
    Explain(ExplainArgs),
}

#[derive(Args)]
struct ExplainArgs {
    /// The configuration file of the border.
    config: PathBuf,
    /// The border, if the file has several.
    #[arg(long, value_name = "NAME")]
    border: Option<String>,
    /// The network the offer comes from; else the first with subscribers.
    #[arg(long, value_name = "NETWORK")]
    from: Option<String>,
    /// The network the offer goes to; else the first other one.
    #[arg(long, value_name = "NETWORK")]
    to: Option<String>,
    /// Who is behind a NAT.
    #[arg(long, value_delimiter = ',', value_name = "WHO")]
    nat: Vec<End>,
    /// What the answerer registered to have protected up to the access edge.
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    registered: Vec<Mediasec>,
    /// What the gateway cannot do.
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    without: Vec<Ability>,
    /// A file with the answer to the offer.
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum End {
    Offerer,
    Answerer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mediasec {
    MsrpTls,
    BfcpTls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ability {
    /// End TLS.
    Tls,
    /// Rewrite the paths of MSRP.
    Aware,
}

/// Largest description, octets: more than any that a border takes.
const MAX_INPUT: u64 = 1 << 20;

/// Why nothing can be explained.
enum Failure {
    /// It could not be asked for so: exit code 2.
    Question(String),
    /// The input is wrong: exit code 1.
    Input(String),
    /// The configuration file is.
    Config(Box<carnet_ops::config::ConfigError>),
}

/// What is explained, and the names for it.
struct Told {
    border: String,
    from: String,
    to: String,
    offer: Document,
    answer: Option<Document>,
    asked: Asked,
    explanation: Explanation,
}

impl Told {
    /// Whether the call could be: neither the offer nor the answer is refused.
    fn is_carried(&self) -> bool {
        self.explanation.offer.is_some() && !matches!(self.explanation.answer, Some(Err(_)))
    }
}

/// Exit code 0 if the offer, and the answer, would be carried; 1 if one is refused or cannot be read; 2 if
/// it could not be asked for so.
pub fn run(args: &BorderArgs) -> ExitCode {
    let What::Explain(args) = &args.what;
    match told(args) {
        Ok(told) => {
            let text = if args.json { format!("{}\n", json::object(&told)) } else { words::text(&told) };
            // A reader that went away is no reason to complain.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            if told.is_carried() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(Failure::Config(error)) => {
            eprintln!("{:?}", miette::Report::new_boxed(error));
            ExitCode::FAILURE
        }
        Err(Failure::Input(message)) => {
            eprintln!("carnet border explain: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Question(message)) => {
            eprintln!("carnet border explain: {message}");
            ExitCode::from(2)
        }
    }
}

fn told(args: &ExplainArgs) -> Result<Told, Failure> {
    let whole = check::load(&args.config).map_err(Failure::Config)?;
    let borders: Vec<_> = whole.border.keys().map(String::as_str).collect();
    let name = match &args.border {
        Some(name) => name.as_str(),
        None => match borders.as_slice() {
            [only] => only,
            [] => return Err(Failure::Question(format!("{} has no border", args.config.display()))),
            several => {
                let message = format!("which border? --border takes one of {}", several.join(", "));
                return Err(Failure::Question(message));
            }
        },
    };
    let section = whole.border.get(name).ok_or_else(|| {
        Failure::Question(format!("there is no border `{name}`; the file has {}", borders.join(", ")))
    })?;
    let config = settings::configure(name, &whole, section.as_ref()).map_err(Failure::Input)?;
    let (from, to) = networks(&config, args)?;
    let offer = description("the offer", None)?;
    let answer = args.answer.as_deref().map(|path| description("the answer", Some(path))).transpose()?;
    let can = |what| !args.without.contains(&what);
    let asked = Asked {
        from,
        to,
        behind_nat: [args.nat.contains(&End::Offerer), args.nat.contains(&End::Answerer)],
        registered: Registered {
            msrp: args.registered.contains(&Mediasec::MsrpTls),
            bfcp: args.registered.contains(&Mediasec::BfcpTls),
        },
        gateway: Abilities { tls: can(Ability::Tls), aware: can(Ability::Aware) },
    };
    terminals_only(&config, &asked)?;
    let name_of = |n: usize| config.networks.get(n).map(|n| n.name.clone()).unwrap_or_default();
    let (from, to) = (name_of(from), name_of(to));
    let when = (Instant::now(), SystemTime::now());
    let explanation = explain(config, &asked, (&offer, answer.as_ref()), when)
        .map_err(|e| Failure::Input(e.to_string()))?;
    Ok(Told { border: name.to_owned(), from, to, offer, answer, asked, explanation })
}

/// The networks between which the call is.
fn networks(config: &Config, args: &ExplainArgs) -> Result<(usize, usize), Failure> {
    let names = || config.networks.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ");
    let named = |wanted: &String| {
        config.networks.iter().position(|n| n.name == *wanted).ok_or_else(|| {
            Failure::Question(format!("border {} has no network `{wanted}`, but {}", config.name, names()))
        })
    };
    let to = args.to.as_ref().map(named).transpose()?;
    let from = match &args.from {
        Some(from) => named(from)?,
        None => {
            let others = || config.networks.iter().enumerate().filter(|(n, _)| Some(*n) != to);
            let terminals = others().find(|(_, n)| n.access);
            terminals.or_else(|| others().next()).map_or(0, |(n, _)| n)
        }
    };
    let to = to.or_else(|| (0..config.networks.len()).find(|n| *n != from)).unwrap_or(from);
    Ok((from, to))
}

/// Only terminals are behind a NAT here, and only they register.
fn terminals_only(config: &Config, asked: &Asked) -> Result<(), Failure> {
    let is_network = |n: usize| config.networks.get(n).is_some_and(|n| !n.access);
    let name = |n: usize| config.networks.get(n).map(|n| n.name.as_str()).unwrap_or_default();
    for (network, nat) in [(asked.from, asked.behind_nat[0]), (asked.to, asked.behind_nat[1])] {
        if nat && is_network(network) {
            let message =
                format!("network {} has no subscribers, so nobody there is behind a NAT", name(network));
            return Err(Failure::Question(message));
        }
    }
    if asked.registered != Registered::default() && is_network(asked.to) {
        let message = format!("network {} has no subscribers, so nobody there registered", name(asked.to));
        return Err(Failure::Question(message));
    }
    Ok(())
}

fn description(what: &str, file: Option<&Path>) -> Result<Document, Failure> {
    let mut raw = Vec::new();
    let limit = MAX_INPUT + 1;
    let read = match file {
        Some(path) => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut raw)),
        None => std::io::stdin().lock().take(limit).read_to_end(&mut raw),
    };
    let place = file.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    read.map_err(|e| Failure::Question(format!("{place}: {e}")))?;
    if raw.len() as u64 > MAX_INPUT {
        return Err(Failure::Input(format!("{what} has more than {MAX_INPUT} octets")));
    }
    let octets = bytes::Bytes::from(raw);
    Document::parse(octets.clone(), &Limits::default()).map_err(|e| {
        let message = match &e {
            carnet_sdp::Error::Syntax(e) => format!("expected {}", e.expected),
            other => other.to_string(),
        };
        let shown = carnet_wire::caret(&octets, e.at(), &message);
        Failure::Input(format!("{what} ({place}) is not a session description\n{shown}"))
    })
}
