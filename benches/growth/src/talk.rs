//! Random traffic that both ends check octet by octet.
//!
//! What a session does follows from its seed, which the caller sends first: how much each end sends, in pieces of
//! which size and with which pauses, how slowly it reads, whether it ends in order (each end closes its direction when it
//! has sent all) or by a reset in the midst. So each end knows what the other one means to send.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use carnet_wire::{Random, SeededRandom};
use sha2::{Digest, Sha256};

use crate::Result;

/// How long nothing may happen.
const PATIENCE: Duration = Duration::from_secs(90);
const GLANCE: Duration = Duration::from_millis(100);
/// Octets of a seed and what goes with it.
const HEAD: usize = 16;

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Caller,
    Server,
}

/// What a session does.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    /// Octets from the caller, and from the server.
    octets: [u64; 2],
    /// Who ends it by a reset, and after how many octets.
    reset: Option<(End, u64)>,
    slow: [bool; 2],
}

impl Plan {
    fn of(head: [u8; HEAD]) -> Self {
        let [seed, bounds] = [0, 8].map(|from| {
            let octets = head.iter().skip(from).take(8);
            octets.fold(0u64, |number, octet| number << 8 | u64::from(*octet))
        });
        let (largest, resets) = (bounds >> 1, bounds & 1 == 1);
        let mut random = SeededRandom::new(seed);
        // As many between 1 and 10 octets as between 100,000 and a million.
        let mut amount = || {
            let bits = 64 - largest.leading_zeros();
            let below = 1u64 << (random.u64() % u64::from(bits + 1));
            (random.u64() % below).min(largest)
        };
        let octets = [amount(), amount()];
        let draw = random.u64();
        let end = if draw & 1 == 0 { End::Caller } else { End::Server };
        let from = octets[end as usize];
        let reset = (resets && draw & 6 == 0).then(|| (end, if from == 0 { 0 } else { (draw >> 8) % from }));
        Self { seed, octets, reset, slow: [draw >> 60 == 0, draw >> 56 & 15 == 0] }
    }

    /// What an end sends: the same again for who receives it.
    fn content(&self, end: End) -> Content {
        let random = SeededRandom::new(self.seed ^ 0x1234_5678 << (end as u32 * 8));
        Content { random, block: vec![0; 8192], used: 8192 }
    }
}

struct Content {
    random: SeededRandom,
    block: Vec<u8>,
    used: usize,
}

impl Content {
    fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.used == self.block.len() {
                self.random.fill(&mut self.block);
                self.used = 0;
            }
            let ready = self.block.get(self.used..).unwrap_or_default();
            let octets = ready.len().min(out.len());
            let (now, later) = out.split_at_mut(octets);
            now.copy_from_slice(ready.get(..octets).unwrap_or_default());
            self.used += octets;
            out = later;
        }
    }
}

/// What an end has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    sent: u64,
    received: u64,
    reset: bool,
}

fn is_reset(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// One end of a session, from after its head to its end.
fn talk(stream: &TcpStream, plan: &Plan, mine: End) -> Result<Seen> {
    stream.set_read_timeout(Some(GLANCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let over = AtomicBool::new(false);
    let (sent, received) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(stream, plan, mine, &over));
        let received = read(stream, plan, mine, &over);
        if received.is_err() {
            // The writer need not wait for a reader that will not come.
            let _ = stream.shutdown(Shutdown::Both);
        }
        (writing.join().map_err(|_| "the writer panicked"), received)
    });
    let ((sent, cut), (received, reset)) = (sent??, received?);
    if let Some((end, _)) = plan.reset {
        if end == mine {
            // Closing with a linger of nothing is a reset (RFC 9293 §3.10.4); the caller of this drops the stream.
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
        } else if !reset && !cut {
            return Err("a reset came as an end in order".into());
        }
        return Ok(Seen { sent, received, reset: true });
    }
    let expected = plan.octets[1 - mine as usize];
    if cut || reset || received != expected {
        return Err(format!("{received} octets of {expected} came, reset: {}", cut || reset).into());
    }
    Ok(Seen { sent, received, reset: false })
}

/// How many octets were sent, and whether the other end was gone.
fn write(stream: &TcpStream, plan: &Plan, mine: End, over: &AtomicBool) -> Result<(u64, bool)> {
    let mut content = plan.content(mine);
    let mut random = SeededRandom::new(plan.seed ^ 0xabc ^ mine as u64);
    let until = match plan.reset {
        Some((end, at)) if end == mine => at,
        _ => plan.octets[mine as usize],
    };
    let mut buffer = vec![0; 128 * 1024];
    let mut sent = 0;
    while sent < until {
        let draw = random.u64();
        let piece = (draw % (1 << (draw >> 32 & 15).max(1)) + 1).min(until - sent);
        let piece = buffer.get_mut(..usize::try_from(piece)?).ok_or("a piece too large")?;
        content.fill(piece);
        let mut stream = stream;
        match stream.write_all(piece) {
            Ok(()) => sent += piece.len() as u64,
            Err(error) if is_reset(&error) && plan.reset.is_some_and(|(end, _)| end != mine) => {
                return Ok((sent, true));
            }
            Err(error) => return Err(format!("writing, {sent} of {until}: {error}").into()),
        }
        if draw >> 40 & 63 == 0 {
            std::thread::sleep(Duration::from_millis(draw >> 50 & 31));
        }
    }
    if plan.reset.is_some_and(|(end, _)| end == mine) {
        over.store(true, Ordering::Release);
    } else if let Err(error) = stream.shutdown(Shutdown::Write)
        && plan.reset.is_none()
    {
        return Err(format!("closing: {error}").into());
    }
    Ok((sent, false))
}

/// How many octets came, all of them the right ones, and whether a reset did.
fn read(stream: &TcpStream, plan: &Plan, mine: End, over: &AtomicBool) -> Result<(u64, bool)> {
    let other = if mine == End::Caller { End::Server } else { End::Caller };
    let mut content = plan.content(other);
    let (mut buffer, mut expected) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut hashes = [Sha256::new(), Sha256::new()];
    let (mut received, mut last) = (0, Instant::now());
    while !over.load(Ordering::Acquire) {
        let mut stream = stream;
        let octets = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(octets) => octets,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if last.elapsed() > PATIENCE {
                    return Err(format!("nothing came for long, after {received} octets").into());
                }
                continue;
            }
            Err(error) if is_reset(&error) => return Ok((received, true)),
            Err(error) => return Err(format!("reading: {error}").into()),
        };
        last = Instant::now();
        let (came, wanted) =
            (buffer.get(..octets).unwrap_or_default(), expected.get_mut(..octets).unwrap_or_default());
        content.fill(wanted);
        let [of_came, of_wanted] = &mut hashes;
        of_came.update(came);
        of_wanted.update(&*wanted);
        if came != wanted {
            return Err(format!("other octets than were sent, after {received}").into());
        }
        received += octets as u64;
        if plan.slow[mine as usize] {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let [of_came, of_wanted] = hashes;
    if of_came.finalize() != of_wanted.finalize() {
        return Err("the hashes differ".into());
    }
    Ok((received, false))
}

#[derive(Debug, Default)]
struct Tally {
    sessions: u64,
    sent: u64,
    received: u64,
    resets: u64,
    failures: u64,
    first: Option<String>,
}

impl Tally {
    fn add(&mut self, seen: Result<Seen>, seed: u64) {
        self.sessions += 1;
        match seen {
            Ok(seen) => {
                self.sent += seen.sent;
                self.received += seen.received;
                self.resets += u64::from(seen.reset);
            }
            Err(error) => {
                self.failures += 1;
                self.first.get_or_insert_with(|| format!("seed {seed:#x}: {error}"));
            }
        }
    }

    fn told(&self) -> Result<String> {
        let Self { sessions, sent, received, resets, failures, first } = self;
        match first {
            Some(first) => Err(format!("{failures} of {sessions} failed, the first one: {first}").into()),
            None => Ok(format!("{sessions} {sent} {received} {resets}")),
        }
    }
}

/// The server's end. Argument: `ADDRESS:PORT`. Answers
///
/// * `tally`: waits until all connections are over; sessions, octets sent and received, those that were reset.
pub fn listen(arguments: &[&str]) -> Result<()> {
    let [address] = arguments else { return Err("listener ADDRESS:PORT".into()) };
    let listener = TcpListener::bind(address)?;
    let tally: Arc<(Mutex<Tally>, Mutex<u64>)> = Arc::default();
    let shared = Arc::clone(&tally);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            *lock(&shared.1) += 1;
            std::thread::spawn(move || {
                let (seen, seed) = answer(stream);
                lock(&shared.0).add(seen, seed);
                *lock(&shared.1) -= 1;
            });
        }
    });
    crate::serve(|words| match words {
        ["tally"] => {
            let until = Instant::now() + PATIENCE * 2;
            while *lock(&tally.1) > 0 {
                if Instant::now() > until {
                    return Err("connections that do not end".into());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            std::mem::take(&mut *lock(&tally.0)).told()
        }
        _ => Err("tally".into()),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(mut stream: TcpStream) -> (Result<Seen>, u64) {
    let mut head = [0; HEAD];
    match stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.read_exact(&mut head)) {
        Ok(()) => {}
        // It overtook the head. Had it come in order, the kernel would say so in another way.
        Err(error) if is_reset(&error) => return (Ok(Seen { reset: true, ..Seen::default() }), 0),
        Err(error) => return (Err(format!("no head: {error}").into()), 0),
    }
    let plan = Plan::of(head);
    let seen = talk(&stream, &plan, End::Server);
    (seen.map(|seen| Seen { received: seen.received + HEAD as u64, ..seen }), plan.seed)
}

/// The callers' end. Answers
///
/// * `talk FILE FROM COUNT SEED LARGEST orderly|resets`: a session through each of these doors, all at a time; sessions, octets
///   sent and received, those that were reset.
pub fn call(_arguments: &[&str]) -> Result<()> {
    crate::serve(|words| match words {
        ["talk", file, from, count, seed, largest, ends] => {
            let text = std::fs::read_to_string(file)?;
            let doors = text.lines().skip(from.parse()?).take(count.parse()?);
            let doors: Vec<SocketAddr> = doors.map(str::parse).collect::<std::result::Result<_, _>>()?;
            let (seed, largest): (u64, u64) = (seed.parse()?, largest.parse()?);
            let tally = Mutex::new(Tally::default());
            std::thread::scope(|scope| {
                for (door, index) in doors.into_iter().zip(0u64..) {
                    let tally = &tally;
                    scope.spawn(move || {
                        let seed = SeededRandom::new(seed << 20 | index).u64();
                        let seen = ask(door, seed, largest << 1 | u64::from(*ends == "resets"));
                        lock(tally).add(seen.map_err(|e| format!("{door}: {e}").into()), seed);
                    });
                }
            });
            lock(&tally).told()
        }
        _ => Err("talk".into()),
    })
}

fn ask(door: SocketAddr, seed: u64, bounds: u64) -> Result<Seen> {
    let mut stream = TcpStream::connect_timeout(&door, PATIENCE)?;
    let mut head = [0; HEAD];
    let octets = seed.to_be_bytes().into_iter().chain(bounds.to_be_bytes());
    head.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
    let plan = Plan::of(head);
    stream.write_all(&head)?;
    let seen = talk(&stream, &plan, End::Caller)?;
    Ok(Seen { sent: seen.sent + HEAD as u64, ..seen })
}
