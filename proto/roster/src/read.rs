//! A roster from elements. What RFC 4575 §6 does not have stays as it came.

use crate::error::Error;
use crate::model::{
    ConferenceState, Description, Disconnection, Endpoint, Execution, Extra, Host, Joining, Media,
    MediaStatus, Medium, Roster, Status, UriEntry, User, is_nickname,
};
use crate::xml::{Attribute, Element};
use crate::{NAMESPACE, XCON_NAMESPACE};

type Read<T> = Result<T, Error>;

/// The elements of the document's own namespace by name, the others into `extra`.
fn each(
    element: &Element,
    keys: &[&str],
    extra: &mut Extra,
    mut take: impl FnMut(&str, &Element) -> Read<bool>,
) -> Read<()> {
    extra.attributes = attributes(element, keys);
    for child in element.elements() {
        if *child.namespace != *NAMESPACE || !take(&child.name, child)? {
            extra.elements.push(child.clone());
        }
    }
    Ok(())
}

/// The attributes but the keys of the element and its state.
fn attributes(element: &Element, keys: &[&str]) -> Vec<Attribute> {
    let own =
        |a: &&Attribute| a.namespace.is_empty() && (a.name == "state" || keys.contains(&a.name.as_str()));
    element.attributes.iter().filter(|a| !own(a)).cloned().collect()
}

fn key(element: &Element, name: &str) -> Read<String> {
    let what = "has no key";
    element.attribute("", name).map(str::to_owned).ok_or_else(|| Error::content(&element.name, what))
}

fn number(element: &Element) -> Read<u32> {
    element.text().parse().map_err(|_| Error::content(&element.name, "is no number below 2^32"))
}

fn boolean(element: &Element) -> Read<bool> {
    match element.text().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::content(&element.name, "is neither true nor false")),
    }
}

fn words(element: &Element) -> Vec<String> {
    element.text().split_ascii_whitespace().map(str::to_owned).collect()
}

fn entries(element: &Element) -> Read<Vec<UriEntry>> {
    element.elements().filter(|e| e.is(NAMESPACE, "entry")).map(entry).collect()
}

fn entry(element: &Element) -> Read<UriEntry> {
    let mut new = UriEntry::default();
    let UriEntry { uri, display_text, purpose, modified, extra } = &mut new;
    each(element, &[], extra, |name, child| {
        match name {
            "uri" => *uri = child.text(),
            "display-text" => *display_text = Some(child.text()),
            "purpose" => *purpose = Some(child.text()),
            "modified" => *modified = Some(execution(child)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(new)
}

fn execution(element: &Element) -> Read<Execution> {
    let mut new = Execution::default();
    let Execution { when, reason, by, extra } = &mut new;
    each(element, &[], extra, |name, child| {
        match name {
            "when" => *when = Some(child.text()),
            "reason" => *reason = Some(child.text()),
            "by" => *by = Some(child.text()),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(new)
}

impl Roster {
    /// Reads `<conference-info>`; its `state` and `version` are not looked at.
    ///
    /// # Errors
    /// [`Error::Content`].
    pub(crate) fn from_element(element: &Element) -> Read<Self> {
        let mut new = Self { entity: key(element, "entity")?, ..Self::default() };
        let Self { description, host, state, users, users_extra, extra, .. } = &mut new;
        each(element, &["entity"], extra, |name, child| {
            match name {
                "conference-description" => *description = Description::from_element(child)?,
                "host-info" => *host = Some(Host::from_element(child)?),
                "conference-state" => *state = ConferenceState::from_element(child)?,
                "users" => each(child, &[], users_extra, |name, child| {
                    if name == "user" {
                        users.push(User::from_element(child)?);
                    }
                    Ok(name == "user")
                })?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(new)
    }
}

impl Description {
    fn from_element(element: &Element) -> Read<Self> {
        let mut new = Self::default();
        let Self {
            display_text,
            subject,
            free_text,
            keywords,
            conf_uris,
            service_uris,
            maximum_user_count: maximum,
            available_media: media,
            extra,
        } = &mut new;
        each(element, &[], extra, |name, child| {
            match name {
                "display-text" => *display_text = Some(child.text()),
                "subject" => *subject = Some(child.text()),
                "free-text" => *free_text = Some(child.text()),
                "keywords" => *keywords = words(child),
                "conf-uris" => *conf_uris = entries(child)?,
                "service-uris" => *service_uris = entries(child)?,
                "maximum-user-count" => *maximum = Some(number(child)?),
                "available-media" => {
                    let listed = child.elements().filter(|e| e.is(NAMESPACE, "entry"));
                    *media = listed.map(Medium::from_element).collect::<Read<_>>()?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(new)
    }
}

impl Medium {
    fn from_element(element: &Element) -> Read<Self> {
        let mut new = Self { label: key(element, "label")?, ..Self::default() };
        let Self { display_text, kind, status, extra, .. } = &mut new;
        each(element, &["label"], extra, |name, child| {
            match name {
                "display-text" => *display_text = Some(child.text()),
                "type" => *kind = child.text(),
                "status" => *status = Some(MediaStatus::of(&child.text())),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(new)
    }
}

impl Host {
    fn from_element(element: &Element) -> Read<Self> {
        let mut new = Self::default();
        let Self { display_text, web_page, uris, extra } = &mut new;
        each(element, &[], extra, |name, child| {
            match name {
                "display-text" => *display_text = Some(child.text()),
                "web-page" => *web_page = Some(child.text()),
                "uris" => *uris = entries(child)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(new)
    }
}

impl ConferenceState {
    fn from_element(element: &Element) -> Read<Self> {
        let mut new = Self::default();
        let Self { user_count, active, locked, extra } = &mut new;
        each(element, &[], extra, |name, child| {
            match name {
                "user-count" => *user_count = Some(number(child)?),
                "active" => *active = Some(boolean(child)?),
                "locked" => *locked = Some(boolean(child)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(new)
    }
}

impl User {
    fn from_element(element: &Element) -> Read<Self> {
        let mut new = Self { entity: key(element, "entity")?, ..Self::default() };
        let Self {
            display_text, associated_aors, roles, languages, cascaded_focus, endpoints, extra, ..
        } = &mut new;
        each(element, &["entity"], extra, |name, child| {
            match name {
                "display-text" => *display_text = Some(child.text()),
                "associated-aors" => *associated_aors = entries(child)?,
                "roles" => {
                    let listed = child.elements().filter(|e| e.is(NAMESPACE, "entry"));
                    *roles = listed.map(Element::text).collect();
                }
                "languages" => *languages = words(child),
                "cascaded-focus" => *cascaded_focus = Some(child.text()),
                "endpoint" => endpoints.push(Endpoint::from_element(child)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        new.nickname = element.attribute(XCON_NAMESPACE, "nickname").map(str::to_owned);
        new.extra.attributes.retain(|a| !is_nickname(a));
        Ok(new)
    }
}

impl Endpoint {
    fn from_element(element: &Element) -> Read<Self> {
        let mut new = Self { entity: key(element, "entity")?, ..Self::default() };
        let Self {
            entity: _,
            display_text,
            referred,
            status,
            joining_method,
            joining_info,
            disconnection_method: method,
            disconnection_info: info,
            media,
            call_info,
            extra,
        } = &mut new;
        each(element, &["entity"], extra, |name, child| {
            match name {
                "display-text" => *display_text = Some(child.text()),
                "referred" => *referred = Some(execution(child)?),
                "status" => *status = Some(Status::of(&child.text())),
                "joining-method" => *joining_method = Some(Joining::of(&child.text())),
                "joining-info" => *joining_info = Some(execution(child)?),
                "disconnection-method" => *method = Some(Disconnection::of(&child.text())),
                "disconnection-info" => *info = Some(execution(child)?),
                "media" => media.push(Media::from_element(child)?),
                "call-info" => *call_info = Some(child.clone()),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(new)
    }
}

impl Media {
    fn from_element(element: &Element) -> Read<Self> {
        let mut new = Self { id: key(element, "id")?, ..Self::default() };
        let Self { display_text, kind, label, src_id, status, extra, .. } = &mut new;
        each(element, &["id"], extra, |name, child| {
            match name {
                "display-text" => *display_text = Some(child.text()),
                "type" => *kind = Some(child.text()),
                "label" => *label = Some(child.text()),
                "src-id" => *src_id = Some(child.text()),
                "status" => *status = Some(MediaStatus::of(&child.text())),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(new)
    }
}
