//! What was found, with what to do about it.

use serde_json::{Value, json};
use std::fmt::Write;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It does not work, or not as the file says.
    Fault,
    /// It works for now, or worse than it could.
    Warning,
    /// Something that could not be seen, or is only good to know.
    Note,
}

impl Weight {
    /// For scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable name: `certificate-expired`.
    pub check: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// Where in the file, or what of the host: `border.alg.tls`, `host`.
    pub at: String,
    /// What is the matter.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
    /// What was looked at.
    pub looked: Vec<&'static str>,
}

impl Report {
    /// Says that this was looked at, found or not.
    pub fn looked(&mut self, at: &'static str) {
        if !self.looked.contains(&at) {
            self.looked.push(at);
        }
    }

    fn put(&mut self, weight: Weight, check: &'static str, at: &str, what: String, fix: String) {
        let finding = Finding { check, weight, at: at.to_owned(), what, fix };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// It does not work.
    pub fn fault(&mut self, check: &'static str, at: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.put(Weight::Fault, check, at, what.into(), fix.into());
    }

    /// It works worse than it could.
    pub fn warning(
        &mut self,
        check: &'static str,
        at: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.put(Weight::Warning, check, at, what.into(), fix.into());
    }

    /// Good to know.
    pub fn note(&mut self, check: &'static str, at: &str, what: impl Into<String>, fix: impl Into<String>) {
        self.put(Weight::Note, check, at, what.into(), fix.into());
    }

    /// Nothing keeps it from working.
    pub fn is_well(&self) -> bool {
        self.count(Weight::Fault) == 0
    }

    fn count(&self, weight: Weight) -> usize {
        self.findings.iter().filter(|finding| finding.weight == weight).count()
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "check": finding.check,
                "weight": finding.weight.name(),
                "at": finding.at,
                "what": finding.what,
                "fix": finding.fix,
            })
        };
        let findings: Vec<Value> = self.sorted().into_iter().map(finding).collect();
        json!({ "ok": self.is_well(), "findings": findings, "looked_at": self.looked })
    }

    /// For people.
    pub fn words(&self) -> String {
        let mut out = String::new();
        for finding in self.sorted() {
            let weight = finding.weight.name().to_uppercase();
            let _ = writeln!(out, "{weight:<8} {}: {}", finding.at, finding.what);
            if !finding.fix.is_empty() {
                let _ = writeln!(out, "         -> {}", finding.fix);
            }
        }
        let _ = writeln!(out, "looked at: {}", self.looked.join(", "));
        let counted = |weight: Weight, one: &str| match self.count(weight) {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let all = [(Weight::Fault, "fault"), (Weight::Warning, "warning"), (Weight::Note, "note")];
        let _ = writeln!(out, "{}", all.map(|(weight, one)| counted(weight, one)).join(", "));
        out
    }

    fn sorted(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.weight);
        findings
    }
}
