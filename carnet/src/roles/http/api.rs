//! What an administrator can ask and do: `/api/v1/`. JSON in and out, described by `/api/v1/openapi.json`.
//!
//! Lists come in pages: `limit` (at most 1000) and where to go on. What is wrong is told as `{"error": …}` with the status that
//! says whose fault it was.

pub(super) mod rooms;
mod service;
mod sessions;

pub(super) use service::Service;
pub(super) use sessions::number_of;

use super::super::history::{Shown, members};
use super::super::question::Ask;
use super::{Desk, drain, ladder, network};
use crate::roles::Watch;
use crate::web::answer::{self, Answer, Asked, Failure, Given, Named, OfBody, OfRole, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{KeepAlive, Sse};
use carnet_event::Level;
use carnet_ops::Told;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Readers of events at once: each has a connection for as long as it likes.
const MOST_READERS: usize = 64;

/// What is told of the API as a whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Carnet",
        description = "Administration of a running process: what its roles hold, sessions, rooms, the log, live events.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(answer::Problem)),
    tags(
        (name = "roles", description = "Borders, gateways and conference servers of the process"),
        (name = "sessions", description = "Calls of borders and steered gateways"),
        (name = "rooms", description = "Rooms of conference servers"),
        (name = "network", description = "This process and those that `[[admin.nodes]]` names, as one network"),
        (name = "kms", description = "The key management service: users, rules, tickets, audit"),
        (name = "process", description = "The process itself")
    )
)]
struct Description;

/// All routes, with the document that describes them.
pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(nodes))
        .routes(routes!(contexts))
        .routes(routes!(service::avoid))
        .routes(routes!(sessions::sessions))
        .routes(routes!(sessions::session, sessions::end))
        .routes(routes!(ladder::of_session))
        .routes(routes!(ladder::list))
        .routes(routes!(ladder::one))
        .routes(routes!(ladder::trace))
        .routes(routes!(rooms::rooms))
        .routes(routes!(rooms::room, rooms::close))
        .routes(routes!(rooms::invite))
        .routes(routes!(rooms::kick, rooms::mute))
        .routes(routes!(rooms::decide))
        .routes(routes!(log, set_log))
        .routes(routes!(drain::state, drain::begin, drain::take_back))
        .routes(routes!(reload))
        .routes(routes!(events))
        .routes(routes!(recent))
        .routes(routes!(history))
        .routes(routes!(super::process::process))
        .routes(routes!(network::network))
        .routes(routes!(network::calls::sessions))
        .routes(routes!(network::calls::call))
        .routes(routes!(network::calls::ladder))
        .routes(routes!(network::charts::history))
        .routes(routes!(network::rooms::rooms))
        .routes(routes!(network::rooms::room, network::rooms::close))
        .routes(routes!(network::rooms::invite))
        .routes(routes!(network::rooms::kick, network::rooms::mute))
        .routes(routes!(network::rooms::decide))
        .routes(routes!(network::keys::services))
        .routes(routes!(network::keys::users))
        .routes(routes!(network::keys::change_user))
        .routes(routes!(network::keys::tickets))
        .routes(routes!(network::keys::revoke_ticket))
        .routes(routes!(network::keys::revoke_tickets))
        .routes(routes!(network::act::avoid))
        .routes(routes!(network::act::drain, network::act::undrain))
}

/// Puts it to the roles.
pub(super) async fn ask(desk: &Desk, ask: Ask) -> Answer<Json<Value>> {
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
    Named(gateway): Named<String>,
    Asked(ContextsFrom { by, from }): Asked<ContextsFrom>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Audit { gateway, border: by, from }).await
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
    (status = 409, description = "There is no log", body = Problem),
    OfBody,
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

/// Reads the configuration file again, as SIGHUP does. What can change while calls go on is applied, the rest waits for a
/// restart. If the file is wrong nothing changes.
#[utoipa::path(post, path = "/api/v1/reload", tag = "process", responses(
    (status = 200, description = "`changes`, each with `setting`, `old` and `new` (or `content`), and whether it was `applied`", body = Value),
    (status = 409, description = "Nothing has changed; the reason has the place in the file", body = Problem),
))]
async fn reload(State(desk): State<Arc<Desk>>) -> Answer<Json<Value>> {
    desk.watch.reload().await.map(Json).map_err(|why| Failure(StatusCode::CONFLICT, why))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsOf {
    /// Only of one kind of role: `border`, `gateway`, `conference`, `steering`, `kms`, `admin`.
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
    (status = 503, description = "There are too many readers", body = Problem),
))]
async fn events(State(desk): State<Arc<Desk>>, Asked(of): Asked<EventsOf>) -> Answer<impl IntoResponse> {
    if desk.watch.readers() >= MOST_READERS {
        return Err(Failure(StatusCode::SERVICE_UNAVAILABLE, "too many read the events already".into()));
    }
    let stream = futures_util::stream::unfold((desk.watch.subscribe(), of, desk.watch.clone()), next);
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

type Reader = (Receiver<Shown>, EventsOf, Arc<Watch>);

async fn next(
    (mut receiver, of, watch): Reader,
) -> Option<(Result<axum::response::sse::Event, Infallible>, Reader)> {
    loop {
        let event = match receiver.recv().await {
            Ok(told) if of.wants(&told.1) => {
                let data = members(&told);
                let event = axum::response::sse::Event::default().event(told.1.name);
                event.json_data(data).unwrap_or_default()
            }
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => {
                watch.missed(missed);
                let missed = json!({ "missed": missed });
                axum::response::sse::Event::default().event("missed").data(missed.to_string())
            }
            Err(RecvError::Closed) => return None,
        };
        return Some((Ok(event), (receiver, of, watch)));
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RecentOf {
    /// Only of one kind of role: `border`, `gateway`, `conference`, `steering`, `kms`, `admin`.
    role: Option<String>,
}

/// What happened last, the newest first: at most 200 events a kind of role; of calls those that are warnings or worse.
#[utoipa::path(get, path = "/api/v1/events/recent", tag = "process", params(RecentOf), responses(
    (status = 200, description = "`events`, as the stream has them, with `event` and `role`", body = Value),
    (status = 400, description = "Parameters that cannot be", body = Problem),
))]
async fn recent(State(desk): State<Arc<Desk>>, Asked(RecentOf { role }): Asked<RecentOf>) -> Json<Value> {
    Json(json!({ "events": desk.watch.recent.newest(role.as_deref()) }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryFrom {
    /// Milliseconds since 1970: only what came later.
    #[serde(default)]
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: u64,
}

/// The last hour in steps of five seconds: sessions in progress, and what happened, a second.
#[utoipa::path(get, path = "/api/v1/history", tag = "process", params(HistoryFrom), responses(
    (status = 200, description = "Columns of equal length: `at` (milliseconds since 1970, by the clock that says `now`), `live`, and those of `rates`; `octets` counts media that was given back, `relayed` what loops of gateways relay, as they do, `carried` what passes in the kernel, both ways", body = Value),
    (status = 400, description = "Parameters that cannot be", body = Problem),
))]
async fn history(
    State(desk): State<Arc<Desk>>,
    Asked(HistoryFrom { after }): Asked<HistoryFrom>,
) -> Answer<Json<Value>> {
    answer::number("after", Some(after))?;
    Ok(Json(network::charts::with_clock(desk.watch.history.since(after))))
}
