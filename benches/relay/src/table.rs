//! Loads, samples, and the goals that they are about.

use std::fmt;

use carnet_load::outcome::Line;

use crate::engine::Variant;
use crate::peers::Who;

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
    Ping,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Octets, round trips or connections that were confirmed.
    pub units: f64,
    pub wall: f64,
    pub relay_cpu: f64,
    /// Relay, client, server and the kernel's own threads; or the whole machine.
    pub all_cpu: f64,
    /// Median time of an answer, us.
    pub p50: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { units, wall, relay_cpu, all_cpu, p50 } = self;
        write!(
            f,
            "{units:14.0} in {wall:.2} s, CPU relay {relay_cpu:.3} s, all {all_cpu:.3} s, p50 {p50:.0} us"
        )
    }
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Up,
        Self::Down,
        Self::OneUp,
        Self::OneDown,
        Self::Messages,
        Self::Large,
        Self::Connections,
        Self::Ping,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::OneUp => "up1",
            Self::OneDown => "down1",
            Self::Messages => "messages",
            Self::Large => "messages4k",
            Self::Connections => "connections",
            Self::Ping => "ping",
        }
    }

    /// What `carnet-load` is asked for: its kind, sessions and more.
    pub fn load(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Up => ("up", &["--sessions", "16"]),
            Self::Down => ("down", &["--sessions", "16"]),
            Self::OneUp => ("up", &["--sessions", "1"]),
            Self::OneDown => ("down", &["--sessions", "1"]),
            Self::Messages => ("echo", &["--sessions", "500", "--size", "200"]),
            Self::Large => ("echo", &["--sessions", "500", "--size", "4096"]),
            // So few that no relay runs out of source ports towards the server, however many rounds there are.
            Self::Connections => ("connect", &["--sessions", "32", "--size", "1", "--limit", "2000"]),
            Self::Ping => ("echo", &["--sessions", "1", "--size", "200"]),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Up => "bulk up, 16 streams",
            Self::Down => "bulk down, 16 streams",
            Self::OneUp => "bulk up, 1 stream",
            Self::OneDown => "bulk down, 1 stream",
            Self::Messages => "200-octet echo, 500 sessions",
            Self::Large => "4,096-octet echo, 500 sessions",
            Self::Connections => "connect, 1 octet, close",
            Self::Ping => "200-octet echo, 1 session, one processor, p50",
        }
    }

    fn is_bulk(self) -> bool {
        matches!(self, Self::Up | Self::Down | Self::OneUp | Self::OneDown)
    }

    fn unit(self) -> &'static str {
        if self.is_bulk() { "s/GB" } else { "us" }
    }

    /// Units in a GB, or microseconds in a second.
    fn scale(self) -> f64 {
        if self.is_bulk() { 1e9 } else { 1e6 }
    }

    /// What a variant is held to: the goal, beside whom, and how much of it.
    fn goals(self, variant: Variant, threads: usize) -> Vec<(&'static str, Who, Option<f64>)> {
        use Who::{Haproxy, HaproxySplice, Nginx, NginxLarge, Translation};
        if self == Self::Ping {
            return [Haproxy, HaproxySplice, Nginx, NginxLarge].map(|peer| ("A5", peer, Some(0.95))).to_vec();
        }
        if variant == Variant::Kernel {
            let wanted = match self {
                Self::Connections => 0.30,
                Self::Messages | Self::Large => 0.25,
                _ => 0.10,
            };
            // Beside the translation that was written by hand nothing is wanted; it says what is left.
            return vec![("A6", Haproxy, Some(wanted)), ("A6", Translation, None)];
        }
        if threads > 1 {
            return match self {
                Self::Messages | Self::Large => vec![("A4", Haproxy, Some(0.80))],
                _ => vec![("", Haproxy, None)],
            };
        }
        let all = |goal, list: &[(Who, f64)]| {
            list.iter().map(|(who, wanted)| (goal, *who, Some(*wanted))).collect()
        };
        match self {
            Self::Up | Self::Down => {
                all("A1", &[(Haproxy, 0.50), (HaproxySplice, 0.92), (Nginx, 0.55), (NginxLarge, 0.55)])
            }
            Self::OneUp | Self::OneDown => {
                all("A2", &[(Haproxy, 0.70), (HaproxySplice, 1.0), (NginxLarge, 0.85)])
            }
            Self::Messages | Self::Large => {
                all("A3", &[(Haproxy, 0.88), (HaproxySplice, 0.6), (Nginx, 0.85), (NginxLarge, 0.85)])
            }
            Self::Connections => all("B1", &[(Haproxy, 0.88), (Nginx, 0.95)]),
            Self::Ping => Vec::new(),
        }
    }
}

/// All samples in the order in which they were taken; `None` where one failed.
#[derive(Debug, Default)]
pub struct Table(Vec<(usize, Kind, Who, Option<Sample>)>);

impl Table {
    pub fn add(&mut self, round: usize, kind: Kind, who: Who, sample: Option<Sample>) {
        self.0.push((round, kind, who, sample));
    }

    fn sample(&self, round: usize, kind: Kind, who: Who) -> Option<Sample> {
        self.0.iter().find(|entry| (entry.0, entry.1, entry.2) == (round, kind, who))?.3
    }

    /// One value a round: CPU that the relay adds to the load, a unit; or the median time of an answer. NaN where there
    /// is none.
    fn values(&self, rounds: usize, kind: Kind, who: Who) -> Vec<f64> {
        let value = |round| {
            let own = self.sample(round, kind, who)?;
            if kind == Kind::Ping {
                return Some(own.p50);
            }
            let direct = self.sample(round, kind, Who::Direct)?;
            Some((own.all_cpu / own.units - direct.all_cpu / direct.units) * kind.scale())
        };
        (0..rounds).map(|round| value(round).unwrap_or(f64::NAN)).collect()
    }

    /// What came of it. `absent`: who was not there, and why.
    pub fn lines(
        &self,
        kinds: &[Kind],
        rounds: usize,
        threads: usize,
        absent: &[(Who, String)],
    ) -> Vec<Line> {
        let missing = |who: Who| absent.iter().find(|(other, _)| *other == who).map(|(_, why)| why.as_str());
        let mut lines = Vec::new();
        for &kind in kinds {
            for variant in [Variant::Sockets, Variant::Steered, Variant::Kernel] {
                let carnet = Who::Carnet(variant);
                let metric = if kind == Kind::Ping { "" } else { ", added CPU" };
                let several = if threads > 1 { format!(", {threads} threads") } else { String::new() };
                let what = format!("{}{metric}{several}: {}", kind.title(), variant.name());
                for (goal, peer, wanted) in kind.goals(variant, threads) {
                    lines.push(match missing(carnet).or_else(|| missing(peer)) {
                        Some(why) => Line::absent(goal, &what, &format!("not available: {why}")),
                        None => {
                            let theirs = self.values(rounds, kind, peer);
                            let ours = self.values(rounds, kind, carnet);
                            Line::compare(goal, &what, kind.unit(), (peer.name(), &theirs), &ours, wanted)
                        }
                    });
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_compared_round_by_round() {
        let mut table = Table::default();
        let sample = |all_cpu| Some(Sample { units: 1e6, wall: 1.0, relay_cpu: 0.0, all_cpu, p50: 20.0 });
        for (round, direct) in [1.0, 2.0, 3.0].into_iter().enumerate() {
            table.add(round, Kind::Messages, Who::Direct, sample(direct));
            table.add(round, Kind::Messages, Who::Haproxy, sample(direct + 10.0));
            table.add(
                round,
                Kind::Messages,
                Who::Carnet(Variant::Sockets),
                sample(direct + 8.0 + round as f64),
            );
        }
        let absent =
            [(Who::Nginx, "no nginx".to_owned()), (Who::Carnet(Variant::Kernel), "no table".to_owned())];
        let lines = table.lines(&[Kind::Messages], 3, 1, &absent);
        let Some(Line::Outcome(first)) = lines.first() else { panic!("{lines:?}") };
        assert_eq!((first.goal.as_str(), first.peer.as_str(), first.wanted), ("A3", "haproxy", Some(0.88)));
        assert!((first.ratio - 0.9).abs() < 1e-9 && (first.least - 0.8).abs() < 1e-9, "{first:?}");
        assert!((first.most - 1.0).abs() < 1e-9 && first.rounds == 3, "{first:?}");
        let of = |goal: &str, words: &str| {
            let fits =
                |line: &&Line| matches!(line, Line::Absent(a) if a.goal == goal && a.absent.contains(words));
            lines.iter().filter(fits).count()
        };
        // Two variants beside nginx; the kernel engine beside both of its peers.
        assert_eq!((of("A3", "no nginx"), of("A6", "no table")), (2, 2), "{lines:?}");
    }
}
