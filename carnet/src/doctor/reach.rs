//! Those whom the roles need: controllers of gateways, the key management service; and names that others go by.

use super::host::skew;
use super::report::Report;
use crate::kms::client::ServerTrust;
use crate::node::{NodeError, reach_kms};
use crate::roles::{conference, control};
use crate::ue::kms::KmsLink;
use carnet_client::FetchPurpose;
use carnet_h248::MId;
use carnet_mikey::{Error as MikeyError, Identity, Profile, Psk, registry::error_no, request_init};
use carnet_net::{OsRandom, Resolver};
use carnet_ops::config::{Config, ControlAddress, ControlProto, GatewaySection, Host};
use carnet_sip::{Answer, Ask, Uri};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};
use tokio::net::{TcpStream, UdpSocket};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a datagram that nobody takes may come back for.
const REFUSAL: Duration = Duration::from_millis(700);

/// Names in the file that others, or the roles, look up. Next hops are looked up when they are asked.
pub async fn names(config: &Config, resolver: &Resolver, report: &mut Report) {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, border) in &config.border {
        for (network, section) in &border.as_ref().network {
            let contact = section.as_ref().contact.as_deref().and_then(|uri| Uri::parse(uri).ok());
            all.extend(
                contact
                    .map(|uri| (format!("border.{name}.network.{network}.contact"), uri.host().to_owned())),
            );
        }
    }
    for (name, server) in &config.conference {
        let contact = server.as_ref().contact.as_ref().and_then(|uri| Uri::parse(uri.as_ref()).ok());
        all.extend(contact.map(|uri| (format!("conference.{name}.contact"), uri.host().to_owned())));
    }
    for (name, gateway) in &config.gateway {
        let host = gateway.as_ref().relay.as_ref().and_then(|relay| relay.as_ref().host.as_ref());
        all.extend(host.map(|host| (format!("gateway.{name}.relay.host"), host.as_ref().clone())));
    }
    if !all.is_empty() {
        report.looked("names");
    }
    for (at, host) in all {
        if carnet_sip::host_ip(&host).is_none() && addresses(&host, resolver).await.is_empty() {
            let what = format!("{host} does not resolve: others cannot come back to it");
            report.warning("name-unresolved", &at, what, "have DNS say it, or name an address");
        }
    }
}

/// A name's addresses; none where it has none.
async fn addresses(host: &str, resolver: &Resolver) -> Vec<IpAddr> {
    // The system knows names that DNS does not: those of its own file.
    let mut found: Vec<IpAddr> = tokio::net::lookup_host((host, 0))
        .await
        .map(|found| found.map(|address| address.ip()).collect())
        .unwrap_or_default();
    if found.is_empty()
        && let Answer::Addresses(more) = resolver.answer(&Ask::Address(host.to_owned())).await
    {
        found = more;
    }
    found
}

/// Those who control the gateways of the file from other processes.
pub async fn controllers(config: &Config, resolver: &Resolver, report: &mut Report) {
    for (name, gateway) in &config.gateway {
        let gateway = gateway.as_ref();
        for owner in gateway.owners(name) {
            let ControlAddress::Remote { name: controller, proto, host, port } = &owner else { continue };
            report.looked("controllers");
            let at = format!("gateway.{name}.controllers");
            let port = port.unwrap_or_else(|| control::registered_port(gateway.control_encoding));
            let found = match host {
                Host::Ip(ip) => vec![*ip],
                Host::Name(host) => addresses(host, resolver).await,
            };
            if found.is_empty() {
                let what = format!("the host of controller {owner} does not resolve");
                report.fault("name-unresolved", &at, what, "correct it, or what DNS says of it");
                continue;
            }
            let mut failures = Vec::new();
            for ip in found {
                match controller_at(name, gateway, controller, *proto, SocketAddr::new(ip, port)).await {
                    Ok(()) => {
                        failures.clear();
                        break;
                    }
                    Err(why) => failures.push(why),
                }
            }
            if !failures.is_empty() {
                let what = format!("controller {owner} cannot be reached: {}", failures.join("; "));
                let fix = "see that it runs and listens there (`control.listen`), that both ends hold the same keys or \
                           authorities, and that no firewall is in between";
                report.fault("controller-unreachable", &at, what, fix);
            }
        }
    }
}

async fn controller_at(
    name: &str,
    gateway: &GatewaySection,
    controller: &str,
    proto: ControlProto,
    address: SocketAddr,
) -> Result<(), String> {
    let words = |e: std::io::Error| format!("{address}: {e}");
    match proto {
        // No socket of ours speaks it without the gateway around it.
        ControlProto::Sctp => Ok(()),
        ControlProto::Udp => {
            let any: SocketAddr =
                if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 16], 0).into() };
            let socket = UdpSocket::bind(any).await.map_err(words)?;
            socket.connect(address).await.map_err(words)?;
            // An acknowledgement of what was never said changes nothing (H.248.1 §8.2.2), and if nobody is there, the host says so.
            socket.send(b"!/1 [0.0.0.0] K{1}").await.map_err(words)?;
            let mut answer = [0; 2048];
            match tokio::time::timeout(REFUSAL, socket.recv(&mut answer)).await {
                Ok(Err(error)) => Err(words(error)),
                _ => Ok(()),
            }
        }
        ControlProto::Tcp | ControlProto::Tls => {
            let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
            let stream = connected.map_err(|_| format!("{address}: no answer"))?.map_err(words)?;
            let (ControlProto::Tls, Some(section)) = (proto, &gateway.control_tls) else { return Ok(()) };
            let peers = [controller.to_owned()];
            let tls =
                control::tls(section.as_ref(), Some(name), &peers).map_err(|wrong| wrong.to_string())?;
            let proven =
                tokio::time::timeout(PATIENCE, tls.prove(stream, &MId::domain(controller.to_owned()))).await;
            proven
                .map_err(|_| format!("{address}: TLS takes too long"))?
                .map_err(|why| format!("{address}: {why}"))
        }
    }
}

/// The key management services that conference servers have accounts with.
pub async fn kms(config: &Config, report: &mut Report) {
    for (name, server) in &config.conference {
        let server = server.as_ref();
        let Some(section) = server.kms.as_ref().map(|kms| kms.as_ref()) else { continue };
        // What keeps these from being made is `carnet check`'s.
        let (Ok(account), Ok(link), Ok(trust)) = (
            conference::account(server, section),
            conference::kms_link(section),
            conference::kms_trust(section),
        ) else {
            continue;
        };
        let account = Account {
            url: section.url.as_ref(),
            trust,
            link,
            me: section.account.as_ref(),
            key_name: &account.psk_id,
            key: &account.psk,
            kms: &account.kms,
            profile: &account.profile,
        };
        one_kms(&format!("conference.{name}.kms"), &account, report).await;
    }
}

/// An account with a key management service.
pub struct Account<'a> {
    /// Where the service is.
    pub url: &'a str,
    /// Who vouches for it.
    pub trust: ServerTrust,
    /// The way to it.
    pub link: KmsLink,
    /// Whose account it is: a URI.
    pub me: &'a str,
    /// The name of the key.
    pub key_name: &'a [u8],
    /// The key.
    pub key: &'a Psk,
    /// The service's name in tickets.
    pub kms: &'a str,
    /// How its messages are written.
    pub profile: &'a Profile,
}

/// Whether the service is there, proves who it is, has the same time, and knows the account.
pub async fn one_kms(at: &str, account: &Account<'_>, report: &mut Report) {
    report.looked("key management service");
    let (url, asked) = (account.url, SystemTime::now());
    let node = match reach_kms(url, &account.trust) {
        Ok(node) => node,
        Err(why) => {
            return report.fault("kms-unreachable", at, why, "correct its URL, authority or fingerprint");
        }
    };
    // Whatever it says of this path: it is there, has proven who it is, and tells the time.
    match node.ask("/").await {
        Ok(answer) => skew(at, answer.date.as_deref(), asked, report),
        Err(error) => {
            let what = format!("{url} {error}");
            let fix = match &error {
                NodeError::Unreachable(why) if why.contains("certificate") => refused_certificate(why),
                _ => "see that it runs, that its URL is right, and that no firewall is in between",
            };
            return report.fault("kms-unreachable", at, what, fix);
        }
    }
    credentials(at, account, report).await;
}

/// What to do about a certificate, by what OpenSSL says of it.
fn refused_certificate(why: &str) -> &'static str {
    let why = why.to_ascii_lowercase();
    if why.contains("expired") {
        "its certificate is over, or the clock of this host is ahead (`date -u`): have it made anew, put it in place there and reload"
    } else if why.contains("not valid yet") {
        "the clock of this host is behind (`date -u`), or the certificate begins later"
    } else if why.contains("mismatch") {
        "its certificate is good for other names than the host in the URL: name one of those, or have it made with this one as subjectAltName"
    } else {
        "the file of authorities has to hold the one of its certificate, which has to be good for the host in the URL"
    }
}

/// Asks for a ticket to oneself: that is answered only to who has the key.
async fn credentials(at: &str, account: &Account<'_>, report: &mut Report) {
    let (Ok(me), Ok(kms)) = (Identity::from_uri(account.me), Identity::from_uri(account.kms)) else { return };
    let now = SystemTime::now();
    let (pending, octets) =
        request_init(account.profile, now, &mut OsRandom, &me, account.key_name, account.key, &kms, &me);
    let why = match account.link.ask(FetchPurpose::Ticket, octets).await {
        Err((_, why)) => why,
        Ok(answer) => match pending.response(&answer, SystemTime::now()) {
            Ok(_) => return,
            Err(MikeyError::Refused { number: error_no::INVALID_TS, .. }) => {
                let what = "it refuses the time of requests: the clocks differ by more than its `skew`";
                return report.fault("clock-skew", at, what, "have both hosts keep their clocks");
            }
            // Nothing is wrong with the account.
            Err(MikeyError::Refused { number: error_no::UNSPECIFIED, .. }) => {
                let what = "it has trouble of its own, and gives nobody a ticket";
                let fix = "its log says why: a disk that is full, as a rule; `carnet doctor` on its host looks for that";
                return report.fault("kms-trouble", at, what, fix);
            }
            Err(error) => error.to_string(),
        },
    };
    let what = format!("the account {} is not accepted: {why}", account.me);
    let fix = "compare account and key with `carnet kms user list` there, and its rules with `carnet kms policy show`; \
               `carnet kms user add` makes a new key";
    report.fault("kms-credentials", at, what, fix);
}
