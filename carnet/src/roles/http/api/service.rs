//! Gateways of a border in and out of service.

use super::{Answer, Ask, Desk, Given, Named, OfBody, OfRole, ask};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// Whether a gateway gets new calls.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::roles::http) struct Service {
    /// No new calls; those on it go on.
    pub(in crate::roles::http) avoid: bool,
}

/// Takes a gateway out of a border's service, or puts it back: new calls avoid it, those on it go on. Until the next start.
#[utoipa::path(patch, path = "/api/v1/borders/{border}/gateways/{gateway}", tag = "roles", request_body = Service, params(
    ("border" = String, Path, description = "The border's name"), ("gateway" = String, Path, description = "The gateway's")
), responses(
    (status = 200, description = "`border`, `gateway`, and `avoided` as it is now", body = Value),
    OfRole,
    OfBody,
))]
pub(super) async fn avoid(
    State(desk): State<Arc<Desk>>,
    Named((border, gateway)): Named<(String, String)>,
    Given(Service { avoid }): Given<Service>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Avoid { border, gateway, avoid }).await
}
