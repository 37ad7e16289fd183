//! An MSRP relay (RFC 4976), sans-IO.
//!
//! * [`Relay`]: connections, what comes on them and what leaves.
//! * [`Settings`], [`Limits`], [`Timers`]: what it is told.
//! * [`Action`]: what it wants done with sockets.
//!
//! A client proves who it is (AUTH, digest) and is granted a URI, which is a secret. What comes from that
//! client by that URI is passed on to anybody; what comes from anybody by that URI is passed on to that client.
//! Nothing else is: the relay is not open (§6.4).
//!
//! A SEND is answered to the previous hop and passed on as it arrives, without being held. When somebody
//! else has something for the same next hop meanwhile, the chunk is ended there and gone on with in another
//! (§6.4.1), so that nobody waits for the end of a stranger's file. A next hop that does not read stops
//! those who send to it, and nobody else.
//!
//! A relay may have several shards, each for a thread of its own ([`Relay::shards`]).
//!
//! Left out: mutual TLS as proof of who a relay is (a URI granted through another relay is good for the
//! connection it was asked for on, as for a client); SRV records; combining chunks.

mod arrive;
mod auth;
mod connection;
mod depart;
mod grants;
mod ledger;
mod line;
mod relay;
mod settings;
mod shard;
mod transactions;

pub use connection::ConnectionId;
pub use relay::{Action, Counts, Reason, Relay};
pub use settings::{Limits, Listener, Settings, Timers};
