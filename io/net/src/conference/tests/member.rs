//! A member with a thread of its own that answers what it gets, as MSRP wants it (RFC 4975 §7.2).

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use carnet_msrp::{Decoder, Limits, Piece};

use crate::patient::Patient as _;

use super::rig::{Leg, PATIENCE, greeting};

/// In the open, so that many can be had.
pub struct Member {
    pub socket: TcpStream,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    /// Bodies of what came, each whole or a chunk, in order.
    bodies: Vec<Vec<u8>>,
    /// Status codes of responses.
    statuses: Vec<u16>,
    over: bool,
}

impl Member {
    /// Connects and says whom it wants.
    pub fn join(leg: &Leg) -> Self {
        Self::connect(leg.local, &greeting(leg))
    }

    fn connect(to: SocketAddr, greeting: &str) -> Self {
        let mut socket = TcpStream::connect(to).unwrap();
        socket.write_all(greeting.as_bytes()).unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let into = Arc::clone(&heard);
        let reader = socket.try_clone().unwrap();
        thread::spawn(move || {
            listen(reader, &into);
            into.lock().unwrap().over = true;
        });
        Self { socket, heard }
    }

    pub fn say(&mut self, words: impl AsRef<[u8]>) {
        self.socket.write_all(words.as_ref()).unwrap();
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut(&Heard) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(&self.heard.lock().unwrap()) {
                return found;
            }
            let heard = self.heard.lock().unwrap();
            let (bodies, statuses, over) = (heard.bodies.len(), &heard.statuses, heard.over);
            assert!(
                Instant::now() < deadline,
                "{what} never came, but {bodies} bodies and {statuses:?}; over: {over}"
            );
            drop(heard);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until something that it got has these words in it.
    pub fn hears(&self, words: &str) {
        self.wait(words, |heard| {
            let has = |body: &Vec<u8>| String::from_utf8_lossy(body).contains(words);
            heard.bodies.iter().any(has).then_some(())
        });
    }

    /// Whether nothing that it got has these words in it.
    pub fn is_silent(&self, words: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        !heard.bodies.iter().any(|body| String::from_utf8_lossy(body).contains(words))
    }

    /// The last line of everything that ends in `mark` and a number.
    pub fn numbers(&self, mark: &str) -> Vec<u32> {
        let heard = self.heard.lock().unwrap();
        let number = |body: &Vec<u8>| {
            let text = String::from_utf8_lossy(body);
            let (_, number) = text.rsplit_once(mark)?;
            number.split_whitespace().next()?.parse().ok()
        };
        heard.bodies.iter().filter_map(number).collect()
    }

    /// Waits for that many responses, and gives them.
    pub fn statuses(&self, count: usize) -> Vec<u16> {
        self.wait("a response", |heard| (heard.statuses.len() >= count).then(|| heard.statuses.clone()))
    }

    pub fn is_over(&self) {
        self.wait("the end", |heard| heard.over.then_some(()));
    }
}

fn listen(mut socket: TcpStream, heard: &Mutex<Heard>) {
    let mut decoder = Decoder::new(Limits::default());
    let mut buffer = vec![0; 64 * 1024];
    let mut current = None;
    while let Ok(octets @ 1..) = socket.read_on(&mut buffer) {
        let mut input = &buffer[..octets];
        let mut answers = Vec::new();
        loop {
            let (used, piece) = decoder.decode(input).expect("the room speaks MSRP");
            let nothing = piece.is_none();
            match piece {
                Some(Piece::Head(head)) => {
                    let status = head.start_status();
                    if let Some(status) = status {
                        heard.lock().unwrap().statuses.push(status);
                    }
                    current = Some((head, Vec::new()));
                }
                Some(Piece::Body(octets)) => {
                    if let Some((_, body)) = &mut current {
                        body.extend_from_slice(octets);
                    }
                }
                Some(Piece::End(_)) => {
                    let Some((head, body)) = current.take() else { continue };
                    if head.method() == Some("SEND") {
                        heard.lock().unwrap().bodies.push(body);
                        if head.get("Failure-Report").is_none_or(|wish| wish == "yes") {
                            let (to, from) = (head.get("From-Path").unwrap(), head.get("To-Path").unwrap());
                            let tid = &head.tid;
                            answers.extend_from_slice(
                                format!(
                                    "MSRP {tid} 200 OK\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n-------{tid}$\r\n"
                                )
                                .as_bytes(),
                            );
                        }
                    }
                }
                None => {}
            }
            input = &input[used..];
            if nothing && input.is_empty() {
                break;
            }
        }
        if socket.write_all(&answers).is_err() {
            return;
        }
    }
}

trait Status {
    fn start_status(&self) -> Option<u16>;
}

impl Status for carnet_msrp::Head {
    fn start_status(&self) -> Option<u16> {
        match &self.start {
            carnet_msrp::Start::Response { status, .. } => Some(*status),
            carnet_msrp::Start::Request(_) => None,
        }
    }
}
