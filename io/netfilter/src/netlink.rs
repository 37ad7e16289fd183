//! Netlink as netfilter speaks it: messages of nested attributes (RFC 3549 §2.2, `linux/netfilter/nfnetlink.h`).
//!
//! Reading never trusts a length. Leaves out: extended acknowledgements.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

use crate::Error;

/// `NLM_F_*`
pub(crate) const REQUEST: u16 = 0x01;
pub(crate) const ACK: u16 = 0x04;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const CREATE: u16 = 0x400;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NESTED: u16 = 0x8000;
const TYPE: u16 = 0x3fff;
/// Of nlmsghdr and nfgenmsg.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// Messages put together.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    octets: Vec<u8>,
    start: usize,
}

impl Writer {
    /// Begins a message; the one before is ended.
    pub(crate) fn message(&mut self, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) {
        self.close();
        self.start = self.octets.len();
        self.octets.extend([0; 4]);
        self.octets.extend(kind.to_ne_bytes());
        self.octets.extend((flags | REQUEST).to_ne_bytes());
        self.octets.extend(sequence.to_ne_bytes());
        self.octets.extend([0; 4]);
        self.octets.extend([family, 0]);
        self.octets.extend(resource.to_be_bytes());
    }

    pub(crate) fn batch_begin(&mut self, sequence: u32) {
        self.message(BATCH_BEGIN, 0, sequence, 0, 10);
    }

    pub(crate) fn batch_end(&mut self, sequence: u32) {
        self.message(BATCH_END, 0, sequence, 0, 10);
    }

    fn close(&mut self) {
        if self.octets.len() > self.start {
            let length = u32::try_from(self.octets.len() - self.start).unwrap_or(0);
            if let Some(place) = self.octets.get_mut(self.start..self.start + 4) {
                place.copy_from_slice(&length.to_ne_bytes());
            }
        }
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.octets.extend(length.to_ne_bytes());
        self.octets.extend(kind.to_ne_bytes());
        self.octets.extend(value);
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        let mut octets = value.as_bytes().to_vec();
        octets.push(0);
        self.attribute(kind, &octets);
    }

    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub(crate) fn long(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.octets.len();
        self.octets.extend([0; 2]);
        self.octets.extend((kind | NESTED).to_ne_bytes());
        inside(self);
        let length = u16::try_from(self.octets.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.octets.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.close();
        self.octets
    }
}

/// Attributes, one after the other. What is too short for its length ends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, _) = self.0.split_at_checked(4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) fn find(mut self, wanted: u16) -> Option<&'a [u8]> {
        self.find_map(|(kind, value)| (kind == wanted).then_some(value))
    }

    /// What is nested in one.
    pub(crate) fn inside(self, wanted: u16) -> Option<Self> {
        self.find(wanted).map(Self)
    }

    pub(crate) fn number(self, wanted: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.find(wanted)?.try_into().ok()?))
    }

    pub(crate) fn long(self, wanted: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.find(wanted)?.try_into().ok()?))
    }
}

/// A message that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) sequence: u32,
    pub(crate) body: Body<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Body<'a> {
    /// An acknowledgement (0) or the number of an error.
    Answer(i32),
    /// The end of a list.
    Done,
    Attributes {
        family: u8,
        attributes: Attributes<'a>,
    },
    Other,
}

/// The messages in what was received.
pub(crate) fn messages(mut octets: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let word = |at: usize| -> Option<[u8; 4]> { octets.get(at..at + 4)?.try_into().ok() };
        let length = usize::try_from(u32::from_ne_bytes(word(0)?)).ok()?;
        let [k0, k1, ..] = word(4)?;
        let kind = u16::from_ne_bytes([k0, k1]);
        let sequence = u32::from_ne_bytes(word(8)?);
        let payload = octets.get(HEADER..length)?;
        let body = match kind {
            ERROR => Body::Answer(i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?)),
            DONE => Body::Done,
            OVERRUN => Body::Other,
            _ => match payload.split_at_checked(GENERIC) {
                Some((head, rest)) => Body::Attributes { family: head[0], attributes: Attributes(rest) },
                None => Body::Other,
            },
        };
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, sequence, body })
    })
}

/// A netlink socket of netfilter.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

/// The kernel answers while it is asked; this is for one that does not.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// Room for what is received at once: the kernel's largest piece of a list is 32 KiB.
const ROOM: usize = 64 * 1024;

impl Socket {
    pub(crate) fn open() -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = AddressFamily::NETLINK;
        let socket = net::socket_with(family, SocketType::RAW, flags, Some(netlink::NETFILTER));
        let socket = socket.map_err(|error| match error {
            rustix::io::Errno::PROTONOSUPPORT => Error::Missing("netfilter over netlink"),
            other => Error::Socket(other.into()),
        })?;
        net::bind(&socket, &SocketAddrNetlink::new(0, 0)).map_err(io::Error::from)?;
        // Beyond the usual limit where we may.
        let wanted = 4 << 20;
        let _ = sockopt::set_socket_send_buffer_size(&socket, wanted);
        if sockopt::set_socket_recv_buffer_size_force(&socket, wanted).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&socket, wanted);
        }
        Ok(Self { socket, sequence: 0, buffer: vec![0; ROOM].into_boxed_slice() })
    }

    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    pub(crate) fn send(&self, octets: &[u8]) -> io::Result<()> {
        net::sendto(&self.socket, octets, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    /// Waits for the answers to a question: hands over each, with its IP version, until the last.
    pub(crate) fn answers(
        &mut self,
        sequence: u32,
        take: &mut dyn FnMut(u8, Attributes<'_>),
    ) -> Result<(), Error> {
        match self.answers_to(sequence, 1, &mut |_, family, attributes| take(family, attributes))? {
            0 => Ok(()),
            number => Err(failure(number)),
        }
    }

    /// The same for so many questions with sequence numbers in a row, of which the last asks for an answer in any case.
    /// Hands over each with the number of its question, from 0. That something is not there is no error.
    pub(crate) fn answers_of(
        &mut self,
        first: u32,
        count: usize,
        take: &mut dyn FnMut(usize, u8, Attributes<'_>),
    ) -> Result<(), Error> {
        match self.answers_to(first, count, take)? {
            0 => Ok(()),
            number if io::Error::from_raw_os_error(number).kind() == io::ErrorKind::NotFound => Ok(()),
            number => Err(failure(number)),
        }
    }

    /// The first of the errors that is not about what is not there, or if there is none that of the last.
    fn answers_to(
        &mut self,
        first: u32,
        count: usize,
        take: &mut dyn FnMut(usize, u8, Attributes<'_>),
    ) -> Result<i32, Error> {
        let mut worst = 0;
        loop {
            // The kernel has nearly always answered while it was asked.
            let Some(octets) = self.receive()? else {
                let waiting = PollFd::new(&self.socket, PollFlags::IN);
                match poll(&mut [waiting], Some(&PATIENCE)) {
                    Ok(0) => return Err(Error::Unreadable("no answer")),
                    Ok(_) | Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(io::Error::from(error).into()),
                }
            };
            for message in messages(octets) {
                let index = distance(first, message.sequence);
                if index >= count {
                    continue;
                }
                match message.body {
                    Body::Done => return Ok(worst),
                    Body::Answer(number) => {
                        let number = number.saturating_neg();
                        let absent = io::Error::from_raw_os_error(number).kind() == io::ErrorKind::NotFound;
                        if worst == 0 && number != 0 && !absent {
                            worst = number;
                        }
                        if index + 1 == count {
                            return Ok(if worst == 0 { number } else { worst });
                        }
                    }
                    Body::Attributes { family, attributes } => take(index, family, attributes),
                    Body::Other => {}
                }
            }
        }
    }

    /// What has come; `None`: nothing.
    pub(crate) fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        match net::recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => Ok(self.buffer.get(..length)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// How many questions after `first` that one was asked; 0 is given to none.
fn distance(first: u32, sequence: u32) -> usize {
    let distance = sequence.wrapping_sub(first);
    let distance = if sequence < first { distance.wrapping_sub(1) } else { distance };
    usize::try_from(distance).unwrap_or(usize::MAX)
}

fn failure(number: i32) -> Error {
    let error = io::Error::from_raw_os_error(number);
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::NotPermitted("asking netfilter"),
        _ => Error::Refused { what: "a question", error },
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
