//! Fan-out of the MSRP switch of a chat room, in memory.
//!
//! `cargo run --release -p carnet-bench-room -- [--rounds N] [--members N]... [--seconds N]`
//!
//! One member sends, all others receive and acknowledge; each is a session of our own MSRP endpoint. Only
//! the room's time counts, not that of the members, and on the processor, not on the clock: what one core
//! could deliver if nothing else had to be done. Sockets and TLS are left out. Every copy is counted at its
//! receiver. Before, many members join rooms and say nothing: what the process grew by is their memory.

#![allow(clippy::print_stdout)]

use bytes::Bytes;
use carnet_msrp::cpim::{Address, Head};
use carnet_msrp::{Config, Event, Outgoing, Session, Size, Uri};
use carnet_room::{History, Limits, Member, MemberId, Room, Settings};
use carnet_wire::SeededRandom;
use std::error::Error;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROOM: &str = "sip:room@conf.example.com";

fn main() -> Result<()> {
    let (mut rounds, mut members, mut seconds) = (5, Vec::new(), 1);
    let mut given = std::env::args().skip(1);
    while let Some(arg) = given.next() {
        let number = given.next().ok_or(format!("{arg} needs a number"))?;
        match arg.as_str() {
            "--rounds" => rounds = number.parse()?,
            "--members" => members.push(number.parse()?),
            "--seconds" => seconds = number.parse()?,
            _ => return Err(format!("{arg} is not known").into()),
        }
    }
    if members.is_empty() {
        members = vec![100, 1000];
    }
    // First, before anything was given back to the allocator.
    println!("idle member: {:.0} octets", idle()?);
    println!(
        "{:>8} {:>8} {:>16} {:>14} {:>12}",
        "members", "octets", "deliveries/s", "us a delivery", "MB/s out"
    );
    for n in members {
        for size in [200, 4096] {
            let mut rates = Vec::new();
            for _ in 0..rounds {
                rates.push(fan_out(n, size, Duration::from_secs(seconds))?);
            }
            rates.sort_by(|a: &Rate, b| a.deliveries.total_cmp(&b.deliveries));
            let Some(rate) = rates.get(rates.len() / 2) else { continue };
            println!(
                "{n:>8} {size:>8} {:>16.0} {:>14.2} {:>12.0}",
                rate.deliveries,
                1e6 / rate.deliveries,
                rate.octets / 1e6
            );
        }
    }
    Ok(())
}

struct Rate {
    deliveries: f64,
    octets: f64,
}

fn path(name: &str) -> Result<Uri> {
    Ok(format!("msrp://{name}.example.com:2855/{name}s8fjw93k;tcp").parse()?)
}

fn room() -> Room {
    let history = History { count: 0, ..History::default() };
    let settings = Settings { notices: false, history, ..Settings::new(ROOM) };
    Room::new(settings, Limits::default(), Box::new(SeededRandom::new(1)))
}

fn enter(room: &mut Room, now: Instant, id: u16) -> Result<()> {
    let (ours, theirs) = (path(&format!("leg{id}"))?, path(&format!("member{id}"))?);
    let member = Member::new(format!("sip:user{id}@example.com"), ours, vec![theirs]);
    if !room.join(now, MemberId(id), member) {
        return Err("the room is full".into());
    }
    room.connected(now, MemberId(id), false);
    Ok(())
}

/// The room's time on a processor, and nobody else's.
#[derive(Default)]
struct Watch(Duration);

impl Watch {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> Result<T> {
        let start = on_processor()?;
        let result = work();
        self.0 += on_processor()? - start;
        Ok(result)
    }
}

/// How long this thread has been on a processor, which other work on the machine changes little.
fn on_processor() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let number = text.split_whitespace().next().ok_or("no time")?;
    Ok(Duration::from_nanos(number.parse()?))
}

/// Messages of `size` octets to `n` others for some time on the room's watch.
fn fan_out(n: u16, size: usize, time: Duration) -> Result<Rate> {
    let mut room = room();
    let now = Instant::now();
    let mut clients = Vec::new();
    for id in 0..=n {
        enter(&mut room, now, id)?;
        let config = Config::new(path(&format!("member{id}"))?, vec![path(&format!("leg{id}"))?]);
        clients.push(Session::new(config, Box::new(SeededRandom::new(u64::from(id)))));
    }
    let head = Head::new(&Address::of("sip:user0@example.com"), &Address::of(ROOM), "text/plain")?;
    let mut body = Vec::new();
    head.write(&mut body);
    body.resize(body.len() + size, b'x');
    let body = Bytes::from(body);

    let mut watch = Watch::default();
    let (mut sent, mut received, mut octets) = (0_u64, 0_u64, 0_u64);
    let mut wires: Vec<Vec<u8>> = clients.iter().map(|_| Vec::new()).collect();
    while watch.0 < time {
        let sender = clients.first_mut().ok_or("nobody sends")?;
        for _ in 0..8 {
            sender.send_whole(Outgoing::new("message/cpim", Size::Unknown), body.clone())?;
            sent += 1;
        }
        let mut moved = true;
        while moved {
            for (client, wire) in clients.iter_mut().zip(&mut wires) {
                client.handle_input(now, wire);
                while let Some(event) = client.poll_event() {
                    received += u64::from(matches!(event, Event::Complete { .. }));
                }
                wire.clear();
                client.poll_transmit(now, wire, 1 << 16);
            }
            moved = wires.iter().any(|wire| !wire.is_empty());
            let taken = watch.time(|| {
                let mut ids = (0_u16..).map(MemberId).zip(&wires);
                ids.all(|(id, wire)| room.handle_input(now, id, wire) == wire.len())
            })?;
            if !taken {
                return Err("the room did not take everything".into());
            }
            watch.time(|| {
                for (id, wire) in (0_u16..).map(MemberId).zip(&mut wires) {
                    wire.clear();
                    room.poll_transmit(now, id, wire, 1 << 16);
                }
                while room.poll_event().is_some() {}
                while room.poll_writable().is_some() {}
            })?;
            octets += wires.iter().map(|wire| wire.len() as u64).sum::<u64>();
            moved |= wires.iter().any(|wire| !wire.is_empty());
        }
    }
    if received != sent * u64::from(n) || room.counters().delivered != received {
        return Err(format!("{sent} messages to {n} members, {received} copies received").into());
    }
    let seconds = watch.0.as_secs_f64();
    Ok(Rate { deliveries: received as f64 / seconds, octets: octets as f64 / seconds })
}

/// Octets that a member costs who says nothing.
fn idle() -> Result<f64> {
    const ROOMS: usize = 20;
    const MEMBERS: u16 = 1000;
    let now = Instant::now();
    let mut rooms = Vec::new();
    let before = resident()?;
    for _ in 0..ROOMS {
        let mut room = room();
        for id in 0..MEMBERS {
            enter(&mut room, now, id)?;
        }
        rooms.push(room);
    }
    let grown = resident()?.saturating_sub(before);
    Ok(grown as f64 / (ROOMS as f64 * f64::from(MEMBERS)))
}

/// Memory that the process occupies, in octets.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let number = line.split_whitespace().nth(1).ok_or("no number")?;
    Ok(number.parse::<u64>()? * 1024)
}
