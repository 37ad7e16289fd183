//! `carnet health`: whether running processes answer, for whoever starts them again if not: a container's health check, a probe of
//! Kubernetes, a script. It needs no shell and no other program.
//!
//! Left out: what a process does (`carnet top`), and whether the host lets it work (`carnet doctor`).

use crate::node::{Node, NodeArgs};
use clap::Args;
use std::io::Write as _;
use std::process::ExitCode;

/// Arguments of `carnet health`.
#[derive(Args)]
pub struct HealthArgs {
    #[command(flatten)]
    nodes: NodeArgs,
}

/// Exit code 0 if all are well, 1 if one is not or does not answer, or cannot be asked.
pub fn run(args: &HealthArgs) -> ExitCode {
    match work(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("carnet health: {message}");
            ExitCode::FAILURE
        }
    }
}

fn work(args: &HealthArgs) -> Result<bool, String> {
    let nodes = args.nodes.nodes()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|e| e.to_string())?.block_on(ask(&nodes)))
}

async fn ask(nodes: &[Node]) -> bool {
    let mut well = true;
    for node in nodes {
        let said = node.text("/health").await;
        well &= said.is_ok();
        let said = said.map_or_else(|e| e.to_string(), |text| text.trim().to_owned());
        // A reader that went away is no reason to complain.
        let _ = writeln!(std::io::stdout(), "{}: {said}", node.name());
    }
    well
}
