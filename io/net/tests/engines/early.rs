//! Callers who come before it is decided which engine they get.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use super::stops::refused;
use super::*;

/// Longer than any of these tests: what is not decided is not decided by time.
const NEVER: Duration = Duration::from_secs(600);

/// The kernel, with steered callers and with sockets.
fn over_kernels(undecided: Duration, test: impl Fn(&mut Bench)) {
    over(&[Kind::Kernel, Kind::KernelAndSockets], Timers { undecided, ..Timers::default() }, test);
}

type Call<'a> = ScopedJoinHandle<'a, std::io::Result<TcpStream>>;

/// Calls a pinhole, and waits until the call is kept.
fn kept<'a>(bench: &Bench<'a>, scope: &'a Scope<'a, '_>, from: SocketAddr, to: SocketAddr) -> Call<'a> {
    let before = bench.handle.kernel_tally().kept;
    let lab = bench.lab;
    let call = scope.spawn(move || lab.call_from(Host::Caller, from, to));
    until("the call is not kept", || bench.handle.kernel_tally().kept > before);
    assert!(!call.is_finished());
    call
}

/// Waits until callers of this address are kept, or are not.
fn keeps(bench: &Bench, local: SocketAddr, keep: bool) {
    let set = if bench.at.family == Family::V4 { "early4" } else { "early6" };
    let element = format!("{} . {}", local.ip(), local.port());
    until("other callers are kept", || {
        let listed = bench.lab.says(Host::Gateway, &["nft", "list", "set", "inet", "carnet-suite", set]);
        let elements = listed.split_once("elements = {").map_or("", |(_, elements)| elements);
        let mut elements = elements.split([',', '}']).map(str::trim);
        elements.any(|there| there == element) == keep
    });
}

/// No address is left.
fn nobody_is_kept(bench: &Bench) {
    let listed = || bench.lab.says(Host::Gateway, &["nft", "list", "table", "inet", "carnet-suite"]);
    until("somebody is kept", || !listed().contains("elements = "));
}

/// Nobody was relayed.
fn none_was_relayed(bench: &mut Bench) {
    bench.nothing_like(|event| {
        matches!(event, Event::Engine { reason: Reason::Underway | Reason::Elsewhere, .. })
    });
}

impl Bench<'_> {
    fn from(&self) -> SocketAddr {
        SocketAddr::new(self.at.caller, 0)
    }
}

#[test]
fn who_comes_before_the_controllers_word_is_carried() {
    over_kernels(NEVER, |bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let to = server.local_addr().unwrap();
        let (caller, callee) = (bench.for_caller(), bench.for_callee(to));
        let undecided = Settings { role: Role::Undecided, ..caller.clone() };
        let shut = Settings { gate: Gate::Inactive, ..caller.clone() };
        let unknown = Settings { remote: None, ..callee.clone() };
        let other = Settings { role: Role::Passive, ..callee.clone() };
        let beginnings = [
            (Some(undecided), Some(callee.clone())),
            (Some(Settings { remote: None, ..caller.clone() }), Some(callee.clone())),
            (Some(shut), Some(Settings { gate: Gate::Inactive, ..callee.clone() })),
            (Some(caller.clone()), Some(unknown)),
            (Some(caller.clone()), Some(other)),
            (Some(caller.clone()), None),
        ];
        for (index, (of_caller, of_callee)) in beginnings.into_iter().enumerate() {
            eprintln!("beginning {index}");
            let pair = bench.joined();
            for (pinhole, settings) in [(pair.caller.0, of_caller), (pair.callee.0, of_callee)] {
                if let Some(settings) = settings {
                    bench.configure(pinhole, settings);
                }
            }
            thread::scope(|scope| {
                keeps(bench, pair.caller.1, true);
                let call = kept(bench, scope, bench.from(), pair.caller.1);
                bench.configure(pair.caller.0, caller.clone());
                bench.configure(pair.callee.0, callee.clone());
                let mut near = call.join().unwrap().unwrap();
                let mut far = accept(&server);
                assert_eq!(far.peer_addr().unwrap(), pair.callee.1);
                assert_eq!(bench.established(pair.caller.0), near.local_addr().unwrap());
                assert_eq!(bench.established(pair.callee.0), to);
                bench.engine(pair.caller.0, Reason::Passes);
                none_was_relayed(bench);
                say(&mut near, b"there");
                hears(&mut far, b"there");
                say(&mut far, b"and back");
                hears(&mut near, b"and back");
                drop(near);
                hears_the_end(&mut far);
                drop(far);
                assert_eq!(bench.both_closed(pair), (Cause::Normal, Cause::Normal));
                let statistics = bench.release(pair.caller.0);
                assert_eq!((statistics.octets_received, statistics.octets_sent), (5, 8));
                bench.release(pair.callee.0);
            });
        }
        nobody_is_kept(bench);
        assert_eq!(bench.handle.kernel_tally().lost, 0);
    });
}

/// The same after a connection: the controller opens one side first, and the peer is quicker than its word for the other.
#[test]
fn who_is_quick_to_call_again_is_carried_again() {
    over_kernels(NEVER, |bench| {
        let (pair, near, far) = bench.connected();
        let to = far.local_addr().unwrap();
        drop((near, far));
        assert_eq!(bench.both_closed(pair), (Cause::Normal, Cause::Normal));
        let server = bench.lab.inside(Host::Callee, || {
            let socket =
                socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&to.into()).unwrap();
            socket.listen(8).unwrap();
            TcpListener::from(socket)
        });
        let (caller, callee) = (bench.for_caller(), bench.for_callee(to));
        bench.configure(pair.caller.0, caller);
        keeps(bench, pair.caller.1, true);
        thread::scope(|scope| {
            let call = kept(bench, scope, bench.from(), pair.caller.1);
            bench.configure(pair.callee.0, callee);
            let mut near = call.join().unwrap().unwrap();
            let mut far = accept(&server);
            assert_eq!(bench.established(pair.caller.0), near.local_addr().unwrap());
            say(&mut near, b"again");
            hears(&mut far, b"again");
            none_was_relayed(bench);
        });
    });
}

/// A pinhole goes to another loop while somebody is kept there: he is not lost.
#[test]
fn who_is_kept_goes_along_to_another_loop() {
    over_kernels(NEVER, |bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.joined();
        let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
        bench.configure(pair.caller.0, Settings { role: Role::Undecided, ..caller.clone() });
        keeps(bench, pair.caller.1, true);
        thread::scope(|scope| {
            let call = kept(bench, scope, bench.from(), pair.caller.1);
            let mut moved = pair;
            for pinhole in [&mut moved.caller.0, &mut moved.callee.0] {
                bench.send(Command::Regroup { pinhole: *pinhole, group: 8 });
                pinhole.group = 8;
                let name = *pinhole;
                bench.expect("Regrouped", |event| match *event {
                    Event::Regrouped { pinhole } if pinhole == name => Some(()),
                    _ => None,
                });
            }
            bench.send(Command::Join { a: moved.caller.0, b: moved.callee.0 });
            bench.configure(moved.callee.0, callee);
            bench.configure(moved.caller.0, caller);
            let mut near = call.join().unwrap().unwrap();
            let mut far = accept(&server);
            say(&mut near, b"here");
            hears(&mut far, b"here");
        });
    });
}

/// Two come early, and the first is not the one who was announced.
#[test]
fn of_two_who_are_kept_the_one_who_is_expected_is_carried() {
    over_kernels(Duration::from_secs(5), |bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.joined();
        let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
        bench.configure(pair.caller.0, Settings { role: Role::Undecided, ..caller.clone() });
        keeps(bench, pair.caller.1, true);
        thread::scope(|scope| {
            let stranger = SocketAddr::new(bench.at.stranger, 0);
            let strange = kept(bench, scope, stranger, pair.caller.1);
            let call = kept(bench, scope, bench.from(), pair.caller.1);
            bench.configure(pair.callee.0, callee);
            bench.configure(pair.caller.0, caller);
            // The one is led on, and later the other is sent away like anybody who calls while there is a connection.
            let mut near = call.join().unwrap().unwrap();
            let mut far = accept(&server);
            assert_eq!(far.peer_addr().unwrap(), pair.callee.1);
            bench.engine(pair.caller.0, Reason::Passes);
            refused(strange.join().unwrap());
            none_was_relayed(bench);
            say(&mut near, b"still here");
            hears(&mut far, b"still here");
        });
    });
}

/// The decision is a relay, which takes the call and judges it.
#[test]
fn who_was_kept_and_is_not_carried_comes_to_the_relay() {
    over_kernels(NEVER, |bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        for _ in 0..2 {
            let pair = bench.joined();
            let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
            bench.configure(pair.caller.0, Settings { role: Role::Undecided, ..caller.clone() });
            keeps(bench, pair.caller.1, true);
            thread::scope(|scope| {
                let call = kept(bench, scope, bench.from(), pair.caller.1);
                // Several may call: nothing for the kernel.
                let filter = carnet_gateway::media::SourceFilter {
                    network: Some((bench.at.caller, 8)),
                    ..Default::default()
                };
                bench.configure(pair.callee.0, callee);
                bench.configure(pair.caller.0, Settings { filter, ..caller });
                let mut near = call.join().unwrap().unwrap();
                let mut far = accept(&server);
                bench.engine(pair.caller.0, Reason::Filter);
                assert_eq!(bench.established(pair.caller.0), near.local_addr().unwrap());
                say(&mut near, b"relayed");
                hears(&mut far, b"relayed");
            });
            bench.release(pair.caller.0);
            bench.release(pair.callee.0);
        }
        nobody_is_kept(bench);
    });
}

/// A source that the filter refuses is refused, and told of, also when it was kept.
#[test]
fn who_was_kept_is_judged_as_ever() {
    over_kernels(NEVER, |bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.joined();
        let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
        bench.configure(pair.caller.0, Settings { role: Role::Undecided, ..caller.clone() });
        keeps(bench, pair.caller.1, true);
        thread::scope(|scope| {
            let stranger = SocketAddr::new(bench.at.stranger, 0);
            let call = kept(bench, scope, stranger, pair.caller.1);
            let whole = if bench.at.family == Family::V4 { 32 } else { 128 };
            let filter = carnet_gateway::media::SourceFilter {
                network: Some((bench.at.caller, whole)),
                ..Default::default()
            };
            bench.configure(pair.callee.0, callee);
            bench.configure(pair.caller.0, Settings { filter, ..caller });
            refused(call.join().unwrap());
            bench.expect("Blocked", |event| match *event {
                Event::Blocked { pinhole, source } if pinhole == pair.caller.0 => {
                    assert_eq!(source.ip(), stranger.ip());
                    Some(())
                }
                _ => None,
            });
        });
    });
}

/// Nobody says how it goes on: after a while the loop has the call, and the next one is not kept.
#[test]
fn what_is_not_decided_in_time_is_relayed() {
    over_kernels(Duration::from_millis(100), |bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.joined();
        let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
        bench.configure(pair.caller.0, Settings { role: Role::Undecided, ..caller.clone() });
        keeps(bench, pair.caller.1, true);
        let mut near = bench.lab.call(bench.at.caller, pair.caller.1).unwrap();
        assert_eq!(bench.established(pair.caller.0), near.local_addr().unwrap());
        keeps(bench, pair.caller.1, false);
        let tally = bench.handle.kernel_tally();
        assert_eq!((tally.put_back, tally.kept), (1, 0), "{tally:?}");
        bench.configure(pair.callee.0, callee);
        bench.configure(pair.caller.0, caller);
        let mut far = accept(&server);
        say(&mut near, b"late");
        hears(&mut far, b"late");
        bench.engine(pair.caller.0, Reason::Underway);
    });
}

/// What nobody can make the kernel's is not kept at all.
#[test]
fn who_cannot_be_carried_does_not_wait() {
    over_kernels(NEVER, |bench| {
        let pair = bench.joined();
        let one_way = Settings { gate: Gate::ReceiveOnly, role: Role::Undecided, ..bench.for_caller() };
        bench.configure(pair.caller.0, one_way);
        keeps(bench, pair.caller.1, false);
        let near = bench.lab.call(bench.at.caller, pair.caller.1).unwrap();
        assert_eq!(bench.established(pair.caller.0), near.local_addr().unwrap());
        keeps(bench, pair.caller.1, false);
    });
}

/// A terminal behind a NAT: where it comes from will never be announced. Neither does it wait when it comes before that is said.
#[test]
fn who_is_latched_does_not_wait() {
    over_kernels(NEVER, |bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let callee = bench.for_callee(server.local_addr().unwrap());
        for early in [false, true] {
            let pair = bench.joined();
            let latched = Settings { remote: None, peer_opens: true, latch: true, ..bench.for_caller() };
            thread::scope(|scope| {
                keeps(bench, pair.caller.1, true);
                let call = early.then(|| kept(bench, scope, bench.from(), pair.caller.1));
                bench.configure(pair.callee.0, callee.clone());
                bench.configure(pair.caller.0, latched);
                keeps(bench, pair.caller.1, false);
                let near = match call {
                    Some(call) => call.join().unwrap(),
                    None => bench.lab.call(bench.at.caller, pair.caller.1),
                };
                let mut near = near.unwrap();
                let mut far = accept(&server);
                say(&mut near, b"from behind");
                hears(&mut far, b"from behind");
                assert_eq!(bench.established(pair.caller.0), near.local_addr().unwrap());
                bench.engine(pair.caller.0, Reason::UnknownPeer);
            });
            bench.release(pair.caller.0);
            bench.release(pair.callee.0);
        }
        nobody_is_kept(bench);
    });
}

#[test]
fn a_pinhole_that_goes_takes_its_callers_along() {
    over_kernels(NEVER, |bench| {
        let pair = bench.joined();
        let settings = Settings { role: Role::Undecided, ..bench.for_caller() };
        bench.configure(pair.caller.0, settings);
        keeps(bench, pair.caller.1, true);
        thread::scope(|scope| {
            let call = kept(bench, scope, bench.from(), pair.caller.1);
            bench.release(pair.caller.0);
            until("it is still kept", || bench.handle.kernel_tally().kept == 0);
            // When it calls again nobody is there.
            refused(call.join().unwrap());
        });
        bench.release(pair.callee.0);
        nobody_is_kept(bench);
        assert_eq!(bench.handle.kernel_tally().put_back, 0);
    });
}

/// A flood from many ports: what is kept is bounded, and the pinhole works nevertheless.
#[test]
fn a_flood_of_early_callers_is_bounded() {
    over_kernels(NEVER, |bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.joined();
        let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
        bench.configure(pair.caller.0, Settings { role: Role::Undecided, ..caller.clone() });
        keeps(bench, pair.caller.1, true);
        thread::scope(|scope| {
            let call = kept(bench, scope, bench.from(), pair.caller.1);
            let flood: Vec<socket2::Socket> = bench.lab.inside(Host::Caller, || {
                let begin = |_| {
                    let domain = socket2::Domain::for_address(pair.caller.1);
                    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket.bind(&SocketAddr::new(bench.at.stranger, 0).into()).unwrap();
                    let _ = socket.connect(&pair.caller.1.into());
                    socket
                };
                (0..400).map(begin).collect()
            });
            until("nobody is lost", || bench.handle.kernel_tally().lost > 0);
            assert!(bench.handle.kernel_tally().kept <= 8);
            bench.configure(pair.callee.0, callee);
            bench.configure(pair.caller.0, caller);
            let near = call.join().unwrap().unwrap();
            let far = accept(&server);
            assert_eq!(far.peer_addr().unwrap(), pair.callee.1);
            drop((near, far, flood));
        });
    });
}

/// A SYN, of which nobody waits for the answer, as an IP packet.
fn syn(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let octets = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (source, destination) = (octets(from.ip()), octets(to.ip()));
    let mut tcp = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let sum = |octets: &[u8]| {
        let sum: u32 = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let sum = (sum >> 16) + (sum & 0xffff);
        !((sum >> 16) + (sum & 0xffff)) as u16
    };
    let checked = sum(&[&source[..], &destination, &[0, 6, 0, 20], &tcp].concat());
    tcp[16..18].copy_from_slice(&checked.to_be_bytes());
    let mut packet = match to {
        SocketAddr::V4(_) => vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0],
        SocketAddr::V6(_) => vec![0x60, 0, 0, 0, 0, 20, 6, 64],
    };
    packet.extend([source, destination, tcp].concat());
    packet
}

/// A flood of SYN from everywhere to many pinholes that wait for the controller's word: other calls are made meanwhile.
#[test]
fn a_flood_of_packets_keeps_nobody_else_waiting() {
    over_kernels(NEVER, |bench| {
        let mut flooded = Vec::new();
        for _ in 0..40 {
            let pair = bench.joined();
            let settings = Settings { role: Role::Undecided, ..bench.for_caller() };
            bench.configure(pair.caller.0, settings);
            keeps(bench, pair.caller.1, true);
            flooded.push(pair);
        }
        let over = AtomicBool::new(false);
        let sent = AtomicU64::new(0);
        thread::scope(|scope| {
            let (lab, over, sent, at) = (bench.lab, &over, &sent, bench.at);
            let to: Vec<_> = flooded.iter().map(|pair| pair.caller.1).collect();
            scope.spawn(move || {
                let raw = lab.inside(Host::Caller, || {
                    let raw = Some(socket2::Protocol::from(255));
                    socket2::Socket::new(socket2::Domain::for_address(to[0]), socket2::Type::RAW, raw)
                        .unwrap()
                });
                let mut port = 1024_u16;
                while !over.load(Ordering::Relaxed) {
                    port = port.wrapping_add(1).max(1024);
                    for to in &to {
                        let there = SocketAddr::new(to.ip(), 0).into();
                        let _ = raw.send_to(&syn(SocketAddr::new(at.stranger, port), *to), &there);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            until("the flood is no flood", || bench.handle.kernel_tally().lost > 1000);
            for _ in 0..5 {
                let (pair, mut near, mut far) = bench.connected();
                say(&mut near, b"above water");
                hears(&mut far, b"above water");
                bench.release(pair.caller.0);
                bench.release(pair.callee.0);
            }
            over.store(true, Ordering::Relaxed);
        });
        let tally = bench.handle.kernel_tally();
        eprintln!("{} sent, {tally:?}", sent.into_inner());
        assert!(tally.kept <= 40 * 8 && tally.connections == 5, "{tally:?}");
        for pair in flooded {
            bench.release(pair.caller.0);
            bench.release(pair.callee.0);
        }
        nobody_is_kept(bench);
        until("somebody waits", || bench.handle.kernel_tally().kept == 0);
    });
}
