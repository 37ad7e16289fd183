//! SIP sockets on the loopback interface, with well-behaved peers and others.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use carnet_net::{
    Listen, OsRandom, SipConfig, SipEvent, SipSockets, SipTls, SocketLimits, StreamLimits, drain, until,
};
use carnet_sip::{Config, Destination, Endpoint, Event, Hop, Input, Message, Method, Transmit, Transport};
use carnet_tls::{CertificateContext, CertificateSettings, Credential, Peer, SubjectName, Trust};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const MESSAGE: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nl: 3\r\n\r\nabc";
const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";

type Open = (SipSockets, mpsc::Receiver<SipEvent>);

fn open(config: SipConfig) -> Open {
    let (drain, token) = drain();
    // These tests end by dropping the sockets.
    std::mem::forget(drain);
    SipSockets::open(config, &token).unwrap()
}

fn listen(transport: Transport, ip: &str) -> Vec<Listen> {
    vec![Listen { transport, address: SocketAddr::new(ip.parse().unwrap(), 0) }]
}

fn tls() -> SipTls {
    let names = ["127.0.0.1", "::1"]
        .map(|ip| SubjectName::Ip(ip.parse().unwrap()))
        .into_iter()
        .chain([SubjectName::Dns("border.example".into())]);
    let credential = Credential::self_signed(&names.collect::<Vec<_>>(), 1).unwrap();
    let trust = Trust::Pem(credential.certificate_pem().unwrap());
    let settings =
        CertificateSettings { credential: Some(credential), trust, ..CertificateSettings::default() };
    SipTls { context: CertificateContext::new(&settings).unwrap(), clients: Peer::Anyone, servers: None }
}

async fn event(events: &mut mpsc::Receiver<SipEvent>) -> SipEvent {
    timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("sockets that live")
}

async fn input(events: &mut mpsc::Receiver<SipEvent>) -> Input {
    match event(events).await {
        SipEvent::Input { input, .. } => input,
        other => panic!("{other:?}"),
    }
}

async fn failed(events: &mut mpsc::Receiver<SipEvent>) -> Hop {
    match event(events).await {
        SipEvent::Failed(hop) => hop,
        other => panic!("{other:?}"),
    }
}

fn message(hop: &Hop, data: &[u8]) -> Transmit {
    Transmit { hop: hop.clone(), data: Bytes::copy_from_slice(data) }
}

/// Reads until the connection ends, however it does.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the connection is ended");
    got
}

/// There and back by every transport and IP version; a second message goes the same way.
#[tokio::test]
async fn there_and_back() {
    let tls = tls();
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        for ip in ["127.0.0.1", "::1"] {
            let config = || SipConfig {
                listen: listen(transport, ip),
                tls: Some(tls.clone()),
                ..SipConfig::default()
            };
            let (near, mut near_events) = open(config());
            let (far, mut far_events) = open(config());
            let to = Hop::new(transport, far.listening()[0].address);
            near.send(message(&to, MESSAGE)).unwrap();
            let got = input(&mut far_events).await;
            assert_eq!(got.data, MESSAGE, "{transport} {ip}");
            assert_eq!((got.hop.transport, got.hop.remote.ip()), (transport, ip.parse().unwrap()));
            assert_eq!(got.hop.flow.is_some(), transport.is_reliable());
            far.send(message(&got.hop, ANSWER)).unwrap();
            let back = input(&mut near_events).await;
            assert_eq!(back.data, ANSWER);
            assert_eq!(back.hop.remote, to.remote);

            near.send(message(&to, MESSAGE)).unwrap();
            let again = input(&mut far_events).await;
            assert_eq!(again.hop, got.hop, "the connection is used again");
            assert_eq!(near.flows(), usize::from(transport.is_reliable()));

            // A request the other way also finds the connection that stands.
            let reverse = Hop { flow: None, local: None, ..got.hop.clone() };
            far.send(message(&reverse, MESSAGE)).unwrap();
            assert_eq!(input(&mut near_events).await.data, MESSAGE);
            assert_eq!(far.flows(), usize::from(transport.is_reliable()));
        }
    }
}

/// The name in the hop is what the certificate is checked against, and connections to different
/// names are different.
#[tokio::test]
async fn tls_names_count() {
    let tls = tls();
    let config =
        SipConfig { listen: listen(Transport::Tls, "127.0.0.1"), tls: Some(tls), ..Default::default() };
    let (near, mut events) = open(config.clone());
    let (far, mut far_events) = open(config);
    let named = |name: &str| Hop {
        server_name: Some(name.into()),
        ..Hop::new(Transport::Tls, far.listening()[0].address)
    };
    near.send(message(&named("border.example"), MESSAGE)).unwrap();
    input(&mut far_events).await;
    near.send(message(&named("other.example"), MESSAGE)).unwrap();
    assert_eq!(failed(&mut events).await, named("other.example"));
    assert_eq!(near.flows(), 1);
}

/// An element in two networks: what it sends has the address of the network it goes to, and what
/// comes back on a flow it opened is of the network that flow is in.
#[tokio::test]
async fn each_network_has_its_own_address() {
    let both = |transport| SipConfig {
        listen: ["127.0.0.1", "127.0.0.2"].iter().flat_map(|ip| listen(transport, ip)).collect(),
        ..SipConfig::default()
    };
    for transport in [Transport::Udp, Transport::Tcp] {
        let (near, mut near_events) = open(both(transport));
        let (far, mut far_events) = open(both(transport));
        for at in [0, 1] {
            let (ours, theirs) = (near.listening()[at].address, far.listening()[at].address);
            near.send(message(&Hop { local: Some(ours), ..Hop::new(transport, theirs) }, MESSAGE)).unwrap();
            let got = input(&mut far_events).await;
            assert_eq!((got.hop.remote.ip(), got.hop.local), (ours.ip(), Some(theirs)));
            far.send(message(&got.hop, MESSAGE)).unwrap();
            assert_eq!(input(&mut near_events).await.hop.local, Some(ours), "{transport}");
        }
        // Without an address asked for, the system's routes decide.
        let (other, mut other_events) = open(both(transport));
        far.send(message(&Hop::new(transport, other.listening()[0].address), MESSAGE)).unwrap();
        let got = input(&mut other_events).await;
        other.send(message(&got.hop, MESSAGE)).unwrap();
        assert_eq!(input(&mut far_events).await.hop.local, Some(far.listening()[0].address));
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_told() {
    let (sockets, mut events) =
        open(SipConfig { listen: listen(Transport::Udp, "127.0.0.1"), ..Default::default() });
    // No IPv6 socket, no TLS, no such flow: at once.
    for hop in [
        Hop::new(Transport::Udp, "[::1]:5060".parse().unwrap()),
        Hop::new(Transport::Tls, "127.0.0.1:5061".parse().unwrap()),
        Hop {
            flow: Some(carnet_sip::FlowId(99)),
            ..Hop::new(Transport::Tcp, "127.0.0.1:5060".parse().unwrap())
        },
    ] {
        assert_eq!(*sockets.send(message(&hop, MESSAGE)).unwrap_err().hop, hop);
    }
    // Nobody listens: when it shows.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let hop = Hop::new(Transport::Tcp, port);
    sockets.send(message(&hop, MESSAGE)).unwrap();
    assert_eq!(failed(&mut events).await, hop);
    assert_eq!(sockets.flows(), 0);
    // Larger than any datagram.
    let hop = Hop::new(Transport::Udp, "127.0.0.1:9".parse().unwrap());
    sockets.send(message(&hop, &[b'x'; 70_000])).unwrap();
    assert_eq!(failed(&mut events).await.remote, hop.remote);
}

#[tokio::test]
async fn keep_alives() {
    let config = || SipConfig {
        listen: listen(Transport::Tcp, "127.0.0.1"),
        streams: StreamLimits {
            keep_alive: Some(Duration::from_millis(50)),
            pong: Duration::from_millis(100),
            idle: Duration::from_secs(1),
            ..StreamLimits::default()
        },
        ..SipConfig::default()
    };
    // A peer's ping is answered, in front of and behind messages, and is no event.
    let (sockets, mut events) = open(config());
    let mut peer = TcpStream::connect(sockets.listening()[0].address).await.unwrap();
    peer.write_all(&[b"\r\n\r\n", MESSAGE, b"\r\n\r\n"].concat()).await.unwrap();
    assert_eq!(input(&mut events).await.data, MESSAGE);
    let mut pongs = [0; 4];
    peer.read_exact(&mut pongs).await.unwrap();
    assert_eq!(&pongs, b"\r\n\r\n");

    // Our own pings keep a silent connection longer than its idle time.
    let (near, mut near_events) = open(config());
    near.send(message(&Hop::new(Transport::Tcp, sockets.listening()[0].address), MESSAGE)).unwrap();
    input(&mut events).await;
    assert!(timeout(Duration::from_millis(1500), near_events.recv()).await.is_err());
    assert_eq!(near.flows(), 1);

    // A peer that has never answered one may not know of them; one that has, and stops, is given up.
    let peers = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = peers.local_addr().unwrap();
    near.send(message(&Hop::new(Transport::Tcp, place), MESSAGE)).unwrap();
    let (mut peer, _) = peers.accept().await.unwrap();
    let mut got = vec![0; MESSAGE.len() + 3 * 4];
    peer.read_exact(&mut got).await.unwrap();
    assert!(got.ends_with(b"\r\n\r\n\r\n\r\n\r\n\r\n"), "it goes on asking");
    assert_eq!(near.flows(), 2);
    peer.write_all(b"\r\n").await.unwrap();
    assert_eq!(failed(&mut near_events).await.remote, place);

    // Keep-alive datagrams are no events.
    let (sockets, mut events) = open(SipConfig { listen: listen(Transport::Udp, "127.0.0.1"), ..config() });
    let peer = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for datagram in [&b"\r\n\r\n"[..], b"", b"\0", MESSAGE] {
        peer.send_to(datagram, sockets.listening()[0].address).await.unwrap();
    }
    assert_eq!(input(&mut events).await.data, MESSAGE);
}

fn impatient() -> SipConfig {
    SipConfig {
        listen: listen(Transport::Tcp, "127.0.0.1"),
        streams: StreamLimits { message: Duration::from_millis(150), ..StreamLimits::default() },
        ..SipConfig::default()
    }
}

#[tokio::test]
async fn half_a_message_and_none_at_all_are_given_up() {
    let (sockets, mut events) = open(impatient());
    let address = sockets.listening()[0].address;
    for half in [&b""[..], b"O", b"OPTIONS sip:a SIP/2.0\r\nl: 3\r\n\r\nab"] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(half).await.unwrap();
        assert!(rest(&mut peer).await.is_empty());
        failed(&mut events).await;
    }
    // Dripping does not help: the message has to be whole in time.
    let mut peer = TcpStream::connect(address).await.unwrap();
    let drip = async {
        for octet in b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n" {
            if peer.write_all(&[*octet]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (_, hop) = tokio::join!(drip, failed(&mut events));
    assert!(hop.flow.is_some());
    assert_eq!(sockets.flows(), 0);
    // One that has spoken may be silent.
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(MESSAGE).await.unwrap();
    input(&mut events).await;
    assert!(timeout(Duration::from_millis(400), events.recv()).await.is_err());
}

#[tokio::test]
async fn what_cannot_be_framed_ends_the_flow() {
    let (sockets, mut events) =
        open(SipConfig { listen: listen(Transport::Tcp, "127.0.0.1"), ..Default::default() });
    let address = sockets.listening()[0].address;
    let garbage: Vec<u8> =
        (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
    let huge = b"INVITE sip:a SIP/2.0\r\nContent-Length: 99999999\r\n\r\n".to_vec();
    for octets in [garbage, huge] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        let _ = peer.write_all(&octets).await;
        rest(&mut peer).await;
        while !matches!(event(&mut events).await, SipEvent::Failed(_)) {}
    }
    // The head without a length can be answered before the flow ends.
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(b"OPTIONS sip:a SIP/2.0\r\n\r\nand what follows\r\n\r\n").await.unwrap();
    let head = input(&mut events).await;
    sockets.send(message(&head.hop, b"SIP/2.0 400 Content-Length\r\nl: 0\r\n\r\n")).unwrap();
    assert!(rest(&mut peer).await.starts_with(b"SIP/2.0 400"));
    failed(&mut events).await;
    assert_eq!(sockets.flows(), 0);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let config = SipConfig {
        listen: listen(Transport::Tcp, "127.0.0.1"),
        streams: StreamLimits { queue: 64 * 1024, ..StreamLimits::default() },
        ..SipConfig::default()
    };
    let (sockets, mut events) = open(config);
    let mut peer = TcpStream::connect(sockets.listening()[0].address).await.unwrap();
    peer.write_all(MESSAGE).await.unwrap();
    let hop = input(&mut events).await.hop;
    let block = vec![b'x'; 16 * 1024];
    let mut taken = 0;
    while sockets.send(message(&hop, &block)).is_ok() {
        taken += block.len();
        assert!(taken < 64 << 20, "what the peer does not read is bounded");
        tokio::task::yield_now().await;
    }
    assert_eq!(sockets.flows(), 0);
    assert_eq!(failed(&mut events).await.flow, hop.flow);
    assert!(sockets.send(message(&hop, MESSAGE)).is_err());
}

#[tokio::test]
async fn a_role_that_does_not_read_slows_its_peers() {
    let config = SipConfig {
        listen: listen(Transport::Tcp, "127.0.0.1"),
        limits: SocketLimits { events: 4, ..SocketLimits::default() },
        ..SipConfig::default()
    };
    let (sockets, mut events) = open(config);
    let mut peer = TcpStream::connect(sockets.listening()[0].address).await.unwrap();
    let body = vec![b'x'; 60_000];
    let one = [format!("OPTIONS sip:a SIP/2.0\r\nl: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_millis(500), peer.write_all(&one)).await {
        written.unwrap();
        sent += 1;
        assert!(sent < 1000, "the peer must be made to wait");
    }
    // All that was sent whole is there, once the role reads.
    for _ in 0..sent {
        assert_eq!(input(&mut events).await.data.len(), one.len());
    }
}

#[tokio::test]
async fn two_thousand_connections() {
    const MANY: usize = 2000;
    let config = SipConfig {
        listen: listen(Transport::Tcp, "127.0.0.1"),
        limits: SocketLimits { connections: MANY, ..SocketLimits::default() },
        ..SipConfig::default()
    };
    let (sockets, mut events) = open(config);
    let address = sockets.listening()[0].address;
    let mut peers = Vec::new();
    for _ in 0..MANY {
        peers.push(TcpStream::connect(address).await.unwrap());
    }
    for peer in &mut peers {
        peer.write_all(MESSAGE).await.unwrap();
    }
    for _ in 0..MANY {
        let hop = input(&mut events).await.hop;
        sockets.send(message(&hop, ANSWER)).unwrap();
    }
    for peer in &mut peers {
        let mut got = vec![0; ANSWER.len()];
        timeout(PATIENCE, peer.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(got, ANSWER);
    }
    assert_eq!(sockets.flows(), MANY);
    // One too many is told so at once.
    let mut more = TcpStream::connect(address).await.unwrap();
    assert!(rest(&mut more).await.is_empty());
    // Leaving makes room.
    drop(peers);
    for _ in 0..MANY {
        failed(&mut events).await;
    }
    assert_eq!(sockets.flows(), 0);
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(MESSAGE).await.unwrap();
    input(&mut events).await;
}

#[tokio::test]
async fn draining_keeps_what_stands_and_dropping_ends_it() {
    let (drain, token) = drain();
    let config = SipConfig { listen: listen(Transport::Tcp, "127.0.0.1"), ..SipConfig::default() };
    let (sockets, mut events) = SipSockets::open(config, &token).unwrap();
    let address = sockets.listening()[0].address;
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(MESSAGE).await.unwrap();
    let hop = input(&mut events).await.hop;
    drain.start(Duration::from_secs(5));
    timeout(PATIENCE, async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("nobody is let in any more");
    peer.write_all(MESSAGE).await.unwrap();
    while !matches!(event(&mut events).await, SipEvent::Input { .. }) {}
    // The last words go out.
    sockets.send(message(&hop, ANSWER)).unwrap();
    drop(sockets);
    assert_eq!(rest(&mut peer).await, ANSWER);
    drop(token);
    assert!(drain.finished().await);
}

/// Two endpoints with nothing between them but sockets.
#[tokio::test]
async fn endpoints_talk_through_sockets() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let config = || SipConfig { listen: listen(transport, "127.0.0.1"), ..SipConfig::default() };
        let endpoint = || Endpoint::new(Config::default(), Box::new(OsRandom));
        let ((near, mut near_events), (far, mut far_events)) = (open(config()), open(config()));
        let (mut client, mut server) = (endpoint(), endpoint());

        let mut request = Message::request(Method::Options, "sip:bob@127.0.0.1".parse().unwrap());
        for (name, value) in [
            ("From", "<sip:alice@example.com>;tag=a1"),
            ("To", "<sip:bob@example.com>"),
            ("Call-ID", "c1"),
            ("CSeq", "1 OPTIONS"),
            ("Max-Forwards", "70"),
        ] {
            request.set_header(name, value).unwrap();
        }
        let mut to = Hop::new(transport, far.listening()[0].address);
        to.local = (transport == Transport::Udp).then(|| near.listening()[0].address);
        let key = client.request(Instant::now(), request, Destination::from(to)).unwrap();
        let answered = async {
            loop {
                near.flush(Instant::now(), &mut client);
                far.flush(Instant::now(), &mut server);
                while let Some(event) = server.poll_event() {
                    if let Event::Request { key, message, .. } = event {
                        let response = Message::response(&message, 200, "OK").unwrap();
                        server.respond(Instant::now(), key, response).unwrap();
                    }
                    far.flush(Instant::now(), &mut server);
                }
                match client.poll_event() {
                    Some(Event::Response { key: of, message, .. }) => break (of, message.status()),
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
                tokio::select! {
                    Some(event) = near_events.recv() => event.deliver(Instant::now(), &mut client),
                    Some(event) = far_events.recv() => event.deliver(Instant::now(), &mut server),
                    () = until(client.poll_timeout()) => client.handle_timeout(Instant::now()),
                    () = until(server.poll_timeout()) => server.handle_timeout(Instant::now()),
                }
            }
        };
        assert_eq!(timeout(PATIENCE, answered).await.unwrap(), (key, Some(200)), "{transport}");
    }
}

/// A server that cannot be reached: the endpoint hears of it and goes on to the next.
#[tokio::test]
async fn an_endpoint_tries_the_next_server() {
    let config = || SipConfig { listen: listen(Transport::Tcp, "127.0.0.1"), ..SipConfig::default() };
    let ((near, mut near_events), (far, mut far_events)) = (open(config()), open(config()));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut client = Endpoint::new(Config::default(), Box::new(OsRandom));
    let mut request = Message::request(Method::Options, "sip:bob@127.0.0.1".parse().unwrap());
    for (name, value) in [
        ("From", "<sip:a@example.com>;tag=a1"),
        ("To", "<sip:b@example.com>"),
        ("Call-ID", "c2"),
        ("CSeq", "1 OPTIONS"),
    ] {
        request.set_header(name, value).unwrap();
    }
    let hops = [nobody, far.listening()[0].address].map(|a| Hop::new(Transport::Tcp, a)).to_vec();
    client.request(Instant::now(), request, Destination::Hops(hops)).unwrap();
    let arrived = async {
        loop {
            near.flush(Instant::now(), &mut client);
            tokio::select! {
                Some(event) = near_events.recv() => event.deliver(Instant::now(), &mut client),
                Some(SipEvent::Input { input, .. }) = far_events.recv() => return input,
            }
        }
    };
    let input = timeout(PATIENCE, arrived).await.unwrap();
    assert!(input.data.starts_with(b"OPTIONS"));
    assert!(client.poll_transmit().is_none());
}

/// The sockets say when a datagram came, so that an endpoint that is behind can shed.
#[tokio::test]
async fn an_endpoint_hears_how_long_a_request_has_waited() {
    let config = || SipConfig { listen: listen(Transport::Udp, "127.0.0.1"), ..SipConfig::default() };
    let ((near, mut near_events), (far, mut far_events)) = (open(config()), open(config()));
    let mut server = Endpoint::new(Config::default(), Box::new(OsRandom));
    let mut answers = Vec::new();
    for (call, late) in [("in-time", 0), ("late", 250)] {
        let request = format!(
            "INVITE sip:bob@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK-{call};rport\r\n\
             From: <sip:a@example.com>;tag=a1\r\nTo: <sip:b@example.com>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let to = Hop::new(Transport::Udp, far.listening()[0].address);
        near.send(message(&to, request.as_bytes())).unwrap();
        let event = event(&mut far_events).await;
        let SipEvent::Input { since, .. } = &event else { panic!("{event:?}") };
        let now = *since + Duration::from_millis(late);
        event.deliver(now, &mut server);
        far.flush(now, &mut server);
        let answer = input(&mut near_events).await.data;
        answers.push(Message::parse(answer, &Default::default()).unwrap());
    }
    assert_eq!(answers[0].status(), Some(100));
    assert_eq!((answers[1].status(), answers[1].retry_after()), (Some(503), Some(5)));
}
