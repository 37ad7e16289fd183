//! The ng control protocol: how a SIP element has an rtpengine relay RTP for it.
//!
//! A datagram is a cookie, a blank and one bencoded dictionary; the answer has the same cookie. The
//! protocol is documented with rtpengine ("The NG Control Protocol"); bencode is BEP 3. Sans-IO: octets
//! go in and come out, and time is told.
//!
//! * [`bencode`]: the encoding, lossless and bounded.
//! * [`message`]: ping, offer, answer, delete, and what answers them. Both directions, so that a server
//!   can be built on it.
//! * [`client`]: requests under way, repeated until they are answered or have had their time.
//!
//! Left out: the JSON form, statistics queries, recording and playing media.

pub mod bencode;
pub mod client;
pub mod message;
pub mod options;

pub use bencode::{Limits, Value};
pub use client::{Client, Outcome, RequestId, Timers};
pub use message::{Command, Error, Message, Request, Response};
pub use options::Options;
