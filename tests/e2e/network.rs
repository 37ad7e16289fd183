//! The network of docs/running.md: two operators, each role on a host of its own, from the files
//! in docs/examples.

use crate::lab::Lab;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Time for a process to come up on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

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

/// Hosts and files of two operators and a key management service; nothing runs yet.
pub fn build(lab: &mut Lab) {
    for network in ["subs-a", "core-a", "peers", "core-b", "subs-b", "keys"] {
        lab.network(network);
    }
    let all =
        HOSTS.iter().map(|(host, on)| (host, on)).chain(USERS.iter().map(|(host, _, on, _)| (host, on)));
    for (host, on) in all {
        for (network, address) in *on {
            lab.join(host, network, address);
        }
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    for entry in std::fs::read_dir(examples).expect("docs/examples") {
        let path = entry.expect("an example").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        lab.file(&name, &std::fs::read_to_string(&path).expect("an example"));
    }
    // As docs/running.md says, with the address for hosts that have no DNS.
    must(Command::new("openssl").current_dir(lab.directory()).args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=kms.example",
        "-addext",
        "subjectAltName=DNS:kms.example,IP:203.0.113.1",
        "-keyout",
        "kms.key",
        "-out",
        "kms.pem",
    ]));
    for (user, domain, _, proxy) in USERS {
        let uri = format!("sip:{user}@{domain}");
        let key = format!("{user}.psk");
        must(&mut carnet(lab, "kms", &["kms", "-c", "kms.toml", "user", "add", &uri, "--out", &key]));
        lab.file(&format!("{user}.password"), &format!("{user}'s password\n"));
        lab.file(
            &format!("{user}.toml"),
            &format!(
                "[ue]\nidentity = \"{uri}\"\npassword-file = \"{user}.password\"\n\
                 proxy = \"sip:{proxy};transport=tcp\"\nkms = \"https://203.0.113.1:8443\"\n\
                 kms-identity = \"sip:kms.example\"\nkms-key-file = \"{key}\"\nkms-ca-file = \"kms.pem\"\n"
            ),
        );
    }
}

/// Starts every role, and waits until the borders have their gateways and the keys are served.
pub fn start(lab: &mut Lab) {
    for (host, _) in HOSTS {
        let command = carnet(lab, host, &["run", "-c", &format!("{host}.toml")]);
        lab.start(host, command);
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
