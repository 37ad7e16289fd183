//! New users: where the keys go that were made for them.

use super::super::admin::{Command, NewUser};
use super::{lines, read_text};
use carnet_net::OsRandom;
use carnet_wire::{Random, hex};
use serde::Serialize;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// A new key of 32 octets, in hex.
pub(super) fn fresh_key() -> Zeroizing<String> {
    let octets = Zeroizing::new(OsRandom.array::<32>());
    Zeroizing::new(hex::encode(octets.as_ref()))
}

/// Keys that were made for new users.
pub(super) struct Made {
    /// As they are written for a person; empty if there are none.
    pub(super) text: Zeroizing<String>,
    /// One for each user, if it was made and not given.
    pub(super) keys: Vec<Option<Zeroizing<String>>>,
}

/// A new user as JSON, with the key if that is shown.
#[derive(Serialize)]
struct Added<'a> {
    name: &'a Value,
    identities: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

/// Adds users. No user stays whose key was made and is lost: a file has the keys before they become
/// valid, and users whose keys could not be shown are removed again.
pub(super) fn add_users(
    json: bool,
    out: Option<&Path>,
    users: Vec<NewUser>,
    made: &Made,
    call: impl Fn(&Command) -> Result<Value, String>,
) -> Result<(), String> {
    let names: Vec<String> = users.iter().map(|user| user.name.clone()).collect();
    let add = Command::UserAdd { users };
    let out = out.filter(|_| !made.text.is_empty());
    let told = match out {
        Some(path) => keep_keys(path, &made.text, || call(&add))?,
        None => call(&add)?,
    };
    let shown = match (json, out) {
        (true, _) => added_lines(&told, if out.is_none() { &made.keys } else { &[] })?,
        (false, None) => made.text.clone(),
        (false, Some(_)) => return Ok(()),
    };
    let mut stdout = std::io::stdout().lock();
    let Err(error) = stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()) else { return Ok(()) };
    if out.is_some() || made.text.is_empty() {
        return Err(format!("standard output: {error}; the users were added"));
    }
    Err(match call(&Command::UserRemove { names: names.clone() }) {
        Ok(_) => format!("standard output: {error}; nobody would have the key, so no user was added"),
        Err(why) => format!(
            "standard output: {error}; nobody has the key of {}, who could not be removed again: {why}",
            names.join(", ")
        ),
    })
}

/// One JSON object a line for each new user.
fn added_lines(told: &Value, keys: &[Option<Zeroizing<String>>]) -> Result<Zeroizing<String>, String> {
    let mut lines = Zeroizing::new(String::new());
    for (user, key) in told.as_array().into_iter().flatten().zip(keys.iter().chain(std::iter::repeat(&None)))
    {
        let added = Added {
            name: user.get("name").unwrap_or(&Value::Null),
            identities: user.get("identities").unwrap_or(&Value::Null),
            key: key.as_ref().map(|key| key.as_str()),
        };
        lines.push_str(&Zeroizing::new(serde_json::to_string(&added).map_err(|e| e.to_string())?));
        lines.push('\n');
    }
    Ok(lines)
}

/// Has `keys` in a new file before `add` makes them valid.
fn keep_keys<T>(path: &Path, keys: &str, add: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
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

/// Users of an import file, and the keys that were made for them.
pub(super) fn read_import(file: &Path) -> Result<(Vec<NewUser>, Made), String> {
    let text = read_text(file)?;
    let mut users = Vec::new();
    let mut made = Made { text: Zeroizing::new(String::new()), keys: Vec::new() };
    for (number, words) in lines(&text) {
        let (name, identities, key) = match words.as_slice() {
            [name, identities] => (name, identities, None),
            [name, identities, key] => (name, identities, Some(*key)),
            _ => return Err(format!("line {number}: write `NAME IDENTITY[,IDENTITY…] [KEY-IN-HEX]`")),
        };
        let psk = match key {
            Some(key) => {
                made.keys.push(None);
                key.to_owned()
            }
            None => {
                let key = fresh_key();
                made.text.push_str(&Zeroizing::new(format!("{name} {}\n", *key)));
                let psk = key.to_string();
                made.keys.push(Some(key));
                psk
            }
        };
        let identities = identities.split(',').map(str::to_owned).collect();
        users.push(NewUser { name: (*name).to_owned(), identities, psk });
    }
    Ok((users, made))
}
