//! Random histories against a model: the same rules written down naively, with lists that are sorted anew
//! each time instead of queues that are kept.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use carnet_bfcp::*;
use carnet_floor::{
    Algorithm, ConnectionId, Event, Floor, FloorControl, Limits as ServerLimits, Link, Member, Settings,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const USERS: std::ops::RangeInclusive<u16> = 1..=5;
const GRACE: u64 = 20;
const MOST: usize = 2;

/// Floor, whether it has a chair, most holders, seconds.
const FLOORS: [(u16, bool, usize, Option<u64>); 4] =
    [(1, false, 1, None), (2, false, 2, Some(30)), (3, true, 1, None), (4, true, 2, Some(45))];

#[derive(Debug, Clone)]
enum Op {
    /// By whom, for whom, which floors (bits), how urgent.
    Request(u16, u16, u8, u8),
    Release(u16, usize),
    /// A chair, a request, a floor; 0 accepts, 1 grants, 2 denies, 3 revokes, more accepts at a place.
    Decide(u16, usize, u16, u8),
    Designate(u16, u16),
    Lose(u16),
    Return(u16),
    Leave(u16),
    Dismiss(u16),
    Admit(u16),
    Pass(u64),
}

fn op(places: bool) -> impl Strategy<Value = Op> {
    let user = || USERS;
    let decisions = if places { 0..8u8 } else { 0..4u8 };
    prop_oneof![
        6 => (user(), user(), 1..16u8, 0..5u8).prop_map(|(by, user, floors, priority)| {
            // Mostly for oneself, mostly one floor.
            let user = if priority == 0 { user } else { by };
            let floors = if floors & 1 == 0 { floors & floors.wrapping_neg() } else { floors };
            Op::Request(by, user, floors, priority)
        }),
        3 => (user(), any::<prop::sample::Index>()).prop_map(|(user, at)| Op::Release(user, at.index(64))),
        6 => (user(), any::<prop::sample::Index>(), 1..5u16, decisions)
            .prop_map(|(chair, at, floor, decision)| Op::Decide(chair, at.index(64), floor, decision)),
        1 => (1..5u16, user()).prop_map(|(floor, user)| Op::Designate(floor, user)),
        1 => user().prop_map(Op::Lose),
        2 => user().prop_map(Op::Return),
        1 => user().prop_map(Op::Leave),
        1 => user().prop_map(Op::Dismiss),
        2 => user().prop_map(Op::Admit),
        2 => (1..30u64).prop_map(Op::Pass),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Since when.
    Approved(u64),
    /// How little urgent, since when.
    Accepted(u8, u64),
    Pending(u64),
}

#[derive(Debug, Clone)]
struct Asked {
    user: u16,
    by: u16,
    priority: u8,
    keys: BTreeMap<u16, Key>,
    granted: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Nowhere,
    Here,
    Away(u64),
}

#[derive(Debug, Default)]
struct Model {
    time: u64,
    serial: u64,
    users: BTreeMap<u16, Option<Where>>,
    chairs: BTreeMap<u16, u16>,
    asked: BTreeMap<u16, Asked>,
    ends: BTreeMap<u16, Status>,
}

impl Model {
    fn tick(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn at(&self, user: u16) -> Option<Where> {
        self.users.get(&user).copied().flatten()
    }

    fn holders(&self, floor: u16) -> Vec<u16> {
        let mut holders: Vec<_> = self
            .asked
            .iter()
            .filter(|(_, a)| a.keys.contains_key(&floor))
            .filter_map(|(id, a)| Some((a.granted?.1, *id)))
            .collect();
        holders.sort_unstable();
        holders.into_iter().map(|(_, id)| id).collect()
    }

    fn waiting(&self, floor: u16, pending: bool) -> Vec<u16> {
        let mut waiting: Vec<_> = self
            .asked
            .iter()
            .filter(|(_, a)| a.granted.is_none())
            .filter_map(|(id, a)| Some((*a.keys.get(&floor)?, *id)))
            .filter(|(key, _)| matches!(key, Key::Pending(_)) == pending)
            .collect();
        waiting.sort_unstable();
        waiting.into_iter().map(|(_, id)| id).collect()
    }

    fn room(&self, floor: u16) -> bool {
        self.holders(floor).len() < FLOORS[usize::from(floor) - 1].2
    }

    fn can(&self, id: u16) -> bool {
        let asked = &self.asked[&id];
        asked.granted.is_none()
            && !matches!(self.at(asked.user), Some(Where::Away(_)))
            && asked.keys.iter().all(|(floor, key)| match key {
                Key::Pending(_) => false,
                Key::Approved(_) => true,
                Key::Accepted(..) => self.room(*floor),
            })
    }

    fn next(&self) -> Option<u16> {
        let mut second = None;
        for (floor, ..) in FLOORS {
            let Some(id) = self.waiting(floor, false).into_iter().find(|id| self.can(*id)) else { continue };
            let first_everywhere = self.asked[&id].keys.keys().all(|floor| {
                let queue = self.waiting(*floor, false);
                queue.into_iter().find(|other| self.can(*other)) == Some(id)
            });
            if first_everywhere {
                return Some(id);
            }
            second = second.or(Some(id));
        }
        second
    }

    fn advance(&mut self) {
        while let Some(id) = self.next() {
            let floors: Vec<u16> = self.asked[&id].keys.keys().copied().collect();
            for floor in floors {
                if !self.room(floor) {
                    let oldest = self.holders(floor)[0];
                    self.end(oldest, true);
                }
            }
            let since = self.tick();
            self.asked.get_mut(&id).unwrap().granted = Some((self.time, since));
        }
    }

    /// Refused by somebody, or given back.
    fn end(&mut self, id: u16, refused: bool) {
        let asked = self.asked.remove(&id).unwrap();
        let status = match (asked.granted.is_some(), refused) {
            (true, true) => Status::Revoked,
            (true, false) => Status::Released,
            (false, true) => Status::Denied,
            (false, false) => Status::Cancelled,
        };
        assert_eq!(self.ends.insert(id, status), None);
    }

    fn gone(&mut self, user: u16) {
        let theirs: Vec<u16> = self.asked.iter().filter(|(_, a)| a.user == user).map(|(id, _)| *id).collect();
        for id in theirs {
            self.end(id, false);
        }
    }

    fn pass(&mut self) {
        self.time += 1;
        for user in USERS {
            if self.at(user) == Some(Where::Away(self.time)) {
                self.gone(user);
                self.users.insert(user, Some(Where::Nowhere));
                self.advance();
            }
        }
        let over = |a: &Asked| {
            let times = a.keys.keys().filter_map(|floor| FLOORS[usize::from(*floor) - 1].3);
            times.min().zip(a.granted).is_some_and(|(time, (since, _))| since + time == self.time)
        };
        let over: Vec<u16> = self.asked.iter().filter(|(_, a)| over(a)).map(|(id, _)| *id).collect();
        for id in over {
            self.end(id, true);
        }
        self.advance();
    }
}

struct Run {
    model: Model,
    control: FloorControl,
    now: Instant,
    connections: BTreeMap<u16, ConnectionId>,
    next: u64,
    transaction: u16,
    /// What the machine told: which are granted, which are over.
    granted: BTreeSet<u16>,
    ends: BTreeMap<u16, Status>,
    all: BTreeSet<u16>,
}

impl Run {
    fn new() -> Self {
        let floors = FLOORS.map(|(id, chair, most, seconds)| {
            let algorithm = if chair { Algorithm::Chair } else { Algorithm::FirstCome };
            let mut floor = Floor::new(id, algorithm);
            floor.max_holders = u16::try_from(most).unwrap();
            floor.max_time = seconds.map(Duration::from_secs);
            floor
        });
        let mut settings = Settings::new(1, floors.to_vec());
        settings.max_requests = u16::try_from(MOST).unwrap();
        settings.grace = Duration::from_secs(GRACE);
        let mut limits = ServerLimits::default();
        limits.burst = u32::MAX;
        let mut run = Self {
            model: Model::default(),
            control: FloorControl::new(settings, limits),
            now: Instant::now(),
            connections: BTreeMap::new(),
            next: 0,
            transaction: 0,
            granted: BTreeSet::new(),
            ends: BTreeMap::new(),
            all: BTreeSet::new(),
        };
        for user in USERS {
            run.apply(&Op::Admit(user));
            run.apply(&Op::Return(user));
        }
        run.apply(&Op::Designate(3, 4));
        run.apply(&Op::Designate(4, 5));
        run
    }

    /// The answer to a message, which is the same when the message comes again.
    fn say(&mut self, user: u16, body: &Body) -> Option<Body> {
        let id = *self.connections.get(&user)?;
        self.transaction += 1;
        let message = Message {
            version: 1,
            responder: false,
            primitive: body.primitive(),
            conference: 1,
            transaction: self.transaction,
            user,
            attributes: body.attributes(),
        };
        let octets = message.print().unwrap();
        let mut answers = Vec::new();
        for _ in 0..2 {
            self.control.handle_octets(self.now, id, &octets);
            while let Some((to, octets)) = self.control.poll_transmit() {
                let said = Message::parse(&octets, &Limits::default()).unwrap();
                if to == id && said.transaction == self.transaction {
                    answers.push(said);
                } else {
                    assert_eq!(said.transaction, 0);
                }
            }
        }
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0], answers[1]);
        Some(Body::of(&answers[0]).unwrap())
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Request(by, user, bits, priority) => self.request(*by, *user, *bits, *priority),
            Op::Release(user, at) => self.release(*user, *at),
            Op::Decide(chair, at, floor, decision) => self.decide(*chair, *at, *floor, *decision),
            Op::Designate(floor, user) => {
                let done = self.control.designate(self.now, *floor, Some(*user));
                assert_eq!(done.is_ok(), self.model.at(*user).is_some());
                if done.is_ok() {
                    self.model.chairs.insert(*floor, *user);
                }
            }
            Op::Lose(user) => {
                if let Some(id) = self.connections.remove(user) {
                    self.control.closed(self.now, id, false);
                    let until = self.model.time + GRACE;
                    self.model.users.insert(*user, Some(Where::Away(until)));
                }
            }
            Op::Return(user) => {
                if self.model.at(*user).is_some() && !self.connections.contains_key(user) {
                    self.next += 1;
                    let id = ConnectionId(self.next);
                    self.control.connected(self.now, id, Link::stream(Some(*user)));
                    self.connections.insert(*user, id);
                    self.model.users.insert(*user, Some(Where::Here));
                    self.model.advance();
                }
            }
            Op::Leave(user) => {
                if let Some(id) = self.connections.remove(user) {
                    self.control.closed(self.now, id, true);
                    self.model.users.insert(*user, Some(Where::Nowhere));
                    self.model.gone(*user);
                    self.model.advance();
                }
            }
            Op::Dismiss(user) => {
                self.control.dismiss(self.now, *user);
                self.connections.remove(user);
                if self.model.at(*user).is_some() {
                    self.model.gone(*user);
                    self.model.users.insert(*user, None);
                    for asked in self.model.asked.values_mut().filter(|a| a.by == *user) {
                        asked.by = asked.user;
                    }
                    self.model.chairs.retain(|_, chair| chair != user);
                    self.model.advance();
                }
            }
            Op::Admit(user) => {
                let member = Member { third_party: *user == 1, ..Member::default() };
                self.control.admit(self.now, *user, member);
                self.model.users.entry(*user).or_default().get_or_insert(Where::Nowhere);
            }
            Op::Pass(seconds) => {
                let end = self.now + Duration::from_secs(*seconds);
                while let Some(at) = self.control.poll_timeout().filter(|at| *at <= end) {
                    self.control.handle_timeout(at);
                }
                self.now = end;
                for _ in 0..*seconds {
                    self.model.pass();
                }
            }
        }
        while self.control.poll_transmit().is_some() {}
    }

    fn request(&mut self, by: u16, user: u16, bits: u8, priority: u8) {
        let floors: Vec<u16> = (1..=4).filter(|floor| bits >> (floor - 1) & 1 == 1).collect();
        let body = Body::FloorRequest {
            floors: floors.clone(),
            beneficiary: (user != by).then_some(user),
            information: None,
            priority: Some(Priority::from_bits(priority)),
        };
        let Some(answer) = self.say(by, &body) else { return };
        let chairs = floors.iter().all(|floor| self.model.chairs.get(floor) == Some(&by));
        let count = |floor: &u16| {
            let theirs = self.model.asked.values().filter(|a| a.user == user);
            theirs.filter(|a| a.keys.contains_key(floor)).count()
        };
        let expected = if self.model.at(user).is_none() {
            Some(ErrorCode::UserDoesNotExist)
        } else if user != by && by != 1 && !chairs {
            Some(ErrorCode::UnauthorizedOperation)
        } else if floors.iter().any(|floor| count(floor) >= MOST) {
            Some(ErrorCode::TooManyRequests)
        } else {
            None
        };
        let id = match (answer, expected) {
            (Body::Error { code, .. }, Some(expected)) => return assert_eq!(code, expected),
            (Body::FloorRequestStatus(information), None) => information.id,
            other => panic!("{other:?}"),
        };
        assert!(self.all.insert(id), "{id} was given before");
        let serial = self.model.tick();
        let keys = floors.iter().map(|floor| {
            let decided = !FLOORS[usize::from(*floor) - 1].1 || self.model.chairs.get(floor) == Some(&by);
            (*floor, if decided { Key::Accepted(4 - priority, serial) } else { Key::Pending(serial) })
        });
        let asked = Asked { user, by, priority, keys: keys.collect(), granted: None };
        self.model.asked.insert(id, asked);
        self.model.advance();
    }

    /// One of all that were ever made, or none.
    fn pick(&self, at: usize) -> u16 {
        self.all.iter().rev().nth(at % 8).copied().unwrap_or(9_999)
    }

    fn release(&mut self, user: u16, at: usize) {
        let id = self.pick(at);
        let Some(answer) = self.say(user, &Body::FloorRelease { request: id }) else { return };
        let expected = match self.model.asked.get(&id) {
            None => Err(ErrorCode::FloorRequestIdDoesNotExist),
            Some(asked) if asked.user != user && asked.by != user => Err(ErrorCode::UnauthorizedOperation),
            Some(asked) if asked.granted.is_some() => Ok(Status::Released),
            Some(_) => Ok(Status::Cancelled),
        };
        match (answer, expected) {
            (Body::Error { code, .. }, Err(expected)) => return assert_eq!(code, expected),
            (Body::FloorRequestStatus(information), Ok(expected)) => {
                assert_eq!(information.overall.unwrap().status.unwrap().status, expected);
            }
            other => panic!("{other:?}"),
        }
        self.model.end(id, false);
        self.model.advance();
    }

    fn decide(&mut self, chair: u16, at: usize, floor: u16, decision: u8) {
        let id = self.pick(at);
        let status = match decision {
            1 => RequestStatus::new(Status::Granted),
            2 => RequestStatus::new(Status::Denied),
            3 => RequestStatus::new(Status::Revoked),
            place => RequestStatus { status: Status::Accepted, queue_position: place },
        };
        let floors = vec![FloorState { id: floor, status: Some(status), information: None }];
        let action = RequestInformation { id, floors, ..RequestInformation::default() };
        let Some(answer) = self.say(chair, &Body::ChairAction(action)) else { return };
        let is_chair = self.model.chairs.get(&floor) == Some(&chair);
        let expected = match self.model.asked.get(&id) {
            None => Some(ErrorCode::FloorRequestIdDoesNotExist),
            Some(asked) if !asked.keys.contains_key(&floor) => Some(ErrorCode::InvalidFloorId),
            Some(_) if !is_chair => Some(ErrorCode::UnauthorizedOperation),
            Some(asked) if asked.granted.is_some() && matches!(decision, 0 | 4..) => Some(ErrorCode::Generic),
            Some(_) => None,
        };
        match (answer, expected) {
            (Body::Error { code, .. }, Some(expected)) => return assert_eq!(code, expected),
            (Body::ChairActionAck, None) => {}
            other => panic!("{other:?}"),
        }
        let serial = self.model.tick();
        if matches!(decision, 2 | 3) {
            self.model.end(id, true);
        } else {
            let asked = self.model.asked.get_mut(&id).unwrap();
            let key = asked.keys.get_mut(&floor).unwrap();
            match (decision, *key, asked.granted) {
                (_, _, Some(_)) | (0, Key::Accepted(..), None) => {}
                (1, _, None) => *key = Key::Approved(serial),
                (_, _, None) => *key = Key::Accepted(4 - asked.priority, serial),
            }
        }
        self.model.advance();
    }

    /// What holds whatever happens.
    fn invariants(&mut self) {
        while let Some(event) = self.control.poll_event() {
            match event {
                Event::Granted { request, user, .. } => {
                    assert!(self.granted.insert(request), "granted twice");
                    assert!(!self.ends.contains_key(&request), "granted when over");
                    let gone = matches!(self.model.at(user), None | Some(Where::Away(_)));
                    assert!(!gone, "granted to one who is gone");
                }
                Event::Ended { request, status, .. } => {
                    assert!(status.is_final());
                    assert_eq!(self.ends.insert(request, status), None, "over twice");
                    let was_granted = matches!(status, Status::Released | Status::Revoked);
                    assert_eq!(was_granted, self.granted.contains(&request), "{request} {status}");
                }
                _ => {}
            }
        }
        let mut ongoing = BTreeSet::new();
        for (report, (floor, _, most, _)) in self.control.status().iter().zip(FLOORS) {
            assert_eq!(report.floor, floor);
            assert!(report.holders.len() <= most, "more holders than there may be");
            for claim in report.holders.iter().chain(&report.queue).chain(&report.pending) {
                ongoing.insert(claim.request);
                let holds = report.holders.contains(claim);
                assert_eq!(holds, self.granted.contains(&claim.request));
            }
        }
        for id in &self.all {
            assert_ne!(ongoing.contains(id), self.ends.contains_key(id), "{id} is over or not");
        }
    }

    fn agree(&self) {
        assert_eq!(self.ends, self.model.ends);
        for report in self.control.status() {
            let ids = |claims: &[carnet_floor::Claim]| claims.iter().map(|c| c.request).collect::<Vec<_>>();
            let floor = report.floor;
            assert_eq!(ids(&report.holders), self.model.holders(floor), "holders of {floor}");
            assert_eq!(ids(&report.queue), self.model.waiting(floor, false), "queue of {floor}");
            assert_eq!(ids(&report.pending), self.model.waiting(floor, true), "undecided of {floor}");
            assert_eq!(report.chair, self.model.chairs.get(&floor).copied());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_and_the_model_agree(ops in prop::collection::vec(op(false), 1..30)) {
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
            run.invariants();
            run.agree();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// The model knows no places that chairs give; what always holds does so with them too, and a snapshot
    /// taken anywhere is restored as it was.
    #[test]
    fn nothing_is_lost_or_given_twice(ops in prop::collection::vec(op(true), 1..40)) {
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
            run.invariants();
        }
        let text = run.control.snapshot(run.now);
        let mut again = FloorControl::new(run.control.settings().clone(), ServerLimits::default());
        for user in USERS.filter(|user| run.model.at(*user).is_some()) {
            again.admit(run.now, user, Member::default());
        }
        again.restore(run.now, &text).unwrap();
        for (before, after) in run.control.status().iter().zip(again.status()) {
            prop_assert_eq!((&before.holders, &before.pending), (&after.holders, &after.pending));
            prop_assert_eq!(&before.queue, &after.queue);
        }
    }
}
