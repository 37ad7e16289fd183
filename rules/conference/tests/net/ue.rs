//! A member's terminal, from the parts of `carnet_sip` and `carnet_seal`: it does what a test says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use carnet_keys::Kms;
use carnet_mikey::Profile;
use carnet_sdp::{Document, FloorControl, MediaBuilder, Reuse, SessionBuilder, Setup};
use carnet_seal::{KeyAccount, Keys, Offering};
use carnet_sip::{
    CSeq, ClientKey, Destination, Dialog, DialogId, Endpoint, Event, Hop, Input, Message, Method, ServerKey,
    Transport,
};
use carnet_wire::SeededRandom;

use super::{KMS, ask_kms, focus_address, member, psk, uri};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Messages,
    Floors,
}

/// What is offered.
#[derive(Clone)]
pub struct Offer {
    pub kind: Kind,
    pub sealed: bool,
    pub setup: Setup,
}

/// How a call is made.
#[derive(Clone)]
pub struct Wish {
    pub lines: Vec<Offer>,
    /// Whom the ticket is for, if not whom is called.
    pub ticket_for: Option<String>,
    /// Changes the description on its way.
    pub edit: Option<fn(String) -> String>,
    /// The 2xx is not acknowledged.
    pub no_ack: bool,
}

impl Default for Wish {
    /// Messages and floors, sealed.
    fn default() -> Self {
        let line = |kind| Offer { kind, sealed: true, setup: Setup::ActPass };
        Self {
            lines: vec![line(Kind::Messages), line(Kind::Floors)],
            ticket_for: None,
            edit: None,
            no_ack: false,
        }
    }
}

impl Wish {
    pub fn clear() -> Self {
        let mut wish = Self::default();
        wish.lines.iter_mut().for_each(|line| line.sealed = false);
        wish
    }

    pub fn messages() -> Self {
        let mut wish = Self::default();
        wish.lines.truncate(1);
        wish
    }
}

/// A dialog that is up, or was.
pub struct Session {
    pub dialog: Dialog,
    /// The keys, in the order of the lines; `None` for a line in clear or refused.
    pub teks: Vec<Option<Vec<u8>>>,
    /// Who is on the other end, as the key server says.
    pub peers: Vec<String>,
    /// The focus's description.
    pub remote: Document,
    pub contact: String,
    /// The reason of its BYE, when it has come.
    pub ended: Option<String>,
    /// The focus called.
    pub called: bool,
}

pub struct Ue {
    pub name: String,
    pub address: SocketAddr,
    endpoint: Endpoint,
    rng: SeededRandom,
    keys: Keys,
    asked: Option<(ClientKey, Message, Vec<Option<Offering>>, Wish)>,
    /// The last final answer to an INVITE of ours.
    pub answer: Option<Message>,
    /// Final answers to other requests.
    pub answers: VecDeque<Message>,
    pub sessions: Vec<Session>,
    /// Status with which calls are refused.
    pub refuses: Option<u16>,
    /// Calls ring and nothing else.
    pub rings: bool,
    /// It ends its other dialogs as it takes a call, before anything else.
    pub gives_way: bool,
    /// It cannot seal: sealed calls are refused 488.
    pub clear_only: bool,
    ringing: Option<(ServerKey, Message)>,
    /// Answers are looked at by the test, and by nobody else.
    pub keep_answers_only: bool,
    /// Requests that came inside and outside dialogs.
    pub got: Vec<Message>,
}

impl Ue {
    pub fn new(name: &str, address: SocketAddr) -> Self {
        let seed = u64::from(name.as_bytes()[0]) * 100;
        let account = KeyAccount {
            profile: Profile::default(),
            kms: KMS.into(),
            also_me: Vec::new(),
            psk_id: name.as_bytes().to_vec(),
            psk: psk(name),
            replay_entries: 1000,
        };
        let config = carnet_sip::Config {
            transports: vec![Transport::Udp],
            datagram: 65_000,
            ..carnet_sip::Config::default()
        };
        Self {
            name: name.into(),
            address,
            endpoint: Endpoint::new(config, Box::new(SeededRandom::new(seed))),
            rng: SeededRandom::new(seed + 1),
            keys: Keys::new(account, &member(name), SystemTime::UNIX_EPOCH).unwrap(),
            asked: None,
            answer: None,
            answers: VecDeque::new(),
            sessions: Vec::new(),
            refuses: None,
            rings: false,
            gives_way: false,
            clear_only: false,
            ringing: None,
            keep_answers_only: false,
            got: Vec::new(),
        }
    }

    pub fn is_called(&self, head: &[u8]) -> bool {
        let head = String::from_utf8_lossy(head).into_owned();
        head.contains(&format!("{} SIP/2.0", member(&self.name)))
    }

    pub fn last_status(&self) -> Option<u16> {
        self.answer.as_ref().and_then(Message::status)
    }

    /// The dialog that is up now.
    pub fn session(&self) -> &Session {
        self.sessions.iter().rfind(|session| session.ended.is_none()).expect("a dialog that is up")
    }

    fn here(&self) -> Destination {
        Destination::Hops(vec![Hop::new(Transport::Udp, focus_address())])
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.name, self.address)
    }

    fn line(&self, offer: &Offer, value: Option<&str>, setup: Setup) -> MediaBuilder {
        let (port, scheme) = (self.address.port() + 1000, if offer.sealed { "msrps" } else { "msrp" });
        let tls = if offer.sealed { "TLS/" } else { "" };
        let mut line = match offer.kind {
            Kind::Messages => MediaBuilder::new("message", port, &format!("TCP/{tls}MSRP"), "*")
                .attribute("accept-types", "message/cpim text/plain")
                .attribute("path", &format!("{scheme}://{}:{port}/{};tcp", self.address.ip(), self.name))
                .flag("msrp-cema")
                .setup(setup),
            Kind::Floors => MediaBuilder::new("application", port + 2, &format!("TCP/{tls}BFCP"), "*")
                .setup(setup)
                .reuse(Reuse::New)
                .floor_control(FloorControl::CLIENT),
        };
        if let Some(value) = value {
            line = line.attribute("key-mgmt", value);
        }
        line
    }

    pub fn invite(&mut self, now: Instant, wall: SystemTime, kms: &mut Kms, to: &str, wish: &Wish) {
        let mut session = SessionBuilder::new(1, 1, self.address.ip());
        let mut offerings = Vec::new();
        let mut ticket = None;
        let callee = wish.ticket_for.as_deref().unwrap_or(to);
        for offer in &wish.lines {
            let mut value = None;
            let mut offering = None;
            if offer.sealed {
                if ticket.is_none() {
                    let (asking, octets) = self.keys.ask(wall, &mut self.rng, callee).unwrap();
                    let answer = ask_kms(kms, now, wall, &octets).unwrap();
                    ticket = Some(Keys::granted(wall, asking, &answer).unwrap());
                }
                let (made, text) = self.keys.transfer(wall, &mut self.rng, ticket.as_ref().unwrap());
                (offering, value) = (Some(made), Some(text));
            }
            session = session.media(self.line(offer, value.as_deref(), offer.setup));
            offerings.push(offering);
        }
        let mut body = String::from_utf8(session.build().unwrap().to_bytes().to_vec()).unwrap();
        if let Some(edit) = wish.edit {
            body = edit(body);
        }
        let mut invite = Message::request(Method::Invite, uri(to));
        let tag = carnet_sip::fresh_tag(&mut self.rng);
        invite.push_back("From", &format!("<{}>;tag={tag}", member(&self.name))).unwrap();
        invite.push_back("To", &format!("<{to}>")).unwrap();
        invite.push_back("Call-ID", &carnet_sip::fresh_call_id(&mut self.rng)).unwrap();
        invite.push_back("CSeq", "1 INVITE").unwrap();
        invite.push_back("Contact", &self.contact()).unwrap();
        invite.push_back("Allow", "INVITE, ACK, BYE, UPDATE, NOTIFY").unwrap();
        invite.set_body(body.into_bytes(), Some("application/sdp")).unwrap();
        let key = self.endpoint.request(now, invite.clone(), self.here()).unwrap();
        self.answer = None;
        self.asked = Some((key, invite, offerings, wish.clone()));
    }

    /// Sends the ACK that a wish held back.
    pub fn acknowledge(&mut self, now: Instant) {
        let key = self.asked.as_ref().unwrap().0;
        let ack = self.sessions.last().unwrap().dialog.ack(1).unwrap();
        let here = self.here();
        self.endpoint.ack(now, key, ack, here).unwrap();
    }

    /// Whether an INVITE of ours waits for its answer.
    pub fn is_asking(&self) -> bool {
        self.asked.is_some() && self.answer.is_none()
    }

    pub fn cancel(&mut self, now: Instant) {
        let key = self.asked.as_ref().unwrap().0;
        // It may just have ended without an answer.
        let _ = self.endpoint.cancel(now, key);
    }

    /// Takes the call that rings.
    pub fn pick_up(&mut self, now: Instant, wall: SystemTime, kms: &mut Kms) {
        let (key, invite) = self.ringing.take().unwrap();
        self.called(now, wall, kms, key, &invite);
    }

    /// Sends a request in the dialog that is up.
    pub fn request(&mut self, now: Instant, method: Method, body: Option<(Bytes, &str)>) -> ClientKey {
        let contact = self.contact();
        let at = self.sessions.iter().rposition(|session| session.ended.is_none()).unwrap();
        let mut request = self.sessions[at].dialog.request(method).unwrap();
        request.push_back("Contact", &contact).unwrap();
        if let Some((body, kind)) = body {
            request.set_body(body, Some(kind)).unwrap();
        }
        self.sessions[at].dialog.sending(&request).unwrap();
        self.endpoint.request(now, request, self.here()).unwrap()
    }

    pub fn bye(&mut self, now: Instant) {
        self.request(now, Method::Bye, None);
        let at = self.sessions.iter().rposition(|session| session.ended.is_none()).unwrap();
        self.sessions[at].ended = Some("left".into());
    }

    /// Offers again what the call was made with, changed.
    pub fn reoffer(&mut self, now: Instant, edit: impl Fn(String) -> String) {
        let invite = self.asked.as_ref().unwrap().1.clone();
        let body = edit(String::from_utf8(invite.body().to_vec()).unwrap());
        self.request(now, Method::Update, Some((body.into_bytes().into(), "application/sdp")));
    }

    /// Offers a line for floors besides what there is.
    pub fn add_floors(&mut self, now: Instant, wall: SystemTime, kms: &mut Kms, to: &str) -> Offering {
        let (asking, octets) = self.keys.ask(wall, &mut self.rng, to).unwrap();
        let answer = ask_kms(kms, now, wall, &octets).unwrap();
        let ticket = Keys::granted(wall, asking, &answer).unwrap();
        let (offering, value) = self.keys.transfer(wall, &mut self.rng, &ticket);
        let offer = Offer { kind: Kind::Floors, sealed: true, setup: Setup::ActPass };
        let session = SessionBuilder::new(1, 2, self.address.ip());
        let session = session.media(self.line(&offer, Some(&value), Setup::ActPass)).build().unwrap();
        let text = String::from_utf8(session.to_bytes().to_vec()).unwrap();
        let floors = text.split_once("m=application").unwrap().1.to_owned();
        self.reoffer(now, |body| format!("{body}m=application{floors}"));
        offering
    }

    pub fn take(&mut self, now: Instant, wall: SystemTime, kms: &mut Kms, input: Input) {
        self.endpoint.handle_input(now, input);
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Request { key, message, .. } => self.requested(now, wall, kms, key, &message),
                Event::Response { key, message, .. } => self.answered(now, wall, key, &message),
                Event::Cancelled { key, .. } => {
                    if let Some((_, invite)) = self.ringing.take_if(|(ringing, _)| *ringing == key) {
                        self.reply(now, key, &invite, 487);
                    }
                }
                _ => {}
            }
        }
    }

    fn answered(&mut self, now: Instant, wall: SystemTime, key: ClientKey, response: &Message) {
        let status = response.status().unwrap();
        if status < 200 {
            return;
        }
        let ours = self.asked.as_ref().is_some_and(|(asked, ..)| *asked == key);
        if !ours {
            let id = DialogId::of_response(response).unwrap();
            if let Some(session) = self.sessions.iter_mut().find(|session| session.dialog.id() == id) {
                session.dialog.response(response).unwrap();
            }
            self.answers.push_back(response.clone());
            return;
        }
        self.answer = Some(response.clone());
        if status >= 300 || self.keep_answers_only {
            return;
        }
        let (_, invite, offerings, wish) = self.asked.as_ref().unwrap();
        let dialog = Dialog::caller(invite, response).unwrap();
        let limits = carnet_sdp::Limits::default();
        let remote = Document::parse(response.body().clone(), &limits).unwrap();
        let (mut teks, mut peers) = (Vec::new(), Vec::new());
        for (at, offering) in offerings.iter().enumerate() {
            let line = remote.media_at(at).unwrap();
            let data = line.key_mgmt().first().map(|value| value.data.to_owned());
            let seal = match (offering, data) {
                (Some(offering), Some(data)) => Some(offering.answered(&data, wall).unwrap()),
                _ => None,
            };
            teks.push(seal.as_ref().map(|seal| seal.tek.expose().to_vec()));
            peers.extend(seal.map(|seal| seal.peer));
        }
        if !wish.no_ack {
            let ack = dialog.ack(1).unwrap();
            self.endpoint.ack(now, key, ack, self.here()).unwrap();
        }
        let contact = response.header("Contact").unwrap_or_default().into_owned();
        self.sessions.push(Session { dialog, teks, peers, remote, contact, ended: None, called: false });
    }

    fn reply(&mut self, now: Instant, key: ServerKey, request: &Message, status: u16) {
        let mut response = Message::response(request, status, "").unwrap();
        if response.to_tag().is_none() {
            let tag = carnet_sip::fresh_tag(&mut self.rng);
            let to = response.to().unwrap().with_tag(&tag).unwrap();
            response.set_header("To", &to.to_string()).unwrap();
        }
        self.endpoint.respond(now, key, response).unwrap();
    }

    fn requested(
        &mut self,
        now: Instant,
        wall: SystemTime,
        kms: &mut Kms,
        key: ServerKey,
        request: &Message,
    ) {
        self.got.push(request.clone());
        match request.method() {
            Method::Invite if request.to_tag().is_none() => match self.refuses {
                Some(status) => self.reply(now, key, request, status),
                None if self.rings => {
                    self.reply(now, key, request, 180);
                    self.ringing = Some((key, request.clone()));
                }
                None => self.called(now, wall, kms, key, request),
            },
            Method::Bye => {
                let id = DialogId::of_request(request).unwrap();
                let of = |session: &&mut Session| session.dialog.id() == id && session.ended.is_none();
                match self.sessions.iter_mut().find(of) {
                    Some(session) => {
                        session.ended = Some(request.header("Reason").unwrap_or_default().into_owned());
                        self.reply(now, key, request, 200);
                    }
                    None => self.reply(now, key, request, 481),
                }
            }
            _ => self.reply(now, key, request, 200),
        }
    }

    /// The focus calls: it is let in.
    fn called(&mut self, now: Instant, wall: SystemTime, kms: &mut Kms, key: ServerKey, invite: &Message) {
        let limits = carnet_sdp::Limits::default();
        let remote = Document::parse(invite.body().clone(), &limits).unwrap();
        let (mut teks, mut peers) = (Vec::new(), Vec::new());
        let mut session = SessionBuilder::new(2, 1, self.address.ip());
        for line in remote.media() {
            let kind = if line.media() == "message" { Kind::Messages } else { Kind::Floors };
            let sealed = line.proto().contains("TLS");
            if sealed && self.clear_only {
                self.reply(now, key, invite, 488);
                return;
            }
            let mut value = None;
            if sealed {
                let data = line.key_mgmt()[0].data.to_owned();
                let look = self.keys.look(wall, &data, "mikey").unwrap();
                let (opening, octets) = self.keys.open(wall, &mut self.rng, &look);
                let answer = ask_kms(kms, now, wall, &octets).unwrap();
                let (seal, text) = self.keys.opened(wall, &mut self.rng, &look, opening, &answer).unwrap();
                teks.push(Some(seal.tek.expose().to_vec()));
                peers.push(seal.peer);
                value = Some(text);
            } else {
                teks.push(None);
            }
            let offer = Offer { kind, sealed, setup: Setup::Active };
            session = session.media(self.line(&offer, value.as_deref(), Setup::Active));
        }
        let mut response = Message::response(invite, 200, "OK").unwrap();
        let tag = carnet_sip::fresh_tag(&mut self.rng);
        let to = response.to().unwrap().with_tag(&tag).unwrap();
        response.set_header("To", &to.to_string()).unwrap();
        response.push_back("Contact", &self.contact()).unwrap();
        let dialog = Dialog::callee(invite, &response).unwrap();
        response.set_body(session.build().unwrap().to_bytes(), Some("application/sdp")).unwrap();
        if self.gives_way && self.sessions.iter().any(|session| session.ended.is_none()) {
            self.bye(now);
        }
        self.endpoint.respond(now, key, response).unwrap();
        let contact = invite.header("Contact").unwrap_or_default().into_owned();
        self.sessions.push(Session { dialog, teks, peers, remote, contact, ended: None, called: true });
    }

    pub fn transmit(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.endpoint.poll_transmit().map(|transmit| (transmit.hop.remote, transmit.data))
    }

    pub fn timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }

    pub fn tick(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        while self.endpoint.poll_event().is_some() {}
    }

    /// A request outside dialogs, as it is.
    pub fn send(&mut self, now: Instant, message: Message) {
        self.endpoint.request(now, message, self.here()).unwrap();
    }
}

/// A request outside dialogs.
pub fn outside(method: Method, from: &str, to: &str) -> Message {
    let mut request = Message::request(method.clone(), uri(to));
    request.push_back("From", &format!("<{}>;tag=x1", member(from))).unwrap();
    request.push_back("To", &format!("<{to}>")).unwrap();
    request.push_back("Call-ID", &format!("{from}-{method}")).unwrap();
    request.push_back("CSeq", &CSeq { number: 1, method }.to_string()).unwrap();
    request
}

impl Ue {
    /// A moment of patience.
    pub const SOON: Duration = Duration::from_secs(40);
}
