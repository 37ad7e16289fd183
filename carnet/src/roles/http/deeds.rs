//! What administrators do, and whether the other processes are reached, as events: in the stream, in what happened lately, counted.
//! The log has a line of its own for it (`administration`).

use super::Desk;
use crate::web::{Caller, answer};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// Characters of a path that are told.
const MOST: usize = 300;

carnet_event::declare! {
    /// What happened at the administration of a process.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Event {
        /// Somebody changed something, or wanted to.
        [info "administration" by method, status]
        Done {
            /// Who: an address, or a user of the host.
            who: String,
            /// In whose name, where another process asks for somebody, as that process says it (`Forwarded`, RFC 7239).
            forwarded: Option<String>,
            /// Method of the request.
            method: String,
            /// What was asked for.
            path: String,
            /// What was answered.
            status: u16,
        },
        /// Another process of the network does not answer any more, or not as it should.
        [warn "node-lost" by node]
        Lost {
            /// Its name in the file.
            node: String,
            /// Why.
            reason: String,
        },
        /// Another process of the network answers.
        [info "node-reached" by node]
        Reached {
            /// Its name in the file.
            node: String,
        },
    }
    level(_event, declared) declared
}

/// Tells of what changes something.
pub(super) async fn tell(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let who = request.extensions().get::<Caller>().map(ToString::to_string).unwrap_or_default();
    let known = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS
    );
    let method = if known { request.method().to_string() } else { "other".to_owned() };
    let forwarded = answer::forwarded(request.headers());
    let path = request.uri().path().escape_debug().take(MOST).collect();
    let response = next.run(request).await;
    desk.watch.administered(&Event::Done {
        who,
        forwarded,
        method,
        path,
        status: response.status().as_u16(),
    });
    response
}
