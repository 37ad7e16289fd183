//! What happened at the KMS, declared once. What has to be proven later is in the audit trail; this is for who watches.

use carnet_event::Level;
use carnet_keys::{AuditRecord, Deed};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

carnet_event::declare! {
    /// What happened. Users are named as in their accounts.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Event {
        /// A ticket was issued.
        [info "ticket-issued"]
        TicketIssued {
            /// Who asked.
            user: String,
            /// Whose ticket it is.
            initiator: String,
            /// Whom it is for.
            responders: Vec<String>,
            /// The beginning of its SHA-256: the same where it is resolved.
            ticket: String,
            /// From where it was asked for.
            source: IpAddr,
            /// How long it took, the record on disk included.
            took: Duration,
        },
        /// A ticket was opened for a responder.
        [info "ticket-resolved"]
        TicketResolved {
            /// Who asked.
            user: String,
            /// Whose ticket it is.
            initiator: String,
            /// Who opened it.
            responders: Vec<String>,
            /// The beginning of its SHA-256: the same where it was issued.
            ticket: String,
            /// From where it was asked for.
            source: IpAddr,
            /// How long it took, the record on disk included.
            took: Duration,
        },
        /// An administrator revoked a ticket: it opens no more.
        [info "ticket-revoked"]
        TicketRevoked {
            /// The administrator: an address, or a user of this host.
            user: String,
            /// Whose ticket it is.
            initiator: String,
            /// Whom it is for.
            responders: Vec<String>,
            /// The beginning of its SHA-256: the same where it was issued.
            ticket: String,
            /// From where the administrator asked; loopback for a process of this host.
            source: IpAddr,
        },
        /// A request was refused.
        [warn "request-refused" by status]
        RequestRefused {
            /// What was asked for: `issue` or `resolve`.
            operation: &'static str,
            /// From where it came.
            source: IpAddr,
            /// HTTP status.
            status: u16,
            /// Why.
            reason: String,
            /// It was one of many, of which only some are logged.
            one_of_many: bool,
            /// How long it took.
            took: Duration,
        },
        /// A new ticket key is in use.
        [info "key-rotated"]
        KeyRotated {
            /// Its name.
            key: String,
        },
    }
    level(event, declared) match event {
        Event::RequestRefused { one_of_many: true, .. } => Level::Debug,
        _ => declared,
    }
}

impl Event {
    /// What is told of a revocation.
    pub(super) fn revoked(record: &AuditRecord) -> Self {
        Self::granted(record, Duration::ZERO)
    }

    /// What is told of a granted request.
    pub(super) fn granted(record: &AuditRecord, took: Duration) -> Self {
        let ticket = name_of(&record.ticket);
        let (user, initiator, source) = (record.user.clone(), record.initiator.to_string(), record.source);
        let responders = record.responders.iter().map(ToString::to_string).collect();
        match record.deed {
            Deed::Revoked => Self::TicketRevoked { user, initiator, responders, ticket, source },
            Deed::Issued => Self::TicketIssued { user, initiator, responders, ticket, source, took },
            Deed::Resolved => Self::TicketResolved { user, initiator, responders, ticket, source, took },
        }
    }
}

/// A ticket in a few letters: the beginning of its SHA-256.
pub fn name_of(ticket: &[u8]) -> String {
    let mut name = String::with_capacity(16);
    for octet in ticket.iter().take(8) {
        // Writing into a string does not fail.
        let _ = write!(name, "{octet:02x}");
    }
    name
}

/// Whom the service tells.
pub type Witness = Arc<dyn Fn(&Event) + Send + Sync>;
