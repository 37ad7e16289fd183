//! What was acknowledged is there after the process is killed, at any moment.

use carnet_keys::{AuditRecord, Deed, Pattern, User};
use carnet_mikey::{Identity, Psk};
use carnet_store::{RootKey, Store};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

const DIRECTORY: &str = "CARNET_STORE_KILL_TEST";

fn open(dir: &Path) -> Store {
    Store::open(&dir.join("kms.redb"), RootKey::new([5; 32])).expect("the database opens")
}

fn psk(name: &str) -> Psk {
    let mut octets = [1; 32];
    octets.iter_mut().zip(name.bytes()).for_each(|(o, b)| *o = b);
    Psk::new(&octets).expect("32 octets")
}

fn record(name: &str) -> AuditRecord {
    AuditRecord {
        wall: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
        deed: Deed::Issued,
        source: "192.0.2.1".parse().expect("an address"),
        user: name.into(),
        initiator: Identity::byte_string(b"a"),
        responders: Vec::new(),
        ticket: [0; 32],
        key: "tpk".into(),
        expires: None,
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIRECTORY) else { return };
    let store = open(Path::new(&dir));
    let run = std::process::id();
    for i in 0..100_000 {
        let name = format!("u-{run}-{i}");
        let user = User {
            identities: vec![Pattern::parse(&format!("sip:{name}@x.example")).expect("a pattern")],
            psk: psk(&name),
            name: name.clone(),
            revoked: false,
            tickets_not_before: None,
        };
        store.put_user(&user).expect("the user is stored");
        let number = store.append_audit(&[record(&name)]).expect("the record is stored");
        let mut out = std::io::stdout();
        writeln!(out, "\nacknowledged {name} {number}").expect("the parent listens");
        out.flush().expect("the parent listens");
    }
}

#[test]
fn acknowledged_users_and_records_survive_sigkill() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = Vec::new();
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        // Kill at once after the n-th acknowledgement, while it is busy with the next, and read
        // what it had still said.
        let mut left = 1 + round * 3;
        for line in lines {
            let line = line.expect("a line");
            let Some(rest) = line.strip_prefix("acknowledged ") else { continue };
            let (name, number) = rest.split_once(' ').expect("a name and a number");
            acknowledged.push((name.to_string(), number.parse::<u64>().expect("a number")));
            left -= 1;
            if left == 0 {
                child.kill().expect("SIGKILL");
            }
        }
        let status = child.wait().expect("a status");
        assert!(!status.success(), "the child was killed");
        let store = open(dir.path());
        let contents = store.load().expect("the contents");
        for (name, number) in &acknowledged {
            let user = contents.directory.user(name);
            assert!(user.is_some_and(|u| u.psk == psk(name)), "{name} was acknowledged and is gone");
            let trail = store.audit(*number, 1).expect("the trail");
            assert_eq!(trail.first().map(|(n, r)| (*n, r.user.as_str())), Some((*number, name.as_str())));
        }
    }
    assert!(acknowledged.len() >= 12);
}
