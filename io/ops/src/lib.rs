//! Operating Carnet: configuration with errors that point, events as they are told, logs.

pub mod config;
pub mod log;
pub mod metrics;
mod told;

pub use told::Told;
