//! Rooms of conference servers: who is in them, who has their floors, and what an administrator does about it.

use super::{Answer, Ask, Desk, Given, Named, OfBody, OfRole, Problem, ask};
use axum::Json;
use axum::extract::State;
use carnet_conference::Decision;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// The rooms of the conference servers here.
#[utoipa::path(get, path = "/api/v1/rooms", tag = "rooms", responses(
    (status = 200, description = "`conferences`, each with its `rooms`", body = Value),
    OfRole,
))]
pub(in crate::roles::http) async fn rooms(State(desk): State<Arc<Desk>>) -> Answer<Json<Value>> {
    ask(&desk, Ask::Rooms).await
}

/// Who is in a room, and who has its floors.
#[utoipa::path(get, path = "/api/v1/rooms/{room}", tag = "rooms",
    params(("room" = String, Path, description = "The conference's URI")), responses(
    (status = 200, description = "The room", body = Value),
    OfRole,
))]
pub(in crate::roles::http) async fn room(
    State(desk): State<Arc<Desk>>,
    Named(room): Named<String>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Room { room }).await
}

/// Ends a room towards all its members.
#[utoipa::path(delete, path = "/api/v1/rooms/{room}", tag = "rooms",
    params(("room" = String, Path, description = "The conference's URI")), responses(
    (status = 200, description = "It ends", body = Value),
    (status = 409, description = "It cannot be ended", body = Problem),
    OfRole,
))]
pub(in crate::roles::http) async fn close(
    State(desk): State<Arc<Desk>>,
    Named(room): Named<String>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Close { room }).await
}

/// Whom.
#[derive(Deserialize, ToSchema)]
pub(in crate::roles::http) struct Member {
    /// A SIP URI.
    pub(in crate::roles::http) uri: String,
}

/// Has somebody called into a room.
#[utoipa::path(post, path = "/api/v1/rooms/{room}/members", tag = "rooms", request_body = Member,
    params(("room" = String, Path, description = "The conference's URI")), responses(
    (status = 200, description = "It is being called", body = Value),
    (status = 409, description = "It cannot be called", body = Problem),
    OfRole,
    OfBody,
))]
pub(in crate::roles::http) async fn invite(
    State(desk): State<Arc<Desk>>,
    Named(room): Named<String>,
    Given(Member { uri }): Given<Member>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Invite { room, member: uri }).await
}

/// Puts a member out of a room.
#[utoipa::path(delete, path = "/api/v1/rooms/{room}/members/{member}", tag = "rooms", params(
    ("room" = String, Path, description = "The conference's URI"), ("member" = String, Path, description = "The member's")
), responses(
    (status = 200, description = "It is out", body = Value),
    (status = 409, description = "It cannot be put out", body = Problem),
    OfRole,
))]
pub(in crate::roles::http) async fn kick(
    State(desk): State<Arc<Desk>>,
    Named((room, member)): Named<(String, String)>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Kick { room, member }).await
}

/// What is decided.
#[derive(Deserialize, Serialize, ToSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
pub(in crate::roles::http) enum ChairAction {
    /// Who waits gets the floor now.
    Grant,
    /// Who waits does not get it.
    Deny,
    /// Who has it loses it.
    Revoke,
}

/// A decision about a floor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::roles::http) struct OfFloor {
    /// The member's number in the room, as `holders` and `waiting` have it.
    #[schema(maximum = 65535)]
    #[serde(deserialize_with = "crate::web::answer::whole")]
    pub(in crate::roles::http) user: u16,
    pub(in crate::roles::http) decision: ChairAction,
}

/// Decides about a floor in the place of its chair: who waits gets it (where no more may have it, who has had it longest loses it) or is
/// taken off the queue; who has it loses it. The members are told by their floor control server (BFCP).
#[utoipa::path(post, path = "/api/v1/rooms/{room}/floors/{floor}", tag = "rooms", request_body = OfFloor, params(
    ("room" = String, Path, description = "The conference's URI"), ("floor" = u16, Path, maximum = 65535, description = "The floor's number")
), responses(
    (status = 200, description = "The media server is told", body = Value),
    (status = 409, description = "The member does not wait for it, or does not have it; or there is no media server to tell", body = Problem),
    OfRole,
    OfBody,
))]
pub(in crate::roles::http) async fn decide(
    State(desk): State<Arc<Desk>>,
    Named((room, floor)): Named<(String, u16)>,
    Given(OfFloor { user, decision }): Given<OfFloor>,
) -> Answer<Json<Value>> {
    let decision = match decision {
        ChairAction::Grant => Decision::Grant,
        ChairAction::Deny => Decision::Deny,
        ChairAction::Revoke => Decision::Revoke,
    };
    ask(&desk, Ask::Decide { room, floor, user, decision }).await
}

/// Whether a member is heard.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::roles::http) struct Heard {
    /// Nothing it sends comes through.
    pub(in crate::roles::http) muted: bool,
}

/// Lets nothing of a member through to the others in a room, or again what it says; it hears them either way. It holds while the room
/// lasts; with `store`, over a restart of the server too.
#[utoipa::path(patch, path = "/api/v1/rooms/{room}/members/{member}", tag = "rooms", request_body = Heard, params(
    ("room" = String, Path, description = "The conference's URI"), ("member" = String, Path, description = "The member's")
), responses(
    (status = 200, description = "The media server is told", body = Value),
    OfRole,
    OfBody,
))]
pub(in crate::roles::http) async fn mute(
    State(desk): State<Arc<Desk>>,
    Named((room, member)): Named<(String, String)>,
    Given(Heard { muted }): Given<Heard>,
) -> Answer<Json<Value>> {
    ask(&desk, Ask::Mute { room, member, muted }).await
}
