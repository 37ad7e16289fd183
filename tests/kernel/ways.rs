//! The network of docs/running.md with gateways that leave their media to the kernel.

use crate::lab::Lab;
use crate::network::{self, MEDIA_HOSTS, PATIENCE, Shape};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Sets a switch of a host's network.
fn set(lab: &Lab, host: &str, switch: &str) {
    let status = lab.command(host, "sysctl").args(["-qw", switch]).status().expect("sysctl");
    assert!(status.success(), "{switch} on {host}");
}

/// Hosts and files; nothing runs yet. Every gateway forwards, counts and keeps its contexts.
pub fn build(lab: &mut Lab, shape: &Shape) {
    network::build_as(lab, shape);
    for (host, ..) in MEDIA_HOSTS {
        allow(lab, host);
        let file = format!("{host}.toml");
        let text = std::fs::read_to_string(lab.directory().join(&file)).expect("its file");
        let text = text.replace("witness = \"headers\"\n", "");
        let mut kept = String::new();
        for line in text.lines() {
            kept += &format!("{line}\n");
            if line.starts_with("role = ") {
                kept += "state = \"state\"\n";
            }
        }
        kept += &format!("[admin]\nsocket = \"{host}.sock\"\n");
        lab.file(&file, &kept);
    }
}

/// The host lets its kernel lead packets on.
pub fn allow(lab: &Lab, host: &str) {
    set(lab, host, "net.ipv4.ip_forward=1");
    set(lab, host, "net.ipv6.conf.all.forwarding=1");
    set(lab, host, "net.netfilter.nf_conntrack_acct=1");
}

/// Starts everything.
pub fn start(lab: &mut Lab) {
    network::start(lab);
}

/// Starts a role again on its host.
pub fn again(lab: &mut Lab, host: &str) {
    let file = format!("{host}.toml");
    let mut command = network::carnet(lab, host, &["run", "-c", &file]);
    command.env("CARNET_LOG", "info,carnet::roles::gateway=debug,carnet::roles::seen=debug");
    lab.start(host, command);
    lab.wait_for(host, "out", "ready", PATIENCE);
}

/// What `carnet gateway` says of a gateway: an object a line. `None` if nobody answers.
pub fn gateway(lab: &Lab, host: &str, what: &[&str]) -> Option<Vec<Value>> {
    let file = format!("{host}.toml");
    let mut arguments = vec!["gateway"];
    arguments.extend(what);
    arguments.extend(["-c", &file, "--json"]);
    let output = network::carnet(lab, host, &arguments).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    output.status.success().then_some(lines)
}

/// The contexts of a gateway, as an audit shows them; waits until it answers.
pub fn contexts(lab: &Lab, host: &str) -> Vec<Value> {
    let start = Instant::now();
    loop {
        if let Some(contexts) = gateway(lab, host, &["audit", host]) {
            return contexts;
        }
        assert!(start.elapsed() < PATIENCE, "{host} answers no audit: {}", lab.output(host, "err"));
    }
}

/// The first member of that name, however deep.
pub fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => {
            members.get(name).or_else(|| members.values().find_map(|value| find(value, name)))
        }
        Value::Array(list) => list.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}

/// All members of that name.
pub fn all<'a>(value: &'a Value, name: &str, into: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            into.extend(members.get(name));
            members.values().for_each(|value| all(value, name, into));
        }
        Value::Array(list) => list.iter().for_each(|value| all(value, name, into)),
        _ => {}
    }
}

/// Engine and reason of the streams of a gateway, without doubles.
pub fn engines(lab: &Lab, host: &str) -> Vec<(String, String)> {
    let mut list = Vec::new();
    for context in contexts(lab, host) {
        let (mut engines, mut reasons) = (Vec::new(), Vec::new());
        all(&context, "engine", &mut engines);
        all(&context, "engine_reason", &mut reasons);
        let text = |value: &&Value| value.as_str().unwrap_or("unknown").to_owned();
        list.extend(engines.iter().map(text).zip(reasons.iter().map(text)));
    }
    list.sort();
    list.dedup();
    list
}

/// Octets that a process has read from and written to sockets, pipes and files: `/proc/PID/io`.
pub fn octets(lab: &mut Lab, name: &str) -> u64 {
    let index = lab.named(name);
    let io =
        std::fs::read_to_string(format!("/proc/{}/io", lab.process(index).child.id())).expect("its counters");
    let number = |what: &str| -> u64 {
        io.lines().find_map(|line| line.strip_prefix(what)?.trim().parse().ok()).expect("a counter")
    };
    number("rchar:") + number("wchar:")
}

pub fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

/// A file of noise in the lab's directory.
pub fn cargo(lab: &Lab, size: u64) {
    let status = Command::new("sh")
        .current_dir(lab.directory())
        .args(["-c", &format!("head -c {size} /dev/urandom > cargo.bin")])
        .status();
    assert!(status.is_ok_and(|s| s.success()));
}
