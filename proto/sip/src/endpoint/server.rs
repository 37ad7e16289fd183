//! Server transactions (RFC 3261 §17.2, RFC 6026 §7.1): requests we receive.

use super::clock::Alarm;
use super::{Alarmed, Endpoint, Event, ServerKey};
use crate::error::Error;
use crate::hop::{FlowId, Hop, Transport};
use crate::message::{Lines, Message};
use crate::method::Method;
use crate::typed::{MAGIC_COOKIE, Via};
use crate::uri::host_ip;
use bytes::Bytes;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No final response yet: Trying and Proceeding of §17.2.
    Proceeding,
    /// Refused (INVITE), or answered (others): the response is repeated when asked for.
    Completed,
    /// INVITE refused and acknowledged.
    Confirmed,
    /// INVITE answered 2xx.
    Accepted,
}

#[derive(Debug)]
pub(super) struct Server {
    state: State,
    began: Instant,
    invite: bool,
    cancelled: bool,
    matching: Arc<str>,
    pub(super) reply: Hop,
    /// Where answers go when the connection is gone (RFC 3261 §18.2.2).
    fallback: Option<SocketAddr>,
    /// The request's Via lines, until no more responses can come.
    pub(super) vias: Lines,
    pub(super) tag: String,
    status: u16,
    /// The last response, while it may have to be repeated.
    last: Bytes,
    interval: Duration,
    retransmit: Option<Alarm>,
    timeout: Option<Alarm>,
    /// 2xx sent, by dialog.
    pub(super) confirmations: Vec<Arc<str>>,
}

/// A 2xx to an INVITE (RFC 3261 §13.3.1.4). One that passes here twice, as calls do that a proxy sends back
/// to where they came from, has two with the same dialog and CSeq.
#[derive(Debug)]
pub(super) struct Confirmation {
    server: ServerKey,
    pub(super) to_tag: String,
    /// The Contact in it: what its ACK is addressed to.
    contact: Box<str>,
    /// Empty once the ACK is there.
    pub(super) data: Bytes,
    interval: Duration,
    repeat: Option<Alarm>,
}

/// 2xx of different To tags to one INVITE, at most (a B2BUA passes on those of a fork).
const MOST_2XX: usize = 32;

impl Server {
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Proceeding
    }

    /// Where a response goes when its connection has gone with the process (RFC 3261 §18.2.2).
    pub(super) fn reply_of_later(&self) -> Hop {
        match self.fallback {
            Some(remote) => Hop { flow: None, local: None, remote, ..self.reply.clone() },
            None => self.reply.clone(),
        }
    }
}

/// What identifies a request and its ACK and CANCEL (RFC 3261 §17.2.3). Requests without the
/// magic cookie are told apart as RFC 2543 would.
pub(super) fn matching(message: &Message, via: &Via, method: &Method) -> Arc<str> {
    let method = if *method == Method::Ack { &Method::Invite } else { method };
    let port = via.port().unwrap_or(0);
    let host = via.host();
    match via
        .branch()
        .filter(|b| b.get(..7).is_some_and(|c| c.eq_ignore_ascii_case(MAGIC_COOKIE)) && b.len() > 7)
    {
        Some(branch) => {
            let method = method.as_str();
            let mut key = String::with_capacity(branch.len() + host.len() + method.len() + 8);
            key.push_str(branch);
            key.push('\n');
            key.extend(host.chars().map(|c| c.to_ascii_lowercase()));
            let _ = write!(key, ":{port}\n{method}");
            key.into()
        }
        None => {
            let host = host.to_ascii_lowercase();
            let uri = message.request_uri().map(|u| u.as_str()).unwrap_or_default();
            let from = message.from_tag().unwrap_or_default();
            let id = message.call_id().unwrap_or_default();
            let cseq = message.cseq().map_or(0, |c| c.number);
            let branch = via.branch().unwrap_or_default();
            format!("2543\n{branch}\n{host}:{port}\n{method}\n{uri}\n{from}\n{id}\n{cseq}").into()
        }
    }
}

/// What the ACK to a 2xx has in common with the 2xx (RFC 3261 §13.3.1.4).
fn dialog_of(message: &Message) -> Arc<str> {
    let id = message.call_id().unwrap_or_default();
    let cseq = message.cseq().map_or(0, |c| c.number);
    let (from, to) = (message.from_tag().unwrap_or_default(), message.to_tag().unwrap_or_default());
    let mut key = String::with_capacity(id.len() + from.len() + to.len() + 13);
    key.push_str(id);
    for part in [&from, &to] {
        key.push('\n');
        key.push_str(part);
    }
    key.push('\n');
    let _ = write!(key, "{cseq}");
    key.into()
}

/// Where responses go (RFC 3261 §18.2.2, RFC 3581 §4).
pub(super) fn reply_hop(hop: &Hop, via: Option<&Via>) -> Hop {
    let mut reply = hop.clone();
    if let Some(via) = via.filter(|v| hop.transport == Transport::Udp && v.rport().is_none()) {
        reply.remote.set_port(via.port().unwrap_or_else(|| hop.transport.default_port()));
    }
    reply
}

impl Endpoint {
    /// Writes `received` and `rport` into the topmost Via (RFC 3261 §18.2.1, RFC 3581 §4).
    /// The Via as it then is.
    pub(super) fn mark_source(message: &mut Message, hop: &Hop) -> Option<Via> {
        let mut via = message.top_via().ok()?;
        let source = hop.remote.ip().to_canonical();
        let rport = via.rport().is_some();
        if !rport && host_ip(via.host()) == Some(source) && via.received().is_none() {
            return Some(via);
        }
        let params = via.params_mut();
        let port = hop.remote.port().to_string();
        // Neither an address nor a port can be unprintable.
        let received = params.set("received", Some(&source.to_string()));
        let rport = if rport { params.set("rport", Some(&port)) } else { Ok(()) };
        if received.and(rport).is_ok() {
            message.set_first("Via", &via.to_string()).unwrap_or_default();
        }
        Some(via)
    }

    pub(super) fn handle_new_request(&mut self, now: Instant, hop: Hop, message: Message, via: &Via) {
        let matching = matching(&message, via, message.method());
        if let Some(key) = self.matching.get(&matching).copied() {
            self.tally.repeats_received += 1;
            return self.repeat_response(key);
        }
        if self.refrains && !hop.transport.is_reliable() && message.to_tag().is_none() {
            return;
        }
        if let Some(error) = self.objection(&message) {
            return self.refuse(&hop, &message, error);
        }
        if self.open_servers >= self.config.server_transactions {
            return self.refuse(&hop, &message, Error::Full);
        }
        // What is inside a dialog ends work more often than it makes it, and is always taken.
        let behind = self.config.longest_wait.is_some_and(|most| self.waited > most);
        if behind && message.to_tag().is_none() {
            return self.refuse(&hop, &message, Error::Behind);
        }
        let key = ServerKey(self.fresh_key());
        let invite = *message.method() == Method::Invite;
        // What has a tag in To keeps it.
        let tag = message.to_tag().map_or_else(|| self.stateless_tag(&matching), |_| String::new());
        let reply = reply_hop(&hop, Some(via));
        let port = via.port().unwrap_or_else(|| hop.transport.default_port());
        let fallback = hop.transport.is_reliable().then(|| SocketAddr::new(hop.remote.ip(), port));
        // RFC 3261 §17.1.2.2: whoever asked has given up after that.
        let patience = self.config.timers.patience();
        let timeout = (!invite).then(|| self.clock.set(now + patience, Alarmed::ServerTimeout(key)));
        self.open_servers += 1;
        self.matching.insert(matching.clone(), key);
        let server = Server {
            state: State::Proceeding,
            began: now,
            invite,
            cancelled: false,
            matching,
            reply,
            fallback,
            vias: message.extract("Via"),
            tag,
            status: 0,
            last: Bytes::new(),
            interval: self.config.timers.t1,
            retransmit: None,
            timeout,
            confirmations: Vec::new(),
        };
        self.servers.insert(key, server);
        if invite && let Ok(trying) = Message::response(&message, 100, "") {
            // A Trying of our making breaks no rule: it is sent or there is nobody to send to.
            self.respond(now, key, trying).unwrap_or_default();
        }
        self.events.push_back(Event::Request { key, message, hop });
    }

    /// Whether a request has no final response yet.
    pub fn is_open(&self, key: ServerKey) -> bool {
        self.servers.get(&key).is_some_and(Server::is_open)
    }

    fn repeat_response(&mut self, key: ServerKey) {
        let Some(server) = self.servers.get(&key) else { return };
        if !server.last.is_empty() {
            let (hop, last) = (server.reply.clone(), server.last.clone());
            self.tally.responses_repeated += 1;
            self.transmit(hop, last);
        }
    }

    /// Sends a response. The Via lines are the request's, whatever `message` has; To gets a tag
    /// if it has none, but in a 2xx to an INVITE, which names the dialog. Refusals of an INVITE are repeated until acknowledged, and so are its
    /// 2xx, of which there may be several with different To tags.
    ///
    /// # Errors
    /// [`Error::Gone`] if the transaction is over; [`Error::State`] if it has its final response
    /// or `message` is no response.
    pub fn respond(&mut self, now: Instant, key: ServerKey, mut message: Message) -> Result<(), Error> {
        let status = message.status().ok_or(Error::State("only a response answers a request"))?;
        let timers = self.config.timers;
        let server = self.servers.get_mut(&key).ok_or(Error::Gone)?;
        let success = (200..300).contains(&status) && server.invite;
        match server.state {
            State::Proceeding => {}
            State::Accepted if success && server.confirmations.len() < MOST_2XX => {}
            _ => return Err(Error::State("the request has its final response")),
        }
        message.put_lines("Via", &server.vias);
        // RFC 3261 §12.1.2: a 2xx to an INVITE without a tag is somebody's who knows none, passed on.
        if status != 100 && !success && message.to_tag().is_none() {
            let to = message.to()?.with_tag(&server.tag)?;
            message.set_header("To", &to.to_string())?;
        }
        if let Some(software) = self.config.software.as_deref().filter(|_| !message.has("Server"))
            && status != 100
        {
            message.push_back("Server", software)?;
        }
        let reply = server.reply.clone();
        if reply.transport.is_reliable() {
            message.ensure_content_length();
        }
        let wire = message.to_bytes();
        server.status = status;
        let finished = (status >= 200 && server.state == State::Proceeding).then_some(server.began);
        if status < 200 {
            server.last = wire.clone();
        } else if success {
            let dialog = dialog_of(&message);
            if server.confirmations.contains(&dialog) {
                return Err(Error::State("this 2xx was sent already"));
            }
            server.last = Bytes::new();
            server.confirmations.reserve_exact(1);
            server.confirmations.push(dialog.clone());
            let first = server.state == State::Proceeding;
            let repeat = Some(self.clock.set(now + timers.t1, Alarmed::Repeat(dialog.clone(), key)));
            let to_tag = message.to_tag().unwrap_or_default();
            let contacts = message.contacts().unwrap_or_default();
            let contact = contacts.first().map(|c| c.uri().as_str().into()).unwrap_or_default();
            let (data, interval) = (wire.clone(), timers.t1);
            let sent = self.confirmations.entry(dialog).or_default();
            // One is what nearly all have.
            sent.reserve_exact(1);
            sent.push(Confirmation { server: key, to_tag, contact, data, interval, repeat });
            if first {
                self.linger_server(now, key, State::Accepted, timers.patience());
            }
        } else {
            server.last = wire.clone();
            server.vias = Lines::default();
            if server.invite {
                server.tag = message.to_tag().unwrap_or_default();
                if !reply.transport.is_reliable() {
                    // Timer G.
                    server.retransmit = Some(self.clock.set(now + timers.t1, Alarmed::ServerRetransmit(key)));
                }
                self.linger_server(now, key, State::Completed, timers.patience());
            } else if reply.transport.is_reliable() {
                // Timer J is zero.
                self.end_server(key);
            } else {
                self.linger_server(now, key, State::Completed, timers.patience());
            }
        }
        if let Some(began) = finished {
            self.finish(now, began, false, message.method().clone(), status);
        }
        self.transmit(reply, wire);
        Ok(())
    }

    fn linger_server(&mut self, now: Instant, key: ServerKey, state: State, patience: Duration) {
        let Some(server) = self.servers.get_mut(&key) else { return };
        if server.is_open() {
            self.open_servers -= 1;
        }
        server.state = state;
        self.clock.clear(&mut server.timeout);
        server.timeout = Some(self.clock.set(now + patience, Alarmed::ServerTimeout(key)));
        self.lingering_servers.push_back(key);
        while let Some(oldest) = self.lingering_servers.front().copied() {
            if self.servers.contains_key(&oldest) && self.lingering_servers.len() <= self.config.lingering {
                break;
            }
            self.lingering_servers.pop_front();
            // As if its time were over: whoever waits for an ACK is told.
            self.server_timeout(oldest);
        }
    }

    fn end_server(&mut self, key: ServerKey) {
        let Some(mut server) = self.servers.remove(&key) else { return };
        self.clock.clear(&mut server.retransmit);
        self.clock.clear(&mut server.timeout);
        self.matching.remove(&server.matching);
        if server.is_open() {
            self.open_servers -= 1;
        }
        for dialog in server.confirmations {
            let Some(sent) = self.confirmations.get_mut(&dialog) else { continue };
            for confirmation in sent.iter_mut().filter(|c| c.server == key) {
                self.clock.clear(&mut confirmation.repeat);
            }
            sent.retain(|c| c.server != key);
            if sent.is_empty() {
                self.confirmations.remove(&dialog);
            }
        }
    }

    /// The 2xx of this dialog that answers that request.
    pub(super) fn confirmation(&self, dialog: &str, key: ServerKey) -> Option<&Confirmation> {
        self.confirmations.get(dialog)?.iter().find(|c| c.server == key)
    }

    /// Timer G.
    pub(super) fn server_retransmit(&mut self, now: Instant, key: ServerKey) {
        let t2 = self.config.timers.t2;
        let Some(server) = self.servers.get_mut(&key).filter(|s| s.state == State::Completed) else { return };
        server.interval = (server.interval * 2).min(t2);
        server.retransmit = Some(self.clock.set(now + server.interval, Alarmed::ServerRetransmit(key)));
        self.repeat_response(key);
    }

    /// Timers H, I, J, L, and the end of a request nobody answered.
    pub(super) fn server_timeout(&mut self, key: ServerKey) {
        let Some(server) = self.servers.get(&key) else { return };
        let status = server.status;
        let mut silent = Vec::new();
        match server.state {
            State::Completed if server.invite => silent.push(server.tag.clone()),
            State::Accepted => {
                let waiting = server.confirmations.iter().filter_map(|d| self.confirmation(d, key));
                silent.extend(waiting.filter(|c| !c.data.is_empty()).map(|c| c.to_tag.clone()));
            }
            _ => {}
        }
        self.end_server(key);
        for to_tag in silent {
            self.tally.unacknowledged += 1;
            self.events.push_back(Event::Unacknowledged { key, status, to_tag });
        }
    }

    pub(super) fn repeat_2xx(&mut self, now: Instant, dialog: Arc<str>, key: ServerKey) {
        let t2 = self.config.timers.t2;
        let sent = self.confirmations.get_mut(&dialog);
        let Some(confirmation) = sent.and_then(|sent| sent.iter_mut().find(|c| c.server == key)) else {
            return;
        };
        confirmation.interval = (confirmation.interval * 2).min(t2);
        let again = self.clock.set(now + confirmation.interval, Alarmed::Repeat(dialog, key));
        confirmation.repeat = Some(again);
        let data = confirmation.data.clone();
        if let Some(hop) = self.servers.get(&confirmation.server).map(|s| s.reply.clone()) {
            self.tally.responses_repeated += 1;
            self.transmit(hop, data);
        }
    }

    pub(super) fn handle_ack(&mut self, now: Instant, hop: Hop, message: Message, via: &Via) {
        let matching = matching(&message, via, &Method::Ack);
        let known = self.matching.get(&matching).copied();
        if let Some(server) = known.and_then(|k| self.servers.get_mut(&k)) {
            match (server.state, known) {
                (State::Completed, Some(key)) => {
                    server.state = State::Confirmed;
                    server.last = Bytes::new();
                    self.clock.clear(&mut server.retransmit);
                    self.clock.clear(&mut server.timeout);
                    // Timer I: a repeated ACK finds its transaction.
                    let wait = if server.reply.transport.is_reliable() {
                        Duration::ZERO
                    } else {
                        self.config.timers.t4
                    };
                    server.timeout = Some(self.clock.set(now + wait, Alarmed::ServerTimeout(key)));
                    return;
                }
                (State::Confirmed | State::Proceeding, _) => return,
                (State::Accepted, _) | (_, None) => {}
            }
        }
        if let Some(sent) = self.confirmations.get_mut(&dialog_of(&message)) {
            // A request that passes twice has two 2xx with the same names, each with a Contact of its own.
            let named =
                |c: &Confirmation| message.request_uri().is_some_and(|uri| *uri.as_str() == *c.contact);
            let waits = |c: &Confirmation| !c.data.is_empty();
            let at = sent.iter().position(named).or_else(|| sent.iter().position(waits));
            if let Some(confirmation) = at.and_then(|at| sent.get_mut(at)).filter(|c| waits(c)) {
                confirmation.data = Bytes::new();
                self.clock.clear(&mut confirmation.repeat);
                let key = Some(confirmation.server);
                self.events.push_back(Event::Ack { key, message, hop });
            }
            return;
        }
        // The ACK to a refusal that left no transaction behind.
        if message.to_tag().as_deref() != Some(self.stateless_tag(&matching).as_str()) {
            self.events.push_back(Event::Ack { key: None, message, hop });
        }
    }

    /// RFC 3261 §9.2. The 200 needs no transaction: it is the same each time.
    pub(super) fn handle_cancel(&mut self, hop: Hop, message: Message, via: &Via) {
        let found = self.matching.get(&matching(&message, via, &Method::Invite)).copied();
        let Some((key, server)) = found.and_then(|k| self.servers.get_mut(&k).map(|s| (k, s))) else {
            let none = Error::Dialog { status: 481, reason: "CANCEL for no INVITE" };
            return self.refuse(&hop, &message, none);
        };
        let first = server.state == State::Proceeding && !std::mem::replace(&mut server.cancelled, true);
        let tag = server.tag.clone();
        self.answer(&hop, &message, 200, &tag, |_| Ok(()));
        if first {
            self.events.push_back(Event::Cancelled { key, message });
        }
    }

    /// The connection a response was to take is gone: the next goes to the sender's address.
    pub(super) fn server_hop_failed(&mut self, failed: &Hop) {
        let Some(flow) = failed.flow else { return };
        let hit = |f: Option<FlowId>| f == Some(flow);
        for server in self.servers.values_mut().filter(|s| hit(s.reply.flow)) {
            if let Some(remote) = server.fallback {
                server.reply = Hop { flow: None, local: None, remote, ..server.reply.clone() };
            }
        }
    }
}
