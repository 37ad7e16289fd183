//! Where to connect when a middlebox on the path rewrote the connection line (RFC 6714, CEMA).
//!
//! With CEMA both ends use the address of `c=` and `m=`, which middleboxes may change, and leave
//! `a=path` alone, which only names the session. That is what lets TLS run end to end through a
//! gateway. Without it the path says where to connect (RFC 4975 §8.1), and a connection line that
//! leads elsewhere shows that a middlebox sits in between which the path goes around.
//!
//! The facts come from session descriptions. Names are not resolved here: a name beside an address
//! is given the benefit of the doubt.

use crate::Uri;
use crate::connection::Role;
use crate::uri::DEFAULT_PORT;
use std::net::IpAddr;

/// The port of an end that only connects (RFC 4145 §4.1). It names no place.
const DISCARD: u16 = 9;

/// What one session description says about reaching its sender.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Whether `a=msrp-cema` is there.
    pub cema: bool,
    /// The first URI of `a=path`: the next hop.
    pub path: &'a Uri,
    /// The address of the connection line, or its name.
    pub host: &'a str,
    /// The port of the media line.
    pub port: u16,
}

/// An address to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What to do with an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnOffer {
    /// Answer. If active, connect to the target.
    Answer {
        /// Whether the answer has `a=msrp-cema`.
        cema: bool,
        /// Where to connect if our role is active.
        target: Target,
    },
    /// A middlebox moved the media and the offerer would not follow: refuse the line (port 0, or 488
    /// when it is the only one).
    Refuse,
}

/// What to do with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnAnswer {
    /// Connect.
    Connect(Target),
    /// Wait for the peer's connection.
    Listen,
    /// The peer does not know CEMA, and the path leads past a middlebox: offer again without
    /// `a=msrp-cema`, so that the middlebox can act as an endpoint, and go by the path then.
    OfferWithout,
}

impl Facts<'_> {
    /// Whether the connection line leads elsewhere than the path, in whatever spelling (RFC 6714 §4.4).
    pub fn mismatch(&self) -> bool {
        if self.port != DISCARD && self.path.port().unwrap_or(DEFAULT_PORT) != self.port {
            return true;
        }
        match (bare(self.host).parse::<IpAddr>(), self.path.address()) {
            (Ok(line), Some(path)) => line.to_canonical() != path.to_canonical(),
            (Err(_), None) => !self.host.eq_ignore_ascii_case(self.path.host()),
            _ => false,
        }
    }

    /// What an end that knows CEMA does with this offer (RFC 6714 §4.3).
    pub fn on_offer(&self) -> OnOffer {
        if self.cema {
            OnOffer::Answer { cema: true, target: self.line() }
        } else if self.mismatch() {
            OnOffer::Refuse
        } else {
            OnOffer::Answer { cema: false, target: self.next_hop() }
        }
    }

    /// What an end that offered CEMA does with this answer, in its role (RFC 6714 §4.2).
    pub fn on_answer(&self, role: Role) -> OnAnswer {
        match role {
            Role::Active if self.cema => OnAnswer::Connect(self.line()),
            Role::Passive if self.cema => OnAnswer::Listen,
            _ if self.mismatch() => OnAnswer::OfferWithout,
            _ => self.by_path(role),
        }
    }

    /// What an end that offered without CEMA does with this answer: the path decides, whatever the
    /// connection line says (RFC 4975 §8.1).
    pub fn by_path(&self, role: Role) -> OnAnswer {
        match role {
            Role::Active => OnAnswer::Connect(self.next_hop()),
            Role::Passive => OnAnswer::Listen,
        }
    }

    fn line(&self) -> Target {
        Target { host: bare(self.host).to_owned(), port: self.port }
    }

    fn next_hop(&self) -> Target {
        Target { host: bare(self.path.host()).to_owned(), port: self.path.port().unwrap_or(DEFAULT_PORT) }
    }
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, port: u16) -> Target {
        Target { host: host.into(), port }
    }

    #[test]
    fn with_cema_the_connection_line_counts() {
        let path: Uri = "msrps://192.0.2.1:7654/s;tcp".parse().unwrap();
        let facts = Facts { cema: true, path: &path, host: "198.51.100.9", port: 20000 };
        assert!(facts.mismatch());
        let gateway = target("198.51.100.9", 20000);
        assert_eq!(facts.on_offer(), OnOffer::Answer { cema: true, target: gateway.clone() });
        assert_eq!(facts.on_answer(Role::Active), OnAnswer::Connect(gateway));
        assert_eq!(facts.on_answer(Role::Passive), OnAnswer::Listen);
    }

    #[test]
    fn without_cema_a_mismatch_is_refused_or_offered_again() {
        let path: Uri = "msrp://192.0.2.1:7654/s;tcp".parse().unwrap();
        let moved = Facts { cema: false, path: &path, host: "198.51.100.9", port: 7654 };
        assert_eq!(moved.on_offer(), OnOffer::Refuse);
        for role in [Role::Active, Role::Passive] {
            assert_eq!(moved.on_answer(role), OnAnswer::OfferWithout);
            let port = Facts { host: "192.0.2.1", port: 7655, ..moved.clone() };
            assert_eq!(port.on_answer(role), OnAnswer::OfferWithout);
        }
        // After the second offer the path counts.
        let hop = target("192.0.2.1", 7654);
        assert_eq!(moved.by_path(Role::Active), OnAnswer::Connect(hop.clone()));
        assert_eq!(moved.by_path(Role::Passive), OnAnswer::Listen);
        let straight = Facts { host: "192.0.2.1", ..moved };
        assert_eq!(straight.on_offer(), OnOffer::Answer { cema: false, target: hop.clone() });
        assert_eq!(straight.on_answer(Role::Passive), OnAnswer::Listen);
        assert_eq!(straight.on_answer(Role::Active), OnAnswer::Connect(hop));
    }

    #[test]
    fn spellings_and_names_do_not_make_a_mismatch() {
        let path: Uri = "msrp://[2001:0db8::0:1]:5/s;tcp".parse().unwrap();
        let six = Facts { cema: false, path: &path, host: "2001:db8::1", port: 5 };
        assert!(!six.mismatch());
        let path: Uri = "msrp://Alice.example.com:5/s;tcp".parse().unwrap();
        assert!(!Facts { path: &path, host: "alice.EXAMPLE.com", ..six.clone() }.mismatch());
        assert!(Facts { path: &path, host: "bob.example.com", ..six.clone() }.mismatch());
        // Only a resolver could tell.
        assert!(!Facts { path: &path, ..six.clone() }.mismatch());
        assert!(Facts { path: &path, port: 6, ..six }.mismatch());
    }

    #[test]
    fn an_end_that_only_connects_is_nowhere() {
        let path: Uri = "msrp://192.0.2.1:7654/s;tcp".parse().unwrap();
        let active = Facts { cema: false, path: &path, host: "192.0.2.1", port: 9 };
        assert!(!active.mismatch());
        assert!(Facts { host: "198.51.100.9", ..active }.mismatch(), "a middlebox moved its address");
        // RFC 4975 §15.3: no port is 2855.
        let path: Uri = "msrp://192.0.2.1/s;tcp".parse().unwrap();
        assert!(!Facts { cema: false, path: &path, host: "192.0.2.1", port: 2855 }.mismatch());
    }
}
