//! MSRP, the Message Session Relay Protocol, as an endpoint speaks it.
//!
//! * [`Uri`]: MSRP URIs and their comparison (RFC 4975 §6).
//! * [`Head`], [`Decoder`]: frames on a stream, parsed as octets arrive; bodies are never collected
//!   (RFC 4975 §7.1, §9).
//! * [`Session`]: one session over one connection: chunks, interruption, responses, reports, timers
//!   (RFC 4975 §7).
//! * [`composing`]: "is typing" (RFC 3994).
//!
//! Everything here is sans-IO: octets and the time come in as arguments, octets and events are
//! polled out. MSRP relays (RFC 4976, AUTH) are not part of this crate; a path that goes through
//! somebody else's relay works.

pub mod composing;
mod decode;
mod error;
mod head;
mod limits;
mod range;
mod session;
mod status;
mod uri;
mod xml;

pub use decode::{Decoder, Piece};
pub use error::Error;
pub use head::{Continuation, Head, Header, Start};
pub use limits::Limits;
pub use range::{ByteRange, Ranges};
pub use session::{
    AbortReason, ArrivalKey, Config, Event, FailureReason, FailureReport, MessageKey, Outgoing, Session, Size,
};
pub use status::Status;
pub use uri::{Uri, parse_path};
