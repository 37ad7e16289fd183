//! `carnet top`: what one or several running processes do, on a terminal as it happens, or once for a script.
//!
//! ```text
//!  look (a task a process) ── Seen ──▶ Model ──▶ View ──▶ terminal
//!                          ◀─ Wanted ─────────── keys
//! ```
//!
//! Left out: doing anything there. `carnet conference` and the API do.

mod draw;
mod figures;
mod look;
mod model;
mod print;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use crate::node::NodeArgs;
use clap::Args;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `carnet top`.
#[derive(Args)]
pub struct TopArgs {
    #[command(flatten)]
    nodes: NodeArgs,
    /// Print what there is once and leave; so too where standard output is no terminal.
    #[arg(long)]
    once: bool,
    /// The same as one JSON object.
    #[arg(long)]
    json: bool,
    /// Sessions that are printed of each process.
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    most: u16,
}

/// Exit code 0; printed once, 1 if one of the processes did not answer.
pub fn run(args: &TopArgs) -> ExitCode {
    match work(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("carnet top: {message}");
            ExitCode::FAILURE
        }
    }
}

fn work(args: &TopArgs) -> Result<bool, String> {
    let nodes = args.nodes.nodes()?.into_iter().map(Arc::new).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    if args.once || args.json || !stdout.is_terminal() || !stdin.is_terminal() {
        let (text, well) = runtime.block_on(print::once(nodes, args.json, args.most.into()));
        // A reader that went away (`| head`) is no reason to complain.
        let _ = stdout.lock().write_all(text.as_bytes());
        return Ok(well);
    }
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ended = runtime.block_on(screen::run(nodes, plain));
    // The thread that reads keys waits for one more: nobody waits for it.
    runtime.shutdown_background();
    ended.map(|()| true).map_err(|e| e.to_string())
}
