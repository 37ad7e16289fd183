//! Very many sessions, one batch after the other: nothing may be left of them.

use carnet_growth::cost::{self, Left};

use crate::{asked, at, gateway, lab, until, ways};

/// Sessions at a time.
const BATCH: u64 = 1_000;
/// What a process may hold more of after many batches than after the first ones, in octets: the allocator's habits.
const SLACK: f64 = 4e6;

/// From so many sessions on, memory is compared with that after [`ALL_PORTS`] of them: each port that was used once has
/// its place in tables from then on.
const LONG: u64 = 300_000;
/// More than there are ports, twice over.
const ALL_PORTS: u64 = 200_000;

/// Opened, used and closed: no descriptor, element, tracked connection, port or memory is kept.
#[test]
fn nothing_is_left_of_very_many_sessions() {
    let Some(lab) = lab() else { return };
    let sessions = asked("CARNET_SOAK_SESSIONS", 4_000).max(3 * BATCH);
    let compared = if sessions < LONG { 2 * BATCH } else { ALL_PORTS };
    let files = tempfile::tempdir().unwrap();
    let doors = files.path().join("doors");
    let doors = doors.to_str().unwrap();
    for way in ways(&lab) {
        // What the tracking of a host remembers of one engine's ports would be in the way of the next one.
        let Some(lab) = crate::lab() else { return };
        let mut server = lab.servers.start(&["server", &at(7_000, false), "plain"]).unwrap();
        let mut callers = lab.callers.start(&["caller", "plain"]).unwrap();
        let mut gateway = gateway(&lab, &way, false);
        let empty = Left::on(&lab.gateway.namespace).unwrap();
        let mut first = None;
        let mut last = (0.0, 0);
        let mut done = 0;
        while done < sessions {
            gateway.ask(&format!("open {BATCH} {doors} 7000 1")).unwrap();
            callers.ask(&format!("open {doors} 0 {BATCH}")).unwrap();
            callers.ask("ping 100 1 200 1").unwrap();
            // Half of them are ended by their callers, half by the gateway.
            let by_callers = (done / BATCH).is_multiple_of(2);
            if by_callers {
                callers.ask("close").unwrap();
                gateway.ask("release").unwrap();
            } else {
                gateway.ask("release").unwrap();
                callers.ask("ended").unwrap();
            }
            until("the servers know", || (server.ask("count").unwrap() == "0").then_some(()));
            done += BATCH;
            let now = (cost::user_memory(gateway.id()).unwrap(), cost::descriptors(gateway.id()).unwrap());
            // What was before fills what is kept for the next ones.
            if done == compared {
                first = Some(now);
            }
            last = now;
            if done % (100 * BATCH) == 0 {
                eprintln!("{way}: {done} sessions, {:.1} MB, {} descriptors", now.0 / 1e6, now.1);
            }
        }
        let first = first.unwrap();
        assert_eq!(last.1, first.1, "{way}: descriptors");
        assert!(last.0 < first.0 + SLACK, "{way}: memory {} and then {}", first.0, last.0);
        let left = until("nothing is left", || {
            let left = Left::on(&lab.gateway.namespace).unwrap();
            let same = left.sockets == 0 && left.tracked == 0 && left.elements == empty.elements;
            same.then_some(left)
        });
        eprintln!("{way}: {done} sessions, {:.1} MB, then {:.1} MB; {left:?}", first.0 / 1e6, last.0 / 1e6);
        // All ports are there again: as many pairs as an address has ports can be made.
        let all = carnet_growth::gateway::PAIRS_AN_ADDRESS.min(if way == "relay" { 8_000 } else { 60_000 });
        if done > 100 * BATCH {
            gateway.ask(&format!("open {all} {doors} 7000 1")).unwrap();
        }
        gateway.finish().unwrap();
    }
}
