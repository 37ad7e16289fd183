//! `carnet check -c FILE`: everything that would keep a configuration from working, before it is
//! used; and, when there is nothing, what it would start.

use carnet_ops::config::{self, Config};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `carnet check`.
#[derive(Args)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(short, long)]
    config: PathBuf,
    /// Print what the file would start as JSON.
    #[arg(long)]
    json: bool,
}

/// Exit code 0 if the file is good, 1 if not.
pub fn run(args: &CheckArgs) -> ExitCode {
    match config::load(&args.config) {
        Ok(config) if args.json => {
            println!("{}", serde_json::json!({"ok": true, "roles": roles(&config)}));
            ExitCode::SUCCESS
        }
        Ok(config) => {
            for role in roles(&config) {
                println!("{role}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            if args.json {
                println!("{}", serde_json::json!({"ok": false, "error": error.to_string()}));
            }
            eprintln!("{:?}", miette::Report::new_boxed(error));
            ExitCode::FAILURE
        }
    }
}

/// One line a role, in the order in which they start.
pub fn roles(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(kms) = &config.kms {
        let kms = kms.as_ref();
        let scheme = if kms.tls.is_some() { "https" } else { "http" };
        lines.push(format!(
            "KMS {} at {scheme}://{}, data in {}",
            kms.name,
            kms.listen.0,
            kms.data.display()
        ));
    }
    for (name, border) in &config.border {
        let border = border.as_ref();
        let role = match border.role {
            config::BorderRole::ImsAlg => "IMS-ALG",
            config::BorderRole::Ibcf => "IBCF",
        };
        let networks = border.network.values().flat_map(|network| network.as_ref().listen.as_ref());
        let sockets: Vec<_> = networks.map(ToString::to_string).collect();
        let gateways = border.control.as_ref().gateways.join(", ");
        lines.push(format!("{role} {name} for {} at {}, owns {gateways}", border.domain, sockets.join(", ")));
    }
    for (name, gateway) in &config.gateway {
        let gateway = gateway.as_ref();
        let role = match gateway.role {
            config::GatewayRole::ImsAgw => "IMS-AGW",
            config::GatewayRole::Trgw => "TrGW",
        };
        let controllers: Vec<_> = gateway.controllers.as_ref().iter().map(ToString::to_string).collect();
        let realms: Vec<_> = gateway.realm.keys().cloned().collect();
        lines.push(format!(
            "{role} {name}, controlled by {}, realms {}",
            controllers.join(", "),
            realms.join(", ")
        ));
    }
    lines
}
