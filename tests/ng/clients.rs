//! Carnet's own clients, registered at Kamailio, sealed end to end through a gateway that Kamailio steers.

use crate::lab::tshark;
use crate::lab_kamailio::{ALICE, ALICE_AT_HOME, Agent, BOB, BOB_AT_HOME, GATEWAY, SIP, Shape, Stage};
use crate::network::{PATIENCE, carnet, certificate};
use serde_json::Value;
use std::collections::BTreeSet;

const THERE: &str = "the goose is in the garden";
const BACK: &str = "then shut the gate behind it";

/// Where the key server listens.
const KEYS: &str = "192.0.2.3";

const KMS: &str = r#"
[kms]
name = "kms.example"
listen = "192.0.2.3:8443"
data = "kms"
rate = 10000
tls = { certificate = "kms.pem", key = "kms.key" }
"#;

/// Servers, a key server, and clients that are set up and do not run.
fn stage(shape: Shape, clients: &[Agent]) -> Option<Stage> {
    let mut stage = Stage::bare(shape, clients)?;
    let lab = &mut stage.lab;
    lab.file("kms.toml", KMS);
    certificate(lab, "kms", &format!("IP:{KEYS}"));
    let mut users = BTreeSet::new();
    for client in clients {
        let user = client.user;
        if users.insert(user) {
            let (uri, key) = (format!("sip:{user}@example.com"), format!("{user}.psk"));
            let add = ["kms", "-c", "kms.toml", "user", "add", &uri, "--out", &key];
            let added = carnet(lab, "sip", &add).output().unwrap();
            assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
            lab.file(&format!("{user}.password"), &format!("{user}-password\n"));
        }
        lab.file(
            &format!("{}.toml", client.host),
            &format!(
                "[ue]\nidentity = \"sip:{user}@example.com\"\npassword-file = \"{user}.password\"\n\
                 proxy = \"sip:{SIP};transport=tcp\"\nkms = \"https://{KEYS}:8443\"\n\
                 kms-identity = \"sip:kms.example\"\nkms-key-file = \"{user}.psk\"\nkms-ca-file = \"kms.pem\"\n"
            ),
        );
    }
    let command = carnet(lab, "sip", &["run", "-c", "kms.toml"]);
    lab.start("kms", command);
    lab.wait_for("kms", "out", "ready", PATIENCE);
    Some(stage)
}

/// Starts a client; its output is `HOST.out`.
fn start(stage: &mut Stage, client: &Agent, action: &[&str]) -> usize {
    let file = format!("{}.toml", client.host);
    let mut arguments = vec!["ue", "-c", &file, "--json"];
    arguments.extend(action);
    let command = carnet(&stage.lab, client.host, &arguments);
    stage.lab.start(client.host, command)
}

/// Starts a client that waits to be called.
fn listen(stage: &mut Stage, client: &Agent) -> usize {
    let run = start(stage, client, &["listen"]);
    stage.lab.wait_for(client.host, "out", "\"registered\"", PATIENCE);
    run
}

/// Both are sealed.
#[track_caller]
fn sealed(stage: &Stage, clients: &[&Agent]) {
    for client in clients {
        stage.lab.wait_for(client.host, "out", "\"event\":\"sealed\"", PATIENCE);
    }
}

/// The value of a member in the last line that has `event`.
fn member(output: &str, event: &str, name: &str) -> Value {
    let find = |line: &str| {
        let object: Value = serde_json::from_str(line).ok()?;
        (object["event"] == event).then(|| object[name].clone())
    };
    output.lines().rev().find_map(find).unwrap_or_else(|| panic!("no {event} with {name} in:\n{output}"))
}

/// A line each way.
#[track_caller]
fn chat(stage: &mut Stage, (talker, from): (usize, &Agent), (listener, to): (usize, &Agent)) {
    stage.lab.process(talker).say(THERE);
    stage.lab.wait_for(to.host, "out", THERE, PATIENCE);
    stage.lab.process(listener).say(BACK);
    stage.lab.wait_for(from.host, "out", BACK, PATIENCE);
}

/// A sealed call: one TLS association from client to client, through the gateway, that nobody between
/// them is a part of; and nothing is left of it.
fn call(caller: &Agent, called: &Agent) {
    let Some(mut stage) = stage(Shape::default(), &[*caller, *called]) else { return };
    let capture = stage.lab.capture("sip", "public");
    let listener = listen(&mut stage, called);
    let talker = start(&mut stage, caller, &["chat", "sip:bob@example.com"]);
    sealed(&stage, &[caller, called]);
    assert_eq!(Stage::contexts(&stage.lab, "agw"), Some(1));
    chat(&mut stage, (talker, caller), (listener, called));
    stage.lab.process(talker).say("/bye");
    assert_eq!(stage.lab.process(talker).wait(PATIENCE), Some(0), "{}", stage.lab.output(caller.host, "err"));
    stage.lab.wait_for(called.host, "out", "\"ended\"", PATIENCE);
    stage.idle();
    stage.lab.end_captures();

    let outputs = [caller, called].map(|client| stage.lab.output(client.host, "out"));
    let random = member(&outputs[0], "sealed", "client_random");
    assert_eq!(member(&outputs[1], "sealed", "client_random"), random);
    let random = random.as_str().unwrap();
    let ports = format!("ip.addr == {GATEWAY} && tcp.port >= 30000 && tcp.port <= 30127");
    let hellos = tshark(
        &capture,
        &format!("tls.handshake.type == 1 && {ports}"),
        &["tls.handshake.random", "ip.src"],
        &["-d", "tcp.port==30000-30127,tls"],
    );
    let randoms: BTreeSet<String> = hellos.iter().map(|row| row[0].replace(':', "")).collect();
    assert_eq!(randoms, BTreeSet::from([random.to_owned()]));
    let sources: BTreeSet<String> = hellos.into_iter().map(|row| row[1].clone()).collect();
    assert_eq!(sources, BTreeSet::from([caller.outer(), GATEWAY.to_owned()]));
    let octets = std::fs::read(&capture).unwrap();
    for secret in [THERE, BACK] {
        assert!(!octets.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} can be read");
    }
}

#[test]
fn sealed_calls_with_nobody_behind_a_translator() {
    call(&ALICE, &BOB);
}

#[test]
fn sealed_calls_from_behind_a_translator() {
    call(&ALICE_AT_HOME, &BOB);
}

#[test]
fn sealed_calls_to_somebody_behind_a_translator() {
    call(&ALICE, &BOB_AT_HOME);
}

#[test]
fn sealed_calls_between_two_behind_translators() {
    call(&ALICE_AT_HOME, &BOB_AT_HOME);
}
