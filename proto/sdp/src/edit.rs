//! Edits. Each touches the lines it names and no others; a refused edit changes nothing.

use crate::document::Section;
use crate::line::{Connection, Ending, Line, MediaLine, net_address};
use crate::{Document, Error};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};

/// Values that would end the line early would let their author write lines of his own.
fn writable(octets: &[u8], what: &'static str) -> Result<(), Error> {
    match octets.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        true => Err(Error::Unwritable(what)),
        false => Ok(()),
    }
}

/// RFC 8866 §9 `token`, for attribute names.
pub(crate) fn token(text: &str, what: &'static str) -> Result<(), Error> {
    let fits = |b: u8| {
        b.is_ascii_graphic() && !matches!(b, b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'['..=b']')
    };
    if !text.is_empty() && text.bytes().all(fits) { Ok(()) } else { Err(Error::Unwritable(what)) }
}

/// The text of an `a=` line.
pub(crate) fn attribute_text(name: &str, value: Option<&[u8]>) -> Result<Bytes, Error> {
    token(name, "an attribute name")?;
    let mut text = format!("a={name}").into_bytes();
    if let Some(value) = value {
        writable(value, "an attribute value")?;
        text.push(b':');
        text.extend_from_slice(value);
    }
    Ok(text.into())
}

/// Inserts `text` at `index` with the line end that is used around it.
fn insert(lines: &mut Vec<Line>, index: usize, text: Bytes) {
    let index = index.min(lines.len());
    let before = index.checked_sub(1).and_then(|i| lines.get_mut(i));
    let ending = match before {
        // The line before was the last and had no end: it needs one now, and the new line is
        // the last in its stead.
        Some(last) if last.ending == Ending::None => {
            last.ending = Ending::CrLf;
            Ending::None
        }
        Some(line) => line.ending,
        None => Ending::CrLf,
    };
    lines.insert(index, Line { text, ending });
}

/// One past the last line that is not blank.
fn end_of(lines: &[Line]) -> usize {
    lines.iter().rposition(|l| l.kind() != 0).map_or(0, |i| i + 1)
}

fn is_named(line: &Line, name: &str) -> bool {
    line.kind() == b'a' && crate::Attribute::parse(line.value()).name == name.as_bytes()
}

fn set_attribute(lines: &mut Vec<Line>, name: &str, value: Option<&[u8]>) -> Result<(), Error> {
    let text = attribute_text(name, value)?;
    match lines.iter_mut().find(|l| is_named(l, name)) {
        Some(line) => line.text = text,
        None => insert(lines, end_of(lines), text),
    }
    Ok(())
}

fn remove_attribute(lines: &mut Vec<Line>, name: &str) -> usize {
    let before = lines.len();
    let cut = lines.last().is_some_and(|l| l.ending == Ending::None);
    lines.retain(|l| !is_named(l, name));
    if let Some(last) = lines.last_mut().filter(|_| cut) {
        last.ending = Ending::None;
    }
    before - lines.len()
}

/// RFC 8866 §5: `c=` comes after `m=` and `i=` in a media section.
fn set_section_connection(section: &mut Section, ip: IpAddr) {
    let text = Bytes::from(format!("c={}", net_address(ip)));
    match section.lines.iter_mut().find(|l| l.kind() == b'c') {
        Some(line) => line.text = text,
        None => {
            let titled = section.lines.get(1).is_some_and(|l| l.kind() == b'i');
            insert(&mut section.lines, if titled { 2 } else { 1 }, text);
        }
    }
}

impl Document {
    fn section_mut(&mut self, index: usize) -> Result<&mut Section, Error> {
        self.media.get_mut(index).ok_or(Error::NoSuchMedia(index))
    }

    /// Gives the media line a port; the rest of the `m=` line stays as it was.
    pub fn set_port(&mut self, index: usize, port: u16) -> Result<(), Error> {
        let at = self.section_mut(index)?.fields.port_at;
        self.set_field(index, at, port.to_string().as_bytes())
    }

    /// Gives the media line another transport; the rest of the `m=` line stays as it was.
    pub fn set_proto(&mut self, index: usize, proto: &str) -> Result<(), Error> {
        if proto.is_empty() || !proto.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Unwritable("a transport"));
        }
        let at = self.section_mut(index)?.fields.proto_at;
        self.set_field(index, at, proto.as_bytes())
    }

    /// Writes over one field of an `m=` line.
    fn set_field(&mut self, index: usize, (start, end): (usize, usize), value: &[u8]) -> Result<(), Error> {
        let section = self.section_mut(index)?;
        let Some(line) = section.lines.first_mut() else { return Err(Error::NoSuchMedia(index)) };
        let (head, tail) = (line.text.get(..start + 2), line.text.get(end + 2..));
        let mut text = head.unwrap_or_default().to_vec();
        text.extend_from_slice(value);
        text.extend_from_slice(tail.unwrap_or_default());
        section.fields = MediaLine::parse(text.get(2..).unwrap_or_default())?;
        line.text = text.into();
        Ok(())
    }

    /// Gives the media line a `c=` of its own.
    pub fn set_connection(&mut self, index: usize, ip: IpAddr) -> Result<(), Error> {
        set_section_connection(self.section_mut(index)?, ip);
        Ok(())
    }

    /// Moves several media lines to new addresses, with as few changed lines as will do.
    ///
    /// Lines with a `c=` of their own keep it, edited. The session's `c=` is edited if every
    /// line in use that inherits it moves; otherwise the moving lines get a `c=` of their own.
    /// So no address of the sender stays behind when all of its lines move.
    pub fn relocate(&mut self, moves: &[(usize, SocketAddr)]) -> Result<(), Error> {
        if let Some((index, _)) = moves.iter().find(|(i, _)| *i >= self.media.len()) {
            return Err(Error::NoSuchMedia(*index));
        }
        let target = |index: usize| moves.iter().find(|(i, _)| *i == index).map(|(_, a)| *a);
        let inherits = |s: &Section| !s.lines.iter().any(|l| l.kind() == b'c');
        let all_move = self
            .media
            .iter()
            .enumerate()
            .filter(|(_, s)| inherits(s) && s.fields.port != Some(0))
            .all(|(i, _)| target(i).is_some());
        let shared = self
            .media
            .iter()
            .enumerate()
            .filter(|(_, s)| inherits(s))
            .find_map(|(i, _)| target(i))
            .or_else(|| moves.first().map(|(_, a)| *a));
        let session = self.session.iter_mut().find(|l| l.kind() == b'c');
        let session_ip = match (session, shared) {
            (Some(line), Some(address)) if all_move => {
                if Connection::parse(line.value()).and_then(|c| c.host.ip()) != Some(address.ip()) {
                    line.text = format!("c={}", net_address(address.ip())).into();
                }
                Some(address.ip())
            }
            (line, _) => line.and_then(|l| Connection::parse(l.value())).and_then(|c| c.host.ip()),
        };
        for (index, address) in moves {
            let section = self.section_mut(*index)?;
            if !inherits(section) || session_ip != Some(address.ip()) {
                set_section_connection(section, address.ip());
            }
            self.set_port(*index, address.port())?;
        }
        Ok(())
    }

    /// The same with these media lines only, in their order. The rest of `indexes` is overlooked.
    #[must_use]
    pub fn only(&self, indexes: &[usize]) -> Self {
        let mut part = self.clone();
        let mut index = 0;
        part.media.retain(|_| {
            index += 1;
            indexes.contains(&(index - 1))
        });
        part
    }

    /// Replaces a media section by one of another description, with the address that holds for it there.
    pub fn take_media(&mut self, index: usize, from: &Self, at: usize) -> Result<(), Error> {
        let mut section = from.media.get(at).cloned().ok_or(Error::NoSuchMedia(at))?;
        let own = section.lines.iter().any(|l| l.kind() == b'c');
        if let Some(ip) = from.connection().and_then(|c| c.host.ip()).filter(|_| !own) {
            set_section_connection(&mut section, ip);
        }
        // Blank lines are only let pass at the very end.
        section.lines.retain(|l| l.kind() != 0);
        for line in section.lines.iter_mut().filter(|l| l.ending == Ending::None) {
            line.ending = Ending::CrLf;
        }
        *self.section_mut(index)? = section;
        Ok(())
    }

    /// Replaces the address of `o=`, and no other field of it. No `o=`, no change.
    pub fn set_origin_address(&mut self, ip: IpAddr) {
        let Some(origin) = self.origin() else { return };
        let text =
            format!("o={} {} {} {}", origin.username, origin.session_id, origin.version, net_address(ip));
        if let Some(line) = self.session.iter_mut().find(|l| l.kind() == b'o') {
            line.text = text.into();
        }
    }

    /// Replaces the user name in `o=`, and no other field of it. No `o=`, no change; nor by what is no field.
    pub fn set_origin_username(&mut self, name: &str) {
        if !name.is_empty() && name.bytes().all(|b| b > b' ' && b != 0x7f) {
            self.set_origin(|origin| {
                let (id, version) = (origin.session_id, origin.version);
                format!("o={name} {id} {version} {} {} {}", origin.nettype, origin.addrtype, origin.host)
            });
        }
    }

    /// Replaces the session version in `o=`, and no other field of it. No `o=`, no change.
    pub fn set_origin_version(&mut self, version: u64) {
        self.set_origin(|origin| {
            let (name, id) = (origin.username, origin.session_id);
            format!("o={name} {id} {version} {} {} {}", origin.nettype, origin.addrtype, origin.host)
        });
    }

    fn set_origin(&mut self, text: impl FnOnce(&crate::Origin<'_>) -> String) {
        let Some(text) = self.origin().map(|origin| text(&origin)) else { return };
        if let Some(line) = self.session.iter_mut().find(|l| l.kind() == b'o') {
            line.text = text.into();
        }
    }

    /// Replaces `s=`. No `s=`, no change; nor by what is no line.
    pub fn set_session_name(&mut self, name: &[u8]) {
        if name.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return;
        }
        if let Some(line) = self.session.iter_mut().find(|l| l.kind() == b's') {
            line.text = [b"s=", name].concat().into();
        }
    }

    /// Adds one to the version of `o=` (RFC 3264 §8). A version that is no 64-bit number stays.
    pub fn increment_version(&mut self) {
        let Some(origin) = self.origin() else { return };
        let Some(version) = origin.version.parse::<u64>().ok().and_then(|v| v.checked_add(1)) else { return };
        let text = format!(
            "o={} {} {version} {} {} {}",
            origin.username, origin.session_id, origin.nettype, origin.addrtype, origin.host
        );
        if let Some(line) = self.session.iter_mut().find(|l| l.kind() == b'o') {
            line.text = text.into();
        }
    }

    /// Replaces the first attribute of that name in a media section, or adds it at the end.
    pub fn set_attribute(&mut self, index: usize, name: &str, value: Option<&[u8]>) -> Result<(), Error> {
        set_attribute(&mut self.section_mut(index)?.lines, name, value)
    }

    /// Adds an attribute at the end of a media section.
    pub fn insert_attribute(&mut self, index: usize, name: &str, value: Option<&[u8]>) -> Result<(), Error> {
        let text = attribute_text(name, value)?;
        let lines = &mut self.section_mut(index)?.lines;
        insert(lines, end_of(lines), text);
        Ok(())
    }

    /// Removes all attributes of that name from a media section; says how many there were.
    pub fn remove_attribute(&mut self, index: usize, name: &str) -> Result<usize, Error> {
        Ok(remove_attribute(&mut self.section_mut(index)?.lines, name))
    }

    /// Replaces the first attribute of that name in the session section, or adds it at the end.
    pub fn set_session_attribute(&mut self, name: &str, value: Option<&[u8]>) -> Result<(), Error> {
        set_attribute(&mut self.session, name, value)
    }

    /// Removes all attributes of that name from the session section; says how many there were.
    pub fn remove_session_attribute(&mut self, name: &str) -> usize {
        remove_attribute(&mut self.session, name)
    }
}
