//! What is held for receivers who take no more, and whom that keeps waiting.

use std::process::Command as Program;

use super::*;

/// Writes until nothing has been taken for a while; how much was.
fn fill(mut stream: &TcpStream, octets: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let (mut written, mut last) = (0, Instant::now());
    while written < octets.len() && last.elapsed() < Duration::from_millis(300) {
        match stream.write(&octets[written..]) {
            Ok(more) => (written, last) = (written + more, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    written
}

/// Thirty readers stop; `splice`: some of what they do not take is in pipes.
fn many_stalled_readers(splice: bool) {
    const MOST: usize = 160 << 10;
    let base = config();
    // One read must not be all there is, and must not fit into what the kernel keeps.
    let config =
        EngineConfig { memory: MOST, copy_buffer: 64 * 1024, socket_buffer: Some(50_000), splice, ..base };
    let slack = config.copy_buffer;
    let mut engine = Engine::start(config);
    let relays: Vec<_> = (0..30).map(|_| engine.relay()).collect();
    let octets = noise(16 << 20, 33);
    let written: Vec<_> = thread::scope(|scope| {
        let fill = |relay| {
            let octets = &octets;
            scope.spawn(move || fill(relay, octets))
        };
        let running: Vec<_> = relays.iter().map(|relay| fill(&relay.caller)).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let stalled = engine.handle.memory();
    assert!(stalled.held > MOST / 2, "there is something to be bounded: {stalled:?}");
    assert!(stalled.held <= MOST + slack, "{stalled:?}");
    assert!(stalled.scarce > 0);
    // Those who read go on, in both directions and also with much.
    let mut chat = engine.relay();
    for number in 0..50u32 {
        chat.caller.write_all(&number.to_be_bytes()).unwrap();
        let mut heard = [0; 4];
        chat.callee.read_exact(&mut heard).unwrap();
        assert_eq!(heard, number.to_be_bytes());
        chat.callee.write_all(&heard).unwrap();
        chat.caller.read_exact(&mut heard).unwrap();
    }
    let file = noise(4 << 20, 7);
    thread::scope(|scope| {
        scope.spawn(|| {
            (&chat.caller).write_all(&file).unwrap();
            chat.caller.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        (&chat.callee).read_to_end(&mut got).unwrap();
        assert!(got == file);
    });
    assert!(engine.handle.memory().held <= MOST + slack);
    // Nothing of what the others hold back is lost. A sender whose octets were dropped when its window was bounded
    // tries again later and later the longer it was stalled (RFC 6298 §5.5).
    thread::scope(|scope| {
        for (relay, written) in relays.iter().zip(&written) {
            let octets = &octets;
            scope.spawn(move || {
                relay.callee.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
                relay.caller.shutdown(Shutdown::Write).unwrap();
                let mut got = Vec::new();
                (&relay.callee).read_to_end(&mut got).unwrap();
                assert!(got == octets[..*written]);
            });
        }
    });
    for relay in &relays {
        assert_eq!(engine.measure(relay.a).octets_received, engine.measure(relay.b).octets_sent);
    }
    assert_eq!(engine.handle.memory().held, 0);
}

#[test]
fn many_stalled_readers_are_bounded_and_keep_nobody_waiting() {
    many_stalled_readers(false);
}

#[test]
fn many_stalled_readers_are_bounded_where_octets_wait_in_pipes() {
    many_stalled_readers(true);
}

#[test]
fn a_session_that_ends_gives_back_what_was_held_for_it() {
    let mut engine = Engine::start(config());
    let relay = engine.relay();
    let octets = noise(16 << 20, 34);
    fill(&relay.caller, &octets);
    assert!(engine.handle.memory().held > 0);
    engine.release(relay.a);
    engine.release(relay.b);
    assert_eq!(engine.handle.memory().held, 0);
}

/// Kernel memory of the sockets of this realm as `ss` tells it: received, and to be sent; the most of one socket
/// and of all.
fn kernel_memory(realm: &Realm) -> [(usize, usize); 2] {
    let output = Program::new("ss").args(["-HtnmO", "state", "connected"]).output().expect("ss of iproute2");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut memory = [(0, 0); 2];
    for line in text.lines() {
        let local = line.split_whitespace().nth(3).and_then(|local| local.parse::<SocketAddr>().ok());
        if local.is_none_or(|local| !realm.has(local)) {
            continue;
        }
        // Of a connection that is over there is none.
        let Some((_, fields)) = line.split_once("skmem:(") else { continue };
        for field in fields.split([',', ')']) {
            for (kind, (most, all)) in ["r", "w"].into_iter().zip(&mut memory) {
                if let Some(octets) = field.strip_prefix(kind).and_then(|octets| octets.parse::<usize>().ok())
                {
                    (*most, *all) = ((*most).max(octets), *all + octets);
                }
            }
        }
    }
    memory
}

#[test]
fn a_reader_that_stops_pins_no_more_than_a_mebibyte() {
    const READERS: usize = 30;
    for round in 0..3 {
        let config = EngineConfig { splice: round != 1, ..config() };
        let realm = config.realms[0].clone();
        let held = config.pipe_octets.max(config.copy_buffer);
        let mut engine = Engine::start(config);
        let relays: Vec<_> = (0..READERS).map(|_| engine.relay()).collect();
        let octets = noise(8 << 20, 35);
        thread::scope(|scope| {
            for relay in &relays {
                scope.spawn(|| assert!(fill(&relay.caller, &octets) > 256 << 10));
            }
        });
        let [(most_received, received), (most_to_send, to_send)] = kernel_memory(&realm);
        let ours = engine.handle.memory().held;
        let told = format!(
            "KiB: received {} (most {}), held {}, to be sent {} (most {})",
            received >> 10,
            most_received >> 10,
            ours >> 10,
            to_send >> 10,
            most_to_send >> 10
        );
        assert!(received > 0 && to_send > 0, "{told}");
        assert!(received + ours + to_send <= READERS << 20, "all of them: {told}");
        assert!(most_received + held + most_to_send <= 1 << 20, "one: {told}");
    }
}
