//! The Wireshark dissector of MIKEY-TICKET (packaging/wireshark), field for field beside `carnet inspect mikey`:
//! messages of a real key management service, one of an RFC, and one with every payload there is.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_mikey::payload::{Dh, Kemac, KeyValidity, Payload, Pke, SecurityPolicy, Sign, Verification};
use carnet_mikey::{
    CsIdMap, Header, Identity, Message, Profile, Received, SrtpSession, Timestamp, key_mgmt, request_init,
};
use carnet_net::OsRandom;
use common::{Kms, identity};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// RFC 4567 §5.1.
const RFC_4567: &str = "mikey AQAFgM0XflABAAAAAAAAAAAAAAsAyONQ6gAAAAAGEEoo2pee4hp2UaDX8ZE22YwKAAAPZG9uYWxkQGR1Y2suY29tAQAAAAAAAQAk0JKpgaVkDaawi9whVBtBt0KZ14ymNuu62+Nv3ozPLygwK/GbAV9iemnGUIZ19fWQUOSrzKTAv9zV";

fn absent() -> bool {
    let absent = Command::new("tshark").arg("-v").output().is_err();
    if absent {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "tshark is required here");
        eprintln!("skipped: tshark is not installed");
    }
    absent
}

/// What the fields of a message are, in the order in which they stand, by the dissector's names.
type Fields = BTreeMap<String, Vec<String>>;

fn put(fields: &mut Fields, name: &str, value: &Value) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(is) => u8::from(*is).to_string(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    // What has no octets has no place in a tree.
    if !text.is_empty() {
        fields.entry(name.to_owned()).or_default().push(text);
    }
}

/// `carnet inspect mikey`.
fn inspected(octets: &[u8]) -> Fields {
    let mut child = Command::new(env!("CARGO_BIN_EXE_carnet"))
        .args(["inspect", "mikey"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(octets).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut fields = Fields::new();
    for name in ["version", "data_type", "v", "prf", "cs_count", "map_type"] {
        put(&mut fields, name, &told[name]);
    }
    put(&mut fields, "csb_id", &Value::String(format!("0x{}", told["csb_id"].as_str().unwrap())));
    for session in told["crypto_sessions"].as_array().unwrap() {
        for name in ["cs_id", "protocol", "s", "session_data", "spi", "roc", "policy"] {
            put(&mut fields, name, &session[name]);
        }
        for policy in session["policies"].as_array().into_iter().flatten() {
            put(&mut fields, "policy", policy);
        }
        if let Some(ssrc) = session["ssrc"].as_str() {
            put(&mut fields, "ssrc", &format!("0x{ssrc}").into());
        }
    }
    for payload in told["payloads"].as_array().unwrap() {
        flatten(&mut fields, payload);
    }
    fields
}

fn flatten(fields: &mut Fields, payload: &Value) {
    let name = payload["name"].as_str().unwrap();
    put(fields, "type", &payload["type"]);
    let (role, value, data, policy, protocol) = match name {
        "TR" => ("time_role", "ts_value", "", "", ""),
        "IDR" => ("id_role", "", "id_data", "", ""),
        "RANDR" => ("rand_role", "", "", "", ""),
        "T" => ("", "ts_value", "", "", ""),
        "ID" => ("", "", "id_data", "", ""),
        "SP" => ("", "", "", "sp_number", "sp_protocol"),
        "GENERAL_EXT" => ("", "", "ext_data", "", ""),
        _ => ("", "value", "data", "", ""),
    };
    let ticket = matches!(name, "TP" | "TICKET");
    // What is no text is shown as octets alone.
    let text =
        payload["id"].as_str().is_some_and(|id| !id.chars().any(|c| c.is_control() || c == '\u{fffd}'));
    for (member, field) in [
        ("role", role),
        ("value", value),
        ("data", data),
        ("policy", policy),
        ("protocol", protocol),
        ("version", if ticket { "ticket_version" } else { "" }),
        ("prf", if ticket { "ticket_prf" } else { "" }),
        ("encr_alg", "encr_alg"),
        ("encr_data_len", "encr_data_len"),
        ("mac_alg", "mac_alg"),
        ("auth_alg", "auth_alg"),
        ("mac", "mac"),
        ("cache", "cache"),
        ("group", "group"),
        ("sign_type", "sign_type"),
        ("signature", "signature"),
        ("ts_type", "ts_type"),
        ("id_type", "id_type"),
        ("id", if text { "id" } else { "" }),
        ("cert_type", "cert_type"),
        ("hash", "hash"),
        ("parameters", "parameters"),
        ("rand", "rand"),
        ("error", "error"),
        ("reserved", "reserved"),
        ("ticket_type", "ticket_type"),
        ("subtype", "subtype"),
        ("flags", "flags"),
        ("ext_type", "ext_type"),
    ] {
        if !field.is_empty() {
            put(fields, field, &payload[member]);
        }
    }
    for key in payload["wanted_keys"].as_array().into_iter().flatten() {
        put(fields, "key_type", &key["key_type"]);
        put(fields, "key_len", &key["key_len"]);
    }
    payload["tp_data"].as_array().into_iter().flatten().for_each(|inner| flatten(fields, inner));
    put(fields, "ticket_data_len", &payload["ticket_data_len"]);
    payload["ticket_data"].as_array().into_iter().flatten().for_each(|inner| flatten(fields, inner));
    put(fields, "initiator_data_len", &payload["initiator_data_len"]);
}

/// A capture file with a SIP request a message.
fn capture(path: &Path, messages: &[Vec<u8>]) {
    let mut out = Vec::new();
    for number in [0xa1b2_c3d4u32, 0x0002_0004, 0, 0, 262_144, 101] {
        out.extend(number.to_be_bytes());
    }
    for message in messages {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message 9 TCP/TLS/MSRP *\r\na=key-mgmt:{}\r\n",
            key_mgmt::print(message)
        );
        let sip = format!(
            "INVITE sip:b@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: 1\r\n\
             CSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        let length = sip.len() as u16;
        let mut packet = vec![0x45, 0];
        packet.extend((length + 28).to_be_bytes());
        packet.extend([0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0xc4, 0x13, 0xc4]);
        packet.extend((length + 8).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(sip.as_bytes());
        for number in [1_795_770_000, 0, packet.len() as u32, packet.len() as u32] {
            out.extend(number.to_be_bytes());
        }
        out.extend(packet);
    }
    std::fs::write(path, out).unwrap();
}

/// A row a packet of the named fields, values apart by `|`.
fn tshark(path: &Path, names: &[&str]) -> Vec<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/wireshark/mikey_ticket.lua");
    let mut command = Command::new("tshark");
    command.arg("-X").arg(format!("lua_script:{}", script.display())).arg("-r").arg(path);
    command.args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=|"]);
    for name in names {
        command.arg("-e").arg(format!("mikey_ticket.{name}"));
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("Lua"), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// The six messages of a call's three exchanges, by a key management service that runs.
fn exchanges() -> Vec<Vec<u8>> {
    let kms = Kms::start();
    let profile = Profile::default();
    let (alice, bob, server) =
        (identity("sip:alice@x.example"), identity("sip:bob@x.example"), identity("sip:kms.example"));
    let now = SystemTime::now();
    let (pending, question) =
        request_init(&profile, now, &mut OsRandom, &alice, &alice.data, &kms.psk("alice"), &server, &bob);
    let granted = kms.ask("ticketrequest", &question);
    let ticket = pending.response(&granted, SystemTime::now()).unwrap();
    let (_, offer) = ticket.offer(&profile, SystemTime::now(), &mut OsRandom);
    let received = Received::parse(&profile, SystemTime::now(), &offer).unwrap();
    let (pending, asked) =
        received.resolve_init(SystemTime::now(), &mut OsRandom, &bob, &bob.data, &kms.psk("bob"), &server);
    let resolved = kms.ask("ticketresolve", &asked);
    let (_, answer) = pending.response(&received, &resolved, SystemTime::now(), &mut OsRandom).unwrap();
    vec![question, granted, offer, asked, resolved, answer]
}

/// Payloads that the exchanges do not have.
fn others() -> Vec<u8> {
    let sp = SecurityPolicy { number: 3, protocol: 0, parameters: vec![0, 1, 1] };
    let map = CsIdMap::Srtp(vec![
        SrtpSession { policy: 3, ssrc: 0x0102_0304, roc: 9 },
        SrtpSession { policy: 4, ssrc: 5, roc: 0 },
    ]);
    let payloads = vec![
        Payload::T(Timestamp::Counter(77)),
        Payload::Id(Identity { id_type: 0, data: vec![0xff, 0x01] }),
        Payload::Cert { cert_type: 1, data: b"https://x.example/cert".to_vec() },
        Payload::CertHash { hash: 2, value: vec![5; 32] },
        Payload::Pke(Pke { cache: 2, data: vec![6; 128] }),
        Payload::Dh(Dh {
            group: 2,
            value: vec![7; 128],
            reserved: 0,
            validity: KeyValidity::Spi(vec![1, 2]),
        }),
        Payload::Sp(sp),
        Payload::Rand(vec![8; 16]),
        Payload::Kemac(Kemac { encr_alg: 1, encr_data: vec![9; 30], mac_alg: 1, mac: vec![10; 20] }),
        Payload::Err { number: 5, reserved: 0 },
        Payload::V(Verification { auth_alg: 2, mac: vec![11; 32] }),
        Payload::GeneralExt { ext_type: 0, data: vec![0, 1] },
        Payload::Sign(Sign { sign_type: 1, signature: vec![12; 64] }),
    ];
    let header = Header { data_type: 2, v: true, prf: 1, csb_id: 0xdead_beef, map };
    Message { header, payloads }.print()
}

#[test]
fn the_dissector_reads_what_inspect_reads() {
    if absent() {
        return;
    }
    let mut messages = exchanges();
    messages.push(key_mgmt::parse(RFC_4567).unwrap());
    messages.push(others());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("messages.pcap");
    capture(&path, &messages);
    let expected: Vec<Fields> = messages.iter().map(|message| inspected(message)).collect();
    let mut names: Vec<&str> = expected.iter().flat_map(|fields| fields.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 40, "{names:?}");
    let rows = tshark(&path, &names);
    assert_eq!(rows.len(), messages.len());
    for (at, (row, fields)) in rows.iter().zip(&expected).enumerate() {
        for (name, value) in names.iter().zip(row) {
            let seen: Vec<String> = value
                .split('|')
                .filter(|v| !v.is_empty())
                .map(|v| match v {
                    "True" => "1".to_owned(),
                    "False" => "0".to_owned(),
                    other => other.to_owned(),
                })
                .collect();
            let told = fields.get(*name).cloned().unwrap_or_default();
            assert_eq!(seen, told, "{name} of message {at}");
        }
    }
    let wrong = tshark(&path, &["malformed", "unsupported"]);
    assert!(wrong.iter().flatten().all(String::is_empty), "{wrong:?}");
}

#[test]
fn what_is_wrong_is_expert_information() {
    if absent() {
        return;
    }
    let octets = key_mgmt::parse(RFC_4567).unwrap();
    let with = |at: usize, value: u8| {
        let mut changed = octets.clone();
        changed[at] = value;
        changed
    };
    let messages = [
        octets[..131].to_vec(),
        [&octets[..], &[0]].concat(),
        with(0, 2),
        with(2, 99),
        with(9, 7),
        octets[..7].to_vec(),
        vec![1],
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wrong.pcap");
    capture(&path, &messages);
    let rows = tshark(&path, &["malformed", "unsupported"]);
    let kinds: Vec<(bool, bool)> = rows.iter().map(|row| (!row[0].is_empty(), !row[1].is_empty())).collect();
    let (malformed, unsupported) = ((true, false), (false, true));
    assert_eq!(
        kinds,
        [malformed, malformed, unsupported, unsupported, unsupported, malformed, malformed],
        "{rows:?}"
    );
}
