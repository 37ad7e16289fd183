//! What was found, kept as JSON beside the document: each goal with the run that it is from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::outcome::Line;
use crate::report::summary;

/// All of it, by goal.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results(BTreeMap<String, Goal>);

/// What was found of one goal, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Goal {
    /// Words about the run.
    run: String,
    /// Its lines.
    results: Vec<Line>,
}

/// Where the results of a document are: `performance/results.json` beside `performance.md`.
#[must_use]
pub fn beside(document: &Path) -> PathBuf {
    document.with_extension("").join("results.json")
}

impl Results {
    /// Reads them; there are none where there is no file.
    ///
    /// # Errors
    ///
    /// If the file is something else.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                Ok(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes them.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?)
    }

    /// Takes what a run found: it replaces what was known of the same goals, others stay. What is only told, of no goal, is
    /// not kept.
    pub fn take(&mut self, lines: &[Line], run: &str) {
        let mut fresh: BTreeMap<&str, Vec<Line>> = BTreeMap::new();
        for line in lines.iter().filter(|line| !line.goal().is_empty()) {
            let known = fresh.entry(line.goal()).or_default();
            if !known.contains(line) {
                known.push(line.clone());
            }
        }
        for (goal, results) in fresh {
            self.0.insert(goal.to_owned(), Goal { run: run.to_owned(), results });
        }
    }

    /// All lines.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.0.values().flat_map(|goal| goal.results.iter().cloned()).collect()
    }

    /// What is to be said of the runs, that of `run` first: which goals are of which, if there are several, and what came
    /// of all.
    #[must_use]
    pub fn words(&self, run: &str) -> String {
        let runs = self.runs(run);
        let mut told = String::new();
        for (run, goals) in &runs {
            let which = if runs.len() > 1 { format!(" ({})", goals.join(", ")) } else { String::new() };
            told.push_str(&format!("{run}{which}\n\n"));
        }
        told + &summary(&self.lines()) + "."
    }

    /// The runs, each with its goals; those of `run` first.
    #[must_use]
    pub fn runs(&self, run: &str) -> Vec<(&str, Vec<&str>)> {
        let mut runs: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, goal) in &self.0 {
            match runs.iter_mut().find(|known| known.0 == goal.run) {
                Some((_, goals)) => goals.push(name),
                None => runs.push((&goal.run, vec![name])),
            }
        }
        runs.sort_by_key(|known| known.0 != run);
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_this_repository_says_what_is_kept_beside_it() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance.md");
        let results = Results::read(&beside(&page)).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        // Which run was the last is not kept.
        let fits = |(run, _): (&str, _)| {
            crate::report::write(&text, &results.lines(), &results.words(run)).unwrap() == text
        };
        assert!(
            results.runs("").into_iter().any(fits),
            "`carnet-load report` writes both: neither is changed by hand"
        );
    }

    #[test]
    fn a_run_replaces_its_own_goals() {
        let line = |goal: &str, ours: f64| Line::compare(goal, "w", "us", ("p", &[1.0]), &[ours], None);
        let mut results = Results::default();
        results.take(&[line("A1", 1.0), line("A1", 1.0), line("A4", 1.0), line("", 9.0)], "first");
        results.take(&[line("A4", 2.0)], "second");
        assert_eq!(results.lines(), [line("A1", 1.0), line("A4", 2.0)]);
        assert_eq!(results.runs("second"), [("second", vec!["A4"]), ("first", vec!["A1"])]);
        let folder = std::env::temp_dir().join(format!("carnet-results-{}", std::process::id()));
        let path = beside(&folder.join("performance.md"));
        assert!(path.ends_with("performance/results.json"));
        assert_eq!(Results::read(&path).unwrap(), Results::default());
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), results);
        std::fs::write(&path, "else").unwrap();
        Results::read(&path).unwrap_err();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
