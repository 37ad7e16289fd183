//! The console in a browser.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.
