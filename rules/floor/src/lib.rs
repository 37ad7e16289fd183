//! The floor control server of a conference (RFC 8855), sans-IO.
//!
//! [`FloorControl`] is the server of one conference: connections give it octets and take octets from it;
//! the conference tells it who its users are and which of them chair a floor; it tells who has a floor.
//!
//! ```
//! use carnet_floor::{Algorithm, ConnectionId, Floor, FloorControl, Limits, Link, Member, Settings};
//! use std::time::Instant;
//!
//! let now = Instant::now();
//! let floors = vec![Floor::new(1, Algorithm::FirstCome)];
//! let mut control = FloorControl::new(Settings::new(4711, floors), Limits::default());
//! control.admit(now, 7, Member::default());
//! control.connected(now, ConnectionId(1), Link::stream(Some(7)));
//! // FloorRequest, transaction 1, user 7, FLOOR-ID 1.
//! let request = b"\x20\x01\x00\x01\x00\x00\x12\x67\x00\x01\x00\x07\x05\x04\x00\x01";
//! control.handle_octets(now, ConnectionId(1), request);
//! let (_, answer) = control.poll_transmit().expect("FloorRequestStatus");
//! assert_eq!(answer[1], 4);
//! assert_eq!(control.holders(1), [7]);
//! ```
//!
//! After any call drain `poll_transmit` and `poll_event`; call `handle_timeout` when `poll_timeout` says.

mod answers;
mod config;
mod control;
mod event;
mod floors;
mod notices;
mod people;
mod request;
mod snapshot;

pub use carnet_bfcp::Transport;
pub use config::{Algorithm, Floor, Limits, Member, Settings};
pub use control::{FloorControl, NoSuch, SnapshotError};
pub use event::{Claim, CloseReason, ConnectionId, Event, FloorReport, Reason};
pub use people::Link;
