//! As much XML as the small documents of instant messaging need (RFC 3994, RFC 5438).
//!
//! Elements with their text, namespaces dropped from names. Document types and external entities are
//! refused rather than skipped: none of these documents has one, and they are how XML is abused.

use carnet_wire::{Cursor, ParseError};

/// How deep elements may nest.
const DEPTH: usize = 8;
/// How many elements a document may have.
const ELEMENTS: usize = 64;

/// An element, its text and its children.
#[derive(Debug, Default)]
pub(crate) struct Element {
    /// Name without prefix.
    pub(crate) name: String,
    /// Text directly inside, entities resolved, without white space around it.
    pub(crate) text: String,
    pub(crate) children: Vec<Self>,
}

impl Element {
    /// Reads a document and returns its root.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, ParseError> {
        let mut c = Cursor::new(document);
        c.eat_ignore_case("\u{feff}".as_bytes());
        let mut left = ELEMENTS;
        skip_misc(&mut c)?;
        let root = element(&mut c, DEPTH, &mut left)?;
        skip_misc(&mut c)?;
        if c.is_empty() { Ok(root) } else { Err(c.error("the end of the document")) }
    }

    /// The first child of this name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|e| e.name == name)
    }

    /// The text of the first child of this name.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|e| e.text.as_str())
    }
}

/// `text` for use between tags or quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn element(c: &mut Cursor<'_>, depth: usize, left: &mut usize) -> Result<Element, ParseError> {
    let start = c.position();
    c.expect(b'<', "`<`")?;
    if depth == 0 || *left == 0 {
        return Err(ParseError::new(start, "fewer elements"));
    }
    *left -= 1;
    let tag = name(c)?;
    let mut e = Element { name: local(tag), ..Element::default() };
    loop {
        space(c);
        if c.eat(b'/') {
            c.expect(b'>', "`>`")?;
            return Ok(e);
        }
        if c.eat(b'>') {
            break;
        }
        name(c)?;
        space(c);
        c.expect(b'=', "`=` after the name of an attribute")?;
        space(c);
        let Some(quote @ (b'"' | b'\'')) = c.peek() else { return Err(c.error("a quoted value")) };
        c.eat(quote);
        c.take_until(quote, "the closing quote")?;
        c.eat(quote);
    }
    let mut text = String::new();
    loop {
        text.push_str(&characters(c)?);
        if c.rest().starts_with(b"</") {
            c.take(2, "`</`")?;
            let at = c.position();
            if name(c)? != tag {
                return Err(ParseError::new(at, "the end of the open element"));
            }
            space(c);
            c.expect(b'>', "`>`")?;
            e.text = text.trim().to_owned();
            return Ok(e);
        }
        if c.rest().starts_with(b"<![CDATA[") {
            c.take(9, "CDATA")?;
            let n = memchr::memmem::find(c.rest(), b"]]>").ok_or_else(|| c.error("`]]>`"))?;
            text.push_str(utf8(c.take(n, "CDATA")?, c.position())?);
            c.take(3, "`]]>`")?;
        } else if !skip_one(c)? {
            e.children.push(element(c, depth - 1, left)?);
        }
    }
}

fn characters(c: &mut Cursor<'_>) -> Result<String, ParseError> {
    let at = c.position();
    let raw = utf8(c.take_until(b'<', "a tag")?, at)?;
    let mut out = String::new();
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (entity, tail) =
            after.split_once(';').ok_or_else(|| ParseError::new(at, "`;` after an entity"))?;
        out.push(entity_value(entity).ok_or_else(|| ParseError::new(at, "a known entity"))?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn entity_value(entity: &str) -> Option<char> {
    Some(match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

/// Skips white space, comments and processing instructions.
fn skip_misc(c: &mut Cursor<'_>) -> Result<(), ParseError> {
    loop {
        space(c);
        if !skip_one(c)? {
            return Ok(());
        }
    }
}

/// Skips one comment or processing instruction, if one comes next.
fn skip_one(c: &mut Cursor<'_>) -> Result<bool, ParseError> {
    let (open, close): (usize, &[u8]) = if c.rest().starts_with(b"<!--") {
        (4, b"-->")
    } else if c.rest().starts_with(b"<?") {
        (2, b"?>")
    } else if c.rest().starts_with(b"<!") {
        return Err(c.error("no document type"));
    } else {
        return Ok(false);
    };
    c.take(open, "markup")?;
    let n = memchr::memmem::find(c.rest(), close)
        .ok_or_else(|| c.error("the end of a comment or instruction"))?;
    c.take(n + close.len(), "markup")?;
    Ok(true)
}

fn name<'a>(c: &mut Cursor<'a>) -> Result<&'a [u8], ParseError> {
    let name =
        c.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':') || b >= 0x80);
    if name.is_empty() { Err(c.error("a name")) } else { Ok(name) }
}

fn local(tag: &[u8]) -> String {
    let tag = String::from_utf8_lossy(tag);
    tag.rsplit(':').next().unwrap_or_default().to_owned()
}

fn space(c: &mut Cursor<'_>) {
    c.take_while(|b| b.is_ascii_whitespace());
}

fn utf8(octets: &[u8], at: usize) -> Result<&str, ParseError> {
    std::str::from_utf8(octets).map_err(|e| ParseError::new(at + e.valid_up_to(), "UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_is_needed() {
        let e = Element::parse(
            b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<x:a xmlns:x=\"urn:x\"><x:b>1 &lt; &#50;</x:b><c/>t<![CDATA[<&]]></x:a>\n",
        )
        .unwrap();
        assert_eq!((e.name.as_str(), e.text.as_str()), ("a", "t<&"));
        assert_eq!(e.text_of("b"), Some("1 < 2"));
        assert!(e.child("c").is_some() && e.child("d").is_none());
        assert_eq!(escape("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }

    #[test]
    fn refuses_what_is_dangerous() {
        let deep = "<a>".repeat(9) + &"</a>".repeat(9);
        let wide = format!("<a>{}</a>", "<b/>".repeat(64));
        for bad in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a b></a>",
            "<a>&nope;</a>",
            "<a/><b/>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            deep.as_str(),
            wide.as_str(),
        ] {
            assert!(Element::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn total(document in "[<>/&;a-c=\"' !?\\-\\[\\]x#0-9]{0,60}") {
            let _ = Element::parse(document.as_bytes());
        }
    }
}
