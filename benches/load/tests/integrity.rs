//! Both ends as programs, directly and with somebody between them who changes what passes.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod meddler;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use meddler::{Fault, between};

const PROGRAM: &str = env!("CARGO_BIN_EXE_carnet-load");

/// A server of ours, killed when it is dropped.
struct Server(Child, SocketAddr);

impl Server {
    fn start(options: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "127.0.0.1:0"]).args(options).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("ready ").unwrap().parse().unwrap();
        Self(child, address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client(kind: &str, to: SocketAddr, options: &str) -> Output {
    let options = options.split_whitespace();
    Command::new(PROGRAM).arg(kind).arg(to.to_string()).args(options).arg("--json").output().unwrap()
}

fn line(output: &Output) -> serde_json::Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}{error}"))
}

fn fine(kind: &str, to: SocketAddr, options: &str) -> serde_json::Value {
    let output = client(kind, to, options);
    let line = line(&output);
    assert!(output.status.success() && line["failed"] == 0, "{kind} {options}: {line}");
    line
}

#[test]
fn every_kind_passes_directly_and_through_a_relay() {
    let server = Server::start(&["--threads", "2"]);
    for to in [server.1, between(server.1, Fault::Nothing, true, 0)] {
        for kind in ["up", "down", "duplex"] {
            let line = fine(kind, to, "--seconds 0.3 --sessions 3 --threads 2");
            assert!(line["octets"].as_u64().unwrap() > 100_000, "{line}");
        }
        for kind in ["echo", "msrp"] {
            for options in ["--size 200", "--size 100000 --sessions 2", "--rate 500 --size 200 --sessions 5"]
            {
                let line = fine(kind, to, &format!("{options} --seconds 0.5 --reports --chunk 3000"));
                let intended = options.contains("--rate");
                assert_eq!(line["latency_us"]["from"], if intended { "intended" } else { "sent" });
                assert_eq!(line["latency_us"]["count"], line["units"], "{line}");
            }
        }
        let line = fine("connect", to, "--sessions 8 --limit 100 --seconds 30");
        assert_eq!(line["units"], 100, "{line}");
        fine("connect", to, "--sessions 8 --rate 100 --seconds 0.5");
    }
}

#[test]
fn every_kind_passes_in_tls() {
    for version in ["1.2", "1.3"] {
        let server = Server::start(&["--tls", version]);
        for kind in ["up", "down", "duplex", "echo", "msrp", "connect"] {
            fine(kind, server.1, &format!("--tls {version} --seconds 0.3 --sessions 3"));
        }
        let plain = client("echo", server.1, "--seconds 0.3 --sessions 1");
        assert_eq!(plain.status.code(), Some(1), "who speaks no TLS is not served: {}", line(&plain));
    }
}

#[test]
fn whatever_is_changed_on_the_way_is_found() {
    let server = Server::start(&[]);
    for fault in [Fault::Flip, Fault::Lose, Fault::Twice, Fault::Swap, Fault::Cut] {
        // Past the greeting, and past the first header of MSRP.
        for (kind, way) in [
            ("up", true),
            ("down", false),
            ("duplex", true),
            ("duplex", false),
            ("echo", true),
            ("echo", false),
        ] {
            for after in [1_000, 100_000] {
                let to = between(server.1, fault, way, after);
                let output = client(kind, to, "--seconds 0.5 --patience 3 --sessions 2 --size 4096");
                let line = line(&output);
                assert_eq!(output.status.code(), Some(1), "{kind}, {fault:?} after {after}: {line}");
                assert!(line["failed"].as_u64().unwrap() >= 1, "{kind}, {fault:?} after {after}: {line}");
                let cut = matches!(fault, Fault::Cut);
                assert!(cut || line["corrupt"] == 1, "{kind} up {way}, {fault:?} after {after}: {line}");
            }
        }
        let to = between(server.1, fault, true, 10_000);
        let output = client(
            "msrp",
            to,
            "--seconds 0.5 --patience 3 --sessions 2 --size 100000 --chunk 100000 --reports",
        );
        assert_eq!(output.status.code(), Some(1), "MSRP, {fault:?}: {}", line(&output));
    }
}

#[test]
fn nobody_there_and_nonsense_are_failures() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for kind in ["up", "echo", "msrp"] {
        let output = client(kind, nobody, "--seconds 0.2 --sessions 2");
        assert_eq!(output.status.code(), Some(1), "{kind}");
        assert_eq!(line(&output)["failed"], 2, "{kind}");
    }
    let output = client("connect", nobody, "--seconds 5 --sessions 2");
    assert!(output.status.code() == Some(1) && line(&output)["failed"].as_u64().unwrap() >= 1_000);
    for (kind, options) in
        [("up", "--sessions 0"), ("nonsense", ""), ("up", "--tls 1.1"), ("up", "--ports 65535")]
    {
        assert_eq!(client(kind, nobody, options).status.code(), Some(2), "{kind} {options}");
    }
    // A server is not brought down by what it does not understand.
    let server = Server::start(&[]);
    for said in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"MSRP x", b"ucarnet-", b"MSRP abcd SEND\r\nTo-Path: x\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(server.1).unwrap();
        stream.write_all(said).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    fine("echo", server.1, "--seconds 0.2");
}

#[test]
fn processes_share_the_sessions() {
    let server = Server::start(&[]);
    let output = client("connect", server.1, "--processes 3 --sessions 6 --limit 50 --seconds 30");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{text}");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let units: u64 = lines.iter().map(|line| line["units"].as_u64().unwrap()).sum();
    assert_eq!((lines.len(), units), (3, 50), "{text}");
}
