//! The key management service as a process: on a disk that fills, and killed at any moment.


#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod full_disk;
mod http;
mod killed;
mod service;
