//! Pairs of clients in one thread.

use crate::Result;
use crate::pair::Pair;
use crate::relays::Peer;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use std::fmt;
use std::time::{Duration, Instant};

/// What one measurement brought.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Microseconds of the relay's CPU a SEND.
    pub cpu: f64,
    /// SENDs a second.
    pub rate: f64,
    /// Milliseconds from a SEND to its arrival: median and 99th percentile.
    pub p50: f64,
    pub p99: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, rate, p50, p99 } = self;
        write!(f, "{cpu:6.2} us a SEND, {rate:8.0} SENDs/s, p50 {p50:.2} ms, p99 {p99:.2} ms")
    }
}

/// Runs pairs through a relay for `seconds`, after a warm-up.
pub fn measure(peer: &Peer, pairs: usize, size: usize, seconds: f64) -> Result<Figures> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut all = Vec::new();
    for n in 0..pairs {
        let pair = Pair::new(peer, n, size)?;
        for (side, wire) in pair.wires().into_iter().enumerate() {
            let token = epoll::EventData::new_u64((n * 2 + side) as u64);
            epoll::add(&epoll, wire.socket(), token, epoll::EventFlags::IN)?;
        }
        all.push(pair);
    }
    for pair in &mut all {
        pair.send()?;
    }
    let warm = Instant::now() + Duration::from_millis(500);
    turn(&epoll, &mut all, warm, &mut Vec::new())?;
    let (begun, cpu) = (Instant::now(), peer.cpu());
    let mut times = Vec::new();
    turn(&epoll, &mut all, begun + Duration::from_secs_f64(seconds), &mut times)?;
    let (took, cpu) = (begun.elapsed().as_secs_f64(), peer.cpu() - cpu);
    times.sort_by(f64::total_cmp);
    let count = times.len() as f64;
    let at = |share: f64| times.get((count * share) as usize).copied().unwrap_or(f64::NAN);
    Ok(Figures { cpu: cpu * 1e6 / count, rate: count / took, p50: at(0.5), p99: at(0.99) })
}

fn turn(epoll: &OwnedFd, pairs: &mut [Pair], until: Instant, times: &mut Vec<f64>) -> Result<()> {
    let mut ready = Vec::with_capacity(256);
    let mut buffer = vec![0; 64 * 1024];
    while Instant::now() < until {
        ready.clear();
        let timeout = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
        epoll::wait(epoll, spare_capacity(&mut ready), Some(&timeout))?;
        if ready.is_empty() {
            return Err("nothing comes any more".into());
        }
        for event in &ready {
            let token = event.data.u64() as usize;
            let pair = pairs.get_mut(token / 2).ok_or("a pair")?;
            if let Some(time) = pair.read(token % 2 == 1, &mut buffer)? {
                times.push(time);
            }
        }
    }
    Ok(())
}
