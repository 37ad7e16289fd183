//! A table of small records by name, for a role that goes on where it was after a restart.
//!
//! The records are their owner's: nothing here reads them, and no secret belongs into them.

use crate::Error;
use crate::codec;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const RECORDS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new(codec::RECORDS);

/// Octets of the page cache: records are read at the start alone.
const CACHE: usize = 1 << 20;

/// What is to become of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It has this value from now on.
    Keep {
        /// Its name.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// It is gone.
    Forget {
        /// Its name.
        key: String,
    },
}

/// Records on disk. Methods block on the disk: asynchronous callers use a thread for them.
pub struct Kv {
    path: PathBuf,
    /// Closed after the disk failed, until the next call opens it again.
    database: Mutex<Option<Database>>,
}

impl Kv {
    /// Opens the database at `path`, or makes it, readable for its owner alone.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process has it; of the disk.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let this = Self { path: path.to_path_buf(), database: Mutex::new(None) };
        this.with(|database| {
            let txn = database.begin_write()?;
            txn.open_table(RECORDS)?;
            txn.commit()?;
            Ok(())
        })?;
        Ok(this)
    }

    /// All records, in the order of their names.
    ///
    /// # Errors
    /// Of the disk.
    pub fn all(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.with(|database| {
            let txn = database.begin_read()?;
            let table = txn.open_table(RECORDS)?;
            let mut records = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                records.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok(records)
        })
    }

    /// Makes all of the changes, in order, or none. They are on disk when this returns `Ok`.
    ///
    /// # Errors
    /// Of the disk; nothing has changed then.
    pub fn write(&self, changes: &[Change]) -> Result<(), Error> {
        self.with(|database| {
            let txn = database.begin_write()?;
            {
                let mut table = txn.open_table(RECORDS)?;
                for change in changes {
                    match change {
                        Change::Keep { key, value } => drop(table.insert(key.as_str(), value.as_slice())?),
                        Change::Forget { key } => drop(table.remove(key.as_str())?),
                    }
                }
            }
            txn.commit()?;
            Ok(())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        let mut guard = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match guard.take() {
            Some(database) => database,
            None => crate::store::create(&self.path, CACHE)?,
        };
        let result = work(&database);
        // After an error of the disk redb does nothing more: the next call opens and repairs it.
        if !matches!(result, Err(Error::Full | Error::Database(_))) {
            *guard = Some(database);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(key: &str, value: &str) -> Change {
        Change::Keep { key: key.into(), value: value.into() }
    }

    #[test]
    fn records_are_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rooms.redb");
        let kv = Kv::open(&path).unwrap();
        assert!(kv.all().unwrap().is_empty());
        kv.write(&[keep("b", "2"), keep("a", "1"), keep("c", "3")]).unwrap();
        kv.write(&[Change::Forget { key: "c".into() }, keep("b", "4"), Change::Forget { key: "x".into() }])
            .unwrap();
        assert!(matches!(Kv::open(&path), Err(Error::Busy)), "one process has it");
        drop(kv);
        let records = Kv::open(&path).unwrap().all().unwrap();
        assert_eq!(records, [("a".into(), b"1".to_vec()), ("b".into(), b"4".to_vec())]);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_database_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rooms.redb");
        std::fs::write(&path, "no database at all, but long enough to be looked at closely").unwrap();
        assert!(Kv::open(&path).is_err());
        assert!(Kv::open(&directory.path().join("no/such/directory.redb")).is_err());
    }
}
