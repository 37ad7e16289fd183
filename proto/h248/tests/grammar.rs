//! What the grammars of versions 1 to 3 allow, in messages written by hand: each is read, says the same in
//! every encoding, and is read by other people's programs.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use carnet_h248::text::{Form, Limits, parse, print};
use carnet_h248::{Encoding, Message, binary, encoding};
use common::{absent, dissect, recode};
use std::path::PathBuf;

/// The messages of `fixtures/grammar`, with their names.
fn messages() -> Vec<(String, Message)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/grammar");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 18);
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let message = parse(&std::fs::read(&path).unwrap(), &Limits::default());
        let message = message.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(name.starts_with(&format!("v{}-", message.version)), "{name}");
        (name, message)
    };
    files.into_iter().map(read).collect()
}

/// The parts of the long form in any order, without what may be said in two ways: case, quotes, white
/// space, and `ContextAttr` round what is audited of a context.
fn meaning(message: &Message) -> Vec<String> {
    let text = String::from_utf8(print(message, Form::Long)).unwrap().to_lowercase();
    let text = text.replace('\n', ",").replace([' ', '\t', '\r', '"'], "");
    let parts = text.split([',', '{', '}']).filter(|part| !part.is_empty() && *part != "contextattr");
    let mut parts: Vec<_> = parts.map(str::to_owned).collect();
    parts.sort();
    parts
}

fn same(name: &str, theirs: &Message, ours: &Message) {
    let (theirs, ours) = (meaning(theirs), meaning(ours));
    let lost: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
    let added: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).collect();
    assert!(lost.is_empty() && added.is_empty() && theirs.len() == ours.len(), "{name}: {lost:?} {added:?}");
}

/// What has no binary form: packages that are not in the table, and a method that has no number.
const WITHOUT_BINARY: [(&str, &str); 3] =
    [("v1-embedded", "al/of"), ("v1-extensions", "method"), ("v1-line-events", "al/on")];

#[test]
fn every_message_says_the_same_in_every_encoding() {
    for (name, message) in messages() {
        for form in [Form::Long, Form::Short] {
            let printed = Encoding::Text(form).print(&message).unwrap_or_else(|e| panic!("{name}: {e}"));
            let again = parse(&printed, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(again, message, "{name}");
        }
        let without = WITHOUT_BINARY.iter().find(|(other, _)| *other == name);
        match (Encoding::Binary.print(&message), without) {
            (Err(error), Some((_, named))) => assert!(error.to_string().contains(named), "{name}: {error}"),
            (Err(error), None) => panic!("{name}: {error}"),
            (Ok(octets), _) => {
                assert!(without.is_none(), "{name}");
                let again = encoding::parse(&octets, &Limits::default());
                let again = again.unwrap_or_else(|e| panic!("{name}: {e}"));
                same(&name, &again, &message);
                assert_eq!(binary::print(&again).unwrap(), octets, "{name}");
            }
        }
    }
}

/// What is newer than a message's version is not written, and named.
#[test]
fn nothing_is_sent_to_a_peer_that_has_not_got_it() {
    let mut refused = Vec::new();
    for (name, message) in messages() {
        for version in 1..message.version {
            let older = Message { version, ..message.clone() };
            let reasons: Vec<_> = [Encoding::Text(Form::Long), Encoding::Text(Form::Short), Encoding::Binary]
                .into_iter()
                .filter_map(|encoding| encoding.print(&older).err())
                .map(|error| error.to_string())
                .collect();
            // Modems are as old as the protocol.
            if name == "v3-modems" {
                assert!(reasons.is_empty(), "{reasons:?}");
                continue;
            }
            assert_eq!(reasons.len(), 3, "{name} as version {version}");
            assert!(reasons.iter().all(|reason| *reason == reasons[0]), "{name}: {reasons:?}");
            refused.push(format!("{name} as {version}: {}", reasons[0]));
        }
    }
    refused.sort();
    for part in [
        "v2-context as 1: the stream of a Topology is of version 2, the message of version 1",
        "v3-segments as 2: a segment of a reply is of version 3, the message of version 2",
    ] {
        assert!(refused.iter().any(|line| line == part), "{part}\n{}", refused.join("\n"));
    }
}

/// Each thing that came later, alone in a message.
#[test]
fn every_novelty_is_known_to_be_one() {
    let request = |inside: &str| format!("Transaction = 1 {{ Context = 1 {{ {inside} }} }}");
    let modify = |inside: &str| request(&format!("Modify = a {{ {inside} }}"));
    let audit = |inside: &str| request(&format!("AuditValue = a {{ Audit {{ {inside} }} }}"));
    let cases = [
        (1, modify("Events = 1 { g/cause { KeepActive, Stream = 1 } }, DigitMap = d { T:1,(x) }")),
        (
            1,
            request(
                "Priority = 1, Emergency, Topology { a, b, Oneway }, ContextAudit { Topology, Emergency, Priority }",
            ),
        ),
        (1, "Reply = 1 { Context = 1 { AuditValue = Context { a, b } } }".to_owned()),
        (2, request("Topology { a, b, Oneway, Stream = 1 }")),
        (2, modify("DigitMap = d { S:3, Z:4, (x) }")),
        (2, modify("Events = 1 { g/cause { Embed { Events = 2 { dd/ce { DigitMap = { Z:4,(x) } } } } } }")),
        (2, modify("Mux = Nx64Kservice { a, b }")),
        (2, audit("Media { Stream = 1 { LocalControl { Mode } } }")),
        (2, audit("Signals { SignalList = 3 }")),
        (2, request("ServiceChange = ROOT { Services { Method = Restart, Reason = 900, Media } }")),
        (3, request("Topology { a, b, OnewayBoth }")),
        (3, request("IEPSCall = ON, Modify = a")),
        (3, request("ContextAttr { ipdc/realm = a }, Modify = a")),
        (3, request("ContextAttr { ContextList = { 1, 2 } }, Modify = a")),
        (3, request("ContextAudit { IEPSCall }")),
        (3, request("ContextAudit { Priority = 3 }")),
        (3, request("Modify = [a, b]")),
        (3, modify("Statistics { nt/os }")),
        (3, modify("Media { Stream = 1 { Statistics { nt/os } } }")),
        (3, modify("Events = 1 { g/cause { NeverNotify } }")),
        (3, modify("Events = 1 { g/cause { Embed { Events = 2 { g/cause { ResetEventsDescriptor } } } } }")),
        (3, modify("Signals { p/s { SPADirection = Both } }")),
        (3, modify("Signals { SignalList = 1 { p/s { SPARequestID = 1 } } }")),
        (3, modify("Signals { p/s { Intersignal = 1 } }")),
        (3, modify("Signals { p/s { NotifyCompletion = { Iteration } } }")),
        (3, audit("Media { Stream = 1 { LocalControl { Mode = Inactive } } }")),
        (3, audit("Signals { p/s { SPARequestID = 1 } }")),
        (3, audit("Media { Stream = 1 { Local {\nc=\n} } }")),
        (3, request("ServiceChange = ROOT { Services { Method = Forced, Reason = 900, ServiceChangeInc } }")),
        (3, "Reply = 1/1 { Context = 1 { Add = a } }".to_owned()),
        (3, "Segment = 1/1".to_owned()),
        (3, "Reply = 1 { Context = 1 }".to_owned()),
        (3, "Reply = 1 { Context = 1 { Subtract = a { Statistics { nt/os = [1, 2] } } } }".to_owned()),
        (3, "Reply = 1 { Context = 1 { Subtract = [a, b] } }".to_owned()),
    ];
    for (since, text) in cases {
        for version in 1..=3 {
            let text = format!("MEGACO/{version} <a> {text}");
            let message =
                parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|e| panic!("{text}: {e}"));
            match message.check_version() {
                Ok(()) => assert!(version >= since, "{text}"),
                Err(newer) => assert!(newer.since > version && newer.since <= since, "{text}: {newer}"),
            }
        }
    }
}

/// What the text codec of OTP 25 cannot read although the grammar has it.
const BEYOND_OTP: [(&str, &str); 7] = [
    ("v1-embedded", "the braces of an empty Signals descriptor, which RFC 3525 wants"),
    ("v1-extensions", "methods of ServiceChange by extension"),
    ("v3-context-short", "ANDLgc, which it spells otherwise; ContextAttr in an audit with the rest"),
    ("v2-context", "the long EmergencyOff"),
    ("v3-segments", "segment numbers in the long form, which it scans as one word with what follows"),
    ("v3-selections", "properties selected by their value"),
    ("v3-signals", "the long Iteration"),
];

/// What it reads and writes as something else: modems, which it drops since version 2, and the
/// authentication header.
const LOST: [&str; 2] = ["v3-modems", "v1-authenticated"];

#[test]
fn erlang_reads_them() {
    if absent("escript") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let messages = messages();
    for (name, message) in &messages {
        for (form, letter) in [(Form::Long, 'l'), (Form::Short, 's')] {
            std::fs::write(folder.path().join(format!("{name}-{letter}.in")), print(message, form)).unwrap();
        }
    }
    let said = recode(folder.path());
    let unread: Vec<_> = said.lines().filter(|l| l.contains(": decode: ")).collect();
    for line in &unread {
        assert!(BEYOND_OTP.iter().any(|(name, _)| line.starts_with(name)), "{line}");
    }
    let mut compared = 0;
    for (name, message) in messages.iter().filter(|(name, _)| !LOST.contains(&name.as_str())) {
        for file in ["l.pretty", "l.compact", "s.pretty", "s.compact"] {
            let path = folder.path().join(format!("{name}-{file}"));
            let Ok(octets) = std::fs::read(path) else { continue };
            let theirs = parse(&octets, &Limits::default());
            let theirs =
                theirs.unwrap_or_else(|e| panic!("{name}: {e}\n{}", String::from_utf8_lossy(&octets)));
            same(name, &theirs, message);
            compared += 1;
        }
    }
    eprintln!("{} not read, {compared} of theirs compared\n{said}", unread.len());
}

/// What the dissector of the text encoding does not know: constraints on numbers, lists of terminations,
/// blanks in an authentication header.
const BEYOND_WIRESHARK: [&str; 5] =
    ["v1-authenticated", "v1-constraints", "v3-segments", "v3-service", "v3-signals"];

/// And that of the binary one: audit replies of version 1 as RFC 3525 corrected them, and the list of
/// terminations of an audit.
const BEYOND_WIRESHARK_BINARY: [&str; 2] = ["v1-replies", "v3-signals"];

/// Wireshark's dissectors find nothing malformed in either encoding.
#[test]
fn wireshark_finds_nothing_malformed() {
    if absent("tshark") || absent("text2pcap") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let messages = messages();
    let known = messages.iter().filter(|(name, _)| !BEYOND_WIRESHARK.contains(&name.as_str()));
    let text: Vec<_> = known.flat_map(|(_, m)| [print(m, Form::Long), print(m, Form::Short)]).collect();
    let known = messages.iter().filter(|(name, _)| !BEYOND_WIRESHARK_BINARY.contains(&name.as_str()));
    let binary: Vec<_> = known.filter_map(|(_, m)| binary::print(m).ok()).collect();
    for (port, octets) in [(2944, text), (2945, binary)] {
        let tree = dissect(folder.path(), port, octets.iter().map(Vec::as_slice));
        // That of text warns of empty braces that the grammar has.
        let errors = ["Malformed", "BER Error", "Expert Info (Error", "Undecoded", "Warning/Protocol"];
        for bad in errors.into_iter().take(if port == 2944 { 4 } else { 5 }) {
            let frames: Vec<_> = tree.split("\n\nFrame ").filter(|frame| frame.contains(bad)).collect();
            assert!(frames.is_empty(), "{bad}\n{}", frames.join("\n"));
        }
        let found = tree.lines().filter(|l| *l == "H.248 MEGACO" || *l == "MEGACO").count();
        assert_eq!(found, octets.len());
    }
}
