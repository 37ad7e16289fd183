//! Sessions that are held: idle ones, and such as nobody reads from.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::content::{Content, LONGEST, Way, mix};
use crate::greeting::{Greeting, Kind};

/// A writer that could not write for so long has been stopped.
const STALLED: Duration = Duration::from_millis(1500);
/// What an idle session has said and heard.
const HELLO: usize = 6;

/// Where to.
#[derive(Debug, Clone, Copy)]
pub struct Doors {
    /// The address.
    pub address: IpAddr,
    /// The first port.
    pub first: u16,
    /// How many, in turn.
    pub ports: u16,
}

impl Doors {
    fn open(&self, number: usize, kind: Kind, key: u64) -> Result<TcpStream> {
        let port = self.first + (number % usize::from(self.ports.max(1))) as u16;
        let mut stream = TcpStream::connect(SocketAddr::new(self.address, port))?;
        stream.set_nodelay(true)?;
        stream.write_all(&Greeting { kind, key }.octets())?;
        Ok(stream)
    }
}

/// Opens sessions, and says and hears something on each.
///
/// # Errors
///
/// If one does not come about, or something else comes back.
pub fn idle(doors: Doors, sessions: usize, seed: u64) -> Result<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let key = mix(seed ^ mix(number as u64));
        let mut stream = doors.open(number, Kind::Echo, key)?;
        let said = Content::new(key, Way::Up).piece(0, HELLO);
        stream.write_all(said)?;
        let mut heard = [0; HELLO];
        stream.read_exact(&mut heard)?;
        if heard != *said {
            return Err(format!("session {number}: other octets came back").into());
        }
        held.push(stream);
    }
    Ok(held)
}

/// Writes on every session until nothing more is taken, to a server that does not read. The octets that were.
///
/// # Errors
///
/// If one does not come about, or is cut.
pub fn stalled(doors: Doors, sessions: usize, seed: u64) -> Result<(u64, Vec<TcpStream>)> {
    let running: Vec<std::result::Result<_, String>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..sessions)
            .map(|number| scope.spawn(move || fill(doors, number, seed).map_err(|error| error.to_string())))
            .collect();
        let panicked = |_| Err("a thread panicked".to_owned());
        running.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let (mut total, mut held) = (0, Vec::with_capacity(sessions));
    for outcome in running {
        let (octets, stream) = outcome?;
        total += octets;
        held.push(stream);
    }
    Ok((total, held))
}

fn fill(doors: Doors, number: usize, seed: u64) -> Result<(u64, TcpStream)> {
    let key = mix(seed ^ mix(number as u64));
    let mut stream = doors.open(number, Kind::Stalled, key)?;
    stream.set_write_timeout(Some(STALLED))?;
    let mut total = 0;
    loop {
        match stream.write(Content::new(key, Way::Up).piece(total, LONGEST)) {
            Ok(octets) => total += octets as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok((total, stream));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
