//! Pairs of clients in one thread.

use crate::relays::Peer;
use md5::{Digest as _, Md5};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use std::error::Error;
use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What one measurement brought.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Microseconds of the relay's CPU a SEND.
    pub cpu: f64,
    /// SENDs a second.
    pub rate: f64,
    /// Milliseconds from a SEND to its arrival: median and 99th percentile.
    pub p50: f64,
    pub p99: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, rate, p50, p99 } = self;
        write!(f, "{cpu:6.2} us a SEND, {rate:8.0} SENDs/s, p50 {p50:.2} ms, p99 {p99:.2} ms")
    }
}

/// One that sends, and one that receives.
struct Pair {
    sender: TcpStream,
    receiver: TcpStream,
    /// The frame, with the place of its transaction identifier and number.
    frame: Vec<u8>,
    body: Vec<u8>,
    /// What was read and is not a whole frame yet, on either side.
    heard: [Vec<u8>; 2],
    sent_at: Instant,
    number: u64,
    answered: bool,
    arrived: bool,
}

/// Runs pairs through a relay for `seconds`, after a warm-up.
pub fn measure(peer: &Peer, pairs: usize, size: usize, seconds: f64) -> Result<Figures, Box<dyn Error>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut all = Vec::new();
    for n in 0..pairs {
        let pair = Pair::new(peer, n, size)?;
        for (side, socket) in [&pair.sender, &pair.receiver].into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            let token = epoll::EventData::new_u64((n * 2 + side) as u64);
            epoll::add(&epoll, socket, token, epoll::EventFlags::IN)?;
        }
        all.push(pair);
    }
    for pair in &mut all {
        pair.send()?;
    }
    let warm = Instant::now() + Duration::from_millis(500);
    turn(&epoll, &mut all, warm, &mut Vec::new())?;
    let (begun, cpu) = (Instant::now(), peer.cpu());
    let mut times = Vec::new();
    turn(&epoll, &mut all, begun + Duration::from_secs_f64(seconds), &mut times)?;
    let (took, cpu) = (begun.elapsed().as_secs_f64(), peer.cpu() - cpu);
    times.sort_by(f64::total_cmp);
    let count = times.len() as f64;
    let at = |share: f64| times.get((count * share) as usize).copied().unwrap_or(f64::NAN);
    Ok(Figures { cpu: cpu * 1e6 / count, rate: count / took, p50: at(0.5), p99: at(0.99) })
}

fn turn(
    epoll: &OwnedFd,
    pairs: &mut [Pair],
    until: Instant,
    times: &mut Vec<f64>,
) -> Result<(), Box<dyn Error>> {
    let mut ready = Vec::with_capacity(256);
    let mut buffer = vec![0; 64 * 1024];
    while Instant::now() < until {
        ready.clear();
        let timeout = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
        epoll::wait(epoll, spare_capacity(&mut ready), Some(&timeout))?;
        if ready.is_empty() {
            return Err("nothing comes any more".into());
        }
        for event in &ready {
            let token = event.data.u64() as usize;
            let pair = pairs.get_mut(token / 2).ok_or("a pair")?;
            if let Some(time) = pair.read(token % 2, &mut buffer)? {
                times.push(time);
            }
        }
    }
    Ok(())
}

impl Pair {
    fn new(peer: &Peer, n: usize, size: usize) -> Result<Self, Box<dyn Error>> {
        let connect = || -> std::io::Result<TcpStream> {
            let socket = TcpStream::connect(peer.address)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(Duration::from_secs(10)))?;
            Ok(socket)
        };
        let (sender, mut receiver) = (connect()?, connect()?);
        let own = format!("msrp://127.0.0.1:9/receiver{n};tcp");
        let path = authenticate(&mut receiver, peer, &own, &format!("user{n}"))?;
        let body: Vec<u8> = (0..size).map(|i| b'a' + ((i * 7 + n) % 26) as u8).collect();
        let head = format!(
            "MSRP {:016} SEND\r\nTo-Path: {path} {own}\r\nFrom-Path: msrp://127.0.0.1:9/sender{n};tcp\r\n\
             Message-ID: {n}\r\nByte-Range: 1-{size}/{size}\r\nContent-Type: text/plain\r\n\r\n",
            0
        );
        let end = format!("\r\n-------{:016}$\r\n", 0);
        let frame = [head.as_bytes(), &body, end.as_bytes()].concat();
        Ok(Self {
            sender,
            receiver,
            frame,
            body,
            heard: [Vec::new(), Vec::new()],
            sent_at: Instant::now(),
            number: 0,
            answered: false,
            arrived: false,
        })
    }

    fn send(&mut self) -> Result<(), Box<dyn Error>> {
        self.number += 1;
        let tid = format!("{:016}", self.number);
        let length = self.frame.len();
        for at in [5, length - 19] {
            self.frame.get_mut(at..at + 16).ok_or("a frame")?.copy_from_slice(tid.as_bytes());
        }
        (self.answered, self.arrived) = (false, false);
        self.sent_at = Instant::now();
        // It fits into an empty socket.
        let written = self.sender.write(&self.frame)?;
        if written < length { Err("the socket takes less than a frame".into()) } else { Ok(()) }
    }

    /// Reads what there is. How many milliseconds a SEND took, when it has arrived.
    fn read(&mut self, side: usize, buffer: &mut [u8]) -> Result<Option<f64>, Box<dyn Error>> {
        let socket = if side == 0 { &mut self.sender } else { &mut self.receiver };
        let octets = match socket.read(buffer) {
            Ok(0) => return Err("the relay closed a connection".into()),
            Ok(octets) => octets,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let [heard_sender, heard_receiver] = &mut self.heard;
        let heard = if side == 0 { heard_sender } else { heard_receiver };
        heard.extend_from_slice(buffer.get(..octets).unwrap_or_default());
        // One frame at most is on its way, so it is whole when its end is there.
        let rest = heard.strip_prefix(b"MSRP ").ok_or("a frame")?;
        let tid = rest.split(|b| *b == b' ').next().unwrap_or_default().to_vec();
        let end = [b"-------", tid.as_slice(), b"$\r\n"].concat();
        if !heard.ends_with(&end) {
            return Ok(None);
        }
        let mut time = None;
        if side == 0 {
            let expected = format!("MSRP {:016} 200", self.number);
            if !heard.starts_with(expected.as_bytes()) {
                return Err(format!("not 200: {}", String::from_utf8_lossy(heard)).into());
            }
            self.answered = true;
        } else {
            let at = heard.len() - end.len() - 2 - self.body.len();
            if heard.get(at..at + self.body.len()) != Some(&self.body) {
                return Err("another body".into());
            }
            time = Some(self.sent_at.elapsed().as_secs_f64() * 1e3);
            self.arrived = true;
            let text = String::from_utf8_lossy(heard).into_owned();
            let line =
                |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim();
            let back = line("From-Path:").split(' ').next().unwrap_or_default();
            let answer = [
                b"MSRP ",
                tid.as_slice(),
                b" 200 OK\r\nTo-Path: ",
                back.as_bytes(),
                b"\r\nFrom-Path: ",
                line("To-Path:").as_bytes(),
                b"\r\n",
                &end,
            ];
            self.receiver.write_all(&answer.concat())?;
        }
        let [heard_sender, heard_receiver] = &mut self.heard;
        if side == 0 {
            heard_sender.clear();
        } else {
            heard_receiver.clear();
        }
        if self.answered && self.arrived {
            self.send()?;
        }
        Ok(time)
    }
}

/// AUTH, twice (RFC 4976 §5.1); the URI that is granted.
fn authenticate(
    socket: &mut TcpStream,
    peer: &Peer,
    own: &str,
    user: &str,
) -> Result<String, Box<dyn Error>> {
    let uri = format!("msrp://127.0.0.1:{};tcp", peer.address.port());
    let mut ask = |fields: &str| -> Result<String, Box<dyn Error>> {
        let frame = format!(
            "MSRP askaskask AUTH\r\nTo-Path: {uri}\r\nFrom-Path: {own}\r\n{fields}-------askaskask$\r\n"
        );
        socket.write_all(frame.as_bytes())?;
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while !heard.ends_with(b"-------askaskask$\r\n") {
            let octets = socket.read(&mut buffer)?;
            if octets == 0 {
                return Err("the relay closed a connection".into());
            }
            heard.extend_from_slice(buffer.get(..octets).unwrap_or_default());
        }
        Ok(String::from_utf8(heard)?)
    };
    let challenge = ask("")?;
    let value = |name: &str| {
        let rest = challenge.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split_once('"')).map(|(value, _)| value).unwrap_or_default()
    };
    let (realm, nonce) = (value("realm"), value("nonce"));
    let hash =
        |text: String| Md5::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let first = hash(format!("{user}:{realm}:{user}'s-word"));
    let second = hash(format!("AUTH:{uri}"));
    let response = hash(format!("{first}:{nonce}:00000001:c:auth:{second}"));
    let granted = ask(&format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         qop=auth, nc=00000001, cnonce=\"c\", response=\"{response}\"\r\n"
    ))?;
    let path = granted.lines().find_map(|line| line.strip_prefix("Use-Path: "));
    Ok(path.ok_or_else(|| format!("no URI: {granted}"))?.to_owned())
}
