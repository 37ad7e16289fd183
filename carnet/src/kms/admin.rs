//! Administration: commands, what they do ([`commands`]), and the routes by which they come while the service runs
//! ([`mod@routes`]): at the socket in its data directory, and in the API of the process that it is a role of. While it does not run, the
//! same commands work on the data directory.

mod commands;
mod remote;
mod routes;
mod trail;

pub use commands::{Command, NewUser, PolicyLine, execute};
pub use routes::{
    Change, TicketsFrom, UsersFrom, Whose, change_user, revoke_ticket, revoke_tickets, routes, tickets, users,
};

use super::service::{OpenError, Service, ServiceSettings};
use crate::web::{self, Door, Limits, answer, routed, socket};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::routing::get;
use carnet_net::Token;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;

/// The socket's name in the data directory.
const SOCKET: &str = "admin.sock";
/// What administrators may take.
const LIMITS: Limits = Limits { connections: 32, patience: Duration::from_secs(30), header: 16 << 10 };

/// Opens the socket, for its owner. The caller has the database, so no other service uses the name.
pub fn bind(data: &Path) -> Result<(UnixListener, socket::Place), OpenError> {
    let path = data.join(SOCKET);
    socket::bind(&path, 0o600).map_err(|e| OpenError::Directory(path, e))
}

/// Serves administrators until `token` says to stop.
pub async fn serve(service: Arc<Service>, (listener, place): (UnixListener, socket::Place), token: Token) {
    let (routes, description) = routes(Some(service)).split_for_parts();
    // Without its description the API works all the same.
    let description = description.to_pretty_json().unwrap_or_default();
    let routes = routes
        .route(
            "/api/v1/openapi.json",
            get(move || async move { ([(CONTENT_TYPE, "application/json")], description.clone()) }),
        )
        .fallback(|| async { answer::Failure(StatusCode::NOT_FOUND, "there is nothing here".into()) })
        .layer(from_fn(answer::note_changes));
    web::serve(Door::Unix(listener), LIMITS, Some(token), routed(routes)).await;
    drop(place);
}

/// Has a command carried out: by the service if it runs, otherwise on its data directory. That is
/// made if it is not there and the command may be the first one.
pub fn call(data: &Path, settings: ServiceSettings, command: &Command) -> Result<Value, String> {
    if let Some(client) = socket::Client::new(&data.join(SOCKET)) {
        return remote::put(&client?, command);
    }
    let open = if command.may_begin() { Service::open } else { Service::open_as_it_is };
    let service = open(data, settings).map_err(|e| match e {
        OpenError::Store(carnet_store::Error::Busy) => {
            "the service is starting or stopping, or another administrator is at work; try again".into()
        }
        other => other.to_string(),
    })?;
    execute(&service, command).map_err(|e| e.to_string())
}
