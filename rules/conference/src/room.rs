//! One room: who may what in it, where its media is, and whom it has to call back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use carnet_h248::controller::{GatewayName, RequestNumber};
use carnet_mikey::Identity;
use carnet_sip::Uri;

use crate::config::{Config, Member, Policy};
use crate::leg::LegId;
use crate::line::LABEL;
use crate::roster::Attendance;
use crate::status::{ConfigError, FloorStatus};

/// Contacts of before by which a room is known.
const MOST_FORMER: usize = 4;

/// Where the media of a room is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: nobody is in it.
    Nowhere,
    /// Its context is asked for.
    Making(GatewayName, RequestNumber),
    On(GatewayName, u32),
}

/// Somebody who has lost its media and is called back.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    pub(crate) member: String,
    pub(crate) user: u16,
    pub(crate) nickname: Option<String>,
    /// Where it was, for networks without anybody who would know.
    pub(crate) contact: Option<Uri>,
    /// The dialog without media, if we still have it.
    pub(crate) old: Option<LegId>,
    /// The call that is under way.
    pub(crate) leg: Option<LegId>,
    pub(crate) tries: u32,
    pub(crate) at: Instant,
    /// When it is given up; counted from the first try.
    pub(crate) until: Option<Instant>,
}

pub(crate) struct Room {
    /// Its canonical URI, which names it and is its identity with the key server.
    pub(crate) key: String,
    pub(crate) identity: Identity,
    /// As it was given, with port and parameters.
    uri: Uri,
    /// What stands in Contact.
    pub(crate) contact: Uri,
    /// What stood there before, the newest first.
    former: VecDeque<Uri>,
    pub(crate) policy: Policy,
    pub(crate) fixed: bool,
    /// The factory that made it.
    pub(crate) factory: Option<String>,
    /// Who had it made.
    pub(crate) by: Option<String>,
    pub(crate) confid: u32,
    pub(crate) place: Place,
    /// Adds into the context that are not answered.
    pub(crate) adding: BTreeSet<RequestNumber>,
    pub(crate) legs: BTreeSet<LegId>,
    pub(crate) lost: Vec<Lost>,
    /// Who was called in by somebody who may do so.
    pub(crate) invited: BTreeSet<String>,
    /// Who had somebody called.
    pub(crate) invited_by: BTreeMap<String, String>,
    /// Of whom the administrator lets nothing through.
    pub(crate) muted: BTreeSet<String>,
    /// What watchers see.
    pub(crate) attendance: Attendance,
    next_user: u16,
    pub(crate) floors: BTreeMap<u16, FloorStatus>,
    /// What the media server told last of all floors, for another that goes on with them.
    pub(crate) state: Option<String>,
    /// Somebody has been in it.
    pub(crate) begun: bool,
    pub(crate) closing: bool,
    /// The configuration names it no more: it ends when its last member has left, and takes nobody new.
    pub(crate) outgoing: bool,
    /// How its context was run when the media server was last told, if that is another way than now.
    pub(crate) stale: Option<Box<Policy>>,
}

impl Room {
    pub(crate) fn new(uri: &Uri, policy: Policy, config: &Config, confid: u32) -> Result<Self, ConfigError> {
        let identity =
            Identity::from_uri(uri.as_str()).map_err(|_| ConfigError::Uri(uri.as_str().to_owned()))?;
        let key = identity.text().into_owned();
        let policy = prepared(&key, policy)?;
        let mut attendance = Attendance::new(&key, &policy);
        attendance.media(&[(LABEL, "message")]);
        Ok(Self {
            contact: contact(uri, config).ok_or_else(|| ConfigError::Uri(key.clone()))?,
            uri: uri.clone(),
            former: VecDeque::new(),
            key,
            identity,
            policy,
            fixed: false,
            factory: None,
            by: None,
            confid,
            place: Place::Nowhere,
            adding: BTreeSet::new(),
            legs: BTreeSet::new(),
            lost: Vec::new(),
            invited: BTreeSet::new(),
            invited_by: BTreeMap::new(),
            muted: BTreeSet::new(),
            attendance,
            next_user: 1,
            floors: BTreeMap::new(),
            state: None,
            begun: false,
            closing: false,
            outgoing: false,
            stale: None,
        })
    }

    /// It is run so from now on. Its members stay, and what they have. Whom it has to call, who was not named before.
    pub(crate) fn renew(&mut self, policy: Policy) -> Vec<String> {
        self.attendance.renew(&policy, self.by.as_deref());
        let before = std::mem::replace(&mut self.policy, policy);
        // What its context was made with is what the media server knows.
        if self.place != Place::Nowhere {
            self.stale.get_or_insert_with(|| Box::new(before.clone()));
        }
        let called = |policy: &Policy, uri: &str| policy.members.iter().any(|m| m.call && m.uri == uri);
        let new = self.policy.members.iter().filter(|m| self.begun && m.call && !called(&before, &m.uri));
        new.map(|member| member.uri.clone()).collect()
    }

    /// The focus is reached as `config` says from now on.
    pub(crate) fn moves(&mut self, config: &Config) {
        let Some(new) = contact(&self.uri, config).filter(|new| new.as_str() != self.contact.as_str()) else {
            return;
        };
        self.former.retain(|former| former.as_str() != new.as_str());
        self.former.truncate(MOST_FORMER - 1);
        self.former.push_front(std::mem::replace(&mut self.contact, new));
    }

    /// Whether a request for `uri` is for this room: somebody may have its Contact of before.
    pub(crate) fn is(&self, uri: &Uri, canonical: &str) -> bool {
        let here = |contact: &Uri| {
            contact.user() == uri.user()
                && contact.host().eq_ignore_ascii_case(uri.host())
                && contact.port() == uri.port()
        };
        self.key == canonical || here(&self.contact) || self.former.iter().any(here)
    }

    pub(crate) fn owns(&self, member: &str) -> bool {
        self.by.as_deref() == Some(member) || self.policy.owners.iter().any(|owner| owner == member)
    }

    /// The floors that `member` chairs.
    pub(crate) fn chairs(&self, member: &str) -> Vec<u16> {
        let chaired = |floor: &&crate::config::Floor| floor.chair.as_deref() == Some(member);
        self.policy.floors.iter().filter(chaired).map(|floor| floor.id).collect()
    }

    /// A number for a new member: one that nobody has, and that was not given lately.
    pub(crate) fn name_user(&mut self, taken: impl Fn(u16) -> bool) -> Option<u16> {
        for _ in 0..u16::MAX {
            let user = self.next_user;
            self.next_user = if user == u16::MAX { 1 } else { user + 1 };
            if !taken(user) && !self.lost.iter().any(|lost| lost.user == user) {
                return Some(user);
            }
        }
        None
    }

    pub(crate) fn next_user(&self) -> u16 {
        self.next_user
    }

    pub(crate) fn set_next_user(&mut self, user: u16) {
        self.next_user = user.max(1);
    }

    /// Whether it is there only because of those who are in it, and nobody is.
    pub(crate) fn is_over(&self) -> bool {
        self.legs.is_empty() && self.lost.is_empty() && (!self.fixed || self.closing)
    }

    /// Whether somebody is to be called back now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.lost.iter().any(|lost| lost.leg.is_none() && lost.at <= now)
    }

    /// When somebody is to be called back who is not yet. Who waits for a gateway waits for no time.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Instant> {
        self.lost.iter().filter(|lost| lost.leg.is_none() && lost.at > now).map(|lost| lost.at).min()
    }

    pub(crate) fn is_on(&self, gateway: &str, context: Option<u32>) -> bool {
        match &self.place {
            Place::On(on, number) => &**on == gateway && context.is_none_or(|context| context == *number),
            _ => false,
        }
    }
}

/// A policy with every URI in the form in which they are compared.
pub(crate) fn prepared(key: &str, mut policy: Policy) -> Result<Policy, ConfigError> {
    if policy.moderated != 0 && !policy.floors.iter().any(|floor| floor.id == policy.moderated) {
        return Err(ConfigError::NoFloor(key.to_owned(), policy.moderated));
    }
    policy.owners = policy.owners.iter().map(|owner| canonical(owner)).collect();
    let member = |member: &Member| Member { uri: canonical(&member.uri), call: member.call };
    policy.members = policy.members.iter().map(member).collect();
    for (_, owner) in &mut policy.reserved {
        *owner = canonical(owner);
    }
    for floor in &mut policy.floors {
        floor.chair = floor.chair.as_deref().map(canonical);
    }
    Ok(policy)
}

/// The form in which URIs are compared; what cannot be one stays as it is and fits nothing.
pub(crate) fn canonical(uri: &str) -> String {
    Identity::from_uri(uri).map_or_else(|_| uri.to_owned(), |identity| identity.text().into_owned())
}

/// The conference's URI where this focus is reached.
fn contact(uri: &Uri, config: &Config) -> Option<Uri> {
    let Some(here) = &config.contact else { return Some(uri.clone()) };
    let mut contact = Uri::sip(uri.user(), here.host(), here.port()).ok()?;
    for (name, value) in here.params() {
        contact = contact.with_param(name, value).ok()?;
    }
    Some(contact)
}
