//! How fast two sessions move one file between them in memory.
//!
//! `cargo run --release -p carnet-msrp --example throughput -- [GiB] [chunk KiB]`

use bytes::Bytes;
use carnet_msrp::{Config, Event, Outgoing, Session, Size};
use carnet_wire::SeededRandom;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let size = arguments.next().map_or(Ok(4), |a| a.parse::<u64>())? << 30;
    let chunk = arguments.next().map_or(Ok(64), |a| a.parse::<usize>())? << 10;
    let mut a = session("msrps://a.example.com:1/a;tcp", "msrps://b.example.com:2/b;tcp", chunk)?;
    let mut b = session("msrps://b.example.com:2/b;tcp", "msrps://a.example.com:1/a;tcp", chunk)?;
    let mut table = vec![0; 4 << 20];
    carnet_wire::Random::fill(&mut SeededRandom::new(3), &mut table);
    let table = Bytes::from(table);
    let now = Instant::now();
    a.send(Outgoing::new("application/octet-stream", Size::Known(size)))?;
    let (mut supplied, mut received, mut most) = (0, 0, 0);
    let (mut there, mut back) = (Vec::new(), Vec::new());
    loop {
        while let Some(event) = a.poll_event() {
            match event {
                Event::WantBody { key, max } => {
                    let n = usize::try_from(size - supplied)?.min(max).min(table.len());
                    supplied += n as u64;
                    a.supply(key, table.slice(..n), supplied == size)?;
                }
                Event::Delivered { .. } => {
                    let seconds = now.elapsed().as_secs_f64();
                    let rate = received as f64 / seconds / 1e6;
                    println!(
                        "{received} octets in {seconds:.2} s: {rate:.0} MB/s, at most {most} octets held"
                    );
                    return Ok(());
                }
                _ => {}
            }
        }
        a.poll_transmit(now, &mut there, 128 << 10);
        let used = b.handle_input(now, &there);
        there.drain(..used);
        most = most.max(a.held_octets() + b.held_octets() + there.capacity());
        while let Some(event) = b.poll_event() {
            if let Event::Body { data, .. } = event {
                received += data.len() as u64;
            }
        }
        b.poll_transmit(now, &mut back, 128 << 10);
        let used = a.handle_input(now, &back);
        back.drain(..used);
    }
}

fn session(local: &str, remote: &str, chunk_size: usize) -> Result<Session, Box<dyn Error>> {
    let config = Config { chunk_size, ..Config::new(local.parse()?, vec![remote.parse()?]) };
    Ok(Session::new(config, Box::new(SeededRandom::new(1))))
}
