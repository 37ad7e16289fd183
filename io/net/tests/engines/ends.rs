//! What is left when things have ended: nothing of ours, and everything of others.

use super::*;

#[test]
fn what_belongs_to_others_is_not_touched() {
    over_all(|bench| {
        let lab = bench.lab;
        let others = "table inet filter { set s { type ipv4_addr; elements = { 192.0.2.7 }
             }
             chain forward { type filter hook forward priority 0; policy accept; counter
             }
             }
             table ip nat { chain post { type nat hook postrouting priority 100; ip daddr 192.0.2.9 masquerade
             }
             }";
        lab.says(Host::Gateway, &["nft", others]);
        let names = ["inet filter", "ip nat"];
        let rules = || -> Vec<String> {
            let list = |name: &str| {
                let words: Vec<_> =
                    ["nft", "-s", "list", "table"].into_iter().chain(name.split(' ')).collect();
                lab.says(Host::Gateway, &words)
            };
            names.iter().map(|name| list(name)).collect()
        };
        let before = rules();
        let (pair, mut near, mut far) = bench.connected();
        say(&mut near, b"passes");
        hears(&mut far, b"passes");
        assert_eq!(rules(), before);
        bench.release(pair.caller.0);
        bench.release(pair.callee.0);
        assert_eq!(rules(), before);
        lab.says(Host::Gateway, &["nft", "delete table inet filter; delete table ip nat"]);
    });
}

#[test]
fn many_sessions_leave_nothing_behind() {
    over_all(|bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let to = server.local_addr().unwrap();
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let round = |bench: &mut Bench| {
            let pair = bench.open(to);
            let (mut near, far) = bench.call(pair, &server);
            say(&mut near, b"a word");
            drop((near, far));
            bench.both_closed(pair);
            bench.release(pair.callee.0);
            bench.release(pair.caller.0);
            bench.seen.clear();
        };
        round(bench);
        let before = descriptors();
        for _ in 0..60 {
            round(bench);
        }
        until("descriptors are left", || descriptors() <= before + 2);
        bench.carried(|carried| carried == 0);
        if bench.kind != Kind::Sockets {
            // Who may still be on the way to a pinhole is waited for a moment.
            until("elements are left", || {
                let table = bench.lab.says(Host::Gateway, &["nft", "list", "table", "inet", "carnet-suite"]);
                !table.contains("elements")
            });
        }
    });
}

#[test]
fn two_that_part_and_one_that_goes_elsewhere_lose_the_connection_that_the_kernel_has() {
    over(&[Kind::Kernel], Timers::default(), |bench| {
        for (index, part) in [true, false].into_iter().enumerate() {
            let (pair, mut near, mut far) = bench.connected();
            if part {
                bench.send(Command::Part { pinhole: pair.callee.0 });
            } else {
                // An odd number is the other loop's.
                let group = 8 + index as u32;
                bench.send(Command::Regroup { pinhole: pair.callee.0, group });
                bench.expect("Regrouped", |event| match *event {
                    Event::Regrouped { pinhole } if pinhole == pair.callee.0 => {
                        assert_eq!(pinhole.group, group);
                        Some(())
                    }
                    _ => None,
                });
            }
            assert_eq!(bench.both_closed(pair), (Cause::FarSide, Cause::FarSide));
            assert_eq!(breaks(&mut near), ErrorKind::ConnectionReset);
            assert_eq!(breaks(&mut far), ErrorKind::ConnectionReset);
            bench.carried(|carried| carried == 0);
            let elsewhere = Pinhole { group: if part { 7 } else { 8 + index as u32 }, ..pair.callee.0 };
            bench.release(elsewhere);
            bench.release(pair.caller.0);
        }
    });
}

#[test]
fn a_connection_can_be_dropped_and_made_again() {
    over_all(|bench| {
        let server = bench.lab.listen(Host::Callee, bench.at.callee);
        let pair = bench.open(server.local_addr().unwrap());
        for _ in 0..3 {
            let (near, far) = bench.call(pair, &server);
            bench.send(Command::Disconnect { pinhole: pair.caller.0 });
            assert_eq!(bench.both_closed(pair), (Cause::Released, Cause::FarSide));
            for mut stream in [near, far] {
                match stream.read(&mut [0; 1]) {
                    Ok(0) => {}
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                    other => panic!("{other:?}"),
                }
            }
            let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
            bench.configure(pair.caller.0, caller);
            bench.configure(pair.callee.0, callee);
            bench.measure(pair.caller.0);
            if bench.kind == Kind::Kernel {
                bench.carried(|carried| carried == 1);
            }
        }
    });
}

#[test]
fn what_is_sent_to_an_address_of_the_gateway_itself_is_relayed() {
    over(&[Kind::Kernel], Timers::default(), |bench| {
        let server = bench.lab.listen(Host::Gateway, bench.at.core);
        let pair = bench.joined();
        let (caller, callee) = (bench.for_caller(), bench.for_callee(server.local_addr().unwrap()));
        bench.configure(pair.caller.0, caller);
        bench.configure(pair.callee.0, callee);
        bench.engine(pair.caller.0, Reason::Host);
        let (mut near, mut far) = bench.call(pair, &server);
        say(&mut near, b"here");
        hears(&mut far, b"here");
    });
}
