//! `carnet config`: what may be in a configuration file (`example`, `schema`), and what a reload would do (`diff`).

mod example;
mod schema;

use crate::check;
use crate::out;
use crate::reload::{self, Change, Read};
use carnet_ops::config::ConfigError;
use clap::{Args, Subcommand};
use example::Part;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `carnet config`.
#[derive(Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print a file to begin with: every setting of a role, with its meaning and default
    Example {
        /// Which roles; all that can share a process if none is named
        roles: Vec<Part>,
    },
    /// Print the JSON Schema of the file, for editors
    Schema,
    /// Say what a reload would do: 0 nothing differs, 1 something does, 2 a file is wrong
    Diff {
        /// The file that a process was started with
        old: PathBuf,
        /// The one that would take its place
        new: PathBuf,
        /// Print the differences as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Exit code 0 after what was asked for, and as `diff` says.
pub fn run(args: &ConfigArgs) -> ExitCode {
    match &args.command {
        Command::Example { roles } => {
            out::print(&example::example(roles, &schema::schema()), ExitCode::SUCCESS)
        }
        Command::Schema => out::print(&format!("{:#}\n", schema::schema()), ExitCode::SUCCESS),
        Command::Diff { old, new, json } => match diff(old, new) {
            Ok(changes) => {
                let code = if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
                let text = if *json {
                    let changes: Vec<_> = changes.iter().map(Change::json).collect();
                    format!("{}\n", json!({ "changes": changes }))
                } else {
                    changes.iter().map(|change| format!("{change}\n")).collect()
                };
                out::print(&text, code)
            }
            Err(error) => {
                eprintln!("{:?}", miette::Report::new_boxed(error));
                ExitCode::from(2)
            }
        },
    }
}

/// Relative paths in both are taken from the directory of the old one, whose place the new one takes.
fn diff(old: &Path, new: &Path) -> Result<Vec<Change>, Box<ConfigError>> {
    let place = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = place(old);
    let read = |path: &Path| check::load_for(&place(path), &base).map(Read::of);
    let (old, new) = (read(old)?, read(new)?);
    let mut changes = old.changes(&new);
    // What cannot be put together waits for a restart, and is marked so.
    let _ = reload::mixed(&old, &new, &mut changes);
    Ok(changes)
}
