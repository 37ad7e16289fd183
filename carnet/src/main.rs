//! The `carnet` program: one binary, a subcommand or a configuration section a role.

// It panics where nobody reads on; see `out`.
#![warn(clippy::print_stdout)]

mod border;
mod check;
mod conference;
mod config;
mod demo;
mod doctor;
mod events;
mod gateway;
mod health;
mod help;
mod inspect;
mod kms;
mod manual;
mod ng;
mod node;
#[cfg(feature = "otel")]
mod otel;
mod out;
mod privacy;
mod reload;
mod roles;
mod run;
mod terminal;
mod top;
mod trace;
mod ue;
mod watchdog;
mod web;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::process::ExitCode;

/// End-to-end security for TCP media in IMS and SIP networks.
#[derive(Parser)]
#[command(name = "carnet", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole network on this machine and prove that it seals.
    Demo(demo::DemoArgs),
    /// Start the roles of a configuration file.
    Run(run::RunArgs),
    /// Say what is wrong with a configuration file, or what it would start.
    Check(check::CheckArgs),
    /// Print an example or the schema of a configuration file, or what a reload would do.
    Config(config::ConfigArgs),
    /// Say what keeps a configuration from working on this host, and what to do about it.
    Doctor(doctor::DoctorArgs),
    /// Say what a border would do with an offer, and why.
    Border(border::BorderArgs),
    /// Say what is in a message or stream of messages, and what is wrong with it.
    Inspect(inspect::InspectArgs),
    /// Show what is in a capture file: a ladder a session, and what went wrong.
    Trace(trace::TraceArgs),
    /// Call, chat and send files, sealed end to end.
    Ue(Box<ue::cli::UeArgs>),
    /// Watch running processes: sessions, gateways, rooms, warnings, as it happens.
    Top(top::TopArgs),
    /// Ask running processes whether they are well.
    Health(health::HealthArgs),
    /// Look at the gateways of a running process, and at what they hold.
    Gateway(gateway::GatewayArgs),
    /// Ask a steered gateway as a SIP server would: rewrite a description, see its calls.
    Ng(ng::NgArgs),
    /// Look at the rooms of a running process, put members out, end rooms.
    Conference(conference::ConferenceArgs),
    /// Say what there is to be seen in logs and counters.
    Events(events::EventsArgs),
    /// Administer a key management service: users, rules, tickets, audit.
    Kms(kms::cli::KmsArgs),
    /// Print a script that completes commands and options in a shell.
    Completions(manual::CompletionsArgs),
    /// Write the manual pages.
    #[command(hide = true)]
    Man(manual::ManArgs),
}

fn main() -> ExitCode {
    let matches = help::with(Args::command()).get_matches();
    let command = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command;
    if !matches!(&command, Command::Run(args) if args.core_dumps) {
        privacy::keep();
    }
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Border(args) => border::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Ue(args) => ue::run(*args),
        Command::Top(args) => top::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Gateway(args) => gateway::run(&args),
        Command::Ng(args) => ng::run(&args),
        Command::Conference(args) => conference::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Kms(args) => kms::cli::run(&args),
        Command::Completions(args) => manual::completions(&args, Args::command()),
        Command::Man(args) => manual::pages(&args, Args::command()),
    }
}
