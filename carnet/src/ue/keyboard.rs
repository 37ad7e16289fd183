//! What is typed, or comes through a pipe, line by line.
//!
//! Standard input is not touched before a line is wanted: a client that sends a file leaves it to
//! whoever comes next. A thread reads it, one line ahead; it does not hold up the end of the program.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

/// Longest line taken, in octets.
const MAX_LINE: usize = 1 << 20;

/// A line, or what is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Without its end.
    Line(String),
    /// Octets that are not UTF-8.
    NotText,
    /// More than [`MAX_LINE`] octets.
    TooLong,
}

/// Standard input.
#[derive(Default)]
pub(super) struct Keyboard {
    lines: Option<mpsc::Receiver<Typed>>,
}

impl Keyboard {
    /// The next line; `None` at the end. No line is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Typed> {
        let lines = self.lines.get_or_insert_with(|| {
            let (send, lines) = mpsc::channel(1);
            let deliver = move |typed| send.blocking_send(typed).is_ok();
            std::thread::spawn(move || {
                read(io::stdin().lock(), MAX_LINE, deliver);
            });
            lines
        });
        lines.recv().await
    }
}

/// Reads lines of at most `max` octets until the end, an error, or until nobody takes them.
fn read(mut input: impl BufRead, max: usize, take: impl Fn(Typed) -> bool) {
    let (mut line, mut too_long, mut begun) = (Vec::new(), false, false);
    loop {
        let octets = match input.fill_buf() {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => &[],
        };
        let (used, ended) = match octets.iter().position(|octet| *octet == b'\n') {
            Some(at) => (at + 1, true),
            None => (octets.len(), octets.is_empty()),
        };
        begun |= used > 0;
        if line.len() + used > max + 1 {
            too_long = true;
            line = Vec::new();
        } else if !too_long {
            line.extend_from_slice(octets.get(..used).unwrap_or_default());
        }
        input.consume(used);
        if !ended {
            continue;
        }
        if !begun {
            return;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            line.pop_if(|octet| *octet == b'\r');
        }
        let typed = match (too_long, String::from_utf8(std::mem::take(&mut line))) {
            (true, _) => Typed::TooLong,
            (false, Ok(line)) => Typed::Line(line),
            (false, Err(_)) => Typed::NotText,
        };
        (too_long, begun) = (false, false);
        if !take(typed) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn lines(input: &[u8]) -> Vec<Typed> {
        let seen = RefCell::new(Vec::new());
        // A buffer of three octets: lines cross its borders.
        read(io::BufReader::with_capacity(3, input), 8, |typed| {
            seen.borrow_mut().push(typed);
            true
        });
        seen.into_inner()
    }

    fn line(text: &str) -> Typed {
        Typed::Line(text.to_owned())
    }

    #[test]
    fn every_line_comes_once_and_what_is_no_text_ends_nothing() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"one\n\ntwo\r\nlast"), [line("one"), line(""), line("two"), line("last")]);
        assert_eq!(lines(b"a\xff\nb\n"), [Typed::NotText, line("b")]);
        assert_eq!(
            lines(b"12345678\n123456789\n1234567890123\nb"),
            [line("12345678"), Typed::TooLong, Typed::TooLong, line("b")]
        );
    }
}
