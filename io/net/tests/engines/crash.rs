//! The process goes and another comes: what the kernel carries flows on.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Stdio};

use super::*;

const PLACE: &str = "CARNET_ENGINE_IN_CHILD";

/// An engine in a process of its own, which may be killed.
struct Process {
    child: Child,
    input: ChildStdin,
    said: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(lab: &Lab, family: Family) -> Self {
        let tests = std::env::current_exe().unwrap();
        let tests = tests.to_str().unwrap();
        let words = [tests, "--exact", "crash::in_a_child", "--nocapture", "--ignored"];
        let family = if family == Family::V4 { "4" } else { "6" };
        let mut child = lab
            .command(Host::Gateway, &words)
            .env(PLACE, family)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, said: BufReader::new(output) }
    }

    fn tell(&mut self, words: &str) {
        writeln!(self.input, "{words}").unwrap();
    }

    /// The next line that begins so; what follows of it.
    fn says(&mut self, begin: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "no {begin:?} before the end");
            // The harness writes the name of the test in front of the first.
            if let Some((_, rest)) = line.trim().split_once(begin) {
                return rest.trim().to_owned();
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What runs in the child: it obeys its input and says what happens.
#[test]
#[ignore = "the other tests run it in a process of its own"]
fn in_a_child() {
    let Some(family) = std::env::var_os(PLACE) else { return };
    let family = if family == "4" { Family::V4 } else { Family::V6 };
    let mut config = config(Kind::Kernel, family, Timers::default());
    config.kernel.keep = true;
    config.kernel.claim = Duration::from_secs(4);
    config.timers.undecided = Duration::from_secs(600);
    let (handle, mut events) = MediaEngine::start(config).unwrap();
    thread::spawn(move || {
        while let Some(event) = events.blocking_recv() {
            match event {
                Event::Bound { pinhole, local, .. } => println!("bound {} {local}", pinhole.number),
                Event::Established { pinhole, peer } => println!("established {} {peer}", pinhole.number),
                Event::Closed { pinhole, cause } => println!("closed {} {cause:?}", pinhole.number),
                Event::Released { pinhole, statistics } => {
                    let Statistics { octets_received, octets_sent, .. } = statistics;
                    println!("released {} {octets_received} {octets_sent}", pinhole.number);
                }
                _ => {}
            }
        }
    });
    let mut number = 0;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["reserve"] => {
                for (offset, realm) in [(1, "access"), (2, "core")] {
                    let pinhole = Pinhole { group: 7, number: number + offset };
                    let (realm, family) = (Some(realm.to_owned()), Some(family));
                    handle.blocking_send(Command::Reserve { pinhole, realm, family, tls: false }).unwrap();
                }
            }
            ["adopt", caller, callee] => {
                for (offset, realm, local) in [(1, "access", caller), (2, "core", callee)] {
                    let pinhole = Pinhole { group: 7, number: number + offset };
                    let (realm, local) = (Some(realm.to_owned()), local.parse().unwrap());
                    handle.blocking_send(Command::Adopt { pinhole, realm, local }).unwrap();
                }
            }
            ["open", from, to] => {
                let pinhole = |offset| Pinhole { group: 7, number: number + offset };
                let (a, b) = (pinhole(1), pinhole(2));
                handle.blocking_send(Command::Join { a, b }).unwrap();
                for (pinhole, role, remote) in [(a, Role::Passive, from), (b, Role::Active, to)] {
                    let (remote, gate) = (Some(remote.parse().unwrap()), Gate::SendReceive);
                    let settings = Settings { role, remote, gate, ..Settings::default() };
                    handle.blocking_send(Command::Configure { pinhole, settings }).unwrap();
                }
                number += 2;
                println!("told {number}");
            }
            ["expect", from] => {
                let pinhole = |offset| Pinhole { group: 7, number: number + offset };
                let (pinhole, b) = (pinhole(1), pinhole(2));
                handle.blocking_send(Command::Join { a: pinhole, b }).unwrap();
                let (remote, gate) = (Some(from.parse().unwrap()), Gate::SendReceive);
                let settings = Settings { role: Role::Undecided, remote, gate, ..Settings::default() };
                handle.blocking_send(Command::Configure { pinhole, settings }).unwrap();
            }
            ["kept", count] => {
                let count: u64 = count.parse().unwrap();
                until("others are kept", || handle.kernel_tally().kept == count);
                println!("kept {count}");
            }
            ["carried", count] => {
                let count: u64 = count.parse().unwrap();
                until("other sessions are carried", || handle.kernel_tally().carried == count);
                println!("carried {count}");
            }
            ["release", number] => {
                let pinhole = Pinhole { group: 7, number: number.parse().unwrap() };
                handle.blocking_send(Command::Release { pinhole }).unwrap();
            }
            _ => panic!("{line}"),
        }
    }
}

/// The two addresses of a new pair, or of one that is taken up again.
fn addresses_of(process: &mut Process) -> (SocketAddr, SocketAddr) {
    let mut found = [None; 2];
    while found.contains(&None) {
        let said = process.says("bound ");
        let (number, local) = said.split_once(' ').unwrap();
        let number: usize = number.parse().unwrap();
        found[(number + 1) % 2] = Some(local.parse().unwrap());
    }
    (found[0].unwrap(), found[1].unwrap())
}

#[test]
fn sessions_flow_on_while_the_process_is_away_and_are_taken_up_again() {
    let Some(lab) = Lab::new() else { return };
    for family in [Family::V4, Family::V6] {
        let at = addresses(family);
        let server = lab.listen(Host::Callee, at.callee);
        let (from, to) = (SocketAddr::new(at.caller, 9), server.local_addr().unwrap());
        let mut process = Process::start(&lab, family);
        process.tell("reserve");
        let (caller, callee) = addresses_of(&mut process);
        process.tell(&format!("open {from} {to}"));
        process.tell("carried 1");
        process.says("carried 1");
        let mut near = lab.call(at.caller, caller).unwrap();
        let mut far = accept(&server);
        process.says("established 1");
        say(&mut near, b"before");
        hears(&mut far, b"before");
        // An orphan: nobody will ask for it again.
        process.tell("reserve");
        let (orphan, _) = addresses_of(&mut process);
        process.tell(&format!("open {from} {to}"));
        process.tell("carried 2");
        process.says("carried 2");
        let mut lost = lab.call(at.caller, orphan).unwrap();
        let mut lost_far = accept(&server);
        process.kill();
        say(&mut near, b"while nobody is there");
        hears(&mut far, b"while nobody is there");
        let mut process = Process::start(&lab, family);
        process.tell(&format!("adopt {caller} {callee}"));
        assert_eq!(addresses_of(&mut process), (caller, callee));
        process.tell(&format!("open {from} {to}"));
        assert_eq!(process.says("established 1 "), near.local_addr().unwrap().to_string());
        say(&mut far, b"after");
        hears(&mut near, b"after");
        assert_eq!(breaks(&mut lost), ErrorKind::ConnectionReset, "the orphan ends");
        assert_eq!(breaks(&mut lost_far), ErrorKind::ConnectionReset);
        drop(near);
        hears_the_end(&mut far);
        drop(far);
        assert_eq!(process.says("closed "), "1 Normal");
        process.tell("release 1");
        assert_eq!(process.says("released 1 "), "27 5", "counted over both lives");
        process.tell("release 2");
        process.says("released 2 ");
        process.tell("carried 0");
        process.says("carried 0");
        let table = lab.says(Host::Gateway, &["nft", "list", "table", "inet", "carnet-suite"]);
        assert!(!table.contains("elements"), "{table}");
        process.kill();
        lab.run(Host::Gateway, &["nft", "delete", "table", "inet", "carnet-suite"]);
    }
}

/// Killed while it keeps a caller, who has had no answer and calls again: the next process carries it.
#[test]
fn who_is_kept_by_a_process_that_dies_is_carried_by_the_next() {
    let Some(lab) = Lab::new() else { return };
    for family in [Family::V4, Family::V6] {
        let at = addresses(family);
        let server = lab.listen(Host::Callee, at.callee);
        let (from, to) = (SocketAddr::new(at.caller, 9), server.local_addr().unwrap());
        let mut process = Process::start(&lab, family);
        process.tell("reserve");
        let (caller, callee) = addresses_of(&mut process);
        process.tell(&format!("expect {from}"));
        let set = if family == Family::V4 { "early4" } else { "early6" };
        until("callers are not kept", || {
            let set = lab.says(Host::Gateway, &["nft", "list", "set", "inet", "carnet-suite", set]);
            set.contains(&format!("{} . {}", caller.ip(), caller.port()))
        });
        thread::scope(|scope| {
            let call = scope.spawn(|| lab.call(at.caller, caller));
            process.tell("kept 1");
            process.says("kept 1");
            process.kill();
            let mut process = Process::start(&lab, family);
            process.tell(&format!("adopt {caller} {callee}"));
            assert_eq!(addresses_of(&mut process), (caller, callee));
            process.tell(&format!("open {from} {to}"));
            let mut near = call.join().unwrap().unwrap();
            let mut far = accept(&server);
            assert_eq!(process.says("established 1 "), near.local_addr().unwrap().to_string());
            say(&mut near, b"here I am");
            hears(&mut far, b"here I am");
            process.kill();
        });
        lab.run(Host::Gateway, &["nft", "delete", "table", "inet", "carnet-suite"]);
    }
}

/// Killed at points that nobody chose: whatever was half done, the next process finds a state that it can use.
#[test]
fn whenever_the_process_is_killed_the_next_one_gets_along() {
    let Some(lab) = Lab::new() else { return };
    let at = addresses(Family::V4);
    let server = lab.listen(Host::Callee, at.callee);
    let (from, to) = (SocketAddr::new(at.caller, 9), server.local_addr().unwrap());
    let mut chance = u64::from(std::process::id()) | 1;
    for round in 0..8 {
        let mut process = Process::start(&lab, Family::V4);
        process.tell("carried 0");
        process.says("carried 0");
        for _ in 0..30 {
            process.tell("reserve");
            process.tell(&format!("open {from} {to}"));
        }
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
        thread::sleep(Duration::from_micros((chance >> 33) % 20_000));
        process.kill();
    }
    let mut process = Process::start(&lab, Family::V4);
    process.tell("reserve");
    let (caller, _) = addresses_of(&mut process);
    process.tell(&format!("open {from} {to}"));
    process.tell("carried 1");
    process.says("carried 1");
    let mut near = lab.call(at.caller, caller).unwrap();
    let mut far = accept(&server);
    say(&mut near, b"as if nothing had been");
    hears(&mut far, b"as if nothing had been");
    until("elements of the dead are left", || {
        let table = lab.says(Host::Gateway, &["nft", "list", "map", "inet", "carnet-suite", "carry4"]);
        let elements = table.split_once("elements").map_or("", |(_, elements)| elements);
        elements.matches(" : ").count() == 1
    });
}
