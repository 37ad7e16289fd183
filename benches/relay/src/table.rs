//! Medians and ratios.

use std::fmt;

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Up,
    Down,
    OneUp,
    OneDown,
    Messages,
    Large,
    Connections,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Octets, round trips or connections that were confirmed.
    pub units: f64,
    pub wall: f64,
    pub relay_cpu: f64,
    /// Relay, client and server.
    pub all_cpu: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { units, wall, relay_cpu, all_cpu } = self;
        write!(f, "{units:14.0} in {wall:.2} s, CPU relay {relay_cpu:.2} s, all {all_cpu:.2} s")
    }
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Up, Self::Down, Self::OneUp, Self::OneDown, Self::Messages, Self::Large, Self::Connections];

    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::OneUp => "up1",
            Self::OneDown => "down1",
            Self::Messages => "messages",
            Self::Large => "messages4k",
            Self::Connections => "connections",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Up => "bulk up, 16 streams: CPU s/GB",
            Self::Down => "bulk down, 16 streams: CPU s/GB",
            Self::OneUp => "bulk up, 1 stream: CPU s/GB",
            Self::OneDown => "bulk down, 1 stream: CPU s/GB",
            Self::Large => "4,096-octet echo, 500 connections: CPU us a round trip",
            Self::Messages => "200-octet echo, 500 connections: CPU us a round trip",
            Self::Connections => "connect, 1 octet, close: CPU us a connection",
        }
    }

    /// Units in a GB, or seconds in microseconds.
    fn scale(self) -> f64 {
        match self {
            Self::Up | Self::Down | Self::OneUp | Self::OneDown => 1e9,
            Self::Messages | Self::Large | Self::Connections => 1e6,
        }
    }

    fn rate(self, sample: Sample) -> String {
        let each = sample.units / sample.wall;
        match self {
            Self::Up | Self::Down | Self::OneUp | Self::OneDown => format!("{:.1} Gbit/s", each * 8.0 / 1e9),
            Self::Messages | Self::Large | Self::Connections => format!("{each:.0} /s"),
        }
    }
}

/// All samples in the order in which they were taken.
#[derive(Debug, Default)]
pub struct Table(Vec<(Kind, &'static str, Sample)>);

impl Table {
    pub fn add(&mut self, kind: Kind, relay: &'static str, sample: Sample) {
        self.0.push((kind, relay, sample));
    }

    fn samples(&self, kind: Kind, relay: &str) -> Vec<Sample> {
        let fits = |entry: &&(Kind, &'static str, Sample)| entry.0 == kind && entry.1 == relay;
        self.0.iter().filter(fits).map(|entry| entry.2).collect()
    }

    /// `relays`: the names of those that were measured, in order.
    pub fn print(&self, kinds: &[Kind], relays: &[&'static str]) {
        for &kind in kinds {
            println!(
                "{}\n\n| relay | relay CPU | added CPU | rate |\n| --- | --- | --- | --- |",
                kind.title()
            );
            let direct = self.samples(kind, "direct");
            let base = self.samples(kind, "HAProxy");
            for &relay in relays {
                let own = self.samples(kind, relay);
                if own.is_empty() {
                    continue;
                }
                let relay_cpu: Vec<f64> = own.iter().map(|s| s.relay_cpu / s.units * kind.scale()).collect();
                let whole = |s: &Sample| s.all_cpu / s.units * kind.scale();
                let added = |list: &[Sample]| -> Vec<f64> {
                    list.iter().zip(&direct).map(|(s, d)| whole(s) - whole(d)).collect()
                };
                let base_relay: Vec<f64> =
                    base.iter().map(|s| s.relay_cpu / s.units * kind.scale()).collect();
                let rate = median_by(&own, |s| s.units / s.wall).map_or_else(String::new, |s| kind.rate(s));
                if relay == "direct" {
                    let all = median(own.iter().map(whole).collect());
                    println!("| direct (whole system) | - | {all:.2} | {rate} |");
                    continue;
                }
                println!(
                    "| {relay} | {:.2} ({:.2}) | {:.2} ({:.2}) | {rate} |",
                    median(relay_cpu.clone()),
                    median(ratios(&relay_cpu, &base_relay)),
                    median(added(&own)),
                    median(ratios(&added(&own), &added(&base))),
                );
            }
            println!();
        }
    }
}

fn ratios(own: &[f64], base: &[f64]) -> Vec<f64> {
    own.iter().zip(base).map(|(own, base)| own / base).collect()
}

fn median(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    list.get(list.len() / 2).copied().unwrap_or(f64::NAN)
}

fn median_by(list: &[Sample], key: impl Fn(&Sample) -> f64) -> Option<Sample> {
    let mut list = list.to_vec();
    list.sort_by(|a, b| key(a).total_cmp(&key(b)));
    list.get(list.len() / 2).copied()
}
