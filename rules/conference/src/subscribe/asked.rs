//! What a SUBSCRIBE asks for (RFC 6665 §4.2.1, RFC 4575 §3.4).

use carnet_roster::{CONTENT_TYPE, EVENT};
use carnet_sip::Message;

/// An event package that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackageName {
    Conference,
    Refer,
}

/// The value of an Event header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventName {
    pub(super) package: PackageName,
    pub(super) id: Option<String>,
}

impl EventName {
    /// `None` for packages not spoken here, and without an Event.
    pub(super) fn of(request: &Message) -> Option<Self> {
        let value = request.header("Event")?;
        let mut parts = value.split(';').map(str::trim);
        let package = match parts.next()? {
            EVENT => PackageName::Conference,
            "refer" => PackageName::Refer,
            _ => return None,
        };
        let id = parts.find_map(|p| {
            let (name, value) = p.split_once('=')?;
            name.trim().eq_ignore_ascii_case("id").then(|| value.trim().to_owned())
        });
        Some(Self { package, id })
    }

    /// As written in NOTIFY.
    pub(super) fn value(&self) -> String {
        let package = match self.package {
            PackageName::Conference => EVENT,
            PackageName::Refer => "refer",
        };
        match &self.id {
            Some(id) => format!("{package};id={id}"),
            None => package.to_owned(),
        }
    }
}

/// Whether the watcher takes our documents. Without Accept it does (RFC 4575 §3.4).
pub(super) fn accepts(request: &Message) -> bool {
    if !request.has("Accept") {
        return true;
    }
    let Ok(ranges) = request.values("Accept") else { return false };
    ranges.iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.filter_map(|p| p.strip_prefix("q=")).any(|q| q.parse() == Ok(0.0_f32));
        !refused && [CONTENT_TYPE, "application/*", "*/*"].contains(&kind.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_sip::{Method, Uri};

    fn with(name: &str, value: &str) -> Message {
        let mut message = Message::request(Method::Subscribe, Uri::parse("sip:room@example.com").unwrap());
        message.push_back(name, value).unwrap();
        message
    }

    #[test]
    fn packages() {
        let of = |value| EventName::of(&with("Event", value)).map(|e| (e.package, e.value()));
        assert_eq!(of("conference"), Some((PackageName::Conference, "conference".into())));
        assert_eq!(of("conference ; ID = 7;x"), Some((PackageName::Conference, "conference;id=7".into())));
        assert_eq!(of("refer;id=93809823"), Some((PackageName::Refer, "refer;id=93809823".into())));
        assert_eq!(of("conference.winfo"), None);
        assert_eq!(of("presence"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn types() {
        let takes = |value| accepts(&with("Accept", value));
        assert!(accepts(&with("Event", "conference")));
        assert!(takes("application/pidf+xml, application/conference-info+xml;q=0.5"));
        assert!(takes("Application/Conference-Info+XML"));
        assert!(takes("*/*"));
        assert!(!takes("application/pidf+xml"));
        assert!(!takes("application/conference-info+xml;q=0"));
        assert!(!takes(""));
    }
}
