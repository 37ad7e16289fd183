//! Pinholes that are taken to others, in their loop or in another one.

use super::*;

/// A relay between A and B, a passive pinhole C in `group`, and the caller of C.
struct Three {
    relay: Relay,
    c: Pinhole,
    guest: TcpStream,
}

fn three(engine: &mut Engine, group: u32) -> Three {
    let relay = engine.relay();
    engine.number += 1;
    let c = Pinhole { group, number: engine.number };
    engine.send(Command::Reserve { pinhole: c, realm: None, family: Some(Family::V4), tls: false });
    let door = engine.expect("Bound", |event| match *event {
        Event::Bound { pinhole, local, .. } if pinhole == c => Some(local),
        _ => None,
    });
    engine.configure(c, passive());
    engine.settle(c);
    let guest = TcpStream::connect(door).unwrap();
    guest.set_read_timeout(Some(SOON)).unwrap();
    engine.established(c);
    Three { relay, c, guest }
}

pub(super) fn regroup(engine: &mut Engine, pinhole: Pinhole, group: u32) -> Pinhole {
    engine.send(Command::Regroup { pinhole, group });
    engine.expect("Regrouped", |event| match *event {
        Event::Regrouped { pinhole: new } if new == pinhole => Some(new),
        _ => None,
    })
}

/// `threads`: 1 puts all groups into one loop.
fn a_connection_goes_along(threads: usize) {
    let mut engine = Engine::start(EngineConfig { threads, ..config() });
    let Three { mut relay, c, mut guest } = three(&mut engine, 8);
    relay.caller.write_all(b"before").unwrap();
    relay.callee.read_exact(&mut [0; 6]).unwrap();

    let a = regroup(&mut engine, relay.a, 8);
    assert_eq!(a.group, 8);
    // Nobody takes it until there is somebody.
    relay.caller.write_all(b"after").unwrap();
    engine.send(Command::Join { a, b: c });
    let mut heard = [0; 5];
    guest.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"after");
    guest.write_all(b"back").unwrap();
    relay.caller.read_exact(&mut heard[..4]).unwrap();
    assert_eq!(&heard[..4], b"back");

    // Who was left alone is connected still, and hears nothing of it.
    relay.callee.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let error = relay.callee.read_on(&mut [0]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");

    let counted = engine.release(a);
    assert_eq!((counted.octets_received, counted.octets_sent), (11, 4));
    assert_eq!(guest.read_on(&mut [0]).unwrap(), 0);
    assert_eq!(engine.closed(c), Cause::FarSide);
    engine.release(relay.b);
    engine.release(c);
}

#[test]
fn a_connection_goes_to_another_group_of_the_same_loop() {
    a_connection_goes_along(1);
}

#[test]
fn a_connection_goes_to_another_loop() {
    a_connection_goes_along(2);
}

#[test]
fn a_door_goes_to_another_loop_and_still_opens() {
    let mut engine = Engine::start(EngineConfig { threads: 2, ..config() });
    let (a, door) = engine.reserve();
    engine.configure(a, passive());
    engine.settle(a);
    let a = regroup(&mut engine, a, 8);
    let mut caller = TcpStream::connect(door).unwrap();
    engine.established(a);
    caller.set_read_timeout(Some(SOON)).unwrap();
    engine.release(a);
    assert_eq!(caller.read_on(&mut [0]).unwrap(), 0);
    // The port is free, and so is the name in the loop that it left.
    let b = Pinhole { group: 7, ..a };
    engine.send(Command::Reserve { pinhole: b, realm: None, family: None, tls: false });
    engine.expect("Bound", |event| matches!(event, Event::Bound { .. }).then_some(()));
    engine.release(b);
}

#[test]
fn what_waits_for_a_slow_reader_goes_along() {
    let mut engine = Engine::start(EngineConfig { threads: 2, ..config() });
    let Three { relay, c, mut guest } = three(&mut engine, 8);
    // The callee reads nothing, so the relay holds octets when it is parted.
    let mut caller = relay.caller.try_clone().unwrap();
    let writer = thread::spawn(move || {
        let piece: Vec<u8> = (0..=255).cycle().take(1 << 16).collect();
        for _ in 0..256 {
            caller.write_all(&piece).unwrap();
        }
        caller.shutdown(Shutdown::Write).unwrap();
    });
    thread::sleep(Duration::from_millis(200));
    let a = regroup(&mut engine, relay.a, 8);
    engine.send(Command::Join { a, b: c });
    let mut rest = Vec::new();
    guest.read_to_end(&mut rest).unwrap();
    writer.join().unwrap();
    // What the callee has not got the guest gets, and nothing is lost between.
    let mut first = Vec::new();
    relay.callee.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut callee = relay.callee;
    while let Ok(octets @ 1..) = {
        let mut piece = [0; 65_536];
        callee.read_on(&mut piece).inspect(|octets| first.extend_from_slice(&piece[..*octets]))
    } {
        assert!(octets > 0);
    }
    assert_eq!(first.len() + rest.len(), 256 << 16);
    let all = first.iter().chain(&rest);
    assert!(all.zip((0..=255u8).cycle()).all(|(got, sent)| *got == sent));
}

#[test]
fn parted_pinholes_keep_their_connections() {
    let mut engine = Engine::start(config());
    let mut relay = engine.relay();
    relay.caller.write_all(b"x").unwrap();
    relay.callee.read_exact(&mut [0]).unwrap();
    engine.send(Command::Part { pinhole: relay.a });
    engine.settle(relay.a);
    relay.caller.write_all(b"held").unwrap();
    relay.callee.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(relay.callee.read_on(&mut [0]).is_err());
    engine.send(Command::Join { a: relay.a, b: relay.b });
    relay.callee.set_read_timeout(Some(SOON)).unwrap();
    let mut heard = [0; 4];
    relay.callee.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"held");
}

#[test]
fn a_pinhole_that_is_not_there_is_regrouped_all_the_same() {
    let mut engine = Engine::start(EngineConfig { threads: 2, ..config() });
    regroup(&mut engine, Pinhole { group: 7, number: 99 }, 8);
}
