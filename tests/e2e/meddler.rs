//! Somebody on the way: takes SIP over TCP at one address, changes what passes, and hands it on.
//!
//! It is no proxy: no Via, no state, only octets. What it may change is up to the test.

use crate::lab::Lab;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What is done with each message; both directions.
type Change = Arc<dyn Fn(String) -> String + Send + Sync>;

/// One on the way. It ends with the test process.
#[derive(Clone)]
pub struct Meddler {
    lab_host: String,
    onward: SocketAddr,
    change: Arc<Mutex<Change>>,
    passed: Arc<Mutex<Vec<String>>>,
}

impl Meddler {
    /// Listens at `at`, an address of `host`, and hands on to `onward`. Changes nothing yet.
    pub fn start(lab: &Lab, host: &str, at: &str, onward: &str) -> Self {
        let listener = lab.inside(host, || TcpListener::bind(at)).expect("an address of that host");
        let this = Self {
            lab_host: host.to_owned(),
            onward: onward.parse().expect("an address"),
            change: Arc::new(Mutex::new(Arc::new(|message| message))),
            passed: Arc::default(),
        };
        let (meddler, enter) = (this.clone(), lab.door(host));
        std::thread::spawn(move || {
            enter();
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(meddler.onward) else { continue };
                for (from, to) in [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))] {
                    let (meddler, from, to) =
                        (meddler.clone(), from.expect("a socket"), to.expect("a socket"));
                    std::thread::spawn(move || meddler.carry(from, to));
                }
            }
        });
        this
    }

    /// From now on `change` is done with every message.
    pub fn now(&self, change: impl Fn(String) -> String + Send + Sync + 'static) {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(change);
    }

    /// The last message that passed, as it came, and begins with these words.
    pub fn last(&self, start: &str) -> Option<String> {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.iter().rev().find(|message| message.starts_with(start)).cloned()
    }

    /// Sends a message of its own and returns the first final response to it.
    pub fn send(&self, lab: &Lab, message: &str) -> String {
        let stream = lab.inside(&self.lab_host, || TcpStream::connect(self.onward));
        let mut stream = stream.expect("the next hop listens");
        stream.write_all(message.as_bytes()).expect("the next hop reads");
        let mut read = Vec::new();
        loop {
            let answer = next(&mut stream, &mut read).expect("an answer");
            if !answer.starts_with("SIP/2.0 1") {
                return answer;
            }
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut read = Vec::new();
        while let Some(message) = next(&mut from, &mut read) {
            let change = self.change.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.passed.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
            let changed = change(message);
            if to.write_all(changed.as_bytes()).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// The next message of a stream, by its Content-Length; `None` at the end.
fn next(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<String> {
    loop {
        // RFC 5626 §4.4.1: a keep-alive, handed on as it is.
        if read.starts_with(b"\r\n") {
            let rest = read.split_off(2);
            *read = rest;
            return Some("\r\n".into());
        }
        if let Some(head) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&read[..head]).into_owned();
            let length = text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let known = name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("l");
                known.then(|| value.trim().parse::<usize>().ok()).flatten()
            });
            let end = head + 4 + length.unwrap_or(0);
            if read.len() >= end {
                let rest = read.split_off(end);
                let message = std::mem::replace(read, rest);
                return Some(String::from_utf8(message).expect("SIP of these tests is UTF-8"));
            }
        }
        let mut octets = [0; 8192];
        match stream.read(&mut octets) {
            Ok(0) | Err(_) => return None,
            Ok(n) => read.extend_from_slice(&octets[..n]),
        }
    }
}

/// The message with its body changed and its length right.
pub fn with_body(message: &str, change: impl FnOnce(&str) -> String) -> String {
    let Some((head, body)) = message.split_once("\r\n\r\n") else { return message.to_owned() };
    let body = change(body);
    let head: Vec<_> = head
        .split("\r\n")
        .map(|line| match line.split_once(':') {
            Some((name, _)) if name.eq_ignore_ascii_case("Content-Length") => {
                format!("{name}: {}", body.len())
            }
            _ => line.to_owned(),
        })
        .collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n"))
}

/// The body without the lines that begin so.
pub fn without(body: &str, start: &str) -> String {
    body.split_inclusive("\r\n").filter(|line| !line.starts_with(start)).collect()
}

/// The body with one octet of the key exchange changed, `place` base64 digits into it.
pub fn nudge(body: &str, place: usize) -> String {
    const START: &str = "a=key-mgmt:mikey ";
    let at = body.find(START).expect("a key exchange") + START.len() + place;
    let new = if body.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{new}{}", &body[..at], &body[at + 1..])
}
