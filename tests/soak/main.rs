//! What only shows after long: random traffic with both ends checking every octet, very many sessions one after
//! the other, a gateway that is killed again and again. Over each engine, IPv4 and IPv6.
//!
//! Short in a normal run. For hours:
//!
//! * `CARNET_SOAK_SECONDS`: of random traffic over each engine (4);
//! * `CARNET_SOAK_SESSIONS`: opened, used and closed over each engine (2,000);
//! * `CARNET_SOAK_KILLS`: of each gateway (4);
//! * `CARNET_SOAK_WAYS`: only these engines, of `relay,steered,kernel`;
//! * `CARNET_SOAK_SEED`: what is drawn follows from it (else from the clock; it is told).
//!
//! Needs root: without it the tests are skipped, unless `CARNET_REQUIRE_ROOT` is set.

#![allow(clippy::unwrap_used, reason = "a test")]

mod churn;
mod kills;
mod sealed;
mod traffic;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use carnet_growth::lab::{FAR, address};
use carnet_growth::{Child, Lab};

/// The engines, or those of them that were asked for. One that the host does not allow is left out, unless
/// `CARNET_REQUIRE_ROOT` is set.
fn ways(lab: &Lab) -> Vec<String> {
    let asked = std::env::var("CARNET_SOAK_WAYS");
    let any = asked.is_err() && std::env::var_os("CARNET_REQUIRE_ROOT").is_none();
    let names = asked.unwrap_or_else(|_| "relay,steered,kernel".to_owned());
    let mut ways: Vec<_> = names.split(',').map(str::to_owned).collect();
    ways.retain(|way| {
        let started = lab.gateway.start(&["gateway", way, "1", "1", "4"]);
        let started = started.and_then(Child::finish);
        let there = started.is_ok() || !any;
        if !there {
            eprintln!("skipped: {way}: {started:?}");
        }
        there
    });
    ways
}

fn lab() -> Option<Lab> {
    let lab = Lab::make(Path::new(env!("CARGO_BIN_EXE_carnet-growth"))).unwrap();
    if lab.is_none() {
        eprintln!("skipped: network namespaces need root and iproute2");
    }
    lab
}

/// A number from the environment.
fn asked(name: &str, short: u64) -> u64 {
    std::env::var(name).map_or(short, |text| text.parse().unwrap())
}

fn seed() -> u64 {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let seed = asked("CARNET_SOAK_SEED", u64::try_from(clock).unwrap() & 0xff_ffff);
    eprintln!("CARNET_SOAK_SEED={seed}");
    seed
}

fn gateway(lab: &Lab, way: &str, v6: bool) -> Child {
    lab.gateway.start(&["gateway", way, "1", "1", if v6 { "6" } else { "4" }]).unwrap()
}

/// A listener's or server's address on its host.
fn at(port: u16, v6: bool) -> String {
    std::net::SocketAddr::new(address(FAR, v6).unwrap(), port).to_string()
}

/// Numbers of an answer.
fn numbers(said: &str) -> Vec<u64> {
    said.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Waits for a state that comes at an unknown time.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
