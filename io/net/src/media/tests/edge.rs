//! TLS that ends at a pinhole, with our own certificate socket as the terminal.

use std::net::Shutdown;

use carnet_gateway::media::{Edge, TlsFailure, TlsRole};
use carnet_tls::{
    CertificateContext, CertificateSettings, CertificateSocket, Credential, Error, Side, Versions,
};

use super::*;
use crate::patient::patiently;

/// A terminal with a certificate of its own.
struct Terminal {
    context: CertificateContext,
    fingerprint: String,
}

impl Terminal {
    fn new(versions: Versions) -> Self {
        let credential = Credential::self_signed(&[], 1).unwrap();
        let fingerprint = credential.fingerprint().unwrap().to_string();
        let settings = CertificateSettings { credential: Some(credential), versions, ..Default::default() };
        Self { context: CertificateContext::new(&settings).unwrap(), fingerprint }
    }

    fn socket(&self, stream: TcpStream, side: Side, gateway: &str) -> CertificateSocket<TcpStream> {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut socket = self.context.socket(stream, side).unwrap();
        socket.announce(&[gateway.parse().unwrap()]);
        socket
    }

    fn call(&self, door: SocketAddr, gateway: &str) -> Result<CertificateSocket<TcpStream>, Error> {
        let mut socket = self.socket(TcpStream::connect(door).unwrap(), Side::Client, gateway);
        // A blocking socket returns when it is done.
        socket.handshake().map(|_| socket)
    }
}

fn edge(role: TlsRole, fingerprints: &[&str]) -> Option<std::sync::Arc<Edge>> {
    let fingerprints = fingerprints.iter().map(|text| (*text).to_owned()).collect();
    Some(std::sync::Arc::new(Edge { role, fingerprints }))
}

/// A pinhole where TLS ends, the other way to a plain listener.
struct Access {
    engine: Engine,
    a: Pinhole,
    b: Pinhole,
    door: SocketAddr,
    /// What the gateway shows.
    gateway: String,
    core: TcpListener,
}

impl Access {
    fn open(config: EngineConfig) -> Self {
        let mut engine = Engine::start(config);
        let (a, door, gateway) = engine.reserve_tls();
        let (b, _) = engine.reserve();
        let core = TcpListener::bind((host(1), 0)).unwrap();
        engine.send(Command::Join { a, b });
        engine.configure(b, active(core.local_addr().unwrap()));
        Self { engine, a, b, door, gateway, core }
    }

    fn expect(&mut self, role: TlsRole, fingerprints: &[&str]) {
        self.engine.configure(self.a, Settings { edge: edge(role, fingerprints), ..passive() });
        self.engine.settle(self.a);
    }

    fn core(&self) -> TcpStream {
        let (stream, _) = self.core.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    fn sealed(&mut self) -> String {
        let a = self.a;
        self.engine.expect("Sealed", |event| match event {
            Event::Sealed { pinhole, version, .. } if *pinhole == a => Some(version.clone()),
            _ => None,
        })
    }
}

impl Engine {
    fn reserve_tls(&mut self) -> (Pinhole, SocketAddr, String) {
        self.number += 1;
        let name = Pinhole { group: 7, number: self.number };
        self.send(Command::Reserve { pinhole: name, realm: Some("lo".into()), family: None, tls: true });
        self.expect("Bound with a fingerprint", |event| match event {
            Event::Bound { pinhole, local, fingerprint: Some(shown) } if *pinhole == name => {
                Some((*pinhole, *local, shown.clone()))
            }
            _ => None,
        })
    }
}

fn read_all(socket: &mut CertificateSocket<TcpStream>) -> std::io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 20_000]);
    loop {
        match patiently(|| socket.read(&mut buffer))? {
            0 => return Ok(all),
            octets => all.extend_from_slice(&buffer[..octets]),
        }
    }
}

fn write_all(socket: &mut CertificateSocket<TcpStream>, mut octets: &[u8]) {
    while !octets.is_empty() {
        let taken = socket.write(octets).unwrap();
        octets = &octets[taken..];
    }
}

#[test]
fn a_terminal_in_tls_talks_to_a_core_without() {
    for (versions, version) in [(Versions::Tls13, "TLSv1.3"), (Versions::Tls12, "TLSv1.2")] {
        let terminal = Terminal::new(versions);
        let mut access = Access::open(config());
        access.expect(TlsRole::Server, &[&terminal.fingerprint]);
        let mut caller = terminal.call(access.door, &access.gateway.clone()).unwrap();
        assert_eq!(access.sealed(), version);
        let mut core = access.core();
        write_all(&mut caller, b"MSRP up");
        let mut got = [0; 7];
        core.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"MSRP up");
        core.write_all(b"MSRP down").unwrap();
        let mut got = [0; 64];
        assert_eq!(patiently(|| caller.read(&mut got)).unwrap(), 9);
        assert_eq!(&got[..9], b"MSRP down");
        // Each direction ends for itself, after all data.
        write_all(&mut caller, b"last words");
        caller.close();
        let mut rest = Vec::new();
        core.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"last words");
        core.write_all(b"and an answer").unwrap();
        core.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut caller).unwrap(), b"and an answer");
        assert_eq!(access.engine.closed(access.a), Cause::Normal);
        assert_eq!(access.engine.closed(access.b), Cause::Normal);
        // Octets are those inside TLS.
        let statistics = access.engine.release(access.a);
        assert_eq!((statistics.octets_received, statistics.octets_sent), (17, 22));
    }
}

#[test]
fn bulk_passes_unharmed_both_ways_and_through_tls_on_both_sides() {
    for (versions, both) in [(Versions::Tls13, false), (Versions::Tls12, false), (Versions::Tls13, true)] {
        let (caller, callee) = (Terminal::new(versions), Terminal::new(versions));
        let mut engine = Engine::start(config());
        let (a, door, near) = engine.reserve_tls();
        let listener = TcpListener::bind((host(1), 0)).unwrap();
        let remote = listener.local_addr().unwrap();
        let (b, far) = match both {
            true => {
                let (b, _, far) = engine.reserve_tls();
                (b, far)
            }
            false => (engine.reserve().0, String::new()),
        };
        engine.send(Command::Join { a, b });
        engine.configure(a, Settings { edge: edge(TlsRole::Server, &[&caller.fingerprint]), ..passive() });
        let far_edge = edge(TlsRole::Client, &[&callee.fingerprint]).filter(|_| both);
        engine.configure(b, Settings { edge: far_edge, ..active(remote) });
        engine.settle(b);
        let (up, down) = (noise(3_000_001, 3), noise(3_000_003, 5));
        thread::scope(|scope| {
            let (up, down) = (&up, &down);
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(SOON)).unwrap();
                // First all of one direction, then all of the other.
                if both {
                    let mut socket = callee.socket(stream, Side::Server, &far);
                    socket.handshake().unwrap();
                    assert!(read_all(&mut socket).unwrap() == *up);
                    write_all(&mut socket, down);
                    socket.close();
                } else {
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).unwrap();
                    assert!(got == *up);
                    stream.write_all(down).unwrap();
                }
            });
            let mut socket = caller.call(door, &near).unwrap();
            write_all(&mut socket, up);
            socket.close();
            assert!(read_all(&mut socket).unwrap() == *down);
        });
        assert_eq!(engine.closed(a), Cause::Normal);
        let (a, b) = (engine.release(a), engine.release(b));
        assert_eq!((a.octets_received, a.octets_sent), (3_000_001, 3_000_003));
        assert_eq!((b.octets_received, b.octets_sent), (3_000_003, 3_000_001));
    }
}

#[test]
fn a_wrong_certificate_is_answered_with_bad_certificate() {
    for (versions, late) in
        [(Versions::Tls13, false), (Versions::Tls12, false), (Versions::Tls13, true), (Versions::Tls12, true)]
    {
        let (terminal, other) = (Terminal::new(versions), Terminal::new(versions));
        let mut access = Access::open(config());
        let announced = [other.fingerprint.as_str()];
        access.expect(TlsRole::Server, if late { &[] } else { &announced });
        let (door, gateway) = (access.door, access.gateway.clone());
        let calling = thread::spawn(move || {
            let mut socket = terminal.call(door, &gateway)?;
            // In TLS 1.3 a client hears of it when it reads.
            patiently(|| socket.read(&mut [0; 64])).map(|_| ()).map_err(Error::of_stream)
        });
        access.engine.established(access.a);
        if late {
            access.expect(TlsRole::Server, &[&other.fingerprint]);
        }
        assert_eq!(access.engine.closed(access.a), Cause::Tls(TlsFailure::Fingerprint));
        let error = calling.join().unwrap().unwrap_err();
        assert!(
            matches!(&error, Error::CertificateRefused(text) if text.contains("bad certificate")),
            "{error}"
        );
        access.engine.nothing_like(|event| matches!(event, Event::Sealed { .. }));
    }
}

#[test]
fn nothing_passes_before_the_fingerprint_is_known() {
    for versions in [Versions::Tls13, Versions::Tls12] {
        let terminal = Terminal::new(versions);
        let mut access = Access::open(config());
        access.expect(TlsRole::Server, &[]);
        let (door, gateway, fingerprint) =
            (access.door, access.gateway.clone(), terminal.fingerprint.clone());
        let calling = thread::spawn(move || {
            let mut socket = terminal.call(door, &gateway).unwrap();
            write_all(&mut socket, b"early");
            let mut got = [0; 64];
            let octets = patiently(|| socket.read(&mut got)).unwrap();
            got[..octets].to_vec()
        });
        let mut core = access.core();
        core.write_all(b"held").unwrap();
        core.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(core.read_on(&mut [0; 64]).is_err(), "something passed");
        let held = access.engine.measure(access.a);
        assert_eq!((held.octets_received, held.octets_sent), (0, 0));
        access.engine.nothing_like(|event| matches!(event, Event::Sealed { .. }));
        access.expect(TlsRole::Server, &[&fingerprint]);
        core.set_read_timeout(Some(SOON)).unwrap();
        let mut got = [0; 5];
        core.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"early");
        assert_eq!(calling.join().unwrap(), b"held");
    }
}

#[test]
fn a_pinhole_for_tls_passes_nothing_in_the_open() {
    let mut access = Access::open(config());
    // The controller says nothing of TLS any more.
    access.engine.configure(access.a, passive());
    access.engine.settle(access.a);
    let mut caller = TcpStream::connect(access.door).unwrap();
    caller.write_all(b"MSRP in the open").unwrap();
    let mut core = access.core();
    core.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(core.read_on(&mut [0; 64]).is_err(), "it passed");
    // Once it does, this is no TLS. It was perhaps not the peer, who comes next.
    let terminal = Terminal::new(Versions::Both);
    access.expect(TlsRole::Server, &[&terminal.fingerprint]);
    assert!(
        !matches!(patiently(|| caller.read(&mut [0; 64])), Ok(octets) if octets > 7),
        "more than an alert"
    );
    let mut caller = terminal.call(access.door, &access.gateway.clone()).unwrap();
    access.sealed();
    write_all(&mut caller, b"sealed");
    core.set_read_timeout(Some(SOON)).unwrap();
    let mut got = [0; 6];
    core.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"sealed");
    access.engine.nothing_like(|event| matches!(event, Event::Closed { .. }));
}

#[test]
fn a_peer_that_is_known_is_told_of_when_it_speaks_no_tls() {
    let mut access = Access::open(config());
    let remote = Some(SocketAddr::from((host(1), 9)));
    let edge = edge(TlsRole::Server, &["SHA-256 00"]);
    access.engine.configure(access.a, Settings { edge, remote, ..passive() });
    access.engine.settle(access.a);
    let mut caller = TcpStream::connect(access.door).unwrap();
    let mut core = access.core();
    access.engine.established(access.b);
    caller.write_all(b"MSRP in the open").unwrap();
    assert_eq!(access.engine.closed(access.a), Cause::Tls(TlsFailure::Protocol));
    assert_eq!(access.engine.closed(access.b), Cause::FarSide);
    assert!(is_reset(&mut core));
}

#[test]
fn a_stranger_that_speaks_no_tls_is_told_of_when_nobody_else_comes() {
    let mut config = config();
    config.timers.incoming = Duration::from_millis(400);
    let mut access = Access::open(config);
    access.expect(TlsRole::Server, &["SHA-256 00"]);
    let mut caller = TcpStream::connect(access.door).unwrap();
    caller.write_all(b"MSRP in the open").unwrap();
    assert_eq!(access.engine.closed(access.a), Cause::Tls(TlsFailure::Protocol));
}

#[test]
fn tls_at_a_pinhole_without_a_certificate_is_our_fault() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    engine.configure(relay.a, Settings { edge: edge(TlsRole::Server, &["SHA-256 00"]), ..passive() });
    assert_eq!(engine.closed(relay.a), Cause::Tls(TlsFailure::Ours));
    assert!(is_reset(&mut relay.callee));
    let bare = EngineConfig {
        realms: config().realms.into_iter().map(|r| Realm { certificate: Certificate::None, ..r }).collect(),
        ..config()
    };
    let engine = Engine::start(bare);
    let pinhole = Pinhole { group: 1, number: 1 };
    engine.send(Command::Reserve { pinhole, realm: None, family: None, tls: true });
    let mut engine = engine;
    let reason = engine.expect("Refused", |event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reason, Refusal::NoCertificate);
}

#[test]
fn a_cut_is_told_from_an_end() {
    let terminal = Terminal::new(Versions::Both);
    let mut access = Access::open(config());
    access.expect(TlsRole::Server, &[&terminal.fingerprint]);
    let mut caller = terminal.call(access.door, &access.gateway.clone()).unwrap();
    let mut core = access.core();
    write_all(&mut caller, b"half a message");
    caller.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    core.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"half a message", "what came is passed on");
    assert_eq!(access.engine.closed(access.a), Cause::Tls(TlsFailure::Truncated));
    assert_eq!(access.engine.closed(access.b), Cause::FarSide);
}

#[test]
fn resets_pass_both_ways() {
    let terminal = Terminal::new(Versions::Both);
    for by_the_core in [false, true] {
        let mut access = Access::open(config());
        access.expect(TlsRole::Server, &[&terminal.fingerprint]);
        let caller = terminal.call(access.door, &access.gateway.clone()).unwrap();
        let mut core = access.core();
        access.sealed();
        let linger = |stream: &TcpStream| {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        };
        if by_the_core {
            linger(&core);
            drop(core);
            assert_eq!(access.engine.closed(access.b), Cause::Reset);
            let mut caller = caller;
            assert!(patiently(|| caller.read(&mut [0; 9])).is_err());
        } else {
            linger(caller.get_ref());
            drop(caller);
            assert_eq!(access.engine.closed(access.a), Cause::Reset);
            assert!(is_reset(&mut core));
        }
    }
}

#[test]
fn what_takes_too_long_is_ended() {
    let guard = crate::media::Guard { handshake: Duration::from_millis(300), ..Default::default() };
    let quick = |mut config: EngineConfig| {
        config.realms.iter_mut().for_each(|realm| realm.guard = guard.clone());
        config.timers.unspliced = Duration::from_millis(600);
        config
    };
    let terminal = Terminal::new(Versions::Both);
    // Who says nothing.
    let mut access = Access::open(quick(config()));
    let remote = Some(SocketAddr::from((host(1), 9)));
    let edge = edge(TlsRole::Server, &[&terminal.fingerprint]);
    access.engine.configure(access.a, Settings { edge, remote, ..passive() });
    access.engine.settle(access.a);
    let _silent = TcpStream::connect(access.door).unwrap();
    let _core = access.core();
    assert_eq!(access.engine.closed(access.a), Cause::Tls(TlsFailure::Timeout));
    // Whom nobody has announced.
    let mut access = Access::open(quick(config()));
    access.expect(TlsRole::Server, &[]);
    let (door, gateway) = (access.door, access.gateway.clone());
    let calling = thread::spawn(move || terminal.call(door, &gateway).map(|_| ()));
    let _core = access.core();
    assert_eq!(access.engine.closed(access.a), Cause::Tls(TlsFailure::NoFingerprint));
    let _ = calling.join().unwrap();
}

#[test]
fn the_tls_client_may_be_the_one_who_is_called() {
    // BFCP: the offerer starts TLS, whoever opened TCP (RFC 8856 §8).
    let terminal = Terminal::new(Versions::Both);
    let mut access = Access::open(config());
    access.expect(TlsRole::Client, &[&terminal.fingerprint]);
    let stream = TcpStream::connect(access.door).unwrap();
    let mut caller = terminal.socket(stream, Side::Server, &access.gateway.clone());
    caller.handshake().unwrap();
    access.sealed();
    let mut core = access.core();
    write_all(&mut caller, b"hello");
    let mut got = [0; 5];
    core.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
}

#[test]
fn an_association_goes_along_to_another_loop() {
    let terminal = Terminal::new(Versions::Both);
    let mut access = Access::open(EngineConfig { threads: 2, ..config() });
    access.expect(TlsRole::Server, &[&terminal.fingerprint]);
    let mut caller = terminal.call(access.door, &access.gateway.clone()).unwrap();
    access.sealed();
    let mut core = access.core();
    write_all(&mut caller, b"here");
    core.read_exact(&mut [0; 4]).unwrap();
    for group in [8, 9, 10] {
        let a = moves::regroup(&mut access.engine, access.a, group);
        // What comes while nobody is there waits.
        write_all(&mut caller, b"there");
        let b = moves::regroup(&mut access.engine, access.b, group);
        access.engine.send(Command::Join { a, b });
        let mut got = [0; 5];
        core.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"there");
        core.write_all(b"back").unwrap();
        assert_eq!(patiently(|| caller.read(&mut [0; 9])).unwrap(), 4);
        (access.a, access.b) = (a, b);
    }
}

#[test]
fn handshakes_of_many_do_not_hold_up_who_talks() {
    let terminal = Terminal::new(Versions::Both);
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    let doors: Vec<_> = (0..25)
        .map(|_| {
            let (a, door, gateway) = engine.reserve_tls();
            let edge = edge(TlsRole::Server, &[&terminal.fingerprint]);
            engine.configure(a, Settings { edge, ..passive() });
            (a, door, gateway)
        })
        .collect();
    engine.settle(doors[24].0);
    thread::scope(|scope| {
        for (_, door, gateway) in &doors {
            let terminal = &terminal;
            scope.spawn(move || terminal.call(*door, gateway).map(|socket| socket.get_ref().peer_addr()));
        }
        for _ in 0..200 {
            relay.caller.write_all(b"x").unwrap();
            relay.callee.read_exact(&mut [0; 1]).unwrap();
        }
    });
    for (a, _, _) in doors {
        engine.expect("Sealed", |event| match event {
            Event::Sealed { pinhole, .. } if *pinhole == a => Some(()),
            _ => None,
        });
    }
}

type Writer = Box<dyn FnOnce() + Send>;
type Reader = Box<dyn FnOnce() -> Vec<u8> + Send>;

#[test]
fn another_fingerprint_ends_what_stands_and_the_same_one_does_not() {
    let terminal = Terminal::new(Versions::Both);
    let mut access = Access::open(config());
    access.expect(TlsRole::Server, &[&terminal.fingerprint]);
    let mut caller = terminal.call(access.door, &access.gateway.clone()).unwrap();
    access.sealed();
    let mut core = access.core();
    access.expect(TlsRole::Server, &["sha-1 00:11", &terminal.fingerprint]);
    write_all(&mut caller, b"still there");
    let mut got = [0; 11];
    core.read_exact(&mut got).unwrap();
    access.expect(TlsRole::Server, &[&Terminal::new(Versions::Both).fingerprint]);
    assert_eq!(access.engine.closed(access.a), Cause::Tls(TlsFailure::Fingerprint));
    assert!(is_reset(&mut core));
}

#[test]
fn a_reader_that_stops_stops_the_writer() {
    let terminal = Terminal::new(Versions::Both);
    for up in [true, false] {
        let mut access = Access::open(config());
        access.expect(TlsRole::Server, &[&terminal.fingerprint]);
        let mut caller = terminal.call(access.door, &access.gateway.clone()).unwrap();
        let mut core = access.core();
        access.sealed();
        let sent = noise(64 << 20, 9);
        let total = sent.len();
        let expected = digest(&sent);
        // Whoever writes is stopped long before all has left, and loses nothing.
        let (writer, reader): (Writer, Reader) = if up {
            (
                Box::new(move || {
                    write_all(&mut caller, &sent);
                    caller.close();
                    let _ = read_all(&mut caller);
                }),
                Box::new(move || {
                    let mut all = Vec::new();
                    core.read_to_end(&mut all).unwrap();
                    all
                }),
            )
        } else {
            (
                Box::new(move || {
                    core.write_all(&sent).unwrap();
                }),
                Box::new(move || read_all(&mut caller).unwrap()),
            )
        };
        let writing = thread::spawn(writer);
        let (mut before, until) = (0, Instant::now() + SOON);
        // Until nothing moves any more.
        let stalled = loop {
            assert!(Instant::now() < until, "{before} octets moved");
            thread::sleep(Duration::from_millis(300));
            let moved = access.engine.measure(access.a);
            let moved = moved.octets_received + moved.octets_sent;
            if moved == before && moved > 0 {
                break moved;
            }
            before = moved;
        };
        assert!((stalled as usize) < total / 2, "{stalled} of {total} octets went nowhere");
        let all = reader();
        assert_eq!(all.len(), total);
        assert!(digest(&all) == expected);
        writing.join().unwrap();
    }
}

fn digest(octets: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}
