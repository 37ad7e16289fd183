//! Operating Carnet: configuration with errors that point, and logs.

pub mod config;
pub mod log;
