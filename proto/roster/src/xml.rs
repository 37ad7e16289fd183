//! Elements with namespaces resolved: a bounded tree read through `quick-xml`, and its printing.
//!
//! Reads XML 1.0 in UTF-8. Document types are refused, and with them every entity but the five
//! that XML itself has. Comments and processing instructions are passed over.

use crate::NAMESPACE;
use crate::error::Error;
use carnet_wire::ParseError;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;
use std::sync::Arc;

/// Bounds on a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets. 1 MiB.
    pub octets: usize,
    /// Elements in elements. 16.
    pub depth: usize,
    /// Elements, and again as many attributes. 100,000.
    pub elements: usize,
    /// Users in a roster, in one document or put together from several. 10,000.
    pub users: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { octets: 1 << 20, depth: 16, elements: 100_000, users: 10_000 }
    }
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its namespace, empty for attributes without a prefix.
    pub namespace: Arc<str>,
    /// Its local name.
    pub name: String,
    /// Its value, references resolved.
    pub value: String,
}

/// What stands in an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Another element.
    Element(Element),
    /// Text, references resolved.
    Text(String),
}

/// An element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its namespace, empty for none.
    pub namespace: Arc<str>,
    /// Its local name.
    pub name: String,
    /// Its attributes, declarations of namespaces not included.
    pub attributes: Vec<Attribute>,
    /// What stands in it. White space between elements is left out.
    pub children: Vec<Node>,
}

impl Attribute {
    /// Whether it has this name.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && *self.namespace == *namespace
    }
}

impl Element {
    /// An empty element.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.to_owned(),
            attributes: Vec::new(),
            children: Vec::new(),
        }
    }

    /// Whether it has this name.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && *self.namespace == *namespace
    }

    /// The value of an attribute.
    pub fn attribute(&self, namespace: &str, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.is(namespace, name)).map(|a| a.value.as_str())
    }

    /// Sets an attribute.
    pub fn set_attribute(&mut self, namespace: &str, name: &str, value: &str) {
        match self.attributes.iter_mut().find(|a| a.is(namespace, name)) {
            Some(attribute) => value.clone_into(&mut attribute.value),
            None => self.attributes.push(Attribute {
                namespace: namespace.into(),
                name: name.to_owned(),
                value: value.to_owned(),
            }),
        }
    }

    /// The elements in it.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Its text, that of the elements in it left out, white space around it removed.
    pub fn text(&self) -> String {
        let texts = self.children.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        texts.collect::<String>().trim().to_owned()
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`Error::Syntax`], [`Error::TooLarge`].
    pub fn parse(octets: &[u8], limits: &Limits) -> Result<Self, Error> {
        if octets.len() > limits.octets {
            return Err(Error::TooLarge("octets"));
        }
        let text = std::str::from_utf8(octets).map_err(|e| syntax(e.valid_up_to(), "UTF-8"))?;
        let shift = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let body = text.get(shift..).unwrap_or_default();
        Reading::new(body, limits).run().map_err(|error| match error {
            Error::Syntax(at) => Error::Syntax(at.shifted(shift)),
            other => other,
        })
    }
}

fn syntax(at: usize, expected: &'static str) -> Error {
    Error::Syntax(ParseError::new(at, expected))
}

/// Whether XML 1.0 §2.2 lets a character stand in a document.
fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// One document being read.
struct Reading<'a> {
    reader: NsReader<&'a [u8]>,
    limits: &'a Limits,
    /// Elements and attributes so far.
    counts: (usize, usize),
    /// Namespaces met, so that each is kept once.
    known: Vec<Arc<str>>,
    open: Vec<Element>,
    root: Option<Element>,
}

impl<'a> Reading<'a> {
    fn new(body: &'a str, limits: &'a Limits) -> Self {
        let mut reader = NsReader::from_str(body);
        reader.config_mut().check_comments = true;
        Self { reader, limits, counts: (0, 0), known: Vec::new(), open: Vec::new(), root: None }
    }

    fn at(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    fn run(mut self) -> Result<Element, Error> {
        loop {
            let at = self.at();
            let event = self.reader.read_event().map_err(|_| {
                let at = usize::try_from(self.reader.error_position()).unwrap_or(at);
                syntax(at, "well-formed XML")
            })?;
            match event {
                Event::Start(start) => self.start(at, &start)?,
                Event::Empty(start) => {
                    self.start(at, &start)?;
                    self.end();
                }
                Event::End(_) => self.end(),
                Event::Text(text) => {
                    let text = text.xml10_content().map_err(|_| syntax(at, "UTF-8"))?;
                    self.text(at, &text)?;
                }
                Event::CData(data) => {
                    let text = data.xml10_content().map_err(|_| syntax(at, "UTF-8"))?;
                    self.text(at, &text)?;
                }
                Event::GeneralRef(reference) => {
                    let name = reference.decode().map_err(|_| syntax(at, "UTF-8"))?;
                    let whole = format!("&{name};");
                    let text = quick_xml::escape::unescape(&whole)
                        .map_err(|_| syntax(at, "a reference that XML itself has"))?;
                    self.text(at, &text)?;
                }
                Event::Decl(declaration) => {
                    let utf8 =
                        |e: &[u8]| e.eq_ignore_ascii_case(b"utf-8") || e.eq_ignore_ascii_case(b"us-ascii");
                    if !declaration.encoding().is_none_or(|e| e.is_ok_and(|e| utf8(&e))) {
                        return Err(syntax(at, "the encoding UTF-8"));
                    }
                    if at != 0 {
                        return Err(syntax(at, "the declaration at the beginning"));
                    }
                }
                Event::DocType(_) => return Err(syntax(at, "no document type")),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        match self.root {
            Some(root) if self.open.is_empty() => Ok(root),
            _ => Err(syntax(self.at(), "the end of the element")),
        }
    }

    fn start(&mut self, at: usize, start: &BytesStart<'_>) -> Result<(), Error> {
        if self.root.is_some() {
            return Err(syntax(at, "one element only"));
        }
        self.counts.0 += 1;
        if self.counts.0 > self.limits.elements {
            return Err(Error::TooLarge("elements"));
        }
        if self.open.len() >= self.limits.depth {
            return Err(Error::TooLarge("levels"));
        }
        let (namespace, name) = self.reader.resolve_element(start.name());
        let namespace = resolved(at, &namespace)?;
        let name = text_of(at, name.as_ref())?;
        let mut element =
            Element { namespace: self.keep(&namespace), name, attributes: Vec::new(), children: Vec::new() };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| syntax(at, "attributes, each once"))?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            self.counts.1 += 1;
            if self.counts.1 > self.limits.elements {
                return Err(Error::TooLarge("attributes"));
            }
            let value =
                attribute.unescape_value().map_err(|_| syntax(at, "references that XML itself has"))?;
            checked(at, &value)?;
            let (namespace, name) = self.reader.resolve_attribute(attribute.key);
            let namespace = resolved(at, &namespace)?;
            let name = text_of(at, name.as_ref())?;
            if element.attribute(&namespace, &name).is_some() {
                return Err(syntax(at, "attributes, each once"));
            }
            let value = value.into_owned();
            element.attributes.push(Attribute { namespace: self.keep(&namespace), name, value });
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) {
        // The reader has checked that there is one and that the names agree.
        let Some(mut element) = self.open.pop() else { return };
        if element.elements().next().is_some() {
            element.children.retain(|c| !matches!(c, Node::Text(t) if t.trim().is_empty()));
        }
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
    }

    fn text(&mut self, at: usize, text: &str) -> Result<(), Error> {
        checked(at, text)?;
        match self.open.last_mut() {
            Some(element) => match element.children.last_mut() {
                Some(Node::Text(before)) => before.push_str(text),
                _ => element.children.push(Node::Text(text.to_owned())),
            },
            None if text.trim().is_empty() => {}
            None => return Err(syntax(at, "an element")),
        }
        Ok(())
    }

    fn keep(&mut self, namespace: &str) -> Arc<str> {
        if let Some(known) = self.known.iter().find(|k| ***k == *namespace) {
            return Arc::clone(known);
        }
        let new: Arc<str> = namespace.into();
        // A document of many namespaces costs memory, never time.
        if self.known.len() < 16 {
            self.known.push(Arc::clone(&new));
        }
        new
    }
}

/// The name of a namespace, whose declaration the reader hands out as it is written.
fn resolved(at: usize, namespace: &ResolveResult<'_>) -> Result<String, Error> {
    let written = match namespace {
        ResolveResult::Bound(Namespace(name)) => {
            std::str::from_utf8(name).map_err(|_| syntax(at, "UTF-8"))?
        }
        ResolveResult::Unbound => "",
        ResolveResult::Unknown(_) => return Err(syntax(at, "a prefix that is declared")),
    };
    let name =
        quick_xml::escape::unescape(written).map_err(|_| syntax(at, "a reference that XML itself has"))?;
    checked(at, &name)?;
    Ok(name.into_owned())
}

fn text_of(at: usize, name: &[u8]) -> Result<String, Error> {
    let name = std::str::from_utf8(name).map_err(|_| syntax(at, "UTF-8"))?;
    if is_name(name) { Ok(name.to_owned()) } else { Err(syntax(at, "a name")) }
}

/// Whether it can stand as a local name (Namespaces in XML §3): what could end a tag or begin
/// another thing is kept out; letters beyond ASCII are not told from other signs.
pub(crate) fn is_name(name: &str) -> bool {
    let first = name.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') || !c.is_ascii())
}

fn checked(at: usize, text: &str) -> Result<(), Error> {
    if text.chars().all(is_char) { Ok(()) } else { Err(syntax(at, "characters that XML has")) }
}

/// Prefixes for the namespaces of one document, the document's own has none.
pub(crate) struct Printer {
    prefixes: Vec<(Arc<str>, String)>,
    /// An attribute is in the document's own namespace: without a prefix it would be in none.
    own: bool,
}

/// The prefix of such attributes.
const OWN: &str = "ci";

const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";

impl Printer {
    /// For a document with this root.
    pub(crate) fn new(root: &Element) -> Self {
        let mut printer = Self { prefixes: Vec::new(), own: false };
        printer.collect(root);
        printer
    }

    fn collect(&mut self, element: &Element) {
        self.need(&element.namespace);
        for attribute in &element.attributes {
            self.need(&attribute.namespace);
            self.own |= *attribute.namespace == *NAMESPACE;
        }
        element.elements().for_each(|e| self.collect(e));
    }

    fn need(&mut self, namespace: &Arc<str>) {
        let own = namespace.is_empty() || **namespace == *NAMESPACE || **namespace == *XML_NAMESPACE;
        if !own && !self.prefixes.iter().any(|(n, _)| n == namespace) {
            let prefix = match &**namespace {
                crate::SEAL_NAMESPACE => "seal".to_owned(),
                crate::XCON_NAMESPACE => "xcon".to_owned(),
                _ => format!("n{}", self.prefixes.len()),
            };
            self.prefixes.push((Arc::clone(namespace), prefix));
        }
    }

    /// The declarations for the root.
    pub(crate) fn declarations(&self, out: &mut String) {
        attribute(out, "xmlns", NAMESPACE);
        if self.own {
            attribute(out, &format!("xmlns:{OWN}"), NAMESPACE);
        }
        for (namespace, prefix) in &self.prefixes {
            attribute(out, &format!("xmlns:{prefix}"), namespace);
        }
    }

    fn prefix(&self, namespace: &str) -> Option<&str> {
        match namespace {
            XML_NAMESPACE => Some("xml"),
            _ => self.prefixes.iter().find(|(n, _)| **n == *namespace).map(|(_, p)| p.as_str()),
        }
    }

    pub(crate) fn attributes(&self, out: &mut String, attributes: &[Attribute]) {
        for a in attributes {
            let own = (*a.namespace == *NAMESPACE).then_some(OWN);
            match self.prefix(&a.namespace).or(own) {
                Some(prefix) => attribute(out, &format!("{prefix}:{}", a.name), &a.value),
                None => attribute(out, &a.name, &a.value),
            }
        }
    }

    /// Writes an element. `bare` says that names without a prefix have no namespace here.
    pub(crate) fn element(&self, out: &mut String, element: &Element, bare: bool) {
        let name = match self.prefix(&element.namespace) {
            Some(prefix) => format!("{prefix}:{}", element.name),
            None => element.name.clone(),
        };
        out.push('<');
        out.push_str(&name);
        let mut within = bare;
        if !bare && element.namespace.is_empty() {
            attribute(out, "xmlns", "");
            within = true;
        } else if bare && *element.namespace == *NAMESPACE {
            attribute(out, "xmlns", NAMESPACE);
            within = false;
        }
        self.attributes(out, &element.attributes);
        if element.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        self.children(out, &element.children, within);
        out.push_str("</");
        out.push_str(&name);
        out.push('>');
    }

    pub(crate) fn children(&self, out: &mut String, children: &[Node], bare: bool) {
        for child in children {
            match child {
                Node::Element(element) => self.element(out, element, bare),
                Node::Text(text) => escape(out, text),
            }
        }
    }
}

pub(crate) fn attribute(out: &mut String, name: &str, value: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("=\"");
    escape(out, value);
    out.push('"');
}

/// Writes text. What XML cannot say, control characters mostly, becomes U+FFFD.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // White space that reading would change.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            c if is_char(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
}
