//! Telephones: simple user agents over Carnet's SIP transactions. A caller calls, a callee answers,
//! refuses, or lets it ring; one of them hangs up. Each keeps to what it heard, whatever became of the
//! border between them.

use crate::borders;
use crate::dice::Dice;
use crate::trace::Node;
use crate::world::{Happening, World};
use carnet_sip::{
    ClientKey, Config, Destination, Endpoint, Event, Hop, Input, Limits, Message, Method, ServerKey,
    Transmit, Transport, Uri,
};
use carnet_wire::SeededRandom;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Who calls.
    Caller,
    /// Who is called.
    Callee,
}

/// What the callee does.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Answers after this long.
    Yes(Duration),
    /// Refuses after this long.
    No(Duration, u16),
    /// Lets it ring, in vain for its caller, until the telephone says so.
    Never,
}

/// How far one side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not asked yet.
    Idle,
    /// The INVITE has no final response.
    Trying,
    /// In a session.
    Up,
    /// BYE was sent.
    Ending,
    /// Over; what its user was told.
    Over(u16),
}

/// One side's view.
#[derive(Debug)]
pub struct Half {
    /// How far.
    pub phase: Phase,
    target: Option<Uri>,
    local: String,
    remote: String,
    cseq: u32,
}

/// A call as its users see it.
#[derive(Debug)]
pub struct Call {
    /// Its Call-ID.
    pub id: String,
    /// Through which border.
    pub border: usize,
    /// When it began.
    pub began: Instant,
    /// The life of the border it went to.
    pub life: u32,
    answer: Answer,
    gives_up: Option<Duration>,
    talk: Duration,
    asks_again: Option<Duration>,
    ends: Side,
    lines: usize,
    sealed: bool,
    answered: bool,
    unacknowledged: bool,
    /// The caller.
    pub caller: Half,
    /// The callee.
    pub callee: Half,
    invite: Option<ClientKey>,
    asked: Option<(ServerKey, Message)>,
}

impl Call {
    /// That side.
    pub fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }

    fn sdp(&self, ip: &str) -> String {
        sdp(ip, self.lines, self.sealed)
    }

    /// Nobody waits for anything.
    pub fn is_over(&self) -> bool {
        let over = |p| matches!(p, Phase::Over(_));
        over(self.caller.phase) && (over(self.callee.phase) || self.callee.phase == Phase::Idle)
    }

    /// Whether the caller ever heard a 2xx.
    pub fn was_answered(&self) -> bool {
        self.answered
    }

    /// Its media is sealed end to end.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Both are in a session.
    pub fn is_up(&self) -> bool {
        self.caller.phase == Phase::Up && self.callee.phase == Phase::Up
    }
}

/// The telephones of one border.
pub struct Phones {
    ends: [Endpoint; 2],
    requests: BTreeMap<(Side, ClientKey), (usize, Method)>,
    answering: BTreeMap<ServerKey, usize>,
}

impl Phones {
    /// Telephones that do nothing yet.
    pub fn new(dice: &mut Dice) -> Self {
        let mut end = || {
            let config = Config { transports: vec![Transport::Udp], longest_wait: None, ..Config::default() };
            Endpoint::new(config, Box::new(SeededRandom::new(dice.seed())))
        };
        Self { ends: [end(), end()], requests: BTreeMap::new(), answering: BTreeMap::new() }
    }

    /// When one of them wants to be woken.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ends.iter().filter_map(Endpoint::poll_timeout).min()
    }
}

/// What a user does by and by.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Calls.
    Call,
    /// The callee answers or refuses.
    Answer,
    /// The caller has waited for long enough.
    GiveUp,
    /// Sends a new offer.
    AskAgain,
    /// Hangs up.
    HangUp(Side),
}

impl World {
    /// A user will call at `at`.
    pub fn plan_call(&mut self, at: Instant, longest: Duration) {
        let border = self.dice.below(self.borders.len());
        let number = self.calls.len();
        let dice = &mut self.dice;
        let ms = Duration::from_millis;
        let answer = match dice.below(20) {
            0 => Answer::Never,
            1 | 2 => Answer::No(dice.between(ms(50), ms(3000)), dice.pick(&[486, 480, 603])),
            _ => Answer::Yes(dice.between(ms(20), ms(4000))),
        };
        let gives_up = match answer {
            Answer::Never => Some(dice.between(ms(100), ms(20_000))),
            _ if dice.chance(100) => Some(dice.between(ms(5), ms(4000))),
            _ => None,
        };
        let talk = dice.between(ms(10), longest);
        let asks_again = dice.chance(150).then(|| dice.between(ms(5), talk));
        let ends = dice.pick(&[Side::Caller, Side::Callee]);
        let lines = if dice.chance(150) { 2 } else { 1 };
        let sealed = !dice.chance(250);
        let half = || Half {
            phase: Phase::Idle,
            target: None,
            local: String::new(),
            remote: String::new(),
            cseq: 1,
        };
        self.calls.push(Call {
            id: format!("call-{number}-b{border}"),
            border,
            began: at,
            life: 0,
            answer,
            gives_up,
            talk,
            asks_again,
            ends,
            lines,
            sealed,
            answered: false,
            unacknowledged: false,
            caller: half(),
            callee: half(),
            invite: None,
            asked: None,
        });
        self.at(at, Happening::Act { call: number, act: Act::Call });
    }

    /// A user does something.
    pub fn act(&mut self, number: usize, act: Act) {
        let border = self.calls[number].border;
        match act {
            Act::Call => self.call(number),
            Act::Answer => self.answer(number),
            Act::GiveUp => {
                let call = &self.calls[number];
                if let (Phase::Trying, Some(invite)) = (call.caller.phase, call.invite) {
                    let _ = self.phones[border].ends[0].cancel(self.now, invite);
                }
            }
            Act::AskAgain => {
                if self.calls[number].caller.phase == Phase::Up {
                    let body = self.calls[number].sdp("192.0.2.20");
                    self.request(number, Side::Caller, Method::Invite, Some(&body));
                }
            }
            Act::HangUp(side) => self.hang_up(number, side),
        }
        self.flush_phones(border);
    }

    /// Whoever is in a session ends it.
    pub fn hang_up_all(&mut self) {
        for number in 0..self.calls.len() {
            if self.calls[number].caller.phase == Phase::Trying {
                self.act(number, Act::GiveUp);
            }
            let side = self.calls[number].ends;
            self.act(number, Act::HangUp(side));
        }
    }

    /// Sides whose other side never told them.
    pub fn hang_up_rest(&mut self) {
        for number in 0..self.calls.len() {
            self.act(number, Act::HangUp(Side::Caller));
            self.act(number, Act::HangUp(Side::Callee));
        }
    }

    fn call(&mut self, number: usize) {
        let call = &mut self.calls[number];
        let border = call.border;
        call.life = self.borders[border].lives;
        call.began = self.now;
        call.caller.phase = Phase::Trying;
        call.caller.local = format!("<sip:user{number}@example.org>;tag=from{number}");
        call.caller.remote = format!("<sip:friend{number}@example.net>");
        call.caller.target = Some(Uri::parse(&format!("sip:friend{number}@example.net")).unwrap());
        let body = call.sdp("192.0.2.20");
        let gives_up = call.gives_up;
        let key = self.request(number, Side::Caller, Method::Invite, Some(&body));
        self.calls[number].invite = key;
        if let Some(wait) = gives_up {
            self.at(self.now + wait, Happening::Act { call: number, act: Act::GiveUp });
        }
        self.flush_phones(border);
    }

    fn answer(&mut self, number: usize) {
        let call = &mut self.calls[number];
        let Some((key, request)) = call.asked.take_if(|_| call.callee.phase == Phase::Trying) else { return };
        let (status, body) = match call.answer {
            Answer::Yes(_) => (200, Some(call.sdp("2001:db8:2::20"))),
            Answer::No(_, status) => (status, None),
            Answer::Never => (480, None),
        };
        call.unacknowledged = status == 200;
        call.callee.phase = if status == 200 { Phase::Up } else { Phase::Over(status) };
        self.respond(number, key, &request, status, body.as_deref());
        let call = &self.calls[number];
        if status == 200 && call.ends == Side::Callee {
            let at = self.now + call.talk;
            self.at(at, Happening::Act { call: number, act: Act::HangUp(Side::Callee) });
        }
    }

    fn hang_up(&mut self, number: usize, side: Side) {
        if side == Side::Callee && self.calls[number].unacknowledged {
            // RFC 3261 §15: no BYE before the ACK, or before it is given up.
            return self.at(
                self.now + Duration::from_secs(1),
                Happening::Act { call: number, act: Act::HangUp(side) },
            );
        }
        if self.calls[number].half(side).phase == Phase::Up {
            self.calls[number].half(side).phase = Phase::Ending;
            if self.request(number, side, Method::Bye, None).is_none() {
                self.calls[number].half(side).phase = Phase::Over(500);
            }
        }
    }

    fn request(
        &mut self,
        number: usize,
        side: Side,
        method: Method,
        body: Option<&str>,
    ) -> Option<ClientKey> {
        let call = &mut self.calls[number];
        let (border, id) = (call.border, call.id.clone());
        let half = call.half(side);
        let cseq = half.cseq;
        half.cseq += 1;
        let mut m = Message::request(method.clone(), half.target.clone()?);
        let headers = [
            ("From", &*half.local),
            ("To", &half.remote),
            ("Call-ID", &id),
            ("CSeq", &format!("{cseq} {method}")),
        ];
        for (name, value) in headers {
            m.push_back(name, value).unwrap();
        }
        if method == Method::Invite {
            m.push_back("Contact", &format!("<sip:u{number}@{}>", address(border, side))).unwrap();
        }
        if let Some(body) = body {
            m.set_body(body.to_owned(), Some("application/sdp")).unwrap();
        }
        let way = way(border, side);
        let phones = &mut self.phones[border];
        let key = phones.ends[side as usize].request(self.now, m, Destination::from(way)).ok()?;
        phones.requests.insert((side, key), (number, method));
        Some(key)
    }

    fn respond(&mut self, number: usize, key: ServerKey, request: &Message, status: u16, body: Option<&str>) {
        self.respond_as(number, Side::Callee, key, request, status, body);
    }

    fn respond_as(
        &mut self,
        number: usize,
        side: Side,
        key: ServerKey,
        request: &Message,
        status: u16,
        body: Option<&str>,
    ) {
        let border = self.calls[number].border;
        let Ok(mut m) = Message::response(request, status, "") else { return };
        if request.to_tag().is_none() {
            m.set_header("To", &self.calls[number].half(side).local).unwrap();
        }
        if status < 300 {
            m.push_back("Contact", &format!("<sip:u{number}@{}>", address(border, side))).unwrap();
        }
        if let Some(body) = body {
            m.set_body(body.to_owned(), Some("application/sdp")).unwrap();
        }
        let _ = self.phones[border].ends[side as usize].respond(self.now, key, m);
    }

    /// A SIP datagram reaches telephones.
    pub fn phones_receive(&mut self, border: usize, side: Side, data: bytes::Bytes) {
        let from = if side == Side::Caller { borders::access(border) } else { borders::core(border) };
        let mut hop = Hop::new(Transport::Udp, from);
        hop.local = Some(address(border, side));
        self.phones[border].ends[side as usize].handle_input(self.now, Input { hop, data });
        self.flush_phones(border);
    }

    /// Runs what is due.
    pub fn phones_timeout(&mut self, border: usize) {
        for end in &mut self.phones[border].ends {
            end.handle_timeout(self.now);
        }
        self.flush_phones(border);
    }

    /// Carries away what telephones have to say.
    pub fn flush_phones(&mut self, border: usize) {
        for side in [Side::Caller, Side::Callee] {
            loop {
                let end = &mut self.phones[border].ends[side as usize];
                if let Some(event) = end.poll_event() {
                    self.phone_event(border, side, event);
                } else if let Some(transmit) = end.poll_transmit() {
                    self.phones_send(border, side, transmit);
                } else {
                    break;
                }
            }
        }
    }

    fn phone_event(&mut self, border: usize, side: Side, event: Event) {
        match event {
            Event::Response { key, message, .. } => {
                let Some((number, method)) = self.phones[border].requests.get(&(side, key)).cloned() else {
                    return;
                };
                let status = message.status().unwrap_or(0);
                self.phone_response(number, side, key, &method, status, &message);
            }
            Event::Unanswered { key, reason } => {
                let Some((number, method)) = self.phones[border].requests.remove(&(side, key)) else {
                    return;
                };
                self.phone_final(number, side, key, &method, reason.status());
            }
            Event::Request { key, message, .. } => self.phone_request(border, side, key, message),
            Event::Ack { key: Some(key), .. } if side == Side::Callee => {
                if let Some(number) = self.phones[border].answering.get(&key).copied() {
                    self.calls[number].unacknowledged = false;
                }
            }
            Event::Cancelled { key, .. } => {
                let Some(number) = self.phones[border].answering.get(&key).copied() else { return };
                let call = &mut self.calls[number];
                if call.callee.phase == Phase::Trying
                    && let Some((key, request)) = call.asked.take()
                {
                    call.callee.phase = Phase::Over(487);
                    self.respond(number, key, &request, 487, None);
                }
            }
            Event::Unacknowledged { key, .. } => {
                if let Some(number) = self.phones[border].answering.get(&key).copied() {
                    self.calls[number].unacknowledged = false;
                    self.hang_up(number, side);
                }
            }
            _ => {}
        }
    }

    fn phone_response(
        &mut self,
        number: usize,
        side: Side,
        key: ClientKey,
        method: &Method,
        status: u16,
        message: &Message,
    ) {
        if status < 200 {
            return;
        }
        if *method == Method::Invite && status < 300 {
            let half = self.calls[number].half(side);
            if let Some(target) = message.contacts().ok().and_then(|c| c.first().map(|c| c.uri().clone())) {
                half.target = Some(target);
            }
            half.remote = message.header("To").unwrap().into_owned();
            self.acknowledge(number, side, key, message);
        }
        self.phone_final(number, side, key, method, status);
    }

    fn acknowledge(&mut self, number: usize, side: Side, key: ClientKey, answer: &Message) {
        let call = &mut self.calls[number];
        let (border, id) = (call.border, call.id.clone());
        let half = call.half(side);
        let Some(target) = half.target.clone() else { return };
        let mut ack = Message::request(Method::Ack, target);
        let cseq = answer.cseq().map(|c| c.number).unwrap_or(1);
        let headers = [
            ("From", &*half.local),
            ("To", &half.remote),
            ("Call-ID", &id),
            ("CSeq", &format!("{cseq} ACK")),
        ];
        for (name, value) in headers {
            ack.push_back(name, value).unwrap();
        }
        let way = Destination::from(way(border, side));
        let _ = self.phones[border].ends[side as usize].ack(self.now, key, ack, way);
    }

    /// The final response, or what stands for it.
    fn phone_final(&mut self, number: usize, side: Side, key: ClientKey, method: &Method, status: u16) {
        let now = self.now;
        let call = &mut self.calls[number];
        if *method == Method::Bye {
            call.half(side).phase = Phase::Over(200);
            return;
        }
        let first = call.invite == Some(key) && side == Side::Caller;
        if !first {
            // A new offer that failed for good ends the session (RFC 3261 §12.2.1.2).
            if matches!(status, 408 | 481) {
                self.hang_up(number, side);
            }
            return;
        }
        if call.caller.phase != Phase::Trying {
            return;
        }
        if status >= 300 {
            call.caller.phase = Phase::Over(status);
            return;
        }
        call.caller.phase = Phase::Up;
        call.answered = true;
        let (talk, again, ends) = (call.talk, call.asks_again, call.ends);
        if ends == Side::Caller {
            self.at(now + talk, Happening::Act { call: number, act: Act::HangUp(Side::Caller) });
        }
        if let Some(wait) = again {
            self.at(now + wait, Happening::Act { call: number, act: Act::AskAgain });
        }
    }

    fn phone_request(&mut self, border: usize, side: Side, key: ServerKey, message: Message) {
        let id = message.call_id().unwrap_or_default().to_owned();
        let Some(number) = self.calls.iter().position(|c| c.id == id) else { return };
        match message.method() {
            Method::Invite if message.to_tag().is_none() && side == Side::Callee => {
                self.rings(border, number, key, message);
            }
            Method::Invite => {
                let body = self.calls[number].sdp("2001:db8:2::20");
                let up = self.calls[number].half(side).phase == Phase::Up;
                let (status, body) = if up { (200, Some(&*body)) } else { (481, None) };
                self.phones[border].answering.insert(key, number);
                self.respond_as(number, side, key, &message, status, body);
            }
            Method::Bye => {
                self.respond_as(number, side, key, &message, 200, None);
                let half = self.calls[number].half(side);
                half.phase = Phase::Over(200);
            }
            _ => self.respond_as(number, side, key, &message, 200, None),
        }
    }

    fn rings(&mut self, border: usize, number: usize, key: ServerKey, message: Message) {
        let call = &mut self.calls[number];
        if call.callee.phase != Phase::Idle {
            let id = call.id.clone();
            return self.violation(format!("{id} rings twice"), vec![id]);
        }
        call.callee.phase = Phase::Trying;
        call.callee.local = format!("{};tag=to{number}", message.header("To").unwrap());
        call.callee.remote = message.header("From").unwrap().into_owned();
        call.callee.target = message.contacts().ok().and_then(|c| c.first().map(|c| c.uri().clone()));
        call.asked = Some((key, message.clone()));
        let wait = match call.answer {
            Answer::Yes(wait) | Answer::No(wait, _) => wait,
            Answer::Never => Duration::from_secs(100),
        };
        self.phones[border].answering.insert(key, number);
        self.respond(number, key, &message, 180, None);
        self.at(self.now + wait, Happening::Act { call: number, act: Act::Answer });
    }

    // -- the SIP network -------------------------------------------------------------------

    fn phones_send(&mut self, border: usize, side: Side, transmit: Transmit) {
        let from = if side == Side::Caller { Node::Callers(border) } else { Node::Callees(border) };
        self.sip(border, side, true, from, Node::Border(border), transmit.data);
    }

    /// A border sends a SIP datagram.
    pub fn border_sends_sip(&mut self, border: usize, transmit: &Transmit) {
        let to = transmit.hop.remote;
        let side = if to == borders::callers(border) { Side::Caller } else { Side::Callee };
        if side == Side::Callee && to != borders::callees(border) {
            return self.violation(format!("border{border} sends SIP to {to}"), Vec::new());
        }
        let node = if side == Side::Caller { Node::Callers(border) } else { Node::Callees(border) };
        if self.setup.mutation == Some(crate::Mutation::SwallowAnswers) && side == Side::Caller {
            let message = Message::parse(transmit.data.clone(), &Limits::default()).unwrap();
            let invite = message.cseq().is_ok_and(|c| c.method == Method::Invite);
            if invite && message.status() >= Some(200) {
                return;
            }
        }
        self.sip(border, side, false, Node::Border(border), node, transmit.data.clone());
    }

    fn sip(&mut self, border: usize, side: Side, up: bool, from: Node, to: Node, data: bytes::Bytes) {
        if !self.calm && self.dice.chance(self.setup.sip_lost) {
            return self.trace.sip(self.elapsed(), from, to, "lost", &data);
        }
        self.trace.sip(self.elapsed(), from, to, "sent", &data);
        let at = self.now + self.dice.between(Duration::from_micros(500), Duration::from_millis(8));
        self.at(at, Happening::Sip { border, side, up, data });
    }

    /// A SIP datagram arrives.
    pub fn arrive_sip(&mut self, border: usize, side: Side, up: bool, data: bytes::Bytes) {
        if !up {
            return self.phones_receive(border, side, data);
        }
        let to = if side == Side::Caller { borders::access(border) } else { borders::core(border) };
        self.border_receives_sip(border, address(border, side), to, data);
    }
}

fn address(border: usize, side: Side) -> SocketAddr {
    match side {
        Side::Caller => borders::callers(border),
        Side::Callee => borders::callees(border),
    }
}

/// From a telephone to its border.
fn way(border: usize, side: Side) -> Hop {
    let to = if side == Side::Caller { borders::access(border) } else { borders::core(border) };
    let mut hop = Hop::new(Transport::Udp, to);
    hop.local = Some(address(border, side));
    hop
}

/// A session with so many MSRP lines: sealed end to end and with CEMA (RFC 6714), so that gateways pass them
/// unread, or in the open and without, so that gateways have to be in the paths.
fn sdp(ip: &str, lines: usize, sealed: bool) -> String {
    let version = if ip.contains(':') { 6 } else { 4 };
    let setup = if version == 4 { "actpass" } else { "passive" };
    let host = if version == 6 { format!("[{ip}]") } else { ip.to_owned() };
    let mut text = format!("v=0\r\no=- 1 1 IN IP{version} {ip}\r\ns=-\r\nc=IN IP{version} {ip}\r\nt=0 0\r\n");
    let (transport, scheme) = if sealed { ("TCP/TLS/MSRP", "msrps") } else { ("TCP/MSRP", "msrp") };
    for line in 0..lines {
        let port = 2855 + 2 * line;
        text.push_str(&format!(
            "m=message {port} {transport} *\r\na=accept-types:text/plain\r\n\
             a=path:{scheme}://{host}:{port}/kjhd37s2s20w2a;tcp\r\na=setup:{setup}\r\n"
        ));
        if sealed {
            text.push_str("a=msrp-cema\r\na=fingerprint:SHA-256 4A:AD:B9\r\n");
        }
    }
    text
}
