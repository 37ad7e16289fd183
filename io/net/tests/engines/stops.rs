//! What does not pass, and how things end.

use super::*;

/// Nothing comes of a call: it is refused at once, or reset as soon as somebody looked at it.
pub(super) fn refused(call: std::io::Result<TcpStream>) {
    let error = match call {
        Ok(mut stream) => breaks(&mut stream),
        Err(error) => error.kind(),
    };
    assert!(matches!(error, ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset), "{error:?}");
}

#[test]
fn a_reset_passes_as_a_reset() {
    over_all(|bench| {
        for by_caller in [true, false] {
            let (pair, near, far) = bench.connected();
            let (mut one, mut other) = if by_caller { (near, far) } else { (far, near) };
            say(&mut one, b"word");
            hears(&mut other, b"word");
            let socket = socket2::Socket::from(one);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
            drop(socket);
            assert_eq!(breaks(&mut other), ErrorKind::ConnectionReset);
            let causes = bench.both_closed(pair);
            let told =
                if by_caller { (Cause::Reset, Cause::FarSide) } else { (Cause::FarSide, Cause::Reset) };
            assert_eq!(causes, told);
            let statistics = bench.release(pair.caller.0);
            let counted = if by_caller { (4, 0) } else { (0, 4) };
            assert_eq!((statistics.octets_received, statistics.octets_sent), counted);
            bench.release(pair.callee.0);
        }
    });
}

#[test]
fn a_callee_that_refuses_is_told_of() {
    over_all(|bench| {
        let closed = bench.lab.listen(Host::Callee, bench.at.callee).local_addr().unwrap();
        let pair = bench.open(closed);
        refused(bench.lab.call(bench.at.caller, pair.caller.1));
        assert_eq!(bench.both_closed(pair), (Cause::FarSide, Cause::ConnectFailed));
    });
}

#[test]
fn nobody_comes() {
    let timers = Timers { incoming: Duration::from_millis(200), ..Timers::default() };
    over(&[Kind::Sockets, Kind::Steered, Kind::Kernel], timers, |bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.joined();
        let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
        bench.configure(pair.caller.0, caller);
        bench.configure(pair.callee.0, callee);
        assert_eq!(bench.closed(pair.caller.0), Cause::NobodyCame);
        bench.carried(|carried| carried == 0);
        refused(bench.lab.call(bench.at.caller, pair.caller.1));
    });
}

#[test]
fn release_ends_both_ends_and_gives_the_ports_back() {
    over_all(|bench| {
        for caller_first in [true, false] {
            let (pair, mut near, mut far) = bench.connected();
            let (one, other) =
                if caller_first { (pair.caller.0, pair.callee.0) } else { (pair.callee.0, pair.caller.0) };
            bench.release(one);
            assert_eq!(bench.closed(one), Cause::Released);
            assert_eq!(bench.closed(other), Cause::FarSide);
            for stream in [&mut near, &mut far] {
                match stream.read(&mut [0; 1]) {
                    Ok(0) => {}
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                    other => panic!("{other:?}"),
                }
            }
            bench.release(other);
            let all = PORTS.len();
            assert!(
                bench.handle.pools().iter().all(|(_, pool)| pool.free == all),
                "{:?}",
                bench.handle.pools()
            );
        }
    });
}

#[test]
fn nothing_comes_in_before_the_gate_is_open_or_after_it_was_shut() {
    over_all(|bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.open(server.local_addr().unwrap());
        for pinhole in [pair.caller.0, pair.callee.0] {
            let settings = if pinhole == pair.caller.0 {
                bench.for_caller()
            } else {
                bench.for_callee(server.local_addr().unwrap())
            };
            bench.configure(pinhole, Settings { gate: Gate::Inactive, ..settings });
        }
        bench.measure(pair.caller.0);
        bench.carried(|carried| carried == 0);
        refused(bench.lab.call(bench.at.caller, pair.caller.1));
        let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
        bench.configure(pair.caller.0, caller);
        bench.configure(pair.callee.0, callee);
        if bench.kind == Kind::Kernel {
            bench.carried(|carried| carried == 1);
        }
        bench.measure(pair.caller.0);
        let (mut near, mut far) = bench.call(pair, &server);
        say(&mut near, b"open");
        hears(&mut far, b"open");
    });
}

#[test]
fn a_gate_that_is_shut_on_a_connection_holds_what_is_said_and_loses_nothing() {
    over_all(|bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.open(server.local_addr().unwrap());
        let (mut near, mut far) = bench.call(pair, &server);
        let shut = Settings { gate: Gate::Inactive, ..bench.for_caller() };
        bench.configure(pair.caller.0, shut);
        bench.measure(pair.caller.0);
        // The kernel's answer to the question comes after what was ordered before it.
        bench.measure(pair.caller.0);
        say(&mut near, b"held");
        say(&mut far, b"back");
        far.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        let nothing = breaks(&mut far);
        assert!(matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut));
        far.set_read_timeout(Some(SOON)).unwrap();
        let open = bench.for_caller();
        bench.configure(pair.caller.0, open);
        hears(&mut far, b"held");
        hears(&mut near, b"back");
    });
}

#[test]
fn a_gate_that_is_open_one_way_lets_that_way_pass_and_loses_nothing_of_the_other() {
    over_all(|bench| {
        let (pair, mut near, mut far) = bench.connected();
        let to = far.local_addr().unwrap();
        for caller_is_heard in [false, true] {
            let (pinhole, settings) = match caller_is_heard {
                false => (pair.caller.0, bench.for_caller()),
                true => (pair.callee.0, bench.for_callee(to)),
            };
            // Its peer is only spoken to.
            let one_way = Settings { gate: Gate::SendOnly, ..settings.clone() };
            bench.configure(pinhole, one_way);
            bench.measure(pinhole);
            // The kernel's answer to the question comes after what was ordered before it.
            bench.measure(pinhole);
            let (one, other) = if caller_is_heard { (&mut near, &mut far) } else { (&mut far, &mut near) };
            say(other, b"held");
            let much = octets(4, 100_000);
            for _ in 0..3 {
                say(one, &much);
                hears(other, &much);
            }
            one.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let nothing = breaks(one);
            assert!(matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut));
            one.set_read_timeout(Some(SOON)).unwrap();
            bench.configure(pinhole, settings);
            hears(one, b"held");
        }
        // Also the end is said, and not heard.
        let one_way = Settings { gate: Gate::SendOnly, ..bench.for_caller() };
        bench.configure(pair.caller.0, one_way);
        bench.measure(pair.caller.0);
        bench.measure(pair.caller.0);
        near.shutdown(std::net::Shutdown::Write).unwrap();
        far.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let nothing = breaks(&mut far);
        assert!(matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut));
        far.set_read_timeout(Some(SOON)).unwrap();
        let open = bench.for_caller();
        bench.configure(pair.caller.0, open);
        hears_the_end(&mut far);
    });
}

#[test]
fn a_caller_from_elsewhere_is_judged_by_a_relay() {
    over_all(|bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.open(server.local_addr().unwrap());
        let mut near = bench.lab.call(bench.at.stranger, pair.caller.1).unwrap();
        say(&mut near, b"from behind a translator");
        let mut far = accept(&server);
        hears(&mut far, b"from behind a translator");
        assert_eq!(bench.established(pair.caller.0), near.local_addr().unwrap());
        if bench.kind == Kind::Kernel {
            bench.engine(pair.caller.0, Reason::Elsewhere);
            bench.engine(pair.callee.0, Reason::Elsewhere);
            bench.carried(|carried| carried == 0);
        }
        say(&mut far, b"welcome");
        hears(&mut near, b"welcome");
    });
}

#[test]
fn whom_the_filter_does_not_let_in_is_refused() {
    over_all(|bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.joined();
        let mut caller = bench.for_caller();
        let length = if bench.at.family == Family::V4 { 32 } else { 128 };
        caller.filter.network = Some((bench.at.caller, length));
        let callee = bench.for_callee(server.local_addr().unwrap());
        bench.configure(pair.caller.0, caller);
        bench.configure(pair.callee.0, callee);
        bench.opened(pair);
        refused(bench.lab.call(bench.at.stranger, pair.caller.1));
        let source = bench.expect("Blocked", |event| match *event {
            Event::Blocked { pinhole, source } if pinhole == pair.caller.0 => Some(source),
            _ => None,
        });
        assert_eq!(source.ip(), bench.at.stranger);
        let (mut near, mut far) = bench.call(pair, &server);
        say(&mut near, b"let in");
        hears(&mut far, b"let in");
    });
}
