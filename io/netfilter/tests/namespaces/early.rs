//! Callers who come before it is decided where they lead.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use carnet_netfilter::{Change, Early, EarlyLog, PutBack, Table};

use crate::lab::{BOTH, CALLEE, CALLER, GATEWAY, Lab, Net, PATIENCE, done, passes};
use crate::some_lab;

/// Sockets calling, and what becomes of that.
type Calls<'a> = Vec<std::thread::ScopedJoinHandle<'a, std::io::Result<TcpStream>>>;

/// Has these call our address, and waits until the beginnings of all are kept.
fn kept<'a>(
    lab: &'a Lab,
    scope: &'a std::thread::Scope<'a, '_>,
    log: &mut EarlyLog,
    net: Net,
    from: &[SocketAddr],
) -> (Calls<'a>, Vec<Early>) {
    let calls = from.iter().copied();
    let calls: Vec<_> = calls
        .map(|from| scope.spawn(move || lab.connect_from(CALLER, from, net.local(), PATIENCE)))
        .collect();
    let mut early: Vec<Early> = Vec::new();
    let end = Instant::now() + PATIENCE;
    while early.len() < from.len() {
        assert!(Instant::now() < end, "{early:?}");
        let lost = log.read(&mut |new| {
            if !early.iter().any(|old| old.flow == new.flow) {
                early.push(new);
            }
        });
        assert!(!lost.unwrap());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(calls.iter().all(|call| !call.is_finished()), "somebody answers");
    (calls, early)
}

fn come<'a>(calls: Calls<'a>) -> Vec<std::io::Result<TcpStream>> {
    calls.into_iter().map(|call| call.join().unwrap()).collect()
}

/// Checks addresses as strictly as Linux can.
fn strict(lab: &Lab) {
    for place in ["all", "default", "lo", "e1", "e2"] {
        lab.run(GATEWAY, &["sysctl", "-qw", &format!("net.ipv4.conf.{place}.rp_filter=1")]);
    }
}

fn keeping(lab: &Lab) -> (Table, EarlyLog, PutBack) {
    strict(lab);
    lab.open_keeping(&lab.log())
}

/// Two who come early: the one who was expected is led on, the other one comes to whoever listens here.
#[test]
fn whom_a_translation_names_is_led_on_and_the_others_come_here() {
    let lab = some_lab!();
    let (mut table, mut log, back) = keeping(&lab);
    for net in BOTH {
        let callee = lab.on(CALLEE, || TcpListener::bind(net.to()).unwrap());
        let here = lab.on(GATEWAY, || TcpListener::bind(net.local()).unwrap());
        done(&mut table, [Change::Keep(net.local(), true)]);
        let from = [net.caller(), net.stranger()].map(|ip| SocketAddr::new(ip, 40_000));
        std::thread::scope(|scope| {
            let (calls, early) = kept(&lab, scope, &mut log, net, &from);
            done(&mut table, [Change::Translate(net.translation()), Change::Keep(net.local(), false)]);
            let began = Instant::now();
            early.iter().for_each(|early| back.send(early).unwrap());
            let mut calls = come(calls).into_iter().map(Result::unwrap);
            let took = began.elapsed();
            assert!(took < Duration::from_millis(500), "it was not put back, but came again: {took:?}");
            let (mut led, mut stranger) = (calls.next().unwrap(), calls.next().unwrap());
            let (mut far, peer) = callee.accept().unwrap();
            assert_eq!(peer, net.from());
            passes(&mut led, &mut far);
            passes(&mut far, &mut led);
            let (mut near, peer) = here.accept().unwrap();
            assert_eq!(peer, from[1]);
            passes(&mut stranger, &mut near);
            passes(&mut near, &mut stranger);
        });
        done(&mut table, [Change::Untranslate(net.key())]);
    }
}

#[test]
fn without_a_listener_they_are_refused_as_ever() {
    let lab = some_lab!();
    let (mut table, mut log, back) = keeping(&lab);
    for net in BOTH {
        done(&mut table, [Change::Keep(net.local(), true)]);
        std::thread::scope(|scope| {
            let from = [SocketAddr::new(net.caller(), 40_001)];
            let (calls, early) = kept(&lab, scope, &mut log, net, &from);
            done(&mut table, [Change::Keep(net.local(), false)]);
            back.send(&early[0]).unwrap();
            let refused = come(calls).remove(0).map_err(|error| error.kind());
            assert_eq!(refused.map(drop), Err(ErrorKind::ConnectionRefused));
        });
    }
}

/// A caller of a pinhole without a socket is steered to the listener that is there for all.
#[test]
fn they_are_steered_as_ever() {
    let lab = some_lab!();
    let (mut table, mut log, back) = keeping(&lab);
    for net in BOTH {
        let listener = lab.on(GATEWAY, || {
            let domain = socket2::Domain::for_address(net.local());
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
            if net.v6 {
                socket.set_ip_transparent_v6(true).unwrap();
            } else {
                socket.set_ip_transparent_v4(true).unwrap();
            }
            socket.bind(&SocketAddr::new(net.local().ip(), 0).into()).unwrap();
            socket.listen(8).unwrap();
            TcpListener::from(socket)
        });
        let steer = Change::Steer { local: net.local(), listener: listener.local_addr().unwrap().port() };
        done(&mut table, [steer, Change::Keep(net.local(), true)]);
        std::thread::scope(|scope| {
            let from = [SocketAddr::new(net.caller(), 40_002)];
            let (calls, early) = kept(&lab, scope, &mut log, net, &from);
            done(&mut table, [Change::Keep(net.local(), false)]);
            back.send(&early[0]).unwrap();
            let mut near = come(calls).remove(0).unwrap();
            let (mut accepted, peer) = listener.accept().unwrap();
            assert_eq!((peer, accepted.local_addr().unwrap()), (from[0], net.local()));
            passes(&mut near, &mut accepted);
            passes(&mut accepted, &mut near);
        });
    }
}

/// What is put back would else be kept again.
#[test]
fn who_calls_from_this_host_is_not_kept() {
    let lab = some_lab!();
    let (mut table, mut log, _back) = keeping(&lab);
    for net in BOTH {
        let here = lab.on(GATEWAY, || TcpListener::bind(net.local()).unwrap());
        done(&mut table, [Change::Keep(net.local(), true)]);
        let from = SocketAddr::new(net.local().ip(), 0);
        lab.connect_from(GATEWAY, from, net.local(), PATIENCE).unwrap();
        here.accept().unwrap();
        log.read(&mut |early| panic!("{early:?}")).unwrap();
    }
}

/// What leads on leads on, whether somebody is to be kept or not.
#[test]
fn whom_a_translation_names_is_not_kept() {
    let lab = some_lab!();
    let (mut table, mut log, _back) = keeping(&lab);
    for net in BOTH {
        done(&mut table, [Change::Keep(net.local(), true)]);
        lab.call(&mut table, net).passes();
        log.read(&mut |early| panic!("{early:?}")).unwrap();
    }
}

/// Put back, he would pass as if he came from this host.
#[test]
fn whom_the_host_does_not_let_in_is_not_kept() {
    let lab = some_lab!();
    let (mut table, mut log, _back) = keeping(&lab);
    let rules = "table inet fence { chain input { type filter hook input priority 0; ct state established accept; \
                 iif lo accept; ip saddr 10.1.0.3 drop; ip6 saddr fd01::3 drop; }; }";
    lab.run(GATEWAY, &["nft", rules]);
    for net in BOTH {
        done(&mut table, [Change::Keep(net.local(), true)]);
        let lab = &lab;
        std::thread::scope(|scope| {
            let within = Duration::from_millis(1500);
            let stranger = SocketAddr::new(net.stranger(), 0);
            let fenced = scope.spawn(move || lab.connect_from(CALLER, stranger, net.local(), within));
            let from = [SocketAddr::new(net.caller(), 40_004)];
            let (_calls, early) = kept(lab, scope, &mut log, net, &from);
            assert_eq!(fenced.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
            log.read(&mut |early| assert_eq!(early.flow.caller, from[0])).unwrap();
            done(&mut table, [Change::Keep(net.local(), false)]);
            assert_eq!(early.len(), 1);
        });
    }
}

/// A process that dies takes nobody along: the next one begins with nobody to be kept, and who called calls again.
#[test]
fn the_next_process_keeps_nobody() {
    let lab = some_lab!();
    let (mut table, mut log, _back) = keeping(&lab);
    for net in BOTH {
        done(&mut table, [Change::Keep(net.local(), true)]);
    }
    std::thread::scope(|scope| {
        let net = BOTH[0];
        let from = [SocketAddr::new(net.caller(), 40_003)];
        let (calls, _) = kept(&lab, scope, &mut log, net, &from);
        drop((table, log));
        let again = lab.log();
        let (_table, _log, _) = lab.open_keeping(&again);
        let listed = lab.run(GATEWAY, &["nft", "list", "table", "inet", "carnet-media"]);
        assert!(listed.contains("set early4") && listed.contains("set early6"), "{listed}");
        assert!(!listed.contains("elements = "), "{listed}");
        let here = lab.on(GATEWAY, || TcpListener::bind(net.local()).unwrap());
        come(calls).remove(0).unwrap();
        here.accept().unwrap();
    });
}
