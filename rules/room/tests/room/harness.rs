//! A room and its members, wired in memory: each member is a session of our own MSRP endpoint.

use bytes::Bytes;
use carnet_msrp::cpim::{Address, Head};
use carnet_msrp::{
    ArrivalKey, Config, Event as SessionEvent, MessageKey, Outgoing, Session, Size, Status, Uri,
};
use carnet_room::{Event, Limits, Member, MemberId, Room, Settings};
use carnet_wire::SeededRandom;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

pub const ROOM: &str = "sip:room@conf.example.com";

/// A message as a member got it.
#[derive(Debug, Clone, PartialEq)]
pub struct Got {
    pub id: String,
    pub from: String,
    pub to: String,
    pub text: String,
}

/// One member's end.
pub struct Client {
    pub session: Session,
    pub uri: String,
    /// Octets that one turn carries each way.
    pub step: usize,
    /// Whether it reads nothing.
    pub stalled: bool,
    pub inbox: Vec<Got>,
    /// What its session said of its own messages.
    pub outcomes: Vec<SessionEvent>,
    pub aborted: usize,
    /// Whether it answers nothing.
    pub mute: bool,
    /// Whether it sends nothing.
    pub frozen: bool,
    /// Media types inside of the wrapper that it answers with 415.
    pub refuses: Option<&'static str>,
    /// `Content-Type` and other header fields of what it got.
    pub heads: Vec<(String, Vec<(String, String)>)>,
    /// `DateTime` of what it got.
    pub dates: Vec<Option<String>>,
    pub closed: bool,
    to_room: Vec<u8>,
    to_client: Vec<u8>,
    open: HashMap<ArrivalKey, (String, Vec<u8>)>,
    supply: HashMap<MessageKey, VecDeque<Bytes>>,
}

pub struct World {
    pub now: Instant,
    pub room: Room,
    pub clients: BTreeMap<u16, Client>,
    pub events: Vec<Event>,
    connections: u64,
}

pub fn uri(id: u16) -> String {
    format!("sip:user{id}@example.com")
}

pub fn path(host: &str, session: &str) -> Uri {
    format!("msrp://{host}:2855/{session};tcp").parse().unwrap()
}

pub fn member(id: u16) -> Member {
    Member::new(uri(id), path("room", &format!("leg{id}")), vec![path("client", &format!("c{id}"))])
}

/// Policy of a room that says nothing in words.
pub fn quiet() -> Settings {
    Settings { notices: false, ..Settings::new(ROOM) }
}

/// A message/cpim body.
pub fn wrap(from: &str, to: &str, content_type: &str, text: &[u8]) -> Vec<u8> {
    let head = Head::new(&Address::of(from), &Address::of(to), content_type).unwrap();
    let mut body = Vec::new();
    head.write(&mut body);
    body.extend_from_slice(text);
    body
}

impl World {
    pub fn new(settings: Settings, limits: Limits) -> Self {
        let room = Room::new(settings, limits, Box::new(SeededRandom::new(7)));
        Self { now: Instant::now(), room, clients: BTreeMap::new(), events: Vec::new(), connections: 0 }
    }

    /// A room with members 1 to `n`.
    pub fn with(n: u16) -> Self {
        let mut world = Self::new(quiet(), Limits::default());
        (1..=n).for_each(|id| world.enter(id));
        world.settle();
        world
    }

    pub fn enter(&mut self, id: u16) {
        self.enter_as(id, member(id));
    }

    pub fn enter_as(&mut self, id: u16, member: Member) {
        assert!(self.room.join(self.now, MemberId(id), member.clone()));
        self.connect(id, &member.uri);
    }

    /// Opens a connection for a member, in place of any it had.
    pub fn connect(&mut self, id: u16, uri: &str) {
        self.connections += 1;
        let config = Config {
            conclude: true,
            limits: carnet_msrp::Limits { messages: 4096, ..Default::default() },
            ..Config::new(path("client", &format!("c{id}")), vec![path("room", &format!("leg{id}"))])
        };
        let mut session = Session::new(config, Box::new(SeededRandom::new(self.connections + 100)));
        session.keep_alive(self.now);
        let old = self.clients.remove(&id);
        let mut client = Client {
            session,
            uri: uri.to_owned(),
            step: 1 << 16,
            stalled: false,
            inbox: Vec::new(),
            outcomes: Vec::new(),
            aborted: 0,
            mute: false,
            frozen: false,
            refuses: None,
            heads: Vec::new(),
            dates: Vec::new(),
            closed: false,
            to_room: Vec::new(),
            to_client: Vec::new(),
            open: HashMap::new(),
            supply: HashMap::new(),
        };
        if let Some(old) = old {
            client.inbox = old.inbox;
            client.step = old.step;
        }
        self.clients.insert(id, client);
        self.room.connected(self.now, MemberId(id), false);
    }

    /// A member's connection breaks.
    pub fn cut(&mut self, id: u16) {
        self.client(id).closed = true;
        self.room.disconnected(self.now, MemberId(id));
    }

    pub fn client(&mut self, id: u16) -> &mut Client {
        self.clients.get_mut(&id).unwrap()
    }

    /// A line of chat to the room.
    pub fn say(&mut self, id: u16, text: &str) -> MessageKey {
        self.say_to(id, ROOM, text)
    }

    pub fn say_to(&mut self, id: u16, to: &str, text: &str) -> MessageKey {
        let from = self.client(id).uri.clone();
        self.send(id, wrap(&from, to, "text/plain", text.as_bytes()))
    }

    /// Sends these octets as message/cpim in one piece.
    pub fn send(&mut self, id: u16, body: Vec<u8>) -> MessageKey {
        self.send_as(id, "message/cpim", body)
    }

    pub fn send_as(&mut self, id: u16, content_type: &str, body: Vec<u8>) -> MessageKey {
        let message = Outgoing::new(content_type, Size::Unknown);
        self.client(id).session.send_whole(message, body.into()).unwrap()
    }

    /// Sends a message whose body is given when it is asked for.
    pub fn stream(&mut self, id: u16, message: Outgoing, body: Vec<u8>) -> MessageKey {
        let client = self.client(id);
        let key = client.session.send(message).unwrap();
        client.supply.insert(key, VecDeque::from([Bytes::from(body)]));
        client.events();
        key
    }

    /// Octets that no session of ours would write.
    pub fn raw(&mut self, id: u16, octets: &[u8]) {
        self.client(id).to_room.extend_from_slice(octets);
    }

    /// One step of each member. Returns whether anything moved.
    pub fn turn(&mut self) -> bool {
        let (now, mut moved) = (self.now, false);
        for (id, client) in &mut self.clients {
            moved |= client.turn(now, MemberId(*id), &mut self.room);
        }
        while let Some(event) = self.room.poll_event() {
            if let Event::Released { member, .. } = &event
                && let Some(client) = self.clients.get_mut(&member.0)
            {
                client.closed = true;
            }
            self.events.push(event);
        }
        moved
    }

    pub fn settle(&mut self) {
        let turns = (0..1_000_000).take_while(|_| self.turn()).count();
        assert!(turns < 1_000_000, "it never ends");
    }

    /// Lets time pass, second by second.
    pub fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.room.handle_timeout(self.now);
            let now = self.now;
            self.clients.values_mut().for_each(|c| c.session.handle_timeout(now));
            self.settle();
        }
    }

    /// The texts a member got, in their order.
    pub fn texts(&self, id: u16) -> Vec<&str> {
        self.clients[&id].inbox.iter().map(|got| got.text.as_str()).collect()
    }

    /// The status a message ended with.
    pub fn status(&self, id: u16, key: MessageKey) -> Option<Status> {
        use carnet_msrp::FailureReason::Response;
        self.clients[&id].outcomes.iter().find_map(|event| match event {
            SessionEvent::Delivered { key: k } if *k == key => Some(Status::OK),
            SessionEvent::Failed { key: k, reason: Response(status) } if *k == key => Some(*status),
            _ => None,
        })
    }

    pub fn has_event(&self, wanted: &Event) -> bool {
        self.events.contains(wanted)
    }
}

impl Client {
    fn turn(&mut self, now: Instant, id: MemberId, room: &mut Room) -> bool {
        if self.closed {
            return false;
        }
        let mut moved = false;
        if !self.stalled {
            let space = self.step.saturating_sub(self.to_client.len());
            moved |= space > 0 && room.poll_transmit(now, id, &mut self.to_client, space);
            let used = self.session.handle_input(now, &self.to_client);
            self.to_client.drain(..used);
            moved |= used > 0;
            self.events();
        }
        if self.frozen {
            return moved;
        }
        let space = self.step.saturating_sub(self.to_room.len());
        moved |= space > 0 && self.session.poll_transmit(now, &mut self.to_room, space);
        self.events();
        let used = room.handle_input(now, id, &self.to_room);
        self.to_room.drain(..used);
        moved | (used > 0)
    }

    pub fn events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Begun { arrival, message_id, content_type, headers, .. } => {
                    self.heads.push((content_type, headers));
                    self.open.insert(arrival, (message_id, Vec::new()));
                }
                SessionEvent::Body { arrival, offset, data } => {
                    let (_, body) = self.open.get_mut(&arrival).unwrap();
                    assert_eq!(offset as usize, body.len(), "the room sends in order");
                    body.extend_from_slice(&data);
                }
                SessionEvent::Complete { arrival, .. } => {
                    let (id, body) = self.open.remove(&arrival).unwrap();
                    if self.refuses.is_some_and(|t| String::from_utf8_lossy(&body).contains(t)) {
                        self.aborted += 1;
                        self.session.conclude(arrival, Status::UNSUPPORTED_TYPE);
                        continue;
                    }
                    if !self.mute {
                        self.session.conclude(arrival, Status::OK);
                    }
                    let (head, at) = Head::parse(&body, &Default::default()).unwrap().unwrap();
                    self.dates.push(head.get("DateTime").map(str::to_owned));
                    self.inbox.push(Got {
                        id,
                        from: head.from().unwrap().uri,
                        to: head.to()[0].uri.clone(),
                        text: String::from_utf8_lossy(&body[at..]).into_owned(),
                    });
                }
                SessionEvent::Aborted { arrival, .. } => {
                    self.open.remove(&arrival);
                    self.aborted += 1;
                }
                SessionEvent::WantBody { key, max } => {
                    let Some(queue) = self.supply.get_mut(&key) else { continue };
                    let Some(mut data) = queue.pop_front() else { continue };
                    let part = data.split_to(max.min(data.len()));
                    let last = data.is_empty() && queue.is_empty();
                    if !data.is_empty() {
                        queue.push_front(data);
                    }
                    let _ = self.session.supply(key, part, last);
                }
                other => self.outcomes.push(other),
            }
        }
    }
}
