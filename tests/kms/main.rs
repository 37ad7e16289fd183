//! The key management service as a process: on a disk that fills, killed at any moment, and asked
//! by a program that shares no code with it.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod full_disk;
mod http;
mod killed;
mod service;
mod stranger;
