//! What a NOTIFY says: all of a roster, or what changed in it (RFC 4575 §4.3, §4.4).
//!
//! A document is its elements; [`Roster`] is how one works with them. Partial documents come from
//! [`Roster::diff`] and go into [`View::apply`](crate::View::apply).

use crate::NAMESPACE;
use crate::error::Error;
use crate::model::Roster;
use crate::write;
use crate::xml::{Element, Limits, Node, Printer, attribute};
use std::sync::Arc;

/// The attribute `state` (RFC 4575 §4.4). Without it an element is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// All of it.
    Full,
    /// What changed.
    Partial,
    /// It is no more.
    Deleted,
}

/// A conference-info document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// `<conference-info>`, with `entity` and without `state` and `version`.
    pub(crate) root: Element,
    state: State,
    version: u32,
}

/// A document as text that lacks its version, for many subscribers with versions of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    front: Arc<str>,
    back: Arc<str>,
}

impl Printed {
    /// The text with this version.
    pub fn with_version(&self, version: u32) -> String {
        format!("{}{version}{}", self.front, self.back)
    }

    /// Octets of the text, whatever the version.
    pub fn len(&self) -> usize {
        self.front.len() + self.back.len() + 10
    }

    /// Never: a document has a root.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl State {
    /// As written in a document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Deleted => "deleted",
        }
    }

    pub(crate) fn of(element: &Element) -> Result<Self, Error> {
        match element.attribute("", "state") {
            None | Some("full") => Ok(Self::Full),
            Some("partial") => Ok(Self::Partial),
            Some("deleted") => Ok(Self::Deleted),
            Some(_) => {
                Err(Error::content(&element.name, "has a state that is none of full, partial and deleted"))
            }
        }
    }
}

impl Document {
    pub(crate) fn new(root: Element, state: State, version: u32) -> Self {
        Self { root, state, version }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Error`]; the elements that [`View::apply`](crate::View::apply) works on are checked
    /// there.
    pub fn parse(octets: &[u8], limits: &Limits) -> Result<Self, Error> {
        let mut root = Element::parse(octets, limits)?;
        if !root.is(NAMESPACE, "conference-info") {
            return Err(Error::content(&root.name, "is no conference-info"));
        }
        let state = State::of(&root)?;
        // RFC 4575 §4.3: a document has a version.
        let version = root.attribute("", "version").and_then(|v| v.trim().parse().ok());
        let version = version.ok_or_else(|| Error::content("conference-info", "has no version"))?;
        if root.attribute("", "entity").is_none() {
            return Err(Error::content("conference-info", "has no entity"));
        }
        root.attributes.retain(|a| !a.is("", "state") && !a.is("", "version"));
        Ok(Self { root, state, version })
    }

    /// All of it, what changed, or that the conference is no more.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its place in the order of a subscription's documents.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The URI of the conference.
    pub fn entity(&self) -> &str {
        self.root.attribute("", "entity").unwrap_or_default()
    }

    /// The elements, without the root's `state` and `version`.
    pub fn root(&self) -> &Element {
        &self.root
    }

    /// The roster of a full document.
    ///
    /// # Errors
    /// [`Error::Content`] if an element lacks what RFC 4575 §6 asks of it, or if the document is
    /// not a full one.
    pub fn roster(&self) -> Result<Roster, Error> {
        match self.state {
            State::Full => Roster::from_element(&self.root),
            _ => Err(Error::content("conference-info", "is not the whole conference")),
        }
    }

    /// As text.
    pub fn print(&self) -> String {
        self.printed().with_version(self.version)
    }

    /// As text without its version.
    pub fn printed(&self) -> Printed {
        let printer = Printer::new(&self.root);
        let mut front = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<conference-info");
        printer.declarations(&mut front);
        printer.attributes(&mut front, &self.root.attributes);
        attribute(&mut front, "state", self.state.as_str());
        front.push_str(" version=\"");
        let mut back = String::from("\">");
        printer.children(&mut back, &self.root.children, false);
        back.push_str("</conference-info>\r\n");
        Printed { front: front.into(), back: back.into() }
    }

    /// The same said by several documents, each with about so many octets of users at most: a
    /// full one becomes a full one with the first users and partial ones with the others. They
    /// have this document's version and the ones that follow.
    ///
    /// A user is never cut in two, so that a document can be larger by one.
    pub fn split(self, octets: usize) -> Vec<Self> {
        let at =
            self.root.children.iter().position(|c| matches!(c, Node::Element(e) if e.is(NAMESPACE, "users")));
        let Some(at) = at.filter(|_| self.printed().len() > octets) else { return vec![self] };
        let mut first = self;
        let Some(Node::Element(users)) = first.root.children.get_mut(at) else { return vec![first] };
        let printer = Printer::new(users);
        let mut rest = Vec::new();
        let (mut used, mut chunk) = (0, Vec::new());
        for child in std::mem::take(&mut users.children) {
            let mut text = String::new();
            printer.children(&mut text, std::slice::from_ref(&child), false);
            if used + text.len() > octets && !chunk.is_empty() {
                rest.push(std::mem::take(&mut chunk));
                used = 0;
            }
            used += text.len();
            chunk.push(child);
        }
        rest.push(chunk);
        let mut chunks = rest.into_iter();
        users.children = chunks.next().unwrap_or_default();
        let (entity, mut version) = (first.entity().to_owned(), first.version);
        let mut all = vec![first];
        for chunk in chunks {
            version = version.saturating_add(1);
            let mut users = Element::new(NAMESPACE, "users");
            users.set_attribute("", "state", State::Partial.as_str());
            users.children = chunk;
            let mut root = write::root(&entity);
            root.children.push(Node::Element(users));
            all.push(Self { root, state: State::Partial, version });
        }
        all
    }
}
