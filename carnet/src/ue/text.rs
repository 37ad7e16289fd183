//! The words in a message: plain, in a CPIM wrapper (RFC 3862), or among parts (RFC 2046 §5.1).

use carnet_msrp::{Limits, Status, composing, cpim, imdn, multipart};

/// How deep wrappers may be in each other.
const DEPTH: u8 = 4;

/// Whether messages of this type may hold words.
pub(super) fn may_hold_words(content_type: &str) -> bool {
    let kind = kind(content_type);
    kind == "text/plain" || kind == cpim::MEDIA_TYPE || kind.starts_with("multipart/")
}

/// What a message says; `None` if there is nothing to show.
///
/// # Errors
/// The status to answer: 400 for what cannot be read, 415 for what nobody here can show, which is
/// also a wrapper that demands an extension (RFC 3862 §4.7).
pub(super) fn words(content_type: &str, octets: &[u8]) -> Result<Option<String>, Status> {
    inside(content_type, octets, 0)
}

/// The notification that the sender of a message asked for, now that it is here, to be sent as
/// message/cpim (RFC 5438 §7.2.1). `own_id` names the notification.
///
/// Only delivery is told. Whether a person has looked is that person's to tell.
pub(super) fn receipt(content_type: &str, octets: &[u8], own_id: &str) -> Option<Vec<u8>> {
    if kind(content_type) != cpim::MEDIA_TYPE {
        return None;
    }
    let (head, _) = cpim::Head::parse(octets, &Limits::default()).ok()??;
    let notification = imdn::Notification::about(&head, imdn::Kind::Delivery, imdn::Disposition::Delivered)?;
    let (sender, us) = (head.from()?, head.to().into_iter().next()?);
    notification.wrap(&us, &sender, own_id).ok()
}

fn inside(content_type: &str, octets: &[u8], depth: u8) -> Result<Option<String>, Status> {
    let limits = Limits::default();
    let kind = kind(content_type);
    match kind.as_str() {
        _ if depth > DEPTH => Err(Status::UNSUPPORTED_TYPE),
        "text/plain" => Ok(Some(String::from_utf8_lossy(octets).into_owned())),
        // What the peer's program tells ours.
        imdn::MEDIA_TYPE | composing::MEDIA_TYPE => Ok(None),
        cpim::MEDIA_TYPE => {
            let read = cpim::Head::parse(octets, &limits).map_err(|_| Status::BAD_REQUEST)?;
            let (head, body) = read.ok_or(Status::BAD_REQUEST)?;
            if !head.missing(&[]).is_empty() {
                return Err(Status::UNSUPPORTED_TYPE);
            }
            inside(head.content_type(), octets.get(body..).unwrap_or_default(), depth + 1)
        }
        "multipart/alternative" => {
            // RFC 2046 §5.1.4: the last that can be shown is the best.
            let parts = multipart::parts(content_type, octets, &limits).map_err(|_| Status::BAD_REQUEST)?;
            let readable = parts.iter().rev().map(|part| inside(part.content_type(), part.body, depth + 1));
            readable.into_iter().find(Result::is_ok).unwrap_or(Err(Status::UNSUPPORTED_TYPE))
        }
        _ if kind.starts_with("multipart/") => {
            // RFC 2046 §5.1.3: kinds of multipart that nobody knows are mixed.
            let parts = multipart::parts(content_type, octets, &limits).map_err(|_| Status::BAD_REQUEST)?;
            let read: Vec<_> =
                parts.iter().map(|part| inside(part.content_type(), part.body, depth + 1)).collect();
            if !read.is_empty() && read.iter().all(Result::is_err) {
                return Err(Status::UNSUPPORTED_TYPE);
            }
            let said: Vec<String> = read.into_iter().flatten().flatten().collect();
            Ok((!said.is_empty()).then(|| said.join("\n")))
        }
        _ => Err(Status::UNSUPPORTED_TYPE),
    }
}

fn kind(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_wrapper() {
        let unsupported = Err(Status::UNSUPPORTED_TYPE);
        let said = |text: &str| Ok(Some(text.to_owned()));
        let cpim = "From: <sip:a@b>\r\nTo: <sip:c@d>\r\n\r\n";
        let mixed = "multipart/mixed; boundary=b";
        for (content_type, body, expected) in [
            ("text/plain;charset=UTF-8", "hello".to_owned(), said("hello")),
            ("Message/CPIM", format!("{cpim}Content-Type: text/plain\r\n\r\nhello"), said("hello")),
            ("message/cpim", format!("{cpim}Content-Type: message/imdn+xml\r\n\r\n<imdn/>"), Ok(None)),
            ("message/cpim", format!("{cpim}Content-Type: image/png\r\n\r\nPNG"), unsupported.clone()),
            ("message/cpim", format!("Require: x.Y\r\n{cpim}\r\n\r\nhello"), unsupported.clone()),
            ("message/cpim", "no head".into(), Err(Status::BAD_REQUEST)),
            (
                mixed,
                "--b\r\n\r\none\r\n--b\r\nContent-Type: a/b\r\n\r\nx\r\n--b\r\n\r\ntwo\r\n--b--".into(),
                said("one\ntwo"),
            ),
            (mixed, "--b\r\nContent-Type: a/b\r\n\r\nx\r\n--b--".into(), unsupported.clone()),
            (
                "multipart/alternative; boundary=b",
                "--b\r\n\r\nplain\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--".into(),
                said("plain"),
            ),
            ("image/png", String::new(), unsupported.clone()),
        ] {
            assert_eq!(words(content_type, body.as_bytes()), expected, "{body}");
        }
        // Wrapped and wrapped again.
        let mut body = b"hello".to_vec();
        let mut content_type = "text/plain";
        for _ in 0..10 {
            body =
                [cpim.as_bytes(), format!("Content-Type: {content_type}\r\n\r\n").as_bytes(), &body].concat();
            content_type = "message/cpim";
        }
        assert_eq!(words(content_type, &body), unsupported);
    }

    /// RFC 5438 §7.2: who asks for it is told that the message is here, once, and nobody else is.
    #[test]
    fn a_receipt_is_given_where_it_is_asked_for() {
        let head = "From: Alice <sip:alice@a.example>\r\nTo: <sip:bob@b.example>\r\n\
             NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 34jk324j\r\nDateTime: 2026-04-04T12:16:49-05:00\r\n";
        let body = "\r\nContent-Type: text/plain\r\n\r\nhello";
        let wrapped = |asked: &str| format!("{head}imdn.Disposition-Notification: {asked}\r\n{body}");
        let receipt = |text: &str| super::receipt("message/cpim", text.as_bytes(), "own1");

        let told = receipt(&wrapped("positive-delivery, display")).unwrap();
        let limits = Limits::default();
        let (about, at) = cpim::Head::parse(&told, &limits).unwrap().unwrap();
        assert_eq!(about.to().first().unwrap().uri, "sip:alice@a.example");
        assert_eq!(about.from().unwrap().uri, "sip:bob@b.example");
        let notification = imdn::Notification::parse(&told[at..]).unwrap();
        assert_eq!(notification.message_id, "34jk324j");
        assert_eq!(
            (notification.kind, notification.disposition),
            (imdn::Kind::Delivery, imdn::Disposition::Delivered)
        );
        // A receipt asks for none, or two programs would thank each other for ever.
        assert_eq!(super::receipt("message/cpim", &told, "own2"), None);
        for silent in [wrapped("negative-delivery"), wrapped("display"), format!("{head}{body}")] {
            assert_eq!(receipt(&silent), None, "{silent}");
        }
        assert_eq!(super::receipt("text/plain", wrapped("positive-delivery").as_bytes(), "own"), None);
    }
}
