//! A disk that is really full: a small tmpfs under the data directory.

use crate::http::Http;
use crate::service::{REQUEST, RESOLVE, STRANGERS, Service, mikey_error, request, resolve};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// A file system of its own, gone with this value.
struct Disk(PathBuf);

impl Disk {
    /// `None` with a word on standard error where file systems cannot be mounted.
    fn new(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "carnet-test"]).arg(at).output();
        if mounted.is_ok_and(|o| o.status.success()) {
            return Some(Self(at.to_owned()));
        }
        assert!(std::env::var_os("CARNET_REQUIRE_ROOT").is_none(), "mounting a file system is required here");
        eprintln!("skipped: mounting a file system needs root");
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves no octet free.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Asks for tickets until one is refused; whom the others were for.
fn until_refused(service: &Service, disk: &Disk, prefix: &str) -> BTreeSet<String> {
    let mut http = Http::connect(service.address).unwrap();
    let mut granted = BTreeSet::new();
    for n in 0..20_000 {
        disk.fill();
        let callee = format!("sip:{prefix}{n}@x.example");
        let (pending, octets) = request(&callee);
        let began = Instant::now();
        let answer = http.post(REQUEST, &octets).unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "an answer took {:?}", began.elapsed());
        if answer.status != 200 {
            assert_eq!((answer.status, mikey_error(&answer)), (503, Some(12)));
            assert!(answer.retry_after);
            return granted;
        }
        assert!(pending.response(&answer.body, SystemTime::now()).is_ok());
        granted.insert(callee);
    }
    panic!("the disk never filled");
}

#[test]
fn nothing_acknowledged_is_lost_and_it_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(&directory.path().join("disk"), "12m") else { return };
    let mut service =
        Service::new(directory.path(), &disk.0.join("data"), &format!("{STRANGERS}\nlogged-refusals = 1000"));
    service.start();

    let mut http = Http::connect(service.address).unwrap();
    let (pending, octets) = request("sip:bob@x.example");
    let answer = http.post(REQUEST, &octets).unwrap();
    let ticket = pending.response(&answer.body, SystemTime::now()).unwrap();
    let mut granted = until_refused(&service, &disk, "first-");
    granted.insert("sip:bob@x.example".into());

    // Every kind of request gets its answer, and quickly; nothing that needs no disk suffers.
    for _ in 0..3 {
        let answer = http.post(REQUEST, &request("sip:refused@x.example").1).unwrap();
        assert_eq!((answer.status, mikey_error(&answer), answer.retry_after), (503, Some(12), true));
        let answer = http.post(RESOLVE, &resolve(&ticket)).unwrap();
        assert_eq!((answer.status, mikey_error(&answer), answer.retry_after), (503, Some(12), true));
        let mut forged = request("sip:refused@x.example").1;
        *forged.last_mut().unwrap() ^= 1;
        let answer = http.post(REQUEST, &forged).unwrap();
        assert_eq!((answer.status, mikey_error(&answer)), (401, Some(0)));
    }
    let added = service.admin(&["user", "add", "sip:late@x.example"]);
    let said = String::from_utf8_lossy(&added.stderr).into_owned();
    assert!(!added.status.success() && said.contains("the disk is full"), "{said}");
    assert!(added.stdout.is_empty(), "a key was shown that does not count");
    let log = service.log();
    assert!(log.contains("no ticket can be recorded, so none is issued"), "{log}");
    assert!(log.contains("the disk is full"), "{log}");
    let refusals = log.matches("the ticket cannot be recorded").count();
    assert!(refusals >= 7, "{refusals} of 7 refusals were logged: {log}");

    // Killed and started on the full disk, it still answers.
    service.kill();
    service.start();
    let answer = Http::connect(service.address).unwrap().post(REQUEST, &request("sip:refused@x.example").1);
    assert_eq!(answer.unwrap().status, 503);

    // With room it goes on by itself.
    disk.free();
    let began = Instant::now();
    let mut http = Http::connect(service.address).unwrap();
    while http.post(REQUEST, &request("sip:after@x.example").1).unwrap().status != 200 {
        assert!(began.elapsed() < Duration::from_secs(10), "it never recovered: {}", service.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    granted.insert("sip:after@x.example".into());
    assert!(http.post(RESOLVE, &resolve(&ticket)).unwrap().status == 200);
    assert!(service.log().contains("tickets can be recorded again"));
    let added = service.admin(&["user", "add", "sip:late@x.example"]);
    assert!(added.status.success(), "{added:?}");

    let mut recorded = service.issued_for();
    assert!(granted.is_subset(&recorded), "lost: {:?}", granted.difference(&recorded).collect::<Vec<_>>());
    // What was refused may have been written before the disk was found full, but was never granted.
    recorded.retain(|callee| !granted.contains(callee));
    assert!(recorded.len() <= 8, "{recorded:?}");

    // And once more, to be sure that the database is whole.
    let again = until_refused(&service, &disk, "second-");
    disk.free();
    service.kill();
    service.start();
    assert!(again.is_subset(&service.issued_for()));
}
