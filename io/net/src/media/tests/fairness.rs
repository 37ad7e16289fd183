//! One session moves as much as it can and many move little: how much the one may be ahead in each turn.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::flow::TURN;
use super::super::worker::{BATCH, Worker};
use super::*;

const CHATS: usize = 1_000;
const BUFFER: usize = 4 * 1024;

/// Runs a loop as its thread would, until told to stop; then it is the caller's.
fn run_until(stop: &Arc<AtomicBool>, mut worker: Worker) -> thread::JoinHandle<Worker> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let mut ready = Vec::with_capacity(BATCH);
        while !stop.load(Ordering::Relaxed) {
            assert!(worker.round(&mut ready, Some(Duration::from_millis(1))));
        }
        worker
    })
}

/// So many relays to one listener, connected at both ends.
fn relays(engine: &mut Engine, count: usize) -> Vec<Relay> {
    let listener = TcpListener::bind((host(1), 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let mut relays = Vec::new();
    for _ in 0..count {
        let (a, door) = engine.reserve();
        let (b, _) = engine.reserve();
        engine.send(Command::Join { a, b });
        engine.send(Command::Configure { pinhole: a, settings: passive() });
        engine.send(Command::Configure { pinhole: b, settings: active(remote) });
        let caller = TcpStream::connect(door).unwrap();
        let (callee, _) = listener.accept().unwrap();
        relays.push(Relay { a, b, door, caller, callee });
    }
    relays
}

/// All that is there.
fn drain(mut stream: &TcpStream) -> usize {
    let (mut octets, mut room) = (0, [0; 64 * 1024]);
    loop {
        match stream.read_on(&mut room) {
            Ok(0) => panic!("it ended"),
            Ok(more) => octets += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return octets,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_session_in_bulk_waits_for_all_others_in_each_turn() {
    let base = config();
    let first = 18_000;
    let realm = Realm { ports: first..=first + 2_999, ..base.realms[0].clone() };
    let config =
        EngineConfig { realms: vec![realm], copy_buffer: BUFFER, splice: false, socket_buffer: None, ..base };
    let (mut workers, handle, events) = MediaEngine::prepare(config).unwrap();
    let mut engine = Engine { handle, events, seen: Vec::new(), number: 0 };
    let stop = Arc::new(AtomicBool::new(false));
    let running = run_until(&stop, workers.pop().unwrap());
    let chats = relays(&mut engine, CHATS);
    let bulk = relays(&mut engine, 1).pop().unwrap();
    for relay in chats.iter().chain([&bulk]) {
        engine.established(relay.b);
    }
    stop.store(true, Ordering::Relaxed);
    let mut worker = running.join().unwrap();
    let mut ready = Vec::with_capacity(BATCH);
    for relay in chats.iter().chain([&bulk]) {
        relay.caller.set_nonblocking(true).unwrap();
        relay.callee.set_nonblocking(true).unwrap();
    }
    // There is always more of it, and it is always taken.
    let chunk = noise(1 << 20, 5);
    let more = || {
        let mut caller = &bulk.caller;
        while caller.write(&chunk).is_ok() {}
        drain(&bulk.callee)
    };
    more();
    for chat in &chats {
        (&chat.caller).write_all(&[7; 100]).unwrap();
    }
    let (mut moved, mut waiting, mut turns) = (0, chats.iter().collect::<Vec<_>>(), 0);
    while !waiting.is_empty() {
        assert!(worker.round(&mut ready, Some(Duration::ZERO)));
        turns += 1;
        moved += more();
        waiting.retain(|chat| drain(&chat.callee) == 0);
        assert!(turns <= CHATS, "{} chats are not moved", waiting.len());
    }
    // Each turn of the loop takes as many events as there are, at most a batch. Both ends of a session may
    // have their turn in it.
    let least = CHATS.div_ceil(BATCH);
    assert!((least..=2 * least + 2).contains(&turns), "{turns} turns for {CHATS} chats");
    let most = turns * 2 * TURN * BUFFER;
    assert!(moved <= most, "{moved} octets in bulk while {CHATS} chats waited, {most} are its share");
    assert!(moved >= BUFFER * turns, "{moved} octets in {turns} turns: bulk waits too long");
}
