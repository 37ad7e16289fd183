//! SIP for borders and user agents, sans-IO: lossless messages, transactions, server location,
//! dialogs, digest authentication.
//!
//! ```text
//!  driver ── Input ──▶ Endpoint ── Event ──▶ transaction user (border, client)
//!         ◀─ Transmit ─          ◀─ request/respond/ack/cancel ─
//! ```
//!
//! [`Message`] keeps every octet; [`Framer`] cuts streams; [`Endpoint`] runs the transactions of
//! RFC 3261 §17 with RFC 6026 and finds servers by RFC 3263; it answers the STUN of RFC 5626 that keeps
//! ways through translators of addresses open. Nothing here reads a clock, opens a
//! socket or draws a random number of its own.

mod address;
mod arrivals;
mod dialog;
mod digest;
mod endpoint;
mod error;
mod framer;
mod grammar;
mod hop;
mod limits;
mod line_ends;
mod locate;
mod message;
mod method;
pub mod multipart;
mod params;
pub mod registration;
pub mod stun;
mod typed;
mod uri;

pub use address::NameAddr;
pub use arrivals::Arrivals;
pub use dialog::{
    Dialog, DialogId, Provisionals, Refresher, Repetition, SessionTimer, SessionTimers, fresh_call_id,
    fresh_tag,
};
pub use digest::{Algorithm, Challenge, DigestClient, DigestServer, DigestSettings, Password, Verdict};
pub use endpoint::{
    Answering, Branch, ClientKey, Config, Destination, Endpoint, Event, Finished, Load, SentBy, ServerKey,
    Silence, Tally, Timers,
};
pub use error::{Error, reason_phrase};
pub use framer::{Frame, Framer, PONG};
pub use hop::{FlowId, Hop, Input, Transmit, Transport};
pub use limits::Limits;
pub use line_ends::mend_line_ends;
pub use locate::{Answer, Ask, Naptr, Query, QueryId, Search, Srv};
pub use message::{Message, Scanned, long_name, same_header, scan};
pub use method::Method;
pub use params::Params;
pub use typed::{CSeq, MAGIC_COOKIE, RAck, Via};
pub use uri::{Scheme, Uri, host_ip, host_of};
