//! What a gateway does for calls: TLS that ends at it, from the TCP connection to the association or its failure.
//!
//! Where the border of the call is in the same process, that is part of the call; elsewhere it is a trace of its own, with
//! the gateway's name and the context to find it by.

use super::calls::Calls;
use super::span::{Span, Told};
use super::{ids, keys};
use carnet_gateway::Event;
use carnet_gateway::media::Cause;
use carnet_h248::{ContextId, TerminationId};
use opentelemetry::trace::{SpanId, SpanKind, Status};
use std::collections::HashMap;
use std::time::SystemTime;

/// Connections whose TLS has not come about, at most.
const MOST: usize = 20_000;

/// Connections to terminations.
#[derive(Default)]
pub struct Terminations {
    connected: HashMap<Key, (SystemTime, String)>,
}

impl Terminations {
    /// Takes an event of a gateway.
    pub fn gateway(&mut self, gateway: &str, event: &Event, calls: &Calls, over: &mut Vec<Span>) {
        match event {
            Event::Connected { context, termination, peer } if self.connected.len() < MOST => {
                let key = key_of(gateway, *context, termination);
                self.connected.insert(key, (SystemTime::now(), peer.to_string()));
            }
            Event::Sealed { context, termination, version, suite } => {
                let key = key_of(gateway, *context, termination);
                let Some((start, peer)) = self.connected.remove(&key) else { return };
                let told = told(&key, peer)
                    .with("tls.protocol.version", version.to_string())
                    .with("tls.cipher", suite.to_string());
                over.push(handshake(&key, calls, start, told, Status::Unset));
            }
            Event::Disconnected { context, termination, cause } => {
                let key = key_of(gateway, *context, termination);
                let Some((start, peer)) = self.connected.remove(&key) else { return };
                // Others end without TLS of ours in them.
                if let Cause::Tls(failure) = cause {
                    let told = told(&key, peer);
                    over.push(handshake(&key, calls, start, told, Status::error(format!("{failure:?}"))));
                }
            }
            Event::Removed { context, termination, .. } => {
                self.connected.remove(&key_of(gateway, *context, termination));
            }
            _ => {}
        }
    }
}

type Key = (String, u32, String);

fn key_of(gateway: &str, context: ContextId, termination: &TerminationId) -> Key {
    (gateway.to_owned(), context.id().unwrap_or_default(), termination.to_string())
}

fn told((gateway, context, termination): &Key, peer: String) -> Told {
    Told::of("gateway", gateway)
        .with("h248.context", i64::from(*context))
        .with("h248.termination", termination.clone())
        .with("client.address", peer)
}

fn handshake(key: &Key, calls: &Calls, start: SystemTime, told: Told, status: Status) -> Span {
    let (trace, parent) =
        calls.media_at(&key.0, key.1).unwrap_or_else(|| (ids::of_itself(), SpanId::INVALID));
    Span {
        trace,
        id: keys::unique(),
        parent,
        remote: false,
        kind: SpanKind::Server,
        name: "TLS handshake".into(),
        start,
        end: SystemTime::now(),
        told,
        events: Vec::new(),
        links: Vec::new(),
        status,
    }
}
