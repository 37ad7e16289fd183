//! The screen: what keys do, and where it is drawn.
//!
//! Decides nothing and waits for nothing, so that a test sees what a person sees. What is drawn of each view is in
//! [`super::draw`].

use super::draw;
use super::look::Wanted;
use super::model::{Model, Sort};
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use std::time::SystemTime;

/// Characters of a filter.
const LONGEST_FILTER: usize = 100;
/// Sessions that are asked for beyond those that are shown, so that the next keys find some.
const AHEAD: usize = 50;
/// Lines of a process that the header may take.
const MOST_PROCESSES: usize = 4;

/// What is shown below the header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tab {
    /// Calls in progress.
    #[default]
    Sessions,
    /// Gateways, and who controls them.
    Gateways,
    /// Conferences.
    Rooms,
    /// What deserved attention.
    Warnings,
}

impl Tab {
    /// In their order.
    pub const ALL: [Self; 4] = [Self::Sessions, Self::Gateways, Self::Rooms, Self::Warnings];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "Sessions",
            Self::Gateways => "Gateways",
            Self::Rooms => "Rooms",
            Self::Warnings => "Warnings",
        }
    }
}

/// The state of the screen that is not the processes'.
#[derive(Debug, Default)]
pub struct View {
    /// What is shown.
    pub tab: Tab,
    /// Sessions that hold this.
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    /// Their order.
    pub sort: Sort,
    /// Nothing is looked at.
    pub paused: bool,
    /// Keys are explained.
    pub help: bool,
    /// The session that is open: process and number.
    pub open: Option<(usize, u64)>,
    /// Without colours.
    pub plain: bool,
    /// The row that is chosen, and the first that is seen.
    pub at: usize,
    /// The first row that is seen.
    pub top: usize,
    /// The session that is chosen: it stays so while others come and go.
    chosen: Option<(usize, u64)>,
    /// The chosen row is the last one, whichever that is.
    last: bool,
    /// Rows that were drawn, and that there are room for.
    pub rows: usize,
    /// Rows that there are room for.
    pub room: usize,
}

impl View {
    /// Without colours where they are not wanted.
    pub fn new(plain: bool) -> Self {
        Self { plain, ..Self::default() }
    }

    /// Takes a key; whether the program is to go on.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c')) {
            return false;
        }
        if self.help {
            self.help = false;
            return true;
        }
        if self.typing {
            self.type_filter(key.code, control);
            return true;
        }
        match key.code {
            KeyCode::Char('q') => return false,
            KeyCode::Esc if self.open.is_some() => self.close(),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Backspace | KeyCode::Left | KeyCode::Char('h') if self.open.is_some() => self.close(),
            KeyCode::Char('?') | KeyCode::F(1) => self.help = true,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('s') => self.resort(),
            KeyCode::Char('/') if self.open.is_none() => {
                self.typing = true;
                self.show(Tab::Sessions);
            }
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => self.turn(Tab::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => {
                let place = usize::from(digit as u8 - b'1');
                self.show(Tab::ALL.get(place).copied().unwrap_or_default());
            }
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.step(self.page()),
            KeyCode::PageUp => self.step(-self.page()),
            KeyCode::Char('f' | 'd') if control => self.step(self.page()),
            KeyCode::Char('b' | 'u') if control => self.step(-self.page()),
            KeyCode::Home | KeyCode::Char('g') => self.go(0),
            KeyCode::End | KeyCode::Char('G') => {
                self.go(usize::MAX);
                self.last = true;
            }
            KeyCode::Enter if self.tab == Tab::Sessions && self.open.is_none() => {
                self.open = self.chosen;
                (self.top, self.last) = (0, false);
            }
            _ => {}
        }
        true
    }

    fn type_filter(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char('u') if control => self.filter.clear(),
            KeyCode::Char(c) if !control && self.filter.chars().count() < LONGEST_FILTER => {
                self.filter.push(c);
            }
            _ => return,
        }
        self.go(0);
    }

    fn close(&mut self) {
        // The session is chosen still, and is looked for when the list is drawn.
        self.open = None;
        self.top = 0;
    }

    fn resort(&mut self) {
        if self.open.is_none() && self.tab == Tab::Sessions {
            self.sort = self.sort.next();
            self.go(0);
        }
    }

    fn turn(&mut self, by: usize) {
        let place = Tab::ALL.iter().position(|tab| *tab == self.tab).unwrap_or_default();
        self.show(Tab::ALL.get((place + by) % Tab::ALL.len()).copied().unwrap_or_default());
    }

    fn show(&mut self, tab: Tab) {
        if self.open.take().is_some() || tab != self.tab {
            self.tab = tab;
            self.go(0);
        }
    }

    fn page(&self) -> isize {
        isize::try_from(self.room.saturating_sub(1).max(1)).unwrap_or(1)
    }

    fn step(&mut self, by: isize) {
        let from = if self.open.is_some() { self.top } else { self.at };
        self.go(from.saturating_add_signed(by));
    }

    fn go(&mut self, to: usize) {
        self.last = false;
        let end = self.rows.saturating_sub(1);
        if self.open.is_some() {
            self.top = to.min(self.rows.saturating_sub(self.room));
            return;
        }
        self.at = to.min(end);
        if to == 0 {
            self.top = 0;
        }
        self.chosen = None;
    }

    /// What a process has to be asked for this screen.
    pub fn wanted(&self, model: &Model, node: usize) -> Wanted {
        let open = self.open.filter(|(of, _)| *of == node).map(|(_, number)| number);
        let mut wanted = Wanted { open, paused: self.paused, ..Wanted::default() };
        if self.tab != Tab::Sessions || self.open.is_some() {
            // How many there are stands in the header.
            wanted.limit = 1;
            return wanted;
        }
        let walks = !self.filter.is_empty() || self.typing || self.sort != Sort::Oldest || self.last;
        wanted.walk = walks;
        if !walks {
            let rows = model.listed("", Sort::Oldest);
            let mut seen = rows.iter().skip(self.top).take(self.room).filter(|row| row.node == node);
            // Where none of this process is seen, those that follow might be.
            let known = model.processes.get(node).and_then(|process| process.sessions.keys().next_back());
            wanted.after = match seen.next() {
                Some(first) => first.number.saturating_sub(1),
                None if self.top == 0 => 0,
                None => known.copied().unwrap_or_default(),
            };
            wanted.limit = self.room.max(1) + AHEAD;
        }
        wanted
    }

    /// Draws all of it.
    pub fn draw(&mut self, frame: &mut Frame<'_>, model: &Model, now: SystemTime) {
        let paint = draw::Paint { plain: self.plain };
        let shown = model.processes.len().min(MOST_PROCESSES);
        let shown = u16::try_from(shown).unwrap_or(1);
        let [title, processes, tabs, middle, hints] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(shown),
            Constraint::Length(1),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        draw::title(frame, model, paint, title);
        draw::processes(frame, model, paint, processes);
        draw::tabs(frame, model, self, paint, tabs);
        self.room = usize::from(middle.height);
        match (self.open, self.tab) {
            (Some(_), _) => self.lines(frame, draw::session(model, paint, middle.width), middle),
            (None, Tab::Sessions) => self.sessions(frame, model, now, paint, middle),
            (None, Tab::Gateways) => self.table(frame, draw::gateways(model, paint), middle),
            (None, Tab::Rooms) => self.table(frame, draw::rooms(model, paint), middle),
            (None, Tab::Warnings) => self.table(frame, draw::warnings(model, paint), middle),
        }
        draw::hints(frame, self, paint, hints);
        if self.help {
            draw::help(frame, middle);
        }
    }

    fn sessions(
        &mut self,
        frame: &mut Frame<'_>,
        model: &Model,
        now: SystemTime,
        paint: draw::Paint,
        area: Rect,
    ) {
        // A row is for the names of columns.
        self.room = usize::from(area.height.saturating_sub(1));
        let rows = model.listed(&self.filter, self.sort);
        self.rows = rows.len();
        let place =
            self.chosen.and_then(|chosen| rows.iter().position(|row| (row.node, row.number) == chosen));
        self.at = place.unwrap_or(self.at);
        self.settle();
        self.chosen = rows.get(self.at).map(|row| (row.node, row.number));
        let seen: Vec<_> = rows.iter().skip(self.top).take(self.room).copied().collect();
        let chosen = self.at.saturating_sub(self.top);
        if seen.is_empty() {
            let asked = model.processes.iter().any(|process| !process.known && process.down.is_none());
            let why = match (model.up().next().is_some(), self.filter.is_empty()) {
                (false, _) if asked => "asking",
                (false, _) => "no process answers",
                (true, true) => "no calls",
                (true, false) => "no call fits the filter",
            };
            draw::nothing(frame, why, paint, area);
            return;
        }
        draw::sessions(frame, model, (&seen, chosen), now, paint, area);
    }

    /// Rows of a view, with the chosen one marked.
    fn table(&mut self, frame: &mut Frame<'_>, rows: draw::Rows, area: Rect) {
        self.rows = rows.len();
        self.settle();
        draw::rows(frame, rows, (self.top, Some(self.at)), area);
    }

    /// Lines that are turned over.
    fn lines(&mut self, frame: &mut Frame<'_>, rows: draw::Rows, area: Rect) {
        self.rows = rows.len();
        self.top = self.top.min(self.rows.saturating_sub(self.room));
        draw::rows(frame, rows, (self.top, None), area);
    }

    /// The chosen row is one that is there, and is seen.
    fn settle(&mut self) {
        let end = self.rows.saturating_sub(1);
        self.at = if self.last { end } else { self.at.min(end) };
        let room = self.room.max(1);
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(room));
        self.top = self.top.min(self.rows.saturating_sub(room));
    }
}
