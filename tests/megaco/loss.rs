//! UDP that drops, doubles, delays and reorders, between two stacks of different makes.

use crate::controlled::{Scene, controller_address};
use crate::lab::Lab;
use crate::peer::{PATIENCE, Peer, Wire, each, one};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Between the two: whoever sends to the front is relayed to `to`, and back.
pub struct BadLine {
    stop: Arc<AtomicBool>,
    pub dropped: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Of a hundred datagrams.
const DOUBLED: u32 = 15;
/// Longest delay, milliseconds: what is sent later may arrive earlier.
const DELAY: u32 = 60;

impl BadLine {
    /// Makes one on `host` that drops so many of a hundred datagrams.
    pub fn new(lab: &Lab, host: &str, front: SocketAddr, to: SocketAddr, drops: u32, seed: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let dropped = Arc::new(AtomicU32::new(0));
        let (enter, (over, lost)) = (lab.door(host), (stop.clone(), dropped.clone()));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            enter();
            let front_socket = UdpSocket::bind(front).expect("the front");
            let back = UdpSocket::bind((front.ip(), 0)).expect("the back");
            back.connect(to).expect("the other side");
            for socket in [&front_socket, &back] {
                socket.set_nonblocking(true).unwrap();
            }
            ready.send(()).unwrap();
            relay(&front_socket, &back, (drops, seed), &over, &lost);
        });
        is_ready.recv_timeout(PATIENCE).expect("the line is up");
        Self { stop, dropped, thread: Some(thread) }
    }
}

impl Drop for BadLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn relay(
    front: &UdpSocket,
    back: &UdpSocket,
    (drops, seed): (u32, u32),
    over: &AtomicBool,
    lost: &AtomicU32,
) {
    let mut state = seed;
    let mut random = move |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let mut client = None;
    let mut waiting: Vec<(Instant, bool, Vec<u8>)> = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !over.load(Ordering::Relaxed) {
        let mut take = |to_back: bool, datagram: &[u8]| {
            if random(100) < drops {
                lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            for _ in 0..1 + u32::from(random(100) < DOUBLED) {
                let due = Instant::now() + Duration::from_millis(random(DELAY).into());
                waiting.push((due, to_back, datagram.to_vec()));
            }
        };
        while let Ok((length, from)) = front.recv_from(&mut buffer) {
            client = Some(from);
            take(true, &buffer[..length]);
        }
        while let Ok(length) = back.recv(&mut buffer) {
            take(false, &buffer[..length]);
        }
        let now = Instant::now();
        waiting.retain(|(due, to_back, datagram)| {
            if *due > now {
                return true;
            }
            let _ = match (to_back, client) {
                (true, _) => back.send(datagram),
                (false, Some(client)) => front.send_to(datagram, client),
                (false, None) => Ok(0),
            };
            false
        });
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Contexts are made, changed, audited and ended, several at a time: each once and none left over.
fn many_contexts(wire: Wire, seed: u32) {
    const CONTEXTS: usize = 24;
    const AT_ONCE: usize = 8;
    let Some(mut scene) = Scene::new(wire, &["mgc1"]) else { return };
    scene.lab.join("line", "control", "192.0.2.50/24");
    let port = wire.port();
    let address = controller_address(0);
    scene.lab.edit("agw.toml", &format!("{address}:{port}"), &format!("192.0.2.50:{port}"));
    let front = SocketAddr::new("192.0.2.50".parse().unwrap(), port);
    let to = SocketAddr::new(address.parse().unwrap(), port);
    let line = BadLine::new(&scene.lab, "line", front, to, 20, seed);
    let mut mgc = scene.controller(0, "mgc1");
    scene.start_gateway();
    mgc.hears(&scene.lab, "asked", "MT=RS");
    let lab = &mut scene.lab;
    // The reply to its registration may be lost, and then it is not there yet (error 505).
    let start = Instant::now();
    while !mgc.ask(lab, "C=-{AV=ROOT{AT{PG}}}").contains("PG{") {
        assert!(start.elapsed() < PATIENCE, "it never registers");
    }

    let side = |realm: &str| {
        format!("A=ip/1/{realm}/${{M{{O{{ipdc/realm={realm}}},L{{\nv=0\nc=IN IP4 $\nm=- $ TCP -\n}}}}}}")
    };
    let add = format!("C=${{{},{}}}", side("access"), side("core"));
    for _ in 0..CONTEXTS / AT_ONCE {
        let added = all(lab, &mut mgc, vec![add.clone(); AT_ONCE]);
        let made: Vec<_> = added
            .iter()
            .map(|answer| {
                let ids = each(answer, "A=");
                assert_eq!(ids.len(), 2, "{wire:?}: {answer}");
                (one(answer, "C="), ids[0], ids[1])
            })
            .collect();
        let modify = |(context, access, _): &(&str, &str, &str)| {
            format!("C={context}{{MF={access}{{M{{O{{MO=SR,ipdc/realm=access}}}}}}}}")
        };
        for answer in all(lab, &mut mgc, made.iter().map(modify).collect()) {
            assert!(answer.contains("MF=") && !answer.contains("ER="), "{wire:?}: {answer}");
        }
        let subtract =
            |(context, access, core): &(&str, &str, &str)| format!("C={context}{{S={access},S={core}}}");
        for answer in all(lab, &mut mgc, made.iter().map(subtract).collect()) {
            assert!(answer.matches("S=").count() == 2 && !answer.contains("ER="), "{wire:?}: {answer}");
        }
    }
    let left = mgc.ask(lab, "C=*{AV=*{AT{}}}");
    assert!(left.contains("ER=431"), "{wire:?}: {left}");
    // At most once: a repeated Add would have made more.
    let log = lab.output("agw", "err");
    assert_eq!(log.matches(" added gateway=").count(), 2 * CONTEXTS, "{wire:?}");
    let dropped = line.dropped.load(Ordering::Relaxed);
    assert!(dropped > 10, "{wire:?}: the line dropped {dropped}");
    eprintln!("{wire:?}: {CONTEXTS} contexts over a line that dropped {dropped} datagrams");
    scene.look(100);
}

/// Asks all at once; the answers in order.
fn all(lab: &mut Lab, mgc: &mut Peer, actions: Vec<String>) -> Vec<String> {
    let tags: Vec<_> = actions.iter().map(|actions| mgc.send(lab, actions)).collect();
    tags.iter().map(|tag| mgc.answer(lab, tag)).collect()
}

#[test]
fn contexts_over_a_bad_line() {
    for (seed, encoding, version) in [(1, "compact", 3), (2, "pretty", 1), (3, "ber", 3), (4, "compact", 2)] {
        many_contexts(Wire::new("udp", encoding, version), seed);
    }
}
