//! Borders that are killed, or told to end, and started again in the middle of calls, every role on a host of its
//! own: calls go on and end in order, and nothing is left on gateways.
//!
//! Needs root for network namespaces; without it the tests say so and pass, unless `CARNET_REQUIRE_ROOT` is set.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod connections;
mod dialogs;
mod disk;
#[allow(dead_code)] // Shared with the tests that need all of it.
#[path = "../e2e/lab.rs"]
mod lab;
mod load;
#[allow(dead_code)] // As above.
#[path = "../e2e/network.rs"]
mod network;
mod rtp;
#[allow(dead_code)] // As above.
#[path = "../e2e/sealed.rs"]
mod sealed;
mod stage;
mod terminal;
mod transfer;
mod versions;
