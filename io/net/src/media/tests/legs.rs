//! MSRP whose paths are rewritten on the way, in the open and out of TLS.

use std::sync::Arc;

use carnet_gateway::media::Leg;

use super::*;

/// A caller and a callee who know the gateway only, and the gateway knows both.
struct Session {
    engine: Engine,
    a: Pinhole,
    b: Pinhole,
    caller: TcpStream,
    callee: TcpStream,
    /// What the gateway calls itself towards each.
    to_caller: String,
    to_callee: String,
}

const CALLER: &str = "msrp://192.0.2.1:2855/callers;tcp";
const CALLEE: &str = "msrp://relay.example.com:2855/r;tcp msrp://198.51.100.2:9/callees;tcp";

fn leg(path: &str) -> Option<Arc<Leg>> {
    Some(Arc::new(Leg { path: path.to_owned() }))
}

impl Session {
    fn open(config: EngineConfig) -> Self {
        let mut engine = Engine::start(config);
        let listener = TcpListener::bind((host(1), 0)).unwrap();
        let (a, door) = engine.reserve();
        let (b, source) = engine.reserve();
        engine.send(Command::Join { a, b });
        engine.configure(a, Settings { leg: leg(CALLER), ..passive() });
        engine.configure(b, Settings { leg: leg(CALLEE), ..active(listener.local_addr().unwrap()) });
        engine.settle(b);
        let caller = TcpStream::connect(door).unwrap();
        let (callee, _) = listener.accept().unwrap();
        for stream in [&caller, &callee] {
            stream.set_read_timeout(Some(SOON)).unwrap();
        }
        let to_caller = format!("msrp://{door}/callees;tcp");
        let to_callee = format!("msrp://{source}/callers;tcp");
        Self { engine, a, b, caller, callee, to_caller, to_callee }
    }

    /// A request as the caller sends it, and as the callee gets it.
    fn request(&self, transaction: &str, body: &[u8], flag: char) -> (Vec<u8>, Vec<u8>) {
        let frame = |to: &str, from: &str| {
            let mut frame = format!(
                "MSRP {transaction} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: m1\r\n\
                 Byte-Range: 1-*/*\r\nContent-Type: text/plain\r\n\r\n"
            )
            .into_bytes();
            frame.extend_from_slice(body);
            frame.extend_from_slice(format!("\r\n-------{transaction}{flag}\r\n").as_bytes());
            frame
        };
        (frame(&self.to_caller, CALLER), frame(CALLEE, &self.to_callee))
    }
}

fn expect(stream: &mut TcpStream, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == wanted, "{}\nis not\n{}", String::from_utf8_lossy(&got), String::from_utf8_lossy(wanted));
}

#[test]
fn paths_are_rewritten_both_ways() {
    let mut session = Session::open(config());
    let (sent, got) = session.request("tr001", b"hello", '$');
    session.caller.write_all(&sent).unwrap();
    expect(&mut session.callee, &got);
    // RFC 4975 §7.2: a response goes to the nearest only.
    let answer = format!(
        "MSRP tr001 200 OK\r\nTo-Path: {}\r\nFrom-Path: msrp://relay.example.com:2855/r;tcp\r\n-------tr001$\r\n",
        session.to_callee
    );
    let passed = format!(
        "MSRP tr001 200 OK\r\nTo-Path: {CALLER}\r\nFrom-Path: {}\r\n-------tr001$\r\n",
        session.to_caller
    );
    session.callee.write_all(answer.as_bytes()).unwrap();
    expect(&mut session.caller, passed.as_bytes());
    session.caller.shutdown(Shutdown::Write).unwrap();
    drop(session.callee);
    assert_eq!(session.engine.closed(session.a), Cause::Normal);
    assert_eq!(session.engine.closed(session.b), Cause::Normal);
}

#[test]
fn a_message_is_passed_on_while_it_comes() {
    let mut session = Session::open(config());
    let body = noise(100_000, 7);
    let (sent, got) = session.request("tr001", &body, '+');
    // The first half of a chunk is there before the second is sent, but for what may be an end line.
    let half = sent.len() / 2;
    session.caller.write_all(&sent[..half]).unwrap();
    let near_half = half - 200;
    expect(&mut session.callee, &got[..near_half]);
    session.caller.write_all(&sent[half..]).unwrap();
    expect(&mut session.callee, &got[near_half..]);
}

#[test]
fn a_chunk_of_100_mib_is_never_held() {
    const PIECES: usize = 100;
    let mut session = Session::open(config());
    let piece = noise(1 << 20, 9);
    let (sent, got) = session.request("tr001", &piece, '$');
    let end = b"\r\n-------tr001$\r\n".len();
    let head = |frame: &[u8]| frame[..frame.len() - end - piece.len()].to_vec();
    let (sent_head, got_head, end) = (head(&sent), head(&got), sent[sent.len() - end..].to_vec());
    let mut caller = session.caller.try_clone().unwrap();
    let (tell, may_go_on) = std::sync::mpsc::channel();
    let writing = {
        let (piece, end) = (piece.clone(), end.clone());
        thread::spawn(move || {
            caller.write_all(&sent_head).unwrap();
            for _ in 0..PIECES {
                caller.write_all(&piece).unwrap();
                // What follows is not sent before this is there.
                may_go_on.recv_timeout(SOON).unwrap();
            }
            caller.write_all(&end).unwrap();
        })
    };
    expect(&mut session.callee, &got_head);
    let mut most = 0;
    for n in 0..PIECES {
        // The last octets might be the start of an end line.
        let (here, last) = piece.split_at(piece.len() - 32);
        expect(&mut session.callee, here);
        most = most.max(session.engine.handle.memory().held);
        tell.send(()).unwrap();
        expect(&mut session.callee, last);
        assert!(n + 1 == PIECES || !writing.is_finished());
    }
    expect(&mut session.callee, &end);
    writing.join().unwrap();
    // Whatever a turn reads, and no more.
    assert!(most <= 128 << 10, "{most} octets were held");
}

#[test]
fn a_reader_that_stalls_loses_nothing_and_holds_nobody_up_for_ever() {
    let mut config = config();
    config.socket_buffer = Some(16 * 1024);
    let mut session = Session::open(config);
    let frames: Vec<_> = (0..2000)
        .map(|number| session.request(&format!("t{number:04}"), &noise(1 + number * 7 % 5000, 3), '$'))
        .collect();
    let (mut sent, mut wanted) = (Vec::new(), Vec::new());
    for (out, passed) in frames {
        sent.extend_from_slice(&out);
        wanted.extend_from_slice(&passed);
    }
    let mut caller = session.caller.try_clone().unwrap();
    let writing = thread::spawn(move || {
        caller.write_all(&sent).unwrap();
        caller.shutdown(Shutdown::Write).unwrap();
    });
    let (mut before, until) = (0, Instant::now() + SOON);
    loop {
        assert!(Instant::now() < until, "{before} octets moved");
        thread::sleep(Duration::from_millis(300));
        let moved = session.engine.measure(session.b).octets_sent;
        if moved == before && moved > 0 {
            break;
        }
        before = moved;
    }
    expect(&mut session.callee, &wanted);
    writing.join().unwrap();
    let mut rest = Vec::new();
    session.callee.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn what_is_not_msrp_ends_with_what_came_before() {
    let mut session = Session::open(config());
    let (sent, got) = session.request("tr001", b"good", '$');
    session.caller.write_all(&sent).unwrap();
    expect(&mut session.callee, &got);
    session.caller.write_all(b"GET / HTTP/1.1\r\nHost: there\r\n\r\n").unwrap();
    assert_eq!(session.engine.closed(session.a), Cause::NotMsrp);
    assert_eq!(session.engine.closed(session.b), Cause::FarSide);
    assert!(is_reset(&mut session.callee));
    assert!(is_reset(&mut session.caller));
}

#[test]
fn what_is_for_somebody_else_is_not_passed_on() {
    let mut session = Session::open(config());
    let (sent, _) = session.request("tr001", b"hello", '$');
    let sent = String::from_utf8(sent).unwrap().replace("/callees;tcp", "/another;tcp");
    session.caller.write_all(sent.as_bytes()).unwrap();
    assert_eq!(session.engine.closed(session.a), Cause::NotMsrp);
}

#[test]
fn nothing_passes_before_both_paths_are_known() {
    for before in [None, leg("")] {
        let mut engine = Engine::start(config());
        let listener = TcpListener::bind((host(1), 0)).unwrap();
        let (a, door) = engine.reserve();
        let (b, source) = engine.reserve();
        let remote = listener.local_addr().unwrap();
        engine.send(Command::Join { a, b });
        engine.configure(a, Settings { leg: leg(CALLER), ..passive() });
        engine.configure(b, Settings { leg: before, ..active(remote) });
        engine.settle(b);
        let mut caller = TcpStream::connect(door).unwrap();
        let frame = |to: &str, from: &str| {
            format!(
                "MSRP tr001 SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 1\r\n-------tr001$\r\n"
            )
        };
        caller.write_all(frame(&format!("msrp://{door}/callees;tcp"), CALLER).as_bytes()).unwrap();
        let (mut callee, _) = listener.accept().unwrap();
        callee.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(callee.read_on(&mut [0; 64]).is_err(), "something passed");
        engine.configure(b, Settings { leg: leg(CALLEE), ..active(remote) });
        callee.set_read_timeout(Some(SOON)).unwrap();
        expect(&mut callee, frame(CALLEE, &format!("msrp://{source}/callers;tcp")).as_bytes());
    }
}

#[test]
fn a_new_path_holds_from_the_next_frame_on() {
    let mut session = Session::open(config());
    let (sent, got) = session.request("tr001", b"a body in two parts", '$');
    let middle = sent.len() - 25;
    session.caller.write_all(&sent[..middle]).unwrap();
    let passed = got.len() - 60;
    expect(&mut session.callee, &got[..passed]);
    let other = "msrp://203.0.113.9:2855/other;tcp";
    let remote = session.callee.local_addr().unwrap();
    session.engine.configure(session.b, Settings { leg: leg(other), ..active(remote) });
    session.engine.settle(session.b);
    session.caller.write_all(&sent[middle..]).unwrap();
    expect(&mut session.callee, &got[passed..]);
    let (sent, got) = session.request("tr002", b"more", '$');
    let sent = String::from_utf8(sent).unwrap().replace("/callees;tcp", "/other;tcp");
    let got = String::from_utf8(got).unwrap().replace(CALLEE, other);
    session.caller.write_all(sent.as_bytes()).unwrap();
    expect(&mut session.callee, got.as_bytes());
}
