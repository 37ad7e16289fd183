//! The network of docs/running.md: two operators, each role on a host of its own, from the files
//! in docs/examples.

use crate::lab::Lab;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Time for a process to come up on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Networks a host is on, and its address in each.
type On = &'static [(&'static str, &'static str)];

/// Every host, the file it runs and the networks it is on.
const HOSTS: &[(&str, On)] = &[
    ("border-a", &[("subs-a", "198.51.100.1/26"), ("core-a", "10.1.0.1/24")]),
    ("agw-a", &[("subs-a", "198.51.100.2/26"), ("core-a", "10.1.0.2/24")]),
    ("interconnect-a", &[("core-a", "10.1.0.3/24"), ("peers", "192.0.2.1/24")]),
    ("trgw-a", &[("core-a", "10.1.0.4/24"), ("peers", "192.0.2.2/24")]),
    ("border-b", &[("subs-b", "198.51.100.65/26"), ("core-b", "10.2.0.1/24")]),
    ("agw-b", &[("subs-b", "198.51.100.66/26"), ("core-b", "10.2.0.2/24")]),
    ("interconnect-b", &[("core-b", "10.2.0.3/24"), ("peers", "192.0.2.3/24")]),
    ("trgw-b", &[("core-b", "10.2.0.4/24"), ("peers", "192.0.2.4/24")]),
    ("kms", &[("keys", "203.0.113.1/24")]),
];

/// Users: host, domain, networks, first hop.
const USERS: &[(&str, &str, On, &str)] = &[
    ("alice", "a.example", &[("subs-a", "198.51.100.10/26"), ("keys", "203.0.113.10/24")], "198.51.100.1"),
    ("bob", "b.example", &[("subs-b", "198.51.100.74/26"), ("keys", "203.0.113.74/24")], "198.51.100.65"),
];

/// The four gateways and the two networks each stands in, in the order of a call from alice.
pub const MEDIA_HOSTS: &[(&str, &str, &str)] = &[
    ("agw-a", "subs-a", "core-a"),
    ("trgw-a", "core-a", "peers"),
    ("trgw-b", "peers", "core-b"),
    ("agw-b", "core-b", "subs-b"),
];

/// The four borders in the order of a call from alice.
pub const BORDERS: &[(&str, &str, &str)] = &[
    ("border-a", "subs-a", "core-a"),
    ("interconnect-a", "core-a", "peers"),
    ("interconnect-b", "peers", "core-b"),
    ("border-b", "core-b", "subs-b"),
];

/// The networks, in the order of a call from alice, and the one of the key management service.
const NETWORKS: &[&str] = &["subs-a", "core-a", "peers", "core-b", "subs-b", "keys"];

/// In what the network differs from docs/examples.
#[derive(Default)]
pub struct Shape {
    /// What SIP goes over everywhere: `udp`, `tcp` or `tls`.
    pub sip: Option<&'static str>,
    /// The networks that speak IPv6 and no IPv4.
    pub v6: &'static [&'static str],
}

impl Shape {
    /// The address of a host in a network, as the examples give it, in this shape; without the
    /// length of the prefix.
    pub fn address(&self, network: &str, v4: &str) -> String {
        if !self.v6.contains(&network) {
            return v4.to_owned();
        }
        let number = NETWORKS.iter().position(|n| *n == network).expect("a network");
        let host: u8 = v4.rsplit('.').next().and_then(|n| n.parse().ok()).expect("an address");
        format!("2001:db8:{number}::{host:x}")
    }

    /// A configuration file in this shape.
    fn file(&self, host: &str, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(sip) = self.sip {
            text = text.replace("transport=tcp", &format!("transport={sip}"));
        }
        if let Some(sip) = self.sip {
            // One socket for each address, of that transport and no other.
            let listen = |line: &str| match line.strip_prefix("listen = [\"udp:") {
                Some(rest) => {
                    format!("listen = [\"{sip}:{}\"]", rest.split_once('"').expect("a socket").0)
                }
                None => line.to_owned(),
            };
            text = text.lines().map(|line| listen(line) + "\n").collect();
        }
        if self.sip == Some("tls") {
            text = text.replace(":5060", ":5061");
            let tls = format!(
                "tls = {{ certificate = \"{host}.pem\", key = \"{host}.key\", ca = \"borders.pem\" }}\n"
            );
            for role in ["role = \"ims-alg\"\n", "role = \"ibcf\"\n"] {
                text = text.replace(role, &format!("{role}{tls}"));
            }
        }
        if self.v6.contains(&"keys") {
            text = text.replace("0.0.0.0:8443", "[::]:8443");
        }
        for (network, v4) in everybody() {
            let v6 = self.address(network, v4);
            if v6 != v4 {
                text = text.replace(&format!("v4 = \"{v4}\""), &format!("v6 = \"{v6}\""));
                text = text.replace(&format!("\"{v4}\""), &format!("\"{v6}\""));
                for end in [':', ';', '"'] {
                    text = text.replace(&format!("{v4}{end}"), &format!("[{v6}]{end}"));
                }
            }
        }
        for (network, prefix) in [("core-a", "10.1.0.0/24"), ("core-b", "10.2.0.0/24")] {
            if self.v6.contains(&network) {
                let there = self.address(network, "0.0.0.0");
                text = text.replace(prefix, &format!("{}/64", there.trim_end_matches('0')));
            }
        }
        text
    }
}

/// Every network somebody is on, and his address there without the length of the prefix.
fn everybody() -> impl Iterator<Item = (&'static str, &'static str)> {
    let hosts = HOSTS.iter().map(|(_, on)| on).chain(USERS.iter().map(|(_, _, on, _)| on));
    hosts
        .flat_map(|on| on.iter())
        .map(|(network, address)| (*network, address.split_once('/').expect("a prefix length").0))
}

pub fn carnet(lab: &Lab, host: &str, arguments: &[&str]) -> Command {
    let mut command = lab.command(host, env!("CARGO_BIN_EXE_carnet"));
    command.args(arguments);
    command
}

/// Runs a command on the machine itself; its failure fails the test.
fn must(command: &mut Command) {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A self-signed certificate `NAME.pem` with its key `NAME.key`, for these subject names.
pub fn certificate(lab: &Lab, name: &str, subjects: &str) {
    must(
        Command::new("openssl")
            .current_dir(lab.directory())
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-days", "2", "-subj", &format!("/CN={name}.example")])
            .args(["-addext", &format!("subjectAltName={subjects}")])
            .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]),
    );
}

/// Hosts and files of two operators and a key management service; nothing runs yet.
pub fn build(lab: &mut Lab) {
    build_as(lab, &Shape::default());
}

/// The same in another shape.
pub fn build_as(lab: &mut Lab, shape: &Shape) {
    for network in NETWORKS {
        lab.network(network);
    }
    let all =
        HOSTS.iter().map(|(host, on)| (host, on)).chain(USERS.iter().map(|(host, _, on, _)| (host, on)));
    for (host, on) in all {
        for (network, address) in *on {
            let (v4, length) = address.split_once('/').expect("a prefix length");
            let length = if shape.v6.contains(network) { "64" } else { length };
            lab.join(host, network, &format!("{}/{length}", shape.address(network, v4)));
        }
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    for entry in std::fs::read_dir(examples).expect("docs/examples") {
        let path = entry.expect("an example").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("an example");
        lab.file(&name, &shape.file(name.trim_end_matches(".toml"), &text));
    }
    // As docs/running.md says, with the address for hosts that have no DNS.
    let kms = shape.address("keys", "203.0.113.1");
    certificate(lab, "kms", &format!("DNS:kms.example,IP:{kms}"));
    if shape.sip == Some("tls") {
        let mut all = String::new();
        for (border, on) in HOSTS.iter().filter(|(host, _)| BORDERS.iter().any(|(border, ..)| border == host))
        {
            let own = on.iter().map(|(network, address)| {
                let (v4, _) = address.split_once('/').expect("a prefix length");
                format!("IP:{}", shape.address(network, v4))
            });
            certificate(lab, border, &own.collect::<Vec<_>>().join(","));
            let pem = lab.directory().join(format!("{border}.pem"));
            all += &std::fs::read_to_string(pem).expect("a certificate");
        }
        lab.file("borders.pem", &all);
    }
    for (user, domain, _, proxy) in USERS {
        let uri = format!("sip:{user}@{domain}");
        let key = format!("{user}.psk");
        must(&mut carnet(lab, "kms", &["kms", "-c", "kms.toml", "user", "add", &uri, "--out", &key]));
        lab.file(&format!("{user}.password"), &format!("{user}'s password\n"));
        let mut text = format!(
            "[ue]\nidentity = \"{uri}\"\npassword-file = \"{user}.password\"\n\
             proxy = \"sip:{proxy};transport=tcp\"\nkms = \"https://203.0.113.1:8443\"\n\
             kms-identity = \"sip:kms.example\"\nkms-key-file = \"{key}\"\nkms-ca-file = \"kms.pem\"\n"
        );
        if shape.sip == Some("tls") {
            text += "ca-file = \"borders.pem\"\n";
        }
        lab.file(&format!("{user}.toml"), &shape.file(user, &text));
    }
}

/// Starts every role, and waits until the borders have their gateways and the keys are served.
pub fn start(lab: &mut Lab) {
    for (host, _) in HOSTS {
        let mut command = carnet(lab, host, &["run", "-c", &format!("{host}.toml")]);
        if MEDIA_HOSTS.iter().any(|(gateway, ..)| gateway == host) {
            // A gateway says what it holds whenever that changes.
            command.env("CARNET_LOG", "info,carnet::roles::seen=trace");
        }
        lab.start(host, command);
    }
    for (host, _) in HOSTS {
        lab.wait_for(host, "out", "ready", PATIENCE);
    }
    for (border, ..) in BORDERS {
        lab.wait_for(border, "err", "gateway-up", PATIENCE);
    }
    // What was asked before it began counts as a replay: it does not know what it has seen.
    lab.wait_for("kms", "out", "ready", PATIENCE);
}

/// Starts a client; its output is `NAME.out`.
pub fn ue(lab: &mut Lab, user: &str, action: &[&str]) -> usize {
    let file = format!("{user}.toml");
    let mut arguments = vec!["ue", "-c", &file, "--json"];
    arguments.extend(action);
    let command = carnet(lab, user, &arguments);
    lab.start(user, command)
}
