//! A load generator that checks every octet, and what benchmarks have in common.
//!
//! [`outcome`] is the format in which every benchmark that takes `--json` says its results, [`process`] what a
//! child has used.

pub mod outcome;
pub mod process;

/// What goes wrong ends the program.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
