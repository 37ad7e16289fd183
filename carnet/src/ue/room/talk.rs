//! The message session of a conference, on its connection, until that ends.
//!
//! Like the session of a call ([`pump`](crate::ue::pump)) it reads only what it can keep, and what it answers
//! as received is shown or on the disk. Unlike it many files may come side by side, everything is wrapped in
//! message/cpim, and what is not acknowledged stays in [`Memory`] for the next session.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use carnet_client::{CallId, FileOffer, Media, TcpRole};
use carnet_msrp::composing::{Composing, State as Typing};
use carnet_msrp::cpim::{self, Head};
use carnet_msrp::file::local_name;
use carnet_msrp::imdn;
use carnet_msrp::{
    ArrivalKey, Config, Event, FailureReason, Limits, MessageKey, Outgoing, Session, Size, Status, Uri,
    parse_path,
};
use carnet_net::OsRandom;
use carnet_wire::Random as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::event::{Medium, RoomEvent, Said};
use super::memory::{Content, Memory, WAITING, Waiting};
use super::words::{self, Envelope, Read};
use super::{Over, Reply, TalkOrder};
use crate::ue::UeError;
use crate::ue::event::UeEvent;
use crate::ue::inbox::{Inbox, Incoming};
use crate::ue::link::{Link, Made};
use crate::ue::outbox::{Outbox, Source};
use crate::ue::pump::{BUFFER, LAST_WORD, MAX_TEXT, farewell};

/// How long the conference may say nothing before it is asked for a sign of life.
const QUIET: Duration = Duration::from_secs(30);
/// How often progress is told.
const TELL: Duration = Duration::from_millis(200);

/// What the task needs.
pub(in crate::ue) struct Talk {
    pub(in crate::ue) call: CallId,
    pub(in crate::ue) me: String,
    /// The conference's URI.
    pub(in crate::ue) room: String,
    pub(in crate::ue) media: Media,
    pub(in crate::ue) link: Link,
    pub(in crate::ue) inbox: Option<Inbox>,
    pub(in crate::ue) nicknames: bool,
    pub(in crate::ue) memory: Memory,
    pub(in crate::ue) events: mpsc::Sender<UeEvent>,
}

impl Talk {
    /// Runs to the end.
    pub(in crate::ue) async fn run(self, mut orders: mpsc::Receiver<TalkOrder>) -> Over {
        let Self { call, me, room, media, link, inbox, nicknames, memory, events } = self;
        let session = match session(&media) {
            Ok(session) => session,
            Err(reason) => return Over::Failed(reason),
        };
        let is_active = media.tcp == TcpRole::Active;
        let made = tokio::select! {
            made = link.make() => made,
            () = stopped(&mut orders) => return Over::Done,
        };
        let mut pump = Pump {
            call,
            envelope: Envelope { me, room },
            session,
            inbox,
            memory,
            arrivals: HashMap::new(),
            departures: HashMap::new(),
            files: HashMap::new(),
            events,
            told: Instant::now(),
            heard: Instant::now(),
            quiet: QUIET,
        };
        let (seal, stream): (_, Box<dyn Stream>) = match made {
            Err(reason) => return Over::Failed(reason),
            Ok(Made::Sealed(stream, report)) => (Some(report), stream),
            Ok(Made::Clear(stream)) => (None, Box::new(stream)),
        };
        pump.tell(RoomEvent::Connected { medium: Medium::Messages, seal }).await;
        pump.begin(nicknames).await;
        if is_active {
            // RFC 6135 §4.2.3, RFC 4975 §5.4: whoever connected speaks at once.
            pump.session.keep_alive(Instant::now());
        }
        let over = pump.run(stream, orders).await;
        pump.end().await;
        over
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

fn session(media: &Media) -> Result<Session, String> {
    let remote = parse_path(media.remote_path.as_bytes()).map_err(|error| error.to_string())?;
    let local = Uri::parse(media.local_path.as_bytes()).map_err(|error| error.to_string())?;
    let mut config = Config::new(local, remote);
    config.conclude = true;
    config.peer_accept_types.clone_from(&media.accept_types);
    config.peer_max_size = media.max_size;
    Ok(Session::new(config, Box::new(OsRandom)))
}

/// Waits for an order to stop; what is ordered before the connection is up fails.
async fn stopped(orders: &mut mpsc::Receiver<TalkOrder>) {
    loop {
        match orders.recv().await {
            Some(TalkOrder::Say { reply, .. } | TalkOrder::File { reply, .. }) => {
                let _ = reply.send(Err(UeError::NotUp));
            }
            Some(TalkOrder::Nickname(_) | TalkOrder::Typing(_)) => {}
            Some(TalkOrder::Stop) | None => return,
        }
    }
}

/// A message of a member that is not complete.
enum Arriving {
    /// Its head is not complete.
    Head {
        octets: Vec<u8>,
        size: Option<u64>,
        id: String,
    },
    /// It is to be read whole.
    Short {
        head: Box<Head>,
        at: usize,
        octets: Vec<u8>,
        id: String,
    },
    File(Box<Receiving>),
    /// In no wrapper: from the conference itself.
    Bare {
        octets: Vec<u8>,
        content_type: String,
        id: String,
    },
}

struct Receiving {
    file: Incoming,
    name: String,
    from: String,
    id: String,
    private: bool,
    total: Option<u64>,
    /// Where in the message the file begins.
    start: u64,
}

struct Sending {
    head: Option<Bytes>,
    outbox: Outbox,
    name: String,
    size: u64,
    done: u64,
    begun: Instant,
}

struct Pump {
    call: CallId,
    envelope: Envelope,
    session: Session,
    inbox: Option<Inbox>,
    memory: Memory,
    arrivals: HashMap<ArrivalKey, Arriving>,
    /// Messages on their way, with their identifiers.
    departures: HashMap<MessageKey, String>,
    files: HashMap<MessageKey, Sending>,
    events: mpsc::Sender<UeEvent>,
    told: Instant,
    heard: Instant,
    quiet: Duration,
}

impl Pump {
    async fn tell(&mut self, event: RoomEvent) {
        let _ = self.events.send(UeEvent::Room { call: self.call, event: Box::new(event) }).await;
    }

    /// A session begins: with the name we want, and what an earlier one has left.
    async fn begin(&mut self, nicknames: bool) {
        let nickname = self.memory.state().nickname.clone();
        if let Some(nickname) = nickname.filter(|_| nicknames) {
            let _ = self.session.set_nickname(Instant::now(), &nickname);
        }
        let left = std::mem::take(&mut self.memory.state().waiting);
        for waiting in left {
            self.depart(waiting).await;
        }
    }

    /// Sends a message, or says why that cannot be.
    async fn depart(&mut self, waiting: Waiting) {
        let sent = match &waiting.content {
            Content::Text(_, octets) => {
                let mut message = Outgoing::new(cpim::MEDIA_TYPE, Size::Unknown);
                message.message_id = Some(waiting.id.clone());
                self.session.send_whole(message, octets.clone()).map_err(|error| error.to_string())
            }
            Content::File(head, offer, source) => {
                let (head, name, source) = (head.clone(), local_name(&offer.name), source.clone());
                self.send_file(&waiting.id, head, name, source).await
            }
        };
        match sent {
            Ok(key) => {
                self.departures.insert(key, waiting.id.clone());
                self.memory.state().waiting.push_back(waiting);
            }
            Err(reason) => {
                if let Some(reply) = waiting.reply {
                    let _ = reply.send(Err(UeError::Undelivered(reason)));
                }
            }
        }
    }

    async fn send_file(
        &mut self,
        id: &str,
        head: Bytes,
        name: String,
        source: Source,
    ) -> Result<MessageKey, String> {
        let size = source.size();
        let outbox = Outbox::open(source, 0).await.map_err(|error| error.to_string())?;
        let mut message = Outgoing::new(cpim::MEDIA_TYPE, Size::Known(head.len() as u64 + size));
        message.message_id = Some(id.to_owned());
        let key = self.session.send(message).map_err(|error| error.to_string())?;
        let sending = Sending { head: Some(head), outbox, name, size, done: 0, begun: Instant::now() };
        self.files.insert(key, sending);
        Ok(key)
    }

    /// Runs to the end.
    async fn run(&mut self, stream: Box<dyn Stream>, mut orders: mpsc::Receiver<TalkOrder>) -> Over {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (mut until, mut asked, mut parting) = (None, false, false);
        let (mut input, mut output) = (Vec::with_capacity(BUFFER), Vec::with_capacity(BUFFER));
        let over = loop {
            let used = self.session.handle_input(Instant::now(), &input);
            input.drain(..used);
            match self.drain().await {
                Some(over) => break over,
                None if used > 0 && !input.is_empty() => continue,
                None => {}
            }
            if parting && self.memory.is_idle() {
                break Over::Done;
            }
            if output.len() < BUFFER {
                let room = BUFFER - output.len();
                self.session.poll_transmit(Instant::now(), &mut output, room);
            }
            let more = self.session.has_transmit() && output.len() < BUFFER;
            let takes = self.memory.state().waiting.len() < WAITING && until.is_none();
            tokio::select! {
                read = reader.read_buf(&mut input), if input.len() < BUFFER => match read {
                    Ok(0) | Err(_) => {
                        self.session.handle_closed(Instant::now());
                        break self.drain().await.unwrap_or(Over::Done);
                    }
                    Ok(_) => (self.heard, asked) = (Instant::now(), false),
                },
                wrote = writer.write(&output), if !output.is_empty() => match wrote {
                    Ok(wrote) => { output.drain(..wrote); }
                    Err(error) => {
                        self.session.handle_closed(Instant::now());
                        break match self.drain().await {
                            Some(Over::Failed(reason)) => Over::Failed(reason),
                            _ => Over::Failed(format!("the connection broke: {error}")),
                        };
                    }
                },
                order = orders.recv(), if takes => match order {
                    Some(TalkOrder::Say { to, text, reply }) => self.say(to, text, reply).await,
                    Some(TalkOrder::File { to, offer, source, reply }) => {
                        self.file(to, offer, source, reply).await;
                    }
                    Some(TalkOrder::Nickname(nickname)) => self.nickname(nickname).await,
                    Some(TalkOrder::Typing(active)) => self.typing(active),
                    // What was just typed may have arrived; its answer says so.
                    Some(TalkOrder::Stop) | None if !self.memory.is_idle() => {
                        (until, parting) = (Some(Instant::now() + LAST_WORD), true);
                    }
                    Some(TalkOrder::Stop) | None => break Over::Done,
                },
                () = carnet_net::until(until) => break Over::Done,
                // RFC 4975 §7.1.1: an empty SEND is answered like any other.
                () = carnet_net::until(Some(self.heard + self.quiet)), if !asked => {
                    asked = true;
                    self.session.keep_alive(Instant::now());
                }
                () = carnet_net::until(self.session.poll_timeout()) => {
                    self.session.handle_timeout(Instant::now());
                }
                () = std::future::ready(()), if more => {}
            }
        };
        if let Over::Failed(reason) = &over {
            self.memory.state().failure = Some(reason.clone());
        }
        farewell(&mut self.session, output, reader, writer).await;
        over
    }

    async fn say(&mut self, to: Option<String>, text: String, reply: Reply) {
        let (id, now) = (identifier(), SystemTime::now());
        match self.envelope.text(to.as_deref(), &id, now, &text) {
            Ok(octets) => {
                let said = Said {
                    id: id.clone(),
                    from: self.envelope.me.clone(),
                    to,
                    text,
                    time: Some(words::date(now)),
                    own: true,
                    ..Said::default()
                };
                let content = Content::Text(Box::new(said), octets);
                self.depart(Waiting { id, content, reply: Some(reply) }).await;
            }
            Err(reason) => {
                let _ = reply.send(Err(UeError::Undelivered(reason)));
            }
        }
    }

    async fn file(&mut self, to: Option<String>, offer: Box<FileOffer>, source: Source, reply: Reply) {
        let id = identifier();
        match self.envelope.file(to.as_deref(), &id, SystemTime::now(), &offer) {
            Ok(head) => {
                let content = Content::File(head, offer, source);
                self.depart(Waiting { id, content, reply: Some(reply) }).await;
            }
            Err(reason) => {
                let _ = reply.send(Err(UeError::Undelivered(reason)));
            }
        }
    }

    async fn nickname(&mut self, nickname: String) {
        if let Err(error) = self.session.set_nickname(Instant::now(), &nickname) {
            self.tell(RoomEvent::Nickname { nickname, failure: Some(error.to_string()) }).await;
        }
    }

    fn typing(&mut self, active: bool) {
        let state = if active { Typing::Active } else { Typing::Idle };
        let refresh = active.then_some(Duration::from_secs(60));
        let composing = Composing { refresh, ..Composing::new(state) };
        if let Ok(octets) = self.envelope.composing(&identifier(), SystemTime::now(), &composing) {
            // Of no consequence if it is lost, so nobody waits for it.
            let _ = self.session.send_whole(Outgoing::new(cpim::MEDIA_TYPE, Size::Unknown), octets);
        }
    }

    /// Acts on what the session says. `Some` ends the pump.
    async fn drain(&mut self) -> Option<Over> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Begun { arrival, message_id, content_type, size, .. } => {
                    self.begun(arrival, message_id, &content_type, size);
                }
                Event::Body { arrival, offset, data } => {
                    if let Err(status) = self.body(arrival, offset, &data).await {
                        self.session.refuse(arrival, status);
                        self.abandon(arrival).await;
                    }
                }
                Event::Complete { arrival, .. } => {
                    let status = self.complete(arrival).await;
                    self.session.conclude(arrival, status);
                }
                Event::Aborted { arrival, .. } => self.abandon(arrival).await,
                Event::WantBody { key, max } => self.supply(key, max).await,
                Event::Delivered { key } => self.delivered(key).await,
                Event::Failed { key, reason } => self.failed(key, reason),
                Event::NicknameAnswered { nickname, status } => {
                    let failure = refused_name(status);
                    if failure.is_none() {
                        self.memory.state().nickname = Some(nickname.clone()).filter(|name| !name.is_empty());
                    }
                    self.tell(RoomEvent::Nickname { nickname, failure }).await;
                }
                // Nobody asks a member for a name.
                Event::NicknameAsked { request, .. } => {
                    self.session.answer_nickname(request, Status::FORBIDDEN);
                }
                Event::KeptAlive { status: Status::TIMEOUT }
                    if self.heard.elapsed() >= self.session.config().transaction_timeout =>
                {
                    return Some(Over::Failed("the conference does not answer any more".into()));
                }
                Event::Closed { error: Some(error @ carnet_msrp::Error::Lost(_)) } => {
                    return Some(Over::Failed(error.to_string()));
                }
                Event::Closed { error: Some(error) } => {
                    return Some(Over::Failed(format!("the conference broke the protocol: {error}")));
                }
                Event::Closed { error: None } => return Some(Over::Done),
                _ => {}
            }
        }
        None
    }

    fn begun(&mut self, arrival: ArrivalKey, id: String, content_type: &str, size: Option<u64>) {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let arriving = if kind.eq_ignore_ascii_case(cpim::MEDIA_TYPE) {
            Arriving::Head { octets: Vec::new(), size, id }
        } else if kind.eq_ignore_ascii_case("text/plain") {
            Arriving::Bare { octets: Vec::new(), content_type: content_type.to_owned(), id }
        } else {
            self.session.refuse(arrival, Status::UNSUPPORTED_TYPE);
            return;
        };
        self.arrivals.insert(arrival, arriving);
    }

    async fn body(&mut self, arrival: ArrivalKey, offset: u64, data: &[u8]) -> Result<(), Status> {
        match self.arrivals.get_mut(&arrival) {
            None => Ok(()),
            Some(Arriving::Short { octets, .. } | Arriving::Bare { octets, .. }) => put(octets, offset, data),
            Some(Arriving::File(receiving)) => {
                let at = offset.checked_sub(receiving.start).ok_or(Status::BAD_REQUEST)?;
                receiving.file.write(at, data).await.map_err(|_| Status::STOP)?;
                if self.told.elapsed() >= TELL {
                    self.told = Instant::now();
                    let (name, done, total) =
                        (receiving.name.clone(), receiving.file.here(), receiving.total);
                    let event = UeEvent::FileProgress { call: self.call, name, done, total };
                    let _ = self.events.try_send(event);
                }
                Ok(())
            }
            Some(Arriving::Head { octets, size, id }) => {
                // Without its beginning nobody knows what it is.
                if offset != octets.len() as u64 {
                    return Err(Status::BAD_REQUEST);
                }
                octets.extend_from_slice(data);
                let limits = Limits::default();
                let Some((head, at)) = cpim::Head::parse(octets, &limits).map_err(|_| Status::BAD_REQUEST)?
                else {
                    return Ok(());
                };
                let (octets, size, id) = (std::mem::take(octets), *size, std::mem::take(id));
                let arriving = self.recognised(head, at, octets, size, id).await?;
                self.arrivals.insert(arrival, arriving);
                Ok(())
            }
        }
    }

    /// The head of a message is here.
    async fn recognised(
        &mut self,
        head: Head,
        at: usize,
        octets: Vec<u8>,
        size: Option<u64>,
        id: String,
    ) -> Result<Arriving, Status> {
        if !head.missing(&[]).is_empty() {
            return Err(Status::STOP);
        }
        let id = head.get_in(imdn::NAMESPACE, "Message-ID").map_or(id, str::to_owned);
        if words::is_short(&head) {
            if octets.len() > MAX_TEXT || size.is_some_and(|size| size > MAX_TEXT as u64) {
                return Err(Status::STOP);
            }
            return Ok(Arriving::Short { head: Box::new(head), at, octets, id });
        }
        let from = head.from().map(|from| from.uri).unwrap_or_default();
        let start = at as u64;
        let total = size.map(|size| size.saturating_sub(start));
        let offer = words::file_of(&head, total);
        let name = local_name(&offer.name);
        let refused =
            |name: String, reason: String| RoomEvent::FileRefused { from: from.clone(), name, reason };
        let Some(inbox) = &self.inbox else {
            let event = refused(name, "there is no place for files here: see --dir".into());
            self.tell(event).await;
            return Err(Status::STOP);
        };
        let opened = match inbox.open(&offer, 0).await {
            Ok(mut file) => {
                let first = octets.get(at..).unwrap_or_default();
                file.write(0, first).await.map(|()| file)
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok(file) => {
                let private = self.envelope.is_private(&head);
                Ok(Arriving::File(Box::new(Receiving { file, name, from, id, private, total, start })))
            }
            Err(error) => {
                let event = refused(name, error.to_string());
                self.tell(event).await;
                Err(Status::STOP)
            }
        }
    }

    /// A message is here: the answer.
    async fn complete(&mut self, arrival: ArrivalKey) -> Status {
        match self.arrivals.remove(&arrival) {
            None => Status::OK,
            Some(Arriving::Head { .. }) => Status::BAD_REQUEST,
            Some(Arriving::Bare { octets, content_type, id }) => {
                match crate::ue::text::words(&content_type, &octets) {
                    Ok(Some(text)) => {
                        let from = self.envelope.room.clone();
                        if !self.memory.state().is_known(&from, &id) {
                            let said = Said { id, from, text, notice: true, ..Said::default() };
                            self.tell(RoomEvent::Message(said)).await;
                        }
                        Status::OK
                    }
                    Ok(None) => Status::OK,
                    Err(status) => status,
                }
            }
            Some(Arriving::Short { head, at, octets, id }) => match words::read(&head, &octets, at) {
                Ok(read) => {
                    self.read(&head, read, id).await;
                    Status::OK
                }
                Err(status) => status,
            },
            Some(Arriving::File(receiving)) => {
                let Receiving { file, name, from, id, private, .. } = *receiving;
                if self.memory.state().is_known(&from, &id) {
                    file.abandon().await;
                    return Status::OK;
                }
                let size = file.here();
                match file.finish().await {
                    Ok(path) => {
                        self.tell(RoomEvent::File { from, name, path, size, private }).await;
                        Status::OK
                    }
                    Err(error) => {
                        self.tell(RoomEvent::FileRefused { from, name, reason: error.to_string() }).await;
                        Status::STOP
                    }
                }
            }
        }
    }

    /// A message that was read.
    async fn read(&mut self, head: &Head, read: Read, id: String) {
        let from = head.from().unwrap_or_else(|| cpim::Address::of(&self.envelope.room));
        match read {
            Read::Nothing => {}
            Read::Composing(composing) => {
                let active = composing.state == Typing::Active;
                if !super::same_user(&from.uri, &self.envelope.me) {
                    self.tell(RoomEvent::Composing { from: from.uri, active }).await;
                }
            }
            Read::Receipt(notification) => {
                let status = match notification.disposition {
                    imdn::Disposition::Delivered => "delivered",
                    imdn::Disposition::Displayed => "displayed",
                    imdn::Disposition::Failed => "failed",
                    _ => "other",
                };
                let id = notification.message_id;
                let event = RoomEvent::Receipt { id, from: from.uri, status: status.to_owned() };
                self.tell(event).await;
            }
            Read::Words(text) => {
                let now = SystemTime::now();
                let history = {
                    let mut state = self.memory.state();
                    if state.is_known(&from.uri, &id) {
                        return;
                    }
                    state.is_history(words::time_of(head), now)
                };
                let private = self.envelope.is_private(head);
                let said = Said {
                    id,
                    own: super::same_user(&from.uri, &self.envelope.me),
                    notice: super::same_user(&from.uri, &self.envelope.room),
                    from: from.uri,
                    name: from.name,
                    to: private.then(|| head.to().into_iter().next().map(|to| to.uri)).flatten(),
                    text,
                    time: head.get("DateTime").map(str::to_owned),
                    history,
                };
                let receipt = (!said.own && !history).then(|| self.envelope.receipt(head, &identifier()));
                self.tell(RoomEvent::Message(said)).await;
                if let Some(octets) = receipt.flatten() {
                    // A session that is too full to say thank you has other worries.
                    let _ = self.session.send_whole(Outgoing::new(cpim::MEDIA_TYPE, Size::Unknown), octets);
                }
            }
        }
    }

    async fn supply(&mut self, key: MessageKey, max: usize) {
        let Some(sending) = self.files.get_mut(&key) else { return };
        let (data, last) = match sending.head.take() {
            Some(mut head) => {
                let rest = head.split_off(max.min(head.len()));
                let is_whole = rest.is_empty();
                sending.head = Some(rest).filter(|rest| !rest.is_empty());
                (head, is_whole && sending.size == 0)
            }
            None => match sending.outbox.read(max).await {
                Ok((data, last)) => {
                    sending.done += data.len() as u64;
                    (data, last)
                }
                Err(error) => {
                    self.session.abort(key);
                    self.files.remove(&key);
                    self.give_up(key, UeError::Undelivered(error.to_string()));
                    return;
                }
            },
        };
        let (done, total, name) = (sending.done, Some(sending.size), sending.name.clone());
        // A message that has ended meanwhile wants nothing more; that is no fault.
        let _ = self.session.supply(key, data, last);
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            let _ = self.events.try_send(UeEvent::FileProgress { call: self.call, name, done, total });
        }
    }

    fn take(&mut self, key: MessageKey) -> Option<Waiting> {
        let id = self.departures.remove(&key)?;
        let mut state = self.memory.state();
        let at = state.waiting.iter().position(|waiting| waiting.id == id)?;
        state.waiting.remove(at)
    }

    async fn delivered(&mut self, key: MessageKey) {
        let Some(Waiting { id, content, reply }) = self.take(key) else { return };
        match content {
            Content::Text(said, _) => {
                // The conference may play it back to us, after a call back.
                self.memory.state().is_known(&said.from, &id);
                self.tell(RoomEvent::Message(*said)).await;
            }
            Content::File(..) => {
                let me = self.envelope.me.clone();
                self.memory.state().is_known(&me, &id);
                if let Some(sent) = self.files.remove(&key) {
                    let event = UeEvent::FileDone {
                        call: self.call,
                        name: sent.name,
                        path: None,
                        size: sent.size,
                        moved: sent.size,
                        elapsed: sent.begun.elapsed(),
                    };
                    let _ = self.events.send(event).await;
                }
            }
        }
        if let Some(reply) = reply {
            let _ = reply.send(Ok(()));
        }
    }

    fn failed(&mut self, key: MessageKey, reason: FailureReason) {
        self.files.remove(&key);
        match reason {
            // Whether it arrived is not known: it goes again in the next session, and who has it already
            // knows it by its identifier.
            FailureReason::ConnectionLost => {}
            FailureReason::TimedOut if self.heard.elapsed() >= self.session.config().transaction_timeout => {}
            FailureReason::TimedOut => {
                self.give_up(key, UeError::Undelivered("no answer came in time".into()));
            }
            FailureReason::Response(status) | FailureReason::Report(status) => {
                self.give_up(key, UeError::Undelivered(refused(status)));
            }
            FailureReason::TooLargeForPeer => {
                self.give_up(key, UeError::Undelivered("it is larger than the conference takes".into()));
            }
            _ => self.give_up(key, UeError::Undelivered("it was withdrawn".into())),
        }
    }

    fn give_up(&mut self, key: MessageKey, error: UeError) {
        if let Some(reply) = self.take(key).and_then(|waiting| waiting.reply) {
            let _ = reply.send(Err(error));
        }
    }

    async fn abandon(&mut self, arrival: ArrivalKey) {
        if let Some(Arriving::File(receiving)) = self.arrivals.remove(&arrival) {
            receiving.file.abandon().await;
        }
    }

    /// Gives back what is not complete.
    async fn end(&mut self) {
        for (_, arriving) in std::mem::take(&mut self.arrivals) {
            if let Arriving::File(receiving) = arriving {
                receiving.file.abandon().await;
            }
        }
    }
}

/// Chunks may come in any order, and what comes later is right (RFC 4975 §7.3.1).
fn put(octets: &mut Vec<u8>, offset: u64, data: &[u8]) -> Result<(), Status> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(data.len());
    if end > MAX_TEXT {
        return Err(Status::STOP);
    }
    octets.resize(octets.len().max(end), 0);
    if let Some(place) = octets.get_mut(start..end) {
        place.copy_from_slice(data);
    }
    Ok(())
}

fn identifier() -> String {
    let mut random = OsRandom;
    format!("{:08x}{:08x}{:08x}", random.u32(), random.u32(), random.u32())
}

/// Why the conference did not take a message.
fn refused(status: Status) -> String {
    match status.0 {
        403 => "the conference does not let us say that now".into(),
        404 => "nobody of that name is in the conference".into(),
        428 => "the conference does not pass messages to one member on, or that member takes none".into(),
        413 => "the conference, or who it was for, did not want it".into(),
        _ => format!("the conference answered {status}"),
    }
}

/// Why the conference did not give a nickname (RFC 7701 §7.2); `None` if it did.
fn refused_name(status: Status) -> Option<String> {
    match status.0 {
        200 => None,
        403 => Some("the conference gives no nicknames, or not this one".into()),
        423 | 424 => Some("that cannot be a nickname".into()),
        425 => Some("somebody else has this nickname, or it is reserved".into()),
        501 => Some("the conference knows no nicknames".into()),
        _ => Some(format!("the conference answered {status}")),
    }
}
