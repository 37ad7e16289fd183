//! What is wrong with a description that can be read all the same.
//!
//! [`Document::parse`](crate::Document::parse) takes what can be forwarded. A review holds it
//! against RFC 8866 and the documents of the attributes Carnet knows (RFC 4145, RFC 4567,
//! RFC 4975, RFC 5547, RFC 8122): for people and tools that look at a description, not for those
//! who pass it on.
//!
//! Left out: values of `b=`, `r=`, `z=` and `k=`, attributes Carnet does not know, and whatever
//! only an offer and its answer together can break.

use crate::Document;
use crate::attribute::{Attribute, Fingerprint, KeyMgmt, Setup};
use crate::document::Section;
use crate::line::{Connection, Host, Line};
use std::net::IpAddr;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Where, in octets from the start of the description as it prints.
    pub at: usize,
    /// The rule that is broken, `RFC 8866 §5.3`.
    pub clause: &'static str,
    /// For people.
    pub message: String,
    /// Whether nobody could take part in a session so described: a line that is not rejected has
    /// no address.
    pub fatal: bool,
}

/// The order of lines in the session section and in a media section (RFC 8866 §5); `t=`, `r=` and
/// `z=` belong together.
const SESSION: &[u8] = b"vosiuepcbtrzka";
const MEDIA: &[u8] = b"micbka";
/// Lines that stand once in a section (RFC 8866 §9).
const ONCE: &[u8] = b"vosiuk";

impl Document {
    /// All that is wrong, in the order of the octets.
    pub fn review(&self) -> Vec<Remark> {
        let mut review = Review::default();
        review.session(&self.session);
        let session_address = review.section(&self.session, SESSION, false);
        let mut at: usize = self.session.iter().map(length).sum();
        for section in &self.media {
            review.at = at;
            review.media(section, session_address);
            at += section.lines.iter().map(length).sum::<usize>();
        }
        review.remarks.sort_by_key(|remark| remark.at);
        review.remarks
    }
}

fn length(line: &Line) -> usize {
    line.text.len() + line.ending.octets().len()
}

#[derive(Default)]
struct Review {
    remarks: Vec<Remark>,
    /// Where the section begins.
    at: usize,
}

impl Review {
    fn note(&mut self, at: usize, clause: &'static str, message: impl Into<String>) {
        self.remarks.push(Remark { at, clause, message: message.into(), fatal: false });
    }

    /// Lines with the place of each.
    fn placed<'a>(&self, lines: &'a [Line]) -> impl Iterator<Item = (usize, &'a Line)> + use<'a> {
        lines.iter().scan(self.at, |at, line| {
            let here = *at;
            *at += length(line);
            Some((here, line))
        })
    }

    fn session(&mut self, lines: &[Line]) {
        let end: usize = lines.iter().map(length).sum();
        for (kind, clause) in [(b's', "RFC 8866 §5.3"), (b't', "RFC 8866 §5.9")] {
            if !lines.iter().any(|line| line.kind() == kind) {
                self.note(end, clause, format!("no {}= line", char::from(kind)));
            }
        }
        for (at, line) in self.placed(lines) {
            let value = line.value();
            match line.kind() {
                b'o' => self.origin(at + 2, value),
                b's' if value.is_empty() => {
                    self.note(at + 2, "RFC 8866 §5.3", "the session name is empty; `-` or a space is none");
                }
                b't' => {
                    let fields: Vec<_> = value.split(|b| *b == b' ').collect();
                    if fields.len() != 2 || !fields.iter().all(|field| is_number(field)) {
                        self.note(at + 2, "RFC 8866 §5.9", "start and stop are not two numbers");
                    }
                }
                _ => {}
            }
        }
    }

    fn origin(&mut self, at: usize, value: &[u8]) {
        let clause = "RFC 8866 §5.2";
        let mut fields = value.split(|b| *b == b' ').scan(at, |next, field| {
            let here = *next;
            *next += field.len() + 1;
            Some((here, field))
        });
        let mut fields = fields.by_ref().filter(|(_, field)| !field.is_empty()).skip(1);
        for name in ["session identifier", "session version"] {
            if let Some((at, field)) = fields.next()
                && !is_number(field)
            {
                self.note(at, clause, format!("the {name} is no number"));
            }
        }
        let (Some((net, nettype)), Some(family), Some(host)) = (fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        if !nettype.eq_ignore_ascii_case(b"IN") {
            self.note(net, clause, "the network is not IN");
        }
        self.address(clause, family, host);
    }

    /// Whether an address is one of its family.
    fn address(&mut self, clause: &'static str, family: (usize, &[u8]), host: (usize, &[u8])) {
        let text = String::from_utf8_lossy(host.1);
        let v6 = match family.1 {
            f if f.eq_ignore_ascii_case(b"IP4") => false,
            f if f.eq_ignore_ascii_case(b"IP6") => true,
            _ => return self.note(family.0, clause, "the address family is neither IP4 nor IP6"),
        };
        match Host::parse(&text) {
            Host::Ip(ip) if ip.is_ipv6() == v6 => {}
            Host::Ip(IpAddr::V4(_)) => self.note(host.0, clause, "an IPv4 address where IP6 is said"),
            Host::Ip(IpAddr::V6(_)) => self.note(host.0, clause, "an IPv6 address where IP4 is said"),
            Host::Name(name)
                if name.bytes().all(|b| b.is_ascii_digit() || b == b'.') || name.contains(':') =>
            {
                self.note(host.0, clause, "neither an address nor a name");
            }
            Host::Name(_) => {}
        }
    }

    /// What both kinds of section have in common; whether there is an address in it.
    fn section(&mut self, lines: &[Line], order: &[u8], is_media: bool) -> bool {
        let (mut seen, mut furthest, mut has_address) = (Vec::new(), 0, false);
        for (at, line) in self.placed(lines) {
            let kind = line.kind();
            if kind == 0 {
                self.note(at, "RFC 8866 §5", "an empty line behind the description");
                continue;
            }
            let name = char::from(kind);
            match order.iter().position(|k| *k == kind) {
                None => self.note(at, "RFC 8866 §5", format!("{name}= does not belong here")),
                Some(place) if matches!(kind, b'r' | b'z' | b't') => furthest = furthest.max(place),
                Some(place) if place < furthest => {
                    self.note(at, "RFC 8866 §5", format!("{name}= stands too late"));
                }
                Some(place) => furthest = place,
            }
            // Several c= lines in a media section are addresses of several layers (§5.7).
            let once = ONCE.contains(&kind) || (kind == b'c' && !is_media);
            if once && seen.contains(&kind) {
                self.note(at, "RFC 8866 §9", format!("a second {name}= line; the first holds"));
                continue;
            }
            seen.push(kind);
            match kind {
                b'c' => has_address |= self.connection(at + 2, line.value()),
                b'a' => self.attribute(at + 2, Attribute::parse(line.value())),
                _ => {}
            }
        }
        has_address
    }

    /// Whether a `c=` line can be read.
    fn connection(&mut self, at: usize, value: &[u8]) -> bool {
        let clause = "RFC 8866 §5.7";
        if Connection::parse(value).is_none() {
            self.note(at, clause, "not `IN`, an address family and an address");
            return false;
        }
        let mut fields = value.split(|b| *b == b' ').scan(at, |next, field| {
            let here = *next;
            *next += field.len() + 1;
            Some((here, field))
        });
        let mut fields = fields.by_ref().filter(|(_, field)| !field.is_empty()).skip(1);
        if let (Some(family), Some(host)) = (fields.next(), fields.next()) {
            self.address(clause, family, host);
        }
        true
    }

    fn attribute(&mut self, at: usize, attribute: Attribute<'_>) {
        if attribute.name.is_empty() {
            return self.note(at, "RFC 8866 §5.13", "an attribute without a name");
        }
        let value_at = at + attribute.name.len() + usize::from(attribute.value.is_some());
        let text = attribute.text().unwrap_or_default();
        match attribute.name {
            b"setup" => match text.parse() {
                Ok(Setup::Active | Setup::Passive | Setup::ActPass | Setup::HoldConn) => {}
                Err(()) => {
                    self.note(value_at, "RFC 4145 §4", "not active, passive, actpass or holdconn");
                }
            },
            b"key-mgmt" => match KeyMgmt::parse(text) {
                None => {
                    let message = "a key management protocol without data";
                    self.note(value_at, "RFC 4567 §3.1", message);
                }
                Some(key) => {
                    if let Err(error) = carnet_wire::base64::decode(key.data.as_bytes()) {
                        let lead = place(&attribute, key.data);
                        self.note(value_at + lead + error.at, "RFC 4567 §3.1", "the data is not base64");
                    }
                }
            },
            b"fingerprint" if !Fingerprint::parse(text).is_some_and(|f| f.is_well_formed()) => {
                self.note(value_at, "RFC 8122 §5", "not a hash and as many hex pairs as it has octets");
            }
            b"max-size" if text.parse::<u64>().is_err() => {
                self.note(value_at, "RFC 4975 §8.6", "not a number of octets");
            }
            _ => {}
        }
    }

    fn media(&mut self, section: &Section, session_address: bool) {
        let at = self.at;
        let own_address = self.section(&section.lines, MEDIA, true);
        let fields = &section.fields;
        if fields.port == Some(0) {
            return;
        }
        if !own_address && !session_address {
            let message = "neither this line nor the session has an address (c=)".to_owned();
            self.remarks.push(Remark { at, clause: "RFC 8866 §5.7", message, fatal: true });
        }
        let has = |name: &[u8]| {
            let mut attributes = crate::document::attributes(&section.lines);
            attributes.any(|a| a.name == name)
        };
        if ["TCP/MSRP", "TCP/TLS/MSRP"].iter().any(|proto| proto.eq_ignore_ascii_case(&fields.proto)) {
            for (name, clause) in [("path", "RFC 4975 §8.2"), ("accept-types", "RFC 4975 §8.6")] {
                if !has(name.as_bytes()) {
                    self.note(at, clause, format!("an MSRP line without a={name}"));
                }
            }
        }
        if has(b"file-selector") && !has(b"file-transfer-id") {
            self.note(at, "RFC 5547 §6", "a file without a=file-transfer-id");
        }
    }
}

/// Where `part` begins in the attribute's value.
fn place(attribute: &Attribute<'_>, part: &str) -> usize {
    let value = attribute.value.unwrap_or_default();
    memchr::memmem::find(value, part.as_bytes()).unwrap_or(0)
}

fn is_number(field: &[u8]) -> bool {
    !field.is_empty() && field.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Limits;

    const SOUND: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=message 2855 TCP/TLS/MSRP *\r\na=accept-types:*\r\na=path:msrps://192.0.2.1:2855/a;tcp\r\n\
        a=setup:actpass\r\na=key-mgmt:mikey AA==\r\na=fingerprint:sha-1 \
        00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33\r\n";

    fn review(text: &str) -> Vec<Remark> {
        Document::parse(text.to_owned().into(), &Limits::default()).unwrap().review()
    }

    #[test]
    fn a_sound_description_has_no_remarks() {
        assert_eq!(review(SOUND), []);
        let rejected = SOUND.replace("c=IN IP4 192.0.2.1\r\n", "").replace("message 2855", "message 0");
        assert_eq!(review(&rejected), []);
        let own = SOUND.replace("c=IN IP4 192.0.2.1\r\n", "");
        assert_eq!(review(&own.replace("MSRP *\r\n", "MSRP *\r\nc=IN IP6 2001:db8::1\r\n")), []);
        assert_eq!(review(&SOUND.replace("c=IN IP4 192.0.2.1", "c=IN IP4 media.example.com")), []);
    }

    #[test]
    fn each_remark_lies_at_what_is_wrong() {
        // What is changed, where the octets behind the place start, and how many remarks there are.
        for (from, to, place) in [
            ("s=-\r\n", "", "m=message"),
            ("s=-", "s=", "\r\nc=IN"),
            ("t=0 0\r\n", "", "m=message"),
            ("t=0 0", "t=0 now", "0 now"),
            ("c=IN IP4 192.0.2.1\r\n", "", "m=message"),
            ("c=IN IP4 192.0.2.1", "c=IN IP4 999.1.1.1", "999"),
            ("c=IN IP4 192.0.2.1", "c=IN IP6 192.0.2.1", "192.0.2.1\r\nt"),
            ("c=IN IP4 192.0.2.1", "c=IN IP4 2001:db8::1", "2001"),
            ("c=IN IP4", "c=IN X25", "X25"),
            ("o=- 1 2", "o=- one 2", "one"),
            ("o=- 1 2", "o=- 1 two", "two"),
            ("o=- 1 2 IN IP4 192", "o=- 1 2 IN IP6 192", "192"),
            ("s=-\r\n", "s=-\r\nv=0\r\n", "v=0\r\nc="),
            ("t=0 0\r\n", "t=0 0\r\nc=IN IP4 192.0.2.9\r\n", "c=IN IP4 192.0.2.9"),
            ("a=setup:actpass", "a=setup:bogus", "bogus"),
            ("a=setup:actpass", "a=setup", "\r\na=key"),
            ("key-mgmt:mikey AA==", "key-mgmt:mikey", "mikey\r\n"),
            ("key-mgmt:mikey AA==", "key-mgmt:mikey A*==", "*=="),
            ("ee:ff:00:11:22:33\r\n", "ee:ff\r\n", "sha-1"),
            ("a=accept-types:*\r\n", "", "m=message"),
            ("a=setup:actpass", "a=max-size:many", "many"),
            ("a=setup:actpass", "a=:x", ":x"),
            ("a=setup:actpass", "q=x", "q=x"),
        ] {
            let text = SOUND.replacen(from, to, 1);
            assert_ne!(text, SOUND, "{from}");
            let remarks = review(&text);
            let at = text.find(place).unwrap();
            assert!(remarks.iter().any(|r| r.at == at), "{to:?} at {at}: {remarks:?}");
        }
    }

    #[test]
    fn only_a_line_without_an_address_is_beyond_use() {
        for to in ["", "c=garbage\r\n"] {
            let remarks = review(&SOUND.replace("c=IN IP4 192.0.2.1\r\n", to));
            assert_eq!(remarks.iter().filter(|r| r.fatal).count(), 1, "{remarks:?}");
        }
        let all = review("v=0\r\no=x y z IN IP4 999\r\nm=message 1 TCP/MSRP *\r\nc=IN IP4 h\r\n");
        assert!(all.len() > 4 && all.iter().all(|r| !r.fatal), "{all:?}");
    }

    proptest::proptest! {
        #[test]
        fn whatever_can_be_read_can_be_reviewed(
            changes in proptest::collection::vec((0..SOUND.len(), proptest::prelude::any::<u8>()), 0..12)
        ) {
            let mut octets = SOUND.as_bytes().to_vec();
            for (at, octet) in changes {
                octets[at] = octet;
            }
            let end = octets.len();
            if let Ok(document) = Document::parse(octets.into(), &Limits::default()) {
                let remarks = document.review();
                proptest::prop_assert!(remarks.iter().all(|r| r.at <= end), "{:?}", remarks);
            }
        }
    }
}
