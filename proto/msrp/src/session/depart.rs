//! Messages of ours: the queue, chunks and their interruption (RFC 4975 §5.1, §7.1.1).
//!
//! What goes first: the rest of a frame already begun; responses and reports; short messages; then
//! long messages in turn, a chunk each. A long chunk is interrupted as soon as something shorter
//! waits, so a line of chat does not stand behind a file.

use super::arrive::{accepts, media_type, path};
use super::types::{Event, FailureReason, FailureReport, MessageKey, Outgoing, Size};
use super::{Owner, Session, Transaction};
use crate::{ByteRange, Continuation, Error, Head, Header};
use bytes::{Buf, Bytes};
use memchr::memmem;
use std::collections::VecDeque;
use std::time::Instant;

/// RFC 4975 §7.1.1: a chunk with a longer body must be interruptible.
pub(super) const UNINTERRUPTIBLE: usize = 2048;

/// How often another transaction identifier is tried when the body of a short chunk holds it. Once is
/// rare enough; a body that still does goes as an interruptible chunk.
const RENAMES: usize = 4;

/// A message of ours.
pub(super) struct Departure {
    pub(super) key: MessageKey,
    message_id: String,
    content_type: String,
    headers: Vec<Header>,
    size: Option<u64>,
    success_report: bool,
    failure_report: FailureReport,
    /// Octets supplied and not written.
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Whether the queue ends with the last octet.
    supplied: bool,
    asked: bool,
    /// Octets written.
    written: u64,
    /// Chunks without a response.
    unanswered: usize,
    /// Whether the last chunk has been written.
    done: bool,
    aborted: bool,
}

impl Departure {
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// Whether a chunk can begin.
    fn is_ready(&self) -> bool {
        !self.done && (self.queued > 0 || self.supplied)
    }

    /// Whether it can go in one chunk that nobody needs to interrupt.
    fn is_short(&self) -> bool {
        self.supplied && self.queued <= UNINTERRUPTIBLE
    }

    /// Whether the identifier occurs in what is queued.
    fn holds(&self, tid: &str) -> bool {
        let body: Vec<u8> = self.queue.iter().flatten().copied().collect();
        memmem::find(&body, tid.as_bytes()).is_some()
    }
}

/// The chunk that is being written.
pub(super) struct Chunk {
    key: MessageKey,
    head: Head,
    /// Octets of body written.
    written: usize,
    interruptible: bool,
    /// Whether the response came before the end.
    answered: bool,
    /// What must not appear in the body: dashes and the transaction identifier.
    fence: memmem::Finder<'static>,
    /// The last octets written, in which a fence could have begun.
    tail: Vec<u8>,
}

impl Chunk {
    pub(super) fn tid(&self) -> &str {
        &self.head.tid
    }

    pub(super) fn key(&self) -> MessageKey {
        self.key
    }

    pub(super) fn set_answered(&mut self) {
        self.answered = true;
    }

    /// How many octets of `data` can be written before the fence would appear in the body.
    fn clear(&self, data: &[u8]) -> usize {
        let fence = self.fence.needle().len();
        let seam = self.tail.len();
        if seam > 0 {
            let mut joint = self.tail.clone();
            joint.extend_from_slice(data.get(..data.len().min(fence - 1)).unwrap_or_default());
            if let Some(at) = self.fence.find(&joint) {
                // All of the fence but its last octet may be written.
                return (at + fence - 1).saturating_sub(seam);
            }
        }
        self.fence.find(data).map_or(data.len(), |at| at + fence - 1)
    }

    fn remember(&mut self, data: &[u8]) {
        self.written += data.len();
        let keep = self.fence.needle().len() - 1;
        if data.len() >= keep {
            self.tail.clear();
            self.tail.extend_from_slice(data.get(data.len() - keep..).unwrap_or_default());
        } else {
            self.tail.extend_from_slice(data);
            let drop = self.tail.len().saturating_sub(keep);
            self.tail.drain(..drop);
        }
    }
}

impl Session {
    /// Queues a message. Its body is asked for with [`Event::WantBody`].
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Full`], [`Error::TypeNotAccepted`], [`Error::TooLargeForPeer`], and
    /// [`Error::CannotSend`] when a header field would not fit into a line.
    pub fn send(&mut self, message: Outgoing) -> Result<MessageKey, Error> {
        let key = self.enqueue(message)?;
        self.want_body(key);
        Ok(key)
    }

    /// Queues a message whose body is at hand, such as a line of chat.
    ///
    /// # Errors
    /// As [`Self::send`]; the size is that of `body`, whatever `message` says.
    pub fn send_whole(&mut self, mut message: Outgoing, body: Bytes) -> Result<MessageKey, Error> {
        message.size = Size::Known(body.len() as u64);
        let key = self.enqueue(message)?;
        if let Some(departure) = self.departures.back_mut() {
            departure.supplied = true;
            departure.queued = body.len();
            departure.queue.push_back(body);
        }
        Ok(key)
    }

    /// Gives the next octets of a message's body, at most as many as [`Event::WantBody`] asked for;
    /// `last` with the final ones, which may be none.
    ///
    /// # Errors
    /// [`Error::NoSuchMessage`] when the message has ended meanwhile, which is no fault;
    /// [`Error::CannotSend`] when it is more than was asked for; [`Error::CannotSend`] when it does not add
    /// up to the size announced and [`Error::TooLargeForPeer`], with which the message fails.
    pub fn supply(&mut self, key: MessageKey, data: Bytes, last: bool) -> Result<(), Error> {
        let window = self.window();
        let peer_max = self.config.peer_max_size;
        let departure = self.departures.iter_mut().find(|d| d.key == key).ok_or(Error::NoSuchMessage)?;
        if departure.supplied || departure.aborted {
            return Err(Error::NoSuchMessage);
        }
        if departure.queued + data.len() > window {
            return Err(Error::CannotSend("more of the body than was asked for"));
        }
        let total = departure.written + departure.queued as u64 + data.len() as u64;
        if let Some(max) = peer_max.filter(|max| total > *max) {
            self.fail(key, FailureReason::TooLargeForPeer);
            return Err(Error::TooLargeForPeer { max });
        }
        let wrong = departure.size.is_some_and(|size| total > size || (last && total < size));
        if wrong {
            self.fail(key, FailureReason::WrongSize);
            return Err(Error::CannotSend("the body does not have the size announced"));
        }
        departure.asked = false;
        departure.supplied = last || departure.size == Some(total);
        departure.queued += data.len();
        if !data.is_empty() {
            departure.queue.push_back(data);
        }
        self.want_body(key);
        Ok(())
    }

    /// Gives a message up. The peer is told if it has begun (`#`).
    pub fn abort(&mut self, key: MessageKey) {
        if self.departures.iter().any(|d| d.key == key) {
            self.fail(key, FailureReason::Withdrawn);
        }
    }

    /// Sends a SEND without a body: it holds the connection open and tells a listener which session
    /// the connection is for (RFC 4975 §5.4, §7.1.1). The answer is [`Event::KeptAlive`].
    pub fn keep_alive(&mut self, now: Instant) {
        if self.closed || self.transactions.iter().any(|t| t.owner == Owner::KeepAlive) {
            return;
        }
        let mut head = Head::request(self.new_ident(), "SEND");
        let headers = [
            ("To-Path", path(&self.config.remote_path)),
            ("From-Path", self.config.local_path.to_string()),
            ("Message-ID", self.new_ident()),
            ("Byte-Range", "1-0/0".to_owned()),
        ];
        self.push_frame(&mut head, &headers);
        let deadline = Some(now + self.config.transaction_timeout);
        self.transactions.push_back(Transaction { tid: head.tid, owner: Owner::KeepAlive, deadline });
    }

    /// Appends at most `max` octets for the connection to `out`. Returns whether there were any.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>, max: usize) -> bool {
        let before = out.len();
        let limit = before.saturating_add(max);
        while !self.closed && out.len() < limit {
            let room = limit - out.len();
            if !self.pending.is_empty() {
                let n = room.min(self.pending.len());
                out.extend(self.pending.drain(..n));
            } else if self.chunk.is_some() {
                if !self.write_chunk(now, out, room) {
                    break;
                }
            } else if let Some(frame) = self.control.pop_front() {
                self.control_octets -= frame.len();
                self.pending.extend(frame);
            } else if !self.begin_chunk() {
                break;
            }
        }
        out.len() > before
    }

    /// Whether [`Self::poll_transmit`] would give octets now.
    pub fn has_transmit(&self) -> bool {
        let open = self.chunk.as_ref().is_some_and(|chunk| {
            self.departures.iter().any(|d| d.key == chunk.key && (d.queued > 0 || d.supplied || d.aborted))
        });
        !self.closed
            && (!self.pending.is_empty()
                || !self.control.is_empty()
                || open
                || self.next_departure().is_some())
    }

    pub(super) fn key_of(&self, message_id: &str) -> Option<MessageKey> {
        let under_way = self.departures.iter().find(|d| d.message_id == message_id).map(|d| d.key);
        under_way.or_else(|| self.awaiting.iter().find(|(_, id)| id == message_id).map(|(key, _)| *key))
    }

    /// RFC 4975 §10.7: nothing more of a media type that was answered with 415.
    pub(super) fn refuse_type_of(&mut self, key: MessageKey) {
        const MOST: usize = 32;
        let Some(departure) = self.departures.iter().find(|d| d.key == key) else { return };
        let media_type = media_type(&departure.content_type).to_ascii_lowercase();
        if self.refused_types.len() < MOST && !self.refused_types.contains(&media_type) {
            self.refused_types.push(media_type);
        }
    }

    /// A chunk was answered with 200.
    pub(super) fn answered(&mut self, key: MessageKey) {
        let Some(at) = self.departures.iter().position(|d| d.key == key) else { return };
        let Some(departure) = self.departures.get_mut(at) else { return };
        departure.unanswered = departure.unanswered.saturating_sub(1);
        if departure.done && departure.unanswered == 0 {
            self.departures.remove(at);
            self.push_event(Event::Delivered { key });
        }
    }

    /// Ends a message that will not arrive.
    pub(super) fn fail(&mut self, key: MessageKey, reason: FailureReason) {
        self.transactions.retain(|t| t.owner != Owner::Message(key));
        let Some(at) = self.departures.iter().position(|d| d.key == key) else {
            // Without responses the message was forgotten when it was sent.
            return self.push_event(Event::Failed { key, reason });
        };
        let Some(departure) = self.departures.get_mut(at) else { return };
        if departure.aborted {
            return;
        }
        let begun = departure.written > 0 && !departure.done;
        let writing = self.chunk.as_ref().is_some_and(|c| c.key == key);
        if begun || writing {
            // RFC 4975 §7.1.1: the end line of a chunk says so.
            departure.aborted = true;
            departure.queue.clear();
            departure.queued = 0;
        } else {
            self.departures.remove(at);
        }
        self.push_event(Event::Failed { key, reason });
    }

    fn enqueue(&mut self, message: Outgoing) -> Result<MessageKey, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        if self.departures.len() >= self.config.limits.messages {
            return Err(Error::Full);
        }
        let media_type = media_type(&message.content_type);
        let peer = &self.config.peer_accept_types;
        if self.refused_types.iter().any(|t| t.eq_ignore_ascii_case(media_type))
            || (!peer.is_empty() && !accepts(peer, media_type))
        {
            return Err(Error::TypeNotAccepted(media_type.to_owned()));
        }
        let size = match message.size {
            Size::Known(size) => Some(size),
            Size::Unknown => None,
        };
        if let (Some(max), Some(size)) = (self.config.peer_max_size, size)
            && size > max
        {
            return Err(Error::TooLargeForPeer { max });
        }
        let line = |name: &str, value: &str| {
            Header::new(name, value).map_err(|_| Error::CannotSend("a header field does not fit into a line"))
        };
        let message_id = message.message_id.unwrap_or_else(|| self.new_ident());
        if message_id.is_empty() || self.departures.iter().any(|d| d.message_id == message_id) {
            return Err(Error::CannotSend("the Message-ID is empty or in use"));
        }
        line("Message-ID", &message_id)?;
        line("Content-Type", &message.content_type)?;
        let headers = message.headers.iter().map(|(n, v)| line(n, v)).collect::<Result<Vec<_>, _>>()?;
        let key = MessageKey(self.new_key());
        self.departures.push_back(Departure {
            key,
            message_id,
            content_type: message.content_type,
            headers,
            size,
            success_report: message.success_report,
            failure_report: message.failure_report,
            queue: VecDeque::new(),
            queued: 0,
            supplied: size == Some(0),
            asked: false,
            written: 0,
            unanswered: 0,
            done: false,
            aborted: false,
        });
        Ok(key)
    }

    /// Body octets held for one message.
    fn window(&self) -> usize {
        self.config.chunk_size.saturating_mul(2)
    }

    fn want_body(&mut self, key: MessageKey) {
        let window = self.window();
        let Some(d) = self.departures.iter_mut().find(|d| d.key == key) else { return };
        if d.supplied || d.asked || d.aborted || d.queued > window / 2 {
            return;
        }
        let left = d.size.map_or(u64::MAX, |size| size - d.written - d.queued as u64);
        let max = usize::try_from(left).unwrap_or(usize::MAX).min(window - d.queued);
        d.asked = true;
        self.push_event(Event::WantBody { key, max });
    }

    /// The message whose turn it is: one that was given up, a short one, or the first in the queue.
    fn next_departure(&self) -> Option<usize> {
        let unanswered = self.transactions.len() >= self.config.limits.transactions;
        let ready = |d: &Departure| {
            let held = unanswered && d.failure_report == FailureReport::Yes && !d.is_short();
            d.aborted || (d.is_ready() && !held)
        };
        let first = self.departures.iter().position(ready)?;
        let short = self.departures.iter().position(|d| ready(d) && (d.aborted || d.is_short()));
        Some(short.unwrap_or(first))
    }

    /// Writes the head of a chunk.
    fn begin_chunk(&mut self) -> bool {
        let Some(at) = self.next_departure() else { return false };
        let mut tid = self.new_ident();
        let Some(mut d) = self.departures.remove(at) else { return false };
        // RFC 4975 §7.1: the end line must not be in the body. A longer chunk ends before it would be.
        for _ in 0..RENAMES {
            if !d.is_short() || !d.holds(&tid) {
                break;
            }
            tid = self.new_ident();
        }
        let left = d.size.map(|size| size - d.written);
        // RFC 4975 §7.1.1: a range that says where it ends cannot be interrupted.
        let interruptible = d.aborted || !d.is_short() || d.holds(&tid);
        let end = if interruptible { None } else { Some(d.written + d.queued as u64) };
        let range =
            ByteRange { start: d.written + 1, end, total: if left.is_some() { d.size } else { None } };
        let mut head = Head::request(tid, "SEND");
        let yes = |asked: bool| if asked { Some("yes".to_owned()) } else { None };
        let failure_report = match d.failure_report {
            FailureReport::Yes => None,
            FailureReport::No => Some("no".to_owned()),
            FailureReport::Partial => Some("partial".to_owned()),
        };
        let headers = [
            ("To-Path", Some(path(&self.config.remote_path))),
            ("From-Path", Some(self.config.local_path.to_string())),
            ("Message-ID", Some(d.message_id.clone())),
            ("Success-Report", yes(d.success_report)),
            ("Failure-Report", failure_report),
            ("Byte-Range", Some(range.to_string())),
        ];
        for (name, value) in headers {
            if let Some(Ok(header)) = value.map(|value| Header::new(name, &value)) {
                head.headers.push(header);
            }
        }
        if d.written == 0 {
            head.headers.append(&mut d.headers);
        }
        // RFC 4975 §9: Content-Type comes last.
        if let Ok(header) = Header::new("Content-Type", &d.content_type) {
            head.headers.push(header);
        }
        head.has_body = true;
        let mut octets = Vec::with_capacity(512);
        head.write(&mut octets);
        self.pending.extend(octets);
        let fence = format!("-------{}", head.tid);
        let fence = memmem::Finder::new(fence.as_bytes()).into_owned();
        self.chunk = Some(Chunk {
            key: d.key,
            head,
            written: 0,
            interruptible,
            answered: false,
            fence,
            tail: Vec::new(),
        });
        // Its next turn comes after that of the others.
        self.departures.push_back(d);
        true
    }

    /// Goes on with the chunk under way. False when it waits for its body.
    fn write_chunk(&mut self, now: Instant, out: &mut Vec<u8>, room: usize) -> bool {
        let Some(mut chunk) = self.chunk.take() else { return false };
        let Some(at) = self.departures.iter().position(|d| d.key == chunk.key) else { return false };
        let others_wait = !self.control.is_empty() || self.another_is_waiting(at);
        // Others that wait get their turn as soon as the chunk is long enough to be interrupted.
        let full = if others_wait { UNINTERRUPTIBLE } else { self.config.chunk_size };
        let Some(d) = self.departures.get_mut(at) else { return false };
        let flag = if d.aborted {
            Some(Continuation::Aborted)
        } else if d.queued == 0 && d.supplied {
            Some(Continuation::Last)
        } else if d.queued == 0 {
            // The body is late. Let others through meanwhile.
            (others_wait && chunk.interruptible && chunk.written > 0).then_some(Continuation::More)
        } else {
            (chunk.interruptible && chunk.written >= full).then_some(Continuation::More)
        };
        if let Some(flag) = flag {
            self.end_chunk(now, at, chunk, flag);
            return true;
        }
        if d.queued == 0 {
            self.chunk = Some(chunk);
            return false;
        }
        let most = if chunk.interruptible { full.saturating_sub(chunk.written) } else { d.queued };
        let Some(data) = d.queue.front_mut() else { return false };
        let n = room.min(most).min(data.len());
        let part = data.get(..n).unwrap_or_default();
        let clear = chunk.clear(part);
        let part = part.get(..clear).unwrap_or_default();
        out.extend_from_slice(part);
        chunk.remember(part);
        d.written += clear as u64;
        d.queued -= clear;
        data.advance(clear);
        if data.is_empty() {
            d.queue.pop_front();
        }
        let key = d.key;
        if clear < n {
            // RFC 4975 §7.1: the end line must not be in the body. Another chunk has another one.
            self.end_chunk(now, at, chunk, Continuation::More);
        } else {
            self.chunk = Some(chunk);
        }
        self.want_body(key);
        true
    }

    fn another_is_waiting(&self, but: usize) -> bool {
        let ready = |(at, d): (usize, &Departure)| at != but && !d.aborted && d.is_ready() && d.is_short();
        self.departures.iter().enumerate().any(ready)
    }

    fn end_chunk(&mut self, now: Instant, at: usize, chunk: Chunk, flag: Continuation) {
        let mut octets = Vec::with_capacity(64);
        chunk.head.write_end(flag, &mut octets);
        self.pending.extend(octets);
        let Some(d) = self.departures.get_mut(at) else { return };
        let (key, tid) = (d.key, chunk.head.tid);
        if flag == Continuation::Aborted {
            self.departures.remove(at);
            return;
        }
        let deadline = match d.failure_report {
            _ if chunk.answered => None,
            FailureReport::Yes => {
                d.unanswered += 1;
                Some(Some(now + self.config.transaction_timeout))
            }
            FailureReport::Partial => Some(None),
            FailureReport::No => None,
        };
        let forget = d.failure_report != FailureReport::Yes;
        if flag == Continuation::Last {
            d.done = true;
            if d.success_report || forget {
                let message_id = d.message_id.clone();
                self.await_report(key, message_id);
            }
            self.push_event(Event::Sent { key });
            if forget {
                self.departures.remove(at);
            } else if self.departures.get(at).is_some_and(|d| d.unanswered == 0) {
                self.departures.remove(at);
                self.push_event(Event::Delivered { key });
            }
        }
        if let Some(deadline) = deadline {
            self.push_transaction(Transaction { tid, owner: Owner::Message(key), deadline });
        }
    }

    fn await_report(&mut self, key: MessageKey, message_id: String) {
        if self.awaiting.len() >= self.config.limits.awaiting_reports {
            self.awaiting.pop_front();
        }
        self.awaiting.push_back((key, message_id));
    }

    fn push_transaction(&mut self, transaction: Transaction) {
        // Those without a deadline never end by themselves: the oldest makes room.
        if self.transactions.len() >= self.config.limits.transactions
            && let Some(at) = self.transactions.iter().position(|t| t.deadline.is_none())
        {
            self.transactions.remove(at);
        }
        self.transactions.push_back(transaction);
    }
}
