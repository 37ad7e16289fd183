//! Very many sessions, one batch after the other: nothing may be left of them.

use carnet_growth::cost::{self, Left};

use crate::{asked, at, gateway, lab, until, ways};

/// Sessions at a time.
const BATCH: u64 = 1_000;
/// How much more a process may hold at most in the second half of a run than at most in the first, in octets. Peaks are
/// compared, because what an allocator keeps goes up and down by some megabytes. Each port that was used once has its place in tables:
/// runs between 40,000 sessions and 400,000 are too long not to meet that, and too short to leave it behind.
const SLACK: f64 = 4e6;

/// Opened, used and closed: no descriptor, element, tracked connection, port or memory is kept.
#[test]
fn nothing_is_left_of_very_many_sessions() {
    let Some(lab) = lab() else { return };
    let sessions = asked("CARNET_SOAK_SESSIONS", 4_000).max(3 * BATCH);
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
        let (mut first, mut second) = ((0.0_f64, 0), (0.0_f64, 0));
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
            let half = if 2 * done <= sessions { &mut first } else { &mut second };
            *half = (half.0.max(now.0), half.1.max(now.1));
            if done % (100 * BATCH) == 0 {
                eprintln!("{way}: {done} sessions, {:.1} MB, {} descriptors", now.0 / 1e6, now.1);
            }
        }
        assert_eq!(second.1, first.1, "{way}: descriptors");
        assert!(second.0 < first.0 + SLACK, "{way}: memory {} and then {}", first.0, second.0);
        let left = until("nothing is left", || {
            let left = Left::on(&lab.gateway.namespace).unwrap();
            let same = left.sockets == 0 && left.tracked == 0 && left.elements == empty.elements;
            same.then_some(left)
        });
        eprintln!("{way}: {done} sessions, {:.1} MB, then {:.1} MB; {left:?}", first.0 / 1e6, second.0 / 1e6);
        // All ports are there again, but for the one that a loop's shared listener has on each address.
        let all = if way == "relay" { 8_000 } else { carnet_growth::gateway::PAIRS_AN_ADDRESS - 1 };
        gateway.ask(&format!("open {all} {doors} 7000 1")).unwrap();
        gateway.finish().unwrap();
    }
}
