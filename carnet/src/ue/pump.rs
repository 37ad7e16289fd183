//! The session of one call on its connection, until it ends.
//!
//! It reads from the connection only what the session takes, and the session takes only what the
//! disk has taken, so a slow disk slows the sender and a file of any size needs the same memory.
//! What is answered to the peer as received is on the disk, and a file that is answered to its end is
//! the file that was announced.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use carnet_client::{CallId, FileOffer};
use carnet_msrp::file::local_name;
use carnet_msrp::{
    AbortReason, ArrivalKey, Event, FailureReason, MessageKey, Outgoing, Session, Size, Status,
};
use carnet_net::OsRandom;
use carnet_wire::Random as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::UeError;
use super::event::UeEvent;
use super::inbox::{Inbox, Incoming, Remains};
use super::kept::{Kept, Unsaid};
use super::media::{News, Order};
use super::outbox::{Outbox, Source};
use super::text;

/// How long the last octets may take to go out.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long one who leaves waits for the answer to what was typed.
pub(super) const LAST_WORD: Duration = Duration::from_secs(1);
/// Octets read ahead of the session, and octets written ahead of the connection.
pub(super) const BUFFER: usize = 256 * 1024;
/// Longest text shown, in octets.
pub(super) const MAX_TEXT: usize = 64 * 1024;
/// How long the peer may say nothing before it is asked for a sign of life. With the time for an answer
/// that is how long a peer that vanished without a word goes unnoticed.
const QUIET: Duration = Duration::from_secs(60);
/// How often progress is told.
const TELL: Duration = Duration::from_millis(200);

/// A connection that stood for so long was no failed attempt.
const STABLE: Duration = Duration::from_secs(10);

/// What became of a session, for those who see the call end before they hear from its task.
#[derive(Clone, Default)]
pub(super) struct Fate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    up: Option<Instant>,
    received: bool,
    failure: Option<String>,
}

impl Fate {
    /// The connection has come up.
    pub(super) fn connected(&self) {
        self.state().up = Some(Instant::now());
    }

    /// Whether the connection has ever been up.
    pub(super) fn is_up(&self) -> bool {
        self.state().up.is_some()
    }

    /// Whether the last connection has been up for a while.
    pub(super) fn was_stable(&self) -> bool {
        self.state().up.is_some_and(|at| at.elapsed() >= STABLE)
    }

    /// Whether a connection has come up since then.
    pub(super) fn came_up_since(&self, then: Instant) -> bool {
        self.state().up.is_some_and(|at| at > then)
    }

    /// Whether the file that was offered to us is here.
    pub(super) fn is_received(&self) -> bool {
        self.state().received
    }

    /// Why the session broke, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message of the peer that is not complete.
enum Arriving {
    Text {
        octets: Vec<u8>,
        content_type: String,
    },
    File(Box<Receiving>),
    /// It is here already, and the sender does not know.
    Again,
}

struct Receiving {
    file: Incoming,
    name: String,
    total: Option<u64>,
    /// Where in the file the message begins.
    start: u64,
}

struct Sending {
    key: MessageKey,
    outbox: Outbox,
    name: String,
    size: u64,
    start: u64,
    done: u64,
}

/// A session and what goes through it.
pub(super) struct Pump {
    call: CallId,
    peer: String,
    session: Session,
    inbox: Option<Inbox>,
    offer: Option<FileOffer>,
    fate: Fate,
    /// Whether it is for us to receive it.
    receives: bool,
    /// What is here of it, once the transfer has stopped.
    remains: Remains,
    sending: Option<Sending>,
    /// With their Message-IDs.
    arrivals: HashMap<ArrivalKey, (String, Arriving)>,
    /// Texts without an answer, in the order in which they were said.
    texts: Vec<(MessageKey, Unsaid)>,
    /// What there is of the connections of before, and for the next one.
    kept: Kept,
    /// Under what the connection ended, if not in order.
    broke: Option<String>,
    /// The file was on its way out when the connection ended.
    unsent: bool,
    events: mpsc::Sender<UeEvent>,
    told: Instant,
    begun: Instant,
    /// When the peer last said anything.
    heard: Instant,
    /// [`QUIET`], but in tests.
    quiet: Duration,
}

impl Pump {
    /// `offer` is the file that the call is about, if it is about one; `inbox` takes it, if we are
    /// the receiver.
    pub(super) fn new(
        call: CallId,
        peer: String,
        session: Session,
        inbox: Option<Inbox>,
        offer: Option<FileOffer>,
        fate: Fate,
        events: mpsc::Sender<UeEvent>,
    ) -> Self {
        let receives = offer.is_some() && inbox.is_some();
        let here = offer.as_ref().map_or(0, |offer| offer.start);
        Self {
            call,
            peer,
            session,
            inbox,
            offer,
            fate,
            receives,
            remains: Remains { here, kept: here > 0 },
            sending: None,
            arrivals: HashMap::new(),
            texts: Vec::new(),
            kept: Kept::default(),
            broke: None,
            unsent: false,
            events,
            told: Instant::now(),
            begun: Instant::now(),
            heard: Instant::now(),
            quiet: QUIET,
        }
    }

    /// Goes on where the connection before it broke: what it left unacknowledged goes again.
    pub(super) fn go_on(&mut self, mut kept: Kept) {
        let unsaid = std::mem::take(&mut kept.unsaid);
        self.kept = kept;
        for text in unsaid {
            self.say(text);
        }
    }

    /// RFC 6135 §4.2.3, RFC 4975 §5.4: whoever connected speaks at once.
    pub(super) fn greet(&mut self) {
        if self.sending.is_none() {
            self.session.keep_alive(Instant::now());
        }
    }

    /// Runs to the end.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: S,
        orders: &mut mpsc::Receiver<Order>,
    ) -> News {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (mut until, mut asked, mut parting) = (None, false, false);
        let (mut input, mut output) = (Vec::with_capacity(BUFFER), Vec::with_capacity(BUFFER));
        let news = loop {
            let used = self.session.handle_input(Instant::now(), &input);
            input.drain(..used);
            // Before anything is answered it is on the disk.
            match self.drain().await {
                Some(news) => break news,
                None if used > 0 && !input.is_empty() => continue,
                None => {}
            }
            if parting && self.texts.is_empty() {
                break self.stop().await;
            }
            if output.len() < BUFFER {
                let room = BUFFER - output.len();
                self.session.poll_transmit(Instant::now(), &mut output, room);
            }
            let more = self.session.has_transmit() && output.len() < BUFFER;
            tokio::select! {
                read = reader.read_buf(&mut input), if input.len() < BUFFER => match read {
                    Ok(0) => {
                        self.session.handle_closed(Instant::now());
                        break self.drain().await.unwrap_or(News::Done);
                    }
                    Err(error) => break self.broken(format!("the connection broke: {error}")).await,
                    Ok(_) => (self.heard, asked) = (Instant::now(), false),
                },
                wrote = writer.write(&output), if !output.is_empty() => match wrote {
                    Ok(wrote) => { output.drain(..wrote); }
                    Err(error) => break self.broken(format!("the connection broke: {error}")).await,
                },
                order = orders.recv(), if until.is_none() => match order {
                    Some(Order::Text(text, reply)) => self.say(Unsaid::new(text, reply)),
                    Some(Order::Renew) => {
                        break self.broken("the other side makes the connection again".into()).await;
                    }
                    Some(Order::Drain) if self.expects_a_file() => until = Some(Instant::now() + FAREWELL),
                    // What was just typed may have arrived; its answer says so.
                    Some(Order::Stop | Order::Drain) | None if !self.texts.is_empty() => {
                        (until, parting) = (Some(Instant::now() + LAST_WORD), true);
                    }
                    Some(Order::Stop | Order::Drain) | None => break self.stop().await,
                },
                () = carnet_net::until(until) => break self.stop().await,
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
        match &news {
            News::Failed(reason) => self.fate.state().failure = Some(reason.clone()),
            // Who says goodbye on a connection that is to be made again would end the call.
            News::Broken(_) => return news,
            _ => {}
        }
        farewell(&mut self.session, output, reader, writer).await;
        news
    }

    /// The connection is gone, and nobody wanted that.
    async fn broken(&mut self, why: String) -> News {
        self.broke = Some(why.clone());
        self.session.handle_closed(Instant::now());
        self.drain().await.unwrap_or(News::Broken(why))
    }

    fn say(&mut self, text: Unsaid) {
        let mut message = Outgoing::new("text/plain;charset=UTF-8", Size::Unknown);
        message.message_id = Some(text.id.clone());
        match self.session.send_whole(message, text.text.clone()) {
            Ok(key) => self.texts.push((key, text)),
            Err(error) => {
                let _ = text.reply.send(Err(UeError::Undelivered(error.to_string())));
            }
        }
    }

    /// The text of ours with that name, if it waits for its answer.
    fn said(&mut self, key: MessageKey) -> Option<Unsaid> {
        let at = self.texts.iter().position(|(known, _)| *known == key)?;
        Some(self.texts.remove(at).1)
    }

    /// Begins to send a file, from octet `start` on.
    pub(super) async fn send_file(&mut self, source: Source, start: u64) -> Result<(), UeError> {
        let size = source.size();
        let outbox = Outbox::open(source, start).await?;
        let offer = self.offer.clone().unwrap_or_default();
        let mut message = Outgoing::new(offer.content_type.clone(), Size::Known(size.saturating_sub(start)));
        // RFC 5547 §8.8 leaves naming to SDP; the header serves receivers that look only here.
        let name = local_name(&offer.name);
        let header = format!("attachment; filename=\"{}\"", name.replace(['"', '\\'], "_"));
        message.headers.push(("Content-Disposition".into(), header));
        let key = self.session.send(message).map_err(|error| UeError::Undelivered(error.to_string()))?;
        self.receives = false;
        self.sending = Some(Sending { key, outbox, name, size, start, done: start });
        Ok(())
    }

    /// Acts on what the session says. `Some` ends the pump.
    async fn drain(&mut self) -> Option<News> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Begun { arrival, message_id, content_type, size, .. } => {
                    if let Err(reason) = self.begun((arrival, message_id), &content_type, size).await {
                        return Some(News::Failed(reason));
                    }
                }
                Event::Body { arrival, offset, data } => {
                    if let Err(reason) = self.body(arrival, offset, &data).await {
                        self.session.refuse(arrival, Status::STOP);
                        if self.drop_arrival(arrival).await {
                            return Some(News::Failed(reason));
                        }
                        let _ = self.events.send(UeEvent::Trouble { message: reason }).await;
                    }
                }
                Event::Complete { arrival, .. } => match self.complete(arrival).await {
                    Ok(status) => self.session.conclude(arrival, status),
                    Err(reason) => {
                        self.session.conclude(arrival, Status::STOP);
                        return Some(News::Failed(reason));
                    }
                },
                Event::Aborted { arrival, reason } => {
                    let was_the_file = self.drop_arrival(arrival).await;
                    let what = match reason {
                        AbortReason::Sender => "the other side gave the file up",
                        AbortReason::Refused(_) => "the other side sent what is no part of the file",
                        // The end of the session comes next.
                        _ => continue,
                    };
                    if was_the_file {
                        return Some(News::Failed(self.stopped(what)));
                    }
                }
                Event::WantBody { key, max } => {
                    if let Err(error) = self.supply(key, max).await {
                        self.session.abort(key);
                        return Some(News::Failed(error.to_string()));
                    }
                }
                Event::Delivered { key } => {
                    if let Some(text) = self.said(key) {
                        let _ = text.reply.send(Ok(()));
                    } else if let Some(sent) = self.sending.take_if(|sending| sending.key == key) {
                        let elapsed = self.begun.elapsed();
                        let event = UeEvent::FileDone {
                            call: self.call,
                            name: sent.name,
                            path: None,
                            size: sent.size,
                            moved: sent.size.saturating_sub(sent.start),
                            elapsed,
                        };
                        let _ = self.events.send(event).await;
                        return Some(News::Sent);
                    }
                }
                // What becomes of it, the next connection says, or its absence.
                Event::Failed { key, reason: FailureReason::ConnectionLost } => {
                    self.unsent |= self.sending.take_if(|sending| sending.key == key).is_some();
                }
                Event::Failed { key, reason } => {
                    let sentence = sentence(reason);
                    if let Some(text) = self.said(key) {
                        let _ = text.reply.send(Err(UeError::Undelivered(sentence)));
                    } else if self.sending.take_if(|sending| sending.key == key).is_some() {
                        return Some(News::Failed(format!("the file did not arrive: {sentence}")));
                    }
                }
                Event::KeptAlive { status: Status::TIMEOUT }
                    if self.heard.elapsed() >= self.session.config().transaction_timeout =>
                {
                    return Some(self.vanished().await);
                }
                Event::Closed { error: Some(error @ carnet_msrp::Error::Lost(_)) } => {
                    return Some(self.ended(&error.to_string()));
                }
                Event::Closed { error: Some(error) } => {
                    return Some(News::Failed(format!("the other side broke the protocol: {error}")));
                }
                Event::Closed { error: None } => {
                    return Some(match self.broke.take() {
                        Some(why) => self.ended(&why),
                        None if self.expects_a_file() => News::Failed(self.stopped("the connection ended")),
                        None if self.unsent => {
                            News::Failed("the file did not arrive: the connection ended first".into())
                        }
                        None => News::Done,
                    });
                }
                _ => {}
            }
        }
        None
    }

    /// The call is over, whoever ended it.
    async fn stop(&mut self) -> News {
        if self.sending.is_some() {
            return News::Failed("the file did not arrive: the call ended first".into());
        }
        self.give_back().await;
        if self.expects_a_file() { News::Failed(self.stopped("the call ended")) } else { News::Done }
    }

    /// The peer answers nothing any more.
    async fn vanished(&mut self) -> News {
        self.give_back().await;
        self.unsent |= self.sending.take().is_some();
        self.ended("the other side does not answer any more")
    }

    /// The connection is over, and the call is not. Says how far the file came, if there is one.
    fn ended(&self, why: &str) -> News {
        News::Broken(match (self.expects_a_file(), self.unsent) {
            (true, _) => self.stopped(why),
            (false, true) => format!("the file did not arrive: {why}"),
            (false, false) => why.to_owned(),
        })
    }

    /// Whether a file was agreed that we are to receive, and is not here.
    fn expects_a_file(&self) -> bool {
        self.receives && !self.fate.is_received()
    }

    /// Says how far the file came.
    fn stopped(&self, what: &str) -> String {
        let Remains { here, kept } = self.remains;
        let size = self.offer.as_ref().and_then(|offer| offer.size);
        let size = size.map_or(String::new(), |size| format!(" of {size}"));
        let next = if kept { "; they are kept, and when it is sent again it goes on there" } else { "" };
        format!("{what} after {here}{size} octets of the file{next}")
    }

    /// A message of the peer begins. `Err` ends the session.
    async fn begun(
        &mut self,
        (arrival, id): (ArrivalKey, String),
        content_type: &str,
        size: Option<u64>,
    ) -> Result<(), String> {
        // The file is one message; another beside it is something else.
        let is_coming = self.arrivals.values().any(|(_, arriving)| matches!(arriving, Arriving::File(_)));
        let whole = self.offer.as_ref().is_some_and(|offer| size.is_some() && size == offer.size);
        let arriving = match (&self.offer, &self.inbox) {
            _ if self.kept.has_seen(&id) => Some(Arriving::Again),
            // The connection broke under the answer to its last octets.
            (Some(_), Some(_)) if whole && self.fate.is_received() => Some(Arriving::Again),
            (Some(offer), Some(inbox)) if self.expects_a_file() && !is_coming => {
                // A sender that does not know that we have a part of it begins at the beginning.
                let start = if size.is_some() && size == offer.size { 0 } else { offer.start };
                match inbox.open(offer, start).await {
                    Ok(file) => Some(Arriving::File(Box::new(Receiving {
                        file,
                        name: local_name(&offer.name),
                        total: offer.size,
                        start,
                    }))),
                    Err(error) => {
                        self.session.refuse(arrival, Status::STOP);
                        return Err(error.to_string());
                    }
                }
            }
            _ if text::may_hold_words(content_type) => {
                Some(Arriving::Text { octets: Vec::new(), content_type: content_type.to_owned() })
            }
            _ => None,
        };
        match arriving {
            Some(arriving) => {
                self.begun = Instant::now();
                self.arrivals.insert(arrival, (id, arriving));
            }
            None => self.session.refuse(arrival, Status::UNSUPPORTED_TYPE),
        }
        Ok(())
    }

    async fn body(&mut self, arrival: ArrivalKey, offset: u64, data: &[u8]) -> Result<(), String> {
        match self.arrivals.get_mut(&arrival).map(|(_, arriving)| arriving) {
            None | Some(Arriving::Again) => Ok(()),
            Some(Arriving::Text { octets, .. }) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(data.len());
                if end > MAX_TEXT {
                    return Err("a text that is too long was refused".into());
                }
                // Chunks may come in any order, and what comes later is right (RFC 4975 §7.3.1).
                octets.resize(octets.len().max(end), 0);
                if let Some(place) = octets.get_mut(start..end) {
                    place.copy_from_slice(data);
                }
                Ok(())
            }
            Some(Arriving::File(receiving)) => {
                let at = receiving.start.saturating_add(offset);
                receiving.file.write(at, data).await.map_err(|error| error.to_string())?;
                let (done, total, name) = (receiving.file.here(), receiving.total, receiving.name.clone());
                self.tell(name, done, total);
                Ok(())
            }
        }
    }

    /// A message of the peer is here: the answer. `Err` if it cannot be kept, which ends the session.
    async fn complete(&mut self, arrival: ArrivalKey) -> Result<Status, String> {
        let Some((id, arriving)) = self.arrivals.remove(&arrival) else { return Ok(Status::OK) };
        match arriving {
            Arriving::Again => return Ok(Status::OK),
            Arriving::Text { octets, content_type } => {
                match text::words(&content_type, &octets) {
                    Ok(None) => {}
                    Ok(Some(text)) => {
                        let event = UeEvent::Message { call: self.call, from: self.peer.clone(), text };
                        let _ = self.events.send(event).await;
                    }
                    Err(status) => return Ok(status),
                }
                self.confirm(&content_type, &octets);
            }
            Arriving::File(receiving) => {
                let Receiving { file, name, start, .. } = *receiving;
                let (size, elapsed) = (file.here(), self.begun.elapsed());
                let path = file.finish().await.map_err(|error| error.to_string())?;
                self.fate.state().received = true;
                let moved = size.saturating_sub(start);
                let event =
                    UeEvent::FileDone { call: self.call, name, path: Some(path), size, moved, elapsed };
                let _ = self.events.send(event).await;
            }
        }
        self.kept.saw(id);
        Ok(Status::OK)
    }

    /// Tells the sender that its message is here, if it asked.
    fn confirm(&mut self, content_type: &str, octets: &[u8]) {
        let mut random = OsRandom;
        let id = format!("{:08x}{:08x}", random.u32(), random.u32());
        let Some(receipt) = text::receipt(content_type, octets, &id) else { return };
        // A session that is too full to say thank you has other worries.
        let _ = self.session.send_whole(Outgoing::new("message/cpim", Size::Unknown), Bytes::from(receipt));
    }

    /// Gives back what came of a message; whether that was the file.
    async fn drop_arrival(&mut self, arrival: ArrivalKey) -> bool {
        let Some((_, Arriving::File(receiving))) = self.arrivals.remove(&arrival) else { return false };
        self.remains = receiving.file.abandon().await;
        true
    }

    async fn supply(&mut self, key: MessageKey, max: usize) -> Result<(), UeError> {
        let Some(sending) = self.sending.as_mut().filter(|sending| sending.key == key) else { return Ok(()) };
        let (data, last) = sending.outbox.read(max).await?;
        sending.done += data.len() as u64;
        let (done, total, name) = (sending.done, Some(sending.size), sending.name.clone());
        // A message that has ended meanwhile wants nothing more; that is no fault.
        let _ = self.session.supply(key, data, last);
        self.tell(name, done, total);
        Ok(())
    }

    /// Progress is for the eye: when nobody looks, it is not kept.
    fn tell(&mut self, name: String, done: u64, total: Option<u64>) {
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            let _ = self.events.try_send(UeEvent::FileProgress { call: self.call, name, done, total });
        }
    }

    /// Gives back what is not complete; what there is for the next connection.
    pub(super) async fn end(mut self) -> Kept {
        self.give_back().await;
        self.kept.unsaid.extend(self.texts.drain(..).map(|(_, text)| text));
        self.kept
    }

    async fn give_back(&mut self) {
        for (_, (_, arriving)) in std::mem::take(&mut self.arrivals) {
            if let Arriving::File(receiving) = arriving {
                self.remains = receiving.file.abandon().await;
            }
        }
    }
}

fn sentence(reason: FailureReason) -> String {
    match reason {
        FailureReason::Response(status) | FailureReason::Report(status) => {
            format!("the other side answered {status}")
        }
        FailureReason::TimedOut => "no answer came in time".into(),
        FailureReason::ConnectionLost => "the connection ended first".into(),
        FailureReason::WrongSize => "it changed while it was sent".into(),
        _ => "it was withdrawn".into(),
    }
}

/// Ends a connection, in [`FAREWELL`] at most: what is answered goes out after `output`, then the end of TLS is told.
pub(super) async fn farewell(
    session: &mut Session,
    mut output: Vec<u8>,
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) {
    let farewell = async {
        while session.poll_transmit(Instant::now(), &mut output, BUFFER) {}
        writer.write_all(&output).await?;
        writer.shutdown().await?;
        // A connection that is closed with octets unread is reset, and what we just wrote may
        // be lost with it: wait for the peer's end.
        let mut rest = [0; 4096];
        while reader.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_msrp::Config;
    use carnet_wire::SeededRandom;
    use tokio::sync::oneshot;

    const TIME: Duration = Duration::from_millis(200);

    fn session(ours: &str, theirs: &str) -> Session {
        let uri = |name: &str| format!("msrp://127.0.0.1:9/{name};tcp").parse().unwrap();
        let mut config = Config::new(uri(ours), vec![uri(theirs)]);
        config.transaction_timeout = TIME;
        config.conclude = true;
        Session::new(config, Box::new(SeededRandom::new(1)))
    }

    /// A pump with the patience of a test, on its end of `stream`.
    async fn pump(
        session: Session,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        mut orders: mpsc::Receiver<Order>,
    ) -> News {
        let (events, _listens) = mpsc::channel(8);
        let mut pump = Pump::new(CallId(1), "peer".into(), session, None, None, Fate::default(), events);
        pump.quiet = TIME;
        pump.run(stream, &mut orders).await
    }

    #[tokio::test]
    async fn a_peer_that_vanished_is_noticed_and_one_that_is_silent_is_not_taken_for_it() {
        // It takes what comes, and says nothing.
        let (near, mut far) = tokio::io::duplex(1000);
        let (_orders, ordered) = mpsc::channel(1);
        let vanished = tokio::spawn(pump(session("a", "b"), near, ordered));
        let mut seen = Vec::new();
        let reads = async { while far.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(TIME * 50, reads).await.expect("it goes on for ever");
        drop(far);
        let news = vanished.await.unwrap();
        assert!(matches!(news, News::Broken(reason) if reason.contains("does not answer")));
        // Two that have nothing to say to each other, but are there.
        let (near, far) = tokio::io::duplex(1000);
        let ((orders, ordered), (_kept, other)) = (mpsc::channel(1), mpsc::channel(1));
        let one = tokio::spawn(pump(session("a", "b"), near, ordered));
        let two = tokio::spawn(pump(session("b", "a"), far, other));
        tokio::time::sleep(TIME * 10).await;
        assert!(!one.is_finished() && !two.is_finished());
        orders.send(Order::Stop).await.unwrap();
        assert!(matches!(one.await.unwrap(), News::Done));
        assert!(matches!(two.await.unwrap(), News::Done));
    }

    #[tokio::test]
    async fn who_leaves_waits_a_moment_for_the_answer_to_what_was_typed() {
        let (near, far) = tokio::io::duplex(BUFFER);
        let (orders, ordered) = mpsc::channel(2);
        let leaves = tokio::spawn(pump(session("a", "b"), near, ordered));
        let (reply, answer) = oneshot::channel();
        orders.send(Order::Text("goodbye".into(), reply)).await.unwrap();
        orders.send(Order::Stop).await.unwrap();
        // The peer is slower than the one who leaves.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (_kept, other) = mpsc::channel(1);
        let stays = tokio::spawn(pump(session("b", "a"), far, other));
        answer.await.unwrap().expect("it arrived, and is known to have");
        assert!(matches!(leaves.await.unwrap(), News::Done));
        stays.await.unwrap();
    }

    /// RFC 5438 §7.2.1: who asks for it hears that the message is here.
    #[tokio::test]
    async fn a_receipt_goes_back_to_who_asked_for_it() {
        let (near, mut far) = tokio::io::duplex(BUFFER);
        let (_kept, ordered) = mpsc::channel(1);
        tokio::spawn(pump(session("b", "a"), near, ordered));
        let mut asks = session("a", "b");
        let message = "From: <sip:alice@a.example>\r\nTo: <sip:bob@b.example>\r\n\
            NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 34jk\r\n\
            imdn.Disposition-Notification: positive-delivery\r\n\r\nContent-Type: text/plain\r\n\r\nhello";
        asks.send_whole(Outgoing::new("message/cpim", Size::Unknown), Bytes::from(message)).unwrap();
        let exchange = async {
            let (mut input, mut told) = (Vec::new(), Vec::new());
            loop {
                let mut output = Vec::new();
                while asks.poll_transmit(Instant::now(), &mut output, BUFFER) {}
                far.write_all(&output).await.unwrap();
                while let Some(event) = asks.poll_event() {
                    match event {
                        Event::Body { data, .. } => told.extend_from_slice(&data),
                        Event::Complete { .. } => return told,
                        _ => {}
                    }
                }
                far.read_buf(&mut input).await.unwrap();
                let used = asks.handle_input(Instant::now(), &input);
                input.drain(..used);
            }
        };
        let told = tokio::time::timeout(TIME * 25, exchange).await.expect("a receipt");
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains("<message-id>34jk</message-id>") && told.contains("<delivered/>"), "{told}");
    }
}
