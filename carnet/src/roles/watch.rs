//! What `carnet run` makes of what its roles show: log lines, counts for `/metrics`, sessions put together from their events, a
//! record of each at its end, and a stream of events for who watches over HTTP.

use super::{Observer, Seen, log};
use crate::reload::{Ready, Renewals};
use carnet_border::{Cause, Event as Border};
use carnet_event::Event;
use carnet_gateway::Event as Gateway;
use carnet_ops::Told;
use carnet_ops::config::{Config, RecordsSection};
use carnet_ops::metrics::{LASTING, Metrics, SECONDS};
use carnet_ops::records::{Place, Records};
use carnet_ops::sessions::{Bounds, Sessions};
use carnet_plan::{Octets, Side};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
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
    sessions: Option<Mutex<Sessions>>,
    records: Option<Records>,
    stream: broadcast::Sender<Arc<(SystemTime, Told)>>,
    /// Seconds that calls get, once an administrator wants the process to end.
    drain: watch::Sender<Option<u64>>,
    /// Who wants the file to be read again, and waits for what came of it.
    reloads: mpsc::Sender<Wanted>,
    wanted: Mutex<Option<mpsc::Receiver<Wanted>>>,
}

/// One who waits for a reload: what has changed, or why nothing has.
pub type Wanted = oneshot::Sender<Result<Value, Value>>;

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
            .counter(
                SIP_MESSAGES,
                "SIP messages by method or class of status, at the sockets of a border or conference server",
                &["node", "direction", "kind"],
            )
            .counter(H248_SENT, "H.248 messages that controllers sent to a gateway", &["gateway"])
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
        let place = config.records.as_ref().map(place_of);
        let fail =
            |place: &Place, e: std::io::Error| format!("session records: {}: {e}", place.path.display());
        let records =
            place.map(|place| Records::open(place.clone()).map_err(|e| fail(&place, e))).transpose()?;
        // Putting sessions together costs a little of each call: only for who looks at them.
        let watched =
            records.is_some() || config.admin.as_ref().is_some_and(|admin| admin.as_ref().listen.is_some());
        let sessions = watched.then(|| Mutex::new(Sessions::new(Bounds::default())));
        let ((stream, _), (drain, _)) = (broadcast::channel(STREAM), watch::channel(None));
        let (reloads, wanted) = mpsc::channel(MOST_RELOADS);
        let (calls, wanted) = (Mutex::default(), Mutex::new(Some(wanted)));
        Ok(Arc::new(Self { metrics, calls, sessions, records, stream, drain, reloads, wanted }))
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
            Ok(Ready::Now(Box::new(move || {
                let moved = this.records.as_ref().zip(place).map(|(records, place)| records.renew(place));
                if let Some(Err(error)) = moved {
                    tracing::error!(%error, "session records stay where they were");
                }
            })))
        });
    }

    /// Has the file be read again, as a signal does; what has changed, or why nothing has.
    ///
    /// # Errors
    /// The reason, as `error` and `at`.
    pub async fn reload(&self) -> Result<Value, Value> {
        let busy = |why: &str| Err(serde_json::json!({ "error": why }));
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

    /// Looks for sessions whose record is complete, now and then, until the process ends.
    pub async fn look(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.complete();
        }
    }

    /// The sessions, if they are put together here.
    pub fn sessions<T>(&self, look: impl FnOnce(&Sessions) -> T) -> Option<T> {
        self.sessions.as_ref().map(|sessions| look(&sessions.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<(SystemTime, Told)>> {
        self.stream.subscribe()
    }

    /// Has the process end, as a signal does.
    pub fn drain(&self, grace: u64) {
        self.drain.send_replace(Some(grace));
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

    fn told<E: Event>(&self, role: &'static str, node: &str, event: &E) {
        let of_call = self.sessions.is_some() && matches!(role, "border" | "steering");
        if !of_call && self.stream.receiver_count() == 0 {
            return;
        }
        let Some(told) = Told::of(role, node, event) else { return };
        let wall = SystemTime::now();
        if self.stream.receiver_count() > 0 {
            // Without readers there is nobody to miss it.
            let _ = self.stream.send(Arc::new((wall, told.clone())));
        }
        if let (Some(sessions), true) = (&self.sessions, of_call) {
            sessions.lock().unwrap_or_else(PoisonError::into_inner).take(told, Instant::now(), wall);
            self.complete();
        }
    }

    fn complete(&self) {
        let Some(sessions) = &self.sessions else { return };
        let completed = sessions.lock().unwrap_or_else(PoisonError::into_inner).completed(Instant::now());
        if let Some(records) = &self.records {
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

    fn see(&self, seen: &Seen<'_>) {
        match seen {
            Seen::Border { border, event } => {
                self.metrics.happened("border", border, *event);
                self.told("border", border, *event);
                self.border(border, event);
            }
            Seen::Gateway { gateway, event } => {
                self.metrics.happened("gateway", gateway, *event);
                self.told("gateway", gateway, *event);
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
                self.told("kms", kms, *event);
            }
            Seen::Sip { border, octets, sent } => {
                let direction = if *sent { "sent" } else { "received" };
                self.metrics.add(SIP_MESSAGES, &[border, direction, kind(octets)], 1);
            }
            Seen::Command { gateway, .. } => self.metrics.add(H248_SENT, &[gateway], 1),
            Seen::Media { .. } | Seen::Holds { .. } => {}
        }
    }

    fn border(&self, border: &str, event: &Border) {
        let key = |call_id: &String| (border.to_owned(), call_id.clone());
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Border::CallStarted { call_id, .. } if calls.len() < MOST_CALLS => {
                calls.insert(key(call_id), Began { at: Instant::now(), up: None });
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

/// A method that is known, `other`, or `2xx`.
fn kind(octets: &[u8]) -> &'static str {
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
    let method = octets.split(|octet| *octet == b' ').next().unwrap_or_default();
    METHODS.into_iter().find(|known| known.as_bytes() == method).unwrap_or("other")
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
        let ended = |cause| Border::CallEnded { call_id: call_id(), cause };
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
            watch.see(&Seen::Sip { border: "b-a", octets, sent: false });
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
