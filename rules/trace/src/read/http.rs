//! HTTP/1.1, as key management services speak it (RFC 9112): heads, and MIKEY in bodies.

use super::{Show, Tie, Told, keys};
use crate::mask;
use crate::model::{Fact, Http};
use carnet_wire::base64;

/// Octets of a head.
const HEAD: usize = 32 << 10;
/// Octets of a body that are looked at.
const BODY: usize = 256 << 10;

/// Whether a stream begins so; `None` while too little is there.
pub(super) fn begins(octets: &[u8]) -> Option<bool> {
    if octets.starts_with(b"HTTP/1.") {
        return Some(true);
    }
    if b"HTTP/1.".starts_with(octets) {
        return None;
    }
    let Some(end) = octets.iter().position(|b| *b == b'\n') else {
        let could =
            octets.len() < 2048 && octets.iter().take_while(|b| **b != b' ').all(u8::is_ascii_uppercase);
        return if could { None } else { Some(false) };
    };
    let line = octets.get(..end).unwrap_or_default().trim_ascii_end();
    Some(line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0"))
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
    /// Octets of a body to pass over.
    skip: u64,
}

impl Reader {
    /// Reads on; false once it cannot be read any further.
    pub(super) fn read(&mut self, input: &[u8], show: Show, out: &mut Vec<Told>) -> bool {
        let over = usize::try_from(self.skip).unwrap_or(usize::MAX).min(input.len());
        self.skip -= over as u64;
        self.buffer.extend_from_slice(input.get(over..).unwrap_or_default());
        loop {
            let Some(head) = find(&self.buffer, b"\r\n\r\n") else { return self.buffer.len() <= HEAD };
            let head = head + 4;
            let text = String::from_utf8_lossy(self.buffer.get(..head).unwrap_or_default()).into_owned();
            let field = |name: &str| {
                let mut lines = text.lines().skip(1).filter_map(|line| line.split_once(':'));
                lines
                    .find(|(n, _)| n.trim().eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.trim().to_owned())
            };
            let length: u64 = field("Content-Length").and_then(|l| l.parse().ok()).unwrap_or_default();
            let chunked = field("Transfer-Encoding").is_some();
            let is_mikey =
                field("Content-Type").is_some_and(|kind| kind.to_ascii_lowercase().contains("mikey"));
            let whole = usize::try_from(length).ok().filter(|n| *n <= BODY && is_mikey);
            if let Some(length) = whole
                && self.buffer.len() < head + length
            {
                return true;
            }
            let body = self.buffer.get(head..head + whole.unwrap_or_default()).unwrap_or_default();
            let told = tell(&text, body, length, show);
            out.push(told);
            if chunked || text.starts_with("HTTP/1.1 101") {
                return false;
            }
            let end = u64::try_from(head).unwrap_or_default().saturating_add(length);
            let taken = usize::try_from(end).unwrap_or(usize::MAX).min(self.buffer.len());
            self.skip = end - taken as u64;
            self.buffer.drain(..taken);
        }
    }
}

fn find(octets: &[u8], what: &[u8]) -> Option<usize> {
    octets.windows(what.len()).position(|window| window == what)
}

fn tell(head: &str, body: &[u8], length: u64, show: Show) -> Told {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    let mut fact = Http::default();
    let mut label = if first.starts_with("HTTP/") {
        fact.status = second.parse().ok();
        format!("HTTP {second}")
    } else {
        fact.method = Some(first.to_owned());
        fact.target = second.split('?').next().unwrap_or_default().to_owned();
        format!("{first} {}", fact.target)
    };
    // The message itself, or its base64.
    if !body.is_empty() {
        let octets = match body.first() {
            Some(1) => Some(body.to_vec()),
            _ => base64::decode(body.trim_ascii()).ok(),
        };
        fact.keys.extend(octets.map(|octets| keys::read(&octets)));
    }
    let mut ties = Vec::new();
    for key in &fact.keys {
        label.push_str(&format!(" {}", if key.name.is_empty() { "MIKEY" } else { &key.name }));
        ties.push(Tie::Keys(key.digest));
        ties.extend(key.ticket.map(Tie::Ticket));
    }
    let mut text = if show.secrets { head.to_owned() } else { mask::lines(head) };
    if length > 0 {
        text.push_str(&format!("({length} octets of body, not shown)\n"));
    }
    for key in &fact.keys {
        text.push_str(&format!("{key:#?}\n"));
    }
    let bad =
        fact.status.is_some_and(|s| s >= 400 && s != 401) || fact.keys.iter().any(|k| k.error.is_some());
    Told { bad, ties, ..Told::new(label, text, Fact::Http(fact)) }
}
