//! Whether something keeps the clock, and what it says of that: chrony by `chronyc tracking`, others by the kernel's word that
//! `timedatectl` repeats. Left out: asking time servers ourselves.

use super::report::Report;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Programs that keep the clock, as the kernel cuts their names.
const KEEPERS: [&str; 8] =
    ["chronyd", "ntpd", "openntpd", "ntp-daemon", "systemd-timesyn", "ptp4l", "phc2sys", "VBoxService"];

/// Seconds that a clock may be off by its keeper's own word.
const OFF: f64 = 1.0;
/// How long a program may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// All of it.
pub fn look(report: &mut Report) {
    report.looked("clock");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    let keeper = names.find_map(|name| KEEPERS.into_iter().find(|keeper| *keeper == name.trim()));
    if keeper == Some("chronyd")
        && let Some(said) = said("chronyc", &["-n", "-c", "tracking"])
    {
        return chrony(&said, report);
    }
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return;
    }
    match keeper {
        Some("systemd-timesyn") => {
            let what = "systemd-timesyncd runs, and has not set the clock since the start of this host";
            let fix = "see that its servers can be reached: `timedatectl timesync-status`";
            report.warning("clock-unkept", "host", what, fix);
        }
        // The kernel is told by whoever keeps the clock (adjtimex), and this repeats it.
        Some(keeper) => {
            let kernel = said("timedatectl", &["show", "--property=NTPSynchronized", "--value"]);
            if kernel.is_some_and(|said| said.trim() == "no") {
                let what = format!("{keeper} runs, and the kernel says that the clock is not synchronised");
                let fix = "see that its servers can be reached, and wait for some minutes after a start";
                report.warning("clock-unkept", "host", what, fix);
            }
        }
        None if in_container() => {
            let what = "nothing keeps the clock in this container; its host has to";
            let fix = "look at the host: `timedatectl` or `chronyc tracking`";
            report.note("clock-unkept", "host", what, fix);
        }
        None => {
            let fix = "install chrony, or `timedatectl set-ntp true`: tickets and certificates are refused by a wrong clock";
            report.warning("clock-unkept", "host", "nothing keeps the clock of this host", fix);
        }
    }
}

/// The line of `chronyc -c tracking`: identifier, address, stratum, time of reference, offset of the system's clock in seconds,
/// eight more numbers, and the state of leap seconds, which says whether it is synchronised.
fn chrony(said: &str, report: &mut Report) {
    let fields: Vec<&str> = said.trim().split(',').collect();
    let (Some(offset), Some(state)) = (fields.get(4), fields.get(13)) else { return };
    if *state == "Not synchronised" {
        let what = "chronyd runs, and has found no server to keep the clock by";
        let fix = "`chronyc sources` says which it asks; see that they can be reached (UDP 123)";
        return report.warning("clock-unkept", "host", what, fix);
    }
    if let Some(offset) = offset.parse::<f64>().ok().filter(|offset| offset.abs() > OFF) {
        let way = if offset > 0.0 { "slow" } else { "fast" };
        let what = format!("by chronyd's word the clock is {:.1} s {way}", offset.abs());
        let fix = "`chronyc makestep` sets it at once; else chronyd does it little by little";
        report.warning("clock-off", "host", what, fix);
    }
}

/// What a program writes, if it is there and does as it is asked in time.
pub(super) fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    // Read beside: who writes more than a pipe holds would never end.
    let mut out = child.stdout.take()?;
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            _ => break None,
        }
    };
    if ended.is_none() {
        // It is not waited for any longer, and its pipe closes with it.
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = reading.join().ok()?.ok()?;
    ended.filter(std::process::ExitStatus::success).map(|_| text)
}

fn in_container() -> bool {
    // A service manager says so in the environment of the first process, where that can be read.
    let first = fs::read("/proc/1/environ").unwrap_or_default();
    let says = first.split(|octet| *octet == 0).any(|word| word.starts_with(b"container="));
    let files = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
    let manager = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    says || files.iter().any(|file| Path::new(file).exists())
        || !matches!(manager.trim(), "systemd" | "init" | "runit" | "openrc-init")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chrony_says_is_read() {
        let found = |line: &str| {
            let mut report = Report::default();
            chrony(line, &mut report);
            report.findings.first().map(|finding| (finding.check, finding.what.clone()))
        };
        // As chronyc 4.3 writes it.
        let good = "A9FEA97B,169.254.169.123,4,1795801234.551,-0.000004,0.000009,0.00002,-2.1,-0.001,0.02,0.0004,0.0003,16.2,Normal\n";
        assert_eq!(found(good), None);
        let none = "7F7F0101,,0,0.000000000,0.000000000,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n";
        assert_eq!(found(none).unwrap().0, "clock-unkept");
        let off = found(&good.replace("-0.000004", "-12.3")).unwrap();
        assert_eq!(off, ("clock-off", "by chronyd's word the clock is 12.3 s fast".to_owned()));
        assert_eq!(found("506 Cannot talk to daemon\n"), None);
    }

    #[test]
    fn programs_are_asked_for_so_long_and_no_longer() {
        assert_eq!(said("echo", &["so"]).as_deref(), Some("so\n"));
        assert_eq!(said("false", &[]), None);
        assert_eq!(said("no-such-program", &[]), None);
        assert_eq!(said("sleep", &["600"]), None);
        assert!(said("seq", &["100000"]).is_some_and(|text| text.ends_with("100000\n")));
    }
}
