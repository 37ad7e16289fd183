//! What happened, kept as cheaply as possible and written out only for a run that failed.

use carnet_h248::text::{Form, Limits, print};
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Someone who sends or receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A border.
    Border(usize),
    /// A gateway.
    Gateway(usize),
    /// The telephones on the caller's side of a border.
    Callers(usize),
    /// Those on the other side.
    Callees(usize),
    /// Somebody who has no business here.
    Stranger,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Border(n) => write!(f, "border{n}"),
            Self::Gateway(n) => write!(f, "gateway{n}"),
            Self::Callers(n) => write!(f, "callers{n}"),
            Self::Callees(n) => write!(f, "callees{n}"),
            Self::Stranger => f.write_str("stranger"),
        }
    }
}

#[derive(Debug)]
enum What {
    Note(String),
    Control { from: Node, to: Node, fate: &'static str, octets: Vec<u8> },
    Sip { from: Node, to: Node, fate: &'static str, octets: bytes::Bytes },
}

/// The last things that happened, and a fingerprint of all.
#[derive(Debug)]
pub struct Trace {
    lines: VecDeque<(Duration, What)>,
    most: usize,
    fingerprint: u64,
}

impl Trace {
    /// Keeps at most so many lines.
    pub fn new(most: usize) -> Self {
        Self { lines: VecDeque::new(), most, fingerprint: 0xcbf2_9ce4_8422_2325 }
    }

    /// A number that differs if anything did.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Notes something in words.
    pub fn note(&mut self, at: Duration, text: String) {
        self.mix(at, text.as_bytes());
        self.push(at, What::Note(text));
    }

    /// An H.248 message, and what became of it.
    pub fn control(&mut self, at: Duration, from: Node, to: Node, fate: &'static str, octets: &[u8]) {
        self.mix(at, fate.as_bytes());
        self.mix(at, octets);
        self.push(at, What::Control { from, to, fate, octets: octets.to_vec() });
    }

    /// A SIP message, and what became of it.
    pub fn sip(&mut self, at: Duration, from: Node, to: Node, fate: &'static str, octets: &bytes::Bytes) {
        self.mix(at, fate.as_bytes());
        self.mix(at, octets);
        self.push(at, What::Sip { from, to, fate, octets: octets.clone() });
    }

    fn mix(&mut self, at: Duration, octets: &[u8]) {
        let time = at.as_nanos().to_be_bytes();
        for chunk in time.chunks(8).chain(octets.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fingerprint = (self.fingerprint.rotate_left(5) ^ u64::from_be_bytes(word))
                .wrapping_mul(0x0100_0000_01b3_0001);
        }
    }

    fn push(&mut self, at: Duration, what: What) {
        if self.lines.len() >= self.most {
            self.lines.pop_front();
        }
        self.lines.push_back((at, what));
    }

    /// The last `most` lines that name one of `needles`, and what happened to nodes meanwhile; no
    /// heartbeats.
    pub fn tail(&self, needles: &[String], most: usize) -> String {
        let mut found = Vec::new();
        for (at, what) in self.lines.iter().rev() {
            let text = what.to_string();
            let quiet = text.contains("AuditValue = ROOT")
                && !needles.iter().any(|n| n.starts_with("= ") && text.contains(n));
            let turns = ["FAULT", "VIOLATION", " starts", " is gone"].iter().any(|n| text.contains(n));
            let named = needles.is_empty() || needles.iter().any(|n| text.contains(n));
            if turns || (named && !quiet) {
                found.push(format!("{:>9.3} {text}", at.as_secs_f64()));
                if found.len() >= most {
                    break;
                }
            }
        }
        found.reverse();
        found.join("\n")
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(text) => f.write_str(text),
            Self::Control { from, to, fate, octets } => {
                write!(f, "{from} -> {to} {fate}: ")?;
                match carnet_h248::encoding::parse(octets, &Limits::default()) {
                    Ok(message) => {
                        let text = print(&message, Form::Long);
                        squeeze(f, &String::from_utf8_lossy(&text))
                    }
                    Err(error) => write!(f, "{} octets: {error}", octets.len()),
                }
            }
            Self::Sip { from, to, fate, octets } => {
                let text = String::from_utf8_lossy(octets);
                write!(f, "{from} -> {to} {fate}: ")?;
                f.write_str(text.lines().next().unwrap_or_default())?;
                let wanted =
                    |l: &&str| ["Call-ID", "CSeq", "Warning", "Reason"].iter().any(|n| l.starts_with(n));
                text.lines().filter(wanted).try_for_each(|line| write!(f, " | {line}"))
            }
        }
    }
}

fn squeeze(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for (n, word) in text.split_ascii_whitespace().enumerate() {
        if n > 0 {
            f.write_char(' ')?;
        }
        f.write_str(word)?;
    }
    Ok(())
}
