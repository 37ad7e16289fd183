//! The service with its data: the rules in memory, what they rest on on disk.
//!
//! A change is on disk before it takes effect, and a ticket's record before the ticket leaves.

use super::trail::Trail;
use carnet_keys::{Config, Kms, Rate};
use carnet_mikey::{Identity, Profile};
use carnet_net::OsRandom;
use carnet_store::{RootKey, Store};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

/// File names in the data directory.
const DATABASE: &str = "kms.redb";
const ROOT_KEY: &str = "root.key";

/// How a service is set up.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Who the service is.
    pub identity: Identity,
    /// Where the root key is; `root.key` in the data directory if absent. A missing file is made
    /// together with a new database, and never for an old one.
    pub root_key: Option<PathBuf>,
    /// Requests a second from one source.
    pub requests_per_second: u32,
    /// Whether tickets are issued to callees that the service does not know.
    pub issue_to_strangers: bool,
    /// Whether tickets that users made themselves are resolved.
    pub accept_self_issued: bool,
    /// Algorithms, times and limits.
    pub profile: Profile,
}

impl ServiceSettings {
    /// Defaults for a service called `identity`.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            root_key: None,
            requests_per_second: 1000,
            issue_to_strangers: false,
            accept_self_issued: false,
            profile: Profile::default(),
        }
    }
}

/// The service could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error("{0}: {1}")]
    Directory(PathBuf, std::io::Error),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] carnet_store::Error),
    /// There is a database and no root key to read it with.
    #[error("{0} is missing, and the database cannot be read without it")]
    NoRootKey(PathBuf),
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
}

/// A key management service.
pub struct Service {
    kms: Mutex<Kms>,
    store: Arc<Store>,
    trail: Trail,
    /// Held while a change is made, so that disk and memory change in the same order.
    changing: Mutex<()>,
    data: PathBuf,
}

/// What to answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// MIKEY message, or nothing.
    pub body: Vec<u8>,
}

impl Service {
    /// Opens the data directory, or makes it. Blocks on the disk.
    pub fn open(data: &Path, settings: ServiceSettings) -> Result<Self, OpenError> {
        let fail = |e| OpenError::Directory(data.to_path_buf(), e);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(fail)?;
        let root_path = settings.root_key.unwrap_or_else(|| data.join(ROOT_KEY));
        let database = data.join(DATABASE);
        let root = match (root_path.exists(), database.exists()) {
            (true, _) => RootKey::read(&root_path)?,
            (false, false) => RootKey::create(&root_path, &mut OsRandom)?,
            (false, true) => return Err(OpenError::NoRootKey(root_path)),
        };
        let store = Arc::new(Store::open(&database, root)?);
        let contents = store.load()?;
        let mut config = Config::new(settings.identity);
        config.profile = settings.profile;
        config.issue_to_strangers = settings.issue_to_strangers;
        config.accept_self_issued = settings.accept_self_issued;
        let rate = settings.requests_per_second;
        config.requests = Rate { burst: rate.saturating_mul(2).max(1), per_second: f64::from(rate) };
        let mut kms = Kms::new(
            config,
            contents.directory,
            contents.rules,
            contents.ring,
            Box::new(OsRandom),
            SystemTime::now(),
        );
        if let Some(limit) = contents.tickets_not_before {
            kms.revoke_tickets_before(limit);
        }
        let trail = Trail::start(store.clone()).map_err(fail)?;
        let service =
            Self { kms: Mutex::new(kms), store, trail, changing: Mutex::new(()), data: data.to_path_buf() };
        let kept = service.maintain();
        // An old key serves until the disk is better; without any there is no service.
        if service.kms().ring().current().is_err() {
            kept?;
        }
        Ok(service)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn kms(&self) -> MutexGuard<'_, Kms> {
        self.kms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps others from changing things until it is dropped.
    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a MIKEY message.
    pub async fn answer(&self, source: IpAddr, octets: &[u8]) -> Answer {
        let outcome = self.kms().handle(SystemTime::now(), Instant::now(), source, octets);
        if let Some(refusal) = outcome.refusal.filter(|r| r.log) {
            tracing::warn!(%source, reason = refusal.reason, "request refused");
        }
        let Some(record) = outcome.audit else {
            return Answer { status: outcome.status, body: outcome.reply };
        };
        let (deed, user, initiator) = (record.deed, record.user.clone(), record.initiator.clone());
        if !self.trail.append(record).await {
            return Answer { status: 503, body: Vec::new() };
        }
        tracing::debug!(?deed, %source, user, %initiator, "ticket");
        Answer { status: outcome.status, body: outcome.reply }
    }

    /// Makes a new ticket key if one is due, and erases those that are done. Blocks on the disk.
    pub fn maintain(&self) -> Result<(), carnet_store::Error> {
        let _changing = self.changing();
        let wall = SystemTime::now();
        let due = self.kms().key_due(wall);
        if let Some(key) = due {
            self.store.put_ticket_key(&key)?;
            tracing::info!(key = key.id, "new ticket key");
            self.kms().install_key(key);
        }
        let done = self.kms().expire_keys(wall);
        if done.is_empty() { Ok(()) } else { self.store.remove_ticket_keys(&done) }
    }

    /// Makes a new ticket key and puts it to use; its name. Blocks on the disk.
    pub fn rotate(&self) -> Result<String, carnet_store::Error> {
        let _changing = self.changing();
        let key = self.kms().make_key(SystemTime::now());
        self.store.put_ticket_key(&key)?;
        let id = key.id.clone();
        self.kms().install_key(key);
        Ok(id)
    }
}
