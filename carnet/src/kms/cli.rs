//! `carnet kms …`: users, groups, rules, tickets and the audit trail of a service.

use super::admin::{self, Command, NewUser, PolicyLine};
use super::identity;
use super::service::ServiceSettings;
use carnet_net::OsRandom;
use carnet_ops::config;
use carnet_wire::{Random, hex};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Arguments of `carnet kms`.
#[derive(Args)]
pub struct KmsArgs {
    /// Data directory of the service.
    #[arg(long, global = true, env = "CARNET_KMS_DATA", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// Root key file; `root.key` in the data directory if not given.
    #[arg(long, global = true, requires = "data")]
    root_key: Option<PathBuf>,
    /// Configuration file that says where the data is, instead of --data.
    #[arg(short, long, global = true)]
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
    /// Rules: who may call whom.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make all tickets issued so far useless.
    RevokeTickets {
        /// Only those issued to this user.
        #[arg(long)]
        user: Option<String>,
    },
    /// Make a new ticket key. Tickets sealed with the old one open until they expire.
    Rotate,
    /// Print which tickets were issued and opened.
    Audit {
        /// First number to print.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// How many at most.
        #[arg(long, default_value_t = 1000)]
        most: usize,
    },
}

#[derive(Subcommand)]
enum UserCommand {
    /// Add a user with a new key. The key is shown once.
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
    /// Revoke a user: no tickets to or from it any more.
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
            keep_keys(out.as_deref(), &text, || call(&Command::UserAdd { users: vec![new] }).map(|_| ()))
        }
        What::User(UserCommand::Import { file, out }) => {
            let (users, made) = read_import(file)?;
            let count = users.len();
            let add = || call(&Command::UserAdd { users }).map(|_| ());
            if made.is_empty() {
                add()?;
            } else {
                keep_keys(out.as_deref(), &made, add)?;
            }
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
                format!("tickets issued before {} open no more", text(v, "before"))
            })
        }
        What::Rotate => show(args, call(&Command::Rotate)?, |v| text(v, "key")),
        What::Audit { from, most } => {
            show(args, call(&Command::Audit { from: *from, most: *most })?, audit_line)
        }
    }
}

impl UserCommand {
    fn command(&self) -> Command {
        match self {
            Self::Remove { name } => Command::UserRemove { name: name.clone() },
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

/// A new key of 32 octets, in hex.
fn fresh_key() -> Zeroizing<String> {
    let octets = Zeroizing::new(OsRandom.array::<32>());
    Zeroizing::new(hex::encode(octets.as_ref()))
}

/// Has `keys` written down before `add` makes them valid, so that none is valid and lost.
fn keep_keys(out: Option<&Path>, keys: &str, add: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let Some(path) = out else {
        add()?;
        return std::io::stdout().write_all(keys.as_bytes()).map_err(|e| e.to_string());
    };
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    let written = file.write_all(keys.as_bytes()).and_then(|()| file.sync_all()).map_err(fail);
    let done = written.and_then(|()| add());
    if done.is_err() {
        // The keys in it are worth nothing.
        let _ = std::fs::remove_file(path);
    }
    done
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

/// Users of an import file, and the keys that were made for them.
fn read_import(file: &Path) -> Result<(Vec<NewUser>, Zeroizing<String>), String> {
    let text = read_text(file)?;
    let mut users = Vec::new();
    let mut made = Zeroizing::new(String::new());
    for (number, words) in lines(&text) {
        let (name, identities, key) = match words.as_slice() {
            [name, identities] => (name, identities, None),
            [name, identities, key] => (name, identities, Some(*key)),
            _ => return Err(format!("line {number}: write `NAME IDENTITY[,IDENTITY…] [KEY-IN-HEX]`")),
        };
        let psk = match key {
            Some(key) => key.to_owned(),
            None => {
                let key = fresh_key();
                made.push_str(&format!("{name} {}\n", *key));
                key.to_string()
            }
        };
        let identities = identities.split(',').map(str::to_owned).collect();
        users.push(NewUser { name: (*name).to_owned(), identities, psk });
    }
    Ok((users, made))
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

fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

fn user_line(v: &Value) -> String {
    if let Some(name) = v.get("removed").and_then(Value::as_str) {
        return format!("{name} removed");
    }
    let revoked = match v.get("revoked").and_then(Value::as_bool) {
        Some(true) => "revoked",
        _ => "",
    };
    format!("{} {} {revoked}", text(v, "name"), text(v, "identities")).trim_end().to_owned()
}

fn group_line(v: &Value) -> String {
    match v.get("removed").and_then(Value::as_str) {
        Some(identity) => format!("{identity} removed"),
        None => format!("{} {}", text(v, "identity"), text(v, "members")),
    }
}

fn policy_lines(v: &Value) -> String {
    let word = |v: Option<&Value>| if v.and_then(Value::as_bool) == Some(true) { "allow" } else { "deny" };
    let mut out = String::new();
    for rule in v.get("rules").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&format!("{} {} {}\n", word(rule.get("allow")), text(rule, "from"), text(rule, "to")));
    }
    out.push_str(&format!("otherwise {}", word(v.get("otherwise"))));
    out
}

fn audit_line(v: &Value) -> String {
    let number = v.get("number").and_then(Value::as_u64).unwrap_or_default();
    let ticket: String = text(v, "ticket").chars().take(16).collect();
    format!(
        "{number} {} {} {} -> {} by {} from {} ticket {ticket} key {}",
        text(v, "time"),
        text(v, "deed"),
        text(v, "initiator"),
        text(v, "responders"),
        text(v, "user"),
        text(v, "source"),
        text(v, "key"),
    )
}
