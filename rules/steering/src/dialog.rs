//! A dialog, or a branch before it has become one: two ends, and the media lines between them.
//!
//! RFC 3264, RFC 3261 §12: an offer makes it, whatever tags it has; the answer names the other end. Later
//! offers of either end are of the same dialog and keep the contexts whose kind stays.

use crate::{Config, Timers};
use carnet_h248::StreamMode;
use carnet_plan::{Addressing, Both, Context, Facts, Family, Fixed, Octets, Plan, Side};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

/// Names a dialog inside its call. Never used again in the life of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DialogKey(pub(crate) u32);

/// What was last written to a side where the request had us write over it (`replace`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) username: Option<String>,
    pub(crate) session_name: Option<Vec<u8>>,
    /// Version of `o=`, and the description with it.
    pub(crate) version: Option<(u64, bytes::Bytes)>,
}

/// What is known of one end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct End {
    /// Its tag, once it has spoken.
    pub(crate) tag: Option<String>,
    /// Tags of answers that a later one took the place of: other forks.
    pub(crate) former: Vec<String>,
    /// Position in the configuration.
    pub(crate) interface: usize,
    /// IP version of the gateway's address there, if it is not the interface's own.
    pub(crate) family: Option<Family>,
    /// It cannot be connected to.
    pub(crate) behind_nat: bool,
    /// Where its signalling comes from.
    pub(crate) source: Option<IpAddr>,
    /// Only that address may connect.
    pub(crate) strict: bool,
    /// Whether its TLS ends at the gateway, where a request said so.
    pub(crate) e2ae: Option<bool>,
    /// How MSRP is addressed there, where a request said so.
    pub(crate) msrp: Option<Addressing>,
    /// Written to it in place of the gateway's address.
    pub(crate) media_address: Option<IpAddr>,
    /// DSCP of media sent to it, where a request said so.
    pub(crate) dscp: Option<u8>,
    /// For listings.
    pub(crate) label: Option<String>,
    pub(crate) written: Written,
}

impl End {
    /// Whether the tag is or was its own.
    pub(crate) fn is(&self, tag: &str) -> bool {
        self.tag.as_deref() == Some(tag)
    }

    /// The termination towards it.
    pub(crate) fn fixed(&self, config: &Config) -> Option<Fixed> {
        let interface = config.interfaces.get(self.interface)?;
        let silence = config.timers.silence.as_secs();
        Some(Fixed {
            realm: interface.realm.clone(),
            family: self.family.unwrap_or(interface.family),
            rate: interface.rate,
            dscp: self.dscp.or(interface.dscp),
            // The gateway is in this process: there is nobody who could forget the other.
            heartbeat: 0,
            inactivity: (silence > 0).then_some(silence),
        })
    }
}

/// The connection between an end and the gateway, as far as the gateway told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Link {
    pub(crate) up: bool,
    /// Why it is not there any more.
    pub(crate) cause: Option<String>,
    /// Whether TLS stands that ends at the gateway.
    pub(crate) tls: Option<bool>,
}

/// One media line.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// What the offer at hand brought in; the answer puts it in the place of `agreed`.
    pub(crate) offered: Option<Box<Context>>,
    /// What the last answer settled.
    pub(crate) agreed: Option<Box<Context>>,
    /// What it had when its dialog ended.
    pub(crate) last: Option<Box<Context>>,
    /// The last answer did not take the line.
    pub(crate) refused: bool,
    /// Media type and transport as offered, for people.
    pub(crate) name: String,
    /// [`carnet_plan::Decision::name`] of the last offer.
    pub(crate) decision: &'static str,
    /// The connections through each of its contexts.
    pub(crate) links: BTreeMap<u32, Both<Link>>,
    /// Counted by contexts that are over.
    pub(crate) octets: Both<Octets>,
    /// Counted by the context that there is, when it was last asked.
    pub(crate) measured: Both<Octets>,
    /// Nothing passed for as long as is watched for; what was counted then.
    pub(crate) silent: Option<Both<Octets>>,
}

impl Stream {
    /// The context that descriptions speak of.
    pub(crate) fn context(&self) -> Option<&Context> {
        self.offered.as_deref().or(self.agreed.as_deref())
    }

    /// The same, to change.
    pub(crate) fn context_mut(&mut self) -> Option<&mut Context> {
        self.offered.as_deref_mut().or(self.agreed.as_deref_mut())
    }

    /// The context that media take: while an offer is open, still what was agreed before.
    pub(crate) fn carrying(&self) -> Option<&Context> {
        self.agreed.as_deref().or(self.offered.as_deref())
    }

    /// Media may pass.
    pub(crate) fn is_open(&self) -> bool {
        self.agreed.as_ref().is_some_and(|context| context.setting().1 == StreamMode::SendReceive)
    }

    /// Both ends are connected through one context.
    pub(crate) fn is_joined(&self) -> bool {
        let links = self.contexts().filter_map(|context| self.links.get(&context.id()?));
        links.into_iter().any(|links| links.caller.up && links.callee.up)
    }

    /// All it has on the gateway.
    pub(crate) fn contexts(&self) -> impl Iterator<Item = &Context> {
        [self.offered.as_deref(), self.agreed.as_deref()].into_iter().flatten()
    }

    /// Takes all of it.
    pub(crate) fn take_contexts(&mut self) -> impl Iterator<Item = Box<Context>> + use<> {
        [self.offered.take(), self.agreed.take()].into_iter().flatten()
    }
}

/// The last offer. It stays after its answer: another fork may answer it too.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) offerer: Side,
    pub(crate) plan: Plan,
    /// What was known when it was planned.
    pub(crate) facts: Facts,
    /// Octets per second that each line says it takes.
    pub(crate) takes: Vec<Option<u64>>,
    pub(crate) answered: bool,
    /// It was outside of a dialog: several may answer it.
    pub(crate) first: bool,
}

/// A pair of ends.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) key: DialogKey,
    pub(crate) via_branch: Option<String>,
    /// The caller made the first offer that we saw.
    pub(crate) ends: Both<End>,
    /// By the place of the media line.
    pub(crate) streams: Vec<Stream>,
    pub(crate) exchange: Option<Exchange>,
    pub(crate) created: Instant,
    /// The last offer or answer.
    pub(crate) signalled: Instant,
    /// The first answer.
    pub(crate) answered: Option<Instant>,
    /// Since when no line of it has both its connections.
    pub(crate) apart: Option<Instant>,
    /// A `delete` with a delay ends it then, if nothing is said before.
    pub(crate) delete_at: Option<Instant>,
    /// Lines that no answer took are given back then.
    pub(crate) sweep_at: Option<Instant>,
}

impl Dialog {
    pub(crate) fn new(key: DialogKey, via_branch: Option<String>, ends: Both<End>, now: Instant) -> Self {
        Self {
            key,
            via_branch,
            ends,
            streams: Vec::new(),
            exchange: None,
            created: now,
            signalled: now,
            answered: None,
            apart: None,
            delete_at: None,
            sweep_at: None,
        }
    }

    /// The side whose tag that is.
    pub(crate) fn side_of(&self, tag: &str) -> Option<Side> {
        [Side::Caller, Side::Callee].into_iter().find(|side| self.ends.of(*side).is(tag))
    }

    /// The line of that place, made if there is none yet.
    pub(crate) fn stream_mut(&mut self, index: usize) -> &mut Stream {
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, Stream::default);
        }
        // The lines above made the place.
        let last = self.streams.len() - 1;
        &mut self.streams[index.min(last)]
    }

    /// Whether it has anything on the gateway.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.iter().all(|stream| stream.contexts().next().is_none())
    }

    /// When something is due.
    pub(crate) fn due(&self, timers: &Timers) -> Option<Instant> {
        let idle = self.idle(timers).map(|(at, _)| at);
        [self.delete_at, self.sweep_at, self.gives_up(timers), idle].into_iter().flatten().min()
    }
}
