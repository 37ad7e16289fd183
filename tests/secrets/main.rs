//! No secret gets out: networks of processes whose keys are known do what they do, with everything on that can be read, and
//! all that they said is searched for the keys.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

mod broken;
mod by_hand;
mod crawl;
mod edge;
mod sealed;
mod search;

#[allow(dead_code, reason = "what others need")]
#[path = "../e2e/lab.rs"]
mod lab;
#[allow(dead_code, reason = "what others need")]
#[path = "../conference/member.rs"]
mod member;
#[allow(dead_code, reason = "what others need")]
#[path = "../conference/stage.rs"]
mod stage;

use std::path::Path;

/// A new key of 32 octets in a file, in hexadecimal, as `line` has it.
fn key_file(path: &Path, line: impl Fn(&str) -> String) -> Vec<u8> {
    let mut octets = vec![0; 32];
    openssl::rand::rand_bytes(&mut octets).unwrap();
    std::fs::write(path, line(&carnet_wire::hex::encode(&octets)) + "\n").unwrap();
    octets
}

/// A self-signed certificate and its key in PEM; the secret number of the key.
fn certificate(directory: &Path, name: &str, subject: &str) -> Vec<u8> {
    let output = std::process::Command::new("openssl")
        .current_dir(directory)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", &format!("/CN={name}.example"), "-addext", &format!("subjectAltName={subject}")])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let pem = std::fs::read(directory.join(format!("{name}.key"))).unwrap();
    let key = openssl::pkey::PKey::private_key_from_pem(&pem).unwrap();
    key.ec_key().unwrap().private_key().to_vec_padded(32).unwrap()
}

/// Everything in a directory but what has to have secrets in it.
fn written(directory: &Path, but: impl Fn(&str) -> bool) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(directory).unwrap().display().to_string();
            match std::fs::symlink_metadata(&path).unwrap() {
                there if there.is_dir() => left.push(path),
                there if there.is_file() && !but(&name) => all.push((name, std::fs::read(&path).unwrap())),
                _ => {}
            }
        }
    }
    all
}

/// What anybody sees of a process: how it was called, and what it may leave behind.
fn seen_of(pid: u32) -> Vec<(String, Vec<u8>)> {
    let file =
        |name: &str| (format!("/proc/…/{name}"), std::fs::read(format!("/proc/{pid}/{name}")).unwrap());
    let (limits, text) = file("limits");
    let core = String::from_utf8_lossy(&text);
    let core = core.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{limits}: {core}");
    vec![file("cmdline"), file("environ")]
}

fn assert_nowhere(secrets: &search::Secrets, places: &[(String, Vec<u8>)]) {
    let found: Vec<String> =
        places.iter().flat_map(|(place, octets)| secrets.found_in(place, octets)).collect();
    assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
}
