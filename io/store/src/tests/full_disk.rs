//! A disk with little room: nothing acknowledged is lost, and when there is room again the store
//! goes on.

use super::{audit, root, user};
use crate::{Error, Store};
use redb::{Builder, StorageBackend};
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A file in memory on a disk that has `room` octets. It counts those that are written, as a
/// sparse file does, so that growing succeeds and writing fails.
#[derive(Debug, Clone, Default)]
struct Disk {
    file: Arc<Mutex<Vec<u8>>>,
    blocks: Arc<Mutex<BTreeSet<u64>>>,
    room: Arc<AtomicU64>,
    /// Fail when the file grows rather than when it is written.
    eager: bool,
}

const BLOCK: u64 = 4096;

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.file.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let file = self.file.lock().unwrap();
        let start = offset as usize;
        out.copy_from_slice(file.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        if self.eager && len > self.room.load(Ordering::SeqCst) {
            return Err(full());
        }
        self.file.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut blocks = self.blocks.lock().unwrap();
        let touched = offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK);
        let fresh = touched.clone().filter(|b| !blocks.contains(b)).count() as u64;
        if !self.eager && (blocks.len() as u64 + fresh) * BLOCK > self.room.load(Ordering::SeqCst) {
            return Err(full());
        }
        blocks.extend(touched);
        let start = offset as usize;
        self.file.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn store_on(disk: &Disk) -> Result<Store, Error> {
    let disk = disk.clone();
    let opener = move || Ok(Builder::new().set_cache_size(1 << 20).create_with_backend(disk.clone())?);
    Store::with_opener(Box::new(opener), root())
}

fn fill_then_make_room(disk: &Disk, first: u64) {
    disk.room.store(first, Ordering::SeqCst);
    let store = store_on(disk).unwrap();
    let mut users = Vec::new();
    let error = loop {
        let name = format!("user-{}", users.len());
        match store.put_user(&user(&name)) {
            Ok(()) => users.push(name),
            Err(e) => break e,
        }
        assert!(users.len() < 20_000, "the disk never filled");
    };
    assert!(matches!(error, Error::Full), "{error}");
    assert!(error.is_temporary());
    assert!(!users.is_empty());
    // Still full: still refused, and still an error rather than a panic or a lie.
    assert!(store.append_audit(&vec![audit(1); 2000]).is_err());
    disk.room.store(first * 8, Ordering::SeqCst);
    // Everything acknowledged is there, and the same store goes on.
    let contents = store.load().unwrap();
    for name in &users {
        assert!(contents.directory.user(name).is_some(), "{name} was acknowledged and is gone");
    }
    store.put_user(&user("after")).unwrap();
    assert_eq!(store.append_audit(&[audit(1)]).unwrap(), 1);
    drop(store);
    let contents = store_on(disk).unwrap().load().unwrap();
    assert!(contents.directory.user("after").is_some());
    assert!(contents.directory.users().count() > users.len());
}

#[test]
fn a_disk_that_fails_when_written() {
    fill_then_make_room(&Disk::default(), 300 << 10);
}

#[test]
fn a_disk_that_fails_when_the_file_grows() {
    fill_then_make_room(&Disk { eager: true, ..Disk::default() }, 2 << 20);
}

#[test]
fn a_disk_without_any_room() {
    let disk = Disk { eager: true, ..Disk::default() };
    assert!(matches!(store_on(&disk), Err(Error::Full)));
}
