//! Another configuration for a process that runs: SIGHUP, `POST /api/v1/reload`, and what `carnet config diff` says
//! beforehand.
//!
//! The file is read and checked whole, with all that it names. If it is wrong nothing changes. Otherwise what can change
//! while calls go on is prepared by every role, and only when all have succeeded is any of it applied; the rest is named
//! as waiting for a restart, and is named again until there was one. What a role cannot do in the end, a socket that
//! cannot be bound for example, is named with the reason: what there was goes on, and the next reload tries again. Left
//! out: roles that come or go.

mod file;
mod table;

pub use file::{Change, Read, print};

use carnet_ops::config::{Config, ConfigError};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a role may take to go on with other settings.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a role has made ready: to be done at once, or by the role, which says when it has.
pub enum Ready {
    Now(Box<dyn FnOnce() + Send>),
    /// At once, if it can be done.
    Try(Box<dyn FnOnce() -> Result<(), String> + Send>),
    Told(Tell),
}

/// What a role could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// The settings that are as they were: the names that lead to them from the top, none for all of the role.
    pub path: Vec<String>,
    pub why: String,
}

impl From<String> for Undone {
    /// All of it.
    fn from(why: String) -> Self {
        Self { path: Vec::new(), why }
    }
}

/// What became of it.
pub type Done = Result<(), Vec<Undone>>;

/// Tells a role, and gives where it will answer.
type Tell = Box<dyn FnOnce() -> Result<Answer, String> + Send>;
type Answer = oneshot::Receiver<Done>;
type Prepare = Box<dyn Fn(&Config) -> Result<Ready, String> + Send + Sync>;

/// Who can go on with other settings, by the names that lead to them.
#[derive(Default)]
pub struct Renewals(Vec<(Vec<String>, Prepare)>);

impl Renewals {
    /// For settings below `path`; all, if it is empty.
    pub fn add(
        &mut self,
        path: &[&str],
        prepare: impl Fn(&Config) -> Result<Ready, String> + Send + Sync + 'static,
    ) {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        self.0.push((path, Box::new(prepare)));
    }
}

/// A file and the process that goes by it.
pub struct Reloading {
    path: PathBuf,
    runs: Read,
    renewals: Renewals,
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The file is wrong.
    #[error("{0}")]
    File(#[from] Box<ConfigError>),
    /// A role cannot go on with it.
    #[error("{0}")]
    Role(String),
}

impl Failed {
    /// The reason, with the line of the file where there is one.
    pub fn with_line(&self) -> String {
        let Self::File(error) = self else { return self.to_string() };
        match crate::check::place_of(error) {
            Value::Null => error.to_string(),
            place => {
                let part = |name: &str| place[name].to_string();
                format!(
                    "{}:{}:{}: {error}",
                    place["file"].as_str().unwrap_or_default(),
                    part("line"),
                    part("column")
                )
            }
        }
    }
}

impl Reloading {
    /// For a process that was started with that file.
    pub fn new(path: PathBuf, config: Config, renewals: Renewals) -> Self {
        Self { path, runs: Read::of(config), renewals }
    }

    /// Reads the file again and applies what can be applied; all changes since the start that there are, and what became
    /// of each of them.
    ///
    /// # Errors
    /// The file is wrong, or a role could not go on with it: nothing has changed.
    pub async fn reload(&mut self) -> Result<Vec<Change>, Failed> {
        let path = self.path.clone();
        // Files are read and users' passwords digested: not in the way of others.
        let new = tokio::task::spawn_blocking(move || Read::new(&path)).await;
        let new = new.map_err(|e| Failed::Role(e.to_string()))??;
        let mut changes = self.runs.changes(&new);
        let mixed = mixed(&self.runs, &new, &mut changes).map_err(Failed::Role)?;
        let mut ready = Vec::new();
        for (path, prepare) in &self.renewals.0 {
            if changes.iter().any(|change| change.live && change.path.starts_with(path)) {
                ready.push((path, prepare(&mixed.config).map_err(Failed::Role)?));
            }
        }
        for (path, ready) in ready {
            let outcome = match ready {
                Ready::Now(apply) => {
                    apply();
                    Ok(())
                }
                Ready::Try(apply) => apply().map_err(|why| vec![why.into()]),
                Ready::Told(tell) => told(tell).await,
            };
            for Undone { path: below, why } in outcome.err().unwrap_or_default() {
                let path = if below.is_empty() { path } else { &below };
                let concerned =
                    changes.iter_mut().filter(|change| change.live && change.path.starts_with(path));
                concerned.for_each(|change| change.failed = Some(why.clone()));
            }
        }
        self.runs = match changes.iter().any(|change| change.failed.is_some()) {
            // The next reload is to see it as not done.
            true => self.runs.with(&new, &changes).unwrap_or(mixed),
            false => mixed,
        };
        Ok(changes)
    }
}

async fn told(tell: Tell) -> Done {
    let fail = |why: &str| Err(vec![why.to_owned().into()]);
    let answer = tell().map_err(|why| vec![why.into()])?;
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => fail("it has stopped"),
        Err(_) => fail("it does not answer"),
    }
}

/// What runs with the changes that can be applied. Where those cannot stand beside what waits for a restart, they wait
/// too: first those of a section in which something waits, then all.
///
/// # Errors
/// What runs cannot be read again: a file that it needs is gone.
pub fn mixed(runs: &Read, new: &Read, changes: &mut [Change]) -> Result<Read, String> {
    if let Ok(mixed) = runs.with(new, changes) {
        return Ok(mixed);
    }
    let waiting: Vec<Vec<String>> =
        changes.iter().filter(|c| !c.live).map(|c| c.path.iter().take(2).cloned().collect()).collect();
    for change in changes.iter_mut().filter(|c| waiting.iter().any(|section| c.path.starts_with(section))) {
        change.live = false;
    }
    if let Ok(mixed) = runs.with(new, changes) {
        return Ok(mixed);
    }
    changes.iter_mut().for_each(|change| change.live = false);
    runs.with(new, changes)
}
