//! Rooms of all conference servers, wherever they run: lists, one room, and what an administrator does in it. What is done elsewhere is
//! done with what this process shows there, in the name of who asks.

use super::act::{By, told};
use super::gathered::{Gathered, Quiet};
use super::peer::{Known, Peer};
use super::told::{Room, RoomLine, Rooms, Word};
use super::{Desk, failure};
use crate::node::segment;
use crate::roles::http::Rights;
use crate::roles::http::api::rooms as local;
use crate::roles::question::Ask;
use crate::web::answer::{Answer, Asked, Failure, Given, Named, OfBody, OfPeer, Problem, limit};
use axum::extract::State;
use axum::{Extension, Json};
use carnet_ops::config::THIS_PROCESS;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Octets of what is looked for.
const LONGEST: usize = 256;
/// Characters of where a page begins: names of processes and rooms are bounded, and a request's header is.
const CURSOR: usize = 1_024;

/// The rooms of a process.
#[derive(Default)]
pub(super) struct Held(Vec<(Word, RoomLine)>);

impl Held {
    fn of(rooms: Rooms) -> Self {
        let servers = rooms.conferences.0.into_iter();
        let rooms = servers.flat_map(|server| {
            let name = server.conference;
            server.rooms.0.into_iter().map(move |room| (name.clone(), room))
        });
        Self(rooms.collect())
    }
}

/// Whether a process has rooms.
fn has_rooms(known: &Known) -> bool {
    known.process.roles.0.iter().any(|role| role.role.0 == "conference")
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::roles::http) struct RoomsFrom {
    /// Where to go on: `next` of the page before.
    #[param(max_length = 1024)]
    after: Option<String>,
    /// Rooms of the page, 1 to 1000; usually 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only rooms with that in the URI, the subject, or the names of the conference server and its process, whatever the case.
    #[param(max_length = 256)]
    q: Option<String>,
}

/// A room of some process.
#[derive(Serialize, ToSchema)]
struct PlacedRoom {
    /// The process.
    node: String,
    /// The conference server.
    conference: String,
    /// `room` (its URI), `subject`, `fixed`, `sealed`, `members`, `unsealed`, `gateway`, `context`: as `/api/v1/rooms` there has it.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    room: RoomLine,
}

/// A process with a conference server.
#[derive(Serialize, ToSchema)]
struct ServerShown {
    /// The process.
    node: String,
    /// Whether something can be changed there by who asks, with what this process shows there.
    may_change: bool,
}

/// Rooms of all processes.
#[derive(Serialize, ToSchema)]
pub(in crate::roles::http) struct RoomPage {
    /// Those of this process first, then of the others as the file has them; by URI.
    rooms: Vec<PlacedRoom>,
    /// How many fit altogether, and how many members are in them.
    total: usize,
    members: u64,
    /// Processes whose rooms are in it.
    servers: Vec<ServerShown>,
    /// Processes that did not say, or not now.
    quiet: Vec<Quiet>,
    /// Goes into `after` for the next page; null where there is none.
    next: Option<String>,
}

/// The rooms of all processes. Of one that is slow there is what it said before, of one that is not there nothing but that.
#[utoipa::path(get, path = "/api/v1/network/rooms", tag = "network", params(RoomsFrom), responses(
    (status = 200, description = "A page", body = RoomPage),
    (status = 400, description = "Parameters that cannot be", body = Problem),
))]
pub(in crate::roles::http) async fn rooms(
    State(desk): State<Arc<Desk>>,
    Extension(rights): Extension<Rights>,
    Asked(RoomsFrom { after, limit: wanted, q }): Asked<RoomsFrom>,
) -> Answer<Json<RoomPage>> {
    let limit = limit(wanted)?;
    if q.as_ref().is_some_and(|q| q.len() > LONGEST)
        || after.as_ref().is_some_and(|at| at.chars().count() > CURSOR)
    {
        return Err(Failure::bad(format!("q has at most {LONGEST} octets, after {CURSOR} characters")));
    }
    let ask = |peer: Arc<Peer>| -> futures_util::future::BoxFuture<'static, _> {
        Box::pin(async move { peer.get("/api/v1/rooms").await.map(Held::of) })
    };
    let (own, Gathered { mut said, quiet }) = tokio::join!(
        desk.answering.answer(Ask::Rooms),
        desk.network.gather(has_rooms, |peer| &peer.rooms, ask)
    );
    // Without a conference server here there is no answer, and none is needed.
    if let Some(own) = own.ok().and_then(|own| serde_json::from_value(own).ok()) {
        said.insert(0, (THIS_PROCESS.to_owned(), Arc::new(Held::of(own))));
    }
    let may = |node: &str| {
        let there = || desk.network.peer(node).ok()?.known().map(|known| known.process.may_change);
        rights.change && (node == THIS_PROCESS || there().unwrap_or_default())
    };
    let server = |node: &String| ServerShown { node: node.clone(), may_change: may(node) };
    let servers = said.iter().map(|(node, _)| server(node)).collect();
    let q = q.map(|q| q.to_lowercase()).filter(|q| !q.is_empty());
    let has = |text: &str| q.as_ref().is_none_or(|q| text.to_lowercase().contains(q));
    // This process first, then the others as the file has them.
    let peers = desk.network.peers();
    let names: Vec<&str> =
        std::iter::once(THIS_PROCESS).chain(peers.iter().map(|peer| peer.name())).collect();
    let rank = |node: &str| names.iter().position(|name| *name == node).unwrap_or(usize::MAX);
    let mut all: Vec<(usize, &str, &Word, &RoomLine)> = Vec::new();
    for (node, held) in &said {
        for (server, room) in &held.0 {
            let subject = room.subject.as_ref().map_or("", |subject| &subject.0);
            if [node.as_str(), &server.0, &room.room.0, subject].into_iter().any(has) {
                all.push((rank(node), node, server, room));
            }
        }
    }
    all.sort_by(|a, b| (a.0, &a.3.room).cmp(&(b.0, &b.3.room)));
    let total = all.len();
    let members = all.iter().map(|(.., room)| room.members).fold(0, u64::saturating_add);
    // Behind a process that is named no more there is nothing.
    let behind = after.as_deref().map(|after| {
        let (node, room) = after.split_once('/').unwrap_or((after, ""));
        (names.iter().position(|name| segment(name) == node).unwrap_or(usize::MAX), room.to_owned())
    });
    let is_later = |rank: usize, room: &str| {
        behind.as_ref().is_none_or(|(node, last)| (rank, room) > (*node, last.as_str()))
    };
    let mut later = all.into_iter().filter(|(rank, .., room)| is_later(*rank, &room.room.0));
    let page: Vec<_> = later.by_ref().take(limit).collect();
    let last = page.last().filter(|_| later.next().is_some());
    let next = last.map(|(_, node, _, room)| format!("{}/{}", segment(node), room.room.0));
    let rooms = page.into_iter().map(|(_, node, server, room)| PlacedRoom {
        node: node.to_owned(),
        conference: server.0.clone(),
        room: room.clone(),
    });
    Ok(Json(RoomPage { rooms: rooms.collect(), total, members, servers, quiet, next }))
}

fn path(room: &str) -> String {
    format!("/api/v1/rooms/{}", segment(room))
}

/// Who is in a room of some process, and who has its floors.
#[utoipa::path(get, path = "/api/v1/network/{node}/rooms/{room}", tag = "network", params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("room" = String, Path, description = "The conference's URI")
), responses((status = 200, description = "The room, as `/api/v1/rooms/{room}` there has it", body = Value), OfPeer))]
pub(in crate::roles::http) async fn room(
    State(desk): State<Arc<Desk>>,
    Named((node, room)): Named<(String, String)>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::room(State(desk), Named(room)).await;
    }
    desk.network.look();
    let found: Result<Room, _> = desk.network.peer(&node)?.get(&path(&room)).await;
    let found = found.map_err(|error| failure(&node, error))?;
    Ok(Json(serde_json::to_value(found).unwrap_or_default()))
}

/// Ends a room of some process towards all its members.
#[utoipa::path(delete, path = "/api/v1/network/{node}/rooms/{room}", tag = "network", params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("room" = String, Path, description = "The conference's URI")
), responses((status = 200, description = "It ends", body = Value), OfPeer))]
pub(in crate::roles::http) async fn close(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named((node, room)): Named<(String, String)>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::close(State(desk), Named(room)).await;
    }
    told(&desk, &node, (Method::DELETE, &path(&room)), None, by).await?;
    Ok(Json(json!({ "room": room, "closed": true })))
}

/// Has somebody called into a room of some process.
#[utoipa::path(post, path = "/api/v1/network/{node}/rooms/{room}/members", tag = "network", request_body = local::Member, params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("room" = String, Path, description = "The conference's URI")
), responses((status = 200, description = "It is being called", body = Value), OfPeer, OfBody))]
pub(in crate::roles::http) async fn invite(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named((node, room)): Named<(String, String)>,
    Given(member): Given<local::Member>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::invite(State(desk), Named(room), Given(member)).await;
    }
    let member = member.uri;
    let members = format!("{}/members", path(&room));
    told(&desk, &node, (Method::POST, &members), Some(json!({ "uri": member })), by).await?;
    Ok(Json(json!({ "room": room, "invited": member })))
}

/// Puts a member out of a room of some process.
#[utoipa::path(delete, path = "/api/v1/network/{node}/rooms/{room}/members/{member}", tag = "network", params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("room" = String, Path, description = "The conference's URI"), ("member" = String, Path, description = "The member's")
), responses((status = 200, description = "It is out", body = Value), OfPeer))]
pub(in crate::roles::http) async fn kick(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named((node, room, member)): Named<(String, String, String)>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::kick(State(desk), Named((room, member))).await;
    }
    let at = format!("{}/members/{}", path(&room), segment(&member));
    told(&desk, &node, (Method::DELETE, &at), None, by).await?;
    Ok(Json(json!({ "room": room, "kicked": member })))
}

/// Lets nothing of a member through to the others in a room of some process, or again what it says.
#[utoipa::path(patch, path = "/api/v1/network/{node}/rooms/{room}/members/{member}", tag = "network", request_body = local::Heard, params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("room" = String, Path, description = "The conference's URI"), ("member" = String, Path, description = "The member's")
), responses((status = 200, description = "The media server is told", body = Value), OfPeer, OfBody))]
pub(in crate::roles::http) async fn mute(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named((node, room, member)): Named<(String, String, String)>,
    Given(heard): Given<local::Heard>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::mute(State(desk), Named((room, member)), Given(heard)).await;
    }
    let muted = heard.muted;
    let at = format!("{}/members/{}", path(&room), segment(&member));
    told(&desk, &node, (Method::PATCH, &at), Some(json!({ "muted": muted })), by).await?;
    Ok(Json(json!({ "room": room, "member": member, "muted": muted })))
}

/// Decides about a floor of a room of some process, in the place of its chair.
#[utoipa::path(post, path = "/api/v1/network/{node}/rooms/{room}/floors/{floor}", tag = "network", request_body = local::OfFloor, params(
    ("node" = String, Path, description = "The process, as `[[admin.nodes]]` calls it, or `here`"),
    ("room" = String, Path, description = "The conference's URI"), ("floor" = u16, Path, maximum = 65535, description = "The floor's number")
), responses((status = 200, description = "The media server is told", body = Value), OfPeer, OfBody))]
pub(in crate::roles::http) async fn decide(
    State(desk): State<Arc<Desk>>,
    by: By,
    Named((node, room, floor)): Named<(String, String, u16)>,
    Given(decision): Given<local::OfFloor>,
) -> Answer<Json<Value>> {
    if node == THIS_PROCESS {
        return local::decide(State(desk), Named((room, floor)), Given(decision)).await;
    }
    let local::OfFloor { user, decision } = decision;
    let at = format!("{}/floors/{floor}", path(&room));
    let body = json!({ "user": user, "decision": decision });
    told(&desk, &node, (Method::POST, &at), Some(body), by).await?;
    Ok(Json(json!({ "room": room, "floor": floor, "user": user, "decision": decision })))
}
