//! Copies of the packets that begin and end our connections (SYN/ACK, FIN, RST): their sequence numbers
//! tell exactly how many octets passed, whatever was lost and repeated on the way (RFC 9293 §3.4).

use std::net::SocketAddr;

use rustix::fd::{AsFd, BorrowedFd};

use crate::Error;

/// A TCP segment, with the addresses that it leaves us with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number, if there is one.
    pub acknowledgement: Option<u32>,
    /// SYN.
    pub syn: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
    /// Octets of payload.
    pub payload: u32,
    /// It has the timestamps option (RFC 7323 §3): 12 octets in each packet.
    pub timestamps: bool,
}

/// A socket that such packets are copied to.
#[derive(Debug)]
pub struct Log {}

impl Log {
    /// Takes a group that nobody has.
    ///
    /// # Errors
    ///
    /// The kernel has no packet logs over netlink, or the process may not, or all groups are taken.
    pub fn open() -> Result<Self, Error> {
        Err(Error::Missing("packet log yet"))
    }

    /// The group, for [`crate::TableConfig`].
    #[must_use]
    pub fn group(&self) -> u16 {
        0
    }

    /// Hands over what has come, without waiting. `true`: some were lost since the last time, because nobody read.
    ///
    /// # Errors
    ///
    /// The socket failed.
    pub fn read(&mut self, _take: &mut dyn FnMut(Segment)) -> Result<bool, Error> {
        Ok(false)
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unimplemented!("the netlink socket")
    }
}
