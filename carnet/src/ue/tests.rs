//! Two clients and a key server on loopback: real sockets, real TLS, no network in between.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
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
    let wall = SystemTime::now();
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

/// A free port, which the client then takes.
fn port() -> SocketAddr {
    std::net::TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap()
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
    let offer = outbox::describe(&path, "x".into()).await.unwrap();
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
    assert_eq!(word, "kms-refused", "{sentence}");
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
