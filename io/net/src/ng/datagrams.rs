//! Requests over UDP: a datagram each.
//!
//! A source cannot be proved: whoever writes an address that may ask on a datagram has the answer go there. So
//! what a source gets is bounded by what it sent, and what is more becomes a short error, or nothing. A source
//! on this host is not bounded: nobody elsewhere can write its address.

use super::server::NgRequest;
use super::shared::{Asked, MAX_REQUEST, Shared, Taken, refusal};
use crate::Error;
use crate::udp::{Datagrams, UdpPort};
use bytes::Bytes;
use carnet_ng::{Limits, Message, Request, Seen, Value};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Datagrams that wait to be sent.
const WAITING: usize = 1_024;
/// Octets of the largest datagram.
const MAX_DATAGRAM: usize = 65_507;
/// Octets an answer may have for each of the request.
const FACTOR: u64 = 3;
/// Octets a source gets besides, at once and in a second.
const BURST: u64 = 16 << 10;
const RATE: u64 = 4 << 10;
/// Sources that are told apart.
const SOURCES: usize = 4_096;
/// Datagrams that are no requests and answered, in a second.
const COURTESY: u32 = 20;

/// What a source may still get.
struct Account {
    left: u64,
    at: Instant,
}

#[derive(Default)]
struct Budget {
    sources: HashMap<IpAddr, Account>,
    courtesy: Option<(Instant, u32)>,
}

impl Budget {
    fn account(&mut self, now: Instant, source: IpAddr) -> Option<&mut Account> {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            // Whose account is full again is as one who is not known.
            self.sources
                .retain(|_, account| now.saturating_duration_since(account.at) < Duration::from_secs(60));
            if self.sources.len() >= SOURCES {
                return None;
            }
        }
        let account = self.sources.entry(source).or_insert(Account { left: BURST, at: now });
        let passed = now.saturating_duration_since(account.at);
        let earned = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).saturating_mul(RATE) / 1_000;
        if earned > 0 {
            account.left = account.left.saturating_add(earned).min(BURST.max(account.left));
            account.at = now;
        }
        Some(account)
    }

    fn received(&mut self, now: Instant, source: IpAddr, octets: usize) {
        if let Some(account) = self.account(now, source) {
            let more = (octets as u64).saturating_mul(FACTOR);
            account.left = account.left.saturating_add(more).min(8 * (BURST + MAX_DATAGRAM as u64));
        }
    }

    /// Whether so much may go to a source; then it is taken off.
    fn spend(&mut self, now: Instant, source: IpAddr, octets: usize) -> bool {
        let octets = octets as u64;
        match self.account(now, source) {
            Some(account) if account.left >= octets => {
                account.left -= octets;
                true
            }
            _ => false,
        }
    }

    /// Whether one more who has sent no request may be told.
    fn is_courteous(&mut self, now: Instant) -> bool {
        let (since, left) = self.courtesy.get_or_insert((now, COURTESY));
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *left) = (now, COURTESY);
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }
}

/// The sockets.
#[derive(Default)]
pub(super) struct Ports {
    ports: Vec<UdpPort>,
    budget: Arc<Mutex<Budget>>,
}

#[derive(Clone)]
struct Incoming {
    shared: Arc<Shared>,
    budget: Arc<Mutex<Budget>>,
    /// Answers that nobody needs to be asked for.
    at_once: mpsc::Sender<(SocketAddr, Bytes)>,
}

impl Ports {
    /// Opens one more; its address with the port it has.
    pub(super) fn open(
        &mut self,
        address: SocketAddr,
        shared: &Arc<Shared>,
        stopped: &watch::Receiver<()>,
    ) -> Result<SocketAddr, Error> {
        let (at_once, mut answers) = mpsc::channel(WAITING);
        let incoming = Incoming { shared: shared.clone(), budget: self.budget.clone(), at_once };
        let port = UdpPort::open(address, WAITING, incoming, shared.events(), stopped)?;
        let (local, queue) = (port.local, port.sender());
        tokio::spawn(async move {
            while let Some(answer) = answers.recv().await {
                // UDP loses what does not fit.
                let _ = queue.try_send(answer);
            }
        });
        self.ports.push(port);
        Ok(local)
    }

    /// Sends the answer to a request.
    pub(super) fn answer(&self, shared: &Shared, asked: &Asked, body: &Value) {
        let Asked { local, remote, cookie, form } = asked;
        let written =
            |body: &Value| Message { cookie: cookie.clone(), form: *form, body: body.clone() }.to_bytes();
        let mut answer = written(body);
        let mut fits = answer.len() <= MAX_DATAGRAM && may(&self.budget, *remote, answer.len());
        if !fits {
            shared.count(|tally| tally.withheld += 1);
            answer = written(&refusal("the answer is too long for UDP: ask for less, or over TCP or HTTP"));
            fits = may(&self.budget, *remote, answer.len());
        }
        // What is not sent is over too: kept as under way, a flood of such would leave no room for others.
        shared.answered(*remote, cookie, answer.clone());
        if !fits {
            return;
        }
        if let Some(port) = self.ports.iter().find(|port| port.local == *local) {
            // What is lost is asked for again.
            let _ = port.send(*remote, answer);
        }
    }
}

fn may(budget: &Mutex<Budget>, remote: SocketAddr, octets: usize) -> bool {
    let ip = remote.ip().to_canonical();
    ip.is_loopback()
        || budget.lock().unwrap_or_else(PoisonError::into_inner).spend(Instant::now(), ip, octets)
}

impl Incoming {
    fn tell(&self, remote: SocketAddr, answer: Bytes) {
        match may(&self.budget, remote, answer.len()) {
            true => drop(self.at_once.try_send((remote, answer))),
            false => self.shared.count(|tally| tally.withheld += 1),
        }
    }

    fn malformed(&self, remote: SocketAddr, cookie: Option<Bytes>, why: &dyn std::fmt::Display) {
        self.shared.count(|tally| tally.malformed += 1);
        let Some(cookie) = cookie else { return };
        let courteous =
            self.budget.lock().unwrap_or_else(PoisonError::into_inner).is_courteous(Instant::now());
        if courteous {
            self.tell(remote, Message::new(cookie, refusal(&why.to_string())).to_bytes());
        }
    }
}

impl Datagrams for Incoming {
    type Event = NgRequest;

    fn received(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Option<NgRequest> {
        if !self.shared.admits(remote.ip()) {
            self.shared.count(|tally| tally.strangers += 1);
            return None;
        }
        let ip = remote.ip().to_canonical();
        if !ip.is_loopback() {
            let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.received(Instant::now(), ip, data.len());
        }
        let data = Bytes::copy_from_slice(data.get(..data.len().min(MAX_REQUEST)).unwrap_or_default());
        let message = match Message::parse(&data, &Limits::default()) {
            Ok(message) => message,
            Err(error) => {
                let cookie = data.iter().position(|b| *b == b' ').map(|blank| data.slice(..blank));
                let visible = |c: &Bytes| (1..=128).contains(&c.len()) && c.iter().all(u8::is_ascii_graphic);
                self.malformed(remote, cookie.filter(visible), &error);
                return None;
            }
        };
        let Message { cookie, form, mut body } = message;
        // An answer. To say that it is no request would make an answer of one that a server like this one says
        // the same to, and so on for ever.
        if body.get("result").is_some() && body.get("command").is_none() {
            self.shared.count(|tally| tally.malformed += 1);
            return None;
        }
        // It counts for nothing here, and nothing further in is to see it.
        if let Value::Dictionary(entries) = &mut body {
            entries.retain(|(key, _)| key.as_ref() != b"token");
        }
        match self.shared.seen(remote, &cookie) {
            Seen::New => {}
            Seen::Answered(answer) => {
                self.tell(remote, answer);
                return None;
            }
            Seen::Working => return None,
            Seen::Full => {
                self.shared.count(|tally| tally.crowded += 1);
                return None;
            }
        }
        let request = match Request::of(&body) {
            Ok(request) => request,
            Err(error) => {
                self.shared.dropped(remote, &cookie);
                self.malformed(remote, Some(cookie), &error);
                return None;
            }
        };
        // One who reads slower than is asked loses the rest: it comes again.
        if self.shared.events().capacity() == 0 {
            self.shared.count(|tally| tally.crowded += 1);
            self.shared.dropped(remote, &cookie);
            return None;
        }
        let asked = Asked { local, remote, cookie: cookie.clone(), form };
        match self.shared.enter(Taken::Datagram(asked)) {
            Ok(number) => Some(NgRequest { number, from: remote, request }),
            Err(_) => {
                self.shared.dropped(remote, &cookie);
                None
            }
        }
    }

    fn failed(&self, _: SocketAddr, _: SocketAddr, _: &io::Error) -> Option<NgRequest> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_little_more_than_a_few_times_what_it_sent() {
        let start = Instant::now();
        let mut budget = Budget::default();
        let source: IpAddr = [192, 0, 2, 1].into();
        let (mut sent, mut got) = (0u64, 0u64);
        for n in 0..10_000u64 {
            let now = start + Duration::from_millis(n);
            budget.received(now, source, 60);
            sent += 60;
            if budget.spend(now, source, 60_000) {
                got += 60_000;
            }
        }
        // Ten seconds.
        assert!(got > 0 && got <= sent * FACTOR + BURST + 10 * RATE + 60_000, "{got} for {sent}");
    }

    #[test]
    fn sources_are_bounded_and_forgotten() {
        let start = Instant::now();
        let mut budget = Budget::default();
        for n in 0..u32::try_from(SOURCES).unwrap() + 10 {
            budget.received(start, IpAddr::V4(n.into()), 10);
        }
        assert_eq!(budget.sources.len(), SOURCES);
        assert!(!budget.spend(start, [255, 0, 0, 1].into(), 1));
        assert!(budget.spend(start + Duration::from_secs(61), [255, 0, 0, 1].into(), 1));
        assert_eq!(budget.sources.len(), 1);
    }

    #[test]
    fn rubbish_is_answered_a_few_times_a_second() {
        let now = Instant::now();
        let mut budget = Budget::default();
        assert_eq!((0..1_000).filter(|_| budget.is_courteous(now)).count(), COURTESY as usize);
        assert!(budget.is_courteous(now + Duration::from_secs(1)));
    }
}
