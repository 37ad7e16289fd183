//! Counters and measures for Prometheus (exposition format 0.0.4).
//!
//! Each declared event of a role has a counter `carnet_ROLE_EVENT_total`, with the role's name and what the declaration
//! says it is counted by as labels; they are there from the start, so that "none" can be told from "not there". What
//! is not an event (octets, latencies, messages) has a metric of its own, and what a role holds at the moment is asked when
//! somebody looks ([`Metrics::render`]).
//!
//! Labels of counters may hold what peers say (a status, a cause): after [`MOST_VALUES`] sets of values of one counter
//! further ones are counted under `other`, so nobody fills the memory with names.

use carnet_event::{Declared, Event};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Sets of label values that a counter is kept by, at most.
pub const MOST_VALUES: usize = 200;

/// Seconds: from a message on the same host to a telephone that rings for a minute.
pub const SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds that machines take among themselves.
pub const SHORT: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds a session lasts.
pub const LASTING: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0];

/// What is counted in a process.
pub struct Metrics {
    registry: Registry,
    events: HashMap<(&'static str, &'static str), Counter>,
    counters: HashMap<&'static str, Counter>,
    histograms: HashMap<&'static str, HistogramVec>,
    sources: Mutex<Vec<Source>>,
}

/// Says what is held at the moment, or what it has counted. Must be quick.
pub type Source = Box<dyn Fn(&mut Vec<Gauge>) + Send + Sync>;

struct Counter {
    counts: IntCounterVec,
    /// Sets of values that peers have a part in.
    known: Option<Mutex<HashSet<Vec<String>>>>,
}

impl Counter {
    fn add(&self, labels: &[&str], by: u64) {
        let Some(known) = &self.known else {
            if let Ok(count) = self.counts.get_metric_with_label_values(labels) {
                count.inc_by(by);
            }
            return;
        };
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = if known.contains(&labels) || known.len() < MOST_VALUES {
            known.insert(labels.clone());
            labels
        } else {
            // The first label is a role's name: that is ours.
            let first = labels.first().cloned();
            let others = labels.iter().skip(1).map(|_| "other".to_owned());
            first.into_iter().chain(others).collect()
        };
        drop(known);
        if let Ok(count) = self.counts.get_metric_with_label_values(&labels) {
            count.inc_by(by);
        }
    }
}

/// Something that is held or measured at the moment, or that somebody else has counted: a name that ends in `_total` is a
/// counter's.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Of the metric.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Label names and values.
    pub labels: Vec<(&'static str, String)>,
    /// How much.
    pub value: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            registry: Registry::new(),
            events: HashMap::new(),
            counters: HashMap::new(),
            histograms: HashMap::new(),
            sources: Mutex::default(),
        }
    }

    /// Asks `source` too whenever somebody looks.
    pub fn source(&self, source: Source) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Counts the events of a kind of role from here on.
    #[must_use]
    pub fn events<E: Event>(mut self, role: &'static str) -> Self {
        for declared in E::DECLARED {
            if let Some(counter) =
                self.counter_of(&event_metric(role, declared), &help(declared), role, declared)
            {
                self.events.insert((role, declared.name), counter);
            }
        }
        self
    }

    fn counter_of(&self, name: &str, help: &str, role: &str, declared: &Declared) -> Option<Counter> {
        let labels: Vec<&str> = [role].into_iter().chain(declared.counted_by.iter().copied()).collect();
        self.made(name, help, &labels, !declared.counted_by.is_empty())
    }

    fn made(&self, name: &str, help: &str, labels: &[&str], bounded: bool) -> Option<Counter> {
        let counts = IntCounterVec::new(Opts::new(name, help), labels).ok()?;
        self.registry.register(Box::new(counts.clone())).ok()?;
        Some(Counter { counts, known: bounded.then(Mutex::default) })
    }

    /// Keeps a counter that is not of an event. The values of its labels are words of ours: nothing bounds them.
    #[must_use]
    pub fn counter(mut self, name: &'static str, help: &str, labels: &[&str]) -> Self {
        if let Some(counter) = self.made(name, help, labels, false) {
            self.counters.insert(name, counter);
        }
        self
    }

    /// Keeps a measure, in these steps.
    #[must_use]
    pub fn histogram(mut self, name: &'static str, help: &str, labels: &[&str], steps: &[f64]) -> Self {
        let options = HistogramOpts::new(name, help).buckets(steps.to_vec());
        if let Ok(histogram) = HistogramVec::new(options, labels)
            && self.registry.register(Box::new(histogram.clone())).is_ok()
        {
            self.histograms.insert(name, histogram);
        }
        self
    }

    /// A role is there: its events have not happened yet, and that is told.
    pub fn role(&self, role: &'static str, node: &str) {
        for ((of, _), counter) in &self.events {
            // What is counted by something else as well has no values before it happens.
            if *of == role && counter.counts.get_metric_with_label_values(&[node]).is_ok() {
                counter.add(&[node], 0);
            }
        }
    }

    /// An event happened.
    pub fn happened<E: Event>(&self, role: &'static str, node: &str, event: &E) {
        let Some(counter) = self.events.get(&(role, event.name())) else { return };
        let mut labels = vec![node.to_owned()];
        event.labels(&mut |_, value| labels.push(value));
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        counter.add(&labels, 1);
    }

    /// So many more.
    pub fn add(&self, name: &str, labels: &[&str], by: u64) {
        if let Some(counter) = self.counters.get(name) {
            counter.add(labels, by);
        }
    }

    /// It took so many seconds.
    pub fn observe(&self, name: &str, labels: &[&str], seconds: f64) {
        if let Some(histogram) = self.histograms.get(name)
            && let Ok(one) = histogram.get_metric_with_label_values(labels)
        {
            one.observe(seconds);
        }
    }

    /// Everything, with what is held at the moment, as Prometheus reads it.
    #[must_use]
    pub fn render(&self, held: &[Gauge]) -> String {
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default();
        let mut held = held.to_vec();
        for source in self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            source(&mut held);
        }
        let mut told: HashSet<&str> = HashSet::new();
        for gauge in &held {
            if told.insert(gauge.name) {
                write_family(&mut text, gauge, &held);
            }
        }
        text
    }
}

/// The samples of one metric have to stand together.
fn write_family(text: &mut String, first: &Gauge, held: &[Gauge]) {
    // Writing into a string does not fail.
    let kind = if first.name.ends_with("_total") { "counter" } else { "gauge" };
    let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", first.name, first.help, first.name);
    for gauge in held.iter().filter(|gauge| gauge.name == first.name) {
        let labels: Vec<String> = gauge
            .labels
            .iter()
            .map(|(name, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            })
            .collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{}{labels} {}", gauge.name, gauge.value);
    }
}

/// The counter of an event: `carnet_border_call_ended_total`.
#[must_use]
pub fn event_metric(role: &str, declared: &Declared) -> String {
    format!("carnet_{role}_{}_total", declared.name.replace('-', "_"))
}

fn help(declared: &Declared) -> String {
    declared.help.split_inclusive('.').next().unwrap_or(declared.help).trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    carnet_event::declare! {
        /// Of these tests.
        pub enum Happening {
            /// Somebody came. With more to say.
            [info "came-in"]
            Came,
            /// Somebody was refused.
            [warn "refused" by status]
            Refused {
                /// Why.
                status: u16,
            },
        }
        level(_event, declared) declared
    }

    fn metrics() -> Metrics {
        Metrics::new()
            .events::<Happening>("border")
            .counter("carnet_octets_total", "Octets", &["gateway", "direction"])
            .histogram("carnet_setup_seconds", "From INVITE to answer", &["border"], SECONDS)
    }

    #[test]
    fn what_happened_is_counted() {
        let metrics = metrics();
        metrics.role("border", "b-a");
        let before = metrics.render(&[]);
        assert!(before.contains("carnet_border_came_in_total{border=\"b-a\"} 0\n"), "{before}");
        metrics.happened("border", "b-a", &Happening::Came);
        metrics.happened("border", "b-a", &Happening::Refused { status: 486 });
        metrics.happened("border", "b-a", &Happening::Refused { status: 486 });
        metrics.add("carnet_octets_total", &["agw", "sent"], 5000);
        metrics.observe("carnet_setup_seconds", &["b-a"], 0.02);
        let text = metrics.render(&[]);
        for line in [
            "# HELP carnet_border_came_in_total Somebody came\n",
            "# TYPE carnet_border_came_in_total counter\n",
            "carnet_border_came_in_total{border=\"b-a\"} 1\n",
            "carnet_border_refused_total{border=\"b-a\",status=\"486\"} 2\n",
            "carnet_octets_total{direction=\"sent\",gateway=\"agw\"} 5000\n",
            "carnet_setup_seconds_bucket{border=\"b-a\",le=\"0.025\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn nobody_fills_the_memory_with_names() {
        let metrics = metrics();
        for status in 0..5_000 {
            metrics.happened("border", "b-a", &Happening::Refused { status });
        }
        let text = metrics.render(&[]);
        let lines = text.lines().filter(|line| line.starts_with("carnet_border_refused_total{")).count();
        assert_eq!(lines, MOST_VALUES + 1);
        assert!(text.contains("{border=\"b-a\",status=\"other\"} 4800\n"), "{text}");
    }

    #[test]
    fn what_is_held_stands_together_and_is_escaped() {
        let gauge = |name, node: &str, value| Gauge {
            name,
            help: "Held",
            labels: vec![("gateway", node.into())],
            value,
        };
        let held =
            [gauge("carnet_a", "x\"\n", 1.0), gauge("carnet_b", "x", 0.5), gauge("carnet_a", "y", 2.0)];
        let text = metrics().render(&held);
        let tail = "# HELP carnet_a Held\n# TYPE carnet_a gauge\ncarnet_a{gateway=\"x\\\"\\n\"} 1\ncarnet_a{gateway=\"y\"} 2\n\
                    # HELP carnet_b Held\n# TYPE carnet_b gauge\ncarnet_b{gateway=\"x\"} 0.5\n";
        assert!(text.ends_with(tail), "{text}");
    }

    #[test]
    fn a_source_is_asked_whenever_somebody_looks() {
        let metrics = metrics();
        let counted = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = counted.clone();
        metrics.source(Box::new(move |held| {
            let value = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).into();
            held.push(Gauge { name: "carnet_looks_total", help: "Looks", labels: Vec::new(), value });
        }));
        assert!(metrics.render(&[]).ends_with("# TYPE carnet_looks_total counter\ncarnet_looks_total 0\n"));
        assert!(metrics.render(&[]).ends_with("carnet_looks_total 1\n"));
    }
}
