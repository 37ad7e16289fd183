//! Operating Carnet: configuration with errors that point, events as they are told, logs.

pub mod config;
pub mod log;
pub mod metrics;
pub mod records;
pub mod sessions;
mod told;

pub use told::Told;
