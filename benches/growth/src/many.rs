//! Very many sessions at once, and what is left of them.

use std::time::{Duration, Instant};

use carnet_growth::cost::{self, Left};
use carnet_growth::{Lab, Result, Stage, Way};

use crate::study;

/// Sessions that messages pass on afterwards, drawn at random.
const SAMPLE: u32 = 1_000;
const GIB: f64 = (1 << 30) as f64;

/// One run, told step by step on standard output. Anything wrong or left over is an error.
pub fn run(lab: &Lab, way: Way, sessions: u32, sealed: bool) -> Result<()> {
    let many = f64::from(sessions);
    let nature = if sealed { "sealed (TLS 1.3 with a pre-shared key, end to end)" } else { "plain" };
    println!("{sessions} sessions, {nature}, {}, {}", way.name(), study::machine()?);
    let processes = way.processes(sessions);
    let mut stage = Stage::start(lab, way, sessions, sealed)?;
    let before = Usage::now(&stage)?;
    println!("{processes} process(es) between, {} descriptors", before.descriptors);
    let took = stage.open()?;
    println!("pinholes made in {:.1} s, {:.1} us of processor each", took.wall, took.between * 1e6 / many);
    let took = stage.call()?;
    println!(
        "sessions opened in {:.1} s, {:.1} us of processor each in what is between, {:.0} us with their ends",
        took.wall,
        took.between * 1e6 / many,
        took.all * 1e6 / many
    );
    let during = Usage::now(&stage)?;
    let (all, available) = cost::machine()?;
    println!(
        "a session: {:.0} octets of user memory, {:.0} of kernel memory with the sockets of its ends, {:.2} descriptors, {:.2} elements, {:.2} tracked connections",
        (during.user - before.user) / many,
        (during.kernel - before.kernel) / many,
        (during.descriptors as f64 - before.descriptors as f64) / many,
        (during.left.elements as f64 - before.left.elements as f64) / many,
        (during.left.tracked as f64 - before.left.tracked as f64) / many,
    );
    println!(
        "memory: {:.2} GiB between, {:.2} GiB at the ends, {:.2} GiB of sockets and tracking in the kernel; {:.1} of {:.1} GiB are available",
        during.user / GIB,
        stage.load_memory()? / GIB,
        during.kernel / GIB,
        available / GIB,
        all / GIB
    );
    let tally = stage.tally()?;
    println!("the engine: {} ends connected, {} pinholes carried by the kernel", tally[0], tally[2]);
    if way == Way::Kernel && tally[2] != u64::from(sessions) * 2 {
        return Err("not all are carried by the kernel".into());
    }
    let (trips, took) = stage.ping(SAMPLE.min(sessions), 20, 200, 7)?;
    println!(
        "{trips} messages there and back, all as they were sent: {:.1} us of processor each",
        took.all * 1e6 / trips
    );
    if !matches!(way, Way::Direct | Way::HaProxy) {
        let (octets, took) = stage.audit()?;
        println!("all counters asked for: {:.2} s, {octets} octets counted on both sides", took.wall);
    }
    let (ends, took) = stage.release()?;
    println!(
        "released in {:.1} s, {:.1} us of processor each; callers: {ends}",
        took.wall,
        took.between * 1e6 / many
    );
    let after = settled(&stage, &before)?;
    println!(
        "left: {} elements, {} tracked connections ({} with those that are over), {} sockets, {} descriptors, {:.1} MiB of user memory and {:.1} of the kernel's more than before",
        after.left.elements as i64 - before.left.elements as i64,
        after.left.tracked,
        after.left.tracked_all,
        after.left.sockets,
        after.descriptors as i64 - before.descriptors as i64,
        (after.user - before.user) / f64::from(1 << 20),
        (after.kernel - before.kernel) / f64::from(1 << 20),
    );
    if after.left.elements != before.left.elements
        || after.left.tracked != before.left.tracked
        || after.left.sockets != before.left.sockets
        || after.descriptors != before.descriptors
    {
        return Err(format!("something is left: {:?}, before {:?}", after.left, before.left).into());
    }
    Ok(())
}

struct Usage {
    user: f64,
    kernel: f64,
    descriptors: usize,
    left: Left,
}

impl Usage {
    fn now(stage: &Stage<'_>) -> Result<Self> {
        let (user, kernel) = (stage.user_memory()?, cost::kernel_memory()?);
        Ok(Self { user, kernel, descriptors: stage.descriptors()?, left: stage.left()? })
    }
}

/// What is left when it does not get less any more.
fn settled(stage: &Stage<'_>, before: &Usage) -> Result<Usage> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let now = Usage::now(stage)?;
        if now.left == before.left && now.descriptors == before.descriptors || Instant::now() > until {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
