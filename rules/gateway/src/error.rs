//! What can go wrong with a command, and the H.248.8 error code that says so.

use carnet_h248::ErrorDescriptor;

use crate::media::Refusal;

/// Why a command, an action or a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The controller's request is wrong: it names something that is not there, or says something
    /// that makes no sense.
    #[error("{text}")]
    Request {
        /// H.248.8.
        code: u16,
        /// What exactly.
        text: String,
    },
    /// The request may be right, but this gateway does not do that.
    #[error("{text}")]
    Unsupported {
        /// H.248.8.
        code: u16,
        /// What exactly.
        text: String,
    },
    /// This gateway has no more of something.
    #[error("{text}")]
    Exhausted {
        /// H.248.8.
        code: u16,
        /// Of what.
        text: String,
    },
}

impl Fault {
    pub(crate) fn request(code: u16, text: impl Into<String>) -> Self {
        Self::Request { code, text: text.into() }
    }

    pub(crate) fn unsupported(code: u16, text: impl Into<String>) -> Self {
        Self::Unsupported { code, text: text.into() }
    }

    pub(crate) fn exhausted(code: u16, text: impl Into<String>) -> Self {
        Self::Exhausted { code, text: text.into() }
    }

    /// The media engine could not give a local address.
    pub(crate) fn refused(reason: Refusal) -> Self {
        match reason {
            Refusal::UnknownRealm => Self::request(449, "Unknown IP realm (ipdc/realm)"),
            Refusal::NoSuchFamily => Self::request(449, "The IP realm has no address of that IP version"),
            Refusal::NoPort => Self::exhausted(510, "No port left in the IP realm"),
            Refusal::System => Self::exhausted(510, "Insufficient resources"),
            Refusal::NoCertificate => {
                Self::unsupported(501, "Not implemented: the IP realm has no certificate to end TLS with")
            }
        }
    }

    /// The code to answer with (H.248.8).
    pub fn code(&self) -> u16 {
        match self {
            Self::Request { code, .. } | Self::Unsupported { code, .. } | Self::Exhausted { code, .. } => {
                *code
            }
        }
    }

    /// The descriptor to answer with. Its text may repeat what somebody wrote; what a quoted string cannot
    /// hold (RFC 3525 §B.2) is written otherwise, so that it is the same in all encodings.
    pub fn descriptor(&self) -> ErrorDescriptor {
        let quotable = |c: char| match c {
            '"' => '\'',
            c if c.is_ascii_control() => ' ',
            c => c,
        };
        ErrorDescriptor::new(self.code(), self.to_string().chars().map(quotable).collect::<String>())
    }
}
