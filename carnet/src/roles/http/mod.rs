//! HTTP for administrators and Prometheus: `listen` of `[admin]`.
//!
//! | path | |
//! |---|---|
//! | `GET /metrics` | counters, latencies, and what is held at the moment (exposition format 0.0.4) |
//! | `GET /health` | 200 while the process answers |
//! | `/api/v1/…` | what the roles hold and do ([`api`]), described by `GET /api/v1/openapi.json` |
//!
//! Who may ask: everybody who reaches a loopback socket, unless there is a token; elsewhere only over TLS, with a token or
//! a certificate (the configuration is refused otherwise). Requests and connections are bounded in size, number and
//! time. Pages of other origins get nothing where no token is needed: a browser on this host would let any page ask.

mod api;

use super::answering::Answering;
use super::question::Ask;
use super::watch::Watch;
use super::{Start, StartError, held, tls, token};
use crate::reload::{Ready, Renewals};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use carnet_ops::config::{AdminSection, TlsSection};
use carnet_tls::{CertificateContext, Peer};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// Connections at once; more wait.
const MOST_CONNECTIONS: usize = 64;
/// How long a request header or a pause between requests may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets of a request's header.
const MOST_HEADER: usize = 16 << 10;

/// For who asks for something else.
const NOTHING: &str = "there is nothing here: look at /metrics, /health, /api/v1/openapi.json\n";

/// What answers need.
struct Desk {
    answering: Arc<Answering>,
    watch: Arc<Watch>,
    token: RwLock<Option<Zeroizing<String>>>,
}

impl Desk {
    /// Whether a caller shows the word that he has to know; none if he need not know any.
    fn is_known(&self, headers: &HeaderMap) -> Option<bool> {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().map(|token| knows(headers, token.as_bytes()))
    }
}

/// Opens the socket of the section, if it names one.
pub(super) fn start(
    admin: &AdminSection,
    answering: Arc<Answering>,
    watch: Arc<Watch>,
    renewals: &mut Renewals,
) -> Start<Option<JoinHandle<()>>> {
    let Some(listen) = admin.listen.as_ref().map(|listen| *listen.as_ref()) else { return Ok(None) };
    let fail = |reason: String| StartError::new("administration over HTTP", &listen.to_string(), reason);
    let token = admin.token_file.as_ref().map(|path| token::read(path.as_ref())).transpose().map_err(fail)?;
    let tls = admin.tls.as_ref().map(|tls| Tls::of(tls.as_ref())).transpose().map_err(fail)?;
    let listener = std::net::TcpListener::bind(listen)
        .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        .and_then(TcpListener::from_std)
        .map_err(|e| fail(e.to_string()))?;
    tracing::info!(%listen, tls = tls.is_some(), "administration over HTTP");
    let desk = Arc::new(Desk { answering, watch, token: RwLock::new(token) });
    if let Some(tls) = &tls {
        tls::renews(renewals, &["admin", "tls"], &tls.context, |config| {
            Some(config.admin.as_ref()?.as_ref().tls.as_ref()?.as_ref())
        });
    }
    let held = desk.clone();
    renewals.add(&["admin", "token-file"], move |config| {
        let path = config.admin.as_ref().and_then(|admin| admin.as_ref().token_file.as_ref());
        let (new, held) = (path.map(|path| token::read(path.as_ref())).transpose()?, held.clone());
        Ok(Ready::Now(Box::new(move || {
            *held.token.write().unwrap_or_else(PoisonError::into_inner) = new;
        })))
    });
    let (routes, description) = api::routes().split_for_parts();
    let description = description.to_pretty_json().map_err(|e| fail(e.to_string()))?;
    let routes = routes
        .route("/metrics", get(metrics))
        .route("/health", get(|| async { "well\n" }))
        .route(
            "/api/v1/openapi.json",
            get(move || async move { ([(CONTENT_TYPE, "application/json")], description.clone()) }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, NOTHING) })
        .layer(from_fn_with_state(desk.clone(), may_ask))
        .with_state(desk);
    Ok(Some(tokio::spawn(accept(listener, tls, routes))))
}

/// What callers have to show, and what they are shown.
#[derive(Clone)]
struct Tls {
    context: CertificateContext,
    callers: Peer,
}

impl Tls {
    fn of(section: &TlsSection) -> Result<Self, String> {
        let callers = if section.ca.is_some() { Peer::Vouched } else { Peer::Anyone };
        Ok(Self { context: tls::context_of(section)?, callers })
    }
}

async fn accept(listener: TcpListener, tls: Option<Tls>, routes: Router) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // Full: those who wait do so in the kernel's queue.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of file descriptors, most likely: not a reason to stop, nor to spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (tls, routes) = (tls.clone(), routes.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match tls {
                None => connection(stream, peer, routes).await,
                // The context has its own time limit.
                Some(tls) => match tls.context.accept(stream, &tls.callers).await {
                    Ok((stream, _)) => connection(stream, peer, routes).await,
                    Err(error) => tracing::debug!(%peer, %error, "no TLS"),
                },
            }
        });
    }
}

async fn connection<S>(stream: S, peer: SocketAddr, routes: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MOST_HEADER);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Turns away who may not ask.
async fn may_ask(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    match desk.is_known(request.headers()) {
        Some(false) => {
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], "a token is needed\n").into_response()
        }
        None if is_of_another_page(request.headers()) => {
            (StatusCode::FORBIDDEN, "not for pages of other origins\n").into_response()
        }
        _ => next.run(request).await,
    }
}

/// RFC 6750 §2.1
fn knows(headers: &HeaderMap, token: &[u8]) -> bool {
    let said = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let Some((scheme, word)) = said.split_at_checked(7) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(word.ct_eq(token))
}

/// A page whose own address is not ours, or a name for this host that is not ours to be called by (a name that somebody
/// else has pointed at this host).
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    let host = text(HOST).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|octet| octet.is_ascii_digit()) { name } else { host }
    });
    let ours = name.eq_ignore_ascii_case("localhost")
        || name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().is_ok();
    let origin = text(ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, rest)| rest));
    !(ours || host.is_empty()) || origin.is_some_and(|origin| !origin.eq_ignore_ascii_case(host))
}

async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    // A role that does not answer is missing there, and the rest is told.
    let list = desk.answering.answer(Ask::List).await.unwrap_or_default();
    let rooms = desk.answering.answer(Ask::Rooms).await.unwrap_or_default();
    let text = desk.watch.metrics.render(&held::gauges(&list, &rooms));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
