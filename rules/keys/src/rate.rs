//! How often one source may do something.
//!
//! A token bucket a source. An IPv6 source is its /64, because a host has that many addresses.
//! When the table is full, strangers share one bucket; known sources keep theirs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A rate and how much may come at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How many a second in the long run.
    pub per_second: f64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    since: Instant,
}

/// Buckets by source.
#[derive(Debug)]
pub struct RateLimiter {
    rate: Rate,
    capacity: usize,
    buckets: BTreeMap<IpAddr, Bucket>,
    strangers: Option<Bucket>,
}

impl RateLimiter {
    /// A limiter that knows at most `capacity` sources.
    pub fn new(rate: Rate, capacity: usize) -> Self {
        Self { rate, capacity, buckets: BTreeMap::new(), strangers: None }
    }

    /// Takes a token of `source`; `false` if it has none.
    pub fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = network(source);
        let full = Bucket { tokens: f64::from(self.rate.burst), since: now };
        if !self.buckets.contains_key(&source) && self.buckets.len() >= self.capacity {
            self.forget_full(now);
        }
        let room = self.buckets.len() < self.capacity;
        let bucket = match self.buckets.get_mut(&source) {
            Some(bucket) => bucket,
            None if room => self.buckets.entry(source).or_insert(full),
            None => self.strangers.get_or_insert(full),
        };
        refill(bucket, self.rate, now);
        let has = bucket.tokens >= 1.0;
        if has {
            bucket.tokens -= 1.0;
        }
        has
    }

    /// Drops sources that have been quiet so long that their bucket is full again.
    fn forget_full(&mut self, now: Instant) {
        let rate = self.rate;
        self.buckets.retain(|_, bucket| {
            refill(bucket, rate, now);
            bucket.tokens < f64::from(rate.burst)
        });
    }
}

fn refill(bucket: &mut Bucket, rate: Rate, now: Instant) {
    let passed = now.checked_duration_since(bucket.since).unwrap_or(Duration::ZERO);
    bucket.tokens = (bucket.tokens + passed.as_secs_f64() * rate.per_second).min(f64::from(rate.burst));
    bucket.since = bucket.since.max(now);
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_trickle_each_source_for_itself() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(Rate { burst: 3, per_second: 1.0 }, 2);
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let a = ip("192.0.2.1");
        assert_eq!([(); 4].map(|()| limiter.take(a, now)), [true, true, true, false]);
        assert!(limiter.take(a, now + Duration::from_secs(1)));
        assert!(!limiter.take(a, now + Duration::from_secs(1)));
        // The same /64, also in disguise.
        assert_eq!([(); 3].map(|()| limiter.take(ip("2001:db8::1"), now)), [true; 3]);
        assert!(!limiter.take(ip("2001:db8::ffff"), now));
        assert!(!limiter.take(ip("::ffff:192.0.2.1"), now + Duration::from_secs(1)));
        // Full: strangers share.
        assert_eq!([(); 3].map(|()| limiter.take(ip("198.51.100.1"), now)), [true; 3]);
        assert!(!limiter.take(ip("198.51.100.2"), now));
        // Later there is room again.
        assert!(limiter.take(ip("198.51.100.3"), now + Duration::from_secs(60)));
    }
}
