//! How each part of the screen looks.

use super::figures::{octets, span};
use super::model::{Model, Process, Row, Seal, array, text};
use super::view::{Tab, View};
use crate::ue::room::clean;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use serde_json::Value;
use std::time::SystemTime;

/// Keys, for who asks.
const HELP: &str = "\x20↑ ↓ j k       the row before, after      PgUp PgDn  a page
 Home End g G  the first, the last
 Enter         opens a session: facts, events, ladder
 Esc           closes it, or clears the filter
 /             only sessions that hold a text; all are looked at
 s             another order
 Tab 1 2 3 4   another view
 p             holds everything as it is
 q             leaves

 ◆ sealed from end to end    ◈ sealed to the gateway of the access
 ◇ can be read on the way    · not known";

/// Lines that are drawn.
pub type Rows = Vec<Line<'static>>;

/// With colours or without.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    /// Without.
    pub plain: bool,
}

impl Paint {
    fn colour(self, colour: Color) -> Style {
        if self.plain { Style::new() } else { Style::new().fg(colour) }
    }

    fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn good(self) -> Style {
        self.colour(Color::Green)
    }

    fn dim(self) -> Style {
        if self.plain { Style::new() } else { Style::new().fg(Color::DarkGray) }
    }

    fn seal(self, seal: Seal) -> Span<'static> {
        match seal {
            Seal::EndToEnd => Span::styled("◆", self.good()),
            Seal::Edge => Span::styled("◈", self.colour(Color::Yellow)),
            Seal::Open => Span::styled("◇", self.bad()),
            Seal::Unknown => Span::raw("·"),
        }
    }
}

fn counted(count: impl Into<u128>, one: &str) -> String {
    let count = count.into();
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

fn bold(text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), Style::new().add_modifier(Modifier::BOLD))
}

/// What all processes do together.
pub fn title(frame: &mut Frame<'_>, model: &Model, paint: Paint, area: Rect) {
    let mut spans = vec![bold(" carnet")];
    let down = model.processes.iter().filter(|process| process.down.is_some()).count();
    if down > 0 {
        spans.push(Span::styled(format!("  {down} of {} DOWN", model.processes.len()), paint.bad()));
    }
    spans.push(Span::raw(format!("  {}", counted(model.total() as u128, "session"))));
    if let Some(rate) = model.rate() {
        spans.push(Span::raw(format!("  {:.1} setups/s", rate.setups)));
        let failures = format!("  {:.1} failures/s", rate.failures);
        let style = if rate.failures > 0.0 { paint.bad() } else { Style::new() };
        spans.push(Span::styled(failures, style));
        if rate.tickets > 0.0 {
            spans.push(Span::raw(format!("  {:.1} tickets/s", rate.tickets)));
        }
        match model.passing() {
            Some(passing) => spans.push(Span::raw(format!("  {}/s", octets(passing)))),
            None if rate.octets > 0.0 => {
                spans.push(Span::raw(format!("  {}/s ended", octets(rate.octets))));
            }
            None => {}
        }
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

/// A line a process; where there are too many, those that are down come first.
pub fn processes(frame: &mut Frame<'_>, model: &Model, paint: Paint, area: Rect) {
    let mut order: Vec<&Process> = model.processes.iter().collect();
    let room = usize::from(area.height);
    if order.len() > room {
        order.sort_by_key(|process| process.down.is_none());
    }
    let mut rows: Rows = Vec::new();
    for (place, process) in order.iter().enumerate() {
        if place + 1 == room && order.len() > room {
            rows.push(Line::from(format!("   and {} more", order.len() - place)));
            break;
        }
        rows.push(process_line(process, paint));
    }
    frame.render_widget(Paragraph::new(rows), area);
}

fn process_line(process: &Process, paint: Paint) -> Line<'static> {
    let name = clean(&process.name);
    if let Some(why) = &process.down {
        return Line::from(vec![
            Span::styled(" ✗ ", paint.bad()),
            bold(name),
            Span::styled(format!("  {}; tried again", clean(why)), paint.bad()),
        ]);
    }
    if !process.known {
        return Line::from(vec![Span::raw(" · "), bold(name), Span::styled("  asked", paint.dim())]);
    }
    let whole = &process.whole;
    let mut said = Vec::new();
    said.extend(whole.metrics.version.as_ref().map(|version| clean(version)));
    for (list, name) in [("borders", "border"), ("conferences", "conference"), ("gateways", "gateway")] {
        let names: Vec<String> = array(&whole.nodes, list).iter().map(|one| text(one, name)).collect();
        match names.as_slice() {
            [] => {}
            few if few.len() <= 3 => said.push(few.join(" ")),
            many => said.push(format!("{} {list}", many.len())),
        }
    }
    said.extend(whole.metrics.memory.map(octets));
    said.push(counted(process.total as u128, "session"));
    Line::from(vec![
        Span::styled(" ● ", paint.good()),
        bold(name),
        Span::raw(format!("  {}", said.join("  "))),
    ])
}

/// Which views there are.
pub fn tabs(frame: &mut Frame<'_>, model: &Model, view: &View, paint: Paint, area: Rect) {
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let mut spans = vec![Span::raw(" ")];
    for tab in Tab::ALL {
        let count = match tab {
            Tab::Sessions => model.total(),
            Tab::Gateways => gateways(model, paint).iter().filter(|row| !is_below(row)).count(),
            Tab::Rooms => rooms(model, paint).len(),
            Tab::Warnings => model.warnings.len(),
        };
        let label = format!(" {} {count} ", tab.name());
        let style = if tab == view.tab { reversed } else { Style::new() };
        spans.push(Span::styled(label, style));
    }
    if view.tab == Tab::Sessions {
        spans.push(Span::styled(format!("  {}", view.sort.name()), paint.dim()));
    }
    if view.typing || !view.filter.is_empty() {
        let cursor = if view.typing { "▏" } else { "" };
        spans.push(Span::styled(format!("  /{}{cursor}", clean(&view.filter)), paint.colour(Color::Cyan)));
        let beyond = model.up().any(|process| !process.to_the_end);
        if beyond {
            spans.push(Span::styled(" (not all looked at)", paint.dim()));
        }
    }
    if view.paused {
        spans.push(Span::styled("  PAUSED", paint.bad()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

/// What the keys do.
pub fn hints(frame: &mut Frame<'_>, view: &View, paint: Paint, area: Rect) {
    let keys = if view.typing {
        " Enter keeps the filter  Esc clears it"
    } else if view.open.is_some() {
        " ↑↓ PgUp PgDn move  Esc back  p pause  ? help  q quit"
    } else {
        " ↑↓ move  Enter open  / filter  s sort  Tab view  p pause  ? help  q quit"
    };
    frame.render_widget(Paragraph::new(Span::styled(keys, paint.dim())), area);
}

/// Over everything else.
pub fn help(frame: &mut Frame<'_>, area: Rect) {
    let rows: Vec<Line<'_>> = HELP.lines().map(Line::from).collect();
    let height = u16::try_from(rows.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let place = Rect { height, width: area.width.min(72), ..area };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(rows).block(Block::bordered().title(" any key closes this ")), place);
}

/// In place of a list.
pub fn nothing(frame: &mut Frame<'_>, why: &str, paint: Paint, area: Rect) {
    frame.render_widget(Paragraph::new(Span::styled(format!("   {why}"), paint.dim())), area);
}

/// Lines of a view from `top` on, one of them chosen.
pub fn rows(frame: &mut Frame<'_>, rows: Rows, (top, chosen): (usize, Option<usize>), area: Rect) {
    let seen = rows.into_iter().enumerate().skip(top).take(usize::from(area.height));
    let marked = |(place, row): (usize, Line<'static>)| match chosen {
        Some(chosen) if chosen == place => row.style(Style::new().add_modifier(Modifier::REVERSED)),
        _ => row,
    };
    frame.render_widget(Paragraph::new(seen.map(marked).collect::<Vec<_>>()), area);
}

/// Columns of a text, no more than that.
fn fit(text: &str, width: usize) -> String {
    let wide = |text: &str| Span::raw(text.to_owned()).width();
    if wide(text) <= width {
        return format!("{text}{}", " ".repeat(width - wide(text)));
    }
    let mut out = String::new();
    for c in text.chars() {
        if wide(&out) + wide(&c.to_string()) + 1 > width {
            break;
        }
        out.push(c);
    }
    out.push('…');
    let short = width.saturating_sub(wide(&out));
    format!("{out}{}", " ".repeat(short))
}

/// Sessions, with the names of columns above.
pub fn sessions(
    frame: &mut Frame<'_>,
    model: &Model,
    (seen, chosen): (&[&Row], usize),
    now: SystemTime,
    paint: Paint,
    area: Rect,
) {
    let width = usize::from(area.width);
    // The fixed columns and the gaps; the rest is for names.
    let (plan, age, count) = (9, 9, 8);
    let role = if width >= 100 { 14 } else { 0 };
    let names = width.saturating_sub(3 + plan + age + count + role + 4).max(8);
    let (from, to) = (names / 2, names - names / 2);
    let columns = |mark: Span<'static>, cells: [&str; 6]| {
        let mut spans = vec![Span::raw(" "), mark, Span::raw(" ")];
        let mut line = format!("{} {} {} ", fit(cells[0], plan), fit(cells[1], from), fit(cells[2], to));
        if role > 0 {
            line.push_str(&fit(cells[5], role));
        }
        line.push_str(&format!("{:>age$} {:>count$}", cells[3], cells[4]));
        spans.push(Span::raw(line));
        Line::from(spans)
    };
    let mut rows =
        vec![columns(Span::raw(" "), ["PLAN", "FROM", "TO", "AGE", "OCTETS", "BORDER"]).style(paint.dim())];
    for (place, row) in seen.iter().enumerate() {
        let age = row.age(now).map(span).unwrap_or_default();
        let age = match (row.answered, row.ended) {
            (_, true) => "ending".to_owned(),
            (true, _) => age,
            (false, _) => format!("…{age}"),
        };
        let count = model.octets(row).map_or_else(|| "-".to_owned(), |count| octets(count as f64));
        let line = columns(paint.seal(row.seal), [&row.plan, &row.from, &row.to, &age, &count, &row.role]);
        let line =
            if place == chosen { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line };
        rows.push(line);
    }
    frame.render_widget(Paragraph::new(rows), area);
}

/// A line that belongs to the one above.
fn is_below(row: &Line<'_>) -> bool {
    row.spans.first().is_some_and(|first| first.content.starts_with("     "))
}

/// Gateways in the processes, and those that controllers there have.
pub fn gateways(model: &Model, paint: Paint) -> Rows {
    let mut rows = Vec::new();
    for process in model.up() {
        for gateway in array(&process.whole.nodes, "gateways") {
            gateway_lines(gateway, paint, &mut rows);
        }
        for (list, role) in [("borders", "border"), ("conferences", "conference")] {
            for owner in array(&process.whole.nodes, list) {
                for gateway in array(owner, "gateways") {
                    rows.push(controlled(&text(owner, role), gateway, paint));
                }
            }
        }
    }
    rows
}

fn gateway_lines(gateway: &Value, paint: Paint, rows: &mut Rows) {
    let state = text(gateway, "state");
    let style = if state == "registered" { paint.good() } else { paint.bad() };
    rows.push(Line::from(vec![
        Span::raw(" "),
        bold(text(gateway, "gateway")),
        Span::raw(format!(" ({}) ", text(gateway, "role"))),
        Span::styled(state, style),
        Span::raw(format!(
            " {}  {} of {} contexts",
            text(gateway, "controller"),
            text(gateway, "contexts"),
            text(gateway, "most_contexts")
        )),
    ]));
    let counts = |of: &Value| {
        let all = of.as_object().into_iter().flatten();
        let some = all.filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0));
        some.map(|(why, count)| format!("{} {count}", clean(why))).collect::<Vec<_>>().join(", ")
    };
    let below = |text: String| Line::from(Span::styled(format!("     {text}"), paint.dim()));
    let members = |member: &str| gateway.get(member).and_then(Value::as_object).into_iter().flatten();
    for (engine, why) in members("engines") {
        let all: u64 = why.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
        rows.push(below(format!("engine {}: {} ({})", clean(engine), counted(all, "stream"), counts(why))));
    }
    for (realm, pool) in members("ports") {
        let (free, used, resting) = (text(pool, "free"), text(pool, "used"), text(pool, "resting"));
        let away = gateway.get("turned_away").and_then(|all| all.get(realm)).map(counts).unwrap_or_default();
        let away = if away.is_empty() { away } else { format!("; turned away: {away}") };
        let line = format!("ports of {}: {free} free, {used} used, {resting} resting{away}", clean(realm));
        rows.push(below(line));
    }
    for lack in gateway.get("kernel").map_or(&[][..], |kernel| array(kernel, "lacks")) {
        rows.push(below(format!("kernel engine: {}", clean(lack.as_str().unwrap_or_default()))));
    }
}

fn controlled(owner: &str, gateway: &Value, paint: Paint) -> Line<'static> {
    let state = text(gateway, "state");
    let style = if state == "in service" { paint.good() } else { paint.bad() };
    let mut rest = format!("  {} contexts", text(gateway, "contexts"));
    for (member, before, after) in
        [("round_trip_ms", "round trip ", " ms"), ("refusal", "refused last: ", "")]
    {
        let value = text(gateway, member);
        if !value.is_empty() {
            rest.push_str(&format!(", {before}{value}{after}"));
        }
    }
    let owner = format!(" {owner} has ");
    Line::from(vec![
        Span::raw(owner),
        bold(text(gateway, "gateway")),
        Span::raw(": "),
        Span::styled(state, style),
        Span::raw(rest),
    ])
}

/// Conferences.
pub fn rooms(model: &Model, paint: Paint) -> Rows {
    let mut rows = Vec::new();
    for server in model.up().flat_map(|process| array(&process.whole.rooms, "conferences")) {
        for room in array(server, "rooms") {
            let unsealed = room.get("unsealed").and_then(Value::as_u64).unwrap_or_default();
            let members = room.get("members").and_then(Value::as_u64).unwrap_or_default();
            let seal = match (members, unsealed) {
                (0, _) => Seal::Unknown,
                (_, 0) => Seal::EndToEnd,
                _ => Seal::Open,
            };
            let open = if unsealed > 0 { format!(", {unsealed} not sealed") } else { String::new() };
            let place = match text(room, "gateway") {
                gateway if gateway.is_empty() => "no media yet".to_owned(),
                gateway => format!("on {gateway}"),
            };
            rows.push(Line::from(vec![
                Span::raw(" "),
                paint.seal(seal),
                Span::raw(" "),
                bold(text(room, "room")),
                Span::raw(format!(
                    "  {}{open}, {place}  {}",
                    counted(members, "member"),
                    text(room, "subject")
                )),
            ]));
        }
    }
    rows
}

/// What deserved attention, the newest first.
pub fn warnings(model: &Model, paint: Paint) -> Rows {
    let line = |warning: &super::model::Warning| {
        let style = if warning.level == "error" { paint.bad() } else { paint.colour(Color::Yellow) };
        Line::from(vec![
            Span::styled(format!(" {} ", warning.time), paint.dim()),
            Span::styled(format!("{} ", warning.name), style),
            Span::raw(warning.words.clone()),
        ])
    };
    model.warnings.iter().rev().map(line).collect()
}

/// A session as a whole: facts, why it was planned so, what happened, its ladder.
pub fn session(model: &Model, paint: Paint, width: u16) -> Rows {
    let Some(open) = &model.open else {
        let what = if model.gone { "   the process does not know this session any more" } else { "   asked" };
        return vec![Line::from(Span::styled(what, paint.dim()))];
    };
    let record = &open.record;
    let mut rows: Rows = Vec::new();
    let mut fact = |name: &str, value: String| {
        for (place, line) in wrapped(&value, usize::from(width).saturating_sub(12)).into_iter().enumerate() {
            let name = if place == 0 { name } else { "" };
            let name = Span::styled(format!(" {name:<10}"), paint.dim());
            rows.push(Line::from(vec![name, Span::raw(line)]));
        }
    };
    fact("call", format!("{} at {} {}", text(record, "call_id"), text(record, "role"), text(record, "node")));
    fact("from", text(record, "from"));
    fact("to", text(record, "to"));
    fact("began", text(record, "began"));
    let ms = |member: &str| record.get(member).and_then(Value::as_u64);
    let answered =
        ms("answered_ms").map_or("not yet".to_owned(), |ms| format!("after {:.1} s", ms as f64 / 1e3));
    fact("answered", answered);
    if let Some(ended) = ms("ended_ms") {
        fact("ended", format!("after {:.1} s: {}", ended as f64 / 1e3, text(record, "cause")));
    }
    for (place, line) in text(record, "plan").split("; line ").enumerate() {
        let whole = if place == 0 { line.to_owned() } else { format!("line {line}") };
        fact(if place == 0 { "plan" } else { "" }, whole);
    }
    for (name, count) in record.get("octets").and_then(Value::as_object).into_iter().flatten() {
        fact("counted", format!("{} {count} octets", clean(name)));
    }
    for (gateway, context) in &open.contexts {
        let held = format!("context {} of {}", text(context, "context"), clean(gateway));
        fact("media", held);
        for termination in array(context, "terminations") {
            fact("", termination_line(termination));
        }
    }
    if model.gone {
        rows.push(Line::from(Span::styled(" the process does not know this session any more", paint.bad())));
    }
    rows.push(Line::default());
    for event in array(record, "events") {
        rows.extend(event_lines(event, paint, usize::from(width)));
    }
    if let Some(left_out) = record.get("left_out").and_then(Value::as_u64).filter(|count| *count > 0) {
        rows.push(Line::from(format!(" {left_out} events in between are not kept")));
    }
    if let Some(ladder) = &open.ladder {
        rows.push(Line::default());
        rows.extend(ladder.lines().map(|line| Line::from(format!(" {}", clean(line)))));
    }
    rows
}

fn termination_line(termination: &Value) -> String {
    let mut line = text(termination, "id");
    for stream in array(termination, "streams") {
        line.push_str(&format!(" {} {}", text(stream, "transport"), text(stream, "local")));
        for (member, before) in
            [("remote", "peer "), ("engine", "moved by the "), ("engine_reason", "because ")]
        {
            let value = text(stream, member);
            if !value.is_empty() {
                line.push_str(&format!(", {before}{value}"));
            }
        }
    }
    let count = |member: &str| octets(termination.get(member).and_then(Value::as_f64).unwrap_or_default());
    format!("{line}, {} in, {} out", count("octets_received"), count("octets_sent"))
}

/// Lines no wider than that; a word that is longer stands alone. None of nothing.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        if !line.is_empty() && Span::raw(line.as_str()).width() + Span::raw(word.trim_end()).width() > width {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(word);
    }
    lines.extend((!line.is_empty()).then_some(line));
    lines
}

/// When, what, and the fields below it as wide as the screen is.
fn event_lines(event: &Value, paint: Paint, width: usize) -> Rows {
    let at = event.get("at_ms").and_then(Value::as_u64).unwrap_or_default();
    let level = text(event, "level");
    let style = match level.as_str() {
        "warn" => paint.colour(Color::Yellow),
        "error" => paint.bad(),
        _ => Style::new().add_modifier(Modifier::BOLD),
    };
    let mut rows = Vec::new();
    let mut spans = vec![
        Span::styled(format!(" {:>9.3} ", at as f64 / 1e3), paint.dim()),
        Span::styled(format!("{} ", text(event, "event")), style),
    ];
    let mut used: usize = spans.iter().map(Span::width).sum();
    for (name, value) in event.get("fields").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), clean);
        for word in format!("{}={value} ", clean(name)).split_inclusive(' ') {
            let wide = Span::raw(word.to_owned()).width();
            if used + wide > width && used > 13 {
                rows.push(Line::from(std::mem::take(&mut spans)));
                spans.push(Span::raw(" ".repeat(12)));
                used = 12;
            }
            used += wide;
            spans.push(Span::raw(word.to_owned()));
        }
    }
    rows.push(Line::from(spans));
    rows
}
