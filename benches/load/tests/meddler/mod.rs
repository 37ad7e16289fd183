//! Somebody between two ends of TCP who changes what passes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

/// What the one in between does to what passes.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Nothing,
    /// One bit is another.
    Flip,
    /// An octet is lost.
    Lose,
    /// A piece comes twice.
    Twice,
    /// Two pieces change places.
    Swap,
    /// The end comes early, in order.
    Cut,
}

/// Relays to `to`; the fault hits once, in the first connection, after so many octets, the way that `up` says.
pub fn between(to: SocketAddr, fault: Fault, up: bool, after: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut fault = fault;
        while let Ok((caller, _)) = listener.accept() {
            let callee = TcpStream::connect(to).unwrap();
            let (upwards, downwards) = if up { (fault, Fault::Nothing) } else { (Fault::Nothing, fault) };
            let (a, b) = (caller.try_clone().unwrap(), callee.try_clone().unwrap());
            std::thread::spawn(move || pass(caller, callee, upwards, after));
            std::thread::spawn(move || pass(b, a, downwards, after));
            fault = Fault::Nothing;
        }
    });
    address
}

fn pass(mut from: TcpStream, mut to: TcpStream, fault: Fault, after: usize) {
    const PIECE: usize = 100;
    let (mut fault, mut seen) = (fault, 0);
    // What is to be changed has to be together.
    let mut held: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 4_096];
    loop {
        let octets = from.read(&mut buffer).unwrap_or(0);
        held.extend_from_slice(&buffer[..octets]);
        let end = seen + held.len();
        if !matches!(fault, Fault::Nothing) && octets > 0 && end < after + 2 * PIECE {
            // Let go what is before the place, keep what is to be changed.
            let sure = after.saturating_sub(seen).min(held.len());
            if to.write_all(&held[..sure]).is_err() {
                return;
            }
            seen += sure;
            held.drain(..sure);
            continue;
        }
        if end >= after + 2 * PIECE {
            let at = after - seen.min(after);
            match std::mem::replace(&mut fault, Fault::Nothing) {
                Fault::Nothing => {}
                Fault::Flip => held[at] ^= 0x10,
                Fault::Lose => drop(held.remove(at)),
                Fault::Twice => {
                    let piece = held[at..at + PIECE].to_vec();
                    held.splice(at..at, piece);
                }
                Fault::Swap => held[at..at + 2 * PIECE].rotate_left(PIECE),
                Fault::Cut => {
                    let _ = to.write_all(&held[..at]);
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
            }
        }
        seen += held.len();
        if to.write_all(&held).is_err() || octets == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        held.clear();
    }
}
