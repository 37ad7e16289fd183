//! The servers: whatever comes goes back.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carnet_tls::Side;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::Result;
use crate::link::{Link, Seals};

const LISTENER: u64 = 0;

struct Session {
    link: Link,
    shaken: bool,
    /// What the caller has not taken yet.
    rest: VecDeque<u8>,
    ended: bool,
}

/// Arguments: `ADDRESS:PORT plain|sealed`. Answers `count` with the connections that there are now.
pub fn run(arguments: &[&str]) -> Result<()> {
    let [address, nature] = arguments else { return Err("server ADDRESS:PORT plain|sealed".into()) };
    let seals = if *nature == "sealed" { Some(Seals::new()?) } else { None };
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(address.parse()?), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.parse::<std::net::SocketAddr>()?.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    let listener: TcpListener = socket.into();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        if let Err(error) = echo(&listener, seals.as_ref(), &counted) {
            eprintln!("server: {error}");
            std::process::exit(1);
        }
    });
    crate::serve(|words| match words {
        ["count"] => Ok(count.load(Ordering::Relaxed).to_string()),
        _ => Err("count".into()),
    })
}

fn echo(listener: &TcpListener, seals: Option<&Seals>, count: &AtomicUsize) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut sessions = HashMap::new();
    let mut last = LISTENER;
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let name = event.data.u64();
            if name == LISTENER {
                while let Some(stream) = accept(listener)? {
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    let link = match seals {
                        Some(seals) => seals.link(stream, Side::Server)?,
                        None => Link::Plain(stream),
                    };
                    last += 1;
                    let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                    epoll::add(&epoll, link.stream().as_fd(), EventData::new_u64(last), interest)?;
                    let session = Session { link, shaken: false, rest: VecDeque::new(), ended: false };
                    sessions.insert(last, session);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            } else if let Some(session) = sessions.get_mut(&name)
                && !session.turn(&mut buffer)
            {
                sessions.remove(&name);
                count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

fn accept(listener: &TcpListener) -> Result<Option<std::net::TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        // One that went away before it was taken.
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Session {
    /// As far as it goes; whether there is more to come.
    fn turn(&mut self, buffer: &mut [u8]) -> bool {
        if !self.shaken {
            match self.link.shake() {
                Ok(done) => self.shaken = done,
                Err(_) => return false,
            }
            if !self.shaken {
                return true;
            }
        }
        loop {
            while !self.rest.is_empty() {
                match self.link.write(self.rest.as_slices().0) {
                    Ok(octets) => drop(self.rest.drain(..octets)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    Err(_) => return false,
                }
            }
            if self.ended {
                self.link.close();
                return false;
            }
            match self.link.read(buffer) {
                Ok(0) => self.ended = true,
                Ok(octets) => self.rest.extend(buffer.get(..octets).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // An idle session keeps no buffer.
                    self.rest = VecDeque::new();
                    return true;
                }
                Err(_) => return false,
            }
        }
    }
}
