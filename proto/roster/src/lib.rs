//! Conference event package documents (RFC 4575), sans-IO: who is in a conference, how they came,
//! which media they have, and, by an extension of ours, whose legs are sealed.
//!
//! ```text
//!  focus    Roster ── Roster::document / Roster::diff ──▶ Document ── Document::print ──▶ NOTIFY
//!  watcher  NOTIFY ── Document::parse ──▶ View::apply ──▶ Roster and what changed in it
//! ```
//!
//! A [`Roster`] is a conference as it is; a [`Document`] says all of it or what changed, with a
//! version; a [`View`] is the roster a watcher has put together (§4.6). Elements and attributes of
//! other namespaces stay as they came; comments and processing instructions do not. A document
//! with a document type is refused: that is where entities are declared.

mod diff;
mod document;
mod error;
mod model;
mod read;
mod time;
mod view;
mod write;
mod xml;

pub use document::{Document, Printed, State};
pub use error::Error;
pub use model::{
    ConferenceState, Description, Disconnection, Endpoint, Execution, Extra, Host, Joining, Media,
    MediaStatus, Medium, Roster, Seal, Status, UriEntry, User,
};
pub use time::date_time;
pub use view::{Applied, Change, View};
pub use xml::{Attribute, Element, Limits, Node};

/// What a NOTIFY of this package carries (RFC 4575 §3.4).
pub const CONTENT_TYPE: &str = "application/conference-info+xml";

/// The name of the event package (RFC 4575 §3.1).
pub const EVENT: &str = "conference";

/// The namespace of conference-info documents (RFC 4575 §4.2).
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:conference-info";

/// The namespace of our extension that says which legs are sealed.
pub const SEAL_NAMESPACE: &str = "urn:carnet:conference-seal:1";

/// The namespace of the attribute `nickname` of `user` (RFC 7701 §7.4, RFC 6501).
pub const XCON_NAMESPACE: &str = "urn:ietf:params:xml:ns:xcon-conference-info";
