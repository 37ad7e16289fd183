//! From a URI to the servers behind it (RFC 3263). The driver asks DNS; this decides what to
//! ask and in which order the answers are tried.
//!
//! Left out: `tel` and other schemes, which need a routing decision first.

use crate::hop::{Hop, Transport};
use crate::uri::{Scheme, Uri, host_ip};
use carnet_wire::Random;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// A question for DNS, answered by `Endpoint::handle_answer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Names the question.
    pub id: QueryId,
    /// The question.
    pub ask: Ask,
}

/// Names a [`Query`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId(pub(crate) u64);

/// What to look up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask {
    /// NAPTR records of a domain.
    Naptr(String),
    /// SRV records of a name such as `_sip._tcp.example.com`.
    Srv(String),
    /// A and AAAA records of a host.
    Address(String),
}

/// What DNS said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// NAPTR records.
    Naptr(Vec<Naptr>),
    /// SRV records.
    Srv(Vec<Srv>),
    /// Addresses, in the order to try them.
    Addresses(Vec<IpAddr>),
    /// No such name, no such records, or no answer.
    Nothing,
}

/// A NAPTR record, as far as RFC 3263 needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naptr {
    /// Lower first.
    pub order: u16,
    /// Lower first among equal order.
    pub preference: u16,
    /// `s` means that `replacement` has SRV records.
    pub flags: String,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T` ...
    pub service: String,
    /// The name to ask for next.
    pub replacement: String,
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Share among equal priority.
    pub weight: u16,
    /// Port of the service.
    pub port: u16,
    /// Host of the service.
    pub target: String,
}

/// Most servers tried for one target, and most questions asked.
const MOST: usize = 16;

#[derive(Debug)]
enum Step {
    Naptr { domain: String, secure: bool },
    Srv { name: String, transport: Transport },
    Address { host: String, port: u16, transport: Transport },
}

/// A search for the servers of a URI (RFC 3263 §4), for who is no endpoint and asks by himself.
#[derive(Debug)]
pub struct Search {
    steps: VecDeque<Step>,
    /// Steps for when the ones before found nothing.
    fallback: Vec<Step>,
    hops: Vec<Hop>,
    asked: usize,
    /// The domain a TLS certificate must carry: the URI's, not what DNS made of it (RFC 5922 §4).
    domain: String,
    transports: Vec<Transport>,
}

fn srv_name(transport: Transport, domain: &str) -> String {
    match transport {
        Transport::Udp => format!("_sip._udp.{domain}"),
        Transport::Tcp => format!("_sip._tcp.{domain}"),
        Transport::Tls => format!("_sips._tcp.{domain}"),
    }
}

impl Search {
    /// A search for the servers of `uri`; `None` if it cannot have any.
    #[must_use]
    pub fn new(uri: &Uri, transports: &[Transport]) -> Option<Self> {
        let secure = match uri.scheme() {
            Scheme::Sip => false,
            Scheme::Sips => true,
            _ => return None,
        };
        let host = uri.param("maddr").filter(|m| !m.is_empty()).unwrap_or_else(|| uri.host()).to_owned();
        // RFC 3263 §4.1; sips with transport=tcp is TLS over TCP (RFC 3261 §26.2.2).
        let wanted = match (secure, uri.param("transport").map(Transport::parse)) {
            (true, None | Some(Some(Transport::Tcp | Transport::Tls))) => Some(Transport::Tls),
            (false, Some(Some(transport))) => Some(transport),
            (false, None) => None,
            _ => return None,
        };
        if wanted.is_some_and(|t| !transports.contains(&t)) {
            return None;
        }
        let plain = wanted.or_else(|| Self::first_plain(transports))?;
        let mut search = Self {
            steps: VecDeque::new(),
            fallback: Vec::new(),
            hops: Vec::new(),
            asked: 0,
            domain: host.clone(),
            transports: transports.to_vec(),
        };
        if let Some(ip) = host_ip(&host) {
            let port = uri.port().unwrap_or(plain.default_port());
            search.add(plain, SocketAddr::new(ip, port));
            return Some(search);
        }
        let address = |port: u16| Step::Address { host: host.clone(), port, transport: plain };
        match (uri.port(), uri.param("transport")) {
            (Some(port), _) => search.steps.push_back(address(port)),
            (None, Some(_)) => {
                search.steps.push_back(Step::Srv { name: srv_name(plain, &host), transport: plain });
                search.fallback.push(address(plain.default_port()));
            }
            (None, None) => {
                search.steps.push_back(Step::Naptr { domain: host.clone(), secure });
                search.fallback.push(address(plain.default_port()));
            }
        }
        Some(search)
    }

    /// UDP where nothing else is said (RFC 3263 §4.1), if this element has it.
    fn first_plain(transports: &[Transport]) -> Option<Transport> {
        let udp = transports.iter().find(|t| **t == Transport::Udp);
        udp.or_else(|| transports.iter().find(|t| **t == Transport::Tcp)).or(transports.first()).copied()
    }

    fn add(&mut self, transport: Transport, remote: SocketAddr) {
        if self.hops.len() < MOST {
            // A certificate names an IPv6 address without the brackets it has in a URI.
            let name = self.domain.trim_start_matches('[').trim_end_matches(']');
            let server_name = (transport == Transport::Tls).then(|| name.to_owned());
            self.hops.push(Hop { server_name, ..Hop::new(transport, remote) });
        }
    }

    /// The next question, which [`Search::answer`] is to be given the answer of.
    ///
    /// # Errors
    /// There is none: the servers in the order to try them, none if it found none.
    pub fn question(&mut self) -> Result<Ask, Vec<Hop>> {
        self.next()
    }

    /// The next question, or the servers in the order to try them (none if it found none).
    pub(crate) fn next(&mut self) -> Result<Ask, Vec<Hop>> {
        if self.steps.is_empty() && self.hops.is_empty() {
            self.steps.extend(self.fallback.drain(..));
        }
        self.asked += 1;
        match self.steps.front() {
            Some(_) if self.asked > MOST => Err(std::mem::take(&mut self.hops)),
            Some(Step::Naptr { domain, .. }) => Ok(Ask::Naptr(domain.clone())),
            Some(Step::Srv { name, .. }) => Ok(Ask::Srv(name.clone())),
            Some(Step::Address { host, .. }) => Ok(Ask::Address(host.clone())),
            None => Err(std::mem::take(&mut self.hops)),
        }
    }

    /// Takes the answer to the last question. An answer of another kind counts as none.
    pub fn answer(&mut self, answer: Answer, random: &mut dyn Random) {
        match (self.steps.pop_front(), answer) {
            (Some(Step::Naptr { domain, secure }), answer) => {
                let records = if let Answer::Naptr(records) = answer { records } else { Vec::new() };
                self.naptr(records, &domain, secure);
            }
            (Some(Step::Srv { transport, .. }), Answer::Srv(records)) => {
                if !records.is_empty() {
                    // RFC 3263 §4.2: the host itself is asked only if there are no SRV records. RFC
                    // 2782: the target `.` says that there is no such service.
                    self.fallback.clear();
                }
                let found = order(records, random).into_iter().take(MOST);
                let steps = found.map(|s| Step::Address { host: s.target, port: s.port, transport });
                let mut steps: VecDeque<_> = steps.collect();
                steps.append(&mut self.steps);
                self.steps = steps;
            }
            (Some(Step::Address { port, transport, .. }), Answer::Addresses(all)) => {
                all.into_iter().for_each(|ip| self.add(transport, SocketAddr::new(ip, port)));
            }
            _ => {}
        }
    }

    fn naptr(&mut self, mut records: Vec<Naptr>, domain: &str, secure: bool) {
        records.sort_by_key(|r| (r.order, r.preference));
        let known = self.transports.clone();
        let service = |r: &Naptr| match r.service.to_ascii_uppercase().as_str() {
            "SIP+D2U" if !secure => Some(Transport::Udp),
            "SIP+D2T" if !secure => Some(Transport::Tcp),
            "SIPS+D2T" => Some(Transport::Tls),
            _ => None,
        };
        for record in records.iter().filter(|r| r.flags.eq_ignore_ascii_case("s")) {
            if let Some(transport) = service(record).filter(|t| known.contains(t)) {
                self.steps.push_back(Step::Srv { name: record.replacement.clone(), transport });
            }
        }
        if self.steps.is_empty() {
            // RFC 3263 §4.1: without NAPTR, SRV of each transport this element has.
            for transport in known {
                if !secure || transport == Transport::Tls {
                    self.steps.push_back(Step::Srv { name: srv_name(transport, domain), transport });
                }
            }
        }
        self.steps.truncate(MOST);
    }
}

/// RFC 2782: by priority; among equals at random by weight, weight 0 last but not never.
fn order(mut records: Vec<Srv>, random: &mut dyn Random) -> Vec<Srv> {
    // A single record for the root says that there is no such service.
    records.retain(|r| !r.target.is_empty() && r.target != ".");
    records.sort_by_key(|r| (r.priority, r.weight));
    let mut out = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let group = records.iter().take_while(|r| r.priority == priority);
        let sum: u64 = group.map(|r| u64::from(r.weight)).sum();
        let mut pick = u64::from(random.u32()) % (sum + 1);
        let at = records.iter().position(|r| {
            let hit = pick <= u64::from(r.weight);
            pick = pick.saturating_sub(u64::from(r.weight));
            hit
        });
        out.push(records.remove(at.unwrap_or(0)));
    }
    out
}

#[cfg(test)]
#[path = "locate_tests.rs"]
mod tests;
