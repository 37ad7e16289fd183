//! A floor control server under what two connections say, one a stream and one of datagrams: it says no more
//! than it may, nobody has more than there is, and its snapshot is taken over as it was.
#![no_main]

use carnet_floor::{Algorithm, ConnectionId, Floor, FloorControl, Limits, Link, Member, Settings, Transport};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

fn conference(now: Instant) -> FloorControl {
    let floors = vec![
        Floor::new(1, Algorithm::FirstCome),
        Floor::new(2, Algorithm::Chair),
        Floor::new(3, Algorithm::Rotation),
    ];
    let mut control = FloorControl::new(Settings::new(1, floors), Limits::default());
    for user in 1..=3 {
        control.admit(now, user, Member::default());
    }
    control.designate(now, 2, Some(1)).expect("both are there");
    control
}

/// A message of user 1: its primitive, the number of its transaction, and attributes.
fn message(octets: &[u8]) -> Vec<u8> {
    let (head, attributes) = octets.split_at(octets.len().min(2));
    let [primitive, transaction] = [0, 1].map(|at| head.get(at).copied().unwrap_or_default());
    let units = u8::try_from(attributes.len().div_ceil(4)).expect("no more than 255 octets come");
    let mut out = vec![0x20, primitive % 20, 0, units, 0, 0, 0, 1, 0, transaction, 0, 1];
    out.extend_from_slice(attributes);
    out.resize(12 + usize::from(units) * 4, 0);
    out
}

fuzz_target!(|input: &[u8]| {
    let mut now = Instant::now();
    let mut control = conference(now);
    let (stream, datagrams) = (ConnectionId(1), ConnectionId(2));
    control.connected(now, stream, Link::stream(Some(1)));
    let transport = Transport::Datagram { mtu: 64 };
    control.connected(now, datagrams, Link { transport, user: Some(2), secured: false });
    let mut rest = input;
    while let Some((&[what, length], octets)) = rest.split_first_chunk::<2>() {
        let (octets, after) = octets.split_at(octets.len().min(usize::from(length)));
        rest = after;
        match what % 4 {
            0 => control.handle_octets(now, stream, octets),
            1 => control.handle_octets(now, stream, &message(octets)),
            2 => control.handle_octets(now, datagrams, octets),
            _ => {
                now += Duration::from_secs(u64::from(length));
                control.handle_timeout(now);
            }
        }
        while control.poll_transmit().is_some() {}
        while control.poll_event().is_some() {}
    }
    let status = control.status();
    assert!(status.iter().all(|floor| floor.holders.len() <= 1));
    let mut again = conference(now);
    again.restore(now, &control.snapshot(now)).expect("its own snapshot");
    for (before, after) in status.iter().zip(again.status()) {
        assert_eq!((&before.holders, &before.queue), (&after.holders, &after.queue));
    }
});
