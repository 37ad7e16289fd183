//! A deterministic simulation of gateway control: two borders, three gateways and their telephones
//! on virtual time, everything drawn from one seed.
//!
//! Every H.248 message is encoded to octets and decoded again; on its way it may be lost, doubled,
//! delayed or overtaken. Links break, nodes crash and start again, gateways are handed over, retire
//! and run out of ports. Then the network heals, time runs on, and what must hold is checked: see
//! `books`. A run that fails says its seed and what happened last; the same seed is the same run.
//!
//! * `setup`: what a seed draws before the run.
//! * `world`: the clock and everything that happens.
//! * `faults`: what goes wrong, and when; `forgery`: what should not be there.
//! * `network`, `gateways`, `borders`, `engine`, `phones`: the parts.
//!
//! Not here: sockets and real time (`io/`), the media themselves.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests only: a panic is a finding")]

mod books;
mod borders;
mod dice;
mod engine;
mod faults;
mod forgery;
mod gateways;
mod mutation;
mod network;
mod phones;
mod setup;
mod trace;
mod world;

pub use books::Violation;
pub use mutation::Mutation;
pub use setup::{Noise, Setup};
pub use world::{Report, run};
