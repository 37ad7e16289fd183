//! The gateway: a media engine with pinhole pairs, as the rules would make them.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use carnet_gateway::media::{Command, Engine, Event, Family, Gate, Pinhole, Role, Settings};
use carnet_net::media::{EngineConfig, EngineHandle, Events, KernelConfig, MediaEngine, Mode, Realm, Timers};

use crate::Result;
use crate::cost::Cpu;
use crate::lab::{CALLER, FAR, NEAR};

/// Reservations that may be unanswered: no more than the queues of the engine hold.
const WINDOW: u64 = 2_048;
/// Commands at once, where there is one for each pinhole.
const AT_ONCE: usize = 256;
/// How long the engine may be silent.
const PATIENCE: Duration = Duration::from_secs(120);
/// The ports of each address that pinholes are on.
const PORTS: std::ops::RangeInclusive<u16> = 2_000..=61_999;
/// Pairs that fit on one address.
pub const PAIRS_AN_ADDRESS: u32 = 60_000;

/// What the engine has said so far.
#[derive(Debug, Default)]
struct Heard {
    bound: u64,
    doors: Vec<SocketAddr>,
    measured: u64,
    released: u64,
    octets: u64,
    established: u64,
    closed: u64,
    by_kernel: u64,
    trouble: Option<String>,
}

#[derive(Default)]
struct Ear {
    heard: Mutex<Heard>,
    more: Condvar,
}

struct Gateway {
    engine: EngineHandle,
    ear: Arc<Ear>,
    v6: bool,
    addresses: u32,
    pairs: u32,
    first: u32,
}

/// Arguments: `relay|steered|kernel FIRST_ADDRESS ADDRESSES 4|6`. Answers
///
/// * `open PAIRS FILE PORT PORTS`: pinholes, the addresses for callers one a line into the file, to
///   servers at these ports in turn; with seconds and processor seconds;
/// * `measure`: all counters, as an audit of the whole gateway asks for them; with both times, and octets;
/// * `release`: all of it; with both times, and octets;
/// * `tally`: connections established and closed, pinholes that the kernel carries.
pub fn run(arguments: &[&str]) -> Result<()> {
    let [engine, first, addresses, family] = arguments else {
        return Err("gateway relay|steered|kernel FIRST_ADDRESS ADDRESSES 4|6".into());
    };
    let (first, addresses): (u8, u8) = (first.parse()?, addresses.parse()?);
    let v6 = *family == "6";
    let mode = match *engine {
        "relay" => Mode::Off,
        "steered" | "kernel" => Mode::Required,
        other => return Err(format!("no engine {other}").into()),
    };
    let realms = (first..first + addresses).enumerate().flat_map(|(index, number)| {
        [("near", NEAR), ("far", FAR)]
            .map(|(side, network)| realm(&format!("{side}{index}"), network, number, v6))
    });
    let config = EngineConfig {
        realms: realms.collect::<Result<_>>()?,
        // The pinholes wait until it is their turn.
        timers: Timers { incoming: Duration::from_secs(3600), ..Timers::default() },
        pinholes: 300_000,
        kernel: KernelConfig {
            mode,
            translate: *engine == "kernel",
            table: format!("growth{first}-{family}"),
            keep: false,
            ..KernelConfig::default()
        },
        ..EngineConfig::default()
    };
    let (engine_handle, events) = MediaEngine::start(config)?;
    let ear = Arc::new(Ear::default());
    let listening = Arc::clone(&ear);
    std::thread::spawn(move || listening.listen(events));
    let (addresses, first) = (addresses.into(), 0);
    let mut gateway = Gateway { engine: engine_handle, ear, v6, addresses, pairs: 0, first };
    let served = crate::serve(|words| match words {
        ["open", pairs, file, port, ports] => {
            let servers = (port.parse()?, ports.parse()?);
            timed(|| gateway.open(pairs.parse()?, file, servers).map(|()| String::new()))
        }
        ["measure"] => timed(|| gateway.measure()),
        ["release"] => timed(|| gateway.release()),
        ["tally"] => {
            let heard = gateway.ear.heard();
            Ok(format!("{} {} {}", heard.established, heard.closed, heard.by_kernel))
        }
        _ => Err("open, measure, release or tally".into()),
    });
    drop(gateway);
    until_threads_end();
    served
}

/// Threads of the engine clear away what the kernel has of them when nobody is there any more.
fn until_threads_end() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    let began = Instant::now();
    while threads() > 1 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn realm(name: &str, network: u8, number: u8, v6: bool) -> Result<Realm> {
    let mut realm = Realm { name: name.to_owned(), ports: PORTS, ..Realm::default() };
    match crate::lab::gateway_address(network, number, v6)? {
        IpAddr::V4(address) => realm.v4 = Some(address),
        IpAddr::V6(address) => realm.v6 = Some(address),
    }
    Ok(realm)
}

fn timed(work: impl FnOnce() -> Result<String>) -> Result<String> {
    let (began, before) = (Instant::now(), Cpu::of(std::process::id())?);
    let said = work()?;
    let cpu = Cpu::of(std::process::id())?.0 - before.0;
    Ok(format!("{} {cpu} {said}", began.elapsed().as_secs_f64()))
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, mut events: Events) {
        while let Some(event) = events.blocking_recv() {
            let mut heard = self.heard();
            let mut next = Some(event);
            while let Some(event) = next {
                heard.take(event);
                next = events.try_recv();
            }
            drop(heard);
            self.more.notify_all();
        }
    }

    fn wait(&self, enough: impl Fn(&Heard) -> bool) -> Result<MutexGuard<'_, Heard>> {
        let waiting = |heard: &mut Heard| heard.trouble.is_none() && !enough(heard);
        let (mut heard, timeout) = self
            .more
            .wait_timeout_while(self.heard(), PATIENCE, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        match heard.trouble.take() {
            Some(trouble) => Err(trouble.into()),
            None if timeout.timed_out() => Err(format!("the engine is silent: {heard:?}").into()),
            None => Ok(heard),
        }
    }
}

impl Heard {
    fn take(&mut self, event: Event) {
        match event {
            Event::Bound { pinhole, local, .. } => {
                self.bound += 1;
                if pinhole.number.is_multiple_of(2) {
                    self.doors.push(local);
                }
            }
            Event::Refused { .. } => self.trouble = Some(format!("{event:?}")),
            Event::Established { .. } => self.established += 1,
            Event::Closed { .. } => self.closed += 1,
            Event::Engine { engine, .. } => {
                if engine == Engine::Kernel {
                    self.by_kernel += 1;
                } else {
                    self.by_kernel = self.by_kernel.saturating_sub(1);
                }
            }
            Event::Measured { statistics, .. } => {
                self.measured += 1;
                self.octets += statistics.octets_received + statistics.octets_sent;
            }
            Event::Released { statistics, .. } => {
                self.released += 1;
                self.octets += statistics.octets_received + statistics.octets_sent;
            }
            _ => {}
        }
    }
}

impl Gateway {
    fn hole(pair: u32, far: bool) -> Pinhole {
        Pinhole { group: pair, number: u64::from(pair) * 2 + u64::from(far) }
    }

    /// Both pinholes of all pairs.
    fn holes(&self) -> impl Iterator<Item = Pinhole> + use<> {
        (self.first..self.pairs).flat_map(|pair| [Self::hole(pair, false), Self::hole(pair, true)])
    }

    /// A few commands at a time: what this program holds itself would be taken for the engine's.
    fn send_all(&self, command: impl Fn(Pinhole) -> Command) -> Result<u64> {
        let (mut queue, mut sent) = (VecDeque::new(), 0);
        for pinhole in self.holes() {
            queue.push_back(command(pinhole));
            sent += 1;
            if queue.len() == AT_ONCE {
                self.send(&mut queue)?;
            }
        }
        self.send(&mut queue)?;
        Ok(sent)
    }

    fn send(&self, queue: &mut VecDeque<Command>) -> Result<()> {
        while !queue.is_empty() {
            self.engine.try_send_all(queue)?;
            if let Some(command) = queue.pop_front() {
                self.engine.blocking_send(command)?;
            }
        }
        Ok(())
    }

    fn open(&mut self, pairs: u32, file: &str, (port, ports): (u16, u16)) -> Result<()> {
        let bound = self.ear.heard().bound;
        let mut queue = VecDeque::new();
        let (from, to) = (self.pairs, self.pairs + pairs);
        let family = Some(if self.v6 { Family::V6 } else { Family::V4 });
        let mut settled = from;
        let mut asked = 0;
        while settled < to {
            let mut answered = self.ear.heard().bound - bound;
            while from + asked < to && u64::from(asked) * 2 < answered + WINDOW {
                let pair = from + asked;
                for (side, far) in [("near", false), ("far", true)] {
                    let realm = Some(format!("{side}{}", pair % self.addresses));
                    let pinhole = Self::hole(pair, far);
                    queue.push_back(Command::Reserve { pinhole, realm, family, tls: false });
                }
                asked += 1;
            }
            self.send(&mut queue)?;
            if answered == u64::from(settled - from) * 2 {
                answered = self.ear.wait(|heard| heard.bound - bound > answered)?.bound - bound;
            }
            // Engines answer in the order of the questions.
            while u64::from(settled - from) * 2 + 2 <= answered {
                let (a, b) = (Self::hole(settled, false), Self::hole(settled, true));
                queue.push_back(Command::Join { a, b });
                let server = port + u16::try_from(settled % u32::from(ports))?;
                let (near, far) = self.settings(server)?;
                queue.push_back(Command::Configure { pinhole: a, settings: near });
                queue.push_back(Command::Configure { pinhole: b, settings: far });
                settled += 1;
            }
            if answered % 2 == 1 && settled < to {
                drop(self.ear.wait(|heard| heard.bound - bound > answered)?);
            }
            self.send(&mut queue)?;
        }
        self.pairs = to;
        // What was said before has been done when this is answered.
        self.measure()?;
        let doors = std::mem::take(&mut self.ear.heard().doors);
        let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
        for door in doors {
            writeln!(out, "{door}")?;
        }
        Ok(out.flush()?)
    }

    fn settings(&self, server: u16) -> Result<(Settings, Settings)> {
        let gate = Gate::SendReceive;
        // The port that was announced is of no use: callers come from another.
        let caller = SocketAddr::new(crate::lab::address(CALLER, self.v6)?, 9);
        let remote = Some(caller);
        let near = Settings { role: Role::Passive, gate, remote, peer_opens: true, ..Settings::default() };
        let to = SocketAddr::new(crate::lab::address(crate::lab::SERVER, self.v6)?, server);
        let far = Settings { role: Role::Active, gate, remote: Some(to), ..Settings::default() };
        Ok((near, far))
    }

    fn measure(&self) -> Result<String> {
        self.ear.heard().octets = 0;
        let measured = self.ear.heard().measured;
        let all = self.send_all(|pinhole| Command::Measure { pinhole })?;
        Ok(self.ear.wait(|heard| heard.measured - measured == all)?.octets.to_string())
    }

    fn release(&mut self) -> Result<String> {
        self.ear.heard().octets = 0;
        let released = self.ear.heard().released;
        let all = self.send_all(|pinhole| Command::Release { pinhole })?;
        let octets = self.ear.wait(|heard| heard.released - released == all)?.octets;
        self.first = self.pairs;
        self.ear.heard().by_kernel = 0;
        Ok(octets.to_string())
    }
}
