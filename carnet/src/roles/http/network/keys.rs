//! Key management services of all processes: how many users each has, what they did last, users and tickets in pages, and what is
//! revoked there. No key is told, here as there.

use super::act::{By, told};
use super::gathered::{Gathered, Quiet};
use super::peer::{Known, Peer};
use super::told::{Deed, Deeds, Tickets, Users};
use super::{Desk, failure};
use crate::kms::admin as local;
use crate::node::segment;
use crate::web::Caller;
use crate::web::answer::{Answer, Asked, Failure, Given, Named, OfBody, OfPeer, Problem, limit, number};
use axum::extract::State;
use axum::{Extension, Json};
use carnet_ops::config::THIS_PROCESS;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// What all services did last, altogether; of each at least so much as is fair.
const MOST: usize = 400;
/// Octets of a name that is looked for.
const LONGEST: usize = 512;

/// What is known of the service of a process.
#[derive(Default)]
pub(super) struct Held {
    users: u64,
    deeds: Vec<Deed>,
}

/// Whether a process has one.
fn has_keys(known: &Known) -> bool {
    known.process.roles.0.iter().any(|role| role.role.0 == "kms")
}

async fn held(peer: Arc<Peer>) -> Result<Held, crate::node::NodeError> {
    let users: Users = peer.get("/api/v1/kms/users?limit=1").await?;
    let deeds: Deeds = peer.get("/api/v1/events/recent?role=kms").await?;
    Ok(Held { users: users.total, deeds: deeds.events.0 })
}

/// A key management service.
#[derive(Serialize, ToSchema)]
struct ServiceShown {
    /// The process.
    node: String,
    /// Its name.
    name: String,
    /// Where it is asked for tickets.
    url: Option<String>,
    /// How many users it has.
    users: u64,
    /// Whether something can be changed there by who asks, with what this process shows there.
    may_change: bool,
}

/// Something that a service did, or would not do.
#[derive(Serialize, ToSchema)]
struct PlacedDeed {
    /// The process.
    node: String,
    /// As the stream of events has it: `event`, `timestamp`, `user`, `initiator`, `responders`, `ticket`, `reason` …
    #[serde(flatten)]
    #[schema(value_type = Object)]
    deed: Deed,
}

/// The key management services of the network.
#[derive(Serialize, ToSchema)]
pub(in crate::roles::http) struct Services {
    services: Vec<ServiceShown>,
    /// What they did last, the newest first: 200 of one that is asked for, 400 of all, of each its share.
    events: Vec<PlacedDeed>,
    /// Processes that did not say, or not now.
    quiet: Vec<Quiet>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::roles::http) struct ServicesOf {
    /// Only what that process did.
    node: Option<String>,
}

/// The key management services of all processes, and what they did last.
#[utoipa::path(get, path = "/api/v1/network/kms", tag = "network", params(ServicesOf), responses(
    (status = 200, description = "The services", body = Services),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    (status = 503, description = "A role of this process does not answer", body = Problem),
))]
pub(in crate::roles::http) async fn services(
    State(desk): State<Arc<Desk>>,
    Extension(rights): Extension<super::super::Rights>,
    Asked(of): Asked<ServicesOf>,
) -> Answer<Json<Services>> {
    let ask = |peer| -> futures_util::future::BoxFuture<'static, _> { Box::pin(held(peer)) };
    let Gathered { mut said, quiet } = desk.network.gather(has_keys, |peer| &peer.keys, ask).await;
    let mine = Arc::new(super::own(&desk, rights.change).await?);
    if desk.keys.is_some() {
        let recent = json!({ "events": desk.watch.recent.newest(Some("kms")) });
        let deeds: Deeds = serde_json::from_value(recent).unwrap_or_default();
        let one = local::UsersFrom { after: None, limit: Some(1), q: None };
        let Json(page) = local::users(State(desk.keys.clone()), Asked(one)).await?;
        let users = page.total as u64;
        said.insert(0, (THIS_PROCESS.to_owned(), Arc::new(Held { users, deeds: deeds.events.0 })));
    }
    let (mut services, mut events) = (Vec::new(), Vec::new());
    // One that says much does not take the place of the others.
    let share = if of.node.is_some() { MOST } else { MOST.div_ceil(said.len().max(1)) };
    for (node, held) in said {
        let known = match node == THIS_PROCESS {
            true => Some(Arc::clone(&mine)),
            false => desk.network.peer(&node).ok().and_then(|peer| peer.known()),
        };
        let roles = known.iter().flat_map(|known| &known.process.roles.0).filter(|role| role.role.0 == "kms");
        services.extend(roles.map(|role| ServiceShown {
            node: node.clone(),
            name: role.name.0.clone(),
            url: role.url.as_ref().map(|url| url.0.clone()),
            users: held.users,
            may_change: rights.change && known.as_ref().is_some_and(|known| known.process.may_change),
        }));
        if of.node.as_ref().is_none_or(|wanted| *wanted == node) {
            let deeds = held.deeds.iter().take(share);
            events.extend(deeds.map(|deed| PlacedDeed { node: node.clone(), deed: deed.clone() }));
        }
    }
    // Their clocks are what they are; what is no time comes last.
    events.sort_by_cached_key(|one| std::cmp::Reverse(one.deed.timestamp.0.parse::<jiff::Timestamp>().ok()));
    events.truncate(MOST);
    Ok(Json(Services { services, events, quiet }))
}

fn bounded(word: Option<&String>) -> Answer<()> {
    match word {
        Some(word) if word.len() > LONGEST => {
            Err(Failure::bad(format!("a name has at most {LONGEST} octets")))
        }
        _ => Ok(()),
    }
}

/// A path with its parameters.
fn with(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let said =
        parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?))));
    format!("{path}?{}", said.collect::<Vec<_>>().join("&"))
}

/// Users of the key management service of some process. No keys.
#[utoipa::path(get, path = "/api/v1/network/{node}/kms/users", tag = "network", params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"), local::UsersFrom
), responses((status = 200, description = "A page, as `/api/v1/kms/users` there has it", body = Value), OfPeer))]
pub(in crate::roles::http) async fn users(
    State(desk): State<Arc<Desk>>,
    Named(node): Named<String>,
    Asked(from): Asked<local::UsersFrom>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        let page = local::users(State(desk.keys.clone()), Asked(from)).await?;
        return Ok(Json(serde_json::to_value(page.0).unwrap_or_default()));
    }
    bounded(from.after.as_ref()).and_then(|()| bounded(from.q.as_ref()))?;
    let wanted = limit(from.limit)?.to_string();
    let path = with("/api/v1/kms/users", &[("limit", Some(wanted)), ("after", from.after), ("q", from.q)]);
    let page: Result<Users, _> = desk.network.peer(&node)?.get(&path).await;
    let page = page.map_err(|error| failure(&node, error))?;
    Ok(Json(serde_json::to_value(page).unwrap_or_default()))
}

/// Revokes a user at the key management service of some process, or takes that back.
#[utoipa::path(patch, path = "/api/v1/network/{node}/kms/users/{name}", tag = "network", request_body = local::Change, params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("name" = String, Path, description = "The name of its key")
), responses((status = 200, description = "`name` and `revoked` as it is now", body = Value), OfPeer, OfBody))]
pub(in crate::roles::http) async fn change_user(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named((node, name)): Named<(String, String)>,
    Given(change): Given<local::Change>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::change_user(State(desk.keys.clone()), Named(name), Given(change)).await;
    }
    let (at, revoked) = (format!("/api/v1/kms/users/{}", segment(&name)), change.revoked);
    told(&desk, &node, (Method::PATCH, &at), Some(json!({ "revoked": revoked })), by).await?;
    Ok(Json(json!({ "name": name, "revoked": revoked })))
}

/// Tickets that the key management service of some process issued, the newest first.
#[utoipa::path(get, path = "/api/v1/network/{node}/kms/tickets", tag = "network", params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"), local::TicketsFrom
), responses((status = 200, description = "A page, as `/api/v1/kms/tickets` there has it", body = Value), OfPeer))]
pub(in crate::roles::http) async fn tickets(
    State(desk): State<Arc<Desk>>,
    Named(node): Named<String>,
    Asked(from): Asked<local::TicketsFrom>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        let page = local::tickets(State(desk.keys.clone()), Asked(from)).await?;
        return Ok(Json(serde_json::to_value(page.0).unwrap_or_default()));
    }
    bounded(from.user.as_ref())?;
    let (wanted, before) = (limit(from.limit)?.to_string(), number("before", from.before)?);
    let before = before.map(|before| before.to_string());
    let path =
        with("/api/v1/kms/tickets", &[("limit", Some(wanted)), ("before", before), ("user", from.user)]);
    let page: Result<Tickets, _> = desk.network.peer(&node)?.get(&path).await;
    let page = page.map_err(|error| failure(&node, error))?;
    Ok(Json(serde_json::to_value(page).unwrap_or_default()))
}

/// Revokes one ticket at the key management service of some process: it opens no more.
#[utoipa::path(delete, path = "/api/v1/network/{node}/kms/tickets/{ticket}", tag = "network", params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("ticket" = String, Path, description = "At least the first 16 letters of its SHA-256")
), responses((status = 200, description = "It opens no more", body = Value), OfPeer))]
pub(in crate::roles::http) async fn revoke_ticket(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    by: By,
    Named((node, ticket)): Named<(String, String)>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::revoke_ticket(State(desk.keys.clone()), Extension(caller), Named(ticket)).await;
    }
    let at = format!("/api/v1/kms/tickets/{}", segment(&ticket));
    told(&desk, &node, (Method::DELETE, &at), None, by).await?;
    Ok(Json(json!({ "ticket": ticket, "revoked": true })))
}

/// Makes tickets that the key management service of some process issued so far useless, those of one user or all.
#[utoipa::path(post, path = "/api/v1/network/{node}/kms/tickets/revoke", tag = "network", request_body = local::Whose, params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`")
), responses((status = 200, description = "They open no more", body = Value), OfPeer, OfBody))]
pub(in crate::roles::http) async fn revoke_tickets(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named(node): Named<String>,
    Given(whose): Given<local::Whose>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::revoke_tickets(State(desk.keys.clone()), Given(whose)).await;
    }
    let user = whose.user;
    let body = user.as_ref().map_or_else(|| json!({}), |user| json!({ "user": user }));
    told(&desk, &node, (Method::POST, "/api/v1/kms/tickets/revoke"), Some(body), by).await?;
    Ok(Json(json!({ "user": user })))
}
