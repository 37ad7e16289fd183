//! `carnet run -c FILE`: starts the roles of a file and runs until told to stop.
//!
//! SIGTERM and SIGINT stop it: no new work, a grace period for what runs, then the end. Borders with a section
//! `state` leave their calls to the process that starts next after a SIGTERM, and end them after a SIGINT. A second
//! signal ends it at once. SIGHUP has it read its file again (`reload`). systemd is told when all roles have started, when a
//! reload begins and ends (`Type=notify-reload`), that they live (`WatchdogSec=`) and how long the end may take. Sockets that
//! it has opened before are taken where the file names their address.

use crate::check;
use crate::reload::{Change, Reloading};
use crate::roles;
use crate::roles::Wanted;
use crate::watchdog;
use carnet_ops::config::Config;
use clap::Args;
use sd_notify::NotifyState;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Time to tidy up, after the grace that calls get.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Arguments of `carnet run`.
#[derive(Args)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Seconds that calls in progress get after the signal to stop.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u64,
    /// Let the kernel write core dumps of this process: they hold keys.
    #[arg(long)]
    pub core_dumps: bool,
}

/// Exit code 0 after an orderly end, 1 if a role could not start or failed.
pub fn run(args: &RunArgs) -> ExitCode {
    // What is compared at a reload is named from the root: another working directory is no difference.
    let path = std::path::absolute(&args.config).unwrap_or_else(|_| args.config.clone());
    let config = match check::load(&path) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{:?}", miette::Report::new_boxed(error));
            return ExitCode::FAILURE;
        }
    };
    carnet_ops::log::start(&config.log.level, config.log.format);
    // Before there are threads: it takes the variables out of the environment.
    if let Err(error) = carnet_net::inherited::take_up() {
        eprintln!("carnet run: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("carnet run: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(config, &path, Duration::from_secs(args.grace))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("carnet run: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config, path: &Path, grace: Duration) -> Result<(), String> {
    let mut term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
    let watch = roles::Watch::new(&config)?;
    let mut running = roles::start(&config, watch.clone(), None).await.map_err(|e| e.to_string())?;
    for warning in check::exposed(&config) {
        tracing::warn!("{warning}");
    }
    for role in check::roles(&config) {
        tracing::info!("{role}");
    }
    watchdog::tell(&[NotifyState::Ready]);
    // Whoever started it may not listen any more.
    let _ = writeln!(std::io::stdout(), "ready");
    let mut reloading = Reloading::new(path.to_owned(), config, running.renewals());
    let mut wanted = watch.wanted();
    let mut grace = grace;
    // By itself: a reload may take longer than the watchdog waits.
    let feeding = tokio::spawn(watchdog::feed(running.life()));
    loop {
        tokio::select! {
            given = watch.drained() => grace = given,
            name = running.failed() => return Err(format!("`{name}` has stopped by itself")),
            // A service manager says so when it starts us again, too: borders that keep their calls leave them.
            _ = term.recv() => roles::hand_over(),
            _ = int.recv() => {}
            _ = hangup.recv() => {
                reload(&mut reloading, None).await;
                continue;
            }
            Some(asked) = heard(&mut wanted) => {
                reload(&mut reloading, Some(asked)).await;
                continue;
            }
        }
        break;
    }
    feeding.abort();
    // However long calls get, systemd is not to lose patience before.
    let end = format!("EXTEND_TIMEOUT_USEC={}", grace.saturating_add(AFTERWARDS).as_micros());
    watchdog::tell(&[NotifyState::Stopping, NotifyState::Custom(&end)]);
    // Whoever looks over HTTP is told, whatever the reason.
    watch.drain(grace.as_secs());
    tracing::info!(?grace, "stopping");
    tokio::select! {
        _ = running.stop(grace) => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    watch.flush().await;
    Ok(())
}

async fn heard(wanted: &mut Option<mpsc::Receiver<Wanted>>) -> Option<Wanted> {
    match wanted {
        Some(wanted) => wanted.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads the file again, and tells the log, systemd and whoever asked what came of it.
async fn reload(reloading: &mut Reloading, asked: Option<Wanted>) {
    // Without systemd, or without such a clock, there is nobody to tell.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        watchdog::tell(&[NotifyState::Reloading, now]);
    }
    tracing::info!("reading the configuration again");
    let outcome = reloading.reload().await;
    match &outcome {
        Ok(changes) if changes.is_empty() => tracing::info!("nothing in the configuration has changed"),
        Ok(changes) => {
            for change in changes {
                match (change.is_applied(), change.live) {
                    (true, _) => tracing::info!("{change}"),
                    (false, true) => tracing::error!("{change}"),
                    (false, false) => tracing::warn!("{change}"),
                }
            }
        }
        Err(failed) => tracing::error!("not reloaded: {}", failed.with_line()),
    }
    watchdog::tell(&[NotifyState::Ready]);
    if let Some(asked) = asked {
        let changes = |changes: Vec<Change>| -> Vec<_> { changes.iter().map(Change::json).collect() };
        let answer =
            outcome.map(|all| serde_json::json!({ "changes": changes(all) })).map_err(|e| e.with_line());
        // Who has stopped waiting needs no answer.
        let _ = asked.send(answer);
    }
}
