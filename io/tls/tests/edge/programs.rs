//! Other people's programs, as clients.

use super::common::have;
use super::far::{Kind, Shown};
use super::near::Near;
use carnet_tls::{Credential, EdgeContext, Error, Report, Side, Version, Versions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Files {
    _folder: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
    shown: Shown,
}

fn files(kind: Kind) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let shown = Shown::new(kind);
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, shown.pem().0).unwrap();
    std::fs::write(&key, shown.pem().1).unwrap();
    Files { _folder: folder, certificate, key, shown }
}

/// Starts a client and waits for its call.
fn call(command: &mut Command, to: impl FnOnce(&mut Command, u16), files: &Files) -> (Child, Near) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    to(command, listener.local_addr().unwrap().port());
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let context = EdgeContext::new(&Credential::self_signed(&[], 1).unwrap(), Versions::Both).unwrap();
    let mut near = Near::new(&context, stream, Side::Server);
    near.edge.announce(&[files.shown.fingerprint("sha-256")]);
    (child, near)
}

fn s_client(files: &Files, arguments: &[&str]) -> (Child, Near) {
    let mut command = Command::new("openssl");
    command.arg("s_client").args(arguments).arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key);
    call(
        &mut command,
        |command, port| {
            command.arg("-connect").arg(format!("127.0.0.1:{port}"));
        },
        files,
    )
}

fn say(child: &mut Child, words: &str) {
    child.stdin.as_mut().unwrap().write_all(words.as_bytes()).unwrap();
}

/// All that the program said to its end.
fn ending(mut child: Child) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    child.stdin.take();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut err).unwrap();
    child.wait().unwrap();
    String::from_utf8_lossy(&out).into_owned() + &String::from_utf8_lossy(&err)
}

fn talk(child: &mut Child, near: &mut Near) -> Result<Report, Error> {
    let report = near.handshake()?;
    say(child, "hello\n");
    assert_eq!(near.read(6)?, b"hello\n");
    near.write(b"welcome\n");
    near.close();
    Ok(report)
}

#[test]
fn openssl_completes_with_every_suite() {
    if !have("openssl") {
        return;
    }
    let cases: [(Kind, &[&str], &str); 9] = [
        (Kind::P256, &["-tls1_3"], "TLS_AES_128_GCM_SHA256"),
        (Kind::P256, &["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"], "TLS_AES_256_GCM_SHA384"),
        (
            Kind::Ed25519,
            &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        // Another group than our first: HelloRetryRequest is needed.
        (Kind::Rsa(2048), &["-tls1_3", "-groups", "P-384:P-256"], "TLS_AES_128_GCM_SHA256"),
        (Kind::P384, &["-tls1_2"], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        (
            Kind::Rsa(2048),
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ),
        (
            Kind::P256,
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
        (Kind::P256, &["-tls1_2", "-curves", "P-256"], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        (Kind::Ed25519, &["-tls1_2"], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ];
    for (kind, arguments, suite) in cases {
        let files = files(kind);
        let (mut child, mut near) = s_client(&files, arguments);
        let outcome = talk(&mut child, &mut near);
        let said = ending(child);
        let report = outcome.unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{said}"));
        assert_eq!(report.cipher, suite, "{said}");
        assert!(said.contains("welcome"), "{said}");
        assert!(!said.contains("New Session Ticket arrived"), "no ticket is given out: {said}");
    }
}

#[test]
fn openssl_and_we_have_nothing_in_common() {
    if !have("openssl") {
        return;
    }
    for arguments in [
        ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "AES128-SHA@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA@SECLEVEL=0"],
    ] {
        let files = files(Kind::P256);
        let (child, mut near) = s_client(&files, &arguments);
        let error = near.handshake().unwrap_err();
        near.part();
        let told = matches!(error, Error::NoCommonVersion | Error::NoCommonSuite);
        assert!(told, "{arguments:?}: {error:?}\n{}", ending(child));
    }
}

#[test]
fn keys_are_updated_when_the_peer_wants_it() {
    if !have("openssl") {
        return;
    }
    let files = files(Kind::P256);
    let (mut child, mut near) = s_client(&files, &["-tls1_3"]);
    near.handshake().unwrap();
    for round in 0..3 {
        // `K`: new keys for both directions.
        say(&mut child, "K\n");
        let word = format!("round {round}\n");
        // It reads one order at a time; what follows at once would be part of it.
        std::thread::sleep(Duration::from_millis(200));
        say(&mut child, &word);
        assert_eq!(near.read(word.len()).unwrap(), word.as_bytes());
        near.write(format!("answer {round}\n").as_bytes());
    }
    near.close();
    let said = ending(child);
    assert!(said.contains("KEYUPDATE"), "{said}");
    assert!((0..3).all(|round| said.contains(&format!("answer {round}"))), "{said}");
}

#[test]
fn renegotiation_is_refused() {
    if !have("openssl") {
        return;
    }
    let files = files(Kind::P256);
    let (mut child, mut near) = s_client(&files, &["-tls1_2"]);
    near.handshake().unwrap();
    say(&mut child, "R\n");
    // Either end may have had enough of the other; the old association must not be replaced.
    let outcome = near.read(1);
    near.part();
    let said = ending(child);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation") || outcome.is_err(), "{outcome:?} {said}");
}

#[test]
fn gnutls_completes_in_both_versions() {
    if !have("gnutls-cli") {
        return;
    }
    for (kind, priority, version) in [
        (Kind::P256, "NORMAL:-VERS-ALL:+VERS-TLS1.3", Version::Tls13),
        (Kind::Rsa(2048), "NORMAL:-VERS-ALL:+VERS-TLS1.3", Version::Tls13),
        (Kind::P384, "NORMAL:-VERS-ALL:+VERS-TLS1.2", Version::Tls12),
        (Kind::Rsa(2048), "NORMAL:-VERS-ALL:+VERS-TLS1.2", Version::Tls12),
    ] {
        let files = files(kind);
        let mut command = Command::new("gnutls-cli");
        command.args(["--insecure", "--priority", priority]);
        command.arg("--x509certfile").arg(&files.certificate).arg("--x509keyfile").arg(&files.key);
        let (mut child, mut near) = call(
            &mut command,
            |command, port| {
                command.args(["--port", &port.to_string(), "127.0.0.1"]);
            },
            &files,
        );
        let outcome = talk(&mut child, &mut near);
        let said = ending(child);
        let report = outcome.unwrap_or_else(|error| panic!("{kind:?} {priority}: {error}\n{said}"));
        assert_eq!(report.version, version);
        assert!(said.contains("welcome"), "{said}");
    }
}
