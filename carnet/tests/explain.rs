//! `carnet border explain`: an offer on standard input, everything that a border would do in words.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use serde_json::Value;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const HASH: &str =
    "SHA-256 AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89";

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name)
}

/// What it says of this offer. A border of docs/examples, whose file of users lies beside it.
fn explain(arguments: &[&str], offer: &str) -> Output {
    explain_with(&example("border-a.toml"), arguments, offer)
}

fn explain_with(config: &std::path::Path, arguments: &[&str], offer: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_carnet"))
        .args(["border", "explain"])
        .arg(config)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may be gone before it has read: it is told what is wrong otherwise.
    let _ = child.stdin.take().unwrap().write_all(offer.as_bytes());
    child.wait_with_output().unwrap()
}

fn sdp(media: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}")
}

fn asked() -> String {
    sdp(&format!(
        "m=message 2855 TCP/TLS/MSRP *\r\na=setup:actpass\r\na=path:msrps://192.0.2.1:2855/s1;tcp\r\n\
         a=msrp-cema\r\na=fingerprint:{HASH}\r\na=3ge2ae:requested\r\n"
    ))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn answer_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn edge_security_from_offer_to_end() {
    let answer = answer_file(&sdp(
        "m=message 2900 TCP/MSRP *\r\na=setup:active\r\na=path:msrp://192.0.2.1:2900/s2;tcp\r\na=msrp-cema\r\n",
    ));
    let path = answer.path().to_str().unwrap();
    let output = explain(&["--nat", "offerer", "--answer", path, "--json"], &asked());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = json(&output);
    assert_eq!(
        (&told["from"], &told["to"], &told["carried"]),
        (&"access".into(), &"core".into(), &true.into())
    );
    let line = &told["lines"][0];
    assert_eq!(line["decision"], "e2ae");
    assert_eq!(line["legs"]["offerer"]["transport"], "TCP/TLS");
    assert_eq!(line["legs"]["offerer"]["tls"]["fingerprints"][0], HASH);
    assert_eq!(line["legs"]["answerer"]["tls"], Value::Null);
    let changes = |edits: &Value| {
        let all = edits.as_array().unwrap().iter();
        all.map(|e| e["change"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(changes(&told["edits"]), ["address", "transport", "fingerprint-removed", "3ge2ae-removed"]);
    assert!(told["edits"].as_array().unwrap().iter().all(|e| !e["reason"].as_str().unwrap().is_empty()));
    let offer = told["sdp"].as_str().unwrap();
    assert!(offer.contains("m=message 40000 TCP/MSRP *\r\n") && !offer.contains("fingerprint"), "{offer}");
    // The answer: merge, and our certificate towards the terminal.
    let answered = &told["answer"];
    assert_eq!(answered["lines"][0]["merged"], true);
    assert_eq!(answered["lines"][0]["legs"]["offerer"]["tls"]["role"], "server");
    let back = answered["sdp"].as_str().unwrap();
    assert!(back.contains("TCP/TLS/MSRP *\r\n") && back.contains("a=setup:passive\r\n"), "{back}");
    // Every value that is made up is told.
    let examples: Vec<_> =
        told["examples"].as_array().unwrap().iter().map(|e| e["value"].as_str().unwrap()).collect();
    assert!(
        examples.contains(&"198.51.100.1:40000") && examples.contains(&"203.0.113.2:40000"),
        "{examples:?}"
    );
    assert!(examples.iter().any(|e| back.contains(&format!("a=fingerprint:{e}\r\n"))), "{examples:?}");
    // The gateway is told what a call would tell it, in messages that it reads.
    let commands = told["commands"].as_array().unwrap();
    let whens: Vec<_> = commands.iter().map(|c| c["when"].as_str().unwrap()).collect();
    assert_eq!(whens, ["offer", "answer", "end"]);
    let add = commands[0]["message"].as_str().unwrap();
    for part in [
        "m=- $ TCP/TLS -",
        "a=fingerprint:SHA-256 $",
        HASH,
        "m=- $ TCP -",
        "tlsbsc/BNCChange",
        "ipnapt/latch",
    ] {
        assert!(add.contains(part), "{part}: {add}");
    }
    for command in commands {
        let message = command["message"].as_str().unwrap();
        let limits = carnet_h248::text::Limits::default();
        carnet_h248::text::parse(message.as_bytes(), &limits).unwrap_or_else(|e| panic!("{e}: {message}"));
    }
}

#[test]
fn the_same_for_people() {
    let output = explain(&["--nat", "offerer"], &asked());
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "Border border-a: an offer from access to core",
        "Supposed: the offerer is behind a NAT",
        "  line 0  message TCP/TLS/MSRP: e2ae",
        "          transport at gateway   TCP/TLS          TCP",
        "          the gateway's TLS      ends, server     none",
        "  - a=3ge2ae:requested",
        "  + m=message 40000 TCP/MSRP *",
        "    a=setup:actpass",
        "  the gateway's towards the answerer: 203.0.113.2:40000",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(text.contains("security ends at the offerer's access edge"), "{text}");
    // Nothing of a call that has no answer yet.
    assert!(!text.contains("\nAnswer"), "{text}");
}

/// An offer that a terminal registered for, and what a gateway that cannot does to it.
#[test]
fn what_was_registered_and_what_the_gateway_can_do() {
    let offer = sdp("m=application 5070 TCP/BFCP *\r\na=setup:active\r\n");
    let towards = ["--from", "core", "--to", "access", "--registered", "bfcp-tls", "--json"];
    let output = explain(&towards, &offer);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = json(&output);
    assert_eq!(told["lines"][0]["legs"]["answerer"]["tls"]["role"], "client");
    assert!(told["sdp"].as_str().unwrap().contains("a=3ge2ae:applied"));
    let unable = explain(&[&towards[..], &["--without", "tls"]].concat(), &offer);
    assert_eq!(unable.status.code(), Some(1));
    let told = json(&unable);
    assert_eq!((&told["carried"], &told["refused"]["status"]), (&false.into(), &488.into()));
    assert_eq!((&told["sdp"], &told["commands"]), (&Value::Null, &Value::Array(vec![])));
}

/// A refusal says what the terminal would be told.
#[test]
fn refusals() {
    let sealed = sdp("m=message 2855 TCP/TLS/MSRP *\r\na=setup:actpass\r\n");
    let output = explain(&[], &sealed);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let told = "The offer is refused: 488, Warning 399 \"end-to-end TLS through a gateway needs a=msrp-cema in the offer\"";
    assert!(text.contains(told), "{text}");
    let answer = answer_file(&sdp("m=message 2855 TCP/MSRP *\r\n"));
    let path = answer.path().to_str().unwrap();
    let output = explain(&["--answer", path], &sealed.replace("*\r\n", "*\r\na=msrp-cema\r\n"));
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("The answer is refused: 488 to the offerer"), "{text}");
}

/// Wrong input: what is wrong, and where; 1 for the input, 2 for the question.
#[test]
fn mistakes() {
    let good = sdp("m=message 2855 TCP/MSRP *\r\na=msrp-cema\r\n");
    let table: &[(&[&str], &str, i32, &str)] = &[
        (&[], "v=0\r\nm=\r\n", 1, "is not a session description"),
        (&[], "", 1, "is not a session description"),
        (&["--border", "other"], &good, 2, "there is no border `other`; the file has border-a"),
        (&["--from", "moon"], &good, 2, "border border-a has no network `moon`, but access, core"),
        (&["--nat", "answerer"], &good, 2, "network core has no subscribers"),
        (&["--nat", "nobody"], &good, 2, "invalid value 'nobody'"),
        (&["--registered", "msrp-tls"], &good, 2, "nobody there registered"),
        (&["--answer", "/does/not/exist"], &good, 2, "/does/not/exist"),
    ];
    for (arguments, offer, code, message) in table {
        let output = explain(arguments, offer);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?} {error}");
        assert!(error.contains(message), "{arguments:?} {error}");
        assert!(output.stdout.is_empty());
    }
    let output = explain_with(&example("agw-a.toml"), &[], &good);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let file = answer_file("[border.x]\nrole = 7\n");
    let output = explain_with(file.path(), &[], &good);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("role"), "{output:?}");
}
