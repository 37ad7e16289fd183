//! One parse error for all parsers: where it happened, and what was expected there.

use std::borrow::Cow;
use std::fmt;

/// A parser stopped at an octet.
///
/// `at` counts octets from the start of the input that was given to the parser; it equals the
/// input's length when the input ended too early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Offset of the octet that could not be accepted.
    pub at: usize,
    /// What would have been accepted, as a noun phrase ("a digit", "`}` closing Local").
    pub expected: Cow<'static, str>,
}

impl ParseError {
    /// An error at octet `at`.
    pub fn new(at: usize, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { at, expected: expected.into() }
    }

    /// The same error in the coordinates of an enclosing input that starts `by` octets earlier.
    #[must_use]
    pub fn shifted(mut self, by: usize) -> Self {
        self.at = self.at.saturating_add(by);
        self
    }

    /// The line of `input` that holds the octet, with a caret under it, for people.
    pub fn caret(&self, input: &[u8]) -> String {
        caret(input, self.at, &format!("expected {}", self.expected))
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at octet {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for ParseError {}

/// Shows the line around octet `at` of `input` with a caret and `message` under it.
///
/// Control octets print as `.`, so that a hostile input cannot steer a terminal. At most 60
/// octets either side of the caret are shown.
pub fn caret(input: &[u8], at: usize, message: &str) -> String {
    const REACH: usize = 60;
    let at = at.min(input.len());
    let before = input.get(..at).unwrap_or_default();
    let after = input.get(at..).unwrap_or_default();
    let is_eol = |b: &u8| *b == b'\n' || *b == b'\r';
    let start = before.iter().rposition(is_eol).map_or(0, |i| i + 1).max(at.saturating_sub(REACH));
    let end = at + after.iter().position(is_eol).unwrap_or(after.len()).min(REACH);
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let shown: String = input
        .get(start..end)
        .unwrap_or_default()
        .iter()
        .map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' })
        .collect();
    format!("line {line}, octet {at}\n  {shown}\n  {:>width$} {message}", "^", width = at - start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caret_stands_under_the_octet() {
        let shown = ParseError::new(7, "a digit").caret(b"abc\r\nde\x1bf\r\n");
        assert_eq!(shown, "line 2, octet 7\n  de.f\n    ^ expected a digit");
    }

    #[test]
    fn caret_at_and_past_the_end() {
        assert!(ParseError::new(2, "more").caret(b"ab").ends_with("  ab\n    ^ expected more"));
        assert!(ParseError::new(99, "more").caret(b"").contains("octet 0"));
    }
}
