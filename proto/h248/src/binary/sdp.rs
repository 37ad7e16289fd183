//! Session descriptions as property groups.
//!
//! RFC 3525 §C.11: each line is a property of the pseudo package 0000, its letter the number, what
//! follows `=` the value. §7.1.8: a line `v=` begins a group. Line ends are not carried and come
//! back as CR LF. A line that has no such letter has no number and cannot be said.

use super::ber::{Elements, OCTETS, SEQUENCE, Writer, cons, only, prim};
use super::value::text;
use super::{Reader, Result, unsayable};
use crate::model::{ParameterValue, Selector, SessionDescription, Value};
use std::borrow::Cow;

/// The letters in the order of their numbers, B001 first.
const LETTERS: &[u8; 15] = b"vosiuepcbzkatrm";

/// LocalRemoteDescriptor.
pub(super) fn write(w: &mut Writer, tag: u8, sdp: &SessionDescription) -> Result<()> {
    w.nest(tag, |w| {
        w.nest(cons(0), |w| {
            let mut lines = sdp.lines().peekable();
            while lines.peek().is_some() {
                w.nest(SEQUENCE, |w| {
                    // The first line of a group may be `v=`, the others may not.
                    let mut first = true;
                    while let Some(next) = lines.next_if(|l| first || !l.starts_with(b"v=")) {
                        first = false;
                        line(w, next)?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    })
}

fn line(w: &mut Writer, line: &[u8]) -> Result<()> {
    let unknown = || unsayable(format!("SDP line {}: it has no number", String::from_utf8_lossy(line)));
    let [letter, b'=', value @ ..] = line else { return Err(unknown()) };
    let number = LETTERS.iter().position(|l| l == letter).ok_or_else(unknown)?;
    if value.contains(&b'\r') {
        return Err(unsayable("an SDP line with an end of line in it"));
    }
    let value = std::str::from_utf8(value).map_err(|_| unsayable("an SDP line is not UTF-8"))?;
    w.nest(SEQUENCE, |w| {
        w.element(prim(0), &[0, 0, 0xb0, 1 + number as u8]);
        w.nest(cons(1), |w| {
            w.nest(OCTETS, |w| {
                text(w, value);
                Ok(())
            })
        })
    })
}

/// A line that is audited, as an IndAudPropertyParm: `v=` for any value of it, `v=0` for that one.
pub(super) fn write_selected(w: &mut Writer, selected: &Selector) -> Result<()> {
    let unknown = || unsayable(format!("the selection of SDP {}: it has no binary form", selected.name));
    let letter = LETTERS.iter().position(|l| selected.name.as_str().as_bytes() == [*l]);
    let number = [0, 0, 0xb0, 1 + letter.ok_or_else(unknown)? as u8];
    w.nest(SEQUENCE, |w| {
        w.element(prim(0), &number);
        let Some(value) = &selected.value else { return Ok(()) };
        let value = value.single().ok_or_else(unknown)?.as_str();
        w.nest(cons(1), |w| {
            w.element(prim(0), &number);
            w.nest(cons(1), |w| {
                w.nest(OCTETS, |w| {
                    text(w, value);
                    Ok(())
                })
            })
        })
    })
}

impl<'a> Reader<'a> {
    /// IndAudPropertyGroup after its tag.
    pub(super) fn sdp_selected(&mut self, mut list: Elements<'a>) -> Result<Vec<Selector>, crate::Error> {
        let mut out = Vec::new();
        while let Some(element) = self.next(&mut list)? {
            self.count(out.len(), element.at)?;
            let mut fields = Elements::of(&element);
            let letter = self.letter(&mut fields, element.at)?;
            let value = match self.take(&mut fields, cons(1))? {
                Some(mut property) => {
                    self.letter(&mut property, element.at)?;
                    let octets = self.line_value(&mut property, element.at)?;
                    match String::from_utf8(octets.into_owned()) {
                        Ok(text) => Some(ParameterValue::Equal(Value::Quoted(text.into()))),
                        Err(_) => return self.rule(element.at, 449, "a line of SDP that is not UTF-8"),
                    }
                }
                None => None,
            };
            out.push(Selector { name: char::from(letter).to_string().into(), value, inside: None });
        }
        Ok(out)
    }

    /// The letter of a line, from the name of its property.
    fn letter(&mut self, property: &mut Elements<'a>, at: usize) -> Result<u8, crate::Error> {
        let letter = match self.number4(property, prim(0), "the name of a property")? {
            [0, 0, 0xb0, n] => usize::from(n).checked_sub(1).and_then(|n| LETTERS.get(n)),
            _ => None,
        };
        letter.map_or_else(|| self.rule(at, 445, "a property that is no line of SDP"), |l| Ok(*l))
    }

    /// What follows `=`.
    fn line_value(&mut self, property: &mut Elements<'a>, at: usize) -> Result<Cow<'a, [u8]>, crate::Error> {
        let mut values = self.required(property, cons(1), "a value")?;
        let value = match self.next(&mut values)? {
            Some(value) => self.octets(&value)?,
            // RFC 3525 §A.2: no value is CHOOSE.
            None => return Ok(Cow::Borrowed(b"$")),
        };
        // A peer that leaves the inner encoding out is understood too.
        let inner = match &value {
            Cow::Borrowed(octets) => only(octets).map(|(_, inner)| Cow::Borrowed(inner)),
            Cow::Owned(octets) => only(octets).map(|(_, inner)| Cow::Owned(inner.to_vec())),
        };
        let value = inner.unwrap_or(value);
        if value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return self.rule(at, 449, "a line of SDP with an end of line in it");
        }
        Ok(value)
    }

    /// LocalRemoteDescriptor after its tag.
    pub(super) fn session_description(
        &mut self,
        mut fields: Elements<'a>,
    ) -> Result<SessionDescription, crate::Error> {
        let mut groups = self.required(&mut fields, cons(0), "property groups")?;
        let mut out = std::mem::take(&mut self.lines);
        out.clear();
        out.reserve(256);
        let mut lines = 0;
        while let Some(group) = self.next(&mut groups)? {
            let mut group = Elements::of(&group);
            while let Some(element) = self.next(&mut group)? {
                self.count(lines, element.at)?;
                lines += 1;
                let mut property = Elements::of(&element);
                let letter = self.letter(&mut property, element.at)?;
                let value = self.line_value(&mut property, element.at)?;
                out.extend_from_slice(&[letter, b'=']);
                out.extend_from_slice(&value);
                out.extend_from_slice(b"\r\n");
            }
        }
        let description = SessionDescription::copied(&out);
        self.lines = out;
        Ok(description)
    }
}
