//! The ng protocol on sockets: towards an rtpengine, and for SIP servers that steer a gateway of ours.

mod client;
mod datagrams;
mod http;
mod server;
mod shared;
mod stream;
mod websocket;

pub use client::NgSocket;
pub use server::{NgConfig, NgListen, NgRequest, NgServer, NgTally, NgTls, NgToken, NgTransport};

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
