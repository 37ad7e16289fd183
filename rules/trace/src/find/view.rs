//! A session as the rules look at it: hops of requests with their answers, connections.

use crate::model::{ClientHello, Entry, Fact, Happened, Line, Msrp, Opened, Sdp, Session, Sip, Tcp, Tls};
use std::net::SocketAddr;
use std::time::Duration;

/// A session, looked at.
pub(super) struct View<'a> {
    pub session: &'a Session,
    /// The first INVITE, hop by hop, in the order of time.
    pub hops: Vec<Hop<'a>>,
    /// Connections that are not signalling.
    pub connections: Vec<Connection<'a>>,
    /// When the session's last entry was seen.
    pub end: Duration,
}

/// A request at one hop, with its answers there.
pub(super) struct Hop<'a> {
    pub at: usize,
    pub entry: &'a Entry,
    pub sip: &'a Sip,
    /// Answers in order.
    pub answers: Vec<(usize, &'a Entry, &'a Sip)>,
}

impl<'a> Hop<'a> {
    /// The final answer.
    pub fn last(&self) -> Option<(usize, &'a Entry, &'a Sip)> {
        self.answers.iter().rev().find(|(_, _, sip)| sip.status.is_some_and(|s| s >= 200)).copied()
    }

    /// The description that answers this hop's.
    pub fn answer(&self) -> Option<(usize, &'a Entry, &'a Sdp)> {
        let described = |(at, entry, sip): &(usize, &'a Entry, &'a Sip)| {
            let good = sip.status.is_some_and(|s| s < 300);
            sip.sdp.as_ref().filter(|_| good).map(|sdp| (*at, *entry, sdp))
        };
        self.answers.iter().rev().find_map(described)
    }
}

/// A connection of the session's own.
#[derive(Default)]
pub(super) struct Connection<'a> {
    pub client: Option<SocketAddr>,
    pub server: Option<SocketAddr>,
    pub client_host: usize,
    pub server_host: usize,
    /// The first entry.
    pub first: usize,
    pub at: Duration,
    pub open: Option<(usize, Opened, u32)>,
    pub hello: Option<(usize, &'a ClientHello)>,
    pub server_hello: Option<(usize, &'a str, &'a str, bool)>,
    pub alerts: Vec<(usize, &'a Entry, &'a str, u8)>,
    pub certificates: Vec<(usize, &'a str)>,
    /// Octets sealed, by the client and by the server.
    pub sealed: [u64; 2],
    pub msrp: Vec<(usize, &'a Entry, &'a Msrp)>,
    pub finished: bool,
    pub reset: Option<usize>,
    pub midway: bool,
    pub lost: u64,
    pub other: u64,
}

impl<'a> View<'a> {
    pub fn of(session: &'a Session) -> Self {
        let end = session.entries.iter().map(|entry| entry.last).max().unwrap_or_default();
        Self { session, hops: hops(session), connections: connections(session), end }
    }

    /// Entries with their places.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &'a Entry)> + Clone {
        self.session.entries.iter().enumerate()
    }

    /// Messages of SIP with their places.
    pub fn sip(&self) -> impl Iterator<Item = (usize, &'a Entry, &'a Sip)> + Clone {
        self.entries().filter_map(|(at, entry)| match &entry.fact {
            Fact::Sip(sip) => Some((at, entry, &**sip)),
            _ => None,
        })
    }

    /// What a host is called, with its address at hand.
    pub fn name(&self, host: usize, address: SocketAddr) -> String {
        let Some(host) = self.session.hosts.get(host) else { return address.to_string() };
        let place = (!crate::listen::is_place(address)).then(|| address.to_string());
        let words: Vec<&str> = [host.role.as_str(), place.as_deref().unwrap_or_default()]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        match (host.name.as_str(), words.as_slice()) {
            ("", [role, address]) => format!("{role} ({address})"),
            ("", words) => words.join(" "),
            (name, []) => name.to_owned(),
            (name, words) => format!("{name} ({})", words.join(" ")),
        }
    }

    pub fn sender(&self, entry: &Entry) -> String {
        self.name(entry.from_host, entry.from)
    }

    pub fn receiver(&self, entry: &Entry) -> String {
        self.name(entry.to_host, entry.to)
    }

    /// Lines of TCP that both sides took.
    pub fn agreed(&self) -> Vec<(&'a Line, &'a Line)> {
        self.hops
            .iter()
            .filter_map(|hop| Some((hop.sip.sdp.as_ref()?, hop.answer()?.2)))
            .flat_map(|(offer, answer)| offer.lines.iter().zip(&answer.lines))
            .filter(|(offer, answer)| offer.is_tcp() && offer.port != 0 && answer.port != 0)
            .collect()
    }

    /// What nodes said of themselves.
    pub fn events(&self) -> impl Iterator<Item = (usize, &'a Entry, &'a Happened)> + Clone {
        self.entries().filter_map(|(at, entry)| match &entry.fact {
            Fact::Event(event) => Some((at, entry, &**event)),
            _ => None,
        })
    }

    /// Whether nodes told of it: then media went by unseen.
    pub fn is_told(&self) -> bool {
        self.session.entries.iter().any(|entry| entry.from_node.is_some() || entry.to_node.is_some())
    }

    /// Whether somebody asked for end-to-access-edge security: then TLS ends at borders, and that is no fault.
    pub fn is_to_edge(&self) -> bool {
        let sdps = self.sip().filter_map(|(_, _, sip)| sip.sdp.as_ref());
        sdps.flat_map(|sdp| &sdp.lines).any(|line| line.to_edge)
    }
}

fn hops(session: &Session) -> Vec<Hop<'_>> {
    let mut out: Vec<Hop<'_>> = Vec::new();
    for (at, entry) in session.entries.iter().enumerate() {
        let Fact::Sip(sip) = &entry.fact else { continue };
        if sip.is_request("INVITE") && !sip.in_dialog {
            out.push(Hop { at, entry, sip, answers: Vec::new() });
        } else if sip.status.is_some() && sip.method == "INVITE" {
            let of = |hop: &&mut Hop<'_>| {
                hop.sip.branch == sip.branch
                    && hop.sip.cseq == sip.cseq
                    && hop.sip.call_id == sip.call_id
                    && (hop.entry.from.ip() == entry.to.ip() || hop.entry.from_host == entry.to_host)
            };
            if let Some(hop) = out.iter_mut().rev().find(of) {
                hop.answers.push((at, entry, sip));
            }
        }
    }
    out
}

fn connections(session: &Session) -> Vec<Connection<'_>> {
    let mut out: Vec<Connection<'_>> = Vec::new();
    for (at, entry) in session.entries.iter().enumerate() {
        if !matches!(entry.fact, Fact::Tcp(_) | Fact::Tls(_) | Fact::Msrp(_) | Fact::Floor(_)) {
            continue;
        }
        if matches!(entry.way, crate::Way::Udp) {
            continue;
        }
        let ends = (Some(entry.from), Some(entry.to));
        let known = |c: &Connection<'_>| (c.client, c.server) == ends || (c.server, c.client) == ends;
        let opens = matches!(entry.fact, Fact::Tcp(Tcp::Open(_) | Tcp::Midway));
        let place = match out.iter().rposition(known).filter(|_| !opens) {
            Some(place) => place,
            None => {
                out.push(Connection {
                    client: Some(entry.from),
                    server: Some(entry.to),
                    client_host: entry.from_host,
                    server_host: entry.to_host,
                    first: at,
                    at: entry.at,
                    ..Connection::default()
                });
                out.len() - 1
            }
        };
        if let Some(connection) = out.get_mut(place) {
            connection.learn(at, entry);
        }
    }
    out
}

impl<'a> Connection<'a> {
    fn learn(&mut self, at: usize, entry: &'a Entry) {
        let side = usize::from(Some(entry.from) != self.client);
        match &entry.fact {
            Fact::Tcp(tcp) => match tcp {
                Tcp::Open(how) => self.open = Some((at, *how, entry.times)),
                Tcp::Finished => self.finished = true,
                Tcp::Reset => self.reset = self.reset.or(Some(at)),
                Tcp::Midway => self.midway = true,
                Tcp::Lost(octets) => self.lost += octets,
                Tcp::Unknown(octets) => self.other += octets,
            },
            Fact::Tls(tls) => match &**tls {
                Tls::ClientHello(hello) => self.hello = self.hello.or(Some((at, hello))),
                Tls::ServerHello { version, suite, psk, .. } => {
                    self.server_hello = Some((at, version, suite, *psk));
                }
                Tls::Alert { code, name, .. } => self.alerts.push((at, entry, name, *code)),
                Tls::Certificate { fingerprint, .. } => self.certificates.push((at, fingerprint)),
                Tls::Sealed { octets, .. } => {
                    if let Some(sum) = self.sealed.get_mut(side) {
                        *sum += octets;
                    }
                }
                Tls::PskIdentity(_) | Tls::Handshake(_) => {}
            },
            Fact::Msrp(msrp) => self.msrp.push((at, entry, msrp)),
            _ => {}
        }
    }

    /// Whether it came about.
    pub fn is_open(&self) -> bool {
        self.midway || matches!(self.open, Some((_, Opened::Accepted, _)))
    }
}
