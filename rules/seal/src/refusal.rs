//! Why a key exchange failed, in a form that answers the peer and the person who looks at the screen.
//!
//! One reason is one variant. Each knows the SIP answer (RFC 4567 §4.1.2: 488 with Warning 306 or
//! 399) and one sentence. Which octet of which payload was wrong is kept out of what the peer
//! gets: a refusal must not help whoever altered the message.

use std::fmt;

use carnet_mikey::registry::error_no;

use crate::fetch::FetchPurpose;

/// Which half of the offer/answer exchange a reason is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// The offer of the peer.
    Offer,
    /// The answer of the peer.
    Answer,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
        })
    }
}

/// Why there is no seal.
///
/// [`Display`](fmt::Display) is the one sentence for a person. [`Refusal::sip`] is what the peer
/// is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No `a=key-mgmt` where sealing is required: someone removed it, or the peer cannot do it.
    Unsealed(Half),
    /// The key exchange does not authenticate: it was altered on the way, or is not the peer's.
    Altered(Half),
    /// The list of key management protocols differs from the authenticated one (RFC 4567 §7).
    ListAltered,
    /// The ticket names somebody else as responder.
    WrongCallee,
    /// The answer was made by somebody the ticket does not allow.
    WrongResponder(String),
    /// The ticket's time of validity is over, or has not begun.
    Expired,
    /// The clocks of the two sides differ by more than the skew allowed.
    Clock,
    /// This TRANSFER_INIT was seen before.
    Replayed,
    /// This TRANSFER_INIT is one of our own, brought back to us.
    Reflected,
    /// The ticket comes from a key server this client does not use.
    ForeignKms(String),
    /// The key server could not be reached.
    KmsUnreachable(FetchPurpose),
    /// The key server did not answer in time.
    KmsTimeout(FetchPurpose),
    /// The key server does not know the key shared with it, or has another under its name.
    KmsKey(FetchPurpose),
    /// The key server did not take the time of the question, and not that of a second one.
    KmsClock(FetchPurpose),
    /// The key server refused, with its MIKEY error number if it gave one.
    KmsRefused(FetchPurpose, Option<u8>),
    /// What the key server said does not authenticate or cannot be read.
    KmsAltered(FetchPurpose),
    /// Algorithms, ticket type or policy that this client does not have.
    UnsupportedKeys(String),
    /// A name or a value that cannot be read.
    Malformed(String),
    /// As many offers are remembered against replay as may be.
    Busy,
}

impl Refusal {
    /// What to answer the peer: status, warning code, warning text without detail of the keys.
    pub fn sip(&self) -> (u16, Option<u16>, &'static str) {
        match self {
            // RFC 4567 §4.1.2
            Self::Unsealed(_) => (488, Some(399), "End-to-end key management required"),
            Self::UnsupportedKeys(_) => (488, Some(306), "Key management attribute not understood"),
            Self::Altered(_)
            | Self::ListAltered
            | Self::WrongCallee
            | Self::WrongResponder(_)
            | Self::Expired
            | Self::Clock
            | Self::Replayed
            | Self::Reflected
            | Self::ForeignKms(_)
            | Self::KmsKey(_)
            | Self::KmsClock(_)
            | Self::KmsRefused(..)
            | Self::KmsAltered(_) => (488, Some(399), "Key management failed"),
            Self::KmsUnreachable(_) => (503, Some(399), "Key server unavailable"),
            Self::KmsTimeout(_) => (504, Some(399), "Key server did not answer"),
            Self::Malformed(_) => (400, Some(399), "Key management cannot be read"),
            Self::Busy => (486, None, "Busy Here"),
        }
    }

    /// One stable word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unsealed(_) => "unsealed",
            Self::Altered(_) => "altered",
            Self::ListAltered => "list-altered",
            Self::WrongCallee => "wrong-callee",
            Self::WrongResponder(_) => "wrong-responder",
            Self::Expired => "expired",
            Self::Clock => "clock",
            Self::Replayed => "replayed",
            Self::Reflected => "reflected",
            Self::ForeignKms(_) => "foreign-kms",
            Self::KmsUnreachable(_) => "kms-unreachable",
            Self::KmsTimeout(_) => "kms-timeout",
            Self::KmsKey(_) => "kms-key",
            Self::KmsClock(_) => "kms-clock",
            Self::KmsRefused(..) => "kms-refused",
            Self::KmsAltered(_) => "kms-altered",
            Self::UnsupportedKeys(_) => "unsupported-keys",
            Self::Malformed(_) => "malformed",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsealed(half) => write!(
                f,
                "the {half} came without end-to-end keys, so nothing was sent: the other side cannot seal, or \
                 someone on the way removed the keys"
            ),
            Self::Altered(half) => {
                write!(f, "the keys in the {half} do not check out: they were altered on the way")
            }
            Self::ListAltered => {
                f.write_str("someone on the way changed the list of key exchanges that was offered")
            }
            Self::WrongCallee => f.write_str("the ticket in the call was made for somebody else"),
            Self::WrongResponder(who) => {
                write!(f, "the call was answered by {}, whom the ticket does not allow", plain(who))
            }
            Self::Expired => f.write_str("the ticket in the call is not valid at this time"),
            Self::Clock => f.write_str("the clocks of the two sides are too far apart"),
            Self::Replayed => f.write_str("the same sealed offer was used before: this is a replay"),
            Self::Reflected => f.write_str("the call carries an offer of our own: somebody sent it back to us"),
            Self::ForeignKms(kms) => {
                write!(f, "the ticket comes from {}, a key server that is not ours", plain(kms))
            }
            Self::KmsUnreachable(FetchPurpose::Ticket) => {
                f.write_str("the key server could not be reached to get a ticket")
            }
            Self::KmsUnreachable(FetchPurpose::Resolve) => {
                f.write_str("the key server could not be reached to open the caller's ticket")
            }
            Self::KmsTimeout(FetchPurpose::Ticket) => {
                f.write_str("the key server did not answer the request for a ticket in time")
            }
            Self::KmsTimeout(FetchPurpose::Resolve) => {
                f.write_str("the key server did not open the caller's ticket in time")
            }
            Self::KmsKey(purpose) => write!(
                f,
                "{}: the key shared with it is wrong, or it has none under this name (any more)",
                NotGiven(*purpose)
            ),
            Self::KmsClock(purpose) => write!(
                f,
                "{}: its clock and ours are too far apart, or it has only just started",
                NotGiven(*purpose)
            ),
            Self::KmsRefused(purpose, number) => {
                write!(f, "{}{}", NotGiven(*purpose), Reason(*purpose, *number))
            }
            Self::KmsAltered(_) => f.write_str(
                "the key server's answer does not check out: it was altered, or the key shared with it is wrong",
            ),
            Self::UnsupportedKeys(what) => {
                write!(f, "the other side's key exchange is of a kind we do not have: {}", plain(what))
            }
            Self::Malformed(what) => write!(f, "a name cannot be read: {}", plain(what)),
            Self::Busy => f.write_str("too many sealed offers are remembered"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What the key server did not do.
struct NotGiven(FetchPurpose);

impl fmt::Display for NotGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            FetchPurpose::Ticket => "the key server gave no ticket for this call",
            FetchPurpose::Resolve => "the key server did not let us open the caller's ticket",
        })
    }
}

/// Why, as far as its error number tells (RFC 3830 §6.12, RFC 6043 §6.9).
struct Reason(FetchPurpose, Option<u8>);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(purpose, Some(number)) = *self else { return Ok(()) };
        let why = match (purpose, number) {
            (FetchPurpose::Ticket, error_no::AUTH_FAILURE) => "it has revoked our account",
            (FetchPurpose::Resolve, error_no::AUTH_FAILURE) => {
                "the ticket was altered or is not of its making, or it has revoked our account"
            }
            (FetchPurpose::Ticket, error_no::INVALID_ID) => {
                "it does not know who was called, its rules forbid the call, or we have another name there, or its \
                 own name is not the one we use"
            }
            (FetchPurpose::Resolve, error_no::INVALID_ID) => {
                "the ticket is for somebody else, its rules forbid the call, or we have another name there, or its \
                 own name is not the one we use"
            }
            (FetchPurpose::Resolve, error_no::INVALID_TPPAR) => {
                "the ticket is not valid at this time, was revoked, or has a policy that it does not take"
            }
            (_, error_no::UNSPECIFIED) => "it has trouble of its own, or could not read us",
            (_, number) => error_no::name(number).unwrap_or("for a reason that we do not know"),
        };
        write!(f, ": {why} (MIKEY error {number})")
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
    fn what_the_key_server_said_is_told_apart() {
        use FetchPurpose::{Resolve, Ticket};
        let said: std::collections::BTreeSet<String> = (0..=16)
            .map(|number| Refusal::KmsRefused(Ticket, Some(number)))
            .chain((0..=16).map(|number| Refusal::KmsRefused(Resolve, Some(number))))
            .chain([Refusal::KmsKey(Ticket), Refusal::KmsKey(Resolve)])
            .chain([Refusal::KmsClock(Ticket), Refusal::KmsClock(Resolve)])
            .map(|refusal| refusal.to_string())
            .collect();
        assert_eq!(said.len(), 2 * 17 + 4);
        let begins =
            ["the key server gave no ticket", "the key server did not let us open the caller's ticket"];
        assert!(said.iter().all(|sentence| begins.iter().any(|begin| sentence.starts_with(begin))));
        let sentence = Refusal::KmsRefused(Ticket, Some(7)).to_string();
        assert!(sentence.contains("does not know who was called") && sentence.contains("rules forbid"));
        assert!(Refusal::KmsKey(Ticket).to_string().contains("the key shared with it is wrong"));
        assert!(Refusal::KmsClock(Resolve).to_string().contains("clock"));
    }

    #[test]
    fn what_the_peer_is_told_of_bad_keys_is_always_the_same() {
        // Which check failed would tell a forger how far he got.
        let told: std::collections::BTreeSet<_> = [
            Refusal::Altered(Half::Offer),
            Refusal::ListAltered,
            Refusal::WrongCallee,
            Refusal::Expired,
            Refusal::Replayed,
            Refusal::Reflected,
            Refusal::ForeignKms("x".into()),
        ]
        .iter()
        .map(Refusal::sip)
        .collect();
        assert_eq!(told.len(), 1);
    }
}
