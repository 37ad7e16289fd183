//! Why a call did not come about, or was taken down, in a form that answers the peer and the person
//! who looks at the screen.
//!
//! One reason is one variant. Each knows the SIP answer (RFC 4567 §4.1.2: 488 with Warning 306 or
//! 399) and one sentence. Which octet of which payload was wrong is kept out of what the peer
//! gets: a refusal must not help whoever altered the message.

use std::fmt;

use carnet_seal::Refusal as KeyRefusal;
use carnet_sip::Silence;

/// Why there is no call.
///
/// [`Display`](fmt::Display) is the one sentence for a person. [`Refusal::sip`] is what the peer
/// is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The key exchange failed.
    Keys(KeyRefusal),
    /// The answer's transport is not the one that was offered.
    TransportChanged {
        /// What was offered.
        offered: String,
        /// What came back.
        answered: String,
    },
    /// The peer's session description has no line this client can take part in.
    NoMedia,
    /// The peer declined the media line (port 0).
    Declined,
    /// Offer without `a=msrp-cema` whose address is not the one in its path (RFC 6714 §4.3), or an
    /// answer of that kind to one who would not hear a second offer (§4.2).
    PathMismatch,
    /// `a=setup` of the two sides leaves nobody, or both, to connect.
    Setup,
    /// The session description or the SIP message cannot be read.
    Malformed(String),
    /// A body, or an encoding of one, that is not a session description.
    MediaType(String),
    /// The peer broke a rule of SIP that has an answer of its own: an extension we do not have, a
    /// session interval that is too short, two requests that cross ...
    Protocol(carnet_sip::Error),
    /// The caller never acknowledged that we ring (RFC 3262 §3).
    Unreliable,
    /// The peer answered with a final status.
    Rejected {
        /// SIP status, 300 to 699.
        status: u16,
        /// The peer's words: Warning text if there is one, else the reason phrase.
        text: String,
    },
    /// No final answer came from the network.
    Unanswered,
    /// The network cannot be reached.
    Unreachable,
    /// The network does not accept who we say we are.
    Unauthorised,
    /// The driver could not make or keep the media connection; one sentence.
    Connection(String),
    /// Who was called to join a conference is none.
    NoConference,
    /// The conference does not tell any more who is in it; its reason (RFC 6665 §4.1.3).
    RosterEnded(String),
    /// A file was offered, and there is no place for files.
    NoFiles,
    /// The user did not want the call.
    Unwanted,
    /// As many calls are up as this client takes.
    Busy,
}

impl Refusal {
    /// What to answer the peer: status, warning code, warning text without detail of the keys.
    pub fn sip(&self) -> (u16, Option<u16>, &'static str) {
        match self {
            Self::Keys(keys) => keys.sip(),
            Self::TransportChanged { .. } => (488, Some(302), "Incompatible transport protocol"),
            Self::NoMedia | Self::Declined => (488, Some(304), "Media type not available"),
            Self::PathMismatch => (488, Some(399), "MSRP path does not match and no CEMA"),
            Self::Setup => (488, Some(399), "Connection setup not possible"),
            Self::Malformed(_) => (400, Some(399), "Session description cannot be read"),
            Self::MediaType(_) => (415, None, "Unsupported Media Type"),
            Self::Protocol(error) => {
                let status = error.status().unwrap_or(400);
                (status, None, carnet_sip::reason_phrase(status))
            }
            Self::Unreliable => (504, None, "Server Time-out"),
            Self::Rejected { .. } | Self::Unanswered | Self::Unreachable | Self::Unauthorised => {
                (480, None, "Unavailable")
            }
            Self::Connection(_) => (480, Some(399), "Media connection failed"),
            Self::NoConference => (488, Some(399), "A conference was expected"),
            Self::RosterEnded(_) => (480, None, "Unavailable"),
            Self::NoFiles => (488, Some(399), "Files are not taken here"),
            Self::Unwanted => (603, None, "Decline"),
            Self::Busy => (486, None, "Busy Here"),
        }
    }

    /// One stable word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Keys(keys) => keys.word(),
            Self::TransportChanged { .. } => "transport-changed",
            Self::NoMedia => "no-media",
            Self::Declined => "declined",
            Self::PathMismatch => "path-mismatch",
            Self::Setup => "setup",
            Self::Malformed(_) => "malformed",
            Self::MediaType(_) => "media-type",
            Self::Protocol(_) => "protocol",
            Self::Unreliable => "unreliable",
            Self::Rejected { .. } => "rejected",
            Self::Unanswered => "unanswered",
            Self::Unreachable => "unreachable",
            Self::Unauthorised => "unauthorised",
            Self::Connection(_) => "connection",
            Self::NoConference => "no-conference",
            Self::RosterEnded(_) => "roster-ended",
            Self::NoFiles => "no-files",
            Self::Unwanted => "unwanted",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(keys) => keys.fmt(f),
            Self::TransportChanged { offered, answered } => write!(
                f,
                "we offered {} and were answered {}: someone changed the transport",
                plain(offered),
                plain(answered)
            ),
            Self::NoMedia => f.write_str("the other side has no message session that we can join"),
            Self::Declined => f.write_str("the other side declined the message session"),
            Self::PathMismatch => f.write_str(
                "the other side's address and MSRP path differ, and it does not allow relays (CEMA)",
            ),
            Self::Setup => f.write_str("the two sides could not agree who opens the connection"),
            Self::Malformed(what) => write!(f, "a message could not be read: {}", plain(what)),
            Self::MediaType(kind) => {
                write!(f, "the other side sent {} where a session description belongs", plain(kind))
            }
            Self::Protocol(error) => {
                write!(f, "the other side broke a rule of SIP: {}", plain(&error.to_string()))
            }
            Self::Unreliable => f.write_str("the other side never acknowledged that we ring"),
            Self::Rejected { status, text } => write!(f, "the call was refused: {status} {}", plain(text)),
            Self::Unanswered => f.write_str("nobody answered"),
            Self::Unreachable => f.write_str("the network cannot be reached"),
            Self::Unauthorised => f.write_str("the network does not accept this user name and password"),
            Self::Connection(sentence) => f.write_str(&plain(sentence)),
            Self::NoConference => f.write_str("what answered is not a conference"),
            Self::RosterEnded(reason) if reason.is_empty() => {
                f.write_str("the conference does not tell any more who is in it")
            }
            Self::RosterEnded(reason) => {
                write!(f, "the conference does not tell any more who is in it: {}", plain(reason))
            }
            Self::NoFiles => f.write_str("the file was declined: this client has no place for files"),
            Self::Unwanted => f.write_str("the call was declined"),
            Self::Busy => f.write_str("too many calls are up"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<KeyRefusal> for Refusal {
    fn from(refusal: KeyRefusal) -> Self {
        match refusal {
            // These are not about keys, wherever they come up.
            KeyRefusal::Malformed(what) => Self::Malformed(what),
            KeyRefusal::Busy => Self::Busy,
            refusal => Self::Keys(refusal),
        }
    }
}

impl From<Silence> for Refusal {
    fn from(reason: Silence) -> Self {
        match reason {
            Silence::Unreachable | Silence::NoAddress => Self::Unreachable,
            _ => Self::Unanswered,
        }
    }
}

impl From<carnet_sip::Error> for Refusal {
    fn from(error: carnet_sip::Error) -> Self {
        // Whatever has an answer of its own keeps it; the rest is octets that cannot be read.
        match error.status() {
            None | Some(400) => Self::Malformed(error.to_string()),
            Some(_) => Self::Protocol(error),
        }
    }
}

impl From<carnet_sdp::Error> for Refusal {
    fn from(error: carnet_sdp::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Words of a peer on their way to a terminal: printable only, and not a page of them.
fn plain(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '.' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_words_cannot_steer_a_terminal() {
        let refusal = Refusal::Rejected { status: 488, text: "no\x1b[2J\r\nyes".into() };
        assert_eq!(refusal.to_string(), "the call was refused: 488 no.[2J..yes");
    }

    #[test]
    fn an_error_of_sip_keeps_its_status() {
        use carnet_sip::Error;
        let status = |error: Error| Refusal::from(error).sip().0;
        assert_eq!(status(Error::Dialog { status: 422, reason: "too small" }), 422);
        assert_eq!((status(Error::Glare { ours: true }), status(Error::Glare { ours: false })), (491, 500));
        assert_eq!(status(Error::Extension("foo".into())), 420);
        assert_eq!((status(Error::Missing("Contact")), status(Error::Gone)), (400, 400));
    }
}
