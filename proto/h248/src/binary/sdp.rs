//! Session descriptions as property groups.
//!
//! RFC 3525 §C.11: each line is a property of the pseudo package 0000, its letter the number, what
//! follows `=` the value. §7.1.8: a line `v=` begins a group. Line ends are not carried and come
//! back as CR LF. A line that has no such letter has no number and cannot be said.

use super::ber::{Elements, OCTETS, SEQUENCE, Writer, cons, prim};
use super::value::text;
use super::{Reader, Result, unsayable};
use crate::model::SessionDescription;

/// The letters in the order of their numbers, B001 first.
const LETTERS: &[u8; 15] = b"vosiuepcbzkatrm";

/// LocalRemoteDescriptor.
pub(super) fn write(w: &mut Writer, tag: u8, sdp: &SessionDescription) -> Result<()> {
    let lines: Vec<&[u8]> = sdp.lines().collect();
    w.nest(tag, |w| {
        w.nest(cons(0), |w| {
            let starts = |line: &[u8]| line.starts_with(b"v=");
            let mut rest = lines.as_slice();
            while let Some((first, more)) = rest.split_first() {
                let end = more.iter().position(|l| starts(l)).unwrap_or(more.len());
                let (group, after) = more.split_at(end);
                rest = after;
                w.nest(SEQUENCE, |w| std::iter::once(first).chain(group).try_for_each(|l| line(w, l)))?;
            }
            Ok(())
        })
    })
}

fn line(w: &mut Writer, line: &[u8]) -> Result<()> {
    let unknown = || unsayable(format!("SDP line {}: it has no number", String::from_utf8_lossy(line)));
    let [letter, b'=', value @ ..] = line else { return Err(unknown()) };
    let number = LETTERS.iter().position(|l| l == letter).ok_or_else(unknown)?;
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

impl<'a> Reader<'a> {
    /// LocalRemoteDescriptor after its tag.
    pub(super) fn session_description(
        &mut self,
        mut fields: Elements<'a>,
    ) -> Result<SessionDescription, crate::Error> {
        let mut groups = self.required(&mut fields, cons(0), "property groups")?;
        let mut out = Vec::new();
        let mut lines = 0;
        while let Some(group) = self.next(&mut groups)? {
            let mut group = Elements::of(&group);
            while let Some(element) = self.next(&mut group)? {
                self.count(lines, element.at)?;
                lines += 1;
                let mut property = Elements::of(&element);
                let number = self.number4(&mut property, prim(0), "the name of a property")?;
                let letter = match number {
                    [0, 0, 0xb0, n] => usize::from(n).checked_sub(1).and_then(|n| LETTERS.get(n)),
                    _ => None,
                };
                let Some(letter) = letter else {
                    return self.rule(element.at, 445, "a property that is no line of SDP");
                };
                let mut values = self.required(&mut property, cons(1), "a value")?;
                let value = match self.next(&mut values)? {
                    Some(value) => self.octets(&value)?,
                    // RFC 3525 §A.2: no value is CHOOSE.
                    None => std::borrow::Cow::Borrowed(&b"$"[..]),
                };
                let mut inside = Elements::new(&value, 0);
                let value = match inside.next() {
                    Ok(Some(inner)) if inside.is_empty() => inner.content,
                    _ => &value,
                };
                if value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
                    return self.rule(element.at, 449, "a line of SDP with an end of line in it");
                }
                out.extend_from_slice(&[*letter, b'=']);
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
        }
        Ok(SessionDescription::new(out))
    }
}
