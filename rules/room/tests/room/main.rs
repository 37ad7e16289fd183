//! A room driven by sessions of our own MSRP endpoint, in memory, and by octets that none would write.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod bulk;
mod chat;
mod harness;
mod history;
mod hostile;
mod lost;
mod names;
mod notices;
mod random;
mod slow;
