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
use rooms::Rooms;
use span::Span;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
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
    sample: Sample,
    exporting: Arc<Exporting>,
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
        let Some(section) = &config.otel else { return Ok(None) };
        let section = section.as_ref();
        let exporting = export::start(section, export::resource(config, section))?;
        Ok(Some(Self::new(config, *section.sample.as_ref(), exporting)))
    }

    fn new(config: &Config, sample: f64, exporting: Arc<Exporting>) -> Self {
        // Networks where calls begin: what calls from there has no border before ours.
        let mut origins = BTreeSet::new();
        for (border, section) in &config.border {
            let subscribers = section.as_ref().network.iter().filter(|(_, n)| n.as_ref().subscribers);
            origins.extend(subscribers.map(|(network, _)| (border.clone(), network.clone())));
        }
        let borders = config.border.keys().cloned().collect();
        let state = State {
            calls: Calls::new(borders, origins),
            terminations: Terminations::default(),
            dialogs: Dialogs::default(),
            rooms: Rooms::new(config.conference.keys().cloned().collect()),
        };
        Self { seen: Mutex::new(state), sample: Sample::new(sample), exporting }
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
        for span in over.into_iter().filter(|span: &Span| self.sample.takes(span.trace)) {
            self.exporting.put(span);
        }
    }

    /// How the export goes, for `/metrics`.
    pub fn gauges(&self, gauges: &mut Vec<Gauge>) {
        self.exporting.gauges(gauges);
    }

    /// Sends what waits, for so long at most.
    pub async fn flush(&self, patience: Duration) {
        self.exporting.flush(patience).await;
    }
}
