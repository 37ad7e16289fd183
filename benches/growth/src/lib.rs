//! Many sessions through a gateway, from outside: the hosts, the programs on them, and what they use.
//!
//! Three hosts made of network namespaces ([`Lab`]): callers, gateway, servers. On each runs this program in one of
//! its roles ([`role`]), told what to do line by line ([`Child`]). The gateway is the media engine of `carnet-net` with
//! pinholes made as the rules make them; the H.248 that asks for them is left out.

#![allow(clippy::missing_errors_doc, reason = "one error for all: what failed, in words")]

pub mod caller;
pub mod child;
pub mod cost;
pub mod gateway;
pub mod lab;
pub mod link;
pub mod server;
pub mod stage;
pub mod talk;

use std::error::Error;
use std::io::{BufRead, Write};

pub use child::Child;
pub use lab::Lab;
pub use stage::{Stage, Way};

/// What failed, in words.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The roles of the program, by their first word: `caller`, `server`, `talker`, `listener`, `gateway`. `None`: it is none of them.
pub fn role(words: &[&str]) -> Option<Result<()>> {
    match words {
        ["caller", rest @ ..] => Some(caller::run(rest)),
        ["server", rest @ ..] => Some(server::run(rest)),
        ["talker", rest @ ..] => Some(talk::call(rest)),
        ["listener", rest @ ..] => Some(talk::listen(rest)),
        ["gateway", rest @ ..] => Some(gateway::run(rest)),
        _ => None,
    }
}

/// Answers the lines of standard input, each with one line, until it ends.
pub(crate) fn serve(mut answer: impl FnMut(&[&str]) -> Result<String>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match answer(&words) {
            Ok(said) => writeln!(out, "ok {said}")?,
            Err(error) => writeln!(out, "failed {words:?}: {error}")?,
        }
    }
    Ok(())
}
