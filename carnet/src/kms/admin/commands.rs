//! What an administrator can have done.

use super::super::service::Service;
use carnet_keys::{AuditRecord, Deed, Group, Pattern, Rule, Rules, User};
use carnet_mikey::{Identity, Psk};
use carnet_wire::hex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::SystemTime;
use zeroize::{Zeroize, Zeroizing};

/// Most audit records of one answer.
const MOST_RECORDS: usize = 100_000;

/// A command.
#[derive(Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Adds users, all or none.
    UserAdd {
        /// Whom.
        users: Vec<NewUser>,
    },
    /// Lists users, without their keys.
    UserList,
    /// Removes users. One that is not there is an error, and the others are removed.
    UserRemove {
        /// Names.
        names: Vec<String>,
    },
    /// Revokes a user, or takes that back.
    UserRevoke {
        /// Name.
        name: String,
        /// Whether the user is revoked from now on.
        revoked: bool,
    },
    /// Adds or replaces a group.
    GroupPut {
        /// What is called.
        identity: String,
        /// Who may answer.
        members: Vec<String>,
    },
    /// Removes a group.
    GroupRemove {
        /// What is called.
        identity: String,
    },
    /// Lists groups.
    GroupList,
    /// Replaces the rules who may call whom.
    PolicyPut {
        /// Rules in order.
        rules: Vec<PolicyLine>,
        /// What holds when none fits.
        otherwise: bool,
    },
    /// The rules.
    PolicyShow,
    /// Tickets issued so far open no more.
    RevokeTickets {
        /// Those of this user; all if absent.
        user: Option<String>,
    },
    /// Reads the audit trail.
    Audit {
        /// First number; if absent, such that the newest are read.
        from: Option<u64>,
        /// Most records.
        most: usize,
    },
    /// Makes a new ticket key.
    Rotate,
}

impl Command {
    /// Whether it makes sense where there is no service yet: it puts something in.
    pub fn may_begin(&self) -> bool {
        matches!(self, Self::UserAdd { .. } | Self::GroupPut { .. } | Self::PolicyPut { .. })
    }
}

/// A user to be added.
#[derive(Serialize, Deserialize)]
pub struct NewUser {
    /// Name of its key.
    pub name: String,
    /// Its identities.
    pub identities: Vec<String>,
    /// Its key in hex.
    pub psk: String,
}

impl Drop for NewUser {
    fn drop(&mut self) {
        self.psk.zeroize();
    }
}

/// A rule in text.
#[derive(Serialize, Deserialize)]
pub struct PolicyLine {
    /// Pattern of callers.
    pub from: String,
    /// Pattern of callees.
    pub to: String,
    /// Whether the call may be.
    pub allow: bool,
}

/// Carries out a command. Blocks on the disk.
pub fn execute(service: &Service, command: &Command) -> Result<Value, String> {
    match command {
        Command::UserAdd { users } => add_users(service, users),
        Command::UserList => Ok(service.kms().directory().users().map(describe).collect()),
        Command::UserRemove { names } => remove_users(service, names),
        Command::UserRevoke { name, revoked } => {
            change_user(service, name, |user| user.revoked = *revoked)?;
            Ok(json!({ "name": name, "revoked": revoked }))
        }
        Command::GroupPut { identity, members } => put_group(service, identity, members),
        Command::GroupRemove { identity } => {
            let id = identity_of(identity)?;
            let _changing = service.changing();
            if !stored(service.store().remove_group(&id))? {
                return Err(format!("there is no group {id}"));
            }
            service.kms().directory_mut().remove_group(&id);
            Ok(json!({ "removed": id.text() }))
        }
        Command::GroupList => Ok(service.kms().directory().groups().map(describe_group).collect()),
        Command::PolicyPut { rules, otherwise } => put_policy(service, rules, *otherwise),
        Command::PolicyShow => stored(service.store().load()).map(|c| describe_rules(&c.rules)),
        Command::RevokeTickets { user } => revoke_tickets(service, user.as_deref()),
        Command::Audit { from, most } => {
            let most = (*most).min(MOST_RECORDS);
            let last = stored(service.store().last_audit())?;
            let from = from.unwrap_or((last + 1).saturating_sub(most as u64));
            let records = stored(service.store().audit(from, most))?;
            let records: Vec<Value> = records.iter().map(|(n, r)| describe_record(*n, r)).collect();
            Ok(json!({ "last": last, "records": records }))
        }
        Command::Rotate => {
            let key = stored(service.rotate())?;
            let older = service.kms().ring().keys().len().saturating_sub(1);
            Ok(json!({ "key": key, "older": older }))
        }
    }
}

fn stored<T>(result: Result<T, carnet_store::Error>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|e| e.to_string())
}

fn identity_of(text: &str) -> Result<Identity, String> {
    Identity::from_uri(text).map_err(|e| format!("`{text}`: {e}"))
}

fn read_user(new: &NewUser) -> Result<User, String> {
    let octets = Zeroizing::new(
        hex::decode(new.psk.as_bytes()).map_err(|_| format!("the key of `{}` is not hex", new.name))?,
    );
    Ok(User {
        name: new.name.clone(),
        identities: new.identities.iter().map(|t| pattern(t)).collect::<Result<_, _>>()?,
        psk: Psk::new(&octets).map_err(|e| e.to_string())?,
        revoked: false,
        tickets_not_before: None,
    })
}

fn add_users(service: &Service, new: &[NewUser]) -> Result<Value, String> {
    let users = new.iter().map(read_user).collect::<Result<Vec<_>, _>>()?;
    let _changing = service.changing();
    service.kms().directory().check_new(&users).map_err(|e| e.to_string())?;
    stored(service.store().put_users(&users))?;
    let names: Vec<Value> = users.iter().map(describe).collect();
    let mut kms = service.kms();
    for user in users {
        kms.directory_mut().put_user(user).map_err(|e| e.to_string())?;
    }
    Ok(names.into())
}

fn remove_users(service: &Service, names: &[String]) -> Result<Value, String> {
    let _changing = service.changing();
    let mut strange = Vec::new();
    for name in names {
        if stored(service.store().remove_user(name))? {
            service.kms().directory_mut().remove_user(name);
        } else {
            strange.push(format!("`{name}`"));
        }
    }
    match strange.as_slice() {
        [] => Ok(names.iter().map(|name| json!({ "removed": name })).collect()),
        _ => Err(format!("there is no user {}", strange.join(", "))),
    }
}

/// Changes a user on disk, then in memory.
fn change_user(service: &Service, name: &str, change: impl Fn(&mut User)) -> Result<(), String> {
    let _changing = service.changing();
    let mut changed = {
        let kms = service.kms();
        let user = kms.directory().user(name).ok_or(format!("there is no user `{name}`"))?;
        User {
            name: user.name.clone(),
            identities: user.identities.clone(),
            psk: user.psk.duplicate(),
            revoked: user.revoked,
            tickets_not_before: user.tickets_not_before,
        }
    };
    change(&mut changed);
    stored(service.store().put_user(&changed))?;
    service.kms().directory_mut().put_user(changed).map_err(|e| e.to_string())
}

fn put_group(service: &Service, identity: &str, members: &[String]) -> Result<Value, String> {
    let members = members.iter().map(|t| pattern(t)).collect::<Result<Vec<_>, _>>()?;
    let group = Group { identity: identity_of(identity)?, members };
    let _changing = service.changing();
    service.kms().directory().check_group(&group).map_err(|e| e.to_string())?;
    stored(service.store().put_group(&group))?;
    let told = describe_group(&group);
    service.kms().directory_mut().put_group(group).map_err(|e| e.to_string())?;
    Ok(told)
}

fn put_policy(service: &Service, lines: &[PolicyLine], otherwise: bool) -> Result<Value, String> {
    let rule = |l: &PolicyLine| -> Result<Rule, String> {
        Ok(Rule { from: pattern(&l.from)?, to: pattern(&l.to)?, allow: l.allow })
    };
    let rules = lines.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    let rules = Rules::new(rules, otherwise).map_err(|e| e.to_string())?;
    let _changing = service.changing();
    stored(service.store().put_rules(&rules))?;
    let told = describe_rules(&rules);
    service.kms().set_rules(rules);
    Ok(told)
}

fn revoke_tickets(service: &Service, user: Option<&str>) -> Result<Value, String> {
    let wall = SystemTime::now();
    match user {
        Some(name) => change_user(service, name, |user| user.tickets_not_before = Some(wall))?,
        None => {
            let _changing = service.changing();
            stored(service.store().revoke_tickets_before(wall))?;
            service.kms().revoke_tickets_before(wall);
        }
    }
    Ok(json!({ "before": time(wall), "user": user }))
}

fn describe(user: &User) -> Value {
    json!({
        "name": user.name,
        "identities": user.identities.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "revoked": user.revoked,
        "tickets_not_before": user.tickets_not_before.map(time),
    })
}

fn describe_group(group: &Group) -> Value {
    json!({
        "identity": group.identity.text(),
        "members": group.members.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn describe_rules(rules: &Rules) -> Value {
    let line = |r: &Rule| json!({ "from": r.from.to_string(), "to": r.to.to_string(), "allow": r.allow });
    json!({
        "rules": rules.rules().iter().map(line).collect::<Vec<_>>(),
        "otherwise": rules.otherwise(),
    })
}

fn describe_record(number: u64, r: &AuditRecord) -> Value {
    json!({
        "number": number,
        "time": time(r.wall),
        "deed": match r.deed {
            Deed::Issued => "issued",
            Deed::Resolved => "resolved",
        },
        "user": r.user,
        "source": r.source,
        "initiator": r.initiator.text(),
        "responders": r.responders.iter().map(Identity::text).collect::<Vec<_>>(),
        "ticket": hex::encode(&r.ticket),
        "key": r.key,
    })
}

fn time(wall: SystemTime) -> String {
    jiff::Timestamp::try_from(wall).map_or_else(|_| String::new(), |t| t.to_string())
}
