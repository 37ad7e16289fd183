//! `carnet kms …`: users, groups, rules, tickets and the audit trail of a service.

mod answers;
mod users;

use super::admin::{self, Command, NewUser, PolicyLine};
use super::identity;
use super::service::ServiceSettings;
use crate::web::Caller;
use answers::{
    audit_line, group_line, left_out, number, policy_lines, revoked_line, rotate_line, text, user_line,
};
use carnet_ops::config;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use users::{Made, add_users, fresh_key, read_import};
use zeroize::Zeroizing;

/// Arguments of `carnet kms`.
#[derive(Args)]
pub struct KmsArgs {
    /// Data directory of the service.
    #[arg(long, global = true, env = "CARNET_KMS_DATA", value_name = "DIR", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// Root key file; `root.key` in the data directory if not given.
    #[arg(long, global = true, value_name = "FILE", requires = "data")]
    root_key: Option<PathBuf>,
    /// Configuration file that says where the data is, instead of --data.
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Users: who has a key.
    #[command(subcommand)]
    User(UserCommand),
    /// Groups: one name for several.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Rules: who may call whom. Without any, everybody who has a key may call everybody.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make all tickets issued so far useless.
    RevokeTickets {
        /// Only those issued to this user.
        #[arg(long)]
        user: Option<String>,
    },
    /// Make one ticket useless: it opens no more.
    RevokeTicket {
        /// The beginning of its SHA-256, 16 letters or more, as `audit` and events print it.
        ticket: String,
    },
    /// Make a new ticket key. Tickets sealed with the old one open until they expire.
    Rotate,
    /// Print which tickets were issued and opened: the newest ones.
    Audit {
        /// First number to print, to read on from there instead.
        #[arg(long)]
        from: Option<u64>,
        /// How many at most.
        #[arg(long, default_value_t = 1000)]
        most: usize,
    },
}

#[derive(Subcommand)]
enum UserCommand {
    /// Add a user with a new key. The key is shown once. If it cannot be shown or written, the user is
    /// not added.
    Add {
        /// Name of the key, by which the user signs in: `sip:alice@example.net`, or any word.
        name: String,
        /// Who the user is, if the name is not a URI that says so; `sip:conf-*@host` for a service
        /// with many identities.
        identities: Vec<String>,
        /// Write the key to a new file that only its owner can read, not to standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// List users.
    List,
    /// Remove a user.
    Remove {
        /// Name of the key.
        name: String,
    },
    /// Revoke a user: it gets no tickets and opens none, and its own open no more.
    Revoke {
        /// Name of the key.
        name: String,
    },
    /// Take a revocation back.
    Restore {
        /// Name of the key.
        name: String,
    },
    /// Add users from a file, all or none: `NAME IDENTITY[,IDENTITY…] [KEY-IN-HEX]` a
    /// line.
    Import {
        /// File, or `-` for standard input.
        file: PathBuf,
        /// Where the keys go that were made for lines without one: a new file, `NAME KEY` a line.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum GroupCommand {
    /// Add or replace a group.
    Put {
        /// What is called.
        identity: String,
        /// Who may answer.
        members: Vec<String>,
    },
    /// List groups.
    List,
    /// Remove a group.
    Remove {
        /// What is called.
        identity: String,
    },
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// Replace the rules: `allow|deny FROM TO` a line, and `otherwise allow|deny`. The first that
    /// fits decides.
    Set {
        /// File, or `-` for standard input.
        file: PathBuf,
    },
    /// Print the rules.
    Show,
}

/// Exit code 0 if it was done, 1 if not.
pub fn run(args: &KmsArgs) -> ExitCode {
    match work(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("carnet kms: {message}");
            ExitCode::FAILURE
        }
    }
}

fn work(args: &KmsArgs) -> Result<(), String> {
    let (data, settings) = place(args)?;
    let call = |command: &Command| admin::call(&data, settings.clone(), command);
    match &args.what {
        What::User(UserCommand::Add { name, identities, out }) => {
            let key = fresh_key();
            let identities = if identities.is_empty() { vec![name.clone()] } else { identities.clone() };
            let new = NewUser { name: name.clone(), identities, psk: key.to_string() };
            let text = Zeroizing::new(format!("{}\n", *key));
            let made = Made { text, keys: vec![Some(key)] };
            add_users(args.json, out.as_deref(), vec![new], &made, call)
        }
        What::User(UserCommand::Import { file, out }) => {
            let (users, made) = read_import(file)?;
            let count = users.len();
            add_users(args.json, out.as_deref(), users, &made, call)?;
            eprintln!("{count} users added");
            Ok(())
        }
        What::User(other) => show(args, call(&other.command())?, user_line),
        What::Group(command) => show(args, call(&command.command())?, group_line),
        What::Policy(PolicyCommand::Set { file }) => {
            show(args, call(&read_policy(&read_text(file)?)?)?, policy_lines)
        }
        What::Policy(PolicyCommand::Show) => show(args, call(&Command::PolicyShow)?, policy_lines),
        What::RevokeTickets { user } => {
            show(args, call(&Command::RevokeTickets { user: user.clone() })?, |v| {
                let whose = user.as_ref().map_or(String::new(), |user| format!(" to {user}"));
                format!("tickets issued{whose} before {} open no more", text(v, "before"))
            })
        }
        What::RevokeTicket { ticket } => {
            let by = Caller::Process { uid: rustix::process::geteuid().as_raw() };
            show(args, call(&Command::RevokeTicket { ticket: ticket.clone(), by })?, revoked_line)
        }
        What::Rotate => show(args, call(&Command::Rotate)?, rotate_line),
        What::Audit { from, most } => {
            let mut answer = call(&Command::Audit { from: *from, most: *most })?;
            let records = answer.get_mut("records").map(Value::take).unwrap_or_default();
            let left_out = left_out(&records, number(&answer, "last"));
            show(args, records, audit_line)?;
            if let Some(left_out) = left_out {
                eprintln!("{left_out}");
            }
            Ok(())
        }
    }
}

impl UserCommand {
    fn command(&self) -> Command {
        match self {
            Self::Remove { name } => Command::UserRemove { names: vec![name.clone()] },
            Self::Revoke { name } => Command::UserRevoke { name: name.clone(), revoked: true },
            Self::Restore { name } => Command::UserRevoke { name: name.clone(), revoked: false },
            Self::List | Self::Add { .. } | Self::Import { .. } => Command::UserList,
        }
    }
}

impl GroupCommand {
    fn command(&self) -> Command {
        match self {
            Self::Put { identity, members } => {
                Command::GroupPut { identity: identity.clone(), members: members.clone() }
            }
            Self::List => Command::GroupList,
            Self::Remove { identity } => Command::GroupRemove { identity: identity.clone() },
        }
    }
}

/// The data directory and what is needed to open it.
fn place(args: &KmsArgs) -> Result<(PathBuf, ServiceSettings), String> {
    let of = |name: &str| -> Result<ServiceSettings, String> {
        Ok(ServiceSettings::new(identity(name).map_err(|e| format!("{name}: {e}"))?))
    };
    if let Some(file) = &args.config {
        let config = config::load(file).map_err(|e| format!("{:?}", miette::Report::new_boxed(e)))?;
        let section = config.kms.ok_or(format!("{} has no [kms] section", file.display()))?;
        let section = section.as_ref();
        let mut settings = of(&section.name)?;
        settings.root_key.clone_from(&section.root_key);
        return Ok((section.data.clone(), settings));
    }
    let data = args.data.clone().ok_or("say where the data is: --data DIR or -c FILE")?;
    // Who the service is does not matter to administration.
    let mut settings = of("kms.invalid")?;
    settings.root_key.clone_from(&args.root_key);
    Ok((data, settings))
}

fn read_text(file: &Path) -> Result<Zeroizing<String>, String> {
    let fail = |e: std::io::Error| format!("{}: {e}", file.display());
    let mut text = Zeroizing::new(String::new());
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(fail)?;
    } else {
        std::fs::File::open(file).and_then(|mut f| f.read_to_string(&mut text)).map_err(fail)?;
    }
    Ok(text)
}

/// Lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.split_once('#').map_or(line, |(before, _)| before)))
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(n, line)| (n, line.split_whitespace().collect()))
}

fn read_policy(text: &str) -> Result<Command, String> {
    let allow = |word: &str, n: usize| match word {
        "allow" => Ok(true),
        "deny" => Ok(false),
        _ => Err(format!("line {n}: `allow` or `deny` expected, not `{word}`")),
    };
    let mut rules = Vec::new();
    let mut otherwise = None;
    for (n, words) in lines(text) {
        match words.as_slice() {
            ["otherwise", word] if otherwise.is_none() => otherwise = Some(allow(word, n)?),
            [word, from, to] => {
                rules.push(PolicyLine { from: (*from).into(), to: (*to).into(), allow: allow(word, n)? });
            }
            _ => return Err(format!("line {n}: write `allow|deny FROM TO`, or once `otherwise allow|deny`")),
        }
    }
    let otherwise =
        otherwise.ok_or("say what holds when no rule fits: `otherwise allow` or `otherwise deny`")?;
    Ok(Command::PolicyPut { rules, otherwise })
}

/// Prints an answer: as JSON, or a line a thing.
fn show(args: &KmsArgs, value: Value, line: impl Fn(&Value) -> String) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let things = match &value {
        Value::Array(things) => things.as_slice(),
        one => std::slice::from_ref(one),
    };
    for thing in things {
        let line = if args.json { thing.to_string() } else { line(thing) };
        match writeln!(out, "{line}") {
            Ok(()) => {}
            // `| head` has seen enough.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(e) => return Err(e.to_string()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands as they are typed, `user add` and so on.
    fn typed(command: &clap::Command, before: &str, all: &mut Vec<String>) {
        for sub in command.get_subcommands() {
            let name = format!("{before}{}", sub.get_name());
            if sub.has_subcommands() {
                typed(sub, &format!("{name} "), all);
            } else {
                all.push(name);
            }
        }
    }

    #[test]
    fn every_command_is_in_the_manual() {
        let manual = include_str!("../../../docs/kms.md");
        let mut all = Vec::new();
        typed(&KmsArgs::augment_args(clap::Command::new("kms")), "", &mut all);
        assert!(all.len() >= 14, "{all:?}");
        for name in all {
            assert!(manual.contains(&format!("`{name}")), "{name} is not in docs/kms.md");
        }
    }
}
