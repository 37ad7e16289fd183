//! What clients ask for (RFC 8855 §13), and when they are refused (§13.8).

use crate::control::{FloorControl, message};
use crate::event::{CloseReason, ConnectionId, Event, Reason};
use crate::floors::{Decision, Outcome};
use crate::notices::View;
use crate::people::Watched;
use crate::request::{Part, Request, Stand};
use bytes::Bytes;
use carnet_bfcp::{
    Body, Error, ErrorCode, Message, Primitive, Priority, RequestInformation, RequestStatus, Status, Text,
};
use std::time::{Duration, Instant};

/// How long an answer is kept at least.
const KEEP: Duration = Duration::from_secs(10);

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: ErrorCode,
    details: Bytes,
    why: Text,
}

impl Refusal {
    fn new(code: ErrorCode, why: &str) -> Self {
        Self { code, details: Bytes::new(), why: Text::fitting(why) }
    }

    fn body(self) -> Body {
        Body::Error { code: self.code, details: self.details, information: Some(self.why) }
    }
}

/// What a request brought.
struct Done {
    answer: Body,
    /// The request that the answer tells of.
    told: Option<u16>,
}

impl From<Body> for Done {
    fn from(answer: Body) -> Self {
        Self { answer, told: None }
    }
}

impl FloorControl {
    /// What a server of this transport takes and says. Acknowledgements of what it says by itself have no
    /// place on a stream.
    fn primitives(datagrams: bool) -> Vec<u8> {
        let all = Primitive::ALL.iter().copied();
        let acks = [Primitive::FloorRequestStatusAck, Primitive::FloorStatusAck];
        all.filter(|primitive| datagrams || !acks.contains(primitive)).map(|primitive| primitive.0).collect()
    }

    /// Takes a message in.
    pub(crate) fn take(&mut self, now: Instant, id: ConnectionId, request: &Message) {
        let datagrams = self.is_datagram(id);
        // Answers to what the server said have done their work, and errors are not answered.
        if datagrams && request.responder || request.primitive == Primitive::Error {
            return;
        }
        let user = match self.admissible(now, id, request, datagrams) {
            Ok(user) => user,
            Err(refusal) => return self.refuse(now, id, request, refusal.body()),
        };
        let changes = matches!(
            request.primitive,
            Primitive::FloorRequest | Primitive::FloorRelease | Primitive::ChairAction
        );
        if changes && let Some(answer) = self.users.get_mut(&user).and_then(|u| u.answer(now, request)) {
            let answer = answer.clone();
            return self.send_answer(now, id, request.primitive, answer);
        }
        // What ends is not held up.
        let fast = request.primitive != Primitive::FloorRelease && changes;
        if fast && !self.users.get_mut(&user).is_some_and(|user| user.may_ask(now, &self.limits)) {
            let refusal = Refusal::new(ErrorCode::Generic, "too many requests in too short a time");
            return self.refuse(now, id, request, refusal.body());
        }
        let body = match Body::of(request) {
            Ok(body) => body,
            Err(error) => return self.refuse(now, id, request, Body::refusal(&error)),
        };
        let done = self.perform(now, id, user, body);
        let Done { answer, told } = done.unwrap_or_else(|refusal| refusal.body().into());
        let goodbye = answer == Body::GoodbyeAck;
        let answer = message(request.conference, request.transaction, user, &answer);
        if changes {
            let until = now + KEEP.max(self.settings.grace);
            let most = self.limits.answers;
            if let Some(user) = self.users.get_mut(&user) {
                user.keep(request, answer.clone(), until, most);
            }
        }
        self.send_answer(now, id, request.primitive, answer);
        if goodbye {
            self.drop_connection(now, id, CloseReason::Goodbye);
        }
        self.settle(now, told.map(|request| (request, user)));
    }

    fn refuse(&mut self, now: Instant, id: ConnectionId, request: &Message, refusal: Body) {
        // §8.2: everything is copied, whatever it is.
        let answer = message(request.conference, request.transaction, request.user, &refusal);
        self.send_answer(now, id, request.primitive, answer);
    }

    /// Who it is that asks, if they may at all, in the order of §13.
    fn admissible(
        &mut self,
        now: Instant,
        id: ConnectionId,
        request: &Message,
        datagrams: bool,
    ) -> Result<u16, Refusal> {
        let Some(connection) = self.connections.get(&id) else {
            return Err(Refusal::new(ErrorCode::Generic, "the connection is closed"));
        };
        if self.settings.secured_only && !connection.secured {
            // §9.1
            let code = if datagrams { ErrorCode::UseDtls } else { ErrorCode::UseTls };
            return Err(Refusal::new(code, "this conference takes nothing in clear"));
        }
        let asks = matches!(
            request.primitive,
            Primitive::FloorRequest
                | Primitive::FloorRelease
                | Primitive::FloorRequestQuery
                | Primitive::UserQuery
                | Primitive::FloorQuery
                | Primitive::ChairAction
                | Primitive::Hello
                | Primitive::Goodbye
        );
        if !asks {
            let why = match request.primitive.name() {
                Some(name) => format!("{name} is not for a floor control server"),
                None => format!("primitive {} is not known", request.primitive.0),
            };
            return Err(Refusal::new(ErrorCode::UnknownPrimitive, &why));
        }
        if request.conference != self.settings.conference {
            return Err(Refusal::new(ErrorCode::ConferenceDoesNotExist, "there is no such conference here"));
        }
        let user = request.user;
        let bound = connection.user;
        let Some(entry) = self.users.get(&user).filter(|entry| entry.member.is_some()) else {
            return Err(Refusal::new(ErrorCode::UserDoesNotExist, "there is no such user"));
        };
        match bound {
            Some(bound) if bound == user => {}
            // §9.1: a connection speaks for its user only.
            Some(_) => {
                return Err(Refusal::new(
                    ErrorCode::UnauthorizedOperation,
                    "the connection is another user's",
                ));
            }
            None if entry.connection.is_some() => {
                return Err(Refusal::new(
                    ErrorCode::UnauthorizedOperation,
                    "the user has another connection",
                ));
            }
            None => {
                self.bind(now, id, user);
                self.events.push_back(Event::Bound { connection: id, user });
            }
        }
        let unknown = request.unknown_mandatory();
        if !unknown.is_empty() {
            let Body::Error { code, details, information } = Body::refusal(&Error::Mandatory(unknown)) else {
                return Err(Refusal::new(ErrorCode::UnknownMandatoryAttribute, "not known"));
            };
            return Err(Refusal { code, details, why: information.unwrap_or_default() });
        }
        Ok(user)
    }

    fn perform(&mut self, now: Instant, id: ConnectionId, user: u16, body: Body) -> Result<Done, Refusal> {
        match body {
            Body::FloorRequest { floors, beneficiary, information, priority } => {
                self.request(now, user, floors, beneficiary, information, priority)
            }
            Body::FloorRelease { request } => self.release(now, user, request),
            Body::FloorRequestQuery { request } => {
                let known = self.known(request)?;
                let view = self.view(user, known);
                if view == View::Hidden {
                    return Err(Refusal::new(
                        ErrorCode::UnauthorizedOperation,
                        "that is for its chair to see",
                    ));
                }
                let information = self.describe(known, Some(user), view);
                Ok(Body::FloorRequestStatus(information).into())
            }
            Body::UserQuery { beneficiary } => self.user_query(user, beneficiary).map(Done::from),
            Body::FloorQuery { floors } => self.watch(id, user, floors).map(Done::from),
            Body::ChairAction(information) => self.chair_action(now, user, &information).map(Done::from),
            Body::Hello => {
                let primitives = Self::primitives(self.is_datagram(id));
                Ok(Body::HelloAck { primitives, attributes: (1..=18).collect() }.into())
            }
            Body::Goodbye => Ok(Body::GoodbyeAck.into()),
            // `admissible` takes no others.
            _ => Err(Refusal::new(ErrorCode::UnknownPrimitive, "not for a floor control server")),
        }
    }

    fn known(&self, request: u16) -> Result<&Request, Refusal> {
        let refusal = || Refusal::new(ErrorCode::FloorRequestIdDoesNotExist, "there is no such request");
        self.floors.request(request).ok_or_else(refusal)
    }

    /// Floors that are all there, each once.
    fn floors_of(&self, mut floors: Vec<u16>) -> Result<Vec<u16>, Refusal> {
        if floors.len() > self.limits.floors_in_request {
            return Err(Refusal::new(ErrorCode::Generic, "too many floors at once"));
        }
        let mut seen = Vec::with_capacity(floors.len());
        floors.retain(|floor| {
            let new = !seen.contains(floor);
            seen.push(*floor);
            new
        });
        match floors.iter().find(|floor| self.floors.entry(**floor).is_none()) {
            Some(floor) => {
                Err(Refusal::new(ErrorCode::InvalidFloorId, &format!("there is no floor {floor}")))
            }
            None => Ok(floors),
        }
    }

    /// §13.1
    fn request(
        &mut self,
        now: Instant,
        by: u16,
        floors: Vec<u16>,
        beneficiary: Option<u16>,
        provided: Option<Text>,
        asked: Option<Priority>,
    ) -> Result<Done, Refusal> {
        let floors = self.floors_of(floors)?;
        let user = beneficiary.unwrap_or(by);
        let member = |user: u16| self.users.get(&user)?.member.as_ref();
        if member(user).is_none() {
            return Err(Refusal::new(ErrorCode::UserDoesNotExist, "there is no such beneficiary"));
        }
        let (third_party, highest) = match member(by) {
            Some(member) => (member.third_party, member.highest),
            None => (false, Priority::Normal),
        };
        let chairs = floors.iter().all(|floor| self.floors.is_chair(*floor, by));
        if user != by && !third_party && !chairs {
            return Err(Refusal::new(ErrorCode::UnauthorizedOperation, "not for others"));
        }
        let most = usize::from(self.settings.max_requests.max(1));
        let (mut made, mut here) = (0, vec![0; floors.len()]);
        for request in self.floors.requests() {
            made += usize::from(request.by == by);
            if request.user == user {
                for (count, floor) in here.iter_mut().zip(&floors) {
                    *count += usize::from(request.part(*floor).is_some());
                }
            }
        }
        if here.iter().any(|count| *count >= most) || made >= self.limits.requests_by_user {
            return Err(Refusal::new(ErrorCode::TooManyRequests, "one ends before another can be made"));
        }
        if self.floors.len() >= self.limits.requests {
            return Err(Refusal::new(ErrorCode::Generic, "the conference has too many requests"));
        }
        let part = |floor: &u16| Part { floor: *floor, stand: Stand::Pending, information: None };
        let request = Request {
            id: 0,
            user,
            by,
            asked,
            priority: asked.unwrap_or_default().min(highest),
            provided,
            parts: floors.iter().map(part).collect(),
            granted: None,
            expires: None,
            reported: None,
        };
        let id = self.floors.add(now, request);
        let request = id.and_then(|id| self.floors.request(id));
        let Some(request) = request else {
            return Err(Refusal::new(ErrorCode::Generic, "the conference has too many requests"));
        };
        let (id, waits) = (request.id, request.granted.is_none());
        let answer = Body::FloorRequestStatus(self.describe(request, Some(by), View::Whole));
        if waits {
            self.events.push_back(Event::Requested { request: id, user, floors });
        }
        Ok(Done { answer, told: Some(id) })
    }

    /// §13.4
    fn release(&mut self, now: Instant, user: u16, id: u16) -> Result<Done, Refusal> {
        if !self.known(id)?.concerns(user) {
            return Err(Refusal::new(ErrorCode::UnauthorizedOperation, "the request is another user's"));
        }
        self.floors.end(now, id, Status::Released, Reason::Asked, None);
        let ended = self.floors.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Ended { request, status, .. } if request.id == id => Some((request, *status)),
            _ => None,
        });
        let Some((request, status)) = ended else {
            return Err(Refusal::new(ErrorCode::FloorRequestIdDoesNotExist, "there is no such request"));
        };
        let answer = Body::FloorRequestStatus(self.describe_ended(request, status, None, user));
        Ok(Done { answer, told: Some(id) })
    }

    /// §13.3
    fn user_query(&self, asker: u16, beneficiary: Option<u16>) -> Result<Body, Refusal> {
        let user = beneficiary.unwrap_or(asker);
        let Some(entry) = self.users.get(&user).filter(|entry| entry.member.is_some()) else {
            return Err(Refusal::new(ErrorCode::UserDoesNotExist, "there is no such beneficiary"));
        };
        let theirs = self.floors.requests().filter(|request| request.concerns(user));
        let seen = theirs.map(|request| (request, self.view(asker, request)));
        let seen = seen.filter(|(_, view)| *view != View::Hidden);
        Ok(Body::UserStatus {
            beneficiary: Some(entry.information(user)),
            requests: seen.map(|(request, view)| self.describe(request, Some(asker), view)).collect(),
        })
    }

    /// §13.5
    fn watch(&mut self, id: ConnectionId, user: u16, floors: Vec<u16>) -> Result<Body, Refusal> {
        let floors = self.floors_of(floors)?;
        let shown = |floor: &u16| Watched { floor: *floor, digest: self.sheet(*floor, user).2 };
        let watching = floors.iter().map(shown).collect();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.watching = watching;
        }
        let Some((first, others)) = floors.split_first() else {
            return Ok(Body::FloorStatus { floors: Vec::new(), requests: Vec::new() });
        };
        let answer = self.floor_status(*first, user);
        // The answer has to go first.
        self.owed.extend(others.iter().map(|floor| (id, *floor)));
        Ok(answer)
    }

    /// §13.6
    fn chair_action(
        &mut self,
        now: Instant,
        user: u16,
        action: &RequestInformation,
    ) -> Result<Body, Refusal> {
        let request = self.known(action.id)?;
        let granted = request.granted.is_some();
        let overall = action.overall.as_ref();
        let mut decisions = Vec::with_capacity(action.floors.len());
        for floor in &action.floors {
            if self.floors.entry(floor.id).is_none() || request.part(floor.id).is_none() {
                return Err(Refusal::new(ErrorCode::InvalidFloorId, "the request is not for that floor"));
            }
            if !self.floors.is_chair(floor.id, user) {
                return Err(Refusal::new(ErrorCode::UnauthorizedOperation, "the floor has another chair"));
            }
            let status = floor.status.or(overall.and_then(|overall| overall.status));
            let decision = match status {
                Some(RequestStatus { status: Status::Accepted, .. }) if granted => None,
                Some(RequestStatus { status: Status::Accepted, queue_position }) => {
                    Some(Decision::Accept(queue_position))
                }
                Some(RequestStatus { status: Status::Granted, .. }) => Some(Decision::Grant),
                // A chair may not know yet that the request was granted, or has ended.
                Some(RequestStatus { status: Status::Denied | Status::Revoked, .. }) => {
                    Some(Decision::Refuse)
                }
                _ => None,
            };
            let why = floor.information.clone().or_else(|| overall?.information.clone());
            match decision {
                Some(decision) => decisions.push((floor.id, decision, why)),
                None => {
                    let why = "a chair accepts what is not granted, grants, denies or revokes";
                    return Err(Refusal::new(ErrorCode::Generic, why));
                }
            }
        }
        // One refusal is enough (§11.1), whatever is said of the other floors.
        decisions.sort_by_key(|(_, decision, _)| *decision != Decision::Refuse);
        for (floor, decision, why) in decisions {
            self.floors.decide(now, action.id, floor, decision, why);
        }
        self.floors.advance(now);
        Ok(Body::ChairActionAck)
    }
}
