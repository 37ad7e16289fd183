//! Peers that misbehave, and peers that are not who was expected.

use super::*;

/// A passive pinhole whose peer is expected from `host(1)`, joined to one that calls `listener`.
fn expecting(engine: &mut Engine, listener: &TcpListener) -> (Pinhole, SocketAddr, Pinhole) {
    let (a, door) = engine.reserve();
    let (b, _) = engine.reserve();
    engine.send(Command::Join { a, b });
    let remote = Some(SocketAddr::from((host(1), 9)));
    engine.configure(a, Settings { remote, peer_opens: true, ..passive() });
    engine.configure(b, active(listener.local_addr().unwrap()));
    engine.settle(b);
    (a, door, b)
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

#[test]
fn a_stranger_who_came_first_gives_way_to_the_peer() {
    let mut engine = Engine::start(config());
    let listener = listener();
    let (a, door, b) = expecting(&mut engine, &listener);
    let mut stranger = from_address(host(66), door);
    stranger.write_all(b"let me in").unwrap();
    let mut to_stranger = accept(&listener);
    assert_eq!(read(&mut to_stranger, 9), b"let me in");
    engine.established(a);
    engine.established(b);

    let mut peer = TcpStream::connect(door).unwrap();
    peer.write_all(b"hello").unwrap();
    assert!(is_reset(&mut stranger));
    assert!(is_reset(&mut to_stranger));
    let mut to_peer = accept(&listener);
    assert_eq!(read(&mut to_peer, 5), b"hello");
    to_peer.write_all(b"welcome").unwrap();
    assert_eq!(read(&mut peer, 7), b"welcome");
    assert_eq!(engine.established(a), peer.local_addr().unwrap());
    engine.established(b);
    engine.nothing_like(|event| matches!(event, Event::Closed { .. }));
    // And now nobody else gets in.
    assert!(is_refused(door));
}

#[test]
fn a_stranger_who_talks_does_not_push_a_silent_peer_out() {
    let mut engine = Engine::start(config());
    let listener = listener();
    let (a, door, _) = expecting(&mut engine, &listener);
    let mut peer = TcpStream::connect(door).unwrap();
    engine.established(a);
    let mut far = accept(&listener);
    // Whichever comes first is told of the reset.
    if let Ok(mut stranger) = try_from_address(host(66), door) {
        stranger.set_read_timeout(Some(SOON)).unwrap();
        assert!(stranger.write_all(b"mine").is_err() || is_reset(&mut stranger));
    }
    peer.write_all(b"late").unwrap();
    assert_eq!(read(&mut far, 4), b"late");
}

#[test]
fn somebody_from_elsewhere_is_served_and_safe_once_nobody_else_is_waited_for() {
    // A peer behind a translator is a stranger too.
    let timers = Timers { incoming: Duration::from_millis(300), ..Timers::default() };
    let mut engine = Engine::start(EngineConfig { timers, ..config() });
    let listener = listener();
    let (_, door, _) = expecting(&mut engine, &listener);
    let mut caller = from_address(host(66), door);
    caller.write_all(b"one").unwrap();
    let mut far = accept(&listener);
    assert_eq!(read(&mut far, 3), b"one");
    thread::sleep(Duration::from_millis(500));
    assert!(is_refused(door));
    caller.write_all(b"two").unwrap();
    assert_eq!(read(&mut far, 3), b"two");
}

#[test]
fn ten_thousand_from_the_wrong_source_do_not_keep_the_right_one_out() {
    let mut engine = Engine::start(config());
    let listener = listener();
    let (a, door) = engine.reserve();
    let (b, _) = engine.reserve();
    engine.send(Command::Join { a, b });
    let filter = SourceFilter { network: Some((host(9).into(), 32)), ports: None };
    engine.configure(a, Settings { filter, ..passive() });
    engine.configure(b, active(listener.local_addr().unwrap()));
    engine.settle(b);
    for _ in 0..10_000 {
        if let Ok(stranger) = try_from_address(host(66), door) {
            reset(stranger);
        }
    }
    let mut friend = from_address(host(9), door);
    friend.write_all(b"hello").unwrap();
    assert_eq!(read(&mut accept(&listener), 5), b"hello");
    engine.settle(a);
    let blocked = engine.seen.iter().filter(|event| matches!(event, Event::Blocked { .. })).count();
    assert!((1..100).contains(&blocked), "{blocked} reports");
}

#[test]
fn a_reset_passes_the_other_way_too() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    relay.callee.write_all(b"x").unwrap();
    read(&mut relay.caller, 1);
    reset(relay.callee);
    assert!(is_reset(&mut relay.caller));
    assert_eq!(engine.closed(relay.b), Cause::Reset);
    assert_eq!(engine.closed(relay.a), Cause::FarSide);
}

#[test]
fn a_half_close_passes_the_other_way_too() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    relay.callee.write_all(b"last").unwrap();
    relay.callee.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    relay.caller.read_to_string(&mut text).unwrap();
    assert_eq!(text, "last");
    relay.caller.write_all(b"answer").unwrap();
    assert_eq!(read(&mut relay.callee, 6), b"answer");
    drop(relay.caller);
    assert_eq!(relay.callee.read_on(&mut [0]).unwrap(), 0);
    assert_eq!(engine.closed(relay.a), Cause::Normal);
    assert_eq!(engine.closed(relay.b), Cause::Normal);
}

/// How much a writer is rid of before a reader that does not read stops it, with ends that keep
/// little themselves; then everything arrives as it was sent.
fn stall(config: EngineConfig, start: usize) -> usize {
    const MOST: usize = 64 << 20;
    let mut engine = Engine::start(config);
    let listener = listener();
    let listening = socket2::SockRef::from(&listener);
    listening.set_recv_buffer_size(64 * 1024).unwrap();
    let (_, door, _) = engine.relay_to(listener.local_addr().unwrap());
    let caller = TcpStream::connect(door).unwrap();
    socket2::SockRef::from(&caller).set_send_buffer_size(64 * 1024).unwrap();
    let mut callee = accept(&listener);
    let octets = noise(MOST, 11);
    // Once warmed up, the kernel has had reason to let buffers grow, and splicing has begun.
    thread::scope(|scope| {
        scope.spawn(|| (&caller).write_all(&octets[..start]).unwrap());
        assert!(read(&mut callee, start) == octets[..start]);
    });
    caller.set_nonblocking(true).unwrap();
    let (mut sent, mut idle) = (0, 0);
    while idle < 20 && start + sent < MOST {
        match (&caller).write(&octets[start + sent..]) {
            Ok(written) => (sent, idle) = (sent + written, 0),
            Err(_) => {
                idle += 1;
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    let rest = read(&mut callee, sent);
    assert!(octets[start..].starts_with(&rest));
    sent
}

#[test]
fn what_a_stalled_reader_pins_is_bounded_and_nothing_is_lost() {
    for (splice, start) in [(true, 0), (true, 16 << 20), (false, 16 << 20)] {
        let sent = stall(EngineConfig { splice, ..config() }, start);
        // Two sockets with 384 KiB at most, a pipe or a buffer with 256 KiB, and the ends.
        assert!(sent < 1536 << 10, "{sent} octets, splice {splice}, after {start}");
    }
}

#[test]
fn ports_cannot_be_told_from_those_before() {
    let mut engine = Engine::start(config());
    let ports: Vec<u16> = (0..64).map(|_| engine.reserve().1.port()).collect();
    let in_step = ports.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
    assert!(in_step < 16, "{ports:?}");
}
