//! A conference and clients that talk to its floor control server without sockets.

#![allow(dead_code)] // Each test takes what it needs.

use carnet_bfcp::{
    Body, Client, ClientEvent, ErrorCode, FloorState, Limits as MessageLimits, RequestInformation,
    RequestStatus, Status, Transport,
};
use carnet_floor::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub const CONFERENCE: u32 = 0x0a0b_0c0d;

pub struct Rig {
    pub now: Instant,
    pub control: FloorControl,
    pub clients: BTreeMap<u16, (ConnectionId, Client)>,
    pub events: Vec<Event>,
    pub notices: BTreeMap<u16, Vec<Body>>,
    next: u64,
}

pub fn floor(id: u16, algorithm: Algorithm) -> Floor {
    Floor::new(id, algorithm)
}

impl Rig {
    /// Users with a connection each.
    pub fn new(floors: Vec<Floor>, users: &[u16]) -> Self {
        Self::with(Settings::new(CONFERENCE, floors), Limits::default(), users)
    }

    pub fn with(settings: Settings, limits: Limits, users: &[u16]) -> Self {
        let control = FloorControl::new(settings, limits);
        let mut rig = Self {
            now: Instant::now(),
            control,
            clients: BTreeMap::new(),
            events: Vec::new(),
            notices: BTreeMap::new(),
            next: 1,
        };
        for user in users {
            rig.control.admit(rig.now, *user, Member::default());
            rig.join(*user, Transport::Stream);
        }
        rig
    }

    /// A connection for a user, whose client begins anew.
    pub fn join(&mut self, user: u16, transport: Transport) -> ConnectionId {
        let id = self.connect(Link { transport, user: Some(user), secured: true });
        let client = Client::new(CONFERENCE, user, transport, MessageLimits::default());
        self.clients.insert(user, (id, client));
        id
    }

    pub fn connect(&mut self, link: Link) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        self.control.connected(self.now, id, link);
        self.run();
        id
    }

    /// Carries octets both ways until there are none.
    pub fn run(&mut self) {
        loop {
            let mut idle = true;
            for (id, client) in self.clients.values_mut() {
                while let Some(octets) = client.poll_transmit() {
                    self.control.handle_octets(self.now, *id, &octets);
                    idle = false;
                }
            }
            while let Some((id, octets)) = self.control.poll_transmit() {
                if let Some((_, client)) = self.clients.values_mut().find(|(other, _)| *other == id) {
                    client.handle_octets(self.now, &octets).unwrap();
                    idle = false;
                }
            }
            while let Some(event) = self.control.poll_event() {
                self.events.push(event);
            }
            if idle {
                return;
            }
        }
    }

    pub fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.control.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.control.handle_timeout(self.now);
            self.run();
        }
        self.now = end;
        self.run();
    }

    pub fn client(&mut self, user: u16) -> &mut Client {
        &mut self.clients.get_mut(&user).unwrap().1
    }

    pub fn id(&self, user: u16) -> ConnectionId {
        self.clients[&user].0
    }

    /// The answer to a request.
    pub fn ask(&mut self, user: u16, body: Body) -> Body {
        let now = self.now;
        let transaction = self.client(user).ask(now, body).unwrap();
        self.run();
        self.answer(user, transaction).expect("an answer")
    }

    pub fn answer(&mut self, user: u16, wanted: u16) -> Option<Body> {
        let mut found = None;
        while let Some(event) = self.client(user).poll_event() {
            match event {
                ClientEvent::Answer { transaction, answer, .. } if transaction == wanted => {
                    found = Some(answer);
                }
                ClientEvent::Notice(body) => self.notices.entry(user).or_default().push(body),
                other => panic!("{other:?}"),
            }
        }
        found
    }

    /// What a user heard without asking since the last time.
    pub fn heard(&mut self, user: u16) -> Vec<Body> {
        self.run();
        assert_eq!(self.answer(user, 0), None);
        self.notices.remove(&user).unwrap_or_default()
    }

    /// The statuses of requests that a user heard of without asking.
    pub fn news(&mut self, user: u16) -> Vec<(u16, Status, u8)> {
        let statuses = self.heard(user).into_iter().filter_map(|body| match body {
            Body::FloorRequestStatus(information) => Some(standing(&information)),
            _ => None,
        });
        statuses.collect()
    }

    /// Asks for floors: the request's number and status.
    pub fn request(&mut self, user: u16, floors: &[u16]) -> (u16, Status, u8) {
        match self.ask(user, request(floors)) {
            Body::FloorRequestStatus(information) => standing(&information),
            other => panic!("{other:?}"),
        }
    }

    pub fn decide(&mut self, chair: u16, request: u16, floor: u16, status: RequestStatus) -> Body {
        let state = FloorState { id: floor, status: Some(status), information: None };
        let action = RequestInformation { id: request, floors: vec![state], ..Default::default() };
        self.ask(chair, Body::ChairAction(action))
    }

    /// Everything that happened since the last time.
    pub fn happened(&mut self) -> Vec<Event> {
        self.run();
        std::mem::take(&mut self.events)
    }
}

pub fn standing(information: &RequestInformation) -> (u16, Status, u8) {
    let overall = information.overall.as_ref().unwrap();
    let status = overall.status.unwrap();
    (information.id, status.status, status.queue_position)
}

pub fn code(body: &Body) -> ErrorCode {
    match body {
        Body::Error { code, .. } => *code,
        other => panic!("{other:?}"),
    }
}

pub fn request(floors: &[u16]) -> Body {
    Body::FloorRequest { floors: floors.to_vec(), beneficiary: None, information: None, priority: None }
}
