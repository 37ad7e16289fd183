//! Records for a file, as lines of fields: what one process writes down so that the next one can take it up.
//!
//! A line is a word and fields behind it, each after a tab. Octets that would break a line are escaped, an absent
//! value is `\0`. The first line says what the record is and in which form, the last is `end`: a record that was
//! cut off is no record.
//!
//! Left out: numbers in other forms than decimal, nesting, any meaning.

use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

/// How an absent value is written.
const ABSENT: &str = "\\0";

/// The last line.
const LAST: &str = "end";

/// Writes a record.
#[derive(Debug)]
pub struct LineWriter {
    text: String,
}

impl LineWriter {
    /// A record whose first line is this.
    pub fn new(first: &str) -> Self {
        Self { text: format!("{first}\n") }
    }

    /// Begins a line.
    pub fn line(&mut self, word: &str) -> LineFields<'_> {
        self.text.push_str(word);
        LineFields(&mut self.text)
    }

    /// The record.
    pub fn finish(mut self) -> String {
        self.text.push_str(LAST);
        self.text.push('\n');
        self.text
    }
}

/// The fields of a line that is being written; it ends when this is dropped.
#[derive(Debug)]
pub struct LineFields<'a>(&'a mut String);

impl LineFields<'_> {
    /// A value.
    #[must_use = "dropping it ends the line"]
    pub fn field(self, value: impl Display) -> Self {
        self.0.push('\t');
        // Writing to a String cannot fail.
        let _ = write!(Escaping(self.0), "{value}");
        self
    }

    /// A value that may be absent.
    #[must_use = "dropping it ends the line"]
    pub fn option(self, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.field(value),
            None => {
                self.0.push('\t');
                self.0.push_str(ABSENT);
                self
            }
        }
    }

    /// Yes or no.
    #[must_use = "dropping it ends the line"]
    pub fn flag(self, value: bool) -> Self {
        self.field(u8::from(value))
    }

    /// Several values, as far as the line goes.
    #[must_use = "dropping it ends the line"]
    pub fn all(self, values: impl IntoIterator<Item = impl Display>) -> Self {
        values.into_iter().fold(self, LineFields::field)
    }

    /// Ends the line.
    pub fn end(self) {}
}

impl Drop for LineFields<'_> {
    fn drop(&mut self) {
        self.0.push('\n');
    }
}

struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '\t' => self.0.push_str("\\t"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// A text is no such record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(
    /// What is wrong with it.
    pub String,
);

impl Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

/// Reads a record.
#[derive(Debug, Clone)]
pub struct LineReader<'a> {
    rest: &'a str,
}

impl<'a> LineReader<'a> {
    /// A record whose first line is to be this.
    ///
    /// # Errors
    /// It begins otherwise, or does not end as a record does.
    pub fn new(text: &'a str, first: &str) -> Result<Self, Unreadable> {
        let rest = text.strip_prefix(first).and_then(|rest| rest.strip_prefix('\n'));
        let rest = rest.ok_or_else(|| Unreadable(format!("it does not begin with `{first}`")))?;
        let whole = rest.strip_suffix("end\n").filter(|rest| rest.is_empty() || rest.ends_with('\n'));
        Ok(Self { rest: whole.ok_or_else(|| Unreadable("it is cut off".into()))? })
    }

    /// The word that the next line begins with.
    pub fn peek(&self) -> Option<&'a str> {
        self.rest.lines().next().map(|line| line.split('\t').next().unwrap_or_default())
    }

    /// The next line, which is to begin with this word.
    ///
    /// # Errors
    /// There is none, or it begins otherwise.
    pub fn line(&mut self, word: &str) -> Result<Fields<'a>, Unreadable> {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        let fields = line.strip_prefix(word).filter(|fields| fields.is_empty() || fields.starts_with('\t'));
        let fields = fields.ok_or_else(|| Unreadable(format!("`{word}` is missing")))?;
        self.rest = rest;
        let fields = fields.strip_prefix('\t').map(|fields| fields.split('\t'));
        Ok(Fields { word: word.to_owned(), fields })
    }

    /// The next line, if it begins with this word.
    pub fn optional(&mut self, word: &str) -> Option<Fields<'a>> {
        self.line(word).ok()
    }
}

/// The fields of a line, in order.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    word: String,
    fields: Option<std::str::Split<'a, char>>,
}

impl Fields<'_> {
    fn wrong(&self) -> Unreadable {
        Unreadable(format!("a field of `{}` is missing or wrong", self.word))
    }

    fn next(&mut self) -> Option<Result<Option<String>, Unreadable>> {
        let field = self.fields.as_mut()?.next()?;
        if field == ABSENT {
            return Some(Ok(None));
        }
        Some(plain(field).map(Some).ok_or_else(|| self.wrong()))
    }

    /// A value that may be absent.
    ///
    /// # Errors
    /// There is no field, or it is no such value.
    pub fn option<T: FromStr>(&mut self) -> Result<Option<T>, Unreadable> {
        let text = self.next().ok_or_else(|| self.wrong())??;
        text.map(|text| text.parse().map_err(|_| self.wrong())).transpose()
    }

    /// A value.
    ///
    /// # Errors
    /// There is no field, or it is no such value.
    pub fn field<T: FromStr>(&mut self) -> Result<T, Unreadable> {
        self.option()?.ok_or_else(|| self.wrong())
    }

    /// Yes or no.
    ///
    /// # Errors
    /// There is no field, or it is neither.
    pub fn flag(&mut self) -> Result<bool, Unreadable> {
        match self.field::<u8>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong()),
        }
    }

    /// All values that are left.
    ///
    /// # Errors
    /// One of them is no such value.
    pub fn all<T: FromStr>(&mut self) -> Result<Vec<T>, Unreadable> {
        let mut all = Vec::new();
        while let Some(field) = self.next() {
            let text = field?.ok_or_else(|| self.wrong())?;
            all.push(text.parse().map_err(|_| self.wrong())?);
        }
        Ok(all)
    }
}

fn plain(field: &str) -> Option<String> {
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                '\\' => '\\',
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            c => c,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let odd = "a\tb\\c\r\nd\\0 é";
        let mut writer = LineWriter::new("thing 1");
        writer.line("one").field(odd).option(None::<u8>).option(Some(7)).flag(true).end();
        writer.line("two").end();
        writer.line("three").all(["", "x"]).end();
        let text = writer.finish();
        assert_eq!(text.lines().count(), 5);
        let mut reader = LineReader::new(&text, "thing 1").unwrap();
        assert_eq!(reader.peek(), Some("one"));
        let mut one = reader.line("one").unwrap();
        assert_eq!(one.field::<String>().unwrap(), odd);
        assert_eq!((one.option::<u8>().unwrap(), one.option::<u8>().unwrap()), (None, Some(7)));
        assert!(one.flag().unwrap());
        assert!(one.field::<String>().is_err(), "there are no more");
        assert!(reader.optional("three").is_none());
        assert!(reader.line("two").unwrap().all::<String>().unwrap().is_empty());
        assert_eq!(reader.line("three").unwrap().all::<String>().unwrap(), ["", "x"]);
        assert!(reader.line("four").is_err() && reader.peek().is_none());
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut writer = LineWriter::new("thing 1");
        writer.line("one").field("x\ty").field(300).end();
        let text = writer.finish();
        for cut in 0..text.len() {
            assert!(LineReader::new(&text[..cut], "thing 1").is_err(), "{cut}");
        }
        assert!(LineReader::new(&text, "thing 2").is_err());
        let mut fields = LineReader::new(&text, "thing 1").unwrap().line("one").unwrap();
        assert!(fields.field::<u8>().is_err() && fields.field::<u8>().is_err());
        let bad = "thing 1\none\ta\\qb\t\\0\nend\n";
        let mut fields = LineReader::new(bad, "thing 1").unwrap().line("one").unwrap();
        assert!(fields.field::<String>().is_err() && fields.field::<String>().is_err());
    }
}
