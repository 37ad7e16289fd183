//! Control sockets on the loopback interface and inside the process.
#![allow(clippy::unwrap_used)]

use carnet_h248::text::{self, Form, Limits};
use carnet_h248::{
    ActionRequest, Command, ContextId, Encoding, ErrorDescriptor, MId, Message, Transaction, TransactionId,
    TransactionRequest, tpkt,
};
use carnet_net::{
    ControlConfig, ControlEvent, ControlListen, ControlPeer, ControlSockets, ControlTransport, Error,
    StreamLimits, drain, local_pair,
};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const AUDIT: &[u8] = b"MEGACO/1 [192.0.2.1]:2944 Transaction=7{Context=-{AuditValue=ROOT{Audit{}}}}";

type Open = (ControlSockets, mpsc::Receiver<ControlEvent>);

fn open(config: ControlConfig) -> Open {
    let (drain, token) = drain();
    // These tests end by dropping the sockets.
    std::mem::forget(drain);
    ControlSockets::open(config, &token).unwrap()
}

fn listening(transport: ControlTransport, ip: &str) -> ControlConfig {
    let address = SocketAddr::new(ip.parse().unwrap(), 0);
    ControlConfig { listen: vec![ControlListen { transport, address }], ..ControlConfig::default() }
}

fn audit() -> Message {
    text::parse(AUDIT, &Limits::default()).unwrap()
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
    match event(events).await {
        ControlEvent::Closed { peer } => peer,
        other => panic!("{other:?}"),
    }
}

/// What has no binary form is refused before anything is sent.
#[tokio::test]
async fn what_cannot_be_written_is_not_sent() {
    let (controller, mut heard) = open(listening(ControlTransport::Udp, "127.0.0.1"));
    let (gateway, _) = open(ControlConfig { encoding: Encoding::Binary, ..ControlConfig::default() });
    let to = gateway.connect(ControlTransport::Udp, controller.listening()[0].address, None, None).unwrap();
    let command = Command::subtract("a-name-of-many-octets");
    let action = ActionRequest::new(ContextId::Id(1), vec![command]);
    let request = TransactionRequest { id: TransactionId(1), actions: vec![action] };
    let message_too_much = Message::new(3, MId::domain("a"), vec![Transaction::Request(request)]);
    assert!(matches!(gateway.send(to, message_too_much), Err(Error::Unprintable(_))));
    gateway.send(to, audit()).unwrap();
    assert_eq!(message(&mut heard).await.1, audit());
}

#[tokio::test]
async fn there_and_back() {
    for transport in [ControlTransport::Udp, ControlTransport::Tcp] {
        // Each end writes as it likes and takes what comes.
        for (ip, encoding) in [("127.0.0.1", Encoding::Text(Form::Long)), ("::1", Encoding::Binary)] {
            let (controller, mut heard) = open(listening(transport, ip));
            let (gateway, mut answers) = open(ControlConfig { encoding, ..ControlConfig::default() });
            let to = gateway.connect(transport, controller.listening()[0].address, None, None).unwrap();
            assert_eq!(to.is_reliable(), transport == ControlTransport::Tcp);
            for _ in 0..3 {
                gateway.send(to, audit()).unwrap();
                let (peer, got) = message(&mut heard).await;
                assert_eq!(got, audit());
                controller.send(peer, got.clone()).unwrap();
                assert_eq!(message(&mut answers).await, (to, audit()));
            }
        }
    }
}

#[tokio::test]
async fn roles_in_one_process_use_the_same_calls() {
    let (controller, mut heard) = open(ControlConfig::default());
    let (gateway, mut answers) = open(ControlConfig::default());
    let (a, b) = local_pair(4);
    let (to_gateway, to_controller) = (controller.attach(a), gateway.attach(b));
    gateway.send(to_controller, audit()).unwrap();
    assert_eq!(message(&mut heard).await, (to_gateway, audit()));
    controller.send(to_gateway, audit()).unwrap();
    assert_eq!(message(&mut answers).await, (to_controller, audit()));
    // The end of one is the loss of the other.
    drop(gateway);
    assert_eq!(closed(&mut heard).await, to_gateway);
    assert!(matches!(controller.send(to_gateway, audit()), Err(Error::Gone)));
}

#[tokio::test]
async fn a_role_that_does_not_read_is_lost() {
    let (controller, mut heard) = open(ControlConfig::default());
    let (a, _unread) = local_pair(4);
    let peer = controller.attach(a);
    for _ in 0..4 {
        controller.send(peer, audit()).unwrap();
    }
    assert!(matches!(controller.send(peer, audit()), Err(Error::QueueFull)));
    assert_eq!(closed(&mut heard).await, peer);

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = controller.connect(ControlTransport::Tcp, silent.local_addr().unwrap(), None, None).unwrap();
    let _held = silent.accept().await.unwrap();
    let mut sent = 0;
    while controller.send(peer, audit()).is_ok() {
        sent += 1;
        assert!(sent < 1_000_000, "what is not read is bounded");
        if sent % 256 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(closed(&mut heard).await, peer);
}

#[tokio::test]
async fn a_controller_that_is_not_there() {
    let (gateway, mut events) = open(ControlConfig::default());
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let peer = gateway.connect(ControlTransport::Tcp, nobody, None, None).unwrap();
    gateway.send(peer, audit()).unwrap();
    assert_eq!(closed(&mut events).await, peer);
    assert!(matches!(gateway.send(peer, audit()), Err(Error::Gone)));
}

#[tokio::test]
async fn what_is_no_message_is_told_and_what_is_no_stream_ends() {
    let (_udp, mut heard) = {
        let (sockets, heard) = open(listening(ControlTransport::Udp, "127.0.0.1"));
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        peer.send_to(b"MEGACO/1 [192.0.2.1] Transaction=7{", sockets.listening()[0].address).await.unwrap();
        peer.send_to(AUDIT, sockets.listening()[0].address).await.unwrap();
        (sockets, heard)
    };
    assert!(matches!(event(&mut heard).await, ControlEvent::Undecodable { .. }));
    assert_eq!(message(&mut heard).await.1, audit());

    let config = ControlConfig {
        streams: StreamLimits { message: Duration::from_millis(150), ..StreamLimits::default() },
        ..listening(ControlTransport::Tcp, "127.0.0.1")
    };
    let (controller, mut heard) = open(config);
    let address = controller.listening()[0].address;
    // Framed nonsense is one bad message; the stream goes on.
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(&tpkt::frame(b"nonsense").unwrap()).await.unwrap();
    peer.write_all(&tpkt::frame(AUDIT).unwrap()).await.unwrap();
    assert!(matches!(event(&mut heard).await, ControlEvent::Undecodable { .. }));
    let (from, _) = message(&mut heard).await;
    controller.send(from, audit()).unwrap();
    let mut header = [0; 4];
    peer.read_exact(&mut header).await.unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])) - 4];
    peer.read_exact(&mut body).await.unwrap();
    assert_eq!(body, text::print(&audit(), Form::Short));
    // No TPKT, half a packet, silence: ended.
    for octets in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[3, 0, 0, 99, b'M'], b""] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(octets).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, peer.read_to_end(&mut rest)).await.expect("ended");
        assert!(rest.is_empty());
        assert_ne!(closed(&mut heard).await, from);
    }
}

#[tokio::test]
async fn connections_are_counted() {
    let config = ControlConfig { connections: 2, ..listening(ControlTransport::Tcp, "127.0.0.1") };
    let (controller, mut heard) = open(config);
    let address = controller.listening()[0].address;
    let mut peers = Vec::new();
    for _ in 0..2 {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(&tpkt::frame(AUDIT).unwrap()).await.unwrap();
        message(&mut heard).await;
        peers.push(peer);
    }
    let mut more = TcpStream::connect(address).await.unwrap();
    assert!(timeout(PATIENCE, more.read(&mut [0; 1])).await.unwrap().map_or(true, |n| n == 0));
    assert!(matches!(
        controller.connect(ControlTransport::Tcp, address, None, None),
        Err(Error::TooManyConnections(2))
    ));
    drop(peers);
    closed(&mut heard).await;
    closed(&mut heard).await;
    let peer = controller.connect(ControlTransport::Tcp, address, None, None);
    assert!(peer.is_ok());
}

#[tokio::test]
async fn the_last_message_goes_out() {
    let (controller, mut heard) = open(listening(ControlTransport::Tcp, "127.0.0.1"));
    let (gateway, _events) = open(ControlConfig::default());
    let to = gateway.connect(ControlTransport::Tcp, controller.listening()[0].address, None, None).unwrap();
    gateway.send(to, audit()).unwrap();
    message(&mut heard).await;
    gateway.send(to, audit()).unwrap();
    gateway.close(to);
    let (peer, _) = message(&mut heard).await;
    assert_eq!(closed(&mut heard).await, peer);
}

/// What each kind of end costs: nothing passes for long, a message that never becomes whole, a length
/// that cannot be, a message that is too long. The others go on.
#[tokio::test]
async fn connections_that_are_of_no_use_end() {
    let mut messages = Limits::default();
    messages.octets = 500;
    let config = ControlConfig {
        messages,
        streams: StreamLimits {
            idle: Duration::from_millis(400),
            message: Duration::from_millis(200),
            ..StreamLimits::default()
        },
        ..listening(ControlTransport::Tcp, "127.0.0.1")
    };
    let (controller, mut heard) = open(config);
    let address = controller.listening()[0].address;
    let whole = tpkt::frame(AUDIT).unwrap();
    let half = [whole.clone(), whole[..20].to_vec()].concat();
    for (octets, messages) in [
        (whole.clone(), 1),
        (half, 1),
        ([whole.clone(), vec![3, 0, 0, 3]].concat(), 1),
        ([whole.clone(), vec![2, 0, 0, 30]].concat(), 1),
        ([whole.clone(), vec![3, 0, 0xff, 0xff]].concat(), 1),
        (tpkt::frame(&[b' '; 501]).unwrap(), 0),
        (vec![3, 0, 0, 4], 0),
    ] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(&octets).await.unwrap();
        for _ in 0..messages {
            assert_eq!(message(&mut heard).await.1, audit());
        }
        closed(&mut heard).await;
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, peer.read_to_end(&mut rest)).await.expect("ended");
        assert!(rest.is_empty());
    }
    // One octet at a time is a message too, if it comes in time.
    let mut peer = TcpStream::connect(address).await.unwrap();
    for octet in &whole {
        peer.write_all(&[*octet]).await.unwrap();
    }
    assert_eq!(message(&mut heard).await.1, audit());
}

/// A peer whose host is gone takes nothing and does not even reset: what is written to it is given up in the
/// time for that, and the connection with it.
#[tokio::test]
async fn a_dead_peer_is_given_up() {
    let config = ControlConfig {
        streams: StreamLimits {
            queue: 64 << 20,
            write: Duration::from_millis(300),
            ..StreamLimits::default()
        },
        ..ControlConfig::default()
    };
    let (gateway, mut events) = open(config);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = gateway.connect(ControlTransport::Tcp, silent.local_addr().unwrap(), None, None).unwrap();
    let (_held, _) = silent.accept().await.unwrap();
    // More than the system takes for a peer that takes nothing, fewer than may wait here.
    let long = Message::error(1, MId::domain("mg"), ErrorDescriptor::new(500, "x".repeat(60_000)));
    for _ in 0..600 {
        gateway.send(peer, long.clone()).unwrap();
    }
    let start = std::time::Instant::now();
    assert_eq!(closed(&mut events).await, peer);
    assert!(start.elapsed() > Duration::from_millis(200), "it has its time");
}
