//! `GET /health`: 200 while every role gives a sign of life, else 503 and who does not. The same that feeds the watchdog of systemd, for
//! whoever starts processes again where there is none: containers, probes of Kubernetes, load balancers.
//!
//! Left out: whether peers answer and whether there is room (metrics, `carnet doctor`). Starting a process again mends neither.

use super::super::life::Life;
use super::Desk;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What a role may take to answer: one that is merely busy is well, and who asks has not lost patience yet.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a look is good for.
const FRESH: Duration = Duration::from_secs(1);

/// The last look: when, and who gave no sign. One at a time, however many ask.
#[derive(Default)]
pub(super) struct Health(Mutex<Option<(Instant, Option<String>)>>);

pub(super) async fn answer(State(desk): State<Arc<Desk>>) -> Response {
    let mut last = desk.health.0.lock().await;
    if last.as_ref().is_none_or(|(at, _)| at.elapsed() > FRESH) {
        let stuck = Life(desk.answering.clone()).signs(PATIENCE).await.err().map(|stuck| stuck.to_string());
        *last = Some((Instant::now(), stuck));
    }
    match last.as_ref().and_then(|(_, stuck)| stuck.as_ref()) {
        None => "well\n".into_response(),
        Some(stuck) => (StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")).into_response(),
    }
}
