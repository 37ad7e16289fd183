//! Floor control: whatever comes over any of its connections, in any order with users that come and go, a floor
//! has no more holders than it may have, holders are in the conference, and a snapshot makes the same floors.
#![no_main]

use carnet_floor::{Algorithm, ConnectionId, Floor, FloorControl, Limits, Link, Member, Settings, Transport};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn settings() -> Settings {
    let mut second = Floor::new(2, Algorithm::Chair);
    second.max_holders = 2;
    let mut third = Floor::new(3, Algorithm::Rotation);
    third.max_time = Some(Duration::from_secs(5));
    Settings::new(7, vec![Floor::new(1, Algorithm::FirstCome), second, third])
}

fn drain(server: &mut FloorControl) {
    while let Some((_, octets)) = server.poll_transmit() {
        assert!(octets.len() >= 12 && octets.len() % 4 == 0);
    }
    while server.poll_event().is_some() {}
}

// Each step is `what | of whom, length, octets`.
fuzz_target!(|input: &[u8]| {
    let mut now = Instant::now();
    let mut server = FloorControl::new(settings(), Limits::default());
    let mut users = BTreeSet::new();
    let mut rest = input;
    let mut next = 100;
    while let [what, length, after @ ..] = rest {
        let (octets, after) = after.split_at((*length as usize).min(after.len()));
        rest = after;
        let user = u16::from(what & 7);
        let connection = ConnectionId(u64::from(user));
        match what >> 3 & 15 {
            0 => {
                users.insert(user);
                server.admit(now, user, Member { third_party: user == 1, ..Member::default() });
            }
            1 => {
                users.remove(&user);
                server.dismiss(now, user);
            }
            2 => server.connected(now, connection, Link::stream(Some(user))),
            3 => {
                let link = Link { transport: Transport::Datagram { mtu: 1200 }, user: None, secured: false };
                server.connected(now, connection, link);
            }
            4 => server.closed(now, connection, octets.is_empty()),
            5 => {
                let _ = server.designate(now, 2 + u16::from(*length & 1), users.contains(&user).then_some(user));
            }
            6 => {
                now += Duration::from_millis(u64::from(*length) * 40);
                server.handle_timeout(now);
            }
            7 => server.blocked(connection, octets.is_empty()),
            8 => {
                let snapshot = server.snapshot(now);
                let mut again = FloorControl::new(settings(), Limits::default());
                again.restore(now, &snapshot).expect("an own snapshot");
                drain(&mut again);
            }
            9 => {
                let _ = FloorControl::new(settings(), Limits::default())
                    .restore(now, &String::from_utf8_lossy(octets));
            }
            // A message that is right as far as its frame goes: the primitive, who, and attributes as they come.
            _ => {
                next += 1;
                let words = octets.len().saturating_sub(1) / 4;
                let mut message = vec![0x20, octets.first().copied().unwrap_or(1) % 20];
                message.extend(u16::try_from(words).unwrap_or(0).to_be_bytes());
                message.extend(7u32.to_be_bytes());
                message.extend(u16::to_be_bytes(next));
                message.extend(user.to_be_bytes());
                message.extend(octets.iter().skip(1).take(words * 4));
                server.handle_octets(now, connection, &message);
            }
        }
        drain(&mut server);
        for (floor, most) in [(1, 1), (2, 2), (3, 1)] {
            let holders = server.holders(floor);
            assert!(holders.len() <= most, "floor {floor}: {holders:?}");
            assert!(holders.iter().all(|holder| users.contains(holder)), "floor {floor}: {holders:?}");
        }
    }
});
