//! Gateway control as borders and gateways have it in common: what protects it, from the file; who is told
//! that he is not known, and how often; requests apart from answers, as they may go to different
//! addresses (RFC 3525 §7.2.8).

use carnet_h248::association;
use carnet_h248::authentication::{Algorithm, Authentication, Key, SecurityAssociation};
use carnet_h248::{Body, MId, Message, ServiceChangeAddress, Transaction};
use carnet_net::h248::{ControlTls, ControlTransport, Protection};
use carnet_ops::config::{
    AuthenticationAlgorithm, AuthenticationSection, ControlProto, ControlTlsSection, Encoding248,
};
use carnet_tls::{
    CertificateContext, CertificateSettings, Credential, Keyring, Psk, PskContext, PskKey, PskSettings, Trust,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use zeroize::Zeroizing;

/// The socket's transport.
pub fn transport(proto: ControlProto) -> ControlTransport {
    match proto {
        ControlProto::Udp => ControlTransport::Udp,
        ControlProto::Tcp => ControlTransport::Tcp,
        ControlProto::Tls => ControlTransport::Tls,
        ControlProto::Sctp => ControlTransport::Sctp,
    }
}

/// The port registered for an encoding (RFC 3525 §9).
pub fn registered_port(encoding: Encoding248) -> u16 {
    if encoding == Encoding248::Binary { 2945 } else { 2944 }
}

/// What is wrong with which key of a section.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Wrong {
    pub key: &'static str,
    pub what: String,
}

impl Wrong {
    fn new(key: &'static str) -> impl Fn(String) -> Self {
        move |what| Self { key, what }
    }
}

/// The transaction layer over a transport, as the file says it: the encoding by which sizes are measured,
/// room for the authentication header, the largest datagram, segments.
pub fn association(
    transport: association::Transport,
    encoding: Encoding248,
    authenticated: bool,
    datagram: Option<usize>,
    segments: bool,
) -> association::Config {
    let mut config = association::Config::new(transport);
    config.encoding = super::encoding(encoding);
    config.authenticated = authenticated;
    config.segments = segments;
    config.limits.datagram = datagram.unwrap_or(config.limits.datagram);
    config
}

/// TLS for one who connects with the key or certificate of `own`, if `own` is given; `peers` are those who
/// may be at the other end.
///
/// # Errors
/// What is wrong with which file; no key is ever part of it.
pub fn tls(section: &ControlTlsSection, own: Option<&str>, peers: &[String]) -> Result<ControlTls, Wrong> {
    let named = |peer: &String| {
        let names = section.names.get(peer).map(|names| names.as_ref().clone()).unwrap_or_default();
        (MId::domain(peer.clone()), names)
    };
    let peers = peers.iter().map(named).collect();
    let protection = match (&section.certificate, &section.key, &section.psk) {
        (Some(certificate), Some(key), _) => {
            let read = |name, path: &Path| {
                std::fs::read(path).map_err(|e| Wrong::new(name)(format!("{}: {e}", path.display())))
            };
            let (certificate, key) = (certificate.as_ref(), key.as_ref());
            let private = Zeroizing::new(read("key", key)?);
            let credential = Credential::from_pem(&read("certificate", certificate)?, &private);
            let credential = credential.map_err(|e| match e {
                carnet_tls::Error::Library { what, .. } if what.contains("private key") => {
                    Wrong::new("key")(format!("{}: not a private key in PEM", key.display()))
                }
                e => Wrong::new("certificate")(format!("{}: {e}", certificate.display())),
            })?;
            let trust = match &section.ca {
                Some(ca) => Trust::File(ca.as_ref().clone()),
                None => Trust::System,
            };
            let settings =
                CertificateSettings { credential: Some(credential), trust, ..CertificateSettings::default() };
            let context = CertificateContext::new(&settings);
            Protection::Certificates(
                context.map_err(|e| Wrong::new("ca")(e.to_string()))?.counted_at("control"),
            )
        }
        (_, _, Some(psk)) => {
            let wrong = Wrong::new("psk");
            let keys = keys(psk.as_ref()).map_err(&wrong)?;
            let held = Keyring::new(keys.len().max(1)).standing().strict();
            let own = own.map(|own| section.psk_identity.as_deref().unwrap_or(own));
            let mut offered = None;
            for (identity, octets) in keys {
                let fail =
                    |e: carnet_tls::Error| wrong(format!("{}: `{identity}`: {e}", psk.as_ref().display()));
                let key = PskKey::new(identity.clone(), Psk::new(&octets).map_err(fail)?).map_err(fail)?;
                if own == Some(identity.as_str()) {
                    offered = Some(key.for_reconnect());
                }
                held.bind(key).map_err(fail)?;
            }
            if let Some(own) = own.filter(|_| offered.is_none()) {
                return Err(wrong(format!("{}: there is no key `{own}`", psk.as_ref().display())));
            }
            let context = PskContext::new(PskSettings::default()).map_err(|e| wrong(e.to_string()))?;
            let context = context.counted_at("control");
            Protection::Keys { context, held, offered }
        }
        _ => return Err(Wrong::new("certificate")("TLS needs certificate and key, or psk".to_owned())),
    };
    Ok(ControlTls { protection, peers })
}

/// A file of `identity = "key in hexadecimal"` lines.
fn keys(path: &Path) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let text = Zeroizing::new(text);
    let table: BTreeMap<String, String> = toml::from_str(&text)
        .map_err(|_| format!("{}: a line is IDENTITY = \"KEY IN HEXADECIMAL\"", path.display()))?;
    let decode = |(identity, digits): (String, String)| {
        let digits = Zeroizing::new(digits);
        let octets = carnet_wire::hex::decode(digits.trim().as_bytes());
        let octets = octets.map_err(|_| format!("{}: `{identity}` is not hexadecimal", path.display()))?;
        Ok((identity, Zeroizing::new(octets)))
    };
    table.into_iter().map(decode).collect()
}

/// The authentication header.
///
/// # Errors
/// What is wrong with which file; no key is ever part of it.
pub fn authentication(section: &AuthenticationSection) -> Result<Authentication, String> {
    let mut associations = BTreeMap::new();
    for (index, key) in &section.keys {
        let key = key.as_ref();
        let path = key.file.as_ref().display();
        let text = std::fs::read_to_string(key.file.as_ref()).map_err(|e| format!("{path}: {e}"))?;
        let text = Zeroizing::new(text);
        let octets = carnet_wire::hex::decode(text.trim().as_bytes());
        let octets = Zeroizing::new(octets.map_err(|_| format!("{path}: the key is not hexadecimal"))?);
        let secret = Key::new(&octets);
        let secret =
            secret.ok_or_else(|| format!("{path}: a key has 16 to 64 octets, not {}", octets.len()))?;
        let algorithm = match key.algorithm {
            AuthenticationAlgorithm::HmacMd5 => Algorithm::HmacMd5_96,
            AuthenticationAlgorithm::HmacSha1 => Algorithm::HmacSha1_96,
            AuthenticationAlgorithm::HmacSha256 => Algorithm::HmacSha256_128,
        };
        let peer = key.peer.clone().map(MId::domain);
        let index = AuthenticationSection::index(index).ok_or("not the index of a key")?;
        associations.insert(index, SecurityAssociation { algorithm, key: secret, peer });
    }
    Ok(Authentication::new(associations, section.required, section.replay_check, first_number()))
}

/// Where our sequence numbers begin: sixteen for every second since 2024, so that they are new after a
/// restart unless more messages than that went out all the time. They go round once in eight years.
fn first_number() -> u32 {
    /// 2024-01-01.
    const SINCE: u64 = 1_704_067_200;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let sixteenths = now.as_secs().saturating_sub(SINCE).wrapping_mul(16);
    (sixteenths & u64::from(u32::MAX)) as u32
}

/// Strangers that may be told that they are not known: a few a second, whatever comes, so that
/// nobody is flooded in somebody else's name.
#[derive(Debug)]
pub struct Courtesy {
    left: u32,
    second: Instant,
    /// When a stranger was last told of in the log.
    told: Option<Instant>,
}

impl Courtesy {
    /// Answers a second.
    const ANSWERS: u32 = 10;
    /// Between two lines in the log.
    const QUIET: Duration = Duration::from_secs(10);

    pub fn new(now: Instant) -> Self {
        Self { left: Self::ANSWERS, second: now, told: None }
    }

    /// Whether one more may be answered.
    pub fn answers(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.left, self.second) = (Self::ANSWERS, now);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    /// Whether it is time for a line in the log.
    pub fn tells(&mut self, now: Instant) -> bool {
        let due = self.told.is_none_or(|told| now >= told + Self::QUIET);
        if due {
            self.told = Some(now);
        }
        due
    }
}

/// What a ServiceChangeAddress stands for, seen from who was at `heard`.
pub fn address_of(given: &ServiceChangeAddress, heard: SocketAddr) -> Option<SocketAddr> {
    match given {
        ServiceChangeAddress::Port(port) => Some(SocketAddr::new(heard.ip(), *port)),
        ServiceChangeAddress::MId(MId::Address { ip, port }) => {
            Some(SocketAddr::new(*ip, port.unwrap_or(heard.port())))
        }
        // Where it writes from is the best we know of a name.
        ServiceChangeAddress::MId(_) => None,
    }
}

/// Whether two addresses have the same host.
pub fn same_host(a: IpAddr, b: IpAddr) -> bool {
    a.to_canonical() == b.to_canonical()
}

/// Whether a message asks for something.
pub fn asks(message: &Message) -> bool {
    message.transactions().iter().any(|transaction| matches!(transaction, Transaction::Request(_)))
}

/// A message as two: what asks, with what acknowledges the answers to that, and what answers.
pub fn apart(message: Message) -> [Option<Message>; 2] {
    let Message { auth, version, mid, body } = message;
    let Body::Transactions(list) = body else {
        return [None, Some(Message { auth, version, mid, body })];
    };
    let asks =
        |transaction: &Transaction| !matches!(transaction, Transaction::Reply(_) | Transaction::Pending(_));
    let (asking, answering): (Vec<_>, Vec<_>) = list.into_iter().partition(asks);
    let part = |list: Vec<Transaction>| (!list.is_empty()).then(|| Message::new(version, mid.clone(), list));
    [part(asking), part(answering)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::text::{self, Limits};

    #[test]
    fn strangers_are_answered_a_few_times_a_second() {
        let start = Instant::now();
        let mut courtesy = Courtesy::new(start);
        let answered = (0..5000).filter(|_| courtesy.answers(start)).count();
        assert_eq!(answered, 10);
        assert!(courtesy.answers(start + Duration::from_secs(1)));
        assert!(courtesy.tells(start) && !courtesy.tells(start + Duration::from_secs(9)));
        assert!(courtesy.tells(start + Duration::from_secs(10)));
    }

    /// What the file says of sizes is what the transaction layer measures by.
    #[test]
    fn the_file_decides_how_large_messages_are() {
        use carnet_h248::encoding::Encoding;
        let given =
            association(association::Transport::Datagram, Encoding248::Binary, true, Some(1_232), true);
        assert_eq!((given.encoding, given.limits.datagram), (Encoding::Binary, 1_232));
        assert!(given.authenticated && given.segments);
        let usual = association(association::Transport::Reliable, Encoding248::Compact, false, None, false);
        assert_eq!(usual.limits.datagram, association::Limits::default().datagram);
        assert!(!usual.authenticated && !usual.segments);
    }

    #[test]
    fn requests_part_from_answers() {
        let octets = b"MEGACO/3 <a> Transaction=1{Context=-{AuditValue=ROOT{Audit{}}}} Reply=2{Context=-{\
                       ServiceChange=ROOT}} Pending=3{} TransactionResponseAck{8}";
        let message = text::parse(octets, &Limits::default()).unwrap();
        let [asking, answering] = apart(message.clone());
        let [request, reply, pending, ack] = message.transactions() else { panic!() };
        assert_eq!(asking.unwrap().transactions(), [request.clone(), ack.clone()]);
        assert_eq!(answering.unwrap().transactions(), [reply.clone(), pending.clone()]);
        let error = text::parse(b"MEGACO/1 <a> Error=400{}", &Limits::default()).unwrap();
        assert!(matches!(apart(error), [None, Some(_)]));
    }

    #[test]
    fn a_service_change_address_is_whole_or_a_port() {
        let heard = "192.0.2.7:3000".parse().unwrap();
        let at = |given| address_of(&given, heard).map(|a| a.to_string());
        assert_eq!(at(ServiceChangeAddress::Port(2999)).as_deref(), Some("192.0.2.7:2999"));
        let whole = MId::Address { ip: [192, 0, 2, 9].into(), port: Some(1) };
        assert_eq!(at(ServiceChangeAddress::MId(whole)).as_deref(), Some("192.0.2.9:1"));
        assert_eq!(at(ServiceChangeAddress::MId(MId::domain("mg"))), None);
    }

    #[test]
    fn what_is_wrong_with_certificates_is_said_of_the_right_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let names = |name: &str| [carnet_tls::SubjectName::Dns(name.to_owned())];
        let [own, other] = ["a", "b"].map(|name| Credential::self_signed(&names(name), 1).unwrap());
        let certificate = file("a.pem", &own.certificate_pem().unwrap());
        let key = file("a.key", &own.private_key_pem().unwrap());
        let other = file("b.key", &other.private_key_pem().unwrap());
        let wrong = |certificate: &Path, key: &Path, ca: &Path| {
            let text = format!("certificate = {certificate:?}\nkey = {key:?}\nca = {ca:?}");
            let made = tls(&toml::from_str(&text).unwrap(), None, &[]).map(drop);
            made.map_err(|wrong| (wrong.key, wrong.what.contains("PRIVATE")))
        };
        assert_eq!(wrong(&certificate, &key, &certificate), Ok(()));
        assert_eq!(wrong(&key, &key, &certificate), Err(("certificate", false)));
        assert_eq!(wrong(&certificate, &other, &certificate), Err(("certificate", false)));
        assert_eq!(wrong(&certificate, &certificate, &certificate), Err(("key", false)));
        assert_eq!(wrong(&certificate, &key, &key), Err(("ca", false)));
    }

    #[test]
    fn files_of_keys_are_read_or_the_reason_is_told_without_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.psk");
        let key = "00112233445566778899aabbccddeeff";
        let section = |identity: &str| -> ControlTlsSection {
            toml::from_str(&format!("psk = {path:?}\npsk-identity = \"{identity}\"")).unwrap()
        };
        let make = |identity| tls(&section(identity), Some("agw-a"), &["border".into()]).map(drop);
        std::fs::write(&path, format!("agw-a = \"{key}\"\nother = \"{key}{key}\"\n")).unwrap();
        assert_eq!(make("agw-a"), Ok(()));
        assert!(make("nobody").unwrap_err().what.ends_with("there is no key `nobody`"));
        for (wrong, says) in [
            (format!("agw-a = \"{key}zz\""), "`agw-a` is not hexadecimal"),
            (format!("agw-a = \"{}\"", &key[..30]), "16 to 64 octets; this one has 15"),
            (format!("agw-a = {key}"), "IDENTITY = \"KEY IN HEXADECIMAL\""),
        ] {
            std::fs::write(&path, wrong).unwrap();
            let Wrong { key: "psk", what: said } = make("agw-a").unwrap_err() else { panic!() };
            assert!(said.contains(says) && !said.contains("0011"), "{said}");
        }
    }
}
