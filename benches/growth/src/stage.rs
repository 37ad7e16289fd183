//! Sessions of one kind through one kind of gateway, from none to none.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cost::{self, Cpu, Left};
use crate::lab::{self, FAR, NEAR};
use crate::{Child, Lab, Result, gateway};

/// Sessions of one process of callers or servers; descriptors are what limits it.
const LOAD: u32 = 12_500;
/// Sessions of one process that relays: two descriptors each, and it keeps some of its 20,000 for itself.
const RELAYED: u32 = 8_000;
/// First port of the servers: one a process.
const PORT: u16 = 7_000;

/// What is between callers and servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Nothing: the gateway's host routes.
    Direct,
    /// HAProxy, mode tcp.
    HaProxy,
    /// Our relay, a socket a pinhole.
    Relay,
    /// Our relay, callers steered to one listener.
    Steered,
    /// The kernel engine.
    Kernel,
}

impl Way {
    /// All, the one that the others are compared with first.
    pub const ALL: [Self; 5] = [Self::Direct, Self::HaProxy, Self::Relay, Self::Steered, Self::Kernel];

    /// Its name on the command line and in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::HaProxy => "haproxy",
            Self::Relay => "relay",
            Self::Steered => "steered",
            Self::Kernel => "kernel",
        }
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }

    /// Processes that it takes for so many sessions.
    #[must_use]
    pub const fn processes(self, sessions: u32) -> u32 {
        match self {
            Self::Direct => 0,
            Self::HaProxy | Self::Relay | Self::Steered => sessions.div_ceil(RELAYED),
            Self::Kernel => 1,
        }
    }

    const fn is_ours(self) -> bool {
        matches!(self, Self::Relay | Self::Steered | Self::Kernel)
    }
}

/// What some work took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Took {
    /// Seconds.
    pub wall: f64,
    /// Processor seconds of what is between callers and servers.
    pub between: f64,
    /// The same of callers and servers too.
    pub all: f64,
}

/// The programs of one run.
#[derive(Debug)]
pub struct Stage<'a> {
    lab: &'a Lab,
    way: Way,
    sessions: u32,
    between: Vec<Child>,
    callers: Vec<Child>,
    servers: Vec<Child>,
    doors: PathBuf,
}

impl<'a> Stage<'a> {
    /// Starts all programs. What the engines set up once is set up when this is done.
    pub fn start(lab: &'a Lab, way: Way, sessions: u32, sealed: bool) -> Result<Self> {
        let nature = if sealed { "sealed" } else { "plain" };
        let doors = std::env::temp_dir().join(format!("{}-doors", lab.gateway.namespace));
        let (between, callers, servers) = (Vec::new(), Vec::new(), Vec::new());
        let mut stage = Self { lab, way, sessions, between, callers, servers, doors };
        let server = lab::address(FAR, false)?;
        let loads = u16::try_from(sessions.div_ceil(LOAD))?;
        for port in PORT..PORT + loads {
            stage.servers.push(lab.servers.start(&["server", &format!("{server}:{port}"), nature])?);
            stage.callers.push(lab.callers.start(&["caller", nature])?);
        }
        for index in 0..way.processes(sessions) {
            let number = u8::try_from(index + 1)?;
            stage.between.push(match way {
                Way::HaProxy => haproxy(lab, number, loads)?,
                _ => {
                    let addresses =
                        if way == Way::Kernel { sessions.div_ceil(gateway::PAIRS_AN_ADDRESS) } else { 1 };
                    let words = ["gateway", way.name(), &number.to_string(), &addresses.to_string(), "4"];
                    let mut child = lab.gateway.start(&words)?;
                    child.ask(&format!("open 10 {} {PORT} {loads}", stage.doors.display()))?;
                    child.ask("release")?;
                    child
                }
            });
        }
        Ok(stage)
    }

    fn cpu(&self) -> Result<(f64, f64)> {
        let sum = |children: &[Child]| -> Result<f64> {
            children.iter().map(|child| child.cpu().map(|Cpu(seconds)| seconds)).sum()
        };
        let between = sum(&self.between)?;
        Ok((between, between + sum(&self.callers)? + sum(&self.servers)?))
    }

    fn took<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<(T, Took)> {
        let (before, began) = (self.cpu()?, Instant::now());
        let done = work(self)?;
        let (wall, after) = (began.elapsed().as_secs_f64(), self.cpu()?);
        Ok((done, Took { wall, between: after.0 - before.0, all: after.1 - before.1 }))
    }

    /// Makes what sessions go through, as far as the way has such a thing.
    pub fn open(&mut self) -> Result<Took> {
        let ((), took) = self.took(|stage| {
            let loads = u16::try_from(stage.servers.len())?;
            let mut doors = String::new();
            let many = u32::try_from(stage.between.len())?;
            for index in 0..many {
                // The first ones take what is left over.
                let count = stage.sessions / many + u32::from(index < stage.sessions % many);
                if stage.way.is_ours() {
                    let path = stage.doors.display().to_string();
                    let child = stage.between.get_mut(index as usize).ok_or("no such process")?;
                    child.ask(&format!("open {count} {path} {PORT} {loads}"))?;
                    doors.push_str(&fs::read_to_string(&path)?);
                } else {
                    let address = lab::gateway_address(NEAR, u8::try_from(index + 1)?, false)?;
                    for _ in 0..count {
                        writeln!(doors, "{address}:{PORT}")?;
                    }
                }
            }
            if many == 0 {
                let server = lab::address(FAR, false)?;
                for session in 0..stage.sessions {
                    writeln!(doors, "{server}:{}", PORT + u16::try_from(session % u32::from(loads))?)?;
                }
            }
            Ok(fs::write(&stage.doors, doors)?)
        })?;
        Ok(took)
    }

    fn all_callers(&mut self, line: impl Fn(u32) -> String) -> Result<Vec<String>> {
        for (child, index) in self.callers.iter_mut().zip(0..) {
            child.tell(&line(index))?;
        }
        self.callers.iter_mut().map(Child::hear).collect()
    }

    /// Opens all sessions, with six octets there and back on each.
    pub fn call(&mut self) -> Result<Took> {
        let ((), took) = self.took(|stage| {
            let many = u32::try_from(stage.callers.len())?;
            let share = stage.sessions.div_ceil(many);
            let path = stage.doors.display().to_string();
            stage.all_callers(|index| format!("open {path} {} {share}", index * share))?;
            stage.servers_have(stage.sessions)
        })?;
        Ok(took)
    }

    /// Messages on some sessions drawn at random, each compared; with how many there were.
    pub fn ping(&mut self, active: u32, rounds: u32, octets: u32, seed: u64) -> Result<(f64, Took)> {
        self.took(|stage| {
            let share = active.div_ceil(u32::try_from(stage.callers.len())?);
            let said = stage.all_callers(|_| format!("ping {share} {rounds} {octets} {seed}"))?;
            let counts = said.iter().map(|line| line.split(' ').next().unwrap_or_default().parse::<f64>());
            Ok(counts.sum::<std::result::Result<f64, _>>()?)
        })
    }

    /// Asks the engines for the counters of everything; with all octets that they have counted.
    pub fn audit(&mut self) -> Result<(f64, Took)> {
        self.took(|stage| {
            let mut octets = 0.0;
            for child in &mut stage.between {
                let said = child.ask("measure")?;
                octets += said.split(' ').nth(2).unwrap_or_default().parse::<f64>()?;
            }
            Ok(octets)
        })
    }

    /// Releases all pinholes (a way that has none: the callers end the sessions), and sees that both ends of all
    /// sessions know; with how many callers were told so in order, and how many by a reset.
    pub fn release(&mut self) -> Result<(String, Took)> {
        let (said, took) = self.took(|stage| {
            if stage.way.is_ours() {
                for child in &mut stage.between {
                    child.ask("release")?;
                }
            }
            let line = if stage.way.is_ours() { "ended" } else { "close" };
            let said = stage.all_callers(|_| line.to_owned())?;
            stage.servers_have(0)?;
            Ok(said)
        })?;
        let (mut in_order, mut reset) = (0, 0);
        for line in said {
            let mut numbers = line.split(' ').map(str::parse::<u32>);
            in_order += numbers.next().ok_or("no number")??;
            reset += numbers.next().ok_or("no number")??;
        }
        Ok((format!("{in_order} in order, {reset} by reset"), took))
    }

    fn servers_have(&mut self, sessions: u32) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            let mut have = 0;
            for child in &mut self.servers {
                have += child.ask("count")?.parse::<u32>()?;
            }
            if have == sessions {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("the servers have {have} sessions, not {sessions}").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Memory of what is between, in octets.
    pub fn user_memory(&self) -> Result<f64> {
        self.between.iter().map(|child| cost::user_memory(child.id())).sum()
    }

    /// Memory of callers and servers, in octets.
    pub fn load_memory(&self) -> Result<f64> {
        self.callers.iter().chain(&self.servers).map(|child| cost::user_memory(child.id())).sum()
    }

    /// Descriptors of what is between.
    pub fn descriptors(&self) -> Result<usize> {
        self.between.iter().map(|child| cost::descriptors(child.id())).sum()
    }

    /// What is on the gateway's host.
    pub fn left(&self) -> Result<Left> {
        Left::on(&self.lab.gateway.namespace)
    }

    /// What our engines say: connections established and closed, pinholes that the kernel carries.
    pub fn tally(&mut self) -> Result<[u64; 3]> {
        let mut all = [0; 3];
        for child in self.between.iter_mut().filter(|_| self.way.is_ours()) {
            for (sum, word) in all.iter_mut().zip(child.ask("tally")?.split(' ')) {
                *sum += word.parse::<u64>()?;
            }
        }
        Ok(all)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.doors);
    }
}

fn haproxy(lab: &Lab, number: u8, loads: u16) -> Result<Child> {
    let (near, far) = (lab::gateway_address(NEAR, number, false)?, lab::gateway_address(FAR, number, false)?);
    let mut text = format!(
        "global\n nbthread 1\n maxconn 9900\ndefaults\n mode tcp\n timeout connect 60s\n timeout client 1h\n \
         timeout server 1h\nlisten relay\n bind {near}:{PORT} backlog 4096\n balance roundrobin\n source {far}\n"
    );
    let server = lab::address(FAR, false)?;
    for port in PORT..PORT + loads {
        writeln!(text, " server s{port} {server}:{port}")?;
    }
    let path = std::env::temp_dir().join(format!("{}-{number}.cfg", lab.gateway.namespace));
    fs::write(&path, text)?;
    let mut command = lab.gateway.command("haproxy");
    let child = Child::other(command.args(["-db", "-f"]).arg(&path));
    fs::remove_file(&path)?;
    child
}
