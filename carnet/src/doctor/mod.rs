//! `carnet doctor -c FILE`: what `carnet check` cannot see in a file, on the host where it is to run: secrets that others can
//! read, certificates, the clock, ports, the kernel's settings, memory and disks, and whether those are there whom the
//! roles need. Each finding comes with what to do about it.
//!
//! It changes nothing. It opens sockets for a moment, asks next hops with OPTIONS, and has key management services issue one
//! ticket to the account that asks. A process that runs with the file already is asked how it is.

pub mod certificate;
mod client;
mod clock;
mod files;
mod firewall;
mod host;
mod reach;
mod report;
mod running;
mod sip;
mod sockets;

use crate::check;
use carnet_net::{NameServers, Resolver};
use carnet_ops::config::{self, AuthenticationSection, Config, ConfigError, ControlTlsSection};
use clap::Args;
use report::Report;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `carnet doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print the findings as one JSON object.
    #[arg(long)]
    json: bool,
    /// Ask nobody on other hosts.
    #[arg(long)]
    offline: bool,
}

/// Exit code 0 if nothing keeps it from working, 1 if something does; 2 if the arguments are wrong. Warnings and notes do not.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("carnet doctor: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = runtime.block_on(examine(&args.config, args.offline));
    let text = if args.json { format!("{}\n", report.json()) } else { report.words() };
    // A reader that went away (`| head`) is no reason to complain.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn examine(path: &Path, offline: bool) -> Report {
    let mut report = Report::default();
    report.looked("configuration");
    let client = check::client(path);
    let checked = client.as_ref().map(|checked| checked.as_ref().err());
    let loaded = if client.is_none() { check::load(path).err() } else { None };
    if let Some(error) = checked.flatten().or(loaded.as_ref()) {
        let (what, fix) = mistake(error);
        report.fault("configuration", &path.display().to_string(), what, fix);
    }
    let resolver = Resolver::new(&NameServers::System);
    if client.is_some() {
        client::look(path, (!offline).then_some(&resolver), &mut report).await;
        return report;
    }
    // What is only wrong with files that it names does not keep the rest from being looked at.
    let Ok(config) = config::load(path) else { return report };
    files::secrets(&config, &mut report);
    files::room(&config, &mut report);
    certificate::look(&config, &mut report);
    host::look(&config, &mut report);
    let nodes = running::ask(&config, &mut report).await;
    let process = running::process(path);
    firewall::look(&config, &mut report);
    sockets::look(&config, nodes.is_some() || process.is_some(), &mut report);
    match (&nodes, process) {
        (Some(nodes), _) => running::look(nodes, &mut report),
        (None, Some(number)) if config.admin.is_some() => running::silent(number, &mut report),
        (None, Some(number)) => {
            let what = format!("it runs (process {number}), and cannot be asked how it is");
            let fix = "add `[admin]` with `socket` or `listen` to the file and start anew";
            report.note("administration-unseen", "admin", what, fix);
        }
        (None, None) => {}
    }
    if !offline {
        reach::names(&config, &resolver, &mut report).await;
        reach::controllers(&config, &resolver, &mut report).await;
        reach::kms(&config, &mut report).await;
        sip::look(&config, &resolver, &mut report).await;
    }
    if !rustix::process::geteuid().is_root() {
        let what = "not run as root: sockets of other users, and files that only the service may read, could not be seen";
        report.note("not-root", "host", what, "run it as root to see everything");
    }
    report
}

/// What is wrong with the file, where, and what to do.
fn mistake(error: &ConfigError) -> (String, String) {
    let fix = "`carnet check` points at it";
    match error {
        ConfigError::Wrong { message, help, .. } => {
            (message.clone(), help.clone().unwrap_or_else(|| fix.to_owned()))
        }
        ConfigError::Unreadable { source, .. } => (
            format!("cannot be read: {source}"),
            "name the file that `carnet run` is given, and may read".to_owned(),
        ),
        other => (other.to_string(), fix.to_owned()),
    }
}

/// TLS of gateway control, at either end, by where it stands.
fn control_tls(config: &Config) -> Vec<(String, &ControlTlsSection)> {
    let at_controllers =
        controls(config).filter_map(|(at, control)| Some((at + ".tls", control.tls.as_ref()?)));
    let at_gateways = config.gateway.iter().filter_map(|(name, gateway)| {
        Some((format!("gateway.{name}.control-tls"), gateway.as_ref().control_tls.as_ref()?))
    });
    at_controllers.chain(at_gateways).map(|(at, section)| (at, section.as_ref())).collect()
}

/// The same of the authentication header.
fn control_authentication(config: &Config) -> Vec<(String, &AuthenticationSection)> {
    let at_controllers = controls(config)
        .filter_map(|(at, control)| Some((at + ".authentication", control.authentication.as_ref()?)));
    let at_gateways = config.gateway.iter().filter_map(|(name, gateway)| {
        let section = gateway.as_ref().control_authentication.as_ref()?;
        Some((format!("gateway.{name}.control-authentication"), section))
    });
    at_controllers.chain(at_gateways).map(|(at, section)| (at, section.as_ref())).collect()
}

fn controls(config: &Config) -> impl Iterator<Item = (String, &carnet_ops::config::ControlSection)> {
    let borders = config
        .border
        .iter()
        .map(|(name, border)| (format!("border.{name}.control"), &border.as_ref().control));
    let servers = config
        .conference
        .iter()
        .map(|(name, server)| (format!("conference.{name}.control"), &server.as_ref().control));
    borders.chain(servers).map(|(at, control)| (at, control.as_ref()))
}
