//! A gateway that is steered by other people's SIP servers: Kamailio with its rtpengine module, sipp, and
//! Carnet's clients, with a real rtpengine beside it.
//!
//! Needs root; without it the tests say so and pass, unless `CARNET_REQUIRE_ROOT` is set.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod calls;
mod calls_audio;
mod calls_ends;
mod calls_forked;
mod calls_kinds;
mod calls_nat;
mod calls_refused;
mod clients;
mod clients_ends;
mod clients_lab;
mod clients_restarts;
#[allow(dead_code)] // Shared with the tests that need all of it.
#[path = "../e2e/lab.rs"]
mod lab;
mod lab_kamailio;
#[allow(dead_code)] // Shared with the tests that need all of it.
#[path = "../access/nat_lab.rs"]
mod nat_lab;
#[allow(dead_code)] // Shared with the tests that need all of it.
#[path = "../e2e/network.rs"]
mod network;
mod shape;
