//! One connection of a relay as the kernel sees it.

use carnet_tls::{Lent, NamedSocket};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;
use std::io::{self, Read, Write};
use std::net::IpAddr;

/// What the octets go through.
pub(super) enum Wire {
    Plain(Socket),
    Tls(Box<NamedSocket<Below>>),
}

/// The socket below TLS, which asks for more than it wants and asks again until there is nothing. Between
/// the read that came short and the kernel's next word there is nothing (epoll(7)), so that costs no call.
/// The end is announced once and may be behind what came short.
pub(super) struct Below {
    socket: Socket,
    dry: bool,
    ends: bool,
}

impl Below {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, dry: false, ends: false }
    }
}

impl Read for Below {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.dry {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (octets, _) = recv(&self.socket, &mut *buffer, RecvFlags::empty())?;
        self.dry = octets < buffer.len() && !self.ends;
        Ok(octets)
    }
}

impl Write for Below {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(send(&self.socket, octets, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The connection is being made.
    Connecting,
    /// TLS is.
    Shaking,
    Up,
}

pub(super) struct Link {
    pub(super) serial: u32,
    pub(super) wire: Wire,
    pub(super) stage: Stage,
    /// We connected.
    pub(super) ours: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The end of the stream is announced, once: reading goes on to it.
    pub(super) hangup: bool,
    /// In the list of those that are read in the next turn.
    pub(super) queued: bool,
    /// The listener that it came by, and where from, if somebody else connected.
    pub(super) accepted: Option<(usize, IpAddr)>,
}

impl Link {
    /// Somebody's connection, one of ours, or a link between threads.
    pub(super) fn new(wire: Wire, stage: Stage, accepted: Option<(usize, IpAddr)>) -> Self {
        Self {
            serial: 0,
            wire,
            stage,
            ours: stage == Stage::Connecting,
            readable: false,
            writable: stage != Stage::Connecting,
            hangup: false,
            queued: false,
            accepted,
        }
    }

    pub(super) fn socket(&self) -> &Socket {
        match &self.wire {
            Wire::Plain(socket) => socket,
            Wire::Tls(tls) => &tls.get_ref().socket,
        }
    }

    /// The kernel says that there is something to read, or an end, which [`Self::hangup`] has noted.
    pub(super) fn wake(&mut self) {
        self.readable = true;
        if let Wire::Tls(tls) = &mut self.wire {
            let below = tls.get_mut();
            (below.dry, below.ends) = (false, self.hangup);
        }
    }

    /// Reads once; `None` when there is nothing.
    pub(super) fn read(&mut self, buffer: &mut [u8], lent: &mut Lent) -> io::Result<Option<usize>> {
        loop {
            let read = match &mut self.wire {
                Wire::Plain(socket) => {
                    recv(&*socket, &mut *buffer, RecvFlags::empty()).map(|(n, _)| n).map_err(io::Error::from)
                }
                Wire::Tls(tls) => tls.read(buffer, lent),
            };
            match read {
                Ok(octets) => {
                    // epoll(7): a read that came short has emptied the socket.
                    let short = octets < buffer.len() && matches!(self.wire, Wire::Plain(_));
                    if short && octets > 0 && !self.hangup {
                        self.readable = false;
                    }
                    return Ok(Some(octets));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes once; how many octets were taken, 0 when the socket is full.
    pub(super) fn write(&mut self, octets: &[u8], lent: &mut Lent) -> io::Result<usize> {
        loop {
            let written = match &mut self.wire {
                Wire::Plain(socket) => send(&*socket, octets, SendFlags::NOSIGNAL).map_err(io::Error::from),
                Wire::Tls(tls) => tls.write(octets, lent).and_then(|written| {
                    // What is sealed may still wait.
                    self.writable = tls.flush()?;
                    Ok(written)
                }),
            };
            match written {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what is sealed and waits. False: the socket is full.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        if let Wire::Tls(tls) = &mut self.wire
            && self.writable
        {
            self.writable = tls.flush()?;
        }
        Ok(self.writable)
    }
}
