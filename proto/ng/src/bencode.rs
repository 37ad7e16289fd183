//! Bencode (BEP 3): integers, strings of octets, lists, dictionaries.
//!
//! Only the canonical form is taken, so what is read is written the same again. Two things are looser than
//! BEP 3: keys of a dictionary may stand in any order, which is kept, because rtpengine does not sort them; and
//! a key may stand twice, because Kamailio 5.6 says `received-from` again behind that of the script. The first
//! counts.

use bytes::Bytes;
use carnet_wire::ParseError;
use std::fmt;

/// A value.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// `i…e`
    Integer(i64),
    /// `length:octets`
    String(Bytes),
    /// `l…e`
    List(Vec<Self>),
    /// `d…e`, in the order it came in.
    Dictionary(Vec<(Bytes, Self)>),
}

/// Bounds of what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Lists and dictionaries inside each other.
    pub depth: usize,
    /// Values in all.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 16, values: 10_000 }
    }
}

impl Value {
    /// A string of text.
    pub fn text(text: &str) -> Self {
        Self::String(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// A list of texts.
    pub fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// Reads one value that fills the input.
    ///
    /// # Errors
    /// With the place at which the input stops to be bencode, or goes beyond the limits.
    pub fn parse(input: &Bytes, limits: &Limits) -> Result<Self, ParseError> {
        let mut reader = Reader { input, at: 0, left: limits.values };
        let value = reader.value(limits.depth)?;
        match reader.at == input.len() {
            true => Ok(value),
            false => Err(ParseError::new(reader.at, "the end after the value")),
        }
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.write(&mut out);
        out.into()
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(n) => out.extend_from_slice(format!("i{n}e").as_bytes()),
            Self::String(octets) => string(octets, out),
            Self::List(values) => {
                out.push(b'l');
                values.iter().for_each(|v| v.write(out));
                out.push(b'e');
            }
            Self::Dictionary(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    string(key, out);
                    value.write(out);
                }
                out.push(b'e');
            }
        }
    }

    /// The octets of a string.
    pub fn as_octets(&self) -> Option<&Bytes> {
        if let Self::String(octets) = self { Some(octets) } else { None }
    }

    /// The text of a string that is UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(self.as_octets()?).ok()
    }

    /// An entry of a dictionary, the first of that key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dictionary(entries) = self else { return None };
        entries.iter().find(|(k, _)| k == key.as_bytes()).map(|(_, value)| value)
    }

    /// The text of an entry of a dictionary.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }
}

fn string(octets: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", octets.len()).as_bytes());
    out.extend_from_slice(octets);
}

/// Whether the value of that key is for nobody's eyes: `token`, by which a SIP server is known.
pub fn is_secret(key: &[u8]) -> bool {
    key.trim_ascii().eq_ignore_ascii_case(b"token")
}

/// Entries of a dictionary, to be shown.
pub(crate) struct Entries<'a>(pub(crate) &'a [(Bytes, Value)]);

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (key, value) in self.0 {
            let shown: &dyn fmt::Debug = if is_secret(key) { &"hidden" } else { value };
            map.entry(&key.escape_ascii().to_string(), shown);
        }
        map.finish()
    }
}

/// Keys and short strings as text; what is long by its length; of a secret nothing.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(n) => n.fmt(f),
            Self::String(s) if s.len() <= 64 => write!(f, "\"{}\"", s.escape_ascii()),
            Self::String(s) => write!(f, "<{} octets>", s.len()),
            Self::List(values) => f.debug_list().entries(values).finish(),
            Self::Dictionary(entries) => Entries(entries).fmt(f),
        }
    }
}

struct Reader<'a> {
    input: &'a Bytes,
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

    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        if self.left == 0 {
            return self.fail("no more values than the limit");
        }
        self.left -= 1;
        match self.peek() {
            Some(b'i') => {
                self.at += 1;
                let n = self.integer(b'e', "an integer")?;
                Ok(Value::Integer(n))
            }
            Some(b'0'..=b'9') => self.string().map(Value::String),
            Some(b'l' | b'd') if depth == 0 => self.fail("no deeper nesting than the limit"),
            Some(b'l') => {
                self.at += 1;
                let mut values = Vec::new();
                while self.peek() != Some(b'e') {
                    values.push(self.value(depth - 1)?);
                }
                self.at += 1;
                Ok(Value::List(values))
            }
            Some(b'd') => {
                self.at += 1;
                let mut entries: Vec<(Bytes, Value)> = Vec::new();
                while self.peek() != Some(b'e') {
                    let key = self.string()?;
                    entries.push((key, self.value(depth - 1)?));
                }
                self.at += 1;
                Ok(Value::Dictionary(entries))
            }
            _ => self.fail("a value"),
        }
    }

    /// A number in its canonical form, up to `end`, which is taken.
    fn integer(&mut self, end: u8, what: &'static str) -> Result<i64, ParseError> {
        let start = self.at;
        // 20 digits and a sign hold every number of 64 bits.
        let rest = self.input.get(start..).unwrap_or_default();
        let window = rest.get(..rest.len().min(22)).unwrap_or_default();
        let Some(length) = window.iter().position(|b| *b == end) else { return self.fail(what) };
        let text = std::str::from_utf8(window.get(..length).unwrap_or_default()).unwrap_or_default();
        let number: Option<i64> = text.parse().ok();
        match number.filter(|n| n.to_string() == text) {
            Some(n) => {
                self.at = start + length + 1;
                Ok(n)
            }
            None => self.fail(what),
        }
    }

    fn string(&mut self) -> Result<Bytes, ParseError> {
        const WHAT: &str = "the length of a string";
        let start = self.at;
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return self.fail(WHAT);
        }
        let length = usize::try_from(self.integer(b':', WHAT)?).unwrap_or(usize::MAX);
        let end = self.at.checked_add(length).filter(|end| *end <= self.input.len());
        let Some(end) = end else { return Err(ParseError::new(start, "as many octets as are there")) };
        let octets = self.input.slice(self.at..end);
        self.at = end;
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Value, usize> {
        Value::parse(&Bytes::copy_from_slice(text), &Limits::default()).map_err(|e| e.at)
    }

    /// The examples of BEP 3.
    #[test]
    fn the_examples_of_bep_3() {
        assert_eq!(parse(b"4:spam"), Ok(Value::text("spam")));
        assert_eq!(parse(b"i3e"), Ok(Value::Integer(3)));
        assert_eq!(parse(b"i-3e"), Ok(Value::Integer(-3)));
        assert_eq!(parse(b"i0e"), Ok(Value::Integer(0)));
        assert_eq!(parse(b"l4:spam4:eggse"), Ok(Value::texts(["spam", "eggs"])));
        let cow = parse(b"d3:cow3:moo4:spam4:eggse").unwrap();
        assert_eq!((cow.text_of("cow"), cow.text_of("spam")), (Some("moo"), Some("eggs")));
        assert_eq!(parse(b"d4:spaml1:a1:bee").unwrap().get("spam"), Some(&Value::texts(["a", "b"])));
        for bad in [&b"i-0e"[..], b"i03e", b"i-e", b"ie", b"i+3e", b"i 3e", b"04:spam", b"-1:a"] {
            assert!(parse(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn what_is_read_is_written_again() {
        let whole: &[&[u8]] = &[
            b"de",
            b"le",
            b"0:",
            b"d1:zi1e1:ai-9223372036854775808ee",
            b"d1:a1:b1:a1:ce",
            b"d3:sdp6:v=0\r\n\x006:result2:oke",
            b"lli9223372036854775807eedee",
        ];
        for text in whole {
            assert_eq!(parse(text).unwrap().to_bytes(), *text);
        }
    }

    #[test]
    fn faults_are_pointed_at() {
        let table: &[(&[u8], usize)] = &[
            (b"", 0),
            (b"x", 0),
            (b"i1", 1),
            (b"i9223372036854775808e", 1),
            (b"i000000000000000000000000000000001e", 1),
            (b"5:spam", 0),
            (b"99999999999999999999:a", 0),
            (b"l4:spam", 7),
            (b"d4:spame", 7),
            (b"di1e1:ae", 1),
            (b"4:spamx", 6),
            (b"d", 1),
        ];
        for (text, at) in table {
            assert_eq!(parse(text), Err(*at), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn limits_hold() {
        let nested = |n: usize| [vec![b'l'; n], vec![b'e'; n]].concat();
        assert!(parse(&nested(16)).is_ok());
        assert_eq!(parse(&nested(17)), Err(16));
        assert!(parse(&vec![b'l'; 1_000_000]).is_err());
        let many = |n: usize| [&b"l"[..], &b"i1e".repeat(n), b"e"].concat();
        assert!(parse(&many(9_999)).is_ok());
        assert!(parse(&many(10_000)).is_err());
    }

    #[test]
    fn a_token_is_not_shown() {
        let shown = format!("{:?}", parse(b"d5:token5:wordy5:Token6:wordiee").unwrap());
        assert_eq!(shown, r#"{"token": "hidden", "Token": "hidden"}"#);
    }

    #[test]
    fn long_strings_do_not_fill_logs() {
        let value = parse(b"d3:keyi7e4:textl2:\r\xffee").unwrap();
        assert_eq!(format!("{value:?}"), r#"{"key": 7, "text": ["\r\xff"]}"#);
        assert_eq!(format!("{:?}", Value::String(vec![b'x'; 65].into())), "<65 octets>");
    }
}
