//! How an association behaves: what carries it, its times, its limits.

use super::Timers;
use crate::encoding::Encoding;
use crate::text::Form;

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Messages may be lost, doubled and reordered: UDP.
    #[default]
    Datagram,
    /// Messages arrive in order or the transport fails, and then requests are sent again: TCP with
    /// TPKT, SCTP.
    Reliable,
    /// Both ends are in one process: a message arrives, once, or the other end is no more. Nothing
    /// is kept to be sent again.
    Channel,
}

/// How an association behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What carries the messages.
    pub transport: Transport,
    /// How who drives it will write the messages: short text unless set. Sizes are measured by it.
    pub encoding: Encoding,
    /// Messages get an authentication header (RFC 3525 §10.2) on their way: room is left for it.
    pub authenticated: bool,
    /// Replies that are too big for one message go in segments where version 3 is spoken; else they
    /// become error 533. Off: the profiles of 3GPP allow no segments over UDP (TS 29.334 table
    /// 5.12.2), and many peers cannot put them together. Segments of the peer are always taken.
    pub segments: bool,
    /// Times.
    pub timers: Timers,
    /// Sizes.
    pub limits: Limits,
}

impl Config {
    /// The defaults for a transport.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            encoding: Encoding::Text(Form::Short),
            authenticated: false,
            segments: false,
            timers: Timers::default(),
            limits: Limits::default(),
        }
    }
}

/// How much an association holds at once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Our requests without a reply; one more fails at once with [`Failure::TooMany`](super::Failure).
    pub outstanding: usize,
    /// The peer's requests being executed; one more is answered with error 511.
    pub executing: usize,
    /// The peer's requests remembered so that repeats are not executed; the oldest goes first.
    pub remembered: usize,
    /// Transactions ready to be sent that nobody takes. Beyond it new requests of the peer are not
    /// taken and nothing is repeated, as if the network had lost it.
    pub queue: usize,
    /// Pendings we may send for one request; then it is answered with error 506
    /// (MGOriginatedPendingLimit or MGCOriginatedPendingLimit of `root`, whichever we are).
    pub pendings: u32,
    /// Pendings of the peer for one request of ours; one more and the request has failed.
    pub pendings_taken: u32,
    /// Transactions in one message of the peer; more is error 413 for the message.
    pub transactions: usize,
    /// Transactions in one message of ours; 1 after a peer has refused a message with error 413.
    pub bundle: usize,
    /// Octets of a message over datagrams, 500 to 65,507. Larger replies go in segments or become
    /// error 533, larger requests fail with [`Failure::TooBig`](super::Failure). 1,452 is what no
    /// Ethernet splits by either IP version. Less (1,232 suits every IPv6 path) refuses what mostly
    /// would arrive; take it where a tunnel is known. A peer may ask for another value
    /// (MGMaxPDUSize and MGCMaxPDUSize of `seg`).
    pub datagram: usize,
    /// Segments of one reply, ours and the peer's; an answer of ours that needs more is error 533.
    pub segments: u16,
    /// Segments held of replies that are not complete, all together. One more waits at the peer.
    pub assembling: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            outstanding: 4_096,
            executing: 4_096,
            remembered: 131_072,
            queue: 8_192,
            pendings: 20,
            pendings_taken: 64,
            transactions: 64,
            // TS 29.334 table 5.10.1.
            bundle: 10,
            datagram: 1_452,
            segments: 256,
            assembling: 1_024,
        }
    }
}
