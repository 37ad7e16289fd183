//! Carnet's own clients beside the Kamailio of the lab, with a key server: how they are set up and run, and
//! what they tell.

use crate::lab::{Lab, tshark};
use crate::lab_kamailio::{Agent, GATEWAY, SIP, Shape, Stage};
use crate::network::{PATIENCE, carnet, certificate};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

pub const THERE: &str = "the goose is in the garden";
pub const BACK: &str = "then shut the gate behind it";

/// Where the key server listens.
const KEYS: &str = "192.0.2.3";

const KMS: &str = r#"
[kms]
name = "kms.example"
listen = "[::]:8443"
data = "kms"
rate = 10000
tls = { certificate = "kms.pem", key = "kms.key" }
"#;

/// Servers, a key server, and clients that are set up and do not run.
pub fn stage(shape: Shape, clients: &[Agent]) -> Option<Stage> {
    let mut stage = Stage::bare(shape, clients)?;
    let lab = &mut stage.lab;
    lab.file("kms.toml", KMS);
    certificate(lab, "kms", &format!("IP:{KEYS},IP:10.1.0.2,IP:2001:db8::2"));
    let users: BTreeSet<_> = clients.iter().map(|client| client.user).chain(["bob"]).collect();
    for user in users {
        let (uri, key) = (format!("sip:{user}@example.com"), format!("{user}.psk"));
        let add = ["kms", "-c", "kms.toml", "user", "add", &uri, "--out", &key];
        let added = carnet(lab, "sip", &add).output().unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        lab.file(&format!("{user}.password"), &format!("{user}-password\n"));
    }
    for client in clients {
        settings(lab, client.host, client.user, &format!("{SIP};transport=tcp"), KEYS);
    }
    let command = carnet(lab, "sip", &["run", "-c", "kms.toml"]);
    lab.start("kms", command);
    lab.wait_for("kms", "out", "ready", PATIENCE);
    Some(stage)
}

/// The settings of a client.
pub fn settings(lab: &Lab, host: &str, user: &str, proxy: &str, keys: &str) {
    lab.file(
        &format!("{host}.toml"),
        &format!(
            "[ue]\nidentity = \"sip:{user}@example.com\"\npassword-file = \"{user}.password\"\n\
             proxy = \"sip:{proxy}\"\nkms = \"https://{keys}:8443\"\n\
             kms-identity = \"sip:kms.example\"\nkms-key-file = \"{user}.psk\"\nkms-ca-file = \"kms.pem\"\n"
        ),
    );
}

/// Starts a client; its output is `HOST.out`.
pub fn start(stage: &mut Stage, host: &str, action: &[&str]) -> usize {
    let file = format!("{host}.toml");
    let mut arguments = vec!["ue", "-c", &file, "--json"];
    arguments.extend(action);
    let command = carnet(&stage.lab, host, &arguments);
    stage.lab.start(host, command)
}

/// Starts a client that waits, and waits until it can be called.
pub fn waiting(stage: &mut Stage, host: &str, action: &[&str]) -> usize {
    let run = start(stage, host, action);
    told(stage, host, "registered", 1);
    run
}

/// Starts a client that calls bob.
pub fn calling(stage: &mut Stage, host: &str) -> usize {
    start(stage, host, &["chat", "sip:bob@example.com"])
}

/// Waits until a client has told of that so many times.
#[track_caller]
pub fn told(stage: &Stage, host: &str, event: &str, times: usize) {
    let event = format!("\"event\":\"{event}\"");
    stage.lab.until(PATIENCE, &format!("{host} tells of {event}"), |lab| count(lab, host, &event) >= times);
}

/// How often a text is in the output of a client.
pub fn count(lab: &Lab, host: &str, text: &str) -> usize {
    lab.output(host, "out").matches(text).count()
}

/// Both are sealed, with one context between them.
#[track_caller]
pub fn sealed(stage: &Stage, one: &str, other: &str) {
    for host in [one, other] {
        told(stage, host, "sealed", 1);
    }
    holds(stage, 1);
}

/// Waits until the gateway holds so many contexts.
#[track_caller]
pub fn holds(stage: &Stage, contexts: u64) {
    stage.lab.until(PATIENCE, &format!("the gateway has {contexts} contexts"), |lab| {
        Stage::contexts(lab, "agw") == Some(contexts)
    });
}

/// Two clients in a sealed call: the one who calls, and the one who waited.
#[track_caller]
pub fn call(stage: &mut Stage, caller: &str, called: &str) -> (usize, usize) {
    let listener = waiting(stage, called, &["listen"]);
    let talker = calling(stage, caller);
    sealed(stage, caller, called);
    (talker, listener)
}

/// A line each way.
#[track_caller]
pub fn chat(stage: &mut Stage, (talker, from): (usize, &str), (listener, to): (usize, &str)) {
    for (run, text, at) in [(talker, THERE, to), (listener, BACK, from)] {
        let before = count(&stage.lab, at, text);
        stage.lab.process(run).say(text);
        stage.lab.until(PATIENCE, "the line arrives", |lab| count(lab, at, text) > before);
    }
}

/// A client ends with that status.
#[track_caller]
pub fn ends(stage: &mut Stage, run: usize, host: &str, code: i32) {
    let ended = stage.lab.process(run).wait(PATIENCE);
    if ended != Some(code) {
        stage.lab.show();
    }
    assert_eq!(ended, Some(code), "{host}: {}", stage.lab.output(host, "err"));
}

/// The value of a member in the last line that has `event`.
#[track_caller]
pub fn member(stage: &Stage, host: &str, event: &str, name: &str) -> Value {
    let output = stage.lab.output(host, "out");
    let find = |line: &str| {
        let object: Value = serde_json::from_str(line).ok()?;
        (object["event"] == event).then(|| object[name].clone())
    };
    output.lines().rev().find_map(find).unwrap_or_else(|| panic!("no {event} with {name} in:\n{output}"))
}

/// Asserts that one TLS association goes from client to client in a capture of the gateway's host: the same
/// ClientHello from the caller to the gateway and from the gateway to the called, and no word in clear.
#[track_caller]
pub fn unread(stage: &Stage, capture: &Path, clients: [&str; 2], caller: &str, secrets: &[&str]) {
    let random = member(stage, clients[0], "sealed", "client_random");
    assert_eq!(member(stage, clients[1], "sealed", "client_random"), random);
    let random = random.as_str().unwrap();
    let hellos = tshark(
        capture,
        &format!("tls.handshake.type == 1 && ip.addr == {GATEWAY} && tcp.port >= 30000 && tcp.port <= 30127"),
        &["tls.handshake.random", "ip.src"],
        &["-d", "tcp.port==30000-30127,tls"],
    );
    let randoms: BTreeSet<String> = hellos.iter().map(|row| row[0].replace(':', "")).collect();
    assert_eq!(randoms, BTreeSet::from([random.to_owned()]));
    let sources: BTreeSet<String> = hellos.into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(sources, BTreeSet::from([caller.to_owned(), GATEWAY.to_owned()]));
    let octets = std::fs::read(capture).unwrap();
    for secret in secrets {
        assert!(!octets.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} can be read");
    }
}
