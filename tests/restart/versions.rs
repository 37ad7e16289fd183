//! A border that starts on what another version of the program has written: it has no calls of that, and destroys nothing.

use crate::connections::call;
use crate::stage::Stage;
use crate::terminal::{Over, Terminal};
use carnet_store::{Journal, Syncs};
use std::path::PathBuf;

fn terminals(stage: &Stage) -> (Terminal, Terminal) {
    let mut alice = Terminal::new(stage, "alice", Over::Udp, false);
    let mut bob = Terminal::new(stage, "bob", Over::Udp, false);
    alice.register(1);
    bob.register(1);
    (alice, bob)
}

/// Files of the journal whose names end so.
fn files(stage: &Stage, ending: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(stage.directory().join("state")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = all.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    all.sort();
    all
}

/// A whole journal of a later version.
#[test]
fn a_journal_of_another_version_is_kept_aside() {
    let mut stage = Stage::new();
    let (mut alice, mut bob) = terminals(&stage);
    call(&mut alice, &mut bob, "newer");
    stage.end("KILL");
    let path = files(&stage, "border-alg.1").pop().unwrap();
    let written = std::fs::read(&path).unwrap();
    let newer = [b"carnet journal 2\n", written.strip_prefix(b"carnet journal 1\n").unwrap()].concat();
    std::fs::write(&path, &newer).unwrap();

    stage.start();
    stage.wait_for("is of another version; kept as ");
    stage.wait_for("state-lost");
    stage.wait_for("gateway-up");
    let aside = files(&stage, ".other-version").pop().unwrap();
    assert!(stage.output("err").contains(&*aside.to_string_lossy()), "{}", stage.output("err"));
    assert_eq!(std::fs::read(&aside).unwrap(), newer);
    // It goes on without calls, and takes new ones.
    let (mut alice, mut bob) = terminals(&stage);
    let (of_alice, _) = call(&mut alice, &mut bob, "after");
    stage.start_again("KILL");
    assert!(!stage.output("err").contains("state-lost"), "{}", stage.output("err"));
    stage.wait_for("calls=1");
    crate::connections::through(&mut alice, &mut bob, &of_alice, "BYE", 2);
    stage.assert_clean();

    // The later version again: with its file back it has its calls. Here it is this one, which wrote it.
    stage.end("KILL");
    for path in files(&stage, "").into_iter().filter(|path| path != &aside) {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::write(&path, &written).unwrap();
    stage.start();
    stage.wait_for("calls=1");
}

/// A record that is not known here, among others that are.
#[test]
fn a_record_of_another_version_is_kept_aside() {
    const LATER: &[u8] = b"carnet call 99\nwhat nobody here knows\n";
    let mut stage = Stage::new();
    let (mut alice, mut bob) = terminals(&stage);
    let (of_alice, _) = call(&mut alice, &mut bob, "known");
    stage.end("KILL");
    let (mut journal, found) =
        Journal::open(&stage.directory().join("state"), "border-alg", Syncs::Never).unwrap();
    let number = found.records.keys().next_back().unwrap() + 1;
    journal.put(number, LATER).unwrap();
    journal.commit().unwrap();
    drop(journal);

    stage.start();
    stage.wait_for("is no record of this version");
    stage.wait_for("what was not taken up is kept there");
    let aside = files(&stage, ".unread").pop().unwrap();
    assert!(stage.output("err").contains(&*aside.to_string_lossy()), "{}", stage.output("err"));
    assert!(std::fs::read(&aside).unwrap().ends_with(LATER));
    stage.wait_for("gateway-up");
    crate::connections::through(&mut alice, &mut bob, &of_alice, "BYE", 2);
    stage.assert_clean();
    // It is told once.
    stage.start_again("KILL");
    assert!(!stage.output("err").contains("is no record of this version"));
    assert_eq!(files(&stage, ".unread"), [aside]);
}
