//! Two clients and a key server on loopback: real sockets, real TLS, no network in between.

mod refusals;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use carnet_keys::{Config, Directory, KeyRing, Kms, Pattern, Rules, User};
use carnet_mikey::{Identity, Psk};
use carnet_net::OsRandom;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::config::KmsAccount;
use super::event::SealReport;
use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SOON: Duration = Duration::from_secs(20);

fn key(name: &str) -> Psk {
    Psk::new(&[name.as_bytes()[0]; 32]).unwrap()
}

/// A key server; its address.
async fn kms(names: &[&str]) -> SocketAddr {
    kms_with(names, SystemTime::now(), |_| {}).await
}

/// A key server that was started at `wall`, and what an administrator did then.
async fn kms_with(names: &[&str], wall: SystemTime, edit: impl FnOnce(&mut Kms)) -> SocketAddr {
    let mut directory = Directory::default();
    for name in names {
        let user = User {
            name: (*name).into(),
            identities: vec![Pattern::parse(&format!("sip:{name}@example.com")).unwrap()],
            psk: key(name),
            revoked: false,
            tickets_not_before: None,
        };
        directory.put_user(user).unwrap();
    }
    let config = Config::new(Identity::from_uri("sip:kms.example.com").unwrap());
    let rng = Box::new(OsRandom);
    let mut kms = Kms::new(config, directory, Rules::default(), KeyRing::default(), rng, wall);
    let key = kms.key_due(wall).unwrap();
    kms.install_key(key);
    edit(&mut kms);
    let kms = Arc::new(Mutex::new(kms));
    let answer = |State(kms): State<Arc<Mutex<Kms>>>, body: axum::body::Bytes| async move {
        let outcome = kms.lock().unwrap().handle(SystemTime::now(), Instant::now(), HERE, &body);
        (StatusCode::from_u16(outcome.status).unwrap(), [(CONTENT_TYPE, "application/mikey")], outcome.reply)
    };
    let router = axum::Router::new().route("/keymanagement", axum::routing::post(answer)).with_state(kms);
    let listener = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// A free port, which the client then takes: none of those that the system gives to whoever asks, or another
/// test's connection might have it by then.
fn port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 8_000).unwrap();
    loop {
        let port = 12_000 + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        if let Ok(listener) = std::net::TcpListener::bind((HERE, port)) {
            return listener.local_addr().unwrap();
        }
    }
}

fn config(name: &str, listen: SocketAddr, proxy: SocketAddr, kms: Option<SocketAddr>) -> UeConfig {
    UeConfig {
        identity: format!("sip:{name}@example.com"),
        user: name.into(),
        password: Zeroizing::new(String::new()),
        proxy: format!("sip:{proxy};transport=tcp"),
        register: false,
        expires: Duration::from_secs(600),
        listen,
        media: None,
        keep_alive: None,
        behind_nat: false,
        interop: super::interop::Interop::default(),
        kms: kms.map(|address| KmsAccount {
            url: format!("http://{address}"),
            identity: "sip:kms.example.com".into(),
            key_name: name.into(),
            key: key(name),
            trust: crate::kms::client::ServerTrust::System,
        }),
        allow_clear: kms.is_none(),
        ca_file: None,
        answer: true,
        inbox: None,
        max_file: 1 << 40,
    }
}

struct Pair {
    alice: UeHandle,
    alice_events: mpsc::Receiver<UeEvent>,
    bob: UeHandle,
    bob_events: mpsc::Receiver<UeEvent>,
}

async fn pair(kms: Option<SocketAddr>, edit: impl FnOnce(&mut UeConfig, &mut UeConfig)) -> Pair {
    let (a, b) = (port(), port());
    let (mut alice, mut bob) = (config("alice", a, b, kms), config("bob", b, a, kms));
    edit(&mut alice, &mut bob);
    let (alice, alice_events) = Ue::start(alice).await.unwrap();
    let (bob, bob_events) = Ue::start(bob).await.unwrap();
    Pair { alice, alice_events, bob, bob_events }
}

/// The first event that fits; the others are shown when it does not come.
async fn wait(events: &mut mpsc::Receiver<UeEvent>, fits: impl Fn(&UeEvent) -> bool) -> UeEvent {
    let mut seen = Vec::new();
    let found = tokio::time::timeout(SOON, async {
        while let Some(event) = events.recv().await {
            if fits(&event) {
                return Some(event);
            }
            seen.push(event);
        }
        None
    });
    match found.await {
        Ok(Some(event)) => event,
        _ => panic!("not among {seen:?}"),
    }
}

async fn sealed(events: &mut mpsc::Receiver<UeEvent>) -> SealReport {
    match wait(events, |event| matches!(event, UeEvent::Sealed { .. })).await {
        UeEvent::Sealed { seal, .. } => seal,
        _ => unreachable!(),
    }
}

#[tokio::test]
async fn what_other_makes_do_differently_is_done() {
    let kms = kms(&["alice", "bob"]).await;
    let mut pair = pair(Some(kms), |alice, bob| {
        for config in [alice, bob] {
            let interop = &mut config.interop;
            interop.psk.versions = carnet_tls::Versions::Tls12;
            interop.profile.psk_identity_prefix = "other make:".into();
            interop.profile.protocol = 250;
            interop.profile.accept_other_protocol = false;
            interop.request_path = "/keymanagement?a".into();
            interop.resolve_path = "/keymanagement?b".into();
        }
    })
    .await;
    pair.alice.call("sip:bob@example.com").await.unwrap();
    let (a, b) = (sealed(&mut pair.alice_events).await, sealed(&mut pair.bob_events).await);
    assert!(a.line().contains("TLS 1.2"), "{}", a.line());
    assert!(a.psk_identity.starts_with("other make:"), "{}", a.psk_identity);
    assert_eq!(a.psk_identity, b.psk_identity);
}

#[tokio::test]
async fn makes_that_differ_do_not_seal() {
    let kms = kms(&["alice", "bob"]).await;
    let mut pair = pair(Some(kms), |alice, bob| {
        alice.interop.profile.protocol = 250;
        bob.interop.profile.accept_other_protocol = false;
    })
    .await;
    pair.alice.call("sip:bob@example.com").await.unwrap();
    let ended =
        wait(&mut pair.alice_events, |e| matches!(e, UeEvent::Ended { .. } | UeEvent::Sealed { .. })).await;
    assert!(matches!(ended, UeEvent::Ended { .. }), "{ended:?}");
}

#[tokio::test]
async fn a_chat_is_sealed_and_lines_go_both_ways() {
    let kms = kms(&["alice", "bob"]).await;
    let mut pair = pair(Some(kms), |_, _| {}).await;
    let call = pair.alice.call("sip:bob@example.com").await.unwrap();
    let (a, b) = (sealed(&mut pair.alice_events).await, sealed(&mut pair.bob_events).await);
    assert_eq!(a.client_random, b.client_random, "one TLS association");
    assert_eq!(a.psk_identity, b.psk_identity);
    assert_eq!(a.line(), "sealed end to end · TLS 1.3 · ticket from kms.example.com · path alice → bob");
    assert_eq!(a.line(), b.line());
    assert!(a.tls_client != b.tls_client);
    pair.alice.send_text(call, "hello Bob").await.unwrap();
    let heard = wait(&mut pair.bob_events, |event| matches!(event, UeEvent::Message { .. })).await;
    let UeEvent::Message { call: theirs, from, text } = heard else { unreachable!() };
    assert_eq!((from.as_str(), text.as_str()), ("sip:alice@example.com", "hello Bob"));
    pair.bob.send_text(theirs, "hello Alice").await.unwrap();
    wait(
        &mut pair.alice_events,
        |event| matches!(event, UeEvent::Message { text, .. } if text == "hello Alice"),
    )
    .await;
    pair.bob.hang_up(theirs).await.unwrap();
    for events in [&mut pair.alice_events, &mut pair.bob_events] {
        wait(events, |event| matches!(event, UeEvent::Ended { failure: None, .. })).await;
    }
    assert!(matches!(pair.alice.send_text(call, "anyone?").await, Err(UeError::Stopped | UeError::NotUp)));
    pair.alice.stop().await;
    pair.bob.stop().await;
}

fn file(directory: &tempfile::TempDir, size: usize) -> (PathBuf, Vec<u8>) {
    let octets: Vec<u8> = (0..size).map(|i| (i * 7 + i / 251) as u8).collect();
    let path = directory.path().join("holiday.jpg");
    std::fs::write(&path, &octets).unwrap();
    (path, octets)
}

#[tokio::test]
async fn a_file_arrives_whole_under_its_own_name() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kms = kms(&["alice", "bob"]).await;
    let mut pair = pair(Some(kms), |_, bob| bob.inbox = Some(inbox.path().into())).await;
    let (path, octets) = file(&out, 5_000_000);
    pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
    let done = wait(&mut pair.bob_events, |event| matches!(event, UeEvent::FileDone { .. })).await;
    let UeEvent::FileDone { path: Some(path), size, .. } = done else { unreachable!() };
    assert_eq!((path.file_name().unwrap().to_str(), size), (Some("holiday.jpg"), 5_000_000));
    assert!(std::fs::read(path).unwrap() == octets);
    wait(&mut pair.alice_events, |event| matches!(event, UeEvent::FileDone { .. })).await;
    for events in [&mut pair.alice_events, &mut pair.bob_events] {
        wait(events, |event| matches!(event, UeEvent::Ended { failure: None, .. })).await;
    }
    assert_eq!(std::fs::read_dir(inbox.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_stopped() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kms = kms(&["alice", "bob"]).await;
    let mut pair = pair(Some(kms), |_, bob| bob.inbox = Some(inbox.path().into())).await;
    let (path, octets) = file(&out, 1_000_000);
    // What an earlier transfer left.
    let (offer, _) = outbox::describe(&path, "x".into()).await.unwrap();
    let part = inbox.path().join(format!(".{}.part", carnet_wire::hex::encode(&offer.sha1.unwrap())));
    std::fs::write(&part, &octets[..600_000]).unwrap();
    pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
    let done = wait(&mut pair.bob_events, |event| matches!(event, UeEvent::FileDone { .. })).await;
    let UeEvent::FileDone { path: Some(path), .. } = done else { unreachable!() };
    assert!(std::fs::read(path).unwrap() == octets);
    assert!(!part.exists());
}

#[tokio::test]
async fn an_empty_file_is_a_file_too() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kms = kms(&["alice", "bob"]).await;
    let mut pair = pair(Some(kms), |_, bob| bob.inbox = Some(inbox.path().into())).await;
    let (path, _) = file(&out, 0);
    pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
    let done = wait(&mut pair.bob_events, |event| matches!(event, UeEvent::FileDone { .. })).await;
    assert!(matches!(done, UeEvent::FileDone { size: 0, .. }));
}

#[tokio::test]
async fn a_stranger_to_the_key_server_gets_no_call_through() {
    let kms = kms(&["bob"]).await;
    let mut pair = pair(Some(kms), |_, _| {}).await;
    pair.alice.call("sip:bob@example.com").await.unwrap();
    let ended = wait(&mut pair.alice_events, |event| matches!(event, UeEvent::Ended { .. })).await;
    let UeEvent::Ended { failure: Some((word, sentence)), .. } = ended else { panic!("{ended:?}") };
    assert_eq!(word, "kms-key", "{sentence}");
}

#[tokio::test]
async fn a_key_server_that_is_down_is_named() {
    let mut pair = pair(Some(port()), |_, _| {}).await;
    pair.alice.call("sip:bob@example.com").await.unwrap();
    let ended = wait(&mut pair.alice_events, |event| matches!(event, UeEvent::Ended { .. })).await;
    let UeEvent::Ended { failure: Some((word, _)), .. } = ended else { panic!("{ended:?}") };
    assert_eq!(word, "kms-unreachable");
}

#[tokio::test]
async fn clear_is_refused_unless_both_allow_it() {
    let kms = kms(&["alice", "bob"]).await;
    let mut pair = pair(None, |_, bob| {
        bob.allow_clear = false;
        bob.kms = config("bob", bob.listen, bob.listen, Some(kms)).kms;
    })
    .await;
    pair.alice.call("sip:bob@example.com").await.unwrap();
    let ended = wait(&mut pair.bob_events, |event| matches!(event, UeEvent::Ended { .. })).await;
    let UeEvent::Ended { failure: Some((word, _)), .. } = ended else { panic!("{ended:?}") };
    assert_eq!(word, "unsealed");
    let ended = wait(&mut pair.alice_events, |event| matches!(event, UeEvent::Ended { .. })).await;
    let UeEvent::Ended { failure: Some((_, sentence)), .. } = ended else { panic!("{ended:?}") };
    assert!(sentence.contains("488") && sentence.contains("key management required"), "{sentence}");
}

#[tokio::test]
async fn with_leave_of_both_a_chat_in_clear_says_so() {
    let mut pair = pair(None, |_, _| {}).await;
    let call = pair.alice.call("sip:bob@example.com").await.unwrap();
    wait(&mut pair.alice_events, |event| matches!(event, UeEvent::Clear { .. })).await;
    wait(&mut pair.bob_events, |event| matches!(event, UeEvent::Clear { .. })).await;
    pair.alice.send_text(call, "in clear").await.unwrap();
    wait(&mut pair.bob_events, |event| matches!(event, UeEvent::Message { .. })).await;
}

/// A hop between Alice and Bob that changes the SIP messages from one to the other: its address.
///
/// `edit` gets each message with a session description, both ways.
async fn tap(to: SocketAddr, edit: impl FnMut(&str) -> String + Send + 'static) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let edit = Arc::new(Mutex::new(edit));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let there = tokio::net::TcpStream::connect(to).await.unwrap();
            let ((a, b), (c, d)) = (stream.into_split(), there.into_split());
            tokio::spawn(carry(a, d, edit.clone()));
            tokio::spawn(carry(c, b, edit.clone()));
        }
    });
    address
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    edit: Arc<Mutex<impl FnMut(&str) -> String>>,
) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut octets = Vec::new();
    loop {
        while let Some(head) = octets.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8(octets[..head].to_vec()).unwrap();
            let length =
                |line: &str| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
            let body: usize = text.lines().find_map(length).unwrap_or(0);
            if octets.len() < head + 4 + body {
                break;
            }
            let rest = octets.split_off(head + 4 + body);
            let message = String::from_utf8(std::mem::replace(&mut octets, rest)).unwrap();
            let message = if body > 0 { mend(&edit.lock().unwrap()(&message)) } else { message };
            to.write_all(message.as_bytes()).await.unwrap();
        }
        match from.read_buf(&mut octets).await {
            Ok(1..) => {}
            _ => return,
        }
    }
}

/// With the length that the body has now.
fn mend(message: &str) -> String {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let is_length = |line: &&str| line.to_lowercase().starts_with("content-length:");
    let head: Vec<&str> = head.split("\r\n").filter(|line| !is_length(line)).collect();
    format!("{}\r\nContent-Length: {}\r\n\r\n{body}", head.join("\r\n"), body.len())
}

fn without(text: &str, start: &str) -> String {
    text.split("\r\n").filter(|line| !line.starts_with(start)).collect::<Vec<_>>().join("\r\n")
}

/// A pair with a tap between Alice and Bob.
async fn tapped(
    kms: Option<SocketAddr>,
    inbox: Option<PathBuf>,
    edit: impl FnMut(&str) -> String + Send + 'static,
) -> Pair {
    recovering(kms, inbox, [true, true], edit).await
}

/// The same with one who makes connections again, or not.
async fn recovering(
    kms: Option<SocketAddr>,
    inbox: Option<PathBuf>,
    recover: [bool; 2],
    edit: impl FnMut(&str) -> String + Send + 'static,
) -> Pair {
    let bob = port();
    let hop = tap(bob, edit).await;
    pair(kms, |a, b| {
        b.listen = bob;
        b.inbox = inbox;
        a.proxy = format!("sip:{hop};transport=tcp");
        (a.interop.recover, b.interop.recover) = (recover[0], recover[1]);
    })
    .await
}

// RFC 6714 §4.2: the answer comes without CEMA and from a place that the path does not name.
#[tokio::test]
async fn a_peer_that_does_not_know_cema_is_reached_with_a_second_offer() {
    let kms = kms(&["alice", "bob"]).await;
    let mut answers = 0;
    let offers = Arc::new(Mutex::new(Vec::new()));
    let seen = offers.clone();
    let mut pair = tapped(Some(kms), None, move |text| {
        if text.starts_with("INVITE") {
            seen.lock().unwrap().push(text.contains("a=msrp-cema"));
        }
        answers += u32::from(text.starts_with("SIP/2.0 200"));
        if text.starts_with("SIP/2.0 200") && answers == 1 {
            return without(text, "a=msrp-cema").replace("c=IN IP4 127.0.0.1", "c=IN IP4 127.0.0.99");
        }
        text.to_owned()
    })
    .await;
    let call = pair.alice.call("sip:bob@example.com").await.unwrap();
    let (a, b) = (sealed(&mut pair.alice_events).await, sealed(&mut pair.bob_events).await);
    assert_eq!(a.client_random, b.client_random);
    pair.alice.send_text(call, "by the path").await.unwrap();
    wait(&mut pair.bob_events, |event| matches!(event, UeEvent::Message { .. })).await;
    // The second offer goes to Bob's contact, past the tap, if the border does not stay in the way.
    assert_eq!(offers.lock().unwrap().first(), Some(&true));
    pair.alice.hang_up(call).await.unwrap();
    wait(&mut pair.bob_events, |event| matches!(event, UeEvent::Ended { failure: None, .. })).await;
}

#[tokio::test]
async fn strangers_at_the_port_do_not_keep_the_peer_out() {
    for kms in [Some(kms(&["alice", "bob"]).await), None] {
        let strangers = Arc::new(Mutex::new(Vec::new()));
        let kept = strangers.clone();
        let mut pair = tapped(kms, None, move |text| {
            // Alice listens; who reads the offer can be there before Bob.
            let media = text.split("m=message ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            if let (true, Some(port)) = (text.starts_with("INVITE"), media) {
                for _ in 0..40 {
                    let stranger = std::net::TcpStream::connect((HERE, port)).unwrap();
                    kept.lock().unwrap().push(stranger);
                }
            }
            text.to_owned()
        })
        .await;
        let begun = Instant::now();
        let call = pair.alice.call("sip:bob@example.com").await.unwrap();
        up(&mut pair.bob_events).await;
        up(&mut pair.alice_events).await;
        assert!(begun.elapsed() < SOON / 2, "it took {:?}", begun.elapsed());
        pair.alice.send_text(call, "there you are").await.unwrap();
        wait(&mut pair.bob_events, |event| matches!(event, UeEvent::Message { .. })).await;
        assert_eq!(strangers.lock().unwrap().len(), 40);
    }
}

async fn up(events: &mut mpsc::Receiver<UeEvent>) {
    wait(events, |event| matches!(event, UeEvent::Sealed { .. } | UeEvent::Clear { .. })).await;
}

/// How the call ended, and whether that was a failure.
async fn ended(events: &mut mpsc::Receiver<UeEvent>) -> Option<(&'static str, String)> {
    match wait(events, |event| matches!(event, UeEvent::Ended { .. })).await {
        UeEvent::Ended { failure, .. } => failure,
        _ => unreachable!(),
    }
}

/// Cuts the media connection after `octets` from who listens to who connects: an address that leads to
/// whatever `to` says then.
async fn fuse(octets: u64) -> (SocketAddr, Arc<Mutex<Option<SocketAddr>>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let to = Arc::new(Mutex::new(None));
    let target = to.clone();
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let there: SocketAddr = target.lock().unwrap().unwrap();
        let far = tokio::net::TcpStream::connect(there).await.unwrap();
        let ((mut near_in, mut near_out), (far_in, mut far_out)) = (near.into_split(), far.into_split());
        let mut far_in = far_in.take(octets);
        tokio::select! {
            _ = tokio::io::copy(&mut near_in, &mut far_out) => {}
            _ = tokio::io::copy(&mut far_in, &mut near_out) => {}
        }
        drop((far_in, far_out));
        // What is on its way to the receiver gets there.
        near_out.shutdown().await.unwrap();
        let _ = tokio::io::copy(&mut near_in, &mut tokio::io::sink()).await;
    });
    (address, to)
}

/// Leads the media of the first call, as far as it was offered first, to `address`, which is a fuse.
fn led_over(
    address: SocketAddr,
    to: Arc<Mutex<Option<SocketAddr>>>,
) -> impl FnMut(&str) -> String + Send + 'static {
    let mut calls = 0;
    move |text| {
        let invite = text.starts_with("INVITE");
        calls += u32::from(invite);
        if !invite || calls > 1 {
            return text.to_owned();
        }
        // With CEMA the media goes where the line says.
        let (before, rest) = text.split_once("m=message ").unwrap();
        let (port, rest) = rest.split_once(' ').unwrap();
        *to.lock().unwrap() = Some(SocketAddr::new(HERE, port.parse().unwrap()));
        format!("{before}m=message {} {rest}", address.port())
    }
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_file_is_told_on_both_sides_and_goes_on_later() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kms = kms(&["alice", "bob"]).await;
    let (address, to) = fuse(3_000_000).await;
    let mut pair =
        recovering(Some(kms), Some(inbox.path().into()), [false, false], led_over(address, to)).await;
    let (path, octets) = file(&out, 8_000_000);
    pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
    let (word, sentence) = ended(&mut pair.bob_events).await.expect("a file that did not come is a failure");
    assert_eq!(word, "media");
    assert!(sentence.contains("of 8000000 octets of the file; they are kept"), "{sentence}");
    let (_, sentence) = ended(&mut pair.alice_events).await.expect("nor did it arrive");
    assert!(sentence.contains("did not arrive"), "{sentence}");
    let parts: Vec<_> = std::fs::read_dir(inbox.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(parts.len(), 1);
    let kept = parts[0].metadata().unwrap().len();
    assert!((2_000_000..3_000_000).contains(&kept), "{kept}");
    // Sent again it goes on.
    pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
    let done = wait(&mut pair.bob_events, |event| matches!(event, UeEvent::FileDone { .. })).await;
    let UeEvent::FileDone { path: Some(path), moved, .. } = done else { unreachable!() };
    assert_eq!(moved, 8_000_000 - kept);
    assert!(std::fs::read(path).unwrap() == octets);
    assert_eq!(ended(&mut pair.bob_events).await, None);
    assert_eq!(ended(&mut pair.alice_events).await, None);
}

/// RFC 4975 §5.4: in the same call, from where the receiver has it.
#[tokio::test]
async fn a_connection_that_breaks_under_a_file_is_made_again() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kms = kms(&["alice", "bob"]).await;
    let (address, to) = fuse(3_000_000).await;
    let mut pair = tapped(Some(kms), Some(inbox.path().into()), led_over(address, to)).await;
    let (path, octets) = file(&out, 8_000_000);
    pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
    let restored = |event: &UeEvent| matches!(event, UeEvent::Restored { seal: Some(_), .. });
    wait(&mut pair.bob_events, |event| matches!(event, UeEvent::Broken { .. })).await;
    wait(&mut pair.bob_events, restored).await;
    let done = wait(&mut pair.bob_events, |event| matches!(event, UeEvent::FileDone { .. })).await;
    let UeEvent::FileDone { path: Some(path), moved, size, .. } = done else { unreachable!() };
    assert_eq!(size, 8_000_000);
    assert!((5_000_000..6_000_000).contains(&moved), "{moved}");
    assert!(std::fs::read(path).unwrap() == octets);
    assert_eq!(ended(&mut pair.bob_events).await, None);
    wait(&mut pair.alice_events, restored).await;
    wait(&mut pair.alice_events, |event| matches!(event, UeEvent::FileDone { path: None, .. })).await;
    assert_eq!(ended(&mut pair.alice_events).await, None);
}

/// Each text arrives, once and in order, and whoever said it knows.
#[tokio::test]
async fn a_connection_that_breaks_under_a_chat_is_made_again() {
    // In the middle of a message, and the last one can be one whose answer was lost.
    for octets in [30_000, 31_500, 33_000] {
        let kms = kms(&["alice", "bob"]).await;
        let (address, to) = fuse(octets).await;
        let mut pair = tapped(Some(kms), None, led_over(address, to)).await;
        let call = pair.alice.call("sip:bob@example.com").await.unwrap();
        up(&mut pair.alice_events).await;
        let texts: Vec<_> = (0..40).map(|n| format!("{n:04} {}", "x".repeat(2_000))).collect();
        let said = async {
            for text in &texts {
                pair.alice.send_text(call, text).await.expect("it arrives");
            }
        };
        let heard = async {
            let mut heard = Vec::new();
            while heard.len() < texts.len() {
                match wait(&mut pair.bob_events, |event| matches!(event, UeEvent::Message { .. })).await {
                    UeEvent::Message { text, .. } => heard.push(text),
                    _ => unreachable!(),
                }
            }
            heard
        };
        let ((), heard) = tokio::join!(said, heard);
        assert!(heard == texts, "lost, doubled or out of order");
        wait(&mut pair.alice_events, |event| matches!(event, UeEvent::Restored { .. })).await;
        pair.alice.hang_up(call).await.unwrap();
        assert_eq!(ended(&mut pair.alice_events).await, None);
        assert_eq!(ended(&mut pair.bob_events).await, None);
    }
}

/// The one who does not know of it ends the call, and both say why.
#[tokio::test]
async fn a_connection_that_only_one_would_make_again_ends_the_call() {
    for recover in [[true, false], [false, true]] {
        let kms = kms(&["alice", "bob"]).await;
        let (address, to) = fuse(30_000).await;
        let mut pair = recovering(Some(kms), None, recover, led_over(address, to)).await;
        let call = pair.alice.call("sip:bob@example.com").await.unwrap();
        up(&mut pair.alice_events).await;
        let mut outcome = Ok(());
        for _ in 0..40 {
            outcome = pair.alice.send_text(call, &"x".repeat(2_000)).await;
            if outcome.is_err() {
                break;
            }
        }
        assert!(outcome.is_err(), "what was not acknowledged is told");
        assert!(ended(&mut pair.alice_events).await.is_some());
        assert!(ended(&mut pair.bob_events).await.is_some());
    }
}

#[tokio::test]
async fn a_border_that_ends_the_call_under_a_file_is_no_success() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kms = kms(&["alice", "bob"]).await;
    let mut pair = pair(Some(kms), |_, bob| bob.inbox = Some(inbox.path().into())).await;
    let (path, _) = file(&out, 200_000_000);
    let call = pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
    wait(&mut pair.bob_events, |event| matches!(event, UeEvent::FileProgress { .. })).await;
    // Whoever it is that hangs up, for Bob it is a BYE without the file.
    pair.alice.hang_up(call).await.unwrap();
    assert!(ended(&mut pair.bob_events).await.is_some());
    assert!(ended(&mut pair.alice_events).await.is_some());
}

#[tokio::test]
async fn a_file_with_the_wrong_hash_fails_on_both_sides() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kms = kms(&["alice", "bob"]).await;
    // The hash in the offer is of another file, the size is right.
    let mut pair = tapped(Some(kms), Some(inbox.path().into()), |text| {
        let Some(at) = text.find("hash:sha-1:") else { return text.to_owned() };
        let at = at + "hash:sha-1:".len();
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        format!("{}{digit}{}", &text[..at], &text[at + 1..])
    })
    .await;
    let (path, _) = file(&out, 100_000);
    pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
    let (_, sentence) = ended(&mut pair.bob_events).await.unwrap();
    assert!(sentence.contains("hash"), "{sentence}");
    let (_, sentence) = ended(&mut pair.alice_events).await.unwrap();
    assert!(sentence.contains("413"), "{sentence}");
    assert_eq!(std::fs::read_dir(inbox.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn names_of_all_kinds() {
    let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kms = kms(&["alice", "bob"]).await;
    let mut pair = pair(Some(kms), |_, bob| bob.inbox = Some(inbox.path().into())).await;
    for (name, kept) in [
        ("two words.txt", "two words.txt"),
        ("say \"hello\" 100%.txt", "say _hello_ 100_.txt"),
        ("line\nbreak.txt", "line_break.txt"),
        ("back\\slash.txt", "slash.txt"),
        (".hidden", "hidden"),
        ("größe ☂.txt", "größe ☂.txt"),
    ] {
        let path = out.path().join(name);
        std::fs::write(&path, name).unwrap();
        pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
        let done = wait(&mut pair.bob_events, |event| matches!(event, UeEvent::FileDone { .. })).await;
        let UeEvent::FileDone { path: Some(path), .. } = done else { unreachable!() };
        assert_eq!(path.file_name().unwrap().to_str(), Some(kept), "{name:?}");
        assert_eq!(std::fs::read_to_string(path).unwrap(), name);
        assert_eq!(ended(&mut pair.alice_events).await, None, "{name:?}");
        assert_eq!(ended(&mut pair.bob_events).await, None, "{name:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said_before_anybody_is_called() {
    let out = tempfile::tempdir().unwrap();
    let kms = kms(&["alice", "bob"]).await;
    let pair = pair(Some(kms), |_, _| {}).await;
    for path in [out.path().join("none"), out.path().to_owned(), "/dev/null".into()] {
        let error = pair.alice.send_file("sip:bob@example.com", &path).await.unwrap_err();
        assert!(matches!(error, UeError::File { .. } | UeError::NoFile(_)), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_changes_under_the_sender_does_not_arrive() {
    use std::io::Write as _;
    for longer in [true, false] {
        let (out, inbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kms = kms(&["alice", "bob"]).await;
        let (path, _) = file(&out, 5_000_000);
        let changed = path.clone();
        let mut pair = tapped(Some(kms), Some(inbox.path().into()), move |text| {
            if text.starts_with("SIP/2.0 200") {
                let file = std::fs::File::options().append(true).open(&changed).unwrap();
                if longer { (&file).write_all(b"more").unwrap() } else { file.set_len(1_000_000).unwrap() }
            }
            text.to_owned()
        })
        .await;
        pair.alice.send_file("sip:bob@example.com", &path).await.unwrap();
        let (_, sentence) = ended(&mut pair.alice_events).await.unwrap();
        assert!(sentence.contains("changed while it was sent"), "{sentence}");
        assert!(ended(&mut pair.bob_events).await.is_some());
        let here = std::fs::read_dir(inbox.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(here.into_iter().all(|name| name.to_str().unwrap().ends_with(".part")), "no file has a name");
    }
}
