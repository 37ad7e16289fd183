//! What the host has to have.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Conntrack, Error, Log, Table, TableConfig, provoke};

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What, and what to do about it, in one sentence.
    pub text: String,
    /// Without it nothing can be translated; else it is only worse.
    pub fatal: bool,
    /// Only for this IP version.
    pub only_v6: bool,
    /// Not even callers can be steered.
    pub table: bool,
}

impl Lack {
    fn of(text: String) -> Self {
        Self { text, fatal: true, only_v6: false, table: false }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Looks, and changes nothing that lasts: capabilities, netlink, the expressions that the rules need, forwarding,
/// counting, the size of the connection table against `sessions`.
#[must_use]
pub fn lacks(sessions: u64) -> Vec<Lack> {
    let mut lacks = Vec::new();
    // A table of the same rules under another name, which is gone again.
    static CHECKS: AtomicU32 = AtomicU32::new(0);
    let name = format!("check-{}-{}", std::process::id(), CHECKS.fetch_add(1, Ordering::Relaxed));
    let config = TableConfig { name, size: 1, log_group: 0, early_group: Some(0) };
    match Table::open(&config).and_then(|opened| opened.table.remove()) {
        Ok(()) => {}
        Err(error) => lacks.push(Lack { table: true, ..Lack::of(about("nftables", &error)) }),
    }
    if let Err(error) = Conntrack::open() {
        lacks.push(Lack::of(about("connection tracking", &error)));
    }
    if let Err(error) = Log::open() {
        lacks.push(Lack::of(about("packet logs", &error)));
    }
    if let Err(error) = provoke::raw(std::net::Ipv4Addr::LOCALHOST.into()) {
        lacks.push(Lack::of(about("raw sockets", &error)));
    }
    lacks.extend(settings(sessions, &|name| {
        fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?.trim().parse().ok()
    }));
    lacks
}

fn about(what: &str, error: &Error) -> String {
    match error {
        Error::NotPermitted(_) => {
            format!("{what}: not permitted; give the process CAP_NET_ADMIN and CAP_NET_RAW")
        }
        other => format!(
            "{what}: {other}; the kernel needs nf_tables, nf_nat, nft_tproxy, nf_conntrack_netlink and nfnetlink_log"
        ),
    }
}

/// What the kernel is set to. What cannot be read is not complained about, where it is not needed.
fn settings(sessions: u64, number: &dyn Fn(&str) -> Option<u64>) -> Vec<Lack> {
    let mut lacks = Vec::new();
    for (name, only_v6) in [("ipv4/ip_forward", false), ("ipv6/conf/all/forwarding", true)] {
        if number(name) != Some(1) {
            let text = format!(
                "net.{} is not 1: packets do not pass through this host; set it",
                name.replace('/', ".")
            );
            lacks.push(Lack { only_v6, ..Lack::of(text) });
        }
    }
    if number("netfilter/nf_conntrack_acct") != Some(1) {
        lacks.push(Lack::of(
            "net.netfilter.nf_conntrack_acct is not 1: octets of sessions are not counted; set it".to_owned(),
        ));
    }
    if number("netfilter/nf_conntrack_tcp_be_liberal") == Some(0) {
        let text = "net.netfilter.nf_conntrack_tcp_be_liberal is 0: a segment that comes very late ends its session; set it to 1";
        lacks.push(Lack { fatal: false, ..Lack::of(text.to_owned()) });
    }
    if let Some(most) = number("netfilter/nf_conntrack_max").filter(|most| *most < sessions) {
        lacks.push(Lack {
            fatal: false,
            ..Lack::of(format!(
                "net.netfilter.nf_conntrack_max is {most}: fewer connections than the {sessions} sessions that there may be"
            ))
        });
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_a_router_lacks_nothing() {
        let router = |name: &str| Some(if name.ends_with("max") { 1000 } else { 1 });
        assert_eq!(settings(1000, &router), []);
        let few: Vec<_> = settings(1001, &router).into_iter().map(|lack| lack.fatal).collect();
        assert_eq!(few, [false]);
    }

    #[test]
    fn what_is_not_set_is_said_with_what_it_is_good_for() {
        let lacks = settings(1, &|name| Some(u64::from(name != "ipv6/conf/all/forwarding")));
        let [lack] = lacks.as_slice() else { panic!("{lacks:?}") };
        assert!(lack.fatal && lack.only_v6 && lack.text.starts_with("net.ipv6.conf.all.forwarding is not 1"));
        assert_eq!(settings(1, &|_| None).iter().filter(|lack| lack.fatal).count(), 3);
    }
}
