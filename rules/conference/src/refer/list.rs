//! Recipients in an INVITE to a factory: the room is made and they are all called (RFC 5366).
//!
//! Reads `application/resource-lists+xml` (RFC 4826) as RFC 5366 §4 wants it: flat lists of
//! entries; what is more than that is passed over. An entry whose `copyControl` is `bcc` or that
//! is to be anonymous (RFC 5364) is called like the others; as no recipient list is sent on,
//! nothing of it is told.

use carnet_roster::{Element, Limits};
use carnet_sip::multipart::{self, MultipartLimits};
use carnet_sip::{Message, Scheme, Uri};

/// The namespace of resource lists (RFC 4826 §3.4).
const LISTS: &str = "urn:ietf:params:xml:ns:resource-lists";

/// Why a list of recipients cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The body is not what its type says.
    #[error("the list of recipients cannot be read")]
    Malformed,
    /// Somebody is listed who cannot be called.
    #[error("somebody is listed who cannot be called")]
    Recipient,
    /// More than are taken.
    #[error("too many recipients are listed")]
    TooMany,
    /// Asked for by Require, and not there.
    #[error("there is no list of recipients")]
    Missing,
}

impl ListError {
    /// What to answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::Recipient | Self::Missing => 400,
            Self::TooMany => 413,
        }
    }
}

/// Who is to be called into the room that an INVITE makes, each once; empty if it has no list.
///
/// # Errors
/// [`ListError`]. More than `most` are too many.
pub fn recipients(invite: &Message, most: usize) -> Result<Vec<Uri>, ListError> {
    let Some(octets) = list_of(invite)? else {
        let required = invite.lists("Require", "recipient-list-invite");
        return if required { Err(ListError::Missing) } else { Ok(Vec::new()) };
    };
    let limits = Limits { octets: 256 * 1024, elements: 4 * most + 64, ..Limits::default() };
    let root = Element::parse(&octets, &limits).map_err(|error| match error {
        carnet_roster::Error::TooLarge(_) => ListError::TooMany,
        _ => ListError::Malformed,
    })?;
    if !root.is(LISTS, "resource-lists") {
        return Err(ListError::Malformed);
    }
    let mut all: Vec<Uri> = Vec::new();
    let lists = root.elements().filter(|e| e.is(LISTS, "list"));
    for entry in lists.flat_map(Element::elements).filter(|e| e.is(LISTS, "entry")) {
        let uri = entry.attribute("", "uri").ok_or(ListError::Malformed)?;
        let uri = Uri::parse(uri).map_err(|_| ListError::Recipient)?;
        if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips | Scheme::Tel) || uri.headers().is_some() {
            return Err(ListError::Recipient);
        }
        // RFC 5363 §4.1: the same one twice is once.
        if !all.iter().any(|u| u.equivalent(&uri)) {
            all.push(uri);
        }
        if all.len() > most {
            return Err(ListError::TooMany);
        }
    }
    Ok(all)
}

fn list_of(invite: &Message) -> Result<Option<Vec<u8>>, ListError> {
    let Some(kind) = invite.content_type() else { return Ok(None) };
    let body = invite.body();
    if !multipart::is_multipart(&kind) {
        let lists = kind
            .split(';')
            .next()
            .is_some_and(|k| k.trim().eq_ignore_ascii_case("application/resource-lists+xml"));
        return Ok(lists.then(|| body.to_vec()));
    }
    let parts =
        multipart::parts(body, &kind, &MultipartLimits::default()).map_err(|_| ListError::Malformed)?;
    let list = parts.iter().find(|p| {
        p.media_type() == "application/resource-lists+xml" && p.disposition() == Some("recipient-list")
    });
    match list {
        Some(part) if part.is_encoded() => Err(ListError::Malformed),
        Some(part) => Ok(body.get(part.range()).map(<[u8]>::to_vec)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_sip::Method;

    /// The list of RFC 5366 §4, figure 1.
    const LIST: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:cp="urn:ietf:params:xml:ns:copycontrol">
 <list>
  <entry uri="sip:bill@example.com" cp:copyControl="to"/>
  <entry uri="sip:joe@example.org" cp:copyControl="cc"/>
  <entry uri="sip:ted@example.net" cp:copyControl="bcc"/>
 </list>
</resource-lists>"#;

    fn invite(body: String, kind: &str) -> Message {
        let mut message = Message::request(Method::Invite, Uri::parse("sip:factory@example.com").unwrap());
        message.push_back("Require", "recipient-list-invite").unwrap();
        message.set_body(body, Some(kind)).unwrap();
        message
    }

    fn mixed(list: &str) -> Message {
        let body = format!(
            "--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b1\r\nContent-Type: application/resource-lists+xml\r\n\
             Content-Disposition: recipient-list\r\n\r\n{}\r\n--b1--\r\n",
            list.replace('\n', "\r\n")
        );
        invite(body, "multipart/mixed;boundary=\"b1\"")
    }

    #[test]
    fn the_list_of_the_specification() {
        let uris = recipients(&mixed(LIST), 10).unwrap();
        let texts: Vec<_> = uris.iter().map(Uri::as_str).collect();
        assert_eq!(texts, ["sip:bill@example.com", "sip:joe@example.org", "sip:ted@example.net"]);
        assert_eq!(recipients(&invite(LIST.into(), "application/resource-lists+xml"), 3).unwrap().len(), 3);
    }

    #[test]
    fn lists_that_cannot_be_used() {
        let sdp = Message::request(Method::Invite, Uri::parse("sip:factory@example.com").unwrap());
        assert_eq!(recipients(&sdp, 10), Ok(Vec::new()));
        assert_eq!(recipients(&invite("v=0".into(), "application/sdp"), 10), Err(ListError::Missing));
        assert_eq!(recipients(&mixed(LIST), 2), Err(ListError::TooMany));
        assert_eq!(recipients(&mixed("<list/>"), 2), Err(ListError::Malformed));
        assert_eq!(
            recipients(&mixed(&LIST.replace("uri=\"sip:joe@example.org\"", "")), 9),
            Err(ListError::Malformed)
        );
        assert_eq!(
            recipients(&mixed(&LIST.replace("sip:joe@", "http://joe.")), 9),
            Err(ListError::Recipient)
        );
        assert_eq!(
            recipients(&mixed(&LIST.replace("sip:joe@example.org", "sip:BILL@x")), 9).unwrap().len(),
            3
        );
        let twice = LIST.replace("sip:joe@example.org", "sip:bill@EXAMPLE.com");
        assert_eq!(recipients(&mixed(&twice), 9).unwrap().len(), 2);
        let many: String = (0..10_000).map(|n| format!("<entry uri=\"sip:{n}@example.com\"/>")).collect();
        assert_eq!(
            recipients(&mixed(&LIST.replace("<list>", &format!("<list>{many}"))), 50),
            Err(ListError::TooMany)
        );
    }
}
