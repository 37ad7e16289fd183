//! Who gets in, who does not, and what was counted.

use super::*;
use crate::media::{Guard, Tally};

const HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc];

fn guarded(guard: Guard) -> EngineConfig {
    let mut config = config();
    config.realms[0].guard = guard;
    config
}

fn tls_only() -> EngineConfig {
    guarded(Guard { tls_only: true, ..Guard::default() })
}

fn listener() -> TcpListener {
    TcpListener::bind((host(1), 0)).unwrap()
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    stream.read_exact(&mut octets).unwrap();
    octets
}

fn reset(stream: TcpStream) {
    socket2::Socket::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The other end has closed, in whichever way.
fn is_sent_away(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(SOON)).unwrap();
    match stream.read_on(&mut [0]) {
        Ok(octets) => octets == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

impl Engine {
    fn tally(&self) -> Tally {
        self.handle.tallies().remove(0).1
    }

    /// Waits until something has been counted.
    fn counts(&self, what: &str, holds: impl Fn(Tally) -> bool) {
        let until = Instant::now() + SOON;
        while !holds(self.tally()) {
            assert!(Instant::now() < until, "{what}: {:?}", self.tally());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_peer_quicker_than_the_settings_waits_and_nothing_is_accepted_before_the_gate_opens() {
    let mut engine = Engine::start(config());
    let listener = listener();
    let (a, door) = engine.reserve();
    let (b, _) = engine.reserve();
    engine.send(Command::Join { a, b });
    // Before any settings, and before those that open the gate.
    let mut early = TcpStream::connect(door).unwrap();
    early.write_all(b"early").unwrap();
    engine.configure(a, Settings { gate: Gate::Inactive, ..passive() });
    engine.configure(b, active(listener.local_addr().unwrap()));
    engine.settle(a);
    engine.nothing_like(|event| matches!(event, Event::Established { .. }));
    assert_eq!(engine.measure(a).octets_received, 0);
    engine.configure(a, passive());
    let mut far = accept(&listener);
    assert_eq!(read(&mut far, 5), b"early");
}

#[test]
fn who_waited_for_the_gate_is_judged_by_the_settings() {
    let mut engine = Engine::start(config());
    let (a, door) = engine.reserve();
    let stranger = from_address(host(66), door);
    let friend = from_address(host(9), door);
    let filter = SourceFilter { network: Some((host(9).into(), 32)), ports: None };
    engine.configure(a, Settings { filter, ..passive() });
    assert!(is_sent_away(&stranger));
    assert_eq!(engine.established(a), friend.local_addr().unwrap());
    assert_eq!(engine.tally().filtered, 1);
}

#[test]
fn a_pinhole_that_is_to_call_sends_away_who_waited() {
    let mut engine = Engine::start(config());
    let listener = listener();
    let (a, door) = engine.reserve();
    let early = TcpStream::connect(door).unwrap();
    engine.configure(a, active(listener.local_addr().unwrap()));
    assert!(is_sent_away(&early));
    engine.send(Command::Connect { pinhole: a });
    accept(&listener);
}

#[test]
fn a_filter_that_comes_later_holds_for_who_has_not_spoken() {
    let mut engine = Engine::start(config());
    let (a, door) = engine.reserve();
    engine.configure(a, passive());
    engine.settle(a);
    let stranger = from_address(host(66), door);
    engine.established(a);
    let filter = SourceFilter { network: Some((host(9).into(), 32)), ports: None };
    engine.configure(a, Settings { filter, ..passive() });
    assert!(is_sent_away(&stranger));
    let friend = from_address(host(9), door);
    while engine.established(a) != friend.local_addr().unwrap() {}
}

/// A stranger has the gateway call the far side, says nothing, and goes.
fn comes_and_goes(go: impl FnOnce(TcpStream)) {
    let mut engine = Engine::start(config());
    let listener = listener();
    let (a, door, b) = engine.relay_to(listener.local_addr().unwrap());
    let stranger = TcpStream::connect(door).unwrap();
    let mut far = accept(&listener);
    engine.established(b);
    go(stranger);
    engine.closed(a);
    let mut peer = TcpStream::connect(door).unwrap();
    peer.write_all(b"hello").unwrap();
    assert_eq!(read(&mut far, 5), b"hello", "over the connection that was there");
    engine.nothing_like(|event| matches!(event, Event::Closed { .. }));
}

#[test]
fn a_stranger_who_resets_without_a_word_ends_nothing() {
    comes_and_goes(reset);
}

#[test]
fn a_stranger_who_closes_without_a_word_ends_nothing() {
    comes_and_goes(drop);
}

#[test]
fn the_next_in_line_follows_one_that_left() {
    let mut engine = Engine::start(config());
    let listener = listener();
    let (a, door, _) = engine.relay_to(listener.local_addr().unwrap());
    let stranger = TcpStream::connect(door).unwrap();
    let mut far = accept(&listener);
    let mut peer = TcpStream::connect(door).unwrap();
    assert_eq!(engine.established(a), stranger.local_addr().unwrap());
    // It waits beside the stranger, and has not spoken yet.
    engine.settle(a);
    drop(stranger);
    assert_eq!(engine.established(a), peer.local_addr().unwrap());
    peer.write_all(b"hello").unwrap();
    assert_eq!(read(&mut far, 5), b"hello");
}

#[test]
fn one_source_does_not_push_another_out_of_the_queue() {
    let mut engine = Engine::start(config());
    let listener = listener();
    let (_, door, _) = engine.relay_to(listener.local_addr().unwrap());
    let flood = |many| -> Vec<_> { (0..many).map(|_| try_from_address(host(66), door)).collect() };
    let before = flood(20);
    let mut far = accept(&listener);
    let mut slow = TcpStream::connect(door).unwrap();
    let after = flood(200);
    engine.counts("all but a few are sent away", |tally| tally.outdone >= 200);
    // As late as its first words come.
    slow.write_all(b"hello").unwrap();
    assert_eq!(read(&mut far, 5), b"hello");
    drop((before, after));
}

#[test]
fn a_source_has_no_more_connections_than_it_may() {
    let mut engine = Engine::start(guarded(Guard { per_source: Some(2), ..Guard::default() }));
    let doors: Vec<_> = (0..4)
        .map(|_| {
            let (a, door) = engine.reserve();
            engine.configure(a, passive());
            (a, door)
        })
        .collect();
    engine.settle(doors[3].0);
    let held: Vec<_> = doors[..2].iter().map(|(_, door)| TcpStream::connect(door).unwrap()).collect();
    engine.established(doors[0].0);
    engine.established(doors[1].0);
    // It may be reset before it knows that it is connected.
    assert!(TcpStream::connect(doors[2].1).map_or(true, |one| is_sent_away(&one)));
    assert_eq!(engine.tally().crowded, 1);
    // Another source may, and so may this one when one of its connections is gone.
    let _other = from_address(host(9), doors[3].1);
    engine.established(doors[3].0);
    drop(held);
    engine.closed(doors[0].0);
    engine.closed(doors[1].0);
    let _again = TcpStream::connect(doors[2].1).unwrap();
    engine.established(doors[2].0);
}

#[test]
fn a_source_makes_connections_no_faster_than_it_may() {
    let mut engine = Engine::start(guarded(Guard { accepts_per_source: Some(5), ..Guard::default() }));
    let listener = listener();
    let (_, door, _) = engine.relay_to(listener.local_addr().unwrap());
    let flood: Vec<_> = (0..50).map(|_| try_from_address(host(66), door)).collect();
    engine.counts("most are too fast", |tally| tally.hasty >= 40);
    let mut peer = TcpStream::connect(door).unwrap();
    peer.write_all(b"hello").unwrap();
    assert_eq!(read(&mut accept(&listener), 5), b"hello");
    drop(flood);
}

#[test]
fn floods_at_many_doors_keep_no_octets_and_no_caller_waiting() {
    let mut engine = Engine::start(config());
    let listener = listener();
    let mut running = engine.relay();
    let doors: Vec<_> = (0..20)
        .map(|_| {
            let (a, door) = engine.reserve();
            engine.configure(a, passive());
            door
        })
        .collect();
    let (_, quiet, _) = engine.relay_to(listener.local_addr().unwrap());
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let (doors, over) = (&doors, &over);
        for part in 0..2 {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    for door in doors.iter().skip(part).step_by(2) {
                        let _ = try_from_address(host(66), *door).map(reset);
                    }
                }
            });
        }
        for _ in 0..200 {
            running.caller.write_all(b"ping").unwrap();
            read(&mut running.callee, 4);
        }
        let mut peer = TcpStream::connect(quiet).unwrap();
        peer.write_all(b"hello").unwrap();
        assert_eq!(read(&mut accept(&listener), 5), b"hello");
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn only_tls_begins_where_only_tls_may() {
    let mut engine = Engine::start(tls_only());
    let listener = listener();
    let (a, door, b) = engine.relay_to(listener.local_addr().unwrap());
    let mut scanner = TcpStream::connect(door).unwrap();
    scanner.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(is_sent_away(&scanner));
    assert_eq!(engine.closed(a), Cause::NotTls);
    assert_eq!(engine.tally().not_tls, 1);
    // The peer comes afterwards, and not one of its octets is missing.
    let mut peer = TcpStream::connect(door).unwrap();
    peer.write_all(&HELLO).unwrap();
    let mut far = accept(&listener);
    assert_eq!(read(&mut far, 9), HELLO);
    assert_eq!(engine.established(a), peer.local_addr().unwrap());
    engine.established(b);
    far.write_all(&[22, 3, 3, 0, 0x7a, 2, 0, 0, 0x76]).unwrap();
    read(&mut peer, 9);
    // What comes later is not looked at.
    peer.write_all(b"whatever").unwrap();
    assert_eq!(read(&mut far, 8), b"whatever");
}

#[test]
fn a_hello_that_comes_octet_by_octet_begins_when_it_can_be_told() {
    let mut engine = Engine::start(tls_only());
    let listener = listener();
    let (a, door, _) = engine.relay_to(listener.local_addr().unwrap());
    let mut slow = TcpStream::connect(door).unwrap();
    for octet in &HELLO[..8] {
        slow.write_all(&[*octet]).unwrap();
        engine.settle(a);
    }
    engine.nothing_like(|event| matches!(event, Event::Established { pinhole, .. } if *pinhole == a));
    // Nothing stops one that is quicker meanwhile.
    let mut quick = TcpStream::connect(door).unwrap();
    quick.write_all(&HELLO).unwrap();
    assert_eq!(engine.established(a), quick.local_addr().unwrap());
    assert_eq!(read(&mut accept(&listener), 9), HELLO);
    assert!(is_sent_away(&slow));
}

#[test]
fn a_whole_hello_in_pieces_passes() {
    let mut engine = Engine::start(tls_only());
    let listener = listener();
    let (_, door, _) = engine.relay_to(listener.local_addr().unwrap());
    let mut slow = TcpStream::connect(door).unwrap();
    let mut far = accept(&listener);
    for octet in HELLO {
        slow.write_all(&[octet]).unwrap();
        thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(read(&mut far, 9), HELLO);
}

#[test]
fn a_handshake_that_does_not_begin_in_time_makes_room() {
    let guard = Guard { tls_only: true, handshake: Duration::from_millis(200), ..Guard::default() };
    let mut engine = Engine::start(guarded(guard));
    let listener = listener();
    let (_, door, _) = engine.relay_to(listener.local_addr().unwrap());
    let mut slow = TcpStream::connect(door).unwrap();
    slow.write_all(&HELLO[..3]).unwrap();
    let far = accept(&listener);
    assert!(is_sent_away(&slow));
    assert_eq!(engine.tally().slow, 1);
    // The far side, which has been called already, is there for the next one.
    let mut peer = TcpStream::connect(door).unwrap();
    peer.write_all(&HELLO).unwrap();
    let mut far = far;
    assert_eq!(read(&mut far, 9), HELLO);
}

#[test]
fn a_called_peer_who_does_not_speak_tls_is_reported() {
    let mut engine = Engine::start(tls_only());
    let listener = listener();
    let (a, door, b) = engine.relay_to(listener.local_addr().unwrap());
    let mut caller = TcpStream::connect(door).unwrap();
    caller.write_all(&HELLO).unwrap();
    let mut far = accept(&listener);
    read(&mut far, 9);
    far.write_all(b"220 mail.example ESMTP\r\n").unwrap();
    assert_eq!(engine.closed(b), Cause::NotTls);
    assert_eq!(engine.closed(a), Cause::FarSide);
    assert!(is_reset(&mut caller));
}

#[test]
fn a_tls_server_that_waits_to_be_spoken_to_may_be_the_caller() {
    let mut engine = Engine::start(tls_only());
    let listener = listener();
    let (_, door, _) = engine.relay_to(listener.local_addr().unwrap());
    let mut server = TcpStream::connect(door).unwrap();
    let mut client = accept(&listener);
    client.write_all(&HELLO).unwrap();
    assert_eq!(read(&mut server, 9), HELLO);
    let hello = [22, 3, 3, 0, 0x7a, 2, 0, 0, 0x76];
    server.write_all(&hello).unwrap();
    assert_eq!(read(&mut client, 9), hello);
}

#[test]
fn scanners_do_not_flood_the_controller() {
    let mut engine = Engine::start(tls_only());
    let (a, door) = engine.reserve();
    engine.configure(a, passive());
    engine.settle(a);
    for _ in 0..200 {
        let mut scanner = TcpStream::connect(door).unwrap();
        scanner.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(is_sent_away(&scanner));
    }
    assert_eq!(engine.tally().not_tls, 200);
    engine.settle(a);
    let told = engine.seen.iter().filter(|event| matches!(event, Event::Closed { .. })).count();
    assert!((1..60).contains(&told), "{told} reports");
    engine.nothing_like(|event| matches!(event, Event::Established { .. }));
}

#[test]
fn those_who_come_and_go_do_not_flood_the_controller() {
    let mut engine = Engine::start(config());
    let (a, door) = engine.reserve();
    engine.configure(a, passive());
    engine.settle(a);
    for _ in 0..500 {
        drop(TcpStream::connect(door).unwrap());
    }
    engine.settle(a);
    // The peer is told of when it speaks.
    let mut peer = TcpStream::connect(door).unwrap();
    peer.write_all(b"hello").unwrap();
    while engine.established(a) != peer.local_addr().unwrap() {}
    let told = engine.seen.iter().filter(|event| matches!(event, Event::Closed { .. })).count();
    assert!((1..60).contains(&told), "{told} reports");
}

#[test]
fn a_rate_holds_over_seconds_and_nothing_is_lost() {
    const RATE: u64 = 400_000;
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    let rate = Some(Rate { octets_per_second: RATE, burst: 40_000 });
    engine.configure(relay.a, Settings { rate, ..passive() });
    engine.settle(relay.a);
    let octets = noise(RATE as usize * 4, 21);
    let mut got = Vec::new();
    let (mut begun, mut at_begin) = (None, 0);
    let took = thread::scope(|scope| {
        scope.spawn(|| relay.caller.write_all(&octets).unwrap());
        let mut buffer = vec![0; 64 * 1024];
        while got.len() < octets.len() {
            let read = relay.callee.read_on(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..read]);
            // What the burst let through at once is not what is measured.
            if begun.is_none() && got.len() >= 100_000 {
                (begun, at_begin) = (Some(Instant::now()), got.len());
            }
        }
        begun.unwrap().elapsed()
    });
    assert!(got == octets);
    let rate = (octets.len() - at_begin) as f64 / took.as_secs_f64();
    let off = rate / RATE as f64;
    assert!((0.9..1.1).contains(&off), "{rate} octets a second");
}

#[test]
fn a_port_in_quarantine_is_given_last() {
    let mut config = guarded(Guard { quarantine: Duration::from_secs(3600), ..Guard::default() });
    let first = *config.realms[0].ports.start();
    config.realms[0].ports = first..=first + 3;
    let mut engine = Engine::start(config);
    let (a, used) = engine.reserve();
    engine.release(a);
    let others: Vec<_> = (0..3).map(|_| engine.reserve().1).collect();
    assert!(!others.contains(&used), "{used} before {others:?}");
    assert_eq!(engine.tally().unrested, 0);
    assert_eq!(engine.reserve().1, used);
    assert_eq!(engine.tally().unrested, 1);
}

#[test]
fn connections_are_watched_as_the_realm_says() {
    let guard = Guard {
        keepalive: Some(Duration::from_secs(1)),
        user_timeout: Some(Duration::from_secs(7)),
        ..Guard::default()
    };
    let mut engine = Engine::start(guarded(guard));
    let relay = engine.relay();
    let watched = |port: u16| {
        let output = std::process::Command::new("ss").args(["-Htno"]).output().expect("ss");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ours = format!(":{port} ");
        let of_port = |line: &&str| {
            line.split_whitespace().nth(3).is_some_and(|local| format!("{local} ").ends_with(&ours))
        };
        text.lines().filter(of_port).any(|line| line.contains("timer:(keepalive"))
    };
    let until = Instant::now() + SOON;
    let (_, from) = (relay.a, relay.callee.peer_addr().unwrap());
    while !(watched(relay.door.port()) && watched(from.port())) {
        assert!(Instant::now() < until, "no keepalive on both sides");
        thread::sleep(Duration::from_millis(50));
    }
}
