//! HTTPS for users: a POST with a MIKEY message, a reply with one.
//!
//! How TS 33.328 carries MIKEY over HTTP is not public; the paths are settings. A body may be raw
//! octets or base64. Everything has an end: headers, body, handshake and idle time have time
//! limits, the body a size, and connections a number.

use super::service::{OpenError, Service};
use super::{admin, service::Answer};
use carnet_net::Token;
use carnet_tls::{CertificateContext, Peer};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// MIME type of a MIKEY message (RFC 3830 §10.1).
pub const MIKEY: &str = "application/mikey";

/// How often ticket keys are looked after.
const MAINTENANCE: Duration = Duration::from_secs(60);
/// How long a handshake, a header, a body or a pause between requests may take.
const PATIENCE: Duration = Duration::from_secs(10);

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
        accept(service, Arc::new(settings), tls, listener, token).await;
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

async fn accept(
    service: Arc<Service>,
    settings: Arc<HttpSettings>,
    tls: Option<CertificateContext>,
    listener: TcpListener,
    mut token: Token,
) {
    let room = Arc::new(Semaphore::new(settings.max_connections));
    loop {
        // Full: those who wait do so in the kernel's queue.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (stream, peer) = tokio::select! {
            _ = token.started() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: not a reason to stop, nor to spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (service, settings) = (service.clone(), settings.clone());
        let (tls, token) = (tls.clone(), token.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match tls {
                None => connection(stream, peer.ip(), service, settings, token).await,
                Some(tls) => match handshake(&tls, stream).await {
                    Ok(stream) => connection(stream, peer.ip(), service, settings, token).await,
                    Err(error) => tracing::debug!(%peer, %error, "no TLS"),
                },
            }
        });
    }
}

async fn handshake(
    tls: &CertificateContext,
    stream: TcpStream,
) -> Result<carnet_tls::TlsStream<TcpStream>, carnet_tls::Error> {
    // The context has its own time limit.
    tls.accept(stream, &Peer::Anyone).await.map(|(stream, _)| stream)
}

async fn connection<S>(
    stream: S,
    source: IpAddr,
    service: Arc<Service>,
    settings: Arc<HttpSettings>,
    mut token: Token,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request| {
        let (service, settings) = (service.clone(), settings.clone());
        async move { Ok::<_, Infallible>(respond(&service, &settings, source, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(16 * 1024);
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = token.started() => {
            // The request in progress is answered, a further one is not taken.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%source, %error, "connection ended");
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
