//! Whether rules of others in the kernel's packet filter keep media from the ports of a gateway. Looked at as `nft` lists them, and
//! changed never: a chain that drops what no rule lets in needs one that lets our ports in, and none that drops them.
//!
//! Rules are not carried out here. What cannot be understood (sets, rules of iptables' own modules) is said to be so. Left out:
//! filters of nft's netdev and bridge families, eBPF, and firewalls on other hosts.

use super::clock::said;
use super::report::Report;
use carnet_ops::config::{Config, EngineMode, GatewayRole};
use serde_json::Value;
use std::net::IpAddr;

/// Ours, which only we change.
const OURS: &str = "carnet";

/// Ports of a realm.
struct Pool {
    at: String,
    ip: IpAddr,
    ports: (u64, u64),
    /// Packets pass through the host as well.
    passes: bool,
}

/// All gateways.
pub fn look(config: &Config, report: &mut Report) {
    let mut pools = Vec::new();
    for (name, gateway) in &config.gateway {
        let gateway = gateway.as_ref();
        for (realm, section) in &gateway.realm {
            let section = section.as_ref();
            let ports = (u64::from(*section.ports.0.start()), u64::from(*section.ports.0.end()));
            let passes = gateway.role != GatewayRole::Mrfp && gateway.engine != EngineMode::Relay;
            let ips = [section.v4.map(IpAddr::from), section.v6.map(IpAddr::from)].into_iter().flatten();
            // What stays within the host is let pass by every firewall that one can work with.
            pools.extend(ips.filter(|ip| !ip.is_loopback()).map(|ip| {
                let at = format!("gateway.{name}.realm.{realm}");
                Pool { at, ip, ports, passes }
            }));
        }
    }
    if pools.is_empty() {
        return;
    }
    // Without nft, or the right to list rules, there is nothing to be said.
    let listed = said("nft", &["-j", "list", "ruleset"]).and_then(|text| serde_json::from_str(&text).ok());
    let Some(listed) = listed else { return };
    report.looked("firewall");
    for pool in &pools {
        of_pool(pool, &listed, report);
    }
}

fn of_pool(pool: &Pool, listed: &Value, report: &mut Report) {
    let (first, last) = pool.ports;
    let to = format!("TCP to {} ports {first}-{last}", pool.ip);
    let fix = format!(
        "let it in: `nft insert rule FAMILY TABLE CHAIN {} daddr {} tcp dport {first}-{last} accept`, and keep that in the firewall's own settings",
        if pool.ip.is_ipv4() { "ip" } else { "ip6" },
        pool.ip
    );
    for chain in things(listed, "chain").filter(|chain| is_filter(chain, pool.ip)) {
        let hook = text(chain, "hook");
        if hook != "input" && (hook != "forward" || !pool.passes) {
            continue;
        }
        let named = format!(
            "chain `{}` of table `{} {}`",
            text(chain, "name"),
            text(chain, "family"),
            text(chain, "table")
        );
        // Chains that it leads to are of the same table.
        let of_table = |rule: &&Value| {
            text(rule, "family") == text(chain, "family") && text(rule, "table") == text(chain, "table")
        };
        let verdicts: Vec<Rule> =
            things(listed, "rule").filter(of_table).map(|rule| Rule::read(rule, pool)).collect();
        let lets_in = verdicts.contains(&Rule::LetsIn);
        if hook == "input" && !lets_in && verdicts.contains(&Rule::Drops) {
            report.warning("firewall-drops", &pool.at, format!("{named} drops {to}"), fix.clone());
        } else if text(chain, "policy") == "drop" && !lets_in {
            let what = format!("{named} drops what no rule lets in");
            if verdicts.contains(&Rule::Unclear) || hook == "forward" {
                let what = format!("{what}; whether one lets in {to} cannot be told from here");
                report.note("firewall-unclear", &pool.at, what, fix.clone());
            } else {
                report.warning(
                    "firewall-drops",
                    &pool.at,
                    format!("{what}, and none lets in {to}"),
                    fix.clone(),
                );
            }
        }
    }
}

fn things<'a>(listed: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let all = listed.get("nftables").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(move |thing| thing.get(kind))
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A chain of somebody else's that may drop packets to that address.
fn is_filter(chain: &Value, ip: IpAddr) -> bool {
    let family = if ip.is_ipv4() { "ip" } else { "ip6" };
    text(chain, "type") == "filter"
        && [family, "inet"].contains(&text(chain, "family"))
        && !text(chain, "table").starts_with(OURS)
}

/// What a rule does to new connections to the ports of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    LetsIn,
    Drops,
    Nothing,
    Unclear,
}

impl Rule {
    fn read(rule: &Value, pool: &Pool) -> Self {
        let expressions = || rule.get("expr").and_then(Value::as_array).into_iter().flatten();
        let has = |name: &str| expressions().any(|expression| expression.get(name).is_some());
        // As iptables has them: their content is not told.
        if has("xt") {
            return Self::Unclear;
        }
        let (accepts, drops) = (has("accept"), has("drop") || has("reject"));
        if !accepts && !drops {
            return Self::Nothing;
        }
        let (mut all, mut of_our_ports, mut conditions) = (true, false, false);
        for of in expressions().filter_map(|expression| expression.get("match")) {
            let left = &of["left"]["payload"];
            let equal = matches!(text(of, "op"), "==" | "in");
            let fits = match (text(left, "protocol"), text(left, "field")) {
                ("tcp" | "th", "dport") if equal => {
                    of_our_ports = true;
                    covers(&of["right"], pool.ports, accepts)
                }
                ("ip" | "ip6", "daddr") if equal => is_address(&of["right"], pool.ip),
                ("ip" | "ip6", "protocol" | "nexthdr") if equal => Some(of["right"] == "tcp"),
                _ if of["left"]["meta"]["key"] == "l4proto" && equal => Some(of["right"] == "tcp"),
                _ if of["left"]["ct"]["key"] == "state" => Some(of["right"].to_string().contains("\"new\"")),
                // Others hold for some and not for others.
                _ => {
                    conditions = true;
                    Some(true)
                }
            };
            match fits {
                Some(fits) => all &= fits,
                None => return Self::Unclear,
            }
        }
        match (all, conditions, accepts) {
            (true, false, true) => Self::LetsIn,
            (true, false, false) => Self::Drops,
            (true, true, true) if of_our_ports => Self::Unclear,
            _ => Self::Nothing,
        }
    }
}

/// Whether ports of a rule are all of a pool, or, for what drops, some of it. `None` if they have only a name.
fn covers(right: &Value, (first, last): (u64, u64), whole: bool) -> Option<bool> {
    let one = |value: &Value| -> Option<(u64, u64)> {
        let range = value.get("range").and_then(Value::as_array);
        match (value.as_u64(), range.map(Vec::as_slice)) {
            (Some(port), _) => Some((port, port)),
            (None, Some([from, to])) => Some((from.as_u64()?, to.as_u64()?)),
            _ => None,
        }
    };
    let fits = |(from, to): (u64, u64)| match whole {
        true => from <= first && last <= to,
        false => from <= last && first <= to,
    };
    match right.get("set").and_then(Value::as_array) {
        Some(set) => Some(set.iter().filter_map(one).any(fits)),
        None => one(right).map(fits),
    }
}

fn is_address(right: &Value, ip: IpAddr) -> Option<bool> {
    match (right.as_str(), right.get("set").and_then(Value::as_array)) {
        (Some(text), _) if !text.starts_with('@') => Some(text.parse() == Ok(ip)),
        (None, Some(set)) => Some(set.iter().filter_map(Value::as_str).any(|text| text.parse() == Ok(ip))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(policy: &str, rules: &[Value]) -> Vec<(&'static str, &'static str)> {
        let of = |mut thing: Value| {
            (thing["family"], thing["table"]) = ("inet".into(), "host".into());
            thing
        };
        let chain =
            of(json!({ "name": "in", "type": "filter", "hook": "input", "prio": 0, "policy": policy }));
        let mut all = vec![json!({ "metainfo": { "version": "1.0.6" } }), json!({ "chain": chain })];
        all.extend(rules.iter().map(|rule| json!({ "rule": of(json!({ "chain": "in", "expr": rule })) })));
        let pool = Pool {
            at: "here".into(),
            ip: "192.0.2.7".parse().unwrap(),
            ports: (20_000, 20_009),
            passes: false,
        };
        let mut report = Report::default();
        of_pool(&pool, &json!({ "nftables": all }), &mut report);
        report.findings.iter().map(|finding| (finding.check, finding.weight.name())).collect()
    }

    fn dport(right: Value) -> Value {
        json!({ "match": { "op": "==", "left": { "payload": { "protocol": "tcp", "field": "dport" } }, "right": right } })
    }

    #[test]
    fn who_is_kept_out_is_told() {
        let accept = || json!({ "accept": null });
        let drops = [("firewall-drops", "warning")];
        let established = json!([
            { "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": ["established", "related"] } },
            { "accept": null }
        ]);
        let ssh = json!([dport(json!(22)), accept()]);
        let lo = json!([
            { "match": { "op": "==", "left": { "meta": { "key": "iifname" } }, "right": "lo" } },
            { "accept": null }
        ]);
        let usual = [established.clone(), ssh.clone(), lo.clone()];
        assert_eq!(found("accept", &usual), []);
        assert_eq!(found("drop", &usual), drops);
        // A part of them, or others.
        assert_eq!(found("drop", &[json!([dport(json!({ "range": [20_000, 20_008] })), accept()])]), drops);
        for right in
            [json!({ "range": [20_000, 20_009] }), json!({ "set": [22, { "range": [1_024, 65_535] }] })]
        {
            assert_eq!(found("drop", &[ssh.clone(), json!([dport(right), accept()])]), []);
        }
        let new = json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": "new" } });
        assert_eq!(found("drop", &[json!([new, dport(json!({ "range": [1, 65_535] })), accept()])]), []);
        assert_eq!(found("drop", &[json!([accept()])]), []);
        // Dropped by a rule, though the chain lets in.
        assert_eq!(
            found("accept", &[json!([dport(json!({ "range": [20_005, 30_000] })), { "drop": null }])]),
            drops
        );
        assert_eq!(found("accept", &[json!([dport(json!(20_010)), { "drop": null }])]), []);
    }

    #[test]
    fn what_cannot_be_understood_is_said_to_be_so() {
        let accept = || json!({ "accept": null });
        let unclear = [("firewall-unclear", "note")];
        let from =
            json!({ "match": { "op": "==", "left": { "meta": { "key": "iifname" } }, "right": "eth0" } });
        for rule in [
            json!([dport(json!("@media")), accept()]),
            json!([from, dport(json!({ "range": [20_000, 20_009] })), accept()]),
            json!([{ "xt": null }]),
        ] {
            assert_eq!(found("drop", std::slice::from_ref(&rule)), unclear, "{rule}");
        }
    }
}
