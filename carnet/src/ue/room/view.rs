//! A conference on a terminal screen: what is said, who is here and sealed, who has which floor, and the line
//! that is typed.
//!
//! Drawing and keys only: it decides nothing and waits for nothing, so that a test sees what a person sees.

use std::time::Instant;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

use super::event::{Member, Outcome};
use super::model::{Kind, Line, Model, Stands, clean};
use super::typed::HELP;

/// Columns below which only what is said is shown.
const NARROW: u16 = 60;
/// Columns of the side.
const SIDE: u16 = 28;
/// Lines that were typed and can be had again.
const HISTORY: usize = 100;
/// Longest line, in characters.
const LONGEST: usize = 4000;

/// Sealed, not sealed, not known.
const SEALED: &str = "◆";
const OPEN: &str = "◇";
const UNKNOWN: &str = "·";

/// The state of the screen that is not the conference's.
#[derive(Default)]
pub(in crate::ue) struct View {
    input: Vec<char>,
    cursor: usize,
    history: Vec<String>,
    /// Which line of the history is shown; `None` is the one that is typed.
    recalled: Option<usize>,
    /// Rows that the look is turned back by.
    back: usize,
    help: bool,
    /// Progress of files, by name.
    progress: Option<String>,
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ue) enum Action {
    Nothing,
    /// The person types.
    Typing,
    /// A line is complete.
    Line(String),
    Leave,
}

impl View {
    /// A file is under way, or none any more.
    pub(in crate::ue) fn progress(&mut self, progress: Option<String>) {
        self.progress = progress;
    }

    /// A key was pressed.
    pub(in crate::ue) fn key(&mut self, key: KeyEvent, model: &Model) -> Action {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if self.help {
            self.help = false;
            return Action::Nothing;
        }
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Action::Leave,
            KeyCode::Char('u') if control => self.set(""),
            KeyCode::Char('a') if control => self.cursor = 0,
            KeyCode::Char('e') if control => self.cursor = self.input.len(),
            KeyCode::Char('w') if control => {
                let words = self.input.get(..self.cursor).unwrap_or_default();
                let rest = words.iter().rposition(|c| !c.is_whitespace());
                let start = rest.and_then(|end| words.get(..end)?.iter().rposition(|c| c.is_whitespace()));
                let start = start.map_or(0, |at| at + 1);
                self.input.drain(start..self.cursor);
                self.cursor = start;
            }
            KeyCode::Char(c) if !control && self.input.len() < LONGEST => {
                self.input.insert(self.cursor, c);
                self.cursor += 1;
                let says = self.input.first() != Some(&'/') || self.input.get(1) == Some(&'/');
                return if says { Action::Typing } else { Action::Nothing };
            }
            KeyCode::Enter => return self.enter(),
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.input.remove(self.cursor);
            }
            KeyCode::Delete if self.cursor < self.input.len() => {
                self.input.remove(self.cursor);
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.input.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.input.len(),
            KeyCode::Up => self.recall(true),
            KeyCode::Down => self.recall(false),
            KeyCode::PageUp => self.back += 10,
            KeyCode::PageDown => self.back = self.back.saturating_sub(10),
            KeyCode::Tab => self.complete(model),
            KeyCode::F(1) => self.help = true,
            KeyCode::F(2) => return Action::Line("/floor".into()),
            KeyCode::F(3) => return Action::Line("/release".into()),
            KeyCode::F(4) => return decide("grant", model),
            KeyCode::F(5) => return decide("deny", model),
            _ => {}
        }
        Action::Nothing
    }

    fn set(&mut self, text: &str) {
        self.input = text.chars().collect();
        self.cursor = self.input.len();
    }

    fn enter(&mut self) -> Action {
        let line: String = std::mem::take(&mut self.input).into_iter().collect();
        self.cursor = 0;
        self.back = 0;
        self.recalled = None;
        if line.is_empty() {
            return Action::Nothing;
        }
        if self.history.last() != Some(&line) {
            self.history.push(line.clone());
        }
        if self.history.len() > HISTORY {
            self.history.remove(0);
        }
        Action::Line(line)
    }

    fn recall(&mut self, older: bool) {
        let last = self.history.len();
        let at = match (self.recalled, older) {
            (None, true) => last.checked_sub(1),
            (None, false) => return,
            (Some(at), true) => Some(at.saturating_sub(1)),
            (Some(at), false) => Some(at + 1).filter(|at| *at < last),
        };
        self.recalled = at;
        let text = at.and_then(|at| self.history.get(at).cloned()).unwrap_or_default();
        self.set(&text);
    }

    /// Completes the name before the cursor.
    fn complete(&mut self, model: &Model) {
        let before: String = self.input.get(..self.cursor).unwrap_or_default().iter().collect();
        let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let Some(begun) = before.get(start..).filter(|begun| !begun.is_empty()) else { return };
        let begins = |name: &&str| name.to_lowercase().starts_with(&begun.to_lowercase());
        let mut names = model.members.iter().filter(|member| !member.me).map(Member::name).filter(begins);
        let (Some(name), None) = (names.next(), names.next()) else { return };
        let after: String = self.input.get(self.cursor..).unwrap_or_default().iter().collect();
        let head = before.get(..start).unwrap_or_default();
        let text = format!("{head}{name} ");
        self.cursor = text.chars().count();
        self.input = text.chars().chain(after.chars()).collect();
    }

    /// Draws all of it.
    pub(in crate::ue) fn draw(&self, frame: &mut Frame<'_>, model: &Model, now: Instant) {
        let [top, middle, status, input, hints] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(headline(model)), top);
        let side = if middle.width < NARROW { 0 } else { SIDE };
        let [said, right] = Layout::horizontal([Constraint::Min(1), Constraint::Length(side)]).areas(middle);
        self.draw_said(frame, model, said);
        if side > 0 {
            let floors = floor_rows(model);
            let height = u16::try_from(floors.len()).unwrap_or(u16::MAX).saturating_add(1);
            let height = if floors.is_empty() { 0 } else { height.min(right.height / 2) };
            let [people, below] =
                Layout::vertical([Constraint::Min(1), Constraint::Length(height)]).areas(right);
            draw_people(frame, model, people);
            let block = Block::new().borders(Borders::TOP | Borders::LEFT).title(" floors ");
            frame.render_widget(Paragraph::new(floors).block(block), below);
        }
        frame.render_widget(Paragraph::new(self.status(model, now)), status);
        self.draw_input(frame, input);
        let keys = " F1 help  F2 ask for the floor  F3 give it back  F4 grant  F5 deny  Ctrl-C leave";
        frame.render_widget(Paragraph::new(Span::styled(keys, Style::new().fg(Color::DarkGray))), hints);
        if self.help {
            draw_help(frame, middle);
        }
    }

    fn draw_said(&self, frame: &mut Frame<'_>, model: &Model, area: Rect) {
        let (width, height) = (usize::from(area.width.max(1)), usize::from(area.height));
        // Only as many as can be seen, from the last one back.
        let mut rows: Vec<Row<'_>> = Vec::new();
        for line in model.lines.iter().rev() {
            if rows.len() >= height + self.back {
                break;
            }
            rows.extend(wrapped(line, width).into_iter().rev());
        }
        let hidden = self.back.min(rows.len().saturating_sub(height));
        let mut seen: Vec<Row<'_>> = rows.into_iter().skip(hidden).take(height).collect();
        seen.reverse();
        frame.render_widget(Paragraph::new(seen), area);
    }

    fn status(&self, model: &Model, now: Instant) -> Row<'static> {
        let typing = model.typing(now);
        let text = match (&self.progress, typing.as_slice()) {
            (Some(progress), _) => progress.clone(),
            (None, []) => String::new(),
            (None, [one]) => format!("{} is typing", clean(one)),
            (None, some) => format!("{} are typing", some.len()),
        };
        Row::from(Span::styled(format!(" {text}"), Style::new().fg(Color::DarkGray)))
    }

    fn draw_input(&self, frame: &mut Frame<'_>, area: Rect) {
        // The part around the cursor.
        let room = usize::from(area.width.saturating_sub(3));
        let start = self.cursor.saturating_sub(room);
        let shown: String = self.input.iter().skip(start).take(room + 1).collect();
        let before: String = self.input.iter().skip(start).take(self.cursor - start).collect();
        let at = u16::try_from(Span::raw(before).width()).unwrap_or(u16::MAX);
        frame.render_widget(Paragraph::new(format!("> {shown}")), area);
        let x = area.x.saturating_add(2).saturating_add(at).min(area.right().saturating_sub(1));
        frame.set_cursor_position(Position { x, y: area.y });
    }
}

/// The first who waits for a chair's word.
fn decide(what: &str, model: &Model) -> Action {
    let all = model.floors.iter().flat_map(|(id, floor)| floor.queue.iter().map(move |claim| (id, claim)));
    let next = all.min_by_key(|(_, claim)| (!claim.pending, claim.position, claim.request));
    match next {
        Some((floor, claim)) => Action::Line(format!("/{what} {} {floor}", claim.user)),
        None => Action::Nothing,
    }
}

fn seal_mark(sealed: Option<bool>) -> Span<'static> {
    match sealed {
        Some(true) => Span::styled(SEALED, Style::new().fg(Color::Green)),
        Some(false) => Span::styled(OPEN, Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)),
        None => Span::raw(UNKNOWN),
    }
}

fn headline(model: &Model) -> Row<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::raw(" "), Span::styled(clean(&model.uri), bold)];
    if let Some(subject) = &model.subject {
        spans.push(Span::raw(format!(" · {}", clean(subject))));
    }
    spans.push(Span::raw("  "));
    let ours_open = model.ours.values().any(Option::is_none);
    let (sealed, words) = match (model.stands, model.all_sealed) {
        (Stands::Joining, _) => (None, "joining"),
        (Stands::Waiting, _) => (Some(false), "LOST, waiting to be called back"),
        (Stands::Out, _) => (None, "left"),
        (Stands::In, _) if ours_open => (Some(false), "YOU ARE NOT SEALED"),
        (Stands::In, Some(true)) => (Some(true), "everybody is sealed"),
        (Stands::In, Some(false)) => (Some(false), "NOT EVERYBODY IS SEALED"),
        (Stands::In, None) if model.ours.is_empty() => (None, "connecting"),
        (Stands::In, None) => (None, "you are sealed; of others it is not known"),
    };
    spans.push(seal_mark(sealed));
    let style = match sealed {
        Some(false) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        Some(true) => Style::new().fg(Color::Green),
        None => Style::new(),
    };
    spans.push(Span::styled(format!(" {words}"), style));
    Row::from(spans)
}

fn draw_people(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let room = usize::from(area.height.saturating_sub(1));
    let mut rows: Vec<Row<'_>> = Vec::new();
    for member in model.members.iter().take(room) {
        let mut spans = vec![Span::raw(" "), seal_mark(member.sealed), Span::raw(" ")];
        let name = clean(member.name());
        let style = if member.me { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        spans.push(Span::styled(name, style));
        if member.me {
            spans.push(Span::raw(" (you)"));
        }
        if let Some(role) = member.roles.iter().find(|role| role.as_str() != "participant") {
            let role = format!(" {}", clean(role));
            spans.push(Span::styled(role, Style::new().fg(Color::DarkGray)));
        }
        rows.push(Row::from(spans));
    }
    let count = model.count.max(model.members.len());
    if count > rows.len() && room > 0 {
        rows.truncate(room - 1);
        let more = count - rows.len();
        rows.push(Row::from(format!("   and {more} more")));
    }
    let block = Block::new().borders(Borders::TOP | Borders::LEFT).title(format!(" here: {count} "));
    frame.render_widget(Paragraph::new(rows).block(block), area);
}

fn floor_rows(model: &Model) -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    for (id, floor) in &model.floors {
        let holders: Vec<String> = floor.holders.iter().map(|claim| clean(&model.claimant(claim))).collect();
        let who = if holders.is_empty() { "free".to_owned() } else { holders.join(", ") };
        let mine = matches!(floor.ours, Some((Outcome::Granted, _)));
        let style = match mine {
            true => Style::new().fg(Color::Green).add_modifier(Modifier::BOLD),
            false => Style::new(),
        };
        let yours = if mine { " (you)" } else { "" };
        rows.push(Row::from(Span::styled(format!(" {id} ▶ {who}{yours}"), style)));
        for (at, claim) in floor.queue.iter().enumerate() {
            let name = clean(&model.claimant(claim));
            let place = match (claim.pending, claim.position) {
                (true, _) => "?".to_owned(),
                (false, 0) => (at + 1).to_string(),
                (false, place) => place.to_string(),
            };
            rows.push(Row::from(format!("   {place} {name}")));
        }
    }
    rows
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let rows: Vec<Row<'_>> = HELP.lines().map(Row::from).collect();
    let height = u16::try_from(rows.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let width = 60.min(area.width);
    let place = Rect { x: area.x, y: area.y, width, height };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(rows).block(Block::bordered().title(" any key closes this ")), place);
}

/// The rows of one line.
fn wrapped(line: &Line, width: usize) -> Vec<Row<'static>> {
    let dark = Style::new().fg(Color::DarkGray);
    let (name, text) = match line.kind {
        Kind::Said => (Style::new().add_modifier(Modifier::BOLD), Style::new()),
        Kind::Private => {
            (Style::new().fg(Color::Magenta).add_modifier(Modifier::BOLD), Style::new().fg(Color::Magenta))
        }
        Kind::History | Kind::Notice => (dark, dark),
        Kind::Floor => (Style::new(), Style::new().fg(Color::Cyan)),
        Kind::Trouble => (Style::new(), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)),
    };
    let time = line.time.as_ref().map(|time| format!("{time} ")).unwrap_or_default();
    let who = match line.who.as_str() {
        "" => "* ".to_owned(),
        who => format!("{who}: "),
    };
    let mut rows = Vec::new();
    let mut spans = vec![Span::styled(time, dark), Span::styled(who, name)];
    let mut used: usize = spans.iter().map(Span::width).sum();
    let mut piece = String::new();
    for word in line.text.split_inclusive(' ') {
        let wide = Span::raw(word.trim_end()).width();
        if used + wide > width && !piece.is_empty() {
            spans.push(Span::styled(std::mem::take(&mut piece), text));
            rows.push(Row::from(std::mem::take(&mut spans)));
            spans.push(Span::raw("  "));
            used = 2;
        }
        for c in word.chars() {
            let wide = Span::raw(c.to_string()).width();
            // A word that is longer than a row.
            if used + wide > width && (c != ' ') {
                spans.push(Span::styled(std::mem::take(&mut piece), text));
                rows.push(Row::from(std::mem::take(&mut spans)));
                spans.push(Span::raw("  "));
                used = 2;
            }
            piece.push(c);
            used += wide;
        }
    }
    spans.push(Span::styled(piece, text));
    rows.push(Row::from(spans));
    rows
}
