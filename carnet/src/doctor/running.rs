//! A process that runs with this file already: what it says of itself.

use super::report::Report;
use crate::node::{Node, of_section};
use carnet_ops::config::Config;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What it holds, if it runs and answers: over its socket, or over HTTP.
pub async fn ask(config: &Config, report: &mut Report) -> Option<Value> {
    let admin = config.admin.as_ref().map(|admin| admin.as_ref())?;
    if let Some(socket) = &admin.socket
        && let Err(error) = UnixStream::connect(socket)
        && error.kind() == ErrorKind::PermissionDenied
    {
        let why = format!("{}: {error}", socket.display());
        let fix = "run `carnet doctor` as the user of the service, or as root";
        report.note("administration-unseen", "admin.socket", why, fix);
    }
    let node: Node = of_section(admin, None, None).ok()?;
    node.get("/api/v1/nodes").await.ok()
}

/// The process that runs with this file, by what it was started with: it may be one that cannot be asked.
pub fn process(file: &Path) -> Option<u32> {
    let file = file.canonicalize().ok()?;
    let same = |process: &Path| {
        let line = std::fs::read(process.join("cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|octet| *octet == 0).collect();
        let runs =
            Path::new(OsStr::from_bytes(words.first()?)).file_name()? == "carnet" && words.get(1)? == b"run";
        // `-c FILE`, `-cFILE`, `--config FILE`, `--config=FILE`
        let named = words.iter().any(|word| {
            let bare =
                [&b"--config="[..], b"-c"].iter().find_map(|flag| word.strip_prefix(*flag)).unwrap_or(word);
            let path = Path::new(OsStr::from_bytes(bare));
            let path = match path.is_absolute() {
                true => Some(path.to_owned()),
                false => std::fs::read_link(process.join("cwd")).ok().map(|directory| directory.join(path)),
            };
            path.and_then(|path| path.canonicalize().ok()).is_some_and(|path| path == file)
        });
        Some(runs && named)
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut numbered =
        processes.filter_map(|process| Some((process.file_name().to_str()?.parse().ok()?, process.path())));
    numbered.find(|(_, path)| same(path) == Some(true)).map(|(number, _)| number)
}

/// It has a door, and does not come to it.
pub fn silent(number: u32, report: &mut Report) {
    let status = std::fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
    let state =
        status.lines().find_map(|line| line.strip_prefix("State:")).map(str::trim).unwrap_or_default();
    if state.starts_with('T') {
        let what = format!("it runs (process {number}) and is stopped: it does nothing at all");
        return report.fault(
            "process-silent",
            "admin",
            what,
            format!("`kill -CONT {number}`, or start it anew"),
        );
    }
    let what = format!("it runs (process {number}) and does not answer at `socket` or `listen` of [admin]");
    let fix = "it hangs, or has no descriptors left: its log says so; `carnet doctor` as its own user or root sees more. Start it anew; under systemd \
               its watchdog does (WatchdogSec=)";
    report.fault("process-silent", "admin", what, fix);
}

/// What to do about a gateway that a controller cannot use.
fn away(name: &str, state: &str, gateway: &Value) -> String {
    match state {
        "estranged" => format!(
            "{name} says that another is its controller: the name before `@` in its `controllers` has to be that of this one, and only one \
             controller may have it"
        ),
        _ if gateway.get("refusal").is_some_and(|refusal| !refusal.is_null()) => {
            format!(
                "it was turned away: {}; compare what it registers as with `control` here",
                text(gateway, "refusal")
            )
        }
        _ => format!(
            "see that {name} runs and has this controller in `controllers` with its address, that UDP or TCP of control passes both ways, and \
             that `control.peers` here names the address it has (`foreign-control` in the log says if not)"
        ),
    }
}

/// Gateways without a controller, controllers without their gateways, pools that are used up.
pub fn look(nodes: &Value, report: &mut Report) {
    report.looked("the running process");
    for gateway in array(nodes, "gateways") {
        let at = format!("gateway.{}", text(gateway, "gateway"));
        let state = text(gateway, "state");
        if state != "registered" {
            let what = format!("it runs, and is {state}");
            let fix =
                "see whether its controller runs and knows it by this name (`control.gateways`), and its log";
            report.fault("gateway-not-registered", &at, what, fix);
        }
        let pools = gateway.get("ports").and_then(Value::as_object).into_iter().flatten();
        for (realm, pool) in pools.filter(|(_, pool)| pool.get("free").and_then(Value::as_u64) == Some(0)) {
            let what = format!(
                "no port of realm {realm} is free ({} used, {} resting)",
                text(pool, "used"),
                text(pool, "resting")
            );
            report.warning(
                "ports-used-up",
                &at,
                what,
                "widen `ports`, or have fewer calls at once (`max-contexts`)",
            );
        }
        let (held, most) = (number(gateway, "contexts"), number(gateway, "most_contexts"));
        if held.zip(most).is_some_and(|(held, most)| held >= most) {
            report.warning(
                "contexts-used-up",
                &at,
                "it has as many contexts as it may",
                "raise `max-contexts`, or add a gateway",
            );
        }
    }
    for (list, role) in [("borders", "border"), ("conferences", "conference")] {
        for owner in array(nodes, list) {
            let at = format!("{role}.{}", text(owner, role));
            for gateway in array(owner, "gateways") {
                let (name, state) = (text(gateway, "gateway"), text(gateway, "state"));
                if state != "in service" {
                    let what = format!("its gateway {name} is {state}: nothing goes over it");
                    let fix = away(&name, &state, gateway);
                    report.fault("gateway-not-in-service", &at, what, fix);
                }
            }
        }
    }
}

fn array<'a>(of: &'a Value, member: &str) -> &'a [Value] {
    of.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(of: &Value, member: &str) -> String {
    match of.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn number(of: &Value, member: &str) -> Option<u64> {
    of.get(member)?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_work_is_found() {
        let nodes = json!({
            "gateways": [
                { "gateway": "a", "state": "registered", "contexts": 1, "most_contexts": 9, "ports": { "x": { "free": 0, "used": 4, "resting": 1 } } },
                { "gateway": "b", "state": "looking for a controller", "contexts": 9, "most_contexts": 9 },
            ],
            "borders": [{ "border": "c", "gateways": [{ "gateway": "d", "state": "never registered" }, { "gateway": "e", "state": "in service" }] }],
        });
        let mut report = Report::default();
        look(&nodes, &mut report);
        let found: Vec<_> =
            report.findings.iter().map(|finding| (finding.at.as_str(), finding.check)).collect();
        assert_eq!(
            found,
            [
                ("gateway.a", "ports-used-up"),
                ("gateway.b", "gateway-not-registered"),
                ("gateway.b", "contexts-used-up"),
                ("border.c", "gateway-not-in-service"),
            ]
        );
    }
}
