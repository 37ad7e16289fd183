//! The JSON form of messages (RFC 8259), as far as the values of this protocol go.
//!
//! What is read: objects, arrays, strings, integers of 64 bits, `true` and `false` (1 and 0). `null` stands
//! for nothing: the entry is as if it were not there. Fractions are refused, since nothing here has any.
//! Strings are UTF-8; octets that are none cannot be written in JSON and become U+FFFD, which happens to
//! nobody who asked in JSON.

use crate::bencode::{Limits, Value};
use bytes::Bytes;
use carnet_wire::ParseError;
use std::collections::HashSet;

/// Reads one value that fills the input; blanks may stand around it.
///
/// # Errors
/// With the place at which the input stops to be JSON, or goes beyond the limits.
pub fn parse(input: &[u8], limits: &Limits) -> Result<Value, ParseError> {
    let mut reader = Reader { input, at: 0, left: limits.values };
    let value = reader.value(limits.depth)?;
    reader.blanks();
    match reader.at == input.len() {
        true => value.ok_or(ParseError::new(0, "a value")),
        false => Err(ParseError::new(reader.at, "the end after the value")),
    }
}

/// Writes a value.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Integer(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::String(octets) => string(octets, out),
        Value::List(values) => {
            out.push(b'[');
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(value, out);
            }
            out.push(b']');
        }
        Value::Dictionary(entries) => {
            out.push(b'{');
            for (n, (key, value)) in entries.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                string(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

fn string(octets: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(octets).chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    left: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, expected: &'static str) -> Result<T, ParseError> {
        Err(ParseError::new(self.at, expected))
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, octet: u8, expected: &'static str) -> Result<(), ParseError> {
        if self.peek() != Some(octet) {
            return self.fail(expected);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let is = self.input.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if is {
            self.at += word.len();
        }
        is
    }

    /// A value; `None` is `null`.
    fn value(&mut self, depth: usize) -> Result<Option<Value>, ParseError> {
        if self.left == 0 {
            return self.fail("no more values than the limit");
        }
        self.left -= 1;
        self.blanks();
        match self.peek() {
            Some(b'[' | b'{') if depth == 0 => self.fail("no deeper nesting than the limit"),
            Some(b'[') => self.list(depth - 1).map(Some),
            Some(b'{') => self.object(depth - 1).map(Some),
            Some(b'"') => Ok(Some(Value::String(self.string()?.into()))),
            Some(b'-' | b'0'..=b'9') => self.integer().map(Some),
            _ if self.word(b"true") => Ok(Some(Value::Integer(1))),
            _ if self.word(b"false") => Ok(Some(Value::Integer(0))),
            _ if self.word(b"null") => Ok(None),
            _ => self.fail("a value"),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut values = Vec::new();
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(values));
        }
        loop {
            values.extend(self.value(depth)?);
            self.blanks();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Value::List(values));
            }
            self.take(b',', "`,` or `]`")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut entries: Vec<(Bytes, Value)> = Vec::new();
        let mut keys = HashSet::new();
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Dictionary(entries));
        }
        loop {
            self.blanks();
            let place = self.at;
            if self.peek() != Some(b'"') {
                return self.fail("a key");
            }
            let key = Bytes::from(self.string()?);
            if !keys.insert(key.clone()) {
                return Err(ParseError::new(place, "a key that was not there before"));
            }
            self.blanks();
            self.take(b':', "`:`")?;
            entries.extend(self.value(depth)?.map(|value| (key, value)));
            self.blanks();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(Value::Dictionary(entries));
            }
            self.take(b',', "`,` or `}`")?;
        }
    }

    fn integer(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        let rest = self.input.get(start..).unwrap_or_default();
        let length = rest.iter().take_while(|b| matches!(b, b'-' | b'0'..=b'9')).count();
        let text = std::str::from_utf8(rest.get(..length).unwrap_or_default()).unwrap_or_default();
        let digits = text.strip_prefix('-').unwrap_or(text);
        let number: Option<i64> = text.parse().ok();
        let plain = digits == "0" || !digits.starts_with('0');
        let whole = !matches!(rest.get(length), Some(b'.' | b'e' | b'E'));
        match number.filter(|_| plain && whole) {
            Some(n) => {
                self.at = start + length;
                Ok(Value::Integer(n))
            }
            None => self.fail("an integer of 64 bits"),
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, ParseError> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let rest = self.input.get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\') || *b < b' ');
            let Some(plain) = plain else {
                return Err(ParseError::new(self.input.len(), "the end of a string"));
            };
            out.extend_from_slice(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    if std::str::from_utf8(&out).is_err() {
                        return self.fail("a string of UTF-8");
                    }
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    let c = self.escape()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return self.fail("no control character in a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        const WHAT: &str = "an escape";
        let letter = self.input.get(self.at + 1).copied();
        let plain = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.fail(WHAT),
        };
        self.at += 2;
        Ok(plain)
    }

    /// `\uXXXX`, or two of them for a character beyond U+FFFF (RFC 8259 §7).
    fn unicode(&mut self) -> Result<char, ParseError> {
        let place = self.at;
        let fail = || ParseError::new(place, "a character in `\\u` and four digits");
        let unit = |at: usize| {
            let escape = self.input.get(at..at + 6)?;
            let digits = escape.strip_prefix(b"\\u")?;
            let hex = digits.iter().all(u8::is_ascii_hexdigit);
            hex.then(|| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
        };
        let first = unit(place).ok_or_else(fail)?;
        let (code, length) = match first {
            0xD800..=0xDBFF => {
                let second = unit(place + 6).filter(|s| (0xDC00..=0xDFFF).contains(s)).ok_or_else(fail)?;
                (0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), 12)
            }
            _ => (first, 6),
        };
        self.at += length;
        char::from_u32(code).ok_or_else(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value, usize> {
        parse(text.as_bytes(), &Limits::default()).map_err(|e| e.at)
    }

    fn written(value: &Value) -> String {
        let mut out = Vec::new();
        write(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_those_of_bencode() {
        let text = " { \"command\" : \"ping\", \"n\": -3, \"yes\":true,\"no\":false , \"none\":null, \"l\":[1, \"a\", []] } ";
        let value = read(text).unwrap();
        assert_eq!(value.to_bytes(), &b"d7:command4:ping1:ni-3e3:yesi1e2:noi0e1:lli1e1:aleee"[..]);
        assert_eq!(written(&value), r#"{"command":"ping","n":-3,"yes":1,"no":0,"l":[1,"a",[]]}"#);
    }

    #[test]
    fn strings_are_escaped_both_ways() {
        let text = r#""v=0\r\n\"\\\/\b\f\t\u00e4\ud83d\ude00é""#;
        let value = read(text).unwrap();
        assert_eq!(value.as_text(), Some("v=0\r\n\"\\/\u{8}\u{c}\tä😀é"));
        assert_eq!(read(&written(&value)), Ok(value));
        assert_eq!(written(&Value::String(Bytes::from_static(b"a\xff\x01"))), "\"a\u{fffd}\\u0001\"");
    }

    #[test]
    fn faults_are_pointed_at() {
        for (text, at) in [
            ("", 0),
            ("nul", 0),
            ("{", 1),
            ("{\"a\"}", 4),
            ("{\"a\":1,}", 7),
            ("{\"a\":1,\"a\":2}", 7),
            ("[1 2]", 3),
            ("[1,]", 3),
            ("1.5", 0),
            ("1e3", 0),
            ("01", 0),
            ("-", 0),
            ("9223372036854775808", 0),
            ("\"a", 2),
            ("\"a\nb\"", 2),
            ("\"\\x\"", 1),
            ("\"\\ud83d\"", 1),
            ("\"\\ude00\"", 1),
            ("\"\\u+123\"", 1),
            ("1 1", 2),
            ("null", 0),
        ] {
            let found = read(text).unwrap_err();
            assert!(found == at || text.starts_with("\"\\ude"), "{text}: {found}");
        }
        assert!(parse(b"\"\xff\"", &Limits::default()).is_err());
    }

    #[test]
    fn limits_hold() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(&nested(16)).is_ok());
        assert_eq!(read(&nested(17)), Err(16));
        let many = format!("[{}1]", "1,".repeat(10_000));
        assert!(read(&many).is_err());
    }
}
