//! One client that sends and one that receives, one SEND at a time.
//!
//! They cost less than a relay does: what changes in a frame is its transaction identifier, so all else is
//! compared with what came the last time.

use crate::Result;
use crate::authenticate::authenticate;
use crate::relays::Peer;
use crate::wire::{Wire, read_some};
use std::io::Write as _;
use std::time::Instant;

pub struct Pair {
    sender: End,
    receiver: End,
    number: u64,
    sent_at: Instant,
    answered: bool,
    arrived: bool,
    /// The frame, with places for its identifier.
    frame: Vec<u8>,
    body: Vec<u8>,
    /// What follows the identifier in a frame that arrives, up to the body, and in its answer.
    head: Vec<u8>,
    answer: Vec<u8>,
    out: Vec<u8>,
}

struct End {
    wire: Wire,
    /// Of a frame that is not whole.
    heard: Vec<u8>,
}

impl Pair {
    pub fn new(peer: &Peer, n: usize, size: usize) -> Result<Self> {
        let (sender, mut receiver) = (Wire::connect(peer)?, Wire::connect(peer)?);
        let scheme = peer.scheme();
        let own = format!("{scheme}://127.0.0.1:9/receiver{n};tcp");
        let path = authenticate(&mut receiver, peer, &own, &format!("user{n}"))?;
        let body: Vec<u8> = (0..size).map(|i| b'a' + ((i * 7 + n) % 26) as u8).collect();
        let head = format!(
            "MSRP {:016} SEND\r\nTo-Path: {path} {own}\r\nFrom-Path: {scheme}://127.0.0.1:9/sender{n};tcp\r\n\
             Message-ID: {n}\r\nByte-Range: 1-{size}/{size}\r\nContent-Type: text/plain\r\n\r\n",
            0
        );
        let end = format!("\r\n-------{:016}$\r\n", 0);
        for wire in [&sender, &receiver] {
            wire.socket().set_nonblocking(true)?;
        }
        Ok(Self {
            sender: End { wire: sender, heard: Vec::new() },
            receiver: End { wire: receiver, heard: Vec::new() },
            number: 0,
            sent_at: Instant::now(),
            answered: false,
            arrived: false,
            frame: [head.as_bytes(), &body, end.as_bytes()].concat(),
            body,
            head: Vec::new(),
            answer: Vec::new(),
            out: Vec::new(),
        })
    }

    /// The sender's connection, and the receiver's.
    pub fn wires(&self) -> [&Wire; 2] {
        [&self.sender.wire, &self.receiver.wire]
    }

    pub fn send(&mut self) -> Result<()> {
        self.number += 1;
        let mut tid = [b'0'; 16];
        let mut rest = self.number;
        for digit in tid.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let length = self.frame.len();
        for at in [5, length - 19] {
            self.frame.get_mut(at..at + 16).ok_or("a frame")?.copy_from_slice(&tid);
        }
        (self.answered, self.arrived) = (false, false);
        self.sent_at = Instant::now();
        // It fits into an empty socket.
        self.sender.wire.write_all(&self.frame)?;
        Ok(())
    }

    /// Reads what there is. How many milliseconds a SEND took, when it has arrived.
    pub fn read(&mut self, receives: bool, buffer: &mut [u8]) -> Result<Option<f64>> {
        let mut time = None;
        loop {
            let end = if receives { &mut self.receiver } else { &mut self.sender };
            let Some(octets) = read_some(&mut end.wire, buffer)? else { break };
            // A read of TLS has one record; one that came short has emptied a socket.
            let more = matches!(end.wire, Wire::Tls(_)) || octets == buffer.len();
            let heard = buffer.get(..octets).unwrap_or_default();
            let kept = !end.heard.is_empty() || !is_whole(heard)?;
            if kept {
                end.heard.extend_from_slice(heard);
            }
            // One frame at most is on its way.
            if !kept || is_whole(&end.heard)? {
                let held = std::mem::take(&mut end.heard);
                let frame = if kept { held.as_slice() } else { heard };
                if receives {
                    time = Some(self.sent_at.elapsed().as_secs_f64() * 1e3);
                    self.arrived(frame)?;
                } else {
                    self.answered(frame)?;
                }
            }
            if !more {
                break;
            }
        }
        if self.answered && self.arrived {
            self.send()?;
        }
        Ok(time)
    }

    fn answered(&mut self, frame: &[u8]) -> Result<()> {
        let tid = self.frame.get(5..21).unwrap_or_default();
        let rest = frame.get(5..).and_then(|rest| rest.strip_prefix(tid));
        if rest.is_none_or(|rest| !rest.starts_with(b" 200")) {
            return Err(format!("not 200: {}", String::from_utf8_lossy(frame)).into());
        }
        self.answered = true;
        Ok(())
    }

    fn arrived(&mut self, frame: &[u8]) -> Result<()> {
        let tid = identifier(frame)?;
        let head = frame.get(5 + tid.len()..).unwrap_or_default();
        let head = head.get(..head.len().saturating_sub(tid.len() + END + self.body.len()));
        let (head, rest) = (head.ok_or("a head")?, self.body.len());
        let at = 5 + tid.len() + head.len();
        if frame.get(at..at + rest) != Some(&self.body) {
            return Err("another body".into());
        }
        if head != self.head {
            self.head = head.to_vec();
            let text = str::from_utf8(head)?;
            let line =
                |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim();
            let back = line("From-Path:").split(' ').next().unwrap_or_default();
            let answer = format!(" 200 OK\r\nTo-Path: {back}\r\nFrom-Path: {}\r\n-------", line("To-Path:"));
            self.answer = answer.into_bytes();
        }
        self.out.clear();
        for part in [b"MSRP ", tid, &self.answer, tid, b"$\r\n"] {
            self.out.extend_from_slice(part);
        }
        self.receiver.wire.write_all(&self.out)?;
        self.arrived = true;
        Ok(())
    }
}

/// Octets of the end line after a body, without the identifier.
const END: usize = b"\r\n-------$\r\n".len();

fn identifier(frame: &[u8]) -> Result<&[u8]> {
    let rest = frame.strip_prefix(b"MSRP ").ok_or("not MSRP")?;
    Ok(rest.split(|b| *b == b' ').next().unwrap_or_default())
}

/// Whether the end line is there.
fn is_whole(frame: &[u8]) -> Result<bool> {
    let tid = if frame.len() < 40 { return Ok(false) } else { identifier(frame)? };
    let end = frame.strip_suffix(b"$\r\n").and_then(|rest| rest.strip_suffix(tid));
    Ok(end.is_some_and(|rest| rest.ends_with(b"-------")))
}
