//! Ladders of what went by: `/api/v1/ladders`, `/api/v1/ladder`, `/api/v1/sessions/{number}/ladder`, and what they are made of,
//! `/api/v1/trace`.
//!
//! A ladder is made when it is asked for, on a thread that nobody waits for, and one at a time.

use super::super::tap::{self, Tap};
use super::Desk;
use super::api::number_of;
use crate::web::answer::{self, Answer, Asked, Failure, Named, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use carnet_trace::show::{self, Paper};
use carnet_trace::{Ladder, Session};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// How long one waits for those who asked before.
const PATIENCE: Duration = Duration::from_secs(20);
/// Octets of messages on a page of `/trace`.
const PAGE: usize = 4 << 20;

/// How a ladder is written.
#[derive(Deserialize, ToSchema, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    /// An object, as `carnet trace --format json` has it.
    #[default]
    Json,
    /// A ladder of characters.
    Text,
    /// A picture.
    Svg,
    /// A page that needs nothing else.
    Html,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Shown {
    /// `json` (usual), `text`, `svg` or `html`.
    #[serde(default)]
    #[param(inline)]
    format: Form,
    /// Characters in a line of text, 40 to 1000; usually 120.
    #[param(minimum = 40, maximum = 1000)]
    width: Option<usize>,
    /// The text of each message under its arrow, in text.
    #[serde(default)]
    messages: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Of one call.
    call_id: Option<String>,
    /// The session with that message in it: `first` of the list, or `packet` of an entry.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    entry: Option<u64>,
    /// `json` (usual), `text`, `svg` or `html`.
    #[serde(default)]
    #[param(inline)]
    format: Form,
    /// Characters in a line of text, 40 to 1000; usually 120.
    #[param(minimum = 40, maximum = 1000)]
    width: Option<usize>,
    /// The text of each message under its arrow, in text.
    #[serde(default)]
    messages: bool,
}

/// Why there is no ladder.
fn no_ring() -> Failure {
    let why = "nothing is kept of what went by: [trace] of the configuration has ring = \"off\"";
    Failure::missing(why)
}

/// Has something made of what went by, when it is our turn.
async fn made<T: Send + 'static>(
    desk: &Arc<Desk>,
    make: impl FnOnce(&Tap) -> Option<T> + Send + 'static,
) -> Answer<T> {
    let busy = || Failure(StatusCode::SERVICE_UNAVAILABLE, "too many ladders are asked for at once".into());
    let making = desk.watch.tap().filter(|tap| tap.has_ring()).ok_or_else(no_ring)?.making();
    let turn = tokio::time::timeout(PATIENCE, making.acquire_owned()).await;
    let turn = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
    let watch = desk.watch.clone();
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        watch.tap().and_then(make)
    });
    made.await.ok().flatten().ok_or_else(no_ring)
}

pub(super) fn written(ladder: &Ladder, form: Form, width: Option<usize>, whole: bool) -> Answer<Response> {
    let width = width.unwrap_or(120);
    if !(40..=1000).contains(&width) {
        return Err(Failure::bad("width is 40 to 1000"));
    }
    Ok(match form {
        Form::Json => Json(show::json(ladder)).into_response(),
        Form::Text => show::text(ladder, Paper { width, colours: false, whole }).into_response(),
        Form::Svg => ([(CONTENT_TYPE, "image/svg+xml")], show::svg(ladder)).into_response(),
        Form::Html => ([(CONTENT_TYPE, "text/html; charset=utf-8")], show::html(ladder)).into_response(),
    })
}

/// What went by of one session, and what the roles decided, as a ladder with a sentence of what went wrong.
#[utoipa::path(get, path = "/api/v1/sessions/{number}/ladder", tag = "sessions",
    params(("number" = u64, Path, description = "As in the list"), Shown), responses(
    (status = 200, description = "The ladder", content(
        (Value = "application/json"), (String = "text/plain"), (String = "image/svg+xml"), (String = "text/html"))),
    (status = 400, description = "That is no number, or parameters that cannot be", body = Problem),
    (status = 404, description = "It is not, or nothing is kept of it", body = Problem),
    (status = 503, description = "Too many ladders are asked for", body = Problem),
))]
pub(super) async fn of_session(
    State(desk): State<Arc<Desk>>,
    Named(number): Named<String>,
    Asked(Shown { format, width, messages }): Asked<Shown>,
) -> Answer<Response> {
    let number = number_of(&number)?;
    let span = desk.watch.sessions(|all| all.span(number)).flatten();
    let span = span.ok_or_else(|| Failure::missing(format!("there is no session {number}")))?;
    let call_id = span.call_id.clone();
    let mut ladder = made(&desk, move |tap| tap.ladder_of(&call_id, span.began, span.ended)).await?;
    if ladder.sessions.is_empty() {
        let why = format!("nothing that went by of session {number} is in the ring any more");
        return Err(Failure::missing(why));
    }
    for session in &mut ladder.sessions {
        session.number = usize::try_from(number).unwrap_or(usize::MAX);
    }
    written(&ladder, format, width, messages)
}

/// One ladder of everything that is kept: by Call-ID, or by a message in it.
#[utoipa::path(get, path = "/api/v1/ladder", tag = "sessions", params(Which), responses(
    (status = 200, description = "The ladder", content(
        (Value = "application/json"), (String = "text/plain"), (String = "image/svg+xml"), (String = "text/html"))),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    (status = 404, description = "Nothing of it is kept, or it is not said which", body = Problem),
    (status = 503, description = "Too many ladders are asked for", body = Problem),
))]
pub(super) async fn one(
    State(desk): State<Arc<Desk>>,
    Asked(Which { call_id, entry, format, width, messages }): Asked<Which>,
) -> Answer<Response> {
    if call_id.is_none() && entry.is_none() {
        return Err(Failure(StatusCode::NOT_FOUND, "that is no ladder yet: say call_id or entry".into()));
    }
    let ladder = made(&desk, |tap| tap.ladder()).await?;
    let wanted = |session: &&Session| {
        call_id.as_ref().is_none_or(|call_id| tap::is_of(session, call_id))
            && entry.is_none_or(|number| session.entries.iter().any(|entry| entry.number == number))
    };
    let sessions: Vec<Session> = ladder.sessions.iter().filter(wanted).cloned().collect();
    if sessions.is_empty() {
        return Err(Failure::missing("nothing of that is in the ring"));
    }
    written(&Ladder { sessions, remarks: ladder.remarks.clone() }, format, width, messages)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Where to go on: `next` of the page before.
    #[serde(default)]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: u64,
    /// How many on the page, 1 to 1000; usually 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Page {
    fn limit(&self) -> Answer<usize> {
        answer::number("after", Some(self.after))?;
        answer::limit(self.limit)
    }
}

/// A page of ladders, without their entries.
#[derive(Serialize, ToSchema)]
pub(super) struct LadderPage {
    /// As in a ladder, with `entries` their number, and `first` the number of the first: it leads to the ladder.
    sessions: Vec<Value>,
    /// How many there are altogether.
    total: usize,
    /// Goes into `after` for the next page; absent where there is none.
    next: Option<u64>,
    /// What to know of the whole: what has gone, and since when.
    remarks: Vec<String>,
}

/// Everything that is kept, put in order: calls, registrations, what controllers and gateways said. The newest first.
#[utoipa::path(get, path = "/api/v1/ladders", tag = "sessions", params(Page), responses(
    (status = 200, description = "A page", body = LadderPage),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    (status = 404, description = "Nothing is kept", body = Problem),
    (status = 503, description = "Too many ladders are asked for", body = Problem),
))]
pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    Asked(page): Asked<Page>,
) -> Answer<Json<LadderPage>> {
    let limit = page.limit()?;
    let skip = usize::try_from(page.after).unwrap_or(usize::MAX);
    let ladder = made(&desk, |tap| tap.ladder()).await?;
    let total = ladder.sessions.len();
    let sessions: Vec<Value> = ladder.sessions.iter().rev().skip(skip).take(limit).map(summary).collect();
    let upto = skip.saturating_add(sessions.len());
    let next = (upto < total).then(|| u64::try_from(upto).ok()).flatten();
    Ok(Json(LadderPage { sessions, total, next, remarks: ladder.remarks.clone() }))
}

fn summary(session: &Session) -> Value {
    let mut object = show::summary_json(session);
    if let Some(members) = object.as_object_mut() {
        let first = session.entries.iter().map(|entry| entry.number).min();
        members.insert("first".into(), json!(first));
    }
    object
}

/// A page of what is kept.
#[derive(Serialize, ToSchema)]
pub(super) struct TracePage {
    /// Messages and events, the oldest first, with key material masked: `number`, `at` (seconds and nanoseconds since 1970), `node`, `role`, and
    /// of a message `protocol`, `sent`, `local`, `peer` or `peer_node`, `transport`, `text` or `base64`; of an event `event`, `level`,
    /// `call_id`, `gateway`, `context`, `fields`.
    entries: Vec<Value>,
    /// Goes into `after` for the next page, also when there is nothing more yet.
    next: u64,
    /// The newest that there is: when `next` is that, this was all.
    newest: u64,
    /// How many have gone to make room since the start.
    gone: u64,
    /// When the oldest that is left was; absent if there is none.
    oldest: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Kept {
    /// Where to go on: `next` of the page before.
    #[serde(default)]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: u64,
    /// How many on the page, 1 to 1000; usually 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only what was then or later: milliseconds since 1970.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    from: Option<u64>,
    /// Only what was then or earlier: milliseconds since 1970.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    to: Option<u64>,
}

/// What ladders are made of, as it is kept: for `carnet trace --node`, for consoles of other processes, and for who follows.
#[utoipa::path(get, path = "/api/v1/trace", tag = "sessions", params(Kept), responses(
    (status = 200, description = "A page", body = TracePage),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    (status = 404, description = "Nothing is kept", body = Problem),
))]
pub(super) async fn trace(
    State(desk): State<Arc<Desk>>,
    Asked(Kept { after, limit, from, to }): Asked<Kept>,
) -> Answer<Json<TracePage>> {
    answer::number("after", Some(after))?;
    let limit = answer::limit(limit)?;
    let moment = |name: &str, at| answer::number(name, at).map(|at| at.map(Duration::from_millis));
    let span = moment("from", from)?.unwrap_or_default()..=moment("to", to)?.unwrap_or(Duration::MAX);
    let tap = desk.watch.tap().ok_or_else(no_ring)?;
    let level = tap.level().ok_or_else(no_ring)?;
    let entries = tap.page(after, limit, PAGE, &span);
    let next = entries.last().map_or(after.min(level.newest), |last| last.number);
    Ok(Json(TracePage {
        entries: entries.iter().map(|telling| telling.to_json()).collect(),
        next,
        newest: level.newest,
        gone: level.gone,
        oldest: level.oldest.map(carnet_trace::words::moment),
    }))
}
