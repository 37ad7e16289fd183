//! The program as a user meets it: arguments in, text and exit code out.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn carnet(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_carnet"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// The README's first command, with a smaller file.
#[test]
fn the_demonstration_proves_what_it_claims() {
    let output = carnet(&["demo", "--json", "--file-size", "8"], b"");
    let seen = json(&output);
    assert!(output.status.success(), "{seen:#}");
    assert_eq!((&seen["sealed"], &seen["hops"]), (&Value::Bool(true), &Value::from(4)));
    assert_eq!(seen["file"]["size"], 8 << 20);
    for hop in seen["hop"].as_array().unwrap() {
        assert_eq!(hop["told_tls"], false, "{hop}");
        assert!(hop["octets"]["from_alice"].as_u64().unwrap() > 8 << 20, "{hop}");
    }
    // Without --json the same verdict is the last line.
    let output = carnet(&["demo", "--file-size", "1"], b"");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.trim_end().lines().last().unwrap().starts_with("sealed end to end"), "{text}");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    for args in [&["demo", "--file-size", "0"][..], &["run"], &["inspect", "smtp"], &["nonsense"]] {
        assert_eq!(carnet(args, b"").status.code(), Some(2), "{args:?}");
    }
    let output = carnet(&["run", "-c", "/nonexistent/carnet.toml"], b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/carnet.toml"));
}

#[test]
fn inspect_reads_hex_and_base64_and_points_at_what_is_wrong() {
    let offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=message 9 TCP/TLS/MSRP *\r\nc=IN IP4 192.0.2.1\r\n";
    let hex = carnet_wire::hex::encode(offer.as_bytes());
    let base64 = carnet_wire::base64::encode(offer.as_bytes());
    for (args, input) in [
        (&["inspect", "sdp"][..], offer.as_bytes()),
        (&["inspect", "sdp", "--hex"], hex.as_bytes()),
        (&["inspect", "sdp", "--base64", "-"], base64.as_bytes()),
    ] {
        let output = carnet(args, input);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(json(&output)["media"][0]["class"], "e2e-tls");
    }
    for (args, input) in [
        (&["sip"][..], &b"NOT SIP\r\n\r\n"[..]),
        (&["msrp"], b"HTTP/1.1\r\n"),
        (&["mikey"], b"\x02"),
        (&["h248"], b"MEGACO/3 <x> {"),
        (&["sdp"], b"v"),
        (&["sip", "--hex"], b"53 4g"),
        (&["sip", "--base64"], b"U*"),
    ] {
        let output = carnet(&[&["inspect"], args].concat(), input);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let last = output.stdout.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap();
        let last: Value = serde_json::from_slice(last).unwrap();
        assert!(last["error"]["offset"].is_u64() && last["error"]["message"].is_string(), "{last}");
        assert!(String::from_utf8_lossy(&output.stderr).contains('^'), "{output:?}");
    }
}

/// H.248 from one encoding to the other and back: the same object, and the text as it was.
#[test]
fn h248_is_written_in_every_form() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/h248/tests/fixtures");
    let text = std::fs::read(format!("{fixtures}/03-add-passthrough-request.txt")).unwrap();
    let binary = carnet(&["inspect", "h248", "--to", "binary"], &text).stdout;
    assert_eq!(binary.first(), Some(&0x30));
    let forms: Vec<_> = ["text", "compact"]
        .iter()
        .map(|form| {
            let from_text = carnet(&["inspect", "h248", "--to", form], &text).stdout;
            let from_binary = carnet(&["inspect", "h248", "--to", form], &binary).stdout;
            let plain =
                |octets: &[u8]| String::from_utf8_lossy(octets).replace(['"', '\r'], "").to_lowercase();
            assert_eq!(plain(&from_binary), plain(&from_text), "{form}");
            from_text
        })
        .collect();
    assert_ne!(forms[0], forms[1]);

    let digits = std::fs::read(format!("{fixtures}/01-register-request.corrected.ber.hex")).unwrap();
    let output = carnet(&["inspect", "h248", "--hex"], &digits);
    assert!(output.status.success());
    let seen = json(&output);
    assert_eq!(seen["transactions"][0]["actions"][0]["commands"][0]["command"], "ServiceChange");

    let unsayable = b"MEGACO/3 <a> Transaction = 1 { Context = 1 { Add = a { Media { LocalControl { no/such = 5 } } } } }";
    let output = carnet(&["inspect", "h248", "--to", "binary"], unsayable);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no/such"), "{output:?}");
}
