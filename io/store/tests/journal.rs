//! A journal that is killed, cut off, damaged and rewritten.

#![allow(clippy::unwrap_used)] // A test says what is wrong by failing.

use carnet_store::{Error, Found, Journal, Syncs};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn files(directory: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &PathBuf| path.extension()?.to_str()?.parse::<u64>().ok();
    let mut all: Vec<_> = all.filter(|path| number(path).is_some()).collect();
    all.sort_by_key(number);
    all
}

fn found(directory: &Path) -> Found {
    Journal::open(directory, "agw", Syncs::Never).unwrap().1
}

#[test]
fn what_was_committed_is_there_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("deep/state");
    let (mut journal, nothing) = Journal::open(&directory, "agw", Syncs::Never).unwrap();
    assert_eq!(nothing, Found::default());
    assert!(matches!(Journal::open(&directory, "agw", Syncs::Never), Err(Error::Busy)));
    let (_other, _) = Journal::open(&directory, "trgw", Syncs::Never).unwrap();
    journal.put(7, b"seven").unwrap();
    journal.put(8, b"eight").unwrap();
    journal.note(b"first".to_vec());
    journal.commit().unwrap();
    journal.put(8, b"EIGHT").unwrap();
    journal.remove(7);
    journal.remove(70);
    journal.put(9, b"").unwrap();
    journal.note(b"second".to_vec());
    journal.commit().unwrap();
    journal.put(10, b"lost").unwrap();
    drop(journal);
    for path in files(&directory) {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    let expected = BTreeMap::from([(8, b"EIGHT".to_vec()), (9, Vec::new())]);
    // Also after what was found was copied to another file.
    for _ in 0..3 {
        let found = found(&directory);
        assert_eq!((&found.records, found.note.as_deref()), (&expected, Some(&b"second"[..])));
    }
    assert!(files(&directory).len() <= 5, "{:?}", files(&directory));
}

/// Wherever the process was killed in the middle of a write, what was committed before it holds.
#[test]
fn a_last_record_that_was_cut_off_is_left_out() {
    let place = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(place.path(), "agw", Syncs::Never).unwrap();
    journal.put(1, b"one").unwrap();
    journal.commit().unwrap();
    let path = files(place.path()).pop().unwrap();
    let whole = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
    journal.put(2, b"two").unwrap();
    journal.commit().unwrap();
    drop(journal);
    let octets = std::fs::read(&path).unwrap();
    for end in 0..octets.len() {
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("agw.1"), &octets[..end]).unwrap();
        let found = found(other.path());
        assert_eq!(found.damage, None, "{end}");
        assert_eq!(found.records.contains_key(&1), end >= whole, "{end}");
        assert!(!found.records.contains_key(&2));
        // It goes on from there.
        let (mut journal, _) = Journal::open(other.path(), "agw", Syncs::Never).unwrap();
        journal.put(3, b"three").unwrap();
        journal.commit().unwrap();
        drop(journal);
        let again = self::found(other.path());
        assert_eq!(again.records.len(), found.records.len() + 1);
    }
}

#[test]
fn a_damaged_file_is_worth_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(place.path(), "agw", Syncs::Never).unwrap();
    for key in 0..4 {
        journal.put(key, &[65; 100]).unwrap();
    }
    journal.commit().unwrap();
    drop(journal);
    let path = files(place.path()).pop().unwrap();
    let good = std::fs::read(&path).unwrap();
    let mut damaged = 0;
    for at in 0..good.len() {
        let other = tempfile::tempdir().unwrap();
        let mut octets = good.clone();
        octets[at] ^= 0x20;
        std::fs::write(other.path().join("agw.1"), &octets).unwrap();
        let found = found(other.path());
        // A length that reaches beyond the end looks like a record that was cut off.
        assert!(found.damage.is_some() || found.records.len() < 4, "{at}");
        assert!(found.records.values().all(|value| *value == [65; 100]), "{at}");
        damaged += usize::from(found.damage.is_some());
        assert_eq!(self::found(other.path()).damage, None, "and that is said once");
        let aside = std::fs::read(other.path().join("agw.damaged"));
        assert_eq!(aside.is_ok_and(|aside| aside == octets), found.damage.is_some(), "{at}");
    }
    assert!(damaged > 400, "{damaged}");
    std::fs::write(place.path().join("agw.1"), b"#!/bin/sh\n").unwrap();
    assert!(found(place.path()).damage.is_some());
}

/// A journal with two files, of which the first has what has stayed.
fn two_files(directory: &Path) -> Vec<PathBuf> {
    let (mut journal, _) = Journal::open(directory, "alg", Syncs::Never).unwrap();
    for key in 0..400 {
        journal.put(key, &[7; 4000]).unwrap();
        journal.commit().unwrap();
    }
    for round in 0..10_000u32 {
        journal.put(1_000, &round.to_le_bytes().repeat(1_000)).unwrap();
        journal.commit().unwrap();
        if files(directory).len() == 2 {
            return files(directory);
        }
    }
    panic!("it begins no second file")
}

/// An older program starts on what a newer one has written, and the newer one again: nothing of it is destroyed.
#[test]
fn what_another_version_has_written_is_kept_aside() {
    let place = tempfile::tempdir().unwrap();
    let paths = two_files(place.path());
    let newer = |path: &Path, with: &[u8]| {
        let octets = std::fs::read(path).unwrap();
        let octets = [b"carnet journal ", with, &octets[b"carnet journal 1".len()..]].concat();
        std::fs::write(path, &octets).unwrap();
        octets
    };
    // Only the last is of the other version: the newer program had begun to go on.
    let written = [std::fs::read(&paths[0]).unwrap(), newer(&paths[1], b"2")];
    let (mut journal, found) = Journal::open(place.path(), "alg", Syncs::Never).unwrap();
    let damage = found.damage.unwrap();
    assert!(found.records.is_empty() && damage.contains("of another version; kept as "), "{damage}");
    for (path, written) in paths.iter().zip(&written) {
        let aside = format!("{}.other-version", path.display());
        assert!(damage.contains(&aside), "{damage}");
        assert_eq!(&std::fs::read(&aside).unwrap(), written);
        assert_eq!(std::fs::metadata(&aside).unwrap().permissions().mode() & 0o777, 0o600);
    }
    journal.put(5, b"five").unwrap();
    journal.commit().unwrap();
    drop(journal);
    let (journal, found) = Journal::open(place.path(), "alg", Syncs::Never).unwrap();
    assert_eq!((found.records.len(), found.damage), (1, None), "that is said once");
    drop(journal);
    // The newer program, which has its files back as it wants them; and once more the older one.
    for (path, written) in paths.iter().zip(&written) {
        std::fs::write(path, written).unwrap();
    }
    let (_, found) = Journal::open(place.path(), "alg", Syncs::Never).unwrap();
    assert!(found.damage.unwrap().contains(".other-version-2"));
    for (path, written) in paths.iter().zip(&written) {
        for aside in ["other-version", "other-version-2"] {
            assert_eq!(&std::fs::read(format!("{}.{aside}", path.display())).unwrap(), written);
        }
    }
}

#[test]
fn a_record_of_another_kind_is_of_another_version_and_no_damage() {
    let place = tempfile::tempdir().unwrap();
    let (mut journal, _) =
        Journal::open(place.path(), "alg", Syncs::After(std::time::Duration::ZERO)).unwrap();
    journal.put(1, b"one").unwrap();
    journal.commit().unwrap();
    told(&journal);
    journal.put(2, b"two").unwrap();
    journal.commit().unwrap();
    drop(journal);
    let path = place.path().join("alg.1");
    let mut octets = std::fs::read(&path).unwrap();
    // Behind what the disk was told of too.
    octets.extend(record(b'?', 3, b"three"));
    std::fs::write(&path, &octets).unwrap();
    let (_, found) = Journal::open(place.path(), "alg", Syncs::Never).unwrap();
    assert!(found.records.is_empty() && found.damage.unwrap().contains("a kind that is not known here"));
    assert_eq!(std::fs::read(place.path().join("alg.1.other-version")).unwrap(), octets);
}

/// A record as journals have it.
fn record(kind: u8, key: u32, value: &[u8]) -> Vec<u8> {
    let body = [&[kind][..], &key.to_le_bytes(), value].concat();
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    let step = |sum: u64, octet: &u8| (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    let sum = length.iter().chain(&body).fold(0xcbf2_9ce4_8422_2325, step);
    [&length[..], &sum.to_le_bytes(), &body].concat()
}

/// Single records that somebody cannot read: a journal of their own.
#[test]
fn what_is_put_by_can_be_read_as_a_journal() {
    let place = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(place.path(), "alg", Syncs::Never).unwrap();
    journal.put(1, b"one").unwrap();
    journal.commit().unwrap();
    let all: [(u32, &[u8]); 2] = [(7, b"seven"), (9, b"")];
    let paths: Vec<_> = (0..2).map(|_| journal.put_by(all).unwrap()).collect();
    assert_ne!(paths[0], paths[1]);
    drop(journal);
    assert_eq!(Journal::open(place.path(), "alg", Syncs::Never).unwrap().1.records.len(), 1);
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(&paths[0], other.path().join("agw.1")).unwrap();
    assert_eq!(found(other.path()).records, BTreeMap::from(all.map(|(key, value)| (key, value.to_vec()))));
    std::fs::remove_dir_all(place.path()).unwrap();
}

/// A day's calls: the files stay as large as what there is, and every record is there whenever it ends.
#[test]
fn it_does_not_grow_with_what_has_gone() {
    let place = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(place.path(), "agw", Syncs::Never).unwrap();
    let mut expected = BTreeMap::new();
    let mut largest = 0;
    for round in 0..20_000u32 {
        // 500 at a time; one in a hundred stays for long.
        let (new, old) = (round, round.wrapping_sub(500));
        let value = format!("{round} ").repeat(100).into_bytes();
        journal.put(new, &value).unwrap();
        expected.insert(new, value);
        if round >= 500 && old % 100 != 0 {
            journal.remove(old);
            expected.remove(&old);
        }
        journal.commit().unwrap();
        largest = largest.max(journal.size());
        if round % 3_999 == 3_998 {
            drop(journal);
            let (next, found) = Journal::open(place.path(), "agw", Syncs::Never).unwrap();
            assert!(found.records == expected, "round {round}");
            journal = next;
        }
    }
    let held: usize = expected.values().map(Vec::len).sum();
    // Twice what holds, at least a mebioctet, while as much again is copied.
    assert!(largest < 4 << 20, "{largest} for {held}");
    assert!(files(place.path()).len() <= 2, "{:?}", files(place.path()));
}

#[test]
fn what_cannot_be_written_is_not_left_half_old() {
    let place = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(place.path(), "agw", Syncs::Never).unwrap();
    journal.put(1, b"one").unwrap();
    journal.commit().unwrap();
    assert!(journal.put(2, &vec![0; (1 << 20) + 1]).is_err());
    journal.commit().unwrap();
    journal.put(2, b"two").unwrap();
    // No file can be begun: nothing is written, and nothing stays.
    let gone = place.path().to_owned();
    std::fs::remove_dir_all(&gone).unwrap();
    assert!(journal.clear().is_err());
    journal.put(3, b"three").unwrap();
    assert!(journal.commit().is_err());
    std::fs::create_dir(&gone).unwrap();
    journal.clear().unwrap();
    journal.put(4, b"four").unwrap();
    journal.commit().unwrap();
    drop(journal);
    assert_eq!(found(&gone).records, BTreeMap::from([(4, b"four".to_vec())]));
}

/// Waits until the disk was told of everything.
fn told(journal: &Journal) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while journal.told().0 < journal.told().1 {
        assert!(std::time::Instant::now() < end, "{:?}", journal.told());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Power goes: what the disk was told of is there, and of the rest what it made of it.
#[test]
fn what_the_disk_was_told_of_survives_any_rest() {
    let place = tempfile::tempdir().unwrap();
    let syncs = Syncs::After(std::time::Duration::ZERO);
    let (mut journal, _) = Journal::open(place.path(), "alg", syncs).unwrap();
    journal.put(1, b"first").unwrap();
    journal.commit().unwrap();
    told(&journal);
    // The next write says how far.
    journal.put(2, b"second").unwrap();
    journal.commit().unwrap();
    told(&journal);
    let whole = usize::try_from(journal.told().1).unwrap();
    journal.put(3, b"third").unwrap();
    journal.commit().unwrap();
    drop(journal);
    let path = place.path().join("alg.1");
    let written = std::fs::read(&path).unwrap();
    assert!(written.len() > whole);
    let first = written.windows(5).position(|w| w == b"first").unwrap() + 5;
    for (at, with, left) in [
        // Zeroes, or something else, where the third was to be.
        (whole, 0, Some(2)),
        (whole + 20, 0xa5, Some(2)),
        // What it was told of is not as it was: nothing is believed.
        (first - 2, 0xa5, None),
    ] {
        let mut octets = written.clone();
        octets[at..].fill(with);
        // The mark is behind the first record, and says what is before it.
        if left.is_none() {
            octets[first..].copy_from_slice(&written[first..]);
        }
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("alg.1"), &octets).unwrap();
        let (_, found) = Journal::open(other.path(), "alg", syncs).unwrap();
        match left {
            Some(left) => assert_eq!((found.records.len(), found.damage), (left, None), "{at} {with}"),
            None => assert!(found.records.is_empty() && found.damage.is_some(), "{found:?}"),
        }
    }
    // A file that had only its name on the disk takes nothing from the others.
    std::fs::write(place.path().join("alg.2"), [0; 4096]).unwrap();
    let (_, found) = Journal::open(place.path(), "alg", syncs).unwrap();
    assert_eq!((found.records.len(), found.damage), (3, None));
}

/// What is replaced goes only when its place is taken on the disk, and it does go.
#[test]
fn files_that_are_replaced_go_in_the_end() {
    let place = tempfile::tempdir().unwrap();
    let (mut journal, _) =
        Journal::open(place.path(), "alg", Syncs::After(std::time::Duration::ZERO)).unwrap();
    for round in 0..40_000u32 {
        journal.put(round % 50, &[7; 200]).unwrap();
        journal.commit().unwrap();
    }
    told(&journal);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        journal.put(1, b"more").unwrap();
        journal.commit().unwrap();
        let files = files(place.path()).len();
        if files <= 2 {
            break;
        }
        assert!(std::time::Instant::now() < end, "{files} files");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(journal);
    let (_, found) = Journal::open(place.path(), "alg", Syncs::Never).unwrap();
    assert_eq!((found.records.len(), found.damage), (50, None));
}

#[test]
fn a_pipe_is_no_journal() {
    let place = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(place.path().join("alg.1")).status();
    assert!(made.unwrap().success());
    let opened = Journal::open(place.path(), "alg", Syncs::After(std::time::Duration::ZERO));
    assert!(matches!(opened, Err(Error::File { .. })), "{opened:?}");
}
