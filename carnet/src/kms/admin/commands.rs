//! What an administrator can have done. Nothing that is answered has a key in it.

use super::super::service::Service;
use super::trail;
use crate::web::Caller;
use carnet_keys::{Group, Pattern, Rule, Rules, User};
use carnet_mikey::{Identity, Psk};
use carnet_wire::hex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use std::time::SystemTime;
use utoipa::ToSchema;
use zeroize::{Zeroize, Zeroizing};

/// Most audit records of one answer.
const MOST_RECORDS: usize = 100_000;

/// A command.
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
    /// One ticket opens no more.
    RevokeTicket {
        /// The beginning of its SHA-256, in hexadecimal.
        ticket: String,
        /// Who wants it so.
        by: Caller,
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
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Name of its key.
    pub name: String,
    /// Its identities.
    pub identities: Vec<String>,
    /// Its key in hex, 16 to 64 octets. It is never told again.
    #[schema(write_only)]
    pub psk: String,
}

impl Drop for NewUser {
    fn drop(&mut self) {
        self.psk.zeroize();
    }
}

/// A rule in text.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyLine {
    /// Pattern of callers.
    pub from: String,
    /// Pattern of callees.
    pub to: String,
    /// Whether the call may be.
    pub allow: bool,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// What it is about is not there.
    Missing(String),
    /// It says what cannot be.
    Bad(String),
    /// It does not go with what there is.
    Conflict(String),
    /// The disk would not.
    Disk(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Missing(why) | Self::Bad(why) | Self::Conflict(why) | Self::Disk(why)) = self;
        f.write_str(why)
    }
}

impl From<carnet_keys::Error> for Refused {
    fn from(error: carnet_keys::Error) -> Self {
        use carnet_keys::Error as E;
        match error {
            E::Taken { .. } | E::Exists(_) | E::Full(_) | E::NoKey => Self::Conflict(error.to_string()),
            _ => Self::Bad(error.to_string()),
        }
    }
}

/// Carries out a command. Blocks on the disk.
pub fn execute(service: &Service, command: &Command) -> Result<Value, Refused> {
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
            // What is no identity is no group's.
            let id = identity_of(identity).map_err(|why| Refused::Missing(why.to_string()))?;
            let _changing = service.changing();
            if !stored(service.store().remove_group(&id))? {
                return Err(Refused::Missing(format!("there is no group {id}")));
            }
            service.kms().directory_mut().remove_group(&id);
            Ok(json!({ "removed": id.text() }))
        }
        Command::GroupList => Ok(service.kms().directory().groups().map(describe_group).collect()),
        Command::PolicyPut { rules, otherwise } => put_policy(service, rules, *otherwise),
        Command::PolicyShow => stored(service.store().load()).map(|c| describe_rules(&c.rules)),
        Command::RevokeTickets { user } => revoke_tickets(service, user.as_deref()),
        Command::RevokeTicket { ticket, by } => trail::revoke(service, ticket, *by),
        Command::Audit { from, most } => trail::records(service, *from, (*most).min(MOST_RECORDS)),
        Command::Rotate => {
            let key = stored(service.rotate())?;
            let older = service.kms().ring().keys().len().saturating_sub(1);
            Ok(json!({ "key": key, "older": older }))
        }
    }
}

pub(super) fn stored<T>(result: Result<T, carnet_store::Error>) -> Result<T, Refused> {
    result.map_err(|e| Refused::Disk(e.to_string()))
}

fn pattern(text: &str) -> Result<Pattern, Refused> {
    Ok(Pattern::parse(text)?)
}

fn identity_of(text: &str) -> Result<Identity, Refused> {
    Identity::from_uri(text).map_err(|e| Refused::Bad(format!("`{text}`: {e}")))
}

fn read_user(new: &NewUser) -> Result<User, Refused> {
    let octets = Zeroizing::new(
        hex::decode(new.psk.as_bytes())
            .map_err(|_| Refused::Bad(format!("the key of `{}` is not hex", new.name)))?,
    );
    Ok(User {
        name: new.name.clone(),
        identities: new.identities.iter().map(|t| pattern(t)).collect::<Result<_, _>>()?,
        psk: Psk::new(&octets).map_err(|e| Refused::Bad(e.to_string()))?,
        revoked: false,
        tickets_not_before: None,
    })
}

fn add_users(service: &Service, new: &[NewUser]) -> Result<Value, Refused> {
    let users = new.iter().map(read_user).collect::<Result<Vec<_>, _>>()?;
    let _changing = service.changing();
    service.kms().directory().check_new(&users)?;
    stored(service.store().put_users(&users))?;
    let names: Vec<Value> = users.iter().map(describe).collect();
    let mut kms = service.kms();
    for user in users {
        kms.directory_mut().put_user(user)?;
    }
    Ok(names.into())
}

fn remove_users(service: &Service, names: &[String]) -> Result<Value, Refused> {
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
        _ => Err(Refused::Missing(format!("there is no user {}", strange.join(", ")))),
    }
}

/// Changes a user on disk, then in memory.
fn change_user(service: &Service, name: &str, change: impl Fn(&mut User)) -> Result<(), Refused> {
    let _changing = service.changing();
    let mut changed = {
        let kms = service.kms();
        let user = kms.directory().user(name).ok_or_else(|| unknown_user(name))?;
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
    Ok(service.kms().directory_mut().put_user(changed)?)
}

fn put_group(service: &Service, identity: &str, members: &[String]) -> Result<Value, Refused> {
    let members = members.iter().map(|t| pattern(t)).collect::<Result<Vec<_>, _>>()?;
    let group = Group { identity: identity_of(identity)?, members };
    let _changing = service.changing();
    service.kms().directory().check_group(&group)?;
    stored(service.store().put_group(&group))?;
    let told = describe_group(&group);
    service.kms().directory_mut().put_group(group)?;
    Ok(told)
}

fn put_policy(service: &Service, lines: &[PolicyLine], otherwise: bool) -> Result<Value, Refused> {
    let rule = |l: &PolicyLine| -> Result<Rule, Refused> {
        Ok(Rule { from: pattern(&l.from)?, to: pattern(&l.to)?, allow: l.allow })
    };
    let rules = lines.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    let rules = Rules::new(rules, otherwise)?;
    let _changing = service.changing();
    stored(service.store().put_rules(&rules))?;
    let told = describe_rules(&rules);
    service.kms().set_rules(rules);
    Ok(told)
}

fn revoke_tickets(service: &Service, user: Option<&str>) -> Result<Value, Refused> {
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

pub(super) fn unknown_user(name: &str) -> Refused {
    Refused::Missing(format!("there is no user `{name}`"))
}

pub(super) fn describe(user: &User) -> Value {
    json!({
        "name": user.name,
        "identities": user.identities.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "revoked": user.revoked,
        "tickets_not_before": user.tickets_not_before.map(time),
    })
}

pub(super) fn describe_group(group: &Group) -> Value {
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

pub(super) fn time(wall: SystemTime) -> String {
    jiff::Timestamp::try_from(wall).map_or_else(|_| String::new(), |t| t.to_string())
}
