//! `[otel]`: where traces of calls go.

use super::Complaint;
use super::check::{Checked, must_be_a_file};
use crate::config::Spanned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[otel]`: traces for a collector that speaks OTLP over HTTP.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OtelSection {
    /// The collector: `http://` or `https://`; `/v1/traces` is added.
    pub endpoint: Spanned<String>,
    /// A file of `name: value` lines that go with each request, such as an API key.
    pub headers_file: Option<Spanned<PathBuf>>,
    /// PEM file with the authorities that the collector's certificate is checked against; the system's if absent.
    pub ca: Option<Spanned<PathBuf>>,
    /// The share of traces that is sent, 0 to 1. All nodes with the same share send the same traces.
    #[serde(default = "all")]
    pub sample: Spanned<f64>,
    /// What else is said of this process with each trace.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
    /// Spans that may wait for the collector; more are lost, and counted.
    #[serde(default = "queue")]
    pub queue: Spanned<usize>,
}

fn all() -> Spanned<f64> {
    Spanned::new(0..0, 1.0)
}

fn queue() -> Spanned<usize> {
    Spanned::new(0..0, 4096)
}

impl OtelSection {
    /// Every path of the section.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.headers_file.iter_mut().chain(&mut self.ca).map(Spanned::as_mut)
    }
}

pub(super) fn check(section: &OtelSection) -> Checked {
    let endpoint = section.endpoint.as_ref();
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if host.is_none_or(|host| host.is_empty() || host.starts_with(':') || host.contains('@')) {
        let wrong = "a collector is `http://HOST:PORT` or `https://HOST:PORT`; what it wants to know of us is in `headers-file`";
        return Err(Complaint::new(section.endpoint.span(), wrong));
    }
    if !(0.0..=1.0).contains(section.sample.as_ref()) {
        return Err(Complaint::new(section.sample.span(), "`sample` is 0 to 1"));
    }
    if !(1..=1 << 20).contains(section.queue.as_ref()) {
        return Err(Complaint::new(section.queue.span(), "`queue` is 1 to 1048576 spans"));
    }
    section.headers_file.as_ref().map_or(Ok(()), must_be_a_file)?;
    section.ca.as_ref().map_or(Ok(()), must_be_a_file)
}
