//! `carnet run -c FILE`: starts the roles of a file and runs until told to stop.
//!
//! SIGTERM and SIGINT stop it: no new work, a grace period for what runs, then the end. A second
//! signal ends it at once. systemd is told when all roles have started (`Type=notify`).

use crate::check;
use crate::roles;
use carnet_ops::config::Config;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `carnet run`.
#[derive(Args)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(short, long)]
    config: PathBuf,
    /// Seconds that calls in progress get after the signal to stop.
    #[arg(long, default_value_t = 10)]
    grace: u64,
}

/// Exit code 0 after an orderly end, 1 if a role could not start or failed.
pub fn run(args: &RunArgs) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{:?}", miette::Report::new_boxed(error));
            return ExitCode::FAILURE;
        }
    };
    carnet_ops::log::start(&config.log.level, config.log.format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("carnet run: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(&config, Duration::from_secs(args.grace))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("carnet run: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &Config, grace: Duration) -> Result<(), String> {
    let mut term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let watch = roles::Watch::new(config)?;
    let mut running = roles::start(config, watch.clone(), None).await.map_err(|e| e.to_string())?;
    for role in check::roles(config) {
        tracing::info!("{role}");
    }
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    println!("ready");
    let mut grace = grace;
    tokio::select! {
        given = watch.drained() => grace = given,
        name = running.failed() => return Err(format!("`{name}` has stopped by itself")),
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    // Whoever looks over HTTP is told, whatever the reason.
    watch.drain(grace.as_secs());
    tracing::info!(?grace, "stopping");
    tokio::select! {
        _ = running.stop(grace) => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
