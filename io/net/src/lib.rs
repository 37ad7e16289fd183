//! Drivers that turn sockets and timers into machine inputs; media engines.

pub mod media;
