//! Users and groups.

use crate::{Error, Pattern};
use carnet_mikey::{Identity, Psk};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::SystemTime;

/// Most users and most groups.
const MOST: usize = 1_000_000;
/// Longest name in octets.
const LONGEST_NAME: usize = 255;

/// Somebody who shares a key with the KMS.
pub struct User {
    /// Name of the pre-shared key, as it stands in IDRpsk.
    pub name: String,
    /// Who the user is; with a `*` for a service that answers under many identities.
    pub identities: Vec<Pattern>,
    /// The key.
    pub psk: Psk,
    /// Revoked: neither asks for tickets nor opens them, and tickets from it open no more.
    pub revoked: bool,
    /// Tickets issued to it before this open no more.
    pub tickets_not_before: Option<SystemTime>,
}

impl User {
    /// Checks name and identities.
    pub fn check(&self) -> Result<(), Error> {
        check_name(&self.name)?;
        if self.identities.is_empty() {
            return Err(Error::Name(self.name.clone(), "a user has at least one identity"));
        }
        Ok(())
    }

    /// Whether `id` is one of the user's identities.
    pub fn is(&self, id: &Identity) -> bool {
        self.identities.iter().any(|p| p.matches(id))
    }

    /// The identity to use when a message does not say.
    pub fn main_identity(&self) -> Option<Identity> {
        self.identities.iter().find_map(Pattern::exact)
    }
}

/// A name for several, such as a conference factory or a support desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What is called.
    pub identity: Identity,
    /// Who may answer.
    pub members: Vec<Pattern>,
}

fn check_name(name: &str) -> Result<(), Error> {
    let bad = |why| Err(Error::Name(name.into(), why));
    if name.is_empty() || name.len() > LONGEST_NAME {
        return bad("a name has 1 to 255 octets");
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return bad("a name has no white space or control characters");
    }
    Ok(())
}

/// All users and groups.
#[derive(Default)]
pub struct Directory {
    users: BTreeMap<String, User>,
    groups: BTreeMap<Identity, Group>,
    /// Exact identities, to find their owner at once.
    owners: BTreeMap<Identity, String>,
    /// Names of users that have patterns with a star.
    wide: BTreeSet<String>,
}

impl Directory {
    /// Whether a user could be added or replaced: the name is one, there is room, and its exact
    /// identities belong to nobody else.
    pub fn check(&self, user: &User) -> Result<(), Error> {
        user.check()?;
        if self.users.len() >= MOST && !self.users.contains_key(&user.name) {
            return Err(Error::Full(MOST));
        }
        for id in user.identities.iter().filter_map(Pattern::exact) {
            if let Some(owner) = self.owners.get(&id).filter(|o| **o != user.name) {
                return Err(Error::Taken { identity: id.text().into_owned(), owner: owner.clone() });
            }
        }
        Ok(())
    }

    /// Whether users could be added together: none of them is there, no two want the same, and what
    /// they want is nobody's and no group's.
    pub fn check_new(&self, users: &[User]) -> Result<(), Error> {
        let (mut names, mut identities) = (BTreeSet::new(), BTreeSet::new());
        for user in users {
            if self.users.contains_key(&user.name) || !names.insert(&user.name) {
                return Err(Error::Exists(user.name.clone()));
            }
            for pattern in &user.identities {
                if !identities.insert(pattern) {
                    return Err(Error::Twice(pattern.to_string()));
                }
                if let Some(id) = pattern.exact().filter(|id| self.groups.contains_key(id)) {
                    return Err(Error::Taken { identity: id.to_string(), owner: "a group".into() });
                }
            }
            self.check(user)?;
        }
        Ok(())
    }

    /// Adds or replaces a user. An identity belongs to one user only.
    pub fn put_user(&mut self, user: User) -> Result<(), Error> {
        self.check(&user)?;
        self.remove_user(&user.name);
        for pattern in &user.identities {
            match pattern.exact() {
                Some(id) => {
                    self.owners.insert(id, user.name.clone());
                }
                None => {
                    self.wide.insert(user.name.clone());
                }
            }
        }
        self.users.insert(user.name.clone(), user);
        Ok(())
    }

    /// Removes a user; whether there was one.
    pub fn remove_user(&mut self, name: &str) -> bool {
        self.wide.remove(name);
        let Some(user) = self.users.remove(name) else { return false };
        for id in user.identities.iter().filter_map(Pattern::exact) {
            self.owners.remove(&id);
        }
        true
    }

    /// The user whose key has this name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// The same, to be changed in what its identities do not depend on.
    pub fn user_mut(&mut self, name: &str) -> Option<&mut User> {
        self.users.get_mut(name)
    }

    /// All users by name.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Those behind `after` in the order of names; all without it.
    pub fn users_after(&self, after: Option<&str>) -> impl Iterator<Item = &User> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.users.range::<str, _>((from, Bound::Unbounded)).map(|(_, user)| user)
    }

    /// How many users there are.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Whose identity `id` is.
    pub fn owner(&self, id: &Identity) -> Option<&User> {
        match self.owners.get(id) {
            Some(name) => self.users.get(name),
            None => self.wide.iter().filter_map(|n| self.users.get(n)).find(|u| u.is(id)),
        }
    }

    /// Whether a group could be added: its name is no user's.
    pub fn check_group(&self, group: &Group) -> Result<(), Error> {
        match self.owner(&group.identity) {
            Some(user) => {
                Err(Error::Taken { identity: group.identity.to_string(), owner: user.name.clone() })
            }
            None => Ok(()),
        }
    }

    /// Adds or replaces a group.
    pub fn put_group(&mut self, group: Group) -> Result<(), Error> {
        if self.groups.len() >= MOST && !self.groups.contains_key(&group.identity) {
            return Err(Error::Full(MOST));
        }
        self.groups.insert(group.identity.clone(), group);
        Ok(())
    }

    /// Removes a group; whether there was one.
    pub fn remove_group(&mut self, id: &Identity) -> bool {
        self.groups.remove(id).is_some()
    }

    /// The group called `id`.
    pub fn group(&self, id: &Identity) -> Option<&Group> {
        self.groups.get(id)
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Those behind `after` in their order; all without it.
    pub fn groups_after(&self, after: Option<&Identity>) -> impl Iterator<Item = &Group> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.groups.range::<Identity, _>((from, Bound::Unbounded)).map(|(_, group)| group)
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Whether `id` is in the group called `group`.
    pub fn is_member(&self, id: &Identity, group: &Identity) -> bool {
        self.groups.get(group).is_some_and(|g| g.members.iter().any(|p| p.matches(id)))
    }

    /// Whether somebody answers to `id`.
    pub fn knows(&self, id: &Identity) -> bool {
        self.groups.contains_key(id) || self.owner(id).is_some()
    }
}
