//! The console in a browser: Chromium, driven by its WebDriver, looks at networks that run on this machine's loopback.
//!
//! Without Chromium the tests say so and pass, unless `CARNET_REQUIRE_INTEROP` is set. `CARNET_SCREENSHOTS=DIR` keeps pictures.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod browser;
mod calls;
mod faults;
mod hostile;
mod many;
mod network;
mod pages;
mod reloaded;
mod secure;
mod several;
mod together;
mod watched;
