//! What `carnet run` makes of what its roles show: log lines, counts for `/metrics`, sessions put together from their events, a
//! record of each at its end, and a stream of events for who watches over HTTP.

use super::counted::Said;
use super::history::{History, Recent, Shown};
use super::tap::{self, Tap};
use super::{Observer, Seen, held_sip, log};
use crate::reload::{Ready, Renewals};
use carnet_border::{Cause, Event as Border};
use carnet_event::Event;
use carnet_gateway::Event as Gateway;
use carnet_ops::Told;
use carnet_ops::config::{Config, RecordsSection, THIS_PROCESS};
use carnet_ops::metrics::{Gauge, LASTING, Metrics, SECONDS, SHORT};
use carnet_ops::records::{Place, Records};
use carnet_ops::sessions::{Bounds, Sessions};
use carnet_plan::{Octets, Side};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Calls whose beginning is remembered, at most: what takes longer to be answered or ends without an event is not
/// measured.
const MOST_CALLS: usize = 200_000;

const SIP_MESSAGES: &str = "carnet_sip_messages_total";
const SETUP: &str = "carnet_border_setup_seconds";
const LASTED: &str = "carnet_border_call_seconds";
const BORDER_OCTETS: &str = "carnet_border_media_octets_total";
const STEERING_OCTETS: &str = "carnet_steering_media_octets_total";
const STEERING_LASTED: &str = "carnet_steering_dialog_seconds";
const GATEWAY_OCTETS: &str = "carnet_gateway_octets_total";
const H248_SENT: &str = "carnet_h248_messages_sent_total";
const H248_REQUESTS: &str = "carnet_h248_requests_total";
const H248_REPEATED: &str = "carnet_h248_requests_repeated_total";
const H248_REPLIES: &str = "carnet_h248_replies_total";
const H248_SECONDS: &str = "carnet_h248_transaction_seconds";
const SIP_SECONDS: &str = "carnet_sip_transaction_seconds";
const KMS_SECONDS: &str = "carnet_kms_request_seconds";
const MISSED: &str = "carnet_event_stream_missed_total";

/// Events that wait for a reader of the stream; one that is slower misses some, and is told how many.
const STREAM: usize = 1_024;

/// Reloads that wait for their turn.
const MOST_RELOADS: usize = 4;

fn place_of(section: &RecordsSection) -> Place {
    Place { path: section.file.clone(), rotate: *section.rotate.as_ref() << 20, keep: *section.keep.as_ref() }
}

/// Shared by all roles of the process.
pub struct Watch {
    pub metrics: Metrics,
    calls: Mutex<HashMap<(String, String), Began>>,
    /// Put together from when somebody looks at them.
    sessions: OnceLock<Mutex<Sessions>>,
    records: RwLock<Option<Arc<Records>>>,
    tap: Tap,
    stream: broadcast::Sender<Shown>,
    pub(super) history: History,
    pub(super) recent: Recent,
    #[cfg(feature = "otel")]
    otel: RwLock<Option<Arc<crate::otel::Otel>>>,
    /// Seconds that calls get, once an administrator wants the process to end.
    drain: watch::Sender<Option<u64>>,
    /// Who wants the file to be read again, and waits for what came of it.
    reloads: mpsc::Sender<Wanted>,
    wanted: Mutex<Option<mpsc::Receiver<Wanted>>>,
}

/// One who waits for a reload: what has changed, or why nothing has.
pub type Wanted = oneshot::Sender<Result<Value, String>>;

#[derive(Clone, Copy)]
struct Began {
    at: Instant,
    up: Option<Instant>,
}

impl Watch {
    /// For the roles of that file.
    ///
    /// # Errors
    /// The file for session records cannot be written.
    pub fn new(config: &Config) -> Result<Arc<Self>, String> {
        let metrics = Metrics::new()
            .events::<Border>("border")
            .events::<Gateway>("gateway")
            .events::<carnet_conference::Event>("conference")
            .events::<carnet_steering::Event>("steering")
            .events::<crate::kms::Event>("kms")
            .events::<super::Deed>("admin")
            .counter(
                SIP_MESSAGES,
                "SIP messages by method or class of status, at the sockets of a border or conference server",
                &["node", "direction", "kind"],
            )
            .counter(
                tap::PACKETS,
                "Messages for the HEP server: sent, or dropped because it is slow or not there, too long, not readable",
                &["result"],
            )
            .counter(H248_SENT, "H.248 messages that controllers sent to a gateway", &["gateway"])
            .counter(MISSED, "Events that readers of the stream were too slow for", &[])
            .counter(
                H248_REQUESTS,
                "H.248 commands that were asked for, by who was asked or asked",
                &["role", "node", "peer", "direction", "command"],
            )
            .counter(
                H248_REPEATED,
                "H.248 requests that were said again as no answer came",
                &["role", "node", "peer", "direction"],
            )
            .counter(
                H248_REPLIES,
                "H.248 requests that were answered, by error code; 0 is none",
                &["role", "node", "peer", "direction", "code"],
            )
            .histogram(
                H248_SECONDS,
                "Seconds from an H.248 request to its answer, repeats included",
                &["role", "node", "peer"],
                SHORT,
            )
            .histogram(
                SIP_SECONDS,
                "Seconds from a SIP request to its final response, of requests sent (client) and received (server)",
                &["node", "side", "method"],
                SECONDS,
            )
            .histogram(
                KMS_SECONDS,
                "Seconds that a key server took for a request",
                &["kms", "operation", "result"],
                SHORT,
            )
            .histogram(SETUP, "Seconds from an INVITE to its answer", &["border"], SECONDS)
            .histogram(LASTED, "Seconds that calls lasted, from their answer", &["border"], LASTING)
            .histogram(
                STEERING_LASTED,
                "Seconds that dialogs lasted, from their first offer",
                &["steering"],
                LASTING,
            )
            .counter(
                BORDER_OCTETS,
                "Octets that gateways counted for calls that ended, as they come from and go to an end",
                &["border", "side", "direction"],
            )
            .counter(
                STEERING_OCTETS,
                "Octets that the gateway counted for media that was given back, as they come from and go to an end",
                &["steering", "side", "direction"],
            )
            .counter(
                GATEWAY_OCTETS,
                "Octets of terminations that were subtracted, as they come from and go to peers",
                &["gateway", "direction"],
            );
        let steered = config.gateway.iter().filter(|(_, section)| section.as_ref().ng.is_some());
        let nodes = config.border.keys().map(|name| ("border", name));
        let nodes = nodes.chain(config.gateway.keys().map(|name| ("gateway", name)));
        let nodes = nodes.chain(config.conference.keys().map(|name| ("conference", name)));
        let nodes = nodes.chain(steered.map(|(name, _)| ("steering", name)));
        let nodes = nodes.chain(config.kms.iter().map(|kms| ("kms", &kms.as_ref().name)));
        for (role, name) in nodes {
            metrics.role(role, name);
        }
        metrics.add(MISSED, &[], 0);
        let place = config.records.as_ref().map(place_of);
        let fail =
            |place: &Place, e: std::io::Error| format!("session records: {}: {e}", place.path.display());
        let records =
            place.map(|place| Records::open(place.clone()).map_err(|e| fail(&place, e))).transpose()?;
        // Putting sessions together costs a little of each call: only for who looks at them.
        let watched = records.is_some() || config.admin.is_some();
        let sessions = match watched {
            true => Mutex::new(Sessions::new(Bounds::default())).into(),
            false => OnceLock::new(),
        };
        let tap = Tap::new(config)?;
        if tap.hep().is_some() {
            tap::RESULTS.into_iter().for_each(|result| metrics.add(tap::PACKETS, &[result], 0));
        }
        let ((stream, _), (drain, _)) = (broadcast::channel(STREAM), watch::channel(None));
        let (reloads, wanted) = mpsc::channel(MOST_RELOADS);
        Ok(Arc::new(Self {
            metrics,
            calls: Mutex::default(),
            sessions,
            records: RwLock::new(records.map(Arc::new)),
            tap,
            stream,
            history: History::default(),
            recent: Recent::default(),
            #[cfg(feature = "otel")]
            otel: RwLock::new(crate::otel::Otel::start(config)?.map(Arc::new)),
            drain,
            reloads,
            wanted: Mutex::new(Some(wanted)),
        }))
    }

    /// Settings of the log and of records that can be others while the process runs.
    pub fn renewals(self: &Arc<Self>, renewals: &mut Renewals) {
        renewals.add(&["log"], |config| {
            let (level, format) = (config.log.level.clone(), config.log.format);
            carnet_ops::log::check(&level)?;
            Ok(Ready::Now(Box::new(move || {
                carnet_ops::log::set_format(format);
                if carnet_ops::log::is_set_from_outside() {
                    tracing::warn!("CARNET_LOG wins over `log.level`");
                } else if let Err(error) = carnet_ops::log::set_level(&level) {
                    tracing::warn!(error, "the log goes on as it was");
                }
            })))
        });
        let this = self.clone();
        renewals.add(&["records"], move |config| {
            let (this, place) = (this.clone(), config.records.as_ref().map(place_of));
            Ok(Ready::Try(Box::new(move || {
                let why = |error| format!("session records stay where they were: {error}");
                this.record(place).map_err(why)
            })))
        });
        let this = self.clone();
        renewals.add(&["trace"], move |config| {
            let (this, kept) = (this.clone(), tap::kept_of(config));
            Ok(Ready::Now(Box::new(move || this.tap.keep(kept))))
        });
        #[cfg(feature = "otel")]
        {
            let this = self.clone();
            renewals.add(&["otel"], move |config| {
                let (this, wanted) = (this.clone(), crate::otel::Wanted::of(config)?);
                Ok(Ready::Try(Box::new(move || this.trace(wanted))))
            });
        }
        let this = self.clone();
        renewals.add(&["hep"], move |config| {
            let (this, hep) = (this.clone(), tap::hep_of(config)?);
            Ok(Ready::Now(Box::new(move || {
                let task = hep.as_ref().and_then(|hep| hep.run(this.clone()));
                task.into_iter().for_each(|task| drop(tokio::spawn(task)));
                tap::RESULTS.into_iter().for_each(|result| this.metrics.add(tap::PACKETS, &[result], 0));
                this.tap.send_to(hep);
            })))
        });
    }

    #[cfg(feature = "otel")]
    fn otel(&self) -> Option<Arc<crate::otel::Otel>> {
        self.otel.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Traces go there from now on, or nowhere.
    #[cfg(feature = "otel")]
    fn trace(&self, wanted: Option<crate::otel::Wanted>) -> Result<(), String> {
        let mut held = self.otel.write().unwrap_or_else(PoisonError::into_inner);
        match (&*held, wanted) {
            (Some(otel), Some(wanted)) => otel.renew(&wanted)?,
            (None, Some(wanted)) => *held = Some(Arc::new(crate::otel::Otel::of(wanted)?)),
            (_, None) => *held = None,
        }
        Ok(())
    }

    /// Session records go there from now on, or nowhere.
    fn record(&self, place: Option<Place>) -> std::io::Result<()> {
        let mut held = self.records.write().unwrap_or_else(PoisonError::into_inner);
        match (&*held, place) {
            (Some(records), Some(place)) => records.renew(place)?,
            (None, Some(place)) => {
                let records = Records::open(place)?;
                self.sessions.get_or_init(|| Mutex::new(Sessions::new(Bounds::default())));
                *held = Some(Arc::new(records));
            }
            (_, None) => {
                if let Some(records) = held.take() {
                    // Waits for the disk.
                    tokio::task::spawn_blocking(move || drop(records));
                }
            }
        }
        Ok(())
    }

    fn records(&self) -> Option<Arc<Records>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the file be read again, as a signal does; what has changed, or why nothing has.
    ///
    /// # Errors
    /// The reason.
    pub async fn reload(&self) -> Result<Value, String> {
        let busy = |why: &str| Err(why.to_owned());
        let (sender, outcome) = oneshot::channel();
        match self.reloads.try_send(sender) {
            Ok(()) => outcome.await.unwrap_or_else(|_| busy("the process ends")),
            Err(_) => busy("it is being reloaded, or was not started from a file"),
        }
    }

    /// Those who want a reload. Given out once.
    pub fn wanted(&self) -> Option<mpsc::Receiver<Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What is counted here beside events, for `/metrics`.
    pub fn gauges(&self, gauges: &mut Vec<Gauge>) {
        held_sip::handshakes(gauges);
        #[cfg(feature = "otel")]
        if let Some(otel) = self.otel() {
            otel.gauges(gauges);
        }
        if let Some(records) = self.records() {
            let lost = u32::try_from(records.lost()).unwrap_or(u32::MAX).into();
            let labels = vec![
                ("role", "process".to_owned()),
                ("node", String::new()),
                ("queue", "records".to_owned()),
            ];
            let help = "What was lost as a queue was full";
            gauges.push(Gauge { name: "carnet_queue_lost_total", help, labels, value: lost });
        }
        let readers = u32::try_from(self.stream.receiver_count()).unwrap_or(u32::MAX).into();
        let help = "Who watches events as they happen";
        gauges.push(Gauge { name: "carnet_event_stream_readers", help, labels: Vec::new(), value: readers });
    }

    /// Looks for sessions whose record is complete, now and then, until the process ends.
    pub async fn look(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.complete();
            let live = || self.sessions(carnet_ops::sessions::Sessions::in_progress).unwrap_or_default();
            self.history.look(Instant::now(), SystemTime::now(), live);
        }
    }

    /// The sessions, if they are put together here.
    pub fn sessions<T>(&self, look: impl FnOnce(&Sessions) -> T) -> Option<T> {
        self.sessions.get().map(|sessions| look(&sessions.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Sends what waits for others to take it, before the process ends.
    pub async fn flush(&self) {
        #[cfg(feature = "otel")]
        if let Some(otel) = self.otel() {
            otel.flush(Duration::from_secs(2)).await;
        }
    }

    /// Events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Shown> {
        self.stream.subscribe()
    }

    /// How many read them.
    pub fn readers(&self) -> usize {
        self.stream.receiver_count()
    }

    /// A reader of the stream was too slow for so many.
    pub fn missed(&self, events: u64) {
        self.metrics.add(MISSED, &[], events);
    }

    /// Has the process end, as a signal does.
    pub fn drain(&self, grace: u64) {
        self.drain.send_replace(Some(grace));
    }

    /// Whether the process is to end.
    pub fn is_draining(&self) -> bool {
        self.drain.borrow().is_some()
    }

    /// Waits until an administrator wants that; how long calls get.
    pub async fn drained(&self) -> Duration {
        let mut wanted = self.drain.subscribe();
        loop {
            if let Some(grace) = *wanted.borrow_and_update() {
                return Duration::from_secs(grace);
            }
            if wanted.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Somebody administers the process, or another process of the network comes and goes.
    pub(super) fn administered(&self, event: &super::Deed) {
        self.metrics.happened("admin", THIS_PROCESS, event);
        self.told("admin", THIS_PROCESS, event);
    }

    fn told<E: Event>(&self, role: &'static str, node: &str, event: &E) {
        let Some(level) = event.level() else { return };
        self.history.happened(role, event);
        let of_call = matches!(role, "border" | "steering") && self.sessions.get().is_some();
        let tap = Some(&self.tap).filter(|tap| tap.has_ring());
        let read = self.stream.receiver_count() > 0;
        let kept = self.sessions.get().is_some() && Recent::wants(role, event.name(), level);
        if !of_call && tap.is_none() && !read && !kept {
            return;
        }
        let Some(told) = Told::of(role, node, event) else { return };
        let wall = SystemTime::now();
        if let Some(tap) = tap {
            tap.told(&told, wall, &self.metrics);
        }
        let shown = (read || kept).then(|| told.clone());
        let mut number = None;
        if let (Some(sessions), true) = (self.sessions.get(), of_call) {
            let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
            number = sessions.take(told, Instant::now(), wall);
        }
        if let Some(told) = shown {
            let shown = Arc::new((wall, told, number));
            if kept {
                self.recent.put(&shown);
            }
            if read {
                // Without readers there is nobody to miss it.
                let _ = self.stream.send(shown);
            }
        }
        if of_call {
            self.complete();
        }
    }

    fn complete(&self) {
        let Some(sessions) = self.sessions.get() else { return };
        let completed = sessions.lock().unwrap_or_else(PoisonError::into_inner).completed(Instant::now());
        if let Some(records) = self.records() {
            completed.iter().for_each(|session| records.put(&session.record()));
        }
    }

    /// For the roles; `other` sees it too.
    pub fn observer(self: &Arc<Self>, other: Option<Observer>) -> Observer {
        let this = self.clone();
        Arc::new(move |seen| {
            log(&seen);
            this.see(&seen);
            if let Some(other) = &other {
                other(seen);
            }
        })
    }

    /// What went by, if that is kept or sent somewhere.
    pub fn tap(&self) -> Option<&Tap> {
        Some(&self.tap).filter(|tap| tap.looks())
    }

    fn see(&self, seen: &Seen<'_>) {
        self.tap.see(seen, &self.metrics);
        #[cfg(feature = "otel")]
        if let Some(otel) = self.otel() {
            otel.see(seen);
        }
        match seen {
            Seen::Border { border, event } => {
                self.metrics.happened("border", border, *event);
                self.told("border", border, *event);
                self.border(border, event);
            }
            Seen::Gateway { gateway, event } => {
                self.metrics.happened("gateway", gateway, *event);
                self.told("gateway", gateway, *event);
                self.history.gateway(event);
                if let Gateway::Removed { statistics, .. } = event {
                    self.metrics.add(GATEWAY_OCTETS, &[gateway, "received"], statistics.octets_received);
                    self.metrics.add(GATEWAY_OCTETS, &[gateway, "sent"], statistics.octets_sent);
                }
            }
            Seen::Conference { conference, event } => {
                self.metrics.happened("conference", conference, *event);
                self.told("conference", conference, *event);
            }
            Seen::Steering { gateway, event } => {
                self.metrics.happened("steering", gateway, *event);
                self.told("steering", gateway, *event);
                match event {
                    carnet_steering::Event::MediaReleased { octets, .. } => {
                        self.octets(STEERING_OCTETS, gateway, octets);
                    }
                    carnet_steering::Event::DialogEnded { lasted, .. } => {
                        self.metrics.observe(STEERING_LASTED, &[gateway], lasted.as_secs_f64());
                    }
                    _ => {}
                }
            }
            Seen::Kms { kms, event } => {
                self.metrics.happened("kms", kms, *event);
                if let Some((operation, result, took)) = answered(event) {
                    self.metrics.observe(KMS_SECONDS, &[kms, operation, result], took.as_secs_f64());
                }
                self.told("kms", kms, *event);
            }
            Seen::Sip { border, octets, sent, .. } => {
                let direction = if *sent { "sent" } else { "received" };
                self.metrics.add(SIP_MESSAGES, &[border, direction, kind(octets)], 1);
            }
            Seen::Command { gateway, .. } => self.metrics.add(H248_SENT, &[gateway], 1),
            Seen::Counted { role, node, peer, said } => self.control([role, node, peer], *said),
            Seen::Finished { node, finished } => {
                let side = if finished.ours { "client" } else { "server" };
                let method = known(finished.method.as_str().as_bytes());
                self.metrics.observe(SIP_SECONDS, &[node, side, method], finished.took.as_secs_f64());
            }
            Seen::Control { .. } | Seen::Ng { .. } | Seen::Media { .. } | Seen::Holds { .. } => {}
        }
    }

    fn control(&self, [role, node, peer]: [&str; 3], said: Said) {
        let direction = |sent| if sent { "sent" } else { "received" };
        match said {
            Said::Asked { sent, command } => {
                self.metrics.add(H248_REQUESTS, &[role, node, peer, direction(sent), command], 1);
            }
            Said::Again { sent } => {
                self.metrics.add(H248_REPEATED, &[role, node, peer, direction(sent)], 1);
            }
            Said::Answered { sent, code, took } => {
                // H.248.8 has a few hundred; what is none of them is no label.
                let code = match code {
                    0 | 400..=699 | 900..=999 => code.to_string(),
                    _ => "other".to_owned(),
                };
                self.metrics.add(H248_REPLIES, &[role, node, peer, direction(sent), &code], 1);
                if let Some(took) = took {
                    self.metrics.observe(H248_SECONDS, &[role, node, peer], took.as_secs_f64());
                }
            }
        }
    }

    fn border(&self, border: &str, event: &Border) {
        let key = |call_id: &String| (border.to_owned(), call_id.clone());
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Border::CallStarted { call_id, .. } if calls.len() < MOST_CALLS => {
                calls.insert(key(call_id), Began { at: Instant::now(), up: None });
            }
            Border::CallRestored { call_id, answered, .. } if calls.len() < MOST_CALLS => {
                let now = Instant::now();
                let ago = SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH + Duration::from_millis(*answered));
                let up = now.checked_sub(ago.unwrap_or_default()).unwrap_or(now);
                calls.insert(key(call_id), Began { at: up, up: Some(up) });
            }
            Border::CallUp { call_id } => {
                if let Some(began) = calls.get_mut(&key(call_id)).filter(|began| began.up.is_none()) {
                    let now = Instant::now();
                    began.up = Some(now);
                    self.metrics.observe(SETUP, &[border], (now - began.at).as_secs_f64());
                }
            }
            // A branch of a fork ends, and the call goes on.
            Border::CallEnded { cause: Cause::Elsewhere | Cause::NotAnswered, .. } => {}
            Border::CallEnded { call_id, .. } => {
                if let Some(up) = calls.remove(&key(call_id)).and_then(|began| began.up) {
                    self.metrics.observe(LASTED, &[border], up.elapsed().as_secs_f64());
                }
            }
            Border::MediaReleased { octets, .. } => self.octets(BORDER_OCTETS, border, octets),
            _ => {}
        }
    }

    fn octets(&self, metric: &str, node: &str, octets: &carnet_plan::Both<Octets>) {
        for (side, name) in [(Side::Caller, "caller"), (Side::Callee, "callee")] {
            let Octets { received, sent } = octets.of(side);
            self.metrics.add(metric, &[node, name, "received"], *received);
            self.metrics.add(metric, &[node, name, "sent"], *sent);
        }
    }
}

/// What a key server was asked for, whether it was granted, and how long that took.
fn answered(event: &crate::kms::Event) -> Option<(&'static str, &'static str, Duration)> {
    use crate::kms::Event;
    match event {
        Event::TicketIssued { took, .. } => Some(("issue", "granted", *took)),
        Event::TicketResolved { took, .. } => Some(("resolve", "granted", *took)),
        Event::RequestRefused { operation, took, .. } => Some((operation, "refused", *took)),
        Event::TicketRevoked { .. } | Event::KeyRotated { .. } => None,
    }
}

/// A method that is known, or `other`.
fn known(method: &[u8]) -> &'static str {
    /// RFC 3261 §27.4 and the registry of methods.
    const METHODS: [&str; 14] = [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "PRACK",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "INFO",
        "REFER",
        "MESSAGE",
        "UPDATE",
    ];
    METHODS.into_iter().find(|known| known.as_bytes() == method).unwrap_or("other")
}

/// A method that is known, `other`, or `2xx`.
fn kind(octets: &[u8]) -> &'static str {
    if let Some(rest) = octets.strip_prefix(b"SIP/2.0 ") {
        return match rest.first() {
            Some(b'1') => "1xx",
            Some(b'2') => "2xx",
            Some(b'3') => "3xx",
            Some(b'4') => "4xx",
            Some(b'5') => "5xx",
            Some(b'6') => "6xx",
            _ => "other",
        };
    }
    known(octets.split(|octet| *octet == b' ').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_plan::Both;

    #[test]
    fn a_call_is_counted_and_measured() {
        let watch = Watch::new(&Config::default()).unwrap();
        let call_id = || "x".to_owned();
        let networks = Both { caller: "a".into(), callee: "b".into() };
        let octets =
            Both { caller: Octets { received: 5, sent: 7 }, callee: Octets { received: 7, sent: 5 } };
        let started = Border::CallStarted { call_id: call_id(), from: "a".into(), to: "b".into(), networks };
        let gateway = || "agw".into();
        let ended = |cause| Border::CallEnded { call_id: call_id(), cause, said: None };
        for event in [
            started,
            Border::CallUp { call_id: call_id() },
            Border::CallUp { call_id: call_id() },
            ended(Cause::Elsewhere),
            Border::MediaReleased { call_id: call_id(), gateway: gateway(), context: 1, octets },
            ended(Cause::Bye(Side::Caller)),
        ] {
            watch.see(&Seen::Border { border: "b-a", event: &event });
        }
        for octets in [&b"INVITE sip:b SIP/2.0\r\n"[..], b"SIP/2.0 200 OK\r\n", b"EVIL\0 sip:b SIP/2.0\r\n"] {
            let hop = carnet_sip::Hop::new(carnet_sip::Transport::Udp, ([192, 0, 2, 1], 5060).into());
            watch.see(&Seen::Sip { border: "b-a", octets, sent: false, hop: &hop });
        }
        let text = watch.metrics.render(&[]);
        for line in [
            "carnet_border_call_ended_total{border=\"b-a\",cause=\"caller-hung-up\"} 1\n",
            "carnet_border_call_ended_total{border=\"b-a\",cause=\"elsewhere\"} 1\n",
            "carnet_border_setup_seconds_count{border=\"b-a\"} 1\n",
            "carnet_border_call_seconds_count{border=\"b-a\"} 1\n",
            "carnet_border_media_octets_total{border=\"b-a\",direction=\"sent\",side=\"caller\"} 7\n",
            "carnet_sip_messages_total{direction=\"received\",kind=\"INVITE\",node=\"b-a\"} 1\n",
            "carnet_sip_messages_total{direction=\"received\",kind=\"2xx\",node=\"b-a\"} 1\n",
            "carnet_sip_messages_total{direction=\"received\",kind=\"other\",node=\"b-a\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(watch.calls.lock().unwrap().is_empty());
    }
}
