//! Draining: nothing new, those in progress get some time, then the process ends. Until that begins it can be taken back.
//!
//! First every role is told to take nothing new, which it can be told otherwise. When nothing is left, or the time is
//! nearly over, the process ends as on a signal: what still runs then is ended.

use super::Desk;
use super::api::ask;
use crate::roles::question::Ask;
use crate::web::answer::{Answer, Failure, Given, OfBody, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use utoipa::ToSchema;

/// The most seconds that sessions may get: a day.
const LONGEST: u64 = 86_400;
/// What ending takes: BYE and Subtract, and their answers.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How often it is looked whether anything is left.
const LOOK: Duration = Duration::from_millis(500);

/// Whether it drains.
#[derive(Default)]
pub(super) struct Draining(Mutex<Stage>);

#[derive(Default)]
enum Stage {
    #[default]
    No,
    /// Until then; it can be taken back.
    Waiting { until: Instant, task: AbortHandle },
    /// The process ends.
    Ending { until: Instant },
}

impl Draining {
    /// Whether it has begun.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(&*self.state(), Stage::No)
    }

    fn state(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        if let Stage::Waiting { task, .. } = &*self.state() {
            task.abort();
        }
    }
}

/// How long to wait.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Grace {
    /// Seconds that calls in progress get.
    #[schema(maximum = 86400)]
    #[serde(deserialize_with = "crate::web::answer::whole")]
    grace: u64,
}

impl Grace {
    pub(super) fn seconds(&self) -> u64 {
        self.grace
    }
}

/// Whether the process drains.
#[derive(Serialize, ToSchema)]
pub(super) struct Drained {
    /// `no`; `waiting`: nothing new is taken, which can be taken back; `ending`.
    state: &'static str,
    /// Seconds until what is left is ended.
    left: Option<u64>,
    /// Sessions that borders, steered gateways, gateways and conference servers still have.
    sessions: Option<u64>,
}

/// Whether the process drains, and what is left.
#[utoipa::path(get, path = "/api/v1/drain", tag = "process", responses(
    (status = 200, description = "How it stands", body = Drained),
))]
pub(super) async fn state(State(desk): State<Arc<Desk>>) -> Json<Drained> {
    let (state, until) = match &*desk.draining.state() {
        Stage::No => ("no", None),
        Stage::Waiting { until, .. } => ("waiting", Some(*until)),
        Stage::Ending { until } => ("ending", Some(*until)),
    };
    let left = until.map(|until| until.saturating_duration_since(Instant::now()).as_secs());
    Json(Drained { state, left, sessions: sessions(&desk).await })
}

/// Takes no new sessions, lets those in progress end, at the latest after `grace` seconds, and ends the process. A second time
/// it gives another time.
#[utoipa::path(post, path = "/api/v1/drain", tag = "process", request_body = Grace, responses(
    (status = 202, description = "It drains"),
    (status = 409, description = "It ends already", body = Problem),
    OfBody,
))]
pub(super) async fn begin(
    State(desk): State<Arc<Desk>>,
    Given(Grace { grace }): Given<Grace>,
) -> Answer<StatusCode> {
    if grace > LONGEST {
        return Err(Failure::bad(format!("grace is at most {LONGEST} seconds")));
    }
    let until = Instant::now() + Duration::from_secs(grace);
    {
        let mut state = desk.draining.state();
        match &*state {
            Stage::Ending { .. } => {
                return Err(Failure(StatusCode::CONFLICT, "the process ends already".into()));
            }
            Stage::Waiting { task, .. } => task.abort(),
            Stage::No => {}
        }
        let waiting = tokio::spawn(wait(Arc::downgrade(&desk), until));
        *state = Stage::Waiting { until, task: waiting.abort_handle() };
    }
    // A role that does not answer hears of it when the process ends.
    let _ = desk.answering.answer(Ask::Retire { left: Some(Duration::from_secs(grace)) }).await;
    tracing::info!(grace, "draining");
    Ok(StatusCode::ACCEPTED)
}

/// Takes new sessions again. Gateways tell their controllers that they stay.
#[utoipa::path(delete, path = "/api/v1/drain", tag = "process", responses(
    (status = 200, description = "It drains no more", body = Value),
    (status = 409, description = "It does not drain, or ends already", body = Problem),
    (status = 503, description = "A role does not answer", body = Problem),
))]
pub(super) async fn take_back(State(desk): State<Arc<Desk>>) -> Answer<Json<Value>> {
    {
        let conflict = |why: &str| Err(Failure(StatusCode::CONFLICT, why.to_owned()));
        let mut state = desk.draining.state();
        match &*state {
            Stage::No => return conflict("it does not drain"),
            Stage::Ending { .. } => return conflict("the process ends already"),
            Stage::Waiting { task, .. } => task.abort(),
        }
        *state = Stage::No;
    }
    let Json(_) = ask(&desk, Ask::Retire { left: None }).await?;
    tracing::info!("not draining any more");
    Ok(Json(serde_json::json!({ "state": "no" })))
}

/// Waits until nothing is left, or the time is nearly over; then has the process end.
async fn wait(desk: std::sync::Weak<Desk>, until: Instant) {
    loop {
        let Some(desk) = desk.upgrade() else { return };
        let left = until.saturating_duration_since(Instant::now());
        if left <= LAST_WORDS || sessions(&desk).await == Some(0) {
            // Taken back meanwhile: then this task was aborted, at the latest at the next await.
            let mut state = desk.draining.state();
            if let Stage::Waiting { .. } = &*state {
                *state = Stage::Ending { until };
                desk.watch.drain(left.as_secs().max(1));
            }
            return;
        }
        drop(desk);
        tokio::time::sleep(LOOK.min(left)).await;
    }
}

/// What the roles have; `None` if one of them does not say.
async fn sessions(desk: &Desk) -> Option<u64> {
    let list = desk.answering.answer(Ask::List).await.ok()?;
    let of = |kind: &str, member: fn(&Value) -> Option<u64>| -> u64 {
        list.get(kind).and_then(Value::as_array).into_iter().flatten().filter_map(member).sum()
    };
    let calls = |role: &Value| role.get("calls").and_then(Value::as_u64);
    let held = |gateway: &Value| {
        let steered = gateway.get("ng").and_then(|ng| ng.get("calls")).and_then(Value::as_u64);
        steered.max(gateway.get("contexts").and_then(Value::as_u64))
    };
    let rooms = desk.answering.answer(Ask::Rooms).await.unwrap_or_default();
    let servers = rooms.get("conferences").and_then(Value::as_array).into_iter().flatten();
    let rooms = servers.filter_map(|server| server.get("rooms").and_then(Value::as_array)).flatten();
    let members: u64 = rooms.filter_map(|room| room.get("members").and_then(Value::as_u64)).sum();
    Some(of("borders", calls) + of("gateways", held) + members)
}
