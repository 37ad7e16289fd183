//! A span that is over.

use carnet_plan::{Both, Octets, Side};
use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::time::SystemTime;

/// One of them, as it goes to the queue.
#[derive(Debug, Clone)]
pub struct Span {
    pub trace: TraceId,
    pub id: SpanId,
    /// Invalid if there is none.
    pub parent: SpanId,
    /// The parent is another process's.
    pub remote: bool,
    pub kind: SpanKind,
    pub name: Cow<'static, str>,
    pub start: SystemTime,
    pub end: SystemTime,
    pub told: Told,
    pub events: Vec<(SystemTime, &'static str, Told)>,
    /// Spans of other traces that belong to it.
    pub links: Vec<(TraceId, SpanId)>,
    pub status: Status,
}

/// What is said of something: names and values.
#[derive(Debug, Clone, Default)]
pub struct Told(pub Vec<KeyValue>);

impl Told {
    /// Of a role's node.
    pub fn of(role: &'static str, node: &str) -> Self {
        Self(Vec::with_capacity(8)).with("carnet.role", role).with("carnet.node", node.to_owned())
    }

    /// And that.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push(KeyValue::new(name, value));
        self
    }

    /// With what the two ends of media sent and got, if a gateway has told.
    pub fn octets(self, octets: Option<&Both<Octets>>) -> Self {
        let Some(octets) = octets else { return self };
        let of = |side| octets.of(side);
        self.with("media.octets.caller.received", number(of(Side::Caller).received))
            .with("media.octets.caller.sent", number(of(Side::Caller).sent))
            .with("media.octets.callee.received", number(of(Side::Callee).received))
            .with("media.octets.callee.sent", number(of(Side::Callee).sent))
    }

    /// And that, if it is known.
    #[must_use]
    pub fn and(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// A number of ours as OpenTelemetry has them.
pub fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Span {
    /// As the exporter wants it.
    pub fn data(self) -> SpanData {
        let context =
            SpanContext::new(self.trace, self.id, TraceFlags::SAMPLED, false, TraceState::default());
        let mut events = SpanEvents::default();
        events.events =
            self.events.into_iter().map(|(at, name, told)| Event::new(name, at, told.0, 0)).collect();
        let mut links = SpanLinks::default();
        links.links = self
            .links
            .into_iter()
            .map(|(trace, id)| {
                let to = SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::default());
                Link::new(to, Vec::new(), 0)
            })
            .collect();
        SpanData {
            span_context: context,
            parent_span_id: self.parent,
            parent_span_is_remote: self.remote,
            span_kind: self.kind,
            name: self.name,
            start_time: self.start,
            end_time: self.end,
            attributes: self.told.0,
            dropped_attributes_count: 0,
            events,
            links,
            status: self.status,
            instrumentation_scope: InstrumentationScope::builder("carnet")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }
}
