//! Our own table: a fixed few rules, and maps and sets with one element a session.
//!
//! | hook | priority | chain | what |
//! |---|---|---|---|
//! | prerouting, output | dstnat - 1 | `call`, `call-local` | leads the first packet of a caller on, by the map `carry4`/`carry6` |
//! | prerouting | dstnat + 1 | `steer` | brings callers of a pinhole to a loop's listener, by the map `steer4`/`steer6` |
//! | input | 250 | `early` | copies and drops beginnings of connections to addresses in `early4`/`early6` ([`crate::EarlyLog`]) |
//! | forward | -150 | `fit` | bounds segments to what both ways take, where a connection begins |
//! | postrouting | srcnat - 1 | `leave` | gives it our address on the far side, from the same element |
//! | postrouting | srcnat + 1 | `watch` | holds, limits, marks what is to be; logs how connections begin and end |
//!
//! The element is found again in later hooks by what connection tracking keeps of a connection's first packet.
//!
//! Every packet of a session passes `steer`, `fit` and `watch`, so they are short: a packet that only goes on with its connection
//! is done with after a look at its TCP flags in each of the latter two. The rules that hold, limit and mark are there only while
//! a session needs them, each for itself, and `steer` only once something is steered.

mod open;
mod rules;
mod sets;
mod there;

use std::net::SocketAddr;

use rustix::fd::{AsFd, BorrowedFd};

use crate::netlink::{Body, Socket, Writer, messages};
use crate::{Error, Key, Rate, Translation, Way};
use there::There;

/// What a table is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableConfig {
    /// The table's name; another process with the same one is shut out while this one lives.
    pub name: String,
    /// Most elements in each map.
    pub size: u32,
    /// The group of packet logs ([`crate::Log`]).
    pub log_group: u16,
    /// The group for callers who come early ([`crate::EarlyLog`]). `None`: nobody is kept.
    pub early_group: Option<u16>,
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
    /// Nothing passes.
    pub held: bool,
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
    /// Who begins to call this address of ours from another host is kept, or no longer: the beginning of the
    /// connection is copied to the early group, and dropped. Whom a translation leads on is not, nor whom the host's filters drop.
    Keep(SocketAddr, bool),
    /// The gate of a session.
    Translate(Translation),
    /// The gate is shut for who comes now; connections that are up go on.
    Untranslate(Key),
    /// Nothing passes on connections that came through this element (dropped: TCP tries again), or it does again.
    Hold(Key, bool),
    /// Nothing that is said passes in one direction, not even that it was all (FIN): acknowledgements and resets do. Or it
    /// does again.
    Shut(Key, Way, bool),
    /// Limits what passes in one direction; `None`: no longer.
    Police(Key, Way, Option<Rate>),
    /// Sets DSCP (0 to 63) on what passes in one direction; `None`: as it came.
    Mark(Key, Way, Option<u8>),
}

/// Changes in one transaction.
const TOGETHER: usize = 512;

/// The table, as long as this lives ours alone.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
    config: TableConfig,
    waiting: Vec<Change>,
    there: There,
}

/// The rules that are there only while something needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Rules {
    steered: bool,
    terms: rules::Terms,
}

impl Table {
    /// Makes the table, or takes over the one that an earlier process left: its translations stay, its rules
    /// and everything else in it are made anew, all in one transaction.
    ///
    /// # Errors
    ///
    /// See [`Error`]; then nothing has changed.
    pub fn open(config: &TableConfig) -> Result<Opened, Error> {
        open::open(config)
    }

    /// Adds a change to the next transaction.
    pub fn push(&mut self, change: Change) {
        self.waiting.push(change);
    }

    /// Carries out what was put together, in order, as one transaction (of several hundred changes: as several); waits
    /// for the kernel's answer. If it refuses one, all the others are carried out without it.
    /// To take away what is not there is no error.
    ///
    /// # Errors
    ///
    /// The changes that were refused, and why; or what failed of the socket ([`Error::Socket`]).
    pub fn commit(&mut self) -> Result<Vec<(Change, Error)>, Error> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut refused = Vec::new();
        for part in waiting.chunks(TOGETHER) {
            self.attempt(part, &mut refused)?;
        }
        Ok(refused)
    }

    /// Tries all, and if that is refused each half.
    fn attempt(&mut self, changes: &[Change], refused: &mut Vec<(Change, Error)>) -> Result<(), Error> {
        let (batch, undo) = self.write(changes);
        let Some(batch) = batch else { return Ok(()) };
        match self.transact(batch) {
            Ok(()) => Ok(()),
            Err(Error::Refused { error, what }) => {
                self.there.take_back(undo);
                if let [one] = changes {
                    refused.push((*one, Error::Refused { what, error }));
                    return Ok(());
                }
                let (first, second) = changes.split_at(changes.len() / 2);
                self.attempt(first, refused)?;
                self.attempt(second, refused)
            }
            Err(other) => {
                self.there.take_back(undo);
                Err(other)
            }
        }
    }

    /// Takes the whole table away.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn remove(mut self) -> Result<(), Error> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.batch_begin(sequence);
        writer.message(rules::DELETE_TABLE, 0, sequence, rules::INET, 0);
        writer.text(1, &self.config.name);
        writer.batch_end(sequence);
        self.transact(writer.finish())
    }

    /// One transaction. The kernel carries it out while it is being sent; what it refuses can be read at once.
    fn transact(&mut self, batch: Vec<u8>) -> Result<(), Error> {
        self.socket.send(&batch)?;
        let mut worst = Ok(());
        while let Some(octets) = self.socket.receive()? {
            for message in messages(octets) {
                if let Body::Answer(number) = message.body
                    && number != 0
                    && worst.is_ok()
                {
                    worst = Err(refusal(number));
                }
            }
        }
        worst
    }
}

fn refusal(number: i32) -> Error {
    let error = std::io::Error::from_raw_os_error(number.saturating_neg());
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Error::NotPermitted(
            "changing the table: CAP_NET_ADMIN is missing, or it belongs to another process",
        ),
        _ => Error::Refused { what: "the table", error },
    }
}

impl AsFd for Table {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
