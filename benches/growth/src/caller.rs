//! The callers: open sessions, exchange messages on some of them, and see how they end.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use carnet_tls::Side;
use carnet_wire::{Random, SeededRandom};

use crate::Result;
use crate::link::{Link, Seals};

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Callers {
    seals: Option<Seals>,
    sessions: Vec<Link>,
}

/// Arguments: `plain|sealed`. Answers
///
/// * `open FILE FROM COUNT`: a session through each of these doors, one a line of the file, with six octets there and back;
/// * `ping ACTIVE ROUNDS OCTETS SEED`: on as many sessions, drawn at random, a message on all of them and then all the
///   answers, so many times; with the median time of a round in seconds;
/// * `ended`: waits until the other side has ended all; how many in order, and how many by a reset;
/// * `close`: ends all in order, and waits for the other side to do the same.
pub fn run(arguments: &[&str]) -> Result<()> {
    let seals = if arguments == ["sealed"] { Some(Seals::new()?) } else { None };
    let mut callers = Callers { seals, sessions: Vec::new() };
    crate::serve(|words| match words {
        ["open", file, from, count] => callers.open(file, from.parse()?, count.parse()?),
        ["ping", active, rounds, octets, seed] => {
            callers.ping(active.parse()?, rounds.parse()?, octets.parse()?, seed.parse()?)
        }
        ["ended"] => callers.ended(),
        ["close"] => callers.close(),
        _ => Err("open, ping, ended or close".into()),
    })
}

impl Callers {
    fn open(&mut self, file: &str, from: usize, count: usize) -> Result<String> {
        let doors = fs::read_to_string(file)?;
        for door in doors.lines().skip(from).take(count) {
            let door: SocketAddr = door.parse()?;
            let stream = TcpStream::connect_timeout(&door, PATIENCE).map_err(|e| format!("{door}: {e}"))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut link = match &self.seals {
                Some(seals) => seals.link(stream, Side::Client)?,
                None => Link::Plain(stream),
            };
            while !link.shake().map_err(|e| format!("{door}: {e}"))? {}
            let (mut back, sent) = ([0; 6], *b"hello\n");
            link.write_all(&sent)?;
            link.read_exact(&mut back).map_err(|e| format!("{door}: {e}"))?;
            if back != sent {
                return Err(format!("{door}: other octets came back").into());
            }
            self.sessions.push(link);
        }
        Ok(self.sessions.len().to_string())
    }

    fn ping(&mut self, active: usize, rounds: usize, octets: usize, seed: u64) -> Result<String> {
        let mut random = SeededRandom::new(seed);
        // A random sample in front: the first steps of a shuffle.
        let all = self.sessions.len();
        let active = active.min(all);
        for index in 0..active {
            let left = (all - index) as u64;
            let other = index + usize::try_from(random.u64() % left)?;
            self.sessions.swap(index, other);
        }
        let (mut message, mut back) = (vec![0; octets], vec![0; octets]);
        let mut times = Vec::with_capacity(rounds);
        let content = |round: usize, index: usize, message: &mut [u8]| {
            let mut octets = SeededRandom::new(seed ^ (round as u64) << 32 ^ index as u64);
            octets.fill(message);
        };
        for round in 0..rounds {
            let began = Instant::now();
            for (index, link) in self.sessions.iter_mut().take(active).enumerate() {
                content(round, index, &mut message);
                link.write_all(&message)?;
            }
            for (index, link) in self.sessions.iter_mut().take(active).enumerate() {
                content(round, index, &mut message);
                link.read_exact(&mut back)?;
                if back != message {
                    return Err(format!("round {round}, session {index}: other octets came back").into());
                }
            }
            times.push(began.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        let median = times.get(rounds / 2).copied().unwrap_or_default();
        Ok(format!("{} {median}", rounds * active))
    }

    fn ended(&mut self) -> Result<String> {
        let (mut in_order, mut reset) = (0, 0);
        for mut link in self.sessions.drain(..) {
            match link.read(&mut [0; 16]) {
                Ok(0) => in_order += 1,
                Ok(_) => return Err("octets that nobody sent".into()),
                // TLS calls an end without a word of its own so.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => in_order += 1,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => reset += 1,
                Err(error) => return Err(format!("not told that it is over: {error}").into()),
            }
        }
        Ok(format!("{in_order} {reset}"))
    }

    fn close(&mut self) -> Result<String> {
        for link in &mut self.sessions {
            link.close();
        }
        self.ended()
    }
}
