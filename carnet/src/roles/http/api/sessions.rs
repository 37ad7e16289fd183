//! Calls of borders and steered gateways: lists, one of them, and its end.

use super::{Answer, Ask, Asked, Desk, Failure, Named, Problem, ask};
use crate::web::answer::{limit, number};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carnet_ops::sessions::{Order, Page};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Sessions that are looked at while calls wait for it: some milliseconds.
const LOOKED_AT_AT_ONCE: usize = 2_000;
/// Sessions that are looked at for one page.
const LOOKED_AT: usize = 50_000;
/// Octets of what is looked for.
const LONGEST: usize = 256;

/// Which sessions.
#[derive(Deserialize, ToSchema, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Standing {
    /// In progress.
    #[default]
    Live,
    /// Over; the last thousand.
    Ended,
}

/// Which first.
#[derive(Deserialize, ToSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum First {
    Oldest,
    Newest,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SessionsFrom {
    /// `live` (usual) or `ended`.
    #[serde(default)]
    #[param(inline)]
    state: Standing,
    /// Where to go on: `next` of the page before.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    after: Option<u64>,
    /// Sessions of the page, 1 to 1000; usually 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// `oldest` first (usual for those in progress) or `newest` first (usual for those that are over).
    #[param(inline)]
    order: Option<First>,
    /// Only sessions with that in the Call-ID, a URI of either end, the plan, the cause or the role's name, whatever the case.
    #[param(max_length = 256)]
    q: Option<String>,
}

/// A page of sessions.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionPage {
    /// A summary of each.
    sessions: Vec<Value>,
    /// How many there are altogether, whatever `q` says.
    total: usize,
    /// Goes into `after` for the next page; null where there is none. With `q` a page may be short, or empty, and not the last.
    next: Option<u64>,
}

/// Calls of borders and steered gateways.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "sessions", params(SessionsFrom), responses(
    (status = 200, description = "A page", body = SessionPage),
    (status = 400, description = "Parameters that cannot be", body = Problem),
))]
pub(super) async fn sessions(
    State(desk): State<Arc<Desk>>,
    Asked(SessionsFrom { state, after, limit: wanted, order, q }): Asked<SessionsFrom>,
) -> Answer<Json<SessionPage>> {
    let limit = limit(wanted)?;
    let after = number("after", after)?;
    let q = q.filter(|q| !q.is_empty()).map(|q| q.to_lowercase());
    if q.as_ref().is_some_and(|q| q.len() > LONGEST) {
        return Err(Failure::bad(format!("q has at most {LONGEST} octets")));
    }
    let order = match (order, state) {
        (Some(First::Oldest), _) | (None, Standing::Live) => Order::Oldest,
        (Some(First::Newest), _) | (None, Standing::Ended) => Order::Newest,
    };
    let (mut sessions, mut after, mut left) = (Vec::new(), after, LOOKED_AT);
    loop {
        let wanted =
            Page { after, order, limit: limit - sessions.len(), look_at: LOOKED_AT_AT_ONCE, q: q.as_deref() };
        let found = desk.watch.sessions(|all| match state {
            Standing::Live => all.live(&wanted),
            Standing::Ended => all.ended(&wanted),
        });
        let found = found.unwrap_or_default();
        sessions.extend(found.sessions);
        (after, left) = (found.next, left.saturating_sub(LOOKED_AT_AT_ONCE));
        if after.is_none() || sessions.len() >= limit || left == 0 {
            return Ok(Json(SessionPage { sessions, total: found.total, next: after }));
        }
        // Calls have their turn.
        tokio::task::yield_now().await;
    }
}

pub(in crate::roles::http) fn number_of(text: &str) -> Answer<u64> {
    text.parse().map_err(|_| Failure::bad("that is no number of a session"))
}

/// All that is known of a session: facts, octets, events in order.
#[utoipa::path(get, path = "/api/v1/sessions/{number}", tag = "sessions",
    params(("number" = u64, Path, description = "As in the list")), responses(
    (status = 200, description = "The session as its record has it at the end", body = Value),
    (status = 400, description = "That is no number", body = Problem),
    (status = 404, description = "It is not, or not any more", body = Problem),
))]
pub(super) async fn session(
    State(desk): State<Arc<Desk>>,
    Named(number): Named<String>,
) -> Answer<Json<Value>> {
    let number = number_of(&number)?;
    let found = desk.watch.sessions(|all| all.one(number)).flatten();
    found.map(Json).ok_or_else(|| Failure::missing(format!("there is no session {number}")))
}

/// Ends a call of a border: BYE to both ends, or an answer to who calls. Its media is given back.
#[utoipa::path(delete, path = "/api/v1/sessions/{number}", tag = "sessions",
    params(("number" = u64, Path, description = "As in the list")), responses(
    (status = 200, description = "It ends", body = Value),
    (status = 400, description = "That is no number", body = Problem),
    (status = 404, description = "It is not, or not any more", body = Problem),
    (status = 409, description = "It is over; or it belongs to somebody else's SIP server, which ends it", body = Problem),
    (status = 503, description = "The border does not answer", body = Problem),
))]
pub(super) async fn end(State(desk): State<Arc<Desk>>, Named(number): Named<String>) -> Answer<Json<Value>> {
    let number = number_of(&number)?;
    let found = desk.watch.sessions(|all| all.whose(number)).flatten();
    let whose = found.ok_or_else(|| Failure::missing(format!("there is no session {number}")))?;
    let conflict = |why: &str| Failure(StatusCode::CONFLICT, why.to_owned());
    if whose.ended {
        return Err(conflict("the session is over"));
    }
    if whose.role != "border" {
        return Err(conflict("a gateway that is steered ends no calls: its SIP server does"));
    }
    ask(&desk, Ask::EndCall { border: whose.node, call_id: whose.call_id }).await
}
