//! What comes: whom it is for, and whether it may go there (RFC 4976 §6.2, §6.4).

use crate::connection::{Collected, Connection, Course, Incoming, Passing, Target, Way};
use crate::line::{Tid, split, write_end};
use crate::relay::{Action, Reason, Relay};
use crate::transactions::{Forwarded, Kind, Mode, Sent};
use crate::{ConnectionId, auth};
use carnet_msrp::{ByteRange, Continuation, RawHead, RawStart, Status, Uri};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long it is known where a request goes that is passed through to another shard.
const THROUGH: Duration = Duration::from_secs(60);

/// Where a request goes on to.
pub(crate) struct Route<'a> {
    pub(crate) next: ConnectionId,
    /// What we call ourselves to who sent it.
    pub(crate) name: &'a [u8],
    /// Our URIs at the start of To-Path, the last one first: one, or two when both ends are clients of ours, or
    /// none when it is passed through to another shard or from there.
    pub(crate) own: [Option<&'a [u8]>; 2],
    /// What is left of To-Path.
    pub(crate) rest: &'a [u8],
}

impl<'a> Route<'a> {
    fn new(next: ConnectionId, first: &'a [u8], second: Option<&'a [u8]>, rest: &'a [u8]) -> Self {
        let own = if second.is_some() { [second, Some(first)] } else { [Some(first), None] };
        Self { next, name: first, own, rest }
    }

    /// As it came.
    pub(crate) fn through(next: ConnectionId, first: &'a [u8], path: &'a [u8]) -> Self {
        Self { next, name: first, own: [None; 2], rest: path }
    }

    /// How many URIs of ours it takes out of To-Path.
    fn hops(&self) -> usize {
        self.own.iter().flatten().count()
    }
}

/// Why it goes nowhere.
pub(crate) enum Fault {
    /// It is not for us at all (§6.2).
    Foreign,
    Refused(Status),
    /// The connection it came on is closed.
    Gone,
}

impl Relay {
    pub(crate) fn on_head(&mut self, now: Instant, id: ConnectionId, head: &RawHead<'_>) {
        if !head.has_same_paths()
            && let (RawStart::Request(_), Some(connection)) = (head.start(), self.get_mut(id))
        {
            // Both were of other paths.
            (connection.course, connection.status_at) = (None, 0);
        }
        if let Some(so_far) = self.get_mut(id).and_then(|connection| connection.fresh.take())
            && let (RawStart::Request(_), Some(shard)) =
                (head.start(), self.shard.elsewhere(split(head.to_path()).0))
        {
            return self.hand_over(id, shard, so_far);
        }
        let incoming = match head.start() {
            RawStart::Response(status) => {
                self.on_response(now, id, Status(status), head);
                Incoming::Drop
            }
            RawStart::Request(b"AUTH") if split(head.to_path()).1.is_empty() => match head.parse() {
                Ok(ask) => Incoming::Ask(Box::new(ask)),
                Err(_) => self.refuse(id, head, Status::BAD_REQUEST),
            },
            RawStart::Request(method) => match self.course(now, id, head) {
                Err(Fault::Foreign) => return self.close(id, Reason::NotForUs),
                Err(Fault::Gone) => return,
                Err(Fault::Refused(status)) => self.refuse(id, head, status),
                Ok(route) if method == b"SEND" => self.on_send(id, head, &route),
                Ok(route) => self.on_other(id, method, head, &route),
            },
        };
        if let Some(connection) = self.get_mut(id) {
            connection.incoming = incoming;
        }
    }

    /// Where a request goes, if it may: where the last one with these paths went, if nothing has changed.
    fn course<'a>(&mut self, now: Instant, id: ConnectionId, head: &RawHead<'a>) -> Result<Route<'a>, Fault> {
        let to = head.to_path();
        if head.has_same_paths()
            && let Some(course) = self.get(id).and_then(|connection| connection.course.as_ref())
            && course.changes == self.grants.changes()
            && now < course.expires
            && self.get(course.next).is_some()
        {
            let part = |range: &Range<usize>| to.get(range.clone()).unwrap_or_default();
            let own = course.own.each_ref().map(|range| range.as_ref().map(part));
            return Ok(Route { next: course.next, name: part(&course.name), own, rest: part(&course.rest) });
        }
        let (first, rest) = split(to);
        let route = self.route(now, id, first, rest, head)?;
        let mut expires = Some(now + THROUGH);
        for uri in route.own.iter().flatten() {
            let until = self.grants.get(uri, now).map(|grant| grant.expires);
            expires = expires.and_then(|at| Some(at.min(until?)));
        }
        // Both are at the start of the path, one behind the other.
        let place = |uri: &[u8]| {
            if uri == first { 0..first.len() } else { first.len() + 1..first.len() + 1 + uri.len() }
        };
        let course = expires.map(|expires| Course {
            changes: self.grants.changes(),
            expires,
            next: route.next,
            name: 0..first.len(),
            own: route.own.map(|uri| uri.map(place)),
            rest: to.len() - route.rest.len()..to.len(),
        });
        if let Some(connection) = self.get_mut(id) {
            connection.course = course;
        }
        Ok(route)
    }

    /// Where a request by `first` goes, if it may.
    fn route<'a>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        first: &'a [u8],
        rest: &'a [u8],
        head: &RawHead<'a>,
    ) -> Result<Route<'a>, Fault> {
        let Some(grant) = self.grants.get(first, now) else {
            return self.pass_through(now, id, first, head.to_path());
        };
        if rest.is_empty() {
            return Err(Fault::Refused(Status::BAD_REQUEST));
        }
        let client = grant.client;
        if client != id {
            // From anybody to the client who holds the URI, and to nobody else.
            let previous = split(head.from_path()).0;
            if grant.way(previous) != Some(id) {
                self.grants.learn(first, previous, id);
            }
            return Ok(Route::new(client, first, None, rest));
        }
        let (next, after) = split(rest);
        if let Some(way) = grant.way(next)
            && self.get(way).is_some()
        {
            return Ok(Route::new(way, first, None, rest));
        }
        if let Some(other) = self.grants.get(next, now) {
            if after.is_empty() {
                return Err(Fault::Refused(Status::BAD_REQUEST));
            }
            return Ok(Route::new(other.client, first, Some(next), after));
        }
        let uri = Uri::parse(next).map_err(|_| Fault::Refused(Status::BAD_REQUEST))?;
        let way = if self.is_ours(&uri, false) {
            let other = self.shard.elsewhere(next).ok_or(Fault::Refused(Status::NO_SESSION))?;
            self.link(now, id, other)
        } else {
            self.toward(now, &uri, id)
        };
        let way = way.ok_or(Fault::Refused(Status::TIMEOUT))?;
        self.grants.learn(first, next, way);
        Ok(Route::new(way, first, None, rest))
    }

    /// The connection of ours to a next hop, a new one for `id` if there is none. `None`: there are too many.
    fn toward(&mut self, now: Instant, uri: &Uri, id: ConnectionId) -> Option<ConnectionId> {
        let host = uri.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let target = Target { secure: uri.is_secure(), host, port: uri.port().unwrap_or(2855) };
        if let Some(known) = self.targets.get(&target) {
            return Some(*known);
        }
        let most = self.limits().next_hops;
        self.get(id).filter(|client| client.made < most)?;
        let connection = self.open(now, Way::Out(target.clone(), id), None)?;
        if let Some(client) = self.get_mut(id) {
            client.made += 1;
        }
        self.targets.insert(target.clone(), connection);
        let Target { secure, host, port } = target;
        self.actions.push_back(Action::Connect { connection, host, port, secure });
        Some(connection)
    }

    /// A request that goes nowhere. RFC 4976 §6.1: several of them, and nothing else, end the connection.
    fn refuse(&mut self, id: ConnectionId, head: &RawHead<'_>, status: Status) -> Incoming {
        self.counts.refused += 1;
        let mode = match (head.start(), mode(head.get("Failure-Report"))) {
            (RawStart::Request(b"REPORT"), _) => Mode::No,
            (_, mode) => mode.unwrap_or(Mode::Yes),
        };
        self.prepare_answer(id, head);
        if self.failed(id) { Incoming::Refused(status, mode) } else { Incoming::Drop }
    }

    /// Counts a failure; whether the connection is still there.
    pub(crate) fn failed(&mut self, id: ConnectionId) -> bool {
        let most = self.limits().failures;
        let Some(connection) = self.get_mut(id) else { return false };
        connection.failures += 1;
        // One that has shown that it belongs here may be late: its peer's URI has ended.
        if connection.failures > most && !connection.proven && !connection.is_inner() {
            self.close(id, Reason::Failures);
            return false;
        }
        true
    }

    /// A SEND goes on to the next hop as it comes (§6.4.1).
    fn on_send(&mut self, id: ConnectionId, head: &RawHead<'_>, route: &Route<'_>) -> Incoming {
        let [place, wish, name] = head.noted();
        let value = |place: Option<Range<usize>>| place.and_then(|place| head.fields().get(place));
        let range = value(place.clone()).map_or(Ok(ByteRange::WHOLE), ByteRange::parse);
        let (Some(mode), Ok(range)) = (mode(value(wish)), range) else {
            return self.refuse(id, head, Status::BAD_REQUEST);
        };
        self.prepare_answer(id, head);
        let inner = self.get(id).is_none_or(Connection::is_inner);
        self.counts.sends += u64::from(!inner);
        let sent = (mode != Mode::No).then(|| {
            let message = value(name).unwrap_or_default();
            let (way, own) = (head.from_path(), route.name);
            let parts = [way.len(), way.len() + own.len()];
            self.scratch.clear();
            for part in [way, own, message] {
                self.scratch.extend_from_slice(part);
            }
            Sent { mode, from: id, text: Arc::from(self.scratch.as_slice()), parts, total: range.total }
        });
        let mut passing = Passing {
            next: route.next,
            mode,
            sent,
            body: head.has_body(),
            open: false,
            start: range.start,
            passed: 0,
            head: 0..0,
            range: 0..0,
            resume: None,
        };
        self.begin_chunk(id, &mut passing, |out, tid, passing| {
            let at = out.len();
            write_head(out, tid.as_bytes(), b"SEND", route, head);
            passing.head = at..out.len();
            let fields = out.len() - head.fields().len() - if passing.body { 2 } else { 0 } - at;
            let place = place.unwrap_or(0..0);
            passing.range = fields + place.start..fields + place.end;
        });
        self.wait_for(id, route.next);
        Incoming::Passing(passing)
    }

    /// Other requests are passed on whole: they are small (§6.4.2).
    fn on_other(
        &mut self,
        id: ConnectionId,
        method: &[u8],
        head: &RawHead<'_>,
        route: &Route<'_>,
    ) -> Incoming {
        self.prepare_answer(id, head);
        let inner = self.get(id).is_none_or(Connection::is_inner);
        self.counts.others += u64::from(!inner);
        let secret = self.random.u64();
        let mut number = None;
        if method != b"REPORT"
            && let Some(next) = self.get_mut(route.next)
        {
            let forwarded = Forwarded {
                from: id,
                tid: head.tid().into(),
                hops: route.hops(),
                proof: method == b"AUTH" && head.get("Authorization").is_some(),
            };
            number = Some(next.transactions.begin(secret, Kind::Forwarded(forwarded)));
        }
        let tid = Tid::new(secret, number);
        let mut octets = Vec::with_capacity(512);
        write_head(&mut octets, tid.as_bytes(), method, route, head);
        Incoming::Collected(route.next, Collected { octets, tid, number, body: head.has_body() })
    }

    /// §6.4.3. Answers to SEND end here; others go back by the way the request came.
    fn on_response(&mut self, now: Instant, id: ConnectionId, status: Status, head: &RawHead<'_>) {
        let answered = Tid::read(head.tid()).and_then(|(secret, number)| {
            self.get_mut(id).and_then(|connection| connection.transactions.answered(secret, number))
        });
        match answered {
            None | Some(Kind::Done) => {}
            Some(Kind::Send { sent, start, length }) => {
                if !status.is_ok() {
                    self.report(&sent, start, length, status);
                } else if self.shard.count > 1 {
                    self.answered_there(id);
                }
            }
            Some(Kind::Forwarded(forwarded)) => {
                let (mut own, mut rest) = (Vec::new(), head.to_path());
                for _ in 0..forwarded.hops {
                    let (first, after) = split(rest);
                    if self.grants.get(first, now).is_none() {
                        return;
                    }
                    own.insert(0, first);
                    rest = after;
                }
                // It says nothing to us, and nobody else is named.
                if rest.is_empty() {
                    return;
                }
                let stale = || {
                    let value = head.get("WWW-Authenticate").unwrap_or_default().to_ascii_lowercase();
                    memchr::memmem::find(&value, b"stale=true").is_some()
                };
                if forwarded.proof && status == Status::UNAUTHORIZED && !stale() {
                    self.counts.denied += 1;
                    let most = self.limits().failures;
                    if let Some(connection) = self.get_mut(forwarded.from) {
                        connection.asked += 1;
                        if connection.asked > most {
                            return self.close(forwarded.from, Reason::Failures);
                        }
                    }
                }
                own.push(head.from_path());
                self.control(forwarded.from, true, |out| {
                    let start = head.start_line();
                    out.extend_from_slice(b"MSRP ");
                    out.extend_from_slice(&forwarded.tid);
                    out.extend_from_slice(start);
                    out.extend_from_slice(b"\r\nTo-Path: ");
                    out.extend_from_slice(rest);
                    out.extend_from_slice(b"\r\nFrom-Path: ");
                    out.extend_from_slice(&own.join(&b' '));
                    out.extend_from_slice(b"\r\n");
                    out.extend_from_slice(head.fields());
                    write_end(out, false, &forwarded.tid, b'$');
                });
            }
        }
        self.unblock(id);
    }

    pub(crate) fn on_body(&mut self, id: ConnectionId, octets: &[u8]) {
        let most = self.limits().collected;
        let Some(connection) = self.get_mut(id) else { return };
        let inner = connection.is_inner();
        match std::mem::replace(&mut connection.incoming, Incoming::Drop) {
            Incoming::Passing(mut passing) => {
                let there = self.pass_on(id, &mut passing, octets);
                if there && !inner {
                    self.counts.octets += u64::try_from(octets.len()).unwrap_or(u64::MAX);
                }
                self.wait_for(id, passing.next);
                let incoming = match there {
                    true => Incoming::Passing(passing),
                    false => Incoming::Refused(Status::TIMEOUT, passing.mode),
                };
                if let Some(connection) = self.get_mut(id) {
                    connection.incoming = incoming;
                }
            }
            Incoming::Collected(next, mut collected) => {
                connection.incoming = if collected.octets.len() + octets.len() > most {
                    Incoming::Refused(Status::STOP, Mode::Yes)
                } else {
                    collected.octets.extend_from_slice(octets);
                    Incoming::Collected(next, collected)
                };
            }
            other => connection.incoming = other,
        }
    }

    pub(crate) fn on_end(&mut self, now: Instant, id: ConnectionId, flag: Continuation) {
        let Some(connection) = self.get_mut(id) else { return };
        match std::mem::replace(&mut connection.incoming, Incoming::Drop) {
            Incoming::Drop => {}
            Incoming::Refused(status, mode) => {
                if mode != Mode::No {
                    self.answer(id, status);
                }
            }
            Incoming::Ask(head) => auth::on_ask(self, now, id, &head),
            Incoming::Passing(mut passing) => {
                if passing.open || self.pass_on(id, &mut passing, &[]) {
                    self.end_chunk(passing.next, passing.passed, flag.octet());
                    self.succeeded(id, passing.next);
                    if passing.mode == Mode::Yes {
                        self.answer(id, Status::OK);
                    }
                } else if passing.mode != Mode::No {
                    self.answer(id, Status::TIMEOUT);
                }
            }
            Incoming::Collected(next, collected) => {
                let Collected { mut octets, tid, number, body } = collected;
                write_end(&mut octets, body, tid.as_bytes(), flag.octet());
                self.control(next, false, |out| out.extend_from_slice(&octets));
                if let (Some(next), Some(number)) = (self.get_mut(next), number) {
                    let end = next.end();
                    next.transactions.written(number, end, 0);
                }
                self.succeeded(id, next);
                self.wait_for(id, next);
            }
        }
    }

    /// A request has gone on to `next`.
    fn succeeded(&mut self, id: ConnectionId, next: ConnectionId) {
        if self.shard.count > 1 && self.is_judged_there(id, next) {
            return;
        }
        if let Some(connection) = self.get_mut(id) {
            connection.proven = true;
        }
    }
}

/// Who hears of a failure; `None` for a word that is not known.
fn mode(wish: Option<&[u8]>) -> Option<Mode> {
    Some(match wish {
        None => Mode::Yes,
        Some(value) if value.eq_ignore_ascii_case(b"yes") => Mode::Yes,
        Some(value) if value.eq_ignore_ascii_case(b"no") => Mode::No,
        Some(value) if value.eq_ignore_ascii_case(b"partial") => Mode::Partial,
        Some(_) => return None,
    })
}

/// The head of a request as it leaves: our URIs have gone from To-Path to From-Path.
fn write_head(out: &mut Vec<u8>, tid: &[u8], method: &[u8], route: &Route<'_>, head: &RawHead<'_>) {
    for part in [b"MSRP ", tid, b" ", method, b"\r\nTo-Path: ", route.rest, b"\r\nFrom-Path: "] {
        out.extend_from_slice(part);
    }
    for own in route.own.iter().flatten() {
        out.extend_from_slice(own);
        out.push(b' ');
    }
    out.extend_from_slice(head.from_on());
}
