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
    /// A ticket was revoked by an administrator.
    Revoked,
}

/// One entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub wall: SystemTime,
    /// Issued, resolved or revoked.
    pub deed: Deed,
    /// From where it was asked for.
    pub source: IpAddr,
    /// Name of the user that asked; of a revocation, who the administrator is.
    pub user: String,
    /// Whose ticket it is.
    pub initiator: Identity,
    /// Whom it is for, when issued or revoked; who opened it, when resolved.
    pub responders: Vec<Identity>,
    /// SHA-256 of the ticket, the same when issued, each time it is resolved, and when revoked.
    pub ticket: [u8; 32],
    /// Name of the key that the ticket is sealed with.
    pub key: String,
    /// When the ticket expires, if that was noted: not by every version, and of resolved ones by newer versions.
    pub expires: Option<SystemTime>,
}
