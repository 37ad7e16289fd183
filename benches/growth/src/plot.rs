//! Pictures and tables from a file of results.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use carnet_growth::{Result, Way};

use crate::chart::{Chart, Series};
use crate::results::{Point, Results};
use crate::study::{AMONG, AUDITED, CALLED, FEW, KERNEL, MADE, MESSAGE, RELEASED, USER};

/// The text that the tables go into, between these two lines.
const TEXT: &str = "../growth.md";
const BEGIN: &str = "<!-- tables: written by `carnet-growth plot` -->";
const END: &str = "<!-- end of tables -->";

/// File, title, what is shown, whether it is shown over active sessions.
const CHARTS: [(&str, &str, (&str, &str), bool); 8] = [
    ("called", "Opening a session, with both ends: processor time, µs", CALLED, false),
    ("message", "A 200-octet message there and back, with both ends: processor time, µs", MESSAGE, false),
    ("active", "The same among 10,000 sessions, by how many are active: processor time, µs", MESSAGE, true),
    ("made", "Making a pair of pinholes: processor time, µs", MADE, false),
    ("released", "Releasing a session: processor time, µs", RELEASED, false),
    ("audited", "Asking for the counters of a session: processor time, µs", AUDITED, false),
    ("user-memory", "User memory of an idle session, octets", USER, false),
    (
        "kernel-memory",
        "Kernel memory of an idle session, with the sockets of its ends, octets",
        KERNEL,
        false,
    ),
];

/// Writes all pictures, and the tables into the text if there is one.
pub fn all(file: &Path, into: &Path) -> Result<()> {
    let results = Results::read(file)?;
    if results.points.is_empty() {
        return Err(format!("{}: no results", file.display()).into());
    }
    fs::create_dir_all(into)?;
    let mut tables = format!("Measured on {}.\n", results.machine);
    for (name, title, (what, _), by_active) in CHARTS {
        let series = series(&results, what, by_active);
        let across = if by_active { "active sessions" } else { "sessions" };
        fs::write(into.join(format!("{name}.svg")), Chart { title, across, series: &series }.svg())?;
        table(&mut tables, (title, across), &series)?;
    }
    let text = into.join(TEXT);
    if text.exists() {
        let old = fs::read_to_string(&text)?;
        let (head, rest) = old.split_once(BEGIN).ok_or("the text has no place for tables")?;
        let (_, tail) = rest.split_once(END).ok_or("the place for tables has no end")?;
        fs::write(&text, format!("{head}{BEGIN}\n{tables}\n{END}{tail}"))?;
    }
    Ok(())
}

fn series(results: &Results, what: &str, by_active: bool) -> Vec<Series> {
    let mut all = Vec::new();
    for way in Way::ALL {
        let of = |point: &&Point| {
            point.way == way.name()
                && point.what == what
                && if by_active {
                    point.sessions == AMONG
                } else {
                    point.active == 0 || point.active == point.sessions.min(FEW)
                }
        };
        let mut points: Vec<(f64, f64)> = results
            .points
            .iter()
            .filter(of)
            .map(|point| (f64::from(if by_active { point.active } else { point.sessions }), point.median()))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if !points.is_empty() {
            all.push(Series { name: way.name(), points });
        }
    }
    all
}

fn table(out: &mut String, (title, across): (&str, &str), series: &[Series]) -> Result<()> {
    let mut columns: Vec<f64> = series.iter().flat_map(|s| s.points.iter().map(|point| point.0)).collect();
    columns.sort_by(f64::total_cmp);
    columns.dedup();
    write!(out, "\n{title}\n\n| {across} |")?;
    for column in &columns {
        write!(out, " {} |", thousands(*column))?;
    }
    write!(out, "\n| --- |{}\n", " ---: |".repeat(columns.len()))?;
    for Series { name, points } in series {
        write!(out, "| {name} |")?;
        for column in &columns {
            match points.iter().find(|point| point.0 == *column) {
                Some((_, value)) if value.abs() < 100.0 => write!(out, " {value:.1} |")?,
                Some((_, value)) => write!(out, " {} |", thousands(*value))?,
                None => out.push_str(" |"),
            }
        }
        out.push('\n');
    }
    Ok(())
}

/// `12,500`.
pub fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut out = String::from(if number < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_threes() {
        assert_eq!(thousands(100_000.0), "100,000");
        assert_eq!(thousands(-1_234.4), "-1,234");
        assert_eq!(thousands(999.0), "999");
    }

    #[test]
    fn pictures_and_tables_show_the_middle_of_the_rounds() {
        let directory = std::env::temp_dir().join(format!("carnet-growth-{}", std::process::id()));
        let into = directory.join("growth");
        fs::create_dir_all(&into).unwrap();
        let mut results = Results { machine: "a machine".into(), ..Results::default() };
        for (sessions, value) in [(10, 7.0), (10, 9.0), (10, 8.0), (1_000, 80.0)] {
            results.add("kernel", CALLED, (sessions, 0), value);
        }
        results.write(&into.join("results.json")).unwrap();
        fs::write(directory.join("growth.md"), format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        all(&into.join("results.json"), &into).unwrap();
        let text = fs::read_to_string(directory.join("growth.md")).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("\nafter\n"), "{text}");
        assert!(text.contains("| kernel | 8.0 | 80.0 |") && !text.contains("old"), "{text}");
        let picture = fs::read_to_string(into.join("called.svg")).unwrap();
        assert_eq!(picture.matches("<circle").count(), 2, "{picture}");
        fs::remove_dir_all(&directory).unwrap();
    }
}
