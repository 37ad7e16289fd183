//! HTTP for administrators and Prometheus: `socket` and `listen` of `[admin]`.
//!
//! | path | |
//! |---|---|
//! | `GET /metrics` | counters, latencies, and what is held at the moment (exposition format 0.0.4) |
//! | `GET /health` | 200 while every role lives ([`health`]) |
//! | `/`, `/console/…` | the console: a page for people ([`console`]), which asks the API like anybody else |
//! | `/api/v1/…` | what the roles hold and do ([`api`]), described by `GET /api/v1/openapi.json` |
//!
//! Who may ask: at the Unix socket whoever the file system lets open it; everybody who reaches a loopback socket, unless there is a token;
//! elsewhere only over TLS, with a token or a certificate (the configuration is refused otherwise). A token for reading opens
//! GET and nothing else. Requests and connections are bounded in size, number and time ([`crate::web`]). Pages of other
//! origins get nothing where no token is needed: a browser on this host would let any page ask.

mod api;
mod console;
mod deeds;
mod drain;
mod health;
mod ladder;
mod network;
mod process;

pub use deeds::Event as Deed;

use super::answering::{Answering, Open};
use super::question::Ask;
use super::watch::Watch;
use super::{Start, StartError, held, tls, token};
use crate::doctor::certificate;
use crate::kms;
use crate::reload::{Ready, Renewals};
use crate::web::answer::{Failure, note_changes};
use crate::web::{self, Caller, Door, Limits, Tls, routed, socket};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use carnet_net::Token;
use carnet_ops::config::{AdminSection, Config, Spanned, TlsSection};
use carnet_tls::Peer;
use drain::Draining;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// What those at one door may take.
const LIMITS: Limits = Limits { connections: 256, patience: Duration::from_secs(30), header: 16 << 10 };

/// For who asks for something else.
const NOTHING: &str = "there is nothing here: look at /, /metrics, /health, /api/v1/openapi.json\n";

/// What answers need.
struct Desk {
    answering: Arc<Answering>,
    watch: Arc<Watch>,
    draining: Draining,
    health: health::Health,
    words: RwLock<Words>,
    /// What the process is.
    process: process::Facts,
    /// The other processes.
    network: network::Network,
    /// Certificates that are shown: where in the file, and in which.
    certificates: RwLock<Vec<(String, PathBuf)>>,
    /// The key management service of this one.
    keys: Option<Arc<kms::Service>>,
}

/// What who asks may do.
#[derive(Clone, Copy)]
struct Rights {
    /// Change something.
    change: bool,
}

/// What opens.
struct Words {
    token: Option<Zeroizing<String>>,
    /// The same, for reading.
    read_token: Option<Zeroizing<String>>,
}

impl Words {
    /// As the files have them.
    fn of(admin: &AdminSection) -> Result<Self, String> {
        let read = |path: &Option<Spanned<PathBuf>>| {
            path.as_ref().map(|path| token::read(path.as_ref())).transpose()
        };
        Ok(Self { token: read(&admin.token_file)?, read_token: read(&admin.read_token_file)? })
    }
}

/// Opens the doors that the section names, until `token` says that the process ends; what was asked before is answered. `keys` is the key
/// management service of the process.
pub(super) fn start(
    admin: &AdminSection,
    answering: Arc<Answering>,
    watch: Arc<Watch>,
    (config, keys): (&Config, Option<Arc<kms::Service>>),
    renewals: &mut Renewals,
    token: Token,
) -> Start<Vec<Open>> {
    let fail = |reason: String| StartError::new("administration", "[admin]", reason);
    let words = RwLock::new(Words::of(admin).map_err(fail)?);
    let process = process::Facts::of(config);
    let draining = Draining::default();
    let network = network::Network::new(&admin.nodes).map_err(fail)?;
    let health = health::Health::default();
    let certificates = RwLock::new(certificate::dated(config));
    let desk = Arc::new(Desk {
        answering,
        watch,
        draining,
        health,
        words,
        process,
        network,
        certificates,
        keys: keys.clone(),
    });
    let mut open = vec![Open { task: desk.network.start(&desk.watch), _place: None }];
    for file in ["token-file", "read-token-file"] {
        let held = desk.clone();
        renewals.add(&["admin", file], move |config| {
            let admin = config.admin.as_ref().ok_or("nobody can ask any more")?;
            let (new, held) = (Words::of(admin.as_ref())?, held.clone());
            Ok(Ready::Now(Box::new(move || {
                *held.words.write().unwrap_or_else(PoisonError::into_inner) = new;
            })))
        });
    }
    let held = desk.clone();
    renewals.add(&["admin", "nodes"], move |config| {
        let nodes = config.admin.as_ref().map_or(&[][..], |admin| &admin.as_ref().nodes);
        let (peers, held) = (held.network.prepare(nodes)?, held.clone());
        Ok(Ready::Now(Box::new(move || held.network.renew(peers))))
    });
    let held = desk.clone();
    renewals.add(&[], move |config| {
        let (held, roles) = (held.clone(), process::Facts::roles(config));
        let dated = certificate::dated(config);
        Ok(Ready::Now(Box::new(move || {
            held.process.renew(roles);
            *held.certificates.write().unwrap_or_else(PoisonError::into_inner) = dated;
        })))
    });
    let (routes, description) = api::routes().merge(kms::admin::routes(keys)).split_for_parts();
    let description = description.to_pretty_json().map_err(|e| fail(e.to_string()))?;
    let routes = routes
        .route("/metrics", get(metrics))
        .route("/health", get(health::answer))
        .route(
            "/api/v1/openapi.json",
            get(move || async move { ([(CONTENT_TYPE, "application/json")], description.clone()) }),
        )
        .fallback(nothing)
        .method_not_allowed_fallback(|| async {
            Failure(StatusCode::METHOD_NOT_ALLOWED, "that cannot be done with it".into())
        })
        .layer(from_fn(note_changes))
        .layer(from_fn_with_state(desk.clone(), deeds::tell))
        .layer(from_fn_with_state(desk.clone(), may_ask))
        .with_state(desk)
        // The page itself is no secret: it is what asks for the token.
        .merge(console::routes());
    if let Some(path) = &admin.socket {
        let fail = |e| StartError::new("administration socket", &path.display().to_string(), e);
        let (listener, place) = socket::bind(path, *admin.socket_mode.as_ref()).map_err(fail)?;
        let serve = web::serve(Door::Unix(listener), LIMITS, Some(token.clone()), routed(routes.clone()));
        open.push(Open { task: tokio::spawn(serve), _place: Some(place) });
    }
    if let Some(listen) = admin.listen.as_ref().map(|listen| *listen.as_ref()) {
        let fail = |reason: String| StartError::new("administration over HTTP", &listen.to_string(), reason);
        let tls = admin.tls.as_ref().map(|tls| shown(tls.as_ref())).transpose().map_err(fail)?;
        if let Some(tls) = &tls {
            tls::renews(renewals, &["admin", "tls"], &tls.context, |config| {
                Some(config.admin.as_ref()?.as_ref().tls.as_ref()?.as_ref())
            });
        }
        let listener = carnet_net::inherited::tcp(listen)
            .map_or_else(|| std::net::TcpListener::bind(listen), Ok)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .and_then(TcpListener::from_std)
            .map_err(|e| fail(e.to_string()))?;
        tracing::info!(%listen, tls = tls.is_some(), "administration over HTTP");
        let serve = web::serve(Door::Tcp(listener, tls), LIMITS, Some(token), routed(routes));
        open.push(Open { task: tokio::spawn(serve), _place: None });
    }
    Ok(open)
}

/// What callers are shown, and what they have to show.
fn shown(section: &TlsSection) -> Result<Tls, String> {
    let callers = if section.ca.is_some() { Peer::Vouched } else { Peer::Anyone };
    Ok(Tls { context: tls::context_of(section)?.counted_at("admin"), callers })
}

async fn nothing(request: Request) -> Response {
    match request.uri().path().starts_with("/api/") {
        true => Failure::missing("there is nothing here: look at /api/v1/openapi.json").into_response(),
        false => (StatusCode::NOT_FOUND, NOTHING).into_response(),
    }
}

/// Turns away who may not ask.
async fn may_ask(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    match access(&desk, &request, matches!(*request.method(), Method::GET | Method::HEAD)) {
        Access::Given => {
            let change = matches!(access(&desk, &request, false), Access::Given);
            request.extensions_mut().insert(Rights { change });
            next.run(request).await
        }
        Access::OfAnotherPage => (StatusCode::FORBIDDEN, "not for pages of other origins\n").into_response(),
        Access::ForReading => {
            Failure(StatusCode::FORBIDDEN, "this token is for reading".into()).into_response()
        }
        Access::Unknown => {
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], "a token is needed\n").into_response()
        }
    }
}

/// Whether somebody gets what he asks for.
enum Access {
    Given,
    OfAnotherPage,
    /// He wants to change something.
    ForReading,
    Unknown,
}

fn access(desk: &Desk, request: &Request, reads: bool) -> Access {
    // The file system has let him in.
    if let Some(Caller::Process { .. }) = request.extensions().get() {
        return Access::Given;
    }
    let headers = request.headers();
    let knows = |token: &Option<Zeroizing<String>>| {
        token.as_ref().is_some_and(|token| knows(headers, token.as_bytes()))
    };
    let words = desk.words.read().unwrap_or_else(PoisonError::into_inner);
    let wanted = words.token.is_some() || words.read_token.is_some();
    match (wanted, knows(&words.token), knows(&words.read_token)) {
        (false, ..) if is_of_another_page(headers) => Access::OfAnotherPage,
        (false, ..) | (_, true, _) => Access::Given,
        (_, _, true) if reads => Access::Given,
        (_, _, true) => Access::ForReading,
        _ => Access::Unknown,
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
    let mut gauges = held::gauges(&list, &rooms);
    gauges.extend(desk.watch.tap().and_then(|tap| tap.level()).into_iter().flat_map(held::ring));
    desk.watch.gauges(&mut gauges);
    let dated = desk.certificates.read().unwrap_or_else(PoisonError::into_inner).clone();
    // Files are read on a thread that no role waits for.
    let ends = tokio::task::spawn_blocking(move || held::certificates(dated)).await;
    gauges.extend(ends.unwrap_or_default());
    let text = desk.watch.metrics.render(&gauges);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
