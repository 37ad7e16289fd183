//! Who is in a room, as the focus sees it, and the [`Roster`] of it for those who watch.
//!
//! RFC 4575 §5. The focus says what happens to members; [`Attendance::roster`] is the conference as
//! it is then. One user may have several endpoints (devices, dialogs). Somebody who has gone is
//! shown as `disconnected` with how and why for a while, so that others see it, and then not at
//! all. Sidebars and call-info are left out: nobody is told the dialogs of others.

mod policy;

#[cfg(test)]
mod tests;

use crate::config::Policy;
use carnet_roster::{
    ConferenceState, Description, Disconnection, Endpoint, Execution, Joining, Media, MediaStatus, Medium,
    Roster, Seal, Status, UriEntry, User, date_time,
};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use policy::{Asker, Occupancy, Refusal};

/// How long somebody who has gone is shown.
const SHOWN: Duration = Duration::from_secs(30);

/// Endpoints shown that have gone. Beyond, the oldest is taken away before its time.
const MOST_SHOWN: usize = 64;

/// Somebody who comes, or is called.
#[derive(Debug, Clone)]
pub struct Arrival<'a> {
    /// Canonical URI.
    pub member: &'a str,
    /// What tells this endpoint from the user's others: its Contact, as a rule. Empty for one that
    /// is called and has no Contact yet, see [`Attendance::found`].
    pub endpoint: &'a str,
    /// Display name, if one was given.
    pub name: Option<&'a str>,
    /// It called, or was called.
    pub method: Joining,
    /// Who had it called.
    pub by: Option<&'a str>,
    /// How far it is: `dialing-out`, `alerting`, `connected` …
    pub status: Status,
}

/// A media line of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What tells it from the member's others: the number of the m-line, as a rule.
    pub id: String,
    /// `message` or `application`.
    pub kind: String,
    /// The label of the medium, if it has one.
    pub label: Option<String>,
    /// The direction as the member sees it.
    pub status: MediaStatus,
    /// Whether it has its own key.
    pub sealed: bool,
}

/// Why somebody went.
#[derive(Debug, Clone)]
pub struct Departure<'a> {
    /// How.
    pub method: Disconnection,
    /// Why, for people.
    pub reason: Option<&'a str>,
    /// Who did it.
    pub by: Option<&'a str>,
}

/// Somebody as the focus has it now, see [`Attendance::sync`].
#[derive(Debug, Clone)]
pub struct Present<'a> {
    /// Who, and how it came.
    pub arrival: Arrival<'a>,
    /// Its name in the room.
    pub nickname: Option<&'a str>,
    /// Its media lines.
    pub lines: Vec<Line>,
}

/// Who is in a room.
#[derive(Debug, Clone)]
pub struct Attendance {
    entity: String,
    description: Description,
    owners: Vec<String>,
    chairs: Vec<String>,
    sealed_only: bool,
    locked: bool,
    users: BTreeMap<String, User>,
    /// Those who have gone and are still shown, the oldest first.
    gone: VecDeque<(Instant, String, String)>,
}

impl Attendance {
    /// An empty room.
    pub fn new(uri: &str, policy: &Policy) -> Self {
        let participation = UriEntry {
            uri: uri.to_owned(),
            purpose: Some("participation".to_owned()),
            ..UriEntry::default()
        };
        Self {
            entity: uri.to_owned(),
            description: Description {
                subject: policy.subject.clone(),
                conf_uris: vec![participation],
                maximum_user_count: u32::try_from(policy.capacity).ok(),
                ..Description::default()
            },
            owners: policy.owners.clone(),
            chairs: policy.floors.iter().filter_map(|f| f.chair.clone()).collect(),
            sealed_only: policy.unsealed == crate::config::Unsealed::Refuse,
            locked: false,
            users: BTreeMap::new(),
            gone: VecDeque::new(),
        }
    }

    /// The room is run in another way. `by` is who made it.
    pub fn renew(&mut self, policy: &Policy, by: Option<&str>) {
        let media = std::mem::take(&mut self.description.available_media);
        let fresh = Self::new(&self.entity, policy);
        self.description = Description { available_media: media, ..fresh.description };
        (self.owners, self.chairs, self.sealed_only) = (fresh.owners, fresh.chairs, fresh.sealed_only);
        by.into_iter().for_each(|by| self.own(by));
    }

    /// Says which media there are, by label and SDP media.
    pub fn media(&mut self, media: &[(&str, &str)]) {
        let medium = |(label, kind): &(&str, &str)| Medium {
            label: (*label).to_owned(),
            kind: (*kind).to_owned(),
            status: Some(MediaStatus::SendRecv),
            ..Medium::default()
        };
        self.description.available_media = media.iter().map(medium).collect();
    }

    /// What the room is about.
    pub fn subject(&mut self, subject: Option<&str>) {
        self.description.subject = subject.map(str::to_owned);
    }

    /// Lets nobody further in, or again.
    pub fn lock(&mut self, locked: bool) {
        self.locked = locked;
    }

    /// Makes somebody an owner: who made the room.
    pub fn own(&mut self, member: &str) {
        if !self.owners.iter().any(|o| o == member) {
            self.owners.push(member.to_owned());
        }
    }

    /// Somebody comes or is called. One that is there already is renewed: called back after a loss.
    pub fn enter(&mut self, wall: SystemTime, arrival: &Arrival<'_>) {
        self.gone
            .retain(|(_, member, endpoint)| (&**member, &**endpoint) != (arrival.member, arrival.endpoint));
        let user = self
            .users
            .entry(arrival.member.to_owned())
            .or_insert_with(|| User { entity: arrival.member.to_owned(), ..User::default() });
        if let Some(name) = arrival.name.filter(|n| !n.is_empty()) {
            user.display_text = Some(name.to_owned());
        }
        let by = arrival.by.map(str::to_owned);
        let done = Execution { when: Some(date_time(unix(wall))), by, ..Execution::default() };
        let new = Endpoint {
            entity: arrival.endpoint.to_owned(),
            status: Some(arrival.status.clone()),
            joining_method: Some(arrival.method.clone()),
            // RFC 4575 §5.7.2: who had it called by REFER.
            referred: arrival.by.is_some().then(|| done.clone()),
            joining_info: Some(done),
            ..Endpoint::default()
        };
        match user.endpoints.iter_mut().find(|e| e.entity == arrival.endpoint) {
            Some(known) => *known = new,
            None => user.endpoints.push(new),
        }
    }

    /// Takes over who is there: new ones come in, known ones are as said now. Who is not said has
    /// gone, with what [`leave`](Self::leave) was told before or else as one that failed.
    pub fn sync(&mut self, now: Instant, wall: SystemTime, present: &[Present<'_>]) {
        for Present { arrival, nickname, lines } in present {
            let (member, endpoint) = (arrival.member, arrival.endpoint);
            match self.endpoint(member, endpoint) {
                Some(known) if known.status != Some(Status::Disconnected) => {
                    known.status = Some(arrival.status.clone());
                }
                _ => self.enter(wall, arrival),
            }
            self.nickname(member, *nickname);
            self.lines(member, endpoint, lines);
        }
        let there: HashSet<_> = present.iter().map(|p| (p.arrival.member, p.arrival.endpoint)).collect();
        let shown = self.users.values().flat_map(|u| u.endpoints.iter().map(|e| (&u.entity, &e.entity)));
        let gone: Vec<_> = shown
            .filter(|(m, e)| !there.contains(&(m.as_str(), e.as_str())))
            .map(|(m, e)| (m.clone(), e.clone()))
            .collect();
        let failed = Departure { method: Disconnection::Failed, reason: None, by: None };
        for (member, endpoint) in gone {
            self.leave(now, wall, (&member, &endpoint), &failed);
        }
    }

    /// One that was called has answered and has a Contact now.
    pub fn found(&mut self, member: &str, before: &str, endpoint: &str) {
        if let Some(known) = self.endpoint(member, before) {
            endpoint.clone_into(&mut known.entity);
        }
    }

    /// How far one is.
    pub fn status(&mut self, member: &str, endpoint: &str, status: Status) {
        if let Some(known) = self.endpoint(member, endpoint) {
            known.status = Some(status);
        }
    }

    /// The media lines of one, all of them.
    pub fn lines(&mut self, member: &str, endpoint: &str, lines: &[Line]) {
        let Some(known) = self.endpoint(member, endpoint) else { return };
        let media = |line: &Line| {
            let mut media = Media {
                id: line.id.clone(),
                kind: Some(line.kind.clone()),
                label: line.label.clone(),
                status: Some(line.status.clone()),
                ..Media::default()
            };
            media.extra.set_seal(Some(if line.sealed { Seal::Sealed } else { Seal::Open }));
            media
        };
        known.media = lines.iter().map(media).collect();
    }

    /// The name somebody goes by in the room; `None` for none.
    pub fn nickname(&mut self, member: &str, nickname: Option<&str>) {
        if let Some(user) = self.users.get_mut(member) {
            user.nickname = nickname.filter(|n| !n.is_empty()).map(str::to_owned);
        }
    }

    /// One has gone. It is shown as such until [`settle`](Self::settle) finds it long enough ago.
    pub fn leave(
        &mut self,
        now: Instant,
        wall: SystemTime,
        (member, endpoint): (&str, &str),
        departure: &Departure<'_>,
    ) {
        let Some(known) = self.endpoint(member, endpoint) else { return };
        if known.status == Some(Status::Disconnected) {
            return;
        }
        known.status = Some(Status::Disconnected);
        known.disconnection_method = Some(departure.method.clone());
        known.disconnection_info = Some(Execution {
            when: Some(date_time(unix(wall))),
            reason: departure.reason.map(str::to_owned),
            by: departure.by.map(str::to_owned),
            ..Execution::default()
        });
        known.media.clear();
        self.gone.push_back((now + SHOWN, member.to_owned(), endpoint.to_owned()));
        if self.gone.len() > MOST_SHOWN {
            self.forget();
        }
    }

    /// Takes away who has been gone for long. True if anybody was.
    pub fn settle(&mut self, now: Instant) -> bool {
        let before = self.gone.len();
        while self.gone.front().is_some_and(|(at, ..)| *at <= now) {
            self.forget();
        }
        self.gone.len() != before
    }

    /// When [`settle`](Self::settle) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.gone.front().map(|(at, ..)| *at)
    }

    fn forget(&mut self) {
        let Some((_, member, endpoint)) = self.gone.pop_front() else { return };
        if let Some(user) = self.users.get_mut(&member) {
            user.endpoints.retain(|e| e.entity != endpoint);
            if user.endpoints.is_empty() {
                self.users.remove(&member);
            }
        }
    }

    fn endpoint(&mut self, member: &str, endpoint: &str) -> Option<&mut Endpoint> {
        self.users.get_mut(member)?.endpoints.iter_mut().find(|e| e.entity == endpoint)
    }

    /// Whether a user is in the room now.
    pub fn is_present(&self, member: &str) -> bool {
        self.users.get(member).is_some_and(User::is_present)
    }

    /// Whether every line of everybody in the room has its own key. An empty room is sealed if it
    /// takes nobody else.
    pub fn is_sealed(&self) -> bool {
        let mut present = self.users.values().filter(|u| u.endpoints.iter().any(hears)).peekable();
        match present.peek() {
            None => self.sealed_only,
            Some(_) => present.all(is_sealed),
        }
    }

    /// The conference as it is.
    pub fn roster(&self) -> Roster {
        let users: Vec<User> = self.users.values().map(|user| self.shown(user)).collect();
        let count = users.iter().filter(|u| u.is_present()).count();
        let mut roster = Roster {
            entity: self.entity.clone(),
            description: self.description.clone(),
            state: ConferenceState {
                user_count: u32::try_from(count).ok(),
                active: Some(!self.locked),
                locked: Some(self.locked),
                ..ConferenceState::default()
            },
            users,
            ..Roster::default()
        };
        roster.extra.set_seal(Some(if self.is_sealed() { Seal::Sealed } else { Seal::Open }));
        roster
    }

    fn shown(&self, user: &User) -> User {
        let mut shown = user.clone();
        let owner = self.owners.contains(&user.entity);
        shown.roles = vec![if owner { "owner" } else { "participant" }.to_owned()];
        if self.chairs.contains(&user.entity) {
            shown.roles.push("chair".to_owned());
        }
        for endpoint in &mut shown.endpoints {
            let seal = hears(endpoint).then(|| seal_of(endpoint));
            endpoint.extra.set_seal(seal.flatten());
        }
        let seal = if is_sealed(user) { Seal::Sealed } else { Seal::Open };
        shown.extra.set_seal(user.endpoints.iter().any(hears).then_some(seal));
        shown
    }
}

fn unix(wall: SystemTime) -> u64 {
    wall.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Whether all lines of an endpoint have their keys; `None` before it has lines.
fn seal_of(endpoint: &Endpoint) -> Option<Seal> {
    let sealed = endpoint.media.iter().all(|m| m.extra.seal() == Some(Seal::Sealed));
    (!endpoint.media.is_empty()).then_some(if sealed { Seal::Sealed } else { Seal::Open })
}

/// Endpoints that have media: who is on hold, called back as a rule, hears nothing.
fn hears(endpoint: &Endpoint) -> bool {
    matches!(endpoint.status, Some(Status::Connected | Status::Muted))
}

/// Whether every endpoint of the user that hears is sealed.
fn is_sealed(user: &User) -> bool {
    user.endpoints.iter().filter(|e| hears(e)).all(|endpoint| seal_of(endpoint) == Some(Seal::Sealed))
}
