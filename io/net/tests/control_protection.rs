//! Control sockets that prove who is there: TLS with certificates and with keys, the authentication
//! header, keys that do not leave in clear, and strangers.
#![allow(clippy::unwrap_used)]

use carnet_h248::authentication::{Algorithm, Authentication, Key, SecurityAssociation};
use carnet_h248::text::{self, Limits};
use carnet_h248::{Body, Encoding, MId, Message, tpkt};
use carnet_net::{
    ControlConfig, ControlEvent, ControlListen, ControlPeer, ControlSockets, ControlTls, ControlTransport,
    Error, NameServers, Protection, StreamLimits, drain, local_pair,
};
use carnet_tls::{
    CertificateContext, CertificateSettings, Credential, Keyring, Psk, PskContext, PskKey, PskSettings,
    SubjectName, Trust, Versions,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

type Open = (ControlSockets, mpsc::Receiver<ControlEvent>);

fn open(config: ControlConfig) -> Open {
    let (drain, token) = drain();
    // These tests end by dropping the sockets.
    std::mem::forget(drain);
    ControlSockets::open(config, &token).unwrap()
}

fn mid(name: &str) -> MId {
    MId::domain(name.to_owned())
}

fn listening(transport: ControlTransport) -> ControlConfig {
    let address = "127.0.0.1:0".parse().unwrap();
    let mid = Some(mid("border"));
    ControlConfig { mid, listen: vec![ControlListen { transport, address }], ..ControlConfig::default() }
}

fn audit(from: &str) -> Message {
    let octets = format!("MEGACO/1 <{from}> Transaction=7{{Context=-{{AuditValue=ROOT{{Audit{{}}}}}}}}");
    text::parse(octets.as_bytes(), &Limits::default()).unwrap()
}

fn with_key(from: &str) -> Message {
    let octets = format!(
        "MEGACO/1 <{from}> Transaction=7{{Context=1{{Modify=ip/1{{Media{{Stream=1{{LocalControl{{\
         crntls/psk=000102030405060708090A0B0C0D0E0F}}}}}}}}}}}}"
    );
    text::parse(octets.as_bytes(), &Limits::default()).unwrap()
}

async fn event(events: &mut mpsc::Receiver<ControlEvent>) -> ControlEvent {
    timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("sockets that live")
}

async fn message(events: &mut mpsc::Receiver<ControlEvent>) -> (ControlPeer, Message) {
    match event(events).await {
        ControlEvent::Message { peer, message } => (peer, message),
        other => panic!("{other:?}"),
    }
}

async fn closed(events: &mut mpsc::Receiver<ControlEvent>) -> ControlPeer {
    loop {
        if let ControlEvent::Closed { peer } = event(events).await {
            return peer;
        }
    }
}

/// Certificates that vouch for themselves, and who trusts them.
fn certificates(own: &Credential, trusted: &[&Credential], versions: Versions) -> Protection {
    let trust = trusted.iter().flat_map(|c| c.certificate_pem().unwrap()).collect();
    let settings = CertificateSettings {
        credential: Some(own.clone()),
        trust: Trust::Pem(trust),
        versions,
        ..CertificateSettings::default()
    };
    Protection::Certificates(CertificateContext::new(&settings).unwrap())
}

fn credential(name: &str) -> Credential {
    Credential::self_signed(&[SubjectName::Dns(name.into())], 1).unwrap()
}

fn tls(protection: Protection, peers: &[&str]) -> Option<ControlTls> {
    Some(ControlTls { protection, peers: peers.iter().map(|peer| (mid(peer), Vec::new())).collect() })
}

fn keys(all: &[(&str, u8)], own: Option<&str>) -> Protection {
    let key = |name: &str, octet| PskKey::new(name, Psk::new(&[octet; 32]).unwrap()).unwrap();
    let held = Keyring::new(8).standing().strict();
    all.iter().for_each(|(name, octet)| held.bind(key(name, *octet)).unwrap());
    let own = own.and_then(|own| all.iter().find(|(name, _)| *name == own));
    let offered = own.map(|(name, octet)| key(name, *octet));
    Protection::Keys { context: PskContext::new(PskSettings::default()).unwrap(), held, offered }
}

fn connect(gateway: &ControlSockets, controller: &ControlSockets, expected: &str) -> ControlPeer {
    let at = controller.listening()[0];
    gateway.connect(at.transport, at.address, None, Some(&mid(expected))).unwrap()
}

#[tokio::test]
async fn certificates_prove_both_names() {
    let (border, agw) = (credential("border"), credential("agw"));
    for versions in [Versions::Tls12, Versions::Tls13, Versions::Both] {
        let (controller, mut heard) = open(ControlConfig {
            tls: tls(certificates(&border, &[&agw], Versions::Both), &["agw", "other"]),
            ..listening(ControlTransport::Tls)
        });
        let (gateway, mut answers) = open(ControlConfig {
            tls: tls(certificates(&agw, &[&border], versions), &["border"]),
            ..ControlConfig::default()
        });
        let to = connect(&gateway, &controller, "border");
        assert!(to.is_private() && gateway.is_protected(to) && to.is_reliable());
        gateway.send(to, audit("agw")).unwrap();
        let (from, got) = message(&mut heard).await;
        assert_eq!(got, audit("agw"));
        // Keys may go this way.
        controller.send(from, with_key("border")).unwrap();
        assert_eq!(message(&mut answers).await, (to, with_key("border")));
        // Another name than the certificate's is not taken, and ends the connection.
        gateway.send(to, audit("other")).unwrap();
        let (_, refused) = message(&mut answers).await;
        assert!(matches!(refused.body, Body::Error(error) if error.code == 402));
        assert_eq!(closed(&mut answers).await, to);
        assert_eq!(closed(&mut heard).await, from);
        assert_eq!(controller.refused(), 1);
    }
}

#[tokio::test]
async fn certificates_of_others_are_refused() {
    let (border, agw, stranger) = (credential("border"), credential("agw"), credential("stranger"));
    let (controller, mut heard) = open(ControlConfig {
        tls: tls(certificates(&border, &[&agw, &stranger], Versions::Both), &["agw"]),
        ..listening(ControlTransport::Tls)
    });
    // Vouched for, but nobody whom the controller knows: he is told.
    let (gateway, mut answers) = open(ControlConfig {
        tls: tls(certificates(&stranger, &[&border], Versions::Both), &["border"]),
        ..ControlConfig::default()
    });
    let to = connect(&gateway, &controller, "border");
    gateway.send(to, audit("agw")).unwrap();
    let (_, refused) = message(&mut answers).await;
    let Body::Error(error) = refused.body else { panic!("{refused:?}") };
    assert!(
        error.to_string().contains("402 this connection is refused: its certificate is for stranger"),
        "{error}"
    );
    assert_eq!(closed(&mut answers).await, to);
    closed(&mut heard).await;

    // Not vouched for.
    let forged = credential("agw");
    let (gateway, mut answers) = open(ControlConfig {
        tls: tls(certificates(&forged, &[&border], Versions::Both), &["border"]),
        ..ControlConfig::default()
    });
    let to = connect(&gateway, &controller, "border");
    gateway.send(to, audit("agw")).unwrap();
    assert_eq!(closed(&mut answers).await, to);
    assert!(gateway.refused() > 0, "the gateway is told why");
    closed(&mut heard).await;

    // A controller of another name, and one that nobody vouches for.
    for (trusted, expected) in [(&border, "border-b"), (&agw, "border")] {
        let (gateway, mut answers) = open(ControlConfig {
            tls: tls(certificates(&agw, &[trusted], Versions::Both), &["border"]),
            ..ControlConfig::default()
        });
        let to = connect(&gateway, &controller, expected);
        gateway.send(to, audit("agw")).unwrap();
        assert_eq!(closed(&mut answers).await, to);
        assert_eq!(gateway.refused(), 1);
    }
    while let Ok(event) = heard.try_recv() {
        assert!(!matches!(event, ControlEvent::Message { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_key_proves_one_name_again_and_again() {
    let (controller, mut heard) = open(ControlConfig {
        tls: tls(keys(&[("agw", 1), ("trgw", 2)], None), &["agw", "trgw"]),
        ..listening(ControlTransport::Tls)
    });
    let gateway = |own, octet| {
        open(ControlConfig {
            tls: tls(keys(&[(own, octet)], Some(own)), &["border"]),
            ..ControlConfig::default()
        })
    };
    let (agw, mut answers) = gateway("agw", 1);
    for _ in 0..3 {
        let to = connect(&agw, &controller, "border");
        agw.send(to, audit("agw")).unwrap();
        let (from, got) = message(&mut heard).await;
        assert_eq!(got, audit("agw"));
        controller.send(from, audit("border")).unwrap();
        assert_eq!(message(&mut answers).await, (to, audit("border")));
        agw.close(to);
        assert_eq!(closed(&mut answers).await, to);
        closed(&mut heard).await;
    }
    // Only the controller that we meant may write here.
    let to = connect(&agw, &controller, "border");
    agw.send(to, audit("agw")).unwrap();
    let (from, _) = message(&mut heard).await;
    controller.send(from, audit("trgw")).unwrap();
    assert!(matches!(event(&mut answers).await, ControlEvent::Refused { peer } if peer == to));
    closed(&mut heard).await;
    // One gateway does not speak for another, nor with another's key or an unknown one.
    let to = connect(&agw, &controller, "border");
    agw.send(to, audit("trgw")).unwrap();
    assert!(matches!(event(&mut heard).await, ControlEvent::Refused { .. }));
    closed(&mut heard).await;
    for (name, octet) in [("trgw", 1), ("stranger", 1)] {
        let (other, mut answers) = gateway(name, octet);
        let to = connect(&other, &controller, "border");
        other.send(to, audit(name)).unwrap();
        assert_eq!(closed(&mut answers).await, to);
        closed(&mut heard).await;
    }
}

#[tokio::test]
async fn a_port_for_tls_is_for_tls() {
    let border = credential("border");
    let (controller, mut heard) = open(ControlConfig {
        tls: tls(certificates(&border, &[&border], Versions::Both), &[]),
        streams: StreamLimits { connect: Duration::from_millis(300), ..StreamLimits::default() },
        ..listening(ControlTransport::Tls)
    });
    let at = controller.listening()[0].address;
    // H.248 in clear, and silence.
    for octets in [tpkt::frame(b"MEGACO/1 <agw> Pending=1{}").unwrap(), Vec::new()] {
        let mut peer = TcpStream::connect(at).await.unwrap();
        peer.write_all(&octets).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, peer.read_to_end(&mut rest)).await.expect("ended");
        closed(&mut heard).await;
    }
    assert_eq!(controller.refused(), 2);
    // Without a certificate nothing is listened on.
    let (_hold, token) = drain();
    let refused = ControlSockets::open(listening(ControlTransport::Tls), &token);
    assert!(matches!(refused, Err(Error::NoTls(_))));
}

#[tokio::test]
async fn keys_do_not_leave_in_clear() {
    for transport in [ControlTransport::Udp, ControlTransport::Tcp] {
        for protected in [false, true] {
            let (controller, mut heard) = open(listening(transport));
            let (gateway, _answers) = open(ControlConfig { protected, ..ControlConfig::default() });
            let to = connect(&gateway, &controller, "border");
            let sent = gateway.send(to, with_key("agw"));
            assert_eq!(gateway.is_protected(to), protected);
            if protected {
                assert_eq!(message(&mut heard).await.1, with_key("agw"));
            } else {
                assert!(matches!(sent, Err(Error::Unprotected)), "{sent:?}");
                gateway.send(to, audit("agw")).unwrap();
                assert_eq!(message(&mut heard).await.1, audit("agw"), "the way is still there");
            }
        }
    }
    let ((here, mut heard), (there, _answers)) =
        (open(ControlConfig::default()), open(ControlConfig::default()));
    let (a, b) = local_pair(4);
    let (_, to) = (here.attach(a), there.attach(b));
    there.send(to, with_key("agw")).unwrap();
    assert_eq!(message(&mut heard).await.1, with_key("agw"));
}

fn authentication(octet: u8, required: bool) -> Option<Authentication> {
    let association = SecurityAssociation {
        algorithm: Algorithm::HmacSha1_96,
        key: Key::new(&[octet; 20]).unwrap(),
        peer: None,
    };
    Some(Authentication::new(BTreeMap::from([(77, association)]), required, true, 1000))
}

#[tokio::test]
async fn the_authentication_header_is_made_and_checked() {
    for transport in [ControlTransport::Udp, ControlTransport::Tcp] {
        for encoding in [Encoding::Text(text::Form::Long), Encoding::Binary] {
            let (controller, mut heard) =
                open(ControlConfig { authentication: authentication(1, true), ..listening(transport) });
            let with =
                |authentication| open(ControlConfig { encoding, authentication, ..ControlConfig::default() });
            let (gateway, mut answers) = with(authentication(1, true));
            let to_controller = connect(&gateway, &controller, "border");
            for sequence in 1000..1003 {
                gateway.send(to_controller, audit("agw")).unwrap();
                let (peer, got) = message(&mut heard).await;
                assert_eq!(got.auth.as_ref().map(|auth| (auth.spi, auth.sequence)), Some((77, sequence)));
                controller.send(peer, audit("border")).unwrap();
                let (from, answer) = message(&mut answers).await;
                assert_eq!((from, answer.auth.map(|auth| auth.sequence)), (to_controller, Some(sequence)));
            }
            // Without, and with another key: dropped; told only to who has a connection.
            for wrong in [None, authentication(2, false)] {
                let (stranger, mut answers) = with(wrong);
                let to = connect(&stranger, &controller, "border");
                stranger.send(to, audit("agw")).unwrap();
                if transport == ControlTransport::Tcp {
                    // The one with another key cannot take the answer either.
                    match event(&mut answers).await {
                        ControlEvent::Message { message, .. } => {
                            assert!(matches!(message.body, Body::Error(error) if error.code == 402));
                        }
                        ControlEvent::Refused { peer } => assert_eq!(peer, to),
                        other => panic!("{other:?}"),
                    }
                }
                // One that came later is there already.
                gateway.send(to_controller, audit("agw")).unwrap();
                loop {
                    match event(&mut heard).await {
                        ControlEvent::Message { message, .. } => break assert_eq!(message.mid, mid("agw")),
                        ControlEvent::Refused { .. } => assert_eq!(transport, ControlTransport::Tcp),
                        other => assert!(matches!(other, ControlEvent::Closed { .. }), "{other:?}"),
                    }
                }
                assert!(answers.try_recv().is_err(), "a datagram without proof was answered");
            }
            assert_eq!(controller.refused(), 2);
        }
    }
}

#[tokio::test]
async fn what_was_sent_once_counts_once() {
    let (controller, mut heard) =
        open(ControlConfig { authentication: authentication(1, true), ..listening(ControlTransport::Udp) });
    let at = controller.listening()[0].address;
    // Somebody on the way keeps what the gateway sends.
    let tap = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sender = authentication(1, true).unwrap();
    let SocketAddr::V4(to) = at else { panic!("{at}") };
    let header = carnet_h248::authentication::IpHeader {
        source: [127, 0, 0, 1].into(),
        destination: *to.ip(),
        port: to.port(),
    };
    let octets = sender.print(Encoding::Text(text::Form::Long), header, None, &mut audit("agw")).unwrap();
    tap.send_to(&octets, at).await.unwrap();
    assert_eq!(message(&mut heard).await.1.auth.unwrap().sequence, 1000);
    for _ in 0..200 {
        tap.send_to(&octets, at).await.unwrap();
    }
    let next = sender.print(Encoding::Text(text::Form::Long), header, None, &mut audit("agw")).unwrap();
    tap.send_to(&next, at).await.unwrap();
    assert_eq!(message(&mut heard).await.1.auth.unwrap().sequence, 1001);
    assert_eq!(controller.refused(), 200);
}

/// Nothing that a stranger sends by datagram is answered here, and a flood does not keep others out for
/// longer than it lasts.
#[tokio::test]
async fn a_flood_of_datagrams_is_answered_by_nothing() {
    let (controller, mut heard) =
        open(ControlConfig { authentication: authentication(1, true), ..listening(ControlTransport::Udp) });
    let at = controller.listening()[0].address;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let many = "Pending=1{} ".repeat(100);
    let floods: [&[u8]; 4] = [b"nonsense", b"MEGACO/1 <agw> Error=400{}", &[0x30, 0x80], many.as_bytes()];
    for _ in 0..500 {
        for octets in floods {
            stranger.send_to(octets, at).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    let (gateway, _answers) =
        open(ControlConfig { authentication: authentication(1, true), ..ControlConfig::default() });
    let to = connect(&gateway, &controller, "border");
    // Datagrams may be lost in the flood; the association would repeat them.
    let arrives = async {
        loop {
            gateway.send(to, audit("agw")).unwrap();
            if let Ok(Some(event)) = timeout(Duration::from_millis(200), heard.recv()).await {
                return event;
            }
        }
    };
    let event = timeout(PATIENCE, arrives).await.expect("the gateway is heard");
    assert!(matches!(event, ControlEvent::Message { .. }), "{event:?}");
    let answer = timeout(Duration::from_millis(100), stranger.recv(&mut [0; 100])).await;
    assert!(answer.is_err(), "a stranger was answered");
    assert!(controller.refused() > 0);
}

#[tokio::test]
async fn names_are_looked_up() {
    let config = ControlConfig { name_servers: NameServers::System, ..ControlConfig::default() };
    let (gateway, mut events) = open(config);
    gateway.resolve("no such name..");
    let ControlEvent::Resolved { name, addresses, .. } = event(&mut events).await else { panic!() };
    assert_eq!((name.as_str(), addresses.len()), ("no such name..", 0));
    gateway.resolve("localhost");
    let ControlEvent::Resolved { name, addresses, .. } = event(&mut events).await else { panic!() };
    assert_eq!(name, "localhost");
    assert!(addresses.iter().all(|ip| ip.is_loopback()), "{addresses:?}");
}

/// A gateway's port is the one it was given, by each of its addresses.
#[tokio::test]
async fn datagrams_leave_from_where_they_should() {
    let (controller, mut heard) = open(listening(ControlTransport::Udp));
    let free = UdpSocket::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap();
    let listen = ["127.0.0.3:0".parse().unwrap(), free, "[::1]:0".parse().unwrap()]
        .map(|address| ControlListen { transport: ControlTransport::Udp, address });
    let (gateway, _answers) = open(ControlConfig { listen: listen.to_vec(), ..ControlConfig::default() });
    let at = controller.listening()[0].address;
    for (from, port) in [(free, free.port()), ("127.0.0.2:0".parse().unwrap(), free.port())] {
        let to = gateway.connect(ControlTransport::Udp, at, Some(from), None).unwrap();
        gateway.send(to, audit("agw")).unwrap();
        let (peer, _) = message(&mut heard).await;
        assert_eq!(peer.address(), Some(SocketAddr::new(free.ip(), port)));
    }
}
