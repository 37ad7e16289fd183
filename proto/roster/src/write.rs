//! A roster as elements, in the order of RFC 4575 §6.

use crate::document::{Document, State};
use crate::model::{
    ConferenceState, Description, Endpoint, Execution, Extra, Host, Media, Medium, Roster, UriEntry, User,
};
use crate::xml::{Element, Node};
use crate::{NAMESPACE, XCON_NAMESPACE};

/// `<conference-info>` with nothing in it.
pub(crate) fn root(entity: &str) -> Element {
    let mut root = Element::new(NAMESPACE, "conference-info");
    root.set_attribute("", "entity", entity);
    root
}

fn new(name: &str) -> Element {
    Element::new(NAMESPACE, name)
}

/// Elements under construction.
trait Build {
    fn put(&mut self, element: Element);
    fn say(&mut self, name: &str, text: Option<&str>);
    fn entries(&mut self, name: &str, entries: &[UriEntry]);
    fn done(&mut self, name: &str, execution: Option<&Execution>);
    fn extra(self, extra: &Extra) -> Self;
}

impl Build for Element {
    fn put(&mut self, element: Element) {
        self.children.push(Node::Element(element));
    }

    fn say(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            let mut element = new(name);
            if !text.is_empty() {
                element.children.push(Node::Text(text.to_owned()));
            }
            self.put(element);
        }
    }

    fn entries(&mut self, name: &str, entries: &[UriEntry]) {
        if entries.is_empty() {
            return;
        }
        let mut list = new(name);
        for entry in entries {
            let mut element = new("entry");
            element.say("uri", Some(&entry.uri));
            element.say("display-text", entry.display_text.as_deref());
            element.say("purpose", entry.purpose.as_deref());
            element.done("modified", entry.modified.as_ref());
            list.put(element.extra(&entry.extra));
        }
        self.put(list);
    }

    fn done(&mut self, name: &str, execution: Option<&Execution>) {
        if let Some(execution) = execution {
            let mut element = new(name);
            element.say("when", execution.when.as_deref());
            element.say("reason", execution.reason.as_deref());
            element.say("by", execution.by.as_deref());
            self.put(element.extra(&execution.extra));
        }
    }

    fn extra(mut self, extra: &Extra) -> Self {
        self.attributes.extend(extra.attributes.iter().cloned());
        self.children.extend(extra.elements.iter().cloned().map(Node::Element));
        self
    }
}

impl Roster {
    /// All of it, for the first NOTIFY and after a refresh.
    pub fn document(&self, version: u32) -> Document {
        let mut element = root(&self.entity);
        element.children.push(Node::Element(self.description.to_element()));
        if let Some(host) = &self.host {
            element.put(host.to_element());
        }
        element.put(self.state.to_element());
        let mut users = new("users");
        self.users.iter().for_each(|user| users.put(user.to_element()));
        element.put(users.extra(&self.users_extra));
        Document::new(element.extra(&self.extra), State::Full, version)
    }

    /// That the conference is no more (RFC 4575 §4.6).
    pub fn deleted(entity: &str, version: u32) -> Document {
        Document::new(root(entity), State::Deleted, version)
    }
}

impl Description {
    pub(crate) fn to_element(&self) -> Element {
        let mut element = new("conference-description");
        element.say("display-text", self.display_text.as_deref());
        element.say("subject", self.subject.as_deref());
        element.say("free-text", self.free_text.as_deref());
        if !self.keywords.is_empty() {
            element.say("keywords", Some(&self.keywords.join(" ")));
        }
        element.entries("conf-uris", &self.conf_uris);
        element.entries("service-uris", &self.service_uris);
        element.say("maximum-user-count", self.maximum_user_count.map(|n| n.to_string()).as_deref());
        if !self.available_media.is_empty() {
            let mut media = new("available-media");
            self.available_media.iter().for_each(|medium| media.put(medium.to_element()));
            element.put(media);
        }
        element.extra(&self.extra)
    }
}

impl Medium {
    fn to_element(&self) -> Element {
        let mut element = new("entry");
        element.set_attribute("", "label", &self.label);
        element.say("display-text", self.display_text.as_deref());
        element.say("type", Some(&self.kind));
        element.say("status", self.status.as_ref().map(|s| s.as_str()));
        element.extra(&self.extra)
    }
}

impl Host {
    pub(crate) fn to_element(&self) -> Element {
        let mut element = new("host-info");
        element.say("display-text", self.display_text.as_deref());
        element.say("web-page", self.web_page.as_deref());
        element.entries("uris", &self.uris);
        element.extra(&self.extra)
    }
}

impl ConferenceState {
    pub(crate) fn to_element(&self) -> Element {
        let mut element = new("conference-state");
        element.say("user-count", self.user_count.map(|n| n.to_string()).as_deref());
        element.say("active", self.active.map(|b| b.to_string()).as_deref());
        element.say("locked", self.locked.map(|b| b.to_string()).as_deref());
        element.extra(&self.extra)
    }
}

impl User {
    pub(crate) fn to_element(&self) -> Element {
        let mut element = new("user");
        element.set_attribute("", "entity", &self.entity);
        if let Some(nickname) = &self.nickname {
            element.set_attribute(XCON_NAMESPACE, "nickname", nickname);
        }
        element.say("display-text", self.display_text.as_deref());
        element.entries("associated-aors", &self.associated_aors);
        if !self.roles.is_empty() {
            let mut roles = new("roles");
            self.roles.iter().for_each(|role| roles.say("entry", Some(role)));
            element.put(roles);
        }
        if !self.languages.is_empty() {
            element.say("languages", Some(&self.languages.join(" ")));
        }
        element.say("cascaded-focus", self.cascaded_focus.as_deref());
        self.endpoints.iter().for_each(|endpoint| element.put(endpoint.to_element()));
        element.extra(&self.extra)
    }
}

impl Endpoint {
    pub(crate) fn to_element(&self) -> Element {
        let mut element = new("endpoint");
        element.set_attribute("", "entity", &self.entity);
        element.say("display-text", self.display_text.as_deref());
        element.done("referred", self.referred.as_ref());
        element.say("status", self.status.as_ref().map(|s| s.as_str()));
        element.say("joining-method", self.joining_method.as_ref().map(|m| m.as_str()));
        element.done("joining-info", self.joining_info.as_ref());
        element.say("disconnection-method", self.disconnection_method.as_ref().map(|m| m.as_str()));
        element.done("disconnection-info", self.disconnection_info.as_ref());
        self.media.iter().for_each(|media| element.put(media.to_element()));
        if let Some(call_info) = &self.call_info {
            element.put(call_info.clone());
        }
        element.extra(&self.extra)
    }
}

impl Media {
    fn to_element(&self) -> Element {
        let mut element = new("media");
        element.set_attribute("", "id", &self.id);
        element.say("display-text", self.display_text.as_deref());
        element.say("type", self.kind.as_deref());
        element.say("label", self.label.as_deref());
        element.say("src-id", self.src_id.as_deref());
        element.say("status", self.status.as_ref().map(|s| s.as_str()));
        element.extra(&self.extra)
    }
}
