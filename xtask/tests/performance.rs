//! The one command that measures, as short as it can be: what it writes, not how fast anything is.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// The goals that it is about.
const GOALS: [&str; 16] =
    ["A1", "A2", "A3", "A4", "A5", "A6", "A7", "B1", "B2", "B3", "C1", "C2", "D1", "D2", "D3", "calls"];
const MARK: &str = "<!-- results: ";
const END: &str = "<!-- end of results -->";

fn performance(document: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["performance", "--tiny", "--document"]).arg(document).args(words);
    command.output().unwrap()
}

/// The document without what is between its marks.
fn words_around(document: &str) -> String {
    let mut out = String::new();
    let mut rest = document;
    while let Some(at) = rest.find(MARK) {
        let (before, place) = rest.split_at(at);
        out.push_str(before);
        rest = place.split_once(END).unwrap().1;
    }
    out + rest
}

/// The lines of every goal, as they are kept beside the document.
fn results(document: &Path) -> Value {
    let kept = document.with_extension("").join("results.json");
    serde_json::from_str(&std::fs::read_to_string(kept).unwrap()).unwrap()
}

#[test]
fn it_says_a_number_for_every_goal_or_why_there_is_none() {
    let folder = std::env::temp_dir().join(format!("carnet-xtask-performance-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let document = folder.join("performance.md");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
    let before = std::fs::read_to_string(&own).unwrap();
    std::fs::write(&document, &before).unwrap();

    let output = performance(&document, &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");

    let (after, results) = (std::fs::read_to_string(&document).unwrap(), results(&document));
    for goal in GOALS {
        let lines =
            results[goal]["results"].as_array().unwrap_or_else(|| panic!("nothing of {goal}: {told}"));
        assert!(!lines.is_empty(), "nothing of {goal}");
        for line in lines {
            let number = line["ratio"].as_f64().is_some_and(f64::is_finite)
                && line["carnet_value"].as_f64().is_some_and(f64::is_finite)
                && !line["peer"].as_str().unwrap().is_empty();
            let reason = line["absent"].as_str().is_some_and(|why| !why.is_empty());
            assert!(number != reason, "{line}");
        }
        let row = format!("| {goal} | ");
        let missing = format!("* {goal} ");
        assert!(after.contains(&row) || after.contains(&missing), "{goal} is not in the document:\n{after}");
    }
    assert!(after.contains("as short as a run can be"), "how long it was is in the document:\n{after}");
    assert_eq!(words_around(&after), words_around(&before), "what is around the tables stays");
    assert_eq!(
        std::fs::read_to_string(own).unwrap(),
        before,
        "the document of this repository is left alone"
    );

    // Part of it leaves the rest as it was.
    let kept = results["D1"].clone();
    let output = performance(&document, &["--only", "calls"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let again = self::results(&document);
    assert_eq!(again["D1"], kept);
    assert_ne!(again["calls"], results["calls"], "that was measured anew");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused() {
    let nowhere = std::env::temp_dir().join(format!("carnet-no-document-{}.md", std::process::id()));
    for words in [&["--only", "nothing"][..], &["--fast"], &["--rounds"]] {
        let output = performance(&nowhere, words);
        assert!(!output.status.success() && !nowhere.exists(), "{words:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("performance [--rounds") || told.contains("needs a value"), "{told}");
    }
}
