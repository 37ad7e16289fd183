//! Child processes, and what they have used.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Result;

/// The unit of CPU times in /proc on Linux (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// A child that is killed when it is dropped, and what it said after `ready`.
#[derive(Debug)]
pub struct Process(Child, pub String);

impl Process {
    /// Waits for the child's line `ready`.
    ///
    /// # Errors
    ///
    /// If it does not start, or says something else first.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut process = Self(command.spawn()?, String::new());
        let out = process.0.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let told = line.trim().strip_prefix("ready").ok_or(format!("{command:?} did not start"))?;
        told.trim().clone_into(&mut process.1);
        Ok(process)
    }

    /// For a program that says nothing: it is there if it has not ended after half a second.
    ///
    /// # Errors
    ///
    /// If it does not start, or has ended.
    pub fn listening(command: &mut Command) -> Result<Self> {
        let mut process = Self(command.spawn()?, String::new());
        std::thread::sleep(Duration::from_millis(500));
        match process.0.try_wait()? {
            None => Ok(process),
            Some(status) => Err(format!("{command:?} ended: {status}").into()),
        }
    }

    /// CPU seconds so far, user and system.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn cpu(&self) -> Result<f64> {
        cpu_of(&self.0.id().to_string())
    }

    /// The same with that of its children, for programs that fork.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn cpu_of_all(&self) -> Result<f64> {
        let mut all = self.cpu()?;
        for child in self.children()? {
            all += cpu_of(&child)?;
        }
        Ok(all)
    }

    fn children(&self) -> Result<Vec<String>> {
        let parent = self.0.id().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let id = entry?.file_name().to_string_lossy().into_owned();
            let Ok(text) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
            let of = text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
            if of == Some(parent.as_str()) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Asks it to end, with its children, and waits.
    pub fn dismiss(&mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        if asked.is_ok_and(|status| status.success()) {
            let _ = self.0.wait();
        }
    }

    /// Anonymous memory in octets.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn private_memory(&self) -> Result<u64> {
        anonymous(&self.0.id().to_string())
    }

    /// The same with that of its children.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn private_memory_of_all(&self) -> Result<u64> {
        let mut all = self.private_memory()?;
        for child in self.children()? {
            all += anonymous(&child)?;
        }
        Ok(all)
    }

    /// Binds it, with all its threads, to these processors (`taskset`).
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn bind(&self, processors: &str) -> Result<()> {
        let mut command = Command::new("taskset");
        command.args(["-apc", processors, &self.0.id().to_string()]).stdout(Stdio::null());
        if command.status()?.success() { Ok(()) } else { Err("taskset failed".into()) }
    }

    /// Kills it and waits.
    pub fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

fn anonymous(id: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).ok_or("no such line")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no value")?.parse()?;
    Ok(kib * 1024)
}

/// CPU seconds of this process so far.
///
/// # Errors
///
/// If there is no `/proc`.
pub fn own_cpu() -> Result<f64> {
    cpu_of("self")
}

/// CPU seconds so far of the kernel threads that do what interrupts left over: packets that no process was there to
/// receive.
///
/// # Errors
///
/// If there is no `/proc`.
pub fn softirq_cpu() -> Result<f64> {
    let mut all = 0.0;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.starts_with("ksoftirqd/") {
            all += cpu_of(&path.file_name().unwrap_or_default().to_string_lossy())?;
        }
    }
    Ok(all)
}

/// Seconds so far that all processors of the machine were busy, whatever with.
///
/// # Errors
///
/// If there is no `/proc`.
pub fn machine_cpu() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().find(|line| line.starts_with("cpu ")).ok_or("no such line")?;
    let fields: Vec<f64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // proc(5): user, nice, system, idle, iowait, irq, softirq, steal.
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|index| fields.get(*index)).sum::<f64>();
    Ok(busy / TICKS)
}

/// `schedstat` counts nanoseconds where the kernel keeps it, `stat` ticks everywhere.
fn cpu_of(id: &str) -> Result<f64> {
    let mut nanoseconds = 0u64;
    let mut all = true;
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        match std::fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => nanoseconds += text.split(' ').next().unwrap_or("0").parse::<u64>()?,
            Err(_) => all = false,
        }
    }
    if all {
        return Ok(nanoseconds as f64 / 1e9);
    }
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields = text.rsplit_once(')').ok_or("no name")?.1;
    let mut ticks = 0.0;
    for field in fields.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<f64>()?;
    }
    Ok(ticks / TICKS)
}
