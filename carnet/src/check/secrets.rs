//! Files with secrets that others on this host can read.

use carnet_ops::config::Config;
use carnet_ops::config::tree::Path as Names;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What names a file with a secret.
const SECRETS: &[&str] = &[
    "key",
    "psk",
    "users",
    "token-file",
    "read-token-file",
    "headers-file",
    "password-file",
    "root-key",
    "key-file",
];

/// A sentence for each.
pub fn exposed(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    look(&mut Vec::new(), &config.tree().unwrap_or_default(), &mut found);
    found
}

/// Whether others get to a file at all: nobody does in a directory that is closed to them.
pub fn is_open_to_others(path: &Path) -> bool {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut above = whole.ancestors().skip(1).filter_map(|path| std::fs::metadata(path).ok());
    above.all(|directory| directory.permissions().mode() & 0o001 != 0)
}

fn look(path: &mut Vec<String>, tree: &Value, found: &mut Vec<String>) {
    let mut step = |name: String, inner: &Value| {
        path.push(name);
        look(path, inner, found);
        path.pop();
    };
    match tree {
        Value::Object(members) => members.iter().for_each(|(name, inner)| step(name.clone(), inner)),
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(index, inner)| step(index.to_string(), inner));
        }
        Value::String(file) => {
            let last = path.last().map(String::as_str).unwrap_or_default();
            // `file` of a key; session records are no secret of this kind.
            let key = last == "file" && path.iter().any(|name| name == "keys");
            let secret = key || SECRETS.contains(&last);
            let readable = |data: std::fs::Metadata| data.permissions().mode() & 0o004 != 0;
            if secret && std::fs::metadata(file).is_ok_and(readable) && is_open_to_others(Path::new(file)) {
                found.push(format!("{}: everybody on this host can read {file}; chmod o-r it", Names(path)));
            }
        }
        _ => {}
    }
}
