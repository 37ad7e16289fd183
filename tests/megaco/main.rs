//! Carnet's gateway and border live against an H.248 stack of another make: Erlang/OTP's megaco, as a
//! controller of our gateway and as a gateway of our border, over UDP and TCP, in text and BER, in
//! versions 1 to 3.
//!
//! Every process is on a host of its own (a network namespace), and everything that passes between the
//! two is read by Wireshark, which must find nothing malformed. Needs root, Erlang and tshark; without
//! them the tests say so and pass, unless `CARNET_REQUIRE_INTEROP` and `CARNET_REQUIRE_ROOT` are set.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod audits;
mod conference;
mod controlled;
mod controlling;
mod edge;
mod failover;
#[allow(dead_code)] // Shared with the tests that need all of it.
#[path = "../e2e/lab.rs"]
mod lab;
mod loss;
mod peer;
