//! What the command line says of itself: completions for shells, manual pages. Both come from the same declarations as `--help`.

use clap::Args;
use clap_complete::Shell;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `carnet completions`.
#[derive(Args)]
pub struct CompletionsArgs {
    /// Which shell.
    shell: Shell,
}

/// Arguments of `carnet man`.
#[derive(Args)]
pub struct ManArgs {
    /// The directory they are written to; it must be there.
    dir: PathBuf,
}

/// Prints a script that completes the commands and options of `command`.
pub fn completions(args: &CompletionsArgs, mut command: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "carnet", &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("completions", &error),
    }
}

/// Writes a page for each command, `carnet.1`, `carnet-run.1` and so on.
pub fn pages(args: &ManArgs, command: clap::Command) -> ExitCode {
    match clap_mangen::generate_to(command, &args.dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("man", &error),
    }
}

fn failed(what: &str, error: &std::io::Error) -> ExitCode {
    eprintln!("carnet {what}: {error}");
    ExitCode::FAILURE
}
