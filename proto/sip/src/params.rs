//! Parameters behind a header value or a URI: `;name`, `;name=value`, `;name="value"`.

use crate::grammar::{find_outside, is_printable, is_token, trim, unquote};
use carnet_wire::ParseError;
use std::borrow::Cow;
use std::fmt;

/// Parameters in order, written as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Params(String);

impl Params {
    /// Parses header parameters: empty text, or text that starts with `;`.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        Self::verify(text)?;
        Ok(Self(text.to_owned()))
    }

    /// Whether [`parse`](Self::parse) would take it.
    pub(crate) fn verify(text: &str) -> Result<(), ParseError> {
        let mut rest = text;
        while !trim(rest).is_empty() {
            let at = text.len() - rest.len();
            let Some(tail) = rest.trim_start_matches([' ', '\t']).strip_prefix(';') else {
                return Err(ParseError::new(at, "`;` before a parameter"));
            };
            let end = find_outside(tail, |b| b == b';')
                .map_err(|e| e.shifted(text.len() - tail.len()))?
                .unwrap_or(tail.len());
            let (parameter, after) = tail.split_at(end);
            check(parameter).map_err(|e| e.shifted(text.len() - tail.len()))?;
            rest = after;
        }
        Ok(())
    }

    /// Names and values in order; quotes are still on.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        each(&self.0)
    }

    /// The first parameter of that name, in any case: `Some("")` if it has no value.
    pub fn get(&self, name: &str) -> Option<&str> {
        find_in(&self.0, name)
    }

    /// As [`get`](Self::get), quotes taken off.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).map(unquote)
    }

    /// Whether a parameter of that name is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Replaces the parameter, or adds it at the end. `None` writes the name alone.
    ///
    /// # Errors
    /// [`Unprintable`](crate::Error::Unprintable) if `name` is not a token or `value` could end
    /// the parameter early.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), crate::Error> {
        let quoted = value.is_some_and(|v| v.len() > 1 && v.starts_with('"') && v.ends_with('"'));
        let separated = |v: &str| v.bytes().any(|b| b";,<>\" \t?".contains(&b));
        if !is_token(name) || value.is_some_and(|v| !is_printable(v.as_bytes()) || (!quoted && separated(v)))
        {
            return Err(crate::Error::Unprintable("a parameter"));
        }
        if quoted && find_outside(value.unwrap_or_default(), |_| true) != Ok(None) {
            return Err(crate::Error::Unprintable("a parameter"));
        }
        let mut out = String::with_capacity(self.0.len() + name.len() + 8);
        let mut write = |n: &str, v: Option<&str>| {
            out.push(';');
            out.push_str(n);
            if let Some(v) = v {
                out.push('=');
                out.push_str(v);
            }
        };
        let mut done = false;
        for (n, v) in self.iter() {
            let hit = n.eq_ignore_ascii_case(name);
            match (hit, done) {
                (true, false) => write(name, value),
                (true, true) => {}
                (false, _) => write(n, v),
            }
            done |= hit;
        }
        if !done {
            write(name, value);
        }
        self.0 = out;
        Ok(())
    }

    /// Removes every parameter of that name.
    pub fn remove(&mut self, name: &str) {
        if !self.has(name) {
            return;
        }
        let mut out = String::with_capacity(self.0.len());
        for (n, v) in self.iter().filter(|(n, _)| !n.eq_ignore_ascii_case(name)) {
            out.push(';');
            out.push_str(n);
            if let Some(v) = v {
                out.push('=');
                out.push_str(v);
            }
        }
        self.0 = out;
    }

    /// As written, with the first `;`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names and values in text that [`Params::parse`] takes.
fn each(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let tail = rest.trim_start_matches([' ', '\t']).strip_prefix(';')?;
        let end = find_outside(tail, |b| b == b';').ok().flatten().unwrap_or(tail.len());
        let (parameter, after) = tail.split_at(end);
        rest = after;
        Some(match parameter.split_once('=') {
            Some((name, value)) => (trim(name), Some(trim(value))),
            None => (trim(parameter), None),
        })
    })
}

/// The first parameter of that name in text that [`Params::parse`] takes.
pub(crate) fn find_in<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    each(text).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.unwrap_or_default())
}

fn check(parameter: &str) -> Result<(), ParseError> {
    let (name, value) = match parameter.split_once('=') {
        Some((name, value)) => (name, Some(trim(value))),
        None => (parameter, None),
    };
    if !is_token(trim(name)) {
        return Err(ParseError::new(0, "a parameter name"));
    }
    // gen-value is a token, a host or a quoted string; URIs are seen too and do no harm.
    let at = name.len() + 1;
    match value {
        Some("") => Err(ParseError::new(at, "a parameter value")),
        Some(v) if !v.starts_with('"') && v.bytes().any(|b| b" \t,<>\"".contains(&b)) => {
            Err(ParseError::new(at, "a parameter value without separators"))
        }
        Some(v) if v.starts_with('"') && !v.get(1..).unwrap_or_default().ends_with('"') => {
            Err(ParseError::new(at, "a quoted string alone"))
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
