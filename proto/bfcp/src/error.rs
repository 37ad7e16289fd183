//! What is wrong with a message, and what to answer (RFC 8855 §5.2.6, §13.8).

use crate::number::{ErrorCode, Primitive};
use carnet_wire::ParseError;

/// Why octets are no message, or a message is none that can be worked on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The header names a version that does not belong to this transport, or none that there is.
    #[error("version {version} is not spoken here")]
    Version {
        /// As received.
        version: u8,
    },
    /// The lengths in the header and what came do not agree, or are more than is taken.
    #[error("{0}")]
    Length(ParseError),
    /// An attribute is not as its type has it, or stands where it has no place.
    #[error("{0}")]
    Syntax(ParseError),
    /// The primitive is not one of ours.
    #[error("primitive {0} is not known")]
    Primitive(Primitive),
    /// Attributes that must be understood and are not.
    #[error("attributes that must be understood are not known: {0:?}")]
    Mandatory(Vec<u8>),
    /// An attribute that the primitive needs is missing, or a second one is too many.
    #[error("{primitive} {what}")]
    Content {
        /// Of which message.
        primitive: Primitive,
        /// What is wrong, as a predicate.
        what: &'static str,
    },
}

impl Error {
    /// The code that a server answers with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Version { .. } => ErrorCode::UnsupportedVersion,
            Self::Length(_) => ErrorCode::IncorrectLength,
            Self::Syntax(_) | Self::Content { .. } => ErrorCode::UnableToParse,
            Self::Primitive(_) => ErrorCode::UnknownPrimitive,
            Self::Mandatory(_) => ErrorCode::UnknownMandatoryAttribute,
        }
    }

    /// Where in the message it is, if at a place.
    pub fn at(&self) -> Option<usize> {
        match self {
            Self::Length(error) | Self::Syntax(error) => Some(error.at),
            Self::Version { .. } => Some(0),
            Self::Primitive(_) => Some(1),
            Self::Mandatory(_) | Self::Content { .. } => None,
        }
    }
}

/// A message that has no form on the wire: an attribute or the message is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is longer than BFCP can say")]
pub struct Unsayable {
    /// What is too long.
    pub what: &'static str,
}
