//! What a process keeps of what went by (`/api/v1/trace`), and that of several put together: for `carnet trace` and for the console.

use super::{Node, NodeError};
use carnet_trace::Telling;
use serde_json::Value;
use std::time::Duration;

/// A page of what a process keeps.
pub struct Page {
    /// The oldest first.
    pub tellings: Vec<Telling>,
    /// Where the next page begins.
    pub next: u64,
    /// Number of the newest that there is.
    pub newest: u64,
    /// How many have been forgotten.
    pub gone: u64,
    /// When the oldest was that is left.
    pub oldest: Option<String>,
}

/// A page of at most so many after the number `after`; only of that span of time (since 1970), if one is given.
///
/// # Errors
/// It does not answer, or keeps nothing.
pub async fn page(
    node: &Node,
    after: u64,
    limit: usize,
    span: Option<(Duration, Duration)>,
) -> Result<Page, NodeError> {
    let mut path = format!("/api/v1/trace?after={after}&limit={limit}");
    if let Some((from, to)) = span {
        path.push_str(&format!("&from={}&to={}", from.as_millis(), to.as_millis()));
    }
    let answer = node.get(&path).await?;
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

/// Puts what several processes keep in the order in which it was.
pub fn together(all: &mut [Telling]) {
    // What is sent comes before what is received, whatever the clocks of two say of the same moment.
    all.sort_by_key(|telling| (telling.at, telling.number));
}
