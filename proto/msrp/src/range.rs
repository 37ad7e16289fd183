//! The `Byte-Range` header field and which octets of a message have arrived (RFC 4975 §7.1.1, §7.3.1).

use carnet_wire::{Cursor, ParseError};
use std::fmt;

/// `1-39/39`, `1-*/*`: the place of a chunk in its message. Octets count from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// Position of the first octet, at least 1.
    pub start: u64,
    /// Position of the last octet; `None` is `*`. One less than `start` when the chunk is empty.
    pub end: Option<u64>,
    /// Size of the whole message; `None` is `*`.
    pub total: Option<u64>,
}

impl ByteRange {
    /// What an absent header field means: everything, from the first octet (RFC 4975 §7.3.1).
    pub const WHOLE: Self = Self { start: 1, end: None, total: None };

    /// Reads the value of a header field.
    ///
    /// # Errors
    /// Also when the numbers contradict each other: a start of zero, an end before the start (but for
    /// an empty range), an end after the total.
    pub fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let mut c = Cursor::new(value);
        let start = c.decimal(u64::MAX / 2, "the position of the first octet")?;
        c.expect(b'-', "`-`")?;
        let end = number_or_star(&mut c)?;
        c.expect(b'/', "`/`")?;
        let total = number_or_star(&mut c)?;
        if !c.is_empty() {
            return Err(c.error("the end of the byte range"));
        }
        let range = Self { start, end, total };
        if start == 0 {
            return Err(ParseError::new(0, "a position of at least 1"));
        }
        if end.is_some_and(|end| end + 1 < start) {
            return Err(ParseError::new(0, "a range that does not end before it starts"));
        }
        if total.is_some_and(|total| end.unwrap_or(start - 1) > total || start - 1 > total) {
            return Err(ParseError::new(0, "a range within the total"));
        }
        Ok(range)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.start)?;
        for (value, after) in [(self.end, "/"), (self.total, "")] {
            match value {
                Some(n) => write!(f, "{n}{after}")?,
                None => write!(f, "*{after}")?,
            }
        }
        Ok(())
    }
}

fn number_or_star(c: &mut Cursor<'_>) -> Result<Option<u64>, ParseError> {
    if c.eat(b'*') { Ok(None) } else { c.decimal(u64::MAX / 2, "a number or `*`").map(Some) }
}

/// A set of octet positions (from zero), kept as sorted separate ranges.
#[derive(Debug, Clone, Default)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds the octets from `start` up to, not including, `end`.
    pub fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        // The first range that could touch the new one, and the first after all that do.
        let from = self.0.partition_point(|r| r.1 < start);
        let to = self.0.partition_point(|r| r.0 <= end);
        let touched = self.0.get(from..to).unwrap_or_default();
        let start = touched.first().map_or(start, |r| r.0.min(start));
        let end = touched.last().map_or(end, |r| r.1.max(end));
        self.0.splice(from..to, [(start, end)]);
    }

    /// Whether all octets below `size` are in the set.
    pub fn covers(&self, size: u64) -> bool {
        size == 0 || self.0.first().is_some_and(|r| r.0 == 0 && r.1 >= size)
    }

    /// One past the highest position, 0 when empty.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |r| r.1)
    }

    /// How many octets from the first one on are there without a gap.
    pub fn contiguous(&self) -> u64 {
        self.0.first().map_or(0, |r| if r.0 == 0 { r.1 } else { 0 })
    }

    /// Number of separate ranges.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_prints() {
        for text in ["1-39/39", "1-*/*", "41-*/100", "1-0/0", "138-148/148", "101-100/100"] {
            assert_eq!(ByteRange::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        for text in
            ["", "0-1/1", "5-3/9", "1-10/9", "11-*/9", "1-2", "1-2/3 ", "-1-2/3", "99999999999999999999-*/*"]
        {
            assert!(ByteRange::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set(parts in proptest::collection::vec((0u64..60, 0u64..20), 0..20)) {
            let mut ranges = Ranges::default();
            let mut model = [false; 100];
            for (start, len) in parts {
                ranges.add(start, start + len);
                model[start as usize..(start + len) as usize].fill(true);
            }
            let contiguous = model.iter().position(|b| !b).unwrap_or(100) as u64;
            prop_assert_eq!(ranges.contiguous(), contiguous);
            prop_assert!(ranges.covers(contiguous) && !ranges.covers(contiguous + 1));
            prop_assert_eq!(ranges.end(), model.iter().rposition(|b| *b).map_or(0, |i| i as u64 + 1));
            let starts = (0..100).filter(|i| model[*i] && (*i == 0 || !model[i - 1])).count();
            prop_assert_eq!(ranges.len(), starts);
        }
    }
}
