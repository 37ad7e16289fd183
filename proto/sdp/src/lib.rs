//! SDP (RFC 8866) as a lossless document.
//!
//! A [`Document`] is the list of lines as received. Reading goes through typed views of the
//! attributes that Carnet acts on; an edit replaces, inserts or removes single lines and leaves
//! every other octet as it came. Values that would smuggle a line in are refused.
//!
//! Covered: the line grammar of RFC 8866 §5 and §9, offer/answer numbers of RFC 3264, `setup`
//! and `connection` (RFC 4145), `path` and `accept-types` (RFC 4975), `msrp-cema` (RFC 6714),
//! `key-mgmt` (RFC 4567), `fingerprint` (RFC 8122), `3ge2ae` (TS 24.229), floor control (RFC 8856) and
//! `chatroom` (RFC 7701), and `x-carnet-tlsrole` (docs/tls-role.md). Left out: the meaning of RTP attributes, which are only carried, and the files of
//! RFC 5547, which `carnet_msrp::file` reads.

mod attribute;
mod builder;
mod conference;
mod document;
mod edit;
mod error;
mod line;
mod media;
mod review;
#[cfg(test)]
mod tests;

pub use attribute::{Attribute, Direction, E2ae, Fingerprint, KeyMgmt, Setup, TLS_ROLE};
pub use builder::{MediaBuilder, SessionBuilder};
pub use conference::{Chatroom, FloorControl, FloorId, Reuse};
pub use document::{Document, Endings, Limits};
pub use error::Error;
pub use line::{Connection, Host, MediaLine, Origin};
pub use media::{Class, Media};
pub use review::Remark;
