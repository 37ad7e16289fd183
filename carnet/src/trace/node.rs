//! What a running node keeps of what went by, fetched over its API (`[admin]`).

use super::Format;
use crate::node::{self, Node, NodeArgs, NodeError, Page};
use carnet_trace::{Limits, Protocol, Telling, Tracer, What, mask, words};
use clap::Args;
use std::io::Write as _;
use std::time::Duration;

/// Messages and events on a page.
const PAGE: usize = 1_000;
/// Between two looks of who follows.
const LOOK: Duration = Duration::from_millis(500);
/// A number beyond every other that JSON keeps (RFC 8259 §6).
const LAST: u64 = (1 << 53) - 1;

/// Running nodes instead of files. Several are put together: what one sent and another got is one arrow.
#[derive(Args)]
pub struct Nodes {
    #[command(flatten)]
    reach: NodeArgs,
    /// Print what goes by from now on, a line each, until interrupted.
    #[arg(long)]
    pub follow: bool,
}

/// What nodes keep.
#[derive(Default)]
pub struct Fetched {
    /// All of it.
    pub tellings: Vec<Telling>,
    /// What to know of it.
    pub remarks: Vec<String>,
    /// Nodes that did not answer, and why.
    pub missing: Vec<String>,
}

impl Fetched {
    /// What one node keeps.
    async fn add(&mut self, node: &Node) -> Result<(), String> {
        let (mut after, mut gone) = (0, 0);
        loop {
            let page = page(node, after).await?;
            gone = gone.max(page.gone);
            let ended = page.tellings.is_empty() || page.next >= page.newest;
            self.tellings.extend(page.tellings);
            after = page.next;
            if !ended {
                continue;
            }
            if gone > 0 {
                let since = page.oldest.map(|since| format!(" before {since}")).unwrap_or_default();
                let name = node.name();
                self.remarks
                    .push(format!("{name} has forgotten what was{since}: {gone} messages and events"));
            }
            return Ok(());
        }
    }
}

impl Nodes {
    /// Whether a node is asked.
    pub fn is_given(&self) -> bool {
        self.reach.is_given()
    }

    /// Everything that the nodes keep, in the order of time, and what to know of it. A node of several that does not answer is one of those
    /// things, and the second of the lists: the others are all the more looked at then.
    ///
    /// # Errors
    /// Why nobody answers.
    pub fn fetch(&self) -> Result<Fetched, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let mut fetched = Fetched::default();
            let nodes = self.reach.nodes()?;
            for node in &nodes {
                if let Err(why) = fetched.add(node).await {
                    fetched.missing.push(why);
                }
            }
            if fetched.missing.len() == nodes.len() {
                return Err(fetched.missing.join("; "));
            }
            node::together(&mut fetched.tellings);
            Ok(fetched)
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
            let mut nodes = Vec::new();
            for node in self.reach.nodes()? {
                // Beyond what there is: the place where it goes on.
                let newest = page(&node, LAST).await?.newest;
                nodes.push((node, newest));
            }
            loop {
                let mut news: Vec<(Duration, String)> = Vec::new();
                for (node, after) in &mut nodes {
                    let page = page(node, *after).await?;
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
}

async fn page(node: &Node, after: u64) -> Result<Page, String> {
    node::page(node, after, PAGE, None).await.map_err(|error| format!("{}: {}", node.name(), in_words(error)))
}

/// What went wrong, and what to do.
fn in_words(error: NodeError) -> String {
    match error {
        NodeError::Unreachable(why) => format!(
            "nobody answers as it should ({why}); is `carnet run` at work, with `socket` or `listen` in [admin] of its file? \
             --ca names who vouches for a certificate"
        ),
        NodeError::Refused { status: 401, .. } => {
            "it wants a token: --token-file names the file with it".to_owned()
        }
        NodeError::Refused { status: 404, why } if !why.starts_with("nothing is kept") => {
            format!("what answers there keeps nothing of what goes by ({why})")
        }
        NodeError::Refused { why, .. } => why,
        other => other.to_string(),
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
