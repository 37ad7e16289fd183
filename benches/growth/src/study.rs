//! Takes the measurements.

use std::path::Path;

use carnet_growth::{Lab, Result, Stage, Way, cost};

use crate::results::Results;

/// Round trips of one measurement of messages, about.
const TRIPS: u32 = 20_000;
/// Sessions with messages, where it is the idle ones that matter.
pub const FEW: u32 = 100;
/// Where the active ones become more and more.
pub const AMONG: u32 = 10_000;
const OCTETS: u32 = 200;

/// What to measure.
#[derive(Debug)]
pub struct Study {
    pub rounds: u32,
    pub sessions: Vec<u32>,
    pub ways: Vec<Way>,
}

/// Names and units of what is measured; each for one session.
pub const MADE: (&str, &str) = ("made", "us");
pub const CALLED: (&str, &str) = ("called", "us");
pub const CALLED_BETWEEN: (&str, &str) = ("called-between", "us");
pub const MESSAGE: (&str, &str) = ("message", "us");
pub const AUDITED: (&str, &str) = ("audited", "us");
pub const RELEASED: (&str, &str) = ("released", "us");
pub const USER: (&str, &str) = ("user-memory", "octets");
pub const KERNEL: (&str, &str) = ("kernel-memory", "octets");

impl Study {
    /// Every way once a round, each on hosts of its own. The file is written after each, so that nothing is lost by stopping.
    pub fn run(&self, lab: &dyn Fn() -> Result<Lab>, path: &Path) -> Result<()> {
        let mut results = Results::read(path)?;
        results.machine = machine()?;
        for round in 1..=self.rounds {
            for &sessions in &self.sessions {
                for &way in &self.ways {
                    // What a host remembers of an engine's connections is no matter of the next one.
                    match lab().and_then(|lab| one(&lab, way, sessions, &mut results)) {
                        Ok(said) => eprintln!("round {round}, {sessions} {}: {said}", way.name()),
                        Err(error) => eprintln!("round {round}, {sessions} {}: FAILED: {error}", way.name()),
                    }
                    results.write(path)?;
                }
            }
        }
        Ok(())
    }
}

fn one(lab: &Lab, way: Way, sessions: u32, results: &mut Results) -> Result<String> {
    let mut found = Vec::new();
    let many = f64::from(sessions);
    let each = |seconds: f64| seconds * 1e6 / many;
    let mut stage = Stage::start(lab, way, sessions, false)?;
    let before = (stage.user_memory()?, cost::kernel_memory()?);
    let made = stage.open()?;
    let called = stage.call()?;
    if way != Way::Direct {
        if way != Way::HaProxy {
            found.push((MADE, 0, each(made.between)));
        }
        found.push((CALLED_BETWEEN, 0, each(called.between)));
        found.push((USER, 0, (stage.user_memory()? - before.0) / many));
    }
    found.push((CALLED, 0, each(called.all)));
    // With fewer the machine's other doings are more.
    if sessions >= 1_000 {
        found.push((KERNEL, 0, (cost::kernel_memory()? - before.1) / many));
    }
    let mut actives = vec![sessions.min(FEW)];
    if sessions == AMONG {
        actives.extend([10, 1_000, 10_000]);
    }
    for active in actives {
        let (trips, took) = stage.ping(active, (TRIPS / active).max(2), OCTETS, u64::from(active))?;
        found.push((MESSAGE, active, took.all * 1e6 / trips));
    }
    if !matches!(way, Way::Direct | Way::HaProxy) {
        let (_, took) = stage.audit()?;
        found.push((AUDITED, 0, each(took.between)));
    }
    let tally = stage.tally()?;
    let expected = if way == Way::Kernel { u64::from(sessions) * 2 } else { 0 };
    if tally[2] != expected {
        return Err(format!("the kernel carries {} pinholes, not {expected}", tally[2]).into());
    }
    let (ends, took) = stage.release()?;
    if !matches!(way, Way::Direct | Way::HaProxy) {
        found.push((RELEASED, 0, each(took.between)));
    }
    for (what, active, value) in &found {
        results.add(way.name(), *what, (sessions, *active), *value);
    }
    let told: Vec<String> = found.iter().map(|((what, _), _, value)| format!("{what} {value:.1}")).collect();
    Ok(format!("{}; {ends}", told.join(", ")))
}

/// What was measured on, in words.
pub fn machine() -> Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let processors = std::thread::available_parallelism()?;
    let (memory, _) = cost::machine()?;
    Ok(format!(
        "Linux {}, {processors} processors, {:.0} GiB, load average {}",
        kernel.trim(),
        memory / f64::from(1 << 30),
        load.split(' ').next().unwrap_or_default()
    ))
}
