//! Who is led where, and who is not; what is told of it; how it ends.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::time::Duration;

use carnet_netfilter::{Change, Conntrack, Error, Flow, Key, State, Table, Translation, provoke};

use crate::lab::{BOTH, CALLEE, CALLER, GATEWAY, Lab, Net, PATIENCE, config, done, passes, until};
use crate::some_lab;

#[test]
fn a_connection_is_led_on_and_told_of_exactly() {
    let lab = some_lab!();
    let mut log = lab.log();
    let mut table = lab.open(&log).table;
    let mut conntrack = lab.on(GATEWAY, || Conntrack::open().unwrap());
    for net in BOTH {
        let mut call = lab.call(&mut table, net);
        call.passes();
        let entry = conntrack.get(&call.flow).unwrap().unwrap();
        assert_eq!((entry.flow, entry.to, entry.from), (call.flow, net.to(), net.from()));
        assert_eq!(entry.state, State::Established);
        assert!(entry.forth.0 >= 4 && entry.back.0 >= 3 && entry.forth.1 > 200, "{entry:?}");
        let mut all = Vec::new();
        conntrack.each(&mut |entry| all.push(entry.flow)).unwrap();
        assert!(all.contains(&call.flow), "{all:?}");
        let family = if net.v6 { "ipv6" } else { "ipv4" };
        let listed = lab.run(GATEWAY, &["conntrack", "-L", "-p", "tcp", "-f", family]);
        let dport = format!("src={} dst={} sport={}", net.to().ip(), net.from().ip(), net.to().port());
        assert!(listed.contains(&dport), "{listed}");

        // 200,000 octets one way and 70,000 the other, beside the 22 that passed already
        let (mut caller, mut callee) = (call.caller, call.callee);
        let (mut write, mut read) = (caller.try_clone().unwrap(), callee.try_clone().unwrap());
        let writer = std::thread::spawn(move || {
            write.write_all(&[7; 200_000]).unwrap();
            write.shutdown(Shutdown::Write).unwrap();
        });
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            read.read_to_end(&mut all).unwrap();
            all.len()
        });
        callee.write_all(&[8; 70_000]).unwrap();
        callee.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        caller.read_to_end(&mut back).unwrap();
        writer.join().unwrap();
        assert_eq!((reader.join().unwrap(), back.len()), (200_000, 70_000));

        let segments = until(&mut log, |all| {
            all.iter().filter(|s| s.fin && s.source == net.local()).count() > 0
                && all.iter().any(|s| s.fin && s.destination == net.to())
        });
        let answer = segments.iter().find(|s| s.syn && s.destination == call.flow.caller).unwrap();
        assert_eq!((answer.source, answer.timestamps), (net.local(), true));
        let last = |to: SocketAddr| {
            let fin = segments.iter().find(|s| s.fin && s.destination == to).unwrap();
            fin.sequence.wrapping_add(fin.payload)
        };
        assert_eq!(last(net.to()).wrapping_sub(answer.acknowledgement.unwrap()), 200_011);
        assert_eq!(last(call.flow.caller).wrapping_sub(answer.sequence.wrapping_add(1)), 70_011);
        assert!(!segments.iter().any(|s| s.syn && s.acknowledgement.is_none()), "a bare SYN was copied");
    }
}

/// Why nobody may believe it that TIME-WAIT is the end.
#[test]
fn a_fin_that_comes_twice_is_that_of_both_sides_to_connection_tracking() {
    let lab = some_lab!();
    let mut log = lab.log();
    let mut table = lab.open(&log).table;
    let mut conntrack = lab.on(GATEWAY, || Conntrack::open().unwrap());
    for net in BOTH {
        let mut call = lab.call(&mut table, net);
        call.passes();
        // The callee does not hear that its FIN came.
        lab.run(CALLEE, &["nft", "add table inet deaf"]);
        lab.run(
            CALLEE,
            &["nft", "add chain inet deaf in { type filter hook input priority 0; policy accept; }"],
        );
        lab.run(CALLEE, &["nft", &format!("add rule inet deaf in tcp dport {} drop", net.to().port())]);
        call.callee.shutdown(Shutdown::Write).unwrap();
        let fins = |all: &[carnet_netfilter::Segment]| {
            all.iter()
                .filter(|s| s.fin && s.source == net.local() && s.destination == call.flow.caller)
                .count()
        };
        until(&mut log, |all| fins(all) >= 2);
        lab.run(CALLEE, &["nft", "delete table inet deaf"]);
        let (mut caller, mut callee) = (call.caller, call.callee);
        caller.write_all(&[7; 100_000]).unwrap();
        callee.read_exact(&mut [0; 100_000]).unwrap();
        let entry = conntrack.get(&call.flow).unwrap().unwrap();
        assert_eq!(entry.state, State::Waiting);
        assert!(entry.forth.1 > 100_000, "{entry:?}");
        caller.write_all(&[8; 100_000]).unwrap();
        callee.read_exact(&mut [0; 100_000]).unwrap();
        assert!(conntrack.get(&call.flow).unwrap().unwrap().forth.1 > 200_000, "it goes on");
    }
}

#[test]
fn only_whom_the_element_names_is_led_on() {
    let lab = some_lab!();
    let log = lab.log();
    let mut table = lab.open(&log).table;
    for net in BOTH {
        let mut call = lab.call(&mut table, net);
        let refused = |from| lab.connect(CALLER, from, net.local()).map(drop).map_err(|error| error.kind());
        assert_eq!(refused(net.stranger()), Err(ErrorKind::ConnectionRefused), "another address");
        let _listener = lab.on(CALLEE, || TcpListener::bind((net.to().ip(), 2856)).unwrap());
        let second = SocketAddr::new(net.caller(), 0);
        let second = lab.connect_from(CALLER, second, net.local(), Duration::from_millis(1500));
        assert_eq!(second.map(drop).map_err(|error| error.kind()), Err(ErrorKind::TimedOut), "a second one");
        done(&mut table, [Change::Untranslate(net.key()), Change::Untranslate(net.key())]);
        assert_eq!(refused(net.caller()), Err(ErrorKind::ConnectionRefused), "after the gate was shut");
        call.passes();
    }
}

#[test]
fn an_element_is_replaced_and_the_rest_is_carried_out_when_some_are_refused() {
    let lab = some_lab!();
    let log = lab.log();
    let mut small = config(log.group());
    small.size = 3;
    let mut table = lab.on(GATEWAY, || Table::open(&small).unwrap().table);
    for net in BOTH {
        let to = |port| SocketAddr::new(net.to().ip(), port);
        let one = |last: u16, port| {
            let key = Key { source: net.caller(), local: SocketAddr::new(net.local().ip(), last) };
            Translation { key, from: net.from(), to: to(port) }
        };
        done(&mut table, [Change::Translate(one(1, 80))]);
        done(&mut table, [Change::Translate(one(1, 80)), Change::Translate(one(1, 81))]);
        let mixed = Translation { to: BOTH[usize::from(!net.v6)].to(), ..one(9, 80) };
        let wanted = [one(2, 80), mixed, one(3, 80), one(4, 80), one(5, 80)];
        for translation in wanted {
            table.push(Change::Translate(translation));
        }
        table.push(Change::Untranslate(one(77, 1).key));
        let refused = table.commit().unwrap();
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused.iter().any(|(change, _)| *change == Change::Translate(mixed)));
        let map = if net.v6 { "carry6" } else { "carry4" };
        let listed = lab.run(GATEWAY, &["nft", "list", "map", "inet", "carnet-media", map]);
        assert_eq!(listed.matches(" : ").count() - 1, 3, "{listed}");
        assert!(listed.contains(" . 81 . "), "{listed}");
        for translation in wanted {
            table.push(Change::Untranslate(translation.key));
        }
        table.push(Change::Untranslate(one(1, 1).key));
        assert!(table.commit().unwrap().is_empty(), "some were never there");
    }
}

#[test]
fn a_table_is_shut_for_others_and_taken_over_when_its_process_is_gone() {
    let lab = some_lab!();
    let log = lab.log();
    let mut table = lab.open(&log).table;
    let mut calls = BOTH.map(|net| lab.call(&mut table, net));
    let steer = Change::Steer { local: "10.1.0.1:4001".parse().unwrap(), listener: 9 };
    done(&mut table, [Change::Hold(BOTH[1].key(), true), steer]);
    let second = lab.on(GATEWAY, || Table::open(&config(log.group())));
    assert!(matches!(second, Err(Error::NotPermitted(_))), "{second:?}");

    drop(table);
    calls[0].passes();
    let opened = lab.open(&log);
    let mut left: Vec<_> = opened.left.iter().map(|held| (held.translation, held.held)).collect();
    left.sort_by_key(|(translation, _)| translation.key);
    assert_eq!(left, [(BOTH[0].translation(), false), (BOTH[1].translation(), true)]);
    let mut table = opened.table;
    let second = lab.on(GATEWAY, || Table::open(&config(log.group())));
    assert!(matches!(second, Err(Error::NotPermitted(_))), "taken over, it is shut again: {second:?}");
    calls[0].passes();
    let listed = lab.run(GATEWAY, &["nft", "list", "map", "inet", "carnet-media", "steer4"]);
    assert!(!listed.contains("elements"), "{listed}");
    done(&mut table, [Change::Hold(BOTH[1].key(), false)]);
    calls[1].passes();
    // and new ones come through what was kept
    let mut conntrack = lab.on(GATEWAY, || Conntrack::open().unwrap());
    for (net, call) in BOTH.into_iter().zip(calls) {
        conntrack.delete(&call.flow).unwrap();
        drop(call);
        lab.call_again(net).passes();
    }
    table.remove().unwrap();
    assert_eq!(lab.run(GATEWAY, &["nft", "list", "tables"]), "");
}

#[test]
fn nothing_of_others_is_touched() {
    let lab = some_lab!();
    let others = "table inet carnet-other { chain pre { type nat hook prerouting priority dstnat; }; }
        table inet theirs {
            set s { type ipv4_addr; elements = { 192.0.2.1 }; }
            chain c { type filter hook forward priority 0; ip saddr @s counter drop; }
        }
        table ip carnet-media { chain c { }; }";
    lab.run(GATEWAY, &["nft", others]);
    let before = lab.run(GATEWAY, &["nft", "list", "ruleset"]);
    let log = lab.log();
    let mut table = lab.open(&log).table;
    lab.call(&mut table, BOTH[0]).passes();
    drop(table);
    let table = lab.open(&log).table;
    assert!(lab.run(GATEWAY, &["nft", "list", "ruleset"]).contains("table inet carnet-media"));
    table.remove().unwrap();
    assert_eq!(lab.run(GATEWAY, &["nft", "list", "ruleset"]), before);
}

#[test]
fn both_peers_of_a_released_connection_are_told() {
    let lab = some_lab!();
    let log = lab.log();
    let mut table = lab.open(&log).table;
    let mut conntrack = lab.on(GATEWAY, || Conntrack::open().unwrap());
    for timestamps in ["1", "0"] {
        for host in [CALLER, CALLEE] {
            lab.run(host, &["sysctl", "-qw", &format!("net.ipv4.tcp_timestamps={timestamps}")]);
        }
        for net in BOTH {
            let mut call = lab.call(&mut table, net);
            call.passes();
            done(&mut table, [Change::Untranslate(net.key())]);
            conntrack.delete(&call.flow).unwrap();
            conntrack.delete(&call.flow).unwrap();
            assert_eq!(conntrack.get(&call.flow).unwrap(), None);
            lab.on(GATEWAY, || {
                let both = [(net.local(), call.flow.caller), (net.from(), net.to())];
                provoke(&mut conntrack, &both).unwrap();
            });
            for stream in [&mut call.caller, &mut call.callee] {
                let end = stream.read(&mut [0; 8]).map_err(|error| error.kind());
                assert_eq!(end, Err(ErrorKind::ConnectionReset), "{net:?}, timestamps {timestamps}");
            }
            again(&lab, &mut table, net, &call.flow);
            conntrack.delete(&call.flow).unwrap();
            done(&mut table, [Change::Untranslate(net.key())]);
        }
    }
}

#[test]
fn what_comes_late_is_answered_with_a_rst_and_is_not_in_the_way() {
    let lab = some_lab!();
    let log = lab.log();
    let mut table = lab.open(&log).table;
    let mut conntrack = lab.on(GATEWAY, || Conntrack::open().unwrap());
    for net in BOTH {
        let mut call = lab.call(&mut table, net);
        call.passes();
        done(&mut table, [Change::Untranslate(net.key())]);
        conntrack.delete(&call.flow).unwrap();
        for stream in [&mut call.caller, &mut call.callee] {
            stream.write_all(b"late").unwrap();
            let end = stream.read(&mut [0; 8]).map_err(|error| error.kind());
            assert_eq!(end, Err(ErrorKind::ConnectionReset), "{net:?}");
        }
        again(&lab, &mut table, net, &call.flow);
        conntrack.delete(&call.flow).unwrap();
    }
}

/// The same addresses and ports do for another connection at once.
fn again(lab: &Lab, table: &mut Table, net: Net, flow: &Flow) {
    done(table, [Change::Translate(net.translation())]);
    let listener = lab.on(CALLEE, || TcpListener::bind(net.to()).unwrap());
    let mut caller = lab.connect_from(CALLER, flow.caller, net.local(), PATIENCE).unwrap();
    let (mut callee, peer) = listener.accept().unwrap();
    assert_eq!(peer, net.from());
    passes(&mut caller, &mut callee);
}
