//! The session description in a message: the body itself, or one part of it.
//!
//! RFC 3261 §7.4, RFC 5621. Emergency calls carry a location beside their description (RFC 6442):
//! the description is read and edited in its place and every other octet stays. A description
//! that cannot be read is one that cannot be anchored, so it does not pass: 415.

use crate::session::Fault;
use bytes::Bytes;
use carnet_sdp::{Document, Limits};
use carnet_sip::multipart::{self, MultipartLimits, Part};
use carnet_sip::{Message, Method};

/// Where in the body the description lies.
#[derive(Debug)]
enum Place {
    Whole,
    Part(Part),
}

/// A session description and its place in a message.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) document: Document,
    place: Place,
}

impl Description {
    /// The description in a message that may carry an offer or an answer; `None` if it has none.
    pub(crate) fn of(message: &Message, limits: &Limits) -> Result<Option<Self>, Fault> {
        // RFC 6337 table 1: offers and answers stand in these and the responses to them.
        let carries =
            matches!(message.method(), Method::Invite | Method::Ack | Method::Prack | Method::Update);
        if !carries || message.body().is_empty() {
            return Ok(None);
        }
        let Some(place) = find(message)? else { return Ok(None) };
        let octets = match &place {
            Place::Whole => message.body().clone(),
            Place::Part(part) => message.body().slice(part.range()),
        };
        let document = Document::parse(octets, limits).map_err(|e| Fault::new(400, e.to_string()))?;
        Ok(Some(Self { document, place }))
    }

    /// Puts the edited description into the message it came from.
    pub(crate) fn put_into(&self, message: &mut Message) -> Result<(), Fault> {
        let octets = self.document.to_bytes();
        let body: Bytes = match &self.place {
            Place::Whole => octets,
            Place::Part(part) => part.replace(message.body(), &octets),
        };
        if body != *message.body() {
            let kind = message.content_type().map(|t| t.into_owned());
            message.set_body(body, kind.as_deref()).map_err(|e| Fault::new(500, e.to_string()))?;
        }
        Ok(())
    }
}

fn unread(text: &str) -> Fault {
    Fault { header: Some(("Accept", "application/sdp, multipart/mixed".to_owned())), ..Fault::new(415, text) }
}

fn find(message: &Message) -> Result<Option<Place>, Fault> {
    let Some(kind) = message.content_type() else {
        // RFC 3261 §20.15. Who takes it for a description would have one that nobody has anchored. White space
        // behind the head is what some leave there.
        return match message.body().trim_ascii().is_empty() {
            true => Ok(None),
            false => Err(Fault::new(400, "a body without Content-Type")),
        };
    };
    let name = kind.split(';').next().unwrap_or_default().trim();
    let encoded =
        message.header("Content-Encoding").is_some_and(|e| !e.trim().eq_ignore_ascii_case("identity"));
    let several = multipart::is_multipart(&kind);
    if name.eq_ignore_ascii_case("application/sdp") {
        let disposition = message.header("Content-Disposition");
        let disposition =
            disposition.map(|d| d.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        return match described(disposition.as_deref())? {
            true if encoded => Err(unread("compressed session descriptions are not read")),
            true => Ok(Some(Place::Whole)),
            false => Ok(None),
        };
    }
    if !several {
        return Ok(None);
    }
    if encoded {
        return Err(unread("compressed bodies of several parts are not read"));
    }
    let parts = multipart::parts(message.body(), &kind, &MultipartLimits::default())
        .map_err(|e| Fault::new(e.status().unwrap_or(400), e.to_string()))?;
    let mut found = None;
    for part in parts {
        // A part that is packed and holds others may hide a description.
        if part.is_encoded() && part.media_type().starts_with("multipart/") {
            return Err(unread("compressed bodies of several parts are not read"));
        }
        if part.media_type() != "application/sdp" || !described(part.disposition())? {
            continue;
        }
        if part.is_encoded() {
            return Err(unread("encoded session descriptions are not read"));
        }
        if part.is_signed() {
            return Err(unread("signed session descriptions cannot be given a gateway's address"));
        }
        // Which of several a receiver takes is its own choice: only one could be anchored.
        if found.replace(part).is_some() {
            return Err(unread("more than one session description"));
        }
    }
    Ok(found.map(Place::Part))
}

/// Whether a description with this disposition sets up the session (RFC 3261 §20.11, the
/// default for `application/sdp`). An early session (RFC 3959) is one more that nobody anchors.
fn described(disposition: Option<&str>) -> Result<bool, Fault> {
    match disposition {
        None | Some("session") => Ok(true),
        Some("early-session") => Err(unread("early-session descriptions are not read")),
        Some(_) => Ok(false),
    }
}
