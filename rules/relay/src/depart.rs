//! What leaves: chunks, answers, reports (RFC 4976 §6.4.1; RFC 4975 §7.1.2, §7.1.3).

use crate::ConnectionId;
use crate::connection::{Incoming, Open, Passing, Resume};
use crate::line::{Tid, split, write_end};
use crate::relay::Relay;
use crate::transactions::{Kind, Sent};
use carnet_msrp::{ByteRange, RawHead, RawStart, Status};
use std::io::Write;

impl Relay {
    /// Begins a chunk at the next hop. `write` writes its head.
    pub(crate) fn begin_chunk(
        &mut self,
        id: ConnectionId,
        passing: &mut Passing,
        write: impl FnOnce(&mut Vec<u8>, &Tid, &mut Passing),
    ) -> bool {
        self.interrupt(passing.next);
        let secret = self.random.u64();
        let most = self.limits().transactions;
        let Some(next) = self.out(passing.next) else { return false };
        let number = passing.sent.as_ref().map(|sent| {
            next.transactions.shorten(most);
            let kind = Kind::Send { sent: sent.clone(), start: passing.start, length: 0 };
            next.transactions.begin(secret, kind)
        });
        let tid = Tid::new(secret, number);
        write(&mut next.out, &tid, passing);
        passing.open = true;
        next.open = Some(Open { from: id, tid, number, body: passing.body });
        self.touch(passing.next);
        true
    }

    /// Passes octets of a body on, in a new chunk if the last one was interrupted. Whether the next hop is
    /// still there.
    pub(crate) fn pass_on(&mut self, id: ConnectionId, passing: &mut Passing, octets: &[u8]) -> bool {
        if self.get(passing.next).is_none() {
            passing.open = false;
            return false;
        }
        if !passing.open {
            passing.start += std::mem::take(&mut passing.passed);
            let Some(resume) = passing.resume.take() else { return false };
            self.begin_chunk(id, passing, |out, tid, passing| {
                for part in [b"MSRP ", tid.as_bytes(), resume.before.as_slice()] {
                    out.extend_from_slice(part);
                }
                if resume.whole_field {
                    out.extend_from_slice(b"Byte-Range: ");
                }
                let range = ByteRange { start: passing.start, end: None, total: resume.total };
                // A vector takes everything.
                let _ = write!(out, "{range}");
                if resume.whole_field {
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(&resume.after);
            });
            passing.resume = Some(resume);
        }
        if let Some(next) = self.out(passing.next) {
            next.out.extend_from_slice(octets);
            passing.passed += octets.len() as u64;
            self.touch(passing.next);
        }
        true
    }

    /// The turn is over and the frame is not: from now on its chunk may be interrupted.
    pub(crate) fn pause(&mut self, id: ConnectionId) {
        let Some(connection) = self.get_mut(id) else { return };
        let Incoming::Passing(passing) = &mut connection.incoming else { return };
        if passing.resume.is_some() || !passing.open {
            return;
        }
        let (place, range, next) = (passing.head.clone(), passing.range.clone(), passing.next);
        let Some(next) = self.get_mut(next) else { return };
        let tid = next.open.as_ref().map_or(0, |open| open.tid.as_bytes().len());
        let head = next.out.get(place.clone()).unwrap_or_default();
        let value = head.get(range.clone()).unwrap_or_default();
        let whole_field = value.is_empty();
        let known = ByteRange::parse(value).unwrap_or(ByteRange::WHOLE);
        let resume = Resume {
            before: head.get(5 + tid..range.start).unwrap_or_default().to_vec(),
            after: head.get(range.end..).unwrap_or_default().to_vec(),
            total: known.total,
            whole_field,
        };
        // RFC 4975 §7.1.1: what may be interrupted does not say where it ends.
        if known.end.is_some() {
            let open_end = ByteRange { end: None, ..known }.to_string();
            let at = place.start + range.start..place.start + range.end;
            next.out.splice(at, open_end.into_bytes());
        }
        if let Some(connection) = self.get_mut(id)
            && let Incoming::Passing(passing) = &mut connection.incoming
        {
            passing.resume = Some(Box::new(resume));
        }
    }

    /// Ends the chunk that is open at a connection, after `octets` of a body.
    pub(crate) fn end_chunk(&mut self, next: ConnectionId, octets: u64, flag: u8) {
        let Some(open) = self.get_mut(next).and_then(|next| next.open.take()) else { return };
        let Some(connection) = self.out(next) else { return };
        write_end(&mut connection.out, open.body, open.tid.as_bytes(), flag);
        if let Some(number) = open.number {
            let end = connection.end();
            connection.transactions.written(number, end, octets);
        }
        self.touch(next);
    }

    /// Ends the chunk of whoever is in the middle of one, so that something else can be written.
    pub(crate) fn interrupt(&mut self, next: ConnectionId) {
        let Some(from) = self.get(next).and_then(|next| next.open.as_ref()).map(|open| open.from) else {
            return;
        };
        let passed = match self.get_mut(from).map(|from| &mut from.incoming) {
            Some(Incoming::Passing(passing)) => {
                passing.open = false;
                passing.passed
            }
            _ => 0,
        };
        self.end_chunk(next, passed, b'+');
    }

    /// Writes something between frames. `answer`: it answers the one it is for.
    pub(crate) fn control(&mut self, id: ConnectionId, answer: bool, write: impl FnOnce(&mut Vec<u8>)) {
        self.interrupt(id);
        let Some(connection) = self.out(id) else { return };
        let before = connection.out.len();
        write(&mut connection.out);
        if answer {
            connection.answers += connection.out.len() - before;
            self.touch_later(id);
        } else {
            self.touch(id);
        }
    }

    /// Lets `id` wait while its next hop has enough.
    pub(crate) fn wait_for(&mut self, id: ConnectionId, next: ConnectionId) {
        let full = self.get(next).is_some_and(|next| next.is_full(self.limits()));
        if full {
            self.block(id, next);
        }
    }

    /// The answer that a frame will get: to the previous hop only, but for requests whose answers travel.
    pub(crate) fn prepare_answer(&mut self, id: ConnectionId, head: &RawHead<'_>) {
        let Some(connection) = self.get_mut(id) else { return };
        let (out, from, tid) = (&mut connection.answer, head.from_path(), head.tid());
        let is_send = head.start() == RawStart::Request(b"SEND");
        let known =
            connection.status_at == b"MSRP ".len() + tid.len() + 1 && connection.answers_send == is_send;
        if head.has_same_paths() && known {
            // What was answered the last time, but for the transaction.
            let last = out.len().saturating_sub(tid.len() + b"$\r\n".len());
            for at in [b"MSRP ".len(), last] {
                if let Some(place) = out.get_mut(at..at + tid.len()) {
                    place.copy_from_slice(tid);
                }
            }
            return;
        }
        connection.answers_send = is_send;
        let to = if is_send { split(from).0 } else { from };
        out.clear();
        out.extend_from_slice(b"MSRP ");
        out.extend_from_slice(tid);
        out.push(b' ');
        connection.status_at = out.len();
        for part in [b"200 OK\r\nTo-Path: ", to, b"\r\nFrom-Path: ", split(head.to_path()).0, b"\r\n"] {
            out.extend_from_slice(part);
        }
        write_end(out, false, tid, b'$');
    }

    /// Sends the answer that was prepared, with this status.
    pub(crate) fn answer(&mut self, id: ConnectionId, status: Status) {
        let Some(connection) = self.get_mut(id) else { return };
        let (answer, at) = (std::mem::take(&mut connection.answer), connection.status_at);
        self.control(id, true, |out| {
            if status.is_ok() {
                out.extend_from_slice(&answer);
                return;
            }
            out.extend_from_slice(answer.get(..at).unwrap_or_default());
            let _ = write!(out, "{status} {}", status.comment());
            out.extend_from_slice(answer.get(at + b"200 OK".len()..).unwrap_or_default());
        });
        if let Some(connection) = self.get_mut(id) {
            connection.answer = answer;
        }
    }

    /// Tells the sender of a SEND what became of it (RFC 4975 §7.1.2).
    pub(crate) fn report(&mut self, sent: &Sent, start: u64, length: u64, status: Status) {
        let [way, own] = sent.parts;
        let part = |range: std::ops::Range<usize>| sent.text.get(range).unwrap_or_default();
        let message = part(own..sent.text.len());
        if message.is_empty() || self.get(sent.from).is_none() {
            return;
        }
        self.counts.reports += 1;
        let tid = Tid::new(self.random.u64(), None);
        let range = ByteRange { start, end: Some(start + length - 1), total: sent.total };
        self.control(sent.from, true, |out| {
            for part in [b"MSRP ", tid.as_bytes(), b" REPORT\r\nTo-Path: ", part(0..way)] {
                out.extend_from_slice(part);
            }
            for part in [b"\r\nFrom-Path: ", part(way..own), b"\r\nMessage-ID: ", message] {
                out.extend_from_slice(part);
            }
            let _ = write!(out, "\r\nByte-Range: {range}\r\nStatus: 000 {status} {}\r\n", status.comment());
            write_end(out, false, tid.as_bytes(), b'$');
        });
    }
}
