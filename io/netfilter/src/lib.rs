//! Address translation in the kernel, spoken over netlink: our own nftables table, connection tracking,
//! copies of the packets that begin and end connections.
//!
//! Nothing here decides anything, nothing waits: each socket has a descriptor for an event loop. The
//! engine that uses it is `carnet-net`'s.
//!
//! * [`Table`]: one table of our own, `inet carnet-NAME`. Its rules are a fixed few; a session is one
//!   element of a map. It outlives the process, and the next one takes it over.
//! * [`Conntrack`]: counters of connections, their end, all there are.
//! * [`Log`]: SYN/ACK, FIN and RST of our connections, for exact counters and for who came and left.
//! * [`EarlyLog`] and [`PutBack`]: beginnings of connections that came too early, kept and put back.
//! * [`provoke`]: has a peer find out that its connection is gone.
//! * [`lacks`]: what the host has to have.
//!
//! Leaves out: everything that is not ours. No table, rule, mark or label of others is read or touched.

mod address;
mod conntrack;
mod early;
mod expression;
mod host;
mod log;
mod netlink;
mod provoke;
mod table;

use std::net::{IpAddr, SocketAddr};

pub use conntrack::{Conntrack, Entry, State};
pub use early::{Early, EarlyLog, PutBack};
pub use host::{Lack, lacks};
pub use log::{Log, Segment};
pub use provoke::provoke;
pub use table::{Change, Held, Opened, Table, TableConfig};

/// Whose packets: those that come from this address to one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The caller, from any port.
    pub source: IpAddr,
    /// Where it calls. Of the same IP version.
    pub local: SocketAddr,
}

/// One element: a caller's connection is led on to `to`, as if it came from `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// Whose packets.
    pub key: Key,
    /// Our own address on the far side.
    pub from: SocketAddr,
    /// The peer on the far side. All of one IP version.
    pub to: SocketAddr,
}

/// Octets a second in one direction. What is more is dropped, and TCP slows down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Octets a second, headers included.
    pub octets_per_second: u64,
    /// Octets that may pass at once.
    pub burst: u32,
}

/// One of the two directions of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the caller to the callee.
    Forth,
    /// Back.
    Back,
}

/// A connection as its caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The caller.
    pub caller: SocketAddr,
    /// Whom it called: one of our addresses.
    pub local: SocketAddr,
}

impl Flow {
    /// The element that it came through.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { source: self.caller.ip(), local: self.local }
    }
}

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not (`CAP_NET_ADMIN`), or the table belongs to another one that runs.
    #[error("not permitted: {0}")]
    NotPermitted(&'static str),
    /// The kernel has no such part.
    #[error("the kernel has no {0}")]
    Missing(&'static str),
    /// The kernel refused what it was told: our fault, or a kernel that is too old.
    #[error("{what}: {error}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        error: std::io::Error,
    },
    /// What the kernel wrote cannot be read.
    #[error("an answer of the kernel cannot be read: {0}")]
    Unreadable(&'static str),
    /// A socket failed.
    #[error(transparent)]
    Socket(#[from] std::io::Error),
}
