//! Messages of a conference as they are written and read: message/cpim around everything (RFC 7701 §6.1),
//! with an identifier and a date (RFC 5438 §7.1.1), addressed to the conference or to one member (§6.2).

use std::time::SystemTime;

use bytes::Bytes;
use carnet_client::FileOffer;
use carnet_msrp::Status;
use carnet_msrp::composing::{self, Composing};
use carnet_msrp::cpim::{self, Address, ContentHeader, Head};
use carnet_msrp::file::local_name;
use carnet_msrp::imdn::{self, Disposition, Kind, Notification, Request, Wanted};

use super::super::text;

/// Who writes to whom.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    pub(super) me: String,
    /// The conference.
    pub(super) room: String,
}

/// What a message is.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// For people: its text.
    Words(String),
    /// Somebody types.
    Composing(Composing),
    /// What became of a message of ours.
    Receipt(Notification),
    /// Nothing to show.
    Nothing,
}

/// The present, as DateTime wants it.
pub(super) fn date(now: SystemTime) -> String {
    let now = jiff::Timestamp::try_from(now).unwrap_or_default();
    format!("{now:.3}")
}

/// The time of DateTime.
pub(super) fn time_of(head: &Head) -> Option<SystemTime> {
    let stamp: jiff::Timestamp = head.get("DateTime")?.parse().ok()?;
    Some(stamp.into())
}

impl Envelope {
    fn head(&self, to: Option<&str>, id: &str, now: SystemTime, kind: &str) -> Result<Head, String> {
        let failed = |error: carnet_wire::ParseError| format!("it cannot be written: {error}");
        let (from, to_address) = (Address::of(&self.me), Address::of(to.unwrap_or(&self.room)));
        let mut head = Head::new(&from, &to_address, kind).map_err(failed)?;
        // A room of many would answer a question to all with a storm.
        let wanted = Wanted { positive_delivery: true, negative_delivery: true, ..Wanted::default() };
        if to.is_some() {
            let request = Request { message_id: id.to_owned(), wanted };
            request.write(&mut head, &date(now)).map_err(failed)?;
        } else {
            head.push("NS", &format!("imdn <{}>", imdn::NAMESPACE)).map_err(failed)?;
            head.push("imdn.Message-ID", id).map_err(failed)?;
            head.push("DateTime", &date(now)).map_err(failed)?;
        }
        Ok(head)
    }

    /// A text for all, or for one.
    pub(super) fn text(
        &self,
        to: Option<&str>,
        id: &str,
        now: SystemTime,
        text: &str,
    ) -> Result<Bytes, String> {
        let head = self.head(to, id, now, "text/plain;charset=UTF-8")?;
        Ok(with(&head, text.as_bytes()))
    }

    /// That we type, or stopped.
    pub(super) fn composing(
        &self,
        id: &str,
        now: SystemTime,
        composing: &Composing,
    ) -> Result<Bytes, String> {
        let head = self.head(None, id, now, composing::MEDIA_TYPE)?;
        Ok(with(&head, composing.to_xml().as_bytes()))
    }

    /// What goes before a file.
    pub(super) fn file(
        &self,
        to: Option<&str>,
        id: &str,
        now: SystemTime,
        file: &FileOffer,
    ) -> Result<Bytes, String> {
        let mut head = self.head(to, id, now, &file.content_type)?;
        let name = local_name(&file.name).replace(['"', '\\'], "_");
        let size = file.size.map_or(String::new(), |size| format!("; size={size}"));
        let disposition =
            ContentHeader::new("Content-Disposition", &format!("attachment; filename=\"{name}\"{size}"));
        head.content.push(disposition.map_err(|error| format!("it cannot be written: {error}"))?);
        Ok(with(&head, &[]))
    }

    /// The notification that the sender of a message asked for, now that it is here (RFC 5438 §7.2.1):
    /// to the sender alone. What was sent to all is not answered by each.
    pub(super) fn receipt(&self, head: &Head, id: &str) -> Option<Bytes> {
        if !self.is_private(head) {
            return None;
        }
        let notification = Notification::about(head, Kind::Delivery, Disposition::Delivered)?;
        let octets = notification.wrap(&Address::of(&self.me), &head.from()?, id).ok()?;
        Some(octets.into())
    }

    /// Whether a message is for us only, or from us for one.
    pub(super) fn is_private(&self, head: &Head) -> bool {
        let to = head.to();
        !to.is_empty() && !to.iter().any(|to| super::same_user(&to.uri, &self.room))
    }
}

fn with(head: &Head, content: &[u8]) -> Bytes {
    let mut octets = Vec::with_capacity(512 + content.len());
    head.write(&mut octets);
    octets.extend_from_slice(content);
    octets.into()
}

/// Whether what is in a message is to be read whole, being words or a program's note; else it is a file.
pub(super) fn is_short(head: &Head) -> bool {
    let disposition = head.content("Content-Disposition").unwrap_or_default();
    let attached =
        disposition.split(';').next().is_some_and(|word| word.trim().eq_ignore_ascii_case("attachment"));
    let kind = kind(head.content_type());
    let note = kind == imdn::MEDIA_TYPE || kind == composing::MEDIA_TYPE;
    note || (!attached && text::may_hold_words(&kind))
}

/// What a file is called by its sender; not safe as a path.
pub(super) fn file_of(head: &Head, size: Option<u64>) -> FileOffer {
    let disposition = head.content("Content-Disposition").unwrap_or_default();
    let quoted = disposition.split_once("filename=").map(|(_, rest)| rest.trim_start());
    let name = quoted.map(|rest| match rest.strip_prefix('"') {
        Some(rest) => rest.split('"').next().unwrap_or_default(),
        None => rest.split(';').next().unwrap_or_default().trim(),
    });
    FileOffer {
        name: name.filter(|name| !name.is_empty()).unwrap_or("file").to_owned(),
        content_type: kind(head.content_type()),
        size,
        ..FileOffer::default()
    }
}

/// Reads a message that is short, with its head.
///
/// # Errors
/// The status to answer.
pub(super) fn read(head: &Head, octets: &[u8], at: usize) -> Result<Read, Status> {
    let content = octets.get(at..).unwrap_or_default();
    match kind(head.content_type()).as_str() {
        imdn::MEDIA_TYPE => {
            let notification = Notification::parse(content).map_err(|_| Status::BAD_REQUEST)?;
            Ok(Read::Receipt(notification))
        }
        composing::MEDIA_TYPE => {
            let composing = Composing::parse(content).map_err(|_| Status::BAD_REQUEST)?;
            Ok(Read::Composing(composing))
        }
        _ => Ok(text::words(cpim::MEDIA_TYPE, octets)?.map_or(Read::Nothing, Read::Words)),
    }
}

fn kind(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_msrp::Limits;
    use std::time::Duration;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn envelope() -> Envelope {
        Envelope { me: "sip:alice@example.com".into(), room: "sip:room@conf.example".into() }
    }

    fn parse(octets: &[u8]) -> (Head, usize) {
        Head::parse(octets, &Limits::default()).unwrap().unwrap()
    }

    #[test]
    fn a_text_to_all_names_the_room_and_asks_nobody_for_receipts() {
        let octets = envelope().text(None, "id1", NOW + Duration::from_millis(1500), "hello\nyou").unwrap();
        let (head, at) = parse(&octets);
        assert_eq!(head.from().unwrap().uri, "sip:alice@example.com");
        assert_eq!(head.to()[0].uri, "sip:room@conf.example");
        assert_eq!(head.get("DateTime"), Some("1970-01-01T00:00:01.500Z"));
        assert_eq!(time_of(&head), Some(NOW + Duration::from_millis(1500)));
        assert_eq!(head.get_in(imdn::NAMESPACE, "Message-ID"), Some("id1"));
        assert!(Request::read(&head).is_none() && !envelope().is_private(&head));
        assert_eq!(read(&head, &octets, at), Ok(Read::Words("hello\nyou".into())));
        assert!(envelope().receipt(&head, "own").is_none());
    }

    #[test]
    fn a_text_to_one_is_private_and_its_receipt_goes_to_its_sender() {
        let octets = envelope().text(Some("sip:bob@example.com"), "id1", NOW, "psst").unwrap();
        let (head, _) = parse(&octets);
        assert_eq!(head.to()[0].uri, "sip:bob@example.com");
        let bob = Envelope { me: "sip:bob@example.com".into(), ..envelope() };
        assert!(bob.is_private(&head));
        let told = bob.receipt(&head, "own1").unwrap();
        let (about, at) = parse(&told);
        assert_eq!(about.from().unwrap().uri, "sip:bob@example.com");
        assert_eq!(about.to()[0].uri, "sip:alice@example.com");
        let Ok(Read::Receipt(notification)) = read(&about, &told, at) else { panic!() };
        assert_eq!(
            (notification.message_id.as_str(), notification.disposition),
            ("id1", Disposition::Delivered)
        );
        assert!(envelope().receipt(&about, "own2").is_none(), "nobody thanks for thanks");
    }

    #[test]
    fn a_file_is_told_from_words_and_has_a_name() {
        let file = FileOffer {
            name: "../a \"b\".png".into(),
            content_type: "image/png".into(),
            size: Some(7),
            ..FileOffer::default()
        };
        let octets = envelope().file(None, "id", NOW, &file).unwrap();
        let (head, at) = parse(&octets);
        assert_eq!(at, octets.len());
        assert!(!is_short(&head));
        let read = file_of(&head, Some(7));
        assert_eq!((read.content_type.as_str(), read.size), ("image/png", Some(7)));
        assert!(!read.name.contains('/') && !read.name.contains('"'), "{}", read.name);
        // A text that is attached is a file; without a name too.
        let attached = "From: <sip:a@x>\r\nTo: <sip:r@x>\r\n\r\nContent-Type: text/plain\r\n\
             Content-Disposition: attachment\r\n\r\nhello";
        let (head, _) = parse(attached.as_bytes());
        assert!(!is_short(&head) && file_of(&head, None).name == "file");
        let composing = envelope().composing("id", NOW, &Composing::new(composing::State::Active)).unwrap();
        let (head, at) = parse(&composing);
        assert!(is_short(&head));
        assert!(matches!(super::read(&head, &composing, at), Ok(Read::Composing(_))));
    }

    #[test]
    fn nothing_can_be_smuggled_into_a_head() {
        let to = "sip:bob@x>\r\nFrom: <sip:eve@x";
        if let Ok(octets) = envelope().text(Some(to), "id", NOW, "x") {
            let (head, _) = parse(&octets);
            assert_eq!(head.from().unwrap().uri, "sip:alice@example.com");
            assert_eq!(head.headers.iter().filter(|header| header.name() == "From").count(), 1);
        }
    }
}
