//! `carnet check -c FILE`: everything that would keep a configuration from working, before it is
//! used; and, when there is nothing, what it would start. Points at the place of a mistake.
//!
//! Left out: whether addresses are this host's and others can be reached, so that a file can be
//! checked on another host.

mod client;
mod network;
mod place;
mod role;
pub mod secrets;

use crate::out;
use carnet_ops::config::{self, Config, ConfigError};
use clap::Args;
use place::Source;
pub use role::roles;
pub use secrets::exposed;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `carnet check`.
#[derive(Args)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print what the file would start, or where the mistake is, as JSON.
    #[arg(long)]
    json: bool,
}

/// Exit code 0 if the file is good, 1 if not.
pub fn run(args: &CheckArgs) -> ExitCode {
    if let Ok(config) = load(&args.config) {
        exposed(&config).iter().for_each(|warning| eprintln!("warning: {warning}"));
    }
    match what(&args.config) {
        Ok(roles) if args.json => {
            let text = format!("{}\n", serde_json::json!({"ok": true, "roles": roles}));
            out::print(&text, ExitCode::SUCCESS)
        }
        Ok(roles) => {
            let roles: String = roles.iter().map(|role| format!("{role}\n")).collect();
            out::print(&format!("{roles}ok\n"), ExitCode::SUCCESS)
        }
        Err(error) => {
            let mut text = String::new();
            if args.json {
                let said =
                    serde_json::json!({"ok": false, "error": error.to_string(), "at": place_of(&error)});
                text = format!("{said}\n");
            }
            let code = out::print(&text, ExitCode::FAILURE);
            eprintln!("{:?}", miette::Report::new_boxed(error));
            code
        }
    }
}

/// Reads and checks the file of one or more roles of the network.
pub fn load(path: &Path) -> Result<Config, Box<ConfigError>> {
    let text = read(path)?;
    roles_of(&path.display().to_string(), &text, base(path))
}

/// The same for a file that would take the place of another, from whose directory its relative paths are taken.
pub fn load_for(path: &Path, place: &Path) -> Result<Config, Box<ConfigError>> {
    let text = read(path)?;
    roles_of(&path.display().to_string(), &text, base(place))
}

/// What the file would start, a line each.
fn what(path: &Path) -> Result<Vec<String>, Box<ConfigError>> {
    let (name, text) = (path.display().to_string(), read(path)?);
    let source = Source::parse(&name, &text)?;
    if source.top().any(|(name, _)| name == "ue") {
        return client::check(&source, base(path)).map(|line| vec![line]);
    }
    roles_of(&name, &text, base(path)).map(|config| roles(&config))
}

/// What a client's file would start; `None` if it is no client's.
pub fn client(path: &Path) -> Option<Result<String, Box<ConfigError>>> {
    let (name, text) = (path.display().to_string(), read(path).ok()?);
    let source = Source::parse(&name, &text).ok()?;
    let is_client = source.top().any(|(name, _)| name == "ue");
    is_client.then(|| client::check(&source, base(path)))
}

fn roles_of(name: &str, text: &str, base: &Path) -> Result<Config, Box<ConfigError>> {
    let config = config::parse(name, text.to_owned(), base)?;
    network::check(&Source::parse(name, text)?, &config)?;
    Ok(config)
}

fn read(path: &Path) -> Result<String, Box<ConfigError>> {
    let name = path.display().to_string();
    std::fs::read_to_string(path).map_err(|source| Box::new(ConfigError::Unreadable { path: name, source }))
}

/// What relative paths in a file are relative to.
fn base(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// File, line and column (from 1) and the text of a mistake, for scripts.
pub fn place_of(error: &ConfigError) -> serde_json::Value {
    let ConfigError::Wrong { source_code, at, .. } = error else { return serde_json::Value::Null };
    let whole = source_code.inner();
    let text = whole.get(at.offset()..at.offset() + at.len()).unwrap_or_default();
    let before = whole.get(..at.offset()).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    serde_json::json!({
        "file": source_code.name(),
        "line": before.matches('\n').count() + 1,
        "column": before[line_start..].chars().count() + 1,
        "text": text,
    })
}
