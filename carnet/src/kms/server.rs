//! HTTPS for users: a POST with a MIKEY message, a reply with one.
//!
//! How TS 33.328 carries MIKEY over HTTP is not public; the paths are settings. A body may be raw
//! octets or base64. Everything has an end: headers, body, handshake and idle time have time
//! limits, the body a size, and connections a number.

use super::service::{OpenError, Service};
use super::{admin, service::Answer};
use crate::web::{self, Caller, Door, Limits, Tls};
use carnet_net::Token;
use carnet_tls::{CertificateContext, Peer};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// MIME type of a MIKEY message (RFC 3830 §10.1).
pub const MIKEY: &str = "application/mikey";

/// How often ticket keys are looked after.
const MAINTENANCE: Duration = Duration::from_secs(60);
/// How long a header, a body or a pause between requests may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of a request's header.
const MOST_HEADER: usize = 16 << 10;

/// How the service is reached.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Path and query of ticket requests.
    pub request_path: String,
    /// Path and query of ticket resolution.
    pub resolve_path: String,
    /// Allows HTTP without TLS on addresses other than loopback.
    pub insecure_http: bool,
    /// Octets of a body.
    pub max_body: usize,
    /// Connections at once.
    pub max_connections: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            request_path: "/keymanagement?requesttype=ticketrequest".into(),
            resolve_path: "/keymanagement?requesttype=ticketresolve".into(),
            insecure_http: false,
            max_body: 96 * 1024,
            max_connections: 4096,
        }
    }
}

/// The service as a task: answers at `listener`, and administrators at the socket in the data
/// directory, until `token` says to stop.
///
/// Fails if it would speak HTTP without TLS where that is not allowed.
pub fn serve(
    service: Arc<Service>,
    settings: HttpSettings,
    tls: Option<CertificateContext>,
    listener: TcpListener,
    token: Token,
) -> Result<impl Future<Output = ()> + Send + 'static, OpenError> {
    let local = listener.local_addr().map_err(|e| OpenError::Setting(e.to_string()))?;
    if tls.is_none() && !settings.insecure_http && !local.ip().is_loopback() {
        return Err(OpenError::Setting(format!("{local}: HTTP without TLS is for loopback only")));
    }
    let socket = admin::bind(service.data())?;
    Ok(async move {
        let administration = tokio::spawn(admin::serve(service.clone(), socket, token.clone()));
        let maintenance = tokio::spawn(maintain(service.clone(), token.clone()));
        let limits =
            Limits { connections: settings.max_connections, patience: PATIENCE, header: MOST_HEADER };
        let tls = tls.map(|context| Tls { context, callers: Peer::Anyone });
        let settings = Arc::new(settings);
        let answer = move |caller, request| {
            let (service, settings) = (service.clone(), settings.clone());
            async move {
                match caller {
                    Caller::Host(peer) => respond(&service, &settings, peer.ip(), request).await,
                    Caller::Process { .. } => empty(StatusCode::NOT_FOUND),
                }
            }
        };
        web::serve(Door::Tcp(listener, tls), limits, Some(token), answer).await;
        let _ = tokio::join!(administration, maintenance);
    })
}

async fn maintain(service: Arc<Service>, mut token: Token) {
    let mut tick = tokio::time::interval(MAINTENANCE);
    loop {
        tokio::select! {
            _ = token.started() => return,
            _ = tick.tick() => {}
        }
        let service = service.clone();
        let done = tokio::task::spawn_blocking(move || service.maintain()).await;
        if let Ok(Err(error)) = done {
            tracing::error!(%error, "ticket keys could not be looked after; the old one stays in use");
        }
    }
}

async fn respond(
    service: &Service,
    settings: &HttpSettings,
    source: IpAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().map_or("", |p| p.as_str());
    if path != settings.request_path && path != settings.resolve_path {
        return empty(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if !kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(MIKEY) {
        return empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let body = Limited::new(request.into_body(), settings.max_body).collect();
    let octets = match tokio::time::timeout(PATIENCE, body).await {
        Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(Err(_)) => return empty(StatusCode::BAD_REQUEST),
    };
    let answer = match octets.first() {
        // The version of every MIKEY message (RFC 3830 §6.1).
        Some(1) => service.answer(source, &octets).await,
        _ => match carnet_wire::base64::decode(octets.trim_ascii()) {
            Ok(octets) => service.answer(source, &octets).await,
            Err(_) => return empty(StatusCode::BAD_REQUEST),
        },
    };
    reply(answer)
}

fn reply(answer: Answer) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let has_body = !answer.body.is_empty();
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MIKEY));
    }
    if matches!(answer.status, 429 | 503) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
