//! Our own table: a fixed few rules, and maps and sets with one element a session.

use std::net::SocketAddr;

use rustix::fd::{AsFd, BorrowedFd};

use crate::{Error, Key, Rate, Translation, Way};

/// What a table is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// The table's name; another process with the same one is shut out while this one lives.
    pub name: String,
    /// Most elements in each map.
    pub size: u32,
    /// The group of packet logs ([`crate::Log`]).
    pub log_group: u16,
}

/// A table that is there now.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub table: Table,
    /// What an earlier process left in it. All else it had (who may call a listener, and the like) is gone.
    pub left: Vec<Held>,
}

/// An element that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The translation.
    pub translation: Translation,
}

/// What is to be changed. Changes are put together and done at once by [`Table::commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Callers of this address of ours, from wherever, come to the transparent listener on that port. If there
    /// is a translation for the caller, that goes first.
    Steer {
        /// Where they call.
        local: SocketAddr,
        /// The listener's port, on the same address.
        listener: u16,
    },
    /// No longer.
    Unsteer(SocketAddr),
    /// The gate of a session.
    Translate(Translation),
    /// The gate is shut for who comes now; connections that are up go on.
    Untranslate(Key),
    /// Nothing passes on connections that came through this element (dropped: TCP tries again), or it does again.
    Hold(Key, bool),
    /// Limits what passes in one direction; `None`: no longer.
    Police(Key, Way, Option<Rate>),
    /// Sets DSCP (0 to 63) on what passes in one direction; `None`: as it came.
    Mark(Key, Way, Option<u8>),
}

/// The table, as long as this lives ours alone.
#[derive(Debug)]
pub struct Table {}

impl Table {
    /// Makes the table, or takes over the one that an earlier process left: its translations stay, its rules
    /// and everything else in it are made anew, all in one transaction.
    ///
    /// # Errors
    ///
    /// See [`Error`]; then nothing has changed.
    pub fn open(_config: &TableConfig) -> Result<Opened, Error> {
        Err(Error::Missing("table yet"))
    }

    /// Adds a change to the next transaction.
    pub fn push(&mut self, _change: Change) {}

    /// Carries out what was put together, in order, as one transaction; waits for the kernel's answer (some
    /// tens of microseconds and five for each change). If it refuses one, all the others are carried out without it.
    /// To take away what is not there is no error.
    ///
    /// # Errors
    ///
    /// The changes that were refused, and why; or what failed of the socket ([`Error::Socket`]).
    pub fn commit(&mut self) -> Result<Vec<(Change, Error)>, Error> {
        Ok(Vec::new())
    }

    /// Takes the whole table away.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn remove(self) -> Result<(), Error> {
        Ok(())
    }
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unimplemented!("the netlink socket")
    }
}
