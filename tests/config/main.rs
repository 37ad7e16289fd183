//! Configuration as its users have it: examples, the schema against a validator that is not ours, reloads of a process with a
//! call, secrets that the service manager hands over.

#![allow(clippy::unwrap_used)]

mod call;
mod credentials;
mod doors;
mod examples;
mod live;
mod process;
mod reload;
mod renewed;
