//! Changes to a message. Each touches its own line only, and none can write CR, LF or NUL.

use super::name::Known;
use super::{Line, Lines, Message, Start};
use crate::error::{Error, reason_phrase};
use crate::grammar::{find_outside, is_lws, is_printable, is_token};
use crate::uri::Uri;
use bytes::Bytes;
use carnet_wire::Span;

fn header_value(value: &str) -> Result<&str, Error> {
    let value = value.trim_matches([' ', '\t']);
    if is_printable(value.as_bytes()) { Ok(value) } else { Err(Error::Unprintable("a header value")) }
}

fn line(name: &str, value: &[u8]) -> Line {
    known_line(Known::of(name.as_bytes()), name, value)
}

fn known_line(known: Known, name: &str, value: &[u8]) -> Line {
    let mut own = Vec::with_capacity(name.len() + value.len() + 4);
    own.extend_from_slice(name.as_bytes());
    own.extend_from_slice(b": ");
    own.extend_from_slice(value);
    own.extend_from_slice(b"\r\n");
    let value_at = name.len() + 2;
    Line {
        whole: Span::new(0, own.len()),
        name: Span::new(0, name.len()),
        known,
        value: Span::new(value_at, value_at + value.len()),
        own: Some(own.into()),
    }
}

impl Message {
    /// Replaces the Request-URI.
    ///
    /// # Errors
    /// [`Error::State`] if this is a response.
    pub fn set_request_uri(&mut self, uri: Uri) -> Result<(), Error> {
        let Start::Request { uri: old } = &mut self.start else {
            return Err(Error::State("a response has no Request-URI"));
        };
        self.start_line = Some(format!("{} {uri} SIP/2.0\r\n", self.method).into());
        *old = Some(uri);
        self.edited = true;
        Ok(())
    }

    /// Replaces the status, and the reason phrase by the usual one.
    ///
    /// # Errors
    /// [`Error::State`] if this is a request; [`Error::Unprintable`] if the status is not 100 to 699.
    pub fn set_status(&mut self, status: u16) -> Result<(), Error> {
        if !(100..700).contains(&status) {
            return Err(Error::Unprintable("the status code"));
        }
        let Start::Response { status: old, reason } = &mut self.start else {
            return Err(Error::State("a request has no status"));
        };
        let phrase = reason_phrase(status);
        self.start_line = Some(format!("SIP/2.0 {status} {phrase}\r\n").into());
        (*old, *reason) = (status, Span::new(12, 12 + phrase.len()));
        self.edited = true;
        Ok(())
    }

    fn position(&self, name: &str) -> Option<usize> {
        let known = Known::of(name.as_bytes());
        self.lines.iter().position(|l| self.is(l, known, name))
    }

    /// Where a line at the end goes: Content-Length stays the last, where people look for it.
    fn end(&self) -> usize {
        let length = Known::of(b"Content-Length");
        let last = self.lines.last().is_some_and(|l| l.known == length);
        self.lines.len() - usize::from(last)
    }

    fn checked_line(name: &str, value: &str) -> Result<Line, Error> {
        if !is_token(name) {
            return Err(Error::Unprintable("a header name"));
        }
        Ok(line(name, header_value(value)?.as_bytes()))
    }

    /// The line at `at` with another value; the name and the space before the value stay as
    /// they are written.
    fn with_value(&self, at: usize, value: &[u8]) -> Option<Line> {
        let old = self.lines.get(at)?;
        let octets = self.line_octets(old);
        let lead = Span { start: old.whole.start, end: old.value.start }.of(octets);
        // A fold before the value goes with the value.
        let lead = if lead.contains(&b'\n') { return Some(line(self.name_of(old), value)) } else { lead };
        let name_len = old.name.len();
        let own = [lead, value, b"\r\n"].concat();
        Some(Line {
            whole: Span::new(0, own.len()),
            name: Span::new(0, name_len),
            known: old.known,
            value: Span::new(lead.len(), lead.len() + value.len()),
            own: Some(own.into()),
        })
    }

    /// Sets a header to one line with this value. The first line of that name keeps its place
    /// and spelling, further ones are removed; without one a line is added at the end.
    ///
    /// # Errors
    /// [`Error::Unprintable`] if the name is not a token or the value holds CR, LF or NUL.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match self.position(name) {
            None => self.lines.insert(self.end(), Self::checked_line(name, value)?),
            Some(at) => {
                let kept = self.with_value(at, header_value(value)?.as_bytes());
                self.remove_lines(name, at + 1);
                if let (Some(kept), Some(slot)) = (kept, self.lines.get_mut(at)) {
                    *slot = kept;
                }
            }
        }
        self.edited = true;
        Ok(())
    }

    /// Adds a line before the first of that name, or before all lines if there is none.
    ///
    /// # Errors
    /// [`Error::Unprintable`] if the name is not a token or the value holds CR, LF or NUL.
    pub fn push_front(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let fresh = Self::checked_line(name, value)?;
        self.lines.insert(self.position(name).unwrap_or(0), fresh);
        self.edited = true;
        Ok(())
    }

    /// Adds a line behind the last of that name, or behind all lines if there is none.
    ///
    /// # Errors
    /// [`Error::Unprintable`] if the name is not a token or the value holds CR, LF or NUL.
    pub fn push_back(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let fresh = Self::checked_line(name, value)?;
        let last = self.lines.iter().rposition(|l| self.is(l, fresh.known, name));
        self.lines.insert(last.map_or(self.end(), |at| at + 1), fresh);
        self.edited = true;
        Ok(())
    }

    /// Removes the first value of a list header and returns it. The line goes when it was the
    /// only value there; else the other values stay as they are written.
    pub fn remove_first(&mut self, name: &str) -> Option<String> {
        let at = self.position(name)?;
        let value = self.value_of(self.lines.get(at)?).to_vec();
        let text = String::from_utf8_lossy(&value);
        let comma = find_outside(&text, |b| b == b',').ok().flatten();
        // Where the text is not UTF-8 offsets could differ: the whole line is the value then.
        let comma = comma.filter(|_| text.len() == value.len());
        let first = value.get(..comma.unwrap_or(value.len())).unwrap_or_default();
        let removed = String::from_utf8_lossy(&crate::grammar::unfold(first)).trim().to_owned();
        match comma {
            None => {
                self.lines.remove(at);
            }
            Some(comma) => {
                let rest = value.get(comma + 1..).unwrap_or_default();
                let lead = rest.iter().position(|b| !is_lws(*b)).unwrap_or(rest.len());
                let kept = self.with_value(at, rest.get(lead..).unwrap_or_default())?;
                *self.lines.get_mut(at)? = kept;
            }
        }
        self.edited = true;
        Some(removed)
    }

    /// Replaces the first value of a list header; the values behind it stay as written.
    ///
    /// # Errors
    /// [`Error::Unprintable`] if the name is not a token or the value holds CR, LF or NUL.
    pub fn set_first(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let Some(at) = self.position(name) else { return self.push_front(name, value) };
        let old = self.lines.get(at).map(|l| self.value_of(l).to_vec()).unwrap_or_default();
        let text = String::from_utf8_lossy(&old);
        let comma = find_outside(&text, |b| b == b',').ok().flatten().filter(|_| text.len() == old.len());
        let rest = comma.and_then(|c| old.get(c..)).unwrap_or_default();
        let joined = [header_value(value)?.as_bytes(), rest].concat();
        if let (Some(kept), Some(slot)) = (self.with_value(at, &joined), self.lines.get_mut(at)) {
            *slot = kept;
        }
        self.edited = true;
        Ok(())
    }

    /// Removes all lines of that name; returns how many there were.
    pub fn remove_all(&mut self, name: &str) -> usize {
        self.remove_lines(name, 0)
    }

    fn remove_lines(&mut self, name: &str, from: usize) -> usize {
        let before = self.lines.len();
        let mut lines = std::mem::take(&mut self.lines);
        let known = Known::of(name.as_bytes());
        let mut at = 0;
        lines.retain(|l| {
            at += 1;
            at <= from || !self.is(l, known, name)
        });
        self.lines = lines;
        let removed = before - self.lines.len();
        self.edited |= removed > 0;
        removed
    }

    /// Replaces the body and sets Content-Length and Content-Type to fit; `None` for the type
    /// removes it.
    ///
    /// # Errors
    /// [`Error::Unprintable`] if the type holds CR, LF or NUL.
    pub fn set_body(&mut self, body: impl Into<Bytes>, content_type: Option<&str>) -> Result<(), Error> {
        match content_type {
            Some(t) => self.set_header("Content-Type", t)?,
            None => {
                self.remove_all("Content-Type");
            }
        }
        self.body = body.into();
        self.edited = true;
        self.set_header("Content-Length", &self.body.len().to_string())
    }

    /// Adds Content-Length if it is not there. On a stream it is how the message ends (§18.3).
    pub fn ensure_content_length(&mut self) {
        if !self.has("Content-Length") {
            let length = line("Content-Length", self.body.len().to_string().as_bytes());
            self.lines.push(length);
            self.edited = true;
        }
    }

    /// Copies all lines of that name from `other`, as written there, behind those already here.
    pub fn copy_lines(&mut self, name: &str, other: &Self) {
        for theirs in other.lines_named(name) {
            let at = self.end();
            let copy = known_line(theirs.known, other.name_of(theirs), other.value_of(theirs));
            self.lines.insert(at, copy);
            self.edited = true;
        }
    }

    /// Replaces all lines of that name by those of `other`, in the place of the first.
    pub fn replace_lines(&mut self, name: &str, other: &Self) {
        self.put_lines(name, &other.extract(name));
    }

    /// Copies of all lines of that name that do not keep the message's buffer.
    pub(crate) fn extract(&self, name: &str) -> Lines {
        let copy = |l: &Line| known_line(l.known, self.name_of(l), self.value_of(l));
        Lines(self.lines_named(name).map(copy).collect())
    }

    /// Replaces all lines of that name, in the place of the first.
    pub(crate) fn put_lines(&mut self, name: &str, lines: &Lines) {
        let at = self.position(name).unwrap_or(0);
        self.remove_all(name);
        self.lines.splice(at..at, lines.0.iter().cloned());
        self.edited |= !lines.0.is_empty();
    }
}
