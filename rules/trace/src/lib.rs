//! What went by in a network, put in order by session, with a sentence at the end: what went wrong and what to do.
//!
//! ```text
//!  carnet_capture::Event ─┐
//!                         ├─▶ Tracer ─ Ladder ─▶ show::{text, json, svg, html}
//!  Telling ───────────────┘               └─ find: the rules
//! ```
//!
//! * [`model`]: the ladder. It does not know where its entries come from.
//! * [`Tracer`]: makes one from what a capture holds. Protocols are told by content: SIP and SDP, MIKEY in both,
//!   H.248 in both encodings, MSRP, BFCP, TLS, the ng protocol, HTTP.
//! * [`Telling`]: what a node tells of itself while it runs: messages at its sockets, and what it decided. Of several nodes
//!   too: what one sent and another got is one arrow.
//! * [`find`]: what went wrong, a rule a function.
//! * [`show`]: a ladder for a terminal, for programs, as a picture, as a page.
//!
//! Key material is masked on the way in. Left out: what RTP carries, SIP over WebSocket, and everything inside of TLS.

pub mod find;
mod gather;
mod groups;
mod hosts;
mod listen;
pub mod mask;
pub mod model;
mod read;
pub mod show;
mod telling;
mod tracer;
pub mod words;

pub use model::{Entry, Fact, Finding, Host, Kind, Ladder, Session, Way, Weight};
pub use telling::{Node, Peer, Protocol, Telling, What};
pub use tracer::{Limits, Tracer};
