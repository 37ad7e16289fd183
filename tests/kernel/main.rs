//! Calls whose octets the kernel carries: `carnet run` and `carnet ue` on hosts of their own, with gateways that are
//! killed and started again in the middle.
//!
//! Needs root, nftables in the kernel, and forwarding in network namespaces; without root the tests say so and pass,
//! unless `CARNET_REQUIRE_ROOT` is set.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod carried;
mod engines;
mod killed;
#[allow(dead_code)] // Shared with the tests that need all of it.
#[path = "../e2e/lab.rs"]
mod lab;
#[allow(dead_code)] // As above.
#[path = "../e2e/network.rs"]
mod network;
mod reload;
mod usual;
mod ways;
