//! Where to connect when a middlebox on the path rewrote the connection line (RFC 6714, CEMA).
//!
//! With CEMA both ends use the address of `c=` and `m=`, which middleboxes may change, and leave
//! `a=path` alone, which only names the session. That is what lets TLS run end to end through a
//! gateway. The facts come from session descriptions and, for names, from the resolver; nothing here
//! reads or resolves.

use crate::Uri;
use crate::connection::Role;
use std::net::IpAddr;

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
    /// What the names in `host` and `path` resolve to, when they are names: connection line first.
    pub resolved: (&'a [IpAddr], &'a [IpAddr]),
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
    /// A middlebox moved the media without either end taking part: refuse the line (port 0, or 488
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
    /// The peer does not know CEMA and would connect past the middlebox: offer again without
    /// `a=msrp-cema`, so that the middlebox can act as an endpoint.
    OfferWithout,
}

impl Facts<'_> {
    /// Whether the connection line leads elsewhere than the path.
    ///
    /// RFC 6714 §4: compare after resolution and in one spelling. Two names that were not resolved
    /// are compared as names.
    pub fn mismatch(&self) -> bool {
        // RFC 4145: with a=setup:active both say port 9, and then they agree.
        if self.path.port() != Some(self.port) {
            return true;
        }
        let line = addresses(self.host, self.resolved.0);
        let path = addresses(self.path.host(), self.resolved.1);
        if line.is_empty() || path.is_empty() {
            return !bare(self.host).eq_ignore_ascii_case(bare(self.path.host()));
        }
        !line.iter().any(|a| path.contains(a))
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
            Role::Active => OnAnswer::Connect(self.next_hop()),
            Role::Passive if self.cema || !self.mismatch() => OnAnswer::Listen,
            Role::Passive => OnAnswer::OfferWithout,
        }
    }

    fn line(&self) -> Target {
        Target { host: bare(self.host).to_owned(), port: self.port }
    }

    fn next_hop(&self) -> Target {
        Target { host: bare(self.path.host()).to_owned(), port: self.path.port().unwrap_or(self.port) }
    }
}

fn addresses(host: &str, resolved: &[IpAddr]) -> Vec<IpAddr> {
    let canonical = |a: IpAddr| a.to_canonical();
    match bare(host).parse::<IpAddr>() {
        Ok(address) => vec![canonical(address)],
        Err(_) => resolved.iter().copied().map(canonical).collect(),
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
        let facts =
            Facts { cema: true, path: &path, host: "198.51.100.9", port: 20000, resolved: (&[], &[]) };
        assert!(facts.mismatch());
        let gateway = target("198.51.100.9", 20000);
        assert_eq!(facts.on_offer(), OnOffer::Answer { cema: true, target: gateway.clone() });
        assert_eq!(facts.on_answer(Role::Active), OnAnswer::Connect(gateway));
        assert_eq!(facts.on_answer(Role::Passive), OnAnswer::Listen);
    }

    #[test]
    fn without_cema_a_mismatch_is_refused_or_offered_again() {
        let path: Uri = "msrp://192.0.2.1:7654/s;tcp".parse().unwrap();
        let moved =
            Facts { cema: false, path: &path, host: "198.51.100.9", port: 7654, resolved: (&[], &[]) };
        assert_eq!(moved.on_offer(), OnOffer::Refuse);
        assert_eq!(moved.on_answer(Role::Passive), OnAnswer::OfferWithout);
        assert_eq!(moved.on_answer(Role::Active), OnAnswer::Connect(target("192.0.2.1", 7654)));
        let straight = Facts { host: "192.0.2.1", ..moved };
        assert_eq!(straight.on_offer(), OnOffer::Answer { cema: false, target: target("192.0.2.1", 7654) });
        assert_eq!(straight.on_answer(Role::Passive), OnAnswer::Listen);
    }

    #[test]
    fn spellings_and_names_do_not_make_a_mismatch() {
        let path: Uri = "msrp://[2001:0db8::0:1]:5/s;tcp".parse().unwrap();
        let six = Facts { cema: false, path: &path, host: "2001:db8::1", port: 5, resolved: (&[], &[]) };
        assert!(!six.mismatch());
        let path: Uri = "msrp://Alice.example.com:5/s;tcp".parse().unwrap();
        assert!(!Facts { path: &path, host: "alice.EXAMPLE.com", ..six.clone() }.mismatch());
        let there = ["2001:db8::1".parse().unwrap()];
        assert!(!Facts { path: &path, resolved: (&[], &there), ..six.clone() }.mismatch());
        assert!(Facts { path: &path, resolved: (&[], &[]), ..six }.mismatch());
    }
}
