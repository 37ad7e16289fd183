//! Durable state: redb tables for keys, users and audit records, [small records](Kv) of other roles, and a
//! [journal](Journal) of what only has to survive the process.
//!
//! What a method of the tables has returned `Ok` for is on disk and survives the process being killed at any
//! moment. When the disk is full or fails, the caller gets the error, what was acknowledged
//! before stays, and the next call opens the database again. Keys are
//! [sealed](RootKey) with a key that is not in the database.
//!
//! Left out: replication, and telling an old copy of the file from the current one.

mod codec;
mod error;
mod journal;
mod kv;
mod root;
mod store;
mod syncing;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use journal::{Found, Journal};
pub use kv::{Change, Kv};
pub use root::RootKey;
pub use store::{Contents, Store};
pub use syncing::Syncs;
