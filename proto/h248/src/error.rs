//! What can be wrong with a message, where, and which H.248 error code says so.

use crate::model::{ErrorDescriptor, TransactionId};
use std::borrow::Cow;

/// A message that could not be accepted.
///
/// [`Error::code`] is the H.248.8 error code to answer with; for faults that leave the transaction
/// identifier unknown the answer is a message-level Error descriptor (RFC 3525 §8.3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sender wrote something the grammar does not allow.
    #[error("at octet {at}: expected {expected}")]
    Syntax {
        /// Octets from the start of the message.
        at: usize,
        /// The H.248.8 code of the enclosing level: 400 message, 403 transaction, 422 action, 442 command.
        code: u16,
        /// The request it is in, if its number could be read.
        transaction: Option<TransactionId>,
        /// What would have been accepted.
        expected: Cow<'static, str>,
    },
    /// Well formed, but against a rule of the protocol (descriptor twice, not legal here ...).
    #[error("at octet {at}: {what}")]
    Rule {
        /// Octets from the start of the message.
        at: usize,
        /// The H.248.8 code of the rule.
        code: u16,
        /// The request it is in, if its number could be read.
        transaction: Option<TransactionId>,
        /// What is wrong.
        what: Cow<'static, str>,
    },
    /// Larger, deeper or more numerous than this receiver accepts.
    #[error("at octet {at}: more than {limit} {what}")]
    Limit {
        /// Octets from the start of the message.
        at: usize,
        /// The H.248.8 code: 413 for transactions, else 400 or that of the enclosing level.
        code: u16,
        /// The request it is in, if its number could be read.
        transaction: Option<TransactionId>,
        /// What is counted.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A protocol version we do not speak.
    #[error("at octet {at}: protocol version {version} is not supported, only 1 to 3")]
    Version {
        /// Octets from the start of the message.
        at: usize,
        /// What the header says.
        version: u32,
    },
}

impl Error {
    /// Where, in octets from the start of the message.
    pub fn offset(&self) -> usize {
        match self {
            Self::Syntax { at, .. }
            | Self::Rule { at, .. }
            | Self::Limit { at, .. }
            | Self::Version { at, .. } => *at,
        }
    }

    /// The H.248.8 error code to answer with.
    pub fn code(&self) -> u16 {
        match self {
            Self::Syntax { code, .. } | Self::Rule { code, .. } | Self::Limit { code, .. } => *code,
            Self::Version { .. } => 406,
        }
    }

    /// The request it happened in, if its number could be read: then that request is answered, not
    /// the whole message.
    pub fn transaction(&self) -> Option<TransactionId> {
        match self {
            Self::Syntax { transaction, .. }
            | Self::Rule { transaction, .. }
            | Self::Limit { transaction, .. } => *transaction,
            Self::Version { .. } => None,
        }
    }

    /// One word a script can branch on.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "syntax",
            Self::Rule { .. } => "rule",
            Self::Limit { .. } => "limit",
            Self::Version { .. } => "unsupported",
        }
    }

    /// The descriptor that tells the sender.
    pub fn descriptor(&self) -> ErrorDescriptor {
        ErrorDescriptor::new(self.code(), self.to_string())
    }
}
