//! The host: its clock, the settings of its kernel, descriptors, memory.

use super::{clock, report::Report};
use crate::roles::media;
use carnet_net::h248::ControlTransport;
use carnet_net::media::{raise_descriptor_limit, shortcomings};
use carnet_ops::config::{Config, ControlAddress, ControlProto, EngineMode, GatewayRole, GatewaySection};
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::SystemTime;

/// Seconds by which clocks may differ without anybody noticing.
const SKEW: i64 = 5;

/// All of it.
pub fn look(config: &Config, report: &mut Report) {
    clock::look(report);
    time_zone(report);
    report.looked("kernel settings");
    // As `carnet run` does.
    raise_descriptor_limit();
    descriptors(config, report);
    associations(config, || ControlTransport::Sctp.available(), report);
    for (name, gateway) in &config.gateway {
        gateway_host(name, gateway.as_ref(), report);
    }
    memory(config, report);
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

/// Whoever reads the log beside others of this host should know that they differ.
fn time_zone(report: &mut Report) {
    let now = jiff::Zoned::now();
    if now.offset().seconds() != 0 {
        let what = format!("the log, records and events are in UTC, and this host shows {}", now.offset());
        let fix = "nothing, if that is known; `journalctl --utc` shows other logs in UTC, `timedatectl set-timezone UTC` all of it";
        report.note("time-zone", "log", what, fix);
    }
}

/// What all gateways of the file may hold at once, beside what one of them may (`shortcomings`).
fn descriptors(config: &Config, report: &mut Report) {
    // At both sides of a session a socket that listens, and a connection.
    const OF_A_SESSION: u64 = 4;
    // The program's own, and signalling.
    const OTHERS: u64 = 256;
    if config.gateway.len() < 2 {
        return;
    }
    let sessions = config.gateway.values().map(|gateway| gateway.as_ref().max_contexts as u64).sum::<u64>();
    let needed = sessions.saturating_mul(OF_A_SESSION).saturating_add(OTHERS);
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < needed) {
        let what = format!(
            "{limit} descriptors are allowed; {sessions} sessions of all gateways take up to {needed}"
        );
        let fix = "raise LimitNOFILE= of the unit (or `ulimit -n`), or lower `max-contexts` of the gateways";
        report.warning("descriptors", "gateway", what, fix);
    }
}

/// SCTP, where gateway control wants it. `available` says whether the kernel has it.
fn associations<E: std::fmt::Display>(
    config: &Config,
    available: impl FnOnce() -> Result<(), E>,
    report: &mut Report,
) {
    let listens = super::controls(config)
        .filter(|(_, control)| control.listen.iter().any(|bind| bind.as_ref().proto == ControlProto::Sctp));
    let mut at: Vec<String> = listens.map(|(at, _)| format!("{at}.listen")).collect();
    at.extend(config.gateway.iter().filter_map(|(name, gateway)| {
        let wants = |address: &ControlAddress| {
            matches!(address, ControlAddress::Remote { proto: ControlProto::Sctp, .. })
        };
        let wants = gateway.as_ref().controllers.as_ref().iter().any(wants);
        wants.then(|| format!("gateway.{name}.controllers"))
    }));
    if at.is_empty() {
        return;
    }
    if let Err(error) = available() {
        for at in at {
            let fix = "`modprobe sctp`, and a line `sctp` in a file of /etc/modules-load.d/; Debian has it in the kernel's own package";
            report.fault("sctp-missing", &at, error.to_string(), fix);
        }
    }
}

/// Connections that the kernel follows, of whatever program.
fn tracked(at: &str, report: &mut Report) {
    let number = |name: &str| -> Option<u64> {
        fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok()?.trim().parse().ok()
    };
    let (count, most) = (number("nf_conntrack_count"), number("nf_conntrack_max"));
    if let (Some(count), Some(most)) = (count, most.filter(|most| *most > 0))
        && count.saturating_mul(5) > most.saturating_mul(4)
    {
        let what = format!("the kernel follows {count} connections of {most}: what comes beyond is dropped");
        let fix = "`conntrack -L` says whose they are; raise net.netfilter.nf_conntrack_max with sysctl, and keep it in /etc/sysctl.d/";
        report.warning("conntrack-full", at, what, fix);
    }
    if let (Some(most), Some(buckets)) = (most, number("nf_conntrack_buckets").filter(|buckets| *buckets > 0))
        && most / buckets > 8
    {
        let what = format!("up to {most} connections share {buckets} buckets: finding one takes long");
        let fix = "set net.netfilter.nf_conntrack_buckets to a quarter of nf_conntrack_max or more, and keep it in /etc/sysctl.d/";
        report.note("conntrack-buckets", at, what, fix);
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
        tracked(&at, report);
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
    fn who_wants_sctp_hears_that_there_is_none() {
        let config = |transport: &str| {
            let text = format!(
                "[border.c]\nrole = \"ibcf\"\ndomain = \"c\"\n\
                 control = {{ listen = [\"tcp:127.0.0.1:2944\", \"{transport}:127.0.0.1:2945\"], gateways = [\"h\"] }}\n\
                 [border.c.network.a]\nlisten = [\"udp:127.0.0.1:5060\"]\n\
                 [border.c.network.b]\nlisten = [\"udp:127.0.0.1:5061\"]\n\
                 [gateway.g]\nrole = \"trgw\"\ncontrollers = [\"d@tcp:127.0.0.1:2944\", \"d@{transport}:127.0.0.1:2945\"]\n\
                 [gateway.g.realm.n]\nv4 = \"127.0.0.1\"\nports = \"1-9\"\n"
            );
            carnet_ops::config::parse("x", text, std::path::Path::new("/")).unwrap()
        };
        let found = |transport: &str, there: bool| {
            let mut report = Report::default();
            let available = || if there { Ok(()) } else { Err("no SCTP") };
            associations(&config(transport), available, &mut report);
            let of = |finding: &super::super::report::Finding| {
                (finding.check, finding.at.clone(), finding.what.clone())
            };
            report.findings.iter().map(of).collect::<Vec<_>>()
        };
        let missing = |at: &str| ("sctp-missing", at.to_owned(), "no SCTP".to_owned());
        assert_eq!(
            found("sctp", false),
            [missing("border.c.control.listen"), missing("gateway.g.controllers")]
        );
        assert!(found("sctp", true).is_empty());
        assert!(found("tcp", false).is_empty(), "nobody wants it");
    }

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
