//! How the two ends of an MSRP session find each other through a gateway.
//!
//! TS 23.334 §5.19 with table 5.19.1-1, RFC 6714 §4 and §5, RFC 4975 §5.4 and §7.1.

use super::{Addressing, Policy, Said};

/// What becomes of the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    /// Both ends connect to `c=` and port: nothing is changed.
    Kept,
    /// Both match by the session identifier: host and port are changed in SDP only.
    Readdressed,
    /// The gateway rewrites them in MSRP too.
    Rewritten,
}

/// One end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Cema,
    Sessmatch,
    Plain,
}

fn offerer(said: &Said, network: Addressing) -> End {
    match network {
        _ if said.cema => End::Cema,
        Addressing::Sessmatch => End::Sessmatch,
        _ => End::Plain,
    }
}

/// What is to be expected of the answerer. Only its answer shows whether it follows RFC 6714; where
/// nothing is known, an offer that has the attribute goes on as it is, and its sender falls back if the
/// answer lacks it (RFC 6714 §4.2).
fn answerer(offerer: End, network: Addressing) -> End {
    match network {
        Addressing::Sessmatch => End::Sessmatch,
        Addressing::Auto | Addressing::Cema if offerer == End::Cema => End::Cema,
        _ => End::Plain,
    }
}

/// What must become of the paths, and why.
pub(super) fn paths(said: &Said, from: Addressing, to: Addressing, policy: &Policy) -> (Paths, &'static str) {
    let offerer = offerer(said, from);
    match (offerer, answerer(offerer, to)) {
        (End::Cema, End::Cema) => (Paths::Kept, "both ends follow RFC 6714"),
        (End::Sessmatch, End::Sessmatch) => (Paths::Readdressed, "both ends match sessions by identifier"),
        (End::Sessmatch | End::Plain, _) if policy.forward_without_cema => {
            (Paths::Readdressed, "both ends are taken to match sessions by identifier")
        }
        (End::Cema, End::Sessmatch) => {
            (Paths::Rewritten, "one end follows RFC 6714, the other matches by identifier")
        }
        (End::Cema, End::Plain) => (Paths::Rewritten, "the answerer's network does not follow RFC 6714"),
        (End::Sessmatch, _) => (Paths::Rewritten, "one end matches by identifier, the other does not"),
        (End::Plain, _) => (Paths::Rewritten, "the offerer does not follow RFC 6714"),
    }
}
