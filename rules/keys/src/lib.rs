//! Key management service: who may have which ticket, and who may open it.
//!
//! [`Kms`] takes REQUEST_INIT and RESOLVE_INIT messages (RFC 6043 §4.2.1, §4.2.3) and gives
//! replies, sans-IO. It issues tickets sealed with a [rotating key](KeyRing), by [rules](Rule)
//! over the users and groups of a [`Directory`], and hands out an [`AuditRecord`] for every ticket
//! that is issued, resolved or revoked. Whoever drives it makes that record durable before the reply
//! leaves.
//!
//! Signed requests (REQUEST_INIT_PK, RESOLVE_INIT_PK) are served where [`PublicKeys`] are given.
//!
//! Left out: group keys, and resolving tickets of other services.

mod audit;
mod directory;
mod kms;
mod pattern;
mod rate;
mod revoked;
mod ring;
mod rules;

#[cfg(test)]
mod tests;

pub use audit::{AuditRecord, Deed};
pub use directory::{Directory, Group, User};
pub use kms::{Certified, Config, Identities, Kms, Outcome, PublicKeys, Refusal};
pub use pattern::Pattern;
pub use rate::{Rate, RateLimiter};
pub use revoked::RevokedTickets;
pub use ring::{KeyRing, TicketKey};
pub use rules::{Rule, Rules};

/// What an administrator can do wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name or pattern that cannot be used.
    #[error("`{0}` is not usable: {1}")]
    Name(String, &'static str),
    /// Two users cannot both own an identity.
    #[error("{identity} already belongs to {owner}")]
    Taken {
        /// The identity.
        identity: String,
        /// Who has it.
        owner: String,
    },
    /// There is such a user already.
    #[error("there is already a user `{0}`")]
    Exists(String),
    /// One of several that are added together is given twice.
    #[error("{0} is given twice")]
    Twice(String),
    /// There are as many users, groups or revoked tickets as there may be.
    #[error("there are already {0} entries")]
    Full(usize),
    /// There is no ticket key yet.
    #[error("no ticket key: rotate first")]
    NoKey,
}
