//! One media line as seen by someone who acts on it.
//!
//! RFC 8866 §5.14; session values stand in for media values where the attribute's own RFC says
//! so.

use crate::attribute::{Attribute, Direction, E2ae, Fingerprint, KeyMgmt, MIKEY, Setup, TLS_ROLE};
use crate::document::{Section, attributes};
use crate::line::{Connection, Line};
use crate::{Document, MediaLine};
use std::fmt;

/// What kind of protection a media line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// `TCP/TLS/MSRP` or `TCP/TLS/BFCP` without a request for end-to-access-edge security.
    E2eTls,
    /// In clear over TCP or UDP.
    Plain,
    /// Port 0 (RFC 3264 §6).
    Rejected,
    /// Anything else: SRTP, DTLS, TLS ended at the access edge, unknown transports.
    Other,
}

impl Class {
    /// A stable name for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::E2eTls => "e2e-tls",
            Self::Plain => "tcp-or-udp-plain",
            Self::Rejected => "rejected",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const SECURED: &[&str] = &["TCP/TLS/MSRP", "TCP/TLS/BFCP"];
const CLEAR: &[&str] = &[
    "TCP",
    "TCP/MSRP",
    "TCP/BFCP",
    "TCP/RTP/AVP",
    "TCP/RTP/AVPF",
    "UDP",
    "UDP/BFCP",
    "UDPTL",
    "RTP/AVP",
    "RTP/AVPF",
    "UDP/RTP/AVP",
    "UDP/UDPTL",
];

/// A view of one media line.
#[derive(Debug, Clone, Copy)]
pub struct Media<'a> {
    pub(crate) document: &'a Document,
    pub(crate) section: &'a Section,
    pub(crate) index: usize,
}

impl<'a> Media<'a> {
    /// Position among the media lines, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The fields of the `m=` line.
    pub fn line(&self) -> &'a MediaLine {
        &self.section.fields
    }

    /// Media type.
    pub fn media(&self) -> &'a str {
        &self.section.fields.media
    }

    /// Port; 0 rejects the line, and where H.248 has `$` this is `None`.
    pub fn port(&self) -> Option<u16> {
        self.section.fields.port
    }

    /// Transport as written.
    pub fn proto(&self) -> &'a str {
        &self.section.fields.proto
    }

    /// Formats.
    pub fn formats(&self) -> &'a [String] {
        &self.section.fields.formats
    }

    /// Whether the line is refused or taken out (RFC 3264 §6, §8.2).
    pub fn is_rejected(&self) -> bool {
        self.port() == Some(0)
    }

    /// The `c=` line of this section only.
    pub fn own_connection(&self) -> Option<Connection> {
        self.section.lines.iter().find(|l| l.kind() == b'c').and_then(|l| Connection::parse(l.value()))
    }

    /// The `c=` line that holds for this media line: its own, else the session's.
    pub fn connection(&self) -> Option<Connection> {
        self.own_connection().or_else(|| self.document.connection())
    }

    /// Where media goes, if `c=` has a literal address.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        Some((self.connection()?.host.ip()?, self.port()?).into())
    }

    /// The attributes of this section, in order.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        attributes(&self.section.lines)
    }

    /// The first attribute of that name in this section.
    pub fn attribute(&self, name: &str) -> Option<Attribute<'a>> {
        self.attributes().find(|a| a.name == name.as_bytes())
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.attribute(name).and_then(|a| a.text())
    }

    fn inherited(&self, name: &str) -> Option<&'a str> {
        self.text(name).or_else(|| self.document.attribute(name).and_then(|a| a.text()))
    }

    /// `a=setup`, of the media line or of the session (RFC 4145 §4).
    pub fn setup(&self) -> Option<Setup> {
        self.inherited("setup")?.parse().ok()
    }

    /// Which way media flows, as the media line says, else the session (RFC 8866 §6.7).
    pub fn direction(&self) -> Direction {
        let of = |attribute: Attribute<'_>| {
            Direction::ALL.into_iter().find(|direction| direction.as_str().as_bytes() == attribute.name)
        };
        let own = self.attributes().find_map(of);
        own.or_else(|| self.document.attributes().find_map(of)).unwrap_or_default()
    }

    /// `a=path` (RFC 4975 §8): MSRP URIs separated by spaces.
    pub fn path(&self) -> Option<&'a str> {
        self.text("path")
    }

    /// Whether the sender follows RFC 6714 and connects to `c=` and the port.
    pub fn msrp_cema(&self) -> bool {
        self.attribute("msrp-cema").is_some()
    }

    /// `a=key-mgmt` of this media line; if there is none, of the session (RFC 4567 §3.1).
    pub fn key_mgmt(&self) -> Vec<KeyMgmt<'a>> {
        let read =
            |a: Attribute<'a>| (a.name == b"key-mgmt").then(|| a.text()).flatten().and_then(KeyMgmt::parse);
        let own: Vec<_> = self.attributes().filter_map(read).collect();
        if own.is_empty() { self.document.attributes().filter_map(read).collect() } else { own }
    }

    /// `a=fingerprint`, of the media line or of the session (RFC 8122 §5).
    pub fn fingerprint(&self) -> Option<Fingerprint<'a>> {
        Fingerprint::parse(self.inherited("fingerprint")?)
    }

    /// All `a=fingerprint` of this media line; if there is none, of the session. There may be one
    /// a hash and several of one hash (RFC 8122 §5).
    pub fn fingerprints(&self) -> Vec<Fingerprint<'a>> {
        let read = |a: Attribute<'a>| {
            (a.name == b"fingerprint").then(|| a.text()).flatten().and_then(Fingerprint::parse)
        };
        let own: Vec<_> = self.attributes().filter_map(read).collect();
        if own.is_empty() { self.document.attributes().filter_map(read).collect() } else { own }
    }

    /// `a=3ge2ae` of this media line and of the session: the most demanding there is. It belongs to
    /// media lines, but one that stands elsewhere, twice, or with another value is not overlooked.
    pub fn e2ae(&self) -> Option<E2ae> {
        let all = self.attributes().chain(self.document.attributes());
        all.filter(|a| a.name == b"3ge2ae").map(E2ae::parse).max()
    }

    /// Whether the sender takes its TLS role from the MIKEY exchange if the other end does so too
    /// (`a=x-carnet-tlsrole:mikey`, at media level only). Other values say nothing.
    pub fn tls_role_by_mikey(&self) -> bool {
        self.text(TLS_ROLE).is_some_and(|value| value.eq_ignore_ascii_case(MIKEY))
    }

    /// What the media line may take, in bits per second: `b=TIAS` (RFC 3890), else `b=AS` (RFC 8866
    /// §5.8), of the line, else of the session. The largest of several.
    pub fn bandwidth(&self) -> Option<u64> {
        let of = |lines: &[Line], name: &str, unit: u64| {
            let values = lines.iter().filter(|l| l.kind() == b'b').filter_map(|line| {
                let (kind, value) = std::str::from_utf8(line.value()).ok()?.split_once(':')?;
                let number = kind.eq_ignore_ascii_case(name).then(|| value.trim().parse::<u64>().ok())??;
                Some(number.saturating_mul(unit))
            });
            values.max()
        };
        let both = |lines: &[Line]| of(lines, "TIAS", 1).or_else(|| of(lines, "AS", 1000));
        both(&self.section.lines).or_else(|| both(&self.document.session))
    }

    /// `a=accept-types` (RFC 4975 §8.6): MIME types, or `*`.
    pub fn accept_types(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.text("accept-types").unwrap_or_default().split_ascii_whitespace()
    }

    /// What kind of protection the line asks for.
    pub fn class(&self) -> Class {
        let is_in = |list: &[&str]| list.iter().any(|p| p.eq_ignore_ascii_case(self.proto()));
        if self.is_rejected() {
            Class::Rejected
        } else if is_in(SECURED) && self.e2ae().is_none_or(|e2ae| e2ae == E2ae::Applied) {
            Class::E2eTls
        } else if is_in(CLEAR) {
            Class::Plain
        } else {
            Class::Other
        }
    }
}
