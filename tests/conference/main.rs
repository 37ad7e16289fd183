//! A conference server, its media servers and its members as processes.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod client;
mod faults;
mod floors;
mod join;
mod member;
mod policy;
mod protection;
mod relay;
mod reload;
mod stage;
mod stranger;
mod watcher;
