//! Tickets issued and resolved a second, on one core.
//!
//! `cargo run --release -p carnet-keys --example throughput [SECONDS]`. Messages are made before
//! the clock starts; what is timed is the service alone, without network and disk.

use carnet_keys::{Config, Directory, KeyRing, Kms, Pattern, Rate, Rules, User};
use carnet_mikey::{Identity, Profile, Psk, Received, request_init};
use carnet_wire::{Random, SeededRandom};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: f64 = std::env::args().nth(1).map_or(Ok(2.0), |s| s.parse())?;
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

    let mut issue = || {
        let (pending, octets) =
            request_init(&profile, wall, &mut rng, &alice, b"alice", &alice_psk, &me, &bob);
        (pending, octets)
    };
    let (pending, first) = issue();
    let ticket = pending.response(&ask(&first).reply, wall)?;
    let requests: Vec<Vec<u8>> = (0..20_000).map(|_| issue().1).collect();
    let (_, offer) = ticket.offer(&profile, wall, &mut rng);
    let received = Received::parse(&profile, wall, &offer)?;
    let resolves: Vec<Vec<u8>> =
        (0..20_000).map(|_| received.resolve_init(wall, &mut rng, &bob, b"bob", &bob_psk, &me).1).collect();

    for (what, messages) in [("issued", &requests), ("resolved", &resolves)] {
        let start = Instant::now();
        let mut done = 0u32;
        for octets in messages {
            if ask(octets).audit.is_none() {
                return Err(format!("a message was refused after {done}").into());
            }
            done += 1;
            if start.elapsed() > Duration::from_secs_f64(seconds) {
                break;
            }
        }
        println!("{what}: {:.0} a second", f64::from(done) / start.elapsed().as_secs_f64());
    }
    Ok(())
}
