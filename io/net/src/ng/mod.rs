//! The ng protocol on sockets: towards an rtpengine, and for SIP servers that steer a gateway of ours.

mod client;
mod server;

pub use client::NgSocket;
pub use server::{NgConfig, NgListen, NgRequest, NgServer, NgTls, NgToken, NgTransport};
