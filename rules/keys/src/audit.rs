//! What is written down about every ticket. Never a key.

use carnet_mikey::Identity;
use std::net::IpAddr;
use std::time::SystemTime;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A ticket was issued.
    Issued,
    /// A ticket was opened for a responder.
    Resolved,
}

/// One entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub wall: SystemTime,
    /// Issued or resolved.
    pub deed: Deed,
    /// From where it was asked for.
    pub source: IpAddr,
    /// Name of the user that asked.
    pub user: String,
    /// Whose ticket it is.
    pub initiator: Identity,
    /// Whom it is for, when issued; who opened it, when resolved.
    pub responders: Vec<Identity>,
    /// SHA-256 of the ticket, the same when issued and each time it is resolved.
    pub ticket: [u8; 32],
    /// Name of the key that the ticket is sealed with.
    pub key: String,
    /// When the ticket expires: of one that was issued, and recorded by a version that notes it.
    pub expires: Option<SystemTime>,
}
