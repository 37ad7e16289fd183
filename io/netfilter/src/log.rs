//! Copies of the packets that begin and end our connections (SYN/ACK, FIN, RST): their sequence numbers
//! tell exactly how many octets passed, whatever was lost and repeated on the way (RFC 9293 §3.4).
//! `linux/netfilter/nfnetlink_log.h`.

mod segment;

use rustix::fd::{AsFd, BorrowedFd};

use crate::Error;
use crate::netlink::{ACK, Body, Socket, Writer, messages};
pub use segment::Segment;
pub(crate) use segment::tcp_of;

/// `NFNL_SUBSYS_ULOG` and `NFULNL_MSG_*`
const PACKET: u16 = 4 << 8;
const CONFIGURE: u16 = 4 << 8 | 1;
/// Groups that are tried; low ones are what people use.
const GROUPS: std::ops::Range<u16> = 30_000..30_256;
/// Of a packet: both headers with all their options.
const COPIED: u32 = 160;
/// Packets that are handed over together, and how long a packet waits for others: hundredths of a second.
const TOGETHER: u32 = 48;
const WAIT: u32 = 1;
/// Room that the kernel makes for those, octets: with what it says beside, a copy takes about 250.
const PACKED: u32 = 16 * 1024;

/// A socket that such packets are copied to.
#[derive(Debug)]
pub struct Log {
    socket: Socket,
    group: u16,
}

impl Log {
    /// Takes a group that nobody has.
    ///
    /// # Errors
    ///
    /// The kernel has no packet logs over netlink, or the process may not, or all groups are taken.
    pub fn open() -> Result<Self, Error> {
        Self::open_for(COPIED, TOGETHER)
    }

    /// One with other copies than those of ends and beginnings.
    pub(crate) fn open_for(copied: u32, together: u32) -> Result<Self, Error> {
        let mut log = Self { socket: Socket::open()?, group: GROUPS.start };
        loop {
            match log.configure(|w| w.attribute(1, &[1])) {
                Ok(()) => break,
                // It is another's: the kernel says so in one way or the other.
                Err(Error::Refused { .. } | Error::NotPermitted(_)) if log.group + 1 < GROUPS.end => {
                    log.group += 1;
                }
                Err(Error::Refused { .. }) => return Err(Error::Missing("packet logs over netlink")),
                Err(other) => return Err(other),
            }
        }
        log.configure(|w| {
            let mut mode = copied.to_be_bytes().to_vec();
            // NFULNL_COPY_PACKET
            mode.extend([2, 0]);
            w.attribute(2, &mode);
            if together > 1 {
                w.number(3, PACKED);
            }
            w.number(5, together);
            w.number(4, WAIT);
        })?;
        Ok(log)
    }

    fn configure(&mut self, inside: impl FnOnce(&mut Writer)) -> Result<(), Error> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.message(CONFIGURE, ACK, sequence, 0, self.group);
        inside(&mut writer);
        self.socket.send(&writer.finish())?;
        self.socket.answers(sequence, &mut |_, _| {})
    }

    /// The group, for [`crate::TableConfig`].
    #[must_use]
    pub fn group(&self) -> u16 {
        self.group
    }

    /// Hands over what has come, without waiting. `true`: some were lost since the last time, because nobody read.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub fn read(&mut self, take: &mut dyn FnMut(Segment)) -> Result<bool, Error> {
        self.packets(usize::MAX, &mut |packet| {
            if let Some(segment) = Segment::read(packet) {
                take(segment);
            }
        })
    }

    /// Hands over packets, as far as they were copied: what was received at most so often.
    pub(crate) fn packets(&mut self, most: usize, take: &mut dyn FnMut(&[u8])) -> Result<bool, Error> {
        let mut lost = false;
        for _ in 0..most {
            match self.socket.receive() {
                Ok(None) => return Ok(lost),
                Ok(Some(octets)) => {
                    for message in messages(octets).filter(|message| message.kind == PACKET) {
                        if let Body::Attributes { attributes, .. } = message.body
                            && let Some(packet) = attributes.find(9)
                        {
                            take(packet);
                        }
                    }
                }
                // ENOBUFS
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    lost = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(lost)
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
