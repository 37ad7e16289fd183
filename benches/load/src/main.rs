//! `carnet-load`: load for relays, gateways and borders, of which every octet is checked.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    carnet_load::program::run(&words, &[])
}
