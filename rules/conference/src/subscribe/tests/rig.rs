//! A notifier with its endpoint, and watchers that are not ours on the other side.

use crate::config::{Policy, Unsealed};
use crate::roster::{Arrival, Attendance, Departure, Refusal};
use crate::subscribe::{Action, NotifyKey, Referred, Settings, Subscriptions, Watcher};
use bytes::Bytes;
use carnet_roster::{Disconnection, Joining, Roster, Status};
use carnet_sip::{
    ClientKey, Config, Dialog, DialogId, Endpoint, Event, Hop, Input, Limits, Message, Method, NameAddr,
    Transport,
};
use carnet_wire::SeededRandom;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

pub(super) const ROOM: &str = "sip:room@conf.example.com";

pub(super) struct Rig {
    pub(super) now: Instant,
    pub(super) sip: Endpoint,
    pub(super) subscriptions: Subscriptions,
    pub(super) room: Attendance,
    random: SeededRandom,
    under_way: HashMap<ClientKey, NotifyKey>,
    /// What the notifier has sent, in order.
    pub(super) sent: VecDeque<Message>,
    /// The dialog of a call that SUBSCRIBEs come in, if they do.
    pub(super) call: Option<Dialog>,
    pub(super) allowed: Result<(), Refusal>,
    pub(super) referred: Option<Referred>,
    /// How often the roster was asked for.
    pub(super) published: usize,
}

impl Rig {
    pub(super) fn new(settings: Settings) -> Self {
        Self::resting(Settings { rest: Duration::ZERO, ..settings })
    }

    /// One whose room is looked at now and then.
    pub(super) fn resting(settings: Settings) -> Self {
        let policy = Policy { unsealed: Unsealed::Admit, ..Policy::default() };
        Self {
            now: Instant::now(),
            sip: Endpoint::new(Config::default(), Box::new(SeededRandom::new(1))),
            subscriptions: Subscriptions::new(settings),
            room: Attendance::new(ROOM, &policy),
            random: SeededRandom::new(2),
            under_way: HashMap::new(),
            sent: VecDeque::new(),
            call: None,
            allowed: Ok(()),
            referred: None,
            published: 0,
        }
    }

    fn hop() -> Hop {
        Hop::new(Transport::Tcp, "192.0.2.7:5060".parse().unwrap())
    }

    pub(super) fn give(&mut self, octets: String) {
        self.sip.handle_input(self.now, Input { hop: Self::hop(), data: Bytes::from(octets) });
        self.run();
    }

    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due =
                [self.sip.poll_timeout(), self.subscriptions.poll_timeout()].into_iter().flatten().min();
            match due.filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.sip.handle_timeout(self.now);
            self.subscriptions.handle_timeout(self.now);
            self.run();
        }
        self.now = end;
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Attendance, Instant)) {
        change(&mut self.room, self.now);
        self.subscriptions.changed(self.now, ROOM);
        self.run();
    }

    pub(super) fn run(&mut self) {
        loop {
            if let Some(event) = self.sip.poll_event() {
                self.event(event);
            } else if let Some(action) = self.subscriptions.poll_action() {
                self.act(action);
            } else if let Some(transmit) = self.sip.poll_transmit() {
                let message = Message::parse(transmit.data, &Limits::default()).unwrap();
                self.sent.push_back(message);
            } else {
                break;
            }
        }
    }

    fn event(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Request { key, message, .. } => {
                let member = message.from().unwrap().uri().to_string();
                let id = DialogId::of_request(&message).unwrap();
                let within = self.call.as_ref().map(Dialog::id).filter(|call| *call == id);
                let contact = format!("<{ROOM}>;isfocus");
                let watcher =
                    Watcher { room: ROOM, member: &member, contact: &contact, within: within.as_ref() };
                let subscriptions = &mut self.subscriptions;
                match message.method() {
                    Method::Subscribe => {
                        subscriptions.subscribe(now, key, &message, &watcher, self.allowed, &mut self.random);
                    }
                    Method::Refer => {
                        self.referred =
                            Some(subscriptions.refer(now, key, &message, &watcher, &mut self.random));
                    }
                    _ => subscriptions.refuse(key, &message, 405, ""),
                }
            }
            Event::Response { key, message, .. } => {
                let notify = self.under_way[&key];
                match message.status() {
                    Some(407) => self.subscriptions.challenged(now, notify),
                    _ => self.subscriptions.answered(now, notify, &message),
                }
            }
            Event::Unanswered { key, .. } => self.subscriptions.unanswered(self.under_way[&key]),
            other => panic!("{other:?}"),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Publish(room) => {
                assert_eq!(room, ROOM);
                self.published += 1;
                self.subscriptions.publish(self.now, ROOM, self.room.roster());
            }
            Action::Respond(key, response) => self.sip.respond(self.now, key, *response).unwrap(),
            Action::Request(notify, message, _) => self.request(notify, *message),
            Action::RequestWithin(notify, id, notice) => {
                let dialog = self.call.as_mut().filter(|d| d.id() == id).expect("the dialog of the call");
                let mut message = dialog.request(Method::Notify).unwrap();
                notice.fill(&mut message).unwrap();
                self.request(notify, message);
            }
        }
    }

    fn request(&mut self, notify: NotifyKey, message: Message) {
        let key = self.sip.request(self.now, message, Self::hop().into()).unwrap();
        self.under_way.insert(key, notify);
    }

    /// What has been sent and not been looked at.
    pub(super) fn take(&mut self) -> Option<Message> {
        self.sent.pop_front()
    }

    /// A response with this status to the next thing sent.
    #[track_caller]
    pub(super) fn take_response(&mut self, status: u16) -> Message {
        let message = self.take().expect("a response");
        assert_eq!(message.status(), Some(status), "{message:?}");
        message
    }

    /// A NOTIFY, answered with this status.
    #[track_caller]
    pub(super) fn take_notify(&mut self, status: u16, headers: &str) -> Message {
        let message = self.take().expect("a NOTIFY");
        assert_eq!(*message.method(), Method::Notify, "{message:?}");
        assert!(message.is_request());
        self.answer(&message, status, headers);
        message
    }

    pub(super) fn answer(&mut self, request: &Message, status: u16, headers: &str) {
        let mut text = format!("SIP/2.0 {status} Whatever\r\n");
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            for line in request.lines(name) {
                text.push_str(&format!("{name}: {line}\r\n"));
            }
        }
        self.give(format!("{text}{headers}Content-Length: 0\r\n\r\n"));
    }

    #[track_caller]
    pub(super) fn quiet(&mut self) {
        assert!(self.sent.is_empty(), "{:?}", self.sent);
    }

    pub(super) fn roster(&self) -> Roster {
        ordered(&self.room.roster())
    }

    pub(super) fn enter(&mut self, member: &str) {
        self.change(|room, _| enter(room, member));
    }
}

/// The same in one order: that of documents means nothing.
pub(super) fn ordered(roster: &Roster) -> Roster {
    let mut roster = roster.clone();
    roster.users.sort_by(|a, b| a.entity.cmp(&b.entity));
    for endpoint in roster.users.iter_mut().flat_map(|u| &mut u.endpoints) {
        endpoint.media.sort_by(|a, b| a.id.cmp(&b.id));
    }
    roster
}

pub(super) fn enter(room: &mut Attendance, member: &str) {
    let arrival = Arrival {
        member,
        endpoint: "e",
        name: None,
        method: Joining::DialedIn,
        by: None,
        status: Status::Connected,
    };
    room.enter(SystemTime::UNIX_EPOCH, &arrival);
}

pub(super) fn leave(room: &mut Attendance, now: Instant, member: &str) {
    let departure = Departure { method: Disconnection::Departed, reason: None, by: None };
    room.leave(now, SystemTime::UNIX_EPOCH, (member, "e"), &departure);
}

/// A watcher's dialog: requests as text.
pub(super) struct Ua {
    pub(super) uri: String,
    call_id: String,
    pub(super) to_tag: String,
    pub(super) cseq: u32,
}

impl Ua {
    pub(super) fn new(name: &str, call_id: &str) -> Self {
        Self {
            uri: format!("sip:{name}@example.com"),
            call_id: call_id.into(),
            to_tag: String::new(),
            cseq: 0,
        }
    }

    pub(super) fn request(&mut self, method: &str, headers: &str) -> String {
        self.cseq += 1;
        let to = match self.to_tag.as_str() {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let Self { uri, call_id, cseq, .. } = self;
        format!(
            "{method} {ROOM} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK{call_id}{cseq}\r\n\
             From: <{uri}>;tag=w{call_id}\r\nTo: <{ROOM}>{to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:w@192.0.2.7;transport=tcp>\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
        )
    }

    pub(super) fn subscribe(&mut self, expires: u32) -> String {
        self.request("SUBSCRIBE", &format!("Event: conference\r\nExpires: {expires}\r\n"))
    }

    /// Takes the tag of a response that makes the dialog.
    pub(super) fn learn(&mut self, response: &Message) {
        self.to_tag = response.to_tag().unwrap();
    }
}

pub(super) fn address(text: &str) -> NameAddr {
    NameAddr::parse(text).unwrap()
}
