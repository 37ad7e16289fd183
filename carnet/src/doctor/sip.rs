//! Next hops: found as requests would be (RFC 3263), and asked with OPTIONS (RFC 3261 §11).

use super::report::Report;
use crate::roles::tls;
use carnet_net::{OsRandom, Resolver};
use carnet_ops::config::{Bind, Config, TlsSection};
use carnet_sip::{Hop, Search, Transport, Uri};
use carnet_tls::{CertificateContext, Peer};
use carnet_wire::Random;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// RFC 3261 §17.1.2.2: T1, doubled each time.
const T1: Duration = Duration::from_millis(500);
/// Octets of an answer.
const MOST: usize = 65_536;

/// One neighbour.
pub struct Neighbour<'a> {
    /// Where it is named.
    pub at: String,
    /// How it is reached.
    pub uri: String,
    /// Sockets of the same network, whose addresses the neighbour knows.
    pub listen: &'a [Bind],
    /// What it is shown, and who vouches for it; `None` where TLS is not spoken.
    pub tls: Option<CertificateContext>,
}

/// Asks all of them.
pub async fn look(config: &Config, resolver: &Resolver, report: &mut Report) {
    for neighbour in &neighbours(config) {
        one(neighbour, resolver, report).await;
    }
}

/// Asks one.
pub async fn one(neighbour: &Neighbour<'_>, resolver: &Resolver, report: &mut Report) {
    report.looked("next hops");
    let Ok(uri) = Uri::parse(&neighbour.uri) else { return };
    let hops = find(&uri, resolver).await;
    if hops.is_empty() {
        let what = format!("{} does not resolve", neighbour.uri);
        let fix = format!("correct `next-hop`, or what DNS says of {}", uri.host());
        return report.fault("name-unresolved", &neighbour.at, what, fix);
    }
    let mut failures = Vec::new();
    for hop in hops.iter().take(3) {
        match ask(neighbour, &uri, hop).await {
            Ok(status) => {
                answered(neighbour, hop, status, report);
                failures.clear();
                break;
            }
            Err(why) => failures.push(format!("{} {}: {why}", name(hop.transport), hop.remote)),
        }
    }
    if !failures.is_empty() {
        let what = format!("{} cannot be reached: {}", neighbour.uri, failures.join("; "));
        let fix = "see that it runs, that it lets this host in, and that no firewall is in between";
        report.fault("next-hop-unreachable", &neighbour.at, what, fix);
    }
}

/// It is there. Whether it minds us is another question.
fn answered(neighbour: &Neighbour<'_>, hop: &Hop, status: u16, report: &mut Report) {
    if matches!(status, 401 | 403 | 407 | 408 | 500..=599) {
        let what = format!(
            "{} answers OPTIONS with {status} over {} {}",
            neighbour.uri,
            name(hop.transport),
            hop.remote
        );
        let fix =
            "see whether it lets this host in and is in service; whoever only minds OPTIONS is no trouble";
        report.warning("next-hop-refuses", &neighbour.at, what, fix);
    }
}

fn neighbours(config: &Config) -> Vec<Neighbour<'_>> {
    let mut all = Vec::new();
    for (name, border) in &config.border {
        let border = border.as_ref();
        let listen =
            |network: &str| border.network.get(network).map_or(&[][..], |n| n.as_ref().listen.as_ref());
        for route in border.route.iter().map(|route| route.as_ref()) {
            if let Some(hop) = &route.next_hop {
                let at = format!("border.{name}.route.{}", route.domain);
                let listen = listen(route.network.as_ref());
                all.push(Neighbour { at, uri: hop.clone(), listen, tls: context(border.tls.as_ref()) });
            }
        }
        if let Some(registrar) = border.registrar.as_ref().map(|registrar| registrar.as_ref())
            && let Some(hop) = &registrar.next_hop
        {
            let listen = registrar.network.as_ref().map_or(&[][..], |network| listen(network.as_ref()));
            let at = format!("border.{name}.registrar.next-hop");
            all.push(Neighbour { at, uri: hop.clone(), listen, tls: context(border.tls.as_ref()) });
        }
    }
    for (name, server) in &config.conference {
        let server = server.as_ref();
        if let Some(hop) = &server.next_hop {
            let (at, uri) = (format!("conference.{name}.next-hop"), hop.as_ref().clone());
            all.push(Neighbour {
                at,
                uri,
                listen: server.listen.as_ref(),
                tls: context(server.tls.as_ref()),
            });
        }
    }
    // One that several routes lead to is asked once.
    let mut seen = Vec::new();
    all.retain(|neighbour| {
        let key = (neighbour.uri.clone(), neighbour.listen.first().copied());
        let new = !seen.contains(&key);
        seen.push(key);
        new
    });
    all
}

/// What is wrong with its files is `carnet check`'s.
fn context(section: Option<&TlsSection>) -> Option<CertificateContext> {
    section.and_then(|section| tls::context_of(section).ok())
}

async fn find(uri: &Uri, resolver: &Resolver) -> Vec<Hop> {
    let Some(mut search) = Search::new(uri, &[Transport::Udp, Transport::Tcp, Transport::Tls]) else {
        return Vec::new();
    };
    loop {
        match search.question() {
            Ok(question) => {
                let answer = resolver.answer(&question).await;
                search.answer(answer, &mut OsRandom);
            }
            Err(hops) => return hops,
        }
    }
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    }
}

/// The status of the answer.
async fn ask(neighbour: &Neighbour<'_>, uri: &Uri, hop: &Hop) -> Result<u16, String> {
    let asked = async {
        // From an address that the neighbour knows, and any port.
        let own = neighbour.listen.iter().map(|bind| bind.address.ip());
        let own = own.into_iter().find(|ip| ip.is_ipv4() == hop.remote.is_ipv4());
        let any: IpAddr = match hop.remote {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let own = SocketAddr::new(own.unwrap_or(any), 0);
        if hop.transport == Transport::Udp {
            return by_datagrams(uri, hop, own).await;
        }
        let words = |e: std::io::Error| e.to_string();
        let socket = if own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(words)?;
        socket.bind(own).map_err(words)?;
        let stream = socket.connect(hop.remote).await.map_err(words)?;
        let local = stream.local_addr().map_err(words)?;
        if hop.transport == Transport::Tcp {
            return by_stream(stream, &options(uri, hop.transport, local)).await;
        }
        let context = neighbour.tls.as_ref().ok_or("TLS needs certificate and key")?;
        let host = hop.server_name.clone().unwrap_or_else(|| uri.host().trim_matches(['[', ']']).to_owned());
        let connected = context.connect(stream, &Peer::Named(host)).await;
        let (stream, _) = connected.map_err(|e| e.to_string())?;
        by_stream(stream, &options(uri, hop.transport, local)).await
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("no answer".into()))
}

async fn by_datagrams(uri: &Uri, hop: &Hop, own: SocketAddr) -> Result<u16, String> {
    let words = |e: std::io::Error| e.to_string();
    let socket = UdpSocket::bind(own).await.map_err(words)?;
    socket.connect(hop.remote).await.map_err(words)?;
    let question = options(uri, hop.transport, socket.local_addr().map_err(words)?);
    let mut wait = T1;
    let mut answer = vec![0; MOST];
    loop {
        socket.send(question.as_bytes()).await.map_err(words)?;
        match tokio::time::timeout(wait, socket.recv(&mut answer)).await {
            Ok(received) => {
                let length = received.map_err(words)?;
                if let Some(status) = status(answer.get(..length).unwrap_or_default()) {
                    return Ok(status);
                }
            }
            Err(_) => wait *= 2,
        }
    }
}

async fn by_stream<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, question: &str) -> Result<u16, String> {
    let words = |e: std::io::Error| e.to_string();
    stream.write_all(question.as_bytes()).await.map_err(words)?;
    let mut answer = Vec::new();
    loop {
        if let Some(status) = status(&answer) {
            return Ok(status);
        }
        let mut more = [0; 2048];
        let length = stream.read(&mut more).await.map_err(words)?;
        if length == 0 || answer.len() > MOST {
            return Err("what it answers is not SIP".into());
        }
        answer.extend_from_slice(more.get(..length).unwrap_or_default());
    }
}

/// The status of the first final response in there.
fn status(octets: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(octets);
    text.lines().filter_map(|line| line.strip_prefix("SIP/2.0 ")).find_map(|rest| {
        let status: u16 = rest.get(..3)?.parse().ok()?;
        (200..700).contains(&status).then_some(status)
    })
}

fn options(uri: &Uri, transport: Transport, own: SocketAddr) -> String {
    let target = uri.without_headers();
    let (mut random, via) = (OsRandom, name(transport));
    let word = |n: u64| format!("{n:016x}");
    let (branch, tag, call) = (word(random.u64()), word(random.u64()), word(random.u64()));
    let mut text = format!("OPTIONS {} SIP/2.0\r\n", target.as_str());
    let _ = write!(
        text,
        "Via: SIP/2.0/{via} {own};rport;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:doctor@{own}>;tag={tag}\r\nTo: <{}>\r\nCall-ID: {call}\r\nCSeq: 1 OPTIONS\r\n\
         Contact: <sip:doctor@{own}>\r\nAccept: application/sdp\r\nUser-Agent: carnet doctor\r\nContent-Length: 0\r\n\r\n",
        target.as_str()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provisional_responses_are_no_answer() {
        assert_eq!(status(b"SIP/2.0 100 Trying\r\n\r\nSIP/2.0 200 OK\r\n"), Some(200));
        assert_eq!(status(b"SIP/2.0 100 Trying\r\n\r\n"), None);
        assert_eq!(status(b"HTTP/1.1 400 Bad\r\n"), None);
    }

    #[test]
    fn the_question_is_one_that_our_own_parser_takes() {
        let uri = Uri::parse("sip:10.1.0.3:5070;transport=tcp").unwrap();
        let text = options(&uri, Transport::Tcp, "10.1.0.1:1234".parse().unwrap());
        let parsed = carnet_sip::Message::parse(text.clone().into(), &carnet_sip::Limits::default());
        assert!(parsed.is_ok(), "{parsed:?} {text}");
    }
}
