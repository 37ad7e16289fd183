//! A configuration file as it was read: its settings, and what was in the files that it names.

use super::table::{is_file, is_live, is_renewed, needs_other_ways, whole};
use crate::check;
use carnet_ops::config::tree::{self, Difference, Path as Names};
use carnet_ops::config::{Config, ConfigError};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use zeroize::Zeroizing;

/// Octets of a file that are compared: more than any certificate or list of users has.
const MOST: u64 = 64 << 20;

/// What a file says.
pub struct Read {
    pub config: Config,
    pub tree: Value,
    /// What was in the files that it names, by the names of the settings.
    prints: BTreeMap<Vec<String>, Option<[u8; 32]>>,
}

/// What a setting is, and what becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub path: Vec<String>,
    pub what: What,
    /// Whether it is applied, or waits for a restart.
    pub live: bool,
    /// Why it was not applied though it could have been: what there was goes on.
    pub failed: Option<String>,
}

/// What is another.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The value.
    Value { old: Option<Value>, new: Option<Value> },
    /// What is in the file. Never shown: it may be a key.
    Content,
}

impl Read {
    /// Reads and checks the whole file, and all that it names.
    ///
    /// # Errors
    /// The first mistake.
    pub fn new(path: &Path) -> Result<Self, Box<ConfigError>> {
        Ok(Self::of(check::load(path)?))
    }

    /// What a checked configuration says.
    pub fn of(config: Config) -> Self {
        // There is nothing in a configuration that JSON has no word for.
        let tree = config.tree().unwrap_or_default();
        let mut prints = BTreeMap::new();
        look(&mut Vec::new(), &tree, &mut prints);
        Self { config, tree, prints }
    }

    /// What is another in `new`, in order.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let mut all: Vec<Change> =
            tree::differences(&self.tree, &new.tree).into_iter().map(Change::of).collect();
        for change in &mut all {
            let section = whole(&change.path);
            // It comes or goes with all that it says.
            let moves = section
                .is_some_and(|section| at(&self.tree, section).is_none() != at(&new.tree, section).is_none());
            change.live |= moves;
        }
        for (path, print) in &new.prints {
            let known = self.prints.get(path);
            let same_name = !all.iter().any(|change| &change.path == path);
            if known.is_some_and(|known| known != print) && same_name {
                let (path, live) = (path.clone(), is_renewed(path));
                all.push(Change { path, what: What::Content, live, failed: None });
            }
        }
        all
    }

    /// These settings with the changes that are live taken from `new`.
    ///
    /// # Errors
    /// What the two together would not be allowed to be.
    pub fn with(&self, new: &Self, changes: &[Change]) -> Result<Self, String> {
        let mut tree = self.tree.clone();
        let mut prints = self.prints.clone();
        for change in changes.iter().filter(|change| change.is_applied()) {
            tree::take_over(&mut tree, &new.tree, &change.path);
            match new.prints.get(&change.path) {
                Some(print) => drop(prints.insert(change.path.clone(), *print)),
                None => drop(prints.remove(&change.path)),
            }
        }
        let text = tree::text(&tree)?;
        let config =
            carnet_ops::config::parse("what runs", text, Path::new("/")).map_err(|e| e.to_string())?;
        let tree = config.tree()?;
        Ok(Self { config, tree, prints })
    }
}

impl Change {
    fn of(difference: Difference) -> Self {
        let Difference { path, old, new } = difference;
        let live = is_live(&path, old.is_some() && new.is_some())
            && !old.as_ref().zip(new.as_ref()).is_some_and(|(old, new)| needs_other_ways(&path, old, new));
        Self { path, what: What::Value { old, new }, live, failed: None }
    }

    /// Whether the process goes by it.
    pub fn is_applied(&self) -> bool {
        self.live && self.failed.is_none()
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let mut members = serde_json::Map::new();
        members.insert("setting".into(), Names(&self.path).to_string().into());
        match &self.what {
            What::Value { old, new } => {
                members.insert("old".into(), old.clone().unwrap_or_default());
                members.insert("new".into(), new.clone().unwrap_or_default());
            }
            What::Content => drop(members.insert("content".into(), "changed".into())),
        }
        members.insert("applied".into(), self.is_applied().into());
        if let Some(why) = &self.failed {
            members.insert("error".into(), why.clone().into());
        }
        members.into()
    }
}

impl Change {
    /// A value as it is in a file.
    fn written(&self, value: &Value) -> String {
        match value.as_u64().filter(|_| self.path.last().is_some_and(|name| name == "socket-mode")) {
            // Rights are written in octal.
            Some(mode) => format!("0o{mode:o}"),
            None => value.to_string(),
        }
    }
}

/// `border.a.policy.max-calls: 100 → 200 (applied)`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match (&self.failed, self.live) {
            (Some(why), _) => format!("not applied: {why}"),
            (None, true) => "applied".to_owned(),
            (None, false) => "needs a restart".to_owned(),
        };
        let name = Names(&self.path);
        match &self.what {
            What::Value { old: Some(old), new: Some(new) } => {
                write!(f, "{name}: {} → {} ({outcome})", self.written(old), self.written(new))
            }
            What::Value { old: None, new: Some(new) } => {
                write!(f, "{name}: new, {} ({outcome})", self.written(new))
            }
            What::Value { old, .. } => {
                let old = old.as_ref().unwrap_or(&Value::Null);
                write!(f, "{name}: gone, was {} ({outcome})", self.written(old))
            }
            What::Content => write!(f, "{name}: the file's content has changed ({outcome})"),
        }
    }
}

/// What is at a path.
fn at<'a>(tree: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |tree, name| tree.get(name))
}

fn look(path: &mut Vec<String>, here: &Value, prints: &mut BTreeMap<Vec<String>, Option<[u8; 32]>>) {
    let mut step = |name: String, inner: &Value| {
        path.push(name);
        look(path, inner, prints);
        path.pop();
    };
    match here {
        Value::Object(members) => members.iter().for_each(|(name, inner)| step(name.clone(), inner)),
        Value::Array(elements) => {
            let called = |index| tree::element(elements, index);
            elements.iter().enumerate().for_each(|(index, inner)| step(called(index), inner));
        }
        Value::String(file) if is_file(path) => drop(prints.insert(path.clone(), print(Path::new(file)))),
        _ => {}
    }
}

/// What tells the content of a file from another; none if it cannot be read.
pub fn print(path: &Path) -> Option<[u8; 32]> {
    if std::fs::metadata(path).ok()?.len() > MOST {
        return None;
    }
    let octets = Zeroizing::new(std::fs::read(path).ok()?);
    Some(Sha256::digest(octets.as_slice()).into())
}
