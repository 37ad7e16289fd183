//! What passes, and what it is counted as.

use std::net::Shutdown;

use super::*;

#[test]
fn octets_pass_unchanged_both_ways_and_are_counted_to_the_octet() {
    over_all(|bench| {
        let (pair, near, far) = bench.connected();
        let (there, back) = (octets(1, 3_000_123), octets(2, 1_000_457));
        let send = |mut stream: TcpStream, what: Vec<u8>| {
            thread::spawn(move || {
                stream.write_all(&what).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            })
        };
        let receive = |mut stream: TcpStream| {
            thread::spawn(move || {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                all
            })
        };
        let senders =
            [send(near.try_clone().unwrap(), there.clone()), send(far.try_clone().unwrap(), back.clone())];
        let (at_far, at_near) = (receive(far), receive(near));
        assert!(at_far.join().unwrap() == there, "other octets came there");
        assert!(at_near.join().unwrap() == back, "other octets came back");
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert_eq!(bench.both_closed(pair), (Cause::Normal, Cause::Normal));
        let (caller, callee) = (bench.release(pair.caller.0), bench.release(pair.callee.0));
        let counted = |of: &Statistics| (of.octets_received, of.octets_sent);
        let (there, back) = (there.len() as u64, back.len() as u64);
        assert_eq!(counted(&caller), (there, back));
        assert_eq!(counted(&callee), (back, there));
    });
}

#[test]
fn a_half_close_passes_after_all_that_was_said_and_the_other_way_goes_on() {
    over_all(|bench| {
        let (pair, mut near, mut far) = bench.connected();
        say(&mut near, b"the last words");
        near.shutdown(Shutdown::Write).unwrap();
        hears(&mut far, b"the last words");
        hears_the_end(&mut far);
        for _ in 0..3 {
            say(&mut far, b"and yet");
            hears(&mut near, b"and yet");
        }
        bench.nothing_like(|event| matches!(event, Event::Closed { .. }));
        drop(far);
        hears_the_end(&mut near);
        assert_eq!(bench.both_closed(pair), (Cause::Normal, Cause::Normal));
    });
}

#[test]
fn counters_of_a_connection_that_is_up_are_told_on_the_way() {
    over_all(|bench| {
        let (pair, mut near, mut far) = bench.connected();
        for (there, back) in [(5_u64, 7_u64), (1000, 1)] {
            let before = bench.measure(pair.caller.0);
            let (say_there, say_back) = (octets(there, there as usize), octets(back, back as usize));
            say(&mut near, &say_there);
            hears(&mut far, &say_there);
            say(&mut far, &say_back);
            hears(&mut near, &say_back);
            let after = bench.measure(pair.caller.0);
            assert_eq!(after.octets_received - before.octets_received, there);
            assert_eq!(after.octets_sent - before.octets_sent, back);
            let callee = bench.measure(pair.callee.0);
            assert_eq!(
                (callee.octets_received, callee.octets_sent),
                (after.octets_sent, after.octets_received)
            );
        }
        let statistics = bench.release(pair.callee.0);
        assert_eq!((statistics.octets_received, statistics.octets_sent), (8, 1005));
    });
}

#[test]
fn either_side_may_open_where_nobody_was_told_to() {
    over_all(|bench| {
        for from_callee in [false, true] {
            let (client, server) = (
                bench.lab.listen(Host::Caller, bench.at.caller),
                bench.lab.listen(Host::Callee, bench.at.callee),
            );
            let pair = bench.joined();
            for (pinhole, peer) in [(pair.caller.0, &client), (pair.callee.0, &server)] {
                let remote = Some(peer.local_addr().unwrap());
                let gate = Gate::SendReceive;
                bench
                    .configure(pinhole, Settings { role: Role::Either, remote, gate, ..Settings::default() });
            }
            bench.opened(pair);
            if bench.kind == Kind::Kernel {
                bench.carried(|carried| carried == 2);
            }
            let (mut one, mut two) = if from_callee {
                let from = SocketAddr::new(bench.at.callee, 0);
                let far = bench.lab.call_from(Host::Callee, from, pair.callee.1).unwrap();
                (far, accept(&client))
            } else {
                (bench.lab.call(bench.at.caller, pair.caller.1).unwrap(), accept(&server))
            };
            say(&mut one, b"hello");
            hears(&mut two, b"hello");
            bench.established(pair.caller.0);
            bench.established(pair.callee.0);
            drop(one);
            hears_the_end(&mut two);
            drop(two);
            assert_eq!(bench.both_closed(pair), (Cause::Normal, Cause::Normal));
            bench.release(pair.caller.0);
            bench.release(pair.callee.0);
        }
    });
}

#[test]
fn a_stalled_reader_stalls_the_writer() {
    over_all(|bench| {
        let (_pair, mut near, mut far) = bench.connected();
        near.set_nonblocking(true).unwrap();
        let block = octets(3, 64 * 1024);
        let (mut written, mut stalled_since) = (0, None::<Instant>);
        // Until nothing more is taken for a while.
        until("the writer goes on and on", || match near.write(&block) {
            Ok(more) => {
                written += more;
                stalled_since = None;
                assert!(written < 256 << 20, "it is kept somewhere");
                false
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                stalled_since.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(500)
            }
            Err(error) => panic!("{error}"),
        });
        near.set_nonblocking(false).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        far.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), written);
        assert!(
            all.chunks(block.len()).zip(std::iter::repeat(&block)).all(|(got, sent)| got.len() <= sent.len())
        );
    });
}

/// Nobody hears that segments are too large: what is asked for when a connection begins has to fit.
#[test]
fn segments_fit_the_narrower_side_where_nobody_hears_that_they_do_not() {
    over_all(|bench| {
        let lab = bench.lab;
        lab.says(Host::Gateway, &["ip", "link", "set", "core", "mtu", "1280"]);
        let deaf = "table inet deaf { chain in { type filter hook input priority 0;
             icmp type destination-unreachable drop
             icmpv6 type packet-too-big drop
             }
             }";
        lab.says(Host::Caller, &["nft", deaf]);
        lab.says(Host::Callee, &["nft", deaf]);
        let (_pair, mut near, mut far) = bench.connected();
        let much = octets(6, 200_000);
        for _ in 0..2 {
            let (sent, mut writer) = (much.clone(), near.try_clone().unwrap());
            let writes = thread::spawn(move || writer.write_all(&sent).unwrap());
            hears(&mut far, &much);
            writes.join().unwrap();
            std::mem::swap(&mut near, &mut far);
        }
    });
}

/// Connection tracking takes a segment that is far from where the connection is for nobody's. Who sent it would be
/// told by our own host that there is no such connection.
#[test]
fn a_segment_that_comes_very_late_is_the_callees_to_answer() {
    over(&[Kind::Kernel], Timers::default(), |bench| {
        if bench.at.family == Family::V6 {
            return;
        }
        let lab = bench.lab;
        let counts = "table inet late { chain in { type filter hook input priority 0;
             tcp window 4242 counter
             }
             }";
        lab.says(Host::Callee, &["nft", counts]);
        let (pair, mut near, mut far) = bench.connected();
        let from = near.local_addr().unwrap();
        let script = "import socket,struct,sys\n\
            a,b,p,q=sys.argv[1],sys.argv[2],int(sys.argv[3]),int(sys.argv[4])\n\
            def t(c): return struct.pack('!HHIIBBHHH',p,q,123456789,987654321,80,16,4242,c,0)\n\
            d=socket.inet_aton(a)+socket.inet_aton(b)+struct.pack('!HH',6,20)+t(0)\n\
            s=sum(struct.unpack('!16H',d))\n\
            s=(s&65535)+(s>>16); s=(s&65535)+(s>>16)\n\
            r=socket.socket(socket.AF_INET,socket.SOCK_RAW,6); r.bind((a,0)); r.sendto(t(65535-s),(b,0))\n";
        let (a, b) = (from.ip().to_string(), pair.caller.1.ip().to_string());
        let (p, q) = (from.port().to_string(), pair.caller.1.port().to_string());
        until("a late segment comes to the callee", || {
            lab.says(Host::Caller, &["python3", "-c", script, &a, &b, &p, &q]);
            let seen = lab.says(Host::Callee, &["nft", "list", "table", "inet", "late"]);
            !seen.contains("packets 0 ")
        });
        say(&mut near, b"as if nothing had been");
        hears(&mut far, b"as if nothing had been");
    });
}
