//! Files with a secret in them that are not as they have to be: what is said of them does not have it.

use crate::search::{Secrets, assert_finds};
use crate::{assert_nowhere, certificate};
use carnet_wire::hex;
use std::path::Path;
use std::process::Command;

/// A configuration that is good, with a file for every kind of secret.
const WHOLE: &str = r#"
[admin]
listen = "127.0.0.1:1"
token-file = "token"
read-token-file = "read-token"
tls = { certificate = "edge.pem", key = "edge.key" }

[kms]
name = "kms.example"
listen = "127.0.0.1:1"
data = "kms"
root-key = "root.key"
tls = { certificate = "edge.pem", key = "edge.key" }

[border.alg]
role = "ims-alg"
domain = "a.example"
registrar = { mode = "built-in", users = "users.toml" }
control = { listen = ["tls:127.0.0.1:1"], gateways = ["agw"], tls = { psk = "iq.psk" }, authentication = { keys = { 0x11 = { file = "iq.auth", peer = "agw" } } } }

[border.alg.network.access]
listen = ["udp:127.0.0.1:1"]
subscribers = true

[gateway.agw]
role = "ims-agw"
controllers = ["alg@tls:127.0.0.1:1"]
control-tls = { psk = "iq.psk" }

[gateway.agw.realm.access]
v4 = "127.0.0.1"
ports = "30000-30009"
certificate = "edge.pem"
key = "edge.key"
"#;

const CLIENT: &str = r#"
[ue]
identity = "sip:alice@a.example"
password-file = "alice.password"
proxy = "sip:127.0.0.1:1;transport=tcp"
kms = "http://127.0.0.1:1"
kms-identity = "sip:kms.example"
kms-key-file = "alice.psk"
"#;

/// Ways to spoil a file.
fn spoilt(text: &[u8]) -> Vec<Vec<u8>> {
    let middle = text.len() * 3 / 4;
    vec![
        [text, b" and more = [ {\n\"x"].concat(),
        [&text[..middle], b"\n", &text[middle..]].concat(),
        [&text[..middle], b" !%! ", &text[middle..]].concat(),
        [&text[..middle], b"\xff\xfe", &text[middle..]].concat(),
        [text, text, text, text, text].concat(),
        [b"= ", text].concat(),
        [b"[", text].concat(),
        [b"1\n", text].concat(),
        text[..middle].to_vec(),
        text.repeat(100),
    ]
}

#[test]
fn what_is_wrong_is_said_without_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let mut secrets = Secrets::default();
    let mut key = |name: &str| {
        let mut octets = [0; 32];
        openssl::rand::rand_bytes(&mut octets).unwrap();
        // In the files as digits: the digits are the secret as much as the octets.
        secrets.add(name, octets);
        hex::encode(&octets)
    };
    let files = [
        ("token", key("the token")),
        ("read-token", key("the token for reading")),
        ("root.key", key("the root key")),
        ("users.toml", format!("alice = \"{}\"\n", key("the password of alice"))),
        ("iq.psk", format!("agw = \"{}\"\n", key("the key of Iq"))),
        ("iq.auth", key("the key of the header")),
        ("alice.password", key("alice's password")),
        ("alice.psk", key("alice's key")),
    ];
    secrets.add("the TLS key", certificate(here, "edge", "DNS:edge.example"));
    for (name, text) in &files {
        std::fs::write(here.join(name), text).unwrap();
    }
    std::fs::write(here.join("whole.toml"), WHOLE).unwrap();
    std::fs::write(here.join("client.toml"), CLIENT).unwrap();
    let pem = std::fs::read_to_string(here.join("edge.key")).unwrap();
    let files = files.into_iter().chain([("edge.key", pem)]);

    let mut places = Vec::new();
    let (mut refused, mut kinds) = (0, 0);
    for (name, text) in files {
        kinds += 1;
        for (n, bad) in spoilt(text.as_bytes()).into_iter().enumerate() {
            std::fs::write(here.join(name), &bad).unwrap();
            let commands: [&[&str]; 4] = [
                &["check", "-c", "whole.toml"],
                &["run", "-c", "whole.toml"],
                &["kms", "-c", "whole.toml", "user", "list"],
                &["ue", "-c", "client.toml", "--json", "listen"],
            ];
            let of_client = name.starts_with("alice");
            for command in commands.iter().filter(|command| (command[0] == "ue") == of_client) {
                let (failed, said) = carnet(here, command);
                refused += usize::from(failed);
                places.push((format!("{command:?} with {name} spoilt ({n})"), said));
            }
        }
        std::fs::write(here.join(name), &text).unwrap();
    }
    // A file of secrets in place of another: a configuration, an import, a policy.
    for name in ["users.toml", "iq.psk", "token", "alice.psk", "edge.key"] {
        for command in [
            &["check", "-c", name][..],
            &["run", "-c", name],
            &["ue", "-c", name, "listen"],
            &["kms", "--data", "data", "user", "import", name],
            &["kms", "--data", "data", "policy", "set", name],
            &["gateway", "-c", name, "list"],
        ] {
            let (failed, said) = carnet(here, command);
            refused += usize::from(failed);
            places.push((format!("{command:?}"), said));
        }
    }
    // A secret where its file's name belongs.
    let token = std::fs::read_to_string(here.join("token")).unwrap();
    for (from, to) in [
        ("token-file = \"token\"", format!("token = \"{token}\"")),
        ("token-file = \"token\"", format!("token-file = \"{token}\"")),
        ("role = \"ims-agw\"", format!("role = \"ims-agw\"\npsk = \"{token}\"")),
        ("data = \"kms\"", format!("data = \"kms\"\nroot-key = [\"x\"]\npassword = \"{token}\"")),
    ] {
        assert!(WHOLE.contains(from));
        std::fs::write(here.join("inline.toml"), WHOLE.replace(from, &to)).unwrap();
        for command in [
            &["check", "-c", "inline.toml"][..],
            &["check", "--json", "-c", "inline.toml"],
            &["run", "-c", "inline.toml"],
        ] {
            let (failed, said) = carnet(here, command);
            assert!(failed, "{to}");
            places.push((format!("{command:?} with {from}"), said));
        }
    }
    std::fs::write(
        here.join("inline.toml"),
        CLIENT.replace("password-file = \"alice.password\"", &format!("password = \"{token}\"")),
    )
    .unwrap();
    places.push(("a client's file".into(), carnet(here, &["ue", "-c", "inline.toml", "listen"]).1));
    assert!(refused > 100 && kinds == 9, "{refused} refused");
    assert_finds(&secrets);
    assert_nowhere(&secrets, &places);
}

/// Whether it failed, and what it said.
fn carnet(directory: &Path, arguments: &[&str]) -> (bool, Vec<u8>) {
    // What is not refused would run.
    let output = Command::new("timeout")
        .args(["10", env!("CARGO_BIN_EXE_carnet")])
        .args(arguments)
        .current_dir(directory)
        .env("CARNET_LOG", "trace")
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    (!output.status.success(), [output.stdout, output.stderr].concat())
}
