//! One connection that carries messages, whatever the protocol: reads, cuts, delivers; queues,
//! writes; and ends when the peer stalls, goes silent or does not read.
//!
//! Memory is bounded: a reader that gets ahead of the role waits (and with it the peer, by TCP);
//! a peer that does not read has [`StreamLimits::queue`] octets waiting for it and no more.

use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

/// Bounds of one connection.
#[derive(Debug, Clone)]
pub struct StreamLimits {
    /// Octets waiting to be written. More than that, and the connection is given up.
    pub queue: usize,
    /// Longest silence in both directions.
    pub idle: Duration,
    /// Longest time from the first octet of a message to its last, and from accepting a
    /// connection to its first message.
    pub message: Duration,
    /// Longest time the peer may keep us from writing.
    pub write: Duration,
    /// Longest time to connect, TLS handshake included.
    pub connect: Duration,
    /// How often a connection that we opened is tried out while it is silent; `None` is never.
    pub keep_alive: Option<Duration>,
    /// Time for the answer to that. A peer that has never answered may not know of it (RFC 5626 §4.4.1): only the
    /// system, whose octets it does not take, gives such a one up.
    pub pong: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            queue: 512 * 1024,
            idle: Duration::from_secs(3600),
            message: Duration::from_secs(30),
            write: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            keep_alive: None,
            pong: Duration::from_secs(10),
        }
    }
}

/// Cuts a stream into messages.
pub(crate) trait Framing: Send {
    /// What is sent to find out whether the peer is there; `None` if the protocol has no such thing.
    const PING: Option<&'static [u8]>;
    /// Takes octets in.
    fn push(&mut self, octets: &[u8]);
    /// The next message; an error ends the connection.
    fn next(&mut self) -> Result<Option<Piece>, String>;
    /// Whether part of a message is held.
    fn is_partial(&self) -> bool;
}

/// What a stream holds.
pub(crate) enum Piece {
    /// For the role.
    Message(Bytes),
    /// Something that the connection itself answers, with this.
    Answer(&'static [u8]),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the peer closed it")]
    Closed,
    #[error("nothing passed for long")]
    Idle,
    #[error("a message was begun and not finished, or never came")]
    Partial,
    #[error("the peer does not read")]
    Unread,
    #[error("the peer does not answer keep-alives")]
    Silent,
    #[error("what the peer sends cannot be cut into messages: {0}")]
    Unframed(String),
    #[error("the connection failed: {0}")]
    Failed(io::Error),
    #[error("it was closed here")]
    Stopped,
}

/// Where messages for one connection are put.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    queue: mpsc::Sender<Bytes>,
    octets: Arc<AtomicUsize>,
    limit: usize,
}

/// Where the connection takes them from.
#[derive(Debug)]
pub(crate) struct Inlet {
    queue: mpsc::Receiver<Bytes>,
    octets: Arc<AtomicUsize>,
}

/// Messages that may wait, however small.
const ITEMS: usize = 1024;
/// One read.
const READ: usize = 8 * 1024;
/// After a stream that cannot be read on, time for the last answer to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) fn queue(limit: usize) -> (Outlet, Inlet) {
    let (sender, receiver) = mpsc::channel(ITEMS);
    let octets = Arc::new(AtomicUsize::new(0));
    (Outlet { queue: sender, octets: octets.clone(), limit }, Inlet { queue: receiver, octets })
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Gone,
}

impl Outlet {
    /// Queues a message; one that alone exceeds the limit still goes when nothing else waits.
    pub(crate) fn push(&self, message: Bytes) -> Result<(), Refused> {
        let length = message.len();
        let before = self.octets.fetch_add(length, Ordering::AcqRel);
        let outcome = if before > 0 && before.saturating_add(length) > self.limit {
            Err(Refused::Full)
        } else {
            self.queue.try_send(message).map_err(|e| match e {
                mpsc::error::TrySendError::Full(_) => Refused::Full,
                mpsc::error::TrySendError::Closed(_) => Refused::Gone,
            })
        };
        if outcome.is_err() {
            self.octets.fetch_sub(length, Ordering::AcqRel);
        }
        outcome
    }
}

/// What one connection shares between its two halves.
struct Activity {
    start: Instant,
    /// Reads so far.
    reads: AtomicU64,
    /// Milliseconds from `start` to the last octet in either direction.
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { start: Instant::now(), reads: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    fn touch(&self) {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// What a connection is run with.
pub(crate) struct Run<'a, E, D, R> {
    pub(crate) limits: &'a StreamLimits,
    /// Whether we opened the connection.
    pub(crate) ours: bool,
    /// Where messages go; when it is full, reading waits.
    pub(crate) events: &'a mpsc::Sender<E>,
    /// For octets in `events`, if they are counted; when it is used up, reading waits. More than
    /// the largest message.
    pub(crate) room: Option<&'a Arc<Semaphore>>,
    /// Makes an event of a message, which holds the room that it takes.
    pub(crate) deliver: D,
    /// Takes the connection out of the register, so that nothing more is queued for it.
    pub(crate) retire: R,
}

impl<E, D, R> Run<'_, E, D, R>
where
    D: Fn(Bytes, Option<OwnedSemaphorePermit>) -> E,
    R: FnOnce(),
{
    /// Runs a connection until it ends or `stop` completes.
    pub(crate) async fn until_end<S, F>(
        self,
        stream: S,
        mut framing: F,
        (outlet, mut inlet): (Outlet, Inlet),
        stop: impl Future<Output = ()>,
    ) -> End
    where
        S: AsyncRead + AsyncWrite,
        F: Framing,
    {
        let (mut reader, writer) = tokio::io::split(stream);
        let activity = Activity::new();
        let ping = F::PING.filter(|_| self.ours);
        let mut writing = std::pin::pin!(write(writer, &mut inlet, self.limits, ping, &activity));
        let mut can_write = true;
        let end = tokio::select! {
            end = self.read(&mut reader, &mut framing, &outlet, &activity) => end,
            end = &mut writing => {
                can_write = false;
                end
            }
            () = stop => End::Stopped,
        };
        if can_write && matches!(end, End::Unframed(_)) {
            // The role may want to say what was wrong with the last message.
            tokio::select! {
                _ = &mut writing => can_write = false,
                () = tokio::time::sleep(LAST_WORDS) => {}
            }
        }
        // With the last outlet gone, the writing half writes what is queued and closes.
        (self.retire)();
        drop(outlet);
        if can_write {
            let _ = timeout(LAST_WORDS, writing).await;
        }
        end
    }

    async fn read<S, F>(
        &self,
        reader: &mut ReadHalf<S>,
        framing: &mut F,
        outlet: &Outlet,
        activity: &Activity,
    ) -> End
    where
        S: AsyncRead,
        F: Framing,
    {
        let mut buffer = vec![0; READ];
        // When the message that is coming in has to be whole.
        let mut due = (!self.ours).then(|| Instant::now() + self.limits.message);
        loop {
            let wake = due.unwrap_or_else(|| activity.last() + self.limits.idle);
            let n = tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(0) => return End::Closed,
                    Ok(n) => n,
                    Err(e) => return End::Failed(e),
                },
                () = sleep_until(wake) => {
                    if due.is_some() {
                        return End::Partial;
                    }
                    if activity.last() + self.limits.idle <= Instant::now() {
                        return End::Idle;
                    }
                    continue;
                }
            };
            activity.touch();
            activity.reads.fetch_add(1, Ordering::Relaxed);
            framing.push(buffer.get(..n).unwrap_or_default());
            loop {
                match framing.next() {
                    Ok(Some(Piece::Message(message))) => {
                        due = None;
                        let octets = u32::try_from(message.len()).unwrap_or(u32::MAX);
                        let permit = match self.room {
                            Some(room) => room.clone().acquire_many_owned(octets).await.ok(),
                            None => None,
                        };
                        // The role is gone: so is the reason for the connection.
                        if self.events.send((self.deliver)(message, permit)).await.is_err() {
                            return End::Stopped;
                        }
                    }
                    Ok(Some(Piece::Answer(octets))) => {
                        due = None;
                        if outlet.push(Bytes::from_static(octets)) == Err(Refused::Full) {
                            return End::Unread;
                        }
                    }
                    Ok(None) => break,
                    Err(why) => return End::Unframed(why),
                }
            }
            if framing.is_partial() {
                due.get_or_insert_with(|| Instant::now() + self.limits.message);
            }
        }
    }
}

/// Writes what is queued until the last outlet is gone, then closes this direction.
async fn write<S>(
    mut writer: WriteHalf<S>,
    inlet: &mut Inlet,
    limits: &StreamLimits,
    ping: Option<&'static [u8]>,
    activity: &Activity,
) -> End
where
    S: AsyncWrite,
{
    let keep_alive = limits.keep_alive.zip(ping);
    // When the last ping went out, and how many reads there had been.
    let mut pinged: Option<(Instant, u64)> = None;
    let mut answers = false;
    loop {
        let due = async {
            match (keep_alive, pinged) {
                (None, _) => std::future::pending().await,
                (Some(_), Some((at, _))) => sleep_until(at + limits.pong).await,
                (Some((every, _)), None) => sleep_until(activity.last() + every).await,
            }
        };
        let message = tokio::select! {
            message = inlet.queue.recv() => match message {
                Some(message) => Some(message),
                None => break,
            },
            () = due => None,
        };
        let written = match (message, pinged.take(), keep_alive) {
            (Some(message), before, _) => {
                pinged = before;
                let written = put(&mut writer, &message, limits.write).await;
                inlet.octets.fetch_sub(message.len(), Ordering::AcqRel);
                written
            }
            (None, Some((_, reads)), _) => {
                let answered = activity.reads.load(Ordering::Relaxed) != reads;
                if answers && !answered {
                    return End::Silent;
                }
                answers |= answered;
                continue;
            }
            (None, None, Some((every, ping))) if activity.last() + every <= Instant::now() => {
                pinged = Some((Instant::now(), activity.reads.load(Ordering::Relaxed)));
                put(&mut writer, ping, limits.write).await
            }
            (None, ..) => continue,
        };
        if let Err(end) = written {
            return end;
        }
        activity.touch();
    }
    match writer.shutdown().await {
        Ok(()) => End::Closed,
        Err(e) => End::Failed(e),
    }
}

async fn put<S: AsyncWrite>(writer: &mut WriteHalf<S>, octets: &[u8], within: Duration) -> Result<(), End> {
    let written = async {
        writer.write_all(octets).await?;
        writer.flush().await
    };
    match timeout(within, written).await {
        Ok(written) => written.map_err(End::Failed),
        Err(_) => Err(End::Unread),
    }
}
