//! The host: its clock, the settings of its kernel, descriptors, memory.

use super::report::Report;
use crate::roles::media;
use carnet_net::media::{raise_descriptor_limit, shortcomings};
use carnet_ops::config::{Config, EngineMode, GatewayRole, GatewaySection};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

/// Seconds by which clocks may differ without anybody noticing.
const SKEW: i64 = 5;

/// Programs that keep the clock, as the kernel cuts their names.
const CLOCK_KEEPERS: [&str; 8] =
    ["chronyd", "ntpd", "openntpd", "ntp-daemon", "systemd-timesyn", "ptp4l", "phc2sys", "VBoxService"];

/// All of it.
pub fn look(config: &Config, report: &mut Report) {
    clock(report);
    report.looked("kernel settings");
    // As `carnet run` does.
    raise_descriptor_limit();
    for (name, gateway) in &config.gateway {
        gateway_host(name, gateway.as_ref(), report);
    }
    memory(config, report);
}

/// Whether something keeps the clock.
pub fn clock(report: &mut Report) {
    report.looked("clock");
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return;
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut names = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    match names.find(|name| CLOCK_KEEPERS.contains(&name.trim())).as_deref().map(str::trim) {
        // The only one of them that says so where everybody can read it.
        Some("systemd-timesyn") => {
            let what = "systemd-timesyncd runs, and has not set the clock since the start of this host";
            let fix = "see that its servers can be reached: `timedatectl timesync-status`";
            return report.warning("clock-unkept", "host", what, fix);
        }
        Some(_) => return,
        None => {}
    }
    if in_container() {
        let what = "nothing keeps the clock in this container; its host has to";
        return report.note(
            "clock-unkept",
            "host",
            what,
            "look at the host: `timedatectl` or `chronyc tracking`",
        );
    }
    let fix = "install chrony, or `timedatectl set-ntp true`: tickets and certificates are refused by a wrong clock";
    report.warning("clock-unkept", "host", "nothing keeps the clock of this host", fix);
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

/// By how much the clock of another host differs, as it says it over HTTP (RFC 9110 §6.6.1).
pub fn skew(at: &str, date: Option<&str>, asked: SystemTime, report: &mut Report) {
    let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else { return };
    let Ok(ours) = jiff::Timestamp::try_from(asked) else { return };
    let seconds = theirs.timestamp().as_second() - ours.as_second();
    if seconds.abs() > SKEW {
        let (span, way) = (seconds.abs(), if seconds > 0 { "ahead of" } else { "behind" });
        let what = format!("its clock is {span} s {way} that of this host");
        let fix = "have both keep their clocks (chrony, timesyncd); tickets are refused beyond `skew` of [kms], usually 300 s";
        report.warning("clock-skew", at, what, fix);
    }
}

/// What the kernel has to give to a gateway.
fn gateway_host(name: &str, gateway: &GatewaySection, report: &mut Report) {
    let at = format!("gateway.{name}");
    let settings = media::settings(name, gateway);
    for lack in shortcomings(&settings) {
        let (check, fix) = match lack.setting {
            "net.ipv4.ip_local_port_range" => {
                let ranges: Vec<_> = settings
                    .realms
                    .iter()
                    .map(|r| format!("{}-{}", r.ports.start(), r.ports.end()))
                    .collect();
                let ranges =
                    ranges.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",");
                (
                    "ports-overlap",
                    format!(
                        "sysctl -w net.ipv4.ip_local_reserved_ports={ranges}, and keep it in /etc/sysctl.d/"
                    ),
                )
            }
            "descriptors" => (
                "descriptors",
                "raise LimitNOFILE= of the unit (or `ulimit -n`), or give out fewer ports".into(),
            ),
            setting => {
                ("kernel-setting", format!("raise {setting} with sysctl, and keep it in /etc/sysctl.d/"))
            }
        };
        report.warning(check, &at, lack.text, fix);
    }
    if gateway.role == GatewayRole::Mrfp || gateway.engine == EngineMode::Relay {
        return;
    }
    let addresses: Vec<IpAddr> = gateway
        .realm
        .values()
        .map(|realm| realm.as_ref())
        .flat_map(|realm| [realm.v4.map(IpAddr::from), realm.v6.map(IpAddr::from)])
        .flatten()
        .filter(|ip| !ip.is_loopback())
        .collect();
    if !addresses.is_empty() {
        kernel_engine(&at, gateway, addresses.iter().any(IpAddr::is_ipv6), report);
        reverse_path(&at, gateway, report);
    }
}

/// What the kernel engine needs, as the engine itself looks at its start.
fn kernel_engine(at: &str, gateway: &GatewaySection, v6: bool, report: &mut Report) {
    report.looked("kernel engine");
    let sessions = u64::try_from(gateway.max_contexts).unwrap_or(u64::MAX);
    let lacks = carnet_net::media::kernel_lacks(sessions);
    for lack in lacks.into_iter().filter(|lack| v6 || !lack.only_v6) {
        // One that begins with a setting is about that.
        let setting = lack.text.split(' ').next().filter(|word| word.starts_with("net.")).map(str::to_owned);
        let fix = match setting {
            Some(setting) if lack.fatal => format!("sysctl -w {setting}=1, and keep it in /etc/sysctl.d/"),
            Some(setting) => format!("sysctl -w {setting}={sessions}, and keep it in /etc/sysctl.d/"),
            None => "docs/engines.md says what the kernel engine needs".to_owned(),
        };
        let fix = format!("{fix}; `engine = \"relay\"` does without");
        match gateway.engine {
            _ if lack.text.contains("not permitted") && !rustix::process::geteuid().is_root() => {
                let fix = "run `carnet doctor` as root to see it";
                report.note("kernel-engine-unseen", at, lack.text, fix);
            }
            EngineMode::Kernel if lack.fatal => report.fault("kernel-engine", at, lack.text, fix),
            _ if lack.fatal => {
                report.note("kernel-engine", at, format!("everything is relayed: {}", lack.text), fix);
            }
            _ => report.warning("kernel-engine", at, lack.text, fix),
        }
    }
}

/// Answers that leave by another interface than questions came in by are dropped under strict filtering (RFC 3704 §2.2).
fn reverse_path(at: &str, gateway: &GatewaySection, report: &mut Report) {
    let several =
        gateway.realm.values().filter_map(|realm| realm.as_ref().v4).collect::<BTreeSet<_>>().len() > 1;
    let strict: Vec<String> = fs::read_dir("/proc/sys/net/ipv4/conf")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name() != "lo" && entry.file_name() != "default")
        .filter(|entry| {
            fs::read_to_string(entry.path().join("rp_filter")).is_ok_and(|value| value.trim() == "1")
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    if several && !strict.is_empty() {
        let what = format!(
            "rp_filter is strict on {}: packets that come in by another way than answers leave are dropped",
            strict.join(", ")
        );
        let fix = "where a realm has several ways, set net.ipv4.conf.INTERFACE.rp_filter to 2";
        report.note("rp-filter", at, what, fix);
    }
}

/// What gateways may hold, against what there is.
fn memory(config: &Config, report: &mut Report) {
    report.looked("memory");
    let gateways = config.gateway.iter().filter(|(_, gateway)| gateway.as_ref().role != GatewayRole::Mrfp);
    let wanted = gateways.map(|(name, gateway)| media::settings(name, gateway.as_ref()).memory);
    let wanted = u64::try_from(wanted.sum::<usize>()).unwrap_or(u64::MAX);
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of = |member: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(member))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    };
    let group =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|max| max.trim().parse::<u64>().ok());
    let Some(total) = of("MemTotal:").map(|total| total.min(group.unwrap_or(u64::MAX))) else { return };
    let (mebi, fix) = (wanted >> 20, "lower `memory` of the gateways, or give the host more");
    if wanted > total {
        let what = format!("gateways may hold {mebi} MiB, and this host has {} MiB", total >> 20);
        report.fault("memory", "host", what, fix);
    } else if let Some(free) = of("MemAvailable:").filter(|free| wanted > *free) {
        let what = format!("gateways may hold {mebi} MiB, and {} MiB are free", free >> 20);
        report.warning("memory", "host", what, fix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn clocks_that_differ_are_told_with_the_way() {
        let ours = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_771_800);
        let said = |date: &str| {
            let mut report = Report::default();
            skew("x", Some(date), ours, &mut report);
            report.findings.first().map(|finding| finding.what.clone())
        };
        assert_eq!(said("Fri, 27 Nov 2026 09:30:03 GMT"), None);
        assert_eq!(
            said("Fri, 27 Nov 2026 09:31:00 GMT").unwrap(),
            "its clock is 60 s ahead of that of this host"
        );
        assert_eq!(
            said("Fri, 27 Nov 2026 09:20:00 GMT").unwrap(),
            "its clock is 600 s behind that of this host"
        );
        assert_eq!(said("yesterday"), None);
    }
}
