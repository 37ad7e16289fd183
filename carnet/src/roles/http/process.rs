//! `GET /api/v1/process`: which version runs since when, whether it is about to end, and which roles its file has, with what leads
//! from one to the other. Nothing of it is secret. What leads where changes when the file is read again.

use super::{Desk, Rights};
use axum::Json;
use axum::extract::State;
use carnet_ops::config::{BorderRole, Config, GatewayRole, Spanned};
use carnet_ops::sessions::timestamp;
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// What is known without asking a role.
pub(super) struct Facts {
    began: SystemTime,
    roles: RwLock<Vec<Value>>,
}

impl Facts {
    pub(super) fn of(config: &Config) -> Self {
        Self { began: SystemTime::now(), roles: RwLock::new(Self::roles(config)) }
    }

    /// Another file holds from now on.
    pub(super) fn renew(&self, roles: Vec<Value>) {
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = roles;
    }

    /// The roles of a file.
    pub(super) fn roles(config: &Config) -> Vec<Value> {
        let mut roles = Vec::new();
        if let Some(kms) = config.kms.as_ref().map(Spanned::as_ref) {
            let scheme = if kms.tls.is_some() { "https" } else { "http" };
            let url = format!("{scheme}://{}", kms.listen.0);
            roles.push(json!({ "role": "kms", "kind": "KMS", "name": kms.name, "url": url }));
        }
        for (name, border) in &config.border {
            let border = border.as_ref();
            let kind = match border.role {
                BorderRole::ImsAlg => "IMS-ALG",
                BorderRole::Ibcf => "IBCF",
            };
            let networks = border.network.iter().map(|(network, section)| {
                let section = section.as_ref();
                let listen: Vec<_> = section.listen.as_ref().iter().map(ToString::to_string).collect();
                json!({ "network": network, "subscribers": section.subscribers, "listen": listen })
            });
            let routes = border.route.iter().map(|route| {
                let route = route.as_ref();
                json!({ "domain": route.domain, "network": route.network, "next_hop": route.next_hop })
            });
            roles.push(json!({
                "role": "border",
                "kind": kind,
                "name": name,
                "domain": border.domain,
                "networks": networks.collect::<Vec<_>>(),
                "routes": routes.collect::<Vec<_>>(),
                "gateways": border.control.as_ref().gateways,
            }));
        }
        for (name, server) in &config.conference {
            let server = server.as_ref();
            let listen: Vec<_> = server.listen.as_ref().iter().map(ToString::to_string).collect();
            roles.push(json!({
                "role": "conference",
                "kind": "MRFC",
                "name": name,
                "domain": server.domain.as_ref(),
                "listen": listen,
                "gateways": server.control.as_ref().gateways,
                "kms": server.kms.as_ref().map(|kms| kms.as_ref().url.as_ref()),
            }));
        }
        for (name, gateway) in &config.gateway {
            let gateway = gateway.as_ref();
            let kind = match gateway.role {
                GatewayRole::ImsAgw => "IMS-AGW",
                GatewayRole::Trgw => "TrGW",
                GatewayRole::Mrfp => "MRFP",
            };
            let controllers: Vec<_> = gateway.controllers.as_ref().iter().map(ToString::to_string).collect();
            roles.push(json!({
                "role": "gateway",
                "kind": kind,
                "name": name,
                "controllers": controllers,
                "steered": gateway.ng.is_some(),
            }));
        }
        roles
    }
}

/// What is told of it to who may change something, or not.
pub(super) fn facts(desk: &Desk, may_change: bool) -> Json<Value> {
    let turned_away = desk.watch.sessions(carnet_ops::sessions::Sessions::turned_away);
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "began": timestamp(desk.process.began),
        "now": timestamp(SystemTime::now()),
        "draining": desk.draining.has_begun() || desk.watch.is_draining(),
        "events_turned_away": turned_away,
        "may_change": may_change,
        "others": desk.network.others(),
        "roles": *desk.process.roles.read().unwrap_or_else(PoisonError::into_inner),
    }))
}

/// What runs here.
#[utoipa::path(get, path = "/api/v1/process", tag = "process", responses(
    (status = 200, description = "`version`, `began`, `draining`, `events_turned_away`, `may_change` (whether who asks may change something), `others` (how many processes of `[[admin.nodes]]` it asks), and `roles` as the file has them", body = Value),
))]
pub(super) async fn process(
    State(desk): State<Arc<Desk>>,
    axum::Extension(rights): axum::Extension<Rights>,
) -> Json<Value> {
    facts(&desk, rights.change)
}
