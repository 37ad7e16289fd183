//! Writes what benchmarks found into a document, between marks; the words around them stay.
//!
//! A place begins with a line `<!-- results: A1 A2 -->`, which names the goals it is about, and ends with
//! `<!-- end of results -->`. A place of which no goal was measured stays as it is. `<!-- results: run -->` is the
//! place for what holds for the whole run.

use crate::Result;
use crate::outcome::{Absent, Line, Outcome, short};

const BEGIN: &str = "<!-- results: ";
const END: &str = "<!-- end of results -->";

/// The document with these results. `run`: what is to be said of the run.
///
/// # Errors
///
/// If a place does not end, or there is none for one of the goals.
pub fn write(document: &str, lines: &[Line], run: &str) -> Result<String> {
    let mut out = String::with_capacity(document.len());
    let mut written: Vec<&str> = Vec::new();
    let mut rest = document;
    while let Some(at) = rest.find(BEGIN) {
        let (before, place) = rest.split_at(at);
        out.push_str(before);
        let (head, body) = place.split_once("-->\n").ok_or("a place without a beginning")?;
        let (old, after) = body.split_once(END).ok_or_else(|| format!("{head}--> has no end"))?;
        out.push_str(head);
        out.push_str("-->\n");
        let goals: Vec<&str> = head.get(BEGIN.len()..).unwrap_or_default().split_whitespace().collect();
        let new = if goals == ["run"] { format!("\n{}\n\n", run.trim()) } else { table(&goals, lines) };
        out.push_str(if new.is_empty() { old } else { &new });
        out.push_str(END);
        written.extend(goals);
        rest = after;
    }
    out.push_str(rest);
    for line in lines {
        let goal = line.goal();
        if !goal.is_empty() && !written.contains(&goal) {
            return Err(format!("the document has no place for {goal}").into());
        }
    }
    Ok(out)
}

/// Nothing, if there is nothing about these goals.
fn table(goals: &[&str], lines: &[Line]) -> String {
    let mut rows: Vec<String> = Vec::new();
    for goal in goals {
        for line in lines.iter().filter(|line| line.goal() == *goal) {
            let row = match line {
                Line::Outcome(outcome) => row(outcome),
                Line::Absent(Absent { goal, what, absent }) => {
                    format!("| {goal} | {what} | {absent} | | | | |")
                }
            };
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let head = "\n| goal | what | Carnet | beside | ratio (least to most, rounds) | wanted | |\n| --- | --- | --- | --- | --- | --- | --- |\n";
    format!("{head}{}\n\n", rows.join("\n"))
}

fn row(outcome: &Outcome) -> String {
    let Outcome { goal, what, unit, peer, peer_value, carnet_value, ratio, least, most, rounds, .. } =
        outcome;
    let met = match outcome.met() {
        None => "",
        Some(true) => "met",
        Some(false) => "**missed**",
    };
    let spread = if *rounds > 1 {
        format!("{ratio:.2} ({least:.2} to {most:.2}, {rounds})")
    } else {
        format!("{ratio:.2}")
    };
    format!(
        "| {goal} | {what} | {} {unit} | {peer} {} | {spread} | {} | {met} |",
        short(*carnet_value),
        short(*peer_value),
        outcome.goal_text().unwrap_or_default()
    )
}

/// How many of the goals are met, for people: a goal is met if it is beside every peer, in every load and variant that
/// was measured.
#[must_use]
pub fn summary(lines: &[Line]) -> String {
    let mut goals: Vec<(&str, usize, usize, usize)> = Vec::new();
    for line in lines {
        let goal = line.goal();
        if goal.is_empty() {
            continue;
        }
        let at = goals.iter().position(|known| known.0 == goal).unwrap_or_else(|| {
            goals.push((goal, 0, 0, 0));
            goals.len() - 1
        });
        let Some((_, met, missed, absent)) = goals.get_mut(at) else { continue };
        match line {
            Line::Absent(_) => *absent += 1,
            Line::Outcome(outcome) => match outcome.met() {
                Some(true) => *met += 1,
                Some(false) => *missed += 1,
                None => {}
            },
        }
    }
    goals.sort_unstable();
    let told = goals.iter().map(|(goal, met, missed, absent)| {
        let verdict = if *missed > 0 {
            "missed"
        } else if *met > 0 {
            "met"
        } else {
            "not measured"
        };
        let absent = if *absent > 0 { format!(", {absent} not available") } else { String::new() };
        format!("{goal} {verdict} ({met} of {}{absent})", met + missed)
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        vec![
            Line::compare("A1", "bulk up: carnet", "s/GB", ("haproxy", &[1.2, 1.3]), &[0.6, 0.5], Some(0.5)),
            Line::compare("A6", "bulk up: carnet-kernel", "s/GB", ("haproxy", &[1.2]), &[0.9], Some(0.1)),
            Line::absent("A1", "bulk up: carnet-steered", "not available: no nftables"),
            Line::absent("A1", "bulk up: carnet-steered", "not available: no nftables"),
        ]
    }

    #[test]
    fn results_replace_what_was_between_the_marks() {
        let document = "# Title\n\nWords.\n\n<!-- results: run -->\nold\n<!-- end of results -->\n\n\
                        <!-- results: A1 A6 -->\nold\n<!-- end of results -->\nMore.\n\n\
                        <!-- results: C1 -->\n\nkept\n\n<!-- end of results -->\nThe end.\n";
        let new = write(document, &lines(), "a run").unwrap();
        for expected in [
            "Words.\n\n<!-- results: run -->\n\na run\n\n<!-- end",
            "| A1 | bulk up: carnet | 0.55 s/GB | haproxy 1.25 | 0.44 (0.38 to 0.50, 2) | 0.50 | met |\n",
            "| A6 | bulk up: carnet-kernel | 0.90 s/GB | haproxy 1.20 | 0.75 | 0.10 | **missed** |\n",
            "| A1 | bulk up: carnet-steered | not available: no nftables | | | | |\n",
            "More.\n\n<!-- results: C1 -->\n\nkept\n\n<!-- end of results -->\nThe end.\n",
        ] {
            assert!(new.contains(expected), "{expected}\n\n{new}");
        }
        assert!(!new.contains("old") && new.matches("no nftables").count() == 1, "{new}");
        assert_eq!(write(&new, &lines(), "a run").unwrap(), new, "again");
    }

    #[test]
    fn a_document_without_a_place_is_refused() {
        assert!(write("nothing", &lines(), "").unwrap_err().to_string().contains("A1"));
        assert!(write("<!-- results: A1 A6 -->\nno end", &lines(), "").is_err());
        assert_eq!(write("nothing", &[], "").unwrap(), "nothing");
    }

    #[test]
    fn a_goal_is_met_if_it_is_everywhere() {
        assert_eq!(summary(&lines()), "A1 met (1 of 1, 2 not available); A6 missed (0 of 1)");
    }
}
