//! The gateway is killed at random points, again and again.

use std::time::Duration;

use carnet_growth::cost::Left;
use carnet_growth::{Child, Lab};
use carnet_wire::{Random, SeededRandom};

use crate::{asked, at, gateway, lab, numbers, seed, until, ways};

const BATCH: u64 = 16;

/// A table of somebody else, which has to be as it was.
const STRANGER: &str =
    "table inet stranger { map m { type ipv4_addr : inet_service; elements = { 192.0.2.1 : 80 } }
chain c { type filter hook forward priority 5; policy accept; counter; }
}
";

/// What the kernel carries goes on while the process is gone, what is relayed ends, and the next process clears away what
/// is left: no element, no tracked connection, both ends know. Other tables are as they were.
#[test]
fn a_killed_gateway_is_reconciled_by_the_next_one() {
    let Some(lab) = lab() else { return };
    let (kills, seed) = (asked("CARNET_SOAK_KILLS", 4), seed());
    let files = tempfile::tempdir().unwrap();
    let (doors, stranger) = (files.path().join("doors"), files.path().join("stranger"));
    let doors = doors.to_str().unwrap();
    std::fs::write(&stranger, STRANGER).unwrap();
    let mut random = SeededRandom::new(seed);
    for way in ways(&lab) {
        // What the tracking of a host remembers of one engine's connections is no matter of the next one.
        let Some(lab) = crate::lab() else { return };
        lab.gateway.does("nft", &["-f", stranger.to_str().unwrap()]).unwrap();
        let before = strangers(&lab);
        let mut server = lab.servers.start(&["server", &at(7_000, false), "plain"]).unwrap();
        let idle = gateway(&lab, &way, false);
        let empty = Left::on(&lab.gateway.namespace).unwrap();
        idle.finish().unwrap();
        for kill in 0..kills {
            let mut callers = lab.callers.start(&["caller", "plain"]).unwrap();
            let point = if kill < 4 { kill } else { random.u64() % 4 };
            let pause = Duration::from_micros(random.u64() % 20_000);
            let up = kill_at(&lab, (&way, doors), (point, pause), &mut callers);
            if up && way == "kernel" {
                // Nobody is there, and all goes on.
                let said = callers.ask(&format!("ping {BATCH} 20 3000 {kill}")).unwrap();
                assert_eq!(numbers(&said)[0], BATCH * 20);
            }
            let mut next = gateway(&lab, &way, false);
            let left = until("nothing is left", || {
                let left = Left::on(&lab.gateway.namespace).unwrap();
                // Connections of the dead process itself are the host's to end.
                let tracked = way == "kernel" && left.tracked > 0;
                (left.elements == empty.elements && !tracked).then_some(left)
            });
            if up {
                callers.ask("ended").unwrap();
            }
            drop(callers);
            until("the servers know", || (server.ask("count").unwrap() == "0").then_some(()));
            // It works as if nothing had been.
            next.ask(&format!("open {BATCH} {doors} 7000 1")).unwrap();
            let mut callers = lab.callers.start(&["caller", "plain"]).unwrap();
            callers.ask(&format!("open {doors} 0 {BATCH}")).unwrap();
            callers.ask("close").unwrap();
            next.ask("release").unwrap();
            next.finish().unwrap();
            eprintln!("{way}: kill {kill} at point {point} after {pause:?}: {left:?}");
            assert_eq!(strangers(&lab), before, "another table was touched");
        }
        let mut command = lab.gateway.command("nft");
        let tables = String::from_utf8(command.args(["list", "tables"]).output().unwrap().stdout).unwrap();
        assert_eq!(tables.trim(), "table inet stranger", "a table is left");
    }
}

fn strangers(lab: &Lab) -> String {
    let mut command = lab.gateway.command("nft");
    let output = command.args(["-s", "list", "table", "inet", "stranger"]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// A gateway that is killed while pinholes are made (0), sessions are opened (1), they are idle (2) or all is released
/// (3). Whether all sessions were up and nobody had begun to end them.
fn kill_at(
    lab: &Lab,
    (way, doors): (&str, &str),
    (point, pause): (u64, Duration),
    callers: &mut Child,
) -> bool {
    let mut gateway = gateway(lab, way, false);
    let pairs = if point == 0 { 2_000 } else { BATCH };
    let open = format!("open {pairs} {doors} 7000 1");
    if point == 0 {
        gateway.tell(&open).unwrap();
        std::thread::sleep(pause);
        gateway.kill();
        return false;
    }
    gateway.ask(&open).unwrap();
    callers.tell(&format!("open {doors} 0 {BATCH}")).unwrap();
    if point == 1 {
        std::thread::sleep(pause);
        gateway.kill();
        // Some were opened, perhaps through elements that stay; the rest is refused.
        let _ = callers.hear();
        return false;
    }
    callers.hear().unwrap();
    if point == 3 {
        gateway.tell("release").unwrap();
        std::thread::sleep(pause);
    }
    gateway.kill();
    point == 2
}
