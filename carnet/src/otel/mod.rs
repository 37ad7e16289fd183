//! Traces of calls for OpenTelemetry: `[otel]` of the file, cargo feature `otel`.
//!
//! ```text
//!  what roles show ─▶ calls, dialogs, rooms, keys, terminations: spans that are over ─▶ a bounded queue ─▶ OTLP/HTTP
//! ```
//!
//! One trace a call, over all processes, without a word of ours in anybody's message ([`ids`]): what belongs together is
//! named by what all of them see. Nothing here waits for the collector: a span that finds the queue full is counted and
//! lost. Spans hold names, addresses, causes and counts, never a key.
//!
//! Left out: headers of W3C trace context, which SIP has no place for.

mod calls;
mod dialogs;
mod export;
mod ids;
mod invites;
mod keys;
mod rooms;
mod span;
mod terminations;
#[cfg(test)]
mod tests;

use crate::roles::Seen;
use calls::Calls;
use carnet_ops::config::{Config, OtelSection};
use carnet_ops::metrics::Gauge;
use dialogs::Dialogs;
use export::Exporting;
use ids::Sample;
use opentelemetry_sdk::Resource;
use rooms::Rooms;
use span::Span;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use terminations::Terminations;

/// What is wrong with the files of the section, if anything is.
///
/// # Errors
/// Why a file cannot be used; nothing of what is in it.
pub fn check(section: &OtelSection) -> Result<(), String> {
    export::check(section)
}

/// Traces what the roles of a process do.
pub struct Otel {
    seen: Mutex<State>,
    /// How many traces are taken, and where they go.
    to: RwLock<(Sample, Arc<Exporting>)>,
}

/// What a file says of traces, to be gone by.
pub struct Wanted {
    section: OtelSection,
    resource: Resource,
    calls: Calls,
    rooms: Rooms,
}

impl Wanted {
    /// What that file says, if it wants traces.
    ///
    /// # Errors
    /// A file of the section cannot be used.
    pub fn of(config: &Config) -> Result<Option<Self>, String> {
        let Some(section) = config.otel.as_ref().map(|section| section.as_ref().clone()) else {
            return Ok(None);
        };
        export::check(&section)?;
        let resource = export::resource(config, &section);
        let rooms = Rooms::new(config.conference.keys().cloned().collect());
        Ok(Some(Self { resource, calls: calls_of(config), rooms, section }))
    }
}

/// Calls, and where they begin.
fn calls_of(config: &Config) -> Calls {
    // Networks where calls begin: what calls from there has no border before ours.
    let mut origins = BTreeSet::new();
    for (border, section) in &config.border {
        let subscribers = section.as_ref().network.iter().filter(|(_, n)| n.as_ref().subscribers);
        origins.extend(subscribers.map(|(network, _)| (border.clone(), network.clone())));
    }
    Calls::new(config.border.keys().cloned().collect(), origins)
}

struct State {
    calls: Calls,
    terminations: Terminations,
    dialogs: Dialogs,
    rooms: Rooms,
}

impl Otel {
    /// For the roles of that file, if it wants traces. Inside a tokio runtime.
    ///
    /// # Errors
    /// A file of the section cannot be used.
    pub fn start(config: &Config) -> Result<Option<Self>, String> {
        Wanted::of(config)?.map(Self::of).transpose()
    }

    /// For roles that run.
    ///
    /// # Errors
    /// A file of the section cannot be used.
    pub fn of(wanted: Wanted) -> Result<Self, String> {
        let Wanted { section, resource, calls, rooms } = wanted;
        let exporting = export::start(&section, resource, Arc::default())?;
        Ok(Self::new(calls, rooms, *section.sample.as_ref(), exporting))
    }

    fn new(calls: Calls, rooms: Rooms, sample: f64, exporting: Arc<Exporting>) -> Self {
        let state =
            State { calls, terminations: Terminations::default(), dialogs: Dialogs::default(), rooms };
        Self { seen: Mutex::new(state), to: RwLock::new((Sample::new(sample), exporting)) }
    }

    /// Goes on with what another file says. Calls that there are end in their spans there; what waits for the collector of
    /// before is sent there.
    ///
    /// # Errors
    /// A file of the section cannot be used; nothing has changed then.
    pub fn renew(&self, wanted: &Wanted) -> Result<(), String> {
        let Wanted { section, resource, .. } = wanted;
        let mut to = self.to.write().unwrap_or_else(PoisonError::into_inner);
        let exporting = export::start(section, resource.clone(), to.1.counts())?;
        *to = (Sample::new(*section.sample.as_ref()), exporting);
        Ok(())
    }

    fn exporting(&self) -> Arc<Exporting> {
        self.to.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Takes what a role shows.
    pub fn see(&self, seen: &Seen<'_>) {
        let wanted = match seen {
            // Most of what passes begins and ends no INVITE, and costs nothing here.
            Seen::Sip { octets, sent, .. } => invites::is_of_interest(octets, *sent),
            Seen::Border { .. }
            | Seen::Gateway { .. }
            | Seen::Kms { .. }
            | Seen::Steering { .. }
            | Seen::Conference { .. } => true,
            _ => false,
        };
        if !wanted {
            return;
        }
        let mut over = Vec::new();
        {
            let mut state = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let State { calls, terminations, dialogs, rooms } = &mut *state;
            match seen {
                Seen::Sip { border, octets, sent, .. } => {
                    calls.sip(border, octets, *sent, &mut over);
                    rooms.sip(border, octets, *sent, &mut over);
                }
                Seen::Border { border, event } => calls.border(border, event, &mut over),
                Seen::Gateway { gateway, event } => terminations.gateway(gateway, event, calls, &mut over),
                Seen::Kms { kms, event } => keys::kms(kms, event, &mut over),
                Seen::Steering { gateway, event } => dialogs.steering(gateway, event, &mut over),
                Seen::Conference { conference, event } => rooms.conference(conference, event, &mut over),
                _ => return,
            }
        }
        if over.is_empty() {
            return;
        }
        let to = self.to.read().unwrap_or_else(PoisonError::into_inner);
        for span in over.into_iter().filter(|span: &Span| to.0.takes(span.trace)) {
            to.1.put(span);
        }
    }

    /// How the export goes, for `/metrics`.
    pub fn gauges(&self, gauges: &mut Vec<Gauge>) {
        self.exporting().gauges(gauges);
    }

    /// Sends what waits, for so long at most.
    pub async fn flush(&self, patience: Duration) {
        self.exporting().flush(patience).await;
    }
}
