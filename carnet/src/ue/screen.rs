//! What a person or a script sees.
//!
//! Text goes to standard output, one line an event, with the peer's words cleaned of what could
//! steer a terminal; progress bars and trouble go to standard error. With `--json` every event is
//! one object on standard output and nothing else is there.

use std::collections::HashMap;
use std::io::{self, Write as _};

use carnet_client::CallId;
use indicatif::{ProgressBar, ProgressStyle};

use super::event::UeEvent;

/// Prints events.
pub struct Screen {
    json: bool,
    bars: HashMap<CallId, ProgressBar>,
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
            UeEvent::Clear { .. } => writeln!(out, "NOT SEALED: everyone on the way can read this")?,
            UeEvent::Message { from, text, .. } => {
                for line in text.lines() {
                    writeln!(out, "{}: {}", clean(from), clean(line))?;
                }
            }
            UeEvent::FileProgress { call, name, done, total } => {
                self.bar(*call, name, *total).set_position(*done);
            }
            UeEvent::FileDone { call, name, path, size, moved, elapsed } => {
                if let Some(bar) = self.bars.remove(call) {
                    bar.finish_and_clear();
                }
                let rate = *moved as f64 / elapsed.as_secs_f64().max(0.001);
                let to = path.as_ref().map_or(String::new(), |path| format!(" → {}", path.display()));
                let (size, rate) = (indicatif::HumanBytes(*size), indicatif::HumanBytes(rate as u64));
                writeln!(out, "{}{}: {size}, {rate}/s", clean(name), clean(&to))?;
            }
            UeEvent::Ended { call, failure, said } => {
                if let Some(bar) = self.bars.remove(call) {
                    bar.abandon();
                }
                match (failure, said) {
                    (Some((_, sentence)), _) => writeln!(io::stderr(), "{}", clean(sentence))?,
                    (None, Some(said)) => writeln!(out, "ended: {}", clean(said))?,
                    (None, None) => writeln!(out, "ended")?,
                }
            }
            UeEvent::Trouble { message } => writeln!(io::stderr(), "{}", clean(message))?,
        }
        out.flush()
    }

    fn bar(&mut self, call: CallId, name: &str, total: Option<u64>) -> &ProgressBar {
        self.bars.entry(call).or_insert_with(|| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let form = match total {
                Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
                None => "{msg} {spinner} {bytes} {bytes_per_sec}",
            };
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_message(clean(name))
        })
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
}
