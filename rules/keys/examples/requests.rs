//! Tickets issued and resolved a second, on one core.
//!
//! `cargo run --release -p carnet-keys --example requests [ROUNDS]`. Messages are made before
//! the clock starts; what is timed is the service alone, without network and disk. The two kinds
//! take turns, and what counts is the time the thread was on a processor, so that other work on
//! the machine matters little.

use carnet_keys::{Config, Directory, KeyRing, Kms, Pattern, Rate, Rules, User};
use carnet_mikey::{Identity, Profile, Psk, Received, request_init};
use carnet_wire::{Random, SeededRandom};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Instant, SystemTime};

/// Messages of one kind in a round.
const MESSAGES: usize = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5), |s| s.parse())?;
    let mut rng = SeededRandom::new(1);
    let wall = SystemTime::now();
    let id = |s: &str| Identity::from_uri(s);
    let (alice, bob, me) = (id("sip:alice@x.example")?, id("sip:bob@x.example")?, id("sip:kms.x.example")?);
    let (alice_psk, bob_psk) = (Psk::generate(&mut rng), Psk::generate(&mut rng));
    let mut directory = Directory::default();
    for (name, psk) in [("alice", &alice_psk), ("bob", &bob_psk)] {
        directory.put_user(User {
            name: name.into(),
            identities: vec![Pattern::parse(&format!("sip:{name}@x.example"))?],
            psk: psk.duplicate(),
            revoked: false,
            tickets_not_before: None,
        })?;
    }
    let mut config = Config::new(me.clone());
    config.requests = Rate { burst: u32::MAX, per_second: 1e9 };
    config.replay_capacity = usize::MAX;
    let seed = rng.u64();
    let random = Box::new(SeededRandom::new(seed));
    let mut kms = Kms::new(config, directory, Rules::default(), KeyRing::default(), random, wall);
    let key = kms.make_key(wall);
    kms.install_key(key);
    let profile = Profile::default();
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut ask = |octets: &[u8]| kms.handle(wall, Instant::now(), source, octets);

    let issue =
        |rng: &mut SeededRandom| request_init(&profile, wall, rng, &alice, b"alice", &alice_psk, &me, &bob);
    let (pending, first) = issue(&mut rng);
    let ticket = pending.response(&ask(&first).reply, wall)?;
    let (_, offer) = ticket.offer(&profile, wall, &mut rng);
    let received = Received::parse(&profile, wall, &offer)?;

    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let requests: Vec<Vec<u8>> = (0..MESSAGES).map(|_| issue(&mut rng).1).collect();
        let resolves: Vec<Vec<u8>> = (0..MESSAGES)
            .map(|_| received.resolve_init(wall, &mut rng, &bob, b"bob", &bob_psk, &me).1)
            .collect();
        for (messages, times) in [requests, resolves].iter().zip(&mut times) {
            let start = on_processor()?;
            if messages.iter().any(|octets| ask(octets).audit.is_none()) {
                return Err("a message was refused".into());
            }
            times.push((on_processor()? - start) / MESSAGES as f64);
        }
    }
    for (what, times) in ["issued", "resolved"].iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        println!("{what}: {:.1} us each, {:.0} a second", median * 1e6, 1.0 / median);
    }
    Ok(())
}

/// Seconds that this thread has been on a processor.
fn on_processor() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = stat.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}
