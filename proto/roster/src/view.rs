//! What a watcher knows of a conference, put together from documents (RFC 4575 §4.6).

use crate::NAMESPACE;
use crate::document::{Document, State};
use crate::error::Error;
use crate::model::{Roster, Seal, User};
use crate::xml::{Element, Limits, Node};
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

/// What came of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It is older than what is known, or the same again: nothing was done.
    Old,
    /// It was taken. What a person would notice of it, in no particular order; may be empty.
    Changed(Vec<Change>),
    /// One before it is missing: refresh the subscription to be sent all of it. Until that comes
    /// the view stays as it was.
    Gap,
    /// The conference is no more: end the subscription.
    Ended,
}

/// Something a person would notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A user came in.
    Joined(String),
    /// A user went. The user as last known, with how and why it went if that was said.
    Left(Box<User>),
    /// A user's legs are sealed now, or not.
    Sealed(String, Option<Seal>),
    /// A user goes by another name.
    Renamed(String),
    /// Something else about a user.
    Altered(String),
    /// All legs of the conference are sealed now, or not.
    ConferenceSealed(Option<Seal>),
    /// Subject, limits, lock or whatever else is said of the conference.
    Conference,
}

/// A watcher's roster.
#[derive(Debug, Clone)]
pub struct View {
    limits: Limits,
    version: Option<u32>,
    root: Element,
    roster: Roster,
}

impl View {
    /// Of a conference nothing is known of yet.
    pub fn new(limits: Limits) -> Self {
        let root = Element::new(NAMESPACE, "conference-info");
        Self { limits, version: None, root, roster: Roster::default() }
    }

    /// The roster so far.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The version of the newest document taken; `None` before the first.
    pub fn version(&self) -> Option<u32> {
        self.version
    }

    /// A new subscription begins: its versions are its own (RFC 4575 §5.2). The roster is kept
    /// until its first document.
    pub fn resubscribed(&mut self) {
        self.version = None;
    }

    /// Reads a document and takes it.
    ///
    /// # Errors
    /// See [`apply`](Self::apply).
    pub fn read(&mut self, octets: &[u8]) -> Result<Applied, Error> {
        let document = Document::parse(octets, &self.limits)?;
        self.apply(&document)
    }

    /// Takes a document.
    ///
    /// # Errors
    /// What RFC 4575 §6 does not allow, or more users than [`Limits`] take. The view stays as it
    /// was.
    pub fn apply(&mut self, document: &Document) -> Result<Applied, Error> {
        if self.version.is_some_and(|version| document.version() <= version) {
            return Ok(Applied::Old);
        }
        let root = match (document.state(), self.version) {
            (State::Deleted, _) => {
                self.version = Some(document.version());
                return Ok(Applied::Ended);
            }
            (State::Full, _) => whole(document.root())?,
            (State::Partial, Some(version)) if version.checked_add(1) == Some(document.version()) => {
                let mut root = self.root.clone();
                merge(&mut root, document.root())?;
                root
            }
            (State::Partial, _) => return Ok(Applied::Gap),
        };
        let users = root.elements().filter(|e| e.is(NAMESPACE, "users"));
        if users.flat_map(Element::elements).nth(self.limits.users).is_some() {
            return Err(Error::TooLarge("users"));
        }
        if count(&root) > self.limits.elements {
            return Err(Error::TooLarge("elements"));
        }
        let roster = Roster::from_element(&root)?;
        let changes = changes(&self.roster, &roster);
        self.version = Some(document.version());
        self.root = root;
        self.roster = roster;
        Ok(Applied::Changed(changes))
    }
}

impl Default for View {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

fn count(element: &Element) -> usize {
    element.elements().map(count).sum::<usize>() + 1
}

/// Whether `state` of an element of this name means anything (RFC 4575 §4.4).
fn has_state(element: &Element) -> bool {
    let names =
        ["conference-info", "users", "user", "endpoint", "sidebars-by-val", "sidebars-by-ref", "entry"];
    *element.namespace == *NAMESPACE && names.contains(&element.name.as_str())
}

fn state(element: &Element) -> Result<State, Error> {
    if has_state(element) { State::of(element) } else { Ok(State::Full) }
}

/// An element that counts as full: what is said of state in it is left out, and so is what is
/// deleted.
fn whole(element: &Element) -> Result<Element, Error> {
    if !has_state(element) && *element.namespace != *NAMESPACE {
        return Ok(element.clone());
    }
    let mut new = Element::new(NAMESPACE, &element.name);
    new.namespace = Arc::clone(&element.namespace);
    let stateful = has_state(element);
    new.attributes.extend(element.attributes.iter().filter(|a| !(stateful && a.is("", "state"))).cloned());
    for child in &element.children {
        match child {
            Node::Element(child) if state(child)? == State::Deleted => {}
            Node::Element(child) => new.children.push(Node::Element(whole(child)?)),
            Node::Text(_) => new.children.push(child.clone()),
        }
    }
    Ok(new)
}

/// What names an element among its siblings (RFC 4575 §4.5): a key, or nothing but its name.
type Place = (Arc<str>, String, Option<String>);

fn place(parent: &Element, element: &Element) -> Place {
    let of = |name| element.attribute("", name).map(str::to_owned);
    let key = match (&*element.namespace, parent.name.as_str(), element.name.as_str()) {
        (NAMESPACE, _, "user" | "endpoint") => of("entity"),
        (NAMESPACE, _, "media") => of("id"),
        (NAMESPACE, "sidebars-by-val", "entry") => of("entity"),
        (NAMESPACE, "sidebars-by-ref", "entry") => {
            element.elements().find(|e| e.is(NAMESPACE, "uri")).map(Element::text)
        }
        _ => None,
    };
    (Arc::clone(&element.namespace), element.name.clone(), key)
}

/// RFC 4575 §4.6, step 3: what a partial element changes in the one known.
fn merge(local: &mut Element, update: &Element) -> Result<(), Error> {
    for attribute in update.attributes.iter().filter(|a| !a.is("", "state")) {
        local.set_attribute(&attribute.namespace, &attribute.name, &attribute.value);
    }
    let mut slots: Vec<Option<Node>> = std::mem::take(&mut local.children).into_iter().map(Some).collect();
    let mut at: HashMap<Place, Vec<usize>> = HashMap::new();
    for (index, slot) in slots.iter().enumerate() {
        if let Some(Node::Element(element)) = slot {
            at.entry(place(local, element)).or_default().push(index);
        }
    }
    let mut renewed: HashSet<Place> = HashSet::new();
    for child in update.elements() {
        let place = place(update, child);
        let known = at.get(&place).cloned().unwrap_or_default();
        if state(child)? == State::Partial
            && let Some(Some(Node::Element(old))) = known.first().and_then(|index| slots.get_mut(*index))
        {
            merge(old, child)?;
            continue;
        }
        let fresh = match state(child)? {
            State::Deleted => None,
            State::Full | State::Partial => Some(Node::Element(whole(child)?)),
        };
        // An atomic element that may stand there several times is replaced with all its like.
        let replaces = renewed.insert(place.clone()) || place.2.is_some();
        let mut known = known.into_iter().filter(|_| replaces);
        match known.next().and_then(|index| slots.get_mut(index)) {
            // It stays where it was.
            Some(slot) => *slot = fresh,
            None => {
                at.entry(place).or_default().push(slots.len());
                slots.push(fresh);
            }
        }
        for index in known {
            if let Some(slot) = slots.get_mut(index) {
                *slot = None;
            }
        }
    }
    local.children = slots.into_iter().flatten().collect();
    Ok(())
}

/// What a person would notice between two rosters.
fn changes(old: &Roster, new: &Roster) -> Vec<Change> {
    let mut changes = Vec::new();
    let before: HashMap<&str, &User> = old.users.iter().map(|u| (u.entity.as_str(), u)).collect();
    for user in &new.users {
        let entity = || user.entity.clone();
        match (before.get(user.entity.as_str()), user.is_present()) {
            (Some(was), true) if was.is_present() => {
                let all = changes.len();
                if was.name() != user.name() {
                    changes.push(Change::Renamed(entity()));
                }
                if was.seal() != user.seal() {
                    changes.push(Change::Sealed(entity(), user.seal()));
                }
                if changes.len() == all && **was != *user {
                    changes.push(Change::Altered(entity()));
                }
            }
            (_, true) => changes.push(Change::Joined(entity())),
            (Some(was), false) if was.is_present() => changes.push(Change::Left(Box::new(user.clone()))),
            (Some(was), false) if **was == *user => {}
            (_, false) => changes.push(Change::Altered(entity())),
        }
    }
    let after: HashSet<&str> = new.users.iter().map(|u| u.entity.as_str()).collect();
    let gone = old.users.iter().filter(|u| u.is_present() && !after.contains(u.entity.as_str()));
    changes.extend(gone.map(|user| Change::Left(Box::new(user.clone()))));
    if old.seal() != new.seal() {
        changes.push(Change::ConferenceSealed(new.seal()));
    }
    let said = |r: &Roster| (r.description.clone(), r.host.clone(), r.state.locked, r.state.active);
    if said(old) != said(new) {
        changes.push(Change::Conference);
    }
    changes
}
