//! What may be asked for beside: rates, DSCP, silence.

use carnet_gateway::media::{Direction, Rate};

use super::*;

#[test]
fn what_a_peer_sends_is_limited_and_nothing_is_lost() {
    over_all(|bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.open(server.local_addr().unwrap());
        let (mut near, mut far) = bench.call(pair, &server);
        let rate = Some(Rate { octets_per_second: 400_000, burst: 40_000 });
        let limited = Settings { rate, ..bench.for_caller() };
        bench.configure(pair.caller.0, limited);
        bench.measure(pair.caller.0);
        bench.measure(pair.caller.0);
        // The other way goes as it likes.
        let back = octets(9, 4_000_000);
        let sent = back.clone();
        let mut writer = far.try_clone().unwrap();
        let begun = Instant::now();
        let writes = thread::spawn(move || writer.write_all(&sent).unwrap());
        hears(&mut near, &back);
        writes.join().unwrap();
        let unlimited = begun.elapsed();
        let there = octets(8, 1_000_000);
        let sent = there.clone();
        let begun = Instant::now();
        let mut writer = near.try_clone().unwrap();
        let writes = thread::spawn(move || writer.write_all(&sent).unwrap());
        hears(&mut far, &there);
        writes.join().unwrap();
        // At that rate it takes two seconds and more; the kernel lets what one second allows pass at once.
        assert!(begun.elapsed() > Duration::from_millis(1200), "{:?}, back {unlimited:?}", begun.elapsed());
    });
}

#[test]
fn packets_are_marked_towards_the_peer_that_it_was_asked_for() {
    over_all(|bench| {
        let lab = bench.lab;
        // Rules of the hosts count what comes with DSCP 46 and 10.
        let counts = |host: Host| -> u64 {
            let rules = lab.says(host, &["nft", "list", "table", "inet", "seen"]);
            let packets = rules.split("packets ").skip(1).filter_map(|rest| rest.split(' ').next());
            packets.filter_map(|count| count.parse::<u64>().ok()).sum()
        };
        for (host, value) in [(Host::Caller, 46), (Host::Callee, 10)] {
            let rules = format!(
                "table inet seen {{ chain in {{ type filter hook input priority 0;
                 tcp sport != 0 ip dscp {value} counter
                 tcp sport != 0 ip6 dscp {value} counter
                 }}
                 }}"
            );
            lab.says(host, &["nft", &rules]);
        }
        let server = lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.joined();
        let caller = Settings { dscp: Some(46), ..bench.for_caller() };
        let callee = Settings { dscp: Some(10), ..bench.for_callee(server.local_addr().unwrap()) };
        bench.configure(pair.caller.0, caller);
        bench.configure(pair.callee.0, callee);
        bench.opened(pair);
        let (mut near, mut far) = bench.call(pair, &server);
        let before = (counts(Host::Caller), counts(Host::Callee));
        say(&mut near, b"marked 10");
        hears(&mut far, b"marked 10");
        say(&mut far, b"marked 46");
        hears(&mut near, b"marked 46");
        assert!(counts(Host::Caller) > before.0, "towards the caller");
        assert!(counts(Host::Callee) > before.1, "towards the callee");
        let plain = bench.for_caller();
        bench.configure(pair.caller.0, plain);
        bench.measure(pair.caller.0);
        bench.measure(pair.caller.0);
        let before = counts(Host::Caller);
        say(&mut far, b"as it came");
        hears(&mut near, b"as it came");
        assert_eq!(counts(Host::Caller), before, "not any more");
        for host in [Host::Caller, Host::Callee] {
            lab.says(host, &["nft", "delete", "table", "inet", "seen"]);
        }
    });
}

#[test]
fn silence_is_told_of_once_and_again_after_something_was_said() {
    over_all(|bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.open(server.local_addr().unwrap());
        let (mut near, mut far) = bench.call(pair, &server);
        let inactivity = Some((Duration::from_millis(800), Direction::In));
        let watched = Settings { inactivity, ..bench.for_caller() };
        bench.configure(pair.caller.0, watched);
        let silent = |bench: &mut Bench| {
            bench.expect("Inactive", |event| match *event {
                Event::Inactive { pinhole, direction } if pinhole == pair.caller.0 => Some(direction),
                _ => None,
            })
        };
        assert_eq!(silent(bench), Direction::In);
        // What goes out is not watched.
        say(&mut far, b"anybody there?");
        hears(&mut near, b"anybody there?");
        thread::sleep(Duration::from_millis(1200));
        bench.nothing_like(|event| matches!(event, Event::Inactive { .. }));
        let spoken = Instant::now();
        say(&mut near, b"yes");
        hears(&mut far, b"yes");
        assert_eq!(silent(bench), Direction::In);
        assert!(spoken.elapsed() >= Duration::from_millis(800));
    });
}

#[test]
fn segments_that_are_lost_and_sent_again_are_counted_once() {
    over_all(|bench| {
        let lab = bench.lab;
        // One of twenty segments with much in them is lost before the gateway, one of twenty behind it.
        let rules = "table inet losses { chain in { type filter hook input priority 0;
             meta l4proto tcp meta length > 200 numgen random mod 20 0 drop
             }
             }";
        lab.says(Host::Callee, &["nft", rules]);
        let rules = rules.replace("hook input", "hook output");
        lab.says(Host::Caller, &["nft", &rules]);
        let (pair, near, mut far) = bench.connected();
        let there = octets(5, 300_001);
        let (sent, mut writer) = (there.clone(), near);
        let writes = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer
        });
        hears(&mut far, &there);
        for host in [Host::Caller, Host::Callee] {
            lab.says(host, &["nft", "delete", "table", "inet", "losses"]);
        }
        let near = writes.join().unwrap();
        drop(near);
        hears_the_end(&mut far);
        drop(far);
        assert_eq!(bench.both_closed(pair), (Cause::Normal, Cause::Normal));
        let statistics = bench.release(pair.callee.0);
        assert_eq!((statistics.octets_received, statistics.octets_sent), (0, there.len() as u64));
    });
}
