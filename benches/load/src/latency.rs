//! Times, counted in buckets of 1.6 % width, so that a percentile costs a fixed 30 KB whatever the number of values.

use serde::Serialize;

/// Buckets for each power of two.
const STEPS: u64 = 64;
const BUCKETS: usize = 60 * STEPS as usize;

/// How often which time was seen, in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: u128,
    least: u64,
    most: u64,
}

/// What is told of them, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Latency {
    /// From when on a time counts. `intended`: when it was due, so that what had to wait for something slow before it
    /// is counted as slow too. `sent`: when it was sent; a load that waits for an answer before it sends again
    /// sends less while the other is slow, and these percentiles are better than those of a load that does not wait
    /// (coordinated omission).
    pub from: &'static str,
    /// How many.
    pub count: u64,
    /// The shortest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// Half are no longer.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: 0, least: u64::MAX, most: 0 }
    }
}

/// Below 64 each value has its bucket, above it 64 share a power of two.
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let power = u64::from(value.ilog2()) - 6;
    ((power + 1) * STEPS + (value >> power) - STEPS) as usize
}

/// The greatest value of a bucket.
fn greatest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let power = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) << power) - 1
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, nanoseconds: u64) {
        if let Some(place) = self.buckets.get_mut(bucket(nanoseconds)) {
            *place += 1;
        }
        self.count += 1;
        self.sum += u128::from(nanoseconds);
        self.least = self.least.min(nanoseconds);
        self.most = self.most.max(nanoseconds);
    }

    /// Counts those of another.
    pub fn merge(&mut self, other: &Self) {
        for (own, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += more;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// The value that this share of all does not exceed, up to 1.6 % too large.
    #[must_use]
    pub fn at(&self, share: f64) -> u64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return greatest(index).min(self.most);
            }
        }
        self.most
    }

    /// What is told of it; `None` if there is nothing.
    #[must_use]
    pub fn latency(&self, from: &'static str) -> Option<Latency> {
        if self.count == 0 {
            return None;
        }
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        Some(Latency {
            from,
            count: self.count,
            min: us(self.least),
            mean: self.sum as f64 / self.count as f64 / 1e3,
            p50: us(self.at(0.5)),
            p90: us(self.at(0.9)),
            p99: us(self.at(0.99)),
            p999: us(self.at(0.999)),
            max: us(self.most),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_is_near() {
        for value in (0..10_000).chain([65_535, 65_536, 1 << 40, u64::from(u32::MAX), 1 << 62]) {
            let top = greatest(bucket(value));
            assert!(top >= value && top as f64 <= value as f64 * 1.017, "{value}: {top}");
            assert!(bucket(value) == 0 || greatest(bucket(value) - 1) < value, "{value}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let (mut one, mut two) = (Histogram::default(), Histogram::default());
        for value in 1..=1_000u64 {
            if value % 2 == 0 { one.add(value * 1_000) } else { two.add(value * 1_000) }
        }
        assert_eq!(one.latency("sent").unwrap().count, 500);
        one.merge(&two);
        let all = one.latency("sent").unwrap();
        assert_eq!((all.count, all.min, all.max), (1_000, 1.0, 1_000.0));
        for (got, exact) in [(all.p50, 500.0), (all.p90, 900.0), (all.p99, 990.0), (all.p999, 999.0)] {
            assert!(got >= exact && got <= exact * 1.017, "{got} for {exact}");
        }
        assert!((all.mean - 500.5).abs() < 0.01);
        assert_eq!(Histogram::default().latency("sent"), None);
    }
}
