//! What is done at another process in the name of who asks: it has to have shown the word that opens everything here, and what this
//! process shows there has to open it there. Done once; whether it was done is in both logs.

use super::super::{api, drain as local};
use super::{Desk, failure};
use crate::node::segment;
use crate::roles::question::Ask;
use crate::web::answer::{Answer, Given, Named, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use carnet_ops::config::THIS_PROCESS;
use hyper::Method;
use serde_json::{Value, json};
use std::sync::Arc;

/// Takes a gateway out of a border's service, or puts it back, at another process.
#[utoipa::path(patch, path = "/api/v1/network/{node}/borders/{border}/gateways/{gateway}", tag = "network",
    request_body = api::Service, params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("border" = String, Path, description = "The border's name"), ("gateway" = String, Path, description = "The gateway's")
), responses(
    (status = 200, description = "`border`, `gateway`, and `avoided` as it is now", body = Value),
    (status = 400, description = "The body cannot be read, or that is no name", body = Problem),
    (status = 404, description = "There is no such process, border or gateway", body = Problem),
    (status = 409, description = "The process does not let this one do so", body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 415, description = "The body is not JSON", body = Problem),
    (status = 422, description = "The body is not what it has to be", body = Problem),
    (status = 503, description = "It does not answer", body = Problem),
))]
pub(in crate::roles::http) async fn avoid(
    State(desk): State<Arc<Desk>>,
    Named((node, border, gateway)): Named<(String, String, String)>,
    Given(api::Service { avoid }): Given<api::Service>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return api::ask(&desk, Ask::Avoid { border, gateway, avoid }).await;
    }
    let path = format!("/api/v1/borders/{}/gateways/{}", segment(&border), segment(&gateway));
    told(&desk, &node, Method::PATCH, &path, Some(json!({ "avoid": avoid }))).await?;
    Ok(Json(json!({ "border": border, "gateway": gateway, "avoided": avoid })))
}

/// Drains another process: it takes nothing new, lets what runs end, at the latest after `grace` seconds, and ends.
#[utoipa::path(post, path = "/api/v1/network/{node}/drain", tag = "network", request_body = local::Grace,
    params(("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`")), responses(
    (status = 202, description = "It drains"),
    (status = 400, description = "The body cannot be read, or that is too long", body = Problem),
    (status = 404, description = "There is no such process", body = Problem),
    (status = 409, description = "It ends already, or does not let this one do so", body = Problem),
    (status = 413, description = "The body is too large", body = Problem),
    (status = 415, description = "The body is not JSON", body = Problem),
    (status = 422, description = "The body is not what it has to be", body = Problem),
    (status = 503, description = "It does not answer", body = Problem),
))]
pub(in crate::roles::http) async fn drain(
    State(desk): State<Arc<Desk>>,
    Named(node): Named<String>,
    Given(grace): Given<local::Grace>,
) -> Answer<StatusCode> {
    if node == THIS_PROCESS {
        return local::begin(State(desk), Given(grace)).await;
    }
    told(&desk, &node, Method::POST, "/api/v1/drain", Some(json!({ "grace": grace.seconds() }))).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Another process takes new sessions again.
#[utoipa::path(delete, path = "/api/v1/network/{node}/drain", tag = "network",
    params(("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`")), responses(
    (status = 200, description = "It drains no more", body = Value),
    (status = 404, description = "There is no such process", body = Problem),
    (status = 409, description = "It does not drain, ends already, or does not let this one do so", body = Problem),
    (status = 503, description = "It does not answer", body = Problem),
))]
pub(in crate::roles::http) async fn undrain(
    State(desk): State<Arc<Desk>>,
    Named(node): Named<String>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::take_back(State(desk)).await;
    }
    told(&desk, &node, Method::DELETE, "/api/v1/drain", None).await?;
    Ok(Json(json!({ "state": "no" })))
}

async fn told(desk: &Desk, name: &str, method: Method, path: &str, body: Option<Value>) -> Answer<()> {
    let peer = desk.network.peer(name)?;
    let done = peer.node().tell(method, path, body.as_ref()).await;
    done.map(drop).map_err(|error| failure(name, error))
}
