//! Calls under way, as many as the window has room for.

use crate::servers::{Kind, Server};
use bytes::Bytes;
use carnet_ng::{Command, Message, Request, Response, Value};
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// What one run gave.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Calls a second.
    pub rate: f64,
    /// CPU time of the server a call, seconds.
    pub cpu: f64,
    /// From an offer to its answer, seconds.
    pub p50: f64,
    /// The same.
    pub p99: f64,
    calls: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, cpu) = (self.rate, self.cpu * 1e6);
        let (p50, p99) = (self.p50 * 1e3, self.p99 * 1e3);
        write!(
            f,
            "{rate:7.0} calls/s, {cpu:6.0} us CPU a call, offer p50 {p50:.2} ms, p99 {p99:.2} ms ({} calls)",
            self.calls
        )
    }
}

/// Before figures are taken.
const WARM: Duration = Duration::from_millis(500);

fn describe(sections: &str, setup: &str) -> Bytes {
    let head = "v=0\r\no=- 2890844526 2890842807 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    format!("{head}{}", sections.replace("SETUP", setup)).into()
}

struct Load<'a> {
    socket: UdpSocket,
    kind: Kind,
    descriptions: [&'a Bytes; 2],
    /// Calls under way, by number: what was asked last, and when.
    under_way: HashMap<u64, (Command, Instant)>,
    next: u64,
}

impl Load<'_> {
    fn ask(&mut self, call: u64, command: Command) -> Result<(), Box<dyn Error>> {
        let (id, tag) = (format!("call-{call}@bench"), format!("from-{call}"));
        let mut request = Request::new(command, &id, &tag);
        if command != Command::Offer {
            request.to_tag = Some(format!("to-{call}"));
        }
        request = match command {
            Command::Delete => request.with("delete delay", Value::Integer(0)),
            // As Kamailio's module puts it.
            _ => request
                .with("flags", Value::texts(["trust address"]))
                .with("received from", Value::texts(["IP4", "127.0.0.1"]))
                .with("supports", Value::texts(["load limit"])),
        };
        request.sdp = match command {
            Command::Offer => Some(self.descriptions[0].clone()),
            Command::Answer => Some(self.descriptions[1].clone()),
            _ => None,
        };
        let cookie = format!("{call}_{}", command.as_str());
        let message = Message::new(cookie.into(), request.body());
        self.under_way.insert(call, (command, Instant::now()));
        self.socket.send(&message.to_bytes())?;
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Box<dyn Error>> {
        self.next += 1;
        self.ask(self.next, Command::Offer)
    }

    /// Takes an answer; the time that an offer took, and whether a call is over.
    fn take(&mut self, datagram: &[u8]) -> Result<(Option<Duration>, bool), Box<dyn Error>> {
        let message = Message::parse(&Bytes::copy_from_slice(datagram), &carnet_ng::Limits::default())?;
        let cookie = std::str::from_utf8(&message.cookie)?;
        let call: u64 = cookie.split('_').next().unwrap_or_default().parse()?;
        let Response::Done { .. } = Response::of(&message.body)? else {
            return Err(format!("{} says {:?}", self.kind.name(), message.body).into());
        };
        let (command, since) = self.under_way.remove(&call).ok_or("an answer that comes twice")?;
        Ok(match command {
            Command::Offer => {
                let took = since.elapsed();
                self.ask(call, Command::Answer)?;
                (Some(took), false)
            }
            Command::Answer => {
                self.ask(call, Command::Delete)?;
                (None, false)
            }
            _ => (None, true),
        })
    }
}

/// Runs calls for that long.
pub fn measure(
    server: &Server,
    sections: &str,
    window: usize,
    seconds: f64,
) -> Result<Figures, Box<dyn Error>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(("127.0.0.1", server.kind.port()))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (offer, answer) = (describe(sections, "actpass"), describe(sections, "active"));
    let mut load = Load {
        socket,
        kind: server.kind,
        descriptions: [&offer, &answer],
        under_way: HashMap::new(),
        next: 0,
    };
    for _ in 0..window {
        load.begin()?;
    }
    let (began, mut figures) = (Instant::now(), None);
    let mut buffer = vec![0; 65_536];
    let (mut calls, mut offers) = (0usize, Vec::new());
    loop {
        let n = load.socket.recv(&mut buffer)?;
        let (took, over) = load.take(buffer.get(..n).unwrap_or_default())?;
        if figures.is_none() && began.elapsed() >= WARM {
            figures = Some((Instant::now(), server.cpu()?));
            (calls, offers) = (0, Vec::new());
        }
        offers.extend(took);
        if over {
            calls += 1;
            let done = figures.is_some_and(|(since, _)| since.elapsed().as_secs_f64() >= seconds);
            if done {
                break;
            }
            load.begin()?;
        }
    }
    let (since, cpu) = figures.ok_or("too short")?;
    let (lasted, cpu) = (since.elapsed().as_secs_f64(), server.cpu()? - cpu);
    offers.sort();
    let at = |share: f64| {
        let place = (offers.len() as f64 * share) as usize;
        offers.get(place.min(offers.len().saturating_sub(1))).map_or(f64::NAN, Duration::as_secs_f64)
    };
    Ok(Figures { rate: calls as f64 / lasted, cpu: cpu / calls as f64, p50: at(0.5), p99: at(0.99), calls })
}
