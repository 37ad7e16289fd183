//! TLS that ends at a pinhole, beside the programs that others speak TLS with.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command as Program, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use carnet_gateway::media::{
    Cause, Command, Edge, Event, Family, Gate, Pinhole, Role, Settings, TlsFailure, TlsRole,
};
use carnet_net::media::{EngineConfig, EngineHandle, Events, MediaEngine, Realm};
use carnet_tls::{CertificateContext, CertificateSettings, CertificateSocket, Credential, Side, SubjectName};

const SOON: Duration = Duration::from_secs(30);
static NEXT_PORT: AtomicU16 = AtomicU16::new(19_000);

struct Gateway {
    engine: EngineHandle,
    events: Events,
    seen: Vec<Event>,
    number: u64,
}

/// One terminal's way through the gateway.
struct Way {
    a: Pinhole,
    b: Pinhole,
    door: SocketAddr,
    fingerprint: String,
    core: TcpListener,
}

impl Gateway {
    fn start(pairs: u16) -> Self {
        let first = NEXT_PORT.fetch_add(2 * pairs + 10, Ordering::Relaxed);
        let realm = Realm {
            name: "lo".into(),
            v4: Some(Ipv4Addr::LOCALHOST),
            ports: first..=first + 2 * pairs + 9,
            ..Realm::default()
        };
        let config = EngineConfig { realms: vec![realm], threads: 2, ..EngineConfig::default() };
        let (engine, events) = MediaEngine::start(config).unwrap();
        Self { engine, events, seen: Vec::new(), number: 0 }
    }

    fn send(&self, command: Command) {
        self.engine.blocking_send(command).unwrap();
    }

    fn expect<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        let until = Instant::now() + SOON;
        loop {
            if let Some(index) = self.seen.iter().position(|event| pick(event).is_some()) {
                return pick(&self.seen.remove(index)).unwrap();
            }
            match self.events.try_recv() {
                Some(event) => self.seen.push(event),
                None if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                None => panic!("{what} did not come; there is {:?}", self.seen),
            }
        }
    }

    fn reserve(&mut self, group: u32, tls: bool) -> (Pinhole, SocketAddr, String) {
        self.number += 1;
        let name = Pinhole { group, number: self.number };
        self.send(Command::Reserve { pinhole: name, realm: None, family: Some(Family::V4), tls });
        self.expect("Bound", |event| match event {
            Event::Bound { pinhole, local, fingerprint } if *pinhole == name => {
                Some((name, *local, fingerprint.clone().unwrap_or_default()))
            }
            _ => None,
        })
    }

    /// A pinhole where TLS ends, towards a listener in the core. Nobody is expected yet.
    fn way(&mut self, group: u32) -> Way {
        let (a, door, fingerprint) = self.reserve(group, true);
        let (b, _, _) = self.reserve(group, false);
        let core = TcpListener::bind("127.0.0.1:0").unwrap();
        self.send(Command::Join { a, b });
        let remote = Some(core.local_addr().unwrap());
        self.configure(b, Settings { role: Role::Active, remote, ..open() });
        Way { a, b, door, fingerprint, core }
    }

    fn configure(&mut self, pinhole: Pinhole, settings: Settings) {
        self.send(Command::Configure { pinhole, settings });
        self.send(Command::Measure { pinhole });
        self.expect("Measured", |event| match event {
            Event::Measured { pinhole: other, .. } if *other == pinhole => Some(()),
            _ => None,
        });
    }

    fn expect_terminal(&mut self, way: &Way, role: TlsRole, fingerprint: &str) {
        self.configure(way.a, Settings { role: Role::Passive, edge: edge(role, fingerprint), ..open() });
    }

    fn closed(&mut self, name: Pinhole) -> Cause {
        self.expect("Closed", |event| match *event {
            Event::Closed { pinhole, cause } if pinhole == name => Some(cause),
            _ => None,
        })
    }

    fn sealed(&mut self, name: Pinhole) -> String {
        self.expect("Sealed", |event| match event {
            Event::Sealed { pinhole, version, .. } if *pinhole == name => Some(version.clone()),
            _ => None,
        })
    }
}

impl Way {
    fn core(&self) -> TcpStream {
        let (stream, _) = self.core.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }
}

fn open() -> Settings {
    Settings { gate: Gate::SendReceive, ..Settings::default() }
}

fn edge(role: TlsRole, fingerprint: &str) -> Option<Arc<Edge>> {
    let fingerprints = match fingerprint {
        "" => Vec::new(),
        one => vec![one.to_owned()],
    };
    Some(Arc::new(Edge { role, fingerprints }))
}

fn have(program: &str) -> bool {
    let found = Program::new(program)
        .arg(if program == "openssl" { "version" } else { "--version" })
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(
        found || std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(),
        "{program} is not installed, and CARNET_REQUIRE_INTEROP asks for it"
    );
    found
}

/// A certificate that a program can read, and its fingerprint.
struct Files {
    certificate: String,
    key: String,
    fingerprint: String,
    _folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let credential = Credential::self_signed(&[SubjectName::Dns("ue".into())], 1).unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        std::fs::write(&certificate, credential.certificate_pem().unwrap()).unwrap();
        std::fs::write(&key, &*credential.private_key_pem().unwrap()).unwrap();
        let fingerprint = credential.fingerprint().unwrap().to_string();
        Self { certificate, key, fingerprint, _folder: folder }
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str]) -> Running {
    let child = Program::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Running(child)
}

/// Ends its input and waits for what it has said.
fn ending(mut running: Running) -> String {
    drop(running.0.stdin.take());
    let mut said = String::new();
    let mut errors = String::new();
    let _ = running.0.stdout.take().unwrap().read_to_string(&mut said);
    let _ = running.0.stderr.take().unwrap().read_to_string(&mut errors);
    said + &errors
}

/// Of the certificate in what a client has printed, by OpenSSL's own reckoning.
fn fingerprint_of(said: &str) -> String {
    let mut program = start("openssl", &["x509", "-noout", "-fingerprint", "-sha256"]);
    program.0.stdin.as_mut().unwrap().write_all(said.as_bytes()).unwrap();
    ending(program).trim().rsplit_once('=').unwrap().1.to_owned()
}

#[test]
fn openssl_as_the_terminal_in_both_versions() {
    if !have("openssl") {
        return;
    }
    let files = Files::new();
    let mut gateway = Gateway::start(4);
    for (group, (argument, version)) in
        [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")].into_iter().enumerate()
    {
        let way = gateway.way(u32::try_from(group).unwrap());
        gateway.expect_terminal(&way, TlsRole::Server, &files.fingerprint);
        let door = way.door.to_string();
        let mut client = start(
            "openssl",
            &["s_client", "-connect", &door, "-cert", &files.certificate, "-key", &files.key, argument],
        );
        client.0.stdin.as_mut().unwrap().write_all(b"up\n").unwrap();
        assert_eq!(gateway.sealed(way.a), version);
        let mut core = way.core();
        let mut got = [0; 3];
        core.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"up\n");
        core.write_all(b"down").unwrap();
        // Our end is in order, and so is the answer: a half-close after all data.
        core.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        core.read_to_end(&mut rest).unwrap();
        let said = ending(client);
        assert!(said.contains("down"), "{said}");
        assert_eq!(fingerprint_of(&said), way.fingerprint.split_once(' ').unwrap().1);
        assert_eq!(gateway.closed(way.b), Cause::Normal, "{said}");
    }
}

#[test]
fn openssl_with_a_wrong_certificate_or_none_hears_the_right_alert() {
    if !have("openssl") {
        return;
    }
    let (files, other) = (Files::new(), Files::new());
    let mut gateway = Gateway::start(12);
    let show = ["-cert", files.certificate.as_str(), "-key", files.key.as_str()];
    let cases: [(&[&str], &str, TlsFailure, &str); 4] = [
        (&show, "-tls1_3", TlsFailure::Fingerprint, "alert bad certificate"),
        (&show, "-tls1_2", TlsFailure::Fingerprint, "alert bad certificate"),
        (&[], "-tls1_3", TlsFailure::NoCertificate, "alert certificate required"),
        (&[], "-tls1_2", TlsFailure::NoCertificate, "alert handshake failure"),
    ];
    let mut group = 0;
    for late in [false, true] {
        for (certificate, version, why, alert) in cases {
            group += 1;
            let way = gateway.way(group);
            gateway.expect_terminal(&way, TlsRole::Server, if late { "" } else { &other.fingerprint });
            let door = way.door.to_string();
            let arguments = [&["s_client", "-connect", &door, version], certificate].concat();
            let client = start("openssl", &arguments);
            if late {
                let a = way.a;
                gateway.expect("Established", |event| match event {
                    Event::Established { pinhole, .. } if *pinhole == a => Some(()),
                    _ => None,
                });
                gateway.expect_terminal(&way, TlsRole::Server, &other.fingerprint);
            }
            assert_eq!(gateway.closed(way.a), Cause::Tls(why), "{version} {certificate:?}");
            // Its input stays open until it has heard.
            let mut client = client;
            let mut said = String::new();
            let _ = client.0.stderr.take().unwrap().read_to_string(&mut said);
            assert!(said.contains(alert), "{version} late: {late}: {said}");
        }
    }
}

#[test]
fn openssl_as_the_tls_server_that_is_called_or_calls() {
    if !have("openssl") {
        return;
    }
    let files = Files::new();
    let mut gateway = Gateway::start(4);
    for (group, version) in [(1, "-tls1_3"), (2, "-tls1_2")] {
        let (a, _, fingerprint) = gateway.reserve(group, true);
        let (b, door, _) = gateway.reserve(group, false);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut server = start(
            "openssl",
            &[
                "s_server",
                "-accept",
                &port,
                "-cert",
                &files.certificate,
                "-key",
                &files.key,
                version,
                "-Verify",
                "1",
                "-naccept",
                "1",
            ],
        );
        let until = Instant::now() + SOON;
        // It says so when it listens.
        let mut said = String::new();
        while !said.contains("ACCEPT") {
            assert!(Instant::now() < until, "{said}");
            let mut octet = [0; 1];
            server.0.stdout.as_mut().unwrap().read_exact(&mut octet).unwrap();
            said.push(char::from(octet[0]));
        }
        let remote = Some(format!("127.0.0.1:{port}").parse().unwrap());
        gateway.send(Command::Join { a, b });
        gateway.configure(b, Settings { role: Role::Passive, ..open() });
        let edge = edge(TlsRole::Client, &files.fingerprint);
        gateway.configure(a, Settings { role: Role::Active, remote, edge, ..open() });
        let mut core = TcpStream::connect(door).unwrap();
        core.set_read_timeout(Some(SOON)).unwrap();
        core.write_all(b"from the core\n").unwrap();
        gateway.sealed(a);
        server.0.stdin.as_mut().unwrap().write_all(b"to the core\n").unwrap();
        let mut got = [0; 12];
        core.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"to the core\n");
        core.shutdown(Shutdown::Write).unwrap();
        let said = ending(server);
        assert!(said.contains("from the core"), "{said}");
        // It was shown what the controller was told.
        assert!(said.contains("BEGIN CERTIFICATE") || said.contains("subject="), "{said}");
        assert!(fingerprint.starts_with("SHA-256 "));
    }
}

#[test]
fn a_renegotiation_is_refused_and_the_session_goes_on() {
    if !have("openssl") {
        return;
    }
    let files = Files::new();
    let mut gateway = Gateway::start(4);
    // `R` renegotiates in TLS 1.2, `k` and `K` update keys in TLS 1.3.
    for (group, version, letters) in [(1, "-tls1_2", &["R\n"][..]), (2, "-tls1_3", &["k\n", "K\n"][..])] {
        let way = gateway.way(group);
        gateway.expect_terminal(&way, TlsRole::Server, &files.fingerprint);
        let door = way.door.to_string();
        let mut client = start(
            "openssl",
            &["s_client", "-connect", &door, "-cert", &files.certificate, "-key", &files.key, version],
        );
        gateway.sealed(way.a);
        let mut core = way.core();
        let mut read = |wanted: &[u8]| {
            let mut got = vec![0; wanted.len()];
            core.read_exact(&mut got).unwrap();
            assert_eq!(got, wanted);
        };
        for letter in letters {
            let stdin = client.0.stdin.as_mut().unwrap();
            stdin.write_all(b"before\n").unwrap();
            read(b"before\n");
            // It is a command only where it is all that is read at once.
            stdin.write_all(letter.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(300));
            if version == "-tls1_3" {
                client.0.stdin.as_mut().unwrap().write_all(b"after\n").unwrap();
                read(b"after\n");
            }
        }
        if version == "-tls1_2" {
            // OpenSSL's client takes the refusal as the end.
            let said = ending(client);
            assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
        }
    }
}

#[test]
fn gnutls_as_the_terminal() {
    if !have("gnutls-cli") {
        return;
    }
    let files = Files::new();
    let mut gateway = Gateway::start(4);
    for (group, version, wanted) in [(1, "TLS1.3", "TLSv1.3"), (2, "TLS1.2", "TLSv1.2")] {
        let way = gateway.way(group);
        gateway.expect_terminal(&way, TlsRole::Server, &files.fingerprint);
        let port = way.door.port().to_string();
        let priority = format!("NORMAL:-VERS-ALL:+VERS-{version}");
        let mut client = start(
            "gnutls-cli",
            &[
                "127.0.0.1",
                "-p",
                &port,
                "--insecure",
                "--x509certfile",
                &files.certificate,
                "--x509keyfile",
                &files.key,
                "--priority",
                &priority,
            ],
        );
        client.0.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
        assert_eq!(gateway.sealed(way.a), wanted);
        let mut core = way.core();
        let mut got = [0; 6];
        core.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"hello\n");
        core.write_all(b"welcome\n").unwrap();
        core.shutdown(Shutdown::Write).unwrap();
        let said = ending(client);
        assert!(said.contains("welcome"), "{said}");
    }
}

/// Octets that do not repeat in step with any buffer.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut octets = Vec::with_capacity(length + 8);
    while octets.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets.extend_from_slice(&state.to_le_bytes());
    }
    octets.truncate(length);
    octets
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn two_hundred_sessions_of_all_kinds_leave_nothing_behind() {
    const SESSIONS: u32 = 200;
    let credential = Credential::self_signed(&[], 1).unwrap();
    let fingerprint = credential.fingerprint().unwrap().to_string();
    let settings = CertificateSettings { credential: Some(credential), ..Default::default() };
    let terminal = CertificateContext::new(&settings).unwrap();
    let mut gateway = Gateway::start(u16::try_from(SESSIONS).unwrap());
    let ways: Vec<Way> = (0..SESSIONS).map(|group| gateway.way(group)).collect();
    for way in &ways {
        gateway.expect_terminal(way, TlsRole::Server, &fingerprint);
    }
    thread::scope(|scope| {
        for (number, way) in ways.iter().enumerate() {
            let terminal = &terminal;
            scope.spawn(move || session(number, way, terminal));
        }
    });
    for way in &ways {
        for pinhole in [way.a, way.b] {
            gateway.send(Command::Release { pinhole });
        }
    }
    for _ in 0..2 * SESSIONS {
        gateway.expect("Released", |event| matches!(event, Event::Released { .. }).then_some(()));
    }
    // Each way has a listener of the test; the rest is what any test of this process holds.
    let until = Instant::now() + SOON;
    while open_files() > 200 + 120 {
        assert!(Instant::now() < until, "{} descriptors are open", open_files());
        thread::sleep(Duration::from_millis(20));
    }
}

/// One session: data both ways in pieces of all sizes; every third is cut somewhere by a reset.
fn session(number: usize, way: &Way, terminal: &CertificateContext) {
    let (up, down) = (noise(20_000 + 301 * number, 3), noise(30_000 + 177 * number, 5));
    let stream = TcpStream::connect(way.door).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut socket: CertificateSocket<TcpStream> = terminal.socket(stream, Side::Client).unwrap();
    socket.announce(&[way.fingerprint.parse().unwrap()]);
    socket.handshake().unwrap();
    let cut = number.is_multiple_of(3).then_some(97 * number);
    let mut core = way.core();
    let (to_core, from_core) = (&up, &down);
    thread::scope(|scope| {
        let core_side = scope.spawn(move || {
            let mut got = Vec::new();
            let whole = core.read_to_end(&mut got).is_ok();
            // A core that was reset may not be able to answer.
            let _ = core.write_all(from_core).and_then(|()| core.shutdown(Shutdown::Write));
            (got, whole)
        });
        let (mut sent, mut step) = (0, 1);
        while sent < to_core.len() {
            let piece = &to_core[sent..to_core.len().min(sent + step)];
            sent += socket.write(piece).unwrap();
            step = step * 7 % 4093 + 1;
            if cut.is_some_and(|cut| sent > cut) {
                socket2::SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
                drop(socket);
                let (got, _) = core_side.join().unwrap();
                assert!(to_core.starts_with(&got), "session {number}");
                return;
            }
        }
        socket.close();
        let (mut got, mut buffer) = (Vec::new(), vec![0; 5000]);
        loop {
            match socket.read(&mut buffer).unwrap() {
                0 => break,
                octets => got.extend_from_slice(&buffer[..octets]),
            }
        }
        let common = got.iter().zip(from_core).take_while(|(a, b)| a == b).count();
        assert!(
            got == *from_core,
            "session {number}: {} of {} octets, the same up to {common}",
            got.len(),
            from_core.len()
        );
        let (got, whole) = core_side.join().unwrap();
        assert!(whole && got == *to_core, "session {number}");
    });
}

#[test]
fn versions_below_1_2_are_refused() {
    if !have("openssl") {
        return;
    }
    let files = Files::new();
    let mut gateway = Gateway::start(2);
    let way = gateway.way(1);
    let remote = Some("127.0.0.1:9".parse().unwrap());
    let edge = edge(TlsRole::Server, &files.fingerprint);
    gateway.configure(way.a, Settings { role: Role::Passive, edge, remote, ..open() });
    let door = way.door.to_string();
    let client =
        start("openssl", &["s_client", "-connect", &door, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]);
    assert_eq!(gateway.closed(way.a), Cause::Tls(TlsFailure::NothingInCommon));
    let said = ending(client);
    assert!(said.contains("protocol version"), "{said}");
}
