//! Drivers that turn sockets and timers into machine inputs; media engines.
//!
//! The machines of the inner rings have no sockets, clocks or randomness. [`SipSockets`] feeds SIP
//! endpoints, [`ControlSockets`] H.248 associations, [`media`] moves what gateways relay, [`conference`] ends
//! what the members of conferences send, [`relay`] passes MSRP on; [`until`] is
//! a machine's timer, [`OsRandom`] its randomness, [`drain()`] ends in order.

pub mod conference;
mod dns;
mod drain;
mod error;
pub mod h248;
pub mod inherited;
pub mod media;
mod ng;
#[cfg(test)]
mod patient;
mod random;
pub mod relay;
pub mod sip;
mod stream;
mod tcp;
mod timer;
mod udp;
mod waiting;

pub use dns::{NameServers, Resolver};
pub use drain::{Drain, Token, drain};
pub use error::Error;
pub use h248::{
    ControlConfig, ControlEvent, ControlListen, ControlPeer, ControlSockets, ControlTls, ControlTransport,
    LocalEnd, Protection, local_pair,
};
pub use ng::{NgConfig, NgListen, NgRequest, NgServer, NgSocket, NgTally, NgTls, NgToken, NgTransport};
pub use random::{OsRandom, PooledRandom};
pub use sip::{Listen, SipConfig, SipEvent, SipMachine, SipSockets, SipTls, SocketLimits, Undelivered};
pub use stream::StreamLimits;
pub use timer::until;
pub use waiting::Waiting;
