//! A ladder for a terminal: a column a host, an arrow a line.

use super::{cut, plain};
use crate::model::{Entry, Ladder, Session, Weight};
use crate::words;

/// What is written on.
#[derive(Debug, Clone, Copy)]
pub struct Paper {
    /// Characters in a line, at least 40.
    pub width: usize,
    /// Whether colours are understood.
    pub colours: bool,
    /// Whether the text of each message follows its arrow.
    pub whole: bool,
}

/// Characters of the time at the left.
const TIME: usize = 9;
/// Least characters from one column to the next. With less, arrows are told in words.
const COLUMN: usize = 7;

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const DIM: &str = "2";
const BOLD: &str = "1";

impl Paper {
    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The sessions in a line each.
pub fn list(ladder: &Ladder, paper: Paper) -> String {
    let mut out = String::new();
    for session in &ladder.sessions {
        let begin = session.entries.first().map(|entry| words::moment(entry.at)).unwrap_or_default();
        let (number, kind) = (session.number, session.kind.as_str());
        let head = if paper.width < 80 {
            format!("{number:>4}  {kind:<12}  ")
        } else {
            format!("{number:>4}  {begin}  {kind:<12}  {:>5}  ", session.entries.len())
        };
        let title = cut(&plain(&session.title), paper.width.saturating_sub(head.chars().count()).max(20));
        out.push_str(&head);
        out.push_str(&title);
        out.push('\n');
        for finding in session.findings.iter().take(1) {
            let line = cut(&plain(&finding.what), paper.width.saturating_sub(6));
            out.push_str(&format!("      {}\n", paper.paint(colour(finding.weight), &line)));
        }
    }
    remarks(&mut out, ladder, paper);
    out
}

/// Every session as a ladder.
pub fn text(ladder: &Ladder, paper: Paper) -> String {
    let mut out = String::new();
    for session in &ladder.sessions {
        draw(&mut out, session, paper);
        out.push('\n');
    }
    remarks(&mut out, ladder, paper);
    out
}

fn remarks(out: &mut String, ladder: &Ladder, paper: Paper) {
    for remark in &ladder.remarks {
        for line in wrapped(&plain(remark), paper.width) {
            out.push_str(&paper.paint(YELLOW, &line));
            out.push('\n');
        }
    }
}

fn colour(weight: Weight) -> &'static str {
    match weight {
        Weight::Failure => RED,
        Weight::Warning => YELLOW,
        Weight::Note => GREEN,
    }
}

fn draw(out: &mut String, session: &Session, paper: Paper) {
    let width = paper.width.max(40);
    let head = format!("{}. {}: {}", session.number, session.kind.as_str(), plain(&session.title));
    out.push_str(&paper.paint(BOLD, &cut(&head, width)));
    out.push('\n');
    for id in &session.call_ids {
        out.push_str(&paper.paint(DIM, &cut(&format!("   Call-ID {}", plain(id)), width)));
        out.push('\n');
    }
    let Some(first) = session.entries.first() else { return };
    out.push_str(&paper.paint(DIM, &format!("   begins {}", words::moment(first.at))));
    out.push_str("\n\n");
    let count = session.hosts.len();
    let space = if count > 1 { (width - TIME - 2) / count } else { width };
    let drawn = count > 1 && space >= COLUMN;
    if drawn {
        heads(out, session, paper, space);
    }
    for entry in &session.entries {
        if drawn {
            arrow(out, session, entry, paper, space, width);
        } else {
            told(out, session, entry, paper, width);
        }
        if paper.whole && !entry.text.is_empty() {
            for line in entry.text.lines() {
                let line = cut(&plain(line), width.saturating_sub(TIME + 4));
                out.push_str(&format!("{:TIME$}  {}\n", "", paper.paint(DIM, &line)));
            }
        }
    }
    out.push('\n');
    for finding in &session.findings {
        let mark = match finding.weight {
            Weight::Failure => "✗ ",
            Weight::Warning => "! ",
            Weight::Note => "✓ ",
        };
        let said = format!("{} {}", finding.what, finding.advice);
        for (at, line) in wrapped(plain(said.trim()).as_str(), width - 2).into_iter().enumerate() {
            let lead = if at == 0 { mark } else { "  " };
            out.push_str(&paper.paint(colour(finding.weight), &format!("{lead}{line}")));
            out.push('\n');
        }
    }
}

/// The middle of a column.
fn middle(column: usize, space: usize) -> usize {
    TIME + 2 + column * space + space / 2
}

/// Names over the columns: role, then addresses.
fn heads(out: &mut String, session: &Session, paper: Paper, space: usize) {
    let of = |host: &crate::model::Host| host.addresses.len() + usize::from(!host.name.is_empty());
    let rows = session.hosts.iter().map(of).max().unwrap_or_default().min(3);
    for row in 0..=rows {
        let mut line = " ".repeat(TIME + 2);
        for host in &session.hosts {
            let text = match row {
                0 if !host.name.is_empty() => host.name.clone(),
                0 => host.role.clone(),
                row if !host.name.is_empty() && row == 1 => host.role.clone(),
                row if !host.name.is_empty() => host.addresses.get(row - 2).cloned().unwrap_or_default(),
                row => host.addresses.get(row - 1).cloned().unwrap_or_default(),
            };
            // An address that does not fit shows its end, where addresses differ.
            let text = if row > 0 && text.chars().count() >= space {
                tail(&text, space - 1)
            } else {
                cut(&text, space - 1)
            };
            line.push_str(&format!("{:^space$}", plain(&text)));
        }
        let line = line.trim_end();
        if !line.is_empty() {
            out.push_str(&paper.paint(if row == 0 { BOLD } else { DIM }, line));
            out.push('\n');
        }
    }
}

fn tail(text: &str, most: usize) -> String {
    let count = text.chars().count();
    let rest: String = text.chars().skip(count.saturating_sub(most.saturating_sub(1))).collect();
    format!("…{rest}")
}

fn time(session: &Session, entry: &Entry) -> String {
    let begin = session.entries.first().map(|entry| entry.at).unwrap_or_default();
    format!("{:>TIME$}", words::seconds(entry.at.saturating_sub(begin)))
}

/// The words on an arrow.
fn label(entry: &Entry) -> String {
    let label = plain(&entry.label);
    if entry.times > 1 { format!("{label} ×{}", entry.times) } else { label }
}

fn arrow(out: &mut String, session: &Session, entry: &Entry, paper: Paper, space: usize, width: usize) {
    let mut cells: Vec<char> = vec![' '; width];
    for column in 0..session.hosts.len() {
        if let Some(cell) = cells.get_mut(middle(column, space)) {
            *cell = '│';
        }
    }
    let (from, to) = (middle(entry.from_host, space), middle(entry.to_host, space));
    let words = label(entry);
    let (left, right) = (from.min(to), from.max(to));
    if left == right {
        set(&mut cells, left, "●");
    } else {
        for cell in cells.iter_mut().take(right).skip(left + 1) {
            *cell = '─';
        }
        let (tip, at) = if to > from { ("▶", right - 1) } else { ("◀", left + 1) };
        set(&mut cells, at, tip);
    }
    // On the arrow if there is room, else beside it, on the side with more of it.
    let length = words.chars().count() + 2;
    let room = right.saturating_sub(left).saturating_sub(4);
    let at = if length <= room {
        left + (right - left - length) / 2 + 1
    } else if width.saturating_sub(right + 2) >= length || width - right >= left.saturating_sub(TIME) {
        right + 1
    } else {
        left.saturating_sub(length).max(TIME + 1)
    };
    let most = if at < left { left - at } else { width.saturating_sub(at + 1) };
    let words = format!(" {} ", cut(&words, most.saturating_sub(2)));
    let end = at + words.chars().count();
    set(&mut cells, at, &words);
    let mut line = String::new();
    let flush = |piece: &[char], colour: &str| paper.paint(colour, &piece.iter().collect::<String>());
    let colour = if entry.bad { RED } else { "0" };
    line.push_str(&flush(cells.get(TIME..at).unwrap_or_default(), DIM));
    line.push_str(&flush(cells.get(at..end.min(width)).unwrap_or_default(), colour));
    let rest: String = cells.get(end.min(width)..).unwrap_or_default().iter().collect();
    line.push_str(&paper.paint(DIM, rest.trim_end()));
    let line = if paper.colours { line } else { line.trim_end().to_owned() };
    out.push_str(&format!("{}{line}\n", paper.paint(DIM, &time(session, entry))));
}

fn set(cells: &mut [char], at: usize, text: &str) {
    for (place, c) in text.chars().enumerate() {
        if let Some(cell) = cells.get_mut(at + place) {
            *cell = c;
        }
    }
}

/// An arrow in words, where there is no room for columns.
fn told(out: &mut String, session: &Session, entry: &Entry, paper: Paper, width: usize) {
    let name = |at: usize, address: std::net::SocketAddr| {
        let host = session.hosts.get(at);
        if let Some(host) = host.filter(|host| !host.name.is_empty()) {
            return format!("{} {}", host.role, host.name);
        }
        let role = host.map(|host| host.role.as_str()).unwrap_or_default();
        if role.is_empty() { address.to_string() } else { format!("{role} {address}") }
    };
    let line = format!(
        "{} → {}: {}",
        name(entry.from_host, entry.from),
        name(entry.to_host, entry.to),
        label(entry)
    );
    let line = cut(&plain(&line), width - TIME - 2);
    let line = if entry.bad { paper.paint(RED, &line) } else { line };
    out.push_str(&format!("{}  {line}\n", paper.paint(DIM, &time(session, entry))));
}

/// Lines that are not longer than the paper is wide, cut at blanks.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
