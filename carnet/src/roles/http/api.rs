//! What an administrator can ask and do: `/api/v1/`. JSON in and out, described by `/api/v1/openapi.json`.
//!
//! Lists come in pages: `limit` (at most [`MOST`]) and where to go on. What is wrong is told as `{"error": …}` with the status that
//! says whose fault it was.

use super::super::question::Ask;
use super::Desk;
use axum::Json;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use carnet_event::Level;
use carnet_ops::Told;
use carnet_ops::sessions::timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Entries of a page.
pub(super) const MOST: usize = 1_000;
/// Entries of a page for who does not say how many.
const USUAL: usize = 100;

/// The largest whole number that every reader of JSON keeps (RFC 8259 §6).
const LARGEST: u64 = (1 << 53) - 1;

/// What is told of the API as a whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Carnet",
        description = "Administration of a running process: what its roles hold, sessions, rooms, the log, live events.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "roles", description = "Borders, gateways and conference servers of the process"),
        (name = "sessions", description = "Calls of borders and steered gateways"),
        (name = "rooms", description = "Rooms of conference servers"),
        (name = "process", description = "The process itself")
    )
)]
struct Description;

/// All routes, with the document that describes them.
pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(nodes))
        .routes(routes!(contexts))
        .routes(routes!(sessions))
        .routes(routes!(session))
        .routes(routes!(rooms))
        .routes(routes!(room, close))
        .routes(routes!(invite))
        .routes(routes!(kick))
        .routes(routes!(log, set_log))
        .routes(routes!(drain))
        .routes(routes!(reload))
        .routes(routes!(events))
}

/// Why there is no answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// In words.
    error: String,
}

/// A status and why.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

type Answer<T> = Result<T, Failure>;

/// Parameters of a query, with our own way to refuse them.
struct Asked<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|e| Failure(StatusCode::BAD_REQUEST, e.body_text()))
    }
}

/// The JSON of a body, with our own way to refuse it.
struct Given<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> axum::extract::FromRequest<S> for Given<T> {
    type Rejection = Failure;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Failure> {
        let given = Json::from_request(request, state).await;
        given.map(|Json(given)| Self(given)).map_err(|e| Failure(e.status(), e.body_text()))
    }
}

/// Puts it to the roles.
async fn ask(desk: &Desk, ask: Ask) -> Answer<Json<Value>> {
    desk.answering.answer(ask).await.map(Json).map_err(|error| {
        let status = match error.as_str() {
            e if e.starts_with("there is no") || e.starts_with("no conference") => StatusCode::NOT_FOUND,
            "too many questions at once" | "it does not answer" | "it has stopped" => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::CONFLICT,
        };
        Failure(status, error)
    })
}

/// What the process is: gateways here, gateways that borders and conference servers here own.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "roles", responses(
    (status = 200, description = "`gateways`, `borders`, `conferences`, as `carnet gateway list --json` has them", body = Value),
    (status = 503, description = "A role does not answer", body = Problem),
))]
async fn nodes(State(desk): State<Arc<Desk>>) -> Answer<Json<Value>> {
    ask(&desk, Ask::List).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ContextsFrom {
    /// The border that is to ask the gateway; the gateway itself, if it is in the process, when absent.
    by: Option<String>,
    /// The first context number wanted: `next` of the page before.
    #[serde(default)]
    from: u32,
}

/// What a gateway holds: a page of contexts, with terminations and streams.
#[utoipa::path(get, path = "/api/v1/gateways/{gateway}/contexts", tag = "roles",
    params(("gateway" = String, Path, description = "Its name"), ContextsFrom), responses(
    (status = 200, description = "`contexts`, and `next` where there are more", body = Value),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    (status = 404, description = "There is no such gateway", body = Problem),
    (status = 409, description = "The gateway refused", body = Problem),
    (status = 503, description = "It does not answer", body = Problem),
))]
async fn contexts(
    State(desk): State<Arc<Desk>>,
    Path(gateway): Path<String>,
    Asked(ContextsFrom { by, from }): Asked<ContextsFrom>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Audit { gateway, border: by, from }).await
}

/// Which sessions.
#[derive(Deserialize, ToSchema, Default)]
#[serde(rename_all = "lowercase")]
enum Standing {
    /// In progress, the oldest first.
    #[default]
    Live,
    /// Over, the newest first; the last thousand.
    Ended,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SessionsFrom {
    /// `live` (usual) or `ended`.
    #[serde(default)]
    #[param(inline)]
    state: Standing,
    /// Where to go on: `next` of the page before.
    #[serde(default)]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: u64,
    /// Sessions of the page, 1 to 1000; usually 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of sessions.
#[derive(Serialize, ToSchema)]
struct SessionPage {
    /// A summary of each.
    sessions: Vec<Value>,
    /// How many there are altogether.
    total: usize,
    /// Goes into `after` for the next page; absent where there is none.
    next: Option<u64>,
}

/// Calls of borders and steered gateways.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", params(SessionsFrom), responses(
    (status = 200, description = "A page", body = SessionPage),
    (status = 400, description = "Parameters that cannot be", body = Problem),
))]
async fn sessions(
    State(desk): State<Arc<Desk>>,
    Asked(SessionsFrom { state, after, limit }): Asked<SessionsFrom>,
) -> Answer<Json<SessionPage>> {
    let limit = limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Failure(StatusCode::BAD_REQUEST, format!("limit is 1 to {MOST}")));
    }
    if after > LARGEST {
        return Err(Failure(StatusCode::BAD_REQUEST, format!("after is at most {LARGEST}")));
    }
    let page = desk.watch.sessions(|all| match state {
        Standing::Live => all.live(after, limit),
        Standing::Ended => all.ended(usize::try_from(after).unwrap_or(usize::MAX), limit),
    });
    let (sessions, total) = page.unwrap_or_default();
    let full = sessions.len() == limit;
    let next = match state {
        Standing::Live => sessions.last().and_then(|last| last.get("number")).and_then(Value::as_u64),
        Standing::Ended => u64::try_from(limit).ok().and_then(|limit| after.checked_add(limit)),
    };
    Ok(Json(SessionPage { sessions, total, next: next.filter(|_| full) }))
}

/// All that is known of a session: facts, octets, events in order.
#[utoipa::path(get, path = "/api/v1/sessions/{number}", tag = "sessions",
    params(("number" = u64, Path, description = "As in the list")), responses(
    (status = 200, description = "The session as its record has it at the end", body = Value),
    (status = 400, description = "That is no number", body = Problem),
    (status = 404, description = "It is not, or not any more", body = Problem),
))]
async fn session(State(desk): State<Arc<Desk>>, Path(number): Path<String>) -> Answer<Json<Value>> {
    let number: u64 = number
        .parse()
        .map_err(|_| Failure(StatusCode::BAD_REQUEST, "that is no number of a session".into()))?;
    let found = desk.watch.sessions(|all| all.one(number)).flatten();
    found.map(Json).ok_or_else(|| Failure(StatusCode::NOT_FOUND, format!("there is no session {number}")))
}

/// The rooms of the conference servers here.
#[utoipa::path(get, path = "/api/v1/rooms", tag = "rooms", responses(
    (status = 200, description = "`conferences`, each with its `rooms`", body = Value),
    (status = 404, description = "No conference server runs here", body = Problem),
    (status = 503, description = "It does not answer", body = Problem),
))]
async fn rooms(State(desk): State<Arc<Desk>>) -> Answer<Json<Value>> {
    ask(&desk, Ask::Rooms).await
}

/// Who is in a room, and who has its floors.
#[utoipa::path(get, path = "/api/v1/rooms/{room}", tag = "rooms",
    params(("room" = String, Path, description = "The conference's URI")), responses(
    (status = 200, description = "The room", body = Value),
    (status = 404, description = "There is no such room", body = Problem),
    (status = 503, description = "It does not answer", body = Problem),
))]
async fn room(State(desk): State<Arc<Desk>>, Path(room): Path<String>) -> Answer<Json<Value>> {
    ask(&desk, Ask::Room { room }).await
}

/// Ends a room towards all its members.
#[utoipa::path(delete, path = "/api/v1/rooms/{room}", tag = "rooms",
    params(("room" = String, Path, description = "The conference's URI")), responses(
    (status = 200, description = "It ends", body = Value),
    (status = 404, description = "There is no such room", body = Problem),
    (status = 409, description = "It cannot be ended", body = Problem),
    (status = 503, description = "It does not answer", body = Problem),
))]
async fn close(State(desk): State<Arc<Desk>>, Path(room): Path<String>) -> Answer<Json<Value>> {
    ask(&desk, Ask::Close { room }).await
}

/// Whom.
#[derive(Deserialize, ToSchema)]
struct Member {
    /// A SIP URI.
    uri: String,
}

/// Has somebody called into a room.
#[utoipa::path(post, path = "/api/v1/rooms/{room}/members", tag = "rooms", request_body = Member,
    params(("room" = String, Path, description = "The conference's URI")), responses(
    (status = 200, description = "It is being called", body = Value),
    (status = 400, description = "The body cannot be read", body = Problem),
    (status = 404, description = "There is no such room", body = Problem),
    (status = 409, description = "It cannot be called", body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 415, description = "The body is not JSON", body = Problem),
    (status = 422, description = "The body is not what it has to be", body = Problem),
    (status = 503, description = "It does not answer", body = Problem),
))]
async fn invite(
    State(desk): State<Arc<Desk>>,
    Path(room): Path<String>,
    Given(Member { uri }): Given<Member>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Invite { room, member: uri }).await
}

/// Puts a member out of a room.
#[utoipa::path(delete, path = "/api/v1/rooms/{room}/members/{member}", tag = "rooms", params(
    ("room" = String, Path, description = "The conference's URI"), ("member" = String, Path, description = "The member's")
), responses(
    (status = 200, description = "It is out", body = Value),
    (status = 404, description = "There is no such room or member", body = Problem),
    (status = 409, description = "It cannot be put out", body = Problem),
    (status = 503, description = "It does not answer", body = Problem),
))]
async fn kick(
    State(desk): State<Arc<Desk>>,
    Path((room, member)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Kick { room, member }).await
}

/// How much is logged.
#[derive(Serialize, Deserialize, ToSchema)]
struct LogLevel {
    /// A filter: `info`, `carnet=debug,warn`.
    #[schema(
        pattern = r"^([A-Za-z0-9_:]+=)?(off|error|warn|info|debug|trace)(,([A-Za-z0-9_:]+=)?(off|error|warn|info|debug|trace))*$"
    )]
    level: String,
}

/// Levels, each for everything or for a part of the program: what the document says that a filter is. The file may have more.
fn is_filter(level: &str) -> bool {
    level.split(',').all(|part| {
        let (target, level) = part.split_once('=').unwrap_or(("all", part));
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        !target.is_empty()
            && target.chars().all(named)
            && matches!(level, "off" | "error" | "warn" | "info" | "debug" | "trace")
    })
}

/// What is logged now.
#[utoipa::path(get, path = "/api/v1/log", tag = "process", responses(
    (status = 200, description = "The filter", body = LogLevel),
    (status = 409, description = "There is no log", body = Problem),
))]
async fn log() -> Answer<Json<LogLevel>> {
    let level = carnet_ops::log::level();
    level
        .map(|level| Json(LogLevel { level }))
        .ok_or_else(|| Failure(StatusCode::CONFLICT, "there is no log".into()))
}

/// Logs more, or less, from now on. The file is not changed.
#[utoipa::path(put, path = "/api/v1/log", tag = "process", request_body = LogLevel, responses(
    (status = 200, description = "The filter as it is now", body = LogLevel),
    (status = 400, description = "The filter or the body cannot be read", body = Problem),
    (status = 409, description = "There is no log", body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 415, description = "The body is not JSON", body = Problem),
    (status = 422, description = "The body is not what it has to be", body = Problem),
))]
async fn set_log(Given(wanted): Given<LogLevel>) -> Answer<Json<LogLevel>> {
    if !is_filter(&wanted.level) {
        let why = format!("`{}` is no filter; write `info`, or `carnet=debug,warn`", wanted.level);
        return Err(Failure(StatusCode::BAD_REQUEST, why));
    }
    carnet_ops::log::set_level(&wanted.level).map_err(|e| Failure(StatusCode::CONFLICT, e))?;
    tracing::info!(level = wanted.level, "the log was changed");
    log().await
}

/// How long to wait.
#[derive(Deserialize, ToSchema)]
struct Grace {
    /// Seconds that calls in progress get.
    #[schema(maximum = 86400)]
    grace: u64,
}

/// Takes no new sessions, lets those in progress end, at the latest after `grace` seconds, and ends the process.
#[utoipa::path(post, path = "/api/v1/drain", tag = "process", request_body = Grace, responses(
    (status = 202, description = "It drains"),
    (status = 400, description = "The body cannot be read, or that is too long", body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 415, description = "The body is not JSON", body = Problem),
    (status = 422, description = "The body is not what it has to be", body = Problem),
))]
async fn drain(State(desk): State<Arc<Desk>>, Given(Grace { grace }): Given<Grace>) -> Answer<StatusCode> {
    if grace > 86_400 {
        return Err(Failure(StatusCode::BAD_REQUEST, "grace is at most 86400 seconds".into()));
    }
    desk.watch.drain(grace);
    Ok(StatusCode::ACCEPTED)
}

/// Reads the configuration file again, as SIGHUP does. What can change while calls go on is applied, the rest waits for a
/// restart. If the file is wrong nothing changes.
#[utoipa::path(post, path = "/api/v1/reload", tag = "process", responses(
    (status = 200, description = "`changes`, each with `setting`, `old` and `new` (or `content`), and whether it was `applied`", body = Value),
    (status = 409, description = "Nothing has changed: `error`, and `at`, the place in the file", body = Value),
))]
async fn reload(State(desk): State<Arc<Desk>>) -> Response {
    match desk.watch.reload().await {
        Ok(changes) => Json(changes).into_response(),
        Err(why) => (StatusCode::CONFLICT, Json(why)).into_response(),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsOf {
    /// Only of one kind of role: `border`, `gateway`, `conference`, `steering`, `kms`.
    role: Option<String>,
    /// Only of one call.
    call_id: Option<String>,
    /// Only of that level or worse; everything if absent.
    #[param(inline)]
    level: Option<Least>,
}

/// A level.
#[derive(Deserialize, ToSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Least {
    Debug,
    Info,
    Warn,
    Error,
}

impl EventsOf {
    fn wants(&self, told: &Told) -> bool {
        let least = match self.level {
            Some(Least::Error) => Level::Error,
            Some(Least::Warn) => Level::Warn,
            Some(Least::Info) => Level::Info,
            Some(Least::Debug) | None => Level::Debug,
        };
        told.level >= least
            && self.role.as_deref().is_none_or(|role| role == told.role)
            && self.call_id.as_deref().is_none_or(|call| told.call_id() == Some(call))
    }
}

/// What happens, as it happens: server-sent events. A reader that is too slow misses some and gets an event `missed` with their
/// number.
#[utoipa::path(get, path = "/api/v1/events", tag = "process", params(EventsOf), responses(
    (status = 200, description = "A stream; the data of each event is an object as in the log", content_type = "text/event-stream", body = String),
    (status = 400, description = "Parameters that cannot be", body = Problem),
))]
async fn events(State(desk): State<Arc<Desk>>, Asked(of): Asked<EventsOf>) -> impl IntoResponse {
    let stream = futures_util::stream::unfold((desk.watch.subscribe(), of), next);
    Sse::new(stream).keep_alive(KeepAlive::default())
}

type Reader = (Receiver<Arc<(SystemTime, Told)>>, EventsOf);

async fn next(
    (mut receiver, of): Reader,
) -> Option<(Result<axum::response::sse::Event, Infallible>, Reader)> {
    loop {
        let event = match receiver.recv().await {
            Ok(told) if of.wants(&told.1) => {
                let mut data = told.1.members();
                data.insert("timestamp".into(), timestamp(told.0).into());
                data.insert("level".into(), told.1.level.name().into());
                let event = axum::response::sse::Event::default().event(told.1.name);
                event.json_data(data).unwrap_or_default()
            }
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => axum::response::sse::Event::default()
                .event("missed")
                .data(json!({ "missed": missed }).to_string()),
            Err(RecvError::Closed) => return None,
        };
        return Some((Ok(event), (receiver, of)));
    }
}
