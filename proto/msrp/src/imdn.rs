//! Instant message disposition notifications: "delivered", "displayed" (RFC 5438).
//!
//! A sender asks with headers of the message/cpim wrapper, a receiver answers with a small XML
//! document in a wrapper of its own. Aggregation by list servers is not here.

use crate::cpim::{Address, ContentHeader, Head};
use crate::xml::{Element, escape};
use carnet_wire::ParseError;

/// The namespace of the headers (RFC 5438 §6.1).
pub const NAMESPACE: &str = "urn:ietf:params:imdn";
/// The media type of a notification.
pub const MEDIA_TYPE: &str = "message/imdn+xml";

/// What a sender wants to be told (RFC 5438 §7.1.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// That the message reached the recipient.
    pub positive_delivery: bool,
    /// That it did not.
    pub negative_delivery: bool,
    /// That something on the way worked on it.
    pub processing: bool,
    /// That it was shown.
    pub display: bool,
}

/// What a wrapper asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `imdn.Message-ID`, which the notification names.
    pub message_id: String,
    /// What is wanted.
    pub wanted: Wanted,
}

impl Request {
    /// Reads the request out of a wrapper; `None` when there is none.
    ///
    /// RFC 5438 §7.2.1: a notification is not notified about, so a wrapper around one asks for
    /// nothing whatever its headers say.
    pub fn read(head: &Head) -> Option<Self> {
        if is_notification(head) {
            return None;
        }
        let message_id = head.get_in(NAMESPACE, "Message-ID")?.to_owned();
        let mut wanted = Wanted::default();
        for word in head.get_in(NAMESPACE, "Disposition-Notification")?.split(',') {
            match word.trim() {
                "positive-delivery" => wanted.positive_delivery = true,
                "negative-delivery" => wanted.negative_delivery = true,
                "processing" => wanted.processing = true,
                "display" => wanted.display = true,
                _ => {}
            }
        }
        Some(Self { message_id, wanted })
    }

    /// Adds the request to a wrapper. RFC 5438 §7.1.1.2 wants `DateTime` too, which is `date_time` in
    /// the form of RFC 3339.
    pub fn write(&self, head: &mut Head, date_time: &str) -> Result<(), ParseError> {
        head.push("NS", &format!("imdn <{NAMESPACE}>"))?;
        head.push("imdn.Message-ID", &self.message_id)?;
        head.push("DateTime", date_time)?;
        let w = self.wanted;
        let words = [
            (w.positive_delivery, "positive-delivery"),
            (w.negative_delivery, "negative-delivery"),
            (w.processing, "processing"),
            (w.display, "display"),
        ];
        let words: Vec<_> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        head.push("imdn.Disposition-Notification", &words.join(", "))
    }
}

/// Which disposition a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whether the message arrived.
    Delivery,
    /// Whether something on the way worked on it.
    Processing,
    /// Whether it was shown.
    Display,
}

/// The outcome (RFC 5438 §11.1.7).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposition {
    /// It arrived.
    Delivered,
    /// It did not arrive.
    Failed,
    /// It was worked on.
    Processed,
    /// It waits in a store.
    Stored,
    /// It was shown.
    Displayed,
    /// The recipient does not say.
    Forbidden,
    /// The recipient could not say.
    Error,
    /// A word of an extension.
    Other(String),
}

impl Disposition {
    fn from_word(word: &str) -> Self {
        match word {
            "delivered" => Self::Delivered,
            "failed" => Self::Failed,
            "processed" => Self::Processed,
            "stored" => Self::Stored,
            "displayed" => Self::Displayed,
            "forbidden" => Self::Forbidden,
            "error" => Self::Error,
            other => Self::Other(other.to_owned()),
        }
    }

    fn word(&self) -> &str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Processed => "processed",
            Self::Stored => "stored",
            Self::Displayed => "displayed",
            Self::Forbidden => "forbidden",
            Self::Error => "error",
            Self::Other(word) => word,
        }
    }
}

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// `imdn.Message-ID` of the message it is about.
    pub message_id: String,
    /// `DateTime` of that message.
    pub date_time: String,
    /// Who received the message.
    pub recipient: Option<String>,
    /// To whom it was addressed at first.
    pub original_recipient: Option<String>,
    /// Subject of that message.
    pub subject: Option<String>,
    /// Which disposition.
    pub kind: Kind,
    /// The outcome.
    pub disposition: Disposition,
    /// Intermediaries that want to see the notification on its way back, the first one first: headers
    /// of the wrapper, not of the document (RFC 5438 §6.6).
    pub routes: Vec<String>,
}

impl Notification {
    /// Reads the document.
    pub fn parse(document: &[u8]) -> Result<Self, ParseError> {
        let root = Element::parse(document)?;
        if root.name != "imdn" {
            return Err(ParseError::new(0, "an `imdn` element"));
        }
        let need = |name: &'static str| {
            root.text_of(name)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
                .ok_or_else(|| ParseError::new(0, name))
        };
        let kinds = [
            ("delivery-notification", Kind::Delivery),
            ("processing-notification", Kind::Processing),
            ("display-notification", Kind::Display),
        ];
        let found = kinds.into_iter().find_map(|(name, kind)| Some((root.child(name)?, kind)));
        let (element, kind) = found.ok_or_else(|| ParseError::new(0, "a notification"))?;
        let status = element.child("status").and_then(|s| s.children.first());
        let status = status.ok_or_else(|| ParseError::new(0, "a status"))?;
        let text = |name| root.text_of(name).filter(|t| !t.is_empty()).map(str::to_owned);
        Ok(Self {
            message_id: need("message-id")?,
            date_time: need("datetime")?,
            recipient: text("recipient-uri"),
            original_recipient: text("original-recipient-uri"),
            subject: text("subject"),
            kind,
            disposition: Disposition::from_word(&status.name),
            routes: Vec::new(),
        })
    }

    /// Writes the document.
    pub fn to_xml(&self) -> String {
        let kind = match self.kind {
            Kind::Delivery => "delivery-notification",
            Kind::Processing => "processing-notification",
            Kind::Display => "display-notification",
        };
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n");
        out.push_str("<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\r\n");
        // RFC 5438 §11.1.9: the schema has both addresses or neither, and a subject only beside them.
        let original = self.original_recipient.as_ref().or(self.recipient.as_ref());
        let recipient = self.recipient.as_ref().or(original);
        let fields = [
            ("message-id", Some(&self.message_id)),
            ("datetime", Some(&self.date_time)),
            ("recipient-uri", recipient),
            ("original-recipient-uri", original),
            ("subject", self.subject.as_ref().filter(|_| recipient.is_some())),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                out.push_str(&format!("<{name}>{}</{name}>\r\n", escape(value)));
            }
        }
        let word = escape(self.disposition.word());
        out.push_str(&format!("<{kind}><status><{word}/></status></{kind}>\r\n</imdn>\r\n"));
        out
    }

    /// The notification for a received message, `None` when its sender did not ask for this outcome
    /// (RFC 5438 §7.2.1).
    pub fn about(head: &Head, kind: Kind, disposition: Disposition) -> Option<Self> {
        let request = Request::read(head)?;
        let w = request.wanted;
        let asked = match (kind, &disposition) {
            (Kind::Delivery, Disposition::Delivered) => w.positive_delivery,
            (Kind::Delivery, _) => w.negative_delivery,
            (Kind::Processing, _) => w.processing,
            (Kind::Display, _) => w.display,
        };
        asked.then(|| Self {
            message_id: request.message_id,
            date_time: head.get("DateTime").unwrap_or_default().to_owned(),
            recipient: head.to().first().map(|a| a.uri.clone()),
            original_recipient: head
                .get_in(NAMESPACE, "Original-To")
                .map(|v| Address::parse(v).map_or_else(|_| v.to_owned(), |a| a.uri)),
            subject: head.get("Subject").map(str::to_owned),
            kind,
            disposition,
            routes: head.all_in(NAMESPACE, "IMDN-Record-Route").map(str::to_owned).collect(),
        })
    }

    /// The wrapper and the document, ready to send to the sender of the message (RFC 5438 §7.2.1).
    pub fn wrap(&self, from: &Address, to: &Address, own_id: &str) -> Result<Vec<u8>, ParseError> {
        let document = self.to_xml();
        let mut head = Head::new(from, to, MEDIA_TYPE)?;
        head.push("NS", &format!("imdn <{NAMESPACE}>"))?;
        head.push("imdn.Message-ID", own_id)?;
        for route in &self.routes {
            head.push("imdn.IMDN-Route", route)?;
        }
        head.content.push(ContentHeader::new("Content-Disposition", "notification")?);
        head.content.push(ContentHeader::new("Content-Length", &document.len().to_string())?);
        let mut out = Vec::new();
        head.write(&mut out);
        out.extend_from_slice(document.as_bytes());
        Ok(out)
    }
}

/// Whether the wrapper holds a notification rather than a message for people.
pub fn is_notification(head: &Head) -> bool {
    let media_type = head.content_type().split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case(MEDIA_TYPE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    /// A wrapper as an RCS client of another maker sent it, from a public log of 2013.
    const ASKED: &str = "From: <sip:anonymous@anonymous.invalid>\r\n\
        To: <sip:anonymous@anonymous.invalid>\r\n\
        NS: imdn <urn:ietf:params:imdn>\r\n\
        imdn.Message-ID: Msg2BCqcBUWKA\r\n\
        DateTime: 2013-08-08T06:40:56.000Z\r\n\
        imdn.Disposition-Notification: positive-delivery, display\r\n\
        \r\n\
        Content-type: text/plain; charset=utf-8\r\n\
        Content-length: 1\r\n\
        \r\n\
        F";

    /// A notification as another client sent it, from a public question about a capture of 2015.
    const TOLD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\n  \
        <message-id>MsggOfzN1UHCA</message-id>\n  <datetime>2015-05-13T15:04:08Z</datetime>\n  \
        <delivery-notification>\n    <status>\n      <delivered/>\n    </status>\n  </delivery-notification>\n</imdn>\n";

    fn head(text: &str) -> Head {
        Head::parse(text.as_bytes(), &Limits::default()).unwrap().unwrap().0
    }

    #[test]
    fn a_request_is_answered() {
        let asked = head(ASKED);
        let request = Request::read(&asked).unwrap();
        assert_eq!(request.message_id, "Msg2BCqcBUWKA");
        assert_eq!(request.wanted, Wanted { positive_delivery: true, display: true, ..Wanted::default() });
        let told = Notification::about(&asked, Kind::Display, Disposition::Displayed).unwrap();
        assert_eq!(told.date_time, "2013-08-08T06:40:56.000Z");
        let alone = "sip:anonymous@anonymous.invalid";
        assert_eq!(told.recipient.as_deref(), Some(alone));
        let read = Notification::parse(told.to_xml().as_bytes()).unwrap();
        assert_eq!(read.original_recipient.as_deref(), Some(alone), "the schema wants both");
        assert_eq!(Notification { original_recipient: None, ..read }, told);
        assert_eq!(Notification::about(&asked, Kind::Delivery, Disposition::Failed), None);
        let wrapped = told.wrap(&Address::of("sip:b@c"), &Address::of("sip:a@c"), "x1").unwrap();
        let (wrapper, at) = Head::parse(&wrapped, &Limits::default()).unwrap().unwrap();
        assert!(is_notification(&wrapper));
        assert_eq!(wrapper.content("content-disposition"), Some("notification"));
        assert_eq!(Notification::parse(&wrapped[at..]).unwrap().message_id, told.message_id);
        // Nobody is notified about a notification.
        assert_eq!(Request::read(&wrapper), None);
    }

    /// RFC 5438 §7.2.1, §11.1.4, §11.1.5: routes go back in their order, and what an intermediary or the
    /// sender wrote about the message comes back.
    #[test]
    fn routes_original_recipient_and_subject_come_back() {
        let asked = ASKED.replace(
            "DateTime:",
            "imdn.IMDN-Record-Route: <sip:near@x.example>\r\nimdn.Original-To: Bob <im:bob@x.example>\r\n\
             other.IMDN-Record-Route: <sip:not@x.example>\r\nSubject: tea & cake\r\n\
             imdn.IMDN-Record-Route: Far <sip:far@x.example>\r\nDateTime:",
        );
        let told = Notification::about(&head(&asked), Kind::Delivery, Disposition::Delivered).unwrap();
        assert_eq!(told.original_recipient.as_deref(), Some("im:bob@x.example"));
        let wrapped = told.wrap(&Address::of("sip:b@c"), &Address::of("sip:a@c"), "x1").unwrap();
        let (wrapper, at) = Head::parse(&wrapped, &Limits::default()).unwrap().unwrap();
        let routes: Vec<_> = wrapper.all_in(NAMESPACE, "IMDN-Route").collect();
        assert_eq!(routes, ["<sip:near@x.example>", "Far <sip:far@x.example>"]);
        assert_eq!(wrapper.get_in(NAMESPACE, "IMDN-Record-Route"), None);
        let read = Notification::parse(&wrapped[at..]).unwrap();
        assert_eq!(read.subject.as_deref(), Some("tea & cake"));
        assert_eq!(read.original_recipient, told.original_recipient);
    }

    #[test]
    fn a_notification_of_another_maker() {
        let told = Notification::parse(TOLD.as_bytes()).unwrap();
        assert_eq!((told.message_id.as_str(), told.kind), ("MsggOfzN1UHCA", Kind::Delivery));
        assert_eq!(told.disposition, Disposition::Delivered);
        for bad in ["<imdn/>", "<x/>", "<imdn><message-id>a</message-id><datetime>b</datetime></imdn>"] {
            assert!(Notification::parse(bad.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_request_written_is_read() {
        let mut wrapper = Head::new(&Address::of("sip:a@b"), &Address::of("sip:c@d"), "text/plain").unwrap();
        let wanted =
            Wanted { positive_delivery: true, negative_delivery: true, processing: false, display: true };
        let request = Request { message_id: "id1".into(), wanted };
        request.write(&mut wrapper, "2026-01-01T00:00:00Z").unwrap();
        let mut out = Vec::new();
        wrapper.write(&mut out);
        assert_eq!(Request::read(&head(std::str::from_utf8(&out).unwrap())), Some(request));
    }
}
