//! Messages of ours until they are delivered or failed (RFC 4975 §7.1, §7.1.1, §10).
//!
//! Bodies are asked for a little at a time and held until [`super::chunk`] has written them.

use super::answer::path;
use super::chunk::UNINTERRUPTIBLE;
use super::types::{Event, FailureReason, FailureReport, MessageKey, Outgoing, Size, accepts, media_type};
use super::{Owner, Session, Transaction};
use crate::head::is_line;
use crate::{Error, Head, Header, cpim};
use bytes::Bytes;
use memchr::memmem;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// A message of ours.
pub(super) struct Departure {
    pub(super) key: MessageKey,
    pub(super) message_id: String,
    pub(super) content_type: String,
    pub(super) headers: Vec<Header>,
    pub(super) size: Option<u64>,
    pub(super) success_report: bool,
    pub(super) failure_report: FailureReport,
    /// Octets supplied and not written.
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queued: usize,
    /// Whether the queue ends with the last octet.
    pub(super) supplied: bool,
    asked: bool,
    /// Octets written.
    pub(super) written: u64,
    /// Chunks without a response.
    pub(super) unanswered: usize,
    pub(super) aborted: bool,
}

/// A message of ours that is written.
struct Written {
    message_id: String,
    content_type: String,
    /// Chunks without a response.
    chunks: usize,
}

/// Messages of ours that are written and not answered. There may be many, so nothing searches them.
#[derive(Default)]
pub(super) struct Unanswered {
    messages: HashMap<MessageKey, Written>,
    keys: HashMap<String, MessageKey>,
}

impl Unanswered {
    pub(super) fn add(&mut self, departure: Departure) {
        self.keys.insert(departure.message_id.clone(), departure.key);
        let Departure { message_id, content_type, unanswered: chunks, .. } = departure;
        self.messages.insert(departure.key, Written { message_id, content_type, chunks });
    }

    fn remove(&mut self, key: MessageKey) -> bool {
        let Some(message) = self.messages.remove(&key) else { return false };
        self.keys.remove(&message.message_id);
        true
    }

    /// A chunk was answered. Whether it was the last.
    fn answered(&mut self, key: MessageKey) -> bool {
        let Some(message) = self.messages.get_mut(&key) else { return false };
        message.chunks = message.chunks.saturating_sub(1);
        message.chunks == 0 && self.remove(key)
    }

    /// All of them, in the order in which they were sent.
    pub(super) fn into_keys(self) -> Vec<MessageKey> {
        let mut keys: Vec<_> = self.messages.into_keys().collect();
        keys.sort_unstable();
        keys
    }
}

impl Departure {
    /// Whether a chunk can begin.
    pub(super) fn is_ready(&self) -> bool {
        self.queued > 0 || self.supplied
    }

    /// Whether it can go in one chunk that nobody needs to interrupt.
    pub(super) fn is_short(&self) -> bool {
        self.supplied && self.queued <= UNINTERRUPTIBLE
    }

    /// Whether the identifier occurs in what is queued.
    pub(super) fn holds(&self, tid: &str) -> bool {
        let finder = memmem::Finder::new(tid);
        if let [body] = self.queue.as_slices().0
            && self.queue.len() == 1
        {
            return finder.find(body).is_some();
        }
        let body = self.queue.iter().map(|part| part.as_ref()).collect::<Vec<&[u8]>>().concat();
        finder.find(&body).is_some()
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
        if self.unanswered.messages.contains_key(&key) || self.departures.iter().any(|d| d.key == key) {
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

    pub(super) fn key_of(&self, message_id: &str) -> Option<MessageKey> {
        let under_way = self.departures.iter().find(|d| d.message_id == message_id).map(|d| d.key);
        let under_way = under_way.or_else(|| self.unanswered.keys.get(message_id).copied());
        under_way.or_else(|| self.awaiting.iter().find(|(_, id)| id == message_id).map(|(key, _)| *key))
    }

    /// RFC 4975 §10.7: nothing more of a media type that was answered with 415.
    pub(super) fn refuse_type_of(&mut self, key: MessageKey) {
        const MOST: usize = 32;
        let under_way = self.departures.iter().find(|d| d.key == key).map(|d| &d.content_type);
        let written = || self.unanswered.messages.get(&key).map(|m| &m.content_type);
        let Some(content_type) = under_way.or_else(written) else { return };
        let media_type = media_type(content_type).to_ascii_lowercase();
        // What was not understood may as well be what is inside.
        if media_type == cpim::MEDIA_TYPE || media_type.starts_with("multipart/") {
            return;
        }
        if self.refused_types.len() < MOST && !self.refused_types.contains(&media_type) {
            self.refused_types.push(media_type);
        }
    }

    /// A chunk was answered with 200.
    pub(super) fn answered(&mut self, key: MessageKey) {
        if self.unanswered.answered(key) {
            self.push_event(Event::Delivered { key });
        } else if let Some(departure) = self.departures.iter_mut().find(|d| d.key == key) {
            departure.unanswered = departure.unanswered.saturating_sub(1);
        }
    }

    /// Ends a message that will not arrive.
    pub(super) fn fail(&mut self, key: MessageKey, reason: FailureReason) {
        self.transactions.retain(|t| t.owner != Owner::Message(key));
        if self.unanswered.remove(key) {
            return self.push_event(Event::Failed { key, reason });
        }
        let Some(at) = self.departures.iter().position(|d| d.key == key) else {
            // Without responses the message was forgotten when it was sent.
            return self.push_event(Event::Failed { key, reason });
        };
        let Some(departure) = self.departures.get_mut(at) else { return };
        if departure.aborted {
            return;
        }
        let begun = departure.written > 0;
        let writing = self.chunk.as_ref().is_some_and(|c| c.key() == key);
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
        if self.departures.len() + self.unanswered.messages.len() >= self.config.limits.messages {
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
        if message_id.is_empty()
            || self.unanswered.keys.contains_key(&message_id)
            || self.departures.iter().any(|d| d.message_id == message_id)
        {
            return Err(Error::CannotSend("the Message-ID is empty or in use"));
        }
        for value in [&message_id, &message.content_type] {
            if !is_line(value.as_bytes()) {
                return Err(Error::CannotSend("a header field does not fit into a line"));
            }
        }
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
            aborted: false,
        });
        Ok(key)
    }

    /// Body octets held for one message.
    fn window(&self) -> usize {
        self.config.chunk_size.saturating_mul(2)
    }

    pub(super) fn want_body(&mut self, key: MessageKey) {
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
}
