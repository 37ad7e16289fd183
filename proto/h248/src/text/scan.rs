//! Octets to words: white space, comments, words of safe characters, quoted strings, SDP bodies.
//!
//! Also carries what an error needs: the position, the level of the grammar we are in and the
//! transaction that is being read; and counts what is limited.

use super::Limits;
use super::keyword::Keyword;
use crate::Error;
use crate::model::value::is_safe;
use crate::model::{ErrorDescriptor, Name, SessionDescription, TerminationId, Text, TransactionId, Value};
use std::borrow::Cow;

/// Safe characters, white space, ends of lines and the comment sign, by octet.
const SAFE: u8 = 1;
const BLANK: u8 = 2;
static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        if is_safe(i as u8) {
            table[i] = SAFE;
        }
        i += 1;
    }
    table[b' ' as usize] = BLANK;
    table[b'\t' as usize] = BLANK;
    table[b'\r' as usize] = BLANK;
    table[b'\n' as usize] = BLANK;
    table
};

#[inline]
fn class(octet: u8) -> u8 {
    CLASS.get(usize::from(octet)).copied().unwrap_or(0)
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Where we are in a message.
pub(super) struct Scanner<'a> {
    input: &'a [u8],
    pub(super) at: usize,
    limits: &'a Limits,
    /// The error code of the level we are in.
    pub(super) level: u16,
    /// The transaction being read.
    pub(super) transaction: Option<TransactionId>,
    items: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(input: &'a [u8], limits: &'a Limits) -> Self {
        Self { input, at: 0, limits, level: 400, transaction: None, items: 0, depth: 0 }
    }

    /// A syntax error here.
    pub(super) fn error<T>(&self, expected: impl Into<Cow<'static, str>>) -> Result<T> {
        self.error_at(self.at, expected)
    }

    /// A syntax error at an earlier place.
    #[cold]
    pub(super) fn error_at<T>(&self, at: usize, expected: impl Into<Cow<'static, str>>) -> Result<T> {
        let (code, transaction) = (self.level, self.transaction);
        Err(Error::Syntax { at, code, transaction, expected: expected.into() })
    }

    /// A broken rule.
    #[cold]
    pub(super) fn rule<T>(&self, at: usize, code: u16, what: impl Into<Cow<'static, str>>) -> Result<T> {
        Err(Error::Rule { at, code, transaction: self.transaction, what: what.into() })
    }

    #[cold]
    pub(super) fn limit<T>(&self, code: u16, what: &'static str, limit: usize) -> Result<T> {
        Err(Error::Limit { at: self.at, code, transaction: self.transaction, what, limit })
    }

    /// Counts one more item of a list that has `len` already.
    #[inline]
    pub(super) fn count(&mut self, len: usize) -> Result<()> {
        self.items += 1;
        if self.items > self.limits.items {
            return self.limit(400, "items in a message", self.limits.items);
        }
        if len >= self.limits.list {
            return self.limit(400, "items in a list", self.limits.list);
        }
        Ok(())
    }

    /// Goes one level deeper; pair with [`Scanner::leave`].
    pub(super) fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > self.limits.depth {
            self.limit(400, "levels of nesting", self.limits.depth)
        } else {
            Ok(())
        }
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// Skips white space, ends of lines and comments (LWSP).
    #[inline]
    pub(super) fn blank(&mut self) {
        while let Some(b) = self.peek() {
            if class(b) == BLANK {
                self.at += 1;
            } else if b == b';' {
                let rest = self.input.get(self.at..).unwrap_or_default();
                self.at += memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            } else {
                return;
            }
        }
    }

    /// Skips blanks, then consumes `octet` if it comes next.
    #[inline]
    pub(super) fn eat(&mut self, octet: u8) -> bool {
        self.blank();
        let hit = self.peek() == Some(octet);
        self.at += usize::from(hit);
        hit
    }

    /// Skips blanks, then consumes `octet` or fails.
    #[inline]
    pub(super) fn expect(&mut self, octet: u8, expected: &'static str) -> Result<()> {
        if self.eat(octet) { Ok(()) } else { self.error(expected) }
    }

    /// `=`.
    pub(super) fn equal(&mut self) -> Result<()> {
        self.expect(b'=', "`=`")
    }

    /// `{`.
    pub(super) fn open(&mut self) -> Result<()> {
        self.expect(b'{', "`{`")
    }

    /// After an item of a list in braces: true if a comma says that another comes, false at the
    /// closing brace.
    #[inline]
    pub(super) fn more(&mut self) -> Result<bool> {
        self.more_until(b'}', "`,` or `}`")
    }

    /// As [`Scanner::more`] with another closing octet.
    #[inline]
    pub(super) fn more_until(&mut self, close: u8, expected: &'static str) -> Result<bool> {
        self.blank();
        let more = match self.peek() {
            Some(b',') => true,
            Some(b) if b == close => false,
            _ => return self.error(expected),
        };
        self.at += 1;
        Ok(more)
    }

    /// The word that starts here after blanks, not consumed. Empty if there is none.
    #[inline]
    pub(super) fn peek_word(&mut self) -> &'a [u8] {
        self.blank();
        let rest = self.input.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|b| class(*b) != SAFE).unwrap_or(rest.len());
        rest.get(..len).unwrap_or_default()
    }

    /// The next word of safe characters, after blanks.
    #[inline]
    pub(super) fn word(&mut self, expected: &'static str) -> Result<&'a [u8]> {
        let word = self.peek_word();
        self.take(expected, word)
    }

    /// Consumes a word that was peeked at.
    #[inline]
    pub(super) fn take(&mut self, expected: &'static str, word: &'a [u8]) -> Result<&'a [u8]> {
        if word.is_empty() {
            return self.error(expected);
        }
        if word.len() > self.limits.word {
            return self.limit(self.level, "octets in a word", self.limits.word);
        }
        self.at += word.len();
        Ok(word)
    }

    /// The next word as a keyword, with its place.
    pub(super) fn keyword(&mut self, expected: &'static str) -> Result<(usize, Keyword)> {
        let word = self.word(expected)?;
        let at = self.at - word.len();
        match Keyword::find(word) {
            Some(keyword) => Ok((at, keyword)),
            None => self.error_at(at, expected),
        }
    }

    /// The next word as a decimal number up to `max`.
    pub(super) fn number(&mut self, max: u32, expected: &'static str) -> Result<u32> {
        let word = self.word(expected)?;
        match decimal(word, max) {
            Some(n) => Ok(n),
            None => self.error_at(self.at - word.len(), expected),
        }
    }

    /// A number of 16 bits.
    pub(super) fn number16(&mut self, expected: &'static str) -> Result<u16> {
        self.number(0xffff, expected).map(|n| n as u16)
    }

    /// A quoted string; the opening quote comes next.
    pub(super) fn quoted(&mut self) -> Result<Text> {
        let start = self.at + 1;
        let rest = self.input.get(start..).unwrap_or_default();
        let end = rest.iter().position(|b| *b == b'"' || (*b < b' ' && *b != b'\t') || *b == 0x7f);
        let Some(len) = end.filter(|n| rest.get(*n) == Some(&b'"')) else {
            return self.error_at(start + end.unwrap_or(rest.len()), "`\"` that closes the text");
        };
        if len > self.limits.text {
            return self.limit(self.level, "octets in quotes", self.limits.text);
        }
        let Ok(text) = std::str::from_utf8(rest.get(..len).unwrap_or_default()) else {
            return self.error_at(start, "text in UTF-8");
        };
        self.at = start + len + 1;
        Ok(Text::copied(text))
    }

    /// A value, quoted or not.
    pub(super) fn value(&mut self) -> Result<Value> {
        self.blank();
        if self.peek() == Some(b'"') {
            return self.quoted().map(Value::Quoted);
        }
        self.word("a value").map(|word| Value::Token(text(word)))
    }

    /// A name.
    pub(super) fn name(&mut self, expected: &'static str) -> Result<Name> {
        self.word(expected).map(name)
    }

    /// A termination identifier.
    pub(super) fn termination(&mut self) -> Result<TerminationId> {
        self.word("a termination").map(|word| TerminationId::new(text(word)))
    }

    /// The octets of a Local or Remote body: up to the first `}` that no `\` stands before. Comments
    /// do not exist inside (RFC 3525 Annex B.2, `octetString`).
    pub(super) fn session_description(&mut self) -> Result<SessionDescription> {
        self.open()?;
        let start = self.at;
        let rest = self.input.get(start..).unwrap_or_default();
        let mut escapes = false;
        for end in memchr::memchr_iter(b'}', rest) {
            if end > 0 && rest.get(end - 1) == Some(&b'\\') {
                escapes = true;
                continue;
            }
            let body = rest.get(..end).unwrap_or_default();
            if let Some(nul) = memchr::memchr(0, body) {
                return self.error_at(start + nul, "an octet other than NUL");
            }
            self.at = start + end + 1;
            if !escapes {
                return Ok(SessionDescription::copied(body));
            }
            let mut plain = Vec::with_capacity(body.len());
            for (i, b) in body.iter().enumerate() {
                if !(*b == b'\\' && body.get(i + 1) == Some(&b'}')) {
                    plain.push(*b);
                }
            }
            return Ok(SessionDescription::new(plain));
        }
        self.error_at(self.input.len(), "`}` that closes the session description")
    }

    /// Text up to `}`, which is consumed too; blanks around it go.
    pub(super) fn raw_text(&mut self) -> Result<Text> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let Some(len) = memchr::memchr(b'}', rest) else {
            return self.error_at(self.input.len(), "`}`");
        };
        let raw = rest.get(..len).unwrap_or_default();
        let printable = |b: &u8| matches!(b, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        if let Some(bad) = raw.iter().position(|b| !printable(b)) {
            return self.error_at(self.at + bad, "a printable character");
        }
        self.at += len + 1;
        Ok(text(raw.trim_ascii()))
    }

    /// `Error = code { "text" }` after the keyword.
    pub(super) fn error_descriptor(&mut self) -> Result<ErrorDescriptor> {
        self.equal()?;
        let code = self.number(999, "an error code")? as u16;
        self.open()?;
        self.blank();
        let text = if self.peek() == Some(b'"') { Some(self.quoted()?) } else { None };
        self.expect(b'}', "`}`")?;
        Ok(ErrorDescriptor { code, text })
    }
}

/// A decimal number of digits only, up to `max`.
#[inline]
pub(super) fn decimal(word: &[u8], max: u32) -> Option<u32> {
    if word.is_empty() {
        return None;
    }
    let value = word.iter().try_fold(0u32, |n, b| match b {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u32::from(b - b'0')),
        _ => None,
    });
    value.filter(|n| *n <= max)
}

/// ASCII octets as text. Words are ASCII by construction; anything else would become empty.
#[inline]
pub(super) fn text(word: &[u8]) -> Text {
    Text::ascii(word)
}

/// A word as a name.
#[inline]
pub(super) fn name(word: &[u8]) -> Name {
    Name::new(text(word))
}
