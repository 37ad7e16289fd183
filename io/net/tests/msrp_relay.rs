//! The MSRP relay on real sockets: clients in Python that share nothing with it, in the open and in TLS, and
//! Kamailio's msrp module as the other relay.

#![allow(clippy::unwrap_used)]

use carnet_net::relay::{RelayConfig, RelayHandle, start};
use carnet_relay::{Listener, Settings};
use carnet_sip::Password;
use carnet_tls::{CertificateContext, CertificateSettings, Credential, SubjectName, Trust};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

fn relay(certificate: Option<&Credential>) -> RelayHandle {
    with(certificate, Vec::new(), 1)
}

/// One where the clients of a scenario are on different threads.
fn threaded(certificate: Option<&Credential>) -> RelayHandle {
    with(certificate, Vec::new(), 3)
}

fn with(certificate: Option<&Credential>, next_hops: Vec<(IpAddr, u8)>, threads: usize) -> RelayHandle {
    let names = ["alice", "bob", "carol", "dave"];
    let word = |name: &str| Password::new(format!("{name}'s-word").into_bytes());
    let listener = |secure| Listener { host: "127.0.0.1".into(), port: 0, secure };
    let listeners =
        if certificate.is_some() { vec![listener(false), listener(true)] } else { vec![listener(false)] };
    let tls = certificate.map(|credential| {
        CertificateContext::new(&CertificateSettings {
            trust: Trust::Pem(credential.certificate_pem().unwrap()),
            credential: Some(credential.clone()),
            ..CertificateSettings::default()
        })
        .unwrap()
    });
    let mut settings = Settings::new("relay.example", listeners);
    settings.min_expires = 1;
    start(RelayConfig {
        listen: settings.listeners.iter().map(|_| ([127, 0, 0, 1], 0).into()).collect(),
        settings,
        users: names.map(|name| (name.to_owned(), word(name))).into(),
        tls,
        next_hops,
        dscp: None,
        socket_buffer: Some(128 << 10),
        threads,
    })
    .unwrap()
}

fn interop(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/msrp").join(file)
}

/// Runs the clients; all that they print.
fn play(arguments: &[&str]) -> String {
    let output = Command::new("python3").arg(interop("relay_peer.py")).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

const ALL: [&str; 10] = [
    "passwords",
    "times",
    "messages",
    "strangers",
    "outside",
    "dead",
    "closed_to_others",
    "flood",
    "stalled",
    "interrupted",
];

#[test]
fn clients_in_the_open() {
    in_the_open(&relay(None));
}

#[test]
fn clients_in_the_open_on_several_threads() {
    in_the_open(&threaded(None));
}

fn in_the_open(relay: &RelayHandle) {
    let port = relay.local()[0].port().to_string();
    let said = play(&["127.0.0.1", &port]);
    for scenario in ALL {
        assert!(said.contains(&format!("ok {scenario}\n")), "{said}");
    }
    let counts = relay.counts();
    assert!(counts.denied > 0 && counts.reports > 0 && counts.refused > 0, "{counts:?}");
}

#[test]
fn clients_in_tls() {
    in_tls(relay);
}

#[test]
fn clients_in_tls_on_several_threads() {
    in_tls(threaded);
}

fn in_tls(relay: impl Fn(Option<&Credential>) -> RelayHandle) {
    let names = [SubjectName::Ip("127.0.0.1".parse().unwrap())];
    let credential = Credential::self_signed(&names, 2).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, credential.certificate_pem().unwrap()).unwrap();
    let relay = relay(Some(&credential));
    let [plain, secure] = [0, 1].map(|n| relay.local()[n].port().to_string());
    let said = play(&["127.0.0.1", &secure, "--tls", ca.to_str().unwrap(), "--plain", &plain]);
    for scenario in ALL {
        assert!(said.contains(&format!("ok {scenario}\n")), "{said}");
    }
}

#[test]
fn two_relays_over_tls() {
    two_over_tls(relay);
}

#[test]
fn two_relays_over_tls_on_several_threads() {
    two_over_tls(threaded);
}

fn two_over_tls(relay: impl Fn(Option<&Credential>) -> RelayHandle) {
    let names = [SubjectName::Ip("127.0.0.1".parse().unwrap())];
    let credential = Credential::self_signed(&names, 2).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, credential.certificate_pem().unwrap()).unwrap();
    let (one, other) = (relay(Some(&credential)), relay(Some(&credential)));
    let port = |relay: &RelayHandle| relay.local()[1].port().to_string();
    let ca = ca.to_str().unwrap();
    let said = play(&["127.0.0.1", &port(&one), "--tls", ca, "--through-tls", "127.0.0.1", &port(&other)]);
    assert!(said.contains("ok chain\n"), "{said}");
}

#[test]
fn a_next_hop_that_says_nothing_is_reported() {
    let relay = relay(None);
    let port = relay.local()[0].port().to_string();
    assert!(play(&["127.0.0.1", &port, "silent"]).contains("ok silent\n"));
}

#[test]
fn a_client_does_not_reach_through_it_what_is_none_of_its_next_hops() {
    let relay = with(None, vec![([127, 0, 0, 1].into(), 32)], 1);
    let port = relay.local()[0].port().to_string();
    let said = play(&["127.0.0.1", &port, "bounds", "outside"]);
    assert!(said.contains("ok bounds\n") && said.contains("ok outside\n"), "{said}");
}

/// Somebody else's relay as a process.
struct Kamailio {
    child: Child,
    port: u16,
    _scratch: tempfile::TempDir,
}

impl Kamailio {
    fn start() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let begin = 12_000 + (std::process::id() % 4_000) as u16 * 2;
        let port = loop {
            let port = begin + NEXT.fetch_add(1, Ordering::Relaxed) % 4_000;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        };
        let scratch = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(interop("kamailio.cfg")).unwrap();
        let file = scratch.path().join("kamailio.cfg");
        std::fs::write(&file, text.replace("@PORT@", &port.to_string()).replace("@CHILDREN@", "1")).unwrap();
        let log = std::fs::File::create(scratch.path().join("log")).unwrap();
        let child = Command::new("kamailio")
            .args(["-DD", "-E", "-f"])
            .arg(&file)
            .arg("-Y")
            .arg(scratch.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || std::fs::read_to_string(scratch.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "Kamailio does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, port, _scratch: scratch }
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // It ends its children when it is asked, not when it is killed.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn kamailio_is_the_other_relay() {
    let kamailio = Kamailio::start();
    let relay = relay(None);
    let (ours, theirs) = (relay.local()[0].port().to_string(), kamailio.port.to_string());
    let said = play(&["127.0.0.1", &ours, "--through", "127.0.0.1", &theirs]);
    assert!(said.contains("ok chain\n"), "{said}");
}

#[test]
fn it_drains_and_ends() {
    drains_and_ends(relay(None));
}

#[test]
fn it_drains_and_ends_on_several_threads() {
    drains_and_ends(threaded(None));
}

fn drains_and_ends(relay: RelayHandle) {
    let address = relay.local()[0];
    // One for each thread that there may be.
    let held = [(); 3].map(|()| TcpStream::connect(address).unwrap());
    let until = Instant::now() + PATIENCE;
    let wait = |what: &dyn Fn() -> bool| {
        while !what() {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait(&|| relay.counts().connections == held.len());
    relay.drain();
    wait(&|| TcpStream::connect(address).is_err());
    assert!(!relay.is_over() && relay.counts().connections == held.len(), "what is there goes on");
    drop(held);
    wait(&|| relay.counts().connections == 0);
    drop(relay);
}
