//! Why octets are no conference-info document.

use carnet_wire::ParseError;

/// What is wrong with a document. All are the sender's fault but [`TooLarge`](Self::TooLarge),
/// which is a bound of ours. A subscriber answers such a NOTIFY 400, or 413 when it is too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not well-formed, not UTF-8, or with a document type.
    #[error("{0}")]
    Syntax(ParseError),
    /// Well-formed, but not what RFC 4575 §6 has there.
    #[error("<{element}> {what}")]
    Content {
        /// In which element.
        element: String,
        /// What is wrong, as a predicate.
        what: &'static str,
    },
    /// More than [`Limits`](crate::Limits) take.
    #[error("the document has too many {0}")]
    TooLarge(&'static str),
}

impl Error {
    /// What to answer the NOTIFY that carried it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Syntax(_) | Self::Content { .. } => 400,
            Self::TooLarge(_) => 413,
        }
    }

    pub(crate) fn content(element: &str, what: &'static str) -> Self {
        Self::Content { element: element.to_owned(), what }
    }
}
