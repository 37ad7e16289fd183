//! What is done at another process in the name of who asks: it has to have shown the word that opens everything here, and what this
//! process shows there has to open it there. Done once; whether it was done is in both logs, and there too who wanted it (RFC 7239).

use super::super::{api, drain as local};
use super::{Desk, failure};
use crate::node::segment;
use crate::roles::question::Ask;
use crate::web::Caller;
use crate::web::answer::{Answer, Given, Named, OfBody, OfPeer};
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use carnet_ops::config::THIS_PROCESS;
use hyper::Method;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;

/// Who wants it, as it is told to another process: an address, or a user of this host (RFC 7239 §6).
pub(in crate::roles::http) struct By(String);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(match parts.extensions.get() {
            Some(Caller::Host(address)) => address.to_string(),
            Some(Caller::Process { uid }) => format!("_uid-{uid}"),
            None => "unknown".to_owned(),
        }))
    }
}

/// Takes a gateway out of a border's service, or puts it back, at another process.
#[utoipa::path(patch, path = "/api/v1/network/{node}/borders/{border}/gateways/{gateway}", tag = "network",
    request_body = api::Service, params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("border" = String, Path, description = "The border's name"), ("gateway" = String, Path, description = "The gateway's")
), responses((status = 200, description = "`border`, `gateway`, and `avoided` as it is now", body = Value), OfPeer, OfBody))]
pub(in crate::roles::http) async fn avoid(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named((node, border, gateway)): Named<(String, String, String)>,
    Given(api::Service { avoid }): Given<api::Service>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return api::ask(&desk, Ask::Avoid { border, gateway, avoid }).await;
    }
    let path = format!("/api/v1/borders/{}/gateways/{}", segment(&border), segment(&gateway));
    told(&desk, &node, (Method::PATCH, &path), Some(json!({ "avoid": avoid })), by).await?;
    Ok(Json(json!({ "border": border, "gateway": gateway, "avoided": avoid })))
}

/// Drains another process: it takes nothing new, lets what runs end, at the latest after `grace` seconds, and ends.
#[utoipa::path(post, path = "/api/v1/network/{node}/drain", tag = "network", request_body = local::Grace,
    params(("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`")),
    responses((status = 202, description = "It drains"), OfPeer, OfBody))]
pub(in crate::roles::http) async fn drain(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named(node): Named<String>,
    Given(grace): Given<local::Grace>,
) -> Answer<StatusCode> {
    if node == THIS_PROCESS {
        return local::begin(State(desk), Given(grace)).await;
    }
    let grace = Some(json!({ "grace": grace.seconds() }));
    told(&desk, &node, (Method::POST, "/api/v1/drain"), grace, by).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Another process takes new sessions again.
#[utoipa::path(delete, path = "/api/v1/network/{node}/drain", tag = "network",
    params(("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`")),
    responses((status = 200, description = "It drains no more", body = Value), OfPeer))]
pub(in crate::roles::http) async fn undrain(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named(node): Named<String>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::take_back(State(desk)).await;
    }
    told(&desk, &node, (Method::DELETE, "/api/v1/drain"), None, by).await?;
    Ok(Json(json!({ "state": "no" })))
}

/// Has another process do it.
pub(super) async fn told(
    desk: &Desk,
    name: &str,
    (method, path): (Method, &str),
    body: Option<Value>,
    By(by): By,
) -> Answer<()> {
    let done = desk.network.peer(name)?.tell(method, path, body.as_ref(), &by).await;
    done.map(drop).map_err(|error| failure(name, error))
}
