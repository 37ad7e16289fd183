//! Records that have to survive the process: one appended write for everything that changed, no waiting for
//! the disk. What [`Journal::commit`] has returned `Ok` for is there after a SIGKILL. After a loss of power it is there
//! as far as the disk was told, which another thread does in time, if it is to ([`Syncs`]).
//!
//! A journal is a row of files `NAME.1`, `NAME.2`… in one directory, of which the last is written to. When much of it
//! is outdated another file is begun, and what still holds of the first is copied over a few records with each
//! commit, until the first can go: no commit takes long because of what there is. A last record that was cut off is
//! left out, and so is what comes behind the point up to which the disk was told, from the first octet on that is not
//! as it was written: power that goes leaves anything there. A file that is damaged elsewhere is worth nothing: it
//! becomes `NAME.damaged`, and the others are removed: a cold start.
//!
//! What a later version of this program has written is not destroyed: files that begin with another version, or have records
//! of a kind that is not known here, become `NAME.N.other-version`, all of them, and single records that whoever uses
//! the journal cannot read are [put by](Journal::put_by). A later version may take them up; nobody here does.
//!
//! A record is its length, a checksum (FNV-1a) and, in that order, kind, key and value.

use crate::Error;
use crate::syncing::{Syncing, Syncs};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file begins with.
const FIRST: &[u8] = b"carnet journal 1\n";

/// What one of any version begins with.
const ANY: &[u8] = b"carnet journal ";

/// Octets before a record's body.
const HEAD: usize = 12;

/// Octets of a value; a longer one is refused.
pub const LONGEST: usize = 1 << 20;

/// A file that is smaller is not worth being replaced.
const SMALLEST: u64 = 1 << 20;

/// Records that are copied with each commit, besides as many as it has itself.
const COPIES: usize = 8;

const PUT: u8 = b'+';
const REMOVE: u8 = b'-';
const NOTE: u8 = b'!';
/// So many octets of this file are on the disk.
const SYNCED: u8 = b'=';

/// What a journal had in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// By key.
    pub records: BTreeMap<u32, Vec<u8>>,
    /// The last note.
    pub note: Option<Vec<u8>>,
    /// Why there is nothing, if there should be: a file was damaged, or is of another version.
    pub damage: Option<String>,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy)]
enum Bad {
    /// From there on it is not as it was written.
    Damaged(u64, &'static str),
    /// It is, and by another version of this program.
    OtherVersion(&'static str),
}

/// Where a record is: file, place, octets.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: u64,
    at: u64,
    length: usize,
}

/// One file.
#[derive(Debug)]
struct Part {
    file: Arc<File>,
    size: u64,
    /// Records in it that still hold.
    live: usize,
}

/// Records by number, and one note about all of them.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    name: String,
    /// Held as long as the journal is open.
    _lock: File,
    syncing: Option<Syncing>,
    /// How much of the last part it says itself is on the disk.
    marked: u64,
    parts: BTreeMap<u64, Part>,
    /// The part that is written to.
    last: u64,
    live: HashMap<u32, Place>,
    /// Octets that still hold.
    held: u64,
    note: Option<Vec<u8>>,
    /// Keys of the first part that are still to be copied, if it is to go.
    copying: VecDeque<u32>,
    /// Not written yet: the octets, and how many records they are.
    waiting: (Vec<u8>, usize),
}

impl Journal {
    /// Opens the journal `name` in a directory, which is made if it is not there; files are readable for their owner
    /// alone.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process has it open; of the disk.
    pub fn open(directory: &Path, name: &str, syncs: Syncs) -> Result<(Self, Found), Error> {
        let fail = |path: &Path| {
            let path = path.display().to_string();
            move |error| Error::File { path, error }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(fail(directory))?;
        let lock_path = directory.join(format!("{name}.lock"));
        let lock = opened(&lock_path).map_err(fail(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(Error::Busy),
            Err(std::fs::TryLockError::Error(error)) => return Err(fail(&lock_path)(error)),
        }
        let syncing = match syncs {
            Syncs::Never => None,
            Syncs::After(after) => Some(Syncing::begin(directory, after).map_err(fail(directory))?),
        };
        let mut this = Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
            _lock: lock,
            syncing,
            marked: 0,
            parts: BTreeMap::new(),
            last: 0,
            live: HashMap::new(),
            held: 0,
            note: None,
            copying: VecDeque::new(),
            waiting: (Vec::new(), 0),
        };
        let mut found = Found::default();
        for number in this.numbers().map_err(fail(directory))? {
            let path = this.path(number);
            let file = Arc::new(opened(&path).map_err(fail(&path))?);
            let octets = std::fs::read(&path).map_err(fail(&path))?;
            this.last = number;
            let size = u64::try_from(octets.len()).unwrap_or(u64::MAX);
            if let Some(syncing) = &this.syncing {
                // The process before may not have come to it.
                syncing.wrote(number, &file, size);
            }
            this.parts.insert(number, Part { file, size, live: 0 });
            if let Err(bad) = this.read(number, &octets, &mut found) {
                let damage = match bad {
                    Bad::Damaged(_, what) => {
                        // For who wants to know what happened. There is one of them.
                        std::fs::rename(&path, this.directory.join(format!("{name}.damaged")))
                            .map_err(fail(&path))?;
                        format!("{}: {what}", path.display())
                    }
                    Bad::OtherVersion(what) => {
                        let kept = this.keep_all(OTHER).map_err(fail(&path))?;
                        format!("{}: {what}; kept as {}", path.display(), kept.join(", "))
                    }
                };
                found = Found { damage: Some(damage), ..Found::default() };
                this.forget();
                break;
            }
        }
        // What was cut off stays so: it is never written behind it.
        this.begin().map_err(fail(directory))?;
        if let Some(note) = found.note.clone() {
            this.note(note);
        }
        this.commit()?;
        Ok((this, found))
    }

    /// The record of a key is this from now on.
    ///
    /// # Errors
    /// [`Error::Record`] for a value of more than 1 MiB; nothing is changed then.
    pub fn put(&mut self, key: u32, value: &[u8]) -> Result<(), Error> {
        if value.len() > LONGEST {
            return Err(Error::Record("the journal"));
        }
        let at = self.append(PUT, key, value);
        let place = Place { file: self.last, at, length: HEAD + 5 + value.len() };
        self.place(key, Some(place));
        Ok(())
    }

    /// There is no record of a key any more.
    pub fn remove(&mut self, key: u32) {
        if self.live.contains_key(&key) {
            self.append(REMOVE, key, &[]);
            self.place(key, None);
        }
    }

    /// Writes records to a file of their own, in the form of a journal: somebody cannot read them, and a later version of
    /// this program may. What is in the journal stays as it is. The file's path.
    ///
    /// # Errors
    /// Of the disk.
    pub fn put_by<'a>(&self, records: impl IntoIterator<Item = (u32, &'a [u8])>) -> Result<PathBuf, Error> {
        let mut octets = FIRST.to_vec();
        for (key, value) in records {
            octets.extend(encoded(PUT, key, value));
        }
        let path = self.unused(self.last, UNREAD);
        let written = opened(&path).and_then(|file| (&file).write_all(&octets));
        let name = path.display().to_string();
        written.map(|()| path).map_err(|error| Error::File { path: name, error })
    }

    /// What is to be known besides; it replaces the note before.
    pub fn note(&mut self, value: Vec<u8>) {
        self.append(NOTE, 0, &value);
        self.note = Some(value);
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// Of the disk.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.forget();
        let path = self.directory.display().to_string();
        self.begin().map_err(|error| Error::File { path, error })
    }

    fn forget(&mut self) {
        let keys: Vec<_> = self.live.keys().copied().collect();
        for key in keys {
            self.place(key, None);
        }
        if let Some(syncing) = &self.syncing {
            syncing.forget();
        }
        let parts = std::mem::take(&mut self.parts);
        for number in parts.into_keys() {
            let _ = std::fs::remove_file(self.path(number));
        }
        self.note = None;
        self.waiting = (Vec::new(), 0);
        self.copying.clear();
    }

    /// Writes what changed since the last time, if anything did.
    ///
    /// # Errors
    /// Of the disk. What is in the files then is of no use, and they are removed: better no record than an old one.
    /// Nothing can be written any more but after [`Journal::clear`].
    pub fn commit(&mut self) -> Result<(), Error> {
        let failure = self.syncing.as_ref().and_then(Syncing::failure);
        let written = failure.map_or_else(|| self.write(), Err);
        if written.is_err() {
            self.forget();
        }
        let path = self.path(self.last).display().to_string();
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full,
            _ => Error::File { path, error },
        })
    }

    /// Octets of the last file that the disk was told of, and that it has.
    pub fn told(&self) -> (u64, u64) {
        let synced = self.syncing.as_ref().map_or(0, |syncing| syncing.synced(self.last));
        (synced, self.parts.get(&self.last).map_or(0, |part| part.size))
    }

    /// Octets in all files.
    pub fn size(&self) -> u64 {
        self.parts.values().map(|part| part.size).sum()
    }

    fn write(&mut self) -> std::io::Result<()> {
        if self.waiting.1 == 0 {
            return Ok(());
        }
        self.mark();
        let size = self.parts.get(&self.last).map_or(0, |part| part.size);
        // Files of before that the disk still has to let go are no reason for more of them.
        let behind = self.syncing.as_ref().is_some_and(Syncing::is_behind);
        if !behind && self.parts.len() == 1 && size > SMALLEST && size > self.held.saturating_mul(2) {
            // What waits belongs behind what is there.
            self.flush()?;
            self.begin()?;
            if let Some(note) = self.note.clone() {
                self.append(NOTE, 0, &note);
            }
        }
        self.copy(COPIES + self.waiting.1)?;
        self.flush()?;
        while let Some(first) = self.parts.first_entry() {
            if *first.key() == self.last || first.get().live > 0 {
                break;
            }
            let (number, _) = first.remove_entry();
            match &self.syncing {
                Some(syncing) => syncing.remove(self.path(number)),
                None => std::fs::remove_file(self.path(number))?,
            }
            self.copying.clear();
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let (octets, _) = std::mem::take(&mut self.waiting);
        let Some(part) = self.parts.get_mut(&self.last) else {
            return Err(std::io::Error::other("the journal was given up"));
        };
        (&*part.file).write_all(&octets)?;
        part.size += u64::try_from(octets.len()).unwrap_or(u64::MAX);
        if let Some(syncing) = &self.syncing {
            syncing.wrote(self.last, &part.file, part.size);
        }
        Ok(())
    }

    /// Copies records of the first part to the last.
    fn copy(&mut self, most: usize) -> std::io::Result<()> {
        let Some((first, part)) = self.parts.first_key_value().filter(|(first, _)| **first != self.last)
        else {
            return Ok(());
        };
        let (first, live) = (*first, part.live);
        if self.copying.is_empty() && live > 0 {
            let of = self.live.iter().filter(|(_, place)| place.file == first);
            self.copying = of.map(|(key, _)| *key).collect();
        }
        for _ in 0..most {
            let Some(key) = self.copying.pop_front() else { return Ok(()) };
            let Some(place) = self.live.get(&key).copied().filter(|place| place.file == first) else {
                continue;
            };
            let mut octets = vec![0; place.length];
            let Some(part) = self.parts.get(&first) else { return Ok(()) };
            part.file.read_exact_at(&mut octets, place.at)?;
            let at = self.end();
            self.waiting.0.extend_from_slice(&octets);
            self.waiting.1 += 1;
            self.place(key, Some(Place { file: self.last, at, ..place }));
        }
        Ok(())
    }

    /// Says how much of the last part is on the disk, if that is more than it has said.
    fn mark(&mut self) {
        let synced = self.syncing.as_ref().map_or(0, |syncing| syncing.synced(self.last));
        if synced > self.marked {
            self.marked = synced;
            self.append(SYNCED, 0, &synced.to_le_bytes());
        }
    }

    /// Where the next record comes in the last part.
    fn end(&self) -> u64 {
        let size = self.parts.get(&self.last).map_or(0, |part| part.size);
        size + u64::try_from(self.waiting.0.len()).unwrap_or(u64::MAX)
    }

    fn append(&mut self, kind: u8, key: u32, value: &[u8]) -> u64 {
        let at = self.end();
        self.waiting.0.extend(encoded(kind, key, value));
        self.waiting.1 += 1;
        at
    }

    /// Notes where the record of a key is.
    fn place(&mut self, key: u32, new: Option<Place>) {
        let octets = |place: Place| u64::try_from(place.length).unwrap_or(u64::MAX);
        let old = match new {
            Some(place) => self.live.insert(key, place),
            None => self.live.remove(&key),
        };
        if let Some(old) = old {
            self.held = self.held.saturating_sub(octets(old));
            if let Some(part) = self.parts.get_mut(&old.file) {
                part.live = part.live.saturating_sub(1);
            }
        }
        if let Some(new) = new {
            self.held += octets(new);
            if let Some(part) = self.parts.get_mut(&new.file) {
                part.live += 1;
            }
        }
    }

    /// Begins another file.
    fn begin(&mut self) -> std::io::Result<()> {
        let number = self.last + 1;
        let file = opened(&self.path(number))?;
        file.set_len(0)?;
        (&file).write_all(FIRST)?;
        let size = u64::try_from(FIRST.len()).unwrap_or(u64::MAX);
        self.parts.insert(number, Part { file: Arc::new(file), size, live: 0 });
        self.last = number;
        self.marked = 0;
        if let Some(syncing) = &self.syncing {
            syncing.came();
            // Whoever reads it is to know that the rest may be anything.
            self.append(SYNCED, 0, &self.marked.to_le_bytes());
        }
        Ok(())
    }

    /// The files that there are, in order.
    fn numbers(&self) -> std::io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&self.name)?.strip_prefix('.'));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{}.{number}", self.name))
    }

    /// A name that no file has.
    fn unused(&self, number: u64, ending: &str) -> PathBuf {
        let name = format!("{}.{number}.{ending}", self.name);
        let others = (2..u32::MAX).map(|more| self.directory.join(format!("{name}-{more}")));
        let mut all = std::iter::once(self.directory.join(&name)).chain(others);
        all.find(|path| !path.exists()).unwrap_or_else(|| self.directory.join(&name))
    }

    /// Gives all files other names, by which nobody reads them; these.
    fn keep_all(&mut self, ending: &str) -> std::io::Result<Vec<String>> {
        let mut kept = Vec::new();
        for number in self.numbers()? {
            let to = self.unused(number, ending);
            std::fs::rename(self.path(number), &to)?;
            kept.push(to.display().to_string());
            // What is begun now is behind them, in whatever order somebody reads them.
            self.last = self.last.max(number);
        }
        Ok(kept)
    }

    /// Takes the records of a file.
    fn read(&mut self, number: u64, octets: &[u8], found: &mut Found) -> Result<(), Bad> {
        let mut told = None;
        let Err(bad) = self.read_records(number, octets, found, &mut told) else { return Ok(()) };
        let Bad::Damaged(at, _) = bad else { return Err(bad) };
        // What was said behind the damage counts, too: then it is none that power does that goes.
        let told =
            told.max(told_in(octets.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default()));
        match told {
            Some(told) if at >= told => Ok(()),
            _ => Err(bad),
        }
    }

    /// The same. `told` is up to where the disk has it, if the file says so.
    fn read_records(
        &mut self,
        number: u64,
        octets: &[u8],
        found: &mut Found,
        told: &mut Option<u64>,
    ) -> Result<(), Bad> {
        // It has come, and what was written to it has not reached the disk.
        if !octets.is_empty() && octets.iter().take(FIRST.len()).all(|octet| *octet == 0) {
            return Ok(());
        }
        if octets.len() < FIRST.len() && FIRST.starts_with(octets) {
            return Ok(());
        }
        let mut rest = octets.strip_prefix(FIRST).ok_or(match is_of_any_version(octets) {
            true => Bad::OtherVersion("it is of another version"),
            false => Bad::Damaged(0, "it is no journal"),
        })?;
        let word = |octets: &[u8], at: usize| octets.get(at..)?.first_chunk::<4>().copied();
        while let (Some(length), Some(sum)) =
            (word(rest, 0), rest.get(4..).and_then(|r| r.first_chunk::<8>()))
        {
            let at = u64::try_from(octets.len() - rest.len()).unwrap_or(u64::MAX);
            let size = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
            if !(5..=LONGEST + 5).contains(&size) {
                return Err(Bad::Damaged(at, "a record is damaged"));
            }
            let Some(body) = rest.get(HEAD..HEAD + size) else { break };
            if checksum(&length, body).to_le_bytes() != *sum {
                return Err(Bad::Damaged(at, "a record is damaged"));
            }
            let (Some((&kind, value)), Some(key)) = (body.split_first(), word(body, 1)) else { break };
            let (key, value) = (u32::from_le_bytes(key), value.get(4..).unwrap_or_default());
            match kind {
                PUT => {
                    found.records.insert(key, value.to_vec());
                    self.place(key, Some(Place { file: number, at, length: HEAD + size }));
                }
                REMOVE => {
                    found.records.remove(&key);
                    self.place(key, None);
                }
                NOTE => found.note = Some(value.to_vec()),
                SYNCED => *told = value.first_chunk::<8>().map(|octets| u64::from_le_bytes(*octets)),
                // Its checksum is right.
                _ => return Err(Bad::OtherVersion("it has a record of a kind that is not known here")),
            }
            rest = rest.get(HEAD + size..).unwrap_or_default();
        }
        Ok(())
    }
}

/// What files are called that cannot be read here.
const OTHER: &str = "other-version";

/// What files with single records are called that could not be read.
const UNREAD: &str = "unread";

/// Whether a file begins as a journal of some version does.
fn is_of_any_version(octets: &[u8]) -> bool {
    let first = octets.strip_prefix(ANY).and_then(|rest| rest.split(|octet| *octet == b'\n').next());
    let ends = |number: &[u8]| octets.get(ANY.len() + number.len()) == Some(&b'\n');
    first.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit) && ends(number))
}

/// A record as it is written.
fn encoded(kind: u8, key: u32, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(5 + value.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut record = Vec::with_capacity(HEAD + 5 + value.len());
    record.extend_from_slice(&length);
    record.extend_from_slice(&[0; 8]);
    record.push(kind);
    record.extend_from_slice(&key.to_le_bytes());
    record.extend_from_slice(value);
    let sum = checksum(&length, record.get(HEAD..).unwrap_or_default()).to_le_bytes();
    record.iter_mut().skip(4).zip(sum).for_each(|(to, from)| *to = from);
    record
}

fn opened(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    // A pipe takes so much, and then whoever writes waits for ever.
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is no regular file")),
    }
}

/// The furthest point up to which the disk was told, as records among these octets say, wherever they begin.
fn told_in(octets: &[u8]) -> Option<u64> {
    const SIZE: [u8; 4] = 13u32.to_le_bytes();
    let said = octets.windows(HEAD + 13).filter(|record| record.starts_with(&SIZE));
    let said = said.filter_map(|record| {
        let (sum, body) = (record.get(4..)?.first_chunk::<8>()?, record.get(HEAD..)?);
        let whole = body.first() == Some(&SYNCED) && checksum(&SIZE, body).to_le_bytes() == *sum;
        whole.then(|| body.get(5..)?.first_chunk::<8>().map(|octets| u64::from_le_bytes(*octets)))?
    });
    said.max()
}

/// FNV-1a.
fn checksum(length: &[u8], body: &[u8]) -> u64 {
    let step = |sum: u64, octet: &u8| (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    length.iter().chain(body).fold(0xcbf2_9ce4_8422_2325, step)
}
