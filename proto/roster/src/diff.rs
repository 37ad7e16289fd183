//! From one roster to the next: a partial document (RFC 4575 §4.4).
//!
//! Users and endpoints can be taken away and said in part; a medium can be changed or added;
//! everything else is said anew as a whole. Where something goes that cannot be taken away, what
//! it stood in is said in full, and at last the whole conference.

use crate::document::{Document, State};
use crate::model::{Extra, Roster, User};
use crate::xml::{Attribute, Element, Node};
use crate::{NAMESPACE, write};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

impl Roster {
    /// What a watcher who knows `old` has to be told: a partial document, or a full one where no
    /// partial one can say it. `None` if nothing changed.
    pub fn diff(old: &Self, new: &Self, version: u32) -> Option<Document> {
        if old == new {
            return None;
        }
        Some(partial(old, new, version).unwrap_or_else(|| new.document(version)))
    }
}

fn partial(old: &Roster, new: &Roster, version: u32) -> Option<Document> {
    let gone = |a: &Attribute, of: &[Attribute]| !of.iter().any(|b| b.is(&a.namespace, &a.name));
    let lost = old.extra.attributes.iter().any(|a| gone(a, &new.extra.attributes));
    if old.entity != new.entity || lost || (old.host.is_some() && new.host.is_none()) {
        return None;
    }
    let mut root = write::root(&new.entity);
    root.attributes.extend(new.extra.attributes.iter().cloned());
    let mut put = |element: Element| root.children.push(Node::Element(element));
    if old.description != new.description {
        put(new.description.to_element());
    }
    if old.host != new.host
        && let Some(host) = &new.host
    {
        put(host.to_element());
    }
    if old.state != new.state {
        put(new.state.to_element());
    }
    if let Some(users) = users(old, new) {
        put(users);
    }
    for element in others(&old.extra, &new.extra)? {
        put(element);
    }
    Some(Document::new(root, State::Partial, version))
}

/// `<users>` with what changed in it.
fn users(old: &Roster, new: &Roster) -> Option<Element> {
    let mut element = Element::new(NAMESPACE, "users");
    if old.users_extra != new.users_extra {
        element.attributes.extend(new.users_extra.attributes.iter().cloned());
        let users = new.users.iter().map(User::to_element);
        element.children.extend(users.chain(new.users_extra.elements.iter().cloned()).map(Node::Element));
        return Some(element);
    }
    element.set_attribute("", "state", State::Partial.as_str());
    let before: HashMap<&str, &User> = old.users.iter().map(|u| (u.entity.as_str(), u)).collect();
    for user in &new.users {
        let told = match before.get(user.entity.as_str()) {
            Some(before) if *before == user => continue,
            Some(before) => {
                let whole = user.to_element();
                changed(&before.to_element(), &whole).unwrap_or(whole)
            }
            None => user.to_element(),
        };
        element.children.push(Node::Element(told));
    }
    let after: HashSet<&str> = new.users.iter().map(|u| u.entity.as_str()).collect();
    for user in old.users.iter().filter(|u| !after.contains(u.entity.as_str())) {
        element.children.push(Node::Element(deleted("user", &user.entity)));
    }
    (!element.children.is_empty()).then_some(element)
}

fn deleted(name: &str, entity: &str) -> Element {
    let mut element = Element::new(NAMESPACE, name);
    element.set_attribute("", "entity", entity);
    element.set_attribute("", "state", State::Deleted.as_str());
    element
}

/// What changed in the elements that are not RFC 4575's. `None` if one went.
fn others(old: &Extra, new: &Extra) -> Option<Vec<Element>> {
    let (old, new): (Vec<_>, Vec<_>) = (old.elements.iter().collect(), new.elements.iter().collect());
    let mut told = Vec::new();
    for name in names(&old, &new) {
        let (before, after) = (named(&old, &name), named(&new, &name));
        if before != after {
            if after.is_empty() {
                return None;
            }
            told.extend(after.into_iter().cloned());
        }
    }
    Some(told)
}

type Name = (Arc<str>, String);

/// The names of both, in order, each once.
fn names(old: &[&Element], new: &[&Element]) -> Vec<Name> {
    let mut seen = HashSet::new();
    let all = new.iter().chain(old).map(|e| (Arc::clone(&e.namespace), e.name.clone()));
    all.filter(|name| seen.insert(name.clone())).collect()
}

fn named<'a>(elements: &[&'a Element], name: &Name) -> Vec<&'a Element> {
    elements.iter().copied().filter(|e| e.is(&name.0, &name.1)).collect()
}

/// A partial user or endpoint. `None` if something went that cannot be taken away.
fn changed(old: &Element, new: &Element) -> Option<Element> {
    if old.attributes.iter().any(|a| new.attribute(&a.namespace, &a.name).is_none()) {
        return None;
    }
    let mut element = Element::new(&new.namespace, &new.name);
    element.attributes.clone_from(&new.attributes);
    element.set_attribute("", "state", State::Partial.as_str());
    let (before, after): (Vec<_>, Vec<_>) = (old.elements().collect(), new.elements().collect());
    let (mut own, mut foreign) = (Vec::new(), Vec::new());
    for name in names(&before, &after) {
        let (was, is) = (named(&before, &name), named(&after, &name));
        match (&*name.0, name.1.as_str()) {
            (NAMESPACE, "endpoint") => endpoints(&was, &is, &mut own),
            (NAMESPACE, "media") => media(&was, &is, &mut own)?,
            _ if was == is => {}
            _ if is.is_empty() => return None,
            (NAMESPACE, _) => own.extend(is.into_iter().cloned()),
            _ => foreign.extend(is.into_iter().cloned()),
        }
    }
    element.children.extend(own.into_iter().chain(foreign).map(Node::Element));
    Some(element)
}

fn with_key<'a>(elements: &[&'a Element], key: &str, value: Option<&str>) -> Option<&'a Element> {
    elements.iter().copied().find(|e| e.attribute("", key) == value)
}

fn endpoints(old: &[&Element], new: &[&Element], told: &mut Vec<Element>) {
    for endpoint in new {
        match with_key(old, "entity", endpoint.attribute("", "entity")) {
            Some(before) if before == *endpoint => {}
            Some(before) => told.push(changed(before, endpoint).unwrap_or_else(|| (*endpoint).clone())),
            None => told.push((*endpoint).clone()),
        }
    }
    for endpoint in old {
        let key = endpoint.attribute("", "entity");
        if with_key(new, "entity", key).is_none() {
            told.push(deleted("endpoint", key.unwrap_or_default()));
        }
    }
}

fn media(old: &[&Element], new: &[&Element], told: &mut Vec<Element>) -> Option<()> {
    let id = |e: &Element| e.attribute("", "id").map(str::to_owned);
    if old.iter().any(|m| with_key(new, "id", id(m).as_deref()).is_none()) {
        return None;
    }
    let changed = new.iter().filter(|m| with_key(old, "id", id(m).as_deref()) != Some(**m));
    told.extend(changed.copied().cloned());
    Some(())
}
