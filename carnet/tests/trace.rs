//! `carnet trace` as a program: what it reads, what it says, how it ends.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use serde_json::Value;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CARNET: &str = env!("CARGO_BIN_EXE_carnet");

fn trace(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(CARNET).arg("trace").args(arguments).current_dir(directory).output().unwrap()
}

/// Two calls over UDP, one refused, one that nobody answers.
fn capture() -> Vec<u8> {
    let sip = |start: &str, call: &str| {
        format!(
            "{start}\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{call}\r\nFrom: <sip:alice@a>;tag=1\r\nTo: <sip:bob@b>\r\nCall-ID: {call}\r\n\
             CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let mut out = Vec::new();
    // Octets of the other order, nanoseconds, bare IP.
    for number in [0xa1b2_3c4du32, 0x0002_0004, 0, 0, 262_144, 101] {
        out.extend(number.to_be_bytes());
    }
    let packets = [
        (1, 2, sip("INVITE sip:bob@b SIP/2.0", "7first")),
        (2, 1, sip("SIP/2.0 486 Busy Here", "7first")),
        (1, 3, sip("INVITE sip:bob@b SIP/2.0", "second")),
    ];
    for (at, (from, to, text)) in packets.iter().enumerate() {
        let length = text.len() as u16;
        let mut packet = vec![0x45, 0];
        packet.extend((length + 28).to_be_bytes());
        packet.extend([
            0, at as u8, 0, 0, 64, 17, 0, 0, 192, 0, 2, *from, 192, 0, 2, *to, 0x13, 0xc4, 0x13, 0xc4,
        ]);
        packet.extend((length + 8).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(text.as_bytes());
        for number in [1_795_770_000 + at as u32, 999_999_999, packet.len() as u32, packet.len() as u32] {
            out.extend(number.to_be_bytes());
        }
        out.extend(packet);
    }
    out
}

#[test]
fn a_file_is_traced_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("c.pcap"), capture()).unwrap();
    let said = |arguments: &[&str]| {
        let output = trace(at, &[&["c.pcap"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = said(&["--width", "100"]);
    assert!(text.contains("1. call: alice@a calls bob@b") && text.contains("486 Busy Here"), "{text}");
    assert!(text.contains("never answered the INVITE") && !text.contains('\x1b'), "{text}");
    let json: Value = serde_json::from_str(&said(&["--format", "json"])).unwrap();
    assert_eq!(json["sessions"][0]["entries"][0]["time"], "2026-11-27T09:00:00.999Z");
    assert_eq!(json["sessions"][1]["findings"][0]["rule"], "invite-unanswered");
    assert!(
        said(&["--format", "svg"]).starts_with("<svg ")
            && said(&["--format", "html"]).starts_with("<!doctype html>")
    );
    // By number before Call-ID; by the beginning of one.
    assert_eq!(said(&["--list", "--call", "2"]).matches(" call ").count(), 1);
    for (wanted, id) in [("2", "second"), ("7f", "7first"), ("sec", "second")] {
        let json: Value =
            serde_json::from_str(&said(&["--format", "json", "--list", "--call", wanted])).unwrap();
        assert_eq!((&json["call_ids"][0], json["entries"].is_number()), (&id.into(), true));
    }
    // The same by standard input.
    let mut child = Command::new(CARNET)
        .args(["trace", "-", "--width", "100"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&capture()).unwrap();
    assert_eq!(String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap(), text);
}

/// Captures of several hosts are one, whatever their order and form.
#[test]
fn files_are_put_together_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let whole = capture();
    let header = &whole[..24];
    // Each packet in a file of its own, the last one first.
    let mut place = 24;
    let mut names = Vec::new();
    while place < whole.len() {
        let length = 16 + u32::from_be_bytes(whole[place + 8..place + 12].try_into().unwrap()) as usize;
        let name = format!("{}.pcap", names.len());
        std::fs::write(at.join(&name), [header, &whole[place..place + length]].concat()).unwrap();
        names.insert(0, name);
        place += length;
    }
    std::fs::write(at.join("whole.pcap"), &whole).unwrap();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(all.len(), 3);
    let one = trace(at, &["whole.pcap", "--width", "100"]);
    let several = trace(at, &[&all[..], &["--width", "100"]].concat());
    assert_eq!(String::from_utf8_lossy(&several.stdout), String::from_utf8_lossy(&one.stdout));
    assert!(several.status.success());
}

#[test]
fn how_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let whole = capture();
    std::fs::write(at.join("whole.pcap"), &whole).unwrap();
    std::fs::write(at.join("cut.pcap"), &whole[..whole.len() - 1]).unwrap();
    std::fs::write(at.join("text"), "this is no capture, and never was one").unwrap();
    let ended = |arguments: &[&str]| {
        let output = trace(at, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said, String::from_utf8(output.stdout).unwrap())
    };
    let (code, said, out) = ended(&["cut.pcap"]);
    assert_eq!(code, Some(1));
    // What came before is shown.
    assert!(said.contains("ends inside a packet") && out.contains("486"), "{said}{out}");
    for (arguments, words) in [
        (&["text"][..], "no capture file"),
        (&["nowhere.pcap"], "nowhere.pcap"),
        (&["whole.pcap", "--call", "9"], "no session 9"),
    ] {
        let (code, said, _) = ended(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(ended(&["whole.pcap", "--check"]).0, Some(1));
    // To be busy is no failure.
    assert_eq!(ended(&["whole.pcap", "--check", "--call", "1"]).0, Some(0));
}
