//! The gateway is killed at random points, again and again.

use std::process::Command;
use std::time::Duration;

use carnet_growth::cost::Left;
use carnet_wire::{Random, SeededRandom};

use crate::{asked, at, gateway, lab, numbers, seed, until};

const BATCH: u64 = 16;

/// A table of somebody else, which has to be as it was.
const STRANGER: &str =
    "table inet stranger { map m { type ipv4_addr : inet_service; elements = { 192.0.2.1 : 80 } }
chain c { type filter hook forward priority 5; policy accept; counter } }";

/// What the kernel carries goes on while the process is gone, and the next process clears it away: no element, no
/// tracked connection, and both ends know. Other tables are as they were.
#[test]
fn a_killed_gateway_is_reconciled_by_the_next_one() {
    let Some(lab) = lab() else { return };
    let (kills, seed) = (asked("CARNET_SOAK_KILLS", 3), seed());
    let files = tempfile::tempdir().unwrap();
    let (doors, stranger) = (files.path().join("doors"), files.path().join("stranger"));
    let doors = doors.to_str().unwrap();
    std::fs::write(&stranger, STRANGER).unwrap();
    lab.gateway.does("nft", &["-f", stranger.to_str().unwrap()]).unwrap();
    let strangers = || {
        let mut command = lab.gateway.command("nft");
        let output = command.args(["-s", "list", "table", "inet", "stranger"]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let before = strangers();
    let mut random = SeededRandom::new(seed);
    let mut server = lab.servers.start(&["server", &at(7_000, false), "plain"]).unwrap();
    for kill in 0..kills {
        let mut callers = lab.callers.start(&["caller", "plain"]).unwrap();
        let mut first = gateway(&lab, "kernel", false);
        // Killed while pinholes are made, sessions are opened, messages pass or all is released.
        let point = random.u64() % 4;
        let pause = Duration::from_micros(random.u64() % 20_000);
        let pairs = if point == 0 { 2_000 } else { BATCH };
        let open = format!("open {pairs} {doors} 7000 1");
        let mut up = false;
        if point == 0 {
            first.tell(&open).unwrap();
            std::thread::sleep(pause);
            first.kill();
        } else {
            first.ask(&open).unwrap();
            callers.tell(&format!("open {doors} 0 {BATCH}")).unwrap();
            if point == 1 {
                std::thread::sleep(pause);
                first.kill();
                // Some were opened through the elements that stay; what was answered is as good as ever.
                let _ = callers.hear();
            } else {
                callers.hear().unwrap();
                up = point == 2;
                if point == 3 {
                    first.tell("release").unwrap();
                    std::thread::sleep(pause);
                }
                first.kill();
            }
        }
        if up {
            // Nobody is there, and all goes on.
            let said = callers.ask(&format!("ping {BATCH} 20 3000 {kill}")).unwrap();
            assert_eq!(numbers(&said)[0], BATCH * 20);
        }
        let mut next = gateway(&lab, "kernel", false);
        let left = until("nothing is left", || {
            let left = Left::on(&lab.gateway.namespace).unwrap();
            // One element is the stranger's.
            (left.elements == 1 && left.tracked == 0).then_some(left)
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
        eprintln!("kill {kill} at point {point} after {pause:?}: {left:?}");
        assert_eq!(strangers(), before, "another table was touched");
    }
    let mut command = Command::new("ip");
    let tables =
        command.args(["netns", "exec", &lab.gateway.namespace, "nft", "list", "tables"]).output().unwrap();
    let tables = String::from_utf8(tables.stdout).unwrap();
    assert_eq!(tables.trim(), "table inet stranger", "a table is left");
}
