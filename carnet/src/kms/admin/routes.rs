//! The key management service in an API: users, groups, rules, tickets, the audit trail. No key is ever told; a user's is
//! only taken in.

use super::super::service::Service;
use super::commands::{
    Command, NewUser, PolicyLine, Refused, describe, describe_group, execute, unknown_user,
};
use super::trail;
use crate::web::Caller;
use crate::web::answer::{Answer, Asked, Failure, Given, Named, OfBody, Problem, limit, number, problems};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::{Extension, Json};
use carnet_mikey::Identity;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use utoipa::openapi::RefOr;
use utoipa::{IntoParams, IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Octets of a body: a hundred thousand users fit.
const MOST_BODY: usize = 32 << 20;
/// Users that are looked at for one page, at most.
const MOST_LOOKED_AT: usize = 10_000;

/// The service of the process, if it has one.
type Kms = Option<Arc<Service>>;

/// How the service refuses, for the document.
struct OfService;

impl IntoResponses for OfService {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        problems(&[
            (400, "A name in the path or a parameter cannot be"),
            (404, "No key management service runs here, or there is no such thing in it"),
            (503, "The disk would not"),
        ])
    }
}

/// All routes, with what describes them.
pub fn routes<S: Clone + Send + Sync + 'static>(service: Kms) -> OpenApiRouter<S> {
    OpenApiRouter::new()
        .routes(routes!(users, add_users))
        .routes(routes!(user, change_user, remove_user))
        .routes(routes!(groups))
        .routes(routes!(put_group, remove_group))
        .routes(routes!(policy, put_policy))
        .routes(routes!(tickets))
        .routes(routes!(ticket, revoke_ticket))
        .routes(routes!(revoke_tickets))
        .routes(routes!(audit))
        .routes(routes!(rotate))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(from_fn(few_at_once))
        .with_state(service)
}

/// Changes one after another come to the same, and bodies are large: so few are read at once.
async fn few_at_once(request: Request, next: Next) -> Response {
    static FEW: Semaphore = Semaphore::const_new(4);
    let permit = match *request.method() {
        Method::GET | Method::HEAD => None,
        // It is never closed.
        _ => FEW.acquire().await.ok(),
    };
    let response = next.run(request).await;
    drop(permit);
    response
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Missing(_) => StatusCode::NOT_FOUND,
            Refused::Bad(_) | Refused::Conflict(_) => StatusCode::CONFLICT,
            Refused::Disk(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, refused.to_string())
    }
}

/// Has the service do it, on a thread that may block.
async fn with<T: Send + 'static>(
    kms: Kms,
    work: impl FnOnce(&Service) -> Result<T, Refused> + Send + 'static,
) -> Answer<Json<T>> {
    let service = kms.ok_or_else(|| Failure::missing("no key management service runs in the process"))?;
    let done = tokio::task::spawn_blocking(move || work(&service)).await;
    let failed = |_| Failure(StatusCode::SERVICE_UNAVAILABLE, "the command failed".into());
    done.map_err(failed)?.map(Json).map_err(Failure::from)
}

async fn carry_out(kms: Kms, command: Command) -> Answer<Json<Value>> {
    with(kms, move |service| execute(service, &command)).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UsersFrom {
    /// Where to go on: `next` of the page before.
    pub after: Option<String>,
    /// Users of the page, 1 to 1000; usually 100.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Only users with that in their name or an identity, whatever the case.
    pub q: Option<String>,
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub struct UserPage {
    /// Each with `name`, `identities`, `revoked` and `tickets_not_before`. No keys.
    users: Vec<Value>,
    /// How many there are altogether.
    pub total: usize,
    /// Goes into `after` for the next page; absent where there is none. With `q` a page may be short, or empty, and not the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Users, in the order of their names.
#[utoipa::path(get, path = "/api/v1/kms/users", tag = "kms", params(UsersFrom), responses(
    (status = 200, description = "A page", body = UserPage),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    OfService,
))]
pub async fn users(
    State(kms): State<Kms>,
    Asked(UsersFrom { after, limit: wanted, q }): Asked<UsersFrom>,
) -> Answer<Json<UserPage>> {
    let limit = limit(wanted)?;
    let wanted = q.map(|q| q.to_lowercase());
    with(kms, move |service| {
        let kms = service.kms();
        let directory = kms.directory();
        let (mut users, mut next, mut last) = (Vec::new(), None, None);
        for (looked_at, user) in directory.users_after(after.as_deref()).enumerate() {
            if users.len() == limit || looked_at == MOST_LOOKED_AT {
                next = last.map(str::to_owned);
                break;
            }
            last = Some(user.name.as_str());
            let has = |text: &str, q: &str| text.to_lowercase().contains(q);
            let fits =
                |q: &String| has(&user.name, q) || user.identities.iter().any(|i| has(&i.to_string(), q));
            if wanted.as_ref().is_none_or(fits) {
                users.push(describe(user));
            }
        }
        Ok(UserPage { users, total: directory.user_count(), next })
    })
    .await
}

/// Who is to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUsers {
    /// All or none of them.
    users: Vec<NewUser>,
}

/// Users that were added.
#[derive(Serialize, ToSchema)]
struct Added {
    /// As in the list.
    users: Value,
}

/// Adds users, all or none. Their keys are made by whoever adds them, and are not told again.
#[utoipa::path(post, path = "/api/v1/kms/users", tag = "kms", request_body = NewUsers, responses(
    (status = 201, description = "They are added", body = Added),
    (status = 409, description = "A name or an identity is taken; a name, identity or key cannot be", body = Problem),
    OfService,
    OfBody,
))]
async fn add_users(
    State(kms): State<Kms>,
    Given(NewUsers { users }): Given<NewUsers>,
) -> Answer<(StatusCode, Json<Added>)> {
    let Json(users) = carry_out(kms, Command::UserAdd { users }).await?;
    Ok((StatusCode::CREATED, Json(Added { users })))
}

/// One user.
#[utoipa::path(get, path = "/api/v1/kms/users/{name}", tag = "kms",
    params(("name" = String, Path, description = "The name of its key")), responses(
    (status = 200, description = "As in the list", body = Value),
    OfService,
))]
async fn user(State(kms): State<Kms>, Named(name): Named<String>) -> Answer<Json<Value>> {
    with(kms, move |service| {
        service.kms().directory().user(&name).map(describe).ok_or_else(|| unknown_user(&name))
    })
    .await
}

/// What becomes of a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Revoked: it gets no tickets and opens none, and its own open no more.
    pub revoked: bool,
}

/// Revokes a user, or takes that back.
#[utoipa::path(patch, path = "/api/v1/kms/users/{name}", tag = "kms", request_body = Change,
    params(("name" = String, Path, description = "The name of its key")), responses(
    (status = 200, description = "`name` and `revoked` as it is now", body = Value),
    OfService,
    OfBody,
))]
pub async fn change_user(
    State(kms): State<Kms>,
    Named(name): Named<String>,
    Given(Change { revoked }): Given<Change>,
) -> Answer<Json<Value>> {
    carry_out(kms, Command::UserRevoke { name, revoked }).await
}

/// Removes a user.
#[utoipa::path(delete, path = "/api/v1/kms/users/{name}", tag = "kms",
    params(("name" = String, Path, description = "The name of its key")), responses(
    (status = 200, description = "It is removed", body = Value),
    OfService,
))]
async fn remove_user(State(kms): State<Kms>, Named(name): Named<String>) -> Answer<Json<Value>> {
    carry_out(kms, Command::UserRemove { names: vec![name] }).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct GroupsFrom {
    /// Where to go on: `next` of the page before.
    after: Option<String>,
    /// Groups of the page, 1 to 1000; usually 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of groups.
#[derive(Serialize, ToSchema)]
struct GroupPage {
    /// Each with `identity` and `members`.
    groups: Vec<Value>,
    /// How many there are altogether.
    total: usize,
    /// Goes into `after` for the next page; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Groups: one name for several.
#[utoipa::path(get, path = "/api/v1/kms/groups", tag = "kms", params(GroupsFrom), responses(
    (status = 200, description = "A page", body = GroupPage),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    OfService,
))]
async fn groups(
    State(kms): State<Kms>,
    Asked(GroupsFrom { after, limit: wanted }): Asked<GroupsFrom>,
) -> Answer<Json<GroupPage>> {
    let limit = limit(wanted)?;
    let after = after.map(|text| {
        Identity::from_uri(&text).map_err(|_| Failure::missing(format!("there is no group `{text}`")))
    });
    let after = after.transpose()?;
    with(kms, move |service| {
        let kms = service.kms();
        let mut behind = kms.directory().groups_after(after.as_ref());
        let page: Vec<_> = behind.by_ref().take(limit).collect();
        let next =
            page.last().filter(|_| behind.next().is_some()).map(|last| last.identity.text().into_owned());
        let groups = page.into_iter().map(describe_group).collect();
        Ok(GroupPage { groups, total: kms.directory().group_count(), next })
    })
    .await
}

/// Who may answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Members {
    /// Identities, or patterns of them.
    members: Vec<String>,
}

/// Adds or replaces a group.
#[utoipa::path(put, path = "/api/v1/kms/groups/{identity}", tag = "kms", request_body = Members,
    params(("identity" = String, Path, description = "What is called")), responses(
    (status = 200, description = "The group", body = Value),
    (status = 409, description = "The identity is somebody's, or cannot be", body = Problem),
    OfService,
    OfBody,
))]
async fn put_group(
    State(kms): State<Kms>,
    Named(identity): Named<String>,
    Given(Members { members }): Given<Members>,
) -> Answer<Json<Value>> {
    carry_out(kms, Command::GroupPut { identity, members }).await
}

/// Removes a group.
#[utoipa::path(delete, path = "/api/v1/kms/groups/{identity}", tag = "kms",
    params(("identity" = String, Path, description = "What is called")), responses(
    (status = 200, description = "It is removed", body = Value),
    OfService,
))]
async fn remove_group(State(kms): State<Kms>, Named(identity): Named<String>) -> Answer<Json<Value>> {
    carry_out(kms, Command::GroupRemove { identity }).await
}

/// Rules: who may call whom. The first that fits decides.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Policy {
    /// In order.
    rules: Vec<PolicyLine>,
    /// Whether a call may be that none of them fits.
    otherwise: bool,
}

/// The rules who may call whom.
#[utoipa::path(get, path = "/api/v1/kms/policy", tag = "kms", responses(
    (status = 200, description = "`rules` in order, and `otherwise`", body = Value),
    OfService,
))]
async fn policy(State(kms): State<Kms>) -> Answer<Json<Value>> {
    carry_out(kms, Command::PolicyShow).await
}

/// Replaces the rules.
#[utoipa::path(put, path = "/api/v1/kms/policy", tag = "kms", request_body = Policy, responses(
    (status = 200, description = "The rules as they are now", body = Value),
    (status = 409, description = "A pattern cannot be, or there are too many", body = Problem),
    OfService,
    OfBody,
))]
async fn put_policy(
    State(kms): State<Kms>,
    Given(Policy { rules, otherwise }): Given<Policy>,
) -> Answer<Json<Value>> {
    carry_out(kms, Command::PolicyPut { rules, otherwise }).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TicketsFrom {
    /// Where to go on: `next` of the page before.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    pub before: Option<u64>,
    /// Tickets of the page, 1 to 1000; usually 100.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Only those issued to this user.
    pub user: Option<String>,
}

/// A page of tickets.
#[derive(Serialize, ToSchema)]
pub struct TicketPage {
    /// Each with its `number` in the trail, `ticket` (SHA-256), `issued`, `expires`, `expired`, `revoked`, `user`, `initiator`, `responders`.
    tickets: Vec<Value>,
    /// Goes into `before` for the next page; absent where there is none. With `user` a page may be short, or empty, and not the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// Tickets that were issued, the newest first: by whom, for whom, until when, and whether they still open.
#[utoipa::path(get, path = "/api/v1/kms/tickets", tag = "kms", params(TicketsFrom), responses(
    (status = 200, description = "A page", body = TicketPage),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    OfService,
))]
pub async fn tickets(
    State(kms): State<Kms>,
    Asked(TicketsFrom { before, limit: wanted, user }): Asked<TicketsFrom>,
) -> Answer<Json<TicketPage>> {
    let (limit, before) = (limit(wanted)?, number("before", before)?);
    with(kms, move |service| {
        let (tickets, next) = trail::tickets(service, before, limit, user.as_deref())?;
        Ok(TicketPage { tickets, next })
    })
    .await
}

/// One ticket.
#[utoipa::path(get, path = "/api/v1/kms/tickets/{ticket}", tag = "kms",
    params(("ticket" = String, Path, description = "At least the first 16 letters of its SHA-256")), responses(
    (status = 200, description = "As in the list", body = Value),
    (status = 409, description = "That cannot be the name of a ticket, or is that of several", body = Problem),
    OfService,
    (status = 404, description = "There is no such ticket in the newest million records", body = Problem),
))]
async fn ticket(State(kms): State<Kms>, Named(name): Named<String>) -> Answer<Json<Value>> {
    with(kms, move |service| trail::one(service, &name)).await
}

/// Revokes one ticket: it opens no more, for nobody. A call that is up goes on.
#[utoipa::path(delete, path = "/api/v1/kms/tickets/{ticket}", tag = "kms",
    params(("ticket" = String, Path, description = "At least the first 16 letters of its SHA-256")), responses(
    (status = 200, description = "As in the list, and `remembered_until`: when the revocation is forgotten, with the ticket expired", body = Value),
    (status = 409, description = "It has expired; that cannot be the name of a ticket, or is that of several; or there are as many revoked ones as there may be", body = Problem),
    OfService,
    (status = 404, description = "There is no such ticket in the newest million records", body = Problem),
))]
pub async fn revoke_ticket(
    State(kms): State<Kms>,
    Extension(by): Extension<Caller>,
    Named(ticket): Named<String>,
) -> Answer<Json<Value>> {
    carry_out(kms, Command::RevokeTicket { ticket, by }).await
}

/// Whose tickets.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Whose {
    /// Those issued to this user; everybody's if absent.
    pub user: Option<String>,
}

/// Makes tickets issued so far useless: they open no more.
#[utoipa::path(post, path = "/api/v1/kms/tickets/revoke", tag = "kms", request_body = Whose, responses(
    (status = 200, description = "`before`: issued before then, `user`", body = Value),
    OfService,
    OfBody,
))]
pub async fn revoke_tickets(
    State(kms): State<Kms>,
    Given(Whose { user }): Given<Whose>,
) -> Answer<Json<Value>> {
    carry_out(kms, Command::RevokeTickets { user }).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AuditFrom {
    /// The first number wanted; the newest records if absent.
    #[param(maximum = 9_007_199_254_740_991_u64)]
    from: Option<u64>,
    /// Records of the page, 1 to 1000; usually 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The audit trail: which tickets were issued and opened, in order.
#[utoipa::path(get, path = "/api/v1/kms/audit", tag = "kms", params(AuditFrom), responses(
    (status = 200, description = "`records`, and `last`: the number of the newest there is", body = Value),
    (status = 400, description = "Parameters that cannot be", body = Problem),
    OfService,
))]
async fn audit(
    State(kms): State<Kms>,
    Asked(AuditFrom { from, limit: wanted }): Asked<AuditFrom>,
) -> Answer<Json<Value>> {
    let from = number("from", from)?;
    carry_out(kms, Command::Audit { from, most: limit(wanted)? }).await
}

/// Makes a new ticket key. Tickets sealed with the old one open until they expire.
#[utoipa::path(post, path = "/api/v1/kms/keys", tag = "kms", responses(
    (status = 201, description = "`key`: its name; `older`: how many are kept", body = Value),
    OfService,
))]
async fn rotate(State(kms): State<Kms>) -> Answer<(StatusCode, Json<Value>)> {
    Ok((StatusCode::CREATED, carry_out(kms, Command::Rotate).await?))
}
