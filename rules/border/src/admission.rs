//! Whose word counts as a gateway's.
//!
//! H.248 has no protection of its own here (RFC 3525 §10): a message says who sent it and anybody can
//! write that. So a message is taken from the addresses the operator named for that gateway; and where
//! none are named, a live association stays where it is until the gateway registers elsewhere
//! (RFC 3525 §11.5). Left out: the interim authentication header, which protects IPv4 only and no
//! content; IPsec is below.

use crate::config::Gateway;
use crate::event::Event;
use carnet_h248::{Message, Method, Transaction, Verb};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How the place a message came from fits to what was known of its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// There is no other: the gateway has been here, or nowhere.
    Usual,
    /// Another one.
    Other,
    /// The gateway is in this process, and the message comes from outside.
    Outside,
}

/// Where a message of a gateway came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The address; `None` inside the process.
    pub address: Option<IpAddr>,
    /// How it fits.
    pub place: Place,
}

/// At most one event in this time for one gateway.
const QUIET: Duration = Duration::from_secs(10);

/// Foreign messages in the name of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Foreign {
    told: Option<Instant>,
    untold: u64,
}

impl Foreign {
    /// Counts one; the event, if it is time for one.
    pub(crate) fn seen(&mut self, now: Instant, gateway: &Gateway, from: Option<IpAddr>) -> Option<Event> {
        if self.told.is_some_and(|told| now < told + QUIET) {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told = Some(now);
        let others = std::mem::take(&mut self.untold);
        Some(Event::ForeignControl { gateway: gateway.name.clone(), from, others })
    }
}

/// Whether a message that names `gateway` is taken from there; `live` says that the gateway is
/// registered.
pub(crate) fn admits(gateway: &Gateway, live: bool, origin: Origin, message: &Message) -> bool {
    let named = match origin.address {
        Some(address) => gateway.peers.is_empty() || gateway.peers.iter().any(|peer| peer.contains(address)),
        None => true,
    };
    named
        && match origin.place {
            Place::Usual => true,
            Place::Other => !live || is_registration(message),
            Place::Outside => false,
        }
}

/// A ServiceChange by which a gateway comes to its controller.
fn is_registration(message: &Message) -> bool {
    let Some(Transaction::Request(request)) = message.transactions().first() else { return false };
    let Some(command) = request.actions.first().and_then(|action| action.commands.first()) else {
        return false;
    };
    let method = command.services().and_then(|services| services.method.as_ref());
    command.verb == Verb::ServiceChange
        && command.termination().is_root()
        && matches!(method, Some(Method::Restart | Method::Disconnected | Method::HandOff | Method::Failover))
}
