//! What the roles of a process hold at the moment, as gauges.

use super::held_sip;
use crate::doctor::certificate;
use carnet_ops::metrics::Gauge;
use serde_json::Value;
use std::path::PathBuf;

/// How full the ring is that ladders are made of.
pub(super) fn ring(level: super::tap::Level) -> Vec<Gauge> {
    let gauge = |name, help, value| Gauge { name, help, labels: Vec::new(), value };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let age = level.oldest.map_or(0.0, |oldest| now.saturating_sub(oldest).as_secs_f64());
    vec![
        gauge("carnet_trace_ring_octets", "Memory of the ring that ladders are made of", level.octets as f64),
        gauge("carnet_trace_ring_entries", "Messages and events in it", level.entries as f64),
        gauge(
            "carnet_trace_ring_gone",
            "Messages and events that have left it since the start",
            level.gone as f64,
        ),
        gauge("carnet_trace_ring_seconds", "Age of the oldest in it", age),
    ]
}

/// Of answers to [`Ask::List`](super::question::Ask::List) and [`Ask::Rooms`](super::question::Ask::Rooms).
pub(super) fn gauges(list: &Value, rooms: &Value) -> Vec<Gauge> {
    let mut gauges = vec![Gauge {
        name: "carnet_build_info",
        help: "The version that runs; the value is always 1",
        labels: vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
        value: 1.0,
    }];
    process(&mut gauges);
    for gateway in array(list, "gateways") {
        of_gateway(gateway, &mut gauges);
        let name = text(gateway.get("gateway").unwrap_or(&Value::Null));
        held_sip::gauges("gateway", name, gateway, &mut gauges);
    }
    for owner in array(list, "borders").iter().chain(array(list, "conferences")) {
        let (role, name) = match owner.get("border") {
            Some(name) => ("border", name),
            None => ("conference", owner.get("conference").unwrap_or(&Value::Null)),
        };
        held_sip::gauges(role, text(name), owner, &mut gauges);
        for (network, count) in object(owner, "registrations") {
            let Some(value) = count.as_f64() else { continue };
            gauges.push(Gauge {
                name: "carnet_border_registrations",
                help: "Contacts of terminals that are registered",
                labels: vec![("border", text(name).to_owned()), ("network", network.clone())],
                value,
            });
        }
        for gateway in array(owner, "gateways") {
            controlled(role, text(name), gateway, &mut gauges);
        }
    }
    for server in array(rooms, "conferences") {
        let name = text(server.get("conference").unwrap_or(&Value::Null));
        let rooms = array(server, "rooms");
        let members = rooms.iter().filter_map(|room| room.get("members").and_then(Value::as_f64)).sum();
        let labels = || vec![("conference", name.to_owned())];
        let count = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
        gauges.push(Gauge {
            name: "carnet_conference_rooms",
            help: "Rooms",
            labels: labels(),
            value: count.into(),
        });
        gauges.push(Gauge {
            name: "carnet_conference_members",
            help: "Members of rooms",
            labels: labels(),
            value: members,
        });
    }
    gauges
}

/// What runs here as a gateway.
fn of_gateway(gateway: &Value, gauges: &mut Vec<Gauge>) {
    let name = text(gateway.get("gateway").unwrap_or(&Value::Null)).to_owned();
    let mut put = |metric, help, more: &[(&'static str, &str)], value: Option<f64>| {
        let Some(value) = value else { return };
        let more = more.iter().map(|(label, value)| (*label, (*value).to_owned()));
        let labels = [("gateway", name.clone())].into_iter().chain(more).collect();
        gauges.push(Gauge { name: metric, help, labels, value });
    };
    let number = |of: &Value, member: &str| of.get(member).and_then(Value::as_f64);
    let registered = gateway.get("state").map(|state| f64::from(u8::from(state == "registered")));
    put("carnet_gateway_registered", "Whether a controller has it in service", &[], registered);
    put("carnet_gateway_contexts", "Contexts", &[], number(gateway, "contexts"));
    put("carnet_gateway_contexts_most", "Contexts that there may be", &[], number(gateway, "most_contexts"));
    for (engine, reasons) in object(gateway, "engines") {
        for (reason, count) in reasons.as_object().into_iter().flatten() {
            let labels = [("engine", engine.as_str()), ("reason", reason.as_str())];
            put(
                "carnet_gateway_streams",
                "Streams by what moves their octets, and why",
                &labels,
                count.as_f64(),
            );
        }
    }
    for (realm, pool) in object(gateway, "ports") {
        for state in ["free", "used", "resting"] {
            let labels = [("realm", realm.as_str()), ("state", state)];
            put(
                "carnet_gateway_ports",
                "Ports of a realm; one that rests was used a moment ago",
                &labels,
                number(pool, state),
            );
        }
    }
    for (realm, reasons) in object(gateway, "turned_away") {
        for (reason, count) in reasons.as_object().into_iter().flatten() {
            let labels = [("realm", realm.as_str()), ("reason", reason.as_str())];
            let help = "Callers turned away since the start";
            put("carnet_gateway_turned_away", help, &labels, count.as_f64());
        }
    }
    if let Some(memory) = gateway.get("memory") {
        let help = "Octets that receivers have not taken, in buffers and pipes";
        put("carnet_gateway_memory_bytes", help, &[], number(memory, "held"));
        put("carnet_gateway_memory_most_bytes", "As many as there may be", &[], number(memory, "most"));
        let help = "How often a direction found little room when it was about to read";
        put("carnet_gateway_memory_scarce_total", help, &[], number(memory, "scarce"));
    }
    if let Some(ng) = gateway.get("ng") {
        put("carnet_ng_calls", "Calls of a steered gateway", &[], number(ng, "calls"));
        put(
            "carnet_ng_requests",
            "Requests to the gateway that are not answered",
            &[],
            number(ng, "requests"),
        );
        for (result, count) in object(ng, "asked") {
            let help = "Messages over ng by what became of them";
            put("carnet_ng_messages_total", help, &[("result", result.as_str())], count.as_f64());
        }
    }
    if let Some(kernel) = gateway.get("kernel") {
        put(
            "carnet_gateway_kernel_carried",
            "Streams that the kernel is to carry",
            &[],
            number(kernel, "carried"),
        );
        put(
            "carnet_gateway_kernel_connections",
            "Connections that it carries",
            &[],
            number(kernel, "connections"),
        );
        put(
            "carnet_gateway_kernel_octets",
            "Octets that it has carried since the start, both ways, as of some seconds ago",
            &[],
            number(kernel, "octets"),
        );
        put(
            "carnet_gateway_kernel_refused",
            "Streams that it refused since the start",
            &[],
            number(kernel, "refused"),
        );
    }
}

/// A gateway as its controller knows it.
fn controlled(role: &'static str, owner: &str, gateway: &Value, gauges: &mut Vec<Gauge>) {
    let name = text(gateway.get("gateway").unwrap_or(&Value::Null)).to_owned();
    let mut put = |metric, help, value: Option<f64>| {
        let Some(value) = value else { return };
        let labels = vec![("role", role.to_owned()), ("node", owner.to_owned()), ("gateway", name.clone())];
        gauges.push(Gauge { name: metric, help, labels, value });
    };
    let number = |member: &str| gateway.get(member).and_then(Value::as_f64);
    let silent = number("silent_ms").map(|ms| ms / 1e3);
    put("carnet_control_contexts", "Contexts that a controller has at a gateway", number("contexts"));
    put("carnet_control_outstanding", "Requests that a gateway has not answered yet", number("outstanding"));
    put("carnet_control_silent_seconds", "How long a gateway has not been heard of", silent);
    let round_trip = number("round_trip_ms").map(|ms| ms / 1e3);
    put("carnet_control_round_trip_seconds", "How long a gateway takes to answer", round_trip);
    let up = gateway.get("state").map(|state| f64::from(u8::from(state == "in service")));
    put("carnet_control_in_service", "Whether a controller can use a gateway", up);
}

/// When certificates are over, by where they stand in the file.
pub(super) fn certificates(dated: Vec<(String, PathBuf)>) -> Vec<Gauge> {
    let gauge = |(at, path): (String, PathBuf)| {
        // A double holds every second until long after the last year that a certificate can have.
        #[allow(clippy::cast_precision_loss)]
        let value = certificate::end_of(&path)? as f64;
        Some(Gauge {
            name: "carnet_certificate_expiry_timestamp_seconds",
            help: "When the certificate in the file is over, since 1970",
            labels: vec![("at", at)],
            value,
        })
    };
    dated.into_iter().filter_map(gauge).collect()
}

/// What the kernel says of this process; missing where it says nothing.
fn process(gauges: &mut Vec<Gauge>) {
    let mut put = |name, help, value: Option<f64>| {
        let Some(value) = value else { return };
        gauges.push(Gauge { name, help, labels: Vec::new(), value });
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |member: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(member))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    put("process_resident_memory_bytes", "Memory in use", kib("VmRSS:").map(|kib| kib * 1024.0));
    put("process_threads", "Threads", kib("Threads:"));
    let open =
        std::fs::read_dir("/proc/self/fd").ok().and_then(|entries| u32::try_from(entries.count()).ok());
    put("process_open_fds", "Open files and sockets", open.map(f64::from));
    // 2^53 and more, where nothing keeps them, is as good as it.
    #[allow(clippy::cast_precision_loss)]
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(|most| most as f64);
    put("process_max_fds", "Files and sockets that may be open", most);
}

fn array<'a>(of: &'a Value, member: &str) -> &'a [Value] {
    of.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn object<'a>(of: &'a Value, member: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    of.get(member).and_then(Value::as_object).into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_held_becomes_gauges() {
        let list = json!({
            "gateways": [{
                "gateway": "agw", "state": "registered", "contexts": 3, "most_contexts": 9,
                "engines": { "kernel": { "passes": 4 } },
                "ports": { "core": { "free": 5, "used": 1, "resting": 0 } },
                "turned_away": { "core": { "strangers": 7 } },
                "kernel": { "carried": 2, "connections": 1, "refused": 0, "lacks": [] },
            }],
            "borders": [{ "border": "b-a", "gateways": [{
                "gateway": "agw", "state": "in service", "contexts": 3, "outstanding": 0, "silent_ms": 1500, "round_trip_ms": null,
            }] }],
        });
        let rooms = json!({ "conferences": [{ "conference": "conf", "rooms": [{ "members": 2 }, { "members": 3 }] }] });
        let text = carnet_ops::metrics::Metrics::new().render(&gauges(&list, &rooms));
        for line in [
            "carnet_gateway_registered{gateway=\"agw\"} 1\n",
            "carnet_gateway_contexts{gateway=\"agw\"} 3\n",
            "carnet_gateway_streams{gateway=\"agw\",engine=\"kernel\",reason=\"passes\"} 4\n",
            "carnet_gateway_ports{gateway=\"agw\",realm=\"core\",state=\"free\"} 5\n",
            "carnet_gateway_turned_away{gateway=\"agw\",realm=\"core\",reason=\"strangers\"} 7\n",
            "carnet_control_silent_seconds{role=\"border\",node=\"b-a\",gateway=\"agw\"} 1.5\n",
            "carnet_control_in_service{role=\"border\",node=\"b-a\",gateway=\"agw\"} 1\n",
            "carnet_conference_members{conference=\"conf\"} 5\n",
            "# TYPE process_resident_memory_bytes gauge\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("round_trip"), "unknown is not zero");
    }
}
