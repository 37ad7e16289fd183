//! What a running node keeps of what went by, fetched over its administration (`[admin] listen`).

use super::Format;
use carnet_ops::config;
use carnet_tls::{CertificateContext, CertificateSettings, Peer, Trust};
use carnet_trace::{Limits, Protocol, Telling, Tracer, What, mask, words};
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets of one answer: more than a page has, however much of it is escaped.
const MOST: usize = 64 << 20;
/// Messages and events on a page.
const PAGE: usize = 1_000;
/// Between two looks of who follows.
const LOOK: Duration = Duration::from_millis(500);

/// Where nodes answer.
#[derive(Args)]
pub struct NodeArgs {
    /// A running node instead of a file: where its administration listens. Several are put together: what one sent and
    /// another got is one arrow.
    #[arg(long, value_name = "URL")]
    pub node: Vec<String>,
    /// The configuration file of a node on this host: says where it listens, and its token.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The file with the token that nodes want to see.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authorities that certificates of nodes are checked against; the system's unless given.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print what goes by from now on, a line each, until interrupted.
    #[arg(long)]
    pub follow: bool,
}

impl NodeArgs {
    /// Whether a node is asked.
    pub fn is_given(&self) -> bool {
        !self.node.is_empty() || self.config.is_some()
    }

    /// Everything that the nodes keep, in the order of time, and what to know of it.
    ///
    /// # Errors
    /// Which node does not answer, or why it refuses.
    pub fn fetch(&self) -> Result<(Vec<Telling>, Vec<String>), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let (mut all, mut remarks) = (Vec::new(), Vec::new());
            for node in self.nodes()? {
                let url = node.url.clone();
                let mut link = node.open().await?;
                let (mut after, mut gone) = (0, 0);
                loop {
                    let page = link.page(after).await?;
                    gone = gone.max(page.gone);
                    let ended = page.tellings.is_empty() || page.next >= page.newest;
                    all.extend(page.tellings);
                    after = page.next;
                    if ended {
                        if gone > 0 {
                            let since =
                                page.oldest.map(|since| format!(" before {since}")).unwrap_or_default();
                            remarks.push(format!(
                                "{url} has forgotten what was{since}: {gone} messages and events"
                            ));
                        }
                        break;
                    }
                }
            }
            // What is sent comes before what is received, whatever the clocks of two say of the same moment.
            all.sort_by_key(|telling: &Telling| (telling.at, telling.number));
            Ok((all, remarks))
        })
    }

    /// Prints what goes by, until a node does not answer any more or nobody reads.
    ///
    /// # Errors
    /// Which node does not answer.
    pub fn follow(&self, call: Option<&str>, format: Format, whole: bool) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let mut links = Vec::new();
            for node in self.nodes()? {
                let mut link = node.open().await?;
                // Beyond what there is: the place where it goes on.
                let newest = link.page(LAST).await?.newest;
                links.push((link, newest));
            }
            loop {
                let mut news: Vec<(Duration, String)> = Vec::new();
                for (link, after) in &mut links {
                    let page = link.page(*after).await?;
                    // A node that was started anew counts from the beginning.
                    *after = if page.newest < *after { 0 } else { page.next };
                    let lines = page.tellings.iter().filter(|telling| is_of(telling, call));
                    news.extend(
                        lines.filter_map(|telling| Some((telling.at, line(telling, format, whole)?))),
                    );
                }
                news.sort_by_key(|(at, _)| *at);
                let mut out = std::io::stdout().lock();
                for (_, line) in &news {
                    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
                        return Ok(());
                    }
                }
                drop(out);
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    fn nodes(&self) -> Result<Vec<Node>, String> {
        let mut token = self.token_file.as_deref().map(crate::roles::token::read).transpose()?;
        let mut ca = self.ca.clone();
        let mut urls = self.node.clone();
        if let Some(path) = &self.config {
            // Problems of the file are for `carnet check`; here only the section matters.
            let config = config::load(path).map_err(|e| e.to_string())?;
            let without = || {
                format!(
                    "{} has no [admin] section with `listen`: add `listen = \"127.0.0.1:9460\"` to it and start anew",
                    path.display()
                )
            };
            let admin = config.admin.ok_or_else(without)?.into_inner();
            let listen = *admin.listen.as_ref().ok_or_else(without)?.as_ref();
            let scheme = if admin.tls.is_some() { "https" } else { "http" };
            urls.push(format!("{scheme}://{listen}"));
            if let (None, Some(file)) = (&token, &admin.token_file) {
                token = Some(crate::roles::token::read(file.as_ref())?);
            }
            ca = ca.or_else(|| admin.tls.map(|tls| tls.into_inner().certificate.into_inner()));
        }
        let node = |url: &String| Node::of(url, token.clone(), ca.as_deref());
        urls.iter().map(node).collect()
    }
}

/// A number beyond every other that JSON keeps (RFC 8259 §6).
const LAST: u64 = (1 << 53) - 1;

/// Where a node answers.
struct Node {
    url: String,
    secure: bool,
    host: String,
    port: u16,
    authority: String,
    token: Option<Zeroizing<String>>,
    tls: Option<CertificateContext>,
}

impl Node {
    fn of(url: &str, token: Option<Zeroizing<String>>, ca: Option<&Path>) -> Result<Self, String> {
        let bad = |why: &str| format!("`{url}` {why}; write http://127.0.0.1:9460");
        let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("must begin with http: or https:")),
        };
        let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if host.is_empty() || !matches!(uri.path(), "" | "/") {
            return Err(bad("is not where a node answers"));
        }
        let tls = secure.then(|| {
            let trust = ca.map_or(Trust::System, |ca| Trust::File(ca.to_owned()));
            CertificateContext::new(&CertificateSettings { trust, ..CertificateSettings::default() })
                .map_err(|e| e.to_string())
        });
        let (authority, tls) = (authority.as_str().to_owned(), tls.transpose()?);
        Ok(Self { url: url.trim_end_matches('/').to_owned(), secure, host, port, authority, token, tls })
    }

    async fn open(self) -> Result<Link, String> {
        let fail = |why: String| format!("{}: {why}", self.url);
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = timeout(PATIENCE, connect).await.map_err(|_| fail("it does not answer".to_owned()))?;
        let stream = stream.map_err(|e| {
            fail(format!(
                "nobody answers ({e}); is `carnet run` at work, with `listen` in [admin] of its file?"
            ))
        })?;
        let sender = match &self.tls {
            Some(tls) => {
                let connected = tls.connect(stream, &Peer::Named(self.host.clone())).await;
                let (stream, _) =
                    connected.map_err(|e| fail(format!("{e}; --ca names who vouches for it")))?;
                shake(stream).await
            }
            None => shake(stream).await,
        };
        let sender = sender.map_err(&fail)?;
        Ok(Link { node: self, sender })
    }
}

async fn shake<S>(stream: S) -> Result<SendRequest<Empty<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // How it ends is told by the answers.
    tokio::spawn(connection);
    Ok(sender)
}

/// A connection to a node.
struct Link {
    node: Node,
    sender: SendRequest<Empty<Bytes>>,
}

/// A page of what it keeps.
struct Page {
    tellings: Vec<Telling>,
    next: u64,
    newest: u64,
    gone: u64,
    oldest: Option<String>,
}

impl Link {
    async fn page(&mut self, after: u64) -> Result<Page, String> {
        let answer = timeout(PATIENCE, self.get(&format!("/api/v1/trace?after={after}&limit={PAGE}"))).await;
        let answer = answer.unwrap_or_else(|_| Err("it does not answer".to_owned()));
        let answer = answer.map_err(|why| format!("{}: {why}", self.node.url))?;
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
        let entries = answer.get("entries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(Page {
            tellings: entries.iter().filter_map(Telling::from_json).collect(),
            next: number("next"),
            newest: number("newest"),
            gone: number("gone"),
            oldest: answer.get("oldest").and_then(Value::as_str).map(str::to_owned),
        })
    }

    async fn get(&mut self, path: &str) -> Result<Value, String> {
        let mut request = Request::get(path).header(HOST, &self.node.authority);
        if let Some(token) = &self.node.token {
            let word = Zeroizing::new(format!("Bearer {}", token.as_str()));
            request = request.header(AUTHORIZATION, word.as_str());
        }
        let request = request.body(Empty::new()).map_err(|e| e.to_string())?;
        let lost = |e: &dyn std::fmt::Display| match self.node.secure {
            true => e.to_string(),
            false => format!("{e}: no HTTP is spoken there, perhaps HTTPS"),
        };
        let response = self.sender.send_request(request).await.map_err(|e| lost(&e))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|e| e.to_string())?;
        let body: Option<Value> = serde_json::from_slice(&body.to_bytes()).ok();
        let said = body.as_ref().and_then(|body| body.get("error")?.as_str()).map(str::to_owned);
        match (status, body, said) {
            (200, Some(body), _) => Ok(body),
            (401, ..) => Err("it wants a token: --token-file names the file with it".to_owned()),
            (_, _, Some(said)) => Err(said),
            (404, ..) => Err("what answers there keeps nothing of what goes by".to_owned()),
            (status, ..) => Err(format!("it answers with HTTP status {status}")),
        }
    }
}

/// Whether a message or event is of that call.
fn is_of(telling: &Telling, call: Option<&str>) -> bool {
    let Some(call) = call else { return true };
    let of = match &telling.what {
        What::Message { protocol: Protocol::Control, .. } => None,
        What::Message { protocol, octets, .. } => mask::call_id(*protocol, octets),
        What::Event { event, .. } => event.call_id.clone(),
    };
    of.is_some_and(|of| of.starts_with(call))
}

/// A line for who follows.
fn line(telling: &Telling, format: Format, whole: bool) -> Option<String> {
    if format == Format::Json {
        return Some(format!("{}\n", telling.to_json()));
    }
    let mut tracer = Tracer::new(Limits::default(), false);
    tracer.listen(telling);
    let ladder = tracer.finish();
    let entries: Vec<_> = ladder.sessions.iter().flat_map(|session| &session.entries).collect();
    let first = entries.first()?;
    let end = match &telling.what {
        What::Message { sent, peer, .. } => {
            let peer = match peer {
                carnet_trace::Peer::Address(address) => address.to_string(),
                carnet_trace::Peer::Node(node) => node.name.clone(),
            };
            format!("{} {peer}", if *sent { "▶" } else { "◀" })
        }
        What::Event { .. } => "●".to_owned(),
    };
    let labels: Vec<&str> = entries.iter().map(|entry| entry.label.as_str()).collect();
    let moment = words::moment(first.at);
    let time = moment.get(11..23).unwrap_or(&moment);
    let mut out = format!("{time} {:<16} {end:<24} {}", telling.node.name, labels.join("; "));
    out = carnet_trace::show::plain(&out);
    out.push('\n');
    if whole {
        for line in entries.iter().flat_map(|entry| entry.text.lines()) {
            out.push_str(&format!("    {}\n", carnet_trace::show::plain(line)));
        }
    }
    Some(out)
}
