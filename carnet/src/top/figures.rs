//! Counters of a process, and what they come to in a second.
//!
//! Read from `/metrics` (exposition format 0.0.4). Left out: everything that is not shown.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A rate is that of so long before now.
const WINDOW: Duration = Duration::from_secs(10);

/// Ends of calls that are nobody's trouble: people hang up, give up, are busy, or are called elsewhere too.
const USUAL_ENDS: [&str; 7] =
    ["caller-hung-up", "callee-hung-up", "cancelled", "refused", "elsewhere", "not-answered", "stopping"];

/// Counters since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// Calls and dialogs that began.
    pub setups: f64,
    /// Calls that ended for a reason that is somebody's trouble, and requests that were not done.
    pub failures: f64,
    /// Octets of media that was given back.
    pub octets: f64,
    /// Tickets that a key management service issued.
    pub tickets: f64,
}

/// What else `/metrics` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Its counters.
    pub counts: Counts,
    /// The version that runs.
    pub version: Option<String>,
    /// Octets of memory.
    pub memory: Option<f64>,
    /// Open files and sockets.
    pub files: Option<f64>,
}

impl Metrics {
    /// Reads what `/metrics` answers. Lines that cannot be read are left out.
    pub fn read(text: &str) -> Self {
        let mut this = Self::default();
        let mut gateway = 0.0;
        let mut border = 0.0;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, labels, value)) = sample(line) else { continue };
            let label = |name: &str| labels.iter().find(|(known, _)| *known == name).map(|(_, v)| v.as_str());
            let counts = &mut this.counts;
            match name {
                "carnet_border_call_started_total" | "carnet_steering_dialog_started_total" => {
                    counts.setups += value;
                }
                "carnet_border_call_ended_total"
                    if !label("cause").is_some_and(|cause| USUAL_ENDS.contains(&cause)) =>
                {
                    counts.failures += value;
                }
                "carnet_steering_request_refused_total"
                | "carnet_conference_refused_total"
                | "carnet_kms_request_refused_total" => counts.failures += value,
                "carnet_gateway_octets_total" if label("direction") == Some("received") => gateway += value,
                "carnet_border_media_octets_total" if label("direction") == Some("received") => {
                    border += value;
                }
                "carnet_kms_ticket_issued_total" => counts.tickets += value,
                "carnet_build_info" => this.version = label("version").map(str::to_owned),
                "process_resident_memory_bytes" => this.memory = Some(value),
                "process_open_fds" => this.files = Some(value),
                _ => {}
            }
        }
        // A border counts what its gateways tell it: in one process both would be the same octets twice.
        this.counts.octets = if gateway > 0.0 { gateway } else { border };
        this
    }
}

/// Name, labels and value of a line.
type Sample<'a> = (&'a str, Vec<(&'a str, String)>, f64);

fn sample(line: &str) -> Option<Sample<'_>> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label, value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.get(1..)?;
    }
    Some((name, labels, rest.split_whitespace().next()?.parse().ok()?))
}

/// What stands before the quotation mark, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, text.get(at + 1..)?)),
            (_, '\\') => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            (_, c) => value.push(c),
        }
    }
}

/// What counters came to lately.
#[derive(Debug, Default)]
pub struct Pace {
    seen: VecDeque<(Instant, Counts)>,
}

impl Pace {
    /// Takes what was read.
    pub fn take(&mut self, now: Instant, counts: Counts) {
        // A process that was started anew counts from nothing.
        if self.seen.back().is_some_and(|(_, last)| {
            counts.setups < last.setups || counts.octets < last.octets || counts.tickets < last.tickets
        }) {
            self.seen.clear();
        }
        self.seen.push_back((now, counts));
        while self.seen.len() > 2
            && self.seen.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.seen.pop_front();
        }
    }

    /// By the second; `None` before there are two readings.
    pub fn rate(&self) -> Option<Counts> {
        let ((from, first), (to, last)) = (self.seen.front()?, self.seen.back()?);
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        let per = |first: f64, last: f64| (last - first) / seconds;
        (seconds > 0.0).then(|| Counts {
            setups: per(first.setups, last.setups),
            failures: per(first.failures, last.failures),
            octets: per(first.octets, last.octets),
            tickets: per(first.tickets, last.tickets),
        })
    }
}

/// `1.2 MB`, at most seven characters.
pub fn octets(count: f64) -> String {
    let mut count = count.max(0.0);
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if count < 999.5 {
            return match unit {
                "B" => format!("{count:.0} B"),
                _ if count < 99.95 => format!("{count:.1} {unit}"),
                _ => format!("{count:.0} {unit}"),
            };
        }
        count /= 1000.0;
    }
    format!("{count:.0} PB")
}

/// `0:05`, `12:34`, `3:04:05`, `2d 03:04`.
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes, rest) =
        (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{rest:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{rest:02}"),
        _ => format!("{days}d {hours:02}:{minutes:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_and_what_is_nobodys_trouble_is_no_failure() {
        let text = "# HELP x y\ncarnet_border_call_started_total{border=\"a,}\\\"b\"} 4\n\
            carnet_border_call_started_total{border=\"c\"} 2\n\
            carnet_border_call_ended_total{border=\"c\",cause=\"callee-hung-up\"} 3\n\
            carnet_border_call_ended_total{border=\"c\",cause=\"gateway-lost\"} 1\n\
            carnet_gateway_octets_total{direction=\"received\",gateway=\"g\"} 100\n\
            carnet_gateway_octets_total{direction=\"sent\",gateway=\"g\"} 99\n\
            carnet_border_media_octets_total{border=\"c\",direction=\"received\",side=\"caller\"} 100\n\
            carnet_build_info{version=\"0.1.0\"} 1\nprocess_open_fds 17\nhalf{a=\"b\nnothing\n";
        let metrics = Metrics::read(text);
        let counts = Counts { setups: 6.0, failures: 1.0, octets: 100.0, tickets: 0.0 };
        assert_eq!((metrics.counts, metrics.version.as_deref()), (counts, Some("0.1.0")));
        assert_eq!((metrics.files, metrics.memory), (Some(17.0), None));
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds_and_of_one_run() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let at = |n| start + Duration::from_secs(n);
        let counts = |setups| Counts { setups, ..Counts::default() };
        pace.take(at(0), counts(0.0));
        assert_eq!(pace.rate(), None);
        pace.take(at(2), counts(10.0));
        assert_eq!(pace.rate().map(|rate| rate.setups), Some(5.0));
        for n in 3..=40 {
            pace.take(at(n), counts(10.0));
        }
        assert_eq!(pace.rate().map(|rate| rate.setups), Some(0.0));
        pace.take(at(41), counts(1.0));
        assert_eq!(pace.rate(), None, "it was started anew");
    }

    #[test]
    fn figures_are_short() {
        for (count, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1_000.0, "1.0 kB"),
            (99_960.0, "100 kB"),
            (999_600.0, "1.0 MB"),
            (12_345_678_901.0, "12.3 GB"),
            (5e18, "5000 PB"),
        ] {
            assert_eq!(octets(count), text);
        }
        for (seconds, text) in [(5, "0:05"), (754, "12:34"), (11_045, "3:04:05"), (183_840, "2d 03:04")] {
            assert_eq!(span(seconds), text);
        }
    }
}
