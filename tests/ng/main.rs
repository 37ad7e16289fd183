//! A gateway that is steered by other people's SIP servers: Kamailio with its rtpengine module, sipp, and
//! Carnet's clients, with a real rtpengine beside it.
//!
//! Needs root; without it the tests say so and pass, unless `CARNET_REQUIRE_ROOT` is set.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod calls;
mod clients;
mod shape;
