//! Homes behind translators of addresses, at one operator: a host with the border, the gateway and the key
//! server, and one for each translator and each client.
//!
//! The translators are the kernel's, told what to do by nftables.

use crate::lab::Lab;
use crate::network::{PATIENCE, carnet, certificate};
use std::process::Stdio;

/// Where the operator's roles are, in the subscribers' network.
pub const BORDER: &str = "192.0.2.1";
pub const GATEWAY: &str = "192.0.2.2";
const KEYS: &str = "192.0.2.3";
/// The same by IPv6.
const BORDER_6: &str = "2001:db8::1";
pub const GATEWAY_6: &str = "2001:db8::2";
const KEYS_6: &str = "2001:db8::3";

/// What stands between a client and the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// Nothing.
    None,
    /// Nothing, and IPv6 only.
    Six,
    /// What most homes have: ports are kept where they are free, and only who was spoken to gets in.
    Restricted,
    /// Everything that comes to the outer address gets in.
    FullCone,
    /// Every connection leaves from a port drawn for it.
    Symmetric,
}

/// One client: its user, and what it is behind.
pub struct Home {
    pub user: &'static str,
    pub nat: Nat,
}

impl Home {
    /// Number of the user, from 1.
    fn number(&self) -> u8 {
        self.user.as_bytes()[0] - b'a' + 1
    }

    /// The host that translates.
    pub fn translator(&self) -> String {
        format!("nat-{}", self.user)
    }

    /// The address the network sees.
    pub fn outer(&self) -> String {
        match self.nat {
            Nat::Six => format!("2001:db8::{}", 100 + self.number()),
            _ => format!("192.0.2.{}", 100 + self.number()),
        }
    }

    /// The address of the client itself.
    pub fn inner(&self) -> String {
        match self.nat {
            Nat::None | Nat::Six => self.outer(),
            _ => format!("10.77.{}.2", self.number()),
        }
    }
}

const OPERATOR: &str = r#"
[kms]
name = "kms.example"
listen = "[::]:8443"
data = "kms"
rate = 10000
tls = { certificate = "kms.pem", key = "kms.key" }

[border.alg]
role = "ims-alg"
domain = "a.example"
control = { gateways = ["agw"] }
registrar = { mode = "built-in", users = "users.toml" }

[border.alg.network.access]
subscribers = true
listen = ["udp:192.0.2.1:5060", "tcp:192.0.2.1:5060"]

[border.alg.network.access6]
subscribers = true
listen = ["udp:[2001:db8::1]:5060", "tcp:[2001:db8::1]:5060"]

[gateway.agw]
role = "ims-agw"
controllers = ["local:alg"]
witness = "full"

[gateway.agw.realm.access]
v4 = "192.0.2.2"
ports = "30000-30999"

[gateway.agw.realm.access6]
v6 = "2001:db8::2"
ports = "30000-30999"
"#;

/// A lab with these homes, and the operator running.
pub fn homes(all: &[&Home]) -> Option<Lab> {
    let mut lab = built(all)?;
    run(&mut lab, "operator", "operator");
    lab.wait_for("operator", "err", "gateway-up", PATIENCE);
    Some(lab)
}

/// Starts `carnet run` on a host with a file of the lab, and waits until it is ready.
pub fn run(lab: &mut Lab, host: &str, file: &str) {
    let mut command = carnet(lab, host, &["run", "-c", &format!("{file}.toml")]);
    command.env("CARNET_LOG", "info,carnet::roles::seen=trace");
    lab.start(file, command);
    lab.wait_for(file, "out", "ready", PATIENCE);
}

/// An account at the key server, with the key in `NAME.psk`.
pub fn account(lab: &Lab, uri: &str, identities: &[&str], name: &str) {
    let key = format!("{name}.psk");
    let mut add = vec!["kms", "-c", "operator.toml", "user", "add", uri];
    add.extend(identities);
    add.extend(["--out", &key]);
    let added = carnet(lab, "operator", &add).output().expect("carnet runs");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
}

/// The lab; nothing runs yet.
pub fn built(all: &[&Home]) -> Option<Lab> {
    let mut lab = Lab::new()?;
    lab.network("subs");
    for address in [BORDER, GATEWAY, KEYS] {
        lab.join("operator", "subs", &format!("{address}/24"));
    }
    for address in [BORDER_6, GATEWAY_6, KEYS_6] {
        lab.join("operator", "subs", &format!("{address}/64"));
    }
    lab.file("operator.toml", OPERATOR);
    certificate(&lab, "kms", &format!("IP:{KEYS},IP:{KEYS_6}"));
    let users: String = all.iter().map(|home| format!("{0} = \"{0}-password\"\n", home.user)).collect();
    lab.file("users.toml", &users);
    for home in all {
        build(&mut lab, home);
        account(&lab, &format!("sip:{}@a.example", home.user), &[], home.user);
    }
    Some(lab)
}

/// The hosts of a home, and the settings of its client.
fn build(lab: &mut Lab, home: &Home) {
    let (user, outer, inner) = (home.user, home.outer(), home.inner());
    let (mut border, mut keys) = (BORDER.to_owned(), KEYS.to_owned());
    if home.nat == Nat::None {
        lab.join(user, "subs", &format!("{outer}/24"));
    } else if home.nat == Nat::Six {
        lab.join(user, "subs", &format!("{outer}/64"));
        (border, keys) = (format!("[{BORDER_6}]"), format!("[{KEYS_6}]"));
    } else {
        let (network, translator) = (format!("in-{}", &user[..1]), home.translator());
        let door = format!("10.77.{}.1", home.number());
        lab.network(&network);
        lab.join(user, &network, &format!("{inner}/24"));
        lab.join(&translator, "subs", &format!("{outer}/24"));
        lab.join(&translator, &network, &format!("{door}/24"));
        on(lab, user, &["ip", "route", "add", "default", "via", &door]);
        translate(lab, &translator, "e-subs", home.nat, &inner);
    }
    lab.file(&format!("{user}.password"), &format!("{user}-password\n"));
    lab.file(
        &format!("{user}.toml"),
        &format!(
            "[ue]\nidentity = \"sip:{user}@a.example\"\npassword-file = \"{user}.password\"\n\
             proxy = \"sip:{border};transport=tcp\"\nkms = \"https://{keys}:8443\"\n\
             kms-identity = \"sip:kms.example\"\nkms-key-file = \"{user}.psk\"\nkms-ca-file = \"kms.pem\"\n"
        ),
    );
}

/// Makes a host translate for `inner` behind it; `device` is the way to the network.
pub fn translate(lab: &Lab, host: &str, device: &str, nat: Nat, inner: &str) {
    on(lab, host, &["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    // What it has forgotten it does not guess back from the middle of a connection.
    on(lab, host, &["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0"]);
    let how = match nat {
        Nat::Symmetric => "masquerade random,fully-random",
        _ => "masquerade",
    };
    let inwards = match nat {
        Nat::FullCone => format!(
            "chain in {{ type nat hook prerouting priority dstnat; iifname \"{device}\" meta l4proto {{ tcp, udp }} \
             dnat to {inner}; }}"
        ),
        _ => String::new(),
    };
    let rules = format!(
        "table ip home {{\n\
         chain out {{ type nat hook postrouting priority srcnat; oifname \"{device}\" {how}; }}\n{inwards}\n\
         chain through {{ type filter hook forward priority 0; ct state invalid drop; }}\n}}\n"
    );
    let file = lab.file(&format!("{host}.nft"), &rules);
    on(lab, host, &["nft", "-f", file.to_str().expect("a path")]);
}

/// The translator loses what it knows, as one that was switched off and on: the mappings of an interface
/// that goes down are gone.
pub fn forget(lab: &Lab, home: &Home) {
    for state in ["down", "up"] {
        on(lab, &home.translator(), &["ip", "link", "set", "e-subs", state]);
    }
}

/// The translator gets another outer address, and loses what it knows of the one before.
pub fn readdress(lab: &Lab, home: &Home, to: &str) {
    let before = format!("{}/24", home.outer());
    on(lab, &home.translator(), &["ip", "addr", "del", &before, "dev", "e-subs"]);
    on(lab, &home.translator(), &["ip", "addr", "add", &format!("{to}/24"), "dev", "e-subs"]);
}

/// Runs a command on a host; its failure fails the test.
pub fn on(lab: &Lab, host: &str, command: &[&str]) {
    let mut run = lab.command(host, command[0]);
    let output = run.args(&command[1..]).stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Starts a client; its output is `NAME.out`.
pub fn ue(lab: &mut Lab, user: &str, action: &[&str]) -> usize {
    let file = format!("{user}.toml");
    let mut arguments = vec!["ue", "-c", &file, "--json"];
    arguments.extend(action);
    let command = carnet(lab, user, &arguments);
    lab.start(user, command)
}

/// Adds a line to the settings of a client.
pub fn setting(lab: &Lab, user: &str, line: &str) {
    let file = format!("{user}.toml");
    let text = std::fs::read_to_string(lab.directory().join(&file)).expect("settings");
    lab.file(&file, &format!("{text}{line}\n"));
}
