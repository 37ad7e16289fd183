//! Responses and reports, of ours and of the peer (RFC 4975 §7.1.2 to §7.1.4, §7.2, §7.3.2).

use super::arrive::{Arrival, Concluding, Reading};
use super::types::{AbortReason, ArrivalKey, Event, FailureReason, FailureReport, MessageKey};
use super::{Owner, Session};
use crate::head::report_status;
use crate::{ByteRange, Continuation, Error, Head, Start, Status, Uri, parse_path};

/// What a response needs from its request.
pub(super) struct Reply {
    tid: String,
    to: Vec<Uri>,
    from: Uri,
    failure_report: FailureReport,
}

impl Reply {
    /// The same for a request that is answered whatever its `Failure-Report` says.
    pub(super) fn insistent(self) -> Self {
        Self { failure_report: FailureReport::Yes, ..self }
    }
}

impl Session {
    /// Reports octets of a message as received, before the whole has arrived (RFC 4975 §7.1.3). Does
    /// nothing unless the sender asked for success reports. The whole is reported without being asked.
    pub fn report_progress(&mut self, arrival: ArrivalKey) {
        let Some(at) = self.arrivals.iter().position(|a| a.key == arrival) else { return };
        let Some(message) = self.arrivals.get(at) else { return };
        let done = message.ranges.contiguous();
        if message.success_report && message.refused.is_none() && done > 0 {
            let message = self.arrivals.remove(at);
            self.write_report(
                &message,
                ByteRange { start: 1, end: Some(done), total: message.total },
                Status::OK,
            );
            self.arrivals.insert(at, message);
        }
    }

    /// Tells the sender that a message failed although its chunks were answered with 200, as a
    /// gateway learns later than it has to answer (RFC 4975 §7.1.4). The message ends here. Does
    /// nothing when the sender does not want to know.
    pub fn report_failure(&mut self, arrival: ArrivalKey, status: Status) {
        let Some(at) = self.arrivals.iter().position(|a| a.key == arrival && a.refused.is_none()) else {
            return;
        };
        let message = self.arrivals.remove(at);
        if matches!(&self.reading, Reading::Message(part) if part.key == arrival)
            && let Reading::Message(part) = std::mem::replace(&mut self.reading, Reading::Nothing)
        {
            self.answer(&part.reply, status);
        } else if message.failure_report != FailureReport::No {
            let range = ByteRange { start: 1, end: Some(message.ranges.contiguous()), total: message.total };
            self.write_report(&message, range, status);
        }
        self.push_event(Event::Aborted { arrival, reason: AbortReason::Refused(status) });
    }

    pub(super) fn response(&mut self, head: &Head) {
        let Start::Response { status, .. } = head.start else { return };
        let status = Status(status);
        // A chunk can be answered while it is still being written.
        if let Some(chunk) = self.chunk.as_mut().filter(|c| c.tid() == head.tid) {
            let key = chunk.key();
            chunk.set_answered();
            if !status.is_ok() {
                self.failed_by(key, status, FailureReason::Response(status));
            }
            return;
        }
        let Some(at) = self.transactions.iter().position(|t| t.tid == head.tid) else { return };
        let Some(transaction) = self.transactions.remove(at) else { return };
        match transaction.owner {
            Owner::KeepAlive => {
                self.push_event(Event::KeptAlive { status });
                self.ended_by(status);
            }
            Owner::Nickname => {
                self.nickname_answered(status);
                self.ended_by(status);
            }
            Owner::Message(key) if status.is_ok() => self.answered(key),
            Owner::Message(key) => self.failed_by(key, status, FailureReason::Response(status)),
        }
    }

    /// RFC 4975 §7.3.2
    pub(super) fn report(&mut self, head: &Head) {
        if !self.is_for_us(head) {
            return;
        }
        let Some((namespace, status)) = head.get("Status").and_then(|v| report_status(v).ok()) else {
            return;
        };
        let range = head.get("Byte-Range").and_then(|v| ByteRange::parse(v.as_bytes()).ok());
        let Some(key) = head.get("Message-ID").and_then(|id| self.key_of(id)) else { return };
        if namespace != 0 || status.is_ok() {
            let whole = range.is_some_and(|r| r.start == 1 && r.end.is_some() && r.end == r.total);
            if whole && namespace == 0 {
                self.awaiting.retain(|(k, _)| *k != key);
            }
            return self.push_event(Event::Report { key, range, status });
        }
        self.awaiting.retain(|(k, _)| *k != key);
        self.failed_by(key, status, FailureReason::Report(status));
        // RFC 4975 §7.3.2: what did not get through fails the session; 408 is how a relay says so.
        if status == Status::TIMEOUT {
            self.close(Some(Error::Lost(status)));
        }
    }

    /// RFC 4975 §10.8, §10.10
    fn ended_by(&mut self, status: Status) {
        if status.ends_session() {
            self.close(Some(Error::Lost(status)));
        }
    }

    /// Answers the chunk that completed a message, where [`super::Config::conclude`] leaves that to
    /// the application: 200 when the message is kept. The success report goes with it.
    pub fn conclude(&mut self, arrival: ArrivalKey, status: Status) {
        let Some(at) = self.concluding.iter().position(|c| c.message.key == arrival) else { return };
        let Concluding { message, reply, size } = self.concluding.remove(at);
        self.concluded(&message, &reply, size, status);
    }

    /// The last answer to a message, and the report on the whole of it.
    pub(super) fn concluded(&mut self, message: &Arrival, reply: &Reply, size: u64, status: Status) {
        self.answer(reply, status);
        if message.success_report && status.is_ok() {
            let range = ByteRange { start: 1, end: Some(size), total: Some(size) };
            self.write_report(message, range, Status::OK);
        }
    }

    fn failed_by(&mut self, key: MessageKey, status: Status, reason: FailureReason) {
        if status == Status::UNSUPPORTED_TYPE {
            self.refuse_type_of(key);
        }
        let reason = if status == Status::TIMEOUT { FailureReason::TimedOut } else { reason };
        self.fail(key, reason);
        self.ended_by(status);
    }

    /// RFC 4975 §7.3: exactly one URI, that of this session.
    pub(super) fn is_for_us(&self, head: &Head) -> bool {
        let path = head.get("To-Path").and_then(|v| parse_path(v.as_bytes()).ok());
        matches!(path.as_deref(), Some([uri]) if *uri == self.config.local_path)
    }

    pub(super) fn reply(&self, head: &Head) -> Option<Reply> {
        let to_path = parse_path(head.get("To-Path")?.as_bytes()).ok()?;
        let mut to = parse_path(head.get("From-Path")?.as_bytes()).ok()?;
        if head.method() == Some("SEND") {
            // RFC 4975 §7.2: responses to SEND go to the previous hop only.
            to.truncate(1);
        }
        Some(Reply {
            tid: head.tid.clone(),
            to,
            from: to_path.first()?.clone(),
            failure_report: failure_report(head).unwrap_or_default(),
        })
    }

    /// RFC 4975 §7.2
    pub(super) fn answer(&mut self, reply: &Reply, status: Status) {
        self.answer_because(reply, status, status.comment());
    }

    /// [`Self::answer`] with a comment of its own.
    pub(super) fn answer_because(&mut self, reply: &Reply, status: Status, why: &str) {
        let silent = match reply.failure_report {
            FailureReport::Yes => false,
            FailureReport::Partial => status.is_ok(),
            FailureReport::No => true,
        };
        if silent {
            return;
        }
        let mut head = Head::response(reply.tid.as_str(), status);
        if let Start::Response { comment, .. } = &mut head.start {
            *comment = Some(why.to_owned()).filter(|why| !why.is_empty());
        }
        let headers = [("To-Path", path(&reply.to)), ("From-Path", reply.from.to_string())];
        self.push_frame(&mut head, &headers);
    }

    /// RFC 4975 §7.1.2: no Success-Report or Failure-Report; the Status is the point.
    pub(super) fn write_report(&mut self, message: &Arrival, range: ByteRange, status: Status) {
        let mut head = Head::request(self.new_ident(), "REPORT");
        let headers = [
            ("To-Path", path(&message.from_path)),
            ("From-Path", self.config.local_path.to_string()),
            ("Message-ID", message.message_id.clone()),
            ("Byte-Range", range.to_string()),
            ("Status", format!("000 {status} {}", status.comment()).trim_end().to_owned()),
        ];
        self.push_frame(&mut head, &headers);
    }

    /// Queues a frame without a body.
    pub(super) fn push_frame(&mut self, head: &mut Head, headers: &[(&str, String)]) {
        for (name, value) in headers {
            // Values come from parsed heads or URIs, so they fit into a line; if one did not, a frame
            // without it would only confuse the peer.
            if head.push(name, value).is_err() {
                return;
            }
        }
        let mut frame = Vec::with_capacity(256);
        head.write(&mut frame);
        head.write_end(Continuation::Last, &mut frame);
        self.push_control(frame);
    }
}

/// The value of `To-Path` or `From-Path`.
pub(super) fn path(uris: &[Uri]) -> String {
    uris.iter().map(Uri::as_str).collect::<Vec<_>>().join(" ")
}

/// What `Failure-Report` says; `None` when it is none of the three words.
pub(super) fn failure_report(head: &Head) -> Option<FailureReport> {
    let Some(value) = head.get("Failure-Report") else { return Some(FailureReport::Yes) };
    let words = [("yes", FailureReport::Yes), ("no", FailureReport::No), ("partial", FailureReport::Partial)];
    words.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(value)).map(|(_, report)| report)
}
