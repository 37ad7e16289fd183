//! One listener for all calls, where what is between knows only one address of callees: a connection belongs to the call
//! whose path its first request names (RFC 4975 §5.4).

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::wire::Poll;

/// Tokens of connections that belong to no call yet have this bit; the listener's is the bit alone.
pub const STRAY: u64 = 1 << 63;
/// Octets in which the path must have come.
const LONGEST: usize = 4_096;

/// The listener, and connections that have not said whose they are.
pub struct Door {
    listener: TcpListener,
    strays: HashMap<u64, (TcpStream, Vec<u8>)>,
    next: u64,
}

/// A connection that has said whose it is: the path, the connection, what was read from it.
pub type Claimed = (String, TcpStream, Vec<u8>);

impl Door {
    /// Listens.
    ///
    /// # Errors
    ///
    /// If the address is not to be had.
    pub fn open(address: SocketAddr, poll: &Poll) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let listener = socket.into();
        poll.add(&listener, STRAY, false)?;
        Ok(Self { listener, strays: HashMap::new(), next: STRAY })
    }

    /// Where.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes connections that came.
    pub fn answer(&mut self, poll: &Poll) {
        while let Ok((tcp, _)) = self.listener.accept() {
            self.next += 1;
            let ready = tcp.set_nonblocking(true).and_then(|()| tcp.set_nodelay(true));
            if ready.and_then(|()| poll.add(&tcp, self.next, true)).is_ok() {
                self.strays.insert(self.next, (tcp, Vec::new()));
            }
        }
    }

    /// Reads from a connection until it says whose it is; one that ends or says something else is dropped, and its call
    /// misses it.
    pub fn hear(&mut self, token: u64) -> Option<Claimed> {
        let (tcp, octets) = self.strays.get_mut(&token)?;
        let mut buffer = [0; LONGEST];
        let lasts = match tcp.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                octets.extend_from_slice(buffer.get(..length).unwrap_or_default());
                octets.len() <= 2 * LONGEST
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        let path = path_in(octets);
        if path.is_none() && lasts {
            return None;
        }
        let (tcp, octets) = self.strays.remove(&token)?;
        Some((path?, tcp, octets))
    }
}

/// The last URI of a first To-Path.
fn path_in(octets: &[u8]) -> Option<String> {
    const NAME: &str = "\r\nTo-Path: ";
    let text = String::from_utf8_lossy(octets.get(..octets.len().min(LONGEST))?);
    let (line, _) = text.split_once(NAME)?.1.split_once("\r\n")?;
    Some(line.rsplit(' ').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_first_request_is_found() {
        let request =
            b"MSRP a SEND\r\nTo-Path: msrp://r:1/x;tcp msrp://b:2/y;tcp\r\nFrom-Path: msrp://a:1/z;tcp\r\n";
        assert_eq!(path_in(request).as_deref(), Some("msrp://b:2/y;tcp"));
        assert_eq!(path_in(&request[..40]), None, "not yet");
        assert_eq!(path_in(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(path_in(b""), None);
    }
}
