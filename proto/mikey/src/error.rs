//! What went wrong, whose fault it is, and what to answer in MIKEY and in SIP.
//!
//! RFC 3830 §6.12 and RFC 6043 §5.4, §6.9 give the error numbers; RFC 4567 §4.1.2 gives the SIP
//! side. No error carries key octets.

use crate::registry::{data_type, error_no};
use carnet_wire::ParseError;

/// A feature with a number of its own that the peer used and we do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Version of the common header.
    Version(u8),
    /// Data type, or a data type that does not belong in this exchange.
    DataType(u8),
    /// CS ID map type.
    MapType(u8),
    /// Payload type.
    Payload(u8),
    /// Pseudo-random function.
    Prf(u8),
    /// MAC algorithm.
    Mac(u8),
    /// Encryption algorithm.
    Encryption(u8),
    /// Hash function.
    Hash(u8),
    /// Kind of signature.
    Signature(u8),
    /// Diffie-Hellman group.
    Group(u8),
    /// Timestamp type.
    Timestamp(u8),
    /// Key type of a Key data sub-payload.
    KeyType(u8),
    /// Key validity type of a Key data sub-payload.
    KeyValidity(u8),
    /// Ticket type.
    Ticket(u16),
    /// Security protocol type.
    Protocol(u8),
}

/// Everything that can go wrong with a MIKEY message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The octets are not a MIKEY message.
    #[error("malformed MIKEY message {0}")]
    Malformed(#[from] ParseError),
    /// The message is larger, longer or deeper than we accept.
    #[error("MIKEY message has too many {what} at octet {at}")]
    Limit {
        /// What there was too much of.
        what: &'static str,
        /// Where, in octets from the start of the message.
        at: usize,
    },
    /// The peer uses something we do not have.
    #[error("not supported: {feature:?} at octet {at}")]
    Unsupported {
        /// What it is.
        feature: Feature,
        /// Where, in octets from the start of the message; 0 when the place does not matter.
        at: usize,
    },
    /// A payload that this message must have is not there.
    #[error("the message has no {0} payload")]
    Missing(&'static str),
    /// A field contradicts the exchange or the RFC.
    #[error("the peer broke a rule: {0}")]
    Rule(&'static str),
    /// A MAC or signature does not verify.
    #[error("the message does not verify: {0}")]
    Authentication(&'static str),
    /// A certificate that is not there, that nobody known vouches for, or that cannot be used.
    #[error("certificate: {0}")]
    Certificate(&'static str),
    /// The timestamp is too far from our clock.
    #[error("the message's time is {0} seconds from ours")]
    Skew(u64),
    /// The message has been seen before.
    #[error("the message is a replay")]
    Replay,
    /// The ticket is not valid at this time.
    #[error("the ticket is not valid {0}")]
    Validity(&'static str),
    /// The ticket policy is not acceptable.
    #[error("ticket policy: {0}")]
    Policy(&'static str),
    /// An identity is not one we can use.
    #[error("identity: {0}")]
    Identity(&'static str),
    /// The offered list of key management protocols was changed on the way (RFC 4567 §3.1).
    #[error("the list of key management protocols was changed on the way")]
    BiddingDown,
    /// The peer or the KMS answered with an Error message.
    #[error("refused with MIKEY error {number} ({})", error_no::name(*.number).unwrap_or("unknown"))]
    Refused {
        /// Error number (RFC 3830 §6.12), 12 when the message carried none.
        number: u8,
        /// Whether the Error message proved who sent it. If not, take it as advice.
        authenticated: bool,
    },
    /// A table of ours is full.
    #[error("out of room: {0}")]
    Full(&'static str),
    /// A key is too short or too long for its use.
    #[error("key: {0}")]
    Key(&'static str),
}

/// Whose fault an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The peer's: it sent what it should not have.
    Peer,
    /// Nobody's: the two sides have no common ground.
    Neither,
    /// Ours: we are out of something or were called wrongly.
    Ours,
}

impl Error {
    pub(crate) fn unsupported(feature: Feature) -> Self {
        Self::Unsupported { feature, at: 0 }
    }

    /// The same error in the coordinates of an enclosing message that starts `by` octets earlier.
    #[must_use]
    pub(crate) fn shifted(self, by: usize) -> Self {
        match self {
            Self::Malformed(e) => Self::Malformed(e.shifted(by)),
            Self::Limit { what, at } => Self::Limit { what, at: at.saturating_add(by) },
            Self::Unsupported { feature, at } => Self::Unsupported { feature, at: at.saturating_add(by) },
            other => other,
        }
    }

    /// The octet the error points at, where it points at one.
    pub fn offset(&self) -> Option<usize> {
        match self {
            Self::Malformed(e) => Some(e.at),
            Self::Limit { at, .. } | Self::Unsupported { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unsupported { .. } | Self::Policy(_) | Self::Refused { .. } => Fault::Neither,
            Self::Full(_) | Self::Key(_) => Fault::Ours,
            _ => Fault::Peer,
        }
    }

    /// The number for an Error message, `None` when none must be sent (RFC 6043 §5.4: an Error is
    /// never answered with an Error).
    pub fn mikey_error(&self) -> Option<u8> {
        Some(match self {
            Self::Refused { .. } => return None,
            Self::Malformed(_) | Self::Limit { .. } | Self::Missing(_) | Self::Rule(_) | Self::Full(_) => {
                error_no::UNSPECIFIED
            }
            Self::Unsupported { feature, .. } => match feature {
                Feature::DataType(n) if data_type::name(*n).is_none() => error_no::INVALID_DT,
                Feature::DataType(_) => error_no::UNSUPPORTED_MESSAGE,
                Feature::Prf(_) => error_no::INVALID_PRF,
                Feature::Mac(_) => error_no::INVALID_MAC,
                Feature::Encryption(_) => error_no::INVALID_EA,
                Feature::Hash(_) => error_no::INVALID_HA,
                Feature::Group(_) => error_no::INVALID_DH,
                Feature::Timestamp(_) => error_no::INVALID_TS,
                Feature::Ticket(_) => error_no::INVALID_TICKET,
                Feature::Protocol(_) => error_no::INVALID_SP,
                _ => error_no::UNSPECIFIED,
            },
            Self::Authentication(_) | Self::BiddingDown => error_no::AUTH_FAILURE,
            Self::Skew(_) | Self::Replay => error_no::INVALID_TS,
            Self::Validity(_) | Self::Policy(_) | Self::Key(_) => error_no::INVALID_TPPAR,
            Self::Identity(_) => error_no::INVALID_ID,
            Self::Certificate(_) => error_no::INVALID_CERT,
        })
    }

    /// What to say in SIP: status, warn code where one belongs, and a sentence that tells a
    /// stranger nothing about keys or users.
    pub fn sip(&self) -> (u16, Option<u16>, &'static str) {
        match self {
            // RFC 4567 §4.1.2: 306 "attribute not understood" for what we do not support.
            Self::Unsupported { .. } | Self::Policy(_) | Self::Malformed(_) | Self::Limit { .. } => {
                (488, Some(306), "Key management attribute not understood")
            }
            Self::Full(_) => (503, None, "Key management is out of room"),
            Self::Refused { .. } => (488, Some(399), "The key management service refused"),
            _ => (488, Some(399), "Key management failed"),
        }
    }
}
