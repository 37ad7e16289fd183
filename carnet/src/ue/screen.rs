//! What a person or a script sees.
//!
//! Text goes to standard output, one line an event, with the peer's words cleaned of what could
//! steer a terminal; progress bars and trouble go to standard error. With `--json` every event is
//! one object on standard output and nothing else is there.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use carnet_client::CallId;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};

use super::event::UeEvent;

/// The rate is that of so long before now.
const WINDOW: Duration = Duration::from_secs(10);

/// Prints events.
pub struct Screen {
    json: bool,
    bars: HashMap<CallId, (ProgressBar, Pace)>,
}

impl Screen {
    /// A screen for people, or for scripts.
    pub fn new(json: bool) -> Self {
        Self { json, bars: HashMap::new() }
    }

    /// Shows one event.
    ///
    /// # Errors
    /// When standard output is gone, as when the reader of a pipe has left.
    pub fn show(&mut self, event: &UeEvent) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", event.json())?;
            return out.flush();
        }
        match event {
            UeEvent::Registered { identity, seen_at: Some(address), .. } => {
                writeln!(out, "registered as {}, behind NAT at {}", clean(identity), address.ip())?;
            }
            UeEvent::Registered { identity, .. } => writeln!(out, "registered as {}", clean(identity))?,
            UeEvent::NotRegistered { reason } => writeln!(io::stderr(), "not registered: {}", clean(reason))?,
            UeEvent::Unregistered => {}
            UeEvent::Ringing { .. } => writeln!(out, "ringing")?,
            UeEvent::Incoming { from, file: Some(file), .. } => {
                let size =
                    file.size.map_or(String::new(), |size| format!(" ({})", indicatif::HumanBytes(size)));
                writeln!(out, "{} sends {}{size}", clean(from), clean(&file.name))?;
            }
            UeEvent::Incoming { from, .. } => writeln!(out, "{} calls", clean(from))?,
            UeEvent::Sealed { seal, .. } => writeln!(out, "{}", clean(&seal.line()))?,
            UeEvent::Broken { reason, .. } => {
                writeln!(io::stderr(), "{}; making the connection again", clean(reason))?;
            }
            UeEvent::Restored { .. } => {}
            UeEvent::Clear { .. } => writeln!(out, "NOT SEALED: everyone on the way can read this")?,
            UeEvent::Message { from, text, .. } => {
                // An empty text is a line too.
                for line in text.lines().chain(text.is_empty().then_some("")) {
                    writeln!(out, "{}: {}", clean(from), clean(line))?;
                }
            }
            UeEvent::FileProgress { call, name, done, total } => {
                let (bar, pace) = self.bar(*call, name, *total);
                pace.saw(Instant::now(), *done);
                bar.set_position(*done);
                bar.set_prefix(pace.words(total.map(|total| total.saturating_sub(*done))));
            }
            UeEvent::FileDone { call, name, path, size, moved, elapsed } => {
                if let Some((bar, _)) = self.bars.remove(call) {
                    bar.finish_and_clear();
                }
                let rate = *moved as f64 / elapsed.as_secs_f64().max(0.001);
                let to = path.as_ref().map_or(String::new(), |path| format!(" → {}", path.display()));
                let (size, rate) = (indicatif::HumanBytes(*size), indicatif::HumanBytes(rate as u64));
                writeln!(out, "{}{}: {size}, {rate}/s", clean(name), clean(&to))?;
            }
            UeEvent::Ended { call, failure, said } => {
                if let Some((bar, _)) = self.bars.remove(call) {
                    bar.abandon();
                }
                match (failure, said) {
                    (Some((_, sentence)), _) => writeln!(io::stderr(), "{}", clean(sentence))?,
                    (None, Some(said)) => writeln!(out, "ended: {}", clean(said))?,
                    (None, None) => writeln!(out, "ended")?,
                }
            }
            UeEvent::Room { .. } => {}
            UeEvent::Trouble { message } => writeln!(io::stderr(), "{}", clean(message))?,
        }
        out.flush()
    }

    /// Says how an incoming call is answered.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn ask(&mut self) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "take it? y or n")?;
        out.flush()
    }

    fn bar(&mut self, call: CallId, name: &str, total: Option<u64>) -> &mut (ProgressBar, Pace) {
        self.bars.entry(call).or_insert_with(|| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let form = match total {
                Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {prefix}",
                None => "{msg} {spinner} {bytes} {prefix}",
            };
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style.progress_chars("=> "));
            }
            (bar.with_message(clean(name)), Pace::default())
        })
    }
}

/// How fast something goes: what crossed in the last seconds. What an earlier transfer has left is not
/// in it.
#[derive(Default)]
struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    fn saw(&mut self, now: Instant, done: u64) {
        self.0.push_back((now, done));
        while self.0.len() > 2 && self.0.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.0.pop_front();
        }
    }

    /// Octets a second; `None` until there are two looks to tell it from.
    fn rate(&self) -> Option<f64> {
        let ((first, from), (last, to)) = (self.0.front()?, self.0.back()?);
        let seconds = last.duration_since(*first).as_secs_f64();
        (seconds > 0.0).then(|| to.saturating_sub(*from) as f64 / seconds)
    }

    /// `12.5 MiB/s, 3 seconds left`
    fn words(&self, left: Option<u64>) -> String {
        let Some(rate) = self.rate() else { return String::new() };
        let speed = format!("{}/s", HumanBytes(rate as u64));
        match left.map(|left| Duration::try_from_secs_f64(left as f64 / rate)) {
            Some(Ok(left)) => format!("{speed}, {} left", HumanDuration(left)),
            _ => speed,
        }
    }
}

/// Words of others on their way to a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(clean("hi\x1b]0;owned\x07 there\t!"), "hi\u{fffd}]0;owned\u{fffd} there\t!");
    }

    #[test]
    fn the_rate_is_of_what_crosses_now() {
        let start = Instant::now();
        let mut pace = Pace::default();
        // A transfer that goes on at 1 GiB, a mebioctet a second.
        let at = |second: u64| (start + Duration::from_secs(second), (1 << 30) + (second << 20));
        pace.saw(at(0).0, at(0).1);
        assert_eq!((pace.rate(), pace.words(Some(1))), (None, String::new()));
        for second in 1..60 {
            pace.saw(at(second).0, at(second).1);
            assert_eq!(pace.rate(), Some(f64::from(1 << 20)));
        }
        assert_eq!(pace.words(Some(30 << 20)), "1.00 MiB/s, 30 seconds left");
        // It stops.
        for second in 60..90 {
            pace.saw(at(second).0, at(59).1);
        }
        assert_eq!(pace.words(Some(30 << 20)), "0 B/s");
        assert!(pace.0.len() < 16);
    }
}
