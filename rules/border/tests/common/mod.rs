//! A network on paper: scripted terminals, a scripted gateway, one border, a clock.

#![allow(dead_code, clippy::unwrap_used)]

pub mod gateway;
pub mod real;
pub mod rtpengine;

use carnet_border::{
    Border, Config, Event, Family, Gateway, Network, Out, Policy, Registration, Route, User,
};
use carnet_event::Event as _;
use carnet_h248::MId;
use carnet_h248::association::Transport as ControlTransport;
use carnet_sip::{DigestClient, Hop, Input, Limits, Message, Method, Password, Transport, Uri};
use carnet_wire::SeededRandom;
use gateway::ScriptedGateway;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

pub const ACCESS: &str = "192.0.2.1:5060";
pub const CORE: &str = "198.51.100.1:5060";
pub const ALICE: &str = "192.0.2.20:5060";
pub const BOB: &str = "192.0.2.30:5060";
pub const PEER: &str = "198.51.100.99:5060";

pub const KEY: &str = "AQUFgwdVAQAAAAAAAAAAAAAAABYWFhYWFhYW+/=";

pub fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An IMS-ALG between an access network and the core, with its own registrar.
pub fn alg(control: ControlTransport) -> Config {
    let mut access = Network::new("access", uri(&format!("sip:{ACCESS}")), "access");
    access.listen = vec![(Transport::Udp, addr(ACCESS))];
    access.access = true;
    access.source_filter = true;
    let mut core = Network::new("core", uri(&format!("sip:{CORE}")), "core");
    core.listen = vec![(Transport::Udp, addr(CORE))];
    core.family = Family::V6;
    let user = |name: &str| User {
        aor: uri(&format!("sip:{name}@example.com")),
        username: name.into(),
        password: Password::new(format!("{name}-secret").into_bytes()),
    };
    Config {
        name: "alg1.example.com".into(),
        networks: vec![access, core],
        routes: vec![Route {
            domain: "*".into(),
            network: "core".into(),
            hop: Some(uri(&format!("sip:{PEER}"))),
        }],
        registration: Registration::Local {
            realm: "example.com".into(),
            users: vec![user("alice"), user("bob")],
            algorithms: vec![carnet_sip::Algorithm::Sha256, carnet_sip::Algorithm::Md5],
            max_expires: 3600,
            min_expires: 60,
        },
        policy: Policy::default(),
        gateways: vec![Gateway::new("agw1", MId::domain("agw1.example.com"), control)],
        rtpengine: None,
        profiles: Vec::new(),
        alternate: None,
        // Most tests are about calls that end with their gateway at once; those that wait say so.
        timers: carnet_border::Timers { media_return: Duration::ZERO, ..carnet_border::Timers::default() },
        limits: carnet_border::Limits::default(),
        sip: carnet_sip::Config { transports: vec![Transport::Udp], ..carnet_sip::Config::default() },
    }
}

/// An IBCF: routing by domain, no registrar, addresses hidden.
pub fn ibcf() -> Config {
    let mut config = alg(ControlTransport::Reliable);
    config.name = "ibcf1.example.com".into();
    config.registration = Registration::None;
    for network in &mut config.networks {
        network.access = false;
        network.source_filter = false;
        network.hide_origin = true;
    }
    config.networks[0].peers = vec![carnet_border::Prefix { ip: addr(ALICE).ip(), bits: 32 }];
    config
}

pub struct World {
    pub now: Instant,
    began: Instant,
    /// The time of day when it began, as it seems now and as the border has it.
    wall: SystemTime,
    written: SystemTime,
    pub border: Border,
    pub gateway: ScriptedGateway,
    /// If there, it takes the place of the scripted one.
    pub real: Option<real::RealGateway>,
    /// Further scripted ones, by name.
    pub more: BTreeMap<String, ScriptedGateway>,
    /// What an rtpengine was asked, and its part of the script.
    pub rtpengine: rtpengine::Scripted,
    /// No message to or from these.
    pub cut: Vec<String>,
    /// What reached each address and was not looked at yet.
    pub inbox: HashMap<SocketAddr, VecDeque<Message>>,
    pub events: Vec<Event>,
    /// Contact of the last 200 to an INVITE that the border sent.
    pub inbox_contact: Option<String>,
    /// What the border wants kept, if it keeps anything.
    pub records: BTreeMap<u32, String>,
    branch: u32,
    /// SIP messages counted, and the one that is lost.
    pub sip_sent: usize,
    pub lose_sip: Option<usize>,
    /// H.248 messages counted over both directions, and the one that is lost.
    pub control_sent: usize,
    pub lose_control: Option<usize>,
}

impl World {
    pub fn new(config: Config) -> Self {
        let now = Instant::now();
        // Some years after 1970.
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let border = Border::new(config, Box::new(SeededRandom::new(7)), now, wall);
        Self {
            wall,
            written: wall,
            now,
            began: now,
            border,
            gateway: ScriptedGateway::new("agw1.example.com"),
            real: None,
            more: BTreeMap::new(),
            rtpengine: rtpengine::Scripted::default(),
            cut: Vec::new(),
            inbox: HashMap::new(),
            events: Vec::new(),
            inbox_contact: None,
            records: BTreeMap::new(),
            branch: 0,
            sip_sent: 0,
            lose_sip: None,
            control_sent: 0,
            lose_control: None,
        }
    }

    /// Somebody sets the clock of the host.
    pub fn set_clock(&mut self, by: Duration, back: bool) {
        self.wall = if back { self.wall - by } else { self.wall + by };
    }

    /// The border's process ends, and another one starts with what was kept.
    pub fn restart(&mut self, config: Config, seed: u64) -> carnet_border::Restored {
        let random = Box::new(SeededRandom::new(seed));
        let before = self.written + (self.now - self.began);
        let wall = self.wall + (self.now - self.began);
        self.written = self.wall;
        self.border = Border::new(config, random, self.now, wall);
        self.border.records_are_by(before);
        self.border.keep_state();
        let records = std::mem::take(&mut self.records);
        let texts = records.iter().map(|(number, text)| (*number, text.as_str()));
        let restored = self.border.restore(self.now, texts, ["agw1".into()]);
        self.border.gateway_connected(self.now, "agw1");
        self.records = records;
        restored
    }

    /// A border whose gateway has registered.
    pub fn up(config: Config) -> Self {
        let mut world = Self::new(config);
        world.border.gateway_connected(world.now, "agw1");
        world.gateway.register();
        world.settle();
        assert!(world.events.iter().any(|e| matches!(e, Event::GatewayUp { .. })), "{:?}", world.events);
        world
    }

    /// A border with scripted gateways `agw1`, `agw2` and so on that have registered, and alice and bob.
    pub fn with_gateways(count: usize, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = alg(ControlTransport::Reliable);
        for n in 2..=count {
            let mid = MId::domain(format!("agw{n}.example.com"));
            config.gateways.push(Gateway::new(format!("agw{n}"), mid, ControlTransport::Reliable));
        }
        adjust(&mut config);
        let mut world = Self::new(config);
        for n in 1..=count {
            let name = format!("agw{n}");
            world.border.gateway_connected(world.now, &name);
            if n > 1 {
                world.more.insert(name.clone(), ScriptedGateway::new(&format!("{name}.example.com")));
            }
            world.scripted(n).register();
        }
        world.settle();
        world.register("alice", ALICE);
        world.register("bob", BOB);
        world
    }

    /// A scripted gateway by its number.
    pub fn scripted(&mut self, n: usize) -> &mut ScriptedGateway {
        if n == 1 { &mut self.gateway } else { self.more.get_mut(&format!("agw{n}")).unwrap() }
    }

    /// Carries messages until all is quiet.
    pub fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some((number, text)) = self.border.poll_kept() {
                self.records.insert(number, text);
            }
            while let Some(out) = self.border.poll_transmit() {
                quiet = false;
                match out {
                    Out::Sip(transmit) => {
                        self.sip_sent += 1;
                        if self.lose_sip == Some(self.sip_sent) {
                            continue;
                        }
                        let message =
                            Message::parse(transmit.data, &Limits::default()).expect("the border sends SIP");
                        if message.status() == Some(200) && message.cseq().unwrap().method == Method::Invite {
                            self.inbox_contact = Some(contact(&message));
                        }
                        self.inbox.entry(transmit.hop.remote).or_default().push_back(message);
                    }
                    Out::Rtpengine(datagram) => {
                        if let Some(answer) = self.rtpengine.handle(&datagram) {
                            self.border.handle_rtpengine(self.now, &answer);
                        }
                    }
                    Out::Gateway(name, _) if self.cut.iter().any(|c| *c == *name) => {}
                    Out::Gateway(name, message) if &*name != "agw1" => {
                        self.more.get_mut(&*name).unwrap().handle(message);
                    }
                    Out::Gateway(_, message) => {
                        self.control_sent += 1;
                        if self.lose_control == Some(self.control_sent) {
                            continue;
                        }
                        match &mut self.real {
                            Some(real) => real.handle(self.now, message),
                            None => self.gateway.handle(message),
                        }
                    }
                }
            }
            while let Some(message) =
                self.real.as_mut().map_or_else(|| self.gateway.poll(), |r| r.poll(self.now))
            {
                quiet = false;
                self.control_sent += 1;
                let cut = self.cut.iter().any(|c| c == "agw1");
                if self.lose_control != Some(self.control_sent) && !cut {
                    self.border.handle_gateway(self.now, "agw1", message);
                }
            }
            let names: Vec<_> = self.more.keys().cloned().collect();
            for name in names {
                while let Some(message) = self.more.get_mut(&name).unwrap().poll() {
                    quiet = false;
                    if !self.cut.contains(&name) {
                        self.border.handle_gateway(self.now, &name, message);
                    }
                }
            }
            assert_eq!(self.border.poll_query(), None, "no names are used here");
            while let Some(event) = self.border.poll_event() {
                self.events.push(event);
            }
            if quiet {
                while let Some(number) = self.border.poll_forgotten() {
                    self.records.remove(&number).expect("what is forgotten was kept");
                }
                return;
            }
        }
    }

    /// Lets time pass, with every timer on the way.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let next = |w: &Self| {
            let real = w.real.as_ref().and_then(|r| r.gateway.poll_timeout());
            w.border.poll_timeout().into_iter().chain(real).min()
        };
        while let Some(at) = next(self).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.border.handle_timeout(self.now);
            if let Some(real) = &mut self.real {
                real.gateway.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    /// A datagram from `from` to the border's address `to`.
    pub fn send(&mut self, from: &str, to: &str, message: &Message) {
        self.sip_sent += 1;
        if self.lose_sip == Some(self.sip_sent) {
            return;
        }
        let mut hop = Hop::new(Transport::Udp, addr(from));
        hop.local = Some(addr(to));
        self.border.handle_sip(self.now, Input { hop, data: message.to_bytes() });
        self.settle();
    }

    /// The next message that reached an address; `100` is skipped.
    #[track_caller]
    pub fn take(&mut self, at: &str) -> Message {
        self.try_take(at).unwrap_or_else(|| panic!("nothing reached {at}; events: {:#?}", self.events))
    }

    pub fn try_take(&mut self, at: &str) -> Option<Message> {
        let inbox = self.inbox.get_mut(&addr(at))?;
        loop {
            let message = inbox.pop_front()?;
            if message.status() != Some(100) {
                return Some(message);
            }
        }
    }

    #[track_caller]
    pub fn take_status(&mut self, at: &str, status: u16) -> Message {
        let message = self.take(at);
        assert_eq!(message.status(), Some(status), "{}", text(&message));
        message
    }

    #[track_caller]
    pub fn take_request(&mut self, at: &str, method: Method) -> Message {
        let message = self.take(at);
        assert!(message.is_request() && *message.method() == method, "{}", text(&message));
        message
    }

    pub fn branch(&mut self) -> String {
        self.branch += 1;
        format!("z9hG4bK-script-{}", self.branch)
    }

    /// A request with everything a request has.
    pub fn request(&mut self, ua: &Ua, method: Method, target: &str, cseq: u32) -> Message {
        let branch = self.branch();
        let mut m = Message::request(method.clone(), uri(target));
        let headers = [
            ("Via", format!("SIP/2.0/UDP {};branch={branch};rport", ua.at)),
            ("Max-Forwards", "70".into()),
            ("From", ua.local.clone()),
            ("To", ua.remote.clone()),
            ("Call-ID", ua.call_id.clone()),
            ("CSeq", format!("{cseq} {method}")),
        ];
        for (name, value) in headers {
            m.push_back(name, &value).unwrap();
        }
        if method != Method::Bye && method != Method::Ack && method != Method::Cancel {
            m.push_back("Contact", &format!("<sip:{}@{}>;+sip.instance=\"<urn:uuid:1>\"", ua.user, ua.at))
                .unwrap();
        }
        m
    }

    /// Registers a user with digest.
    pub fn register(&mut self, user: &str, at: &str) {
        self.register_with(user, at, "");
    }

    /// Registers a user with digest; `params` go behind the Contact.
    pub fn register_with(&mut self, user: &str, at: &str, params: &str) -> Message {
        self.register_asking(user, at, params, &[])
    }

    /// The same with further headers; a Contact takes the place of the usual one.
    pub fn register_asking(
        &mut self,
        user: &str,
        at: &str,
        params: &str,
        headers: &[(&str, &str)],
    ) -> Message {
        let ua = Ua::new(user, at, user, &format!("reg-{user}-{at}-{}", self.branch));
        let mut client =
            DigestClient::new(user, Password::new(format!("{user}-secret").into_bytes())).unwrap();
        let contact = |m: &mut Message| {
            let value = format!("{}{params}", m.header("Contact").unwrap());
            m.set_header("Contact", &value).unwrap();
            for (name, value) in headers {
                match *name {
                    "Contact" => m.set_header(name, value).unwrap(),
                    name => m.push_back(name, value).unwrap(),
                }
            }
        };
        let mut first = self.request(&ua, Method::Register, "sip:example.com", 1);
        contact(&mut first);
        self.send(at, ACCESS, &first);
        let challenge = self.take_status(at, 401);
        client.challenged(&challenge).unwrap();
        let mut second = self.request(&ua, Method::Register, "sip:example.com", 2);
        contact(&mut second);
        client.authorize(&mut second, &mut SeededRandom::new(1)).unwrap();
        self.send(at, ACCESS, &second);
        self.take_status(at, 200)
    }

    /// An alg with alice and bob registered.
    pub fn with_users(config: Config) -> Self {
        let mut world = Self::up(config);
        world.register("alice", ALICE);
        world.register("bob", BOB);
        world
    }

    /// Nothing of any call is left in the border or on the gateway.
    #[track_caller]
    pub fn assert_empty(&mut self) {
        self.pass(Duration::from_secs(120));
        assert_eq!(self.gateway.contexts(), 0, "contexts left on the gateway: {:#?}", self.events);
        let load = self.border.load();
        assert_eq!((load.calls, load.gateway_requests, load.requests, load.tokens), (0, 0, 0, 0), "{load:?}");
        assert_eq!((load.subscriptions, load.forks, load.counted), (0, 0, 0), "{load:?}");
        let sip = self.border.sip_counts().1;
        assert_eq!((sip.open_clients, sip.open_servers), (0, 0), "{sip:?}");
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.events.iter().map(Event::name).collect()
    }
}

/// One side of a dialog, scripted.
#[derive(Debug, Clone)]
pub struct Ua {
    pub user: String,
    pub at: String,
    pub call_id: String,
    /// From of its requests.
    pub local: String,
    /// To of its requests.
    pub remote: String,
}

impl Ua {
    pub fn new(user: &str, at: &str, peer: &str, call_id: &str) -> Self {
        let aor = |name: &str| {
            if name.contains('@') { format!("sip:{name}") } else { format!("sip:{name}@example.com") }
        };
        Self {
            user: user.split('@').next().unwrap().into(),
            at: at.into(),
            call_id: call_id.into(),
            local: format!("<{}>;tag=t-{user}", aor(user)),
            remote: format!("<{}>", aor(peer)),
        }
    }

    /// The side of the one who was called.
    pub fn answering(user: &str, at: &str, invite: &Message, tag: &str) -> Self {
        Self {
            user: user.into(),
            at: at.into(),
            call_id: invite.call_id().unwrap().into(),
            local: format!("{};tag={tag}", invite.header("To").unwrap()),
            remote: invite.header("From").unwrap().into_owned(),
        }
    }

    /// A response of this side.
    pub fn answer(&self, request: &Message, status: u16, body: Option<&str>) -> Message {
        let mut m = Message::response(request, status, "").unwrap();
        if status > 100 && request.to_tag().is_none() {
            m.set_header("To", &self.local).unwrap();
        }
        if (101..300).contains(&status) {
            m.push_back("Contact", &format!("<sip:{}@{}>", self.user, self.at)).unwrap();
        }
        if let Some(body) = body {
            m.set_body(body.to_owned(), Some("application/sdp")).unwrap();
        }
        m
    }
}

pub fn with_sdp(mut message: Message, sdp: &str) -> Message {
    message.set_body(sdp.to_owned(), Some("application/sdp")).unwrap();
    message
}

pub fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.to_bytes()).into_owned()
}

pub fn body(message: &Message) -> String {
    String::from_utf8(message.body().to_vec()).unwrap()
}

pub fn contact(message: &Message) -> String {
    message.contacts().unwrap()[0].uri().to_string()
}

/// A session with one secured MSRP line.
pub fn msrps(ip: &str, port: u16, setup: &str) -> String {
    let version = if ip.contains(':') { 6 } else { 4 };
    format!(
        "v=0\r\no=- 2890844526 2890844527 IN IP{version} {ip}\r\ns=-\r\nc=IN IP{version} {ip}\r\nt=0 0\r\n\
         a=key-mgmt:mikey {KEY}\r\na=x-session:  kept  \r\n\
         m=message {port} TCP/TLS/MSRP *\r\na=accept-types:message/cpim text/plain\r\n\
         a=path:msrps://{ip}:{port}/kjhd37s2s20w2a;tcp\r\na=setup:{setup}\r\na=msrp-cema\r\n\
         a=key-mgmt:mikey {KEY}\r\na=fingerprint:SHA-256 4A:AD:B9\r\na=x-unknown\r\n"
    )
}

/// A fingerprint of a terminal, all its octets being this one.
pub fn print(octet: &str) -> String {
    format!("SHA-256 {}", vec![octet; 32].join(":"))
}

/// A session with one line of that application; `tls` is its fingerprint, if it is secured.
pub fn line(ip: &str, port: u16, application: &str, setup: &str, tls: Option<&str>, more: &str) -> String {
    let version = if ip.contains(':') { 6 } else { 4 };
    let host = if version == 6 { format!("[{ip}]") } else { ip.to_owned() };
    let (proto, scheme) = if tls.is_some() { ("TCP/TLS", "msrps") } else { ("TCP", "msrp") };
    let media = match application {
        "MSRP" => format!(
            "m=message {port} {proto}/MSRP *\r\na=accept-types:*\r\na=path:{scheme}://{host}:{port}/s{port};tcp\r\n"
        ),
        _ => format!("m=application {port} {proto}/BFCP *\r\na=floorctrl:c-s\r\n"),
    };
    let print = tls.map(|print| format!("a=fingerprint:{print}\r\n")).unwrap_or_default();
    format!(
        "v=0\r\no=- 7 8 IN IP{version} {ip}\r\ns=-\r\nc=IN IP{version} {ip}\r\nt=0 0\r\n\
         {media}a=setup:{setup}\r\n{print}{more}a=x-unknown\r\n"
    )
}

/// Lines of `after` that `before` does not have.
pub fn changed(before: &str, after: &str) -> Vec<String> {
    let old: Vec<_> = before.split("\r\n").collect();
    after.split("\r\n").filter(|l| !old.contains(l)).map(str::to_owned).collect()
}
