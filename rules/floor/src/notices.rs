//! What is said of requests and floors: in answers, and by the server itself (RFC 8855 §13.1.2, §13.5.2).

use crate::control::{FloorControl, message};
use crate::event::{CloseReason, ConnectionId, Event, Reason};
use crate::floors::Outcome;
use crate::request::{Request, Stand};
use bytes::Bytes;
use carnet_bfcp::{
    Body, FloorState, Message, RequestInformation, RequestStatus, Status, Text, Topic, UserInformation,
};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// How much of a request a user may see (§13.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// All of it: its chair, who asked, who gets the floor.
    Whole,
    /// Without what was said to the chair.
    Public,
    /// Nothing: the chair has not decided.
    Hidden,
}

impl FloorControl {
    pub(crate) fn view(&self, user: u16, request: &Request) -> View {
        if request.concerns(user) || request.parts.iter().any(|part| self.floors.is_chair(part.floor, user)) {
            return View::Whole;
        }
        if request.is_pending() { View::Hidden } else { View::Public }
    }

    fn information(&self, user: u16) -> UserInformation {
        match self.users.get(&user) {
            Some(entry) => entry.information(user),
            None => UserInformation { id: user, ..UserInformation::default() },
        }
    }

    /// An ongoing request. To a reader who asked for itself the beneficiary is not named (§10.1.2).
    pub(crate) fn describe(&self, request: &Request, reader: Option<u16>, view: View) -> RequestInformation {
        let state = |part: &crate::request::Part| {
            let status = match part.stand {
                _ if request.granted.is_some() => RequestStatus::new(Status::Granted),
                Stand::Pending => RequestStatus::new(Status::Pending),
                Stand::Accepted | Stand::Approved => RequestStatus {
                    status: Status::Accepted,
                    queue_position: self.floors.place(part.floor, request.id).unwrap_or(0),
                },
            };
            FloorState { id: part.floor, status: Some(status), information: part.information.clone() }
        };
        let floors = request.parts.iter().map(state).collect();
        self.information_of(request, self.floors.standing(request), None, floors, reader, view)
    }

    /// A request that is over.
    pub(crate) fn describe_ended(
        &self,
        request: &Request,
        status: Status,
        why: Option<Text>,
        reader: u16,
    ) -> RequestInformation {
        let status = RequestStatus::new(status);
        let state = |part: &crate::request::Part| FloorState {
            id: part.floor,
            status: Some(status),
            information: None,
        };
        let floors = request.parts.iter().map(state).collect();
        self.information_of(request, status, why, floors, Some(reader), View::Whole)
    }

    fn information_of(
        &self,
        request: &Request,
        status: RequestStatus,
        why: Option<Text>,
        floors: Vec<FloorState>,
        reader: Option<u16>,
        view: View,
    ) -> RequestInformation {
        let own = reader == Some(request.user) && reader == Some(request.by);
        let third = request.by != request.user;
        let provided = request.provided.clone().filter(|_| view == View::Whole);
        let mut information = RequestInformation {
            id: request.id,
            overall: Some(FloorState { id: request.id, status: Some(status), information: why }),
            floors,
            beneficiary: (!own).then(|| self.information(request.user)),
            requested_by: third.then(|| self.information(request.by)),
            priority: request.asked,
            provided,
        };
        information.fit();
        information
    }

    /// A floor for a user to read.
    pub(crate) fn floor_status(&self, floor: u16, reader: u16) -> Body {
        let seen = self.floors.about(floor).map(|request| (request, self.view(reader, request)));
        let seen = seen.filter(|(_, view)| *view != View::Hidden);
        // Readers of FloorStatus are told who has it, also when that is themselves (§13.5.1).
        let requests = seen.map(|(request, view)| self.describe(request, None, view)).collect();
        Body::FloorStatus { floors: vec![floor], requests }
    }

    /// Tells everybody whom it concerns what has changed. `told` is a request of which a user has heard in
    /// an answer just now.
    pub(crate) fn settle(&mut self, now: Instant, told: Option<(u16, u16)>) {
        // Who does not take what is told is lost, which may change something again.
        while !(self.floors.outcomes.is_empty() && self.floors.changed.is_empty() && self.owed.is_empty()) {
            self.tell(now, told);
        }
    }

    fn tell(&mut self, now: Instant, told: Option<(u16, u16)>) {
        for outcome in std::mem::take(&mut self.floors.outcomes) {
            match outcome {
                Outcome::Granted { request, user, floors } => {
                    self.events.push_back(Event::Granted { request, user, floors });
                }
                Outcome::Chair { floor, user } => self.events.push_back(Event::Chair { floor, user }),
                Outcome::Ended { request, status, reason, why } => {
                    self.tell_ended(now, &request, status, reason, why, told);
                }
            }
        }
        let changed = std::mem::take(&mut self.floors.changed);
        // A request may be about several of them.
        let about = changed.iter().flat_map(|floor| self.floors.about(*floor));
        let about: BTreeSet<u16> = about.map(|request| request.id).collect();
        for id in about {
            self.tell_request(now, id, told);
        }
        for floor in changed {
            self.tell_floor(now, floor);
            if let Some(report) = self.floors.report(floor) {
                self.events.push_back(Event::Floor(report));
            }
        }
        for (id, floor) in std::mem::take(&mut self.owed) {
            if let Some(user) = self.connections.get(&id).and_then(|connection| connection.user) {
                let status = self.floor_status(floor, user);
                self.notify(now, id, user, &status, Topic::Floor(floor));
            }
        }
    }

    fn tell_ended(
        &mut self,
        now: Instant,
        request: &Request,
        status: Status,
        reason: Reason,
        why: Option<Text>,
        told: Option<(u16, u16)>,
    ) {
        let why = why.or_else(|| (reason != Reason::Asked).then(|| Text::fitting(&reason.to_string())));
        let mut readers = vec![request.by];
        if request.user != request.by {
            readers.push(request.user);
        }
        for user in readers {
            if told != Some((request.id, user)) {
                let information = self.describe_ended(request, status, why.clone(), user);
                self.notify_user(
                    now,
                    user,
                    &Body::FloorRequestStatus(information),
                    Topic::Request(request.id),
                );
            }
        }
        self.events.push_back(Event::Ended {
            request: request.id,
            user: request.user,
            floors: request.floors(),
            status,
            reason,
        });
    }

    /// Who asked, and who gets the floor, hear when the status or the place in the queue is another.
    fn tell_request(&mut self, now: Instant, id: u16, told: Option<(u16, u16)>) {
        let Some(request) = self.floors.request(id) else { return };
        let standing = self.floors.standing(request);
        if request.reported == Some(standing) {
            return;
        }
        let mut notices = Vec::new();
        for user in
            [Some(request.by), Some(request.user).filter(|user| *user != request.by)].into_iter().flatten()
        {
            if told != Some((id, user)) {
                notices
                    .push((user, Body::FloorRequestStatus(self.describe(request, Some(user), View::Whole))));
            }
        }
        if let Some(request) = self.floors.request_mut(id) {
            request.reported = Some(standing);
        }
        for (user, body) in notices {
            self.notify_user(now, user, &body, Topic::Request(id));
        }
    }

    fn notify_user(&mut self, now: Instant, user: u16, body: &Body, topic: Topic) {
        if let Some(id) = self.users.get(&user).and_then(|user| user.connection) {
            self.notify(now, id, user, body, topic);
        }
    }

    fn notify(&mut self, now: Instant, id: ConnectionId, user: u16, body: &Body, topic: Topic) {
        let conference = self.settings.conference;
        if !self.takes(now, id) {
            return;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        // §8.2
        let transaction = if connection.is_stream() { 0 } else { connection.association.transaction() };
        connection.association.ask(now, message(conference, transaction, user, body), Some(topic));
        self.note_ready(id);
    }

    /// Whether a connection takes another notice. One that has taken none for too long is to be closed.
    fn takes(&mut self, now: Instant, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get(&id) else { return false };
        let slow = connection.blocked || !connection.is_stream();
        if slow && connection.association.backlog() > self.limits.transmit {
            self.drop_connection(now, id, CloseReason::Slow);
            return false;
        }
        true
    }

    /// Tells a floor's watchers what they do not know. All who may see the same are sent the same octets but
    /// for their number.
    fn tell_floor(&mut self, now: Instant, floor: u16) {
        let watchers = self.connections.iter().filter(|(_, connection)| connection.watches(floor));
        let watchers: Vec<(ConnectionId, u16)> =
            watchers.filter_map(|(id, c)| Some((*id, c.user?))).collect();
        if watchers.is_empty() {
            return;
        }
        let eyes = self.eyes(floor);
        let mut shared: Option<(Message, Vec<u8>, u64)> = None;
        for (id, user) in watchers {
            let own = eyes.contains(&user).then(|| self.sheet(floor, user));
            let (status, octets, digest) = match &own {
                Some(own) => own,
                None => shared.get_or_insert_with(|| self.sheet(floor, user)),
            };
            if !self.takes(now, id) {
                continue;
            }
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let Some(shown) = connection.watching.iter_mut().find(|watched| watched.floor == floor) else {
                continue;
            };
            if std::mem::replace(&mut shown.digest, *digest) == *digest {
                continue;
            }
            if connection.is_stream() {
                let mut octets = octets.clone();
                // The User ID of the header.
                if let Some(place) = octets.get_mut(10..12) {
                    place.copy_from_slice(&user.to_be_bytes());
                }
                connection.association.tell_octets(Bytes::from(octets), Some(Topic::Floor(floor)));
            } else {
                let transaction = connection.association.transaction();
                let status = Message { transaction, user, ..status.clone() };
                connection.association.ask(now, status, Some(Topic::Floor(floor)));
            }
            self.note_ready(id);
        }
    }

    /// What a user is shown of a floor: a message to nobody yet, its octets, and what tells it from others.
    pub(crate) fn sheet(&self, floor: u16, reader: u16) -> (Message, Vec<u8>, u64) {
        let status = message(self.settings.conference, 0, 0, &self.floor_status(floor, reader));
        // No request is too long (`fit`), and there are no more than `Limits::requests`.
        let octets = status.print().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        octets.hash(&mut hasher);
        (status, octets, hasher.finish())
    }

    /// Who sees more of a floor than everybody does.
    fn eyes(&self, floor: u16) -> BTreeSet<u16> {
        let mut own = BTreeSet::new();
        let more = |request: &&Request| request.is_pending() || request.provided.is_some();
        for request in self.floors.about(floor).filter(more) {
            own.insert(request.user);
            own.insert(request.by);
            for part in &request.parts {
                own.extend(self.floors.entry(part.floor).and_then(|entry| entry.chair));
            }
        }
        own
    }
}
