//! A ladder as a picture: SVG 1.1 without script, light or dark as the one who looks has it.

use super::{cut, escaped};
use crate::model::{Entry, Ladder, Session, Weight};
use crate::words;
use std::fmt::Write as _;

/// Distance of columns and of rows, and the room around, in user units.
const COLUMN: usize = 190;
const ROW: usize = 26;
const LEFT: usize = 90;
const MARGIN: usize = 20;
/// Entries of one picture. Viewers give up on larger ones.
const MOST: usize = 5000;
/// Characters on an arrow, by the room that a column has.
const LETTERS: usize = 26;

/// What light and dark look like; shared with the page. Colours are written out, since not everything that shows
/// pictures knows variables.
pub(super) const STYLE: &str = "\
.carnet text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1c2430}\
.carnet .paper{fill:#fff}\
.carnet .role{font-weight:bold;text-anchor:middle}\
.carnet .address{fill:#5d6b7e;font-size:11px;text-anchor:middle}\
.carnet .life{stroke:#c3ccd8}\
.carnet .time{fill:#5d6b7e;font-size:11px;text-anchor:end}\
.carnet .arrow{stroke:#2b5fa8;stroke-width:1.5;fill:none}\
.carnet .tip{fill:#2b5fa8}\
.carnet .label{text-anchor:middle;font-size:12px;paint-order:stroke;stroke:#fff;stroke-width:4px}\
.carnet .bad .arrow{stroke:#b3261e}\
.carnet .bad .tip,.carnet .bad .label,.carnet .failure{fill:#b3261e}\
.carnet .warning{fill:#8a5a00}\
.carnet .note{fill:#18703a}\
.carnet .title{font-size:15px;font-weight:bold}\
@media(prefers-color-scheme:dark){\
.carnet text{fill:#e4e9f0}\
.carnet .paper{fill:#14181f}\
.carnet .address,.carnet .time{fill:#9aa7b8}\
.carnet .life{stroke:#3d4756}\
.carnet .arrow{stroke:#82b1ff}\
.carnet .tip{fill:#82b1ff}\
.carnet .label{stroke:#14181f}\
.carnet .bad .arrow{stroke:#ff8a80}\
.carnet .bad .tip,.carnet .bad .label,.carnet .failure{fill:#ff8a80}\
.carnet .warning{fill:#ffc766}\
.carnet .note{fill:#74d99a}}";

/// All sessions, one under the other.
pub fn svg(ladder: &Ladder) -> String {
    let mut pictures = String::new();
    let (mut top, mut width) = (0, 0);
    for session in &ladder.sessions {
        let drawn = Picture::of(session, None);
        let _ = write!(pictures, "<g transform=\"translate(0 {top})\">{}</g>", drawn.body);
        top += drawn.height;
        width = width.max(drawn.width);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"carnet\" viewBox=\"0 0 {width} {top}\" width=\"{width}\" height=\"{top}\">\
         <style>{STYLE}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>{pictures}</svg>\n"
    )
}

/// A session, drawn.
pub(super) struct Picture {
    pub body: String,
    pub width: usize,
    pub height: usize,
}

impl Picture {
    /// Draws a session. With `anchor`, arrows lead to elements whose names begin with it.
    pub(super) fn of(session: &Session, anchor: Option<&str>) -> Self {
        let mut body = String::new();
        let columns = session.hosts.len().max(1);
        let lines: Vec<(Weight, String)> = session
            .findings
            .iter()
            .flat_map(|finding| {
                let said = format!("{} {}", finding.what, finding.advice);
                folded(said.trim(), columns * COLUMN / 8).into_iter().map(|line| (finding.weight, line))
            })
            .collect();
        let shown = session.entries.len().min(MOST);
        let addresses =
            session.hosts.iter().map(|host| host.addresses.len()).max().unwrap_or_default().min(4);
        let head = MARGIN + 30 + 18 + addresses * 14;
        let foot = head + 14 + shown * ROW;
        let (width, height) = (LEFT + columns * COLUMN + MARGIN, foot + 20 + lines.len() * 18 + MARGIN);
        let title = format!("{}. {}: {}", session.number, session.kind.as_str(), session.title);
        let _ = write!(
            body,
            "<text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{}</text>",
            MARGIN + 10,
            escaped(&cut(&title, columns * COLUMN / 9))
        );
        for (column, host) in session.hosts.iter().enumerate() {
            let x = middle(column);
            let _ = write!(body, "<line class=\"life\" x1=\"{x}\" x2=\"{x}\" y1=\"{head}\" y2=\"{foot}\"/>");
            let name = match host.name.is_empty() {
                true => host.role.clone(),
                false => format!("{} {}", host.role, host.name),
            };
            let role = escaped(&cut(&name, LETTERS - 4));
            let _ = write!(body, "<text class=\"role\" x=\"{x}\" y=\"{}\">{role}</text>", MARGIN + 42);
            for (row, address) in host.addresses.iter().take(4).enumerate() {
                let y = MARGIN + 57 + row * 14;
                let address = escaped(&cut(address, LETTERS));
                let _ = write!(body, "<text class=\"address\" x=\"{x}\" y=\"{y}\">{address}</text>");
            }
        }
        let begin = session.entries.first().map(|entry| entry.at).unwrap_or_default();
        for (row, entry) in session.entries.iter().take(shown).enumerate() {
            let y = head + 14 + row * ROW + ROW / 2;
            let at = words::seconds(entry.at.saturating_sub(begin));
            let drawn = arrow(entry, y);
            let group = if entry.bad { "<g class=\"bad\">" } else { "<g>" };
            let _ = write!(body, "{group}<title>{}</title>", escaped(&label(entry)));
            let _ = write!(body, "<text class=\"time\" x=\"{}\" y=\"{}\">{at}</text>", LEFT - 10, y + 4);
            match anchor {
                Some(anchor) => {
                    let _ = write!(body, "<a href=\"#{anchor}{row}\">{drawn}</a></g>");
                }
                None => {
                    let _ = write!(body, "{drawn}</g>");
                }
            }
        }
        for (row, (weight, line)) in lines.iter().enumerate() {
            let y = foot + 24 + row * 18;
            let class = weight.as_str();
            let _ = write!(body, "<text class=\"{class}\" x=\"{MARGIN}\" y=\"{y}\">{}</text>", escaped(line));
        }
        if shown < session.entries.len() {
            let _ = write!(
                body,
                "<text class=\"warning\" x=\"{MARGIN}\" y=\"{}\">{} more are left out</text>",
                height - 6,
                session.entries.len() - shown
            );
        }
        Self { body, width, height }
    }
}

fn middle(column: usize) -> usize {
    LEFT + column * COLUMN + COLUMN / 2
}

fn label(entry: &Entry) -> String {
    if entry.times > 1 { format!("{} ×{}", entry.label, entry.times) } else { entry.label.clone() }
}

fn arrow(entry: &Entry, y: usize) -> String {
    let (from, to) = (middle(entry.from_host), middle(entry.to_host));
    if from == to {
        let words = escaped(&cut(&label(entry), LETTERS));
        return format!(
            "<circle class=\"tip\" cx=\"{from}\" cy=\"{y}\" r=\"4\"/><text class=\"label\" x=\"{from}\" y=\"{}\">{words}</text>",
            y - 6
        );
    }
    let span = from.abs_diff(to) / COLUMN;
    let words = escaped(&cut(&label(entry), LETTERS * span.max(1)));
    let back = if to > from { to - 9 } else { to + 9 };
    let center = (from + to) / 2;
    format!(
        "<line class=\"arrow\" x1=\"{from}\" x2=\"{back}\" y1=\"{y}\" y2=\"{y}\"/>\
         <path class=\"tip\" d=\"M{to} {y}L{back} {}L{back} {}Z\"/>\
         <text class=\"label\" x=\"{center}\" y=\"{}\">{words}</text>",
        y - 5,
        y + 5,
        y - 4
    )
}

/// Lines of about so many characters.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match out.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width.max(40) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => out.push(word.to_owned()),
        }
    }
    out
}
