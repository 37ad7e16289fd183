//! From the queue to the collector: OTLP over HTTP, in batches.
//!
//! On a thread of its own: whatever the collector does or does not do, roles go on. A batch that cannot be delivered is tried
//! again a few times, with longer and longer waits; meanwhile the queue fills, and what does not fit is counted and lost.

use super::span::Span;
use crate::kms::client::check_url;
use async_trait::async_trait;
use bytes::Bytes;
use carnet_ops::config::{Config, OtelSection};
use carnet_ops::metrics::Gauge;
use carnet_tls::{CertificateContext, CertificateSettings, Peer, Trust};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{RetryPolicy, SpanExporter as Otlp, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// Spans in one request.
const BATCH: usize = 512;
/// How long a span waits for others.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a batch is tried.
const TRIES: u32 = 3;
/// Octets of an answer.
const MOST_ANSWER: usize = 64 << 10;

/// The way to the collector.
pub struct Exporting {
    queue: mpsc::Sender<Work>,
    waiting: Arc<AtomicUsize>,
    most: usize,
    counts: Arc<Counts>,
}

/// What became of spans.
#[derive(Default)]
pub struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

enum Work {
    Span(Box<Span>),
    Flush(oneshot::Sender<()>),
}

impl Exporting {
    /// Hands a span over, or counts that there is no room for it.
    pub fn put(&self, span: Span) {
        // Counted beside the queue, which has room for somebody who wants it empty too.
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most
            || self.queue.try_send(Work::Span(Box::new(span))).is_err()
        {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of spans so far, for one that takes the place of this.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Sends what waits, for so long at most.
    pub async fn flush(&self, patience: Duration) {
        let (done, sent) = oneshot::channel();
        if self.queue.try_send(Work::Flush(done)).is_ok() {
            // A collector that does not answer is not waited for.
            let _ = tokio::time::timeout(patience, sent).await;
        }
    }

    /// For `/metrics`.
    pub fn gauges(&self, gauges: &mut Vec<Gauge>) {
        let counts =
            [("sent", &self.counts.sent), ("dropped", &self.counts.dropped), ("failed", &self.counts.failed)];
        for (result, count) in counts {
            gauges.push(Gauge {
                name: "carnet_otel_spans_total",
                help: "Spans by what became of them: sent, dropped as the queue was full, failed as the collector did not take them",
                labels: vec![("result", result.to_owned())],
                value: count.load(Ordering::Relaxed) as f64,
            });
        }
    }
}

/// What is said of the process.
pub fn resource(config: &Config, section: &OtelSection) -> Resource {
    let nodes = config.border.keys().chain(config.conference.keys()).chain(config.gateway.keys());
    let nodes = nodes.chain(config.kms.iter().map(|kms| &kms.as_ref().name));
    let mut roles = Vec::new();
    for (role, is_there) in [
        ("border", !config.border.is_empty()),
        ("conference", !config.conference.is_empty()),
        ("gateway", !config.gateway.is_empty()),
        ("kms", config.kms.is_some()),
    ] {
        if is_there {
            roles.push(role);
        }
    }
    let nodes: Vec<&str> = nodes.map(String::as_str).collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut said = vec![
        KeyValue::new("service.name", "carnet"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", nodes.join(",")),
        KeyValue::new("host.name", host.trim().to_owned()),
        KeyValue::new("carnet.roles", roles.join(",")),
    ];
    // What the file says wins.
    said.retain(|said| !section.resource.contains_key(said.key.as_str()));
    said.extend(section.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone())));
    Resource::builder_empty().with_attributes(said).build()
}

/// What is wrong with the files of the section, if anything is.
pub fn check(section: &OtelSection) -> Result<(), String> {
    check_url(&traces_of(section.endpoint.as_ref())).map_err(|e| format!("`endpoint` of [otel]: {e}"))?;
    headers(section)?;
    tls(section).map(drop)
}

fn tls(section: &OtelSection) -> Result<CertificateContext, String> {
    let trust = match &section.ca {
        Some(ca) => Trust::File(ca.as_ref().clone()),
        None => Trust::System,
    };
    let settings = CertificateSettings { trust, handshake_timeout: PATIENCE, ..Default::default() };
    let context = CertificateContext::new(&settings).map_err(|e| format!("`ca` of [otel]: {e}"))?;
    Ok(context.counted_at("otel"))
}

/// Starts the thread, which ends when nobody has anything to send any more. It counts on in `counts`.
///
/// # Errors
/// A file of the section cannot be used.
pub fn start(
    section: &OtelSection,
    resource: Resource,
    counts: Arc<Counts>,
) -> Result<Arc<Exporting>, String> {
    check(section)?;
    let endpoint = traces_of(section.endpoint.as_ref());
    let tls = tls(section)?;
    let mut exporter = Otlp::builder()
        .with_http()
        .with_http_client(Client { tls })
        .with_endpoint(endpoint.clone())
        .with_timeout(PATIENCE)
        .with_retry_policy(RetryPolicy::disabled())
        .with_headers(headers(section)?)
        .build()
        .map_err(|e| format!("[otel]: {e}"))?;
    exporter.set_resource(&resource);
    let most = *section.queue.as_ref();
    // One more, for who wants it empty.
    let (queue, work) = mpsc::channel(most + 1);
    let waiting = Arc::new(AtomicUsize::new(0));
    let batches = Batches {
        exporter,
        endpoint,
        counts: counts.clone(),
        waiting: waiting.clone(),
        batch: Vec::new(),
        refused: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("[otel]: {e}"))?;
    std::thread::Builder::new()
        .name("otel".into())
        .spawn(move || runtime.block_on(batches.run(work)))
        .map_err(|e| format!("[otel]: {e}"))?;
    Ok(Arc::new(Exporting { queue, waiting, most, counts }))
}

/// Where traces go at a collector (OTLP/HTTP: `/v1/traces` below its address).
fn traces_of(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") }
}

/// A file of `name: value` lines.
fn headers(section: &OtelSection) -> Result<HashMap<String, String>, String> {
    let Some(path) = &section.headers_file else { return Ok(HashMap::new()) };
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let text = zeroize::Zeroizing::new(text);
    let mut headers = HashMap::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        // What is in a line may be a secret: it is not repeated.
        let wrong = || format!("{}: line {}: a line is NAME: VALUE", path.display(), at + 1);
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: hyper::header::HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let value: hyper::header::HeaderValue = value.trim().parse().map_err(|_| wrong())?;
        headers.insert(name.to_string(), value.to_str().map_err(|_| wrong())?.to_owned());
    }
    Ok(headers)
}

struct Batches {
    exporter: Otlp,
    endpoint: String,
    counts: Arc<Counts>,
    waiting: Arc<AtomicUsize>,
    batch: Vec<Span>,
    /// The collector did not take the last batch: that has been told.
    refused: bool,
}

impl Batches {
    /// Until nobody has anything to send any more.
    async fn run(mut self, mut work: mpsc::Receiver<Work>) {
        while let Some(first) = work.recv().await {
            let mut asked = self.take(first);
            let pause = tokio::time::sleep(PAUSE);
            tokio::pin!(pause);
            while asked.is_none() && self.batch.len() < BATCH {
                tokio::select! {
                    more = work.recv() => match more {
                        Some(more) => asked = self.take(more),
                        None => break,
                    },
                    () = &mut pause => break,
                }
            }
            self.send(asked.is_some()).await;
            if let Some(asked) = asked {
                // One who has stopped waiting needs no answer.
                let _ = asked.send(());
            }
        }
    }

    fn take(&mut self, work: Work) -> Option<oneshot::Sender<()>> {
        match work {
            Work::Span(span) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.batch.push(*span);
                None
            }
            Work::Flush(asked) => Some(asked),
        }
    }

    /// `last`: somebody waits, and there is time for one try only.
    async fn send(&mut self, last: bool) {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let data: Vec<_> = batch.into_iter().map(Span::data).collect();
        let tries = if last { 1 } else { TRIES };
        for attempt in 0..tries {
            match self.exporter.export(data.clone()).await {
                Ok(()) => {
                    self.counts.sent.fetch_add(count, Ordering::Relaxed);
                    if std::mem::take(&mut self.refused) {
                        tracing::info!(endpoint = self.endpoint, "the collector of traces is back");
                    }
                    return;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.refused, true) {
                        tracing::warn!(
                            endpoint = self.endpoint,
                            %error,
                            "the collector does not take traces; calls go on, and traces are lost until it does"
                        );
                    }
                }
            }
            if attempt + 1 < tries {
                tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
            }
        }
        self.counts.failed.fetch_add(count, Ordering::Relaxed);
    }
}

/// HTTP to the collector: a connection a batch, in the open or over TLS with its certificate checked.
#[derive(Clone)]
struct Client {
    tls: CertificateContext,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = self.exchange(request);
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| HttpError::from("it does not answer"))?
    }
}

impl Client {
    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        if !secure {
            return post(stream, request).await;
        }
        let (stream, _) = self.tls.connect(stream, &Peer::Named(host)).await?;
        post(stream, request).await
    }
}

async fn post<S>(stream: S, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().map(|authority| authority.as_str().parse()).transpose()?;
    if let Some(authority) = authority {
        head.headers.insert(hyper::header::HOST, authority);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    head.uri = path;
    let answer = async move {
        let response = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MOST_ANSWER).collect().await?.to_bytes();
        Ok::<_, HttpError>(Response::from_parts(head, body))
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        answer = answer.as_mut() => answer,
        // It may end as soon as the answer is read; then the answer says how it went.
        _ = connection => answer.await,
    }
}
