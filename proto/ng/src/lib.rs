//! The ng control protocol: how a SIP server has a media proxy rewrite the descriptions of a call.
//!
//! A datagram is a cookie, a blank and one dictionary, in bencode or JSON; the answer has the same cookie
//! and form. The protocol is documented with rtpengine ("The NG Control Protocol"); bencode is BEP 3, JSON
//! RFC 8259. Sans-IO: octets go in and come out, and time is told.
//!
//! * [`bencode`], [`json`]: the two forms of a [`Value`], bounded.
//! * [`message`]: requests and responses, both directions.
//! * [`options`]: what a request asks for besides, as far as it means something for TCP media.
//! * [`client`]: requests under way, repeated until they are answered or have had their time.
//! * [`server`]: requests that come twice.
//! * [`stream`]: messages back to back on TCP.
//!
//! Left out: everything that rtpengine does with RTP.

pub mod bencode;
pub mod client;
pub mod json;
pub mod message;
pub mod options;
pub mod server;
pub mod stream;

pub use bencode::{Limits, Value};
pub use client::{Client, Outcome, RequestId, Timers};
pub use message::{Command, Error, Form, Message, Request, Response};
pub use options::Options;
pub use server::{Memory, Seen, Server};
pub use stream::Frames;
