//! Calls over all processes: which there are, the path of one of them from process to process, and its ladder, put together as
//! `carnet trace` does of several nodes.

use super::super::{Desk, ladder as written};
use super::peer::{Known, Peer};
use super::told::{Context, Contexts, Session, Sessions, Word};
use super::{PATIENCE, Peers, links};
use crate::node::{NodeError, page, segment, together};
use crate::roles::question::Ask;
use crate::roles::tap;
use crate::web::answer::{Answer, Asked, Failure, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use carnet_ops::config::THIS_PROCESS;
use carnet_ops::sessions::{Order, Page};
use carnet_trace::{Ladder, Limits, Telling, Tracer};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use utoipa::{IntoParams, ToSchema};

/// Sessions of one process with one Call-ID.
const MOST_HOPS: usize = 12;
/// Sessions of one process in a list.
const MOST_LISTED: usize = 200;
/// Octets of what is looked for: what a process looks for.
const LONGEST: usize = 256;
/// Messages and events of one page, and pages of one process, of a ladder.
const PAGE: usize = 1_000;
const MOST_PAGES: usize = 20;
/// How long all pages of a process may take.
const ALL_PAGES: Duration = Duration::from_secs(10);
/// What belongs to a call and is not its own: before it, and after.
const BEFORE: Duration = Duration::from_secs(10);
const AFTER: Duration = Duration::from_secs(15);
/// How long one waits for those who asked for a ladder before.
const TURN: Duration = Duration::from_secs(20);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::roles::http) struct OfCall {
    /// Its Call-ID.
    #[param(max_length = 256)]
    call_id: String,
}

/// A process that a call passes.
#[derive(Serialize, ToSchema)]
struct Hop {
    /// The process.
    node: String,
    /// The session, as lists of the process have it.
    session: Value,
    /// What is reserved for it.
    media: Vec<Reserved>,
}

/// A context of a gateway.
#[derive(Serialize, ToSchema)]
struct Reserved {
    /// The gateway.
    gateway: String,
    /// Number of the context.
    context: u32,
    /// The process that the gateway runs in; null if none of those that are known has it.
    node: Option<String>,
    /// What it holds: `terminations`, as an audit tells them; null when it is over, or nobody can be asked.
    held: Option<Value>,
}

/// The path of a call.
#[derive(Serialize, ToSchema)]
pub(in crate::roles::http) struct Path {
    /// Its Call-ID.
    call_id: String,
    /// In the order in which they heard of it, by their clocks.
    hops: Vec<Hop>,
    /// Processes that did not say, and why.
    silent: Vec<Silent>,
}

/// A process that did not say.
#[derive(Serialize, ToSchema)]
pub(in crate::roles::http) struct Silent {
    /// Which.
    node: String,
    /// Why.
    why: String,
}

/// Sessions of one call in all processes, in the order of their beginning: borders keep the Call-ID. With each what is reserved for it at
/// gateways, in whatever process those are, as they hold it now.
#[utoipa::path(get, path = "/api/v1/network/call", tag = "network", params(OfCall), responses(
    (status = 200, description = "The path; without hops if no process knows it", body = Path),
    (status = 400, description = "Parameters that cannot be", body = Problem),
))]
pub(in crate::roles::http) async fn call(
    State(desk): State<Arc<Desk>>,
    Asked(OfCall { call_id }): Asked<OfCall>,
) -> Answer<Json<Path>> {
    bounded(&call_id)?;
    let (found, silent) = hops(&desk, &call_id).await;
    let peers = desk.network.peers();
    let nodes = known(&desk, &peers).await;
    let mut asked = Vec::new();
    for (node, session) in &found {
        let over = session.ended_ms.is_some();
        asked.extend(session.reserved.0.iter().take(MOST_HOPS).map(|(Word(gateway), context)| {
            let place = links::holder(&nodes, node, gateway).map(str::to_owned);
            let desk = &desk;
            async move {
                let held = match &place {
                    Some(place) if !over => held(desk, place, gateway, *context).await,
                    _ => None,
                };
                Reserved { gateway: gateway.clone(), context: *context, node: place, held }
            }
        }));
    }
    let mut media = join_all(asked).await.into_iter();
    let hops = found.iter().map(|(node, session)| Hop {
        node: node.clone(),
        session: serde_json::to_value(session).unwrap_or_default(),
        media: media.by_ref().take(session.reserved.0.len().min(MOST_HOPS)).collect(),
    });
    Ok(Json(Path { hops: hops.collect(), call_id, silent }))
}

fn bounded(word: &str) -> Answer<()> {
    match word.len() {
        1..=LONGEST => Ok(()),
        _ => Err(Failure::bad(format!("1 to {LONGEST} octets are looked for"))),
    }
}

/// Every process that is known, as it was heard last.
async fn known<'a>(desk: &Desk, peers: &'a Peers) -> Vec<(&'a str, Option<Arc<Known>>)> {
    let here = super::own(desk, false).await.ok().map(Arc::new);
    let others = peers.iter().map(|peer| (peer.name(), peer.known()));
    std::iter::once((THIS_PROCESS, here)).chain(others).collect()
}

/// What a gateway holds under one number.
async fn held(desk: &Desk, place: &str, gateway: &str, context: u32) -> Option<Value> {
    let page: Contexts = if place == THIS_PROCESS {
        let ask = Ask::Audit { gateway: gateway.to_owned(), border: None, from: context };
        serde_json::from_value(desk.answering.answer(ask).await.ok()?).ok()?
    } else {
        let peer = desk.network.peer(place).ok()?;
        peer.get(&format!("/api/v1/gateways/{}/contexts?from={context}", segment(gateway))).await.ok()?
    };
    let found: Option<Context> = page.contexts.0.into_iter().find(|one| one.context == context);
    serde_json::to_value(found?).ok()
}

/// The sessions with that Call-ID.
async fn hops(desk: &Desk, call_id: &str) -> (Vec<(String, Session)>, Vec<Silent>) {
    let (mut found, silent) = everywhere(desk, Standing::Both, Some(call_id), MOST_HOPS).await;
    found.retain(|(_, session)| session.call_id.0 == call_id);
    found.sort_by(|(_, a), (_, b)| (&a.began, a.number).cmp(&(&b.began, b.number)));
    // One that ended meanwhile was in both lists.
    let mut known = BTreeSet::new();
    found.retain(|(node, session)| known.insert((node.clone(), session.number)));
    found.truncate(MOST_HOPS * 2);
    (found, silent)
}

/// Which sessions.
#[derive(Deserialize, ToSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Standing {
    /// In progress.
    #[default]
    Live,
    /// Over.
    Ended,
    /// Whichever.
    Both,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::roles::http) struct Wanted {
    /// `live` (usual), `ended` or `both`.
    #[serde(default)]
    #[param(inline)]
    state: Standing,
    /// Only sessions with that in the Call-ID, a URI of either end, the plan, the cause or the role's name, whatever the case.
    #[param(max_length = 256)]
    q: Option<String>,
}

/// A session of some process.
#[derive(Serialize, ToSchema)]
struct Placed {
    /// The process.
    node: String,
    /// As its lists have it.
    session: Value,
}

/// Sessions of all processes.
#[derive(Serialize, ToSchema)]
pub(in crate::roles::http) struct Everywhere {
    /// The newest first; at most 200 of each process.
    sessions: Vec<Placed>,
    /// Processes that did not say, and why.
    silent: Vec<Silent>,
}

/// Calls of all processes: the newest of each.
#[utoipa::path(get, path = "/api/v1/network/sessions", tag = "network", params(Wanted), responses(
    (status = 200, description = "The sessions", body = Everywhere),
    (status = 400, description = "Parameters that cannot be", body = Problem),
))]
pub(in crate::roles::http) async fn sessions(
    State(desk): State<Arc<Desk>>,
    Asked(Wanted { state, q }): Asked<Wanted>,
) -> Answer<Json<Everywhere>> {
    let q = q.filter(|q| !q.is_empty());
    q.as_deref().map_or(Ok(()), bounded)?;
    let (mut found, silent) = everywhere(&desk, state, q.as_deref(), MOST_LISTED).await;
    found.sort_by(|(_, a), (_, b)| (&b.began, b.number).cmp(&(&a.began, a.number)));
    let placed = |(node, session): (String, Session)| Placed {
        node,
        session: serde_json::to_value(session).unwrap_or_default(),
    };
    Ok(Json(Everywhere { sessions: found.into_iter().map(placed).collect(), silent }))
}

/// Asks all processes at once.
async fn everywhere(
    desk: &Desk,
    state: Standing,
    q: Option<&str>,
    most: usize,
) -> (Vec<(String, Session)>, Vec<Silent>) {
    desk.network.look();
    let states: &[&str] = match state {
        Standing::Live => &["live"],
        Standing::Ended => &["ended"],
        Standing::Both => &["live", "ended"],
    };
    let ask = |peer: Arc<Peer>| async move {
        let mut all = Vec::new();
        for state in states {
            let q = q.map(|q| format!("&q={}", segment(q))).unwrap_or_default();
            let path = format!("/api/v1/sessions?state={state}&order=newest&limit={most}{q}");
            let page: Sessions = peer.get(&path).await?;
            all.extend(page.sessions.0.into_iter().take(most));
        }
        Ok::<_, NodeError>(all)
    };
    // One that is known not to be there is not waited for.
    let peers = desk.network.peers();
    let there = peers.iter().map(|peer| {
        let (peer, gone) = (Arc::clone(peer), peer.seen().why.clone());
        async move {
            let name = peer.name().to_owned();
            let heard = match gone {
                Some(why) => Err(why),
                None => match tokio::time::timeout(PATIENCE * 2, ask(peer)).await {
                    Ok(heard) => heard.map_err(|e| e.to_string().chars().take(300).collect()),
                    Err(_) => Err("does not answer".to_owned()),
                },
            };
            (name, heard)
        }
    });
    let heard = join_all(there).await;
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for state in states {
        let here = own(desk, *state == "ended", q, most).await;
        found.extend(here.into_iter().map(|session| (THIS_PROCESS.to_owned(), session)));
    }
    for (node, heard) in heard {
        match heard {
            Ok(sessions) => found.extend(sessions.into_iter().map(|session| (node.clone(), session))),
            Err(why) => silent.push(Silent { node, why }),
        }
    }
    (found, silent)
}

/// Those of this process. So many are looked at while calls wait for it, and no more altogether than lists look at.
async fn own(desk: &Desk, ended: bool, q: Option<&str>, most: usize) -> Vec<Session> {
    const AT_ONCE: usize = 2_000;
    const TURNS: usize = 25;
    let q = q.map(str::to_lowercase);
    let (mut all, mut after) = (Vec::new(), None);
    for _ in 0..TURNS {
        let limit = most - all.len().min(most);
        let page = Page { after, order: Order::Newest, limit, look_at: AT_ONCE, q: q.as_deref() };
        let found =
            desk.watch.sessions(|sessions| if ended { sessions.ended(&page) } else { sessions.live(&page) });
        let found = found.unwrap_or_default();
        let read = found.sessions.into_iter().filter_map(|session| serde_json::from_value(session).ok());
        all.extend(read);
        after = found.next;
        if after.is_none() || all.len() >= most {
            break;
        }
        tokio::task::yield_now().await;
    }
    all
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::roles::http) struct LadderOf {
    /// The Call-ID.
    #[param(max_length = 256)]
    call_id: String,
    /// `json` (usual), `text`, `svg` or `html`.
    #[serde(default)]
    #[param(inline)]
    format: written::Form,
    /// Characters in a line of text, 40 to 1000; usually 120.
    #[param(minimum = 40, maximum = 1000)]
    width: Option<usize>,
    /// The text of each message under its arrow, in text.
    #[serde(default)]
    messages: bool,
}

/// The ladder of one call as all processes saw it: what one sent and another got is one arrow. It takes what they keep of its time; of one
/// that does not answer a remark says so.
#[utoipa::path(get, path = "/api/v1/network/ladder", tag = "network", params(LadderOf), responses(
    (status = 200, description = "The ladder", content(
        (Value = "application/json"), (String = "text/plain"), (String = "image/svg+xml"), (String = "text/html"))),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    (status = 404, description = "No process knows that call, or nothing of it is kept", body = Problem),
    (status = 503, description = "Too many ladders are asked for", body = Problem),
))]
pub(in crate::roles::http) async fn ladder(
    State(desk): State<Arc<Desk>>,
    Asked(LadderOf { call_id, format, width, messages }): Asked<LadderOf>,
) -> Answer<Response> {
    bounded(&call_id)?;
    let (hops, silent) = hops(&desk, &call_id).await;
    let span = span(&hops).ok_or_else(|| Failure::missing("no process knows that call"))?;
    let busy = || Failure(StatusCode::SERVICE_UNAVAILABLE, "too many ladders are asked for at once".into());
    let turn = tokio::time::timeout(TURN, desk.network.making.clone().acquire_owned()).await;
    let _turn = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
    let mut remarks: Vec<String> =
        silent.iter().map(|silent| format!("{} is not in it: {}", silent.node, silent.why)).collect();
    let quiet: Vec<&str> = silent.iter().map(|silent| silent.node.as_str()).collect();
    let peers = desk.network.peers();
    let there = peers.iter().filter(|peer| !quiet.contains(&peer.name()));
    let there = there.map(|peer| async move {
        let kept = tokio::time::timeout(ALL_PAGES, kept(peer, span)).await;
        (peer.name(), kept.unwrap_or(Err(NodeError::Silent)))
    });
    let mut all: Vec<Telling> = Vec::new();
    if let Some(tap) = desk.watch.tap() {
        let most = PAGE * MOST_PAGES;
        let own = tap.page(0, most, usize::MAX, &(span.0..=span.1));
        if own.len() == most {
            remarks.push(format!(
                "of {THIS_PROCESS} only the first {most} messages and events of that time are in it"
            ));
        }
        all.extend(own.into_iter().map(Arc::unwrap_or_clone));
    }
    for (name, kept) in join_all(there).await {
        match kept {
            Ok((tellings, whole)) => {
                all.extend(tellings);
                if !whole {
                    remarks
                        .push(format!("of {name} only the first messages and events of that time are in it"));
                }
            }
            // It keeps nothing, which is its own business.
            Err(NodeError::Refused { status: 404, .. }) => {}
            Err(error) => remarks.push(format!("{name} is not in it: {error}")),
        }
    }
    let wanted = call_id.clone();
    let made = tokio::task::spawn_blocking(move || {
        together(&mut all);
        let mut tracer = Tracer::new(Limits::default(), false);
        all.iter().for_each(|telling| tracer.listen(telling));
        let mut ladder: Ladder = tracer.finish();
        ladder.sessions.retain(|session| tap::is_of(session, &wanted));
        ladder
    });
    let mut ladder = made.await.map_err(|e| Failure(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    if ladder.sessions.is_empty() {
        return Err(Failure::missing("no process keeps anything of that call any more"));
    }
    ladder.remarks.extend(remarks);
    written::written(&ladder, format, width, messages)
}

/// From the first moment to the last, with what belongs to it.
fn span(hops: &[(String, Session)]) -> Option<(Duration, Duration)> {
    let began = |session: &Session| {
        let began: jiff::Timestamp = session.began.0.parse().ok()?;
        SystemTime::from(began).duration_since(SystemTime::UNIX_EPOCH).ok()
    };
    let from = hops.iter().filter_map(|(_, session)| began(session)).min()?;
    let end =
        |session: &Session| Some(began(session)? + Duration::from_millis(session.ended_ms?.min(1 << 40)));
    let ends: Option<Vec<_>> = hops.iter().map(|(_, session)| end(session)).collect();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let to = ends.and_then(|ends| ends.into_iter().max()).unwrap_or(now);
    Some((from.saturating_sub(BEFORE), to.saturating_add(AFTER)))
}

/// What a process keeps of that time, and whether that was all.
async fn kept(peer: &Peer, span: (Duration, Duration)) -> Result<(Vec<Telling>, bool), NodeError> {
    let (mut all, mut after) = (Vec::new(), 0);
    for _ in 0..MOST_PAGES {
        let page = page(&peer.node(), after, PAGE, Some(span)).await?;
        let ended = page.tellings.is_empty() || page.next >= page.newest || page.next <= after;
        // One that does not know of spans gives everything.
        all.extend(page.tellings.into_iter().filter(|telling| (span.0..=span.1).contains(&telling.at)));
        after = page.next;
        if ended {
            return Ok((all, true));
        }
    }
    Ok((all, false))
}
