//! The last hour of the process in steps of five seconds, and what it told last: so that whoever opens the console sees what was
//! before. Both are rings of fixed size.
//!
//! Leaves out: anything that outlives the process; that is what Prometheus and session records are for.

use carnet_event::{Event, Level};
use carnet_gateway::Event as Gateway;
use carnet_ops::Told;
use carnet_ops::sessions::timestamp;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two points.
pub const STEP: Duration = Duration::from_secs(5);
/// Points: an hour.
pub const POINTS: usize = 720;
/// Events of a kind of role that are remembered: calls must not push out the few that say how gateways are.
const REMEMBERED: usize = 200;
/// Kinds of roles.
const ROLES: [&str; 6] = ["border", "gateway", "conference", "steering", "kms", "admin"];

/// What is counted, by name.
pub const SERIES: [&str; 10] = [
    "started",
    "answered",
    "ended",
    "failed",
    "refused",
    "octets",
    "relayed",
    "carried",
    "tickets",
    "tickets_refused",
];

/// What has happened since the last point, and the points.
#[derive(Debug, Default)]
pub struct History {
    counts: [AtomicU64; SERIES.len()],
    /// What the gateways had relayed, and their kernels carried, when it was last told.
    relayed: AtomicU64,
    carried: AtomicU64,
    points: Mutex<Points>,
}

#[derive(Debug, Default)]
struct Points {
    taken: Option<Instant>,
    all: VecDeque<Point>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    /// Milliseconds since 1970, at the end of the step.
    at: u64,
    /// How long it really was.
    lasted: Duration,
    counts: [u64; SERIES.len()],
    /// Sessions in progress.
    live: u64,
}

impl History {
    /// An event of a role.
    pub fn happened<E: Event>(&self, role: &str, event: &E) {
        let bad = event.level() >= Some(Level::Warn);
        match (role, event.name()) {
            ("border", "call-started") | ("steering", "dialog-started") => self.add("started", 1),
            ("border", "call-up") | ("steering", "dialog-answered") => self.add("answered", 1),
            ("border", "call-ended") | ("steering", "dialog-ended") => {
                self.add("ended", 1);
                if bad {
                    self.add("failed", 1);
                }
            }
            ("border" | "steering", "request-refused" | "registration-refused")
            | ("conference", "refused") => {
                self.add("refused", 1);
            }
            ("kms", "ticket-issued" | "ticket-resolved") => self.add("tickets", 1),
            ("kms", "request-refused") => self.add("tickets_refused", 1),
            _ => {}
        }
    }

    /// Octets of a termination that was given back: what came in at it.
    pub fn gateway(&self, event: &Gateway) {
        if let Gateway::Removed { statistics, .. } = event {
            self.add("octets", statistics.octets_received);
        }
    }

    /// What the gateways here have relayed since the start.
    pub fn relayed(&self, total: u64) {
        let before = self.relayed.swap(total, Ordering::Relaxed);
        self.add("relayed", total.saturating_sub(before));
    }

    /// What the kernel has carried for them since the start.
    pub fn carried(&self, total: u64) {
        let before = self.carried.swap(total, Ordering::Relaxed);
        self.add("carried", total.saturating_sub(before));
    }

    fn add(&self, series: &str, more: u64) {
        let place = SERIES.iter().position(|known| *known == series);
        if let Some(count) = place.and_then(|place| self.counts.get(place)) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// To be called more often than a step lasts: takes a point when it is time. `live` is the number of sessions in progress.
    pub fn look(&self, now: Instant, wall: SystemTime, live: impl FnOnce() -> usize) {
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(taken) = points.taken else {
            points.taken = Some(now);
            return;
        };
        let lasted = now.saturating_duration_since(taken);
        if lasted < STEP {
            return;
        }
        points.taken = Some(now);
        if points.all.len() == POINTS {
            points.all.pop_front();
        }
        let at = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let counts = std::array::from_fn(|place| {
            self.counts.get(place).map_or(0, |count| count.swap(0, Ordering::Relaxed))
        });
        points.all.push_back(Point {
            at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            lasted,
            counts,
            live: u64::try_from(live()).unwrap_or(u64::MAX),
        });
    }

    /// Points later than `after` (milliseconds since 1970), in columns: counts are rates a second.
    pub fn since(&self, after: u64) -> Value {
        let points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        let later = || points.all.iter().filter(|point| point.at > after);
        let column = |place: usize| -> Vec<f64> {
            let rate = |point: &Point| {
                let count = point.counts.get(place).copied().unwrap_or(0);
                (count as f64 / point.lasted.as_secs_f64() * 1e3).round() / 1e3
            };
            later().map(rate).collect()
        };
        let series: serde_json::Map<_, _> = SERIES
            .iter()
            .enumerate()
            .map(|(place, name)| ((*name).to_owned(), json!(column(place))))
            .collect();
        json!({
            "step": STEP.as_secs(),
            "at": later().map(|point| point.at).collect::<Vec<_>>(),
            "live": later().map(|point| point.live).collect::<Vec<_>>(),
            "rates": series,
        })
    }
}

/// An event, when it happened, and the session it belongs to.
pub type Shown = Arc<(SystemTime, Told, Option<u64>)>;

/// As the stream of events and what is remembered show it.
pub fn members(shown: &(SystemTime, Told, Option<u64>)) -> serde_json::Map<String, Value> {
    let (wall, told, session) = shown;
    let mut members = told.members();
    members.insert("timestamp".into(), timestamp(*wall).into());
    members.insert("level".into(), told.level.name().into());
    if let Some(session) = session {
        members.insert("session".into(), (*session).into());
    }
    members
}

/// What was told last, by kind of role.
#[derive(Debug, Default)]
pub struct Recent([Mutex<VecDeque<Shown>>; ROLES.len()]);

impl Recent {
    /// Whether it is to be remembered: what went wrong, and how gateways, rooms and tickets are; not each call and registration.
    pub fn wants(role: &str, name: &str, level: Level) -> bool {
        let rare = match role {
            "border" | "steering" => name.starts_with("gateway-") || name.starts_with("interface-"),
            "gateway" => matches!(name, "registered" | "unregistered"),
            _ => true,
        };
        level >= Level::Warn || level == Level::Info && rare
    }

    /// Remembers it.
    pub fn put(&self, shown: &Shown) {
        let Some(ring) = self.ring(shown.1.role) else { return };
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == REMEMBERED {
            ring.pop_front();
        }
        ring.push_back(shown.clone());
    }

    fn ring(&self, role: &str) -> Option<&Mutex<VecDeque<Shown>>> {
        self.0.get(ROLES.iter().position(|known| *known == role)?)
    }

    /// The newest first, of one kind of role or of all.
    pub fn newest(&self, role: Option<&str>) -> Vec<Value> {
        let mut all: Vec<Shown> = Vec::new();
        for kind in ROLES.iter().filter(|kind| role.is_none_or(|role| role == **kind)) {
            let ring = self.ring(kind);
            all.extend(ring.iter().flat_map(|ring| {
                ring.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect::<Vec<_>>()
            }));
        }
        all.sort_by_key(|shown| std::cmp::Reverse(shown.0));
        let event = |shown: &Shown| {
            let mut members = members(shown);
            members.insert("event".into(), shown.1.name.into());
            members.insert("role".into(), shown.1.role.into());
            members.into()
        };
        all.iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_border::{Cause, Event as Border};
    use carnet_plan::Side;

    #[test]
    fn an_hour_is_kept_in_steps() {
        let (history, start) = (History::default(), Instant::now());
        let wall = |seconds| UNIX_EPOCH + Duration::from_secs(1_000 + seconds);
        history.look(start, wall(0), || 0);
        let ended = |cause| Border::CallEnded { call_id: "x".into(), cause, said: None };
        for event in [
            Border::CallUp { call_id: "x".into() },
            ended(Cause::Bye(Side::Caller)),
            ended(Cause::GatewayLost),
        ] {
            history.happened("border", &event);
        }
        history.relayed(4_000);
        history.relayed(5_000);
        history.carried(20_000);
        history.carried(30_000);
        history.look(start + STEP - Duration::from_millis(1), wall(4), || 9);
        assert!(history.since(0)["at"].as_array().unwrap().is_empty(), "it is not time");
        history.look(start + STEP * 2, wall(10), || 7);
        let seen = history.since(0);
        assert_eq!((&seen["at"], &seen["live"]), (&json!([1_010_000]), &json!([7])));
        let rates = &seen["rates"];
        assert_eq!(
            (&rates["answered"], &rates["ended"], &rates["failed"], &rates["started"]),
            (&json!([0.1]), &json!([0.2]), &json!([0.1]), &json!([0.0]))
        );
        assert_eq!((&rates["relayed"], &rates["carried"]), (&json!([500.0]), &json!([3000.0])));
        for step in 3..2_000 {
            history.look(start + STEP * step, wall(5 * u64::from(step)), || 0);
        }
        assert_eq!(history.since(0)["at"].as_array().unwrap().len(), POINTS);
        assert_eq!(history.since(1_000_000 + 5_000 * 1_998)["at"], json!([1_000_000 + 5_000 * 1_999]));
    }

    #[test]
    fn the_last_events_are_remembered_and_no_more() {
        let recent = Recent::default();
        let told = |role, n: u64| Told {
            role,
            node: "n".into(),
            name: "refused",
            level: Level::Warn,
            fields: vec![("n".into(), carnet_event::Value::Number(n))],
        };
        for n in 0..1_000 {
            let at = UNIX_EPOCH + Duration::from_secs(n);
            recent.put(&Arc::new((at, told("border", n), Some(n))));
        }
        recent.put(&Arc::new((UNIX_EPOCH, told("kms", 5), None)));
        let all = recent.newest(None);
        assert_eq!((all.len(), &all[0]["n"], &all[0]["session"]), (REMEMBERED + 1, &json!(999), &json!(999)));
        let kms = recent.newest(Some("kms"));
        assert_eq!((kms.len(), &kms[0]["kms"], &kms[0]["event"]), (1, &json!("n"), &json!("refused")));
        assert!(recent.newest(Some("nobody")).is_empty());
        let wants = |role, name| Recent::wants(role, name, Level::Info);
        assert!(wants("kms", "ticket-issued") && wants("border", "gateway-up"));
        assert!(!wants("border", "call-up") && !wants("gateway", "added"));
        assert!(Recent::wants("border", "call-ended", Level::Warn));
    }
}
