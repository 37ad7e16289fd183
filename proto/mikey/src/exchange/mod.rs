//! The three exchanges of RFC 6043 §4.2, each from both of its sides.
//!
//! Request: [`request_init`] and [`PendingRequest`] at the caller, [`TicketRequest`] at the KMS.
//! Transfer: [`GrantedTicket`] and [`Offered`] at the caller, [`Received`] at the called party.
//! Resolve: [`Received::resolve_init`] and [`PendingResolve`] at the called party,
//! [`ResolveRequest`] at the KMS.
//!
//! Left out: CSB updates (RFC 6043 §5.2). TLS media are rekeyed by a new transfer.

mod common;
mod keyset;
pub mod public_key;
mod received;
mod request;
mod resolve;
mod service;
mod strength;
mod transfer;

pub use common::error_message;
pub use received::{Received, SdpIdsSeen};
pub use request::{PendingRequest, request_init};
pub use resolve::PendingResolve;
pub use service::{
    Asked, Issued, ResolveRequest, Resolved, Subject, TicketRequest, Verified, VerifiedRequest,
    VerifiedResolve, ticket_id,
};
pub use transfer::{GrantedTicket, Keyed, Offered};
