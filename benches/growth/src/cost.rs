//! What processes and the kernel use.

use std::fs;
use std::process::Command;

use crate::Result;

/// Processor seconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Cpu(pub f64);

impl Cpu {
    /// Of a process so far, all its threads that still are, user and system. `schedstat` counts
    /// nanoseconds; a host without it has ticks of 10 ms.
    pub fn of(process: u32) -> Result<Self> {
        let mut nanoseconds = 0u64;
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                return Self::in_ticks(process);
            };
            nanoseconds += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
        Ok(Self(nanoseconds as f64 / 1e9))
    }

    fn in_ticks(process: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let fields = text.rsplit_once(')').ok_or("no name")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        Ok(Self(ticks.sum::<std::result::Result<f64, _>>()? / 100.0))
    }
}

/// Memory of a process in octets that is its own, its share of what it shares included (PSS).
pub fn user_memory(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no PSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}

/// Open descriptors of a process.
pub fn descriptors(process: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

/// Memory in octets of those kernel caches that sessions are made of: sockets, their files and what epoll
/// knows of them, connections under tracking, elements of sets and maps. Of the whole machine: compare what was before. The
/// directory entries of sockets (192 octets each) are not in it, because those of files would be too.
pub fn kernel_memory() -> Result<f64> {
    const CACHES: [&str; 8] =
        ["TCP", "sock_inode", "filp", "eventpoll", "nf_conntrack", "request_sock", "tw_sock", "skbuff"];
    let mut octets = 0.0;
    for line in fs::read_to_string("/proc/slabinfo")?.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        // Elements, their keys, and the buckets of what listens are of no cache of their own.
        let small = name.strip_prefix("kmalloc-").is_some_and(|size| !size.contains("rcl"));
        if small || CACHES.iter().any(|cache| name.starts_with(cache)) {
            // active_objs num_objs objsize objperslab pagesperslab : tunables … : slabdata active num
            let numbers: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
            if let [_, _, _, _, pages, .., slabs, _] = numbers.as_slice() {
                octets += pages * slabs * 4096.0;
            }
        }
    }
    Ok(octets)
}

/// Memory of the machine in octets: all, and what could still be had.
pub fn machine() -> Result<(f64, f64)> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let of = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
        Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
    };
    Ok((of("MemTotal")?, of("MemAvailable")?))
}

/// What is left of sessions on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Elements of the engine's table.
    pub elements: usize,
    /// Connections under tracking, without those that are over and only waited for.
    pub tracked: usize,
    /// The same with those.
    pub tracked_all: usize,
    /// TCP sockets but listening ones and those that are over.
    pub sockets: usize,
}

impl Left {
    /// Looks in a network namespace with `nft`, `conntrack` and `ss`.
    pub fn on(namespace: &str) -> Result<Self> {
        let inside = |program: &[&str]| -> Result<String> {
            let mut command = Command::new("ip");
            let output = command.args(["netns", "exec", namespace]).args(program).output()?;
            if !output.status.success() {
                return Err(format!("{program:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
            Ok(String::from_utf8(output.stdout)?)
        };
        let mut elements = 0;
        let ruleset: serde_json::Value = serde_json::from_str(&inside(&["nft", "-j", "list", "ruleset"])?)?;
        for object in ruleset.get("nftables").and_then(|list| list.as_array()).into_iter().flatten() {
            for kind in ["set", "map"] {
                let of = object.get(kind).and_then(|set| set.get("elem")).and_then(|list| list.as_array());
                elements += of.map_or(0, Vec::len);
            }
        }
        let tracking = inside(&["conntrack", "-L", "-p", "tcp"])?;
        let over = ["TIME_WAIT", "CLOSE ", "LAST_ACK"];
        let tracked = tracking.lines().filter(|line| !over.iter().any(|state| line.contains(state))).count();
        let sockets = inside(&["ss", "-Htn", "state", "connected", "exclude", "time-wait"])?;
        let sockets = sockets.lines().count();
        Ok(Self { elements, tracked, tracked_all: tracking.lines().count(), sockets })
    }
}
