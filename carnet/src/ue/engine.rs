//! The loop of a client: feeds the machine from sockets, the key server, the clock and commands,
//! and does what it says.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use carnet_client::{
    CallId, Client, Config, Ending, Event, FetchError, FetchId, FileOffer, KeyAccount, Limits, Media,
    Purpose, Refusal, Remote, TcpRole,
};
use carnet_net::{Listen, OsRandom, SipConfig, SipEvent, SipMachine, SipSockets, SipTls};
use carnet_sip::{
    Answer, Destination, DigestClient, Endpoint, Hop, Input, Password, Query, QueryId, Scheme, SessionTimers,
    Transmit, Transport, Uri, host_of,
};
use carnet_tls::{CertificateContext, CertificateSettings, Peer, PskContext, Trust};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};

use super::config::UeConfig;
use super::event::UeEvent;
use super::inbox::Inbox;
use super::kms::KmsLink;
use super::media::{self, Line, News, Order};
use super::outbox::Source;
use super::pump::Fate;
use super::{Command, UeError};

/// How long a call may take to end when the connection is gone already.
const BYE_GRACE: Duration = Duration::from_secs(1);
/// How long BYE and the end of the registration may take when the client stops.
const STOP_GRACE: Duration = Duration::from_secs(4);
/// Texts waiting for a connection to take them.
const ORDERS: usize = 32;

/// The machine together with the wall clock, which its driver reads for it.
struct Wired(Client);

impl SipMachine for Wired {
    fn handle_input(&mut self, now: Instant, input: Input) {
        self.0.handle_sip(now, SystemTime::now(), input);
    }

    fn transport_failed(&mut self, now: Instant, hop: &Hop) {
        self.0.transport_failed(now, SystemTime::now(), hop);
    }

    fn handle_answer(&mut self, now: Instant, query: QueryId, answer: Answer) {
        self.0.handle_answer(now, SystemTime::now(), query, answer);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.0.poll_transmit()
    }

    fn poll_query(&mut self) -> Option<Query> {
        self.0.poll_query()
    }
}

/// What the driver knows of a call.
#[derive(Default)]
struct Known {
    peer: String,
    /// Open from the offer on, so that the peer may be faster than its answer.
    listener: Option<TcpListener>,
    file: Option<Source>,
    /// The file that is offered to us.
    offered: Option<FileOffer>,
    fate: Fate,
    /// Where the connection is made to, until it is.
    remote: Option<watch::Sender<Option<Remote>>>,
    orders: Option<mpsc::Sender<Order>>,
    /// The file has arrived at the other end.
    sent: bool,
    /// We have been told to end it, and do as soon as the connection has closed in order.
    hanging_up: bool,
    /// Why we end it, if that is not how calls end.
    failure: Option<String>,
}

impl Known {
    /// Whether a file was to be sent or received and is not.
    fn is_unfinished(&self) -> bool {
        let taken = self.offered.is_some() && self.remote.is_some();
        (self.file.is_some() && !self.sent) || (taken && !self.fate.is_received())
    }
}

pub(super) struct Engine {
    machine: Wired,
    sockets: SipSockets,
    sip: mpsc::Receiver<SipEvent>,
    /// Kept: when it is dropped the sockets drain.
    _drain: carnet_net::Drain,
    identity: String,
    media_address: IpAddr,
    answer: bool,
    register: bool,
    kms: Option<KmsLink>,
    psk: PskContext,
    inbox: Option<Inbox>,
    calls: HashMap<CallId, Known>,
    events: mpsc::Sender<UeEvent>,
    news: Pipe<(CallId, News)>,
    fetched: Pipe<Fetched>,
    registered: bool,
    stopping: Option<(Option<oneshot::Sender<()>>, Instant, bool)>,
    /// Calls whose connection is gone: when to end them if the peer does not.
    dying: Vec<(Instant, CallId)>,
    /// Calls that are over under a file, until the task of the connection has said how far it came; how
    /// they ended, and when it is told without that.
    stopped: HashMap<CallId, (Known, Ending, Instant)>,
}

/// Both ends of a channel from tasks of ours.
type Pipe<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);
type Fetched = (FetchId, Result<Vec<u8>, FetchError>);

impl Engine {
    pub(super) async fn open(config: UeConfig, events: mpsc::Sender<UeEvent>) -> Result<Self, UeError> {
        let setup = |error: &dyn std::fmt::Display| UeError::Setup(error.to_string());
        let identity = Uri::parse(&config.identity).map_err(|error| setup(&error))?;
        let proxy = Uri::parse(&config.proxy).map_err(|error| setup(&error))?;
        let transport = transport_of(&proxy)?;
        let local = reach(&config, &proxy, transport).await?;

        let tls = (transport == Transport::Tls).then(|| sip_tls(&config)).transpose()?;
        // Without a certificate nobody connects to us by TLS: what is for us comes by our connection.
        // "Any address" is one of the family in which the first hop is.
        let mut address = config.listen;
        if address.ip().is_unspecified() && local.is_ipv6() {
            address.set_ip(std::net::Ipv6Addr::UNSPECIFIED.into());
        }
        let listen = Listen { transport, address };
        let listening = if transport == Transport::Tls { Vec::new() } else { vec![listen] };
        let (drain, token) = carnet_net::drain();
        let sip_config = SipConfig { listen: listening, tls, ..SipConfig::default() };
        let (sockets, sip) = SipSockets::open(sip_config, &token).map_err(|error| setup(&error))?;
        let port = sockets.listening().first().map(|listen| listen.address.port());

        let user = identity.user().unwrap_or("carnet").to_owned();
        let contact = Uri::sip(Some(&user), &host_of(local), port)
            .and_then(|uri| uri.with_param("transport", Some(&transport.to_string().to_ascii_lowercase())))
            .map_err(|error| setup(&error))?;
        // What we send comes from the address we say we are at: a border takes anything else for
        // a sign of address translation.
        let ours = port.map(|port| SocketAddr::new(local, port));
        let destination = match proxy.ip() {
            Some(ip) => {
                let remote = SocketAddr::new(ip, proxy.port().unwrap_or(transport.default_port()));
                Destination::Hops(vec![Hop { local: ours, ..Hop::new(transport, remote) }])
            }
            None => Destination::Uri(proxy)
                .leaving(&ours.map(|ours| (transport, ours)).into_iter().collect::<Vec<_>>()),
        };
        let kms = config.kms.as_ref().map(|account| KmsLink::new(account, &config.interop)).transpose()?;
        let psk = config.interop.psk.clone();
        let inbox = config.inbox.clone().map(|directory| Inbox::new(directory, config.max_file));
        let (media_address, answer, register) =
            (config.media.unwrap_or(local), config.answer, config.register);
        let name = config.identity.clone();
        let endpoint = carnet_sip::Config {
            software: Some(concat!("carnet/", env!("CARGO_PKG_VERSION")).into()),
            transports: vec![transport],
            ..carnet_sip::Config::default()
        };
        let endpoint = Endpoint::new(endpoint, Box::new(OsRandom));
        let client = client_config(config, identity, contact, destination).map_err(|error| setup(&error))?;
        let client = Client::new(client, endpoint, Box::new(OsRandom), SystemTime::now())
            .map_err(|error| setup(&error))?;
        Ok(Self {
            machine: Wired(client),
            sockets,
            sip,
            _drain: drain,
            identity: name,
            media_address,
            answer,
            register,
            kms,
            psk: PskContext::new(psk).map_err(|error| setup(&error))?,
            inbox,
            calls: HashMap::new(),
            events,
            news: mpsc::channel(ORDERS),
            fetched: mpsc::channel(ORDERS),
            registered: false,
            stopping: None,
            dying: Vec::new(),
            stopped: HashMap::new(),
        })
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        if self.register {
            self.machine.0.register(Instant::now());
        }
        loop {
            self.settle().await;
            if self.is_over() {
                break;
            }
            let at = self.timeout();
            tokio::select! {
                Some(event) = self.sip.recv() => event.deliver(Instant::now(), &mut self.machine),
                command = commands.recv(), if self.stopping.is_none() => match command {
                    Some(command) => self.command(command).await,
                    None => self.stop(None),
                },
                Some((call, news)) = self.news.1.recv() => self.media_news(call, news).await,
                Some((id, result)) = self.fetched.1.recv() => {
                    self.machine.0.handle_fetched(Instant::now(), SystemTime::now(), id, result);
                }
                () = carnet_net::until(at) => self.tick().await,
            }
        }
        if let Some((Some(reply), ..)) = self.stopping.take() {
            let _ = reply.send(());
        }
    }

    fn timeout(&self) -> Option<Instant> {
        let stop = self.stopping.as_ref().map(|(_, at, _)| *at);
        let dying = self.dying.iter().map(|(at, _)| *at).min();
        let stopped = self.stopped.values().map(|(_, _, at)| *at).min();
        [self.machine.0.poll_timeout(), stop, dying, stopped].into_iter().flatten().min()
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        let late: Vec<CallId> =
            self.stopped.iter().filter(|(_, (_, _, at))| now >= *at).map(|(call, _)| *call).collect();
        for call in late {
            if let Some((known, ending, _)) = self.stopped.remove(&call) {
                self.over(call, known, &ending).await;
            }
        }
        let (due, later) = std::mem::take(&mut self.dying).into_iter().partition(|(at, _)| now >= *at);
        self.dying = later;
        let due: Vec<(Instant, CallId)> = due;
        for (_, call) in due {
            self.machine.0.hang_up(now, SystemTime::now(), call);
        }
        self.machine.0.handle_timeout(now, SystemTime::now());
    }

    /// Drains the machine: sends, asks the key server, acts on events.
    async fn settle(&mut self) {
        let now = Instant::now();
        loop {
            self.sockets.flush(now, &mut self.machine);
            while let Some(fetch) = self.machine.0.poll_fetch() {
                let (link, answers) = (self.kms.clone(), self.fetched.0.clone());
                tokio::spawn(async move {
                    let result = match link {
                        Some(link) => link.ask(fetch.purpose, fetch.octets).await,
                        None => Err(FetchError::Unreachable),
                    };
                    let _ = answers.send((fetch.id, result)).await;
                });
            }
            match self.machine.0.poll_event() {
                Some(event) => self.happened(event).await,
                None => return,
            }
        }
    }

    async fn happened(&mut self, event: Event) {
        match event {
            // A refresh is no news.
            Event::Registered { .. } if self.registered => {}
            Event::Registered { expires } => {
                self.registered = true;
                self.tell(UeEvent::Registered { identity: self.identity.clone(), expires }).await;
            }
            Event::RegistrationFailed { reason } => {
                self.registered = false;
                self.tell(UeEvent::NotRegistered { reason: reason.to_string() }).await;
            }
            Event::Unregistered => {
                self.registered = false;
                self.tell(UeEvent::Unregistered).await;
            }
            Event::Ringing { call } => self.tell(UeEvent::Ringing { call }).await,
            Event::Incoming { call, from, purpose, sealed } => {
                let file = match purpose {
                    Purpose::SendFile(file) => Some(file),
                    _ => None,
                };
                let wanted = self.answer && (file.is_none() || self.inbox.is_some());
                let known = Known { peer: from.clone(), offered: file.clone(), ..Known::default() };
                self.calls.insert(call, known);
                self.tell(UeEvent::Incoming { call, from, file, sealed }).await;
                if wanted {
                    self.accept(call).await;
                } else if self.answer {
                    self.machine.0.decline(Instant::now(), call);
                }
            }
            Event::Media { call, media } => self.connect(call, *media),
            Event::Moved { call, remote } => {
                let known = self.calls.get(&call).and_then(|known| known.remote.as_ref());
                if let Some(place) = known {
                    place.send_replace(Some(remote));
                }
            }
            Event::Refused { call, from, reason } => {
                let sentence = format!("refused a call from {from}: {reason}");
                self.tell(UeEvent::Ended { call, failure: Some((reason.word(), sentence)), said: None })
                    .await;
            }
            Event::Ended { call, ending } => {
                let mut known = self.calls.remove(&call).unwrap_or_default();
                self.dying.retain(|(_, dying)| *dying != call);
                // A task that has no room for the order sees that nobody is left to give others.
                let running = known.orders.take().map(|orders| orders.try_send(Order::Drain)).is_some();
                if running && known.is_unfinished() && known.fate.failure().is_none() {
                    self.stopped.insert(call, (known, ending, Instant::now() + STOP_GRACE));
                } else {
                    self.over(call, known, &ending).await;
                }
            }
            _ => {}
        }
    }

    /// Tells that a call is over, and why if it was not to end so.
    async fn over(&mut self, call: CallId, known: Known, ending: &Ending) {
        let unfinished = known.is_unfinished();
        let failure = match (known.failure.or_else(|| known.fate.failure()), ending.refusal()) {
            (Some(sentence), _) => Some(("media", sentence)),
            (None, Some(refusal)) => Some((refusal.word(), refusal.to_string())),
            // Somebody on the way may have ended a call that both ends wanted.
            (None, None) if unfinished => {
                Some(("incomplete", "the call ended before the file had arrived".to_owned()))
            }
            (None, None) => None,
        };
        let said = if let Ending::Peer(said) = ending { said.clone() } else { None };
        self.tell(UeEvent::Ended { call, failure, said }).await;
    }

    async fn accept(&mut self, call: CallId) {
        let offered = self.calls.get(&call).and_then(|known| known.offered.as_ref());
        let start = match (offered, &self.inbox) {
            (Some(file), Some(inbox)) => inbox.have(file).await,
            _ => 0,
        };
        match TcpListener::bind((self.media_address, 0)).await.and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        }) {
            Ok((listener, address)) => {
                if let Some(known) = self.calls.get_mut(&call) {
                    known.listener = Some(listener);
                }
                self.machine.0.accept(Instant::now(), call, address, start);
            }
            Err(error) => {
                self.machine.0.decline(Instant::now(), call);
                self.tell(UeEvent::Trouble { message: format!("no address for media: {error}") }).await;
            }
        }
    }

    fn connect(&mut self, call: CallId, media: Media) {
        let (send, orders) = mpsc::channel(ORDERS);
        let (place, remote) = watch::channel(media.remote.clone());
        let known = self.calls.entry(call).or_default();
        known.orders = Some(send);
        known.remote = Some(place);
        let listener = known.listener.take().filter(|_| media.tcp == TcpRole::Passive);
        let peer = media.seal.as_ref().map_or_else(|| known.peer.clone(), |seal| seal.peer.clone());
        let line = Line {
            call,
            peer,
            me: self.identity.clone(),
            media,
            listener,
            remote,
            psk: self.psk.clone(),
            file: known.file.clone(),
            inbox: self.inbox.clone(),
            fate: known.fate.clone(),
            events: self.events.clone(),
        };
        tokio::spawn(media::start(line, orders, self.news.0.clone()));
    }

    async fn media_news(&mut self, call: CallId, news: News) {
        if let Some((mut known, ending, _)) = self.stopped.remove(&call) {
            match news {
                News::Failed(sentence) => known.failure = Some(sentence),
                News::Sent => known.sent = true,
                News::Done => {}
            }
            return self.over(call, known, &ending).await;
        }
        let Some(known) = self.calls.get_mut(&call) else { return };
        known.orders = None;
        match news {
            News::Failed(sentence) if known.hanging_up => {
                known.failure = Some(sentence);
                self.machine.0.hang_up(Instant::now(), SystemTime::now(), call);
            }
            News::Failed(sentence) => {
                known.failure = Some(sentence.clone());
                self.machine.0.media_failed(Instant::now(), call, Refusal::Connection(sentence));
            }
            // What was to be sent is sent: the end is ours to say.
            News::Sent => {
                known.sent = true;
                self.machine.0.hang_up(Instant::now(), SystemTime::now(), call);
            }
            News::Done if known.hanging_up => self.machine.0.hang_up(Instant::now(), SystemTime::now(), call),
            // The peer's BYE is on its way, as a rule.
            News::Done => self.dying.push((Instant::now() + BYE_GRACE, call)),
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Call { uri, file, reply } => {
                let result = self.call(&uri, file).await;
                let _ = reply.send(result);
            }
            Command::Text { call, text, reply } => {
                let orders = self.calls.get(&call).and_then(|known| known.orders.as_ref());
                match orders.map(|orders| orders.try_send(Order::Text(text, reply))) {
                    Some(Ok(())) => {}
                    Some(Err(mpsc::error::TrySendError::Full(Order::Text(_, reply)))) => {
                        let _ = reply.send(Err(UeError::Undelivered("too many texts wait".into())));
                    }
                    // Dropping the reply says that the call is not up.
                    _ => {}
                }
            }
            Command::Accept(call) => self.accept(call).await,
            Command::Decline(call) => self.machine.0.decline(Instant::now(), call),
            Command::HangUp(call) => self.hang_up(call),
            Command::Stop(reply) => self.stop(Some(reply)),
        }
    }

    /// The connection closes first, so that the gateways on the way carry its last octets before
    /// BYE takes them away.
    fn hang_up(&mut self, call: CallId) {
        if let Some(known) = self.calls.get_mut(&call) {
            known.hanging_up = true;
            if known.orders.as_ref().is_some_and(|orders| orders.try_send(Order::Stop).is_ok()) {
                return;
            }
        }
        self.machine.0.hang_up(Instant::now(), SystemTime::now(), call);
    }

    async fn call(&mut self, uri: &str, file: Option<(FileOffer, Source)>) -> Result<CallId, UeError> {
        let setup = |error: &dyn std::fmt::Display| UeError::Setup(error.to_string());
        let full = if uri.contains(':') { uri.to_owned() } else { format!("sip:{uri}") };
        let to = Uri::parse(&full)
            .map_err(|error| UeError::Setup(format!("{uri} is not a SIP address: {error}")))?;
        let listener = TcpListener::bind((self.media_address, 0)).await.map_err(|error| setup(&error))?;
        let local = listener.local_addr().map_err(|error| setup(&error))?;
        let (purpose, file) = match file {
            Some((offer, source)) => (Purpose::SendFile(offer), Some(source)),
            None => (Purpose::Chat, None),
        };
        let call = self
            .machine
            .0
            .call(Instant::now(), SystemTime::now(), to, purpose, local)
            .map_err(UeError::Refused)?;
        self.calls.insert(call, Known { peer: full, listener: Some(listener), file, ..Known::default() });
        Ok(call)
    }

    fn stop(&mut self, reply: Option<oneshot::Sender<()>>) {
        let now = Instant::now();
        for call in self.calls.keys().copied().collect::<Vec<_>>() {
            self.machine.0.hang_up(now, SystemTime::now(), call);
        }
        self.stopping = Some((reply, now + STOP_GRACE, false));
    }

    /// Whether the client has stopped; on the way there, takes the registration back once the
    /// calls have ended.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let Some((_, deadline, unregistering)) = &mut self.stopping else { return false };
        if now >= *deadline {
            return true;
        }
        if !self.machine.0.is_idle() || !self.stopped.is_empty() {
            return false;
        }
        if !*unregistering && self.registered {
            *unregistering = true;
            self.machine.0.unregister(now);
            self.sockets.flush(now, &mut self.machine);
            return false;
        }
        true
    }

    async fn tell(&mut self, event: UeEvent) {
        // Nobody may listen any more; the calls go on.
        let _ = self.events.send(event).await;
    }
}

fn client_config(
    config: UeConfig,
    identity: Uri,
    contact: Uri,
    proxy: Destination,
) -> Result<Config, carnet_sip::Error> {
    let password = Password::new(config.password.as_bytes().to_vec());
    let digest = Some(DigestClient::new(&config.user, password)?);
    let keys = config.kms.map(|account| KeyAccount {
        profile: config.interop.profile,
        kms: account.identity,
        also_me: Vec::new(),
        psk_id: account.key_name.into_bytes(),
        psk: account.key,
        replay_entries: 10_000,
    });
    Ok(Config {
        identity,
        contact,
        proxy,
        digest,
        expires: config.expires,
        routes: Vec::new(),
        keys,
        allow_clear: config.allow_clear,
        prefer: TcpRole::Active,
        behind_nat: config.behind_nat,
        accept_types: "message/cpim text/plain *".into(),
        max_message: None,
        session_timers: SessionTimers::default(),
        limits: Limits::default(),
    })
}

/// The transport towards the first hop. Offers with keys do not fit into a datagram, so without a
/// word it is TCP.
fn transport_of(proxy: &Uri) -> Result<Transport, UeError> {
    match proxy.param("transport") {
        Some(name) => Transport::parse(name)
            .ok_or_else(|| UeError::Setup(format!("{name} is not a transport: udp, tcp or tls"))),
        None if proxy.scheme() == Scheme::Sips => Ok(Transport::Tls),
        None => Ok(Transport::Tcp),
    }
}

/// Our address as the first hop sees it. No packet is sent for this.
async fn reach(config: &UeConfig, proxy: &Uri, transport: Transport) -> Result<IpAddr, UeError> {
    if !config.listen.ip().is_unspecified() {
        return Ok(config.listen.ip());
    }
    let port = proxy.port().unwrap_or(transport.default_port());
    let any: IpAddr = if proxy.ip().is_some_and(|ip| ip.is_ipv6()) {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    let probe = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect((proxy.host().trim_matches(['[', ']']), port)).await?;
        Ok::<_, std::io::Error>(socket.local_addr()?.ip())
    };
    probe.await.map_err(|error| UeError::Setup(format!("{} cannot be reached: {error}", proxy.host())))
}

fn sip_tls(config: &UeConfig) -> Result<SipTls, UeError> {
    let trust = config.ca_file.clone().map_or(Trust::System, Trust::File);
    let settings = CertificateSettings { trust, ..CertificateSettings::default() };
    let context = CertificateContext::new(&settings).map_err(|error| UeError::Setup(error.to_string()))?;
    Ok(SipTls { context, clients: Peer::Vouched, servers: None })
}
