//! A floor control server of ours behind one blocking socket.

use crate::Result;
use crate::peer::{Peer, on_processor};
use carnet_floor::{Algorithm, ConnectionId, Floor, FloorControl, Limits, Link, Member, Settings};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Instant;

const CONNECTION: ConnectionId = ConnectionId(1);

fn control() -> FloorControl {
    let now = Instant::now();
    let floors = vec![Floor::new(1, Algorithm::FirstCome)];
    let mut limits = Limits::default();
    limits.burst = u32::MAX;
    let mut control = FloorControl::new(Settings::new(4711, floors), limits);
    control.admit(now, 7, Member::default());
    control.connected(now, CONNECTION, Link::stream(Some(7)));
    control
}

/// Nanoseconds on a processor a pair of request and release, requests a second on the clock.
pub fn under_load(peer: &Peer, pairs: u32) -> Result<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || -> Result<f64> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut control = control();
        let mut octets = [0; 4096];
        let began = on_processor("thread-self")?;
        loop {
            let read = stream.read(&mut octets)?;
            if read == 0 {
                return Ok(on_processor("thread-self")? - began);
            }
            control.handle_octets(Instant::now(), CONNECTION, octets.get(..read).unwrap_or_default());
            while let Some((_, octets)) = control.poll_transmit() {
                stream.write_all(&octets)?;
            }
            while control.poll_event().is_some() {}
        }
    });
    let rate = peer.load(port, pairs)?;
    let spent = server.join().map_err(|_| "the server failed")??;
    Ok((spent / f64::from(pairs), rate * 2.0))
}

/// Nanoseconds on a processor a pair, octets to octets, without sockets.
pub fn alone(pairs: u32) -> Result<f64> {
    let mut control = control();
    let began = on_processor("thread-self")?;
    let now = Instant::now();
    let mut transaction = 0_u16;
    for _ in 0..pairs {
        let mut say = |primitive: u8, kind: u8, id: [u8; 2]| -> Result<[u8; 2]> {
            transaction = transaction.checked_add(1).unwrap_or(1);
            let [high, low] = transaction.to_be_bytes();
            let message = [0x20, primitive, 0, 1, 0, 0, 0x12, 0x67, high, low, 0, 7, kind, 4, id[0], id[1]];
            control.handle_octets(now, CONNECTION, &message);
            let (_, answer) = control.poll_transmit().ok_or("no answer")?;
            while control.poll_event().is_some() {}
            match answer.get(1..16) {
                Some([4, .., high, low]) => Ok([*high, *low]),
                _ => Err("another answer".into()),
            }
        };
        // The number of the request is the first of the description that the answer holds.
        let request = say(1, 0x05, [0, 1])?;
        say(2, 0x07, request)?;
    }
    Ok((on_processor("thread-self")? - began) / f64::from(pairs))
}
