//! MSRP, the Message Session Relay Protocol, as an endpoint speaks it.
//!
//! * [`Uri`]: MSRP URIs and their comparison (RFC 4975 §6).
//! * [`Head`], [`Decoder`]: frames on a stream, parsed as octets arrive; bodies are never collected
//!   (RFC 4975 §7.1, §9).
//! * [`Frames`], [`mod@rewrite`]: frames that are passed on, and their paths rewritten on the way (TS 23.334
//!   §5.19.5).
//! * [`Session`]: one session over one connection: chunks, interruption, responses, reports, timers
//!   (RFC 4975 §7).
//! * [`connection`]: which session a connection is for (RFC 4975 §5.4, RFC 6135).
//! * [`cema`]: where to connect when middleboxes rewrote the connection line (RFC 6714).
//! * [`cpim`], [`imdn`]: message/cpim and disposition notifications (RFC 3862, RFC 5438).
//! * [`multipart`]: messages in parts (RFC 2046 §5.1).
//! * [`nickname`]: the header field that asks for a nickname in a chat room (RFC 7701 §7).
//! * [`auth`]: how a client gets URIs of a relay (RFC 4976).
//! * [`composing`]: "is typing" (RFC 3994).
//! * [`mod@file`]: file transfer by offer and answer (RFC 5547).
//!
//! Everything here is sans-IO: octets and the time come in as arguments, octets and events are
//! polled out. An MSRP relay (RFC 4976) is made of [`Frames`] and [`auth`] elsewhere; a session whose path
//! goes through somebody's relay works.

pub mod auth;
pub mod cema;
pub mod composing;
pub mod connection;
pub mod cpim;
mod decode;
mod error;
pub mod file;
mod frames;
mod head;
pub mod imdn;
mod limits;
pub mod multipart;
pub mod nickname;
mod range;
mod raw;
pub mod rewrite;
mod session;
mod status;
mod uri;
mod xml;

pub use decode::{Decoder, Piece};
pub use error::Error;
pub use frames::{Frames, Part, RawEnd};
pub use head::{Continuation, Head, Header, Start};
pub use limits::Limits;
pub use range::{ByteRange, Ranges};
pub use raw::{RawHead, RawStart};
pub use session::{
    AbortReason, ArrivalKey, Config, Event, FailureReason, FailureReport, MessageKey, Outgoing, Session, Size,
};
pub use status::Status;
pub use uri::{Uri, parse_path};
