//! Messages of the peer: their chunks, in whatever order, and what we refuse (RFC 4975 §7.3.1).

use super::Session;
use super::answer::{Reply, failure_report};
use super::types::{AbortReason, ArrivalKey, Event, FailureReport, accepts, media_type};
use crate::composing::{self, Composing};
use crate::{ByteRange, Continuation, Head, Ranges, Start, Status, Uri, nickname, parse_path};
use bytes::Bytes;

/// A message of the peer that is not complete.
pub(super) struct Arrival {
    pub(super) key: ArrivalKey,
    pub(super) message_id: String,
    pub(super) from_path: Vec<Uri>,
    /// From `Byte-Range`, or from the chunk that ended with `$`.
    pub(super) total: Option<u64>,
    /// Whether the chunk with `$` has been seen.
    last_seen: bool,
    pub(super) ranges: Ranges,
    pub(super) success_report: bool,
    pub(super) failure_report: FailureReport,
    paused: bool,
    /// The status we refused it with. Further chunks are answered the same.
    pub(super) refused: Option<Status>,
    /// A document that the session reads itself.
    document: Option<Vec<u8>>,
}

impl Arrival {
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }
}

/// A message that is complete and whose last chunk is not answered.
pub(super) struct Concluding {
    pub(super) message: Arrival,
    pub(super) reply: Reply,
    pub(super) size: u64,
}

/// The frame that is being read.
pub(super) enum Reading {
    /// None; or one that needs nothing at its end.
    Nothing,
    /// A chunk of a message.
    Message(Part),
    /// The rest of a chunk of a message that was refused.
    Refused(ArrivalKey),
    /// A request that gets this answer at its end; its body is not looked at.
    Answer(Box<Reply>, Status),
    /// A request for a nickname: how to answer it, and the nickname when it can be read.
    Nickname(Box<Reply>, Option<String>),
    /// A report.
    Report(Box<Head>),
    /// A response.
    Response(Box<Head>),
}

/// A chunk that is being read.
pub(super) struct Part {
    pub(super) key: ArrivalKey,
    pub(super) reply: Reply,
    /// Position of the chunk's first octet, from zero.
    start: u64,
    /// Octets read of it.
    length: u64,
    /// Where it must end at the latest.
    bound: Option<u64>,
}

impl Session {
    /// Stops reading at the body of this message, until [`Self::resume`]. The connection is one
    /// stream, so everything behind it waits too.
    pub fn pause(&mut self, arrival: ArrivalKey) {
        self.set_paused(arrival, true);
    }

    /// Reads on after [`Self::pause`]. Offer the input again that was not consumed.
    pub fn resume(&mut self, arrival: ArrivalKey) {
        self.set_paused(arrival, false);
    }

    /// Refuses the rest of a message: its chunks are answered with `status`, usually
    /// [`Status::STOP`], and no further events come for it but [`Event::Aborted`].
    pub fn refuse(&mut self, arrival: ArrivalKey, status: Status) {
        self.refuse_because(arrival, status, status.comment());
    }

    /// [`Self::refuse`], with the reason in words for people at the other end.
    pub fn refuse_because(&mut self, arrival: ArrivalKey, status: Status, why: &str) {
        let Some(message) = self.arrivals.iter_mut().find(|a| a.key == arrival) else { return };
        if message.refused.replace(status).is_some() {
            return;
        }
        message.paused = false;
        message.document = None;
        // RFC 4975 §10.5: the answer should stop a sender that is in the middle of a chunk, so it
        // does not wait for the chunk's end.
        if matches!(&self.reading, Reading::Message(part) if part.key == arrival)
            && let Reading::Message(part) = std::mem::replace(&mut self.reading, Reading::Nothing)
        {
            self.answer_because(&part.reply, status, why);
            self.reading = Reading::Refused(arrival);
        }
        self.push_event(Event::Aborted { arrival, reason: AbortReason::Refused(status) });
    }

    pub(super) fn reading_paused(&self) -> bool {
        let Reading::Message(part) = &self.reading else { return false };
        self.arrivals.iter().any(|a| a.key == part.key && a.paused)
    }

    fn set_paused(&mut self, arrival: ArrivalKey, paused: bool) {
        if let Some(message) = self.arrivals.iter_mut().find(|a| a.key == arrival && a.refused.is_none()) {
            message.paused = paused;
        }
    }

    pub(super) fn head(&mut self, head: Head) {
        let method = match &head.start {
            Start::Response { .. } => {
                self.reading = Reading::Response(Box::new(head));
                return;
            }
            Start::Request(method) => method.as_str(),
        };
        if method == "REPORT" {
            self.reading = Reading::Report(Box::new(head));
            return;
        }
        // Without paths there is nowhere to send a response.
        let Some(reply) = self.reply(&head) else {
            self.reading = Reading::Nothing;
            return;
        };
        let status = if !self.is_for_us(&head) {
            Status::NO_SESSION
        } else if method == "NICKNAME" && self.config.nicknames {
            let nickname = head.get("Use-Nickname").and_then(|v| nickname::parse(v).ok());
            self.reading = Reading::Nickname(Box::new(reply.insistent()), nickname);
            return;
        } else if method != "SEND" {
            // RFC 4975 §12
            Status::UNKNOWN_METHOD
        } else {
            match self.begin(&head) {
                Ok(Some((key, range))) => {
                    let (start, bound) = (range.start - 1, range.end.or(range.total));
                    self.reading = Reading::Message(Part { key, reply, start, length: 0, bound });
                    return;
                }
                // A SEND without a body holds the connection open, no more.
                Ok(None) => Status::OK,
                Err(status) => status,
            }
        };
        if status == Status::STOP {
            self.answer(&reply, status);
            self.reading = Reading::Nothing;
        } else {
            self.reading = Reading::Answer(Box::new(reply), status);
        }
    }

    /// Finds or makes the message that a SEND belongs to; `None` when it has none.
    fn begin(&mut self, head: &Head) -> Result<Option<(ArrivalKey, ByteRange)>, Status> {
        let bad = |_| Status::BAD_REQUEST;
        if head.fault().is_some() {
            return Err(Status::BAD_REQUEST);
        }
        let range = match head.get("Byte-Range") {
            Some(value) => ByteRange::parse(value.as_bytes()).map_err(bad)?,
            None => ByteRange::WHOLE,
        };
        let failure_report = failure_report(head).ok_or(Status::BAD_REQUEST)?;
        let success_report = match head.get("Success-Report") {
            None => false,
            Some(value) if value.eq_ignore_ascii_case("no") => false,
            Some(value) if value.eq_ignore_ascii_case("yes") => true,
            Some(_) => return Err(Status::BAD_REQUEST),
        };
        if !head.has_body || (head.get("Content-Type").is_none() && head.is_empty_range()) {
            return Ok(None);
        }
        // RFC 4975 §7.1.1: each chunk has a Message-ID; §7.1: a body has a Content-Type.
        let message_id = head.get("Message-ID").filter(|id| !id.is_empty()).ok_or(Status::BAD_REQUEST)?;
        let content_type = head.get("Content-Type").ok_or(Status::BAD_REQUEST)?;
        if let Some(known) = self.arrivals.iter_mut().find(|a| a.message_id == message_id) {
            if let Some(status) = known.refused {
                return Err(status);
            }
            if let (Some(a), Some(b)) = (known.total, range.total)
                && a != b
            {
                return Err(Status::BAD_REQUEST);
            }
            // More is here than the message is said to have now.
            if range.total.is_some_and(|total| known.ranges.end() > total) {
                return Err(Status::BAD_REQUEST);
            }
            known.total = known.total.or(range.total);
            return Ok(Some((known.key, range)));
        }
        if !accepts(&self.config.accept_types, content_type) {
            return Err(Status::UNSUPPORTED_TYPE);
        }
        let is_composing = media_type(content_type).eq_ignore_ascii_case(composing::MEDIA_TYPE);
        let most =
            if is_composing { Some(self.config.limits.composing as u64) } else { self.config.max_size };
        if let (Some(total), Some(most)) = (range.total.or(Some(range.start - 1)), most)
            && total > most
        {
            return Err(Status::STOP);
        }
        if self.arrivals.len() + self.concluding.len() >= self.config.limits.arrivals {
            // One that is refused anyway makes room first.
            let Some(at) = self.arrivals.iter().position(Arrival::is_refused) else {
                return Err(Status::STOP);
            };
            self.arrivals.remove(at);
        }
        let from_path = head.get("From-Path").and_then(|v| parse_path(v.as_bytes()).ok()).unwrap_or_default();
        let from = from_path.last().cloned().ok_or(Status::BAD_REQUEST)?;
        let key = ArrivalKey(self.new_key());
        self.arrivals.push(Arrival {
            key,
            message_id: message_id.to_owned(),
            from_path,
            total: range.total,
            last_seen: false,
            ranges: Ranges::default(),
            success_report,
            failure_report,
            paused: false,
            refused: None,
            document: is_composing.then(Vec::new),
        });
        if !is_composing {
            let is_extra = |name: &str| !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name));
            let extra = head.headers.iter().filter(|h| is_extra(h.name()));
            self.push_event(Event::Begun {
                arrival: key,
                message_id: message_id.to_owned(),
                from,
                content_type: content_type.to_owned(),
                size: range.total,
                headers: extra.map(|h| (h.name().to_owned(), h.value().to_owned())).collect(),
            });
        }
        Ok(Some((key, range)))
    }

    pub(super) fn body(&mut self, data: Bytes) {
        let Reading::Message(part) = &mut self.reading else { return };
        let offset = part.start + part.length;
        part.length += data.len() as u64;
        let end = part.start + part.length;
        let (key, bound) = (part.key, part.bound);
        let Some(message) = self.arrivals.iter_mut().find(|a| a.key == key) else { return };
        // A body shorter than its range was interrupted, a longer one is wrong.
        if [bound, message.total].into_iter().flatten().any(|bound| end > bound) {
            return self.refuse(key, Status::BAD_REQUEST);
        }
        if let Some(document) = &mut message.document {
            if offset != document.len() as u64 || end > self.config.limits.composing as u64 {
                return self.refuse(key, Status::STOP);
            }
            document.extend_from_slice(&data);
            return;
        }
        if self.config.max_size.is_some_and(|most| end > most) {
            return self.refuse(key, Status::STOP);
        }
        self.push_event(Event::Body { arrival: key, offset, data });
    }

    pub(super) fn end(&mut self, flag: Continuation) {
        match std::mem::replace(&mut self.reading, Reading::Nothing) {
            Reading::Nothing => {}
            Reading::Message(part) => self.end_part(part, flag),
            Reading::Refused(key) => {
                // Nothing more of it comes, so it may be sent again as a message of its own.
                if flag != Continuation::More {
                    self.arrivals.retain(|a| a.key != key);
                }
            }
            Reading::Answer(reply, status) => self.answer(&reply, status),
            Reading::Nickname(reply, nickname) => self.nickname_asked(*reply, nickname),
            Reading::Report(head) => self.report(&head),
            Reading::Response(head) => self.response(&head),
        }
    }

    fn end_part(&mut self, part: Part, flag: Continuation) {
        let end = part.start + part.length;
        let Some(at) = self.arrivals.iter().position(|a| a.key == part.key) else { return };
        let Some(message) = self.arrivals.get_mut(at) else { return };
        message.ranges.add(part.start, end);
        match flag {
            Continuation::Aborted => {
                self.answer(&part.reply, Status::OK);
                self.arrivals.remove(at);
                let reason = AbortReason::Sender;
                return self.push_event(Event::Aborted { arrival: part.key, reason });
            }
            Continuation::More => {}
            Continuation::Last => {
                // RFC 4975 §7.3.1: the chunk with `$` defines the size of the message.
                message.last_seen = true;
                message.total = Some(end);
                if message.ranges.end() > end {
                    self.answer(&part.reply, Status::BAD_REQUEST);
                    return self.drop_arrival(at, Status::BAD_REQUEST);
                }
            }
        }
        if message.ranges.len() > self.config.limits.ranges {
            self.answer(&part.reply, Status::STOP);
            return self.drop_arrival(at, Status::STOP);
        }
        let size = message.total.filter(|total| message.last_seen && message.ranges.covers(*total));
        let Some(size) = size else { return self.answer(&part.reply, Status::OK) };
        let message = self.arrivals.remove(at);
        if let Some(document) = &message.document {
            let Ok(composing) = Composing::parse(document) else {
                return self.answer(&part.reply, Status::BAD_REQUEST);
            };
            if let Some(from) = message.from_path.last().cloned() {
                self.push_event(Event::Composing { from, composing });
            }
        } else {
            self.push_event(Event::Complete { arrival: message.key, size });
            if self.config.conclude {
                return self.concluding.push(Concluding { message, reply: part.reply, size });
            }
        }
        self.concluded(&message, &part.reply, size, Status::OK);
    }

    fn drop_arrival(&mut self, at: usize, status: Status) {
        let message = self.arrivals.remove(at);
        let reason = AbortReason::Refused(status);
        self.push_event(Event::Aborted { arrival: message.key, reason });
    }
}

/// Header fields that the session itself reads; others go into [`Event::Begun`].
const KNOWN: [&str; 8] = [
    "To-Path",
    "From-Path",
    "Message-ID",
    "Byte-Range",
    "Success-Report",
    "Failure-Report",
    "Content-Type",
    "Status",
];
