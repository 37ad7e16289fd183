//! Commands over HTTP, to a service that runs.

use super::commands::Command;
use crate::web::answer::MOST;
use crate::web::socket::{Client, Target};
use hyper::Method;
use serde::Serialize;
use serde_json::{Value, json};

/// No body.
const NOTHING: Option<&Value> = None;

/// Has it carried out there.
pub(super) fn put(client: &Client<'_>, command: &Command) -> Result<Value, String> {
    let kms = |what: &str| Target::new(&format!("kms/{what}"));
    match command {
        Command::UserAdd { users } => {
            #[derive(Serialize)]
            struct Body<'a, T> {
                users: &'a [T],
            }
            client
                .put(Method::POST, &kms("users"), Some(&Body { users }))
                .map(|mut told| told["users"].take())
        }
        Command::UserList => pages(client, "users", "name"),
        Command::UserRemove { names } => {
            let mut strange = Vec::new();
            for name in names {
                if let Err(why) = client.put(Method::DELETE, &kms("users").part(name), NOTHING) {
                    strange.push(why);
                }
            }
            match strange.is_empty() {
                true => Ok(names.iter().map(|name| json!({ "removed": name })).collect()),
                false => Err(strange.join("; ")),
            }
        }
        Command::UserRevoke { name, revoked } => {
            client.put(Method::PATCH, &kms("users").part(name), Some(&json!({ "revoked": revoked })))
        }
        Command::GroupPut { identity, members } => {
            client.put(Method::PUT, &kms("groups").part(identity), Some(&json!({ "members": members })))
        }
        Command::GroupRemove { identity } => {
            client.put(Method::DELETE, &kms("groups").part(identity), NOTHING)
        }
        Command::GroupList => pages(client, "groups", "identity"),
        Command::PolicyPut { rules, otherwise } => {
            client.put(Method::PUT, &kms("policy"), Some(&json!({ "rules": rules, "otherwise": otherwise })))
        }
        Command::PolicyShow => client.get(&kms("policy")),
        Command::RevokeTickets { user } => {
            client.put(Method::POST, &kms("tickets").part("revoke"), Some(&json!({ "user": user })))
        }
        Command::RevokeTicket { ticket, by: _ } => {
            client.put(Method::DELETE, &kms("tickets").part(ticket), NOTHING)
        }
        Command::Audit { from, most } => audit(client, *from, *most),
        Command::Rotate => client.put(Method::POST, &kms("keys"), NOTHING),
    }
}

/// All of a list, page by page; `name` is what the next page follows.
fn pages(client: &Client<'_>, list: &str, name: &str) -> Result<Value, String> {
    let mut all = Vec::new();
    loop {
        let after =
            all.last().and_then(|last: &Value| last.get(name)).and_then(Value::as_str).map(str::to_owned);
        let target = Target::new(&format!("kms/{list}")).with("limit", Some(MOST)).with("after", after);
        let mut page = client.get(&target)?;
        let entries =
            page.get_mut(list).and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        let goes_on = page.get("next").is_some_and(Value::is_string) && !entries.is_empty();
        all.extend(entries);
        if !goes_on {
            return Ok(all.into());
        }
    }
}

fn audit(client: &Client<'_>, from: Option<u64>, most: usize) -> Result<Value, String> {
    let ask = |from: Option<u64>, limit: usize| {
        client.get(&Target::new("kms/audit").with("from", from).with("limit", Some(limit)))
    };
    let last = ask(None, 1)?.get("last").and_then(Value::as_u64).unwrap_or_default();
    let most_wide = u64::try_from(most).unwrap_or(u64::MAX);
    let mut next = from.unwrap_or(last.saturating_add(1).saturating_sub(most_wide).max(1));
    let mut records: Vec<Value> = Vec::new();
    while records.len() < most && next <= last {
        let mut page = ask(Some(next), MOST.min(most - records.len()))?;
        let page =
            page.get_mut("records").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        let Some(number) = page.last().and_then(|last| last.get("number")).and_then(Value::as_u64) else {
            break;
        };
        next = number.saturating_add(1);
        records.extend(page);
    }
    Ok(json!({ "last": last, "records": records }))
}
