//! Traces of calls, as a collector that is not ours reads them: `[otel]` of the file.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.
#![cfg_attr(not(feature = "otel"), allow(dead_code, unused_imports))] // Most is for the feature.

#[path = "../common/mod.rs"]
mod common;
mod network;
mod others;

use common::{PATIENCE, Running, free};
use network::{Network, collector, sealed_collector};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");
/// OTLP: `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

#[cfg(not(feature = "otel"))]
#[test]
fn a_program_without_the_feature_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("carnet.toml");
    let kms = "[kms]\nname = \"k.example\"\nlisten = \"127.0.0.1:0\"\ndata = \"data\"\n";
    std::fs::write(&file, format!("{kms}[otel]\nendpoint = \"http://127.0.0.1:4318\"\n")).unwrap();
    for action in ["check", "run"] {
        let output = Command::new(CARNET).args([action, "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("built without otel"), "{said}");
    }
}

/// Two operators, each with a border and a gateway in processes of their own, and a key server.
#[cfg(feature = "otel")]
#[test]
fn a_call_is_one_trace_over_all_processes() {
    let Some(mut collector) = collector(0, Some("x-api-key: let-me-in")) else { return };
    let mut network = Network::new(&collector.endpoint(), "let-me-in");
    network.start();
    let bob = network.ue("bob", &["listen"]);
    bob.line("\"registered\"");
    let mut alice = network.ue("alice", &["chat", "sip:bob@b.example"]);
    alice.line("\"sealed\"");
    use std::io::Write as _;
    alice.stdin.write_all(b"traced\n").unwrap();
    bob.line("traced");
    network::interrupt(&alice);
    assert!(alice.child.wait().unwrap().success());
    bob.line("\"ended\"");
    let spans = collector.until(|spans| {
        let over = |node: &str, name: &str| {
            spans.iter().any(|span| span["name"] == name && span["attributes"]["carnet.node"] == node)
        };
        ["border-a", "border-b"].iter().all(|border| over(border, "call") && over(border, "media"))
            && over("kms.example", "KMS issue")
            && over("kms.example", "KMS resolve")
            && spans.iter().filter(|span| span["name"] == "H.248 Subtract").count() == 2
    });
    let one = |node: &str, name: &str| -> &Value {
        let mut found =
            spans.iter().filter(|span| span["name"] == name && span["attributes"]["carnet.node"] == node);
        let span = found.next().unwrap_or_else(|| panic!("no {name} of {node} in {spans:#?}"));
        assert!(found.next().is_none(), "one {name} of {node}: {spans:#?}");
        span
    };
    // One trace, and whose child each is.
    let call = one("border-a", "call");
    for span in &spans {
        assert_eq!(span["trace"], call["trace"], "{span:#?}");
        assert!(span["end"].as_u64() >= span["start"].as_u64(), "{span:#?}");
        assert_eq!((&span["scope"], &span["resource"]["service.name"]), (&"carnet".into(), &"carnet".into()));
        assert_eq!(span["resource"]["deployment.environment.name"], "test");
    }
    assert_eq!(call["parent"], "", "{call:#?}");
    let invite = one("border-a", "INVITE");
    assert_eq!((&invite["parent"], &invite["attributes"]["sip.status"]), (&call["id"], &200.into()));
    let next = one("border-b", "call");
    assert_eq!(next["parent"], invite["id"], "the next border's call is below the INVITE that it got");
    for (border, call) in [("border-a", call), ("border-b", next)] {
        assert_eq!(call["attributes"]["carnet.cause"], "caller-hung-up", "{call:#?}");
        assert_eq!((&call["status"], &call["attributes"]["carnet.answered"]), (&0.into(), &true.into()));
        for child in ["set-up", "H.248 Add", "media", "H.248 Subtract"] {
            let span = one(border, child);
            assert_eq!((&span["parent"], &span["status"]), (&call["id"], &0.into()), "{span:#?}");
        }
        let media = one(border, "media");
        assert!(media["attributes"]["media.octets.caller.received"].as_u64() > Some(100), "{media:#?}");
        let add = one(border, "H.248 Add");
        assert!(add["attributes"]["h248.transaction"].as_u64() > Some(0), "{add:#?}");
        assert!(add["end"].as_u64() <= media["end"].as_u64());
    }
    let (issue, resolve) = (one("kms.example", "KMS issue"), one("kms.example", "KMS resolve"));
    assert_eq!(resolve["parent"], issue["id"]);
    assert_eq!(issue["attributes"]["enduser.id"], "sip:alice@a.example", "{issue:#?}");
    // No key, no ticket, no text of the chat.
    let whole = serde_json::to_string(&spans).unwrap();
    for user in ["alice", "bob"] {
        let key = std::fs::read_to_string(network.path(&format!("{user}.psk"))).unwrap();
        assert!(!whole.contains(key.trim()) && !whole.contains("key-mgmt"));
    }
    assert!(!whole.contains("traced\\n") && !whole.contains("let-me-in"));
}

/// A gateway that has no room: what it answered is in the trace, and that the call failed for it.
#[cfg(feature = "otel")]
#[test]
fn what_fails_is_marked_as_failed() {
    let Some(mut collector) = collector(0, None) else { return };
    let mut network = Network::new(&collector.endpoint(), "");
    // Its only port towards the core is somebody else's.
    let taken = std::net::TcpListener::bind(free()).unwrap();
    let port = taken.local_addr().unwrap().port();
    network.replace("agw-a.toml", "ports = \"21020-21039\"", &format!("ports = \"{port}-{port}\""));
    network.start();
    let alice = network.ue("alice", &["chat", "sip:bob@b.example"]);
    drop(alice.line("\"ended\""));
    let spans = collector.until(|spans| spans.iter().any(|span| span["name"] == "call"));
    let named = |name: &str| {
        spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"))
    };
    let (call, add) = (named("call"), named("H.248 Add"));
    assert_eq!((&call["status"], &add["status"]), (&ERROR.into(), &ERROR.into()), "{spans:#?}");
    assert!(add["attributes"]["h248.error"].as_u64() >= Some(400), "{add:#?}");
    assert_eq!(add["parent"], call["id"]);
}

/// Nobody at the collector's address: roles do as always, the log says so once, and what is lost is counted.
#[cfg(feature = "otel")]
#[test]
fn a_dead_collector_harms_nobody() {
    let dead = free();
    let mut network = Network::new(&format!("http://{dead}"), "");
    network.start();
    let bob = network.ue("bob", &["listen"]);
    bob.line("\"registered\"");
    for _ in 0..2 {
        let mut alice = network.ue("alice", &["chat", "sip:bob@b.example"]);
        alice.line("\"sealed\"");
        network::interrupt(&alice);
        assert!(alice.child.wait().unwrap().success());
        bob.line("\"ended\"");
    }
    let until = Instant::now() + PATIENCE;
    let failed = loop {
        let text = network.metrics();
        let count = |result: &str| -> u64 {
            let line = format!("carnet_otel_spans_total{{result=\"{result}\"}} ");
            text.lines().find_map(|l| l.strip_prefix(&line)).unwrap().parse().unwrap()
        };
        assert_eq!(count("sent"), 0);
        if count("failed") > 0 || Instant::now() > until {
            break count("failed");
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(failed > 0, "spans are given up");
    let log = network.end("border-a");
    assert_eq!(log.matches("the collector does not take traces").count(), 1, "{log}");
}

/// One that is busy for a moment gets the batch again.
#[cfg(feature = "otel")]
#[test]
fn a_collector_that_is_busy_is_asked_again() {
    let Some(mut collector) = collector(1, None) else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("carnet.toml");
    let address = free();
    let text = format!(
        "[kms]\nname = \"kms.example\"\nlisten = \"{address}\"\ndata = \"data\"\n[otel]\nendpoint = \"{}\"\n",
        collector.endpoint()
    );
    std::fs::write(&file, text).unwrap();
    let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(&file));
    process.line("ready");
    // It begins as MIKEY does, and is none.
    network::ask(address, b"\x01\x0bno MIKEY at all");
    let spans = collector.until(|spans| !spans.is_empty());
    assert!(collector.refused > 0, "it was busy first");
    let span = &spans[0];
    assert_eq!((&span["name"], &span["status"]), (&"KMS issue".into(), &ERROR.into()), "{span:#?}");
    assert_eq!((&span["kind"], &span["resource"]["carnet.roles"]), (&2.into(), &"kms".into()), "{span:#?}");
}

/// Another file: traces go to another collector, to none, and to one again.
#[cfg(feature = "otel")]
#[test]
fn traces_go_where_the_file_says_now() {
    let (Some(mut first), Some(mut second)) = (collector(0, None), collector(0, None)) else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("carnet.toml");
    let address = free();
    let kms = format!("[kms]\nname = \"kms.example\"\nlisten = \"{address}\"\ndata = \"data\"\n");
    let to = |endpoint: &str, more: &str| format!("{kms}[otel]\nendpoint = \"{endpoint}\"\n{more}");
    std::fs::write(&file, to(&first.endpoint(), "")).unwrap();
    let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(&file));
    process.line("ready");
    let ask = || network::ask(address, b"\x01\x0bno MIKEY at all");
    let reload = |text: &str, said: &str| {
        std::fs::write(&file, text).unwrap();
        let pid = process.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        let line = process.line(said);
        assert!(line.contains("(applied)"), "{line}");
    };
    ask();
    first.until(|spans| spans.len() == 1);
    reload(&to(&second.endpoint(), "resource = { place = \"second\" }\n"), "otel.endpoint: ");
    ask();
    let spans = second.until(|spans| spans.len() == 1);
    assert_eq!(spans[0]["resource"]["place"], "second", "{spans:#?}");
    reload(&kms, "otel.endpoint: gone");
    ask();
    reload(&to(&first.endpoint(), "sample = 1.0\n"), "otel.endpoint: new");
    ask();
    // One before, one now: what happened in between is nowhere.
    first.until(|spans| spans.len() == 2);
    ask();
    first.until(|spans| spans.len() == 3);
    assert_eq!(second.until(|spans| spans.len() == 1).len(), 1);
}

/// Over HTTPS, to a collector that the file's authorities vouch for and to nobody else.
#[cfg(feature = "otel")]
#[test]
fn a_collector_over_https_is_known_by_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for name in ["collector", "stranger"] {
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=c \
                         -addext subjectAltName=IP:127.0.0.1";
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .args(["-keyout", &path(&format!("{name}.key")), "-out", &path(&format!("{name}.pem"))])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let Some(mut collector) = sealed_collector(&path("collector.pem"), &path("collector.key")) else {
        return;
    };
    let run = |name: &str, ca: &str| {
        let address = free();
        let text = format!(
            "[log]\nlevel = \"debug\"\n[kms]\nname = \"{name}.example\"\nlisten = \"{address}\"\ndata = \"{name}\"\n\
             [otel]\nendpoint = \"{}\"\nca = \"{ca}.pem\"\n",
            collector.endpoint()
        );
        let file = directory.path().join(format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        let process = Running::start(Command::new(CARNET).args(["run", "-c"]).arg(&file));
        process.line("ready");
        network::ask(address, b"\x01\x0bno MIKEY at all");
        process
    };
    // One that it would have to trust blindly gets nothing.
    run("wary", "stranger").line("the collector does not take traces");
    let _process = run("kms", "collector");
    let spans = collector.until(|spans| !spans.is_empty());
    assert!(spans.iter().all(|span| span["attributes"]["carnet.node"] == "kms.example"), "{spans:#?}");
}

/// What is wrong with the section is said, with the place, and no header's value.
#[cfg(feature = "otel")]
#[test]
fn a_wrong_section_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("carnet.toml");
    std::fs::write(directory.path().join("headers"), "no-colon-and-a-secret\n").unwrap();
    let good = "endpoint = \"http://127.0.0.1:4318\"";
    for (text, wanted) in [
        ("endpoint = \"127.0.0.1:4318\"".to_owned(), "a collector is"),
        ("endpoint = \"http://user:word@127.0.0.1\"".to_owned(), "a collector is"),
        (format!("{good}\nsample = 1.5"), "`sample` is 0 to 1"),
        (format!("{good}\nqueue = 0"), "`queue` is 1 to"),
        (format!("{good}\nheaders-file = \"nothing\""), "nothing"),
        (format!("{good}\nheaders-file = \"headers\""), "line 1: a line is NAME: VALUE"),
        (format!("{good}\nprotocol = \"grpc\""), "unknown field"),
    ] {
        let kms = "[kms]\nname = \"k.example\"\nlisten = \"127.0.0.1:0\"\ndata = \"data\"\n";
        std::fs::write(&file, format!("{kms}[otel]\n{text}\n")).unwrap();
        let output = Command::new(CARNET).args(["run", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text}");
        // Lines are broken where the terminal ends.
        let flat: String = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(flat.contains(wanted), "{text}: {said}");
        assert!(!said.contains("a-secret"), "{said}");
    }
}
