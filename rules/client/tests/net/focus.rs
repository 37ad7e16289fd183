//! A focus by hand: it answers what a client sends as a test wants it, and calls by itself.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::SystemTime;

use bytes::Bytes;
use carnet_client::{FetchPurpose, KeyAccount, Seal};
use carnet_mikey::{Identity, Profile, Psk};
use carnet_seal::{Keys, Offering};
use carnet_sip::{Hop, Input, Limits, Message, Method, Transport};
use carnet_wire::SeededRandom;

use crate::net::{Kms, Net, Person, address, uri};

pub const ROOM: &str = "sip:room@example.com";
const CONTACT: &str = "<sip:room@10.0.0.9:5060>;isfocus";

/// How it answers.
pub struct Manner {
    /// Contact of its answers.
    pub contact: &'static str,
    pub setup: &'static str,
    /// Whether the answer has floor control.
    pub floors: bool,
    /// `a=chatroom` and what else belongs to the message line.
    pub room: &'static str,
    /// Changes the answer, the key of the message line and that of the floor control line.
    pub edit: fn(String) -> String,
    /// Who opens the ticket of the floor control line.
    pub floor_user: &'static str,
    /// What a SUBSCRIBE and a REFER are answered.
    pub subscribe: u16,
    pub refer: u16,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            contact: CONTACT,
            setup: "passive",
            floors: true,
            room: "a=chatroom:nickname private-messages\r\n",
            edit: |answer| answer,
            floor_user: "room",
            subscribe: 200,
            refer: 202,
        }
    }
}

pub struct Focus {
    pub manner: Manner,
    kms: Kms,
    rng: SeededRandom,
    pub wall: SystemTime,
    /// What it got, in order.
    pub got: Vec<Message>,
    /// The seals of the lines of the last call, in order.
    pub seals: Vec<Seal>,
    offerings: Vec<Offering>,
    calls: u32,
    notified: u32,
    /// What was opened, and what was answered to it: the same again gets the same.
    opened: Vec<(String, String)>,
    /// The last answer.
    pub answer: String,
}

/// Puts a focus at 10.0.0.9, where alice at 10.0.0.1 sends everything.
pub fn conference(
    edit: impl FnOnce(&mut carnet_client::Config),
    manner: Manner,
) -> (Net, Rc<RefCell<Focus>>) {
    let mut net = Net::new();
    net.add(&Person { name: "alice", last: 1, proxy: 9 }, edit);
    let mut kms = Kms::new("sip:kms.example");
    std::mem::swap(&mut kms.users, &mut net.kms[0].users);
    let alice = kms.users[&b"alice".to_vec()].1.clone();
    let psk = |name: &str| Psk::new(&[name.as_bytes()[0]; 32]).unwrap();
    for users in [&mut kms.users, &mut net.kms[0].users] {
        users.insert(b"alice".to_vec(), (psk("alice"), alice.clone()));
        for name in ["room", "eve"] {
            let me = Identity::from_uri(&format!("sip:{name}@example.com")).unwrap();
            // The key server lets eve open what is for the room: she is to be found out by the client.
            let room = Identity::from_uri(ROOM).unwrap();
            users.insert(name.as_bytes().to_vec(), (psk(name), vec![me, room]));
        }
    }
    let focus = Rc::new(RefCell::new(Focus {
        manner,
        kms,
        rng: SeededRandom::new(99),
        wall: net.wall,
        got: Vec::new(),
        seals: Vec::new(),
        offerings: Vec::new(),
        calls: 0,
        notified: 0,
        opened: Vec::new(),
        answer: String::new(),
    }));
    let here = focus.clone();
    net.tap = Some(Box::new(move |from, to, data| {
        if to == address(9) { here.borrow_mut().receive(from, data) } else { vec![(to, data.clone())] }
    }));
    (net, focus)
}

impl Focus {
    fn keys(&self, name: &str) -> Keys {
        let account = KeyAccount {
            profile: Profile::default(),
            kms: "sip:kms.example".into(),
            also_me: vec![ROOM.into()],
            psk_id: name.as_bytes().to_vec(),
            psk: Psk::new(&[name.as_bytes()[0]; 32]).unwrap(),
            replay_entries: 100,
        };
        // It has been there for long.
        let started = self.wall - std::time::Duration::from_secs(86_400);
        Keys::new(account, &format!("sip:{name}@example.com"), started).unwrap()
    }

    fn receive(&mut self, from: SocketAddr, data: &Bytes) -> Vec<(SocketAddr, Bytes)> {
        let message = Message::parse(data.clone(), &Limits::default()).unwrap();
        self.got.push(message.clone());
        let mut out = Vec::new();
        if message.is_response() {
            if *message.method() == Method::Invite && message.status().unwrap() >= 200 {
                if message.status() == Some(200) {
                    self.answered(&message);
                }
                out.push(self.ack(&message));
            }
        } else {
            match message.method() {
                Method::Invite => {
                    let body = self.answer(&message);
                    out.push(self.respond(&message, 200, Some(&body)));
                }
                Method::Subscribe => out.push(self.respond(&message, self.manner.subscribe, None)),
                Method::Refer => out.push(self.respond(&message, self.manner.refer, None)),
                Method::Ack => {}
                _ => out.push(self.respond(&message, 200, None)),
            }
        }
        out.into_iter().map(|message| (from, message.to_bytes())).collect()
    }

    fn respond(&self, request: &Message, status: u16, sdp: Option<&str>) -> Message {
        let mut response = Message::response(request, status, "OK").unwrap();
        if response.to_tag().is_none() {
            let to = response.to().unwrap().with_tag("focus").unwrap();
            response.set_header("To", &to.to_string()).unwrap();
        }
        response.set_header("Contact", self.manner.contact).unwrap();
        if *request.method() == Method::Subscribe {
            response.set_header("Expires", "3600").unwrap();
        }
        match sdp {
            Some(sdp) => response.set_body(sdp.to_owned(), Some("application/sdp")).unwrap(),
            None => response.ensure_content_length(),
        }
        response
    }

    fn answer(&mut self, invite: &Message) -> String {
        let offer = String::from_utf8(invite.body().to_vec()).unwrap();
        let mut answer = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n".to_owned();
        for line in offer.split("m=").skip(1) {
            let is_floors = line.starts_with("application");
            if is_floors && !self.manner.floors {
                answer.push_str("m=application 0 TCP/TLS/BFCP *\r\n");
                continue;
            }
            let name = if is_floors { self.manner.floor_user } else { "room" };
            let data = line.split("a=key-mgmt:mikey ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let key = data.map(|data| self.open(name, data));
            answer.push_str(&self.line(is_floors, key.as_deref(), self.manner.setup));
        }
        self.answer = (self.manner.edit)(answer);
        self.answer.clone()
    }

    fn line(&self, is_floors: bool, key: Option<&str>, setup: &str) -> String {
        let tls = if key.is_some() { "TLS/" } else { "" };
        let key = key.map(|key| format!("a=key-mgmt:{key}\r\n")).unwrap_or_default();
        if is_floors {
            return format!(
                "m=application 7001 TCP/{tls}BFCP *\r\na=setup:{setup}\r\na=connection:new\r\n\
                 a=floorctrl:s-only\r\na=confid:77\r\na=userid:5\r\na=floorid:1 mstrm:10\r\n\
                 a=floorid:2 mstrm:10\r\n{key}"
            );
        }
        let secure = if tls.is_empty() { "" } else { "s" };
        let room = self.manner.room;
        format!(
            "m=message 7000 TCP/{tls}MSRP *\r\na=path:msrp{secure}://10.0.0.9:7000/s;tcp\r\n\
             a=accept-types:*\r\na=label:10\r\na=msrp-cema\r\na=setup:{setup}\r\n{room}{key}"
        )
    }

    /// Opens the ticket in an offer.
    fn open(&mut self, name: &str, data: &str) -> String {
        if let Some((_, value)) = self.opened.iter().find(|(known, _)| known == data) {
            return value.clone();
        }
        let mut keys = self.keys(name);
        let sealed = keys.look_as(self.wall, &Identity::from_uri(ROOM).unwrap(), data, "mikey").unwrap();
        let me = Identity::from_uri(&format!("sip:{name}@example.com")).unwrap();
        let (opening, octets) = keys.open_as(self.wall, &mut self.rng, &me, &sealed);
        let opened = self.kms.answer(self.wall, FetchPurpose::Resolve, &octets).unwrap().unwrap();
        let (seal, value) = keys.opened(self.wall, &mut self.rng, &sealed, opening, &opened).unwrap();
        self.seals.push(seal);
        self.opened.push((data.to_owned(), value.clone()));
        value
    }

    /// A call of the conference to alice; in clear if not `sealed`.
    pub fn call(&mut self, sealed: bool) -> Message {
        self.calls += 1;
        let mut offer = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n".to_owned();
        self.offerings.clear();
        self.seals.clear();
        let mut ticket = sealed.then(|| {
            let keys = self.keys("room");
            let (asking, octets) = keys.ask(self.wall, &mut self.rng, "sip:alice@example.com").unwrap();
            let granted = self.kms.answer(self.wall, FetchPurpose::Ticket, &octets).unwrap().unwrap();
            (Keys::granted(self.wall, asking, &granted).unwrap(), keys)
        });
        for is_floors in [false, true] {
            let key = ticket.as_mut().map(|(ticket, keys)| {
                let (offering, value) = keys.transfer(self.wall, &mut self.rng, ticket);
                self.offerings.push(offering);
                value
            });
            offer.push_str(&self.line(is_floors, key.as_deref(), "actpass"));
        }
        let mut invite = Message::request(Method::Invite, uri("sip:alice@10.0.0.1:5060"));
        let number = self.calls;
        for (name, value) in [
            ("Via", format!("SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKcall{number}")),
            ("Max-Forwards", "70".into()),
            ("From", format!("<{ROOM}>;tag=back{number}")),
            ("To", "<sip:alice@example.com>".into()),
            ("Call-ID", format!("back{number}")),
            ("CSeq", "1 INVITE".into()),
            ("Contact", CONTACT.into()),
        ] {
            invite.push_back(name, &value).unwrap();
        }
        invite.set_body(offer, Some("application/sdp")).unwrap();
        invite
    }

    /// Alice took the call.
    fn answered(&mut self, response: &Message) {
        let answer = String::from_utf8(response.body().to_vec()).unwrap();
        for (line, offering) in answer.split("m=").skip(1).zip(&self.offerings) {
            let data = line.split("a=key-mgmt:mikey ").nth(1).and_then(|rest| rest.split("\r\n").next());
            self.seals.push(offering.answered(data.unwrap(), self.wall).unwrap());
        }
    }

    fn ack(&self, response: &Message) -> Message {
        let mut ack = Message::request(Method::Ack, uri("sip:alice@10.0.0.1:5060"));
        ack.push_back("Via", "SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKack").unwrap();
        for name in ["From", "To", "Call-ID"] {
            ack.push_back(name, &response.header(name).unwrap()).unwrap();
        }
        ack.push_back("CSeq", "1 ACK").unwrap();
        ack
    }

    /// The last request of that kind.
    pub fn last(&self, method: &Method) -> Message {
        let found = self.got.iter().rev().find(|message| message.is_request() && message.method() == method);
        found.unwrap_or_else(|| panic!("no {method}")).clone()
    }

    /// How many requests of that kind came.
    pub fn count(&self, method: &Method) -> usize {
        self.got.iter().filter(|message| message.is_request() && message.method() == method).count()
    }

    /// A request in the dialog that `first` began.
    pub fn within(&mut self, first: &Message, method: &str, headers: &[(&str, &str)], body: &str) -> Message {
        self.notified += 1;
        let number = self.notified;
        let mut request = Message::request(Method::parse(method).unwrap(), uri("sip:alice@10.0.0.1:5060"));
        let tag = first.to().unwrap().with_tag("focus").unwrap();
        for (name, value) in [
            ("Via", format!("SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bKin{number}")),
            ("Max-Forwards", "70".into()),
            ("From", tag.to_string()),
            ("To", first.header("From").unwrap().into_owned()),
            ("Call-ID", first.call_id().unwrap().to_owned()),
            ("CSeq", format!("{number} {method}")),
            ("Contact", CONTACT.into()),
        ] {
            request.push_back(name, &value).unwrap();
        }
        for (name, value) in headers {
            request.push_back(name, value).unwrap();
        }
        let kind = headers.iter().find(|(name, _)| *name == "Content-Type").map(|(_, kind)| *kind);
        match body {
            "" => request.ensure_content_length(),
            body => request.set_body(body.to_owned(), kind).unwrap(),
        }
        request
    }
}

impl Net {
    /// The focus sends something to alice.
    pub fn hear_focus(&mut self, message: &Message) {
        let hop = Hop { local: Some(address(1)), ..Hop::new(Transport::Udp, address(9)) };
        let (now, wall) = (self.now, self.wall);
        self.nodes[0].client.handle_sip(now, wall, Input { hop, data: message.to_bytes() });
        self.settle();
    }
}
