//! Files of every form, written by Wireshark's tools, and what tshark reads in them.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod common;

use carnet_capture::{Error, Event, Limits};
use common::*;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn absent() -> bool {
    let absent = ["tshark", "editcap", "mergecap", "text2pcap"]
        .iter()
        .find(|program| Command::new(program).arg("-v").output().is_err());
    if let Some(program) = absent {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "{program} is required here");
        eprintln!("skipped: {program} is not installed");
    }
    absent.is_some()
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Time, length on the wire and length kept of every packet, as tshark has them.
fn told(file: &str, directory: &Path) -> Vec<(Duration, usize, usize)> {
    let fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len"];
    let out = run("tshark", &[&["-r", file], &fields[..]].concat(), directory);
    out.lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let (seconds, fraction) = fields.next().unwrap().split_once('.').unwrap();
            let fraction = format!("{fraction:0<9}");
            let at = Duration::new(seconds.parse().unwrap(), fraction[..9].parse().unwrap());
            (at, fields.next().unwrap().parse().unwrap(), fields.next().unwrap().parse().unwrap())
        })
        .collect()
}

fn conversation() -> Vec<Vec<u8>> {
    let mut list = vec![
        tcp(A, B, 999, 0, SYN, &[]),
        tcp(B, A, 4999, 1000, SYN | ACK, &[]),
        tcp(A, B, 1003, 5000, ACK, b"DEF"),
        tcp(A, B, 1000, 5000, ACK, b"ABC"),
        tcp(A, B, 1001, 5000, ACK, b"BCDE"),
        tcp(B, A, 5000, 1006, ACK, b"yes"),
        tcp(A, B, 1006, 5003, FIN | ACK, b"!"),
        tcp(B, A, 5003, 1008, FIN | ACK, &[]),
    ];
    let whole = udp(4000, 4001, &[b'f'; 2500]);
    list.push(v4(A.0, B.0, 5, 0x2000, 17, &whole[..1480]));
    list.push(v4(A.0, B.0, 5, 185, 17, &whole[1480..]));
    list.iter().map(|ip| ethernet(&[42], ip)).collect()
}

#[test]
fn every_form_is_read_as_tshark_reads_it() {
    if absent() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let list = conversation();
    std::fs::write(at.join("little.pcap"), pcap(false, 1, &list)).unwrap();
    std::fs::write(at.join("big.pcap"), pcap(true, 1, &list)).unwrap();
    for (arguments, name) in [
        (&["-F", "pcap"][..], "again.pcap"),
        (&["-F", "nsecpcap", "-t", "0.000000789"], "nanoseconds.pcap"),
        (&["-F", "pcapng"], "blocks.pcapng"),
        (&["-F", "pcapng", "-s", "60"], "short.pcapng"),
        (&["-F", "pcap", "-s", "60"], "short.pcap"),
    ] {
        run("editcap", &[arguments, &["little.pcap", name]].concat(), at);
    }
    // Two interfaces with other links, and a section behind a section.
    run("editcap", &["-T", "rawip4", "-C", "0:18", "-F", "pcapng", "little.pcap", "raw.pcapng"], at);
    run("mergecap", &["-w", "merged.pcapng", "blocks.pcapng", "raw.pcapng"], at);
    let sections =
        [std::fs::read(at.join("blocks.pcapng")).unwrap(), std::fs::read(at.join("raw.pcapng")).unwrap()]
            .concat();
    std::fs::write(at.join("sections.pcapng"), sections).unwrap();
    for name in [
        "little.pcap",
        "big.pcap",
        "again.pcap",
        "nanoseconds.pcap",
        "blocks.pcapng",
        "short.pcapng",
        "short.pcap",
        "raw.pcapng",
        "merged.pcapng",
        "sections.pcapng",
    ] {
        let file = std::fs::read(at.join(name)).unwrap();
        let expected = told(name, at);
        assert!(!expected.is_empty());
        for part in [1, 17, 1 << 20] {
            let read: Vec<_> =
                packets(&file, part).unwrap().iter().map(|p| (p.at, p.length, p.octets.len())).collect();
            assert_eq!(read, expected, "{name} in parts of {part}");
        }
        let (events, network) = events(&packets(&file, 4096).unwrap(), Limits::default());
        assert_eq!(network.seen().not_ip, 0, "{name}");
        if name.contains("short") {
            continue;
        }
        // Octets of the two streams, as tshark follows them.
        let follow = run("tshark", &["-q", "-r", name, "-z", "follow,tcp,raw,0"], at);
        let sent = |indented: bool| -> String {
            let lines = follow
                .lines()
                .filter(|line| line.trim().chars().all(|c| c.is_ascii_hexdigit()) && !line.trim().is_empty());
            lines.filter(|line| line.starts_with('\t') == indented).map(str::trim).collect()
        };
        let hex = |octets: Vec<u8>| octets.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(stream(&events, A.1)), sent(false), "{name}: {follow}");
        assert_eq!(hex(stream(&events, B.1)), sent(true), "{name}");
        let whole =
            events.iter().filter(|e| matches!(e, Event::Datagram(d) if d.octets.len() == 2500)).count();
        assert!(whole >= 1, "{name}");
    }
}

/// What text2pcap writes: another writer of the same forms, with headers of its own.
#[test]
fn packets_made_of_text() {
    if absent() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("text"), "0000 4f 50 54 49 4f 4e 53\n0000 41 43 4b\n").unwrap();
    for (arguments, from) in [
        (&["-u", "5060,5061"][..], "10.1.1.1:5060"),
        (&["-u", "5060,5061", "-6", "2001:db8::1,2001:db8::2"], "[2001:db8::1]:5060"),
        (&["-u", "5060,5061", "-4", "192.0.2.1,192.0.2.2", "-n"], "192.0.2.1:5060"),
    ] {
        run("text2pcap", &[&["-q"], arguments, &["text", "out"]].concat(), at);
        let file = std::fs::read(at.join("out")).unwrap();
        let list = packets(&file, 100).unwrap();
        let (events, _) = events(&list, Limits::default());
        let read: Vec<_> = events
            .iter()
            .map(|e| match e {
                Event::Datagram(d) => (d.from.to_string(), d.octets.to_vec()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(read.len(), 2, "{arguments:?}");
        assert_eq!(read[0].1, b"OPTIONS");
        assert_eq!(read[1], (from.to_owned(), b"ACK".to_vec()), "{arguments:?}");
    }
}

#[test]
fn files_that_are_cut_or_are_none() {
    let file = pcap(false, 1, &conversation());
    for end in 0..file.len() {
        let outcome = packets(&file[..end], 11);
        match end {
            0..24 => assert!(matches!(outcome, Err(Error::NotCapture(_))), "{end}"),
            _ => match outcome {
                Ok(list) => assert!(list.len() < conversation().len()),
                Err(error) => assert!(matches!(error, Error::Cut { .. }), "{end}: {error}"),
            },
        }
    }
    assert!(matches!(packets(b"GET / HTTP/1.1\r\n\r\n", 100), Err(Error::NotCapture(_))));
    let zipped = packets(&[0x1f, 0x8b, 8, 0], 4).unwrap_err().to_string();
    assert!(zipped.contains("gunzip"), "{zipped}");
    // A length that cannot be is pointed at, and nothing is held for it.
    let mut wrong = pcap(false, 1, &[vec![0; 4]]);
    wrong[24 + 11] = 0xff;
    assert_eq!(packets(&wrong, 100), Err(Error::Damaged { at: 24, what: "a packet of more than 16 MiB" }));
}
