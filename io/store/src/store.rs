//! The database and what is in it.

use crate::{Error, RootKey, codec};
use carnet_keys::{AuditRecord, Directory, Group, KeyRing, RevokedTickets, Rules, TicketKey, User};
use carnet_mikey::Identity;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

type Records<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

const USERS: Records<'static> = TableDefinition::new(codec::USERS);
const GROUPS: Records<'static> = TableDefinition::new(codec::GROUPS);
const RULES: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new(codec::RULES);
const TICKET_KEYS: Records<'static> = TableDefinition::new(codec::TICKET_KEYS);
/// Of databases that an earlier version made it is not a part until the first is written.
const REVOKED: Records<'static> = TableDefinition::new(codec::REVOKED);
const AUDIT: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new(codec::AUDIT);
const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new(codec::META);

/// A sealed value that opens with the right root key only.
const ROOT_CHECK: &str = "root-check";
const OTHERWISE: &str = "rules-otherwise";
const TICKETS_NOT_BEFORE: &str = "tickets-not-before";

/// Octets of the page cache. Users are in memory anyway; the database is written, not read.
const CACHE: usize = 8 << 20;

/// Everything but the audit trail.
pub struct Contents {
    /// Users and groups.
    pub directory: Directory,
    /// Who may call whom.
    pub rules: Rules,
    /// Ticket keys.
    pub ring: KeyRing,
    /// Tickets issued before this open no more.
    pub tickets_not_before: Option<SystemTime>,
    /// Single tickets that open no more.
    pub revoked: RevokedTickets,
}

pub(crate) type Opener = Box<dyn Fn() -> Result<Database, Error> + Send + Sync>;

/// The durable state of a key management service.
///
/// Methods block on the disk. Asynchronous callers use a thread for them.
pub struct Store {
    opener: Opener,
    /// Closed after the disk failed, until the next call opens it again.
    database: Mutex<Option<Database>>,
    root: RootKey,
}

/// Opens the database at `path`, or makes it, readable for its owner alone.
pub(crate) fn create(path: &Path, cache: usize) -> Result<Database, Error> {
    let new = !path.exists();
    let database = Database::builder().set_cache_size(cache).create(path)?;
    if new {
        // The file is durable once its directory entry is.
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let fail = |error| Error::File { path: parent.display().to_string(), error };
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode).map_err(fail)?;
        std::fs::File::open(parent).and_then(|d| d.sync_all()).map_err(fail)?;
    }
    Ok(database)
}

impl Store {
    /// Opens the database at `path`, or makes it.
    ///
    /// Fails with [`Error::Busy`] if another process has it, and [`Error::WrongRootKey`] if `root`
    /// is not the key it was made with.
    pub fn open(path: &Path, root: RootKey) -> Result<Self, Error> {
        let path = path.to_path_buf();
        let opener = move || create(&path, CACHE);
        Self::with_opener(Box::new(opener), root)
    }

    pub(crate) fn with_opener(opener: Opener, root: RootKey) -> Result<Self, Error> {
        let store = Self { database: Mutex::new(None), opener, root };
        store.prepare()?;
        Ok(store)
    }

    /// Checks the root key of an old database, and makes the tables of a new one. An old one is
    /// only read, so that a service starts on a full disk.
    fn prepare(&self) -> Result<(), Error> {
        let old = self.with(|database| {
            let txn = database.begin_read()?;
            match txn.open_table(META) {
                Ok(meta) => Ok(meta.get(ROOT_CHECK)?.map(|c| c.value().to_vec())),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
                Err(e) => Err(e.into()),
            }
        })?;
        if let Some(sealed) = old {
            return match self.root.open(codec::META, ROOT_CHECK, &sealed) {
                Ok(_) => Ok(()),
                Err(_) => Err(Error::WrongRootKey),
            };
        }
        self.write(|txn| {
            txn.open_table(USERS)?;
            txn.open_table(GROUPS)?;
            txn.open_table(RULES)?;
            txn.open_table(TICKET_KEYS)?;
            txn.open_table(AUDIT)?;
            let sealed = self.root.seal(codec::META, ROOT_CHECK, &[0; 16])?;
            txn.open_table(META)?.insert(ROOT_CHECK, sealed.as_slice())?;
            Ok(())
        })
    }

    fn lock(&self) -> Result<MutexGuard<'_, Option<Database>>, Error> {
        let mut guard = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            *guard = Some((self.opener)()?);
        }
        Ok(guard)
    }

    /// Runs `work` with the database. After an error of the disk the database is closed, because
    /// redb does nothing more with it; the next call opens and repairs it.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        let mut guard = self.lock()?;
        let result = match guard.as_ref() {
            Some(database) => work(database),
            None => Err(Error::Busy),
        };
        if matches!(result, Err(Error::Full | Error::Database(_))) {
            *guard = None;
        }
        result
    }

    /// Runs `work` in a transaction that is on disk when this returns.
    fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Result<T, Error>) -> Result<T, Error> {
        self.with(|database| {
            let txn = database.begin_write()?;
            let out = work(&txn)?;
            txn.commit()?;
            Ok(out)
        })
    }

    /// Reads everything but the audit trail.
    pub fn load(&self) -> Result<Contents, Error> {
        self.with(|database| {
            let txn = database.begin_read()?;
            let mut directory = Directory::default();
            for record in txn.open_table(USERS)?.iter()? {
                let (name, octets) = record?;
                let name = std::str::from_utf8(name.value()).map_err(|_| Error::Record(codec::USERS))?;
                directory.put_user(codec::read_user(name, octets.value(), &self.root)?)?;
            }
            for record in txn.open_table(GROUPS)?.iter()? {
                directory.put_group(codec::read_group(record?.1.value())?)?;
            }
            let mut rules = Vec::new();
            for record in txn.open_table(RULES)?.iter()? {
                rules.push(codec::read_rule(record?.1.value())?);
            }
            let mut ring = KeyRing::default();
            for record in txn.open_table(TICKET_KEYS)?.iter()? {
                let (id, octets) = record?;
                let id = std::str::from_utf8(id.value()).map_err(|_| Error::Record(codec::TICKET_KEYS))?;
                ring.install(codec::read_ticket_key(id, octets.value(), &self.root)?);
            }
            let meta = txn.open_table(META)?;
            let otherwise = meta.get(OTHERWISE)?.is_none_or(|v| v.value() == [1]);
            let limit = meta.get(TICKETS_NOT_BEFORE)?.map(|v| codec::read_time(v.value())).transpose()?;
            let rules = Rules::new(rules, otherwise)?;
            let mut revoked = RevokedTickets::default();
            match txn.open_table(REVOKED) {
                Ok(table) => {
                    for record in table.iter()? {
                        let (ticket, until) = record?;
                        let ticket = ticket.value().try_into().map_err(|_| Error::Record(codec::REVOKED))?;
                        revoked.put(ticket, codec::read_time(until.value())?);
                    }
                }
                Err(redb::TableError::TableDoesNotExist(_)) => {}
                Err(e) => return Err(e.into()),
            }
            Ok(Contents { directory, rules, ring, tickets_not_before: limit, revoked })
        })
    }

    /// Adds or replaces a user.
    pub fn put_user(&self, user: &User) -> Result<(), Error> {
        self.put_users(std::slice::from_ref(user))
    }

    /// Adds or replaces users, all or none.
    pub fn put_users(&self, users: &[User]) -> Result<(), Error> {
        self.write(|txn| {
            let mut table = txn.open_table(USERS)?;
            for user in users {
                user.check()?;
                table.insert(user.name.as_bytes(), codec::user(user, &self.root)?.as_slice())?;
            }
            Ok(())
        })
    }

    /// Removes a user; whether there was one.
    pub fn remove_user(&self, name: &str) -> Result<bool, Error> {
        self.write(|txn| Ok(txn.open_table(USERS)?.remove(name.as_bytes())?.is_some()))
    }

    /// Adds or replaces a group.
    pub fn put_group(&self, group: &Group) -> Result<(), Error> {
        self.write(|txn| {
            let octets = codec::group(group);
            txn.open_table(GROUPS)?.insert(group.identity.data.as_slice(), octets.as_slice())?;
            Ok(())
        })
    }

    /// Removes a group; whether there was one.
    pub fn remove_group(&self, id: &Identity) -> Result<bool, Error> {
        self.write(|txn| Ok(txn.open_table(GROUPS)?.remove(id.data.as_slice())?.is_some()))
    }

    /// Replaces the rules.
    pub fn put_rules(&self, rules: &Rules) -> Result<(), Error> {
        self.write(|txn| {
            let mut table = txn.open_table(RULES)?;
            table.retain(|_, _| false)?;
            for (i, rule) in (0..).zip(rules.rules()) {
                table.insert(i, codec::rule(rule).as_slice())?;
            }
            let otherwise = [u8::from(rules.otherwise())];
            txn.open_table(META)?.insert(OTHERWISE, otherwise.as_slice())?;
            Ok(())
        })
    }

    /// Adds a ticket key.
    pub fn put_ticket_key(&self, key: &TicketKey) -> Result<(), Error> {
        self.write(|txn| {
            let octets = codec::ticket_key(key, &self.root)?;
            txn.open_table(TICKET_KEYS)?.insert(key.id.as_bytes(), octets.as_slice())?;
            Ok(())
        })
    }

    /// Removes ticket keys by name.
    pub fn remove_ticket_keys(&self, ids: &[String]) -> Result<(), Error> {
        self.write(|txn| {
            let mut table = txn.open_table(TICKET_KEYS)?;
            for id in ids {
                table.remove(id.as_bytes())?;
            }
            Ok(())
        })
    }

    /// Tickets issued before `wall` open no more.
    pub fn revoke_tickets_before(&self, wall: SystemTime) -> Result<(), Error> {
        self.write(|txn| {
            txn.open_table(META)?.insert(TICKETS_NOT_BEFORE, codec::time(wall).as_slice())?;
            Ok(())
        })
    }

    /// The ticket of the record opens no more; forgotten after `until`. The record goes into the audit trail with it.
    pub fn revoke_ticket(&self, record: &AuditRecord, until: SystemTime) -> Result<(), Error> {
        self.write(|txn| {
            txn.open_table(REVOKED)?.insert(record.ticket.as_slice(), codec::time(until).as_slice())?;
            let mut table = txn.open_table(AUDIT)?;
            let last = table.last()?.map_or(0, |(n, _)| n.value());
            table.insert(last + 1, codec::audit(record).as_slice())?;
            Ok(())
        })
    }

    /// Forgets that tickets were revoked.
    pub fn forget_revoked(&self, tickets: &[[u8; 32]]) -> Result<(), Error> {
        self.write(|txn| {
            let mut table = txn.open_table(REVOKED)?;
            for ticket in tickets {
                table.remove(ticket.as_slice())?;
            }
            Ok(())
        })
    }

    /// Appends to the audit trail, all or none, and gives the number of the last record.
    pub fn append_audit<'a>(&self, records: impl IntoIterator<Item = &'a AuditRecord>) -> Result<u64, Error> {
        self.write(|txn| {
            let mut table = txn.open_table(AUDIT)?;
            let mut last = table.last()?.map_or(0, |(n, _)| n.value());
            for record in records {
                last += 1;
                table.insert(last, codec::audit(record).as_slice())?;
            }
            Ok(last)
        })
    }

    /// The number of the last record of the audit trail; 0 if there is none.
    pub fn last_audit(&self) -> Result<u64, Error> {
        self.with(|database| {
            let txn = database.begin_read()?;
            Ok(txn.open_table(AUDIT)?.last()?.map_or(0, |(number, _)| number.value()))
        })
    }

    /// Up to `most` records of the audit trail in order, beginning with number `from`. Numbers
    /// begin at 1.
    pub fn audit(&self, from: u64, most: usize) -> Result<Vec<(u64, AuditRecord)>, Error> {
        self.with(|database| {
            let txn = database.begin_read()?;
            let table = txn.open_table(AUDIT)?;
            let mut out = Vec::new();
            for record in table.range(from..)?.take(most) {
                let (number, octets) = record?;
                out.push((number.value(), codec::read_audit(octets.value())?));
            }
            Ok(out)
        })
    }
}
