//! Erlang/OTP's megaco reads what we print, we read what it prints, and both mean the same.
//!
//! Skipped with a message when Erlang is not there, unless `CARNET_REQUIRE_INTEROP=1`.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;

use carnet_h248::text::{Form, Limits, parse, print};
use carnet_h248::*;
use common::{absent, dissect, random, recode};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

fn fixtures() -> Vec<(String, Message)> {
    let mut list: Vec<_> = std::fs::read_dir(FIXTURES)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .map(|p| {
            let message = parse(&std::fs::read(&p).unwrap(), &Limits::default()).unwrap();
            (p.file_stem().unwrap().to_string_lossy().into_owned(), message)
        })
        .collect();
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list
}

/// The same up to what the other side does not keep: letters' case, quotes, and how lines of SDP end.
fn gist(message: &Message) -> String {
    let text = format!("{message:?}").to_lowercase();
    text.replace("quoted(", "token(").replace("\\r\\n", "\\n")
}

/// What the text codec of OTP 25 cannot read although the grammar has it.
fn beyond_otp(message: &Message) -> bool {
    let text = String::from_utf8_lossy(&print(message, Form::Long)).into_owned();
    // The escaped brace in SDP, the long spelling of Iteration, parameters of buffered events (it takes
    // one), segment numbers.
    ["\\}", "Iteration", "EventBuffer {", "Segment = ", "/END"].iter().any(|t| text.contains(t))
        // Device names where a port may stand.
        || format!("{:?}", message.body).contains("Device(")
        // A value or a name that is spelt like a short keyword.
        || text.split(|c: char| c.is_whitespace() || ",={}[]:".contains(c)).any(|word| {
            let known = ["Add", "Mux", "ON", "OFF", "-", "$", "*"].contains(&word);
            (1..=3).contains(&word.len()) && !known && !word.bytes().all(|b| b.is_ascii_digit())
        })
}

/// What its text encoder writes wrongly: the authentication header, the stream of a topology, and an
/// event parameter's list of one, which becomes a plain value.
fn misprinted(message: &Message) -> bool {
    let text = format!("{message:?}");
    let with_stream = |part: &str| part.split('}').next().is_some_and(|t| t.contains("stream: Some("));
    let of_one = |part: &str| part.split("])").next().is_some_and(|t| !t.contains("\"), "));
    message.auth.is_some()
        || text.split("Of([").skip(1).any(of_one)
        || text.split("Topology {").skip(1).any(with_stream)
}

#[test]
fn erlang_reads_what_we_print_and_we_read_what_it_prints() {
    if absent("escript") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut messages = fixtures();
    messages.extend(random(2_500, &common::message()).into_iter().filter(|(_, m)| !beyond_otp(m)));
    for (name, message) in &messages {
        for (form, letter) in [(Form::Long, 'l'), (Form::Short, 's')] {
            std::fs::write(folder.path().join(format!("{name}-{letter}.in")), print(message, form)).unwrap();
        }
    }
    let said = recode(folder.path());
    let unread: Vec<_> =
        said.lines().filter(|l| l.contains(": decode: ")).map(|l| &l[..l.len().min(400)]).collect();
    assert!(unread.is_empty(), "{} not read\n{}", unread.len(), unread[..unread.len().min(30)].join("\n"));
    let (mut compared, mut unprinted, mut differing) = (0, 0, Vec::new());
    for (name, message) in &messages {
        if misprinted(message) {
            continue;
        }
        for letter in ['l', 's'] {
            for form in ["pretty", "compact"] {
                // It cannot print all that it reads: lists as event parameters and statistics, some of
                // version 3's directions.
                let Ok(octets) = std::fs::read(folder.path().join(format!("{name}-{letter}.{form}"))) else {
                    assert!(name.starts_with("random") || name == "27-mp-conference-notify", "{name}");
                    unprinted += 1;
                    continue;
                };
                let text = String::from_utf8_lossy(&octets);
                let theirs = match parse(&octets, &Limits::default()) {
                    Ok(theirs) => theirs,
                    Err(error) => {
                        differing.push(format!("{name}: {error}\n{text}"));
                        continue;
                    }
                };
                let (left, right) = (gist(&theirs), gist(message));
                let at = left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count();
                let near = |s: &str| {
                    s.get(at.saturating_sub(60)..(at + 60).min(s.len())).unwrap_or_default().to_owned()
                };
                if left != right {
                    differing.push(format!(
                        "{name}: they say\n  {}\nwe said\n  {}",
                        near(&left),
                        near(&right)
                    ));
                }
                compared += 1;
            }
        }
    }
    eprintln!(
        "{} messages read by Erlang's megaco, {compared} of its own compared, {unprinted} it could not print",
        2 * messages.len()
    );
    assert!(
        differing.is_empty(),
        "{} differ\n{}",
        differing.len(),
        differing[..differing.len().min(12)].join("\n")
    );
    assert!(compared > 500);
}

/// Wireshark's dissector finds nothing malformed in what we print.
#[test]
fn tshark_finds_nothing_malformed() {
    if absent("tshark") || absent("text2pcap") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let octets: Vec<_> =
        fixtures().into_iter().flat_map(|(_, m)| [print(&m, Form::Long), print(&m, Form::Short)]).collect();
    let tree = dissect(folder.path(), 2944, octets.iter().map(Vec::as_slice));
    assert_eq!(
        tree.lines().filter(|l| l.contains("[Protocols in frame") && l.contains("megaco")).count(),
        octets.len(),
        "{tree}"
    );
    for bad in ["Malformed", "Expert Info (Error", "Warning/Protocol"] {
        assert!(!tree.contains(bad), "{bad}\n{tree}");
    }
}
