//! Connection tracking: counters, the end of connections.

use std::net::SocketAddr;

use crate::{Error, Flow};

/// How far a TCP connection is, as connection tracking sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A SYN, and perhaps its answer.
    Opening,
    /// Up.
    Established,
    /// One side or both have sent FIN.
    Closing,
    /// Over: both FINs are acknowledged, or a RST came.
    Closed,
}

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// As the caller sees it.
    pub flow: Flow,
    /// Where its packets go on to, and from which of our addresses: as the callee sees it.
    pub to: SocketAddr,
    /// Our address on the far side.
    pub from: SocketAddr,
    /// How far it is.
    pub state: State,
    /// From the caller: packets and their octets, with IP and TCP headers. Zero where the host does not count
    /// (`nf_conntrack_acct`).
    pub forth: (u64, u64),
    /// From the callee.
    pub back: (u64, u64),
}

/// A socket for questions about connections.
#[derive(Debug)]
pub struct Conntrack {}

impl Conntrack {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// The kernel has no connection tracking over netlink, or the process may not.
    pub fn open() -> Result<Self, Error> {
        Err(Error::Missing("connection tracking yet"))
    }

    /// One connection; `None`: there is none.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn get(&mut self, _flow: &Flow) -> Result<Option<Entry>, Error> {
        Ok(None)
    }

    /// Forgets one. What comes for it afterwards is no longer translated. Not there: no error.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn delete(&mut self, _flow: &Flow) -> Result<(), Error> {
        Ok(())
    }

    /// All TCP connections that have both addresses translated, handed over one at a time.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn each(&mut self, _take: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        Ok(())
    }
}
