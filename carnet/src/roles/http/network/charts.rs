//! The last hour of all processes together: what each counts for itself, on one grid of time, added up.
//!
//! Of each process the points of the last hour are kept here and only newer ones asked for. A process whose clock is another is shifted to
//! ours. A point holds for ten seconds at most: a process that says nothing more drops out of the sum, and is named.

use super::Desk;
use super::gathered::{Gathered, Quiet};
use super::peer::Peer;
use super::told::{History, Word};
use crate::node::NodeError;
use crate::roles::history::{POINTS, SERIES, STEP};
use crate::web::answer::{Answer, Asked, Problem, number};
use axum::Json;
use axum::extract::State;
use carnet_ops::config::THIS_PROCESS;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::{IntoParams, ToSchema};

/// Between two points, in milliseconds.
const GRID: u64 = STEP.as_millis() as u64;
/// For how long a point holds.
const HOLDS: u64 = 2 * GRID;
/// What is kept.
const HOUR: u64 = POINTS as u64 * GRID;
/// Clocks that differ by less are the same.
const SAME: u64 = 2_000;
/// Points of the grid over which it is said how a process is now.
const NOW: usize = 12;

/// The last hour of a process.
#[derive(Default, Clone)]
pub(super) struct Series {
    points: Vec<Point>,
    /// The newest, by its clock.
    newest: u64,
}

#[derive(Clone, Copy)]
struct Point {
    /// By our clock.
    at: u64,
    live: f64,
    rates: [f64; SERIES.len()],
}

impl Series {
    /// With what it said at `now`, which is our clock.
    fn with(&self, more: &History, now: u64) -> Self {
        let theirs = more.now.filter(|theirs| theirs.abs_diff(now) > SAME);
        let shift = |at: u64| theirs.map_or(at, |theirs| at.saturating_add(now).saturating_sub(theirs));
        let columns = SERIES.map(|name| more.rates.0.get(&Word(name.to_owned())));
        let number = |list: &[f64], place: usize| {
            list.get(place).copied().filter(|n| n.is_finite() && *n >= 0.0).unwrap_or_default()
        };
        let mut all = self.clone();
        for (place, at) in more.at.0.iter().enumerate().filter(|(_, at)| **at > self.newest) {
            all.points.push(Point {
                at: shift(*at),
                live: number(&more.live.0, place),
                rates: columns.map(|column| column.map_or(0.0, |column| number(&column.0, place))),
            });
            all.newest = all.newest.max(*at);
        }
        all.points.sort_by_key(|point| point.at);
        all.points
            .retain(|point| point.at.saturating_add(HOUR) > now && point.at <= now.saturating_add(GRID));
        let spare = all.points.len().saturating_sub(POINTS);
        all.points.drain(..spare);
        all
    }

    /// What holds at that time.
    fn at(&self, time: u64) -> Option<&Point> {
        let behind = self.points.partition_point(|point| point.at <= time);
        let last = self.points.get(behind.checked_sub(1)?)?;
        (time - last.at < HOLDS).then_some(last)
    }
}

async fn series(peer: Arc<Peer>) -> Result<Series, NodeError> {
    let before = peer.charts.last().unwrap_or_default();
    let more: History = peer.get(&format!("/api/v1/history?after={}", before.newest)).await?;
    // Its clock was set back: what it says from now on would not be newer.
    if more.now.is_some_and(|theirs| theirs.saturating_add(HOLDS) < before.newest) {
        let all: History = peer.get("/api/v1/history").await?;
        return Ok(Series::default().with(&all, milliseconds()));
    }
    Ok(before.with(&more, milliseconds()))
}

fn milliseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::roles::http) struct HistoryOf {
    /// Milliseconds since 1970: only what came later. The last of it may still grow: ask for half a minute again.
    #[serde(default)]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: u64,
    /// Only of that process.
    node: Option<String>,
}

/// A process in the last minute.
#[derive(Serialize, ToSchema)]
struct Lately {
    /// Which.
    node: String,
    /// Sessions in progress.
    live: f64,
    /// What is counted, a second.
    rates: BTreeMap<&'static str, f64>,
}

/// The last hour of the network.
#[derive(Serialize, ToSchema)]
pub(in crate::roles::http) struct Hour {
    /// Seconds between two points.
    step: u64,
    /// Milliseconds since 1970.
    at: Vec<u64>,
    /// Sessions in progress.
    live: Vec<f64>,
    /// What is counted, a second: the columns of `/api/v1/history`.
    rates: BTreeMap<&'static str, Vec<f64>>,
    /// Each process in the last minute.
    nodes: Vec<Lately>,
    /// Processes that did not say, or not now.
    quiet: Vec<Quiet>,
}

/// The last hour of all processes together, or of one: sessions in progress, and what happened, a second, each as its process counts it. A
/// call that passes borders of two processes counts at both.
#[utoipa::path(get, path = "/api/v1/network/history", tag = "network", params(HistoryOf), responses(
    (status = 200, description = "Columns of equal length", body = Hour),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    (status = 404, description = "There is no such process", body = Problem),
))]
pub(in crate::roles::http) async fn history(
    State(desk): State<Arc<Desk>>,
    Asked(HistoryOf { after, node }): Asked<HistoryOf>,
) -> Answer<Json<Hour>> {
    number("after", Some(after))?;
    if let Some(name) = node.as_deref().filter(|name| *name != THIS_PROCESS) {
        desk.network.peer(name)?;
    }
    let ask = |peer| -> futures_util::future::BoxFuture<'static, _> { Box::pin(series(peer)) };
    let Gathered { mut said, quiet } = desk.network.gather(|_| true, |peer| &peer.charts, ask).await;
    let now = milliseconds();
    let own: Option<History> = serde_json::from_value::<History>(desk.watch.history.since(0)).ok();
    let own = own.map(|own| Series::default().with(&own, now)).unwrap_or_default();
    said.insert(0, (THIS_PROCESS.to_owned(), Arc::new(own)));
    let nodes = said.iter().filter_map(|(node, series)| lately(node, series, now)).collect();
    let wanted: Vec<&Series> = said
        .iter()
        .filter(|(name, _)| node.as_ref().is_none_or(|node| node == name))
        .map(|(_, series)| &**series)
        .collect();
    Ok(Json(added(&wanted, after, now, nodes, quiet)))
}

/// Added up on the grid.
fn added(wanted: &[&Series], after: u64, now: u64, nodes: Vec<Lately>, quiet: Vec<Quiet>) -> Hour {
    let first = wanted.iter().filter_map(|series| Some(series.points.first()?.at)).min();
    let mut hour = Hour {
        step: STEP.as_secs(),
        at: Vec::new(),
        live: Vec::new(),
        rates: SERIES.iter().map(|name| (*name, Vec::new())).collect(),
        nodes,
        quiet,
    };
    let Some(first) = first else { return hour };
    let begin = first.max(now.saturating_sub(HOUR)).max(after.saturating_add(1)).div_ceil(GRID);
    for time in (begin..=now / GRID).map(|place| place * GRID) {
        let points: Vec<&Point> = wanted.iter().filter_map(|series| series.at(time)).collect();
        hour.at.push(time);
        hour.live.push(points.iter().map(|point| point.live).sum());
        for (place, name) in SERIES.iter().enumerate() {
            let sum: f64 = points.iter().filter_map(|point| point.rates.get(place)).sum();
            hour.rates.entry(name).or_default().push((sum * 1e3).round() / 1e3);
        }
    }
    hour
}

fn lately(node: &str, series: &Series, now: u64) -> Option<Lately> {
    let since = now.saturating_sub(NOW as u64 * GRID);
    let points: Vec<&Point> = series.points.iter().filter(|point| point.at > since).collect();
    let last = points.last()?;
    let mean = |place: usize| {
        let sum: f64 = points.iter().filter_map(|point| point.rates.get(place)).sum();
        (sum / points.len() as f64 * 1e3).round() / 1e3
    };
    Some(Lately {
        node: node.to_owned(),
        live: last.live,
        rates: SERIES.iter().enumerate().map(|(place, name)| (*name, mean(place))).collect(),
    })
}

/// The hour of this process says by which clock.
pub(in crate::roles::http) fn with_clock(mut history: Value) -> Value {
    if let Some(members) = history.as_object_mut() {
        members.insert("now".into(), milliseconds().into());
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(now: Option<u64>, at: &[u64], live: &[f64], relayed: &[f64]) -> History {
        serde_json::from_value(
            json!({ "now": now, "at": at, "live": live, "rates": { "relayed": relayed, "evil": [1] } }),
        )
        .unwrap()
    }

    #[test]
    fn hours_of_several_are_added_up_on_one_grid() {
        let now = 1_000_000_000;
        let at = |steps: u64, off: u64| now - steps * GRID + off;
        let a = Series::default().with(
            &said(None, &[at(3, 0), at(2, 100), at(1, 200)], &[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]),
            now,
        );
        // Its clock is an hour ahead.
        let ahead = |time: u64| time + 3_600_000;
        let b = Series::default()
            .with(&said(Some(ahead(now)), &[ahead(at(2, 0)), ahead(at(1, 0))], &[5.0, 5.0], &[1.0]), now);
        assert_eq!((b.points[0].at, b.newest), (at(2, 0), ahead(at(1, 0))));
        let hour = added(&[&a, &b], 0, now, Vec::new(), Vec::new());
        assert_eq!(hour.at, [at(3, 0), at(2, 0), at(1, 0), now]);
        assert_eq!(hour.live, [1.0, 6.0, 7.0, 8.0]);
        assert_eq!(hour.rates["relayed"], [10.0, 11.0, 20.0, 30.0]);
        assert_eq!(added(&[&a], at(1, 0), now, Vec::new(), Vec::new()).at, [now]);
        // One that says no more drops out.
        let later = added(&[&a, &b], 0, now + 4 * GRID, Vec::new(), Vec::new());
        assert_eq!(later.live.last(), Some(&0.0));
        assert_eq!(lately("a", &a, now).unwrap().live, 3.0);
        assert!(lately("a", &a, now + HOUR).is_none());
    }

    #[test]
    fn no_more_than_an_hour_is_kept_of_anybody() {
        let now = 1_000_000_000_000;
        let mut series = Series::default();
        for round in 0..3 {
            let at: Vec<u64> = (0..720).map(|n| now - 3_000_000 + round * 1_000 + n).collect();
            series = series.with(&said(None, &at, &vec![-1.0; 720], &[]), now);
        }
        assert!(series.points.len() <= POINTS && series.points.iter().all(|point| point.live == 0.0));
        let wrong = said(None, &[u64::MAX, now + 1_000_000, now - 2 * HOUR, now - 1], &[1.0; 4], &[]);
        let series = Series::default().with(&wrong, now);
        assert_eq!(series.points.iter().map(|point| point.at).collect::<Vec<_>>(), [now - 1]);
    }
}
