//! A client against sipp, which reads SIP with eyes that are not ours.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SCENARIO: &str = include_str!("sipp/refusals.xml");

fn have_sipp() -> bool {
    let here = Command::new("sipp").arg("-v").output().is_ok();
    if !here {
        assert!(std::env::var_os("CARNET_REQUIRE_INTEROP").is_none(), "sipp is required here");
        eprintln!("skipped: sipp is not installed");
    }
    here
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A client that takes calls in clear and listens at `at`.
fn client(directory: &Path, at: SocketAddr, transport: &str) -> Running {
    let proxy = format!("sip:{};transport={transport}", free());
    let child = Command::new(env!("CARGO_BIN_EXE_carnet"))
        .args(["ue", "--user", "sip:bob@b.example", "--proxy", &proxy, "--no-register"])
        .args(["--allow-clear", "--listen", &at.to_string(), "receive", "--dir"])
        .arg(directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    let listens = || match transport {
        "tcp" => TcpStream::connect(at).is_ok(),
        // A port that nobody has taken answers that it is closed.
        _ => {
            let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
            probe.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let answer =
                probe.connect(at).and_then(|()| probe.send(b"\r\n")).and_then(|_| probe.recv(&mut [0]));
            answer.is_err_and(|e| e.kind() != std::io::ErrorKind::ConnectionRefused)
        }
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !listens() {
        assert!(Instant::now() < deadline, "the client does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

#[test]
fn a_client_refuses_as_the_specifications_ask() {
    if !have_sipp() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let scenario = directory.path().join("refusals.xml");
    std::fs::write(&scenario, SCENARIO).unwrap();
    for (transport, socket) in [("udp", "u1"), ("tcp", "t1")] {
        let at = free();
        let _client = client(directory.path(), at, transport);
        let output = Command::new("sipp")
            .current_dir(directory.path())
            .arg("-sf")
            .arg(&scenario)
            .args(["-t", socket, "-m", "1", "-i", "127.0.0.1", "-p", &free().port().to_string()])
            .args(["-timeout", "30", "-timeout_error", "-trace_err", "-error_file", "errors", "-nostdin"])
            .arg(at.to_string())
            .output()
            .unwrap();
        // sipp ends with 0 only if the call went as the scenario has it, headers included.
        let errors = std::fs::read_to_string(directory.path().join("errors")).unwrap_or_default();
        assert!(output.status.success(), "{transport}: {errors}");
    }
}
