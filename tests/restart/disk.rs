//! Disks that are slow, full or shared, and clocks that somebody sets.

use crate::connections::{call, through};
use crate::stage::Stage;
use crate::terminal::{Over, Terminal};
use std::process::Command;
use std::time::{Duration, Instant};

/// Stands before the C library: how long the disk takes to be told of something, and a line for each time.
const SLOW: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int fd) {
    const char *log = getenv("SLOW_LOG"), *seconds = getenv("SLOW_SECONDS");
    if (seconds) sleep((unsigned)atoi(seconds));
    int result = (int)syscall(SYS_fdatasync, fd);
    if (log) {
        int to = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (to >= 0) { if (write(to, "told\n", 5) < 0) _exit(9); close(to); }
    }
    return result;
}
"#;

/// The stage with that library before its border; it is to be started.
fn slow(seconds: u32, sync: &str) -> Stage {
    let mut stage = Stage::prepared("", |text| {
        text.replace("directory = \"state\"\n", &format!("directory = \"state\"\nsync = {sync}\n"))
    });
    let at = stage.directory().to_owned();
    std::fs::write(at.join("slow.c"), SLOW).unwrap();
    let made =
        Command::new("cc").current_dir(&at).args(["-shared", "-fPIC", "-o", "slow.so", "slow.c"]).status();
    assert!(made.unwrap().success());
    stage.environment = vec![
        ("LD_PRELOAD".into(), at.join("slow.so").display().to_string()),
        ("SLOW_SECONDS".into(), seconds.to_string()),
        ("SLOW_LOG".into(), at.join("told").display().to_string()),
    ];
    stage.start_gateway();
    stage.start();
    stage.wait_for("gateway-up");
    stage
}

fn told(stage: &Stage) -> usize {
    std::fs::read_to_string(stage.directory().join("told")).unwrap_or_default().lines().count()
}

fn terminals(stage: &Stage) -> (Terminal, Terminal) {
    let mut alice = Terminal::new(stage, "alice", Over::Udp, false);
    let mut bob = Terminal::new(stage, "bob", Over::Udp, false);
    alice.register(1);
    bob.register(1);
    (alice, bob)
}

/// What is written is told to the disk, and an idle border tells it nothing.
#[test]
fn the_disk_is_told() {
    for sync in ["1", "\"always\""] {
        let stage = slow(0, sync);
        let (mut alice, mut bob) = terminals(&stage);
        let before = told(&stage);
        let (of_alice, _) = call(&mut alice, &mut bob, "told");
        stage.until("the disk is told of the call", |stage| told(stage) > before);
        through(&mut alice, &mut bob, &of_alice, "BYE", 2);
        // What is left of it is told, and then no more.
        let mut last = told(&stage);
        stage.until("it becomes quiet", |stage| {
            std::thread::sleep(Duration::from_secs(3));
            let now = told(stage);
            std::mem::replace(&mut last, now) == now
        });
    }
}

/// A disk that needs seconds for everything: no call waits for it, and the next process finds them.
#[test]
fn nobody_waits_for_a_slow_disk() {
    let mut stage = slow(8, "\"always\"");
    let (mut alice, mut bob) = terminals(&stage);
    let begun = Instant::now();
    let mut calls = Vec::new();
    for number in 0..10 {
        calls.push(call(&mut alice, &mut bob, &format!("slow-{number}")).0);
    }
    // One look at the disk a call would be eighty.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    stage.start_again("KILL");
    assert!(stage.output("err").contains("calls=10"), "{}", stage.output("err"));
    for dialog in calls {
        through(&mut alice, &mut bob, &dialog, "BYE", 2);
    }
    stage.assert_clean();
}

/// One that does not come to an end at all is as good as none: the border says so, and goes on.
#[test]
fn a_disk_that_hangs_is_given_up() {
    let mut stage = slow(3600, "\"always\"");
    let (mut alice, mut bob) = terminals(&stage);
    std::thread::sleep(Duration::from_secs(31));
    let (of_alice, _) = call(&mut alice, &mut bob, "hangs");
    stage.wait_for("state-lost");
    through(&mut alice, &mut bob, &of_alice, "BYE", 2);
    stage.assert_clean();
    stage.end("TERM");
}

/// Two borders by mistake with one directory: the second one does not start, and the first one does not notice.
#[test]
fn a_directory_has_one_border() {
    let mut stage = Stage::new();
    let (mut alice, mut bob) = terminals(&stage);
    let (of_alice, _) = call(&mut alice, &mut bob, "one");
    // Its sockets are others, its name and its state are not.
    let mut text = std::fs::read_to_string(stage.directory().join("alg.toml")).unwrap();
    for address in stage.addresses() {
        text = text.replace(&address.to_string(), &crate::stage::free().to_string());
    }
    std::fs::write(stage.directory().join("other.toml"), text.replace("alg.sock", "other.sock")).unwrap();
    let output = stage.carnet(&["run", "-c", "other.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("another process"), "{said}");
    stage.start_again("KILL");
    assert!(stage.output("err").contains("calls=1"), "{}", stage.output("err"));
    through(&mut alice, &mut bob, &of_alice, "BYE", 2);
    stage.assert_clean();
}

/// The disk fills up in the middle of calls. Nothing is kept then, and everything again once there is room.
#[test]
fn a_disk_that_is_full_is_tried_again() {
    let mut stage = Stage::prepared("", |text| text);
    let state = stage.directory().join("state");
    std::fs::create_dir(&state).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&state).status();
    if !mounted.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CARNET_REQUIRE_ROOT").is_none(), "a small disk is required here");
        eprintln!("skipped: a small disk needs the right to mount");
        return;
    }
    let _mounted = Mounted(state.clone());
    stage.start_gateway();
    stage.start();
    stage.wait_for("gateway-up");
    let (mut alice, mut bob) = terminals(&stage);
    let (first, _) = call(&mut alice, &mut bob, "first");
    // Somebody else takes the rest.
    let taken = std::fs::write(state.join("ballast"), vec![0; 1 << 20]);
    assert!(taken.is_err(), "the disk is small");
    let (second, _) = call(&mut alice, &mut bob, "second");
    stage.wait_for("state-lost");
    std::fs::remove_file(state.join("ballast")).unwrap();
    // It asks the disk again after ten seconds, when there is something to write.
    std::thread::sleep(Duration::from_secs(11));
    through(&mut alice, &mut bob, &second, "BYE", 2);
    let (third, _) = call(&mut alice, &mut bob, "third");
    stage.start_again("KILL");
    assert!(stage.output("err").contains("calls=2"), "{}", stage.output("err"));
    for dialog in [first, third] {
        through(&mut alice, &mut bob, &dialog, "BYE", 2);
    }
    stage.assert_clean();
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the border may not have ended yet.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
