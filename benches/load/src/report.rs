//! Writes what benchmarks found into a document, between marks; the words around them stay.
//!
//! A place begins with a line `<!-- results: A1 A2 -->`, which names the goals it is about, and ends with
//! `<!-- end of results -->`. A row is a load, a column a peer. A place of which nothing is known stays as it is.
//! `<!-- results: run -->` is the place for what holds for the whole run, `<!-- results: steered -->` that for pinholes
//! without sockets, which are not the default: they stand beside what is, not beside peers.

use crate::Result;
use crate::outcome::{Absent, Line, Outcome, short};

const BEGIN: &str = "<!-- results: ";
const END: &str = "<!-- end of results -->";
/// How a load with pinholes without sockets ends.
const STEERED: &str = ": carnet-steered";
/// The others.
const VARIANTS: [(&str, &str); 2] = [(": carnet-kernel", ", kernel engine"), (": carnet", "")];

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
        let new = match goals.as_slice() {
            ["run"] => format!("\n{}\n\n", run.trim()),
            ["steered"] => steered(lines),
            _ => table(&goals, lines),
        };
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

/// The load, in words for a table.
fn title(what: &str) -> String {
    let variant = VARIANTS.iter().find_map(|(end, words)| Some((what.strip_suffix(end)?, words)));
    variant.map_or_else(|| what.to_owned(), |(load, words)| format!("{load}{words}"))
}

/// Nothing, if nothing is known about these goals.
fn table(goals: &[&str], lines: &[Line]) -> String {
    let mut peers: Vec<&str> = Vec::new();
    let mut loads: Vec<(&str, &str)> = Vec::new();
    let mut absent: Vec<String> = Vec::new();
    let mut known: Vec<&Outcome> = Vec::new();
    for goal in goals {
        for line in lines.iter().filter(|line| line.goal() == *goal) {
            match line {
                Line::Outcome(outcome) if outcome.what.ends_with(STEERED) => {}
                Line::Outcome(outcome) => {
                    if !peers.contains(&outcome.peer.as_str()) {
                        peers.push(&outcome.peer);
                    }
                    let load = (outcome.goal.as_str(), outcome.what.as_str());
                    if !loads.contains(&load) {
                        loads.push(load);
                    }
                    known.push(outcome);
                }
                Line::Absent(Absent { what, .. }) if what.ends_with(STEERED) => {}
                Line::Absent(Absent { goal, what, absent: why }) => {
                    let row = format!("* {goal} {}: {why}", title(what));
                    if !absent.contains(&row) {
                        absent.push(row);
                    }
                }
            }
        }
    }
    let mut out = String::new();
    if !loads.is_empty() {
        out.push_str(&format!("\n| goal | load | Carnet | {} |\n|", peers.join(" | ")));
        out.push_str(&" --- |".repeat(peers.len() + 3));
        out.push('\n');
    }
    for (goal, what) in loads {
        let of = |peer: &str| {
            known
                .iter()
                .find(|it| (it.goal.as_str(), it.what.as_str(), it.peer.as_str()) == (goal, what, peer))
        };
        let cells: Vec<String> =
            peers.iter().map(|peer| of(peer).map_or_else(String::new, |it| cell(it))).collect();
        let own = known.iter().find(|it| (it.goal.as_str(), it.what.as_str()) == (goal, what));
        let own = own.map_or_else(String::new, |it| value(it));
        out.push_str(&format!("| {goal} | {} | {own} | {} |\n", title(what), cells.join(" | ")));
    }
    if !absent.is_empty() {
        out.push_str(&format!("\nNot measured:\n\n{}\n", absent.join("\n")));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Carnet's own value, and what it is to be at most.
fn value(outcome: &Outcome) -> String {
    let own = format!("{} {}", short(outcome.carnet_value), outcome.unit);
    match outcome.at_most {
        Some(bound) if outcome.carnet_value <= bound => format!("{own} ✓ {}", short(bound)),
        Some(bound) => format!("**{own}** ✗ {}", short(bound)),
        None => own,
    }
}

/// The ratio, and what it is to be at most.
fn cell(outcome: &Outcome) -> String {
    let Outcome { ratio, least, most, rounds, .. } = outcome;
    let spread = if *rounds > 1 { format!(" ({least:.2} to {most:.2})") } else { String::new() };
    match outcome.wanted {
        Some(wanted) if *ratio <= wanted => format!("{ratio:.2}{spread} ✓ {wanted:.2}"),
        Some(wanted) => format!("**{ratio:.2}**{spread} ✗ {wanted:.2}"),
        None => format!("{ratio:.2}{spread}"),
    }
}

/// Pinholes without sockets beside those with: a value each, as they were beside the first peer.
fn steered(lines: &[Line]) -> String {
    let outcomes = || {
        lines.iter().filter_map(|line| match line {
            Line::Outcome(outcome) => Some(outcome),
            Line::Absent(_) => None,
        })
    };
    let mut rows: Vec<String> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for outcome in outcomes() {
        let Some(load) = outcome.what.strip_suffix(STEERED).filter(|load| !seen.contains(load)) else {
            continue;
        };
        seen.push(load);
        let with = outcomes().find(|it| it.what.strip_suffix(": carnet") == Some(load));
        let Some(with) = with else { continue };
        rows.push(format!(
            "| {load} | {} {} | {} | {:.2} |",
            short(with.carnet_value),
            with.unit,
            short(outcome.carnet_value),
            outcome.carnet_value / with.carnet_value
        ));
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("\n| load | with sockets | steered | ratio |\n| --- | --- | --- | --- |\n{}\n\n", rows.join("\n"))
}

/// How many of the goals are met, for people: a goal is met if it is beside every peer, in every load and with every engine
/// that was measured. Pinholes without sockets, which have to be asked for, are not judged.
#[must_use]
pub fn summary(lines: &[Line]) -> String {
    let mut goals: Vec<(&str, usize, usize, usize)> = Vec::new();
    for line in lines {
        let (goal, what) = match line {
            Line::Outcome(outcome) => (outcome.goal.as_str(), &outcome.what),
            Line::Absent(absent) => (absent.goal.as_str(), &absent.what),
        };
        if goal.is_empty() || what.ends_with(STEERED) {
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
        let absent = if *absent > 0 { format!(", {absent} not available") } else { String::new() };
        match (met, missed) {
            (0, 0) if absent.is_empty() => format!("{goal} measured, without a goal"),
            (0, 0) => format!("{goal} not measured"),
            (_, 0) => format!("{goal} met ({met} of {met}{absent})"),
            _ => format!("{goal} missed ({met} of {}{absent})", met + missed),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        vec![
            Line::compare("A1", "bulk up: carnet", "s/GB", ("haproxy", &[1.2, 1.3]), &[0.6, 0.5], Some(0.5)),
            Line::compare("A1", "bulk up: carnet", "s/GB", ("nginx", &[1.0, 1.0]), &[0.6, 0.5], Some(0.5)),
            Line::compare("A1", "bulk up: carnet-steered", "s/GB", ("nginx", &[1.0]), &[1.1], Some(0.5)),
            Line::compare("A6", "bulk up: carnet-kernel", "s/GB", ("haproxy", &[1.2]), &[0.9], Some(0.1))
                .at_most(1.0),
            Line::absent("A1", "bulk down: carnet", "not available: no nginx"),
            Line::absent("A1", "bulk down: carnet", "not available: no nginx"),
            Line::absent("A1", "bulk down: carnet-steered", "not available: no nftables"),
        ]
    }

    #[test]
    fn results_replace_what_was_between_the_marks() {
        let document = "# Title\n\nWords.\n\n<!-- results: run -->\nold\n<!-- end of results -->\n\n\
                        <!-- results: A1 A6 -->\nold\n<!-- end of results -->\nMore.\n\n\
                        <!-- results: steered -->\nold\n<!-- end of results -->\n\
                        <!-- results: C1 -->\n\nkept\n\n<!-- end of results -->\nThe end.\n";
        let new = write(document, &lines(), "a run").unwrap();
        for expected in [
            "Words.\n\n<!-- results: run -->\n\na run\n\n<!-- end",
            "| goal | load | Carnet | haproxy | nginx |\n| --- | --- | --- | --- | --- |\n",
            "| A1 | bulk up | 0.55 s/GB | 0.44 (0.38 to 0.50) ✓ 0.50 | **0.55** (0.50 to 0.60) ✗ 0.50 |\n",
            "| A6 | bulk up, kernel engine | 0.90 s/GB ✓ 1.00 | **0.75** ✗ 0.10 |  |\n",
            "Not measured:\n\n* A1 bulk down: not available: no nginx\n\n<!-- end",
            "| bulk up | 0.55 s/GB | 1.10 | 2.00 |\n",
            "<!-- results: C1 -->\n\nkept\n\n<!-- end of results -->\nThe end.\n",
        ] {
            assert!(new.contains(expected), "{expected}\n\n{new}");
        }
        assert!(!new.contains("old") && !new.contains("no nftables"), "{new}");
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
        let told = Line::compare("H9", "w", "us", ("p", &[1.0]), &[2.0], None);
        let all = [lines(), vec![told, Line::absent("Z1", "w", "why")]].concat();
        assert_eq!(
            summary(&all),
            "A1 missed (1 of 2, 2 not available); A6 missed (0 of 1); H9 measured, without a goal; Z1 not measured"
        );
    }
}
