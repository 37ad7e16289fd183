//! Octets into entries, a module a protocol.

mod control;
mod datagram;
mod event;
mod floor;
mod http;
mod keys;
mod msrp;
mod ng;
pub(crate) mod sdp;
mod sip;
mod stream;
mod tls;

pub(crate) use datagram::{datagram, message};
pub(crate) use event::read as event;
pub(crate) use stream::Stream;

use crate::model::Fact;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;

/// Octets of text kept of one entry.
const LONGEST_TEXT: usize = 64 << 10;

/// What a message says, before it is known when and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub label: String,
    pub text: String,
    pub fact: Fact,
    pub bad: bool,
    /// What it belongs to.
    pub ties: Vec<Tie>,
    /// Addresses that its session uses for media.
    pub claims: Vec<SocketAddr>,
    /// The same thing said again is folded.
    pub again: Option<u64>,
}

/// What ties an entry to others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Tie {
    /// A Call-ID.
    Call(String),
    /// The origin of a description.
    Origin(String),
    /// A message of MIKEY.
    Keys(u64),
    /// A ticket.
    Ticket(u64),
    /// A random number of a ClientHello.
    Random(String),
    /// A context of the gateway of this association.
    Context(u32),
    /// A context that was made just now; its number may have been another's.
    FreshContext(u32),
    /// A transaction of H.248, asked for by the sender.
    Asked(u32),
    /// A transaction of H.248 that the sender answers.
    Answered(u32),
    /// A context is over.
    Gone(u32),
    /// A context of the gateway of that name.
    Held(String, u32),
    /// The same, made just now.
    FreshHeld(String, u32),
    /// What these two say to each other outside of contexts.
    Association,
    /// A request of ng, by its cookie.
    Cookie(String),
    /// The session ends here.
    End,
}

/// How messages are shown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Show {
    /// Key material too.
    pub secrets: bool,
}

impl Told {
    pub(crate) fn new(label: impl Into<String>, text: impl Into<String>, fact: Fact) -> Self {
        Self {
            label: label.into(),
            text: short(text.into()),
            fact,
            bad: false,
            ties: Vec::new(),
            claims: Vec::new(),
            again: None,
        }
    }

    pub(crate) fn unreadable(protocol: &str, why: &str, octets: &[u8]) -> Self {
        let text = format!(
            "{why}\n\n{} octets; not shown, since what is not understood cannot be masked",
            octets.len()
        );
        let mut told = Self::new(
            format!("{protocol}: not readable"),
            text,
            Fact::Unreadable(format!("{protocol}: {why}")),
        );
        told.bad = true;
        told
    }
}

/// A text that is not longer than is kept.
fn short(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let mut at = LONGEST_TEXT;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.truncate(at);
        text.push_str("\n(cut)");
    }
    text
}

/// Tells octets apart. The same in every run.
pub(crate) fn digest(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}
