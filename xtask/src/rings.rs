//! Checks that imports only point inward (see ARCHITECTURE.md).
//!
//! `proto/` and `rules/` decide and never act, so they may not reach, even through a dependency,
//! anything that has a clock, a socket, a disk or a C library; `proto/` knows no rules; `io/`
//! knows no program.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the inner ring must not be able to reach.
const EFFECTS: &[&str] = &[
    "tokio",
    "mio",
    "openssl",
    "openssl-sys",
    "rustls",
    "aws-lc-rs",
    "redb",
    "hyper",
    "axum",
    "getrandom",
    "tracing",
    "rustix",
    "socket2",
    "log",
];

/// Fails with every import that points outward.
pub(crate) fn check() -> Result<(), String> {
    let output = super::cargo()
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    let graph = Graph::read(&metadata).ok_or("cargo metadata has another shape than expected")?;
    let wrong = graph.outward();
    if wrong.is_empty() {
        println!("imports point inward: {} packages checked", graph.ring.len());
        return Ok(());
    }
    Err(wrong.join("\n"))
}

/// Packages by identifier: name, ring directory for ours, and what they import.
#[derive(Default)]
struct Graph {
    name: BTreeMap<String, String>,
    ring: BTreeMap<String, String>,
    imports: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn read(metadata: &Value) -> Option<Self> {
        let mut graph = Self::default();
        let root = metadata["workspace_root"].as_str()?;
        for package in metadata["packages"].as_array()? {
            let id = package["id"].as_str()?.to_owned();
            graph.name.insert(id.clone(), package["name"].as_str()?.to_owned());
            let manifest = package["manifest_path"].as_str()?;
            if let Some(inside) = manifest.strip_prefix(root).filter(|_| package["source"].is_null()) {
                let ring = inside.trim_start_matches('/').split('/').next()?;
                graph.ring.insert(id, ring.to_owned());
            }
        }
        for node in metadata["resolve"]["nodes"].as_array()? {
            let normal = |dep: &&Value| {
                dep["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k["kind"].is_null()))
            };
            let imports = node["deps"].as_array()?.iter().filter(normal);
            let imports = imports.filter_map(|dep| dep["pkg"].as_str().map(str::to_owned)).collect();
            graph.imports.insert(node["id"].as_str()?.to_owned(), imports);
        }
        Some(graph)
    }

    fn outward(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, ring) in &self.ring {
            let forbidden: &[&str] = match ring.as_str() {
                "proto" => &["rules", "io", "carnet"],
                "rules" => &["io", "carnet"],
                "io" => &["carnet"],
                _ => continue,
            };
            let inner = ring == "proto" || ring == "rules";
            for reached in self.reach(id) {
                let to = &self.name[&reached];
                let outer = self.ring.get(&reached).is_some_and(|r| forbidden.contains(&r.as_str()));
                if outer || (inner && EFFECTS.contains(&to.as_str())) {
                    wrong.push(format!("{} ({ring}/) reaches {to}", self.name[id]));
                }
            }
        }
        wrong
    }

    fn reach(&self, from: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![from.to_owned()];
        while let Some(id) = open.pop() {
            for next in self.imports.get(&id).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workspace(rules_import: &str) -> Graph {
        let package = |name: &str, dir: &str, source: Value| json!({"id": name, "name": name, "manifest_path": format!("/w/{dir}/Cargo.toml"), "source": source});
        let node = |id: &str, to: &[&str]| {
            let deps: Vec<_> = to.iter().map(|t| json!({"pkg": t, "dep_kinds": [{"kind": null}]})).collect();
            json!({"id": id, "deps": deps})
        };
        Graph::read(&json!({
            "workspace_root": "/w",
            "packages": [
                package("rule", "rules/rule", Value::Null), package("net", "io/net", Value::Null),
                package("plain", "x", json!("registry")), package("tokio", "y", json!("registry")),
            ],
            "resolve": {"nodes": [node("rule", &[rules_import]), node("plain", &["tokio"]), node("net", &["rule"]), node("tokio", &[])]},
        }))
        .unwrap()
    }

    #[test]
    fn effects_are_found_through_a_dependency() {
        assert_eq!(workspace("plain").outward(), ["rule (rules/) reaches tokio"]);
    }

    #[test]
    fn a_rule_may_not_import_io_but_io_may_import_a_rule() {
        assert!(workspace("net").outward().contains(&"rule (rules/) reaches net".to_owned()));
        assert!(workspace("tokio").outward().iter().all(|w| !w.starts_with("net")));
    }
}
