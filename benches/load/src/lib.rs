//! A load generator that checks every octet, and what benchmarks have in common.
//!
//! [`server`] and [`client`] are its two ends; what they send is [`content`]. [`calls`] are whole calls. [`outcome`] is the format in
//! which every benchmark that takes `--json` says its results, [`report`] puts them into a document, [`results`] keeps them, and [`process`] is what a child has used.

pub mod calls;
pub mod client;
pub mod content;
pub mod greeting;
pub mod hold;
pub mod latency;
pub mod outcome;
pub mod peer;
pub mod process;
pub mod program;
pub mod report;
pub mod results;
pub mod server;
mod session;
pub mod wire;

/// What goes wrong ends the program.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
