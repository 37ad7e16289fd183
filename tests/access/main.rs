//! The access edge as it is: translators of addresses, clients that end TLS at the edge, and people who
//! mean harm. Every role is a process on a host of its own (a network namespace).
//!
//! Needs root; without it the tests say so and pass, unless `CARNET_REQUIRE_ROOT` is set.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod edge;
mod hostile;
#[allow(dead_code)] // Shared with the tests that need all of it.
#[path = "../e2e/lab.rs"]
mod lab;
mod nat;
mod nat_conference;
mod nat_lab;
mod nat_operators;
mod nat_setup;
#[allow(dead_code)] // Shared with the tests that need all of it.
#[path = "../e2e/network.rs"]
mod network;
