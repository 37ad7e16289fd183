//! Requests over HTTP: `POST /ng` with a cookie, `POST /ng-plain` without, `GET /ping`; and WebSocket by upgrade.
//!
//! Where no token is needed, a browser on a host that may ask would let any page ask: pages are turned away
//! (RFC 6455 §10.2), unless they have their own address from here.

use super::shared::{MAX_REQUEST, NotTaken, Outgoing, Shared, refusal};
use super::stream::{Octets, Stop};
use super::websocket;
use bytes::Bytes;
use carnet_ng::Form;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE, WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// What rtpengine calls its messages.
const NG: &str = "application/x-rtpengine-ng";
const JSON: &str = "application/json";

/// Serves one connection.
pub(super) async fn serve(octets: Octets, remote: SocketAddr, shared: Arc<Shared>, mut stop: Stop) {
    let also = stop.clone();
    let patience = shared.times().patience;
    let answer = service_fn(move |request| {
        let (shared, stop) = (shared.clone(), also.clone());
        async move { Ok::<_, Infallible>(respond(&shared, remote, request, stop).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(16 << 10);
    let connection = http.serve_connection(TokioIo::new(octets), answer).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.told() => {
            // The request in progress is answered, a further one is not taken.
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(patience, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%remote, %error, "connection ended");
    }
}

async fn respond(
    shared: &Arc<Shared>,
    remote: SocketAddr,
    request: Request<Incoming>,
    stop: Stop,
) -> Response<Full<Bytes>> {
    if !shared.wants_token() && is_of_a_page(request.headers()) {
        shared.count(|tally| tally.strangers += 1);
        return empty(StatusCode::FORBIDDEN);
    }
    if request.headers().contains_key(SEC_WEBSOCKET_KEY) {
        return upgrade(shared, remote, request, stop);
    }
    let (with_cookie, kinds) = match request.uri().path() {
        "/ping" if request.method() == Method::GET => return text("pong"),
        "/ping" => return not_allowed("GET"),
        "/ng" => (true, [NG, NG]),
        "/ng-plain" => (false, [NG, JSON]),
        _ => return empty(StatusCode::NOT_FOUND),
    };
    if request.method() != Method::POST {
        return not_allowed("POST");
    }
    let kind = header(request.headers(), &CONTENT_TYPE).split(';').next().unwrap_or("").trim();
    if !kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let proved = bearer(request.headers()).is_some_and(|word| shared.knows(Some(word)));
    let body = Limited::new(request.into_body(), MAX_REQUEST).collect();
    let octets = match tokio::time::timeout(shared.times().patience, body).await {
        Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(Err(_)) => return empty(StatusCode::BAD_REQUEST),
    };
    let (to, mut answers) = mpsc::channel::<Outgoing>(1);
    let Ok(room) = Arc::new(Semaphore::new(1)).acquire_owned().await else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut status = StatusCode::OK;
    let mut waiting = None;
    match shared.ask(remote, &octets, with_cookie, proved, (&to, room)) {
        Ok(request) => {
            let number = request.number;
            if shared.events().try_send(request).is_err() {
                drop(shared.take(number));
                shared.count(|tally| tally.crowded += 1);
                return busy();
            }
            waiting = Some(number);
        }
        Err(NotTaken::Answered) => {}
        Err(NotTaken::Token(waits)) => {
            status = StatusCode::UNAUTHORIZED;
            waits.answer(&refusal("the token is missing, or another one"));
        }
        Err(NotTaken::Full(_)) => return busy(),
        Err(NotTaken::Unreadable) => return empty(StatusCode::BAD_REQUEST),
    }
    drop(to);
    let Ok(Some(answer)) = tokio::time::timeout(shared.times().longest, answers.recv()).await else {
        if waiting.and_then(|number| shared.take(number)).is_some() {
            shared.count(|tally| tally.overdue += 1);
        }
        return empty(StatusCode::GATEWAY_TIMEOUT);
    };
    let kind = if with_cookie || answer.form == Form::Bencode { NG } else { JSON };
    let mut response = Response::new(Full::new(answer.octets));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    match status {
        StatusCode::UNAUTHORIZED => with_challenge(response),
        _ => response,
    }
}

/// The handshake of RFC 6455 §4.2.
fn upgrade(
    shared: &Arc<Shared>,
    remote: SocketAddr,
    mut request: Request<Incoming>,
    stop: Stop,
) -> Response<Full<Bytes>> {
    let headers = request.headers();
    let has = |name: &HeaderName, token: &str| {
        header(headers, name).split(',').any(|word| word.trim().eq_ignore_ascii_case(token))
    };
    if request.method() != Method::GET || !has(&UPGRADE, "websocket") || !has(&CONNECTION, "upgrade") {
        return empty(StatusCode::BAD_REQUEST);
    }
    if header(headers, &SEC_WEBSOCKET_VERSION) != "13" {
        let mut response = empty(StatusCode::UPGRADE_REQUIRED);
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    let offered = header(headers, &SEC_WEBSOCKET_PROTOCOL).split(',').map(str::trim);
    let Some(protocol) = offered.into_iter().find_map(websocket::Protocol::of) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let offered = bearer(headers);
    let proved = offered.is_some_and(|word| shared.knows(Some(word)));
    // Without the header the first message may have the token; what is echoed has none.
    if !proved && (offered.is_some() || protocol == websocket::Protocol::Echo && shared.wants_token()) {
        shared.count(|tally| tally.without_token += 1);
        return with_challenge(empty(StatusCode::UNAUTHORIZED));
    }
    let key = header(headers, &SEC_WEBSOCKET_KEY);
    let Ok(accept) = HeaderValue::from_str(&websocket::accept_key(key)) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let (upgraded, shared) = (hyper::upgrade::on(&mut request), shared.clone());
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await
            && let Some(_admitted) = shared.connected(remote.ip())
        {
            websocket::serve(TokioIo::new(upgraded), remote, &shared, (protocol, proved), stop).await;
        }
    });
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.name()));
    response
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// Whether a browser asks for a page that is not from here. A name proves nothing, as whoever has the name can
/// have it lead here; an address does.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, after)| after);
    let host = header(headers, &HOST);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = host.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok();
    let is_here = is_address || host.split(':').next() == Some("localhost");
    !(is_here && authority == Some(host))
}

/// RFC 6750 §2.1.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, word) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| word.trim_ascii())
}

fn text(words: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(words.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// RFC 6750 §3.
fn with_challenge(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn not_allowed(method: &'static str) -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    response
}

fn busy() -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
