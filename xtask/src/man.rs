//! `cargo xtask man DIR`: manual pages. Those of the commands come from the program itself; `carnet.toml(5)` is `docs/configuration.md`
//! in another dress, so there is one text to keep.
//!
//! Knows of Markdown what that file uses: headings, paragraphs, tables, lists, blocks of code; code, emphasis and links in a line.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Writes all pages to `dir`, with the pages of `program`.
pub fn pages(program: &Path, dir: &Path, date: &str) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    crate::run(Command::new(program).args(["man", "--date", date]).arg(dir), "carnet man")?;
    let text = std::fs::read_to_string("docs/configuration.md")
        .map_err(|e| format!("docs/configuration.md: {e}"))?;
    let page = format!(
        ".TH CARNET.TOML 5 \"{date}\" \"Carnet {}\" \"Carnet Manual\"\n.SH NAME\ncarnet.toml \\- configuration of Carnet\n{}\
         .SH FILES\n.TP\n.I /etc/carnet/NAME.toml\nwhat\n.B carnet@NAME.service\nruns\n.SH SEE ALSO\n.BR carnet\\-run (1),\n.BR carnet\\-check (1)\n",
        env!("CARGO_PKG_VERSION"),
        roff(&text)
    );
    let path = dir.join("carnet.toml.5");
    std::fs::write(&path, page).map_err(|e| format!("{}: {e}", path.display()))
}

/// Markdown as macros of man(7).
pub fn roff(markdown: &str) -> String {
    let mut out = String::new();
    let (mut in_code, mut in_table, mut begun, mut break_before) = (false, false, false, false);
    for line in markdown.lines() {
        if line.starts_with("```") {
            out.push_str(if in_code { ".EE\n.RE\n" } else { ".PP\n.RS 4\n.EX\n" });
            in_code = !in_code;
            continue;
        }
        if in_code {
            let _ = writeln!(out, "{}", guarded(&escaped(line)));
            continue;
        }
        if let Some(row) = line.strip_prefix('|') {
            let cells = cells(row);
            let is_rule = cells.iter().all(|cell| cell.bytes().all(|octet| b"-:".contains(&octet)));
            if std::mem::replace(&mut in_table, true) && !is_rule {
                entry(&mut out, &cells);
            }
            // The first row names the columns: each entry shows which is which.
            continue;
        }
        in_table = false;
        if let Some(heading) = line.strip_prefix('#') {
            let deeper = heading.starts_with("##");
            let heading = heading.trim_start_matches('#').trim().replace('`', "");
            let macro_name = if deeper { ".SS" } else { ".SH" };
            // The title of the document is that of the page.
            let heading = if begun { heading } else { "DESCRIPTION".into() };
            let _ = writeln!(out, "{macro_name} \"{}\"", escaped(&heading).replace('"', "\\(dq"));
            (begun, break_before) = (true, false);
        } else if let Some(item) = line.strip_prefix("* ").or_else(|| line.strip_prefix("- ")) {
            let _ = writeln!(out, ".IP \\(bu 2\n{}", guarded(&inline(item)));
            break_before = true;
        } else if line.trim().is_empty() {
            break_before = !out.is_empty() && !out.ends_with("\"\n");
        } else {
            if std::mem::take(&mut break_before) && !line.starts_with("  ") {
                out.push_str(".PP\n");
            }
            let _ = writeln!(out, "{}", guarded(&inline(line.trim_start())));
        }
    }
    out
}

/// `| key | default | meaning |` without the first bar. A bar in code is part of it.
fn cells(row: &str) -> Vec<String> {
    let (mut cells, mut cell, mut in_code) = (Vec::new(), String::new(), false);
    let mut characters = row.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&'|') => cell.extend(characters.next()),
            '|' if !in_code => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            _ => {
                in_code ^= character == '`';
                cell.push(character);
            }
        }
    }
    cells
}

/// The first cell is what is explained, the last explains it, what is between is what holds without it.
fn entry(out: &mut String, cells: &[String]) {
    let [key, between @ .., meaning] = cells else { return };
    let default: Vec<_> = between.iter().filter(|cell| !cell.is_empty()).map(|cell| inline(cell)).collect();
    let _ = writeln!(out, ".TP\n{}", guarded(&inline(key)));
    if !default.is_empty() {
        let _ = writeln!(out, "[default: {}]", default.join(", "));
    }
    let _ = writeln!(out, "{}", guarded(&inline(meaning)));
}

/// Code and strong words are bold, emphasis is italic, of a link its text is left.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '[', '*']) {
        out.push_str(&escaped(&rest[..at]));
        let (mark, after) = (&rest[at..=at], &rest[at + 1..]);
        let taken = match mark {
            "`" => after.split_once('`').map(|(code, rest)| (format!("\\fB{}\\fR", escaped(code)), rest)),
            "*" if after.starts_with('*') => {
                after[1..].split_once("**").map(|(word, rest)| (format!("\\fB{}\\fR", inline(word)), rest))
            }
            "*" => after.split_once('*').map(|(word, rest)| (format!("\\fI{}\\fR", escaped(word)), rest)),
            _ => {
                after.split_once("](").and_then(|(name, rest)| Some((inline(name), rest.split_once(')')?.1)))
            }
        };
        match taken {
            Some((piece, after)) => (out, rest) = (out + &piece, after),
            None => (out, rest) = (out + &escaped(mark), after),
        }
    }
    out + &escaped(rest)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '`' => out.push_str("\\(ga"),
            '\u{a0}' => out.push_str("\\ "),
            character if character.is_ascii() => out.push(character),
            character => {
                let _ = write!(out, "\\[u{:04X}]", u32::from(character));
            }
        }
    }
    out
}

/// A line of text that begins like a macro is none.
fn guarded(line: &str) -> String {
    if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_becomes_a_list_of_what_it_explains() {
        let text = "# Configuration\n\nA *file*.\n.starts so\n\n## `[log]`\n\n| key | default | meaning |\n|---|---|---|\n\
                    | `a.b` | `\"x|y\"` | see [there](x.md), \\| |\n| `c` | | it's §1 |\n\nEnd.\n\n```\n- a\\b\n```\n";
        let expected = ".SH \"DESCRIPTION\"\nA \\fIfile\\fR.\n\\&.starts so\n.SH \"[log]\"\n.TP\n\\fBa.b\\fR\n[default: \\fB\"x|y\"\\fR]\n\
                        see there, |\n.TP\n\\fBc\\fR\nit\\(aqs \\[u00A7]1\n.PP\nEnd.\n.PP\n.RS 4\n.EX\n\\- a\\eb\n.EE\n.RE\n";
        assert_eq!(roff(text), expected);
    }
}
