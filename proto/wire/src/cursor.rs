//! A position in a slice of octets.
//!
//! Every method that fails leaves the cursor where it was and says at which octet and what was
//! expected. Reads never panic; lengths are checked against what remains.

use crate::ParseError;

/// A half-open range of octets in some buffer, small enough to keep many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First octet.
    pub start: u32,
    /// One past the last octet.
    pub end: u32,
}

impl Span {
    /// The span from `start` up to `end`. Inputs of 4 GiB and more are not spannable; every
    /// parser bounds its input far below that before it makes spans.
    pub fn new(start: usize, end: usize) -> Self {
        let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { start: clamp(start), end: clamp(end) }
    }

    /// The octets of `buffer` that this span covers, empty if it does not fit.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.range()).unwrap_or_default()
    }

    /// As an index range.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Number of octets.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether the span covers nothing.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Reads octets from a slice in order.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first octet of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Octets consumed so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes back (or forward) to `position`, clamped to the input.
    pub fn seek(&mut self, position: usize) {
        self.at = position.min(self.input.len());
    }

    /// What has not been consumed.
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// The whole input.
    pub fn input(&self) -> &'a [u8] {
        self.input
    }

    /// Whether everything has been consumed.
    pub fn is_empty(&self) -> bool {
        self.at >= self.input.len()
    }

    /// The next octet, not consumed.
    pub fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// An error at the current position.
    pub fn error(&self, expected: impl Into<std::borrow::Cow<'static, str>>) -> ParseError {
        ParseError::new(self.at, expected)
    }

    /// Consumes exactly `n` octets.
    pub fn take(&mut self, n: usize, expected: &'static str) -> Result<&'a [u8], ParseError> {
        let end = self.at.checked_add(n).filter(|e| *e <= self.input.len());
        let Some(end) = end else { return Err(ParseError::new(self.input.len(), expected)) };
        let taken = self.input.get(self.at..end).unwrap_or_default();
        self.at = end;
        Ok(taken)
    }

    /// Consumes octets while `keep` holds; may be none.
    pub fn take_while(&mut self, mut keep: impl FnMut(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let n = rest.iter().position(|b| !keep(*b)).unwrap_or(rest.len());
        self.at += n;
        rest.get(..n).unwrap_or_default()
    }

    /// Consumes octets up to, not including, `stop`; fails if `stop` never comes.
    pub fn take_until(&mut self, stop: u8, expected: &'static str) -> Result<&'a [u8], ParseError> {
        let rest = self.rest();
        let Some(n) = rest.iter().position(|b| *b == stop) else {
            return Err(ParseError::new(self.input.len(), expected));
        };
        self.at += n;
        Ok(rest.get(..n).unwrap_or_default())
    }

    /// Consumes `octet` if it comes next.
    pub fn eat(&mut self, octet: u8) -> bool {
        let hit = self.peek() == Some(octet);
        self.at += usize::from(hit);
        hit
    }

    /// Consumes `octet` or fails.
    pub fn expect(&mut self, octet: u8, expected: &'static str) -> Result<(), ParseError> {
        if self.eat(octet) { Ok(()) } else { Err(self.error(expected)) }
    }

    /// Consumes `literal` if it comes next, letters in any case.
    pub fn eat_ignore_case(&mut self, literal: &[u8]) -> bool {
        let hit = self.rest().get(..literal.len()).is_some_and(|s| s.eq_ignore_ascii_case(literal));
        self.at += if hit { literal.len() } else { 0 };
        hit
    }

    /// One octet.
    pub fn u8(&mut self, expected: &'static str) -> Result<u8, ParseError> {
        self.array::<1>(expected).map(|[b]| b)
    }

    /// Two octets, network order.
    pub fn u16(&mut self, expected: &'static str) -> Result<u16, ParseError> {
        self.array(expected).map(u16::from_be_bytes)
    }

    /// Four octets, network order.
    pub fn u32(&mut self, expected: &'static str) -> Result<u32, ParseError> {
        self.array(expected).map(u32::from_be_bytes)
    }

    /// Eight octets, network order.
    pub fn u64(&mut self, expected: &'static str) -> Result<u64, ParseError> {
        self.array(expected).map(u64::from_be_bytes)
    }

    /// `N` octets as an array.
    pub fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], ParseError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, expected)?);
        Ok(out)
    }

    /// A decimal number: at least one digit, no sign, no larger than `max`.
    pub fn decimal(&mut self, max: u64, expected: &'static str) -> Result<u64, ParseError> {
        let start = self.at;
        let mut value = Some(0u64);
        while let Some(digit @ b'0'..=b'9') = self.input.get(self.at) {
            let digit = u64::from(digit - b'0');
            value = value.and_then(|n| n.checked_mul(10)?.checked_add(digit));
            self.at += 1;
        }
        match value {
            Some(n) if self.at > start && n <= max => Ok(n),
            _ => {
                self.at = start;
                Err(self.error(expected))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_reads_leave_the_cursor_in_place() {
        let mut c = Cursor::new(b"12x");
        assert_eq!(c.take(4, "four octets").unwrap_err().at, 3);
        assert_eq!(c.position(), 0);
        assert!(c.decimal(11, "at most 11").is_err());
        assert_eq!(c.decimal(12, "a number").unwrap(), 12);
        assert!(c.u16("two octets").is_err());
        assert_eq!(c.u8("one").unwrap(), b'x');
        assert!(c.is_empty() && c.peek().is_none() && c.rest().is_empty());
    }

    #[test]
    fn decimal_does_not_overflow() {
        let mut c = Cursor::new(b"99999999999999999999999");
        assert!(c.decimal(u64::MAX, "a number").is_err());
    }

    #[test]
    fn spans_that_do_not_fit_are_empty() {
        assert_eq!(Span::new(1, 3).of(b"abcd"), b"bc");
        assert_eq!(Span::new(3, 9).of(b"abcd"), b"");
    }
}
