//! The loop of a client: feeds the machine from sockets, the key server, the clock and commands,
//! and does what it says.

mod recovery;
mod rooms;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use carnet_client::{
    CallId, Client, Config, Ending, Event, FetchError, FetchId, FileOffer, KeyAccount, Limits, Media,
    Purpose, Refusal, Remote, Seal, TcpRole,
};
use carnet_net::{Listen, OsRandom, SipConfig, SipEvent, SipMachine, SipSockets, SipTls, StreamLimits};
use carnet_sip::{
    Answer, Destination, DigestClient, Endpoint, Hop, Input, Password, Query, QueryId, SentBy, SessionTimers,
    Transmit, Transport, Uri, host_of,
};
use carnet_tls::{CertificateContext, CertificateSettings, Peer, PskContext, Trust};
use carnet_wire::Random as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use super::config::UeConfig;
use super::event::UeEvent;
use super::first_hop::FirstHop;
use super::inbox::Inbox;
use super::kept::Kept;
use super::kms::KmsLink;
use super::media::{self, Left, Line, News, Order};
use super::outbox::Source;
use super::pump::Fate;
use super::room::event::Medium;
use super::room::{Over, TalkOrder};
use super::{Command, UeError};
use recovery::Recovery;
use rooms::RoomKnown;

pub use rooms::Joining;

/// How long a call may take to end when the connection is gone already.
const BYE_GRACE: Duration = Duration::from_secs(1);
/// How long a connection may take to close in order before BYE takes it away.
const CLOSE_GRACE: Duration = Duration::from_secs(4);
/// How long the calls and the registration may take to end when the client stops.
const STOP_GRACE: Duration = Duration::from_secs(6);
/// RFC 5626 §4.4.1: longest time without a sign of life on a connection to the network.
const KEEP_CONNECTION: Duration = Duration::from_secs(120);
/// RFC 5626 §4.4.2: and on a way that is none.
const KEEP_ALIVE: Duration = Duration::from_secs(29);
/// How often a port is looked for that is free for both UDP and TCP.
const PORTS: u32 = 16;
/// Texts waiting for a connection to take them.
const ORDERS: usize = 32;

/// The machine together with the wall clock, which its driver reads for it.
struct Wired {
    client: Client,
    /// Where we are, for requests inside a dialog too, which name only where they go.
    locals: Vec<(Transport, SocketAddr)>,
}

impl SipMachine for Wired {
    fn handle_input(&mut self, now: Instant, input: Input) {
        self.client.handle_sip(now, SystemTime::now(), input);
    }

    fn transport_failed(&mut self, now: Instant, hop: &Hop) {
        self.client.transport_failed(now, SystemTime::now(), hop);
    }

    fn handle_answer(&mut self, now: Instant, query: QueryId, answer: Answer) {
        self.client.handle_answer(now, SystemTime::now(), query, answer);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let mut transmit = self.client.poll_transmit()?;
        let hop = &mut transmit.hop;
        if hop.local.is_none() && hop.flow.is_none() {
            let ours = self.locals.iter().find(|(transport, _)| *transport == hop.transport);
            hop.local = ours.map(|(_, local)| *local);
        }
        Some(transmit)
    }

    fn poll_query(&mut self) -> Option<Query> {
        self.client.poll_query()
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
    /// They called us.
    called: bool,
    /// The key of its messages, for a connection that is made again.
    seal: Option<Arc<Seal>>,
    /// Its connection broke and is made again, or was before.
    recovery: Option<Box<Recovery>>,
    /// Both sides have agreed to the session.
    agreed: bool,
    /// Where the connection is made to, until it is.
    remote: Option<watch::Sender<Option<Remote>>>,
    orders: Option<mpsc::Sender<Order>>,
    /// The file has arrived at the other end.
    sent: bool,
    /// We have been told to end it, and do as soon as the connection has closed in order.
    hanging_up: bool,
    /// Why we end it, if that is not how calls end.
    failure: Option<String>,
    /// What belongs to a conference, if it is one.
    room: Option<Box<RoomKnown>>,
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
    proxy: FirstHop,
    media_address: IpAddr,
    answer: bool,
    register: bool,
    /// Whether connections that broke are made again.
    recovers: bool,
    kms: Option<KmsLink>,
    /// Why the key server brought nothing, the last time it did not.
    kms_trouble: Option<String>,
    psk: PskContext,
    inbox: Option<Inbox>,
    calls: HashMap<CallId, Known>,
    events: mpsc::Sender<UeEvent>,
    news: Pipe<(CallId, News, Left)>,
    room_news: Pipe<(CallId, Medium, Over)>,
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
type Fetched = (FetchId, Result<Vec<u8>, (FetchError, String)>);

impl Engine {
    pub(super) async fn open(config: UeConfig, events: mpsc::Sender<UeEvent>) -> Result<Self, UeError> {
        let setup = |error: &dyn std::fmt::Display| UeError::Setup(error.to_string());
        let identity = Uri::parse(&config.identity).map_err(|error| setup(&error))?;
        let proxy = FirstHop::parse(&config.proxy).map_err(UeError::Setup)?;
        let local = proxy.source(config.listen).await?;

        let tls = proxy.is_tls().then(|| sip_tls(&config)).transpose()?;
        let (drain, token) = carnet_net::drain();
        let keep_alive = Some(at_random(config.keep_alive.unwrap_or(KEEP_CONNECTION)));
        let streams = StreamLimits { keep_alive, ..StreamLimits::default() };
        let settings = SipConfig { tls, streams, ..SipConfig::default() };
        let (sockets, sip) = sip_sockets(&proxy, local, config.listen, &settings, &token)?;
        let port = sockets.listening().first().map(|listen| listen.address.port());

        let user = identity.user().unwrap_or("carnet").to_owned();
        let mut contact = Uri::sip(Some(&user), &host_of(local), port).map_err(|error| setup(&error))?;
        if let Some(transport) = proxy.contact_transport() {
            contact = contact.with_param("transport", Some(transport)).map_err(|error| setup(&error))?;
        }
        // What we send comes from the address we say we are at: a border takes anything else for
        // a sign of address translation.
        let ours = SocketAddr::new(local, port.unwrap_or(0));
        let locals: Vec<_> = proxy.transports().iter().map(|transport| (*transport, ours)).collect();
        let sent_by =
            |transport: &Transport| SentBy { transport: *transport, local: None, host: host_of(local), port };
        let endpoint = carnet_sip::Config {
            software: Some(concat!("carnet/", env!("CARGO_PKG_VERSION")).into()),
            transports: proxy.transports().to_vec(),
            sent_by: proxy.transports().iter().map(sent_by).collect(),
            ..carnet_sip::Config::default()
        };
        let endpoint = Endpoint::new(endpoint, Box::new(OsRandom));
        let destination = Destination::Uri(proxy.uri().clone()).leaving(&locals);
        let kms = config.kms.as_ref().map(|account| KmsLink::new(account, &config.interop)).transpose()?;
        let psk = config.interop.psk.clone();
        let inbox = config.inbox.clone().map(|directory| Inbox::new(directory, config.max_file));
        let (media_address, answer, register) =
            (config.media.unwrap_or(local), config.answer, config.register);
        let (name, recovers) = (config.identity.clone(), config.interop.recover);
        let client = client_config(config, identity, contact, destination).map_err(|error| setup(&error))?;
        let client = Client::new(client, endpoint, Box::new(OsRandom), SystemTime::now())
            .map_err(|error| setup(&error))?;
        Ok(Self {
            machine: Wired { client, locals },
            proxy,
            sockets,
            sip,
            _drain: drain,
            identity: name,
            media_address,
            answer,
            register,
            recovers,
            kms,
            kms_trouble: None,
            psk: PskContext::new(psk).map_err(|error| setup(&error))?,
            inbox,
            calls: HashMap::new(),
            events,
            news: mpsc::channel(ORDERS),
            room_news: mpsc::channel(ORDERS),
            fetched: mpsc::channel(ORDERS),
            registered: false,
            stopping: None,
            dying: Vec::new(),
            stopped: HashMap::new(),
        })
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        if self.register {
            self.machine.client.register(Instant::now());
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
                Some((call, news, left)) = self.news.1.recv() => self.media_news(call, news, left).await,
                Some((call, medium, over)) = self.room_news.1.recv() => self.room_over(call, medium, over).await,
                Some((id, result)) = self.fetched.1.recv() => {
                    let (result, cause) = match result {
                        Ok(octets) => (Ok(octets), None),
                        Err((error, cause)) => (Err(error), Some(cause)),
                    };
                    self.kms_trouble = cause;
                    self.machine.client.handle_fetched(Instant::now(), SystemTime::now(), id, result);
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
        let recovery = self.calls.values().filter_map(|known| known.recovery.as_ref()?.due()).min();
        [self.machine.client.poll_timeout(), stop, dying, stopped, recovery].into_iter().flatten().min()
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
            if self.is_lost_room(call) {
                let reason = Refusal::Connection("the connection to the conference ended".into());
                self.machine.client.media_failed(now, call, reason);
            } else {
                self.machine.client.hang_up(now, SystemTime::now(), call);
            }
        }
        self.recover(now).await;
        self.machine.client.handle_timeout(now, SystemTime::now());
    }

    /// Drains the machine: sends, asks the key server, acts on events.
    async fn settle(&mut self) {
        let now = Instant::now();
        loop {
            self.sockets.flush(now, &mut self.machine);
            while let Some(fetch) = self.machine.client.poll_fetch() {
                let (link, answers) = (self.kms.clone(), self.fetched.0.clone());
                tokio::spawn(async move {
                    let result = match link {
                        Some(link) => link.ask(fetch.purpose, fetch.octets).await,
                        None => Err((FetchError::Unreachable, "there is none".to_owned())),
                    };
                    let _ = answers.send((fetch.id, result)).await;
                });
            }
            match self.machine.client.poll_event() {
                Some(event) => self.happened(event).await,
                None => return,
            }
        }
    }

    async fn happened(&mut self, event: Event) {
        match event {
            // A refresh is no news.
            Event::Registered { .. } if self.registered => {}
            Event::Registered { expires, seen_at } => {
                self.registered = true;
                let identity = self.identity.clone();
                self.tell(UeEvent::Registered { identity, expires, seen_at }).await;
            }
            Event::FlowLost => {
                self.registered = false;
                let reason = "the connection to the network was lost; registering again".to_owned();
                self.tell(UeEvent::NotRegistered { reason }).await;
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
            Event::Incoming { call, from, purpose: Purpose::Conference(invitation), sealed } => {
                self.invited(call, from, invitation, sealed).await;
            }
            Event::Incoming { call, from, purpose, sealed } => {
                let file = match purpose {
                    Purpose::SendFile(file) => Some(file),
                    _ => None,
                };
                let homeless = file.is_some() && self.inbox.is_none();
                let known =
                    Known { peer: from.clone(), offered: file.clone(), called: true, ..Known::default() };
                self.calls.insert(call, known);
                self.tell(UeEvent::Incoming { call, from, file, sealed }).await;
                if homeless {
                    self.machine.client.refuse(Instant::now(), call, &Refusal::NoFiles);
                } else if self.answer {
                    self.accept(call).await;
                }
            }
            Event::Media { call, media } => match self.calls.get(&call) {
                Some(Known { room: Some(_), .. }) => self.talk(call, *media),
                _ => self.connect(call, *media),
            },
            Event::MediaRenewal { call } => self.renewal_offered(call).await,
            Event::MediaRenewed { call, media } => self.renewed(call, media).await,
            Event::Moved { call, remote } => {
                self.moved_room(call, &remote);
                let known = self.calls.get(&call).and_then(|known| known.remote.as_ref());
                if let Some(place) = known {
                    place.send_replace(Some(remote));
                }
            }
            Event::Refused { call, from, reason } => {
                let sentence = format!("refused a call from {from}: {}", self.explain(&reason));
                self.tell(UeEvent::Ended { call, failure: Some((reason.word(), sentence)), said: None })
                    .await;
            }
            Event::Ended { call, ending } => {
                let mut known = self.calls.remove(&call).unwrap_or_default();
                self.dying.retain(|(_, dying)| *dying != call);
                known.not_recovered(&ending);
                if known.room.is_some() {
                    return self.left(call, &known, &ending).await;
                }
                // A task that has no room for the order sees that nobody is left to give others.
                let running = known.orders.take().map(|orders| orders.try_send(Order::Drain)).is_some();
                if running && known.is_unfinished() && known.fate.failure().is_none() {
                    self.stopped.insert(call, (known, ending, Instant::now() + STOP_GRACE));
                } else {
                    self.over(call, known, &ending).await;
                }
            }
            other => self.room_happened(other).await,
        }
    }

    /// One sentence for a refusal, with what only we know of it.
    fn explain(&self, refusal: &Refusal) -> String {
        match (refusal, &self.kms_trouble) {
            (
                Refusal::Keys(carnet_client::KeyRefusal::KmsUnreachable(_))
                | Refusal::Keys(carnet_client::KeyRefusal::KmsRefused(_, None)),
                Some(cause),
            ) => {
                format!("{refusal}: {cause}")
            }
            (Refusal::NoFiles, _) => format!("{refusal}; `carnet ue receive` takes files"),
            _ => refusal.to_string(),
        }
    }

    /// Tells that a call is over, and why if it was not to end so.
    async fn over(&mut self, call: CallId, known: Known, ending: &Ending) {
        let unfinished = known.is_unfinished();
        let failure = match (known.failure.or_else(|| known.fate.failure()), ending.refusal()) {
            (Some(sentence), _) => Some(("media", sentence)),
            (None, Some(refusal)) => Some((refusal.word(), self.explain(refusal))),
            // Agreed, and then nothing came of it.
            (None, None) if known.agreed && !known.fate.is_up() && !known.hanging_up => {
                let why = match ending {
                    Ending::Peer(Some(reason)) | Ending::Broken { text: Some(reason), .. } => {
                        format!("the other side ended the call: {reason}")
                    }
                    _ => "the other side ended the call".to_owned(),
                };
                Some(("no-connection", format!("{why} before the connection was up")))
            }
            // Somebody on the way may have ended a call that both ends wanted.
            (None, None) if unfinished => {
                Some(("incomplete", "the call ended before the file had arrived".to_owned()))
            }
            // Who was told to go does not mind how.
            (None, None) if matches!(ending, Ending::Broken { .. }) && !known.hanging_up && !known.sent => {
                Some(("broken", ending.to_string()))
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
                self.machine.client.accept(Instant::now(), call, address, start);
            }
            Err(error) => {
                self.machine.client.decline(Instant::now(), call);
                self.tell(UeEvent::Trouble { message: format!("no address for media: {error}") }).await;
            }
        }
    }

    fn connect(&mut self, call: CallId, mut media: Media) {
        let known = self.calls.entry(call).or_default();
        known.seal = media.seal.take().map(Arc::new);
        if let Some(seal) = &known.seal {
            known.peer.clone_from(&seal.peer);
        }
        let (send, orders) = mpsc::channel(ORDERS);
        known.orders = Some(send);
        self.make(call, media, orders, None);
    }

    /// Makes a connection, the first or another one in its place.
    fn make(&mut self, call: CallId, media: Media, orders: mpsc::Receiver<Order>, before: Option<Kept>) {
        let (place, remote) = watch::channel(media.remote.clone());
        let known = self.calls.entry(call).or_default();
        known.remote = Some(place);
        known.agreed = true;
        let listener = known.listener.take().filter(|_| media.tcp == TcpRole::Passive);
        let line = Line {
            call,
            peer: known.peer.clone(),
            me: self.identity.clone(),
            media,
            listener,
            remote,
            psk: self.psk.clone(),
            seal: known.seal.clone(),
            before,
            file: known.file.clone(),
            inbox: self.inbox.clone(),
            fate: known.fate.clone(),
            events: self.events.clone(),
        };
        tokio::spawn(media::start(line, orders, self.news.0.clone()));
    }

    async fn media_news(&mut self, call: CallId, news: News, mut left: Left) {
        if let Some((mut known, ending, _)) = self.stopped.remove(&call) {
            match news {
                News::Failed(sentence) | News::Broken(sentence) => known.failure = Some(sentence),
                News::Sent => known.sent = true,
                News::Done => {}
            }
            return self.over(call, known, &ending).await;
        }
        let Some(known) = self.calls.get_mut(&call) else { return };
        let news = match news {
            News::Broken(reason) if self.recovers && !known.hanging_up => {
                return self.broke(call, reason, left).await;
            }
            // The other side wants it made again, and this is out of its way.
            News::Done if known.is_renewed() => return self.broke(call, String::new(), left).await,
            News::Broken(reason) => News::Failed(reason),
            news => news,
        };
        known.orders = None;
        left.kept.give_up("the connection ended first");
        match news {
            News::Broken(_) => {}
            News::Failed(sentence) if known.hanging_up => {
                known.failure = Some(sentence);
                self.machine.client.hang_up(Instant::now(), SystemTime::now(), call);
            }
            News::Failed(sentence) => {
                known.failure = Some(sentence.clone());
                self.machine.client.media_failed(Instant::now(), call, Refusal::Connection(sentence));
            }
            // What was to be sent is sent: the end is ours to say.
            News::Sent => {
                known.sent = true;
                self.machine.client.hang_up(Instant::now(), SystemTime::now(), call);
            }
            News::Done if known.hanging_up => {
                self.machine.client.hang_up(Instant::now(), SystemTime::now(), call);
            }
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
            Command::Join { uri, joining, reply } => {
                let result = self.join(&uri, joining).await;
                let _ = reply.send(result);
            }
            Command::Wish { call, wish, reply } => self.wish(call, wish, reply),
            Command::RoomFile { call, to, offer, source, reply } => {
                self.room_file(call, TalkOrder::File { to, offer, source, reply });
            }
            Command::Accept(call) => match self.calls.get(&call) {
                Some(Known { room: Some(_), .. }) => self.accept_room(call).await,
                _ => self.accept(call).await,
            },
            Command::Decline(call) => self.machine.client.decline(Instant::now(), call),
            Command::HangUp(call) => self.hang_up(call),
            Command::Stop(reply) => self.stop(Some(reply)),
        }
    }

    /// The connection closes first, so that the gateways on the way carry its last octets before
    /// BYE takes them away.
    fn hang_up(&mut self, call: CallId) {
        if let Some(known) = self.calls.get_mut(&call) {
            known.hanging_up = true;
            if known.room.is_some() {
                if !self.stop_room(call) {
                    self.machine.client.hang_up(Instant::now(), SystemTime::now(), call);
                }
                return;
            }
            let running = !known.is_recovering();
            if running && known.orders.as_ref().is_some_and(|orders| orders.try_send(Order::Stop).is_ok()) {
                self.dying.push((Instant::now() + CLOSE_GRACE, call));
                return;
            }
        }
        self.machine.client.hang_up(Instant::now(), SystemTime::now(), call);
    }

    async fn call(&mut self, uri: &str, file: Option<(FileOffer, Source)>) -> Result<CallId, UeError> {
        let setup = |error: &dyn std::fmt::Display| UeError::Setup(error.to_string());
        let to = self.proxy.callee(uri).map_err(UeError::Setup)?;
        let full = to.to_string();
        let listener = TcpListener::bind((self.media_address, 0)).await.map_err(|error| setup(&error))?;
        let local = listener.local_addr().map_err(|error| setup(&error))?;
        let (purpose, file) = match file {
            Some((offer, source)) => (Purpose::SendFile(offer), Some(source)),
            None => (Purpose::Chat, None),
        };
        let call = self
            .machine
            .client
            .call(Instant::now(), SystemTime::now(), to, purpose, local)
            .map_err(UeError::Refused)?;
        self.calls.insert(call, Known { peer: full, listener: Some(listener), file, ..Known::default() });
        Ok(call)
    }

    fn stop(&mut self, reply: Option<oneshot::Sender<()>>) {
        for call in self.calls.keys().copied().collect::<Vec<_>>() {
            self.hang_up(call);
        }
        self.stopping = Some((reply, Instant::now() + STOP_GRACE, false));
    }

    /// Whether the client has stopped; on the way there, takes the registration back once the
    /// calls have ended.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let Some((_, deadline, unregistering)) = &mut self.stopping else { return false };
        if now >= *deadline {
            return true;
        }
        if !self.machine.client.is_idle() || !self.stopped.is_empty() {
            return false;
        }
        if !*unregistering && self.registered {
            *unregistering = true;
            self.machine.client.unregister(now);
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
        keep_alive: config.keep_alive.unwrap_or(KEEP_ALIVE),
        routes: Vec::new(),
        keys,
        allow_clear: config.allow_clear,
        prefer: config.interop.tcp_role,
        behind_nat: config.behind_nat,
        tls_role_by_mikey: config.interop.tls_role_by_mikey,
        recovers: config.interop.recover,
        accept_types: "message/cpim text/plain *".into(),
        max_message: None,
        session_timers: SessionTimers::default(),
        limits: Limits::default(),
    })
}

/// Listens where others reach us: by UDP and TCP on one port, because whoever has a large request
/// for a place that is named without a transport takes TCP to the same port (RFC 3261 §18.1.1).
fn sip_sockets(
    proxy: &FirstHop,
    local: IpAddr,
    listen: SocketAddr,
    settings: &SipConfig,
    drain: &carnet_net::Token,
) -> Result<(SipSockets, mpsc::Receiver<SipEvent>), UeError> {
    let setup = |error: &dyn std::fmt::Display| UeError::Setup(error.to_string());
    // Any address, but of the IP version that we announce.
    let any: IpAddr = if local.is_ipv6() { [0u16; 8].into() } else { [0u8; 4].into() };
    let ip = if listen.ip().is_unspecified() { any } else { listen.ip() };
    let mut attempt = 1;
    loop {
        let port = match listen.port() {
            0 if proxy.transports().len() > 1 => {
                let free = UdpSocket::bind((ip, 0)).and_then(|socket| socket.local_addr());
                free.map_err(|error| setup(&error))?.port()
            }
            port => port,
        };
        let address = SocketAddr::new(ip, port);
        // Without a certificate nobody connects to us by TLS: what is for us comes by our connection.
        let usable = proxy.transports().iter().filter(|transport| **transport != Transport::Tls);
        let listen_on = usable.map(|transport| Listen { transport: *transport, address }).collect();
        let config = SipConfig { listen: listen_on, ..settings.clone() };
        match SipSockets::open(config, drain) {
            Ok(open) => return Ok(open),
            Err(_) if listen.port() == 0 && attempt < PORTS => attempt += 1,
            Err(error) => return Err(setup(&error)),
        }
    }
}

/// RFC 5626 §4.4: from four fifths of a pause to all of it, so that those who came at once do not go on so.
fn at_random(longest: Duration) -> Duration {
    longest.mul_f64(0.8 + 0.2 * f64::from(OsRandom.u32()) / f64::from(u32::MAX))
}

fn sip_tls(config: &UeConfig) -> Result<SipTls, UeError> {
    let trust = config.ca_file.clone().map_or(Trust::System, Trust::File);
    let settings = CertificateSettings { trust, ..CertificateSettings::default() };
    let context = CertificateContext::new(&settings).map_err(|error| UeError::Setup(error.to_string()))?;
    Ok(SipTls { context, clients: Peer::Vouched, servers: None })
}
