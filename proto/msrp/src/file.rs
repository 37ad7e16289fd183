//! File transfer by offer and answer (RFC 5547): the attributes, resuming, and the check of the hash.
//!
//! A file, or the part of it that `a=file-range` names, is one MSRP message. Only SHA-1 is defined
//! for the hash; it tells whether a file arrived whole, it does not keep an attacker out. The
//! session is sealed for that.

use carnet_wire::{Cursor, ParseError};
use sha1::{Digest, Sha1};
use std::fmt;

/// The SHA-1 of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 20]);

/// `a=file-selector`: which file (RFC 5547 §6). The text is kept as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    name: Option<String>,
    media_type: Option<String>,
    size: Option<u64>,
    hash: Option<Hash>,
}

/// `a=file-range`: octets of the file, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First octet, at least 1.
    pub start: u64,
    /// Last octet; `None` is `*`.
    pub end: Option<u64>,
}

/// Everything a media line says about a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// `a=file-selector`; `None` inside when the attribute is empty, as in a query of abilities.
    pub selector: Option<Selector>,
    /// `a=file-transfer-id`: names this transfer among repetitions of the description.
    pub transfer_id: Option<String>,
    /// `a=file-disposition`: `render` (also when absent) or `attachment`.
    pub disposition: Option<String>,
    /// `a=file-date`, as it came.
    pub date: Option<String>,
    /// `a=file-icon`, as it came.
    pub icon: Option<String>,
    /// `a=file-range`.
    pub range: Option<Range>,
}

impl Selector {
    /// A selector for a file of ours, of what is known about it.
    ///
    /// # Errors
    /// When the media type is not one, or nothing is known.
    pub fn new(
        name: Option<&str>,
        media_type: Option<&str>,
        size: Option<u64>,
        hash: Option<Hash>,
    ) -> Result<Self, ParseError> {
        let parts = [
            name.map(|name| format!("name:\"{}\"", encode(name))),
            media_type.map(|media_type| format!("type:{media_type}")),
            size.map(|size| format!("size:{size}")),
            hash.map(|hash| format!("hash:sha-1:{hash}")),
        ];
        Self::parse(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }

    /// Reads the value of the attribute. Selectors that are not known are passed over, hashes of other
    /// algorithms too (RFC 5547 §6).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut c = Cursor::new(text.as_bytes());
        let mut found = Self { text: text.to_owned(), name: None, media_type: None, size: None, hash: None };
        loop {
            let start = c.position();
            if c.eat_ignore_case(b"name:") {
                c.expect(b'"', "`\"` before the file name")?;
                let name = c.take_until(b'"', "`\"` after the file name")?;
                c.eat(b'"');
                found.name = Some(decode(name).ok_or_else(|| ParseError::new(start, "a file name"))?);
            } else if c.eat_ignore_case(b"size:") {
                found.size = Some(c.decimal(u64::MAX / 2, "a size in octets")?);
            } else if c.eat_ignore_case(b"type:") {
                found.media_type = Some(media_type(&mut c)?);
            } else if c.eat_ignore_case(b"hash:sha-1:") {
                let digits = c.take_while(|b| b != b' ');
                found.hash =
                    Some(Hash::parse(digits).ok_or_else(|| ParseError::new(start + 11, "a SHA-1 hash"))?);
            } else {
                // A selector of an extension; quoted parts may hold spaces.
                loop {
                    c.take_while(|b| b != b' ' && b != b'"');
                    if !c.eat(b'"') {
                        break;
                    }
                    c.take_until(b'"', "the closing quote")?;
                    c.eat(b'"');
                }
                if c.position() == start {
                    return Err(c.error("a selector"));
                }
            }
            if c.is_empty() {
                return Ok(found);
            }
            c.expect(b' ', "a space between selectors")?;
        }
    }

    /// The name of the file, as the peer gave it: never use it as a path, see [`local_name`].
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The media type with its parameters as written.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// The size of the whole file, in octets.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The hash of the whole file.
    pub fn hash(&self) -> Option<Hash> {
        self.hash
    }

    /// Whether a file of ours is the one selected: each selector that is there must fit
    /// (RFC 5547 §8.3.1).
    pub fn selects(&self, name: &str, media_type: &str, size: u64, hash: Option<Hash>) -> bool {
        self.name.as_deref().is_none_or(|n| n == name)
            && self.media_type.as_deref().is_none_or(|t| {
                let t = t.split(';').next().unwrap_or_default();
                t.eq_ignore_ascii_case(media_type)
            })
            && self.size.is_none_or(|s| s == size)
            && self.hash.is_none_or(|h| hash == Some(h))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Hash {
    fn parse(digits: &[u8]) -> Option<Self> {
        let mut hash = [0; 20];
        let mut pairs = digits.split(|b| *b == b':');
        for slot in &mut hash {
            let pair = pairs.next().filter(|p| p.len() == 2)?;
            *slot = *carnet_wire::hex::decode(pair).ok()?.first()?;
        }
        pairs.next().is_none().then_some(Self(hash))
    }
}

impl fmt::Display for Hash {
    /// As RFC 5547 writes it: upper-case pairs with colons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, b) in self.0.iter().enumerate() {
            write!(f, "{}{b:02X}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl Range {
    /// Reads the value of the attribute.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut c = Cursor::new(text.as_bytes());
        let start = c.decimal(u64::MAX / 2, "the first octet")?;
        c.expect(b'-', "`-`")?;
        let end = if c.eat(b'*') { None } else { Some(c.decimal(u64::MAX / 2, "the last octet or `*`")?) };
        if !c.is_empty() {
            return Err(c.error("the end of the range"));
        }
        if start == 0 || end.is_some_and(|end| end < start) {
            return Err(ParseError::new(0, "a range that counts from 1 and does not end before it starts"));
        }
        Ok(Self { start, end })
    }

    /// The rest of a file of which the first `have` octets are there (RFC 5547 §8.6).
    pub fn rest(have: u64, size: Option<u64>) -> Self {
        Self { start: have + 1, end: size }
    }

    /// Number of octets, for a file of `size` when the range is open; `None` when that is not known.
    pub fn len(self, size: Option<u64>) -> Option<u64> {
        Some((self.end.or(size)? + 1).saturating_sub(self.start))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            Some(end) => write!(f, "{}-{end}", self.start),
            None => write!(f, "{}-*", self.start),
        }
    }
}

impl Description {
    /// Collects the attributes of one media line; others are passed over.
    ///
    /// # Errors
    /// The name of the attribute that cannot be read, and where.
    pub fn read<'a>(
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, (&'static str, ParseError)> {
        let mut d = Self::default();
        for (name, value) in attributes {
            match name {
                "file-selector" if value.is_empty() => {}
                "file-selector" => {
                    d.selector = Some(Selector::parse(value).map_err(|e| ("file-selector", e))?);
                }
                "file-transfer-id" => d.transfer_id = Some(value.to_owned()),
                "file-disposition" => d.disposition = Some(value.to_owned()),
                "file-date" => d.date = Some(value.to_owned()),
                "file-icon" => d.icon = Some(value.to_owned()),
                "file-range" => d.range = Some(Range::parse(value).map_err(|e| ("file-range", e))?),
                _ => {}
            }
        }
        Ok(d)
    }

    /// The attributes to write, in the order of RFC 5547's examples.
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let fields = [
            ("file-selector", self.selector.as_ref().map(Selector::to_string)),
            ("file-transfer-id", self.transfer_id.clone()),
            ("file-disposition", self.disposition.clone()),
            ("file-date", self.date.clone()),
            ("file-icon", self.icon.clone()),
            ("file-range", self.range.map(|r| r.to_string())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Whether a later description asks for another transfer. The same identifier is a repetition, as
    /// when a session timer is refreshed, and moves no octet (RFC 5547 §8.1).
    pub fn is_new_after(&self, earlier: &Self) -> bool {
        self.transfer_id.is_none() || self.transfer_id != earlier.transfer_id
    }

    /// The answer to this offer: the same identifier and selector (RFC 5547 §8.1, §8.3), and the range
    /// when one was offered.
    pub fn answer(&self) -> Self {
        Self { date: None, icon: None, ..self.clone() }
    }

    /// Octets that the message has, when that is known.
    pub fn message_size(&self) -> Option<u64> {
        let size = self.selector.as_ref().and_then(Selector::size);
        self.range.unwrap_or(Range { start: 1, end: None }).len(size)
    }
}

/// Checks a file while it arrives.
///
/// Octets in order are hashed as they come. If some come out of order, the verdict is
/// [`Verdict::ReadAgain`] and the file has to be fed from its start to a new one.
#[derive(Debug, Default)]
pub struct Verifier {
    hasher: Sha1,
    next: u64,
    disordered: bool,
}

/// What [`Verifier::finish`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Size and hash are as announced, as far as they were.
    Whole,
    /// The file has another size.
    WrongSize,
    /// The file has another hash.
    WrongHash,
    /// Octets came out of order: hash the stored file.
    ReadAgain,
}

impl Verifier {
    /// Takes octets of the file at `offset` from zero. When a transfer is resumed, feed the part that is
    /// there already first.
    pub fn update(&mut self, offset: u64, data: &[u8]) {
        if offset != self.next {
            self.disordered = true;
        } else if !self.disordered {
            self.hasher.update(data);
        }
        self.next = self.next.max(offset + data.len() as u64);
    }

    /// Compares with what was announced.
    pub fn finish(self, size: Option<u64>, hash: Option<Hash>) -> Verdict {
        if size.is_some_and(|size| size != self.next) {
            return Verdict::WrongSize;
        }
        let Some(expected) = hash else { return Verdict::Whole };
        if self.disordered {
            return Verdict::ReadAgain;
        }
        if Hash(self.hasher.finalize().into()) == expected { Verdict::Whole } else { Verdict::WrongHash }
    }

    /// The hash of what came so far, to announce a file of ours.
    pub fn into_hash(self) -> Hash {
        Hash(self.hasher.finalize().into())
    }
}

/// A name that is safe to create in a directory of ours, made from a name the peer chose
/// (RFC 5547 §6): no directory, no control or reserved character, not hidden, not empty, at most 200
/// octets.
pub fn local_name(name: &str) -> String {
    const MOST: usize = 200;
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean: String = last
        .chars()
        .map(|c| if c.is_control() || "<>:\"|?*%".contains(c) || is_invisible(c) { '_' } else { c })
        .collect();
    clean = clean.trim_matches([' ', '.']).to_owned();
    while clean.len() > MOST {
        // The end of a name says what it is, so the middle goes.
        let (stem, extension) = clean.rsplit_once('.').filter(|(_, e)| e.len() < 16).unwrap_or((&clean, ""));
        let keep = stem.char_indices().map(|(i, _)| i).take_while(|i| *i < MOST - 20).last().unwrap_or(0);
        let stem = stem.get(..keep).unwrap_or_default();
        clean = if extension.is_empty() { stem.to_owned() } else { format!("{stem}.{extension}") };
    }
    if clean.is_empty() { "file".to_owned() } else { clean }
}

/// Characters that change the order of text or take no room, with which a name can look like another.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        // RFC 5547 §6: what the syntax does not allow, and what could be read as a directory.
        if matches!(c, '\0' | '\r' | '\n' | '"' | '%' | '/' | '\\') {
            out.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

fn decode(name: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            out.push(*carnet_wire::hex::decode(tail.get(..2)?).ok()?.first()?);
            rest = tail.get(2..)?;
        } else {
            out.push(*first);
        }
    }
    String::from_utf8(out).ok().filter(|n| !n.is_empty())
}

/// `type/subtype *(";" attribute "=" DQUOTE value DQUOTE)`
fn media_type(c: &mut Cursor<'_>) -> Result<String, ParseError> {
    let start = c.position();
    let is_token = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b);
    for part in ["a media type", "a subtype"] {
        if c.take_while(is_token).is_empty() {
            return Err(c.error(part));
        }
        if part == "a media type" {
            c.expect(b'/', "`/` in the media type")?;
        }
    }
    while c.eat(b';') {
        if c.take_while(is_token).is_empty() {
            return Err(c.error("a parameter of the media type"));
        }
        c.expect(b'=', "`=`")?;
        c.expect(b'"', "`\"`")?;
        c.take_until(b'"', "the closing quote")?;
        c.eat(b'"');
    }
    let text = c.input().get(start..c.position()).unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
