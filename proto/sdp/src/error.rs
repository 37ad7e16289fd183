//! What can be wrong with a document or with an edit.

use carnet_wire::ParseError;

/// Why a document was not accepted or an edit was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The octets are not SDP. Whoever sent them is at fault (SIP answers 400, H.248 error 474).
    #[error("malformed SDP {0}")]
    Syntax(#[from] ParseError),
    /// A bound of [`Limits`](crate::Limits) was passed (SIP answers 413 or 488).
    #[error("SDP has more than {max} {what}")]
    Limit {
        /// What there was too much of.
        what: &'static str,
        /// The bound.
        max: usize,
        /// Octet at which the bound was passed.
        at: usize,
    },
    /// A value to be written holds CR, LF or NUL, or is no token where one is needed. The caller
    /// is at fault; nothing was changed.
    #[error("{0} cannot be written into SDP")]
    Unwritable(&'static str),
    /// There is no such media line. The caller is at fault; nothing was changed.
    #[error("there is no media line number {0}")]
    NoSuchMedia(usize),
}

impl Error {
    /// Octet of the input at which the fault was found; 0 for edits.
    pub fn at(&self) -> usize {
        match self {
            Self::Syntax(e) => e.at,
            Self::Limit { at, .. } => *at,
            Self::Unwritable(_) | Self::NoSuchMedia(_) => 0,
        }
    }

    /// One word for scripts: `syntax`, `limit` or `edit`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "syntax",
            Self::Limit { .. } => "limit",
            Self::Unwritable(_) | Self::NoSuchMedia(_) => "edit",
        }
    }
}
